"""Of the vectors in a rolled loop, only the rows that a clock lets change are computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnc
from rnnc import compiler
from rnnc.backends import onnx_graph
from rnnc.compiler import Options
from rnnc.graph.types import BATCH, Array
from rnnc.passes import ticks, windows
from rnnc.passes.clocks import clock
from rnnc.passes.plan import Compute, Plan, flat, multiply_adds
from rnnc.testing import assert_all_agree, assert_gradients_agree

HEAD = """
model M
dim n = 3, G = 3, k = 2, q = 4
dim m = G * k
input x[t] : [n]
param W, W_1 : [m, n],  U, U_1, U_2 : [m, m],  b : [m],  V : [q, m]
"""

BODIES = {
    "prefix": """
const period : [m] = 2^floor(arange(m) / k)
h[t] = where((t - 1) % period == 0, tanh(U h[t-1] + W x[t] + b), h[t-1])
output h
""",
    "suffix": """
const period : [m] = 2^(G - 1 - floor(arange(m) / k))
h[t] = where(t % period == 0, tanh(U h[t-1] + W x[t] + b), h[t-1])
h[0] = 0.3
p[t] = softmax(V h[t])
target y[t] : index(q) ~ categorical(p[t])
output p
""",
    "gaps, and steps without ticks": """
const period : [m] = 2 + floor(arange(m) / k)
z[t] = sigmoid(W_1 x[t] + U_1 h[t-1])
c[t] = tanh(W x[t] + U (z[t] * h[t-1]) + b)
h[t] = where((t + 2) % period == 1, (1 - z[t]) * h[t-1] + z[t] * c[t], h[t-1])
output h
""",
    "gates": """
const period : [m] = 2^floor(arange(m) / k)
f[t] = sigmoid(U h[t-1] + W x[t])
i[t] = sigmoid(U_1 h[t-1] + b)
g[t] = tanh(U_2 h[t-1] + W_1 x[t])
c[t] = where(t % period == 0, f[t] * c[t-1] + i[t] * g[t], c[t-1])
h[t] = where(t % period == 0, f[t] * tanh(c[t]), h[t-1])
output h, c
""",
    "the way back": """
const period : [m] = 2^floor(arange(m) / k)
h[t] = where(t % period == 0, tanh(U h[t+1] + W x[t]), h[t+1])
h[T+1] = 0
output h
""",
    "flags, numbers": """
const period : [m] = 2^floor(arange(m) / k)
a[t] = tanh(U h[t-1] + W x[t]) * where(t % period == 0 or h[t-1] > 0, 1, 0.5)
c[t] = where((t % period == 0) != (h[t-1] > 0), a[t], where(t % period == 0, 1, h[t-1]))
h[t] = where(t % period == 0, c[t], h[t-1])
output h
""",
    "zeros": """
const period : [m] = 2^floor(arange(m) / k)
v[t] = where(t % period == 0, tanh(U_1 h[t-1]), 0) * (W x[t])
h[t] = tanh(U v[t] - v[t] + 0.5 * h[t-1]) + where(t % period == 0, 0, h[t-1])
output h, v
""",
}  # fmt: skip


@pytest.fixture(autouse=True)
def small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "LEAST_PRODUCT", 1)
    monkeypatch.setattr(ticks, "MOST_ROWS", 0.9)
    monkeypatch.setattr(onnx_graph, "FEW", 3)


def spec_of(name: str) -> rnnc.Spec:
    return rnnc.parse(HEAD + BODIES[name])


def plan(spec: rnnc.Spec, mode: str = "predict", **options: Any) -> Plan:
    return compiler.plan_of(spec.system, Options(mode, **options))


@pytest.mark.parametrize("batch", [2, 3])  # without windows in ONNX, and with them
@pytest.mark.parametrize("name", BODIES)
def test_every_route_agrees(name: str, batch: int) -> None:
    spec = spec_of(name)
    assert any(s.op == "window" for s in flat(plan(spec).body) if isinstance(s, Compute))
    assert_all_agree(spec, batch=batch, steps=7)


@pytest.mark.parametrize("name", BODIES)
def test_gradients_agree(name: str) -> None:
    spec = spec_of(name)
    # what gates were, kept of every step for their gradients, is kept of all rows
    assert plan(spec, "grad").portions or name in ("gates", "flags, numbers")
    assert_gradients_agree(spec, batch=3, steps=7)


@pytest.mark.parametrize("name", ["prefix", "suffix", "gates"])
def test_lengths_agree(name: str) -> None:
    spec = spec_of(name)
    assert_all_agree(spec, batch=3, steps=7, lengths={"t": [7, 1, 4]})
    assert_gradients_agree(spec, batch=3, steps=7, lengths={"t": [7, 1, 4]})


def test_chunks_continue_the_clock() -> None:
    spec = spec_of("prefix")
    weights = spec.init(seed=0)
    x = np.random.default_rng(0).normal(size=(4, 11, 3)).astype(np.float32)
    whole = spec.compile("onnx", weights=weights)(x=x)["h"]
    for backend in ("numpy", "onnx"):
        stream = spec.stream(backend=backend, weights=weights, chunks=True)
        parts = [stream(x=x[:, a:b])["h"] for a, b in ((0, 3), (3, 4), (4, 11))]
        np.testing.assert_allclose(np.concatenate(parts, 1), whole, atol=1e-6)


def test_only_rows_that_tick_are_multiplied() -> None:
    """Forward and back, in multiply-adds; products with inputs, too, are done in the loop."""
    steps, n, m, k = 32, 3, 8, 2
    spec = rnnc.load("ClockworkRNN", n=n, G=4, k=k)
    sizes = {BATCH: 5, "t": steps}
    rows = sum(k for t in range(steps) for g in range(4) if t % 2**g == 0)
    assert multiply_adds(plan(spec), sizes) == 5 * rows * (m + n)
    assert multiply_adds(plan(spec, "grad"), sizes) == 5 * rows * (3 * m + 2 * n)
    dense = multiply_adds(plan(spec, plain_loops=True), sizes)
    assert dense == 5 * steps * (m * m + m * n)


def test_gates_of_one_product_are_windows_of_their_own() -> None:
    found = plan(spec_of("gates"))
    (loop,) = found.loops
    computed = [s for s in loop.body if isinstance(s, Compute)]
    products = [s for s in computed if s.op == "matmul" and s.args[0] == "h[t-1]"]
    assert len(products) == 3
    (rows,) = {found.arrays[s.target].dims[-1] for s in products}
    assert found.portions[str(rows)].whole == 6


@pytest.mark.parametrize(
    "condition",
    ["t > 2", "(t - 1) % period != 7", "x[t] > 0", "sin(t * period) > 0", "t % (0 * period) == 0"],
)
def test_no_windows_where_no_clock_leaves_out_rows(condition: str) -> None:
    text = f"""
    model M
    dim m = 6
    input x[t] : [m]
    param U : [m, m]
    const period : [m] = 2^arange(m)
    h[t] = where({condition}, tanh(U h[t-1] + x[t]), h[t-1])
    output h
    """
    spec = rnnc.parse(text)
    assert not plan(spec).portions


def test_no_windows_of_what_is_read_besides() -> None:
    text = """
    const period : [m] = 2^floor(arange(m) / k)
    c[t] = tanh(U h[t-1] + W x[t])
    h[t] = where(t % period == 0, c[t], h[t-1])
    o[t] = V c[t] + sum(h[t])
    output o
    """
    assert not plan(rnnc.parse(HEAD + text)).portions


def test_no_windows_of_numbers_that_a_dtype_rounds() -> None:
    """3 * 0.1 is 0.3 in float32, and is not in float64."""
    text = """
    const s : [m] = where(arange(m) < 3, 0.3, 99)
    h[t] = where((t % 10) * 0.1 == s, tanh(U h[t-1] + W x[t]), h[t-1])
    output h
    """
    assert not plan(rnnc.parse(HEAD + text)).portions


def test_plain_loops_have_no_windows() -> None:
    assert not plan(spec_of("prefix"), plain_loops=True).portions


def flags(number: int, periods: list[int]) -> list[Compute]:
    """``(t + number) % periods == 0``."""
    return [
        Compute("t", "step", (), (("axis", "t"),)),
        Compute("n", "constant", (), (("value", number),)),
        Compute("p", "constant", (), (("value", Array(np.array(periods))),)),
        Compute("z", "constant", (), (("value", 0),)),
        Compute("s", "add", ("t", "n")),
        Compute("c", "unsqueeze", ("s",), (("at", (1,)),)),
        Compute("r", "mod", ("c", "p")),
        Compute("f", "eq", ("r", "z")),
    ]


def test_a_clock_is_told_from_its_constants() -> None:
    found = clock(flags(-1, [1, 1, 2, 4]), "f", 4)
    assert found.groups == (0, 2, 3, 4)
    assert found.shares == (1.0, 0.5, 0.25)
    assert (found.mean, found.gapless, found.first, found.last) == (2.75, True, True, False)
    found = clock(flags(3, [6, 2, 3]), "f", 3)  # phases 4 to 9: 2, none, 0 to 2, none, 1, 2
    assert clock(flags(0, [2, 3, 2]), "f", 3).gapless is False


def test_a_clock_has_to_repeat() -> None:
    compare = [*flags(0, [1, 2])[:-1], Compute("f", "gt", ("c", "p"))]
    with pytest.raises(ValueError, match="f"):
        clock(compare, "f", 2)
    with pytest.raises(ValueError, match="f"):
        clock(flags(0, [2**13, 3**9, 5**7]), "f", 3)
