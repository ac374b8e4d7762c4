r"""Factors side by side: names, calls, lookups and products.

    W x_t           a product          f(x)        a call where f is a function,
    \tanh W x_t     a call             U(r_t)      a product where it is a value
    E[w_t]          a row of E         W[h, x]     a product with [h, x]

Whether a product is one of entries is settled when types are known.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rnnc.source import Span
from rnnc.syntax import tree
from rnnc.syntax.latex import marks
from rnnc.syntax.latex.names import Names
from rnnc.syntax.latex.scripts import Letter, Name, Scripts, joined, letter_of, wrong
from rnnc.syntax.names import FUNCTIONS

MAX_RUN = 40  # letters that touch


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


@dataclass(frozen=True)
class Unit:
    """A factor of a product, the letter that it is, and its place where it is not its mark's."""

    mark: marks.Mark
    letter: Letter | None
    span: Span | None = None


class Products(ABC):
    """The part of the reader that reads products; ``here`` are the axes of the left side."""

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

    @abstractmethod
    def read(self, mark: marks.Mark) -> tree.Expr:
        """The expression of any mark."""

    @abstractmethod
    def unnamed(self, mark: marks.Mark) -> tree.Expr:
        """The expression of a factor that is no letter."""

    def span(self, mark: marks.Mark) -> Span:
        """Where a mark stands in the spec."""
        return self.place(mark.start, mark.end)

    # ---------------------------------------------------------------- names

    def named(self, letter: Letter, mark: marks.Mark, span: Span | None = None) -> tree.Expr:
        """The value of a letter with its scripts."""
        found = self.scripts.read(letter, mark)
        span = span or self.span(mark)
        below = [item for s in letter.scripts if not s.above for item in s.items]
        if found.name in self.names.functions and found.name not in self.names.known:
            raise wrong(f"`{found.name}` is a function: give its argument", mark)
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
            self.note(mark, f"`{self.span(mark).text}` is read as {name}[{index}], which varies")
            found.steps = [tree.Name(a, span=span) for a in axes]
        elif found.steps and name in self.names.varying:
            self._note_fixed(found, mark)
        expr: tree.Expr = tree.Name(name, span=span)
        if found.steps:
            moves = self.names.moved.get(name, {})
            steps = tuple(_counted(step, moves) for step in found.steps)
            expr = tree.Indexed(name, steps, span=span)
        if found.chosen is not None:
            assert isinstance(found.chosen, tree.Name | tree.Indexed)
            size = self.names.indices[found.chosen.name]
            one = tree.Call("onehot", (), (found.chosen, size), span=span)
            expr = tree.Call("dot", (), (one, expr), span=span)
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
                text = self.span(mark).text
                self.note(mark, f"`{text}` is step {step.value} of {found.name}, at every {axis}")

    # ---------------------------------------------------------------- factors

    def units(self, factors: Sequence[marks.Mark]) -> Iterator[Unit]:
        """The factors, with letters that touch apart."""
        i = 0
        while i < len(factors):
            factor = factors[i]
            after = factors[i + 1] if i + 1 < len(factors) else None
            i += 1
            whole = None if after is None else joined(factor, letter_of(after))
            if after is not None and whole is not None and self._is_joined(factor, whole):
                i += 1
                yield Unit(after, whole, self.place(factor.start, after.end))
                continue
            body = factor.body if isinstance(factor, marks.Scripted) else factor
            if isinstance(body, marks.Sign) and body.kind == "letters" and len(body.text) > 1:
                for piece in self._apart(body, factor, after):
                    yield Unit(piece, letter_of(piece, run=True))
                continue
            yield Unit(factor, letter_of(factor))

    def _is_joined(self, first: marks.Mark, whole: Letter) -> bool:
        """Whether `\\Delta t` is one name, and no product with a `\\Delta` of the model."""
        own = first.text if isinstance(first, marks.Sign) else ""
        known = self.names.known
        return own == "∂" or own not in known or whole.base in known

    def _apart(
        self, run: marks.Sign, factor: marks.Mark, after: marks.Mark | None
    ) -> list[marks.Mark]:
        """``Wx_t`` is ``W`` and ``x_t``; words that the model or the language knows stay whole."""
        text = run.text
        if len(text) > MAX_RUN:
            hint = "letters that touch are several names; one name is \\mathrm{name}"
            raise wrong(f"more than {MAX_RUN} letters touch here", run, hint)
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
        if last and first and called and len(text) > 3 and not known >= {*text}:
            return bool(difflib.get_close_matches(text, FUNCTIONS, 1, 0.75))  # `sofmax(x)`
        return text in known and not all(c in known or c in self.names.varying for c in text)

    def joined(self, units: Sequence[Unit], whole: marks.Mark) -> tree.Expr:
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
                    out.append(self.raised(call, scripts))
                    continue
                end = i
                while end < len(units) and self.function_of(units[end], False) is None:
                    end += 1
                if end > i:
                    last = units[end - 1].mark
                    argument = self.joined(units[i:end], between(units[i].mark, last))
                    i = end
                    out.append(self._call(function, unit, last, (argument,)))
                    continue
            if bracket is not None and unit.letter is not None:
                made = self._bracketed(unit, bracket)
                if made is not None:
                    i += 1
                    out.append(self.raised(made, scripts))
                    continue
            out.append(self._alone(unit))
        if len(out) == 1:
            return out[0]
        return tree.Product(tuple(out), entries=True, span=self.span(whole))

    def _alone(self, unit: Unit) -> tree.Expr:
        if unit.letter is not None:
            return self.named(unit.letter, unit.mark, unit.span)
        return self.unnamed(unit.mark)

    def raised(self, expr: tree.Expr, scripts: Sequence[marks.Script]) -> tree.Expr:
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
            steady = letter.base in self.names.known and letter.base not in self.names.varying
            steps = self.scripts.read(letter, mark).steps
            if steady or steps or not called or (name in self.names.known and letter.scripts):
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
        raise wrong(f"`{self.span(item).text}` is no axis of this model", item, hint)

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
        if bracket.kind == "[" and found.steps and len(bracket.items) == 1:
            item = bracket.items[0]
            if isinstance(item, marks.Sign) and item.kind == "number":
                hint = f"a part of a vector is \\mathrm{{slice}}({found.name}_t, i, j), from 0"
                raise wrong("an entry is not picked by its number", bracket, hint)
            found.chosen = self.scripts.chosen(bracket.items[0])  # p_t[y_t]
            if found.chosen is not None:
                return self._value(found, unit.mark, self.place(unit.mark.start, bracket.end))
        if found.steps or found.transposed or found.power or found.exponential:
            return None
        name, span = found.name, self.place(unit.mark.start, bracket.end)
        known = name in self.names.known and name not in self.names.varying
        if bracket.kind == "[" and len(bracket.items) == 1 and known and _is_row(bracket.items[0]):
            return tree.Indexed(name, self._items(bracket), span=span)
        steps = self.scripts.steps(bracket)
        counted = steps is not None and len(steps[0]) == len(self.names.varying.get(name, ()))
        if steps is not None and not known and (steps[1] or counted):
            found.steps = steps[0]
            return self._value(found, unit.mark, span)
        if bracket.kind == "[":
            return None
        if known or name in self.names.varying:
            return None
        return tree.Call(name, (), self._items(bracket), span=span)


def _counted(step: tree.Expr, moves: Mapping[str, int]) -> tree.Expr:
    """A step of a value that is counted from another one: ``t-1`` of ``t``, ``t`` of ``t+1``."""
    match step:
        case tree.Name(name=axis) if axis in moves:
            move = 0
        case tree.Binary(
            op="+" | "-" as op, left=tree.Name(name=axis), right=tree.Number(value=int(count))
        ) if axis in moves:
            move = count if op == "+" else -count
        case _:
            return step
    move -= moves[axis]
    name = tree.Name(axis, span=step.span)
    if not move:
        return name
    number = tree.Number(abs(move), span=step.span)
    return tree.Binary("+" if move > 0 else "-", name, number, span=step.span)


def _is_function_sign(mark: marks.Mark) -> bool:
    return isinstance(mark, marks.Sign) and mark.kind == "function"


def power_of_ten(mark: marks.Mark) -> int | None:
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


def between(first: marks.Mark, last: marks.Mark) -> marks.Mark:
    return marks.Mark(first.start, last.end)


def _maker(span: Span) -> Callable[..., tree.Expr]:
    """Makes calls and operations of a function's derivative."""

    def make(name: str, *args: tree.Expr | int) -> tree.Expr:
        parts = tuple(tree.Number(a, span=span) if isinstance(a, int) else a for a in args)
        if name.isalpha():
            return tree.Call(name, (), parts, span=span)
        return tree.Binary(name, parts[0], parts[1], span=span)

    return make
