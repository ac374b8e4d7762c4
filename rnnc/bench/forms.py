"""The forms of a model that are timed: what rnnc makes of its spec, and what other libraries do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from rnnc import compiler
from rnnc.api import Spec
from rnnc.bench.cost import Cost, step_cost, whole_cost
from rnnc.compiler import LEARNING, Options
from rnnc.graph.names import GRADIENT, axis_of
from rnnc.graph.types import BATCH
from rnnc.passes.plan import Plan
from rnnc.passes.update import RATE
from rnnc.runtime.ports import check_inputs
from rnnc.runtime.stream import Stream
from rnnc.source import UsageError
from rnnc.testing.agreement import random_data, relative_error
from rnnc.testing.alone import by_axis

Arrays = dict[str, Any]
Call = Callable[[], Mapping[str, Any]]

MODES = ("predict", "loss", "grad", "train")
LEARNING_RATE = 1e-3
MOST_UNROLLED = 100  # steps: more take long to compile and to load
#: How far results may lie apart, relative to the largest entry: of outputs and losses, of gradients
TOLERANCE = {"float32": (1e-4, 1e-3), "float64": (1e-9, 1e-8)}


@dataclass(frozen=True)
class Case:
    """A spec in one mode, on random data of one size: ``steps`` by the names of axes and lengths.

    Outputs are computed with weights that the model holds, so that what depends on them alone is
    done before; losses, gradients and training steps are given them with each call. Along ``axes``
    the sequences have random lengths of their own; ``outputs`` stand for the spec's own; with
    ``memory`` low gradients are also computed in segments.
    """

    spec: Spec
    mode: str
    batch: int
    steps: Mapping[str, int]
    dtype: str = "float32"
    threads: int = 1
    seed: int = 0
    axes: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    memory: str = "normal"

    @cached_property
    def lengths(self) -> dict[str, Any]:
        """Of each sequence of the batch, by axis; the first one is as long as can be."""
        rng = np.random.default_rng(self.seed)
        drawn = {a: rng.integers(1, self.steps[a] + 1, self.batch) for a in self.axes}
        for axis, numbers in drawn.items():
            numbers[0] = self.steps[axis]
        return drawn

    @cached_property
    def weights(self) -> Arrays:
        return self.spec.init(self.seed, self.dtype)

    @cached_property
    def model(self) -> Any:
        """The ONNX model in its default form."""
        return self._compile("onnx", threads=self.threads)

    @cached_property
    def data(self) -> Arrays:
        """All that a model takes beside weights, by port."""
        given = random_data(self.spec, self.batch, self.steps, self.seed)
        arrays: Arrays = {}
        for port in self.model.ports.inputs:
            if port.name in given:
                arrays[port.name] = given[port.name]
            elif self.mode == "train" and port.name == RATE:
                arrays[port.name] = LEARNING_RATE
            elif port.role == "lengths":
                arrays[port.name] = self.lengths[axis_of(port.name)]
            elif port.role == "length":
                arrays[port.name] = self.steps.get(port.name, self.batch)
            elif port.role == "input":  # the weights of outputs whose gradients are asked for
                shape = [d if isinstance(d, int) else self._size(d) for d in port.dims]
                rng = np.random.default_rng([self.seed, *port.name.encode()])
                arrays[port.name] = rng.standard_normal(shape)
        return check_inputs(self.model.ports.inputs, arrays, self.dtype, seed=self.seed)

    @property
    def tolerance(self) -> float:
        return TOLERANCE[self.dtype][self.mode in ("grad", "train")]

    def _size(self, dim: str) -> int:
        return self.batch if dim == BATCH else self.steps[dim]

    def _compile(self, backend: str, **options: Any) -> Any:
        held = self.weights if self.mode == "predict" else None
        asked = {"mode": self.mode, "dtype": self.dtype, "training": False, "lengths": self.axes,
                 "outputs": self.outputs, **options}  # fmt: skip
        return self.spec.compile(backend, weights=held, **asked)

    def _bound(self, model: Any) -> Call:
        """A run of a model of rnnc on the arrays as it wants them."""
        if self.mode == "predict":
            return partial(model.run, self.data)
        return partial(model.run, self.data, weights=self.weights)

    # ---------------------------------------------------------------- rnnc's own

    def onnx(self) -> Call:
        return self._bound(self.model)

    def plain(self) -> Call | None:
        """Each recurrence a plain loop; None where the default form is that."""
        model = self._compile("onnx", threads=self.threads, plain_loops=True)
        return None if model._bytes == self.model._bytes else self._bound(model)

    def unrolled(self) -> Call | None:
        """Without loops; None where these would be too many steps."""
        times = {axis: self.steps[axis] for axis in self.spec.bound.time_axes()}
        if not times or max(times.values()) > MOST_UNROLLED or len(times) > 1:
            return None
        return self._bound(self._compile("onnx", threads=self.threads, unroll=times))

    def numpy(self) -> Call:
        return self._bound(self._compile("numpy"))

    def numba(self) -> Call | None:
        """NumPy source with compiled loops; None where numba takes none of them."""
        model = self._compile("numpy", jit=True)
        return self._bound(model) if model.jit else None

    def segments(self, backend: str) -> Call | None:
        """Gradients in little memory; None where these are not asked for."""
        if self.memory == "normal" or self.mode not in LEARNING:
            return None
        threads = self.threads if backend == "onnx" else None
        return self._bound(self._compile(backend, threads=threads, memory=self.memory))

    def stepwise(self) -> Call | None:
        """A call of the step model for each step; None where outputs need more than that.

        :raises SpecError: a step would need to know later ones.
        """
        values, times = self.spec.bound.values, self.spec.bound.time_axes()
        if self.mode != "predict" or len(times) != 1 or self.axes:
            return None
        steps, outputs = self.steps[times[0]], self.outputs or self.spec.bound.outputs
        if any(not {BATCH, *times} <= set(values[name].axes) for name in outputs):
            return None
        stream = Stream(
            self._compile("onnx", mode="step", threads=self.threads),
            self._compile("numpy", mode="init"),
        )
        given = {n: (a, values[n].axes) for n, a in self.data.items() if n in values}
        rows = [
            {n: np.take(a, t, axes.index(times[0]) + (BATCH in axes)) if times[0] in axes else a
             for n, (a, axes) in given.items()}
            for t in range(steps)
        ]  # fmt: skip

        def call() -> Arrays:
            stream.reset()
            found = [stream(**row) for row in rows]
            return {name: np.stack([out[name] for out in found], 1) for name in outputs}

        return call

    # ---------------------------------------------------------------- peers

    @cached_property
    def plan(self) -> Plan:
        """The plan of outputs, or of losses, that peers compute, its recurrences plain loops."""
        losses = self.mode != "predict" and bool(self.spec.bound.losses)
        return self._plain_plan("loss" if losses else "predict")

    def peer(self, library: Any, **options: Any) -> Call | None:
        """The same by another library, one of the modules ``…_peer`` of this package; None where
        it has no form of its own: of a training step, whose optimiser is rnnc's, and of gradients
        that a spec stops."""
        if self.mode == "train":
            return None
        arrays = {p.name: self.data[p.name] for p in self.plan.inputs}
        found: Call
        if self.mode != "grad":
            found = library.outputs_of(self.plan, self.weights, arrays, self.dtype, **options)
            return found
        if any(v.op == "stop_gradient" for v in self.spec.bound.values.values()):
            return None
        seeds = {
            name.removeprefix(GRADIENT): a for name, a in self.data.items() if name not in arrays
        }
        found = library.gradients_of(self.plan, self.weights, arrays, self.dtype, seeds, **options)
        return found

    def module(self) -> Call | None:
        """nn.LSTM, nn.GRU or nn.RNN; None where the model is none of them, and nothing else."""
        from rnnc.bench import torch_module, torch_peer

        torch_peer.use_threads(self.threads)
        if self.mode != "predict" or len(self.model.ports.outputs) != 1:
            return None
        return torch_module.module_of(self.model._bytes, self.data)

    def torch(self, compiled: bool = False) -> Call | None:
        from rnnc.bench import torch_peer

        torch_peer.use_threads(self.threads)
        return self.peer(torch_peer, compiled=compiled)

    def jax(self) -> Call | None:
        from rnnc.bench import jax_peer

        return self.peer(jax_peer)

    # ---------------------------------------------------------------- all of them

    def forms(self, peers: bool = True, compiled: bool = False) -> Iterator[tuple[str, Any]]:
        """Each form's name, and what makes its call, or None where it has none; the default form
        first, which the others are compared with. ``peers`` are those that are installed, with
        ``compiled`` a cell that torch.compile compiles, which takes it long, among them."""
        yield "ONNX", self.onnx
        yield "ONNX, plain loop", self.plain
        yield "ONNX, unrolled", self.unrolled
        yield "ONNX, step by step", self.stepwise
        yield "NumPy", self.numpy
        if find_spec("numba") and find_spec("scipy"):
            yield "NumPy, numba", self.numba
        yield "ONNX, in segments", partial(self.segments, "onnx")
        yield "NumPy, in segments", partial(self.segments, "numpy")
        if peers and find_spec("torch"):
            yield "PyTorch, its own module", self.module
            yield "PyTorch, eager", self.torch
            if compiled:
                yield "PyTorch, torch.compile", lambda: self.torch(compiled=True)
        if peers and find_spec("jax"):
            yield "JAX, lax.scan", self.jax

    def costs(self) -> list[tuple[str, Cost]]:
        """What a step of each loop costs, and a whole run, where recurrences are plain loops; of a
        training step without the update."""
        mode = "grad" if self.mode == "train" else self.mode
        plan = self._plain_plan(mode)
        sizes = {**self.steps, BATCH: self.batch}
        steps = [
            (f"a step of {loop.axis}", step_cost(plan, loop, sizes, self.dtype))
            for loop in plan.loops
        ]
        return [*steps, ("in all", whole_cost(plan, sizes, self.dtype))]

    def _plain_plan(self, mode: str) -> Plan:
        options = Options(mode, plain_loops=True, lengths=self.axes, outputs=self.outputs)
        return compiler.plan_of(self.spec.system, options)


def case(
    spec: Spec, mode: str, *, batch: int, steps: int | Mapping[str, int], **options: Any
) -> Case:
    """A case, of a spec that has what the mode asks for.

    :raises UsageError: it has none, or nothing says how long an axis is.
    """
    if mode not in MODES:
        raise UsageError(f"no mode {mode!r} to be timed; there are: {', '.join(MODES)}")
    for axis in options.get("axes", ()):
        if axis not in (times := spec.bound.time_axes()):
            raise UsageError(f"{spec.name} has no axis {axis}; it has: {', '.join(times)}")
    return Case(spec, mode, batch, by_axis(spec.bound, steps), **options)


def disagreement(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[float, str]:
    """The largest error of those results that both have, and whose it is."""
    shared = [name for name in wanted if name in found]
    errors = [(relative_error(np.asarray(found[name]), wanted[name]), name) for name in shared]
    return max(errors, default=(np.inf, "nothing"))
