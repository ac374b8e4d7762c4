"""Names: what a model declares and defines, before any expression is read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from rnnc.graph.build.functions import FUNCTIONS
from rnnc.graph.build.nodes import Node
from rnnc.graph.types import FIRST, LAST, Dim, Index, Kind, Size, dim, divide, sign, substitute
from rnnc.source import Diagnostic, Label, Span
from rnnc.syntax import tree

Role = Literal["input", "param", "const", "target", "equation"]

CONSTANTS = {"pi", "inf", "training", "batch", "loss"}


class Problems:
    """Collects diagnostics, so that all of a model's errors are reported at once."""

    def __init__(self) -> None:
        self.found: list[Diagnostic] = []

    def add(
        self,
        code: str,
        message: str,
        span: Span | None,
        *,
        hint: str | None = None,
        labels: Iterable[tuple[Span, str]] = (),
    ) -> None:
        """Record a problem once (the same place is not reported twice for the same code)."""
        problem = Diagnostic(code, message, span, tuple(Label(*x) for x in labels), hint)
        if not any(d.code == code and d.span == span for d in self.found):
            self.found.append(problem)


@dataclass(eq=False)
class Boundary:
    """``h[0] = expr``: where, and the expression once it is resolved."""

    axis: str
    step: Index
    expr: tree.Expr
    span: Span
    node: Node | None = None


@dataclass(eq=False)
class Variable:
    """A name with a value: how it came about, its axes, and what inference finds out.

    ``range`` is k of an ``index(k)``; ``part`` is (i, n) where a multiple assignment takes the
    i-th of n parts; ``bad`` marks a value of which an error was already reported.
    """

    name: str
    role: Role
    axes: tuple[str, ...]
    span: Span
    shape: tuple[Size, ...] | None = None
    kind: Kind | None = None
    range: Size | None = None
    expr: tree.Expr | None = None
    part: tuple[int, int] | None = None
    initialiser: tree.Name | tree.Call | None = None
    distribution: tree.Call | None = None
    when: tree.Expr | None = None
    boundaries: list[Boundary] = field(default_factory=list)
    node: Node | None = None
    batch: bool = False
    fills: bool = False  # a declared shape that a scalar expression may fill
    bad: bool = False


class Scope:
    """The names of one model. Building it reports duplicates, reserved names and bad shapes."""

    def __init__(self, model: tree.Model, sizes: Mapping[str, int], problems: Problems):
        self.model = model
        self.problems = problems
        self.sizes = dict(sizes)
        self.dims: dict[str, Size | None] = {}  # number, expression, or open
        self.dim_spans: dict[str, Span] = {}
        self.flexible: set[str] = set()  # open dims that equations may determine
        self.axes: dict[str, tree.AxisStatement | None] = {}
        self.axis_sizes: dict[str, Size] = {}
        self.variables: dict[str, Variable] = {}
        self._collect_dims()
        self._collect_axes()
        self._collect_declared()
        self._collect_equations()
        self._find_flexible()

    # ---------------------------------------------------------------- dims and axes

    def _collect_dims(self) -> None:
        for statement in self.model.statements:
            if isinstance(statement, tree.DimStatement):
                for item in statement.dims:
                    if item.name in self.dims:
                        self._twice(item.name, item.span, self.dim_spans[item.name])
                        continue
                    self._check_name(item.name, item.span)
                    self.dim_spans[item.name] = item.span
                    self.dims[item.name] = None
                    if item.name in self.sizes:
                        self.dims[item.name] = self.sizes[item.name]
                    elif item.default is not None:
                        self.dims[item.name] = self.size(item.default)
        for name in self.sizes:
            if name not in self.dims:
                self.problems.add(
                    "RNN010",
                    f"`{name}` is set, but model {self.model.name} has no dim of that name",
                    self.model.span,
                    hint=suggestion(name, self.dims) or f"it has: {', '.join(self.dims) or 'none'}",
                )

    def _collect_axes(self) -> None:
        for statement in self.model.statements:
            if isinstance(statement, tree.AxisStatement):
                self.axes[statement.name] = statement
                if statement.size is not None:
                    size = self.size(statement.size)
                    if size is not None:
                        self.axis_sizes[statement.name] = size
        for statement in self.model.statements:
            if isinstance(statement, (tree.InputStatement, tree.TargetStatement)):
                items = getattr(statement, "items", None) or (statement.item,)  # type: ignore[union-attr]
                for item in items:
                    for axis in item.axes:
                        self.axes.setdefault(axis, None)
        if not self.axes or any(
            isinstance(s, tree.Equation) and any(_names_axis(x, "t") for x in s.left)
            for s in self.model.statements
        ):
            self.axes.setdefault("t", None)
        if len(self.axes) > 1:
            self.problems.add(
                "RNN091",
                f"model {self.model.name} has several axes ({', '.join(self.axes)}); "
                "this version compiles models with one",
                next((a.span for a in self.axes.values() if a), self.model.span),
            )

    def length_name(self, axis: str) -> str:
        """The name of an axis' length: as declared, else the upper-case letter."""
        declared = self.axes.get(axis)
        return declared.length if declared else axis.upper()

    def axis_of_length(self, name: str) -> str | None:
        return next((a for a in self.axes if self.length_name(a) == name), None)

    # ---------------------------------------------------------------- sizes

    def size(self, expr: tree.Expr, quiet: bool = False) -> Size | None:
        """The value of arithmetic over dims; None (after a diagnostic) where it is not that."""
        try:
            return self._size(expr)
        except _NotSize as problem:
            if not quiet:
                self.problems.add(problem.code, problem.message, problem.span, hint=problem.hint)
            return None

    def _size(self, expr: tree.Expr) -> Size:
        match expr:
            case tree.Number(value=int(value)):
                return value
            case tree.Name(name=name):
                if name in self.dims:
                    value = self.dims[name]
                    # a dim given by an expression stands for it; one given by a number keeps
                    # its name, so that [m, n] and [n, m] differ even where m = n
                    if isinstance(value, Dim) and name not in self.sizes:
                        return value
                    return dim(name)
                if self.axis_of_length(name):
                    raise _NotSize("RNN036", f"the length `{name}` is no size of a shape", expr)
                raise _NotSize(
                    "RNN010",
                    f"unknown size `{name}`",
                    expr,
                    suggestion(name, self.dims) or f"declare it: dim {name}",
                )
            case tree.Unary(op="-", operand=operand):
                return -self._size(operand)
            case tree.Binary(op=op, left=left, right=right) if op in ("+", "-", "*", "/", "^"):
                a, b = self._size(left), self._size(right)
                if op == "+":
                    return a + b
                if op == "-":
                    return a - b
                if op == "*":
                    return a * b
                if op == "^":
                    if not isinstance(b, int) or not 0 <= b <= 64:
                        raise _NotSize("RNN036", "the exponent of a size is a small number", right)
                    power: Size = 1
                    for _ in range(b):
                        power = power * a
                    return power
                try:
                    return divide(a, b)
                except (ValueError, ZeroDivisionError) as error:
                    raise _NotSize("RNN036", str(error), expr) from None
            case tree.Product(factors=factors):
                total: Size = 1
                for factor in factors:
                    total = total * self._size(factor)
                return total
        raise _NotSize(
            "RNN036",
            "a size is arithmetic (+ - * /) over whole numbers and dims",
            expr,
        )

    def value_of(self, size: Size) -> Size:
        """A size with the dims whose number is known replaced by it."""
        known = {d: s for d, s in self.dims.items() if s is not None}
        previous: Size | None = None
        while size != previous:
            previous, size = size, substitute(size, known)
        return size

    # ---------------------------------------------------------------- declarations

    def _collect_declared(self) -> None:
        for statement in self.model.statements:
            match statement:
                case tree.InputStatement(items=items):
                    for item in items:
                        self._declare(item, "input")
                case tree.ParamStatement(items=items):
                    for item in items:
                        variable = self._declare(item, "param")
                        if item.axes:
                            self.problems.add(
                                "RNN021",
                                f"a param is the same at every step: `{item.name}` has no index",
                                item.span,
                            )
                        if variable:
                            variable.initialiser = item.initialiser
                            variable.kind = "real"
                case tree.ConstStatement(item=item, value=value):
                    variable = self._declare(item, "const")
                    if variable:
                        variable.expr = value
                        variable.kind = None
                        variable.fills = variable.shape is not None
                case tree.TargetStatement(item=item, distribution=distribution, when=when):
                    variable = self._declare(item, "target")
                    if variable:
                        variable.distribution, variable.when = distribution, when

    def _declare(self, item: tree.Declared, role: Role) -> Variable | None:
        variable = Variable(item.name, role, item.axes, item.span)
        match item.type:
            case tree.ShapeType(sizes=sizes):
                shape = [self.size(s) for s in sizes]
                for size, expr in zip(shape, sizes, strict=True):
                    if size is not None and sign(self.value_of(size)) in (0, -1):
                        self.problems.add("RNN036", f"a size of {size} is impossible", expr.span)
                if any(s is None for s in shape):
                    variable.bad = True
                else:
                    variable.shape = tuple(s for s in shape if s is not None)
                variable.kind = "real"
            case tree.IndexType(size=size_expr):
                variable.range = self.size(size_expr)
                variable.kind, variable.shape = "index", ()
            case tree.FlagType():
                variable.kind, variable.shape = "flag", ()
            case tree.AnyType():
                variable.kind = "real"
            case None:
                if role in ("input", "target"):
                    self.problems.add(
                        "RNN034",
                        f"the shape of {role} `{item.name}` is missing",
                        item.span,
                        hint=f"write for example {item.name}{_show_axes(item.axes)} : [n]",
                    )
                    variable.bad = True
                variable.kind = "real"
        if role in ("param", "const") and item.type is not None:
            if not isinstance(item.type, tree.ShapeType):
                self.problems.add(
                    "RNN033", f"a {role} is real: give its shape, such as [m, n]", item.type.span
                )
        return variable if self._add(variable) else None

    def _collect_equations(self) -> None:
        boundaries: list[tuple[str, Boundary]] = []
        for statement in self.model.statements:
            if not isinstance(statement, tree.Equation):
                continue
            count = len(statement.left)
            for i, left in enumerate(statement.left):
                axes = tuple(x.name for x in left.index if isinstance(x, tree.Name))
                if all(isinstance(x, tree.Name) and x.name in self.axes for x in left.index):
                    variable = Variable(left.name, "equation", axes, left.span)
                    variable.expr = statement.right
                    variable.part = (i, count) if count > 1 else None
                    self._add(variable)
                elif count > 1:
                    self.problems.add(
                        "RNN026", "a boundary stands in an equation of its own", left.span
                    )
                else:
                    boundary = self._boundary(left, statement)
                    if boundary:
                        boundaries.append((left.name, boundary))
        for name, boundary in boundaries:
            owner = self.variables.get(name)
            if owner is None:
                self.problems.add(
                    "RNN010",
                    f"`{name}` has a boundary but no equation",
                    boundary.span,
                    hint=suggestion(name, self.variables)
                    or f"write {name}[{boundary.axis}] = … too",
                )
            elif boundary.axis not in owner.axes:
                self.problems.add(
                    "RNN021",
                    f"`{name}` does not vary over {boundary.axis}, so it has no boundary",
                    boundary.span,
                    labels=[(owner.span, "it is defined here")],
                )
            elif any(b.step == boundary.step for b in owner.boundaries):
                self.problems.add("RNN011", f"this boundary of `{name}` is given twice",
                                  boundary.span)
            else:
                owner.boundaries.append(boundary)

    def _boundary(self, left: tree.Left, statement: tree.Equation) -> Boundary | None:
        found: list[tuple[str, Index]] = []
        for axis, expr in zip(self.axes, left.index, strict=False):
            index = self.time_index(expr, axis)
            if index is None:
                return None
            found.append((axis, index))
        if len(left.index) != 1:
            self.problems.add("RNN091", f"`{left.name}` has several indices", left.span)
            return None
        axis, index = found[0]
        text = f"`{left.name}[{left.index[0].span.text}]`"
        if index.base == axis:
            self.problems.add(
                "RNN020",
                f"the left side of an equation is {left.name}[{axis}], not {text}",
                left.span,
                hint=f"write what holds at step {axis}, reading {left.name}[{axis}-1] on the right",
            )
            return None
        outside = (index.base == FIRST and sign(index.offset) == -1) or (
            index.base == LAST and sign(index.offset) == 1
        )
        if not outside:
            self.problems.add(
                "RNN026",
                f"{text} is a step of its own equation; a boundary lies before step 1 or after "
                f"step {self.length_name(axis)}",
                left.span,
                hint=f"the initial state is {left.name}[0]",
            )
            return None
        return Boundary(axis, index, statement.right, left.span)

    def time_index(self, expr: tree.Expr, axis: str) -> Index | None:
        """Where an index expression points on an axis: ``t-1``, ``0``, ``T+1``; None after a
        diagnostic."""
        parts = _linear(expr, 1)
        base: str | None = None
        offset: Size = 0
        for factor, part in parts:
            if isinstance(part, tree.Name) and (
                part.name in self.axes or self.axis_of_length(part.name)
            ):
                name = part.name if part.name in self.axes else LAST
                if base is not None or factor != 1:
                    self._strided(expr)
                    return None
                base = name
                continue
            if any(isinstance(n, (tree.Name, tree.Indexed)) and n.name in self.axes
                   for n in walk(part)):
                self._strided(expr)
                return None
            size = self.size(part)
            if size is None:
                return None
            offset = offset + factor * size
        if base is None:
            return Index(FIRST, offset - 1)
        return Index(base, offset)

    def _strided(self, expr: tree.Expr) -> None:
        self.problems.add(
            "RNN022",
            f"`{expr.span.text}` is a strided or computed index",
            expr.span,
            hint="an index is an axis plus or minus a whole number, a number, or the length T; "
            "prepare other orders in the data",
        )

    # ---------------------------------------------------------------- helpers

    def _find_flexible(self) -> None:
        """Open dims that no input or target carries are found out from the equations."""
        from_data: set[str] = set()
        for v in self.variables.values():
            if v.role in ("input", "target"):
                for size in (*(v.shape or ()), *(() if v.range is None else (v.range,))):
                    from_data |= size.names if isinstance(size, Dim) else set()
        self.flexible = {d for d, s in self.dims.items() if s is None and d not in from_data}

    def _add(self, variable: Variable) -> bool:
        name = variable.name
        if name in self.variables:
            self._twice(name, variable.span, self.variables[name].span)
            return False
        if name in self.dims:
            self._twice(name, variable.span, self.dim_spans[name])
            return False
        self._check_name(name, variable.span)
        self.variables[name] = variable
        return True

    def _twice(self, name: str, span: Span, first: Span) -> None:
        self.problems.add(
            "RNN011",
            f"`{name}` is defined twice",
            span,
            labels=[(first, "first here")],
        )

    def _check_name(self, name: str, span: Span) -> None:
        why = None
        if name in self.axes or name == "t":
            why = "the step number"
        elif self.axis_of_length(name) or name == "T":
            why = "the number of steps"
        elif name in CONSTANTS:
            why = "a word of the language"
        elif name in FUNCTIONS and name != "sigma":
            why = "a function"
        elif "." in name:
            why = "the inner value of a layer"
        if why:
            self.problems.add("RNN012", f"`{name}` is {why}; choose another name", span)
        elif name.startswith("d_") and name[2:] in self.variables:
            pass  # ∂h beside h is what a printed gradient looks like


class _NotSize(Exception):
    def __init__(self, code: str, message: str, expr: tree.Expr, hint: str | None = None):
        self.code, self.message, self.span, self.hint = code, message, expr.span, hint


def suggestion(name: str, known: Iterable[str]) -> str | None:
    """``did you mean …?`` where a known name is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else None


def walk(expr: object) -> Iterable[object]:
    """Every expression node below (and with) ``expr``."""
    stack = [expr]
    while stack:
        node = stack.pop()
        yield node
        for slot in getattr(node, "__slots__", ()):
            child = getattr(node, slot)
            if isinstance(child, tuple):
                stack.extend(c for c in child if hasattr(c, "span"))
            elif hasattr(child, "span"):
                stack.append(child)


def _linear(expr: tree.Expr, factor: int) -> list[tuple[int, tree.Expr]]:
    match expr:
        case tree.Binary(op="+", left=left, right=right):
            return _linear(left, factor) + _linear(right, factor)
        case tree.Binary(op="-", left=left, right=right):
            return _linear(left, factor) + _linear(right, -factor)
        case tree.Unary(op="-", operand=operand):
            return _linear(operand, -factor)
    return [(factor, expr)]


def _names_axis(left: tree.Left, axis: str) -> bool:
    return any(isinstance(n, tree.Name) and n.name == axis for x in left.index for n in walk(x))


def _show_axes(axes: tuple[str, ...]) -> str:
    return f"[{', '.join(axes)}]" if axes else ""
