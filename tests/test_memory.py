"""``memory="low"``: the same gradients in segments, of which few arrays exist at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_agreement import small

import rnnc
from rnnc.cli import main
from rnnc.compiler import Options, plan_of
from rnnc.passes.peak import peak
from rnnc.passes.plan import Compute, Plan, flat, results_of
from rnnc.source import UsageError
from rnnc.testing import assert_gradients_agree, random_data, random_weights
from rnnc.testing.agreement import relative_error
from rnnc.testing.alone import Steps

RTOL = 1e-12
HEAD = """
model M
dim   n = 3, m = 4, k = 2
input x[t] : [n]
param W : [m, m],  U : [m, n],  V : [k, m],  b : [m]
"""
TAIL = "\ntarget y[t] : index(k) ~ categorical(softmax(V h[t]))"
END = "\ntarget y : [k] ~ normal(V q, 1)"
EQUATIONS = {
    # what is read beyond a segment
    "two steps back": "h[t] = tanh(W h[t-2] + U x[t] + b * h[t-1])\nh[0] = b\nh[-1] = 2 * b" + TAIL,
    "further than a segment": "h[t] = tanh(W h[t-3] + U x[t])" + TAIL,
    "data around": "h[t] = tanh(W h[t-1] + U x[t+1] + U x[t-2])" + TAIL,
    "data before data": "x[0] = x[1]\ng[t] = tanh(U x[t] * (U x[0]))\n"
    "h[t] = tanh(W h[t-1] + g[t] + U x[t-1])\nh[0] = U x[0]" + TAIL,
    "values ahead": "e[t] = tanh(U x[t])\nh[t] = tanh(W h[t-1] + e[t+1] + e[t-1])" + TAIL,
    # in what order
    "three ways": "f[t] = tanh(W f[t-1] + U x[t])\ng[t] = tanh(W g[t+1] + f[t])\n"
    "h[t] = tanh(W h[t-1] + g[t] + g[t-1])" + TAIL,
    "from the end": "g[t] = tanh(W g[t-1] + U x[t])\nh[t] = tanh(W h[t-1] + U x[t])\nh[0] = g[T]"
    + TAIL,
    # what is wanted of all steps
    "ends": "h[t] = tanh(W h[t-1] + U x[t])\nq = h[1] + h[T]" + END,
    "near the ends": "h[t] = tanh(W h[t-1] + U x[t])\nq = h[2] + h[T-1]" + END,
    "largest": "h[t] = tanh(W h[t-1] + U x[t])\nq = max[t](h[t])" + END,
    "pooled": "h[t] = tanh(W h[t-1] + U x[t])\na[t] = softmax[t](dot(b, h[t]))\n"
    "q = sum[t](a[t] * h[t])" + END,
    "each with each": "axis t : T\naxis u : T\nh[t] = tanh(W h[t-1] + U x[t])\n"
    "a[t, u] = softmax[u](dot(h[t], h[u]))\nr[t] = sum[u](a[t, u] * h[u])\n"
    "target y[t] : index(k) ~ categorical(softmax(V r[t]))",
    "as another axis": "axis t : T\naxis u : T\ninput z[u] : [n]\ne[u] = tanh(U z[u])\n"
    "h[t] = tanh(W h[t-1] + U x[t] + e[t] + U z[t])\ng[u] = tanh(h[u] + W g[u-1])\n"
    "loss sum[t](dot(h[t], e[t])) + sum[u](dot(h[u], g[u]))",
    "constants of one form": "const c : [m] = 1 + arange(m)\nconst d : [m] = 10 + arange(m)\n"
    "h[t] = tanh(W (c * h[t-1]) + U x[t] * d)" + TAIL,
    # where a step is
    "numbered": "h[t] = tanh(W h[t-1] / t + U x[t] / T)\nh[0] = U x[1]" + TAIL,
    "fixed": "axis t : T = 7\nh[t] = tanh(W h[t-1] + U x[t])" + TAIL,
}
TWO_AXES = """
model M
dim   n = 3, m = 4, k = 2
axis  t : T
axis  u : S
param W : [m, m],  U : [m, n],  V : [k, m],  b : [m],  c : [n]
"""
ALONG_BOTH = {  # the boundaries along one axis are those of values over the other, too
    "data": """
input x[t, u] : [n]
x[t, 0] = c
h[t, u] = tanh(W h[t-1, u] + U x[t, u-1])
target y[t, u] : index(k) ~ categorical(softmax(V h[t, u]))""",
    "a step of each": """
input x[t] : [n]
h[t] = tanh(W h[t-1] + U x[t])
g[t, u] = tanh(W h[t] + g[T, u-1] + g[2, u-1])
loss sum[t](sum[u](sum(g[t, u])))""",
    "a boundary a step on": """
input z[u] : [n],  y[t] : [m]
h[t, u] = tanh(W (h[t+1, u-1] * h[t, u-1]) + h[t-1, u-1] + y[t])
h[0, u] = U z[u+1]
loss sum[t](sum[u](sum(h[t, u])))""",
    "values": """
input x[t] : [n],  z[u] : [n]
e[u] = U z[u]
e[0] = b
h[t] = tanh(W h[t-1] + U x[t])
g[t, u] = tanh(W g[t-1, u] + h[t] + e[u-1])
g[t, 0] = h[t]
loss sum[t](sum[u](dot(g[t, u-1], g[t, u])))""",
}
LIBRARY = ("LSTM", "LSTMClassifier", "CharLSTM", "DeepLSTM", "BidirectionalGRU", "MDLSTM",
           "BahdanauAttention", "ClockworkWave", "LMU", "MLSTM")  # fmt: skip


def plan(name: str, memory: str = "low", **sizes: int) -> Plan:
    return plan_of(rnnc.load(name, **sizes).system, Options("grad", memory=memory))


def agrees(spec: rnnc.Spec, steps: Steps, **options: Any) -> None:
    """Reference = NumPy = ONNX, in segments."""
    size = {"batch": 3, "steps": steps, "unrolled": False, "rtol": RTOL}
    assert_gradients_agree(spec, memory="low", **size, **options)


@pytest.mark.parametrize("name", EQUATIONS)
def test_equations(name: str) -> None:
    spec = rnnc.parse(HEAD + EQUATIONS[name])
    for steps in (7,) if name == "fixed" else (1, 7):
        agrees(spec, steps)


@pytest.mark.parametrize("name", ALONG_BOTH)
def test_two_axes(name: str) -> None:
    agrees(rnnc.parse(TWO_AXES + ALONG_BOTH[name]), {"t": 5, "u": 3})


@pytest.mark.parametrize("name", LIBRARY)
def test_library(name: str) -> None:
    agrees(rnnc.load(name, **small(name)), 5)


def test_options() -> None:
    """Dropout drops the same, and sequences have lengths of their own."""
    dropped = "h[t] = tanh(W h[t-1] + U dropout(x[t], 0.4))" + TAIL
    agrees(rnnc.parse(HEAD + dropped), 6, training=True)
    for name in ("Bidirectional", "LSTMClassifier"):
        agrees(rnnc.load(name, **small(name)), 5, lengths={"t": [5, 1, 3]})


@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_training_step(backend: str) -> None:
    """An update, with clipping, and of a chunk of longer sequences."""
    spec = rnnc.load("Elman", **small("Elman"))
    data, weights = random_data(spec, 3, 6), random_weights(spec)
    normal, low = (
        spec.compile(backend, mode="train", dtype="float64", clip=0.1, carry=True, memory=m)
        for m in ("normal", "low")
    )
    assert (normal.ports.inputs, normal.ports.outputs) == (low.ports.inputs, low.ports.outputs)
    wanted, found = (model(weights=weights, lr=0.1, **data) for model in (normal, low))
    assert all(relative_error(found[n], a) <= RTOL for n, a in wanted.items())


def test_fit() -> None:
    spec = rnnc.load("Elman", **small("Elman"))
    data = random_data(spec, 8, 5)
    normal, low = (
        spec.fit(data, epochs=2, memory=memory, dtype="float64", progress=False)
        for memory in ("normal", "low")
    )
    assert all(relative_error(low.weights[n], a) <= RTOL for n, a in normal.weights.items())


# ---------------------------------------------------------------- in which order


@pytest.mark.parametrize(
    ("name", "ways"),
    [
        ("DeepLSTM", [True, False]),
        ("BidirectionalGRU", [True, False, True]),  # an adjoint goes back with the other way
    ],
)
def test_sweeps(name: str, ways: list[bool]) -> None:
    assert [loop.forward for loop in plan(name, **small(name)).loops] == ways


def test_sweeps_there_and_back() -> None:
    """Forward, back, forward, and then the adjoints of all three."""
    spec = rnnc.parse(HEAD + EQUATIONS["three ways"])
    found = plan_of(spec.system, Options("grad", memory="low"))
    assert [loop.forward for loop in found.loops] == [True, False] * 3


# ---------------------------------------------------------------- how much memory


@pytest.mark.parametrize("name", ["LSTMClassifier", "Deep", "BidirectionalGRU"])
def test_nothing_but_data_has_all_steps(name: str) -> None:
    found = plan(name, **small(name))
    made = {n for s in flat(found.statements()) for n in results_of(s)}
    assert all("t" not in found.arrays[n].dims for n in made)
    assert {loop.axis for loop in found.loops} == {"t.segments"}


def test_once_outside() -> None:
    """What depends on weights alone is made before all segments, for all sweeps."""
    found = plan("LSTMClassifier", **small("LSTMClassifier"))
    inside = [s for loop in found.loops for s in flat(loop.body) if isinstance(s, Compute)]
    weights = {p.array for p in found.params}
    assert not [s for s in inside if s.args and set(s.args) <= weights]
    made = [(s.op, s.args, s.attrs, found.arrays[s.target]) for s in found.setup
            if isinstance(s, Compute) and s.args]  # fmt: skip
    assert len(made) == len(set(map(repr, made)))


def test_peak_by_hand() -> None:
    text = "model M\ninput x[t] : [2]\nh[t] = tanh(h[t-1] + x[t])\noutput h"
    found = plan_of(rnnc.parse(text).system, Options())
    entry = 3 * 2 * 4  # of 3 sequences, in bytes
    x = h = 5 * entry
    start = state = step = entry
    assert peak(found, {"t": 5, "batch": 3}) == x + h + start + state + 2 * step


def test_peak_grows_with_the_root() -> None:
    sizes = {"n": 2, "m": 32, "k": 3}
    normal, low = (plan("LSTMClassifier", memory, **sizes) for memory in ("normal", "low"))
    few, many = ({"t": steps, "batch": 64} for steps in (10_000, 40_000))

    def growth(p: Plan) -> float:
        data = peak(p, many) - peak(p, few)
        return data / peak(p, few)

    assert growth(normal) > 2.9
    inputs = 64 * 2 * 4 * 30_000
    assert (peak(low, many) - peak(low, few) - inputs) / peak(low, few) < 1.1
    assert peak(low, many) < peak(normal, many) / 20


# ---------------------------------------------------------------- what is refused, what is said


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Elman", {"mode": "predict"}, "for the modes grad and train"),
        ("Elman", {"mode": "grad", "unroll": 3}, "leave out unroll"),
        ("Elman", {"mode": "grad", "memory": "lots"}, "there are: normal, low"),
        ("SelfAttention", {"mode": "grad"}, "has none"),
    ],
)
def test_refused(name: str, options: dict[str, Any], message: str) -> None:
    spec = rnnc.load(name, **small(name))
    with pytest.raises(UsageError, match=message):
        spec.compile("numpy", **{"memory": "low", **options})


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "m.onnx")
    sizes = [f"--set={n}={size}" for n, size in small("Elman").items()]
    common = ["compile", "Elman", *sizes, "-o", out, "--memory", "low"]
    assert main([*common, "--mode", "grad", "--explain"]) == 0
    said = capsys.readouterr().out
    assert "in segments of ⌈√T⌉ steps" in said
    assert "keeping of each h [batch, 4]" in said
    assert main(common) == 2
    assert "--memory is for the modes grad, train" in capsys.readouterr().err
