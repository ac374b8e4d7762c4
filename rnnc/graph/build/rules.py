"""What each operation says of the shapes of its operands and its result, in both directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rnnc.graph.build.mismatch import Mismatch, Shape
from rnnc.graph.build.nodes import Node
from rnnc.graph.build.problems import head, shape_text, shape_words, short
from rnnc.graph.types import Dim, Size, divide, names_of, sign

if TYPE_CHECKING:
    from rnnc.graph.build.infer import Inference


def _takes(self: Inference, node: Node, rank: int, name: str) -> Shape | None:
    """The operand's shape if it is known, and a vector (rank 1) or a matrix (rank 2)."""
    shape = self.shape(node)
    if shape is not None and len(shape) != rank:
        wanted = {0: "one number", 1: "a vector", 2: "a matrix"}[rank]
        text = short(node.span.text)
        message = f"{name} takes {wanted}, and `{text}` is {shape_text(shape)}"
        raise Mismatch("RNN031", message, node.span)
    return shape


def _map(self: Inference, node: Node) -> None:
    _check_power(self, node)
    _entries(self, node)


def _entries(self: Inference, node: Node) -> None:
    """Entry by entry; numbers and lengths of 1 stretch."""
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
    if any(len(s) != rank for s in full):
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
        elif result is not None and len(result) != rank:
            raise Mismatch("RNN031")
        else:
            return  # a length of 1 may stretch to what is still unknown
    self.give(node, tuple(out))


def _check_power(self: Inference, node: Node) -> None:
    """``W^T`` is meant to be a transpose, but ``T`` is the number of steps."""
    if node.attrs["f"] == "pow" and node.args[1].op == "length" and self.shape(node.args[0]):
        base, power = (short(a.span.text) for a in node.args)
        raise Mismatch(
            "RNN031",
            f"`{power}` is the number of steps here, and no transpose",
            node.span,
            f"a transpose is written {base}.T; for a power, give the number a name of its own",
        )


def _product(self: Inference, node: Node) -> None:
    left, right = node.args
    a, b, r = self.shape(left), self.shape(right), self.shape(node)
    _check_order(node, a)
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
    elif node.is_entries:
        _entries(self, node)
    elif node.is_row_product:
        self.unify(a[0], b[0])
        self.give(node, (b[1],))
    elif len(a) == 1 and len(b) == 1:
        raise Mismatch("RNN032")
    else:
        raise Mismatch("RNN031")


def _check_order(node: Node, shape: Shape | None) -> None:
    """``u^\\top v w`` and ``W x z``: which product comes first makes a difference."""
    left, right = node.args
    if not node.attrs["entries"] or right.op != "product" or not right.is_entries or not shape:
        return
    bare = not right.span.text.startswith(("(", "[", "\\left", "{"))
    if bare and (left.is_row or len(shape) == 2):
        u, v, w = (short(n.span.text) for n in (left, *right.args))
        message = f"`{short(node.span.text)}` can mean two things"
        hint = f"write ({u} {v}) {w}, or {u} ({v} \\odot {w})"
        raise Mismatch("RNN032", message, node.span, hint)


def _transpose(self: Inference, node: Node) -> None:
    (a,) = node.args
    shape, result = self.shape(a), self.shape(node)
    if shape is not None:
        if not 1 <= len(shape) <= 2:
            message = f"only a matrix or a vector has a transpose, and this is {shape_text(shape)}"
            raise Mismatch("RNN031", message, a.span)
        self.give(node, tuple(reversed(shape)))
    elif result is not None and len(result) == 2:
        self.give(a, result[::-1])


def _concat(self: Inference, node: Node) -> None:
    shapes = [self.shape(a) for a in node.args]
    result = self.shape(node)
    known = [s for s in shapes if s is not None]
    ranks = {max(len(s), 1) for s in known}
    if len(ranks) > 1 or max(ranks, default=1) > 2:
        hint = "vectors join to a longer vector, matrices of one width to a higher matrix"
        words = " and ".join(dict.fromkeys(map(shape_words, known)))
        raise Mismatch("RNN031", f"{words} cannot be joined", node.span, hint)
    tail = known[0][1:] if known else ()  # of matrices: one stands below the other
    for other in known[1:]:
        if tail:
            self.unify(tail[0], other[1])
    total: Size = 0
    for s in known:
        total = total + (s[0] if s else 1)
    if len(known) == len(shapes):
        self.give(node, (total, *tail))
    elif result is not None and len(known) == len(shapes) - 1 and len(result) == len(tail) + 1:
        rest = result[0] - total
        if sign(rest) == 1 and rest != 1:
            self.give(node.args[shapes.index(None)], (rest, *result[1:]))


def _part(self: Inference, node: Node) -> None:
    (a,) = node.args
    shape, result, count = self.shape(a), self.shape(node), node.attrs["of"]
    if shape is not None:
        if not shape:
            raise Mismatch("RNN031", "split takes a vector, and this is a scalar", a.span)
        size = shape[0]
        if isinstance(size, Dim) and len(size.names) == 1 and str(size).startswith("?"):
            part = result[0] if result else self.new_size()
            self.unify(size, part * count)
            size = self.resolve(size)
        part = divide(size, count)
        value = self.dims.value_of(part)
        if isinstance(value, Dim) and not value.names:
            message = f"{self.dims.text(size)} cannot be split into {count} equal parts"
            raise Mismatch("RNN036", message, a.span)
        self.give(node, (part, *shape[1:]))
    elif result is not None and result:
        self.give(a, (result[0] * count, *result[1:]))


def _slice(self: Inference, node: Node) -> None:
    shape = self.shape(node.args[0])
    start, stop = node.attrs["start"], node.attrs["stop"]
    if shape is None:
        return
    name = short(node.args[0].span.text)
    if not shape:
        raise Mismatch(
            "RNN031", f"slice takes a vector, and `{name}` is a scalar", node.args[0].span
        )
    size = self.resolve(shape[0])
    low, length = self.dims.value_of(start), self.dims.value_of(stop - start)
    room = self.dims.value_of(size - stop)
    hint = f"entries count from 0, the end is excluded: all of them are slice({name}, 0, {size})"
    if sign(low) == -1 or sign(room) == -1:
        message = f"`{name}` has {self.dims.text(size)} entries: there is no part {start} to {stop}"
        raise Mismatch("RNN036", message, node.span, hint)
    if sign(length) in (0, -1):
        raise Mismatch("RNN036", f"the part {start} to {stop} is empty", node.span, hint)
    self.give(node, (stop - start, *shape[1:]))


def _repeat(self: Inference, node: Node) -> None:
    count = self.dims.value_of(node.attrs["count"])
    if sign(count) in (0, -1):
        raise Mismatch("RNN036", f"nothing is repeated {count} times", node.span)
    shape = _takes(self, node.args[0], 1, "repeat")
    if shape is not None:
        self.give(node, (shape[0] * node.attrs["count"],))


def _gather(self: Inference, node: Node) -> None:
    table, index = node.args
    shape, result = self.shape(table), self.shape(node)
    found = self.shape(index)
    if found:
        message = f"a table is looked up by one index, and this is {shape_text(found)}"
        raise Mismatch("RNN031", message, index.span)
    self.give(index, ())
    limit = index.variable.range if index.variable is not None else None
    if shape is None:
        if result is not None and limit is not None:
            self.give(table, (limit, *result))
        return
    if not shape:
        if table.span == node.span and table.args:  # a likelihood: log(p)[y]
            _takes(self, table.args[0], 1, head(node.span).text)
        message = f"`{short(table.span.text)}` is a scalar and has no rows"
        raise Mismatch("RNN031", message, table.span)
    if limit is not None:
        _check_rows(self, node, shape, limit)
    row, rows = index.whole, self.dims.value_of(self.resolve(shape[0]))
    if row is not None and (row < 0 or (isinstance(rows, int) and row >= rows)):
        name = short(table.span.text)
        message = f"`{name}` has {self.dims.text(shape[0])} rows, from 0: there is no row {row}"
        raise Mismatch("RNN030", message, index.span)
    self.give(node, shape[1:])


def _check_rows(self: Inference, node: Node, shape: Shape, limit: Size) -> None:
    """A table has a row for every index."""
    rows, top = self.dims.value_of(shape[0]), self.dims.value_of(self.resolve(limit))
    settled = not any(self.flexible(n) for n in names_of(self.resolve(shape[0])))
    if settled and isinstance(rows, int) and isinstance(top, int) and rows >= top:
        return
    try:
        self.unify(shape[0], limit)
    except Mismatch:
        table, index = (short(a.span.text) for a in node.args)
        message = (
            f"`{table}` has {self.dims.text(shape[0])} rows, but `{index}` counts up to "
            f"{self.dims.text(limit)}"
        )
        hint = None
        if len(shape) == 2 and shape[1] == limit:
            hint = f"a table has a row for each index: [{shape[1]}, {shape[0]}]"
        raise Mismatch("RNN030", message, node.span, hint) from None


def _cross_entropy(self: Inference, node: Node) -> None:
    logits, y = node.args
    shape, target = _takes(self, logits, 1, "cross_entropy"), self.shape(y)
    if shape is not None and target is not None:
        if len(target) == 1:
            self.unify(shape[0], target[0])
        elif y.variable is not None and y.variable.range is not None:
            self.unify(shape[0], y.variable.range)
    self.give(node, ())


def _dot(self: Inference, node: Node) -> None:
    a, b = (_takes(self, x, 1, "dot") for x in node.args)
    self.give(node, ())
    if a is not None and b is not None:
        self.unify(a[0], b[0])
    elif a is not None or b is not None:
        self.give(node.args[1 if b is None else 0], a or b or ())


def _outer(self: Inference, node: Node) -> None:
    a, b = (_takes(self, x, 1, "outer") for x in node.args)
    result = self.shape(node)
    if a is not None and b is not None:
        self.give(node, (a[0], b[0]))
    elif result is not None and len(result) == 2:
        self.give(node.args[0], (result[0],))
        self.give(node.args[1], (result[1],))


def _diag(self: Inference, node: Node) -> None:
    a, result = _takes(self, node.args[0], 1, "diag"), self.shape(node)
    if a is not None:
        self.give(node, (a[0], a[0]))
    elif result is not None and len(result) == 2:
        self.give(node.args[0], (result[0],))


def _reduce(self: Inference, node: Node) -> None:
    (a,) = node.args
    over, f = node.attrs["over"], node.attrs["f"]
    if over is not None:
        _same(self, node)
    elif f == "softmax":
        if self.shape(a) == ():
            message = f"softmax takes a vector, and `{short(a.span.text)}` is a scalar"
            hint = "of one number it is 1; over the steps it is softmax[t](…)"
            raise Mismatch("RNN031", message, a.span, hint)
        _same(self, node)
    else:
        self.give(node, ())


def _same(self: Inference, node: Node) -> None:
    (a,) = node.args
    if a.shape is not None:
        self.give(node, a.shape)
    elif node.shape is not None:
        self.give(a, node.shape)


def _scalar(self: Inference, node: Node) -> None:
    self.give(node, ())


def _sized(self: Inference, node: Node) -> None:
    size = node.attrs["size"]
    number = self.dims.value_of(size)
    if sign(number) in (0, -1) or (isinstance(number, Dim) and not number.names):
        raise Mismatch("RNN036", f"a size of {number} is impossible", node.span)
    self.give(node, (size, size) if node.op == "eye" else (size,))
    for a in node.args:
        _takes(self, a, 0, node.op)
        self.give(a, ())


RULES: dict[str, Callable[[Inference, Node], None]] = {
    **dict.fromkeys(("number", "dim", "step", "length", "count", "training"), _scalar),
    "map": _map,
    "product": _product,
    "transpose": _transpose,
    "concat": _concat,
    "part": _part,
    "slice": _slice,
    "repeat": _repeat,
    "gather": _gather,
    "cross_entropy": _cross_entropy,
    **dict.fromkeys(("onehot", "arange", "eye"), _sized),
    "dot": _dot,
    "outer": _outer,
    "diag": _diag,
    "reduce": _reduce,
    "stop_gradient": _same,
    "uniform": _same,
}


# ---------------------------------------------------------------- guesses


def guess_vector(self: Inference, node: Node) -> bool:
    """A matrix stands before a vector."""
    if node.op != "product" or node.args[1].shape is not None or node.args[1].bad:
        return False
    a = self.shape(node.args[0])
    if a is None or len(a) != 2 or node.args[0].is_row:
        return False
    self.give(node.args[1], (a[1],))
    return True


def guess_matrix(self: Inference, node: Node) -> bool:
    """What stands before a vector or a matrix is a matrix."""
    if node.op != "product" or node.args[0].shape is not None or node.args[0].bad:
        return False
    b, r = self.shape(node.args[1]), self.shape(node)
    if not b or (r is not None and len(r) != len(b)):
        return False
    before = node.args[0].variable
    if node.attrs["entries"] and (before is None or before.role not in ("param", "const")):
        return False  # in LaTeX `z_t h_t` is more likely a gate: see guess_same
    self.give(node.args[0], (r[0] if r else self.new_size(), b[0]))
    return True


def guess_same(self: Inference, node: Node) -> bool:
    """What is added to a vector, or in LaTeX stands beside it, is a vector of that length."""
    if node.op == "product" and node.attrs["entries"] and node.args[0].op == "transpose":
        row, b = node.args[0].args[0], self.shape(node.args[1])
        if row.shape is None and not row.bad and b is not None and len(b) == 1:
            self.give(row, b)
            return True
    if node.op != "map" and not (node.op == "product" and node.attrs["entries"]):
        return False
    result = self.shape(node)
    for a in node.args:
        if a.shape is None and not a.bad and result:
            self.give(a, result)
            return True
    return False
