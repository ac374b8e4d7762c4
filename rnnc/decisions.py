"""What became of each recurrence, and what in the equations decided it, in words."""

from __future__ import annotations

from dataclasses import dataclass

from rnnc.compiler import Options
from rnnc.graph.cycles import recurrences
from rnnc.graph.system import System
from rnnc.passes import linear, recognise


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
    for v in linear.verdicts(system):
        r = v.recurrence
        kind, told = operators.get(r.members, ("", ""))
        lines: list[str] = []
        if options.plain_loops:
            kind, lines = "", ["a loop, as plain loops were asked for"]
        elif kind:
            lines = [f"form: the operator {kind}", f"what decided it: {told}"]
        elif v.states and options.memory == "low":
            lines = ["in blocks of steps, but for the memory: a segment is gone through in steps"]
        elif v.states:
            lines = _in_blocks(v.states)
        else:
            lines = [f"no operator: {told}"] if told else []
            lines += [f"not in blocks: {v.reason}"] if v.nearly else []
        settled = bool(kind or v.states) and not options.plain_loops and options.memory != "low"
        out.append(Decision(r.members, r.forward, tuple(lines), settled))
    return out


def _in_blocks(states: tuple[str, ...]) -> list[str]:
    named = " and ".join(f"`{s}`" for s in states)
    return [
        "form: in blocks of steps side by side, from 128 steps on and while a step has up to 256 "
        "numbers; else in a loop",
        f"what decided it: {named} {'are' if len(states) > 1 else 'is'} linear in the step before, "
        "with factors that do not recur and are at most 1",
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
