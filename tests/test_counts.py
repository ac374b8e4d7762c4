"""Losses, metrics and counts against formulas by hand: which steps count, of which sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

import rnnc
from rnnc.compiler import evaluating
from rnnc.graph.system import Distribution, System
from rnnc.runtime.reference import evaluate

B, T, N, K = 3, 5, 2, 4
SPEC = """
model A
dim    n = 2, k = 4
input  x[t] : [n],  m[t] : flag
param  V : [k, n]
p[t] = softmax(V x[t])
target y[t] : index(k) ~ categorical(p[t]) {when}
metric right = argmax(p[t]) == y[t]
metric place = t / 10
metric size  = sum(V * V)
"""
STEP = np.arange(1, T + 1)


def system(text: str) -> System:
    return evaluating(rnnc.parse(text).bound)


@pytest.fixture
def data() -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(1)
    return {
        "x": rng.normal(size=(B, T, N)),
        "m": rng.random((B, T)) < 0.5,
        "V": rng.normal(size=(K, N)),
        "y": rng.integers(0, K, (B, T)),
    }


def conditions(m: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Flags that vary over the batch, or over the steps alone, or over both, or nothing."""
    return {
        "": np.ones((B, T), bool),
        "when m[t]": m,
        "when t > 2": np.broadcast_to(STEP > 2, (B, T)),
        "when m[t] and t > 1": m & (STEP > 1),
        "when training or t > 3": np.broadcast_to(STEP > 3, (B, T)),
    }


@pytest.mark.parametrize("when", conditions(np.zeros((B, T), bool)))
def test_what_counts(when: str, data: dict[str, NDArray[Any]]) -> None:
    """mean[batch](sum[t](c -log p(y))), sum(c), and metrics as means over what counts."""
    counted = conditions(data["m"])[when]
    scores = np.exp(data["x"] @ data["V"].T)
    p = scores / scores.sum(-1, keepdims=True)
    nll = -np.log(np.take_along_axis(p, data["y"][..., None], -1)[..., 0])
    found = evaluate(system(SPEC.format(when=when)), data, lengths={"t": T})
    total = counted.sum()
    assert_allclose(found["loss"], (nll * counted).sum() / B, rtol=1e-12)
    assert_allclose(found["loss.y"], found["loss"])
    assert found["count.y"] == total
    right = p.argmax(-1) == data["y"]
    assert_allclose(found["right"], (right * counted).sum() / total, rtol=1e-12)
    assert_allclose(found["place"], (STEP / 10 * counted).sum() / total, rtol=1e-12)
    assert_allclose(found["size"], (data["V"] ** 2).sum(), rtol=1e-12)


def test_a_loss_that_no_data_reaches(data: dict[str, NDArray[Any]]) -> None:
    """A penalty is one number, whatever the batch; over an axis it is one for each step."""
    text = "model A\nparam V : [4, 2]\ninput x[t] : [2]\nh[t] = V x[t]\n"
    text += "loss a = sum(V * V)\nloss b = t * sum(V)\nmetric c = t * sum(V)\n"
    found = evaluate(system(text), {"x": data["x"], "V": data["V"]}, lengths={"t": T})
    assert_allclose(found["loss.a"], (data["V"] ** 2).sum())
    assert_allclose(found["loss.b"], STEP.sum() * data["V"].sum())
    assert_allclose(found["loss"], found["loss.a"] + found["loss.b"])
    assert_allclose(found["c"], STEP.mean() * data["V"].sum())
    assert (found["count.a"], found["count.b"]) == (1, T)


def test_distributions_carry_their_condition() -> None:
    with_flag = system(SPEC.format(when="when m[t]")).targets["y"]
    assert with_flag.when is not None
    assert with_flag.when.source == "m"
    assert [r.source for r in with_flag.all_reads] == ["p", "m"]
    without = system(SPEC.format(when="")).targets["y"]
    assert without == Distribution("categorical", without.reads)
    renamed = with_flag.map_reads(lambda r: r.renamed(f"{r.source}'"))
    assert [r.source for r in renamed.all_reads] == ["p'", "m'"]
