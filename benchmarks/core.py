"""rnnc's cells beside hand-written ones: in NumPy (LSTM, GRU, FastGRNN), and the LSTM as an ONNX
Scan under onnxruntime; and NumPy source with its loops compiled by numba beside the same without.

    python benchmarks/core.py [numpy] [scan] [numba] [--rounds N] [--blas-threads N]

The two sides take the same weights and inputs and must agree to 1e-4 before they are timed. BLAS
runs with one thread unless told otherwise, onnxruntime always does. numba (pip install
"rnnc[numba]") is asked for by its name.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from baselines import Array, Weights

SPEC = Path(__file__).resolve().parents[1] / "specs" / "cells" / "lstm.rnn"

INPUTS = 64

#: (T, batch, inputs, cells)
NUMPY_SIZES = [(100, batch, INPUTS, cells) for batch in (1, 32) for cells in (64, 256)]
NUMBA_CELLS = ("LSTM", "GRU", "FastGRNN", "LEM")
NUMBA_WIDTHS = (16, 32, 64, 128, 256)  # of inputs and cells
SCAN_SIZES = [(28, 1, 28, 128), *NUMPY_SIZES]


def main(arguments: list[str] | None = None) -> None:
    """Print one table per size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", nargs="*", help="numpy and scan (the default), numba")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--blas-threads", type=int, default=1)
    options = parser.parse_args(arguments)
    what = options.what or ["numpy", "scan"]
    if unknown := set(what) - {"numpy", "scan", "numba"}:
        parser.error(f"unknown benchmark: {', '.join(sorted(unknown))}")
    # OpenBLAS reads this when NumPy is first imported.
    os.environ["OPENBLAS_NUM_THREADS"] = str(options.blas_threads)
    if "numpy" in sys.modules:
        print("NumPy was imported before: --blas-threads has no effect", file=sys.stderr)
    from timing import describe_machine

    print(f"{describe_machine()}; onnxruntime threads: 1\n")
    if "numpy" in what:
        benchmark_numpy(options.rounds)
    if "scan" in what:
        benchmark_scan(options.rounds)
    if "numba" in what:
        benchmark_numba(options.rounds)


def benchmark_numpy(rounds: int) -> None:
    """rnnc's NumPy source against the best that we can write by hand."""
    from baselines import NumpyLSTM, naive_lstm
    from numpy_cells import NumpyFastGRNN, NumpyGRU
    from timing import compare

    import rnnc

    cells: dict[str, Callable[[Weights], Callable[[Array], Array]]] = {
        "LSTM": NumpyLSTM, "GRU": NumpyGRU, "FastGRNN": NumpyFastGRNN,
    }  # fmt: skip
    for cell, write in cells.items():
        for steps, batch, n, m in NUMPY_SIZES:
            spec = rnnc.load(cell, n=n, m=m)
            weights = spec.init(seed=0)
            x = _inputs(batch, steps, n)
            by_hand = write(weights)
            generated = spec.compile("numpy", weights=weights, outputs=["h"])  # all that both give
            expected = generated(x=x)["h"]
            _check("hand-written", by_hand(x), expected)
            functions: dict[str, Callable[[], object]] = {
                "hand-written": partial(by_hand, x),
                "rnnc": partial(generated, x=x),
            }
            if cell == "LSTM":
                _check("rnnc", expected, naive_lstm(weights, x))
                functions["equations as written"] = partial(naive_lstm, weights, x)
            title = f"NumPy, {cell}, {_size(steps, batch, n, m)}"
            compare(functions, rounds, "hand-written", title)


def benchmark_scan(rounds: int) -> None:
    """rnnc's Scan against one built by hand; the native operator for orientation."""
    from baselines import naive_lstm, native, scan_lstm
    from timing import compare

    import rnnc

    for steps, batch, n, m in SCAN_SIZES:
        spec = rnnc.load(str(SPEC), n=n, m=m)
        weights = spec.init(seed=0)
        x = _inputs(batch, steps, n)
        expected = naive_lstm(weights, x)
        generated = spec.compile("onnx", weights=weights, threads=1)
        _check("rnnc", generated(x=x)["h"], expected)
        functions: dict[str, Callable[[], object]] = {}
        for name, model in (
            ("hand-written Scan", scan_lstm(weights)),
            ("one Gemm and Split", scan_lstm(weights, gates="packed")),
            ("native LSTM", native("LSTM", weights)),
        ):
            run = _session(model.SerializeToString())
            _check(name, run(x), expected)
            functions[name] = partial(run, x)
        functions["rnnc"] = partial(generated, x=x)
        compare(functions, rounds, "hand-written Scan", f"ONNX, {_size(steps, batch, n, m)}")


def benchmark_numba(rounds: int) -> None:
    """NumPy source with its loops compiled: how many times less time it takes, by batch and width,
    and the seconds that the first call took to compile."""
    import time

    import numpy as np

    import rnnc
    from rnnc.bench.timing import measure

    title = " | ".join(f"B {batch}, m {m}" for batch in (1, 32) for m in NUMBA_WIDTHS)
    print(f"| numba, T 100, n = m | {title} | compiled in |")
    print("|---|" + "---:|" * (2 * len(NUMBA_WIDTHS) + 1))
    for cell, mode in ((c, mode) for mode in ("predict", "grad") for c in NUMBA_CELLS):
        ratios, seconds = [], 0.0
        for batch, m in ((batch, m) for batch in (1, 32) for m in NUMBA_WIDTHS):
            spec = rnnc.load(cell, n=m, m=m)
            weights = spec.init(seed=0)
            plain, fast = (spec.compile("numpy", mode=mode, jit=jit) for jit in (False, True))
            for model in (plain, fast):
                model.load(weights)
            data = {
                p.name: _inputs(batch, 100, m) if p.name == "x" else _inputs(batch, 100, m) / m
                for p in plain.ports.inputs
            }
            start = time.perf_counter()
            found = fast(**data)
            seconds = max(seconds, time.perf_counter() - start)
            for name, expected in plain(**data).items():
                error = np.abs(found[name] - expected).max() / np.abs(expected).max()
                assert error < 1e-4, (cell, mode, name, error)
            calls = {"plain": partial(plain, **data), "fast": partial(fast, **data)}
            ratios.append(measure(calls, rounds).ratio("plain", "fast"))
        shown = " | ".join(f"{r:.2f}" for r in ratios)
        print(f"| {cell}, {mode} | {shown} | {seconds:.1f} s |", flush=True)


def _session(model: bytes) -> Callable[[Array], Array]:
    """A function from x to h that runs `model` on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(x: Array) -> Array:
        h: Array = session.run(["h"], {"x": x})[0]
        return h

    return run


def _inputs(batch: int, steps: int, n: int) -> Array:
    """Normally distributed inputs."""
    import numpy as np

    return np.random.default_rng(1).standard_normal((batch, steps, n)).astype(np.float32)


def _check(name: str, actual: Array, expected: Array) -> None:
    """Stop unless the results agree to 1e-4."""
    import numpy as np

    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4, err_msg=name)


def _size(steps: int, batch: int, n: int, m: int) -> str:
    return f"T {steps}, batch {batch}, n {n}, m {m}"


if __name__ == "__main__":
    main()
