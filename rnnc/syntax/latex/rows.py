r"""Rows of equations: without what only aligns them, without labels and remarks, joined where
they go on.

    \begin{aligned} a &= b \\ &\quad + c, \quad d = e \tag{1} \end{aligned}
    a = b + c , d = e
"""

from __future__ import annotations

from collections.abc import Iterator

from lark import Token

from rnnc.syntax.latex import commands
from rnnc.syntax.latex.tokens import (
    CLOSERS,
    CONTINUES,
    MAX_NESTING,
    PAIRS,
    PUNCTUATION,
    RELATIONS,
    VALUES,
    LatexError,
    fail,
    made,
)

# ---------------------------------------------------------------- environments and brackets


# Words with which a remark after an equation begins.
_TAILS = (
    *("for", "where", "with", "if", "when", "in", "at", "as", "is", "are", "such", "s.t.", "s.t"),
    *("i.e.", "e.g.", "denotes", "note", "see", "by", "from", "on"),
)


def environments(tokens: list[Token]) -> Iterator[Token]:
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
            if token in ("array", "alignat", "alignedat"):
                i += _columns(tokens, i)
            if [t.type for t in tokens[i : i + 3]] == ["LSQB", "LETTERS", "RSQB"]:
                i += 3 if tokens[i + 1] in ("t", "b", "c") else 0  # \\begin{aligned}[t]
            lines = last is None and (system or _has_equations(tokens, i))
            token = _begun(token, lines, system)
            kind, system = token.type, False
        elif kind == "END":
            token = _ended(token, open_)
            kind = token.type
        if kind in ("ALIGN", *PAIRS):
            open_.append(token)
            depth = sum(t.type != "ALIGN" for t in open_)
            if depth > MAX_NESTING:
                raise fail(f"more than {MAX_NESTING} brackets are open here", token)
        elif kind in CLOSERS or kind == "END_ALIGN":
            _close(token, open_)
        if kind in ("ALIGN", "END_ALIGN"):
            last = None
            yield made("NEWROW", "", token)  # what stands before and after are rows of their own
            continue
        if kind == "NEWROW" and grid and i < len(tokens) and tokens[i].type == "END":
            continue  # a row end before the end of the environment
        last = None if kind == "NEWROW" and not grid else token
        yield token
    if open_:
        raise _left_open(open_[-1])


def _columns(tokens: list[Token], i: int) -> int:
    """How many tokens of the columns of an array follow: ``{ll}``."""
    end = next((j for j in range(i, len(tokens)) if tokens[j].type == "RBRACE"), None)
    found = i < len(tokens) and tokens[i].type == "LBRACE" and end is not None
    return end - i + 1 if found and end is not None else 0


def _has_equations(tokens: list[Token], i: int) -> bool:
    """Whether an environment holds equations, as some set them in an array or in cases."""
    depth = 0
    for token in tokens[i:]:
        depth += (token.type in (*PAIRS, "BEGIN")) - (token.type in (*CLOSERS, "END"))
        if depth < 0:
            return False
        if not depth and token.type == "EQUALS":
            return True
    return False


def _begun(token: Token, lines: bool, system: bool) -> Token:
    name = str(token)
    if name in commands.ALIGNING or (lines and name in (*commands.CASES, *commands.MATRICES)):
        return made("ALIGN", name, token)
    if name in commands.CASES or (system and name in commands.MATRICES):
        return made("BEGIN_CASES", name, token)
    if name in commands.MATRICES:
        return made("BEGIN_MATRIX", name, token)
    hint = "equations stand in aligned, choices in cases, vectors in bmatrix"
    raise fail(f"unknown environment `{name}`", token, hint)


def _ended(token: Token, open_: list[Token]) -> Token:
    begun = next((t for t in reversed(open_) if t.type in ("ALIGN", "BEGIN_CASES", "BEGIN_MATRIX")),
                 None)  # fmt: skip
    if begun is None:
        raise fail(f"`\\end{{{token}}}` ends what has not begun", token)
    if str(begun) != str(token):
        raise fail(f"`\\end{{{token}}}` ends `\\begin{{{begun}}}`", token)
    return made("END_ALIGN" if begun.type == "ALIGN" else PAIRS[begun.type], token, token)


def _close(token: Token, open_: list[Token]) -> None:
    if not open_:
        raise fail(f"this `{token}` closes nothing", token)
    begun = open_.pop()
    wanted = "END_ALIGN" if begun.type == "ALIGN" else PAIRS[begun.type]
    if token.type != wanted:
        if token.type in ("END_ALIGN", "END_CASES", "END_MATRIX"):
            raise _left_open(begun)
        raise fail(f"this `{token}` does not close `{begun}`", token)


def _left_open(token: Token) -> LatexError:
    if token.type in ("ALIGN", "BEGIN_CASES", "BEGIN_MATRIX"):
        return fail(f"the `\\end{{{token}}}` is missing", token)
    return fail(f"this `{token}` is never closed", token)


# ---------------------------------------------------------------- rows


def rows(tokens: list[Token], unread: list[tuple[int, int]]) -> list[Token]:
    """Rows of equations: without labels and what is said after them, joined where they go on."""
    lines: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token.type in PAIRS) - (token.type in CLOSERS)
        if token.type == "NEWROW" and not depth:
            lines.append([])
        else:
            lines[-1].append(token)
    out: list[Token] = []
    for row in lines:
        row = _bare_row(row, unread)
        if not row:
            continue
        goes_on = out and (row[0].type in CONTINUES or out[-1].type in (*CONTINUES, "COMMA"))
        if out and not goes_on:
            out.append(made("NEWROW", "\\\\", row[0]))
        out += row
    return out


def _bare_row(row: list[Token], unread: list[tuple[int, int]]) -> list[Token]:
    """One row without labels and remarks; equations side by side have commas between them."""
    start = [t.type for t in row[:4]]
    if start[:3] == ["LPAR", "NUMBER", "RPAR"] and start[3:] and start[3] not in CONTINUES:
        row = row[3:]  # `(1) c = …`: a label
    kept: list[Token] = []
    parts = _parts(row)
    for i, (part, column) in enumerate(parts):
        last = i == len(parts) - 1
        if kept and (_is_label(part) and last):
            break
        if kept and _is_remark(part, last and _is_equation(kept)):
            unread.append((part[0].start_pos or 0, row[-1].end_pos or 0))
            break
        if kept and part[0].type not in CONTINUES and _is_equation(kept):
            if _is_equation(part):
                kept.append(made("COMMA", ",", part[0]))  # one too many does not matter
            elif column and kept[-1].type not in PUNCTUATION:
                hint = "what belongs to the equation stands before the `&`"
                raise fail("this column is no equation", part[0], hint)
        kept += part
    return _checked(kept, unread)


def _parts(row: list[Token]) -> list[tuple[list[Token], bool]]:
    """What wide spaces and the columns of an alignment keep apart; whether it is a column. In
    square brackets a wide space is a comma."""
    parts: list[tuple[list[Token], bool]] = [([], False)]
    open_: list[str] = []
    for i, token in enumerate(row):
        if token.type in PAIRS:
            open_.append(token.type)
        elif token.type in CLOSERS:
            open_.pop()
        if open_ or token.type not in ("QUAD", "AMP"):
            if token.type == "QUAD" and open_[-1:] == ["LSQB"]:
                token = made("COMMA", ",", token)
            if token.type != "QUAD":
                parts[-1][0].append(token)
            continue
        after = row[i + 1].type if i + 1 < len(row) else ""
        joins = (*CONTINUES, "IN", "SIM", "AMP")
        value = bool(parts[-1][0]) and parts[-1][0][-1].type in (*VALUES, *PUNCTUATION)
        if token.type == "QUAD" or (value and after not in joins):
            parts.append(([], token.type == "AMP"))
    return [part for part in parts if part[0]]


def _outside(tokens: list[Token]) -> Iterator[Token]:
    """Those that are in no brackets."""
    depth = 0
    for token in tokens:
        depth += (token.type in PAIRS) - (token.type in CLOSERS)
        if not depth:
            yield token


def _is_equation(part: list[Token]) -> bool:
    return any(t.type in RELATIONS for t in _outside(part))


def _is_label(part: list[Token]) -> bool:
    """``(1)``, ``(\\text{…})``"""
    kinds = [t.type for t in part]
    inner = kinds[1] if len(kinds) == 3 else ""
    said = inner in ("NUMBER", "WORD", "TEXT", "LETTERS", "SYMBOL")
    return kinds[:1] == ["LPAR"] and kinds[2:] == ["RPAR"] and said


def _is_remark(part: list[Token], last: bool) -> bool:
    """``\\text{for all } t``, ``(t > 1)``, and a word in a column of its own."""
    first = part[0].type
    if first in ("TEXT", "TAIL", "IF", "OTHERWISE"):
        return part[0] != "when"
    if not last:
        return False
    whole = first == "LPAR" and not any(True for _ in list(_outside(part))[1:])
    compared = any(t.type in ("COMPARE", "EQUALS", "IN") for t in part)
    condition = any(t.type == "COMPARE" for t in _outside(part))
    return (whole and compared) or condition or all(t.type == "WORD" for t in part)


def _checked(row: list[Token], unread: list[tuple[int, int]]) -> list[Token]:
    """Without texts, which only may stand around an equation, and without its full stop."""
    kept: list[Token] = []
    depth = grids = 0
    observed = any(t.type == "SIM" for t in row)
    for token in row:
        depth += (token.type in PAIRS) - (token.type in CLOSERS)
        grids += (token.type == "BEGIN_CASES") - (token.type == "END_CASES")
        top = not depth
        if token.type == "TEXT" and top and not kept:
            continue  # a label before the equation
        if token.type == "TEXT" and top and token.lower().strip(" ,") in ("and", "und", "et"):
            token = made("COMMA", ",", token)
        if top and kept and token == "when" and observed:
            token = made("WHEN", "when", token)
        if top and kept and token.type in ("TEXT", "TAIL", "IF", "OTHERWISE"):
            first = token.split()[0].lower() if token.split() else ""
            if token.type == "TEXT" and kept[-1].type in VALUES and first not in _TAILS:
                hint = "a name of several letters is one word: \\text{name}"
                raise fail("a text cannot stand within an equation", token, hint)
            unread.append((token.start_pos or 0, row[-1].end_pos or 0))
            break
        if token.type in ("IF", "OTHERWISE") and not grids:
            if not kept:
                continue
            token = made("WORD", str(token), token)
        if token.type == "TAIL":
            raise fail(f"`{token}` cannot stand here", token)
        if token.type == "TEXT":
            hint = "a name of several letters is one word: \\text{name}"
            raise fail("a text cannot stand within an equation", token, hint)
        if token.type == "SEMICOLON" and top:
            token = made("COMMA", token, token)
        if token.type == "COMMA" and top and (not kept or kept[-1].type == "COMMA"):
            continue
        kept.append(token)
    while kept and kept[-1].type in PUNCTUATION:
        kept.pop()
    for token in kept:
        if token.type == "PERIOD":
            raise fail("a full stop cannot stand here", token)
    return kept
