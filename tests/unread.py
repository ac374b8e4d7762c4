"""Random specs write boundaries without looking who reads them; those that nothing reads are taken
out again."""

from __future__ import annotations

from rnnc.graph.build import build
from rnnc.source import Source, SpecError
from rnnc.syntax.parse import parse


def without_unread(text: str) -> str:
    """The spec without its boundaries that are refused as RNN027; other errors stay."""
    while True:
        try:
            build(parse(Source(text)).models[-1])
            return text
        except SpecError as error:
            lines = {d.span.line for d in error.diagnostics if d.code == "RNN027" and d.span}
        if not lines:
            return text
        kept = enumerate(text.splitlines(), 1)
        text = "\n".join(line for number, line in kept if number not in lines)
