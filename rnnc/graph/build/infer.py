"""Shapes of all nodes, by unification over named dims.

Shapes flow both ways through every operation until nothing changes; what is open then is
settled by the reading a person would choose (an undeclared ``W`` before a vector is a matrix),
one guess at a time, the surest first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rnnc.graph.build import rules
from rnnc.graph.build.least import least_shapes
from rnnc.graph.build.mismatch import Mismatch, Shape, Teller
from rnnc.graph.build.nodes import Node
from rnnc.graph.build.order import Worklist
from rnnc.graph.build.problems import Problems, shape_text, short
from rnnc.graph.build.scope import Scope, Variable
from rnnc.graph.types import Dim, Size, dim, divide, names_of, substitute
from rnnc.source import Span


class Inference:
    """Solves for the shapes of a model's nodes."""

    def __init__(self, scope: Scope, nodes: Sequence[Node], steps: Sequence[Node | Variable]):
        self.scope = scope
        self.dims = scope.dims
        self.problems: Problems = scope.problems
        self.nodes = [n for n in nodes if n.op != "bad"]
        self.steps = steps  # the same, and variables, each after what it is made of
        self.work = Worklist(steps)
        self.bindings: dict[str, Size] = {}  # what flexible dims turned out to be
        self.count = 0
        self.numbers: set[str] = set()  # dims that fit by their number alone
        self.failed: set[int] = set()
        self.current: Node | Variable | None = None
        self.mentions: dict[str, dict[Node | Variable, None]] = {}  # whose sizes name a dim
        self.givers: dict[int, Node | Variable] = {}  # what gave a node or variable its shape
        self.teller = Teller(self.problems, self.nodes, self.shape, self.givers)

    # ---------------------------------------------------------------- sizes

    def resolve(self, size: Size) -> Size:
        """A size with everything known of flexible dims put in."""
        while names_of(size) & self.bindings.keys():
            size = substitute(size, self.bindings)
        return size

    def shape(self, node: Node) -> Shape | None:
        """The shape of a node as far as it is known."""
        return None if node.shape is None else tuple(self.resolve(s) for s in node.shape)

    def new_size(self) -> Size:
        """A size that is to be found out."""
        self.count += 1
        return dim(f"?{self.count}")

    def flexible(self, name: str) -> bool:
        """Whether the equations may still say what a dim is."""
        return name.startswith("?") or (name in self.dims.flexible and name not in self.bindings)

    def unify(self, a: Size, b: Size) -> None:
        """Make two sizes equal, or raise Mismatch."""
        a, b = self.resolve(a), self.resolve(b)
        if a == b:
            return
        for left, right in ((a, b), (b, a)):
            if solved := self._solve(left, right):
                name, value = solved
                known = self.dims.value_of(value)
                if isinstance(known, int) and known < 1:
                    raise Mismatch
                self._bind(name, value)
                return
        if _is_name(a) and _is_name(b):
            raise Mismatch  # two declared sizes that only happen to be equal are still two
        x, y = self.dims.value_of(a), self.dims.value_of(b)
        if x == y:
            self.numbers |= names_of(a) | names_of(b)
            return
        open_dims = [n for n in names_of(x) | names_of(y) if not n.startswith("?")]
        if isinstance(x, int) != isinstance(y, int) and len(open_dims) == 1:
            # a dim that data would give meets a number: that number it is
            solved = self._solve(x, y, force=True) or self._solve(y, x, force=True)
            if solved and isinstance(solved[1], int) and solved[1] > 0:
                self.dims.values[solved[0]] = solved[1]
                self.work.everything()
                return
        raise Mismatch

    def _bind(self, name: str, value: Size) -> None:
        """A flexible dim turned out to be this."""
        self.bindings[name] = value
        for owner in self.mentions.pop(name, {}):
            self._note(owner, (value,))
            self.work.changed(owner)

    def _note(self, owner: Node | Variable, sizes: Iterable[object]) -> None:
        """Remember which flexible dims the sizes of a node or variable mention."""
        for size in sizes:
            for name in size.names if isinstance(size, Dim) else ():
                if self.flexible(name):
                    self.mentions.setdefault(name, {})[owner] = None

    def _solve(self, left: Size, right: Size, force: bool = False) -> tuple[str, Size] | None:
        """The flexible dim in ``left`` for which ``left == right``, where that is one division."""
        if not isinstance(left, Dim):
            return None
        for name in sorted(left.names - names_of(right), key=lambda n: (n[0] != "?", n)):
            if not force and not self.flexible(name):
                continue
            parts = _linear_in(left, name)
            if parts is None:
                continue
            factor, rest = parts
            try:
                value = divide(right - rest, factor)
            except (ValueError, ZeroDivisionError):
                continue
            if _is_whole(value):
                return name, value
        return None

    def unify_shapes(self, a: Shape, b: Shape) -> None:
        """Make two shapes equal, or raise Mismatch."""
        if len(a) != len(b):
            raise Mismatch("RNN031")
        for x, y in zip(a, b, strict=True):
            self.unify(x, y)

    def give(self, node: Node, shape: Shape) -> None:
        """The node has this shape."""
        if node.bad:
            return
        current = self.shape(node)
        if current is None:
            node.shape = shape
            self._note(node.variable or node, shape)
            self.work.changed(node)
            if self.current is not None:
                self.givers[id(node.variable or node)] = self.current
            return
        try:
            self.unify_shapes(current, shape)
        except Mismatch as mismatch:
            mismatch.subject = node
            own = node is self.current
            mismatch.found, mismatch.wanted = (shape, current) if own else (current, shape)
            raise

    # ---------------------------------------------------------------- the solver

    def run(self) -> None:
        """Find all shapes, reporting what does not fit or stays open."""
        for step in self.steps:
            own = step.attrs.values() if isinstance(step, Node) else (step.range,)
            self._note(step, (*(step.shape or ()), *own))
        self.work.everything()
        self._propagate()
        # beside a mistake a guess is likely to be wrong, and to be complained about
        while not self.problems.found and self._guess():
            self._propagate()
        self.work.everything()  # once more, as a check: nothing new should come of it
        self._propagate()
        self._finish()

    def _propagate(self) -> None:
        while (step := self.work.next()) is not None:
            if isinstance(step, Node):
                self._step(step)
            else:
                self._variable(step)

    def _step(self, node: Node) -> None:
        rule = rules.RULES.get(node.op)
        if rule is None or id(node) in self.failed or any(a.bad for a in node.args):
            return
        self.current = node
        try:
            rule(self, node)
        except Mismatch as mismatch:
            self.failed.add(id(node))
            self.teller.tell(node, mismatch)
        self.current = None

    def _variable(self, v: Variable) -> None:
        if v.bad:
            return
        self.current = v
        if v.node is not None:
            self._equal(v, v.node, v.span, fills=v.fills)
            if v.argument and v.range is not None:
                self._range(v, v.range, v.node)
        for b in v.boundaries:
            if b.node is not None:
                self._equal(v, b.node, b.span, fills=True)
        self.current = None

    def _equal(self, v: Variable, node: Node, span: Span, fills: bool) -> None:
        """The right side of an equation, or of a boundary, is what its variable is."""
        if node.op == "bad" or id(node) in self.failed or v.bad:
            return
        shape = node.shape
        try:
            if v.shape is None:
                if shape is not None and (shape or not fills):
                    self._settle(v, shape)
            elif shape is None:
                if not (fills and v.shape) and not node.bad:
                    self.give(node, v.shape)
            elif not (fills and not shape):
                self.unify_shapes(v.shape, shape)
        except Mismatch as mismatch:
            self.failed.add(id(node))
            v.bad = True
            self.teller.equation(v, span, node, mismatch.code, span is not v.span)

    def _range(self, v: Variable, own: Size, node: Node) -> None:
        """What stands for the ``index(k)`` of a layer is one of as many, as far as is known."""
        other = None if node.variable is None else node.variable.range
        try:
            if other is not None and not v.bad:
                self.unify(own, other)
        except Mismatch:
            v.bad = True
            labels = [(v.span, f"`{v.name}` is index({self.resolve(own)})")]
            message = f"`{short(node.span.text)}` is index({self.resolve(other or 0)})"
            self.problems.add("RNN030", message, node.span, labels=labels)

    def _guess(self) -> bool:
        """Settle one open shape by the likeliest reading; False where there is none left."""
        found = least_shapes(self.scope, self.steps, self.shape)
        for v, shape in found:
            self._settle(v, shape)
        if found:
            return True
        for choose in (rules.guess_vector, rules.guess_matrix, rules.guess_same):
            for node in self.nodes:
                if id(node) not in self.failed and self._choose(choose, node):
                    return True
        for node in self.nodes:  # a state with no evidence of a shape is a number
            owner = node.variable
            if owner is None or owner.shape is not None or owner.bad or id(node) in self.failed:
                continue
            if owner.role in ("equation", "input", "target"):
                self._settle(owner, ())
                return True
        late = {n: s for n, s in self.dims.late().items() if self.flexible(n)}
        for name, size in late.items():
            self._bind(name, size)
        return bool(late)

    def _settle(self, v: Variable, shape: Shape) -> None:
        v.shape = shape
        self._note(v, shape)
        self.work.changed(v)

    def _choose(self, choose: Callable[[Inference, Node], bool], node: Node) -> bool:
        self.current = node
        chosen = choose(self, node)
        self.current = None
        return chosen

    # ---------------------------------------------------------------- the end

    def _finish(self) -> None:
        """Write down what was found, and report what stays open."""
        for v in self.scope.variables.values():
            if v.shape is not None:
                v.shape = tuple(self.resolve(s) for s in v.shape)
        for name, size in self.bindings.items():
            if name in self.dims.values:
                self.dims.values[name] = self.resolve(size)
        if self.problems.found:
            return  # what is open may well follow from those
        self._put_numbers()
        stays_open = [v for v in self.scope.variables.values() if _is_open(v.shape)]
        declared = [v for v in stays_open if v.role in ("param", "const", "input", "target")]
        for v in declared or stays_open:  # an equation is what it is made of
            self._report_open(v)

    def _put_numbers(self) -> None:
        """Where ``m = 8`` met a plain 8, the number stands for it everywhere."""
        found = {n: self.dims.value_of(dim(n)) for n in self.numbers}
        known = {n: size for n, size in found.items() if isinstance(size, int)}
        if not known:
            return

        def put(value: Any) -> Any:
            return substitute(value, known) if isinstance(value, Dim) else value

        for v in self.scope.variables.values():
            v.shape = None if v.shape is None else tuple(put(s) for s in v.shape)
            v.range = put(v.range)
        for node in self.nodes:
            if node.own_shape is not None:
                node.own_shape = tuple(put(self.resolve(s)) for s in node.own_shape)
            node.attrs = {key: put(value) for key, value in node.attrs.items()}

    def _report_open(self, v: Variable) -> None:
        if v.shape is None:
            code, message = "RNN034", f"the equations do not determine the shape of `{v.name}`"
        else:
            code = "RNN035"
            message = (
                f"the equations do not determine all sizes of `{v.name}`: "
                f"it is {shape_text(v.shape)}"
            )
        axes = f"[{', '.join(v.axes)}]" if v.axes else ""
        shape = "[m, n]" if v.shape is None or len(v.shape) == 2 else "[m]"
        hint = f"declare its shape, such as {v.role} {v.name}{axes} : {shape}"
        if v.role == "equation":
            hint = "declare the shapes of what it is made of"
        self.problems.add(code, message, v.span, hint=hint)


def _is_open(shape: Shape | None) -> bool:
    return shape is None or any(n.startswith("?") for s in shape for n in names_of(s))


def _is_name(size: Size) -> bool:
    return isinstance(size, Dim) and size == dim(next(iter(size.names), ""))


def _is_whole(size: Size) -> bool:
    """Whether a size may be one: no fractions, no negative powers."""
    return isinstance(size, int) or all(
        n.denominator == 1 and all(e > 0 for _, e in m) for m, n in size.terms
    )


def _linear_in(size: Dim, name: str) -> tuple[Size, Size] | None:
    """``(a, b)`` where the size is ``a * name + b``; None where it is not linear in the dim."""
    factor: Size = 0
    rest: Size = 0
    for monomial, number in size.terms:
        term = Dim(((monomial, number),))
        exponent = dict(monomial).get(name)
        if exponent is None:
            rest = rest + term
        elif exponent == 1:
            factor = factor + divide(term, dim(name))
        else:
            return None
    return factor, rest
