"""The equations behind ``rnnc.flow``: the loss of the last step, and its derivatives by step.

    h[t] = tanh(W h[t-1] + U x[t])    →    h[t] = tanh((W + E[t]) h[t-1] + U x[t]) + e[t]

With all e and E zero nothing changes; the derivative by ``e[t]`` is ∂L_T/∂h[t], the one by ``E[t]``
what step t adds to ∂L_T/∂W. Once they are there, e and E go: ``gradients`` gives the adjoint
system of the model as it was, in which these derivatives are results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rnnc.graph.cycles import recurrences
from rnnc.graph.names import GRADIENT, is_temporary
from rnnc.graph.ops import LEAVES
from rnnc.graph.show import roles
from rnnc.graph.system import System, Value
from rnnc.graph.types import BATCH, LAST, Array, Index, Read, read, whole
from rnnc.graph.verify import verify
from rnnc.passes.derivatives import LETTERS
from rnnc.passes.differentiate import differentiate
from rnnc.passes.editor import Editor
from rnnc.passes.hoist import hoist
from rnnc.passes.mode import evaluating
from rnnc.passes.simplify import simplify
from rnnc.source import UsageError

# what leaves a weight a weight: entries move or are joined, none is changed
MOVING = frozenset(("copy", "transpose", "diag", "slice", "concat", "broadcast", "repeat"))
# what a sum over the steps may go through on its way to the loss
LINEAR = frozenset(("copy", "add", "sub", "neg", "mul", "div"))


@dataclass(frozen=True)
class Asked:
    """A system whose only loss is L_T (``loss`` in words), and what is asked of it.

    ``states``, ``contributions`` and ``gradients`` map states and parameters to the names of the
    results that answer; ``inputs`` are the zeros e and E that are derived by, ``recurrent`` the
    parameters that multiply a state, ``stands_for`` says which parameter (or value made of
    parameters alone) each value of a single step is a copy of.
    """

    system: System
    loss: str
    states: Mapping[str, str]
    contributions: Mapping[str, str]
    gradients: Mapping[str, str]
    recurrent: tuple[str, ...]
    inputs: tuple[str, ...]
    stands_for: Mapping[str, Value]

    @property
    def results(self) -> tuple[str, ...]:
        """The names of all results."""
        tables = (self.states, self.contributions, self.gradients)
        return tuple(name for table in tables for name in table.values())


def asked(system: System, states: Sequence[str], seed: int) -> Asked:
    """The system with the zeros put in, for these states (all of them where none is named).

    :raises UsageError: there is no such state, or nothing recurs.
    """
    names = _states(system, states)
    axis, *others = {a for name in names for a in system[name].axes if a != BATCH}
    if others:
        raise UsageError(f"{', '.join(names)} recur along different axes; choose one state")
    weights = _recurrent(system)
    shown = weights or _below(system, names)
    system, words = _last_step(evaluating(system), seed)
    system = verify(replace(system, outputs=tuple(names), metrics={}, counts={}).pruned())
    system = verify(simplify(system))
    return _with_zeros(system, words, names, shown, weights, axis)


def gradients(question: Asked) -> System:
    """The adjoint system whose outputs are all that is asked, ready for a backend's own passes."""
    system = differentiate(question.system, question.inputs)
    system = replace(system, outputs=question.results, losses={})
    system = verify(_without_zeros(system, question))
    for step in (simplify, hoist, simplify):
        system = verify(step(system))
    return system


# ---------------------------------------------------------------- what there is


def _states(system: System, wanted: Sequence[str]) -> list[str]:
    """The values to look at: those named, else what is carried from step to step."""
    timed = [
        v.name
        for v in system.values.values()
        if v.type.kind == "real"
        and v.op not in LEAVES
        and len(set(v.axes) - {BATCH}) == 1
        and not is_temporary(v.name)
    ]
    role = roles(system)
    found = [n for n in timed if "state" in role[n].split(", ")]
    for name in wanted:
        if name not in timed:
            raise UsageError(
                f"{system.name} has no state {name}; it has: {', '.join(found) or 'none'}"
            )
    names = list(dict.fromkeys(wanted)) or found
    if not names:
        several = [n for n, r in role.items() if "state" in r.split(", ")]
        several = [n for n in several if len(set(system[n].axes) - {BATCH}) > 1]
        if several:
            axes = " and ".join(a for a in system[several[0]].axes if a != BATCH)
            raise UsageError(
                f"a gradient is followed along one axis, and the states of {system.name} vary "
                f"over several: {several[0]} over {axes}"
            )
        raise UsageError(f"{system.name} has no recurrence that real numbers flow through")
    return names


def _recurrent(system: System) -> tuple[str, ...]:
    """The parameters that a product within a recurrence has beside its state."""
    members = frozenset[str]().union(*(r.members for r in recurrences(system)))
    found: set[str] = set()
    for name in members:
        v = system[name]
        if v.op in ("contract", "mul"):
            inside = [r.source in members for r in v.reads]
            if any(inside) and not all(inside):
                other = v.reads[inside.index(False)].source
                found |= _moved(system, other, v.op == "contract")
    return tuple(v.name for v in system.params if v.name in found)


def _moved(system: System, name: str, matrix: bool) -> set[str]:
    """The parameters that a weight consists of: all that a ``matrix`` is made of (W - W.T), else
    those whose entries it has; a gate that is made of parameters is no weight."""
    v = system[name]
    if v.op == "param":
        return {name} if v.type.kind == "real" else set()
    if v.axes or not (matrix or v.op in MOVING):
        return set()
    return set[str]().union(*(_moved(system, r.source, matrix) for r in v.reads))


def _below(system: System, names: Sequence[str]) -> tuple[str, ...]:
    """The parameters that some values depend on."""
    seen: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += [r.source for r in system[name].reads]
    return tuple(v.name for v in system.params if v.name in seen and v.type.kind == "real")


# ---------------------------------------------------------------- the loss of the last step


def _last_step(system: System, seed: int) -> tuple[System, str]:
    """The system with L_T as its only loss, and L_T in words."""
    if "loss" not in system.losses:
        return _projected(system, seed)
    editor = Editor(system)
    loss = system.losses["loss"]
    words = "the loss"
    todo, seen = [loss], set[str]()
    while todo:
        v = system[todo.pop()]
        if v.name in seen:
            continue
        seen.add(v.name)
        times = [a for a in v.over if a != BATCH]
        if v.op == "sum" and times:
            term = v.reads[0]
            for axis in times:
                here = editor.make(f"{loss}.at", "step", (), (("axis", axis),))
                last = editor.make(f"{loss}.at", "length", (), (("axis", axis),))
                flag = editor.make(f"{loss}.at", "eq", (here, last))
                kind = 0.0 if editor.type(term).kind == "real" else 0
                zero = editor.make(f"{loss}.at", "constant", (), (("value", kind),))
                term = editor.make(f"{loss}.at", "where", (flag, term, zero))
            editor.change(v.name, "sum", (term,), v.attrs)
            words = "the loss of the last step"
        elif v.op in LINEAR or (v.op == "sum" and v.over):
            todo += [r.source for r in v.reads]
    return system.with_values(editor.values, losses={"loss": loss}), words


def _projected(system: System, seed: int) -> tuple[System, str]:
    """Of a model without losses: its first output at the last step, along a random direction."""
    real = [n for n in system.outputs if system[n].type.kind == "real"]
    if not real:
        raise UsageError(f"{system.name} has neither a loss nor a real output")
    editor = Editor(system)
    v = system[real[0]]
    times = [a for a in v.axes if a != BATCH]
    last = read(v.name, {a: Index(LAST) for a in times})
    shape = tuple(whole(s) for s in v.type.shape)
    direction = np.random.default_rng(seed).standard_normal(shape)
    direction = direction / (np.linalg.norm(direction) or 1.0)
    letters = LETTERS[: v.type.rank]
    attrs = (("left", letters), ("right", letters), ("out", ""), ("over", ()))
    number = Array(direction) if shape else 1.0
    along = editor.make("loss", "constant", (), (("value", number),))
    total = editor.make("loss", "contract", (along, last), attrs)
    if BATCH in v.axes:
        total = editor.make("loss", "sum", (total,), (("over", (BATCH,)),))
        count = editor.make("loss", "length", (), (("axis", BATCH),))
        total = editor.make("loss", "div", (total, editor.make("loss", "to_real", (count,))))
    at = f"[{system.axes[times[0]].length}]" if times else ""
    words = f"{v.name}{at} along a random direction"
    return system.with_values(editor.values, losses={"loss": total.source}), words


# ---------------------------------------------------------------- zeros in, zeros out


def _with_zeros(
    system: System,
    words: str,
    names: Sequence[str],
    params: Sequence[str],
    recurrent: tuple[str, ...],
    axis: str,
) -> Asked:
    values = dict(system.values)

    def add(name: str, op: str, reads: tuple[Read, ...], like: Value, axes: tuple[str, ...]) -> str:
        name = system.fresh(name, values)
        values[name] = Value(name, op, reads, like.type, axes)
        return name

    # the weights as step t has them, and what is made of them alone
    inputs: dict[str, str] = {}
    copies: dict[str, str] = {}
    kept = [p for p in params if p in values]
    for name in kept:
        v = system[name]
        inputs[name] = zero = add(f"step_{name}", "input", (), v, (axis,))
        copies[name] = add(f"{name}.step", "add", (Read(name), Read(zero)), v, (axis,))
    for v in _in_order(system, kept):
        copies[v.name] = name = system.fresh(f"{v.name}.step", values)
        moved = v.map_reads(lambda r: r.renamed(copies.get(r.source, r.source)))
        values[name] = replace(moved, name=name, axes=(axis,))
    for v in system.values.values():
        if axis in v.axes or axis in v.over:
            reads = tuple(r.renamed(copies.get(r.source, r.source)) for r in v.reads)
            values[v.name] = replace(v, reads=reads)
    # the states with something added
    for name in names:
        v = values[name]
        inputs[f"state {name}"] = zero = add(f"seen_{name}", "input", (), v, v.axes)
        before = system.fresh(f"{name}.before", values)
        values[before] = replace(v, name=before, bounds=())
        values[name] = replace(v, op="add", reads=(Read(before), Read(zero)), attrs=())
    question = Asked(
        verify(system.with_values(values, outputs=())),
        words,
        {n: GRADIENT + inputs[f"state {n}"] for n in names},
        {n: GRADIENT + inputs[n] for n in kept},
        {v.name: GRADIENT + v.name for v in system.params},
        recurrent,
        tuple(inputs.values()),
        {copy: system[name] for name, copy in copies.items()},
    )
    for name in question.results:
        if name in values:
            raise UsageError(f"{system.name} has a value {name}, the name of a gradient; rename it")
    return question


def _in_order(system: System, params: Sequence[str]) -> list[Value]:
    """The values made of parameters and constants alone, of these parameters among them; each
    after what it reads."""
    found: dict[str, bool] = {}  # whether a value without axes depends on one of them
    out: list[Value] = []

    def visit(name: str) -> bool:
        if name not in found:
            v = system[name]
            found[name] = name in params
            reads = [visit(r.source) for r in v.reads] if v.op not in LEAVES else []
            plain = not v.axes and not v.over and not any(system[r.source].axes for r in v.reads)
            if plain and any(reads):
                found[name] = True
                out.append(v)
        return found[name]

    for name in system.values:
        if not system[name].axes:
            visit(name)
    return out


def _without_zeros(system: System, question: Asked) -> System:
    """The system with the zeros gone, reading weights again where it read those of a step."""
    values = dict(system.values)
    zeros = set(question.inputs)
    for v in system.values.values():
        if v.op == "add" and v.reads[1].source in zeros:
            values[v.name] = replace(v, op="copy", reads=v.reads[:1])
    for original in question.stands_for.values():
        values.setdefault(original.name, original)
    for v in system.values.values():
        if any(r.source in question.stands_for for r in v.reads):
            reads = tuple(
                Read(question.stands_for[r.source].name) if r.source in question.stands_for else r
                for r in v.reads
            )
            axes = {a for r in reads for a in _axes(values, r)} - set(v.over)
            if axes == set(v.axes):
                values[v.name] = replace(values[v.name], reads=reads)
    return system.with_values(values).pruned()


def _axes(values: Mapping[str, Value], r: Read) -> tuple[str, ...]:
    return tuple(r.index(a).base for a in values[r.source].axes if not r.index(a).fixed)
