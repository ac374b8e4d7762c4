"""Sequences that come step by step, or chunk by chunk: a model that keeps its states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnc.graph.names import canonical
from rnnc.graph.types import BATCH
from rnnc.numbers import whole
from rnnc.runtime.runnable import Runnable
from rnnc.source import DataError

NDA = NDArray[Any]


class Stream:
    """A model that takes its sequences one step at a time, or chunk by chunk.

    >>> stream = spec.stream(weights=w)              # doctest: +SKIP
    >>> for x_t in x: out = stream(x=x_t)            # doctest: +SKIP
    """

    def __init__(self, step: Runnable, start: Runnable):
        self.model = step
        self._start = start
        self.states: dict[str, NDA] = {}

    def reset(self) -> None:
        """Forget everything: the next call is the first step."""
        self.states = {}

    def __call__(self, **inputs: ArrayLike) -> dict[str, NDA]:
        """The outputs at the next step; inputs are [batch, features], without time. Of chunks,
        both are [batch, steps, features]. Of a model with several axes the first call is also
        given what only the states before the first step need, and, by its name, a length that no
        input has.

        :raises DataError: an input is missing or does not fit.
        """
        inputs = {canonical(name): array for name, array in inputs.items()}
        ports = {p.name for p in (*self.model.ports.inputs, *self._start.ports.inputs)}
        dims = {d for p in self.model.ports.inputs for d in p.dims}
        sizes = {n: whole(n, _number(a)) for n, a in inputs.items() if n in dims - ports}
        inputs = {n: a for n, a in inputs.items() if n not in sizes}
        if not self.states:
            self.states = self._first(inputs, sizes)
        else:
            batch, known = self._batch(inputs), self._batch(self.states)
            if batch and known and batch != known:
                raise DataError(
                    f"this stream is in the middle of {known} sequences, and these are {batch}; "
                    "reset() begins anew"
                )
        takes = {p.name for p in self.model.ports.inputs}
        starts = {p.name for p in self._start.ports.inputs} - takes
        now = {k: v for k, v in inputs.items() if k not in starts}  # the start alone wants those
        out = self.model.run({**now, **self.states})
        contexts = {p.name for p in self.model.ports.inputs if p.role == "context"}
        self.states = {name: a for name, a in self.states.items() if name in contexts}
        self.states |= {before: out.pop(after) for before, after in self.model.ports.states}
        return out

    def _first(self, inputs: Mapping[str, ArrayLike], sizes: Mapping[str, int]) -> dict[str, NDA]:
        """The states before the first step, each over all that the step wants of it."""
        wanted = {p.name for p in self._start.ports.inputs}
        states = self._start.run({k: v for k, v in inputs.items() if k in wanted})
        made = {p.name: p for p in self._start.ports.outputs}
        known = {BATCH: 1, **self._sizes(inputs), **sizes}
        out = {}
        for port in self.model.ports.inputs:
            if port.name in states:
                state = np.asarray(states[port.name])
                has = made[port.name].dims
                for i, d in enumerate(port.dims):
                    if isinstance(d, str) and d not in has:
                        if d not in known:
                            raise DataError(f"no input tells the length {d}: give {d}=… as well")
                        state = np.repeat(np.expand_dims(state, i), known[d], i)
                out[port.name] = state
        return out

    def _sizes(self, inputs: Mapping[str, ArrayLike]) -> dict[str, int]:
        """The lengths that these arrays have, by name."""
        out: dict[str, int] = {}
        for port in (*self.model.ports.inputs, *self._start.ports.inputs):
            if port.name in inputs and port.role == "length":
                out[port.name] = int(np.asarray(inputs[port.name]))
            elif port.name in inputs:
                found = zip(port.dims, _shape(inputs[port.name]), strict=False)
                out |= {d: n for d, n in found if isinstance(d, str)}
        return out

    def _batch(self, inputs: Mapping[str, ArrayLike]) -> int | None:
        """How many sequences these arrays are for, if any of them tells."""
        for port in (*self.model.ports.inputs, *self._start.ports.inputs):
            if port.dims[:1] == (BATCH,) and port.name in inputs:
                return next(iter(_shape(inputs[port.name])), None)
        return None


def _number(given: Any) -> Any:
    """What an array of no dimension holds."""
    return given[()] if isinstance(given, np.ndarray) else given


def _shape(given: ArrayLike) -> tuple[int, ...]:
    """The shape of an array; () of what is none, which the model will say."""
    try:
        return np.shape(given)
    except ValueError:  # lists of different lengths
        return ()
