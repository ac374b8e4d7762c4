"""The functions of the language, each as the few operations it stands for.

An entry takes the resolved arguments and gives a Node. Functions that are a formula of others
are written out here, so that every later stage (derivatives, backends) knows only the few
operations of ``graph.ops``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rnnc.graph.build.nodes import Node
from rnnc.source import Span

Builder = Callable[..., Node]


@dataclass(frozen=True)
class Function:
    """``arity`` is (fewest, most) arguments and ``usage`` their names; ``sizes`` are the
    positions of arguments that are sizes (arithmetic over dims) rather than values; ``over``
    tells whether ``f[t](x)`` exists."""

    name: str
    usage: str
    arity: tuple[int, int]
    build: Builder
    sizes: tuple[int, ...] = ()
    over: bool = False


FUNCTIONS: dict[str, Function] = {}


def number(value: float, span: Span) -> Node:
    """A literal."""
    return Node("number", span, attrs={"value": value})


def map_node(f: str, span: Span, *args: Node) -> Node:
    """An elementwise operation."""
    axes = frozenset().union(*(a.axes for a in args))
    return Node("map", span, args, {"f": f}, axes=axes)


def reduce_node(f: str, span: Span, arg: Node, over: str | None = None) -> Node:
    """``f`` over all features, or over an axis."""
    axes = arg.axes - {over} if over and f not in ("softmax", "log_softmax") else arg.axes
    return Node("reduce", span, (arg,), {"f": f, "over": over}, axes=axes)


def whole_node(op: str, span: Span, *args: Node, **attrs: Any) -> Node:
    axes = frozenset().union(*(a.axes for a in args))
    return Node(op, span, args, attrs, axes=axes)


def _define(usage: str, build: Builder, fewest: int | None = None, **more: Any) -> None:
    """Add the function written as ``usage``."""
    name, arguments = usage.split("(")
    most = arguments.count(",") + 1
    arity = (most if fewest is None else fewest, most)
    FUNCTIONS[name] = Function(name, usage, arity, build, **more)


def _elementwise(usage: str, op: str) -> None:
    _define(usage, lambda span, *args: map_node(op, span, *args))


for _name in (
    *("sigmoid", "tanh", "relu", "exp", "log", "sqrt", "abs", "sin", "cos", "softplus"),
    *("floor", "sign"),
):
    _elementwise(f"{_name}(x)", _name)
_elementwise("sigma(x)", "sigmoid")  # σ(x)
_elementwise("where(c, a, b)", "where")


def _silu(span: Span, x: Node) -> Node:
    return map_node("mul", span, x, map_node("sigmoid", span, x))


def _gelu(span: Span, x: Node) -> Node:
    # x * Φ(x), the exact form (Hendrycks and Gimpel 2016)
    erf = map_node("erf", span, map_node("div", span, x, number(math.sqrt(2.0), span)))
    phi = map_node("mul", span, number(0.5, span), map_node("add", span, number(1.0, span), erf))
    return map_node("mul", span, x, phi)


def _elu(span: Span, x: Node) -> Node:
    # α = 1; the minimum keeps exp from overflowing on the side that is not taken
    zero = number(0.0, span)
    low = map_node("exp", span, map_node("minimum", span, x, zero))
    low = map_node("sub", span, low, number(1.0, span))
    return map_node("where", span, map_node("gt", span, x, zero), x, low)


def _clip(span: Span, x: Node, low: Node, high: Node) -> Node:
    return map_node("minimum", span, map_node("maximum", span, x, low), high)


def _hardsigmoid(span: Span, x: Node) -> Node:
    # ONNX's: max(0, min(1, x / 5 + 1 / 2))
    line = map_node("mul", span, number(0.2, span), x)
    line = map_node("add", span, line, number(0.5, span))
    return _clip(span, line, number(0.0, span), number(1.0, span))


_define("silu(x)", _silu)
_define("gelu(x)", _gelu)
_define("elu(x)", _elu)
_define("hardsigmoid(x)", _hardsigmoid)
_define("clip(x, low, high)", _clip)


def _reduction(f: str) -> Builder:
    return lambda span, x, over=None: reduce_node(f, span, x, over)


def _mean(span: Span, x: Node, over: str | None = None) -> Node:
    total = reduce_node("sum", span, x, over)
    if over is None:
        count = Node("count", span, (x,), axes=frozenset())
    else:
        count = Node("length", span, attrs={"axis": over})
    return map_node("div", span, total, count)


def _norm(span: Span, x: Node, over: str | None = None) -> Node:
    square = map_node("mul", span, x, x)
    return map_node("sqrt", span, reduce_node("sum", span, square, over))


def _extremum(elementwise: str, f: str) -> Builder:
    def build(span: Span, x: Node, y: Node | None = None, over: str | None = None) -> Node:
        return reduce_node(f, span, x, over) if y is None else map_node(elementwise, span, x, y)

    return build


for _name in ("sum", "softmax", "logsumexp", "argmax"):
    _define(f"{_name}(x)", _reduction(_name), over=True)
_define("mean(x)", _mean, over=True)
_define("norm(x)", _norm, over=True)
_define("min(a, b)", _extremum("minimum", "min"), fewest=1, over=True)
_define("max(a, b)", _extremum("maximum", "max"), fewest=1, over=True)


def _whole(usage: str, sizes: tuple[int, ...] = (), names: tuple[str, ...] = ()) -> None:
    """A function that is an operation of its own; arguments in ``sizes`` become ``names``."""
    op = usage.split("(")[0]

    def build(span: Span, *args: Any) -> Node:
        values = [a for i, a in enumerate(args) if i not in sizes]
        return whole_node(
            op, span, *values, **dict(zip(names, (args[i] for i in sizes), strict=True))
        )

    _define(usage, build, sizes=sizes)


for _usage in ("dot(u, v)", "outer(u, v)", "diag(v)", "stop_gradient(x)"):
    _whole(_usage)
_whole("eye(m)", (0,), ("size",))
_whole("arange(m)", (0,), ("size",))
_whole("repeat(v, k)", (1,), ("count",))
_whole("onehot(y, k)", (1,), ("size",))
_whole("slice(v, i, j)", (1, 2), ("start", "stop"))


def _dropout(span: Span, x: Node, rate: Node) -> Node:
    # inverted dropout (Srivastava et al. 2014): what is kept grows by 1 / (1 - rate)
    uniform = whole_node("uniform", span, x)
    keep = map_node("sub", span, number(1.0, span), rate)
    dropped = map_node("lt", span, uniform, rate)
    kept = map_node("where", span, dropped, number(0.0, span), map_node("div", span, x, keep))
    return map_node("where", span, Node("training", span), kept, x)


_define("dropout(x, rate)", _dropout)


# ---------------------------------------------------------------- losses


def _negative_log_likelihood(span: Span, p: Node, y: Node) -> Node:
    log = map_node("log", span, p)
    return map_node("neg", span, whole_node("gather", span, log, y))


def _cross_entropy(span: Span, logits: Node, y: Node) -> Node:
    # of an index: its log-probability; of a distribution over the classes: the expectation
    return whole_node("cross_entropy", span, logits, y)


def _squared_error(span: Span, a: Node, b: Node) -> Node:
    difference = map_node("sub", span, a, b)
    return reduce_node("sum", span, map_node("mul", span, difference, difference))


_define("nll(p, y)", _negative_log_likelihood)
_define("cross_entropy(logits, y)", _cross_entropy)
_define("squared_error(a, b)", _squared_error)


def bernoulli_loss(span: Span, y: Node, p: Node) -> Node:
    """``-log p(y)`` of independent flags y (0 or 1) with probabilities p."""
    one = number(1.0, span)
    on = map_node("mul", span, y, map_node("log", span, p))
    off = map_node("log", span, map_node("sub", span, one, p))
    off = map_node("mul", span, map_node("sub", span, one, y), off)
    return map_node("neg", span, reduce_node("sum", span, map_node("add", span, on, off)))


def normal_loss(span: Span, y: Node, mean: Node, sd: Node) -> Node:
    """``-log p(y)`` of a normal distribution with independent entries, its constant included."""
    scaled = map_node("div", span, map_node("sub", span, y, mean), sd)
    square = map_node("mul", span, map_node("mul", span, scaled, scaled), number(0.5, span))
    constant = number(0.5 * math.log(2 * math.pi), span)
    rest = map_node("add", span, map_node("log", span, sd), constant)
    return reduce_node("sum", span, map_node("add", span, square, rest))


def categorical_loss(span: Span, y: Node, p: Node) -> Node:
    """``-log p[y]``."""
    return _negative_log_likelihood(span, p, y)


def choice_loss(span: Span, y: Node, p: Node, over: str) -> Node:
    """``-log p[s = y]``, of a choice among the steps of an axis."""
    step = Node("step", span, attrs={"axis": over}, axes=frozenset((over,)))
    chosen = map_node("eq", span, step, y)
    log = map_node("where", span, chosen, map_node("log", span, p), number(0.0, span))
    return map_node("neg", span, reduce_node("sum", span, log, over))


@dataclass(frozen=True)
class DistributionForm:
    """How a distribution is written, what its variable is (``index`` or ``real``), its loss."""

    usage: str
    arity: int
    kind: str
    loss: Builder


DISTRIBUTIONS = {
    "categorical": DistributionForm("categorical(p)", 1, "index", categorical_loss),
    "bernoulli": DistributionForm("bernoulli(p)", 1, "real", bernoulli_loss),
    "normal": DistributionForm("normal(mean, sd)", 2, "real", normal_loss),
}

# how an initialiser is written; its arguments are numbers
INITIALISERS = {
    "glorot": "glorot",
    "zeros": "zeros",
    "ones": "ones",
    "identity": "identity",
    "orthogonal": "orthogonal",
    "constant": "constant(v)",
    "normal": "normal(mean, sd)",
    "uniform": "uniform(low, high)",
}
