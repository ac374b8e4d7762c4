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
    """``arity`` is (fewest, most) arguments; ``sizes`` are the positions of arguments that are
    sizes (arithmetic over dims) rather than values; ``over`` tells whether ``f[t](x)`` exists."""

    name: str
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


def _define(name: str, most: int, build: Builder, fewest: int | None = None, **more: Any) -> None:
    FUNCTIONS[name] = Function(name, (most if fewest is None else fewest, most), build, **more)


def _elementwise(name: str, op: str, arity: int = 1) -> None:
    _define(name, arity, lambda span, *args: map_node(op, span, *args))


for _name in ("sigmoid", "tanh", "relu", "exp", "log", "sqrt", "abs", "sin", "cos", "softplus",
              "floor", "sign"):
    _elementwise(_name, _name)
_elementwise("sigma", "sigmoid")  # σ(x)
_elementwise("where", "where", 3)


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


_define("silu", 1, _silu)
_define("gelu", 1, _gelu)
_define("elu", 1, _elu)
_define("hardsigmoid", 1, _hardsigmoid)
_define("clip", 3, _clip)


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
    _define(_name, 1, _reduction(_name), over=True)
_define("mean", 1, _mean, over=True)
_define("norm", 1, _norm, over=True)
_define("min", 2, _extremum("minimum", "min"), fewest=1, over=True)
_define("max", 2, _extremum("maximum", "max"), fewest=1, over=True)

_define("dot", 2, lambda span, u, v: whole_node("dot", span, u, v))
_define("outer", 2, lambda span, u, v: whole_node("outer", span, u, v))
_define("diag", 1, lambda span, v: whole_node("diag", span, v))
_define("eye", 1, lambda span, m: whole_node("eye", span, size=m), sizes=(0,))
_define("arange", 1, lambda span, m: whole_node("arange", span, size=m), sizes=(0,))
_define("repeat", 2, lambda span, v, k: whole_node("repeat", span, v, count=k), sizes=(1,))
_define("onehot", 2, lambda span, y, k: whole_node("onehot", span, y, size=k), sizes=(1,))
_define(
    "slice",
    3,
    lambda span, v, i, j: whole_node("slice", span, v, start=i, stop=j),
    sizes=(1, 2),
)
_define("stop_gradient", 1, lambda span, x: whole_node("stop_gradient", span, x))


def _dropout(span: Span, x: Node, rate: Node) -> Node:
    # inverted dropout (Srivastava et al. 2014): what is kept grows by 1 / (1 - rate)
    uniform = whole_node("uniform", span, x)
    keep = map_node("sub", span, number(1.0, span), rate)
    dropped = map_node("lt", span, uniform, rate)
    kept = map_node("where", span, dropped, number(0.0, span), map_node("div", span, x, keep))
    return map_node("where", span, Node("training", span), kept, x)


_define("dropout", 2, _dropout)


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


_define("nll", 2, _negative_log_likelihood)
_define("cross_entropy", 2, _cross_entropy)
_define("squared_error", 2, _squared_error)


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


# name -> (how many parameters, the loss)
DISTRIBUTIONS: dict[str, tuple[int, Builder]] = {
    "categorical": (1, categorical_loss),
    "bernoulli": (1, bernoulli_loss),
    "normal": (2, normal_loss),
}

# name -> how many arguments
INITIALISERS = {
    "glorot": 0,
    "zeros": 0,
    "ones": 0,
    "identity": 0,
    "orthogonal": 0,
    "constant": 1,
    "normal": 2,
    "uniform": 2,
}
