"""Linear recurrences in blocks of steps beside the loops that they would be.

    python benchmarks/linear.py [models] [rule] [matrices] [--rounds N] [--threads N]

`models`: whole models of the library, inference and gradients, under onnxruntime and in NumPy.
`rule`: the recurrence alone, for numbers of steps and of entries (batch times features) around
those at which the loop is taken, `plan.LEAST_STEPS` and `plan.MOST_ENTRIES`; both are lifted here.
`matrices`: linear attention, whose state is a matrix, and its gradients: in chunks of steps, in the
loop that it would be, in a Scan built by hand, and where they are installed (`pip install
torch==2.13.0 jax==0.10.2`) as a loop in eager PyTorch and a scan in JAX.
All sides must agree to 1e-4 of the largest entry before they are timed. onnxruntime and BLAS run
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

ATTENTION = """
model LinearAttention
dim n, d
input x[t] : [n]
param W_q, W_k, W_v : [d, n], w_f : [n]
q[t] = W_q x[t]
k[t] = W_k x[t]
v[t] = W_v x[t]
f[t] = sigmoid(dot(w_f, x[t]))
S[t] = f[t] * S[t-1] + outer(v[t], k[t])
h[t] = S[t] q[t]
output h
"""

#: What does not recur outside, and as few nodes as there can be inside.
BY_HAND = """
<ir_version: 8, opset_import: ["": 18]>
attention (float[B, T, n] x, float[d, n] W_q, float[d, n] W_k, float[d, n] W_v, float[n] w_f,
           float[B, d, d] S0) => (float[B, T, d] h) {
  last = Constant<value_ints=[3]>()
  third = Constant<value_ints=[2]>()
  both = Constant<value_ints=[2, 3]>()
  xt = Transpose<perm=[1, 0, 2]>(x)
  wq = Transpose(W_q)
  wk = Transpose(W_k)
  wv = Transpose(W_v)
  q0 = MatMul(xt, wq)
  k0 = MatMul(xt, wk)
  v0 = MatMul(xt, wv)
  f0 = MatMul(xt, w_f)
  f1 = Sigmoid(f0)
  q = Unsqueeze(q0, last)
  v = Unsqueeze(v0, last)
  k = Unsqueeze(k0, third)
  f = Unsqueeze(f1, both)
  end, hs = Scan<num_scan_inputs=4, body = step (
      float[B, d, d] S, float[B, d, 1] qt, float[B, d, 1] vt, float[B, 1, d] kt, float[B, 1, 1] ft
    ) => (float[B, d, d] S2, float[B, d, 1] ht) {
      kept = Mul(ft, S)
      new = Mul(vt, kt)
      S2 = Add(kept, new)
      ht = MatMul(S2, qt)
    }>(S0, q, v, k, f)
  ht = Squeeze(hs, last)
  h = Transpose<perm=[1, 0, 2]>(ht)
}
"""


def main(arguments: list[str] | None = None) -> None:
    """Print one table per model or size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", nargs="*", help="models, rule, matrices; all of them by default")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    what = options.what or ["models", "rule", "matrices"]
    if unknown := set(what) - {"models", "rule", "matrices"}:
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
    if "matrices" in what:
        benchmark_matrices(options.rounds, options.threads)


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


def benchmark_matrices(rounds: int, threads: int) -> None:
    """A state that is a matrix: T 256, d 64, one sequence and several."""
    import numpy as np
    from timing import check_gradients, compare

    import rnnc

    steps, n, d = 256, 28, 64
    spec = rnnc.parse(ATTENTION, n=n, d=d)
    weights = spec.init(seed=0)
    by_hand = _by_hand(weights, threads)
    for batch in (1, 16):
        rng = np.random.default_rng(1)
        x = rng.standard_normal((batch, steps, n)).astype(np.float32)
        d_h = rng.standard_normal((batch, steps, d)).astype(np.float32)
        for mode in ("predict", "grad"):
            inputs = {"x": x} if mode == "predict" else {"x": x, "d_h": d_h}
            given = {} if mode == "predict" else {"weights": weights}
            functions: dict[str, Callable[[], Any]] = {}
            for backend in ("onnx", "numpy"):
                for form in ("chunks", "loop"):
                    model = spec.compile(
                        backend, mode=mode, plain_loops=form == "loop", threads=threads,
                        weights=weights if mode == "predict" else None,
                    )  # fmt: skip
                    functions[f"{backend}, {form}"] = partial(model.run, inputs, **given)
            if mode == "predict":
                first = np.zeros((batch, d, d), np.float32)
                functions["Scan by hand"] = partial(by_hand, x, first)
            for title, peer in (("eager PyTorch", _eager), ("JAX scan", _scanned)):
                try:
                    functions[title] = peer(weights, threads, x, d_h if mode == "grad" else None)
                except ImportError as missing:
                    print(f"{missing}\n")
            expected = functions["onnx, loop"]()
            for title, function in functions.items():
                if mode == "grad":
                    check_gradients(title, function(), expected)
                else:
                    _check(title, function(), expected)
            title = f"linear attention, {mode}, T {steps}, batch {batch}, d {d}"
            compare(functions, rounds, "onnx, chunks", title)


def _by_hand(weights: dict[str, np.ndarray], threads: int) -> Callable[..., dict[str, np.ndarray]]:
    """From x and the first state to h, by the Scan above."""
    import onnx
    import onnxruntime

    model = onnx.parser.parse_model(BY_HAND)
    given = [i for i in model.graph.input if i.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(given)
    for name, array in weights.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda x, first: {"h": session.run(["h"], {"x": x, "S0": first})[0]}


Results = Callable[[], dict[str, Any]]


def _eager(
    weights: dict[str, np.ndarray], threads: int, array: np.ndarray, d_h: np.ndarray | None
) -> Results:
    """h in PyTorch, products with the input in front of the loop; with d_h the gradients, by
    autograd."""
    import torch

    torch.set_num_threads(threads)
    w = {name: torch.tensor(a, requires_grad=d_h is not None) for name, a in weights.items()}
    x = torch.from_numpy(array)

    def values() -> torch.Tensor:
        q, k, v = (x @ w[name].T for name in ("W_q", "W_k", "W_v"))
        f = torch.sigmoid(x @ w["w_f"])
        state = torch.zeros(len(x), v.shape[-1], k.shape[-1])
        out = []
        for t in range(x.shape[1]):
            new = v[:, t, :, None] * k[:, t, None, :]
            state = f[:, t, None, None] * state + new
            out.append((state @ q[:, t, :, None])[..., 0])
        return torch.stack(out, 1)

    def gradients() -> dict[str, Any]:
        h = values()
        found = torch.autograd.grad(h, list(w.values()), torch.from_numpy(d_h))
        named = {f"d_{name}": g.numpy() for name, g in zip(w, found, strict=True)}
        return {"h": h.detach().numpy(), **named}

    def predict() -> dict[str, Any]:
        with torch.no_grad():
            return {"h": values().numpy()}

    return predict if d_h is None else gradients


def _scanned(
    weights: dict[str, np.ndarray], threads: int, array: np.ndarray, d_h: np.ndarray | None
) -> Results:
    """The same as a compiled ``lax.scan`` (which takes as many threads as it likes)."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    def values(w: dict[str, Any], x: Any) -> Any:
        steps = jnp.swapaxes(x, 0, 1)
        q, k, v = (steps @ w[name].T for name in ("W_q", "W_k", "W_v"))
        f = jax.nn.sigmoid(steps @ w["w_f"])

        def step(state: Any, now: Any) -> Any:
            q, k, v, f = now
            state = f[:, None, None] * state + v[:, :, None] * k[:, None, :]
            return state, jnp.einsum("bij,bj->bi", state, q)

        first = jnp.zeros((x.shape[0], v.shape[-1], k.shape[-1]), x.dtype)
        return jnp.swapaxes(jax.lax.scan(step, first, (q, k, v, f))[1], 0, 1)

    def gradients(w: dict[str, Any], x: Any, d_h: Any) -> Any:
        h, back = jax.vjp(lambda w: values(w, x), w)
        return {"h": h, **{f"d_{name}": g for name, g in back(d_h)[0].items()}}

    def results(found: dict[str, Any]) -> dict[str, Any]:
        return {name: np.asarray(a) for name, a in found.items()}

    if d_h is None:
        compiled = jax.jit(lambda w, x: {"h": values(w, x)})
        return lambda: results(compiled(weights, array))
    slopes = jax.jit(gradients)
    return lambda: results(slopes(weights, array, d_h))


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
