"""Folding, algebra, common subexpressions and dead code.

    a.1 = softmax(o)                 log_softmax(o)
    a.2 = log(a.1)            →
    n = m * 1                        m

What is computed does not change, up to rounding.
"""

from __future__ import annotations

from rnnc.graph.system import System
from rnnc.passes.rewriter import Rewriter
from rnnc.passes.rules import RULES


def simplify(system: System) -> System:
    """Apply the rules until nothing changes."""
    system = system.pruned()
    while (sweep := Rewriter(system, RULES)).run():
        system = system.with_values(sweep.values, targets=sweep.targets()).pruned()
    system.made[simplify] = system  # for whoever runs it again
    return system
