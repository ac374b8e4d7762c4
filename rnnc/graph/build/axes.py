"""Time: the axes of a model, and where an index points on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import networkx as nx

from rnnc.graph.build.dims import Dims, walk
from rnnc.graph.build.functions import FUNCTIONS
from rnnc.graph.build.problems import Problems
from rnnc.graph.types import FIRST, LAST, Dim, Index, Size
from rnnc.source import Span
from rnnc.syntax import tree

CONSTANTS = frozenset(("pi", "inf", "training", "batch", "loss"))


class Axes:
    """The axes of a model. Building it reports what cannot be an axis."""

    variables: Mapping[str, object]

    def __init__(self, model: tree.Model, dims: Dims, problems: Problems):
        self.model = model
        self.dims = dims
        self.problems = problems
        self.axes: dict[str, tree.AxisStatement | None] = {}
        self.axis_sizes: dict[str, Size] = {}
        self._collect_axes()

    def _collect_axes(self) -> None:
        where: dict[str, Span] = {}
        for statement in self.model.statements:
            if isinstance(statement, tree.AxisStatement):
                self._declare_axis(statement, where)
            for item in _given(statement):
                for axis in item.axes:
                    where.setdefault(axis, item.span)
        for axis in where:
            self.axes.setdefault(axis, None)
        if not self.axes or any(
            isinstance(s, tree.Equation) and any(_names_axis(x, "t") for x in s.left)
            for s in self.model.statements
        ):
            self.axes.setdefault("t", None)
        self.axes = {axis: self.axes[axis] for axis in self._as_written()}
        lengths = {"T", *map(self.length_name, self.axes)}
        for axis, declared in self.axes.items():
            self.dims.other[axis] = "the number of a step"
            self.dims.other[self.length_name(axis)] = "the number of steps"
            if axis in FUNCTIONS or axis in CONSTANTS:
                message = f"`{axis}` has a meaning already; choose another name for the axis"
                self.problems.add("RNN012", message, where.get(axis, self.model.span))
            elif axis in lengths and not (declared and declared.length == axis):
                message = f"`{axis}` is the number of steps; choose another name for the axis"
                self.problems.add("RNN012", message, where.get(axis, self.model.span))

    def _as_written(self) -> list[str]:
        """The axes in the order that arrays have them: as inputs and equations name them side by
        side, the first that do where they disagree, else as they are declared."""
        graph = nx.DiGraph()
        graph.add_nodes_from(self.axes)
        for statement in self.model.statements:
            written = [item.axes for item in _given(statement)]
            if isinstance(statement, tree.Equation):
                names = [
                    [x.name for x in s.index if isinstance(x, tree.Name)] for s in statement.left
                ]
                written += [tuple(n for n in left if n in self.axes) for left in names]
            for a, b in (pair for axes in written for pair in pairwise(axes)):
                if not nx.has_path(graph, b, a):
                    graph.add_edge(a, b)
        position = {axis: i for i, axis in enumerate(self.axes)}
        return list(nx.lexicographical_topological_sort(graph, key=position.__getitem__))

    def _declare_axis(self, statement: tree.AxisStatement, where: dict[str, Span]) -> None:
        name = statement.name
        if name in self.axes:
            first = [(where[name], "first here")]
            self.problems.add(
                "RNN011", f"axis `{name}` is defined twice", statement.span, labels=first
            )
            return
        self.axes[name] = statement
        where[name] = statement.span
        if statement.length in {name, "t", *CONSTANTS, *FUNCTIONS}:
            message = f"`{statement.length}` cannot be the number of steps of `{name}`"
            own = f": axis {name} : {name.upper()}" if name.upper() != name else ""
            hint = f"give the length a name of its own{own}"
            self.problems.add("RNN012", message, statement.span, hint=hint)
        if statement.size is not None:
            size = self.dims.shape_size(statement.size)
            if size is not None:
                self.axis_sizes[name] = size

    def length_name(self, axis: str) -> str:
        """The name of an axis' length: as declared, else the upper-case letter."""
        declared = self.axes.get(axis)
        return declared.length if declared else axis.upper()

    def axis_of_length(self, name: str) -> str | None:
        return next((a for a in self.axes if self.length_name(a) == name), None)

    # ---------------------------------------------------------------- indices

    def time_index(self, expr: tree.Expr, axis: str, left: bool = False) -> Index | None:
        """Where an index expression points on an axis: ``t-1``, ``0``, ``T+1``; None after a
        diagnostic."""
        base: str | None = None
        offset: Size = 0
        for factor, part in linear(expr):
            if isinstance(part, tree.Name) and self._is_base(part.name):
                if base is not None or factor != 1:
                    self._strided(expr, axis)
                    return None
                base = part.name if part.name in self.axes else LAST
                if not self._same_length(part, axis):
                    return None
                continue
            names = [n for n in walk(part) if isinstance(n, tree.Name | tree.Indexed | tree.Call)]
            if any(isinstance(n, tree.Name) and self._is_base(n.name) for n in names):
                self._strided(expr, axis)
                return None
            for n in names:
                if not isinstance(n, tree.Name) or n.name not in self.dims:
                    self._no_index(n, axis, left and n is expr)
                    return None
            size = self.dims.size(part)
            if size is None:
                return None
            offset = offset + factor * size
        if isinstance(number := self.dims.value_of(offset), Dim) and not number.names:
            message = f"`{expr.span.text}` is no whole number of steps"
            self.problems.add("RNN020", message, expr.span)
            return None
        return Index(FIRST, offset - 1) if base is None else Index(base, offset)

    def _is_base(self, name: str) -> bool:
        return name in self.axes or self.axis_of_length(name) is not None

    def _same_length(self, base: tree.Name, axis: str) -> bool:
        """Whether an index on ``axis`` may be told by this axis or length; reports where not."""
        of = base.name if base.name in self.axes else self.axis_of_length(base.name)
        length = self.length_name(axis)
        if of is not None and self.length_name(of) == length:
            return True
        steps = f"the steps of {axis} are 1 to {length}"
        message = f"`{base.name}` counts the steps of another axis; {steps}"
        hint = f"here stands {axis}, {axis}-1, 0 or {length}"
        if base.name in self.axes:
            hint += f"; if both have the same steps, declare it: axis {base.name} : {length}"
        self.problems.add("RNN020", message, base.span, hint=hint)
        return False

    def in_order(self, index: tuple[tree.Expr, ...], axes: tuple[str, ...]) -> str | None:
        """The indices in the order of the axes, ``s, t-1``, where they are told in another one."""
        told: dict[str, tree.Expr] = {}
        for item in index:
            names = [n.name for n in walk(item) if isinstance(n, tree.Name)]
            told |= {name: item for name in names[:1] if name in axes}
        lengths = [self.length_name(a) for a in axes]
        if len(told) < len(axes) or [self.length_name(a) for a in told] == lengths:
            return None  # axes of one length may well change places
        return ", ".join(told[a].span.text for a in axes)

    def _no_index(self, part: tree.Name | tree.Indexed | tree.Call, axis: str, left: bool) -> None:
        if isinstance(part, tree.Name) and part.name not in self.variables:
            message = f"`{part.name}` is no axis of this model"
            also = f", or a dim: declare it, dim {part.name}"
            if left and part.name != part.name.upper():
                declared = f"axis {part.name} : {part.name.upper()}"
                hint = f"declare it, {declared}; an index of {axis} is {axis}, {axis}-1, 0 or "
                hint += self.length_name(axis)
                self.problems.add("RNN020", message, part.span, hint=hint)
                return
        else:
            message = f"`{part.span.text}` is a value, not a step"
            also = ""
        hint = f"an index is {axis}, {axis}-1, 0 or {self.length_name(axis)}{also}"
        self.problems.add("RNN020", message, part.span, hint=hint)

    def _strided(self, expr: tree.Expr, axis: str) -> None:
        self.problems.add(
            "RNN022",
            f"`{expr.span.text}` is a strided or computed index",
            expr.span,
            hint=f"an index is {axis} plus or minus a whole number, a number, or "
            f"{self.length_name(axis)}; prepare other orders in the data",
        )


def _given(statement: tree.Statement) -> tuple[tree.Declared, ...]:
    """What a statement says the user supplies."""
    match statement:
        case tree.InputStatement(items=items):
            return items
        case tree.TargetStatement(item=item):
            return (item,)
    return ()


def linear(expr: tree.Expr) -> Iterator[tuple[int, tree.Expr]]:
    """The terms of a sum, each with its sign."""
    todo = [(1, expr)]
    while todo:
        factor, part = todo.pop()
        match part:
            case tree.Binary(op="+" | "-" as op, left=left, right=right):
                todo.append((factor if op == "+" else -factor, right))
                todo.append((factor, left))
            case tree.Unary(op="-", operand=operand):
                todo.append((-factor, operand))
            case _:
                yield factor, part


def _names_axis(left: tree.Left, axis: str) -> bool:
    return any(isinstance(n, tree.Name) and n.name == axis for x in left.index for n in walk(x))
