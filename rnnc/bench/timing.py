"""Side-by-side timing of functions on a noisy machine.

Functions are not timed one after the other to the end: every round times each of them once (A B C,
A B C, ...), so that a slow spell of the machine falls on all of them; medians over the rounds are
compared, and ratios are medians of the ratios within a round.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from statistics import median

#: A round calls a function so often that the calls together last at least this long, in seconds.
ROUND_SECONDS = 0.02


@dataclass(frozen=True)
class Times:
    """The seconds per call of each function in each round."""

    rounds: Mapping[str, list[float]]

    def seconds(self, name: str) -> float:
        """The median over the rounds."""
        return median(self.rounds[name])

    def fastest(self, name: str) -> float:
        """The fastest round."""
        return min(self.rounds[name])

    def ratio(self, name: str, baseline: str) -> float:
        """The median over the rounds of a function's time divided by the baseline's."""
        pairs = zip(self.rounds[name], self.rounds[baseline], strict=True)
        return median(mine / other for mine, other in pairs)


def measure(
    functions: Mapping[str, Callable[[], object]],
    rounds: int = 15,
    seconds: float = ROUND_SECONDS,
) -> Times:
    """Time functions side by side.

    Every round times each function once, by as many calls as last ``seconds``; every second round
    goes backwards, so that no function always follows the same other one.
    """
    names = list(functions)
    counts = {name: _repetitions(functions[name], seconds) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for index in range(rounds):
        for name in names if index % 2 == 0 else reversed(names):
            times[name].append(_time(functions[name], counts[name]) / counts[name])
    return Times(times)


def _repetitions(function: Callable[[], object], seconds: float) -> int:
    """How often a function has to be called for the calls to last so long; warms it up, too."""
    function()
    count = 1
    while (elapsed := _time(function, count)) < seconds:
        count = max(count * 2, int(count * seconds / max(elapsed, 1e-9)))
    return count


def _time(function: Callable[[], object], count: int) -> float:
    """The seconds that so many calls take."""
    start = time.perf_counter()
    for _ in range(count):
        function()
    return time.perf_counter() - start


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """With so many threads for all libraries that are loaded from now on.

    XLA computes in threads of its own whatever it is told; so the process is also kept to as many
    processors, where the system can do that.
    """
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(threads)))
    processors = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if processors:
        os.sched_setaffinity(0, sorted(processors)[:threads])
    try:
        yield
    finally:
        if processors:
            os.sched_setaffinity(0, processors)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def format_seconds(seconds: float) -> str:
    """A time with the unit that leaves one to three digits before the point."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def describe_machine(packages: Iterable[str] = ("numpy", "onnxruntime")) -> str:
    """One line about the machine and the versions that decide the numbers; packages that are not
    installed are left out."""
    versions = [f"Python {platform.python_version()}"]
    for package in packages:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return f"{_processor()}, {os.cpu_count()} CPUs, {platform.system()}; {', '.join(versions)}"


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
