"""What spreads over two time axes is not kept.

    e[s, t] = dot(v, tanh(Q d[s-1] + K h[t]))

The ``tanh`` has features at every pair of steps, and is made of what has them at single steps:
it is *spread*. Within the loop over s it is one step's worth; kept for a gradient it would be by
far the largest array of all. So it is computed again where the gradient needs it; what sums such
values over the loop's axis adds them up from step to step; and both are done in the loop that
needs them, though they do not recur.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import replace

import networkx as nx

from rnnc.graph.cycles import Recurrence, recurrences
from rnnc.graph.ops import ALONG, GIVEN, MAPS
from rnnc.graph.system import System, Value, fresh
from rnnc.graph.types import FIRST, LAST, Attrs, Index, Read, read

CHEAP = (MAPS - {"stop_gradient"}) | {"broadcast", "concat", "slice", "repeat"}


def spared(system: System) -> System:
    """The system with its spread values computed anew outside of their recurrences, and summed
    step by step."""
    if len(system.time_axes()) < 2:
        return system
    found = recurrences(system)
    if not found:
        return system
    own: dict[frozenset[str], set[str]] = {}
    for recurrence in reversed(_in_order(system, found)):
        before = system.values.keys()
        system = _summed(system, recurrence)
        own[recurrence.members] = system.values.keys() - before
    for recurrence in found:
        system = _Again(system, recurrence, own[recurrence.members]).run()
    needed = system.pruned().values
    return system.with_values(
        [v for v in system.values.values() if v.name in needed or v.op in GIVEN]
    )


def clusters(system: System) -> tuple[Recurrence, ...]:
    """The recurrences, each with the values that are computed in its loop, though they do not
    recur: spread ones, and what takes them in."""
    found = {r.members: r for r in recurrences(system)}
    if not found:
        return ()
    todo = _in_order(system, tuple(found.values()))
    graph = nx.DiGraph(system.graph)  # in which what is one loop is one cycle
    while todo:
        recurrence = todo.pop()  # the last first: what it needs may then join those before
        if recurrence.members not in found:
            continue  # it has joined another
        joined = _joining(system, graph, recurrence, found.values())
        if joined:
            del found[recurrence.members]
            for other in [r for r in found.values() if r.members <= joined]:
                del found[other.members]
            members = recurrence.members | joined
            found[members] = replace(recurrence, members=members)
            nx.add_cycle(graph, members)
    return tuple(found.values())


# ---------------------------------------------------------------- what is spread


def _wide(system: System, v: Value, axis: str) -> bool:
    """Whether a value has features at every step of an axis and of another."""
    time = set(v.axes) & set(system.time_axes())
    return axis in time and len(time) > 1 and v.type.rank > 0


def _large(system: System, v: Value, axis: str) -> bool:
    """Whether a value has at every step of an axis what is not kept of all: matrices, or what is
    wide."""
    return _wide(system, v, axis) or (axis in v.axes and v.type.rank > 1)


def _spread(
    system: System, axis: str, is_wide: Callable[[System, Value, str], bool] = _wide
) -> set[str]:
    """The values that are spread over an axis and another (or what ``is_wide`` says)."""
    wide = {v.name: v for v in system.values.values() if is_wide(system, v, axis)}
    out = {n for n, v in wide.items() if _cheap(v) and not v.bounds}
    while True:  # made of others that are, or of what is not wide
        wrong = {
            n
            for n in out
            if any(r.source in wide and (r.at or r.source not in out) for r in wide[n].reads)
        }
        if not wrong:
            return out
        out -= wrong


def _cheap(v: Value) -> bool:
    """Whether a value takes no longer than to be read again: also a product that sums nothing."""
    if v.op == "contract":
        return not v.over and {*v.attr("left"), *v.attr("right")} == {*v.attr("out")}
    return v.op in CHEAP


def _in_order(system: System, found: tuple[Recurrence, ...]) -> list[Recurrence]:
    """Recurrences, those that others need first."""
    owner = {m: i for i, r in enumerate(found) for m in r.members}
    graph = nx.DiGraph()
    for a, b in system.graph.edges():
        group = owner.get(a, a), owner.get(b, b)
        if group[0] != group[1]:
            graph.add_edge(*group)
    graph.add_nodes_from(range(len(found)))
    return [found[i] for i in nx.topological_sort(graph) if isinstance(i, int)]


# ---------------------------------------------------------------- computed again


class _Again:
    """Twins of the spread members of a recurrence, for those who read them outside of it: not
    ``own``, what sums them step by step."""

    def __init__(self, system: System, recurrence: Recurrence, own: set[str]):
        self.system = system
        self.spread = _spread(system, recurrence.axis) & recurrence.members
        self.members = recurrence.members | own
        self.twins: dict[str, Value] = {}

    def run(self) -> System:
        if not self.spread:
            return self.system
        kept = {n for n in self.system.results if n in self.spread}
        for v in self.system.values.values():
            if v.name not in self.members:
                kept |= {r.source for _, r in v.all_reads() if r.source in self.spread and r.at}
        values = []
        for v in self.system.values.values():
            if v.name not in self.members:
                v = v.map_reads(lambda r: self._twin(r) if r.source not in kept else r)
            values.append(v)
        return self.system.with_values([*values, *self.twins.values()])

    def _twin(self, r: Read) -> Read:
        """A read of the same value, computed anew; of others as they are."""
        if r.source not in self.spread:
            return r
        if r.source not in self.twins:
            v = self.system.values[r.source]
            name = fresh(f"{v.name}.again", self.system.values)
            reads = tuple(self._twin(x) for x in v.reads)
            self.twins[r.source] = replace(v, name=name, reads=reads)
        return Read(self.twins[r.source].name)


# ---------------------------------------------------------------- summed step by step


def _summed(system: System, recurrence: Recurrence) -> System:
    """Sums of spread values over the axis of a recurrence that has part in them, as the sum of
    what each step gives; where that is spread, too, added to what the steps before gave."""
    axis = recurrence.axis
    spread = _spread(system, axis)
    if not spread:
        return system
    values: dict[str, Value] = {}
    for v in system.values.values():
        if not _sums_spread(v, axis, spread, recurrence):
            values[v.name] = v
            continue
        rest = tuple(a for a in v.over if a != axis)
        axes = system.ordered({*v.axes, axis})
        attrs: Attrs = tuple((k, rest if k == "over" else a) for k, a in v.attrs)
        each = replace(v, name=fresh(f"{v.name}.each", system.values), axes=axes, attrs=attrs)
        each = replace(each, bounds=())
        if v.op == "sum" and not rest:
            each = replace(each, op="copy", attrs=())
        values[each.name] = each
        if not _wide(system, each, axis):
            over = (("over", (axis,)),)
            values[v.name] = replace(v, op="sum", reads=(Read(each.name),), attrs=over)
            continue
        total = fresh(f"{v.name}.total", system.values)
        before = read(total, {axis: Index(axis, -1 if recurrence.forward else 1)})
        values[total] = replace(
            each, name=total, op="add", reads=(before, Read(each.name)), attrs=()
        )
        end = Index(LAST) if recurrence.forward else Index(FIRST)
        values[v.name] = replace(v, op="copy", reads=(read(total, {axis: end}),), attrs=())
    return system.with_values(values)


def _sums_spread(v: Value, axis: str, spread: set[str], recurrence: Recurrence) -> bool:
    if v.op not in ("sum", "contract") or axis not in v.over or v.name in recurrence.members:
        return False
    if any(r.at for r in v.reads) or not any(r.source in spread for r in v.reads):
        return False
    return any(r.source in recurrence.members for r in v.reads)


# ---------------------------------------------------------------- computed in the loop


def _joining(
    system: System, graph: nx.DiGraph, recurrence: Recurrence, all_of_them: Iterable[Recurrence]
) -> frozenset[str]:
    """What is computed in the loop of a recurrence besides its members."""
    axis, members = recurrence.axis, recurrence.members
    spread = _spread(system, axis, _large)
    matrices = {m for m in members if axis in system[m].axes and system[m].type.rank > 1}
    if not spread and not matrices:
        return frozenset()
    others = [r for r in all_of_them if r.members != members]
    taken = set().union(*(r.members for r in others))
    found = {n for n in spread if n not in members and n not in taken}
    # running sums of what is spread: loops of their own, which may run along
    for r in others:
        alone = next(iter(r.members))
        along = (r.axis, r.forward, len(r.members)) == (axis, recurrence.forward, 1)
        if along and _wide(system, system.values[alone], axis):
            found.add(alone)
    for v in system.values.values():  # and what takes them in
        takes_in = any(r.source in spread and not r.at for r in v.reads)
        if v.type.rank < 2:
            takes_in |= any(r.source in matrices and not r.at for r in v.reads)
        # what needs all steps of the axis cannot be computed step by step
        whole = axis in v.over or (v.op in ALONG and v.attr("axis") == axis)
        if takes_in and axis in v.axes and not whole and v.name not in members | taken:
            found.add(v.name)
    while found:
        inside = members | found
        # first what somebody outside reads: what is made of it is then no part of the loop
        wrong = {n for n in found & spread if _is_kept(system, n, inside)}
        if not wrong:
            after: set[str] = set()  # what can only be computed once the loop is done
            for name in inside:
                after.update(nx.descendants(graph, name))
            after -= inside
            wrong = {n for n in found if _is_late(system, n, inside, after)}
            # and what a member needs cannot be made of what joins it
            for z in {r.source for m in members for _, r in system.values[m].all_reads()} & after:
                wrong |= found & nx.ancestors(graph, z)
        if not wrong:
            break
        found -= wrong
    reads_it = any(r.source in found for m in members for r in system.values[m].reads)
    takes_it = any(r.source in members for n in found for r in system.values[n].reads)
    return frozenset(found) if reads_it or takes_it else frozenset()


def _is_late(system: System, name: str, inside: Set[str], after: Set[str]) -> bool:
    """Whether a value needs what the loop has only once it is done, or at other steps."""
    return any(
        r.source in after or (r.source in inside and r.source != name and r.at)
        for _, r in system.values[name].all_reads()
    )


def _is_kept(system: System, name: str, inside: Set[str]) -> bool:
    """Whether a spread value is kept, since anybody outside reads it: then it need not be in the
    loop."""
    return name in system.results or any(
        reader not in inside or data["read"].at
        for _, reader, data in system.graph.out_edges(name, data=True)
    )
