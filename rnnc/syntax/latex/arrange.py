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
from collections.abc import Iterable, Iterator

from lark import Token

from rnnc.syntax.latex import commands

MAX_NESTING = 40  # open brackets; what reads them goes down several calls for each
MAX_TOKENS = 5_000

_PAIRS = {
    **{"LPAR": "RPAR", "LSQB": "RSQB", "LBRACE": "RBRACE", "LABS": "RABS", "LNORM": "RNORM"},
    **{"LFLOOR": "RFLOOR", "LANGLE": "RANGLE", "BEGIN_CASES": "END_CASES"},
    "BEGIN_MATRIX": "END_MATRIX",
}
_CLOSERS = {close: open_ for open_, close in _PAIRS.items()}
_CONTINUES = ("EQUALS", "PLUS", "MINUS", "ENTRIES", "STAR", "SLASH", "DOT", "MOD", "COMPARE")
_PUNCTUATION = ("COMMA", "SEMICOLON", "PERIOD")
_LENGTHS = ("pt", "em", "ex", "mm", "cm", "in", "px")
_CONDITION = ("if", "when", "for", "where", "with", "as")
_OTHERWISE = ("otherwise", "else", "otherwise.", "others", "elsewhere")


class LatexError(Exception):
    """What cannot be read, between two characters of the equation, and a way out."""

    def __init__(self, message: str, start: int, end: int, hint: str | None = None):
        super().__init__(message)
        self.message, self.start, self.end, self.hint = message, start, end, hint


def fail(message: str, token: Token, hint: str | None = None) -> LatexError:
    """The error at a token."""
    return LatexError(message, token.start_pos or 0, token.end_pos or 0, hint)


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
        signs = list(_translated(_without_invisible(tokens)))
        yield from _arguments(_rows(list(_environments(signs)), self.unread))


def _new(kind: str, value: str, first: Token, last: Token | None = None) -> Token:
    """A token in the place of others."""
    token = Token.new_borrow_pos(kind, value, first)
    token.end_pos = (last or first).end_pos
    return token


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
            if "PERIOD" in (tokens[i + 1].type, tokens[start + 1].type):
                gone |= {start, start + 1, i, i + 1}
    if open_:
        raise fail("this `\\left` has no `\\right`", tokens[open_[-1]])
    kept = []
    for i, token in enumerate(tokens):
        if i not in gone:
            kept.append(token)
        elif i - 1 in gone and token.value in ("\\{", "\\lbrace"):
            kept.append(_new("SYSTEM", token, token))  # a brace before several rows
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
                made = _escaped(token)
                if made is not None and made.type == "NEWROW":
                    i += _space_after(tokens, i)
                if made is not None:
                    yield made
            case "TEXTUAL":
                yield from _textual(token)
            case "UPRIGHT":
                word = _word(token)
                yield _new("NUMBER" if word.isdecimal() else "WORD", word, token)
            case "INFINITE":
                yield _new("SYMBOL", "inf", token)
            case "BAR":
                hint = "write \\lvert x \\rvert, or \\left| x \\right|; " + commands.FOREIGN["mid"]
                raise fail("a `|` does not say whether it opens or closes", token, hint)
            case "COMMAND":
                side = _sized(token)
                if side is not None:
                    if after is not None and after.type in ("BAR", "ESCAPED") and side:
                        i += 1
                        yield _sized_bar(token, after, side)
                elif token == "\\arg" and after == "\\max":
                    i += 1
                    yield _new("FUNCTION", "argmax", token, after)
                elif token in ("\\overset", "\\stackrel"):
                    i, made = _stacked(tokens, i, token)
                    yield made
                else:
                    yield from _command(token)
            case _:
                yield token


def _escaped(token: Token) -> Token | None:
    """``\\\\``, ``\\,``, ``\\{``."""
    sign = token[1]
    if sign in ",;:!> \n\t-/":
        return None
    kinds = {"\\": "NEWROW", "{": "LPAR", "}": "RPAR", "%": "MOD"}
    if sign in kinds:
        return _new(kinds[sign], token, token)
    hint = commands.FOREIGN["Vert"] if sign == "|" else None
    raise fail(f"`{token}` has no meaning in an equation", token, hint)


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


def _sized_bar(size: Token, bar: Token, side: str) -> Token:
    if bar.type == "BAR":
        return _new("LABS" if side == "left" else "RABS", bar, size, bar)
    if bar == "\\|":
        return _new("LNORM" if side == "left" else "RNORM", bar, size, bar)
    made = _escaped(bar)
    if made is None or made.type == "NEWROW":
        raise fail(f"expected a bracket after `{size}`", bar)
    return made


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
    return end + 4, _new("EQUALS", "=", token, under[-1])


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
            yield _new(kind or table[name], table[name] if kind else token, token)
            return
    if name in commands.FONTS:
        yield _new("FONT", name, token)
        return
    hint = commands.FOREIGN.get(name)
    if hint is None:
        near = difflib.get_close_matches(name, sorted(commands.KNOWN), 1, 0.75)
        # `\tanhx`, where a space is missing
        glued = [k for k in commands.KNOWN if name.startswith(k) and len(name) - len(k) <= 2]
        if near:
            hint = f"did you mean `\\{near[0]}`?"
        elif glued:
            known = max(glued, key=len)
            hint = f"a space is missing: `\\{known} {name[len(known) :]}`"
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
        yield _new(name.upper(), text.removesuffix("*"), token)
    elif name in ("mbox", "intertext") or (name.startswith("text") and name != "textcolor"):
        bare = text.lower().strip(" :,.")
        if bare in _CONDITION:
            yield _new("IF", bare, token)
        elif bare in _OTHERWISE:
            yield _new("OTHERWISE", bare, token)
        elif re.fullmatch(r"[^\W\d_](?:[^\W_]|\\?_|-(?=[^\W_]))*", text):
            yield _new("WORD", _word(token), token)
        else:
            yield _new("TEXT", text, token)


# ---------------------------------------------------------------- environments and brackets


def _environments(tokens: list[Token]) -> Iterator[Token]:
    """Without environments that only align, and their ``&``; brackets are checked to match."""
    open_: list[Token] = []
    last: Token | None = None  # what stands before, None at the start of a row
    system = False
    i = 0
    while i < len(tokens):
        token = tokens[i]
        i += 1
        kind = token.type
        inner = open_[-1] if open_ else None
        grid = inner is not None and inner.type in ("BEGIN_CASES", "BEGIN_MATRIX")
        if kind == "SYSTEM":
            system = True
            continue
        if kind == "BEGIN":
            if token == "array":
                i += _columns(tokens, i)
            token = _begun(token, last is None, system)
            kind, system = token.type, False
        elif kind == "END":
            token = _ended(token, open_)
            kind = token.type
        if kind in ("ALIGN", *_PAIRS):
            open_.append(token)
            depth = sum(t.type != "ALIGN" for t in open_)
            if depth > MAX_NESTING:
                raise fail(f"more than {MAX_NESTING} brackets are open here", token)
        elif kind in _CLOSERS or kind == "END_ALIGN":
            _close(token, open_)
        if kind in ("ALIGN", "END_ALIGN"):
            last = None
            yield _new("NEWROW", "", token)  # what stands before and after are rows of their own
            continue
        if kind == "AMP" and not grid:
            continue
        last = None if kind == "NEWROW" and not grid else token
        yield token
    if open_:
        raise _left_open(open_[-1])


def _columns(tokens: list[Token], i: int) -> int:
    """How many tokens of the columns of an array follow: ``{ll}``."""
    end = next((j for j in range(i, len(tokens)) if tokens[j].type == "RBRACE"), None)
    found = i < len(tokens) and tokens[i].type == "LBRACE" and end is not None
    return end - i + 1 if found and end is not None else 0


def _begun(token: Token, first: bool, system: bool) -> Token:
    name = str(token)
    if name in commands.ALIGNING or (first and (name in commands.CASES or system)):
        return _new("ALIGN", name, token)  # `\begin{cases} f_t = … \\ i_t = …`: equations
    if name in commands.CASES or (system and name in commands.MATRICES):
        return _new("BEGIN_CASES", name, token)
    if name in commands.MATRICES:
        return _new("BEGIN_MATRIX", name, token)
    hint = "equations stand in aligned, choices in cases, vectors in bmatrix"
    raise fail(f"unknown environment `{name}`", token, hint)


def _ended(token: Token, open_: list[Token]) -> Token:
    begun = next((t for t in reversed(open_) if t.type in ("ALIGN", "BEGIN_CASES", "BEGIN_MATRIX")),
                 None)  # fmt: skip
    if begun is None:
        raise fail(f"`\\end{{{token}}}` ends what has not begun", token)
    if str(begun) != str(token):
        raise fail(f"`\\end{{{token}}}` ends `\\begin{{{begun}}}`", token)
    return _new("END_ALIGN" if begun.type == "ALIGN" else _PAIRS[begun.type], token, token)


def _close(token: Token, open_: list[Token]) -> None:
    if not open_:
        raise fail(f"this `{token}` closes nothing", token)
    begun = open_.pop()
    wanted = "END_ALIGN" if begun.type == "ALIGN" else _PAIRS[begun.type]
    if token.type != wanted:
        if token.type in ("END_ALIGN", "END_CASES", "END_MATRIX"):
            raise _left_open(begun)
        raise fail(f"this `{token}` does not close `{begun}`", token)


def _left_open(token: Token) -> LatexError:
    if token.type in ("ALIGN", "BEGIN_CASES", "BEGIN_MATRIX"):
        return fail(f"the `\\end{{{token}}}` is missing", token)
    return fail(f"this `{token}` is never closed", token)


# ---------------------------------------------------------------- rows


def _rows(tokens: list[Token], unread: list[tuple[int, int]]) -> list[Token]:
    """Rows of equations: without labels and what is said after them, joined where they go on."""
    rows: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token.type in _PAIRS) - (token.type in _CLOSERS)
        if token.type == "NEWROW" and not depth:
            rows.append([])
        else:
            rows[-1].append(token)
    out: list[Token] = []
    for row in rows:
        row = _bare_row(row, unread)
        if not row:
            continue
        goes_on = out and (row[0].type in _CONTINUES or out[-1].type in (*_CONTINUES, "COMMA"))
        if out and not goes_on:
            out.append(_new("NEWROW", "\\\\", row[0]))
        out += row
    return out


def _bare_row(row: list[Token], unread: list[tuple[int, int]]) -> list[Token]:
    kept: list[Token] = []
    depth = 0
    grids = 0
    start = [t.type for t in row[:4]]
    if start[:3] == ["LPAR", "NUMBER", "RPAR"] and start[3:] and start[3] not in _CONTINUES:
        row = row[3:]  # `(1) c = …`: a label
    for i, token in enumerate(row):
        depth += (token.type in _PAIRS) - (token.type in _CLOSERS)
        grids += (token.type == "BEGIN_CASES") - (token.type == "END_CASES")
        top = not depth
        if token.type == "TEXT" and top:
            if not kept:
                continue  # a label before the equation
            if token.lower().strip(" ,") in ("and", "und", "et"):
                kept.append(_new("COMMA", ",", token))
                continue
        if top and token == "when" and any(t.type == "SIM" for t in kept):
            kept.append(_new("WHEN", "when", token))
            continue
        if top and kept and token.type in ("TEXT", "TAIL", "IF", "OTHERWISE"):
            unread.append((token.start_pos or 0, row[-1].end_pos or 0))
            break
        if token.type in ("IF", "OTHERWISE") and not grids:
            if not kept:
                continue
            token = _new("WORD", str(token), token)
        if token.type == "TAIL":
            raise fail(f"`{token}` cannot stand here", token)
        if token.type == "TEXT":
            hint = "a name of several letters is one word: \\text{name}"
            raise fail("a text cannot stand within an equation", token, hint)
        if token.type == "QUAD":
            after = [t.type for t in row[i + 1 : i + 4]]
            label = after[:1] == ["LPAR"] and after[2:] == ["RPAR"] and i + 4 == len(row)
            if label and after[1] in ("NUMBER", "WORD", "TEXT", "LETTERS"):
                break
            continue
        if token.type == "SEMICOLON" and top:
            token = _new("COMMA", token, token)
        kept.append(token)
    while kept and kept[-1].type in _PUNCTUATION:
        kept.pop()
    for token in kept:
        if token.type == "PERIOD":
            raise fail("a full stop cannot stand here", token)
    return kept


# ---------------------------------------------------------------- arguments


def _arguments(tokens: Iterable[Token]) -> Iterator[Token]:
    """What stands without braces after ``_``, ``^`` or an accent is a single letter or digit."""
    wanted = 0  # arguments that are still to come
    outside: list[int] = []  # those of the brackets around
    for token in tokens:
        kind = token.type
        if wanted and kind in ("LPAR", "MINUS"):
            hint = "write braces around it: h^{(t-1)}, h_{t-1}, x^{-1}"
            raise fail("a script without braces is a single letter", token, hint)
        if kind in _PAIRS:
            outside.append(wanted)
            wanted = 0
        elif kind in _CLOSERS:
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
