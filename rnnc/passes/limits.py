"""Sizes that cannot be, found before anything is allocated."""

from __future__ import annotations

from math import prod

from rnnc.graph.system import System
from rnnc.graph.types import Dim
from rnnc.source import Diagnostic

MOST_BYTES = 1 << 34  # of one array, in float64, at one step of one sequence: 16 GiB


def oversized(system: System) -> list[Diagnostic]:
    """A diagnostic for every value whose shape is impossible or needs too much memory."""
    out = []
    total = 0
    for v in system.values.values():
        span = v.origins[0] if v.origins else None
        bad = [s for s in v.type.shape if isinstance(s, Dim) or s < 1]
        if bad:
            out.append(Diagnostic("RNN036", f"`{v.name}` would have a size of {bad[0]}", span))
            continue
        size = prod(s for s in v.type.shape if isinstance(s, int)) * 8
        total += size if v.op == "param" else 0
        if size > MOST_BYTES:
            out.append(_too_large(f"`{v.name}` {v.type}", size, span))
    if not out and total > MOST_BYTES:
        out.append(_too_large(f"the parameters of {system.name} together", total, None))
    return out[:10]


def _too_large(what: str, size: int, span: object) -> Diagnostic:
    return Diagnostic(
        "RNN037",
        f"{what} would need {size / 2**30:,.0f} GiB",
        span,  # type: ignore[arg-type]
        hint="choose smaller sizes",
    )
