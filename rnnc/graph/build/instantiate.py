"""A layer's statements in the terms of its caller: names, axes, sizes, and places in the text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from rnnc.graph.build.axes import CONSTANTS, linear
from rnnc.graph.build.dims import walk
from rnnc.graph.build.functions import DISTRIBUTIONS, FUNCTIONS
from rnnc.graph.types import BATCH
from rnnc.source import Label, Source, Span
from rnnc.syntax import tree


class NoStepsError(Exception):
    """A layer needs the steps of an axis, and is called on values that have none."""

    def __init__(self, span: Span):
        self.span = span


@dataclass
class Renaming:
    """How what a layer says is said in its caller.

    ``names`` gives every name of the layer its own in the caller; others get ``prefix``, so that
    nothing of the caller is read by accident. ``axes`` are the caller's axis for each of the
    layer's, None where the layer is called on values without steps; ``lengths`` the same of
    their lengths. ``own`` are the axes of a value in the layer, ``placed`` those in the caller,
    in the order of its indices. Over ``backward`` axes the layer sees the steps reversed, the
    last of which is, in the caller, the number ``backward[axis]``.
    """

    names: Mapping[str, str]
    prefix: str
    axes: Mapping[str, str | None]
    lengths: Mapping[str, str | None]
    own: Mapping[str, tuple[str, ...]]
    placed: Mapping[str, tuple[str, ...]]
    backward: Mapping[str, str]
    call: Label
    _sources: dict[int, Source] = field(default_factory=dict)
    _index: bool = False  # inside of an index, where steps are turned as a whole

    # ---------------------------------------------------------------- places

    def span(self, span: Span) -> Span:
        """The same place in the text of this instance."""
        return Span(self._source(span.source), span.start, span.end)

    def _source(self, source: Source) -> Source:
        if id(source) not in self._sources:
            inner = source.caller
            caller = self.call if inner is None else Label(self.span(inner.span), inner.text)
            self._sources[id(source)] = replace(source, caller=caller)
        return self._sources[id(source)]

    # ---------------------------------------------------------------- statements

    def statement(self, s: tree.Statement) -> tree.Statement:
        """A statement of the layer, without its inputs, as one of the caller."""
        span = self.span(s.span)
        match s:
            case tree.DimStatement(dims=dims):
                return tree.DimStatement(tuple(map(self.dim, dims)), span=span)
            case tree.AxisStatement(name=name, length=length, size=size):
                axis = self.axes[name]
                assert axis is not None
                size = None if size is None else self._plain(size)
                known = self.lengths[length]
                assert known is not None
                return tree.AxisStatement(axis, known, size, span=span)
            case tree.ParamStatement(items=items):
                return tree.ParamStatement(tuple(map(self.declared, items)), span=span)
            case tree.ConstStatement(item=item, value=value):
                return tree.ConstStatement(self.declared(item), self.expr(value), span=span)
            case tree.Argument(item=item, value=value):
                return tree.Argument(self.declared(item), self.expr(value), span=span)
            case tree.TargetStatement(item=item):
                return tree.TargetStatement(self.declared(item), None, None, span=span)
            case tree.Equation(left=left, right=right):
                return tree.Equation(tuple(map(self._left, left)), self.expr(right), span=span)
        raise AssertionError(s)

    def dim(self, dim: tree.Dim) -> tree.Dim:
        """A size of the layer."""
        default = None if dim.default is None else self._plain(dim.default)
        return tree.Dim(self.names[dim.name], default, dim.late, span=self.span(dim.span))

    def declared(self, item: tree.Declared) -> tree.Declared:
        """A declared name of the layer, with its shape and its initialiser."""
        init = item.initialiser
        if isinstance(init, tree.Call):
            args = tuple(map(self._plain, init.args))
            init = tree.Call(init.function, (), args, span=self.span(init.span))
        type_ = item.type
        match type_:
            case tree.ShapeType(sizes=sizes, span=span):
                type_ = tree.ShapeType(tuple(map(self._plain, sizes)), span=self.span(span))
            case tree.IndexType(size=size, span=span):
                type_ = tree.IndexType(self._plain(size), span=self.span(span))
            case tree.FlagType(span=span) | tree.AnyType(span=span):
                type_ = replace(type_, span=self.span(span))
        axes = self.placed.get(item.name, ())
        span = self.span(item.span)
        return tree.Declared(self.names[item.name], axes, type_, init, span=span)

    def _left(self, left: tree.Left) -> tree.Left:
        span = self.span(left.span)
        return tree.Left(self.name(left.name), self.indices(left.name, left.index, span), span=span)

    # ---------------------------------------------------------------- expressions

    def name(self, name: str) -> str:
        """A name of the layer in the caller."""
        return self.names.get(name) or f"{self.prefix}.{name}"

    def expr(self, e: tree.Expr) -> tree.Expr:
        """An expression of the layer."""
        span = self.span(e.span)
        match e:
            case tree.Number():
                return replace(e, span=span)
            case tree.Name(name=name):
                return self._name(name, span)
            case tree.Indexed(name=name, index=index):
                index = self.indices(name, index, span)
                new = self.name(name)
                return tree.Indexed(new, index, span=span) if index else tree.Name(new, span=span)
            case tree.Call():
                return self._call(e, span)
            case tree.Unary(operand=operand):
                return replace(e, operand=self.expr(operand), span=span)
            case tree.Binary():
                return self._binary(e)
            case tree.Product(factors=factors):
                return replace(e, factors=tuple(map(self.expr, factors)), span=span)
            case tree.Transpose(operand=operand):
                return tree.Transpose(self.expr(operand), span=span)
            case tree.Concat(items=items):
                return tree.Concat(tuple(map(self.expr, items)), span=span)
            case tree.Conditional(condition=c, then=a, otherwise=b):
                return tree.Conditional(self.expr(c), self.expr(a), self.expr(b), span=span)

    def _plain(self, e: tree.Expr) -> tree.Expr:
        """Arithmetic over sizes and steps, where no step is turned."""
        before, self._index = self._index, True
        try:
            return self.expr(e)
        finally:
            self._index = before

    def _binary(self, e: tree.Binary) -> tree.Expr:
        # a long sum leans to the left: go down it in a loop, not by recursion
        chain = []
        left: tree.Expr = e
        while isinstance(left, tree.Binary):
            chain.append(left)
            left = left.left
        out = self.expr(left)
        for link in reversed(chain):
            out = tree.Binary(link.op, out, self.expr(link.right), span=self.span(link.span))
        return out

    def _name(self, name: str, span: Span) -> tree.Expr:
        if name in self.names:
            placed = () if self.own.get(name) else self.placed.get(name, ())
            if placed:
                index = tuple(tree.Name(a, span=span) for a in placed)
                return tree.Indexed(self.names[name], index, span=span)
            return tree.Name(self.names[name], span=span)
        if name in self.axes:
            axis = self.axes[name]
            if axis is None:
                raise NoStepsError(span)
            step = tree.Name(axis, span=span)
            turned = name in self.backward and not self._index
            return self._turned(step, name, span) if turned else step
        if name in self.lengths:
            length = self.lengths[name]
            if length is None:
                raise NoStepsError(span)
            return tree.Name(length, span=span)
        if name in CONSTANTS or name in FUNCTIONS:
            return tree.Name(name, span=span)
        return tree.Name(self.name(name), span=span)

    def _turned(self, step: tree.Expr, axis: str, span: Span) -> tree.Expr:
        """``T + 1 - t``."""
        last = tree.Name(self.backward[axis], span=span)
        after = tree.Binary("+", last, tree.Number(1, span=span), span=span)
        return tree.Binary("-", after, step, span=span)

    def _call(self, e: tree.Call, span: Span) -> tree.Expr:
        if e.function in self.names:  # `U(r * h)` is a product
            left: tree.Expr = tree.Name(e.function, span=e.span)
            if e.over:
                index = tuple(tree.Name(a, span=e.span) for a in e.over)
                left = tree.Indexed(e.function, index, span=e.span)
            factors = (self.expr(left), *map(self.expr, e.args))
            return tree.Product(factors, span=span)
        known = e.function in FUNCTIONS or e.function in DISTRIBUTIONS or e.function == "split"
        function = e.function if known else self.name(e.function)
        over = []
        for name in e.over:
            axis = self.axes.get(name, name if name == BATCH else f"{self.prefix}.{name}")
            if axis is None:
                raise NoStepsError(span)
            over.append(axis)
        out = tree.Call(function, tuple(over), tuple(map(self.expr, e.args)), span=span)
        turned = [a for a in e.over if a in self.backward]
        return self._turned(out, turned[0], span) if function == "argmax" and turned else out

    # ---------------------------------------------------------------- indices

    def indices(self, name: str, index: Sequence[tree.Expr], span: Span) -> tuple[tree.Expr, ...]:
        """The indices of a value of the layer, in the order of its axes in the caller."""
        own = self.own.get(name, ())
        if len(own) != len(index):  # a table, or wrong: the resolver will say so
            return tuple(map(self.expr, index))
        at = {self.axes[a]: self._at(item, a) for a, item in zip(own, index, strict=True)}
        return tuple(at.get(a) or tree.Name(a, span=span) for a in self.placed.get(name, ()))

    def _at(self, item: tree.Expr, axis: str) -> tree.Expr:
        """An index on an axis of the layer."""
        if self.axes[axis] is None:
            if item != tree.Name(axis, span=item.span):
                raise NoStepsError(self.span(item.span))
            return tree.Number(0, span=item.span)
        if axis not in self.backward:
            return self._plain(item)
        # t-1 becomes t+1, T becomes 1, and 0 becomes T+1
        span = self.span(item.span)
        base: tree.Expr | None = None
        rest: list[tuple[int, tree.Expr]] = []
        for factor, part in linear(item):
            if isinstance(part, tree.Name) and factor == 1 and base is None:
                if part.name in self.axes:
                    base = self._plain(part)
                    continue
                if part.name in self.lengths:
                    base = tree.Number(1, span=span)
                    continue
            rest.append((-factor, self._plain(part)))
        if base is None:
            last = tree.Name(self.backward[axis], span=span)
            base = tree.Binary("+", last, tree.Number(1, span=span), span=span)
        for factor, part in rest:
            base = tree.Binary("+" if factor > 0 else "-", base, part, span=span)
        return base


# ---------------------------------------------------------------- what statements say


def defined(s: tree.Statement) -> list[str]:
    """The values and sizes that a statement gives, boundaries left out or not."""
    match s:
        case tree.DimStatement(dims=dims):
            return [d.name for d in dims]
        case tree.InputStatement(items=items) | tree.ParamStatement(items=items):
            return [item.name for item in items]
        case tree.ConstStatement(item=item) | tree.Argument(item=item):
            return [item.name]
        case tree.TargetStatement(item=item):
            return [item.name]
        case tree.Equation(left=left):
            return [x.name for x in left]
    return []


def mentioned(node: object) -> set[str]:
    """Every name that a statement or expression mentions."""
    out = set()
    for part in walk(node):
        if isinstance(part, tree.Name | tree.Indexed | tree.Declared | tree.Left | tree.Dim):
            out.add(part.name)
        if isinstance(part, tree.Call):
            out |= {part.function, *part.over}
        elif isinstance(part, tree.Declared):
            out |= set(part.axes)
    return out


def axes_of(statements: Iterable[tree.Statement], implied: bool = True) -> dict[str, str]:
    """The axes of a model, each with the name of its length.

    Where nothing declares one it is ``t``; if not ``implied``, only where something is at ``t``.
    """
    out: dict[str, str] = {}
    lefts: set[str] = set()
    for s in statements:
        match s:
            case tree.AxisStatement(name=name, length=length):
                out[name] = length
            case tree.InputStatement(items=items):
                for axis in (a for item in items for a in item.axes):
                    out.setdefault(axis, axis.upper())
            case tree.TargetStatement(item=item):
                for axis in item.axes:
                    out.setdefault(axis, axis.upper())
            case tree.Equation(left=left):
                lefts |= {
                    n.name
                    for x in left
                    for i in x.index
                    for n in walk(i)
                    if isinstance(n, tree.Name)
                }
    if "t" in lefts or (implied and not out):
        out.setdefault("t", "T")
    return out


def free_axes(expr: tree.Expr, axes: Set[str]) -> set[str]:
    """The axes over which an expression varies."""
    out: set[str] = set()
    todo: list[tuple[object, frozenset[str]]] = [(expr, frozenset())]
    while todo:
        e, bound = todo.pop()
        match e:
            case tree.Name(name=name):
                out |= {name} & axes - bound
            case tree.Indexed(index=index):
                todo += [(i, bound) for i in index]
            case tree.Call(function=f, over=over, args=args):
                if f not in FUNCTIONS:
                    out |= set(over) & axes - bound
                taken = frozenset(over) if f in FUNCTIONS and f != "softmax" else frozenset()
                todo += [(a, bound | taken) for a in args]
            case _:
                parts = (getattr(e, slot) for slot in getattr(e, "__slots__", ()))
                for part in parts:
                    inner = part if isinstance(part, tuple) else (part,)
                    todo += [(p, bound) for p in inner if isinstance(p, tree.Expr)]
    return out
