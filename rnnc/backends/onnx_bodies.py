"""Graphs in a graph: the body of a ``Scan``, the branches of an ``If``; of real numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto

from rnnc.backends.onnx_writer import ONNX_TYPES, Writer

Step = Callable[[list[str], list[str]], tuple[list[str], list[str]]]


def scan(
    w: Writer,
    states: Sequence[str],
    sequences: Sequence[str],
    step: Step,
    back: bool = False,
) -> tuple[list[str], list[str]]:
    """A ``Scan`` over dimension 0 of ``sequences`` (``back``: from the last entry to the first).

    ``step`` writes the body: from the states before a step and the entries of the sequences to
    the states after it, and what is kept of it. Gives the last states, and all that was kept.
    """
    before = [w.fresh("state") for _ in states]
    entries = [w.fresh("x") for _ in sequences]
    around, w.nodes = w.nodes, []
    after, kept = step(before, entries)
    # onnxruntime mistakes a state that is kept under the same name
    kept = [w.node("Identity", [x]) for x in kept]
    body = GraphProto(name="step", node=w.nodes)
    body.input.extend(_real(w, name) for name in (*before, *entries))
    body.output.extend(_real(w, name) for name in (*after, *kept))
    w.nodes = around
    turn: dict[str, Any] = {}
    if back:
        turn["scan_input_directions"] = (1,) * len(sequences)
        if kept:
            turn["scan_output_directions"] = (1,) * len(kept)
    outputs = [w.fresh("states") for _ in (*after, *kept)]
    w.node("Scan", [*states, *sequences], outputs[0], body=body,
           num_scan_inputs=len(sequences), **turn)  # fmt: skip
    w.nodes[-1].output.extend(outputs[1:])
    return outputs[: len(after)], outputs[len(after) :]


def choice(
    w: Writer, condition: str, then: Callable[[], list[str]], other: Callable[[], list[str]]
) -> list[str]:
    """An ``If``: what ``then`` writes, where the condition holds, else what ``other`` does."""
    branches = {"then_branch": _branch(w, then), "else_branch": _branch(w, other)}
    count = len(branches["then_branch"].output)
    names = [w.fresh(f"chosen.{len(w.initializers)}") for _ in range(count)]
    w.node("If", [condition], names[0], **branches)
    w.nodes[-1].output.extend(names[1:])
    return names


def _branch(w: Writer, write: Callable[[], list[str]]) -> GraphProto:
    around, w.nodes = w.nodes, []
    found = write()
    graph = GraphProto(name=write.__name__.strip("_"), node=w.nodes)
    graph.output.extend(_real(w, name) for name in found)
    w.nodes = around
    return graph


def own_matrices(w: Writer, scan: NodeProto) -> list[TensorProto]:
    """The stored matrices that a loop multiplies by, copied and named anew, to be stored in the
    graph around it: onnxruntime packs them for products once if they are there, not further out.
    """
    known = {i.name: i for i in w.initializers}
    copies: dict[str, TensorProto] = {}
    (body,) = (a.g for a in scan.attribute if a.name == "body")
    for node in body.node:
        if node.op_type in ("Gemm", "MatMul") and node.input[1] in known:
            name = node.input[1]
            if name not in copies:
                copies[name] = TensorProto()
                copies[name].CopyFrom(known[name])
                copies[name].name = w.fresh(name)
            node.input[1] = copies[name].name
    return [*copies.values()]


def _real(w: Writer, name: str) -> ValueInfoProto:
    """An array of real numbers, of whatever shape."""
    out = ValueInfoProto(name=name)
    out.type.tensor_type.elem_type = ONNX_TYPES[w.dtype("real")]
    return out
