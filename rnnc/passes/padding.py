"""What values are past the end of a sequence that is shorter than its batch: a helper of `lengths`.

There, inputs are masked and everything else is computed from them as at any other step. Whatever
it gives is thrown away; but adjoints are zero there, and a zero times something infinite is NaN.
So each value gets a level, along each axis on which sequences have lengths of their own:

=========  ==================================================================
``ZERO``   0 or false
``SMALL``  bounded by the weights alone, however long the sequence
``FINITE`` a number
``ANY``    perhaps infinite, or none
=========  ==================================================================

Of a recurrence nothing is assumed but FINITE; :func:`cut` says which of its reads must restart at 0
for that to be so. ``tanh`` and its like are SMALL of whatever they are given, so that a recurrence
through them needs no mask.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from enum import IntEnum

import networkx as nx
import numpy as np

from rnnc.graph.ops import LEAVES
from rnnc.graph.system import System, Value, moved
from rnnc.graph.types import BATCH, FIRST, LAST, Array, Bound, Index, Read, whole

# what changes no entry, or whose derivative reads no operand: infinities pass through unharmed
STRUCTURAL = frozenset(
    ("copy", "stop_gradient", "to_real", "add", "sub", "neg", "concat", "slice", "repeat")
) | frozenset(
    ("broadcast", "transpose", "diag", "minimum", "maximum", "sum", "max", "min", "stack", "or")
)
BOUNDING = frozenset(
    ("tanh", "sigmoid", "sin", "cos", "erf", "sign", "softmax", "onehot", "argmax", "not")
) | frozenset(("eq", "ne", "lt", "le", "gt", "ge"))
KEEP_ZERO = frozenset(("tanh", "sin", "erf", "sign", "abs", "relu", "floor", "sqrt"))
COMPARING = frozenset(("eq", "ne", "lt", "le", "gt", "ge"))
PRODUCTS = frozenset(("mul", "contract"))


class Tail(IntEnum):
    """See above; of several operands the highest counts."""

    ZERO = 0
    SMALL = 1
    FINITE = 2
    ANY = 3


Table = dict[tuple[str, str], Tail]  # by value and axis; "" is none of its axes


def met_bounds(source: Value, r: Read) -> list[Bound]:
    """The boundaries of a value that a read of it may meet."""
    sides = {a: FIRST if whole(i.offset) < 0 else LAST for a, i in r.at if i.offset != 0}
    return [b for b in source.bounds if sides.get(b.axis) == b.step.base]


class Padding:
    """The levels of all values of a system along the axes ``timed``."""

    def __init__(self, system: System, timed: Collection[str]):
        self.system = system
        self.timed = timed
        self.group: dict[str, int] = {}
        self.cyclic: set[int] = set()
        components = nx.strongly_connected_components(system.graph)
        for number, members in enumerate(components):
            self.group |= dict.fromkeys(members, number)
            first = next(iter(members))
            if len(members) > 1 or system.graph.has_edge(first, first):
                self.cyclic.add(number)
        order = {name: i for i, name in enumerate(nx.topological_sort(self._condensed()))}
        self.order = sorted(system.values.values(), key=lambda v: order[self.group[v.name]])
        self._signs: dict[tuple[str, bool], bool] = {}
        self._everywhere = self._settled(past=False)  # at steps of the sequence, too
        self._past = self._settled(past=True)

    def _condensed(self) -> nx.DiGraph:
        graph = nx.DiGraph()
        graph.add_nodes_from(self.group.values())
        pairs = ((self.group[a], self.group[b]) for a, b in self.system.graph.edges())
        graph.add_edges_from((a, b) for a, b in pairs if a != b)
        return graph

    # ---------------------------------------------------------------- questions

    def level(self, name: str, axis: str) -> Tail:
        """What a value is past the end of one of its axes."""
        return self._past[name, axis]

    def operand(self, reader: str, r: Read, axis: str) -> Tail:
        """What an operand is, past the end of its reader's ``axis``."""
        return self._operand(reader, r, axis, self._past, past=True)

    def varies(self, r: Read, axis: str) -> bool:
        """Whether an operand varies over its reader's ``axis``."""
        return axis in self.system.read_axes(r)

    def recurs(self, reader: str, r: Read) -> bool:
        """Whether a read goes to another step of a recurrence that the reader is in."""
        together = self.group[reader] == self.group[r.source]
        return together and any(not i.fixed and i.offset != 0 for _, i in r.at)

    def cut(self, reader: str, r: Read) -> Iterator[str]:
        """The axes of a value past whose ends the read must find 0, lest the recurrence grow."""
        if self.recurs(reader, r):
            for axis in self.system[r.source].axes:
                if axis in self.timed and self._everywhere[r.source, axis] > Tail.SMALL:
                    yield axis

    def fill(self, v: Value, position: int, axis: str, table: Table | None = None) -> float | None:
        """What must stand for an operand past the end of ``axis``, so that the value and its
        derivative are finite; None where it may stay as it is."""
        r = v.reads[position]
        if not self.varies(r, axis):
            return None
        level = self._operand(v.name, r, axis, self._past if table is None else table, past=True)
        if v.op == "gather" and position == 1:
            known = level == Tail.ZERO or (self.system[r.source].op == "argmax" and not r.at)
            return None if known else 0.0
        unsafe = _unsafe(v, position, self.system)
        if unsafe is not None and not self.positive(r):
            return None if unsafe == 0.0 and level == Tail.ZERO else unsafe
        if v.op == "exp" and level > Tail.SMALL:
            return 0.0
        if level == Tail.ANY and v.op not in STRUCTURAL | COMPARING | {"where", "gather"}:
            return 0.0
        return None

    # ---------------------------------------------------------------- levels

    def _settled(self, past: bool) -> Table:
        table = {(v.name, axis): Tail.FINITE for v in self.order for axis in (*self.timed, "")}
        again = True
        while again:
            again = False
            for v in self.order:
                for axis in (*self.timed, ""):
                    before = table[v.name, axis]
                    now = self._of(v, axis, table, past)
                    if before != Tail.ANY and now != before:
                        table[v.name, axis] = now
                        again = again or self.group[v.name] in self.cyclic
        return table

    def _of(self, v: Value, axis: str, table: Table, past: bool) -> Tail:
        """The level of a value along an axis; what does not vary over it is as in the sequence
        itself."""
        if v.op in LEAVES:
            return _leaf(v, axis, past)
        levels = [self._operand(v.name, r, axis, table, past) for r in v.reads]
        if axis not in v.axes:
            highest = max(levels, default=Tail.SMALL)
            return Tail.ANY if v.op in STRUCTURAL and highest == Tail.ANY else Tail.SMALL
        if axis in v.over:  # a normalisation: nothing is left for what takes no part
            if not past:
                return Tail.SMALL if v.op == "softmax" else Tail.FINITE
            return Tail.ZERO if v.op == "softmax" else Tail.ANY
        if past and BATCH in v.over and v.op not in ("sum", "contract"):
            return Tail.ANY  # no sequence may be left
        if v.op == "where":
            return levels[2] if levels[0] == Tail.ZERO else max(levels[1:])
        if v.op == "gather":
            return levels[0] if self.varies(v.reads[0], axis) else Tail.SMALL
        if v.op in STRUCTURAL:
            return max(levels)
        least = Tail.ZERO if past else Tail.FINITE
        levels = [least if a == Tail.ANY else a for a in levels]  # see `fill`
        if v.op in PRODUCTS or v.op == "and":
            return Tail.ZERO if Tail.ZERO in levels else max(levels)
        first = levels[0]
        if past and v.op in ("log", "sqrt", "pow") and self.fill(v, 0, axis, table) is not None:
            return Tail.SMALL if v.op == "pow" else Tail.ZERO
        if first == Tail.ZERO and v.op in (*KEEP_ZERO, "div", "mod"):
            return Tail.ZERO
        if v.op in BOUNDING or (past and v.op == "exp"):
            return Tail.SMALL
        return max(*levels, Tail.SMALL)

    def _operand(
        self, reader: str, r: Read, axis: str, table: Table, past: bool,
        seen: frozenset[tuple[str, Bound]] = frozenset(),
    ) -> Tail:  # fmt: skip
        """The level of what a read gives; of the boundaries ``seen`` it is known."""
        source = self.system[r.source]
        varies = self.varies(r, axis)
        found = [] if varies else [table[r.source, ""]]
        for a in source.axes if varies else ():
            index = r.index(a)
            if index.base != axis:
                continue
            level = table[r.source, a]
            if past and whole(index.offset) < 0:  # the last steps of the sequence are read, too
                before = self._everywhere[r.source, a]
                level = before if a in self.cut(reader, r) else max(level, before)
            elif past and whole(index.offset) > 0:
                level = Tail.ZERO
            found.append(level)
        for b in met_bounds(source, r):
            if past and r.index(b.axis) == Index(axis, -1):
                continue  # the step before one past the end is a step of the sequence
            if (r.source, b) not in seen:
                there = moved(b.read, self.system[b.read.source].axes, r.index)
                deeper = seen | {(r.source, b)}
                found.append(self._operand(reader, there, axis, table, past, deeper))
        return max(found)

    # ---------------------------------------------------------------- signs

    def positive(self, r: Read) -> bool:
        """Whether an operand is above 0 at every step, also past the end."""
        return self._sign(r, strict=True)

    def _sign(self, r: Read, strict: bool) -> bool:
        """Whether an operand is above 0 (or, not ``strict``, at least 0)."""
        if any(i.fixed or i.offset != 0 for _, i in r.at):
            return False  # a boundary may be anything
        key = r.source, strict
        if key not in self._signs:
            self._signs[key] = self._sign_of(self.system[r.source], strict)
        return self._signs[key]

    def _sign_of(self, v: Value, strict: bool) -> bool:

        def all_(strict: bool) -> bool:
            return all(self._sign(x, strict) for x in v.reads)

        match v.op:
            case "constant":
                held = v.attr("value")
                low = np.min(held.data if isinstance(held, Array) else held)
                return bool(low > 0 if strict else low >= 0)
            case "exp" | "softmax" | "sigmoid" | "softplus" | "step" | "length" | "size":
                return True
            case "maximum":
                return any(self._sign(x, strict) for x in v.reads)
            case "add":
                return all_(False) and (not strict or any(self._sign(x, True) for x in v.reads))
            case "mul" if v.reads[0] == v.reads[1] and not strict:
                return True
            case "contract" if v.reads[0] == v.reads[1] and not strict:
                return bool(v.attr("left") == v.attr("right") and not v.attr("out"))
            case "mul" | "div" | "minimum" | "concat":
                return all_(strict)
            case "where":
                return self._sign(v.reads[1], strict) and self._sign(v.reads[2], strict)
            case "sqrt":
                return not strict or all_(strict)
            case "abs" | "relu":
                return not strict
            case "sum" | "max" | "min" if not v.over:
                return all_(strict)
            case "copy" | "broadcast" | "slice" | "repeat" | "to_real" | "gather":
                return self._sign(v.reads[0], strict)
        return False


def _leaf(v: Value, axis: str, past: bool) -> Tail:
    if v.op == "constant":
        held = v.attr("value")
        data = np.asarray(held.data if isinstance(held, Array) else held)
        if not np.isfinite(data).all():
            return Tail.ANY
        return Tail.ZERO if past and not data.any() else Tail.SMALL
    if axis not in v.axes or v.op == "uniform":
        return Tail.SMALL
    if v.op == "step":
        return Tail.FINITE
    if past:
        return Tail.ZERO  # masked
    return Tail.FINITE if v.type.kind == "real" else Tail.SMALL


def _unsafe(v: Value, position: int, system: System) -> float | None:
    """The safe operand of what has no value, or no slope, somewhere; None for what always has."""
    if v.op == "log" and position == 0:
        return 1.0
    if v.op == "sqrt":
        return 0.0  # its slope there counts as 0
    if v.op in ("div", "mod") and position == 1:
        return 1.0
    if v.op == "pow" and position == 0:
        exponent = system[v.reads[1].source]
        number = exponent.attr("value") if exponent.op == "constant" else None
        natural = isinstance(number, (int, float)) and number >= 1 and number == int(number)
        return None if natural else 1.0
    return None
