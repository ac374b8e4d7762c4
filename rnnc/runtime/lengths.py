"""Lengths that the sequences of a batch have of their own: what is given, checked and filled in.

{"x": [x1, x2]}  of 5 and 3 steps  →  {"x": [2, 5, …], "t.lengths": [5, 3]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnc.graph.names import LENGTHS, axis_of
from rnnc.graph.types import Kind
from rnnc.source import DataError, UsageError

NDA = NDArray[Any]
ROLE = "lengths"  # of a port


class _Port(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def dims(self) -> tuple[str | int, ...]: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def own(self) -> tuple[tuple[int, str], ...]: ...
    @property
    def along(self) -> str | int | None: ...


def named(
    ports: Sequence[_Port],
    arrays: Mapping[str, ArrayLike],
    lengths: Mapping[str, ArrayLike] | None,
    compiled: Sequence[str],
) -> dict[str, ArrayLike]:
    """The arrays with ``lengths={"t": [5, 3]}`` under ``t.lengths``. ``compiled`` are the axes
    that the model was compiled with lengths for, also where its results do not depend on them.

    :raises UsageError: the model was compiled without, or no axis is named.
    :raises DataError: they are given twice.
    """
    out = dict(arrays)
    known = {p.name for p in ports if p.role == ROLE}
    for axis, array in by_axis(lengths).items():
        name = axis + LENGTHS
        if name not in known:
            if axis in compiled:
                continue
            others = sorted(axis_of(n) for n in known)
            has = f"it has them along {', '.join(others)}. " if others else ""
            raise UsageError(
                f"this model takes no lengths along {axis}: {has}"
                f'compile it with lengths=("{axis}",), on the command line --lengths {axis}'
            )
        if name in out:
            raise DataError(f"{name} is given twice")
        out[name] = array
    return out


def by_axis(lengths: Mapping[str, ArrayLike] | None) -> Mapping[str, ArrayLike]:
    """What a caller gave as ``lengths``.

    :raises UsageError: it does not say of which axis.
    """
    if lengths is None or isinstance(lengths, Mapping):
        return lengths or {}
    raise UsageError('lengths are given by axis: lengths={"t": [5, 3]}')


def without_padding(
    ports: Sequence[_Port], arrays: Mapping[str, ArrayLike]
) -> dict[str, ArrayLike]:
    """The arrays with 0 (of steps: 1) in place of indices past the end of a sequence, which may be
    anything.

    What does not fit is left as it is, to be found by the check of each array.
    """
    out = dict(arrays)
    for p in ports:
        if p.kind != "index" or p.name not in arrays:
            continue
        for i, name in p.own:
            try:
                array, own = np.asarray(out[p.name]), np.asarray(arrays[name])
            except (KeyError, ValueError):
                continue
            if array.ndim != len(p.dims) or own.shape != array.shape[:1]:
                continue
            shape = [1] * array.ndim
            shape[0], shape[i] = len(own), array.shape[i]
            inside = np.arange(array.shape[i]) < own[:, None]
            least = array.dtype.type(0 if p.along is None else 1)
            out[p.name] = np.where(inside.reshape(shape), array, least)
    return out


def put_together(
    arrays: Mapping[str, Any], axes: Mapping[str, Sequence[str]]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The arrays, each list of sequences that differ in their steps as one, padded with 0, and
    the numbers of these steps under the names that ``axes`` has for them: for each input the
    lengths along its time dimensions. Also returned is which input told each of the lengths.

    :raises DataError: a list is empty or holds something else, or two inputs disagree about the
        steps of a sequence.
    """
    out = dict(arrays)
    found: dict[str, tuple[str, NDA]] = {}  # lengths, and whose they are
    for name, item in arrays.items():
        if name not in axes or not _is_list(item):
            continue
        if not len(item):
            raise DataError(f"{name} is an empty list: it holds no sequence")
        array = _as_array(item)
        if array is not None:
            out[name] = array
            continue
        out[name], lengths = _padded(name, item, len(axes[name]))
        for key, own in zip(axes[name], lengths, strict=True):
            other, known = found.setdefault(key, (name, own))
            if len(known) != len(own):
                raise DataError(f"{name} has {len(own)} sequences, {other} has {len(known)}")
            if (known != own).any():
                i = int(np.argmax(known != own))
                raise DataError(f"{name}[{i}] has {own[i]} steps, {other}[{i}] has {known[i]}")
    for key, (who, own) in found.items():
        if key in out and not np.array_equal(out[key], own):
            raise DataError(f"{key} are not the numbers of steps of the sequences in {who}")
        out[key] = own
    return out, {key: who for key, (who, _) in found.items()}


def _is_list(item: Any) -> bool:
    if isinstance(item, np.ndarray):
        return item.dtype == object and item.ndim > 0
    return isinstance(item, list | tuple)


def _as_array(item: Any) -> NDA | None:
    """The array, if it is one; None for arrays of different shapes."""
    try:
        array = np.asarray(item)
    except ValueError:
        return None
    return None if array.dtype == object else array


def _padded(name: str, item: Any, times: int) -> tuple[NDA, list[NDA]]:
    """One padded array, and the lengths of its sequences along each time axis."""
    try:
        parts = [np.asarray(part) for part in item]
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is no array, and no list of arrays: {error}") from error
    first = parts[0]
    for i, part in enumerate(parts):
        if part.dtype == object:
            raise DataError(f"{name}[{i}] is no array: {part!r:.60}")
        if part.ndim != first.ndim or part.ndim < times:
            raise DataError(f"{name}[{i}] has {part.ndim} dimensions, {name}[0] has {first.ndim}")
        if part.shape[times:] != first.shape[times:]:
            what = "only numbers of steps may differ" if times else "it has no steps"
            raise DataError(
                f"{name}[{i}] is {list(part.shape)}, {name}[0] is {list(first.shape)}: {what}"
            )
        if 0 in part.shape[:times]:
            raise DataError(f"{name}[{i}] has no steps")
    longest = [max(part.shape[d] for part in parts) for d in range(times)]
    kind = np.result_type(*(part.dtype for part in parts))
    out = np.zeros((len(parts), *longest, *first.shape[times:]), kind)
    for i, part in enumerate(parts):
        inside: Any = (i, *(slice(n) for n in part.shape))
        out[inside] = part
    lengths = [np.array([part.shape[d] for part in parts]) for d in range(times)]
    return out, lengths


def check_lengths(p: _Port, own: NDA, steps: object) -> None:
    """Whether lengths are at least 1 and at most the number of steps of the batch.

    :raises DataError: naming the first that is not.
    """
    known = isinstance(steps, int)
    wrong = (own < 1) | (own > steps if known else False)
    if wrong.any():
        i = int(np.argmax(wrong))
        allowed = f"here a sequence has 1 to {steps} steps" if known else "a length is at least 1"
        raise DataError(f"{p.name}[{i}] = {own[i]}; {allowed}")


def check_own_steps(name: str, array: NDA, own: NDA) -> None:
    """Whether the steps in each sequence, ``[batch, …]``, are at most its own length, ``[batch]``.

    :raises DataError: naming the first that is not.
    """
    highest = array.reshape(len(array), -1).max(axis=1)
    if (highest > own).any():
        i = int(np.argmax(highest > own))
        raise DataError(f"{name}[{i}] holds {highest[i]}; its values are steps, here 1 to {own[i]}")
