"""Sequences of several lengths: lists of arrays put into one, padded, with the lengths beside it.

{"x": [x1, x2]}             of 5 and 3 steps     →  {"x": [2, 5, n], "t.lengths": [5, 3]}
{"x": x, "t.lengths": …}    x padded with anything  →  the same, padded with 0
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnc.api import Spec
from rnnc.graph.names import LENGTHS, axis_of, canonical
from rnnc.graph.system import Value
from rnnc.graph.types import BATCH
from rnnc.passes.lengths import length_input
from rnnc.runtime.lengths import put_together
from rnnc.source import DataError

NDA = NDArray[Any]
Arrays = dict[str, NDA]


def padded(spec: Spec, data: Mapping[str, Any]) -> Arrays:
    """Arrays by name; a list of arrays that differ in their steps becomes one, padded with 0.

    :raises DataError: something is no array, or two inputs disagree about the steps of a sequence.
    """
    system = spec.system
    axes = {v.name: [length_input(system, a) for a in v.axes if a != BATCH] for v in system.inputs}
    out, _ = put_together({canonical(name): item for name, item in data.items()}, axes)
    return {name: _array(name, item) for name, item in out.items()}


def _array(name: str, item: Any) -> NDA:
    try:
        return np.asarray(item)
    except ValueError as error:
        raise DataError(f"{name} is no array, and no list of arrays: {error}") from error


# ---------------------------------------------------------------- lengths that are given


def settled(spec: Spec, given: Arrays) -> Arrays:
    """The data with 0 past the end of each sequence, and without lengths along which all sequences
    are full.

    :raises UsageError: lengths of an axis that the model does not have.
    :raises DataError: lengths do not fit the arrays.
    """
    system = spec.system
    own = {
        length_input(system, axis_of(name)): array
        for name, array in given.items()
        if name.endswith(LENGTHS)
    }
    out = {name: array for name, array in given.items() if not name.endswith(LENGTHS)}
    for key, array in own.items():
        _check(key, array)
        length = system.axes[axis_of(key)].length
        timed = {v.name: _places(spec, v, length) for v in system.inputs if v.name in out}
        steps = 0
        for name, places in timed.items():
            for place in places:
                out[name] = _blank(key, array, name, out[name], place)
                steps = out[name].shape[place]
        if (array < steps).any() or not steps:
            out[key] = array
    return out


def _check(key: str, array: NDA) -> None:
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise DataError(
            f"{key} holds {array.dtype} {list(array.shape)}; wanted is one whole number for each "
            "sequence, its number of steps"
        )


def _places(spec: Spec, v: Value, length: str) -> list[int]:
    """The dimensions of an input along which it has so many steps."""
    times = [a for a in v.axes if a != BATCH]
    return [i + 1 for i, a in enumerate(times) if spec.system.axes[a].length == length]


def _blank(key: str, own: NDA, name: str, array: NDA, place: int) -> NDA:
    if array.ndim <= place:
        return array  # the check of dimensions says what is wrong
    if len(own) != len(array):
        raise DataError(f"{key} has {len(own)} numbers, {name} has {len(array)} sequences")
    steps = array.shape[place]
    wrong = np.flatnonzero((own < 1) | (own > steps))
    if len(wrong):
        i = int(wrong[0])
        raise DataError(f"{key}[{i}] = {own[i]}; a sequence of {name} has 1 to {steps} steps")
    shape = [1] * array.ndim
    shape[0], shape[place] = len(array), steps
    inside = (np.arange(steps) < own[:, None]).reshape(shape)
    return np.where(inside, array, array.dtype.type(0))


def axes_in(given: Mapping[str, object]) -> tuple[str, ...]:
    """The axes along which the sequences of some data have lengths of their own."""
    return tuple(axis_of(name) for name in given if name.endswith(LENGTHS))


def with_lengths(given: Arrays, lengths: Mapping[str, ArrayLike]) -> Arrays:
    """The data with ``{"t": [5, 3]}`` under ``t.lengths``.

    :raises DataError: they are given twice.
    """
    out = dict(given)
    for axis, own in lengths.items():
        key = canonical(axis) + LENGTHS
        if key in out:
            raise DataError(f"{key} is given twice")
        out[key] = np.asarray(own)
    return out
