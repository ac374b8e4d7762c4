"""Who reads whom among the variables of a model: an order to solve in, and what spreads."""

from __future__ import annotations

import heapq
from collections import defaultdict
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


class Worklist:
    """What is to be looked at again, in the order of ``steps``: whatever takes part in an
    equation with something that has changed."""

    def __init__(self, steps: Sequence[Node | Variable]):
        self._steps = steps
        self._near: dict[int, set[int]] = defaultdict(set)  # by id, the places it takes part in
        for place, step in enumerate(steps):
            self._near[id(step)].add(place)
            for part in step.args if isinstance(step, Node) else step.nodes:
                self._near[id(part.variable or part)].add(place)
        self._heap: list[int] = []
        self._waiting: set[int] = set()

    def everything(self) -> None:
        """Look at all steps again."""
        self._heap = list(range(len(self._steps)))
        self._waiting = set(self._heap)

    def changed(self, owner: Node | Variable) -> None:
        """Look at all that has to do with a node or variable."""
        if isinstance(owner, Node):
            owner = owner.variable or owner
        for place in self._near[id(owner)] - self._waiting:
            self._waiting.add(place)
            heapq.heappush(self._heap, place)

    def next(self) -> Node | Variable | None:
        """The first step that waits; None where nothing does."""
        if not self._heap:
            return None
        place = heapq.heappop(self._heap)
        self._waiting.discard(place)
        return self._steps[place]


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
