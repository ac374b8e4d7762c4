"""A system cut into what is computed at once and what is computed in segments of an axis.

    h[t] = tanh(W h[t-1] + U x[t])       of a segment:  the same, with h[0] = h.before (an input)
    loss = sum[t](f(h[t]))           →                  loss.so_far + sum[t](f(h[t]))
    ∂W = sum[t](outer(∂a[t], h[t-1]))    outside:       loss and ∂W as inputs

What of its steps later sweeps need is computed again there from the ``h.before`` that a sweep
kept of each segment, so that beside data no array has all steps: with segments of √T steps there
are √T states and what belongs to √T steps (Griewank 1992; Chen et al. 2016). Every segment, as
what is outside, is a system of its own, and the last segment is as long as it is: nothing is
padded, and no sum gets terms that it did not have.

A. Griewank, *Achieving Logarithmic Growth of Temporal and Spatial Complexity in Reverse
Automatic Differentiation*, Optimization Methods and Software 1, 1992. T. Chen, B. Xu, C. Zhang,
C. Guestrin, *Training Deep Nets with Sublinear Memory Cost*, arXiv:1604.06174, 2016.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from rnnc.graph.cycles import recurrences
from rnnc.graph.edges import edge
from rnnc.graph.ops import GIVEN, SWEPT
from rnnc.graph.system import System, Value
from rnnc.graph.types import FIRST, LAST, Bound, Index, Read, Type, read, whole
from rnnc.passes.sweeps import Sweeps, forward, is_sum, sweeps
from rnnc.source import UsageError

CONSTANTS = frozenset(("constant", "size", "arange", "eye"))


@dataclass(frozen=True)
class Handed:
    """What a segment hands to the next one: its input ``before``, its output ``after``; what is
    outside gives the first one ``initial`` and has the last one as ``final``, if at all."""

    before: str
    after: str
    initial: str
    final: str | None = None


@dataclass(frozen=True)
class Sweep:
    """One way through the segments, whose equations are ``system``.

    ``passed`` is its input for the number of steps before a segment. ``kept`` are outputs of
    which there is one for each segment, ``found`` the inputs that are such outputs of another
    sweep; ``gathered`` are outputs that are wanted of all steps. All other inputs are values of
    the system outside, of which those over the axis are taken segment by segment.
    """

    system: System
    forward: bool
    passed: str
    handed: tuple[Handed, ...]
    kept: tuple[str, ...]
    found: Mapping[str, str]
    gathered: tuple[str, ...]


@dataclass(frozen=True)
class Segments:
    """A system in parts. ``outside`` has inputs with the attribute ``swept``, which sweeps give it,
    and as outputs also what they take (``taken``), among it the ``length`` of the axis."""

    axis: str
    length: str
    outside: System
    sweeps: tuple[Sweep, ...]
    taken: frozenset[str]


def segments(system: System) -> Segments:
    """The system in segments of the axis along which most of it recurs.

    :raises UsageError: nothing recurs.
    """
    return _Cut(sweeps(system, _axis(system))).run()


def _axis(system: System) -> str:
    found = recurrences(system)
    if not found:
        raise UsageError(f"memory low is for recurrences, and {system.name} has none")

    def recurring(axis: str) -> int:
        return sum(len(r.members) for r in found if r.axis == axis)

    return max(system.time_axes(), key=recurring)


def beside(v: Value, axis: str) -> tuple[Bound, ...]:
    """The boundaries of a value along other axes: a segment has them as they are."""
    return tuple(b for b in v.bounds if b.axis != axis)


@dataclass
class _Needs:
    """What is asked of a sweep: of which values how many steps are handed on, are kept for each
    segment, or are found as the sweep before kept them; the ends of values (by the value), sums,
    and values of all steps."""

    handed: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)
    sums: list[str] = field(default_factory=list)
    gathered: dict[str, None] = field(default_factory=dict)


class _Cut:
    """A system while it is cut; ``values`` become the system outside."""

    def __init__(self, order: Sweeps):
        self.order = order
        self.axis = order.axis
        self.system = order.system
        self.values: dict[str, Value] = {}
        self.taken: dict[str, None] = {}
        self.kept: dict[tuple[int, str, int], str] = {}
        self.needs = {n: _Needs() for n in range(1, max(order.first.values(), default=0) + 1)}

    def run(self) -> Segments:
        self._asked()
        given = {n for needs in self.needs.values() for n in needs.gathered}
        given |= {n for n in self.order.first if not self.order.inside(n)}
        self.values = {
            v.name: v for v in self.system.values.values() if v.name not in self.order.first
        }
        length = self.system.fresh(f"{self.axis}.length")
        attrs = (("axis", self.axis),)
        self.values[length] = Value(length, "length", (), Type("index"), (), attrs)
        self.take(length)
        members = {n: self._members(n) for n in reversed(self.needs)}
        made = [_Segment(self, n, members[n]).sweep() for n in self.needs if members[n]]
        for name in (n for n in self.system.values if n in given):  # after all data
            self.values[name] = replace(
                self.system[name], op="input", reads=(), attrs=((SWEPT, True),)
            )
        outputs = tuple(dict.fromkeys((*self.system.outputs, *self.taken)))
        outside = self.system.with_values(self.values, outputs=outputs)
        extra = frozenset(self.taken) - set(self.system.results)
        return Segments(self.axis, length, outside, tuple(made), extra)

    # ---------------------------------------------------------------- what is needed

    def _asked(self) -> None:
        """What the system outside asks of the sweeps."""
        first = self.order.first
        wanted = [Read(n) for n in self.system.results]
        for v in self.system.values.values():
            if v.name not in first:
                wanted += [r for _, r in v.all_reads()]
            elif is_sum(v, self.axis):
                self.needs[first[v.name]].sums.append(v.name)
            elif not self.order.inside(v.name):
                needs, (r,) = self.needs[first[v.name]], v.reads
                needs.ends[r.source] = v.name
                needs.handed.setdefault(r.source, 1)
        while wanted:
            name = wanted.pop().source
            if self.order.inside(name) and name not in self.needs[first[name]].gathered:
                self.needs[first[name]].gathered[name] = None
                wanted += [b.read for b in self.system[name].bounds]

    def _members(self, number: int) -> list[str]:
        """The values that a sweep computes, from what is asked of it."""
        needs = self.needs[number]
        todo = [*needs.handed, *needs.gathered]
        todo += [r.source for name in needs.sums for r in self._reads(name, number)]
        found: set[str] = set()
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                todo += [r.source for r in self._reads(name, number)]
        return [n for n in self.system.values if n in found and self.order.inside(n)]

    def _reads(self, name: str, number: int) -> list[Read]:
        """What a value reads in a sweep. Steps beyond the segment are handed on from the one
        before, or asked of the sweep before, which went the other way."""
        v, needs = self.system[name], self.needs[number]
        outside = name not in self.order.first  # then it comes with its boundaries alone
        reads = [b.read for b in beside(v, self.axis)]
        reads += () if outside else v.reads
        for r in reads:
            offset = whole(r.index(self.axis).offset)
            if not offset:
                continue
            asked = [needs.handed]
            if (offset < 0) != forward(number):
                before = self.needs[number - 1]
                asked = [needs.found, before.handed, before.kept]
            for steps in asked:
                steps[r.source] = max(steps.get(r.source, 0), abs(offset))
        return reads

    # ---------------------------------------------------------------- the system outside

    def take(self, name: str) -> None:
        """A value of the system outside that a sweep reads."""
        if name in self.values and self.values[name].op not in GIVEN:
            self.taken[name] = None

    def start(self, bound: Read | None, like: Value, axes: tuple[str, ...]) -> str:
        """What stands before the first segment, in full; None is zero."""
        r = edge(self.system, self.values, bound, like.type, axes)
        if r.at:
            name = self.system.fresh(f"{like.name}.start", self.values)
            self.values[name] = Value(name, "copy", (r,), like.type, axes, (), (), like.origins)
            r = Read(name)
        self.take(r.source)
        return r.source


class _Segment:
    """The equations of one segment in one sweep, while they are made."""

    def __init__(self, cut: _Cut, number: int, members: Iterable[str]):
        self.cut = cut
        self.number = number
        self.axis = cut.axis
        self.forward = forward(number)
        self.needs = cut.needs[number]
        self.members = list(members)
        self.values: dict[str, Value] = {}
        self.outputs: dict[str, None] = {}
        self.handed: list[Handed] = []
        self.kept: list[str] = []
        self.bounds: dict[str, list[Bound]] = {}

    def sweep(self) -> Sweep:
        system = self.cut.system
        passed = self._input(f"{self.axis}.passed", Type("index"), ())
        found = self._found()
        for name, count in self.needs.handed.items():
            for lag in range(1, count + 1):
                self._hand(system[name], lag)
        for name in self.members:
            v = system[name]
            bounds = (*self.bounds.get(name, ()), *beside(v, self.axis))
            self.values[name] = replace(v, bounds=bounds)
            if v.op == "step":
                here = replace(v, name=self._fresh(f"{name}.here"))
                self.values[here.name] = here
                reads = (Read(passed), Read(here.name))
                self.values[name] = replace(v, op="add", reads=reads, attrs=())
        for name in self.needs.sums:
            self._sum(system[name])
        self._given()
        gathered = tuple(self.needs.gathered)
        axes = {**system.axes, self.axis: replace(system.axes[self.axis], size=None)}
        made = System(
            name=f"{system.name}.{self.number}",
            values=self.values,
            axes=axes,
            outputs=(*self.outputs, *gathered),
            dims=system.dims,
        )
        handed, kept = tuple(self.handed), tuple(self.kept)
        return Sweep(made, self.forward, passed, handed, kept, found, gathered)

    # ---------------------------------------------------------------- the edges of a segment

    def _found(self) -> dict[str, str]:
        """Inputs for what the sweep before kept, which went the other way."""
        found = {}
        for name, count in self.needs.found.items():
            v = self.cut.system[name]
            for lag in range(1, count + 1):
                found[self._edge(v, lag, not self.forward)] = self.cut.kept[
                    self.number - 1, name, lag
                ]
        return found

    def _hand(self, v: Value, lag: int) -> None:
        """Hand a step of a value on to the next segment, and keep what came in where a later
        sweep needs it."""
        inner = self._inner(v)
        before = self._edge(v, lag, self.forward)
        end = Index(LAST, 1 - lag) if self.forward else Index(FIRST, lag - 1)
        after = self._output(f"{v.name}.after", v, read(v.name, {self.axis: end}))
        outside = Index(FIRST, -lag) if self.forward else Index(LAST, lag)
        start = self.cut.start(v.bound_at(self.axis, outside), v, inner)
        final = self.needs.ends.get(v.name) if lag == 1 else None
        self.handed.append(Handed(before, after, start, final))
        if lag <= self.needs.kept.get(v.name, 0):
            kept = self._output(f"{v.name}.kept", v, Read(before))
            self.kept.append(kept)
            self.cut.kept[self.number, v.name, lag] = kept

    def _edge(self, v: Value, lag: int, first: bool) -> str:
        """An input for a step of a value before the segment (or after it)."""
        side = "before" if first else "beyond"
        name = self._input(f"{v.name}.{side}", v.type, self._inner(v))
        step = Index(FIRST, -lag) if first else Index(LAST, lag)
        self.bounds.setdefault(v.name, []).append(Bound(self.axis, step, Read(name)))
        return name

    def _sum(self, v: Value) -> None:
        """Add what a segment gives to the sum of those before it."""
        before = self._input(f"{v.name}.before", v.type, v.axes)
        each = replace(v, name=self._fresh(f"{v.name}.each"), bounds=())
        self.values[each.name] = each
        after = self._fresh(f"{v.name}.after")
        reads = (Read(before), Read(each.name))
        self.values[after] = replace(each, name=after, op="add", reads=reads, attrs=())
        self.outputs[after] = None
        start = self.cut.start(None, v, v.axes)
        self.handed.append(Handed(before, after, start, v.name))

    # ---------------------------------------------------------------- values

    def _given(self) -> None:
        """Inputs for all that the segment reads from outside; constants it has itself."""
        todo = list(self.values.values())
        while todo:
            for _, r in todo.pop().all_reads():
                if r.source in self.values:
                    continue
                v = self.cut.system[r.source]
                if v.op not in CONSTANTS:
                    self.cut.take(v.name)
                    bounds = beside(v, self.axis)
                    v = replace(v, op="input", reads=(), attrs=(), bounds=bounds)
                self.values[v.name] = v
                todo.append(v)

    def _input(self, name: str, type_: Type, axes: tuple[str, ...]) -> str:
        name = self._fresh(name)
        self.values[name] = Value(name, "input", (), type_, axes)
        return name

    def _output(self, name: str, like: Value, r: Read) -> str:
        name = self._fresh(name)
        axes = self._inner(like)
        self.values[name] = Value(name, "copy", (r,), like.type, axes, (), (), like.origins)
        self.outputs[name] = None
        return name

    def _fresh(self, base: str) -> str:
        taken = {*self.values, *self.cut.kept.values()}  # one that is kept has its name alone
        return self.cut.system.fresh(base, taken)

    def _inner(self, v: Value) -> tuple[str, ...]:
        return tuple(a for a in v.axes if a != self.axis)
