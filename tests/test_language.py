"""Every construct of the language, as a small spec with its values worked out in NumPy.

All of it is compared with the reference, and everything that the spec compiles to with the
reference, too: a construct means the same wherever it runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import ArrayLike, NDArray

import rnnc
from rnnc.compiler import load_system
from rnnc.runtime.ports import uniform
from rnnc.source import Diagnostic, Source, SpecError
from rnnc.testing import assert_all_agree, random_data, random_weights, reference

NDA = NDArray[Any]

B, T = 2, 5
rng = np.random.default_rng(7)

INPUTS = """
input x[t], y[t] : [3]
input s[t], r[t] : []
input A[t] : [2, 3]
input C[t] : [3, 3]
input k[t], l[t] : index(4)
input on[t], up[t] : flag
input z : [3]
input Q : [4, 3]
input q : index(4)
"""
DATA: dict[str, NDA] = {
    "x": rng.normal(size=(B, T, 3)),
    "y": rng.normal(size=(B, T, 3)) + 0.25,
    "s": rng.normal(size=(B, T)),
    "r": rng.uniform(0.5, 2, (B, T)),
    "A": rng.normal(size=(B, T, 2, 3)),
    "C": rng.normal(size=(B, T, 3, 3)),
    "k": np.array([[0, 1, 2, 3, 2], [3, 3, 0, 1, 2]]),
    "l": np.array([[0, 2, 2, 0, 1], [1, 3, 0, 2, 3]]),
    "on": np.array([[1, 0, 0, 1, 1], [0, 0, 1, 0, 1]], bool),
    "up": np.array([[1, 1, 0, 0, 1], [0, 1, 1, 0, 0]], bool),
    "z": rng.normal(size=(B, 3)),
    "Q": rng.normal(size=(B, 4, 3)),
    "q": np.array([2, 0]),
}
# some entries that functions turn on
DATA["x"][0, 0] = [0.0, -1.0, 2.0]
DATA["x"][1, 2] = [1.5, 1.5, -3.5]
x, y, s, r, A, C, k, l, on, up, z, Q, q = DATA.values()  # noqa: E741
S, R = s[..., None], r[..., None]  # to go with vectors


def check(
    text: str,
    wanted: Mapping[str, ArrayLike],
    data: Mapping[str, ArrayLike] | None = None,
    weights: Mapping[str, ArrayLike] | None = None,
    *,
    batch: int = B,
    steps: int = T,
    **sizes: int,
) -> dict[str, float]:
    """The spec gives these values (with their kinds), whatever it is compiled to."""
    spec = rnnc.parse(f"model M\n{text}", **sizes)
    full = DATA | {n: np.asarray(a) for n, a in (data or {}).items()}
    timed = {v.name: "t" in v.axes for v in spec.bound.inputs}
    data = {n: full[n][:, :steps] if t else full[n] for n, t in timed.items()}
    weights = random_weights(spec) if weights is None else weights
    found = reference(spec, data, weights, batch=batch, steps=steps)
    for name, array in wanted.items():
        known = np.asarray(array)
        assert found[name].dtype == known.dtype, f"{name} is {found[name].dtype}"
        assert found[name].shape == known.shape, f"{name} is {found[name].shape}"
        assert_allclose(found[name], known, rtol=1e-11, atol=1e-12, err_msg=f"{name} in\n{text}")
    given = {"batch": batch, "steps": steps, "data": data, "weights": weights}
    assert_all_agree(spec, dtype="float32", rtol=2e-5, **given)
    return assert_all_agree(spec, **given)


def each(*cases: tuple[str, ArrayLike], more: str = "") -> None:
    """Expressions over the inputs, at every step."""
    lines = [f"o{i}[t] = {expression}" for i, (expression, _) in enumerate(cases)]
    check("\n".join([INPUTS, more, *lines, "output " + ", ".join(f"o{i}" for i in
          range(len(cases)))]), {f"o{i}": value for i, (_, value) in enumerate(cases)})  # fmt: skip


def once(*cases: tuple[str, ArrayLike], more: str = "") -> None:
    """Expressions over the inputs, without a step."""
    lines = [f"o{i} = {expression}" for i, (expression, _) in enumerate(cases)]
    check("\n".join([INPUTS, more, *lines, "output " + ", ".join(f"o{i}" for i in
          range(len(cases)))]), {f"o{i}": value for i, (_, value) in enumerate(cases)})  # fmt: skip


def sig(v: NDA) -> NDA:
    return 1 / (1 + np.exp(-v))


def softmax(v: NDA, *dims: int) -> NDA:
    e = np.exp(v)
    return e / e.sum(dims, keepdims=True)


def before(v: NDA, lag: int = 1, edge: Any = 0) -> NDA:
    """``v[t-lag]``: [B, T, ...]."""
    out = np.empty_like(v)
    out[:, :lag] = edge
    out[:, lag:] = v[:, : v.shape[1] - lag]
    return out


# ---------------------------------------------------------------- expressions


def test_arithmetic() -> None:
    each(
        ("x[t] + y[t]", x + y),
        ("x[t] - y[t]", x - y),
        ("x[t] * y[t]", x * y),
        ("x[t] ⊙ y[t]", x * y),
        ("x[t] / y[t]", x / y),
        ("-x[t]", -x),
        ("x[t] % y[t]", x - y * np.floor(x / y)),
        ("x[t] % 0.75", x % 0.75),
        ("r[t] ^ s[t]", r**s),
        ("s[t] ^ 2", s**2),
        ("s[t]²", s**2),
        ("r[t] ^ 0.5", np.sqrt(r)),
        ("2 ^ s[t]", 2**s),
        ("r[t] ^ -1", 1 / r),
        ("s[t] ^ 0", np.ones((B, T))),
        ("2 ^ 3 ^ 2 * r[t]", 512 * r),
        ("1 / (r[t] / s[t])", s / r),
        ("1 * s[t]", s),
    )


def test_precedence() -> None:
    each(
        ("-s[t]^2", -(s**2)),
        ("(-s[t])^2", s**2),
        ("2 * s[t] + 3 * r[t]", 2 * s + 3 * r),
        ("s[t] - r[t] - 1", s - r - 1),
        ("s[t] - (r[t] - 1)", s - r + 1),
        ("s[t] / r[t] / 2", s / r / 2),
        ("s[t] / r[t] * 2", s / r * 2),
        ("s[t] r[t]", s * r),
        ("2 s[t]", 2 * s),
        ("1 / 2 s[t]", 1 / (2 * s)),  # a product by juxtaposition binds tighter
        ("A[t] x[t] * 2", 2 * np.einsum("btij,btj->bti", A, x)),
        ("2 A[t] x[t] + 1", 2 * np.einsum("btij,btj->bti", A, x) + 1),
        ("-A[t] x[t]", -np.einsum("btij,btj->bti", A, x)),
        ("s[t] x[t]^2", S * x**2),
        ("s[t] + 1 > r[t] * 2", s + 1 > r * 2),
        ("not s[t] > 0 and r[t] > 1", ~(s > 0) & (r > 1)),
        ("s[t] > 0 or r[t] > 1 and on[t]", (s > 0) | ((r > 1) & on)),
        ("(s[t] > 0 or r[t] > 1) and on[t]", ((s > 0) | (r > 1)) & on),
        ("1.5e1 s[t] + .5 + 2.", 15 * s + 2.5),
    )


def test_broadcasting() -> None:
    each(
        ("s[t] * x[t]", S * x),
        ("x[t] + s[t]", x + S),
        ("s[t] + A[t]", S[..., None] + A),
        ("x[t] + z", x + z[:, None]),
        ("z * s[t]", z[:, None] * S),
        ("x[t] + [s[t]]", x + S),  # a length of 1
        ("A[t] * b", A * np.ones((2, 1)) * np.array([[2.0], [2.0]])),
        more="const b : [2, 1] = 2",
    )


def test_comparison_and_logic() -> None:
    each(
        ("x[t] == 1.5", x == 1.5),
        ("x[t] != 1.5", x != 1.5),
        ("x[t] ≠ 1.5", x != 1.5),
        ("x[t] < y[t]", x < y),
        ("x[t] <= 1.5", x <= 1.5),
        ("x[t] ≤ 1.5", x <= 1.5),
        ("x[t] > s[t]", x > S),
        ("x[t] >= 1.5", x >= 1.5),
        ("x[t] ≥ 1.5", x >= 1.5),
        ("k[t] == l[t]", k == l),
        ("k[t] < 2", k < 2),
        ("k[t] < 1.5", k < 1.5),
        ("on[t] == up[t]", on == up),
        ("on[t] != up[t]", on != up),
        ("on[t] and up[t]", on & up),
        ("on[t] ∧ up[t]", on & up),
        ("on[t] or up[t]", on | up),
        ("on[t] ∨ up[t]", on | up),
        ("not on[t]", ~on),
        ("¬ on[t]", ~on),
        ("on[t]", on),
    )


def test_conditions() -> None:
    each(
        ("where(on[t], s[t], r[t])", np.where(on, s, r)),
        ("s[t] if on[t] else r[t]", np.where(on, s, r)),
        ("1 if on[t] else 2 if up[t] else 3", np.where(on, 1, np.where(up, 2, 3))),
        ("where(on[t], x[t], 0)", np.where(on[..., None], x, 0)),
        ("where(on[t], 1, x[t])", np.where(on[..., None], 1, x)),
        ("where(x[t] > 0, x[t], -y[t])", np.where(x > 0, x, -y)),
        ("where(x[t] > 0, s[t], r[t])", np.where(x > 0, S, R)),
        ("where(on[t], k[t], l[t])", np.where(on, k, l)),
        ("where(on[t], k[t], 0.5)", np.where(on, k, 0.5)),
        ("where(on[t], up[t], not up[t])", np.where(on, up, ~up)),
        ("where(on[t], 1, 0)", on.astype(np.int64)),
        ("where(on[t], 1.0, 0.0)", on.astype(float)),
        ("where(s[t] > 0, log(s[t]), 0)", np.where(s > 0, np.log(np.abs(s)), 0)),
        ("x[t] if 1 < 2 else y[t]", x),
        ("where(A[t] > 0, A[t], s[t])", np.where(A > 0, A, S[..., None])),
    )


def test_elementwise_functions() -> None:
    erf = np.vectorize(math.erf)
    each(
        ("sigmoid(x[t])", sig(x)),
        ("σ(x[t])", sig(x)),
        ("sigma(x[t])", sig(x)),
        ("tanh(x[t])", np.tanh(x)),
        ("relu(x[t])", np.maximum(x, 0)),
        ("exp(x[t])", np.exp(x)),
        ("log(r[t])", np.log(r)),
        ("sqrt(r[t])", np.sqrt(r)),
        ("abs(x[t])", np.abs(x)),
        ("sin(x[t])", np.sin(x)),
        ("cos(x[t])", np.cos(x)),
        ("softplus(x[t])", np.log(1 + np.exp(x))),
        ("floor(x[t])", np.floor(x)),
        ("sign(x[t])", np.sign(x)),
        ("min(x[t], y[t])", np.minimum(x, y)),
        ("max(x[t], y[t])", np.maximum(x, y)),
        ("min(x[t], 0.5)", np.minimum(x, 0.5)),
        ("max(0, s[t])", np.maximum(0, s)),
        ("clip(x[t], -1, 0.5)", np.clip(x, -1, 0.5)),
        ("elu(x[t])", np.where(x > 0, x, np.expm1(x))),
        ("gelu(x[t])", x * 0.5 * (1 + erf(x / np.sqrt(2)))),
        ("silu(x[t])", x * sig(x)),
        ("hardsigmoid(3 * x[t])", np.clip(0.2 * 3 * x + 0.5, 0, 1)),
        ("tanh(A[t])", np.tanh(A)),
        ("stop_gradient(x[t])", x),
    )


def test_functions_at_their_ends() -> None:
    """Nothing overflows on the way to a value that is finite."""
    text = """
    input s[t] : []
    a[t] = sigmoid(s[t])
    b[t] = softplus(s[t])
    c[t] = elu(s[t])
    d[t] = relu(s[t])
    e[t] = tanh(s[t])
    """
    inf, nan = math.inf, math.nan
    far = np.array([[-1e4, -800.0, 0.0, 800.0, 1e4]])
    wanted = {
        "a": [[0, 0, 0.5, 1, 1]],
        "b": [[0, 0, math.log(2), 800, 1e4]],
        "c": [[-1.0, -1, 0, 800, 1e4]],
        "d": [[0.0, 0, 0, 800, 1e4]],
        "e": [[-1.0, -1, 0, 1, 1]],
    }
    check(text, wanted, {"s": far}, batch=1)
    spec = rnnc.parse(f"model M\n{text}")
    assert_all_agree(spec, batch=1, steps=5, data={"s": far}, dtype="float32")
    wanted = {
        "a": [[0, 0, 1, inf, inf]],
        "b": [[nan, nan, -inf, math.log(800), math.log(1e4)]],
        "c": [[nan, nan, 0, math.sqrt(800), 100]],
        "d": [[-inf, -inf, nan, inf, inf]],
        "e": [[-inf, -inf, 0, inf, inf]],
        "f": [[False, False, False, False, False]],
    }
    check(
        "input s[t] : []\na[t] = exp(s[t])\nb[t] = log(s[t])\nc[t] = sqrt(s[t])\n"
        "d[t] = s[t] / 0\ne[t] = s[t] * inf if s[t] != 0 else 0\nf[t] = s[t] == inf",
        wanted, {"s": far}, batch=1,
    )  # fmt: skip


def test_logarithms_of_probabilities_are_stable() -> None:
    """``log`` of a sigmoid or softmax is never taken of a rounded 0; the reference, which does
    take it, is of no use here."""
    far = np.array([[-1e4, -800.0, 0.0, 800.0, 1e4]])
    spec = rnnc.parse(
        "model M\ninput s[t] : []\nd[t] = log(sigmoid(s[t]))\ne[t] = log(1 - sigmoid(s[t]))\n"
        "f[t] = log(softmax([s[t], 0]))\noutput d, e, f"
    )
    for backend in ("numpy", "onnx"):
        for unroll in (None, 5):
            out = spec.compile(backend, unroll=unroll, dtype="float64")(s=far)
            assert_allclose(out["d"], [[-1e4, -800, -math.log(2), 0, 0]], atol=1e-300)
            assert_allclose(out["e"], [[0, 0, -math.log(2), -800, -1e4]], atol=1e-300)
            assert_allclose(out["f"][..., 0], out["d"], atol=1e-300)
            assert_allclose(out["f"][..., 1], out["e"], atol=1e-300)


def test_whole_numbers_stay_whole() -> None:
    each(
        ("k[t] + l[t]", k + l),
        ("k[t] - l[t]", k - l),
        ("k[t] * 3", 3 * k),
        ("-k[t]", -k),
        ("(k[t] - 2) % 3", (k - 2) % 3),  # floored: -2 % 3 is 1
        ("(k[t] - 2) % -3", (k - 2) % -3),
        ("k[t] / 2", k / 2),
        ("k[t] ^ 2", (k**2).astype(float)),
        ("2 ^ k[t]", 2.0**k),
        ("k[t] + 0.5", k + 0.5),
        ("k[t] * s[t]", k * s),
        ("sqrt(k[t])", np.sqrt(k)),
        ("abs(k[t] - 2)", np.abs(k - 2)),
        ("sign(k[t] - 2)", np.sign(k - 2)),
        ("min(k[t], l[t])", np.minimum(k, l)),
        ("max(k[t], 1)", np.maximum(k, 1)),
        ("k[t]", k),
        ("k[t] * x[t]", k[..., None] * x),
        ("arange(3) + k[t]", np.arange(3) + k[..., None]),
        ("(t - 1) % 2", np.broadcast_to(np.arange(T) % 2, (T,))),
        ("7 % 3 + 0 * t", np.full(T, 1)),
        ("-7 % 3 + 0 * t", np.full(T, 2)),  # a sign is looser than juxtaposition alone
        ("-7.5 % 2 + 0 * s[t]", np.full((B, T), 0.5)),
        ("7.5 % -2 + 0 * s[t]", np.full((B, T), -0.5)),
    )


# ---------------------------------------------------------------- vectors and matrices


def test_products() -> None:
    one = np.einsum
    each(
        ("A[t] x[t]", one("btij,btj->bti", A, x)),
        ("A[t] @ x[t]", one("btij,btj->bti", A, x)),
        ("A[t] · x[t]", one("btij,btj->bti", A, x)),
        ("A[t] C[t]", A @ C),
        ("A[t] C[t] x[t]", one("btij,btjk,btk->bti", A, C, x)),
        ("A[t] (x[t] * y[t])", one("btij,btj->bti", A, x * y)),
        ("A[t] C[t].T", A @ C.swapaxes(-1, -2)),
        ("A[t].T", A.swapaxes(-1, -2)),
        ("A[t]ᵀ", A.swapaxes(-1, -2)),
        ("A[t].T A[t]", A.swapaxes(-1, -2) @ A),
        ("C[t].T x[t]", one("btji,btj->bti", C, x)),
        ("x[t].T y[t]", one("bti,bti->bt", x, y)),
        ("x[t] y[t].T", one("bti,btj->btij", x, y)),
        ("x[t].T C[t] y[t]", one("bti,btij,btj->bt", x, C, y)),
        ("x[t].T C[t]", one("bti,btij->btj", x, C)),
        ("dot(x[t], y[t])", (x * y).sum(-1)),
        ("dot(x[t], z)", one("bti,bi->bt", x, z)),
        ("dot(z, x[t])", one("bti,bi->bt", x, z)),
        ("outer(x[t], y[t])", one("bti,btj->btij", x, y)),
        ("outer(x[t], z)", one("bti,bj->btij", x, z)),
        ("outer(z, x[t])", one("bi,btj->btij", z, x)),
        ("outer(x[t], [1, 2])", one("bti,j->btij", x, np.array([1.0, 2]))),
        ("diag(x[t])", x[..., None] * np.eye(3)),
        ("diag(x[t]) y[t]", x * y),
        ("eye(3) x[t]", x),
        ("C[t] + 2 * eye(3)", C + 2 * np.eye(3)),
        ("2 x[t]", 2 * x),
        ("s[t] A[t] x[t]", S * one("btij,btj->bti", A, x)),
        ("Q x[t]", one("bij,btj->bti", Q, x)),
        ("Q.T Q x[t]", one("bji,bjk,btk->bti", Q, Q, x)),
    )


def test_products_with_parameters() -> None:
    w = {"W": rng.normal(size=(2, 3)), "V": rng.normal(size=(3, 2)), "v": rng.normal(size=3)}
    W, V, v = w.values()
    cases = {
        "W x[t]": x @ W.T,
        "W.T (W x[t])": x @ W.T @ W,
        "W V": W @ V,
        "V W x[t]": x @ W.T @ V.T,
        "v.T x[t]": x @ v,
        "dot(x[t], v)": x @ v,
        "x[t] v.T": np.einsum("bti,j->btij", x, v),
        "v x[t].T": np.einsum("i,btj->btij", v, x),
        "A[t] V": A @ V,
        "W C[t]": W @ C,
        "W C[t].T": W @ C.swapaxes(-1, -2),
        "W A[t].T": W @ A.swapaxes(-1, -2),
        "A[t].T W": A.swapaxes(-1, -2) @ W,
        "v.T C[t]": np.einsum("i,btij->btj", v, C),
        "C[t] v": C @ v,
        "W(x[t])": x @ W.T,  # a value before a bracket is a factor
        "W (x[t])": x @ W.T,
    }
    timed = {e: "[t]" if "[t]" in e else "" for e in cases}
    lines = [f"o{i}{timed[e]} = {e}" for i, e in enumerate(cases)]
    text = "\n".join([INPUTS, "param W : [2, 3], V : [3, 2], v : [3]", *lines])
    text += "\noutput " + ", ".join(f"o{i}" for i in range(len(cases)))
    check(text, {f"o{i}": value for i, value in enumerate(cases.values())}, weights=w)


def test_parts_of_vectors() -> None:
    each(
        ("[x[t], y[t]]", np.concatenate([x, y], -1)),
        ("[x[t], s[t], z]", np.concatenate([x, S, z[:, None] + 0 * x], -1)),
        ("[s[t], 1, r[t]]", np.stack([s, np.ones_like(s), r], -1)),
        ("slice(x[t], 1, 3)", x[..., 1:3]),
        ("slice(x[t], 0, 1)", x[..., :1]),
        ("slice(slice(x[t], 1, 3), 1, 2)", x[..., 2:]),
        ("slice([x[t], y[t]], 2, 5)", np.concatenate([x, y], -1)[..., 2:5]),
        ("slice(A[t], 1, 2)", A[:, :, 1:2]),
        ("repeat(x[t], 2)", np.repeat(x, 2, -1)),
        ("arange(3) * x[t]", np.arange(3) * x),
        ("onehot(k[t], 4)", np.eye(4)[k]),
        ("onehot(k[t] + 1, 5)", np.eye(5)[k + 1]),
        ("[on[t], up[t]]", np.stack([on, up], -1)),
        ("[k[t], 7]", np.stack([k, np.full_like(k, 7)], -1)),
        ("[k[t], 0.5]", np.stack([k, np.full((B, T), 0.5)], -1)),
        ("[1, 2, 3] * x[t]", np.array([1, 2, 3]) * x),
    )


def test_split_and_multiple_assignment() -> None:
    check(
        INPUTS
        + """
        (a[t], b[t]) = split([x[t], s[t]], 2)
        (c, d, e) = split(z, 3)
        (p[t], v[t]) = split(tanh([x[t], y[t]]), 2)
        (top[t], bottom[t]) = split(A[t], 2)
        output a, b, c, d, e, p, v, top, bottom
        """,
        {
            "a": x[..., :2],
            "b": np.stack([x[..., 2], s], -1),
            "c": z[:, :1],
            "d": z[:, 1:2],
            "e": z[:, 2:],
            "p": np.tanh(x),
            "v": np.tanh(y),
            "top": A[:, :, :1],
            "bottom": A[:, :, 1:],
        },
    )


def test_gather() -> None:
    E, v = rng.normal(size=(4, 3)), rng.normal(size=4)
    check(
        INPUTS
        + """
        param E : [4, 3], v : [4]
        const squares : [4] = arange(4) ^ 2
        a[t] = E[k[t]]
        b[t] = v[k[t]]
        c = E[q]
        d[t] = squares[k[t]]
        e[t] = E[3 - k[t]]
        i[t] = (t - 1) % 4
        f[t] = E[i[t]]
        g = E[2]
        h[t] = E[where(on[t], k[t], 0)]
        first[t] = nll(softmax([x[t], s[t]]), k[t])
        output a, b, c, d, e, f, g, h, first
        """,
        {
            "a": E[k],
            "b": v[k],
            "c": E[q],
            "d": (k**2).astype(float),
            "e": E[3 - k],
            "f": E[np.arange(T) % 4],
            "g": E[2],
            "h": E[np.where(on, k, 0)],
            "first": -np.log(
                np.take_along_axis(softmax(np.concatenate([x, S], -1), -1), k[..., None], -1)
            )[..., 0],
        },
        weights={"E": E, "v": v},
    )


def test_gather_in_tables_of_data() -> None:
    check(
        INPUTS
        + """
        a[t] = Q[k[t]]
        b = Q[q]
        u = Q z
        c[t] = u[k[t]]
        output a, b, c
        """,
        {
            "a": np.stack([Q[b][k[b]] for b in range(B)]),
            "b": np.stack([Q[b][q[b]] for b in range(B)]),
            "c": np.stack([(Q[b] @ z[b])[k[b]] for b in range(B)]),
        },
    )


def test_reductions_over_features() -> None:
    big = np.log(np.exp(x).sum(-1))
    each(
        ("sum(x[t])", x.sum(-1)),
        ("mean(x[t])", x.mean(-1)),
        ("max(x[t])", x.max(-1)),
        ("min(x[t])", x.min(-1)),
        ("norm(x[t])", np.sqrt((x**2).sum(-1))),
        ("softmax(x[t])", softmax(x, -1)),
        ("logsumexp(x[t])", big),
        ("argmax(x[t])", x.argmax(-1)),
        ("sum(A[t])", A.sum((-1, -2))),
        ("mean(A[t])", A.mean((-1, -2))),
        ("max(A[t])", A.max((-1, -2))),
        ("min(A[t])", A.min((-1, -2))),
        ("norm(A[t])", np.sqrt((A**2).sum((-1, -2)))),
        ("softmax(A[t])", softmax(A, -1, -2)),
        ("logsumexp(A[t])", np.log(np.exp(A).sum((-1, -2)))),
        ("argmax(A[t])", A.reshape(B, T, -1).argmax(-1)),
        ("argmax([1, 3, 3, 2]) + k[t]", 1 + k),  # the first of equals
        ("sum(s[t])", s),
        ("max(s[t])", s),
        ("logsumexp(s[t])", s),
        ("sum([k[t], l[t]])", k + l),
        ("max([k[t], l[t]])", np.maximum(k, l)),
        ("mean([k[t], l[t]])", (k + l) / 2),
        ("sum(where(x[t] > 0, 1, 0))", (x > 0).sum(-1)),
        ("squared_error(x[t], y[t])", ((x - y) ** 2).sum(-1)),
        ("cross_entropy([x[t], s[t]], k[t])",
         np.log(np.exp(np.concatenate([x, S], -1)).sum(-1))
         - np.take_along_axis(np.concatenate([x, S], -1), k[..., None], -1)[..., 0]),
        ("cross_entropy(x[t], softmax(y[t]))", big - (softmax(y, -1) * x).sum(-1)),
        ("nll(softmax(x[t]), k[t] % 3)",
         -np.log(np.take_along_axis(softmax(x, -1), k[..., None] % 3, -1))[..., 0]),
    )  # fmt: skip


def test_sums_of_exponentials_far_out() -> None:
    inf = math.inf
    values = np.array([[[1e4, 1e4, 0], [-1e4, -1e4, -1e5], [-inf, 0, 1], [-inf, -inf, 2.5],
                        [-inf, -inf, -inf]]] * 2)  # fmt: skip
    check(
        "input x[t] : [3]\na[t] = logsumexp(x[t])",
        {"a": [[1e4 + math.log(2), -1e4 + math.log(2), math.log(1 + math.e), 2.5, -inf]] * 2},
        {"x": values},
    )
    check(
        "input x[t] : [3]\nb[t] = softmax(x[t])",
        {"b": [[[0.5, 0.5, 0], [0.5, 0.5, 0], softmax(values[0, 2], 0), [0, 0, 1]]] * 2},
        {"x": values[:, :4]},
        steps=4,
    )


def test_reductions_over_time() -> None:
    once(
        ("sum[t](x[t])", x.sum(1)),
        ("mean[t](x[t])", x.mean(1)),
        ("max[t](x[t])", x.max(1)),
        ("min[t](x[t])", x.min(1)),
        ("norm[t](x[t])", np.sqrt((x**2).sum(1))),
        ("logsumexp[t](x[t])", np.log(np.exp(x).sum(1))),
        ("argmax[t](s[t])", s.argmax(1) + 1),  # steps count from 1
        ("argmax[t](x[t])", x.argmax(1) + 1),
        ("sum[t](s[t] * x[t])", (S * x).sum(1)),
        ("sum[t](s[t] x[t])", (S * x).sum(1)),
        ("sum[t](A[t])", A.sum(1)),
        ("max[t](k[t])", k.max(1)),
        ("sum[t](k[t])", k.sum(1)),
        ("mean[t](k[t])", k.mean(1)),
        ("sum[t](t)", np.int64(15)),
        ("sum[t](x[t]) / T", x.mean(1)),
        ("sum(sum[t](x[t]))", x.sum((1, 2))),
        ("sum[t](sum(x[t]))", x.sum((1, 2))),
        ("sum[t](x[t]) * z", x.sum(1) * z),
        ("sum[t](where(on[t], 1, 0))", on.sum(1)),
        ("sum[t](x[t-1])", x[:, :-1].sum(1)),
        ("max[t](x[t-1])", np.maximum(x[:, :-1].max(1), 0)),
        ("T", np.int64(5)),
        ("T / 2", np.float64(2.5)),
    )


def test_normalising_over_time() -> None:
    each(
        ("softmax[t](s[t])", softmax(s, 1)),
        ("softmax[t](x[t])", softmax(x, 1)),
        ("x[t] - mean[t](x[t])", x - x.mean(1, keepdims=True)),
        ("x[t] / norm[t](x[t])", x / np.sqrt((x**2).sum(1, keepdims=True))),
        ("softmax[t](dot(x[t], z))", softmax((x * z[:, None]).sum(-1), 1)),
        ("softmax[t](s[t])  * s[t]", softmax(s, 1) * s),
    )
    once(
        ("sum[t](softmax[t](s[t]) x[t])", (softmax(s, 1)[..., None] * x).sum(1)),
    )


def test_reductions_over_the_batch() -> None:
    """The same for all sequences, but still given for each: what data reaches has a batch."""

    def of_all(value: Any) -> NDA:
        return np.broadcast_to(value, (B, *np.shape(value)))

    once(
        ("mean[batch](sum[t](s[t]))", of_all(s.sum(1).mean())),
        ("sum[batch](z)", of_all(z.sum(0))),
        ("max[batch](sum[t](x[t]))", of_all(x.sum(1).max(0))),
        ("mean[batch](mean[t](x[t]))", of_all(x.mean((0, 1)))),
        ("sum[batch](sum(z))", of_all(z.sum())),
        ("z - mean[batch](z)", z - z.mean(0)),
        ("sum[batch](q)", of_all(q.sum())),
    )
    each(
        ("mean[batch](x[t])", of_all(x.mean(0))),
        ("x[t] - mean[batch](x[t])", x - x.mean(0)),
        ("min[batch](s[t])", of_all(s.min(0))),
    )


# ---------------------------------------------------------------- time


def loop(initial: Any, step: Any, steps: int = T) -> NDA:
    """``h[t] = step(t, h[t-1])`` with steps counted from 0 here: [B, T, ...]."""
    h, out = initial, []
    for t in range(steps):
        h = step(t, h)
        out.append(h)
    return np.stack(out, 1)


def test_delays() -> None:
    each(
        ("x[t-1]", before(x)),
        ("x[t-2]", before(x, 2)),
        ("x[t+1]", before(x[:, ::-1])[:, ::-1]),
        ("x[t+2]", before(x[:, ::-1], 2)[:, ::-1]),
        ("x[t-4]", before(x, 4)),
        ("x[t-5]", 0 * x),
        ("x[t-7]", 0 * x),
        ("x[t+5]", 0 * x),
        ("x[t-1] + x[t+1]", before(x) + before(x[:, ::-1])[:, ::-1]),
        ("x[t-d]", before(x, 2)),
        ("x[t-d-1]", before(x, 3)),
        ("x[t - 2 * d]", before(x, 4)),
        ("x[t-1-1]", before(x, 2)),
        ("x[t+d]", before(x[:, ::-1], 2)[:, ::-1]),
        more="dim d = 2",
    )


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_fixed_steps(steps: int) -> None:
    """A step that a short sequence lacks is its boundary."""
    X = np.zeros((B, 9, 3))
    X[:, 2 : 2 + steps] = x[:, :steps]  # X[:, t + 1] is step t
    X[:, 0] = X[:, 1] = -1  # x[0] and before
    X[:, 2 + steps :] = 7
    check(
        "input x[t] : [3]\nx[0] = -1\nx[T+1] = 7\na = x[1]\nb = x[2]\nc = x[T]\nd = x[T-1]\n"
        "e = x[0]\nf = x[T+1]\ng = x[3]\nh[t] = x[t] - x[1]\ni[t] = x[t] + x[T]\nj = x[-1]\n"
        "output a, b, c, d, e, f, g, h, i, j",
        {
            "a": X[:, 2],
            "b": X[:, 3],
            "c": X[:, 1 + steps],
            "d": X[:, steps],
            "e": np.float64(-1) * np.ones((B, 3)),
            "f": 7 * np.ones((B, 3)),
            "g": X[:, 4],
            "h": (x - x[:, :1])[:, :steps],
            "i": x[:, :steps] + x[:, steps - 1 : steps],
            "j": -np.ones((B, 3)),
        },
        steps=steps,
    )


def test_boundaries_by_number() -> None:
    check(
        "input x[t] : [3]\nh[t] = 0.5 * h[t-1] + x[t]\nh[0] = 2\noutput h",
        {"h": loop(np.full((B, 3), 2.0), lambda t, h: 0.5 * h + x[:, t])},
    )


def test_boundaries_by_parameter() -> None:
    w = rng.normal(size=3)
    check(
        "input x[t] : [3]\nparam w : [3]\nh[t] = 0.5 * h[t-1] + x[t]\nh[0] = w",
        {"h": loop(np.tile(w, (B, 1)), lambda t, h: 0.5 * h + x[:, t])},
        weights={"w": w},
    )
    check(
        "input x[t] : [3]\nparam w : []\nh[t] = 0.5 * h[t-1] + x[t]\nh[0] = w",
        {"h": loop(np.full((B, 3), w[0]), lambda t, h: 0.5 * h + x[:, t])},
        weights={"w": w[0]},
    )


def test_boundaries_by_input() -> None:
    check(
        "input x[t] : [3]\ninput z : [3]\nh[t] = 0.5 * h[t-1] + x[t] + z\nh[0] = z",
        {"h": loop(z, lambda t, h: 0.5 * h + x[:, t] + z)},
    )


def test_boundaries_by_expression() -> None:
    M = rng.normal(size=(3, 3))
    check(
        "input x[t] : [3]\ninput z : [3]\nparam M : [3, 3]\n"
        "h[t] = 0.5 * h[t-1] + x[t]\nh[0] = tanh(M z) + 1\noutput h",
        {"h": loop(np.tanh(z @ M.T) + 1, lambda t, h: 0.5 * h + x[:, t])},
        weights={"M": M},
    )


def test_boundaries_by_the_end_of_another_sequence() -> None:
    g = loop(np.zeros((B, 3)), lambda t, g: np.tanh(g + x[:, t]))
    errors = check(
        "input x[t] : [3]\ng[t] = tanh(g[t-1] + x[t])\nh[t] = 0.5 * h[t-1] + x[t]\nh[0] = g[T]\n"
        "output h",
        {"h": loop(g[:, -1], lambda t, h: 0.5 * h + x[:, t])},
    )
    assert "numpy step" not in errors


def test_boundaries_further_out() -> None:
    """A boundary serves all steps further out unless they have one of their own."""
    for lines, edges in {
        "": (0, 0, 0),
        "h[0] = 3": (3, 3, 3),
        "h[0] = 3\nh[-1] = 5": (3, 5, 5),
        "h[0] = 3\nh[-2] = 7": (3, 3, 7),
        "h[-1] = 5": (0, 5, 5),
        "h[-2] = 7\nh[0] = 1\nh[-1] = 5": (1, 5, 7),
    }.items():
        for steps in (1, 2, 5):
            h = [*[np.full((B, 3), float(e)) for e in edges[::-1]]]
            for t in range(steps):
                h.append(0.5 * h[-3] + h[-1] + x[:, t])
            check(
                f"input x[t] : [3]\nh[t] = 0.5 * h[t-3] + h[t-1] + x[t]\n{lines}",
                {"h": np.stack(h[3:], 1)},
                steps=steps,
            )


def test_boundaries_at_steps_of_another_sequence() -> None:
    """Each a different step of the same sequence, and of other shapes than the state."""
    check(
        "input x[t] : [3]\ninput s[t] : []\nh[t] = h[t-2] + x[t]\nh[0] = s[1]\nh[-1] = s[2]\n"
        "g[t] = g[t-1] + x[t]\ng[0] = s[T]\ni[t] = i[t-1] + s[t]\ni[0] = s[2]\noutput h, g, i",
        {
            "h": np.stack([S[:, 1] + x[:, 0], S[:, 0] + x[:, 1], S[:, 1] + x[:, 0] + x[:, 2]], 1),
            "g": S[:, 2:3] + np.cumsum(x[:, :3], 1),
            "i": s[:, 1:2] + np.cumsum(s[:, :3], 1),
        },
        steps=3,
    )
    h = np.cumsum(x, 1)
    check(
        "input x[t] : [3]\nh[t] = h[t-1] + x[t]\ng[t] = g[t-1] + h[t]\ng[0] = h[2]\n"
        "k[t] = k[t-1] + h[t]\nk[0] = h[T]\nl[t] = l[t-1] + h[t]\nl[0] = g[0]\noutput g, k, l",
        {
            "g": h[:, 1:2] + np.cumsum(h, 1),
            "k": h[:, -1:] + np.cumsum(h, 1),
            "l": h[:, 1:2] + np.cumsum(h, 1),
        },
    )


def test_boundaries_behind_the_end() -> None:
    for steps in (1, 2, 5):
        g = [np.full((B, 3), 5.0), np.full((B, 3), 3.0)]
        for t in reversed(range(steps)):
            g.append(0.5 * g[-2] + g[-1] + x[:, t])
        check(
            "input x[t] : [3]\ng[t] = 0.5 * g[t+2] + g[t+1] + x[t]\ng[T+1] = 3\ng[T+2] = 5",
            {"g": np.stack(g[:1:-1], 1)},
            steps=steps,
        )


def test_boundaries_of_inputs() -> None:
    w = rng.normal(size=3)
    each(
        ("x[t-1]", before(x, 1, 4)),
        ("x[t-2]", before(x, 2, 4)),
        ("s[t+1]", before(s[:, ::-1], 1, 9)[:, ::-1]),
        ("k[t-1]", before(k, 1, 3)),
        ("on[t-1]", before(on, 1, True)),
        ("y[t-1]", before(y, 1, z[:, None])),
        more="x[0] = 4\ns[T+1] = 9\nk[0] = 3\non[0] = 1 < 2\ny[0] = z",
    )
    check(
        "input x[t] : [3]\nparam w : [3]\nx[0] = w\nh[t] = tanh(h[t-1] + x[t-1])",
        {"h": loop(np.zeros((B, 3)), lambda t, h: np.tanh(h + (x[:, t - 1] if t else w)))},
        weights={"w": w},
    )


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_lags_longer_than_the_sequence(steps: int) -> None:
    h: list[NDA] = []
    for t in range(steps):
        h.append((0.5 * h[t - 3] if t >= 3 else 0.0) + x[:, t])
    check("input x[t] : [3]\nh[t] = 0.5 * h[t-3] + x[t]", {"h": np.stack(h, 1)}, steps=steps)


def test_lag_by_dim() -> None:
    for d in (1, 2, 4):
        h: list[NDA] = []
        for t in range(T):
            h.append((0.5 * h[t - d] if t >= d else 1.0) + s[:, t])
        check(
            "dim d\ninput s[t] : []\nh[t] = 0.5 * h[t-d] + s[t]\nh[0] = 2",
            {"h": np.stack(h, 1)},
            d=d,
        )


def test_ends_of_recurrences() -> None:
    h = loop(np.full((B, 3), 0.5), lambda t, h: np.tanh(h + x[:, t]))
    g = loop(np.zeros((B, 3)), lambda t, g: np.tanh(g - x[:, T - 1 - t]))[:, ::-1]
    check(
        """
        input x[t] : [3]
        h[t] = tanh(h[t-1] + x[t])
        h[0] = 0.5
        g[t] = tanh(g[t+1] - x[t])
        a = h[T]
        b = h[T-1]
        c = h[1]
        d = h[0]
        e = g[1]
        f = g[T]
        i = g[2] + h[2]
        j[t] = h[t] - h[T] + g[1]
        k[t] = h[t-1] + g[t+1]
        output a, b, c, d, e, f, i, j, k
        """,
        {
            "a": h[:, -1],
            "b": h[:, -2],
            "c": h[:, 0],
            "d": np.full((B, 3), 0.5),
            "e": g[:, 0],
            "f": g[:, -1],
            "i": g[:, 1] + h[:, 1],
            "j": h - h[:, -1:] + g[:, :1],
            "k": before(h, 1, 0.5) + before(g[:, ::-1])[:, ::-1],
        },
    )


def test_causal_fixed_steps_run_step_by_step() -> None:
    h = loop(np.full((B, 3), 0.5), lambda t, h: np.tanh(h + x[:, t]))
    errors = check(
        """
        input x[t] : [3]
        h[t] = tanh(h[t-1] + x[t])
        h[0] = 0.5
        a[t] = h[t] - x[1]
        b[t] = h[t-1] - h[1]
        c[t] = h[t] - h[0]
        d = h[T]
        e = x[1]
        f[t] = t * s[t-2]
        s[t] = sum(x[t])
        s[-1] = 4
        output a, b, c, d, e, f
        """,
        {
            "a": h - x[:, :1],
            "b": before(h, 1, 0.5) - h[:, :1],
            "c": h - 0.5,
            "d": h[:, -1],
            "e": x[:, 0],
            "f": np.arange(1, T + 1) * np.concatenate(
                [np.full((B, 1), 4.0), np.zeros((B, 1)), x.sum(-1)[:, :-2]], 1
            ),
        },
    )  # fmt: skip
    assert "onnx step" in errors


def test_step_number_and_length() -> None:
    t = np.arange(1, T + 1)
    each(
        ("t", t),
        ("t / T", t / T),
        ("T - t", T - t),
        ("t == 1", t == 1),
        ("t == T", t == T),
        ("t * s[t]", t * s),
        ("where((t - 1) % 2 == 0, s[t], r[t])", np.where((t - 1) % 2 == 0, s, r)),
        ("sin(t)", np.sin(t)),
        ("T", np.int64(T) * np.ones(T, np.int64)),
    )
    h = loop(np.zeros(B), lambda t, h: h + s[:, t] if t % 3 == 0 else h)
    check(
        "input s[t] : []\nh[t] = where((t - 1) % 3 == 0, h[t-1] + s[t], h[t-1])",
        {"h": h},
    )


def test_values_without_data() -> None:
    """Neither steps nor sequences come from data: the caller gives T."""
    check("h[t] = 0.5 * h[t-1] + t", {"h": [1.0, 2.5, 4.25, 6.125, 8.0625]})
    check("param w : [2]\nh[t] = 0.5 * h[t-1] + w\noutput h",
          {"h": np.outer([1, 1.5, 1.75], [1, 2])}, weights={"w": [1.0, 2]}, steps=3)  # fmt: skip
    check("param w : [2]\nv = 2 * w", {"v": [2.0, 4]}, weights={"w": [1.0, 2]})


def test_values_without_a_step() -> None:
    c = loop(np.zeros((B, 3)), lambda t, h: h + x[:, t])[:, -1]
    check(
        "input x[t] : [3]\ninput z : [3]\nh[t] = h[t-1] + x[t]\nc = h[T] + z\n"
        "g[t] = tanh(g[t-1] + c)\no[t] = c * x[t]\noutput c, g, o",
        {
            "c": c + z,
            "g": loop(np.zeros((B, 3)), lambda t, g: np.tanh(g + c + z)),
            "o": (c + z)[:, None] * x,
        },
    )


def test_mutual_recurrences() -> None:
    a = b = np.zeros((B, 3))
    out = []
    for t in range(T):
        a, b = np.tanh(b + x[:, t]), np.sin(a + b)
        out.append((a, b))
    check(
        "input x[t] : [3]\na[t] = tanh(b[t-1] + x[t])\nb[t] = sin(a[t-1] + b[t-1])\noutput b, a",
        {"a": np.stack([o[0] for o in out], 1), "b": np.stack([o[1] for o in out], 1)},
    )


def test_order_of_equations_means_nothing() -> None:
    lines = ["h[t] = tanh(a[t] + g[t-1])", "g[t] = h[t] * 0.5", "a[t] = x[t] + c", "c = z * 2"]
    texts = ["\n".join(["input x[t] : [3]", "input z : [3]", *order, "output h, g"])
             for order in (lines, lines[::-1])]  # fmt: skip
    h = loop(np.zeros((B, 3)), lambda t, h: np.tanh(x[:, t] + 2 * z + 0.5 * h))
    for text in texts:
        check(text, {"h": h, "g": 0.5 * h})


def test_states_of_whole_numbers_and_flags() -> None:
    count = np.cumsum(on, 1)
    ever = np.logical_or.accumulate(on, 1)
    phase = loop(np.full(B, 2), lambda t, n: (n + k[:, t]) % 4)
    check(
        """
        input on[t] : flag
        input k[t] : index(4)
        n[t] = n[t-1] + where(on[t], 1, 0)
        n[0] = 0
        ever[t] = ever[t-1] or on[t]
        ever[0] = 1 > 2
        p[t] = (p[t-1] + k[t]) % 4
        p[0] = 2
        last[t] = where(on[t], k[t], last[t-1])
        last[0] = 3
        output n, ever, p, last
        """,
        {
            "n": count,
            "ever": ever,
            "p": phase,
            "last": loop(np.full(B, 3), lambda t, h: np.where(on[:, t], k[:, t], h)),
        },
    )


def test_matrix_states() -> None:
    def step(t: int, h: NDA) -> NDA:
        return 0.5 * h + np.einsum("bi,bj->bij", x[:, t], y[:, t])

    M = loop(np.zeros((B, 3, 3)), step)
    check(
        "input x[t], y[t] : [3]\nM[t] = 0.5 * M[t-1] + outer(x[t], y[t])\no[t] = M[t] x[t]\n"
        "p[t] = M[t-1].T y[t]\noutput M, o, p",
        {
            "M": M,
            "o": np.einsum("btij,btj->bti", M, x),
            "p": np.einsum("btji,btj->bti", before(M), y),
        },
    )


# ---------------------------------------------------------------- declarations


def test_dims() -> None:
    text = """
    dim n, m = 4, k = 2 * m, half = m / 2
    input x[t] : [n]
    param W : [m, n]
    a[t] = W x[t]
    b[t] = repeat(a[t], 2) * ones
    const ones : [k] = 1
    c[t] = slice(a[t], 0, half) / sqrt(m)
    d = m + k
    e = m / k
    output a, b, c, d, e
    """
    w = rng.normal(size=(4, 3))
    a = x @ w.T
    wanted = {"a": a, "b": np.repeat(a, 2, -1), "c": a[..., :2] / 2, "d": 12, "e": 0.5}
    check(text, wanted, weights={"W": w}, n=3)
    w = rng.normal(size=(6, 3))
    a = x @ w.T
    wanted = {"a": a, "c": a[..., :3] / math.sqrt(6), "d": 18}
    check(text, wanted, weights={"W": w}, n=3, m=6)
    spec = rnnc.parse(f"model M\n{text}")
    with pytest.raises(rnnc.SpecError, match="`n`"):
        _ = spec.bound


def test_dims_by_unification() -> None:
    """m is what it meets; n is what data or caller say."""
    spec = rnnc.parse(
        "model M\ndim n = 3, m\ninput x[t] : [n]\nparam W : [m, n], b : [5]\n"
        "h[t] = tanh(W x[t] + b)"
    )
    assert spec.shapes == {"W": (5, 3), "b": (5,)}
    assert_all_agree(spec, batch=2, steps=2)


def test_shapes_left_out() -> None:
    spec = rnnc.parse(
        "model M\ndim n = 3, m = 4, k = 2\ninput x[t] : [n]\nparam W, U, b, c ~ zeros\n"
        "param V : [k, m]\n"
        "h[t] = tanh(W x[t] + U h[t-1] + b)\no[t] = V h[t] + c\noutput o"
    )
    assert spec.shapes["W"] == (4, 3)
    assert spec.shapes["U"] == (4, 4)
    assert spec.shapes["b"] == (4,)
    assert_all_agree(spec, batch=2, steps=3)


def test_constants() -> None:
    check(
        """
        dim m = 6
        const a : [] = 1.5
        const b = 2 * a
        const c : [m] = floor(arange(m) / 2)
        const d : [2, 3] = a
        const e : [m] = 2 ^ c
        const f = outer(arange(3), arange(3))
        const g : [m, m] = where(outer(c, e) > 2, 1, 0)
        input s[t] : []
        u = a
        v = b
        w = c * 1
        x = d
        y = e
        z = f
        p[t] = s[t] * g
        q = pi
        output u, v, w, x, y, z, p, q
        """,
        {
            "u": 1.5,
            "v": 3.0,
            "w": [0.0, 0, 1, 1, 2, 2],
            "x": np.full((2, 3), 1.5),
            "y": [1.0, 1, 2, 2, 4, 4],
            "z": np.outer(np.arange(3.0), np.arange(3)),
            "p": s[..., None, None] * (np.outer([0, 0, 1, 1, 2, 2], [1, 1, 2, 2, 4, 4]) > 2),
            "q": math.pi,
        },
    )


def test_initialisers() -> None:
    spec = rnnc.parse(
        """
        model M
        dim m = 50, n = 40
        param a : [m, n]
        param b : [m]
        param c : [m, n] ~ normal(1, 0.5)
        param d : [m, n] ~ uniform(-2, 1 / sqrt(n))
        param e : [m, m] ~ orthogonal
        param f : [m, m] ~ identity
        param g : [n] ~ ones
        param h : [n] ~ constant(-m / 2)
        param i : [n] ~ zeros
        param j : [m, n] ~ orthogonal
        o = sum(a) + sum(b) + sum(c) + sum(d) + sum(e) + sum(f) + sum(g) + sum(h) + sum(i) + sum(j)
        """
    )
    w = spec.init(seed=1, dtype="float64")
    limit = math.sqrt(6 / 90)
    assert limit * 0.9 < np.abs(w["a"]).max() <= limit
    assert_array_equal(w["b"], np.zeros(50))
    assert abs(w["c"].mean() - 1) < 0.05
    assert abs(w["c"].std() - 0.5) < 0.05
    assert w["d"].min() < -1.9
    assert 0.1 < w["d"].max() < 1 / math.sqrt(40)
    assert_allclose(w["e"] @ w["e"].T, np.eye(50), atol=1e-12)
    assert_array_equal(w["f"], np.eye(50))
    assert_array_equal(w["g"], np.ones(40))
    assert_array_equal(w["h"], np.full(40, -25))
    assert_allclose(w["j"].T @ w["j"], np.eye(40), atol=1e-12)
    again, other = spec.init(seed=1, dtype="float64"), spec.init(seed=2, dtype="float64")
    assert_array_equal(w["a"], again["a"])
    assert not np.array_equal(w["a"], other["a"])
    assert spec.init()["a"].dtype == np.float32


def test_outputs_left_out() -> None:
    """Every equation that no other equation reads is an output."""
    text = "model M\ninput s[t] : []\na[t] = s[t] + 1\nb[t] = a[t] + b[t-1]\nc = a[T]"
    assert rnnc.parse(text).system.outputs == ("b", "c")
    assert rnnc.parse(text + "\noutput a").system.outputs == ("a",)


def test_unicode_and_ascii() -> None:
    pairs = [
        ("dim m = 3\ninput x[t] : [m]\nparam W : [m, m], β : [m]\n"
         "α[t] = σ(W·x[t] − β) ⊙ x[t]\noutput α",
         "dim m = 3\ninput x[t] : [m]\nparam W : [m, m], beta : [m]\n"
         "alpha[t] = sigmoid(W @ x[t] - beta) * x[t]\noutput alpha"),
        ("input s[t] : []\na[t] = where(s[t] ≥ 0 ∧ ¬(s[t] ≠ 1), s[t]², s[t]·π)",
         "input s[t] : []\na[t] = where(s[t] >= 0 and not (s[t] != 1), s[t]^2, s[t] @ pi)"),
        ("input x[t] : [3]\na[t] = x[t]ᵀ x[t]", "input x[t] : [3]\na[t] = x[t].T x[t]"),
        ("input x[t] : [3]\na[t] = −x[t]", "input x[t] : [3]\na[t] = -x[t]"),
        ("input A'[t] : [3]\na[t] = A'[t]", "input A’[t] : [3]\na[t] = A’[t]"),
        ("input x[t]\u00a0: [3]\na[t]\u00a0= x[t]\u2009+ 1", "input x[t] : [3]\na[t] = x[t] + 1"),
    ]  # fmt: skip
    for one, two in pairs:
        a, b = (rnnc.parse(f"model M\n{text}") for text in (one, two))
        assert str(a) == str(b)
        data = random_data(b, 2, 3)
        found = [spec.compile(weights=random_weights(b))(**data) for spec in (a, b)]
        (p,), (r,) = (f.values() for f in found)
        assert_array_equal(p, r)


def test_both_spellings_name_weights_and_inputs() -> None:
    spec = rnnc.parse("model M\ninput ξ[t] : []\nparam α : []\no[t] = α ξ[t]")
    model = spec.compile(weights={"alpha": 2.0})
    assert_array_equal(model(xi=[[3.0]])["o"], [[6.0]])
    model = spec.compile(weights={"α": 2.0})
    assert_array_equal(model(**{"ξ": [[3.0]]})["o"], [[6.0]])


# ---------------------------------------------------------------- losses


def nats(p: NDA, label: NDA) -> NDA:
    return -np.log(np.take_along_axis(p, label[..., None], -1))[..., 0]


def test_categorical_loss() -> None:
    each_step = nats(softmax(x, -1), k % 3)
    check(
        "input x[t] : [3]\np[t] = softmax(x[t])\ntarget y[t] : index(3) ~ categorical(p[t])\n"
        "metric accuracy = where(argmax(p[t]) == y[t], 1, 0)\noutput p",
        {
            "p": softmax(x, -1),
            "loss": each_step.sum() / B,
            "loss.y": each_step.sum() / B,
            "count.y": np.int64(B * T),
            "accuracy": (x.argmax(-1) == k % 3).mean(),
        },
        {"y": k % 3},
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_categorical_loss_of_extreme_logits(dtype: str) -> None:
    """Computed from the logits: 2e4 nats, not infinitely many."""
    spec = rnnc.parse(
        "model M\ninput x[t] : [3]\np[t] = softmax(x[t])\n"
        "target y[t] : index(3) ~ categorical(p[t])\noutput p"
    )
    logits = np.array([[[1e4, -1e4, 0], [0, 0, 0]], [[1e4, 0, 0], [-1e4, -1e4, -1e4]]])
    data = {"x": logits, "y": np.array([[1, 0], [0, 2]])}
    wanted = (2e4 + 0 + 2 * math.log(3)) / 2
    for backend in ("numpy", "onnx"):
        for unroll in (None, 2):
            out = spec.compile(backend, mode="loss", unroll=unroll, dtype=dtype)(**data)
            assert_allclose(out["loss"], wanted, rtol=1e-6 if dtype == "float32" else 1e-14)


def test_bernoulli_loss() -> None:
    p, seen = sig(x), (y > 0).astype(float)
    terms = -(seen * np.log(p) + (1 - seen) * np.log(1 - p)).sum(-1)
    check(
        "input x[t] : [3]\np[t] = sigmoid(x[t])\ntarget y[t] : [3] ~ bernoulli(p[t])\noutput p",
        {"loss": terms.sum() / B, "count.y": np.int64(B * T)},
        {"y": seen},
    )
    spec = rnnc.parse(
        "model M\ninput x[t] : []\np[t] = sigmoid(x[t])\ntarget y[t] : [] ~ bernoulli(p[t])"
    )
    data = {"x": np.array([[1e4, -1e4, 800]]), "y": np.array([[0.0, 1, 1]])}
    for backend in ("numpy", "onnx"):
        out = spec.compile(backend, mode="loss")(**data)
        assert_allclose(out["loss"], 2e4, rtol=1e-6)


def test_normal_loss() -> None:
    each_step = 0.5 * ((y - x) / R) ** 2 + np.log(R) + 0.5 * math.log(2 * math.pi)
    check(
        "input x[t] : [3]\ninput r[t] : []\no[t] = x[t]\ntarget y[t] : [3] ~ normal(o[t], r[t])",
        {"loss": each_step.sum() / B},
    )


def test_loss_of_a_target_without_steps() -> None:
    each_one = nats(softmax(z, -1), q % 3)
    check(
        "input z : [3]\np = softmax(z)\ntarget y : index(3) ~ categorical(p)\n"
        "metric accuracy = where(argmax(p) == y, 1, 0)\noutput p",
        {
            "loss": each_one.mean(),
            "count.y": np.int64(B),
            "accuracy": (z.argmax(-1) == q % 3).mean(),
        },
        {"y": q % 3},
    )


def test_when() -> None:
    """Only the steps that a flag marks count; metrics over the steps follow."""
    each_step = nats(softmax(x, -1), k % 3)
    right = x.argmax(-1) == k % 3
    check(
        "input x[t] : [3]\ninput on[t] : flag\np[t] = softmax(x[t])\n"
        "target y[t] : index(3) ~ categorical(p[t]) when on[t]\n"
        "metric accuracy = where(argmax(p[t]) == y[t], 1, 0)\noutput p",
        {
            "loss": each_step[on].sum() / B,
            "count.y": np.int64(on.sum()),
            "accuracy": right[on].mean(),
        },
        {"y": k % 3},
    )
    check(
        "input s[t] : []\no[t] = s[t]\ntarget y[t] : [] ~ normal(o[t], 1) when t > 2",
        {
            "loss": (0.5 * (r - s) ** 2 + 0.5 * math.log(2 * math.pi))[:, 2:].sum() / B,
            "count.y": np.int64(3 * B),
        },
        {"y": r},
    )


def test_losses_and_metrics_by_name() -> None:
    h = loop(np.zeros((B, 3)), lambda t, h: np.tanh(h + x[:, t]))
    check(
        """
        input x[t] : [3]
        param W : [3, 3]
        h[t] = tanh(h[t-1] + x[t])
        p = softmax(h[T])
        target y : index(3) ~ categorical(p)
        loss energy = sum(h[t]^2)
        loss 0.1 * sum(W^2)
        metric size = norm(h[t])
        metric last = norm(h[T])
        metric weight = norm(W)
        output h
        """,
        {
            "loss.y": nats(softmax(h[:, -1], -1), q % 3).mean(),
            "loss.energy": (h**2).sum() / B,
            "loss": nats(softmax(h[:, -1], -1), q % 3).mean() + (h**2).sum() / B + 0.1 * 14,
            "size": np.sqrt((h**2).sum(-1)).mean(),
            "last": np.sqrt((h[:, -1] ** 2).sum(-1)).mean(),
            "weight": math.sqrt(14),
            "count.y": np.int64(B),
        },
        {"y": q % 3},
        {"W": np.array([[1.0, 2, 3], [0, 0, 0], [0, 0, 0]])},
    )


def test_targets_read_by_the_model() -> None:
    """Teacher forcing: the observed value of the step before, and a symbol that starts."""
    E = rng.normal(size=(5, 5))
    p = softmax(E[before(k, 1, 4)], -1)
    check(
        "param E : [5, 5]\ny[0] = 4\np[t] = softmax(E[y[t-1]])\n"
        "target y[t] : index(5) ~ categorical(p[t])\noutput p",
        {"p": p, "loss": nats(p, k).sum() / B},
        {"y": k},
        {"E": E},
    )


# ---------------------------------------------------------------- dropout


DROPPED = """
model M
input x[t] : [40]
a[t] = dropout(x[t], 0.25)
b[t] = dropout(x[t], 0.25)
h[t] = tanh(h[t-1] + dropout(x[t], 0.5))
output a, b, h
"""


def test_dropout_is_off_unless_training() -> None:
    spec = rnnc.parse(DROPPED)
    data = random_data(spec, 2, 4)
    out = spec.compile(dtype="float64")(**data)
    assert_array_equal(out["a"], data["x"])
    h = loop(np.zeros((2, 40)), lambda t, h: np.tanh(h + data["x"][:, t]), 4)
    assert_allclose(out["h"], h, rtol=1e-12)
    errors = assert_all_agree(spec, batch=2, steps=4)
    assert "numpy step" in errors


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_dropout_when_training(dtype: str) -> None:
    spec = rnnc.parse(DROPPED)
    data = random_data(spec, 5, 6)
    errors = assert_all_agree(spec, batch=5, steps=6, training=True, seed=3, dtype=dtype)
    assert set(errors) == {"numpy", "numpy unrolled", "onnx", "onnx unrolled"}
    for backend in ("numpy", "onnx"):
        model = spec.compile(backend, dtype="float64", training=True)
        one, again, other = (model(**data, seed=seed) for seed in (1, 1, 2))
        assert_array_equal(one["a"], again["a"])
        assert not np.array_equal(one["a"], other["a"])
        assert not np.array_equal(one["a"], one["b"])  # two masks
        kept = one["a"] != 0
        assert_allclose(one["a"][kept], data["x"][kept] / 0.75, rtol=1e-12)
        assert 0.7 < kept.mean() < 0.8
        assert not np.array_equal(kept[:, 0], kept[:, 1])


def test_the_training_flag() -> None:
    spec = rnnc.parse("model M\ninput s[t] : []\no[t] = s[t] * (2 if training else 3)")
    for training, factor in ((False, 3), (True, 2)):
        out = spec.compile(training=training, dtype="float64")(s=s)
        assert_array_equal(out["o"], factor * s)
        assert_all_agree(spec, batch=2, steps=3, training=training)


def test_uniform_numbers_do_not_depend_on_the_dtype() -> None:
    wide, narrow = (uniform("a", (1000,), 0, d) for d in ("float64", "float32"))
    assert_allclose(wide, narrow, atol=1e-7)
    assert narrow.max() < 1


# ---------------------------------------------------------------- streaming


def test_stream_with_an_input_that_only_the_start_reads() -> None:
    errors = check(
        "input x[t] : [3]\ninput z : [3]\nh[t] = tanh(h[t-1] + g[t-1] + x[t])\n"
        "g[t] = 0.5 * g[t-1] + h[t]\nh[0] = 2 * z\noutput h",
        {},
    )
    assert "numpy step" in errors


def test_a_model_of_any_shape() -> None:
    text = "model EMA\nparam a : [] ~ constant(0.5)\ninput x[t] : any\n"
    text += "h[t] = a * h[t-1] + (1 - a) * x[t]\noutput h\n"
    assert rnnc.parse(text).bound["h"].type.shape == ()
    spec = rnnc.parse(text, x=(2, 3))
    assert spec.bound["h"].type.shape == (2, 3)
    assert_all_agree(spec, batch=2, steps=3)
    with pytest.raises(rnnc.SpecError, match="no input declared `any`"):
        rnnc.parse(text, a=(2,))


# ---------------------------------------------------------------- boundaries that nothing reads


@pytest.mark.parametrize(
    ("boundary", "reads"),
    [
        ("h[0]", ["h[t-1]", "h[0]", "h[-2]", "h[T-1]", "h[t-d]", "h[T-d]"]),
        ("h[-1]", ["h[t-2]", "h[-1]", "h[T-2]", "h[t-d]"]),
        ("h[T+1]", ["h[t+1]", "h[T+1]", "h[2]", "h[t+d]"]),
        ("h[T+2]", ["h[t+2]", "h[3]", "h[T+2]"]),
    ],
)
def test_what_reads_a_boundary(boundary: str, reads: list[str]) -> None:
    """A boundary is refused exactly where no read can get as far, in equations as elsewhere."""
    every = ["h[t-1]", "h[0]", "h[-1]", "h[-2]", "h[T-1]", "h[T-2]", "h[t-d]", "h[T-d]", "h[t]"]
    every += ["h[T]", "h[1]", "h[2]", "h[3]", "h[t+1]", "h[t+2]", "h[t+d]", "h[T+1]", "h[T+2]"]
    further = {"h[0]": ["h[t-2]", "h[-1]", "h[T-2]"], "h[T+1]": ["h[t+2]", "h[3]", "h[T+2]"]}
    expected = {*reads, *further.get(boundary, [])}
    if boundary == "h[-1]":
        expected |= {"h[-2]", "h[T-d]"}
    if boundary == "h[T+2]":
        expected |= {"h[t+d]"}
    head = f"model A\ndim d = 3\ninput h[t], x[t] : []\n{boundary} = 1\n"
    for place in ("g[t] = {} + x[t]", "g[t] = x[t]\nmetric e = {}", "g[t] = 2 * g[t-1]\ng[0] = {}"):
        for read in every:
            if "t" in read and "g[0]" in place:
                continue
            found = errors(head + place.format(read) + "\n")
            assert [d.code for d in found] == ([] if read in expected else ["RNN027"]), read


def errors(text: str) -> tuple[Diagnostic, ...]:
    try:
        load_system(Source(text))
    except SpecError as error:
        return error.diagnostics
    return ()


def test_boundaries_of_used_layers_may_go_unread() -> None:
    """What a layer's own text says beyond the reads of a call is no mistake of the caller."""
    text = "model F\ninput x[t] : []\nh[t] = h[t-1] + x[t]\nh[T+1] = 1\n"
    assert [d.code for d in errors(text)] == ["RNN027"]
    assert not errors(text + "\nmodel A\ninput x[t] : []\ny[t] = F(x[t])\n")


@pytest.mark.parametrize(
    ("p", "fine"),
    [
        ("V h[t] + c", False),
        ("c + V x[t]", False),
        ("V h[t]", False),
        ("V x[t]", True),  # x may be probabilities, and V a stochastic matrix
        ("A q[t]", True),
        ("softmax(V h[t])", True),
        ("0.5 * A q[t] + 0.5 * q[t]", True),
        ("A q[t] / sum(A q[t])", True),
        ("sigmoid(V h[t] + c)", True),
    ],
)
def test_logits_are_no_probabilities(p: str, fine: bool) -> None:
    """Only what no weights could make probabilities is refused, here and behind a name."""
    head = (
        "model A\ndim k = 4\ninput x[t] : [k]\nparam V, A, W : [k, k], c : [k]\n"
        "h[t] = tanh(W h[t-1] + x[t])\nq[t] = softmax(x[t])\n"
    )
    for text in (f"target y[t] : index(k) ~ categorical({p})", f"o[t] = {p}\n"
                 "target y[t] : [k] ~ bernoulli(o[t])"):  # fmt: skip
        assert [d.code for d in errors(head + text + "\n")] == ([] if fine else ["RNN014"])
