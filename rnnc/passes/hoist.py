"""What does not recur leaves the loop.

    h = tanh(b + W h' + U x)         v = b + U x,  h = tanh(W h' + v)
    z = σ(W [h', x])           →     z = σ(W_1 h' + W_2 x)
    s = a * (b * s')                 p = a * b,  s = p * s'
    w = a * (1 - z) + b              v = a + b,  w = v - a * z

    d = [a * u, b * v] * c           p = [a, b] * c,  d = p * [u, v]

In every recurrence, sums and products of several operands are put together anew, those that do
not recur by themselves; then the schedule finds them outside the loop, for all steps at once.
"""

from __future__ import annotations

from rnnc.graph.cycles import members_at, recurrences
from rnnc.graph.names import owner_of
from rnnc.graph.system import System, Value
from rnnc.graph.types import Attrs, Read, Size
from rnnc.passes.editor import MATRIX_VECTOR, SIGNS, Editor, Term


def hoist(system: System) -> System:
    """The system with the invariant parts of its recurrences in values of their own."""
    found = recurrences(system)
    for rewrite in (_split_columns, _affine, _sum, _product, _joined_products):
        depth = 0
        while members := members_at(found, depth):
            editor = Editor(system)
            for name, value in system.values.items():
                if name in members:
                    rewrite(editor, value, members[name])
            changed = editor.result()
            if changed is not system:
                system, found = changed, recurrences(changed)
            depth += 1
    return system


def _split_columns(editor: Editor, value: Value, members: frozenset[str]) -> None:
    """``W [h', x]`` is ``W_1 h' + W_2 x``; worth it where only one of the two recurs."""
    parts = editor.matrix_vector(value)
    if parts is None:
        return
    matrix, vector = parts
    joined = editor.values[vector.source]
    if joined.op != "concat" or vector.at or joined.name not in members:
        return
    recurs = [r.source in members for r in joined.reads]
    if all(recurs) or any(editor.type(r).rank != 1 for r in joined.reads):
        return
    origins = value.origins
    columns = editor.make(f"{matrix.source}.columns", "transpose", (matrix,), (), origins)
    terms = []
    start: Size = 0
    for r in joined.reads:
        stop = start + editor.type(r).shape[0]
        owner = owner_of(r.source)
        ends = (("start", start), ("stop", stop))
        rows = editor.make(f"{matrix.source}.columns", "slice", (columns,), ends, origins)
        block = editor.make(f"{matrix.source}.{owner}", "transpose", (rows,), (), origins)
        name = f"{value.name}.{owner}"
        terms.append(Term(1, editor.make(name, "contract", (block, r), MATRIX_VECTOR, origins)))
        start = stop
    editor.redefine(value.name, terms[0].read, terms[1:])


def _affine(editor: Editor, value: Value, members: frozenset[str]) -> None:
    """``a * (b - z) + c`` is ``(a * b + c) - a * z``."""
    if value.op not in SIGNS or not editor.is_root(value, SIGNS):
        return
    terms = editor.terms(value)
    if all(t.read.source in members for t in terms):
        return
    out: list[Term] = []
    for term in terms:
        product = editor.values[term.read.source]
        split = _factor(editor, product, members) if product.op == "mul" else None
        inner = editor.values[split[1].source] if split else None
        known = inner is not None and inner.op in SIGNS and inner.axes == value.axes
        if split is None or not known or not editor.private(term.read):
            out.append(term)
            continue
        factor, rest = split
        parts = editor.terms(editor.values[rest.source])
        recurring = [editor.values[t.read.source] for t in parts if t.read.source in members]
        # a product of a matrix takes its addend for nothing
        free = any(editor.matrix_vector(v) is not None for v in recurring)
        if not editor.private(rest) or len(recurring) != 1 or free:
            out.append(term)
            continue
        for t in parts:
            r = editor.make(f"{value.name}.part", "mul", (factor, t.read), (), value.origins)
            out.append(Term(term.sign * t.sign, r))
    if len(out) > len(terms):
        total = editor.total(f"{value.name}.sum", out, value.origins)
        editor.change(value.name, "copy", (total,))


def _sum(editor: Editor, value: Value, members: frozenset[str]) -> None:
    """Add up the terms that do not recur by themselves."""
    if value.op not in SIGNS or not editor.is_root(value, SIGNS):
        return
    terms = editor.terms(value)
    fixed = [t for t in terms if t.read.source not in members]
    recurring = [t for t in terms if t.read.source in members]
    if len(fixed) < 2 or not recurring or _alone(editor, value, members):
        return
    total = editor.total(f"{value.name}.fixed", fixed, value.origins)
    # products last: each then takes the sum so far as its addend
    recurring.sort(key=lambda t: editor.matrix_vector(editor.values[t.read.source]) is not None)
    first, *rest = recurring
    if first.sign > 0:
        editor.redefine(value.name, first.read, [Term(1, total), *rest])
    else:
        editor.redefine(value.name, total, recurring)


def _alone(editor: Editor, value: Value, members: frozenset[str]) -> bool:
    """Whether the terms that do not recur are one value already."""
    inner = [editor.values[r.source] for r in value.reads]
    fixed = [v.name for v in inner if v.name not in members]
    return len(fixed) == 1 and not any(v.name in members and v.op in SIGNS for v in inner)


def _product(editor: Editor, value: Value, members: frozenset[str]) -> None:
    """Multiply the factors that do not recur by themselves."""
    if value.op != "mul" or not editor.is_root(value, ("mul",)):
        return
    factors: list[Read] = []
    todo = [value]
    while todo:
        for r in todo.pop().reads:
            inner = editor.values[r.source]
            if inner.op == "mul" and inner.axes == value.axes and editor.private(r):
                todo.append(inner)
            else:
                factors.append(r)
    fixed = [r for r in factors if r.source not in members]
    recurring = [r for r in factors if r.source in members]
    if len(fixed) < 2 or not recurring:
        return
    fixed.sort(key=lambda r: len(editor.axes(r)))
    product = fixed[0]
    for r in fixed[1:]:
        product = editor.make(f"{value.name}.fixed", "mul", (product, r), (), value.origins)
    for r in recurring[:-1]:
        product = editor.make(f"{value.name}.product", "mul", (product, r), (), value.origins)
    editor.change(value.name, "mul", (product, recurring[-1]))


def _joined_products(editor: Editor, value: Value, members: frozenset[str]) -> None:
    """Vectors joined of products, and multiplied again, as one product of two joined vectors:
    the gates' part of back-propagation through an LSTM."""
    if value.op not in ("concat", "mul") or not _is_joined(editor, value, members):
        return
    if editor.private(Read(value.name)):
        reader, r = editor.readers(value.name)[0]
        if not r.at and _is_joined(editor, reader, members):
            return  # a part of a larger one
    pieces = _pieces(editor, Read(value.name), members)
    if len(pieces) < 2 or any(factor is None for factor, _ in pieces):
        return
    factors = [factor for factor, _ in pieces if factor is not None]
    fixed = editor.make(f"{value.name}.fixed", "concat", factors, (), value.origins)
    rest = [r for _, r in pieces]
    joined = editor.make(f"{value.name}.joined", "concat", rest, (), value.origins)
    editor.change(value.name, "mul", (fixed, joined))


def _is_joined(editor: Editor, value: Value, members: frozenset[str]) -> bool:
    """Whether it is a vector joined of others, or the product of one and what does not recur."""
    if value.op == "concat":
        return value.type.rank == 1
    if value.op != "mul" or value.type.rank != 1:
        return False
    split = _factor(editor, value, members)
    if split is None or editor.type(split[0]) != value.type:
        return False
    inner = editor.values[split[1].source]
    return (
        editor.private(split[1]) and inner.axes == value.axes and _is_joined(editor, inner, members)
    )


def _factor(editor: Editor, value: Value, members: frozenset[str]) -> tuple[Read, Read] | None:
    """The factor that does not recur, and the other."""
    for i in (0, 1):
        fixed, rest = value.reads[i], value.reads[1 - i]
        if fixed.source not in members and rest.source in members:
            return fixed, rest
    return None


def _pieces(editor: Editor, r: Read, members: frozenset[str]) -> list[tuple[Read | None, Read]]:
    """The parts of a joined vector: what each is multiplied with that does not recur, the rest."""
    value = editor.values[r.source]
    if value.op == "concat" and value.type.rank == 1:
        out: list[tuple[Read | None, Read]] = []
        for part in value.reads:
            inner = editor.values[part.source]
            known = editor.private(part) and inner.axes == value.axes and inner.type.rank == 1
            out += _pieces(editor, part, members) if known else [(None, part)]
        return out
    split = _factor(editor, value, members) if value.op == "mul" else None
    if split is None or editor.type(split[1]) != value.type:
        return [(None, r)]
    factor, rest = split
    inner = editor.values[rest.source]
    if not (editor.private(rest) and inner.axes == value.axes and inner.op in ("concat", "mul")):
        return [(factor, rest)]
    pieces = _pieces(editor, rest, members)
    out = []
    start: Size = 0
    for own, piece in pieces:
        stop = start + editor.type(piece).shape[0]
        part = factor
        if editor.type(factor) == value.type and len(pieces) > 1:
            ends: Attrs = (("start", start), ("stop", stop))
            name = f"{factor.source}.part"
            part = editor.make(name, "slice", (factor,), ends, value.origins)
        if own is not None:
            name = f"{value.name}.fixed"
            part = editor.make(name, "mul", (own, part), (), value.origins)
        out.append((part, piece))
        start = stop
    return out
