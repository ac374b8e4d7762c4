"""What bounds a model, whatever runs it: operations, multiply-adds and bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rnnc.passes.plan import Loop, Plan, Statement, multiply_adds

# what only describes memory anew
_VIEWS = frozenset(("constant", "permute", "unsqueeze", "squeeze", "reshape", "expand", "copy",
                    "slice", "pick", "length", "step"))  # fmt: skip
_BYTES = {"index": 8, "flag": 1}
_REAL = {"float32": 4, "float64": 8}


@dataclass(frozen=True)
class Cost:
    """``operations`` that compute something (each costs a call), ``products``, the multiply-adds
    of matrix products, and ``bytes`` read and written by all operations."""

    operations: int = 0
    products: int = 0
    bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.operations + other.operations,
            self.products + other.products,
            self.bytes + other.bytes,
        )

    def times(self, count: int) -> Cost:
        """That of so many steps."""
        return Cost(self.operations * count, self.products * count, self.bytes * count)

    def __str__(self) -> str:
        return (
            f"{self.operations:,} operations, {self.products:,} multiply-adds, "
            f"{self.bytes:,} bytes read and written"
        )


def step_cost(plan: Plan, loop: Loop, sizes: Mapping[str, int], dtype: str = "float32") -> Cost:
    """The cost of one step of a loop, loops in it included; ``sizes`` are the lengths of axes and
    ``batch``."""
    return _of(plan, loop.body, sizes, _REAL[dtype])


def whole_cost(plan: Plan, sizes: Mapping[str, int], dtype: str = "float32") -> Cost:
    """The cost of a run, all steps of its loops included; what depends on weights alone is not."""
    return _of(plan, plan.body, sizes, _REAL[dtype])


def _of(plan: Plan, body: Iterable[Statement], sizes: Mapping[str, int], real: int) -> Cost:
    total = Cost()
    for s in body:
        if isinstance(s, Loop):
            total += _of(plan, s.body, sizes, real).times(sizes[s.axis])
        elif s.op not in _VIEWS:
            arrays = {s.target, *s.args}
            moved = sum(_entries(plan, a, sizes) * _width(plan, a, real) for a in arrays)
            total += Cost(1, multiply_adds(plan, sizes, [s]), moved)
    return total


def _width(plan: Plan, array: str, real: int) -> int:
    return _BYTES.get(plan.arrays[array].kind, real)


def _entries(plan: Plan, array: str, sizes: Mapping[str, int]) -> int:
    return math.prod(d if isinstance(d, int) else sizes[d] for d in plan.arrays[array].dims)
