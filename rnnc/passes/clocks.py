"""Which rows of a vector a clock lets change at each step, told from the Plan.

    h.5 : [t, 128] = mod(step(t) - 1, [1, 1, 2, 2, 4, 4, …])        period 4, and of its steps
    h.7 : flag [t, 128] = eq(h.5, 0)                             →  these rows: all, 0–1, 0–3, 0–1

The conditions of a Clockwork RNN (Koutník et al., ICML 2014) read the step only through
remainders of constants, so they repeat after the least common multiple of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnc.graph.ops import MAPS, OPS
from rnnc.graph.types import Array
from rnnc.passes.plan import Compute, Statement

MOST_FLAGS = 2**22  # of one period: longer ones are not looked at
LARGEST = 2**24  # up to here float32 has every whole number


@dataclass(frozen=True)
class Clock:
    """The rows that flags set, between the first and the last of them, over one period.

    ``groups`` are the rows at which neighbours with the same flags begin, and the number of rows
    at their end; at these ``shares`` of all steps the flags of a group are set. ``mean`` is how
    many rows there are between the bounds, in the mean of the steps; ``gapless`` where all of
    them are set, ``first`` and ``last`` where the vector's first row is always among them, or its
    last.
    """

    groups: tuple[int, ...]
    shares: tuple[float, ...]
    mean: float
    gapless: bool
    first: bool
    last: bool


@dataclass(frozen=True)
class _Known:
    """What an array is at the steps of one period, [period or 1, …]; ``counts`` if it is the step
    itself, up to a whole number, and not yet a remainder."""

    value: NDArray[Any]
    counts: bool = False


class _Unknown(Exception):
    """An array depends on what only a run tells, or never repeats."""


def clock(statements: Iterable[Statement], flags: str, rows: int) -> Clock:
    """The clock of an array of flags [steps, rows], which these statements compute.

    :raises ValueError: they do not repeat after a number of steps that constants tell.
    """
    made = {s.target: s for s in statements if isinstance(s, Compute)}
    try:
        period = _period(made, flags)
        if period * rows > MOST_FLAGS:
            raise _Unknown
        found = _Steps(made, period).known(flags)
        if found.counts:
            raise _Unknown
    except _Unknown:
        raise ValueError(flags) from None
    ticks = np.broadcast_to(found.value, (period, rows))
    low, high = ticks.argmax(1), rows - ticks[:, ::-1].argmax(1)
    spans = np.where(ticks.any(1), high - low, 0)
    turns = np.flatnonzero((ticks[:, 1:] != ticks[:, :-1]).any(0)) + 1
    groups = (0, *map(int, turns), rows)
    return Clock(
        groups=groups,
        shares=tuple(map(float, ticks[:, groups[:-1]].mean(0))),
        mean=float(spans.mean()),
        gapless=bool((ticks.sum(1) == spans).all()),
        first=bool(ticks[:, 0].all()),
        last=bool(ticks[:, -1].all()),
    )


def _period(made: Mapping[str, Compute], flags: str) -> int:
    """The least common multiple of all that remainders are taken by."""
    period, todo, seen = 1, [flags], set()
    while todo:
        s = made.get(todo.pop())
        if s is None or s.target in seen:
            continue
        seen.add(s.target)
        todo += s.args
        if s.op != "mod":
            continue
        by = _constant(made, s.args[1])
        if not _is_exact(by) or (by < 1).any():
            raise _Unknown
        for number in np.unique(by):
            period = lcm(period, int(number))
            if period > MOST_FLAGS:
                raise _Unknown
    return period


def _constant(made: Mapping[str, Compute], name: str) -> NDArray[Any]:
    s = made.get(name)
    while s is not None and s.op in ("unsqueeze", "expand", "to_real"):
        s = made.get(s.args[0])
    if s is None or s.op != "constant":
        raise _Unknown
    value = s.attr("value")
    return np.asarray(value.data if isinstance(value, Array) else value)


class _Steps:
    """The values of arrays at the steps 1 … ``period``."""

    def __init__(self, made: Mapping[str, Compute], period: int):
        self.made = made
        self.period = period
        self.found: dict[str, _Known] = {}

    def known(self, name: str) -> _Known:
        if name not in self.found:
            self.found[name] = self._known(name)
        return self.found[name]

    def _known(self, name: str) -> _Known:
        s = self.made.get(name)
        if s is None:
            raise _Unknown
        if s.op == "step":
            return _Known(np.arange(1, self.period + 1), counts=True)
        if s.op == "constant":
            value = _constant(self.made, name)
            if not _is_exact(value):
                raise _Unknown
            return _Known(value)
        args = [self.known(a) for a in s.args]
        if s.op == "unsqueeze":
            return _Known(np.expand_dims(args[0].value, s.attr("at")), args[0].counts)
        if s.op == "expand":
            return args[0]  # others broadcast
        if s.op not in MAPS:
            raise _Unknown
        compute = OPS[s.op].compute
        assert compute is not None
        counts = [a.counts for a in args]
        value = np.asarray(compute([a.value for a in args], dict(s.attrs)))
        if value.dtype.kind == "f" and not _is_exact(value):
            raise _Unknown
        if s.op in ("to_real", "copy"):
            return _Known(value, counts[0])
        if not any(counts) or (s.op == "mod" and counts == [True, False]):
            return _Known(value)
        if s.op in ("add", "sub") and counts.count(True) == 1:
            return _Known(value, counts=True)
        raise _Unknown


def _is_exact(value: NDArray[Any]) -> bool:
    """Whether numbers are the same in every dtype: whole ones, and not too large. Of others a run
    in float32 may make other flags than these here."""
    return bool((value == np.floor(value)).all() and (abs(value.astype(float)) <= LARGEST).all())
