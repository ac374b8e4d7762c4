"""Between which numbers a value lies, whatever the data and the parameters are.

Interval arithmetic over the equations (R. E. Moore, Interval Analysis, 1966): each op takes the
intervals of its operands to one that holds all its results. Three forms are seen as more than
their parts: ``x / (x + y)`` of what is not negative lies between 0 and 1, ``x - max(x, y)`` is
not above 0, and a gate lies between 0 and 1 because of its function. A value in a cycle may be
anything. NaN is not told of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from rnnc.graph.system import Value
from rnnc.graph.types import Array, Read

Range = tuple[float, float]
ANYTHING: Range = (-math.inf, math.inf)
UNIT: Range = (0.0, 1.0)
SIGNED_UNIT: Range = (-1.0, 1.0)


class Ranges:
    """The ranges of some values; they may be added to while ranges are asked for."""

    def __init__(self, values: Mapping[str, Value]):
        self.values = values
        self._known: dict[str, Range] = {}

    def size(self, r: Read) -> float:
        """The largest absolute value of what a read gives."""
        low, high = self.of(r)
        return max(-low, high)

    def of(self, r: Read) -> Range:
        """The range of what a read gives, boundaries included."""
        found = self._of(r.source)
        if all(index.offset == 0 for _, index in r.at):
            return found
        bounds = [self._of(b.read.source) for b in self.values[r.source].bounds]
        return _union(found, (0.0, 0.0), *bounds)  # without a boundary it is 0 outside

    def _of(self, name: str) -> Range:
        if name not in self._known:
            self._known[name] = ANYTHING  # what a cycle leads back to
            value = self.values[name]
            self._known[name] = ANYTHING if value.type.kind != "real" else self._computed(value)
        return self._known[name]

    def _computed(self, v: Value) -> Range:
        if v.op in FIXED:
            return FIXED[v.op]
        if v.op == "constant":
            return _constant(v)
        if v.op == "where":
            return _union(*(self.of(r) for r in v.reads[1:]))
        if v.op == "gather":
            return self.of(v.reads[0])
        if v.op in SAME:
            return _union(*(self.of(r) for r in v.reads))
        if v.op == "sub" and self._is_excess(v):
            return (-math.inf, 0.0)
        if v.op == "div" and self._is_share(v):
            return UNIT
        rule = RULES.get(v.op)
        return rule(*(self.of(r) for r in v.reads)) if rule else ANYTHING

    def _is_excess(self, v: Value) -> bool:
        """``x - max(x, y)``"""
        x, top = v.reads
        source = self.values[top.source]
        return source.op == "maximum" and not top.at and x in source.reads

    def _is_share(self, v: Value) -> bool:
        """``x / (x + y)``, neither of them negative."""
        x, total = v.reads
        source = self.values[total.source]
        return (
            source.op == "add"
            and not total.at
            and x in source.reads
            and all(self.of(r)[0] >= 0 for r in source.reads)
        )


def _union(*ranges: Range) -> Range:
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _constant(v: Value) -> Range:
    held = v.attr("value")
    data = held.data if isinstance(held, Array) else np.asarray(held)
    if not data.size or np.isnan(data).any():
        return ANYTHING
    return float(data.min()), float(data.max())


def _corners(f: Callable[[float, float], float]) -> Callable[[Range, Range], Range]:
    """An operation that is monotone in each operand: the extremes are at the ends."""

    def rule(a: Range, b: Range) -> Range:
        found = [f(x, y) for x in a for y in b]
        return min(found), max(found)

    return rule


def _times(x: float, y: float) -> float:
    return 0.0 if x == 0 or y == 0 else x * y  # what is infinite here is only very large


def _increasing(f: Callable[[float], float]) -> Callable[[Range], Range]:
    return lambda a: (f(a[0]), f(a[1]))


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf


def _log(x: float) -> float:
    return math.log(x) if 0 < x < math.inf else math.inf if x > 0 else -math.inf


def _abs(a: Range) -> Range:
    low, high = a
    return (max(low, -high, 0.0), max(-low, high))


def _div(a: Range, b: Range) -> Range:
    if b[0] <= 0 <= b[1]:
        return ANYTHING
    return _corners(_times)(a, (1 / b[1], 1 / b[0]))


FIXED: Mapping[str, Range] = {
    **dict.fromkeys(("sigmoid", "softmax", "uniform", "onehot"), UNIT),
    **dict.fromkeys(("tanh", "sin", "cos", "erf", "sign"), SIGNED_UNIT),
}
SAME = frozenset(
    ("copy", "stop_gradient", "broadcast", "transpose", "slice", "concat", "repeat", "stack",
     "max", "min")
)  # fmt: skip
RULES: Mapping[str, Callable[..., Range]] = {
    "neg": lambda a: (-a[1], -a[0]),
    "abs": _abs,
    "relu": _increasing(lambda x: max(x, 0.0)),
    "sqrt": _increasing(lambda x: math.sqrt(max(x, 0.0))),
    "exp": _increasing(_exp),
    "log": _increasing(_log),
    "softplus": lambda a: (0.0, math.inf),
    "add": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "sub": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "mul": _corners(_times),
    "div": _div,
    "minimum": _corners(min),
    "maximum": _corners(max),
}
