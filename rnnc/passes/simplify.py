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
    while True:
        work = Rewriter(system, RULES)
        if not work.run():
            return system.pruned()
        system = system.with_values(work.values, targets=work.targets()).pruned()
