"""The operations a System is made of, each with its type rule and its meaning on constants.

An op works on the entries of one step: axes (time and ``batch``) are broadcast by name around
it, so that a rule speaks of features alone. Only reductions, contractions, ``stack`` and whole
recurrences name axes, in their attribute ``over`` (or ``axis``).

The stages that use an op keep their form of it in a module of their own (derivatives, NumPy
source, ONNX nodes, the reference); a test asserts that none is missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnc.graph.types import Array, Kind, Size, Type, whole

NDA = NDArray[Any]
Attributes = dict[str, Any]
Rule = Callable[[Sequence[Type], Attributes], Type]
Compute = Callable[[Sequence[NDA], Attributes], NDA]


class TypeMismatch(ValueError):
    """Operand types that an op does not take."""


@dataclass(frozen=True)
class Op:
    """``rule`` gives the result's type; ``compute`` its value, for operands without axes;
    ``group`` is ``leaf``, ``map`` (elementwise), ``reduce``, ``whole`` (the rest)."""

    name: str
    group: str
    rule: Rule
    compute: Compute | None = None


OPS: dict[str, Op] = {}


def _op(name: str, group: str, rule: Rule, compute: Compute | None = None) -> None:
    OPS[name] = Op(name, group, rule, compute)


# ---------------------------------------------------------------- elementwise


def broadcast(shapes: Sequence[tuple[Size, ...]]) -> tuple[Size, ...]:
    """The common shape of elementwise operands: scalars and lengths of 1 stretch, ranks do not."""
    full = [s for s in shapes if s]
    if not full:
        return ()
    rank = len(full[0])
    if any(len(s) != rank for s in full):
        raise TypeMismatch(f"ranks differ: {', '.join(show_shape(s) for s in full)}")
    out: list[Size] = []
    for sizes in zip(*full, strict=True):
        wide = {s for s in sizes if s != 1}
        if len(wide) > 1:
            raise TypeMismatch(f"shapes differ: {', '.join(show_shape(s) for s in full)}")
        out.append(wide.pop() if wide else 1)
    return tuple(out)


def show_shape(shape: Sequence[Size]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _map(name: str, arity: int, kinds: str, f: Callable[..., NDA]) -> None:
    """``kinds``: ``real`` (takes and gives real), ``number`` (whole if all operands are),
    ``compare`` (numbers of one kind to a flag), ``logic`` (flags)."""

    def rule(types: Sequence[Type], attrs: Attributes) -> Type:
        if len(types) != arity:
            raise TypeMismatch(f"{name} takes {arity} operands")
        found = {t.kind for t in types}
        wanted: set[Kind] = {"flag"} if kinds == "logic" else {"real"}
        if kinds in ("number", "compare") and found == {"index"}:
            wanted = {"index"}
        if kinds == "compare" and found == {"flag"} and name in ("eq", "ne"):
            wanted = {"flag"}
        if found != wanted:
            raise TypeMismatch(f"{name} does not take {', '.join(str(t) for t in types)}")
        kind: Kind = "flag" if kinds in ("compare", "logic") else wanted.pop()
        return Type(kind, broadcast([t.shape for t in types]))

    def compute(args: Sequence[NDA], attrs: Attributes) -> NDA:
        return np.asarray(f(*args))

    _op(name, "map", rule, compute)


def _stable_sigmoid(x: NDA) -> NDA:
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1 / (1 + e), e / (1 + e)))


def _erf(x: NDA) -> NDA:
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x))


UNARY_REAL: dict[str, Callable[..., NDA]] = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "sigmoid": _stable_sigmoid,
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "relu": lambda x: np.maximum(x, 0),
    "erf": _erf,
    "floor": np.floor,
}
for _name, _f in UNARY_REAL.items():
    _map(_name, 1, "real", _f)
for _name, _f in {"neg": np.negative, "abs": np.abs, "sign": np.sign}.items():
    _map(_name, 1, "number", _f)
for _name, _f in {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "mod": np.mod,  # floored: the sign of the divisor
    "minimum": np.minimum,
    "maximum": np.maximum,
}.items():
    _map(_name, 2, "number", _f)
for _name, _f in {"div": np.divide, "pow": np.power}.items():
    _map(_name, 2, "real", _f)
for _name, _f in {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}.items():
    _map(_name, 2, "compare", _f)
for _name, _f in {"and": np.logical_and, "or": np.logical_or}.items():
    _map(_name, 2, "logic", _f)
_map("not", 1, "logic", np.logical_not)


def _where_rule(types: Sequence[Type], attrs: Attributes) -> Type:
    condition, a, b = types
    if condition.kind != "flag" or a.kind != b.kind:
        raise TypeMismatch(f"where does not take {', '.join(map(str, types))}")
    return Type(a.kind, broadcast([t.shape for t in types]))


def _to_real_rule(types: Sequence[Type], attrs: Attributes) -> Type:
    if types[0].kind != "index":
        raise TypeMismatch(f"to_real takes whole numbers, not {types[0]}")
    return Type("real", types[0].shape)


_op("where", "map", _where_rule, lambda a, _: np.where(*a))
_op("to_real", "map", _to_real_rule, lambda a, _: a[0].astype(np.float64))

# `copy` renames, and stretches to axes that its operand does not vary over.
_op("copy", "map", lambda t, _: t[0], lambda a, _: a[0])
_op("stop_gradient", "map", lambda t, _: t[0], lambda a, _: a[0])


# ---------------------------------------------------------------- leaves


def _constant_rule(types: Sequence[Type], attrs: Attributes) -> Type:
    value = attrs["value"]
    data = value.data if isinstance(value, Array) else np.asarray(value)
    kind: Kind = {"b": "flag", "i": "index"}.get(data.dtype.kind, "real")  # type: ignore[assignment]
    return Type(kind, data.shape)


def _constant(args: Sequence[NDA], attrs: Attributes) -> NDA:
    value = attrs["value"]
    return value.data if isinstance(value, Array) else np.asarray(value)


def _declared(types: Sequence[Type], attrs: Attributes) -> Type:
    return attrs["type"]  # type: ignore[no-any-return]


for _name in ("input", "target", "param", "uniform"):
    _op(_name, "leaf", _declared)  # their type is given, not derived
_op("constant", "leaf", _constant_rule, _constant)
_op("step", "leaf", lambda t, a: Type("index"))  # 1..T along its axis
_op("length", "leaf", lambda t, a: Type("index"))  # T, or the number of sequences
_op("training", "leaf", lambda t, a: Type("flag"))
_op("size", "leaf", lambda t, a: Type("index"), lambda _, a: np.asarray(whole(a["size"])))
_op(
    "arange",
    "leaf",
    lambda t, a: Type("index", (a["size"],)),
    lambda _, a: np.arange(whole(a["size"])),
)
_op(
    "eye",
    "leaf",
    lambda t, a: Type("real", (a["size"], a["size"])),
    lambda _, a: np.eye(whole(a["size"])),
)


# ---------------------------------------------------------------- linear algebra


def _contract_rule(types: Sequence[Type], attrs: Attributes) -> Type:
    sizes: dict[str, Size] = {}
    for letters, t in zip((attrs["left"], attrs["right"]), types, strict=True):
        if t.kind != "real" or t.rank != len(letters):
            raise TypeMismatch(f"a product does not take {t} as {letters!r}")
        for letter, size in zip(letters, t.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise TypeMismatch(f"a product of {types[0]} and {types[1]} does not fit")
    return Type("real", tuple(sizes[x] for x in attrs["out"]))


def _contract(args: Sequence[NDA], attrs: Attributes) -> NDA:
    return np.asarray(np.einsum(f"{attrs['left']},{attrs['right']}->{attrs['out']}", *args))


# sum over the letters that `out` lacks, and over the axes in `over`
_op("contract", "whole", _contract_rule, _contract)


def _rank(types: Sequence[Type], rank: int, name: str) -> tuple[Size, ...]:
    if types[0].rank != rank:
        raise TypeMismatch(f"{name} does not take {types[0]}")
    return types[0].shape


_op(
    "transpose",
    "whole",
    lambda t, a: Type(t[0].kind, _rank(t, 2, "transpose")[::-1]),
    lambda a, _: a[0].T,
)
_op(
    "diag",
    "whole",
    lambda t, a: Type(t[0].kind, _rank(t, 1, "diag") * 2),
    lambda a, _: np.diag(a[0]),
)


# ---------------------------------------------------------------- parts of vectors


def _concat_rule(types: Sequence[Type], attrs: Attributes) -> Type:
    kinds = {t.kind for t in types}
    tails = {t.shape[1:] for t in types}
    if len(kinds) > 1 or len(tails) > 1 or not types:
        raise TypeMismatch(f"cannot join {', '.join(map(str, types))}")
    total: Size = 0
    for t in types:
        total = total + (t.shape[0] if t.shape else 1)
    return Type(types[0].kind, (total, *types[0].shape[1:]))


def _slice_rule(types: Sequence[Type], attrs: Attributes) -> Type:
    if not types[0].shape:
        raise TypeMismatch("a scalar has no parts")
    return Type(types[0].kind, (attrs["stop"] - attrs["start"], *types[0].shape[1:]))


# a scalar among the parts counts as a vector of length 1
_op("concat", "whole", _concat_rule, lambda a, _: np.concatenate([np.atleast_1d(x) for x in a]))
_op(
    "slice",
    "whole",
    _slice_rule,
    lambda a, s: a[0][whole(s["start"]) : whole(s["stop"])],
)
_op(
    "repeat",
    "whole",
    lambda t, a: Type(t[0].kind, (_rank(t, 1, "repeat")[0] * a["count"],)),
    lambda a, s: np.repeat(a[0], whole(s["count"])),
)
_op(
    "broadcast",
    "whole",
    lambda t, a: Type(t[0].kind, a["shape"]),
    lambda a, s: np.broadcast_to(a[0], tuple(map(whole, s["shape"]))),
)


def _onehot(args: Sequence[NDA], attrs: Attributes) -> NDA:
    return np.asarray(np.arange(whole(attrs["size"])) == args[0], np.float64)


def _onehot_rule(types: Sequence[Type], attrs: Attributes) -> Type:
    if types[0] != Type("index"):
        raise TypeMismatch(f"onehot takes one index, not {types[0]}")
    return Type("real", (attrs["size"],))


def _gather_rule(types: Sequence[Type], attrs: Attributes) -> Type:
    table, row = types
    if row != Type("index") or not table.shape:
        raise TypeMismatch(f"cannot look {row} up in {table}")
    return Type(table.kind, table.shape[1:])


def _scatter_rule(types: Sequence[Type], attrs: Attributes) -> Type:
    rows, row = types
    if row != Type("index") or rows.kind != "real":
        raise TypeMismatch(f"cannot add {rows} to the rows {row}")
    return Type("real", (attrs["size"], *rows.shape))


def _scatter(args: Sequence[NDA], attrs: Attributes) -> NDA:
    out = np.zeros((whole(attrs["size"]), *args[0].shape))
    out[int(args[1])] = args[0]
    return out


_op("onehot", "whole", _onehot_rule, _onehot)
# the adjoint of gather: rows put into a table, those of all steps in `over` added up
_op("scatter", "whole", _scatter_rule, _scatter)
_op("gather", "whole", _gather_rule, lambda a, _: a[0][int(a[1])])


# ---------------------------------------------------------------- for draws


def _real_vector(types: Sequence[Type], name: str) -> Type:
    if types[0].kind != "real" or types[0].rank != 1:
        raise TypeMismatch(f"{name} takes a vector of real numbers, not {types[0]}")
    return types[0]


# sums of the first entry, the first two, …
_op("cumsum", "whole", lambda t, a: _real_vector(t, "cumsum"), lambda a, _: np.cumsum(a[0]))


def _kth_largest_rule(types: Sequence[Type], attrs: Attributes) -> Type:
    (size,), count = _real_vector(types, "kth_largest").shape, attrs["count"]
    if isinstance(size, int) and not 1 <= count <= size:
        raise TypeMismatch(f"of {size} entries none is the {count}th largest")
    return Type("real")


# the `count`th entry when all are sorted, the largest first
_op(
    "kth_largest",
    "whole",
    _kth_largest_rule,
    lambda a, s: np.asarray(np.sort(a[0])[-s["count"]]),
)

# ---------------------------------------------------------------- reductions
# over all features where `over` is empty, else over the axes in it


def _reduce_rule(types: Sequence[Type], attrs: Attributes) -> Type:
    if types[0].kind == "flag":
        raise TypeMismatch("a flag becomes a number through where alone")
    return Type(types[0].kind, types[0].shape if attrs["over"] else ())


def _real_reduce_rule(types: Sequence[Type], attrs: Attributes) -> Type:
    if types[0].kind != "real":
        raise TypeMismatch(f"takes real values, not {types[0]}")
    return _reduce_rule(types, attrs)


def _softmax_rule(types: Sequence[Type], attrs: Attributes) -> Type:
    if types[0].kind != "real":
        raise TypeMismatch(f"softmax takes real values, not {types[0]}")
    return types[0]


def _argmax_rule(types: Sequence[Type], attrs: Attributes) -> Type:
    return Type("index", types[0].shape if attrs["over"] else ())


def _features(f: Callable[[NDA], Any]) -> Compute:
    def compute(args: Sequence[NDA], attrs: Attributes) -> NDA:
        return np.asarray(f(args[0]))

    return compute


def _softmax(x: NDA) -> NDA:
    e = np.exp(x - x.max())
    return e / e.sum()  # type: ignore[no-any-return]


def _logsumexp(x: NDA) -> Any:
    top = x.max() if np.isfinite(x.max()) else 0.0
    return top + np.log(np.exp(x - top).sum())


_op("sum", "reduce", _reduce_rule, _features(np.sum))
_op("max", "reduce", _reduce_rule, _features(np.max))
_op("min", "reduce", _reduce_rule, _features(np.min))
_op("argmax", "reduce", _argmax_rule, _features(np.argmax))
_op("logsumexp", "reduce", _real_reduce_rule, _features(_logsumexp))
_op("softmax", "reduce", _softmax_rule, _features(_softmax))
_op("log_softmax", "reduce", _softmax_rule, _features(lambda x: x - _logsumexp(x)))

# a whole recurrence by an operator of ONNX (made by `recognise`, for that backend alone)
_op("native", "whole", _declared)

# one value per step of a fixed axis, put together (made by `unroll`)
_op("stack", "whole", lambda t, a: t[0])


def _linear_scan_rule(types: Sequence[Type], attrs: Attributes) -> Type:
    k = attrs["states"]
    if len(types) != k * (k + 2) or any(t.kind != "real" or t.rank > 1 for t in types):
        raise TypeMismatch(f"linear_scan does not take {', '.join(map(str, types))}")
    shape = broadcast([t.shape for t in types])
    return Type("real", (k * shape[0] if shape else k,) if k > 1 else shape)


# h[t] = A[t] h[t-1] + b[t] along `axis` (t+1 where it is not `forward`), entry by entry: the k*k
# entries of A, row by row, the k of b, and the k states before the first step; of several states
# the result has one below the other (made by `linear`)
_op("linear_scan", "whole", _linear_scan_rule)


def _linear_attention_rule(types: Sequence[Type], attrs: Attributes) -> Type:
    q, k, v, f, first = types
    wanted = Type("real", (*v.shape, *k.shape))
    if (q, v.rank, k.rank, f) != (k, 1, 1, Type("real")) or first not in (wanted, Type("real")):
        raise TypeMismatch(f"linear_attention does not take {', '.join(map(str, types))}")
    return v


def _state_product_rule(types: Sequence[Type], attrs: Attributes) -> Type:
    for k, *others in (types[:4], types[4:]):
        _linear_attention_rule([k, k, *others], attrs)
    if types[:2] != types[4:6]:
        raise TypeMismatch(f"state_product does not take {', '.join(map(str, types))}")
    return Type("real")


# S[t] = f[t] S[t-1] + v[t] k[t]ᵀ along `axis` (t+1 where it is not `forward`), read by a query:
# S[t] q[t], or, where it is not the step's `own`, S[t-1] q[t]; of q, k, v, f and the S before the
# first step, a matrix or the number 0 (made by `attention`)
_op("linear_attention", "whole", _linear_attention_rule)

# the sum of all entries of S[t-1] * R[t+1], of such an S forward and such an R backward along
# `axis`: k, v, f and the first S, then those of R (made by `attention`)
_op("state_product", "whole", _state_product_rule)

MAPS = frozenset(name for name, op in OPS.items() if op.group == "map")
DATA = frozenset(("input", "target", "uniform"))  # what comes with each call
GIVEN = DATA | {"param"}  # leaves whose type is declared, not derived
SWEPT = "swept"  # the attribute of an input that other parts of the same model give
LEAVES = frozenset(name for name, op in OPS.items() if op.group == "leaf")
REDUCTIONS = frozenset(name for name, op in OPS.items() if op.group == "reduce")
NORMALISING = frozenset(("softmax", "log_softmax"))  # reductions that keep what they reduce over
SCANS = frozenset(("linear_scan", "linear_attention", "state_product"))  # whole recurrences
ALONG = SCANS | {"stack"}  # what gives all steps of its `axis`
