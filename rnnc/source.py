"""Spec text, positions in it, and the diagnostics that point at them.

This is the lowest layer: nothing here imports another module of rnnc.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

CONTEXT_WIDTH = 160  # the most characters of one source line that a message quotes


@dataclass(frozen=True)
class Source:
    """The text of one spec and the name to show for it (a path, or ``<text>``)."""

    text: str
    name: str = "<text>"

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
        """The span from the start of this one to the end of ``other``."""
        return Span(self.source, self.start, max(self.end, other.end))

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Label:
    """A place that belongs to a diagnostic, and what is to be said of it."""

    span: Span
    text: str


@dataclass(frozen=True)
class Diagnostic:
    """One problem in a spec, in the user's words, with its place.

    ``code`` is a key of :data:`CODES`; ``labels`` are further places (the other side of a
    conflict); ``hint`` is a way out.
    """

    code: str
    message: str
    span: Span | None = None
    labels: tuple[Label, ...] = ()
    hint: str | None = None

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise InternalError(f"unknown diagnostic code {self.code}")

    def render(self) -> str:
        """The message as text for a terminal: the line, a caret under the place, the hint."""
        out = [f"error[{self.code}]: {self.message}"]
        places = [Label(self.span, "")] if self.span else []
        places += self.labels
        width = max((len(str(p.span.line)) for p in places), default=1)
        shown: Span | None = None
        for place in places:
            span = place.span
            if shown is None or shown.source is not span.source:
                out.append(f"{' ' * width}--> {span}")
            out.extend(_quote(place, width))
            shown = span
        if self.hint:
            out.append(f"{' ' * width} = hint: {self.hint}")
        return "\n".join(out)

    def as_dict(self) -> dict[str, object]:
        """The diagnostic as plain data, for ``--format json`` and editors."""

        def place(span: Span) -> dict[str, object]:
            line, column = span.source.position(span.start)
            end_line, end_column = span.source.position(span.end)
            return {
                "file": span.source.name,
                "line": line,
                "column": column,
                "end_line": end_line,
                "end_column": end_column,
            }

        return {
            "code": self.code,
            "message": self.message,
            "place": place(self.span) if self.span else None,
            "labels": [{"place": place(x.span), "text": x.text} for x in self.labels],
            "hint": self.hint,
        }


def _quote(place: Label, width: int) -> list[str]:
    span = place.span
    line, column = span.source.position(span.start)
    text = span.source.line(line).replace("\t", " ")
    length = max(1, min(span.end - span.start, len(text) - column + 1))
    cut = 0
    if len(text) > CONTEXT_WIDTH:  # show the neighbourhood of the place, not a megabyte
        cut = max(0, min(column - 1 - CONTEXT_WIDTH // 2, len(text) - CONTEXT_WIDTH))
        text = text[cut : cut + CONTEXT_WIDTH]
        length = min(length, CONTEXT_WIDTH - (column - 1 - cut))
    caret = " " * (column - 1 - cut) + "^" * max(1, length)
    note = f" {place.text}" if place.text else ""
    bar = f"{' ' * width} |"
    return [bar, f"{line:>{width}} | {text}", f"{bar} {caret}{note}"]


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
    # names
    "RNN010": "unknown name",
    "RNN011": "name defined twice",
    "RNN012": "reserved or unusable name",
    "RNN013": "unknown function",
    "RNN014": "wrong arguments of a function",
    "RNN015": "unknown distribution or initialiser",
    "RNN016": "no such model",
    # time
    "RNN020": "wrong time index",
    "RNN021": "index missing or not wanted",
    "RNN022": "strided or computed time index",
    "RNN023": "a cycle within one step",
    "RNN024": "a recurrence in both directions",
    "RNN025": "boundary missing",
    "RNN026": "wrong boundary",
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
    # parsed already, given a meaning by later versions
    "RNN090": "layers",
    "RNN091": "several axes",
    "RNN092": "LaTeX",
    "RNN093": "drawing from an axis",
    "RNN094": "elementwise models of any shape",
}
