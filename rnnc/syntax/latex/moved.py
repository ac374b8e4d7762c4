"""Equations for the next step, ``h_{t+1} = f(h_t, x_{t+1})``, as equations for this one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from rnnc.source import Span
from rnnc.syntax import tree
from rnnc.syntax.latex.names import Names


def moved_to_now(equation: tree.Equation, names: Names) -> tree.Equation:
    """The equation with every step moved so that the left side stands at ``t``.

    h[t+1] = tanh(W h[t] + x[t+1])    →    h[t] = tanh(W h[t-1] + x[t])
    """
    moves: dict[str, int] = {}
    for left in equation.left:
        for step in left.index:
            match step:
                case tree.Binary(
                    op=op, left=tree.Name(name=axis), right=tree.Number(value=int(count))
                ) if axis in names.axes:
                    moves[axis] = -count if op == "+" else count
    lefts = tuple(replace(x, index=tuple(map(_now, x.index))) for x in equation.left)
    return replace(equation, left=lefts, right=_moved(equation.right, moves))


def _now(step: tree.Expr) -> tree.Expr:
    return step.left if isinstance(step, tree.Binary) else step


def _moved(part: Any, moves: Mapping[str, int]) -> Any:
    """An expression with the steps of some axes moved, except where a sum runs over them."""
    if isinstance(part, tuple):
        return tuple(_moved(p, moves) for p in part)
    if not is_dataclass(part) or isinstance(part, Span | type):
        return part
    match part:
        case tree.Name(name=name) if name in moves:
            return _step(name, moves[name], part.span)
        case tree.Binary(
            op="+" | "-" as op, left=tree.Name(name=name), right=tree.Number(value=int(count))
        ) if name in moves:
            return _step(name, moves[name] + (count if op == "+" else -count), part.span)
        case tree.Call(over=over):
            moves = {axis: count for axis, count in moves.items() if axis not in over}
    changed = {}
    for f in fields(part):
        before = getattr(part, f.name)
        after = _moved(before, moves)
        if after is not before:
            changed[f.name] = after
    return replace(part, **changed) if changed else part


def _step(axis: str, count: int, span: Span) -> tree.Expr:
    name = tree.Name(axis, span=span)
    if not count:
        return name
    number = tree.Number(abs(count), span=span)
    return tree.Binary("+" if count > 0 else "-", name, number, span=span)
