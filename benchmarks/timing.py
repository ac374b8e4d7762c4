"""Side-by-side timing of functions on a noisy machine.

Functions are not timed one after the other to the end: every round times each of them once (A B C,
A B C, ...), so that a slow spell of the machine falls on all of them; medians over the rounds are
compared.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from statistics import median
from typing import Any

#: A round calls a function so often that the calls together last at least this long.
ROUND_SECONDS = 0.02


def describe_machine() -> str:
    """One line about the machine and the versions that decide the numbers."""
    versions = [f"Python {platform.python_version()}"]
    for package in ("numpy", "onnx", "onnxruntime"):
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{package} absent")
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "all")
    return (
        f"{_processor()}, {os.cpu_count()} CPUs, {platform.system()}; "
        f"{', '.join(versions)}; BLAS threads: {threads}"
    )


def _processor() -> str:
    """The processor's name where the system tells it, else its architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def format_seconds(seconds: float) -> str:
    """`seconds` with the unit that leaves one to three digits before the point."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


@dataclass(frozen=True)
class Table:
    """The seconds per call of each function in each round."""

    rounds: dict[str, list[float]]
    baseline: str

    def seconds(self, name: str) -> float:
        """The median over the rounds."""
        return median(self.rounds[name])

    def ratio(self, name: str) -> float:
        """The median over the rounds of `name`'s time divided by the baseline's in that round."""
        pairs = zip(self.rounds[name], self.rounds[self.baseline], strict=True)
        return median(mine / other for mine, other in pairs)

    def markdown(self, title: str = "") -> str:
        """The table in Markdown: median, fastest round and ratio to the baseline."""
        lines = [
            f"| {title} | median | fastest | ratio to {self.baseline} |",
            "|---|---:|---:|---:|",
        ]
        for name, rounds in self.rounds.items():
            cells = (name, format_seconds(median(rounds)), format_seconds(min(rounds)))
            lines.append(f"| {' | '.join(cells)} | {self.ratio(name):.2f} |")
        return "\n".join(lines)


def repetitions(function: Callable[[], object], seconds: float = ROUND_SECONDS) -> int:
    """How often `function` has to be called for the calls to last `seconds`; warms it up, too."""
    function()
    count = 1
    while (elapsed := _time(function, count)) < seconds:
        count = max(count * 2, int(count * seconds / max(elapsed, 1e-9)))
    return count


def compare(
    functions: Mapping[str, Callable[[], object]],
    rounds: int = 15,
    baseline: str | None = None,
    title: str | None = None,
) -> Table:
    """Time `functions` side by side.

    Every round times each function once, by as many calls as last `ROUND_SECONDS`; every second
    round goes backwards, so that no function always follows the same other one. `baseline` is the
    function that ratios refer to (the first one if it is not given). Prints the table when there is
    a `title`.
    """
    names = list(functions)
    counts = {name: repetitions(functions[name]) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for index in range(rounds):
        for name in names if index % 2 == 0 else reversed(names):
            times[name].append(_time(functions[name], counts[name]) / counts[name])
    table = Table(times, names[0] if baseline is None else baseline)
    if title is not None:
        print(table.markdown(title), end="\n\n", flush=True)
    return table


def _time(function: Callable[[], object], count: int) -> float:
    """The seconds that `count` calls of `function` take."""
    start = time.perf_counter()
    for _ in range(count):
        function()
    return time.perf_counter() - start


def check_gradients(name: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Before anything is timed: gradients (``d_…``) agree to 1e-3 of the largest entry."""
    for param, gradient in wanted.items():
        if param.startswith("d_"):
            error = float(abs(found[param] - gradient).max()) / float(abs(gradient).max())
            assert error < 1e-3, (name, param, error)
