"""Whether training keeps what it no longer needs, and what gradients of long sequences take.

python benchmarks/memory.py [--steps N] [--length T]

Resident memory after few and many steps of training; then what one call for gradients adds to
it at its peak, in the normal form and with ``memory="low"``, and how long the next calls take.
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
from statistics import median

import numpy as np
from timing import describe_machine

import rnnc
from rnnc.compiler import Options, plan_of
from rnnc.passes.peak import peak
from rnnc.testing import random_data

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


LONG = {  # models, by what their loss reads
    "the last step": "LSTMClassifier",
    "every step, of three layers": "DeepLSTM",
    "every step, both ways": "BidirectionalGRU",
}
SIZES = {"n": 8, "m": 64, "k": 4}
SEQUENCES = 16
CALLS = 3


def highest() -> float:
    """The most that this process has held so far, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def gradients(backend: str, memory: str, name: str, length: int) -> None:
    """Call for the gradients of long sequences; print what that added at most, MiB, and s."""
    spec = rnnc.load(name, **SIZES)
    threads = {"threads": 1} if backend == "onnx" else {}
    model = spec.compile(backend, weights=spec.init(), mode="grad", memory=memory, **threads)
    model(**random_data(spec, SEQUENCES, 4))  # what loading takes is not meant
    data = random_data(spec, SEQUENCES, length)
    before, taken = highest(), []
    for _ in range(1 + CALLS):
        start = time.perf_counter()
        model(**data)
        taken.append(time.perf_counter() - start)
    print(highest() - before, median(taken[1:]))


def child(*arguments: object) -> list[float]:
    """The numbers that this program prints in a process of its own."""
    command = [sys.executable, __file__, "--child", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(number) for number in done.stdout.split()]


def long_sequences(length: int) -> None:
    """Measure gradients in both forms, and what their plans say, and print the table."""
    print(
        f"\nGradients of {SEQUENCES} sequences of {length:,} steps, "
        f"{', '.join(f'{n} = {size}' for n, size in SIZES.items())}: MiB added at the peak, and "
        "time.\n"
    )
    print("| the loss reads | backend | planned | normal | planned | low | time |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for title, name in LONG.items():
        for backend in "numpy", "onnx":
            cells = []
            for memory in "normal", "low":
                options = Options("grad", backend=backend, memory=memory)
                plan = plan_of(rnnc.load(name, **SIZES).system, options)
                planned = peak(plan, {"t": length, "batch": SEQUENCES}) / 2**20
                cells.append((planned, *child(backend, memory, name, length)))
            (p, a, t), (q, b, u) = cells
            print(
                f"| {title} | {backend} | {p:.0f} | {a:.0f} | {q:.0f} | {b:.0f} "
                f"| {t:.2f} s → {u:.2f} s, × {u / t:.2f} |",
                flush=True,
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure both backends and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--length", type=int, default=4000, help="steps of the long sequences")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        backend, *rest, count = options.child
        if rest:
            gradients(backend, *rest, int(count))
        else:
            train(backend, int(count))
        return 0
    print(f"{describe_machine()}\n\nResident memory, MiB:\n")
    print("| backend | steps | before | after | time |\n|---|---:|---:|---:|---:|")
    grown = False
    for backend in "numpy", "onnx":
        after = []
        for steps in FEW, options.steps:
            first, last, seconds = child(backend, steps)
            print(f"| {backend} | {steps} | {first:.1f} | {last:.1f} | {seconds:.1f} s |")
            after.append(last)
        grown |= after[1] > after[0] + ALLOWED
    print("\nMemory grows." if grown else "\nMemory does not grow.")
    long_sequences(options.length)
    return int(grown)


if __name__ == "__main__":
    raise SystemExit(main())
