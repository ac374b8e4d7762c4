"""Sequences of several lengths: each of a batch is what it is alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_agreement import small

import rnnc
from rnnc.compiler import Options, plan_of
from rnnc.testing import (
    assert_all_agree,
    assert_gradients_agree,
    check_gradients,
    random_weights,
    reference,
)

OWN = {"t": [5, 1, 3]}
MODELS = [n for n, file in rnnc.library().items() if file.parent.name != "optim"]
UNROLLED = ("Bidirectional", "CharLSTM", "LSTMClassifier", "QRNN", "RWKV4", "LMU")
HEAD = """
model M
dim   n = 2, m = 3
input x[t] : [n]
param W : [m, m],  U : [m, n],  V : [n, m]
"""


def agrees(spec: rnnc.Spec, own: dict[str, list[int]] = OWN, **given: Any) -> None:
    """Outputs, losses, metrics, counts and gradients in every form, and differences of the loss."""
    size = {"batch": 3, "steps": 5, "lengths": own, **given}
    assert {"numpy", "onnx"} <= assert_all_agree(spec, **size).keys()
    if spec.shapes:
        assert_gradients_agree(spec, **size)


def model(equations: str, head: str = HEAD) -> rnnc.Spec:
    return rnnc.parse(head + equations)


@pytest.mark.parametrize("name", MODELS)
def test_library(name: str) -> None:
    spec = rnnc.load(name, **small(name))
    times = spec.system.time_axes()
    if not times:
        return
    agrees(spec, {times[0]: OWN["t"]}, unrolled=name in UNROLLED)


EQUATIONS = {
    "sums": "h[t] = tanh(U x[t] + W h[t-1])\nq = sum[t](h[t]) / T\nloss sum[t](sum(h[t]) * t)",
    "extremes": """
h[t] = U x[t] - 3
q = max[t](h[t]) + min[t](h[t])
at = argmax[t](x[t])
loss squared_error(max[t](h[t]), min[t](h[t]))
""",
    "attention": """
h[t] = tanh(U x[t] + W h[t-1])
a[t] = softmax[t](sum(h[t]))
l[t] = log(softmax[t](sum(h[t])))
c = sum[t](a[t] * h[t])
z = logsumexp[t](h[t])
loss squared_error(c, z) + sum[t](l[t])
""",
    "own last steps": """
h[t] = tanh(U x[t] + W h[t-1])
h[0] = 1
h[-1] = 2
last = h[T]
before = h[T-1] + h[T-2]
k[t] = argmax(h[t])
k[0] = 1
on[t] = sum(h[t]) > 0
on[0] = 1 > 0
i = k[T] + k[T-1]
f = on[T-1]
loss squared_error(last, before)
""",
    "own ends": """
g[t] = tanh(U x[t] + W g[t+1])
g[T+1] = V.T s
input s : [n]
r[t] = g[t+2] * g[t+1]
end = g[T+1] + g[T+3]
loss sum[t](sum(r[t] * g[t]))
""",
    "several ends": """
g[t] = U x[t] + W g[t+2]
g[T+1] = 2
g[T+2] = W h[T-1]
h[t] = U x[t]
h[0] = 1
r[t] = g[t+1] + g[t+3]
e = g[T+1] * g[T+2]
loss sum[t](sum(r[t])) + sum(e)
""",
    "a fixed step": """
h[t] = U x[3] + W h[t-1] + U x[1]
x[T+1] = 0.5
x[T+2] = 1
y = h[3] + h[2]
loss sum(h[T] + y)
""",
    "a fixed step, else zero": "h[t] = tanh(U x[t])\ny = h[4]\nloss sum[t](sum(h[t] * h[3]))",
    "numbers that are not finite at 0": """
h[t] = U x[t] + W h[t-1]
l[t] = log(abs(x[t])) + sqrt(abs(x[t])) + norm(x[t]) + abs(x[t]) ^ 0.5
d[t] = (x[t] + 1) / x[t] + 1 / V h[t-1] + x[t] % abs(x[t])
h[0] = 1
e[t] = exp(-1 / abs(x[t])) + 2 ^ t / t ^ 2
w[t] = where(x[t] > 0, log(abs(x[t])), -inf)
loss sum[t](sum(l[t] + d[t] + e[t])) + max[t](max(w[t]))
""",
    "bounded or not": """
h[t] = relu(5 W h[t-1] + U x[t])
c[t] = c[t-1] + h[t] * sum(c[t-1])
c[0] = 0.1
s[t] = s[t+1] * 0.5 + sigmoid(V h[t] - 1)
loss sum[t](sum(tanh(c[t]))) + sum[t](sum(s[t]))
""",
    "whole numbers": """
input w[t] : index(4)
param E : [9, m]
c[t] = c[t-1] + w[t]
c[0] = 0
h[t] = E[w[t] + t - 1] + E[c[t] % 9]
most = max[t](c[t])
loss sum[t](sum(h[t])) + squared_error(h[T], W h[1])
""",
    "when": """
input m_[t] : flag
h[t] = tanh(U x[t] + W h[t-1])
target y[t] : [] ~ normal(sum(h[t]), 1) when m_[t]
metric off = abs(sum(h[t]) - y[t])
""",
    "the number of steps": """
r[t] = t / T
h[t] = tanh(U x[t] * r[t] + W h[t-1])
loss T * sum(h[T])
metric mean_r = r[t]
""",
    "what needs no data": """
s[t] = 0.5 * s[t-1] + t
q = s[T]
loss L = sum(V h[T]) * s[T-1]
h[t] = tanh(W h[t-1]) * s[t] + U x[t]
output s, q, h
""",
}


@pytest.mark.parametrize("name", EQUATIONS)
def test_equations(name: str) -> None:
    spec = model(EQUATIONS[name])
    agrees(spec)
    if name not in ("a fixed step", "bounded or not"):
        check_gradients(spec, batch=3, steps=5, lengths=OWN)


# ---------------------------------------------------------------- several axes

ATTENTION = """
model A
dim   n = 2, m = 3
input x[t] : [n],  y[s] : [n]
param Q, R : [m, m],  U, Z : [m, n],  v : [m]
h[t] = tanh(U x[t] + R h[t+1])
e[s, t] = dot(v, tanh(Q d[s-1] + R h[t]))
a[s, t] = softmax[t](e[s, t])
d[s] = tanh(Z y[s] + Q d[s-1] + sum[t](a[s, t] * h[t]))
d[0] = h[1]
loss sum[s](sum(d[s])) + sum(d[S])
output d, a
"""
SELF = """
model B
dim   n = 2, m = 3
axis  u : T
input x[t] : [n]
param Q, R : [m, m],  U : [m, n]
h[t] = tanh(U x[t] + R h[t-1])
a[t, u] = softmax[u](dot(Q h[t], R h[u]))
c[t] = sum[u](a[t, u] * h[u])
loss sum[t](sum(c[t]))
output c, a
"""
GRID = """
model G
dim   n = 2, m = 3
input x[s, t] : [n]
param Q, R : [m, m],  U : [m, n]
h[s, t] = U x[s, t] + R h[s-1, t] + Q h[s, t-1]
z = h[S, T]
loss sum[s](sum[t](sum(tanh(h[s, t])))) + sum(z)
output h, z
"""


@pytest.mark.parametrize(
    ("text", "own"),
    [
        (ATTENTION, {"t": [5, 1, 3]}),
        (ATTENTION, {"s": [2, 5, 1]}),
        (ATTENTION, {"t": [5, 1, 3], "s": [2, 4, 5]}),
        (SELF, {"t": [5, 1, 3]}),
        (SELF, {"u": [5, 1, 3]}),
        (GRID, {"t": [5, 1, 3]}),
        (GRID, {"t": [5, 1, 3], "s": [2, 4, 5]}),
    ],
)
def test_axes(text: str, own: dict[str, list[int]]) -> None:
    agrees(rnnc.parse(text), own, unrolled=False)


# Boundaries along one axis where sequences end along another, or along the same one.
EDGES = {
    "past the end nothing is summed": """
h[i, j] = x[i, j] * b
h[0, j] = q
c[i] = sum[j](h[i-1, j]) + mean[j](x[0, j])
x[0, j] = y[j]
loss sum[i](sum(c[i]^2))
""",
    "nor multiplied": """
x[0, j] = q
y[0] = q
c[i] = sum[j](dot(x[i-1, j], y[j-1]) * b) + sum[j](y[j-2])
loss sum[i](sum(c[i]))
""",
    "outside along both": """
x[0, j] = q
x[i, J+1] = b
c[i, j] = x[i-1, j+1] * b
d = x[0, J+1]
loss sum[i](sum[j](sum(c[i, j]))) + sum(d)
""",
    "outside along both, and far": """
x[0, j] = q
x[i, 0] = v[i]
x[I+1, j] = b
x[I+2, j] = y[j]
c[i, j] = x[i+1, j-1] * x[i+3, j+2]
e[i] = x[i-1, J-1] + x[i+2, J+1]
f = x[I+1, J-2]
loss sum[i](sum[j](sum(c[i, j])) + sum(e[i])) + sum(b * f)
output c, e, f
""",
    "shorter than what is read": """
x[0, j] = y[j+1]
x[i, 0] = q
x[i, -1] = v[i-1]
v[0] = b
y[J+1] = b
c = x[I-1, J-2] * b
d[i] = x[i-2, J-3]
e[i, j] = x[i-1, j-2] + x[i-1, j+1] + x[i, J] * x[1, j-1]
loss sum[i](sum[j](sum(e[i, j])))
output c, d, e
""",
    "a recurrence": """
h[i, j] = tanh(x[i, j] * b + h[i-1, j+1] + h[i, j-1])
h[0, j] = y[j+1]
h[i, 0] = q
h[i, J+1] = v[i]
loss sum[i](sum(h[i, J]))
output h
""",
    "infinite": """
m[i, j] = where(x[i, j] > m[i-1, j], x[i, j], m[i-1, j])
m[0, j] = -inf
c[i] = sum[j](exp(m[i-1, j]) * b)
loss sum[i](sum(c[i]))
output m, c
""",
    "always outside": """
x[i, J+1] = q
c = max[i](x[i, J+1]) * b
d = sum[i](x[i, J+1])
g[i] = tanh(x[i, J+1])
output c, d, g
""",
    "always outside, and nothing there": """
c = max[i](x[i, J+1]) + b
g[i] = tanh(x[i, J+1])
output c, g
""",
}


@pytest.mark.parametrize("own", [{"j": [2, 1, 3]}, {"i": [1, 3, 2], "j": [2, 3, 1]}])
@pytest.mark.parametrize("name", EDGES)
def test_edges(name: str, own: dict[str, list[int]]) -> None:
    equations, reads = EDGES[name], {"y[": "y[j]", "v[": "v[i]", "q": "q"}
    more = [f", {x} : [2]" for read, x in reads.items() if read in equations]
    spec = rnnc.parse(f"model E\ninput x[i, j] : [2]{''.join(more)}\nparam b : [2]\n{equations}")
    agrees(spec, own, steps={"i": 3, "j": 3}, unrolled=False)


@pytest.mark.parametrize("lengths", [{"t": [3, 1, 2]}, {"i": [3, 1, 2]}])
def test_steps_that_are_fixed_and_steps_without_data(lengths: dict[str, list[int]]) -> None:
    text = """
model F
axis  t : T = 3
axis  i : I
input x[t] : [2]
param b : [2]
s[i] = 0.5 * s[i-1] + i
r[t] = 2 * t + b
h[t] = b * x[t] + h[t-1]
c = h[T] * s[I]
output s, r, h, c
"""
    agrees(rnnc.parse(text), lengths, steps=3, unrolled=False)


POINTER = """
model P
input x[s] : [2],  z[t] : [2]
param W : [2, 2]
k[s] = tanh(W x[s])
a[t, s] = softmax[s](dot(z[t], k[s]))
target y[t] : index(S) ~ categorical[s](a[t, s])
"""


@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_targets_that_are_steps(backend: str) -> None:
    spec = rnnc.parse(POINTER)
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(2, 3, 2)), rng.normal(size=(2, 4, 2))
    y, own = np.array([[1, 2, 3, 1], [2, 1, 0, -1]]), {"t": [4, 2], "s": [3, 2]}
    w = spec.init()
    model = spec.compile(backend, mode="loss", lengths=("s", "t"), weights=w)  # type: ignore[arg-type]
    alone = spec.compile(backend, mode="loss", weights=w)  # type: ignore[arg-type]
    parts = [{"x": x[i, :m], "z": z[i, :n], "y": y[i, :n]} for i, m, n in ((0, 3, 4), (1, 2, 2))]
    wanted = np.mean([alone(**{n: a[None] for n, a in p.items()})["loss"] for p in parts])
    padded = model(x=x, z=z, y=y, lengths=own)
    lists = model(**{n: [p[n] for p in parts] for n in "xzy"})
    for out in (padded, lists):
        assert np.isclose(out["loss"], wanted, rtol=1e-5)
    y[1, 1] = 3
    with pytest.raises(rnnc.DataError, match=r"y\[1\] holds 3; .* here 1 to 2"):
        model(x=x, z=z, y=y, lengths=own)
    with pytest.raises(rnnc.DataError, match="y holds -1"):
        model(x=x, z=z, y=y, lengths={"s": [3, 2]})


# ---------------------------------------------------------------- what must not be seen


@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_an_exploding_recurrence_never_grows_past_the_end(backend: str) -> None:
    spec = model("h[t] = 9 W h[t-1] + U x[t] + 1\ng[t] = 9 W g[t+1] + exp(h[t] / 9)\n"
                 "loss sum[t](sum(h[t]) + sum(g[t])) + sum(h[T])")  # fmt: skip
    w = {n: np.abs(a) + 1 for n, a in random_weights(spec).items()}
    w["W"], w["U"] = w["W"] / 4, w["U"] / 9
    x = np.random.default_rng(0).normal(size=(2, 800, 2))
    x[:, 3:] = np.nan
    options = {"dtype": "float64", "lengths": ("t",)}
    out = spec.compile(backend, weights=w, **options)(x=x, lengths={"t": [3, 2]})  # type: ignore[arg-type]
    grads = spec.compile(backend, mode="grad", **options)(  # type: ignore[arg-type]
        x=x, weights=w, lengths={"t": [3, 2]}
    )
    assert all(np.isfinite(a).all() for a in (*out.values(), *grads.values()))
    want = [reference(spec, {"x": x[i : i + 1, :n]}, w, batch=1, steps=n)["loss"]
            for i, n in enumerate((3, 2))]  # fmt: skip
    assert np.isclose(grads["loss"], np.mean(want), rtol=1e-12)


def wheres(name: str, mode: str, **sizes: int) -> list[int]:
    options = Options(mode, backend="numpy", lengths=("t",))
    plan = plan_of(rnnc.load(name, **sizes).system, options)
    return [[s.op for s in loop.body].count("where") for loop in plan.loops]


def test_what_is_bounded_needs_no_mask_in_its_loop() -> None:
    sizes = {"n": 3, "m": 4, "k": 2}
    assert wheres("LSTMClassifier", "predict", **sizes) == [1]  # c may grow, h may not
    assert wheres("LSTMClassifier", "grad", **sizes) == [1, 1]
    assert wheres("Bidirectional", "grad", **sizes) == [0, 0, 0, 0]
    assert wheres("Elman", "grad", **sizes) == [0, 0]


# ---------------------------------------------------------------- what is given


def spec_and_data() -> tuple[rnnc.Spec, np.ndarray]:
    spec = model("h[t] = tanh(U x[t] + W h[t-1])\nlast = V h[T]\noutput h, last")
    return spec, np.random.default_rng(0).normal(size=(3, 5, 2))


@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_without_lengths_all_sequences_are_full(backend: str) -> None:
    spec, x = spec_and_data()
    w = spec.init()
    out = spec.compile(backend, weights=w, lengths=("t",))(x=x)
    full = spec.compile(backend, weights=w)(x=x)
    np.testing.assert_allclose(out["h"], full["h"], rtol=1e-6)
    np.testing.assert_allclose(out["last"], full["last"], rtol=1e-5)


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ({"t": [5, 0, 3]}, rnnc.DataError, r"t.lengths\[1\] = 0; here a sequence has 1 to 5"),
        ({"t": [5, 1, 6]}, rnnc.DataError, r"t.lengths\[2\] = 6"),
        ({"t": [5, 1]}, rnnc.DataError, "t.lengths has 2 sequences|t.lengths has 2"),
        ({"t": [5.0, 1.0, 3.0]}, rnnc.DataError, "whole numbers"),
        ({"t": 5}, rnnc.DataError, "0 dimensions"),
        ({"s": [5, 1, 3]}, rnnc.UsageError, "no lengths along s: it has them along t"),
        ([5, 1, 3], rnnc.UsageError, 'given by axis: lengths={"t": '),
    ],
)
@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_wrong_lengths(backend: str, lengths: Any, error: type, message: str) -> None:
    spec, x = spec_and_data()
    compiled = spec.compile(backend, weights=spec.init(), lengths=("t",))
    with pytest.raises(error, match=message):
        compiled(x=x, lengths=lengths)


@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_lists_tell_their_lengths(backend: str) -> None:
    spec, x = spec_and_data()
    compiled = spec.compile(backend, weights=spec.init(), lengths=("t",))
    own = {"t": [5, 1, 3]}
    lists = [row[:n] for row, n in zip(x, own["t"], strict=True)]
    for form in (lists, [row.tolist() for row in lists], np.array(lists, dtype=object)):
        np.testing.assert_array_equal(compiled(x=form)["h"], compiled(x=x, lengths=own)["h"])
    full = spec.compile(backend, weights=spec.init())
    np.testing.assert_array_equal(full(x=list(x))["h"], full(x=x)["h"])
    with pytest.raises(rnnc.DataError, match=r'x have 1 to 5 steps: .* lengths=\("t",\)'):
        full(x=lists)
    for wrong, message in (
        ([], "x is an empty list"),
        ([*lists, np.zeros((0, 2))], r"x\[3\] has no steps"),
        ([*lists, np.zeros((2, 3))], r"x\[3\] is \[2, 3\], .* only numbers of steps"),
        ([*lists, np.zeros(2)], r"x\[3\] has 1 dimensions"),
        ([*lists, None], r"x\[3\] is no array: array\(None"),
    ):
        with pytest.raises(rnnc.DataError, match=message):
            compiled(x=wrong)
    with pytest.raises(rnnc.DataError, match="the input x is missing"):
        compiled()


def test_wrong_compilations() -> None:
    spec, x = spec_and_data()
    with pytest.raises(rnnc.UsageError, match=r'compile it with lengths=\("t",\)'):
        spec.compile(weights=spec.init())(x=x, lengths={"t": [5, 1, 3]})
    with pytest.raises(rnnc.UsageError, match="has no axis s: it has t"):
        spec.compile(lengths=("s",))
    with pytest.raises(rnnc.UsageError, match="modes predict, generate, loss, grad, train"):
        spec.compile(mode="step", lengths=("t",))
    with pytest.raises(rnnc.UsageError, match="leave out carry"):
        rnnc.load("Elman", n=2, m=3, k=2).compile(mode="grad", carry=True, lengths="t")


def test_saved_models_know_their_lengths(tmp_path: Path) -> None:
    spec, x = spec_and_data()
    x[1, 1:] = np.nan
    own = {"t": [5, 1, 3]}
    want = spec.compile(weights=spec.init(), lengths=("t",))(x=x, lengths=own)
    for file, backend in (("m.onnx", "onnx"), ("m.py", "numpy")):
        spec.compile(backend, weights=spec.init(), lengths=("t",)).save(tmp_path / file)
        out = rnnc.open(tmp_path / file)(x=x, lengths=own)
        np.testing.assert_allclose(out["last"], want["last"], rtol=1e-5)
        assert not out["h"][1, 1:].any()
    np.savez(tmp_path / "d.npz", x=x, **{"t.lengths": own["t"]})
    program = "import m, numpy as np; d = dict(np.load('d.npz'))\n"
    program += "np.save('out.npy', m.run(m.prepare(m.load_weights()), d)['last'])"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), want["last"], rtol=1e-5)


def test_indices_in_the_padding_are_never_looked_at() -> None:
    spec = rnnc.load("CharLSTM", vocab=5, m=3)
    judge = spec.compile(mode="loss", weights=spec.init(), lengths=("t",))
    y = np.random.default_rng(0).integers(0, 5, (2, 4))
    judge_of = {n: judge(y=y, lengths={"t": [4, 2]})["loss"] for n in ("given",)}
    y[1, 2:] = -100
    assert judge(y=y, lengths={"t": [4, 2]})["loss"] == judge_of["given"]
    y[1, 1] = -100
    with pytest.raises(rnnc.DataError, match="y holds -100"):
        judge(y=y, lengths={"t": [4, 2]})


# ---------------------------------------------------------------- training


def ragged() -> tuple[rnnc.Spec, list[np.ndarray], list[np.ndarray]]:
    spec = rnnc.parse("""
model Signs
dim   n, m = 4, k = 2
input x[t] : [n]
param U : [m, n],  W : [m, m],  V : [k, m]
h[t] = tanh(W h[t-1] + U x[t])
p[t] = softmax(V h[t])
target y[t] : index(k) ~ categorical(p[t])
metric accuracy = argmax(p[t]) == y[t]
output p
""")
    rng = np.random.default_rng(0)
    xs = [rng.normal(size=(n, 2)) for n in rng.integers(1, 9, size=40)]
    return spec, xs, [(x.sum(-1) > 0).astype(int) for x in xs]


def test_training_on_lists_and_on_padded_arrays_is_the_same(tmp_path: Path) -> None:
    spec, xs, ys = ragged()
    own = np.array([len(x) for x in xs])
    x, y = np.full((40, 8, 2), np.nan), np.full((40, 8), -100)
    for i, n in enumerate(own):
        x[i, :n], y[i, :n] = xs[i], ys[i]
    options: dict[str, Any] = {"batch": 8, "epochs": 3, "lr": 0.03, "validation": 0.2,
                               "backend": "numpy", "dtype": "float64"}  # fmt: skip
    first = spec.fit({"x": xs, "y": ys}, **options)
    assert spec.fit({"x": x, "y": y}, lengths={"t": own}, **options).history == first.history
    np.savez(tmp_path / "d.npz", x=x, y=y, **{"t.lengths": own})
    assert spec.fit(tmp_path / "d.npz", **options).history == first.history
    assert first.history[-1]["validation.accuracy"] > 0.8


def test_an_epoch_is_measured_by_what_counts() -> None:
    """With a learning rate of 0 an epoch's metrics are those of every sequence alone."""
    spec, xs, ys = ragged()
    fit = spec.fit({"x": xs, "y": ys}, batch=16, epochs=1, lr=0.0, optimizer="sgd")
    judge = fit.spec.compile(mode="loss", weights=fit.weights, dtype="float64")
    each = [judge(x=x[None], y=y[None]) for x, y in zip(xs, ys, strict=True)]
    steps = sum(map(len, xs))
    hits = sum(float(e["accuracy"]) * len(x) for e, x in zip(each, xs, strict=True))
    total = sum(float(e["loss"]) for e in each)
    (epoch,) = fit.history
    assert np.isclose(epoch["loss"], total / 40, rtol=1e-5)
    assert np.isclose(epoch["accuracy"], hits / steps, rtol=1e-6)
    assert np.isclose(epoch["perplexity"], np.exp(total / steps), rtol=1e-5)


def test_wrong_training_data() -> None:
    spec, xs, ys = ragged()
    y = np.zeros((40, 8), int)
    x = np.zeros((40, 8, 2))
    wrong: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({"x": xs, "y": ys[::-1]}, {}, r"y\[0\] has \d steps, x\[0\] has \d"),
        ({"x": xs, "y": ys[1:]}, {}, "y has 39 sequences, x has 40"),
        ({"x": xs, "y": y[:, :7]}, {}, "y has 1 to 7 steps"),
        ({"x": [*xs[:-1], xs[0][:0]], "y": ys}, {}, r"x\[39\] has no steps"),
        ({"x": [*xs[:-1], np.zeros((3, 3))], "y": ys}, {}, "only numbers of steps may differ"),
        ({"x": x, "y": y}, {"lengths": {"t": [9] * 40}}, r"t.lengths\[0\] = 9"),
        ({"x": x, "y": y}, {"lengths": {"t": [2] * 4}}, "t.lengths has 4 numbers"),
        ({"x": x, "y": y}, {"lengths": {"t": [2.0] * 40}}, "one whole number for each"),
        ({"x": x, "y": y, "t.lengths": [2] * 40}, {"lengths": {"t": [2] * 40}}, "given twice"),
        ({"x": x, "y": y}, {"lengths": {"s": [2] * 40}}, "no axis s"),
        ({"x": x, "y": y}, {"lengths": [2] * 40}, "lengths are given by axis"),
        ({"x": xs, "y": ys}, {"bptt": 2}, "bptt cuts sequences of one length"),
    ]
    for data, options, message in wrong:
        with pytest.raises(rnnc.RnncError, match=message):
            spec.fit(data, epochs=1, **options)
