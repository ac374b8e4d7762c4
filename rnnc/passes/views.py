"""The values of a recurrence behind what only says where they stand: parts of vectors, copies,
what ``lengths`` has put around them; and which of them an activation makes.

    f.c  = sigmoid(a)[0:m],  a = p[0:3m]     →    Sigmoid of the entries 0 to m of p
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from rnnc.graph.names import owner_of
from rnnc.graph.ops import MAPS, OPS
from rnnc.graph.system import System, Value
from rnnc.graph.types import Array, Read, whole
from rnnc.passes.activations import NDA, Activation, Function, activation_of

# elementwise operations that sums and products are made of
ARITHMETIC = frozenset(("add", "sub", "mul", "neg", "copy"))
PASSED = frozenset(("slice", "copy", "concat"))  # which only say where entries stand


class Unlike(Exception):
    """A recurrence is not of the form looked for: ``reason`` says what prevents it, in the words
    of the spec; the larger ``progress``, the nearer it came."""

    def __init__(self, reason: str, progress: int = 0):
        super().__init__(reason)
        self.reason = reason
        self.progress = progress


@dataclass(frozen=True)
class View:
    """The entries ``start`` to ``stop`` of a vector that is read."""

    read: Read
    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Active:
    """``function(sign * argument)``, with a sign of 1 or -1."""

    function: Activation
    argument: View
    sign: int = 1


@dataclass
class Guards:
    """What ``lengths`` has put around a recurrence: the input with the lengths, and what a state
    is outside of its own steps, where that is given by an operand."""

    lengths: Read | None = None
    initial: dict[str, Read] = field(default_factory=dict)


class Views:
    """The values of a recurrence; ``states`` are its carried ones."""

    def __init__(self, system: System, axis: str, members: frozenset[str], states: Collection[str]):
        self.system = system
        self.axis = axis
        self.members = members
        self.states = states
        self.guards = Guards()
        self._activations: dict[View, Active | None] = {}
        self.cores = {self.resolved(self.whole(Read(s))): s for s in states}

    # ---------------------------------------------------------------- places

    def whole(self, r: Read) -> View:
        """All entries of what is read; of a number, its one entry."""
        shape = self.system[r.source].type.shape
        if len(shape) > 1:
            raise Unlike(f"{self.quoted(r.source)} is a matrix", 1)
        return View(r, 0, whole(shape[0]) if shape else 1)

    def value(self, view: View) -> Value:
        return self.system[view.read.source]

    def recurs(self, view: View) -> bool:
        return view.read.source in self.members

    def resolved(self, view: View) -> View:
        """Where these entries come from: behind slices, copies, joined vectors and guards."""
        while True:
            inner = self._behind(view)
            if inner is None:
                return view
            view = inner

    def _behind(self, view: View) -> View | None:
        if view.read.at:
            return None
        v = self.value(view)
        if v.op == "where" and self.recurs(view):
            held = self._guarded(v)
            return None if held is None else View(held, view.start, view.stop)
        if v.op not in PASSED or v.type.rank != 1 or (v.bounds and v.name not in self.states):
            return None
        if v.op == "slice":
            start = whole(v.attr("start"))
            if self.system[v.reads[0].source].type.rank != 1:
                return None
            return View(v.reads[0], start + view.start, start + view.stop)
        if v.op == "copy":
            source = self.system[v.reads[0].source]
            same = source.type == v.type and set(self.system.read_axes(v.reads[0])) == set(v.axes)
            return View(v.reads[0], view.start, view.stop) if same else None
        end = 0
        for r in v.reads:
            shape = self.system[r.source].type.shape
            begin, end = end, end + (whole(shape[0]) if shape else 1)
            if begin <= view.start and view.stop <= end:
                return View(r, view.start - begin, view.stop - begin) if shape else None
        return None

    # ---------------------------------------------------------------- guards of lengths

    def _guarded(self, v: Value) -> Read | None:
        """What a value is within each sequence's own length, if it is a guard for the rest."""
        within = self._within(v.reads[0])
        if within is None:
            return None
        offset, lengths = within
        held, other = v.reads[1], v.reads[2]
        if offset == 0 and not held.at and self.system.is_zero(other.source):
            self.guards.lengths = lengths
            return held
        if (
            held.shifts(self.axis)
            and held.source in self.states
            and other.source not in (self.members)
        ):
            known = self.guards.initial.setdefault(held.source, other)
            if known == other:
                self.guards.lengths = lengths
                return held
        return None

    def _within(self, condition: Read) -> tuple[int, Read] | None:
        """Of ``t + k <= t.lengths``: k, and the lengths."""
        v = self.system[condition.source]
        if condition.at or v.op != "le" or v.name in self.members:
            return None
        step, limit = (self.system[r.source] for r in v.reads)
        offset = 0
        if step.op == "add":
            number = self.system[step.reads[1].source]
            if number.op != "constant" or not isinstance(number.attr("value"), int):
                return None
            offset, step = number.attr("value"), self.system[step.reads[0].source]
        named = dict(limit.attrs).get("lengths")
        fits = step.op == "step" and step.attr("axis") == self.axis and named is not None
        return (offset, v.reads[1]) if fits else None

    # ---------------------------------------------------------------- activations

    def activation(self, view: View) -> Active | None:
        """The activation that makes these entries, and its argument; None where they are a sum, a
        product or nothing elementwise. (``4 * sigmoid(a) - 2`` is ``ScaledTanh``.)"""
        if view not in self._activations:
            self._activations[view] = self._activation(view)
        return self._activations[view]

    def _activation(self, view: View) -> Active | None:
        v = self.value(view)
        if not self.recurs(view) or view.read.at or v.op not in MAPS:
            return None
        arithmetic = v.op in ARITHMETIC
        numbers = any(self.system[r.source].op == "constant" for r in v.reads)
        if arithmetic and not numbers and v.op != "neg":
            return None
        best: Active | None = None
        below = self._below(view)
        ruled_out = set()
        if arithmetic:  # 1 - sigmoid(-a) is the complement of a gate and no other gate
            ruled_out = {"Affine", "Sigmoid"} if self._within_sigmoid(view) else {"Affine"}
        for argument in below:
            for sign in (1, -1):
                f = self.activation_in(view, argument, sign)
                if f is None or f.name in ruled_out:
                    continue
                if f.alpha is None:
                    return Active(f, argument, sign)
                if sign > 0 and v.op != "neg":
                    best = Active(f, argument, 1)  # further in may be what its constants are for
        return best

    def _within_sigmoid(self, view: View) -> bool:
        """Whether entries are a sigmoid, times a number and with one added."""
        while self.value(view).op in ARITHMETIC:
            inner = [o for o in self._operands(view) if self.value(o).op != "constant"]
            if len(inner) != 1 or inner[0].read.at:
                return False
            view = inner[0]
        return self.value(view).op == "sigmoid"

    def activation_in(self, view: View, argument: View, sign: int = 1) -> Activation | None:
        """The activation that makes these entries of that argument (times ``sign``); None if none
        does."""
        function = self._function(view, argument)
        if function is None:
            return None
        return activation_of(function if sign > 0 else lambda x: function(-x))

    def _operands(self, view: View) -> list[View]:
        """What these entries of an elementwise result are made of."""
        return [self.resolved(self.part(r, view)) for r in self.value(view).reads]

    def _below(self, view: View) -> list[View]:
        """The entries that a function is made of, the nearest first."""
        found: dict[View, None] = {}
        todo = [view]
        while todo:
            for inner in self._operands(todo.pop(0)):
                if self.recurs(inner) and not inner.read.at and inner not in found:
                    if inner.size == view.size:
                        found[inner] = None
                    if self.value(inner).op in MAPS:
                        todo.append(inner)
        return list(found)

    def _function(self, view: View, argument: View) -> Function | None:
        """Entries as a function of others, if they depend on nothing else but numbers."""
        order: list[View] = []
        numbers: dict[View, NDA] = {}

        def visit(x: View) -> bool:
            if x == argument or x in order or x in numbers:
                return True
            v = self.value(x)
            if v.op == "constant" and not isinstance(v.attr("value"), Array):
                numbers[x] = np.asarray(v.attr("value"))
                return True
            if v.op not in MAPS or x.read.at or not all(map(visit, self._operands(x))):
                return False
            order.append(x)
            return True

        def function(x: NDA) -> NDA:
            found = {argument: x, **numbers}
            for y in order:
                compute = OPS[self.value(y).op].compute
                assert compute is not None
                given = [found[o] for o in self._operands(y)]
                found[y] = compute(given, dict(self.value(y).attrs))
            return found[view]

        return function if visit(view) else None

    def part(self, r: Read, view: View) -> View:
        """The entries of an operand that these entries of an elementwise result are made of."""
        own = self.whole(r)
        stretched = own.size == 1 or not self.system[r.source].type.rank
        return own if stretched else View(r, view.start, view.stop)

    # ---------------------------------------------------------------- words

    def named(self, view: View) -> str:
        """Entries as the spec calls them: by the value that they are, if there is one."""
        recurs = self.recurs(view)
        for name in self.system.values:
            if (name in self.members) == recurs and owner_of(name) == name:
                shape = self.system[name].type.shape
                if len(shape) == 1 and self.resolved(View(Read(name), 0, whole(shape[0]))) == view:
                    return self.quoted(name)
        return self.quoted(view.read.source)

    def quoted(self, name: str) -> str:
        """The equation that a value belongs to, as the spec calls it."""
        owner = owner_of(name)
        value = self.system.values.get(owner)
        axes = () if value is None else [a for a in value.axes if a in self.system.time_axes()]
        return f"`{owner}[{', '.join(axes)}]`" if axes else f"`{owner}`"


def number_of(v: Value) -> float | None:
    """The number that a constant is, or that all its entries are."""
    if v.op != "constant":
        return None
    value = v.attr("value")
    if not isinstance(value, Array):
        return float(value)
    first = value.data.flat[0]
    return float(first) if (value.data == first).all() else None
