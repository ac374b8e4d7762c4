"""How long rnnc keeps one waiting: `rnnc --help`, and a small spec to ONNX.

python benchmarks/startup.py [--runs N]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from timing import describe_machine, format_seconds

ROOT = Path(__file__).resolve().parents[1]
SPEC = ROOT / "specs" / "cells" / "lstm.rnn"

#: The installed command does the same.
COMMAND = [sys.executable, "-c", "from rnnc.cli import main; main()"]

#: What a child process runs to time the compilation alone, in seconds.
CHILD = """
import os, sys, tempfile, time
import rnnc.cli

def run(command):
    try:
        code = rnnc.cli.main(command)
    except SystemExit as end:
        code = end.code
    if code:
        sys.exit(code)

with tempfile.TemporaryDirectory() as folder:
    command = ["compile", sys.argv[1], "--set", "n=64", "--set", "m=64"]
    command += ["-o", os.path.join(folder, "lstm.onnx")]
    if sys.argv[2] == "warm":
        run(command)
    start = time.perf_counter()
    run(command)
    seconds = time.perf_counter() - start
print(seconds)
"""


def wall_time(command: Sequence[str]) -> float:
    """The seconds that a process takes from its start to its end."""
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    return time.perf_counter() - start


def compile_time(state: str) -> float:
    """The seconds from spec to ONNX file in a new process, imports of `rnnc` not counted.

    `cold` is the process's first compilation, with the modules that it imports only when needed;
    `warm` is the second.
    """
    command = [sys.executable, "-c", CHILD, str(SPEC), state]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure side by side and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args(arguments)
    measures: dict[str, Callable[[], float]] = {
        "`python -c pass`": lambda: wall_time([sys.executable, "-c", "pass"]),
        "`rnnc --help`": lambda: wall_time([*COMMAND, "--help"]),
        "`import rnnc`": lambda: wall_time([sys.executable, "-c", "import rnnc"]),
        "LSTM to ONNX, first in the process": lambda: compile_time("cold"),
        "LSTM to ONNX, second": lambda: compile_time("warm"),
    }
    times: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(options.runs):
        for name, measure in measures.items():
            times[name].append(measure())
    print(f"{describe_machine()}\n\n| | median | fastest |\n|---|---:|---:|")
    for name, seconds in times.items():
        print(f"| {name} | {format_seconds(median(seconds))} | {format_seconds(min(seconds))} |")


if __name__ == "__main__":
    main()
