"""What weights alone decide is computed when a model is written: gates packed, matrices turned.

onnxruntime would do the same each time it loads the model; other runtimes may not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnc.passes.plan import Compute, Extent

NDA = NDArray[Any]
Fold = Callable[[Compute, Sequence[NDA], tuple[int, ...]], NDA]


def _slice(s: Compute, x: Sequence[NDA], dims: tuple[int, ...]) -> NDA:
    place = [slice(None)] * x[0].ndim
    place[s.attr("dim")] = slice(s.attr("start"), s.attr("stop"))
    return x[0][tuple(place)]


FOLDS: Mapping[str, Fold] = {
    "concat": lambda s, x, dims: np.concatenate(x, s.attr("dim")),
    "slice": _slice,
    "permute": lambda s, x, dims: np.transpose(x[0], s.attr("order")),
    "reshape": lambda s, x, dims: x[0].reshape(dims),
    "unsqueeze": lambda s, x, dims: x[0].reshape(dims),
    "squeeze": lambda s, x, dims: x[0].reshape(dims),
    "expand": lambda s, x, dims: np.broadcast_to(x[0], dims),
    "add": lambda s, x, dims: x[0] + x[1],
    "sub": lambda s, x, dims: x[0] - x[1],
    "mul": lambda s, x, dims: x[0] * x[1],
    "neg": lambda s, x, dims: -x[0],
}


def folded(s: Compute, given: Sequence[NDA], dims: Sequence[Extent]) -> NDA | None:
    """The result of a statement on known arrays; None where it is left to the runtime."""
    fold = FOLDS.get(s.op)
    sizes = tuple(d for d in dims if isinstance(d, int))
    if (
        fold is None
        or not given
        or len(sizes) < len(dims)
        or any(x.dtype.kind != "f" for x in given)
    ):
        return None
    return fold(s, given, sizes)
