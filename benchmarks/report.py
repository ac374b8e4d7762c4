"""The report of the suite: tables in Markdown, what missed its goal and why, and a drawing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from suite import Result

from rnnc.bench.timing import format_seconds

HEAD = """# Benchmarks

{machine}

Ratios are a peer's time divided by rnnc's, in its default form under onnxruntime: above 1, rnnc is
faster. Each is the median of the ratios of {rounds} rounds, in which all take turns; results had to
agree before. `≥` is a goal, and **bold** what misses it. All have the same number of threads, and
the process as many processors.
"""


def markdown(
    results: Sequence[Result], machine: str, rounds: int, others: Sequence[tuple[str, str]] = ()
) -> str:
    """The whole report; `others` are titles and texts of what was run beside the suite."""
    parts = [HEAD.format(machine=machine, rounds=rounds)]
    for group in dict.fromkeys(r.group for r in results):
        parts.append(
            f"## {group.capitalize()}\n\n{_table([r for r in results if r.group == group])}"
        )
    parts.append(f"## Goals not reached\n\n{_missed(results)}")
    notes = [f"- {_name(r)}: {note}" for r in results for note in r.notes]
    if notes:
        parts.append("## Notes\n\n" + "\n".join(notes) + "\n")
    parts += [f"## {title}\n\n{text.strip()}\n" for title, text in others]
    return "\n".join(parts)


def missed(result: Result) -> list[str]:
    """The peers whose goal a result misses; one that is not installed misses nothing."""
    return [p for p, goal in result.goals.items() if result.ratios.get(p, goal) < goal]


def _name(r: Result) -> str:
    threads = f"{r.threads} thread{'s' if r.threads > 1 else ''}"
    return f"{r.cell}, T {r.steps}, batch {r.batch}, m {r.cells}, {threads}"


def _groups(results: Iterable[Result]) -> dict[str, list[Result]]:
    groups: dict[str, list[Result]] = {}
    for r in results:
        groups.setdefault(r.group, []).append(r)
    return groups


def _peers(results: Iterable[Result]) -> list[str]:
    return list(dict.fromkeys(p for r in results for p in r.ratios))


def _table(results: Sequence[Result]) -> str:
    peers = _peers(results)
    head = ["cell", "T", "batch", "m", "threads", "rnnc", *peers]
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    for r in results:
        sizes = map(str, (r.steps, r.batch, r.cells, r.threads))
        ratios = [_ratio(r, peer) for peer in peers]
        lines.append(f"| {' | '.join([r.cell, *sizes, format_seconds(r.seconds), *ratios])} |")
    return "\n".join(lines) + "\n"


def _ratio(r: Result, peer: str) -> str:
    if peer not in r.ratios:
        return ""
    text = f"{r.ratios[peer]:.2f}"
    text = f"**{text}**" if peer in missed(r) else text
    return f"{text} (≥ {r.goals[peer]:g})" if peer in r.goals else text


def _missed(results: Iterable[Result]) -> str:
    lines = []
    for r in results:
        wrong = [f"{p} {r.ratios[p]:.2f} (≥ {r.goals[p]:g})" for p in missed(r)]
        if wrong:
            lines.append(f"- {_name(r)}: {', '.join(wrong)}")
            lines += [f"  - {bound}" for bound in r.bounds]
    return "\n".join(lines or ["All are."]) + "\n"


def draw(results: Sequence[Result], path: Path) -> bool:
    """The ratios as dots, a panel for each group; False where Matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    groups = {
        g: [r for r in results if r.group == g] for g in dict.fromkeys(r.group for r in results)
    }
    heights = [len(rows) + 2 for rows in groups.values()]
    figure = Figure(figsize=(9, 0.22 * sum(heights) + 1), layout="constrained")
    panels = figure.subplots(len(groups), 1, height_ratios=heights, squeeze=False)[:, 0]
    peers = _peers(results)
    for panel, (group, rows) in zip(panels, groups.items(), strict=True):
        for i, peer in enumerate(peers):
            there = [(y, r) for y, r in enumerate(rows) if peer in r.ratios]
            wanted = [(y, r) for y, r in there if peer in r.goals]
            if there:
                x = [r.ratios[peer] for _, r in there]
                panel.plot(x, [y for y, _ in there], "o", ms=5, color=f"C{i}", label=peer)
            if wanted:
                x = [r.goals[peer] for _, r in wanted]
                panel.plot(x, [y for y, _ in wanted], "|", ms=10, color=f"C{i}")
        panel.axvline(1, color="0.6", lw=1, zorder=0)
        panel.set_xscale("log")
        panel.set_yticks(range(len(rows)), [_name(r) for r in rows], fontsize=7)
        panel.set_ylim(len(rows) - 0.5, -0.5)
        panel.set_title(group, fontsize=9, loc="left")
        panel.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    panels[-1].set_xlabel("time divided by rnnc's (right of 1: rnnc is faster); |: the goal")
    figure.savefig(path)
    return True
