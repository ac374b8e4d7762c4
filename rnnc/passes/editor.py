"""Changing a System in place of many small copies: a helper of the passes.

It answers who reads a value, takes sums apart into terms, and adds values with types and axes
found from their operands.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from rnnc.graph.ops import NORMALISING, OPS
from rnnc.graph.system import System, Value, fresh, read_axes
from rnnc.graph.types import Attrs, Read, Type
from rnnc.source import Span

SIGNS = {"add": (1, 1), "sub": (1, -1)}
MATRIX_VECTOR: Attrs = (("left", "ij"), ("right", "j"), ("out", "i"), ("over", ()))


@dataclass(frozen=True)
class Term:
    """One summand: its sign and where it is read."""

    sign: int
    read: Read


class Editor:
    """A system being changed. ``system`` stays what it was; ``values`` is what it becomes."""

    def __init__(self, system: System):
        self.system = system
        self.values = dict(system.values)
        self.added: dict[str, Value] = {}

    def result(self) -> System:
        """The changed system without what nothing needs any more; new values come first, since
        they are made of what is older than their readers."""
        if self.values == self.system.values:
            return self.system
        kept = (v for n, v in self.values.items() if n not in self.added)
        return self.system.with_values([*self.added.values(), *kept]).pruned()

    # ---------------------------------------------------------------- looking

    def readers(self, name: str) -> list[tuple[Value, Read]]:
        """Who reads a value, and how, in the system as it was."""
        return list(self.system.readers[name])

    def private(self, r: Read) -> bool:
        """Whether an operand is computed for one reader alone, at the reader's own step."""
        source = self.values[r.source]
        return (
            not r.at
            and not source.bounds
            and source.name not in self.system.results
            and len(self.system.readers.get(source.name, ())) == 1
        )

    def is_root(self, value: Value, ops: Collection[str]) -> bool:
        """Whether a sum (or product) is not itself a part of a larger one."""
        if not self.private(Read(value.name)):
            return True
        reader, r = self.readers(value.name)[0]
        return bool(r.at) or reader.op not in ops or reader.axes != value.axes

    def terms(self, value: Value) -> list[Term]:
        """The summands of a sum, in no particular order."""
        out: list[Term] = []
        todo = [(1, value)]
        while todo:
            sign, v = todo.pop()
            for factor, r in zip(SIGNS[v.op], v.reads, strict=True):
                inner = self.values[r.source]
                if inner.op in SIGNS and inner.axes == value.axes and self.private(r):
                    todo.append((sign * factor, inner))
                else:
                    out.append(Term(sign * factor, r))
        return out

    def type(self, r: Read) -> Type:
        return self.values[r.source].type

    def axes(self, r: Read) -> tuple[str, ...]:
        """The reader's axes over which an operand varies."""
        return read_axes(self.values[r.source].axes, r)

    def matrix_vector(self, value: Value) -> tuple[Read, Read] | None:
        """The matrix and the vector of a product ``W v`` with a W that never changes."""
        if value.op != "contract" or value.attrs != MATRIX_VECTOR:
            return None
        matrix, vector = value.reads
        return (matrix, vector) if not self.values[matrix.source].axes else None

    # ---------------------------------------------------------------- changing

    def make(
        self,
        base: str,
        op: str,
        reads: Sequence[Read],
        attrs: Attrs = (),
        origins: tuple[Span, ...] = (),
    ) -> Read:
        """Add a value under a new name; its type and axes follow from its operands."""
        name = fresh(base, self.values)
        sources = [self.values[r.source] for r in reads]
        made = derived(self.system, name, op, reads, sources, attrs, origins)
        self.values[name] = self.added[name] = made
        return Read(name)

    def change(self, name: str, op: str, reads: Sequence[Read], attrs: Attrs = ()) -> None:
        """Compute a value in another way."""
        self.values[name] = replace(self.values[name], op=op, reads=tuple(reads), attrs=attrs)

    def total(self, base: str, terms: Sequence[Term], origins: tuple[Span, ...]) -> Read:
        """The sum of some terms, those over fewer axes first."""
        order = sorted(terms, key=lambda t: (t.sign < 0, len(self.axes(t.read))))
        total = order[0].read
        if order[0].sign < 0:
            total = self.make(base, "neg", (total,), (), origins)
        for term in order[1:]:
            op = "add" if term.sign > 0 else "sub"
            total = self.make(base, op, (total, term.read), (), origins)
        return total

    def redefine(self, name: str, r: Read, others: Sequence[Term]) -> None:
        """Give a value anew as what ``r`` reads plus the other terms."""
        origins = self.values[name].origins
        for i, term in enumerate(others):
            op = "add" if term.sign > 0 else "sub"
            if i == len(others) - 1:
                self.change(name, op, (r, term.read))
                return
            r = self.make(f"{name}.sum", op, (r, term.read), (), origins)
        self.change(name, "copy", (r,))


def derived(
    system: System,
    name: str,
    op: str,
    reads: Sequence[Read],
    sources: Sequence[Value],
    attrs: Attrs,
    origins: tuple[Span, ...],
) -> Value:
    """A value whose type and axes follow from the values that it reads, its ``sources``."""
    given = dict(attrs)
    type_ = OPS[op].rule([v.type for v in sources], given)
    axes = {a for v, r in zip(sources, reads, strict=True) for a in read_axes(v.axes, r)}
    if op not in NORMALISING:
        axes -= set(given.get("over", ()))  # type: ignore[call-overload]
    if op == "step":
        axes = {str(given["axis"])}
    return Value(name, op, tuple(reads), type_, system.ordered(axes), attrs, (), origins)
