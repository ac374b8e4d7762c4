"""Reads that move along one axis at a time.

    s[i, j] = f(s[i-1, j-1])       →     s.moved[i, j] = s[i, j-1],  s[i, j] = f(s.moved[i-1, j])

Outside along several axes, the boundary of the first of them serves: its move is made last.
"""

from __future__ import annotations

from dataclasses import replace

from rnnc.graph.system import System, Value, moved
from rnnc.graph.types import FIRST, LAST, Bound, Index, Read, read


def single_moves(system: System) -> System:
    """The system in which every read shifts or fixes at most one axis, or renames some."""
    if all(_single(r) for v in system.values.values() for _, r in v.all_reads()):
        return system
    moves = _Moves(system)
    for v in system.values.values():
        moves.values[v.name] = v.map_reads(moves.read)
    return system.with_values(moves.values)


def _single(r: Read) -> bool:
    return not r.at or (len(r.at) == 1 and (r.at[0][1].base in (r.at[0][0], FIRST, LAST)))


def _exists(index: Index) -> bool:
    """Whether an index is a fixed step that every sequence has."""
    return index.fixed and index.offset == 0


class _Moves:
    def __init__(self, system: System):
        self.system = system
        self.values = dict(system.values)
        self.made: dict[tuple[str, str, Index], str] = {}

    def read(self, r: Read) -> Read:
        """The same read, of a value that has made all moves but the last one."""
        own = {}  # the moves along the operand's own axes, and what these are called by the reader
        names = {}
        for axis, index in r.at:
            if index.fixed:
                own[axis] = index
                continue
            if index.offset != 0:
                own[axis] = Index(axis, index.offset)
            if index.base != axis:
                names[axis] = Index(index.base)
        if len(own) + bool(names) < 2:
            return r
        # a step that exists is taken first: what a boundary reads there (s[t, 0] = s[t-1, J])
        # would else lead to another such step, without an end
        axes = [a for a in self.values[r.source].axes if a in own]
        order = sorted(axes, key=lambda a: _exists(own[a]))
        last = {} if names else {order[0]: own[order.pop(0)]}
        source = r.source
        for axis in reversed(order):
            source = self._copy(source, axis, own[axis])
        return read(source, {**last, **names})

    def _copy(self, name: str, axis: str, index: Index) -> str:
        """A value at another step of an axis, with the boundaries that it has along others."""
        key = (name, axis, index)
        if key not in self.made:
            v = self.values[name]
            axes = tuple(a for a in v.axes if a != axis or not index.fixed)
            self.made[key] = made = self.system.fresh(f"{name}.moved", self.values)
            # named first, since its boundaries may read it
            copy = Value(
                made, "copy", (read(name, {axis: index}),), v.type, axes, (), (), v.origins
            )
            self.values[made] = copy
            bounds = []
            for b in v.bounds:
                if b.axis != axis:
                    there = moved(
                        b.read,
                        self.values[b.read.source].axes,
                        lambda a: index if a == axis else Index(a),
                    )
                    bounds.append(Bound(b.axis, b.step, self.read(there)))
            self.values[made] = replace(self.values[made], bounds=tuple(bounds))
        return self.made[key]
