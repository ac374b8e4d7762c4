"""Linear recurrences as scans over blocks of steps: which are taken, and that nothing changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import rnnc
from rnnc import compiler
from rnnc.backends import numpy_source, onnx_scan
from rnnc.compiler import Options
from rnnc.graph.ranges import ANYTHING, Ranges
from rnnc.graph.system import System
from rnnc.graph.types import Read
from rnnc.graph.verify import verify
from rnnc.passes.linear import linear, verdicts
from rnnc.passes.mode import evaluating
from rnnc.passes.plan import LEAST_STEPS, MOST_ENTRIES, Compute, flat
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
MANY = LEAST_STEPS + 1  # steps that are no multiple of the length of a block

INPUTS = "input x[t], y[t] : [3]\nparam a, b : [3],  c : []\n"


def parsed(text: str) -> rnnc.Spec:
    return rnnc.parse(f"model M\n{INPUTS}{text}")


def loops(spec: rnnc.Spec, mode: str = "predict", **options: Any) -> System:
    """The system in which every recurrence still is one."""
    return compiler.final(spec.bound, Options(mode, plain_loops=True, **options))


def taken(spec: rnnc.Spec, mode: str = "predict", **options: Any) -> list[tuple[str, ...]]:
    return sorted(v.states for v in verdicts(loops(spec, mode, **options)) if v.states)


def reasons(spec: rnnc.Spec, mode: str = "predict", **options: Any) -> list[str]:
    return [v.reason for v in verdicts(loops(spec, mode, **options)) if not v.states]


def scans(spec: rnnc.Spec, **options: Any) -> tuple[int, int]:
    """How many scans a plan has, and how many loops."""
    plan = schedule(compiler.final(spec.bound, Options(**options)))
    found = [s for s in flat(plan.statements()) if isinstance(s, Compute) and s.op == "linear_scan"]
    return len(found), len(plan.loops)


# ---------------------------------------------------------------- what is taken


@pytest.mark.parametrize(
    ("name", "states"),
    [
        ("MinGRU", [("h",)]),
        ("MinLSTM", [("h",)]),
        ("QRNN", [("c",)]),
        ("LRU", [("u", "v")]),
        ("RWKV4", [("a",), ("b",)]),  # the largest exponent so far is no sum
        ("MLSTM", [("nu",)]),
        ("SRU", []),
        ("LSTM", []),
    ],
)
def test_cells_of_the_library(name: str, states: list[tuple[str, ...]]) -> None:
    sizes = {"n": 4, "m": 4}
    spec = rnnc.load(name, **sizes)
    assert taken(spec) == states
    backward = [v for v in verdicts(loops(spec, "grad")) if not v.recurrence.forward and v.states]
    assert len(backward) >= len(states)
    assert len(taken(spec, lengths=("t",))) == len(states)


@pytest.mark.parametrize(
    "equations",
    [
        "h[t] = 0.9 * h[t-1] + x[t]",
        "h[t] = h[t-1] + x[t]",  # a running sum
        "h[t] = x[t] - h[t-1]",
        "h[t] = h[t-1] + sigmoid(a) * (x[t] - h[t-1])",
        "h[t] = tanh(y[t]) * (h[t-1] - x[t]) / 2",
        "h[t] = exp(-softplus(y[t])) * h[t-1] + x[t]",
        "h[t] = exp(-exp(a)) * h[t-1] + x[t]",
        "h[0] = a\nh[t] = sigmoid(y[t]) * h[t-1]",
        "h[T+1] = a\nh[t] = sigmoid(y[t]) * h[t+1] + x[t]",
        "h[t] = sigmoid(c) * h[t-1] + x[t]",
        "h[t] = x[t] / (1 + exp(y[t])) + sigmoid(y[t]) * h[t-1] + c",
        "s[t] = exp(a) + exp(y[t])\nh[t] = exp(a) / s[t] * h[t-1] + x[t]",
        "h[t] = 0.25 * g[t-1] + 0.5 * h[t-1] + x[t]\ng[t] = 0.5 * h[t-1] - 0.25 * g[t-1] + c",
        "g[t] = 0.5 * h[t-1] + y[t]\nh[t] = 0.5 * h[t-1] + 0.5 * g[t-1] + x[t]",
        "g[t] = 0.5 * h[t-1]\nh[t] = 0.5 * g[t] + x[t]",
        "u[t] = 0.5 * u[t-1] + 0.5 * v[t-1] + sum(x[t])\n"
        "v[t] = 0.5 * u[t-1] + c\nh[t] = u[t] * x[t] + v[t]",  # two numbers
    ],
)
def test_forms(equations: str) -> None:
    """Every form that the equations may have is found, and means what it did."""
    spec = parsed(f"{equations}\noutput h")
    assert taken(spec), reasons(spec)
    assert scans(spec)[0] > 0
    assert scans(spec)[1] == 0
    for steps in (1, 2, MANY):
        assert_all_agree(spec, batch=2, steps=steps, unrolled=steps < 3)
    assert_gradients_agree(spec, batch=2, steps=MANY, unrolled=False)
    before = simplify(evaluating(spec.bound))
    after = verify(linear(before))
    assert after is not before
    data = {**random_data(spec, 2, 7), **random_weights(spec)}
    wanted, found = evaluate(before, data), evaluate(after, data)
    assert_allclose(found["h"], wanted["h"], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("equations", "reason"),
    [
        ("h[t] = a * h[t-1] + x[t]", "`h` is linear in the step before, but nothing in the "
         "equations keeps `a` from being larger than 1"),
        ("h[t] = 1.5 * h[t-1] + x[t]", "keeps a factor in `h` from being larger than 1"),
        ("h[t] = tanh(h[t-1] + x[t])", "`h` takes `tanh` of what recurs"),
        ("h[t] = max(h[t-1], x[t])", "`h` takes `max` of what recurs"),
        ("h[t] = outer(a, b) h[t-1] + x[t]", "`h` mixes entries by a product of what recurs"),
        ("h[t] = 0.5 * h[t-1] * h[t-1] + x[t]", "`h` multiplies what recurs with what recurs"),
        ("h[t] = x[t] / h[t-1]", "`h` divides by what recurs"),
        ("h[t] = where(h[t-1] > 0, x[t], 0.5 * h[t-1])", "`h` chooses by what recurs"),
        ("h[t] = where(y[t] > 0, h[t-1], x[t])", "`h` drops what it was by a where"),
        ("h[t] = where(y[t] > 0, 0, h[t-1] + log(x[t]))", "`h` drops what it was by a where"),
        ("h[t] = 0.5 * h[t-2] + x[t]", "`h` is read further away than one step"),
        ("S[t] = 0.5 * S[t-1] + outer(x[t], y[t])\nh[t] = tanh(S[t]) x[t]",
         "`S` is [3, 3], no number and no vector"),
        ("h[t] = 0.6 * h[t-1] + 0.6 * g[t-1] + x[t]\ng[t] = 0.5 * h[t-1]",
         "keeps the sum of its factors from being larger than 1"),
        ("h[t] = 0.2 * (f[t-1] + g[t-1])\ng[t] = 0.2 * h[t-1] + x[t]\nf[t] = 0.1 * h[t-1] + y[t]",
         "are coupled, more than 2 states"),
        ("n[0] = 0\nn[t] = 2 * n[t-1] + n[t-1]\nh[t] = n[t] * x[t]",
         "`n` is index [], no real number"),
    ],
)  # fmt: skip
def test_reasons(equations: str, reason: str) -> None:
    spec = parsed(f"{equations}\noutput h")
    found = reasons(spec)
    assert any(reason in r for r in found), found
    assert scans(spec) == (0, 1)


@pytest.mark.parametrize("first", ["", "h[0] = a\n"])
@pytest.mark.parametrize(
    "mixture",
    [
        "(1 - z[t]) * h[t-1] + z[t] * y[t]",
        "h[t-1] + z[t] * (y[t] - h[t-1])",
        "h[t-1] - z[t] * (h[t-1] - y[t])",
        "z[t] * y[t] + h[t-1] - z[t] * h[t-1]",
    ],
)
def test_spellings(mixture: str, first: str) -> None:
    """However a mixture is written, its gradient has one state, as it has itself."""
    spec = parsed(f"z[t] = sigmoid(b * x[t])\n{first}h[t] = {mixture}\noutput h")
    assert [len(states) for states in taken(spec, "grad")] == [1, 1]
    assert scans(spec, mode="grad") == (2, 0)
    assert_gradients_agree(spec, batch=2, steps=MANY, unrolled=False)
    assert_gradients_agree(spec, batch=2, steps=2)


def test_wide_states_stay_loops() -> None:
    for width, count in ((MOST_ENTRIES, 1), (MOST_ENTRIES + 1, 0)):
        spec = rnnc.load("MinGRU", n=2, m=width)
        assert len(taken(spec)) == count
    assert f"{MOST_ENTRIES + 1} entries" in reasons(spec)[0]


def test_plain_loops() -> None:
    spec = rnnc.load("MinGRU", n=2, m=3)
    assert scans(spec) == (1, 0)
    assert scans(spec, plain_loops=True) == (0, 1)
    assert scans(spec, mode="grad") == (2, 0)
    assert scans(spec, unroll=4) == (0, 0)
    w, x = spec.init(), np.ones((2, MANY, 2))
    for backend in ("numpy", "onnx"):
        plain = spec.compile(backend, weights=w, plain_loops=True)(x=x)["h"]
        assert_allclose(spec.compile(backend, weights=w)(x=x)["h"], plain, rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------- lengths, chunks, axes


@pytest.mark.parametrize("name", ["MinGRU", "LRU"])
def test_lengths(name: str) -> None:
    spec = rnnc.load(name, n=3, m=3)
    own = {"t": [MANY, 1, MANY - 40]}
    assert_all_agree(spec, batch=3, steps=MANY, unrolled=False, lengths=own)
    assert_gradients_agree(spec, batch=3, steps=MANY, unrolled=False, lengths=own)


def test_lengths_backward() -> None:
    spec = parsed("h[T+1] = a\nh[t] = sigmoid(y[t]) * h[t+1] + x[t]\noutput h")
    assert taken(spec, lengths=("t",)) == [("h",)]
    assert_all_agree(spec, batch=2, steps=MANY, unrolled=False, lengths={"t": [MANY, 30]})


@pytest.mark.parametrize("backend", ["numpy", "onnx"])
@pytest.mark.parametrize("name", ["MinGRU", "LRU"])
def test_chunks(backend: str, name: str) -> None:
    """States go in and come out, and chunks give what the whole does."""
    spec = rnnc.load(name, n=3, m=4)
    assert scans(spec, carried=True)[0] == 1
    w, x = spec.init(), np.random.default_rng(0).normal(size=(2, 2 * MANY, 3))
    whole = spec.compile(backend, weights=w, dtype="float64")(x=x)["h"]
    chunk = spec.compile(backend, weights=w, dtype="float64", carry=True)
    states: dict[str, NDA] = {before: np.zeros((2, 4)) for before, _ in chunk.ports.states}
    parts = []
    for part in np.split(x, 2, axis=1):
        found = chunk.run({"x": part, **states})
        parts.append(found["h"])
        states = {before: found[after] for before, after in chunk.ports.states}
    assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-12, atol=1e-13)


def test_along_the_second_axis() -> None:
    spec = rnnc.parse(
        "model M\ninput x[s], y[t] : [2]\nh[s, t] = sigmoid(y[t]) * h[s, t-1] + x[s]\noutput h"
    )
    assert scans(spec) == (1, 0)
    assert_all_agree(spec, batch=2, steps={"s": 3, "t": MANY}, unrolled=False)


def test_large_batches_take_the_loop() -> None:
    """The choice is made when the model runs; both ways give the same."""
    spec = rnnc.load("MinGRU", n=2, m=MOST_ENTRIES // 4)
    x = np.random.default_rng(0).normal(size=(5, MANY, 2))
    for backend in ("numpy", "onnx"):
        model = spec.compile(backend, weights=spec.init(), dtype="float64")
        many, few = model(x=x)["h"], model(x=x[:4])["h"]  # 5 / 4 and 4 / 4 of the most entries
        assert_allclose(many[:4], few, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 9])
@pytest.mark.parametrize("name", ["MinGRU", "LRU"])
def test_blocks_of_any_number_of_steps(
    name: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many steps as a block has, more, and a last block that is not full, both ways."""
    for module in (numpy_source, onnx_scan):
        monkeypatch.setattr(module, "LEAST_STEPS", 1)
    spec = rnnc.load(name, n=2, m=3)
    assert_all_agree(spec, batch=2, steps=steps, unrolled=False)
    assert_gradients_agree(spec, batch=2, steps=steps, unrolled=False)


# ---------------------------------------------------------------- floating point


@pytest.mark.parametrize("backend", ["numpy", "onnx"])
@pytest.mark.parametrize("steps", [1, 5, LEAST_STEPS - 1, LEAST_STEPS, 2000])
def test_factors_of_any_size(backend: str, steps: int) -> None:
    """Exact zeros, numbers that underflow when multiplied, and ones, in float32, against the
    recurrence in float64."""
    spec = rnnc.parse(
        "model M\ninput z[t], x[t] : [6]\nf[t] = min(max(z[t], -1), 1)\n"
        "h[t] = f[t] * h[t-1] + x[t]\noutput h"
    )
    assert taken(spec) == [("h",)]
    rng = np.random.default_rng(steps)
    z = np.stack([
        np.zeros(steps), np.full(steps, 1e-30), np.ones(steps), -np.ones(steps),
        rng.choice([0, 1e-30, 1, 0.999], steps), rng.uniform(-1, 1, steps),
    ], axis=1).astype(np.float32)  # fmt: skip
    x = rng.normal(size=(steps, 6)).astype(np.float32)
    wanted, h = [], np.zeros(6)
    for factor, add in zip(z.astype(float), x.astype(float), strict=True):
        h = factor * h + add
        wanted.append(h)
    found = spec.compile(backend)(z=z[None], x=x[None])["h"][0]
    assert np.isfinite(found).all()
    assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)
    assert_array_equal(found[:, 0], x[:, 0])


@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_what_is_infinite_stays_behind(backend: str) -> None:
    """Steps before one that overflows, other entries and other sequences are as without it; past
    the end of a sequence there is 0."""
    spec = parsed("h[t] = sigmoid(y[t]) * h[t-1] + x[t]\noutput h")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 2, MANY, 3))
    model = spec.compile(backend, lengths=("t",))
    own = {"t": [MANY, 70]}
    clean = model(x=x, y=y, lengths=own)["h"]
    x[1, 50, 1] = np.inf
    found = model(x=x, y=y, lengths=own)["h"]
    changed = np.zeros(clean.shape, bool)
    changed[1, 50:70, 1] = True
    assert not np.isfinite(found[changed]).any()
    assert_array_equal(found[~changed], clean[~changed])


# ---------------------------------------------------------------- ranges


@pytest.mark.parametrize(
    ("expression", "low", "high"),
    [
        ("sigmoid(a)", 0, 1),
        ("1 - sigmoid(a)", 0, 1),
        ("0.5 * tanh(a) - 1", -1.5, -0.5),
        ("exp(-exp(a))", 0, 1),
        ("exp(-softplus(a))", 0, 1),
        ("-abs(sin(a)) / 4", -0.25, 0),
        ("sqrt(1 - sigmoid(a)^2)", 0, 1),
        ("exp(a) / (exp(a) + exp(b))", 0, 1),
        ("exp(a - max(a, b))", 0, 1),
        ("min(max(a, -2), 3)", -2, 3),
        ("where(a > 0, sigmoid(a), 2)", 0, 2),
        ("relu(tanh(a))", 0, 1),
        ("a", *ANYTHING),
        ("1 / sigmoid(a)", *ANYTHING),
        ("a / (a + b)", *ANYTHING),
    ],
)
def test_ranges(expression: str, low: float, high: float) -> None:
    system = simplify(evaluating(parsed(f"r = {expression}\noutput r").bound))
    assert Ranges(system.values).of(Read("r")) == (low, high)


def test_ranges_at_the_edge() -> None:
    """A read outside of the steps finds a boundary, or 0."""
    system = evaluating(parsed(
        "g[t] = 1 + sigmoid(x[t])\nf[0] = 3 * sigmoid(a)\nf[t] = 1 + sigmoid(x[t])\n"
        "r[t] = g[t-1]\ns[t] = f[t-1]\noutput r, s"
    ).bound)  # fmt: skip
    ranges = Ranges(system.values)
    assert ranges.of(Read("g")) == (1, 2)
    assert ranges.of(Read("r")) == (0, 2)
    assert ranges.of(Read("s")) == (0, 3)
