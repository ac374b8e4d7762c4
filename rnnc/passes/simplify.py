"""Folding, algebra, common subexpressions and dead code, by one table of rules.

    a.1 = softmax(o)                 log_softmax(o)
    a.2 = log(a.1)            →
    n = m * 1                        m

A rule looks at one value and gives what to put in its place: another Value of the same name, a
Read of something that exists already, or None. Rules never change what is computed, up to
rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from rnnc.graph.ops import GIVEN, OPS
from rnnc.graph.system import Distribution, System, Value
from rnnc.graph.types import Array, Dim, Index, Read, Size, read

FOLD_LIMIT = 1 << 24  # entries of an array worth computing at compile time
CONSTANT = frozenset(("constant", "size", "arange", "eye"))


def simplify(system: System) -> System:
    """Apply the rules until nothing changes."""
    while True:
        work = _Rewriter(system)
        changed = work.run()
        system = system.with_values(work.values, targets=work.targets()).pruned()
        if not changed:
            return system


@dataclass(frozen=True)
class _New:
    """A replacement that needs a value before it: ``name`` (made up), then the value itself."""

    before: tuple[Value, ...]
    value: Value


Result = Value | Read | _New | None


class _Rewriter:
    """One sweep over the values; what is rewritten early is seen by what comes later."""

    def __init__(self, system: System):
        self.system = system
        self.values: dict[str, Value] = {}
        self.alias: dict[str, Read] = {}
        self.known: dict[Hashable, Value] = {}
        self.results = set(system.results)
        self.shifted = self._shifted()
        self.changed = False

    def _shifted(self) -> set[str]:
        """Values that are read at other steps than their reader's: their boundaries matter."""
        return {
            r.source
            for value in self.system.values.values()
            for _, r in value.all_reads()
            if any(not i.fixed or i.offset != 0 for _, i in r.at)
        }

    def run(self) -> bool:
        for value in self.system.values.values():
            self._visit(value)
        if self.alias:  # reads of values that were replaced after their readers were visited
            self.values = {n: v.map_reads(self._resolve) for n, v in self.values.items()}
        return self.changed

    def targets(self) -> dict[str, Distribution]:
        out = {}
        for name, d in self.system.targets.items():
            out[name] = d.map_reads(self._resolve)
        return out

    def _resolve(self, r: Read) -> Read:
        while r.source in self.alias:
            r = compose(self.alias[r.source], r)
        return r

    def _visit(self, value: Value) -> None:
        value = value.map_reads(self._resolve)
        result = self._rewrite(value)
        if isinstance(result, _New):
            for extra in result.before:
                self.values[extra.name] = extra
            result = result.value
        if isinstance(result, Read):
            if self._replaceable(value, result):
                self.alias[value.name] = result
                self.changed = True
                if value.name in self.results:  # its readers go past it; the name stays
                    self.values[value.name] = _copy_of(value, result)
                return
            result = None
        if result is not None and result != value:
            self.changed = True
            value = result
        twin = self._twin(value)
        if twin is not None:
            self.alias[value.name] = Read(twin.name)
            self.changed = True
            if value.name in self.results:
                self.values[value.name] = _copy_of(value, Read(twin.name))
            return
        self.values[value.name] = value

    def _rewrite(self, value: Value) -> Result:
        if value.op == "copy" and value.name in self.results and not self._read(value):
            return None  # already a mere name for something else
        folded = self._fold(value)
        if folded is not None:
            return folded
        rule = RULES.get(value.op)
        return rule(self, value) if rule else None

    def _read(self, value: Value) -> bool:
        """Whether anything reads the value."""
        return value.name in self.system.graph and self.system.graph.out_degree(value.name) > 0

    def _replaceable(self, value: Value, r: Read) -> bool:
        """Whether a read ``r`` can stand for the value wherever that is read."""
        source = self.get(r.source)
        if source is None or source.type != value.type:
            return False
        if {r.index(a).base for a in source.axes if not r.index(a).fixed} != set(value.axes):
            return False
        if value.name not in self.shifted:
            return True
        # elsewhere it may be read outside its steps: then the boundaries must agree
        return not r.at and source.bounds == value.bounds

    def _twin(self, value: Value) -> Value | None:
        """An earlier value that computes the same."""
        if value.op in GIVEN or (value.op == "copy" and value.name in self.results):
            return None
        attrs = repr(value.attrs) if value.op == "constant" else value.attrs  # 0.0 is not -0.0
        if value.op == "constant" and isinstance(value.attr("value"), Array):
            attrs = value.attrs
        key = (value.op, value.reads, attrs, value.axes, value.type, value.bounds)
        other = self.known.setdefault(key, value)
        return None if other is value or other.name == value.name else other

    def get(self, name: str) -> Value | None:
        """A value as it stands now."""
        return self.values.get(name) or self.system.values.get(name)

    def operand(self, value: Value, position: int) -> Value | None:
        """The value an operand reads at the reader's own step (or at a step that exists)."""
        r = value.reads[position]
        if any(not i.fixed or i.offset != 0 for _, i in r.at):
            return None
        return self.get(r.source)

    def through(self, value: Value, position: int, inner: int = 0) -> Read:
        """The read, seen from ``value``, of operand ``inner`` of its operand ``position``."""
        r = value.reads[position]
        source = self.get(r.source)
        assert source is not None
        return compose(source.reads[inner], r)

    def constant(self, value: Value, position: int) -> float | int | bool | None:
        """The number that an operand is, or None."""
        source = self.get(value.reads[position].source)
        if source is None or source.op != "constant":
            return None
        number = source.attr("value")
        return None if isinstance(number, Array) else number

    # ---------------------------------------------------------------- folding

    def _fold(self, value: Value) -> Value | None:
        """Compute what depends on nothing but constants."""
        compute = OPS[value.op].compute
        if compute is None or value.axes or value.op == "constant":
            return None
        if value.op != "size" and not value.reads:
            return None
        if value.over or _open(value) or _costly(value, self):
            return None
        args = []
        for r in value.reads:
            source = self.get(r.source)
            if source is None or source.op not in CONSTANT or _large(source) or _open(source):
                return None
            constant = OPS[source.op].compute
            assert constant is not None
            args.append(constant([], dict(source.attrs)))
        if _large(value):
            return None
        with np.errstate(all="ignore"):
            result = np.asarray(compute(args, dict(value.attrs)))
        kind = value.type.kind
        result = result.astype({"real": np.float64, "index": np.int64, "flag": np.bool_}[kind])
        held = Array(result) if result.ndim else result.item()
        return replace(value, op="constant", reads=(), attrs=(("value", held),))


def _open(value: Value) -> bool:
    """Whether an attribute is a size that is not known yet."""
    return any(isinstance(a, Dim) for _, a in value.attrs)


def _costly(value: Value, rewriter: _Rewriter) -> bool:
    """Whether a product of constants takes too long to be computed here."""
    if value.op != "contract":
        return False
    left, right = (rewriter.get(r.source) for r in value.reads)
    if left is None or right is None:
        return True
    letters = zip(
        value.attr("left") + value.attr("right"), left.type.shape + right.type.shape, strict=True
    )
    sizes = dict(letters).values()
    return any(isinstance(s, Dim) for s in sizes) or prod(sizes) > FOLD_LIMIT


def _large(value: Value) -> bool:
    total = 1
    for s in value.type.shape:
        if not isinstance(s, int):
            return True
        total *= s
    return total > FOLD_LIMIT


def _copy_of(value: Value, r: Read) -> Value:
    return replace(value, op="copy", reads=(r,), attrs=())


def compose(inner: Read, outer: Read) -> Read:
    """The read of what ``inner`` reads, by someone who reads its reader as ``outer`` does."""

    def index(i: Index) -> Index:
        return i if i.fixed else outer.index(i.base).shifted(i.offset)

    axes = dict(inner.at)
    moved = {a: index(i) for a, i in axes.items()}
    for axis, i in outer.at:
        moved.setdefault(axis, i)
    return read(inner.source, moved)


# ---------------------------------------------------------------- rules


def _alias(w: _Rewriter, v: Value) -> Result:
    return v.reads[0]


def _is(w: _Rewriter, v: Value, position: int, number: float) -> bool:
    found = w.constant(v, position)
    return found is not None and not isinstance(found, bool) and found == number


def _add(w: _Rewriter, v: Value) -> Result:
    if _is(w, v, 0, 0):
        return v.reads[1]
    return v.reads[0] if _is(w, v, 1, 0) else None


def _sub(w: _Rewriter, v: Value) -> Result:
    if _is(w, v, 1, 0):
        return v.reads[0]
    if _is(w, v, 0, 0) and _same_form(w, v, 1):
        return replace(v, op="neg", reads=(v.reads[1],))
    return None


def _mul(w: _Rewriter, v: Value) -> Result:
    if _is(w, v, 0, 1):
        return v.reads[1]
    return v.reads[0] if _is(w, v, 1, 1) else None


def _div(w: _Rewriter, v: Value) -> Result:
    return v.reads[0] if _is(w, v, 1, 1) else None


def _pow(w: _Rewriter, v: Value) -> Result:
    if _is(w, v, 1, 1):
        return v.reads[0]
    if _is(w, v, 1, 2):
        return replace(v, op="mul", reads=(v.reads[0], v.reads[0]))
    if _is(w, v, 1, 0.5) and _same_form(w, v, 0):
        return replace(v, op="sqrt", reads=(v.reads[0],))
    return None


def _neg(w: _Rewriter, v: Value) -> Result:
    inner = w.operand(v, 0)
    return w.through(v, 0) if inner is not None and inner.op == "neg" else None


def _where(w: _Rewriter, v: Value) -> Result:
    flag = w.constant(v, 0)
    if flag is not None:
        chosen = 1 if flag else 2
        return v.reads[chosen] if _same_form(w, v, chosen) else None
    return v.reads[1] if v.reads[1] == v.reads[2] and _same_form(w, v, 1) else None


def _same_form(w: _Rewriter, v: Value, position: int) -> bool:
    """Whether an operand alone has the type and the axes of the whole."""
    r = v.reads[position]
    source = w.get(r.source)
    if source is None or source.type != v.type:
        return False
    axes = {r.index(a).base for a in source.axes if not r.index(a).fixed}
    return axes == set(v.axes)


def _log(w: _Rewriter, v: Value) -> Result:
    """Logarithms of softmax and sigmoid, in the forms that do not overflow."""
    inner = w.operand(v, 0)
    if inner is None:
        return None
    if inner.op == "softmax" and not v.reads[0].at:
        return replace(v, op="log_softmax", reads=(w.through(v, 0),), attrs=inner.attrs)
    if inner.op == "sigmoid":  # log σ(a) = -softplus(-a)
        return _minus_softplus(w, v, w.through(v, 0), negate=True)
    if inner.op == "sub" and not v.reads[0].at and _is(w, inner, 0, 1):
        gate = w.operand(inner, 1)
        if gate is not None and gate.op == "sigmoid" and _same_form(w, inner, 1):
            # log(1 - σ(a)) = -softplus(a)
            return _minus_softplus(w, v, w.through(inner, 1), negate=False)
    return None


def _minus_softplus(w: _Rewriter, v: Value, a: Read, negate: bool) -> Result:
    before = []
    if negate:
        minus = replace(
            v,
            name=w.system.fresh(f"{v.name}.minus", w.values),
            op="neg",
            reads=(a,),
            attrs=(),
            bounds=(),
        )
        before.append(minus)
        a = Read(minus.name)
    soft = replace(
        v,
        name=w.system.fresh(f"{v.name}.soft", w.values),
        op="softplus",
        reads=(a,),
        attrs=(),
        bounds=(),
    )
    before.append(soft)
    return _New(tuple(before), replace(v, op="neg", reads=(Read(soft.name),), attrs=()))


def _contract(w: _Rewriter, v: Value) -> Result:
    """A transposed operand is a change of letters."""
    attrs: dict[str, Any] = dict(v.attrs)
    for position, side in enumerate(("left", "right")):
        source = w.operand(v, position)
        if source is not None and source.op == "transpose":
            reads = list(v.reads)
            reads[position] = w.through(v, position)
            attrs[side] = attrs[side][::-1]
            return replace(v, reads=tuple(reads), attrs=tuple(attrs.items()))
    return None


def _transpose(w: _Rewriter, v: Value) -> Result:
    inner = w.operand(v, 0)
    return w.through(v, 0) if inner is not None and inner.op == "transpose" else None


def _slice(w: _Rewriter, v: Value) -> Result:
    """A part of a part; all of a vector."""
    source = w.get(v.reads[0].source)
    if source is None:
        return None
    start, stop = v.attr("start"), v.attr("stop")
    if start == 0 and source.type.shape[0] == stop:
        return v.reads[0]
    inner = w.operand(v, 0)
    if inner is not None and inner.op == "slice":
        base: Size = inner.attr("start")
        return replace(
            v, reads=(w.through(v, 0),), attrs=(("start", base + start), ("stop", base + stop))
        )
    return None


def _broadcast(w: _Rewriter, v: Value) -> Result:
    source = w.get(v.reads[0].source)
    return v.reads[0] if source is not None and source.type.shape == v.type.shape else None


RULES: dict[str, Callable[[_Rewriter, Value], Result]] = {
    "copy": _alias,
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "pow": _pow,
    "neg": _neg,
    "where": _where,
    "log": _log,
    "contract": _contract,
    "transpose": _transpose,
    "slice": _slice,
    "broadcast": _broadcast,
}
