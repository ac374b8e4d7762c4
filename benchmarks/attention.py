"""A training step (loss and all gradients) of an encoder-decoder with attention, beside PyTorch.

    python benchmarks/attention.py [--threads 1] [--batch 1 32] [--steps 30] [--rounds N]

The model is the one of Bahdanau et al. (2015): a bidirectional GRU reads the source, a GRU with
additive attention writes the target. In eager PyTorch the same equations stand in loops, what does
not depend on the loop in front of it, with the gates as they are written and joined to one product.

    pip install torch==2.13.0

Gradients must agree to 1e-3 before anything is timed.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

SPEC = """
model Attention
dim    n, k, m
axis   s : S
input  x[t] : index(n)
param  X : [n, m],  E : [k, m]

# the encoder, a GRU in each direction
param  Wf : [3*m, m],  Uf : [2*m, m],  Vf : [m, m],  bf : [3*m]
param  Wb : [3*m, m],  Ub : [2*m, m],  Vb : [m, m],  bb : [3*m]
e[t] = X[x[t]]
uf[t] = Wf e[t] + bf
(zf[t], rf[t]) = split(sigmoid(slice(uf[t], 0, 2*m) + Uf f[t-1]), 2)
f[t] = (1 - zf[t]) * f[t-1] + zf[t] * tanh(slice(uf[t], 2*m, 3*m) + Vf (rf[t] * f[t-1]))
ub[t] = Wb e[t] + bb
(zb[t], rb[t]) = split(sigmoid(slice(ub[t], 0, 2*m) + Ub b[t+1]), 2)
b[t] = (1 - zb[t]) * b[t+1] + zb[t] * tanh(slice(ub[t], 2*m, 3*m) + Vb (rb[t] * b[t+1]))
h[t] = [f[t], b[t]]

# the decoder, a GRU that attends to the encoder
param  A, Q : [m, m],  K : [m, 2*m],  v : [m] ~ normal(0, 0.1)
param  W : [3*m, m],  C : [3*m, 2*m],  U : [2*m, m],  V : [m, m],  c : [3*m]
param  O : [k, m],  o : [k]
d[0] = tanh(A b[1])
y[0] = 0
a[s, t] = softmax[t](dot(v, tanh(Q d[s-1] + K h[t])))
g[s] = W E[y[s-1]] + C sum[t](a[s, t] h[t]) + c
(z[s], r[s]) = split(sigmoid(slice(g[s], 0, 2*m) + U d[s-1]), 2)
d[s] = (1 - z[s]) * d[s-1] + z[s] * tanh(slice(g[s], 2*m, 3*m) + V (r[s] * d[s-1]))
p[s] = softmax(O d[s] + o)
target y[s] : index(k) ~ categorical(p[s])
output p
"""

WORDS = 50

Arrays = dict[str, Any]
Step = Callable[[], Any]


def main(arguments: list[str] | None = None) -> int:
    """Print one table for each size of the batch."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--cells", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args(arguments)
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(options.threads)  # read when the libraries are first imported
    from timing import compare, describe_machine

    print(f"{describe_machine()}; threads of all: {options.threads}\n", flush=True)
    for batch in options.batch:
        functions = contestants(options.steps, batch, options.cells, options.threads)
        title = f"training step, source and target {options.steps}, B {batch}, m {options.cells}"
        compare(functions, rounds=options.rounds, title=title)
    return 0


def contestants(steps: int, batch: int, cells: int, threads: int) -> dict[str, Step]:
    """Functions that make one training step each, checked against each other."""
    import numpy as np
    from timing import check_gradients

    import rnnc

    spec = rnnc.parse(SPEC, n=WORDS, k=WORDS, m=cells)
    weights = spec.init(0)
    rng = np.random.default_rng(0)
    data = {name: rng.integers(0, WORDS, (batch, steps)) for name in ("x", "y")}
    model = spec.compile("onnx", mode="grad", threads=threads)
    source = spec.compile("numpy", mode="grad", weights=weights)
    wanted = model.run(data, weights=weights)
    names = [p.name for p in model.ports.outputs]
    session, feed = model._session, {**data, **weights}
    functions: dict[str, Step] = {
        "rnnc, onnxruntime": lambda: session.run(names, feed),
        "rnnc, NumPy": lambda: source.run(data),
    }
    found = {"rnnc, NumPy": source.run(data)}
    try:
        for name, step, gradients in with_torch(weights, data, threads):
            functions[name], found[name] = step, gradients
    except ImportError:
        print("(torch is not installed)")
    for name, gradients in found.items():
        check_gradients(name, gradients, wanted)
    return functions


def with_torch(weights: Arrays, data: Arrays, threads: int) -> list[tuple[str, Step, Arrays]]:
    """The same in eager PyTorch: the gates joined as in the spec, and each a product of its own."""
    import torch
    from torch import sigmoid, tanh

    torch.set_num_threads(threads)
    w = {name: torch.from_numpy(a.copy()).requires_grad_() for name, a in weights.items()}
    x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
    batch, steps = y.shape
    m = w["Q"].shape[0]

    def joined(h: Any, given: Any, u: Any, v: Any) -> Any:
        z, r = sigmoid(given[:, : 2 * m] + h @ u.T).chunk(2, 1)
        return (1 - z) * h + z * tanh(given[:, 2 * m :] + (r * h) @ v.T)

    def apart(h: Any, given: Any, u: Any, v: Any) -> Any:
        z = sigmoid(given[:, :m] + h @ u[:m].T)
        r = sigmoid(given[:, m : 2 * m] + h @ u[m:].T)
        return (1 - z) * h + z * tanh(given[:, 2 * m :] + (r * h) @ v.T)

    def step(cell: Callable[..., Any]) -> None:
        e = w["X"][x]
        uf, ub = e @ w["Wf"].T + w["bf"], e @ w["Wb"].T + w["bb"]
        h = torch.zeros(batch, m)
        f, b = [], []
        for t in range(steps):
            h = cell(h, uf[:, t], w["Uf"], w["Vf"])
            f.append(h)
        h = torch.zeros(batch, m)
        for t in reversed(range(steps)):
            h = cell(h, ub[:, t], w["Ub"], w["Vb"])
            b.append(h)
        encoded = torch.cat([torch.stack(f, 1), torch.stack(b[::-1], 1)], 2)
        keys = encoded @ w["K"].T
        before = torch.cat([torch.zeros(batch, 1, dtype=torch.int64), y[:, :-1]], 1)
        given = w["E"][before] @ w["W"].T + w["c"]
        d = tanh(b[-1] @ w["A"].T)
        states = []
        for s in range(steps):
            scores = tanh((d @ w["Q"].T)[:, None] + keys) @ w["v"]
            context = (torch.softmax(scores, 1)[:, None] @ encoded)[:, 0]
            d = cell(d, given[:, s] + context @ w["C"].T, w["U"], w["V"])
            states.append(d)
        logits = torch.stack(states, 1) @ w["O"].T + w["o"]
        loss = torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[2]), y.reshape(-1), reduction="sum"
        )
        for p in w.values():
            p.grad = None
        (loss / batch).backward()

    out = []
    for name, cell in (("gates joined", joined), ("gates apart", apart)):
        step(cell)
        gradients = {f"d_{n}": p.grad.numpy().copy() for n, p in w.items()}
        out.append((f"PyTorch, eager, {name}", lambda cell=cell: step(cell), gradients))
    return out


if __name__ == "__main__":
    raise SystemExit(main())
