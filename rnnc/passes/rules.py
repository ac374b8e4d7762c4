"""The rules of ``simplify``: one table, by operation.

A rule looks at one value and gives what to put in its place (see ``rewriter``), or None. Signs
and factors move outwards, where sums take them up; what was only stretched is used as it was
before; logarithms take the forms that do not overflow.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

from rnnc.graph.ops import MAPS, OPS
from rnnc.graph.system import Value
from rnnc.graph.types import Read, Size
from rnnc.passes.rewriter import Result, Rewriter, Rule


def _alias(w: Rewriter, v: Value) -> Result:
    return v.reads[0]


def _is(w: Rewriter, v: Value, position: int, number: float) -> bool:
    found = w.constant(v, position)
    return found is not None and not isinstance(found, bool) and found == number


def _are(w: Rewriter, v: Value, position: int, number: float) -> bool:
    """Whether all entries of an operand are that number."""
    found = w.uniform(v, position)
    return found is not None and not isinstance(found, bool) and found == number


def _whole(w: Rewriter, v: Value, position: int) -> Result:
    """The operand, if it is all there is to the value."""
    return v.reads[position] if w.fills(v, position) else None


def _within(w: Rewriter, v: Value, position: int, op: str) -> Value | None:
    """The operand at that position, if it is that operation at the reader's own step."""
    inner = w.operand(v, position)
    return inner if inner is not None and inner.op == op else None


# ---------------------------------------------------------------- sums


def _add(w: Rewriter, v: Value) -> Result:
    for i in (0, 1):
        if _are(w, v, i, 0):
            return _whole(w, v, 1 - i)
    if _within(w, v, 1, "neg"):  # a + -b
        return replace(v, op="sub", reads=(v.reads[0], w.through(v, 1)))
    if _within(w, v, 0, "neg"):  # -a + b
        return replace(v, op="sub", reads=(v.reads[1], w.through(v, 0)))
    return None


def _sub(w: Rewriter, v: Value) -> Result:
    if _are(w, v, 1, 0):
        return _whole(w, v, 0)
    if _are(w, v, 0, 0) and w.fills(v, 1):
        return replace(v, op="neg", reads=(v.reads[1],))
    if _within(w, v, 1, "neg"):  # a - -b
        return replace(v, op="add", reads=(v.reads[0], w.through(v, 1)))
    return None


def _common_factor(w: Rewriter, v: Value) -> Result:
    """``a * s + b * s`` with a number s is ``s * (a + b)``."""
    if not all(_within(w, v, i, "mul") and w.private(v, i) and not v.reads[i].at for i in (0, 1)):
        return None
    for i in (0, 1):
        for j in (0, 1):
            factor = w.through(v, 0, i)
            if factor == w.through(v, 1, j) and not w.type(factor).rank and v.type.rank:
                rest = w.new(v, v.op, w.through(v, 0, 1 - i), w.through(v, 1, 1 - j))
                return replace(v, op="mul", reads=(factor, rest))
    return None


def _flag_error(w: Rewriter, v: Value) -> Result:
    """``(1 - y) * σ(a) - y * σ(-a)`` is ``σ(a) - y``: the gradient of a Bernoulli variable."""
    on, off = _within(w, v, 1, "mul"), _within(w, v, 0, "mul")
    if on is None or off is None or v.reads[0].at or v.reads[1].at:
        return None
    y, miss = on.reads
    rest, hit = off.reads
    one_less, below, above = (w.get(r.source) for r in (rest, miss, hit))
    if one_less is None or below is None or above is None or rest.at or miss.at:
        return None
    if one_less.op != "sub" or one_less.reads[1] != y or not _is(w, one_less, 0, 1):
        return None
    if below.op != "sigmoid" or above.op != "sigmoid" or hit.at:
        return None
    minus = w.get(below.reads[0].source)
    if minus is None or minus.op != "neg" or below.reads[0].at or minus.reads != above.reads:
        return None
    return replace(v, reads=(hit, y))


# ---------------------------------------------------------------- products


def _mul(w: Rewriter, v: Value) -> Result:
    for i in (0, 1):
        if _are(w, v, i, 1):
            return _whole(w, v, 1 - i)
        if _are(w, v, i, -1) and w.fills(v, 1 - i):
            return replace(v, op="neg", reads=(v.reads[1 - i],))
    return None


def _sign_outwards(w: Rewriter, v: Value) -> Result:
    """``-a * b`` is ``-(a * b)``; the same of quotients, products of matrices and sums."""
    for i, r in enumerate(v.reads):
        if _within(w, v, i, "neg") and (v.op == "sum" or not r.at):
            reads = list(v.reads)
            reads[i] = w.through(v, i)
            return replace(v, op="neg", reads=(w.new(v, v.op, *reads, **dict(v.attrs)),), attrs=())
    return None


def _undo(w: Rewriter, v: Value) -> Result:
    """``a / B * B`` and ``a * B / B`` are a, where B is a length: it is not 0."""
    inverse = "div" if v.op == "mul" else "mul"
    for i in (0, 1) if v.op == "mul" else (0,):
        inner = _within(w, v, i, inverse)
        if inner is None or v.reads[i].at:
            continue
        for j in (1,) if inverse == "div" else (0, 1):
            a = inner.reads[1 - j]
            b = v.reads[1 - i]
            if w.through(v, i, j) == b and _is_length(w, b) and w.axes(a) == set(v.axes):
                return a if w.type(a) == v.type else None
    return None


def _is_length(w: Rewriter, r: Read) -> bool:
    source = w.get(r.source)
    while source is not None and source.op == "to_real":
        source = w.get(source.reads[0].source)
    return source is not None and source.op == "length"


def _constant_factors(w: Rewriter, v: Value) -> Result:
    """``2 * (3 * a)`` is ``6 * a``, ``-(2 * a)`` is ``-2 * a``."""
    for i in range(len(v.reads)):
        inner = _within(w, v, i, "mul")
        if inner is None or v.reads[i].at or not w.private(v, i):
            continue
        outer = -1.0 if v.op == "neg" else w.constant(v, 1 - i)
        own = w.constant(inner, 0)
        if isinstance(outer, float) and isinstance(own, float):
            number = w.new(v, "constant", value=outer * own)
            return replace(v, op="mul", reads=(number, inner.reads[1]))
    return None


def _div(w: Rewriter, v: Value) -> Result:
    return _whole(w, v, 0) if _are(w, v, 1, 1) else None


def _logistic(w: Rewriter, v: Value) -> Result:
    """``1 / (1 + exp(-a))`` is the sigmoid, which does not overflow."""
    below = _within(w, v, 1, "add")
    if not _is(w, v, 0, 1) or below is None or v.reads[1].at or not w.fills(v, 1):
        return None
    for i in (0, 1):
        power = w.get(below.reads[1 - i].source)
        if not _is(w, below, i, 1) or power is None or power.op != "exp" or below.reads[1 - i].at:
            continue
        minus = w.get(power.reads[0].source)
        if minus is None or power.reads[0].at or power.type != v.type:
            continue
        if minus.op == "neg":
            return replace(v, op="sigmoid", reads=(minus.reads[0],))
        return replace(v, op="sigmoid", reads=(w.new(v, "neg", power.reads[0]),))
    return None


def _pow(w: Rewriter, v: Value) -> Result:
    if _is(w, v, 1, 1):
        return _whole(w, v, 0)
    if _is(w, v, 1, 2):
        return replace(v, op="mul", reads=(v.reads[0], v.reads[0]))
    if _is(w, v, 1, 0.5) and w.fills(v, 0):
        return replace(v, op="sqrt", reads=(v.reads[0],))
    return None


def _neg(w: Rewriter, v: Value) -> Result:
    if _within(w, v, 0, "neg"):
        return w.through(v, 0)
    inner = _within(w, v, 0, "sub")
    if inner is not None and w.private(v, 0):
        return replace(v, op="sub", reads=(w.through(v, 0, 1), w.through(v, 0, 0)))
    return None


def _where(w: Rewriter, v: Value) -> Result:
    flag = w.uniform(v, 0)
    if flag is not None:
        return _whole(w, v, 1 if flag else 2)
    return _whole(w, v, 1) if v.reads[1] == v.reads[2] else None


# ---------------------------------------------------------------- what was only stretched


def _stretched(w: Rewriter, r: Read) -> Value | None:
    """A value that is another one over more axes, or a number that fills a shape."""
    source = w.get(r.source)
    if source is None or r.at or source.bounds or source.op not in ("copy", "broadcast"):
        return None
    inner = source.reads[0]
    if source.op == "broadcast":
        return source if not w.type(inner).rank else None
    return source if w.axes(inner) != set(source.axes) else None


def _narrow(w: Rewriter, v: Value) -> Result:
    """Elementwise operations stretch by themselves."""
    found = [_stretched(w, r) for r in v.reads]
    if not any(found):
        return None
    for i, source in enumerate(found):
        if source is None:
            continue
        reads = list(v.reads)
        reads[i] = source.reads[0]
        axes = frozenset[str]().union(*(w.axes(r) for r in reads))
        if axes == set(v.axes) and OPS[v.op].rule([w.type(r) for r in reads], {}) == v.type:
            return replace(v, reads=tuple(reads))
    if all(s is not None or not w.axes(r) for s, r in zip(found, v.reads, strict=True)):
        return _stretch_last(w, v, found)
    return None


def _stretch_last(w: Rewriter, v: Value, found: list[Value | None]) -> Result:
    """``f`` of what was stretched in one way is stretched afterwards."""
    op = next(s.op for s in found if s is not None)
    if any(s is not None and s.op != op for s in found):
        return None
    if op == "broadcast" and any(s is None and w.type(r).rank for s, r in zip(found, v.reads)):  # noqa: B905
        return None
    reads = [r if s is None else s.reads[0] for s, r in zip(found, v.reads, strict=True)]
    inner = w.new(v, v.op, *reads)
    if op == "broadcast" and w.axes(inner) == set(v.axes):
        return replace(v, op=op, reads=(inner,), attrs=(("shape", v.type.shape),))
    if op == "copy" and w.type(inner) == v.type:
        return replace(v, op=op, reads=(inner,), attrs=())
    return None


# ---------------------------------------------------------------- functions


def _log(w: Rewriter, v: Value) -> Result:
    """Logarithms of softmax and sigmoid, in the forms that do not overflow."""
    inner = w.operand(v, 0)
    if inner is None:
        return None
    if inner.op == "softmax" and not v.reads[0].at:
        return replace(v, op="log_softmax", reads=(w.through(v, 0),), attrs=inner.attrs)
    if inner.op == "sigmoid":  # log σ(a) = -softplus(-a)
        minus = w.new(v, "neg", w.through(v, 0))
        return replace(v, op="neg", reads=(w.new(v, "softplus", minus),))
    if inner.op == "sub" and not v.reads[0].at and _is(w, inner, 0, 1):
        gate = w.operand(inner, 1)
        if gate is not None and gate.op == "sigmoid" and w.fills(inner, 1):
            # log(1 - σ(a)) = -softplus(a)
            a = w.compose(gate.reads[0], inner.reads[1])
            return replace(v, op="neg", reads=(w.new(v, "softplus", a),))
    return None


# ---------------------------------------------------------------- linear algebra


def _contract(w: Rewriter, v: Value) -> Result:
    """A transposed operand is a change of letters."""
    attrs: dict[str, Any] = dict(v.attrs)
    for position, side in enumerate(("left", "right")):
        if _within(w, v, position, "transpose"):
            reads = list(v.reads)
            reads[position] = w.through(v, position)
            attrs[side] = attrs[side][::-1]
            return replace(v, reads=tuple(reads), attrs=tuple(attrs.items()))
    return None


def _scattered(w: Rewriter, v: Value) -> Result:
    """Rows summed where a one-hot vector puts them: what a lookup's table gains."""
    chosen = _within(w, v, 0, "onehot")
    letters = v.attr("left"), v.attr("right"), v.attr("out")
    if chosen is None or v.reads[0].at or v.axes or letters[2] != letters[0] + letters[1]:
        return None
    place, rows = w.through(v, 0), v.reads[1]
    if not letters[1] or set(v.over) != w.axes(place) | w.axes(rows):
        return None
    attrs = (("size", chosen.attr("size")), ("over", v.over))
    return replace(v, op="scatter", reads=(rows, place), attrs=attrs)


def _transpose(w: Rewriter, v: Value) -> Result:
    return w.through(v, 0) if _within(w, v, 0, "transpose") else None


def _slice(w: Rewriter, v: Value) -> Result:
    """A part of a part; a part of what was put together; all of a vector."""
    start, stop = v.attr("start"), v.attr("stop")
    if start == 0 and w.type(v.reads[0]).shape[0] == stop:
        return v.reads[0]
    inner = w.operand(v, 0)
    if inner is not None and inner.op == "slice":
        base: Size = inner.attr("start")
        return replace(
            v, reads=(w.through(v, 0),), attrs=(("start", base + start), ("stop", base + stop))
        )
    if inner is not None and inner.op == "concat" and not v.reads[0].at:
        end: Size = 0
        for r in inner.reads:
            begin, end = end, end + (w.type(r).shape[0] if w.type(r).rank else 1)
            if (begin, end) == (start, stop) and w.type(r) == v.type:
                return r if w.axes(r) == set(v.axes) else None
    return None


def _concat(w: Rewriter, v: Value) -> Result:
    """Parts of one vector that lie side by side are one part of it."""
    parts = [_within(w, v, i, "slice") for i in range(len(v.reads))]
    if None in parts or any(r.at for r in v.reads):
        return None
    ends = [(p.attr("start"), p.attr("stop"), p.reads[0]) for p in parts if p is not None]
    joined = all(a[1:] == (b[0], b[2]) for a, b in pairwise(ends))
    if not joined or len(ends) < 2:
        return None
    attrs = (("start", ends[0][0]), ("stop", ends[-1][1]))
    return replace(v, op="slice", reads=(w.through(v, 0),), attrs=attrs)


def _broadcast(w: Rewriter, v: Value) -> Result:
    return v.reads[0] if w.type(v.reads[0]) == v.type else None


def _sum(w: Rewriter, v: Value) -> Result:
    """Of the entries of a vector: a number before it, one that fills it, a chosen one."""
    inner = w.operand(v, 0)
    if inner is None or v.over or v.reads[0].at:
        return None
    if inner.op == "onehot":
        one = w.new(v, "constant", value=1.0)
        return replace(v, op="copy", reads=(one,), attrs=())
    if inner.op == "mul":
        for i in (0, 1):
            factor, rest = inner.reads[i], inner.reads[1 - i]
            if not w.type(factor).rank and w.type(rest) == inner.type and inner.type.rank:
                return replace(
                    v, op="mul", reads=(factor, w.new(v, "sum", rest, over=())), attrs=()
                )
    return None


def _weighted_sum(w: Rewriter, v: Value) -> Result:
    """A sum over axes of numbers times vectors is a product: no array of all its terms."""
    inner = _within(w, v, 0, "mul")
    if inner is None or not v.over or v.reads[0].at or not w.private(v, 0):
        return None
    for i in (0, 1):
        factor, rest = w.through(v, 0, i), w.through(v, 0, 1 - i)
        if w.type(factor).rank or w.type(rest) != inner.type or not inner.type.rank:
            continue
        if set(v.over) <= w.axes(factor) & w.axes(rest):
            letters = "ijk"[: inner.type.rank]
            attrs = (("left", ""), ("right", letters), ("out", letters), ("over", v.over))
            return replace(v, op="contract", reads=(factor, rest), attrs=attrs)
    return None


RULES: dict[str, tuple[Rule, ...]] = dict.fromkeys(MAPS - {"copy", "stop_gradient"}, (_narrow,))
for _op, _rules in {
    "copy": (_alias,),
    "add": (_add, _common_factor),
    "sub": (_sub, _flag_error, _common_factor),
    "mul": (_mul, _undo, _sign_outwards, _constant_factors),
    "div": (_div, _logistic, _undo, _sign_outwards),
    "pow": (_pow,),
    "neg": (_neg, _constant_factors),
    "where": (_where,),
    "log": (_log,),
    "contract": (_contract, _scattered, _sign_outwards),
    "scatter": (_sign_outwards,),
    "transpose": (_transpose,),
    "slice": (_slice,),
    "concat": (_concat,),
    "broadcast": (_broadcast,),
    "sum": (_sum, _sign_outwards, _weighted_sum),
}.items():
    RULES[_op] = (*_rules, *RULES.get(_op, ()))
