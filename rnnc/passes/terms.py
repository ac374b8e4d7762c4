"""The terms of adjoints: products that are still to be summed, parts of vectors, and the values
that they are made of."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cmp_to_key

from rnnc.graph.system import System
from rnnc.graph.types import FIRST, Index, Read, Size, Type, sign, whole
from rnnc.passes.editor import Editor
from rnnc.source import InternalError, Span


@dataclass(frozen=True)
class Product:
    """A contraction that may still be summed over axes."""

    a: Read
    b: Read
    left: str
    right: str
    out: str


@dataclass(frozen=True)
class Part:
    """A term of the entries ``start`` to ``stop`` alone."""

    read: Read
    start: Size
    stop: Size


Term = Read | Product | Part


class Terms(Editor):
    """A system that terms are added to. New values are named after ``base`` and come from
    ``origins``."""

    def __init__(self, system: System):
        super().__init__(system)
        self.base = "d"
        self.origins: tuple[Span, ...] = ()

    def emit(self, op: str, *reads: Read, **attrs: Hashable) -> Read:
        """A new value; its type and axes follow from its operands."""
        return self.make(f"{self.base}.1", op, reads, tuple(attrs.items()), self.origins)

    # ---------------------------------------------------------------- leaves

    def number(self, value: float) -> Read:
        return self.emit("constant", value=float(value))

    def whole_number(self, value: int) -> Read:
        return self.emit("constant", value=value)

    def length(self, axis: str) -> Read:
        """How many steps (or sequences) there are, as a real number."""
        return self.emit("to_real", self.emit("length", axis=axis))

    def step(self, axis: str) -> Read:
        return self.emit("step", axis=axis)

    def position(self, axis: str, index: Index) -> Read:
        """The number of a fixed step: 1 of the first, the length of the last."""
        offset = whole(index.offset)
        if index.base == FIRST:
            return self.whole_number(offset + 1)
        last = self.emit("length", axis=axis)
        return self.emit("add", last, self.whole_number(offset)) if offset else last

    def ones(self, *shape: Size) -> Read:
        return self.emit("broadcast", self.number(1.0), shape=shape)

    def is_zero(self, r: Read) -> bool:
        """Whether a read gives a constant 0."""
        v = self.values[r.source]
        return v.op == "constant" and v.attr("value") == 0

    # ---------------------------------------------------------------- arithmetic

    def add(self, a: Read, b: Read) -> Read:
        return self.emit("add", a, b)

    def sub(self, a: Read, b: Read) -> Read:
        return self.emit("sub", a, b)

    def mul(self, a: Read, b: Read) -> Read:
        return self.emit("mul", a, b)

    def neg(self, a: Read) -> Read:
        return self.emit("neg", a)

    def scaled(self, factor: float, a: Read) -> Read:
        return self.emit("mul", self.number(factor), a)

    def choose(self, condition: Read, a: Read | None, b: Read | None) -> Read:
        """``where(condition, a, b)``, None standing for 0."""
        return self.emit("where", condition, a or self.number(0.0), b or self.number(0.0))

    # ---------------------------------------------------------------- terms

    def term_axes(self, term: Term) -> tuple[str, ...]:
        """The axes that a term varies over."""
        if isinstance(term, Product):
            return self.system.ordered({*self.axes(term.a), *self.axes(term.b)})
        return self.axes(term.read if isinstance(term, Part) else term)

    def summed(self, term: Term, over: Sequence[str]) -> Term:
        """The term summed over some of its axes; a product becomes a contraction over them."""
        over = self.system.ordered(over)
        if isinstance(term, Product):
            return self.emit(
                "contract",
                term.a,
                term.b,
                left=term.left,
                right=term.right,
                out=term.out,
                over=over,
            )
        if not over:
            return term
        if isinstance(term, Part):
            return Part(self.emit("sum", term.read, over=over), term.start, term.stop)
        return self.emit("sum", term, over=over)

    def map_term(self, term: Term, change: Callable[[Read], Read]) -> Term:
        """The term with its value changed by something that works entry by entry."""
        if isinstance(term, Part):
            return Part(change(term.read), term.start, term.stop)
        made = self.summed(term, ())
        assert isinstance(made, Read)
        return change(made)

    def shaped(self, term: Term, type_: Type) -> Term:
        """The term in the shape of the operand: summed over the features that were stretched."""
        if isinstance(term, Part):  # of a boundary that fills the shape, all entries are one
            return term if type_.rank else self.emit("sum", term.read, over=())
        g = self.map_term(term, lambda r: r)
        assert isinstance(g, Read)
        shape = self.type(g).shape
        if shape == type_.shape:
            return g
        if not shape:
            return self.emit("broadcast", g, shape=type_.shape)
        if all(s == 1 for s in type_.shape):
            total = self.emit("sum", g, over=())
            return self.emit("broadcast", total, shape=type_.shape) if type_.shape else total
        if len(shape) != 2:
            raise InternalError(f"a term of shape {shape} for {type_}")
        rows = type_.shape[1] == 1  # [m, n] to [m, 1], else to [1, n]
        kept, gone = ("i", "j") if rows else ("j", "i")
        many = self.ones(shape[1] if rows else shape[0])
        line = self.emit("contract", g, many, left="ij", right=gone, out=kept, over=())
        one = self.ones(1)
        return self.emit("contract", line, one, left=kept, right=gone, out="ij", over=())

    def assembled(self, parts: Iterable[Part], type_: Type) -> Read:
        """The parts of a vector (or of a matrix's rows) put together, zero in between."""
        order = sorted(parts, key=cmp_to_key(_before))
        merged: list[Part] = []
        for part in order:
            last = merged[-1] if merged else None
            if last is not None and (last.start, last.stop) == (part.start, part.stop):
                merged[-1] = Part(self.add(last.read, part.read), part.start, part.stop)
            else:
                merged.append(part)
        apart = all(sign(q.start - p.stop) in (0, 1) for p, q in zip(merged, merged[1:]))  # noqa: B905, RUF007
        if apart:
            return self._joined(merged, type_)
        padded = [self._joined([p], type_) for p in merged]
        total = padded[0]
        for r in padded[1:]:
            total = self.add(total, r)
        return total

    def _joined(self, parts: Sequence[Part], type_: Type) -> Read:
        pieces: list[Read] = []
        end: Size = 0
        for part in (*parts, None):
            start = type_.shape[0] if part is None else part.start
            if start != end:
                zero = self.number(0.0)
                gap = start - end
                pieces.append(self.emit("broadcast", zero, shape=(gap, *type_.shape[1:])))
            if part is not None:
                pieces.append(part.read)
                end = part.stop
        return pieces[0] if len(pieces) == 1 else self.emit("concat", *pieces)

    def stretched(self, r: Read, axes: Sequence[str]) -> Read:
        """The read as a value that varies over all of these axes, too."""
        wanted = self.system.ordered({*axes, *self.axes(r)})
        if not r.at and set(self.values[r.source].axes) == set(wanted):
            return r
        made = self.emit("copy", r)
        stretched = replace(self.values[made.source], axes=wanted)
        self.values[made.source] = stretched
        self.added[made.source] = stretched
        return made


def _before(p: Part, q: Part) -> int:
    return sign(p.start - q.start) or 0
