"""What a training says while it runs: a log of JSON lines, and a bar on the terminal."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from rnnc.files import replaced
from rnnc.source import UsageError


class Log:
    """A file with one JSON object in a line for each step and each epoch.

    Going on from a step, lines of later steps, which will come again, are taken out.

    :raises UsageError: the file cannot be written.
    """

    def __init__(self, path: str | Path | None, step: int = 0):
        self._file: IO[str] | None = None
        if path is None:
            return
        if step and Path(path).is_file():
            _cut(Path(path), step)
        try:
            self._file = open(path, "a" if step else "w", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error

    def write(self, event: str, values: Mapping[str, Any]) -> None:
        """A line; what is no number (infinite, say) is null, for JSON has no such numbers."""
        if self._file is not None:
            line = {"event": event} | {k: _plain(v) for k, v in values.items()}
            self._file.write(json.dumps(line) + "\n")
            if event != "step":
                self._file.flush()

    def close(self) -> None:
        """Write what is left."""
        if self._file is not None:
            self._file.close()


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cut(path: Path, step: int) -> None:
    """Leave the lines up to a step."""
    with replaced(path) as part:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        part.write_text("".join(x for x in lines if _step_of(x) <= step), encoding="utf-8")


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf  # the last line of a training that was cut off


class Bar:
    """A progress bar on stderr; nothing where that is no terminal (or ``show`` is False)."""

    def __init__(self, show: bool | None, step: int, total: int | None):
        self._progress: Any = None
        wanted = sys.stderr is not None and sys.stderr.isatty() if show is None else show
        if not wanted:
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("", total=total, completed=step)

    def __enter__(self) -> Bar:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def update(self, step: int, epoch: int, loss: float, rate: float) -> None:
        """Show a step."""
        if self._progress is not None:
            text = f"epoch {epoch}  loss {loss:.4g}  lr {rate:.3g}"
            self._progress.update(self._task, completed=step, description=text)

    def epoch(self, entry: Mapping[str, float]) -> None:
        """Leave a line about an epoch above the bar."""
        if self._progress is not None:
            text = f"epoch {entry['epoch']}  loss {entry['loss']:.4g}"
            if "validation.loss" in entry:
                text += f"  validation {entry['validation.loss']:.4g}"
            self._progress.console.print(text, highlight=False)
