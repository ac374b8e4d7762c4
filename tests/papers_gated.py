"""Papers on gated cells."""

from __future__ import annotations

import numpy as np

from tests.papers import (
    Data,
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

# ---------------------------------------------------------------- gates


@over(h=M, c=M)
def graves(d: Data, p: Data) -> Values:
    i = sig(d.W_xi @ d.x + d.W_hi @ p.h + d.W_ci * p.c + d.b_i)
    f = sig(d.W_xf @ d.x + d.W_hf @ p.h + d.W_cf * p.c + d.b_f)
    c = f * p.c + i * tanh(d.W_xc @ d.x + d.W_hc @ p.h + d.b_c)
    o = sig(d.W_xo @ d.x + d.W_ho @ p.h + d.W_co * c + d.b_o)
    h = o * tanh(c)
    return locals()


@over(h=M, c=M)
def jozefowicz_lstm(d: Data, p: Data) -> Values:
    i = tanh(d.W_xi @ d.x + d.W_hi @ p.h + d.b_i)
    j = sig(d.W_xj @ d.x + d.W_hj @ p.h + d.b_j)
    f = sig(d.W_xf @ d.x + d.W_hf @ p.h + d.b_f)
    o = tanh(d.W_xo @ d.x + d.W_ho @ p.h + d.b_o)
    c = p.c * f + i * j
    h = tanh(c) * o
    return locals()


@over(h=M)
def jozefowicz_gru(d: Data, p: Data) -> Values:
    r = sig(d.W_xr @ d.x + d.W_hr @ p.h + d.b_r)
    z = sig(d.W_xz @ d.x + d.W_hz @ p.h + d.b_z)
    h_tilde = tanh(d.W_xh @ d.x + d.W_hh @ (r * p.h) + d.b_h)
    h = z * p.h + (1 - z) * h_tilde
    return locals()


@over(c=M, y=M)
def greff(d: Data, p: Data) -> Values:
    z_bar = d.W_z @ d.x + d.R_z @ p.y + d.b_z
    z = tanh(z_bar)
    i_bar = d.W_i @ d.x + d.R_i @ p.y + d.p_i * p.c + d.b_i
    i = sig(i_bar)
    f_bar = d.W_f @ d.x + d.R_f @ p.y + d.p_f * p.c + d.b_f
    f = sig(f_bar)
    c = z * i + p.c * f
    o_bar = d.W_o @ d.x + d.R_o @ p.y + d.p_o * c + d.b_o
    o = sig(o_bar)
    y = tanh(c) * o
    return locals()


@over(c=M, m=M)
def sak(d: Data, p: Data) -> Values:
    i = sig(d.W_ix @ d.x + d.W_im @ p.m + d.W_ic * p.c + d.b_i)
    f = sig(d.W_fx @ d.x + d.W_fm @ p.m + d.W_fc * p.c + d.b_f)
    c = f * p.c + i * tanh(d.W_cx @ d.x + d.W_cm @ p.m + d.b_c)
    o = sig(d.W_ox @ d.x + d.W_om @ p.m + d.W_oc * c + d.b_o)
    m = o * tanh(c)
    y = soft(d.W_ym @ m + d.b_y)
    return locals()


@over(s=M, h=M)
def lipton_lstm(d: Data, p: Data) -> Values:
    g = tanh(d.W_gx @ d.x + d.W_gh @ p.h + d.b_g)
    i = sig(d.W_ix @ d.x + d.W_ih @ p.h + d.b_i)
    f = sig(d.W_fx @ d.x + d.W_fh @ p.h + d.b_f)
    o = sig(d.W_ox @ d.x + d.W_oh @ p.h + d.b_o)
    s = g * i + p.s * f
    h = tanh(s) * o
    return locals()


@over(C=M, h=M)
def olah(d: Data, p: Data) -> Values:
    f = sig(d.W_f @ cat(p.h, d.x) + d.b_f)
    i = sig(d.W_i @ cat(p.h, d.x) + d.b_i)
    C_tilde = tanh(d.W_C @ cat(p.h, d.x) + d.b_C)
    C = f * p.C + i * C_tilde
    o = sig(d.W_o @ cat(p.h, d.x) + d.b_o)
    h = o * tanh(C)
    return locals()


@over(C=M, h=M)
def olah_peephole(d: Data, p: Data) -> Values:
    f = sig(d.W_f @ cat(p.C, p.h, d.x) + d.b_f)
    C = f * p.C + (1 - f) * tanh(d.W_C @ cat(p.h, d.x) + d.b_C)
    o = sig(d.W_o @ cat(C, p.h, d.x) + d.b_o)
    h = o * tanh(C)
    return locals()


@over(c=M, h=M)
def torch_lstm(d: Data, p: Data) -> Values:
    i = sig(d.W_ii @ d.x + d.b_ii + d.W_hi @ p.h + d.b_hi)
    f = sig(d.W_if @ d.x + d.b_if + d.W_hf @ p.h + d.b_hf)
    g = tanh(d.W_ig @ d.x + d.b_ig + d.W_hg @ p.h + d.b_hg)
    o = sig(d.W_io @ d.x + d.b_io + d.W_ho @ p.h + d.b_ho)
    c = f * p.c + i * g
    h = o * tanh(c)
    return locals()


@over(h=M)
def torch_gru(d: Data, p: Data) -> Values:
    r = sig(d.W_ir @ d.x + d.b_ir + d.W_hr @ p.h + d.b_hr)
    z = sig(d.W_iz @ d.x + d.b_iz + d.W_hz @ p.h + d.b_hz)
    n = tanh(d.W_in @ d.x + d.b_in + r * (d.W_hn @ p.h + d.b_hn))
    h = (1 - z) * n + z * p.h
    return locals()


@over(h=M)
def chung(d: Data, p: Data) -> Values:
    z = sig(d.W_z @ d.x + d.U_z @ p.h)
    r = sig(d.W_r @ d.x + d.U_r @ p.h)
    h_tilde = tanh(d.W @ d.x + d.U @ (r * p.h))
    h = (1 - z) * p.h + z * h_tilde
    return locals()


@over(h=M)
def cho(d: Data, p: Data) -> Values:
    z = sig(d.W_z @ d.x + d.U_z @ p.h)
    r = sig(d.W_r @ d.x + d.U_r @ p.h)
    h_tilde = tanh(d.W @ d.x + d.U @ (r * p.h))
    h = z * p.h + (1 - z) * h_tilde
    return locals()


@over(h=M)
def mgu(d: Data, p: Data) -> Values:
    f = sig(d.W_f @ cat(p.h, d.x) + d.b_f)
    h_tilde = tanh(d.W_h @ cat(f * p.h, d.x) + d.b_h)
    h = (1 - f) * p.h + f * h_tilde
    return locals()


@over(c=M)
def janet(d: Data, p: Data) -> Values:
    s = d.U_f @ p.c + d.W_f @ d.x + d.b_f
    c_tilde = tanh(d.U_c @ p.c + d.W_c @ d.x + d.b_c)
    c = sig(s) * p.c + (1 - sig(s - d.beta)) * c_tilde
    return {"s": s, "c_tilde": c_tilde, "c": c, "h": c}


@over(h=M, c=M)
def ugrnn(d: Data, p: Data) -> Values:
    c = tanh(d.W_ch @ p.h + d.W_cx @ d.x + d.b_c)
    g = sig(d.W_gh @ p.h + d.W_gx @ d.x + d.b_g)
    h = g * p.h + (1 - g) * c
    return locals()


@over(h=M)
def mrnn(d: Data, p: Data) -> Values:
    f = np.diag(d.W_fx @ d.x) @ d.W_fh @ p.h
    h = tanh(d.W_hf @ f + d.W_hx @ d.x)
    o = d.W_oh @ h + d.b_o
    return locals()


@over(h=M, c=M)
def krause(d: Data, p: Data) -> Values:
    m = (d.W_mx @ d.x) * (d.W_mh @ p.h)
    h_hat = d.W_hx @ d.x + d.W_hm @ m
    i = sig(d.W_ix @ d.x + d.W_im @ m)
    o = sig(d.W_ox @ d.x + d.W_om @ m)
    f = sig(d.W_fx @ d.x + d.W_fm @ m)
    c = f * p.c + i * tanh(h_hat)
    h = tanh(c) * o
    return locals()


@over(c=M)
def sru(d: Data, p: Data) -> Values:
    x_tilde = d.W @ d.x
    f = sig(d.W_f @ d.x + d.b_f)
    r = sig(d.W_r @ d.x + d.b_r)
    c = f * p.c + (1 - f) * x_tilde
    h = r * tanh(c) + (1 - r) * d.x
    return locals()


@over(c=M)
def sru_later(d: Data, p: Data) -> Values:
    f = sig(d.W_f @ d.x + d.v_f * p.c + d.b_f)
    c = f * p.c + (1 - f) * (d.W @ d.x)
    r = sig(d.W_r @ d.x + d.v_r * p.c + d.b_r)
    h = r * c + (1 - r) * d.x
    return locals()


def qrnn(pooling: str) -> Sequence:
    """A QRNN of width 2, ``f``, ``fo`` or ``ifo``."""

    def run(d: Data) -> Values:
        c, found = np.zeros(M), []
        for t in range(d.steps):
            x, y = d.x[t], before(d.x, t)
            z = tanh(d["W_z_1"] @ y + d["W_z_2"] @ x)
            f = sig(d["W_f_1"] @ y + d["W_f_2"] @ x)
            o = sig(d["W_o_1"] @ y + d["W_o_2"] @ x) if "o" in pooling else None
            i = sig(d["W_i_1"] @ y + d["W_i_2"] @ x) if "i" in pooling else 1 - f
            c = f * c + i * z
            found.append((c, c if o is None else o * c))
        return {"h": np.stack([h for _, h in found])}

    return run


@over(h=M)
def mingru(d: Data, p: Data) -> Values:
    z = sig(d.W_z @ d.x + d.b_z)
    h_tilde = d.W_h @ d.x + d.b_h
    h = (1 - z) * p.h + z * h_tilde
    return locals()


@over(h=M)
def minlstm(d: Data, p: Data) -> Values:
    f = sig(d.W_f @ d.x + d.b_f)
    i = sig(d.W_i @ d.x + d.b_i)
    h_tilde = d.W_h @ d.x + d.b_h
    h = f / (f + i) * p.h + i / (f + i) * h_tilde
    return {"f": f, "i": i, "f'": f / (f + i), "i'": i / (f + i), "h_tilde": h_tilde, "h": h}


@over(h=M, c=M)
def batch_lstm(d: Data, p: Data) -> Values:
    a = (d.W_h @ p.h + d.W_x @ d.x + d.b).reshape(4, M)
    c = sig(a[0]) * p.c + sig(a[1]) * tanh(a[3])
    h = sig(a[2]) * tanh(c)
    return {"f_tilde": a[0], "g_tilde": a[3], "c": c, "h": h}


@over(s_c=M, y_c=M)
def hochreiter(d: Data, p: Data) -> Values:
    i = sig(d.W_in @ p.y_c + d.U_in @ d.x)
    o = sig(d.W_out @ p.y_c + d.U_out @ d.x)
    s_c = p.s_c + i * tanh(d.W_c @ p.y_c + d.U_c @ d.x)
    y_c = o * tanh(s_c)
    return {"y_in": i, "y_out": o, "s_c": s_c, "y_c": y_c}


@over(c=M, h=M)
def gers(d: Data, p: Data) -> Values:
    i = sig(d.W_i @ d.x + d.R_i @ p.h + d.w_i * p.c + d.b_i)
    f = sig(d.W_f @ d.x + d.R_f @ p.h + d.w_f * p.c + d.b_f)
    c = f * p.c + i * tanh(d.W_c @ d.x + d.R_c @ p.h + d.b_c)
    o = sig(d.W_o @ d.x + d.R_o @ p.h + d.w_o * c + d.b_o)
    h = o * tanh(c)
    return locals()


def phased(d: Data) -> Values:
    c, out = np.zeros(M), []
    for t in range(1, d.steps + 1):
        phi = ((t - d.s) % d.tau) / d.tau
        k = np.where(phi < d.r_on / 2, 2 * phi / d.r_on,
                     np.where(phi < d.r_on, 2 - 2 * phi / d.r_on, d.alpha * phi))  # fmt: skip
        c = k * (d.W @ d.x[t - 1] + d.U @ c) + (1 - k) * c
        out.append((phi, k, c))
    return {n: np.stack(v) for n, v in zip(("phi", "k", "c"), zip(*out, strict=True), strict=True)}


@over(s=M)
def highway(d: Data, p: Data) -> Values:
    h = tanh(d.W_H @ d.x + d.R_H @ p.s + d.b_H)
    t = sig(d.W_T @ d.x + d.R_T @ p.s + d.b_T)
    c = sig(d.W_C @ d.x + d.R_C @ p.s + d.b_C)
    s = h * t + p.s * c
    return {"s": s}


@over(c=(), n=(), h=(), m=())
def slstm(d: Data, p: Data) -> Values:
    z = tanh(d.w_z @ d.x + d.r_z * p.h + d.b_z)
    i_tilde = d.w_i @ d.x + d.r_i * p.h + d.b_i
    f_tilde = d.w_f @ d.x + d.r_f * p.h + d.b_f
    o = sig(d.w_o @ d.x + d.r_o * p.h + d.b_o)
    f, i = sig(f_tilde), exp(i_tilde)
    m = np.maximum(log(f) + p.m, log(i))
    i_, f_ = exp(i_tilde - m), exp(log(f) + p.m - m)
    c = f_ * p.c + i_ * z
    n = f_ * p.n + i_
    h = o * c / n
    return {"c": c, "n": n, "h": h, "m": m, "i'": i_, "f'": f_, "o": o, "z": z}


@over(C=(M, M), n=M)
def mlstm(d: Data, p: Data) -> Values:
    q = d.W_q @ d.x + d.b_q
    k = 1 / np.sqrt(M) * (d.W_k @ d.x) + d.b_k
    v = d.W_v @ d.x + d.b_v
    i = exp(d.w_i @ d.x + d.b_i)
    f = sig(d.w_f @ d.x + d.b_f)
    o = sig(d.W_o @ d.x + d.b_o)
    C = f * p.C + i * np.outer(v, k)
    n = f * p.n + i * k
    h_tilde = C @ q / max(abs(n @ q), 1.0)
    h = o * h_tilde
    return locals()


GATES = (
    "param W_i, W_f, W_o, W_z : [m, n], R_i, R_f, R_o, R_z : [m, m]\n"
    "param b_i, b_f, b_o, b_z : [m]\n"
)
PLAIN = "param W_z, W_r, W : [m, n], U_z, U_r, U : [m, m]"
SCALAR = (
    "dim a = 3\ninput x[t] : [a]\nparam w_z, w_i, w_f, w_o : [a], r_z, r_i, r_f, r_o : []\n"
    "param b_z, b_i, b_f, b_o : []"
)
QRNN = X + "param W_z_1, W_z_2, W_f_1, W_f_2, W_o_1, W_o_2, W_i_1, W_i_2 : [m, n]"
TORCH_LSTM = r"""
\begin{array}{ll} \\
    i_t = \sigma(W_{ii} x_t + b_{ii} + W_{hi} h_{t-1} + b_{hi}) \\
    f_t = \sigma(W_{if} x_t + b_{if} + W_{hf} h_{t-1} + b_{hf}) \\
    g_t = \tanh(W_{ig} x_t + b_{ig} + W_{hg} h_{t-1} + b_{hg}) \\
    o_t = \sigma(W_{io} x_t + b_{io} + W_{ho} h_{t-1} + b_{ho}) \\
    c_t = f_t \odot c_{t-1} + i_t \odot g_t \\
    h_t = o_t \odot \tanh(c_t) \\
\end{array}
"""
MLSTM = (
    "dim a = 3, d = 4\ninput x[t] : [a]\nparam W_q, W_k, W_v, W_o : [d, a]\n"
    "param w_i, w_f : [a], b_q, b_k, b_v, b_o : [d], b_i, b_f : []"
)

GATED = (
    Paper(
        "Graves 2013", "Graves 2013, Generating sequences with RNNs, eq. 7-11",
        r"""
\begin{align}
i_t &= \sigma \left( W_{xi} x_t + W_{hi} h_{t-1} + W_{ci} c_{t-1} + b_i \right) \\
f_t &= \sigma \left( W_{xf} x_t + W_{hf} h_{t-1} + W_{cf} c_{t-1} + b_f \right) \\
c_t &= f_t c_{t-1} + i_t \tanh \left( W_{xc} x_t + W_{hc} h_{t-1} + b_c \right) \\
o_t &= \sigma \left( W_{xo} x_t + W_{ho} h_{t-1} + W_{co} c_t + b_o \right) \\
h_t &= o_t \tanh(c_t)
\end{align}
""",
        X + "param W_xi, W_xf, W_xc, W_xo : [m, n], W_hi, W_hf, W_hc, W_ho : [m, m]\n"
        "param W_ci, W_cf, W_co, b_i, b_f, b_c, b_o : [m]", graves,
    ),
    Paper(
        "Jozefowicz LSTM", "Jozefowicz, Zaremba, Sutskever 2015, section 2.1",
        r"""
\begin{eqnarray*}
i_t &=& \tanh(W_{\mathrm{xi}} x_t + W_{\mathrm{hi}} h_{t-1} + b_{\mathrm{i}}) \\
j_t &=& \mathrm{sigm}(W_{\mathrm{xj}} x_t + W_{\mathrm{hj}} h_{t-1} + b_{\mathrm{j}}) \\
f_t &=& \mathrm{sigm}(W_{\mathrm{xf}} x_t + W_{\mathrm{hf}} h_{t-1} + b_{\mathrm{f}}) \\
o_t &=& \tanh(W_{\mathrm{xo}} x_t + W_{\mathrm{ho}} h_{t-1} + b_{\mathrm{o}}) \\
c_t &=& c_{t-1} \odot f_t + i_t \odot j_t \\
h_t &=& \tanh(c_t) \odot o_t
\end{eqnarray*}
""",
        X + "param W_xi, W_xj, W_xf, W_xo : [m, n], W_hi, W_hj, W_hf, W_ho : [m, m]\n"
        "param b_i, b_j, b_f, b_o : [m]", jozefowicz_lstm,
    ),
    Paper(
        "Sak", "Sak, Senior, Beaufays 2014, eq. 1-6",
        r"""
\begin{eqnarray}
i_t &=& \sigma(W_{ix} x_t + W_{im} m_{t-1} + W_{ic} c_{t-1} + b_i) \\
f_t &=& \sigma(W_{fx} x_t + W_{fm} m_{t-1} + W_{fc} c_{t-1} + b_f) \\
c_t &=& f_t \odot c_{t-1} + i_t \odot g(W_{cx} x_t + W_{cm} m_{t-1} + b_c) \\
o_t &=& \sigma(W_{ox} x_t + W_{om} m_{t-1} + W_{oc} c_{t} + b_o) \\
m_t &=& o_t \odot h(c_t) \\
y_t &=& \phi(W_{ym} m_t + b_y)
\end{eqnarray}
""",
        "dim n = 3, q = 4, k = 5\ninput x[t] : [n]\n"
        "param W_ix, W_fx, W_cx, W_ox : [q, n], W_im, W_fm, W_cm, W_om : [q, q]\n"
        "param W_ic, W_fc, W_oc, b_i, b_f, b_c, b_o : [q], W_ym : [k, q], b_y : [k]\n"
        "function g = tanh, h = tanh, phi = softmax", sak,
    ),
    Paper(
        "Lipton LSTM", "Lipton, Berkowitz, Elkan 2015, section 4.1",
        r"""
\begin{aligned}
\boldsymbol{g}^{(t)} &= \phi ( W^{\mbox{gx}} \boldsymbol{x}^{(t)}
  + W^{\mbox{gh}} \boldsymbol{h}^{(t-1)} + \boldsymbol{b}_g) \\
\boldsymbol{i}^{(t)} &= \sigma ( W^{\mbox{ix}} \boldsymbol{x}^{(t)}
  + W^{\mbox{ih}} \boldsymbol{h}^{(t-1)} + \boldsymbol{b}_i) \\
\boldsymbol{f}^{(t)} &= \sigma ( W^{\mbox{fx}} \boldsymbol{x}^{(t)}
  + W^{\mbox{fh}} \boldsymbol{h}^{(t-1)} + \boldsymbol{b}_f) \\
\boldsymbol{o}^{(t)} &= \sigma ( W^{\mbox{ox}} \boldsymbol{x}^{(t)}
  + W^{\mbox{oh}} \boldsymbol{h}^{(t-1)} + \boldsymbol{b}_o) \\
\boldsymbol{s}^{(t)} &= \boldsymbol{g}^{(t)} \odot \boldsymbol{i}^{(t)}
  + \boldsymbol{s}^{(t-1)} \odot \boldsymbol{f}^{(t)} \\
\boldsymbol{h}^{(t)} &= \phi( \boldsymbol{s}^{(t)} ) \odot \boldsymbol{o}^{(t)}.
\end{aligned}
""",
        X + "param W_gx, W_ix, W_fx, W_ox : [m, n], W_gh, W_ih, W_fh, W_oh : [m, m]\n"
        "param b_g, b_i, b_f, b_o : [m]\nfunction phi = tanh", lipton_lstm,
    ),
    Paper(
        "Olah", "Olah 2015, Understanding LSTM networks",
        r"""
f_t = \sigma\left(W_f \cdot [h_{t-1}, x_t] \ + \ b_f\right) \\
i_t = \sigma\left(W_i \cdot [h_{t-1}, x_t] \ + \ b_i\right) \\
\tilde{C}_t = \tanh(W_C \cdot [h_{t-1}, x_t] \ + \ b_C) \\
C_t = f_t * C_{t-1} + i_t * \tilde{C}_t \\
o_t = \sigma\left(W_o \ [h_{t-1}, x_t] \ + \ b_o\right) \\
h_t = o_t * \tanh \left(C_t\right)
""",
        X + "param W_f, W_i, W_C, W_o : [m, m+n], b_f, b_i, b_C, b_o : [m]", olah,
    ),
    Paper(
        "Olah, peepholes and coupled gates", "Olah 2015, Variants on LSTM",
        r"""
f_t = \sigma\left(W_f \cdot [\boldsymbol{C_{t-1}}, h_{t-1}, x_t] \ + \ b_f\right) \\
C_t = f_t * C_{t-1} + (\boldsymbol{1 - f_t}) * \tanh(W_C \cdot [h_{t-1}, x_t] + b_C) \\
o_t = \sigma\left(W_o \cdot [\boldsymbol{C_{t}}, h_{t-1}, x_t] \ + \ b_o\right) \\
h_t = o_t \times \tanh(C_t)
""",
        X + "param W_f, W_o : [m, 2*m+n], W_C : [m, m+n], b_f, b_C, b_o : [m]", olah_peephole,
    ),
    Paper(
        "GRU, vectors", "Chung et al. 2014, section 3.2, as surveys write it",
        r"""
\begin{split}
z_t &= \sigma\left( W_z \mathbf{x}_t + U_z \mathbf{h}_{t-1} \right)\\
r_t &= \sigma\left( W_r \mathbf{x}_t + U_r \mathbf{h}_{t-1} \right)\\
\tilde{\mathbf{h}}_t &= \tanh\left( W \mathbf{x}_t
  + U \left( \mathbf{r}_t \odot \mathbf{h}_{t-1} \right) \right)\\
\mathbf{h}_t &= (1 - \mathbf{z}_t)\, \mathbf{h}_{t-1} + \mathbf{z}_t\, \tilde{\mathbf{h}}_t
\end{split}
""",
        X + PLAIN, chung,
    ),
    Paper(
        "JANET", "van der Westhuizen and Lasenby 2018, eq. 6",
        r"""
\begin{split}
\mathbf{s}_t & = \mathbf{U}_f \mathbf{h}_{t-1} + \mathbf{W}_f \mathbf{x}_t + \mathbf{b}_f \\
\tilde{\mathbf{c}}_t & = \tanh(\mathbf{U}_c \mathbf{h}_{t-1} + \mathbf{W}_c \mathbf{x}_t
  + \mathbf{b}_c) \\
\mathbf{c}_t & = \sigma(\mathbf{s}_t) \odot \mathbf{c}_{t-1}
  + (1 - \sigma(\mathbf{s}_t - \beta)) \odot \tilde{\mathbf{c}}_t \\
\mathbf{h}_t & = \mathbf{c}_t
\end{split}
""",
        X + "param U_f, U_c : [m, m], W_f, W_c : [m, n], b_f, b_c : [m], beta : []", janet,
    ),
    Paper(
        "UGRNN", "Collins, Sohl-Dickstein, Sussillo 2017, eq. 5-7",
        r"""
\begin{eqnarray}
\mathbf{c}_t &=& \mathrm{s}\left(\mathbf{W}^{ch} \mathbf{h}_{t-1} + \mathbf{W}^{cx} \mathbf{x}_t
  + \mathbf{b}^c \right) \\
\mathbf{g}_t &=& \sigma\left(\mathbf{W}^{gh} \mathbf{h}_{t-1} + \mathbf{W}^{gx} \mathbf{x}_t
  + \mathbf{b}^g \right) \\
\mathbf{h}_t &=& \mathbf{g}_t \cdot \mathbf{h}_{t-1} + (1-\mathbf{g}_t) \cdot \mathbf{c}_t
\end{eqnarray}
""",
        X + "param W_ch, W_gh : [m, m], W_cx, W_gx : [m, n], b_c, b_g : [m]\nfunction s = tanh",
        ugrnn,
    ),
    Paper(
        "MRNN", "Sutskever, Martens, Hinton 2011, eq. 7-9",
        r"""
\begin{eqnarray}
f_t &=& \mathrm{diag}(W_{fx} x_t) \cdot W_{fh} h_{t-1} \\
h_t &=& \tanh\left( W_{hf} f_t + W_{hx} x_t \right) \\
o_t &=& W_{oh} h_t + b_o
\end{eqnarray}
""",
        X + "param W_fx : [k, n], W_fh : [k, m], W_hf : [m, k], W_hx : [m, n], W_oh : [2, m]\n"
        "param b_o : [2]", mrnn,
    ),
    Paper(
        "mLSTM, multiplicative", "Krause et al. 2016, eq. 18-22",
        r"""
\begin{gather}
m_t = (W_{mx}x_t) \odot (W_{mh}h_{t-1}) \\
\hat{h}_t = W_{hx}x_t + W_{hm}m_t \\
i_t = \sigma(W_{ix}x_t + W_{im}m_t) \\
o_t = \sigma(W_{ox}x_t + W_{om}m_t) \\
f_t = \sigma(W_{fx}x_t + W_{fm}m_t) \\
c_t = f_t \odot c_{t-1} + i_t \odot \tanh(\hat{h}_t) \\
h_t = \tanh(c_t) \odot o_t
\end{gather}
""",
        "dim n = 3, q = 4\ninput x[t] : [n]\nparam W_mx, W_hx, W_ix, W_ox, W_fx : [q, n]\n"
        "param W_mh, W_hm, W_im, W_om, W_fm : [q, q]", krause,
    ),
    Paper(
        "SRU", "Lei, Zhang, Artzi 2017, first version, eq. 3-7",
        r"""
\begin{eqnarray}
\tilde{\mathbf{x}}_t &=& \mathbf{W} \mathbf{x}_t \\
\mathbf{f}_t &=& \sigma(\mathbf{W}_f\mathbf{x}_t + \mathbf{b}_f) \\
\mathbf{r}_t &=& \sigma(\mathbf{W}_r\mathbf{x}_t + \mathbf{b}_r) \\
\mathbf{c}_t &=& \mathbf{f}_t \odot \mathbf{c}_{t-1} + (1-\mathbf{f}_t) \odot \tilde{\mathbf{x}}_t\\
\mathbf{h}_t &=& \mathbf{r}_t \odot g(\mathbf{c}_t) + (1-\mathbf{r}_t) \odot \mathbf{x}_t
\end{eqnarray}
""",
        "dim m = 4\ninput x[t] : [m]\nparam W, W_f, W_r : [m, m], b_f, b_r : [m]\n"
        "function g = tanh", sru,
    ),
    Paper(
        "SRU, later", "Lei et al. 2018, eq. 1-4",
        r"""
\begin{align}
\mathbf{f}_t &= \sigma\left(\mathbf{W}_f\mathbf{x}_t + \mathbf{v}_f\odot\mathbf{c}_{t-1}
  + \mathbf{b}_f\right)\\
\mathbf{c}_t &= \mathbf{f}_t\odot \mathbf{c}_{t-1} + (1-\mathbf{f}_t)\odot(\mathbf{W}\mathbf{x}_t)\\
\mathbf{r}_t &= \sigma\left(\mathbf{W}_r\mathbf{x}_t + \mathbf{v}_r\odot\mathbf{c}_{t-1}
  + \mathbf{b}_r\right)\\
\mathbf{h}_t &= \mathbf{r}_t\odot \mathbf{c}_t + (1-\mathbf{r}_t)\odot\mathbf{x}_t
\end{align}
""",
        "dim m = 4\ninput x[t] : [m]\nparam W, W_f, W_r : [m, m], v_f, v_r, b_f, b_r : [m]",
        sru_later,
    ),
    Paper(
        "minGRU", "Feng et al. 2024, section 3.1, with the linear layers written out",
        r"""
\begin{align*}
\boldsymbol{h}_t &= (\boldsymbol{1} - \boldsymbol{z}_t) \odot \boldsymbol{h}_{t-1}
  + \boldsymbol{z}_t \odot \boldsymbol{\tilde{h}}_t \\
\boldsymbol{z}_t &= \sigma (W_z \boldsymbol{x}_t + b_z) \\
\boldsymbol{\tilde{h}}_t &= W_h \boldsymbol{x}_t + b_h
\end{align*}
""",
        X + "param W_z, W_h : [m, n], b_z, b_h : [m]", mingru,
    ),
    Paper(
        "minLSTM", "Feng et al. 2024, section 3.2, with the linear layers written out",
        r"""
\begin{align*}
\boldsymbol{f}_t &= \sigma (W_f \boldsymbol{x}_t + b_f) \\
\boldsymbol{i}_t &= \sigma (W_i \boldsymbol{x}_t + b_i) \\
\boldsymbol{\tilde{h}}_t &= W_h \boldsymbol{x}_t + b_h \\
\boldsymbol{f}_t' &\gets \frac{\boldsymbol{f}_t}{\boldsymbol{f}_t + \boldsymbol{i}_t},
\quad
\boldsymbol{i}_t' \gets \frac{\boldsymbol{i}_t}{\boldsymbol{f}_t + \boldsymbol{i}_t} \\
\boldsymbol{h}_t &= \boldsymbol{f}_t' \odot \boldsymbol{h}_{t-1}
  + \boldsymbol{i}_t' \odot \boldsymbol{\tilde{h}}_t
\end{align*}
""",
        X + "param W_f, W_i, W_h : [m, n], b_f, b_i, b_h : [m]", minlstm,
    ),
    Paper(
        "LSTM of 1997", "Hochreiter and Schmidhuber 1997, section 4, in vectors",
        r"""
y^{in}(t) = f_{in}(W_{in} y^c(t-1) + U_{in} x(t)); \quad
y^{out}(t) = f_{out}(W_{out} y^c(t-1) + U_{out} x(t));
$$
$$
s_c(t) = s_c(t-1) + y^{in}(t) \, g\left( W_c y^c(t-1) + U_c x(t) \right) \text{ for } t>0
$$
$$
y^c(t) = y^{out}(t) \, h(s_c(t)),
""",
        X + "param W_in, W_out, W_c : [m, m], U_in, U_out, U_c : [m, n]\n"
        "function f_in = sigmoid, f_out = sigmoid, g = tanh, h = tanh", hochreiter,
    ),
    Paper(
        "Peepholes", "Gers, Schraudolph, Schmidhuber 2002, in vectors",
        r"""
\begin{aligned}
i_t &= \sigma(W_i x_t + R_i h_{t-1} + w_i \odot c_{t-1} + b_i), \\
f_t &= \sigma(W_f x_t + R_f h_{t-1} + w_f \odot c_{t-1} + b_f), \\
c_t &= f_t \odot c_{t-1} + i_t \odot \tanh(W_c x_t + R_c h_{t-1} + b_c), \\
o_t &= \sigma(W_o x_t + R_o h_{t-1} + w_o \odot c_t + b_o), \\
h_t &= o_t \odot \tanh(c_t).
\end{aligned}
""",
        X + "param W_i, W_f, W_c, W_o : [m, n], R_i, R_f, R_c, R_o : [m, m]\n"
        "param w_i, w_f, w_o, b_i, b_f, b_c, b_o : [m]", gers,
    ),
    Paper(
        "sLSTM", "Beck et al. 2024, xLSTM, eq. 8-17",
        r"""
\begin{align}
c_t \ &= \ f'_t \ c_{t-1} \ + \ i'_t \ z_t \ , &  & \text{cell state} \tag{8} \\
n_t \ &= \ f'_t \ n_{t-1} \ + \ i'_t \ , &  & \text{normalizer state} \tag{9} \\
h_t \ &= \ o_t \ \tilde{h}_t \ , & \tilde{h}_t \ &= \ c_t \ / \ n_t \ \tag{10} \\
z_t \ &= \ \varphi \left( \tilde{z}_t \right) \ ,
  & \tilde{z}_t \ &= \ \boldsymbol{w}^{\top}_{z} \ \boldsymbol{x}_t \ +
  \ r_{z} \ h_{t-1} \ + \ b_{z} \\
i_t \ &= \ \exp \left( \tilde{i}_t \right) \ ,
  & \tilde{i}_t \ &= \ \boldsymbol{w}^{\top}_{i} \ \boldsymbol{x}_t \ +
  \ r_{i} \ h_{t-1} \ + \ b_{i} \\
f_t \ &= \ \sigma \left( \tilde{f}_t \right) \ ,
  & \tilde{f}_t \ &= \ \boldsymbol{w}^{\top}_{f} \ \boldsymbol{x}_t \ +
  \ r_{f} \ h_{t-1} \ + \ b_{f} \\
o_t \ &= \ \sigma \left( \tilde{o}_t \right) \ ,
  & \tilde{o}_t \ &= \ \boldsymbol{w}^{\top}_{o} \ \boldsymbol{x}_t \ +
  \ r_{o} \ h_{t-1} \ + \ b_{o} \\
m_t \ &= \ \max \left( \log (f_t) \ + \ m_{t-1} , \log (i_t) \right) && \text{stabilizer state} \\
i'_t \ &= \ \exp \left( \log (i_t) - m_t \right) \ = \ \exp \left( \tilde{i}_t \ - \ m_t \right) \\
f'_t \ &= \ \exp \left( \log (f_t) \ + \ m_{t-1} - m_t \right)
\end{align}
""",
        SCALAR + "\nfunction φ = tanh", slstm,
    ),
    Paper(
        "mLSTM, matrix memory", "Beck et al. 2024, xLSTM, eq. 19-27",
        r"""
\begin{align}
\boldsymbol{C}_t &= f_t \, \boldsymbol{C}_{t-1} + i_t \,
  \boldsymbol{v}_t \, \boldsymbol{k}_t^\top \\
\boldsymbol{n}_t &= f_t \, \boldsymbol{n}_{t-1} + i_t \, \boldsymbol{k}_t \\
\boldsymbol{h}_t &= \boldsymbol{o}_t \odot \tilde{\boldsymbol{h}}_t, \qquad
\tilde{\boldsymbol{h}}_t = \boldsymbol{C}_t \boldsymbol{q}_t \ / \
  \max \left\{ \left\lvert \boldsymbol{n}_t^\top \boldsymbol{q}_t \right\rvert, 1 \right\} \\
\boldsymbol{q}_t &= \boldsymbol{W}_q \, \boldsymbol{x}_t + \boldsymbol{b}_q \\
\boldsymbol{k}_t &= \frac{1}{\sqrt{d}} \boldsymbol{W}_k \, \boldsymbol{x}_t + \boldsymbol{b}_k \\
\boldsymbol{v}_t &= \boldsymbol{W}_v \, \boldsymbol{x}_t + \boldsymbol{b}_v \\
i_t &= \exp(\tilde{i}_t), \qquad
  \tilde{i}_t = \boldsymbol{w}_i^\top \, \boldsymbol{x}_t + b_i \\
f_t &= \sigma(\tilde{f}_t), \qquad
  \tilde{f}_t = \boldsymbol{w}_f^\top \, \boldsymbol{x}_t + b_f \\
\boldsymbol{o}_t &= \sigma(\tilde{\boldsymbol{o}}_t), \qquad
  \tilde{\boldsymbol{o}}_t = \boldsymbol{W}_{\boldsymbol{o}} \, \boldsymbol{x}_t + \boldsymbol{b}_o
\end{align}
""",
        MLSTM, mlstm,
    ),
    Paper(
        "RHN, depth one", "Zilly et al. 2017, Recurrent highway networks, eq. 7-9, the gate t as g",
        r"""
\mathbf{s}^{[t]} = \mathbf{h}^{[t]} \cdot \mathbf{g}^{[t]}
  + \mathbf{s}^{[t-1]} \cdot \mathbf{c}^{[t]}, \\
\mathbf{h}^{[t]} = \tanh( \mathbf{W}_H \mathbf{x}^{[t]} + \mathbf{R}_H \mathbf{s}^{[t-1]}
  + \mathbf{b}_H ), \\
\mathbf{g}^{[t]} = \sigma( \mathbf{W}_T \mathbf{x}^{[t]} + \mathbf{R}_T \mathbf{s}^{[t-1]}
  + \mathbf{b}_T ), \\
\mathbf{c}^{[t]} = \sigma( \mathbf{W}_C \mathbf{x}^{[t]} + \mathbf{R}_C \mathbf{s}^{[t-1]}
  + \mathbf{b}_C ).
""",
        X + "param W_H, W_T, W_C : [m, n], R_H, R_T, R_C : [m, m], b_H, b_T, b_C : [m]\n"
        "output s", highway,
    ),
)  # fmt: skip
