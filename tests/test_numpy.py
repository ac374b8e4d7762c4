"""NumPy source: what lies where in its loops, and that nothing changes."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest

import rnnc
from rnnc.compiler import Options, plan_of
from rnnc.passes.plan import Compute, flat
from rnnc.testing import assert_all_agree, assert_gradients_agree

HEAD = """
model M
dim   n = 3, m = 4
input x[t] : [n],  y[t] : [m]
param U, V : [m, m],  W, Z : [m, n],  b, d : [m]
"""
#: a loop, and how often in it [h; x] is multiplied at once
AUGMENTED = {
    "bias": ("h[t] = tanh(U h[t-1] + W x[t] + b)", 1),
    "no bias": ("h[t] = tanh(U h[t-1] + W x[t])", 1),
    "from the end": ("h[t] = tanh(U h[t+1] + W x[t] + b)", 1),
    "from a state": ("h[t] = tanh(U h[t-1] + W x[t])\nh[0] = b", 1),
    "from the input": ("h[t] = tanh(U h[t-1] + W x[t])\nh[0] = W x[1]", 1),
    "packed gates": (
        "c[t] = sigmoid(U h[t-1] + W x[t]) * c[t-1] + tanh(V h[t-1] + Z x[t] + d)\n"
        "h[t] = tanh(c[t])",
        1,
    ),
    "two sums, one bias": (
        "z[t] = sigmoid(U h[t-1] + W x[t])\n"
        "h[t] = tanh(V h[t-1] + Z x[t] + b) + z[t] * c[t-1]\nc[t] = z[t] * h[t]",
        1,
    ),
    "two states": (
        "g[t] = tanh(U h[t-1] + W x[t] + b)\nh[t] = tanh(V g[t-1] + Z x[t] + d + h[t-1])\noutput g",
        2,
    ),
    "a sum that others read": (
        "a[t] = U h[t-1] + W x[t]\nh[t] = sigmoid(a[t] + b) * tanh(a[t] + d) + h[t-1]",
        1,
    ),
    # where it is not so
    "more inputs than states": ("h[t] = tanh(dot(b, y[t]) + dot(d, y[t]) * h[t-1])", 0),
    "read two steps later": ("h[t] = tanh(U h[t-2] + W x[t])", 0),
    "a product that others read": ("a[t] = W x[t]\nh[t] = tanh(U h[t-1] + a[t]) + a[t]", 0),
    "stretched": ("g[t] = sigmoid(W x[t] + dot(b, h[t-1]))\nh[t] = g[t] * tanh(h[t-1])", 0),
}


@pytest.mark.parametrize("name", AUGMENTED)
def test_state_and_input_are_multiplied_at_once(name: str) -> None:
    equations, times = AUGMENTED[name]
    spec = rnnc.parse(f"{HEAD}{equations}\noutput h")
    plan = plan_of(spec.system, Options(backend="numpy"))
    (loop,) = plan.loops
    ops = Counter(s.op for s in flat(loop.body) if isinstance(s, Compute))
    assert ops["concat"] == times
    source = spec.compile("numpy").source
    assert source.count("_augmented_rows = features_first(") == times
    assert "np.concatenate" not in source.partition("def run")[2]
    for batch, steps in ((2, 5), (1, 1)):
        assert_all_agree(spec, batch=batch, steps=steps)
    assert_gradients_agree(spec, batch=2, steps=4)


#: the equation of c, what h is made of besides the input, and whether c is written where it was
STATES = {
    "read no more": ("c[t] = b * c[t-1] + tanh(U h[t-1])", "c[t]", True),
    "read afterwards": ("c[t] = b * c[t-1] + tanh(U h[t-1])", "c[t] - d * c[t-1]", False),
    "two steps": ("c[t] = b * c[t-1] + d * c[t-2] + tanh(U h[t-1])", "c[t]", False),
    "multiplied last": ("c[t] = tanh(U h[t-1]) * c[t-1] + V c[t-1]", "c[t]", True),
}


@pytest.mark.parametrize("name", STATES)
def test_states_that_are_not_kept(name: str) -> None:
    """They take one memory if the state before is read no more, else several in turns."""
    equation, read, alone = STATES[name]
    spec = rnnc.parse(f"{HEAD}{equation}\nh[t] = tanh({read} + W x[t])\noutput h")
    assert ("c_t_ring = (" not in spec.compile("numpy").source) == alone
    assert_all_agree(spec, batch=2, steps=5)


def test_concatenations_of_the_spec_are_not_copied() -> None:
    spec = rnnc.parse(
        "model M\ninput x[t] : [3]\nparam b : [4]\na[t] = [x[t], h[t-1]]\n"
        "h[t] = tanh(b * sum(a[t] * a[t]) + h[t-1])\noutput h"
    )
    source = spec.compile("numpy").source
    assert "np.concatenate" not in source.partition("def run")[2].partition("    for ")[2]
    assert_all_agree(spec, batch=2, steps=5)


def test_weights_are_turned_once() -> None:
    """Large products take matrices by rows; the copy is kept with what was prepared."""
    spec = rnnc.load("LSTM", n=8, m=64)
    namespace: dict[str, Any] = {}
    exec(spec.compile("numpy").source, namespace)
    run, prepared = namespace["run"], namespace["prepare"](spec.init(0))
    x = np.random.default_rng(0).normal(size=(100, 3, 8)).astype(np.float32)
    few = run(prepared, {"x": x[:1]})["h"]
    assert not [name for name in prepared if name.endswith(", turned")]
    many = [run(prepared, {"x": x})["h"] for _ in range(2)]
    assert [name for name in prepared if name.endswith(", turned")]
    np.testing.assert_array_equal(*many)
    np.testing.assert_allclose(few, many[0][:1], atol=1e-5)


def test_run_names_what_it_uses() -> None:
    source = rnnc.load("GRU", n=3, m=4).compile("numpy").source.partition("def run")[2]
    body = source.partition("\n# {name")[0]
    for name in re.findall(r"^    (\w+) = prepared", body, re.MULTILINE):
        assert len(re.findall(rf"\b{name}\b", body)) > 1, name
