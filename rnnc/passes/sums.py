"""Sums and products of a recurrence as terms: what stands before a state, an input, a gate.

    o.4 = (W_o x + U_o c[t-1]) + b_o     →    W_o · x,  U_o · c[t-1],  b_o · 1
    a   = U (r * h[t-1]) + x.f[0:m]      →    U · (r ∘ h[t-1]),  rows 0..m of what x.f is

A term is ``scale * outer ∘ chain (inner ∘ source)``: a chain of fixed matrices and vectors before
a source, and gates (activations of the recurrence) that multiply it entry by entry, outside of the
chain or inside. Order, association, stacked matrices and parts of stacked vectors do not matter.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from rnnc.graph.system import System, Value
from rnnc.graph.types import Read
from rnnc.passes.views import Unlike, View, Views, number_of


@dataclass(frozen=True)
class Rows:
    """Rows of a matrix that does not change."""

    matrix: Read
    start: int
    stop: int
    transposed: bool = False


@dataclass(frozen=True)
class Scale:
    """Multiplication, entry by entry, with a vector (or number) that does not change."""

    vector: View


Chain = tuple[Rows | Scale, ...]


@dataclass(frozen=True)
class State:
    """A carried value one step back; ``now`` at the step itself."""

    name: str
    now: bool = False


ONE = "one"  # the source of a bias
Source = State | View | str  # a View is of something that does not recur


@dataclass(frozen=True)
class Term:
    """``scale * outer ∘ chain (inner ∘ source)``"""

    scale: float
    source: Source
    chain: Chain = ()
    outer: frozenset[View] = frozenset()
    inner: frozenset[View] = frozenset()

    @property
    def has_matrix(self) -> bool:
        return any(isinstance(f, Rows) for f in self.chain)


class Forms(Views):
    """The terms of a recurrence's values."""

    def __init__(self, system: System, axis: str, members: frozenset[str], states: Collection[str]):
        super().__init__(system, axis, members, states)
        self._terms: dict[View, list[Term]] = {}

    # ---------------------------------------------------------------- terms

    def terms(self, view: View) -> list[Term]:
        """The terms whose sum these entries are.

        :raises Unlike: they are no such sum.
        """
        view = self.resolved(view)
        if view in self.cores:
            return [Term(1.0, State(self.cores[view], now=True))]
        if view not in self._terms:
            self._terms[view] = _collected(self._found(view))
        return self._terms[view]

    def expanded(self, view: View) -> list[Term]:
        """The terms of a state's own equation, which is else a source."""
        return _collected(self._found(self.resolved(view)))

    def _found(self, view: View) -> list[Term]:
        v, r = self.value(view), view.read
        if r.shifts(self.axis) and r.source in self.states:
            if view != self.whole(r):
                raise Unlike(f"only a part of {self.quoted(r.source)} is read", 1)
            return [Term(1.0, State(r.source))]
        if not self.recurs(view):
            return self._fixed(view)
        if r.at:
            raise Unlike(f"{self.quoted(r.source)} is read at another step", 1)
        if v.op == "contract":
            return self._product(view)
        if self.activation(view) is not None:
            return [Term(1.0, ONE, (), frozenset((view,)))]
        return self._arithmetic(view)

    def _arithmetic(self, view: View) -> list[Term]:
        v = self.value(view)
        if v.op in ("add", "sub", "neg"):
            signs = (-1.0,) if v.op == "neg" else (1.0, 1.0 if v.op == "add" else -1.0)
            return [
                replace(term, scale=term.scale * sign)
                for sign, r in zip(signs, v.reads, strict=True)
                for term in self.terms(self.part(r, view))
            ]
        if v.op == "mul":
            left, right = (self.terms(self.part(r, view)) for r in v.reads)
            return [self._times(a, b, v) for a in left for b in right]
        raise Unlike(f"{self.quoted(v.name)} has a {v.op} in it", 1)

    def _times(self, a: Term, b: Term, v: Value) -> Term:
        """The product of two terms: at most one has a source and a matrix."""
        if a.source != ONE:
            a, b = b, a
        if a.source != ONE or a.has_matrix:
            raise Unlike(f"{self.quoted(v.name)} multiplies two things that are no gates", 1)
        gates = a.outer | a.inner
        if b.has_matrix:
            return Term(a.scale * b.scale, b.source, a.chain + b.chain, b.outer | gates, b.inner)
        inner = gates | b.outer | b.inner
        return Term(a.scale * b.scale, b.source, a.chain + b.chain, frozenset(), inner)

    def _product(self, view: View) -> list[Term]:
        """Of a matrix that does not change and a vector."""
        v = self.value(view)
        parts = self._matrix_vector(v)
        if parts is None:
            raise Unlike(f"{self.quoted(v.name)} is no product of a fixed matrix and a vector", 1)
        matrix, vector, transposed = parts
        rows = Rows(matrix, view.start, view.stop, transposed)
        out = []
        for term in self.terms(self.whole(vector)):
            gates = term.outer if not term.has_matrix else frozenset()
            if term.outer and term.has_matrix:
                raise Unlike(f"{self.quoted(v.name)} has a matrix on both sides of a gate", 1)
            chain: Chain = (rows, *term.chain)
            out.append(Term(term.scale, term.source, chain, frozenset(), term.inner | gates))
        return out

    def _matrix_vector(self, v: Value) -> tuple[Read, Read, bool] | None:
        """The matrix, the vector, and whether the matrix is transposed."""
        letters = v.attr("left"), v.attr("right")
        for i in (0, 1):
            matrix, vector = v.reads[i], v.reads[1 - i]
            if len(letters[i]) == 2 and len(letters[1 - i]) == 1 and not v.over:
                if self.system[matrix.source].axes or v.attr("out") == letters[1 - i]:
                    continue
                if v.attr("out") in letters[i] and letters[1 - i] in letters[i]:
                    return matrix, vector, letters[i][0] == letters[1 - i]
        return None

    def _fixed(self, view: View) -> list[Term]:
        """Of what does not recur: biases, products with inputs, other terms as they are."""
        v = self.value(view)
        if (number := number_of(v)) is not None:
            return [Term(number, ONE)]
        if not self.system.read_axes(view.read):
            return [Term(1.0, ONE, (Scale(view),))]
        if view.read.at or v.bounds:
            return [Term(1.0, view)]
        if v.op == "contract" and (parts := self._matrix_vector(v)) is not None:
            matrix, vector, transposed = parts
            rows = Rows(matrix, view.start, view.stop, transposed)
            return [Term(1.0, self.whole(vector), (rows,))]
        if v.op == "broadcast" and not self.system[v.reads[0].source].type.rank:
            return self.terms(self.whole(v.reads[0]))
        if v.op in ("add", "sub", "neg"):
            return self._arithmetic(view)
        if v.op == "mul" and any(not self.system.read_axes(r) for r in v.reads):
            return self._arithmetic(view)
        return [Term(1.0, view)]


def _collected(terms: list[Term]) -> list[Term]:
    """Terms that differ in their scales alone are added up."""
    scales: dict[Term, float] = {}
    for term in terms:
        key = replace(term, scale=1.0)
        scales[key] = scales.get(key, 0.0) + term.scale
    return [replace(term, scale=s) for term, s in scales.items() if s]
