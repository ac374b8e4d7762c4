"""Texts among what a model is given: numbers, by its vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnc.runtime.ports import PortInfo, Ports
from rnnc.runtime.vocabulary import Vocabulary
from rnnc.source import DataError

NDA = NDArray[Any]


def texts_in(given: Any) -> list[str] | None:
    """The texts, of one (a str) or of several in a sequence or array; None for anything else."""
    if isinstance(given, str):
        return [str(given)]
    if isinstance(given, np.ndarray):
        return [str(t) for t in given] if given.dtype.kind == "U" and given.ndim == 1 else None
    if isinstance(given, Sequence) and given and all(isinstance(t, str) for t in given):
        return [str(t) for t in given]
    return None


def vocabulary_in(ports: Ports) -> Vocabulary | None:
    """The symbols that a model knows, if it knows any."""
    text = ports.extra.get("vocabulary")
    return None if text is None else Vocabulary.from_json(text)


class Symbols:
    """What the symbols of a model's vocabulary stand for at its ports."""

    def __init__(self, ports: Ports):
        self.name = ports.name
        self.vocabulary = vocabulary_in(ports)

    def fit(self, port: PortInfo) -> bool:
        """Whether the numbers of all symbols are in the range of an index."""
        known = self.vocabulary
        return known is not None and port.kind == "index" and len(known) <= (port.limit or 0)

    def encode(self, texts: Sequence[str], port: PortInfo) -> list[NDA]:
        """The numbers of each text, [length].

        :raises DataError: there is no vocabulary for that port, or a symbol is not in it.
        """
        if self.vocabulary is None:
            raise DataError(
                f"{self.name} has no vocabulary to read texts with: give whole numbers, or compile "
                "it with the weights file of a training on texts, or with vocabulary=…"
            )
        if not self.fit(port):
            raise DataError(f"{port} takes no symbols of a vocabulary of {len(self.vocabulary)}")
        return [self.vocabulary.encode(text) for text in texts]
