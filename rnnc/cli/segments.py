"""What ``--memory low`` makes of a model: its sweeps, and the memory that it needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rnnc.cli.common import file_size
from rnnc.graph.types import BATCH
from rnnc.passes.peak import peak
from rnnc.passes.plan import Compute, Loop, Plan, Statement

STEPS = (100, 1_000, 10_000)
SEQUENCES = 32


def loops_of(plan: Plan) -> Iterator[tuple[Loop, Sequence[Statement]]]:
    """The loops over steps, each with the statements around it: of a loop over segments, those
    in its body."""
    segmented = _sweeps(plan)
    for loop in plan.loops:
        if loop not in segmented:
            yield loop, plan.body
            continue
        for s in loop.body:
            if isinstance(s, Loop):
                yield s, loop.body


def segment_lines(plan: Plan, normal: Plan) -> list[str]:
    """How a plan goes through segments, and its memory beside that of the normal form."""
    lines = ["in segments of ⌈√T⌉ steps, of which the last may be shorter:"]
    lines += [f"  {_way(plan, loop)}" for loop in _sweeps(plan)]
    lines += [
        f"memory that exists at one time, of {SEQUENCES} sequences in float32, with weights and "
        "data:",
        f"  {'steps':>6}  {'normal':>10}  {'low':>10}",
    ]
    for steps in STEPS:
        low, high = (
            file_size(peak(p, {a: SEQUENCES if a == BATCH else steps for a in p.axes}))
            for p in (plan, normal)
        )
        lines.append(f"  {steps:>6,}  {high:>10}  {low:>10}")
    return [*lines, ""]


def _sweeps(plan: Plan) -> list[Loop]:
    """The loops of a plan over segments, whose number is computed."""
    counts = {s.target for s in plan.body if isinstance(s, Compute) and s.op == "segments"}
    over = {a for a, where in plan.axes.items() if isinstance(where, tuple) and where[0] in counts}
    return [loop for loop in plan.loops if loop.axis in over]


def _way(plan: Plan, loop: Loop) -> str:
    way = "from the first to the last" if loop.forward else "from the last to the first"
    kept = [
        f"{inner.partition('.kept')[0]} [{', '.join(map(str, plan.arrays[inner].dims))}]"
        for _, inner in loop.collected
        if ".kept" in inner
    ]
    found = "" if len(loop.scanned) == 1 else ", each computed from the states that were kept of it"
    return way + found + (f", keeping of each {', '.join(kept)}" if kept else "")
