"""The oracle against explicit loops over NumPy arrays, system by system."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from rnnc.graph.ops import OPS
from rnnc.graph.system import Axis, System, Value
from rnnc.graph.types import (
    FIRST,
    FLAG,
    INDEX,
    LAST,
    REAL,
    Array,
    Bound,
    Index,
    Kind,
    Read,
    Size,
    Type,
    dim,
    read,
)
from rnnc.runtime.reference import DEFINED, evaluate
from rnnc.source import DataError, InternalError, UsageError

NDA = NDArray[Any]
B, T, S, N, M = 3, 5, 4, 2, 3
LENGTHS = {"s": "S", "t": "T", "u": "T", "i": "I", "j": "J", "batch": "B"}


def vector(*shape: Size) -> Type:
    return Type("real", shape)


def v(
    name: str,
    op: str,
    *reads: str | Read,
    over: str = "",
    type: Type = REAL,
    bounds: Sequence[Bound] = (),
    **attrs: Hashable,
) -> Value:
    """``v("h", "tanh", "a", over="t batch")`` is the value h[t] = tanh(a[t]) of every sequence."""
    operands = tuple(Read(r) if isinstance(r, str) else r for r in reads)
    if "reduces" in attrs:
        attrs["over"] = attrs.pop("reduces")
    return Value(name, op, operands, type, tuple(over.split()), (*attrs.items(),), tuple(bounds))


def run_all(
    values: Sequence[Value], data: Mapping[str, NDA], *outputs: str, **options: Any
) -> list[NDA]:
    axes = {name: Axis(name, length) for name, length in LENGTHS.items()}
    system = System("test", {value.name: value for value in values}, axes, outputs)
    results = evaluate(system, data, **options)
    assert list(results) == list(outputs)
    return list(results.values())


def run(values: Sequence[Value], data: Mapping[str, NDA], output: str, **options: Any) -> NDA:
    return run_all(values, data, output, **options)[0]


def at(source: str, **index: Index) -> Read:
    return read(source, index)


def bound(axis: str, step: int, source: str | Read, base: str = FIRST) -> Bound:
    """``bound("t", 0, "c")`` is the boundary h[0] = c; from ``LAST``, step 1 is T+1."""
    offset = step - 1 if base == FIRST else step
    return Bound(axis, Index(base, offset), Read(source) if isinstance(source, str) else source)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


X = v("x", "input", over="t batch", type=vector(N))
W = v("W", "param", type=vector(M, M))
U = v("U", "param", type=vector(M, N))


def product(name: str, left: str | Read, right: str | Read, over: str = "t batch") -> Value:
    letters: dict[str, Any] = {"left": "ij", "right": "j", "out": "i"}
    return v(name, "contract", left, right, over=over, type=vector(M), **letters)


def test_every_op_is_defined() -> None:
    assert OPS.keys() - {"native"} <= DEFINED  # which the equations are compared with


# ---------------------------------------------------------------- recurrences


def tanh_rnn(*bounds: Bound) -> list[Value]:
    return [
        *(X, W, U, v("b", "param", type=vector(M))),
        product("Wh", "W", at("h", t=Index("t", -1))),
        product("Ux", "U", "x"),
        v("Wh+Ux", "add", "Wh", "Ux", over="t batch", type=vector(M)),
        v("a", "add", "Wh+Ux", "b", over="t batch", type=vector(M)),
        v("h", "tanh", "a", over="t batch", type=vector(M), bounds=bounds),
    ]


def test_tanh_rnn(rng: np.random.Generator) -> None:
    x, w = rng.normal(size=(B, T, N)), rng.normal(size=(M, M))
    u, b = rng.normal(size=(M, N)), rng.normal(size=M)
    h = np.zeros((B, T, M))
    for k in range(B):
        state = np.zeros(M)
        for t in range(T):
            h[k, t] = state = np.tanh(w @ state + u @ x[k, t] + b)
    given = {"x": x, "W": w, "U": u, "b": b}
    assert_allclose(run(tanh_rnn(), given, "h"), h, rtol=1e-12)
    # each sequence by itself, and single steps of the whole
    alone = [run(tanh_rnn(), {**given, "x": x[k : k + 1]}, "h")[0] for k in range(B)]
    assert_allclose(alone, h, rtol=1e-12)
    ends = [
        v("last", "copy", at("h", t=Index(LAST)), over="batch", type=vector(M)),
        v("third", "copy", at("h", t=Index(FIRST, 2)), over="batch", type=vector(M)),
        v("before", "copy", at("h", t=Index(LAST, -3)), over="batch", type=vector(M)),
        v("outside", "copy", at("h", t=Index(LAST, -7)), over="batch", type=vector(M)),
    ]
    found = run_all([*tanh_rnn(), *ends], given, "last", "third", "before", "outside")
    for got, want in zip(found, (h[:, -1], h[:, 2], h[:, 1], 0 * h[:, 0]), strict=True):
        assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize(("axes", "shape"), [("", (M,)), ("batch", (M,)), ("", ()), ("batch", ())])
def test_initial_state(axes: str, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    """h[0] of one vector for all sequences, of one for each, and of a scalar, which fills."""
    x, w, u = rng.normal(size=(B, T, N)), rng.normal(size=(M, M)), rng.normal(size=(M, N))
    c = rng.normal(size=(B, *shape) if axes else shape)
    h = np.zeros((B, T, M))
    for b in range(B):
        state = (c[b] if axes else c) * np.ones(M)
        for t in range(T):
            h[b, t] = state = np.tanh(w @ state + u @ x[b, t])
    values = [*tanh_rnn(bound("t", 0, "c")), v("c", "input", over=axes, type=vector(*shape))]
    given = {"x": x, "W": w, "U": u, "b": np.zeros(M), "c": c}
    assert_allclose(run(values, given, "h"), h, rtol=1e-12)


def test_two_boundaries() -> None:
    """h[t] = h[t-1] + 10 h[t-2] + x[t], with h[0] and h[-1] given."""
    values = [
        v("x", "input", over="t"),
        *(v("c", "param"), v("d", "param"), v("ten", "constant", value=10.0)),
        v("far", "mul", "ten", at("h", t=Index("t", -2)), over="t"),
        v("sum", "add", at("h", t=Index("t", -1)), "far", over="t"),
        v("h", "add", "sum", "x", over="t", bounds=(bound("t", 0, "c"), bound("t", -1, "d"))),
        v("further", "copy", at("h", t=Index("t", -4)), over="t"),
    ]
    x = np.arange(1.0, T + 1)
    h = {0: 3.0, -1: 7.0}
    for t in range(1, T + 1):
        h[t] = h[t - 1] + 10 * h[t - 2] + x[t - 1]
    found = run_all(values, {"x": x, "c": np.array(3.0), "d": np.array(7.0)}, "h", "further")
    assert_allclose(found[0], [h[t] for t in range(1, T + 1)])
    assert_allclose(found[1], [7, 7, 7, 3, h[1]])


def test_backward(rng: np.random.Generator) -> None:
    """g[t] = tanh(x[t] * g[t+1] + x[1]), g[T+1] = c; the read of a first step, and of x[t-1]."""
    values = [
        *(v("x", "input", over="t batch"), v("c", "param")),
        v("xg", "mul", "x", at("g", t=Index("t", 1)), over="t batch"),
        v("a", "add", "xg", at("x", t=Index(FIRST)), over="t batch"),
        v("g", "tanh", "a", over="t batch", bounds=(bound("t", 1, "c", LAST),)),
        v("late", "copy", at("x", t=Index("t", -1)), over="t batch"),
    ]
    x = rng.normal(size=(B, T))
    g = np.zeros((B, T + 1))
    g[:, T] = 0.7
    for t in reversed(range(T)):
        g[:, t] = np.tanh(x[:, t] * g[:, t + 1] + x[:, 0])
    got, late = run_all(values, {"x": x, "c": np.array(0.7)}, "g", "late")
    assert_allclose(got, g[:, :T], rtol=1e-12)
    assert_array_equal(late, np.hstack([np.zeros((B, 1)), x[:, :-1]]))


def test_boundaries_after_the_last_step() -> None:
    bounds = (bound("t", 1, "c", LAST), bound("t", 3, "d", LAST))
    values = [
        v("x", "input", over="t", bounds=bounds),
        *(v("c", "constant", value=50.0), v("d", "constant", value=60.0)),
        v("y", "copy", at("x", t=Index("t", 3)), over="t"),
    ]
    assert_array_equal(run(values, {"x": np.arange(1.0, 5)}, "y"), [4, 50, 50, 60])


def test_boundary_of_an_input() -> None:
    values = [
        v("x", "input", over="t", type=INDEX, bounds=(bound("t", 0, "start"),)),
        v("start", "constant", type=INDEX, value=4),
        v("late", "copy", at("x", t=Index("t", -2)), over="t", type=INDEX),
        v("flag", "input", over="t", type=FLAG),
        v("early", "copy", at("flag", t=Index("t", 1)), over="t", type=FLAG),
    ]
    given = {"x": np.arange(1, 4), "flag": np.array([True, True, True])}
    late, early = run_all(values, given, "late", "early")
    assert_array_equal(late, [4, 4, 1])
    assert_array_equal(early, [True, True, False])


def test_rows_that_go_on(rng: np.random.Generator) -> None:
    """s[t, j] = tanh(s[t, j-1] + x[t, j] * s[t-1, j]), where s[t, 0] = s[t-1, J]."""
    rows, columns = 3, 4
    wrap = bound("j", 0, at("s", t=Index("t", -1), j=Index(LAST)))
    values = [
        v("x", "input", over="t j batch"),
        v("xs", "mul", "x", at("s", t=Index("t", -1)), over="t j batch"),
        v("a", "add", at("s", j=Index("j", -1)), "xs", over="t j batch"),
        v("s", "tanh", "a", over="t j batch", bounds=(wrap, bound("t", 0, "c"))),
        v("c", "param"),
        v("corner", "copy", at("s", t=Index(FIRST, -1), j=Index(FIRST, -1)), over="batch"),
    ]
    x = rng.normal(size=(B, rows, columns))
    s = np.zeros((B, rows, columns))
    for b in range(B):
        left = 0.3  # s[0, J]
        for t in range(rows):
            for j in range(columns):
                above = s[b, t - 1, j] if t else 0.3
                s[b, t, j] = left = np.tanh(left + x[b, t, j] * above)
    got, corner = run_all(values, {"x": x, "c": np.array(0.3)}, "s", "corner")
    assert_allclose(got, s, rtol=1e-12)
    assert_array_equal(corner, [0.3] * B)


def test_boundary_along_another_axis() -> None:
    """D[t, 0] = q[t], read by D[t-1, j-1]: at the step read, not at the reader's."""
    values = [
        *(v("x", "input", over="t j"), v("q", "input", over="t")),
        v("D", "copy", "x", over="t j", bounds=(bound("j", 0, "q"),)),
        v("y", "copy", at("D", t=Index("t", -1), j=Index("j", -1)), over="t j"),
    ]
    x, q = np.arange(12.0).reshape(3, 4), np.array([50.0, 60.0, 70.0])
    y = np.zeros((3, 4))
    for t in range(1, 3):
        y[t] = [q[t - 1], *x[t - 1, :-1]]
    assert_array_equal(run(values, {"x": x, "q": q}, "y"), y)


# ---------------------------------------------------------------- reductions


def test_sums_and_means(rng: np.random.Generator) -> None:
    def summed(name: str, over: str, *axes: str) -> Value:
        return v(name, "sum", "x", over=over, type=vector(N), reduces=axes)

    values = [
        X,
        summed("over t", "batch", "t"),
        summed("over batch", "t", "batch"),
        summed("over both", "", "t", "batch"),
        v("over features", "sum", "x", over="t batch", reduces=()),
        v("count", "length", type=INDEX, axis="batch"),
        v("real count", "to_real", "count"),
        v("mean", "div", "over batch", "real count", over="t", type=vector(N)),
        v("one", "constant", value=1.0),
        v("B ones", "sum", "one", reduces=("batch",)),
        v("T ones", "sum", "one", reduces=("t",)),
    ]
    x = rng.normal(size=(B, T, N))

    def check(name: str, want: Any) -> None:
        assert_allclose(run(values, {"x": x}, name), want, rtol=1e-12)

    check("over t", x.sum(1))
    check("over batch", x.sum(0))
    check("over both", x.sum((0, 1)))
    check("over features", x.sum(2))
    check("mean", x.mean(0))
    check("B ones", B)
    check("T ones", T)


@pytest.mark.parametrize("op", ["max", "min", "logsumexp", "softmax", "log_softmax", "argmax"])
def test_reductions(op: str, rng: np.random.Generator) -> None:
    x = rng.integers(-2, 3, size=(B, T, M, N)).astype(float)  # with ties

    def by_definition(a: NDA) -> NDA:
        if op == "argmax":
            return np.array(min(i for i in range(a.size) if a[i] == max(a)))
        if op in ("max", "min"):
            return np.array(max(a) if op == "max" else min(a))
        total = sum(math.exp(y) for y in a)
        if op == "logsumexp":
            return np.array(math.log(total))
        p = np.array([math.exp(y) / total for y in a])
        return p if op == "softmax" else np.log(p)

    keeps = op in ("softmax", "log_softmax")
    kind: Kind = "index" if op == "argmax" else "real"
    full, scalar = Type(kind, (M, N)), Type(kind)
    given = v("x", "input", over="t batch", type=vector(M, N))
    features = v("y", op, "x", over="t batch", type=full if keeps else scalar, reduces=())
    want = np.array([[by_definition(x[b, t].ravel()) for t in range(T)] for b in range(B)])
    got = run([given, features], {"x": x}, "y")
    assert_allclose(got.reshape(want.shape), want, rtol=1e-12)

    over_t = v("y", op, "x", over="t batch" if keeps else "batch", type=full, reduces=("t",))
    want = np.apply_along_axis(by_definition, 1, x) + (op == "argmax")
    assert_allclose(run([given, over_t], {"x": x}, "y"), want, rtol=1e-12)
    if op != "argmax":
        both = v("y", op, "x", over="t batch" if keeps else "", type=full, reduces=("t", "batch"))
        want = np.apply_along_axis(by_definition, 0, x.reshape(B * T, M, N))
        want = want.reshape(x.shape) if keeps else want
        assert_allclose(run([given, both], {"x": x}, "y"), want, rtol=1e-12)


def test_reductions_of_infinities() -> None:
    x = v("x", "input", type=vector(M))
    values = [
        x,
        v("p", "softmax", "x", type=vector(M), reduces=()),
        v("q", "log_softmax", "x", type=vector(M), reduces=()),
        v("s", "logsumexp", "x", reduces=()),
    ]
    masked = {"x": np.array([0.0, -np.inf, 0.0])}
    assert_array_equal(run(values, masked, "p"), [0.5, 0, 0.5])
    assert_allclose(run(values, masked, "q"), [-math.log(2), -np.inf, -math.log(2)])
    assert run(values, {"x": np.array([-np.inf] * M)}, "s") == -np.inf
    assert run(values, {"x": np.array([1000.0] * M)}, "s") == pytest.approx(1000 + math.log(M))


def test_attention(rng: np.random.Generator) -> None:
    """a[s, t] = softmax[t](d[s-1] . x[t]), d[s] = tanh(sum[t](a[s, t] x[t]) + q)."""
    over = "s t batch"
    values = [
        *(X, v("q", "param", type=vector(N))),
        v("e", "contract", at("d", s=Index("s", -1)), "x", over=over, left="i", right="i", out=""),
        v("a", "softmax", "e", over=over, reduces=("t",)),
        v("ax", "mul", "a", "x", over=over, type=vector(N)),
        v("c", "sum", "ax", over="s batch", type=vector(N), reduces=("t",)),
        v("cq", "add", "c", "q", over="s batch", type=vector(N)),
        v("d", "tanh", "cq", over="s batch", type=vector(N)),
    ]
    x, q = rng.normal(size=(B, T, N)), rng.normal(size=N)
    a, d = np.zeros((B, S, T)), np.zeros((B, S, N))
    for b in range(B):
        state = np.zeros(N)
        for s in range(S):
            e = np.array([state @ x[b, t] for t in range(T)])
            a[b, s] = np.exp(e) / np.exp(e).sum()
            d[b, s] = state = np.tanh(sum(a[b, s, t] * x[b, t] for t in range(T)) + q)
    given = {"x": x, "q": q}
    assert_allclose(run(values, given, "a", lengths={"s": S}), a, rtol=1e-12)
    assert_allclose(run(values, given, "d", lengths={"s": S}), d, rtol=1e-12)


def test_renamed_axis(rng: np.random.Generator) -> None:
    """Self-attention: y[t] = sum[u](dot(x[t], x[u]) x[u]), where u runs over the steps of t."""
    other = at("x", t=Index("u"))
    letters: dict[str, Any] = {"left": "i", "right": "i", "out": ""}
    values = [
        X,
        v("e", "contract", "x", other, over="t u batch", **letters),
        v("ex", "mul", "e", other, over="t u batch", type=vector(N)),
        v("y", "sum", "ex", over="t batch", type=vector(N), reduces=("u",)),
    ]
    x = rng.normal(size=(B, T, N))
    want = np.zeros_like(x)
    for b in range(B):
        for t in range(T):
            want[b, t] = sum((x[b, t] @ x[b, u]) * x[b, u] for u in range(T))
    assert_allclose(run(values, {"x": x}, "y"), want, rtol=1e-12)


def test_weight_gradient(rng: np.random.Generator) -> None:
    """d_W = sum over t and batch of outer(g[t], h[t-1])."""
    values = [
        v("g", "input", over="t batch", type=vector(M)),
        v("h", "input", over="t batch", type=vector(N), bounds=(bound("t", 0, "c"),)),
        v("c", "param", type=vector(N)),
    ]
    g, h, c = rng.normal(size=(B, T, M)), rng.normal(size=(B, T, N)), rng.normal(size=N)
    given = {"g": g, "h": h, "c": c}
    terms = np.zeros((B, T, M, N))
    for b in range(B):
        for t in range(T):
            terms[b, t] = np.outer(g[b, t], h[b, t - 1] if t else c)
    late = at("h", t=Index("t", -1))
    letters: dict[str, Any] = {"left": "i", "right": "j", "out": "ij", "type": vector(M, N)}
    for over, reduces, want in (
        ("", ("t", "batch"), terms.sum((0, 1))),
        ("batch", ("t",), terms.sum(1)),
        ("t", ("batch",), terms.sum(0)),
        ("t batch", (), terms),
    ):
        value = v("d_W", "contract", "g", late, over=over, reduces=reduces, **letters)
        assert_allclose(run([*values, value], given, "d_W"), want, rtol=1e-12)
    # what does not vary over the batch counts once for each sequence
    value = v("d_W", "contract", "c", "c", reduces=("batch",), left="j", right="j", out="")
    assert_allclose(run([*values, value], given, "d_W"), B * (c @ c), rtol=1e-12)


# ---------------------------------------------------------------- single ops

FORMS: dict[str, Callable[..., Any]] = {
    "exp": math.exp,
    "log": math.log,
    "sqrt": math.sqrt,
    "sin": math.sin,
    "cos": math.cos,
    "tanh": math.tanh,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "softplus": lambda x: math.log(1 + math.exp(x)),
    "relu": lambda x: max(x, 0.0),
    "erf": math.erf,
    "floor": math.floor,
    "neg": lambda x: -x,
    "abs": abs,
    "sign": lambda x: (x > 0) - (x < 0),
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "pow": lambda x, y: x**y,
    "mod": lambda x, y: x - y * math.floor(x / y),
    "minimum": min,
    "maximum": max,
    "eq": lambda x, y: x == y,
    "ne": lambda x, y: x != y,
    "lt": lambda x, y: x < y,
    "le": lambda x, y: x <= y,
    "gt": lambda x, y: x > y,
    "ge": lambda x, y: x >= y,
    "and": lambda x, y: x and y,
    "or": lambda x, y: x or y,
    "not": lambda x: not x,
    "where": lambda c, x, y: x if c else y,
    "to_real": float,
    "copy": lambda x: x,
    "stop_gradient": lambda x: x,
}
COMPARISONS = {"eq", "ne", "lt", "le", "gt", "ge"}
BINARY = COMPARISONS | {"add", "sub", "mul", "div", "pow", "mod", "and", "or"}
BINARY |= {"minimum", "maximum"}
NUMBERS = {"neg", "abs", "sign", "add", "sub", "mul", "mod", "minimum", "maximum", "copy"}


def test_every_map_has_a_form() -> None:
    assert {name for name, op in OPS.items() if op.group == "map"} == FORMS.keys()


def sample(kind: str, rng: np.random.Generator, positive: bool) -> NDA:
    if kind == "real":
        x = rng.integers(-4, 5, size=(B, M)) / 2
        return np.abs(x) + 0.5 if positive else x
    if kind == "index":
        return rng.integers(1 if positive else -3, 4, size=(B, M))
    return rng.integers(0, 2, size=(B, M)).astype(bool)


@pytest.mark.parametrize("op", FORMS)
def test_maps(op: str, rng: np.random.Generator) -> None:
    both: tuple[Kind, ...] = ("real", "index")
    for kind in both if op in NUMBERS | COMPARISONS else both[:1]:
        arity = 3 if op == "where" else 2 if op in BINARY else 1
        kinds: list[Kind] = [kind] * arity
        if op in ("and", "or", "not"):
            kinds = ["flag"] * arity
        elif op == "where":
            kinds[0] = "flag"
        elif op == "to_real":
            kinds = ["index"]
        result: Kind = "flag" if op in COMPARISONS | {"and", "or", "not"} else kind
        positive = op in ("log", "sqrt", "pow")
        args = [sample(k, rng, positive or (i > 0 and op != "mul")) for i, k in enumerate(kinds)]
        want = np.array(
            [[FORMS[op](*(a[b, i].item() for a in args)) for i in range(M)] for b in range(B)]
        )
        names = [f"x{i}" for i in range(arity)]
        values = [
            v(n, "input", over="batch", type=Type(k, (M,)))
            for n, k in zip(names, kinds, strict=True)
        ]
        values.append(v("y", op, *names, over="batch", type=Type(result, (M,))))
        got = run(values, dict(zip(names, args, strict=True)), "y")
        assert got.dtype.kind == {"real": "f", "index": "i", "flag": "b"}[result]
        assert_allclose(got, want, rtol=1e-12, atol=1e-15)


def test_far_out() -> None:
    values = [
        v("x", "input", type=vector(4)),
        *(v(op, op, "x", type=vector(4)) for op in ("sigmoid", "softplus")),
    ]
    x = np.array([-800.0, -40.0, 40.0, 800.0])
    small = math.exp(-40)
    sigmoid, softplus = run_all(values, {"x": x}, "sigmoid", "softplus")
    assert_allclose(sigmoid, [0, small, 1, 1], rtol=1e-12)
    assert_allclose(softplus, [0, small, 40, 800], rtol=1e-12)


@pytest.mark.parametrize("axes", ["", "batch", "t", "t batch"])
@pytest.mark.parametrize("other", ["", "batch", "t", "t batch"])
@pytest.mark.parametrize("shape", [(), (B,), (1,), (B, 2), (T, B), (1, 2)])
def test_broadcasting_goes_by_name(
    axes: str, other: str, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    """A scalar over any axes beside features over others; sizes that coincide on purpose."""
    sizes = {"batch": B, "t": T}
    layout = [a for a in ("batch", "t") if a in axes.split()]
    beside = [a for a in ("batch", "t") if a in other.split()]
    full_axes = " ".join(a for a in ("t", "batch") if a in layout or a in beside)
    x = rng.normal(size=[sizes[a] for a in layout])
    y = rng.normal(size=[*(sizes[a] for a in beside), *shape])
    values = [
        v("x", "input", over=axes),
        v("y", "input", over=other, type=vector(*shape)),
        v("z", "sub", "x", "y", over=full_axes, type=vector(*shape)),
    ]
    z = run(values, {"x": x, "y": y}, "z")
    full = [a for a in ("batch", "t") if a in layout or a in beside]
    assert z.shape == (*(sizes[a] for a in full), *shape)
    for place in np.ndindex(*(sizes[a] for a in full)):
        where = dict(zip(full, place, strict=True))
        want = x[tuple(where[a] for a in layout)] - y[tuple(where[a] for a in beside)]
        assert_array_equal(z[place], want)


def test_copy_stretches() -> None:
    """To axes, and a length of 1 beside a longer one."""
    values = [
        *(v("x", "input", type=vector(1)), v("y", "input", over="batch", type=vector(M))),
        v("wide", "copy", "x", over="t batch", type=vector(1)),
        v("sum", "add", "wide", "y", over="t batch", type=vector(M)),
    ]
    given = {"x": np.array([2.0]), "y": np.arange(6.0).reshape(2, M)}
    got = run(values, given, "sum", lengths={"t": 4})
    assert got.shape == (2, 4, M)
    assert_array_equal(got, np.repeat(given["y"][:, None] + 2, 4, axis=1))
    assert run(values, given, "wide", lengths={"t": 4}).shape == (2, 4, 1)


def test_linear_algebra(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(B, M, N)), rng.normal(size=(N, 4))
    values = [
        v("a", "input", over="batch", type=vector(M, N)),
        v("b", "param", type=vector(N, 4)),
        v(
            "ab",
            "contract",
            "a",
            "b",
            over="batch",
            type=vector(M, 4),
            left="ij",
            right="jk",
            out="ik",
        ),
        v("aT", "transpose", "a", over="batch", type=vector(N, M)),
        v("row", "input", over="batch", type=vector(M)),
        v("D", "diag", "row", over="batch", type=vector(M, M)),
        v("I", "eye", type=vector(M, M), size=M),
        # sums over a letter that one operand alone has
        v("s", "contract", "a", "row", over="batch", left="ij", right="i", out="i", type=vector(M)),
    ]
    row = np.array([[1.0, np.inf, 3.0]] * B)
    given = {"a": a, "b": b, "row": row}
    assert_allclose(run(values, given, "ab"), [a[i] @ b for i in range(B)], rtol=1e-12)
    assert_array_equal(run(values, given, "aT"), [a[i].T for i in range(B)])
    assert_array_equal(run(values, given, "D"), [[[1, 0, 0], [0, np.inf, 0], [0, 0, 3]]] * B)
    assert_array_equal(run(values, given, "I"), np.eye(M))
    given["row"] = rng.normal(size=(B, M))
    want = [[sum(a[k, i]) * given["row"][k, i] for i in range(M)] for k in range(B)]
    assert_allclose(run(values, given, "s"), want, rtol=1e-12)


def test_parts(rng: np.random.Generator) -> None:
    values = [
        v("x", "input", over="batch", type=vector(M)),
        v("p", "param", type=vector(2)),
        v("c", "input", over="batch"),
        v("joined", "concat", "x", "p", "c", over="batch", type=vector(M + 3)),
        v("part", "slice", "joined", over="batch", type=vector(3), start=2, stop=5),
        v("each", "repeat", "p", type=vector(6), count=3),
        v("rows", "broadcast", "c", over="batch", type=vector(2, 2), shape=(2, 2)),
        v("A", "param", type=vector(4, 2)),
        v("stacked", "concat", "A", "A", type=vector(8, 2)),
        v("middle", "slice", "A", type=vector(2, 2), start=1, stop=3),
    ]
    x, p, c, a = (rng.normal(size=s) for s in ((B, M), (2,), (B,), (4, 2)))
    given = {"x": x, "p": p, "c": c, "A": a}
    joined = np.array([[*x[b], *p, c[b]] for b in range(B)])
    assert_array_equal(run(values, given, "joined"), joined)
    assert_array_equal(run(values, given, "part"), joined[:, 2:5])
    assert_array_equal(run(values, given, "each"), [p[0]] * 3 + [p[1]] * 3)
    assert_array_equal(run(values, given, "rows"), [[[y, y], [y, y]] for y in c])
    assert_array_equal(run(values, given, "stacked"), [*a, *a])
    assert_array_equal(run(values, given, "middle"), a[1:3])


@pytest.mark.parametrize("table", ["", "batch"])
@pytest.mark.parametrize("row", ["", "batch", "t batch"])
def test_gather(table: str, row: str, rng: np.random.Generator) -> None:
    axes = max(table, row, key=len)
    values = [
        v("E", "input", over=table, type=vector(4, N)),
        v("w", "input", over=row, type=INDEX),
        v("e", "gather", "E", "w", over=axes, type=vector(N)),
        v("hot", "onehot", "w", over=row, type=vector(4), size=4),
    ]
    sizes = [n for a, n in (("batch", B), ("t", T)) if a in row.split()]
    e = rng.normal(size=[B] * (table == "batch") + [4, N])
    w = rng.integers(0, 4, size=sizes)
    got = run(values, {"E": e, "w": w}, "e")
    for place in np.ndindex(got.shape[:-1]):
        rows = e[place[0]] if table else e
        assert_array_equal(got[place], rows[w[place] if row else w])
    hot = run(values, {"E": e, "w": w}, "hot")
    for place in np.ndindex(w.shape):
        assert_array_equal(hot[place], [float(k == w[place]) for k in range(4)])
    for wrong in -1, 4:
        with pytest.raises(DataError, match=f"row {wrong} of a table of 4"):
            run(values, {"E": e, "w": np.full(sizes, wrong)}, "e")


def test_leaves() -> None:
    values = [
        v("t", "step", over="t", type=INDEX, axis="t"),
        v("T", "length", type=INDEX, axis="t"),
        v("B", "length", type=INDEX, axis="batch"),
        v("mode", "training", type=FLAG),
        v("m", "size", type=INDEX, size=7),
        v("r", "arange", type=Type("index", (3,)), size=3),
        v("one", "constant", value=1),
        v("c", "constant", type=vector(2), value=Array(np.array([1.0, 2.0], np.float32))),
        v("f", "constant", type=FLAG, value=True),
        v("i", "constant", type=INDEX, value=3),
        v("before", "copy", at("t", t=Index("t", -1)), over="t", type=INDEX),
    ]
    wanted = ("t", "T", "B", "mode", "m", "r", "c", "f", "i", "before")
    found = run_all(values, {}, *wanted, lengths={"t": 3, "batch": 2}, training=True)
    want = ([1, 2, 3], 3, 2, True, 7, [0, 1, 2], [1.0, 2.0], True, 3, [0, 1, 2])
    for got, right in zip(found, want, strict=True):
        assert_array_equal(got, right)
    assert not run(values, {}, "mode")
    with pytest.raises(InternalError, match="one = constant"):  # 1 is an index, not a real
        run(values, {}, "one")


def test_stack() -> None:
    """The steps of an unrolled axis, put together again."""
    values = [
        v("x", "input", over="batch"),
        v("h.1", "tanh", "x", over="batch"),
        v("h.2", "tanh", "h.1", over="batch"),
        v("c", "constant", value=4.0),
        v("h", "stack", "h.1", "h.2", "c", over="t batch", axis="t"),
        v("y", "copy", at("h", t=Index("t", -1)), over="t batch"),
    ]
    x = np.array([0.5, -1.0])
    h = np.array([[math.tanh(z), math.tanh(math.tanh(z)), 4.0] for z in x])
    assert_allclose(run(values, {"x": x}, "h", lengths={"t": 3}), h, rtol=1e-12)
    shifted = np.hstack([np.zeros((2, 1)), h[:, :2]])
    assert_allclose(run(values, {"x": x}, "y", lengths={"t": 3}), shifted, rtol=1e-12)
    with pytest.raises(InternalError, match="stacks 3 steps of t"):
        run(values, {"x": x}, "h", lengths={"t": 2})


# ---------------------------------------------------------------- the whole


def test_layout(rng: np.random.Generator) -> None:
    """Batch first, then time axes, then features, given and returned."""
    x = rng.normal(size=(B, S, T, N))
    values = [
        v("x", "input", over="s t batch", type=vector(N)),
        v(
            "y",
            "copy",
            at("x", s=Index("s", -1), t=Index("t", 1)),
            over="s t batch",
            type=vector(N),
        ),
    ]
    want = np.zeros_like(x)
    want[:, 1:, :-1] = x[:, :-1, 1:]
    assert_array_equal(run(values, {"x": x}, "y"), want)
    assert_array_equal(run(values, {"x": x}, "x"), x)


def test_long_chains() -> None:
    """A thousand steps of a hundred values, without recursion."""
    chain = [v(f"y{i}", "copy", f"y{i - 1}" if i else "x", over="t") for i in range(100)]
    values = [
        v("x", "input", over="t"),
        *chain,
        v("h", "add", at("h", t=Index("t", -1)), "y99", over="t"),
        v("last", "copy", at("h", t=Index(LAST))),
    ]
    x = np.arange(1000.0)
    assert run(values, {"x": x}, "last") == x.sum()


def test_results_and_wanted() -> None:
    values = {x.name: x for x in (v("x", "input", over="t"), v("y", "neg", "x", over="t"))}
    system = System("test", values, {"t": Axis("t", "T", 2)}, ("y",), metrics={"first": "x"})
    x = np.array([1, 2])
    found = evaluate(system, {"x": x, "never read": x})
    assert_array_equal(found["y"], [-1, -2])
    assert list(found) == ["y", "x"]
    assert list(evaluate(system, {"x": x}, wanted=["x"])) == ["x"]
    with pytest.raises(UsageError, match="no value z"):
        evaluate(system, {"x": x}, wanted=["z"])
    with pytest.raises(DataError, match="length 3 in x, 2 in axis t"):
        evaluate(system, {"x": np.ones(3)})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "the input x is not given"),
        ({"x": np.ones((T, N))}, r"x is \[5, 2\]; wanted is \[batch, t, 2\]"),
        ({"x": np.ones((B, T, N + 1))}, r"wanted is \[batch, t, 2\]"),
        ({"x": np.ones((B, T, N), bool)}, "holds bool, which is no real"),
        ({"x": np.ones((B, 0, N))}, "the axis t has length 0"),
        ({"x": np.ones((B, T, N)), "w": np.ones((B, T + 1), int)}, "length 6 in w, 5 in x"),
        ({"x": np.ones((B, T, N)), "w": np.ones((B, T))}, "holds float64, which is no index"),
        ({"x": np.ones((B, T, N)), "y": np.ones((B, T, N))}, "y is computed"),
    ],
)
def test_wrong_data(given: dict[str, NDA], message: str) -> None:
    values = [
        *(X, v("w", "input", over="t batch", type=INDEX)),
        v("y", "copy", "x", over="t batch", type=vector(N)),
    ]
    with pytest.raises(DataError, match=message):
        run(values, given, "y", lengths={} if "x" in given else {"t": T, "batch": B})


def test_unknown_lengths() -> None:
    values = [v("c", "constant", value=1.0), v("y", "copy", "c", over="t")]
    with pytest.raises(DataError, match="the length T of the axis t is not known"):
        run(values, {}, "y")
    with pytest.raises(DataError, match="has no axis z"):
        run(values, {}, "y", lengths={"z": 3})
    assert_array_equal(run(values, {}, "y", lengths={"u": 2}), [1, 1])  # of the same length T


def test_cycle() -> None:
    values = [
        v("a", "copy", at("h", t=Index("t", -1)), over="t"),
        v("g", "neg", at("h", t=Index(LAST)), over="t"),
        v("h", "add", "a", "g", over="t"),
    ]
    message = r"a cycle: h\[3\] reads g\[3\] reads h\[3\]"
    with pytest.raises(InternalError, match=message):
        run([values[1], v("h", "copy", "g", over="t")], {}, "h", lengths={"t": 3})
    with pytest.raises(InternalError, match="a cycle: "):
        run(values, {}, "h", lengths={"t": 3})


def test_no_cycle_by_step() -> None:
    """Two values that read each other, each a step earlier or at once, in no circle."""
    values = [
        v("one", "constant", value=1.0),
        v("a", "add", at("b", t=Index("t", -1)), "one", over="t"),
        v("b", "add", "a", "a", over="t"),
    ]
    assert_array_equal(run(values, {}, "b", lengths={"t": 4}), [2, 6, 14, 30])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (v("y", "conjure", "x", over="t batch"), "no such op"),
        (v("y", "copy", "z", over="t batch"), "z, which does not exist"),
        (v("y", "copy", "x", over="t"), "loses the batch of x"),
        (v("y", "copy", at("x", t=Index(LAST))), "loses the batch of x"),
        (v("y", "copy", "x", over="batch"), "x at a free t"),
        (v("y", "copy", "x", over="t batch", type=INDEX), r"y\[1\] = copy"),
        (v("y", "copy", "x", over="t batch", type=vector(2)), "not .2."),
        (v("y", "sum", "x", over="t batch", reduces=("t",)), "wrong axes"),
        (v("y", "softmax", "x", over="batch", reduces=("t",)), "wrong axes"),
        (v("y", "argmax", "x", over="t", type=INDEX, reduces=("batch",)), "one time axis"),
        (v("y", "copy", at("varying", t=Index("t", -1)), over="t"), "zero.t at a free t"),
        (v("y", "add", "A", "p", over="t", type=vector(2)), "different ranks"),
        (v("y", "copy", at("endless", j=Index(FIRST, -1)), over="t"), "without an end"),
        (
            v("y", "copy", at("p", t=Index("t", -1)), over="t", type=vector(dim("n"))),
            "not a number",
        ),
    ],
)
def test_malformed_systems(wrong: Value, message: str) -> None:
    values = [
        v("x", "input", over="t batch"),
        *(v("p", "param", type=vector(2)), v("A", "param", type=vector(2, 2))),
        v("zero", "constant", value=0.0),
        v("zero.t", "copy", "zero", over="t"),
        v("varying", "copy", "zero", over="t", bounds=(bound("t", 0, "zero.t"),)),
        v(
            "endless",
            *("copy", "zero"),
            over="j t",
            bounds=(bound("j", 0, at("endless", j=Index(FIRST, -1), t=Index("t", -1))),),
        ),
    ]
    given = {"x": np.ones((B, T)), "p": np.ones(2), "A": np.ones((2, 2))}
    with pytest.raises(InternalError, match=message):
        run([*values, wrong], given, "y", lengths={"j": 2})
