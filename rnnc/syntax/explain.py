"""What went wrong in a statement, in the words of the language reference.

A message says what was found and what could stand there. The rules for common slips come first,
each beside what it recognises; what none of them knows gets the general message.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from lark import Token

from rnnc.source import Diagnostic, Source, Span
from rnnc.syntax.scan import KEYWORDS
from rnnc.syntax.signs import operator

_NAMES = ("NAME", "INDEXED_NAME", "CALL_NAME")
_RESERVED = ("IF", "ELSE", "AND", "OR", "NOT")
# What people who know other languages write first.
_SYNONYMS = {
    "parameter": "param",
    "parameters": "param",
    "weight": "param",
    "weights": "param",
    "constant": "const",
    "dimension": "dim",
    "dimensions": "dim",
    "size": "dim",
    "import": "use",
    "from": "use",
    "include": "use",
    "return": "output",
    "returns": "output",
    "observe": "target",
    "minimise": "loss",
    "minimize": "loss",
    "network": "model",
    "class": "model",
}
# Terminals in the words of a message, in the order in which to offer them.
_WORDS = {
    "NUMBER": "a value",
    "PLUS": "an operator",
    "EQUALS": "`=`",
    "COLON": "`:`",
    "TILDE": "`~`",
    "STRING": "a file name in double quotes",
    "INDEX": "a type (`[m, n]`, `index(k)`, `flag` or `any`)",
    "WHEN": "`when`",
    "FROM": "`from`",
    "ELSE": "`else`",
    "LPAR": "`(`",
    "COMMA": "`,`",
    "SEMICOLON": "`;`",
    "RPAR": "`)`",
    "RSQB": "`]`",
    "$END": "the end of the line",
}
_HINTS = {
    "{": "round brackets group, square brackets index and concatenate",
    "}": "round brackets group, square brackets index and concatenate",
    "|": "write `abs(x)`, `norm(v)`, or the word `or`",
    "&": "write the word `and`",
    "!": "write the word `not`, or `!=`",
    "\\": "LaTeX stands between `$$` and `$$`, on lines of its own",
    "$": "LaTeX stands between `$$` and `$$`, on lines of its own",
    '"': 'only `use Name from "file.rnn"` takes a text in quotes',
    "“": 'only `use Name from "file.rnn"` takes a text in quotes',
    "”": 'only `use Name from "file.rnn"` takes a text in quotes',
    "'": "a prime ends a name; a transpose is written `W.T`",
    "’": "a prime ends a name; a transpose is written `W.T`",
    "′": "a prime ends a name; a transpose is written `W.T`",
    "√": "write `sqrt(x)`",
    "∑": "write `sum(x)`, or `sum[t](x)` over an axis",
    "∏": "write `exp(sum(log(x)))`",
    "∈": "the size of a value stands after `:`, as in `x[t] : [n]`",
    "←": "an equation is written with `=`",
    "→": "an equation is written with `=`",
    "?": "a condition is written `a if c else b`",
}


@dataclass(frozen=True)
class Failure:
    """A statement that does not parse: the tokens before the error, and what came instead.

    ``found`` is None where no token could be read at ``at``, and where the text ended there;
    ``accepted`` are the terminals that could have come.
    """

    source: Source
    start: int
    end: int
    at: int
    before: list[Token]
    found: Token | None
    accepted: set[str]

    @cached_property
    def ended(self) -> bool:
        return self.found is None and self.at >= self.end

    @cached_property
    def kind(self) -> str:
        return self.found.type if self.found else ""

    @cached_property
    def text(self) -> str:
        return str(self.found) if self.found else self.source.text[self.at : self.at + 1]

    @cached_property
    def last(self) -> Token | None:
        return self.before[-1] if self.before else None

    @cached_property
    def keyword(self) -> str:
        """The keyword that begins the statement; by its type, as `dim[t] = …` has none."""
        word = self.before[0].type.lower() if self.before else ""
        return word if word in KEYWORDS else ""

    @cached_property
    def brackets(self) -> list[int]:
        """The positions in ``before`` of the brackets that are open."""
        out: list[int] = []
        for i, token in enumerate(self.before):
            if token.type in ("LPAR", "LSQB"):
                out.append(i)
            elif token.type in ("RPAR", "RSQB", "RSQB_CALL"):
                out.pop()
        return out

    @property
    def wants_value(self) -> bool:
        return "NUMBER" in self.accepted

    @property
    def has_value(self) -> bool:
        """A complete value stands before; an operator could follow."""
        return "PLUS" in self.accepted

    def seen(self, *kinds: str) -> bool:
        return any(token.type in kinds for token in self.before)

    def said(self, message: str, hint: str | None = None, first: bool = False) -> Diagnostic:
        """The diagnostic for this failure, at the first token of the statement if ``first``."""
        if first and self.before:
            start = self.start + (self.before[0].start_pos or 0)
            end = start + len(self.before[0])
        elif self.ended:
            start = end = self.end
        else:
            start, end = self.at, self.at + max(1, len(self.text))
        return Diagnostic("RNN001", message, Span(self.source, start, end), hint=hint)


def explain(failure: Failure) -> Diagnostic:
    """The diagnostic for ``failure``."""
    for rule in _RULES:
        if diagnostic := rule(failure):
            return diagnostic
    return failure.said(f"expected {_expected(failure)}, found {_found(failure)}")


def _found(f: Failure) -> str:
    if f.ended:
        return "the end of the line"
    text = f.text if len(f.text) <= 24 else f"{f.text[:21]}..."
    return f"`{text}`"


def _quote(token: Token | None) -> str:
    text = str(token or "")
    return f"`{text if len(text) <= 24 else text[:21] + '...'}`"


def _expected(f: Failure) -> str:
    """The accepted terminals in words; a value stands for all that may begin one."""

    def words() -> Iterator[str]:
        for kind, word in _WORDS.items():
            if kind not in f.accepted:
                continue
            if f.wants_value and kind in ("LPAR",):
                continue
            if kind == "ELSE" and not f.seen("IF"):
                continue
            yield word
        if "NAME" in f.accepted and not f.wants_value and not f.has_value:
            yield "a name"

    out = list(dict.fromkeys(words())) or ["something else"]
    return out[0] if len(out) == 1 else f"{', '.join(out[:-1])} or {out[-1]}"


# ---------------------------------------------------------------- rules, the first that fits speaks


def _unreadable(f: Failure) -> Diagnostic | None:
    """A character that begins no token here."""
    if f.found is not None or f.ended:
        return None
    char = f.text
    rest = f.source.text[f.at + 1 : f.end].lstrip("\u200b\u200c\u200d\u2060\ufeff\u00ad")[:1]
    if char in "])］）" and rest in tuple("[(［（"):
        hint = "several axes share one bracket, `s[t, 0]`; a part of a vector is `slice(v, i, j)`"
        if rest in "[［":
            return f.said("only a name takes an index in square brackets", hint)
    if char.isdigit():
        return f.said("a number cannot go on like this", "digits are not grouped by `_`")
    if char in "=!<>":
        return f.said(f"`{char}{rest}` is no operator", "comparisons are == != < <= > >=")
    if char == ".":
        return f.said("a `.` cannot stand here", "inner values are written `f.c`, without spaces")
    name = unicodedata.name(char, "")
    shown = f"`{char}`" if char.isascii() else f"`{char}` (U+{ord(char):04X}{name and ' ' + name})"
    return f.said(f"{shown} has no meaning here", _HINTS.get(char))


def _reserved(f: Failure) -> Diagnostic | None:
    if f.kind in _RESERVED and "NAME" in f.accepted and not f.has_value and f.kind != "NOT":
        return f.said(f"`{f.text}` is a word of the language", "choose another name")
    return None


def _unknown_statement(f: Failure) -> Diagnostic | None:
    """`params W : [m]`: a word at the start, and no equation."""
    if len(f.before) != 1 or f.kind == "EQUALS" or "EQUALS" not in f.accepted:
        return None
    first = f.before[0]
    if first.type != "NAME" or f.kind == "COMPARE":
        return None
    word = str(first)
    near = _SYNONYMS.get(word.lower()) or next(
        iter(difflib.get_close_matches(word.lower(), KEYWORDS, 1, 0.7)), None
    )
    if near and f.kind in _NAMES:
        return f.said(f"unknown statement `{word}`", f"did you mean `{near}`?", first=True)
    if f.kind in _NAMES:
        hint = f"statements begin with {', '.join(KEYWORDS)}; an equation is `name = …`"
        return f.said(f"unknown statement `{word}`", hint, first=True)
    return None


def _no_equation(f: Failure) -> Diagnostic | None:
    """A left side, but then no `=`."""
    left = f.before and f.before[0].type in (*_NAMES, "LPAR") and not f.seen("EQUALS")
    if not left or "EQUALS" not in f.accepted or f.brackets:
        return None
    if f.kind == "COMPARE" and operator(f.text) == "==":
        return f.said("`==` compares; an equation has a single `=`")
    if f.kind == "COLON":
        hint = "`=` for an equation; a size is given in `input`, `param`, `const` or `target`"
        return f.said("expected `=`, found `:`", hint)
    if f.kind == "TILDE":
        return f.said("expected `=`, found `~`", "write `target y[t] : … ~ …` for what is observed")
    if f.ended:
        return f.said("expected `=` and an expression, found the end of the line")
    return f.said(f"expected `=`, found {_found(f)}", "an equation is written `h[t] = …`")


def _start(f: Failure) -> Diagnostic | None:
    if f.before or f.accepted.isdisjoint({"MODEL"}):
        return None
    hint = "a statement goes on in the next line only inside an open bracket"
    return f.said(f"a statement cannot begin with {_found(f)}", hint)


def _keyword_as_name(f: Failure) -> Diagnostic | None:
    word = f.keyword
    if f.kind != "EQUALS" or len(f.before) != 1 or not word:
        return None
    hint = "choose another name"
    if word == "loss":
        hint = "write `loss expr`, or `loss L = expr` to give it a name"
    elif word == "metric":
        hint = "write `metric name = expr`"
    return f.said(f"`{word}` begins a statement and cannot be defined", hint, first=True)


def _loss_name(f: Failure) -> Diagnostic | None:
    if f.kind == "EQUALS" and f.keyword == "loss" and f.last and f.last.type == "RSQB":
        return f.said("the name of a loss takes no index", "write `loss L = expr`")
    return None


def _equals(f: Failure) -> Diagnostic | None:
    """`=` within an expression."""
    if f.kind != "EQUALS" or not f.has_value:
        return None
    if f.brackets:
        at = f.brackets[-1]
        call = f.before[at - 1].type in ("CALL_NAME", "RSQB_CALL") if at else False
        inside = [t.type for t in f.before[at + 1 :]]
        if call and inside and inside[-1] in ("NAME", "RSQB"):
            hint = "options of a layer follow a `;`: `LSTM(x[t]; m = 64)`; to compare write `==`"
            return f.said("`=` cannot stand among arguments", hint)
        return f.said("`=` cannot stand in an expression", "to compare write `==`")
    if f.seen("IF"):
        return f.said("`=` cannot stand in an expression", "to compare write `==`")
    if f.seen("EQUALS"):
        hint = "one equation to a line; to compare write `==`"
        return f.said("a second `=` in one statement", hint)
    return f.said("`=` cannot stand here", "to compare write `==`")


def _comparison(f: Failure) -> Diagnostic | None:
    if f.kind == "COMPARE" and f.has_value and f.seen("COMPARE"):
        return f.said("comparisons do not chain", "write `a < b and b < c`")
    return None


def _options(f: Failure) -> Diagnostic | None:
    """A second `;` in a call."""
    if f.kind == "SEMICOLON" and f.brackets and f.seen("SEMICOLON"):
        return f.said("options are separated by commas", "`LSTM(x[t]; m = 64, backward)`")
    return None


def _operators(f: Failure) -> Diagnostic | None:
    """Two operators in a row, or none where one is needed."""
    last = f.last
    if f.kind == "NUMBER" and f.has_value:
        hint = "a number leads a product, `2 x`; or write an operator between them"
        return f.said(f"an operator is missing before `{f.text}`", hint)
    if not f.wants_value:
        return None
    if f.kind == "TIMES" and last and operator(str(last)) == "*" and operator(f.text) == "*":
        return f.said("`**` is no operator", "a power is written `x^2`")
    if f.kind == "EQUALS" and last and last.type in ("PLUS", "MINUS", "TIMES", "COLON"):
        return f.said(f"`{last}{f.text}` is no operator", "an equation is written `h[t] = …`")
    if f.kind == "PLUS":
        return f.said("a `+` needs a value on its left")
    return None


def _conditional(f: Failure) -> Diagnostic | None:
    if "ELSE" in f.accepted and f.seen("IF") and f.kind in ("RPAR", "RSQB", "COMMA", ""):
        return f.said("this `if` has no `else`", "write `a if c else b`")
    return None


def _declaration(f: Failure) -> Diagnostic | None:
    """Slips in statements with a keyword."""
    word, last = f.keyword, f.last
    if not word:
        return None
    if f.kind == "LSQB" and "COLON" in f.accepted and not f.has_value:
        if word in ("param", "const"):
            hint = f"the size follows a `:`, as in `{last} : [m, n]`"
            return f.said("expected `:` before the size, found `[`", hint)
        return f.said("expected `:` before the type, found `[`")
    if word in ("output", "use") and f.kind == "LSQB":
        return f.said(f"`{word}` lists names alone", f"write {_quote(last)} without brackets")
    if "INDEX" in f.accepted and not f.wants_value:
        return f.said(f"expected a type, found {_found(f)}", "`[m, n]`, `[]`, `index(k)`, `flag`")
    if word == "output" and f.kind in ("EQUALS", "COLON", "PLUS", "MINUS", "TIMES"):
        return f.said("`output` lists names alone", "give the expression a name in an equation")
    if word == "input" and f.kind == "TILDE":
        return f.said("an input has no distribution", "what is observed is a `target`")
    if word in ("input", "param") and f.kind == "EQUALS":
        hint = "a fixed value is a `const`; `~ constant(v)` initialises a parameter"
        return f.said(f"`{word}` takes no value", hint)
    return None


def _needs_name(f: Failure) -> Diagnostic | None:
    if f.accepted == {"NAME"} or f.accepted == {"NAME", "INDEXED_NAME"}:
        after = f" after {_quote(f.last)}" if f.last else ""
        return f.said(f"expected a name{after}, found {_found(f)}")
    return None


def _needs_value(f: Failure) -> Diagnostic | None:
    if not f.wants_value or f.has_value:
        return None
    after = f" after {_quote(f.last)}" if f.last else ""
    return f.said(f"expected a value{after}, found {_found(f)}")


_RULES: tuple[Callable[[Failure], Diagnostic | None], ...] = (
    _unreadable,
    _start,
    _reserved,
    _keyword_as_name,
    _unknown_statement,
    _no_equation,
    _loss_name,
    _equals,
    _comparison,
    _options,
    _operators,
    _conditional,
    _declaration,
    _needs_name,
    _needs_value,
)
