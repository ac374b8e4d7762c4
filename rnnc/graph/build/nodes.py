"""Resolved expressions: names are looked up, sugar is gone, shapes are still to be found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rnnc.graph.types import Index, Kind, Size
from rnnc.source import Span

if TYPE_CHECKING:
    from rnnc.graph.build.scope import Variable


@dataclass(eq=False, slots=True)
class Node:
    """One operation of an expression.

    ``op`` is ``number dim step length training`` (leaves), ``read`` (of ``variable``), ``map``
    (elementwise ``attrs["f"]``), ``product transpose concat part slice repeat gather onehot
    arange eye outer dot diag reduce stop_gradient``, or ``bad`` (reported already).
    ``axes`` are the time axes it varies over; ``shape`` and ``kind`` are filled by inference.
    """

    op: str
    span: Span
    args: tuple[Node, ...] = ()
    attrs: dict[str, Any] = field(default_factory=dict)
    variable: Variable | None = None
    at: tuple[tuple[str, Index], ...] = ()
    axes: frozenset[str] = frozenset()
    own_shape: tuple[Size, ...] | None = None
    own_kind: Kind | None = None

    @property
    def shape(self) -> tuple[Size, ...] | None:
        return self.variable.shape if self.variable else self.own_shape

    @shape.setter
    def shape(self, shape: tuple[Size, ...]) -> None:
        if self.variable:
            self.variable.shape = shape
        else:
            self.own_shape = shape

    @property
    def kind(self) -> Kind | None:
        return self.variable.kind if self.variable else self.own_kind

    @property
    def rank(self) -> int | None:
        return None if self.shape is None else len(self.shape)

    @property
    def bad(self) -> bool:
        return self.op == "bad" or (self.variable is not None and self.variable.bad)

    @property
    def whole(self) -> int | None:
        """The number, where it is a whole one that is written as such."""
        if self.op == "map" and self.attrs["f"] == "neg":
            number = self.args[0].whole
            return None if number is None else -number
        value = self.attrs["value"] if self.op == "number" else None
        return value if isinstance(value, int) else None

    @property
    def is_row(self) -> bool:
        """Whether it is a transposed vector: ``v.T``, ``v.T W``."""
        if self.op == "transpose":
            return self.args[0].rank == 1
        if self.op == "product":
            left, right = self.args
            return left.is_row and right.rank == 2
        return False

    @property
    def is_entries(self) -> bool:
        """Whether it is a product of two vectors, entry by entry, as LaTeX writes it."""
        plain = all(a.rank == 1 and not a.is_row for a in self.args)
        return self.op == "product" and bool(self.attrs["entries"]) and plain

    @property
    def is_row_product(self) -> bool:
        """Whether it is a vector before a matrix, which in LaTeX is a row: ``x_t W``."""
        if self.op != "product" or not self.attrs["entries"]:
            return False
        left, right = self.args
        return left.rank == 1 and not left.is_row and right.rank == 2


def walk_nodes(roots: list[Node]) -> list[Node]:
    """All nodes below the roots, operands before their readers, each once."""
    order: list[Node] = []
    seen: set[int] = set()
    for root in roots:
        stack: list[tuple[Node, bool]] = [(root, False)]
        while stack:
            node, done = stack.pop()
            if done:
                order.append(node)
            elif id(node) not in seen:
                seen.add(id(node))
                stack.append((node, True))
                stack.extend((arg, False) for arg in reversed(node.args))
    return order
