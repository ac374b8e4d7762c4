"""One equation as operations on whole arrays: ranks aligned, products as ``matmul``.

This is the last step before a Plan: it knows how arrays are laid out (time axes, ``batch``,
features) and nothing of recurrences, but for one rule: inside a loop, a statement that reads
nothing of the loop is put before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rnnc.graph.ops import MAPS
from rnnc.graph.system import Value
from rnnc.graph.types import Array, Kind, Size, Type, whole
from rnnc.passes.plan import ArrayType, Compute, Extent, Statement
from rnnc.source import InternalError, Span

Axes = tuple[str, ...]


@dataclass(frozen=True)
class Operand:
    """An array as an operand: the axes it varies over here, in order, and its feature rank."""

    array: str
    axes: Axes
    rank: int


class Arrays:
    """The arrays made so far, and the statements that make them."""

    def __init__(self, extents: Mapping[str, Extent]):
        self.extents = extents
        self.types: dict[str, ArrayType] = {}
        self.statements: list[Statement] = []  # outside of loops
        self.body: list[Compute] | None = None  # of the loop being made
        self.locals: set[str] = set()  # what is made in that body
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
        """Add a statement, in the loop's body only where it reads something of the loop."""
        target = self.name(base)
        self.types[target] = ArrayType(tuple(dims), kind)
        statement = Compute(target, op, tuple(args), tuple(attrs.items()), origins)
        if self.body is not None and not self.locals.isdisjoint(args):
            self.locals.add(target)
            self.body.append(statement)
        else:
            self.statements.append(statement)
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

    # ---------------------------------------------------------------- equations

    def lower(self, target: str, value: Value, operands: Sequence[Operand], axes: Axes) -> None:
        """Add the statements that compute ``value`` over ``axes`` into the array ``target``."""
        dims = self.dims(axes, value.type.shape)

        def emit(op: str, *args: str, **attrs: Hashable) -> str:
            return self.emit(target, op, args, dims, value.type.kind, value.origins, **attrs)

        if value.op in MAPS and value.op not in ("copy", "stop_gradient"):
            made = emit(value.op, *(self.align(o, axes, value.type.rank) for o in operands))
        else:
            made = _RULES[value.op](self, emit, value, list(operands), axes)
        if made != target:
            emit("copy", made)

    def operand_type(self, operand: Operand) -> tuple[Extent, ...]:
        """The feature dimensions of an operand."""
        dims = self.types[operand.array].dims
        return dims[len(dims) - operand.rank :]


Emit = Callable[..., str]
Rule = Callable[[Arrays, Emit, Value, list[Operand], Axes], str]


def _copy(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    return a.stretch(o[0], axes, v.type)


def _constant(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    return emit("constant", value=v.attr("value"))


def _size(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    return emit("constant", value=whole(v.attr("size")))


def _arange(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    return emit("constant", value=Array(np.arange(whole(v.attr("size")))))


def _eye(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    return emit("constant", value=Array(np.eye(whole(v.attr("size")))))


def _axis_leaf(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    return emit(v.op, axis=v.attr("axis"))


def _contract(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    """A product of two operands.

    Most are a ``matmul``: a weight matrix is brought to the right, transposed once, so that
    all steps and sequences are its rows.
    """
    left, right = o
    letters, other, out = v.attr("left"), v.attr("right"), v.attr("out")
    if v.attr("over"):
        return _summed_outer(a, emit, v, o, axes) or _einsum(a, emit, v, o, axes)
    if len(letters) == 1 and len(other) == 1:
        if out == "":  # dot
            return _dot(a, emit, left, right, axes)
        if out[0] != letters:
            left, right = right, left
        column = Operand(_feature(a, left, 1), left.axes, 2)  # outer
        row = Operand(_feature(a, right, 0), right.axes, 2)
        return emit("mul", a.align(column, axes, 2), a.align(row, axes, 2))
    if len(letters) + len(other) == 3 and len(out) == 1:
        matrix, vector = (left, right) if len(letters) == 2 else (right, left)
        shape = letters if len(letters) == 2 else other
        turned = matrix.array if shape[1] == out else a.swap_last(matrix.array)
        if not matrix.axes:  # vector [.., j] @ [j, i]
            return emit("matmul", vector.array, turned)
        row = Operand(_feature(a, vector, 0), vector.axes, 2)
        matrix = Operand(turned, matrix.axes, 2)
        pieces = (a.align(row, axes, 2), a.align(matrix, axes, 2))
        dims = a.dims(axes, v.type.shape)
        product = a.emit(f"{v.name}:row", "matmul", pieces, (*dims[:-1], 1, dims[-1]))
        return emit("squeeze", product, at=(len(axes),))
    if len(letters) == len(other) == len(out) == 2:
        (summed,) = set(letters) & set(other)
        if out[0] not in letters:
            left, right, letters, other = right, left, other, letters
        first = left.array if letters[1] == summed else a.swap_last(left.array)
        second = right.array if other[0] == summed else a.swap_last(right.array)
        return emit(
            "matmul",
            a.align(Operand(first, left.axes, 2), axes, 2),
            a.align(Operand(second, right.axes, 2), axes, 2),
        )
    return _einsum(a, emit, v, o, axes)


def _summed_outer(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str | None:
    """The outer products of two vectors, summed over all steps and sequences: the gradient of a
    weight matrix, as one product; None where it is something else."""
    letters, over = (v.attr("left"), v.attr("right")), set(v.over)
    if axes or sorted(map(len, letters)) != [1, 1] or letters[0] == letters[1]:
        return None
    both = set(o[0].axes) & set(o[1].axes)
    if set(o[0].axes) | set(o[1].axes) != over or not both or len(v.attr("out")) != 2:
        return None
    arrays = []
    for operand in o if v.attr("out") == "".join(letters) else o[::-1]:
        alone = tuple(i for i, x in enumerate(operand.axes) if x not in both)
        array = operand.array
        if alone:  # what the other does not vary over is summed first
            dims = a.types[array].dims
            rest = [d for i, d in enumerate(dims) if i not in alone]
            array = a.emit(f"{array}:sum", "sum", (array,), rest, dims=alone)
        arrays.append(array)
    return emit("crossprod", *arrays)


def _feature(a: Arrays, operand: Operand, before: int) -> str:
    """A vector as a matrix of one row (``before`` 0) or one column (1)."""
    return a.unsqueeze(operand.array, (len(a.types[operand.array].dims) - 1 + before,))


def _dot(a: Arrays, emit: Emit, left: Operand, right: Operand, axes: Axes) -> str:
    if not right.axes or not left.axes:
        many, one = (left, right) if not right.axes else (right, left)
        return emit("matmul", many.array, one.array)
    n = a.operand_type(left)
    dims = (*a.dims(axes, ()), *n)
    product = a.emit(
        f"{left.array}:product", "mul", (a.align(left, axes, 1), a.align(right, axes, 1)), dims
    )
    return emit("sum", product, dims=(len(axes),))


def _einsum(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    names: dict[str, str] = {}
    for axis in (*o[0].axes, *o[1].axes):
        names.setdefault(axis, chr(ord("A") + len(names)))
    sides = [
        "".join(names[x] for x in operand.axes) + v.attr(side)
        for operand, side in zip(o, ("left", "right"), strict=True)
    ]
    out = "".join(names[x] for x in axes) + v.attr("out")
    return emit("einsum", o[0].array, o[1].array, equation=f"{sides[0]},{sides[1]}->{out}")


def _transpose(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    n = len(axes)
    return emit("permute", o[0].array, order=(*range(n), n + 1, n))


def _diag(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    return emit("diag", o[0].array)


def _concat(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    parts = []
    for operand in o:
        if operand.rank == 0:
            array = a.unsqueeze(operand.array, (len(operand.axes),))
            operand = Operand(array, operand.axes, 1)
        shape = a.operand_type(operand)
        parts.append(a.stretch(operand, axes, Type(v.type.kind, shape)))  # type: ignore[arg-type]
    return emit("concat", *parts, dim=len(axes))


def _slice(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    start, stop = whole(v.attr("start")), whole(v.attr("stop"))
    return emit("slice", o[0].array, dim=len(axes), start=start, stop=stop)


def _repeat(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    return emit("repeat", o[0].array, count=whole(v.attr("count")))


def _onehot(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    return emit("onehot", o[0].array, size=whole(v.attr("size")))


def _scatter(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    rows, index = o
    if axes or set(v.over) != {*rows.axes, *index.axes}:
        raise InternalError(f"{v.name} keeps an axis")
    full = rows.axes if len(rows.axes) >= len(index.axes) else index.axes
    values = a.stretch(rows, full, Type("real", v.type.shape[1:]))
    places = a.stretch(index, full, Type("index"))
    return emit("scatter", values, places, size=whole(v.attr("size")))


def _gather(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    table, index = o
    if not table.axes:
        return emit("take", table.array, index.array)
    rows, *rest = a.operand_type(table)  # the rows go last, where take_along looks
    n, r = len(axes), table.rank
    entries = a.stretch(table, axes, Type(v.type.kind, (rows, *rest)))  # type: ignore[arg-type]
    entries = a.permute(entries, (*range(n), *range(n + 1, n + r), n))
    places = a.stretch(index, axes, Type("index", v.type.shape))
    last = n + len(rest)
    chosen = a.emit(
        f"{v.name}:entry",
        "take_along",
        (entries, a.unsqueeze(places, (last,))),
        (*a.dims(axes, v.type.shape), 1),
        v.type.kind,
    )
    return emit("squeeze", chosen, at=(last,))


def _reduced(v: Value, operand: Operand) -> tuple[int, ...]:
    """The dimensions that a reduction removes: of its axis, or of all features."""
    over = v.attr("over")
    if over:
        return tuple(operand.axes.index(x) for x in over)
    n = len(operand.axes)
    return tuple(range(n, n + operand.rank))


def _reduce(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    where = _reduced(v, o[0])
    return emit(v.op, o[0].array, dims=where) if where else o[0].array


def _flat(a: Arrays, v: Value, operand: Operand) -> tuple[str, int]:
    """The operand with what is reduced in one dimension, and that dimension."""
    where = _reduced(v, operand)
    if not where:
        return a.unsqueeze(operand.array, (len(operand.axes),)), len(operand.axes)
    if len(where) == 1:
        return operand.array, where[0]
    dims = a.types[operand.array].dims
    total = int(np.prod([d for d in dims[where[0] :] if isinstance(d, int)]))
    return a.once("reshape", (operand.array,), (*dims[: where[0]], total)), where[0]


def _argmax(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    array, dim = _flat(a, v, o[0])
    if not v.attr("over"):
        return emit("argmax", array, dim=dim)
    position = a.emit(
        f"{v.name}:place", "argmax", (array,), a.dims(axes, v.type.shape), "index", dim=dim
    )
    return emit("add", position, a.constant(1))  # steps count from 1


def _softmax(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    array, dim = _flat(a, v, o[0])
    if a.types[array].dims == a.dims(axes, v.type.shape):
        return emit(v.op, array, dim=dim)
    flat = a.emit(f"{v.name}:flat", v.op, (array,), a.types[array].dims, dim=dim)
    return emit("reshape", flat)


def _logsumexp(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    """Relative to the largest term, so that nothing overflows."""
    array, dim = _flat(a, v, o[0])
    dims = a.types[array].dims
    one = (*dims[:dim], 1, *dims[dim + 1 :])
    less = (*dims[:dim], *dims[dim + 1 :])
    top = a.emit(f"{v.name}:top", "max", (array,), one, dims=(dim,), keep=True)
    size = a.emit(f"{v.name}:size", "abs", (top,), one)
    finite = a.emit(f"{v.name}:is_finite", "lt", (size, a.constant(math.inf)), one, "flag")
    top = a.emit(f"{v.name}:finite", "where", (finite, top, a.constant(0.0)), one)
    shifted = a.emit(f"{v.name}:shifted", "sub", (array, top), dims)
    terms = a.emit(f"{v.name}:terms", "exp", (shifted,), dims)
    total = a.emit(f"{v.name}:total", "sum", (terms,), less, dims=(dim,))
    log = a.emit(f"{v.name}:log", "log", (total,), less)
    return emit("add", log, a.emit(f"{v.name}:top", "squeeze", (top,), less, at=(dim,)))


def _stack(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    axis = v.attr("axis")
    inner = tuple(x for x in axes if x != axis)
    return emit("stack", *(a.stretch(x, inner, v.type) for x in o), dim=axes.index(axis))


_RULES: dict[str, Rule] = {
    "copy": _copy,
    "stop_gradient": _copy,
    "broadcast": _copy,
    "constant": _constant,
    "size": _size,
    "arange": _arange,
    "eye": _eye,
    "step": _axis_leaf,
    "length": _axis_leaf,
    "contract": _contract,
    "transpose": _transpose,
    "diag": _diag,
    "concat": _concat,
    "slice": _slice,
    "repeat": _repeat,
    "onehot": _onehot,
    "gather": _gather,
    "scatter": _scatter,
    "sum": _reduce,
    "max": _reduce,
    "min": _reduce,
    "argmax": _argmax,
    "softmax": _softmax,
    "log_softmax": _softmax,
    "logsumexp": _logsumexp,
    "stack": _stack,
}
