r"""Marks as expressions of the language, with the names of a model.

What papers leave to the reader is settled here: what ``f`` of ``f(x)`` is, how far ``\sum`` and
``\log`` reach, that ``\tanh(a)`` means ``a`` at this step where ``a`` varies. A product of which
the types are not known yet is a Product that may be one of entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from rnnc.source import Span
from rnnc.syntax import tree
from rnnc.syntax.latex import marks
from rnnc.syntax.latex.names import Names
from rnnc.syntax.latex.scripts import Letter, Name, Scripts, letter_of, replace_span, wrong

MAX_TERMS = 150  # of one sum or product, as the levels of a tree are limited


@dataclass(frozen=True)
class Function:
    """A function before its argument: its name, the axes it runs over, and ``'`` and powers."""

    name: str
    over: tuple[str, ...] = ()
    derivative: bool = False
    power: tree.Expr | None = None


# The derivatives of elementwise functions, of the argument x.
_DERIVATIVES: dict[str, Callable[[Callable[..., tree.Expr], tree.Expr], tree.Expr]] = {
    "tanh": lambda f, x: f("-", 1, f("^", f("tanh", x), 2)),
    "sigmoid": lambda f, x: f("*", f("sigmoid", x), f("-", 1, f("sigmoid", x))),
    "exp": lambda f, x: f("exp", x),
    "log": lambda f, x: f("/", 1, x),
    "sin": lambda f, x: f("cos", x),
    "softplus": lambda f, x: f("sigmoid", x),
    "relu": lambda f, x: f("where", f(">", x, 0), 1, 0),
}


class Expressions:
    """Reads the expressions of one equation; ``here`` are the axes of its left side."""

    def __init__(
        self,
        names: Names,
        place: Callable[[int, int], Span],
        note: Callable[[marks.Mark, str], None],
    ):
        self.names = names
        self.place = place
        self.note = note
        self.here: tuple[str, ...] = ()
        self.scripts = Scripts(names, self.span, self.read)

    def span(self, mark: marks.Mark) -> Span:
        """Where a mark stands in the spec."""
        return self.place(mark.start, mark.end)

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

    # ---------------------------------------------------------------- names

    def named(self, letter: Letter, mark: marks.Mark, span: Span | None = None) -> tree.Expr:
        """The value of a letter with its scripts."""
        found = self.scripts.read(letter, mark)
        span = span or self.span(mark)
        below = [item for s in letter.scripts if not s.above for item in s.items]
        if letter.base == "I" and found.name not in self.names.known and len(below) == 1:
            return tree.Call("eye", (), (self.read(below[0]),), span=span)
        if found.exponential is not None:
            return tree.Call("exp", (), (self.read(found.exponential),), span=span)
        return self._value(found, mark, span)

    def _value(self, found: Name, mark: marks.Mark, span: Span) -> tree.Expr:
        name = found.name
        if not found.steps and name in self.names.varying:
            axes = self.names.varying[name]
            index = ", ".join(axes)
            self.note(mark, f"`{_source(mark, self)}` is read as {name}[{index}], which varies")
            found.steps = [tree.Name(a, span=span) for a in axes]
        elif found.steps and name in self.names.varying:
            self._note_fixed(found, mark)
        expr: tree.Expr = tree.Name(name, span=span)
        if found.steps:
            expr = tree.Indexed(name, tuple(found.steps), span=span)
        if found.transposed:
            expr = tree.Transpose(expr, span=span)
        if found.power is not None:
            expr = tree.Binary("^", expr, found.power, span=span)
        return expr

    def _note_fixed(self, found: Name, mark: marks.Mark) -> None:
        """`x_1` in an equation for every t is more often a slip than meant."""
        axes = self.names.varying[found.name]
        for axis, step in zip(axes, found.steps, strict=False):
            if isinstance(step, tree.Number) and step.value != 0 and axis in self.here:
                text = _source(mark, self)
                self.note(mark, f"`{text}` is step {step.value} of {found.name}, at every {axis}")

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
        if isinstance(left, marks.Sign) and left.kind == "number" and _ten(right) is not None:
            return tree.Number(float(f"{left.text}e{_ten(right)}"), span=self.span(mark))
        return None

    def _check_length(self, mark: marks.Mark, parts: Sequence[object]) -> None:
        if len(parts) > MAX_TERMS:
            hint = "split it into several equations"
            raise wrong(f"more than {MAX_TERMS} terms stand here", mark, hint)

    def _total(self, mark: marks.Total, mean: marks.Mark | None = None) -> tree.Expr:
        """``\\sum_t``, ``\\sum_{t=1}^{T}``, and with ``\\frac{1}{T}`` before it a mean."""
        body = self.read(mark.body)
        below = [item for s in mark.scripts if not s.above for item in s.items]
        above = [item for s in mark.scripts if s.above for item in s.items]
        if not below:
            hint = "write \\sum_t, or \\mathrm{sum}(x) for the entries of a vector"
            raise wrong("a sum says over which axis it runs", mark, hint)
        for item in reversed(below):
            axis = self._sum_axis(item, above)
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
        if name not in self.names.axes:
            hint = "an axis is declared: axis i : I; the entries of a vector add up by "
            hint += "\\mathrm{sum}(x), a product with a matrix is W x"
            raise wrong(f"`{name or 'this'}` is no axis of this model", first, hint)
        length = self.names.axes[name]
        for top in above:
            if self.scripts.plain_name(top) != length:
                hint = f"a sum runs over all steps of {name}, up to {length}"
                raise wrong("a sum ends at the last step", top, hint)
        return name

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
        if len(factors) == 2 and (known := self._known_product(mark, *factors)) is not None:
            return known
        return self._joined(units, mark)

    def units(self, factors: Sequence[marks.Mark]) -> Iterable[Unit]:
        """The factors, with letters that touch apart."""
        i = 0
        while i < len(factors):
            factor = factors[i]
            after = factors[i + 1] if i + 1 < len(factors) else None
            i += 1
            body = factor.body if isinstance(factor, marks.Scripted) else factor
            if isinstance(body, marks.Sign) and body.text == "∂" and after is not None:
                letter = letter_of(after)
                if letter is not None:
                    i += 1
                    joined = replace(letter, base=f"d_{letter.base}")
                    yield Unit(after, joined, self.place(factor.start, after.end))
                    continue
            if isinstance(body, marks.Sign) and body.kind == "letters" and len(body.text) > 1:
                for piece in self._apart(body, factor, after):
                    yield Unit(piece, letter_of(piece, run=True))
                continue
            yield Unit(factor, letter_of(factor))

    def _apart(
        self, run: marks.Sign, factor: marks.Mark, after: marks.Mark | None
    ) -> list[marks.Mark]:
        """``Wx_t`` is ``W`` and ``x_t``; words that the model or the language knows stay whole."""
        text = run.text
        scripts = factor.scripts if isinstance(factor, marks.Scripted) else ()
        called = isinstance(after, marks.Bracket) and after.kind in ("(", "[")
        pieces, at = [], 0
        while at < len(text):
            end = next(
                (e for e in range(len(text), at + 1, -1)
                 if self._is_word(text[at:e], at == 0, e == len(text), called or bool(scripts))),
                at + 1,
            )  # fmt: skip
            span = run.start + at, run.start + end
            kind = "letters" if end == at + 1 else "word"
            pieces.append(marks.Sign(*span, text[at:end], kind))
            at = end
        last: marks.Mark = pieces[-1]
        if isinstance(factor, marks.Scripted):
            last = marks.Scripted(last.start, factor.end, last, scripts, factor.primes)
        return [*pieces[:-1], last]

    def _is_word(self, text: str, first: bool, last: bool, called: bool) -> bool:
        if last and called and (text in self.names.functions or text in self.names.models):
            return True
        if last and (called or first) and len(text) > 2 and self.names.function(text):
            return True
        known = self.names.known
        return text in known and not all(c in known or c in self.names.varying for c in text)

    def _joined(self, units: Sequence[Unit], whole: marks.Mark) -> tree.Expr:
        out: list[tree.Expr] = []
        i = 0
        while i < len(units):
            unit = units[i]
            i += 1
            after = units[i].mark if i < len(units) else None
            scripts: tuple[marks.Script, ...] = ()  # `\\tanh(x)^2` is a square of the call
            if isinstance(after, marks.Scripted) and isinstance(after.body, marks.Bracket):
                scripts, after = after.scripts, after.body
            bracket = after if isinstance(after, marks.Bracket) else None
            if bracket is not None and bracket.kind not in ("(", "["):
                bracket = None
            function = self.function_of(unit, bracket is not None)
            if function is not None:
                if bracket is not None:
                    i += 1
                    args = self._items(bracket)
                    if function.name in ("repeat", "outer"):  # these take vectors
                        args = tuple(map(self._vector, bracket.items, args))
                    call = self._call(function, unit, bracket, args)
                    out.append(self._raised(call, scripts))
                    continue
                end = i
                while end < len(units) and self.function_of(units[end], False) is None:
                    end += 1
                if end > i:
                    last = units[end - 1].mark
                    argument = self._joined(units[i:end], _between(units[i].mark, last))
                    i = end
                    out.append(self._call(function, unit, last, (argument,)))
                    continue
            if bracket is not None and unit.letter is not None:
                made = self._bracketed(unit, bracket)
                if made is not None:
                    i += 1
                    out.append(self._raised(made, scripts))
                    continue
            out.append(self._alone(unit))
        if len(out) == 1:
            return out[0]
        return tree.Product(tuple(out), entries=True, span=self.span(whole))

    def _alone(self, unit: Unit) -> tree.Expr:
        mark = unit.mark
        if unit.letter is not None:
            return self.named(unit.letter, mark, unit.span)
        if isinstance(mark, marks.Scripted):
            return self._scripted(mark)
        if isinstance(mark, marks.Styled):
            return self._styled(mark)
        if isinstance(mark, marks.Sign) and mark.kind == "symbol":
            raise wrong("this cannot stand alone", mark, "a transpose is written W^\\top")
        if isinstance(mark, marks.Sign) and mark.kind == "letters":  # a single one has a letter
            raise wrong("this has no meaning here", mark)
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
        if (ten := _ten(mark)) is not None:
            return tree.Number(float(f"1e{ten}"), span=span)
        if mark.primes:
            raise wrong("a prime belongs to a letter", mark)
        if isinstance(body, marks.Styled) and body.style in ("underbrace", "overbrace"):
            return self.read(body)  # what is written below the brace is a remark
        if isinstance(body, marks.Fence) and body.kind == "norm":
            (first, *rest) = mark.scripts
            if first.above and len(first.items) == 1:
                squared = self._squared_norm(body, first.items[0], span)
                return self._raised(squared, rest)
        return self._raised(self.read(body), mark.scripts)

    def _raised(self, expr: tree.Expr, scripts: Sequence[marks.Script]) -> tree.Expr:
        """Transposed, or to a power."""
        for script in scripts:
            if not script.above or len(script.items) != 1:
                hint = "give the expression a name, and the name the subscript"
                raise wrong("a subscript belongs to a letter", script, hint)
            (item,) = script.items
            span = expr.span.to(self.span(script))
            if self.scripts.is_transpose(item):
                expr = tree.Transpose(expr, span=span)
                continue
            steps = self.scripts.steps(item)
            if steps is not None and steps[1] and isinstance(item, marks.Bracket):
                raise wrong("a step belongs to a letter", script, "write it at the letters")
            expr = tree.Binary("^", expr, self.read(item), span=span)
        return expr

    def _squared_norm(self, body: marks.Fence, power: marks.Mark, span: Span) -> tree.Expr:
        inner = body.body
        if not (isinstance(power, marks.Sign) and power.text == "2"):
            return tree.Binary("^", self.read(body), self.read(power), span=span)
        if isinstance(inner, marks.Sum) and inner.signs[-1] == "-" and len(inner.parts) > 1:
            parts, signs = inner.parts[:-1], inner.signs[:-1]
            left = self._sum(_between(parts[0], parts[-1]), parts, signs)
            return tree.Call("squared_error", (), (left, self.read(inner.parts[-1])), span=span)
        value = self.read(inner)
        two = tree.Number(2, span=span)
        return tree.Call("sum", (), (tree.Binary("^", value, two, span=span),), span=span)

    # ---------------------------------------------------------------- calls and lookups

    def function_of(self, unit: Unit, called: bool) -> Function | None:
        """The function that a factor is, before its argument."""
        mark = unit.mark
        if isinstance(mark, marks.Scripted) and _is_function_sign(mark.body):
            assert isinstance(mark.body, marks.Sign)
            return self._scripts_of(mark.body.text, mark, mark.scripts, mark.primes)
        if _is_function_sign(mark):
            assert isinstance(mark, marks.Sign)
            return Function(mark.text)
        letter = unit.letter
        if letter is None and isinstance(mark, marks.Styled):
            letter = letter_of(mark, run=True)  # \mathbf{softmax}
        if letter is None:
            return None
        name = self.scripts.plain_name(mark)
        if name in self.names.functions:
            return Function(self.names.functions[name or ""]) if called else None
        if letter.base == "sigma" and "sigma" not in self.names.functions:
            if letter.base in self.names.known or not called or name in self.names.known:
                return None
            subs = [self.scripts.word(i) for s in letter.scripts if not s.above for i in s.items]
            word = "tanh" if subs in (["c"], ["h"]) else "sigmoid"
            above = tuple(s for s in letter.scripts if s.above)
            return self._scripts_of(word, mark, above, letter.primes)
        if len(letter.base) == 1 and letter.base not in self.names.functions:
            return None
        function = self.names.function(letter.base)
        if function is not None and self.scripts.read(letter, mark).name in self.names.known:
            return None
        if function is None or (not called and letter.base not in self.names.functions
                                and not letter.word and len(letter.base) < 3):  # fmt: skip
            return None
        if not called and letter.base in self.names.functions:
            return None
        return self._scripts_of(function, mark, letter.scripts, letter.primes)

    def _scripts_of(
        self, name: str, mark: marks.Mark, scripts: Sequence[marks.Script], primes: int
    ) -> Function:
        over: tuple[str, ...] = ()
        power: tree.Expr | None = None
        for script in scripts:
            for item in script.items:
                if isinstance(item, marks.Lone) and item.text.startswith("'"):
                    primes += len(item.text)
                elif isinstance(item, marks.Sign) and item.text == "'":
                    primes += 1
                elif script.above:
                    power = self.read(item)
                    if not (isinstance(power, tree.Number) and power.value > 0):
                        hint = "write the function of the function's value, as it is meant"
                        raise wrong("only a number is a power of a function", script, hint)
                else:
                    over = (*over, self._function_axis(name, item))
        if primes > 1 or (primes and name not in _DERIVATIVES):
            known = ", ".join(_DERIVATIVES)
            hint = f"the first derivatives of {known} are known; write others out"
            raise wrong(f"the derivative of {name} is not known here", mark, hint)
        return Function(name, over, primes > 0, power)

    def _function_axis(self, name: str, item: marks.Mark) -> str:
        axis = self.scripts.plain_name(item)
        if axis == "b" and "b" not in self.names.axes:
            return "batch"
        if axis in self.names.axes:
            assert axis is not None
            return axis
        if name == "log":
            raise wrong("only the natural logarithm is known", item, "write \\log(x) / \\log(2)")
        hint = "a function runs over an axis of the model: \\mathrm{softmax}_t(e_t)"
        raise wrong(f"`{axis or 'this'}` is no axis of this model", item, hint)

    def _vector(self, mark: marks.Mark, expr: tree.Expr) -> tree.Expr:
        """``[1]`` among the arguments of `repeat` has one entry; elsewhere it is in brackets."""
        if isinstance(mark, marks.Bracket) and mark.kind == "[" and len(mark.items) == 1:
            return tree.Concat((expr,), span=expr.span)
        return expr

    def _items(self, bracket: marks.Bracket) -> tuple[tree.Expr, ...]:
        return tuple(map(self.read, bracket.items))

    def _call(
        self, function: Function, unit: Unit, last: marks.Mark, args: tuple[tree.Expr, ...]
    ) -> tree.Expr:
        span = self.place(unit.mark.start, last.end)
        out: tree.Expr
        if function.derivative:
            if len(args) != 1:
                raise wrong(f"{function.name} takes one argument", last)
            out = _DERIVATIVES[function.name](_maker(span), args[0])
        else:
            out = tree.Call(function.name, function.over, args, span=span)
        if function.power is not None:
            out = tree.Binary("^", out, function.power, span=span)
        return out

    def _bracketed(self, unit: Unit, bracket: marks.Bracket) -> tree.Expr | None:
        """``x(t)``, ``LSTM(x_t)``, ``E[w_t]``; None where it is a product."""
        assert unit.letter is not None
        found = self.scripts.read(unit.letter, unit.mark)
        if found.steps or found.transposed or found.power or found.exponential:
            return None
        name, span = found.name, self.place(unit.mark.start, bracket.end)
        known = name in self.names.known and name not in self.names.varying
        if bracket.kind == "[":
            if len(bracket.items) == 1 and known and _is_row(bracket.items[0]):
                return tree.Indexed(name, self._items(bracket), span=span)
            return None
        steps = self.scripts.steps(bracket)
        if steps is not None and not known and steps[1]:
            found.steps = steps[0]
            return self._value(found, unit.mark, span)
        if known or name in self.names.varying:
            return None
        return tree.Call(name, (), self._items(bracket), span=span)

    def _bracket(self, mark: marks.Bracket) -> tree.Expr:
        items = [self.read(item) for item in mark.items]
        if mark.kind == "<":
            if len(items) != 2:
                raise wrong("an inner product has two vectors: \\langle a, b \\rangle", mark)
            return tree.Call("dot", (), tuple(items), span=self.span(mark))
        if not items:
            raise wrong("a value is missing in the brackets", mark)
        if len(items) == 1:
            return items[0]
        return tree.Concat(tuple(items), span=self.span(mark))

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
                raise wrong("`otherwise` is the last case", value)
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


@dataclass(frozen=True)
class Unit:
    """A factor of a product, the letter that it is, and its place where it is not its mark's."""

    mark: marks.Mark
    letter: Letter | None
    span: Span | None = None


def _is_function_sign(mark: marks.Mark) -> bool:
    return isinstance(mark, marks.Sign) and mark.kind == "function"


def _ten(mark: marks.Mark) -> int | None:
    """The exponent of a power of ten."""
    match mark:
        case marks.Scripted(
            body=marks.Sign(text="10"), scripts=(marks.Script(above=True, items=(item,)),)
        ):
            sign = 1
            if isinstance(item, marks.Sum) and item.signs == ("-",):
                sign, item = -1, item.parts[0]
            if isinstance(item, marks.Sign) and item.text.isdecimal() and len(item.text) < 4:
                return sign * int(item.text)
    return None


def _is_row(mark: marks.Mark) -> bool:
    """Whether it may say which row of a table: a name or a number."""
    return letter_of(mark) is not None or isinstance(mark, marks.Sign)


def _between(first: marks.Mark, last: marks.Mark) -> marks.Mark:
    return marks.Mark(first.start, last.end)


def _source(mark: marks.Mark, reader: Expressions) -> str:
    return reader.span(mark).text


def _maker(span: Span) -> Callable[..., tree.Expr]:
    """Makes calls and operations of a function's derivative."""

    def make(name: str, *args: tree.Expr | int) -> tree.Expr:
        parts = tuple(tree.Number(a, span=span) if isinstance(a, int) else a for a in args)
        if name.isalpha():
            return tree.Call(name, (), parts, span=span)
        return tree.Binary(name, parts[0], parts[1], span=span)

    return make


__all__ = ["Expressions", "replace_span"]
