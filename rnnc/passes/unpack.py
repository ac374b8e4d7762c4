"""A packed product as one for each activation, where a runtime joins a product with the function
of its result.

    p = [U_f; U_i; U_c] h' + v               a = [U_f; U_i] h' + v[0:2m]
    f_i = σ(p[0:2m]), g = tanh(p[2m:3m])  →  b = U_c h' + v[2m:3m]
                                             f_i = σ(a), g = tanh(b)

Six nodes of a graph become two: onnxruntime computes ``σ(U h + v)`` as one. What does not recur
is unpacked with it, so that nothing is cut in the loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from rnnc.graph.cycles import members_at, recurrences
from rnnc.graph.system import System, Value
from rnnc.graph.types import Read, whole
from rnnc.passes.editor import MATRIX_VECTOR, Editor

JOINED = frozenset(("sigmoid", "tanh", "relu"))  # functions that join the product before them


def unpack(system: System) -> System:
    """The system with the packed products of its recurrences by activation."""
    editor = Editor(system)
    depth, found = 0, recurrences(system)
    while members := members_at(found, depth):
        for name, value in system.values.items():
            if name in members and value.op in ("add", "contract"):
                _rewrite(editor, value)
        depth += 1
    return editor.result() if editor.added else system


@dataclass(frozen=True)
class _Rows:
    """Rows of a vector: from ``start`` to ``stop``."""

    start: int
    stop: int


def _rewrite(editor: Editor, total: Value) -> None:
    """Rewrite the parts of a sum or product, if more nodes go than products are added."""
    readers = editor.readers(total.name)
    if total.type.rank != 1 or total.bounds or total.name in editor.system.results:
        return
    if not _is_product(editor, Read(total.name)):
        return
    parts: list[tuple[Value, _Rows]] = []
    for v, r in readers:
        if v.op != "slice" or v.bounds or r.at:
            return
        parts.append((v, _Rows(whole(v.attr("start")), whole(v.attr("stop")))))
    parts.sort(key=lambda p: p[1].start)
    apart = all(a.stop <= b.start for (_, a), (_, b) in pairwise(parts))
    gone = 1 + sum(_absorbed(editor, v, total.op == "contract") for v, _ in parts)
    if len(parts) < 2 or not apart or gone <= len(parts) - 1:
        return
    for v, rows in parts:
        made = _part(editor, Read(total.name), rows)
        editor.change(v.name, "copy", (made,))


def _is_product(editor: Editor, r: Read) -> bool:
    """Whether a value is a product of a fixed matrix, or a sum with one, for one reader alone."""
    value = editor.values[r.source]
    if value.op == "add":
        return any(editor.private(x) and _is_product(editor, x) for x in value.reads)
    return editor.matrix_vector(value) is not None


def _absorbed(editor: Editor, part: Value, addend: bool) -> int:
    """How many operations on a part a product takes with it: the addition to it (``addend``),
    and the function of its result."""
    count = 0
    while part.name not in editor.system.results and len(editor.readers(part.name)) == 1:
        reader, r = editor.readers(part.name)[0]
        if r.at or part.bounds:
            break
        if addend and reader.op == "add":
            addend, part = False, reader
            count += 1
            continue
        return count + (reader.op in JOINED)
    return count


def _part(editor: Editor, r: Read, rows: _Rows) -> Read:
    """Some rows of what is read, by computing only these where it is not computed yet."""
    value = editor.values[r.source]
    if (0, whole(value.type.shape[0])) == (rows.start, rows.stop):
        return r
    if value.op == "concat" and not r.at and not value.bounds:
        inner = _parts_of(editor, value, rows)
        if inner:
            return inner[0] if len(inner) == 1 else editor.make(f"{r.source}.part", "concat", inner)
    name = f"{r.source}.part"
    if value.axes and not r.at and not value.bounds:
        if value.op in ("add", "sub", "mul"):
            full = value.type.shape  # what is shorter is stretched, and stays
            cut = [
                _part(editor, x, rows) if editor.type(x).shape == full else x for x in value.reads
            ]
            return editor.make(name, value.op, cut, (), value.origins)
        if editor.matrix_vector(value) is not None:
            matrix, vector = value.reads
            cut = [_part(editor, matrix, rows), vector]
            return editor.make(name, "contract", cut, MATRIX_VECTOR, value.origins)
    ends = (("start", rows.start), ("stop", rows.stop))
    return editor.make(name, "slice", (r,), ends, value.origins)


def _parts_of(editor: Editor, joined: Value, rows: _Rows) -> list[Read]:
    """The operands of a concatenation that make up these rows; none if one would be cut."""
    out: list[Read] = []
    end = 0
    for r in joined.reads:
        type_ = editor.type(r)
        start, end = end, end + (whole(type_.shape[0]) if type_.rank else 1)
        if rows.start <= start and end <= rows.stop:
            if not type_.rank:
                return []
            out.append(r)
        elif start < rows.stop and rows.start < end:
            return []
    return out
