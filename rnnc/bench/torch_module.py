"""PyTorch's own nn.LSTM, nn.GRU and nn.RNN, with the weights of a model that is one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

# where PyTorch has the gates of ONNX: iofc becomes ifco, zrh becomes rzh
_GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
_ACTIVATIONS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
_LAYOUT = ("Transpose", "Squeeze", "Identity")  # nodes that compute nothing


def module_of(model: bytes, inputs: Mapping[str, Any]) -> Callable[[], dict[str, Any]] | None:
    """A call that computes the output of a model by the module that its one operator is; None where
    it is no such operator, or more than it."""
    graph = onnx.load_from_string(model).graph
    held = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    nodes = [n for n in graph.node if n.op_type not in _LAYOUT]
    if len(nodes) != 1 or nodes[0].op_type not in _GATES or len(inputs) != 1:
        return None
    (node,) = nodes
    settings = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    activations = [a.decode() for a in settings.get("activations", [])]
    weights = [held.get(name) for name in node.input[1:4]]
    plain = (
        activations in ([], _ACTIVATIONS[node.op_type])
        and settings.get("direction", b"forward") == b"forward"
        and (node.op_type != "GRU" or settings.get("linear_before_reset") == 1)
        and len(node.input) <= 4  # neither states nor peepholes, nor lengths
    )
    if not plain or len(weights) < 3 or any(w is None for w in weights):
        return None
    call = _module(node.op_type, [w[0] for w in weights if w is not None])
    (x,) = (torch.from_numpy(np.array(a)) for a in inputs.values())
    name = graph.output[0].name

    def run() -> dict[str, Any]:
        with torch.inference_mode():
            return {name: call(x)[0]}

    return run


def _module(kind: str, weights: list[NDArray[Any]]) -> Any:
    """The module with ONNX's W [gates * m, n], R [gates * m, m] and B [2 * gates * m]."""
    w, r, b = weights
    m, n = r.shape[1], w.shape[1]

    def turned(rows: NDArray[Any]) -> Any:
        parts = np.split(rows, len(_GATES[kind]))
        return torch.from_numpy(np.concatenate([parts[i] for i in _GATES[kind]]))

    module = getattr(torch.nn, kind)(n, m, batch_first=True)
    with torch.no_grad():
        module.weight_ih_l0.copy_(turned(w))
        module.weight_hh_l0.copy_(turned(r))
        module.bias_ih_l0.copy_(turned(b[: len(w)]))
        module.bias_hh_l0.copy_(turned(b[len(w) :]))
    return module
