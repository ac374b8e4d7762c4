"""A fixed number of steps: one value per step, no axis left.

    h[t] = tanh(W h[t-1] + U x[t])      →      h@1 = tanh(W h@0 + U x@1), h@2 = …

Boundaries become ordinary reads, and conditions on the step number become constants (which
``simplify`` then folds away). Reductions over the axis get their steps stacked again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from rnnc.graph.edges import edge
from rnnc.graph.ops import DATA
from rnnc.graph.system import System, Value
from rnnc.graph.types import FIRST, LAST, Bound, Index, Read, read, whole
from rnnc.passes.moves import single_moves
from rnnc.source import InternalError, UsageError

MOST_VALUES = 200_000  # of an unrolled system: each takes some of a millisecond and a kilobyte


Counts = int | Mapping[str, int]


def unroll(system: System, counts: Counts) -> System:
    """The system over exactly so many steps of its time axes, or of those that ``counts`` names;
    inputs and outputs keep the axes.

    :raises UsageError: there is no such axis, its length is another, or that would be absurdly
        many values.
    """
    for axis, count in _checked(system, counts).items():
        values = count * sum(axis in v.axes for v in system.values.values())
        if values > MOST_VALUES:
            raise UsageError(
                f"{count:,} steps unrolled would be {values:,} operations, more than "
                f"{MOST_VALUES:,}; unroll fewer, or leave unroll out: a loop takes any number"
            )
        system = _Unrolled(single_moves(system), axis, count, keep=True).run()
    return system


def _checked(system: System, counts: Counts) -> dict[str, int]:
    """How many steps each axis that is unrolled has; axes of one length have as many."""
    axes = system.time_axes()
    given = dict.fromkeys(axes, counts) if isinstance(counts, int) else dict(counts)
    for axis, count in given.items():
        if axis not in axes:
            has = f"it has {', '.join(axes)}" if axes else "it has none"
            raise UsageError(f"the model has no axis {axis} to unroll; {has}")
        if count < 1:
            raise UsageError("at least one step is unrolled")
    out: dict[str, int] = {}
    for axis in axes:
        length = system.axes[axis].length
        told = {given[a] for a in given if system.axes[a].length == length}
        size = system.axes[axis].size
        if len(told) > 1 or (told and size is not None and told != {whole(size)}):
            raise UsageError(f"the axis {axis} has one length, {length}, and cannot be unrolled so")
        if told:
            out[axis] = told.pop()
    return out


def one_step(system: System, axis: str) -> System:
    """The system at a single step of an axis: nothing varies over it any more, inputs neither."""
    return _Unrolled(single_moves(system), axis, 1, keep=False).run()


class _Unrolled:
    def __init__(self, system: System, axis: str, count: int, keep: bool):
        self.system = system
        self.axis = axis
        self.count = count
        self.keep = keep  # whether the axis stays on inputs and outputs
        self.values: dict[str, Value] = {}
        self.whole_arrays = {v.name for v in system.values.values() if self._is_whole(v)}

    def _is_whole(self, v: Value) -> bool:
        """Values that stay arrays over the axis: what comes from outside, and what a
        normalisation over the axis gives."""
        if self.axis not in v.axes:
            return False
        return v.op in DATA or self._reduces(v)

    def _reduces(self, v: Value) -> bool:
        return self.axis in v.over

    def run(self) -> System:
        system = self.system
        steps = [v for v in system.values.values() if self._per_step(v)]
        whole_values = [v for v in system.values.values() if not self._per_step(v)]
        for v in whole_values:
            if v.op == "length" and v.attr("axis") == self.axis:
                self._constant(v, self.count)
            elif self._reduces(v) or v.name in self.whole_arrays:
                self._make_whole(v)
            else:
                self._make(v, v.name, 1)
        for i in self._steps():
            for v in steps:
                if v.op == "step":
                    self._constant(replace(v, name=self._name(v.name, i)), i)
                else:
                    self._make(v, self._name(v.name, i), i)
        if self.keep:
            for name in system.results:
                v = system.values[name]
                if self._per_step(v):
                    self._stack(name, v, [Read(self._name(name, i)) for i in self._steps()])
        axes = dict(system.axes)
        if self.keep:
            axes[self.axis] = replace(axes[self.axis], size=self.count)
        else:
            del axes[self.axis]
        targets = {
            name: d.map_reads(lambda r: self._read(r, 1))
            for name, d in system.targets.items()
            if all(r.source in self.values for r in d.all_reads)
        }
        return system.with_values(self.values, axes=axes, targets=targets)

    def _per_step(self, v: Value) -> bool:
        return self.axis in v.axes and v.name not in self.whole_arrays

    def _steps(self) -> range:
        return range(1, self.count + 1)

    def _name(self, name: str, step: int) -> str:
        """A value at one step: ``h@2``, or ``e@t2`` where there are other axes."""
        tag = self.axis if len(self.system.time_axes()) > 1 else ""
        return f"{name}@{tag}{step}" if self.keep else name

    def _without(self, v: Value) -> tuple[str, ...]:
        return tuple(a for a in v.axes if a != self.axis)

    def _constant(self, v: Value, number: int) -> None:
        self.values[v.name] = Value(
            v.name, "constant", (), v.type, (), (("value", number),), (), v.origins
        )

    def _make(self, v: Value, name: str, step: int) -> None:
        """The value at one step (or at none, if it does not vary)."""
        reads = tuple(self._read(r, step) for r in v.reads)
        bounds = self._bounds(v, lambda r: self._read(r, step))
        self.values[name] = replace(v, name=name, axes=self._without(v), reads=reads, bounds=bounds)

    def _make_whole(self, v: Value) -> None:
        """A value over all steps: what comes from outside, or a reduction of what is stacked."""
        axes = v.axes if self.keep else self._without(v)
        if self._reduces(v) and not self.keep:
            raise InternalError(f"{v.name} reduces over the axis of a single step")
        reads = tuple(map(self._whole, v.reads))
        self.values[v.name] = replace(
            v, axes=axes, reads=reads, bounds=self._bounds(v, self._whole)
        )

    def _bounds(self, v: Value, change: Callable[[Read], Read]) -> tuple[Bound, ...]:
        """The boundaries along other axes."""
        return tuple(Bound(b.axis, b.step, change(b.read)) for b in v.bounds if b.axis != self.axis)

    def _stack(self, name: str, like: Value, parts: Iterable[Read]) -> Read:
        """One value of the steps of the axis."""
        attrs = (("axis", self.axis),)
        self.values[name] = replace(
            like, name=name, op="stack", reads=tuple(parts), attrs=attrs, bounds=()
        )
        return Read(name)

    def _whole(self, r: Read) -> Read:
        """A read at all steps of the axis, if it varies over it."""
        source = self.system.values[r.source]
        axes = self.system.ordered(self.system.read_axes(r))
        if self.axis not in axes or not self.keep:
            return self._read(r, 1)
        if r.source in self.whole_arrays and not r.at:
            return r
        base = f"{r.source}:all"
        if r.at:
            base = f"{base}{len(self.values)}"
        elif base in self.values:
            return Read(base)
        parts = [self._read(r, i) for i in self._steps()]
        return self._stack(base, replace(source, axes=axes), parts)

    def _read(self, r: Read, step: int) -> Read:
        """The read of an operand by a value at ``step``."""
        source = self.system.values[r.source]
        others = {}
        for axis, index in r.at:
            if axis != self.axis:  # another axis of this length, read at this one's step
                here = index.base == self.axis
                others[axis] = Index(FIRST, step - 1 + index.offset) if here else index
        if self.axis not in source.axes:
            return read(r.source, others)
        index = r.index(self.axis)
        if not index.fixed and index.base != self.axis:
            whole_read = self._whole(Read(r.source))
            return read(whole_read.source, {**others, self.axis: index})
        base = {FIRST: 1, LAST: self.count}.get(index.base, step)
        position = base + whole(index.offset)
        if position < 1:
            return self._edge(source, Index(FIRST, position - 1))
        if position > self.count:
            return self._edge(source, Index(LAST, position - self.count))
        if r.source in self.whole_arrays:
            if not self.keep:
                return read(r.source, others)
            return read(r.source, {**others, self.axis: Index(FIRST, position - 1)})
        return read(self._name(r.source, position), others)

    def _edge(self, source: Value, step: Index) -> Read:
        """What stands outside the steps, in the form of the source."""
        bound = source.bound_at(self.axis, step)
        later: Value | None = None
        if bound is not None and self.axis in self.system.values[bound.source].axes:
            there = self.system.values[bound.source]
            bound = self._read(bound, 1)
            if bound.source not in self.values and bound.source not in self.system.values:
                later = replace(there, axes=self._without(there))  # a step still to be made
        axes = self._without(source)
        found = edge(self.system, self.values, bound, source.type, axes, later)
        if found == bound or not self.keep:
            return found
        position = whole(step.offset) + (1 if step.base == FIRST else self.count)
        name = self._name(source.name, position)  # h@0: it reads like any other step
        self.values.setdefault(name, Value(name, "copy", (found,), source.type, axes))
        return Read(name)
