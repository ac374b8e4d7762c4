"""Interpolations as one step from the one value towards the other.

    h = (1 - z) * h' + z * n    →    h = h' + z * (n - h')

Three operations in a loop instead of four. Printed equations and gradients keep the form that
the author chose: this comes last.

The two forms are the same up to rounding only while h' and n are of one size: of a large h' and
z near 1 nothing would be left of n, and of an infinite one no number. So the equations have to
tell that n is bounded (a tanh), z between 0 and 1, and h starts at 0: then h never leaves the
bounds of n.
"""

from __future__ import annotations

import math

from rnnc.graph.cycles import members_at, recurrences
from rnnc.graph.ranges import Ranges
from rnnc.graph.system import System, Value
from rnnc.graph.types import Read
from rnnc.passes.editor import SIGNS, Editor, Term


def lerp(system: System) -> System:
    """The system with the interpolations of its recurrences in the short form."""
    editor = Editor(system)
    depth, found = 0, recurrences(system)
    while members := members_at(found, depth):
        for name, value in system.values.items():
            if name in members and value.op in SIGNS and editor.is_root(value, SIGNS):
                _rewrite(editor, value, members[name])
        depth += 1
    return editor.result() if editor.added else system


def _rewrite(editor: Editor, value: Value, members: frozenset[str]) -> None:
    terms = editor.terms(value)
    if len(terms) != 2 or value.bounds:
        return
    ranges = Ranges(editor.values)
    for kept in terms:
        found = _kept(editor, kept, members)
        if found is None:
            continue
        gate, start = found
        low, high = ranges.of(gate)
        if low < 0 or high > 1:
            continue
        for added in terms:
            end = _times(editor, added, gate)
            if (
                end is None
                or added is kept
                or not _bounded(ranges, value, start, end)
                or not editor.type(start) == editor.type(end) == value.type
            ):
                continue
            way = editor.make(f"{value.name}.part", "sub", (end, start), (), value.origins)
            step = editor.make(f"{value.name}.part", "mul", (gate, way), (), value.origins)
            editor.redefine(value.name, start, [Term(1, step)])
            return


def _bounded(ranges: Ranges, value: Value, *ends: Read) -> bool:
    """Whether one of the ends is the value itself, before, and the other bounded."""
    others = [r for r in ends if r.source != value.name]
    return len(others) == 1 and ranges.size(others[0]) < math.inf


def _kept(editor: Editor, term: Term, members: frozenset[str]) -> tuple[Read, Read] | None:
    """``z`` and ``h`` of a term ``(1 - z) * h``, where only it needs ``1 - z`` in the loop."""
    product = editor.values[term.read.source]
    if term.sign < 0 or product.op != "mul" or not editor.private(term.read):
        return None
    for i in (0, 1):
        r, start = product.reads[i], product.reads[1 - i]
        rest = editor.values[r.source]
        if r.at or rest.op != "sub" or rest.name not in members or rest.axes != product.axes:
            continue
        one = editor.values[rest.reads[0].source]
        readers = [v.name for v, _ in editor.readers(rest.name) if v.name in members]
        if one.op == "constant" and one.attr("value") == 1 and readers == [product.name]:
            return rest.reads[1], start
    return None


def _times(editor: Editor, term: Term, gate: Read) -> Read | None:
    """``n`` of a term ``z * n``."""
    product = editor.values[term.read.source]
    if term.sign < 0 or product.op != "mul" or not editor.private(term.read):
        return None
    for i in (0, 1):
        if product.reads[i] == gate:
            return product.reads[1 - i]
    return None
