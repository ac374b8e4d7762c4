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
