"""Rows that nothing reads, or that are zero, are not computed (``passes/rows``)."""

from __future__ import annotations

import numpy as np
import pytest

import rnnc
from rnnc import compiler
from rnnc.compiler import Options
from rnnc.graph.system import System
from rnnc.graph.types import BATCH
from rnnc.passes.plan import Compute, multiply_adds, results_of
from rnnc.passes.rows import live_rows
from rnnc.passes.schedule import schedule
from rnnc.passes.simplify import simplify
from rnnc.passes.unroll import unroll
from rnnc.runtime.reference import evaluate
from rnnc.testing import assert_all_agree, assert_gradients_agree, random_data, random_weights

# periods that are no prefix, the slowest module first
GRU = """
model ClockworkGRU
dim n = 3, G = 3, k = 2
dim m = G * k
input x[t] : [n]
param W_z, W_r, W : [m, n],  U_z, U_r, U : [m, m],  b_z, b_r, b : [m]
const period : [m] = 1 + (G - 1 - floor(arange(m) / k))

z[t] = sigmoid(W_z x[t] + U_z h[t-1] + b_z)
r[t] = sigmoid(W_r x[t] + U_r h[t-1] + b_r)
c[t] = tanh(W x[t] + U (r[t] * h[t-1]) + b)
h[t] = where((t - 1) % period == 0, (1 - z[t]) * h[t-1] + z[t] * c[t], h[t-1])
output h
"""

# four gates that are rows of one product; a state that starts elsewhere; a loss
LSTM = """
model ClockworkLSTM
dim n = 3, G = 3, k = 2, q = 4
dim m = G * k
input x[t] : [n]
param W_f, W_i, W_o, W_c : [m, n],  U_f, U_i, U_o, U_c : [m, m],  b_f, b_c : [m],  V : [q, m]
const period : [m] = 2^(G - 1 - floor(arange(m) / k))

f[t] = sigmoid(W_f x[t] + U_f h[t-1] + b_f)
i[t] = sigmoid(W_i x[t] + U_i h[t-1])
o[t] = sigmoid(W_o x[t] + U_o h[t-1])
g[t] = tanh(W_c x[t] + U_c h[t-1] + b_c)
c[t] = where(t % period == 0, f[t] * c[t-1] + i[t] * g[t], c[t-1])
h[t] = where(t % period == 0, o[t] * tanh(c[t]), h[t-1])
h[0] = 0.1
p[t] = softmax(V h[t])
target y[t] : index(q) ~ categorical(p[t])
output p
"""

# sums, vectors joined and cut, numbers that fill a vector, rows that are zero
ODD = """
model Odd
dim n = 3, m = 6
input x[t] : [n]
param W : [m, n],  U : [m, m],  a, b, d : [m]

h[t] = tanh(U h[t-1] + W x[t]) * where(arange(m) >= t, a, 0) + where(arange(m) < t, h[t-1], b * d)
s[t] = sum(h[t] * where(arange(m) == t, 1, 0)) + max(where(arange(m) < 2, h[t], a))
e[t] = [where(arange(m) < t, h[t-1], 0), where(arange(m) == 2 * t, b * s[t], 0)]
v[t] = U where(arange(m) < t, 0, 2 * h[t]) + dot(a, where(arange(m) < t, h[t], 0)) * b
output h, s, e, v
"""

SPECS = {
    "library": rnnc.load("ClockworkRNN", n=3, G=3, k=2),
    "gru": rnnc.parse(GRU),
    "lstm": rnnc.parse(LSTM),
    "odd": rnnc.parse(ODD),
}


@pytest.mark.parametrize("name", SPECS)
def test_every_route_agrees(name: str) -> None:
    assert_all_agree(SPECS[name], batch=2, steps=7)


@pytest.mark.parametrize("name", SPECS)
def test_gradients_agree(name: str) -> None:
    assert_gradients_agree(SPECS[name], batch=2, steps=6)


@pytest.mark.parametrize("name", SPECS)
def test_the_pass_changes_no_value(name: str) -> None:
    spec = SPECS[name]
    data = random_data(spec, 2, 5) | random_weights(spec)
    before = simplify(unroll(spec.bound, 5))
    after = live_rows(before)
    assert after is not before
    lengths = {"t": 5, BATCH: 2, **{a.name: a.size for a in after.axes.values() if a.size}}
    wanted = evaluate(before, data, lengths=lengths)
    found = evaluate(after, data, lengths=lengths)
    for result in before.results:
        np.testing.assert_allclose(found[result], wanted[result], atol=1e-12)


def final(spec: rnnc.Spec, mode: str, steps: int) -> System:
    return compiler.final(spec.bound, Options(mode, unroll=steps))


def test_only_modules_that_tick_are_multiplied() -> None:
    n, modules, k, steps = 3, 4, 2, 16
    m = modules * k
    spec = rnnc.load("ClockworkRNN", n=n, G=modules, k=k)
    ticks = sum(k for t in range(steps) for g in range(modules) if t % 2**g == 0)
    sizes = {BATCH: 5}
    forward = multiply_adds(schedule(final(spec, "predict", steps)), sizes)
    assert forward == 5 * ((ticks - m) * m + ticks * n)  # at the first step h[0] is zero
    # back: A.T dz[t], of all steps but the first; dA = sum of outer(dz, h'), dW of outer(dz, x)
    both = multiply_adds(schedule(final(spec, "grad", steps)), sizes)
    assert both == 5 * (3 * (ticks - m) * m + 2 * ticks * n)


def test_rows_of_weights_are_cut_out_once() -> None:
    plan = schedule(final(rnnc.load("ClockworkRNN", n=3, G=3, k=2), "predict", 16))
    cut = [s for s in plan.setup if isinstance(s, Compute) and s.op == "slice"]
    assert len(cut) == 2 * 3  # for two of the three sets of modules that tick: of A, W and b
    fixed = {p.array for p in plan.params} | {a for s in plan.setup for a in results_of(s)}
    later = {s.args[0] for s in plan.body if isinstance(s, Compute) and s.op == "slice"}
    assert not fixed & later


@pytest.mark.parametrize("condition", ["t > 2", "arange(m) % 2 == t % 2"])
def test_nothing_is_cut_for_conditions_of_no_rows_or_too_many(condition: str) -> None:
    text = f"""
    model M
    dim m = 40
    input x[t] : [m]
    param U : [m, m]
    h[t] = where({condition}, tanh(U h[t-1] + x[t]), h[t-1])
    output h
    """
    before = simplify(unroll(rnnc.parse(text).bound, 4))
    assert live_rows(before) is before


def test_gradients_where_nothing_ticks() -> None:
    text = """
    model M
    dim n = 3, m = 6
    input x[t] : [n]
    param W : [m, n],  U : [m, m],  b : [m]
    const period : [m] = 2^floor(arange(m) / 2)
    h[t] = where(t % period == 9, tanh(U h[t-1] + W x[t] + b), h[t-1])
    output h
    """
    assert_gradients_agree(rnnc.parse(text), batch=2, steps=1)
