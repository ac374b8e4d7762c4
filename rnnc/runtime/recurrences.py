"""What ops that stand for whole recurrences mean, to the oracle in ``reference``: by their
definitions, step by step.

Each takes the operands at all steps of the axis, ``steps[place][operand]``, entries
``[1 or batch, *features]``, and gives the result at all of them, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rnnc.graph.system import Value
from rnnc.runtime.meanings import one_rank

NDA = NDArray[Any]
Steps = Sequence[Sequence[NDA]]
T = TypeVar("T")


def _in_order(items: Sequence[T], forward: bool) -> list[T]:
    return list(items if forward else items[::-1])


def _linear_scan(value: Value, steps: Steps) -> list[NDA]:
    """The states ``[k, 1 or batch, *features]`` after a step are A times those before it, plus
    b."""
    k, forward = value.attr("states"), value.attr("forward")
    rows: list[NDA] = []
    states: list[NDA] = []
    for now in _in_order(steps, forward):
        a, b, first = now[: k * k], now[k * k : -k], now[-k:]
        before = states or first
        states = []
        for i in range(k):
            terms = [one_rank(value, [a[k * i + j], before[j]]) for j in range(k)]
            total = sum((x * y for x, y in terms[1:]), terms[0][0] * terms[0][1])
            x, y = one_rank(value, [total, b[i]])
            states.append(x + y)
        vectors = np.broadcast_arrays(*states)
        rows.append(
            vectors[0]
            if k == 1
            else np.concatenate([x if x.ndim > 1 else x[:, None] for x in vectors], axis=1)
        )
    return _in_order(rows, forward)


def _memory(steps: Steps, forward: bool) -> tuple[list[NDA], list[NDA]]:
    """The matrices S[t] = f[t] S[t-1] + v[t] k[t]ᵀ before and after each step, from the operands
    k, v, f and S before the first."""
    befores: list[NDA] = []
    afters: list[NDA] = []
    state: NDA | None = None
    for k, v, f, first in _in_order(steps, forward):
        outer = v[:, :, None] * k[:, None, :]
        if state is None:
            state = np.zeros_like(outer) + first.reshape(len(first), *(first.shape[1:] or (1, 1)))
        befores.append(state)
        state = f.reshape(-1, 1, 1) * state + outer
        afters.append(state)
    return _in_order(befores, forward), _in_order(afters, forward)


def _linear_attention(value: Value, steps: Steps) -> list[NDA]:
    """The query of each step, before S of that step or of the one before it."""
    befores, afters = _memory([now[1:] for now in steps], value.attr("forward"))
    states = afters if value.attr("own") else befores
    return [(s @ now[0][:, :, None])[:, :, 0] for s, now in zip(states, steps, strict=True)]


def _state_product(value: Value, steps: Steps) -> list[NDA]:
    """The sum of all entries of S before a step times R after it."""
    before, _ = _memory([now[:4] for now in steps], forward=True)
    after, _ = _memory([now[4:] for now in steps], forward=False)
    return [(s * r).sum((1, 2)) for s, r in zip(before, after, strict=True)]


RECURRENCES: Mapping[str, Callable[[Value, Steps], list[NDA]]] = {
    "linear_scan": _linear_scan,
    "linear_attention": _linear_attention,
    "state_product": _state_product,
}
