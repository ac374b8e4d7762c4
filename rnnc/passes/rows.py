"""Rows of vectors that nothing reads, or that are zero, are not computed.

    h = where(fires, tanh(A h' + b), h')      →      h = [tanh(A[0:2] h' + b[0:2]), h'[2:4]]

where ``fires`` is the constant [true, true, false, false]. The rows of a vector that its readers
use (found from the readers back) and those that may not be zero (found from the operands on) are
all that is computed of it; products take the rows of their matrix, which are cut out once. Sums
over steps, the gradients of weights, take together the steps that have the same rows:

    dA = Σ[t] outer(dz[t], h[t-1])      →      dA = Σ[odd t] outer(dz[t][0:2], h[t-1]) above 0
                                                  + Σ[even t] outer(dz[t], h[t-1])

In an unrolled model the conditions on the step are such constants: the modules of a Clockwork RNN
(Koutník et al., ICML 2014) are then computed only when they tick.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rnnc.graph.system import System, Value, fresh, read_axes
from rnnc.graph.types import Array, Attrs, Read, Size, Type, whole
from rnnc.passes.editor import derived
from rnnc.passes.row_sets import Group, Rows, RowSets, choices, size_of


def live_rows(system: System) -> System:
    """The system with only those rows computed that count; the same one where no ``where`` has
    constant flags for the rows of a vector."""
    if all(choices(system, v) is None for v in system.values.values()):
        return system
    return _Cut(RowSets(system)).result()


class _Cut:
    """The system being cut: ``values`` are what it becomes, each vector as long as its window."""

    def __init__(self, sets: RowSets):
        self.sets = sets
        self.old = sets.system.values
        self.system = replace(sets.system, axes=sets.axes)
        self.values: dict[str, Value] = {}
        self.taken = set(self.old)
        self.made: dict[Hashable, Read] = {}
        self.owner = sets.system.values[sets.order[0]]

    def result(self) -> System:
        for name in self.sets.order:
            self.owner = value = self.old[name]
            window = self.sets.window.get(name)
            if window is None or window.any():
                self.values[name] = self._cut(value, window)
        return self.system.with_values(self.values).pruned()

    # ---------------------------------------------------------------- one value

    def _cut(self, v: Value, rows: Rows | None) -> Value:
        """The value for these rows (None: it is no vector)."""
        if self.sets.groups.get(v.name):
            return self._as(v, self._summed(v, self.sets.groups[v.name], rows))
        if v.op == "contract":
            return self._contraction(v, rows)
        if rows is None or not self.sets.can_be_cut(v):
            return self._with(v, [self._whole(r) for r in v.reads])
        flags = choices(self.sets.system, v)
        if flags is not None:
            return self._as(v, self._chosen(v, flags, rows))
        if v.op == "slice":
            source = np.zeros(size_of(self.old[v.reads[0].source]) or 0, bool)
            source[v.attr("start") : v.attr("stop")] = rows
            return self._as(v, self._rows(v.reads[0], source))
        if v.op == "concat":
            start, parts = 0, []
            for r, size in self.sets.segments(v):
                wanted = rows[start : start + size]
                start += size
                if wanted.any():
                    parts.append(self._rows(r, wanted))
            return self._with(v, parts)
        attrs = (("shape", (int(rows.sum()),)),) if v.op == "broadcast" else v.attrs
        return self._with(v, [self._rows(r, rows) for r in v.reads], attrs)

    def _with(self, v: Value, reads: Sequence[Read], attrs: Attrs | None = None) -> Value:
        """The value of other operands, over the same axes."""
        attrs = v.attrs if attrs is None else attrs
        if v.op in ("copy", "stack") or not v.reads:
            type_ = self._type(reads[0]) if reads else v.type
            if v.op == "stack":
                reads = self._spread(v, reads)
            return replace(v, reads=tuple(reads), type=type_, attrs=attrs)
        sources = [self.values[r.source] for r in reads]
        axes = {a for r in reads for a in read_axes(self.values[r.source].axes, r)}
        if not axes.issuperset(v.over):  # zeros, as has been found out here
            return self._as(v, self._zeros(v.type.shape))
        made = derived(self.system, v.name, v.op, reads, sources, attrs, v.origins)
        if made.axes == v.axes:
            return replace(made, bounds=v.bounds)
        return self._as(v, self._make(v.op, reads, attrs))

    def _spread(self, v: Value, steps: Sequence[Read]) -> Sequence[Read]:
        """The steps of a value, one of which varies over all of its axes but theirs: that all are
        zeros may have been found out here."""
        inner = {a for a in v.axes if a != v.attr("axis")}
        if inner <= {a for r in steps for a in read_axes(self.values[r.source].axes, r)}:
            return steps
        like = Value("", "copy", (steps[0],), self._type(steps[0]), self.system.ordered(inner))
        return [self._add(f"{v.name}.rows", like), *steps[1:]]

    def _as(self, v: Value, r: Read) -> Value:
        """The value as a copy of what is read."""
        return replace(v, op="copy", reads=(r,), type=self._type(r), attrs=())

    def _contraction(self, v: Value, rows: Rows | None) -> Value:
        letters = self.sets.worked(v, rows)
        reads = []
        for side, r in zip(("left", "right"), v.reads, strict=True):
            for dim, letter in enumerate(v.attr(side)):
                r = (
                    self._rows(r, letters[letter])
                    if len(v.attr(side)) == 1
                    else (self._lines(r, letters[letter], dim))
                )
            reads.append(r)
        return self._with(v, reads)

    def _chosen(self, v: Value, flags: Rows, rows: Rows) -> Read:
        """The rows of a ``where``: each piece from the operand that it is chosen of."""
        places = np.flatnonzero(rows)
        turns = np.flatnonzero(np.diff(flags[places])) + 1
        parts = []
        for piece in np.split(places, turns):
            wanted = np.zeros(len(rows), bool)
            wanted[piece] = True
            parts.append(self._rows(v.reads[1 if flags[piece[0]] else 2], wanted, stretch=True))
        return self._joined(parts)

    # ---------------------------------------------------------------- sums over steps

    def _summed(self, v: Value, groups: Sequence[Group], rows: Rows | None) -> Read:
        """A sum over steps by groups of steps; each adds to its own rows."""
        total: tuple[Read, Rows | None] | None = None
        for group in groups:
            term = self._term(v, group)
            mine = None
            if v.type.rank:
                mine = group.letters["i" if v.op == "sum" else v.attr("out")[0]]
            if total is None:
                total = term, mine
                continue
            union = mine
            if mine is not None and total[1] is not None:
                union = mine | total[1]
                total = self._placed(total[0], total[1], union), union
                term = self._placed(term, mine, union)
            total = self._make("add", (total[0], term)), union
        assert total is not None
        if total[1] is None:
            return total[0]
        return self._placed(total[0], total[1], np.ones_like(total[1]) if rows is None else rows)

    def _term(self, v: Value, group: Group) -> Read:
        """The part of a sum that a group of steps makes."""
        over = tuple(group.axis if a == group.of else a for a in v.over)
        sides = [v.attr("left"), v.attr("right")] if v.op == "contract" else ["i"]
        reads = []
        for side, part in zip(sides, group.parts, strict=True):
            steps = (part,) if isinstance(part, Read) else part
            if len(side) == 1 and group.letters:
                steps = tuple(self._rows(r, group.letters[side]) for r in steps)
            reads.append(steps[0] if isinstance(part, Read) else self._stack(steps, group.axis))
        attrs = tuple((k, over if k == "over" else x) for k, x in v.attrs)
        return self._make(v.op, reads, attrs)

    def _stack(self, steps: Sequence[Read], axis: str) -> Read:
        key = ("stack", tuple(steps), axis)
        if key not in self.made:
            inner = {a for r in steps for a in read_axes(self.values[r.source].axes, r)}
            axes = self.system.ordered({axis, *inner})
            like = Value("", "stack", tuple(steps), self._type(steps[0]), axes, (("axis", axis),))
            self.made[key] = self._add(f"{self.owner.name}.steps", like)
        return self.made[key]

    # ---------------------------------------------------------------- rows

    def _whole(self, r: Read) -> Read:
        """All rows of an operand, zeros where they are not computed."""
        size = size_of(self.old[r.source])
        return r if size is None else self._rows(r, np.ones(size, bool))

    def _rows(self, r: Read, wanted: Rows, stretch: bool = False) -> Read:
        """These rows of an operand; a number that fills a vector stays one, unless stretched."""
        source = self.old[r.source]
        if size_of(source) == len(wanted):
            window = np.ones_like(wanted) if r.at else self.sets.window[r.source]
            return self._placed(r, window, wanted)
        if not stretch:
            return r
        shape = (int(wanted.sum()),)
        if self.sets.of(r, len(wanted)).any():
            return self._make("broadcast", (r,), (("shape", shape),))
        return self._zeros(shape)

    def _placed(self, r: Read, window: Rows, wanted: Rows) -> Read:
        """The wanted rows of an array that has those of the window; the others are zero."""
        if np.array_equal(window, wanted):
            return r
        key = (r, window.tobytes(), wanted.tobytes())
        if key not in self.made:
            place = np.where(window, np.cumsum(window) - 1, -2)[wanted]  # -2: not there
            breaks = np.flatnonzero(np.diff(place) != np.where(place[1:] < 0, 0, 1)) + 1
            parts = [self._piece(r, piece) for piece in np.split(place, breaks)]
            self.made[key] = self._joined(parts)
        return self.made[key]

    def _piece(self, r: Read, place: NDArray[np.int64]) -> Read:
        """Neighbouring rows, from the first to the last of these places; zeros of none."""
        if place[0] < 0:
            made = self.values.get(r.source)  # none of a vector of zeros
            return self._zeros((len(place), *(made.type.shape[1:] if made else ())))
        start, stop = int(place[0]), int(place[-1]) + 1
        if stop - start == self._type(r).shape[0]:
            return r
        return self._make("slice", (r,), (("start", start), ("stop", stop)))

    def _lines(self, r: Read, wanted: Rows, dim: int) -> Read:
        """These rows (``dim`` 0) or columns of a matrix."""
        if wanted.all():
            return r
        if not dim:
            return self._placed(r, np.ones_like(wanted), wanted)
        turned = self._make("transpose", (r,))
        return self._make("transpose", (self._placed(turned, np.ones_like(wanted), wanted),))

    def _joined(self, parts: Sequence[Read]) -> Read:
        return parts[0] if len(parts) == 1 else self._make("concat", parts)

    def _zeros(self, shape: tuple[Size, ...]) -> Read:
        zeros = Array(np.zeros([whole(s) for s in shape]))
        return self._make("constant", (), (("value", zeros),))

    # ---------------------------------------------------------------- new values

    def _type(self, r: Read) -> Type:
        return self.values[r.source].type

    def _make(self, op: str, reads: Sequence[Read], attrs: Attrs = ()) -> Read:
        """A value of these operands, made once."""
        key = (op, tuple(reads), attrs)
        if key not in self.made:
            sources = [self.values[r.source] for r in reads]
            like = derived(self.system, "", op, reads, sources, attrs, self.owner.origins)
            base = reads[0].source if op == "slice" else self.owner.name
            self.made[key] = self._add(f"{base}.rows", like)
        return self.made[key]

    def _add(self, base: str, like: Value) -> Read:
        name = fresh(base, self.taken)
        self.taken.add(name)
        self.values[name] = replace(like, name=name, origins=self.owner.origins)
        return Read(name)
