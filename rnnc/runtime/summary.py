"""A model's edge as text."""

from __future__ import annotations

from math import prod

from rnnc.runtime.ports import Ports


def summary(ports: Ports, runs_on: str) -> str:
    """Inputs (the weights, where they are given with each call), outputs, states and the number
    of parameters, one line each."""
    lines = [f"{ports.name} ({runs_on}, {ports.dtype})"]
    for title, group in (("in ", ports.inputs), ("out", ports.outputs)):
        lines += [
            f"  {title} {p}" + (f"  ({p.role})" if p.role not in ("input", "output") else "")
            for p in group
        ]
        if title == "in " and ports.weights_given:
            lines += [f"  in  {p}  (weight)" for p in ports.params]
    count = sum(prod(d for d in p.dims if isinstance(d, int)) for p in ports.params)
    if ports.params:
        plural = "" if len(ports.params) == 1 else "s"
        lines.append(f"  {count:,} parameters in {len(ports.params)} array{plural}")
    return "\n".join(lines)
