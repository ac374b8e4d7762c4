"""Gradients are derivatives: central differences of every operation, boundary and model, and one
result from every form that gradients are compiled to."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from by_hand import Hand
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_agreement import small, uneven
from test_random_systems import WEIGHTS, specs

import rnnc
from rnnc import compiler
from rnnc.cli import main
from rnnc.compiler import Options
from rnnc.graph.ops import OPS
from rnnc.graph.system import System, Value
from rnnc.graph.types import Read, Type, read
from rnnc.graph.verify import verify
from rnnc.passes import derivatives
from rnnc.passes.differentiate import differentiate
from rnnc.passes.mode import evaluating, objective
from rnnc.passes.plan import Compute, Loop, Plan
from rnnc.passes.schedule import schedule
from rnnc.passes.simplify import simplify
from rnnc.passes.unroll import unroll
from rnnc.runtime.reference import evaluate
from rnnc.testing import (
    assert_gradients_agree,
    check_gradients,
    gradient_differences,
    random_data,
    random_weights,
    reference_gradients,
)

NDA = NDArray[Any]
EXAMPLES = int(os.environ.get("RNNC_EXAMPLES", "10"))

LIBRARY = tuple(n for n, file in rnnc.library().items() if file.parent.name != "optim")


def prove(spec: rnnc.Spec, batch: int = 2, steps: int = 5, **more: Any) -> None:
    """What every gradient has to be: a derivative, and the same in every form."""
    check_gradients(spec, batch=batch, steps=steps, **more)
    assert_gradients_agree(spec, batch=batch, steps=steps, **more)


# ---------------------------------------------------------------- the library


@pytest.mark.parametrize("name", LIBRARY)
def test_library(name: str) -> None:
    spec = rnnc.load(name, **small(name))
    several = len(uneven(spec, 1)) > 1
    check_gradients(spec, batch=2, steps=uneven(spec, 3 if several else 6))
    check_gradients(spec, batch=1, steps=1, seed=1)
    assert_gradients_agree(spec, batch=3, steps=uneven(spec, 2 if several else 3))
    steps = uneven(spec, 3 if several else 5)
    assert_gradients_agree(spec, batch=2, steps=steps, seed=1, dtype="float32", unrolled=False)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RWKV4", "Bidirectional"])
def test_long(name: str) -> None:
    spec = rnnc.load(name, **small(name))
    weights = {n: 0.5 * w for n, w in random_weights(spec).items()}
    assert_gradients_agree(spec, batch=17, steps=60, weights=weights, unrolled=False)


def test_large_arrays_are_sampled() -> None:
    found = gradient_differences(rnnc.load("Elman", n=20, m=30, k=3), steps=3)
    assert {d.name: d.shape for d in found}["W"] == (30, 30)
    assert max(d.error for d in found) < 1e-6


# ---------------------------------------------------------------- operations

HEADER = """\
model Op
input x[t], y[t] : [3]
input s[t] : []
input k[t] : index(3), on[t] : flag
input z : [3]
param W, U : [3, 3],  V : [3, 2],  a, b : [3],  c, d : [],  e : [1],  C : [3, 1],  R : [1, 3]
"""

# of each operation, values r1[t], r2[t], … ; a leading `=` marks one without time
TABLE: dict[str, list[str]] = {
    "add": ["W x[t] + a", "c + a", "e + x[t]", "C + W", "W + R", "C + R", "c + s[t]", "C + c"],
    "sub": ["a - x[t]", "c - a * b", "a - e * x[t]", "W - C", "R - C"],
    "mul": ["a * b * x[t]", "c * x[t]", "a * a * x[t]", "e * x[t]", "C * W", "W * R", "R * C",
            "e * c", "c * W", "(a * x[t]) * (a * x[t])"],
    "div": ["a / (2 + x[t]^2)", "x[t] / (1 + a^2)", "c / (2 + b^2)", "a / (1 + c^2)",
            "W / (2 + C^2)", "a / (1 + e^2)"],
    "pow": ["(1 + a^2) ^ x[t]", "(1 + a^2) ^ c", "a ^ 2", "(a * x[t]) ^ 3", "(1 + a^2) ^ -1.5",
            "2 ^ a", "(1 + W^2) ^ R", "a ^ 0"],
    "mod": ["(3 * a) % (1.5 + b^2)", "(a * x[t]) % 2", "a % -1.3", "(7 * c) % (1.1 + e^2)"],
    "minimum": ["min(a, x[t])", "min(a * x[t], 0.1)", "min(C, R)", "clip(a * x[t], -0.5, 0.5)"],
    "maximum": ["max(a, x[t])", "max(c, a * x[t])", "max(a, a)", "hardsigmoid(a * x[t])"],
    "where": ["where(on[t], a, x[t])", "where(s[t] > 0, c, a * x[t])", "where(on[t], c, 0)",
              "where(x[t] > 0, a, e)", "b if t == 2 else a"],
    "neg": ["-a", "-(W x[t])"],
    "abs": ["abs(a * x[t])", "abs(c)"],
    "exp": ["exp(a * x[t])"],
    "log": ["log(1 + a^2)"],
    "sqrt": ["sqrt(1 + a^2)", "norm(a * x[t])", "= norm(W)", "= norm[t](a * x[t])"],
    "sin": ["sin(a * x[t])"],
    "cos": ["cos(a * x[t])"],
    "tanh": ["tanh(W x[t])"],
    "sigmoid": ["sigmoid(W x[t])", "silu(a * x[t])"],
    "softplus": ["softplus(a * x[t])"],
    "relu": ["relu(a * x[t])"],
    "erf": ["gelu(a * x[t])", "= gelu(c)"],
    "sign": ["a * sign(b * x[t])"],
    "floor": ["a * floor(3 * b)"],
    "copy": ["a", "= c"],
    "to_real": ["a * t", "a / T"],
    "contract": ["W x[t]", "W (U x[t])", "(W U) x[t]", "dot(a, x[t])", "dot(a, a)",
                 "outer(a, x[t])", "outer(a, a)", "x[t].T W y[t]", "a.T W", "outer(a, x[t]) W",
                 "W outer(a, x[t])", "outer(a, b)", "outer(x[t], y[t]) a", "W.T (V V.T) x[t]"],
    "transpose": ["W.T x[t]", "(outer(a, x[t])).T W", "W + W.T", "C.T"],
    "diag": ["diag(a) x[t]", "diag(a * x[t]) * W", "W diag(a)", "diag(e)"],
    "concat": ["[a, c, x[t]]", "[W x[t], s[t] * c]", "[c, d]", "[x[t], a, a * y[t]]", "[e, c]"],
    "slice": ["slice(a * x[t], 1, 3)", "slice(W, 0, 2) x[t]", "slice(W, 1, 3)",
              "slice(a, 0, 2) + slice(a, 1, 3) * slice(x[t], 0, 2)", "slice(a, 2, 3)"],
    "repeat": ["repeat(a * x[t], 2)", "repeat(e, 3)", "repeat(a, 1)"],
    "gather": ["W[k[t]]", "a[k[t]]", "V[k[t]]", "nll(softmax(W x[t]), k[t])", "W[2] * x[t]"],
    "onehot": ["W onehot(k[t], 3)"],
    "argmax": ["where(argmax(a * x[t]) == 1, a, b)", "where(t == argmax[t](c * s[t]), a, b)"],
    "eye": ["eye(3) * c + W"],
    "sum": ["sum(a * x[t])", "= sum(W)", "= sum[t](a * x[t])", "sum[batch](a * x[t])",
            "mean(W) * x[t]", "= mean[t](a * x[t])", "a * x[t] - mean[batch](a * x[t])",
            "sum(outer(a, x[t]))", "= sum[t](x[t])", "sum[batch](a)", "= sum[t](a)", "sum(c)"],
    "max": ["max(a * x[t])", "max(outer(a, x[t]))", "= max(W)", "= max[t](a * x[t])",
            "max[batch](a * x[t])", "= max[t](outer(a, x[t]))", "max(c)", "= max(V)"],
    "min": ["min(a * x[t])", "min(outer(a, x[t]))", "= min(W)", "= min[t](a * x[t])",
            "min[batch](a * x[t])", "= min(V)"],
    "logsumexp": ["logsumexp(W x[t])", "= logsumexp(W)", "= logsumexp[t](a * x[t])",
                  "logsumexp[batch](a * x[t])"],
    "softmax": ["softmax(W x[t])", "softmax(W)", "softmax[t](a * x[t])",
                "softmax[batch](a * x[t])", "softmax[t](outer(a, x[t]))"],
    "log_softmax": ["log(softmax(W x[t]))", "cross_entropy(W x[t], k[t])",
                    "cross_entropy(W x[t], softmax(y[t]))"],
    "stop_gradient": ["a * stop_gradient(a * x[t])"],
}  # fmt: skip

# not of the language: made by rules, by simplifying, by unrolling, to draw; these have tests of
# their own
NO_SPEC = {"broadcast", "scatter", "stack", "cumsum", "kth_largest"}
LOGIC = {"eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not"}
LEAVES = {op.name for op in OPS.values() if op.group == "leaf"}
# made of recurrences, last of all: they have no derivatives
LATER = {"linear_scan", "linear_attention", "state_product", "native"}


def op_spec(op: str, loss: bool) -> rnnc.Spec:
    lines, names = [], []
    for i, right in enumerate(TABLE[op]):
        left = f"r{i}" if right.startswith("=") else f"r{i}[t]"
        names.append(f"r{i}")
        lines.append(f"{left} = {right.removeprefix('= ')}")
        if loss:
            lines.append(f"loss sum((0.3 + {left})^2)")
    lines.append(f"output {', '.join(names)}")
    return rnnc.parse(HEADER + "\n".join(lines))


def test_every_op_has_a_rule_and_a_test() -> None:
    assert derivatives.RULES.keys() == OPS.keys() - LATER
    assert TABLE.keys() | NO_SPEC | LOGIC | LEAVES | LATER == OPS.keys()
    for op in TABLE:
        system = simplify(objective(evaluating(op_spec(op, loss=False).bound)))
        differentiated = {v.op for v in system.values.values()}
        assert op in differentiated, f"the specs for {op} do not hold it"


@pytest.mark.parametrize("op", TABLE)
def test_op(op: str) -> None:
    prove(op_spec(op, loss=False), batch=3, steps=3)
    # the other convention: means over the batch, of a sum over steps
    check_gradients(op_spec(op, loss=True), batch=2, steps=3, seed=1)


def test_ties_go_to_the_first() -> None:
    """At a kink there is no derivative, but a convention; it is the same in every form."""
    spec = rnnc.parse(
        "model Tie\ninput x[t] : [3]\nparam a, b : [3]\n"
        "r[t] = max(a, b) + x[t]\ns[t] = max(a + 0 * x[t])\n"
        "u[t] = relu(a - b)\nv = max[t](b + 0 * x[t])\noutput r, s, u, v"
    )
    weights = {"a": np.ones(3), "b": np.ones(3)}
    found = reference_gradients(spec, weights=weights, batch=1, steps=2)
    data = {n: np.zeros(s) for n, s in (("x", (1, 2, 3)),)}
    assert_gradients_agree(spec, batch=1, steps=2, weights=weights, data=data)
    assert found["d_a"].shape == (3,)
    # of r all goes to a; of s to its first entry; of u nothing; of v to b
    seeds = np.random.default_rng(0)  # as the gradients of the outputs are drawn
    r, s = seeds.standard_normal((1, 2, 3)), seeds.standard_normal((1, 2))
    seeds.standard_normal((1, 2, 3))
    v = seeds.standard_normal((1, 3))
    first = np.array([1.0, 0.0, 0.0])
    np.testing.assert_allclose(found["d_a"], r.sum((0, 1)) + s.sum() * first)
    np.testing.assert_allclose(found["d_b"], v[0])


# ---------------------------------------------------------------- by hand, by the reference alone


def prove_system(system: System, arrays: dict[str, NDA], lengths: dict[str, int]) -> None:
    """The adjoint system against central differences, both evaluated by the reference."""
    adjoint = verify(differentiate(verify(system)))
    rng = np.random.default_rng(0)
    plain = evaluate(system, arrays, lengths=lengths)
    names = [v.name.removeprefix("d_") for v in adjoint.inputs if v.name not in arrays]
    seeds = {} if system.losses else {n: rng.standard_normal(plain[n].shape) for n in names}
    given = {**arrays, **{f"d_{n}": s for n, s in seeds.items()}}
    found = evaluate(adjoint, given, lengths=lengths)

    def loss(changed: dict[str, NDA]) -> float:
        out = evaluate(system, {**arrays, **changed}, lengths=lengths)
        if system.losses:
            return float(out[system.losses["loss"]])
        return float(sum(np.sum(out[n] * s) for n, s in seeds.items()))

    for p in system.params:
        way = rng.standard_normal(arrays[p.name].shape)
        up, down = (loss({p.name: arrays[p.name] + e * way}) for e in (1e-5, -1e-5))
        slope = float(np.sum(found[f"d_{p.name}"] * way))
        assert (up - down) / 2e-5 == pytest.approx(slope, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize(
    ("before", "after"), [((), (3,)), ((), (2, 3)), ((1,), (3,)), ((3,), (3,)), ((1, 3), (2, 3))]
)
def test_broadcast(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    hand = Hand()
    hand.input("x", *after)
    a = hand.param("a", *before)
    wide = hand.add("wide", "broadcast", hand.add("s", "sin", a), shape=after)
    hand.add("r", "mul", wide, read("x"))
    system = hand.system("Wide", ["r"], dims={})
    rng = np.random.default_rng(1)
    arrays = {"a": rng.standard_normal(before), "x": rng.standard_normal((2, 4, *after))}
    prove_system(system, arrays, {"t": 4, "batch": 2})


@pytest.mark.parametrize("times", [("t",), ()])
def test_scatter(times: tuple[str, ...]) -> None:
    """The adjoint of a lookup, which second derivatives differentiate."""
    hand = Hand()
    x, a = hand.input("x", 3, axes=times), hand.param("a", 3)
    place = hand.leaf("k", "input", Type("index"), (*times, "batch"), range=4)
    rows = hand.add("rows", "sin", hand.add("ax", "mul", a, x))
    table = hand.add("table", "scatter", rows, place, size=4, over=(*times, "batch"))
    hand.add("r", "tanh", table)
    rng = np.random.default_rng(1)
    steps = (5,) * len(times)
    arrays = {"x": rng.standard_normal((2, *steps, 3)), "k": rng.integers(0, 4, (2, *steps))}
    arrays["a"] = rng.standard_normal(3)
    prove_system(hand.system("Table", ["r"], dims={}), arrays, {"t": 5, "batch": 2})


@pytest.mark.parametrize("name", ["Elman", "LSTM", "Bidirectional", "GRUClassifier", "RWKV4"])
def test_unrolling_and_differentiating_commute(name: str) -> None:
    spec = rnnc.load(name, **small(name))
    base = simplify(objective(evaluating(spec.bound)))
    one = verify(unroll(verify(differentiate(base)), 4))
    two = verify(differentiate(verify(unroll(base, 4))))
    data: dict[str, NDA] = {**random_data(spec, 2, 4), **random_weights(spec)}
    rng = np.random.default_rng(0)
    for v in one.inputs:
        if v.name not in data:
            data[v.name] = rng.standard_normal((2, 4, *v.type.shape))
    first, second = (evaluate(s, data, lengths={"t": 4, "batch": 2}) for s in (one, two))
    assert {f"d_{n}" for n in spec.shapes} <= first.keys()
    for n in first:
        np.testing.assert_allclose(second[n], first[n], rtol=1e-11, atol=1e-12)


def test_stack() -> None:
    """The steps put together again, by reductions over an unrolled axis."""
    lines = "h[t] = tanh(W h[t-1] + x[t])", "r = max[t](h[t])", "q[t] = softmax[t](h[t])"
    spec = rnnc.parse(HEADER + "\n".join(lines))
    base = unroll(simplify(objective(evaluating(spec.bound))), 4)
    assert any(v.op == "stack" for v in base.values.values())
    arrays = {**random_data(spec, 2, 4), **random_weights(spec)}
    wanted = {v.name for v in (*base.inputs, *base.params)}
    prove_system(base, {n: a for n, a in arrays.items() if n in wanted}, {"t": 4, "batch": 2})


# ---------------------------------------------------------------- second derivatives


def along(gradient: System, directions: dict[str, str]) -> System:
    """The gradient system with the loss ``sum(d_W * v_W)`` over all parameters W."""
    values: dict[str, Value] = dict(gradient.values)
    total: Read | None = None
    for param, way in directions.items():
        type_ = gradient[param].type
        values[way] = Value(way, "input", (), type_)
        term = Read(f"{way}.1")
        values[term.source] = Value(
            term.source, "mul", (Read(f"d_{param}"), Read(way)), type_, gradient[f"d_{param}"].axes
        )
        if type_.shape:
            values[f"{way}.2"] = Value(
                f"{way}.2", "sum", (term,), Type("real"), (), (("over", ()),)
            )
            term = Read(f"{way}.2")
        if total is not None:
            values[f"{way}.3"] = Value(f"{way}.3", "add", (total, term), Type("real"))
            term = Read(f"{way}.3")
        total = term
    assert total is not None
    values["curve"] = Value("curve", "copy", (total,), Type("real"))
    losses = {"loss": "curve"}
    return replace(
        gradient.with_values(values), outputs=(), losses=losses, metrics={}, counts={}
    ).pruned()


@pytest.mark.parametrize("name", ["Elman", "LSTM", "GRU", "LSTMSigmoid", "GRUClassifier"])
def test_hessian_vector_product(name: str) -> None:
    spec = rnnc.load(name, **small(name))
    base = simplify(objective(evaluating(spec.bound)))
    gradient = verify(simplify(verify(differentiate(base))))
    ways = {n: f"way_{n}" for n in spec.shapes}
    twice = verify(differentiate(verify(along(gradient, ways))))
    rng = np.random.default_rng(2)
    weights = random_weights(spec)
    v = {n: rng.standard_normal(w.shape) for n, w in weights.items()}
    data: dict[str, NDA] = dict(random_data(spec, 2, 3))
    for leaf in gradient.inputs:
        if leaf.name not in data:
            data[leaf.name] = rng.standard_normal((2, 3, *leaf.type.shape))
    lengths = {"t": 3, "batch": 2}
    product = evaluate(twice, {**data, **weights, **{ways[n]: v[n] for n in v}}, lengths=lengths)

    def slope(e: float) -> dict[str, NDA]:
        moved = {n: w + e * v[n] for n, w in weights.items()}
        return evaluate(gradient, {**data, **moved}, lengths=lengths)

    up, down = slope(1e-5), slope(-1e-5)
    second = dict(zip(weights, twice.outputs, strict=True))  # named after both, `d_W.1`
    found = {n: product[second[n]] for n in weights}
    largest = max(np.abs(a).max() for a in found.values())
    for n in weights:
        wanted = (up[f"d_{n}"] - down[f"d_{n}"]) / 2e-5
        np.testing.assert_allclose(found[n], wanted, rtol=0, atol=1e-7 * largest)
    # a Hessian is symmetric: u·Hv = v·Hu
    u = {n: rng.standard_normal(w.shape) for n, w in weights.items()}
    other = evaluate(twice, {**data, **weights, **{ways[n]: u[n] for n in u}}, lengths=lengths)
    left = sum(np.sum(u[n] * found[n]) for n in u)
    right = sum(np.sum(v[n] * other[second[n]]) for n in v)
    assert left == pytest.approx(right, rel=1e-10)


# ---------------------------------------------------------------- time and boundaries

TIME: dict[str, str] = {
    "zero": "h[t] = tanh(W h[t-1] + x[t])",
    "a number": "h[t] = tanh(W h[t-1] + x[t])\nh[0] = 0.5",
    "a parameter": "h[t] = tanh(W h[t-1] + x[t])\nh[0] = a",
    "a scalar parameter fills the shape": "h[t] = tanh(W h[t-1] + x[t])\nh[0] = c",
    "an input": "h[t] = tanh(W h[t-1] + x[t])\nh[0] = z",
    "an expression": "h[t] = tanh(W h[t-1] + x[t])\nh[0] = tanh(U z + b * a)",
    "a step of another": "g[t] = a * x[t]\nh[t] = tanh(W h[t-1] + x[t])\nh[0] = g[T] * g[1]",
    "the end of another recurrence": "g[t] = tanh(U g[t-1] + x[t])\ng[0] = b\n"
    "h[t] = tanh(W h[t-1] + x[t])\nh[0] = g[T]",
    "two steps": "h[t] = tanh(W h[t-1] + U h[t-2] + x[t])\nh[0] = a\nh[-1] = sin(b)",
    "a gap between steps": "h[t] = tanh(W h[t-4] + U h[t-1] + x[t])\nh[0] = a\nh[-2] = b\n"
    "h[-3] = c",
    "lags 1 2 3 6": "h[t] = tanh(W h[t-1] + U h[t-2] + 0.4 h[t-3] + W.T h[t-6] + x[t])\nh[0] = a\n"
    "h[-2] = b * z",
    "lag 6 alone": "h[t] = tanh(W h[t-6] + x[t])\nh[0] = a",
    "lag 7, one boundary at two places": "h[t] = tanh(W h[t-7] + x[t])\nh[0] = a\nh[-1] = b\n"
    "h[-2] = a\ng[t] = tanh(W g[t+7] + x[t])\n"
    "g[T+1] = a\ng[T+2] = b\ng[T+3] = a\nr = h[T-3] + g[4]",
    "lag 6 of an input": "h[t] = tanh(W h[t-1] + U x[t-6])\nx[0] = a\nx[-2] = b",
    "inputs before and after": "h[t] = tanh(W h[t-1] + U x[t-2] + W x[t+1])\nx[0] = b\nx[T+1] = a",
    "its own boundary is read": "h[t] = tanh(W h[t-1] + x[t])\nh[0] = a * z\nr = h[0] * h[T]",
    "single steps": "h[t] = tanh(W h[t-1] + x[t])\nh[0] = b\n"
    "r = h[T] + 2 h[T-1] + 3 h[1] + x[3] * a + h[2] * h[3]",
    "single steps at every step": "h[t] = tanh(W h[t-1] + x[t])\nh[0] = b\n"
    "r[t] = h[t] * h[T] + U h[1] * h[T-1] + h[t-2] + x[3] * a",
    "steps that may not exist": "h[t] = tanh(W h[t-1] + x[t])\nh[0] = b\nh[T+1] = a\n"
    "r = h[4] + h[T-3] + h[T+1] * h[0]",
    "shifted reads of a state": "h[t] = tanh(W h[t-1] + x[t])\nh[0] = a\nh[T+1] = b\n"
    "r[t] = h[t+1] * h[t-1] + h[t+3] * h[t-3]",
    "backward": "g[t] = tanh(W g[t+1] + x[t])\ng[T+1] = a",
    "backward by two": "g[t] = tanh(W g[t+1] + U g[t+2] + x[t])\ng[T+1] = a\ng[T+2] = c * b",
    "both ways": "h[t] = tanh(W h[t-1] + x[t])\ng[t] = tanh(U g[t+1] + h[t])\ng[T+1] = h[T]\n"
    "f[t] = f[t-1] * a + g[t]\nf[0] = g[1]",
    "two states": "h[t] = tanh(W g[t-1] + x[t])\ng[t] = tanh(U h[t] + 0.3 h[t-1])\ng[0] = a\n"
    "h[0] = b",
    "matrices": "M[t] = 0.9 M[t-1] + outer(a * x[t], y[t])\nM[0] = W\n"
    "r[t] = M[t] x[t] + (M[t-1]).T y[t]",
    "scalars": "h[t] = tanh(c * h[t-1] + s[t])\nh[0] = d",
    "the step number": "h[t] = tanh(a * h[t-1] + sin(t) * b + x[t] / T)\n"
    "r[t] = where(t == 1, a, h[t])",
    "every second step": "h[t] = tanh(W h[t-1] + x[t]) if t % 2 == 0 else h[t-1]\nh[0] = a",
    "over time": "h[t] = tanh(W h[t-1] + x[t])\nw[t] = softmax[t](dot(a, h[t]))\n"
    "r = sum[t](w[t] * h[t])\n"
    "q = max[t](h[t]) + mean[t](h[t] * h[t]) * logsumexp[t](b * h[t])",
    "over the batch": "m[t] = mean[batch](a * x[t])\nh[t] = tanh(W h[t-1] + x[t] - m[t])\n"
    "r = max[batch](h[T]) + b",
    "a recurrence over the batch": "h[t] = tanh(W h[t-1] + x[t] * mean[batch](h[t-1]))\n"
    "h[0] = a * z",
    "no data": "h[t] = tanh(W h[t-1] + a)\nh[0] = b",
    "half cut": "h[t] = tanh(W h[t-1] + stop_gradient(U h[t-1]) + x[t])\n"
    "h[0] = stop_gradient(a) * a\n"
    "r[t] = b * stop_gradient(b * h[t])",
    "a cut state": "h[t] = stop_gradient(tanh(W h[t-1] + a * x[t]))\nr[t] = b * h[t] + U h[t-1]",
    "a cut state with a boundary": "h[t] = stop_gradient(tanh(W h[t-1] + a * x[t]))\nh[0] = b * z\n"
    "r[t] = b * h[t] + U h[t-1] + h[t-2]",
    "a cut over time": "h[t] = tanh(W h[t-1] + x[t])\nr[t] = h[t] * stop_gradient(mean[t](h[t]))",
    "a boundary of a boundary": "h[t] = tanh(W h[t-1] + x[t])\nh[0] = a * z\n"
    "g[t] = g[t-1] * b + h[t-2]\ng[0] = h[0]",
    "boundaries by steps that may not exist": "g[t] = tanh(U g[t-1] + x[t])\ng[T+1] = b\n"
    "g[T+3] = a\nh[t] = tanh(W h[t-1] + x[t])\nh[0] = g[2]\nh[-1] = g[4]\nr = h[T-2]",
    "far lags of no recurrence": "g[t] = a * x[t]\ng[0] = b\ng[-3] = z * a\ng[T+1] = a * c\n"
    "g[T+3] = b\nr[t] = g[t-7] * x[t] + g[t+5]",
    "shifts of matrices": "P[t] = outer(x[t], a)\nP[0] = W\nP[T+1] = U\n"
    "r[t] = P[t-1] b + (P[T]).T a + (P[2]) x[t]",
    "shifts of a normalisation": "h[t] = tanh(W h[t-1] + x[t])\nh[0] = a\n"
    "p[t] = softmax[t](h[t-1])\np[0] = b\nr[t] = p[t-1] * p[t+1]",
    "a normalised batch": "m = mean[batch](mean[t](x[t] * a))\n"
    "v = mean[batch](mean[t]((x[t] - m)^2))\nr[t] = (x[t] - m) / sqrt(v + 0.01) * b",
    "tables": "h[t] = tanh(W h[t-1] + U[k[t]])\nr[t] = h[t] * W[k[t-1]] + a[k[T]]\nk[0] = 1",
    "an adjoint's name is taken": "d_h[t] = sin(a * x[t])\nh[t] = tanh(W h[t-1] + d_h[t])\n"
    "r[t] = h[t] * b + d_h[t]",
}  # fmt: skip


@pytest.mark.parametrize("name", TIME)
def test_time(name: str) -> None:
    spec = rnnc.parse(HEADER + TIME[name])
    for batch, steps in ((2, 5), (1, 1), (2, 2)):
        check_gradients(spec, batch=batch, steps=steps)
    for steps in 1, 3:
        assert_gradients_agree(spec, batch=2, steps=steps)
    if "lag" in name:  # sequences longer than these
        check_gradients(spec, batch=1, steps=9)
        assert_gradients_agree(spec, batch=1, steps=9, unrolled=False)


@pytest.mark.parametrize("name", TIME)
def test_time_with_a_loss(name: str) -> None:
    """The mean over the batch, which meets boundaries that all sequences share."""
    spec = rnnc.parse(HEADER + TIME[name])
    losses = []
    for output in spec.system.outputs:
        v = spec.system[output]
        losses.append(f"loss sum(({output}{'[t]' if 't' in v.axes else ''} + 0.2)^2)")
    check_gradients(rnnc.parse(HEADER + "\n".join([TIME[name], *losses])), batch=3, steps=4)


# ---------------------------------------------------------------- losses

RECURRENT = "h[t] = tanh(W h[t-1] + U x[t] + b)\n"
LOSSES: dict[str, str] = {
    "categorical": "p[t] = softmax(h[t])\ntarget q[t] : index(3) ~ categorical(p[t])",
    "categorical of no softmax": "p[t] = sigmoid(h[t])\ntarget q[t] : index(3) ~ categorical(p[t])",
    "when": "p[t] = softmax(h[t])\ntarget q[t] : index(3) ~ categorical(p[t]) when on[t]",
    "when a step": "p[t] = softmax(h[t])\ntarget q[t] : index(3) ~ categorical(p[t]) when t > 1",
    "once": "p = softmax(h[T])\ntarget q : index(3) ~ categorical(p)",
    "bernoulli": "p[t] = sigmoid(h[t])\ntarget q[t] : [3] ~ bernoulli(p[t])",
    "normal": "target q[t] : [3] ~ normal(h[t], 1)",
    "normal with a deviation": "target q[t] : [3] ~ normal(h[t], exp(a))",
    "squared error": "loss squared_error(h[t], y[t])",
    "cross entropy": "loss cross_entropy(h[t], k[t])",
    "several":
    "loss one = squared_error(h[t], y[t])\nloss two = 0.1 * sum(W * W)\nloss sum(a * h[T])",
    "of weights alone": "loss sum(W * W) + c^2\nmetric m = sum(h[T])",
    "of no batch": "loss sum((W a)^2)\nloss 0.5 * c",
    "metrics beside": "loss squared_error(h[t], y[t])\nmetric far = norm(h[t] - y[t])",
    "teacher": "target q[t] : [3] ~ normal(h[t] + a * q[t-1], 1)\nq[0] = b",
    "attention": "w[t] = softmax[t](dot(a, h[t]))\nr = sum[t](w[t] * h[t])\n"
    "loss squared_error(r, z)",
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str) -> None:
    spec = rnnc.parse(HEADER + RECURRENT + LOSSES[name])
    for batch, steps in ((3, 4), (1, 1), (1, 3)):
        check_gradients(spec, batch=batch, steps=steps)
    assert_gradients_agree(spec, batch=2, steps=3)
    assert_gradients_agree(spec, batch=2, steps=3, dtype="float32", unrolled=False)


DROPOUT = HEADER + (
    "h[t] = tanh(W dropout(h[t-1], 0.4) + dropout(U x[t], 0.3) + b)\nloss squared_error(h[t], y[t])"
)


def test_dropout() -> None:
    spec = rnnc.parse(DROPOUT)
    for seed in 0, 1:
        prove(spec, steps=3, training=True, seed=seed)
    assert_gradients_agree(spec, batch=2, steps=3, training=True, dtype="float32")
    prove(spec, steps=3)
    on, off = (reference_gradients(spec, batch=2, steps=4, training=t) for t in (True, False))
    assert not np.allclose(on["d_W"], off["d_W"])


def test_what_nothing_reads_has_a_gradient_of_zero() -> None:
    spec = rnnc.parse(HEADER + RECURRENT + "q[t] = c * h[t]\nloss squared_error(h[t], y[t])")
    prove(spec)
    for backend in "numpy", "onnx":
        model = spec.compile(backend, mode="grad", weights=spec.init())
        data = random_data(spec, 2, 3)
        out = model.run({p.name: data[p.name] for p in model.ports.inputs})
        assert {f"d_{n}" for n in spec.shapes} <= out.keys()
        assert out["d_W"].any()
        for name in "V", "c", "a", "d":  # c is read, but not on the way to the loss
            assert out[f"d_{name}"].shape == spec.shapes[name]
            assert not out[f"d_{name}"].any()


def test_what_is_cut_has_a_gradient_of_zero() -> None:
    spec = rnnc.load("ESNReadout", **small("ESNReadout"))
    found = reference_gradients(spec, batch=2, steps=5)
    assert all(not found[f"d_{n}"].any() for n in ("W", "W_in", "b"))
    assert found["d_V"].any()
    errors = check_gradients(spec)
    assert errors["W"] == 0.0 < errors["V"]


def test_the_loss_is_averaged_over_the_batch() -> None:
    """Twice the same sequences: the same gradient. Of outputs, the sum: twice."""
    for text, times in ((RECURRENT + "loss squared_error(h[t], y[t])", 1), (RECURRENT, 2)):
        spec = rnnc.parse(HEADER + text)
        data, weights = random_data(spec, 2, 3), random_weights(spec)
        model = spec.compile("numpy", mode="grad", dtype="float64", weights=weights)
        data["d_h"] = np.ones((2, 3, 3))
        given = {p.name: data[p.name] for p in model.ports.inputs}
        once = model.run(given)
        twice = model.run({n: np.concatenate([a, a]) for n, a in given.items()})
        np.testing.assert_allclose(twice["d_W"], times * once["d_W"], rtol=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "h[t] = tanh(W h[t-1] + U x[t])\nloss squared_error(h[t], y[t])",
        "h[t] = tanh(W h[t-1] + U h[t-2] + a * x[t-1])\nh[0] = b\nx[0] = a\n"
        "loss squared_error(h[t], y[t])",
    ],
)
@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_chunks(text: str, backend: str) -> None:
    """Of a chunk of a longer sequence, the derivative with the states it starts from held."""
    spec = rnnc.parse(HEADER + text)
    options: dict[str, Any] = {"carry": True, "dtype": "float64"}
    loss = spec.compile("numpy", mode="loss", **options)
    grad = spec.compile(backend, mode="grad", **options)
    rng = np.random.default_rng(0)
    data = random_data(spec, 2, 4)
    given = {p.name: data[p.name] if p.name in data else rng.standard_normal((2, 3))
             for p in loss.ports.inputs}  # fmt: skip
    weights = random_weights(spec)
    out = grad.run(given, weights=weights)
    assert loss.ports.states == grad.ports.states != ()
    for name, w in weights.items():
        way = rng.standard_normal(w.shape)
        up, down = (
            float(loss.run(given, weights={**weights, name: w + e * way})["loss"])
            for e in (1e-5, -1e-5)
        )
        assert (up - down) / 2e-5 == pytest.approx(np.sum(out[f"d_{name}"] * way), abs=1e-7)


# ---------------------------------------------------------------- random systems


@given(specs(), st.integers(1, 3), st.integers(1, 5), st.integers(0, 3))
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="RNNC_EXAMPLES" not in os.environ,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_random_systems(text: str, batch: int, steps: int, seed: int) -> None:
    spec = rnnc.parse(text)
    system = spec.system
    if not system.losses and all(system[n].type.kind != "real" for n in system.outputs):
        return  # nothing to differentiate
    found = reference_gradients(spec, batch=batch, steps=steps, weights=WEIGHTS, seed=seed)
    if not all(np.isfinite(a).all() for a in found.values()):
        return  # a norm of zero, say, has no derivative
    # some divide by next to nothing, and differences say little there
    check_gradients(spec, batch=batch, steps=steps, seed=seed, weights=WEIGHTS, rtol=1e-4)
    assert_gradients_agree(spec, batch=batch, steps=steps, seed=seed, weights=WEIGHTS)


# ---------------------------------------------------------------- structure


def gradient_plan(name: str, backend: str, **sizes: int) -> Plan:
    options = Options("grad", backend=backend)
    return schedule(compiler.final(rnnc.load(name, **sizes).bound, options))


VIEWS = {"slice", "pick", "permute", "unsqueeze", "squeeze", "reshape", "expand", "constant"}


@pytest.mark.parametrize("backend", ["numpy", "onnx"])
@pytest.mark.parametrize(
    ("name", "sizes", "most"),
    [
        ("Elman", {"n": 3, "m": 5, "k": 7}, 5),
        ("GRU", {"n": 3, "m": 5}, 14),
        ("LSTM", {"n": 3, "m": 5}, 12),
    ],
)
def test_weight_gradients_are_one_product(
    name: str, sizes: dict[str, int], most: int, backend: str
) -> None:
    """No gradient of a weight is summed up within a loop, nor is a matrix made for each step:
    one product for the whole sequence gives it. The loop back in time computes little; views
    and constants count for nothing, each other statement of its body for one."""
    plan = gradient_plan(name, backend, **sizes)
    assert [loop.forward for loop in plan.loops] == [True, False]
    for array in plan.arrays.values():
        features = [d for d in array.dims if isinstance(d, int)]
        assert len(features) < 2 or len(features) == len(array.dims), f"{array}: a matrix by step"
    for loop in plan.loops:
        inner = [c.name for c in loop.carried] + [s.target for s in loop.body if computes(s)]
        for array_name in inner:
            dims = plan.arrays[array_name].dims
            assert dims[:1] == ("batch",), f"{array_name} : {dims} is of a weight, in a loop"
    back = [s for s in plan.loops[1].body if computes(s)]
    assert len(back) <= most, [s.op for s in back]


def computes(s: Compute | Loop) -> bool:
    return isinstance(s, Compute) and s.op not in VIEWS


# ---------------------------------------------------------------- the tests themselves


@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_a_wrong_rule_is_found(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = derivatives.RULES["sin"]
    assert rule is not None
    monkeypatch.setitem(
        derivatives.RULES, "sin", lambda w, v, y, g, i: w.scaled(1.001, rule(w, v, y, g, i))
    )
    spec = rnnc.parse(HEADER + "r[t] = sin(W x[t]) + a")
    # W alone is wrong, by a thousandth; the place and both numbers are told
    message = r"^Op, \w+: the derivative by (W|x)\[.*\] is -?[\d.e-]+, central differences give "
    with pytest.raises(AssertionError, match=message):
        check_gradients(spec, backend=backend)
    assert_gradients_agree(spec, batch=2, steps=3)  # all forms are wrong alike
    wrong = {d.name for d in gradient_differences(spec) if d.error > 1e-6}
    assert wrong == {"W", "x"}


def test_a_wrong_backend_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from rnnc.backends import numpy_ops

    spec = rnnc.load("Elman", n=2, m=3, k=4)
    monkeypatch.setitem(numpy_ops.BINARY, "sub", "add")
    with pytest.raises(AssertionError, match=r"^Elman, numpy: d_\w+ is off by .* of the largest"):
        assert_gradients_agree(spec, batch=2, steps=3)


def test_a_wrong_loss_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Differences of something that is not the loss prove nothing."""
    from rnnc.backends import numpy_ops

    spec = rnnc.load("Elman", n=2, m=3, k=4)
    monkeypatch.setitem(numpy_ops.BINARY, "add", "subtract")
    with pytest.raises(AssertionError, match=r"^Elman: the loss is .*, by definition "):
        check_gradients(spec)


def test_a_loss_that_is_no_number() -> None:
    spec = rnnc.parse(
        "model M\ninput x[t] : [3]\nparam a : [3]\nr[t] = log(a * x[t])\nloss sum(r[t])"
    )
    with pytest.raises(rnnc.DataError, match="the loss of M is nan with this data"):
        check_gradients(spec)
    positive = {"x": np.ones((2, 5, 3))}
    assert check_gradients(spec, data=positive, weights={"a": np.ones(3)})["a"] < 1e-6


# ---------------------------------------------------------------- the command


@pytest.fixture
def rnn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs a command line in an empty folder; gives the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*argv: str) -> tuple[int, str, str]:
        code = main(list(argv))
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return run


SMALL = """\
model Small
input x[t] : [2]
param W : [3, 2],  U : [3, 3],  b : [3]
h[t] = tanh(W x[t] + U h[t-1]) * sin(b)
"""


def test_check_gradients(rnn) -> None:
    Path("small.rnn").write_text(SMALL)
    code, out, err = rnn("check", "small.rnn", "--gradients")
    assert (code, err) == (0, "")
    table = out.split("\n\n")[-1].splitlines()
    assert table[0].split() == ["gradient", "by", "shape", "largest", "error"]
    assert [(r.split()[0], r.split()[-1]) for r in table[2:]] == [
        ("W", "ok"), ("U", "ok"), ("b", "ok"), ("x", "ok")
    ]  # fmt: skip
    assert rnn("check", "-q", "small.rnn", "Elman", "--gradients", "--set", "n=3") == (0, "", "")
    code, out, err = rnn("check", "small.rnn", "--gradients", "--format", "json")
    (model,) = json.loads(out)["models"]
    assert [(g["name"], g["shape"], g["ok"]) for g in model["gradients"]] == [
        ("W", [3, 2], True), ("U", [3, 3], True), ("b", [3], True), ("x", [2, 5, 2], True)
    ]  # fmt: skip
    assert all(0 < g["error"] < 1e-6 for g in model["gradients"])
    assert "gradients" not in rnn("check", "small.rnn", "--format", "json")[1]


def test_check_gradients_that_are_wrong(rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("small.rnn").write_text(SMALL)
    monkeypatch.setitem(derivatives.RULES, "sin", lambda w, v, y, g, i: g)
    code, out, err = rnn("check", "small.rnn", "--gradients")
    assert code == 1
    rows = [line.split() for line in out.split("\n\n")[-1].splitlines()]
    assert [(r[0], r[-1]) for r in rows[2:]] == [
        ("W", "ok"), ("U", "ok"), ("b", "WRONG"), ("x", "ok")
    ]  # fmt: skip
    found = (
        r"error: Small: the derivative by b\[\d\] is \S+, central differences give \S+: .* apart\n"
    )
    assert re.fullmatch(found, err)
    code, out, err = rnn("check", "small.rnn", "LSTM", "--gradients")
    assert code == 1
    assert "no errors" not in out


def test_check_gradients_that_do_not_exist(rnn) -> None:
    Path("none.rnn").write_text("model None\ninput w[t] : index(3)\nk[t] = w[t] + 1\n")
    code, _, err = rnn("check", "none.rnn", "--gradients")
    assert (code, err.splitlines()[0]) == (
        1, "error[RNN040]: model None has no gradients: it has no loss and no real output"
    )  # fmt: skip
    Path("log.rnn").write_text("model Log\ninput x[t] : [2]\nparam a : [2]\nr[t] = log(a * x[t])")
    code, _, err = rnn("check", "log.rnn", "--gradients")
    assert code == 1
    assert "error: the loss of Log is nan with this data" in err
    Path("open.rnn").write_text("model Open\ndim n\ninput x[t] : [n]\nh[t] = h[t-1] + x[t]\n")
    code, _, err = rnn("check", "open.rnn", "--gradients")
    assert (code, "RNN035" in err, "--set n=…" in err) == (1, True, True)
    assert rnn("check", "-q", "open.rnn", "--gradients", "--set", "n=2") == (0, "", "")


def test_check_gradients_of_a_fixed_length(rnn) -> None:
    Path("fixed.rnn").write_text(
        "model Fixed\naxis t : T = 3\ninput x[t] : [2]\nparam a : [2]\nh[t] = a * x[t] * T"
    )
    assert rnn("check", "-q", "fixed.rnn", "--gradients") == (0, "", "")
