"""Who reads whom among the variables of a model: an order to solve in, and what spreads."""

from __future__ import annotations

from collections.abc import Sequence

from rnnc.graph.build.nodes import Node, walk_nodes
from rnnc.graph.build.scope import Scope, Variable


def in_order(scope: Scope, nodes: Sequence[Node]) -> list[Node | Variable]:
    """All nodes and variables, as far as possible each after what it is made of.

    A fixed point is then reached in a few rounds, however long a chain of equations is.
    """
    out: list[Node | Variable] = []
    seen: set[int] = set()
    for v in _by_need(scope):
        fresh = [n for n in walk_nodes(v.nodes) if id(n) not in seen]
        seen |= {id(n) for n in fresh}
        out += [*fresh, v]
    return out + [n for n in nodes if id(n) not in seen]


def _by_need(scope: Scope) -> list[Variable]:
    needs = {
        v.name: [n.variable for n in walk_nodes(v.nodes) if n.variable is not None]
        for v in scope.variables.values()
    }
    out: list[Variable] = []
    state: dict[str, bool] = {}  # False while what it needs is looked at
    for root in scope.variables.values():
        todo = [root]
        while todo:
            v = todo[-1]
            if v.name not in state:
                state[v.name] = False
                todo += [n for n in reversed(needs[v.name]) if n.name not in state]
            else:
                todo.pop()
                if not state[v.name]:
                    state[v.name] = True
                    out.append(v)
    return out


def spread_bad(scope: Scope) -> None:
    """A value whose equation is wrong is not complained about again where it is read."""
    for v in scope.variables.values():
        if any(n.op == "bad" for n in walk_nodes(v.nodes)):
            v.bad = True


def find_batch(scope: Scope) -> None:
    """What data reaches, directly or not, differs from sequence to sequence."""
    readers: dict[str, list[Variable]] = {}
    for v in scope.variables.values():
        for node in walk_nodes(v.nodes):
            if node.variable is not None:
                readers.setdefault(node.variable.name, []).append(v)
    todo = [v for v in scope.variables.values() if v.role in ("input", "target")]
    for v in todo:
        v.batch = True
    while todo:
        for reader in readers.get(todo.pop().name, ()):
            if not reader.batch:
                reader.batch = True
                todo.append(reader)
