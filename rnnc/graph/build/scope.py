"""Names: what a model declares and defines, before any expression is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rnnc.graph.build.axes import CONSTANTS, Axes
from rnnc.graph.build.dims import Dims
from rnnc.graph.build.functions import FUNCTIONS
from rnnc.graph.build.nodes import Node
from rnnc.graph.build.problems import Problems, head, suggestion
from rnnc.graph.types import FIRST, Dim, Index, Kind, Size, sign
from rnnc.source import Span
from rnnc.syntax import tree

Role = Literal["input", "param", "const", "target", "equation"]


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

    ``argument`` is an input of a layer, whose kind and shape are declared; ``range`` is k of an
    ``index(k)``; ``part`` is (i, n) where a multiple assignment takes the i-th of n parts;
    ``bad`` marks a value of which an error was already reported.
    """

    name: str
    role: Role
    axes: tuple[str, ...]
    span: Span
    shape: tuple[Size, ...] | None = None
    kind: Kind | None = None
    range: Size | None = None
    steps: str | None = None
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
    argument: bool = False

    @property
    def inner(self) -> bool:
        """Whether it belongs to a layer."""
        return "." in self.name

    @property
    def nodes(self) -> list[Node]:
        """Its right side and those of its boundaries, as far as they are resolved."""
        found = (self.node, *(b.node for b in self.boundaries))
        return [n for n in found if n is not None]


class Scope(Axes):
    """The names of one model. Building it reports duplicates, reserved names and bad shapes."""

    def __init__(self, model: tree.Model, sizes: Mapping[str, int], problems: Problems):
        self.variables: dict[str, Variable] = {}
        super().__init__(model, Dims(model, sizes, problems), problems)
        for statement in model.statements:
            for item, what in _declared(statement):
                self.dims.other.setdefault(item.name, what)
        for name in self.dims:
            self.check_name(name, self.dims.spans[name])
        self._collect_declared()
        self._collect_equations()
        self._find_flexible()

    # ---------------------------------------------------------------- declarations

    def _collect_declared(self) -> None:
        for statement in self.model.statements:
            match statement:
                case tree.InputStatement(items=items):
                    for item in items:
                        self._declare(item, "input")
                case tree.ParamStatement(items=items):
                    for item in items:
                        if variable := self._declare(item, "param"):
                            variable.initialiser = item.initialiser
                            variable.kind = "real"
                case tree.ConstStatement(item=item, value=value):
                    if variable := self._declare(item, "const"):
                        variable.expr = value
                        variable.kind = None
                        variable.fills = variable.shape is not None
                case tree.Argument(item=item, value=value):
                    if variable := self._declare(item, "equation"):
                        variable.expr, variable.argument = value, True
                case tree.TargetStatement(item=item, distribution=distribution, when=when):
                    if variable := self._declare(item, "target"):
                        variable.distribution, variable.when = distribution, when

    def _declare(self, item: tree.Declared, role: Role) -> Variable | None:
        variable = Variable(item.name, role, item.axes, item.span, kind="real")
        match item.type:
            case tree.ShapeType(sizes=sizes):
                shape = [self.dims.shape_size(s) for s in sizes]
                known = tuple(s for s in shape if s is not None)
                variable.bad = len(known) < len(shape)
                variable.shape = None if variable.bad else known
            case tree.IndexType(size=tree.Name(name=name)) if self.axis_of_length(name):
                variable.steps = name
                variable.kind, variable.shape = "index", ()
            case tree.IndexType(size=size_expr):
                variable.range = self.dims.shape_size(size_expr)
                variable.kind, variable.shape = "index", ()
            case tree.FlagType():
                variable.kind, variable.shape = "flag", ()
            case None if role in ("input", "target"):
                self.problems.add(
                    "RNN034",
                    f"the shape of {role} `{item.name}` is missing",
                    item.span,
                    hint=f"write for example {item.name}{_show_axes(item.axes)} : [n]",
                )
                variable.bad = True
        if role in ("param", "const") and isinstance(item.type, tree.IndexType | tree.FlagType):
            message = f"a {role} is real: give its shape, such as [m, n]"
            self.problems.add("RNN033", message, item.type.span)
            variable.bad = True
        return variable if self._add(variable) else None

    # ---------------------------------------------------------------- equations

    def _collect_equations(self) -> None:
        boundaries: list[tuple[tree.Left, tree.Expr]] = []
        for statement in self.model.statements:
            if not isinstance(statement, tree.Equation):
                continue
            count = len(statement.left)
            for i, left in enumerate(statement.left):
                axes = tuple(x.name for x in left.index if isinstance(x, tree.Name))
                if len(axes) == len(left.index) and all(a in self.axes for a in axes):
                    variable = Variable(left.name, "equation", axes, left.span)
                    variable.expr = statement.right
                    variable.part = (i, count) if count > 1 else None
                    self._add(variable)
                elif count > 1:
                    first = statement.left[0]
                    self.problems.add(
                        "RNN026",
                        "a boundary stands in an equation of its own",
                        first.span.to(statement.left[-1].span),
                        hint=f"name the parts first: ({first.name}0, …) = …, "
                        f"then {first.span.text} = {first.name}0",
                    )
                    break
                else:
                    boundaries.append((left, statement.right))
        for left, expr in boundaries:
            self._attach(left, expr)

    def _attach(self, left: tree.Left, expr: tree.Expr) -> None:
        """``h[0] = …``, given to the value that it is a boundary of."""
        name = left.name
        owner = self.variables.get(name)
        if owner is not None and owner.bad:
            return
        if owner is None:
            axes = self._likely_axes(left)
            if self._boundary(left, expr, axes) is not None:
                equation = f"{name}[{', '.join(axes)}]"
                hint = suggestion(name, self.variables) or f"write {equation} = … too"
                message = f"`{name}` has a boundary but no equation"
                self.problems.add("RNN010", message, left.span, hint=hint)
            else:  # so that readers of `h` do not hear that there is none
                self.variables[name] = Variable(name, "equation", axes, left.span, bad=True)
            return
        if not owner.axes:
            axis = self._likely_axes(left)[0]
            self.problems.add(
                "RNN021",
                f"`{name}` does not vary over {axis}, so it has no boundary",
                left.span,
                labels=[(owner.span, "it is defined here")],
            )
            return
        boundary = self._boundary(left, expr, owner.axes)
        if boundary is None:
            return
        for other in owner.boundaries:
            if (other.axis, other.step) == (boundary.axis, boundary.step):
                message = f"the boundary `{boundary.span.text}` is given twice"
                first = [(other.span, "first here")]
                self.problems.add("RNN011", message, boundary.span, labels=first)
                return
        owner.boundaries.append(boundary)

    def _likely_axes(self, left: tree.Left) -> tuple[str, ...]:
        """The axes of a value that only has boundaries: those it names, and others in order."""
        named = [x.name if isinstance(x, tree.Name) else None for x in left.index]
        rest = [a for a in self.axes if a not in named]
        axes = [n if n in self.axes else (rest.pop(0) if rest else None) for n in named]
        return tuple(a for a in axes if a) or (next(iter(self.axes)),)

    def _boundary(self, left: tree.Left, expr: tree.Expr, axes: tuple[str, ...]) -> Boundary | None:
        """One index of the left side is fixed, outside of the steps; the others are free."""
        if len(left.index) != len(axes):
            count = "one index" if len(axes) == 1 else f"{len(axes)} indices"
            message = f"`{left.name}` has {count}, {', '.join(axes)}, not {len(left.index)}"
            self.problems.add("RNN020", message, left.span)
            return None
        found: list[tuple[str, Index, tree.Expr]] = []
        for axis, item in zip(axes, left.index, strict=True):
            if isinstance(item, tree.Name) and item.name == axis:
                continue
            index = self.time_index(item, axis, left=True)
            if index is None:
                return None
            found.append((axis, index, item))
        free = ", ".join(axes)
        for axis, index, _ in found:
            if not index.fixed:
                text = f"`{left.span.text}`"
                earlier, later = (
                    ", ".join(f"{a}{sign}1" if a == axis else a for a in axes) for sign in "-+"
                )
                self.problems.add(
                    "RNN020",
                    f"the left side of an equation is {left.name}[{free}], not {text}",
                    left.span,
                    hint=f"say what holds at step {axis}: {left.name}[{free}] = …, "
                    f"reading {left.name}[{earlier}] or {left.name}[{later}] on the right",
                )
                return None
        if len(found) != 1:
            self.problems.add(
                "RNN026",
                f"`{left.span.text}` fixes {len(found)} indices; a boundary fixes one",
                left.span,
                hint="outside along several axes, the boundary of the first of them serves: "
                + " and ".join(
                    f"{left.name}[{', '.join('0' if a == axis else a for a in axes)}] = …"
                    for axis, _, _ in found
                ),
            )
            return None
        ((axis, index, item),) = found
        before = index.base == FIRST
        if sign(index.offset) != (-1 if before else 1):
            length = self.length_name(axis)
            first, last = (
                ", ".join(x if a == axis else a for a in axes) for x in ("0", f"{length}+1")
            )
            outside = (
                f"before step 1: {left.name}[{first}]"
                if before
                else f"after step {length}: {left.name}[{last}]"
            )
            self.problems.add(
                "RNN026",
                f"`{left.name}[{item.span.text}]` is a step like others, which the equation of "
                f"`{left.name}` gives",
                left.span,
                hint=f"a boundary lies {outside} = …",
            )
            return None
        return Boundary(axis, index, expr, left.span)

    # ---------------------------------------------------------------- helpers

    def _find_flexible(self) -> None:
        """Open dims that no input or target carries are found out from the equations."""
        from_data: set[str] = set()
        for v in self.variables.values():
            if v.role in ("input", "target"):
                for size in (*(v.shape or ()), *(() if v.range is None else (v.range,))):
                    from_data |= size.names if isinstance(size, Dim) else set()
        open_dims = {d for d, s in self.dims.values.items() if s is None}
        self.dims.flexible = open_dims - from_data

    def give_shape(self, name: str, shape: tuple[int, ...]) -> None:
        """The caller says which shape an ``any`` input has."""
        variable = self.variables.get(name)
        if variable is not None and variable.role == "input" and variable.shape is None:
            variable.shape = shape
            return
        self.problems.add(
            "RNN010",
            f"`{name}` is given the shape {list(shape)}, but it is no input declared `any`",
            variable.span if variable else self.model.span,
        )

    def _add(self, variable: Variable) -> bool:
        name, span = variable.name, head(variable.span)
        known = self.variables.get(name)
        if known is not None or name in self.dims:
            first = head(known.span) if known is not None else self.dims.spans[name]
            message = f"`{name}` is defined twice"
            if first.text != span.text:
                message = f"`{first.text}` and `{span.text}` are one name, defined twice"
            self.problems.add("RNN011", message, span, labels=[(first, "first here")])
            if known is not None:
                known.bad = True  # which of the two is meant is not known
            return False
        variable.bad = not self.check_name(name, span) or variable.bad
        self.variables[name] = variable
        if twice := next((a for a in variable.axes if variable.axes.count(a) > 1), None):
            message = f"`{name}` has the axis {twice} twice"
            hint = f"declare another axis of this length: axis u : {self.length_name(twice)}"
            self.problems.add("RNN020", message, variable.span, hint=hint)
            variable.bad = True
            return False
        return True

    def check_name(self, name: str, span: Span) -> bool:
        """Whether a name is free; reports one that means something already."""
        why, hint = None, None
        if name in self.axes or name == "t":
            why = "the number of a step"
        elif self.axis_of_length(name) or name == "T":
            why = "the number of steps"
        elif name in CONSTANTS:
            why = "a word of the language"
            if name == "loss":
                hint = "write `loss expr`: it is added up over the steps"
        elif name in FUNCTIONS and name != "sigma":
            why = "a function"
        if why:
            message = f"`{name}` is {why}; choose another name"
            self.problems.add("RNN012", message, span, hint=hint)
        return why is None


def _show_axes(axes: tuple[str, ...]) -> str:
    return f"[{', '.join(axes)}]" if axes else ""


def _declared(statement: tree.Statement) -> list[tuple[tree.Declared, str]]:
    """The names that a statement declares, each with what it makes of them."""
    match statement:
        case tree.InputStatement(items=items):
            return [(item, "an input") for item in items]
        case tree.ParamStatement(items=items):
            return [(item, "a param") for item in items]
        case tree.ConstStatement(item=item):
            return [(item, "a const")]
        case tree.TargetStatement(item=item):
            return [(item, "a target")]
    return []
