"""Sizes, types, time indices and reads: the small algebra that a System is made of."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rnnc.source import InternalError

Kind = Literal["real", "index", "flag"]

# ---------------------------------------------------------------- sizes

Monomial = tuple[tuple[str, int], ...]  # (("m", 1), ("k", -1)) is m/k; () is 1


@dataclass(frozen=True, slots=True)
class Dim:
    """A size that is not a plain number: a sum of rational multiples of products of dims.

    Exponents may be negative, so that ``n / k`` is one too. Arithmetic gives an ``int`` again
    wherever the result is a whole number; see :data:`Size`.
    """

    terms: tuple[tuple[Monomial, Fraction], ...]

    def __add__(self, other: Size) -> Size:
        total = dict(self.terms)
        for monomial, factor in _terms(other):
            total[monomial] = total.get(monomial, Fraction(0)) + factor
        return _size(total)

    __radd__ = __add__

    def __neg__(self) -> Size:
        return _size({m: -f for m, f in self.terms})

    def __sub__(self, other: Size) -> Size:
        return self + (-other)

    def __rsub__(self, other: Size) -> Size:
        return -self + other

    def __mul__(self, other: Size) -> Size:
        total: dict[Monomial, Fraction] = {}
        for m1, f1 in self.terms:
            for m2, f2 in _terms(other):
                m = _times(m1, m2)
                total[m] = total.get(m, Fraction(0)) + f1 * f2
        return _size(total)

    __rmul__ = __mul__

    def __truediv__(self, other: Size) -> Size:
        return divide(self, other)

    def __rtruediv__(self, other: Size) -> Size:
        return divide(other, self)

    @property
    def names(self) -> frozenset[str]:
        """The dims that it mentions."""
        return frozenset(name for m, _ in self.terms for name, _ in m)

    def __str__(self) -> str:
        text = ""
        for monomial, factor in self.terms:
            above = [n if e == 1 else f"{n}^{e}" for n, e in monomial if e > 0]
            below = [n if e == -1 else f"{n}^{-e}" for n, e in monomial if e < 0]
            if factor.denominator != 1:
                below.insert(0, str(factor.denominator))
            number = abs(factor.numerator)
            if number != 1 or not above:
                above.insert(0, str(number))
            sign = "-" if factor < 0 else "+"
            text += (f" {sign} " if text else "-" if factor < 0 else "") + "*".join(above)
            text += "".join(f"/{b}" for b in below)
        return text or "0"

    def __repr__(self) -> str:
        return f"Dim({self})"


Size = int | Dim


def dim(name: str) -> Dim:
    """The dim of that name as a size."""
    return Dim(((((name, 1),), Fraction(1)),))


def divide(a: Size, b: Size) -> Size:
    """``a / b``; a divisor of several terms must divide exactly, else ``ZeroDivisionError``
    (for 0) or ``ValueError``."""
    if a == b:
        return 1
    divisor = _terms(b)
    if not divisor:
        raise ZeroDivisionError("division by zero")
    if len(divisor) > 1:
        raise ValueError(f"{a} cannot be divided by {b}")
    ((monomial, factor),) = divisor
    inverse = tuple((n, -e) for n, e in monomial)
    return _size({_times(m, inverse): f / factor for m, f in _terms(a)})


def substitute(size: Size, values: Mapping[str, Size]) -> Size:
    """``size`` with dims replaced; those not in ``values`` stay."""
    if isinstance(size, int) or not (size.names & values.keys()):
        return size
    total: Size = 0
    for monomial, factor in size.terms:
        term: Size = _size({(): factor})
        for name, exponent in monomial:
            base = values.get(name, dim(name))
            for _ in range(abs(exponent)):
                term = term * base if exponent > 0 else divide(term, base)
        total = total + term
    return total


def names_of(size: Size) -> frozenset[str]:
    """The dims that a size mentions."""
    return size.names if isinstance(size, Dim) else frozenset()


def sign(size: Size) -> int | None:
    """-1, 0 or 1 where it is the same for all positive values of the dims, else None."""
    if isinstance(size, int):
        return (size > 0) - (size < 0)
    factors = [f for _, f in size.terms]
    if all(f > 0 for f in factors):
        return 1
    return -1 if all(f < 0 for f in factors) else None


def whole(size: Size) -> int:
    """The size as a number; an InternalError where a dim is still open."""
    if isinstance(size, int):
        return size
    raise InternalError(f"size {size} is not a number")


def _terms(size: Size) -> tuple[tuple[Monomial, Fraction], ...]:
    if isinstance(size, Dim):
        return size.terms
    return (((), Fraction(size)),) if size else ()


def _size(total: Mapping[Monomial, Fraction]) -> Size:
    kept = tuple(sorted((m, f) for m, f in total.items() if f))
    if not kept:
        return 0
    if len(kept) == 1 and not kept[0][0] and kept[0][1].denominator == 1:
        return kept[0][1].numerator
    return Dim(tuple(sorted(kept, key=lambda term: (-sum(e for _, e in term[0]), term[0]))))


def _times(a: Monomial, b: Monomial) -> Monomial:
    exponents = dict(a)
    for name, exponent in b:
        exponents[name] = exponents.get(name, 0) + exponent
    return tuple(sorted((n, e) for n, e in exponents.items() if e))


# ---------------------------------------------------------------- types


@dataclass(frozen=True, slots=True)
class Type:
    """What one entry of a value is, at one step of each of its axes: kind and feature shape."""

    kind: Kind
    shape: tuple[Size, ...] = ()

    @property
    def rank(self) -> int:
        return len(self.shape)

    def __str__(self) -> str:
        prefix = "" if self.kind == "real" else f"{self.kind} "
        return f"{prefix}[{', '.join(map(str, self.shape))}]"


REAL = Type("real")
INDEX = Type("index")
FLAG = Type("flag")


class Array:
    """A constant array that compares and hashes by its content, so that values may hold it."""

    __slots__ = ("_key", "data", "uniform")

    def __init__(self, data: NDArray[np.generic]):
        self.data = np.array(data, order="C")  # a copy, so that nobody else can change it
        self.data.setflags(write=False)
        self._key = (self.data.shape, str(self.data.dtype), self.data.tobytes())
        same = self.data.size and (self.data == self.data.flat[0]).all()
        #: what all entries are, where they are the same
        self.uniform: float | int | bool | None = self.data.flat[0].item() if same else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Array) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"Array({self.data.shape})"


def told_apart(attrs: Attrs) -> Hashable:
    """Attributes as part of a key: 1 is not 1.0, and 0.0 not -0.0, though they are equal."""
    return tuple(
        (name, value if isinstance(value, Array) else repr(value)) for name, value in attrs
    )


# ---------------------------------------------------------------- time

FIRST = "<first>"
LAST = "<last>"
BATCH = "batch"


@dataclass(frozen=True, slots=True)
class Index:
    """A step: ``offset`` away from the reader's own step on an axis (``base`` is its name), or
    from the first or last step. ``t-1`` is ``Index("t", -1)``, ``T`` is ``Index(LAST, 0)``, and
    step 0 is ``Index(FIRST, -1)``."""

    base: str
    offset: Size = 0

    @property
    def fixed(self) -> bool:
        return self.base in (FIRST, LAST)

    def shifted(self, by: Size) -> Index:
        return Index(self.base, self.offset + by)


@dataclass(frozen=True, slots=True)
class Read:
    """An operand: the value read, and where. ``at`` gives the axes of the operand that are not
    read at the reader's own step; it is sorted and never holds ``(a, Index(a, 0))``."""

    source: str
    at: tuple[tuple[str, Index], ...] = ()

    def index(self, axis: str) -> Index:
        """Where the operand's ``axis`` is read."""
        for name, index in self.at:
            if name == axis:
                return index
        return Index(axis)

    def shifts(self, axis: str) -> bool:
        """Whether the read is a delayed or advanced one along ``axis``."""
        index = self.index(axis)
        return index.base == axis and index.offset != 0

    def renamed(self, source: str) -> Read:
        return Read(source, self.at)


def read(source: str, at: Mapping[str, Index] | Iterable[tuple[str, Index]] = ()) -> Read:
    """A normalised Read."""
    items = at.items() if isinstance(at, Mapping) else at
    return Read(source, tuple(sorted((a, i) for a, i in items if i != Index(a))))


@dataclass(frozen=True, slots=True)
class Bound:
    """What a read at a step that does not exist gives: ``step`` is ``Index(FIRST, -1 or less)``
    or ``Index(LAST, 1 or more)``; it serves all steps further out up to the next Bound. ``read``
    is what stands there; of a scalar it fills the shape."""

    axis: str
    step: Index
    read: Read


Attrs = tuple[tuple[str, Hashable], ...]
