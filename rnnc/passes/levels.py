"""The arrays of reads, level by level: outside of all loops, in the body of one, in one inside it.

A read finds its array where its operand is computed; each loop further in takes one step of it.
"""

from __future__ import annotations

from rnnc.graph.cycles import Recurrence
from rnnc.graph.edges import ZERO
from rnnc.graph.system import System, Value
from rnnc.graph.types import FIRST, LAST, Index, Read, whole
from rnnc.passes.arrays import Arrays, Block, Operand
from rnnc.passes.plan import ArrayType
from rnnc.source import InternalError

Key = tuple[str, tuple[tuple[str, Index], ...]]


class Level:
    """The outermost level (no ``loop``), or the body of a loop in ``parent``.

    ``done`` has the arrays of reads that exist here; whoever computes a value puts it there.
    ``states`` are the carried values, by name and how many steps back, ``scanned`` what the loop
    takes step by step: the array outside of each name inside.
    """

    def __init__(
        self,
        system: System,
        arrays: Arrays,
        block: Block,
        loop: Recurrence | None = None,
        parent: Level | None = None,
    ):
        self.system = system
        self.arrays = arrays
        self.block = block
        self.loop = loop
        self.parent = parent
        self.done: dict[Key, str] = {}
        self.states: dict[tuple[str, int], str] = {}
        self.scanned: dict[str, str] = {}
        outer = parent.within if parent else ()
        self.within: tuple[str, ...] = (*outer, loop.axis) if loop else outer

    # ---------------------------------------------------------------- forms

    def axes(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        """Those that arrays have here: the loops' own are at one step."""
        return tuple(a for a in axes if a not in self.within)

    def local(self, name: str) -> str:
        """What the array of a value is called here."""
        return f"{name}[{','.join(self.within)}]" if self.loop else name

    def declare(self, array: str, value: Value) -> str:
        """Give an array the form that a value has here."""
        dims = self.arrays.dims(self.axes(value.axes), value.type.shape)
        self.arrays.types[array] = ArrayType(dims, value.type.kind)
        self.block.locals.add(array)
        return array

    def operand(self, r: Read) -> Operand:
        """A read as an operand, with the axes that it has here."""
        axes = self.axes(self.system.ordered(self.system.read_axes(r)))
        return Operand(self.array(r), axes, self.system.values[r.source].type.rank)

    # ---------------------------------------------------------------- reads

    def array(self, r: Read) -> str:
        """The array of a read, over all steps of the axes that are no loop here."""
        key = (r.source, r.at)
        if key not in self.done:
            self.done[key] = self._found(r)
        return self.done[key]

    def _found(self, r: Read) -> str:
        if self.parent is None or self.loop is None:
            return self._moved(r)
        axis, source = self.loop.axis, self.system.values[r.source]
        further_out = any(r.index(a) != Index(a) for a in self.parent.within if a in source.axes)
        if r.source in self.loop.members and not further_out:
            offset = whole(r.index(axis).offset)
            return self.states[r.source, abs(offset)] if offset else self._moved(r)
        axes = self.parent.axes(self.system.ordered(self.system.read_axes(r)))
        array = self.parent.array(r)
        return self._step_of(r, array, axes.index(axis)) if axis in axes else array

    def _step_of(self, r: Read, array: str, dim: int) -> str:
        """What the loop takes of an array at each step."""
        arrays = self.arrays
        rank = len(arrays.types[array].dims)
        front = (dim, *(i for i in range(rank) if i != dim))
        outside = arrays.permute(array, front)
        name = arrays.name(f"{_text(r)}[{','.join(self.within)}]")
        type_ = arrays.types[outside]
        arrays.types[name] = ArrayType(type_.dims[1:], type_.kind)
        self.scanned[name] = outside
        self.block.locals.add(name)
        return name

    def _moved(self, r: Read) -> str:
        """The array of a value at other steps, from that of all its steps."""
        source = self.system.values[r.source]
        if not r.at:
            raise InternalError(f"{r.source} is read before it is computed")
        array = self.array(Read(r.source))
        if all(not i.fixed and i.offset == 0 for _, i in r.at):
            return self._renamed(r, source, array)
        if len(r.at) > 1:
            raise InternalError(f"a read of {r.source} moves along several axes")
        ((axis, index),) = r.at
        if index.base == axis:
            return self._shifted(source, array, axis, whole(index.offset))
        if not index.fixed:
            raise InternalError(f"a read of {r.source} moves and renames an axis")
        return self._picked(source, array, axis, index)

    def _renamed(self, r: Read, source: Value, array: str) -> str:
        """The same array, its dimensions in the order that the reader's axes have."""
        mine = self.axes(source.axes)
        read_as = [r.index(a).base for a in mine]
        wanted = self.system.ordered(read_as)
        order = [read_as.index(a) for a in wanted]
        rank = len(self.arrays.types[array].dims)
        moved = self.arrays.permute(array, (*order, *range(len(mine), rank)))
        dims = self.arrays.dims(self.axes(wanted), source.type.shape)
        if self.arrays.types[moved].dims == dims:
            return moved
        return self.arrays.emit(_text(r), "copy", (moved,), dims, source.type.kind)

    def _shifted(self, source: Value, array: str, axis: str, by: int) -> str:
        """The array of ``source`` at ``t + by``."""
        base, sign = (FIRST, -1) if by < 0 else (LAST, 1)
        edges = [self.edge(source, axis, Index(base, sign * (i + 1))) for i in range(abs(by))]
        return self.arrays.emit(
            f"{array}[{axis}{by:+d}]",
            "shift",
            (array, *edges),
            self.arrays.types[array].dims,
            source.type.kind,
            source.origins,
            by=by,
            dim=self.axes(source.axes).index(axis),
        )

    def edge(self, source: Value, axis: str, step: Index) -> str:
        """What stands outside the steps of an axis, as a full array over the others."""
        inner = tuple(a for a in self.axes(source.axes) if a != axis)
        bound = source.bound_at(axis, step)
        if bound is None:
            operand = Operand(self.arrays.constant(ZERO[source.type.kind]), (), 0)
        else:
            operand = self.operand(bound)
        return self.arrays.stretch(operand, inner, source.type)

    def _picked(self, source: Value, array: str, axis: str, index: Index) -> str:
        """One step of ``source``: ``h[T]``, ``x[1]``, ``h[0]``, ``h[T-1]``."""
        offset = whole(index.offset)
        size = self.system.axes[axis].size
        position: int | None = None
        if size is not None:
            position = offset if index.base == FIRST else whole(size) - 1 + offset
            if position < 0:
                return self.edge(source, axis, Index(FIRST, position))
            if position >= whole(size):
                return self.edge(source, axis, Index(LAST, position - whole(size) + 1))
        elif (index.base == FIRST and offset < 0) or (index.base == LAST and offset > 0):
            return self.edge(source, axis, index)
        elif offset:
            # how many steps there are is not known: shifted first, so that a short sequence
            # finds its boundary
            array = self.array(Read(source.name, ((axis, Index(axis, offset)),)))
        if position is None:
            position = 0 if index.base == FIRST else -1
        text = {0: "1", -1: self.system.axes[axis].length}.get(position, str(position + 1))
        dims = self.arrays.types[array].dims
        place = self.axes(source.axes).index(axis)
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


def _text(r: Read) -> str:
    """A read as the name of an array: ``h``, ``h[t-1]``, ``h[u]``."""
    steps = "".join(
        f"[{'1' if i.base == FIRST else 'T' if i.base == LAST else i.base}"
        f"{f'{whole(i.offset):+d}' if i.offset else ''}]"
        for _, i in r.at
    )
    return f"{r.source}{steps}"
