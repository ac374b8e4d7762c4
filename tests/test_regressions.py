"""Specs that once gave wrong numbers, or none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import rnnc
from rnnc.testing import assert_all_agree, check_gradients

SPECS = {
    "one sum under two activations": """
        dim n = 3, m = 4
        input x[t] : [n]
        param W : [m, m], U : [m, n]
        a[t] = W h[t-1] + U x[t]
        h[t] = sigmoid(a[t]) * tanh(a[t])
        output h""",
    "overlapping parts under two activations": """
        dim n = 3, m = 6
        input x[t] : [n]
        param W : [m, 4], U : [m, n]
        a[t] = W h[t-1] + U x[t]
        h[t] = sigmoid(slice(a[t], 0, 4)) * tanh(slice(a[t], 2, 6))
        output h""",
    "a part that is taken after its buffer could be reused": """
        input x[t] : [6]
        param W : [6, 2]
        p[t] = (W h[t-1]) * x[t]
        a[t] = exp(slice(p[t], 0, 2))
        b[t] = slice(p[t], 1, 3) + a[t]
        h[t] = tanh(b[t])
        output h""",
    "softmax of a turned matrix state": """
        dim m = 3
        input x[t] : [m]
        param W : [m, m]
        v[t] = tanh(W @ softmax((W + v[t-1]).T) + outer(x[t], x[t]))
        output v""",
    "names like those of generated code": """
        dim m = 3
        input x[t] : [m]
        param W : [m, m], W_permute_T : [], range, zip, float : [m]
        h[t] = tanh(W h[t-1] + x[t] * range + zip * float)
        z = W_permute_T * outer(h[T], h[T])
        output h, z""",
    "rows of length 1 that stretch": """
        dim n = 3, m = 4
        input x[t] : [n]
        param A : [1, m], B : [1, m], b, c : [m], U : [m, n]
        f[t] = sigmoid(A h[t-1] + b)
        g[t] = tanh(B h[t-1] + c)
        h[t] = f[t] * h[t-1] + g[t] * (U x[t])
        output h""",
    "a gate of length 1 that stretches": """
        dim n = 3, m = 4
        input x[t] : [n]
        param A : [1, m], U : [m, n]
        h[t] = sigmoid(A h[t-1] + U x[t])
        output h""",
    "a running maximum": """
        input x[t] : [3]
        h[0] = -inf
        h[t] = max(h[t-1], x[t])
        output h""",
    "a start that only the first state reads": """
        dim m = 3
        input q : [m], x[t] : [m]
        h[0] = q
        h[t] = tanh(h[t-1] + x[t])
        output h""",
    "the last step but one of a delayed value": """
        input x[t] : [3]
        a[t] = x[t-1]
        w = a[T]
        output w""",
    "a deep delay": """
        input x[t] : [2]
        h[t] = 0.5 * h[t-3] + x[t-2]
        h[0] = 1
        h[-1] = x[1] * 0 + 2
        output h""",
    "an input that begins before itself": """
        input x[t] : [2]
        x[0] = x[1]
        y[t] = x[t] - x[t-1]
        output y""",
    "one entry of a buffer as a view": """
        dim m = 3
        param W : [m, m]
        v[t] = tanh(logsumexp(tanh(v[t+3])) * W)
        v[T+2] = eye(m)
        output v""",
    "a start with the batch of another input": """
        input q : [3], s[t] : []
        h[0] = q
        h[t] = 0.5 * h[t-2] + s[t]
        output h""",
    "three primes in a name": """
        input x[t] : [2]
        h'''[t] = 0.5 * h'''[t-1] + x[t]
        output h'''""",
}


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize(("batch", "steps"), [(2, 5), (1, 1)])
def test_agrees(name: str, batch: int, steps: int) -> None:
    spec = rnnc.parse("model A\n" + SPECS[name])
    assert_all_agree(spec, batch=batch, steps=steps)


def test_text_of_a_spec_is_never_code() -> None:
    doc = "# '''; raise SystemExit; r''' \"\"\" \\ {braces} {{x}}\n"
    spec = rnnc.parse(doc + "model A\ninput x[t] : [3]\nh[t] = x[t] + h[t-1]\noutput h\n")
    model = spec.compile("numpy")
    assert model(x=np.ones((1, 2, 3)))["h"][0, 1, 0] == 2


def test_a_saved_module_opens_again(tmp_path: object) -> None:
    path = f"{tmp_path}/m.py"
    spec = rnnc.parse("# it's \\ {odd} '''\nmodel A\ninput x[t] : [3]\nparam b : [3]\n"
                      "h[t] = b + x[t] + h[t-1]\noutput h\n")  # fmt: skip
    spec.compile("numpy", weights={"b": np.ones(3)}).save(path)
    assert rnnc.open(path)(x=np.ones((1, 2, 3)))["h"][0, 1, 0] == 4


def test_outputs_are_nobody_elses_memory() -> None:
    spec = rnnc.parse("model A\ninput x[t] : [3]\nparam c : [3]\n"
                      "z = c\ny[t] = x[t]\nu = c\noutput z, y, u\n")  # fmt: skip
    c, x = np.ones(3, np.float32), np.ones((1, 2, 3), np.float32)
    model = spec.compile("numpy", weights={"c": c})
    out = model(x=x)
    for array in out.values():
        array[...] = 7
    c[:] = 9
    again = model(x=x)
    assert (again["z"] == 1).all()
    assert (again["u"] == 1).all()
    assert (x == 1).all()


def test_signed_zeros_are_two_constants() -> None:
    spec = rnnc.parse("model A\ninput x[t] : []\na = 1 / 0.0\nb = 1 / (-0.0)\n"
                      "y[t] = a + x[t]\nz[t] = b + x[t]\noutput y, z\n")  # fmt: skip
    out = spec.compile("numpy")(x=np.ones((1, 2)))
    assert (out["y"] == np.inf).all()
    assert (out["z"] == -np.inf).all()


def test_diagonals_of_infinities() -> None:
    spec = rnnc.parse("model A\ninput x[t] : [2]\ny[t] = diag(log(relu(x[t])))\noutput y\n")
    for backend in ("numpy", "onnx"):
        y = spec.compile(backend)(x=np.zeros((1, 1, 2)))["y"][0, 0]
        np.testing.assert_array_equal(y, [[-np.inf, 0], [0, -np.inf]])


@pytest.mark.parametrize("value", [-np.inf, np.inf, -3e31])
def test_logsumexp_far_out(value: float) -> None:
    spec = rnnc.parse("model A\ninput x[t] : [2]\ny[t] = logsumexp(x[t])\noutput y\n")
    for backend in ("numpy", "onnx"):
        model = spec.compile(backend, dtype="float64")
        y = model(x=np.full((1, 1, 2), value))["y"]
        np.testing.assert_allclose(y, value)


def test_a_small_sigmoid_keeps_its_digits() -> None:
    spec = rnnc.parse("model A\ninput x[t] : []\ny[t] = sigmoid(x[t])\noutput y\n")
    y = spec.compile("numpy", dtype="float64")(x=np.full((1, 1), -30.0))["y"]
    np.testing.assert_allclose(y, np.exp(-30.0), rtol=1e-12)


def test_unused_weights_are_left_out_by_both_backends() -> None:
    spec = rnnc.parse("model A\ninput x[t] : [2]\nparam b, W : [2]\n"
                      "y[t] = b * x[t]\nz[t] = W * x[t]\noutput y\n")  # fmt: skip
    weights = {"b": np.ones(2), "W": np.ones(2)}
    for backend in ("numpy", "onnx"):
        out = spec.compile(backend)(x=np.ones((1, 1, 2)), weights=weights)
        assert (out["y"] == 1).all()


def test_a_stream_stays_with_its_batch() -> None:
    spec = rnnc.load("LSTM", n=2, m=3)
    stream = spec.stream(weights=spec.init())
    stream(x=np.ones((2, 2)))
    with pytest.raises(rnnc.DataError, match="reset"):
        stream(x=np.ones((3, 2)))


@pytest.mark.parametrize(
    "init", ["normal(1 / 0, 1)", "uniform(2, -1e400 * 0)", "normal(10^10^10, 2)"]
)
def test_initialisers_without_numbers(init: str) -> None:
    with pytest.raises((rnnc.UsageError, rnnc.SpecError)):
        rnnc.parse(f"model A\nparam v : [3] ~ {init}\ninput x[t] : [3]\ny[t] = v * x[t]\n").init()


def test_a_stream_takes_both_spellings() -> None:
    spec = rnnc.parse("model A\ninput ζ : [2], s[t] : [2]\nh[0] = ζ\nh[t] = h[t-1] + s[t]\n")
    stream = spec.stream(weights={})
    out = stream(ζ=np.ones((1, 2)), s=np.ones((1, 2)))
    assert (out["h"] == 2).all()


# ---------------------------------------------------------------- gradients and training

HEAD = "model M\ninput x[t] : [3]\nparam W : [3, 3], b : [3], c : []\n"
STATE = "h[t] = tanh(W h[t-1] + x[t] + b)\n"


def test_a_value_called_count_is_not_the_count_of_a_loss() -> None:
    text = HEAD + "count[t] = count[t-1] + 1\ncount[0] = 0\n" + STATE
    spec = rnnc.parse(text + "loss sum(h[t]^2)\noutput count, h")
    found = spec.compile("numpy", weights=spec.init(0))(x=np.ones((1, 3, 3)))
    assert found["count"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "part",
    [
        "r[t] = slice(f[t-1], 0, 2)\noutput r",
        "(r[t], s[t], u[t]) = split(f[t-1], 3)\noutput r, u",
    ],
)
def test_a_part_of_a_boundary_that_is_a_number(part: str) -> None:
    check_gradients(rnnc.parse(f"{HEAD}f[t] = tanh(W f[t-1] + x[t])\nf[0] = c\n{part}"))


def test_the_norm_of_zero_has_slope_zero() -> None:
    check_gradients(rnnc.parse(HEAD + STATE + "loss sum(h[t]^2) + norm(c * h[t-1])"))


@pytest.mark.parametrize(
    "line",
    ["gradient_norm = sum(W * W)", "metric gradient_norm = sum(h[t])", "lr = c", "dim lr = 2"],
)
def test_training_keeps_its_names(line: str) -> None:
    spec = rnnc.parse(f"{HEAD}{line}\n{STATE}loss sum(h[t]^2)")
    with pytest.raises(rnnc.SpecError, match="RNN043"):
        spec.compile("numpy", mode="train")


def test_a_dim_called_as_a_gradient() -> None:
    text = rnnc.parse(f"{HEAD}dim d_h = 3\n{STATE}loss delta_h = sum(h[t])").diff()
    assert rnnc.parse(text).system.dims["d_h"] == 3
    with pytest.raises(rnnc.SpecError, match="RNN043"):
        rnnc.parse(f"{HEAD}dim d_W = 3\n{STATE}loss sum(h[t])").diff()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("W[k] = W[k-1] - lr[k] * sum(g[k])", "entry by entry"),
        ("W[k] = W[k-1] - lr[k] * dropout(g[k], 0.5)", "no random numbers"),
        ("W[k] = lr[k] * g[k]", "does not depend on the step before"),
        ("v[0] = 1\nv[k] = v[k-1] + g[k]\nW[k] = W[k-1] - lr[k] * v[k]", "start at zero"),
    ],
)
def test_what_is_no_optimiser(lines: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "o.rnn"
    file.write_text(f"model O\ninput g[k] : any\ninput lr[k] : []\n{lines}\noutput W\n")
    spec = rnnc.parse(HEAD + STATE + "loss sum(h[t]^2)")
    with pytest.raises(rnnc.UsageError, match=message):
        spec.compile("numpy", mode="train", optimizer=file)


def test_an_optimiser_may_count(tmp_path: Path) -> None:
    file = tmp_path / "o.rnn"
    file.write_text(
        "model O\ninput g[k] : any\ninput lr[k] : []\nq[0] = 0\nq[k] = q[k-1] + 1\n"
        "W[k] = W[k-1] - lr[k] * g[k] / q[k]\noutput W\n"
    )
    spec = rnnc.parse(HEAD + STATE + "loss sum(h[t]^2)")
    w, x = spec.init(0), {"x": np.ones((1, 4, 3))}
    gradients = spec.compile("numpy", mode="grad").run(x, weights=w)
    step = spec.compile("numpy", mode="train", optimizer=file)
    out = step.run({**x, "lr": 0.5, "o.q": 3}, weights=w)
    assert out["o.q.next"] == 4
    assert np.allclose(out["W.next"], w["W"] - 0.5 * gradients["d_W"] / 4)


def test_clipping_holds_where_squares_overflow() -> None:
    spec = rnnc.parse(HEAD + STATE + "loss 1e25 * sum(h[t]^2)")
    w, x = spec.init(0), {"x": np.ones((1, 4, 3))}
    for backend in ("numpy", "onnx"):
        step = spec.compile(backend, mode="train", optimizer="sgd", clip=1.0)
        out = step.run({**x, "lr": 1.0}, weights=w)
        moved = sum(np.square(out[f"{n}.next"] - w[n]).sum() for n in ("W", "b"))
        assert np.isfinite(out["gradient_norm"])
        assert moved == pytest.approx(1, rel=1e-4)
