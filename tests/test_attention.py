"""Matrices that are updated by outer products as linear attention: which are taken, and that
nothing changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import rnnc
from rnnc import compiler
from rnnc.backends import numpy_source, onnx_attention
from rnnc.cli.explain import explanation
from rnnc.compiler import Options
from rnnc.graph.system import System
from rnnc.graph.verify import verify
from rnnc.passes.attention import attention, verdicts
from rnnc.passes.mode import evaluating
from rnnc.passes.plan import (
    CHUNK,
    LEAST_CHUNKED,
    LEAST_OF_SMALL,
    SMALL_MATRIX,
    Compute,
    flat,
)
from rnnc.passes.schedule import schedule
from rnnc.passes.simplify import simplify
from rnnc.runtime.reference import evaluate
from rnnc.testing import (
    assert_all_agree,
    assert_gradients_agree,
    random_data,
    random_weights,
)

NDA = NDArray[Any]
MANY = 2 * CHUNK + 5  # steps that are no multiple of those of a chunk

INPUTS = """
input q[t], k[t] : [3],  v[t] : [2]
param a, b : [],  A : [2, 3],  w : [3]
"""


@pytest.fixture(autouse=True)
def small_ones_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The matrices of these tests are small, and are gone through in chunks nevertheless."""
    for module in (numpy_source, onnx_attention):
        monkeypatch.setattr(module, "SMALL_MATRIX", 0)


def parsed(text: str) -> rnnc.Spec:
    return rnnc.parse(f"model M\n{INPUTS}{text}")


def loops(spec: rnnc.Spec, mode: str = "predict", **options: Any) -> System:
    """The system in which every recurrence still is one."""
    return compiler.final(spec.bound, Options(mode, plain_loops=True, **options))


def reasons(spec: rnnc.Spec, mode: str = "predict", **options: Any) -> list[str]:
    """Why matrices stay in loops; empty where none does."""
    found = verdicts(loops(spec, mode, **options))
    assert found
    return [v.reason for v in found if not v.states]


def operations(spec: rnnc.Spec, mode: str = "predict", **options: Any) -> tuple[int, int, int]:
    """How many of both operations a plan has, and how many loops."""
    plan = schedule(compiler.final(spec.bound, Options(mode, **options)))
    ops = [s.op for s in flat(plan.statements()) if isinstance(s, Compute)]
    return ops.count("linear_attention"), ops.count("state_product"), len(plan.loops)


GATED = "f[t] = sigmoid(dot(w, q[t]))\nS[t] = f[t] * S[t-1] + outer(v[t], k[t])\n"

#: without gates, with constant ones, learned ones, and ones that depend on the step; read before
#: and after the step, from both sides, forward and backward
TAKEN = [
    "S[t] = S[t-1] + outer(v[t], k[t])\nh[t] = S[t] q[t]",
    "S[t] = S[t-1] - outer(v[t], k[t])\nh[t] = S[t-1] q[t]",
    "S[t] = 0.9 * S[t-1] + outer(v[t], k[t])\nh[t] = S[t].T v[t]",
    "S[t] = sigmoid(a) * S[t-1] + outer(k[t], v[t]).T / 2\nh[t] = S[t] q[t]",
    f"{GATED}h[t] = S[t] q[t]",
    f"{GATED}h[t] = S[t-1] (q[t] + k[t-1])",
    f"{GATED}g[t] = S[t] q[t]\nh[t] = S[t].T g[t]",
    f"{GATED}h[t] = tanh(S[t] q[t]) + tanh(S[t-1] k[t]) + S[t] w",
    f"{GATED}h[t] = (b * S[t] + outer(v[t], w)) q[t]",
    "S[0] = outer(v[1], w)\n" + GATED + "h[t] = S[t] q[t]",
    "f[t] = -sigmoid(dot(w, q[t]))\nS[t] = f[t] * (S[t-1] + b * outer(v[t], k[t]))\n"
    "h[t] = S[t] q[t]",
    "i[t] = exp(dot(w, k[t]))\nS[t] = 0.5 * S[t-1] + i[t] * outer(v[t], k[t]) + outer(v[t-1], w)\n"
    "h[t] = S[t] q[t]",
    "S[t] = sigmoid(sum(q[t])) * S[t+1] + outer(v[t], k[t])\nh[t] = S[t] q[t]",
    "S[t] = exp(-exp(a)) * S[t+1] + outer(v[t], k[t])\nh[t] = S[t+1] q[t]",
    f"{GATED}R[t] = f[t] * R[t+1] + outer(v[t], q[t])\nh[t] = S[t] q[t] + R[t] k[t]",
]


@pytest.mark.parametrize("equations", TAKEN)
def test_forms(equations: str) -> None:
    """Every form that the equations may have is found, and means what it did; so do gradients."""
    spec = parsed(f"{equations}\noutput h")
    assert reasons(spec) == []
    count, _, left = operations(spec)
    assert count > 0
    assert left == 0
    assert reasons(spec, "grad") == []
    assert_all_agree(spec, batch=2, steps=LEAST_CHUNKED + 3, unrolled=False)
    assert_gradients_agree(spec, batch=2, steps=LEAST_CHUNKED + 3, unrolled=False)
    before = simplify(evaluating(spec.bound))
    after = verify(attention(before))
    assert after is not before
    data = {**random_data(spec, 2, 7), **random_weights(spec)}
    wanted, found = evaluate(before, data), evaluate(after, data)
    assert_allclose(found["h"], wanted["h"], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "steps",
    [1, 2, LEAST_CHUNKED - 1, LEAST_CHUNKED, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 3],
)
def test_any_number_of_steps(steps: int) -> None:
    """Too few for a chunk, fewer than it may have, as many, and more, both ways."""
    way = "R[t] = f[t] * R[t+1] + outer(v[t], q[t])\n"
    spec = parsed(f"{GATED}{way}h[t] = S[t] q[t] + R[t] k[t]\noutput h")
    assert_all_agree(spec, batch=1, steps=steps, unrolled=steps < 3)
    assert_gradients_agree(spec, batch=1, steps=steps, unrolled=steps < 3)


@pytest.mark.parametrize(
    ("equations", "reason"),
    [
        ("S[t] = b * S[t-1] + outer(v[t], k[t])\nh[t] = S[t] q[t]",
         "nothing in the equations keeps `b` from being larger than 1 in size"),
        ("S[t] = 0.5 * S[t-1] + A\nh[t] = S[t] q[t]",
         "`A` has a part that is no outer product of vectors"),
        ("S[t] = sigmoid(A) * S[t-1] + outer(v[t], k[t])\nh[t] = S[t] q[t]",
         "entries have factors of their own"),
        ("S[t] = tanh(S[t-1] + outer(v[t], k[t]))\nh[t] = S[t] q[t]",
         "`S` takes `tanh` of what recurs"),
        ("S[t] = S[t-1] + outer(v[t] - S[t-1] k[t], k[t])\nh[t] = S[t] q[t]",
         "mixes entries by a product of what recurs"),
        ("S[t] = 0.5 * S[t-2] + outer(v[t], k[t])\nh[t] = S[t] q[t]",
         "`S` is read further away than one step"),
        (f"{GATED}h[t] = tanh(S[t]) q[t]", "`S` goes into `h` at every step as a matrix"),
        (f"{GATED}h[t] = S[t-2] q[t]", "`S` goes into `h` at every step as a matrix"),
        (f"{GATED}h[t] = sum(S[t] * S[t-1])", "`S` goes into `h` at every step as a matrix"),
        (f"{GATED}h[t] = S[t] A.T", "`S` goes into `h` at every step as a matrix"),
        (f"{GATED}output S\nh[t] = S[t] q[t]", "`S` is given out at every step as a matrix"),
    ],
)  # fmt: skip
def test_reasons(equations: str, reason: str) -> None:
    spec = parsed(f"{equations}\noutput h")
    found = reasons(spec)
    assert any(reason in r for r in found), found
    assert operations(spec) == (0, 0, 1)


def test_mlstm() -> None:
    """The matrix of the library's cell, and its adjoint; what is left are the largest exponents."""
    spec = rnnc.load("MLSTM", n=3, m=4)
    assert reasons(spec) == []
    assert reasons(spec, "grad") == []
    assert operations(spec) == (1, 0, 1)
    assert operations(spec, mode="grad")[1:] == (1, 2)
    assert_all_agree(spec, batch=2, steps=MANY, unrolled=False)
    assert_gradients_agree(spec, batch=2, steps=MANY, unrolled=False)


def test_counts() -> None:
    """Without gates, S and its adjoint are read twice each; of a gate's gradient there is one
    product of both."""
    plain = parsed("S[t] = S[t-1] + outer(v[t], k[t])\nh[t] = S[t] q[t]\noutput h")
    assert operations(plain) == (1, 0, 0)
    assert operations(plain, plain_loops=True) == (0, 0, 1)
    assert operations(plain, unroll=3) == (0, 0, 0)
    inputs = ("q", "k", "v")
    assert operations(plain, mode="grad", inputs=inputs) == (4, 0, 0)
    gated = parsed(f"{GATED}h[t] = S[t] q[t]\noutput h")
    assert operations(gated, mode="grad", inputs=inputs) == (4, 1, 0)


def test_told() -> None:
    """What became of a matrix, and of one that has to be made at every step who needs it."""
    options = {"backend": "onnx", "target": "cpu"}
    told = explanation(parsed(f"{GATED}h[t] = S[t] q[t]\noutput h"), Options(**options))
    assert "form: in chunks of 32 steps (blocked)" in told
    told = explanation(parsed(f"{GATED}h[t] = S[t] q[t]\noutput h, S"), Options(**options))
    assert "not in chunks: `S` is given out at every step as a matrix" in told
    assert "form: one Scan" in told


# ---------------------------------------------------------------- lengths, chunks, axes


@pytest.mark.parametrize("way", ["S[t-1]", "S[t+1]"])
def test_lengths(way: str) -> None:
    spec = parsed(
        f"S[t] = sigmoid(sum(q[t])) * {way} + outer(v[t], k[t])\nh[t] = S[t] q[t]\noutput h"
    )
    assert reasons(spec, lengths=("t",)) == []
    own = {"t": [CHUNK + 5, 1]}
    assert_all_agree(spec, batch=2, steps=CHUNK + 5, unrolled=False, lengths=own)
    assert_gradients_agree(spec, batch=2, steps=CHUNK + 5, unrolled=False, lengths=own)


@pytest.mark.parametrize("gate", ["1", "0.9", "sigmoid(dot(w, q[t]))"])
@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_states_go_in_and_come_out(backend: str, gate: str) -> None:
    """Parts of a sequence, each from the matrix that the one before ended with, give what the
    whole does."""
    spec = parsed(f"S[t] = {gate} * S[t-1] + outer(v[t], k[t])\nh[t] = S[t] q[t]\noutput h")
    assert operations(spec, carried=True)[::2] == (1, 0)
    rng = np.random.default_rng(0)
    steps = MANY + 3
    data = {"q": (2, steps, 3), "k": (2, steps, 3), "v": (2, steps, 2)}
    data = {name: rng.normal(size=shape) for name, shape in data.items()}
    weights = random_weights(spec)
    whole = spec.compile(backend, weights=weights, dtype="float64")(**data)["h"]
    part = spec.compile(backend, weights=weights, dtype="float64", carry=True)
    state, found = np.zeros((2, 2, 3)), []
    for some in (slice(0, MANY), slice(MANY, steps)):
        result = part.run({**{n: x[:, some] for n, x in data.items()}, "S.prev": state})
        state = result["S.next"]
        found.append(result["h"])
    assert_allclose(np.concatenate(found, axis=1), whole, rtol=1e-12, atol=1e-13)


def test_the_last_state_alone() -> None:
    """What is asked of the end is a product over all steps."""
    for first in ("", "S[0] = outer(v[1], w)\n"):
        for way, end in (("t-1", "T"), ("t+1", "1")):
            text = (
                f"{first if end == 'T' else ''}S[t] = sigmoid(a) * S[{way}] + outer(v[t], k[t])\n"
            )
            spec = parsed(f"{text}h = S[{end}]\noutput h")
            assert operations(spec) == (0, 0, 0)
            for steps in (1, MANY):
                assert_all_agree(spec, batch=2, steps=steps, unrolled=steps < 3)


@pytest.mark.parametrize("gate", ["1", "0.9", "sigmoid(a)", "sigmoid(dot(w, q[t]))"])
def test_a_learned_first_state(gate: str) -> None:
    """Its gradient is the adjoint at the end of its way, summed over the sequences."""
    for start, way in (("0", "t-1"), ("T+1", "t+1")):
        spec = parsed(
            f"S[{start}] = A\nS[t] = {gate} * S[{way}] + outer(v[t], k[t])\n"
            "h[t] = S[t] q[t]\noutput h"
        )
        assert reasons(spec, "grad") == []
        assert_gradients_agree(spec, batch=2, steps=LEAST_CHUNKED + 3, unrolled=False)


def test_along_the_second_axis() -> None:
    spec = rnnc.parse(
        "model M\ninput k[s] : [3],  v[t] : [2]\n"
        "C[s, t] = sigmoid(sum(v[t])) * C[s, t-1] + outer(v[t], k[s])\n"
        "h[s, t] = C[s, t] k[s]\noutput h"
    )
    assert operations(spec) == (1, 0, 0)
    assert_all_agree(spec, batch=2, steps={"s": 2, "t": CHUNK + 1}, unrolled=False)


@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_few_steps_of_small_matrices_are_a_loop(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The choice is made when the model runs; both ways give the same."""
    spec = parsed(f"{GATED}h[t] = S[t] q[t]\noutput h")
    rng = np.random.default_rng(0)
    shapes = {"q": (2, LEAST_OF_SMALL, 3), "k": (2, LEAST_OF_SMALL, 3), "v": (2, LEAST_OF_SMALL, 2)}
    data = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    for small in (0, SMALL_MATRIX):
        for module in (numpy_source, onnx_attention):
            monkeypatch.setattr(module, "SMALL_MATRIX", small)
        model = spec.compile(backend, weights=spec.init(), dtype="float64")
        whole = model.run(data)["h"]
        part = model.run({name: x[:, :-1] for name, x in data.items()})["h"]
        assert_allclose(part, whole[:, :-1], rtol=1e-12, atol=1e-13)


# ---------------------------------------------------------------- floating point


@pytest.mark.parametrize("backend", ["numpy", "onnx"])
@pytest.mark.parametrize("factor", [0.0, 1e-3, 1e-30, 1.0, -1.0, "some"])
def test_factors_of_any_size(backend: str, factor: float | str) -> None:
    """Exact zeros and products that underflow, in float32, against the recurrence in float64:
    values, and the gradient of each factor."""
    spec = rnnc.parse(
        "model M\ninput q[t], k[t] : [3],  v[t] : [2],  z[t] : []\nf[t] = min(max(z[t], -1), 1)\n"
        "S[t] = f[t] * S[t-1] + outer(v[t], k[t])\nh[t] = S[t] q[t]\noutput h"
    )
    rng = np.random.default_rng(1)
    steps = 100
    z = rng.choice([0, 1e-30, 1, -0.999], steps) if factor == "some" else np.full(steps, factor)
    q, k, d_h = rng.normal(size=(3, steps, 3))
    v, d_h = rng.normal(size=(2, steps, 2))
    data = {"q": q, "k": k, "v": v, "z": z, "d_h": d_h}
    data = {name: x.astype(np.float32) for name, x in data.items()}
    q, k, v, z, d_h = (x.astype(float) for x in data.values())
    before, after = [np.zeros((2, 3))], np.zeros((2, 3))
    for t in range(steps):
        before.append(z[t] * before[-1] + np.outer(v[t], k[t]))
    wanted = np.stack([s @ x for s, x in zip(before[1:], q, strict=True)])
    slopes = np.zeros(steps)
    for t in range(steps)[::-1]:
        after = after + np.outer(d_h[t], q[t])
        slopes[t] = (after * before[t]).sum() * (abs(z[t]) < 1 or 0)
        after = z[t] * after
    batch = {name: x[None] for name, x in data.items()}
    found = spec.compile(backend, mode="grad", inputs=("z",)).run(batch)
    assert_allclose(found["h"][0], wanted, rtol=1e-5, atol=1e-4)
    inside = abs(z) < 1
    assert_allclose(found["d_z"][0][inside], slopes[inside], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("backend", ["numpy", "onnx"])
@pytest.mark.parametrize("what", [np.inf, np.nan, 1e30])
def test_what_is_out_of_range_stays_behind(backend: str, what: float) -> None:
    """Steps before one that overflows, and other sequences, are as without it; nothing else than
    step by step."""
    spec = parsed(f"{GATED}h[t] = S[t] q[t]\noutput h")
    rng = np.random.default_rng(0)
    data = {"q": (2, MANY, 3), "k": (2, MANY, 3), "v": (2, MANY, 2)}
    data = {name: rng.normal(size=shape).astype(np.float32) for name, shape in data.items()}
    weights = spec.init()
    model = spec.compile(backend, weights=weights)
    clean = model.run(data)["h"]
    data["k"][1, 50, 1] = data["v"][1, 50, 1] = what
    found = model.run(data)["h"]
    changed = np.zeros(clean.shape, bool)
    changed[1, 50:, 1] = True
    assert not np.isfinite(found[changed]).any()
    assert_allclose(found[0], clean[0], rtol=1e-5, atol=1e-5)
    assert_allclose(found[1, :50], clean[1, :50], rtol=1e-5, atol=1e-5)
    plain = spec.compile(backend, weights=weights, plain_loops=True).run(data)["h"]
    assert_array_equal(np.isfinite(found), np.isfinite(plain))


@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_gradients_of_factors_stay_numbers(backend: str) -> None:
    """Two steps that do not meet may have products beyond float32."""
    text = """
    model M
    input x[t], v[t] : [2],  a[t] : []
    M[t] = sigmoid(a[t]) * M[t-1] + outer(v[t], v[t])
    y[t] = M[t] x[t]
    output y
    """
    spec = rnnc.parse(text)
    draw, steps = np.random.default_rng(0), 20
    x, v = (draw.normal(size=(1, steps, 2)).astype(np.float32) for _ in range(2))
    v[0, 3], x[0, 3] = 1e12, 1e18
    given = {"x": x, "v": v, "a": np.zeros((1, steps), np.float32), "d_y": np.ones_like(x)}
    found, wanted = (
        spec.compile(backend, mode="grad", inputs=("a",), plain_loops=plain)(**given)["d_a"]
        for plain in (False, True)
    )
    assert_allclose(found, wanted, rtol=1e-3)


def test_loops_that_need_each_other_take_in_nothing() -> None:
    """The values' loop may sum with the gradients' matrix, or that one with this: not both."""
    text = """
    model M
    input x[t] : [3]
    param K : [3, 3],  w : [3]
    f[t] = sigmoid(dot(w, x[t]))
    M[t] = f[t] * M[t-1] + (1 - f[t]) * outer(x[t], K x[t])
    y[t] = M[t] x[t]
    output y
    """
    spec = rnnc.parse(text)
    draw = np.random.default_rng(0)
    given = {"x": draw.normal(size=(2, 70, 3)), "d_y": draw.normal(size=(2, 70, 3))}
    weights = spec.init(seed=0)
    found, wanted = (
        spec.compile("numpy", mode="grad", dtype="float64", plain_loops=plain)(
            **given, weights=weights
        )
        for plain in (False, True)
    )
    for name, array in wanted.items():
        assert_allclose(found[name], array, rtol=1e-10, atol=1e-10)
