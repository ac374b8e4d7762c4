"""What all comes from one other step is computed there, and carried as one value.

    ∂h[t] = ∂y[t] + Uᵀ ∂a[t+1] + f[t+1] * ∂h[t+1]        c[t] = Uᵀ ∂a[t] + f[t] * ∂h[t]
                                                    →
                                                         ∂h[t] = ∂y[t] + c[t+1]

A loop then carries ``c`` alone, where it carried ``∂a`` and ``∂h`` and read ``f`` a step late: no
array of all steps has to be moved by one, and what is kept of every step is no state besides. So it
is with ``∂h[t+1] - p[t+1]`` of a ``p[t] = z[t] * ∂h[t]`` that others need, too: of a state and what
is made of it at the same step only one is carried, and the recurrence is seen to have one state.

C. E. Leiserson, J. B. Saxe, Retiming Synchronous Circuitry, Algorithmica 1991.
"""

from __future__ import annotations

from rnnc.graph.cycles import Recurrence, recurrences
from rnnc.graph.system import System, Value
from rnnc.graph.types import Index, Read, Size, read
from rnnc.passes.editor import SIGNS, Editor, Term

LINEAR = frozenset(("mul", "contract"))


def retime(system: System) -> System:
    """The system with the delayed terms of its recurrences' sums added up before the delay."""
    editor = Editor(system)
    for recurrence in recurrences(system):
        for name, value in system.values.items():
            if name in recurrence.members and value.op in SIGNS and editor.is_root(value, SIGNS):
                _retime(editor, value, recurrence)
    return editor.result() if editor.added else system


def _retime(editor: Editor, value: Value, recurrence: Recurrence) -> None:
    """Rewrite one sum, if that spares moving an array of all steps, or carrying a value: a delayed
    product of a matrix alone stays, and takes the rest of the sum as its addend."""
    groups: dict[Size, list[Term]] = {}
    rest: list[Term] = []
    for term in editor.terms(value):
        delay = _delay(editor, term.read, recurrence)
        whole = editor.type(term.read) == value.type
        alone = bool(term.read.at) or editor.private(term.read)
        if delay is None or not whole or not alone:
            rest.append(term)
        else:
            groups.setdefault(delay, []).append(term)
    carried: list[Term] = []
    for delay, terms in groups.items():
        late = {t.read.source for t in terms if t.read.at}  # carried as they are
        if len(late) > 1 or any(_moves(editor, t.read, recurrence) for t in terms):
            moved = [Term(t.sign, _early(editor, t.read, recurrence.axis)) for t in terms]
            total = editor.total(f"{value.name}.sum", moved, value.origins)
            back = {recurrence.axis: Index(recurrence.axis, delay)}
            carried.append(Term(1, read(total.source, back)))
        else:
            rest += terms
    if carried:
        editor.redefine(value.name, carried[0].read, [*carried[1:], *rest])


def _moves(editor: Editor, r: Read, recurrence: Recurrence) -> bool:
    """Whether a term reads another step of what does not recur."""
    return any(
        x.source not in recurrence.members
        if x.shifts(recurrence.axis)
        else not x.at and x.source in recurrence.members and _moves(editor, x, recurrence)
        for x in editor.values[r.source].reads
    )


def _delay(editor: Editor, r: Read, recurrence: Recurrence) -> Size | None:
    """By how many steps all that a term is made of is read away from its own; None where that is
    not one number, or something other than zero stands past the ends."""
    value = editor.values[r.source]
    axis = recurrence.axis
    if value.name not in recurrence.members:
        return None
    if r.at:  # unless others need it of another step, too
        only = [x for _, x in editor.readers(value.name) if x.at] == [r]
        return _shift(r, axis) if only and not value.bounds else None
    if not _vanishes(editor, value):
        return None
    delays: set[Size | None] = set()
    recurs = False
    for x in value.reads:
        source = editor.values[x.source]
        member = source.name in recurrence.members
        if not x.at and member and editor.private(x):
            delays.add(_delay(editor, x, recurrence))
            recurs = True
        elif axis in editor.axes(x) or member:
            delays.add(None if member and source.bounds else _shift(x, axis))
            recurs = recurs or member
    return delays.pop() if len(delays) == 1 and recurs else None


def _vanishes(editor: Editor, value: Value) -> bool:
    """Whether a value is zero past the ends, where what recurs is."""
    if value.op == "where":
        old = editor.system
        return any(r.source in old.values and old.is_zero(r.source) for r in value.reads[1:])
    return value.op in LINEAR


def _shift(r: Read, axis: str) -> Size | None:
    """By how many steps of an axis, and of no other, a read is away."""
    return r.index(axis).offset if len(r.at) == 1 and r.shifts(axis) else None


def _early(editor: Editor, r: Read, axis: str) -> Read:
    """The same term, made of what is read at its own step."""
    if r.at:
        return Read(r.source)
    value = editor.values[r.source]
    reads = []
    for x in value.reads:
        if x.shifts(axis):
            reads.append(Read(x.source))
        else:
            inner = editor.values[x.source]
            reads.append(_early(editor, x, axis) if axis in inner.axes else x)
    return editor.make(f"{value.name}.moved", value.op, reads, value.attrs, value.origins)
