"""What compiled models have in common, whatever runs them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnc.graph.names import canonical
from rnnc.runtime.generate import Generation
from rnnc.runtime.given import given
from rnnc.runtime.ports import Ports
from rnnc.runtime.score import Score
from rnnc.runtime.symbols import vocabulary_in
from rnnc.runtime.vocabulary import Vocabulary
from rnnc.source import DataError, UsageError

LOSS = "loss"


class Runnable(ABC):
    """A compiled model."""

    ports: Ports

    @abstractmethod
    def run(
        self,
        inputs: Mapping[str, Any],
        *,
        weights: Mapping[str, ArrayLike] | None = None,
        seed: int = 0,
    ) -> dict[str, NDArray[Any]]: ...

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The symbols that the model was trained with, where it knows them."""
        return vocabulary_in(self.ports)

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
        inputs: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Any:
        """Sequences drawn from a model of mode ``generate``.

        ``prompt`` is how they begin: whole numbers (or vectors, as the target is), one sequence
        or several; of several targets a dict by name. The result is a dict of arrays,
        ``[batch, T, …]``: what was drawn, then the model's outputs. Where the prompt or an input
        is a text (or several), which the model's vocabulary takes apart, and the model draws
        symbols, it is a text, prompt included, or a list of them.

        ``steps`` are drawn after the (longest) prompt; where an input has the same axis its
        length counts, and ``steps`` is left out. ``temperature`` 0 takes the most likely, the
        same seed gives the same result. After ``end``, an index or a symbol, nothing counts: a
        text stops there, and of arrays later steps are ``end``, too, and ``<target>.length``
        tells how many count, ``end`` included. ``batch`` is how many sequences, where neither
        prompts nor inputs tell; one prompt, and one sequence of an input, serve all.
        ``lengths`` are those of the inputs' sequences, by axis, of a model compiled with lengths;
        texts, and lists of sequences, tell theirs. The model's inputs are given by name, those
        with the name of an option here in ``inputs``.

        :raises DataError: a prompt or an input does not fit.
        :raises UsageError: the model does not generate; ``steps`` is missing.
        """
        named = _by_name(inputs, more)
        if "top_k" in named and all(p.name != "top_k" for p in self.ports.inputs):
            raise UsageError("top_k is an option of compile: spec.compile(…, top_k=…)")
        arrays = given(self.ports, named, lengths)
        task = Generation(self.ports, arrays, prompt, tuple(named.values()), end)
        arrays = task.arrays(steps, temperature, seed, batch)
        return task.result(self.run(arrays, weights=weights, seed=seed))

    def score(
        self,
        sequences: Sequence[Any],
        *,
        weights: Mapping[str, ArrayLike] | None = None,
        inputs: Mapping[str, Sequence[Any]] | None = None,
        **more: Sequence[Any],
    ) -> list[Score]:
        """How likely each of these sequences is to a model of mode ``loss``, whose only target
        they are: texts, which the model's vocabulary takes apart, or whole numbers (or vectors,
        as the target is). The model's inputs are given by name (those named like an option here
        in ``inputs``), an entry for each of them.

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
        columns = {
            canonical(name): _entries(name, rows) for name, rows in _by_name(inputs, more).items()
        }
        columns[targets[0]] = sequences = _entries("the first", sequences)
        if any(isinstance(row, Sequence | np.ndarray) and _is_empty(row) for row in sequences):
            raise DataError("one of the sequences is empty: there is nothing to score in it")
        if wrong := [n for n, rows in columns.items() if len(rows) != len(sequences)]:
            raise DataError(f"{wrong[0]} has {len(columns[wrong[0]])} entries, "
                            f"for {len(sequences)} sequences")  # fmt: skip
        out = []
        for i in range(len(sequences)):
            found = self.run({n: [rows[i]] for n, rows in columns.items()}, weights=weights)
            loss, count = found[f"loss.{targets[0]}"], found[f"count.{targets[0]}"]
            out.append(Score(-float(loss), int(count)))
        return out


def _by_name(inputs: Any, more: Mapping[str, Any]) -> dict[str, Any]:
    """A model's inputs, given by their names or in one dict.

    :raises UsageError: it is no dict.
    """
    if not isinstance(inputs, Mapping | None):
        raise UsageError(f"inputs are a dict of arrays by name, not {type(inputs).__name__}")
    return {**(inputs or {}), **more}


def _is_empty(row: Sequence[Any] | NDArray[Any]) -> bool:
    return not (row.size if isinstance(row, np.ndarray) else len(row))


def _entries(what: str, given: Any) -> Sequence[Any]:
    """What is given for several sequences, one entry for each.

    :raises UsageError: it has no entries.
    """
    try:
        return list(None if isinstance(given, Mapping) else given)  # type: ignore[arg-type]
    except TypeError:
        raise UsageError(
            f"score takes a list with an entry for each sequence; {what} is {type(given).__name__}"
        ) from None
