"""What became of each recurrence, and what in the equations decided it, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rnnc.compiler import Options
from rnnc.graph.cycles import recurrences
from rnnc.graph.names import told
from rnnc.graph.system import System
from rnnc.passes import attention, linear, recognise
from rnnc.passes.plan import (
    CHUNK,
    LEAST_CHUNKED,
    LEAST_OF_SMALL,
    LEAST_STEPS,
    MOST_ENTRIES,
    SMALL_MATRIX,
)


@dataclass(frozen=True)
class Decision:
    """What became of a recurrence of a rolled system; ``settled`` where it is no plain loop any
    more. Of gradients, those that go back have a recurrence that is not ``forward`` where that of
    the values is, and the other way round."""

    members: frozenset[str]
    forward: bool
    lines: tuple[str, ...]
    settled: bool


def decisions(system: System, options: Options) -> list[Decision]:
    """What ``compiler.forms`` makes of each recurrence of a rolled system, and why."""
    operators = _operators(system, options)
    out: list[Decision] = []
    matrices = {v.recurrence.members: v for v in attention.verdicts(system)}
    for found in linear.verdicts(system):
        v, r = matrices.get(found.recurrence.members, found), found.recurrence
        kind, why = operators.get(r.members, ("", ""))
        lines: list[str] = []
        if options.plain_loops:
            kind, lines = "", ["a loop, as plain loops were asked for"]
        elif kind:
            lines = [f"form: the operator {kind}", f"what decided it: {why}"]
        elif v.states and options.jit and r.members not in matrices:
            lines = ["in blocks of steps, but for numba: a loop that it compiles is faster"]
        elif v.states and options.memory == "low":
            lines = ["in blocks of steps, but for the memory: a segment is gone through in steps"]
        elif v.states:
            states = [told(s, system.values) for s in v.states]
            lines = _in_chunks(states[0]) if r.members in matrices else _in_blocks(states)
        else:
            lines = [f"no operator: {why}"] if why else []
            form = "chunks" if r.members in matrices else "blocks"
            lines += [f"not in {form}: {v.reason}"] if v.nearly else []
        loops = options.plain_loops or options.memory == "low"
        loops = loops or (options.jit and r.members not in matrices)
        settled = bool(kind or v.states) and not loops
        out.append(Decision(r.members, r.forward, tuple(lines), settled))
    return out


def _in_blocks(states: Sequence[str]) -> list[str]:
    named = " and ".join(states)
    return [
        f"form: in blocks of steps side by side, from {LEAST_STEPS} steps on and while a step of "
        f"all sequences has up to {MOST_ENTRIES} numbers; else in a loop",
        f"what decided it: {named} {'are' if len(states) > 1 else 'is'} linear in the step "
        "before, with factors that do not recur and are at most 1",
    ]


def _in_chunks(state: str) -> list[str]:
    return [
        f"form: in chunks of {CHUNK} steps (blocked), products of matrices in each; of fewer than "
        f"{LEAST_CHUNKED} steps ({LEAST_OF_SMALL} if it has fewer than {SMALL_MATRIX} entries) in "
        "a loop",
        f"what decided it: {state} is a matrix to which outer products are added, with a "
        "factor that is a number, does not recur and is at most 1, and it is read in products with "
        "vectors alone",
    ]


def _operators(system: System, options: Options) -> dict[frozenset[str], tuple[str, str]]:
    """For each recurrence, by its members: the operator that it is, if it is one, and why."""
    if options.backend != "onnx" or options.mode in ("grad", "train") or options.plain_loops:
        return {}
    if options.target is None:
        return {r.members: ("", "onnxruntime has none of float64") for r in recurrences(system)}
    return {
        v.recurrence.members: (v.native.kind if v.native else "", v.reason)
        for v in recognise.verdicts(system, options.target)
    }
