"""The arrays of a Plan while it is made: time axes first, then ``batch``, then features.

Nothing is known of recurrences here, but for one rule: a statement that reads nothing of a loop
is put before it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from rnnc.graph.system import Value
from rnnc.graph.types import Kind, Size, Type, whole
from rnnc.passes.plan import ArrayType, Compute, Extent, Statement
from rnnc.source import InternalError, Span

Axes = tuple[str, ...]


@dataclass(frozen=True)
class Operand:
    """An array as an operand: the axes it varies over here, in order, and its feature rank."""

    array: str
    axes: Axes
    rank: int


@dataclass
class Block:
    """The statements of one level, outside of all loops or in the body of one, and the arrays
    that are made there."""

    statements: list[Statement] = field(default_factory=list)
    locals: set[str] = field(default_factory=set)


class Arrays:
    """The arrays made so far, and the statements that make them: ``blocks`` are the outermost
    one and the bodies of the loops being made, from the outside inwards."""

    def __init__(self, extents: Mapping[str, Extent]):
        self.extents = extents
        self.types: dict[str, ArrayType] = {}
        self.blocks = [Block()]
        self._memo: dict[Hashable, str] = {}

    # ---------------------------------------------------------------- bookkeeping

    def dims(self, axes: Sequence[str], shape: Sequence[Size]) -> tuple[Extent, ...]:
        """The dimensions of an array over ``axes`` with features ``shape``."""
        return (*(self.extents[a] for a in axes), *(whole(s) for s in shape))

    def name(self, base: str) -> str:
        """A new array name; ``base`` itself where it is free."""
        if base not in self.types:
            return base
        count = 1
        while f"{base}~{count}" in self.types:
            count += 1
        return f"{base}~{count}"

    def emit(
        self,
        base: str,
        op: str,
        args: Sequence[str],
        dims: Sequence[Extent],
        kind: Kind = "real",
        origins: tuple[Span, ...] = (),
        /,
        **attrs: Hashable,
    ) -> str:
        """Add a statement, in a loop's body only where it reads something of that loop."""
        target = self.name(base)
        self.types[target] = ArrayType(tuple(dims), kind)
        inner = (b for b in reversed(self.blocks) if not b.locals.isdisjoint(args))
        block = next(inner, self.blocks[0])
        block.locals.add(target)
        block.statements.append(Compute(target, op, tuple(args), tuple(attrs.items()), origins))
        return target

    def once(
        self, op: str, args: Sequence[str], dims: Sequence[Extent], /, **attrs: Hashable
    ) -> str:
        """Like :meth:`emit`, but the same operation on the same arrays is made only once."""
        key = (op, tuple(args), tuple(dims), tuple(attrs.items()))
        known = self._memo.get(key)
        if known is None:
            kind = self.types[args[0]].kind
            known = self.emit(f"{args[0]}:{op}", op, args, dims, kind, **attrs)
            self._memo[key] = known
        return known

    def constant(self, value: float | int | bool) -> str:
        """A scalar constant."""
        key = ("constant", type(value), repr(value))  # 0.0 and -0.0 are two
        if key not in self._memo:
            kinds: dict[type, Kind] = {bool: "flag", int: "index", float: "real"}
            self._memo[key] = self.emit(
                f"const {value}", "constant", (), (), kinds[type(value)], value=value
            )
        return self._memo[key]

    # ---------------------------------------------------------------- alignment

    def align(self, operand: Operand, axes: Axes, rank: int) -> str:
        """The operand with dimensions of 1 for what it lacks, so that it broadcasts against
        arrays over ``axes`` with ``rank`` features. Leading ones are not needed."""
        if operand.rank not in (0, rank):
            raise InternalError(f"{operand.array}: rank {operand.rank} against {rank}")
        if not operand.axes and operand.rank == 0:
            return operand.array
        first = axes.index(operand.axes[0]) if operand.axes else len(axes)
        at = [i - first for i, a in enumerate(axes) if i > first and a not in operand.axes]
        if operand.rank == 0:
            at += [len(axes) - first + i for i in range(rank)]
        return self.unsqueeze(operand.array, at)

    def unsqueeze(self, array: str, at: Sequence[int]) -> str:
        """The array with dimensions of 1 at these positions of the result."""
        if not at:
            return array
        dims = list(self.types[array].dims)
        for p in at:
            dims.insert(p, 1)
        return self.once("unsqueeze", (array,), dims, at=tuple(at))

    def stretch(self, operand: Operand, axes: Axes, type_: Type) -> str:
        """The operand broadcast to all of ``axes`` and the type's shape."""
        dims = self.dims(axes, type_.shape)
        if self.types[operand.array].dims == dims:
            return operand.array
        return self.once("expand", (self.align(operand, axes, type_.rank),), dims)

    def permute(self, array: str, order: Sequence[int]) -> str:
        """The array with its dimensions in another order."""
        if list(order) == list(range(len(order))):
            return array
        dims = self.types[array].dims
        return self.once("permute", (array,), [dims[i] for i in order], order=tuple(order))

    def swap_last(self, array: str) -> str:
        """The array with its last two dimensions exchanged."""
        n = len(self.types[array].dims)
        return self.permute(array, (*range(n - 2), n - 1, n - 2))

    def operand_type(self, operand: Operand) -> tuple[Extent, ...]:
        """The feature dimensions of an operand."""
        dims = self.types[operand.array].dims
        return dims[len(dims) - operand.rank :]


Emit = Callable[..., str]  # adds a statement that makes the array of a value
Rule = Callable[[Arrays, Emit, Value, list[Operand], Axes], str]  # writes a value down with it
