"""Whole models of the library against their papers: written down anew in NumPy, word by word and
point by point, instead of from the specs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from test_agreement import NDA, W, _gru, _lstm, mv, sig, small, softmax, surprise, uneven

import rnnc
from rnnc.testing import random_data, random_weights, reference

BATCH = 3


def run(name: str, steps: int = 4) -> tuple[W, dict[str, NDA], dict[str, NDA]]:
    """Weights, data, and what the equations make of them."""
    spec = rnnc.load(name, **small(name))
    lengths = uneven(spec, steps)
    weights = random_weights(spec, seed=6, noise=0.3)
    data = random_data(spec, BATCH, lengths, seed=6)
    return W(weights), data, reference(spec, data, weights, batch=BATCH, steps=lengths)


def part(w: W, layer: str) -> W:
    """The weights of a layer, by its own names."""
    return W({n.removeprefix(f"{layer}."): a for n, a in vars(w).items() if n.startswith(layer)})


def states(cell: object, w: W, x: NDA, backward: bool = False) -> NDA:
    """States of a cell, [batch, T, m], by the caller's steps."""
    h = np.stack([s["h"] for s in cell(w, x[:, ::-1] if backward else x)], 1)  # type: ignore[operator]
    return h[:, ::-1] if backward else h


def lstm_step(w: W, x: NDA, h: NDA, c: NDA) -> tuple[NDA, NDA]:
    f, i, o = (sig(mv(a, x) + mv(u, h) + b) for a, u, b in
               ((w.W_f, w.U_f, w.b_f), (w.W_i, w.U_i, w.b_i), (w.W_o, w.U_o, w.b_o)))  # fmt: skip
    c = f * c + i * np.tanh(mv(w.W_c, x) + mv(w.U_c, h) + w.b_c)
    return o * np.tanh(c), c


def memory(w: W, x: NDA) -> NDA:
    """The last cell state of an LSTM."""
    return list(_lstm(w, x))[-1]["c"]


def join(*parts: NDA) -> NDA:
    return np.concatenate(parts, axis=-1)


def shifted(y: NDA) -> NDA:
    """The word before each, word 0 before the first."""
    return np.concatenate([np.zeros_like(y[:, :1]), y[:, :-1]], axis=1)


def assert_found(found: dict[str, NDA], p: list[NDA], y: NDA, name: str = "p") -> None:
    """Probabilities, step by step, and the loss."""
    stacked = np.stack(p, 1)
    assert_allclose(found[name], stacked, rtol=1e-11)
    assert_allclose(found["loss"], surprise(stacked, y), rtol=1e-11)


# ---------------------------------------------------------------- one axis


def test_tagger() -> None:
    w, data, found = run("Tagger")
    x = w.E[data["w"]]
    f, g = states(_lstm, part(w, "f"), x), states(_lstm, part(w, "g"), x, backward=True)
    both = join(f, g)
    assert_found(found, [softmax(mv(w.V, h) + w.b) for h in both.swapaxes(0, 1)], data["y"])


def test_bidirectional_gru() -> None:
    w, data, found = run("BidirectionalGRU")
    x = data["x"]
    both = join(states(_gru, part(w, "f"), x), states(_gru, part(w, "g"), x, backward=True))
    assert_found(found, [softmax(mv(w.V, h) + w.b) for h in both.swapaxes(0, 1)], data["y"])


@pytest.mark.parametrize(("name", "layers"), [("DeepLSTM", 3), ("CharRNN", 2)])
def test_stacks(name: str, layers: int) -> None:
    w, data, found = run(name)
    h = w.E[shifted(data["y"])] if name == "CharRNN" else data["x"]
    for layer in range(1, layers + 1):
        h = states(_lstm, part(w, f"h.{layer}"), h)
    assert_found(found, [softmax(mv(w.V, s) + w.b) for s in h.swapaxes(0, 1)], data["y"])


@pytest.mark.parametrize("name", ["SentenceClassifier", "SentenceMean"])
def test_sentences(name: str) -> None:
    w, data, found = run(name)
    h = states(_lstm, part(w, "h"), w.E[data["w"]])
    p = softmax(mv(w.V, h.mean(1) if name == "SentenceMean" else h[:, -1]) + w.b)
    assert_allclose(found["p"], p, rtol=1e-11)
    assert_allclose(found["loss"], surprise(p, data["y"]), rtol=1e-11)


def test_captioner() -> None:
    """The image is the word before the start word (Vinyals et al. 2015, eq. 10-12)."""
    w, data, found = run("Captioner")
    words = w.E[shifted(data["y"])]
    image = mv(w.I, data["x"]) + w.b
    h = states(_lstm, part(w, "h"), np.concatenate([image[:, None], words], axis=1))[:, 1:]
    assert_found(found, [softmax(mv(w.V, s) + w.b_o) for s in h.swapaxes(0, 1)], data["y"])


def test_captioner_every() -> None:
    w, data, found = run("CaptionerEvery")
    words = w.E[shifted(data["y"])]
    image = np.broadcast_to(data["x"][:, None], (*words.shape[:2], data["x"].shape[1]))
    h = states(_lstm, part(w, "h"), join(words, image))
    assert_found(found, [softmax(mv(w.V, s) + w.b) for s in h.swapaxes(0, 1)], data["y"])


# ---------------------------------------------------------------- encoder and decoder


def test_seq2seq() -> None:
    """The sentence is read in reverse; the decoder starts from both last states."""
    w, data, found = run("Seq2Seq")
    source, target = w.X[data["x"]][:, ::-1], w.E[shifted(data["y"])]
    h, c = states(_lstm, part(w, "f"), source)[:, -1], memory(part(w, "f"), source)
    p = []
    for e in target.swapaxes(0, 1):
        h, c = lstm_step(part(w, "h"), e, h, c)
        p.append(softmax(mv(w.V, h) + w.b))
    assert_found(found, p, data["y"])


def gru_step(w: W, x: NDA, h: NDA) -> NDA:
    z, r = (sig(mv(a, x) + mv(u, h)) for a, u in ((w.W_z, w.U_z), (w.W_r, w.U_r)))
    return (1 - z) * h + z * np.tanh(mv(w.W, x) + mv(w.U, r * h))


def test_seq2seq_every() -> None:
    w, data, found = run("Seq2SeqEvery")
    c = np.tanh(mv(w.V, states(_gru, part(w, "f"), w.X[data["x"]])[:, -1]))
    h, p = np.tanh(mv(vars(w)["V'"], c)), []
    for e in w.E[shifted(data["y"])].swapaxes(0, 1):
        h = gru_step(part(w, "h"), join(e, c), h)
        p.append(softmax(mv(w.O_h, h) + mv(w.O_y, e) + mv(w.O_c, c)))
    assert_found(found, p, data["y"])


@pytest.mark.parametrize("name", ["ContextLast", "ContextTransformed", "ContextAll"])
def test_contexts(name: str) -> None:
    w, data, found = run(name)
    h, all_h = np.zeros((BATCH, len(w.W))), []
    for x_t in data["x"].T:
        h = np.tanh(mv(w.W, h) + w.U[x_t] + w.b)
        all_h.append(h)
    seen = sum(all_h) / len(all_h) if name == "ContextAll" else h
    c = seen if name == "ContextLast" else np.tanh(mv(w.Q, seen) + w.r)
    other, bias, words = (vars(w)[n] for n in ("W'", "b'", "U'"))
    s, p = (np.zeros((BATCH, len(other))) if name == "ContextAll" else c), []
    for before in shifted(data["y"]).T:
        a = mv(other, s) + words[before] + bias
        s = np.tanh(a + mv(w.C, c) if name == "ContextAll" else a)
        p.append(softmax(mv(w.V, s) + w.a))
    assert_found(found, p, data["y"])


def attended(scores: list[NDA], values: NDA) -> tuple[NDA, NDA]:
    """Softmax over the words, and the mean of their values with these weights."""
    a = softmax(np.stack(scores, 1))
    return a, sum(a[:, t, None] * values[:, t] for t in range(values.shape[1]))


def test_bahdanau() -> None:
    """Appendix A.2 of the paper."""
    w, data, found = run("BahdanauAttention")
    x = w.X[data["x"]]
    back = states(_gru, part(w, "g"), x, backward=True)
    notes = join(states(_gru, part(w, "f"), x), back)
    h = np.tanh(mv(w.A, back[:, 0]))
    p, weights = [], []
    for e in w.E[shifted(data["y"])].swapaxes(0, 1):
        scores = [np.tanh(mv(w.Q, h) + mv(w.K, n)) @ w.v for n in notes.swapaxes(0, 1)]
        a, c = attended(scores, notes)
        deep = mv(w.U_o, h) + mv(w.V_o, e) + mv(w.C_o, c)  # of the state before the step
        h = gru_step(part(w, "h"), join(e, c), h)
        p.append(softmax(mv(w.O, np.maximum(*np.split(deep, 2, axis=1)))))
        weights.append(a)
    assert_found(found, p, data["y"], "o")
    assert_allclose(found["a"], np.stack(weights, 1), rtol=1e-11)


@pytest.mark.parametrize("kind", ["Dot", "General", "Concat"])
def test_luong(kind: str) -> None:
    """Eq. 5-8 and section 3.3 of the paper."""
    w, data, found = run(f"Luong{kind}")
    x = w.X[data["x"]]
    f, h, c = states(_lstm, part(w, "f"), x), None, memory(part(w, "f"), x)
    h, fed = f[:, -1], np.zeros_like(f[:, -1])
    p, weights = [], []
    for e in w.E[shifted(data["y"])].swapaxes(0, 1):
        h, c = lstm_step(part(w, "h"), join(e, fed), h, c)
        scores = []
        for s in f.swapaxes(0, 1):
            if kind == "Concat":
                scores.append(np.tanh(mv(w.W_a, join(h, s))) @ w.v)
            else:
                scores.append((h * (s if kind == "Dot" else mv(w.W_a, s))).sum(1))
        a, context = attended(scores, f)
        fed = np.tanh(mv(w.W_c, join(context, h)))
        p.append(softmax(mv(w.W_s, fed)))
        weights.append(a)
    assert_found(found, p, data["y"])
    assert_allclose(found["a"], np.stack(weights, 1), rtol=1e-11)


def test_self_attention() -> None:
    w, data, found = run("SelfAttention")
    x = data["x"]
    q, k, v = (np.einsum("ij,btj->bti", m, x) for m in (w.Q, w.K, w.W))
    steps = x.shape[1]
    weights = np.zeros((BATCH, steps, steps))
    for t in range(steps):  # steps up to t are there, no others
        scores = np.einsum("bi,bui->bu", q[:, t], k[:, : t + 1]) / np.sqrt(len(w.Q))
        weights[:, t, : t + 1] = softmax(scores)
    assert_allclose(found["a"], weights, rtol=1e-11)
    assert_allclose(found["o"], weights @ v, rtol=1e-11)


def test_attention_learns_where_to_look() -> None:
    """Sentences it has not seen are written in reverse, and a says which word was read when."""
    x = np.random.default_rng(0).integers(1, 10, (1700, 6))
    spec = rnnc.load("BahdanauAttention", n=10, k=10, d=16, m=32, p=32, l=16)
    seen = {"x": x[:1600], "y": x[:1600, ::-1]}
    fit = spec.fit(seen, batch=50, epochs=10, lr=0.01, clip=1.0, progress=False)
    model = spec.compile("onnx", weights=fit.weights, mode="generate")
    found = model.generate(x=x[1600:], steps=6, temperature=0)
    assert (found["y"] == x[1600:, ::-1]).mean() > 0.95
    looked = found["a"].argmax(-1)  # [batch, S]
    assert (looked == 5 - np.arange(6)).mean() > 0.8


# ---------------------------------------------------------------- two dimensions


def framed(x: NDA, size: int) -> NDA:
    """States of a grid with a frame of zeros around: [batch, I+2, J+2, size]."""
    return np.zeros((len(x), x.shape[1] + 2, x.shape[2] + 2, size))


def grid(x: NDA, u: NDA, first: NDA, second: NDA, b: NDA | float, down: int, right: int) -> NDA:
    """States of a network from one corner: 1 goes from low to high, -1 the other way."""
    h = framed(x, len(u))
    rows, columns = range(1, x.shape[1] + 1)[::down], range(1, x.shape[2] + 1)[::right]
    for i in rows:
        for j in columns:
            h[:, i, j] = np.tanh(mv(u, x[:, i - 1, j - 1]) + mv(first, h[:, i - down, j])
                                 + mv(second, h[:, i, j - right]) + b)  # fmt: skip
    return h[:, 1:-1, 1:-1]


def test_mdrnn() -> None:
    w, data, found = run("MDRNN", steps=3)
    h = grid(data["x"], w.U, w.W_1, w.W_2, w.b, 1, 1)
    p = softmax(mv(w.V, h[:, -1, -1]) + w.c)
    assert_allclose(found["p"], p, rtol=1e-11)
    assert_allclose(found["loss"], surprise(p, data["y"]), rtol=1e-11)


def test_mdrnn_of_four_directions() -> None:
    w, data, found = run("MDRNNFour", steps=3)
    ways = {"a": (1, 1), "b": (1, -1), "c": (-1, 1), "d": (-1, -1)}
    sums: NDArray[np.float64] | float = w.bias
    for way, (down, right) in ways.items():
        u, first, second, v = (
            vars(w)[n] for n in (f"U_{way}", f"{way.upper()}_1", f"{way.upper()}_2", f"V_{way}")
        )
        sums = sums + grid(data["x"], u, first, second, 0.0, down, right) @ v.T
    p = softmax(np.asarray(sums))
    assert_allclose(found["p"], p, rtol=1e-11)
    assert_allclose(found["loss"], surprise(p, data["y"]), rtol=1e-11)


def test_mdlstm() -> None:
    w, data, found = run("MDLSTM", steps=3)
    x = data["x"]
    h, c = framed(x, len(w.b_u)), framed(x, len(w.b_u))

    def net(name: str, i: int, j: int) -> NDA:
        a, up, left, b = (vars(w)[f"{k}_{name}"] for k in "WALb")
        return mv(a, x[:, i - 1, j - 1]) + mv(up, h[:, i - 1, j]) + mv(left, h[:, i, j - 1]) + b

    for i in range(1, x.shape[1] + 1):
        for j in range(1, x.shape[2] + 1):
            above, left = c[:, i - 1, j], c[:, i, j - 1]
            enter = sig(net("u", i, j) + w.w_u1 * above + w.w_u2 * left)
            keep = sig(net("f1", i, j) + w.w_f1 * above), sig(net("f2", i, j) + w.w_f2 * left)
            c[:, i, j] = enter * np.tanh(net("c", i, j)) + keep[0] * above + keep[1] * left
            h[:, i, j] = sig(net("o", i, j) + w.w_o * c[:, i, j]) * np.tanh(c[:, i, j])
    p = softmax(mv(w.V, h[:, -2, -2]) + w.b)
    assert_allclose(found["p"], p, rtol=1e-11)
    assert_allclose(found["loss"], surprise(p, data["y"]), rtol=1e-11)
