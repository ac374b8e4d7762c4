"""ONNX models against the oracle: every spec, every op, both dtypes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import rnnc
from rnnc.backends import onnx_graph
from rnnc.backends.onnx_graph import to_onnx
from rnnc.backends.onnx_ops import FORMS
from rnnc.graph.build import build
from rnnc.graph.system import System
from rnnc.graph.types import BATCH, Array, Kind
from rnnc.passes.fuse import fuse
from rnnc.passes.mode import evaluating
from rnnc.passes.plan import CHUNK, ArrayType, Carried, Compute, Loop, Plan, Port, Statement
from rnnc.passes.schedule import schedule
from rnnc.passes.simplify import simplify
from rnnc.passes.unroll import unroll
from rnnc.resources import specs_root
from rnnc.runtime.onnx_model import OnnxModel
from rnnc.runtime.ports import KEY, PortInfo, check_inputs, parse_ports, ports_json, uniform
from rnnc.runtime.reference import evaluate
from rnnc.source import DataError, Source, UsageError
from rnnc.syntax.parse import parse

NDA = NDArray[Any]

SPECS = sorted(path for kind in ("cells", "models") for path in (specs_root() / kind).glob("*.rnn"))
SMALL = {"n": 3, "m": 4, "k": 3, "G": 2, "d": 3, "vocab": 5}
TOLERANCE = {"float64": 1e-11, "float32": 1e-4}


@cache
def system_of(path: Path) -> System:
    """A model of the library, with small sizes."""
    sizes = {d: n for d, n in SMALL.items() if isinstance(rnnc.load(path).system.dims.get(d), int)}
    return bound(rnnc.load(path, **sizes).system)


def spec(text: str, **sizes: int) -> System:
    return bound(build(parse(Source(text)).models[-1], sizes))


def bound(system: System) -> System:
    return evaluating(system.bind({d: s for d, s in system.dims.items() if s is not None}))


def fused(system: System) -> System:
    return simplify(fuse(simplify(system)))


def data_for(ports: Sequence[Port], lengths: Mapping[str, int], seed: int = 0) -> dict[str, NDA]:
    rng = np.random.default_rng(seed)
    out: dict[str, NDA] = {}
    for p in ports:
        shape = [d if isinstance(d, int) else lengths[d] for d in p.type.dims]
        if p.role == "length":
            out[p.name] = np.asarray(lengths["t"])
        elif p.type.kind == "index":
            out[p.name] = rng.integers(0, p.limit or 3, shape)
        elif p.type.kind == "flag":
            out[p.name] = rng.random(shape) < 0.5
        else:
            out[p.name] = rng.normal(size=shape) * (0.3 if p.role == "param" else 1)
    return out


def load(plan: Plan, dtype: Any = "float64", **options: Any) -> OnnxModel:
    text = ports_json(plan, dtype=dtype, weights_given=options.get("weights") is None)
    model = to_onnx(plan, dtype=dtype, metadata={KEY: text}, **options)
    return OnnxModel(model.SerializeToString())


def agree(
    system: System,
    plan: Plan,
    *,
    steps: int = 5,
    batch: int = 2,
    dtype: str = "float64",
    stored: bool = True,
    model: OnnxModel | None = None,
    **options: Any,
) -> None:
    """The model (of the plan, with the same weights) computes what the system means."""
    lengths = dict.fromkeys(system.axes, steps) | {BATCH: batch}
    weights, data = data_for(plan.params, lengths), data_for(plan.inputs, lengths, seed=1)
    if model is None:
        model = load(plan, dtype, weights=weights if stored else None, **options)
    found = model.run(data, weights=None if stored else weights)
    wanted = evaluate(
        system,
        {**weights, **data},
        lengths={a: lengths[a] for a in system.axes if system.axes[a].size is None},
    )
    names = {**system.losses, **system.metrics, **system.counts}
    assert list(found) == [p.name for p in plan.outputs]
    for p in plan.outputs:
        want = wanted[names.get(p.name, p.name)]
        got = found[p.name]
        assert got.dtype == {"real": dtype, "index": "int64", "flag": "bool"}[p.type.kind], p.name
        assert got.shape == want.shape, p.name
        assert_allclose(got, want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype], err_msg=p.name)


# ---------------------------------------------------------------- the library


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_spec(path: Path) -> None:
    system = system_of(path)
    plan = schedule(system)
    model = load(plan, weights=data_for(plan.params, {}))
    for steps in (1, 2, 7):
        for batch in (1, 3):
            agree(system, plan, steps=steps, batch=batch, model=model)
    agree(system, plan, dtype="float32")
    agree(system, plan, stored=False)


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_fused_spec(path: Path) -> None:
    system = system_of(path)
    plan = schedule(fused(system))
    agree(system, plan)
    agree(system, plan, steps=1, batch=1, dtype="float32")


@pytest.mark.parametrize("opset", [13, 14, 15, 17, 18, 19, 21, 23, 26])
@pytest.mark.parametrize("name", ["models/lstm_classifier", "models/bidirectional", "cells/lru"])
def test_opset(name: str, opset: int) -> None:
    system = system_of(specs_root() / f"{name}.rnn")
    agree(system, schedule(system), opset=opset)
    agree(system, schedule(fused(system)), opset=opset, dtype="float32")


@pytest.mark.parametrize("name", ["models/lstm_classifier", "models/bidirectional", "cells/lru"])
def test_unrolled(name: str) -> None:
    system = system_of(specs_root() / f"{name}.rnn")
    plan = schedule(simplify(unroll(fused(system), 5)))
    agree(system, plan, steps=5)
    assert not any(n.op_type == "Scan" for n in to_onnx(plan).graph.node)


def test_onnxruntime_sees_one_batch() -> None:
    """It plans memory in quadratic time where it cannot tell that all batches are the same: an
    LSTM of 1,000 unrolled steps took 190 s to load before the initial states had their shapes."""
    system = system_of(specs_root() / "cells/lstm.rnn")
    model = to_onnx(schedule(simplify(unroll(fused(system), 9))))
    expanded = {n.output[0] for n in model.graph.node if n.op_type == "Expand"}
    assert expanded
    assert expanded <= {v.name for v in model.graph.value_info}
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    names = {d.dim_param for v in inferred for d in v.type.tensor_type.shape.dim}
    assert names == {"", "batch"}


# ---------------------------------------------------------------- time


@pytest.mark.parametrize("steps", [1, 2, 3, 6])
@pytest.mark.parametrize(
    "equations",
    [
        "h[t] = tanh(U x[t] + 0.5 * h[t-1] - 0.2 * h[t-3])",  # lags
        "h[t] = tanh(U x[t] + 0.5 * h[t+1])",  # backward
        "h[t] = tanh(U x[t] + 0.5 * h[t+1] - 0.2 * h[t+2])\nh[T+1] = 0.3",
        "h[t] = tanh(U x[t-3] + x[t-1] * x[t+2])",  # shifts of an input, no loop
        "h[t] = tanh(U x[t-1] + x[t-2] + 0.5 * h[t-1])\nx[0] = 1\nx[-1] = 2",
        "h[t] = tanh(x[t-1] + 0.5 * h[t-1])\ng[t] = x[t-1] - g[t-1]",
        "h[t] = tanh(x[t] + 0.5 * h[t-1])\ng[t] = tanh(x[t] + 0.5 * g[t+1])\no[t] = g[t] * h[t]",
        "s[t] = s[t-1] + sum(x[t])\nh[t] = s[t] + s[T] + s[1] * x[2] + s[T-1]",
        "a[t] = tanh(b[t-1] + x[t])\nb[t] = a[t]\nh[t] = a[t] + b[t]",  # copies
        "a[t] = b[t-1]\nb[t] = a[t-1] + x[t]\nh[t] = a[t] - b[t-2]",  # states handed on
        "h[t] = t * x[t] + T",
        "h[t] = where(t % 2 == 1, tanh(U x[t]), h[t-1])",
    ],
)
def test_time(equations: str, steps: int) -> None:
    text = f"model M\ndim n = 3\ninput x[t] : [n]\nparam U : [n, n]\n{equations}\n"
    system = spec(text)
    for s in (system, fused(system)):
        plan = schedule(s)
        agree(system, plan, steps=steps)
        agree(system, plan, steps=steps, batch=1, dtype="float32")


@pytest.mark.parametrize("steps", [1, 4])
def test_scalar_recurrences(steps: int) -> None:
    """Scalars of each sequence, spread over the features of several loops."""
    text = """model M
dim n = 3
input x[t] : []
param u, v : [n]
h[t] = tanh(u * h[t-1] + x[t])
g[t] = tanh(v * g[t-1] + x[t])
"""
    system = spec(text)
    agree(system, schedule(system), steps=steps)


@pytest.mark.parametrize("steps", [1, 5])
def test_no_input_in_the_loop(steps: int) -> None:
    """The number of steps comes from an input of its own."""
    system = spec("model M\nparam U : [3, 3], b : [3]\nh[t] = tanh(U h[t-1] + b)\noutput h")
    plan = schedule(system)
    assert [p.role for p in plan.inputs] == ["length"]
    agree(system, plan, steps=steps)
    model = load(plan)
    with pytest.raises(DataError, match="a length is at least 1"):
        model.run({"T": 0, **data_for(plan.params, {})})


def test_input_as_output() -> None:
    """An input may be an output, under its own name or another, and what is made twice over."""
    types = {"x": ArrayType((BATCH, 2), "real"), "y": ArrayType((BATCH, 2), "real")}
    types |= {"z": types["y"], "c": ArrayType((), "real")}
    x = Port("x", "x", "input", types["x"])
    outputs = [Port(n, a, "output", types[a]) for n, a in ("xx", "ax", "yy", "bz", "zy", "cc")]
    body = (
        Compute("y", "neg", ("x",)),
        Compute("z", "copy", ("y",)),
        Compute("c", "constant", (), (("value", 2.0),)),
    )
    plan = Plan("ports", types, (x,), (), tuple(outputs), (), body, {BATCH: ("x", 0)}, {})
    given = np.ones((3, 2))
    found = load(plan)(x=given)
    assert list(found) == ["x", "a", "y", "b", "z", "c"]
    for name, array in found.items():
        assert_array_equal(array, {"x": 1, "a": 1, "c": 2}.get(name, -1) * np.ones(array.shape))


# ---------------------------------------------------------------- ops


TYPES: dict[str, Kind] = {"f": "real", "i": "index", "u": "index", "b": "flag"}


def kind_of(array: NDA) -> Kind:
    return TYPES[array.dtype.kind]


def run_op(
    op: str,
    operands: Sequence[NDA],
    like: NDA,
    dtype: str = "float64",
    opset: int = 18,
    in_loop: bool = False,
    **attrs: Any,
) -> NDA:
    """One statement, alone or in the body of a loop of two steps."""
    arrays = {f"x{i}": ArrayType(x.shape, kind_of(x)) for i, x in enumerate(operands)}
    ports = tuple(Port(n, n, "input", t) for n, t in arrays.items())
    arrays["y"] = out = ArrayType(like.shape, kind_of(like))
    statements: tuple[Statement, ...] = (Compute("y", op, tuple(arrays)[:-1], (*attrs.items(),)),)
    if in_loop:
        arrays |= {
            "y.all": ArrayType((2, *out.dims), out.kind),
            "i": ArrayType((), "index"),
            "n": ArrayType((2,), "index"),
        }
        arrays |= {"i0": ArrayType((), "index"), "i1": ArrayType((), "index")}
        statements = (
            Compute("n", "constant", (), (("value", Array(np.arange(2))),)),
            Compute("i0", "constant", (), (("value", 0),)),
            Loop("t", False, (Carried("i1", "i0", "i"),), (("i", "n"),),
                 (*statements,), (("y.all", "y"),)),
        )  # fmt: skip
        out = arrays["y.all"]
    last = "y.all" if in_loop else "y"
    plan = Plan("op", arrays, ports, (), (Port(last, last, "output", out),), (), statements,
                {"t": 2}, {"t": "T"})  # fmt: skip
    found = load(plan, dtype, opset=opset).run({f"x{i}": x for i, x in enumerate(operands)})
    return found[last]


LINE = np.linspace(-4, 4, 23)
POSITIVE = np.linspace(0.1, 9, 23)
WHOLE = np.array([-7, -2, -1, 0, 1, 2, 7])
OTHER = np.array([3, -3, 2, 5, -2, 2, 4])
FLAGS = np.array([True, False, True, False])
ODD = np.array([True, True, False, False])
REALS = [[-np.inf, -90.0, -1e-20, 0.0, 1e-20, 90.0, np.inf, np.nan]]
SQUARE = np.sin(np.arange(24.0)).reshape(2, 3, 4)
erf = np.vectorize(math.erf, otypes=[np.float64])

OPS: dict[str, list[tuple[Callable[..., Any], Sequence[NDA]]]] = {
    **{
        f: [(getattr(np, f), [LINE]), (getattr(np, f), [np.array(REALS)])]
        for f in ("exp", "sin", "cos", "tanh", "floor", "abs", "sign")
    },
    "log": [(np.log, [POSITIVE]), (np.log, [np.array(REALS)])],
    "sqrt": [(np.sqrt, [POSITIVE]), (np.sqrt, [np.array(REALS)])],
    "neg": [(np.negative, [LINE]), (np.negative, [WHOLE])],
    "sigmoid": [(lambda x: 1 / (1 + np.exp(-x)), [x]) for x in (LINE, np.array(REALS))],
    "softplus": [(lambda x: np.logaddexp(0, x), [x]) for x in (LINE, np.array(REALS))],
    "relu": [(lambda x: np.maximum(x, 0), [x]) for x in (LINE, np.array(REALS))],
    "erf": [(erf, [x]) for x in (LINE, LINE / 8, 2 * LINE, np.array(REALS))],
    "add": [(np.add, [LINE, POSITIVE]), (np.add, [WHOLE, OTHER]), (np.add, [LINE[:, None], LINE])],
    "sub": [(np.subtract, [LINE, POSITIVE]), (np.subtract, [WHOLE, OTHER])],
    "mul": [(np.multiply, [LINE, POSITIVE]), (np.multiply, [WHOLE, OTHER])],
    "div": [(np.divide, [LINE, POSITIVE]), (np.divide, [LINE, 0 * LINE])],
    "pow": [(np.power, [POSITIVE, LINE]), (np.power, [LINE, np.array(3.0)])],
    "mod": [
        (np.mod, [WHOLE, OTHER]),
        (np.mod, [LINE, POSITIVE]),
        (np.mod, [LINE, -POSITIVE]),
        (np.mod, [LINE, np.array(0.5)]),
        (np.mod, [WHOLE, 0 * WHOLE]),
    ],
    "minimum": [(np.minimum, [LINE, -LINE]), (np.minimum, [WHOLE, OTHER])],
    "maximum": [(np.maximum, [LINE, -LINE]), (np.maximum, [WHOLE, OTHER])],
    **{
        op: [(f, [LINE, -LINE]), (f, [WHOLE, np.array([-7, 0, 0, 0, 1, 3, 7])])]
        for op, f in {"lt": np.less, "le": np.less_equal,
                      "gt": np.greater, "ge": np.greater_equal}.items()
    },
    **{
        op: [(f, [LINE, -LINE]), (f, [WHOLE, OTHER]), (f, [FLAGS, ODD])]
        for op, f in {"eq": np.equal, "ne": np.not_equal}.items()
    },
    "and": [(np.logical_and, [FLAGS, ODD])],
    "or": [(np.logical_or, [FLAGS, ODD])],
    "not": [(np.logical_not, [FLAGS])],
    "where": [
        (np.where, [FLAGS, LINE[:4], LINE[4:8]]),
        (np.where, [FLAGS, WHOLE[:4], np.array(0)]),
        (np.where, [FLAGS, ODD, ~ODD]),
        (np.where, [FLAGS, np.full(4, np.nan), np.full(4, np.inf)]),
    ],
    "to_real": [(lambda x: x.astype(float), [WHOLE])],
    "matmul": [(np.matmul, [SQUARE, SQUARE[0].T]), (np.matmul, [SQUARE, SQUARE[0, 0]])],
}  # fmt: skip


@pytest.mark.parametrize("opset", [13, 18, 21])
@pytest.mark.parametrize("op", OPS)
def test_elementwise(op: str, opset: int) -> None:
    for f, operands in OPS[op]:
        with np.errstate(all="ignore"):
            wanted = np.asarray(f(*operands))
            single = [x.astype(np.float32) if kind_of(x) == "real" else x for x in operands]
            wanted32 = np.asarray(f(*single))
        found = run_op(op, operands, wanted, opset=opset)
        assert_allclose(found, wanted, rtol=1e-13, atol=1e-15)
        found = run_op(op, operands, wanted, "float32", opset=opset)
        assert_allclose(found, wanted32, rtol=2e-6, atol=2e-7)
        both = run_op(op, operands, wanted, opset=opset, in_loop=True)
        assert_allclose(both, np.stack([wanted] * 2), rtol=1e-13, atol=1e-15)


def test_erf_and_softplus_to_the_last_digits() -> None:
    x = np.concatenate([np.linspace(-7, 7, 4001), [0.46875, -0.46875, 1e-300, 5.9999, 1e9]])
    assert_allclose(run_op("erf", [x], x), erf(x), rtol=5e-16, atol=1e-320)
    x = np.linspace(-700, 700, 4001)
    assert_allclose(run_op("softplus", [x], x), np.logaddexp(0, x), rtol=2e-15, atol=0)


def test_real_mod_is_exact() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 4000)) * 10 ** rng.uniform(-12, 12, (2, 4000))
    assert_array_equal(run_op("mod", [a, b], a), np.mod(a, b))


SHAPED: list[tuple[str, NDA, Sequence[NDA], dict[str, Any]]] = [
    ("crossprod", SQUARE.reshape(-1, SQUARE.shape[-1]).T @ SQUARE.reshape(-1, SQUARE.shape[-1]),
     [SQUARE, SQUARE], {}),
    ("crossprod", SQUARE[0].T @ SQUARE[0], [SQUARE[0], SQUARE[0]], {}),
    ("scatter", np.stack([SQUARE[0, 0] + SQUARE[0, 2], 0 * SQUARE[0, 0], SQUARE[0, 1]]),
     [SQUARE[0, :3], np.array([0, 2, 0])], {"size": 3}),
    ("cumsum", SQUARE.cumsum(-1), [SQUARE], {}),
    ("kth_largest", np.sort(SQUARE, -1)[..., -2], [SQUARE], {"count": 2}),
    ("kth_largest", np.sort(LINE)[-1], [LINE], {"count": 1}),
    ("einsum", np.einsum("Aij,Bj->ABi", SQUARE, SQUARE[0]), [SQUARE, SQUARE[0]],
     {"equation": "Aij,Bj->ABi"}),
    ("sum", SQUARE.sum((0, 2)), [SQUARE], {"dims": (0, 2)}),
    ("sum", SQUARE.sum(1, keepdims=True), [SQUARE], {"dims": (1,), "keep": True}),
    ("sum", WHOLE.sum(keepdims=False), [WHOLE], {"dims": (0,)}),
    ("max", SQUARE.max((0, 2)), [SQUARE], {"dims": (0, 2)}),
    ("max", SQUARE.max(2, keepdims=True), [SQUARE], {"dims": (2,), "keep": True}),
    ("max", WHOLE.max(), [WHOLE], {"dims": (0,)}),
    ("min", SQUARE.min(1), [SQUARE], {"dims": (1,)}),
    ("min", WHOLE.min(), [WHOLE], {"dims": (0,)}),
    ("argmax", SQUARE.argmax(1), [SQUARE], {"dim": 1}),
    ("argmax", np.array([0, 2]), [np.array([[2.0, 2, 1], [0, 1, 3]])], {"dim": 1}),
    ("argmax", np.array(6), [WHOLE], {"dim": 0}),
    ("softmax", np.exp(SQUARE) / np.exp(SQUARE).sum(1, keepdims=True), [SQUARE], {"dim": 1}),
    ("log_softmax", SQUARE - np.log(np.exp(SQUARE).sum(2, keepdims=True)), [SQUARE], {"dim": 2}),
    ("permute", SQUARE.transpose(2, 0, 1), [SQUARE], {"order": (2, 0, 1)}),
    ("unsqueeze", SQUARE[None, :, :, None], [SQUARE], {"at": (0, 3)}),
    ("squeeze", SQUARE[0], [SQUARE[:1, :, :, None]], {"at": (0, 3)}),
    ("reshape", SQUARE.reshape(2, 12), [SQUARE], {}),
    ("expand", np.broadcast_to(SQUARE[:1], (5, 2, 3, 4)[1:]), [SQUARE[:1]], {}),
    ("expand", np.full((2, 3), True), [np.array(True)], {}),
    ("concat", np.concatenate([SQUARE, 2 * SQUARE], 1), [SQUARE, 2 * SQUARE], {"dim": 1}),
    ("concat", np.concatenate([FLAGS, ODD]), [FLAGS, ODD], {"dim": 0}),
    ("slice", SQUARE[:, 1:3], [SQUARE], {"dim": 1, "start": 1, "stop": 3}),
    ("slice", FLAGS[:0], [FLAGS], {"dim": 0, "start": 0, "stop": 0}),
    ("repeat", np.repeat(SQUARE, 3, -1), [SQUARE], {"count": 3}),
    ("repeat", np.repeat(FLAGS, 2), [FLAGS], {"count": 2}),
    ("take", SQUARE[np.array([[1, 0, 1]])], [SQUARE, np.array([[1, 0, 1]])], {}),
    ("take", LINE[np.array(3)], [LINE, np.array(3)], {}),
    ("take_along", np.take_along_axis(SQUARE, np.full((2, 3, 1), 2), -1),
     [SQUARE, np.full((2, 3, 1), 2)], {}),
    ("onehot", np.eye(5)[[[1, 4], [0, 2]]], [np.array([[1, 4], [0, 2]])], {"size": 5}),
    ("eye", np.eye(3), [], {"size": 3}),
    ("diag", np.eye(4) * SQUARE[..., None], [SQUARE], {}),
    ("pick", SQUARE[-1], [SQUARE], {"index": -1}),
    ("pick", SQUARE[:, 1], [SQUARE], {"index": 1, "dim": 1}),
    ("stack", np.stack([LINE, POSITIVE, LINE]), [LINE, POSITIVE, LINE], {}),
    ("stack", np.stack([LINE, POSITIVE], 1), [LINE, POSITIVE], {"dim": 1}),
    ("copy", SQUARE, [SQUARE], {}),
    ("step", np.array([1, 2]), [], {"axis": "t"}),
    ("length", np.array(2), [], {"axis": "t"}),
    ("constant", np.array(2.5), [], {"value": 2.5}),
    ("constant", LINE, [], {"value": Array(LINE)}),
]  # fmt: skip
SHAPED += [
    (
        "shift",
        wanted,
        [np.array(x), *map(np.array, (10.0, 20.0, 30.0))][: abs(by) + 1],
        {"by": by, "dim": 0},
    )
    for by, x, wanted in [
        (-1, [1.0, 2, 3], np.array([10.0, 1, 2])),
        (-3, [1.0, 2, 3, 4], np.array([30.0, 20, 10, 1])),
        (-3, [1.0, 2], np.array([30.0, 20])),
        (-3, [1.0], np.array([30.0])),
        (1, [1.0, 2, 3], np.array([2.0, 3, 10])),
        (3, [1.0, 2, 3, 4], np.array([4.0, 10, 20, 30])),
        (3, [1.0], np.array([30.0])),
        (3, [1.0, 2], np.array([20.0, 30])),
    ]
]

SHAPED += [
    *(("segment", np.array(s), [np.array(n)], {}) for n, s in ((1, 1), (9, 3), (10, 4))),
    *(("segments", np.array(c), [np.array(n), np.array(s)], {})
      for n, s, c in ((1, 1, 1), (9, 3, 3), (10, 4, 3))),
    ("part", SQUARE[:, 1:3], [SQUARE, np.array(1)], {"dim": 1}),
    ("part", LINE[2:3], [LINE, np.array(2)], {"dim": 0}),
    ("padded", np.pad(SQUARE, ((0, 0), (0, 2), (0, 0))), [SQUARE], {"dim": 1}),
    ("padded", SQUARE, [SQUARE], {"dim": 2}),
    ("joined", np.hstack([SQUARE[0], SQUARE[1]])[:, :7], [SQUARE], {"dim": 1}),
    ("joined", np.vstack([SQUARE[0], SQUARE[1]])[:5], [SQUARE], {"dim": 0}),
]  # fmt: skip

ONE, THREE, NONE = (np.array([n]) for n in (1, 3, 0))
EDGES = {"first": False, "last": False}
SHAPED += [
    ("ticking", np.array([0, 2]), [np.array([[True, True], [True, False], [False, True]])],
     {"row": 1}),
    ("ticking", np.array([], np.int64), [np.array([[True, False]])], {"row": 1}),
    ("window", SQUARE[:, 1:3], [SQUARE, ONE, THREE], {"dim": 1}),
    ("window", SQUARE[..., :0], [SQUARE, NONE, NONE], {"dim": 2}),
    ("replaced", np.array([0.0, 7, 8, 3]), [np.arange(4.0), np.array([7.0, 8]), ONE, THREE],
     {"dim": 0, **EDGES}),
    ("replaced", np.array([[7.0, 8, 9, 3]]), [np.arange(4.0)[None], np.array([[7.0, 8, 9]]), NONE,
     THREE], {"dim": 1, **EDGES, "first": True}),
    ("replaced", np.array([0.0, 7, 8]), [np.arange(3.0), np.array([7.0, 8]), ONE, THREE],
     {"dim": 0, **EDGES, "last": True}),
    ("replaced", SQUARE, [SQUARE, SQUARE[..., :0], NONE, NONE], {"dim": 2, **EDGES}),
]  # fmt: skip

DECAY = np.array([[0.5, -1.0], [0.0, 2.0], [0.25, 1.0]])
SHAPED += [
    ("linear_scan", np.array([[1.5, -1.0], [2.0, -1.0], [3.5, 1.0]]),
     [DECAY, np.array([[1.0, 0], [2, 1], [3, 2]]), np.array([1.0, 1])],
     {"forward": True, "states": 1}),
    ("linear_scan", np.array([6.0, 10, 18]),
     [np.array(0.5), np.array([1.0, 1, 1]) * [1, 1, 2], np.array(32.0)],
     {"forward": False, "states": 1}),
    ("linear_scan", np.array([[2.0, 1], [-1, 3]]),
     [*np.array([[0.0], [-1], [1], [0]]), np.array([[1.0], [0]]), np.array([[0.0], [1]]),
      *np.array([[1.0], [-1]])],
     {"forward": True, "states": 2}),
]  # fmt: skip


def memories(k: NDA, v: NDA, f: NDA, first: NDA, forward: bool) -> tuple[NDA, NDA]:
    """S[t] = f[t] S[t-1] + v[t] k[t]ᵀ before and after each step, [T, *rest, m, n]."""
    before: list[NDA] = []
    after: list[NDA] = []
    state = first
    for t in range(len(k))[:: 1 if forward else -1]:
        factor = f[t][..., None, None] if f.ndim else f
        before.append(state)
        state = factor * state + v[t][..., :, None] * k[t][..., None, :]
        after.append(state)
    turn = slice(None, None, 1 if forward else -1)
    return np.stack(before[turn]), np.stack(after[turn])


def tables(f: NDA, steps: int) -> NDA:
    """Products of factors between the edges of chunks, by their definition."""
    if not f.ndim:
        return np.array([[np.prod([f] * (i - j)) * (i >= j) for j in range(CHUNK + 1)]
                         for i in range(CHUNK + 1)])  # fmt: skip
    flat = f.reshape(steps, -1)
    size = min(steps, CHUNK)
    full = np.concatenate([flat, np.ones((-steps % size, flat.shape[1]))])
    found = np.zeros((len(full) // size, flat.shape[1], size + 1, size + 1))
    for chunk, n, i, j in np.ndindex(found.shape):
        if i >= j:
            found[chunk, n, i, j] = full[chunk * size + j : chunk * size + i, n].prod()
    return found


def matrices() -> Iterator[tuple[str, NDA, list[NDA], dict[str, Any]]]:
    """Fewer steps than a chunk has, as many, and more, of no, two and six sequences."""
    rng = np.random.default_rng(0)
    none = np.array(0.0)
    for steps, rest in (
        (3, ()),
        (20, (2,)),
        (CHUNK, (2,)),
        (2 * CHUNK + 5, (2, 3)),
        (CHUNK + 1, ()),
    ):
        q, k, b = rng.normal(size=(3, steps, *rest, 3))
        v, a = rng.normal(size=(2, steps, *rest, 2))
        first, last = rng.normal(size=(2, *rest, 2, 3))
        f, g = np.array(0.75), rng.choice([0, 0.5, 1, -1e-4], (steps, *rest))
        ps = {id(x): tables(x, steps) for x in (f, g)}
        yield "products", ps[id(f)], [f], {}
        yield "products", ps[id(g)], [g], {}
        for forward, own, factor, start in (
            (True, True, f, first), (True, False, g, first),
            (False, True, g, last), (False, False, f, none), (False, True, f, none),
        ):  # fmt: skip
            begin = np.broadcast_to(start, last.shape)
            states = memories(k, v, factor, begin, forward)[own]
            yield ("linear_attention", np.einsum("...ij,...j->...i", states, q),
                   [q, k, v, ps[id(factor)], factor, start],
                   {"forward": forward, "own": own})  # fmt: skip
        for x, y, start, end in ((f, g, first, last), (g, f, first, none), (g, g, none, last)):
            begin, beyond = (np.broadcast_to(m, last.shape) for m in (start, end))
            before = memories(k, v, x, begin, True)[0]
            after = memories(b, a, y, beyond, False)[0]
            yield ("state_product", (before * after).sum((-1, -2)),
                   [k, v, ps[id(x)], start, b, a, ps[id(y)], end], {})  # fmt: skip


SHAPED += matrices()


@pytest.mark.parametrize("opset", [13, 18, 21])
@pytest.mark.parametrize(
    ("op", "wanted", "operands", "attrs"), SHAPED, ids=[f"{s[0]}-{i}" for i, s in enumerate(SHAPED)]
)
def test_shaped(
    op: str, wanted: NDA, operands: list[NDA], attrs: dict[str, Any], opset: int
) -> None:
    for dtype, tolerance in (("float64", 1e-13), ("float32", 1e-5)):
        found = run_op(op, operands, wanted, dtype, opset, **attrs)
        assert found.shape == wanted.shape
        assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)
        both = run_op(op, operands, wanted, dtype, opset, in_loop=True, **attrs)
        assert_allclose(both, np.stack([wanted] * 2), rtol=tolerance, atol=tolerance)


def test_every_op_of_a_plan_is_tested() -> None:
    tested = OPS.keys() | {s[0] for s in SHAPED} | {"stop_gradient"}
    assert tested == FORMS.keys() | {"constant", "eye"}
    table = (Compute.__doc__ or "").split("=====\n")[1:]
    named = {w.strip(",") for line in table[0].splitlines() for w in line[4:21].split()}
    assert {n for n in named if n.isidentifier()} <= tested | {"native"}  # in test_native


# ---------------------------------------------------------------- the form of the graph


def body_of(model: onnx.ModelProto) -> list[str]:
    (scan,) = [n for n in model.graph.node if n.op_type == "Scan"]
    (body,) = [a.g for a in scan.attribute if a.name == "body"]
    return [n.op_type for n in body.node]


def test_fused_lstm_has_a_short_body() -> None:
    plan = schedule(fused(simplify(system_of(specs_root() / "cells/lstm.rnn"))))
    body = body_of(to_onnx(plan))
    assert body.count("Gemm") == 1
    assert "MatMul" not in body
    assert "Slice" not in body
    assert len(body) <= 13


def test_names_and_origins() -> None:
    path = specs_root() / "cells/lstm.rnn"
    model = to_onnx(schedule(system_of(path)), metadata={"a": "b"})
    assert [o.name for o in model.graph.output] == ["h", "c"]
    assert [d.dim_param for d in model.graph.output[0].type.tensor_type.shape.dim[:2]] == [
        "batch", "T",
    ]  # fmt: skip
    assert {n.name for n in model.graph.node} >= {"h", "c"}
    assert all(n.name == n.output[0] for n in model.graph.node)
    assert any(n.doc_string.startswith("lstm.rnn:") for n in model.graph.node)
    assert (model.ir_version, model.opset_import[0].version) == (8, 18)
    assert [(p.key, p.value) for p in model.metadata_props] == [("a", "b")]


def test_what_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = schedule(system_of(specs_root() / "cells/lstm.rnn"))
    with pytest.raises(UsageError, match="opset 12 cannot be written"):
        to_onnx(plan, opset=12)
    with pytest.raises(DataError, match=r"the weights lack W_f, which is \[4, 3\]"):
        to_onnx(plan, weights={})
    weights = data_for(plan.params, {})
    with pytest.raises(DataError, match=r"the weight U_o is \[2\]; wanted is \[4, 4\]"):
        to_onnx(plan, weights={**weights, "U_o": np.zeros(2)})
    monkeypatch.setattr(onnx_graph, "LARGE", 100)
    with pytest.warns(UserWarning, match="loads it very slowly"):
        to_onnx(plan)
    monkeypatch.setattr(onnx_graph, "LIMIT", 200)
    with pytest.raises(UsageError, match="an ONNX file ends at 2 GiB"):
        to_onnx(plan, weights=weights)


# ---------------------------------------------------------------- arrays from outside


X = PortInfo("x", "input", (BATCH, "T", 28))
W = PortInfo("w", "input", (BATCH, "T"), "index", 5)
F = PortInfo("on", "input", (BATCH,), "flag")
H = PortInfo("h.prev", "state", (BATCH, 4))
R = PortInfo("r", "uniform", (BATCH, "T"))
LENGTH = PortInfo("T", "length", (), "index")
GOOD = np.zeros((2, 7, 28))
WORDS = np.zeros((2, 7), int)


@pytest.mark.parametrize(
    ("ports", "arrays", "message"),
    [
        ([X], {"X": GOOD}, "the model takes no X; did you mean x?"),
        ([X], {"speech": GOOD}, "the model takes no speech; it takes x"),
        ([X], {}, "the input x is missing; wanted is x : [batch, T, 28]"),
        ([X], {"x": GOOD[0]},
         "x is [T, 28], rnnc arrays are batch-first [batch, T, 28]: x[None] is a batch of one"),
        ([X], {"x": GOOD[0, 0]}, "x has 1 dimensions, [28]; wanted are 3: x : [batch, T, 28]"),
        ([X], {"x": GOOD[..., :3]},
         "x is [2, 7, 3], but dimension 2 must be 28: x : [batch, T, 28]"),
        ([X], {"x": GOOD[:0]},
         "x is [0, 7, 28]: it is an empty batch; wanted is x : [batch, T, 28]"),
        ([X], {"x": GOOD[:, :0]},
         "x is [2, 0, 28]: it has no steps (T = 0); wanted is x : [batch, T, 28]"),
        ([X], {"x": GOOD + 1j}, "x holds complex128; wanted are real numbers: x : [batch, T, 28]"),
        ([X], {"x": GOOD.astype(object)},
         "x holds object; wanted are real numbers: x : [batch, T, 28]"),
        ([X, W], {"x": GOOD, "w": WORDS[:1]}, "w has 1 sequences, x has 2"),
        ([X, W], {"x": GOOD, "w": WORDS[:, :3]}, "w has 3 steps (T), x has 7"),
        ([W], {"w": WORDS + 0.0},
         "w holds float64; wanted are whole numbers: w : index(5) [batch, T]; use w.astype(int)"),
        ([W], {"w": WORDS + 5}, "w holds 5; indices go from 0 to 4"),
        ([W], {"w": WORDS - 1}, "w holds -1; indices go from 0 to 4"),
        ([F], {"on": WORDS[:, 0]},
         "on holds int64; wanted are booleans: on : flag [batch]; use on.astype(bool)"),
        ([H], {}, "the state h.prev is missing; wanted is h.prev : [batch, 4]"),
        ([X, LENGTH], {"x": GOOD, "T": 3}, "T has 3 steps (T), x has 7"),
        ([LENGTH], {"T": 0}, "T = 0; a length is at least 1"),
        ([X], {"x": [[1, 2], [3]]}, "x is no array"),
    ],
)  # fmt: skip
def test_wrong_inputs(ports: list[PortInfo], arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as e:
        check_inputs(ports, arrays, "float32")
    assert str(e.value).startswith(message)


def test_right_inputs() -> None:
    found = check_inputs([H, X, R, W, LENGTH], {"x": GOOD, "w": WORDS.astype(np.uint8)}, "float32")
    assert {n: (a.dtype.name, a.shape) for n, a in found.items()} == {
        "x": ("float32", (2, 7, 28)),
        "w": ("int64", (2, 7)),
        "h.prev": ("float32", (2, 4)),
        "r": ("float32", (2, 7)),
        "T": ("int64", ()),
    }
    assert found["T"] == 7
    assert_array_equal(found["r"], uniform("r", (2, 7), 0, "float32"))
    assert_allclose(found["r"], uniform("r", (2, 7), 0), atol=1e-7)
    assert not np.array_equal(found["r"], uniform("s", (2, 7), 0, "float32"))
    assert not np.array_equal(found["r"], uniform("r", (2, 7), 1, "float32"))


def test_model_on_disk(tmp_path: Path) -> None:
    system = system_of(specs_root() / "models/lstm_classifier.rnn")
    plan = schedule(system)
    weights, data = (data_for(p, {"t": 4, BATCH: 2}) for p in (plan.params, plan.inputs))
    model = load(plan, "float32", weights=weights)
    model.save(tmp_path / "m.onnx")
    again = OnnxModel(tmp_path / "m.onnx")
    for name, array in model(**data).items():
        assert_array_equal(array, again.run(data)[name])
    assert again.ports == parse_ports(ports_json(plan, weights_given=False))
    assert "parameters" in again.summary()
    assert "LSTM" in repr(again)
    with pytest.raises(DataError, match="the model holds its weights"):
        again(**data, weights=weights)
    with pytest.raises(UsageError, match="cannot be read"):
        OnnxModel(tmp_path / "other.onnx")
    with pytest.raises(UsageError, match="cannot load"):
        OnnxModel(b"nonsense")
    with pytest.raises(UsageError, match="not written by rnnc"):
        OnnxModel(to_onnx(plan).SerializeToString())
    table = json.loads(ports_json(plan))
    with pytest.raises(UsageError, match="newer"):
        parse_ports(json.dumps({**table, "format": 99}))
    with pytest.raises(UsageError, match="damaged"):
        parse_ports("{}")
