"""Kinds of all nodes: real, whole number (``index``) or flag."""

from __future__ import annotations

from collections.abc import Sequence

from rnnc.graph.build.nodes import Node
from rnnc.graph.build.problems import Problems, short
from rnnc.graph.build.scope import Scope, Variable
from rnnc.graph.types import Kind
from rnnc.source import Span

REAL_MAPS = frozenset(
    (
        *("exp", "log", "sqrt", "sin", "cos", "tanh", "sigmoid", "softplus", "relu", "erf"),
        *("floor", "div", "pow"),
    )
)
COMPARE = frozenset(("eq", "ne", "lt", "le", "gt", "ge"))
LOGIC = frozenset(("and", "or", "not"))
# operations that take flags as they take numbers
_CARRY = frozenset(
    ("part", "slice", "repeat", "transpose", "stop_gradient", "uniform", "count", "diag")
)
_WORDS = {"real": "a real number", "index": "a whole number", "flag": "a flag", None: "unknown"}


def infer_kinds(scope: Scope, steps: Sequence[Node | Variable]) -> None:
    """Find the kinds of all nodes and variables, and report what does not fit.

    Whole numbers stay whole through + - * and %: a fixed point, starting from nothing.
    """
    while sum(_advance(step) for step in steps):
        pass
    nodes = [step for step in steps if isinstance(step, Node)]
    for v in scope.variables.values():
        v.kind = v.kind or "real"
    for node in nodes:
        if node.variable is None and node.own_kind is None:
            node.own_kind = "real"
    check = _Check(scope.problems)
    for node in nodes:
        if not node.bad and not any(a.bad for a in node.args):
            check.node(node)
    for v in scope.variables.values():
        if not v.bad:
            check.variable(v)


def _advance(step: Node | Variable) -> bool:
    """Take over what is known by now; whether that was anything new."""
    if isinstance(step, Node):
        kind = _kind(step)
        if kind is None or step.variable is not None or kind == step.own_kind:
            return False
        step.own_kind = kind
        return True
    if step.role not in ("equation", "const") or step.kind == "real" or step.argument:
        return False
    kind = join([n.kind for n in step.nodes])
    if kind is None or kind == step.kind or (step.kind is not None and kind != "real"):
        return False
    step.kind = kind
    return True


def join(kinds: Sequence[Kind | None]) -> Kind | None:
    """The kind of a value that is now one of these, now another."""
    known = {k for k in kinds if k}
    if "flag" in known:
        return "flag"
    return "real" if "real" in known else "index" if known else None


def _numeric(kinds: Sequence[Kind | None]) -> Kind | None:
    """The kind of arithmetic; a flag among the operands is an error, told once."""
    return join(["real" if k == "flag" else k for k in kinds])


def _kind(node: Node) -> Kind | None:
    kinds = [a.kind for a in node.args]
    match node.op:
        case "number":
            return "index" if isinstance(node.attrs["value"], int) else "real"
        case "dim" | "step" | "length" | "arange" | "count":
            return "index"
        case "training":
            return "flag"
        case "map":
            f = node.attrs["f"]
            if f in COMPARE or f in LOGIC:
                return "flag"
            if f in REAL_MAPS:
                return "real"
            return join(kinds[1:]) if f == "where" else _numeric(kinds)
        case "reduce":
            f = node.attrs["f"]
            whole = f in ("sum", "max", "min")
            return "index" if f == "argmax" else _numeric(kinds) if whole else "real"
        case "product":
            scalars = all(a.shape == () for a in node.args)
            return _numeric(kinds) if scalars else "real"
        case "concat":
            return join(kinds)
        case "part" | "slice" | "repeat" | "transpose" | "diag" | "gather" | "stop_gradient":
            return kinds[0]
        case _:
            return "real"


class _Check:
    """Reports kinds that do not fit."""

    def __init__(self, problems: Problems):
        self.problems = problems

    def node(self, node: Node) -> None:
        kinds = [a.kind for a in node.args]
        if node.op == "map":
            self._map(node, node.attrs["f"], kinds)
        elif node.op == "gather":
            self._index(node.args[1], "an index is a whole number")
        elif node.op == "onehot":
            self._index(node.args[0], "onehot takes an index")
        elif node.op == "cross_entropy":
            if node.args[1].shape == ():
                self._index(node.args[1], "a class is an index")
            self._numbers(node.args)
        elif node.op == "concat":
            if set(kinds) != {"flag"}:
                self._numbers(node.args)
        elif node.op not in _CARRY:
            self._numbers(node.args)

    def _map(self, node: Node, f: str, kinds: list[Kind | None]) -> None:
        if f in LOGIC:
            for a in node.args:
                self.condition(a, f"`{f}` joins conditions")
        elif f == "where":
            self.condition(node.args[0], "a condition is a flag")
            if (kinds[1] == "flag") != (kinds[2] == "flag"):
                flag, number = node.args[1:] if kinds[1] == "flag" else node.args[:0:-1]
                self._wrong(
                    number.span,
                    f"one branch is a flag, and this is {_WORDS[number.kind]}",
                    [(flag.span, "a flag")],
                    _as_number(flag),
                )
        elif f not in ("eq", "ne") or kinds != ["flag", "flag"]:
            self._numbers(node.args)

    def condition(self, node: Node, why: str) -> None:
        """What decides something is a flag."""
        if node.kind == "flag" or node.bad:
            return
        text, labels, v = short(node.span.text), [], node.variable
        hint = f"compare it with something: {text} > 0"
        if v is not None and v.role in ("input", "target"):
            labels = [(v.span, "declared here")]
            hint += f"; or declare it as flag: {v.name}{'[t]' if v.axes else ''} : flag"
        self._wrong(node.span, f"{why}, and this is {_WORDS[node.kind]}", labels, hint)

    def _index(self, node: Node, why: str) -> None:
        if node.kind == "index" or node.bad:
            return
        labels, v = [], node.variable
        hint = "argmax(…) of a vector gives an index"
        if v is not None and v.role in ("input", "target"):
            labels = [(v.span, "declared here")]
            hint = f"declare it: {v.name}{'[t]' if v.axes else ''} : index(k)"
        self._wrong(node.span, f"{why}, and this is {_WORDS[node.kind]}", labels, hint)

    def _numbers(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            if node.kind == "flag":
                message = "this is a flag where a number is expected"
                self._wrong(node.span, message, (), _as_number(node))

    def variable(self, v: Variable) -> None:
        """The right sides of an equation and of its boundaries are of one kind."""
        for n in v.nodes:
            if n.bad:
                continue
            if (n.kind == "flag") != (v.kind == "flag"):
                message = f"`{v.name}` is {_WORDS[v.kind]}, and this is {_WORDS[n.kind]}"
                hint = _as_number(n) if n.kind == "flag" else "a flag is a comparison: x > 0"
                self._wrong(n.span, message, [(v.span, f"`{v.name}` is {_WORDS[v.kind]}")], hint)
            elif (
                (v.role in ("input", "target") or v.argument)
                and v.kind == "index"
                and n.kind == "real"
            ):
                message = f"`{v.name}` is a whole number, and this is real"
                self._wrong(n.span, message, [(v.span, "declared here")])

    def _wrong(
        self,
        span: Span,
        message: str,
        labels: Sequence[tuple[Span, str]] = (),
        hint: str | None = None,
    ) -> None:
        self.problems.add("RNN033", message, span, labels=labels, hint=hint)


def check_condition(problems: Problems, node: Node, why: str) -> None:
    """Report what decides something and is no flag."""
    _Check(problems).condition(node, why)


def _as_number(node: Node) -> str:
    return f"a flag becomes a number by where({short(node.span.text)}, 1, 0)"
