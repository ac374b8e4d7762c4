"""The ONNX form of every operation of a Plan: one rule each, in the table at the end.

A rule writes one node where onnxruntime has a kernel for the kind and the dtype, else the few
nodes that mean the same. What its CPU provider lacks, measured with 1.31: Softplus and Erf of
float64, Where of flags; Mod floors whole numbers alone, and fails where the divisor is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnc.backends.onnx_attention import linear_attention, products, state_product
from rnnc.backends.onnx_scan import linear_scan
from rnnc.backends.onnx_writer import ONNX_TYPES, Writer
from rnnc.graph.types import Array
from rnnc.passes.plan import Compute, Extent
from rnnc.source import InternalError

NDA = NDArray[Any]

# ---------------------------------------------------------------- elementwise

# w: where to write; s: the statement; x: names of its operands; out: the name of its result
Rule = Callable[[Writer, Compute, list[str], str], object]


def _plain(op: str) -> Rule:
    return lambda w, s, x, out: w.node(op, x, out)


def _softplus(w: Writer, s: Compute, x: list[str], out: str) -> object:
    """max(x, 0) + log(1 + u) with u = exp(-|x|); log(v) - ((v - 1) - u) / v of v = 1 + u
    is log(1 + u) without the loss of small u."""
    if not w.double:
        return w.node("Softplus", x, out)
    one = w.const(1.0)
    u = w.node("Exp", [w.node("Neg", [w.node("Abs", x)])])
    v = w.node("Add", [u, one])
    lost = w.node("Sub", [w.node("Sub", [v, one]), u])
    log = w.node("Sub", [w.node("Log", [v]), w.node("Div", [lost, v])])
    return w.node("Add", [w.node("Relu", x), log], out)


# Numerators and denominators, the highest power first. Below 0.46875 erf(x) = x p(x²) / q(x²),
# above erf(x) = 1 - exp(-x²) p(x) / q(x). W. J. Cody, Rational Chebyshev approximations for the
# error function, Mathematics of Computation 23, 1969.
_ERF_SMALL = (
    (1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2,
     3.77485237685302021e2, 3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3,
     2.84423683343917062e3),
)  # fmt: skip
_ERF_LARGE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0,
     6.61191906371416295e1, 2.98635138197400131e2, 8.81952221241769090e2,
     1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
     1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3,
     3.43936767414372164e3, 1.23033935480374942e3),
)  # fmt: skip


def _polynomial(w: Writer, x: str, factors: Sequence[float]) -> str:
    total = w.const(factors[0])
    for factor in factors[1:]:
        total = w.node("Add", [w.node("Mul", [total, x]), w.const(factor)])
    return total


def _erf(w: Writer, s: Compute, x: list[str], out: str) -> object:
    if not w.double:
        return w.node("Erf", x, out)

    def ratio(at: str, factors: tuple[Sequence[float], Sequence[float]]) -> str:
        return w.node("Div", [_polynomial(w, at, f) for f in factors])

    size = w.node("Min", [w.node("Abs", x), w.const(6.0)])  # 1 to the last digit from there on
    square = w.node("Mul", [size, size])
    small = w.node("Mul", [x[0], ratio(square, _ERF_SMALL)])
    rest = w.node("Mul", [w.node("Exp", [w.node("Neg", [square])]), ratio(size, _ERF_LARGE)])
    large = w.node("Mul", [w.node("Sign", x), w.node("Sub", [w.const(1.0), rest])])
    return w.node("Where", [w.node("Less", [size, w.const(0.46875)]), small, large], out)


def _mod(w: Writer, s: Compute, x: list[str], out: str) -> object:
    """Floored: the result has the sign of the divisor. For reals that is the remainder of C's
    fmod, plus the divisor where the signs differ, which is exact."""
    a, b = x
    if w.type(s.target).kind == "index":
        divisor = w.known.get(s.args[1])
        if divisor is None or not divisor.all():  # like NumPy, x % 0 = 0
            b = w.node("Where", [w.node("Equal", [b, w.const(0, "index")]), w.const(1, "index"), b])
        return w.node("Mod", [a, b], out)
    rest = w.node("Mod", x, fmod=1)
    apart = w.node("Less", [w.node("Mul", [rest, w.node("Sign", [b])]), w.const(0.0)])
    return w.node("Where", [apart, w.node("Add", [rest, b]), rest], out)


def _unequal(w: Writer, s: Compute, x: list[str], out: str) -> object:
    return w.node("Not", [w.node("Equal", x)], out)


def _where(w: Writer, s: Compute, x: list[str], out: str) -> object:
    if w.type(s.target).kind != "flag":
        return w.node("Where", x, out)
    condition, a, b = x
    neither = w.node("Not", [condition])
    return w.node("Or", [w.node("And", [condition, a]), w.node("And", [neither, b])], out)


def _to_real(w: Writer, s: Compute, x: list[str], out: str) -> object:
    return w.node("Cast", x, out, to=int(ONNX_TYPES[w.dtype("real")]))


# ---------------------------------------------------------------- leaves


def constant(w: Writer, s: Compute) -> NDA:
    """The value of a ``constant`` or ``eye``."""
    value = np.eye(s.attr("size")) if s.op == "eye" else s.attr("value")
    return w.cast(value.data if isinstance(value, Array) else value, w.type(s.target).kind)


def _step(w: Writer, s: Compute, x: list[str], out: str) -> object:
    one = w.const(1, "index")
    return w.node("Range", [one, w.node("Add", [w.length(s.attr("axis")), one]), one], out)


def _length(w: Writer, s: Compute, x: list[str], out: str) -> object:
    return w.node("Identity", [w.length(s.attr("axis"))], out)


# ---------------------------------------------------------------- products and reductions


def _crossprod(w: Writer, s: Compute, x: list[str], out: str) -> object:
    rows = []
    for array, name in zip(s.args, x, strict=True):
        dims = w.type(array).dims
        if len(dims) != 2:
            (*_, columns) = dims
            assert isinstance(columns, int)
            name = w.node("Reshape", [name, w.ints(-1, columns)])
        rows.append(name)
    return w.node("Gemm", rows, out, transA=1)


def _scatter(w: Writer, s: Compute, x: list[str], out: str) -> object:
    size, *row = (d for d in w.type(s.target).dims if isinstance(d, int))
    places = w.node("Reshape", [x[1], w.ints(-1, 1)])
    rows = w.node("Reshape", [x[0], w.ints(-1, *row)])
    if w.opset < 16:  # ScatterND does not add up yet
        table = w.node("Range", [w.const(i, "index") for i in (0, size, 1)])
        chosen = w.node(
            "Cast", [w.node("Equal", [places, table])], to=int(ONNX_TYPES[w.dtype("real")])
        )
        flat = w.node("Reshape", [rows, w.ints(-1, math.prod(row))])
        product = w.node("Gemm", [chosen, flat], transA=1)
        return w.node("Reshape", [product, w.ints(size, *row)], out)
    empty = w.node("Expand", [w.const(0.0), w.ints(size, *row)])
    return w.node("ScatterND", [empty, places, rows], out, reduction="add")


def _einsum(w: Writer, s: Compute, x: list[str], out: str) -> object:
    return w.node("Einsum", x, out, equation=s.attr("equation"))


def _reduce(op: str, axes_as_input_from: int) -> Rule:
    def rule(w: Writer, s: Compute, x: list[str], out: str) -> object:
        dims, keep = s.attr("dims"), int(("keep", True) in s.attrs)
        if w.opset >= axes_as_input_from:
            return w.node(op, [*x, w.ints(*dims)], out, keepdims=keep)
        return w.node(op, x, out, axes=tuple(dims), keepdims=keep)

    return rule


def _argmax(w: Writer, s: Compute, x: list[str], out: str) -> object:
    return w.node("ArgMax", x, out, axis=s.attr("dim"), keepdims=0, select_last_index=0)


def _softmax(op: str) -> Rule:
    return lambda w, s, x, out: w.node(op, x, out, axis=s.attr("dim"))


# ---------------------------------------------------------------- dimensions


def _permute(w: Writer, s: Compute, x: list[str], out: str) -> object:
    return w.node("Transpose", x, out, perm=tuple(s.attr("order")))


def _unsqueeze(w: Writer, s: Compute, x: list[str], out: str) -> object:
    return w.node("Unsqueeze", [*x, w.ints(*s.attr("at"))], out)


def _squeeze(w: Writer, s: Compute, x: list[str], out: str) -> object:
    return w.node("Squeeze", [*x, w.ints(*s.attr("at"))], out)


def _reshape(w: Writer, s: Compute, x: list[str], out: str) -> object:
    before, after = w.type(s.args[0]).dims, w.type(s.target).dims
    same = 0
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    rest = after[same:]  # in front of it 0 says: as it was
    if sum(isinstance(d, str) for d in rest) <= 1:
        sizes = [d if isinstance(d, int) else -1 for d in rest]
        return w.node("Reshape", [*x, w.ints(*(0,) * same, *sizes)], out)
    return w.node("Reshape", [*x, w.shape(after)], out)


def _expand(w: Writer, s: Compute, x: list[str], out: str) -> object:
    return w.node("Expand", [*x, w.shape(w.type(s.target).dims)], out)


def _concat(w: Writer, s: Compute, x: list[str], out: str) -> object:
    return w.node("Concat", x, out, axis=s.attr("dim"))


def _slice(w: Writer, s: Compute, x: list[str], out: str) -> object:
    ends = [w.ints(s.attr(k)) for k in ("start", "stop", "dim")]
    return w.node("Slice", [*x, *ends], out)


def _ticking(w: Writer, s: Compute, x: list[str], out: str) -> object:
    flags = w.node("Gather", [x[0], w.const(s.attr("row"), "index")], axis=1)
    return w.node("Squeeze", [w.node("NonZero", [flags]), w.ints(0)], out)


def _window(w: Writer, s: Compute, x: list[str], out: str) -> object:
    return w.node("Slice", [*x, w.ints(s.attr("dim"))], out)


def _replaced(w: Writer, s: Compute, x: list[str], out: str) -> object:
    base, rows, low, high = x
    dim = w.ints(s.attr("dim"))
    parts = [rows]
    if not s.attr("first"):
        parts.insert(0, w.node("Slice", [base, w.ints(0), low, dim]))
    if not s.attr("last"):
        parts.append(w.node("Slice", [base, high, w.ints(2**31 - 1), dim]))
    return w.node("Concat", parts, out, axis=s.attr("dim"))


def split(w: Writer, parts: Sequence[Compute]) -> None:
    """Several slices of one array as one node; they lie one after the other."""
    sizes: list[int] = []
    outputs: list[str] = []
    end = 0
    size = w.type(parts[0].args[0]).dims[parts[0].attr("dim")]
    for s in parts:
        start, stop = s.attr("start"), s.attr("stop")
        if start > end:  # nobody reads what lies between
            sizes.append(start - end)
            outputs.append(w.fresh(f"{s.args[0]}:rest"))
        sizes.append(stop - start)
        outputs.append(w.define(s.target))
        end = stop
    if isinstance(size, int) and size > end:
        sizes.append(size - end)
        outputs.append(w.fresh(f"{parts[0].args[0]}:rest"))
    counted = {"num_outputs": len(sizes)} if w.opset >= 18 and len(set(sizes)) == 1 else {}
    inputs = [w.name(parts[0].args[0])]
    if not counted:
        inputs.append(w.ints(*sizes))
    w.node("Split", inputs, outputs[0], axis=parts[0].attr("dim"), **counted)
    w.nodes[-1].output.extend(outputs[1:])


def split_steps(w: Writer, picks: Sequence[Compute]) -> dict[str, Sequence[Extent]]:
    """Entries of a dimension as one node, without a squeeze of each: that dimension and the next
    are merged, and cut into equal parts. Gives what was written, with dimensions where these are
    known."""
    array, dim = picks[0].args[0], picks[0].attr("dim")
    dims = w.type(array).dims
    count, part = int(dims[dim]), [*dims[:dim], *dims[dim + 1 :]]
    merged = [count * d if i == dim and isinstance(d, int) else d for i, d in enumerate(part)]
    rows = w.node("Reshape", [w.name(array), w.ints(*map(_target, merged))])
    outputs = [w.fresh(f"{array}:rest") for _ in range(count)]
    for s in picks:
        outputs[s.attr("index")] = w.define(s.target)
    counted = {"num_outputs": count} if w.opset >= 18 else {}
    w.node("Split", [rows], outputs[0], axis=dim, **counted)
    w.nodes[-1].output.extend(outputs[1:])
    written: dict[str, Sequence[Extent]] = dict.fromkeys(outputs, part)
    return {rows: merged, **written} if isinstance(merged[dim], int) else written


def _target(d: Extent) -> int:
    """A length in the target of a reshape; the one that is not known is found by it."""
    return d if isinstance(d, int) else -1


def _repeat(w: Writer, s: Compute, x: list[str], out: str) -> object:
    size = w.type(s.args[0]).dims[-1]
    if not isinstance(size, int):
        raise InternalError(f"{s.target} repeats the entries of an axis")
    places = w.const(np.repeat(np.arange(size), s.attr("count")), "index")
    return w.node("Gather", [*x, places], out, axis=-1)


# ---------------------------------------------------------------- choosing


def _take(w: Writer, s: Compute, x: list[str], out: str) -> object:
    return w.node("Gather", x, out, axis=0)


def _take_along(w: Writer, s: Compute, x: list[str], out: str) -> object:
    return w.node("GatherElements", x, out, axis=-1)


def _onehot(w: Writer, s: Compute, x: list[str], out: str) -> object:
    places = w.const(np.arange(s.attr("size")), "index")
    column = w.node("Unsqueeze", [*x, w.ints(-1)])
    return _to_real(w, s, [w.node("Equal", [column, places])], out)


def _cumsum(w: Writer, s: Compute, x: list[str], out: str) -> object:
    return w.node("CumSum", [*x, w.const(-1, "index")], out)


def _kth_largest(w: Writer, s: Compute, x: list[str], out: str) -> object:
    count = s.attr("count")
    largest = w.node("TopK", [*x, w.ints(count)], axis=-1, largest=1, sorted=1)
    w.nodes[-1].output.append(w.fresh(f"{s.target}:places"))
    return w.node("Gather", [largest, w.const(count - 1, "index")], out, axis=-1)


def _diag(w: Writer, s: Compute, x: list[str], out: str) -> object:
    size = w.type(s.args[0]).dims[-1]
    column = w.node("Unsqueeze", [*x, w.ints(-1)])
    return w.node("Where", [w.const(np.eye(int(size)), "flag"), column, w.const(0.0)], out)


def _shift(w: Writer, s: Compute, x: list[str], out: str) -> object:
    """The steps that do not exist are put where they would be, and as many cut off the other
    end; that holds for sequences shorter than the shift, too."""
    by, dim, rows = s.attr("by"), s.attr("dim"), dict.fromkeys(x[1:], "")
    for edge in rows:
        rows[edge] = w.node("Unsqueeze", [edge, w.ints(dim)])
    edges = [rows[edge] for edge in x[1:]]
    parts, start, stop = [x[0], *edges], by, 2**63 - 1
    if by < 0:
        parts, start, stop = [*edges[::-1], x[0]], 0, by
    joined = w.node("Concat", parts, axis=dim)
    return w.node("Slice", [joined, w.ints(start), w.ints(stop), w.ints(dim)], out)


def _dim(s: Compute) -> int:
    """The dimension of steps: the first, or what the statement says."""
    return next((value for key, value in s.attrs if key == "dim"), 0)  # type: ignore[return-value]


def _segment(w: Writer, s: Compute, x: list[str], out: str) -> object:
    """In float64, whose roots of square numbers are exact."""
    root = w.node("Ceil", [w.node("Sqrt", [w.node("Cast", x, to=int(ONNX_TYPES["float64"]))])])
    return w.node("Cast", [root], out, to=int(ONNX_TYPES["int64"]))


def _segments(w: Writer, s: Compute, x: list[str], out: str) -> object:
    """Rounded up; Div of whole numbers rounds down."""
    length, steps = x
    most = w.node("Sub", [w.node("Add", [length, steps]), w.const(1, "index")])
    return w.node("Div", [most, steps], out)


def _part(w: Writer, s: Compute, x: list[str], out: str) -> object:
    array, before = x
    dim = s.attr("dim")
    start = w.node("Unsqueeze", [before, w.ints(0)])
    end = w.node("Add", [start, w.extent(w.type(s.target).dims[dim])])
    return w.node("Slice", [array, start, end, w.ints(dim)], out)


def _padded(w: Writer, s: Compute, x: list[str], out: str) -> object:
    dims, dim = w.type(s.target).dims, s.attr("dim")
    more = w.node("Sub", [w.extent(w.type(a).dims[dim]) for a in (s.target, *s.args)])
    before, after = (0,) * (len(dims) + dim), (0,) * (len(dims) - dim - 1)
    counts = [*([w.ints(*before)] if before else []), more, *([w.ints(*after)] if after else [])]
    return w.node("Pad", [*x, w.node("Concat", counts, axis=0)], out)


def _joined(w: Writer, s: Compute, x: list[str], out: str) -> object:
    dims, dim = w.type(s.target).dims, s.attr("dim")
    front = w.node("Transpose", x, perm=(*range(1, dim + 1), 0, *range(dim + 1, len(dims) + 1)))
    sizes = [w.ints(*(0,) * dim, -1), *(w.extent(d) for d in dims[dim + 1 :])]
    joined = w.node("Reshape", [front, w.node("Concat", sizes, axis=0)])
    return w.node("Slice", [joined, w.ints(0), w.extent(dims[dim]), w.ints(dim)], out)


def _pick(w: Writer, s: Compute, x: list[str], out: str) -> object:
    return w.node("Gather", [*x, w.const(s.attr("index"), "index")], out, axis=_dim(s))


def _stack(w: Writer, s: Compute, x: list[str], out: str) -> object:
    """Parts joined along the dimension before which the new one stands, which a reshape then
    takes apart: no node for each part."""
    dim = _dim(s)
    dims = w.type(s.target).dims
    if dim + 1 < len(dims) and sum(isinstance(d, str) for d in dims) <= 1:
        rows = w.node("Concat", x, axis=dim)
        return w.node(
            "Reshape", [rows, w.ints(*(-1 if isinstance(d, str) else d for d in dims))], out
        )
    parts: dict[str, str] = {}
    for part in x:
        if part not in parts:
            parts[part] = w.node("Unsqueeze", [part, w.ints(dim)])
    return w.node("Concat", [parts[part] for part in x], out, axis=dim)


FORMS: Mapping[str, Rule] = {
    **{
        name: _plain(op)
        for name, op in {
            "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "sin": "Sin", "cos": "Cos", "tanh": "Tanh",
            "sigmoid": "Sigmoid", "relu": "Relu", "floor": "Floor", "neg": "Neg", "abs": "Abs",
            "sign": "Sign", "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow",
            "minimum": "Min", "maximum": "Max", "eq": "Equal", "lt": "Less", "le": "LessOrEqual",
            "gt": "Greater", "ge": "GreaterOrEqual", "and": "And", "or": "Or", "not": "Not",
            "copy": "Identity", "stop_gradient": "Identity", "matmul": "MatMul",
        }.items()
    },
    "softplus": _softplus,
    "erf": _erf,
    "mod": _mod,
    "ne": _unequal,
    "where": _where,
    "to_real": _to_real,
    "step": _step,
    "length": _length,
    "crossprod": _crossprod,
    "scatter": _scatter,
    "cumsum": _cumsum,
    "kth_largest": _kth_largest,
    "einsum": _einsum,
    "sum": _reduce("ReduceSum", 13),
    "max": _reduce("ReduceMax", 18),
    "min": _reduce("ReduceMin", 18),
    "argmax": _argmax,
    "softmax": _softmax("Softmax"),
    "log_softmax": _softmax("LogSoftmax"),
    "permute": _permute,
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "reshape": _reshape,
    "expand": _expand,
    "concat": _concat,
    "slice": _slice,
    "ticking": _ticking,
    "window": _window,
    "replaced": _replaced,
    "repeat": _repeat,
    "take": _take,
    "take_along": _take_along,
    "onehot": _onehot,
    "diag": _diag,
    "segment": _segment,
    "segments": _segments,
    "part": _part,
    "padded": _padded,
    "joined": _joined,
    "shift": _shift,
    "pick": _pick,
    "stack": _stack,
    "linear_scan": linear_scan,
    "products": products,
    "linear_attention": linear_attention,
    "state_product": state_product,
}  # fmt: skip
