"""The derivative of every operation: what an adjoint gives to each operand.

For ``y = op(a, b)`` a rule gets the adjoint ``g`` of ``y`` and says what it adds to the adjoint
of one operand, in the frame and the form of ``y``; summing over what the operand does not vary
over is left to ``differentiate``. At kinks ``abs``, ``relu``, ``sign`` and ``floor`` have slope
0, and so has ``sqrt`` at 0; of equal candidates of a maximum or minimum the first takes all.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from rnnc.graph.system import Value
from rnnc.graph.types import FIRST, Index, Read, Size, Type
from rnnc.passes.terms import Part, Product, Term, Terms
from rnnc.source import InternalError

Rule = Callable[[Terms, Value, Read, Read, int], Term | None]

LETTERS = "ijklmn"


def _letters(type_: Type) -> str:
    return LETTERS[: type_.rank]


# ---------------------------------------------------------------- elementwise


def _times_other(w: Terms, v: Value, y: Read, g: Read, i: int) -> Term | None:
    """Of ``a * b``."""
    if v.reads[0] == v.reads[1]:  # a square: one term of twice the size
        return w.mul(g, w.scaled(2.0, v.reads[0])) if i == 0 else None
    other = v.reads[1 - i]
    if not w.type(v.reads[i]).rank and v.type.rank and w.type(other) == v.type:
        letters = _letters(v.type)  # a number times a vector: the sum is a product, too
        return Product(g, other, letters, letters, "")
    return w.mul(g, other)


def _div(w: Terms, v: Value, y: Read, g: Read, i: int) -> Term:
    b = v.reads[1]
    return w.emit("div", g, b) if i == 0 else w.neg(w.emit("div", w.mul(g, y), b))


def _pow(w: Terms, v: Value, y: Read, g: Read, i: int) -> Term:
    a, b = v.reads
    zero = w.number(0.0)
    if i == 0:  # 0 ^ (b - 1) would be infinite where b = 0, and the slope is 0
        slope = w.mul(b, w.emit("pow", a, w.sub(b, w.number(1.0))))
        return w.mul(g, w.choose(w.emit("eq", b, zero), None, slope))
    safe = w.choose(w.emit("gt", a, zero), a, w.number(1.0))
    return w.mul(g, w.mul(y, w.emit("log", safe)))


def _extreme(compare: str) -> Rule:
    def rule(w: Terms, v: Value, y: Read, g: Read, i: int) -> Term:
        first = w.emit(compare, *v.reads)
        return w.choose(first, g, None) if i == 0 else w.choose(first, None, g)

    return rule


def _mod(w: Terms, v: Value, y: Read, g: Read, i: int) -> Term:
    if i == 0:
        return g
    return w.neg(w.mul(g, w.emit("floor", w.emit("div", *v.reads))))


def _where(w: Terms, v: Value, y: Read, g: Read, i: int) -> Term | None:
    condition = v.reads[0]
    if i == 0:
        return None
    return w.choose(condition, g, None) if i == 1 else w.choose(condition, None, g)


def _unary(f: Callable[[Terms, Read, Read, Read], Read]) -> Rule:
    """A rule from ``f(w, a, y, g)``."""
    return lambda w, v, y, g, i: f(w, v.reads[0], y, g)


def _half_inverse(w: Terms, y: Read) -> Read:
    """``1 / 2y``; 0 at 0, so that the norm of a zero vector has slope 0."""
    above = w.emit("gt", y, w.number(0.0))
    return w.choose(above, w.emit("div", w.number(0.5), y), None)


def _one_minus(w: Terms, y: Read) -> Read:
    return w.sub(w.number(1.0), y)


# ---------------------------------------------------------------- linear algebra


def _contract(w: Terms, v: Value, y: Read, g: Read, i: int) -> Term:
    """The same product with the adjoint in the place of the operand."""
    left, right, out = v.attr("left"), v.attr("right"), v.attr("out")
    letters, other = (left, right) if i == 0 else (right, left)
    if alone := set(letters) - set(other) - set(out):
        raise InternalError(f"a product sums {alone} of one operand alone")
    if i == 0:
        return Product(g, v.reads[1], out, right, letters)
    return Product(v.reads[0], g, left, out, letters)


def _diag(w: Terms, v: Value, y: Read, g: Read, i: int) -> Term:
    eye = w.emit("eye", size=v.type.shape[0])
    return w.emit("contract", g, eye, left="ij", right="ij", out="i", over=())


# ---------------------------------------------------------------- parts of vectors


def _concat(w: Terms, v: Value, y: Read, g: Read, i: int) -> Term:
    def size(r: Read) -> Size:
        return w.type(r).shape[0] if w.type(r).rank else 1

    start: Size = 0
    for r in v.reads[:i]:
        start = start + size(r)
    return w.emit("slice", g, start=start, stop=start + size(v.reads[i]))


def _repeat(w: Terms, v: Value, y: Read, g: Read, i: int) -> Term:
    """Each entry gathers its copies: a product with the matrix of who is whose copy."""
    (size,), (total,) = w.type(v.reads[0]).shape, v.type.shape
    count = w.emit("to_real", w.emit("size", size=v.attr("count")))
    copies = w.emit("to_real", w.emit("arange", size=total))
    owners = w.emit("floor", w.emit("div", copies, count))
    entries = w.emit("to_real", w.emit("arange", size=size))
    rows = w.emit("contract", owners, w.ones(size), left="i", right="j", out="ij", over=())
    columns = w.emit("contract", w.ones(total), entries, left="i", right="j", out="ij", over=())
    same = w.choose(w.emit("eq", rows, columns), w.number(1.0), None)
    return w.emit("contract", same, g, left="ij", right="i", out="j", over=())


def _scatter(w: Terms, v: Value, y: Read, g: Read, i: int) -> Term | None:
    return w.emit("gather", g, v.reads[1]) if i == 0 else None


def _gather(w: Terms, v: Value, y: Read, g: Read, i: int) -> Term | None:
    if i == 1:
        return None
    table, row = v.reads
    chosen = w.emit("onehot", row, size=w.type(table).shape[0])
    letters = _letters(w.type(table))
    if len(letters) == 1:
        return w.mul(g, chosen)
    return Product(chosen, g, letters[0], letters[1:], letters)


# ---------------------------------------------------------------- reductions


def _spread(w: Terms, v: Value, r: Read) -> Read:
    """What a reduction over features gives, stretched to all of them."""
    type_ = w.type(v.reads[0])
    if v.over or not type_.rank:
        return r
    return w.emit("broadcast", r, shape=type_.shape)


def _chosen(w: Terms, v: Value, y: Read, g: Read, i: int) -> Term:
    """Of a maximum or minimum: the first entry that attains it."""
    x = v.reads[0]
    type_ = w.type(x)
    sought = x if v.op == "max" else w.neg(x)
    if v.over:
        if len(v.over) == 1 and v.over[0] in w.system.time_axes():
            (axis,) = v.over
            place = w.emit("argmax", sought, over=v.over)
            return w.choose(w.emit("eq", w.step(axis), place), g, None)
        return w.choose(w.emit("eq", x, y), g, None)
    if not type_.rank:
        return g
    place = w.emit("argmax", sought, over=())
    if type_.rank == 1:
        return w.mul(g, w.emit("onehot", place, size=type_.shape[0]))
    rows, columns = type_.shape
    row, column = (w.emit("to_real", w.emit("arange", size=s)) for s in (rows, columns))
    width = w.emit("to_real", w.emit("size", size=columns))
    starts = w.mul(row, width)
    number = w.add(
        w.emit("contract", starts, w.ones(columns), left="i", right="j", out="ij", over=()),
        w.emit("contract", w.ones(rows), column, left="i", right="j", out="ij", over=()),
    )
    return w.choose(w.emit("eq", number, w.emit("to_real", place)), g, None)


def _total(w: Terms, v: Value, r: Read) -> Read:
    """The sum over what a reduction reduces, as it stands in each of these entries."""
    return _spread(w, v, w.emit("sum", r, over=v.over))


def _logsumexp(w: Terms, v: Value, y: Read, g: Read, i: int) -> Term:
    return w.mul(g, w.emit("softmax", v.reads[0], over=v.over))


def _softmax(w: Terms, v: Value, y: Read, g: Read, i: int) -> Term:
    return w.mul(y, w.sub(g, _total(w, v, w.mul(g, y))))


def _log_softmax(w: Terms, v: Value, y: Read, g: Read, i: int) -> Term:
    chances = w.emit("softmax", v.reads[0], over=v.over)
    return w.sub(g, w.mul(_total(w, v, g), chances))


def _stack(w: Terms, v: Value, y: Read, g: Read, i: int) -> Term:
    at = {**dict(g.at), v.attr("axis"): Index(FIRST, i)}
    return Read(g.source, tuple(sorted(at.items())))


RULES: dict[str, Rule | None] = {
    # constant, or constant nearly everywhere
    **dict.fromkeys(("input", "target", "uniform", "param", "constant", "step", "length")),
    **dict.fromkeys(("training", "size", "arange", "eye", "to_real", "stop_gradient")),
    **dict.fromkeys(("sign", "floor", "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not")),
    **dict.fromkeys(("argmax", "onehot")),
    # draws, which no gradient goes through
    **dict.fromkeys(("cumsum", "kth_largest")),
    "copy": lambda w, v, y, g, i: g,
    "add": lambda w, v, y, g, i: g,
    "sub": lambda w, v, y, g, i: w.neg(g) if i else g,
    "mul": _times_other,
    "div": _div,
    "pow": _pow,
    "mod": _mod,
    "minimum": _extreme("le"),
    "maximum": _extreme("ge"),
    "where": _where,
    "neg": _unary(lambda w, a, y, g: w.neg(g)),
    "abs": _unary(lambda w, a, y, g: w.mul(g, w.emit("sign", a))),
    "exp": _unary(lambda w, a, y, g: w.mul(g, y)),
    "log": _unary(lambda w, a, y, g: w.emit("div", g, a)),
    "sqrt": _unary(lambda w, a, y, g: w.mul(g, _half_inverse(w, y))),
    "sin": _unary(lambda w, a, y, g: w.mul(g, w.emit("cos", a))),
    "cos": _unary(lambda w, a, y, g: w.neg(w.mul(g, w.emit("sin", a)))),
    "tanh": _unary(lambda w, a, y, g: w.mul(g, _one_minus(w, w.mul(y, y)))),
    "sigmoid": _unary(lambda w, a, y, g: w.mul(w.mul(g, y), _one_minus(w, y))),
    "softplus": _unary(lambda w, a, y, g: w.mul(g, w.emit("sigmoid", a))),
    "relu": _unary(lambda w, a, y, g: w.choose(w.emit("gt", a, w.number(0.0)), g, None)),
    "erf": _unary(
        lambda w, a, y, g: w.mul(
            w.scaled(2 / math.sqrt(math.pi), g), w.emit("exp", w.neg(w.mul(a, a)))
        )
    ),
    "contract": _contract,
    "transpose": lambda w, v, y, g, i: w.emit("transpose", g),
    "diag": _diag,
    "concat": _concat,
    "slice": lambda w, v, y, g, i: Part(g, v.attr("start"), v.attr("stop")),
    "repeat": _repeat,
    "broadcast": lambda w, v, y, g, i: g,
    "gather": _gather,
    "scatter": _scatter,
    "sum": lambda w, v, y, g, i: _spread(w, v, g),
    "max": _chosen,
    "min": _chosen,
    "logsumexp": _logsumexp,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "stack": _stack,
}

# Rules that may be applied at steps which do not exist: what they multiply the (zero) adjoint
# with is finite there.
SAFE = frozenset(
    ("copy", "add", "sub", "mul", "where", "neg", "contract", "transpose", "concat", "slice")
)
