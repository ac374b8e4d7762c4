r"""The signs of LaTeX, brought into the order in which ``grammar/latex.lark`` parses them.

What only lays out is dropped: environments that align, spacing, labels, the sizes of brackets.
Commands become what they stand for. What takes one letter where no braces stand gets it:

    \hat hx_t    →    \hat  h   x  _  t
                      ACCENT ARGUMENT LETTERS SUB ARGUMENT

A row that begins with ``=`` or an operator goes on with the one before it.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import accumulate

from lark import Token

from rnnc.syntax.latex import commands
from rnnc.syntax.latex.rows import environments, rows
from rnnc.syntax.latex.tokens import CLOSERS, PAIRS, VALUES, LatexError, fail, made
from rnnc.syntax.names import normalise_name

MAX_TOKENS = 5_000

_SWITCHES = ("rm", "it", "sf", "tt", "bf", "cal")
_PREFIXES = ("LNOT", "SUM", "FRAC", "SQRT", "LOR", "LAND")
MAX_PREFIXES = 60
_LENGTHS = ("pt", "em", "ex", "mm", "cm", "in", "px")
_CONDITION = ("if", "when", "for", "where", "with", "as")
_OTHERWISE = ("otherwise", "else", "otherwise.", "others", "elsewhere")


class Arrange:
    """Lark calls it between lexer and parser; ``unread`` are the pieces that it left out."""

    always_accept = (
        *("COMMAND", "ESCAPED", "TEXTUAL", "UPRIGHT", "PERIOD", "BAR", "INFINITE", "AMP"),
        *("SEMICOLON", "PRIME"),
    )

    def __init__(self) -> None:
        self.unread: list[tuple[int, int]] = []

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        """The arranged tokens.

        :raises LatexError: a command is unknown, a bracket is left open.
        """
        tokens: list[Token] = []
        for token in stream:
            tokens.append(token)
            if len(tokens) > MAX_TOKENS:
                raise fail(f"an equation has at most {MAX_TOKENS:,} words and signs", token)
        self.unread = []
        signs = _without_outer(list(_translated(_without_invisible(tokens))))
        arranged = rows(list(environments(_fenced(signs))), self.unread)
        if not arranged:
            raise LatexError("an equation is missing", 0, 0, "write it between `$$` and `$$`")
        if arranged[0].type == "EQUALS":
            raise fail("the left side of the equation is missing", arranged[0], "write h_t = …")
        yield from _arguments(arranged)


def _without_outer(tokens: list[Token]) -> list[Token]:
    """Without braces around the whole, ``{{\\begin{aligned} … \\end{aligned}}}``."""
    while tokens and tokens[0].type == "LBRACE":
        steps = ((t.type == "LBRACE") - (t.type == "RBRACE") for t in tokens)
        closed = [i for i, depth in enumerate(accumulate(steps)) if not depth]
        if closed[:1] != [len(tokens) - 1]:
            break
        tokens = tokens[1:-1]
    return tokens


# ---------------------------------------------------------------- commands


def _sized(token: Token) -> str | None:
    """Which side ``\\left`` and its like make of the bracket that follows."""
    return commands.SIZES.get(token[1:]) if token.type == "COMMAND" else None


def _without_invisible(tokens: list[Token]) -> list[Token]:
    """Without the pairs of which one is invisible, ``\\left\\{ … \\right.``"""
    open_: list[int] = []
    gone: set[int] = set()
    for i, token in enumerate(tokens[:-1]):
        side = _sized(token)
        if side == "left":
            open_.append(i)
        elif side == "right":
            if not open_:
                raise fail("this `\\right` has no `\\left`", token)
            start = open_.pop()
            if tokens[start + 1].type == "PERIOD" and tokens[i + 1].type == "BAR":
                hint = "the value at a step is written with the step: h_0"
                raise fail("a bar does not say at which step a value is read", tokens[i + 1], hint)
            if "PERIOD" in (tokens[i + 1].type, tokens[start + 1].type):
                gone |= {start, start + 1, i, i + 1}
    if open_:
        raise fail("this `\\left` has no `\\right`", tokens[open_[-1]])
    kept = []
    for i, token in enumerate(tokens):
        if i not in gone:
            kept.append(token)
        elif i - 1 in gone and token.value in ("\\{", "\\lbrace"):
            kept.append(made("SYSTEM", token, token))  # a brace before several rows
    return kept


def _translated(tokens: list[Token]) -> Iterator[Token]:
    """Commands as what they stand for."""
    i = 0
    while i < len(tokens):
        token = tokens[i]
        after = tokens[i + 1] if i + 1 < len(tokens) else None
        i += 1
        match token.type:
            case "ESCAPED":
                sign = _escaped(token)
                if sign is not None and sign.type == "NEWROW":
                    i += _space_after(tokens, i)
                if sign is not None:
                    yield sign
            case "TEXTUAL":
                yield from _textual(token)
            case "UPRIGHT":
                word = _word(token)
                yield made("NUMBER" if word.isdecimal() else "WORD", word, token)
            case "INFINITE":
                yield made("SYMBOL", "inf", token)
            case "LETTERS":
                yield from _letters(token)
            case "COMMAND":
                side = _sized(token)
                if side is not None:
                    if after is not None and after in ("|", "\\|", "\\{", "\\}", "<", ">") and side:
                        i += 1
                        yield _sized_bracket(token, after, side)
                elif token[1:] in _SWITCHES and after is not None and after.type == "LETTERS":
                    i += 1
                    yield made("WORD", str(after), token, after)  # `{\\rm sigm}`
                elif token == "\\arg" and after == "\\max":
                    i += 1
                    yield made("FUNCTION", "argmax", token, after)
                elif token in ("\\overset", "\\stackrel"):
                    i, sign = _stacked(tokens, i, token)
                    yield sign
                else:
                    yield from _command(token)
            case _:
                yield token


def _escaped(token: Token) -> Token | None:
    """``\\\\``, ``\\,``, ``\\{``."""
    sign = token[1]
    if sign in ",;:!> \n\t-/":
        return None
    kinds = {"\\": "NEWROW", "{": "LPAR", "}": "RPAR", "%": "MOD", "|": "BAR"}
    if sign in kinds:
        return made(kinds[sign], token, token)
    raise fail(f"`{token}` has no meaning in an equation", token)


def _letters(token: Token) -> Iterator[Token]:
    """Letters of other alphabets are names of their own: `αx`, `ĥ`."""
    start = token.start_pos or 0
    for found in re.finditer(
        r"[A-Za-z]+|[\u2070-\u209f²³¹ᵀ\u1d62-\u1d6a]+|.[\u0300-\u036f\u20d7]*", token
    ):
        place = {"start_pos": start + found.start(), "end_pos": start + found.end()}
        raised = unicodedata.decomposition(found[0][0]).split(" ")[0]
        if raised in ("<super>", "<sub>"):  # x², xₜ
            yield Token("SUP" if raised == "<super>" else "SUB", found[0], **place)
            yield Token("LBRACE", "{", **place)
            plain = unicodedata.normalize("NFKC", found[0])
            kind = "NUMBER" if plain.isdecimal() else "LETTERS"
            yield Token(kind, plain, **place)
            yield Token("RBRACE", "}", **place)
            continue
        plain = normalise_name(found[0])
        letters = found[0].isascii() or len(plain) == 1
        yield Token("LETTERS" if letters else "SYMBOL", plain, **place)


def _space_after(tokens: list[Token], i: int) -> int:
    """How many tokens of ``*`` and ``[2pt]`` follow ``\\\\``."""
    count = 1 if tokens[i : i + 1] and tokens[i].type == "STAR" and tokens[i] == "*" else 0
    shape = [t.type for t in tokens[i + count : i + count + 5]]
    for kinds in (["LSQB", "NUMBER", "LETTERS", "RSQB"],
                  ["LSQB", "MINUS", "NUMBER", "LETTERS", "RSQB"]):  # fmt: skip
        unit = tokens[i + count + len(kinds) - 2 : i + count + len(kinds) - 1]
        if shape[: len(kinds)] == kinds and unit[0] in _LENGTHS:
            return count + len(kinds)
    return count


def _sized_bracket(size: Token, bracket: Token, side: str) -> Token:
    kinds = {"|": "ABS", "\\|": "NORM", "<": "ANGLE", ">": "ANGLE", "\\{": "PAR", "\\}": "PAR"}
    kind = ("L" if side == "left" else "R") + kinds[str(bracket)]
    return made(kind, bracket, size, bracket)


def _fenced(tokens: list[Token]) -> list[Token]:
    """``|x|`` and ``\\|x\\|``: bars that open, and those that close."""
    open_: list[tuple[str, int, int]] = []  # the bar, at how many brackets, where
    out = list(tokens)
    depth = 0
    for i, token in enumerate(tokens):
        depth += (token.type in PAIRS) - (token.type in CLOSERS)
        while open_ and open_[-1][1] > depth:
            raise _half_open(tokens[open_[-1][2]])
        if token.type != "BAR":
            continue
        kind = "NORM" if len(token) > 1 else "ABS"
        after_value = i > 0 and tokens[i - 1].type in VALUES
        if open_ and open_[-1][:2] == (kind, depth) and after_value:
            open_.pop()
            out[i] = made(f"R{kind}", token, token)
        else:
            open_.append((kind, depth, i))
            out[i] = made(f"L{kind}", token, token)
    if open_:
        raise _half_open(tokens[open_[-1][2]])
    return out


def _half_open(bar: Token) -> LatexError:
    hint = "a norm has two; " + commands.FOREIGN["mid"]
    return fail(f"this `{bar}` has no partner", bar, hint)


def _stacked(tokens: list[Token], i: int, token: Token) -> tuple[int, Token]:
    """``\\overset{\\text{def}}{=}`` is an equals sign."""
    end, depth = i, 0
    for end in range(i, len(tokens)):
        depth += {"LBRACE": 1, "RBRACE": -1}.get(tokens[end].type, 0)
        if not depth:
            break
    under = tokens[end + 1 : end + 4]
    if [t.type for t in under] != ["LBRACE", "EQUALS", "RBRACE"]:
        raise fail(f"`{token}` can only stand over an equals sign", token)
    return end + 4, made("EQUALS", "=", token, under[-1])


def _command(token: Token) -> Iterator[Token]:
    name = token[1:]
    if name in commands.IGNORED:
        return
    for table, kind in (
        (commands.SIGNS, None),
        (commands.FUNCTIONS, "FUNCTION"),
        (commands.ACCENTS, "ACCENT"),
        (commands.SYMBOLS, "SYMBOL"),
    ):
        if name in table:
            word = table[name] if kind in ("FUNCTION", "SYMBOL") else token[1:] if kind else token
            yield made(kind or table[name], word, token)
            return
    if name in commands.FONTS:
        yield made("FONT", name, token)
        return
    hint = commands.FOREIGN.get(name)
    if hint is None:
        known = sorted(commands.KNOWN)
        near = difflib.get_close_matches(name, known, 1, 0.75)
        # `\tanhx`, where a space is missing
        glued = [k for k in known if name.startswith(k) and len(k) > 2 and len(name) - len(k) <= 2]
        if name in commands.TEXTUAL:
            hint = f"braces belong to it: \\{name}{{…}}"
        elif glued:
            first = max(glued, key=len)
            hint = f"a space is missing: `\\{first} {name[len(first) :]}`"
        elif near:
            hint = f"did you mean `\\{near[0]}`?"
        else:
            hint = f"a function or a name of several letters is \\mathrm{{{name}}}"
    raise fail(f"unknown command `{token}`", token, hint)


def _word(token: Token) -> str:
    """The text in the braces."""
    text = token[token.index("{") + 1 : token.rindex("}")].strip()
    return text.replace("\\_", "_").replace("-", "_")


def _textual(token: Token) -> Iterator[Token]:
    command = re.match(r"\\([A-Za-z]+)", token)
    assert command is not None
    name, text = command[1], token[token.index("{") + 1 : token.rindex("}")].strip()
    if name in ("begin", "end"):
        yield made(name.upper(), text.removesuffix("*"), token)
    elif name in ("mbox", "intertext") or (name.startswith("text") and name != "textcolor"):
        bare = text.lower().strip(" :,.")
        if bare in _CONDITION:
            yield made("IF", bare, token)
        elif bare in _OTHERWISE:
            yield made("OTHERWISE", bare, token)
        elif bare in ("and", "und", "et"):
            yield made("TEXT", text, token)
        elif re.fullmatch(r"[^\W\d_](?:[^\W_]|\\?_|-(?=[^\W_]))*", text):
            yield made("WORD", _word(token), token)
        else:
            yield made("TEXT", text, token)


# ---------------------------------------------------------------- arguments


def _arguments(tokens: Iterable[Token]) -> Iterator[Token]:
    """What stands without braces after ``_``, ``^`` or an accent is a single letter or digit."""
    wanted = 0  # arguments that are still to come
    outside: list[int] = []  # those of the brackets around
    chain = stacked = 0  # signs that stand before what they act on
    before = ""
    for token in tokens:
        kind = token.type
        chain = 0 if kind == "NEWROW" else chain + (kind in _PREFIXES)
        if chain > MAX_PREFIXES:
            hint = "split it into several equations"
            raise fail(f"more than {MAX_PREFIXES} signs that nest stand here", token, hint)
        if kind == before == "NUMBER" and not wanted:
            raise fail("an operator is missing between the numbers", token)
        stacked = stacked + 1 if kind in ("FONT", "ACCENT") else 0
        if stacked > 8:
            raise fail("more than 8 accents and fonts stand on one letter", token)
        before = kind
        if wanted and kind in ("LPAR", "MINUS"):
            hint = "write braces around it: h^{(t-1)}, h_{t-1}, x^{-1}"
            raise fail("a script without braces is a single letter", token, hint)
        if kind in PAIRS:
            outside.append(wanted)
            wanted = 0
        elif kind in CLOSERS:
            wanted = outside.pop()
            wanted -= kind == "RBRACE" and wanted > 0
        elif kind in ("ACCENT", "FONT"):
            wanted = max(wanted, 1)  # `_\mathbf h`: the argument is the letter in its font
        elif kind in ("SUB", "SUP", "SQRT"):
            wanted = 1
        elif kind == "FRAC":
            wanted = 2
        elif wanted and kind in ("LETTERS", "NUMBER"):
            start = token.start_pos or 0
            text = str(token)
            while wanted and text:
                yield Token("ARGUMENT", text[0], start_pos=start, end_pos=start + 1)
                start, text, wanted = start + 1, text[1:], wanted - 1
            if text:
                yield Token(kind, text, start_pos=start, end_pos=token.end_pos)
            continue
        elif wanted:
            wanted -= 1
        yield token
