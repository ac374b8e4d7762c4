"""What does not fit in an expression, and how it is told."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from rnnc.graph.build.nodes import Node
from rnnc.graph.build.problems import Problems, head, shape_text, shape_words, short
from rnnc.graph.build.scope import Variable
from rnnc.graph.types import Size
from rnnc.source import Span

Shape = tuple[Size, ...]
Labels = list[tuple[Span, str]]


class Mismatch(Exception):
    """Two sizes or ranks that cannot be the same.

    ``subject`` is what has the shape ``found`` where ``wanted`` is needed; ``message`` says it
    all where the rule knows best.
    """

    def __init__(
        self,
        code: str = "RNN030",
        message: str | None = None,
        span: Span | None = None,
        hint: str | None = None,
    ):
        self.code, self.message, self.span, self.hint = code, message, span, hint
        self.subject: Node | None = None
        self.found: Shape | None = None
        self.wanted: Shape | None = None


class Teller:
    """Tells mismatches, with all places that take part.

    ``givers`` knows for a node or variable (by ``id``) what gave it its shape; ``shape`` is the
    shape of a node as far as it is known.
    """

    def __init__(
        self,
        problems: Problems,
        nodes: Sequence[Node],
        shape: Callable[[Node], Shape | None],
        givers: Mapping[int, Node | Variable],
    ):
        self.problems = problems
        self.nodes = nodes
        self.shape = shape
        self.givers = givers

    def tell(self, node: Node, mismatch: Mismatch) -> None:
        """Report that a node's operands, or what is wanted of it, do not fit."""
        span, hint = mismatch.span or node.span, mismatch.hint
        # what a function is made of inside has the span of its call
        labels = self.operands([a for a in node.args if a.span != node.span])
        if mismatch.message:
            message = mismatch.message
        elif node.op == "product" and mismatch.subject is not node:
            span, message, hint = self._product(node)
        elif node.op == "map" and mismatch.subject is None:
            message, hint = self._map(node, mismatch.code)
        elif mismatch.subject is not None:
            subject = mismatch.subject
            span = subject.span
            message = (
                f"`{short(span.text)}` is {shape_text(mismatch.found)}, "
                f"but {shape_text(mismatch.wanted)} is needed here"
            )
            labels = self._reason(subject) + self.operands(subject.args)
        else:
            message = "these do not fit together"
        self.problems.add(mismatch.code, message, span, labels=labels, hint=hint)

    def equation(self, v: Variable, span: Span, node: Node, code: str, boundary: bool) -> None:
        """Report a right side that is not what its variable is."""
        what = f"the boundary `{span.text}`" if boundary else f"the right side of `{v.name}`"
        own = shape_text(v.shape)
        if v.argument and not boundary:
            what = f"the argument `{short(node.span.text)}`"
        self.problems.add(
            code,
            f"{what} is {shape_text(self.shape(node))}, but `{v.name}` is {own}",
            node.span,
            labels=[(v.span, f"`{v.name}` is {own}"), *self._reason(v)],
        )

    def operands(self, nodes: Sequence[Node]) -> Labels:
        """What the operands are, at the place where that was said."""
        out: Labels = []
        for n in nodes:
            shape, v = self.shape(n), n.variable
            if shape is None or n.bad or (v is None and not n.args):
                continue
            if v is None or (v.span.line == n.span.line and v.span != n.span):
                out.append((n.span, f"`{short(n.span.text)}` is {shape_text(shape)}"))
            elif v.range is not None:
                out.append((v.span, f"`{v.name}` is index({v.range})"))
            else:
                out.append((v.span, f"`{v.name}` is {shape_text(shape)}"))
        return out

    def _reason(self, subject: Node | Variable) -> Labels:
        """The places that made the subject have its shape."""
        owner = subject.variable or subject if isinstance(subject, Node) else subject
        giver = self.givers.get(id(owner))
        if isinstance(giver, Node):
            return self.operands([a for a in giver.args if a is not subject])
        if giver is not None:
            return [(giver.span, f"`{giver.name}` is {shape_text(giver.shape)}")]
        return []

    def _product(self, node: Node) -> tuple[Span, str, str | None]:
        left, right = node.args
        a, b, r = self.shape(left), self.shape(right), self.shape(node)
        name = short(left.span.text)
        if a and b and len(a) == 1 and len(b) == 1:
            u, v = name, short(right.span.text)
            hint = (
                f"{u} * {v} multiplies the entries, dot({u}, {v}) gives a number, "
                f"outer({u}, {v}) a matrix"
            )
            return node.span, "a vector times a vector can mean three things", hint
        if a and b and len(a) == 1:
            right_name = short(right.span.text)
            hint = f"the matrix comes first, {right_name} {name}; a row is {name}.T {right_name}"
            return node.span, "a vector stands before a matrix", hint
        if a and b and len(a) == 2:
            wanted = r[0] if r else self._beside(node)
            used = shape_text((wanted if wanted is not None else a[0], b[0]))
            message = f"`{name}` is {shape_text(a)} but is used as {used}"
            inner = left.args[0].span.text if left.op == "transpose" else f"{name}.T"
            hint = f"did you mean {short(inner)}?"
            if a[0] != b[0] or wanted not in (None, a[1]):
                owner = left.variable
                known = owner is not None and owner.role == "param"
                called = owner.name if owner and set(name) & set("\\{}") else name  # of LaTeX
                hint = f"declare it so: {called} : {used}" if known else ""
            return left.span, message, hint or None
        return node.span, "these cannot be multiplied", None

    def _beside(self, node: Node) -> Size | None:
        """The length of what a product is added to."""
        for other in self.nodes:
            if other.op == "map" and node in other.args:
                for a in other.args:
                    if a is not node and (shape := self.shape(a)):
                        return shape[0]
        return None

    def _map(self, node: Node, code: str) -> tuple[str, str | None]:
        shapes = [s for a in node.args if (s := self.shape(a))]
        different = list(dict.fromkeys(shapes))
        words = " and ".join(map(shape_words, different))
        message = f"`{_operation(node)}` cannot join {words}"
        if code == "RNN031":
            hint = "a vector does not stretch to a matrix; outer(u, v) and diag(v) make matrices"
            return message, hint
        return message, None


_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "mod": "%", "pow": "^", "where": "cases"}


def _operation(node: Node) -> str:
    """The sign or the function that a node was written with."""
    if re.search(r"[\\{}^]", node.span.text) and node.attrs.get("f") in _SIGNS:  # LaTeX
        return _SIGNS[node.attrs["f"]]
    first, last = node.args[0].span, node.args[-1].span
    between = node.span.source.text[first.end : last.start].strip(" ()")
    return between if 0 < len(between) <= 3 else head(node.span).text
