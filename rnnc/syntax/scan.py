"""Reading a spec's text and cutting it into statements, with brackets, limits and comments.

This comes before the grammar and knows little of it: brackets, strings, comments, line ends. It
lets each statement be parsed alone, and keeps hostile input from ever reaching the parser.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from rnnc.source import Diagnostic, Label, Source, Span, SpecError, UsageError

MAX_BYTES = 4 * 2**20
MAX_NESTING = 200  # open brackets, and levels of the tree: Python's recursion must never run out
MAX_STATEMENT_TOKENS = 10_000
MAX_FILE_TOKENS = 50_000
MAX_WORD = 200  # characters of a name or a number
MAX_DIAGNOSTICS = 100

KEYWORDS = (
    *("model", "dim", "axis", "input", "param", "const"),
    *("target", "loss", "metric", "output", "use", "layer", "function"),
)
PARTNER = dict(zip("([{（［", ")]}）］", strict=True))
_CLOSES = {")": "(", "）": "(", "]": "[", "］": "[", "}": "{"}
_KIND = {"(": "(", "（": "(", "[": "[", "［": "[", "{": "{"}

_NAME = r"[^\W0-9][\w.]*['′’″]*"
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_PIECE = re.compile(
    r"""
      (?P<comment> [#＃][^\n\r\x85\u2028\u2029]* )
    | (?P<line> [\n\r\x85\u2028\u2029] [\s\u200b-\u200d\u2060\ufeff\u00ad]* )
    | (?P<space> [\t\v\f\ \xa0\u1680\u2000-\u200d\u202f\u205f\u2060\u3000\ufeff\u00ad]+ )
    | (?P<latex> \$\$ )
    | (?P<string> "[^"\n]*" | [“”„][^“”\n]*[“”] | '[^'\n]*' )
    | (?P<open> [(\[{（［] )
    | (?P<close> [)\]}）］] )
    | (?P<word> \w+['′’″]* )
    | (?P<other> . )
    """,
    re.VERBOSE,
)
# A line inside an open bracket that can only be the start of another statement.
_KEYWORD_LINE = re.compile(
    rf"[^\S\n]*(?:{'|'.join(KEYWORDS)})[^\S\n]+{_NAME}(?:\[[^\[\]\n]*\])?"
    r"[^\S\n]*(?:[:=~,#\n\r]|from\b|\Z)"
)
_EQUATION_LINE = re.compile(rf"[^\S\n]*(?:{_NAME}(?:\[[^\[\]\n]*\])?|\([^()=\n]*\))[^\S\n]*=(?!=)")


@dataclass(frozen=True)
class Comment:
    """A comment, from its ``#`` to the end of its line; ``alone`` if nothing stands before it."""

    start: int
    end: int
    alone: bool


@dataclass
class Scan:
    """A text cut into pieces: the ranges of its statements, its comments, what is wrong so far."""

    statements: list[tuple[int, int]] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    # Where statements with unbalanced brackets begin: they are not parsed, yet they are there.
    broken: list[int] = field(default_factory=list)


def read_source(path: str | Path) -> Source:
    """The source in the file ``path``: UTF-8 text, with or without a byte order mark.

    Raises :class:`UsageError` where there is no such file and :class:`SpecError` (RNN002,
    RNN003) where it holds no spec of a reasonable size.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder, not a spec") from None
    except PermissionError:
        raise UsageError(f"{path} may not be read: permission denied") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UsageError(f"{path!s} cannot be read: {error}") from None
    source = Source("", str(path))
    if len(data) > MAX_BYTES:
        raise SpecError([_too_long(source)])
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        # The text up to the bad byte decodes, and shows where it is.
        source = Source(data[: error.start].decode("utf-8"), str(path))
        end = len(source.text)
        raise SpecError(
            [
                Diagnostic(
                    "RNN003",
                    f"{path} is not UTF-8 text: byte 0x{data[error.start]:02x} cannot be read",
                    Span(source, end, end),
                    hint="save the file as UTF-8",
                )
            ]
        ) from None
    source = Source(text, str(path), str(path))
    check_text(source)
    return source


def _too_long(source: Source) -> Diagnostic:
    limit = MAX_BYTES // 2**20
    return Diagnostic("RNN002", f"{source.name} is longer than {limit} MB, too long for a spec")


def check_text(source: Source) -> None:
    """Raise :class:`SpecError` unless ``source`` is text of a reasonable size."""
    if len(source.text) > MAX_BYTES:
        raise SpecError([_too_long(source)])
    if found := _CONTROL.search(source.text):
        code = f"U+{ord(found[0]):04X}"
        raise SpecError(
            [
                Diagnostic(
                    "RNN003",
                    f"{source.name} is not plain text: it holds the control character {code}",
                    Span(source, *found.span()),
                )
            ]
        )


def scan(source: Source) -> Scan:
    """Cut ``source`` into statements.

    Raises :class:`SpecError` (RNN002) at once where it is too large or too deeply nested;
    unbalanced brackets are collected, and the statements that hold them left out.
    """
    return _Scanner(source).run()


class _Scanner:
    """The state of one scan: the statement begun, and the brackets open in it."""

    def __init__(self, source: Source):
        self.source = source
        self.text = source.text
        self.out = Scan()
        self.begin: int | None = None  # where the current statement starts
        self.end = 0  # where its last token ends
        self.tokens = self.total = 0
        self.open: list[tuple[str, int]] = []
        self.options = False  # a `;` was seen: `name = …` may start a line
        self.broken = False

    def run(self) -> Scan:
        position, line_start, alone = 0, 0, True
        while position < len(self.text):
            found = _PIECE.match(self.text, position)
            assert found is not None  # the last alternative takes any character
            kind, start, position = found.lastgroup, position, found.end()
            if kind == "space":
                continue
            if kind == "comment":
                self.out.comments.append(Comment(start, position, alone))
                continue
            if kind == "line":
                line_start, alone = position, True
                if not self.open or self._starts_statement(line_start):
                    self._finish()
                continue
            alone = False
            position = self._token(kind or "", start, position)
        self._finish()
        return self.out

    def _token(self, kind: str, start: int, end: int) -> int:
        """Take the token at ``start``; the place to go on from."""
        if self.begin is None:
            self.begin = start
        self.tokens += 1
        self.total += 1
        self._check_size(start)
        if kind == "word" and end - start > MAX_WORD:
            message = f"this word is longer than {MAX_WORD} characters"
            raise SpecError([Diagnostic("RNN002", message, Span(self.source, start, end))])
        if kind == "latex":
            close = self.text.find("$$", end)
            if close < 0:
                self._problem("the `$$` that ends this equation is missing", start, end)
                return self._line_end(end)
            end = close + 2
        elif kind == "open":
            self.open.append((self.text[start], start))
            if len(self.open) > MAX_NESTING:
                raise SpecError(
                    [
                        Diagnostic(
                            "RNN002",
                            f"more than {MAX_NESTING} brackets are open here",
                            Span(self.source, start, end),
                            hint="give parts of the expression names of their own",
                        )
                    ]
                )
        elif kind == "close":
            if not self._close(start):
                return self._line_end(end)
        elif self.text[start] in ";；;":
            self.options = True
        self.end = end
        return end

    def _close(self, at: int) -> bool:
        """Match the closing bracket at ``at`` with the one that is open."""
        found = self.text[at]
        if not self.open:
            self._problem(f"this `{found}` closes nothing", at, at + 1)
            return False
        bracket, place = self.open.pop()
        if _KIND[bracket] != _CLOSES[found]:
            label = Label(Span(self.source, place, place + 1), "opened here")
            wanted = PARTNER[bracket]
            self._problem(f"expected `{wanted}` here, found `{found}`", at, at + 1, (label,))
            return False
        return True

    def _problem(self, message: str, start: int, end: int, labels: tuple[Label, ...] = ()) -> None:
        self.broken = True
        self.open.clear()
        span = Span(self.source, start, end)
        self.out.diagnostics.append(Diagnostic("RNN001", message, span, labels))

    def _line_end(self, position: int) -> int:
        found = re.compile(r"[\n\r\x85\u2028\u2029]").search(self.text, position)
        return found.start() if found else len(self.text)

    def _starts_statement(self, line_start: int) -> bool:
        """Whether the next line begins a statement although a bracket is open.

        `h[0] = q` may also be an option of a layer call: after a `;`, and after a comma.
        """
        if _KEYWORD_LINE.match(self.text, line_start):
            return True
        if self.options and self.text[self.end - 1 : self.end] in tuple(",，;；;"):
            return False
        return bool(_EQUATION_LINE.match(self.text, line_start))

    def _finish(self) -> None:
        """End the current statement here."""
        if self.open:
            bracket, place = self.open[-1]
            message = f"this `{bracket}` is never closed"
            self._problem(message, place, place + 1)
        if self.begin is not None:
            if self.broken:
                self.out.broken.append(self.begin)
            else:
                self.out.statements.append((self.begin, self.end))
        if len(self.out.diagnostics) >= MAX_DIAGNOSTICS:
            raise SpecError(self.out.diagnostics)
        self.begin, self.tokens = None, 0
        self.options = self.broken = False

    def _check_size(self, at: int) -> None:
        span = Span(self.source, at, at)
        if self.tokens > MAX_STATEMENT_TOKENS:
            message = f"this statement is longer than {MAX_STATEMENT_TOKENS} words and signs"
            begin = self.begin if self.begin is not None else at
            raise SpecError([Diagnostic("RNN002", message, Span(self.source, begin, begin + 1))])
        if self.total > MAX_FILE_TOKENS:
            message = f"the text is longer than {MAX_FILE_TOKENS} words and signs"
            raise SpecError([Diagnostic("RNN002", message, span)])
