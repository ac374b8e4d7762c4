"""Recurrences that are linear in their states, each as one operation on all steps.

    a[t] = 1 - z[t]                             a[t] = 1 - z[t]
    p[t] = a[t] * h[t-1]                →       b[t] = z[t] * g[t]
    h[t] = p[t] + z[t] * g[t]                   h[t] = linear_scan[t](a[t], b[t], h[0])

A state whose next value is ``a[t] * h[t-1] + b[t]``, entry by entry, with ``a`` and ``b`` that do
not recur, can be computed in blocks of steps side by side (G. E. Blelloch, Prefix Sums and Their
Applications, 1990; E. Martin, C. Cundy, Parallelizing Linear Recurrent Neural Nets Over Sequence
Length, ICLR 2018). The recurrence of its gradient has the same form and runs the other way. Two
states may be coupled: ``a`` is then a matrix, [2, 2], of vectors.

Blocks multiply up to √T of the ``a`` with each other before they meet a state. If ``a`` can be
larger than 1, such a product may overflow, or magnify what was rounded, where the state itself
stays small; so the equations have to tell that it cannot (of two states: that no step makes the
pair longer). Then what a block computes from a zero state is at most twice as large as the
states are. Products too small for a number are 0, as the influence of the state then is. Nothing
is divided, and no logarithm is taken.

A state is read by others as before, and they are computed for all steps at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from rnnc.graph.cycles import Recurrence, recurrences
from rnnc.graph.names import owner_of, told
from rnnc.graph.ranges import Ranges
from rnnc.graph.system import System, Value
from rnnc.graph.types import Attrs, Read, Type, whole
from rnnc.passes.affine import Affine, Forms, NotAffine, Verdict, magnifies, unsigned
from rnnc.passes.plan import MOST_ENTRIES
from rnnc.passes.terms import Terms

MOST_STATES = 2  # the work of blocks grows with the cube of their number

Matrix = Sequence[Sequence[Read]]


def linear(system: System) -> System:
    """The system with its linear recurrences as scans."""
    scans = _Scans(system)
    taken = [v for v in scans.run() if v.states]
    return scans.result() if taken else system


def verdicts(system: System) -> tuple[Verdict, ...]:
    """Of each recurrence, in the order of ``recurrences``: whether :func:`linear` takes it, and
    if not, what in its equations is in the way."""
    return _Scans(system).run()


class _Scans(Terms):
    """A system while its recurrences are replaced."""

    def __init__(self, system: System):
        super().__init__(system)
        self.ranges = Ranges(self.values)

    def run(self) -> tuple[Verdict, ...]:
        return tuple(self._verdict(r) for r in recurrences(self.system))

    def _verdict(self, recurrence: Recurrence) -> Verdict:
        nearly = False
        try:
            forms = Forms(self, recurrence)
            rows = [forms.of(s) for s in forms.states]
            nearly = True
            self._check_states(forms.states)
            firsts = [forms.first(s) or self.number(0.0) for s in forms.states]
            matrix = [[self._factor(row, s) for s in forms.states] for row in rows]
            self._check_size(forms.states, matrix)
        except NotAffine as reason:
            return Verdict(recurrence, (), str(reason), nearly)
        rests = [self._full(self.system[forms.states[0]], row.rest) for row in rows]
        reads = [*(r for row in matrix for r in row), *rests, *firsts]
        self._replace(forms, reads)
        return Verdict(recurrence, forms.states)

    def _factor(self, row: Affine, state: str) -> Read:
        if state not in row.factors:
            return self.number(0.0)
        return row.factors[state] or self.number(1.0)

    def _full(self, like: Value, rest: Read | None) -> Read:
        """What is added, in the shape of the states and over all of their axes."""
        r = rest or self.number(0.0)
        if self.type(r) != like.type:
            r = self.emit("broadcast", r, shape=like.type.shape)
        return self.stretched(r, like.axes)

    # ---------------------------------------------------------------- when blocks are worth it

    def _check_states(self, states: Sequence[str]) -> None:
        """Few vectors of one shape, so small that it is the number of steps that costs."""
        found = [self.system[s] for s in states]
        names = ", ".join(told(s, self.system.values) for s in states)
        if len(states) > MOST_STATES:
            raise NotAffine(f"{names} are coupled, more than {MOST_STATES} states")
        type_ = found[0].type
        if type_.rank > 1:
            raise NotAffine(f"{names} is {type_}, no number and no vector")
        if any((v.type, v.axes) != (type_, found[0].axes) for v in found):
            raise NotAffine(f"{names} differ in shape")
        if type_.rank and whole(type_.shape[0]) > MOST_ENTRIES:
            raise NotAffine(
                f"{names} has {type_.shape[0]} entries: above {MOST_ENTRIES} the arithmetic of a "
                "step costs more than a step by itself, and a loop does less of it"
            )

    # ---------------------------------------------------------------- no step magnifies

    def _check_size(self, states: Sequence[str], matrix: Matrix) -> None:
        """The products of many steps have to stay in range."""
        if self._is_rotation(matrix):
            return
        for state, row in zip(states, matrix, strict=True):
            sizes = [self.ranges.size(r) for r in row]
            if sum(sizes) <= 1:
                continue
            raise magnifies(self, state, row[sizes.index(max(sizes))] if max(sizes) > 1 else None)

    def _is_rotation(self, matrix: Matrix) -> bool:
        """``[[p, -q], [q, p]]`` with p = r cos(θ) and q = r sin(θ), r not above 1 in size: as a
        product with a complex number, it makes no pair longer."""
        if len(matrix) != 2:
            return False
        (a, b), (c, d) = ([unsigned(self, r) for r in row] for row in self._unmasked(matrix))
        if a != d or b[1] != c[1] or b[0] == c[0]:
            return False
        return any(
            (radius, angle) == sine and self.ranges.size(radius) <= 1
            for radius, angle in self._polar(a[1], "cos")
            for sine in self._polar(b[1], "sin")
        )

    def _unmasked(self, matrix: Matrix) -> Matrix:
        """The matrix without a flag by which all of it is chosen, or is 0."""
        entries = [self.values[r.source] for row in matrix for r in row]
        flag = entries[0].reads[:1]
        if any(
            v.op != "where" or v.reads[:1] != flag or not self.is_zero(v.reads[2]) for v in entries
        ):
            return matrix
        return [[self.values[r.source].reads[1] for r in row] for row in matrix]

    def _polar(self, r: Read, function: str) -> list[tuple[Read, Read]]:
        """The r and θ of ``r * cos(θ)`` (or ``sin``)."""
        v = self.values[r.source]
        if v.op != "mul" or r.at:
            return []
        waves = [(v.reads[i], self.values[v.reads[1 - i].source]) for i in (0, 1)]
        return [(radius, wave.reads[0]) for radius, wave in waves if wave.op == function]

    # ---------------------------------------------------------------- the scan

    def _replace(self, forms: Forms, reads: Sequence[Read]) -> None:
        """Give the states anew, by one scan."""
        states = [self.system[s] for s in forms.states]
        k, like = len(states), states[0]
        attrs: Attrs = (("axis", forms.axis), ("forward", forms.forward), ("states", k))
        if k == 1 and like.op != "where":
            self.change(like.name, "linear_scan", reads, attrs)
            return
        rows = whole(like.type.shape[0]) if like.type.rank else 1
        type_ = like.type if k == 1 else Type("real", (k * rows,))
        origins = tuple(dict.fromkeys(o for s in states for o in s.origins))
        base = "_".join(owner_of(s.name) for s in states)
        name = self.system.fresh(f"{base}.scan", self.values)
        scan = Value(name, "linear_scan", tuple(reads), type_, like.axes, attrs, (), origins)
        self.values[name] = self.added[name] = scan
        for i, state in enumerate(states):
            part = Read(name)
            if k > 1:
                ends = (("start", i * rows), ("stop", (i + 1) * rows))
                part = self.make(f"{name}.part", "slice", (part,), ends, origins)
            if state.op == "where":
                self._chosen(forms, state, part)
            elif like.type.rank:
                self.change(state.name, "copy", (part,))
            else:  # a number among several: its part is a vector of length 1
                self.change(state.name, "sum", (part,), (("over", ()),))

    def _chosen(self, forms: Forms, state: Value, scan: Read) -> None:
        """What a state is by ``where``, as past the end of a sequence, it stays, though it is so
        of the scan: were the state before infinite, 0 times that would not be 0."""
        if self.type(scan) != state.type:
            scan = self.emit("sum", scan, over=())
        flag, *choices = state.reads
        kept = [scan if r.source in forms.members else r for r in choices]
        self.change(state.name, "where", (flag, *kept))
