"""Text as data: characters, words or bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rnnc.source import DataError, UsageError


@dataclass(frozen=True)
class Text:
    """A text to train on: a str (its characters, or its ``words``) or bytes."""

    content: str | bytes
    words: bool = False

    @property
    def unit(self) -> str:
        """``bytes``, ``words`` or ``characters``."""
        if isinstance(self.content, bytes):
            return "bytes"
        return "words" if self.words else "characters"

    @classmethod
    def read(
        cls, paths: str | Path | Sequence[str | Path], *, bytes: bool = False, words: bool = False
    ) -> Text:
        """The text of one file, or of several one after the other; it is UTF-8 unless of bytes.

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
        return cls("".join(texts), words)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
