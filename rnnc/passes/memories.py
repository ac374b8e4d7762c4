"""Matrices that are updated by outer products, and what is linear in them: a helper of
`attention`.

    S[t] = f[t] * S[t-1] + i[t] * outer(v[t], k[t])

A *memory* is such a recurrence. The forms of its members, and of other matrices made of them, are
sums of S before the step, times a number, and of outer products.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rnnc.graph.cycles import Recurrence
from rnnc.graph.names import owner_of
from rnnc.graph.ranges import Ranges
from rnnc.graph.system import Value
from rnnc.graph.types import FIRST, LAST, Index, Read
from rnnc.passes.affine import Affine, Forms, NotAffine, magnifies
from rnnc.passes.terms import Terms


@dataclass(frozen=True)
class Outer:
    """The matrix ``u wᵀ``."""

    u: Read
    w: Read

    @property
    def turned(self) -> Outer:
        return Outer(self.w, self.u)


@dataclass(frozen=True)
class Form:
    """``factor * S + Σ outers`` with the S before the step; ``factor`` None: without it."""

    factor: Read | None
    outers: tuple[Outer, ...] = ()


class Memory:
    """A matrix that is updated by outer products; its factors and vectors become values of
    ``terms``.

    :raises NotAffine: it is none.
    """

    def __init__(self, terms: Terms, recurrence: Recurrence, ranges: Ranges):
        self.terms, self.recurrence = terms, recurrence
        self.forms = Forms(terms, recurrence)
        self.state = self._state()
        value = terms.system[self.state]
        self.type, self.axes = value.type, value.axes
        self.axis, self.forward = recurrence.axis, recurrence.forward
        self.end = ((self.axis, Index(LAST if self.forward else FIRST)),)
        self.last = Read(self.state, self.end)
        self.before = ((self.axis, self.forms.before),)
        self.first = self.forms.first(self.state)
        form = self.form(Read(self.state))
        if form.factor is None or not form.outers:
            raise NotAffine(f"`{owner_of(self.state)}` is not updated by outer products")
        self.factor, self.outers = form.factor, form.outers
        if ranges.size(self.factor) > 1:
            raise magnifies(terms, self.state, self.factor)

    def _state(self) -> str:
        states = self.forms.states
        if len(states) > 1:
            names = ", ".join(f"`{owner_of(s)}`" for s in states)
            raise NotAffine(f"{names} are coupled: a matrix is taken only alone")
        return states[0]

    # ---------------------------------------------------------------- forms

    def takes_in(self, value: Value) -> bool:
        """Whether a value is a matrix made of the members, at the same step, which has a form as
        well; it counts as one of them from now on."""
        if value.type != self.type or value.axes != self.axes or value.bounds:
            return False
        if not all(self.at_step(r) for r in value.reads if r.source in self.forms.members):
            return False
        try:
            self._form(self.forms.of(value.name))
        except NotAffine:
            return False
        self.forms.members |= {value.name}
        return True

    def at_step(self, r: Read) -> bool:
        """Whether a read of a member gives what it is at the reader's own step, or S before."""
        return not r.at or (r.at == self.before and self.forms.is_state(r.source))

    def form(self, r: Read) -> Form:
        """What a read of a member gives, at the step of its reader."""
        return self._form(self.forms.read(r))

    def _form(self, affine: Affine) -> Form:
        outers = () if affine.rest is None else outer_products(self.terms, affine.rest)
        if self.state not in affine.factors:
            return Form(None, outers)
        factor = self.forms.one(affine.factors[self.state])
        if self.terms.type(factor).rank:
            raise NotAffine(
                f"`{owner_of(self.state)}` is linear in the step before, but entries have factors "
                "of their own: then what is left of a step is no number, and steps do not become "
                "a product of matrices"
            )
        return Form(factor, outers)


def outer_products(terms: Terms, r: Read) -> tuple[Outer, ...]:
    """The outer products that a matrix is the sum of.

    :raises NotAffine: it is no such sum.
    """
    v = terms.values[r.source]
    terms.base, terms.origins = owner_of(v.name), v.origins
    if (
        not r.at
        and v.op == "contract"
        and not v.over
        and all(terms.type(x).rank == 1 for x in v.reads)
    ):
        outer = Outer(*v.reads)
        return (outer if v.attr("out") == v.attr("left") + v.attr("right") else outer.turned,)
    rule = None if r.at else _RULES.get(v.op)
    found = rule(terms, v) if rule else None
    if found is None:
        raise NotAffine(
            f"`{owner_of(v.name)}` has a part that is no outer product of vectors, a matrix of its "
            "own at every step"
        )
    return found


def _same(t: Terms, v: Value) -> tuple[Outer, ...]:
    return outer_products(t, v.reads[0])


def _transpose(t: Terms, v: Value) -> tuple[Outer, ...]:
    return tuple(x.turned for x in outer_products(t, v.reads[0]))


def _neg(t: Terms, v: Value) -> tuple[Outer, ...]:
    return tuple(Outer(t.neg(x.u), x.w) for x in outer_products(t, v.reads[0]))


def _add(t: Terms, v: Value) -> tuple[Outer, ...]:
    return (*outer_products(t, v.reads[0]), *outer_products(t, v.reads[1]))


def _sub(t: Terms, v: Value) -> tuple[Outer, ...]:
    negative = tuple(Outer(t.neg(x.u), x.w) for x in outer_products(t, v.reads[1]))
    return (*outer_products(t, v.reads[0]), *negative)


def _mul(t: Terms, v: Value) -> tuple[Outer, ...] | None:
    number, matrix = sorted(v.reads, key=lambda r: t.type(r).rank)
    if t.type(number).rank:
        return None
    return tuple(Outer(t.mul(number, x.u), x.w) for x in outer_products(t, matrix))


def _div(t: Terms, v: Value) -> tuple[Outer, ...] | None:
    matrix, number = v.reads
    if t.type(number).rank:
        return None
    return tuple(Outer(t.emit("div", x.u, number), x.w) for x in outer_products(t, matrix))


def _where(t: Terms, v: Value) -> tuple[Outer, ...] | None:
    """Of what is chosen, or else 0, both vectors are: what is not may be no number."""
    flag, *choices = v.reads
    zero = [t.is_zero(r) for r in choices]
    if t.type(flag).rank or not any(zero):
        return None

    def chosen(x: Read) -> Read:
        return t.choose(flag, *(None if none else x for none in zero))

    return tuple(
        Outer(chosen(x.u), chosen(x.w))
        for r, none in zip(choices, zero, strict=True)
        if not none
        for x in outer_products(t, r)
    )


_RULES: Mapping[str, Callable[[Terms, Value], tuple[Outer, ...] | None]] = {
    "copy": _same,
    "transpose": _transpose,
    "neg": _neg,
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "where": _where,
}
