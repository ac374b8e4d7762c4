"""What each op means, to the oracle in ``reference``: NumPy functions of single entries.

Operands are entries at one step, ``[1 or batch, *features]``. Nothing is shared with the backends
or the meanings in ``graph.ops``, as what agrees with this must agree for no other reason than
being right.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnc.graph.system import Value
from rnnc.graph.types import whole
from rnnc.source import DataError, InternalError

NDA = NDArray[Any]

# ---------------------------------------------------------------- elementwise
# operands are [1 or batch, *features], all of one rank

MAPS: dict[str, Callable[..., NDA]] = {
    **{f: getattr(np, f) for f in ("exp", "log", "sqrt", "sin", "cos", "tanh", "floor", "abs")},
    **{f: getattr(np, f) for f in ("sign", "minimum", "maximum", "where")},
    **{f: getattr(operator, f) for f in ("neg", "add", "sub", "mul", "mod")},  # mod is floored
    **{f: getattr(operator, f) for f in ("eq", "ne", "lt", "le", "gt", "ge")},
    "div": operator.truediv,
    "pow": operator.pow,
    "and": np.logical_and,
    "or": np.logical_or,
    "not": np.logical_not,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),  # exp overflows only where this is 0
    "softplus": lambda x: np.logaddexp(0, x),  # log(1 + exp(x))
    "relu": lambda x: np.maximum(x, 0),
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
    "to_real": lambda x: x.astype(np.float64),
    "copy": lambda x: x,
    "stop_gradient": lambda x: x,
}


def one_rank(value: Value, operands: Sequence[NDA]) -> list[NDA]:
    """Operands of one rank: scalars get features of length 1, on the right of the batch."""
    rank = max(x.ndim for x in operands)
    if any(x.ndim not in (1, rank) for x in operands):
        raise InternalError(f"{value.name} = {value.op}(…) has operands of different ranks")
    return [x.reshape(len(x), *(x.shape[1:] or (1,) * (rank - 1))) for x in operands]


# ---------------------------------------------------------------- reductions
# of an array over some of its dimensions, which stay as length 1


def _argmax(x: NDA, dims: tuple[int, ...]) -> NDA:
    last = np.moveaxis(x, dims, range(-len(dims), 0))  # row by row where there are several
    flat = last.reshape(*last.shape[: x.ndim - len(dims)], -1)
    return np.expand_dims(flat.argmax(-1), dims)


def _logsumexp(x: NDA, dims: tuple[int, ...]) -> NDA:
    top = x.max(dims, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    return np.asarray(top + np.log(np.exp(x - top).sum(dims, keepdims=True)))


def _softmax(x: NDA, dims: tuple[int, ...]) -> NDA:
    exp = np.exp(x - x.max(dims, keepdims=True))
    return np.asarray(exp / exp.sum(dims, keepdims=True))


REDUCTIONS: dict[str, Callable[[NDA, tuple[int, ...]], NDA]] = {
    "sum": lambda x, dims: x.sum(dims, keepdims=True),
    "max": lambda x, dims: x.max(dims, keepdims=True),
    "min": lambda x, dims: x.min(dims, keepdims=True),
    "argmax": _argmax,
    "logsumexp": _logsumexp,
    "softmax": _softmax,
    "log_softmax": lambda x, dims: x - _logsumexp(x, dims),
}
NORMALISING = ("softmax", "log_softmax")  # these give every step of what they reduce over

# ---------------------------------------------------------------- the rest
# each gets its value, for the attributes, and its operands, [1 or batch, *features]


def _diag(value: Value, x: NDA) -> NDA:
    out = np.zeros((*x.shape, x.shape[-1]), x.dtype)
    for i in range(x.shape[-1]):
        out[:, i, i] = x[:, i]
    return out


def _concat(value: Value, *parts: NDA) -> NDA:
    vectors = [x[:, None] if x.ndim == 1 else x for x in parts]
    lead = max(len(x) for x in vectors)
    return np.concatenate([np.broadcast_to(x, (lead, *x.shape[1:])) for x in vectors], axis=1)


def _onehot(value: Value, x: NDA) -> NDA:
    places = np.arange(whole(value.attr("size")))
    return np.where(places == x[:, None], 1.0, 0.0)


def _gather(value: Value, table: NDA, row: NDA) -> NDA:
    rows = table.shape[1]
    if row.min() < 0 or row.max() >= rows:
        wrong = row.min() if row.min() < 0 else row.max()
        raise DataError(f"{value.name} looks up row {wrong} of a table of {rows} (counted from 0)")
    return table[np.arange(len(table)), row]


WHOLE: dict[str, Callable[..., NDA]] = {
    "transpose": lambda v, x: x.swapaxes(1, 2),
    "diag": _diag,
    "concat": _concat,
    "slice": lambda v, x: x[:, whole(v.attr("start")) : whole(v.attr("stop"))],
    "repeat": lambda v, x: np.repeat(x, whole(v.attr("count")), axis=1),
    "broadcast": lambda v, x: fill(x, tuple(map(whole, v.type.shape))),
    "onehot": _onehot,
    "gather": _gather,
    "cumsum": lambda v, x: np.cumsum(x, axis=1),
    "kth_largest": lambda v, x: np.sort(x, axis=1)[:, -v.attr("count")],
}


def fill(x: NDA, shape: tuple[int, ...]) -> NDA:
    """``[lead, *features]`` as ``[lead, *shape]``: missing features are put in front, as 1."""
    missing = (1,) * (len(shape) - x.ndim + 1)
    return np.broadcast_to(x.reshape(len(x), *missing, *x.shape[1:]), (len(x), *shape))
