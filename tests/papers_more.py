r"""More papers: attention, memories, networks in depth, losses, and gradients by hand."""

from __future__ import annotations

import numpy as np

from tests.papers import (
    NDA,
    Data,
    K,
    M,
    Paper,
    Sequence,
    Values,
    X,
    before,
    cat,
    exp,
    log,
    over,
    sig,
    soft,
    tanh,
)

# ---------------------------------------------------------------- attention


def bahdanau(d: Data) -> Values:
    s, e, alpha, c, states = np.zeros(M), [], [], [], []
    for i in range(len(d.y)):
        e.append(np.array([d.v_a @ tanh(d.W_a @ s + d.U_a @ h) for h in d.h]))
        alpha.append(exp(e[-1]) / sum(exp(e[-1])))
        c.append(sum(a * h for a, h in zip(alpha[-1], d.h, strict=True)))
        s = tanh(d.W @ d.y[i] + d.U @ s + d.C @ c[-1])
        states.append(s)
    return {"e": np.stack(e), "alpha": np.stack(alpha), "c": np.stack(c), "s": np.stack(states)}


def bahdanau_decoder(d: Data) -> Values:
    s, found = np.zeros(M), []
    for i in range(len(d.c)):
        y, c = before(d.y, i), d.c[i]
        z = sig(d.W_z @ d.E @ y + d.U_z @ s + d.C_z @ c)
        r = sig(d.W_r @ d.E @ y + d.U_r @ s + d.C_r @ c)
        s_tilde = tanh(d.W @ d.E @ y + d.U @ (r * s) + d.C @ c)
        s = (1 - z) * s + z * s_tilde
        found.append((s, s_tilde, z, r))
    names = ("s", "s_tilde", "z", "r")
    return {n: np.stack(v) for n, v in zip(names, zip(*found, strict=True), strict=True)}


def luong(score: str) -> Sequence:
    """Global attention by one of its scores."""

    def run(d: Data) -> Values:
        a, c, h_tilde = [], [], []
        for h in d.h:
            if score == "dot":
                e = np.array([h @ s for s in d.h_bar])
            elif score == "general":
                e = np.array([h @ d.W_a @ s for s in d.h_bar])
            else:
                e = np.array([d.v_a @ tanh(d.W_a @ cat(h, s)) for s in d.h_bar])
            a.append(soft(e))
            c.append(a[-1] @ d.h_bar)
            h_tilde.append(tanh(d.W_c @ cat(c[-1], h)))
        return {"a": np.stack(a), "c": np.stack(c), "h_tilde": np.stack(h_tilde)}

    return run


def local_p(d: Data) -> Values:
    length = d.b.shape[1]
    p = np.array([length * sig(d.v_p @ tanh(d.W_p @ h)) for h in d.h])
    far = np.arange(1, length + 1) - p[:, None]
    return {"p": p, "a": d.b * exp(-(far**2) / (2 * d.sigma**2))}


def pointer(d: Data) -> Values:
    u = np.array([[d.v @ tanh(d.W_1 @ e + d.W_2 @ x) for e in d.e] for x in d.d])
    a = np.stack([soft(row) for row in u])
    return {"u": u, "a": a, "d'": a @ d.e}


def show_attend(d: Data) -> Values:
    h, alpha, z_hat, states = np.zeros(M), [], [], []
    for _ in range(4):
        e = np.array([d.v @ tanh(d.W_a @ a + d.W_h @ h) for a in d.a])
        alpha.append(soft(e))
        z_hat.append(alpha[-1] @ d.a)
        h = tanh(d.W @ h + d.U @ z_hat[-1])
        states.append(h)
    return {"alpha": np.stack(alpha), "z_hat": np.stack(z_hat), "h": np.stack(states)}


def hierarchical(d: Data) -> Values:
    u = tanh(d.h @ d.W_w.T + d.b_w)
    alpha = exp(u @ d.u_w) / exp(u @ d.u_w).sum(axis=1, keepdims=True)
    s = np.stack([(alpha[i][:, None] * d.h[i]).sum(axis=0) for i in range(len(d.h))])
    return {"alpha": alpha, "s": s}


def memory_network(d: Data) -> Values:
    p = soft(d.m @ d.u)
    o = p @ d.c
    return {"p": p, "o": o, "a_hat": soft(d.W @ (o + d.u))}


def self_attention(d: Data) -> Values:
    e = d.q @ d.k.T / np.sqrt(M)
    alpha = np.stack([soft(row) for row in e])
    return {"e": e, "alpha": alpha, "o": alpha @ d.v}


def ntm(d: Data) -> Values:
    return {
        "w_g": np.stack(
            [d.g[t] * d.w_c[t] + (1 - d.g[t]) * before(d.w, t) for t in range(len(d.g))]
        )
    }


# ---------------------------------------------------------------- memories


@over(M=(K, M))
def dnc(d: Data, p: Data) -> Values:
    memory = p.M * (1 - np.outer(d.w, d.e)) + np.outer(d.w, d.v)
    return {"M": memory, "r": memory.T @ d.w}


@over(S=(M, M))
def delta_net(d: Data, p: Data) -> Values:
    S = p.S @ (np.eye(M) - d.beta * np.outer(d.k, d.k)) + d.beta * np.outer(d.v, d.k)
    return {"S": S, "o": S @ d.q}


@over(S=(M, K))
def retention(d: Data, p: Data) -> Values:
    S = d.gamma * p.S + np.outer(d.K[0], d.V[0])
    return {"S": S, "o": d.Q @ S}


@over(S=(M, K))
def gated_linear(d: Data, p: Data) -> Values:
    S = np.outer(d.alpha[0], np.ones(K)) * p.S + np.outer(d.k[0], d.v[0])
    return {"S": S, "o": d.q @ S}


@over(s=(M, K), z=M)
def linear_attention(d: Data, p: Data) -> Values:
    def elu1(x: NDA) -> NDA:
        return np.where(x > 0, x + 1, exp(x))

    k, q = elu1(d.x @ d.W_K), elu1(d.x @ d.W_Q)
    s = p.s + np.outer(k, d.x @ d.W_V)
    z = p.z + k
    return {"s": s, "z": z, "y": s.T @ q / (q @ z)}


@over(a=M, b=M)
def rwkv(d: Data, p: Data) -> Values:
    y = (p.a + exp(d.u + d.k) * d.v) / (p.b + exp(d.u + d.k))
    a = exp(-d.w) * p.a + exp(d.k) * d.v
    b = exp(-d.w) * p.b + exp(d.k)
    return {"a": a, "b": b, "y": y, "o": d.W_o @ (sig(d.r) * y)}


def token_shift(d: Data) -> Values:
    r = [d.W_r @ (d.mu_r * x + (1 - d.mu_r) * before(d.x, t)) for t, x in enumerate(d.x)]
    return {"r": np.stack(r)}


@over(x=M)
def state_space(d: Data, p: Data) -> Values:
    x = d.A_bar @ p.x + d.B_bar @ d.u
    return {"x": x, "y": d.C @ x + d.D @ d.u}


@over(x=M)
def lru(d: Data, p: Data) -> Values:
    x = np.diag(exp(-exp(d.nu))) @ p.x + exp(d.gamma) * (d.B @ d.u)
    return {"x": x, "y": d.C @ x + d.D @ d.u}


@over(h=M)
def rg_lru(d: Data, p: Data) -> Values:
    r, i = sig(d.W_a @ d.x + d.b_a), sig(d.W_x @ d.x + d.b_x)
    a = exp(-8 * np.log1p(exp(d.Lambda)) * r)
    return {"a": a, "h": a * p.h + np.sqrt(1 - a**2) * (i * d.x)}


@over(A=(M, M))
def fast_weights(d: Data, p: Data) -> Values:
    return {"A": d.lambda_ * p.A + d.eta * np.outer(d.h, d.h)}


# ---------------------------------------------------------------- depth, directions, axes


def both_ways(d: Data) -> Values:
    vec, cev, h = [], [], np.zeros(M)
    for x in d.x:
        h = tanh(d.W_x_h_vec @ x + d.W_h_vec_h_vec @ h + d.b_h_vec)
        vec.append(h)
    h = np.zeros(M)
    for x in d.x[::-1]:
        h = tanh(d.W_x_h_cev @ x + d.W_h_cev_h_cev @ h + d.b_h_cev)
        cev.insert(0, h)
    y = [d.W_h_vec_y @ a + d.W_h_cev_y @ b + d.b_y for a, b in zip(vec, cev, strict=True)]
    return {"h_vec": np.stack(vec), "h_cev": np.stack(cev), "y": np.stack(y)}


def gru_both_ways(d: Data) -> Values:
    vec, cev, h = [], [], np.zeros(M)
    for x in d.x:
        z, r = sig(d.W_z @ x + d.U_z @ h), sig(d.W_r @ x + d.U_r @ h)
        h = (1 - z) * h + z * tanh(d.W @ x + d.U @ (r * h))
        vec.append(h)
    h = np.zeros(M)
    for x in d.x[::-1]:
        h = tanh(d.V @ x + d.R @ h)
        cev.insert(0, h)
    return {"h": np.concatenate([np.stack(vec), np.stack(cev)], axis=1)}


def deep(d: Data) -> Values:
    a, b, y = np.zeros(M), np.zeros(M), []
    first, second = [], []
    for x in d.x:
        a = tanh(d.W_1 @ a + d.U_1 @ x)
        b = tanh(d.W_2 @ b + d.U_2 @ a)
        y.append(d.V @ b)
        first.append(a)
        second.append(b)
    return {"h_1": np.stack(first), "h_2": np.stack(second), "y": np.stack(y)}


def graves_deep(d: Data) -> Values:
    a, b, found = np.zeros(M), np.zeros(M), []
    for x in d.x:
        a = tanh(d["W_ih_1"] @ x + d["W_h_1_h_1"] @ a + d["b_h_1"])
        b = tanh(d["W_ih_2"] @ x + d["W_h_1_h_2"] @ a + d["W_h_2_h_2"] @ b + d["b_h_2"])
        found.append(d.b_y + d["W_h_1_y"] @ a + d["W_h_2_y"] @ b)
    return {"y_hat": np.stack(found)}


def two_dimensional(d: Data) -> Values:
    rows, columns = d.x.shape[:2]
    h = np.zeros((rows + 1, columns + 1, M))
    for i in range(rows):
        for j in range(columns):
            h[i, j] = tanh(d.W @ d.x[i, j] + d.U @ h[i - 1, j] + d.V @ h[i, j - 1] + d.b)
    return {"h": h[:-1, :-1]}


@over(h=M)
def layer_norm(d: Data, p: Data) -> Values:
    a = d.W_hh @ p.h + d.W_xh @ d.x
    mu = a.sum() / M
    sigma = np.sqrt(((a - mu) ** 2).sum() / M)
    return {"a": a, "mu": mu, "h": tanh(d.g / sigma * (a - mu) + d.b)}


@over(h=M)
def zoneout(d: Data, p: Data) -> Values:
    return {"h": d.d * p.h + (1 - d.d) * tanh(d.W @ d.x + d.U @ p.h)}


@over(h=M)
def concatenated(d: Data, p: Data) -> Values:
    return {"h": tanh(d.W @ cat(p.h, d.x, 1))}


# ---------------------------------------------------------------- losses and gradients


def negative_log(d: Data) -> Values:
    p = np.stack([soft(d.V @ x) for x in d.x])
    return {"loss": -sum(y @ log(q) for y, q in zip(d.y, p, strict=True))}


def squared(d: Data) -> Values:
    errors = [np.sum((d.W @ x - y) ** 2) for x, y in zip(d.x, d.y, strict=True)]
    return {"loss": np.sum(errors) / 2}


def perplexity(d: Data) -> Values:
    p = np.array([soft(d.V @ x)[y] for x, y in zip(d.x, d.y, strict=True)])
    return {"P": exp(-np.mean(log(p)))}


def by_hand(d: Data) -> Values:
    o = np.stack([d.V @ x for x in d.x])
    return {"p": exp(o) / exp(o).sum(axis=1, keepdims=True)}


@over(backward=True, delta_h=M)
def backward(d: Data, p: Data) -> Values:
    return {"delta_h": (1 - tanh(d.a) ** 2) * (d.V.T @ d.delta_o + d.W.T @ p.delta_h)}


def greff_deltas(d: Data) -> Values:
    zero = np.zeros(M)
    after: Values = dict.fromkeys(("z", "i", "f", "o", "c", "gate"), zero)
    found = []
    for t in range(d.steps)[::-1]:
        s = d.at(t)
        c_before = before(d.c, t)
        y = s.Delta + sum(d[f"R_{g}"].T @ after[g] for g in "zifo")
        o = y * tanh(s.c) * sig(s.o_bar) * (1 - sig(s.o_bar))
        c = (y * sig(s.o_bar) * (1 - tanh(s.c) ** 2) + d.p_o * o + d.p_i * after["i"]
             + d.p_f * after["f"] + after["c"] * after["gate"])  # fmt: skip
        f = c * c_before * sig(s.f_bar) * (1 - sig(s.f_bar))
        i = c * tanh(s.z_bar) * sig(s.i_bar) * (1 - sig(s.i_bar))
        z = c * sig(s.i_bar) * (1 - tanh(s.z_bar) ** 2)
        after = {"z": z, "i": i, "f": f, "o": o, "c": c, "gate": sig(s.f_bar)}
        found.insert(0, (y, o, c, f, i, z))
    names = ("delta_y", "delta_o", "delta_c", "delta_f", "delta_i", "delta_z")
    return {n: np.stack(v) for n, v in zip(names, zip(*found, strict=True), strict=True)}


@over(backward=True, d_h=M)
def goodfellow_gradient(d: Data, p: Data) -> Values:
    return {"d_h": d.W.T @ (p.d_h * d.next) + d.V.T @ d.d_o}


def named(d: Data, **names: str) -> Data:
    """The data, some under other names."""
    new = Data({**d, **{n: d[o] for n, o in names.items()}})
    new.sequences = d.sequences
    return new


def after(d: Data) -> Data:
    """What the gradient of a step takes from the one after it."""
    new = Data({**d, "next": 1 - np.concatenate([d.h[1:], np.zeros_like(d.h[:1])]) ** 2})
    new.sequences = d.sequences | {"next"}
    return new


def s4(d: Data) -> Data:
    return named(d, C="C_bar", D="D_bar")


ATTENTION = "axis i : T_y, j : T_x\n"
GLOBAL = "axis t : T, s : S\ndim m = 4\ninput h[t] : [m], h_bar[s] : [m]\n"
ROWS = "axis n : T\ndim d = 4, e = 5\ninput Q[n], K[n] : [1, d], V[n] : [1, e]\nparam gamma : []"

MORE = (
    Paper(
        "Bahdanau, alignment", "Bahdanau, Cho, Bengio 2015, eq. 5 and 6, appendix A.1.2",
        r"""
c_i = \sum_{j=1}^{T_x} \alpha_{ij} h_j.
$$
$$
\alpha_{ij} = \frac{\exp\left(e_{ij}\right)}{\sum_{k=1}^{T_x} \exp\left(e_{ik}\right)},
$$
$$
e_{ij} = v_a^{\top} \tanh\left(W_a s_{i-1} + U_a h_j\right),
$$
$$
s_i = \tanh\left( W y_i + U s_{i-1} + C c_i \right)
""",
        ATTENTION + "axis k : T_x\ndim m = 4\ninput h[j] : [m], y[i] : [m]\n"
        "param v_a : [m], W_a, U_a, W, U, C : [m, m]", bahdanau,
    ),
    Paper(
        "Bahdanau, decoder", "Bahdanau, Cho, Bengio 2015, appendix A.2.2",
        r"""
s_i = (1 - z_i) \circ s_{i-1} + z_i \circ \tilde{s}_i,
$$
$$
\begin{aligned}
\tilde{s}_i =& \tanh\left( W E y_{i-1} + U \left[ r_i \circ s_{i-1} \right] + C c_i \right) \\
z_i =& \sigma\left( W_z E y_{i-1} + U_z s_{i-1} + C_z c_i \right) \\
r_i =& \sigma\left( W_r E y_{i-1} + U_r s_{i-1} + C_r c_i \right)
\end{aligned}
""",
        "axis i : T\ndim n = 3, m = 4, k = 5\ninput y[i] : [k], c[i] : [m]\nparam E : [n, k]\n"
        "param W, W_z, W_r : [m, n], U, U_z, U_r, C, C_z, C_r : [m, m]", bahdanau_decoder,
    ),
    Paper(
        "Luong, general", "Luong, Pham, Manning 2015, eq. 5, 7 and 8",
        r"""
\mathbf{a}_{ts} = \mathrm{softmax}_s \left( \mathbf{h}_t^{\top} \mathbf{W_a} \bar{\mathbf{h}}_s
  \right) \\
\mathbf{c}_t = \sum_{s=1}^{S} \mathbf{a}_{ts} \bar{\mathbf{h}}_s \\
\tilde{\mathbf{h}}_t = \tanh(\mathbf{W_c} [\mathbf{c}_t;\mathbf{h}_t])
""",
        GLOBAL + "param W_c : [m, 2*m], W_a : [m, m]", luong("general"),
    ),
    Paper(
        "Luong, concat", "Luong, Pham, Manning 2015, eq. 5, 7 and 8",
        r"""
\mathbf{a}_{t,s} = \mathrm{softmax}_s \left( \mathbf{v}_a^{\top} \tanh \left( \mathbf{W_a}
  [\mathbf{h}_t;\bar{\mathbf{h}}_s] \right) \right) \\
\mathbf{c}_t = \sum_{s} \mathbf{a}_{t,s} \bar{\mathbf{h}}_s \\
\tilde{\mathbf{h}}_t = \tanh(\mathbf{W_c} [\mathbf{c}_t;\mathbf{h}_t])
""",
        GLOBAL + "param W_c : [m, 2*m], W_a : [m, 2*m], v_a : [m]", luong("concat"),
    ),
    Paper(
        "Luong, local-p", "Luong, Pham, Manning 2015, eq. 9 and 10, with b for the alignment",
        r"""
p_t = S \cdot \mathrm{sigmoid}(\mathbf{v}_p^{\top} \tanh (\mathbf{W_p} \mathbf{h}_t)), \\
\mathbf{a}_{ts} = \mathbf{b}_{ts} \exp \left( -\frac{(s - p_t)^2}{2 \sigma^2} \right)
""",
        "axis t : T, s : S\ndim m = 4\ninput h[t] : [m], b[t, s] : []\n"
        "param v_p : [m], W_p : [m, m], sigma : []", local_p,
    ),
    Paper(
        "Word attention", "Yang et al. 2016, Hierarchical attention networks, eq. 5-7",
        r"""
\begin{align}
u_{it} &= \tanh(W_w h_{it} + b_w) \\
\alpha_{it} &= \frac{\exp(u_{it}^\top u_w)}{\sum_{t} \exp(u_{it}^\top u_w)} \\
s_i &= \sum_{t} \alpha_{it} h_{it}.
\end{align}
""",
        "axis i : L, t : T\ndim m = 4\ninput h[i, t] : [m]\n"
        "param W_w : [m, m], b_w, u_w : [m]", hierarchical,
    ),
    Paper(
        "End-to-end memory network", "Sukhbaatar et al. 2015, eq. 1-3",
        r"""
p_i = \mathrm{Softmax}_i(u^T m_i). \\
o = \sum_i p_i c_i. \\
\hat{a} = \mathrm{Softmax}(W(o+u))
""",
        "axis i : T\ndim d = 4, V = 5\ninput m[i], c[i] : [d], u : [d]\nparam W : [V, d]",
        memory_network,
    ),
    Paper(
        "Scaled dot-product attention, by steps", "Vaswani et al. 2017, eq. 1",
        r"""
e_{i,j} = \frac{q_i^{\mathsf{T}} k_j}{\sqrt{d_k}}, \quad
\alpha_{i,j} = \operatorname{softmax}_j(e_{i,j}), \quad
o_i = \sum_{j=1}^{T} \alpha_{i,j} v_j
""",
        "axis i : T, j : T\ndim d_k = 4\ninput q[i], k[j], v[j] : [d_k]", self_attention,
    ),
    Paper(
        "DNC memory", "Graves et al. 2016, Hybrid computing, methods",
        r"""
M_t = M_{t-1} \circ (E - \mathbf{w}_t \mathbf{e}_t^\top) + \mathbf{w}_t \mathbf{v}_t^\top
$$
$$
\mathbf{r}_t = M_t^\top \mathbf{w}_t
""",
        "dim k = 5, m = 4\ninput w[t] : [k], e[t], v[t] : [m]\n"
        "const E : [k, m] = 0 * outer(arange(k), arange(m)) + 1", dnc,
    ),
    Paper(
        "DeltaNet", "Yang et al. 2024, Parallelizing linear transformers, eq. 3",
        r"""
\mathbf{S}_t = \mathbf{S}_{t-1} \left( \mathbf{I} - \beta_t \boldsymbol{k}_t
  \boldsymbol{k}_t^{\top} \right) + \beta_t \boldsymbol{v}_t \boldsymbol{k}_t^{\top}, \qquad
\boldsymbol{o}_t = \mathbf{S}_t \boldsymbol{q}_t
""",
        "dim m = 4\ninput k[t], v[t], q[t] : [m], beta[t] : []\nconst I : [m, m] = eye(m)",
        delta_net,
    ),
    Paper(
        "GLA", "Yang et al. 2024, Gated linear attention, eq. 3 and 4",
        r"""
\mathbf{G}_t = \boldsymbol{\alpha}_t^\top \mathbf{1}, \quad
\mathbf{S}_t = \mathbf{G}_t \odot \mathbf{S}_{t-1} + \boldsymbol{k}_t^\top \boldsymbol{v}_t,
\quad \boldsymbol{o}_t = \boldsymbol{q}_t \mathbf{S}_t
""",
        "dim d = 4, e = 5\ninput alpha[t], q[t], k[t] : [1, d], v[t] : [1, e]", gated_linear,
    ),
    Paper(
        "RWKV, token shift", "Peng et al. 2023, eq. 11",
        r"r_t = W_r \cdot (\mu_r \odot x_t + (1 - \mu_r) \odot x_{t-1}),",
        "dim m = 4\ninput x[t] : [m]\nparam W_r : [m, m], mu_r : [m]", token_shift,
    ),
    Paper(
        "LRU, real", "Orvieto et al. 2023, eq. 5 and section 3.4, real eigenvalues",
        r"""
x_k = \mathrm{diag}(\lambda) x_{k-1} + \exp(\gamma^{\log}) \odot (B u_k), \quad
y_k = C x_k + D u_k, \quad \lambda = \exp(-\exp(\nu^{\log}))
""",
        "axis k : L\ndim n = 3, m = 4\ninput u[k] : [n]\n"
        "param B : [m, n], C : [2, m], D : [2, n], gamma_log, nu_log : [m]",
        lambda d: lru(named(d, gamma="gamma_log", nu="nu_log")),
    ),
    Paper(
        "RG-LRU", "De et al. 2024, Griffin, eq. 1-4 and appendix A",
        r"""
\begin{align}
r_t &= \sigma(W_a x_t + b_a), & \text{recurrence gate} \\
i_t &= \sigma(W_x x_t + b_x), & \text{input gate} \\
a_t &= \exp\left( -8 \, \mathrm{softplus}(\Lambda) \odot r_t \right), \\
h_t &= a_t \odot h_{t-1} + \sqrt{1 - a_t^2} \odot (i_t \odot x_t).
\end{align}
""",
        "dim m = 4\ninput x[t] : [m]\nparam W_a, W_x : [m, m], b_a, b_x, Lambda : [m]", rg_lru,
    ),
    Paper(
        "Fast weights", "Ba et al. 2016, Using fast weights, eq. 1",
        r"A(t) = \lambda A(t-1) + \eta h(t) h(t)^T",
        "dim m = 4\ninput h[t] : [m]\nparam lambda, eta : []",
        lambda d: fast_weights(named(d, lambda_="lambda")),
    ),
    Paper(
        "Stacked", "Pascanu et al. 2014, eq. 17, two layers written out",
        r"""
\begin{aligned}
h^{(1)}_t &= \tanh(W_1 h^{(1)}_{t-1} + U_1 x_t) \\
h^{(2)}_t &= \tanh(W_2 h^{(2)}_{t-1} + U_2 h^{(1)}_t) \\
y_t &= V h^{(2)}_t
\end{aligned}
""",
        X + "param W_1, W_2 : [m, m], U_1 : [m, n], U_2 : [m, m], V : [k, m]", deep,
    ),
    Paper(
        "Two-dimensional", "Graves, Fernández, Schmidhuber 2007, section 2",
        r"h_{i,j} = \tanh(W x_{i,j} + U h_{i-1,j} + V h_{i,j-1} + b)",
        "axis i : I, j : J\ndim n = 3, m = 4\ninput x[i, j] : [n]\n"
        "param W : [m, n], U, V : [m, m], b : [m]", two_dimensional,
    ),
    Paper(
        "Layer normalisation", "Ba, Kiros, Hinton 2016, eq. 4, with the mean by a function",
        r"""
\begin{aligned}
\mathbf{a}^t &= W_{hh} \mathbf{h}^{t-1} + W_{xh} \mathbf{x}^t \\
\mu^t &= \mathrm{mean}(\mathbf{a}^t), \qquad
\sigma^t = \sqrt{\mathrm{mean}\left( (\mathbf{a}^t - \mu^t)^2 \right)} \\
\mathbf{h}^t &= f\left( \frac{\mathbf{g}}{\sigma^t} \odot \left( \mathbf{a}^t - \mu^t \right)
  + \mathbf{b} \right)
\end{aligned}
""",
        X + "param W_hh : [m, m], W_xh : [m, n], g, b : [m]\nfunction f = tanh", layer_norm,
    ),
    Paper(
        "Zoneout", "Krueger et al. 2017, section 3",
        r"h_t = d_t \odot h_{t-1} + (1 - d_t) \odot \tanh(W x_t + U h_{t-1})",
        "dim n = 3, m = 4\ninput x[t] : [n], d[t] : [m]\nparam W : [m, n], U : [m, m]", zoneout,
    ),
    Paper(
        "A column of a state, data and one", "Karpathy 2015 and others, with a bias by a one",
        r"h_t = \tanh W \begin{pmatrix} h_{t-1} \\ x_t \\ 1 \end{pmatrix}",
        X + "param W : [m, m+n+1]", concatenated,
    ),
    Paper(
        "Cross-entropy", "Goodfellow, Bengio, Courville 2016, after eq. 10.12",
        r"""
\hat{y}_t = \mathrm{softmax}(V x_t) \\
\mathcal{L} = - \sum_{t=1}^{T} y_t^\top \log \hat{y}_t
""",
        X + "input y[t] : [k]\nparam V : [k, n]", negative_log,
    ),
    Paper(
        "Squared error", "Werbos 1990, eq. 5, in vectors",
        r"o_t = W x_t, \quad \mathcal{L} = \frac{1}{2} \sum_{t=1}^{T} \lVert o_t - y_t \rVert^2",
        X + "input y[t] : [k]\nparam W : [k, n]", squared,
    ),
    Paper(
        "Softmax by hand", "Mikolov et al. 2010, eq. 5",
        r"p_t = \frac{\exp(V x_t)}{\mathrm{sum}(e^{V x_t})}",
        X + "param V : [k, n]", by_hand,
    ),
    Paper(
        "Back-propagation through time", "Werbos 1990, in vectors",
        r"""
\delta_h^t = f'(a^t) \odot \left( V^\top \delta_o^t + W^\top \delta_h^{t+1} \right)
""",
        "dim m = 4, k = 5\ninput a[t] : [m], delta_o[t] : [k]\nparam V : [k, m], W : [m, m]\n"
        "function f = tanh", backward,
    ),
    Paper(
        "Linear attention", "Katharopoulos et al. 2020, eq. 18-20, without the residual",
        r"""
k_i = \mathrm{elu}(x_i W_K) + 1, \quad q_i = \mathrm{elu}(x_i W_Q) + 1 \\
s_i = s_{i-1} + k_i (x_i W_V)^T, \\
z_i = z_{i-1} + k_i, \\
y_i = \frac{q_i^T s_i}{q_i^T z_i}
""",
        "axis i : T\ndim n = 3, m = 4\ninput x[i] : [n]\n"
        "param W_K, W_Q : [n, m], W_V : [n, 5]", linear_attention,
    ),
    Paper(
        "Gradients through time", "Goodfellow, Bengio, Courville 2016, eq. 10.21, d for nabla",
        r"""
d_h^{(t)} = W^\top \mathrm{diag}\left( 1 - \left( h^{(t+1)} \right)^2 \right) d_h^{(t+1)}
  + V^\top d_o^{(t)}
""",
        "dim m = 4, k = 5\ninput h[t] : [m], d_o[t] : [k]\nparam W : [m, m], V : [k, m]",
        lambda d: goodfellow_gradient(after(d)),
    ),
)  # fmt: skip
