"""A training step (loss and all gradients) of an LSTM written as equations, beside its peers.

    python benchmarks/training.py [--threads 1 2] [--sizes 0 1 2 3] [--rounds N]

All take the same equations, sizes, weights and data: an LSTM over T steps and the squared error of
its output at every step, averaged over the batch. The optimiser is left out. Peers that are not
installed are left out, too: PyTorch (a cell in eager mode, as the equations stand and with its
gates joined by hand; the fused nn.LSTM), JAX (jitted value_and_grad of lax.scan) and onnx-ad
(reverse mode on rnnc's own forward Scan).

    pip install torch==2.13.0 jax==0.10.2 onnx-ad==0.3.0

Each number of threads is a process of its own. Gradients must agree to 1e-3 before anything is
timed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

SPEC = """
model LSTMSteps
dim    n, m
input  x[t] : [n],  y[t] : [m]
param  W_f, W_i, W_o, W_c : [m, n]
param  U_f, U_i, U_o, U_c : [m, m]
param  b_f, b_i, b_o, b_c : [m]

f[t] = sigmoid(W_f x[t] + U_f h[t-1] + b_f)
i[t] = sigmoid(W_i x[t] + U_i h[t-1] + b_i)
o[t] = sigmoid(W_o x[t] + U_o h[t-1] + b_o)
g[t] = tanh(W_c x[t] + U_c h[t-1] + b_c)
c[t] = f[t] * c[t-1] + i[t] * g[t]
h[t] = o[t] * tanh(c[t])

loss squared_error(h[t], y[t])
output h
"""

#: (T, batch, inputs, cells)
SIZES = [(28, 1, 28, 128), (100, 16, 64, 64), (100, 32, 256, 256), (320, 1, 100, 100)]
GATES = ("f", "i", "o", "c")

Arrays = dict[str, Any]
Step = Callable[[], Any]


def main(arguments: list[str] | None = None) -> int:
    """Print one table per size and number of threads."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(range(len(SIZES))))
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args(arguments)
    if len(options.threads) > 1:
        for threads in options.threads:
            command = [sys.executable, __file__, "--threads", str(threads)]
            command += ["--rounds", str(options.rounds), "--sizes", *map(str, options.sizes)]
            subprocess.run(command, check=True)
        return 0
    (threads,) = options.threads
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)  # read when the libraries are first imported
    if threads == 1:
        os.environ["XLA_FLAGS"] = (
            "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        )
    from timing import compare, describe_machine

    print(f"{describe_machine()}; threads of all: {threads}\n", flush=True)
    for index in options.sizes:
        steps, batch, inputs, cells = SIZES[index]
        functions = contestants(steps, batch, inputs, cells, threads)
        title = f"training step, T {steps}, B {batch}, n {inputs}, m {cells}"
        compare(functions, rounds=options.rounds, title=title)
    return 0


def contestants(steps: int, batch: int, inputs: int, cells: int, threads: int) -> dict[str, Step]:
    """Functions that make one training step each, checked against each other."""
    import numpy as np
    from timing import check_gradients

    import rnnc

    spec = rnnc.parse(SPEC, n=inputs, m=cells)
    weights = spec.init(0)
    rng = np.random.default_rng(0)
    data = {
        "x": rng.normal(size=(batch, steps, inputs)).astype("float32"),
        "y": 0.1 * rng.normal(size=(batch, steps, cells)).astype("float32"),
    }
    model = spec.compile("onnx", mode="grad", threads=threads)
    source = spec.compile("numpy", mode="grad")
    wanted = model.run(data, weights=weights)
    names = [p.name for p in model.ports.outputs]
    session, feed = model._session, {**data, **weights}
    functions: dict[str, Step] = {
        "rnnc, onnxruntime": lambda: session.run(names, feed),
        "rnnc, NumPy": lambda: source.run(data, weights=weights),
    }
    found = {"rnnc, NumPy": source.run(data, weights=weights)}
    for peer in (with_torch, with_jax, with_onnx_ad):
        try:
            for name, step, gradients in peer(spec, weights, data, threads):
                functions[name] = step
                if gradients is not None:
                    found[name] = gradients
        except ImportError as missing:
            print(f"({missing.name} is not installed)")
    for name, gradients in found.items():
        check_gradients(name, gradients, wanted)
    return functions


Peers = list[tuple[str, Step, Arrays | None]]


def with_torch(spec: Any, weights: Arrays, data: Arrays, threads: int) -> Peers:
    """A cell in eager PyTorch, as the equations stand and with its gates as one product, and the
    fused nn.LSTM."""
    import numpy as np
    import torch

    torch.set_num_threads(threads)
    x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
    batch, steps, cells = y.shape

    def stacked(letter: str, gates: tuple[str, ...] = GATES) -> torch.Tensor:
        joined = np.concatenate([weights[f"{letter}_{g}"] for g in gates])
        return torch.from_numpy(joined).requires_grad_()

    w, u, b = stacked("W"), stacked("U"), stacked("b")

    def eager() -> None:
        h, c = torch.zeros(batch, cells), torch.zeros(batch, cells)
        outputs = []
        for t in range(steps):
            gates = x[:, t] @ w.T + h @ u.T + b
            f, i, o, g = gates.chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        loss = ((torch.stack(outputs, 1) - y) ** 2).sum() / batch
        for p in (w, u, b):
            p.grad = None
        loss.backward()

    plain = {n: torch.from_numpy(a.copy()).requires_grad_() for n, a in weights.items()}

    def as_written() -> None:
        h, c = torch.zeros(batch, cells), torch.zeros(batch, cells)
        outputs = []
        for t in range(steps):
            f, i, o, g = (
                x[:, t] @ plain[f"W_{k}"].T + h @ plain[f"U_{k}"].T + plain[f"b_{k}"] for k in GATES
            )
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        loss = ((torch.stack(outputs, 1) - y) ** 2).sum() / batch
        for p in plain.values():
            p.grad = None
        loss.backward()

    fused = torch.nn.LSTM(x.shape[2], cells, batch_first=True)
    with torch.no_grad():  # PyTorch orders the gates i f g o
        order = ("i", "f", "c", "o")
        fused.weight_ih_l0.copy_(stacked("W", order))
        fused.weight_hh_l0.copy_(stacked("U", order))
        fused.bias_ih_l0.copy_(stacked("b", order))
        fused.bias_hh_l0.zero_()

    def native() -> None:
        loss = ((fused(x)[0] - y) ** 2).sum() / batch
        for p in fused.parameters():
            p.grad = None
        loss.backward()

    def gradients(tensors: dict[str, Any], order: tuple[str, ...]) -> Arrays:
        return {
            f"d_{letter}_{g}": part.numpy()
            for letter, tensor in tensors.items()
            for g, part in zip(order, tensor.grad.chunk(4), strict=True)
        }

    eager()
    as_written()
    native()
    parts = {"W": fused.weight_ih_l0, "U": fused.weight_hh_l0, "b": fused.bias_ih_l0}
    return [
        (
            "PyTorch, eager cell",
            as_written,
            {f"d_{n}": p.grad.numpy() for n, p in plain.items()},
        ),
        ("PyTorch, eager cell, gates joined", eager, gradients({"W": w, "U": u, "b": b}, GATES)),
        ("PyTorch, nn.LSTM", native, gradients(parts, order)),
    ]


def with_jax(spec: Any, weights: Arrays, data: Arrays, threads: int) -> Peers:
    """value_and_grad of lax.scan, jitted; the gates as one product, that of x outside."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    x, y = jnp.asarray(data["x"].swapaxes(0, 1)), jnp.asarray(data["y"].swapaxes(0, 1))
    params = {
        letter: jnp.asarray(np.concatenate([weights[f"{letter}_{g}"] for g in GATES]))
        for letter in "WUb"
    }

    def loss(p: Any, x: Any, y: Any) -> Any:
        projected = x @ p["W"].T + p["b"]

        def step(state: Any, now: Any) -> Any:
            h, c = state
            f, i, o, g = jnp.split(now + h @ p["U"].T, 4, axis=1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zero = jnp.zeros((x.shape[1], p["U"].shape[1]))
        _, h = jax.lax.scan(step, (zero, zero), projected)
        return ((h - y) ** 2).sum() / x.shape[1]

    function = jax.jit(jax.value_and_grad(loss))

    def run() -> Any:
        return jax.block_until_ready(function(params, x, y))

    _, gradients = run()
    found = {
        f"d_{letter}_{g}": np.asarray(part)
        for letter, array in gradients.items()
        for g, part in zip(GATES, np.split(np.asarray(array), 4), strict=True)
    }
    return [("JAX, lax.scan", run, found)]


def with_onnx_ad(spec: Any, weights: Arrays, data: Arrays, threads: int) -> Peers:
    """Reverse mode of onnx-ad on the Scan that rnnc writes for the loss."""
    import numpy as np
    import onnx
    import onnx_ad
    import onnxruntime

    forward = spec.compile("onnx", mode="loss")
    adjoint = onnx_ad.reverse(
        onnx.load_from_string(forward._bytes),
        inputs=list(weights),
        outputs=["loss"],
        layout="onnx",
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        adjoint.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = {**data, **weights}
    known = {i.name for i in session.get_inputs()} - feed.keys()
    for i in session.get_inputs():
        if i.name in known:  # the one seed of the loss
            feed[i.name] = np.ones([d if isinstance(d, int) else 1 for d in i.shape], "float32")
    outputs = [o.name for o in session.get_outputs() if o.name.startswith("adj_")]

    def run() -> Any:
        return session.run(outputs, feed)

    found = dict(zip(outputs, run(), strict=True))
    gradients = {f"d_{n}": found[f"adj_{n}"].reshape(weights[n].shape) for n in weights}
    return [("onnx-ad, reverse of the Scan", run, gradients)]


if __name__ == "__main__":
    raise SystemExit(main())
