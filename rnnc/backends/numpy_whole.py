"""Statements on arrays of all steps, laid out as the loops read them that they feed."""

from __future__ import annotations

from collections.abc import Sequence, Set

from rnnc.backends.numpy_ops import BINARY, UNARY, expression
from rnnc.backends.numpy_writer import Writer
from rnnc.graph.types import BATCH
from rnnc.passes.plan import Compute, Loop, Statement


def feeds_loops(statements: Sequence[Statement]) -> set[str]:
    """Arrays that loops take step by step, and what those are elementwise made of."""
    found = {outer for s in statements if isinstance(s, Loop) for _, outer in s.scanned}
    for s in reversed(statements):
        if isinstance(s, Compute) and s.target in found and (s.op in BINARY or s.op in UNARY):
            found |= set(s.args)
    return found


def whole(w: Writer, s: Compute, feeding: Set[str]) -> str:
    """A statement on whole arrays; what feeds a loop is laid out as that reads it."""
    dims = w.plan.arrays[s.target].dims
    if s.op == "matmul" and s.target in feeding and len(dims) == 3 and dims[1] == BATCH:
        return f"all_steps({w.operand(s.args[0])}, {turned_weights(w, s.args[1])})"
    return expression(w, s)


def turned_weights(w: Writer, name: str) -> str:
    """A matrix with rows and columns exchanged, as products with all sequences take it; what is
    made of weights alone is turned once."""
    where = "prepared" if name in w.prepared else f"{{{name!r}: {w.operand(name)}}}"
    return f"turned({where}, {name!r}, {w.extent(BATCH)})"
