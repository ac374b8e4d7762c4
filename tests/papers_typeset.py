r"""Equations in the ways of typesetting that papers like, and those that are refused.

Beside the fonts, arrows, columns and remarks of papers there are left sides for the step after
this one. ``REFUSED`` are equations with what is said of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests import papers_gated as gated
from tests import papers_more as more
from tests.papers import (
    SIMPLE,
    Data,
    M,
    Paper,
    Step,
    Values,
    X,
    cat,
    elman,
    fastrnn,
    indrnn,
    log,
    over,
    sig,
    soft,
    tanh,
)


@dataclass(frozen=True)
class Refused:
    """Equations of a paper that are not read, and what is said first."""

    name: str
    source: str
    latex: str
    declared: str
    message: str


def mut(kind: int) -> Step:
    """The three best cells of a search; what the paper gives for the step after this one."""

    def step(d: Data, p: Data) -> Values:
        z = sig(d.W_xz @ d.x + d.b_z)
        r = sig(d.W_xr @ d.x + d.W_hr @ p.h + d.b_r)
        new = tanh(d.W_hh @ (r * p.h) + tanh(d.x) + d.b_h)
        if kind == 2:
            z = sig(d.W_xz @ d.x + d.W_hz @ p.h + d.b_z)
            r = sig(d.x + d.W_hr @ p.h + d.b_r)
            new = tanh(d.W_hh @ (r * p.h) + d.W_xh @ d.x + d.b_h)
        if kind == 3:
            z = sig(d.W_xz @ d.x + d.W_hz @ tanh(p.h) + d.b_z)
            new = tanh(d.W_hh @ (r * p.h) + d.W_xh @ d.x + d.b_h)
        return {"z": z, "r": r, "h": new * z + p.h * (1 - z)}

    return step


@over(x=M)
def discrete(d: Data, p: Data) -> Values:
    return {"x": d.A @ p.x + d.B @ d.u, "y": d.C @ p.x + d.D @ d.u}


@over(h=M)
def rows(d: Data, p: Data) -> Values:
    return {"h": tanh(d.x @ d.W_xh + p.h @ d.W_hh + d.b_h)}


@over(h=M)
def torch_rnn(d: Data, p: Data) -> Values:
    return {"h": tanh(d.W_ih @ d.x + d.b_ih + d.W_hh @ p.h + d.b_hh)}


@over(h=M)
def plain(d: Data, p: Data) -> Values:
    return {"h": tanh(d.W @ p.h + d.U @ d.x)}


@over(c=M, h=M)
def zaremba(d: Data, p: Data) -> Values:
    i, f, o, g = (d.W @ cat(d.x, p.h)).reshape(4, M)
    c = sig(f) * p.c + sig(i) * tanh(g)
    return {"c": c, "h": sig(o) * tanh(c)}


def chosen(d: Data) -> Values:
    p = np.stack([soft(d.U @ x) for x in d.x])
    return {"p": p, "L": np.array([-log(q[y]) for q, y in zip(p, d.y, strict=True)])}


def coverage(d: Data) -> Values:
    e = np.array([[d.v @ tanh(d.W_h @ h + d.W_s @ s) for h in d.h] for s in d.s])
    return {"c": np.stack([soft(row) for row in e]) @ d.h}


def half(d: Data) -> Values:
    return {"h": 0.5 * d.x}


@over(h=M)
def two_letters(d: Data, p: Data) -> Values:
    return {"h": tanh(d.W @ p.h + d.W_cal @ p.h / 2 + d.U @ d.x)}


TYPESET = (
    Paper(
        "IndRNN", "Li et al. 2018, eq. 4",
        r"""
\mathbf{h}_t = \sigma(\mathbf{W}\mathbf{x}_t + \mathbf{u}\odot \mathbf{h}_{t-1}+\mathbf{b})
""",
        X + "param W : [m, n], u, b : [m]\nfunction sigma = relu", indrnn,
    ),
    Paper(
        "FastRNN", "Kusupati et al. 2018, eq. 2",
        r"""
\tilde{\mathbf{h}}_t = \sigma(\mathbf{W}\mathbf{x}_t + \mathbf{U}\mathbf{h}_{t-1} + \mathbf{b}),
\\
\mathbf{h}_t = \alpha \tilde{\mathbf{h}}_t + \beta \mathbf{h}_{t-1},
""",
        X + "param W : [m, n], U : [m, m], b : [m], alpha, beta : []\nfunction sigma = tanh",
        fastrnn,
    ),
    Paper(
        "Jozefowicz GRU", "Jozefowicz, Zaremba, Sutskever 2015, section 2.3",
        r"""
\begin{eqnarray*}
r_t &=& {\rm sigm}\left(W_{\rm xr} x_t + W_{\rm hr} h_{t-1} + b_{\rm r}\right) \\
z_t &=& {\rm sigm}(W_{\rm xz} x_t + W_{\rm hz} h_{t-1} + b_{\rm z}) \\
\tilde{h}_t &=& \tanh(W_{\rm xh} x_t + W_{\rm hh} (r_t \odot h_{t-1}) + b_{\rm h}) \\
h_t &=& z_t \odot h_{t-1} + (1-z_t) \odot \tilde{h}_t
\end{eqnarray*}
""",
        X + "param W_xr, W_xz, W_xh : [m, n], W_hr, W_hz, W_hh : [m, m], b_r, b_z, b_h : [m]",
        gated.jozefowicz_gru,
    ),
    Paper(
        "Greff", "Greff et al. 2017, LSTM: A search space odyssey, section II",
        r"""
\begin{align*}
\bar{\mathbf{z}}^t &= \mathbf{W}_z \mathbf{x}^t + \mathbf{R}_z \mathbf{y}^{t-1} + \mathbf{b}_z \\
\mathbf{z}^t &= g(\bar{\mathbf{z}}^t) & \textit{block input} \\
\bar{\mathbf{i}}^t &= \mathbf{W}_i \mathbf{x}^t + \mathbf{R}_i \mathbf{y}^{t-1}
  + \mathbf{p}_i \odot \mathbf{c}^{t-1} + \mathbf{b}_i \\
\mathbf{i}^t &= \sigma(\bar{\mathbf{i}}^t) & \textit{input gate} \\
\bar{\mathbf{f}}^t &= \mathbf{W}_f \mathbf{x}^t + \mathbf{R}_f \mathbf{y}^{t-1}
  + \mathbf{p}_f \odot \mathbf{c}^{t-1} + \mathbf{b}_f \\
\mathbf{f}^t &= \sigma(\bar{\mathbf{f}}^t) & \textit{forget gate} \\
\mathbf{c}^t &= \mathbf{z}^t \odot \mathbf{i}^t + \mathbf{c}^{t-1} \odot \mathbf{f}^t
  & \textit{cell} \\
\bar{\mathbf{o}}^t &= \mathbf{W}_o \mathbf{x}^t + \mathbf{R}_o \mathbf{y}^{t-1}
  + \mathbf{p}_o \odot \mathbf{c}^{t} + \mathbf{b}_o \\
\mathbf{o}^t &= \sigma(\bar{\mathbf{o}}^t) & \textit{output gate} \\
\mathbf{y}^t &= h(\mathbf{c}^t) \odot \mathbf{o}^t & \textit{block output}
\end{align*}
""",
        X + gated.GATES + "param p_i, p_f, p_o : [m]\nfunction g = tanh, h = tanh", gated.greff,
    ),
    Paper(
        "PyTorch LSTM", "The documentation of torch.nn.LSTM", gated.TORCH_LSTM,
        X + "param W_ii, W_if, W_ig, W_io : [m, n], W_hi, W_hf, W_hg, W_ho : [m, m]\n"
        "param b_ii, b_if, b_ig, b_io, b_hi, b_hf, b_hg, b_ho : [m]", gated.torch_lstm,
    ),
    Paper(
        "PyTorch GRU", "The documentation of torch.nn.GRU",
        r"""
\begin{array}{ll}
    r_t = \sigma(W_{ir} x_t + b_{ir} + W_{hr} h_{(t-1)} + b_{hr}) \\
    z_t = \sigma(W_{iz} x_t + b_{iz} + W_{hz} h_{(t-1)} + b_{hz}) \\
    n_t = \tanh(W_{in} x_t + b_{in} + r_t \odot (W_{hn} h_{(t-1)}+ b_{hn})) \\
    h_t = (1 - z_t) \odot n_t + z_t \odot h_{(t-1)}
\end{array}
""",
        "dim a = 3, m = 4\ninput x[t] : [a]\n"
        "param W_ir, W_iz, W_in : [m, a], W_hr, W_hz, W_hn : [m, m]\n"
        "param b_ir, b_iz, b_in, b_hr, b_hz, b_hn : [m]", gated.torch_gru,
    ),
    Paper(
        "MGU", "Zhou et al. 2016, Minimal gated unit, eq. 5",
        r"""
\begin{subequations}
\begin{align}
\boldsymbol{f}_t &= \sigma \left( W_f \left[ \boldsymbol{h}_{t-1}, \boldsymbol{x}_t \right]
  + \boldsymbol{b}_f \right) \,, \\
\tilde{\boldsymbol{h}}_t &= \tanh \left( W_h \left[ \boldsymbol{f}_t \odot \boldsymbol{h}_{t-1},
  \boldsymbol{x}_t \right] + \boldsymbol{b}_h \right) \,, \\
\boldsymbol{h}_t &= (1 - \boldsymbol{f}_t) \odot \boldsymbol{h}_{t-1}
  + \boldsymbol{f}_t \odot \tilde{\boldsymbol{h}}_t \,.
\end{align}
\end{subequations}
""",
        X + "param W_f, W_h : [m, m+n], b_f, b_h : [m]", gated.mgu,
    ),
    Paper(
        "QRNN, f-pooling", "Bradbury et al. 2017, eq. 2 and 3",
        r"""
\mathbf{z}_t = \tanh(\mathbf{W}_z^1 \mathbf{x}_{t-1} + \mathbf{W}_z^2 \mathbf{x}_{t}) \\
\mathbf{f}_t = \sigma(\mathbf{W}_f^1 \mathbf{x}_{t-1} + \mathbf{W}_f^2 \mathbf{x}_{t}) \\
\mathbf{h}_t = \mathbf{f}_t \odot \mathbf{h}_{t-1} + (1-\mathbf{f}_t) \odot \mathbf{z}_t,
""",
        gated.QRNN, gated.qrnn("f"),
    ),
    Paper(
        "QRNN, fo-pooling", "Bradbury et al. 2017, eq. 2 and 4",
        r"""
\begin{aligned}
\mathbf{z}_t &= \tanh(\mathbf{W}_z^1 \mathbf{x}_{t-1} + \mathbf{W}_z^2 \mathbf{x}_{t}) \\
\mathbf{f}_t &= \sigma(\mathbf{W}_f^1 \mathbf{x}_{t-1} + \mathbf{W}_f^2 \mathbf{x}_{t}) \\
\mathbf{o}_t &= \sigma(\mathbf{W}_o^1 \mathbf{x}_{t-1} + \mathbf{W}_o^2 \mathbf{x}_{t}).
\end{aligned}
$$
$$
\begin{aligned}
\mathbf{c}_t &= \mathbf{f}_t \odot \mathbf{c}_{t-1} + (1-\mathbf{f}_t) \odot \mathbf{z}_t \\
\mathbf{h}_t &= \mathbf{o}_t \odot \mathbf{c}_t.
\end{aligned}
""",
        gated.QRNN, gated.qrnn("fo"),
    ),
    Paper(
        "QRNN, ifo-pooling", "Bradbury et al. 2017, eq. 2 and 5",
        r"""
\begin{aligned}
\mathbf{z}_t &= \tanh(\mathbf{W}_z^1 \mathbf{x}_{t-1} + \mathbf{W}_z^2 \mathbf{x}_{t}) \\
\mathbf{f}_t &= \sigma(\mathbf{W}_f^1 \mathbf{x}_{t-1} + \mathbf{W}_f^2 \mathbf{x}_{t}) \\
\mathbf{o}_t &= \sigma(\mathbf{W}_o^1 \mathbf{x}_{t-1} + \mathbf{W}_o^2 \mathbf{x}_{t}) \\
\mathbf{i}_t &= \sigma(\mathbf{W}_i^1 \mathbf{x}_{t-1} + \mathbf{W}_i^2 \mathbf{x}_{t}) \\
\mathbf{c}_t &= \mathbf{f}_t \odot \mathbf{c}_{t-1} + \mathbf{i}_t \odot \mathbf{z}_t \\
\mathbf{h}_t &= \mathbf{o}_t \odot \mathbf{c}_t.
\end{aligned}
""",
        gated.QRNN, gated.qrnn("ifo"),
    ),
    Paper(
        "BN-LSTM without normalisation", "Cooijmans et al. 2017, eq. 3-5",
        r"""
\begin{eqnarray}
\left( \begin{array}{c}
\tilde{\mathbf{f}}_t \\ \tilde{\mathbf{i}}_t \\ \tilde{\mathbf{o}}_t \\ \tilde{\mathbf{g}}_t
\end{array} \right)
&=& \mathbf{W}_h \mathbf{h}_{t-1} + \mathbf{W}_x \mathbf{x}_t + \mathbf{b} \\
\mathbf{c}_t &=& \sigma(\tilde{\mathbf{f}}_t) \odot \mathbf{c}_{t-1}
  + \sigma(\tilde{\mathbf{i}}_t) \odot \tanh(\tilde{\mathbf{g}}_t) \\
\mathbf{h}_t &=& \sigma(\tilde{\mathbf{o}}_t) \odot \tanh(\mathbf{c}_t),
\end{eqnarray}
""",
        X + "param W_h : [4*m, m], W_x : [4*m, n], b : [4*m]", gated.batch_lstm,
    ),
    Paper(
        "Luong, dot", "Luong, Pham, Manning 2015, eq. 5, 7 and 8",
        r"""
e_{ts} = \mathbf{h}_t^{\top} \bar{\mathbf{h}}_s \\
\mathbf{a}_{ts} = \frac{\exp \left( e_{ts} \right)}{\sum_{s'} \exp \left( e_{ts'} \right)} \\
\mathbf{c}_t = \sum_s \mathbf{a}_{ts} \bar{\mathbf{h}}_s \\
\tilde{\mathbf{h}}_t = \tanh(\mathbf{W_c} [\mathbf{c}_t;\mathbf{h}_t])
""",
        more.GLOBAL + "axis s' : S\nparam W_c : [m, 2*m]", more.luong("dot"),
    ),
    Paper(
        "Pointer network", "Vinyals, Fortunato, Jaitly 2015, eq. 2 and 3",
        r"""
\begin{aligned}
u_j^i &= v^T \tanh(W_1 e_j + W_2 d_i) \quad j \in (1, \dots, n) \\
a_j^i &= \mathrm{softmax}_j(u_j^i) \quad j \in (1, \dots, n) \\
d'_i &= \sum_{j=1}^{n} a_j^i e_j
\end{aligned}
""",
        "axis i : T, j : n\ndim m = 4\ninput e[j] : [m], d[i] : [m]\n"
        "param v : [m], W_1, W_2 : [m, m]",
        lambda d: {n: a if n == "d'" else a.T for n, a in more.pointer(d).items()},
    ),
    Paper(
        "NTM, gate", "Graves, Wayne, Danihelka 2014, eq. 7",
        r"\mathbf{w}^g_t \longleftarrow g_t \mathbf{w}^c_t + (1-g_t) \mathbf{w}_{t-1}.",
        "dim k = 5\ninput g[t] : [], w_c[t], w[t] : [k]", more.ntm,
    ),
    Paper(
        "RetNet", "Sun et al. 2023, Retentive network, eq. 6",
        r"""
\begin{aligned}
S_n &= \gamma S_{n-1} + K_n^{\intercal} V_n \\
o_n &= Q_n S_n, \quad n = 1, \cdots, |x|
\end{aligned}
""",
        more.ROWS, more.retention,
    ),
    Paper(
        "RWKV, recurrent", "Peng et al. 2023, appendix D, with y for wkv",
        r"""
\begin{align}
y_t &= \frac{a_{t-1} + e^{u + k_t} \odot v_t}{b_{t-1} + e^{u + k_t}}, \\
a_t &= e^{-w} \odot a_{t-1} + e^{k_t} \odot v_t, \\
b_t &= e^{-w} \odot b_{t-1} + e^{k_t}, \\
o_t &= W_o \cdot (\sigma(r_t) \odot y_t)
\end{align}
""",
        "dim m = 4\ninput k[t], v[t], r[t] : [m]\nparam w, u : [m], W_o : [m, m]", more.rwkv,
    ),
    Paper(
        "S4, recurrent", "Gu, Goel, Ré 2022, eq. 3",
        r"""
x_k = \boldsymbol{\overline{A}} x_{k-1} + \boldsymbol{\overline{B}} u_k \qquad
y_k = \boldsymbol{\overline{C}} x_k + \boldsymbol{\overline{D}} u_k
""",
        "axis k : L\ndim n = 3, m = 4\ninput u[k] : [n]\n"
        "param A_bar : [m, m], B_bar : [m, n], C_bar : [2, m], D_bar : [2, n]",
        lambda d: more.state_space(more.s4(d)),
    ),
    Paper(
        "Bidirectional", "Graves, Mohamed, Hinton 2013, eq. 8-10",
        r"""
\begin{align}
\overrightarrow{h}_t &= \mathcal{H}\left(W_{x\overrightarrow{h}} x_t
  + W_{\overrightarrow{h}\overrightarrow{h}} \overrightarrow{h}_{t-1}
  + b_{\overrightarrow{h}} \right) \\
\overleftarrow{h}_t &= \mathcal{H}\left(W_{x\overleftarrow{h}} x_t
  + W_{\overleftarrow{h}\overleftarrow{h}} \overleftarrow{h}_{t+1}
  + b_{\overleftarrow{h}} \right) \\
y_t &= W_{\overrightarrow{h}y} \overrightarrow{h}_t + W_{\overleftarrow{h}y} \overleftarrow{h}_t
  + b_y
\end{align}
""",
        X + "param W_x_h_vec, W_x_h_cev : [m, n], W_h_vec_h_vec, W_h_cev_h_cev : [m, m]\n"
        "param b_h_vec, b_h_cev : [m], W_h_vec_y, W_h_cev_y : [k, m], b_y : [k]\n"
        "function H = tanh", more.both_ways,
    ),
    Paper(
        "Bidirectional GRU encoder", "Bahdanau, Cho, Bengio 2015, appendix A.2.1",
        r"""
\begin{aligned}
\overrightarrow{z}_i &= \sigma\left( \overrightarrow{W}_z x_i + \overrightarrow{U}_z
  \overrightarrow{h}_{i-1} \right) \\
\overrightarrow{r}_i &= \sigma\left( \overrightarrow{W}_r x_i + \overrightarrow{U}_r
  \overrightarrow{h}_{i-1} \right) \\
\overrightarrow{h}_i &= (1 - \overrightarrow{z}_i) \circ \overrightarrow{h}_{i-1}
  + \overrightarrow{z}_i \circ \tanh \left( \overrightarrow{W} x_i + \overrightarrow{U}
  \left[ \overrightarrow{r}_i \circ \overrightarrow{h}_{i-1} \right] \right) \\
\overleftarrow{h}_i &= \tanh \left( V x_i + R \overleftarrow{h}_{i+1} \right) \\
h_i &= \begin{bmatrix} \overrightarrow{h}_i \\ \overleftarrow{h}_i \end{bmatrix}
\end{aligned}
""",
        "axis i : T\ndim n = 3, m = 4\ninput x[i] : [n]\n"
        "param W_vec_z, W_vec_r, W_vec, V : [m, n], U_vec_z, U_vec_r, U_vec, R : [m, m]",
        lambda d: more.gru_both_ways(more.named(
            d, W_z="W_vec_z", W_r="W_vec_r", W="W_vec", U_z="U_vec_z", U_r="U_vec_r", U="U_vec"
        )),
    ),
    Paper(
        "MUT1", "Jozefowicz, Zaremba, Sutskever 2015, section 3.5",
        r"""
\begin{eqnarray*}
z &=& \mathrm{sigm}(W_{\mathrm{xz}} x_t + b_{\mathrm{z}}) \\
r &=& \mathrm{sigm}(W_{\mathrm{xr}} x_t + W_{\mathrm{hr}} h_t + b_{\mathrm{r}}) \\
h_{t+1} &=& \tanh(W_{\mathrm{hh}} (r \odot h_t) + \tanh(x_t) + b_{\mathrm{h}}) \odot z \\
&& +\, h_t \odot (1-z)
\end{eqnarray*}
""",
        "dim m = 4\ninput x[t] : [m]\nparam W_xz, W_xr, W_hr, W_hh : [m, m], b_z, b_r, b_h : [m]",
        over(h=M)(mut(1)),
    ),
    Paper(
        "MUT2", "Jozefowicz, Zaremba, Sutskever 2015, section 3.5",
        r"""
\begin{eqnarray*}
z &=& \mathrm{sigm}(W_{\mathrm{xz}} x_t + W_{\mathrm{hz}} h_t + b_{\mathrm{z}}) \\
r &=& \mathrm{sigm}(x_t + W_{\mathrm{hr}} h_t + b_{\mathrm{r}}) \\
h_{t+1} &=& \tanh(W_{\mathrm{hh}} (r \odot h_t) + W_{\mathrm{xh}} x_t + b_{\mathrm{h}}) \odot z \\
&& +\, h_t \odot (1-z)
\end{eqnarray*}
""",
        "dim m = 4\ninput x[t] : [m]\nparam W_xz, W_hz, W_hr, W_hh, W_xh : [m, m]\n"
        "param W_xr : [m, m], b_z, b_r, b_h : [m]", over(h=M)(mut(2)),
    ),
    Paper(
        "MUT3", "Jozefowicz, Zaremba, Sutskever 2015, section 3.5",
        r"""
\begin{eqnarray*}
z &=& \mathrm{sigm}(W_{\mathrm{xz}} x_t + W_{\mathrm{hz}} \tanh(h_t) + b_{\mathrm{z}}) \\
r &=& \mathrm{sigm}(W_{\mathrm{xr}} x_t + W_{\mathrm{hr}} h_t + b_{\mathrm{r}}) \\
h_{t+1} &=& \tanh(W_{\mathrm{hh}} (r \odot h_t) + W_{\mathrm{xh}} x_t + b_{\mathrm{h}}) \odot z \\
&& +\, h_t \odot (1-z)
\end{eqnarray*}
""",
        "dim m = 4\ninput x[t] : [m]\nparam W_xz, W_hz, W_hr, W_hh, W_xh, W_xr : [m, m]\n"
        "param b_z, b_r, b_h : [m]", over(h=M)(mut(3)),
    ),
    Paper(
        "A left side one step on", "Williams and Zipser 1989, eq. 1 and 2, in vectors",
        r"h(t+1) = \tanh( W h(t) + U x(t) )", X + "param W : [m, m], U : [m, n]", plain,
    ),
    Paper(
        "Elman, one step on", "Elman 1990, as lectures on dynamical systems count",
        r"""
\begin{aligned}
h_{t+1} &= \sigma_h(W_h x_t + U_h h_t + b_h) \\
y_{t+1} &= \sigma_y(W_y h_{t+1} + b_y)
\end{aligned}
""",
        X + "param W_h : [m, n], U_h : [m, m], b_h : [m], W_y : [k, m], b_y : [k]", elman,
    ),
    Paper(
        "A linear state space", "Kalman 1960, as textbooks on control write it",
        r"x_{k+1} = A x_k + B u_k, \quad y_k = C x_k + D u_k",
        "axis k : L\ndim n = 3, m = 4\ninput u[k] : [n]\n"
        "param A : [m, m], B : [m, n], C : [2, m], D : [2, n]", discrete,
    ),
    Paper(
        "Cho, angles", "Cho et al. 2014, eq. 5-8, in vectors",
        r"""
\begin{aligned}
z^{\langle t \rangle} &= \sigma( W_z x^{\langle t \rangle} + U_z h^{\langle t-1 \rangle} ) \\
r^{\langle t \rangle} &= \sigma( W_r x^{\langle t \rangle} + U_r h^{\langle t-1 \rangle} ) \\
\tilde{h}^{\langle t \rangle} &= \tanh( W x^{\langle t \rangle}
  + U (r^{\langle t \rangle} \odot h^{\langle t-1 \rangle}) ) \\
h^{\langle t \rangle} &= z^{\langle t \rangle} h^{\langle t-1 \rangle}
  + (1 - z^{\langle t \rangle}) \tilde{h}^{\langle t \rangle}
\end{aligned}
""",
        X + gated.PLAIN, gated.cho,
    ),
    Paper(
        "Ng, angles", "Ng 2018, Sequence models, the courses' notation",
        r"h^{<t>} = \tanh( W h^{<t-1>} + U x^{<t>} )", X + "param W : [m, m], U : [m, n]", plain,
    ),
    Paper(
        "Brackets above", "Zilly et al. 2017, Recurrent highway networks, their notation",
        r"\mathbf{h}^{[t]} = \tanh( \mathbf{W} \mathbf{h}^{[t-1]} + \mathbf{U} \mathbf{x}^{[t]} )",
        X + "param W : [m, m], U : [m, n]", plain,
    ),
    Paper(
        "Brackets of signal processing", "Oppenheim and Schafer, as many write x[n]",
        r"h[t] = \tanh( W h[t-1] + U x[t] )", X + "param W : [m, m], U : [m, n]", plain,
    ),
    Paper(
        "A column of functions", "Zaremba, Sutskever, Vinyals 2014, eq. after 3, one layer",
        r"""
\begin{pmatrix} i \\ f \\ o \\ g \end{pmatrix} =
\begin{pmatrix} \mathrm{sigm} \\ \mathrm{sigm} \\ \mathrm{sigm} \\ \tanh \end{pmatrix}
W \begin{pmatrix} x_t \\ h_{t-1} \end{pmatrix} \\
c_t = f \odot c_{t-1} + i \odot g \\
h_t = o \odot \tanh(c_t)
""",
        X + "param W : [4*m, n+m]", zaremba,
    ),
    Paper(
        "Rows", "Zhang et al., Dive into deep learning, eq. 9.4.5",
        r"""
\mathbf{h}_t = \tanh(\mathbf{x}_t \mathbf{W}_{xh} + \mathbf{h}_{t-1} \mathbf{W}_{hh}
  + \mathbf{b}_h).
""",
        X + "param W_xh : [n, m], W_hh : [m, m], b_h : [m]", rows,
    ),
    Paper(
        "PyTorch RNN", "The documentation of torch.nn.RNN",
        r"h_t = \tanh(x_t W_{ih}^T + b_{ih} + h_{t-1}W_{hh}^T + b_{hh})",
        X + "param W_ih : [m, n], W_hh : [m, m], b_ih, b_hh : [m]", torch_rnn,
    ),
    Paper(
        "Layers as bare superscripts", "Graves 2013, eq. 1-3, two layers written out",
        r"""
h_t^1 = \mathcal{H}\left( W_{ih^1} x_t + W_{h^1h^1} h^1_{t-1} + b_h^1 \right) \\
h_t^2 = \mathcal{H}\left( W_{ih^2} x_t + W_{h^1h^2} h^1_t + W_{h^2h^2} h^2_{t-1} + b_h^2 \right) \\
\hat{y}_t = b_y + W_{h^1y} h_t^1 + W_{h^2y} h_t^2
""",
        X + "param W_ih_1, W_ih_2 : [m, n], W_h_1_h_1, W_h_1_h_2, W_h_2_h_2 : [m, m]\n"
        "param b_h_1, b_h_2 : [m], b_y : [k], W_h_1_y, W_h_2_y : [k, m]\nfunction H = tanh",
        more.graves_deep,
    ),
    Paper(
        "Layers as bare superscripts, short", "Hermans and Schrauwen 2013, two layers",
        r"""
h^1_t = \tanh(W_1 h^1_{t-1} + U_1 x_t) \\
h^2_t = \tanh(W_2 h^2_{t-1} + U_2 h^1_t) \\
y_t = V h^2_t
""",
        X + "param W_1, W_2 : [m, m], U_1 : [m, n], U_2 : [m, m], V : [k, m]", more.deep,
    ),
    Paper(
        "mLSTM, with bars", "Beck et al. 2024, xLSTM, eq. 21",
        r"""
C_t = f_t C_{t-1} + i_t v_t k_t^\top, \quad n_t = f_t n_{t-1} + i_t k_t \\
\tilde{h}_t = \frac{C_t q_t}{\max \{ |n_t^\top q_t|, 1 \}}, \quad h_t = o_t \odot \tilde{h}_t \\
q_t = W_q x_t + b_q, \quad k_t = \frac{1}{\sqrt{d}} W_k x_t + b_k, \quad v_t = W_v x_t + b_v \\
i_t = \exp(w_i^\top x_t + b_i), \quad f_t = \sigma(w_f^\top x_t + b_f), \quad
o_t = \sigma(W_o x_t + b_o)
""",
        gated.MLSTM, gated.mlstm,
    ),
    Paper(
        "Phased LSTM, time gate", "Neil, Pfeiffer, Liu 2016, eq. 6-8",
        r"""
\phi_t = \frac{(t - s) \bmod \tau}{\tau}, \quad
k_t = \begin{cases}
\frac{2 \phi_t}{r_{on}}, & \text{if } \phi_t < \frac{1}{2} r_{on} \\
2 - \frac{2 \phi_t}{r_{on}}, & \text{if } \frac{1}{2} r_{on} < \phi_t < r_{on} \\
\alpha \phi_t, & \text{otherwise}
\end{cases} \\
c_t = k_t \odot (W x_t + U c_{t-1}) + (1 - k_t) \odot c_{t-1}
""",
        "dim n = 3, m = 4\ninput x[t] : [n]\n"
        "param W : [m, n], U : [m, m], s, tau, r_on, alpha : []", gated.phased,
    ),
    Paper(
        "Show, attend and tell", "Xu et al. 2015, eq. 4-6, a simple cell for the LSTM",
        r"""
e_{ti} = v^\top \tanh(W_a a_i + W_h h_{t-1}), \\
\alpha_{ti} = \frac{\exp(e_{ti})}{\sum_{k=1}^{L} \exp(e_{tk})}, \\
\hat{z}_t = \sum_{i}^{L} \alpha_{t,i} a_i, \\
h_t = \tanh(W h_{t-1} + U \hat{z}_t)
""",
        "axis t : T = 4, i : L\ndim m = 4\ninput a[i] : [m]\n"
        "param v : [m], W_a, W_h, W, U : [m, m]", more.show_attend,
    ),
    Paper(
        "A probability by its class", "Graves 2013, eq. 6 and others",
        r"p_t = \mathrm{softmax}(U x_t), \quad L_t = -\log p_t[y_t]",
        "dim n = 3, k = 5\ninput x[t] : [n], y[t] : index(k)\nparam U : [k, n]", chosen,
    ),
    Paper(
        "Perplexity", "Mikolov et al. 2010, section 3",
        r"""
p_t = \mathrm{softmax}(V x_t), \quad
P = \exp\left( -\frac{1}{T} \sum_{t=1}^T \log p_{t,y_t} \right)
""",
        X + "input y[t] : index(k)\nparam V : [k, n]", more.perplexity,
    ),
    Paper(
        "Softmax by hand, powers of e", "Mikolov et al. 2010, eq. 5, of a row of scores",
        r"\alpha_{tj} = \frac{e^{e_{tj}}}{\sum_{j} e^{e_{tj}}}",
        "axis t : T, j : S\ninput e[t, j] : []",
        lambda d: {"alpha": np.stack([soft(row) for row in d.e])},
    ),
    Paper(
        "A half of a vector", "A slash with a number on either side", r"h_t = 1/2 x_t", X, half,
    ),
    Paper(
        "LSTM deltas", "Greff et al. 2017, section II.B",
        r"""
\begin{align*}
\delta \mathbf{y}^t &= \Delta^t + \mathbf{R}_z^T \delta\mathbf{z}^{t+1}
  + \mathbf{R}_i^T \delta\mathbf{i}^{t+1} + \mathbf{R}_f^T \delta\mathbf{f}^{t+1}
  + \mathbf{R}_o^T \delta\mathbf{o}^{t+1} \\
\delta \mathbf{o}^t &= \delta \mathbf{y}^t \odot h(\mathbf{c}^t)
  \odot \sigma'(\bar{\mathbf{o}}^t) \\
\delta \mathbf{c}^t &= \delta \mathbf{y}^t \odot \mathbf{o}^t \odot h'(\mathbf{c}^t)
  + \mathbf{p}_o \odot \delta \mathbf{o}^t + \mathbf{p}_i \odot \delta \mathbf{i}^{t+1}
  + \mathbf{p}_f \odot \delta \mathbf{f}^{t+1} + \delta \mathbf{c}^{t+1} \odot \mathbf{f}^{t+1} \\
\delta \mathbf{f}^t &= \delta \mathbf{c}^t \odot \mathbf{c}^{t-1}
  \odot \sigma'(\bar{\mathbf{f}}^t) \\
\delta \mathbf{i}^t &= \delta \mathbf{c}^t \odot \mathbf{z}^t \odot \sigma'(\bar{\mathbf{i}}^t) \\
\delta \mathbf{z}^t &= \delta \mathbf{c}^t \odot \mathbf{i}^t \odot g'(\bar{\mathbf{z}}^t) \\
\mathbf{f}^t &= \sigma(\bar{\mathbf{f}}^t), \quad \mathbf{i}^t = \sigma(\bar{\mathbf{i}}^t), \quad
\mathbf{o}^t = \sigma(\bar{\mathbf{o}}^t), \quad \mathbf{z}^t = g(\bar{\mathbf{z}}^t)
\end{align*}
""",
        "dim m = 4\ninput Delta[t], c[t], z_bar[t], i_bar[t], f_bar[t], o_bar[t] : [m]\n"
        "param R_z, R_i, R_f, R_o : [m, m], p_i, p_f, p_o : [m]\nfunction g = tanh, h = tanh\n"
        "output delta_y, delta_o, delta_c, delta_f, delta_i, delta_z", more.greff_deltas,
    ),
    Paper(
        "One letter in two fonts, two names", "Rusch and Mishra 2021, eq. 1, as it is set",
        r"h_t = \tanh(\mathbf{W} h_{t-1} + \mathcal{W} h_{t-1} / 2 + U x_t)",
        X + "param W, W_cal : [m, m], U : [m, n]", two_letters,
    ),
    Paper(
        "Softmax by its index", "See, Liu, Manning 2017, eq. 1-3, with the index at the softmax",
        r"""
e_i^t = v^T \tanh(W_h h_i + W_s s_t) \\
a_i^t = \mathrm{softmax}_i(e_i^t) \\
c_t = \sum_i a_i^t h_i
""",
        "axis t : T, i : S\ndim m = 4\ninput h[i] : [m], s[t] : [m]\n"
        "param v : [m], W_h, W_s : [m, m]", coverage,
    ),
)  # fmt: skip


REFUSED = (
    Refused(
        "RHN, depth one", "Zilly et al. 2017, Recurrent highway networks, eq. 7-9",
        r"""
\mathbf{s}^{[t]} = \mathbf{h}^{[t]} \cdot \mathbf{t}^{[t]}
  + \mathbf{s}^{[t-1]} \cdot \mathbf{c}^{[t]}, \\
\mathbf{h}^{[t]} = \tanh( \mathbf{W}_H \mathbf{x}^{[t]} + \mathbf{R}_H \mathbf{s}^{[t-1]}
  + \mathbf{b}_H ), \\
\mathbf{t}^{[t]} = \sigma( \mathbf{W}_T \mathbf{x}^{[t]} + \mathbf{R}_T \mathbf{s}^{[t-1]}
  + \mathbf{b}_T ), \\
\mathbf{c}^{[t]} = \sigma( \mathbf{W}_C \mathbf{x}^{[t]} + \mathbf{R}_C \mathbf{s}^{[t-1]}
  + \mathbf{b}_C ).
""",
        X + "param W_H, W_T, W_C : [m, n], R_H, R_T, R_C : [m, m], b_H, b_T, b_C : [m]",
        "`t` is the number of a step; choose another name",
    ),
    Refused(
        "GRU by entries, superscripts", "Chung et al. 2014, eq. 5-8",
        r"""
h_t^j = (1 - z_t^j) h_{t-1}^j + z_t^j \tilde{h}_t^j, \\
z_t^j = \sigma\left( W_z \mathbf{x}_t + U_z \mathbf{h}_{t-1} \right)^j, \\
\tilde{h}_t^j = \tanh\left( W \mathbf{x}_t + U \left( \mathbf{r}_t \odot \mathbf{h}_{t-1} \right)
  \right)^j, \\
r_t^j = \sigma\left( W_r \mathbf{x}_t + U_r \mathbf{h}_{t-1} \right)^j.
""",
        X + gated.PLAIN,
        "unknown name `h`",
    ),
    Refused(
        "LSTM by entries", "Goodfellow, Bengio, Courville 2016, eq. 10.40, shortened",
        r"h_i^{(t)} = \tanh\left( \sum_j W_{i,j} x_j^{(t)} + \sum_j U_{i,j} h_j^{(t-1)} \right)",
        X + "param W : [m, n], U : [m, m]",
        "`j` is no axis of this model",
    ),
    Refused(
        "minGRU, linear layers by name", "Feng et al. 2024, section 3.1",
        r"""
h_t = (1 - z_t) \odot h_{t-1} + z_t \odot \tilde{h}_t \\
z_t = \sigma(\mathrm{Linear}_z(x_t)) \\
\tilde{h}_t = \mathrm{Linear}_h(x_t)
""",
        X + "param W_z, W_h : [m, n], b_z, b_h : [m]",
        "unknown function `Linear_z`",
    ),
    Refused(
        "minLSTM, two at once", "Feng et al. 2024, section 3.2",
        r"""
f_t = \sigma(W_f x_t + b_f), \quad i_t = \sigma(W_i x_t + b_i), \quad
\tilde{h}_t = W_h x_t + b_h \\
f'_t, i'_t \gets \frac{f_t}{f_t + i_t}, \frac{i_t}{f_t + i_t} \\
h_t = f'_t \odot h_{t-1} + i'_t \odot \tilde{h}_t
""",
        X + "param W_f, W_i, W_h : [m, n], b_f, b_i, b_h : [m]",
        "this is no equation",
    ),
    Refused(
        "LEM", "Rusch et al. 2022, eq. 3",
        r"""
\begin{aligned}
\boldsymbol{\Delta t}_n &= \Delta t \hat{\sigma}(W_1 y_{n-1} + V_1 u_n + b_1), \\
\overline{\boldsymbol{\Delta t}}_n &= \Delta t \hat{\sigma}(W_2 y_{n-1} + V_2 u_n + b_2), \\
z_n &= (1 - \boldsymbol{\Delta t}_n) \odot z_{n-1}
  + \boldsymbol{\Delta t}_n \odot \tanh(W_z y_{n-1} + V_z u_n + b_z), \\
y_n &= (1 - \overline{\boldsymbol{\Delta t}}_n) \odot y_{n-1}
  + \overline{\boldsymbol{\Delta t}}_n \odot \tanh(W_y z_n + V_y u_n + b_y)
\end{aligned}
""",
        "axis n : T\ndim a = 3, m = 4\ninput u[n] : [a]\nparam W_1, W_2, W_z, W_y : [m, m]\n"
        "param V_1, V_2, V_z, V_y : [m, a], b_1, b_2, b_z, b_y : [m], Delta_t : []\n"
        "function sigma_hat = sigmoid",
        r"`Delta_t` and `\boldsymbol{\Delta t}_n` are one name, defined twice",
    ),
    Refused(
        "Layer normalisation, sums over units", "Ba, Kiros, Hinton 2016, eq. 4",
        r"""
\mathbf{a}^t = W_{hh} h^{t-1} + W_{xh} \mathbf{x}^t \\
\mathbf{h}^t = f\left[ \frac{\mathbf{g}}{\sigma^t} \odot \left( \mathbf{a}^t - \mu^t \right)
  + \mathbf{b} \right] \qquad
\mu^t = \frac{1}{H} \sum_{i=1}^{H} a_i^t \qquad
\sigma^t = \sqrt{ \frac{1}{H} \sum_{i=1}^{H} \left( a_i^t - \mu^t \right)^2 }
""",
        "dim n = 3, H = 4\ninput x[t] : [n]\n"
        "param W_hh : [H, H], W_xh : [H, n], g, b : [H]\nfunction f = tanh",
        "`i` is no axis of this model",
    ),
    Refused(
        "Softmax of the missing index", "See, Liu, Manning 2017, eq. 1-3",
        r"""
e_i^t = v^T \tanh(W_h h_i + W_s s_t) \\
a^t = \mathrm{softmax}(e^t) \\
c_t = \sum_i a_i^t h_i
""",
        "axis t : T, i : S\ndim m = 4\ninput h[i] : [m], s[t] : [m]\n"
        "param v : [m], W_h, W_s : [m, m]",
        "`e` has 2 indices, i, t, not 1",
    ),
    Refused(
        "One letter in two fonts", "Rusch and Mishra 2021, eq. 1, both matrices as they are set",
        r"h_t = \tanh(\mathbf{W} h_{t-1} + \mathcal{W} h_{t-1} / 2 + U x_t)",
        X + "param W, R : [m, m], U : [m, n]",
        "`W` stands here in another font than before",
    ),
    Refused(
        "Linear attention", "Katharopoulos et al. 2020, eq. 18-20, without the residual",
        r"""
s_i = s_{i-1} + \phi(x_i W_K) (x_i W_V)^T, \\
z_i = z_{i-1} + \phi(x_i W_K), \\
y_i = \frac{\phi(x_i W_Q)^T s_i}{\phi(x_i W_Q)^T z_i}, \\
\phi(x) = \mathrm{elu}(x) + 1
""",
        "axis i : T\ndim n = 3, m = 4, k = 5\ninput x[i] : [n]\n"
        "param W_K, W_Q : [n, m], W_V : [n, k]",
        r"`\phi(x)` is no left side of an equation",
    ),
    Refused(
        "Gradients by nabla", "Goodfellow, Bengio, Courville 2016, eq. 10.21",
        r"""
\nabla_{h^{(t)}} L = W^\top \mathrm{diag}\left( 1 - \left( h^{(t+1)} \right)^2 \right)
  (\nabla_{h^{(t+1)}} L) + V^\top (\nabla_{o^{(t)}} L)
""",
        "dim m = 4, k = 5\ninput h[t] : [m], nabla_o_L[t] : [k]\nparam W : [m, m], V : [k, m]",
        r"`\nabla_{h^{(t)}} L` is no left side of an equation",
    ),
)  # fmt: skip


PAPERS = (*SIMPLE, *gated.GATED, *more.MORE, *TYPESET)
