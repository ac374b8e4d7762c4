"""Gradients as equations: what is printed can be read, and is what mode ``grad`` computes.

``tests/golden`` holds what is printed for some models, as a textbook would; it is written anew
with ``RNNC_UPDATE_GOLDEN=1``. Read it before it is kept.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_agreement import small
from test_random_systems import WEIGHTS, specs

import rnnc
from rnnc import compiler
from rnnc.graph.latex import show_latex
from rnnc.graph.latex_names import symbol
from rnnc.passes.textbook import symbols
from rnnc.testing import random_data, random_weights

NDA = NDArray[Any]
GOLDEN = Path(__file__).parent / "golden"
EXAMPLES = int(os.environ.get("RNNC_EXAMPLES", "25"))
LIBRARY = [n for n, file in rnnc.library().items() if file.parent.name != "optim"]
MODELS = ("Elman", "LSTM", "LSTMClassifier", "GRU", "NToOne")


def model(text: str, **sizes: int) -> rnnc.Spec:
    return rnnc.parse(f"model M\n{text}", **sizes)


def equation(text: str, left: str) -> str:
    """The right side of the equation of a printed value."""
    (line,) = [x for x in text.splitlines() if x.startswith(f"{left} = ")]
    return line.removeprefix(f"{left} = ")


# ---------------------------------------------------------------- numbers


def assert_reads_back(
    spec: rnnc.Spec,
    batch: int = 2,
    steps: int = 4,
    weights: dict[str, NDA] | None = None,
    inputs: tuple[str, ...] = (),
) -> None:
    """The printed equations, compiled, give what mode ``grad`` gives, to 1e-10 of the largest."""
    gradients = spec.compile("numpy", mode="grad", dtype="float64", inputs=inputs)
    printed = rnnc.parse(spec.diff(inputs)).compile("numpy", dtype="float64")
    data: dict[str, Any] = {**random_data(spec, batch, steps), "T": steps, "B": batch}
    lengths = {"batch": batch, "T": steps}
    rng = np.random.default_rng(1)
    for port in gradients.ports.inputs:
        shape = [lengths.get(d, steps) if isinstance(d, str) else d for d in port.dims]
        if port.name not in data:
            data[port.name] = rng.standard_normal(shape)
    params = dict(random_weights(spec) if weights is None else weights)
    params |= {_printed(n): a for n, a in params.items()}

    def run(compiled: Any) -> dict[str, NDA]:
        given = {}
        for port in compiled.ports.inputs:
            array = data[port.name]
            if len(port.dims) > np.ndim(array):  # a printed input has a batch in any case
                array = np.broadcast_to(array, (batch, *np.shape(array)))
            given[port.name] = array
        wanted = {port.name: params[port.name] for port in compiled.ports.params}
        return dict(compiled.run(given, weights=wanted))

    with np.errstate(all="ignore"):
        want, got = run(gradients), run(printed)
    names = [n for n in want if n.startswith("d_")]
    assert names
    scale = max(1.0, *(float(np.nanmax(np.abs(want[n]))) for n in names))
    for name in names:
        # what data reaches is given once for each sequence
        printed_ = got[_printed(name)]
        assert printed_.shape in (want[name].shape, (batch, *want[name].shape)), name
        wide = np.broadcast_to(want[name], printed_.shape)
        np.testing.assert_allclose(printed_, wide, rtol=0, atol=1e-10 * scale, err_msg=name)


def _printed(name: str) -> str:
    """A name of a layer's value as it is printed: ``f.W`` is ``f_W``."""
    return name.replace(".", "_")


@pytest.mark.parametrize("name", LIBRARY)
def test_library(name: str) -> None:
    assert_reads_back(rnnc.load(name, **small(name)))


@pytest.mark.parametrize("name", LIBRARY)
def test_sizes_may_be_open(name: str) -> None:
    """Dims stay names, also those that have no number."""
    text = rnnc.load(name).diff()
    assert rnnc.parse(text).name == f"{name}Gradients"
    assert text == rnnc.load(name).diff()


@given(specs(), st.integers(1, 3), st.integers(1, 6))
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="RNNC_EXAMPLES" not in os.environ,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_random_systems(text: str, batch: int, steps: int) -> None:
    spec = rnnc.parse(text)
    try:
        spec.diff()
    except rnnc.SpecError as error:
        assert [d.code for d in error.diagnostics] == ["RNN040"]  # noqa: PT017
        return
    assert_reads_back(spec, batch, steps, WEIGHTS)


@pytest.mark.parametrize(
    "text",
    [
        # a gradient that is zero, of each rank
        "input x[t] : [3]\nparam W : [2, 3], E : [2, 3], e : [4], s : []\nh[t] = W x[t]",
        # sums that stretch to a vector and to a matrix
        "input x[t] : [3]\nparam W : [2, 3], b : [3]\nh[t] = sum(W) + sum(b * x[t])",
        "input x[t] : [3]\nparam b : [3]\nh = sum[t](sum(diag(b) diag(x[t]) + outer(b, x[t])))",
        "input x[t] : [3]\nparam W : [3, 3]\nh[t] = sum((diag(x[t]) + W)^2) + sum(W.T * W)",
        "input x[t] : [2]\nparam b : [2]\nh[t] = repeat(b, 3) * repeat(x[t], 3)",
        # flags read past the end
        "input x[t] : [3]\nparam W : [3, 3]\n"
        "h[t] = where(t % 2 == 0, tanh(W h[t-1] + x[t]), h[t-1])",
        # boundaries of some and of many steps
        "input x[t] : [3]\nparam W : [3, 3], u : [3]\nh[t] = tanh(W h[t-2] + x[t])\nh[0] = u",
        "input x[t] : [3]\nparam W : [3, 3], u : [3]\nh[t] = tanh(W h[t-6] + x[t])\nh[0] = u",
        "input x[t] : [3]\nparam W : [3, 3]\nh[t] = tanh(W h[t-1] + x[t])\nh[0] = 1\n"
        "g[t] = 0.5 * g[t+1] + h[t] * h[T]\ng[T+1] = h[1]",
        # rows of tables
        "input w[t] : index(4)\nparam E : [4, 3], b : [4]\nh[t] = E[w[t]] * b[w[t]]",
        "input x[t] : [3]\nparam W : [2, 3]\nh[t] = max(W x[t]) + logsumexp(W x[t]) + max(W)",
        "input x[t] : [3]\nparam W : [2, 3]\nh = max[t](W x[t]) + sum[t](softmax[t](W x[t])^2)",
        "input x[t] : [3]\nparam W : [3, 3]\n(a[t], b[t], c[t]) = split(W x[t], 3)\n"
        "h[t] = a[t] * b[t] - a[t] * c[t]",
        "input x[t] : [3]\nparam W : [3, 3]\nh[t] = tanh(W h[t-1] + x[t])\n"
        "target y[t] : [3] ~ normal(h[t], 2) when t > 1\nloss 0.1 * sum(W * W)",
    ],
)
def test_forms(text: str) -> None:
    for steps in (1, 2, 7):
        assert_reads_back(model(text), batch=2, steps=steps)


def test_inputs() -> None:
    spec = rnnc.load("Elman", n=3, m=4, k=5)
    assert_reads_back(spec, inputs=("x",))
    assert "output ∂U, ∂W, ∂V, ∂b, ∂c, ∂x\n" in spec.diff(["x"])
    with pytest.raises(rnnc.UsageError, match="no real input z"):
        spec.diff(["z"])
    with pytest.raises(rnnc.UsageError, match="no real input y"):
        spec.diff(["y"])


# ---------------------------------------------------------------- words


@pytest.mark.parametrize("name", MODELS)
def test_golden(name: str) -> None:
    spec = rnnc.load(name)
    system = compiler.adjoint(spec.system)
    for suffix, found in ((".rnn", spec.diff()), (".tex", show_latex(system, symbols(system)))):
        golden = GOLDEN / f"{name}{suffix}"
        if os.environ.get("RNNC_UPDATE_GOLDEN"):
            golden.write_text(found, encoding="utf-8", newline="\n")
        assert found == golden.read_text(encoding="utf-8")


def test_no_golden_is_left_over() -> None:
    assert {p.name for p in GOLDEN.iterdir()} == {
        f"{n}{s}" for n in MODELS for s in (".rnn", ".tex")
    }


def test_the_same_in_every_process() -> None:
    code = "import rnnc; print(*(rnnc.load(n).diff() for n in ('LSTM', 'ClockworkRNN', 'LEM')))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(found) == 1
    assert next(iter(found))


def test_short_expressions_are_written_where_they_are_used() -> None:
    text = rnnc.load("LSTM").diff()
    assert equation(text, "h[t]") == "o[t] * tanh(c[t])"
    assert equation(text, "∂o[t]") == "all_h[t] * tanh(c[t])"
    assert " - z[t+1])" in rnnc.load("GRU").diff()  # also at the next step


def test_what_does_not_vanish_past_the_end_is_not_moved() -> None:
    """exp(0) is 1 where the value read has no step any more, and nothing there makes it zero."""
    text = "input x[t] : [2]\nparam w : [2]\na[t] = w * x[t]\nb[t] = exp(a[t]) + exp(a[t+1])"
    spec = model(text)
    assert_reads_back(spec, steps=3)


def test_common_factors() -> None:
    assert equation(rnnc.load("GRU").diff(), "∂z[t]") == "all_h[t] * (h_hat[t] - h[t-1])"


def test_names_keep_apart_from_those_of_the_model() -> None:
    spec = model(
        "input x[t] : [2]\nparam W, U : [2, 2]\ndelta_h[t] = W x[t]\nall_h[t] = U x[t]\n"
        "h[t] = tanh(W h[t-1] + delta_h[t] + all_h[t])\noutput h"
    )
    assert_reads_back(spec)


def test_dims_that_count_steps() -> None:
    lag = "dim n, d = 3\ninput x[t] : [n]\nparam W : [n, n]\nh[t] = tanh(W h[t-d] + x[t])"
    assert "δ_h[t+d]" in model(lag).diff()  # which step it is does not matter
    bounded = model(f"{lag}\nh[0] = 1")
    assert "h[t-3]" in bounded.diff()
    assert_reads_back(rnnc.parse(bounded.source.text, n=2), steps=5)
    with pytest.raises(rnnc.SpecError, match="the size `d` of model M is not set"):
        model(f"{lag}\nh[0] = 1".replace("d = 3", "d")).diff()


def test_a_name_that_a_gradient_needs() -> None:
    text = "input x[t] : [2]\nparam W : [2, 2]\nd_W = sum(W)\nh[t] = tanh(W h[t-1] + x[t]) + d_W\n"
    spec = model(text)
    spec.compile("numpy")  # fine without gradients
    losing = model(f"{text}loss sum(h[t])")
    attempts = (
        spec.diff,
        lambda: spec.compile("numpy", mode="grad"),
        lambda: losing.compile("numpy", mode="train"),
    )
    for attempt in attempts:
        with pytest.raises(rnnc.SpecError) as error:
            attempt()
        (found,) = error.value.diagnostics
        assert found.code == "RNN043"
        assert found.span is not None
        assert found.span.text == "d_W = sum(W)"
        assert "rename" in str(found.hint)
    other = model(text.replace("d_W", "d_x"))
    other.diff()  # nobody asked for the derivative by x
    for carry in (False, True):
        with pytest.raises(rnnc.SpecError, match="RNN043"):
            other.compile("numpy", mode="grad", inputs=["x"], carry=carry)
    with pytest.raises(rnnc.SpecError, match="RNN043"):
        other.diff(["x"])


def test_no_gradients() -> None:
    with pytest.raises(rnnc.SpecError, match="it has no parameters"):
        model("input x[t] : [2]\nh[t] = x[t] + h[t-1]").diff()


# ---------------------------------------------------------------- LaTeX


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("h", "h"),
        ("W_f", "W_{f}"),
        ("W_xh", "W_{xh}"),
        ("W_out", r"W_{\mathrm{out}}"),
        ("h_hat", r"\hat{h}"),
        ("h_hat_2", r"\hat{h}_{2}"),
        ("alpha", r"\alpha"),
        ("W_alpha", r"W_{\alpha}"),
        ("omicron", r"\mathrm{omicron}"),
        ("Gamma", r"\Gamma"),
        ("ingate", r"\mathrm{ingate}"),
        ("x2h", r"\mathrm{x2h}"),
        ("W'", "W'"),
        ("W_f''", "W_{f}''"),
        ("∂h_hat", r"\partial \hat{h}"),
        ("δ_h_hat", r"\delta_{\hat{h}}"),
        ("d_h", "d_{h}"),
    ],
)
def test_symbols(name: str, wanted: str) -> None:
    assert symbol(name) == wanted


DECLARED = """\
dim n, m = 4
input x[t] : [n], y[t] : [m], w[t] : index(3), s[t] : [], on[t] : flag
param W : [m, n], U : [m, m], b, h_in : [m], E : [3, m], c : []
"""


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("tanh(W x[t-1] + b)", r"\tanh(W x_{t-1} + b)"),
        ("U.T y[t] - (b - y[t])", r"U^\top y_t - (b - y_t)"),
        ("U (y[t] * b)", r"U (y_t \odot b)"),
        ("(y[t] + b) * b", r"(y_t + b) \odot b"),
        ("y[t] * (b * h_in)", r"y_t \odot (b \odot h_{\mathrm{in}})"),
        ("2 * y[t]", r"2 \, y_t"),
        ("s[t] * (y[t] + b)", r"s_t \, (y_t + b)"),
        ("(y[t] + b) * s[t]", r"(y_t + b) \, s_t"),
        ("-(y[t] + b)", r"-(y_t + b)"),
        ("(-y[t]) * b", r"(-y_t) \odot b"),
        ("y[t]^2", "y_t^{2}"),
        ("(y[t] + b)^c", "(y_t + b)^{c}"),
        ("(y[t] / s[t])^3", r"\left( \frac{y_t}{s_t} \right)^{3}"),
        ("dot(b, y[t])", r"b^\top y_t"),
        ("outer(y[t], b)", r"y_t \, b^\top"),
        ("outer(y[t] + b, b * h_in)", r"(y_t + b) \, (b \odot h_{\mathrm{in}})^\top"),
        ("sqrt(abs(y[t]))", r"\sqrt{\lvert y_t \rvert}"),
        ("sigmoid(b) + relu(b)", r"\sigma(b) + \operatorname{relu}(b)"),
        ("max(y[t], b)", r"\max(y_t, b)"),
        ("E[w[t]]", "E[w_t]"),
        ("[y[t], b]", r"[y_t;\, b]"),
        (
            "where(s[t] > 0, b, y[t]) * b",
            r"\left( \begin{cases} b & \text{if } s_t > 0 \\ y_t & \text{otherwise} \end{cases} "
            r"\right) \odot b",
        ),
        ("where(on[t] and not on[t-1], 1, 0)",
         r"\begin{cases} 1 & \text{if } \mathrm{on}_t \land \lnot \mathrm{on}_{t-1} \\ "
         r"0 & \text{otherwise} \end{cases}"),
        ("b + sum[t](y[t])", r"b + \sum_{t=1}^{T} y_t"),
        ("b * sum[t](y[t] + b)", r"b \odot \left( \sum_{t=1}^{T} (y_t + b) \right)"),
        ("mean[batch](sum[t](outer(y[t], b)))",
         r"\frac{1}{B} \sum_{b} \sum_{t=1}^{T} y_t \, b^\top"),
        ("mean[t](y[t])", r"\frac{1}{T} \sum_{t=1}^{T} y_t"),
        ("mean(y[t])", r"\operatorname{mean}(y_t)"),
        ("softmax[t](y[t])", r"\operatorname{softmax}_{t}(y_t)"),
        ("squared_error(y[t], b)", r"\lVert y_t - b \rVert^2"),
        ("y[T] + y[1]", "y_T + y_1"),
        ("1e-5 * b + 2.5e-7", r"10^{-5} \, b + 2.5 \cdot 10^{-7}"),
        ("onehot(w[t], 3)", r"\operatorname{onehot}(w_t, 3)"),
        ("stop_gradient(b)", r"\operatorname{stop\_gradient}(b)"),
        ("eye(m) b / sqrt(m)", r"\frac{\mathbf{I}_{m} b}{\sqrt{m}}"),
    ],
)  # fmt: skip
def test_latex(text: str, wanted: str) -> None:
    edge = "on[0] = 1 < 2\n" if "on[t-1]" in text else ""
    spec = model(f"{DECLARED}{edge}r[t] = {text}\noutput r")
    assert f"  r_t &= {wanted}\n" in show_latex(spec.system)


def test_latex_of_a_whole() -> None:
    """Boundaries stand before their equation; a value called like a step keeps apart from it."""
    spec = model(
        "input x[t] : [4]\nparam U : [4, 4], h_1 : [4]\nh[t] = tanh(U h[t-1] + x[t])\n"
        "h[0] = h_1\n(a[t], b[t]) = split(U h[t], 2)\ng = h[1] + h[2]\n"
        "target y[t] : [4] ~ normal(h[t], 1)\nloss decay = sum(U * U)\noutput g, a"
    )
    assert show_latex(spec.system) == (
        "\\begin{aligned}\n"
        "  h_0 &= h_{1} \\\\\n"
        "  h_t &= \\tanh(U h_{t-1} + x_t) \\\\\n"
        "  (a_t, b_t) &= \\operatorname{split}(U h_t, 2) \\\\\n"
        "  g &= h_{t=1} + h_2 \\\\\n"
        "  y_t &\\sim \\operatorname{normal}(h_t, 1) \\\\\n"
        "  \\mathcal{L}_{\\mathrm{decay}} &= \\operatorname{sum}(U \\odot U)\n"
        "\\end{aligned}\n"
    )
    assert spec._repr_latex_() == f"$$\n{show_latex(spec.system)}$$"


@pytest.mark.parametrize("name", rnnc.library())
def test_latex_is_well_formed(name: str) -> None:
    """Braces and environments close, and no operation is without a form."""
    spec = rnnc.load(name)
    texts = [show_latex(spec.system)]
    if name in LIBRARY:
        system = compiler.adjoint(spec.system)
        texts.append(show_latex(system, symbols(system)))
    for text in texts:
        assert text.count("{") == text.count("}")
        assert text.count("(") == text.count(")")
        assert text.count(r"\begin{cases}") == text.count(r"\end{cases}")
        assert "einsum" not in text
        assert "<" not in text.replace(" < ", "")
        for line in text.splitlines()[1:-1]:
            assert " &= " in line or r" &\sim " in line
