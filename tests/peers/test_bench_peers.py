"""What ``rnnc bench`` times beside rnnc's own forms: PyTorch and JAX compute the same.

Without torch, or without JAX, their tests are skipped.
"""

from __future__ import annotations

from typing import Any

import pytest

import rnnc
from rnnc.bench.forms import Case, case, disagreement

SPECS = {
    "LSTMPeephole": {"n": 3, "m": 4},
    "GRUClassifier": {"vocab": 7, "d": 2, "m": 4, "k": 3},
    "BidirectionalGRU": {"n": 3, "m": 4, "k": 5},
    "BahdanauAttention": {"n": 7, "k": 6, "d": 2, "m": 4, "p": 3, "l": 5},
    "MDLSTM": {"n": 2, "m": 3},
    "MLSTM": {},
}
PEERS = {"torch": Case.torch, "jax": Case.jax}


@pytest.mark.parametrize("library", PEERS)
@pytest.mark.parametrize("mode", ["predict", "loss", "grad"])
@pytest.mark.parametrize("name", SPECS)
def test_peers_agree(name: str, mode: str, library: str) -> None:
    pytest.importorskip(library)
    spec = rnnc.load(name, **SPECS[name])
    if mode == "loss" and not spec.bound.losses:
        pytest.skip("no loss")
    one = case(spec, mode, batch=2, steps=4, dtype="float64")
    call: Any = PEERS[library](one)
    error, where = disagreement(call(), one.onnx()())
    assert error < 1e-9, where


@pytest.mark.parametrize("library", PEERS)
def test_no_gradients_where_a_spec_stops_them(library: str) -> None:
    """Plans do not say where; and the update of a training step is rnnc's own."""
    pytest.importorskip(library)
    spec = rnnc.parse(
        "model S\ninput x[t] : [3]\nparam w : [3]\n"
        "h[t] = w * x[t] + stop_gradient(w)\nloss sum(h[t]^2)\noutput h"
    )
    assert PEERS[library](case(spec, "grad", batch=2, steps=4)) is None
    assert PEERS[library](case(spec, "loss", batch=2, steps=4)) is not None
    assert PEERS[library](case(spec, "train", batch=2, steps=4)) is None


@pytest.mark.parametrize("name", ["GRU", "LSTM"])
def test_own_modules(name: str) -> None:
    """They serve where the model is one of them, and nothing else."""
    pytest.importorskip("torch")
    spec = rnnc.parse(HEAD + MODULES[name], n=3, m=4)
    one = case(spec, "predict", batch=2, steps=5)
    call = one.module()
    assert call is not None
    error, where = disagreement(call(), one.onnx()())
    assert error < 1e-5, where
    more = rnnc.parse(HEAD + MODULES[name] + "y[t] = 2 * h[t]\noutput y\n", n=3, m=4)
    assert case(more, "predict", batch=2, steps=5).module() is None
    assert case(spec, "grad", batch=2, steps=5).module() is None


HEAD = "model M\ndim n, m\ninput x[t] : [n]\n"
MODULES = {
    "LSTM": """
param W_f, W_i, W_o, W_c : [m, n],  U_f, U_i, U_o, U_c : [m, m],  b_f, b_i, b_o, b_c : [m]
f[t] = sigmoid(W_f x[t] + U_f h[t-1] + b_f)
i[t] = sigmoid(W_i x[t] + U_i h[t-1] + b_i)
o[t] = sigmoid(W_o x[t] + U_o h[t-1] + b_o)
c[t] = f[t] * c[t-1] + i[t] * tanh(W_c x[t] + U_c h[t-1] + b_c)
h[t] = o[t] * tanh(c[t])
output h
""",
    "GRU": """
param W_z, W_r, W_h : [m, n],  U_z, U_r, U_h : [m, m],  b_z, b_r, b_h, c_h : [m]
z[t] = sigmoid(W_z x[t] + U_z h[t-1] + b_z)
r[t] = sigmoid(W_r x[t] + U_r h[t-1] + b_r)
h[t] = (1 - z[t]) * tanh(W_h x[t] + b_h + r[t] * (U_h h[t-1] + c_h)) + z[t] * h[t-1]
output h
""",
}
