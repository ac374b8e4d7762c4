"""One sweep over a System that puts simpler values in the place of others.

It folds constants, lets one of several equal values stand for all, and asks a table of rules:
a rule looks at one value and gives what to put in its place, another Value of the same name, a
Read of something that exists already, or None. (The rules of ``simplify`` are in ``rules``.)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from rnnc.graph.names import is_temporary
from rnnc.graph.ops import GIVEN, OPS
from rnnc.graph.system import Distribution, System, Value, fresh, moved, read_axes
from rnnc.graph.types import Array, Dim, Read, Type, told_apart
from rnnc.passes.editor import derived

FOLD_LIMIT = 1 << 24  # entries of an array worth computing at compile time
CONSTANT = frozenset(("constant", "size", "arange", "eye"))

Result = Value | Read | None


Rule = Callable[["Rewriter", Value], Result]
Rules = Mapping[str, Sequence[Rule]]


class Rewriter:
    """One sweep over the values; what is rewritten early is seen by what comes later."""

    def __init__(self, system: System, rules: Rules):
        self.system = system
        self.rules = rules
        self.values: dict[str, Value] = {}
        self.alias: dict[str, Read] = {}
        self.known: dict[Hashable, Value] = {}
        self.taken = set(system.values)
        self.results = set(system.results)
        self.shifted = self._shifted()
        self.changed = False

    def _shifted(self) -> set[str]:
        """Values that are read at other steps than their reader's: their boundaries matter."""
        return {
            r.source
            for value in self.system.values.values()
            for _, r in value.all_reads()
            if r.at and any(not i.fixed or i.offset != 0 for _, i in r.at)
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
            r = self.compose(self.alias[r.source], r)
        return r

    def _visit(self, value: Value) -> None:
        value = value.map_reads(self._resolve)
        result = self._rewrite(value)
        if isinstance(result, Read):
            if self._replaceable(value, result):
                self.alias[value.name] = result
                if value.name in self.shifted:
                    self.shifted.add(result.source)  # which may be still to come
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
        for rule in self.rules.get(value.op, ()):
            result = rule(self, value)
            if result is not None:
                return result
        return None

    def _read(self, value: Value) -> bool:
        """Whether anything reads the value."""
        return bool(self.system.readers.get(value.name))

    def _replaceable(self, value: Value, r: Read) -> bool:
        """Whether a read ``r`` can stand for the value wherever that is read."""
        if not self._same_form(value, r):
            return False
        if value.name not in self.shifted:
            return True
        # elsewhere it may be read outside its steps: then the boundaries must agree
        return not r.at and self.source(r).bounds == value.bounds

    def _twin(self, value: Value) -> Value | None:
        """An earlier value that computes the same."""
        if value.op in GIVEN or (value.op == "copy" and value.name in self.results):
            return None
        attrs = told_apart(value.attrs) if value.op == "constant" else value.attrs
        key = (value.op, value.reads, attrs, value.axes, value.type, value.bounds)
        other = self.known.setdefault(key, value)
        return None if other is value or other.name == value.name else other

    def get(self, name: str) -> Value | None:
        """A value as it stands now."""
        return self.values.get(name) or self.system.values.get(name)

    def operand(self, value: Value, position: int) -> Value | None:
        """The value an operand reads at the reader's own step (or at a step that exists)."""
        r = value.reads[position]
        if r.at and any(not i.fixed or i.offset != 0 for _, i in r.at):
            return None
        return self.get(r.source)

    def through(self, value: Value, position: int, inner: int = 0) -> Read:
        """The read, seen from ``value``, of operand ``inner`` of its operand ``position``."""
        r = value.reads[position]
        return self.compose(self.source(r).reads[inner], r)

    def source(self, r: Read) -> Value:
        """What is read, as it stands now."""
        source = self.get(r.source)
        assert source is not None
        return source

    def compose(self, inner: Read, outer: Read) -> Read:
        """The read of what ``inner`` reads, by someone who reads its reader as ``outer`` does."""
        if not outer.at:
            return inner
        return moved(inner, self.source(inner).axes, outer.index)

    def type(self, r: Read) -> Type:
        return self.source(r).type

    def axes(self, r: Read) -> frozenset[str]:
        """The reader's axes over which an operand varies."""
        return frozenset(read_axes(self.source(r).axes, r))

    def fills(self, value: Value, position: int) -> bool:
        """Whether an operand alone has the type and the axes of the whole."""
        return self._same_form(value, value.reads[position])

    def _same_form(self, value: Value, r: Read) -> bool:
        return self.type(r) == value.type and self.axes(r) == set(value.axes)

    def private(self, value: Value, position: int) -> bool:
        """Whether an operand is computed for this reader alone."""
        name = value.reads[position].source
        readers = self.system.readers.get(name)  # None of what this sweep made
        alone = readers is None or len(readers) == 1
        return alone and name not in self.results and is_temporary(name)

    def new(self, like: Value, op: str, *reads: Read, **attrs: Hashable) -> Read:
        """A value before ``like``, whose type and axes follow from its operands."""
        name = fresh(f"{like.name}.1", self.taken)
        self.taken.add(name)
        sources = [self.source(r) for r in reads]
        settings = tuple(attrs.items())
        self.values[name] = derived(self.system, name, op, reads, sources, settings, like.origins)
        return Read(name)

    def constant(self, value: Value, position: int) -> float | int | bool | None:
        """The number that an operand is, or None."""
        source = self.get(value.reads[position].source)
        return None if source is None or source.type.rank else self.uniform(value, position)

    def uniform(self, value: Value, position: int) -> float | int | bool | None:
        """The number that all entries of an operand are, or None."""
        source = self.get(value.reads[position].source)
        if source is None or source.op != "constant":
            return None
        held = source.attr("value")
        return held.uniform if isinstance(held, Array) else held

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


def _costly(value: Value, rewriter: Rewriter) -> bool:
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
