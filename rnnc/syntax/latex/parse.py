"""From the text of an equation to marks, or to an error at its place."""

from __future__ import annotations

import re
from functools import cache
from threading import Lock
from typing import Any, cast

from lark import Lark, Token, Transformer_NonRecursive
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from rnnc.resources import grammar_text
from rnnc.syntax.latex import commands, marks
from rnnc.syntax.latex.arrange import Arrange
from rnnc.syntax.latex.tokens import LatexError, fail
from rnnc.syntax.names import normalise_name
from rnnc.syntax.signs import operator

_COMPARE = {
    **{"lt": "<", "gt": ">", "le": "<=", "leq": "<=", "leqslant": "<=", "ge": ">=", "geq": ">="},
    **{"geqslant": ">=", "ne": "!=", "neq": "!="},
}


_LOCK = Lock()


@cache
def grammar() -> Lark:
    """The parser of equations, built on first use."""
    return Lark(
        grammar_text("latex.lark"),
        parser="lalr",
        lexer="basic",
        start="equations",
        postlex=Arrange(),
        maybe_placeholders=False,
    )


def parse_latex(text: str) -> tuple[tuple[marks.Row, ...], tuple[tuple[int, int], ...]]:
    """The rows of an equation, and the places of what was left out (``\\text{for all } t``).

    :raises LatexError: it cannot be read.
    """
    parser = grammar()
    arranged = cast(Arrange, parser.options.postlex)
    try:
        with _LOCK:  # the parser's `Arrange` is the same for all
            parsed = parser.parse(text)
            unread = tuple(arranged.unread)
    except UnexpectedToken as error:
        raise _unexpected(text, error) from None
    except UnexpectedCharacters as error:
        at = cast(int, error.pos_in_stream)
        hint = {
            "\\": "a command is a \\ and letters",
            "$": "`$` ends an equation",
            "∫": commands.FOREIGN["int"],
            "∏": commands.FOREIGN["prod"],
            "√": "write \\sqrt{x}",
        }
        message = f"`{text[at]}` has no meaning in an equation"
        raise LatexError(message, at, at + 1, hint.get(text[at])) from None
    except UnexpectedInput as error:  # the text ended
        raise LatexError("the equation ends too early", len(text), len(text)) from error
    try:
        rows = cast("tuple[marks.Row, ...]", Marks(text).transform(parsed))
    except VisitError as error:
        raise error.orig_exc from None
    return rows, unread


def _unexpected(text: str, error: UnexpectedToken) -> LatexError:
    token = error.token
    if token.type == "$END":
        end = len(text.rstrip())
        last = re.search(r"(?:\\[A-Za-z]+|\S)\s*$", text)
        start = last.start() if last else 0
        return LatexError("the equation ends where a value should follow", start, end)
    start, end = token.start_pos or 0, token.end_pos or 0
    shown = text[start:end] if len(text[start:end]) < 30 else f"{text[start : start + 27]}..."
    hints = {
        "SUB": "one `_` to a letter, what belongs together in braces: h_{f,t}",
        "SUP": "one `^` to a letter, what belongs together in braces: h^{(t-1)}",
        "RBRACE": "a value is missing before it",
        "EQUALS": "`=` compares within brackets and conditions alone",
        "PLUS": "a `+` needs a value on its left",
        "AMP": "`&` aligns equations, and separates the columns of cases and matrices",
        "NEWROW": "the row before it is not complete",
        "SEMICOLON": "equations are separated by `\\\\`",
        "DOT": "a dot needs values on both sides",
    }
    return LatexError(f"`{shown}` cannot stand here", start, end, hints.get(token.type))


def _sign(token: Token) -> marks.Mark:
    """One sign that is a value, or part of a name."""
    start, end = token.start_pos or 0, token.end_pos or 0
    text = str(token)
    match token.type:
        case "ARGUMENT" | "LETTERS":
            return marks.Sign(start, end, text, "number" if text.isdecimal() else "letters")
        case "NUMBER":
            if float(text) == float("inf"):
                raise LatexError("this number is too large", start, end, "write \\infty")
            return marks.Sign(start, end, text, "number")
        case "WORD":
            return marks.Sign(start, end, normalise_name(text), "word")
        case "SYMBOL":
            return marks.Sign(start, end, text, "symbol")
        case "FUNCTION":
            return marks.Sign(start, end, text, "function")
        case "DOTS":
            return marks.Dots(start, end)
    raise AssertionError(token.type)


class Marks(Transformer_NonRecursive):  # type: ignore[type-arg]
    """Makes the marks of Lark's tree; tokens that only separate are dropped on the way."""

    def __init__(self, text: str):
        super().__init__()
        self.text = text

    def __default__(self, data: object, children: list[Any], meta: object) -> Any:
        raise AssertionError(data)

    # -------------------------------------------------------------- rows

    def equations(self, parts: list[Any]) -> tuple[marks.Row, ...]:
        return tuple(p for p in parts if isinstance(p, marks.Row))

    def row(self, parts: list[Any]) -> marks.Row:
        items = tuple(p for p in parts if isinstance(p, marks.Item))
        return marks.Row(*_extent(parts), items)

    def item(self, parts: list[Any]) -> marks.Item:
        when = None
        if len(parts) > 2 and isinstance(parts[-2], Token) and parts[-2].type == "WHEN":
            when, parts = _mark(parts[-1]), parts[:-2]
        sides = tuple(map(_mark, parts[::2]))
        kinds = {"EQUALS": "=", "SIM": "~", "IN": "in"}
        relations = tuple(kinds.get(t.type) or _comparison(t) for t in parts[1::2])
        return marks.Item(*_extent(parts), sides, relations, when)

    # -------------------------------------------------------------- expressions

    def logic(self, parts: list[Any]) -> marks.Mark:
        word = "or" if parts[1].type == "LOR" else "and"
        return marks.Logic(*_extent(parts), word, (_mark(parts[0]), _mark(parts[2])))

    def negated(self, parts: list[Any]) -> marks.Mark:
        return marks.Logic(*_extent(parts), "not", (_mark(parts[1]),))

    def compare(self, parts: list[Any]) -> marks.Mark:
        signs = ["==" if t.type == "EQUALS" else _comparison(t) for t in parts[1::2]]
        values = [_mark(p) for p in parts[::2]]
        pairs = [
            marks.Compare(a.start, b.end, sign, a, b)
            for a, sign, b in zip(values, signs, values[1:], strict=False)
        ]
        if len(pairs) == 1:
            return pairs[0]
        return marks.Logic(*_extent(parts), "and", tuple(pairs))  # a < b < c

    def sum(self, parts: list[Any]) -> marks.Mark:
        signs, terms, sign = [], [], "+"
        for part in parts:
            if isinstance(part, Token) and part.type in ("PLUS", "MINUS"):
                sign = "+" if part.type == "PLUS" else "-"
            else:
                terms.append(_mark(part))
                signs.append(sign)
        return marks.Sum(*_extent(parts), tuple(terms), tuple(signs))

    def times(self, parts: list[Any]) -> marks.Mark:
        first, sign, rest = parts
        signs = {"ENTRIES": "⊙", "STAR": "*", "SLASH": "/", "MOD": "%"}
        rest = _mark(rest)
        first = _mark(first)
        if sign.type == "SLASH" and (made := _divided(first, rest)) is not None:
            return made
        if isinstance(rest, marks.Times) and rest.signs[0] != "·":
            found = (first, *rest.parts), (signs[sign.type], *rest.signs)
        else:
            found = (first, rest), (signs[sign.type],)
        return marks.Times(*_extent(parts), *found)

    def total(self, parts: list[Any]) -> marks.Mark:
        scripts = tuple(p for p in parts if isinstance(p, marks.Script))
        return marks.Total(*_extent(parts), scripts, _mark(parts[-1]))

    def product(self, parts: list[Any]) -> marks.Mark:
        first, last = _mark(parts[0]), _mark(parts[-1])
        # a product in brackets would be a Bracket
        factors = first.factors if isinstance(first, marks.Product) else (first,)
        return marks.Product(*_extent(parts), (*factors, last))

    def dotted(self, parts: list[Any]) -> marks.Mark:
        first, _, last = parts
        first, last = _mark(first), _mark(last)
        if isinstance(first, marks.Times):
            found = (*first.parts, last), (*first.signs, "·")
        else:
            found = (first, last), ("·",)
        return marks.Times(*_extent(parts), *found)

    def scripted(self, parts: list[Any]) -> marks.Mark:
        scripts = tuple(p for p in parts[1:] if isinstance(p, marks.Script))
        primes = sum(p.primes for p in parts[1:] if isinstance(p, marks.Scripted))
        body = _mark(parts[0])
        for above in (False, True):
            same = [s for s in scripts if s.above == above]
            if len(same) > 1:
                kind = "superscript" if above else "subscript"
                example = "h^{(t)}" if above else "h_{f,t}"
                hint = f"what belongs together stands in one pair of braces: {example}"
                raise LatexError(f"a second {kind}", same[1].start, same[1].end, hint)
        return marks.Scripted(*_extent(parts), body, scripts, primes)

    def below(self, parts: list[Any]) -> marks.Mark:
        return self._script(parts, above=False)

    def above(self, parts: list[Any]) -> marks.Mark:
        return self._script(parts, above=True)

    def _script(self, parts: list[Any], above: bool) -> marks.Mark:
        argument = _mark(parts[1])
        braces = isinstance(argument, marks.Bracket) and argument.kind == "{"
        items = argument.items if braces else (argument,)  # type: ignore[attr-defined]
        return marks.Script(*_extent(parts), above, items)

    def prime(self, parts: list[Any]) -> marks.Mark:
        start, end = _extent(parts)
        return marks.Scripted(start, end, marks.Dots(start, end), (), _primes(parts[0]))

    def mark(self, parts: list[Any]) -> marks.Mark:
        token = parts[0]
        text = "star" if token.type == "STAR" else "'" * _primes(token)
        return marks.Lone(*_extent(parts), text)

    def lone(self, parts: list[Any]) -> marks.Mark:
        token = parts[0]
        if token.type == "PRIME":
            return marks.Lone(*_extent(parts), "'" * _primes(token))
        if len(parts) == 3:  # <t-1>
            return marks.Bracket(*_extent(parts), "<", (_mark(parts[1]),))
        words = {"STAR": "star", "PLUS": "plus", "MINUS": "minus"}
        return marks.Lone(*_extent(parts), words.get(token.type, ""))

    # -------------------------------------------------------------- atoms

    def braces(self, parts: list[Any]) -> marks.Mark:
        return self._bracket(parts, "{")

    def parentheses(self, parts: list[Any]) -> marks.Mark:
        return self._bracket(parts, "(")

    def brackets(self, parts: list[Any]) -> marks.Mark:
        return self._bracket(parts, "[")

    def angles(self, parts: list[Any]) -> marks.Mark:
        return self._bracket(parts, "<")

    def _bracket(self, parts: list[Any], kind: str) -> marks.Mark:
        inner = parts[1:-1]
        separators = ("COMMA", "SEMICOLON")
        items = [p for p in inner if not (isinstance(p, Token) and p.type in separators)]
        return marks.Bracket(*_extent(parts), kind, tuple(map(_mark, items)))

    def absolute(self, parts: list[Any]) -> marks.Mark:
        return marks.Fence(*_extent(parts), "absolute", _mark(parts[1]))

    def norm(self, parts: list[Any]) -> marks.Mark:
        return marks.Fence(*_extent(parts), "norm", _mark(parts[1]))

    def floor(self, parts: list[Any]) -> marks.Mark:
        return marks.Fence(*_extent(parts), "floor", _mark(parts[1]))

    def accented(self, parts: list[Any]) -> marks.Mark:
        return marks.Styled(*_extent(parts), str(parts[0]), True, _mark(parts[1]))

    def styled(self, parts: list[Any]) -> marks.Mark:
        name = str(parts[0])
        return marks.Styled(*_extent(parts), name, False, _mark(parts[1]))

    def fraction(self, parts: list[Any]) -> marks.Mark:
        return marks.Fraction(*_extent(parts), _bare(parts[1]), _bare(parts[2]))

    def root(self, parts: list[Any]) -> marks.Mark:
        degree = _mark(parts[2]) if len(parts) > 2 else None
        return marks.Root(*_extent(parts), _bare(parts[-1]), degree)

    def case(self, parts: list[Any]) -> Any:
        values = [p for p in parts if isinstance(p, marks.Mark) or _is_value(p)]
        return _mark(values[0]), _mark(values[1]) if len(values) > 1 else None

    def cases(self, parts: list[Any]) -> marks.Mark:
        return marks.Cases(*_extent(parts), tuple(p for p in parts if isinstance(p, tuple)
                                                  and not isinstance(p, Token)))  # fmt: skip

    def cells(self, parts: list[Any]) -> Any:
        return tuple(_mark(p) for p in parts if not (isinstance(p, Token) and p.type == "AMP"))

    def matrix(self, parts: list[Any]) -> marks.Mark:
        return marks.Matrix(*_extent(parts), tuple(p for p in parts if isinstance(p, tuple)))


_VALUES = ("ARGUMENT", "LETTERS", "NUMBER", "WORD", "SYMBOL", "FUNCTION", "DOTS")


def _is_value(part: object) -> bool:
    return isinstance(part, Token) and part.type in _VALUES


def _mark(part: Any) -> marks.Mark:
    return _sign(part) if isinstance(part, Token) else part


def _bare(part: Any) -> marks.Mark:
    """Without the braces that nobody sees."""
    mark = _mark(part)
    while isinstance(mark, marks.Bracket) and mark.kind == "{" and len(mark.items) == 1:
        (mark,) = mark.items
    return mark


def _extent(parts: list[Any]) -> tuple[int, int]:
    first, last = parts[0], parts[-1]
    start = first.start_pos if isinstance(first, Token) else first.start
    end = last.end_pos if isinstance(last, Token) else last.end
    return start or 0, end or 0


def _divided(top: marks.Mark, rest: marks.Mark) -> marks.Mark | None:
    """``1/T \\sum_t x``, ``a/b \\cdot c``: the first factor alone stands below the line."""
    extent = top.start, rest.end
    if isinstance(rest, marks.Times) and rest.signs[0] == "·":
        first = _divided(top, rest.parts[0])
        first = first or marks.Fraction(top.start, rest.parts[0].end, top, rest.parts[0], True)
        return marks.Times(*extent, (first, *rest.parts[1:]), rest.signs)
    if not isinstance(rest, marks.Product):
        return None
    count = 1  # with its brackets: f(x)
    while count < len(rest.factors) and _is_bracket(rest.factors[count]):
        count += 1
    if count == len(rest.factors):
        return None
    below = rest.factors[0]
    if count > 1:
        below = marks.Product(below.start, rest.factors[count - 1].end, rest.factors[:count])
    fraction = marks.Fraction(top.start, below.end, top, below, True)
    return marks.Product(*extent, (fraction, *rest.factors[count:]))


def _is_bracket(mark: marks.Mark) -> bool:
    body = mark.body if isinstance(mark, marks.Scripted) else mark
    return isinstance(body, marks.Bracket) and body.kind in ("(", "[")


def _primes(token: Token) -> int:
    count = 1 if token.startswith("\\") else len(normalise_name(str(token)).replace("″", "''"))
    if count > 4:
        raise fail("a name has at most four primes", token)
    return count


def _comparison(token: Token) -> str:
    return _COMPARE.get(token.removeprefix("\\")) or operator(str(token))
