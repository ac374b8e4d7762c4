"""Recurrences that ONNX has an operator for become that operator.

    r, z = σ(W x[t] + U h[t-1] + b)
    n = tanh(W_n x[t] + U_n (r * h[t-1]))      →     h = native(x, W', R', B')   over all t
    h[t] = (1 - z) * h[t-1] + z * n

``native`` finds the roles, ``packing`` the operands, ``proof`` makes sure. A forward and a backward
recurrence over one input are one bidirectional operator. Only h comes out, and the last c: where
gates are wanted, as in gradients, a recurrence stays a loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx

from rnnc.graph.cycles import Recurrence, recurrences
from rnnc.graph.system import System
from rnnc.graph.types import FIRST, LAST, Attrs, Index, Read, Type
from rnnc.passes.editor import Editor
from rnnc.passes.native import match
from rnnc.passes.packing import packed
from rnnc.passes.proof import prove
from rnnc.passes.roles import ROLES, Native, an
from rnnc.passes.views import Unlike, View

STANDARD = {  # activations that every kernel has
    "RNN": (("Tanh",), ("Relu",)),
    "GRU": (("Sigmoid", "Tanh"),),
    "LSTM": (("Sigmoid", "Tanh", "Tanh"),),
}
TARGETS = ("cpu", "cuda", "web", "any")
ON_CPU = ("cpu", "web")
PLAIN = ("cuda", "any")  # whose kernels take standard activations alone, and no peepholes


@dataclass(frozen=True)
class Verdict:
    """What a recurrence is: the operator, or why it is none."""

    recurrence: Recurrence
    native: Native | None
    reason: str


def recognise(system: System, target: str = "cpu") -> System:
    """The system with the recurrences that are operators of ``target`` as such."""
    found = [v.native for v in verdicts(system, target) if v.native is not None]
    if not found:
        return system
    editor = Editor(system)
    for group in _pairs(system, found):
        _Operator(editor, group).replace()
    return editor.result()


def verdicts(system: System, target: str = "cpu") -> list[Verdict]:
    """For each recurrence of a system the operator that it is, or what prevents it."""
    out = []
    for r in recurrences(system):
        try:
            native = match(system, r)
            _check_target(native, target)
            _check_readers(system, native)
            native.lengths = native.lengths or _lengths_of_lasts(system, native)
            _check_cost(native, target)
            prove(system, native)
            out.append(Verdict(r, native, _described(native)))
        except Unlike as unlike:
            out.append(Verdict(r, None, unlike.reason))
    return out


def _described(native: Native) -> str:
    """What plays which role."""
    if native.kind == "RNN":
        return f"{native.activations[0].name} of a product with an input and one with the state"
    missing = [r for r in ROLES[native.kind] if native.rows[r].constant]
    there = [r for r in ROLES[native.kind] if r not in missing]
    gates = [f"{role} = {native.names[role]}" for role in there]
    text = ", ".join(gates)
    if missing:
        text += f"; no {' and no '.join(missing)}, which a constant holds open"
    if native.peepholes:
        text += "; diagonal peepholes"
    if native.kind == "GRU":
        text += f"; the reset gate stands {'after' if native.after else 'before'} the product"
    return text


# ---------------------------------------------------------------- what a target takes


def _check_target(native: Native, target: str) -> None:
    if target not in PLAIN:
        return
    names = tuple(a.name for a in native.activations)
    if names not in STANDARD[native.kind]:
        raise Unlike(f"the activations {', '.join(names)} have no kernel for --target {target}", 9)
    if native.peepholes:
        raise Unlike(f"peepholes have no kernel for --target {target}", 9)
    if native.kind == "GRU" and not native.after:
        raise Unlike(
            f"a reset gate before the product has no kernel for --target {target}; "
            "r * (U h[t-1]) has one", 9,
        )  # fmt: skip


def _check_cost(native: Native, target: str) -> None:
    """Whether the kernel is faster than a loop, as measured with onnxruntime 1.32 on a CPU (one
    thread, T 50, m 32 to 512, batch 1 to 128; ratios of its time to a Scan's).

    LSTM 0.1 to 1.0 and GRU 0.1 to 1.2, the less the smaller m and the batch. With gates that the
    equations do not have a GRU makes three products where a loop makes two: 0.2 to 1.0 for m of
    at most 128 and a batch up to 4, but 1.0 to 1.5 above. RNN 0.5 to 1.0 for one sequence, but
    1.3 to 3.8 from a batch of 4 on. ScaledTanh, which is called entry by entry: 0.5 for one
    sequence, 1.6 to 2.0 for 32; the other activations 0.3 to 1.2.
    """
    if target not in ON_CPU:
        return
    if native.kind == "RNN":
        raise Unlike("it is an RNN, but the kernel for CPUs is slower than a loop", 9)
    if native.size > 128 and any(a.name == "ScaledTanh" for a in native.activations):
        raise Unlike(
            f"it is {an(native.kind)} with ScaledTanh, but of {native.size} units the kernel for "
            "CPUs is slower than a loop", 9,
        )  # fmt: skip
    needed = len({native.names.get(role) for role in ROLES[native.kind]} - {None})
    if native.size > 128 and len(ROLES[native.kind]) > 1.4 * needed:
        raise Unlike(
            f"it is {an(native.kind)} with gates that the equations do not have; of {native.size} "
            "units these cost more than a loop", 9,
        )  # fmt: skip


def _check_readers(system: System, native: Native) -> None:
    """Outside, only h may be read, and the last c: the operator gives no more."""
    drawn = {r.source for d in system.targets.values() for r in d.all_reads}
    for name in native.members:
        outside = [
            (reader, data["read"])
            for _, reader, data in system.graph.out_edges(name, data=True)
            if reader not in native.members
        ]
        wanted = name in system.results or name in drawn
        cell = name in _names(system, native, native.c)
        if name in _names(system, native, native.h) or not (outside or wanted):
            continue
        if cell and not wanted and _only_last(system, native, name, outside):
            continue
        what = "at all steps" if cell else "outside of the loop"
        gives = "the last one alone" if cell else f"{native.h} and the last {native.c}"
        gives = gives if native.c else f"{native.h} alone"
        hint = f" (with --outputs {native.h} it is {an(native.kind)})"
        raise Unlike(
            f"`{name}` is wanted {what}, and the operator gives {gives}"
            + (hint if name in system.outputs else ""), 8,
        )  # fmt: skip


def _only_last(
    system: System, native: Native, name: str, outside: Sequence[tuple[str, Read]]
) -> bool:
    """Whether the last step alone is read, of the array or of each sequence."""
    reads = {reader for reader, _ in _own_lasts(system, native, name)}
    return all(r.at == _end(native) or reader in reads for reader, r in outside)


def _lengths_of_lasts(system: System, native: Native) -> Read | None:
    """The lengths that say where each sequence's last c is, if that is wanted."""
    for name in _names(system, native, native.c):
        for reader, _ in _own_lasts(system, native, name):
            return system[system[reader].reads[0].source].reads[1]
    return None


def _own_lasts(system: System, native: Native, name: str) -> list[tuple[str, str]]:
    """Where a state is read at the last step of each sequence, as ``lengths`` says that:

        y.1 = where(t == t.lengths, h[t], 0),  y = sum[t](y.1)

    Pairs of y.1 and y."""
    found = []
    for _, reader, data in system.graph.out_edges(name, data=True):
        v = system[reader]
        if v.op != "where" or data["read"] != v.reads[1] or v.reads[1].at or not native.forward:
            continue
        when = system[v.reads[0].source]
        readers = list(system.graph.successors(reader))
        total = system[readers[0]] if len(readers) == 1 else v
        step, limit = (system[r.source] for r in when.reads) if len(when.reads) == 2 else (v, v)
        if (
            when.op == "eq"
            and step.op == "step"
            and step.attr("axis") == native.axis
            and "lengths" in dict(limit.attrs)
            and system.is_zero(v.reads[2].source)
            and (total.op, total.over) == ("sum", (native.axis,))
            and reader not in system.results
            and native.lengths in (None, when.reads[1])
        ):
            found.append((reader, total.name))
    return found


def _end(native: Native) -> tuple[tuple[str, Index], ...]:
    return ((native.axis, Index(LAST) if native.forward else Index(FIRST)),)


def _names(system: System, native: Native, state: str | None) -> set[str]:
    """The names of a state: its own, and what it is before a mask for lengths."""
    if state is None:
        return set()
    value = system[state]
    masked = value.op == "where" and value.reads[1].source in native.members
    return {state, value.reads[1].source} if masked else {state}


# ---------------------------------------------------------------- two directions


def _pairs(system: System, natives: Sequence[Native]) -> list[tuple[Native, ...]]:
    """Those that run over the same inputs both ways, and are alike, by two; the rest alone."""
    out: list[tuple[Native, ...]] = []
    left = list(natives)
    while left:
        one = left.pop(0)
        other = next((o for o in left if _mirror(system, one, o)), None)
        if other is None:
            out.append((one,))
            continue
        left.remove(other)
        out.append((one, other) if one.forward else (other, one))
    return out


def _mirror(system: System, a: Native, b: Native) -> bool:
    same = ("kind", "axis", "size", "after")
    alike = all(getattr(a, f) == getattr(b, f) for f in same) and a.forward != b.forward
    if not alike or _inputs_of(a) != _inputs_of(b) or not _inputs_of(a):
        return False
    if None not in (a.lengths, b.lengths) and a.lengths != b.lengths:
        return False
    if system[a.h].axes != system[b.h].axes:
        return False
    # neither may need anything of the other: as one operator it would need itself
    return not nx.has_path(system.graph, a.h, b.h) and not nx.has_path(system.graph, b.h, a.h)


def _inputs_of(native: Native) -> set[View]:
    return {v for r in native.rows.values() for v in r.inputs}


# ---------------------------------------------------------------- the operator in its place


class _Operator:
    """The operator in the place of one recurrence, or of two that run both ways."""

    def __init__(self, editor: Editor, natives: tuple[Native, ...]):
        self.editor = editor
        self.natives = natives
        self.first = natives[0]
        self.operands = packed(editor, natives)
        self.results: dict[str, Read] = {}

    def replace(self) -> None:
        ends: dict[Read, Read] = {}
        system = self.editor.system
        for place, n in enumerate(self.natives):
            self._change(n.h, "Y", place)
            for name in _names(system, n, n.h) - {n.h}:
                self.editor.change(name, "copy", (Read(n.h),))
            for state, result in ((n.h, "Y_h"), (n.c, "Y_c")):
                for name in sorted(_names(system, n, state)):
                    for _, total in _own_lasts(system, n, name) if n.lengths else ():
                        self._change(total, result, place)
                    end = Read(name, _end(n))
                    values = self.editor.values.values()
                    if any(r == end for v in values for _, r in v.all_reads()):
                        ends[end] = self.editor.make(f"{name}.last", *self._part(result, place))
        for name, v in self.editor.values.items() if ends else ():
            changed = v.map_reads(lambda r: ends.get(r, r))
            self.editor.values[name] = changed
            if name in self.editor.added:
                self.editor.added[name] = changed

    def _change(self, name: str, result: str, place: int) -> None:
        self.editor.change(name, *self._part(result, place))

    def _part(self, result: str, place: int) -> tuple[str, tuple[Read, ...], Attrs]:
        """What gives the result of the recurrence at a place: op, operand, attributes."""
        if result not in self.results:
            self.results[result] = self._made(result)
        if len(self.natives) == 1:
            return "copy", (self.results[result],), ()
        size = self.first.size
        ends = (("start", place * size), ("stop", (place + 1) * size))
        return "slice", (self.results[result],), ends

    def _made(self, result: str) -> Read:
        first, natives = self.first, self.natives
        direction = "bidirectional" if len(natives) > 1 else "forward"
        attrs: Attrs = (
            ("kind", first.kind),
            ("axis", first.axis),
            ("given", tuple(self.operands)),
            ("size", first.size),
            ("direction", direction if first.forward else "reverse"),
            ("activations", tuple(a for n in natives for a in n.activations)),
            ("after", first.after),
            ("result", result),
            ("over", () if result == "Y" else (first.axis,)),
            ("type", Type("real", (first.size * len(natives),))),
        )
        base = "_".join(n.h for n in natives)
        origins = tuple(o for n in natives for o in self.editor.values[n.h].origins)
        reads = tuple(self.operands.values())
        return self.editor.make(f"{base}.{result}", "native", reads, attrs, origins)
