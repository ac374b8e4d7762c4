"""Members of a recurrence as sums of its states before the step, times factors that do not recur.

    p = (1 - z) * h[t-1]
    h = p + z * g               →    h = (1 - z) * h[t-1] + z * g

The states are what is read one step back (forward on, if the recurrence runs backward). Sums,
products with and quotients by what does not recur, and choices by flags that do not, keep the
form; anything else has none, and the reason says what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rnnc.graph.cycles import Recurrence
from rnnc.graph.names import is_temporary, owner_of, told
from rnnc.graph.system import Value
from rnnc.graph.types import FIRST, LAST, Index, Read
from rnnc.passes.terms import Terms


class NotAffine(Exception):
    """Says what in the equations is in the way."""


@dataclass(frozen=True)
class Affine:
    """``sum of factors[state] * state + rest``; a factor that is None is 1, a rest is 0."""

    factors: Mapping[str, Read | None]
    rest: Read | None = None


@dataclass(frozen=True)
class Verdict:
    """What became of a recurrence: one operation for its ``states``, or a loop for this
    ``reason``; ``nearly`` if it is linear, and numbers or readers are in the way and not its
    form."""

    recurrence: Recurrence
    states: tuple[str, ...] = ()
    reason: str = ""
    nearly: bool = False


class Forms:
    """The affine forms of the members of a recurrence; factors and rests become values of
    ``terms``.

    :raises NotAffine: a member has no such form.
    """

    def __init__(self, terms: Terms, recurrence: Recurrence):
        self.terms = terms
        self.axis = recurrence.axis
        self.forward = recurrence.forward
        self.members = recurrence.members
        if recurrence.inner:
            raise NotAffine(f"in each step another loop runs, over {recurrence.inner[0].axis}")
        self.before = Index(self.axis, -1 if self.forward else 1)
        self.states = self._states()
        self._known: dict[str, Affine] = {}

    def _states(self) -> tuple[str, ...]:
        """What is read one step back; of values and their negatives the values."""
        found: dict[str, None] = {}
        for name in self._ordered():
            for _, r in self.terms.system[name].all_reads():
                if r.source in self.members and r.at:
                    if r.at != ((self.axis, self.before),):
                        raise NotAffine(f"{self.told(r.source)} is read further away than one step")
                    found[self._behind(r.source)[1]] = None
        for name in found:
            type_ = self.terms.system[name].type
            if type_.kind != "real":
                raise NotAffine(f"{self.told(name)} is {type_}, no real number")
        return tuple(found)

    def _ordered(self) -> list[str]:
        return [name for name in self.terms.system.values if name in self.members]

    def _behind(self, name: str) -> tuple[int, str]:
        """The state that a value is, or is the negative of (sign -1): with no boundary, both are
        0 before the first step."""
        sign = 1
        v = self.terms.system[name]
        while v.op in ("neg", "copy") and not v.bounds and not v.reads[0].at:
            source = self.terms.system[v.reads[0].source]
            if source.bounds or source.name not in self.members:
                break
            sign, v = -sign if v.op == "neg" else sign, source
        return sign, v.name

    def is_state(self, name: str) -> bool:
        """Whether a value is a state, or the negative of one."""
        return self._behind(name)[1] in self.states

    def first(self, state: str) -> Read | None:
        """What a state is before the first step; None is 0."""
        system = self.terms.system
        step = Index(FIRST, -1) if self.forward else Index(LAST, 1)
        r = system[state].bound_at(self.axis, step)
        if r is not None and r.source in self.members:
            raise NotAffine(f"the boundary of {self.told(state)} recurs itself")
        return r

    # ---------------------------------------------------------------- forms

    def of(self, name: str) -> Affine:
        """The form of a member."""
        if name not in self._known:
            value = self.terms.system[name]
            if value.op == "where" and value.reads[0].source in self.members:
                raise NotAffine(f"{self.told(name)} chooses by what recurs")
            operands = [self.read(r) for r in value.reads]  # what is in the way further in first
            rule = _RULES.get(value.op)
            if rule is None:
                raise NotAffine(f"{self.told(name)} {_done(value)} of what recurs")
            self.terms.base, self.terms.origins = owner_of(name), value.origins
            self._known[name] = rule(self, value, operands)
        return self._known[name]

    def read(self, r: Read) -> Affine:
        """The form of what a member reads."""
        if r.source not in self.members:
            return Affine({}, r)
        if not r.at:
            return self.of(r.source)
        sign, state = self._behind(r.source)
        return Affine({state: None if sign > 0 else self.terms.number(-1.0)})

    def told(self, name: str) -> str:
        """A value in the words of the spec."""
        return told(name, self.terms.system.values)

    def one(self, factor: Read | None) -> Read:
        return factor or self.terms.number(1.0)


def magnifies(terms: Terms, state: str, factor: Read | None) -> NotAffine:
    """What is in the way where a factor, or (None) the sum of several, may be above 1 in size."""
    what = "the sum of its factors" if factor is None else named(terms, factor)
    return NotAffine(
        f"{told(state, terms.system.values)} is linear in the step before, but nothing in the "
        f"equations keeps {what} from being larger than 1 in size (as a sigmoid would): then "
        "products over many steps could overflow where single steps do not"
    )


def named(terms: Terms, factor: Read) -> str:
    """A factor in the words of the spec."""
    name = unsigned(terms, factor)[1].source
    return f"a factor in {told(name, terms.system.values)}" if is_temporary(name) else f"`{name}`"


def unsigned(terms: Terms, r: Read) -> tuple[int, Read]:
    """A read without the minus signs before it, and their sign."""
    sign = 1
    while terms.values[r.source].op == "neg" and not r.at:
        sign, r = -sign, terms.values[r.source].reads[0]
    return sign, r


def _done(value: Value) -> str:
    """What an equation does, where that is not linear entry by entry."""
    done = {
        "contract": "mixes entries by a product",
        "minimum": "takes `min`",
        "maximum": "takes `max`",
        "slice": "takes a part",
        "concat": "joins parts",
    }
    return done.get(value.op, f"takes `{value.op}`")


def _mapped(x: Affine, change: Callable[[Read | None], Read]) -> Affine:
    """The form with every factor, and the rest, changed; None is 1 of a factor."""
    return Affine({s: change(f) for s, f in x.factors.items()}, x.rest and change(x.rest))


def _copy(f: Forms, v: Value, x: list[Affine]) -> Affine:
    return x[0]


def _neg(f: Forms, v: Value, x: list[Affine]) -> Affine:
    t = f.terms
    return _mapped(x[0], lambda r: t.number(-1.0) if r is None else t.neg(r))


def _add(f: Forms, v: Value, x: list[Affine]) -> Affine:
    t = f.terms
    first, second = x
    factors = dict(first.factors)
    for state, factor in second.factors.items():
        both = state in factors
        factors[state] = t.add(f.one(factors[state]), f.one(factor)) if both else factor
    rests = [r for r in (first.rest, second.rest) if r is not None]
    rest = t.add(*rests) if len(rests) == 2 else rests[0] if rests else None
    return Affine(factors, rest)


def _sub(f: Forms, v: Value, x: list[Affine]) -> Affine:
    first, second = x
    if not second.factors and first.rest is None and second.rest is not None:
        return Affine(first.factors, f.terms.neg(second.rest))
    if not second.factors and first.rest is not None and second.rest is not None:
        return Affine(first.factors, f.terms.sub(first.rest, second.rest))
    return _add(f, v, [first, _neg(f, v, [second])])


def _mul(f: Forms, v: Value, x: list[Affine]) -> Affine:
    first, second = sorted(x, key=lambda form: not form.factors)
    if second.factors:
        raise NotAffine(f"{f.told(v.name)} multiplies what recurs with what recurs")
    by = second.rest
    assert by is not None
    return _mapped(first, lambda r: by if r is None else _product(f.terms, by, r))


def _product(t: Terms, a: Read, b: Read) -> Read:
    """The product; of -1 the negative, by which a rotation is known."""
    minus = t.values[b.source]
    return t.neg(a) if minus.op == "constant" and minus.attr("value") == -1 else t.mul(a, b)


def _div(f: Forms, v: Value, x: list[Affine]) -> Affine:
    first, second = x
    if second.factors:
        raise NotAffine(f"{f.told(v.name)} divides by what recurs")
    by = second.rest
    assert by is not None
    return _mapped(first, lambda r: f.terms.emit("div", f.one(r), by))


def _where(f: Forms, v: Value, x: list[Affine]) -> Affine:
    """A choice becomes a factor of 0 for what is not chosen. Of a state that has become infinite
    a product with 0 is no number, so it must not be the state that is dropped, but for steps
    after a sequence's end, where states are finite."""
    _, first, second = x
    if first.factors.keys() != second.factors.keys() and not _is_mask(f, v.reads[0]):
        raise NotAffine(
            f"{f.told(v.name)} drops what it was by a where: a loop forgets an infinite state "
            "there, a product with 0 does not"
        )

    def chosen(a: Read | None, b: Read | None) -> Read | None:
        return None if a is None and b is None else f.terms.choose(v.reads[0], a, b)

    factors = {}
    for state in {**first.factors, **second.factors}:
        a, b = (f.one(y.factors[state]) if state in y.factors else None for y in (first, second))
        factors[state] = chosen(a, b)
    return Affine(factors, chosen(first.rest, second.rest))


def _is_mask(f: Forms, condition: Read) -> bool:
    """Whether a flag says which steps a sequence has, as ``lengths`` makes them."""
    v = f.terms.values[condition.source]
    ends = [dict(f.terms.values[r.source].attrs) for r in v.reads]
    return v.op == "le" and any("lengths" in attrs for attrs in ends)


_RULES: Mapping[str, Callable[[Forms, Value, list[Affine]], Affine]] = {
    "copy": _copy,
    "stop_gradient": _copy,
    "neg": _neg,
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "where": _where,
}
