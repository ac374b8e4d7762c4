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

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace

from rnnc.graph.edges import ZERO
from rnnc.graph.ops import GIVEN, OPS
from rnnc.graph.system import System, Value, moved
from rnnc.graph.types import BATCH, FIRST, LAST, Bound, Index, Read, Type, read, whole
from rnnc.passes.padding import Padding, Tail
from rnnc.passes.reaxed import reaxed
from rnnc.source import UsageError

LEAST = -(2**62)  # below every whole number that counts something
INF = float("inf")
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
    return f"{same[0]}.lengths"


class _Lengths:
    """A system while its values are masked; ``timed`` gives the input of each axis's lengths."""

    def __init__(self, system: System, timed: Mapping[str, str]):
        self.system = system
        self.timed = timed
        self.padding = Padding(system, timed)
        self.values: dict[str, Value] = {}
        self.taken = set(system.values)
        self.types = {v.name: v.type for v in system.values.values()}
        self.known: dict[Hashable, Read] = {}
        self.forms: dict[tuple[str, tuple[str, ...]], str] = {}
        self.bounds: dict[str, tuple[Bound, ...]] = {}
        self.inner = {  # results are masked, and go by another name inside
            name: self._fresh(f"{name}.all")
            for name in system.results
            if self._axes(name) and system[name].op not in GIVEN
        }
        self.types |= {inner: self.types[name] for name, inner in self.inner.items()}
        self.owner = system.name
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
        masks = set(self.padding.cut(reader, r))
        if source.op in MASKED:
            masks.update(self._axes(source.name))
        steps: dict[str, int] = {}
        guards: list[Callable[[Read], Read]] = []
        for axis in self._axes(source.name):
            index = r.index(axis)
            offset = whole(index.offset)
            if index.base == LAST:
                if offset > 0:
                    return self._beyond(reader, r, axis, index, zero)
                steps[axis] = offset
            elif offset > 0:
                if any(b.axis == axis and b.step.base == LAST for b in source.bounds):
                    guards.append(self._guard(reader, r, axis, index))
                else:
                    masks.add(axis)
        for axis in zero:
            met = [a for a in source.axes if r.index(a).base == axis]
            index = r.index(met[0])
            if len(met) == 1 and index.offset == 0:
                masks.add(met[0])
            elif len(met) > 1 or whole(index.offset) < 0 or guards:
                guards.append(lambda x, a=axis: self._masked(x, a))  # type: ignore[misc]
        form = self._form(source.name, masks)
        if steps:
            form = self._picked(source, form, steps)
        made = read(form, ((a, i) for a, i in r.at if a not in steps))
        for guard in guards:
            made = guard(made)
        return made

    def _bound(self, reader: str, r: Read, axis: str, step: Index) -> Read:
        """What stands past the end of a value, where ``r`` reads it; perhaps a mere number."""
        source = self.system[r.source]
        bound = source.bound_at(axis, step)
        if bound is None:
            return self._zero(source.type)
        return self.operand(reader, moved(bound, self.system[bound.source].axes, r.index))

    def _beyond(self, reader: str, r: Read, axis: str, index: Index, zero: Iterable[str]) -> Read:
        """``h[T+1]``: the boundary itself, in the form of the value."""
        made = self._bound(reader, r, axis, index)
        for a in zero:
            made = self._masked(made, a)
        type_ = self.system[r.source].type
        if self.types[made.source] != type_:
            made = self._emit("broadcast", made, shape=type_.shape)
        return made

    def _guard(self, reader: str, r: Read, axis: str, index: Index) -> Callable[[Read], Read]:
        """``h[t+k]``, or ``h[3]``, where it is a step of the sequence; else the boundary."""
        count = whole(index.offset)
        bounds = [self._bound(reader, r, axis, Index(LAST, j + 1)) for j in range(count)]
        length, fixed = self.length(axis), index.fixed
        here = self._number(count + 1) if fixed else self._shifted(self.step(index.base), count)

        def inside(by: int) -> Read:
            return self._emit("le", here, self._shifted(length, by))

        other = bounds[-1]
        for j in range(count - 1, 0, -1):
            if bounds[j - 1] != other:
                other = self._where(inside(j), bounds[j - 1], other)
        return lambda x: self._where(inside(0), x, other)

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

    # ---------------------------------------------------------------- new values

    def length(self, axis: str) -> Read:
        return Read(self.timed[axis])

    def step(self, axis: str) -> Read:
        return self._emit("step", base=f"{axis}.step", axis=axis)

    def _number(self, number: float) -> Read:
        return self._emit("constant", value=number)

    def _zero(self, type_: Type) -> Read:
        return self._number(ZERO[type_.kind])

    def _constant(self, like: Read, fill: float) -> Read:
        if self.types[like.source].kind == "real":
            return self._number(fill)
        return self._number({-INF: LEAST, INF: -LEAST, 0.0: 0, 1.0: 1}[fill])

    def _shifted(self, r: Read, by: int) -> Read:
        return self._emit("add", r, self._number(by)) if by else r

    def _where(self, condition: Read, a: Read, b: Read) -> Read:
        return self._emit("where", condition, a, b)

    def _emit(self, op: str, *reads: Read, base: str = "", **attrs: Hashable) -> Read:
        """A value of these operands, made once; its axes are found at the end."""
        settings = tuple(attrs.items())
        key = (op, reads, repr(settings))  # 1 is not 1.0
        if key not in self.known:
            name = self._fresh(base or f"{self.owner}.by")
            type_ = OPS[op].rule([self.types[r.source] for r in reads], dict(attrs))
            axes = (str(attrs["axis"]),) if op == "step" else ()
            self.types[name] = type_
            self.values[name] = Value(name, op, reads, type_, axes, settings)
            self.known[key] = Read(name)
        return self.known[key]

    def _named(self, base: str, r: Read) -> str:
        name = self._fresh(base)
        self.types[name] = self.types[r.source]
        self.values[name] = Value(name, "copy", (r,), self.types[name])
        return name

    def _fresh(self, base: str) -> str:
        name, i = base, 1
        while name in self.taken:
            name, i = f"{base}.{i}", i + 1
        self.taken.add(name)
        return name

    def _axes(self, name: str) -> tuple[str, ...]:
        """The axes of a value along which sequences have lengths of their own."""
        return tuple(a for a in self.system[name].axes if a in self.timed)
