"""Logits where a distribution takes probabilities: ``categorical(o[t])`` of ``o[t] = V h[t] + c``.

Nothing is refused that weights of one's own could make probabilities: ``A p[t]`` with a stochastic
matrix, mixtures ``g * p + (1 - g) * q``, quotients.
"""

from __future__ import annotations

from rnnc.graph.build.nodes import Node
from rnnc.graph.build.problems import Problems, short

_TO_PROBABILITIES = {"categorical": "softmax", "bernoulli": "sigmoid"}
_SIGNED = frozenset(("tanh", "sin", "cos"))
_KEEPS_SIGNS = frozenset(("add", "sub", "mul", "neg", "where"))


def check_probable(distribution: str, p: Node, problems: Problems) -> None:
    """Report a parameter that a matrix (or a row) of weights gives directly (RNN014); shapes are
    known by now."""
    function = _TO_PROBABILITIES.get(distribution)
    if function is None or p.bad or not _is_affine(p):
        return
    text = short(p.span.text)
    problems.add(
        "RNN014",
        f"{distribution} takes probabilities, and `{text}` may be any number",
        p.span,
        hint=f"write {distribution}({function}({text}))",
        labels=[(p.variable.span, "it is a product with weights")] if p.variable else [],
    )


def _defined(node: Node) -> Node:
    """What a read stands for, through equations that say nothing more."""
    seen: set[str] = set()
    while (v := node.variable) is not None and v.node is not None and v.name not in seen:
        seen.add(v.name)
        node = v.node
    return node


def _is_affine(p: Node) -> bool:
    """``W h + b`` of any h, and ``W h`` of an h that may be negative."""
    node = _defined(p)
    if node.op == "map" and node.attrs["f"] == "add":
        left, right = node.args
        return any(_is_weighted(a) and _is_param(b) for a, b in ((left, right), (right, left)))
    return _is_weighted(node) and _is_signed(node.args[1])


def _is_weighted(node: Node) -> bool:
    """A product with a matrix or row of weights on its left."""
    if node.op not in ("product", "dot"):
        return False
    left = node.args[0]
    weights = left.args[0] if left.op == "transpose" else left
    return _is_param(weights) and weights.rank != 0


def _is_param(node: Node) -> bool:
    return node.variable is not None and node.variable.role == "param"


def _is_signed(node: Node) -> bool:
    """Whether a value is made of such as tanh, which probabilities are not."""
    todo, seen = [node], set[int]()
    while todo:
        n = todo.pop()
        if id(n.variable or n) in seen:
            continue
        seen.add(id(n.variable or n))
        f = n.attrs.get("f") if n.op == "map" else None
        if f in _SIGNED:
            return True
        if n.variable is not None:
            todo += [n.variable.node] if n.variable.node is not None else []
        elif f in _KEEPS_SIGNS or n.op in ("part", "slice", "concat"):
            todo += n.args
    return False
