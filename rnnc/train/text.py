"""Text as data: characters or bytes, numbered by a vocabulary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnc.source import DataError, UsageError

NDA = NDArray[Any]


@dataclass(frozen=True)
class Vocabulary:
    """The symbols of a text in the order of their numbers; None: the 256 bytes."""

    characters: str | None

    def __len__(self) -> int:
        return 256 if self.characters is None else len(self.characters)

    def encode(self, text: str | bytes) -> NDA:
        """The numbers of the symbols of a text, [length], int64.

        :raises DataError: a character is not in the vocabulary.
        """
        if self.characters is None:
            data = text.encode() if isinstance(text, str) else text
            return np.frombuffer(data, np.uint8).astype(np.int64)
        if isinstance(text, bytes):
            raise DataError("the vocabulary is of characters, and these are bytes: decode them")
        if not text:
            return np.zeros(0, np.int64)
        known, codes = _codes(self.characters), _codes(text)
        order = np.argsort(known)
        at = np.minimum(np.searchsorted(known, codes, sorter=order), len(known) - 1)
        numbers = order[at]
        missing = codes[known[numbers] != codes]
        if missing.size:
            some = ", ".join(repr(chr(c)) for c in np.unique(missing)[:8])
            raise DataError(
                f"the vocabulary of {len(self)} characters has no {some}: "
                "take such characters out of the text, or build a vocabulary that has them"
            )
        return numbers.astype(np.int64)

    def decode(self, numbers: NDA | Sequence[int]) -> str | bytes:
        """The text of these numbers: characters, or bytes."""
        if self.characters is None:
            return bytes(int(n) for n in numbers)
        return "".join(self.characters[int(n)] for n in numbers)

    def to_json(self) -> str:
        """For the metadata of weights."""
        if self.characters is None:
            return json.dumps({"unit": "byte"})
        return json.dumps({"unit": "character", "symbols": self.characters}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """The inverse of :meth:`to_json`.

        :raises DataError: the text is something else.
        """
        try:
            table = json.loads(text)
            return cls(None if table["unit"] == "byte" else str(table["symbols"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"the vocabulary beside the weights is damaged: {error!r}") from error

    @classmethod
    def of(cls, *texts: str | bytes) -> Vocabulary:
        """All symbols of these texts, characters in the order of their code points."""
        symbols: set[str] = set()
        for text in texts:
            if isinstance(text, bytes):
                return cls(None)
            symbols |= set(text)
        return cls("".join(sorted(symbols)))


@dataclass(frozen=True)
class Text:
    """A text to train on: a str (characters) or bytes."""

    content: str | bytes

    @classmethod
    def read(cls, paths: str | Path | Sequence[str | Path], *, bytes: bool = False) -> Text:
        """The text of one file, or of several one after the other; characters are UTF-8.

        :raises UsageError: a file cannot be read.
        :raises DataError: a file is not UTF-8.
        """
        files = [paths] if isinstance(paths, (str, Path)) else list(paths)
        parts = [_content(Path(file)) for file in files]
        if bytes:
            return cls(b"".join(parts))
        texts = []
        for file, part in zip(files, parts, strict=True):
            try:
                texts.append(part.decode("utf-8-sig").replace("\r\n", "\n"))
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{file} is no UTF-8 text (byte {error.start}): "
                    "convert it, or train on bytes (--bytes)"
                ) from None
        return cls("".join(texts))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error


def _codes(text: str) -> NDA:
    """The code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
