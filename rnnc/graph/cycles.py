"""Recurrences: the cycles of a System, the axis each runs over, and in which direction."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import networkx as nx

from rnnc.graph.names import is_temporary
from rnnc.graph.ops import LEAVES
from rnnc.graph.system import System
from rnnc.graph.types import FIRST, LAST, Index, Read, names_of, sign, substitute
from rnnc.source import Diagnostic, Label, Span, SpecError

MOST_TOLD = 20  # cycles of one system


@dataclass(frozen=True)
class Recurrence:
    """Values that depend on each other through time: ``forward`` means that they read earlier
    steps of ``axis``. What still cycles within a step of it is in ``inner``."""

    axis: str
    forward: bool
    members: frozenset[str]
    inner: tuple[Recurrence, ...] = ()


def recurrences(system: System) -> tuple[Recurrence, ...]:
    """All recurrences of a system; raises SpecError with every cycle that is none."""
    return system.once(_recurrences)


def _recurrences(system: System) -> tuple[Recurrence, ...]:
    finder = _Finder(system)
    found = finder.within(_edges(system), system.time_axes())
    if finder.problems:
        raise SpecError(finder.problems)
    return found


def members_at(found: Iterable[Recurrence], depth: int) -> dict[str, frozenset[str]]:
    """What recurs with each value, in the outermost loops (depth 0) or further in."""
    for _ in range(depth):
        found = [inner for r in found for inner in r.inner]
    return {m: r.members for r in found for m in r.members}


def _edges(system: System) -> list[_Edge]:
    """All reads, without boundaries that a leaf takes from itself (``x[0] = x[1]``): data depend
    on nothing."""
    return [
        _Edge(r.source, v.name, r, isinstance(key, tuple))
        for v in system.values.values()
        for key, r in v.all_reads()
        if r.source != v.name or v.op not in LEAVES
    ]


@dataclass(frozen=True, slots=True)
class _Edge:
    """``reader`` reads ``source``."""

    source: str
    reader: str
    read: Read
    boundary: bool


class _Finder:
    def __init__(self, system: System):
        self.system = system
        self.numbers = {d: s for d, s in system.dims.items() if isinstance(s, int)}
        self.order = {name: i for i, name in enumerate(system.values)}
        self.problems: list[Diagnostic] = []

    def within(self, edges: Sequence[_Edge], axes: tuple[str, ...]) -> tuple[Recurrence, ...]:
        """The recurrences among these reads over some of the axes."""
        graph = nx.DiGraph()
        graph.add_edges_from((e.source, e.reader) for e in edges)
        group: dict[str, int] = {}
        for i, members in enumerate(nx.strongly_connected_components(graph)):
            group.update(dict.fromkeys(members, i))
        cycles: dict[int, list[_Edge]] = {}
        for e in edges:
            if group[e.source] == group[e.reader]:
                cycles.setdefault(group[e.source], []).append(e)
        found = (self._recurrence(cycles[i], axes) for i in sorted(cycles))
        return tuple(r for r in found if r is not None)

    def _recurrence(self, cycle: Sequence[_Edge], axes: tuple[str, ...]) -> Recurrence | None:
        for axis in axes:
            direction = self._direction(cycle, axis)
            if direction is None:
                continue
            rest = [e for e in cycle if self._sign(e.read.index(axis)) == 0]
            inner = self.within(rest, tuple(a for a in axes if a != axis))
            members = frozenset(e.reader for e in cycle)
            return Recurrence(axis, direction < 0, members, inner)
        if len(self.problems) < MOST_TOLD:
            self.problems.append(self._explain(cycle))
        return None

    def _direction(self, cycle: Sequence[_Edge], axis: str) -> int | None:
        """The one sign of the offsets along an axis that every read keeps, else None."""
        signs = set()
        for e in cycle:
            index = e.read.index(axis)
            if index.base != axis or axis in self.system.values[e.reader].over:
                return None
            signs.add(self._sign(index))
        signs.discard(0)
        return signs.pop() if len(signs) == 1 else None

    def _sign(self, index: Index) -> int | None:
        return sign(substitute(index.offset, self.numbers))

    # ---------------------------------------------------------------- what is wrong with a cycle

    def _explain(self, cycle: Sequence[_Edge]) -> Diagnostic:
        edges = sorted(cycle, key=lambda e: (self.order[e.reader], self.order[e.source]))
        names = self._written(e.reader for e in edges)
        time = self.system.time_axes()
        for e in edges:
            if axes := set(self.system.values[e.reader].over) & set(time):
                return self._all_steps(e, min(axes))
        cycle = self._same_step(edges)
        if cycle:
            return self._at_once(cycle)
        for e in edges:
            if any(i.fixed for _, i in e.read.at):
                return self._fixed(e, names)
        for e in edges:
            for _, index in e.read.at:
                if self._sign(index) is None:
                    return self._unknown(e, index)
        for e in edges:
            if any(i.base != a for a, i in e.read.at):
                return self._exchanged(e)
        return self._both_ways(edges, names, time)

    def _same_step(self, edges: Sequence[_Edge]) -> list[_Edge]:
        """A short cycle that never leaves its step; empty where there is none."""
        still = [e for e in edges if all(i.base == a and self._sign(i) == 0 for a, i in e.read.at)]
        graph = nx.DiGraph()
        graph.add_edges_from((e.source, e.reader) for e in still)
        circles = [c for c in nx.strongly_connected_components(graph) if len(c) > 1]
        circles += [{e.source} for e in still if e.source == e.reader]
        if not circles:
            return []
        start = min(
            (min(c, key=self.order.__getitem__) for c in circles), key=self.order.__getitem__
        )
        paths = nx.single_source_shortest_path(graph, start)
        back = min((paths[p] for p in graph.predecessors(start) if p in paths), key=len)
        by_ends = {(e.source, e.reader): e for e in reversed(still)}
        ends = zip(back, [*back[1:], start], strict=True)
        return [by_ends[a, b] for a, b in ends]

    def _at_once(self, cycle: list[_Edge]) -> Diagnostic:
        # only the reads of what has an equation of its own; the last of the path comes first
        steps = [e for e in reversed(cycle) if self._owner(e.source) == e.source] or cycle
        names = self._written(e.reader for e in steps)
        places = [self._place(e) for e in steps]
        timed = any(self.system.values[e.source].axes for e in steps)
        if len(names) == 1:
            message = f"`{names[0]}` needs itself" + (" at the same step" if timed else "")
        else:
            message = f"{_listed(names)} need each other" + (" at the same step" if timed else "")
        hint = "a value that is the same at every step cannot depend on itself"
        if timed:
            earlier = self._earlier(steps[0])
            hint = f"one of them reads an earlier step, such as {earlier}"
            hint = hint if len(names) > 1 else f"read an earlier step: {earlier}"
        labels = [
            Label(span, f"`{self._owner(e.reader)}` needs `{e.source}`")
            for e, span in zip(steps, places, strict=True)
            if span is not None and len(names) > 1
        ]
        return Diagnostic("RNN023", message, places[0], tuple(labels), hint)

    def _earlier(self, e: _Edge) -> str:
        axes = [a for a in self.system.values[e.source].axes if a in self.system.time_axes()]
        return f"{e.source}[{', '.join([f'{a}-1' for a in axes[:1]] + axes[1:])}]"

    def _fixed(self, e: _Edge, names: list[str]) -> Diagnostic:
        axis = next(a for a, i in e.read.at if i.fixed)
        others = [n for n in names if n != e.source]
        text = self._read(e)
        message = f"`{self._owner(e.reader)}` needs `{text}`, a fixed step of itself"
        if e.boundary:
            message = f"a boundary of `{e.reader}` needs `{text}`, which depends on it"
        elif others:
            message = f"`{text}` is a fixed step of what depends on it"
            message += f" (through {_listed(others)})"
        hint = (
            f"a recurrence reads the step before ({self._near(e, axis, '-1')}) or after "
            f"({self._near(e, axis, '+1')}), not the first or last of itself"
        )
        return Diagnostic("RNN023", message, self._place(e), (), hint)

    def _all_steps(self, e: _Edge, axis: str) -> Diagnostic:
        origins = self.system.values[e.reader].origins
        return Diagnostic(
            "RNN023",
            f"`{self._owner(e.reader)}` needs all steps of {axis} of what depends on it",
            origins[0] if origins else None,
            (),
            f"a running sum is a recurrence of its own: s[{axis}] = s[{axis}-1] + …",
        )

    def _unknown(self, e: _Edge, index: Index) -> Diagnostic:
        dims = sorted(names_of(index.offset))
        text = self._read(e)
        return Diagnostic(
            "RNN024",
            f"whether `{text}` is an earlier or a later step depends on {_listed(dims)}",
            self._place(e),
            (),
            f"give {_listed(dims)} a number: dim {dims[0]} = …",
        )

    def _exchanged(self, e: _Edge) -> Diagnostic:
        axis, index = next((a, i) for a, i in e.read.at if i.base != a)
        place = self._place(e)
        text = place.text if place and place.text.endswith("]") else self._read(e)
        return Diagnostic(
            "RNN023",
            f"`{self._owner(e.reader)}` needs `{text}`, the steps of {axis} by the number "
            f"{index.base}: some of them are later ones",
            place,
            (),
            f"a recurrence reads earlier steps of an axis by its own name, such as {axis}-1",
        )

    def _both_ways(
        self, edges: Sequence[_Edge], names: list[str], axes: Sequence[str]
    ) -> Diagnostic:
        found: dict[str, dict[int | None, _Edge]] = {a: {} for a in axes}
        for e in edges:
            for axis, index in e.read.at:
                found[axis].setdefault(self._sign(index), e)
        torn = [a for a in axes if {-1, 1} <= found[a].keys()]
        each = "itself" if len(names) == 1 else "each other"
        verb = "reads" if len(names) == 1 else "read"
        message = f"{_listed(names)} {verb} both earlier and later steps of {each}"
        if len(torn) > 1:
            message += f", of {' and of '.join(torn)}"
        before, after = (self._place(found[torn[0]][way]) for way in (-1, 1))
        along = f" of {torn[0]}" if len(axes) > 1 else ""
        labels = [
            Label(span, text + along)
            for span, text in ((before, "an earlier step"), (after, "a later step"))
            if span is not None
        ]
        both = ", ".join(self._axes(found[torn[0]][-1]))
        hint = "use two values, one for each direction, and join them afterwards: "
        hint += f"[f[{both}], g[{both}]]"
        if len(torn) > 1:
            hint = f"along one axis all reads go one way, say {torn[0]}-1 and {torn[0]}"
        return Diagnostic("RNN024", message, before, tuple(labels), hint)

    # ---------------------------------------------------------------- in the words of the spec

    def _owner(self, name: str) -> str:
        """The equation that a value is part of: ``h.2`` belongs to ``h``."""
        owner = name
        while owner not in self.system.values or is_temporary(owner):
            if "." not in owner:
                return name
            owner = owner.rsplit(".", 1)[0]
        return owner

    def _written(self, names: Iterable[str]) -> list[str]:
        """The equations that these values belong to."""
        return list(dict.fromkeys(self._owner(n) for n in names))

    def _read(self, e: _Edge) -> str:
        """A read as it is written: ``h[i, j-1]``."""
        return f"{e.source}[{', '.join(self._index(e, a) for a in self._axes(e))}]"

    def _near(self, e: _Edge, axis: str, by: str) -> str:
        """What is read, one step of an axis back or on."""
        steps = [a + by * (a == axis) for a in self._axes(e)]
        return f"{e.source}[{', '.join(steps)}]"

    def _index(self, e: _Edge, axis: str) -> str:
        index = e.read.index(axis)
        if index.base == FIRST:
            return str(index.offset + 1)
        base = self.system.axes[axis].length if index.base == LAST else index.base
        text = f"{base} + {index.offset}" if index.offset != 0 else base
        return text.replace("+ -", "- ").replace(" ", "")

    def _place(self, e: _Edge) -> Span | None:
        """Where a read is written; the expression around it where that cannot be found."""
        origins = self.system.values[e.reader].origins
        if not origins:
            return None
        span = origins[0]
        start = span.start
        if equals := re.search(r"(?<![=<>!])=(?!=)", span.text):
            start += equals.end()
        text = span.source.text[start : span.end]
        found = list(
            re.finditer(rf"(?<![\w.]){re.escape(e.source)}(?![\w'.])(\[[^\[\]]*\])?", text)
        )
        wanted = sorted(self._index(e, axis) for axis in self._axes(e))
        for m in found:
            if sorted((m[1] or "").strip("[]").replace(" ", "").split(",")) == (wanted or [""]):
                return Span(span.source, start + m.start(), start + m.end())
        return span

    def _axes(self, e: _Edge) -> tuple[str, ...]:
        time = self.system.time_axes()
        return tuple(a for a in self.system.values[e.source].axes if a in time)


def _listed(names: Sequence[str]) -> str:
    quoted = [f"`{n}`" for n in names[:6]] + ["others"] * (len(names) > 6)
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
