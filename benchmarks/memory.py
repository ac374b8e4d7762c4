"""Whether training keeps what it no longer needs: resident memory after few and many steps.

python benchmarks/memory.py [--steps N]

Each number is that of a process of its own. Ends with 1 if the many steps took more than the few.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from timing import describe_machine

import rnnc

FEW = 500
ALLOWED = 4.0  # MiB: what the allocator may hold more of by chance


def resident() -> float:
    """What this process holds in memory now, in MiB (Linux); its peak elsewhere."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line) / 2**10


def train(backend: str, steps: int) -> None:
    """Train an LSTM with dropout on sequences cut in two; print MiB before and after, s."""
    draw = np.random.default_rng(0)
    data = {
        "x": draw.normal(size=(256, 40, 8)).astype("float32"),
        "y": draw.integers(0, 4, (256, 40)),
    }
    spec = rnnc.parse(TEXT)
    options = {"backend": backend, "bptt": 20, "batch": 32, "epochs": steps, "progress": False}
    spec.fit(data, **{**options, "epochs": 1})  # what compiling takes is no growth
    before, start = resident(), time.perf_counter()
    spec.fit(data, **options, steps=steps)
    print(before, resident(), time.perf_counter() - start)


TEXT = """
model Tagger

dim   n = 8, m = 32, k = 4
input x[t] : [n]
param W_f, W_i, W_o, W_c : [m, n],  U_f, U_i, U_o, U_c : [m, m]
param b_f, b_i, b_o, b_c : [m],  V : [k, m]

f[t] = sigmoid(W_f x[t] + U_f h[t-1] + b_f)
i[t] = sigmoid(W_i x[t] + U_i h[t-1] + b_i)
o[t] = sigmoid(W_o x[t] + U_o h[t-1] + b_o)
c[t] = f[t] * c[t-1] + i[t] * tanh(W_c x[t] + U_c h[t-1] + b_c)
h[t] = o[t] * tanh(c[t])
p[t] = softmax(V dropout(h[t], 0.1))

target y[t] : index(k) ~ categorical(p[t])
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure both backends and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--child", metavar="BACKEND", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        train(options.child, options.steps)
        return 0
    print(f"{describe_machine()}\n\nResident memory, MiB:\n")
    print("| backend | steps | before | after | time |\n|---|---:|---:|---:|---:|")
    grown = False
    for backend in "numpy", "onnx":
        after = []
        for steps in FEW, options.steps:
            command = [sys.executable, __file__, "--child", backend, "--steps", str(steps)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            first, last, seconds = map(float, done.stdout.split())
            print(f"| {backend} | {steps} | {first:.1f} | {last:.1f} | {seconds:.1f} s |")
            after.append(last)
        grown |= after[1] > after[0] + ALLOWED
    print("\nMemory grows." if grown else "\nMemory does not grow.")
    return int(grown)


if __name__ == "__main__":
    raise SystemExit(main())
