"""Parts of expressions as text: how tightly they bind, and the products of linear algebra."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from rnnc.graph.types import BATCH

# How tightly an expression binds; an operand that binds less is put in parentheses.
OR, AND, NOT, COMPARE, SUM, TERM, PRODUCT, POWER, ATOM = range(0, 90, 10)
LIKELIHOOD = SUM - 1  # `-nll(…)`, which a further minus makes `nll(…)`
Part = tuple[str, int]

INFIX: dict[str, tuple[str, int, int, int]] = {  # sign, own level, least level left and right
    "or": (" or ", OR, OR, AND),
    "and": (" and ", AND, AND, NOT),
    "eq": (" == ", COMPARE, SUM, SUM),
    "ne": (" != ", COMPARE, SUM, SUM),
    "lt": (" < ", COMPARE, SUM, SUM),
    "le": (" <= ", COMPARE, SUM, SUM),
    "gt": (" > ", COMPARE, SUM, SUM),
    "ge": (" >= ", COMPARE, SUM, SUM),
    "add": (" + ", SUM, SUM, TERM),
    "sub": (" - ", SUM, SUM, TERM),
    "mul": (" * ", TERM, TERM, PRODUCT),
    "div": (" / ", TERM, TERM, PRODUCT),
    "mod": (" % ", TERM, TERM, PRODUCT),
    "pow": ("^", POWER, ATOM, ATOM),
}


def enclosed(part: Part, least: int) -> str:
    """The text, in parentheses where it binds less tightly than ``least``."""
    text, level = part
    return text if level >= least else f"({text})"


def infix(op: str, left: Part, right: Part) -> Part:
    """``a + b`` with the fewest parentheses; a negative number may lead a product."""
    sign, own, least_left, least_right = INFIX[op]
    bare = is_number(left) and op != "pow"
    head = left[0] if bare else enclosed(left, least_left)
    return f"{head}{sign}{enclosed(right, least_right)}", own


def is_number(part: Part) -> bool:
    """Whether it is a literal."""
    return re.fullmatch(r"-?[\d.]+(e[-+]?\d+)?", part[0]) is not None


def ones(size: str) -> str:
    """A vector of ones."""
    return f"repeat([1], {size})"


def summed(part: Part, over: Iterable[str]) -> Part:
    """The sum over time axes, then over the batch, around an expression."""
    for axis in sorted(over, key=lambda a: a == BATCH):
        part = f"sum[{axis}]({part[0]})", ATOM
    return part


def transposed(part: Part) -> str:
    """``W.T``"""
    return f"{enclosed(part, ATOM)}.T"


def side_by_side(left: Part, right: Part) -> Part:
    """``W x``: juxtaposition, which reads from the left; a number may stand first only."""
    tail = f"({right[0]})" if is_number(right) else enclosed(right, POWER)
    return f"{enclosed(left, PRODUCT)} {tail}", PRODUCT


def _total(matrix: Part, letters: str, kept: str, sizes: Mapping[str, str]) -> Part:
    """The sums of the rows of a matrix, or of its columns: a product with ones."""
    (gone,) = set(letters) - set(kept)
    turned = matrix if letters[0] == kept else (transposed(matrix), ATOM)
    return side_by_side(turned, (ones(sizes[gone]), ATOM))


def product(parts: list[Part], attrs: Mapping[str, Any], sizes: Mapping[str, str]) -> Part:
    """A contraction in the notation of linear algebra; ``einsum(…)`` where there is none."""
    (a, b), (left, right, out) = parts, (attrs["left"], attrs["right"], attrs["out"])
    if len(left) < len(right):  # the larger operand first; products below put it where it belongs
        (a, left), (b, right) = (b, right), (a, left)
        swapped = True
    else:
        swapped = False
    shared = set(left) & set(right)

    def matrix(part: Part, turned: bool) -> Part:
        return (transposed(part), ATOM) if turned else part

    match len(left), len(right):
        case 0, 0:
            return f"{enclosed(a, TERM)} * {enclosed(b, PRODUCT)}", TERM
        case ((1 | 2), 0) if sorted(out) == sorted(left):
            return side_by_side(b, matrix(a, out != left))
        case ((1 | 2), _) if left == right and out == left:
            return f"{enclosed(a, TERM)} * {enclosed(b, PRODUCT)}", TERM
        case 1, 1 if left == right and not out:
            return f"dot({a[0]}, {b[0]})", ATOM
        case 1, 1 if not shared and len(out) == 2:
            first, second = (a, b) if out == left + right else (b, a)
            return f"outer({first[0]}, {second[0]})", ATOM
        case 2, 1 if shared and (out == left or (len(out) == 1 and out != right)):
            if out == left:
                scaled = f"diag({b[0]})", ATOM
                return side_by_side(*((a, scaled) if left[1] == right else (scaled, a)))
            return side_by_side(matrix(a, left[0] == right), b)
        case 2, 1 if len(shared) == 1 and out == right:
            total = _total(a, left, out, sizes)
            return f"{total[0]} * {enclosed(b, PRODUCT)}", TERM
        case 2, 2 if len(shared) == 2:
            entries = infix("mul", a, b if left == right else (transposed(b), ATOM))
            if len(out) == 1:
                return _total(entries, left, out, sizes)
            if out:
                return entries if out == left else (transposed(entries), ATOM)
            return f"sum({entries[0]})", ATOM
        case 2, 2 if len(shared) == 1 and len(out) == 2 and not shared & set(out):
            (k,) = shared
            if out[0] in right:
                (a, left), (b, right) = (b, right), (a, left)
            return side_by_side(matrix(a, left[0] == k), matrix(b, right[1] == k))
    if swapped:
        (a, left), (b, right) = (b, right), (a, left)
    return f'einsum("{left},{right}->{out}", {a[0]}, {b[0]})', ATOM
