"""From syntax to nodes: looks names up, reads time indices, takes sugar away."""

from __future__ import annotations

import math

from rnnc.graph.build.calls import Calls
from rnnc.graph.build.dims import walk
from rnnc.graph.build.functions import (
    FUNCTIONS,
    INITIALISERS,
    map_node,
    number,
    whole_node,
)
from rnnc.graph.build.nodes import Node, walk_nodes
from rnnc.graph.build.problems import (
    FOREIGN_INITIALISERS,
    head,
    listed,
    short,
    suggestion,
)
from rnnc.graph.build.scope import Boundary, Scope, Variable
from rnnc.graph.types import Index, read
from rnnc.source import Span
from rnnc.syntax import tree

BINARY = {
    "+": "add", "-": "sub", "*": "mul", "/": "div", "%": "mod", "^": "pow",
    "==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge",
    "and": "and", "or": "or",
}  # fmt: skip


class Resolver(Calls):
    """Turns a model's expressions into nodes, filling the variables of its scope."""

    def __init__(self, scope: Scope):
        self.scope = scope
        self.problems = scope.problems

    # ---------------------------------------------------------------- variables

    def variables(self) -> None:
        """Resolve the right sides of all equations and boundaries."""
        # one node for a multiple assignment, whichever of its names comes first
        shared: dict[int, Node] = {}
        for v in self.scope.variables.values():
            if v.initialiser is not None:
                self._check_initialiser(v.initialiser)
            if v.expr is not None:
                v.node = self._right_side(v, shared)
                if v.role == "const":
                    self._check_constant(v)
                else:
                    self.check_axes(v, v.node, v.axes)
            for b in v.boundaries:
                b.node = self.node(b.expr)
                self.check_axes(v, b.node, tuple(a for a in v.axes if a != b.axis), b)

    def _right_side(self, v: Variable, shared: dict[int, Node]) -> Node:
        expr = v.expr
        assert expr is not None
        if v.part is None:
            return self.node(expr)
        i, count = v.part
        if id(expr) not in shared:
            shared[id(expr)] = self._split(expr, count)
        whole = shared[id(expr)]
        if whole.op == "bad":
            return whole
        return Node("part", expr.span, (whole,), {"part": i, "of": count}, axes=whole.axes)

    def _split(self, expr: tree.Expr, count: int) -> Node:
        """What is taken apart by ``(a[t], b[t]) = split(…, 2)``."""
        if not isinstance(expr, tree.Call) or expr.function != "split":
            return self.fail(
                "RNN014",
                "several names on the left take the parts of a split",
                expr.span,
                f"write split(…, {count}) on the right, or an equation for each name",
            )
        if len(expr.args) != 2 or self.scope.dims.size(expr.args[1], quiet=True) != count:
            return self.fail(
                "RNN014",
                f"there are {count} names on the left, so the right side is split(…, {count})",
                expr.args[1].span if len(expr.args) == 2 else expr.span,
            )
        return self.node(expr.args[0])

    def check_axes(
        self, v: Variable, node: Node, allowed: tuple[str, ...], boundary: Boundary | None = None
    ) -> None:
        """What stands for a value varies over no axis that the value does not have."""
        extra = sorted(node.axes - set(allowed))
        if not extra or node.bad:
            return
        axis = extra[0]
        length = self.scope.length_name(axis)
        place = next(
            n
            for n in walk_nodes([node])
            if axis in n.axes and not any(axis in a.axes for a in n.args)
        )
        what = f"`{short(place.span.text)}` varies over {axis}"
        name = place.variable.name if place.variable else None
        hint: str | None
        if boundary is not None:
            alone = "is one value" if not allowed else f"varies over {' and '.join(allowed)} alone"
            message = f"{what}, but the boundary `{boundary.span.text}` {alone}"
            hint = f"its first step is {_at(place, axis, '1')}" if name else None
        else:
            alone = f"varies over {' and '.join(allowed)} alone"
            alone = alone if allowed else "is the same at every step"
            message = f"{what}, but `{v.name}` {alone}"
            read = f"read one step ({_at(place, axis, length)} is the last) " if name else ""
            hint = f"write {v.name}[{', '.join((*allowed, axis))}], {read}"
            if v.argument:
                hint = read
            hint += f"or add them up: sum[{axis}](…)"
        labels = [] if boundary or allowed else [(head(v.span), f"`{v.name}` has no index")]
        self.problems.add("RNN021", message, place.span, labels=labels, hint=hint)
        v.bad = True

    def _check_constant(self, v: Variable) -> None:
        """A const is made of numbers, dims and other consts."""
        assert v.node is not None
        for node in walk_nodes([v.node]):
            other = node.variable
            if other is not None and other.role != "const":
                what = "an input" if other.role == "input" else f"a {other.role}"
                what = "an equation" if other.role == "equation" else what
                found = f"`{other.name}`"
                labels = [(other.span, f"`{other.name}` is {what}")]
            elif node.op in ("step", "length", "training"):
                found, labels = f"`{node.span.text}`", []
            else:
                continue
            message = f"a const is computed once, before anything runs; {found} is not known then"
            suffix = "[t]" if node.axes else ""
            hint = f"make it an equation: {v.name}{suffix} = …, without the word const"
            self.problems.add("RNN041", message, node.span, labels=labels, hint=hint)
            v.bad = True

    def _check_initialiser(self, init: tree.Name | tree.Call) -> None:
        name = init.name if isinstance(init, tree.Name) else init.function
        args = () if isinstance(init, tree.Name) else init.args
        usage = INITIALISERS.get(name)
        if usage is None:
            hint = FOREIGN_INITIALISERS.get(name) or suggestion(name, INITIALISERS)
            hint = hint or f"there are: {', '.join(INITIALISERS.values())}"
            self.problems.add("RNN015", f"unknown initialiser `{name}`", init.span, hint=hint)
            return
        wanted = usage.count(",") + 1 if "(" in usage else 0
        if len(args) != wanted:
            numbers = {0: "no numbers", 1: "one number", 2: "two numbers"}[wanted]
            self.problems.add("RNN014", f"{name} takes {numbers}", init.span, hint=f"write {usage}")
            return
        for arg in args:
            self._check_number(arg)

    def _check_number(self, expr: tree.Expr) -> None:
        """An initialiser's argument is arithmetic over numbers and dims."""
        for part in walk(expr):
            if isinstance(part, tree.Expr) and not self._is_formula(part):
                what = f"`{short(part.span.text)}`"
                message = f"the numbers of an initialiser are arithmetic over dims; {what} is not"
                hint = "there are + - * / ^, sqrt, exp, log and pi"
                self.problems.add("RNN014", message, part.span, hint=hint)
                return

    def _is_formula(self, part: tree.Expr) -> bool:
        match part:
            case tree.Number() | tree.Unary(op="-"):
                return True
            case tree.Binary(op=op):
                return op in ("+", "-", "*", "/", "^")
            case tree.Name(name=name):
                return name == "pi" or name in self.scope.dims
            case tree.Call(function=f, args=(_,), over=(), options=()):
                return f in ("sqrt", "exp", "log")
        return False

    # ---------------------------------------------------------------- expressions

    def fail(self, code: str, message: str, span: Span, hint: str | None = None) -> Node:
        self.problems.add(code, message, span, hint=hint)
        return self.bad(span)

    def bad(self, span: Span) -> Node:
        """A node whose error is already reported; nothing more is said about it."""
        return Node("bad", span)

    def node(self, expr: tree.Expr) -> Node:
        """The node of an expression."""
        span = expr.span
        match expr:
            case tree.Number(value=value):
                return number(value, span)
            case tree.Name(name=name):
                return self.name(name, span)
            case tree.Indexed():
                return self._indexed(expr)
            case tree.Unary(op=op, operand=operand):
                return map_node("neg" if op == "-" else "not", span, self.node(operand))
            case tree.Binary():
                return self._binary(expr)
            case tree.Product(factors=factors):
                # from the right: A B x is two matrix-vector products
                node = self.node(factors[-1])
                for factor in reversed(factors[:-1]):
                    place = span if factor is factors[0] else factor.span.to(span)
                    left = self.node(factor)
                    node = whole_node("product", place, left, node, entries=expr.entries)
                return node
            case tree.Transpose(operand=operand):
                return whole_node("transpose", span, self.node(operand))
            case tree.Concat(items=items):
                return whole_node("concat", span, *(self.node(i) for i in items))
            case tree.Conditional(condition=condition, then=then, otherwise=otherwise):
                parts = (self.node(condition), self.node(then), self.node(otherwise))
                return map_node("where", span, *parts)
            case tree.Call():
                return self.call(expr)

    def _binary(self, expr: tree.Binary) -> Node:
        # a long sum leans to the left: go down it in a loop, not by recursion
        chain = []
        left: tree.Expr = expr
        while isinstance(left, tree.Binary):
            chain.append(left)
            left = left.left
        node = self.node(left)
        for link in reversed(chain):
            node = map_node(BINARY[link.op], link.span, node, self.node(link.right))
        return node

    def name(self, name: str, span: Span) -> Node:
        """The node of a name without an index."""
        scope = self.scope
        if name in scope.variables:
            v = scope.variables[name]
            if v.axes:
                axis, length = v.axes[0], scope.length_name(v.axes[0])
                rest = "".join(f", {a}" for a in v.axes[1:])
                return self.fail(
                    "RNN021",
                    f"`{name}` varies over {listed(list(v.axes))}: say at which step",
                    span,
                    f"{name}[{axis}{rest}] is this step, {name}[{axis}-1{rest}] the one before, "
                    f"{name}[{length}{rest}] the last",
                )
            return Node("read", span, variable=v)
        if name in scope.dims:
            size = scope.dims.size(tree.Name(name, span=span))
            return Node("dim", span, attrs={"size": size})
        if name in scope.axes:
            return Node("step", span, attrs={"axis": name}, axes=frozenset((name,)))
        if axis_name := scope.axis_of_length(name):
            return Node("length", span, attrs={"axis": axis_name})
        if name in ("pi", "inf"):
            return number(math.pi if name == "pi" else math.inf, span)
        if name == "training":
            return Node("training", span)
        if name in FUNCTIONS:
            usage = FUNCTIONS[name].usage
            hint = f"write {usage}"
            return self.fail("RNN013", f"`{name}` is a function: give its argument", span, hint)
        return self._unknown(name, span)

    def _unknown(self, name: str, span: Span, indexed: bool = False) -> Node:
        scope = self.scope
        if span.source.caller is not None:
            name = head(span).text  # as the layer says it
            return self.fail("RNN010", f"unknown name `{name}`", head(span))
        if name in ("T", "t"):
            has = f"its axis is {listed(list(scope.axes))}"
            return self.fail("RNN020", f"this model has no axis for `{name}`", span, has)
        known = [*scope.variables, *scope.dims]
        hint = self.of_call(name) or self._apart(name) or suggestion(name, known)
        if hint is None and indexed:
            hint = f"give its equation, {name}[{next(iter(scope.axes))}] = …, or declare it: input"
        hint = hint or f"declare it: input, param, const or dim {name}, or give its equation"
        return self.fail("RNN010", f"unknown name `{name}`", head(span), hint)

    def _apart(self, name: str) -> str | None:
        """``Wx`` as ``W x`` and ``x_t`` as ``x[t]``, where those are names of the model."""
        known, axes = self.scope.variables, self.scope.axes
        stem, _, index = name.rpartition("_")
        if index in axes and stem in known and known[stem].axes:
            return f"a step is written in brackets: {stem}[{index}]"
        step = f"[{index}]" if index in axes and stem else ""
        glued = stem if step else name
        for cut in range(1, len(glued)):
            left, right = glued[:cut], glued[cut:]
            if left in known and right in known:
                return f"for a product put a space between the names: {left} {right}{step}"
        return None

    # ---------------------------------------------------------------- indices

    def _indexed(self, expr: tree.Indexed) -> Node:
        scope, name, span = self.scope, expr.name, expr.span
        if name not in scope.variables:
            if name in FUNCTIONS:
                return self.fail(
                    "RNN013",
                    f"`{name}` is a function and takes its argument in round brackets",
                    span,
                    f"write {FUNCTIONS[name].usage}",
                )
            return self._unknown(name, span, indexed=True)
        v = scope.variables[name]
        if not v.axes:
            return self._lookup(v, expr)
        if len(expr.index) != len(v.axes):
            count = "one index" if len(v.axes) == 1 else f"{len(v.axes)} indices"
            own = ", ".join(v.axes)
            return self.fail(
                "RNN020",
                f"`{name}` has {count}, {own}, not {len(expr.index)}",
                span,
                f"a part of a vector is slice({name}[{own}], i, j)"
                if len(expr.index) > len(v.axes)
                else f"say at which step of each axis: {name}[{own}] is this one",
            )
        if inside := scope.in_order(expr.index, v.axes):
            message = f"the indices of `{name}` are {', '.join(v.axes)}, in this order"
            return self.fail("RNN020", message, span, f"write {name}[{inside}]")
        at: list[tuple[str, Index]] = []
        axes: set[str] = set()
        for axis, item in zip(v.axes, expr.index, strict=True):
            index = scope.time_index(item, axis)
            if index is None:
                return self.bad(span)
            if not index.fixed:
                axes.add(index.base)
            at.append((axis, index))
        bases = [index.base for _, index in at if not index.fixed]
        if twice := next((b for b in bases if bases.count(b) > 1), None):
            axis, other = [a for a, index in at if index.base == twice][:2]
            return self.fail(
                "RNN020",
                f"two indices of `{span.text}` are {twice}",
                span,
                f"where both steps are the same: sum[{other}](where({other} == {axis}, "
                f"{name}[{', '.join(v.axes)}], 0))",
            )
        return Node("read", span, variable=v, at=read(name, at).at, axes=frozenset(axes))

    def _lookup(self, v: Variable, expr: tree.Indexed) -> Node:
        """``E[w[t]]``, a row of a table."""
        parts = [n for x in expr.index for n in walk(x) if isinstance(n, tree.Expr)]
        plain = all(
            isinstance(n, tree.Name | tree.Number | tree.Binary | tree.Unary) for n in parts
        )
        names = [n.name for n in parts if isinstance(n, tree.Name)]
        axes = [n for n in names if n in self.scope.axes or self.scope.axis_of_length(n)]
        if plain and axes:
            where = "defined" if v.role in ("equation", "const") else "declared"
            return self.fail(
                "RNN021",
                f"`{v.name}` is the same at every step and takes no time index",
                expr.span,
                f"write {v.name} alone"
                + ("" if v.role == "param" else f"; it is {where} without [{axes[0]}]"),
            )
        if len(expr.index) != 1:
            hint = "a part of a vector is slice(v, i, j)"
            return self.fail("RNN020", "a table is looked up by one index", expr.span, hint)
        table = Node("read", head(expr.span), variable=v)
        return whole_node("gather", expr.span, table, self.node(expr.index[0]))


def _at(read: Node, axis: str, step: str) -> str:
    """A read as it would be at one step of an axis: ``x[i, 1]``."""
    assert read.variable is not None
    at = dict(read.at)
    steps = [step if at.get(a, Index(a)).base == axis else a for a in read.variable.axes]
    return f"{read.variable.name}[{', '.join(steps)}]"
