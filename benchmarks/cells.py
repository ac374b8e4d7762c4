"""The cells of the suite in PyTorch, as people write them: a loop over time in Python, the gates of
a step joined in one Linear.

Each function takes the weights of the spec by name, as tensors, and x [batch, T, n], and gives the
spec's outputs [batch, T, m] by name. The weights are joined in every call, since gradients are
asked for one by one: a copy, and less than a hundredth of the time of 100 steps.

`modules` are PyTorch's own nn.LSTM, nn.GRU and nn.RNN with the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, cat, sigmoid, stack, tanh
from torch.nn.functional import linear

Weights = Mapping[str, Tensor]
Cell = Callable[[Weights, Tensor], dict[str, Tensor]]


def joined(w: Weights, gates: str, letters: str = "WU") -> tuple[Tensor, Tensor]:
    """One Linear of [x, h] for these gates: [W U] of each gate below that of the last, and b."""
    rows = [cat([w[f"{letter}_{g}"] for letter in letters], 1) for g in gates]
    return cat(rows), cat([w[f"b_{g}"] for g in gates])


def zeros(x: Tensor, like: Tensor) -> Tensor:
    return x.new_zeros(len(x), len(like))


def lstm(w: Weights, x: Tensor) -> dict[str, Tensor]:
    weight, bias = joined(w, "fioc")
    h = c = zeros(x, w["b_f"])
    hs = []
    for x_t in x.unbind(1):
        f, i, o, g = linear(cat([x_t, h], 1), weight, bias).chunk(4, 1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        hs.append(h)
    return {"h": stack(hs, 1)}


def gru(w: Weights, x: Tensor) -> dict[str, Tensor]:
    weight, bias = joined(w, "zr")
    h = zeros(x, w["b_z"])
    hs = []
    for x_t in x.unbind(1):
        z, r = sigmoid(linear(cat([x_t, h], 1), weight, bias)).chunk(2, 1)
        candidate = linear(x_t, w["W_h"], w["b_h"]) + r * linear(h, w["U_h"], w["c_h"])
        h = (1 - z) * tanh(candidate) + z * h
        hs.append(h)
    return {"h": stack(hs, 1)}


def rnn(w: Weights, x: Tensor) -> dict[str, Tensor]:
    weight, bias = joined(w, "h")
    h = zeros(x, bias)
    hs = []
    for x_t in x.unbind(1):
        h = tanh(linear(cat([x_t, h], 1), weight, bias))
        hs.append(h)
    return {"h": stack(hs, 1)}


def peephole(w: Weights, x: Tensor) -> dict[str, Tensor]:
    """LSTMPeephole: the gates see x and c, the candidate x alone."""
    weight, bias = joined(w, "fio")
    c = zeros(x, w["b_f"])
    hs, cs = [], []
    for x_t in x.unbind(1):
        f, i, o = sigmoid(linear(cat([x_t, c], 1), weight, bias)).chunk(3, 1)
        c = f * c + i * tanh(linear(x_t, w["W_c"], w["b_c"]))
        hs.append(o * tanh(c))
        cs.append(c)
    return {"h": stack(hs, 1), "c": stack(cs, 1)}


def lem(w: Weights, x: Tensor) -> dict[str, Tensor]:
    weight, bias = joined(w, "12y")
    last, last_bias = joined(w, "z")
    h = z = zeros(x, w["b_z"])
    hs, zs = [], []
    for x_t in x.unbind(1):
        first, second, target = linear(cat([x_t, h], 1), weight, bias).chunk(3, 1)
        first, second = sigmoid(first), sigmoid(second)
        z = (1 - second) * z + second * tanh(target)
        h = (1 - first) * h + first * tanh(linear(cat([x_t, z], 1), last, last_bias))
        hs.append(h)
        zs.append(z)
    return {"h": stack(hs, 1), "z": stack(zs, 1)}


def mut1(w: Weights, x: Tensor) -> dict[str, Tensor]:
    weight, bias = joined(w, "r")
    h = zeros(x, bias)
    hs = []
    for x_t in x.unbind(1):
        z = sigmoid(linear(x_t, w["W_z"], w["b_z"]))
        r = sigmoid(linear(cat([x_t, h], 1), weight, bias))
        g = tanh(linear(r * h, w["U"], w["b"]) + tanh(linear(x_t, w["P"])))
        h = z * g + (1 - z) * h
        hs.append(h)
    return {"h": stack(hs, 1)}


def fastgrnn(w: Weights, x: Tensor) -> dict[str, Tensor]:
    weight = cat([w["W"], w["U"]], 1)
    zeta, nu = sigmoid(w["zeta"]), sigmoid(w["nu"])
    h = zeros(x, w["b_z"])
    hs = []
    for x_t in x.unbind(1):
        a = linear(cat([x_t, h], 1), weight)
        z = sigmoid(a + w["b_z"])
        h = z * h + (zeta * (1 - z) + nu) * tanh(a + w["b_h"])
        hs.append(h)
    return {"h": stack(hs, 1)}


def mingru(w: Weights, x: Tensor) -> dict[str, Tensor]:
    """Gates and candidates for all steps at once: they are no part of the loop."""
    z, g = linear(x, cat([w["W_z"], w["W_h"]])).chunk(2, 2)
    z = sigmoid(z)
    kept, added = (1 - z).unbind(1), (z * g).unbind(1)
    h = zeros(x, w["W_z"])
    hs = []
    for k, a in zip(kept, added, strict=True):
        h = k * h + a
        hs.append(h)
    return {"h": stack(hs, 1)}


CELLS: dict[str, Cell] = {
    "LSTM": lstm, "GRU": gru, "RNN": rnn, "LSTMPeephole": peephole, "LEM": lem, "MUT1": mut1,
    "FastGRNN": fastgrnn, "MinGRU": mingru,
}  # fmt: skip


# ---------------------------------------------------------------- calls to be timed

Call = Callable[[], dict[str, Any]]


def tensors(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(a.copy()) for name, a in arrays.items()}


def outputs(name: str, weights: Mapping[str, Any], x: Any) -> Call:
    """The cell's outputs."""
    w, given, cell = tensors(weights), torch.from_numpy(x), CELLS[name]

    def call() -> dict[str, Any]:
        with torch.inference_mode():
            return cell(w, given)

    return call


def gradients(name: str, weights: Mapping[str, Any], data: Mapping[str, Any]) -> Call:
    """`d_<param>` of the sum of the outputs, each weighted with the array `d_<output>`."""
    w, given, cell = tensors(weights), tensors(data), CELLS[name]
    params = {n: p.requires_grad_() for n, p in w.items()}

    def call() -> dict[str, Any]:
        out = cell(params, given["x"])
        total = sum((value * given[f"d_{n}"]).sum() for n, value in out.items())
        found = torch.autograd.grad(total, list(params.values()))
        return {f"d_{n}": g for n, g in zip(params, found, strict=True)}

    return call


#: PyTorch's module, its order of the gates, and the name of the ones with a bias of their own on h
MODULES = {"LSTM": ("ifco", ""), "GRU": ("rzh", "h"), "RNN": ("h", "")}


def modules(name: str, weights: Mapping[str, Any], x: Any) -> Call:
    """nn.LSTM, nn.GRU or nn.RNN."""
    order, second = MODULES[name]
    w, given = tensors(weights), torch.from_numpy(x)
    m, n = w[f"W_{order[0]}"].shape
    module = getattr(torch.nn, name)(n, m, batch_first=True)
    none = torch.zeros(m)
    with torch.no_grad():
        module.weight_ih_l0.copy_(cat([w[f"W_{g}"] for g in order]))
        module.weight_hh_l0.copy_(cat([w[f"U_{g}"] for g in order]))
        module.bias_ih_l0.copy_(cat([w[f"b_{g}"] for g in order]))
        module.bias_hh_l0.copy_(cat([w[f"c_{g}"] if g in second else none for g in order]))

    def call() -> dict[str, Any]:
        with torch.inference_mode():
            return {"h": module(given)[0]}

    return call


def exported(name: str, weights: Mapping[str, Any], x: Any) -> bytes:
    """The loop as torch.onnx exports it, for sequences of this length: an unrolled model."""
    import io

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for key, tensor in tensors(weights).items():
                self.register_buffer(key, tensor)

        def forward(self, x: Tensor) -> Tensor:
            return CELLS[name](dict(self.named_buffers()), x)["h"]

    file = io.BytesIO()
    names = {"input_names": ["x"], "output_names": ["h"]}
    torch.onnx.export(Model(), (torch.from_numpy(x),), file, dynamo=False, **names)
    return file.getvalue()
