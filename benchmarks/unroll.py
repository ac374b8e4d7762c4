"""Time and memory of compiling an unrolled LSTM: both must grow linearly with the number of steps.

    python benchmarks/unroll.py [--steps 125 250 500 1000] [--rounds N]

Every compilation, `rnnc compile FILE --unroll N -o OUT.onnx`, runs in a process of its own. Time is
taken inside it, after the import of `rnnc`; memory is the peak resident size of the process less
that of one that compiles a single step. The two columns "per step" should be constant.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from timing import describe_machine, format_seconds

ROOT = Path(__file__).resolve().parents[1]
SPEC = ROOT / "specs" / "cells" / "lstm.rnn"

#: What a child process runs: arguments are the spec, n, m, the number of steps and the output file.
CHILD = """
import json, resource, sys, time
import rnnc.cli

spec, n, m, steps, out = sys.argv[1:]
start = time.perf_counter()
try:
    code = rnnc.cli.main(
        ["compile", spec, "--unroll", steps, "--set", f"n={n}", "--set", f"m={m}", "-o", out]
    )
except SystemExit as end:
    code = end.code
seconds = time.perf_counter() - start
if code:
    sys.exit(code)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": seconds, "kibibytes": peak}))
"""


@dataclass(frozen=True)
class Cost:
    """What one compilation took."""

    seconds: float
    mebibytes: float
    file_mebibytes: float


def measure(steps: int, n: int, m: int, folder: Path) -> Cost:
    """Compile the LSTM, unrolled to `steps`, in a new process."""
    out = folder / f"unrolled-{steps}.onnx"
    command = [sys.executable, "-c", CHILD, str(SPEC), str(n), str(m), str(steps), str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"compiling {steps} steps failed:\n{done.stdout}{done.stderr}")
    result = json.loads(done.stdout.splitlines()[-1])
    size = out.stat().st_size / 2**20
    out.unlink()
    return Cost(result["seconds"], result["kibibytes"] / 1024, size)


def table(steps: Sequence[int], costs: Sequence[Sequence[Cost]], single: Cost) -> str:
    """A Markdown table; `costs[i]` are the compilations to `steps[i]`, `single` is to one step."""
    lines = [
        "| steps | time | time per step | peak memory over one step | memory per step | file |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for count, rounds in zip(steps, costs, strict=True):
        seconds = median(cost.seconds for cost in rounds)
        memory = median(cost.mebibytes for cost in rounds) - single.mebibytes
        cells = (
            str(count),
            format_seconds(seconds),
            format_seconds(seconds / count),
            f"{memory:.1f} MiB",
            f"{memory * 1024 / count:.0f} KiB",
            f"{rounds[0].file_mebibytes:.2f} MiB",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[125, 250, 500, 1000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-n", type=int, default=64, help="inputs")
    parser.add_argument("-m", type=int, default=64, help="cells")
    options = parser.parse_args(arguments)
    costs: list[list[Cost]] = [[] for _ in options.steps]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        single = measure(1, options.n, options.m, folder)
        for _ in range(options.rounds):
            for rounds, steps in zip(costs, options.steps, strict=True):
                rounds.append(measure(steps, options.n, options.m, folder))
    print(f"{describe_machine()}\n\nLSTM, n {options.n}, m {options.m}, unrolled\n")
    print(table(options.steps, costs, single))


if __name__ == "__main__":
    main()
