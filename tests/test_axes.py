"""Several time axes: whatever a spec is compiled to does what its equations say.

Each case is one form that papers use. Rolled, with all axes unrolled and with each of them alone,
and step by step where that is possible, NumPy and ONNX give what the reference gives; so do the
gradients, which are also compared with central differences.
"""

from __future__ import annotations

import numpy as np
import pytest

import rnnc
from rnnc.cli.explain import explanation
from rnnc.compiler import Options, plan_of
from rnnc.graph.diagram import diagram
from rnnc.graph.draw import draw
from rnnc.passes.plan import Loop
from rnnc.passes.unroll import unroll as unrolled
from rnnc.source import SpecError, UsageError
from rnnc.testing import assert_all_agree, assert_gradients_agree, check_gradients, random_weights

HEAD = "dim n, m = 3, k = 4\n"

GRID = (
    HEAD
    + """\
input x[i, j] : [n]
param U : [m, n],  W, V : [m, m],  b : [m]
"""
)

FORMS = {
    # h[i, j] from its two neighbours: both loops, the second inside the first
    "grid": GRID + "h[i, j] = tanh(U x[i, j] + W h[i-1, j] + V h[i, j-1] + b)",
    "grid_boundaries": GRID
    + """
h[0, j] = tanh(U x[1, j])
h[i, 0] = b
h[i, j] = tanh(U x[i, j] + W h[i-1, j] + V h[i, j-1])
c = h[I, J]
output h, c
""",
    "corner": GRID
    + """
h[0, j] = 0.5
h[i, 0] = b
h[i, j] = tanh(U x[i, j] + W h[i-1, j] + V h[i, j-1] + 0.3 * h[i-1, j-1])
""",
    "corner_alone": GRID + "h[i, j] = tanh(U x[i, j] + W h[i-1, j-1])",
    "far_corners": GRID
    + """
h[i, 0] = 0.25
h[i, -1] = b
h[-1, j] = 0.5
h[i, j] = tanh(U x[i, j] + W h[i-2, j-1] + V h[i-1, j-2] + 0.3 * h[i-1, j+1])
""",
    "down_and_left": GRID + "h[i, j] = tanh(U x[i, j] + W h[i-1, j] + V h[i, j+1] + b)",
    "four_directions": GRID
    + """
a[i, j] = tanh(U x[i, j] + W a[i-1, j] + V a[i, j-1])
c[i, j] = tanh(U x[i, j] + W c[i-1, j] + V c[i, j+1])
d[i, j] = tanh(U x[i, j] + W d[i+1, j] + V d[i, j-1])
e[i, j] = tanh(U x[i, j] + W e[i+1, j] + V e[i, j+1])
o[i, j] = a[i, j] + c[i, j] * d[i, j] - e[i, j]
output o
""",
    # rows, each of which is a sequence of its own: one loop, over all rows at once
    "lstm_of_rows": HEAD
    + """
input x[s, t] : [n]
param W, V : [4*m, n],  U : [4*m, m],  b : [4*m]
(i[s, t], f[s, t], o[s, t], g[s, t]) = split(W x[s, t] + U h[s, t-1] + b, 4)
c[s, t] = sigmoid(f[s, t]) * c[s, t-1] + sigmoid(i[s, t]) * tanh(g[s, t])
h[s, t] = sigmoid(o[s, t]) * tanh(c[s, t])
""",
    "loop_over_the_first": GRID + "h[i, j] = tanh(U x[i, j] + W h[i+1, j] + b)",
    "loop_over_the_second": GRID + "h[i, j] = tanh(U x[i, j] + W h[i, j+1] + b)",
    # hierarchical: words of sentences, then sentences
    "hierarchical": HEAD
    + """
input x[s, t] : [n]
param U : [m, n],  W, A, B : [m, m]
h[s, t] = tanh(U x[s, t] + W h[s, t-1])
d[s] = tanh(A h[s, T] + B d[s-1])
h[s, 0] = d[s-1]
""",
    # the line after starts where the line before ended
    "wavefront": HEAD
    + """
input x[t, j] : [n]
param U : [m, n],  W : [m, m]
s[t, j] = tanh(U x[t, j] + W s[t, j-1])
s[t, 0] = s[t-1, J]
output s
""",
    "attention": HEAD
    + """
axis  s : S
input x[t] : [n],  y[s] : [m]
param U : [m, n],  W, R, Q, C, D : [m, m],  v : [m]
f[t] = tanh(U x[t] + W f[t-1])
g[t] = tanh(U x[t] + W g[t+1])
h[t] = f[t] + g[t]
d[0] = tanh(g[1])
e[s, t] = dot(v, tanh(Q d[s-1] + R h[t]))
a[s, t] = softmax[t](e[s, t])
c[s] = sum[t](a[s, t] * h[t])
d[s] = tanh(D d[s-1] + C c[s] + y[s])
output d, a
""",
    "translation": HEAD
    + """
axis  s : S
input x[t] : index(k)
param E, O : [k, m],  W, Q, D : [m, m]
h[t] = tanh(E[x[t]] + W h[t-1])
d[0] = h[T]
y[0] = 0
a[s, t] = softmax[t](dot(Q d[s-1], h[t]))
d[s] = tanh(D d[s-1] + E[y[s-1]] + sum[t](a[s, t] * h[t]))
p[s] = softmax(O d[s])
target y[s] : index(k) ~ categorical(p[s])
metric accuracy = argmax(p[s]) == y[s]
output p, a
""",
    "self_attention": HEAD
    + """
axis  u : T
input x[t] : [n]
param Q, K, V : [m, n]
q[t] = Q x[t]
a[t, u] = softmax[u](where(u <= t, dot(q[t], K x[u]) / sqrt(m), -inf))
o[t] = sum[u](a[t, u] * (V x[u]))
b[t, u] = a[u, t]
output o, a, b
""",
    "recurrent_self_attention": HEAD
    + """
axis  u : T
input x[t] : [n]
param Q, K : [m, n],  W : [m, m]
a[t, u] = softmax[u](dot(Q x[t], K x[u]))
z[t] = tanh(W z[t-1] + sum[u](a[t, u] * (K x[u])))
w[u] = z[u-1] * a[T, u]
output z, w
""",
    "pooling": HEAD
    + """
axis  s : S
input x[s, t] : [n]
param U : [m, n],  W : [m, m]
h[s, t] = tanh(U x[s, t] + W h[s-1, t])
a[s] = max[t](h[s, t])
b[t] = mean[s](h[s, t])
c[s] = logsumexp[t](h[s, t])
d[s] = argmax[t](sum(h[s, t]))
e[t] = min[s](h[s, t]) + norm[s](h[s, t])
f = sum[s](max[t](h[s, t]))
g[t] = g[t-1] + b[t] * e[t]
output a, b, c, d, f, g
""",
    "targets_of_two_axes": GRID
    + """
h[i, j] = tanh(U x[i, j] + W h[i-1, j] + V h[i, j-1])
target y[i, j] : [m] ~ normal(h[i, j], 1) when i <= j
loss total = sum(h[I, j]^2)
metric size = norm(h[i, j])
output h
""",
    "fixed_length": HEAD
    + """
axis  s : S = 3
input x[t] : [n]
param U : [m, n],  W, V : [m, m]
h[t, 0] = U x[t]
h[t, s] = tanh(W h[t-1, s] + V h[t, s-1])
y[t] = h[t, S]
z[t] = sum[s](where(s > 1, h[t, s], 0))
output y, z
""",
    # nothing that is given has a length S: the caller gives it
    "length_at_run_time": HEAD
    + """
axis  s : S
input x[t] : [n]
param U : [m, n],  W : [m, m]
h[0] = tanh(U x[T])
h[s] = tanh(W h[s-1]) / S + s
o[s, t] = h[s] * (h[s-1] + tanh(U x[t]))
output o, h
""",
    "three_axes": HEAD
    + """
input x[i, j, l] : [n]
param U : [m, n],  W, V, R : [m, m],  b : [m]
h[i, j, l] = tanh(U x[i, j, l] + W h[i-1, j, l] + V h[i, j-1, l] + R h[i, j, l-1])
h[i, j, 0] = b
o[i, j] = sum[l](h[i, j, l])
output h, o
""",
    # each loop starts from the end of the loop inside it
    "three_loops": HEAD
    + """
input x[r, s, t] : [n]
param U : [m, n],  W, V, Q : [m, m]
h[r, s, t] = tanh(U x[r, s, t] + W h[r, s, t-1])
h[r, s, 0] = d[r, s-1]
d[r, s] = tanh(V d[r, s-1] + h[r, s, T])
d[r, 0] = e[r-1]
e[r] = tanh(Q e[r-1] + d[r, S])
""",
    "fixed_steps": GRID
    + """
h[i, j] = tanh(U x[i, j] + W h[i-1, j] + V h[i, j-1])
a[j] = h[I, j-1] + h[1, j]
c[i] = U x[i, 1] + h[i-1, J-1]
d[i, j] = h[i, 2] * h[I-1, j] + h[i, J+1] + h[0, j]
e = h[I, 1] - h[1, J]
output a, c, d, e
""",
    "kinds": """\
dim m = 3, k = 4
input w[i, j] : index(k),  on[i, j] : flag
param E : [k, m],  W : [m, m]
n[i, j] = n[i, j-1] + where(on[i, j], 1, 0)
n[i, 0] = 0
n[0, j] = j
odd[i, j] = n[i-1, j] % 2 == 1
odd[i, J+1] = 1 > 2
w[i, 0] = 1
h[i, j] = where(odd[i, j+1], tanh(E[w[i, j-1]] + W h[i-1, j]), 0.5 * h[i-1, j])
output h, n, odd
""",
    "lags_along_both": GRID
    + """
x[0, j] = 0.5
x[i, 0] = -1
y[i, j] = U x[i-1, j-1] + U x[i, j-2] + U x[i+1, j+1]
h[i, j] = tanh(W h[i-1, j] + y[i, j] + b)
""",
    "positions": HEAD
    + """
axis  s : S
input x[s, t] : [n]
param U : [m, n]
h[s, t] = tanh(U x[s, t]) * (s - t) / (S + T) + h[s, t-1] / s
""",
    "in_and_out_of_an_axis": HEAD
    + """
input x[t] : [n],  y[s] : [n]
param U, V : [m, n],  W : [m, m]
c[s, t] = tanh(U x[t] + V y[s])
d[t] = max[s](c[s, t]) + W d[t-1]
e[s] = d[T] * e[s-1] + c[s, 1]
""",
}
LENGTHS = {"i": 3, "j": 4, "l": 2, "r": 2, "s": 3, "t": 4}


def made(name: str) -> rnnc.Spec:
    text = "model Case\n" + FORMS[name]
    return rnnc.parse(text, **({"n": 2} if "dim n," in text else {}))


@pytest.mark.parametrize("name", FORMS)
def test_forms(name: str) -> None:
    spec = made(name)
    errors = assert_all_agree(spec, batch=2, steps=LENGTHS)
    lengths = {spec.system.axes[a].length for a in spec.system.time_axes()}
    alone = [f for f in errors if f.startswith("numpy unrolled ")]
    assert len(alone) == (len(lengths) if len(lengths) > 1 else 0)


@pytest.mark.parametrize("name", FORMS)
def test_gradients(name: str) -> None:
    spec = made(name)
    assert_gradients_agree(spec, batch=2, steps=LENGTHS)
    check_gradients(spec, batch=2, steps=LENGTHS)


@pytest.mark.parametrize("name", FORMS)
def test_one_step_each(name: str) -> None:
    """Sequences of a single step find boundaries everywhere."""
    assert_all_agree(made(name), batch=2, steps=1)


def test_train_runs() -> None:
    spec = made("translation")
    rng = np.random.default_rng(0)
    data = {"x": rng.integers(0, 4, (2, 5)), "y": rng.integers(0, 4, (2, 3))}
    losses = []
    for backend in ("numpy", "onnx"):
        model = spec.compile(backend, mode="train")
        weights = spec.init(0)
        state = {
            p.name: np.zeros(p.dims, np.float32 if p.kind == "real" else int)
            for p in model.ports.inputs
            if p.role == "state"
        }
        for _ in range(3):
            out = model.run({**data, **state, "lr": 0.05}, weights=weights)
            after = dict(model.ports.updates)
            weights = {n: out[after[n]] for n in weights}
            state = {n: out[after[n]] for n in state}
            losses.append(float(out["loss"]))
    assert losses[0] > losses[2] > 0
    np.testing.assert_allclose(losses[:3], losses[3:], rtol=1e-4)


# ---------------------------------------------------------------- what they compile to


def test_loops_nest() -> None:
    """One loop for each axis of a recurrence, the inner one in the outer one's body."""
    plan = plan_of(made("three_axes").system, Options())
    depth, body = [], plan.body
    while loops := [s for s in body if isinstance(s, Loop)]:
        (loop,) = loops
        depth.append((loop.axis, loop.forward))
        body = loop.body
    assert depth == [("i", True), ("j", True), ("l", True)]


def test_what_does_not_recur_is_no_loop() -> None:
    """A loop over one axis has all steps of the other at once."""
    for name, axis, forward in (
        ("loop_over_the_first", "i", False),
        ("loop_over_the_second", "j", False),
        ("lstm_of_rows", "t", True),
    ):
        (loop,) = plan_of(made(name).system, Options()).loops
        assert (loop.axis, loop.forward) == (axis, forward)
        assert not any(isinstance(s, Loop) for s in loop.body)
    assert not plan_of(made("self_attention").system, Options()).loops


def test_a_length_that_no_data_has_is_given() -> None:
    spec = made("length_at_run_time")
    model = spec.compile("numpy", weights=random_weights(spec))
    assert [p.name for p in model.ports.inputs] == ["x", "S"]
    for rows in (1, 4):
        out = model(x=np.zeros((2, 3, 2)), S=rows)
        assert out["o"].shape == (2, rows, 3, 3)
    # axes of one length have it from the data of either
    assert [p.name for p in made("self_attention").compile("onnx").ports.inputs] == ["x"]


def test_unrolling_one_axis_leaves_the_other() -> None:
    system = made("grid").system
    assert not plan_of(system, Options(unroll={"i": 2, "j": 3})).loops
    assert not plan_of(system, Options(unroll=2)).loops
    loops = plan_of(system, Options(unroll={"i": 2})).loops
    assert [loop.axis for loop in loops] == ["j", "j"]


@pytest.mark.parametrize(
    ("unroll", "part"),
    [
        ({"q": 2}, "no axis q to unroll; it has i, j"),
        ({"i": 0}, "at least one step"),
        ({"i": 500, "j": 500}, "unroll fewer"),
    ],
)
def test_wrong_counts(unroll: dict[str, int], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        made("grid").compile("numpy", unroll=unroll)


def test_explained(rnnc_out) -> None:
    """``rnnc compile --explain`` tells of the loop inside, and of what is computed before it."""
    text = rnnc_out("grid")
    assert "over i, forward (from 1 to I), in each step over j, forward (from 1 to J):" in text
    inner = "  in each step a loop over j, forward:\n    from step to step: h[i,j-1] [batch, 3]"
    assert inner in text
    text = rnnc_out("attention")
    assert "before it, once for all that its steps read:" in text
    assert "unrolled, 3 steps of s and 4 steps of t" in rnnc_out("attention", {"s": 3, "t": 4})


@pytest.fixture
def rnnc_out():
    def out(name: str, unroll: dict[str, int] | None = None) -> str:
        return explanation(made(name), Options("predict", unroll, backend="numpy"))

    return out


@pytest.mark.parametrize(
    "unroll", [None, 2, {"s": 2}, {"i": 2}, {"s": 2, "t": 3}, {"j": 2, "i": 3}]
)
@pytest.mark.parametrize("name", ["grid_boundaries", "attention", "hierarchical", "three_axes"])
def test_drawn(name: str, unroll: dict[str, int] | int | None) -> None:
    spec = made(name)
    if isinstance(unroll, dict) and not unroll.keys() <= set(spec.system.time_axes()):
        return
    system = spec.bound if unroll is None else unrolled(spec.bound, unroll)
    picture = diagram(system)
    assert not any("@" in line for node in picture.nodes for line in node.lines)
    assert draw(system, "svg").startswith("<svg")
    if unroll is None and name == "three_axes":
        assert "loop over i, forward; within it j, forward; within it l, forward" in str(
            picture.groups
        )


@pytest.mark.parametrize("axes", [("u", "t"), ("t", "u")])
def test_axes_of_one_length_do_not_stream(axes: tuple[str, str]) -> None:
    """A step knows one step of an axis, not the same step of the other."""
    a, b = axes
    spec = rnnc.parse(f"model M\naxis u : T\ninput x[t] : [2]\ny[{a}] = x[{a}]\nz[{b}] = y[{b}]\n"
                      f"output z, y")  # fmt: skip
    with pytest.raises(SpecError, match="RNN042"):
        spec.stream(weights={})


@pytest.mark.parametrize("name", FORMS)
def test_printed_forms_read_back(name: str) -> None:
    """The text of a system says the same, boundaries on every axis included."""
    spec = made(name)
    again = rnnc.parse(str(spec), **spec.sizes)
    weights = random_weights(spec)
    data = rnnc.testing.random_data(spec, 2, LENGTHS)
    wanted, out = (
        rnnc.testing.reference(s, data, weights, batch=2, steps=LENGTHS) for s in (spec, again)
    )
    assert wanted.keys() == out.keys()
    for key, array in wanted.items():
        np.testing.assert_allclose(out[key], array, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    "name", ["grid_boundaries", "corner", "hierarchical", "translation", "attention", "pooling",
             "recurrent_self_attention", "targets_of_two_axes", "three_loops", "wavefront"]
)  # fmt: skip
def test_printed_gradients_read_back(name: str) -> None:
    """``rnnc diff`` prints a spec; compiled, it gives the gradients."""
    spec = made(name)
    system = spec.bound
    data = rnnc.testing.random_data(spec, 2, LENGTHS)
    weights = random_weights(spec)
    outputs = [n for n in system.outputs if system[n].type.kind == "real" and not system.losses]
    out = rnnc.testing.reference(spec, data, weights, batch=2, steps=LENGTHS)
    rng = np.random.default_rng(0)
    seeds = {f"d_{n}": rng.standard_normal(out[n].shape) for n in outputs}
    wanted = spec.compile("numpy", mode="grad", weights=weights, dtype="float64").run(
        {**data, **seeds} if not system.losses else data
    )
    printed = rnnc.parse(spec.diff(), **spec.sizes)
    model = printed.compile("numpy", weights=weights, dtype="float64")
    takes = {p.name for p in model.ports.inputs}
    found = model.run({n: a for n, a in {**data, **seeds}.items() if n in takes})
    for param in spec.shapes:
        a, b = wanted[f"d_{param}"], found[f"d_{param}"]
        if b.ndim > a.ndim:  # once for each sequence where data reaches it
            b = b[0] if np.ptp(b, axis=0).max() < 1e-12 else b.mean(axis=0)
        np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-11)


def test_arrays_are_as_written() -> None:
    text = """
model Written
axis u : T
axis s : S
input x[t] : [3],  z[t, s] : [2]
a[t, u] = dot(x[t], x[u])
b[u, t] = a[t, u]
c[t, s] = sum(z[t, s])
output a, b, c
"""
    x, z = np.ones((2, 4, 3)), np.ones((2, 4, 5, 2))
    out = rnnc.parse(text).compile(weights={})(x=x * np.arange(4)[:, None], z=z)
    assert out["a"].shape == (2, 4, 4)
    assert out["c"].shape == (2, 4, 5)
    swapped = rnnc.parse(
        text.replace("z[t, s] :", "z[s, t] :")
        .replace("c[t, s]", "c[s, t]")
        .replace("z[t, s])", "z[s, t])")
    )
    assert swapped.compile(weights={})(x=x, z=z.swapaxes(1, 2))["c"].shape == (2, 5, 4)


REGRESSIONS = {
    # what a recurrence multiplies with is spread, and needs all steps of the loop's own axis
    "all_rows": """
model Rows
axis s : S
axis t : T
input x[s, t] : [2], y[s] : [2], z[t] : [2]
param b : [2]
w[s, t] = y[s] * z[t]
v[s, t] = sin(softmax[s](w[s, t]) * v[s+1, t-2] + x[s, t] + b)
output v
""",
    "all_steps": """
model Steps
axis s : S
axis t : T
input x[s, t] : [2], a[s, t] : []
param W : [2, 2], b : [2]
w[s, t] = a[s, t] * b
v[s, t] = sin(softmax[t](w[s, t]) * (W v[s, t-1]) + x[s, t])
output v
""",
    # an output that is known before the first step of the axis that is streamed
    "known_before": """
model Known
axis s : S
axis t : T
input x[t] : [2], z[s] : [2]
param W : [2, 2]
v = sin(W z[S])
w[t] = tanh(W w[t-1] + x[t] + v)
output v, w
""",
    # axes called as the letters of products are
    "letters": """
model Letters
input x[i, j] : [2]
param W : [2, 2]
h[i, j] = tanh(W h[i-1, j])
h[0, j] = r
r = W x[I, J]
""",
    # a member of a recurrence that is the same at every step, and is kept of all of them
    "same": """
model Same
input x[u] : [2], z[i] : [2]
v[u, i] = sin(z[i] - v[u-1, 0] + x[u])
output v
""",
    "same_last": """
model SameLast
axis s : S
axis u : T
input y[t] : [2], z[s] : [2]
param E : [2, 2]
v[s, t, u] = sin(E (v[S-1, t, u+1] + v[s-1, t, u]) + v[s, 0, u+1] + z[s] * y[t])
w[u] = v[S, 2, u+1]
output w
""",
}


@pytest.mark.parametrize("name", REGRESSIONS)
def test_regressions(name: str) -> None:
    spec = rnnc.parse(REGRESSIONS[name])
    for count in (1, 2, 3):
        steps = {a: count + (a in "su") for a in spec.system.time_axes()}
        steps |= {a: steps["t"] for a in steps if spec.system.axes[a].length == "T"}
        errors = assert_all_agree(spec, batch=2, steps=steps)
        errors |= assert_gradients_agree(spec, batch=2, steps=steps)
        assert max(errors.values()) < 1e-10
