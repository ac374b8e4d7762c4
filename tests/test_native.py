"""Recurrences that are ONNX's LSTM, GRU or RNN: recognised in every form that they are written in,
proved, and equal in value to the loops that they replace."""

from __future__ import annotations

import os
import re
from collections import Counter

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnc
from rnnc import compiler
from rnnc.compiler import Options
from rnnc.decisions import decisions
from rnnc.passes import recognise, roles
from rnnc.passes.activations import Activation, activation_of
from rnnc.passes.recognise import verdicts
from rnnc.source import UsageError
from rnnc.testing import random_weights

EXAMPLES = int(os.environ.get("RNNC_EXAMPLES", "15"))

HEAD = """
model M
dim n = 3, m = 4
input x[t] : [n]
param W_a, W_b, W_c, W_d : [m, n]
param U_a, U_b, U_c, U_d : [m, m]
param b_a, b_b, b_c, b_d, p, q, s : [m]
"""

LSTM = """
f[t] = sigmoid(W_a x[t] + U_a h[t-1] + b_a)
i[t] = sigmoid(W_b x[t] + U_b h[t-1] + b_b)
o[t] = sigmoid(W_c x[t] + U_c h[t-1] + b_c)
g[t] = tanh(W_d x[t] + U_d h[t-1] + b_d)
c[t] = f[t] * c[t-1] + i[t] * g[t]
h[t] = o[t] * tanh(c[t])
output h
"""

GRU = """
z[t] = sigmoid(W_a x[t] + U_a h[t-1] + b_a)
r[t] = sigmoid(W_b x[t] + U_b h[t-1] + b_b)
g[t] = tanh(W_c x[t] + U_c (r[t] * h[t-1]) + b_c)
h[t] = (1 - z[t]) * g[t] + z[t] * h[t-1]
output h
"""

RNN = """
h[t] = tanh(W_a x[t] + U_a h[t-1] + b_a)
output h
"""


def changed(base: str, **lines: str) -> str:
    """A model with other equations for some values."""
    for name, right in lines.items():
        base, count = re.subn(rf"(?m)^{name}\[t\] = .*$", f"{name}[t] = {right}", base)
        assert count == 1, name
    return HEAD + base


# a model and the operator that it is
FORMS: dict[str, tuple[str, str]] = {
    # the mixture, in any order and association
    "gru": (HEAD + GRU, "GRU"),
    "gru, a difference": (changed(GRU, h="g[t] + z[t] * (h[t-1] - g[t])"), "GRU"),
    "gru, z swapped": (changed(GRU, h="h[t-1] + z[t] * (g[t] - h[t-1])"), "GRU"),
    "gru, expanded": (changed(GRU, h="g[t] - z[t] * g[t] + h[t-1] * z[t]"), "GRU"),
    "gru, a vector of ones": (
        changed(GRU, h="(repeat([1], m) - z[t]) * g[t] + z[t] * h[t-1]"), "GRU"),
    # the reset gate
    "gru, after": (changed(GRU, g="tanh(W_c x[t] + r[t] * (U_c h[t-1] + b_d) + b_c)"), "GRU"),
    "gru, after, no bias": (changed(GRU, g="tanh(W_c x[t] + U_c h[t-1] * r[t])"), "GRU"),
    "gru, expanded after": (
        changed(GRU, g="tanh(r[t] * b_d + W_c x[t] + (U_c h[t-1]) * r[t] + b_c)"), "GRU"),
    "gru, 1 - r": (changed(GRU, g="tanh(W_c x[t] + U_c ((1 - r[t]) * h[t-1]) + b_c)"), "GRU"),
    "gru, h - r h": (changed(GRU, g="tanh(W_c x[t] + U_c (h[t-1] - r[t] * h[t-1]) + b_c)"), "GRU"),
    "gru, one gate twice": (changed(GRU, g="tanh(W_c x[t] + U_c (z[t] * h[t-1]) + b_c)"), "GRU"),
    "gru, no reset": (changed(GRU, g="tanh(W_c x[t] + U_c h[t-1] + b_c)"), "GRU"),
    "gru, a minus": (changed(GRU, g="tanh(W_c x[t] - U_c (r[t] * h[t-1]))"), "GRU"),
    "gru, joined": (
        changed(GRU, g="tanh(V [r[t] * h[t-1], x[t]])") + "param V : [m, m + n]", "GRU"),
    # cells
    "lstm": (HEAD + LSTM, "LSTM"),
    "lstm, coupled": (changed(LSTM, c="f[t] * c[t-1] + (1 - f[t]) * g[t]"), "LSTM"),
    "lstm, coupled, a difference": (changed(LSTM, c="g[t] + f[t] * (c[t-1] - g[t])"), "LSTM"),
    "lstm, no forget gate": (changed(LSTM, c="c[t-1] + i[t] * g[t]"), "LSTM"),
    "lstm, gates of relu, none forgets": (
        changed(
            LSTM.replace("sigmoid", "relu"),
            c="c[t-1] + i[t] * g[t]"), "LSTM"),
    "lstm, no input gate": (changed(LSTM, c="f[t] * c[t-1] + g[t]"), "LSTM"),
    "lstm, no output gate": (changed(LSTM, h="tanh(c[t])"), "LSTM"),
    "lstm, no tanh of c": (changed(LSTM, h="c[t] * o[t]"), "LSTM"),
    "lstm, no biases": (re.sub(r" \+ b_.\)", ")", HEAD + LSTM), "LSTM"),
    "lstm, peepholes": (
        changed(
            LSTM,
            f="sigmoid(p * c[t-1] + W_a x[t] + U_a h[t-1] + b_a)",
            i="sigmoid(W_b x[t] + c[t-1] * q + U_b h[t-1] + b_b)",
            o="sigmoid(W_c x[t] + U_c h[t-1] + s * c[t] + b_c)",
        ), "LSTM"),
    "lstm, one peephole": (changed(LSTM, o="sigmoid(W_c x[t] + U_c h[t-1] - 0.5 * c[t])"), "LSTM"),
    "lstm, scaled": (
        changed(LSTM, g="4 * sigmoid(W_d x[t] + U_d h[t-1]) - 2",
                h="o[t] * (2 * sigmoid(c[t]) - 1)"), "LSTM"),
    # what stands before a state
    "a sum of matrices": (changed(RNN, h="tanh(W_a x[t] + (U_a + 2 * U_b) h[t-1])"), "RNN"),
    "a product of matrices": (changed(RNN, h="tanh(W_a x[t] + U_a (U_b h[t-1]) + b_a)"), "RNN"),
    "a turned matrix": (changed(RNN, h="tanh(W_a x[t] + U_a.T h[t-1] + b_a)"), "RNN"),
    "a scaled state": (changed(RNN, h="tanh(W_a x[t] + U_a (p * h[t-1]) * q + b_a)"), "RNN"),
    "two inputs": (changed(RNN, h="tanh(W_a x[t] + W_b x[t-1] + U_a h[t-1])"), "RNN"),
    "an input as it is": (
        changed(RNN, h="tanh(U_b (W_a x[t]) + U_a h[t-1] + sin(W_b x[t]))"), "RNN"),
    "no activation": (changed(RNN, h="W_a x[t] + U_a h[t-1]"), "RNN"),
    "numbers as inputs": (
        changed(
            GRU,
            z="sigmoid(W_a x[t] + p * d[t] + U_a h[t-1])",
            r="sigmoid(d[t] + U_b h[t-1])",
            g="tanh(W_c x[t] + U_c (r[t] * h[t-1]) + p * t)",
        ) + "input d[t] : []", "GRU"),
    "biases before a matrix": (
        changed(
            GRU,
            z="sigmoid(W_a x[t] + U_a (h[t-1] + p))",
            r="sigmoid(W_b x[t] + U_b (h[t-1] + 0.1))",
            g="tanh(W_c x[t] + U_c (r[t] * h[t-1] + q))",
        ), "GRU"),
    "vectors of one number": (
        changed(
            LSTM,
            i="sigmoid(W_b x[t] + U_b h[t-1] + e * c[t-1])",
            g="tanh(W_d x[t] + e * (U_d h[t-1]) + e)",
        ) + "param e : [1]", "LSTM"),
    # where it starts, and which way it goes
    "an initial state": (HEAD + RNN + "h[0] = tanh(s)", "RNN"),
    "initial states": (HEAD + LSTM + "h[0] = p\nc[0] = W_a x[1]", "LSTM"),
    "an initial number": (HEAD + LSTM + "c[0] = 0.5", "LSTM"),
    "backward": (HEAD + GRU.replace("t-1", "t+1"), "GRU"),
    "backward, an initial state": (HEAD + LSTM.replace("t-1", "t+1") + "h[T+1] = p", "LSTM"),
}  # fmt: skip


def operators(model: object) -> Counter[str]:
    graph = onnx.load_from_string(model._bytes).graph  # type: ignore[attr-defined]
    return Counter(n.op_type for n in graph.node if n.op_type in (*roles.ROLES, "Scan"))


def agrees(spec: rnnc.Spec, lengths: bool = False, **options: object) -> Counter[str]:
    """The operators of a model, the values of which are those of its loops."""
    weights = random_weights(spec, seed=2)
    rng = np.random.default_rng(4)
    x = rng.standard_normal((3, 7, 3)).astype(np.float32)
    given: dict[str, object] = {"lengths": {"t": [7, 1, 4]}} if lengths else {}
    if "d" in spec.system.values:
        given["d"] = rng.standard_normal((3, 7)).astype(np.float32)
    axes = ("t",) if lengths else ()
    settings = {"weights": weights, "lengths": axes, **options}
    loops = spec.compile("onnx", plain_loops=True, **settings)  # type: ignore[arg-type]
    model = spec.compile("onnx", **settings)  # type: ignore[arg-type]
    wanted, found = loops(x=x, **given), model(x=x, **given)
    assert wanted.keys() == found.keys()
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=3e-6, err_msg=name)
    assert not operators(loops).keys() - {"Scan"}
    return operators(model)


@pytest.fixture
def any_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators also where a loop is faster."""
    monkeypatch.setattr(recognise, "_check_cost", lambda native, target: None)


@pytest.mark.parametrize("form", FORMS)
def test_recognised(form: str, any_cost: None) -> None:
    text, kind = FORMS[form]
    spec = rnnc.parse(text)
    assert agrees(spec) == {kind: 1}
    assert agrees(spec, lengths=True) == {kind: 1}


def test_with_states_in_and_out(any_cost: None) -> None:
    """Chunks of sequences: the boundaries are inputs, the last states outputs."""
    for base in (LSTM, GRU, RNN):
        assert agrees(rnnc.parse(HEAD + base), carry=True).total() == 1


BOTH = """
model M
use LSTM
dim n = 3, m = 4
input x[t] : [n]
f[t] = LSTM(x[t]; m = m)
g[t] = LSTM(x[t]; m = m, backward)
y[t] = [f[t], g[t]]
output y
"""


@pytest.mark.parametrize("lengths", [False, True])
def test_both_directions_are_one_operator(lengths: bool) -> None:
    spec = rnnc.parse(BOTH)
    assert agrees(spec, lengths) == {"LSTM": 1}


def test_what_needs_the_other_direction_is_no_part_of_it(any_cost: None) -> None:
    """A backward recurrence whose bias is what the forward one ends with, on average."""
    text = (
        HEAD
        + RNN.replace("output h", "s_2 = mean[batch](h[T])")
        + """
    a[t] = tanh(W_b x[t] + U_b a[t+1] + s_2)
    output h, a
    """
    )
    assert agrees(rnnc.parse(text)) == {"RNN": 2}


def test_one_after_the_other_are_two() -> None:
    """A backward recurrence over the first one's states, and one that starts from its last."""
    stacked = BOTH.replace("LSTM(x[t]; m = m, backward)", "LSTM(f[t]; m = m, backward)")
    assert agrees(rnnc.parse(stacked)) == {"LSTM": 2}
    started = (
        HEAD
        + GRU.replace("output h", "")
        + """
    a[t] = tanh(W_a x[t] + U_d a[t+1])
    a[T+1] = h[T]
    output a, h
    """
    )
    assert agrees(rnnc.parse(started))["GRU"] == 1


def test_the_last_states_alone() -> None:
    """``h[T]`` and ``c[T]`` are results of the operator; with lengths each sequence's own."""
    text = HEAD + LSTM.replace("output h", "a = h[T]\nb = c[T]\noutput a, b")
    spec = rnnc.parse(text)
    assert agrees(spec) == {"LSTM": 1}
    assert agrees(spec, lengths=True) == {"LSTM": 1}
    model = spec.compile("onnx", weights=spec.init())
    (node,) = (n for n in onnx.load_from_string(model._bytes).graph.node if n.op_type == "LSTM")
    assert [bool(name) for name in node.output] == [False, True, True]  # no array of all steps


def test_the_step_before_is_read_outside(any_cost: None) -> None:
    spec = rnnc.parse(HEAD + RNN.replace("output h", "y[t] = h[t-1]\nh[0] = s\noutput y"))
    assert agrees(spec) == {"RNN": 1}


def test_constant_gates_are_exact() -> None:
    """A gate held open is 1 to the last bit, over thousands of steps."""
    spec = rnnc.parse(changed(LSTM, c="c[t-1] + i[t] * g[t]"))
    weights = {name: np.zeros_like(w) for name, w in spec.init().items()}
    model = spec.compile("onnx", weights=weights, outputs=("h",))
    assert operators(model) == {"LSTM": 1}
    start = rnnc.parse(changed(LSTM, c="c[t-1] + i[t] * g[t]") + "c[0] = p")
    weights["p"] = np.ones(4, np.float32)
    found = start.compile("onnx", weights=weights)(x=np.zeros((1, 4000, 3), np.float32))["h"]
    assert (found == found[0, 0, 0]).all()


def test_weights_as_inputs() -> None:
    """What a model does not hold is packed in the graph."""
    spec = rnnc.parse(HEAD + LSTM)
    weights = random_weights(spec, seed=3)
    x = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
    held = spec.compile("onnx", weights=weights)
    given = spec.compile("onnx")
    assert operators(given) == {"LSTM": 1}
    np.testing.assert_allclose(given(x=x, weights=weights)["h"], held(x=x)["h"], atol=1e-6)


def test_packed_weights_are_stored() -> None:
    """A model that holds its weights holds them as the operator wants them, and nothing else."""
    spec = rnnc.parse(HEAD + GRU)
    graph = onnx.load_from_string(spec.compile("onnx", weights=spec.init())._bytes).graph
    shapes = {tuple(i.dims) for i in graph.initializer if len(i.dims) > 1}
    assert shapes == {(1, 12, 3), (1, 12, 4), (1, 24)}
    assert {n.op_type for n in graph.node} == {"Transpose", "GRU", "Squeeze"}


# ---------------------------------------------------------------- activations

ACTIVATIONS = {
    "sigmoid({})": Activation("Sigmoid"),
    "tanh({})": Activation("Tanh"),
    "relu({})": Activation("Relu"),
    "softplus({})": Activation("Softplus"),
    "elu({})": Activation("Elu", 1.0),
    "hardsigmoid({})": Activation("HardSigmoid", 0.2, 0.5),
    "{0} / (1 + abs({0}))": Activation("Softsign"),
    "max({0}, 0.01 * {0})": Activation("LeakyRelu", 0.01),
    "where({0} > 0.5, {0}, 0)": Activation("ThresholdedRelu", 0.5),
    "1.7159 * tanh(0.6666 * {0})": Activation("ScaledTanh", 1.7159, 0.6666),
    "2 * sigmoid({0}) - 1": Activation("ScaledTanh", 1.0, 0.5),
}


@pytest.mark.parametrize("text", ACTIVATIONS)
def test_activations(text: str, any_cost: None) -> None:
    """Each of the operators' activations, as a candidate and of a plain recurrence."""
    wanted = ACTIVATIONS[text]
    right = text.format("(W_d x[t] + U_d h[t-1] + b_d)")
    spec = rnnc.parse(changed(LSTM, g=right))
    (verdict,) = verdicts(compiler.rolled(spec.bound, Options()))
    assert verdict.native is not None, verdict.reason
    found = verdict.native.activations[1]
    assert found.name == wanted.name
    for mine, other in ((found.alpha, wanted.alpha), (found.beta, wanted.beta)):
        assert mine == (None if other is None else pytest.approx(other, rel=1e-9))
    assert agrees(spec) == {"LSTM": 1}
    assert agrees(rnnc.parse(changed(RNN, h=right.replace("_d", "_a")))) == {"RNN": 1}


def test_functions_that_are_no_activations() -> None:
    for f in (
        np.sin,
        np.square,
        lambda x: np.maximum(x, 0.1),
        lambda x: np.tanh(x) ** 3,
        lambda x: np.clip(x, -50, 50),
        lambda x: np.clip(x, 0, 50),
        lambda x: np.where(np.abs(x) < 1e-4, 0, x),
    ):
        assert activation_of(f) is None


# ---------------------------------------------------------------- near misses

MISSES = {
    "z and h": (changed(GRU, h="(1 - z[t]) * g[t] + z[t] * g[t-1]"), "`h[t]` is no o * tanh(g)"),
    "a gate of the input alone": (
        changed(GRU, z="sigmoid(W_a x[t] + b_a)"), "`z[t]` does not read `h[t-1]`"),
    "a full peephole": (
        changed(LSTM, f="sigmoid(W_a x[t] + U_b c[t-1] + b_a)"),
        "`f[t]` reads `c[t-1]` through a full matrix"),
    "the wrong step of a peephole": (
        changed(LSTM, o="sigmoid(W_c x[t] + U_c h[t-1] + s * c[t-1])"),
        "`o[t]` reads `c[t-1]`; the operator's gate there sees `c[t]`"),
    "a peephole of the candidate": (
        changed(LSTM, g="tanh(W_d x[t] + U_d h[t-1] + p * c[t-1])"), "reads `c[t-1]`"),
    "different gates": (
        changed(LSTM, f="relu(W_a x[t] + U_a h[t-1])"), "its gates have different activations"),
    "different gates of a GRU": (
        changed(GRU, r="tanh(W_b x[t] + U_b h[t-1])"), "have different activations"),
    "a gate inside a gate": (
        changed(GRU, r="sigmoid(W_b x[t] + U_b (z[t] * h[t-1]))"), "`r[t]` has the gate `z[t]`"),
    "a reset of the input": (
        changed(GRU, g="tanh(r[t] * (W_c x[t]) + U_c h[t-1])"), "g[t]"),
    "half of the state": (
        changed(GRU, g="tanh(W_c x[t] + U_c (r[t] * h[t-1]) + U_d h[t-1])"), "without it"),
    "another function": (changed(RNN, h="sin(W_a x[t] + U_a h[t-1])"), "h[t]"),
    "two steps back": (changed(RNN, h="tanh(W_a x[t] + U_a h[t-2])"), "2 steps back"),
    "a gate is wanted": (HEAD + LSTM.replace("output h", "output h, f"), "with --outputs h"),
    "the cell is wanted": (
        HEAD + LSTM.replace("output h", "output h, c"),
        "`c` is wanted at all steps, and the operator gives the last one alone "
        "(with --outputs h it is an LSTM)"),
    "inputs without a matrix": (
        changed(
            LSTM, f="sigmoid(sin(W_a x[t]) + U_a h[t-1])", i="sigmoid(sin(W_b x[t]) + U_b h[t-1])"),
        "is added to the gates as it is"),
    "noise on the state": (
        changed(RNN, h="tanh(W_a x[t] + U_a (h[t-1] * sin(W_b x[t])))"), "h[t]"),
    "entry by entry": (changed(RNN, h="tanh(W_a x[t] + p * h[t-1])"), "entry by entry"),
}  # fmt: skip


@pytest.mark.parametrize("miss", MISSES)
def test_near_misses_say_what_prevents_them(miss: str, any_cost: None) -> None:
    text, reason = MISSES[miss]
    spec = rnnc.parse(text)
    (verdict,) = verdicts(compiler.rolled(spec.bound, Options()))
    assert verdict.native is None
    assert reason in verdict.reason
    assert agrees(spec) == {"Scan": 1}


def test_a_match_is_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the weights were packed wrongly, the numbers would tell."""
    monkeypatch.setitem(roles.ROLES, "GRU", ("r", "z", "n"))
    spec = rnnc.parse(HEAD + GRU)
    (verdict,) = verdicts(compiler.rolled(spec.bound, Options()))
    assert verdict.native is None
    assert "numbers" in verdict.reason


# ---------------------------------------------------------------- what is taken, and where


@pytest.mark.parametrize(
    ("form", "takes"),
    [
        ("lstm", "cpu cuda web any"),
        ("lstm, peepholes", "cpu web"),
        ("lstm, no tanh of c", "cpu web"),
        ("gru", "cpu web"),
        ("gru, after", "cpu cuda web any"),
        ("a turned matrix", "cuda any"),
    ],
)
def test_targets(form: str, takes: str) -> None:
    spec = rnnc.parse(FORMS[form][0])
    for target in recognise.TARGETS:
        taken = operators(spec.compile("onnx", target=target)) == {FORMS[form][1]: 1}
        assert taken == (target in takes.split()), target


def test_never_in_training_graphs_nor_of_float64() -> None:
    spec = rnnc.parse(HEAD + LSTM)
    for mode in ("grad", "step"):
        assert not operators(spec.compile("onnx", mode=mode)).keys() - {"Scan"}
    assert operators(spec.compile("onnx", dtype="float64")) == {"Scan": 1}
    assert operators(spec.compile("onnx", unroll=3)) == {}
    with pytest.raises(UsageError, match="no target 'gpu'; there are: cpu, cuda, web, any"):
        spec.compile("onnx", target="gpu")


@pytest.mark.parametrize("opset", [13, 14, 21])
def test_opsets(opset: int) -> None:
    """LSTM has one more attribute from 14 on; everything around it has to be there, too."""
    assert agrees(rnnc.parse(BOTH), lengths=True, opset=opset) == {"LSTM": 1}


def test_outputs() -> None:
    spec = rnnc.load("LSTM", n=3, m=4)
    assert operators(spec.compile("onnx")) == {"Scan": 1}
    model = spec.compile("onnx", outputs=("h",))
    assert operators(model) == {"LSTM": 1}
    assert [p.name for p in model.ports.outputs] == ["h"]
    gates = spec.compile("numpy", outputs=("f", "i"), weights=spec.init())
    assert gates(x=np.zeros((1, 2, 3), np.float32)).keys() == {"f", "i"}
    with pytest.raises(UsageError, match="LSTM computes no forget that it could give"):
        spec.compile("onnx", outputs=("forget",))
    with pytest.raises(UsageError, match="x is an input of LSTM"):
        spec.compile("onnx", outputs=("x",))


LIBRARY = {
    "GRU": "GRU",
    "GRUBias": "GRU",
    "GRUConcat": "GRU",
    "GRUResetAfter": "GRU",
    "GRUClassifier": "GRU",
    "MUT2": "GRU",
    "MGU": "GRU",
    "UGRNN": "GRU",
    "BidirectionalGRU": "GRU",
    "ElmanCell": "RNN",
    "IRNN": "RNN",
    "Elman": "RNN",
    "Bidirectional": "RNN",
    "OneToNFirst": "RNN",
    "OneToNEvery": "RNN",
    "NToOne": "RNN",
    "Seq2SeqEvery": "GRU,GRU",
    "ContextLast": "RNN,RNN",
    "Seq2Seq": "LSTM,LSTM",
    "Tagger": "LSTM",
    "LSTMClassifier": "LSTM",
    "LSTMSigmoid": "LSTM",
    "DeepLSTM": "LSTM,LSTM,LSTM",
    "Captioner": "LSTM",
    "BahdanauAttention": "GRU,Scan",
    "LuongGeneral": "LSTM,Scan",
    "SentenceMean": "LSTM",
}


@pytest.mark.parametrize("name", LIBRARY)
def test_the_library(name: str, any_cost: None) -> None:
    spec = rnnc.load(name)
    assert operators(spec.compile("onnx")) == Counter(LIBRARY[name].split(","))


# ---------------------------------------------------------------- written at random


def added(draw: st.DrawFn, terms: list[str], signs: bool = True) -> str:
    """A sum in any order and association, its signs perhaps written twice. (Not of what is read
    twice: a sign taken outwards for one reader alone leaves two values.)"""
    order = list(draw(st.permutations(terms)))
    while len(order) > 1:
        i = draw(st.integers(0, len(order) - 2))
        a, b = order[i], order.pop(i + 1)
        forms = [f"({a} + {b})", f"({a} - (-{b}))", f"(-(-{a} - {b}))"]
        order[i] = draw(st.sampled_from(forms if signs else forms[:2]))
    return order[0]


def argument(draw: st.DrawFn, gate: str, state: str = "h[t-1]", extra: str = "") -> str:
    product = draw(st.sampled_from([f"U_{gate} {state}", f"(2 * U_{gate}) (0.5 * {state})",
                                    f"(U_{gate}.T).T {state}"]))  # fmt: skip
    terms = [f"W_{gate} x[t]", f"({product})", *([extra] if extra else [])]
    if draw(st.booleans()):
        terms.append(f"b_{gate}")
    return added(draw, terms)


def sigmoid(draw: st.DrawFn, a: str) -> str:
    forms = [f"sigmoid({a})", f"(1 - sigmoid(-{a}))", f"(0.5 + 0.5 * tanh(0.5 * {a}))"]
    return draw(st.sampled_from(forms))


def tanh(draw: st.DrawFn, a: str) -> str:
    return draw(st.sampled_from([f"tanh({a})", f"(-tanh(-{a}))", f"(2 * sigmoid(2 * {a}) - 1)"]))


def mixed(draw: st.DrawFn, gate: str, new: str, old: str) -> str:
    """``gate * old + (1 - gate) * new``"""
    return draw(st.sampled_from([
        added(draw, [f"({gate} * {old})", f"((1 - {gate}) * {new})"], signs=False),
        added(draw, [new, f"({gate} * ({old} - {new}))"], signs=False),
        added(draw, [old, f"((1 - {gate}) * ({new} - {old}))"], signs=False),
        added(draw, [new, f"({gate} * {old})", f"(-{gate} * {new})"], signs=False),
    ]))  # fmt: skip


@st.composite
def grus(draw: st.DrawFn) -> str:
    before = draw(st.booleans())
    candidate = (
        argument(draw, "c", "(r[t] * h[t-1])")
        if before
        else added(draw, ["W_c x[t]", "b_c", f"(r[t] * {added(draw, ['(U_c h[t-1])', 'b_d'])})"])
    )
    return (
        HEAD
        + f"""
r[t] = {sigmoid(draw, argument(draw, "a"))}
z[t] = {sigmoid(draw, argument(draw, "b"))}
g[t] = {tanh(draw, candidate)}
h[t] = {mixed(draw, "z[t]", "g[t]", "h[t-1]")}
output h
"""
    )


@st.composite
def lstms(draw: st.DrawFn) -> str:
    i, f, o = (draw(st.sampled_from(["", f"({p} * c[{step}])"])) for p, step in
               (("p", "t-1"), ("q", "t-1"), ("s", "t")))  # fmt: skip
    cell = draw(st.sampled_from([
        added(draw, ["(i[t] * g[t])", "(c[t-1] * f[t])"], signs=False),
        mixed(draw, "f[t]", "g[t]", "c[t-1]"),
    ]))  # fmt: skip
    return (
        HEAD
        + f"""
i[t] = {sigmoid(draw, argument(draw, "a", extra=i))}
f[t] = {sigmoid(draw, argument(draw, "b", extra=f))}
o[t] = {sigmoid(draw, argument(draw, "c", extra=o))}
g[t] = {tanh(draw, argument(draw, "d"))}
c[t] = {cell}
h[t] = {draw(st.sampled_from(["o[t] * tanh(c[t])", "tanh(c[t]) * o[t]"]))}
output h
"""
    )


@settings(max_examples=EXAMPLES, deadline=None)
@given(text=st.one_of(grus(), lstms()))
def test_however_it_is_written(text: str) -> None:
    spec = rnnc.parse(text)
    assert agrees(spec).keys() <= {"GRU", "LSTM"}


# ---------------------------------------------------------------- told


def told(spec: rnnc.Spec, **options: object) -> list[str]:
    made = Options(**{"target": "cpu", **options})  # type: ignore[arg-type]
    return [line for d in decisions(compiler.rolled(spec.bound, made), made) for line in d.lines]


def test_what_decided_is_told() -> None:
    (form, why) = told(rnnc.parse(HEAD + GRU))
    assert form == "form: the operator GRU"
    assert why.startswith("what decided it: z = `z[t]`, r = `r[t]`, n = `g[t]`")
    assert told(rnnc.parse(HEAD + GRU), target=None) == [
        "no operator: onnxruntime has none of float64"
    ]
    assert told(rnnc.parse(HEAD + GRU), plain_loops=True) == [
        "a loop, as plain loops were asked for"
    ]
    assert told(rnnc.parse(HEAD + GRU), mode="grad") == []
    assert told(rnnc.load("MinGRU"))[0].startswith("form: in blocks of steps side by side")
    (near,) = told(rnnc.parse(HEAD + "h[t] = p * h[t-1] + W_a x[t]\noutput h"), target=None,
                   backend="numpy")  # fmt: skip
    assert "keeps `p` from being larger than 1" in near


def test_a_sigmoid_by_its_definition() -> None:
    """It is the operator's gate, and in a loop one operation of stacked gates."""
    text = HEAD + GRU.replace("sigmoid(W_a x[t] + U_a h[t-1] + b_a)",
                              "1 / (1 + exp(-(W_a x[t] + U_a h[t-1] + b_a)))")  # fmt: skip
    assert agrees(rnnc.parse(text)) == {"GRU": 1}
    assert agrees(rnnc.parse(text.replace("exp(-(", "exp(-1 * (")))["GRU"] == 1
