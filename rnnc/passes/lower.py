"""One equation as operations on whole arrays: ranks aligned, products as ``matmul``.

This is the last step before a Plan; see ``arrays`` for how arrays are laid out.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from rnnc.graph.ops import MAPS
from rnnc.graph.system import Value
from rnnc.graph.types import BATCH, Array, Type, whole
from rnnc.passes.along import ALONG
from rnnc.passes.arrays import Arrays, Axes, Emit, Operand, Rule
from rnnc.source import InternalError


def lower(
    arrays: Arrays, target: str, value: Value, operands: Sequence[Operand], axes: Axes
) -> None:
    """Add the statements that compute ``value`` over ``axes`` into the array ``target``."""
    dims = arrays.dims(axes, value.type.shape)

    def emit(op: str, *args: str, **attrs: Hashable) -> str:
        return arrays.emit(target, op, args, dims, value.type.kind, value.origins, **attrs)

    if value.op in MAPS and value.op not in ("copy", "stop_gradient"):
        made = emit(value.op, *(arrays.align(o, axes, value.type.rank) for o in operands))
    else:
        made = _RULES[value.op](arrays, emit, value, list(operands), axes)
    if made != target:
        emit("copy", made)


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
    if out == "" and letters == other and (letters or v.over):
        return _batched(a, emit, v, o, axes) or _dot(a, emit, v, left, right)
    if v.attr("over"):
        made = _summed_outer(a, emit, v, o, axes) or _batched(a, emit, v, o, axes)
        return made or _einsum(a, emit, v, o, axes)
    if "" in (letters, other) and out == letters + other:  # a number times anything
        rank = len(out)
        return emit("mul", a.align(left, axes, rank), a.align(right, axes, rank))
    if len(letters) == 1 and len(other) == 1:
        if out[0] != letters:
            left, right = right, left
        column = Operand(_feature(a, left, 1), left.axes, 2)  # outer
        row = Operand(_feature(a, right, 0), right.axes, 2)
        return emit("mul", a.align(column, axes, 2), a.align(row, axes, 2))
    if len(letters) + len(other) == 3 and len(out) == 1:
        matrix, vector = (left, right) if len(letters) == 2 else (right, left)
        shape = letters if len(letters) == 2 else other
        row = shape[1] == out  # the vector is a row before the matrix, else a column after it
        if not matrix.axes:  # vector [.., j] @ [j, i]
            turned = matrix.array if row else a.swap_last(matrix.array)
            return emit("matmul", vector.array, turned)
        sides = [
            Operand(_feature(a, vector, 0 if row else 1), vector.axes, 2),
            Operand(matrix.array, matrix.axes, 2),
        ]
        pieces = [a.align(x, axes, 2) for x in (sides if row else sides[::-1])]
        dims, n = list(a.dims(axes, v.type.shape)), len(axes)
        place = n if row else n + 1
        name = f"{v.name}:row" if row else f"{v.name}:column"
        product = a.emit(name, "matmul", pieces, (*dims[:place], 1, *dims[place:]))
        return emit("squeeze", product, at=(place,))
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
    if axes or not letters[0] + letters[1] or max(map(len, letters)) > 1:
        return None
    both = set(o[0].axes) & set(o[1].axes)
    if set(o[0].axes) | set(o[1].axes) != over or not both or letters[0] == letters[1]:
        return None
    if sorted(v.attr("out")) != sorted(letters[0] + letters[1]):
        return None
    arrays = []
    for operand in o if v.attr("out") == "".join(letters) else o[::-1]:
        alone = tuple(i for i, x in enumerate(operand.axes) if x not in both)
        array = operand.array
        if alone:  # what the other does not vary over is summed first
            dims = a.types[array].dims
            rest = [d for i, d in enumerate(dims) if i not in alone]
            array = a.emit(f"{array}:sum", "sum", (array,), rest, dims=alone)
        if operand.rank == 0:
            array = a.unsqueeze(array, (len(a.types[array].dims),))
        arrays.append(array)
    if all(letters):
        return emit("crossprod", *arrays)
    sizes = [a.types[x].dims[-1] for x in arrays]
    table = a.emit(f"{v.name}:table", "crossprod", arrays, sizes)
    return emit("squeeze", table, at=(0 if o[0].rank < o[1].rank else 1,))


def _batched(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str | None:
    """A product that sums one dimension, for each step of those that both operands have:
    ``matmul`` of ``[both.., left, summed]`` and ``[both.., summed, right]``; None where it is
    something else."""
    # letters of features are told from the names of axes, which may be i and j as well
    left, right = (
        [*operand.axes, *(f"{x}:feature" for x in v.attr(side))]
        for operand, side in zip(o, ("left", "right"), strict=True)
    )
    out = [*axes, *(f"{x}:feature" for x in v.attr("out"))]
    summed = [d for d in left if d in right and d not in out]
    both = [d for d in out if d in left and d in right]
    mine, other = ([d for d in x if d in out and d not in both] for x in (left, right))
    known = {*summed, *both, *mine, *other}
    if len(summed) != 1 or max(len(mine), len(other)) != 1 or known != {*left, *right}:
        return None  # what both have alone is cheaper as an elementwise product
    if not both and not (mine and other):
        return None
    first = a.permute(o[0].array, [left.index(d) for d in (*both, *mine, *summed)])
    second = a.permute(o[1].array, [right.index(d) for d in (*both, *summed, *other)])
    n = len(both)
    if not mine:
        first = a.unsqueeze(first, (n,))
    if not other:
        second = a.unsqueeze(second, (n + 1,))
    rows, columns = a.types[first].dims[-2], a.types[second].dims[-1]
    made = [*both, *mine, *other]
    dims = a.types[first].dims[:n]
    kind = v.type.kind
    target = f"{v.name}:product"
    product = a.emit(target, "matmul", (first, second), (*dims, rows, columns), kind, v.origins)
    gone = (*([] if mine else [n]), *([] if other else [n + 1]))
    if gone:
        kept = [d for i, d in enumerate(a.types[product].dims) if i not in gone]
        if made == out:
            return emit("squeeze", product, at=gone)
        product = a.emit(f"{v.name}:turned", "squeeze", (product,), kept, kind, at=gone)
    if made == out:
        return product
    return emit("permute", product, order=tuple(made.index(d) for d in out))


def _feature(a: Arrays, operand: Operand, before: int) -> str:
    """A vector as a matrix of one row (``before`` 0) or one column (1)."""
    return a.unsqueeze(operand.array, (len(a.types[operand.array].dims) - 1 + before,))


def _dot(a: Arrays, emit: Emit, v: Value, left: Operand, right: Operand) -> str:
    """The sum of all entries of an elementwise product, perhaps over axes, too."""
    if left.rank == 1 and not v.over and not (left.axes and right.axes):
        many, one = (left, right) if not right.axes else (right, left)
        return emit("matmul", many.array, one.array)
    frame = tuple(x for x in a.extents if x in {*left.axes, *right.axes})
    shape = a.operand_type(left)
    product = a.emit(
        f"{left.array}:product",
        "mul",
        (a.align(left, frame, left.rank), a.align(right, frame, right.rank)),
        (*a.dims(frame, ()), *shape),
    )
    over = [i for i, x in enumerate(frame) if x in v.over]
    return emit("sum", product, dims=(*over, *range(len(frame), len(frame) + left.rank)))


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


def _cumsum(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    return emit("cumsum", o[0].array)


def _kth_largest(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    return emit("kth_largest", o[0].array, count=v.attr("count"))


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


def _native(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    """An operator of ONNX: its input over time and batch, its states over the batch, which has a
    dimension of 1 where there is none."""
    given = dict(zip(v.attr("given"), o, strict=True))
    time, batched = v.attr("axis"), BATCH in axes
    frame = {"X": (time, BATCH), "initial_h": (BATCH,), "initial_c": (BATCH,)}
    arrays = []
    for name, operand in given.items():
        if name not in frame:
            arrays.append(operand.array)
        elif batched:
            arrays.append(a.stretch(operand, frame[name], _vector_of(a, operand)))
        else:
            array = operand.array
            if name == "X":
                array = a.stretch(operand, (time,), _vector_of(a, operand))
            arrays.append(a.unsqueeze(array, (len(frame[name]) - 1,)))
    kept = ("kind", "given", "size", "direction", "activations", "after", "result")
    attrs = {name: v.attr(name) for name in kept}
    if batched:
        return emit("native", *arrays, **attrs)
    dims = (*a.dims(axes, ()), 1, *a.dims((), v.type.shape))
    made = a.emit(f"{v.name}:batch", "native", arrays, dims, "real", v.origins, **attrs)
    return emit("squeeze", made, at=(len(axes),))


def _vector_of(a: Arrays, operand: Operand) -> Type:
    (size,) = a.operand_type(operand)
    assert isinstance(size, int)
    return Type("real", (size,))


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
    "cumsum": _cumsum,
    "kth_largest": _kth_largest,
    "sum": _reduce,
    "max": _reduce,
    "min": _reduce,
    "argmax": _argmax,
    "softmax": _softmax,
    "log_softmax": _softmax,
    "logsumexp": _logsumexp,
    "stack": _stack,
    "native": _native,
    **ALONG,
}
