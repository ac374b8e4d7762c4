"""Shapes and kinds of all nodes, by unification over named dims.

Shapes flow both ways through every operation until nothing changes; what is open then is
settled by the reading a person would choose (an undeclared ``W`` before a vector is a matrix),
one guess at a time, the surest first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rnnc.graph.build.nodes import Node
from rnnc.graph.build.scope import Problems, Scope, Variable
from rnnc.graph.ops import show_shape
from rnnc.graph.types import Dim, Kind, Size, dim, divide, names_of, sign, substitute
from rnnc.source import Span

Shape = tuple[Size, ...]

REAL_MAPS = {"exp", "log", "sqrt", "sin", "cos", "tanh", "sigmoid", "softplus", "relu", "erf",
             "floor", "div", "pow"}  # fmt: skip
COMPARE = {"eq", "ne", "lt", "le", "gt", "ge"}
LOGIC = {"and", "or", "not"}


class Mismatch(Exception):
    """Two sizes or ranks that cannot be the same."""

    def __init__(self, code: str = "RNN030"):
        self.code = code


class Inference:
    """Solves for the shapes and kinds of a model's nodes."""

    def __init__(self, scope: Scope, nodes: Sequence[Node]):
        self.scope = scope
        self.problems: Problems = scope.problems
        self.nodes = [n for n in nodes if n.op != "bad"]
        self.bindings: dict[str, Size] = {}  # what flexible dims turned out to be
        self.count = 0
        self.changed = False
        self.failed: set[int] = set()

    # ---------------------------------------------------------------- sizes

    def resolve(self, size: Size) -> Size:
        """A size with everything known of flexible dims put in."""
        while names_of(size) & self.bindings.keys():
            size = substitute(size, self.bindings)
        return size

    def shape(self, node: Node) -> Shape | None:
        return None if node.shape is None else tuple(self.resolve(s) for s in node.shape)

    def new_size(self) -> Size:
        self.count += 1
        return dim(f"?{self.count}")

    def flexible(self, name: str) -> bool:
        return name.startswith("?") or (name in self.scope.flexible and name not in self.bindings)

    def unify(self, a: Size, b: Size) -> None:
        """Make two sizes equal, or raise Mismatch."""
        a, b = self.resolve(a), self.resolve(b)
        if a == b:
            return
        for left, right in ((a, b), (b, a)):
            solved = self._solve(left, right)
            if solved:
                name, value = solved
                known = self.scope.value_of(value)
                if isinstance(known, int) and known < 1:
                    raise Mismatch
                self.bindings[name] = value
                self.changed = True
                return
        x, y = self.scope.value_of(a), self.scope.value_of(b)
        # equal numbers will do where one side is a number or a formula; two declared sizes
        # that only happen to be equal today are still two sizes
        if x == y and not (_is_name(a) and _is_name(b)):
            return
        open_dims = [n for n in names_of(x) | names_of(y) if not n.startswith("?")]
        if isinstance(x, int) != isinstance(y, int) and len(open_dims) == 1:
            # a dim that data would give meets a number: that number it is
            solved = self._solve(x, y, force=True) or self._solve(y, x, force=True)
            if solved and isinstance(solved[1], int) and solved[1] > 0:
                self.scope.dims[solved[0]] = solved[1]
                self.changed = True
                return
        raise Mismatch

    def _solve(self, left: Size, right: Size, force: bool = False) -> tuple[str, Size] | None:
        """The flexible dim in ``left`` for which ``left == right``, where that is one division."""
        if not isinstance(left, Dim):
            return None
        for name in sorted(left.names, key=lambda n: (not n.startswith("?"), n)):
            if not force and not self.flexible(name):
                continue
            rest: Size = 0
            factor: Size = 0
            for monomial, number in left.terms:
                exponents = dict(monomial)
                term = Dim(((monomial, number),))
                if exponents.get(name) == 1:
                    factor = factor + divide(term, dim(name))
                elif name in exponents:
                    break
                else:
                    rest = rest + term
            else:
                if names_of(right) & {name}:
                    continue
                try:
                    value = divide(right - rest, factor)
                except (ValueError, ZeroDivisionError):
                    continue
                if isinstance(value, int) or all(
                    n.denominator == 1 and all(e > 0 for _, e in m) for m, n in value.terms
                ):
                    return name, value
        return None

    def unify_shapes(self, a: Shape, b: Shape) -> None:
        if len(a) != len(b):
            raise Mismatch("RNN031")
        for x, y in zip(a, b, strict=True):
            self.unify(x, y)

    def give(self, node: Node, shape: Shape) -> None:
        """The node has this shape."""
        if node.bad:
            return
        current = node.shape
        if current is None:
            node.shape = shape
            self.changed = True
        else:
            self.unify_shapes(current, shape)

    # ---------------------------------------------------------------- the solver

    def run(self) -> None:
        """Find all shapes and kinds, reporting what does not fit or stays open."""
        self._propagate()
        while self._guess():
            self._propagate()
        self._report_open()
        self._kinds()

    def _propagate(self) -> None:
        self.changed = True
        while self.changed:
            self.changed = False
            for node in self.nodes:
                self._step(node)
            for v in self.scope.variables.values():
                self._variable(v)

    def _step(self, node: Node) -> None:
        if id(node) in self.failed or any(a.bad for a in node.args):
            return
        rule = RULES.get(node.op)
        if rule is None:
            return
        try:
            rule(self, node)
        except Mismatch as mismatch:
            self.failed.add(id(node))
            self._report(node, mismatch)

    def _variable(self, v: Variable) -> None:
        if v.bad:
            return
        if v.node is not None and v.node.op != "bad" and id(v.node) not in self.failed:
            self._equal(v, v.node, v.span, fills=v.fills)
        for b in v.boundaries:
            if b.node is not None and b.node.op != "bad" and id(b.node) not in self.failed:
                self._equal(v, b.node, b.span, fills=True)

    def _equal(self, v: Variable, node: Node, span: Span, fills: bool) -> None:
        shape = node.shape
        try:
            if v.shape is None:
                if shape is not None and (shape or not fills):
                    v.shape = shape
                    self.changed = True
            elif shape is None:
                if not (fills and v.shape) and not node.bad:
                    self.give(node, v.shape)
            elif not (fills and not shape):
                self.unify_shapes(v.shape, shape)
        except Mismatch as mismatch:
            self.failed.add(id(node))
            v.bad = True
            self.problems.add(
                mismatch.code,
                f"`{v.name}` is {self.text(v.shape)}, but this is {self.text(shape)}",
                node.span,
                labels=[(v.span, f"`{v.name}` is {self.text(v.shape)}")],
            )

    def _guess(self) -> bool:
        """Settle one open shape by the likeliest reading; False where there is none left."""
        unknown = [n for n in self.nodes if n.shape is None and not n.bad
                   and id(n) not in self.failed]
        if self._guess_state():
            return True
        for choose in (_guess_vector, _guess_matrix, _guess_same):
            for node in self.nodes:
                if id(node) not in self.failed and choose(self, node):
                    return True
        for node in unknown:  # a state with no evidence of a shape is a number
            v = node.variable
            if v is not None and v.role in ("equation", "input", "target") and v.shape is None:
                v.shape = ()
                return True
        return False

    def _guess_state(self) -> bool:
        """A state is what its equation makes of everything but the state itself.

        ``m[t] = max(f[t] + m[t-1], i[t])`` with numbers f and i is a number: the least solution,
        found by leaving open states out of elementwise operations.
        """
        states = [
            v
            for v in self.scope.variables.values()
            if v.shape is None and v.role == "equation" and not v.bad and v.node is not None
        ]
        while states:
            least = self._least_shapes(states)
            told = [v for v in states if v.node and self._least(v.node, least) is not _OPEN]
            if len(told) == len(states):
                break
            states = told  # the others wait for something else than themselves
        for v in states:
            shape = least[v]
            if shape is not None and v.part is None:
                v.shape = shape
                return True
        return False

    def _least_shapes(self, states: Sequence[Variable]) -> dict[object, Shape | None]:
        """The least shapes of nodes and open states; None is nothing yet, absent is open."""
        least: dict[object, Shape | None] = dict.fromkeys(states)
        changed = True
        while changed:
            changed = False
            for node in self.nodes:
                found = self._least(node, least)
                if found is not _OPEN and least.get(node, _OPEN) != found:
                    least[node] = found  # type: ignore[assignment]
                    changed = True
            for v in states:
                found = least.get(v.node)
                if least[v] is None and found is not None:
                    least[v] = found
                    changed = True
        return least

    def _least(self, node: Node, least: dict[object, Shape | None]) -> object:
        """The shape of a node with open states left out: None if it is nothing but those,
        ``_OPEN`` where it cannot be told."""
        if node.variable is not None:
            return node.shape if node.shape is not None else least.get(node.variable, _OPEN)
        if node.shape is not None:
            return self.shape(node)
        if node.op != "map":
            return _OPEN
        shapes = [self._least(a, least) if a.variable else least.get(a, a.shape or _OPEN)
                  if a.shape is None else self.shape(a) for a in node.args]
        if any(s is _OPEN for s in shapes):
            return _OPEN
        known = [s for s in shapes if s is not None]
        full = [s for s in known if s]
        if not known:
            return None
        return max(full, key=lambda s: sum(x != 1 for x in s)) if full else ()  # type: ignore[attr-defined, arg-type]

    # ---------------------------------------------------------------- reports

    def text(self, shape: Shape | None) -> str:
        """A shape for a message."""
        if shape is None:
            return "of unknown shape"
        if not shape:
            return "a scalar"
        sizes = [self.resolve(s) for s in shape]
        return show_shape(["?" if str(s).startswith("?") else s for s in sizes])  # type: ignore[misc]

    def _report(self, node: Node, mismatch: Mismatch) -> None:
        labels = []
        for arg in node.args:
            if arg.shape is not None:
                what = f"`{_short(arg.span.text)}` is {self.text(arg.shape)}"
                labels.append((arg.span, what))
                v = arg.variable
                if v is not None and v.span.line != node.span.line:
                    labels.append((v.span, f"`{v.name}` is {self.text(v.shape)} here"))
        if mismatch.code == "RNN032":
            self.problems.add(
                "RNN032",
                "a vector times a vector can mean three things",
                node.span,
                labels=labels,
                hint="`*` multiplies the entries, dot(u, v) gives a number, outer(u, v) a matrix",
            )
            return
        what = "the sizes do not fit" if mismatch.code == "RNN030" else "the ranks do not fit"
        hint = None
        if node.op == "product":
            left, right = node.args
            a, b = self.shape(left), self.shape(right)
            if a and b and len(a) == 2:
                used = show_shape([a[0], b[0]])
                what = (f"`{_short(left.span.text)}` is {self.text(a)} but is used as "
                        f"{used.replace('?', '')}")
                if a[0] == b[0]:
                    hint = f"did you mean {_short(left.span.text)}.T?"
            elif a and b and len(a) == 1:
                what = "a vector stands before a matrix"
                hint = "the matrix comes first: W x, or W.T x for the transposed one"
        elif node.op == "map" and mismatch.code == "RNN031":
            hint = ("a missing feature dimension does not broadcast; outer(u, v) and diag(v) "
                    "make matrices of vectors")
        self.problems.add(mismatch.code, what, node.span, labels=labels, hint=hint)

    def _report_open(self) -> None:
        if self.problems.found:
            return  # what is open may well follow from those
        for v in self.scope.variables.values():
            if v.shape is None:
                if v.role == "param":
                    self.problems.add(
                        "RNN034",
                        f"the equations do not determine the shape of `{v.name}`",
                        v.span,
                        hint=f"declare it: param {v.name} : [m, n]",
                    )
                else:
                    self.problems.add(
                        "RNN034", f"the shape of `{v.name}` stays open", v.span
                    )
                continue
            v.shape = tuple(self.resolve(s) for s in v.shape)
            if any(n.startswith("?") for s in v.shape for n in names_of(s)):
                self.problems.add(
                    "RNN035",
                    f"the equations do not determine all sizes of `{v.name}`: it is "
                    f"{self.text(v.shape)}",
                    v.span,
                    hint=f"declare its shape, such as {v.role} {v.name} : [m, n]"
                    if v.role == "param" else "declare the shapes of the params it is made of",
                )
        for name, size in self.bindings.items():
            if name in self.scope.dims:
                self.scope.dims[name] = self.resolve(size)

    # ---------------------------------------------------------------- kinds

    def _kinds(self) -> None:
        """Whole numbers stay whole through + - * and %; a fixed point, starting from nothing."""
        changed = True
        while changed:
            changed = False
            for node in self.nodes:
                kind = _kind(node)
                if kind is not None and node.variable is None and kind != node.own_kind:
                    node.own_kind = kind
                    changed = True
            for v in self.scope.variables.values():
                if v.role in ("equation", "const") and v.kind != "real":
                    kinds = [n.kind for n in (v.node, *(b.node for b in v.boundaries)) if n]
                    kind = _join(kinds)
                    if kind is not None and kind != v.kind and (v.kind is None or kind == "real"):
                        v.kind = kind
                        changed = True
        for v in self.scope.variables.values():
            v.kind = v.kind or "real"
        for node in self.nodes:
            if node.variable is None and node.own_kind is None:
                node.own_kind = "real"
        for node in self.nodes:
            if not node.bad and not any(a.bad for a in node.args):
                self._check_kinds(node)
        for v in self.scope.variables.values():
            for n in (v.node, *(b.node for b in v.boundaries)):
                if n is None or n.bad or v.bad:
                    continue
                flags = (n.kind == "flag", v.kind == "flag")
                if flags[0] != flags[1]:
                    self._wrong(n, f"`{v.name}` is {_KIND[v.kind]}, and this {_KIND[n.kind]}")
                elif v.role in ("input", "target") and v.kind == "index" and n.kind == "real":
                    self._wrong(n, f"`{v.name}` is a whole number, and this is real")

    def _wrong(self, node: Node, message: str, hint: str | None = None) -> None:
        self.problems.add("RNN033", message, node.span, hint=hint)

    def _check_kinds(self, node: Node) -> None:
        kinds = [a.kind for a in node.args]
        flag_hint = "a flag becomes a number by where(flag, 1, 0)"
        if node.op == "map":
            f = node.attrs["f"]
            if f in LOGIC:
                for a in node.args:
                    if a.kind != "flag":
                        self._wrong(a, f"`{f}` joins conditions, and this is {_KIND[a.kind]}",
                                    "compare it with something: x > 0")
            elif f == "where":
                if kinds[0] != "flag":
                    self._wrong(node.args[0], f"this is {_KIND[kinds[0]]}, not a condition",
                                "compare it with something: x > 0")
                if (kinds[1] == "flag") != (kinds[2] == "flag"):
                    self._wrong(node, "one branch is a flag, the other a number", flag_hint)
            elif f in ("eq", "ne") and kinds == ["flag", "flag"]:
                pass
            else:
                for a in node.args:
                    if a.kind == "flag":
                        self._wrong(a, "this is a flag where a number is expected", flag_hint)
        elif node.op == "gather":
            if kinds[1] != "index":
                self._wrong(node.args[1], f"an index is a whole number, and this is "
                            f"{_KIND[kinds[1]]}", "declare it as index(k)")
        elif node.op == "onehot":
            if kinds[0] != "index":
                self._wrong(node.args[0], f"onehot takes an index, and this is {_KIND[kinds[0]]}")
        elif node.op in ("concat",):
            if "flag" in kinds and set(kinds) != {"flag"}:
                self._wrong(node, "flags and numbers do not join", flag_hint)
        elif node.op not in ("part", "slice", "repeat", "transpose", "stop_gradient", "uniform",
                             "count", "diag"):
            for a in node.args:
                if a.kind == "flag":
                    self._wrong(a, "this is a flag where a number is expected", flag_hint)


_OPEN = object()
_KIND = {"real": "a real number", "index": "a whole number", "flag": "a flag", None: "unknown"}


def _is_name(size: Size) -> bool:
    return isinstance(size, Dim) and size == dim(next(iter(size.names), ""))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 40 else text[:37] + "…"


def _join(kinds: Sequence[Kind | None]) -> Kind | None:
    known = {k for k in kinds if k}
    if "flag" in known:
        return "flag"
    return "real" if "real" in known else "index" if known else None


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
            return _join(kinds[1:] if f == "where" else kinds)
        case "reduce":
            f = node.attrs["f"]
            return "index" if f == "argmax" else kinds[0] if f in ("sum", "max", "min") else "real"
        case "product":
            scalars = all(a.shape == () for a in node.args)
            return _join(kinds) if scalars else "real"
        case "concat":
            return _join(kinds)
        case "part" | "slice" | "repeat" | "transpose" | "diag" | "gather" | "stop_gradient":
            return kinds[0]
        case _:
            return "real"


# ---------------------------------------------------------------- shape rules


def _map_rule(self: Inference, node: Node) -> None:
    shapes = [self.shape(a) for a in node.args]
    result = self.shape(node)
    if result == ():
        for a in node.args:
            self.give(a, ())
        return
    full = [s for s in shapes if s]
    if not full:
        if all(s is not None for s in shapes):
            self.give(node, ())
        return
    rank = len(full[0])
    if any(len(s) != rank for s in full) or (result is not None and len(result) != rank):
        raise Mismatch("RNN031")
    complete = all(s is not None for s in shapes)
    out: list[Size] = []
    for i in range(rank):
        sizes = [s[i] for s in full]
        wide = [s for s in sizes if s != 1]
        for other in wide[1:]:
            self.unify(wide[0], other)
        if wide:
            out.append(wide[0])
        elif complete:
            out.append(1)
        else:
            return  # a length of 1 may stretch to what is still unknown
    self.give(node, tuple(out))


def _product_rule(self: Inference, node: Node) -> None:
    left, right = node.args
    a, b, r = self.shape(left), self.shape(right), self.shape(node)
    if a == () or b == ():
        other, shape = (right, b) if a == () else (left, a)
        if shape is not None:
            self.give(node, shape)
        elif r is not None:
            self.give(other, r)
        return
    if a is None:
        return
    if b is None:
        if len(a) == 2 and not left.is_row and r is not None and len(r) == 1:
            self.unify(a[0], r[0])
            self.give(right, (a[1],))
        return
    if left.is_row and len(b) == 1 and not right.is_row:  # vᵀ u
        self.unify(a[0], b[0])
        self.give(node, ())
    elif len(a) == 1 and right.is_row:  # u vᵀ
        self.give(node, (a[0], b[0]))
    elif left.is_row and len(b) == 2:  # vᵀ W, a row again
        self.unify(a[0], b[0])
        self.give(node, (b[1],))
    elif len(a) == 2 and len(b) in (1, 2):
        self.unify(a[1], b[0])
        self.give(node, (a[0], *b[1:]))
    elif len(a) == 1 and len(b) == 1:
        raise Mismatch("RNN032")
    else:
        raise Mismatch("RNN031")


def _transpose_rule(self: Inference, node: Node) -> None:
    (a,) = node.args
    shape, result = self.shape(a), self.shape(node)
    if shape is not None:
        if not 1 <= len(shape) <= 2:
            raise Mismatch("RNN031")
        self.give(node, shape[::-1] if len(shape) == 2 else shape)
    elif result is not None and len(result) == 2:
        self.give(a, result[::-1])


def _concat_rule(self: Inference, node: Node) -> None:
    shapes = [self.shape(a) for a in node.args]
    result = self.shape(node)
    known = [s for s in shapes if s is not None]
    if any(len(s) > 1 for s in known):
        raise Mismatch("RNN031")
    total: Size = 0
    for s in known:
        total = total + (s[0] if s else 1)
    if len(known) == len(shapes):
        self.give(node, (total,))
    elif result is not None and len(known) == len(shapes) - 1:
        rest = result[0] - total
        if sign(rest) == 1 and rest != 1:
            self.give(node.args[shapes.index(None)], (rest,))


def _part_rule(self: Inference, node: Node) -> None:
    (a,) = node.args
    shape, result, count = self.shape(a), self.shape(node), node.attrs["of"]
    if shape is not None:
        if not shape:
            raise Mismatch("RNN031")
        size = shape[0]
        if isinstance(size, Dim) and len(size.names) == 1 and str(size).startswith("?"):
            part = result[0] if result else self.new_size()
            self.unify(size, part * count)
            size = self.resolve(size)
        part = divide(size, count)
        value = self.scope.value_of(part)
        if isinstance(value, Dim) and not value.names:
            self.failed.add(id(node))
            self.problems.add(
                "RNN036", f"{size} cannot be split into {count} equal parts", node.span
            )
            return
        self.give(node, (part, *shape[1:]))
    elif result is not None and result:
        self.give(a, (result[0] * count, *result[1:]))


def _slice_rule(self: Inference, node: Node) -> None:
    shape = self.shape(node.args[0])
    start, stop = node.attrs["start"], node.attrs["stop"]
    if shape is None:
        return
    if not shape:
        raise Mismatch("RNN031")
    low, length = self.scope.value_of(start), self.scope.value_of(stop - start)
    room = self.scope.value_of(self.resolve(shape[0]) - stop)
    if sign(low) == -1 or sign(length) in (0, -1) or sign(room) == -1:
        self.failed.add(id(node))
        self.problems.add(
            "RNN036",
            f"no part {start} to {stop} of {show_shape(shape)}: parts count from 0, the end is "
            "excluded",
            node.span,
        )
        return
    self.give(node, (stop - start, *shape[1:]))


def _repeat_rule(self: Inference, node: Node) -> None:
    shape = self.shape(node.args[0])
    if shape is not None:
        if len(shape) != 1:
            raise Mismatch("RNN031")
        self.give(node, (shape[0] * node.attrs["count"],))


def _gather_rule(self: Inference, node: Node) -> None:
    table, index = node.args
    shape, result = self.shape(table), self.shape(node)
    self.give(index, ())
    limit = index.variable.range if index.variable is not None else None
    if shape is None:
        if result is not None and limit is not None:
            self.give(table, (limit, *result))
        return
    if not shape:
        raise Mismatch("RNN031")
    if limit is not None:
        rows, top = self.scope.value_of(shape[0]), self.scope.value_of(self.resolve(limit))
        if any(self.flexible(n) for n in names_of(self.resolve(shape[0]))):
            self.unify(shape[0], limit)
        elif not (isinstance(rows, int) and isinstance(top, int) and rows >= top):
            try:
                self.unify(shape[0], limit)
            except Mismatch:
                self.failed.add(id(node))
                self.problems.add(
                    "RNN030",
                    f"`{_short(table.span.text)}` has {shape[0]} rows, but the index counts to "
                    f"{limit}",
                    node.span,
                )
                return
    self.give(node, shape[1:])


def _cross_entropy_rule(self: Inference, node: Node) -> None:
    logits, y = node.args
    shape, target = self.shape(logits), self.shape(y)
    if shape is not None and len(shape) != 1:
        raise Mismatch("RNN031")
    if shape is not None and target is not None:
        if len(target) == 1:
            self.unify(shape[0], target[0])
        elif y.variable is not None and y.variable.range is not None:
            self.unify(shape[0], y.variable.range)
    self.give(node, ())


def _dot_rule(self: Inference, node: Node) -> None:
    a, b = self.shape(node.args[0]), self.shape(node.args[1])
    self.give(node, ())
    if a is not None and b is not None:
        if len(a) != 1 or len(b) != 1:
            raise Mismatch("RNN031")
        self.unify(a[0], b[0])
    elif a is not None or b is not None:
        self.give(node.args[1 if b is None else 0], a or b or ())


def _outer_rule(self: Inference, node: Node) -> None:
    a, b = self.shape(node.args[0]), self.shape(node.args[1])
    result = self.shape(node)
    if a is not None and b is not None:
        if len(a) != 1 or len(b) != 1:
            raise Mismatch("RNN031")
        self.give(node, (a[0], b[0]))
    elif result is not None and len(result) == 2:
        self.give(node.args[0], (result[0],))
        self.give(node.args[1], (result[1],))


def _diag_rule(self: Inference, node: Node) -> None:
    a, result = self.shape(node.args[0]), self.shape(node)
    if a is not None:
        if len(a) != 1:
            raise Mismatch("RNN031")
        self.give(node, (a[0], a[0]))
    elif result is not None and len(result) == 2:
        self.give(node.args[0], (result[0],))


def _reduce_rule(self: Inference, node: Node) -> None:
    (a,) = node.args
    if node.attrs["over"] is not None:
        _same_rule(self, node)
    elif node.attrs["f"] == "softmax":
        shape = self.shape(a)
        if shape == ():
            raise Mismatch("RNN031")
        _same_rule(self, node)
    else:
        self.give(node, ())


def _same_rule(self: Inference, node: Node) -> None:
    (a,) = node.args
    if a.shape is not None:
        self.give(node, a.shape)
    elif node.shape is not None:
        self.give(a, node.shape)


def _scalar_rule(self: Inference, node: Node) -> None:
    self.give(node, ())


def _sized_rule(self: Inference, node: Node) -> None:
    size = node.attrs["size"]
    self.give(node, (size, size) if node.op == "eye" else (size,))
    for a in node.args:
        self.give(a, ())


RULES: dict[str, Callable[[Inference, Node], None]] = {
    "number": _scalar_rule,
    "dim": _scalar_rule,
    "step": _scalar_rule,
    "length": _scalar_rule,
    "count": _scalar_rule,
    "training": _scalar_rule,
    "map": _map_rule,
    "product": _product_rule,
    "transpose": _transpose_rule,
    "concat": _concat_rule,
    "part": _part_rule,
    "slice": _slice_rule,
    "repeat": _repeat_rule,
    "gather": _gather_rule,
    "cross_entropy": _cross_entropy_rule,
    "onehot": _sized_rule,
    "arange": _sized_rule,
    "eye": _sized_rule,
    "dot": _dot_rule,
    "outer": _outer_rule,
    "diag": _diag_rule,
    "reduce": _reduce_rule,
    "stop_gradient": _same_rule,
    "uniform": _same_rule,
}


# ---------------------------------------------------------------- guesses


def _guess_vector(self: Inference, node: Node) -> bool:
    """A matrix stands before a vector."""
    if node.op != "product" or node.args[1].shape is not None or node.args[1].bad:
        return False
    a = self.shape(node.args[0])
    if a is None or len(a) != 2 or node.args[0].is_row:
        return False
    self.give(node.args[1], (a[1],))
    return True


def _guess_matrix(self: Inference, node: Node) -> bool:
    """What stands before a vector or a matrix is a matrix."""
    if node.op != "product" or node.args[0].shape is not None or node.args[0].bad:
        return False
    b, r = self.shape(node.args[1]), self.shape(node)
    if not b or (r is not None and len(r) != len(b)):
        return False
    self.give(node.args[0], (r[0] if r else self.new_size(), b[0]))
    return True


def _guess_same(self: Inference, node: Node) -> bool:
    """What is added to a vector is a vector of that length."""
    if node.op != "map":
        return False
    result = self.shape(node)
    for a in node.args:
        if a.shape is None and not a.bad and result:
            self.give(a, result)
            return True
    return False
