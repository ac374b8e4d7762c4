"""The comparisons of the report: a cell in rnnc's default form against its peers, of one size.

    python benchmarks/suite.py GROUP --threads N [--rounds N] [--quick]

is what `run.py` calls, in a process of its own for each group and number of threads; it prints one
`Result` as a line of JSON for each comparison. Results must agree (to 1e-4 of the largest entry,
gradients to 1e-3) before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from itertools import product
from typing import Any

from rnnc.bench.timing import limited, measure

Call = Callable[[], Mapping[str, Any]]
Size = tuple[int, int, int, int]  # T, batch, inputs, cells

#: The only output is h, so that the equations may be recognised as the operator that they are.
NATIVE = {
    "LSTM": """
model LSTM
dim    n, m
input  x[t] : [n]
param  W_f, W_i, W_o, W_c : [m, n],  U_f, U_i, U_o, U_c : [m, m],  b_f, b_i, b_o, b_c : [m]
f[t] = sigmoid(W_f x[t] + U_f h[t-1] + b_f)
i[t] = sigmoid(W_i x[t] + U_i h[t-1] + b_i)
o[t] = sigmoid(W_o x[t] + U_o h[t-1] + b_o)
c[t] = f[t] * c[t-1] + i[t] * tanh(W_c x[t] + U_c h[t-1] + b_c)
h[t] = o[t] * tanh(c[t])
output h
""",
    "GRU": """
model GRU
dim    n, m
input  x[t] : [n]
param  W_z, W_r, W_h : [m, n],  U_z, U_r, U_h : [m, m],  b_z, b_r, b_h, c_h : [m]
z[t] = sigmoid(W_z x[t] + U_z h[t-1] + b_z)
r[t] = sigmoid(W_r x[t] + U_r h[t-1] + b_r)
h[t] = (1 - z[t]) * tanh(W_h x[t] + b_h + r[t] * (U_h h[t-1] + c_h)) + z[t] * h[t-1]
output h
""",
    "RNN": """
model RNN
dim    n, m
input  x[t] : [n]
param  W_h : [m, n],  U_h : [m, m],  b_h : [m]
h[t] = tanh(W_h x[t] + U_h h[t-1] + b_h)
output h
""",
}
NATIVE_SIZES = [
    (28, 1, 28, 128), (50, 1, 64, 256), (100, 16, 64, 64), (100, 32, 64, 256), (100, 128, 64, 256),
]  # fmt: skip
#: Cells that are no operator, by their names in the library.
OTHERS = ("LSTMPeephole", "LEM", "MUT1", "FastGRNN")
OTHER_SIZES = [(100, 1, 64, 128), (100, 1, 64, 256), (100, 32, 64, 128), (100, 32, 64, 256)]
LINEAR_SIZE = (1024, 1, 64, 64)

OURS, OPERATOR, MODULE = "rnnc", "operator by hand", "nn module"
EAGER, JAX, PLAIN = "eager PyTorch", "JAX, lax.scan", "plain Scan"
ASSOCIATIVE, EXPORTED = "JAX, associative_scan", "torch.onnx (unrolled)"


@dataclass
class Result:
    """A comparison: `ratios` are peers' times divided by rnnc's; `goals`, where there are any, are
    the least that they should be. `bounds` says what a step costs, and the whole."""

    group: str
    cell: str
    steps: int
    batch: int
    cells: int
    threads: int
    seconds: float = 0.0
    ratios: dict[str, float] = field(default_factory=dict)
    goals: dict[str, float] = field(default_factory=dict)
    bounds: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Contest:
    """What is to be compared: rnnc's case, what makes each peer's call, and the goals."""

    group: str
    one: Any
    peers: dict[str, Callable[[], Call]]
    goals: dict[str, float]

    def run(self, cell: str, size: Size, rounds: int) -> Result:
        """Make the calls, check that they agree, and time them in turns."""
        from rnnc.bench.forms import disagreement

        steps, batch, _, m = size
        result = Result(self.group, cell, steps, batch, m, self.one.threads, goals=self.goals)
        calls = {OURS: self.one.onnx()}
        wanted = calls[OURS]()
        if has("jax"):
            self.peers[JAX] = self.one.jax
        for name, make in self.peers.items():
            call = make()
            error, where = disagreement(call(), wanted)
            if error <= self.one.tolerance:
                calls[name] = call
            else:
                result.notes.append(f"{name} disagrees: {where} is off by {error:.1g}")
        times = measure(calls, rounds)
        result.seconds = times.seconds(OURS)
        costs = self.one.costs()
        rate = costs[-1][1].products / result.seconds / 1e9
        result.bounds = [f"{where}: {cost}" for where, cost in costs]
        result.bounds.append(f"rnnc makes {rate:.1f} billion multiply-adds a second")
        result.ratios = {name: times.ratio(name, OURS) for name in self.peers if name in calls}
        return result


# ---------------------------------------------------------------- the groups


def native(name: str, size: Size, threads: int) -> Contest:
    """LSTM, GRU and RNN by equations, against the operators that they are."""
    from baselines import native as operator

    import rnnc

    one = case_of(rnnc.parse, NATIVE[name], size, threads)
    weights, x = one.weights, one.data["x"]
    peers = {OPERATOR: lambda: session(operator(name, weights).SerializeToString(), x, threads)}
    if has("torch"):
        import cells

        peers[MODULE] = lambda: cells.modules(name, weights, x)
        peers[EAGER] = lambda: cells.outputs(name, weights, x)
        if size == NATIVE_SIZES[0]:  # exported as it is, without a loop
            peers[EXPORTED] = lambda: session(cells.exported(name, weights, x), x, threads)
    return Contest("inference, native cells", one, peers, {OPERATOR: 0.97, MODULE: 1.0})


def inference(name: str, size: Size, threads: int) -> Contest:
    """Cells that are no operator."""
    import rnnc

    _, batch, _, m = size
    one = case_of(rnnc.load, name, size, threads)
    goals = {EAGER: 2.5 if batch == 1 else 1.5 if m < 256 else 1.1}
    goals |= {JAX: 1.0} if m >= 256 else {}
    return Contest("inference, other cells", one, eager(name, one), goals)


def training(name: str, size: Size, threads: int) -> Contest:
    """Gradients of the same cells, by all parameters, of the outputs weighted at random."""
    import rnnc

    _, batch, _, m = size
    one = case_of(rnnc.load, name, size, threads, "grad")
    goals = {EAGER: 4.0 if batch == 1 else 2.0}
    goals |= {JAX: 1.0} if batch > 1 and m >= 256 else {}
    return Contest("training, other cells", one, eager(name, one), goals)


def linear(mode: str, size: Size, threads: int) -> Contest:
    """minGRU, whose recurrence need not be a loop, against the loop."""
    import rnnc

    one = case_of(rnnc.load, "MinGRU", size, threads, mode)
    peers = {PLAIN: lambda: one.plain() or one.onnx(), **eager("MinGRU", one)}
    if has("jax"):
        peers[ASSOCIATIVE] = lambda: associative(one)
    goal = {"predict": 5.0, "grad": 3.0}[mode]
    return Contest(f"linear recurrence, mode {mode}", one, peers, {PLAIN: goal})


Group = tuple[Callable[[str, Size, int], Contest], Iterable[str], list[Size]]
GROUPS: dict[str, Group] = {
    "native": (native, NATIVE, NATIVE_SIZES),
    "inference": (inference, OTHERS, OTHER_SIZES),
    "training": (training, OTHERS, OTHER_SIZES),
    "linear": (linear, ("predict", "grad"), [LINEAR_SIZE]),
}


def contests(group: str, quick: bool) -> Iterator[tuple[str, Size]]:
    """The cells (of a linear recurrence: the modes) and sizes of a group; when there is little
    time two cells, of the smallest and the largest batch of one."""
    _, names, sizes = GROUPS[group]
    few = [sizes[0], sizes[-1]] if len(sizes) > 1 and group != "native" else sizes[:1]
    yield from product(list(names)[:2] if quick else names, few if quick else sizes)


# ---------------------------------------------------------------- parts


def has(package: str) -> bool:
    return find_spec(package) is not None


def case_of(load: Any, text: str, size: Size, threads: int, mode: str = "predict") -> Any:
    from rnnc.bench.forms import case

    steps, batch, n, m = size
    return case(load(text, n=n, m=m), mode, batch=batch, steps=steps, threads=threads)


def eager(name: str, one: Any) -> dict[str, Callable[[], Call]]:
    """The cell in eager PyTorch, where that is installed."""
    if not has("torch"):
        return {}
    import cells

    if one.mode == "grad":
        return {EAGER: lambda: cells.gradients(name, one.weights, one.data)}
    return {EAGER: lambda: cells.outputs(name, one.weights, one.data["x"])}


def session(model: bytes, x: Any, threads: int) -> Call:
    """A model from x to h in onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    loaded = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: {"h": loaded.run(["h"], {"x": x})[0]}


def associative(one: Any) -> Call:
    """minGRU by `lax.associative_scan`: pairs (a, b) of h -> a h + b are composed in a tree."""
    import jax
    import jax.numpy as jnp

    w = {name: jnp.asarray(a) for name, a in one.weights.items()}
    given = {name: jnp.asarray(a) for name, a in one.data.items()}

    def outputs(w: Any, x: Any) -> Any:
        z = jax.nn.sigmoid(x @ w["W_z"].T)
        pairs = (1 - z, z * (x @ w["W_h"].T))
        return jax.lax.associative_scan(
            lambda p, q: (p[0] * q[0], q[0] * p[1] + q[1]), pairs, axis=1
        )[1]

    if one.mode == "predict":
        run = jax.jit(lambda w, given: {"h": outputs(w, given["x"])})
    else:
        loss = jax.grad(lambda w, given: (outputs(w, given["x"]) * given["d_h"]).sum())
        run = jax.jit(lambda w, given: {f"d_{n}": g for n, g in loss(w, given).items()})
    return lambda: jax.block_until_ready(run(w, given))  # type: ignore[no-any-return]


def main(arguments: list[str] | None = None) -> None:
    """One line of JSON for each comparison of a group."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("group", choices=GROUPS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")  # torch.onnx warns of everything
    with limited(options.threads):
        if has("torch"):
            import torch

            torch.set_num_threads(options.threads)
        for name, size in contests(options.group, options.quick):
            contest = GROUPS[options.group][0](name, size, options.threads)
            cell = "MinGRU" if options.group == "linear" else name
            print(json.dumps(asdict(contest.run(cell, size, options.rounds))), flush=True)


if __name__ == "__main__":
    main()
