"""The shapes of states that nothing but their own recurrence tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rnnc.graph.build.mismatch import Shape
from rnnc.graph.build.nodes import Node
from rnnc.graph.build.scope import Scope, Variable


class _Open:
    """What cannot be told yet."""


_OPEN = _Open()
Least = Shape | None | _Open


def least_shapes(
    scope: Scope, steps: Sequence[Node | Variable], shape: Callable[[Node], Shape | None]
) -> list[tuple[Variable, Shape]]:
    """Open states, each with what its equation makes of everything but the states themselves.

    ``m[t] = max(f[t] + m[t-1], i[t])`` with numbers f and i is a number: the least solution,
    found by leaving open states out of elementwise operations.
    """
    states = [
        v
        for v in scope.variables.values()
        if v.shape is None and v.role == "equation" and not v.bad and v.node is not None
    ]
    steps = [step for step in steps if step.shape is None]
    least: dict[Node | Variable, Least] = {}
    while states:
        least = _fixed_point(states, steps, shape)
        told = [v for v in states if v.node and not isinstance(_of(v.node, least, shape), _Open)]
        if len(told) == len(states):
            break
        states = told  # the others wait for something else than themselves
    found = ((v, least[v]) for v in states if v.part is None)
    return [(v, s) for v, s in found if s is not None and not isinstance(s, _Open)]


def _fixed_point(
    states: Sequence[Variable],
    steps: Sequence[Node | Variable],
    shape: Callable[[Node], Shape | None],
) -> dict[Node | Variable, Least]:
    """The least shapes of nodes and open states; None is nothing yet, absent is open."""
    least: dict[Node | Variable, Least] = dict.fromkeys(states)
    changed = True
    while changed:
        changed = False
        for step in steps:
            if isinstance(step, Node):
                found = _of(step, least, shape)
                if not isinstance(found, _Open) and least.get(step, _OPEN) != found:
                    least[step] = found
                    changed = True
            elif step in least and least[step] is None and step.node is not None:
                found = least.get(step.node)
                if found is not None:
                    least[step] = found
                    changed = True
    return least


def _of(
    node: Node, least: dict[Node | Variable, Least], shape: Callable[[Node], Shape | None]
) -> Least:
    """The shape of a node with open states left out: None if it is nothing but those."""
    if node.shape is not None:
        return shape(node)
    if node.variable is not None:
        return least.get(node.variable, _OPEN)
    if node.op != "map":
        return _OPEN
    known: list[Shape] = []
    for a in node.args:
        found = shape(a) if a.shape is not None else least.get(a.variable or a, _OPEN)
        if isinstance(found, _Open):
            return _OPEN
        if found is not None:
            known.append(found)
    full = [s for s in known if s]
    if not known:
        return None
    return max(full, key=lambda s: sum(x != 1 for x in s)) if full else ()
