"""Gradients through time: what ``rnnc.flow`` says is what perturbing the model shows."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import rnnc
from rnnc.cli import main
from rnnc.flow import Flow, _compiled, gradient_flow, norms, tables
from rnnc.flow_system import asked
from rnnc.graph.types import BATCH, whole
from rnnc.runtime.reference import evaluate
from rnnc.testing import random_data, random_weights

LEAKY = """
model Leaky
input x[t] : [2]
param r : [3],  W : [3, 3],  U : [3, 2]
g = sigmoid(r)
h[t] = (1 - g) * h[t-1] + g * tanh(W h[t-1] + U x[t])
"""
TIED = """
model Tied
input x[t] : [3]
param W : [3, 3]
h[0] = x[1]
h[t] = tanh(W h[t-1] + x[t])
o[t] = W h[t]
target y[t] : [3] ~ normal(o[t], 1)
"""
CARRIED = """
model Carried
input x[t] : [2],  start : [3],  y : [3]
param W : [3, 3],  U : [3, 2]
h[0] = start
h[t] = tanh(W h[t-1] + U x[t])
loss squared_error(h[T], y)
"""
SMALL = {"n": 3, "m": 4, "k": 3}


def small(name: str) -> rnnc.Spec:
    """A model of the library with small sizes, or one of the texts above."""
    if name.startswith("\n"):
        return rnnc.parse(name)
    dims = rnnc.load(name).system.dims
    return rnnc.load(name, **{d: n for d, n in SMALL.items() if d in dims})


# ---------------------------------------------------------------- the numbers are right


@pytest.mark.parametrize(
    "name",
    ["LSTM", "GRU", "ClockworkRNN", "AntisymmetricRNN", "Jordan", "Deep", "Bidirectional", "MinGRU",
     "LSTMRegression", LEAKY, TIED],
    ids=lambda name: name.split()[1] if "\n" in name else name,
)  # fmt: skip
def test_perturbing_a_single_step(name: str) -> None:
    """The reference interpreter, given a little more in h[t], or another W at step t."""
    batch, steps, eps = 2, 4, 1e-6
    spec = small(name)
    question = asked(spec.bound, [], 0)
    data, weights = random_data(spec, batch, steps), random_weights(spec)
    model = _compiled(question)
    taken = {p.name for p in model.ports.inputs}
    found = model.run({n: a for n, a in data.items() if n in taken}, weights=weights)
    system = question.system

    def shape(name: str) -> tuple[int, ...]:
        lead = (batch, steps) if BATCH in system[name].axes else (steps,)
        return (*lead, *map(whole, system[name].type.shape))

    zeros = {name: np.zeros(shape(name)) for name in question.inputs}
    lengths = {"t": steps, BATCH: batch}
    rng = np.random.default_rng(0)
    assert question.states
    assert question.contributions
    for name in question.inputs:
        direction = rng.standard_normal(zeros[name].shape)

        def loss(
            step: float, name: str = name, direction: NDArray[np.float64] = direction
        ) -> float:
            given = {**data, **weights, **zeros, name: step * direction}
            return float(evaluate(system, given, lengths=lengths)[system.losses["loss"]])

        wanted = (loss(eps) - loss(-eps)) / (2 * eps)
        assert (found[f"d_{name}"] * direction).sum() == pytest.approx(wanted, rel=1e-5, abs=1e-8)


def test_the_norm_at_a_step_is_that_of_a_boundary() -> None:
    """∂L_T/∂h[k] of a sequence is ∂L/∂h[0] of its rest, begun with that h[k]."""
    spec, eps = rnnc.parse(CARRIED), 1e-6
    data, weights = random_data(spec, 1, 5), random_weights(spec)
    flow = gradient_flow(spec, data, weights)
    assert flow.loss == "the loss"
    h = spec.compile("numpy", weights=weights, dtype="float64")(
        **{n: data[n] for n in ("x", "start")}
    )["h"]
    judge = spec.compile("numpy", weights=weights, mode="loss", dtype="float64")
    for k in range(1, 5):
        slopes = []
        for unit in np.eye(3):
            up, down = (
                judge(x=data["x"][:, k:], y=data["y"], start=h[:, k - 1] + e * unit)["loss"]
                for e in (eps, -eps)
            )
            slopes.append((up - down) / (2 * eps))
        assert flow.states["h"][k - 1] == pytest.approx(np.linalg.norm(slopes), rel=1e-6)


@pytest.mark.parametrize("name", ["NToOne", "GRUClassifier", "LSTMClassifier"])
def test_contributions_sum_up_to_the_gradient(name: str) -> None:
    spec = small(name)
    data, weights = random_data(spec, 3, 6), random_weights(spec)
    question = asked(spec.bound, [], 0)
    found = _compiled(question).run(data, weights=weights)
    whole_ = spec.compile("numpy", weights=weights, mode="grad", dtype="float64")(**data)
    assert question.contributions
    for param, term in question.contributions.items():
        assert found[term].shape == (6, *weights[param].shape)
        np.testing.assert_allclose(found[term].sum(0), whole_[f"d_{param}"], rtol=0, atol=1e-13)
    flow = gradient_flow(spec, data, weights)
    for param, norm in flow.gradients.items():
        assert norm == pytest.approx(np.linalg.norm(whole_[f"d_{param}"]))
    total = np.sqrt(sum(float((whole_[f"d_{p}"] ** 2).sum()) for p in weights))
    assert flow.norm == pytest.approx(total)


def test_only_the_last_step_counts() -> None:
    """Elman with a loss at every step, and the network that has one at the end alone."""
    every, once = small("Elman"), small("NToOne")
    data, weights = random_data(every, 3, 7), random_weights(every)
    a = gradient_flow(every, data, weights)
    b = gradient_flow(once, {**data, "y": data["y"][:, -1]}, weights)
    assert a.loss == "the loss of the last step"
    assert b.loss == "the loss"
    np.testing.assert_allclose(a.states["h"], b.states["h"], rtol=1e-10)
    np.testing.assert_allclose(a.contributions["W"], b.contributions["W"], rtol=1e-10, atol=1e-15)
    assert a.norm == pytest.approx(b.norm)


def test_the_batch_does_not_change_the_scale() -> None:
    spec = small("NToOne")
    data, weights = random_data(spec, 2, 5), random_weights(spec)
    twice = {n: np.concatenate([a, a]) for n, a in data.items()}
    a, b = gradient_flow(spec, data, weights), gradient_flow(spec, twice, weights)
    np.testing.assert_allclose(a.states["h"], b.states["h"])
    np.testing.assert_allclose(a.contributions["W"], b.contributions["W"])
    ones = [
        gradient_flow(spec, {n: x[i : i + 1] for n, x in data.items()}, weights) for i in (0, 1)
    ]
    np.testing.assert_allclose(a.states["h"], (ones[0].states["h"] + ones[1].states["h"]) / 2)


# ---------------------------------------------------------------- what there is to see


def test_it_vanishes_and_explodes() -> None:
    def flow(name: str, scale: float = 1.0) -> Flow:
        return gradient_flow(rnnc.load(name, m=32), steps=50, scale=scale)

    simple, wild, lstm = flow("ElmanCell"), flow("ElmanCell", 4.0), flow("LSTM")
    h = simple.states["h"]
    assert h[-1] == pytest.approx(1)  # a direction of length 1
    assert h[0] < 1e-6
    assert (h[:-10] < h[10:]).all()
    assert wild.states["h"][0] > 1e6
    assert lstm.states["c"][0] > 1e3 * h[0]
    assert lstm.states["h"][0] > 1e3 * h[0]
    assert simple.contributions["W_h"][0] == 0  # h[0] is zero
    assert simple.contributions["W_h"][1] < 1e-5 * simple.contributions["W_h"][-1]


def test_far_back_neither_underflows_nor_overflows() -> None:
    spec = rnnc.load("ElmanCell", n=2, m=4)
    tiny = gradient_flow(spec, steps=150, scale=0.03).states["h"]
    assert 0 < tiny[0] < 1e-170  # its square is 0
    assert norms(np.array([3e200, 4e200]), 0) == pytest.approx(5e200)
    assert norms(np.array([np.inf, 1.0]), 0) == np.inf
    assert norms(np.zeros((2, 3)), 1).tolist() == [0, 0]


def test_clipping() -> None:
    spec = rnnc.load("ElmanCell", n=4, m=16)
    free = gradient_flow(spec, scale=4, steps=40)
    clipped = gradient_flow(spec, scale=4, steps=40, clip=1.0)
    assert free.factor == 1
    assert clipped.norm == free.norm > 1e3
    assert clipped.factor * clipped.norm == pytest.approx(1)
    assert clipped.norm == pytest.approx(np.sqrt(sum(n**2 for n in clipped.gradients.values())))
    np.testing.assert_array_equal(clipped.contributions["W_h"], free.contributions["W_h"])
    assert "clipped to 1" in clipped.table()
    assert f"{clipped.gradients['W_h'] * clipped.factor:.2e}" in clipped.table()
    small_ = gradient_flow(spec, steps=5, clip=1e3)
    assert small_.factor == 1
    assert "within the clip of 1000" in small_.table()
    lost = gradient_flow(rnnc.load("IRNN", n=2, m=4), scale=1e30, steps=40, clip=1.0)
    assert not np.isfinite(lost.norm)
    assert "which clipping does not repair" in lost.table()


# ---------------------------------------------------------------- what is asked, and how


def test_states_and_parameters_are_found() -> None:
    def found(name: str, **options: str) -> tuple[list[str], list[str]]:
        flow = gradient_flow(small(name), steps=3, batch=1, **options)
        return list(flow.states), list(flow.contributions)

    assert found("LSTM") == (["c", "h"], ["U_f", "U_i", "U_o", "U_c"])
    assert found("LSTM", state="c")[0] == ["c"]
    assert found("Elman", state="a")[0] == ["a"]  # no state, but it varies with t
    assert found("IndRNN")[1] == ["u"]
    assert found(LEAKY)[1] == ["W"]  # r makes a gate
    assert found("MinGRU")[1] == ["W_z", "W_h"]  # no weight meets the state: all there are


def test_data_are_cut() -> None:
    spec = small("Elman")
    data = random_data(spec, 4, 9)
    flow = gradient_flow(spec, data, batch=2, steps=5)
    assert (flow.steps, flow.batch) == (5, 2)
    same = gradient_flow(spec, {n: a[:2, :5] for n, a in data.items()})
    np.testing.assert_array_equal(flow.states["h"], same.states["h"])
    assert gradient_flow(spec, data).steps == 9


def test_mistakes() -> None:
    spec = small("Elman")
    data = random_data(spec, 2, 3)
    with pytest.raises(rnnc.UsageError, match="no state q; it has: h"):
        gradient_flow(spec, state="q")
    with pytest.raises(rnnc.UsageError, match="norm above 0"):
        gradient_flow(spec, clip=0.0)
    with pytest.raises(rnnc.UsageError, match="no recurrence"):
        gradient_flow(rnnc.parse("model M\ninput x[t] : [2]\nparam W : [2, 2]\nh[t] = W x[t]\n"))
    with pytest.raises(rnnc.UsageError, match="no recurrent weights"):
        gradient_flow(small("MinGRU"), scale=2)
    with pytest.raises(rnnc.UsageError, match="d_W, the name of a gradient"):
        gradient_flow(rnnc.parse(LEAKY + "d_W[t] = 2 * h[t]\no[t] = d_W[t]\noutput d_W\n"))
    with pytest.raises(rnnc.DataError, match="takes no z"):
        gradient_flow(spec, {**data, "z": [1.0]})
    with pytest.raises(rnnc.DataError, match="y is missing"):
        gradient_flow(spec, {"x": data["x"]})
    with pytest.raises(rnnc.DataError, match="batch-first"):
        gradient_flow(spec, {**data, "y": data["y"][0]})
    with pytest.raises(rnnc.DataError, match="W"):
        gradient_flow(spec, weights={"W": np.zeros((2, 2))})


def test_side_by_side_where_it_fits() -> None:
    a, b = (gradient_flow(small(name), steps=4) for name in ("ElmanCell", "GRU"))
    wide = tables([a, b], 100)
    assert wide.count("‖∂W_h‖") == 1
    assert any("‖∂W_h‖" in line and "‖∂U_z‖" in line for line in wide.splitlines())
    narrow = tables([a, b], 40)
    assert not any("‖∂W_h‖" in line and "‖∂U_z‖" in line for line in narrow.splitlines())
    for name, norm in (*a.states.items(), *b.contributions.items()):
        assert all(f"{x:.2e}" in wide and f"{x:.2e}" in narrow for x in norm if x), name
    long = gradient_flow(small("ElmanCell"), steps=300).table()
    assert len(long.splitlines()) < 40
    assert "\n   300 " in long


# ---------------------------------------------------------------- the command and the picture


def test_command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    words = "gradflow ElmanCell LSTM --set m=4 --set n=2 --steps 6 --scale 3 --clip 1"
    assert main(words.split()) == 0
    out = capsys.readouterr().out
    assert "recurrent weights times 3" in out
    assert "clipped" in out
    assert "‖∂W_h‖" in out
    assert "‖∂U_o‖" in out
    spec = rnnc.load("Elman", n=2, m=3, k=2)
    np.savez(tmp_path / "d.npz", **random_data(spec, 2, 5))
    np.savez(tmp_path / "w.npz", **spec.init(seed=3))
    here = f"--data {tmp_path / 'd.npz'} --weights {tmp_path / 'w.npz'}"
    sizes = "--set n=2 --set m=3 --set k=2"
    assert main(f"gradflow Elman {sizes} {here} --state a".split()) == 0
    out = capsys.readouterr().out
    flow = gradient_flow(spec, random_data(spec, 2, 5), spec.init(seed=3), state="a")
    assert f"{flow.states['a'][0]:.2e}" in out
    for wrong, message in (
        ("gradflow ElmanCell --state z", "no state z"),
        ("gradflow ElmanCell GRU --state c", "ElmanCell has none of the states c"),
        ("gradflow ElmanCell GRU --set q=3", "no dim of that name"),
        ("gradflow ElmanCell GRU --weights w.npz", "1 files of weights for 2 specs"),
        ("gradflow ElmanCell -o flow.txt", "a plot is written as"),
        ("gradflow ElmanCell --data d.csv", "npz"),
        ("gradflow ElmanCell --clip 0", "norm above 0"),
    ):
        assert main(wrong.split()) in (1, 2), wrong
        assert message in capsys.readouterr().err


def test_without_matplotlib(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["gradflow", "ElmanCell", "-o", str(tmp_path / "flow.svg")]) == 2
    assert "pip install 'rnnc[plot]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    from rnnc.flow_plot import draw

    flows = [gradient_flow(small(n), steps=12, scale=3, clip=1e-3) for n in ("ElmanCell", "LSTM")]
    left, right = draw(flows).axes
    named = [line for line in left.lines if not line.get_label().startswith("_")]
    assert [line.get_label() for line in named] == ["ElmanCell  h", "LSTM  c", "LSTM  h"]
    np.testing.assert_array_equal(named[0].get_ydata(), flows[0].states["h"])
    assert left.get_yscale() == right.get_yscale() == "log"
    assert len(right.lines) == 2 * 5  # before and after clipping
    file = tmp_path / "flow.svg"
    assert main(["gradflow", "ElmanCell", "--steps", "5", "-o", str(file)]) == 0
    assert "wrote" in capsys.readouterr().out
    assert file.read_text().startswith("<?xml")
    assert [p.name for p in tmp_path.iterdir()] == ["flow.svg"]
