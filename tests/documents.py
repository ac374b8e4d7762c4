r"""The networks of five Markdown and text documents on recurrent networks, as they stand there.

Each block is copied letter for letter; only declarations are added. ``python -m tests.documents``
prints the table: the largest difference from the library's spec of the same network, evaluated
by its definition in float64. What a document has wrong is said in ``slip``.

The documents, by their titles: *RNN* (循环神经网络, with Clockwork RNN, LSTM and GRU);
*What is a recurrent network* (什么是神经递归网络, a blog post); *Recurrent networks* (循环神经网络,
after C. C. Aggarwal, Neural Networks and Deep Learning); *RNN_LSTM_GRU* (N-N, N-1, 1-N, N-M);
*Recurrent Neural Network (RNN)* (slides).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rnnc
from rnnc.runtime.reference import evaluate
from rnnc.testing import random_data, random_weights

NDA = NDArray[Any]
A, B, C = "RNN", "What is a recurrent network", "Recurrent networks"
D, E = "RNN_LSTM_GRU", "Recurrent Neural Network (RNN)"


@dataclass(frozen=True)
class Block:
    """Equations of a document, and the spec of the library that they are.

    ``declared`` goes before them; ``weights`` names the library's weight for each of the block's
    (the same name where it is missing; 0 makes the library's zero). ``given`` are inputs taken
    from the library's values, ``values`` the values that are compared, both with ``@2`` for a
    step, and ``mean`` for that of the batch. ``steps`` is T.
    """

    document: str
    what: str
    latex: str
    declared: str
    library: str
    values: Mapping[str, str]
    weights: Mapping[str, str] = field(default_factory=dict)
    zero: tuple[str, ...] = ()
    given: Mapping[str, str] = field(default_factory=dict)
    steps: int = 5
    slip: str = ""
    before: str = ""  # models above it
    sizes: Mapping[str, int] = field(default_factory=lambda: {"n": 3, "m": 4})


LSTM = """
dim    n = 3, m = 4
input  x[t] : [n]
param  W_f, W_i, W_o, W_c : [m, n],  U_f, U_i, U_o, U_c : [m, m],  b_f, b_i, b_o, b_c : [m]
"""
SIMPLE = """
dim    n = 3, m = 4, k = 5
input  x[t] : [n]
param  U : [m, n],  W : [m, m],  V : [k, m]
"""
SIZES = {"n": 3, "m": 4, "k": 5}
UNBIASED = ("b", "c")  # the library's Elman has biases, the block has none
GATES = """
dim    n = 3, m = 4, k = 5
input  x[t] : [n]
param  W_f, W_i, W_a, W_o : [m, m],  U_f, U_i, U_a, U_o : [m, n],  b_f, b_i, b_a, b_o : [m]
param  V : [k, m],  c : [k]
"""
BOTH = """
dim    n = 3, m = 4, k = 5
input  x[t] : [n]
param  U, U' : [m, n],  W, W' : [m, m],  V, V' : [k, m]
function f = tanh, g = softmax
"""
ENCODER = """
dim    m = 4
input  h[t] : [m]
"""
SEQUENCES = {"n": 6, "m": 4, "k": 5}
SUMMARY = {**SEQUENCES, "l": 3}

BLOCKS = (
    Block(
        A, "the simple network, superscripts",
        r"""$$ \mathbf{a}^{(t)} = \mathbf{b} + \mathbf{W}\mathbf{h}^{(t-1)} + \mathbf{U}x^{(t)}$$
  $$ \mathbf{h}^{(t)} = \tanh(\mathbf{a})$$
  $$ \mathbf{o}^{(t)} = \mathbf{c} + \mathbf{V}\mathbf{h}^{(t)} $$
  $$\mathbf{\hat y}^{(t)} = softmax(\mathbf{o}^{(t)})$$""",
        f"{SIMPLE}param b : [m], c : [k]", "Elman",
        {"a": "a", "h": "h", "o": "o", "y_hat": "p"}, sizes=SIZES,
        slip=r"\tanh(\mathbf{a}) leaves out the step; read as a[t], with a note",
    ),
    Block(
        A, "LSTM with a forget gate",
        r"""$$ f_t = \sigma_g(W_fx_t + U_fh_{t-1} + b_f)$$
  $$ i_t = \sigma_g(W_ix_t + U_ih_{t-1} + b_i)$$
  $$ o_t = \sigma_g(W_ox_t + U_oh_{t-1} + b_o)$$
  $$ c_t = f_t*c_{t-1} + i_t*\sigma_c(W_cx_t + U_ch_{t-1} + b_c)$$
  $$ h_t = o_t*\sigma_h(c_t)$$""",
        LSTM, "LSTM", {"h": "h", "c": "c", "f": "f", "i": "i", "o": "o"},
    ),
    Block(
        A, "LSTM, the candidate by itself",
        r"""$$ f_t = \sigma_g(W_fx_t + U_fh_{t-1} + b_f)$$
  $$ i_t = \sigma_g(W_ix_t + U_ih_{t-1} + b_i)$$
  $$ o_t = \sigma_g(W_ox_t + U_oh_{t-1} + b_o)$$
  $$ \hat c = \sigma_c(W_cx_t + U_ch_{t-1} + b_c)$$
$$c_t = f_t*c_{t-1} + i_t*\hat c$$
  $$ h_t = o_t*\sigma_h(c_t)$$""",
        LSTM, "LSTM", {"h": "h", "c": "c", "c_hat": "g"},
        slip=r"\hat c varies over t and has no step; read as c_hat[t], with a note",
    ),
    Block(
        A, "LSTM with peepholes",
        r"""$$ f_t = \sigma_g(W_fx_t + U_fc_{t-1} + b_f)$$
  $$i_t = \sigma_g(W_ix_t + U_ic_{t-1} + b_i)$$
  $$ o_t = \sigma_g(W_ox_t + U_oc_{t-1} + b_o)$$
  $$c_t = f_t*c_{t-1} + i_t*\sigma_c(W_cx_t + b_c)$$
  $$ h_t = o_t*\sigma_h(c_t)$$""",
        """
dim    n = 3, m = 4
input  x[t] : [n]
param  W_f, W_i, W_o, W_c : [m, n],  U_f, U_i, U_o : [m, m],  b_f, b_i, b_o, b_c : [m]
""",
        "LSTMPeephole", {"h": "h", "c": "c", "o": "o"},
    ),
    Block(
        A, "GRU",
        r"""$$ z_t = \sigma(W_zx_t + U_zh_{t-1})$$
  $$ r_t = \sigma(W_rx_t + U_rh_{t-1})$$
  $$ \hat h_t = \tanh(Wx_t + U(r_t*h_{t-1}))$$
  $$h_t = (1-z_t)*h_{t-1} + z_t*\hat h_t$$""",
        """
dim    n = 3, m = 4
input  x[t] : [n]
param  W_z, W_r, W : [m, n],  U_z, U_r, U : [m, m]
""", "GRU", {"h": "h", "z": "z", "r": "r", "h_hat": "h_hat"},
    ),
    Block(
        B, "the simple network, capitals",
        r"""$$S_t=f(Ux_t+WS_{t-1})$$
$$O_t=softmax(VS_t)$$""",
        f"{SIMPLE}function f = tanh", "Elman", {"S": "h", "O": "p"}, zero=UNBIASED, sizes=SIZES,
    ),
    Block(
        B, "step 1",
        r"""$$
s_1=Ux_1+Wh_0\\
h_1=f(s_1)\\
o_1=g(Vh_1)
$$""",
        f"{SIMPLE}input h_0 : [m]\nfunction f = tanh, g = softmax", "Elman",
        {"s_1": "a@1", "h_1": "h@1", "o_1": "p@1"}, zero=UNBIASED, sizes=SIZES,
        given={"h_0": "h@0"},
    ),
    Block(
        B, "step 2",
        r"""$$
s_2=Ux_2+Wh_1\\
h2=f(s_2)\\
o_2=g(Vh_2)
$$""",
        f"{SIMPLE}input h_1 : [m]\nfunction f = tanh, g = softmax", "Elman", {}, sizes=SIZES,
        slip="h2 stands for h_2: told, with its place",
    ),
    Block(
        B, "step t",
        r"""$$
s_t=Ux_1+Wh_{t-1}\\
h_t=f(Ux_t+Wh_{t-1})\\
o_t=g(Vh_t)
$$""",
        f"{SIMPLE}function f = tanh, g = softmax", "Elman", {"h": "h", "o": "p"},
        zero=UNBIASED, sizes=SIZES,
        slip="x_1 stands for x_t: a note says that step 1 is read at every t",
    ),
    Block(
        B, "back-propagation through time",
        r"""$$
\delta_t^h=(V^T\delta_t^o+W^T\delta_{t+1}^h)*f^{'}(s_t)
$$""",
        """
dim    m = 4, k = 5
input  s[t] : [m],  delta_o[t] : [k]
param  W : [m, m],  V : [k, m]
function f = tanh
""", "Elman+", {"delta_h": "d_a"}, given={"s": "a", "delta_o": "d_o"}, sizes=SIZES,
    ),
    Block(
        C, "the simple network, overlines",
        r"""$$\overline{h}_t=tanh(W_{xh}\overline{x}_t+W_{hh}\overline{h}_{t-1})$$

$$\overline{t}_t=W_{hy}\overline{h}_t$$""",
        """
dim    n = 3, m = 4, k = 5
input  x_bar[t] : [n]
param  W_xh : [m, n],  W_hh : [m, m],  W_hy : [k, m]
""", "Elman", {"h_bar": "h", "t_bar": "o"}, {"W_xh": "U", "W_hh": "W", "W_hy": "V"},
        zero=UNBIASED, given={"x_bar": "x"}, sizes=SIZES,
        slip=r"\overline{t}_t stands for \overline{y}_t; a name like others",
    ),
    Block(
        D, "context (1)", "$$(1) c = h_4$$", ENCODER, "ContextLast", {"c": "c"},
        given={"h": "h"}, steps=4, sizes=SEQUENCES,
    ),
    Block(
        D, "context (2)", "$$(2) c = q(h_4)$$", ENCODER, "ContextTransformed", {"c": "c"},
        {"c.Q": "Q", "c.r": "r"}, given={"h": "h"}, steps=4, sizes=SUMMARY,
        before="model q\ndim m\ninput a : [m]\nparam Q : [3, m], r : [3]\nb = tanh(Q a + r)\n",
    ),
    Block(
        D, "context (3)", "$$(3) c = q(h_1, h_2, h_3, h_4)$$", ENCODER, "ContextAll", {"c": "c"},
        {"c.Q": "Q", "c.r": "r"}, given={"h": "h"}, steps=4, sizes=SUMMARY,
        before="model q\ndim m\ninput a_1, a_2, a_3, a_4 : [m]\nparam Q : [3, m], r : [3]\n"
        "b = tanh(Q ((a_1 + a_2 + a_3 + a_4) / 4) + r)\n",
    ),
    Block(
        E, "the simple network, with tags",
        r"""$$o_t = g(Vs_t) \quad (\text{式1})$$

$$s_t = f(Ux_t + Ws_{t-1}) \quad (\text{式2})$$""",
        f"{SIMPLE}function f = tanh, g = softmax", "Elman", {"s": "h", "o": "p"},
        zero=UNBIASED, sizes=SIZES,
    ),
    Block(
        E, "the simple network, entry by entry",
        r"""$$\begin{bmatrix} s_1^t \\ s_2^t \\ \vdots \\ s_n^t \end{bmatrix} = f\left(\begin{bmatrix} u_{11} & u_{12} & \dots & u_{1m} \\ u_{21} & u_{22} & \dots & u_{2m} \\ \vdots & \vdots & \ddots & \vdots \\ u_{n1} & u_{n2} & \dots & u_{nm} \end{bmatrix} \begin{bmatrix} x_1 \\ x_2 \\ \vdots \\ x_m \end{bmatrix} + \begin{bmatrix} w_{11} & w_{12} & \dots & w_{1n} \\ w_{21} & w_{22} & \dots & w_{2n} \\ \vdots & \vdots & \ddots & \vdots \\ w_{n1} & w_{n2} & \dots & w_{nn} \end{bmatrix} \begin{bmatrix} s_1^{t-1} \\ s_2^{t-1} \\ \vdots \\ s_n^{t-1} \end{bmatrix} \right)$$""",
        """
dim    m = 3, n = 4
input  x[t] : [m]
param  u : [n, m],  w : [n, n]
function f = tanh
""", "Elman", {"s": "h"}, {"u": "U", "w": "W"}, zero=UNBIASED, sizes=SIZES,
        slip="x_1 … x_m leave out the step; read as x[t], with a note",
    ),
    Block(
        E, "the simple network, written out",
        r"""$$s_t = f(Ux_t + Ws_{t-1}) \quad (\text{式2})$$

$$\begin{aligned} o_t &= g(Vs_t) \\ &= Vf(Ux_t + Ws_{t-1}) \\ &= Vf(Ux_t + Wf(Ux_{t-1} + Ws_{t-2})) \\ &= Vf(Ux_t + Wf(Ux_{t-1} + Wf(Ux_{t-2} + Ws_{t-3}))) \\ &= Vf(Ux_t + Wf(Ux_{t-1} + Wf(Ux_{t-2} + Wf(Ux_{t-3} + \dots)))) \end{aligned}$$""",
        f"{SIMPLE}function f = tanh, g = softmax", "Elman", {"s": "h", "o": "p"},
        zero=UNBIASED, sizes=SIZES,
        slip="from the second line on g is missing; a note says that the first one is read",
    ),
    Block(
        E, "both directions, step 2",
        r"""$$y_2 = g(VA_2 + V'A'_2)$$

$$A_2 = f(WA_1 + Ux_2)$$

$$A'_2 = f(W'A'_3 + U'x_2)$$""",
        f"{BOTH}input A_1, A_3' : [m]", "Bidirectional",
        {"y_2": "p@2", "A_2": "A@2", "A_2'": "A'@2"},
        given={"A_1": "A@1", "A_3'": "A'@3"}, sizes=SIZES,
    ),
    Block(
        E, "both directions, the output",
        r"""$$o_t = g(Vs_t + V's'_t)$$""",
        f"{BOTH}s[t] = f(U x[t] + W s[t-1])\ns'[t] = f(U' x[t] + W' s'[t+1])", "Bidirectional",
        {"o": "p", "s": "A", "s'": "A'"}, sizes=SIZES,
    ),
    Block(
        E, "the simple network, and its loss at step 3",
        r"""$$s_t = g(Ux_t + Ws_{t-1})$$
$$o_t = f(Vs_t)$$
$$L = q(o_3, y)$$""",
        f"{SIMPLE}input y : index(k)\nfunction g = tanh, f = softmax, q = nll", "NToOne",
        {"o@3": "p", "mean L": "loss.y"}, zero=UNBIASED, given={"y": "y"}, steps=3, sizes=SIZES,
    ),
    Block(
        E, "steps 1 to 3",
        r"""$$\text{状态： } s_1 = g(Ux_1 + Ws_0)$$

$$\text{输出： } o_1 = f(Vg(Ux_1 + Ws_0))$$

$$\text{状态： } s_2 = g(Ux_2 + Ws_1)$$

$$\text{输出： } o_2 = f(Vg(Ux_2 + Ws_1)) = f(Vg(Ux_2 + Wg(Ux_1 + Ws_0)))$$

$$\text{状态： } s_3 = g(Ux_3 + Ws_2)$$

$$\text{输出： } o_3 = f(Vg(Ux_3 + Wg(Ux_2 + Wg(Ux_1 + Ws_0))))$$""",
        f"{SIMPLE}input s_0 : [m]\nfunction g = tanh, f = softmax", "Elman",
        {"s_1": "h@1", "s_2": "h@2", "s_3": "h@3", "o_1": "p@1", "o_2": "p@2", "o_3": "p@3"},
        zero=UNBIASED, given={"s_0": "h@0"}, sizes=SIZES,
    ),
    Block(
        E, "the simple network, tanh",
        r"""$$s_t = \tanh(Ux_t + Ws_{t-1})$$""",
        "dim n = 3, m = 4\ninput x[t] : [n]\nparam U : [m, n], W : [m, m]", "Elman", {"s": "h"},
        zero=UNBIASED, sizes=SIZES,
    ),
    Block(
        E, "LSTM, superscripts, with its prediction",
        r"""$$f^{(t)} = \sigma(W_f h^{(t-1)} + U_f x^{(t)} + b_f)$$

$$i^{(t)} = \sigma(W_i h^{(t-1)} + U_i x^{(t)} + b_i)$$

$$a^{(t)} = \tanh(W_a h^{(t-1)} + U_a x^{(t)} + b_a)$$

$$C^{(t)} = C^{(t-1)} \odot f^{(t)} + i^{(t)} \odot a^{(t)}$$

$$o^{(t)} = \sigma(W_o h^{(t-1)} + U_o x^{(t)} + b_o)$$

$$h^{(t)} = o^{(t)} \odot \tanh(C^{(t)})$$

$$\hat{y}^{(t)} = \sigma(V h^{(t)} + c)$$""",
        GATES, "LSTMSigmoid", {"h": "h", "C": "C", "a": "a", "y_hat": "p"}, sizes=SIZES,
    ),
    Block(
        E, "GRU, concatenated",
        r"""$$z_t = \sigma(W_z \cdot [h_{t-1}, x_t])$$

$$r_t = \sigma(W_r \cdot [h_{t-1}, x_t])$$

$$\tilde{h}_t = \tanh(W \cdot [r_t * h_{t-1}, x_t])$$

$$h_t = (1 - z_t) * h_{t-1} + z_t * \tilde{h}_t$$""",
        "dim n = 3, m = 4\ninput x[t] : [n]\nparam W_z, W_r, W : [m, m+n]", "GRUConcat",
        {"h": "h", "z": "z", "r": "r", "h_tilde": "h_hat"},
    ),
)  # fmt: skip


def text_of(block: Block) -> str:
    """The spec: declarations, then the block as it stands."""
    return f"{block.before}model Block{block.declared and chr(10)}{block.declared}\n{block.latex}\n"


def _step(values: Mapping[str, NDA], name: str) -> NDA:
    base, _, step = name.removeprefix("mean ").partition("@")
    found = values[base]
    if name.startswith("mean "):
        return np.mean(found, axis=0)
    if not step:
        return found
    return found[:, int(step) - 1] if int(step) else np.zeros_like(found[:, 0])


def all_values(spec: rnnc.Spec, data: Mapping[str, NDA], steps: int, batch: int) -> dict[str, NDA]:
    """Every value of a spec by its definition, the data among them, and its losses."""
    system = spec.bound
    lengths = {a: batch if a == "batch" else steps for a in system.axes}
    wanted = [n for n, v in system.values.items() if v.op not in ("constant", "size", "length")]
    found = evaluate(system, data, lengths=lengths, wanted=wanted)
    return {**found, **{n: found[v] for n, v in system.losses.items()}}


def largest_error(block: Block, batch: int = 3) -> float:
    """The largest difference of any compared value, of the largest entry."""
    name = block.library.removesuffix("+")
    library = rnnc.load(name, **block.sizes)
    weights = random_weights(library, seed=3, noise=0.3)
    weights = {n: np.zeros_like(w) if n in block.zero else w for n, w in weights.items()}
    data = random_data(library, batch, block.steps, seed=4)
    if block.library != name:  # its gradients
        library = rnnc.parse(library.diff(), **block.sizes)
    want = all_values(library, {**data, **weights}, block.steps, batch)

    spec = rnnc.parse(text_of(block))
    given = {v.name: _step(want, block.given.get(v.name, v.name)) for v in spec.system.inputs}
    own = {n: weights[block.weights.get(n, n)] for n in spec.shapes}
    got = all_values(spec, {**given, **own}, block.steps, batch)
    errors = [0.0]
    for ours, theirs in block.values.items():
        a, b = _step(got, ours), _step(want, theirs)
        errors.append(float(np.max(np.abs(a - b)) / max(1.0, float(np.max(np.abs(b))))))
    return max(errors)


def main() -> None:
    """Print the table."""
    print(f"{'document':<31} {'equations':<47} {'library':<19} largest error")
    for block in BLOCKS:
        try:
            error = f"{largest_error(block):.1e}"
        except rnnc.SpecError as found:
            error = found.diagnostics[0].message
        print(f"{block.document:<31} {block.what:<47} {block.library:<19} {error}")
        if block.slip:
            print(f"{'':<31} - {block.slip}")


if __name__ == "__main__":
    main()
