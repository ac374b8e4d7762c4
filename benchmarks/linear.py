"""Linear recurrences in blocks of steps beside the loops that they would be.

    python benchmarks/linear.py [models] [rule] [--rounds N] [--threads N]

`models`: whole models of the library, inference and gradients, under onnxruntime and in NumPy.
`rule`: the recurrence alone, for numbers of steps and of entries (batch times features) around
those at which the loop is taken, `plan.LEAST_STEPS` and `plan.MOST_ENTRIES`; both are lifted here.
Both sides must agree to 1e-4 of the largest entry before they are timed. onnxruntime and BLAS run
with one thread unless told otherwise.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

#: (model, T, batch, m); inputs are 28 wide, those of RWKV4 as wide as the state
MODELS = [
    ("MinGRU", 1024, 1, 64),
    ("MinGRU", 1024, 32, 64),
    ("MinGRU", 128, 1, 64),
    ("QRNN", 1024, 1, 64),
    ("LRU", 1024, 1, 64),
    ("RWKV4", 1024, 1, 64),
]

STEPS = (32, 64, 128, 256, 1024)
ENTRIES = (64, 256, 512, 1024, 2048)

#: Coefficients and what is added come from outside: nothing but the recurrence is timed.
ALONE = """
model Alone
dim m
input a[t], b[t] : [m]
h[t] = min(max(a[t], 0), 1) * h[t-1] + b[t]
output h
"""


def main(arguments: list[str] | None = None) -> None:
    """Print one table per model or size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", nargs="*", help="models, rule or both (the default)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    what = options.what or ["models", "rule"]
    if unknown := set(what) - {"models", "rule"}:
        parser.error(f"unknown benchmark: {', '.join(sorted(unknown))}")
    # OpenBLAS reads this when NumPy is first imported.
    os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)
    if "numpy" in sys.modules:
        print("NumPy was imported before: --threads has no effect on it", file=sys.stderr)
    from timing import describe_machine

    print(f"{describe_machine()}; onnxruntime threads: {options.threads}\n")
    if "models" in what:
        benchmark_models(options.rounds, options.threads)
    if "rule" in what:
        benchmark_rule(options.rounds, options.threads)


def benchmark_models(rounds: int, threads: int) -> None:
    """Inference and gradients of whole models."""
    import numpy as np
    from timing import compare

    import rnnc

    for name, steps, batch, m in MODELS:
        n = m if name == "RWKV4" else 28
        spec = rnnc.load(name, n=n, m=m)
        weights = spec.init(seed=0)
        rng = np.random.default_rng(1)
        data = {"x": rng.standard_normal((batch, steps, n)).astype(np.float32)}
        seeds = {f"d_{o}": np.ones((batch, steps, m), np.float32) for o in spec.system.outputs}
        for mode in ("predict", "grad"):
            inputs = data if mode == "predict" else {**data, **seeds}
            given = {} if mode == "predict" else {"weights": weights}
            for backend in ("onnx", "numpy"):
                functions: dict[str, Callable[[], dict[str, np.ndarray]]] = {}
                for title, plain in (("loop", True), ("blocks", False)):
                    model = spec.compile(
                        backend, mode=mode, plain_loops=plain, threads=threads,
                        weights=weights if mode == "predict" else None,
                    )  # fmt: skip
                    functions[title] = partial(model.run, inputs, **given)
                _check(name, functions["blocks"](), functions["loop"]())
                title = f"{name}, {mode}, {backend}, T {steps}, batch {batch}, m {m}"
                compare(functions, rounds, "loop", title)


def benchmark_rule(rounds: int, threads: int) -> None:
    """Where the loop is the faster form."""
    import numpy as np
    from timing import compare

    import rnnc

    for entries in ENTRIES:
        spec = rnnc.parse(ALONE, m=entries)
        for steps in STEPS:
            rng = np.random.default_rng(1)
            inputs = {
                "a": rng.random((1, steps, entries), np.float32),
                "b": rng.standard_normal((1, steps, entries)).astype(np.float32),
            }
            for backend in ("onnx", "numpy"):
                functions: dict[str, Callable[[], Any]] = {}
                with _lifted():
                    for title, plain in (("loop", True), ("blocks", False)):
                        model = spec.compile(backend, plain_loops=plain, threads=threads)
                        functions[title] = partial(model.run, inputs)
                _check(f"{entries} entries", functions["blocks"](), functions["loop"]())
                compare(functions, rounds, "loop", f"{backend}, {entries} entries, T {steps}")


@contextmanager
def _lifted() -> Iterator[None]:
    """Blocks whatever the sizes are."""
    from rnnc.backends import numpy_source, onnx_scan
    from rnnc.passes import linear

    modules: list[Any] = [numpy_source, onnx_scan, linear]
    limits = (("MOST_ENTRIES", 2**40), ("LEAST_STEPS", 1))
    before = [
        (x, name, getattr(x, name)) for x in modules for name, _ in limits if hasattr(x, name)
    ]
    for module, name, _ in before:
        setattr(module, name, dict(limits)[name])
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def _check(name: str, actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Stop unless the results agree to 1e-4 of the largest entry."""
    for key, wanted in expected.items():
        error = abs(actual[key] - wanted).max() / max(abs(wanted).max(), 1e-30)
        assert error < 1e-4, (name, key, error)


if __name__ == "__main__":
    main()
