"""In which order segments of an axis are gone through, and what is computed in which sweep.

A *sweep* takes the segments of an axis one after another, the odd ones (1, 3, …) from the first
to the last, the even ones back. A recurrence needs one of its own direction that is not before
those of what it reads:

    h[t] = tanh(W h[t-1] + U x[t])        sweep 1
    ∂a[t] = (… + W.T ∂a[t+1]) * h'[t]     sweep 2, where h is computed once more
    ∂W = sum[t](outer(∂a[t], h[t-1]))     of sweep 2: after it
    loss = sum[t](…p[t]…)                 of sweep 1: after it

What is no recurrence is computed in whichever sweep needs it, from 'its' sweep on, which is the
first one that could. A shifted read asks for more: at the edge of a segment ``h[t-1]`` is
handed on by a sweep forward, or was kept of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from functools import partial

import networkx as nx

from rnnc.graph.cycles import Recurrence, recurrences
from rnnc.graph.edges import edge
from rnnc.graph.ops import ALONG, DATA, NORMALISING
from rnnc.graph.system import System, Value
from rnnc.graph.types import LAST, Index, Read, whole
from rnnc.passes.found import is_outside
from rnnc.passes.moves import single_moves

SUMS = frozenset(("sum", "contract", "scatter"))  # what adds up from segment to segment


@dataclass(frozen=True)
class Sweeps:
    """``system`` is the one that was given, ready to be cut; ``first`` gives what is computed in
    segments, and the sums and ends of it, the sweep that can. What it lacks is computed outside:
    also data, and what needs all steps at once."""

    system: System
    axis: str
    first: Mapping[str, int]

    def inside(self, name: str) -> bool:
        """Whether a value has its steps in segments alone."""
        return name in self.first and self.axis in self.system[name].axes


def sweeps(system: System, axis: str) -> Sweeps:
    """The sweeps of a system over an axis."""
    system = _pinned(single_moves(system), axis)
    system, _ = _copied(system, lambda v, r: _renames(r, axis), "renamed")
    found = recurrences(system)
    kept = _whole(system, axis, found)

    def shifts(v: Value, r: Read) -> bool:
        return r.source in kept and v.name not in kept and r.shifts(axis)

    system, moved = _copied(system, shifts, "moved")
    kept |= moved
    return Sweeps(system, axis, _numbers(system, axis, found, kept))


def forward(sweep: int) -> bool:
    """The direction of a sweep."""
    return sweep % 2 == 1


def is_sum(v: Value, axis: str) -> bool:
    """Whether a value is a sum over all steps of an axis."""
    return v.op in SUMS and axis in v.over


def _result(v: Value, axis: str) -> bool:
    """Whether sweeps can give a value: a sum, or the first or last step of another."""
    if v.op == "copy":
        return any(i.fixed and i.offset == 0 for a, i in v.reads[0].at if a == axis)
    return is_sum(v, axis)


# ---------------------------------------------------------------- reads as values of their own


def _pinned(system: System, axis: str) -> System:
    """The system with every fixed step of the axis (``h[T]``) as a value of its own."""
    values = dict(system.values)
    made: dict[Read, Read] = {}

    def pin(r: Read) -> Read:
        source, index = system[r.source], r.index(axis)
        if axis not in source.axes or not index.fixed:
            return r
        if r not in made:
            inner = tuple(a for a in source.axes if a != axis)
            if is_outside(index):
                bound = source.bound_at(axis, index)  # which may be a fixed step itself
                bound = None if bound is None else pin(bound)
                made[r] = edge(system, values, bound, source.type, inner)
            else:
                name = system.fresh(f"{source.name}.end", values)
                values[name] = Value(name, "copy", (r,), source.type, inner, (), (), source.origins)
                made[r] = Read(name)
        return made[r]

    for v in system.values.values():
        if v.op not in DATA:  # whose boundaries may be steps of their own: x[0] = x[1]
            values[v.name] = v.map_reads(pin)
    return system.with_values(values)


def _copied(
    system: System, chosen: Callable[[Value, Read], bool], suffix: str
) -> tuple[System, set[str]]:
    """The system with some reads, of those that a value makes, as values of their own; and the
    names of these."""
    values = dict(system.values)
    made: dict[Read, str] = {}

    def copied(v: Value, r: Read) -> Read:
        if not chosen(v, r):
            return r
        if r not in made:
            source = system[r.source]
            made[r] = name = system.fresh(f"{source.name}.{suffix}", values)
            axes = system.ordered(system.read_axes(r))
            values[name] = Value(name, "copy", (r,), source.type, axes, (), (), source.origins)
        return Read(made[r])

    for v in system.values.values():
        values[v.name] = v.map_reads(partial(copied, v))
    return system.with_values(values), set(made.values())


# ---------------------------------------------------------------- what needs all steps at once


def _whole(system: System, axis: str, found: Iterable[Recurrence]) -> set[str]:
    """The values over the axis that are not computed in segments."""
    out = {v.name for v in system.values.values() if axis in v.axes and _at_once(system, v, axis)}
    for r in found:
        if r.axis != axis and (
            out & r.members or any(_steps_along(system[m], r.members, axis) for m in r.members)
        ):
            out |= {m for m in r.members if axis in system[m].axes}
    return out


def _at_once(system: System, v: Value, axis: str) -> bool:
    if v.op in DATA | ALONG or (v.op in NORMALISING and axis in v.over):
        return True
    return any(_renames(r, axis) for _, r in v.all_reads())


def _renames(r: Read, axis: str) -> bool:
    """Whether steps of the axis are read as those of another, or the other way round."""
    return any(not i.fixed and a != i.base and axis in (a, i.base) for a, i in r.at)


def _steps_along(v: Value, members: Set[str], axis: str) -> bool:
    """Whether a member of a recurrence over another axis goes along this one, too."""
    if axis in v.over:
        return True
    return any(r.source in members and r.index(axis) != Index(axis) for _, r in v.all_reads())


# ---------------------------------------------------------------- the numbers


def _numbers(
    system: System, axis: str, found: Iterable[Recurrence], kept: Set[str]
) -> dict[str, int]:
    own = {m: r for r in found for m in r.members}
    first: dict[str, int] = {}
    after: dict[str, int] = {}  # of what is computed outside: the sweeps that are done by then

    def done(r: Read) -> int:
        """How many sweeps have been made once all that is read is there, at all steps."""
        return first.get(r.source, after.get(r.source, 0))

    def in_segments(r: Read) -> bool:
        return r.source in first and axis in system[r.source].axes

    def needs(r: Read) -> int:
        """The first sweep that a value can be in which reads this."""
        if not in_segments(r):
            return done(r) + 1
        number, index = first[r.source], r.index(axis)
        if index == Index(axis):
            return number
        back = index.base == LAST if index.fixed else whole(index.offset) < 0
        return number if forward(number) == back else number + 1

    graph = nx.condensation(nx.DiGraph(system.graph))
    for component in nx.topological_sort(graph):
        members = graph.nodes[component]["members"]
        reads = [r for m in members for _, r in system[m].all_reads() if r.source not in members]
        v = system[next(iter(members))]
        if axis in v.axes and v.name not in kept:
            number = max(map(needs, reads), default=1)
            r = own.get(v.name)
            if r is not None and r.axis == axis and r.forward != forward(number):
                number += 1
            first.update(dict.fromkeys(members, number))
        elif len(members) == 1 and _result(v, axis) and any(map(in_segments, reads)):
            first[v.name] = max(map(needs, reads))
        else:
            after.update(dict.fromkeys(members, max(map(done, reads), default=0)))
    return first
