"""What ONNX nodes are written with: names, constants, lengths and shapes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from onnx import AttributeProto, NodeProto, TensorProto

from rnnc.graph.types import Kind
from rnnc.passes.plan import ArrayType, Extent, Plan
from rnnc.source import Span

NDA = NDArray[Any]

ONNX_TYPES: dict[str, TensorProto.DataType] = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
}


class Writer:
    """The nodes written so far, and the names of arrays.

    ``nodes`` is the graph being written, ``outer`` the main graph: they differ inside a loop,
    where shapes and constants still go outside; shapes that a loop over segments computes go to
    ``around``, its body, where inner loops find them.
    """

    def __init__(self, plan: Plan, dtype: str, opset: int, taken: set[str]):
        self.plan = plan
        self.opset = opset
        self.dtypes: dict[Kind, str] = {"real": dtype, "index": "int64", "flag": "bool"}
        self.outer: list[NodeProto] = []
        self.nodes = self.outer
        self.around = self.outer
        self.lengths: set[str] = set()  # what is computed in ``around`` of its lengths
        self.initializers: list[TensorProto] = []
        self.pending: dict[str, NDA] = {}  # weights and constants, by array, until they are read
        self.known: dict[str, NDA] = {}  # constants and weights, which rules may look into
        self.names: dict[str, str] = {}
        self.local: dict[str, str] = {}  # names in the loop being written, before those above
        self.origin = ""
        self._taken = taken
        self._count: dict[str, int] = {}
        self._made: dict[Hashable, str] = {}
        self._origins: dict[tuple[int, int], str] = {}

    # ---------------------------------------------------------------- names and types

    def fresh(self, base: str) -> str:
        """A name that nothing else has; ``base`` itself where it is free."""
        name = base = base.replace(" ", "_")
        while name in self._taken:
            self._count[base] = self._count.get(base, 0) + 1
            name = f"{base}.{self._count[base]}"
        self._taken.add(name)
        return name

    def name(self, array: str) -> str:
        """The name of an array of the plan as an operand."""
        known = self.local.get(array)
        if known is not None:
            return known
        if array in self.pending:
            self.initializer(self.names[array], self.pending.pop(array))
        return self.names[array]

    def define(self, array: str) -> str:
        """The name that an array of the plan is about to be given as a result."""
        if self.nodes is self.outer:
            return self.names.get(array) or self.names.setdefault(array, self.fresh(array))
        return self.local.setdefault(array, self.fresh(array))

    def type(self, array: str) -> ArrayType:
        return self.plan.arrays[array]

    def dtype(self, kind: Kind) -> str:
        return self.dtypes[kind]

    @property
    def double(self) -> bool:
        return self.dtypes["real"] == "float64"

    def quote(self, origins: tuple[Span, ...]) -> None:
        """Nodes written from now on came from there."""
        if not origins:
            self.origin = ""
            return
        span = origins[0]
        key = (id(span.source), span.start)
        if key not in self._origins:
            file = span.source.name.replace("\\", "/").rpartition("/")[2]
            self._origins[key] = f"{file}:{span.line}"
        self.origin = self._origins[key]

    # ---------------------------------------------------------------- nodes

    def node(self, op: str, inputs: Sequence[str], output: str | None = None, **attrs: Any) -> str:
        """Write one node; without ``output`` its result gets a name of its own."""
        output = output or self.fresh(f"{op}.{len(self._taken)}")
        self.nodes.append(
            NodeProto(
                op_type=op,
                input=inputs,
                output=(output,),
                name=output,
                doc_string=self.origin,
                attribute=[attribute(k, v) for k, v in attrs.items()],
            )
        )
        return output

    def outside(self, op: str, inputs: Sequence[str], **attrs: Any) -> str:
        """A node outside of the loop, written once however often it is asked for."""
        key = (op, tuple(inputs), tuple(attrs.items()))
        if key not in self._made:
            nodes, origin = self.nodes, self.origin
            own = not self.lengths.isdisjoint(inputs)
            self.nodes, self.origin = self.around if own else self.outer, ""
            self._made[key] = name = self.node(op, inputs, **attrs)
            if own:
                self.lengths.add(name)
            self.nodes, self.origin = nodes, origin
        return self._made[key]

    def initializer(self, name: str, data: NDA) -> str:
        data = np.ascontiguousarray(data).reshape(data.shape)
        little = data.astype(data.dtype.newbyteorder("<"), copy=False)
        self.initializers.append(
            TensorProto(
                name=name,
                dims=data.shape,
                data_type=ONNX_TYPES[data.dtype.name],
                raw_data=little.tobytes(),
            )
        )
        return name

    def const(self, value: ArrayLike, kind: Kind = "real") -> str:
        """A constant, stored once."""
        data = self.cast(value, kind)
        key = ("const", kind, data.shape, data.tobytes())
        if key not in self._made:
            text = str(data.item()) if data.size == 1 and data.ndim == 0 else "array"
            self._made[key] = self.initializer(self.fresh(f"{kind}.{text}"), data)
        return self._made[key]

    def ints(self, *values: int) -> str:
        """A list of whole numbers, as shapes and axes are given."""
        return self.const(values, "index")

    def cast(self, value: ArrayLike, kind: Kind) -> NDA:
        with np.errstate(over="ignore"):  # 1e300 is inf in float32
            return np.asarray(value).astype(self.dtype(kind))

    # ---------------------------------------------------------------- lengths

    def length(self, axis: str, rank: int = 0) -> str:
        """The length of an axis, as a scalar or (rank 1) as a list of one."""
        size = self.plan.axes[axis]
        if isinstance(size, int):
            return self.const([size] if rank else size, "index")
        port, dimension = size
        if dimension < 0:
            name = self.name(port)  # of an array that is the length
            return self.outside("Unsqueeze", (name, self.ints(0))) if rank else name
        if self.opset >= 15:
            one = self.outside("Shape", (port,), start=dimension, end=dimension + 1)
        else:
            one = self.outside("Gather", (self.outside("Shape", (port,)), self.ints(dimension)))
        return one if rank else self.outside("Squeeze", (one, self.ints(0)))

    def extent(self, e: Extent) -> str:
        """The size of a dimension as a list of one."""
        return self.ints(e) if isinstance(e, int) else self.length(e, rank=1)

    def size(self, dims: Sequence[Extent], rank: int = 0) -> str:
        """The number of entries of an array, as a scalar or (rank 1) as a list of one."""
        numbers = [d for d in dims if isinstance(d, int)]
        if len(numbers) == len(dims):
            return self.const([prod(numbers)] if rank else prod(numbers), "index")
        count = self.outside("ReduceProd", (self.shape(dims),), keepdims=0)
        return self.outside("Unsqueeze", (count, self.ints(0))) if rank else count

    def shape(self, dims: Sequence[Extent]) -> str:
        """Dimensions as a list of whole numbers."""
        if not any(isinstance(d, str) for d in dims):
            return self.const(np.array(dims, np.int64), "index")
        parts: list[str] = []
        numbers: list[int] = []
        for d in (*dims, None):
            if isinstance(d, int):
                numbers.append(d)
                continue
            if numbers:
                parts.append(self.ints(*numbers))
                numbers = []
            if d is not None:
                parts.append(self.length(d, rank=1))
        return parts[0] if len(parts) == 1 else self.outside("Concat", parts, axis=0)


def attribute(name: str, value: Any) -> AttributeProto:
    """``onnx.helper.make_attribute`` for the few forms that are used here, five times as fast."""
    if isinstance(value, int):
        return AttributeProto(name=name, type=AttributeProto.INT, i=value)
    if isinstance(value, str):
        return AttributeProto(name=name, type=AttributeProto.STRING, s=value.encode())
    if isinstance(value, Sequence) and isinstance(value[0], float):
        return AttributeProto(name=name, type=AttributeProto.FLOATS, floats=value)
    if isinstance(value, Sequence) and isinstance(value[0], str):
        strings = [x.encode() for x in value]
        return AttributeProto(name=name, type=AttributeProto.STRINGS, strings=strings)
    if isinstance(value, Sequence):
        return AttributeProto(name=name, type=AttributeProto.INTS, ints=value)
    return AttributeProto(name=name, type=AttributeProto.GRAPH, g=value)
