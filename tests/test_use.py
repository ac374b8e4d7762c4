"""Models used as layers: a call is the layer's equations, written into its caller."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import rnnc
from rnnc.api import Spec
from rnnc.runtime.reference import evaluate
from rnnc.source import SpecError
from rnnc.testing import assert_all_agree

Arrays = dict[str, NDArray[Any]]

CELL = """
model Cell
dim    n, m = 3
input  x[t] : [n]
param  W : [m, n],  U : [m, m],  b : [m] ~ ones
c[t] = tanh(U h[t-1] + W x[t] + b)
h[t] = 2 * c[t] * sigmoid(c[t-1])
output h, c
"""
LOSS = "loss sum(r[t] * r[t])\noutput r"


def arrays_of(spec: Spec, seed: int = 0, steps: int = 4) -> Arrays:
    """Random float64 inputs and weights of a spec, by name."""
    draw = np.random.default_rng(seed)
    out: Arrays = {}
    for v in (*spec.bound.inputs, *spec.bound.params):
        shape = [2] * ("batch" in v.axes) + [steps for a in v.axes if a != "batch"]
        size = [*shape, *(int(str(s)) for s in v.type.shape)]
        if v.type.kind == "index":
            out[v.name] = draw.integers(0, 3, size)
        else:
            out[v.name] = draw.normal(size=size)
    return out


def results(spec: Spec, arrays: Arrays) -> Arrays:
    """The outputs by the reference, and by NumPy loss and gradients if there is a loss."""
    out = dict(evaluate(spec.bound, arrays))
    names = {v.name for v in spec.bound.params}
    weights = {n: a for n, a in arrays.items() if n in names}
    data = {n: a for n, a in arrays.items() if n not in names}
    model = spec.compile("numpy", dtype="float64", weights=weights)
    got = model(**{p.name: data[p.name] for p in model.ports.inputs if p.name in data})
    for name, array in got.items():
        np.testing.assert_allclose(array, out[name], rtol=1e-11, atol=1e-13)
    if spec.system.losses:
        out |= spec.compile("numpy", mode="grad", dtype="float64")(**data, weights=weights)
    return out


def agree(one: str, other: str, names: dict[str, str], **sizes: int) -> None:
    """Both specs have the same outputs, and the same gradients where they have a loss.

    ``names`` are those that weights of the first have in the second; what several weights of the
    first have in common there gets the sum of their gradients.
    """
    first, second = rnnc.parse(one, **sizes), rnnc.parse(other, **sizes)
    theirs = arrays_of(second)
    back = {
        n: names.get(n, n) for n in [v.name for v in (*first.bound.inputs, *first.bound.params)]
    }
    assert set(back.values()) == theirs.keys()
    mine = {n: theirs[other] for n, other in back.items()}
    got, want = results(first, mine), results(second, theirs)
    for name in first.system.outputs:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-12, atol=1e-14)
    if "loss" in want:
        np.testing.assert_allclose(got["loss"], want["loss"], rtol=1e-12)
        for weight in {back[v.name] for v in first.bound.params}:
            parts = [got[f"d_{n}"] for n, other in back.items() if other == weight]
            np.testing.assert_allclose(sum(parts), want[f"d_{weight}"], rtol=1e-10, atol=1e-13)


def net(equations: str, *models: str) -> str:
    return "\n".join((*(models or (CELL,)), "model Net", equations))


def cell(name: str, x: str, n: str = "n", m: str = "3", at: str = "t", back: bool = False) -> str:
    """The equations of CELL, written out by hand."""
    before = f"{at}+1" if back else f"{at}-1"
    return f"""
param {name}_W : [{m}, {n}],  {name}_U : [{m}, {m}],  {name}_b : [{m}]
{name}_c[{at}] = tanh({name}_U {name}[{before}] + {name}_W {x} + {name}_b)
{name}[{at}] = 2 * {name}_c[{at}] * sigmoid({name}_c[{before}])
"""


def weights(name: str, other: str | None = None) -> dict[str, str]:
    return {f"{name}.{w}": f"{other or name}_{w}" for w in ("W", "U", "b")}


HEAD = "dim n\ninput x[t] : [n]\n"


@pytest.mark.parametrize(
    ("call", "by_hand", "names"),
    [
        ("r[t] = Cell(x[t])", cell("r", "x[t]"), weights("r")),
        ("r[t] = Cell(x[t]; m = 5)", cell("r", "x[t]", m="5"), weights("r")),
        (
            "r[t] = Cell([x[t-1], 2 x[t]]; m = n)",
            cell("r", "[x[t-1], 2 x[t]]", n="2*n", m="n"),
            weights("r"),
        ),
        ("r[t] = Cell(x[t]; backward)", cell("r", "x[t]", back=True), weights("r")),
        (
            "f[t] = Cell(x[t])\nr[t] = Cell(f[t]; h[0] = f[T], c[0] = f.c[T], backward)",
            cell("f", "x[t]")
            + cell("r", "f[t]", n="3", back=True)
            + "r[T+1] = f[T]\nr_c[T+1] = f_c[T]",
            weights("f") | weights("r"),
        ),
        (
            "r[t] = Cell(x[t]; depth = 3, h[0] = 0.5)",
            cell("one", "x[t]") + cell("two", "one[t]", n="3") + cell("r", "two[t]", n="3")
            + "one[0] = 0.5\ntwo[0] = 0.5\nr[0] = 0.5",
            weights("r.1", "one") | weights("r.2", "two") | weights("r.3", "r"),
        ),
        (
            "(h[t], c[t]) = Cell(x[t])\nr[t] = h[t] + 3 * c[t]",
            cell("h", "x[t]") + "r[t] = h[t] + 3 * h_c[t]",
            weights("h"),
        ),
        (
            "f[t] = Cell(x[t] + V r[t-1])\nparam V : [n, n]\nr[t] = f[t] * x[t]",
            cell("f", "(x[t] + V r[t-1])") + "param V : [n, n]\nr[t] = f[t] * x[t]",
            weights("f"),
        ),
        (
            "f[t] = Cell(x[T])\nr[t] = f[t] + f[t-1]\nf[0] = 2",
            cell("g", "x[T]") + "f[t] = g[t]\nr[t] = f[t] + f[t-1]\nf[0] = 2",
            weights("f", "g"),
        ),
    ],
    ids=["plain", "sizes", "expression", "backward", "boundaries", "depth", "results", "loop",
         "fixed"],
)  # fmt: skip
def test_as_written_out(call: str, by_hand: str, names: dict[str, str]) -> None:
    agree(net(f"{HEAD}{call}\n{LOSS}"), net(f"{HEAD}{by_hand}\n{LOSS}", ""), names, n=3)


def test_shared_weights() -> None:
    """Two calls of one named layer: one set of weights, which gains both gradients."""
    shared = """
    layer enc = Cell(m = 3, h[0] = 1)
    a[t] = enc(x[t])
    b[t] = enc(2 x[t]; h[0] = 0.5, backward)
    r[t] = a[t] + 2 * b[t]
    """
    apart = """
    a[t] = Cell(x[t]; h[0] = 1)
    b[t] = Cell(2 x[t]; h[0] = 0.5, backward)
    r[t] = a[t] + 2 * b[t]
    """
    spec = rnnc.parse(net(HEAD + shared + LOSS), n=3)
    assert set(spec.shapes) == {"enc.W", "enc.U", "enc.b"}
    names = {f"{p}.{w}": f"enc.{w}" for p in "ab" for w in "WUb"}
    agree(net(HEAD + apart + LOSS), net(HEAD + shared + LOSS), names, n=3)


def test_a_shared_stack() -> None:
    spec = rnnc.parse(
        net(HEAD + "layer e = Cell(depth = 2)\na[t] = e(x[t])\nr[t] = e(2 x[t])"), n=4
    )
    assert spec.shapes["e.1.W"] == (3, 4)
    assert spec.shapes["e.2.W"] == (3, 3)
    assert len(spec.shapes) == 6


def test_backward_is_the_reversed_sequence() -> None:
    """Steps, step numbers, fixed steps, sums: whatever a layer says of time."""
    layer = """
model Layer
input x[t] : [3]
param U : [3, 3]
d[t] = x[t-2] + x[1] * t / T + x[T] + x[2]
h[t] = tanh(U h[t-1] + d[t] + sum[t](x[t] * t))
h[0] = x[T]
x[0] = 2
k[t] = where(t == 1, 1, 0) + argmax[t](sum(x[t]))
z[t] = z[t+1] + x[t]
y[t] = [h[t], softmax[t](x[t] * t), z[t], k[t]]
output y
"""
    forward = rnnc.parse(net("input x[t] : [3]\nr[t] = Layer(x[t])\noutput r", layer))
    backward = rnnc.parse(net("input x[t] : [3]\nr[t] = Layer(x[t]; backward)\noutput r", layer))
    given = arrays_of(forward, steps=5)
    turned = given | {"x": given["x"][:, ::-1]}
    want = results(forward, turned)["r"][:, ::-1]
    np.testing.assert_allclose(results(backward, given)["r"], want, rtol=1e-12)


def test_backward_within_backward_is_forward() -> None:
    outer = "model Outer\ninput x[t] : [3]\nh[t] = Cell(x[t]; backward)\ny[t] = h[t]\noutput y"
    twice = net("dim n = 3\ninput x[t] : [n]\nr[t] = Outer(x[t]; backward)\n" + LOSS, CELL, outer)
    names = {f"r.h.{w}": f"r_{w}" for w in "WUb"}
    agree(twice, net("dim n = 3\ninput x[t] : [n]" + cell("r", "x[t]") + LOSS, ""), names)


def test_plain_functions() -> None:
    """A model without an axis is applied step by step; what no argument reaches is so once."""
    norm = """
model Norm
dim   m
input x : [m],  eps : []
param gain : [m] ~ ones
k = 2 * gain
u = x - mean(x)
y = k * u / sqrt(mean(u^2) + eps)
output y
"""
    called = "r[t] = Norm(x[t], 0.5)\nc = Norm(x[T], x[1])\n"
    called = "param v : []\nr[t] = Norm(x[t], v^2 + 1)\nc = Norm(r[T], 1)\n"
    spec = rnnc.parse(net(HEAD + called + "output r, c", norm), n=4)
    assert spec.system["r.y"].axes == ("t", "batch")
    assert spec.system["r.k"].axes == ()
    assert spec.system["c.y"].axes == ("batch",)
    by_hand = """
param v : [], a : [n], b : [n]
u[t] = x[t] - mean(x[t])
r[t] = 2 * a * u[t] / sqrt(mean(u[t]^2) + v^2 + 1)
w = r[T] - mean(r[T])
c = 2 * b * w / sqrt(mean(w^2) + 1)
output r, c
"""
    names = {"r.gain": "a", "c.gain": "b"}
    agree(net(HEAD + called + "output r, c", norm), net(HEAD + by_hand, ""), names, n=4)


def test_a_layer_of_single_steps_on_values_without_steps() -> None:
    dense = "model Dense\ndim n, k = 2\ninput x[t] : [n]\nparam W : [k, n]\ny[t] = tanh(W x[t])"
    spec = rnnc.parse(net("input v : [5]\nr = Dense(v; k = 7)", dense))
    assert spec.system["r"].axes == ("batch",)
    assert spec.shapes == {"r.W": (7, 5)}


def test_a_layer_that_sums_its_steps_up() -> None:
    encoder = "model Encoder\ndim n\ninput x[t] : [n]\nparam W : [n, n]\n" \
              "h[t] = tanh(W h[t-1] + x[t])\nlast = h[T]\noutput last, h"  # fmt: skip
    text = net(HEAD + "(c, h[t]) = Encoder(x[t])\nr[t] = h[t] + c\n" + LOSS, encoder)
    by_hand = "param W : [n, n]\nh[t] = tanh(W h[t-1] + x[t])\nr[t] = h[t] + h[T]\n" + LOSS
    agree(text, net(HEAD + by_hand, ""), {"c.W": "W"}, n=3)


def test_other_axes_come_along() -> None:
    """An LSTM over t for each s: every value that an argument reaches has both axes."""
    text = "input x[s, t] : [3], q[s] : [3]\nr[s, t] = Cell(x[s, t]; over = t, h[0] = q[s])\n"
    by_hand = """
input x[s, t] : [3], q[s] : [3]
param W, U : [3, 3], b : [3]
c[s, t] = tanh(U r[s, t-1] + W x[s, t] + b)
r[s, t] = 2 * c[s, t] * sigmoid(c[s, t-1])
r[s, 0] = q[s]
"""
    loss = "loss sum(r[s, t] * r[s, t])\noutput r"
    names = {f"r.{w}": w for w in "WUb"}
    spec = rnnc.parse(net(text + loss))
    assert spec.system["r.c"].axes == ("s", "t", "batch")
    agree(net(text + loss), net(by_hand + loss, ""), names)


def test_an_axis_of_another_name() -> None:
    text = "input z[s] : [3], x[t] : [3]\nf[t] = Cell(x[t])\nr[s] = Cell(z[s]; h[0] = f[T])\n"
    by_hand = (
        "input z[s] : [3], x[t] : [3]\n" + cell("f", "x[t]", "3") + cell("r", "z[s]", "3", at="s")
    )
    names = weights("f") | weights("r")
    loss = "loss sum(r[s] * r[s])\noutput r"
    agree(net(text + loss), net(f"{by_hand}r[0] = f[T]\n{loss}", ""), names)


def test_attention_as_a_layer() -> None:
    """The other axis is that of the argument; where it is the same one, an axis of its own."""
    attend = """
model Attend
dim   m
input q[t] : [m],  v[s] : [m]
e[t, s] = dot(q[t], v[s])
a[t, s] = softmax[s](e[t, s])
y[t] = sum[s](a[t, s] * v[s])
output y
"""
    text = "input q[u] : [3], x[t] : [3]\nr[u] = Attend(q[u], x[t])\nz[t] = Attend(x[t], x[t])"
    by_hand = """
input q[u] : [3], x[t] : [3]
axis w : T
e[u, t] = dot(q[u], x[t])
a[u, t] = softmax[t](e[u, t])
r[u] = sum[t](a[u, t] * x[t])
f[t, w] = dot(x[t], x[w])
b[t, w] = softmax[w](f[t, w])
z[t] = sum[w](b[t, w] * x[w])
"""
    agree(net(f"{text}\noutput r, z", attend), net(f"{by_hand}\noutput r, z", ""), {})


def test_an_inner_axis_of_a_result() -> None:
    model = "model A\ninput x[t] : [3]\naxis s : T\ne[t, s] = dot(x[t], x[s])\ny[t] = 2 * x[t]\n" \
            "output y, e"  # fmt: skip
    text = "input x[t] : [3]\naxis u : T\n(y[t], e[t, u]) = A(x[t])\noutput y, e"
    by_hand = (
        "input x[t] : [3]\naxis u : T\ny[t] = 2 * x[t]\ne[t, u] = dot(x[t], x[u])\noutput y, e"
    )
    agree(net(text, model), net(by_hand, ""), {})


def test_layers_within_layers() -> None:
    outer = """
model Two
dim   n, k = 2
input x[t] : [n]
layer inner = Cell(m = 2*k)
a[t] = inner(x[t])
b[t] = inner(a.x[t] * a.c[t][0:1]; backward)
""".replace(" * a.c[t][0:1]", "")
    text = net(HEAD + "r[t] = Two(x[t]; depth = 2, k = 3)\nq = r.2.a.c[T]\noutput r, q",
               CELL, outer + "y[t] = [a[t], b[t]]\noutput y")  # fmt: skip
    spec = rnnc.parse(text, n=4)
    assert spec.shapes == {
        **{"r.1.inner.W": (6, 4), "r.1.inner.U": (6, 6), "r.1.inner.b": (6,)},
        **{"r.2.inner.W": (6, 12), "r.2.inner.U": (6, 6), "r.2.inner.b": (6,)},
    }
    assert assert_all_agree(spec, batch=2, steps=3)


def test_what_a_layer_leaves_out() -> None:
    """Targets, losses and metrics, and the weights of what only they need."""
    model = """
model Trained
dim   n, k = 2, m = 3
input x[t] : [n]
param W : [m, m],  U : [m, n],  V : [k, m],  unused : [9]
h[t] = tanh(W h[t-1] + U x[t])
p[t] = softmax(V h[t])
target y[t] : index(k) ~ categorical(p[t])
loss  0.1 * sum(W * W)
metric accuracy = argmax(p[t]) == y[t]
output h
"""
    spec = rnnc.parse(net(HEAD + "r[t] = Trained(x[t])", model), n=4)
    assert spec.shapes == {"r.W": (3, 3), "r.U": (3, 4)}
    assert not spec.system.targets
    assert not spec.system.losses
    assert not spec.system.metrics
    spec = rnnc.parse(net(HEAD + "r[t] = Trained(x[t])\nz[t] = r.p[t]", model), n=4)
    assert spec.shapes.keys() == {"r.W", "r.U", "r.V"}  # its inner values can be read


def test_indices_and_tables() -> None:
    """Of how many an index is one of is told by the argument, as sizes are."""
    model = "model Embed\ndim k = 9, d = 4\ninput w[t] : index(k)\nparam E : [k, d]\ny[t] = E[w[t]]"
    spec = rnnc.parse(net("input w[t] : index(3)\nr[t] = Embed(w[t]; d = 5)", model))
    assert spec.shapes == {"r.E": (3, 5)}
    assert assert_all_agree(spec, batch=2, steps=3)


def test_sizes() -> None:
    """Given, else told by the argument, else by the layer's default, else by the equations."""
    layer = "model A\ndim n = 9, m = 4, j\ninput x[t] : [n]\nparam W : [m, n], V : [j, m]\n" \
            "h[t] = W x[t]\ny[t] = V h[t]"  # fmt: skip
    spec = rnnc.parse(net(HEAD + "param u : [6]\nf[t] = A(x[t])\nr[t] = f[t] + u", layer), n=2)
    assert spec.shapes == {"u": (6,), "f.W": (4, 2), "f.V": (6, 4)}
    spec = rnnc.parse(net("input x[t] : [2]\nparam U\nr[t] = A(U x[t]; j = 3)", layer))
    assert spec.shapes == {"U": (9, 2), "r.W": (4, 9), "r.V": (3, 4)}
    spec = rnnc.parse(net(HEAD + "r[t] = A(x[t]; j = 3)", layer), n=2, **{"r.m": 8})
    assert spec.shapes == {"r.W": (8, 2), "r.V": (3, 8)}


def test_library_layers() -> None:
    """The library's LSTM as a layer is the library's LSTM."""
    spec = rnnc.parse(
        net("use LSTM\ndim n\ninput x[t] : [n]\n(h[t], c[t]) = LSTM(x[t]; m = 5)"), n=3
    )
    alone = rnnc.load("LSTM", n=3, m=5)
    given = arrays_of(alone)
    got = results(spec, {n if n == "x" else f"h.{n}": a for n, a in given.items()})
    want = results(alone, given)
    for name in "hc":
        np.testing.assert_array_equal(got[name], want[name])


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", ["GRU", "LMU", "RWKV4", "QRNN", "PhasedLSTM", "ClockworkRNN"])
def test_library_cells_both_ways(name: str, backward: bool) -> None:
    """A cell as a layer is the cell; backward, it is the cell of the reversed sequence."""
    alone = rnnc.load(name)
    sizes = {d: s for d, s in alone.bound.dims.items() if isinstance(s, int)}
    inputs = list(alone.bound.inputs)
    options = ", ".join([*(f"{d} = {s}" for d, s in sizes.items()), *["backward"] * backward])
    declared = ", ".join(f"{v.name}[t] : {list(v.type.shape)}" for v in inputs)
    args = ", ".join(f"{v.name}[t]" for v in inputs)
    text = f"model Net\nuse {name}\ninput {declared}\nr[t] = {name}({args}; {options})"
    given = arrays_of(alone, steps=3)
    want = evaluate(alone.bound, given)[alone.system.outputs[0]]
    mine = {f"r.{v.name}": given[v.name] for v in alone.bound.params}
    mine |= {v.name: given[v.name][:, :: -1 if backward else 1] for v in inputs}
    spec = rnnc.parse(text)
    got = evaluate(spec.bound, {n: a for n, a in mine.items() if n in spec.system.values})["r"]
    np.testing.assert_allclose(got[:, :: -1 if backward else 1], want, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "Bidirectional",
            "model Rnn\ndim n, m\ninput x[t] : [n]\nparam U : [m, n], W : [m, m]\n"
            "h[t] = tanh(W h[t-1] + U x[t])\nmodel Net\ndim n, m, k\ninput x[t] : [n]\n"
            "param V, V' : [k, m]\nA[t] = Rnn(x[t]; m = m)\nA'[t] = Rnn(x[t]; m = m, backward)\n"
            "p[t] = softmax(V A[t] + V' A'[t])\n"
            "target y[t] : index(k) ~ categorical(p[t])\noutput p",
        ),
        (
            "Deep",
            "model Rnn\ndim n, m\ninput x[t] : [n]\nparam U : [m, n], W : [m, m], b : [m]\n"
            "h[t] = tanh(U x[t] + W h[t-1] + b)\nmodel Net\ndim n, m, k\ninput x[t] : [n]\n"
            "param V : [k, m], c : [k]\nh[t] = Rnn(x[t]; m = m, depth = 2)\n"
            "p[t] = softmax(V h[t] + c)\ntarget y[t] : index(k) ~ categorical(p[t])\noutput p",
        ),
    ],
)  # fmt: skip
def test_like_the_library_by_hand(name: str, text: str) -> None:
    own = {"A.U": "U", "A.W": "W", "A'.U": "U'", "A'.W": "W'"}
    own |= {f"h.{i}.{w}": f"{w}_{i}" for i in (1, 2) for w in "UWb"}
    by_hand = rnnc.load(name).source.text
    sizes = {"n": 3, "m": 4, "k": 3}
    mine = rnnc.parse(text, **sizes)
    names = {n: other for n, other in own.items() if n in mine.shapes}
    agree(text, by_hand, names, **sizes)


# ---------------------------------------------------------------- files


def test_files(tmp_path: Path) -> None:
    """Beside the spec, and from there beside the file that was read."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "net.rnn").write_text(
        'model Net\nuse Outer from "parts/outer.rnn"\ninput x[t] : [2]\nr[t] = Outer(x[t])'
    )
    (tmp_path / "parts" / "outer.rnn").write_text(
        'model Outer\nuse Cell from "cell.rnn"\ndim n\ninput x[t] : [n]\nh[t] = Cell(x[t]; m = 4)'
    )
    (tmp_path / "parts" / "cell.rnn").write_text(CELL)
    spec = rnnc.load(tmp_path / "net.rnn")
    assert spec.shapes["r.h.W"] == (4, 2)
    assert spec.files.keys() == {"parts/outer.rnn", "parts/cell.rnn"}
    # a compiled model carries all of the text
    about = spec.compile("numpy").ports.extra
    again = Spec(rnnc.source.Source(about["spec"]), about["model"], about["dims"], about["files"])
    assert again.shapes == spec.shapes


def test_links_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "cell.rnn").write_text(CELL)
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "link.rnn").symlink_to(tmp_path / "cell.rnn")
    (folder / "round.rnn").symlink_to(folder / "round.rnn")
    for name, why in (("link.rnn", "leads out of the folder"), ("round.rnn", "not there|read")):
        (folder / "net.rnn").write_text(
            f'model Net\nuse Cell from "{name}"\ninput x[t] : [2]\nr[t] = Cell(x[t])'
        )
        with pytest.raises(SpecError, match=why) as error:
            rnnc.load(folder / "net.rnn")
        assert [d.code for d in error.value.diagnostics] == ["RNN017"]


def test_a_text_has_no_neighbours() -> None:
    text = 'model Net\nuse Cell from "cell.rnn"\ninput x[t] : [2]\nr[t] = Cell(x[t])'
    with pytest.raises(SpecError, match="is looked for beside the spec, and <text> is no file"):
        rnnc.parse(text)


def test_errors_of_a_used_file(tmp_path: Path) -> None:
    (tmp_path / "net.rnn").write_text(
        'model Net\nuse Cell from "cell.rnn"\ninput x[t] : [2]\nr[t] = Cell(x[t])'
    )
    (tmp_path / "cell.rnn").write_text("model Cell\nh[t] = = 2")
    with pytest.raises(SpecError) as error:
        rnnc.load(tmp_path / "net.rnn")
    (found,) = error.value.diagnostics
    assert found.span is not None
    assert found.span.source.name.endswith("cell.rnn")
    assert found.labels[-1].text == "used here"


# ---------------------------------------------------------------- limits, texts, commands


def test_a_dim_as_depth() -> None:
    """Set from outside or by its default; the depth within a layer is a number."""
    text = net("dim layers = 2\ninput x[t] : [3]\nr[t] = Cell(x[t]; depth = layers)")
    assert "r.2.W" in rnnc.parse(text).shapes
    assert "r.3.W" not in rnnc.parse(text).shapes
    assert "r.3.W" in rnnc.parse(text, layers=3).shapes
    for wrong in (0, -1):
        with pytest.raises(SpecError, match="whole number from 1 on"):
            rnnc.parse(text, layers=wrong)
    with pytest.raises(SpecError, match="`layers` has no number yet"):
        rnnc.parse(text.replace("layers = 2", "layers"))
    assert "r.1.W" in rnnc.parse(text.replace("layers = 2", "layers"), layers=1).shapes
    inner = f"{text}\nmodel Outer\ninput x[t] : [3]\nq[t] = Net(x[t])\n"
    with pytest.raises(SpecError, match="whole number from 1 on"):
        rnnc.parse(inner, model="Outer")


def test_too_much() -> None:
    text = net("input x[t] : [3]\nr[t] = Cell(x[t]; depth = 1000000000)")
    with pytest.raises(SpecError, match="more than 20000 statements"):
        rnnc.parse(text)
    doubling = [CELL.replace("Cell", "A0")]
    for i in range(1, 30):
        doubling.append(
            f"model A{i}\ninput x[t] : [3]\na[t] = A{i - 1}(x[t])\nb[t] = A{i - 1}(a[t])"
        )
    with pytest.raises(SpecError, match="more than 20000 statements"):
        rnnc.parse("\n".join(doubling))
    chain = [CELL.replace("Cell", "A0")]
    chain += [f"model A{i}\ninput x[t] : [3]\na[t] = A{i - 1}(x[t])" for i in range(1, 60)]
    with pytest.raises(SpecError, match="more than 40 layers within each other"):
        rnnc.parse("\n".join(chain))


def test_a_mistake_in_a_layer_shows_the_calls() -> None:
    outer = "model Outer\ninput x[t] : [3]\nh[t] = Cell(x[t])"
    broken = CELL.replace("+ b)", "+ B)")
    with pytest.raises(SpecError) as error:
        rnnc.parse(net("input x[t] : [3]\nr[t] = Outer(x[t])\nq[t] = Cell(x[t])", broken, outer))
    (found,) = error.value.diagnostics
    assert [x.text for x in found.labels] == ["in this call of Cell", "in this call of Outer"]
    assert [x.span.text for x in found.labels] == ["Cell(x[t])", "Outer(x[t])"]


def test_nothing_of_the_caller_is_read_by_accident() -> None:
    layer = "model A\ninput x[t] : [3]\nh[t] = x[t] + secret[t]"
    with pytest.raises(SpecError, match="unknown name `secret`"):
        rnnc.parse(net("input x[t] : [3], secret[t] : [3]\nr[t] = A(x[t])", layer))


def test_names_of_the_model_come_first() -> None:
    """A value of the model named like a model of the file is no layer."""
    spec = rnnc.parse(net("input x[t] : [3]\nparam Cell : [3, 3]\nr[t] = Cell(x[t])"))
    assert spec.shapes == {"Cell": (3, 3)}


def test_printed_and_drawn() -> None:
    text = net(HEAD + "f[t] = Cell(x[t]; m = 4)\nr[t] = Cell(f[t]; m = 4, backward)\n" + LOSS)
    spec = rnnc.parse(text, n=3)
    again = rnnc.parse(str(spec))
    given = arrays_of(spec)
    renamed = {n.replace(".", "_"): a for n, a in given.items()}
    np.testing.assert_allclose(results(again, renamed)["r"], results(spec, given)["r"])
    gradients = rnnc.parse(spec.diff())
    assert {f"d_{n.replace('.', '_')}" for n in spec.shapes} <= set(gradients.system.outputs)
    assert re.search(r"f_h\[t-1\]", str(spec))
    assert re.search(r"r_h\[t\+1\]", str(spec))
    assert "δ_f_c" in spec.diff()
    spec.table()
    spec._repr_latex_()


def test_all_routes() -> None:
    text = net(HEAD + "f[t] = Cell(x[t]; m = 4, depth = 2)\nr[t] = Cell(f[t]; backward)\n" + LOSS)
    assert_all_agree(rnnc.parse(text, n=3), batch=2, steps=4)


def test_all_of_it_at_once() -> None:
    """Two axes, shared weights, a stack, functions, layers within layers, on every route."""
    text = """
model Norm
dim m
input x : [m]
param gain : [m] ~ ones
u = x - mean(x)
y = gain * u
output y

model Cell
dim    n, m = 3
input  x[t] : [n], q[s] : [m]
param  W : [m, n],  U : [m, m],  b : [m] ~ ones
e[t, s] = dot(q[s], h[t-1])
nn[t] = Norm(b; m = m)
c[t] = tanh(U h[t-1] + W x[t] + b + sum[s](e[t,s] * q[s]))
h[t] = 2 * c[t] * sigmoid(c[t-1])
h[0] = 1
target y[t] : [m] ~ normal(h[t], 1)
output h, c

model Net
use LSTM
dim n, k = 3
input x[t] : [n], z[s] : [3], w[s, t] : [n]
layer enc = Cell(m = 3, h[0] = z[1])
f[t] = enc(x[t], z[s]; backward)
g[s] = enc(w[s, T], x[t]; over = s)
(a[t], b[t]) = LSTM(x[t]; m = k, depth = 2, c[0] = f.c[T])
r[s, t] = LSTM(w[s, t]; over = t, m = 2, h[0] = 3)
d = Norm(f[T])
v[t] = Norm([a[t], f.c[t]])
output v, d, r, b
"""
    spec = rnnc.parse(text, n=3)
    assert spec.system["r.h"].axes == ("s", "t", "batch")
    assert_all_agree(spec, batch=2, steps=3)


def test_streams() -> None:
    """A layer's states are carried like any other."""
    spec = rnnc.parse(net(HEAD + "r[t] = Cell(x[t]; h[0] = 1)"), n=3)
    w, x = spec.init(dtype="float64"), np.random.default_rng(0).normal(size=(2, 4, 3))
    stream = spec.stream(weights=w, dtype="float64")
    steps = np.stack([stream(x=x[:, t])["r"] for t in range(4)], axis=1)
    np.testing.assert_allclose(steps, evaluate(spec.bound, {"x": x, **w})["r"], rtol=1e-12)
    assert set(stream.states) == {"r.h.prev", "r.c.prev"}
