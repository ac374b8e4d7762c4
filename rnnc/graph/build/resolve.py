"""From syntax to nodes: looks names up, reads time indices, takes sugar away."""

from __future__ import annotations

import math

from rnnc.graph.build import functions
from rnnc.graph.build.functions import DISTRIBUTIONS, FUNCTIONS, INITIALISERS, map_node, number
from rnnc.graph.build.nodes import Node
from rnnc.graph.build.scope import Scope, Variable, suggestion, walk
from rnnc.graph.types import BATCH, FIRST, LAST, Index, read
from rnnc.source import Span
from rnnc.syntax import tree

BINARY = {
    "+": "add", "-": "sub", "*": "mul", "/": "div", "%": "mod", "^": "pow",
    "==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge",
    "and": "and", "or": "or",
}  # fmt: skip


class Resolver:
    """Turns a model's expressions into nodes, filling the variables of its scope."""

    def __init__(self, scope: Scope):
        self.scope = scope
        self.problems = scope.problems
        self.layers = self._layers()

    def _layers(self) -> set[str]:
        names: set[str] = set()
        for s in self.scope.model.statements:
            message = None
            if isinstance(s, tree.UseStatement):
                names |= {n.name for n in s.names}
                message = "models as layers (`use`) are not compiled by this version"
            elif isinstance(s, tree.LayerStatement):
                names |= {s.name, s.call.function}
                message = "named layers (`layer`) are not compiled by this version"
            elif isinstance(s, tree.LatexStatement):
                self.problems.add(
                    "RNN092",
                    "LaTeX equations (`$$`) are not compiled by this version",
                    s.span,
                    hint="write the equation in plain form, such as h[t] = tanh(W h[t-1] + b)",
                )
            if message:
                self.problems.add(
                    "RNN090", message, s.span, hint="write the layer's equations into the model"
                )
        return names

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
                self._check_axes(v, v.node, v.axes)
            for b in v.boundaries:
                b.node = self.node(b.expr)
                self._check_axes(v, b.node, tuple(a for a in v.axes if a != b.axis))

    def _right_side(self, v: Variable, shared: dict[int, Node]) -> Node:
        expr = v.expr
        assert expr is not None
        call = expr if isinstance(expr, tree.Call) and expr.function == "split" else None
        if v.part is None:
            return self.node(expr)
        i, count = v.part
        if id(expr) not in shared:
            if call is None:
                used = isinstance(expr, tree.Call) and expr.function in self.layers
                shared[id(expr)] = self.bad(expr.span) if used else self._fail(
                    "RNN014",
                    "several names on the left take the parts of a split",
                    expr.span,
                    hint=f"write (…) = split(…, {count})",
                )
            elif len(call.args) != 2 or self.scope.size(call.args[1], quiet=True) != count:
                shared[id(expr)] = self._fail(
                    "RNN014", f"there are {count} names on the left, so the right side is "
                    f"split(…, {count})", call.span,
                )
            else:
                shared[id(expr)] = self.node(call.args[0])
        whole = shared[id(expr)]
        if whole.op == "bad":
            return whole
        return Node("part", expr.span, (whole,), {"part": i, "of": count}, axes=whole.axes)

    def _check_axes(self, v: Variable, node: Node, allowed: tuple[str, ...]) -> None:
        extra = node.axes - set(allowed)
        if extra and not node.bad:
            axis = sorted(extra)[0]
            length = self.scope.length_name(axis)
            boundary = v.axes != allowed
            self.problems.add(
                "RNN021",
                f"the right side varies over {axis}, but "
                + (f"a boundary of `{v.name}` is one value" if boundary else
                   f"`{v.name}` is the same at every step"),
                node.span,
                hint=None if boundary else
                f"write {v.name}[{axis}] = …, or read one step (…[{length}]) or a sum[{axis}](…)",
            )
            v.bad = True

    def _check_initialiser(self, init: tree.Name | tree.Call) -> None:
        name = init.name if isinstance(init, tree.Name) else init.function
        args = () if isinstance(init, tree.Name) else init.args
        if name not in INITIALISERS:
            self.problems.add(
                "RNN015",
                f"unknown initialiser `{name}`",
                init.span,
                hint=suggestion(name, INITIALISERS) or f"there are: {', '.join(INITIALISERS)}",
            )
        elif len(args) != INITIALISERS[name]:
            self.problems.add(
                "RNN014",
                f"{name} takes {INITIALISERS[name] or 'no'} numbers",
                init.span,
            )

    # ---------------------------------------------------------------- expressions

    def _fail(self, code: str, message: str, span: Span, hint: str | None = None) -> Node:
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
                return self._name(name, span)
            case tree.Indexed():
                return self._indexed(expr)
            case tree.Unary(op="-", operand=operand):
                return map_node("neg", span, self.node(operand))
            case tree.Unary(operand=operand):
                return map_node("not", span, self.node(operand))
            case tree.Binary():
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
            case tree.Product(factors=factors):
                # from the right: A B x is two matrix-vector products
                node = self.node(factors[-1])
                for factor in reversed(factors[:-1]):
                    left_node = self.node(factor)
                    node = functions.whole_node(
                        "product", factor.span.to(span), left_node, node
                    )
                return node
            case tree.Transpose(operand=operand):
                return functions.whole_node("transpose", span, self.node(operand))
            case tree.Concat(items=items):
                return functions.whole_node("concat", span, *(self.node(i) for i in items))
            case tree.Conditional(condition=condition, then=then, otherwise=otherwise):
                return map_node(
                    "where", span, self.node(condition), self.node(then), self.node(otherwise)
                )
            case tree.Call():
                return self._call(expr)
        raise AssertionError(expr)

    def _name(self, name: str, span: Span) -> Node:
        scope = self.scope
        if name in scope.variables:
            v = scope.variables[name]
            if v.axes:
                axis = v.axes[0]
                return self._fail(
                    "RNN021",
                    f"`{name}` varies over {axis}: say at which step",
                    span,
                    hint=f"{name}[{axis}] is this step, {name}[{axis}-1] the one before, "
                    f"{name}[{scope.length_name(axis)}] the last",
                )
            return Node("read", span, variable=v)
        if name in scope.dims:
            return Node("dim", span, attrs={"size": scope.size(tree.Name(name, span=span))})
        if name in scope.axes:
            return Node("step", span, attrs={"axis": name}, axes=frozenset((name,)))
        if axis_name := scope.axis_of_length(name):
            return Node("length", span, attrs={"axis": axis_name})
        if name == "pi":
            return number(math.pi, span)
        if name == "inf":
            return number(math.inf, span)
        if name == "training":
            return Node("training", span)
        if "." in name and name.split(".")[0] in self.layers:
            return self.bad(span)
        if name in FUNCTIONS:
            return self._fail(
                "RNN013", f"`{name}` is a function: give its argument", span, f"{name}(…)"
            )
        return self._unknown(name, span)

    def _unknown(self, name: str, span: Span) -> Node:
        scope = self.scope
        if name in ("T", "t"):
            return self._fail("RNN020", f"this model has no axis for `{name}`", span)
        known = [*scope.variables, *scope.dims]
        hint = suggestion(name, known)
        if hint is None and len(name) > 1 and _all_known(name, known):
            hint = f"for a product put spaces between the names: {_all_known(name, known)}"
        return self._fail(
            "RNN010", f"unknown name `{name}`", span,
            hint or f"declare it: input, param, const or dim {name}, or give its equation",
        )

    def _indexed(self, expr: tree.Indexed) -> Node:
        scope, name, span = self.scope, expr.name, expr.span
        if name not in scope.variables:
            if name in FUNCTIONS:
                return self._fail(
                    "RNN013", f"`{name}` is a function; write {name}[axis](…) or {name}(…)", span
                )
            if "." in name and name.split(".")[0] in self.layers:
                return self.bad(span)
            return self._unknown(name, span)
        v = scope.variables[name]
        if not v.axes:
            return self._lookup(v, expr)
        if len(expr.index) != len(v.axes):
            return self._fail(
                "RNN020",
                f"`{name}` has {len(v.axes)} index{'es' if len(v.axes) > 1 else ''} "
                f"({', '.join(v.axes)}), not {len(expr.index)}",
                span,
            )
        at: list[tuple[str, Index]] = []
        axes: set[str] = set()
        for axis, item in zip(v.axes, expr.index, strict=True):
            index = scope.time_index(item, axis)
            if index is None:
                return self.bad(span)
            if index.base not in (FIRST, LAST):
                axes.add(index.base)
            at.append((axis, index))
        return Node("read", span, variable=v, at=read(name, at).at, axes=frozenset(axes))

    def _lookup(self, v: Variable, expr: tree.Indexed) -> Node:
        names = [n.name for x in expr.index for n in walk(x) if isinstance(n, tree.Name)]
        timed = all(isinstance(n, (tree.Name, tree.Number, tree.Binary, tree.Unary))
                    for x in expr.index for n in walk(x))
        if timed and any(n in self.scope.axes or self.scope.axis_of_length(n) for n in names):
            return self._fail(
                "RNN021",
                f"`{v.name}` is the same at every step and takes no time index",
                expr.span,
                hint=f"write {v.name} alone",
            )
        if len(expr.index) != 1:
            return self._fail("RNN020", "a table is looked up by one index", expr.span)
        table = Node("read", expr.span, variable=v)
        return functions.whole_node("gather", expr.span, table, self.node(expr.index[0]))

    # ---------------------------------------------------------------- calls

    def _call(self, expr: tree.Call) -> Node:
        scope, name, span = self.scope, expr.function, expr.span
        value = name in scope.variables or name in scope.dims
        if value and not expr.options and len(expr.args) == 1 and not expr.over:
            inner = tree.Name(name, span=Span(span.source, span.start, span.start + len(name)))
            return functions.whole_node(
                "product", span, self.node(inner), self.node(expr.args[0])
            )
        if value:
            # W[…](x) with a time index: `h[t](x)` reads as a product, too
            if len(expr.over) == 1 and len(expr.args) == 1:
                axis = tree.Name(expr.over[0], span=span)
                left = self._indexed(tree.Indexed(name, (axis,), span=span))
                return functions.whole_node("product", span, left, self.node(expr.args[0]))
            return self._fail("RNN014", f"`{name}` is a value, not a function", span)
        function = FUNCTIONS.get(name)
        if name == "split":
            return self._fail(
                "RNN014",
                "split gives several values",
                span,
                hint="name them: (a[t], b[t]) = split(…, 2); one part is slice(v, i, j)",
            )
        if function is None:
            return self._not_a_function(expr)
        if expr.options:
            return self._fail("RNN014", f"{name} takes no options after `;`", span)
        fewest, most = function.arity
        if not fewest <= len(expr.args) <= most:
            wanted = str(fewest) if fewest == most else f"{fewest} or {most}"
            return self._fail(
                "RNN014",
                f"{name} takes {wanted} argument{'' if wanted == '1' else 's'}, "
                f"not {len(expr.args)}",
                span,
            )
        args: list[object] = []
        for i, arg in enumerate(expr.args):
            if i in function.sizes:
                size = scope.size(arg)
                if size is None:
                    return self.bad(span)
                args.append(size)
            else:
                args.append(self.node(arg))
        if expr.over:
            return self._over(expr, function, args)
        node = function.build(span, *args)
        return node

    def _over(self, expr: tree.Call, function: functions.Function, args: list[object]) -> Node:
        axis = expr.over[0]
        if not function.over or len(args) != 1:
            return self._fail(
                "RNN014", f"{function.name} does not run over an axis", expr.span
            )
        if len(expr.over) != 1 or (axis not in self.scope.axes and axis != BATCH):
            return self._fail(
                "RNN020",
                f"{function.name}[…] names one axis of the model: "
                f"{', '.join([*self.scope.axes, BATCH])}",
                expr.span,
            )
        return function.build(expr.span, *args, over=axis)

    def _not_a_function(self, expr: tree.Call) -> Node:
        name, span = expr.function, expr.span
        if name in self.layers or expr.options:
            if name not in self.layers:
                self.problems.add(
                    "RNN090", "models as layers are not compiled by this version", span,
                    hint="write the layer's equations into the model",
                )
            return self.bad(span)
        if name in DISTRIBUTIONS:
            return self._fail(
                "RNN013", f"{name} is a distribution, not a function", span,
                f"it stands behind ~ in: target y[t] : … ~ {name}(…)",
            )
        return self._fail(
            "RNN013",
            f"unknown function `{name}`",
            span,
            suggestion(name, [*FUNCTIONS, *self.scope.variables])
            or f"if `{name}` is a matrix, declare it: param {name} : [m, n]",
        )


def _all_known(name: str, known: list[str]) -> str | None:
    """``Wx`` as ``W x`` where every letter is a name of the model."""
    letters = list(name)
    return " ".join(letters) if all(x in known for x in letters) else None
