"""Spec text, positions in it, and the diagnostics that point at them.

This is the lowest layer: nothing here imports another module of rnnc.
"""

from __future__ import annotations

import bisect
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

CONTEXT_WIDTH = 160  # the most characters of one source line that a message quotes


@dataclass(frozen=True)
class Source:
    """The text of one spec and the name to show for it (a path, or ``<text>``).

    ``path`` is the file it was read from, where there is one. The text of a layer is a Source of
    its own in each call, and ``caller`` is the place of that call.
    """

    text: str
    name: str = "<text>"
    path: str | None = None
    caller: Label | None = None

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(i + 1 for i, c in enumerate(self.text) if c == "\n")]

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of a character offset, both counted from 1."""
        line = bisect.bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of line ``number`` (counted from 1), without its newline."""
        start = self._starts[number - 1]
        end = self._starts[number] - 1 if number < len(self._starts) else len(self.text)
        return self.text[start:end].rstrip("\r")


@dataclass(frozen=True)
class Span:
    """The characters ``start`` up to ``end`` (excluded) of a source."""

    source: Source = field(repr=False)
    start: int
    end: int

    @property
    def line(self) -> int:
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        return self.source.position(self.start)[1]

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    def to(self, other: Span) -> Span:
        """The span from the start of this one to the end of ``other``; this one alone where the
        other lies in another source."""
        if other.source is not self.source:
            return self
        return Span(self.source, self.start, max(self.end, other.end))

    @property
    def callers(self) -> tuple[Label, ...]:
        """The calls of the layers that this place lies in, the innermost first."""
        out: list[Label] = []
        caller = self.source.caller
        while caller is not None:
            out.append(caller)
            caller = caller.span.source.caller
        return tuple(out)

    @property
    def order(self) -> tuple[int, int]:
        """A key by which places are told: those in a layer where it is called."""
        calls = self.callers
        return (calls[-1].span.start if calls else self.start), self.start

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Label:
    """A place that belongs to a diagnostic, and what is to be said of it."""

    span: Span
    text: str


@dataclass(frozen=True)
class Note:
    """How a place was understood that might have meant something else."""

    message: str
    span: Span

    def __str__(self) -> str:
        return f"{self.span}: {self.message}"

    def as_dict(self) -> dict[str, object]:
        """The note as plain data."""
        return {"message": self.message, "place": _place_dict(self.span)}


@dataclass(frozen=True)
class Diagnostic:
    """One problem in a spec, in the user's words, with its place.

    ``code`` is a key of :data:`CODES`; ``labels`` are further places (the other side of a
    conflict); ``hint`` is a way out. What lies in a layer is labelled at the call, too.
    """

    code: str
    message: str
    span: Span | None = None
    labels: tuple[Label, ...] = ()
    hint: str | None = None

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise InternalError(f"unknown diagnostic code {self.code}")
        places = ([self.span] if self.span else []) + [x.span for x in self.labels]
        calls = dict.fromkeys(call for span in places for call in span.callers)
        more = tuple(call for call in calls if call not in self.labels)
        object.__setattr__(self, "labels", (*self.labels, *more))

    def render(self) -> str:
        """The message as text for a terminal: the lines, carets under the places, the hint."""
        out = [f"error[{self.code}]: {self.message}"]
        places = [_Place(self.span, "", "^")] if self.span else []
        for label in self.labels:
            if places and places[0].mark == "^" and places[0].span == label.span:
                places[0] = _Place(label.span, label.text, "^")
            else:
                places.append(_Place(label.span, label.text, "-"))
        width = max((len(str(p.span.line)) for p in places), default=1)
        for file in dict.fromkeys((p.span.source.name, p.span.source.text) for p in places):
            here = [p for p in places if (p.span.source.name, p.span.source.text) == file]
            out.append(f"{' ' * width}--> {here[0].span}")
            out.append(f"{' ' * width} |")
            for line in sorted({p.span.line for p in here}):
                out += _quote([p for p in here if p.span.line == line], width)
        if self.hint:
            out.append(f"{' ' * width} = hint: {self.hint}")
        return "\n".join(out)

    def as_dict(self) -> dict[str, object]:
        """The diagnostic as plain data, for ``--format json`` and editors."""
        return {
            "code": self.code,
            "message": self.message,
            "place": _place_dict(self.span) if self.span else None,
            "labels": [{"place": _place_dict(x.span), "text": x.text} for x in self.labels],
            "hint": self.hint,
        }


def _place_dict(span: Span) -> dict[str, object]:
    line, column = span.source.position(span.start)
    end_line, end_column = span.source.position(span.end)
    return {
        "file": span.source.name,
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
    }


@dataclass(frozen=True)
class _Place:
    """A span, what is said of it, and the mark to set under it."""

    span: Span
    text: str
    mark: str


def _quote(places: list[_Place], width: int) -> list[str]:
    """A source line with a row of marks for each place in it; of a long one, the neighbourhood."""
    line = places[0].span.line
    text = places[0].span.source.line(line)
    if len(text) > CONTEXT_WIDTH and len(places) > 1:
        return [row for place in places for row in _quote([place], width)]
    cut = 0
    if len(text) > CONTEXT_WIDTH:
        column = places[0].span.column
        cut = max(0, min(column - 1 - CONTEXT_WIDTH // 2, len(text) - CONTEXT_WIDTH))
        text = text[cut : cut + CONTEXT_WIDTH]
    rows = [f"{line:>{width}} | {_plain(text)}".rstrip()]
    for place in places:
        start = place.span.column - 1 - cut
        end = min(start + max(1, place.span.end - place.span.start), len(text))
        marks = place.mark * max(1, _columns(text[start:end]))
        rows.append(f"{' ' * width} | {' ' * _columns(text[:start])}{marks} {place.text}".rstrip())
    return rows


def _plain(text: str) -> str:
    """The text for a terminal: a tab is one column, control characters show as a sign."""
    return "".join(" " if c == "\t" else c if c.isprintable() or c == " " else "�" for c in text)


def _columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


class RnncError(Exception):
    """The base of every error that rnnc raises on purpose."""


class SpecError(RnncError):
    """A spec (or what was asked of it) is wrong; ``diagnostics`` says what and where."""

    def __init__(self, diagnostics: Iterable[Diagnostic]):
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n\n".join(d.render() for d in self.diagnostics))


class UsageError(RnncError):
    """A call or a command line that cannot be carried out as it stands."""


class DataError(RnncError):
    """Arrays given to a model do not fit it: names, shapes, dtypes, ranges."""


class InternalError(RnncError):
    """A broken invariant of rnnc itself; please report it with the spec that caused it."""


# Every code once, with its title; ``tests/bad`` holds a spec for each.
CODES: dict[str, str] = {
    # text
    "RNN001": "unexpected text",
    "RNN002": "text too large or too deeply nested",
    "RNN003": "not a text file",
    "RNN004": "LaTeX that cannot be read",
    # names
    "RNN010": "unknown name",
    "RNN011": "name defined twice",
    "RNN012": "reserved or unusable name",
    "RNN013": "unknown function",
    "RNN014": "wrong arguments of a function",
    "RNN015": "unknown distribution or initialiser",
    "RNN016": "no such model",
    "RNN017": "a file that cannot be used",
    "RNN018": "a model that uses itself",
    "RNN019": "wrong use of a layer",
    # time
    "RNN020": "wrong time index",
    "RNN021": "index missing or not wanted",
    "RNN022": "strided or computed time index",
    "RNN023": "a cycle within one step",
    "RNN024": "a recurrence in both directions",
    "RNN025": "boundary missing",
    "RNN026": "wrong boundary",
    "RNN027": "a boundary that nothing reads",
    # types
    "RNN030": "sizes do not fit",
    "RNN031": "ranks do not fit",
    "RNN032": "vector times vector",
    "RNN033": "kinds do not fit",
    "RNN034": "shape not determined",
    "RNN035": "size not determined",
    "RNN036": "impossible size",
    "RNN037": "too large",
    # models
    "RNN040": "nothing to compute",
    "RNN041": "not constant",
    "RNN042": "not causal",
    "RNN043": "name of a gradient",
}
