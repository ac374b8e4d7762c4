"""Sequences of a batch that have lengths of their own: the equations hold for t = 1..L of each.

    s = sum[t](h[t])               s = sum[t](where(t <= L, h[t], 0))
    g[t] = W g[t+1] + x[t]    →    g.own[t] = where(t <= L, W g.own[t+1] + x.own[t], 0)
    y = h[T]                       y = sum[t](where(t == L, h[t], 0))

L is an input, ``t.lengths``, one whole number per sequence; axes of one length name share it. Up
to L all values are what they are for the sequence alone. Past the end results are 0, and whatever
else is there is never seen: it is left out by ``where``, since a product with 0 would let
infinities through. For gradients everything has to be finite there, too; ``padding`` knows what
is, and says where a mask is needed for it.

Boundaries after the last step become operands, ``where(t + 1 <= L, g[t+1], b)``. What a reduction
over the batch takes of a sequence that has ended is 0 (of a maximum: nothing).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from rnnc.graph.names import LENGTHS
from rnnc.graph.ops import GIVEN
from rnnc.graph.system import System, Value, moved
from rnnc.graph.types import BATCH, FIRST, LAST, Bound, Index, Read, Type, read, whole
from rnnc.passes.emitter import INF, Emitter
from rnnc.passes.padding import Padding, Tail, met_bounds
from rnnc.passes.reaxed import reaxed
from rnnc.source import UsageError

FILLS: dict[str, float] = {  # what changes no reduction
    "sum": 0.0, "max": -INF, "min": INF, "argmax": -INF,
    "softmax": -INF, "log_softmax": -INF, "logsumexp": -INF,
}  # fmt: skip
MASKED = ("input", "target")  # what comes from outside, perhaps NaN past the end


def lengths(system: System, axes: Sequence[str]) -> System:
    """The system with an input ``<axis>.lengths`` for each of ``axes``.

    :raises UsageError: there is no such axis.
    """
    groups = {a: length_input(system, a) for a in axes}
    timed = {
        a: groups[first]
        for first in groups
        for a in system.time_axes()
        if system.axes[a].length == system.axes[first].length
    }
    return _Lengths(system, timed).run()


def length_input(system: System, axis: str) -> str:
    """The name of the input with the lengths along an axis.

    :raises UsageError: there is no such axis.
    """
    times = system.time_axes()
    if axis not in times:
        has = f"it has {', '.join(times)}" if times else "it has none"
        raise UsageError(f"lengths are along a time axis; {system.name} has no axis {axis}: {has}")
    same = [a for a in times if system.axes[a].length == system.axes[axis].length]
    return same[0] + LENGTHS


class _Lengths(Emitter):
    """A system while its values are masked; ``timed`` gives the input of each axis's lengths."""

    def __init__(self, system: System, timed: Mapping[str, str]):
        super().__init__(system, timed)
        self.padding = Padding(system, timed)
        self.forms: dict[tuple[str, tuple[str, ...]], str] = {}
        self.bounds: dict[str, tuple[Bound, ...]] = {}
        self.inner = {  # results are masked, and go by another name inside
            name: self._fresh(f"{name}.all")
            for name in system.results
            if self._axes(name) and system[name].op not in GIVEN
        }
        self.types |= {inner: self.types[name] for name, inner in self.inner.items()}
        for axis, name in timed.items():
            attrs = (("lengths", axis),)
            if name not in self.values:
                self.values[name] = Value(name, "input", (), Type("index"), (BATCH,), attrs)
                self.types[name] = Type("index")

    def run(self) -> System:
        for v in self.system.values.values():
            self.owner = v.name
            self._visit(v)
        for (name, _), form in self.forms.items():
            self.values[form] = replace(self.values[form], bounds=self.bounds[name])
        read_elsewhere = {r.source for v in self.values.values() for _, r in v.all_reads() if r.at}
        values = {
            n: v if n in read_elsewhere else replace(v, bounds=()) for n, v in self.values.items()
        }
        return reaxed(self.system, values).pruned()

    def _visit(self, v: Value) -> None:
        bounds = tuple(
            Bound(b.axis, b.step, self.operand(v.name, b.read))
            for b in v.bounds
            if b.axis not in self.timed or b.step.base == FIRST
        )
        self.bounds[v.name] = bounds
        name = self.inner.get(v.name, v.name)
        if v.op == "length" and v.attr("axis") in self.timed:
            made = replace(v, op="copy", reads=(self.length(v.attr("axis")),), attrs=())
        elif (counted := self._counted(v)) is not None:
            made = replace(v, op="copy", reads=(counted,), attrs=())
        else:
            made = replace(v, reads=self._operands(v))
        self.values[name] = replace(made, name=name, bounds=bounds)
        if name != v.name:
            self._mask(v.name, self._axes(v.name), v.name)

    # ---------------------------------------------------------------- operands

    def _operands(self, v: Value) -> tuple[Read, ...]:
        """The operands of a value, masked where it reduces over them or must stay finite."""
        out = []
        factors = self._factors(v)
        for i, r in enumerate(v.reads):
            fills: dict[str, float] = {}
            for axis in self.timed:
                if not self.padding.varies(r, axis):
                    continue
                fill = self.padding.fill(v, i, axis)
                if axis in v.over or BATCH in v.over:
                    fill = FILLS.get(v.op, 0.0 if (i, axis) in factors else fill)
                if fill is not None:
                    fills[axis] = fill
            made = self.operand(v.name, r, [a for a, fill in fills.items() if fill == 0.0])
            for axis, fill in fills.items():
                if fill != 0.0:
                    made = self._where(self.active(axis), made, self._constant(made, fill))
            out.append(made)
        return tuple(out)

    def _factors(self, v: Value) -> set[tuple[int, str]]:
        """The operands of a summed product that are to be 0 past the end: one is enough."""
        out: set[tuple[int, str]] = set()
        if v.op not in ("contract", "scatter"):
            return out
        for axis in self.timed:
            if axis not in v.over and BATCH not in v.over:
                continue
            over = [i for i, r in enumerate(v.reads) if self.padding.varies(r, axis)]
            levels = [self.padding.operand(v.name, v.reads[i], axis) for i in over]
            if over and Tail.ZERO not in levels:
                ranks = [self.types[v.reads[i].source].rank for i in over]
                out.add((over[ranks.index(min(ranks))], axis))
        return out

    def operand(self, reader: str, r: Read, zero: Iterable[str] = ()) -> Read:
        """What a read of the system as it was becomes; 0 past the end of the reader's axes in
        ``zero``."""
        source = self.system[r.source]
        edges = self._edges(source, r)
        masks = set(self.padding.cut(reader, r))
        if source.op in MASKED:
            masks.update(self._axes(source.name))
        steps: dict[str, int] = {}
        for axis in self._axes(source.name):
            index = r.index(axis)
            offset = whole(index.offset)
            if index.base == LAST and offset <= 0:
                steps[axis] = offset
            elif index.base != LAST and offset > 0 and axis not in edges:
                masks.add(axis)  # what stands past the end is zero
        late = []  # the axes along which a mask of the source is not enough
        for axis in zero:
            met = [a for a in source.axes if r.index(a).base == axis]
            if len(met) > 1 or edges or met_bounds(source, r) or r.index(met[0]).offset != 0:
                late.append(axis)
            else:
                masks.add(met[0])
        made, edges = self._always_outside(reader, r, edges)
        if made is None:
            form = self._form(source.name, masks)
            if steps:
                form = self._picked(source, form, steps)
            made = read(form, ((a, i) for a, i in r.at if a not in steps))
        for axis in reversed(edges):
            made = self._guarded(reader, r, axis, made)
        for axis in late:
            made = self._masked(made, axis)
        return made

    def _edges(self, source: Value, r: Read) -> list[str]:
        """The axes along which a boundary that a read may meet is chosen by ``where``, the one
        that goes before others first; elsewhere the boundaries of the source serve."""
        outside = [a for a in source.axes if r.index(a).offset != 0]
        hard = [a for a in outside if self._own_end(a, r)]
        if not source.bounds:
            return []
        if len(outside) == 1:
            return [b.axis for b in met_bounds(source, r) if b.axis in hard][:1]
        if outside and any(self._needs_own_end(b.read) for b in met_bounds(source, r)):
            return outside  # it has no boundaries itself, where it is read still further out
        return outside[: outside.index(hard[-1]) + 1] if hard else []

    def _own_end(self, axis: str, r: Read) -> bool:
        """Whether it takes the length of a sequence to say if a read is outside along an axis."""
        index = r.index(axis)
        return axis in self.timed and (whole(index.offset) > 0 or index.base == LAST)

    def _needs_own_end(self, r: Read) -> bool:
        axes = self.system[r.source].axes
        return any(r.index(a).offset != 0 and self._own_end(a, r) for a in axes)

    def _always_outside(
        self, reader: str, r: Read, edges: list[str]
    ) -> tuple[Read | None, list[str]]:
        """``h[T+1]``: the boundary, in the form and over the axes of the read, with the axes whose
        boundaries go before it; None for a read that is not always outside."""
        for i, axis in enumerate(edges):
            index = r.index(axis)
            if index.base == (FIRST if whole(index.offset) < 0 else LAST):
                made = self._bound(reader, r, axis, index)
                type_ = self.system[r.source].type
                if self.types[made.source] != type_:
                    made = self._emit("broadcast", made, shape=type_.shape)
                return self._stretched(made, self.system.read_axes(r)), edges[:i]
        return None, edges

    def _bound(self, reader: str, r: Read, axis: str, step: Index) -> Read:
        """What stands outside of a value, where ``r`` reads it; perhaps a mere number."""
        source = self.system[r.source]
        bound = source.bound_at(axis, step)
        if bound is None:
            return self._zero(source.type)
        return self.operand(reader, moved(bound, self.system[bound.source].axes, r.index))

    def _guarded(self, reader: str, r: Read, axis: str, x: Read) -> Read:
        """``h[t+k]``, or ``h[3]``, or ``h[t-k]``, where it is a step of the sequence; else the
        boundary."""
        index = r.index(axis)
        offset = whole(index.offset)
        end = self.length(axis) if axis in self.timed else self._emit("length", axis=axis)
        if index.fixed:
            here = self._number(1) if index.base == FIRST else end
        else:
            here = self.step(index.base)
        here, side = self._shifted(here, offset), FIRST if offset < 0 else LAST
        sign, count = (-1, -offset) if offset < 0 else (1, offset)
        bounds = [self._bound(reader, r, axis, Index(side, sign * (j + 1))) for j in range(count)]

        def within(by: int) -> Read:  # so many steps outside, or less
            if side == FIRST:
                return self._emit("ge", here, self._number(1 - by))
            return self._emit("le", here, self._shifted(end, by))

        other = bounds[-1]
        for j in range(count - 1, 0, -1):
            if bounds[j - 1] != other:
                other = self._where(within(j), bounds[j - 1], other)
        return self._where(within(0), x, other)

    def _picked(self, source: Value, form: str, steps: Mapping[str, int]) -> str:
        """``h[T-1]``: the one step of each sequence, by its own length."""
        key = ("picked", form, tuple(steps.items()))
        if key not in self.known:
            self.known[key] = Read(self._pick(source, form, steps))
        return self.known[key].source

    def _pick(self, source: Value, form: str, steps: Mapping[str, int]) -> str:
        kind, over = source.type.kind, self.system.ordered(steps)
        places = [
            self._emit("eq", self.step(a), self._shifted(self.length(a), o))
            for a, o in steps.items()
        ]
        here = places[0]
        for place in places[1:]:
            here = self._emit("and", here, place)
        x = Read(form)
        if kind == "flag":
            x = self._where(x, self._number(1), self._number(0))
        total = self._emit("sum", self._where(here, x, self._zero(self.types[x.source])), over=over)
        if kind == "flag":
            total = self._emit("gt", total, self._number(0))
        at = {a: Index(LAST, o) for a, o in steps.items()}
        for axis, offset in steps.items():
            for length in range(1, 1 - offset):  # so short that it lies before the first step
                bound = source.bound_at(axis, Index(FIRST, length + offset - 1))
                if bound is not None:
                    axes = self.system[bound.source].axes
                    there = moved(bound, axes, lambda a: at.get(a, Index(a)))
                    short = self._emit("eq", self.length(axis), self._number(length))
                    total = self._where(short, self.operand(source.name, there), total)
        made = self._named(f"{source.name}.end", total)
        bounds = tuple(
            Bound(b.axis, b.step, self.operand(source.name, moved(
                b.read, self.system[b.read.source].axes, lambda a: at.get(a, Index(a))
            )))
            for b in source.bounds
            if b.axis not in steps and (b.axis not in self.timed or b.step.base == FIRST)
        )  # fmt: skip
        self.values[made] = replace(self.values[made], bounds=bounds)
        return made

    # ---------------------------------------------------------------- masks

    def _form(self, name: str, masks: Iterable[str]) -> str:
        """A value with zeros past the end of some of its axes, as far as it has none there."""
        v = self.system[name]
        axes = self.system.ordered(
            a for a in masks
            if v.op in MASKED or self.padding.level(name, a) != Tail.ZERO
        )  # fmt: skip
        if not axes:
            return self.inner.get(name, name)
        if name in self.inner:
            return name
        if (name, axes) not in self.forms:
            self.forms[name, axes] = form = self._fresh(f"{name}.own")
            self._mask(name, axes, form)
        return self.forms[name, axes]

    def _mask(self, name: str, axes: Sequence[str], form: str) -> None:
        """Define ``form`` as the value with zeros past the end of these axes."""
        made = Read(self.inner.get(name, name))
        for axis in axes[:-1]:
            made = self._masked(made, axis)
        reads = (self.active(axes[-1]), made, self._zero(self.types[name]))
        self.types[form] = self.types[name]
        origins = self.system[name].origins
        self.values[form] = Value(
            form, "where", reads, self.types[name], (), (), self.bounds.get(name, ()), origins
        )

    def _masked(self, r: Read, axis: str) -> Read:
        return self._where(self.active(axis), r, self._zero(self.types[r.source]))

    def active(self, axis: str) -> Read:
        """Whether a step is one of the sequence's own."""
        return self._emit("le", self.step(axis), self.length(axis), base=f"{axis}.active")

    # ---------------------------------------------------------------- counts

    def _counted(self, v: Value) -> Read | None:
        """``B T``, the steps of all sequences, is the sum of their own lengths."""
        axes = self._lengths_in(v)
        if v.op != "mul" or axes is None or axes.count(BATCH) != 1:
            return None
        if not set(axes) & set(self.timed):
            return None
        total: Read | None = None
        for axis in axes:
            if axis != BATCH:
                own = self.length(axis) if axis in self.timed else self._emit("length", axis=axis)
                total = own if total is None else self._emit("mul", total, own)
        assert total is not None
        return self._emit("sum", total, over=(BATCH,))

    def _lengths_in(self, v: Value) -> list[str] | None:
        """The axes of whose lengths a value is the product; None for what is none."""
        if v.op == "length":
            return [v.attr("axis")]
        if v.op not in ("mul", "copy") or v.axes:
            return None
        parts = [self._lengths_in(self.system[r.source]) for r in v.reads]
        return None if None in parts else [a for part in parts if part for a in part]

    def _axes(self, name: str) -> tuple[str, ...]:
        """The axes of a value along which sequences have lengths of their own."""
        return tuple(a for a in self.system[name].axes if a in self.timed)
