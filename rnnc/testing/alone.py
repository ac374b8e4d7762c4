"""Sequences of several lengths: each of them alone, by the definition of the equations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnc.graph.names import GRADIENT
from rnnc.graph.system import System, Value
from rnnc.graph.types import BATCH, whole
from rnnc.runtime.ports import uniform
from rnnc.runtime.reference import evaluate
from rnnc.source import UsageError

Arrays = dict[str, NDArray[Any]]
Lengths = Mapping[str, Sequence[int]]
Steps = int | Mapping[str, int]

GARBAGE: dict[str, Any] = {"f": np.nan, "i": -1, "b": True}  # by NumPy's kind: what padding holds


def by_axis(system: System, steps: Steps) -> dict[str, int]:
    """How many steps each time axis has, by its name and by that of its length.

    ``steps`` are those of all axes, or of each by one of these names; what the system fixes is
    not asked for.

    :raises UsageError: nothing says how long an axis is.
    """
    times = [a for a in system.axes.values() if a.name != BATCH]
    out: dict[str, int] = {}
    for axis in times:
        names = [axis.length, *(a.name for a in times if a.length == axis.length)]
        if axis.size is not None:
            count = whole(axis.size)
        elif isinstance(steps, int):
            count = steps
        else:
            told = [steps[n] for n in names if n in steps]
            if not told:
                raise UsageError(f"steps say nothing of {axis.name}, which has {axis.length} steps")
            count = told[0]
        out[axis.name] = out[axis.length] = count
    return out


def shape_of(value: Value, batch: int, steps: Mapping[str, int]) -> tuple[int, ...]:
    """The shape of a value's array, batch first."""
    times = [steps[a] for a in value.axes if a != BATCH]
    lead = [batch] if BATCH in value.axes else []
    return (*lead, *times, *(whole(s) for s in value.type.shape))


def meaning(
    system: System,
    given: Mapping[str, NDArray[Any]],
    *,
    batch: int,
    steps: Mapping[str, int],
    lengths: Lengths | None = None,
    training: bool = False,
    seed: int = 0,
    dtype: str = "float64",
    wanted: Sequence[str] | None = None,
) -> Arrays:
    """What :func:`rnnc.runtime.reference.evaluate` gives for a system whose lengths may be told
    by no data, with the random numbers that a compiled model draws from ``seed``.

    With ``lengths`` (of each sequence, by axis) each sequence is evaluated alone, and the results
    are put together: 0 past the end; of losses and gradients of parameters the mean, of metrics
    the mean over what they count, of counts the sum.
    """
    given = dict(given)
    for v in system.leaves("uniform"):
        shape = shape_of(v, batch, steps)
        given[v.name] = uniform(v.name, shape, seed, dtype).astype(np.float64)
    sizes = {a: steps[a] for a in system.time_axes()} | {BATCH: batch}
    if lengths is None:
        return evaluate(system, given, lengths=sizes, training=training, wanted=wanted)
    own = spread(system, lengths)
    axes = {a: replace(axis, size=None) if a in own else axis for a, axis in system.axes.items()}
    open_ = replace(system, axes=axes)  # alone, a sequence has not the steps that are fixed
    names = list(system.results if wanted is None else wanted)
    parts = {n: _parts(system, n) for n in names if n in system.metrics.values()}
    more = [n for pair in parts.values() if pair for n in pair]
    found = []
    for i in range(batch):
        alone = {
            n: _cut(system[n], a, i, own) if n in system.values else a for n, a in given.items()
        }
        steps_of = sizes | {a: int(ls[i]) for a, ls in own.items()} | {BATCH: 1}
        found.append(
            evaluate(open_, alone, lengths=steps_of, training=training, wanted=[*names, *more])
        )
    return {n: _joined(system, n, found, own, steps, parts.get(n)) for n in names}


def spread(system: System, lengths: Lengths) -> Lengths:
    """The lengths along every axis that shares the length of one that is given."""
    return {
        other: lengths[axis]
        for axis in lengths
        for other in system.time_axes()
        if system.axes[other].length == system.axes[axis].length
    }


def padded(system: System, data: Mapping[str, NDArray[Any]], lengths: Lengths) -> Arrays:
    """Data with garbage past the ends of their sequences: NaN, -1 or true."""
    out = {}
    for name, array in data.items():
        filled = array.copy()
        if name in system.values:
            for _, outside in _past(system[name], array.shape, spread(system, lengths)):
                filled[outside] = GARBAGE[array.dtype.kind]
        out[name] = filled
    return out


def _times(v: Value) -> list[str]:
    return [a for a in v.axes if a != BATCH]


def _past(v: Value, shape: Sequence[int], own: Lengths) -> Iterator[tuple[int, Any]]:
    """What of an array lies past the end, for each sequence and axis."""
    if BATCH not in v.axes:
        return
    for i in range(shape[0]):
        for place, axis in enumerate(_times(v)):
            if axis in own:
                whole_axes = (slice(None),) * place
                yield i, (i, *whole_axes, slice(int(own[axis][i]), None))


def _cut(v: Value, array: NDArray[Any], i: int, own: Lengths) -> NDArray[Any]:
    """One sequence of an array."""
    ends = tuple(slice(int(own[a][i]) if a in own else None) for a in _times(v))
    return array[(slice(i, i + 1), *ends)] if BATCH in v.axes else array[ends]


def _parts(system: System, metric: str) -> tuple[str, str] | None:
    """What a metric sums, and what it divides that by, as the builder wrote it."""
    v = system[metric]
    while v.op in ("copy", "div"):
        if v.op == "div":
            return v.reads[0].source, v.reads[1].source
        v = system[v.reads[0].source]
    return None


def _joined(
    system: System, name: str, found: Sequence[Arrays], own: Lengths,
    steps: Mapping[str, int],
    parts: tuple[str, str] | None,
) -> NDArray[Any]:  # fmt: skip
    v, all_ = system[name], [f[name] for f in found]
    if parts is not None:
        total, count = (sum(float(f[n]) for f in found) for n in parts)
        return np.asarray(total / count)
    if name in system.counts.values():
        return np.asarray(sum(all_))
    times = _times(v)
    if BATCH not in v.axes and not set(times) & set(own):
        if name in system.losses.values() or name.startswith(GRADIENT):
            return np.asarray(np.mean(all_, axis=0))
        same = all(np.array_equal(a, all_[0], equal_nan=True) for a in all_)
        return all_[0] if same else np.stack(all_)  # T itself differs between sequences
    shape = (len(found), *shape_of(v, 0, steps)[BATCH in v.axes :])
    out: NDArray[Any] = np.zeros(shape, all_[0].dtype)
    for i, array in enumerate(all_):
        row = array[0] if BATCH in v.axes else array
        inside: Any = (i, *(slice(n) for n in row.shape))
        out[inside] = row
    return out
