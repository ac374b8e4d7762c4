r"""Marks as expressions of the language, with the names of a model.

What papers leave to the reader is settled here: what ``f`` of ``f(x)`` is, how far ``\sum`` and
``\log`` reach, that ``\tanh(a)`` means ``a`` at this step where ``a`` varies. A product of which
the types are not known yet is a Product that may be one of entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rnnc.source import Span
from rnnc.syntax import tree
from rnnc.syntax.latex import marks
from rnnc.syntax.latex.products import Products, between, power_of_ten
from rnnc.syntax.latex.scripts import letter_of, wrong

MAX_TERMS = 150  # of one sum or product, as the levels of a tree are limited


class Expressions(Products):
    """Reads the expressions of one equation."""

    def read(self, mark: marks.Mark) -> tree.Expr:
        """The expression.

        :raises LatexError: it has no meaning.
        """
        span = self.span(mark)
        match mark:
            case marks.Sign(text=text, kind="number"):
                value = int(text) if text.isdecimal() and len(text) < 19 else float(text)
                return tree.Number(value, span=span)
            case marks.Sign(kind="function", text=text):
                return tree.Name(text, span=span)
            case marks.Product(factors=factors):
                return self._product(mark, factors)
            case marks.Times(parts=parts, signs=signs):
                return self._times(mark, parts, signs)
            case marks.Sum(parts=parts, signs=signs):
                return self._sum(mark, parts, signs)
            case marks.Total():
                return self._total(mark)
            case marks.Fraction(top=top, bottom=bottom):
                return tree.Binary("/", self.read(top), self.read(bottom), span=span)
            case marks.Root(body=body, degree=None):
                return tree.Call("sqrt", (), (self.read(body),), span=span)
            case marks.Root(body=body, degree=degree) if degree is not None:
                one = tree.Number(1, span=span)
                power = tree.Binary("/", one, self.read(degree), span=span)
                return tree.Binary("^", self.read(body), power, span=span)
            case marks.Bracket():
                return self._bracket(mark)
            case marks.Fence(kind=kind, body=body):
                name = {"absolute": "abs", "norm": "norm", "floor": "floor"}[kind]
                return tree.Call(name, (), (self.read(body),), span=span)
            case marks.Compare(sign=sign, left=left, right=right):
                return tree.Binary(sign, self.read(left), self.read(right), span=span)
            case marks.Logic(sign="not", parts=(part,)):
                return tree.Unary("not", self.read(part), span=span)
            case marks.Logic(sign=sign, parts=(left, right)):
                return tree.Binary(sign, self.read(left), self.read(right), span=span)
            case marks.Cases(rows=rows):
                return self._cases(mark, rows)
            case marks.Matrix(rows=rows):
                return self._matrix(mark, rows)
            case marks.Dots():
                hint = "an equation says what holds at step t, for every t"
                raise wrong("dots do not say what they stand for", mark, hint)
            case marks.Lone():
                raise wrong("this cannot stand alone", mark)
        return self._product(mark, (mark,))

    # ---------------------------------------------------------------- sums and products

    def _sum(
        self, mark: marks.Mark, parts: Sequence[marks.Mark], signs: Sequence[str]
    ) -> tree.Expr:
        self._check_length(mark, parts)
        out: tree.Expr | None = None
        for part, sign in zip(parts, signs, strict=True):
            term = self.read(part)
            span = self.place(mark.start, part.end)
            if out is None:
                out = term if sign == "+" else tree.Unary("-", term, span=span)
            else:
                out = tree.Binary(sign, out, term, span=span)
        assert out is not None
        return out

    def _times(
        self, mark: marks.Mark, parts: Sequence[marks.Mark], signs: Sequence[str]
    ) -> tree.Expr:
        self._check_length(mark, parts)
        if signs == ("·",) and (known := self._known_product(mark, *parts)) is not None:
            return known
        out = self.read(parts[0])
        for part, sign in zip(parts[1:], signs, strict=True):
            factor = self.read(part)
            span = self.place(mark.start, part.end)
            if sign in ("*", "·"):
                out = tree.Product((out, factor), entries=True, span=span)
            else:
                out = tree.Binary("*" if sign == "⊙" else sign, out, factor, span=span)
        return out

    def _known_product(
        self, mark: marks.Mark, left: marks.Mark, right: marks.Mark
    ) -> tree.Expr | None:
        """``2.5 \\cdot 10^{-7}``, ``\\frac{1}{T} \\cdot \\sum_t …``"""
        if isinstance(right, marks.Total) and self.is_count(left, right):
            return self._total(right, mean=left)
        if (
            isinstance(left, marks.Sign)
            and left.kind == "number"
            and power_of_ten(right) is not None
        ):
            return self._number(f"{left.text}e{power_of_ten(right)}", mark)
        return None

    def _number(self, text: str, mark: marks.Mark) -> tree.Expr:
        value = float(text)
        if value in (0.0, float("inf")) and float(text.partition("e")[0]):
            raise wrong("this number is too " + ("large" if value else "small"), mark)
        return tree.Number(value, span=self.span(mark))

    def _check_length(self, mark: marks.Mark, parts: Sequence[object]) -> None:
        if len(parts) > MAX_TERMS:
            hint = "split it into several equations"
            raise wrong(f"more than {MAX_TERMS} terms stand here", mark, hint)

    def _total(self, mark: marks.Total, mean: marks.Mark | None = None) -> tree.Expr:
        """``\\sum_t``, ``\\sum_{t=1}^{T}``, and with ``\\frac{1}{T}`` before it a mean."""
        below = [item for s in mark.scripts if not s.above for item in s.items]
        above = [item for s in mark.scripts if s.above for item in s.items]
        if not below:
            hint = "write \\sum_t, or \\mathrm{sum}(x) for the entries of a vector"
            raise wrong("a sum says over which axis it runs", mark, hint)
        axes = [self._sum_axis(item, above) for item in below]
        body = self.read(mark.body)
        for item, axis in zip(reversed(below), reversed(axes), strict=True):
            over = (axis,)
            name = "mean" if mean is not None and item is below[0] else "sum"
            body = tree.Call(name, over, (body,), span=self.span(mark))
        return body

    def _sum_axis(self, item: marks.Mark, above: Sequence[marks.Mark]) -> str:
        first = item
        if isinstance(item, marks.Compare) and item.sign == "==":
            first = item.left
            start = item.right
            if not (isinstance(start, marks.Sign) and start.text == "1"):
                hint = "a sum runs over all steps, from 1; a condition leaves some out"
                raise wrong("a sum begins at step 1", start, hint)
        name = self.scripts.plain_name(first)
        if name == "b" and "b" not in self.names.axes:
            return "batch"
        if name is not None and name not in {*self.names.axes, *self.names.known}:
            ends = [self.scripts.plain_name(top) for top in above]
            self._new_axis(name, ends)
        if name not in self.names.axes:
            hint = "an axis is declared: axis i : I; the entries of a vector add up by "
            hint += "\\mathrm{sum}(x), a product with a matrix is W x"
            raise wrong(f"`{self.span(first).text}` is no axis of this model", first, hint)
        length = self.names.axes[name]
        for top in above:
            if self.scripts.plain_name(top) != length:
                hint = f"a sum runs over all steps of {name}, up to {length}"
                raise wrong("a sum ends at the last step", top, hint)
        return name

    def _new_axis(self, name: str, ends: Sequence[str | None]) -> None:
        """``\\sum_{k=1}^{T}`` and ``\\sum_{t'}`` run over an axis by another letter."""
        lengths = self.names.lengths
        length = next((end for end in ends if end in lengths), None)
        length = length or self.names.axes.get(name.rstrip("'"))
        if length is not None:
            self.names.axes[name] = length
            self.names.fresh[name] = length

    def is_count(self, mark: marks.Mark, total: marks.Total) -> bool:
        """Whether it is ``\\frac{1}{T}`` of the sum's own axis."""
        if not isinstance(mark, marks.Fraction):
            return False
        bottom, top = self.scripts.plain_name(mark.bottom), mark.top
        below = [item for s in total.scripts if not s.above for item in s.items]
        if not (isinstance(top, marks.Sign) and top.text == "1") or not below:
            return False
        first = below[0].left if isinstance(below[0], marks.Compare) else below[0]
        axis = self.scripts.plain_name(first) or ""
        if axis == "b" and "b" not in self.names.axes:
            return bottom == "B"
        return self.names.axes.get(axis) == bottom

    # ---------------------------------------------------------------- products

    def _product(self, mark: marks.Mark, factors: Sequence[marks.Mark]) -> tree.Expr:
        """Factors side by side: calls, lookups and products."""
        self._check_length(mark, factors)
        units = list(self.units(factors))
        self._check_length(mark, units)
        if len(factors) == 2 and (known := self._known_product(mark, *factors)) is not None:
            return known
        first = factors[0]
        if isinstance(first, marks.Fraction) and first.inline and len(factors) > 1:
            number = isinstance(first.bottom, marks.Sign) and first.bottom.kind == "number"
            if not number and not isinstance(factors[1], marks.Total):
                text = self.span(first).text
                self.note(first, f"`{text}` is a fraction, and what follows not below the line")
        return self.joined(units, mark)

    def _bracket(self, mark: marks.Bracket) -> tree.Expr:
        items = [self.read(item) for item in mark.items]
        if mark.kind == "<":
            if len(items) != 2:
                raise wrong("an inner product has two vectors: \\langle a, b \\rangle", mark)
            return tree.Call("dot", (), tuple(items), span=self.span(mark))
        if not items:
            raise wrong("a value is missing in the brackets", mark)
        if len(items) == 1:
            return replace(items[0], span=self.span(mark))
        return tree.Concat(tuple(items), span=self.span(mark))

    # ---------------------------------------------------------------- what is no letter

    def unnamed(self, mark: marks.Mark) -> tree.Expr:
        """Brackets and the like, with scripts or without."""
        match mark:
            case marks.Scripted():
                return self._scripted(mark)
            case marks.Styled():
                return self._styled(mark)
            case marks.Sign(kind="symbol"):
                raise wrong("this cannot stand alone", mark, "a transpose is written W^\\top")
        return self.read(mark)

    def _styled(self, mark: marks.Styled) -> tree.Expr:
        """A font for more than a letter is no more than a font."""
        if mark.accent and mark.style not in ("underline", "underbrace", "overbrace"):
            hint = "give the expression a name, and the name the accent"
            raise wrong("an accent stands over a single letter", mark, hint)
        return self.read(mark.body)

    def _scripted(self, mark: marks.Scripted) -> tree.Expr:
        """``(…)^\\top``, ``(…)^2``, ``\\lVert a - b \\rVert^2``."""
        body, span = mark.body, self.span(mark)
        if (ten := power_of_ten(mark)) is not None:
            return self._number(f"1e{ten}", mark)
        if mark.primes:
            raise wrong("a prime belongs to a letter", mark)
        if isinstance(body, marks.Styled) and body.style in ("underbrace", "overbrace"):
            return self.read(body)  # what is written below the brace is a remark
        if isinstance(body, marks.Fence) and body.kind == "norm":
            below = [item for s in mark.scripts if not s.above for item in s.items]
            above = [s for s in mark.scripts if s.above]
            kind = [i.text if isinstance(i, marks.Sign) else "" for i in below]
            if kind == ["1"]:  # the sum of absolute values
                inner = tree.Call("abs", (), (self.read(body.body),), span=span)
                return self.raised(tree.Call("sum", (), (inner,), span=span), above)
            if kind not in ([], ["2"]):
                raise wrong("there are norms of kind 1 and 2", below[0], "write it out")
            if above and len(above[0].items) == 1:
                squared = self._squared_norm(body, above[0].items[0], span)
                return self.raised(squared, above[1:])
            return self.read(body)
        return self.raised(self.read(body), mark.scripts)

    def _squared_norm(self, body: marks.Fence, power: marks.Mark, span: Span) -> tree.Expr:
        inner = body.body
        if not (isinstance(power, marks.Sign) and power.text == "2"):
            return tree.Binary("^", self.read(body), self.read(power), span=span)
        if isinstance(inner, marks.Sum) and inner.signs[-1] == "-" and len(inner.parts) > 1:
            parts, signs = inner.parts[:-1], inner.signs[:-1]
            left = self._sum(between(parts[0], parts[-1]), parts, signs)
            return tree.Call("squared_error", (), (left, self.read(inner.parts[-1])), span=span)
        value = self.read(inner)
        two = tree.Number(2, span=span)
        return tree.Call("sum", (), (tree.Binary("^", value, two, span=span),), span=span)

    # ---------------------------------------------------------------- cases and matrices

    def _cases(
        self, mark: marks.Mark, rows: Sequence[tuple[marks.Mark, marks.Mark | None]]
    ) -> tree.Expr:
        value, condition = rows[-1]
        if condition is not None:
            if len(rows) == 1:
                hint = "say what holds else: … & \\text{otherwise}"
                raise wrong("a single case is no choice", mark, hint)
            self.note(condition, "the last case is read as what holds otherwise")
        out = self.read(value)
        for value, condition in reversed(rows[:-1]):
            if condition is None:
                raise wrong("only the last case has no condition", value)
            then, test = self.read(value), self.read(condition)
            out = tree.Conditional(test, then, out, span=self.span(mark))
        return out

    def _matrix(self, mark: marks.Mark, rows: Sequence[tuple[marks.Mark, ...]]) -> tree.Expr:
        """A column of vectors, one below the other; or the entries of a value that has a name."""
        whole = self.entries(mark, rows)
        if whole is not None:
            return whole
        if all(len(row) == 1 for row in rows):
            items = tuple(self.read(row[0]) for row in rows)
            return items[0] if len(items) == 1 else tree.Concat(items, span=self.span(mark))
        if len(rows) == 1:
            return tree.Concat(tuple(map(self.read, rows[0])), span=self.span(mark))
        hint = "declare it as one value: param W : [m, n]"
        raise wrong("a matrix cannot be written by its parts", mark, hint)

    def entries(self, mark: marks.Mark, rows: Sequence[tuple[marks.Mark, ...]]) -> tree.Expr | None:
        """``[s_1^t; s_2^t; …; s_n^t]`` is ``s^t``, and ``[u_{11} … u_{nm}]`` is ``u``."""
        cells = [c for row in rows for c in row]
        if not any(isinstance(c, marks.Dots) for c in cells):
            return None
        letters = [letter_of(c) for c in cells if not isinstance(c, marks.Dots)]
        some = [x for x in letters if x is not None]
        if len(some) < len(letters) or len({x.base for x in some}) != 1:
            return None
        first = some[0]
        below = [s for s in first.scripts if not s.above]
        if len(below) != 1 or any(w not in ("1", "11", "1_1") for w in
                                  [self.scripts.word(i) for i in below[0].items][:1]):  # fmt: skip
            return None
        rest = tuple(s for s in first.scripts if s.above)
        return self.named(replace(first, scripts=rest), mark)
