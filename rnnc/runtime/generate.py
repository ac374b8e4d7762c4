"""Sequences from models of mode ``generate``: prompts, numbers of steps, ends, texts.

The model itself draws (``passes.generate``). Here its inputs are made: prompts padded to the
number of steps, how much of each is given, the uniform numbers where no array tells how many.
The model says which steps count; what comes after an end token is overwritten here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnc.graph.names import canonical
from rnnc.graph.types import BATCH
from rnnc.runtime.ports import PortInfo, Ports, brackets, dtype_of, given, uniform
from rnnc.runtime.score import Score
from rnnc.runtime.vocabulary import Vocabulary
from rnnc.source import DataError, UsageError

NDA = NDArray[Any]

MODE, LOSS = "generate", "loss"
PROMPT, GIVEN, END, LENGTH = ".prompt", ".given", ".end", ".length"


class Runnable(ABC):
    """A compiled model."""

    ports: Ports

    @abstractmethod
    def run(
        self,
        inputs: Mapping[str, ArrayLike],
        *,
        weights: Mapping[str, ArrayLike] | None = None,
        seed: int = 0,
    ) -> dict[str, NDA]: ...

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The symbols that the model was trained with, where it knows them."""
        text = self.ports.extra.get("vocabulary")
        return None if text is None else Vocabulary.from_json(text)

    def generate(
        self,
        prompt: Any = None,
        *,
        steps: int | None = None,
        temperature: float = 1.0,
        seed: int = 0,
        end: int | str | None = None,
        batch: int | None = None,
        lengths: Mapping[str, ArrayLike] | None = None,
        weights: Mapping[str, ArrayLike] | None = None,
        **inputs: Any,
    ) -> Any:
        """Sequences drawn from a model of mode ``generate``.

        ``prompt`` is how they begin: whole numbers (or vectors, as the target is), one sequence
        or several; of several targets a dict by name. With a text, or several, which the model's
        vocabulary takes apart, the result is a text (or as many), prompt included; else it is a
        dict of arrays, ``[batch, T, …]``: what was drawn, then the model's outputs.

        ``steps`` are drawn after the (longest) prompt; where an input has the same axis its
        length counts, and ``steps`` is left out. ``temperature`` 0 takes the most likely, the
        same seed gives the same result. After ``end``, an index or a symbol, nothing counts: a
        text stops there, and of arrays later steps are ``end``, too, and ``<target>.length``
        tells how many count, ``end`` included. ``batch`` is how many sequences, where neither
        prompts nor ``inputs`` tell; an index input may be a text, too, or a list of texts.
        ``lengths`` are those of the inputs' sequences, by axis, of a model compiled with lengths;
        texts tell theirs.

        :raises DataError: a prompt or an input does not fit.
        :raises UsageError: the model does not generate; ``steps`` is missing.
        """
        named = given(self.ports, _canonical(inputs), lengths)
        return _Generation(self, named, end).run(prompt, steps, temperature, seed, batch, weights)

    def score(
        self,
        sequences: Sequence[Any],
        *,
        weights: Mapping[str, ArrayLike] | None = None,
        **inputs: Sequence[Any],
    ) -> list[Score]:
        """How likely each of these sequences is to a model of mode ``loss``, whose only target
        they are: texts, which the model's vocabulary takes apart, or whole numbers (or vectors,
        as the target is). ``inputs`` have an entry for each of them.

        :raises DataError: a sequence or an input does not fit; a symbol is unknown.
        :raises UsageError: the model is of another mode, or has not one target; or one text is
            given and no list.
        """
        targets = [p.name for p in self.ports.inputs if p.role == "target"]
        if self.ports.extra.get("mode") != LOSS or len(targets) != 1:
            what = f"observes {', '.join(targets) or 'nothing'}"
            if self.ports.extra.get("mode") != LOSS:
                what = f"was compiled for mode {self.ports.extra.get('mode')}"
            raise UsageError(f"scores are of a model of mode {LOSS!r} with one target; "
                             f"{self.ports.name} {what}")  # fmt: skip
        if isinstance(sequences, str):
            raise UsageError("score takes a list of texts: score([text])")
        (name,) = targets
        symbols = _Symbols(self.ports, self.vocabulary)
        columns = {n: symbols.rows(n, rows) for n, rows in _canonical(inputs).items()}
        columns[name] = symbols.rows(name, sequences)
        if wrong := [n for n, rows in columns.items() if len(rows) != len(sequences)]:
            raise DataError(f"{wrong[0]} has {len(columns[wrong[0]])} entries, "
                            f"for {len(sequences)} sequences")  # fmt: skip
        out = []
        for i in range(len(sequences)):
            found = self.run({n: rows[i][None] for n, rows in columns.items()}, weights=weights)
            out.append(Score(-float(found[f"loss.{name}"]), int(found[f"count.{name}"])))
        return out


class _Symbols:
    """Texts as numbers, by the vocabulary of a model."""

    def __init__(self, ports: Ports, vocabulary: Vocabulary | None):
        self.name = ports.name
        self.by_name = {p.name: p for p in ports.inputs}
        self.vocabulary = vocabulary

    def known(self, port: PortInfo | None) -> Vocabulary:
        """The vocabulary, if it is one for that port."""
        if self.vocabulary is None:
            raise DataError(
                f"{self.name} has no vocabulary to read texts with: give whole numbers, "
                "or compile it with the weights file of a training on texts"
            )
        if port is not None and (port.kind != "index" or len(self.vocabulary) > (port.limit or 0)):
            raise DataError(f"{port} takes no symbols of a vocabulary of {len(self.vocabulary)}")
        return self.vocabulary

    def encode(self, texts: Sequence[str], port: PortInfo) -> list[NDA]:
        vocabulary = self.known(port)
        return [vocabulary.encode(text) for text in texts]

    def rows(self, name: str, given: Sequence[Any]) -> list[NDA]:
        """One array for each entry, which may be a text."""
        port = self.by_name.get(name)
        if port is None or not _is_texts(given):
            return [np.asarray(row) for row in given]
        return self.encode(given, port)


class _Generation:
    def __init__(self, model: Runnable, inputs: Mapping[str, Any], end: int | str | None):
        self.model = model
        self.ports = model.ports
        if self.ports.extra.get("mode") != MODE:
            raise UsageError(
                f"{self.ports.name} was compiled for mode {self.ports.extra.get('mode')}; "
                f"compile it with mode={MODE!r}"
            )
        self.by_name = {p.name: p for p in self.ports.inputs}
        self.outputs = {p.name: p for p in self.ports.outputs}
        self.drawn = [n.removesuffix(PROMPT) for n in self.by_name if n.endswith(PROMPT)]
        self.symbols = _Symbols(self.ports, model.vocabulary)
        self.inputs: dict[str, Any] = {}
        for name, array in inputs.items():
            self._input(name, array)
        self.end = self._end(end)

    def run(
        self,
        prompt: Any,
        steps: int | None,
        temperature: float,
        seed: int,
        batch: int | None,
        weights: Mapping[str, ArrayLike] | None,
    ) -> Any:
        if not temperature >= 0 or temperature == float("inf"):
            raise UsageError(f"a temperature is a number from 0 on, not {temperature}")
        for what, count in (("steps", steps), ("batch", batch)):
            if count is not None and count < 1:
                raise UsageError(f"{what} = {count}: at least 1")
        texts = [prompt] if isinstance(prompt, str) else prompt
        is_text = _is_texts(texts)
        prompts = self._prompts(texts if is_text else prompt)
        count = self._batch(prompts, batch)
        arrays = {**self.inputs, "temperature": np.asarray(float(temperature))}
        told = {}
        rows_of = {n: prompts.get(n, [self._empty(n)]) for n in self.drawn}
        for name, own in rows_of.items():
            rows = own * count if len(own) == 1 else own
            axis = self._axis(name)
            beside = (row for n in self.drawn if self._axis(n) == axis for row in rows_of[n])
            length = self._length(name, max(map(len, beside)), steps)
            arrays[name + PROMPT] = _padded(rows, length)
            arrays[name + GIVEN] = told[name] = np.array([len(r) for r in rows])
            if name + END in self.by_name:  # no index is -1
                arrays[name + END] = np.asarray(-1 if self.end is None else self.end)
        out = self.model.run(self._with_uniform(arrays, count, steps, seed), weights=weights,
                             seed=seed)  # fmt: skip
        for name in self._sequences():
            count_of = out.pop(name + LENGTH)
            if self.end is not None:  # nothing counts after it
                counts = np.arange(out[name].shape[1]) < count_of[:, None]
                out |= {name: np.where(counts, out[name], self.end), name + LENGTH: count_of}
        if not is_text:
            return out
        (name,) = self._sequences()
        lengths = out.get(name + LENGTH, np.full(count, out[name].shape[1]))
        if steps is not None:  # those after shorter prompts are more
            lengths = np.minimum(lengths, told[name] + steps)
        found = [self._text(row[:n]) for row, n in zip(out[name], lengths, strict=True)]
        return found[0] if isinstance(prompt, str) and batch is None else found

    # ---------------------------------------------------------------- what is given

    def _sequences(self) -> list[str]:
        """The targets that are sequences of indices."""
        return [n for n in self.drawn if self.outputs[n].kind == "index"]

    def _text(self, numbers: NDA) -> str:
        found = self.symbols.known(None).decode(numbers)
        return found if isinstance(found, str) else found.decode("utf-8", "replace")

    def _input(self, name: str, array: Any) -> None:
        port = self.by_name.get(name)
        texts = [array] if isinstance(array, str) else array
        if port is None or not _is_texts(texts):
            self.inputs[name] = array
            return
        rows = self.symbols.encode(texts, port)
        own = [length for dim, length in port.own if dim == 1]
        if own:
            self.inputs[own[0]] = np.array([len(r) for r in rows])
        elif len({len(r) for r in rows}) > 1:
            raise DataError(
                f"the texts of {name} have different lengths: generate one at a time, or compile "
                "the model with lengths"
            )
        self.inputs[name] = _padded(rows, max(map(len, rows)))

    def _end(self, end: int | str | None) -> int | None:
        if end is None:
            return None
        if len(self._sequences()) != 1:
            names = ", ".join(self._sequences()) or "none"
            raise UsageError(
                f"end is for a model that draws one sequence of indices; {self.ports.name} "
                f"draws {names}"
            )
        (name,) = self._sequences()
        port = self.by_name[name + PROMPT]
        limit = port.limit
        if isinstance(end, str):
            symbols = self.symbols.encode([end], port)[0]
            if len(symbols) != 1:
                raise DataError(f"end is one symbol; {end!r} is {len(symbols)}")
            end = int(symbols[0])
        if not 0 <= end < (limit or end + 1):
            raise DataError(f"end = {end}; indices of {name} go from 0 to {(limit or 0) - 1}")
        return end

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
        for name, rows in _canonical(prompt).items():
            if name not in self.drawn:
                raise DataError(f"there is no sequence {name} to begin; the model draws "
                                f"{', '.join(self.drawn) or 'none'}")  # fmt: skip
            out[name] = self._rows(name, rows)
        return out

    def _rows(self, name: str, given: Any) -> list[NDA]:
        """Prompts of one target, each [steps, …]."""
        port = self.by_name[name + PROMPT]
        texts = [given] if isinstance(given, str) else given
        if _is_texts(texts):
            return self.symbols.encode(texts, port)
        rank = len(port.dims) - 1  # of one sequence
        try:
            whole = np.asarray(given)
        except ValueError:  # prompts of different lengths
            whole = None
        rows = [whole] if whole is not None and whole.ndim == rank else list(given)
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
        port = self.by_name[name + PROMPT]
        shape = [0, *(int(d) for d in port.dims[2:])]
        return np.zeros(shape, dtype_of(port.kind, self.ports.dtype))

    # ---------------------------------------------------------------- how much is drawn

    def _batch(self, prompts: Mapping[str, list[NDA]], batch: int | None) -> int:
        """The number of sequences; a single prompt serves all."""
        told = {n: len(rows) for n, rows in prompts.items() if len(rows) != 1}
        for name, array in self.inputs.items():
            port = self.by_name.get(name)
            if port is not None and port.dims[:1] == (BATCH,) and np.ndim(array):
                told[name] = len(array)
        if batch is not None:
            told["batch"] = batch
        if len(set(told.values())) > 1:
            counts = ", ".join(f"{n} for {name}" for name, n in told.items())
            raise DataError(f"the numbers of sequences disagree: {counts}")
        return next(iter(told.values()), 1)

    def _axis(self, name: str) -> str | int:
        """The length of a target's axis: its name, or the number."""
        return self.by_name[name + PROMPT].dims[1]

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

    def _with_uniform(
        self, arrays: dict[str, Any], batch: int, steps: int | None, seed: int
    ) -> dict[str, Any]:
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
                if open_ and steps is None:
                    raise UsageError("how many steps are to be drawn? give steps=…")
                shape = [d if isinstance(d, int) else known.get(d, steps or 0) for d in p.dims]
                arrays[p.name] = uniform(p.name, tuple(shape), seed, self.ports.dtype)
        return arrays


def _padded(rows: Sequence[NDA], length: int) -> NDA:
    out = np.zeros((len(rows), length, *rows[0].shape[1:]), rows[0].dtype)
    for place, row in zip(out, rows, strict=True):
        place[: len(row)] = row
    return out


def _is_texts(x: Any) -> bool:
    return isinstance(x, Sequence) and len(x) > 0 and all(isinstance(t, str) for t in x)


def _canonical(arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {canonical(name): array for name, array in arrays.items()}
