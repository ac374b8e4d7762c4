"""What ``f(x)`` stands for: a function, a product, or something that was meant otherwise."""

from __future__ import annotations

from abc import ABC, abstractmethod

from rnnc.graph.build.functions import DISTRIBUTIONS, FUNCTIONS, Function, whole_node
from rnnc.graph.build.nodes import Node
from rnnc.graph.build.problems import FOREIGN_FUNCTIONS, Problems, head, listed, suggestion
from rnnc.graph.build.scope import Scope
from rnnc.graph.types import BATCH
from rnnc.source import Span
from rnnc.syntax import tree

MOST_LISTED = 12  # values of a layer in a hint


class Calls(ABC):
    """The part of the resolver that reads calls."""

    scope: Scope
    problems: Problems

    @abstractmethod
    def node(self, expr: tree.Expr) -> Node: ...

    @abstractmethod
    def bad(self, span: Span) -> Node: ...

    @abstractmethod
    def fail(self, code: str, message: str, span: Span, hint: str | None = None) -> Node: ...

    def call(self, expr: tree.Call) -> Node:
        """The node of a call."""
        name, span = expr.function, expr.span
        known = self.scope.variables.get(name)
        if name in self.scope.dims or (known and not (known.bad and name in FUNCTIONS)):
            return self._product(expr)
        if name == "split":
            return self.fail(
                "RNN014",
                "split gives several values",
                span,
                "name them: (a[t], b[t]) = split(…, 2); one part is slice(v, i, j)",
            )
        function = FUNCTIONS.get(name)
        if function is None:
            return self._not_a_function(expr)
        if expr.options:
            return self.fail("RNN014", f"{name} takes no options after `;`", span)
        fewest, most = function.arity
        count = len(expr.args)
        if not fewest <= count <= most:
            wanted = str(most) if fewest == most else f"{fewest} or {most}"
            plural = "" if wanted == "1" else "s"
            message = f"{name} takes {wanted} argument{plural}, not {count}"
            return self.fail("RNN014", message, span, f"write {function.usage}")
        args: list[object] = []
        for i, arg in enumerate(expr.args):
            if i not in function.sizes:
                args.append(self.node(arg))
                continue
            size = self.scope.dims.size(arg)
            if size is None:
                return self.bad(span)
            args.append(size)
        return self._over(expr, function, args) if expr.over else function.build(span, *args)

    def _product(self, expr: tree.Call) -> Node:
        """``U(r * h)`` and ``h[t](x)``, where what stands before the bracket is a value."""
        name, span = expr.function, expr.span
        if expr.options or len(expr.args) != 1 or len(expr.over) > 1:
            return self.fail("RNN014", f"`{name}` is a value, not a function", head(span))
        left: tree.Expr = tree.Name(name, span=head(span))
        if expr.over:
            axis = tree.Name(expr.over[0], span=span)
            left = tree.Indexed(name, (axis,), span=_before_call(span))
        return whole_node("product", span, self.node(left), self.node(expr.args[0]), entries=False)

    def of_call(self, name: str) -> str | None:
        """What a call of a layer has, where ``f.q`` is none of it."""
        call, dot, inner = name.rpartition(".")
        found = [v for v in self.scope.variables.values() if v.name.startswith(f"{call}.")]
        found.sort(key=lambda v: not v.axes)  # weights last
        has = [v.name[len(call) + 1 :] for v in found]
        if not dot or not has:
            return None
        close = suggestion(inner, has)
        shown = [f"{call}.{n}" for n in has[:MOST_LISTED]]
        more = [f"{len(has) - MOST_LISTED} more"] if len(has) > MOST_LISTED else []
        return close or f"`{call}` has {listed([*shown, *more])}"

    def _over(self, expr: tree.Call, function: Function, args: list[object]) -> Node:
        """``sum[t](x)``."""
        name, axis = function.name, expr.over[0]
        if not function.over or len(args) != 1:
            runs = [f.name for f in FUNCTIONS.values() if f.over]
            return self.fail(
                "RNN014",
                f"{name} does not run over an axis",
                _before_call(expr.span),
                f"write {function.usage} for each step; those that run over an axis are "
                f"{listed(runs)}",
            )
        if len(expr.over) != 1 or (axis not in self.scope.axes and axis != BATCH):
            return self.fail(
                "RNN020",
                f"`{axis}` is no axis of this model"
                if len(expr.over) == 1
                else f"{name}[…] runs over one axis",
                _before_call(expr.span),
                f"{name} runs over {listed([*self.scope.axes, BATCH], 'or')}",
            )
        return function.build(expr.span, *args, over=axis)

    def _not_a_function(self, expr: tree.Call) -> Node:
        name, span = expr.function, head(expr.span)
        if span.source.caller is not None:
            name = span.text  # as the layer says it
        if name in DISTRIBUTIONS:
            usage = DISTRIBUTIONS[name].usage
            return self.fail(
                "RNN013",
                f"`{name}` is a distribution, not a function",
                span,
                f"it stands behind a ~, as in: target y[t] : … ~ {usage}",
            )
        hint = FOREIGN_FUNCTIONS.get(name) or suggestion(name, [*FUNCTIONS, *self.scope.variables])
        if hint is None and len(expr.args) == 1:
            hint = f"if `{name}` is a matrix, declare it: param {name} : [m, n]"
            if not name[0].isupper() or len(name) > 1:
                hint = f"if papers call a function so, say which it is: function {name} = tanh"
        return self.fail("RNN013", f"unknown function `{name}`", span, hint)


def _before_call(span: Span) -> Span:
    """``sum[t]`` of ``sum[t](x)``."""
    ends = (span.text.find(c) for c in "]］")
    end = min((e for e in ends if e >= 0), default=len(span.text) - 1)
    return Span(span.source, span.start, span.start + end + 1)
