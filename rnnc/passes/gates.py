"""Sigmoids as the tanh that they are, with the factors in the weights.

    p = U h' + v                         q = (s U) h' + s v,  s = 1/2 for the gates, else 1
    f = σ(p[0:m]), g = tanh(p[m:2m])     y = tanh(q), f = (1 + y[0:m]) / 2, g = y[m:2m]

σ(x) = (1 + tanh(x / 2)) / 2, and a multiplication by a power of two is exact. Where calls are
what costs (NumPy), one tanh for all gates is the cheapest form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnnc.graph.cycles import recurrences
from rnnc.graph.system import System, Value
from rnnc.graph.types import Array, Read, Type, whole
from rnnc.passes.editor import MATRIX_VECTOR, Editor

FACTOR = {"sigmoid": 0.5, "tanh": 1.0}  # of the argument of tanh


def tanh_gates(system: System) -> System:
    """The system with the packed gates of its recurrences as one tanh each."""
    members = {m for r in recurrences(system) for m in r.members}
    editor = Editor(system)
    for name, total in system.values.items():
        if name in members and total.op == "add":
            _rewrite(editor, total)
    for name, v in system.values.items():
        if name in members and v.op == "sigmoid" and editor.values[name] is v and not v.bounds:
            _alone(editor, v)
    return editor.result() if editor.added else system


@dataclass(frozen=True)
class _Gate:
    """An activation of the rows ``start`` to ``stop`` of a sum."""

    value: Value
    start: int
    stop: int


def _rewrite(editor: Editor, total: Value) -> None:
    """Rewrite the activations of ``total``, if all its readers are that."""
    gates = _gates(editor, total)
    if not any(g.value.op == "sigmoid" for g in gates):
        return
    if not all(_scalable(editor, r, total.type) for r in total.reads):
        return
    scale = np.zeros(whole(total.type.shape[0]))
    for g in gates:
        rows = scale[g.start : g.stop]
        factor = FACTOR[g.value.op]
        if not ((rows == 0) | (rows == factor)).all():
            return  # one row under both functions
        rows[:] = factor
    scale[scale == 0] = 1  # rows that nothing reads
    editor.change(total.name, "add", [_scaled(editor, r, scale) for r in total.reads])
    active = editor.make(f"{total.name}.tanh", "tanh", (Read(total.name),), (), total.origins)
    for g in gates:
        _open(editor, g, active)


def _gates(editor: Editor, total: Value) -> list[_Gate]:
    """The activations that read a sum, by parts or as a whole; none if anything else does."""
    if total.type.rank != 1 or total.bounds or total.name in editor.system.results:
        return []
    out = []
    for reader, r in editor.readers(total.name):
        if r.at:
            return []
        if reader.op in FACTOR:
            out.append(_Gate(reader, 0, whole(total.type.shape[0])))
            continue
        if reader.op != "slice" or reader.bounds or reader.name in editor.system.results:
            return []
        for last, r2 in editor.readers(reader.name):
            if r2.at or last.op not in FACTOR:
                return []
            out.append(_Gate(last, whole(reader.attr("start")), whole(reader.attr("stop"))))
    return out


def _scalable(editor: Editor, r: Read, type_: Type) -> bool:
    """Whether a factor for each row can go into weights."""
    source = editor.values[r.source]
    if source.type != type_:
        return False
    if not source.axes:
        return True
    if not editor.private(r):
        return False
    if source.op == "add":
        return all(_scalable(editor, x, type_) for x in source.reads)
    return editor.matrix_vector(source) is not None


def _scaled(editor: Editor, r: Read, scale: NDArray[np.float64]) -> Read:
    """What is read, with its rows scaled; where it varies it is changed in place."""
    source = editor.values[r.source]
    if source.axes and source.op == "add":
        editor.change(source.name, "add", [_scaled(editor, x, scale) for x in source.reads])
        return r
    if source.axes:
        matrix, vector = source.reads
        scaled = _times(editor, matrix, scale[:, None])
        editor.change(source.name, "contract", (scaled, vector), MATRIX_VECTOR)
        return r
    return _times(editor, r, scale)


def _times(editor: Editor, r: Read, scale: NDArray[np.float64]) -> Read:
    factor = editor.make(f"{r.source}.scale", "constant", (), (("value", Array(scale)),))
    return editor.make(f"{r.source}.scaled", "mul", (r, factor))


def _open(editor: Editor, g: _Gate, active: Read) -> None:
    """The gate as a part of the one tanh."""
    attrs = (("start", g.start), ("stop", g.stop))
    if g.value.op == "tanh":
        editor.change(g.value.name, "slice", (active,), attrs)
        return
    _shift(editor, g.value, editor.make(f"{g.value.name}.tanh", "slice", (active,), attrs))


def _alone(editor: Editor, sigmoid: Value) -> None:
    """The sigmoid of what others read, too: its argument is halved by itself."""
    half = editor.make(f"{sigmoid.name}.by", "constant", (), (("value", 0.5),))
    argument = editor.make(f"{sigmoid.name}.arg", "mul", (*sigmoid.reads, half))
    _shift(editor, sigmoid, editor.make(f"{sigmoid.name}.tanh", "tanh", (argument,)))


def _shift(editor: Editor, sigmoid: Value, tanh: Read) -> None:
    """The sigmoid as (1 + y) / 2."""
    half = editor.make(f"{sigmoid.name}.by", "constant", (), (("value", 0.5),))
    halved = editor.make(f"{sigmoid.name}.half", "mul", (tanh, half))
    editor.change(sigmoid.name, "add", (halved, half))
