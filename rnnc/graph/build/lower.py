"""From typed nodes to the Values of a System."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace

from rnnc.graph.build.kinds import COMPARE, LOGIC, REAL_MAPS
from rnnc.graph.build.nodes import Node, walk_nodes
from rnnc.graph.build.scope import Scope, Variable
from rnnc.graph.ops import OPS
from rnnc.graph.system import Value
from rnnc.graph.types import (
    BATCH,
    FLAG,
    INDEX,
    Attrs,
    Bound,
    Kind,
    Read,
    Size,
    Type,
    dim,
)
from rnnc.source import InternalError, Span
from rnnc.syntax import tree

BINARY_FORMULA = {"+": "add", "-": "sub", "*": "mul", "/": "div", "^": "pow"}


class Lowering:
    """Makes the Values of a model; shapes and kinds of all nodes are known by now."""

    def __init__(self, scope: Scope):
        self.scope = scope
        self.order = (*scope.axes, BATCH)
        self.values: dict[str, Value] = {}
        self.made: dict[Node, str] = {}  # so that shared nodes are made once
        self.nodes: dict[str, Node] = {}  # the same, the other way round
        self.read: set[str] = set()  # what some value reads already
        self.base = ""
        self.counts: dict[str, int] = {}

    # ---------------------------------------------------------------- variables

    def declare(self, v: Variable) -> None:
        """The leaf of an input, target or param."""
        shape, kind = _known(v)
        attrs: list[tuple[str, Hashable]] = []
        if v.role == "param":
            attrs.append(("init", _initialiser(v.initialiser, len(shape))))
        elif v.range is not None:
            attrs.append(("range", v.range))
        elif v.steps is not None:
            attrs.append(("steps", v.steps))
        self.values[v.name] = Value(
            v.name, v.role, (), Type(kind, shape), self.axes_of(v), tuple(attrs), (), (v.span,)
        )

    def define(self, v: Variable) -> None:
        """The value of an equation or const."""
        assert v.node is not None
        shape, kind = _known(v)
        self.base = v.name
        axes = self.axes_of(v)
        span = v.span.to(v.node.span)
        self.deep(v.node)
        operand = self.coerce(v.node, kind)
        made = self.values.get(operand.source)
        if (
            made is not None
            and not operand.at
            and made.name.startswith(f"{v.name}.")
            and made.type.shape == shape
            and made.axes == axes
            and made.name not in self.read
            and made.name not in self.scope.variables
        ):
            # the last operation carries the equation's own name
            del self.values[made.name]
            if made.name in self.nodes:
                self.made[self.nodes[made.name]] = v.name
            self.values[v.name] = Value(
                v.name, made.op, made.reads, made.type, axes, made.attrs, (), (span,)
            )
            return
        if self.shape_of(operand) != shape:
            operand = self.emit("broadcast", (operand,), (("shape", shape),), span)
        self.read.add(operand.source)
        self.values[v.name] = Value(
            v.name, "copy", (operand,), Type(kind, shape), axes, (), (), (span,)
        )

    def boundaries(self, v: Variable) -> None:
        """Attach the boundaries of a variable, whose value exists."""

        bounds = []
        for i, b in enumerate(sorted(v.boundaries, key=lambda b: b.span.start)):
            assert b.node is not None
            self.base = f"{v.name}.bound" if i == 0 else f"{v.name}.bound{i + 1}"
            self.deep(b.node)
            start = self.coerce(b.node, _known(v)[1])
            self.read.add(start.source)
            bounds.append(Bound(b.axis, b.step, start))
        self.values[v.name] = replace(self.values[v.name], bounds=tuple(bounds))

    def axes_of(self, v: Variable) -> tuple[str, ...]:
        return (*self._order(v.axes), *((BATCH,) if v.batch else ()))

    def _order(self, axes: Sequence[str] | frozenset[str] | set[str]) -> tuple[str, ...]:
        return tuple(a for a in self.order if a in axes)

    # ---------------------------------------------------------------- nodes

    def shape_of(self, r: Read) -> tuple[Size, ...]:
        if r.source in self.values:
            return self.values[r.source].type.shape
        shape, _ = _known(self.scope.variables[r.source])
        return shape

    def read_axes(self, r: Read) -> set[str]:
        v = self.scope.variables.get(r.source)
        axes = self.axes_of(v) if v is not None else self.values[r.source].axes
        return {r.index(a).base for a in axes if not r.index(a).fixed}

    def emit(
        self,
        op: str,
        reads: Sequence[Read],
        attrs: Attrs = (),
        span: Span | None = None,
        axes: set[str] | None = None,
        of: Type | None = None,
    ) -> Read:
        """Add a value for an operation and give the read of it."""
        operands = [self._type(r) for r in reads]
        type_ = of or OPS[op].rule(operands, dict(attrs))
        if axes is None:
            axes = set().union(*(self.read_axes(r) for r in reads))
        name = self._fresh()
        self.read |= {r.source for r in reads}
        self.values[name] = Value(
            name, op, tuple(reads), type_, self._order(axes), attrs, (), (span,) if span else ()
        )
        return Read(name)

    def _fresh(self) -> str:
        # count.1 is the count of the first loss, also where a value is called count
        base = "count.part" if self.base == "count" else self.base
        while True:
            self.counts[self.base] = self.counts.get(self.base, 0) + 1
            name = f"{base}.{self.counts[self.base]}"
            if name not in self.values and name not in self.scope.variables:
                return name

    def _type(self, r: Read) -> Type:
        if r.source in self.values:
            return self.values[r.source].type
        shape, kind = _known(self.scope.variables[r.source])
        return Type(kind, shape)

    def coerce(self, node: Node, kind: Kind) -> Read:
        """The node's value as that kind; literals are made in it at once."""
        if node.op == "number" and kind in ("real", "index"):
            value = node.attrs["value"]
            literal = float(value) if kind == "real" else value
            return self.emit("constant", (), (("value", literal),), node.span)
        r = self.value(node)
        if self._type(r).kind == "index" and kind == "real":
            return self.emit("to_real", (r,), (), node.span)
        return r

    def value(self, node: Node) -> Read:
        """The read of a node's value, made on first use."""
        if node.op == "read":
            assert node.variable is not None
            return Read(node.variable.name, node.at)
        if node not in self.made:
            name = self._make(node).source
            self.made[node], self.nodes[name] = name, node
        return Read(self.made[node])

    def deep(self, root: Node) -> None:
        """Make some of the values far below a node, so that recursion never gets deep."""
        heights: dict[Node, int] = {}
        for node in walk_nodes([root]):
            heights[node] = 1 + max((heights[a] for a in node.args), default=0)
            if heights[node] % 50 == 0 and node.op in ("map", "product", "concat", "reduce"):
                self.value(node)

    def _make(self, node: Node) -> Read:
        span, args = node.span, node.args
        match node.op:
            case "number":
                return self.coerce(
                    node, "index" if isinstance(node.attrs["value"], int) else "real"
                )
            case "dim":
                return self.emit("size", (), (("size", node.attrs["size"]),), span)
            case "count":
                total: Size = 1
                for s in args[0].shape or ():
                    total = total * s
                return self.emit("size", (), (("size", total),), span)
            case "step":
                axis = node.attrs["axis"]
                return self.emit("step", (), (("axis", axis),), span, {axis}, INDEX)
            case "length":
                return self.emit("length", (), (("axis", node.attrs["axis"]),), span, set())
            case "training":
                return self.emit("training", (), (), span, set(), FLAG)
            case "map":
                return self._map(node)
            case "product":
                return self._product(node)
            case "transpose":
                op = "copy" if args[0].rank == 1 else "transpose"
                return self.emit(op, (self.value(args[0]),), (), span)
            case "concat":
                kind = node.kind or "real"
                return self.emit("concat", [self.coerce(a, kind) for a in args], (), span)
            case "part":
                operand = self.value(args[0])
                size = self.shape_of(operand)[0]
                part: Size = (
                    (size * 1) / node.attrs["of"]
                    if not isinstance(size, int)
                    else (size // node.attrs["of"])
                )
                start = part * node.attrs["part"]
                attrs = (("start", start), ("stop", start + part))
                return self.emit("slice", (operand,), attrs, span)
            case "slice":
                attrs = (("start", node.attrs["start"]), ("stop", node.attrs["stop"]))
                return self.emit("slice", (self.value(args[0]),), attrs, span)
            case "repeat":
                return self.emit(
                    "repeat", (self.value(args[0]),), (("count", node.attrs["count"]),), span
                )
            case "gather":
                return self.emit("gather", (self.value(args[0]), self.value(args[1])), (), span)
            case "onehot":
                return self.emit(
                    "onehot", (self.value(args[0]),), (("size", node.attrs["size"]),), span
                )
            case "arange" | "eye":
                return self.emit(node.op, (), (("size", node.attrs["size"]),), span)
            case "dot":
                return self._contract(args[0], args[1], "i", "i", "", span)
            case "outer":
                return self._contract(args[0], args[1], "i", "j", "ij", span)
            case "diag":
                return self.emit("diag", (self.coerce(args[0], "real"),), (), span)
            case "stop_gradient":
                return self.emit("stop_gradient", (self.value(args[0]),), (), span)
            case "uniform":
                like = self.value(args[0])
                axes = self.read_axes(like)
                return self.emit("uniform", (), (), span, axes, Type("real", self.shape_of(like)))
            case "cross_entropy":
                return self._cross_entropy(args[0], args[1], span)
            case "reduce":
                return self._reduce(node)
        raise InternalError(f"no lowering of {node.op}")

    def _map(self, node: Node) -> Read:
        f, args = node.attrs["f"], node.args
        if f in LOGIC:
            reads = [self.value(a) for a in args]
        elif f == "where":
            kind = node.kind or "real"
            reads = [self.value(args[0]), *(self.coerce(a, kind) for a in args[1:])]
        elif f in COMPARE:
            kinds = {a.kind for a in args}
            kind = "flag" if kinds == {"flag"} else "index" if kinds == {"index"} else "real"
            reads = [self.coerce(a, kind) for a in args]
        else:
            kind = "real" if f in REAL_MAPS else node.kind or "real"
            reads = [self.coerce(a, kind) for a in args]
        return self.emit(f, reads, (), node.span)

    def _product(self, node: Node) -> Read:
        left, right = node.args
        if left.rank == 0 or right.rank == 0:
            kind = node.kind or "real"
            return self.emit(
                "mul", (self.coerce(left, kind), self.coerce(right, kind)), (), node.span
            )
        if node.is_entries:
            reads = (self.coerce(left, "real"), self.coerce(right, "real"))
            return self.emit("mul", reads, (), node.span)
        if left.is_row and right.rank == 1 and not right.is_row:
            letters = ("i", "i", "")
        elif left.rank == 1 and right.is_row:
            letters = ("i", "j", "ij")
        elif left.is_row or node.is_row_product:
            letters = ("i", "ij", "j")
        else:
            letters = ("ij", "j" if right.rank == 1 else "jk", "i" if right.rank == 1 else "ik")
        return self._contract(left, right, *letters, node.span)

    def _contract(
        self, left: Node, right: Node, left_letters: str, right_letters: str, out: str, span: Span
    ) -> Read:
        """A product; transposes of its operands become the order of their letters."""
        if left.op == "transpose":
            left, left_letters = left.args[0], left_letters[::-1]
        if right.op == "transpose":
            right, right_letters = right.args[0], right_letters[::-1]
        attrs = (("left", left_letters), ("right", right_letters), ("out", out), ("over", ()))
        return self.emit(
            "contract", (self.coerce(left, "real"), self.coerce(right, "real")), attrs, span
        )

    def _cross_entropy(self, logits: Node, y: Node, span: Span) -> Read:
        log = self.emit("log_softmax", (self.coerce(logits, "real"),), (("over", ()),), span)
        if y.rank == 0:
            chosen = self.emit("gather", (log, self.value(y)), (), span)
        else:
            weighted = self.emit("mul", (self.coerce(y, "real"), log), (), span)
            chosen = self.emit("sum", (weighted,), (("over", ()),), span)
        return self.emit("neg", (chosen,), (), span)

    def _reduce(self, node: Node) -> Read:
        f, over, arg = node.attrs["f"], node.attrs["over"], node.args[0]
        real = f in ("softmax", "logsumexp", "log_softmax")
        operand = self.coerce(arg, "real" if real else arg.kind or "real")
        axes = self.read_axes(operand)
        if over is None:
            return self.emit(f, (operand,), (("over", ()),), node.span, axes)
        if over not in axes:  # the same at every step of the axis: stretched, then reduced
            type_ = self._type(operand)
            operand = self.emit("copy", (operand,), (), node.span, axes | {over}, type_)
            axes = axes | {over}
        if f not in ("softmax", "log_softmax"):
            axes = axes - {over}
        return self.emit(f, (operand,), (("over", (over,)),), node.span, axes)


def _known(v: Variable) -> tuple[tuple[Size, ...], Kind]:
    if v.shape is None or v.kind is None:
        raise InternalError(f"the type of {v.name} is not known")
    return v.shape, v.kind


def _initialiser(init: tree.Name | tree.Call | None, rank: int) -> Hashable:
    """``("normal", 0.0, ("div", 1, ...))``: the name, then numbers or formulas over dims."""
    if init is None:
        return ("glorot",) if rank >= 2 else ("zeros",)
    if isinstance(init, tree.Name):
        return (init.name,)
    return (init.function, *(_formula(a) for a in init.args))


def _formula(expr: tree.Expr) -> Hashable:
    match expr:
        case tree.Number(value=value):
            return value
        case tree.Name(name="pi"):
            return math.pi
        case tree.Name(name=name):
            return dim(name)
        case tree.Unary(op="-", operand=operand):
            return ("neg", _formula(operand))
        case tree.Binary(op=op, left=left, right=right) if op in BINARY_FORMULA:
            return (BINARY_FORMULA[op], _formula(left), _formula(right))
        case tree.Call(function=f, args=(arg,)) if f in ("sqrt", "exp", "log"):
            return (f, _formula(arg))
    raise InternalError(f"not a number: {expr}")
