"""Going through a tree, or through marks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from rnnc.source import Span


def nodes(part: object) -> Iterator[object]:
    """Every node, the part itself first, in the order of the text."""
    stack = [part]
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, tuple):
            stack += reversed(node)
        elif is_dataclass(node) and not isinstance(node, Span | type):
            stack += [getattr(node, f.name) for f in reversed(fields(node))]
