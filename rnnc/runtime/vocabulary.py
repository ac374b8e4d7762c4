"""The symbols of a text, and their numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnc.source import DataError, UsageError

NDA = NDArray[Any]


@dataclass(frozen=True)
class Vocabulary:
    """The symbols of a text in the order of their numbers: characters (a str) or words (a tuple),
    which blanks set apart; None: the 256 bytes."""

    symbols: str | tuple[str, ...] | None

    def __post_init__(self) -> None:
        """:raises DataError: there is no symbol, one is there twice, or a word has a blank."""
        symbols = self.symbols
        if symbols is None:
            return
        if not symbols:
            raise DataError("a vocabulary has one symbol or more; this one is empty")
        if len(set(symbols)) < len(symbols):
            twice = next(s for i, s in enumerate(symbols) if s in symbols[:i])
            raise DataError(f"the vocabulary has {twice!r} twice: a symbol has one number")
        if isinstance(symbols, tuple) and (wrong := [w for w in symbols if w.split() != [w]]):
            raise DataError(
                f"a word has no blanks, unlike {wrong[0]!r}: give characters as one text"
            )

    @property
    def unit(self) -> str:
        """``bytes``, ``words`` or ``characters``."""
        if self.symbols is None:
            return "bytes"
        return "words" if isinstance(self.symbols, tuple) else "characters"

    def __len__(self) -> int:
        return 256 if self.symbols is None else len(self.symbols)

    def encode(self, text: str | bytes) -> NDA:
        """The numbers of the symbols of a text, [length], int64.

        :raises DataError: a character or word is not in the vocabulary.
        """
        if self.symbols is None:
            data = text.encode() if isinstance(text, str) else text
            return np.frombuffer(data, np.uint8).astype(np.int64)
        if isinstance(text, bytes):
            raise DataError("the vocabulary is not of bytes, and these are bytes: decode them")
        if not text:
            return np.zeros(0, np.int64)
        if isinstance(self.symbols, tuple):
            return self._encode_words(self.symbols, text.split())
        known, codes = _codes(self.symbols), _codes(text)
        order = np.argsort(known)
        at = np.minimum(np.searchsorted(known, codes, sorter=order), len(known) - 1)
        numbers = order[at]
        missing = codes[known[numbers] != codes]
        if missing.size:
            raise self._unknown("character", [chr(c) for c in np.unique(missing)])
        return numbers.astype(np.int64)

    def _encode_words(self, known: tuple[str, ...], words: list[str]) -> NDA:
        places = {word: i for i, word in enumerate(known)}
        if missing := sorted(set(words) - places.keys()):
            raise self._unknown("word", missing)
        return np.array([places[word] for word in words], np.int64)

    def _unknown(self, what: str, missing: list[str]) -> DataError:
        some = ", ".join(map(repr, missing[:8]))
        return DataError(
            f"the vocabulary of {len(self)} {what}s has no {some}: "
            f"take such {what}s out of the text, or build a vocabulary that has them"
        )

    def decode(self, numbers: NDA | Sequence[int]) -> str:
        """The text of these numbers: characters, words with a blank between them, or what bytes
        are in UTF-8 (those that are none as U+FFFD; ``bytes(numbers)`` keeps them).

        :raises DataError: a number is that of no symbol.
        """
        found = np.asarray(numbers, np.int64)
        if wrong := [int(n) for n in found if not 0 <= n < len(self)]:
            raise DataError(f"the vocabulary has {len(self)} symbols, none with number {wrong[0]}")
        if self.symbols is None:
            return bytes(found.tolist()).decode("utf-8", "replace")
        between = " " if isinstance(self.symbols, tuple) else ""
        return between.join(self.symbols[n] for n in found)

    def to_json(self) -> str:
        """For the metadata of weights and models."""
        if self.symbols is None:
            return json.dumps({"unit": "byte"})
        return json.dumps({"unit": self.unit[:-1], "symbols": self.symbols}, ensure_ascii=False)

    @classmethod
    def given(cls, symbols: object) -> Vocabulary:
        """A vocabulary that a caller gave as such, or as its symbols: characters as one text,
        words as a sequence.

        :raises UsageError: it is something else.
        :raises DataError: the symbols make no vocabulary.
        """
        if isinstance(symbols, Vocabulary):
            return symbols
        if isinstance(symbols, str):
            return cls(symbols)
        if isinstance(symbols, Sequence) and all(isinstance(s, str) for s in symbols):
            return cls(tuple(symbols))
        raise UsageError(
            "a vocabulary is a rnnc.train.Vocabulary, a text of its characters or a list of its "
            f"words, not {type(symbols).__name__}"
        )

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """The inverse of :meth:`to_json`.

        :raises DataError: the text is something else.
        """
        try:
            table = json.loads(text)
            if table["unit"] == "byte":
                return cls(None)
            symbols = table["symbols"]
            return cls(tuple(map(str, symbols)) if table["unit"] == "word" else str(symbols))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"the vocabulary beside the weights is damaged: {error!r}") from error

    @classmethod
    def of(cls, *texts: str | bytes, words: bool = False) -> Vocabulary:
        """All symbols of these texts: bytes, ``words``, or characters in the order of their code
        points."""
        symbols: set[str] = set()
        for text in texts:
            if isinstance(text, bytes):
                return cls(None)
            symbols |= set(text.split() if words else text)
        found = sorted(symbols)
        return cls(tuple(found) if words else "".join(found))


def _codes(text: str) -> NDA:
    """The code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
