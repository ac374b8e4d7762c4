"""Lengths that the sequences of a batch have of their own: what is given, checked and filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnc.graph.types import Kind
from rnnc.source import DataError, UsageError

NDA = NDArray[Any]
ROLE = "lengths"


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


def named(
    ports: Sequence[_Port],
    arrays: Mapping[str, ArrayLike],
    lengths: Mapping[str, ArrayLike] | None,
    compiled: Sequence[str],
) -> dict[str, ArrayLike]:
    """The arrays with ``lengths={"t": [5, 3]}`` under ``t.lengths``. ``compiled`` are the axes
    that the model was compiled with lengths for, also where its results do not depend on them.

    :raises UsageError: the model was compiled without.
    :raises DataError: they are given twice.
    """
    out = dict(arrays)
    known = {p.name for p in ports if p.role == ROLE}
    for axis, array in (lengths or {}).items():
        name = f"{axis}.{ROLE}"
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


def without_padding(
    ports: Sequence[_Port], arrays: Mapping[str, ArrayLike]
) -> dict[str, ArrayLike]:
    """The arrays with 0 in place of indices past the end of a sequence, which may be anything.

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
            out[p.name] = np.where(inside.reshape(shape), array, array.dtype.type(0))
    return out


def axis_of(name: str) -> str:
    """``t`` of ``t.lengths``."""
    return name.removesuffix(f".{ROLE}")


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
