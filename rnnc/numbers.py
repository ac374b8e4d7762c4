"""Numbers that a caller gives as options: of the right kind, or an error in words."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, TypeVar

from rnnc.source import UsageError

Count = TypeVar("Count", int, int | None)


def whole(what: str, number: Count) -> Count:
    """An option that is a whole number, or None.

    :raises UsageError: it is something else.
    """
    if number is None:
        return number
    try:
        if isinstance(number, bool):
            raise TypeError
        return operator.index(number)  # NumPy's numbers, too, which JSON would not take
    except TypeError:
        raise UsageError(f"{what} is a whole number, not {number!r}") from None


def real(what: str, number: Any) -> float:
    """An option that is a number.

    :raises UsageError: it is something else.
    """
    try:
        return float(None if isinstance(number, str) else number)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise UsageError(f"{what} is a number, not {number!r}") from None


def checked_seed(seed: int | None) -> int:
    """What random numbers are drawn from.

    :raises UsageError: it is no whole number from 0 on.
    """
    if seed is None or whole("seed", seed) < 0:
        raise UsageError(f"a seed is a whole number from 0 on, not {seed}")
    return whole("seed", seed)


def constants(given: Any) -> dict[str, float]:
    """What ``hyper`` sets.

    :raises UsageError: it is no dict of numbers.
    """
    if not isinstance(given, Mapping | None):
        raise UsageError(f"hyper has numbers by name ({{'beta1': 0.95}}); this is {given!r}")
    return {name: real(name, number) for name, number in (given or {}).items()}


def counts(given: Any) -> int | Mapping[str, int] | None:
    """An ``unroll`` that says how many steps.

    :raises UsageError: it is something else.
    """
    if isinstance(given, Mapping):
        return {str(a): whole(f"unroll, of {a},", count) for a, count in given.items()}
    if isinstance(given, str):
        raise UsageError(f"unroll is a whole number, or one by axis ({{'t': 4}}), not {given!r}")
    count: int | None = whole("unroll", given)
    return count
