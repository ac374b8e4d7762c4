"""A recurrence and the operator that it is said to be, compared by their numbers.

One step of both sides, the equations as they stand and the operator's formula (ONNX, operators
RNN, GRU, LSTM) on the packed weights, at random points in float64. What was matched by form is
taken only where this agrees. (What is outside of a step, first states, lengths and directions, is
not compared.)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rnnc.graph.ops import OPS, TypeMismatch
from rnnc.graph.system import System, Value
from rnnc.graph.types import Index, Read, whole
from rnnc.passes.activations import NDA
from rnnc.passes.editor import Editor
from rnnc.passes.packing import packed
from rnnc.passes.roles import PEEPHOLES, ROLES, Native
from rnnc.passes.views import Unlike

TOLERANCE = 1e-9
SPREADS = (2.0, 20.0)  # of the random numbers


def prove(system: System, native: Native) -> None:
    """Compare a step, of small numbers and of large ones.

    :raises Unlike: the numbers differ, or the operands have not the shapes of the operator.
    """
    try:
        editor = Editor(system)
        operands = packed(editor, (native,))
        for spread in SPREADS:
            _compare(editor.values, native, operands, spread)
    except (TypeMismatch, ValueError) as error:
        raise Unlike(
            f"its weights are not those of the operator {native.kind}: {error}", 9
        ) from error


def _compare(
    values: Mapping[str, Value], native: Native, operands: Mapping[str, Read], spread: float
) -> None:
    step = _Step(values, native, spread)
    states = [s for s in (native.h, native.c) if s]
    wanted = [step.new(s) for s in states]
    given = {name: step.of(r) for name, r in operands.items() if name in "XWRBP"}
    found = _operator(native, given, *(step.old(s) for s in states))
    for a, b in zip(found, wanted, strict=True):
        if not np.allclose(a, b, TOLERANCE, TOLERANCE):
            raise Unlike(f"its numbers are not those of the operator {native.kind}", 9)


class _Step:
    """One step of equations, whatever they read from elsewhere random."""

    def __init__(self, values: Mapping[str, Value], native: Native, spread: float):
        self.values = values
        self.spread = spread
        self.native = native
        self.rng = np.random.default_rng(3)
        self.known: dict[Read, NDA] = {}

    def old(self, state: str) -> NDA:
        index = Index(self.native.axis, -1 if self.native.forward else 1)
        return self.of(Read(state, ((self.native.axis, index),)))

    def new(self, state: str) -> NDA:
        return self.of(Read(state))

    def of(self, r: Read) -> NDA:
        """What a read gives at this step."""
        if r not in self.known:
            self.known[r] = self._computed(r)
        return self.known[r]

    def _computed(self, r: Read) -> NDA:
        v = self.values[r.source]
        compute = OPS[v.op].compute
        guard = v.op == "where" and v.reads[0].source not in self.native.members
        if guard and not r.at and v.name in self.native.members:
            return self.of(v.reads[1])  # what is there within the sequence's length
        if r.at or compute is None or v.over or not self._numbers(v):
            return self._random(v)
        if v.op == "copy":
            return self.of(v.reads[0])
        return compute([self.of(x) for x in v.reads], dict(v.attrs))

    def _numbers(self, v: Value) -> bool:
        """Whether it is made of numbers and flags: indices are data."""
        return all(self.values[x.source].type.kind != "index" for x in (Read(v.name), *v.reads))

    def _random(self, v: Value) -> NDA:
        shape = tuple(whole(s) for s in v.type.shape)
        spread = self.spread / max(1, shape[-1] if len(shape) == 2 else 1) ** 0.5
        return np.asarray((self.rng.random(shape) - 0.5) * spread)


def _operator(native: Native, given: Mapping[str, NDA], *old: NDA) -> list[NDA]:
    """The new states by the operator's formula."""
    roles, m = ROLES[native.kind], native.size
    k = len(roles)
    biases = given.get("B", np.zeros(2 * k * m)).reshape(2, k, m)
    inputs = (given["W"] @ given["X"]).reshape(k, m) + biases[0]
    weights = given["R"].reshape(k, m, m)
    h = old[0]
    f, *others = native.activations
    if native.kind == "RNN":
        return [f(inputs[0] + weights[0] @ h + biases[1, 0])]
    if native.kind == "GRU":
        z, r = (f(inputs[i] + weights[i] @ h + biases[1, i]) for i in (0, 1))
        if native.after:
            n = others[0](inputs[2] + r * (weights[2] @ h + biases[1, 2]))
        else:
            n = others[0](inputs[2] + weights[2] @ (r * h) + biases[1, 2])
        return [(1 - z) * n + z * h]
    c = old[1]
    peepholes = dict(zip(PEEPHOLES, given.get("P", np.zeros(3 * m)).reshape(3, m), strict=True))
    total = dict(zip(roles, inputs + weights @ h + biases[1], strict=True))
    i, forget = (f(total[x] + peepholes[x] * c) for x in "if")
    c = forget * c + i * others[0](total["g"])
    o = f(total["o"] + peepholes["o"] * c)
    return [o * others[1](c), c]
