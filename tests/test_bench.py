"""``rnnc bench``, and what it rests on: peers' source, costs, timing in turns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import rnnc
from rnnc import compiler
from rnnc.backends import numpy_ops
from rnnc.bench import forms as forms_module
from rnnc.bench import peer_source as peers
from rnnc.bench.cost import Cost, step_cost, whole_cost
from rnnc.bench.forms import Case, case, disagreement
from rnnc.bench.timing import Times, format_seconds, measure
from rnnc.cli import main
from rnnc.compiler import Options
from rnnc.source import UsageError
from rnnc.testing import relative_error
from rnnc.testing.alone import by_axis

SMALL = ["--set", "n=3", "--set", "m=4", "--steps", "5", "--rounds", "2"]


def bench(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr, as if torch and JAX were not installed."""
    code = main(["bench", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms_module, "find_spec", lambda name: None)


# ---------------------------------------------------------------- the command


def test_a_table_of_all_forms(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = bench(capsys, "LSTMPeephole", *SMALL, "--batch", "2")
    assert code == 0
    head, machine, _, *lines = out.splitlines()
    assert head == (
        "LSTMPeephole  (LSTMPeephole)  with n = 3, m = 4, batch = 2, T = 5; float32, 1 thread"
    )
    assert "CPUs" in machine
    assert "onnxruntime" in machine
    names = [line.rsplit(maxsplit=4)[0] for line in lines if line.endswith(("e+00", "e-07"))]
    assert set(names) >= {"ONNX", "ONNX, unrolled", "ONNX, step by step", "NumPy"}
    assert "PyTorch" not in out
    assert [line.split()[0] for line in lines if "median" in line] == ["outputs", "gradients"]
    assert any(line.startswith("a step of t: ") for line in lines)


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = bench(
        capsys, "GRUClassifier", *("--set", "vocab=7", "--set", "d=2", "--set", "m=4"),
        *("--set", "k=3", "--steps", "T=5", "--rounds", "2", "--dtype", "float64"),
        *("--mode", "train", "--mode", "loss", "--format", "json"),
    )  # fmt: skip
    assert code == 0
    data = json.loads(out)
    assert data["model"] == "GRUClassifier"
    assert data["steps"] == {"t": 5}
    assert data["dtype"] == "float64"
    by_mode = {m: [r for r in data["results"] if r["mode"] == m] for m in ("train", "loss")}
    for rows in by_mode.values():
        first, *others = rows
        assert first["form"] == "ONNX"
        assert first["ratio"] == 1
        assert {r["form"] for r in others} >= {"ONNX, unrolled", "NumPy"}
        assert all(r["seconds"] >= r["fastest"] > 0 and r["error"] < 1e-8 for r in rows)
    assert [c["of"] for c in data["costs"]] == [
        "a step of t",
        "a step of t",
        "in all",
        "a step of t",
        "in all",
    ]


def test_sequences_of_several_lengths(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = bench(
        capsys, "GRU", *SMALL, "--batch", "4", "--lengths", "t", "--format", "json"
    )
    assert code == 0
    data = json.loads(out)
    longest, *others = data["lengths"]["t"]
    assert longest == 5
    assert len(others) == 3
    assert min(others) < 5
    forms = {m: [r["form"] for r in data["results"] if r["mode"] == m] for m in ("predict", "grad")}
    assert forms["predict"] == ["ONNX", "ONNX, plain loop", "ONNX, unrolled", "NumPy"]
    assert forms["grad"] == ["ONNX", "ONNX, unrolled", "NumPy"]


def test_values_and_memory(capsys: pytest.CaptureFixture[str]) -> None:
    """Other values than the model's outputs; gradients in segments beside the others."""
    code, out, _ = bench(
        capsys, "LSTM", *SMALL, "--outputs", "f,c", "--memory", "low", "--format", "json"
    )
    assert code == 0
    forms = [r["form"] for r in json.loads(out)["results"] if "segments" in r["form"]]
    assert forms == ["ONNX, in segments", "NumPy, in segments"]
    one = case(rnnc.load("LSTM", n=3, m=4), "predict", batch=1, steps=3, outputs=("f", "c"))
    assert [p.name for p in one.model.ports.outputs] == ["f", "c"]
    stepwise = one.stepwise()
    assert stepwise is not None
    assert stepwise().keys() == {"f", "c"}


def test_models_of_all_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    """One that looks ahead has no step, one of two axes no unrolled form; one without outputs has
    gradients alone, one without parameters none."""
    sizes = ["--steps", "4", "--rounds", "1", "--format", "json"]
    found = {}
    for name in ("Bidirectional", "MDRNN"):
        code, out, _ = bench(capsys, name, "--set", "n=2", "--set", "m=3", "--set", "k=2", *sizes)
        assert code == 0
        found[name] = [r["form"] for r in json.loads(out)["results"]]
    assert "ONNX, step by step" not in found["Bidirectional"]
    assert "ONNX, unrolled" in found["Bidirectional"]
    assert "ONNX, unrolled" not in found["MDRNN"]


def test_without_parameters(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    file = tmp_path / "sum.rnn"
    file.write_text("model Sum\ninput x[t] : [2]\ns[t] = s[t-1] + x[t]\noutput s\n")
    code, out, _ = bench(capsys, str(file), "--rounds", "1", "--steps", "3", "--format", "json")
    assert code == 0
    assert {r["mode"] for r in json.loads(out)["results"]} == {"predict"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["LSTM", "--steps", "ten"], 2, "--steps ten: a number of steps, such as 100 or T=100"),
        (["LSTM", "--steps", "0"], 2, "--steps 0: a number of steps"),
        (["LSTM", "--steps", "T=4", "--steps", "5"], 2, "a number alone is for all axes"),
        (["LSTM", "--steps", "S=4"], 2, "steps say nothing of t, which has T steps"),
        (["LSTM", "--mode", "guess"], 2, "'guess' is not one of"),
        (["LSTM", "--batch", "0"], 2, "0 is not in the range"),
        (["LSTM", "--threads", "0"], 2, "0 is not in the range"),
        (["LSTM", "--mode", "loss"], 1, "has neither a loss nor a metric"),
        (["LSTM", "--lengths", "s"], 2, "LSTM has no axis s; it has: t"),
        (["LSTM", "--outputs", "q"], 2, "LSTM computes no q that it could give"),
        (["LSTM", "--mode", "loss", "--memory", "low"], 2, "--memory low is for the modes grad"),
        (["NoSuchModel"], 2, "NoSuchModel"),
    ],
)
def test_wrong_options(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, out, err = bench(capsys, *arguments)
    assert (found, out) == (code, "")
    assert message in err


def test_open_sizes(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    file = tmp_path / "open.rnn"
    file.write_text("model Open\ndim n\ninput x[t] : [n]\ns[t] = s[t-1] + x[t]\noutput s\n")
    code, _, err = bench(capsys, str(file))
    assert code == 1
    assert "--set n=…" in err


def test_a_form_that_disagrees_is_not_timed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Case.numpy

    def wrong(self: Case) -> Any:
        found = {name: a + 0.5 for name, a in right(self)().items()}
        return lambda: found

    monkeypatch.setattr(Case, "numpy", wrong)
    code, out, err = bench(capsys, "LSTM", *SMALL, "--mode", "predict", "--format", "json")
    assert code == 1
    assert "outputs: NumPy is off by" in err
    assert "NumPy" not in {r["form"] for r in json.loads(out)["results"]}


def test_disagreement() -> None:
    wanted = {"a": np.array([1.0, 2.0]), "b": np.array([3])}
    assert disagreement({"a": np.array([1.0, 2.0]), "c": np.array(0)}, wanted) == (0.0, "a")
    assert disagreement({"a": np.array([1.0, 1.0]), "b": np.array([3])}, wanted) == (0.5, "a")
    assert disagreement({"c": np.array(0)}, wanted)[0] == np.inf


# ---------------------------------------------------------------- peers

NUMPY: Mapping[str, Any] = {
    **{n: getattr(np, n) for n in ("exp", "log", "sqrt", "sin", "cos", "tanh", "floor", "abs")},
    **{n: getattr(np, n) for n in ("sign", "minimum", "maximum", "where", "einsum", "argmax")},
    **{n: getattr(np, n) for n in ("logical_and", "logical_or", "logical_not", "stack", "eye")},
    **{n: getattr(np, n) for n in ("broadcast_to", "concatenate", "cumsum", "sort", "zeros")},
    "arange": np.arange,
    "permute": np.transpose,
    "whole": np.asarray,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.logaddexp(0, x),
    "relu": lambda x: np.maximum(x, 0),
    "real": lambda x: x.astype(float),
    "onehot": lambda x, n: np.eye(n)[x],
    "sum": lambda x, dims, keep: np.sum(x, dims, keepdims=keep),
    "max": lambda x, dims, keep: np.max(x, dims, keepdims=keep),
    "min": lambda x, dims, keep: np.min(x, dims, keepdims=keep),
    "softmax": lambda x, dim: np.exp(x) / np.exp(x).sum(dim, keepdims=True),
    "take_along": lambda x, at: np.take_along_axis(x, at, -1),
    "log_softmax": lambda x, dim: x - np.log(np.exp(x).sum(dim, keepdims=True)),
}


def loop(step: Any, carried: Any, scanned: Any, length: int, forward: bool) -> Any:
    kept: list[Any] = [None] * length
    for t in range(length) if forward else reversed(range(length)):
        carried, kept[t] = step(carried, tuple(x[t] for x in scanned))
    return carried, tuple(np.stack(column) for column in zip(*kept, strict=True))


EVERY_KIND = (
    *("LSTM", "BahdanauAttention", "BidirectionalGRU", "MDLSTM", "ClockworkRNN", "MLSTM"),
    *("SelfAttention", "Seq2Seq", "RWKV4", "PhasedLSTM", "Tagger"),
)


@pytest.mark.parametrize("name", EVERY_KIND)
def test_source_for_peers(name: str) -> None:
    """It computes what the model does, here by NumPy's functions, for the outputs and losses."""
    spec = rnnc.load(name)
    modes = {"predict": spec.bound.outputs, "loss": spec.bound.losses}
    for mode in (m for m, results in modes.items() if results):
        one = case(spec, mode, batch=2, steps=4, dtype="float64")
        plan = one.plan
        module: dict[str, Any] = {
            "xp": SimpleNamespace(**NUMPY, loop=loop),
            "constants": peers.constants_of(plan, "float64"),
        }
        exec(peers.peer_source(plan), module)
        found = module["run"](module["prepare"](one.weights), one.data)
        for port, wanted in one.numpy()().items():
            assert relative_error(found[port], wanted) < 1e-10


def test_every_op_has_a_form_for_peers() -> None:
    """But for what stands for a loop, and what loops over segments or with clocks need: the plans
    that they are given have plain loops alone."""
    own = {*numpy_ops.BINARY, *numpy_ops.UNARY, *numpy_ops._FORMS}
    own -= {"linear_scan", "products", "linear_attention", "state_product"}
    own -= {"segment", "segments", "part", "padded", "joined"}
    own -= {"ticking", "window", "replaced"}
    assert own == {*peers._INFIX, *peers._CALLS, *peers._FORMS}


# ---------------------------------------------------------------- costs, times


def test_cost_of_a_step() -> None:
    """h[t] = tanh(W h[t-1] + U x[t]): a product of m², an addition, a tanh."""
    spec = rnnc.parse(
        "model E\ninput x[t] : [3]\nparam U : [5, 3], W : [5, 5]\n"
        "h[t] = tanh(W h[t-1] + U x[t])\noutput h"
    )
    plan = compiler.plan_of(spec.system, Options())
    sizes = {**by_axis(spec.bound, 7), "batch": 2}
    (only,) = plan.loops
    h = 2 * 5 * 4  # bytes
    step = Cost(3, 2 * 5 * 5, (h + 100 + h) + (h + h + h) + (h + h))
    assert step_cost(plan, only, sizes) == step
    assert step_cost(plan, only, sizes, "float64").bytes == 2 * step.bytes
    before = Cost(1, 2 * 7 * 3 * 5, 4 * (2 * 7 * 3 + 3 * 5 + 2 * 7 * 5))  # U x[t], all at once
    assert whole_cost(plan, sizes) == step.times(7) + before
    assert str(Cost(3, 1000, 10)) == "3 operations, 1,000 multiply-adds, 10 bytes read and written"


def test_cost_of_a_matrix_state_and_of_a_loop_in_a_loop() -> None:
    delta = rnnc.parse(
        "model Delta\ninput k[t], v[t] : [3]\ne[t] = v[t] - S[t-1] k[t]\n"
        "S[t] = S[t-1] + outer(e[t], k[t])\noutput e"
    )
    plan = compiler.plan_of(delta.system, Options())
    (only,) = plan.loops
    cost = step_cost(plan, only, by_axis(delta.bound, 4) | {"batch": 2})
    assert 2 * 3 * 3 <= cost.products <= 2 * 2 * 3 * 3  # the outer product may be a mere mul
    nested = rnnc.load("MDRNN", n=2, m=3, k=2)
    plan = compiler.plan_of(nested.system, Options())
    (outer,) = plan.loops
    four, eight = (
        step_cost(plan, outer, by_axis(nested.bound, {"I": 2, "J": j}) | {"batch": 1}).products
        for j in (4, 8)
    )
    assert eight == 2 * four


def test_functions_are_timed_in_turns() -> None:
    calls: list[str] = []
    times = measure({n: lambda n=n: calls.append(n) for n in "ab"}, rounds=3, seconds=1e-9)  # type: ignore[misc]
    assert "".join(calls[-6:]) == "abbaab"
    assert all(len(found) == 3 for found in times.rounds.values())


def test_ratios_are_medians_of_rounds() -> None:
    times = Times({"a": [1.0, 10.0, 3.0], "b": [2.0, 30.0, 3.0]})
    assert times.ratio("b", "a") == 2
    assert times.seconds("b") == 3
    assert times.fastest("a") == 1
    assert [format_seconds(s) for s in (2.0, 0.0123, 4.5e-6)] == ["2 s", "12.3 ms", "4.5 µs"]


def test_no_such_mode() -> None:
    with pytest.raises(UsageError, match="no mode 'step' to be timed"):
        case(rnnc.load("GRU", n=3, m=4), "step", batch=1, steps=2)
