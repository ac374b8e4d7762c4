"""What passes do to a System, and that they change nothing of what it means."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import rnnc
from rnnc import compiler
from rnnc.backends import numpy_ops, onnx_ops
from rnnc.backends.numpy_source import to_numpy
from rnnc.backends.onnx_graph import to_onnx
from rnnc.compiler import PIPELINES, Options
from rnnc.graph.ops import MAPS, OPS
from rnnc.graph.show import show_system
from rnnc.graph.system import System, Value
from rnnc.graph.types import BATCH, FIRST, Bound, Index, Read, Type, read
from rnnc.graph.verify import verify
from rnnc.passes import lower
from rnnc.passes.carry import carry, initial
from rnnc.passes.collect import collect
from rnnc.passes.fuse import fuse
from rnnc.passes.gates import tanh_gates
from rnnc.passes.hoist import hoist
from rnnc.passes.lerp import lerp
from rnnc.passes.mode import evaluating, losses_only, predicting
from rnnc.passes.plan import Compute, Loop, Plan, show_plan
from rnnc.passes.retime import retime
from rnnc.passes.schedule import schedule
from rnnc.passes.simplify import simplify
from rnnc.passes.unpack import unpack
from rnnc.passes.unroll import one_step, unroll
from rnnc.runtime.reference import DEFINED, evaluate
from rnnc.testing import random_data, random_weights

NDA = NDArray[Any]
Pass = Callable[[System], System]


def system(text: str, **sizes: int) -> System:
    """The bound system of a spec, for evaluation."""
    return evaluating(rnnc.parse(f"model M\n{text}", **sizes).bound)


def library(name: str, **sizes: int) -> System:
    return evaluating(rnnc.load(name, **(sizes or {"n": 3, "m": 4})).bound)


def final(name: str, mode: str = "predict", backend: str = "onnx", **sizes: int) -> System:
    spec = rnnc.load(name, **(sizes or {"n": 3, "m": 4}))
    return compiler.final(spec.bound, Options(mode, backend=backend))


def plan(name: str, mode: str = "predict", backend: str = "onnx", **sizes: int) -> Plan:
    return schedule(final(name, mode, backend, **sizes))


def plan_of(text: str, mode: str = "predict", backend: str = "onnx", **sizes: int) -> Plan:
    spec = rnnc.parse(f"model M\n{text}", **sizes)
    return schedule(compiler.final(spec.bound, Options(mode, backend=backend)))


def ops(statements: Any) -> Counter[str]:
    return Counter(s.op for s in statements if isinstance(s, Compute))


def outside(p: Plan) -> Counter[str]:
    """The operations that are not in a loop."""
    return ops(p.statements())


SPECS = {name: {"n": 3, "m": 4} for name in ("LSTM", "LSTMGers", "GRU", "GRUConcat", "MGU", "LEM",
         "LSTMLayerNorm", "MLSTM", "QRNN", "PhasedLSTM", "AntisymmetricRNN", "RHN", "MUT1",
         "FastGRNN", "JANET")}  # fmt: skip
SPECS |= {
    "ClockworkRNN": {"n": 3, "G": 3, "k": 2},
    "RWKV4": {"n": 4, "m": 4},
    "Elman": {"n": 3, "m": 4, "k": 5},
    "Bidirectional": {"n": 3, "m": 4, "k": 5},
    "LSTMSigmoid": {"n": 3, "m": 4, "k": 5},
    "OutputFeedbackTeacher": {"n": 3, "m": 4, "k": 5},
    "OneToNFirst": {"n": 3, "m": 4, "k": 5},
    "CharLSTM": {"vocab": 5, "d": 3, "m": 4},
    "Adding": {"n": 2, "m": 3},
}


def data_for(name: str, batch: int, steps: int) -> dict[str, NDA]:
    spec = rnnc.load(name, **SPECS[name])
    return random_data(spec, batch, steps) | random_weights(spec)


PASSES: dict[str, tuple[Pass, ...]] = {
    "simplify": (simplify,),
    "hoist": (simplify, hoist),
    "fuse": (simplify, hoist, fuse),
    "fuse alone": (fuse,),
    "collect": (simplify, collect),
    "retime": (simplify, retime),
    "lerp": (simplify, lerp),
    "unpack": (simplify, hoist, fuse, simplify, unpack),
    "gates": (simplify, hoist, fuse, simplify, tanh_gates),
    "gates alone": (tanh_gates,),
    "unroll": (lambda s: unroll(s, 4),),
    "unroll, simplified": (simplify, hoist, fuse, lambda s: unroll(s, 4), simplify),
}


@pytest.mark.parametrize("name", SPECS)
def test_passes_change_no_value(name: str) -> None:
    first = library(name, **SPECS[name])
    data = data_for(name, 2, 4)
    lengths = {"t": 4, BATCH: 2}
    wanted = evaluate(first, data, lengths=lengths)
    for title, passes in PASSES.items():
        changed = first
        for step in passes:
            changed = verify(step(changed))
        assert changed.results == first.results, title
        found = evaluate(changed, data, lengths=lengths)
        for result, array in wanted.items():
            assert_allclose(found[result], array, rtol=1e-11, atol=1e-13, err_msg=title)


# ---------------------------------------------------------------- simplify


def simplified(expression: str, more: str = "") -> Counter[str]:
    """The operations that are left of one equation, leaves aside."""
    s = verify(simplify(system(f"{INPUTS}{more}\no[t] = {expression}\noutput o")))
    leaves = ("input", "param", "step", "length")
    return Counter(v.op for v in s.values.values() if v.op not in leaves)


INPUTS = "input x[t], y[t] : [3]\ninput s[t] : []\nparam W : [3, 3], c : []\ninput on[t] : flag"


@pytest.mark.parametrize(
    ("expression", "left"),
    [
        ("x[t] + 0", "copy"),
        ("0 + x[t]", "copy"),
        ("x[t] - 0", "copy"),
        ("0 - x[t]", "neg"),
        ("1 * x[t]", "copy"),
        ("x[t] * 1", "copy"),
        ("x[t] / 1", "copy"),
        ("x[t] ^ 1", "copy"),
        ("x[t] ^ 2", "mul"),
        ("x[t] ^ 0.5", "sqrt"),
        ("-(-x[t])", "copy"),
        ("x[t] if 1 < 2 else y[t]", "copy"),
        ("where(on[t], x[t], x[t])", "copy"),
        ("log(softmax(x[t]))", "log_softmax"),
        ("log(sigmoid(x[t]))", "neg neg softplus"),
        ("log(1 - sigmoid(x[t]))", "neg softplus"),
        ("W.T x[t]", "contract"),
        ("W.T.T x[t]", "contract"),
        ("slice(x[t], 0, 3)", "copy"),
        ("slice(slice(x[t], 1, 3), 1, 2)", "slice"),
        ("x[t] * (2 + 3) / 5", "constant div mul"),
        ("x[t] * exp(0)", "copy"),
        ("sqrt(4) * x[t] + floor(2.5) / 2", "add constant constant mul"),
        ("tanh(x[t]) + tanh(x[t])", "add tanh"),
        ("tanh(x[t] + y[t]) * tanh(x[t] + y[t])", "add mul tanh"),
        ("x[t] + 0 * 7", "copy"),
        ("sum(x[t]) / 3", "constant div sum"),
        ("mean(x[t])", "constant div sum"),
    ],
)
def test_rules(expression: str, left: str) -> None:
    found = simplified(expression)
    assert sorted(found.elements()) == left.split()


def test_what_must_stay() -> None:
    """These look like the rules and are not."""
    assert simplified("0 * x[t]")["mul"] == 1  # NaN and infinities
    assert simplified("x[t] - x[t]")["sub"] == 1
    assert simplified("x[t] / x[t]")["div"] == 1
    assert simplified("x[t] + y[t]")["add"] == 1
    assert simplified("x[t] ^ 3")["pow"] == 1
    assert simplified("where(on[t], s[t], x[t])")["where"] == 1
    assert simplified("where(1 < 2, s[t], x[t])")["where"] <= 1  # [] is no [3]
    assert simplified("s[t-1] + s[t]") == Counter({"add": 1})
    # two draws are two
    training = simplify(
        compiler.training(
            rnnc.parse(f"model M\n{INPUTS}\no[t] = dropout(x[t], 0.5) + dropout(x[t], 0.5)").bound
        )
    )
    assert len(training.leaves("uniform")) == 2


def test_a_boundary_is_kept_from_its_alias() -> None:
    """`a` is `x`, but for what stands before the first step."""
    s = system("input x[t] : [3]\na[t] = x[t]\na[0] = 5\no[t] = a[t-1]\np[t] = x[t-1]\noutput o, p")
    out = evaluate(simplify(s), {"x": np.ones((1, 2, 3))})
    assert_array_equal(out["o"][0, :, 0], [5, 1])
    assert_array_equal(out["p"][0, :, 0], [0, 1])
    # and twins with different boundaries are no twins
    s = system("input x[t] : [3]\na[t] = tanh(x[t])\na[0] = 5\nb[t] = tanh(x[t])\n"
               "o[t] = a[t-1] + b[t-1]\np[t] = a[t] - b[t]\noutput o, p")  # fmt: skip
    out = evaluate(simplify(s), {"x": np.ones((1, 2, 3))})
    assert_allclose(out["o"][0, :, 0], [5, 2 * np.tanh(1)])


def test_dead_code_goes() -> None:
    s = system("input x[t], y[t] : [3]\nparam W : [3, 3]\na[t] = W y[t]\no[t] = x[t] * 2\noutput o")
    kept = {v.op for v in simplify(s).values.values()}
    assert kept == {"input", "constant", "mul"}
    assert [v.name for v in simplify(s).inputs] == ["x"]


def test_outputs_keep_their_names() -> None:
    s = simplify(system("input x[t] : [3]\na[t] = x[t]\nb[t] = a[t]\nc[t] = tanh(b[t])\n"
                        "d[t] = tanh(x[t])\noutput a, b, c, d"))  # fmt: skip
    assert s.outputs == ("a", "b", "c", "d")
    assert Counter(v.op for v in s.values.values())["tanh"] == 1


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("step", [simplify, hoist, fuse], ids=lambda f: f.__name__)
def test_idempotent(name: str, step: Pass) -> None:
    s = simplify(library(name, **SPECS[name]))
    if step is fuse:
        s = hoist(s)
    once = simplify(step(s))
    twice = simplify(step(once))
    assert Counter(v.op for v in twice.values.values()) == Counter(
        v.op for v in once.values.values()
    )
    if step is simplify:
        assert twice is once


def test_what_forms_have_in_common_is_computed_once() -> None:
    system = rnnc.load("LSTM", n=2, m=3).bound
    grad = Options("grad", inputs=("x",))
    assert compiler.final(system, grad) is compiler.final(system, grad)
    assert compiler.final(system, grad) is not compiler.final(system, Options("grad"))
    assert compiler.rolled(system, Options("predict")) is compiler.rolled(system, Options())
    unrolled = [compiler.final(system, Options("predict", unroll={"t": n})) for n in (2, 2, 3)]
    assert unrolled[0] is not unrolled[1]  # not kept: they are large
    assert [len(v.outputs) for v in unrolled] == [2, 2, 2]


# ---------------------------------------------------------------- what is fused, and what hoisted


def products(p: Plan) -> list[int]:
    """How many matrix products each loop holds."""
    return [ops(loop.body)["matmul"] for loop in p.loops]


def test_lstm() -> None:
    """A product for each activation in the loop, and outside; three gates in one sigmoid."""
    p = plan("LSTM")
    assert products(p) == [2]
    assert outside(p)["matmul"] == 2
    (loop,) = p.loops
    assert ops(loop.body)["sigmoid"] == 1
    assert ops(loop.body)["tanh"] == 2
    matmul = next(s for s in loop.body if s.op == "matmul")
    assert p.arrays[matmul.target].dims == (BATCH, 12)
    assert {c.name for c in loop.carried} == {"h[t-1]", "c[t-1]"}
    assert len(loop.scanned) == 2


def test_lstm_for_numpy() -> None:
    """There all four activations of the sum are one tanh, and the cell's another."""
    (loop,) = plan("LSTM", backend="numpy").loops
    assert ops(loop.body)["sigmoid"] == 0
    assert ops(loop.body)["tanh"] == 2
    assert ops(loop.body)["matmul"] == 1


def test_gru() -> None:
    """Two: the candidate's waits for the reset gate."""
    p = plan("GRU")
    assert products(p) == [2]
    (loop,) = p.loops
    assert ops(loop.body)["sigmoid"] == 1
    assert outside(p)["matmul"] in (1, 2)


def test_gru_reset_after() -> None:
    assert products(plan("GRUResetAfter", backend="numpy")) == [1]


def test_gru_with_concatenation_splits_its_columns() -> None:
    p = plan("GRUConcat")
    assert products(p) == [2]
    (loop,) = p.loops
    assert ops(loop.body)["concat"] == 0
    assert outside(p)["matmul"] >= 1
    assert ops(p.setup)["slice"] >= 2  # of the weights, once


def test_peephole_lstm() -> None:
    """One product with the cell in the loop. The output gate, which sees the old cell, too, is
    outside with all products of the input: nothing that recurs depends on it."""
    p = plan("LSTMPeephole")
    assert products(p) == [1]
    (loop,) = p.loops
    matmul = next(s for s in loop.body if s.op == "matmul")
    assert any(a.startswith("c[t-1]") for a in matmul.args)
    assert p.arrays[matmul.target].dims == (BATCH, 8)
    assert ops(loop.body)["sigmoid"] == 1
    assert outside(p)["sigmoid"] == 1


def test_products_with_the_input_leave_the_loop() -> None:
    assert products(plan("IndRNN")) == [0]
    for name in ("MinGRU", "QRNN"):  # of which nothing is left to loop over
        assert outside(plan(name))["linear_scan"] == 1, name
        assert not plan(name).loops, name


LINEAR_ATTENTION = """
input x[t] : [3]
param W_q, W_k, W_v : [4, 3],  w_f : [3]
q[t] = W_q x[t]
k[t] = W_k x[t]
v[t] = W_v x[t]
f[t] = sigmoid(dot(w_f, x[t]))
S[t] = f[t] * S[t-1] + outer(v[t], k[t])
h[t] = S[t] q[t]
output h
"""


def matrices(p: Plan) -> set[str]:
    """The arrays of a matrix at every step."""
    return {n for n, a in p.arrays.items() if "t" in a.dims and a.dims[-2:] == (4, 4)}


def test_matrices_stay_in_their_loop() -> None:
    """Outer products, and what is read off a matrix of states, are computed step by step; gradients
    need the states of all steps, and nothing else of that size."""
    spec = rnnc.parse(f"model M\n{LINEAR_ATTENTION}")
    plain = compiler.plan_of(spec.system, Options(plain_loops=True))
    assert matrices(plain) == set()
    (loop,) = plain.loops  # every form that a step needs is made before the loop
    assert [s.op for s in loop.body] == ["mul", "mul", "add", "matmul"]
    assert ops(loop.body)["permute"] == 0  # the matrix is taken as it lies
    gradients = compiler.plan_of(spec.system, Options("grad", plain_loops=True))
    assert matrices(gradients) == {"S", "S[t-1]~1"}


def test_matrices_without_a_loop() -> None:
    """In chunks no array has a matrix at every step, of gradients neither."""
    for mode in ("predict", "grad"):
        assert matrices(plan_of(LINEAR_ATTENTION, mode)) == set()
        assert matrices(plan("MLSTM", mode)) == set()
        assert plan_of(LINEAR_ATTENTION, mode).loops == ()


def test_rwkv_loops() -> None:
    p = plan("RWKV4", n=4, m=4)
    assert sum(products(p)) == 0


def test_softmax_after_the_loop() -> None:
    p = plan("Elman", n=3, m=4, k=5)
    (loop,) = p.loops
    assert products(p) == [1]
    assert ops(loop.body)["softmax"] == 0
    assert outside(p)["softmax"] == 1
    at = next(i for i, s in enumerate(p.body) if isinstance(s, Loop))
    assert outside(p)["matmul"] == 2
    assert ops(p.body[:at])["matmul"] == 1
    assert ops(p.body[at:])["matmul"] == 1


def test_two_recurrences_are_two_loops() -> None:
    p = plan("Bidirectional", n=3, m=4, k=5)
    assert [(loop.axis, loop.forward) for loop in p.loops] == [("t", True), ("t", False)]
    p = plan("Deep", n=3, m=4, k=5)
    first, second = p.loops
    assert first.forward
    assert second.forward
    # the second layer's input projection stands between them
    i, j = (p.body.index(loop) for loop in (first, second))
    assert ops(p.body[i:j])["matmul"] == 1


def test_teacher_forcing_needs_no_loop() -> None:
    sizes = {"n": 3, "m": 4, "k": 5}
    assert len(plan("OutputFeedback", "loss", **sizes).loops) == 1
    assert plan("OutputFeedbackTeacher", "loss", **sizes).loops == ()
    assert plan("OutputFeedbackTeacher", **sizes).loops == ()


def test_what_does_not_vary_is_computed_once() -> None:
    p = plan("AntisymmetricRNN")
    (loop,) = p.loops
    assert ops(loop.body)["permute"] == 0
    assert ops(p.setup)["sub"] == 2  # U - Uᵀ - γ I
    p = plan("ClockworkRNN", n=3, G=3, k=2)
    (loop,) = p.loops
    assert ops(p.setup)["mul"] == 1  # the mask on the weights
    assert ops(loop.body)["mod"] == 0  # the clocks are known before


def test_products_are_reassociated() -> None:
    p = plan_of("input x[t], y[t] : [3]\nh[t] = x[t] * (h[t-1] * y[t]) + 1 + x[t]")
    (loop,) = p.loops
    assert ops(loop.body) == Counter(mul=1, add=1)
    p = plan_of("input x[t], y[t] : [3]\nh[t] = tanh(x[t] + h[t-1] - y[t] + 3)")
    (loop,) = p.loops
    assert ops(loop.body) == Counter(add=1, tanh=1)


def test_backward_loop_reads_the_last_step_first() -> None:
    p = plan_of("input x[t] : [3]\ng[t] = tanh(g[t+1] + x[t])\ng[T+1] = 2\no = g[1]")
    (loop,) = p.loops
    assert not loop.forward
    assert loop.carried[0].final is not None
    assert loop.collected == ()  # the end alone is wanted


def test_only_the_last_state_leaves_the_loop() -> None:
    p = plan("NToOne", n=3, m=4, k=5)
    (loop,) = p.loops
    assert loop.collected == ()
    p = plan("LSTM")
    assert len(p.loops[0].collected) == 2


def test_lags_are_carried() -> None:
    p = plan_of("input x[t] : [3]\nh[t] = h[t-1] + h[t-3] + x[t]\nh[0] = 1\nh[-1] = 2")
    (loop,) = p.loops
    assert len(loop.carried) == 3
    assert loop.carried[1].next == loop.carried[0].name


def test_lengths_come_from_data_where_they_can() -> None:
    p = plan("LSTM")
    assert p.axes == {"t": ("x", 1), BATCH: ("x", 0)}
    p = plan("OneToNEvery", n=3, m=4, k=5)
    assert p.axes == {"t": ("T", -1), BATCH: ("x", 0)}
    assert [i.name for i in p.inputs] == ["x", "T"]
    p = plan("OneToNEvery", "loss", n=3, m=4, k=5)
    assert p.axes["t"] == ("y", 1)


# ---------------------------------------------------------------- lean loops


def nodes(p: Plan) -> list[int]:
    """How many nodes the body of each loop is in onnxruntime, which makes one of a product, an
    addition to it and an activation of that."""
    graph = to_onnx(p).graph
    out = []
    for scan in (n for n in graph.node if n.op_type == "Scan"):
        (body,) = (a.g for a in scan.attribute if a.name == "body")
        readers = Counter(name for n in body.node for name in n.input)
        readers.update(o.name for o in body.output)
        products = {n.output[0] for n in body.node if n.op_type == "Gemm"}
        joined = [n for n in body.node if n.op_type in ("Sigmoid", "Tanh", "Relu")
                  and n.input[0] in products and readers[n.input[0]] == 1]  # fmt: skip
        out.append(len(body.node) - len(joined))
    return out


LEAN = {
    "FastGRNN": (11, 4),
    "GRU": (8, 9),
    "GRUResetAfter": (10, 10),
    "GatedAntisymmetricRNN": (9, 5),
    "JANET": (10, 5),
    "LEM": (12, 9),
    "LSTM": (10, 8),
    "LSTMCIFG": (10, 8),
    "LSTMGers": (19, 11),
    "LSTMPeephole": (6, 5),
    "MGU": (7, 11),
    "MUT1": (7, 8),
    "RHN": (19, 13),
    "UGRNN": (6, 5),
}


@pytest.mark.parametrize("name", LEAN)
def test_loops_are_lean(name: str) -> None:
    """Each node costs a third of a microsecond and more at every step: the number of them in the
    loop forward and in the one backward. Fewer are welcome, more are a slower model."""
    assert tuple(nodes(plan(name, "grad"))) == LEAN[name]


def test_terms_of_one_factor_are_collected() -> None:
    """What ``h[t-1]`` is multiplied with is added up outside, also through what the loop needs
    for something else; two terms that are needed anyway stay."""
    given = "input x[t], y[t], z[t] : [3]\nh[0] = 1\n"
    s = system(f"{given}h[t] = x[t] * h[t-1] - (y[t] * h[t-1]) * z[t] + 1")
    (loop,) = schedule(simplify(hoist(collect(simplify(s))))).loops
    assert ops(loop.body) == Counter(mul=1, add=1)
    products = "a[t] = x[t] * h[t-1]\nb[t] = y[t] * h[t-1]\n"
    s = simplify(system(f"{given}{products}h[t] = tanh(a[t] + b[t]) + a[t] * b[t]"))
    assert collect(s) is s


def test_delays_move_to_what_is_carried() -> None:
    """The loop back through a gated state carries one value, and no array is moved by a step."""
    p = plan("FastGRNN", "grad")
    backward = p.loops[1]
    assert len(backward.carried) == 1
    assert outside(p)["shift"] == 1  # h[t-1], for the gradients of weights
    # with a boundary past the end, what is delayed is not zero there: it stays
    text = "input x[t], f[t] : [3]\nh[t] = x[t] + f[t+1] * h[t+1]\nh[T+1] = 2"
    s = simplify(system(text))
    assert retime(s) is s
    s = simplify(system(text.removesuffix("\nh[T+1] = 2")))
    (loop,) = schedule(simplify(retime(s))).loops
    assert outside(schedule(simplify(retime(s))))["shift"] == 0
    assert len(loop.carried) == 1


def test_interpolations_are_short() -> None:
    text = "input x[t], y[t] : [3]\nz[t] = sigmoid(h[t-1] + x[t])\nh[t] = {}"
    for written in (
        "(1 - z[t]) * h[t-1] + z[t] * tanh(y[t])",
        "z[t] * tanh(y[t]) + h[t-1] * (1 - z[t])",
        "(1 - z[t]) * tanh(y[t]) + z[t] * h[t-1]",
    ):
        (loop,) = plan_of(text.format(written)).loops
        assert ops(loop.body) == Counter(add=2, sigmoid=1, sub=1, mul=1)
    # of a state that may be of any size, nothing might be left of what is added
    for other in ("y[t]", "tanh(y[t])\nh[0] = x[1]"):
        written = f"(1 - z[t]) * h[t-1] + z[t] * {other}"
        assert ops(plan_of(text.format(written)).loops[0].body)["mul"] == 2
    # with a gate that does not recur 1 - z is outside, and two operations are enough
    linear = "input x[t], z[t] : [3]\nh[t] = (1 - z[t]) * h[t-1] + z[t] * x[t]"
    assert ops(plan_of(linear).loops[0].body) == Counter(mul=1, add=1)


def test_one_product_for_each_activation() -> None:
    (loop,) = plan("LSTM").loops
    assert ops(loop.body)["matmul"] == 2
    assert ops(loop.body)["slice"] == 3  # f, i and o of their sigmoid
    assert ops(plan("LSTM", backend="numpy").loops[0].body)["matmul"] == 1


# ---------------------------------------------------------------- carry


@pytest.mark.parametrize("name", [n for n in SPECS if n not in ("Bidirectional", "Adding")])
def test_chunks_are_the_whole(name: str) -> None:
    """A sequence in three chunks, each starting where the one before ended."""
    whole = predicting(library(name, **SPECS[name]))
    data = data_for(name, 2, 7)
    wanted = evaluate(whole, data, lengths={"t": 7, BATCH: 2})
    carried, start = verify(carry(simplify(whole))), verify(initial(simplify(whole)))
    timed = {v.name for v in whole.inputs if "t" in v.axes}
    still = {n: a for n, a in data.items() if n not in timed}
    states = evaluate(start, still, lengths={"t": 1, BATCH: 2})
    chunks = []
    for low, high in ((0, 1), (1, 4), (4, 7)):
        part = {n: a[:, low:high] if n in timed else a for n, a in data.items()}
        for s in carried.states:
            axes = carried[s.prev].axes
            state = states[s.prev]
            if BATCH in axes and BATCH not in start.values.get(s.prev, carried[s.prev]).axes:
                state = np.broadcast_to(state, (2, *state.shape))
            part[s.prev] = state
        out = evaluate(carried, part, lengths={"t": high - low, BATCH: 2})
        states = {s.prev: out[s.next] for s in carried.states}
        start = carried
        chunks.append(out)
    for result, array in wanted.items():
        v = whole[result]
        if "t" in v.axes:
            joined = np.concatenate([c[result] for c in chunks], int(BATCH in v.axes))
        else:
            joined = chunks[-1][result]
        assert_allclose(joined, array, rtol=1e-11, atol=1e-13)


def states(text: str) -> dict[str, str | None]:
    s = carry(simplify(predicting(system(text))))
    return {s.prev: s.initial for s in s.states}


def test_states_are_named() -> None:
    carried = carry(library("LSTM"))
    assert {(s.prev, s.next, s.initial) for s in carried.states} == {
        ("h.prev", "h.next", None),
        ("c.prev", "c.next", None),
    }
    assert {"h.prev", "c.prev"} <= {v.name for v in carried.inputs}
    assert {"h.next", "c.next"} <= set(carried.results)
    assert list(states("input x[t] : [3]\nh[t] = h[t-2] + x[t-1]")) == [
        "x.prev", "h.prev", "h.prev2",
    ]  # fmt: skip
    found = states("input x[t] : [3]\nparam w : [3]\nh[t] = tanh(h[t-1] + x[t])\nh[0] = 2 * w")
    assert list(found) == ["h.prev"]
    assert found["h.prev"] is not None
    assert "t.prev" in states("input x[t] : [3]\no[t] = t * x[t]")
    assert set(states("input x[t] : [3]\no[t] = x[t] - x[1]")) == {"t.prev", "x.first.prev"}


@pytest.mark.parametrize(
    ("equation", "why"),
    [
        ("h[t] = h[t+1] + s[t]", "a later step"),
        ("h[t] = s[t+1]", "a later step"),
        ("h[t] = s[t] / T", "the number of all steps"),
        ("h[t] = s[t] - mean[t](s[t])", "all steps"),
        ("h[t] = softmax[t](s[t])", "all steps"),
        ("h[t] = s[t] - s[T]", "the last one"),
        ("h[t] = s[t] - s[2]", r"s\[2\]"),
        ("h[t] = h[t-1] + s[t]\nh[0] = s[1]", "initial state"),
    ],
)
def test_what_looks_ahead(equation: str, why: str) -> None:
    spec = rnnc.parse(f"model M\ninput s[t] : []\n{equation}")
    with pytest.raises(rnnc.SpecError, match=why) as e:
        spec.stream(weights={})
    assert [d.code for d in e.value.diagnostics] == ["RNN042"]


def test_one_step_has_no_axis() -> None:
    for name in ("LSTM", "ClockworkRNN", "CharLSTM", "QRNN", "PhasedLSTM"):
        step = final(name, "step", **SPECS[name])
        assert all(set(v.axes) <= {BATCH} for v in step.values.values()), name
        assert set(step.axes) == {BATCH}
        assert schedule(step).loops == ()
    stepped = one_step(carry(library("LSTM")), "t")
    assert set(stepped.axes) == {BATCH}


def test_init_gives_all_states() -> None:
    for name in SPECS:
        if name in ("Bidirectional",):
            continue
        start, step = (final(name, mode, **SPECS[name]) for mode in ("init", "step"))
        assert set(start.outputs) == {s.prev for s in step.states}, name
        assert all(set(v.axes) <= {BATCH} for v in start.values.values())


# ---------------------------------------------------------------- unroll


def test_unrolled_has_no_axis_but_at_its_edges() -> None:
    for name in ("LSTM", "Bidirectional", "ClockworkRNN"):
        s = compiler.final(rnnc.load(name, **SPECS[name]).bound, Options(unroll=4))
        assert schedule(s).loops == ()
        timed = {v.op for v in s.values.values() if "t" in v.axes}
        assert timed <= {"input", "stack"}
        assert s.axes["t"].size == 4


def test_conditions_on_the_step_fold() -> None:
    s = compiler.final(rnnc.load("ClockworkRNN", **SPECS["ClockworkRNN"]).bound, Options(unroll=4))
    found = Counter(v.op for v in s.values.values())
    assert found["mod"] == found["eq"] == found["step"] == 0
    s = compiler.final(rnnc.load("OneToNFirst", **SPECS["Elman"]).bound, Options(unroll=4))
    found = Counter(v.op for v in s.values.values())
    assert found["eq"] == found["step"] == 0
    assert found["where"] <= 1  # where(False, u, 0), since 0 alone is no vector


def test_a_clock_that_rests_costs_nothing() -> None:
    """Where no module of a fixed period ticks, the state is the state before."""
    s = system("input x[t] : [3]\nh[t] = where((t - 1) % 2 == 0, tanh(h[t-1] + x[t]), h[t-1])\n"
               "output h")  # fmt: skip
    s = simplify(unroll(s, 4))
    assert Counter(v.op for v in s.values.values())["tanh"] == 2


# ---------------------------------------------------------------- verify


def broken(change: Callable[[Value], Value], name: str = "h") -> System:
    s = GOOD
    return s.with_values({n: change(v) if n == name else v for n, v in s.values.items()})


GOOD = system(
    """
    input x[t] : [3]
    input z : [3]
    input k[t] : index(3)
    param W : [3, 3], w : [3]
    h[t] = tanh(W h[t-1] + x[t])
    h[0] = z
    m = sum[t](x[t])
    c = tanh(w)
    e[t] = c
    n[t] = t
    output h, m, e, n
    """
)
T1 = Read("h", (("t", Index("t", -1)),))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (replace(GOOD, outputs=("nothing",)), "result nothing has no value"),
        (GOOD.with_values({**GOOD.values, "other": GOOD["h"]}), "h is stored as other"),
        (broken(lambda v: replace(v, op="tan")), "unknown operation"),
        (broken(lambda v: replace(v, axes=(BATCH, "t"))), "are not in order"),
        (broken(lambda v: replace(v, reads=(Read("y"),))), "reads y, which does not exist"),
        (broken(lambda v: replace(v, bounds=(Bound("t", Index(FIRST, -1), Read("y")),))),
         "reads y, which does not exist"),
        (broken(lambda v: replace(v, reads=(read("z", {"t": Index("t", -1)}),))),
         "reads z along t, which it does not have"),
        (broken(lambda v: replace(v, reads=(read("x", {"t": Index("u")}),))), "reads x at"),
        (broken(lambda v: replace(v, reads=(read("x", {BATCH: Index(BATCH, -1)}),))),
         "reads x at"),
        (broken(lambda v: replace(v, type=Type("real", (4,))), "c"), r"its type is \[4\]"),
        (broken(lambda v: replace(v, type=Type("index", (3,))), "c"), "its type is index"),
        (broken(lambda v: replace(v, reads=(*v.reads, *v.reads))), "takes 1 operand"),
        (broken(lambda v: replace(v, reads=(Read("k"),))), "tanh does not take"),
        (broken(lambda v: replace(v, axes=("t",)), "c"), "varies over"),
        (broken(lambda v: replace(v, axes=()), "m"), "varies over"),
        (broken(lambda v: replace(v, reads=(Read("z"),), axes=(BATCH,)), "m"), "reduces over"),
        (broken(lambda v: replace(v, reads=(Read("x"),)), "e"), "varies over"),
        (broken(lambda v: replace(v, op="stack", attrs=(("axis", "t"),), reads=(Read("z"),),
                                  axes=("t",)), "e"), "a stack over"),
        (broken(lambda v: replace(v, op="step", attrs=(("axis", "t"),), reads=(),
                                  axes=("t", BATCH)), "n"), "a leaf over|its type"),
        (broken(lambda v: replace(v, bounds=(Bound("u", Index(FIRST, -1), Read("z")),))),
         "a boundary of no axis"),
        (broken(lambda v: replace(v, bounds=(Bound("t", Index("t", -1), Read("z")),))),
         "a boundary of no axis"),
        (broken(lambda v: replace(v, bounds=(Bound("t", Index(FIRST, -1), Read("k")),))),
         "of another kind"),
        (broken(lambda v: replace(v, bounds=(Bound("t", Index(FIRST, -1), Read("W")),))),
         "of another shape"),
        (broken(lambda v: replace(v, bounds=(Bound("t", Index(FIRST, -1), Read("z")),)), "e"),
         "has axes of its own"),
    ],
)  # fmt: skip
def test_verify(wrong: System, message: str) -> None:
    assert verify(GOOD) is GOOD
    with pytest.raises(rnnc.InternalError, match=message):
        verify(wrong)


# ---------------------------------------------------------------- the same text every time


STAGES = """
import hashlib, sys
import rnnc
from rnnc import compiler
from rnnc.compiler import Options
from rnnc.passes.plan import show_plan
from rnnc.passes.retime import retime
from rnnc.passes.schedule import schedule
for name, sizes in (("LSTM", {}), ("GRUConcat", {}), ("Bidirectional", {}), ("RWKV4", {}),
                    ("ClockworkRNN", {})):
    spec = rnnc.load(name, **sizes)
    found = [str(spec)]
    for mode in ("predict", "step", "init"):
        if name == "Bidirectional" and mode != "predict":
            continue
        for backend in ("numpy", "onnx"):
            for unroll in (None, 3):
                if unroll and mode != "predict":
                    continue
                final = compiler.final(spec.bound, Options(mode, unroll, backend=backend))
                found.append(show_plan(schedule(final)))
                model = spec.compile(backend, mode=mode, unroll=unroll)
                found.append(model.source if backend == "numpy" else model._bytes.hex())
    print(name, hashlib.sha256("".join(found).encode()).hexdigest())
"""


def test_the_same_text_in_every_process() -> None:
    """Sets have another order in each process, and nothing may depend on it."""
    root = Path(__file__).parent.parent
    found = []
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)}
        run = subprocess.run([sys.executable, "-c", STAGES], env=env, capture_output=True,
                             text=True, check=True)  # fmt: skip
        found.append(run.stdout)
    assert found[0] == found[1]
    assert len(found[0].splitlines()) == 5


@pytest.mark.parametrize("name", SPECS)
def test_the_same_text_twice(name: str) -> None:
    digests = []
    for _ in range(2):
        spec = rnnc.load(name, **SPECS[name])
        s = compiler.final(spec.bound, Options())
        p = schedule(s)
        texts = [show_system(spec.system), show_plan(p), to_numpy(p)]
        texts.append(to_onnx(p).SerializeToString().hex())
        digests.append(hashlib.sha256("".join(texts).encode()).hexdigest())
    assert digests[0] == digests[1]


# ---------------------------------------------------------------- tables


# what is no operation any more when a plan is made
PORTS = {"input", "target", "param", "uniform"}
SETTLED = {"training"}
# what onnxruntime has a kernel for, and nothing else: made last, for that backend alone
KERNELS = {"native"}


def test_every_op_has_its_forms() -> None:
    assert OPS.keys() - KERNELS == DEFINED
    assert MAPS | lower._RULES.keys() | PORTS | SETTLED == OPS.keys()
    numpy_forms = numpy_ops.BINARY.keys() | numpy_ops.UNARY.keys() | numpy_ops._FORMS.keys()
    onnx_forms = onnx_ops.FORMS.keys() | {"constant"}
    same = MAPS - {"stop_gradient"}  # a copy, to a plan
    assert same <= numpy_forms
    assert same <= onnx_forms
    assert numpy_forms == onnx_forms - {"stop_gradient"}


def test_every_op_of_every_plan_has_its_forms() -> None:
    """Whatever the library needs is in the tables of both backends."""
    numpy_forms = numpy_ops.BINARY.keys() | numpy_ops.UNARY.keys() | numpy_ops._FORMS.keys()
    for name, sizes in SPECS.items():
        for mode in PIPELINES:
            if mode == "train":  # needs an optimiser
                continue
            try:
                p = plan(name, mode, **sizes)
            except rnnc.SpecError:
                continue
            inside = [s for loop in p.loops for s in loop.body]
            assert {*outside(p), *ops(inside)} <= numpy_forms


def test_modes() -> None:
    spec = rnnc.load("Elman", **SPECS["Elman"])
    with pytest.raises(rnnc.UsageError, match="no mode 'prediction'"):
        compiler.final(spec.bound, Options("prediction"))
    with pytest.raises(rnnc.UsageError, match="at least one step"):
        compiler.final(spec.bound, Options(unroll=0))
    with pytest.raises(rnnc.UsageError, match="leave unroll out"):
        compiler.final(spec.bound, Options("step", unroll=3))
    with pytest.raises(rnnc.SpecError, match="neither a loss nor a metric"):
        compiler.final(rnnc.load("LSTM").bound, Options("loss"))
    assert losses_only(spec.bound).outputs == ()
    assert not predicting(spec.bound).losses
    with pytest.raises(rnnc.SpecError, match="`n`"):
        _ = rnnc.parse("model M\ndim n\ninput x[t] : [n]\na[t] = x[t]").bound
