"""A Clockwork RNN, unrolled and in a loop, beside itself with all modules computed and an eager
PyTorch.

    python benchmarks/clockwork.py [--batch 1 16 64] [--rounds N]

9 modules of 28 units with the periods 1 to 256 read 320 steps, and the last state is classified.
In the unrolled model it is known at each step which modules tick, and only their rows are computed
(``rnnc/passes/rows``); in the loop they are windows (``rnnc/passes/windows``). "All rows" is the
same model without that pass. PyTorch, where it is
installed, takes at each step one product with the rows of the modules that tick; the projection of
the input is one product for all steps. All run on one thread.

    pip install torch==2.13.0

The multiply-adds are those of the matrix products of the Plan. Results must agree before anything
is timed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
from timing import check_gradients, compare, describe_machine

import rnnc
from rnnc import compiler
from rnnc.compiler import Options
from rnnc.graph.types import BATCH
from rnnc.passes.plan import multiply_adds

SPEC = """
model Clockwork

use   ClockworkRNN
dim   n = 28, G = 9, k = 28, q = 10
input x[t] : [n]
param V : [q, G * k],  c : [q]

h[t] = ClockworkRNN(x[t]; G = G, k = k)
p = softmax(V h[T] + c)
target y : index(q) ~ categorical(p)
output p
"""

STEPS, INPUTS, MODULES, UNITS, CLASSES = 320, 28, 9, 28, 10

Arrays = dict[str, Any]


def all_rows() -> Any:
    """While this lasts, unrolled models compute every row: nothing else is left out."""
    return mock.patch.object(compiler, "live_rows", lambda system: system)


def main(arguments: list[str] | None = None) -> None:
    """Print the counts, and two tables for each size of the batch."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args(arguments)
    print(f"{describe_machine()}; threads of all: 1\n")
    spec = rnnc.parse(SPEC)
    count(spec)
    for mode in ("predict", "grad"):
        for batch in options.batch:
            functions = contestants(spec, mode, batch)
            title = f"Clockwork, {mode}, T {STEPS}, B {batch}"
            compare(functions, options.rounds, "rnnc, unrolled", title)


def count(spec: rnnc.Spec) -> None:
    """Print the multiply-adds of one sequence, with the rows that tick and with all."""
    print("| multiply-adds | all rows | rows that tick | ratio |\n|---|---:|---:|---:|")
    for form, unroll in (("unrolled", STEPS), ("a loop", None)):
        for mode in ("predict", "grad"):
            live = _products(spec, Options(mode, unroll=unroll))
            with all_rows():
                every = _products(spec, Options(mode, unroll=unroll, plain_loops=True))
            print(f"| {mode}, {form} | {every:,} | {live:,} | {every / live:.2f} |")
    print(flush=True)


def _products(spec: rnnc.Spec, options: Options) -> int:
    return multiply_adds(compiler.plan_of(spec.system, options), {BATCH: 1, "t": STEPS})


def contestants(spec: rnnc.Spec, mode: str, batch: int) -> dict[str, Callable[[], Any]]:
    """The functions to time, after they have been seen to agree."""
    weights = spec.init(seed=0)
    draw = np.random.default_rng(0)
    data: Arrays = {"x": draw.normal(size=(batch, STEPS, INPUTS)).astype(np.float32)}
    given: Arrays = {}
    if mode == "grad":
        data["y"] = draw.integers(0, CLASSES, batch)
        given["weights"] = weights
    fixed = weights if mode == "predict" else None

    def model(unroll: int | None = None, **options: Any) -> Callable[[], Arrays]:
        compiled = spec.compile(
            "onnx", mode=mode, weights=fixed, unroll=unroll, threads=1, **options
        )
        return lambda: compiled(**data, **given)

    functions: dict[str, Callable[[], Any]] = {"rnnc, unrolled": model(STEPS)}
    with all_rows():
        functions["rnnc, unrolled, all rows"] = model(STEPS)
    functions["rnnc, a loop"] = model()
    functions["rnnc, a loop, all rows"] = model(plain_loops=True)
    peer = pytorch(weights, data, mode)
    if peer is not None:
        functions["PyTorch, rows that tick"] = peer
    wanted = functions["rnnc, a loop"]()
    for name, function in functions.items():
        found = function()
        if mode == "grad":
            check_gradients(name, found, wanted)
        else:
            assert abs(found["p"] - wanted["p"]).max() < 1e-4, name
    return functions


def pytorch(weights: Arrays, data: Arrays, mode: str) -> Callable[[], Arrays] | None:
    """The same in eager PyTorch; None where that is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    w = {name: torch.tensor(array, requires_grad=mode == "grad") for name, array in weights.items()}
    x = torch.tensor(data["x"])
    size = MODULES * UNITS
    of_unit = torch.arange(size) // UNITS
    mask = (of_unit[:, None] <= of_unit[None, :]).float()
    ticking = [max(g + 1 for g in range(MODULES) if t % 2**g == 0) for t in range(STEPS)]

    def forward() -> Any:
        turned = (mask * w["h.U"]).T
        columns = {g: turned[:, : g * UNITS].contiguous() for g in set(ticking)}
        fixed = (x @ w["h.W"].T + w["h.b"]).unbind(1)  # cut once: the gradient of each
        # ``[:, t]`` would be an array of all steps
        h = torch.zeros(x.shape[0], size)
        for t, modules in enumerate(ticking):
            rows = modules * UNITS
            new = torch.tanh(torch.addmm(fixed[t][:, :rows], h, columns[modules]))
            h = new if rows == size else torch.cat((new, h[:, rows:]), 1)
        return h @ w["V"].T + w["c"]

    def predict() -> Arrays:
        with torch.inference_mode():
            return {"p": torch.softmax(forward(), 1).numpy()}

    def gradients() -> Arrays:
        y = torch.tensor(data["y"])
        loss = torch.nn.functional.cross_entropy(forward(), y)
        found = torch.autograd.grad(loss, list(w.values()))
        return {f"d_{name}": g.numpy() for name, g in zip(w, found, strict=True)}

    return predict if mode == "predict" else gradients


if __name__ == "__main__":
    main()
