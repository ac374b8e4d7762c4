"""Operations that go along an axis as operations on whole arrays: a helper of `lower`.

In a Plan they go along dimension 0: operands are brought there, the result is taken back.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from rnnc.graph.system import Value
from rnnc.graph.types import Type, whole
from rnnc.passes.arrays import Arrays, Axes, Emit, Operand, Rule
from rnnc.passes.plan import EDGES


def _linear_scan(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    axis, k = v.attr("axis"), v.attr("states")
    rest = tuple(x for x in axes if x != axis)
    shape = (whole(v.type.shape[0]) // k,) if v.type.rank else ()
    matrix, others, firsts = o[: k * k], o[k * k : -k], o[-k:]
    part = Type("real", shape)
    args = [
        _stepwise(a, axis, axes, x, part) if axis in x.axes else a.stretch(x, rest, part)
        for x in matrix
    ]
    args += [_stepwise(a, axis, axes, x, part) for x in others]
    args += [a.stretch(x, rest, part) for x in firsts]
    return _along(a, emit, v, axes, args, forward=v.attr("forward"), states=k)


def _linear_attention(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    axis, forward = v.attr("axis"), v.attr("forward")
    query = _stepwise(a, axis, axes, o[0], _entries(a, o[0]))
    key, value, factor, first = _memory(a, axis, axes, o[1:], forward)
    args = (query, key, value, _products(a, factor), factor, first)
    return _along(a, emit, v, axes, args, forward=forward, own=v.attr("own"))


def _state_product(a: Arrays, emit: Emit, v: Value, o: list[Operand], axes: Axes) -> str:
    args: list[str] = []
    for operands, forward in ((o[:4], True), (o[4:], False)):
        key, value, factor, first = _memory(a, v.attr("axis"), axes, operands, forward)
        args += (key, value, _products(a, factor), first)
    return _along(a, emit, v, axes, args)


def _memory(
    a: Arrays, axis: str, axes: Axes, o: Sequence[Operand], forward: bool
) -> tuple[str, str, str, str]:
    """The k, v, f and first S of a matrix that is updated by outer products. An f that is one for
    all steps stays a number, but where a first S comes from behind the last step: it goes through
    what the last chunk is filled up with, whose factors are then to be 1."""
    k, v, f, first = o
    key, value = (_stepwise(a, axis, axes, x, _entries(a, x)) for x in (k, v))
    varies = f.axes or (first.rank and not forward)
    factor = _stepwise(a, axis, axes, f, Type("real")) if varies else f.array
    if not first.rank:
        return key, value, factor, first.array
    rest = tuple(x for x in axes if x != axis)
    return key, value, factor, a.stretch(first, rest, _entries(a, first))


def _products(a: Arrays, factor: str) -> str:
    """The tables of a factor, the same for all that need them."""
    steps = a.types[factor].dims
    dims = ("chunks", "sequences", "edges", "edges") if steps else (EDGES, EDGES)
    return a.once("products", (factor,), dims)


def _entries(a: Arrays, operand: Operand) -> Type:
    """The type of an operand of real numbers."""
    return Type("real", tuple(d for d in a.operand_type(operand) if isinstance(d, int)))


def _stepwise(a: Arrays, axis: str, axes: Axes, operand: Operand, type_: Type) -> str:
    """The operand over all axes, the steps of ``axis`` first."""
    array = a.stretch(operand, axes, type_)
    place, rank = axes.index(axis), len(axes) + type_.rank
    return a.permute(array, (place, *(i for i in range(rank) if i != place)))


def _along(
    a: Arrays, emit: Emit, v: Value, axes: Axes, arrays: Sequence[str], **attrs: Hashable
) -> str:
    """A whole recurrence along dimension 0: with axes in front of its own they change places
    afterwards."""
    axis = v.attr("axis")
    if axes[0] == axis:
        return emit(v.op, *arrays, **attrs)
    dims = a.dims((axis, *(x for x in axes if x != axis)), v.type.shape)
    made = a.emit(f"{v.name}:{axis}", v.op, arrays, dims, "real", v.origins, **attrs)
    place = axes.index(axis)
    return emit("permute", made, order=(*range(1, place + 1), 0, *range(place + 1, len(dims))))


ALONG: Mapping[str, Rule] = {
    "linear_scan": _linear_scan,
    "linear_attention": _linear_attention,
    "state_product": _state_product,
}
