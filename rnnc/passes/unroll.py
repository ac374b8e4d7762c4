"""A fixed number of steps: one value per step, no axis left.

    h[t] = tanh(W h[t-1] + U x[t])      →      h@1 = tanh(W h@0 + U x@1), h@2 = …

Boundaries become ordinary reads, and conditions on the step number become constants (which
``simplify`` then folds away). Reductions over the axis get their steps stacked again.
"""

from __future__ import annotations

from dataclasses import replace

from rnnc.graph.edges import edge
from rnnc.graph.ops import DATA
from rnnc.graph.system import System, Value
from rnnc.graph.types import FIRST, LAST, Index, Read, read, whole
from rnnc.source import InternalError, UsageError

MOST_VALUES = 200_000  # of an unrolled system: each takes some of a millisecond and a kilobyte


def unroll(system: System, count: int) -> System:
    """The system over exactly ``count`` steps of its time axis; inputs and outputs keep the
    axis. Raises UsageError where that would be absurdly many values."""
    for axis in system.time_axes():
        values = count * sum(axis in v.axes for v in system.values.values())
        if values > MOST_VALUES:
            raise UsageError(
                f"{count:,} steps unrolled would be {values:,} operations, more than "
                f"{MOST_VALUES:,}; unroll fewer, or leave unroll out: a loop takes any number"
            )
        system = _Unrolled(system, axis, count, keep=True).run()
    return system


def one_step(system: System) -> System:
    """The system at a single step: nothing has a time axis any more, inputs neither."""
    for axis in system.time_axes():
        system = _Unrolled(system, axis, 1, keep=False).run()
    return system


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
            if v.op in DATA and self.axis in v.axes and not self.keep:
                self.values[v.name] = replace(v, axes=self._without(v), bounds=())
            elif v.op == "length" and v.attr("axis") == self.axis:
                self._constant(v, self.count)
            elif self._reduces(v):
                self._reduce(v)
            else:
                self._make(v, v.name, 1)
        for i in range(1, self.count + 1):
            for v in steps:
                if v.op == "step":
                    self._constant(replace(v, name=self._name(v.name, i)), i)
                else:
                    self._make(v, self._name(v.name, i), i)
        if self.keep:
            for name in system.results:
                v = system.values[name]
                if self._per_step(v):
                    reads = tuple(Read(self._name(name, i)) for i in range(1, self.count + 1))
                    self.values[name] = replace(
                        v, op="stack", reads=reads, attrs=(("axis", self.axis),), bounds=()
                    )
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

    def _name(self, name: str, step: int) -> str:
        return f"{name}@{step}" if self.keep else name

    def _without(self, v: Value) -> tuple[str, ...]:
        return tuple(a for a in v.axes if a != self.axis)

    def _constant(self, v: Value, number: int) -> None:
        self.values[v.name] = Value(
            v.name, "constant", (), v.type, (), (("value", number),), (), v.origins
        )

    def _make(self, v: Value, name: str, step: int) -> None:
        """The value at one step (or at none, if it does not vary)."""
        axes = v.axes if v.name in self.whole_arrays else self._without(v)
        reads = tuple(self._read(r, step) for r in v.reads)
        self.values[name] = replace(v, name=name, axes=axes, reads=reads, bounds=())

    def _reduce(self, v: Value) -> None:
        """A reduction over the axis: of all steps, stacked."""
        if not self.keep:
            raise InternalError(f"{v.name} reduces over the axis of a single step")
        reads = []
        for r in v.reads:
            source = self.system.values[r.source]
            if self.axis not in source.axes or r.index(self.axis).fixed:
                reads.append(self._read(r, 1))
            elif r.source in self.whole_arrays and not r.at:
                reads.append(r)
            else:
                parts = tuple(self._read(r, i) for i in range(1, self.count + 1))
                name = f"{r.source}:{'all' if not r.at else f'all{len(self.values)}'}"
                self.values[name] = Value(
                    name,
                    "stack",
                    parts,
                    source.type,
                    source.axes,
                    (("axis", self.axis),),
                    (),
                    source.origins,
                )
                reads.append(Read(name))
        self.values[v.name] = replace(v, reads=tuple(reads), bounds=())

    def _read(self, r: Read, step: int) -> Read:
        """The read of an operand by a value at ``step``."""
        source = self.system.values[r.source]
        if self.axis not in source.axes:
            return r
        index = r.index(self.axis)
        base = {FIRST: 1, LAST: self.count}.get(index.base, step)
        position = base + whole(index.offset)
        others = [(a, i) for a, i in r.at if a != self.axis]
        if position < 1:
            return self._edge(source, Index(FIRST, position - 1))
        if position > self.count:
            return self._edge(source, Index(LAST, position - self.count))
        if r.source in self.whole_arrays:
            if not self.keep:
                return read(r.source, others)
            return read(r.source, [*others, (self.axis, Index(FIRST, position - 1))])
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
