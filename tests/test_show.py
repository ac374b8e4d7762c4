"""Printed systems: notation, what is written inside what, and that the text is a spec again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import rnnc
from rnnc.graph.build import build
from rnnc.graph.show import expression, parameter_count, roles, show_system, table
from rnnc.graph.system import Axis, Value
from rnnc.graph.types import BATCH, FIRST, LAST, Array, Bound, Index, Type, read
from rnnc.source import Source
from rnnc.syntax.parse import parse
from tests.by_hand import BEFORE, Hand, K, M, N, both_ways, elman, lstm, unrolled

SPECS = sorted(Path(__file__).parent.parent.glob("specs/*/*.rnn"))


def from_text(text: str):
    return build(parse(Source(text)).models[-1])


def test_elman():
    assert show_system(elman()) == (
        "model Elman\n"
        "\n"
        "dim    n, m = 64, k\n"
        "input  x[t] : [n]\n"
        "param  U : [m, n],  W : [m, m],  V : [k, m]\n"
        "param  b : [m],  c : [k]\n"
        "\n"
        "a[t] = b + W h[t-1] + U x[t]\n"
        "h[t] = tanh(a[t])\n"
        "o[t] = c + V h[t]\n"
        "p[t] = softmax(o[t])\n"
        "\n"
        "target y[t] : index(k) ~ categorical(p[t])\n"
        "output p\n"
    )


def test_lstm():
    text = show_system(lstm())
    assert "param  W_f, W_i, W_o, W_c : [m, n],  U_f, U_i, U_o, U_c : [m, m]\n" in text
    assert "param  b_f : [m] ~ ones,  b_i, b_o, b_c : [m]\n" in text
    assert text.split("\n\n")[2] == (
        "f[t] = sigmoid(W_f x[t] + U_f h[t-1] + b_f)\n"
        "i[t] = sigmoid(W_i x[t] + U_i h[t-1] + b_i)\n"
        "o[t] = sigmoid(W_o x[t] + U_o h[t-1] + b_o)\n"
        "g[t] = tanh(W_c x[t] + U_c h[t-1] + b_c)\n"
        "c[t] = f[t] * c[t-1] + i[t] * g[t]\n"
        "h[t] = o[t] * tanh(c[t])"
    )


def test_boundaries_directions_and_fixed_steps():
    assert show_system(both_ways()).split("\n\n")[2] == (
        "A[0] = tanh(Q z)\n"
        "A[t] = tanh(W A[t-1] + U x[t])\n"
        "A'[t] = tanh(W' A'[t+1] + U' x[t])\n"
        "o = [A[T], A'[1]]"
    )


def test_unrolled_names_are_respelled():
    text = show_system(unrolled())
    assert "a_1 = b + U x[1]\nh_1 = tanh(a_1)\n" in text
    assert "a_3 = b + W h_2 + U x[3]\n" in text
    assert "p[t] = stack[t](p_1, p_2, p_3)\n" in text


def test_respelling_avoids_names_in_use():
    s = Hand()
    x = s.input("x", N)
    s.add("h_W", "tanh", x)
    s.add("h.W", "tanh", x)
    s.add("loss", "tanh", x)
    text = show_system(s.system("S", ["h.W", "h_W", "loss"]))
    assert "h_W[t] = tanh(x[t])\nh_W_2[t] = tanh(x[t])\nloss_2[t] = tanh(x[t])\n" in text
    assert "output h_W_2, h_W, loss_2\n" in text


@pytest.mark.parametrize(
    ("letters", "shapes", "text"),
    [
        ("ij,j->i", ((M, N), (N,)), "A B"),
        ("ji,j->i", ((M, N), (M,)), "A.T B"),
        ("j,ij->i", ((N,), (M, N)), "B A"),
        ("i,ij->j", ((M,), (M, N)), "B.T A"),
        ("ij,jk->ik", ((M, N), (N, K)), "A B"),
        ("ji,jk->ik", ((M, N), (M, K)), "A.T B"),
        ("ij,kj->ik", ((M, N), (K, N)), "A B.T"),
        ("ij,kj->ki", ((M, N), (K, N)), "B A.T"),
        ("ij,jk->ki", ((M, N), (N, K)), "B.T A.T"),
        ("i,i->", ((M,), (M,)), "dot(A, B)"),
        ("i,j->ij", ((M,), (N,)), "outer(A, B)"),
        ("i,j->ji", ((M,), (N,)), "outer(B, A)"),
        (",i->i", ((), (M,)), "A B"),
        ("i,->i", ((M,), ()), "B A"),
        (",->", ((), ()), "A * B"),
        ("i,i->i", ((M,), (M,)), "A * B"),
        ("ij,ij->", ((M, N), (M, N)), "sum(A * B)"),
        ("ij,j->ij", ((M, N), (N,)), "A diag(B)"),
        ("i,ij->ij", ((M,), (M, N)), "diag(A) B"),
        ("ij,i->", ((M, N), (M,)), 'einsum("ij,i->", A, B)'),
    ],
)
def test_contractions(letters, shapes, text):
    s = Hand()
    a, b = s.param("A", *shapes[0]), s.param("B", *shapes[1])
    s.times("c", a, b, letters)
    assert expression(s.system("S", ["c"]), s.values["c"]) == text


def test_sums_over_axes():
    s = Hand()
    u, v = s.input("u", M), s.input("v", N)
    before = read("v", {"t": BEFORE})
    s.times("g", u, before, "i,j->ij", over=("t",))
    s.times("d", u, v, "i,j->ij", over=("t", BATCH))
    total = s.times("w.", u, before, "i,j->ij", over=("t", BATCH))
    size = s.add("w.", "to_real", s.add("w.", "length", axis=BATCH))
    s.add("w", "div", total, size)
    s.add("e", "sum", u, over=())
    s.add("q", "softmax", s.add("q.", "sum", u, over=()), over=("t",))
    system = s.system("S", ["g", "d", "w", "e", "q"])
    found = {n: expression(system, system[n]) for n in system.outputs}
    assert found == {
        "g": "sum[t](outer(u[t], v[t-1]))",
        "d": "sum[batch](sum[t](outer(u[t], v[t])))",
        "w": "mean[batch](sum[t](outer(u[t], v[t-1])))",
        "e": "sum(u[t])",
        "q": "softmax[t](sum(u[t]))",
    }


@pytest.mark.parametrize(
    ("index", "text"),
    [
        (Index("t", -1), "x[t-1]"),
        (Index("t", 2), "x[t+2]"),
        (Index("t", -1 * M), "x[t-m]"),
        (Index("t", M + 1), "x[t+m+1]"),
        (Index(FIRST), "x[1]"),
        (Index(FIRST, -1), "x[0]"),
        (Index(FIRST, -2), "x[-1]"),
        (Index(LAST), "x[T]"),
        (Index(LAST, 1), "x[T+1]"),
        (Index(LAST, -2), "x[T-2]"),
    ],
)
def test_indices(index, text):
    s = Hand()
    s.input("x", N)
    s.add("y", "tanh", read("x", {"t": index}))
    assert expression(s.system("S", ["y"]), s.values["y"]) == f"tanh({text})"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.0, "2"),
        (2, "2"),
        (0.5, "0.5"),
        (1e-5, "1e-05"),
        (-3.0, "-3"),
        (np.pi, "pi"),
        (float("inf"), "inf"),
        (np.float32(0.1), "0.1"),
        (Array(np.zeros(4)), "<array [4]>"),
        (True, "1 == 1"),
    ],
)
def test_constants(value, text):
    s = Hand()
    s.add("c", "constant", value=value)
    assert expression(s.system("S", ["c"]), s.values["c"]) == text


@pytest.mark.parametrize(
    "text",
    [
        "a + b - c",
        "a - (b - c)",
        "a - (b + c)",
        "(a + b) * c",
        "a * b + c",
        "a / (b * c)",
        "a / b * c",
        "-a + b",
        "a + (-b)",
        "-(a * b)",
        "(-a)^2",
        "-a^2",
        "(a * b)^2",
        "2^(-a)",
        "a^(b^c)",
        "-2 * a",
        "W (a + b)",
        "-W a",
        "W tanh(a)",
        "W.T (W a)",
        "(W W.T)^2 a",
        "a * W b",
        "a^2 * b",
        "(W + W.T) a",
        "where(a < b and not a == b, a, b)",
        "where((a < b or a > c) and b <= c, a, -b)",
        "max(a, b) - min(b, c)",
        "[a, b * 2, W c]",
        "slice([a, b], m, 2*m)",
        "repeat(a, 2)",
        "onehot(i[t], m) * a",
        "E[i[t]]",
        "a * (t - 1)",
        "a / T",
        "mean(a) * b",
        "sqrt(m) * a",
        "(4 * m + 1) * a",
        "dropout_mask * a",
        "diag(a) b",
        "eye(m) a",
        "a * pi",
        "stop_gradient(a)",
        "softmax(a) + logsumexp(b)",
        "log(softmax(a))",
        "h[t-1] % 2 * a",
        "a * squared_error(b, c)",
    ],
)
def test_expressions_come_back_as_written(text):
    spec = (
        "model S\ndim m = 6\ninput i[t] : index(m)\ninput dropout_mask[t] : [m]\n"
        "param W : [m, m], E : [m, m]\nparam a, b, c : [m]\nh[t] = dropout_mask[t]\n"
    )
    spec += f"y[t] = {text.replace('dropout_mask *', 'dropout_mask[t] *')} + 0 * h[t]\noutput y\n"
    if text.startswith(("[", "repeat")):
        spec = spec.replace(" + 0 * h[t]", "")
    printed = show_system(from_text(spec))
    (line,) = (x for x in printed.split("\n") if x.startswith("y"))
    wanted = next(x for x in spec.split("\n") if x.startswith("y[t]"))
    assert line.partition(" = ")[2] == wanted.partition(" = ")[2]


def test_losses_metrics_and_targets():
    text = (
        "model S\n"
        "\n"
        "dim    n = 3, k = 4\n"
        "input  x[t], z : [n]\n"
        "param  V : [k, n] ~ normal(0, 1 / sqrt(n))\n"
        "const  A : [n] = 2\n"
        "const  B = 2 * arange(n) + 1\n"
        "\n"
        "p[t] = softmax(V (A * x[t]))\n"
        "\n"
        "target y[t] : index(k) ~ categorical(p[t])\n"
        "target w[t] : flag\n"
        "loss   squared_error(x[t], B)\n"
        "loss   L = nll(p[t], y[t])\n"
        "loss   M = cross_entropy(p[T], y[1])\n"
        "metric accuracy = where(argmax(p[t]) == y[t], 1, 0)\n"
        "output p\n"
    )
    assert show_system(from_text(text)) == text


def test_a_loss_without_its_distribution_is_written_out():
    system = elman()
    text = show_system(system.with_values(system.values, targets={}, losses={"loss.y": "y.loss"}))
    assert "target y[t] : index(k)\nloss   loss_y = nll(p[t], y[t])\n" in text


def test_shared_counts_are_not_printed():
    """Common subexpressions make a metric read the count of the loss."""
    system = from_text(
        "model S\ninput x[t] : []\ny[t] = x[t]\ntarget z[t] : [] ~ normal(y[t], 1)\n"
        "metric error = abs(y[t] - z[t])\n"
    )
    error = system["error"]
    shared = replace(error, reads=(error.reads[0], read("error.count.1")))
    real = Value("error.count.1", "to_real", (read("count.z"),), Type("real"))
    values = [v for v in system.values.values() if v.name != "error"]
    text = show_system(system.with_values([*values, real, shared]))
    assert "count" not in text
    assert "metric error = abs(y[t] - z[t])\n" in text


def test_split_and_several_boundaries():
    text = (
        "model S\n"
        "\n"
        "dim    n = 4\n"
        "input  x[t] : [n]\n"
        "\n"
        "x[0] = 1\n"
        "(a[t], b[t]) = split(x[t] + x[t-1], 2)\n"
        "h[0] = 1\n"
        "h[-1] = 2\n"
        "h[t] = h[t-1] + h[t-2] * a[t] + b[t]\n"
        "\n"
        "output h\n"
    )
    assert show_system(from_text(text)) == text


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_library_reads_back(path):
    printed = show_system(rnnc.load(path).system)
    assert show_system(from_text(printed)) == printed


def test_a_temporary_with_two_readers_has_a_line():
    s = Hand()
    x = s.input("x", N)
    e = s.add("y.", "exp", x)
    s.add("y", "add", e, s.add("y.", "tanh", e))
    system = s.system("S", ["y"])
    assert show_system(system).split("\n\n")[2] == (
        "y_1[t] = exp(x[t])\ny[t] = y_1[t] + tanh(y_1[t])"
    )
    assert expression(system, system["y"]) == "y.1[t] + tanh(y.1[t])"


def test_a_temporary_read_at_another_step_has_a_line():
    s = Hand()
    e = s.add("y.", "exp", s.input("x", N))
    s.add("y", "tanh", read(e.source, {"t": BEFORE}))
    assert "y_1[t] = exp(x[t])\ny[t] = tanh(y_1[t-1])\n" in show_system(s.system("S", ["y"]))


def test_long_chains_are_cut():
    s = Hand()
    r = s.input("x", N)
    for _ in range(2000):
        r = s.add("y.", "tanh", r)
    s.add("y", "copy", r)
    text = show_system(s.system("S", ["y"]))
    assert text.count("tanh") == 2000
    assert max(map(len, text.split("\n"))) < 400


def test_an_unsound_system_is_printed_all_the_same():
    s = Hand()
    s.input("x", N)
    s.promise("a.1", Type("real", (N,)))
    b = s.add("a.2", "tanh", read("a.1"))
    s.settle("a.1", "exp", b)
    text = show_system(s.system("S", []))
    assert "a_2[t] = tanh(a_1[t])\na_1[t] = exp(a_2[t])\n" in text


def test_axes_are_declared_where_they_must_be():
    s = Hand("s", "t")
    e = s.input("e", axes=("s", "t"))
    s.promise("d", Type("real"), ("s", "t"))
    bound = Bound("t", Index(FIRST, -1), read("d", {"s": Index("s", -1), "t": Index(LAST)}))
    d = s.settle("d", "add", read("d", {"t": BEFORE}), e, bounds=[bound])
    s.add("c", "softmax", read(d.source, {"t": Index("s")}), over=("s",))
    system = s.system("S", ["c"], dims={})
    axes = {"s": Axis("s", "J", 3), "t": Axis("t", "T"), BATCH: Axis(BATCH, "B")}
    text = show_system(system.with_values(system.values, axes=axes))
    assert "axis   s : J = 3\ninput  e[s, t] : []\n" in text
    assert "d[s, 0] = d[s-1, T]\nd[s, t] = d[s, t-1] + e[s, t]\n" in text


def test_documentation_is_kept():
    text = show_system(from_text("# One.\n#\n# Two.\nmodel S\ninput x[t] : []\ny[t] = x[t]\n"))
    assert text.startswith("# One.\n#\n# Two.\nmodel S\n")


def test_table():
    assert table(elman()) == (
        "name  role    shape     axes\n"
        "----  ------  --------  --------\n"
        "x     input   [n]       t, batch\n"
        "U     param   [m, n]\n"
        "W     param   [m, m]\n"
        "V     param   [k, m]\n"
        "b     param   [m]\n"
        "c     param   [k]\n"
        "a     value   [m]       t, batch\n"
        "h     state   [m]       t, batch\n"
        "o     value   [k]       t, batch\n"
        "p     output  [k]       t, batch\n"
        "y     target  index(k)  t, batch\n"
        "\n"
        "parameters: k*m + m*n + m^2 + k + m = 65*k + 64*n + 4160\n"
    )


def test_parameter_count():
    system = lstm()
    assert str(parameter_count(system)) == "4*m*n + 4*m^2 + 4*m"
    assert parameter_count(system.bind({"n": 28, "m": 128})) == 4 * (28 * 128 + 128 * 128 + 128)
    assert table(system.bind({"n": 28, "m": 128})).endswith("parameters: 80,384\n")


def test_roles():
    found = roles(lstm())
    assert found["c"] == found["h"] == "state, output"
    assert found["f"] == "value"
    assert found["W_f"] == "param"


def test_printing_is_deterministic():
    for make in (elman, lstm, unrolled, both_ways):
        assert show_system(make()) == show_system(make())
        assert table(make()) == table(make())
