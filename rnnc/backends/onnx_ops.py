"""The ONNX form of every operation of a Plan: one rule each, in the table at the end.

A rule writes one node where onnxruntime has a kernel for the kind and the dtype, else the few
nodes that mean the same. What its CPU provider lacks, measured with 1.31: Softplus and Erf of
float64, Where of flags; Mod floors whole numbers alone, and fails where the divisor is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from onnx import AttributeProto, NodeProto, TensorProto

from rnnc.graph.types import Array, Kind
from rnnc.passes.plan import ArrayType, Compute, Extent, Plan
from rnnc.source import InternalError, Span

NDA = NDArray[Any]

ONNX_TYPES: dict[str, TensorProto.DataType] = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
}


class Writer:
    """The nodes written so far, and the names of arrays.

    ``nodes`` is the graph being written, ``outer`` the main graph: they differ inside a loop,
    where shapes and constants still go outside.
    """

    def __init__(self, plan: Plan, dtype: str, opset: int, taken: set[str]):
        self.plan = plan
        self.opset = opset
        self.dtypes: dict[Kind, str] = {"real": dtype, "index": "int64", "flag": "bool"}
        self.outer: list[NodeProto] = []
        self.nodes = self.outer
        self.initializers: list[TensorProto] = []
        self.pending: dict[str, NDA] = {}  # weights and constants, by array, until they are read
        self.known: dict[str, NDA] = {}  # constants that rules may look into
        self.names: dict[str, str] = {}
        self.local: dict[str, str] = {}  # names in the loop being written, before those above
        self.origin = ""
        self._taken = taken
        self._count: dict[str, int] = {}
        self._made: dict[Hashable, str] = {}
        self._origins: dict[tuple[int, int], str] = {}

    # ---------------------------------------------------------------- names and types

    def fresh(self, base: str) -> str:
        """A name that nothing else has; ``base`` itself where it is free."""
        name = base = base.replace(" ", "_")
        while name in self._taken:
            self._count[base] = self._count.get(base, 0) + 1
            name = f"{base}.{self._count[base]}"
        self._taken.add(name)
        return name

    def name(self, array: str) -> str:
        """The name of an array of the plan as an operand."""
        known = self.local.get(array)
        if known is not None:
            return known
        if array in self.pending:
            self.initializer(self.names[array], self.pending.pop(array))
        return self.names[array]

    def define(self, array: str) -> str:
        """The name that an array of the plan is about to be given as a result."""
        if self.nodes is self.outer:
            return self.names.get(array) or self.names.setdefault(array, self.fresh(array))
        return self.local.setdefault(array, self.fresh(array))

    def type(self, array: str) -> ArrayType:
        return self.plan.arrays[array]

    def dtype(self, kind: Kind) -> str:
        return self.dtypes[kind]

    @property
    def double(self) -> bool:
        return self.dtypes["real"] == "float64"

    def quote(self, origins: tuple[Span, ...]) -> None:
        """Nodes written from now on came from there."""
        if not origins:
            self.origin = ""
            return
        span = origins[0]
        key = (id(span.source), span.start)
        if key not in self._origins:
            file = span.source.name.replace("\\", "/").rpartition("/")[2]
            self._origins[key] = f"{file}:{span.line}"
        self.origin = self._origins[key]

    # ---------------------------------------------------------------- nodes

    def node(
        self, op: str, inputs: Sequence[str], output: str | None = None, **attrs: Any
    ) -> str:
        """Write one node; without ``output`` its result gets a name of its own."""
        output = output or self.fresh(f"{op}.{len(self._taken)}")
        self.nodes.append(
            NodeProto(
                op_type=op,
                input=inputs,
                output=(output,),
                name=output,
                doc_string=self.origin,
                attribute=[attribute(k, v) for k, v in attrs.items()],
            )
        )
        return output

    def outside(self, op: str, inputs: Sequence[str], **attrs: Any) -> str:
        """A node of the main graph, written once however often it is asked for."""
        key = (op, tuple(inputs), tuple(attrs.items()))
        if key not in self._made:
            nodes, origin = self.nodes, self.origin
            self.nodes, self.origin = self.outer, ""
            self._made[key] = self.node(op, inputs, **attrs)
            self.nodes, self.origin = nodes, origin
        return self._made[key]

    def initializer(self, name: str, data: NDA) -> str:
        data = np.ascontiguousarray(data).reshape(data.shape)
        little = data.astype(data.dtype.newbyteorder("<"), copy=False)
        self.initializers.append(
            TensorProto(
                name=name,
                dims=data.shape,
                data_type=ONNX_TYPES[data.dtype.name],
                raw_data=little.tobytes(),
            )
        )
        return name

    def const(self, value: ArrayLike, kind: Kind = "real") -> str:
        """A constant, stored once."""
        data = self.cast(value, kind)
        key = ("const", kind, data.shape, data.tobytes())
        if key not in self._made:
            text = str(data.item()) if data.size == 1 and data.ndim == 0 else "array"
            self._made[key] = self.initializer(self.fresh(f"{kind}.{text}"), data)
        return self._made[key]

    def ints(self, *values: int) -> str:
        """A list of whole numbers, as shapes and axes are given."""
        return self.const(values, "index")

    def cast(self, value: ArrayLike, kind: Kind) -> NDA:
        with np.errstate(over="ignore"):  # 1e300 is inf in float32
            return np.asarray(value).astype(self.dtype(kind))

    # ---------------------------------------------------------------- lengths

    def length(self, axis: str, rank: int = 0) -> str:
        """The length of an axis, as a scalar or (rank 1) as a list of one."""
        size = self.plan.axes[axis]
        if isinstance(size, int):
            return self.const([size] if rank else size, "index")
        port, dimension = size
        if dimension < 0:
            return self.outside("Unsqueeze", (port, self.ints(0))) if rank else port
        if self.opset >= 15:
            one = self.outside("Shape", (port,), start=dimension, end=dimension + 1)
        else:
            one = self.outside("Gather", (self.outside("Shape", (port,)), self.ints(dimension)))
        return one if rank else self.outside("Squeeze", (one, self.ints(0)))

    def shape(self, dims: Sequence[Extent]) -> str:
        """Dimensions as a list of whole numbers."""
        if not any(isinstance(d, str) for d in dims):
            return self.const(np.array(dims, np.int64), "index")
        parts: list[str] = []
        numbers: list[int] = []
        for d in (*dims, None):
            if isinstance(d, int):
                numbers.append(d)
                continue
            if numbers:
                parts.append(self.ints(*numbers))
                numbers = []
            if d is not None:
                parts.append(self.length(d, rank=1))
        return parts[0] if len(parts) == 1 else self.outside("Concat", parts, axis=0)


def attribute(name: str, value: Any) -> AttributeProto:
    """``onnx.helper.make_attribute`` for the few forms that are used here, five times as fast."""
    if isinstance(value, int):
        return AttributeProto(name=name, type=AttributeProto.INT, i=value)
    if isinstance(value, str):
        return AttributeProto(name=name, type=AttributeProto.STRING, s=value.encode())
    if isinstance(value, Sequence):
        return AttributeProto(name=name, type=AttributeProto.INTS, ints=value)
    return AttributeProto(name=name, type=AttributeProto.GRAPH, g=value)


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
            b = w.node("Where", [w.node("Equal", [b, w.const(0, "index")]),
                                 w.const(1, "index"), b])
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


def _einsum(w: Writer, s: Compute, x: list[str], out: str) -> object:
    return w.node("Einsum", x, out, equation=s.attr("equation"))


def _reduce(op: str, axes_as_input_from: int) -> Rule:
    def rule(w: Writer, s: Compute, x: list[str], out: str) -> object:
        dims, keep = s.attr("dims"), int(dict(s.attrs).get("keep", False))  # type: ignore[call-overload]
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


def _diag(w: Writer, s: Compute, x: list[str], out: str) -> object:
    size = w.type(s.args[0]).dims[-1]
    column = w.node("Unsqueeze", [*x, w.ints(-1)])
    return w.node("Where", [w.const(np.eye(int(size)), "flag"), column, w.const(0.0)], out)


def _shift(w: Writer, s: Compute, x: list[str], out: str) -> object:
    """The steps that do not exist are put where they would be, and as many cut off the other
    end; that holds for sequences shorter than the shift, too."""
    by, rows = s.attr("by"), {edge: "" for edge in x[1:]}
    for edge in rows:
        rows[edge] = w.node("Unsqueeze", [edge, w.ints(0)])
    edges = [rows[edge] for edge in x[1:]]
    parts, start, stop = [x[0], *edges], by, 2**63 - 1
    if by < 0:
        parts, start, stop = [*edges[::-1], x[0]], 0, by
    joined = w.node("Concat", parts, axis=0)
    return w.node("Slice", [joined, w.ints(start), w.ints(stop), w.ints(0)], out)


def _pick(w: Writer, s: Compute, x: list[str], out: str) -> object:
    dim = dict(s.attrs).get("dim", 0)
    return w.node("Gather", [*x, w.const(s.attr("index"), "index")], out, axis=dim)


def _stack(w: Writer, s: Compute, x: list[str], out: str) -> object:
    dim = dict(s.attrs).get("dim", 0)
    rows: dict[str, str] = {}
    for part in x:
        if part not in rows:
            rows[part] = w.node("Unsqueeze", [part, w.const([dim], "index")])  # type: ignore[list-item]
    return w.node("Concat", [rows[part] for part in x], out, axis=dim)


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
    "repeat": _repeat,
    "take": _take,
    "take_along": _take_along,
    "onehot": _onehot,
    "diag": _diag,
    "shift": _shift,
    "pick": _pick,
    "stack": _stack,
}  # fmt: skip
