"""Which rows of each vector are read, and which are not zero: an analysis for `rows`.

A set of rows is an array of flags as long as the vector. ``support`` goes forward, from what is
read to its readers: outside of it a vector is zero. ``window`` goes back, from readers to what
they read: the rows that are computed at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from rnnc.graph.ops import MAPS
from rnnc.graph.system import Axis, System, Value
from rnnc.graph.types import FIRST, Array, Index, Read, read, whole

Rows = NDArray[np.bool_]
Letters = dict[str, Rows]

MOST_RUNS = 16  # a set in more pieces is taken as a whole: cutting it out would cost more
KEEP_ZERO = frozenset(("copy", "stop_gradient", "neg", "abs", "sign", "tanh", "relu", "sin", "erf"))


@dataclass(frozen=True)
class Group:
    """Steps of the axis ``of`` whose terms of a sum have the same rows, an ``axis`` of their own.
    ``letters`` are these rows by the letters of a contraction (of a sum: ``i``), ``parts`` each
    operand at each step, or the one read of what does not vary."""

    of: str
    axis: str
    steps: tuple[int, ...]
    letters: Letters
    parts: tuple[tuple[Read, ...] | Read, ...]


def _runs(rows: Rows) -> int:
    """How many ranges of neighbouring rows a set is made of."""
    return int(rows[:1].sum() + np.count_nonzero(rows[1:] > rows[:-1]))


def size_of(value: Value) -> int | None:
    """The length of a vector; None of anything else."""
    return whole(value.type.shape[0]) if value.type.rank == 1 else None


def choices(system: System, value: Value) -> Rows | None:
    """The constant flags by which a ``where`` chooses its rows; None where it has none."""
    if value.op != "where" or value.type.rank != 1:
        return None
    flags = system.values[value.reads[0].source]
    if flags.op != "constant" or flags.type.shape != value.type.shape:
        return None
    data: Rows = flags.attr("value").data
    return data if 2 * _runs(data) <= MOST_RUNS else None


class RowSets:
    """The sets of all vectors of a system."""

    def __init__(self, system: System):
        self.system = system
        self.axes = dict(system.axes)  # with those of the groups
        self.order = _order(system)
        self.support: dict[str, Rows] = {}
        self.window: dict[str, Rows] = {}
        self.groups: dict[str, list[Group]] = {}
        self._axis_of: dict[tuple[str, tuple[int, ...]], str] = {}
        for name in self.order:
            value = system.values[name]
            size = size_of(value)
            if size is not None:
                found = self._support(value, size)
                self.support[name] = _tidy(found)
            if value.op in ("sum", "contract"):
                self.groups[name] = self._grouped(value)
        self._find_windows()

    def of(self, r: Read, size: int) -> Rows:
        """The rows of an operand that are not zero, as it is stretched to a vector."""
        source = self.system.values[r.source]
        if source.type.rank == 0 and self.system.is_zero(r.source):
            return np.zeros(size, bool)
        if r.at or size_of(source) != size:
            return np.ones(size, bool)
        return self.support[r.source]

    # ---------------------------------------------------------------- forward

    def _support(self, v: Value, size: int) -> Rows:
        everything = np.ones(size, bool)
        if v.op == "constant":
            value = v.attr("value")
            return np.asarray(value.data != 0) if isinstance(value, Array) else everything
        operands = [self.of(r, size) for r in v.reads]
        flags = choices(self.system, v)
        if flags is not None:
            return np.where(flags, operands[1], operands[2])
        if v.op in KEEP_ZERO or (v.op == "broadcast" and not self._rank(v.reads[0])):
            return operands[0]
        if v.op in ("add", "sub"):
            return operands[0] | operands[1]
        if v.op == "mul":  # a zero that was chosen stays one, whatever it is multiplied with
            return operands[0] & operands[1]
        if v.op == "contract":
            letters = self.letters(v, everything)
            return letters[v.attr("out")] if all(x.any() for x in letters.values()) else ~everything
        if v.op == "concat":
            return np.concatenate([self.of(r, n) for r, n in self.segments(v)])
        if v.op == "slice":
            whole_rows = self.of(v.reads[0], size_of(self.system.values[v.reads[0].source]) or 0)
            return whole_rows[v.attr("start") : v.attr("stop")]
        if v.op == "stack":
            return np.asarray(np.any(operands, axis=0))
        return everything

    def _rank(self, r: Read) -> int:
        return self.system.values[r.source].type.rank

    def segments(self, v: Value) -> Iterator[tuple[Read, int]]:
        """The parts of a joined vector with their lengths."""
        for r in v.reads:
            yield r, size_of(self.system.values[r.source]) or 1

    def letters(self, v: Value, out: Rows | None, reads: Sequence[Read] = ()) -> Letters:
        """The rows that a contraction works on, by letter: those of the result where it is a
        vector, and of what is summed those where no vector is zero."""
        found: Letters = {}
        for side, r, own in zip(("left", "right"), v.reads, reads or v.reads, strict=True):
            shape = self.system.values[r.source].type.shape
            for letter, size in zip(v.attr(side), shape, strict=True):
                rows = self.of(own, whole(size)) if len(shape) == 1 else np.ones(whole(size), bool)
                found[letter] = rows & found[letter] if letter in found else rows
        if out is not None:
            found[v.attr("out")] = found[v.attr("out")] & out
        return found

    # ---------------------------------------------------------------- sums over steps

    def _grouped(self, v: Value) -> list[Group]:
        """The groups of steps of a sum over a stacked axis; none where all steps are alike."""
        for axis in v.over:
            if any(self._is_stacked(r, axis) for r in v.reads) and not any(r.at for r in v.reads):
                return self._groups(v, axis)
        return []

    def _is_stacked(self, r: Read, axis: str) -> bool:
        source = self.system.values[r.source]
        return source.op == "stack" and source.attr("axis") == axis and not r.at

    def _groups(self, v: Value, axis: str) -> list[Group]:
        count = whole(self.axes[axis].size or 0)
        parts = [self._parts(r, axis, count) for r in v.reads]
        found: dict[tuple[bytes, ...], tuple[Letters, list[int]]] = {}
        for step in range(count):
            reads = [p if isinstance(p, Read) else p[step] for p in parts]
            letters = self._letters_at(v, reads)
            if all(rows.any() for rows in letters.values()):
                key = tuple(rows.tobytes() for rows in letters.values())
                found.setdefault(key, (letters, []))[1].append(step)
        full = all(rows.all() for letters, _ in found.values() for rows in letters.values())
        if full or len(found) > MOST_RUNS:
            return []
        return [
            Group(
                axis,
                self._axis(axis, tuple(steps)),
                tuple(steps),
                letters,
                tuple(p if isinstance(p, Read) else tuple(p[i] for i in steps) for p in parts),
            )
            for letters, steps in sorted(found.values(), key=lambda g: _total(g[0]))
        ]

    def _parts(self, r: Read, axis: str, count: int) -> tuple[Read, ...] | Read:
        """An operand at each step, if it varies from step to step."""
        source = self.system.values[r.source]
        if self._is_stacked(r, axis):
            return source.reads
        if axis not in source.axes:
            return r
        return tuple(read(r.source, {axis: Index(FIRST, i)}) for i in range(count))

    def _letters_at(self, v: Value, reads: Sequence[Read]) -> Letters:
        """The rows of the terms at one step; of a matrix only its rows are left out, not its
        columns."""
        if v.op == "sum":
            size = size_of(v)
            return {} if size is None else {"i": _tidy(self.of(reads[0], size))}
        letters = self.letters(v, None, reads)
        out = v.attr("out")
        return {x: _all(r) if x in out[1:] and r.any() else _tidy(r) for x, r in letters.items()}

    def _axis(self, axis: str, steps: tuple[int, ...]) -> str:
        """The axis of some steps of another one."""
        known = self._axis_of.get((axis, steps))
        if known is None:
            name = f"{axis}.{len(self._axis_of) + 1}"
            own = self.axes[axis]
            made = Axis(name, f"{own.length}.{len(self._axis_of) + 1}", len(steps))
            self._axis_of[axis, steps] = known = name
            self.axes = {name: made, **self.axes}
        return known

    # ---------------------------------------------------------------- back

    def _find_windows(self) -> None:
        system = self.system
        pinned = set(system.results)
        pinned |= {r.source for d in system.targets.values() for r in d.all_reads}
        for v in system.values.values():
            pinned |= {b.read.source for b in v.bounds}
            pinned |= {r.source for r in v.reads if r.at}
            if v.bounds:
                pinned.add(v.name)
        needed = {n: np.zeros(len(rows), bool) for n, rows in self.support.items()}
        for name in reversed(self.order):
            v = system.values[name]
            rows = None
            if name in needed:
                cut = name not in pinned and self.can_be_cut(v)
                rows = _tidy(needed[name] & self.support[name]) if cut else _all(needed[name])
                self.window[name] = rows
            for r, wanted in self._needs(v, rows):
                if r.source in needed and not r.at:
                    mine = needed[r.source]
                    needed[r.source] = mine | (wanted if len(wanted) == len(mine) else True)

    def can_be_cut(self, v: Value) -> bool:
        """Whether rows of a value can be computed without the others."""
        if v.op == "broadcast":
            return not self._rank(v.reads[0])
        return (
            v.op in MAPS
            or v.op in ("contract", "concat", "slice", "stack")
            or (v.op == "sum" and bool(v.over))
        )

    def _needs(self, v: Value, rows: Rows | None) -> Iterable[tuple[Read, Rows]]:
        """The rows of each operand that are read for these rows of a value."""
        if self.groups.get(v.name):
            for g in self.groups[v.name]:
                sides = [v.attr("left"), v.attr("right")] if v.op == "contract" else ["i"]
                for side, part in zip(sides, g.parts, strict=True):
                    if len(side) == 1 and g.letters:
                        for r in (part,) if isinstance(part, Read) else part:
                            yield r, g.letters[side]
            return
        if rows is not None and not rows.any():
            return
        if v.op == "contract":
            letters = self.worked(v, rows)
            for side, r in zip(("left", "right"), v.reads, strict=True):
                if len(v.attr(side)) == 1:
                    yield r, letters[v.attr(side)]
        elif rows is None or not self.can_be_cut(v):
            yield from ((r, np.ones(1, bool)) for r in v.reads)
        elif (flags := choices(self.system, v)) is not None:
            yield v.reads[1], rows & flags
            yield v.reads[2], rows & ~flags
        elif v.op == "concat":
            start = 0
            for r, size in self.segments(v):
                yield r, rows[start : start + size]
                start += size
        elif v.op == "slice":
            source = self.system.values[v.reads[0].source]
            wanted = np.zeros(size_of(source) or 0, bool)
            wanted[v.attr("start") : v.attr("stop")] = rows
            yield v.reads[0], wanted
        else:
            yield from ((r, rows) for r in v.reads)

    def worked(self, v: Value, rows: Rows | None) -> Letters:
        """The rows that a contraction works on to give these rows of a vector (else all of its
        result); what is summed is not empty."""
        letters = self.letters(v, None)
        out = v.attr("out")
        for x, found in letters.items():
            if x in out:
                letters[x] = _all(found) if rows is None else rows
            elif not found.any():
                letters[x] = _all(found)
        return letters


def _all(rows: Rows) -> Rows:
    return np.ones_like(rows)


def _tidy(rows: Rows) -> Rows:
    """The set, or all rows where it is in too many pieces."""
    return rows if _runs(rows) <= MOST_RUNS else _all(rows)


def _total(letters: Letters) -> int:
    return int(np.prod([rows.sum() for rows in letters.values()]))


def _order(system: System) -> list[str]:
    """The values, each after those that it reads at its own step."""
    graph = nx.DiGraph()
    graph.add_nodes_from(system.values)
    graph.add_edges_from(
        (r.source, v.name) for v in system.values.values() for r in v.reads if not r.at
    )
    return list(nx.topological_sort(graph))
