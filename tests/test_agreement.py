"""One statement of meaning for the whole library, and cells of the papers written out by hand.

The first half says that whatever a spec of the library is compiled to gives what its equations
say. The second half writes cells down anew in NumPy, from the papers (and the implementations
that settle what papers leave open) instead of from the specs, so that a spec cannot be wrong
unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

import rnnc
from rnnc.testing import (
    agreement_table,
    assert_all_agree,
    random_data,
    random_weights,
    reference,
    relative_error,
)

NDA = NDArray[Any]

# no two alike, so that a wrong shape cannot fit by chance
SIZES = {
    "n": 3, "m": 4, "k": 5, "vocab": 6, "d": 2, "N": 7, "theta": 9, "l": 8, "p": 10, "layers": 2,
}  # fmt: skip
CLOCKS = {"G": 3, "k": 2}  # m follows
SPECIAL = {
    "ClockworkRNN": {"n": 3, **CLOCKS},
    "ClockworkWave": CLOCKS,
    "RWKV4": {"n": 4, "m": 4},  # the input is mixed with the state, elementwise
}


@cache
def small(name: str) -> dict[str, int]:
    """Sizes of a model's own dims; those of its layers follow."""
    own = (d for d in rnnc.load(name).system.dims if "." not in d)
    return SPECIAL.get(name) or {d: SIZES[d] for d in own}


def uneven(spec: rnnc.Spec, steps: int) -> dict[str, int]:
    """Steps of each time axis by the name of its length, no two alike."""
    lengths = {spec.system.axes[a].length for a in spec.system.time_axes()}
    return {length: steps + i for i, length in enumerate(sorted(lengths))}


LIBRARY = tuple(rnnc.library())


# the others run step by step
LOOKS_AHEAD = {
    *("Bidirectional", "BidirectionalGRU", "Tagger", "SentenceMean", "MDRNNFour"),
    "SelfAttention",  # causal by its mask alone
}


@pytest.mark.parametrize("name", LIBRARY)
def test_library(name: str) -> None:
    spec = rnnc.load(name, **small(name))
    one_axis = len(uneven(spec, 1)) == 1
    for batch, steps in ((1, 1), (3, 2), (2, 7)) if one_axis else ((1, 1), (2, 3)):
        errors = assert_all_agree(spec, batch=batch, steps=uneven(spec, steps))
        assert ("onnx step" in errors) == (name not in LOOKS_AHEAD)
    steps = uneven(spec, 7 if one_axis else 3)
    assert_all_agree(spec, batch=2, steps=steps, dtype="float32", seed=1, unrolled=one_axis)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "ClockworkRNN", "RWKV4", "MLSTM", "Bidirectional"])
def test_long_and_wide(name: str) -> None:
    spec = rnnc.load(name, **small(name))
    weights = {n: 0.5 * w for n, w in random_weights(spec).items()}  # no chaos
    assert_all_agree(spec, batch=33, steps=200, weights=weights, unrolled=name == "GRU")


@pytest.mark.parametrize("name", ["LSTM", "Adding", "EchoState", "QRNN", "OneToNFirst"])
def test_stream_forgets_on_reset(name: str) -> None:
    spec = rnnc.load(name, **small(name))
    stream = spec.stream(weights=random_weights(spec))
    taken = {p.name: p for p in stream.model.ports.inputs if p.role in ("input", "target")}
    rng = np.random.default_rng(0)
    now = {n: rng.standard_normal([2 if d == "batch" else d for d in p.dims])
           for n, p in taken.items()}  # fmt: skip
    first, second = stream(**now), stream(**now)
    stream.reset()
    again = stream(**now)
    assert any(not np.array_equal(first[n], second[n]) for n in first)
    for n in first:
        np.testing.assert_array_equal(first[n], again[n])


def test_unrolled_models_say_how_long_they_are() -> None:
    spec = rnnc.load("LSTM", n=3, m=4)
    for backend in ("numpy", "onnx"):
        model = spec.compile(backend, weights=spec.init(), unroll=4)
        model(x=np.zeros((2, 4, 3)))
        with pytest.raises(rnnc.DataError, match="must be 4"):
            model(x=np.zeros((2, 5, 3)))


def test_table() -> None:
    table = agreement_table(["LSTM", "Bidirectional"], batch=1, steps=2, sizes=small)
    lines = table.splitlines()
    assert lines[0] == "| spec | NumPy | Scan | unrolled | step |"
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| LSTM", "| Bidirectional"]
    assert lines[2].count("e-1") == 4
    assert lines[3].endswith("| looks ahead |")


def test_disagreement_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test of the test: a wrong sign in one backend is named."""
    from rnnc.backends import numpy_ops

    spec = rnnc.load("Elman", n=2, m=3, k=4)
    monkeypatch.setitem(numpy_ops.BINARY, "add", "subtract")
    with pytest.raises(AssertionError, match=r"^Elman, numpy: p is off by [\d.]+ of its largest"):
        assert_all_agree(spec, batch=2, steps=3)


def test_relative_error() -> None:
    inf, nan = np.inf, np.nan
    assert relative_error([2.0, 4.0], [2.0, 5.0]) == pytest.approx(0.2)
    assert relative_error([1e-3], [0.0]) == 1e-3
    assert relative_error([inf, -inf, nan, 1.0], [inf, -inf, nan, 1.0]) == 0
    for found, wanted in [
        ([inf], [-inf]),
        ([1.0], [nan]),
        ([nan], [1.0]),
        ([1.0, 2.0], [1.0]),
        ([1], [2]),
        ([1], [1.0]),
        ([True], [1]),
    ]:
        assert relative_error(found, wanted) == inf
    assert relative_error([3, 4], [3, 4]) == 0
    assert relative_error(np.float32([1.5]), [1.5]) == 0


def test_random_data_and_weights() -> None:
    spec = rnnc.load("LSTMSigmoid", n=3, m=4, k=5)
    data = random_data(spec, 2, 6, seed=3)
    assert {n: a.shape for n, a in data.items()} == {"x": (2, 6, 3), "y": (2, 6, 5)}
    assert set(np.unique(data["y"])) == {0.0, 1.0}
    data = random_data(rnnc.load("GRUClassifier", vocab=4, d=2, m=3, k=2), 50, 6)
    assert {n: a.shape for n, a in data.items()} == {"w": (50, 6), "y": (50,)}
    assert set(np.unique(data["w"])) == {0, 1, 2, 3}
    one, two = random_data(spec, 2, 6, seed=3), random_data(spec, 2, 6, seed=4)
    np.testing.assert_array_equal(one["x"], random_data(spec, 2, 6, seed=3)["x"])
    assert not np.array_equal(one["x"], two["x"])
    weights = random_weights(spec)
    assert {n: a.shape for n, a in weights.items()} == spec.shapes
    assert (weights["b_f"] != 0).all()


# ---------------------------------------------------------------- cells, by hand
# Each takes the weights (as attributes) and x [B, T, n], and yields what a step gives, as a
# dict of [B, features]. A prime is the value one step earlier. Sources as in the specs.


class W:
    """Weights as attributes."""

    def __init__(self, weights: Mapping[str, NDA]):
        self.__dict__.update(weights)


Steps = Iterator[dict[str, NDA]]
CELLS: dict[str, Callable[[W, NDA], Steps]] = {}


def sig(x: NDA) -> NDA:
    return 1 / (1 + np.exp(-x))


def cell(name: str) -> Callable[[Callable[[W, NDA], Steps]], Callable[[W, NDA], Steps]]:
    def add(f: Callable[[W, NDA], Steps]) -> Callable[[W, NDA], Steps]:
        CELLS[name] = f
        return f

    return add


def zeros(x: NDA, matrix: NDA) -> NDA:
    """[B, rows of the matrix]."""
    return np.zeros((len(x), len(matrix)))


def mv(matrix: NDA, x: NDA) -> NDA:
    """The matrix times each row."""
    return np.einsum("ij,bj->bi", matrix, x)


@cell("LSTM")  # Hochreiter and Schmidhuber 1997 with Gers's forget gate
def _lstm(w: W, x: NDA) -> Steps:
    c = h = zeros(x, w.W_f)
    for x_t in x.swapaxes(0, 1):
        f, i, o = (
            sig(mv(a, x_t) + mv(u, h) + b)
            for a, u, b in ((w.W_f, w.U_f, w.b_f), (w.W_i, w.U_i, w.b_i), (w.W_o, w.U_o, w.b_o))
        )
        g = np.tanh(mv(w.W_c, x_t) + mv(w.U_c, h) + w.b_c)
        c = f * c + i * g
        h = o * np.tanh(c)
        yield {"h": h, "c": c}


@cell("LSTMNoForget")  # 1997: no forget gate; squashers 4σ-2 and 2σ-1
def _lstm_1997(w: W, x: NDA) -> Steps:
    c = h = zeros(x, w.W_i)
    for x_t in x.swapaxes(0, 1):
        i = sig(mv(w.W_i, x_t) + mv(w.U_i, h) + w.b_i)
        o = sig(mv(w.W_o, x_t) + mv(w.U_o, h) + w.b_o)
        c = c + i * (4 * sig(mv(w.W_c, x_t) + mv(w.U_c, h) + w.b_c) - 2)
        h = o * (2 * sig(c) - 1)
        yield {"h": h}


@cell("LSTMPeephole")  # gates see the cell, not the output
def _peephole(w: W, x: NDA) -> Steps:
    c = zeros(x, w.W_f)
    for x_t in x.swapaxes(0, 1):
        f = sig(mv(w.W_f, x_t) + mv(w.U_f, c) + w.b_f)
        i = sig(mv(w.W_i, x_t) + mv(w.U_i, c) + w.b_i)
        o = sig(mv(w.W_o, x_t) + mv(w.U_o, c) + w.b_o)
        c = f * c + i * np.tanh(mv(w.W_c, x_t) + w.b_c)
        yield {"h": o * np.tanh(c), "c": c}


@cell("LSTMGers")  # Gers, Schraudolph and Schmidhuber 2002: o sees the new c
def _gers(w: W, x: NDA) -> Steps:
    c = h = zeros(x, w.W_f)
    for x_t in x.swapaxes(0, 1):
        z = np.tanh(mv(w.W_c, x_t) + mv(w.U_c, h) + w.b_c)
        i = sig(mv(w.W_i, x_t) + mv(w.U_i, h) + w.p_i * c + w.b_i)
        f = sig(mv(w.W_f, x_t) + mv(w.U_f, h) + w.p_f * c + w.b_f)
        c = i * z + f * c
        o = sig(mv(w.W_o, x_t) + mv(w.U_o, h) + w.p_o * c + w.b_o)
        h = o * np.tanh(c)
        yield {"h": h, "c": c}


@cell("LSTMCIFG")  # Greff et al. 2015: f = 1 - i
def _cifg(w: W, x: NDA) -> Steps:
    c = h = zeros(x, w.W_i)
    for x_t in x.swapaxes(0, 1):
        i = sig(mv(w.W_i, x_t) + mv(w.U_i, h) + w.b_i)
        o = sig(mv(w.W_o, x_t) + mv(w.U_o, h) + w.b_o)
        c = (1 - i) * c + i * np.tanh(mv(w.W_c, x_t) + mv(w.U_c, h) + w.b_c)
        h = o * np.tanh(c)
        yield {"h": h, "c": c}


@cell("LSTMLayerNorm")  # Ba, Kiros and Hinton 2016, over the packed gates (haste)
def _layer_norm(w: W, x: NDA) -> Steps:
    def norm(a: NDA, gain: NDA) -> NDA:
        return gain * (a - a.mean(1, keepdims=True)) / np.sqrt(a.var(1, keepdims=True) + 1e-5)

    c = h = np.zeros((len(x), w.U.shape[1]))
    for x_t in x.swapaxes(0, 1):
        v = norm(mv(w.W, x_t), w.gain_x) + norm(mv(w.U, h), w.gain_h) + w.b
        i, g, f, o = np.split(v, 4, axis=1)
        c = sig(f) * c + sig(i) * np.tanh(g)
        h = sig(o) * np.tanh(norm(c, w.gain_c) + w.b_c)
        yield {"h": h, "c": c}


@cell("MultiplicativeLSTM")  # Krause et al. 2016: m takes the place of h'
def _multiplicative(w: W, x: NDA) -> Steps:
    c = h = zeros(x, w.W_f)
    for x_t in x.swapaxes(0, 1):
        m = mv(w.W_v, x_t) * mv(w.U_v, h)
        f, i, o = (
            sig(mv(a, x_t) + mv(v, m) + b)
            for a, v, b in ((w.W_f, w.V_f, w.b_f), (w.W_i, w.V_i, w.b_i), (w.W_o, w.V_o, w.b_o))
        )
        c = f * c + i * np.tanh(mv(w.W_c, x_t) + mv(w.V_c, m) + w.b_c)
        h = np.tanh(c) * o
        yield {"h": h}


@cell("GRU")  # Chung et al. 2014: reset before the product, z takes the new, no biases
def _gru(w: W, x: NDA) -> Steps:
    h = zeros(x, w.W)
    for x_t in x.swapaxes(0, 1):
        z = sig(mv(w.W_z, x_t) + mv(w.U_z, h))
        r = sig(mv(w.W_r, x_t) + mv(w.U_r, h))
        h = (1 - z) * h + z * np.tanh(mv(w.W, x_t) + mv(w.U, r * h))
        yield {"h": h}


@cell("GRUBias")  # ONNX, linear_before_reset = 0: z keeps the old
def _gru_bias(w: W, x: NDA) -> Steps:
    h = zeros(x, w.W)
    for x_t in x.swapaxes(0, 1):
        z = sig(mv(w.W_z, x_t) + mv(w.U_z, h) + w.b_z)
        r = sig(mv(w.W_r, x_t) + mv(w.U_r, h) + w.b_r)
        h = z * h + (1 - z) * np.tanh(mv(w.W, x_t) + mv(w.U, r * h) + w.b)
        yield {"h": h}


@cell("GRUConcat")  # Olah 2015: one matrix on [h, x]
def _gru_concat(w: W, x: NDA) -> Steps:
    h = zeros(x, w.W)
    for x_t in x.swapaxes(0, 1):
        both = np.concatenate([h, x_t], axis=1)
        z, r = sig(mv(w.W_z, both)), sig(mv(w.W_r, both))
        h = (1 - z) * h + z * np.tanh(mv(w.W, np.concatenate([r * h, x_t], axis=1)))
        yield {"h": h}


@cell("GRUResetAfter")  # PyTorch and cuDNN
def _gru_after(w: W, x: NDA) -> Steps:
    h = zeros(x, w.W_n)
    for x_t in x.swapaxes(0, 1):
        r = sig(mv(w.W_r, x_t) + w.b_r + mv(w.U_r, h) + w.c_r)
        z = sig(mv(w.W_z, x_t) + w.b_z + mv(w.U_z, h) + w.c_z)
        n = np.tanh(mv(w.W_n, x_t) + w.b_n + r * (mv(w.U_n, h) + w.c_n))
        h = (1 - z) * n + z * h
        yield {"h": h}


@cell("MinGRU")  # Feng et al. 2024: nothing recurs inside a squashing function
def _min_gru(w: W, x: NDA) -> Steps:
    h = zeros(x, w.W_h)
    for x_t in x.swapaxes(0, 1):
        z = sig(mv(w.W_z, x_t))
        h = (1 - z) * h + z * mv(w.W_h, x_t)
        yield {"h": h}


@cell("MGU")  # Zhou et al. 2016
def _mgu(w: W, x: NDA) -> Steps:
    h = zeros(x, w.W)
    for x_t in x.swapaxes(0, 1):
        f = sig(mv(w.W_f, x_t) + mv(w.U_f, h) + w.b_f)
        h = (1 - f) * h + f * np.tanh(mv(w.W, x_t) + mv(w.U, f * h) + w.b)
        yield {"h": h}


@cell("UGRNN")  # Collins et al. 2017: the gate's bias has 1 added
def _ugrnn(w: W, x: NDA) -> Steps:
    h = zeros(x, w.W_c)
    for x_t in x.swapaxes(0, 1):
        g = sig(mv(w.W_g, x_t) + mv(w.U_g, h) + w.b_g + 1)
        h = g * h + (1 - g) * np.tanh(mv(w.W_c, x_t) + mv(w.U_c, h) + w.b_c)
        yield {"h": h}


@cell("FastGRNN")  # Kusupati et al. 2018: gate and candidate share their product
def _fast_grnn(w: W, x: NDA) -> Steps:
    h = zeros(x, w.W)
    for x_t in x.swapaxes(0, 1):
        p = mv(w.W, x_t) + mv(w.U, h)
        z, c = sig(p + w.b_z), np.tanh(p + w.b_h)
        h = z * h + (sig(w.zeta) * (1 - z) + sig(w.nu)) * c
        yield {"h": h}


@cell("IndRNN")  # Li et al. 2018: each unit sees itself alone
def _ind_rnn(w: W, x: NDA) -> Steps:
    h = zeros(x, w.W)
    for x_t in x.swapaxes(0, 1):
        h = np.maximum(mv(w.W, x_t) + w.u * h + w.b, 0)
        yield {"h": h}


@cell("LEM")  # Rusch et al. 2022; the paper's y is h here
def _lem(w: W, x: NDA) -> Steps:
    y = z = zeros(x, w.W_1)
    for x_t in x.swapaxes(0, 1):
        d1 = sig(mv(w.W_1, x_t) + mv(w.U_1, y) + w.b_1)
        d2 = sig(mv(w.W_2, x_t) + mv(w.U_2, y) + w.b_2)
        z = (1 - d2) * z + d2 * np.tanh(mv(w.W_y, x_t) + mv(w.U_y, y) + w.b_y)
        y = (1 - d1) * y + d1 * np.tanh(mv(w.W_z, x_t) + mv(w.U_z, z) + w.b_z)
        yield {"h": y, "z": z}


@cell("CoRNN")  # Rusch and Mishra 2021, damped by the old velocity
def _co_rnn(w: W, x: NDA) -> Steps:
    h = z = zeros(x, w.W)
    for x_t in x.swapaxes(0, 1):
        force = np.tanh(mv(w.W, x_t) + mv(w.U, h) + mv(w.V, z) + w.b)
        z = z + 0.05 * (force - 2.7 * h - 4.7 * z)
        h = h + 0.05 * z
        yield {"h": h, "z": z}


@cell("AntisymmetricRNN")  # Chang et al. 2019
def _antisymmetric(w: W, x: NDA) -> Steps:
    h = zeros(x, w.W)
    for x_t in x.swapaxes(0, 1):
        turn = mv(w.U, h) - mv(w.U.T, h) - 0.01 * h
        h = h + 0.1 * np.tanh(turn + mv(w.W, x_t) + w.b)
        yield {"h": h}


@cell("RWKV4")  # Peng et al. 2023, in the plain form: sums over all earlier steps
def _rwkv(w: W, x: NDA) -> Steps:
    before = np.concatenate([np.zeros_like(x[:, :1]), x[:, :-1]], axis=1)
    k, v, r = (
        np.einsum("ij,btj->bti", matrix, mix * x + (1 - mix) * before)
        for matrix, mix in ((w.W_k, w.mix_k), (w.W_v, w.mix_v), (w.W_r, w.mix_r))
    )
    slower = -np.exp(w.decay)
    for t in range(x.shape[1]):
        now = np.exp(w.u + k[:, t])
        above, below = now * v[:, t], now
        for s in range(t):
            past = np.exp((t - 1 - s) * slower + k[:, s])
            above, below = above + past * v[:, s], below + past
        yield {"h": mv(w.W_o, sig(r[:, t]) * above / below)}


@cell("MLSTM")  # Beck et al. 2024, in the plain form: exponential gates without their maximum
def _mlstm(w: W, x: NDA) -> Steps:
    size = len(w.W_q)
    big, n = np.zeros((len(x), size, size)), np.zeros((len(x), size))
    for x_t in x.swapaxes(0, 1):
        q, v = mv(w.W_q, x_t) + w.b_q, mv(w.W_v, x_t) + w.b_v
        k = mv(w.W_k, x_t) / np.sqrt(size) + w.b_k
        i, f = np.exp(x_t @ w.w_i + w.b_i), sig(x_t @ w.w_f + w.b_f)
        big = f[:, None, None] * big + i[:, None, None] * np.einsum("bi,bj->bij", v, k)
        n = f[:, None] * n + i[:, None] * k
        scale = np.maximum(np.abs(np.einsum("bi,bi->b", n, q)), 1)[:, None]
        yield {"h": sig(mv(w.W_o, x_t) + w.b_o) * np.einsum("bij,bj->bi", big, q) / scale}


@cell("SLSTM")  # Beck et al. 2024, likewise
def _slstm(w: W, x: NDA) -> Steps:
    c = n = h = zeros(x, w.W_z)
    for x_t in x.swapaxes(0, 1):
        z = np.tanh(mv(w.W_z, x_t) + mv(w.R_z, h) + w.b_z)
        o = sig(mv(w.W_o, x_t) + mv(w.R_o, h) + w.b_o)
        i = np.exp(mv(w.W_i, x_t) + mv(w.R_i, h) + w.b_i)
        f = sig(mv(w.W_f, x_t) + mv(w.R_f, h) + w.b_f)
        c, n = f * c + i * z, f * n + i
        h = o * c / n
        yield {"h": h}


@cell("QRNN")  # Bradbury et al. 2017, fo-pooling, window 2
def _qrnn(w: W, x: NDA) -> Steps:
    c = zeros(x, w.W_z)
    before = np.zeros_like(x[:, 0])
    for x_t in x.swapaxes(0, 1):
        z = np.tanh(mv(w.W_z, x_t) + mv(w.V_z, before) + w.b_z)
        f = sig(mv(w.W_f, x_t) + mv(w.V_f, before) + w.b_f)
        o = sig(mv(w.W_o, x_t) + mv(w.V_o, before) + w.b_o)
        c, before = f * c + (1 - f) * z, x_t
        yield {"h": o * c, "c": c}


@cell("LRU")  # Orvieto et al. 2023, in complex numbers
def _lru(w: W, x: NDA) -> Steps:
    rho = np.exp(-np.exp(w.nu))
    turn = rho * np.exp(1j * np.exp(w.theta_log))
    gamma = np.exp(w.gamma_log) * np.sqrt(1 - rho**2)
    state = np.zeros((len(x), len(w.nu)), complex)
    for x_t in x.swapaxes(0, 1):
        state = turn * state + gamma * mv(w.B_r + 1j * w.B_i, x_t)
        y = mv(w.C_r + 1j * w.C_i, state).real + mv(w.D, x_t)
        yield {"h": y, "u": state.real, "v": state.imag}


@cell("EchoState")  # Jaeger et al. 2007, leaky
def _echo(w: W, x: NDA) -> Steps:
    h = zeros(x, w.W)
    for x_t in x.swapaxes(0, 1):
        h = 0.7 * h + 0.3 * np.tanh(mv(w.W_in, x_t) + mv(w.W, h) + w.b)
        yield {"h": h}


@cell("ClockworkRNN")  # Koutník et al. 2014: modules one by one; clocks count from 0
def _clockwork(w: W, x: NDA) -> Steps:
    modules, size = CLOCKS["G"], CLOCKS["k"]
    h = zeros(x, w.W)
    for t, x_t in enumerate(x.swapaxes(0, 1)):
        new = h.copy()
        for g in range(modules):
            if t % 2**g == 0:
                rows, slower = slice(g * size, (g + 1) * size), slice(g * size, None)
                a = mv(w.U[rows, slower], h[:, slower]) + mv(w.W[rows], x_t) + w.b[rows]
                new[:, rows] = np.tanh(a)
        h = new
        yield {"h": h}


@pytest.mark.parametrize("name", CELLS)
def test_cell_by_hand(name: str) -> None:
    spec = rnnc.load(name, **small(name))
    weights = random_weights(spec, seed=5, noise=0.2)
    data = random_data(spec, 3, 5, seed=5)
    steps = list(CELLS[name](W(weights), data["x"]))
    found = reference(spec, data, weights, batch=3, steps=5)
    for output in steps[0]:
        by_hand = np.stack([s[output] for s in steps], axis=1)
        assert_allclose(found[output], by_hand, rtol=1e-11, atol=1e-13)
    assert_all_agree(spec, batch=3, steps=5, seed=5, weights=weights, data=data)


# ---------------------------------------------------------------- networks, by hand


def run(name: str, batch: int = 3, steps: int = 5) -> tuple[W, dict[str, NDA], dict[str, NDA]]:
    """Weights, data and what the reference makes of them, after everything agreed."""
    spec = rnnc.load(name, **small(name))
    weights = random_weights(spec, seed=6, noise=0.2)
    data = random_data(spec, batch, steps, seed=6)
    assert_all_agree(spec, batch=batch, steps=steps, weights=weights, data=data)
    return W(weights), data, reference(spec, data, weights, batch=batch, steps=steps)


def softmax(x: NDA) -> NDA:
    e = np.exp(x)
    return e / e.sum(-1, keepdims=True)


def surprise(p: NDA, y: NDA) -> float:
    """-log p[y], summed over the steps, averaged over the sequences (the first dimension)."""
    picked = np.take_along_axis(p, y[..., None], -1)
    return float(-np.log(picked).sum() / len(p))


def test_elman_by_hand() -> None:
    w, data, found = run("Elman")
    h = zeros(data["x"], w.W)
    out = []
    for x_t in data["x"].swapaxes(0, 1):
        h = np.tanh(w.b + mv(w.W, h) + mv(w.U, x_t))
        out.append(softmax(w.c + mv(w.V, h)))
    p = np.stack(out, 1)
    assert_allclose(found["p"], p, rtol=1e-12)
    assert_allclose(found["loss"], surprise(p, data["y"]), rtol=1e-12)
    assert_allclose(found["loss.y"], found["loss"], rtol=1e-15)
    assert found["count.y"] == p.shape[0] * p.shape[1]
    assert_allclose(found["accuracy"], (p.argmax(-1) == data["y"]).mean(), rtol=1e-15)


def test_bidirectional_by_hand() -> None:
    w, data, found = run("Bidirectional")
    x = data["x"].swapaxes(0, 1)
    forward, backward = [], []
    a = zeros(data["x"], w.W)
    for x_t in x:
        a = np.tanh(mv(w.W, a) + mv(w.U, x_t))
        forward.append(a)
    a = zeros(data["x"], w.W)
    weights = w.__dict__
    for x_t in x[::-1]:
        a = np.tanh(mv(weights["W'"], a) + mv(weights["U'"], x_t))
        backward.insert(0, a)
    p = softmax(np.stack([mv(w.V, f) + mv(weights["V'"], b)
                          for f, b in zip(forward, backward, strict=True)], 1))  # fmt: skip
    assert_allclose(found["p"], p, rtol=1e-12)
    assert_allclose(found["loss"], surprise(p, data["y"]), rtol=1e-12)


@pytest.mark.parametrize("name", ["OneToNFirst", "OneToNEvery"])
def test_one_to_n_by_hand(name: str) -> None:
    w, data, found = run(name)
    h = zeros(data["x"], w.W)
    out = []
    for t in range(5):
        seen = mv(w.U, data["x"]) * (t == 0 or name == "OneToNEvery")
        h = np.tanh(w.b + mv(w.W, h) + seen)
        out.append(softmax(w.c + mv(w.V, h)))
    p = np.stack(out, 1)
    assert_allclose(found["p"], p, rtol=1e-12)
    assert_allclose(found["loss"], surprise(p, data["y"]), rtol=1e-12)


def test_n_to_one_by_hand() -> None:
    w, data, found = run("NToOne")
    h = zeros(data["x"], w.W)
    for x_t in data["x"].swapaxes(0, 1):
        h = np.tanh(w.b + mv(w.W, h) + mv(w.U, x_t))
    p = softmax(w.c + mv(w.V, h))
    assert_allclose(found["p"], p, rtol=1e-12)
    assert_allclose(found["loss"], surprise(p, data["y"]), rtol=1e-12)
    assert found["count.y"] == 3


@pytest.mark.parametrize("teacher", [False, True])
def test_output_feedback_by_hand(teacher: bool) -> None:
    w, data, found = run("OutputFeedbackTeacher" if teacher else "OutputFeedback")
    x, y = data["x"].swapaxes(0, 1), data["y"].swapaxes(0, 1)
    back = np.zeros_like(y[0])
    out = []
    for x_t, y_t in zip(x, y, strict=True):
        h = np.tanh(w.b + mv(w.W, back) + mv(w.U, x_t))
        out.append(w.c + mv(w.V, h))
        back = y_t if teacher else out[-1]
    o = np.stack(out, 1)
    assert_allclose(found["o"], o, rtol=1e-12)
    each = 0.5 * (data["y"] - o) ** 2 + 0.5 * np.log(2 * np.pi)
    assert_allclose(found["loss"], each.sum() / 3, rtol=1e-12)


def test_jordan_by_hand() -> None:
    w, data, found = run("Jordan")
    o = s = zeros(data["x"], w.V)
    out = []
    for x_t in data["x"].swapaxes(0, 1):
        s = 0.5 * s + o
        o = sig(mv(w.V, sig(mv(w.W, x_t) + mv(w.U, s) + w.b)) + w.c)
        out.append(o)
    assert_allclose(found["o"], np.stack(out, 1), rtol=1e-12)


def test_character_model_by_hand() -> None:
    """Every step reads the character before it, the first one character 0."""
    w, data, found = run("CharLSTM")
    y = data["y"]
    before = np.concatenate([np.zeros((3, 1), int), y[:, :-1]], axis=1)
    h = np.stack([s["h"] for s in _lstm(w, w.E[before])], 1)
    p = softmax(np.einsum("ij,btj->bti", w.V, h) + w.c_out)
    assert_allclose(found["p"], p, rtol=1e-12)
    assert_allclose(found["loss"], surprise(p, y), rtol=1e-12)


def test_adding_by_hand() -> None:
    w, data, found = run("Adding")
    h = list(_lstm(w, data["x"]))[-1]["h"]
    answer = h @ w.v + w.c_out
    assert_allclose(found["answer"], answer, rtol=1e-12)
    assert_allclose(found["loss"], ((answer - data["y"]) ** 2).mean(), rtol=1e-12)
    assert found["right"] == (np.abs(answer - data["y"]) < 0.04).mean()


def test_independent_flags_by_hand() -> None:
    w, data, found = run("LSTMSigmoid")
    x = data["x"]
    c = h = zeros(x, w.W_f)
    out = []
    for x_t in x.swapaxes(0, 1):
        f, i, o = (
            sig(mv(a, h) + mv(u, x_t) + b)
            for a, u, b in ((w.W_f, w.U_f, w.b_f), (w.W_i, w.U_i, w.b_i), (w.W_o, w.U_o, w.b_o))
        )
        c = c * f + i * np.tanh(mv(w.W_a, h) + mv(w.U_a, x_t) + w.b_a)
        h = o * np.tanh(c)
        out.append(sig(mv(w.V, h) + w.c))
    p, y = np.stack(out, 1), data["y"]
    assert_allclose(found["p"], p, rtol=1e-12)
    each = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    assert_allclose(found["loss"], each.sum() / 3, rtol=1e-11)
