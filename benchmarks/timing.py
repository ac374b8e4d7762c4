"""What the scripts share: functions timed in turns and printed as a Markdown table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rnnc.bench.timing import Times, describe_machine, format_seconds, measure

__all__ = ["check_gradients", "compare", "describe_machine", "format_seconds"]


def compare(
    functions: Mapping[str, Callable[[], object]],
    rounds: int = 15,
    baseline: str | None = None,
    title: str | None = None,
) -> Times:
    """Time functions side by side; prints the table when there is a title.

    `baseline` is the function that ratios refer to, the first one if it is not given.
    """
    times = measure(functions, rounds)
    if title is not None:
        print(markdown(times, title, baseline or next(iter(functions))), end="\n\n", flush=True)
    return times


def markdown(times: Times, title: str, baseline: str) -> str:
    """Median, fastest round and ratio to the baseline of each function."""
    lines = [
        f"| {title} | median | fastest | ratio to {baseline} |",
        "|---|---:|---:|---:|",
    ]
    for name in times.rounds:
        shown = format_seconds(times.seconds(name)), format_seconds(times.fastest(name))
        lines.append(f"| {name} | {' | '.join(shown)} | {times.ratio(name, baseline):.2f} |")
    return "\n".join(lines)


def check_gradients(name: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Before anything is timed: gradients (``d_…``) agree to 1e-3 of the largest entry."""
    for param, gradient in wanted.items():
        if param.startswith("d_"):
            error = float(abs(found[param] - gradient).max()) / float(abs(gradient).max())
            assert error < 1e-3, (name, param, error)
