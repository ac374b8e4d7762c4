"""The shapes that equations tell where declarations leave them open."""

from __future__ import annotations

from collections.abc import Container

from rnnc.graph.build.infer import Inference
from rnnc.graph.build.losses import objectives
from rnnc.graph.build.mismatch import Shape
from rnnc.graph.build.nodes import walk_nodes
from rnnc.graph.build.order import in_order, spread_bad
from rnnc.graph.build.problems import Problems
from rnnc.graph.build.resolve import Resolver
from rnnc.graph.build.scope import Scope
from rnnc.syntax import tree

_OPEN = ("RNN034", "RNN035")


def sketch(
    model: tree.Model, vectors: Container[str] = (), numbers: Container[str] = ()
) -> dict[str, Shape | None]:
    """The shape of every value of a model without layers; sizes that nothing tells are dims called
    ``?1``, ``?2``, and so on, and what is not known at all is None. Some values are taken to be
    ``vectors``, and others ``numbers``.

    Raises SpecError with what is wrong but for that.
    """
    problems = Problems()
    scope = Scope(model, {}, problems)
    resolver = Resolver(scope)
    resolver.variables()
    found = objectives(model, scope, resolver)
    problems.stop()
    roots = [n for v in scope.variables.values() for n in v.nodes] + found.nodes
    nodes = walk_nodes(roots)
    spread_bad(scope)
    inference = Inference(scope, nodes, in_order(scope, nodes))
    for v in scope.variables.values():
        if v.name in vectors:
            v.shape = (inference.new_size(),)
        elif v.name in numbers:
            v.shape = ()
    inference.run()
    problems.found = [d for d in problems.found if d.code not in _OPEN]
    problems.stop()
    return {v.name: v.shape for v in scope.variables.values()}
