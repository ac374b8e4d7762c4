"""How long the compiler takes: to start, from a spec to an ONNX model, and for unrolled steps.

    python benchmarks/compile.py [--runs N] [--steps 125 250 500 1000]

The first table is of processes, by the clock on the wall. The second is of one process that has
compiled before: parsing, passes, schedule and the checked ONNX model, which is not loaded, in
seconds of the processor (all is one thread), of the LSTM and the slowest models of the library. The
third is of unrolled models, each in a process of its own, also in seconds of the processor, after a
first compilation; memory is the peak resident size less that of a process that unrolls a single
step. Its columns "per step" should be constant.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from timing import describe_machine, format_seconds

ROOT = Path(__file__).resolve().parents[1]
SLOWEST = 5

#: The installed command does the same.
COMMAND = [sys.executable, "-c", "from rnnc.cli import main; main()"]

#: What a child process runs to compile from spec to file, imports of `rnnc` not counted.
FIRST = """
import os, sys, tempfile, time
import rnnc.cli

with tempfile.TemporaryDirectory() as folder:
    command = ["compile", "LSTM", "--set", "n=64", "--set", "m=64"]
    start = time.perf_counter()
    try:
        code = rnnc.cli.main([*command, "-o", os.path.join(folder, "lstm.onnx")])
    except SystemExit as end:
        code = end.code
    print(time.perf_counter() - start)
sys.exit(code)
"""

#: What a child process runs to unroll a model: its arguments are a `Case` and the steps.
UNROLLED = """
import json, os, resource, sys, tempfile, time
import rnnc

name, mode, sizes, steps = json.loads(sys.argv[1])

def compiled(steps):
    start = time.process_time()
    model = rnnc.load(name, **sizes).compile("onnx", mode=mode, unroll=steps)
    seconds = time.process_time() - start
    with tempfile.TemporaryDirectory() as folder:
        model.save(os.path.join(folder, "model.onnx"))
        return seconds, os.path.getsize(os.path.join(folder, "model.onnx"))

compiled(1)
seconds, size = compiled(steps)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([seconds, size / 2**20, peak / 2**10]))
"""


@dataclass(frozen=True)
class Case:
    """A model to unroll."""

    name: str
    mode: str
    sizes: dict[str, int]
    steps: tuple[int, ...]


def wall_time(command: Sequence[str]) -> float:
    """The seconds that a process takes from its start to its end."""
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    return time.perf_counter() - start


def told(program: str, *arguments: str) -> str:
    """The last line that a child process prints."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout.splitlines()[-1]


def starting(runs: int) -> None:
    """Print how long one waits for the first answer."""
    measures = {
        "`python -c pass`": lambda: wall_time([sys.executable, "-c", "pass"]),
        "`rnnc --help`": lambda: wall_time([*COMMAND, "--help"]),
        "`import rnnc`": lambda: wall_time([sys.executable, "-c", "import rnnc"]),
        "LSTM to ONNX, first in the process": lambda: float(told(FIRST)),
    }
    times: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(runs):
        for name, measure in measures.items():
            times[name].append(measure())
    print_times("starting", times)


def library(runs: int) -> None:
    """Print how long the LSTM takes, and those models of the library that take longest."""
    import rnnc
    from rnnc.spec_files import library as specs

    times: dict[str, list[float]] = {}
    for name, path in specs().items():
        if path.parent.name == "optim":  # compiled as parts of training steps alone
            continue
        system = rnnc.load(name).system
        sizes = {d: 8 for d, size in system.dims.items() if size is None}
        for mode in ("predict", "grad") if system.params else ("predict",):
            once = times.setdefault(f"{name}, {mode}", [])
            for _ in range(runs + 1):
                start = time.process_time()
                rnnc.load(name, **sizes).compile("onnx", mode=mode)
                once.append(time.process_time() - start)
            del once[0]  # with what is imported when first needed
    shown = ["LSTM, predict", "LSTM, grad"]
    for mode in ("predict", "grad"):
        of_mode = [name for name in times if name.endswith(f", {mode}")]
        shown += sorted(of_mode, key=lambda name: -median(times[name]))[:SLOWEST]
    print_times(f"the slowest of {len(times)}", {name: times[name] for name in shown})


def print_times(title: str, times: dict[str, list[float]]) -> None:
    print(f"| {title} | median | fastest |\n|---|---:|---:|")
    for name, seconds in times.items():
        print(f"| {name} | {format_seconds(median(seconds))} | {format_seconds(min(seconds))} |")
    print(flush=True)


def unrolled(cases: Sequence[Case], runs: int) -> None:
    """Print time and memory of unrolled models by the number of steps."""
    print(
        "| unrolled | steps | time | time per step | memory over one step | per step | file |"
        "\n|---|---:|---:|---:|---:|---:|---:|"
    )
    for case in cases:

        def measure(steps: int, case: Case = case) -> tuple[float, float, float]:
            told_case = json.dumps([case.name, case.mode, case.sizes, steps])
            seconds, size, peak = json.loads(told(UNROLLED, told_case))
            return seconds, size, peak

        single = measure(1)[2]
        for steps in case.steps:
            rounds = [measure(steps) for _ in range(runs)]
            seconds = median(r[0] for r in rounds)
            memory = median(r[2] for r in rounds) - single
            cells = (
                f"{case.name}, {case.mode}",
                str(steps),
                format_seconds(seconds),
                format_seconds(seconds / steps),
                f"{memory:.1f} MiB",
                f"{memory * 1024 / steps:.0f} KiB",
                f"{rounds[0][1]:.2f} MiB",
            )
            print(f"| {' | '.join(cells)} |", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[125, 250, 500, 1000])
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args(arguments)
    cases = (
        Case("LSTM", "predict", {"n": 64, "m": 64}, tuple(options.steps)),
        Case("LSTM", "grad", {"n": 64, "m": 64}, (options.steps[0],)),
        Case("ClockworkRNN", "predict", {"G": 9, "k": 28}, (320,)),
        Case("ClockworkRNN", "grad", {"G": 9, "k": 28}, (320,)),
    )
    print(f"{describe_machine()}\n")
    starting(options.runs)
    library(options.runs)
    unrolled(cases, options.runs)


if __name__ == "__main__":
    main()
