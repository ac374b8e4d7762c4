"""The canonical layout of a spec, and expressions as text.

A file is laid out token by token, so that no comment and no choice of spelling is lost: what
changes is white space, and characters that a copy brought along (`−`, full-width brackets). Line
breaks inside brackets stay where the user put them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lark import Token

from rnnc.source import InternalError, Source
from rnnc.syntax import tree
from rnnc.syntax.names import INVISIBLE
from rnnc.syntax.parse import parse, tokens
from rnnc.syntax.scan import KEYWORDS, Comment, scan

INDENT = 4

# ---------------------------------------------------------------- expressions

# Binding strength, loosest first; an operand of less strength than its place needs gets brackets.
_CONDITIONAL, _OR, _AND, _NOT, _COMPARE, _SUM, _TERM, _SIGN, _PRODUCT, _POWER, _ATOM = range(11)
_STRENGTH = {
    "or": _OR,
    "and": _AND,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), _COMPARE),
    **dict.fromkeys("+-", _SUM),
    **dict.fromkeys("*/%", _TERM),
    "^": _POWER,
}


def format_expression(expr: tree.Expr) -> str:
    """``expr`` as ASCII text with the fewest brackets; it parses back to ``expr``."""
    return _expression(expr, _CONDITIONAL)


def _expression(expr: tree.Expr, needed: int) -> str:
    text, strength = _with_strength(expr)
    return text if strength >= needed else f"({text})"


def _with_strength(expr: tree.Expr) -> tuple[str, int]:
    match expr:
        case tree.Number(value):
            return repr(value), _ATOM if value >= 0 else _SIGN
        case tree.Name(name):
            return name, _ATOM
        case tree.Indexed(name, index):
            return f"{name}[{_index(index)}]", _ATOM
        case tree.Call(function, over, args, options):
            axes = f"[{', '.join(over)}]" if over else ""
            inner = ", ".join(format_expression(a) for a in args)
            if options:
                inner += "; " + ", ".join(format_option(o) for o in options)
            return f"{function}{axes}({inner})", _ATOM
        case tree.Concat(items):
            return f"[{', '.join(format_expression(i) for i in items)}]", _ATOM
        case tree.Transpose(operand):
            return f"{_expression(operand, _ATOM)}.T", _ATOM
        case tree.Unary("not", operand):
            return f"not {_expression(operand, _NOT)}", _NOT
        case tree.Unary(op, operand):
            return f"{op}{_expression(operand, _SIGN)}", _SIGN
        case tree.Binary("^", left, right):
            return f"{_expression(left, _ATOM)}^{_exponent(right)}", _POWER
        case tree.Binary():
            return _chain(expr)
        case tree.Product(factors):
            first, *rest = factors
            return " ".join([_expression(first, _POWER), *map(_factor, rest)]), _PRODUCT
        case tree.Conditional(condition, then, otherwise):
            parts = _expression(then, _OR), _expression(condition, _OR)
            return f"{parts[0]} if {parts[1]} else {format_expression(otherwise)}", _CONDITIONAL


def _chain(expr: tree.Binary) -> tuple[str, int]:
    """`a + b - c`: a loop along the left side, since chains may be long."""
    strength = _STRENGTH[expr.op]
    parts: list[str] = []
    left: tree.Expr = expr
    while isinstance(left, tree.Binary) and _STRENGTH[left.op] == strength:
        parts += [_expression(left.right, strength + 1), left.op]
        left = left.left
        if strength == _COMPARE:  # comparisons do not chain
            break
    needed = strength + 1 if strength == _COMPARE else strength
    return " ".join([_expression(left, needed), *reversed(parts)]), strength


def _exponent(expr: tree.Expr) -> str:
    if isinstance(expr, tree.Unary) and expr.op == "-":
        return f"-{_exponent(expr.operand)}"
    return _expression(expr, _POWER)


def _factor(expr: tree.Expr) -> str:
    """A factor that is not the first; a number cannot stand beside another factor."""
    text = _expression(expr, _POWER)
    return f"@ {text}" if text[0].isdigit() else text


def _index(index: tuple[tree.Expr, ...]) -> str:
    """Time indices stand close together: `h[t-1]`."""
    return ", ".join(
        format_expression(i).replace(" ", "") if _is_simple(i) else format_expression(i)
        for i in index
    )


def _is_simple(expr: tree.Expr) -> bool:
    if isinstance(expr, tree.Binary):
        return expr.op in "+-*/%" and _is_simple(expr.left) and _is_simple(expr.right)
    return isinstance(expr, tree.Name | tree.Number)


def format_option(option: tree.Option) -> str:
    """`m = 64`, `h[0] = q`, `backward`."""
    name = f"{option.name}[{_index(option.index)}]" if option.index else option.name
    return name if option.value is None else f"{name} = {format_expression(option.value)}"


# ---------------------------------------------------------------- files

# The characters that stand for an ASCII one, in the tokens of these kinds.
_PLAIN = {
    "MINUS": "-",
    "PLUS": "+",
    "CARET": "^",
    "EQUALS": "=",
    "TILDE": "~",
    "COLON": ":",
    "COMMA": ",",
    "SEMICOLON": ";",
    "LPAR": "(",
    "RPAR": ")",
    "LSQB": "[",
    "RSQB": "]",
    "RSQB_CALL": "]",
}
_LOOKALIKES = str.maketrans(
    {
        **{chr(c): chr(c - 0xFEE0) for c in range(0xFF01, 0xFF5F)},
        **dict.fromkeys(INVISIBLE),
        **dict.fromkeys("′’", "'"),
        "″": "''",
        **dict.fromkeys("−–", "-"),
    }
)
_TIGHT = ("PLUS", "MINUS", "TIMES")
_OPERAND_ENDS = ("NAME", "NUMBER", "RPAR", "RSQB", "RSQB_CALL", "TRANSPOSE", "SUPERSCRIPT")
_CLOSING = ("RPAR", "RSQB", "RSQB_CALL")
_LINE_END = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")
_NO_SPACE_BEFORE = (*_CLOSING, "COMMA", "SEMICOLON", "TRANSPOSE", "SUPERSCRIPT")
_TOUCHING = (
    ("CALL_NAME", "LPAR"),
    ("INDEXED_NAME", "LSQB"),
    ("RSQB_CALL", "LPAR"),
    ("INDEX", "LPAR"),
)


@dataclass
class _Line:
    """One line of output: code, a comment, or both."""

    code: str = ""
    comment: str = ""
    indent: int = 0  # of a comment that stands alone

    def text(self, width: int) -> str:
        if not self.comment:
            return self.code
        if not self.code:
            return " " * self.indent + self.comment
        return f"{self.code:<{width}}  {self.comment}"


@dataclass
class _Item:
    """A statement with the comments inside and after it, or a comment alone on its line."""

    start: int
    end: int
    tokens: list[Token] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    blank: bool = False  # a blank line stands before it
    pad: int = 0  # the width of its keyword

    @property
    def keyword(self) -> str:
        # By its type: the text may be a name, as in `dim[t] = …`.
        word = self.tokens[0].type.lower() if self.tokens else ""
        return word if word in KEYWORDS and word != "model" else ""


def format_file(file: tree.File, source: Source) -> str:
    """``source``, whose tree is ``file``, in the canonical layout.

    Formatting twice changes nothing more, and the result has the same tree: this is checked.
    """
    items = _items(source)
    _pad_keywords(items)
    lines: list[_Line] = []
    for item in items:
        if item.blank and lines:
            lines.append(_Line())
        lines += _layout(source, item)
    out = _join(lines)
    if parse(Source(out, source.name)) != file:
        raise InternalError("formatting would change the meaning of the spec")
    return out


def _items(source: Source) -> list[_Item]:
    pieces = scan(source)
    items = [_Item(s, e, tokens(source, s, e)) for s, e in pieces.statements]
    starts = [item.start for item in items]
    alone: list[_Item] = []
    at = 0
    for comment in pieces.comments:
        while at < len(starts) and starts[at] < comment.start:
            at += 1
        before = items[at - 1] if at else None
        if before and (comment.start < before.end or not comment.alone):
            before.comments.append(comment)
        else:
            alone.append(_Item(comment.start, comment.end, comments=[comment]))
    items = sorted(items + alone, key=lambda item: item.start)
    end = 0
    for item in items:
        item.blank = _line_ends(source.text[end : item.start]) > 1
        end = max([item.end, *(c.end for c in item.comments)])
    return items


def _pad_keywords(items: list[_Item]) -> None:
    """Within a block of declarations, what follows the keywords begins in one column."""
    block: list[_Item] = []
    for item in [*items, _Item(0, 0)]:
        if block and (item.blank or not (item.keyword or (item.comments and not item.tokens))):
            for member in block:
                member.pad = max(len(m.keyword) for m in block)
            block = []
        if item.keyword:
            block.append(item)


def _layout(source: Source, item: _Item) -> list[_Line]:
    """The lines of one item."""
    if not item.tokens:
        return [_Line(comment=_comment(source, item.comments[0]))]
    return _Layout(source, item).run()


def _comment(source: Source, comment: Comment) -> str:
    text = source.text[comment.start + 1 : comment.end].rstrip()
    return f"#{text}" if not text or text[0] in " #!" else f"# {text}"


@dataclass
class _Bracket:
    """An open bracket: the column of its content, that of its closing twin if that starts a
    line, and whether operators inside it stand close, as in time indices and shapes."""

    column: int
    close: int
    tight: bool


class _Layout:
    """Sets one statement: its tokens with the right gaps, the user's breaks, its comments."""

    def __init__(self, source: Source, item: _Item):
        self.source, self.item = source, item
        self.lines: list[_Line] = []
        self.line = ""
        self.indent = 0
        self.stack: list[_Bracket] = []
        self.previous: Token | None = None
        self.unary = False  # the previous token is a sign
        self.typed = False  # a `:` was seen since the last comma of a declaration
        self.wide = False  # the previous token is a comma after a declared type

    def run(self) -> list[_Line]:
        base = self.item.start
        end = base
        pieces = [(c.start, c.end, c) for c in self.item.comments] + [
            (base + (t.start_pos or 0), base + (t.end_pos or 0), t) for t in self.item.tokens
        ]
        for start, stop, piece in sorted(pieces, key=lambda p: p[0]):
            breaks = _line_ends(self.source.text[end:start])
            if breaks and end > base:
                closing = isinstance(piece, Token) and piece.type in _CLOSING
                self._break(closing, blank=breaks > 1)
            if isinstance(piece, Token):
                self._add(piece)
            else:
                comment = _comment(self.source, piece)
                self.lines.append(
                    _Line(self.line, comment)
                    if self.line.strip()
                    else _Line("", comment, self.indent)
                )
                self.line = ""
            end = stop
        if self.line.strip():
            self.lines.append(_Line(self.line))
        return self.lines

    def _break(self, closing: bool, blank: bool) -> None:
        """Go on in a new line, whose first token closes a bracket if ``closing``."""
        if self.line.strip():
            self.lines.append(_Line(self.line))
        if blank:
            self.lines.append(_Line())
        bracket = self.stack[-1]
        if self.previous is not None and self.previous.type in ("LPAR", "LSQB"):
            # Nothing follows the bracket in its line: its content hangs below the line's start.
            bracket.column, bracket.close = self.indent + INDENT, self.indent
        self.indent = bracket.close if closing else bracket.column
        self.line = " " * self.indent

    def _add(self, token: Token) -> None:
        if self.line.strip():
            self.line += " " * self._gap(token)
        if token.type == "STRING":
            self.line += f'"{str(token)[1:-1]}"'
        elif token.type == "LATEX":
            self.line += str(token)
        else:
            self.line += (_PLAIN.get(token.type) or str(token)).translate(_LOOKALIKES)
        before = self.previous.type if self.previous else ""
        self.unary = token.type == "MINUS" and before not in _OPERAND_ENDS
        self.wide = self.typed and token.type == "COMMA" and not self.stack
        if not self.stack and token.type in ("COLON", "COMMA"):
            self.typed = token.type == "COLON"
        if token.type in ("LPAR", "LSQB"):
            within = bool(self.stack) and self.stack[-1].tight and before != "CALL_NAME"
            tight = before in ("INDEXED_NAME", "COLON") or within
            self.stack.append(_Bracket(len(self.line), len(self.line) - 1, tight))
        elif token.type in _CLOSING:
            self.stack.pop()
        self.previous = token

    def _gap(self, token: Token) -> int:
        """How many spaces stand between the previous token and this one."""
        before = self.previous
        assert before is not None
        if before is self.item.tokens[0] and self.item.pad:
            return self.item.pad - len(before) + 1
        if token.type in _NO_SPACE_BEFORE or before.type in ("LPAR", "LSQB"):
            return 0
        if "CARET" in (before.type, token.type) or self.unary:
            return 0
        if (before.type, token.type) in _TOUCHING:
            return 0
        if self.stack and self.stack[-1].tight and (before.type in _TIGHT or token.type in _TIGHT):
            return 0
        return 2 if self.wide else 1


def _line_ends(gap: str) -> int:
    return len(_LINE_END.findall(gap))


def _join(lines: list[_Line]) -> str:
    """The lines as one text; neighbouring comments after code are aligned."""
    out: list[str] = []
    run: list[_Line] = []
    for line in [*lines, _Line()]:
        if line.code and line.comment:
            run.append(line)
            continue
        width = max((len(x.code) for x in run), default=0)
        out += [x.text(width) for x in run]
        run = []
        out.append(line.text(0).rstrip())
    return "\n".join(out[:-1]).strip("\n") + "\n"
