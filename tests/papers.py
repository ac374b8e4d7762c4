r"""Equations as papers on recurrent networks typeset them, each with a NumPy function beside it.

The LaTeX is that of the paper; only declarations are added. The functions compute one sequence,
step by step from the paper, and share nothing with the compiler. Where a paper leaves out biases
or names an activation in words, the declarations say the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NDA = NDArray[Any]
Values = dict[str, NDA]


class Data(dict[str, NDA]):
    """Arrays by name, ``d.W_f``; of ``sequences`` a step is taken by ``at``."""

    sequences: frozenset[str] = frozenset()

    def __getattr__(self, name: str) -> NDA:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def at(self, t: int) -> Data:
        """All arrays, of the sequences those of one step."""
        return Data({n: a[t] if n in self.sequences else a for n, a in self.items()})

    @property
    def steps(self) -> int:
        return len(next(self[n] for n in sorted(self.sequences)))


Step = Callable[[Data, Data], Values]
Sequence = Callable[[Data], Values]


@dataclass(frozen=True)
class Paper:
    """Equations of a paper, what is declared before them, and their values for one sequence."""

    name: str
    source: str
    latex: str
    declared: str
    values: Sequence


def over(backward: bool = False, **states: tuple[int, ...] | int) -> Callable[[Step], Sequence]:
    """A step as a function of the sequence; ``states`` are zeros before the first one."""

    def made(step: Step) -> Sequence:
        def run(d: Data) -> Values:
            before = Data({n: np.zeros(s) for n, s in states.items()})
            found: list[Data] = []
            for t in range(d.steps)[:: -1 if backward else 1]:
                now = {n: np.asarray(v) for n, v in step(d.at(t), before).items()}
                before = Data({n: v for n, v in now.items() if n not in ("d", "p")})
                found.append(before)
            found = found[::-1] if backward else found
            return {n: np.stack([f[n] for f in found]) for n in found[0]}

        return run

    return made


def sig(x: NDA) -> NDA:
    """The logistic function."""
    return 1 / (1 + np.exp(-x))


def relu(x: NDA) -> NDA:
    """The positive part."""
    return np.where(x > 0, x, 0.0)


def soft(x: NDA) -> NDA:
    """The softmax of a vector."""
    e = np.exp(x - x.max())
    return e / e.sum()


def before(x: NDA, t: int) -> NDA:
    """A sequence at the step before ``t``, zeros before the first."""
    return x[t - 1] if t else np.zeros_like(x[0])


def cat(*x: Any) -> NDA:
    """Vectors, one after the other."""
    return np.concatenate([np.atleast_1d(a) for a in x])


tanh, exp, log = np.tanh, np.exp, np.log
M, N, K = 4, 3, 5
X = "dim n = 3, m = 4, k = 5\ninput x[t] : [n]\n"  # the data of most of them


# ---------------------------------------------------------------- simple networks


@over(h=M)
def elman(d: Data, p: Data) -> Values:
    h = tanh(d.W_h @ d.x + d.U_h @ p.h + d.b_h)
    y = sig(d.W_y @ h + d.b_y)
    return locals()


@over(y=K)
def jordan(d: Data, p: Data) -> Values:
    h = tanh(d.W_h @ d.x + d.U_h @ p.y + d.b_h)
    y = sig(d.W_y @ h + d.b_y)
    return locals()


@over(y=K, s=M)
def jordan_state(d: Data, p: Data) -> Values:
    s = sig(d.W_s_s @ p.s + d.W_s_y @ p.y + d.b_s)
    h = tanh(d.W_h @ d.x + d.U_h @ s + d.b_h)
    y = sig(d.W_y @ h + d.b_y)
    return locals()


@over(h=M)
def goodfellow(d: Data, p: Data) -> Values:
    a = d.b + d.W @ p.h + d.U @ d.x
    h = tanh(a)
    o = d.c + d.V @ h
    y_hat = soft(o)
    return locals()


@over(x=M)
def pascanu(d: Data, p: Data) -> Values:
    x = d.W_rec @ sig(p.x) + d.W_in @ d.u + d.b
    return locals()


@over(h=M)
def deep_transition(d: Data, p: Data) -> Values:
    h = tanh(d.W.T @ p.h + d.U.T @ d.x)
    y = soft(d.V.T @ h)
    return locals()


@over(h=M)
def sutskever(d: Data, p: Data) -> Values:
    h = sig(d.W_hx @ d.x + d.W_hh @ p.h)
    y = d.W_yh @ h
    return locals()


@over(h=M)
def lipton(d: Data, p: Data) -> Values:
    h = sig(d.W_hx @ d.x + d.W_hh @ p.h + d.b_h)
    y_hat = soft(d.W_yh @ h + d.b_y)
    return locals()


@over(s=M)
def mikolov(d: Data, p: Data) -> Values:
    s = sig(d.U @ d.w + d.W @ p.s)
    y = soft(d.V @ s)
    return locals()


@over(s=M, h=K)
def scrn(d: Data, p: Data) -> Values:
    s = (1 - d.alpha) * (d.B @ d.x) + d.alpha * p.s
    h = sig(d.P @ s + d.A @ d.x + d.R @ p.h)
    y = soft(d.U @ h + d.V @ s)
    return locals()


@over(x=M)
def echo(d: Data, p: Data) -> Values:
    x_tilde = tanh(d.W_in @ cat(1, d.u) + d.W @ p.x)
    x = (1 - d.alpha) * p.x + d.alpha * x_tilde
    y = d.W_out @ cat(1, d.u, x)
    return locals()


@over(h=M)
def irnn(d: Data, p: Data) -> Values:
    h = relu(d.W_hh @ p.h + d.W_xh @ d.x + d.b_h)
    return locals()


@over(h=M)
def indrnn(d: Data, p: Data) -> Values:
    h = relu(d.W @ d.x + d.u * p.h + d.b)
    return locals()


@over(h=M)
def antisymmetric(d: Data, p: Data) -> Values:
    a = d.W_h - d.W_h.T - d.gamma * np.eye(M)
    h = p.h + d.epsilon * tanh(a @ p.h + d.V_h @ d.x + d.b_h)
    return {"h": h}


@over(h=M)
def antisymmetric_gated(d: Data, p: Data) -> Values:
    a = d.W_h - d.W_h.T - d.gamma * np.eye(M)
    z = sig(a @ p.h + d.V_z @ d.x + d.b_z)
    h = p.h + d.epsilon * z * tanh(a @ p.h + d.V_h @ d.x + d.b_h)
    return {"z": z, "h": h}


@over(h=M)
def fastrnn(d: Data, p: Data) -> Values:
    h_tilde = tanh(d.W @ d.x + d.U @ p.h + d.b)
    h = d.alpha * h_tilde + d.beta * p.h
    return locals()


@over(h=M)
def fastgrnn(d: Data, p: Data) -> Values:
    z = sig(d.W @ d.x + d.U @ p.h + d.b_z)
    h_tilde = tanh(d.W @ d.x + d.U @ p.h + d.b_h)
    h = (d.zeta * (1 - z) + d.nu) * h_tilde + z * p.h
    return locals()


@over(y=M, z=M)
def cornn(d: Data, p: Data) -> Values:
    z = p.z + d.Delta_t * (tanh(d.W @ p.y + d.W_cal @ p.z + d.V @ d.u + d.b)
                           - d.gamma * p.y - d.epsilon * p.z)  # fmt: skip
    y = p.y + d.Delta_t * z
    return locals()


@over(y=M, z=M)
def lem(d: Data, p: Data) -> Values:
    a = d.Delta_t * sig(d.W_1 @ p.y + d.V_1 @ d.u + d.b_1)
    b = d.Delta_t * sig(d.W_2 @ p.y + d.V_2 @ d.u + d.b_2)
    z = (1 - a) * p.z + a * tanh(d.W_z @ p.y + d.V_z @ d.u + d.b_z)
    y = (1 - b) * p.y + b * tanh(d.W_y @ z + d.V_y @ d.u + d.b_y)
    return {"y": y, "z": z}


@over(y_H=M)
def clockwork(d: Data, p: Data) -> Values:
    y_H = tanh(d.W_H @ p.y_H + d.W_I @ d.x)
    y_O = soft(d.W_O @ y_H)
    return locals()


def clocked(d: Data) -> Values:
    h, out = np.zeros(M), []
    for t in range(1, d.steps + 1):
        if t % 2 == 0:
            h = tanh(d.W @ d.x[t - 1] + d.U @ h)
        out.append(h)
    return {"h": np.stack(out)}


@over(c=M)
def minimal(d: Data, p: Data) -> Values:
    z = d.W @ d.x
    f = sig(d.V @ d.x + d.b)
    c = f * p.c + (1 - f) * z
    h = tanh(c)
    return locals()


@over(m=M, h=M)
def lmu(d: Data, p: Data) -> Values:
    u = d.e_x @ d.x + d.e_h @ p.h + d.e_m @ p.m
    m = d.A_bar @ p.m + d.B_bar * u
    h = tanh(d.W_x @ d.x + d.W_h @ p.h + d.W_m @ m)
    return locals()


SIMPLE = (
    Paper(
        "Elman", "Elman 1990, as Wikipedia's Recurrent neural network has it",
        r"""
\begin{aligned}
h_t &= \sigma_h(W_{h} x_t + U_{h} h_{t-1} + b_h) \\
y_t &= \sigma_y(W_{y} h_t + b_y)
\end{aligned}
""",
        X + "param W_h : [m, n], U_h : [m, m], b_h : [m], W_y : [k, m], b_y : [k]", elman,
    ),
    Paper(
        "Jordan", "Jordan 1986, as Wikipedia had it",
        r"""
\begin{aligned}
h_t &= \sigma_h(W_{h} x_t + U_{h} y_{t-1} + b_h) \\
y_t &= \sigma_y(W_{y} h_t + b_y)
\end{aligned}
""",
        X + "param W_h : [m, n], U_h : [m, k], b_h : [m], W_y : [k, m], b_y : [k]", jordan,
    ),
    Paper(
        "Jordan, with a state", "Jordan 1986, as Wikipedia's Recurrent neural network has it",
        r"""
\begin{aligned}
h_t &= \sigma_h(W_{h} x_t + U_{h} s_t + b_h) \\
y_t &= \sigma_y(W_{y} h_t + b_y) \\
s_t &= \sigma_s(W_{s,s} s_{t-1} + W_{s,y} y_{t-1} + b_s)
\end{aligned}
""",
        X + "param W_h : [m, n], U_h : [m, m], b_h, b_s : [m], W_y : [k, m], b_y : [k]\n"
        "param W_s_s : [m, m], W_s_y : [m, k]", jordan_state,
    ),
    Paper(
        "Goodfellow 10.8", "Goodfellow, Bengio, Courville 2016, Deep Learning, eq. 10.8-10.11",
        r"""
\begin{align}
\boldsymbol{a}^{(t)} &= \boldsymbol{b} + \boldsymbol{W} \boldsymbol{h}^{(t-1)}
  + \boldsymbol{U} \boldsymbol{x}^{(t)}, \tag{10.8} \\
\boldsymbol{h}^{(t)} &= \tanh(\boldsymbol{a}^{(t)}), \tag{10.9} \\
\boldsymbol{o}^{(t)} &= \boldsymbol{c} + \boldsymbol{V} \boldsymbol{h}^{(t)}, \tag{10.10} \\
\hat{\boldsymbol{y}}^{(t)} &= \text{softmax}(\boldsymbol{o}^{(t)}), \tag{10.11}
\end{align}
""",
        X + "param b : [m], W : [m, m], U : [m, n], c : [k], V : [k, m]", goodfellow,
    ),
    Paper(
        "Pascanu", "Pascanu, Mikolov, Bengio 2013, On the difficulty of training RNNs, eq. 2",
        r"""
\mathbf{x}_t = \mathbf{W}_{rec} \sigma(\mathbf{x}_{t-1}) + \mathbf{W}_{in} \mathbf{u}_t
  + \mathbf{b}
""",
        "dim n = 3, m = 4\ninput u[t] : [n]\nparam W_rec : [m, m], W_in : [m, n], b : [m]",
        pascanu,
    ),
    Paper(
        "Pascanu, deep", "Pascanu et al. 2014, How to construct deep RNNs, eq. 5 and 6",
        r"""
\begin{align}
\mathbf{h}_t &= \phi_h \left( \mathbf{W}^\top \mathbf{h}_{t-1} + \mathbf{U}^\top \mathbf{x}_t
  \right), \\
\mathbf{y}_t &= \phi_o \left( \mathbf{V}^\top \mathbf{h}_t \right),
\end{align}
""",
        X + "param W : [m, m], U : [n, m], V : [m, k]\nfunction phi_h = tanh, phi_o = softmax",
        deep_transition,
    ),
    Paper(
        "Sutskever", "Sutskever, Vinyals, Le 2014, section 2",
        r"""
\begin{eqnarray*}
h_t & = & \mathrm{sigm}\left( W^{\mathrm{hx}} x_t + W^{\mathrm{hh}} h_{t-1} \right)\\
y_t & = & W^{\mathrm{yh}} h_t
\end{eqnarray*}
""",
        X + "param W_hx : [m, n], W_hh : [m, m], W_yh : [k, m]", sutskever,
    ),
    Paper(
        "Lipton", "Lipton, Berkowitz, Elkan 2015, A critical review, section 2.5",
        r"""
\boldsymbol{h}^{(t)} = \sigma( W^{\mbox{hx}} \boldsymbol{x}^{(t)}
  + W^{\mbox{hh}} \boldsymbol{h}^{(t-1)} + \boldsymbol{b}_h )
$$
$$
\hat{\boldsymbol{y}}^{(t)} = \mbox{softmax}( W^{\mbox{yh}} \boldsymbol{h}^{(t)}
  + \boldsymbol{b}_y).
""",
        X + "param W_hx : [m, n], W_hh : [m, m], W_yh : [k, m], b_h : [m], b_y : [k]", lipton,
    ),
    Paper(
        "Mikolov", "Mikolov et al. 2011, Extensions of RNN language model, eq. 1 and 2",
        r"""
\mathbf{s}(t) = f\left(\mathbf{U} \mathbf{w}(t) + \mathbf{W} \mathbf{s}(t-1)\right)
$$
$$
\mathbf{y}(t) = g\left(\mathbf{V} \mathbf{s}(t)\right),
""",
        "dim n = 3, m = 4, k = 5\ninput w[t] : [n]\nparam U : [m, n], W : [m, m], V : [k, m]\n"
        "function f = sigmoid, g = softmax", mikolov,
    ),
    Paper(
        "SCRN", "Mikolov et al. 2014, Learning longer memory, eq. 5-7",
        r"""
\begin{eqnarray}
s_t &=& (1-\alpha) B x_t + \alpha s_{t-1}, \\
h_t &=& \sigma \left( P s_t + A x_t + R h_{t-1} \right), \\
y_t &=& f \left( U h_t + V s_t \right)
\end{eqnarray}
""",
        X + "param alpha : [], B : [m, n], P : [k, m], A : [k, n], R : [k, k]\n"
        "param U : [n, k], V : [n, m]\nfunction f = softmax", scrn,
    ),
    Paper(
        "ESN", "Lukoševičius 2012, A practical guide to applying echo state networks, eq. 2-4",
        r"""
\tilde{\mathbf{x}}(n) = \tanh\left(\mathbf{W}^{\mathrm{in}} [1;\mathbf{u}(n)]
  + \mathbf{W} \mathbf{x}(n-1)\right),
$$
$$
\mathbf{x}(n) = (1-\alpha) \mathbf{x}(n-1) + \alpha \tilde{\mathbf{x}}(n),
$$
$$
\mathbf{y}(n) = \mathbf{W}^{\mathrm{out}} [1;\mathbf{u}(n);\mathbf{x}(n)],
""",
        "axis n : T\ndim i = 3, m = 4, k = 5\ninput u[n] : [i]\n"
        "param W_in : [m, 1+i], W : [m, m], W_out : [k, 1+i+m], alpha : []", echo,
    ),
    Paper(
        "IRNN", "Le, Jaitly, Hinton 2015, in the words of section 3",
        r"h_t = \mathrm{ReLU}(W_{hh} h_{t-1} + W_{xh} x_t + b_h)",
        X + "param W_hh : [m, m], W_xh : [m, n], b_h : [m]", irnn,
    ),
    Paper(
        "IRNN by max", "Talathi and Vartak 2015, eq. 1",
        r"h_t = \max(0, W_{hh} \, h_{t-1} + W_{xh} \, x_t + b_h)",
        X + "param W_hh : [m, m], W_xh : [m, n], b_h : [m]", irnn,
    ),
    Paper(
        "AntisymmetricRNN", "Chang et al. 2019, eq. 14",
        r"""
h_t = h_{t-1} + \epsilon \tanh \left( (W_h - W_h^T - \gamma I) h_{t-1} + V_h x_t + b_h \right),
""",
        X + "param W_h : [m, m], V_h : [m, n], b_h : [m], epsilon, gamma : []\n"
        "const I : [m, m] = eye(m)", antisymmetric,
    ),
    Paper(
        "AntisymmetricRNN, gated", "Chang et al. 2019, eq. 16 and 17",
        r"""
\begin{aligned}
z_t &= \sigma \left( (W_h - W_h^T - \gamma I) h_{t-1} + V_z x_t + b_z \right), \\
h_t &= h_{t-1} + \epsilon z_t \circ \tanh \left( (W_h - W_h^T - \gamma I) h_{t-1}
  + V_h x_t + b_h \right).
\end{aligned}
""",
        X + "param W_h : [m, m], V_h, V_z : [m, n], b_h, b_z : [m], epsilon, gamma : []\n"
        "const I : [m, m] = eye(m)", antisymmetric_gated,
    ),
    Paper(
        "FastGRNN", "Kusupati et al. 2018, eq. 4 and 5",
        r"""
\begin{align*}
\mathbf{z}_t &= \sigma(\mathbf{W}\mathbf{x}_t + \mathbf{U}\mathbf{h}_{t-1} + \mathbf{b}_z), \\
\tilde{\mathbf{h}}_t &= \tanh(\mathbf{W}\mathbf{x}_t + \mathbf{U}\mathbf{h}_{t-1}
  + \mathbf{b}_h), \\
\mathbf{h}_t &= (\zeta(\mathbf{1}-\mathbf{z}_t)+\nu) \odot \tilde{\mathbf{h}}_t
  + \mathbf{z}_t \odot \mathbf{h}_{t-1},
\end{align*}
""",
        X + "param W : [m, n], U : [m, m], b_z, b_h : [m], zeta, nu : []", fastgrnn,
    ),
    Paper(
        "coRNN", "Rusch and Mishra 2021, eq. 3, the step a value h",
        r"""
\begin{aligned}
\mathbf{y}_n &= \mathbf{y}_{n-1} + \Delta t \, \mathbf{z}_n, \\
\mathbf{z}_n &= \mathbf{z}_{n-1} + \Delta t \left( \sigma( \mathbf{W} \mathbf{y}_{n-1}
  + \mathcal{W} \mathbf{z}_{n-1} + \mathbf{V} \mathbf{u}_n + \mathbf{b} )
  - \gamma \mathbf{y}_{n-1} - \epsilon \mathbf{z}_{n-1} \right)
\end{aligned}
""",
        "axis n : T\ndim a = 3, m = 4\ninput u[n] : [a]\nparam W, W_cal : [m, m], V : [m, a]\n"
        "param b : [m], gamma, epsilon, Delta_t : []\nfunction sigma = tanh", cornn,
    ),
    Paper(
        "LEM", "Rusch et al. 2022, eq. 3, with the steps of time as a and b",
        r"""
\begin{aligned}
\mathbf{a}_n &= \Delta t \hat{\sigma}(W_1 y_{n-1} + V_1 u_n + b_1), \\
\mathbf{b}_n &= \Delta t \hat{\sigma}(W_2 y_{n-1} + V_2 u_n + b_2), \\
z_n &= (1 - \mathbf{a}_n) \odot z_{n-1} + \mathbf{a}_n \odot \tanh(W_z y_{n-1} + V_z u_n + b_z), \\
y_n &= (1 - \mathbf{b}_n) \odot y_{n-1} + \mathbf{b}_n \odot \tanh(W_y z_n + V_y u_n + b_y)
\end{aligned}
""",
        "axis n : T\ndim q = 3, m = 4\ninput u[n] : [q]\nparam W_1, W_2, W_z, W_y : [m, m]\n"
        "param V_1, V_2, V_z, V_y : [m, q], b_1, b_2, b_z, b_y : [m], Delta_t : []\n"
        "function sigma_hat = sigmoid", lem,
    ),
    Paper(
        "Clockwork, plain", "Koutník et al. 2014, eq. 1 and 2",
        r"""
\begin{align}
\mathbf{y}_H^{(t)} &= f_H(\mathbf{W}_H \cdot \mathbf{y}_H^{(t-1)}
  + \mathbf{W}_I \cdot \mathbf{x}^{(t)}), \\
\mathbf{y}_O^{(t)} &= f_O(\mathbf{W}_O \cdot \mathbf{y}_H^{(t)}),
\end{align}
""",
        X + "param W_H : [m, m], W_I : [m, n], W_O : [k, m]\nfunction f_H = tanh, f_O = softmax",
        clockwork,
    ),
    Paper(
        "Clockwork, one module", "Koutník et al. 2014, section 3, as lectures write it",
        r"""
h_t = \begin{cases}
\tanh(W x_t + U h_{t-1}), & \text{if } t \bmod 2 = 0 \\
h_{t-1}, & \text{otherwise}
\end{cases}
""",
        X + "param W : [m, n], U : [m, m]", clocked,
    ),
    Paper(
        "T-RNN", "Balduzzi and Ghifary 2016, Strongly-typed RNNs, section 3",
        r"""
\begin{aligned}
{\mathbf z}_t & = {\mathbf W} {\mathbf x}_t \\
{\mathbf f}_t & = \sigma({\mathbf V} {\mathbf x}_t + {\mathbf b}) \\
{\mathbf c}_t & = {\mathbf f}_t \odot {\mathbf c}_{t-1} + (1 - {\mathbf f}_t) \odot {\mathbf z}_t \\
{\mathbf h}_t & = \tanh({\mathbf c}_t)
\end{aligned}
""",
        X + "param W, V : [m, n], b : [m]", minimal,
    ),
    Paper(
        "LMU", "Voelker, Kajić, Eliasmith 2019, eq. 4-6",
        r"""
\begin{aligned}
\mathbf{h}_t &= f\left(\mathbf{W_x}\mathbf{x}_t + \mathbf{W_h}\mathbf{h}_{t-1}
  + \mathbf{W_m}\mathbf{m}_t \right) \\
u_t &= {\mathbf{e_x}}^{\mathsf{T}} \mathbf{x}_t + {\mathbf{e_h}}^{\mathsf{T}} \mathbf{h}_{t-1}
  + {\mathbf{e_m}}^{\mathsf{T}} \mathbf{m}_{t-1} \\
\mathbf{m}_t &= \mathbf{\bar{A}} \mathbf{m}_{t-1} + \mathbf{\bar{B}} u_t
\end{aligned}
""",
        "dim n = 3, q = 4\ninput x[t] : [n]\nparam W_x : [q, n], W_h, W_m : [q, q]\n"
        "param e_x : [n], e_h, e_m : [q], A_bar : [q, q], B_bar : [q]\nfunction f = tanh", lmu,
    ),
)  # fmt: skip
