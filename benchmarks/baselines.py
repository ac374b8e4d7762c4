"""Forward passes written by hand: the marks that generated code is measured against.

Weights are a dict of float32 arrays `W_k [m, n]`, `U_k [m, m]`, `b_k [m]` with k = f, i, o, c for

    f, i, o = σ(W x[t] + U h[t-1] + b)      c[t] = f c[t-1] + i tanh(W_c x[t] + U_c h[t-1] + b_c)
    h[t]    = o tanh(c[t])

and inputs and outputs are batch-first: x [batch, T, n] to h [batch, T, m].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[np.float32]
Weights = Mapping[str, Array]

#: The gates in the order in which the hand-written NumPy code packs them. The sigmoids are
#: neighbours, and `[i, f]` faces `[g, c]`, so that one multiplication gives both products.
PACKING = "oifc"

#: From this batch size on, row-major weights give the faster product.
LARGE_BATCH = 16

_HALF = np.array(0.5, np.float32)  # an array without axes costs less per call than a scalar


def aligned(*shape: int) -> Array:
    """An uninitialised array that starts at a multiple of 64 bytes.

    NumPy's own arrays start at multiples of 16. A matrix-vector product then takes a third longer.
    """
    size = int(np.prod(shape)) * 4
    buffer = np.empty(size + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    return buffer[start : start + size].view(np.float32).reshape(shape)


def init_lstm(n: int, m: int, seed: int = 0) -> dict[str, Array]:
    """Weights from U(-1/√m, 1/√m) for an LSTM of n inputs and m cells."""
    rng = np.random.default_rng(seed)
    bound = m**-0.5
    shapes = {"W": (m, n), "U": (m, m), "b": (m,)}
    return {
        f"{name}_{gate}": rng.uniform(-bound, bound, shape).astype(np.float32)
        for gate in "fioc"
        for name, shape in shapes.items()
    }


def naive_lstm(weights: Weights, x: Array) -> Array:
    """The equations as they are written, one product per weight and step: the reference."""

    def gate(k: str) -> Array:
        linear = x[:, t] @ weights[f"W_{k}"].T + h @ weights[f"U_{k}"].T
        return np.asarray(linear + weights[f"b_{k}"], np.float32)

    def sigmoid(a: Array) -> Array:
        return np.asarray(1 / (1 + np.exp(-a)), np.float32)

    batch, steps, _ = x.shape
    m = len(weights["b_f"])
    h = c = np.zeros((batch, m), np.float32)
    hs = np.empty((batch, steps, m), np.float32)
    for t in range(steps):
        c = sigmoid(gate("f")) * c + sigmoid(gate("i")) * np.tanh(gate("c"))
        h = sigmoid(gate("o")) * np.tanh(c)
        hs[:, t] = h
    return hs


class NumpyLSTM:
    """The fastest LSTM forward known to us in plain NumPy.

    What makes it fast, the largest gain first:

    - features first, batch last: every gate is a contiguous slice `[m, batch]` of the packed
      `[4m, batch]`;
    - weights column-major for small batches (row-major for large ones) and 64-byte aligned;
    - inputs, the 1 that the bias multiplies and h lie in one buffer `[T + 1, m + n + 1, batch]`: a
      step is one product `[U W b] [h; x; 1]` without an addition, and writes h where the next step
      reads it. With n > m and a single sequence it pays to multiply all inputs beforehand instead;
    - σ(a) = tanh(a/2)/2 + 1/2 with the inner half folded into the weights (exact: a power of two),
      so that one tanh serves all four gates;
    - `np.dot` rather than `np.matmul`, positional `out`, constants as arrays.
    """

    def __init__(self, weights: Weights) -> None:
        self.m, self.n = weights["W_c"].shape
        packed = []
        for gate in PACKING:
            parts = weights[f"U_{gate}"], weights[f"W_{gate}"], weights[f"b_{gate}"][:, None]
            scale = np.float32(1.0 if gate == "c" else 0.5)
            packed.append(np.concatenate(parts, axis=1) * scale)
        rows = np.concatenate(packed)
        self.rows = _aligned_copy(rows)
        self.columns = _aligned_copy(rows.T)
        self.inputs = _aligned_copy(rows.T[self.m :])
        self.recurrent = _aligned_copy(rows.T[: self.m])

    def __call__(self, x: Array) -> Array:
        """All h as `[batch, T, m]`, a view (not C-contiguous) of `[T, m + n + 1, batch]`."""
        if self.n > self.m and len(x) == 1:
            return self._projected(x)
        batch, steps, n = x.shape
        m = self.m
        weights = self.rows if batch >= LARGE_BATCH else self.columns.T
        state = aligned(steps + 1, m + n + 1, batch)  # [h[t-1]; x[t]; 1] of every step
        state[0, :m] = 0
        state[:steps, m : m + n] = x.transpose(1, 2, 0)
        state[:, m + n] = 1
        hs = state[1:, :m]
        a, gates, o, i, f, c, facing = self._buffers(batch)
        dot, tanh, multiply, add, half = np.dot, np.tanh, np.multiply, np.add, _HALF
        for last, h in zip(state, hs):  # noqa: B905 - the last state has no successor
            dot(weights, last, a)
            tanh(a, a)
            multiply(gates, half, gates)
            add(gates, half, gates)
            multiply(facing[0], facing[1], facing[0])
            add(i, f, c)
            tanh(c, h)
            multiply(h, o, h)
        return hs.transpose(2, 0, 1)

    def _projected(self, x: Array) -> Array:
        """The same for one sequence, with the products of all inputs in advance."""
        _, steps, n = x.shape
        m = self.m
        inputs = np.ones((steps, n + 1), np.float32)
        inputs[:, :n] = x[0]
        projected = np.dot(inputs, self.inputs).reshape(steps, 4 * m, 1)
        weights = self.recurrent.T
        hs = aligned(steps, m, 1)
        h = np.zeros((m, 1), np.float32)
        a, gates, o, i, f, c, facing = self._buffers(1)
        dot, tanh, multiply, add, half = np.dot, np.tanh, np.multiply, np.add, _HALF
        for p, h_next in zip(projected, hs, strict=True):
            dot(weights, h, a)
            add(a, p, a)
            tanh(a, a)
            multiply(gates, half, gates)
            add(gates, half, gates)
            multiply(facing[0], facing[1], facing[0])
            add(i, f, c)
            tanh(c, h_next)
            multiply(h_next, o, h_next)
            h = h_next
        return hs.transpose(2, 0, 1)

    def _buffers(
        self, batch: int
    ) -> tuple[Array, Array, Array, Array, Array, Array, tuple[Array, Array]]:
        """Views of a buffer [o, i, f, g, c]: gates, sigmoids, o, i, f, c, ([i, f], [g, c])."""
        m = self.m
        buffer = aligned(5 * m, batch)
        buffer[4 * m :] = 0
        o, i, f, _, c = buffer.reshape(5, m, batch)
        facing = buffer[m : 3 * m], buffer[3 * m :]
        return buffer[: 4 * m], buffer[: 3 * m], o, i, f, c, facing


def numpy_lstm(weights: Weights, x: Array) -> Array:
    """`NumpyLSTM` for a single call; it packs the weights anew each time."""
    return NumpyLSTM(weights)(x)


def _aligned_copy(array: Array) -> Array:
    """A C-contiguous copy that starts at a multiple of 64 bytes."""
    copy = aligned(*array.shape)
    copy[...] = array
    return copy


def scan_lstm(
    weights: Weights,
    opset: int = 18,
    ir: int = 8,
    gates: Literal["separate", "packed"] = "separate",
) -> onnx.ModelProto:
    """An ONNX model of the LSTM with one Scan; input `x [batch, T, n]`, output `h [batch, T, m]`.

    `separate` has one Gemm per gate in the body. onnxruntime merges each with its sigmoid or tanh,
    and no Split is needed: ten nodes, the fastest on one thread. `packed` has one Gemm, a Split and
    four activations; it wins on several threads with large cells.
    """
    m, n = weights["W_c"].shape
    groups = list("fioc") if gates == "separate" else ["fioc"]
    graph = _Graph()
    graph.node("Transpose", "x", out="x_steps", perm=[1, 0, 2])
    body = _Graph()
    for group in groups:
        width = len(group) * m
        packed = {
            name: np.concatenate([weights[f"{name}_{gate}"] for gate in group]) for name in "WUb"
        }
        product = graph.node("MatMul", "x_steps", graph.constant(packed["W"].T, f"W_{group}"))
        graph.node("Add", product, graph.constant(packed["b"], f"b_{group}"), out=f"p_{group}")
        recurrent = graph.constant(packed["U"].T, f"U_{group}")
        body.input(f"step_{group}", ["batch", width])
        body.node("Gemm", "h_last", recurrent, f"step_{group}", out=f"a_{group}")
    if gates == "packed":
        sizes = graph.constant(np.full(4, m, np.int64), "gate_sizes")
        body.node("Split", "a_fioc", sizes, out=["a_f", "a_i", "a_o", "a_c"], axis=-1)
    for gate in "fio":
        body.node("Sigmoid", f"a_{gate}", out=gate)
    body.node("Tanh", "a_c", out="g")
    body.node("Mul", "f", "c_last", out="kept")
    body.node("Mul", "i", "g", out="added")
    body.node("Add", "kept", "added", out="c_next")
    body.node("Tanh", "c_next", out="squashed")
    body.node("Mul", "o", "squashed", out="h_next")
    body.node(
        "Identity", "h_next", out="h_step"
    )  # one name must not be both a state and a scan output
    step = helper.make_graph(
        body.nodes,
        "step",
        [_value("h_last", ["batch", m]), _value("c_last", ["batch", m]), *body.inputs],
        [_value(name, ["batch", m]) for name in ("h_next", "c_next", "h_step")],
    )
    batch = graph.node("Shape", "x", start=0, end=1)
    shape = graph.node("Concat", batch, graph.constant(np.array([m]), "cells"), axis=0)
    zero = numpy_helper.from_array(np.zeros(1, np.float32))
    zeros = graph.node("ConstantOfShape", shape, value=zero)
    graph.node(
        "Scan",
        *(zeros, zeros, *(f"p_{group}" for group in groups)),
        out=["h_final", "c_final", "h_steps"],
        body=step,
        num_scan_inputs=len(groups),
    )
    graph.node("Transpose", "h_steps", out="h", perm=[1, 0, 2])
    return graph.model({"x": ["batch", "T", n]}, {"h": ["batch", "T", m]}, opset, ir)


#: ONNX's operators: the order of their gates, and those with a bias of their own on h
OPERATORS = {"LSTM": ("iofc", ""), "GRU": ("zrh", "h"), "RNN": ("h", "")}


def native(kind: str, weights: Weights, opset: int = 18, ir: int = 8) -> onnx.ModelProto:
    """A model with ONNX's own LSTM, GRU (reset after, as PyTorch's) or RNN operator.

    Weights are `W_k`, `U_k`, `b_k` as above, of a GRU with k = z, r, h and `c_h`, the bias that the
    reset gate multiplies, too; of an RNN with k = h.
    """
    order, second = OPERATORS[kind]
    m, n = weights[f"W_{order[0]}"].shape
    graph = _Graph()
    graph.node("Transpose", "x", out="x_steps", perm=[1, 0, 2])
    packed = {name: np.concatenate([weights[f"{name}_{gate}"] for gate in order]) for name in "WUb"}
    none = np.zeros(m, np.float32)
    recurrent = [weights[f"c_{gate}"] if gate in second else none for gate in order]
    biases = np.concatenate([packed["b"], *recurrent])
    graph.node(
        kind,
        "x_steps",
        graph.constant(packed["W"][None], "W"),
        graph.constant(packed["U"][None], "R"),
        graph.constant(biases[None], "B"),
        out="y",
        hidden_size=m,
        **({"linear_before_reset": 1} if kind == "GRU" else {}),
    )
    graph.node("Squeeze", "y", graph.constant(np.array([1]), "directions"), out="h_steps")
    graph.node("Transpose", "h_steps", out="h", perm=[1, 0, 2])
    return graph.model({"x": ["batch", "T", n]}, {"h": ["batch", "T", m]}, opset, ir)


class _Graph:
    """Collects nodes, constants and inputs of a graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []

    def node(self, op: str, *inputs: str, out: str | list[str] = "", **attributes: Any) -> str:
        """Append a node; its first output's name, invented if `out` is empty."""
        names = [out or f"{op}_{len(self.nodes)}"] if isinstance(out, str) else out
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names[0]

    def constant(self, array: npt.NDArray[Any], name: str) -> str:
        """Add a constant under `name`."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def input(self, name: str, shape: list[str | int]) -> None:
        """Add a float32 input."""
        self.inputs.append(_value(name, shape))

    def model(
        self,
        inputs: Mapping[str, list[str | int]],
        outputs: Mapping[str, list[str | int]],
        opset: int,
        ir: int,
    ) -> onnx.ModelProto:
        """The checked model."""
        graph = helper.make_graph(
            self.nodes,
            "lstm",
            [_value(name, shape) for name, shape in inputs.items()],
            [_value(name, shape) for name, shape in outputs.items()],
            self.constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def _value(name: str, shape: list[str | int]) -> onnx.ValueInfoProto:
    """A float32 value of this shape."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
