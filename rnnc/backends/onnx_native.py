"""ONNX's recurrent operators: one node for all results of one recurrence.

Arrays of a plan are ``[t, batch, d * m]`` with d directions side by side; the operator has
``[t, d, batch, m]`` (ONNX, operators LSTM, GRU and RNN). ``layout`` is left out, since onnxruntime
refuses 1. Constants of activations stand in lists, for those activations alone that have some.
"""

from __future__ import annotations

from typing import Any

from onnx import NodeProto, TensorProto

from rnnc.backends.onnx_writer import Writer
from rnnc.passes.plan import Compute

ORDER = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
WEIGHTS = ("W", "R", "B", "P")
RESULTS = ("Y", "Y_h", "Y_c")


class Operators:
    """The nodes written so far, so that several results of one recurrence come from one node."""

    def __init__(self) -> None:
        self.nodes: dict[object, NodeProto] = {}

    def result(self, w: Writer, s: Compute, target: str) -> None:
        """One result of an operator, under the name ``target``."""
        settings = tuple((k, a) for k, a in s.attrs if k != "result")
        node = self.nodes.get((s.args, settings))
        if node is None:
            node = self.nodes[s.args, settings] = _node(w, s)
        place = RESULTS.index(s.attr("result"))
        while len(node.output) <= place:
            node.output.append("")
        if not node.output[place]:
            node.output[place] = w.fresh(f"{target}:{s.attr('result')}")
        raw = node.output[place]
        every = s.attr("result") == "Y"
        if s.attr("direction") != "bidirectional":
            w.node("Squeeze", [raw, w.ints(1 if every else 0)], target)
            return
        order = (0, 2, 1, 3) if every else (1, 0, 2)  # the directions next to the entries
        turned = w.node("Transpose", [raw], perm=order)
        w.node("Reshape", [turned, w.ints(*([0, 0, -1] if every else [0, -1]))], target)


def _node(w: Writer, s: Compute) -> NodeProto:
    """The operator's node, without outputs."""
    both = s.attr("direction") == "bidirectional"
    count = 2 if both else 1
    operands: dict[str, str] = {}
    for name, array in zip(s.attr("given"), s.args, strict=True):
        if name in WEIGHTS:
            operands[name] = _weights(w, array, count, f"{s.attr('kind')}.{name}")
            continue
        given = operands[name] = w.name(array)
        if name == "sequence_lens":
            operands[name] = w.node("Cast", [given], to=int(TensorProto.INT32))
        elif name != "X" and both:
            apart = w.node("Reshape", [given, w.ints(0, 2, s.attr("size"))])
            operands[name] = w.node("Transpose", [apart], perm=(1, 0, 2))
        elif name != "X":
            operands[name] = w.node("Unsqueeze", [given, w.ints(0)])
    names = [operands.get(name, "") for name in ORDER]
    while not names[-1]:
        names.pop()
    w.node(s.attr("kind"), names, w.fresh(f"{s.target}:{s.attr('kind')}"), **_settings(s))
    node = w.nodes[-1]
    del node.output[:]
    return node


def _weights(w: Writer, array: str, count: int, name: str) -> str:
    """Weights with a dimension for the directions; stored so where they are known."""
    rows, *columns = (int(d) for d in w.type(array).dims)
    shape = (count, rows // count, *columns)
    if array in w.known:
        return w.initializer(w.fresh(name), w.known[array].reshape(shape))
    return w.node("Reshape", [w.name(array), w.ints(*shape)])


def _settings(s: Compute) -> dict[str, Any]:
    activations = s.attr("activations")
    out: dict[str, Any] = {
        "hidden_size": s.attr("size"),
        "direction": s.attr("direction"),
        "activations": [a.name for a in activations],
    }
    for constant in ("alpha", "beta"):
        values = [getattr(a, constant) for a in activations]
        if numbers := [float(x) for x in values if x is not None]:
            out[f"activation_{constant}"] = numbers
    if s.attr("kind") == "GRU":
        out["linear_before_reset"] = int(s.attr("after"))
    return out
