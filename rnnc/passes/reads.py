"""Reads as arrays: a value at other steps, at one step, or outside of its steps."""

from __future__ import annotations

from rnnc.graph.edges import ZERO
from rnnc.graph.system import System, Value
from rnnc.graph.types import FIRST, LAST, Index, Read, whole
from rnnc.passes.arrays import Arrays, Operand
from rnnc.source import InternalError


class Reads:
    """The array of every read, made on first use. ``done`` holds those that exist; whoever
    computes a value puts it there."""

    def __init__(self, system: System, arrays: Arrays):
        self.system = system
        self.arrays = arrays
        self.done: dict[tuple[str, tuple[tuple[str, Index], ...]], str] = {}

    def operand(self, array: str, r: Read, within: tuple[str, ...]) -> Operand:
        """A read as an operand, inside loops over ``within``."""
        axes = self.system.ordered(a for a in self.system.read_axes(r) if a not in within)
        return Operand(array, axes, self.system.values[r.source].type.rank)

    def whole(self, r: Read) -> str:
        """The array of a read, over all steps of the reader's axes."""
        key = (r.source, r.at)
        if key not in self.done:
            self.done[key] = self._materialise(r)
        return self.done[key]

    def _materialise(self, r: Read) -> str:
        source = self.system.values[r.source]
        array = self.whole(Read(r.source))
        if not r.at:
            raise InternalError(f"{r.source} is read before it is computed")
        if len(r.at) > 1:
            raise InternalError("reads along several axes")
        ((axis, index),) = r.at
        if index.base == axis:
            return self._shift(source, array, axis, whole(index.offset))
        if not index.fixed:
            raise InternalError("a read of another axis")
        return self._step(source, array, axis, index)

    def _shift(self, source: Value, array: str, axis: str, by: int) -> str:
        """The array of ``source`` at ``t + by``."""
        inner = tuple(a for a in source.axes if a != axis)
        base, sign = (FIRST, -1) if by < 0 else (LAST, 1)
        edges = [
            self.edge(source, axis, Index(base, sign * (i + 1)), inner) for i in range(abs(by))
        ]
        return self.arrays.emit(
            f"{source.name}[{axis}{by:+d}]",
            "shift",
            (array, *edges),
            self.arrays.types[array].dims,
            source.type.kind,
            source.origins,
            by=by,
        )

    def edge(self, source: Value, axis: str, step: Index, inner: tuple[str, ...]) -> str:
        """What stands outside the steps, as a full array over the other axes."""
        bound = source.bound_at(axis, step)
        if bound is None:
            operand = Operand(self.arrays.constant(ZERO[source.type.kind]), (), 0)
        else:
            operand = self.operand(self.whole(bound), bound, ())
        return self.arrays.stretch(operand, inner, source.type)

    def _step(self, source: Value, array: str, axis: str, index: Index) -> str:
        """One step of ``source``: ``h[T]``, ``x[1]``, ``h[0]``, ``h[T-1]``."""
        offset = whole(index.offset)
        inner = tuple(a for a in source.axes if a != axis)
        size = self.system.axes[axis].size
        position: int | None = None
        if size is not None:
            position = offset if index.base == FIRST else whole(size) - 1 + offset
            if position < 0:
                return self.edge(source, axis, Index(FIRST, position), inner)
            if position >= whole(size):
                return self.edge(source, axis, Index(LAST, position - whole(size) + 1), inner)
        elif (index.base == FIRST and offset < 0) or (index.base == LAST and offset > 0):
            return self.edge(source, axis, index, inner)
        elif offset:
            # how many steps there are is not known: shifted first, so that a short sequence
            # finds its boundary
            array = self.whole(Read(source.name, ((axis, Index(axis, offset)),)))
        if position is None:
            position = 0 if index.base == FIRST else -1
        text = {0: "1", -1: self.system.axes[axis].length}.get(position, str(position + 1))
        dims = self.arrays.types[array].dims
        place = source.axes.index(axis)
        return self.arrays.emit(
            f"{array}[{text}]",
            "pick",
            (array,),
            dims[:place] + dims[place + 1 :],
            source.type.kind,
            source.origins,
            index=position,
            dim=place,
        )
