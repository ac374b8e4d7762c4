"""Sequences from models of mode ``generate``: prompts, numbers of steps, ends, texts.

The model itself draws (``passes.generate``). Here its inputs are made: prompts padded to the
number of steps, how much of each is given, the uniform numbers where no array tells how many.
The model says which steps count; what comes after an end token is overwritten here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnc.graph.names import END, GIVEN, LENGTH, PROMPT, TEMPERATURE, canonical
from rnnc.graph.types import BATCH
from rnnc.numbers import checked_seed, real, whole
from rnnc.runtime.ports import PortInfo, Ports, brackets, dtype_of, uniform
from rnnc.runtime.symbols import Symbols, texts_in
from rnnc.source import DataError, UsageError

NDA = NDArray[Any]

MODE = "generate"


class Generation:
    """One call of ``generate``: :meth:`arrays` are what the model runs with, :meth:`result` is
    what the caller gets.

    ``inputs`` are arrays by name; ``asked`` is what the caller gave for them, which says whether
    texts are wanted.
    """

    def __init__(
        self,
        ports: Ports,
        inputs: Mapping[str, Any],
        prompt: Any,
        asked: Sequence[Any],
        end: int | str | None,
    ):
        self.ports = ports
        if ports.extra.get("mode") != MODE:
            raise UsageError(
                f"{ports.name} was compiled for mode {ports.extra.get('mode')}; "
                f"compile it with mode={MODE!r}"
            )
        self.by_name = {p.name: p for p in ports.inputs}
        self.drawn = list(ports.prompts)
        self.sequences = [n for n in self.drawn if self._port(n).kind == "index"]
        self.symbols = Symbols(ports)
        self.inputs = dict(inputs)
        self.end = self._end(end)
        self.prompts = self._prompts(prompt)
        begins = prompt.values() if isinstance(prompt, Mapping) else [prompt]
        self.texts = [t for t in (*begins, *asked) if texts_in(t) is not None]

    def arrays(
        self, steps: int | None, temperature: float, seed: int, batch: int | None
    ) -> dict[str, Any]:
        """What the model is run with; see ``generate`` of ``Runnable``.

        :raises UsageError: a number makes no sense; ``steps`` is missing.
        :raises DataError: the numbers of sequences or steps disagree.
        """
        temperature, seed = real("temperature", temperature), checked_seed(seed)
        steps, batch = whole("steps", steps), whole("batch", batch)
        if not temperature >= 0 or temperature == float("inf"):
            raise UsageError(f"a temperature is a number from 0 on, not {temperature}")
        for what, number in (("steps", steps), ("batch", batch)):
            if number is not None and number < 1:
                raise UsageError(f"{what} = {number}: at least 1")
        count = self._batch(batch)
        self.single = batch is None and count == 1 and all(isinstance(t, str) for t in self.texts)
        self.steps = steps
        out = {**self._repeated(count), TEMPERATURE: np.asarray(float(temperature))}
        rows_of = {n: self.prompts.get(n, [self._empty(n)]) for n in self.drawn}
        for name, own in rows_of.items():
            rows = own * count if len(own) == 1 else own
            axis = self._axis(name)
            beside = (row for n in self.drawn if self._axis(n) == axis for row in rows_of[n])
            length = self._length(name, max(map(len, beside)), steps)
            out[name + PROMPT] = _padded(rows, length, self._least(name))
            out[name + GIVEN] = np.array([len(r) for r in rows])
            if name + END in self.by_name:  # no index is -1
                out[name + END] = np.asarray(-1 if self.end is None else self.end)
        self.told = {name: out[name + GIVEN] for name in self.drawn}
        return self._with_uniform(out, count, seed)

    def result(self, found: Mapping[str, NDA]) -> Any:
        """Of what the model gave for :meth:`arrays`: texts, or arrays where no texts came in."""
        out = dict(found)
        for name in self.sequences:
            count_of = out.pop(name + LENGTH)
            if self.end is not None:  # nothing counts after it
                counts = np.arange(out[name].shape[1]) < count_of[:, None]
                out |= {name: np.where(counts, out[name], self.end), name + LENGTH: count_of}
        known = self.symbols.vocabulary
        if not self.texts or known is None or len(self.drawn) != 1:
            return out
        (name,) = self.drawn
        if not self.symbols.fit(self._port(name)):
            return out
        rows = out[name]
        lengths = out.get(name + LENGTH, np.full(*rows.shape))
        if self.steps is not None:  # those after shorter prompts are more
            lengths = np.minimum(lengths, self.told[name] + self.steps)
        texts = [known.decode(row[:n]) for row, n in zip(rows, lengths, strict=True)]
        return texts[0] if self.single else texts

    # ---------------------------------------------------------------- how sequences begin and end

    def _port(self, name: str) -> PortInfo:
        return self.by_name[name + PROMPT]

    def _end(self, end: int | str | None) -> int | None:
        if end is None:
            return None
        if len(self.sequences) != 1:
            names = ", ".join(self.sequences) or "none"
            raise UsageError(
                f"end is for a model that draws one sequence of indices; {self.ports.name} "
                f"draws {names}"
            )
        (name,) = self.sequences
        if isinstance(end, str):
            symbols = self.symbols.encode([end], self._port(name))[0]
            if len(symbols) != 1:
                raise DataError(f"end is one symbol; {end!r} is {len(symbols) or 'none'}")
            end = int(symbols[0])
        end = whole("end", end)
        least, most = self._least(name), self._most(name)
        if end < least or (most is not None and end > most):
            upto = f"go from {least} to {most}" if most is not None else f"are {least} or more"
            raise DataError(f"end = {end}; indices of {name} {upto}")
        return end

    def _least(self, name: str) -> int:
        """The smallest index of a target; steps count from 1."""
        return 0 if self._port(name).along is None else 1

    def _most(self, name: str) -> int | None:
        """The largest index of a target, where an input or the model tells it."""
        port = self._port(name)
        if port.along is None:
            return None if port.limit is None else port.limit - 1
        return port.along if isinstance(port.along, int) else self._input_length(port.along)

    def _prompts(self, prompt: Any) -> dict[str, list[NDA]]:
        """The sequences that each target begins with."""
        if prompt is None:
            return {}
        if not isinstance(prompt, Mapping):
            if len(self.drawn) != 1:
                names = ", ".join(self.drawn)
                raise UsageError(
                    f"{self.ports.name} draws {names}: give prompts by name, prompt={{name: …}}"
                    if names
                    else f"{self.ports.name} draws no sequence, which a prompt could begin"
                )
            prompt = {self.drawn[0]: prompt}
        out = {}
        for name, rows in prompt.items():
            if canonical(name) not in self.drawn:
                raise DataError(f"there is no sequence {name} to begin; the model draws "
                                f"{', '.join(self.drawn) or 'none'}")  # fmt: skip
            out[canonical(name)] = self._rows(canonical(name), rows)
        return out

    def _rows(self, name: str, given: Any) -> list[NDA]:
        """Prompts of one target, each [steps, …]."""
        port = self._port(name)
        texts = texts_in(given)
        if texts is not None:
            return self.symbols.encode(texts, port)
        rank = len(port.dims) - 1  # of one sequence
        try:
            array = np.asarray(given)
        except ValueError:  # prompts of different lengths
            array = None
        if array is not None and array.ndim in (0, rank):  # of rank 0 is what is told below
            rows = [array]
        else:
            rows = list(given)
        checked = []
        for row in map(np.asarray, rows):
            if row.size == 0:
                row = self._empty(name)
            features = row.shape[1:] == tuple(port.dims[2:])
            number = row.dtype.kind in ("iu" if port.kind == "index" else "fiu")
            if row.ndim != rank or not features or not number:
                raise DataError(
                    f"a prompt of {name} is {row.dtype} {brackets(row.shape)}; wanted is "
                    f"{port.kind} {brackets(port.dims[1:])}, or several of these"
                )
            checked.append(row.astype(dtype_of(port.kind, self.ports.dtype)))
        if not checked:
            raise DataError(f"there are no prompts of {name}")
        return checked

    def _empty(self, name: str) -> NDA:
        port = self._port(name)
        shape = [0, *(int(d) for d in port.dims[2:])]
        return np.zeros(shape, dtype_of(port.kind, self.ports.dtype))

    # ---------------------------------------------------------------- how much is drawn

    def _counts(self) -> dict[str, int]:
        """How many sequences each of the inputs has."""
        return {
            name: len(array)
            for name, array in self.inputs.items()
            if name in self.by_name and self.by_name[name].dims[:1] == (BATCH,) and np.ndim(array)
        }

    def _batch(self, batch: int | None) -> int:
        """The number of sequences; a single prompt, or one of an input, serves all."""
        told = {n: len(rows) for n, rows in self.prompts.items()} | self._counts()
        told = {n: count for n, count in told.items() if count != 1}
        for name, count in told.items():
            if not count:
                raise DataError(f"{name} is an empty batch: it holds no sequence")
        if batch is not None:
            told["batch"] = batch
        if len(set(told.values())) > 1:
            counts = ", ".join(f"{n} for {name}" for name, n in told.items())
            raise DataError(f"the numbers of sequences disagree: {counts}")
        return next(iter(told.values()), 1)

    def _repeated(self, count: int) -> dict[str, Any]:
        """The inputs, those of a single sequence as many times as there are sequences."""
        few = [name for name, own in self._counts().items() if own < count]
        return self.inputs | {n: np.repeat(np.asarray(self.inputs[n]), count, 0) for n in few}

    def _axis(self, name: str) -> str | int:
        """The length of a target's axis: its name, or the number."""
        return self._port(name).dims[1]

    def _length(self, name: str, given: int, steps: int | None) -> int:
        """The number of all steps of a target, of which the longest prompt has ``given``."""
        axis = self._axis(name)
        fixed = axis if isinstance(axis, int) else self._input_length(axis)
        if fixed is None:
            if steps is None:
                raise UsageError("how many steps are to be drawn? give steps=…")
            return given + steps
        if steps is not None and given + steps != fixed:
            raise DataError(
                f"the sequence has {fixed} steps, {given} of them given: {steps} cannot be drawn"
            )
        if given > fixed:
            raise DataError(f"the prompt of {name} has {given} steps, the sequence {fixed}")
        return fixed

    def _input_length(self, axis: str) -> int | None:
        """The length of an axis, where an input has it."""
        for name, array in self.inputs.items():
            port, shape = self.by_name.get(name), np.shape(array)
            if port is not None and axis in port.dims and len(shape) == len(port.dims):
                return int(shape[port.dims.index(axis)])
        return None

    def _with_uniform(self, arrays: dict[str, Any], batch: int, seed: int) -> dict[str, Any]:
        """With random numbers for what has neither prompt nor input to tell how many it needs."""
        known: dict[str, int] = {BATCH: batch}
        for name, array in arrays.items():
            port = self.by_name.get(name)
            if port is not None:
                known |= {d: n for d, n in zip(port.dims, np.shape(array), strict=False)
                          if isinstance(d, str)}  # fmt: skip
        for p in self.ports.inputs:
            if p.role == "uniform":
                open_ = [d for d in p.dims if isinstance(d, str) and d not in known]
                if open_ and self.steps is None:
                    raise UsageError("how many steps are to be drawn? give steps=…")
                shape = [d if isinstance(d, int) else known.get(d, self.steps or 0) for d in p.dims]
                arrays[p.name] = uniform(p.name, tuple(shape), seed, self.ports.dtype)
        return arrays


def _padded(rows: Sequence[NDA], length: int, filler: int) -> NDA:
    out = np.full((len(rows), length, *rows[0].shape[1:]), filler, rows[0].dtype)
    for place, row in zip(out, rows, strict=True):
        place[: len(row)] = row
    return out
