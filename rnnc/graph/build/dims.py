"""Sizes: the dims of a model, and arithmetic over them."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping

from rnnc.graph.build.functions import FUNCTIONS
from rnnc.graph.build.problems import Problems, head, listed, suggestion
from rnnc.graph.types import Dim, Size, dim, divide, names_of, sign, substitute
from rnnc.source import Span
from rnnc.syntax import tree

MOST_TERMS = 64  # of a sum over dims
MOST_WHOLE = 1 << 63


class Dims:
    """The dims of a model: each a number, an expression over other dims, or open (None)."""

    def __init__(self, model: tree.Model, given: Mapping[str, int], problems: Problems):
        self.problems = problems
        self.values: dict[str, Size | None] = {}
        self.spans: dict[str, Span] = {}
        self.flexible: set[str] = set()  # open dims that the equations may determine
        # names that a user may take for a size, and what they are
        self.other = dict.fromkeys(("pi", "inf", "training", "batch"), "a word of the language")
        self.given = self._check_given(model, given)
        self._impossible: set[Size] = set()
        self._defaults: dict[str, tree.Expr | None] = {}
        self._late: dict[str, tree.Expr] = {}  # defaults that hold only for what stays open
        for statement in model.statements:
            if isinstance(statement, tree.DimStatement):
                for item in statement.dims:
                    self._collect(item)
        self._check_known(model)
        self._evaluate_all()

    def __contains__(self, name: str) -> bool:
        return name in self._defaults

    def __iter__(self) -> Iterator[str]:
        return iter(self._defaults)

    def _check_given(self, model: tree.Model, given: Mapping[str, int]) -> dict[str, int]:
        out = {}
        for name, size in given.items():
            try:
                whole = operator.index(size)
            except TypeError:
                whole = 0
            if 1 <= whole < MOST_WHOLE:
                out[name] = whole
            else:
                message = f"`{name}` is set to {size}, but a size is a whole number from 1 on"
                self.problems.add("RNN036", message, model.span)
        return out

    def _collect(self, item: tree.Dim) -> None:
        if item.name in self._defaults:
            self.problems.add(
                "RNN011",
                f"`{item.name}` is defined twice",
                head(item.span),
                labels=[(self.spans[item.name], "first here")],
            )
            return
        self.spans[item.name] = head(item.span)
        open_ = item.late or item.name in self.given
        self._defaults[item.name] = None if open_ else item.default
        if item.late and item.default is not None and item.name not in self.given:
            self._late[item.name] = item.default

    def _check_known(self, model: tree.Model) -> None:
        for name in self.given:
            if name not in self:
                has = f"its dims are {listed(list(self))}" if list(self) else "it has no dims"
                self.problems.add(
                    "RNN010",
                    f"`{name}` is set, but model {model.name} has no dim of that name",
                    model.span,
                    hint=suggestion(name, self) or has,
                )

    # ---------------------------------------------------------------- values

    def _evaluate_all(self) -> None:
        """Put in defaults, each after those it mentions; the order of the lines means nothing."""
        for name in self:
            path: dict[str, None] = {}  # from the dim that is wanted to the one that is looked at
            todo = [name]
            while todo:
                current = todo[-1]
                if current in self.values:
                    todo.pop()
                elif current in path:  # all that it mentions is known by now
                    todo.pop()
                    del path[current]
                    self._evaluate(current)
                else:
                    path[current] = None
                    needs = [n for n in self._mentioned(current) if n not in self.values]
                    if circle := [n for n in needs if n in path]:
                        self._circle(list(path)[list(path).index(circle[0]) :])
                    todo += [n for n in needs if n not in path]
        self.values = {name: self.values[name] for name in self}

    def _mentioned(self, name: str) -> list[str]:
        default = self._defaults[name]
        found = (n.name for n in walk(default) if isinstance(n, tree.Name)) if default else ()
        return [n for n in found if n in self]

    def _evaluate(self, name: str) -> None:
        default = self._defaults[name]
        if name in self.given:
            self.values[name] = self.given[name]
        else:
            self.values[name] = None if default is None else self.size(default)

    def late(self) -> dict[str, Size]:
        """The sizes that the arguments of layers have not told, by the layers' own defaults."""
        found = {n: self.size(e) for n, e in self._late.items()}
        self._late = {}
        return {n: size for n, size in found.items() if size is not None}

    def _circle(self, names: list[str]) -> None:
        for name in names:
            self.values[name] = None
        others = [(self.spans[n], f"and `{n}`") for n in names[1:]]
        shown = listed([f"`{n}`" for n in names])
        message = (
            f"{shown} are defined by each other" if others else f"{shown} is defined by itself"
        )
        hint = "give one of them a number" if others else "give it a number, or leave it open"
        self.problems.add("RNN036", message, self.spans[names[0]], labels=others, hint=hint)

    def size(self, expr: tree.Expr, quiet: bool = False) -> Size | None:
        """The value of arithmetic over dims; None (after a diagnostic) where it is not that."""
        try:
            return self._size(expr)
        except _NotSize as problem:
            if not quiet:
                self.problems.add(problem.code, problem.message, problem.span, hint=problem.hint)
            return None

    def shape_size(self, expr: tree.Expr) -> Size | None:
        """A size in a declared shape; None, told once for each, where it cannot be one."""
        size = self.size(expr)
        if size is None or size in self._impossible:
            return None
        number = self.value_of(size)
        if sign(number) == 1 and (isinstance(number, int) or number.names):
            return size
        if sign(number) is None:  # n - m: fine as long as n is larger
            return size
        self._impossible.add(size)
        fraction = sign(number) == 1
        text = expr.span.text
        shown = list(dict.fromkeys((text, str(size), str(number))))
        why = "a size is a whole number" if fraction else "a size is 1 or more"
        label = []
        if isinstance(expr, tree.Name) and expr.name in self:
            label = [(self.spans[expr.name], f"`{expr.name}` is defined here")]
        message = f"`{shown[0]}` is {' = '.join(shown[1:]) or number}, but {why}"
        if len(shown) == 1:
            message = f"a size of {number} is impossible: {why}"
        self.problems.add("RNN036", message, expr.span, labels=label)
        return None

    def value_of(self, size: Size) -> Size:
        """A size with the dims whose number is known replaced by it."""
        while True:
            values = ((n, self.values.get(n)) for n in names_of(size))
            known = {n: value for n, value in values if value is not None}
            if not known:
                return size
            size = substitute(size, known)

    def text(self, size: Size) -> str:
        """``m = 8`` where the number of a size is known, else as it is."""
        number = self.value_of(size)
        return f"{size} = {number}" if isinstance(number, int) and number != size else str(size)

    # ---------------------------------------------------------------- arithmetic

    def _size(self, expr: tree.Expr) -> Size:
        match expr:
            case tree.Number(value=int(value)):
                return value
            case tree.Number(value=value):
                raise _NotSize("RNN036", f"a size is a whole number, not {value:g}", expr)
            case tree.Name(name=name):
                return self._named(name, expr)
            case tree.Unary(op="-", operand=operand):
                return -self._size(operand)
            case tree.Binary(op=op, left=left, right=right) if op in ("+", "-", "*", "/", "^"):
                return _limited(self._binary(op, left, right, expr), expr)
            case tree.Product(factors=factors):
                total: Size = 1
                for factor in factors:
                    total = _limited(total * self._size(factor), expr)
                return total
        message = "a size is arithmetic (+ - * / ^) over whole numbers and dims"
        raise _NotSize("RNN036", message, expr)

    def _named(self, name: str, expr: tree.Expr) -> Size:
        if name in self:
            value = self.values.get(name)
            if "." in name and value is not None:
                return value  # a layer's sizes are those of its caller
            # a dim given by an expression stands for it; one given by a number keeps
            # its name, so that [m, n] and [n, m] differ even where m = n
            return value if isinstance(value, Dim) and name not in self.given else dim(name)
        if name in self.other:
            raise _NotSize("RNN036", f"`{name}` is {self.other[name]}, not a size", expr)
        if name in FUNCTIONS:
            raise _NotSize("RNN036", f"`{name}` is a function, not a size", expr)
        if expr.span.source.caller is not None:  # as the layer says it
            name = expr.span.text
            raise _NotSize("RNN010", f"unknown size `{name}`", expr, f"declare it: dim {name}")
        hint = suggestion(name, self) or f"declare it: dim {name}"
        raise _NotSize("RNN010", f"unknown size `{name}`", expr, hint)

    def _binary(self, op: str, left: tree.Expr, right: tree.Expr, expr: tree.Expr) -> Size:
        a, b = self._size(left), self._size(right)
        if op == "+":
            return a + b
        if op == "-":
            return a - b
        if op == "*":
            return a * b
        if op == "/":
            try:
                return divide(a, b)
            except (ValueError, ZeroDivisionError) as error:
                raise _NotSize("RNN036", str(error), expr) from None
        if not isinstance(b, int) or not 0 <= b <= 64:
            raise _NotSize("RNN036", "the exponent of a size is a small whole number", right)
        power: Size = 1
        for _ in range(b):
            power = _limited(power * a, expr)
        return power


class _NotSize(Exception):
    def __init__(self, code: str, message: str, expr: tree.Expr, hint: str | None = None):
        self.code, self.message, self.span, self.hint = code, message, expr.span, hint


def _limited(size: Size, expr: tree.Expr) -> Size:
    """The size, unless it is absurd: then every later step would take its time."""
    if isinstance(size, int):
        huge = abs(size) >= MOST_WHOLE
    else:
        factors = [f for _, f in size.terms]
        huge = len(factors) > MOST_TERMS or any(
            max(abs(f.numerator), f.denominator) >= MOST_WHOLE for f in factors
        )
        huge = huge or any(abs(e) > MOST_TERMS for m, _ in size.terms for _, e in m)
    if huge:
        raise _NotSize("RNN036", "this size is too large", expr)
    return size


def walk(expr: object) -> Iterator[object]:
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
