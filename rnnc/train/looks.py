"""A look at data before the first step: how many dimensions they have, and whether all of them are
numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnc.api import Spec
from rnnc.graph.system import Value
from rnnc.graph.types import BATCH
from rnnc.runtime.ports import PortInfo, brackets, check_array
from rnnc.source import DataError

NDA = NDArray[Any]


def check_rank(spec: Spec, v: Value, array: NDA) -> None:
    """Whether an array has as many dimensions as its input, whose sizes need not be known.

    :raises DataError: if not; where one is missing, saying which one it may be.
    """
    port = _port(spec, v)
    if array.ndim == len(port.dims):
        return
    if array.ndim != len(port.dims) - 1 or array.ndim == 0:
        check_array(port, array, "float64")  # says what is wrong
    name, shape = v.name, array.shape
    raise DataError(
        f"{name} is {brackets(shape)}, rnnc arrays are batch-first {brackets(port.dims)}: "
        f"{name}[None] is {brackets((1, *shape))}, a batch of one; "
        f"{name}[..., None] is {brackets((*shape, 1))}, with {port.dims[-1]} = 1"
    )


def check_finite(arrays: Mapping[str, NDA], of: str = "") -> None:
    """Look for what is no number before a training does.

    :raises DataError: naming the array, how many there are, and the first one.
    """
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            continue
        finite = np.isfinite(array)
        if finite.all():
            continue
        count = finite.size - int(np.count_nonzero(finite))
        first = tuple(map(int, np.unravel_index(np.argmin(finite), array.shape)))
        what = "value that is not finite, at" if count == 1 else "values that are not finite, first"
        raise DataError(
            f"{name}{of} holds {count} {what} {name}{brackets(first)} = {array[first]}: correct "
            "such data or leave them out (a step that does not count takes any number, such as 0)"
        )


def _port(spec: Spec, v: Value) -> PortInfo:
    """An input by the names of its sizes, before they are known."""
    lengths = [spec.system.axes[axis].length for axis in v.axes if axis != BATCH]
    dims = (BATCH, *lengths, *map(str, v.type.shape))
    return PortInfo(v.name, v.op, dims, v.type.kind)
