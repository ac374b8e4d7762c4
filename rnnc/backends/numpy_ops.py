"""Every operation of a Plan as a NumPy expression."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from rnnc.graph.types import Array
from rnnc.passes.plan import Compute, Extent, Plan

BINARY = {
    "add": "add", "sub": "subtract", "mul": "multiply", "div": "divide", "pow": "power",
    "mod": "mod", "minimum": "minimum", "maximum": "maximum",
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal",
    "gt": "greater", "ge": "greater_equal", "and": "logical_and", "or": "logical_or",
}  # fmt: skip

# elementwise functions of one operand; None where NumPy has no single one
UNARY: dict[str, str | None] = {
    "neg": "negative", "abs": "abs", "sign": "sign", "exp": "exp", "log": "log",
    "sqrt": "sqrt", "sin": "sin", "cos": "cos", "tanh": "tanh", "floor": "floor",
    "not": "logical_not", "sigmoid": None, "relu": None,
}  # fmt: skip


class Writer(Protocol):
    """What an expression needs to know of the module being written."""

    plan: Plan

    def operand(self, name: str) -> str: ...
    def shape(self, dims: Sequence[Extent]) -> str: ...
    def extent(self, e: Extent) -> str: ...
    def kind(self, name: str) -> str: ...


def literal(value: object, kind: str) -> str:
    """A scalar constant as source; real ones take part in arithmetic without changing dtype."""
    if isinstance(value, bool):
        return str(value)
    if kind == "real":
        number = float(value)  # type: ignore[arg-type]
        if math.isinf(number) or math.isnan(number):
            return f"float('{number}')"
        return repr(number)
    return repr(value)


def expression(w: Writer, s: Compute) -> str:
    """The value of a statement as one expression."""
    args = [w.operand(a) for a in s.args]
    if s.op in BINARY:
        return f"np.{BINARY[s.op]}({args[0]}, {args[1]})"
    name = UNARY.get(s.op)
    if name:
        return f"np.{name}({args[0]})"
    return _FORMS[s.op](w, s, args)


Form = Callable[[Writer, Compute, list[str]], str]


def _constant(w: Writer, s: Compute, a: list[str]) -> str:
    value = s.attr("value")
    kind = w.kind(s.target)
    if not isinstance(value, Array):
        return literal(value, w.plan.arrays[s.target].kind)
    data = value.data
    if data.ndim == 2 and data.shape[0] == data.shape[1] and (data == np.eye(len(data))).all():
        return f"np.eye({len(data)}, dtype={kind})"
    if data.ndim == 1 and len(data) > 4 and (data == range(len(data))).all():
        return f"np.arange({len(data)}, dtype={kind})"
    return f"np.array({data.tolist()}, {kind})"


def _reduction(name: str) -> Form:
    def form(w: Writer, s: Compute, a: list[str]) -> str:
        dims = s.attr("dims")
        axis = dims[0] if len(dims) == 1 else dims
        keep = ", keepdims=True" if ("keep", True) in s.attrs else ""
        return f"np.{name}({a[0]}, {axis}{keep})"

    return form


def _softmax(w: Writer, s: Compute, a: list[str]) -> str:
    d = s.attr("dim")
    e = f"np.exp({a[0]} - {a[0]}.max({d}, keepdims=True))"
    return f"(lambda e: e / e.sum({d}, keepdims=True))({e})"


def _log_softmax(w: Writer, s: Compute, a: list[str]) -> str:
    d = s.attr("dim")
    shifted = f"{a[0]} - {a[0]}.max({d}, keepdims=True)"
    return f"(lambda v: v - np.log(np.exp(v).sum({d}, keepdims=True)))({shifted})"


def _slice(w: Writer, s: Compute, a: list[str]) -> str:
    rank, dim = len(w.plan.arrays[s.target].dims), s.attr("dim")
    part = f"{s.attr('start')}:{s.attr('stop')}"
    if dim == rank - 1 and rank > 1:
        return f"{a[0]}[..., {part}]"
    return f"{a[0]}[{':, ' * dim}{part}]"


def part(w: Writer, s: Compute, dim: int) -> str:
    """The part of an array [rows, columns] or [rows] that are the rows of a window."""
    low, high = (f"{w.operand(a)}[0]" for a in s.args[-2:])
    return f"[{':, ' * dim}{low}:{high}]"


def _window(w: Writer, s: Compute, a: list[str]) -> str:
    return f"{a[0]}{part(w, s, s.attr('dim'))}"


def _replaced(w: Writer, s: Compute, a: list[str]) -> str:
    base = w.plan.arrays[s.target].dims
    start, stop = (f"{':, ' * s.attr('dim')}" + x for x in (f":{a[2]}[0]", f"{a[3]}[0]:"))
    return f"np.concatenate(({a[0]}[{start}], {a[1]}, {a[0]}[{stop}]), {len(base) - 1})"


def _unsqueeze(w: Writer, s: Compute, a: list[str]) -> str:
    rank = len(w.plan.arrays[s.target].dims)
    at = s.attr("at")
    return f"{_array(w, s, a[0])}[{', '.join('None' if i in at else ':' for i in range(rank))}]"


def _squeeze(w: Writer, s: Compute, a: list[str]) -> str:
    rank = len(w.plan.arrays[s.target].dims) + len(s.attr("at"))
    at = s.attr("at")
    places = ["0" if i in at else ":" for i in range(rank)]
    return f"{a[0]}[{', '.join(places)}{_memory(w, s)}]"


def _shift(w: Writer, s: Compute, a: list[str]) -> str:
    by, dim, edges = s.attr("by"), s.attr("dim"), a[1:]
    before = ":, " * dim
    length = w.extent(w.plan.arrays[s.target].dims[dim])
    wide = [f"{_array(w, s, e)}[{before}None]" for e in edges]
    where = f", {dim}" if dim else ""
    if by < 0:
        joined = ", ".join([*reversed(wide), a[0]])
        return f"np.concatenate(({joined}){where})[{before}:{length}]"
    joined = ", ".join([a[0], *wide])
    return f"np.concatenate(({joined}){where})[{before}-{length}:]"


def _part(w: Writer, s: Compute, a: list[str]) -> str:
    dim = s.attr("dim")
    length = w.extent(w.plan.arrays[s.target].dims[dim])
    return f"{a[0]}[{':, ' * dim}{a[1]} : {a[1]} + {length}]"


def _padded(w: Writer, s: Compute, a: list[str]) -> str:
    dim = s.attr("dim")
    here, there = (w.extent(w.plan.arrays[x].dims[dim]) for x in (s.args[0], s.target))
    widths = [f"(0, {there} - {here})" if i == dim else "(0, 0)"
              for i in range(len(w.plan.arrays[s.target].dims))]  # fmt: skip
    return f"np.pad({a[0]}, ({', '.join(widths)},))"


def _joined(w: Writer, s: Compute, a: list[str]) -> str:
    dims, dim = w.plan.arrays[s.target].dims, s.attr("dim")
    sizes = [w.extent(d) for d in dims]
    shape = ", ".join([*sizes[:dim], "-1", *sizes[dim + 1 :]])
    whole = f"np.moveaxis({a[0]}, 0, {dim}).reshape({shape})"
    return f"{whole}[{':, ' * dim}:{sizes[dim]}]"


def _pick(w: Writer, s: Compute, a: list[str]) -> str:
    return f"{a[0]}[{':, ' * s.attr('dim')}{s.attr('index')}{_memory(w, s)}]"


def _memory(w: Writer, s: Compute) -> str:
    """One entry is taken as an array, so that it stays a view of the memory it is in."""
    return "" if w.plan.arrays[s.target].dims else ", ..."


def _diag(w: Writer, s: Compute, a: list[str]) -> str:
    n = w.plan.arrays[s.target].dims[-1]
    return f"np.where(np.eye({n}, dtype=bool), {a[0]}[..., None], {w.kind(s.target)}(0))"


def _concat(w: Writer, s: Compute, a: list[str]) -> str:
    return f"np.concatenate(({', '.join(a)},), {s.attr('dim')})"


def _scatter(w: Writer, s: Compute, a: list[str]) -> str:
    size, *row = w.plan.arrays[s.target].dims
    width = math.prod(d for d in row if isinstance(d, int))
    rows, places = f"np.reshape({a[0]}, (-1, {width}))", f"np.reshape({a[1]}, -1)"
    table = f"scatter({rows}, {places}, {size})"
    return table if len(row) == 1 else f"{table}.reshape({w.shape((size, *row))})"


def _rows(w: Writer, s: Compute, position: int, a: list[str]) -> str:
    """An operand as a matrix, its last dimension the columns."""
    dims = w.plan.arrays[s.args[position]].dims
    return a[position] if len(dims) == 2 else f"{a[position]}.reshape(-1, {dims[-1]})"


def _where(w: Writer, s: Compute, a: list[str]) -> str:
    # two plain numbers would choose a dtype of their own
    real = w.plan.arrays[s.target].kind == "real"
    b, c = (f"REAL({x})" if real and _is_number(x) else x for x in a[1:])
    return f"np.where({a[0]}, {b}, {c})"


def _array(w: Writer, s: Compute, text: str) -> str:
    """An operand of the target's kind as an array, where it may be a number that is written
    out: that has no parts, and a dtype of its own."""
    written = not text.isidentifier() or text in ("True", "False")
    return f"np.array({text}, {w.kind(s.target)})" if written else text


def _is_number(text: str) -> bool:
    return text[0] in "-0123456789" or text.startswith("float(")


def _cast(w: Writer, s: Compute, a: list[str]) -> str:
    return f"np.asarray({a[0]}).astype(REAL)"


def _softplus(w: Writer, s: Compute, a: list[str]) -> str:
    return f"(np.maximum({a[0]}, 0) + np.log1p(np.exp(-np.abs({a[0]}))))"


def _erf(w: Writer, s: Compute, a: list[str]) -> str:
    return f"np.vectorize(__import__('math').erf, otypes=[REAL])({a[0]})"


def _linear_scan(w: Writer, s: Compute, a: list[str]) -> str:
    k = s.attr("states")
    back = "" if s.attr("forward") else ", backward=True"
    args = _numbers(w, s, a)
    if k == 1:
        return f"linear_scan({', '.join(args)}{back})"
    lists = (args[: k * k], args[k * k : -k], args[-k:])
    given = ", ".join(f"[{', '.join(x)}]" for x in lists)
    last = len(w.plan.arrays[s.target].dims) - 1
    return f"np.concatenate(linear_scans({given}{back}), {last})"


def _linear_attention(w: Writer, s: Compute, a: list[str]) -> str:
    back = "" if s.attr("forward") else ", backward=True"
    return f"linear_attention({', '.join(_numbers(w, s, a))}, {s.attr('own')}{back})"


def _state_product(w: Writer, s: Compute, a: list[str]) -> str:
    return f"state_product({', '.join(_numbers(w, s, a))})"


def _numbers(w: Writer, s: Compute, a: list[str]) -> list[str]:
    """The operands as arrays, also the single numbers among them."""
    return [
        _array(w, s, x) if not w.plan.arrays[n].dims else x for n, x in zip(s.args, a, strict=True)
    ]


_FORMS: dict[str, Form] = {
    "constant": _constant,
    "sigmoid": lambda w, s, a: f"(1 / (1 + np.exp(-{a[0]})))",
    "relu": lambda w, s, a: f"np.maximum({a[0]}, 0)",
    "softplus": _softplus,
    "erf": _erf,
    "where": _where,
    "to_real": _cast,
    "copy": lambda w, s, a: a[0],
    "step": lambda w, s, a: f"np.arange(1, {w.extent(w.plan.arrays[s.target].dims[0])} + 1)",
    "length": lambda w, s, a: w.extent(s.attr("axis")),
    "matmul": lambda w, s, a: f"np.matmul({a[0]}, {a[1]})",
    "crossprod": lambda w, s, a: f"np.dot({_rows(w, s, 0, a)}.T, {_rows(w, s, 1, a)})",
    "einsum": lambda w, s, a: f"np.einsum({s.attr('equation')!r}, {a[0]}, {a[1]}, optimize=True)",
    "sum": _reduction("sum"),
    "max": _reduction("max"),
    "min": _reduction("min"),
    "argmax": lambda w, s, a: f"np.argmax({a[0]}, {s.attr('dim')})",
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "permute": lambda w, s, a: f"np.transpose({a[0]}, {s.attr('order')})",
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "reshape": lambda w, s, a: f"np.reshape({a[0]}, {w.shape(w.plan.arrays[s.target].dims)})",
    "expand": lambda w, s, a: (
        f"np.array(np.broadcast_to({a[0]}, {w.shape(w.plan.arrays[s.target].dims)}), "
        f"{w.kind(s.target)})"
    ),
    "concat": _concat,
    "diag": _diag,
    "slice": _slice,
    "ticking": lambda w, s, a: f"np.flatnonzero({a[0]}[:, {s.attr('row')}])",
    "window": _window,
    "replaced": _replaced,
    "repeat": lambda w, s, a: f"np.repeat({a[0]}, {s.attr('count')}, -1)",
    "take": lambda w, s, a: f"{a[0]}[{a[1]}]",
    "take_along": lambda w, s, a: f"np.take_along_axis({a[0]}, {a[1]}, -1)",
    "onehot": lambda w, s, a: (
        f"(np.asarray({a[0]})[..., None] == np.arange({s.attr('size')})).astype(REAL)"
    ),
    "scatter": _scatter,
    "cumsum": lambda w, s, a: f"np.cumsum({a[0]}, -1)",
    "kth_largest": lambda w, s, a: (
        f"np.partition({a[0]}, -{s.attr('count')}, -1)[..., -{s.attr('count')}]"
    ),
    "segment": lambda w, s, a: f"int(np.ceil(np.sqrt({a[0]})))",
    "segments": lambda w, s, a: f"-(-{a[0]} // {a[1]})",
    "part": _part,
    "padded": _padded,
    "joined": _joined,
    "shift": _shift,
    "pick": _pick,
    "linear_scan": _linear_scan,
    "products": lambda w, s, a: f"products({', '.join(_numbers(w, s, a))})",
    "linear_attention": _linear_attention,
    "state_product": _state_product,
    "stack": lambda w, s, a: (
        f"np.stack(({', '.join(_array(w, s, x) for x in a)},), {s.attr('dim')})"
    ),
}
