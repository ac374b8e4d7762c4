"""A Plan as an ONNX model: one node for most statements, one ``Scan`` for each loop.

A loop is time-major on axis 0, which onnxruntime slices without copying; what the plan computes
outside of it stays outside, and its body captures outer arrays by name.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import (
    GraphProto,
    ModelProto,
    OperatorSetIdProto,
    StringStringEntryProto,
    ValueInfoProto,
    checker,
    printer,
)

from rnnc.backends.onnx_bodies import own_matrices
from rnnc.backends.onnx_fold import folded
from rnnc.backends.onnx_joint import gemms, splits, steps_of
from rnnc.backends.onnx_native import Operators
from rnnc.backends.onnx_ops import FORMS, constant, split, split_steps
from rnnc.backends.onnx_writer import ONNX_TYPES, Writer
from rnnc.graph.types import BATCH
from rnnc.passes.plan import (
    FEW,
    ArrayType,
    Compute,
    Loop,
    Plan,
    Statement,
    flat,
    results_of,
    uses_of,
)
from rnnc.source import DataError, InternalError, UsageError

NDA = NDArray[Any]

LOWEST_OPSET, HIGHEST_OPSET = 13, 26
LIMIT = 2**31 - 1  # bytes, of protobuf
LARGE = 1_500_000_000
SMALL_NODES, SMALL_BYTES = 2_000, 50_000_000  # what is checked in full

# What onnxruntime cannot find the shape of. Where it takes one `batch` for many, it plans memory
# in quadratic time: an LSTM unrolled for 1,000 steps took it 190 s to load, instead of 9 s.
UNCLEAR = frozenset(("expand", "shift", "reshape", "stack", "step"))


def to_onnx(
    plan: Plan,
    *,
    weights: Mapping[str, NDA] | None = None,
    dtype: Literal["float32", "float64"] = "float32",
    opset: int = 18,
    ir_version: int = 8,
    metadata: Mapping[str, str] | None = None,
) -> ModelProto:
    """The model that computes ``plan``: inputs and outputs under the names of its ports.

    With ``weights`` the parameters are stored in the model, without they are inputs under their
    own names. Real values are ``dtype``, indices int64, flags bool.

    :raises UsageError: the opset is out of range, or the model larger than protobuf allows.
    :raises DataError: a weight is missing or does not fit its parameter.
    """
    if not LOWEST_OPSET <= opset <= HIGHEST_OPSET:
        raise UsageError(
            f"opset {opset} cannot be written; take one from {LOWEST_OPSET} to {HIGHEST_OPSET}"
        )
    return _Model(plan, weights, dtype, opset).model(ir_version, metadata or {})


class _Model:
    def __init__(
        self, plan: Plan, weights: Mapping[str, NDA] | None, dtype: str, opset: int
    ) -> None:
        self.plan = plan
        taken = {p.name for p in (*plan.inputs, *plan.params, *plan.outputs)}
        self.w = Writer(plan, dtype, opset, taken)
        self.given = {p.array: p.name for p in (*plan.inputs, *plan.params)}
        self.w.names.update(self.given)
        self.outputs = {p.name for p in plan.outputs}
        self.graph_inputs = [*plan.inputs]
        if weights is None:
            self.graph_inputs += plan.params
        else:
            self._store(weights)
        self.uses = uses_of(plan.statements())
        self.uses.update(port.array for port in plan.outputs)
        self.operators = Operators()
        # what the stored weights alone decide, and no output is
        setup = () if weights is None else flat(plan.setup)
        results = {port.array for port in plan.outputs}
        self.fixed = {s.target for s in setup if isinstance(s, Compute)} - results
        sources = [s for s in plan.axes.values() if isinstance(s, tuple)]
        self.lengths = {array for array, dimension in sources if dimension < 0}
        self.shapes: list[ValueInfoProto] = []
        self._rename()
        self._name_outputs()

    # ---------------------------------------------------------------- names

    def _store(self, weights: Mapping[str, NDA]) -> None:
        for p in self.plan.params:
            if p.name not in weights:
                raise DataError(f"the weights lack {p.name}, which is {p.type}")
            data = np.asarray(weights[p.name])
            if data.shape != p.type.dims:
                raise DataError(f"the weight {p.name} is {list(data.shape)}; wanted is {p.type}")
            self.w.pending[p.array] = self.w.known[p.array] = self.w.cast(data, p.type.kind)
        stored = sum(data.nbytes for data in self.w.pending.values())
        _check_size(stored)

    def _rename(self) -> None:
        """A copy is the array that it copies, under another name."""
        self.root: dict[str, str] = {}
        for s in flat(self.plan.statements()):
            if isinstance(s, Compute) and s.op in ("copy", "stop_gradient"):
                self.root[s.target] = self.root.get(s.args[0], s.args[0])

    def _name_outputs(self) -> None:
        """What makes an output writes it under its own name, where that is possible."""
        made = set()
        for s in self.plan.statements():
            if isinstance(s, Loop):
                made |= {outer for outer, _ in s.collected}
                made |= {c.final for c in s.carried if c.final}
            elif s.op not in ("constant", "eye"):
                made.add(s.target)
        for port in self.plan.outputs:
            array = self.root.get(port.array, port.array)
            if array in made and array not in self.w.names and port.name not in self.given:
                self.w.names[array] = port.name

    # ---------------------------------------------------------------- the model

    def model(self, ir_version: int, metadata: Mapping[str, str]) -> ModelProto:
        w, plan = self.w, self.plan
        self._block([*plan.statements()])
        w.quote(())
        for port in plan.outputs:
            array = self.root.get(port.array, port.array)
            if port.name not in self.given and w.name(array) != port.name:
                w.node("Identity", [w.name(array)], port.name)
        graph = GraphProto(
            name=plan.name,
            node=w.outer,
            initializer=w.initializers,
            value_info=self.shapes,
            input=[self._value(p.name, p.type) for p in self.graph_inputs],
            output=[self._value(p.name, p.type) for p in plan.outputs],
        )
        model = ModelProto(
            ir_version=ir_version,
            producer_name="rnnc",
            graph=graph,
            opset_import=[OperatorSetIdProto(domain="", version=w.opset)],
            metadata_props=[StringStringEntryProto(key=k, value=v) for k, v in metadata.items()],
        )
        size = model.ByteSize()
        _check_size(size)
        if size <= SMALL_BYTES:
            count = sum(1 for _ in flat(plan.statements()))
            checker.check_model(model, full_check=count <= SMALL_NODES)
        return model

    def _value(self, name: str, type_: ArrayType) -> ValueInfoProto:
        out = ValueInfoProto(name=name)
        tensor = out.type.tensor_type
        tensor.elem_type = ONNX_TYPES[self.w.dtype(type_.kind)]
        tensor.shape.SetInParent()  # a scalar has a shape, too
        for d in type_.dims:
            if isinstance(d, int):
                tensor.shape.dim.add(dim_value=d)
            else:
                text = BATCH if d == BATCH else self.plan.length_names[d]
                tensor.shape.dim.add(dim_param=text)
        return out

    # ---------------------------------------------------------------- statements

    def _block(self, block: Sequence[Statement]) -> None:
        w = self.w
        running = [s for s in block if isinstance(s, Loop) or s.target not in self.fixed]
        sums, products = gemms(w, running, self.uses)
        parts = splits(running)
        steps = steps_of(w, running)
        for s in block:
            if isinstance(s, Loop):
                self._loop(s)
            elif s.target in parts:
                if parts[s.target]:
                    w.quote(s.origins)
                    split(w, parts[s.target])
            elif s.target in steps:
                if steps[s.target]:
                    self._split_steps(steps[s.target])
            elif s.target in sums:
                product, term = sums[s.target]
                w.quote(product.origins or s.origins)
                operands = [w.name(a) for a in (*product.args, term)]
                w.node("Gemm", operands, w.define(s.target))
            elif s.target not in products:
                self._compute(s)

    def _split_steps(self, group: Sequence[Compute]) -> None:
        w = self.w
        w.quote(())
        kind = w.type(group[0].target).kind
        for name, dims in split_steps(w, group).items():
            if w.nodes is w.outer and name not in self.outputs:
                self.shapes.append(self._value(name, ArrayType(tuple(dims), kind)))

    def _compute(self, s: Compute) -> None:
        w = self.w
        if s.op in ("constant", "eye"):
            self._known(s, constant(w, s))
            return
        if s.target in self.fixed and all(a in w.known for a in s.args):
            value = folded(s, [w.known[a] for a in s.args], w.type(s.target).dims)
            if value is not None:
                self._known(s, value)
                return
        if s.op == "native":
            w.quote(s.origins)
            self.operators.result(w, s, w.define(s.target))
            return
        inputs = [w.name(a) for a in s.args]
        if s.target in self.root:
            names = w.names if w.nodes is w.outer else w.local
            names[s.target] = inputs[0]
            return
        rule = FORMS.get(s.op)
        if rule is None:
            raise InternalError(f"{s.target} = {s.op}(…) has no ONNX form")
        w.quote(s.origins)
        target = w.define(s.target)
        rule(w, s, inputs, target)
        if s.target in self.lengths and w.nodes is not w.outer:
            w.around = w.nodes
            w.lengths = {target}
        if s.op in UNCLEAR and w.nodes is w.outer and target not in self.outputs:
            self.shapes.append(self._value(target, w.type(s.target)))

    def _known(self, s: Compute, value: NDA) -> None:
        """A result that is stored where something reads it."""
        w = self.w
        w.names[s.target] = w.names.get(s.target) or w.fresh(s.target)
        w.pending[s.target] = w.known[s.target] = value

    # ---------------------------------------------------------------- loops

    def _loop(self, loop: Loop) -> None:
        w = self.w
        if loop.plain:
            self._choice(loop)
            return
        inputs, attrs = self._scan(loop)
        outputs = [
            w.define(c.final) if c.final else w.fresh(f"{c.name}:last") for c in loop.carried
        ]
        outputs += [w.define(outer) for outer, _ in loop.collected]
        w.origin = ""
        w.node("Scan", inputs, outputs[0], **attrs)
        w.nodes[-1].output.extend(outputs[1:])

    def _choice(self, loop: Loop) -> None:
        """A loop, or what stands for it for few sequences."""
        w = self.w
        results = results_of(loop)
        many = w.outside("GreaterOrEqual", [w.length(BATCH), w.const(FEW, "index")])
        with_windows = self._branch([replace(loop, plain=())], results)
        uses, self.uses = self.uses, uses_of(loop.plain)
        self.uses.update(results)
        plain = self._branch(loop.plain, results)
        self.uses = uses
        outputs = [w.define(a) for a in results]
        w.origin = ""
        w.node("If", [many], outputs[0], then_branch=with_windows, else_branch=plain)
        w.nodes[-1].output.extend(outputs[1:])

    def _branch(self, block: Sequence[Statement], results: Sequence[str]) -> GraphProto:
        """Statements as a graph of their own."""
        w = self.w
        around, nodes = w.local, w.nodes
        w.local, w.nodes = dict(around), []
        self._block(block)
        graph = GraphProto(
            name=w.fresh("branch"),
            node=w.nodes,
            output=[self._value(w.name(a), w.type(a)) for a in results],
        )
        w.local, w.nodes = around, nodes
        for node in graph.node:
            if node.op_type == "Scan":
                graph.initializer.extend(own_matrices(w, node))
        return graph

    def _scan(self, loop: Loop) -> tuple[list[str], dict[str, Any]]:
        """The inputs and the attributes of a loop's node, its body among these."""
        w = self.w
        states = [c.name for c in loop.carried]
        initial = [w.name(c.initial) for c in loop.carried]
        sequences = [w.name(outer) for _, outer in loop.scanned]
        around, nodes = w.local, w.nodes
        given = {name: w.fresh(name) for name in (*states, *(i for i, _ in loop.scanned))}
        w.local = {**around, **given}
        inputs = [self._value(name, w.type(array)) for array, name in given.items()]
        if not sequences:  # the number of steps must come from somewhere
            sequences = [self._numbers(loop.axis)]
            inputs.append(self._value(w.fresh("number"), ArrayType((), "index")))
        w.nodes = []
        self._block(loop.body)
        results = [c.next for c in loop.carried] + [inner for _, inner in loop.collected]
        body = GraphProto(name=f"{loop.axis}.step", input=inputs)
        own = {output for node in w.nodes for output in node.output}
        for array in results:
            name = w.name(array)
            if name not in own:  # given already, or a name of the body's input or of outside
                name = w.node("Identity", [name], w.fresh(f"{name}:out"))
            own.discard(name)
            body.output.append(self._value(name, w.type(array)))
        body.node.extend(w.nodes)
        w.nodes, w.local = nodes, around
        attrs: dict[str, Any] = {"body": body, "num_scan_inputs": len(sequences)}
        if not loop.forward:
            attrs["scan_input_directions"] = (1,) * len(sequences)
            if loop.collected:
                attrs["scan_output_directions"] = (1,) * len(loop.collected)
        return [*initial, *sequences], attrs

    def _numbers(self, axis: str) -> str:
        w = self.w
        zero, one = w.const(0, "index"), w.const(1, "index")
        return w.outside("Range", [zero, w.length(axis), one])


def _check_size(size: int) -> None:
    if size >= LIMIT:
        raise UsageError(
            f"the model would be {size / 2**30:.1f} GiB, and an ONNX file ends at 2 GiB; "
            "leave the weights out (they become inputs), or unroll fewer steps"
        )
    if size > LARGE:
        warnings.warn(
            f"the model is {size / 2**30:.1f} GiB; onnxruntime loads it very slowly",
            stacklevel=3,
        )


def onnx_text(model: ModelProto) -> str:
    """The model in ONNX's own textual form, the same text for the same model."""
    return f"{printer.to_text(model).rstrip()}\n"
