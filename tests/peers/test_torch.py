"""Gradients against PyTorch: cells and models written down anew from their papers, in eager
PyTorch and float64, and differentiated by its autograd.

    pip install torch==2.13.0
    pytest tests/peers

Without torch these are skipped. Sources as in the specs; a value of the step before is the one
that is not assigned yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import rnnc
from rnnc.testing import random_data, random_weights

torch = pytest.importorskip("torch")

Tensor = Any  # torch may be missing
W = SimpleNamespace  # weights as attributes; W' of a spec is read with getattr
Steps = Iterator[dict[str, Tensor]]
CELLS: dict[str, Callable[[W, Tensor], Steps]] = {}
MODELS: dict[str, Callable[[W, dict[str, Tensor]], Tensor]] = {}
BATCH, STEPS = 3, {"t": 6, "s": 4, "i": 3, "j": 5}

SIZES = {"n": 3, "m": 4, "k": 5, "vocab": 6, "d": 2, "l": 7, "p": 8}  # no two alike
SPECIAL = {"ClockworkRNN": {"n": 3, "G": 3, "k": 2}, "RWKV4": {"n": 4, "m": 4}}


def cell(name: str) -> Callable[[Any], Any]:
    def add(f: Any) -> Any:
        CELLS[name] = f
        return f

    return add


def model(name: str) -> Callable[[Any], Any]:
    def add(f: Any) -> Any:
        MODELS[name] = f
        return f

    return add


def sig(x: Tensor) -> Tensor:
    return torch.sigmoid(x)


def tanh(x: Tensor) -> Tensor:
    return torch.tanh(x)


def zeros(x: Tensor, size: int) -> Tensor:
    return x.new_zeros(len(x), size)


# ---------------------------------------------------------------- cells: what a step gives


@cell("ElmanCell")  # Elman 1990
def _elman(w: W, x: Tensor) -> Steps:
    h = zeros(x, len(w.b))
    for x_t in x.unbind(1):
        h = tanh(x_t @ w.W_x.T + h @ w.W_h.T + w.b)
        yield {"h": h}


@cell("LSTM")  # Hochreiter and Schmidhuber 1997, Gers et al. 2000
def _lstm(w: W, x: Tensor) -> Steps:
    h = c = zeros(x, len(w.b_f))
    for x_t in x.unbind(1):
        f = sig(x_t @ w.W_f.T + h @ w.U_f.T + w.b_f)
        i = sig(x_t @ w.W_i.T + h @ w.U_i.T + w.b_i)
        o = sig(x_t @ w.W_o.T + h @ w.U_o.T + w.b_o)
        c = f * c + i * tanh(x_t @ w.W_c.T + h @ w.U_c.T + w.b_c)
        h = o * tanh(c)
        yield {"h": h, "c": c}


@cell("LSTMPeephole")  # all gates see the old cell through a matrix
def _peephole(w: W, x: Tensor) -> Steps:
    c = zeros(x, len(w.b_f))
    for x_t in x.unbind(1):
        f = sig(x_t @ w.W_f.T + c @ w.U_f.T + w.b_f)
        i = sig(x_t @ w.W_i.T + c @ w.U_i.T + w.b_i)
        o = sig(x_t @ w.W_o.T + c @ w.U_o.T + w.b_o)
        c = f * c + i * tanh(x_t @ w.W_c.T + w.b_c)
        yield {"h": o * tanh(c), "c": c}


@cell("LSTMGers")  # Gers, Schraudolph and Schmidhuber 2002: diagonal, and o sees the new cell
def _gers(w: W, x: Tensor) -> Steps:
    h = c = zeros(x, len(w.b_f))
    for x_t in x.unbind(1):
        i = sig(x_t @ w.W_i.T + h @ w.U_i.T + w.p_i * c + w.b_i)
        f = sig(x_t @ w.W_f.T + h @ w.U_f.T + w.p_f * c + w.b_f)
        c = f * c + i * tanh(x_t @ w.W_c.T + h @ w.U_c.T + w.b_c)
        o = sig(x_t @ w.W_o.T + h @ w.U_o.T + w.p_o * c + w.b_o)
        h = o * tanh(c)
        yield {"h": h, "c": c}


@cell("GRU")  # Chung et al. 2014: the reset gate before the product
def _gru(w: W, x: Tensor) -> Steps:
    h = zeros(x, len(w.W))
    for x_t in x.unbind(1):
        z = sig(x_t @ w.W_z.T + h @ w.U_z.T)
        r = sig(x_t @ w.W_r.T + h @ w.U_r.T)
        h = torch.lerp(h, tanh(x_t @ w.W.T + (r * h) @ w.U.T), z)
        yield {"h": h}


@cell("GRUResetAfter")  # cuDNN: the reset gate after the product. This is torch's own cell
def _gru_after(w: W, x: Tensor) -> Steps:
    W_, U, b, c = (
        torch.cat([getattr(w, f"{p}_{gate}") for gate in "rzn"]) for p in ("W", "U", "b", "c")
    )
    h = zeros(x, len(w.b_r))
    for x_t in x.unbind(1):
        h = torch.gru_cell(x_t, h, W_, U, b, c)
        yield {"h": h}


@cell("ClockworkRNN")  # Koutník et al. 2014: module g moves every 2^g steps and reads slower ones
def _clockwork(w: W, x: Tensor) -> Steps:
    modules, size = SPECIAL["ClockworkRNN"]["G"], SPECIAL["ClockworkRNN"]["k"]
    h = zeros(x, modules * size)
    for t, x_t in enumerate(x.unbind(1)):
        parts = []
        for g in range(modules):
            rows, slower = slice(g * size, (g + 1) * size), slice(g * size, None)
            moved = tanh(h[:, slower] @ w.U[rows, slower].T + x_t @ w.W[rows].T + w.b[rows])
            parts.append(moved if t % 2**g == 0 else h[:, rows])
        h = torch.cat(parts, dim=1)
        yield {"h": h}


@cell("MinGRU")  # Feng et al. 2024
def _min_gru(w: W, x: Tensor) -> Steps:
    h = zeros(x, len(w.W_h))
    for x_t in x.unbind(1):
        z = sig(x_t @ w.W_z.T)
        h = (1 - z) * h + z * (x_t @ w.W_h.T)
        yield {"h": h}


@cell("MUT1")  # Jozefowicz et al. 2015
def _mut1(w: W, x: Tensor) -> Steps:
    h = zeros(x, len(w.b))
    for x_t in x.unbind(1):
        z = sig(x_t @ w.W_z.T + w.b_z)
        r = sig(x_t @ w.W_r.T + h @ w.U_r.T + w.b_r)
        h = tanh((r * h) @ w.U.T + tanh(x_t @ w.P.T) + w.b) * z + h * (1 - z)
        yield {"h": h}


@cell("LEM")  # Rusch et al. 2022; the paper's y is h
def _lem(w: W, x: Tensor) -> Steps:
    y = z = zeros(x, len(w.b_1))
    for x_t in x.unbind(1):
        slow = sig(x_t @ w.W_1.T + y @ w.U_1.T + w.b_1)
        fast = sig(x_t @ w.W_2.T + y @ w.U_2.T + w.b_2)
        z = (1 - fast) * z + fast * tanh(x_t @ w.W_y.T + y @ w.U_y.T + w.b_y)
        y = (1 - slow) * y + slow * tanh(x_t @ w.W_z.T + z @ w.U_z.T + w.b_z)
        yield {"h": y, "z": z}


@cell("FastGRNN")  # Kusupati et al. 2018
def _fast_grnn(w: W, x: Tensor) -> Steps:
    h = zeros(x, len(w.W))
    for x_t in x.unbind(1):
        shared = x_t @ w.W.T + h @ w.U.T
        z = sig(shared + w.b_z)
        h = (sig(w.zeta) * (1 - z) + sig(w.nu)) * tanh(shared + w.b_h) + z * h
        yield {"h": h}


@cell("IndRNN")  # Li et al. 2018
def _ind_rnn(w: W, x: Tensor) -> Steps:
    h = zeros(x, len(w.W))
    for x_t in x.unbind(1):
        h = torch.relu(x_t @ w.W.T + w.u * h + w.b)
        yield {"h": h}


@cell("SRU")  # Lei et al. 2018
def _sru(w: W, x: Tensor) -> Steps:
    c = zeros(x, len(w.W))
    for x_t in x.unbind(1):
        f = sig(x_t @ w.W_f.T + w.v_f * c + w.b_f)
        r = sig(x_t @ w.W_r.T + w.v_r * c + w.b_r)
        c = f * c + (1 - f) * (x_t @ w.W.T)
        yield {"h": r * c + (1 - r) * (x_t @ w.W_s.T), "c": c}


@cell("LSTMLayerNorm")  # Ba, Kiros and Hinton 2016
def _layer_norm(w: W, x: Tensor) -> Steps:
    def norm(a: Tensor, gain: Tensor) -> Tensor:
        return torch.nn.functional.layer_norm(a, a.shape[-1:], gain, eps=1e-5)

    h = c = zeros(x, w.U.shape[1])
    for x_t in x.unbind(1):
        gates = norm(x_t @ w.W.T, w.gain_x) + norm(h @ w.U.T, w.gain_h) + w.b
        i, g, f, o = gates.chunk(4, dim=1)
        c = sig(f) * c + sig(i) * tanh(g)
        h = sig(o) * tanh(norm(c, w.gain_c) + w.b_c)
        yield {"h": h, "c": c}


@cell("MLSTM")  # Beck et al. 2024, the plain form: exponential gates without their maximum
def _mlstm(w: W, x: Tensor) -> Steps:
    size = len(w.W_q)
    memory, n = x.new_zeros(len(x), size, size), zeros(x, size)
    for x_t in x.unbind(1):
        q, v = x_t @ w.W_q.T + w.b_q, x_t @ w.W_v.T + w.b_v
        k = x_t @ w.W_k.T / size**0.5 + w.b_k
        i, f = torch.exp(x_t @ w.w_i + w.b_i)[:, None], sig(x_t @ w.w_f + w.b_f)[:, None]
        memory = f[..., None] * memory + i[..., None] * v[:, :, None] * k[:, None, :]
        n = f * n + i * k
        below = torch.clamp(torch.abs((n * q).sum(1, keepdim=True)), min=1)
        found = (memory @ q[:, :, None])[:, :, 0] / below
        yield {"h": sig(x_t @ w.W_o.T + w.b_o) * found}


# ---------------------------------------------------------------- models: their loss


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Summed over the steps, averaged over the sequences."""
    total = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), y.reshape(-1), reduction="sum"
    )
    return total / len(y)


@model("Elman")  # Goodfellow et al. 2016, equations 10.8 to 10.11
def _elman_classifier(w: W, data: dict[str, Tensor]) -> Tensor:
    h = zeros(data["x"], len(w.b))
    logits = []
    for x_t in data["x"].unbind(1):
        h = tanh(w.b + h @ w.W.T + x_t @ w.U.T)
        logits.append(w.c + h @ w.V.T)
    return cross_entropy(torch.stack(logits, 1), data["y"])


@model("Jordan")  # Jordan 1986: the output comes back, and fades
def _jordan(w: W, data: dict[str, Tensor]) -> Tensor:
    o = s = zeros(data["x"], len(w.c))
    loss = 0.0
    for x_t, y_t in zip(data["x"].unbind(1), data["y"].unbind(1), strict=True):
        s = 0.5 * s + o
        o = sig(sig(x_t @ w.W.T + s @ w.U.T + w.b) @ w.V.T + w.c)
        loss = loss - torch.distributions.Normal(o, 1.0).log_prob(y_t).sum() / len(o)
    return loss


@model("Bidirectional")  # Schuster and Paliwal 1997; one softmax over both
def _bidirectional(w: W, data: dict[str, Tensor]) -> Tensor:
    x = data["x"]

    def run(a: Tensor, b: Tensor, xs: Tensor) -> Tensor:
        h, out = zeros(x, len(a)), []
        for x_t in xs.unbind(1):
            h = tanh(h @ a.T + x_t @ b.T)
            out.append(h)
        return torch.stack(out, 1)

    forward = run(w.W, w.U, x)
    backward = run(getattr(w, "W'"), getattr(w, "U'"), x.flip(1)).flip(1)
    return cross_entropy(forward @ w.V.T + backward @ getattr(w, "V'").T, data["y"])


@model("LSTMClassifier")  # of the last step; this is torch's own layer
def _lstm_classifier(w: W, data: dict[str, Tensor]) -> Tensor:
    size, n = w.h2h.shape[1], w.x2h.shape[1]
    layer = torch.nn.LSTM(n, size, batch_first=True, dtype=torch.float64)
    held = {"weight_ih_l0": w.x2h, "weight_hh_l0": w.h2h, "bias_ih_l0": w.b}
    held["bias_hh_l0"] = torch.zeros_like(w.b)
    h, _ = torch.func.functional_call(layer, held, (data["x"],))
    return cross_entropy(h[:, -1] @ w.V.T + w.c_out, data["y"])


@model("GRUClassifier")  # of words: the gradient of the table, too
def _gru_classifier(w: W, data: dict[str, Tensor]) -> Tensor:
    x = torch.nn.functional.embedding(data["w"], w.E)
    h = list(_gru(w, x))[-1]["h"]
    return cross_entropy(h @ w.V.T + w.c, data["y"])


@model("CharLSTM")  # each step reads the character before, the first one character 0
def _characters(w: W, data: dict[str, Tensor]) -> Tensor:
    y = data["y"]
    before = torch.cat([torch.zeros_like(y[:, :1]), y[:, :-1]], dim=1)
    h = torch.stack([s["h"] for s in _lstm(w, w.E[before])], 1)
    return cross_entropy(h @ w.V.T + w.c_out, y)


# ---------------------------------------------------------------- models of layers, and attention


def part(w: W, layer: str) -> W:
    """The weights of a layer, by its own names."""
    named = {n.removeprefix(f"{layer}."): a for n, a in vars(w).items() if n.startswith(layer)}
    return W(**named)


def torch_lstm(x: Tensor, *layers: W) -> tuple[Tensor, Tensor]:
    """torch's own LSTM, whose gates are i, f, g, o; with two sets of weights in both directions.
    The states and the last cell state of the first."""
    n, m, both = x.shape[2], len(layers[0].b_f), len(layers) == 2
    layer = torch.nn.LSTM(n, m, batch_first=True, bidirectional=both, dtype=torch.float64)
    held = {}
    for w, end in zip(layers, ("", "_reverse"), strict=False):
        held[f"weight_ih_l0{end}"] = torch.cat([w.W_i, w.W_f, w.W_c, w.W_o])
        held[f"weight_hh_l0{end}"] = torch.cat([w.U_i, w.U_f, w.U_c, w.U_o])
        held[f"bias_ih_l0{end}"] = torch.cat([w.b_i, w.b_f, w.b_c, w.b_o])
        held[f"bias_hh_l0{end}"] = x.new_zeros(4 * m)
    h, (_, c) = torch.func.functional_call(layer, held, (x,))
    return h, c[0]


def lstm_step(w: W, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    cell = torch.nn.LSTMCell(x.shape[1], h.shape[1], dtype=torch.float64)
    held = {
        "weight_ih": torch.cat([w.W_i, w.W_f, w.W_c, w.W_o]),
        "weight_hh": torch.cat([w.U_i, w.U_f, w.U_c, w.U_o]),
        "bias_ih": torch.cat([w.b_i, w.b_f, w.b_c, w.b_o]),
        "bias_hh": x.new_zeros(4 * h.shape[1]),
    }
    return torch.func.functional_call(cell, held, (x, (h, c)))


def gru_step(w: W, x: Tensor, h: Tensor) -> Tensor:
    z, r = sig(x @ w.W_z.T + h @ w.U_z.T), sig(x @ w.W_r.T + h @ w.U_r.T)
    return (1 - z) * h + z * tanh(x @ w.W.T + (r * h) @ w.U.T)


def words_before(y: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(y[:, :1]), y[:, :-1]], dim=1)


@model("Tagger")  # torch's own bidirectional layer
def _tagger(w: W, data: dict[str, Tensor]) -> Tensor:
    h, _ = torch_lstm(w.E[data["w"]], part(w, "f"), part(w, "g"))
    return cross_entropy(h @ w.V.T + w.b, data["y"])


@model("SentenceMean")
def _sentence_mean(w: W, data: dict[str, Tensor]) -> Tensor:
    h, _ = torch_lstm(w.E[data["w"]], part(w, "h"))
    return cross_entropy(h.mean(1) @ w.V.T + w.b, data["y"])


@model("Captioner")  # the image is the word before the start word
def _captioner(w: W, data: dict[str, Tensor]) -> Tensor:
    image = data["x"] @ w.I.T + w.b
    words = torch.cat([image[:, None], w.E[words_before(data["y"])]], dim=1)
    h, _ = torch_lstm(words, part(w, "h"))
    return cross_entropy(h[:, 1:] @ w.V.T + w.b_o, data["y"])


@model("Seq2Seq")  # Sutskever et al. 2014: the source in reverse
def _seq2seq(w: W, data: dict[str, Tensor]) -> Tensor:
    f, c = torch_lstm(w.X[data["x"].flip(1)], part(w, "f"))
    h, out = f[:, -1], []
    for e in w.E[words_before(data["y"])].unbind(1):
        h, c = lstm_step(part(w, "h"), e, h, c)
        out.append(h)
    return cross_entropy(torch.stack(out, 1) @ w.V.T + w.b, data["y"])


@model("BahdanauAttention")  # Bahdanau et al. 2015, appendix A.2
def _bahdanau(w: W, data: dict[str, Tensor]) -> Tensor:
    x = w.X[data["x"]]

    def run(layer: W, xs: Tensor) -> Tensor:
        return torch.stack([s["h"] for s in _gru(layer, xs)], 1)

    forward, backward = run(part(w, "f"), x), run(part(w, "g"), x.flip(1)).flip(1)
    notes = torch.cat([forward, backward], dim=2)
    h, out = tanh(backward[:, 0] @ w.A.T), []
    for e in w.E[words_before(data["y"])].unbind(1):
        a = torch.softmax(tanh((h @ w.Q.T)[:, None] + notes @ w.K.T) @ w.v, dim=1)
        c = torch.einsum("bt,bti->bi", a, notes)
        deep = h @ w.U_o.T + e @ w.V_o.T + c @ w.C_o.T
        h = gru_step(part(w, "h"), torch.cat([e, c], 1), h)
        out.append(torch.maximum(*deep.chunk(2, dim=1)) @ w.O.T)
    return cross_entropy(torch.stack(out, 1), data["y"])


def _luong(w: W, data: dict[str, Tensor], score: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    f, c = torch_lstm(w.X[data["x"]], part(w, "f"))
    h, fed, out = f[:, -1], torch.zeros_like(c), []
    for e in w.E[words_before(data["y"])].unbind(1):
        h, c = lstm_step(part(w, "h"), torch.cat([e, fed], 1), h, c)
        a = torch.softmax(score(h, f), dim=1)
        context = torch.einsum("bt,bti->bi", a, f)
        fed = tanh(torch.cat([context, h], 1) @ w.W_c.T)
        out.append(fed @ w.W_s.T)
    return cross_entropy(torch.stack(out, 1), data["y"])


@model("LuongDot")  # Luong et al. 2015, with input feeding
def _luong_dot(w: W, data: dict[str, Tensor]) -> Tensor:
    return _luong(w, data, lambda h, f: torch.einsum("bi,bti->bt", h, f))


@model("LuongGeneral")
def _luong_general(w: W, data: dict[str, Tensor]) -> Tensor:
    return _luong(w, data, lambda h, f: torch.einsum("bi,ij,btj->bt", h, w.W_a, f))


@model("LuongConcat")
def _luong_concat(w: W, data: dict[str, Tensor]) -> Tensor:
    def score(h: Tensor, f: Tensor) -> Tensor:
        both = torch.cat([h[:, None].expand_as(f), f], dim=2)
        return tanh(both @ w.W_a.T) @ w.v

    return _luong(w, data, score)


@model("MDRNN")  # Graves et al. 2007: rows above and columns to the left
def _mdrnn(w: W, data: dict[str, Tensor]) -> Tensor:
    x = data["x"]
    above = [zeros(x, len(w.b))] * x.shape[2]
    for row in x.unbind(1):
        left, now = zeros(x, len(w.b)), []
        for x_ij, up in zip(row.unbind(1), above, strict=True):
            left = tanh(x_ij @ w.U.T + up @ w.W_1.T + left @ w.W_2.T + w.b)
            now.append(left)
        above = now
    return cross_entropy(above[-1] @ w.V.T + w.c, data["y"])


# ---------------------------------------------------------------- the comparison


def sizes(spec: rnnc.Spec) -> dict[str, int]:
    return SPECIAL.get(spec.name) or {d: SIZES[d] for d in spec.system.dims if "." not in d}


@pytest.mark.parametrize("name", [*CELLS, *MODELS])
def test_gradients(name: str) -> None:
    spec = rnnc.load(name, **sizes(rnnc.load(name)))
    data = random_data(spec, BATCH, STEPS, seed=7)
    weights = random_weights(spec, seed=7, noise=0.2)
    tensors = {n: torch.tensor(a) for n, a in data.items()}
    for a in tensors.values():
        a.requires_grad_(a.is_floating_point())
    held = {n: torch.tensor(a, requires_grad=True) for n, a in weights.items()}
    w = W(**held)
    if name in MODELS:
        loss = MODELS[name](w, tensors)
    else:
        steps = list(CELLS[name](w, tensors["x"]))
        outputs = {n: torch.stack([s[n] for s in steps], 1) for n in steps[0]}
        assert outputs.keys() == set(spec.system.outputs)
        rng = np.random.default_rng(7)
        for n, output in outputs.items():
            data[f"d_{n}"] = rng.standard_normal(tuple(output.shape))
        loss = sum((output * torch.tensor(data[f"d_{n}"])).sum() for n, output in outputs.items())
    loss.backward()
    wanted = {n: a.grad.numpy() for n, a in {**held, **tensors}.items() if a.grad is not None}
    assert held.keys() <= wanted.keys()
    scale = max(np.abs(g).max() for g in wanted.values())
    for backend in "numpy", "onnx":
        ours = spec.compile(backend, mode="grad", dtype="float64", weights=weights,
                            inputs=[n for n in tensors if n in wanted])  # fmt: skip
        out = ours.run({p.name: data[p.name] for p in ours.ports.inputs})
        if name in MODELS:
            assert float(out["loss"]) == pytest.approx(loss.item(), rel=1e-12)
        for n, gradient in wanted.items():
            np.testing.assert_allclose(
                out[f"d_{n}"], gradient, rtol=0, atol=1e-10 * scale, err_msg=f"{backend}: d_{n}"
            )
