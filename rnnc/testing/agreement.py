"""Outputs and losses: everything that a spec is compiled to gives what its equations say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnc import api, compiler
from rnnc.api import Spec
from rnnc.compiler import Options
from rnnc.graph.names import axis_of, canonical
from rnnc.graph.system import System, Value
from rnnc.graph.types import BATCH, whole
from rnnc.runtime.ports import dtype_of, uniform
from rnnc.runtime.weights import Weights
from rnnc.source import SpecError
from rnnc.spec_files import library
from rnnc.testing.alone import Arrays as Arrays
from rnnc.testing.alone import Lengths, Steps, by_axis, meaning, padded, shape_of, spread

if TYPE_CHECKING:
    from rnnc.runtime.numpy_model import NumpyModel
    from rnnc.runtime.onnx_model import OnnxModel

TOLERANCE = {"float64": 1e-11, "float32": 1e-4}
NOT_CAUSAL = "RNN042"


# ---------------------------------------------------------------- what goes in


def random_data(spec: Spec, batch: int, steps: Steps, seed: int = 0) -> Arrays:
    """Random inputs and targets of a spec: ``batch`` sequences of ``steps`` steps, which may
    differ by axis (``{"s": 3, "t": 5}``).

    Real entries are standard normal (0 or 1 where a target is Bernoulli), ``index(k)`` is
    uniform over 0..k-1, flags are fair coins. Shapes are ``[batch, T, *features]``, without
    ``T`` where a value does not vary over time. The same seed gives the same data, and each
    name has random numbers of its own.

    :raises SpecError: sizes of the spec are open.
    """
    system = spec.bound
    times = by_axis(system, steps)
    out: Arrays = {}
    for v in system.inputs:
        rng = _generator(v.name, seed)
        shape = shape_of(v, batch, times)
        drawn = system.targets.get(v.name)
        if v.type.kind == "index":
            out[v.name] = rng.integers(*_values(system, v, times), shape)
        elif v.type.kind == "flag":
            out[v.name] = rng.random(shape) < 0.5
        elif drawn is not None and drawn.kind == "bernoulli":
            out[v.name] = rng.integers(0, 2, shape).astype(np.float64)
        else:
            out[v.name] = rng.standard_normal(shape)
    return out


def random_weights(spec: Spec, seed: int = 0, noise: float = 0.1) -> Weights:
    """The spec's initial weights plus normal noise of that standard deviation, in float64.

    Without the noise a bias of zeros, or a matrix that starts as the identity, would hide what
    is done to it.

    :raises SpecError: sizes of the spec are open.
    """
    first = spec.init(seed, "float64")
    return {
        name: array + noise * _generator(name, seed + 1).standard_normal(array.shape)
        for name, array in first.items()
    }


def _values(system: System, v: Value, times: Mapping[str, int]) -> tuple[int, int]:
    """The least value of an index, and the number after the largest."""
    attrs = dict(v.attrs)
    if "range" in attrs:
        return 0, whole(attrs["range"])  # type: ignore[arg-type]
    axis = next(a for a in system.axes.values() if a.length == attrs["steps"])
    return 1, times[axis.name] + 1


def _generator(name: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, *name.encode()])


# ---------------------------------------------------------------- what it means


def reference(
    spec: Spec,
    data: Mapping[str, ArrayLike],
    weights: Mapping[str, ArrayLike],
    *,
    batch: int,
    steps: Steps,
    lengths: Lengths | None = None,
    training: bool = False,
    seed: int = 0,
    dtype: str = "float64",
) -> Arrays:
    """Outputs, losses and metrics by the definition of the equations, in float64.

    ``data`` are inputs and targets, ``weights`` the parameters, by name. Dropout uses the
    numbers that a compiled model of this ``dtype`` draws from ``seed``. With ``lengths`` (of each
    sequence, by axis) every sequence is evaluated alone, by its own T.

    :raises DataError: an array is missing or does not fit.
    :raises SpecError: sizes of the spec are open.
    """
    system = spec.bound
    given = {canonical(n): np.asarray(a) for n, a in (*weights.items(), *data.items())}
    found = meaning(system, given, batch=batch, steps=by_axis(system, steps),
                    lengths=lengths, training=training, seed=seed, dtype=dtype)  # fmt: skip
    shown = {n: n for n in system.outputs}
    for table in (system.losses, system.metrics, system.counts):
        shown.update(table)
    return {name: found[value] for name, value in shown.items()}


def relative_error(found: ArrayLike, wanted: ArrayLike) -> float:
    """The largest absolute difference, divided by the largest absolute entry of ``wanted``.

    Infinities and NaN count as equal where both have the same, else the error is infinite. Of
    whole numbers and flags, any difference is an infinite error. Shapes have to be the same.
    """
    a, b = np.asarray(found), np.asarray(wanted)
    if a.shape != b.shape:
        return np.inf
    if b.dtype.kind != "f" or a.dtype.kind != "f":
        return 0.0 if a.dtype.kind == b.dtype.kind and np.array_equal(a, b) else np.inf
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return np.inf
    if not finite.any():
        return 0.0
    if not np.isfinite(a[finite]).all():
        return np.inf
    scale = float(np.max(np.abs(b[finite]))) or 1.0
    return float(np.max(np.abs(a[finite].astype(np.float64) - b[finite]))) / scale


# ---------------------------------------------------------------- agreement


def assert_all_agree(
    spec: Spec,
    *,
    batch: int,
    steps: Steps,
    dtype: str = "float64",
    seed: int = 0,
    rtol: float | None = None,
    data: Mapping[str, ArrayLike] | None = None,
    weights: Mapping[str, ArrayLike] | None = None,
    training: bool = False,
    unrolled: bool = True,
    lengths: Lengths | None = None,
) -> dict[str, float]:
    """Check that everything a spec compiles to gives what its equations say.

    The statement is: *reference = NumPy = NumPy unrolled = ONNX = ONNX unrolled = NumPy step by
    step = ONNX step by step*, for all outputs, and but for the last two for all losses, metrics
    and counts. Of several time axes all are unrolled, and each alone; ``steps`` may differ by
    axis (``{"s": 3, "t": 5}``). Whether the model can run step by step is the compiler's to say;
    those forms are left out where it cannot. With ``training`` dropout drops, and they are left
    out, too. So are,
    without ``unrolled``, the unrolled forms, which take long to compile for hundreds of steps.

    With ``lengths`` (``{"t": [5, 1, 3]}``) the statement is that each sequence of the batch is as
    it is alone; past its end the data are made NaN, -1 or true. No form runs step by step then.

    Data (``[batch, T, *features]``) and weights are random where they are not given; see
    :func:`random_data` and :func:`random_weights`. They are rounded to ``dtype`` first, and the
    reference then computes with them in float64. ``rtol`` bounds the relative error and is
    1e-11 in float64 and 1e-4 in float32 unless given; whole numbers and flags agree exactly.

    Returns the largest relative error of each form, by its name.

    :raises AssertionError: naming the form, the output and the error.
    :raises SpecError: sizes of the spec are open, or the model cannot be compiled.
    :raises DataError: the given arrays do not fit.
    """
    tolerance = TOLERANCE[dtype] if rtol is None else rtol
    arrays = dict(data) if data is not None else dict(random_data(spec, batch, steps, seed))
    kinds = {v.name: v.type.kind for v in spec.bound.inputs}
    inputs = {canonical(n): np.asarray(a) for n, a in arrays.items()}
    inputs = {n: a.astype(dtype_of(kinds.get(n, "real"), dtype)) for n, a in inputs.items()}
    given = random_weights(spec, seed) if weights is None else weights
    params = {n: np.asarray(a).astype(dtype) for n, a in given.items()}
    wanted = reference(spec, inputs, params, batch=batch, steps=steps, lengths=lengths,
                       training=training, seed=seed, dtype=dtype)  # fmt: skip
    if lengths is not None:
        inputs = padded(spec.bound, inputs, lengths)
    times = by_axis(spec.bound, steps)
    runs = _Runs(spec, inputs, params, batch, times, dtype, seed, training, lengths)
    errors: dict[str, float] = {}
    for form, names, run in runs.all():
        found = run() if unrolled or "unrolled" not in form else None
        if found is None:
            continue
        if found.keys() != names:
            raise AssertionError(f"{spec.name}, {form}: it gives {[*found]}, not {[*names]}")
        for name, array in found.items():
            error = _compare(spec, form, name, array, wanted[name], dtype, tolerance)
            errors[form] = max(error, errors.get(form, 0.0))
    return errors


def _compare(
    spec: Spec,
    form: str,
    name: str,
    found: NDArray[Any],
    wanted: NDArray[Any],
    dtype: str,
    tolerance: float,
) -> float:
    error = relative_error(found, wanted)
    kind = {"f": dtype, "i": "int64", "b": "bool"}[wanted.dtype.kind]
    if found.dtype != kind:
        raise AssertionError(f"{spec.name}, {form}: {name} is {found.dtype}, not {kind}")
    if found.shape != wanted.shape:
        raise AssertionError(
            f"{spec.name}, {form}: {name} is {list(found.shape)}, the reference {wanted.shape}"
        )
    if not error <= tolerance:
        raise AssertionError(
            f"{spec.name}, {form}: {name} is off by {error:.2g} of its largest entry, "
            f"and {tolerance:.0e} is allowed\nfound {found}\nreference {wanted}"
        )
    return error


def inputs_of(
    model: NumpyModel | OnnxModel,
    data: Mapping[str, NDArray[Any]],
    batch: int,
    steps: Mapping[str, int],
    seed: int,
    lengths: Lengths | None = None,
) -> dict[str, Any]:
    """What a model takes of some data, and the lengths and random numbers that it asks for."""
    inputs: dict[str, Any] = {}
    for port in model.ports.inputs:
        if port.name in data:
            inputs[port.name] = data[port.name]
        elif port.role == "length":
            inputs[port.name] = batch if port.name == "B" else steps[port.name]
        elif port.role == "lengths":
            inputs[port.name] = (lengths or {})[axis_of(port.name)]
        elif port.role == "uniform":
            shape = [
                d if isinstance(d, int) else batch if d == BATCH else steps[d] for d in port.dims
            ]
            inputs[port.name] = uniform(port.name, tuple(shape), seed, model.ports.dtype)
    return inputs


def unrollings(system: System, steps: Mapping[str, int]) -> dict[str, dict[str, int] | None]:
    """What each form unrolls: nothing, all axes, and of axes of several lengths one alone."""
    axes = {system.axes[a].length: a for a in reversed(system.time_axes())}
    forms: dict[str, dict[str, int] | None] = {
        "": None,
        " unrolled": {a: steps[a] for a in system.time_axes()},
    }
    if len(axes) > 1:
        forms |= {f" unrolled {a}": {a: steps[a]} for a in reversed(axes.values())}
    return forms


Run = Callable[[], Arrays | None]


class _Runs:
    """Every way to run a spec on some data; None where there is none."""

    def __init__(
        self,
        spec: Spec,
        data: Arrays,
        weights: Weights,
        batch: int,
        steps: Mapping[str, int],
        dtype: str,
        seed: int,
        training: bool,
        lengths: Lengths | None,
    ):
        self.lengths = None if lengths is None else spread(spec.system, lengths)
        self.spec = spec
        self.data = data
        self.weights = weights
        self.batch = batch
        self.steps = steps
        self.dtype = dtype
        self.seed = seed
        self.training = training

    def all(self) -> Iterator[tuple[str, Set[str], Run]]:
        """The forms with the names of their results; each runs, or gives None where it does not
        exist."""
        system = self.spec.system
        outputs = dict.fromkeys(system.outputs).keys()
        scalars = {**system.losses, **system.metrics, **system.counts}.keys()
        modes = [(m, n) for m, n in (("predict", outputs), ("loss", scalars)) if n]
        for backend in ("numpy", "onnx"):
            for mode, names in modes:
                for form, unroll in unrollings(system, self.steps).items():
                    yield backend + form, names, partial(self._model, backend, mode, unroll)
            if outputs and not self.training and self.lengths is None:
                yield f"{backend} step", outputs, partial(self._steps, backend)

    def _model(self, backend: str, mode: str, unroll: Mapping[str, int] | None) -> Arrays:
        # a rolled model holds its weights, an unrolled one is given them: both ways are tried
        held = self.weights if unroll is None else None
        model = self.spec.compile(
            backend, weights=held, mode=mode, unroll=unroll, dtype=self.dtype,
            training=self.training, lengths=tuple(self.lengths or ()),
        )  # fmt: skip
        inputs = inputs_of(model, self.data, self.batch, self.steps, self.seed, self.lengths)
        given = self.weights if unroll is not None else None
        return model(weights=given, seed=self.seed, **inputs)

    def _steps(self, backend: str) -> Arrays | None:
        """The outputs of one call for each step, put together."""
        try:
            stream = self.spec.stream(backend, weights=self.weights, dtype=self.dtype)
        except SpecError as error:
            if {d.code for d in error.diagnostics} == {NOT_CAUSAL}:
                return None
            raise
        values = self.spec.bound.values
        step = compiler.final(self.spec.bound, Options("step", backend=backend))
        times = self.spec.bound.time_axes()
        axis = next((a for a in times if a not in step.axes), None)  # whose steps are taken
        place = {v.name: _place(v, axis) for v in values.values() if axis in v.axes}
        # the states before the first step may need inputs that no step needs
        models = (stream.model, stream._start)
        ports = {p.name: p for m in models for p in m.ports.inputs}
        batched = any(BATCH in p.dims for n, p in ports.items() if n in self.data)
        outs = []
        axes_of_time = self.spec.bound.axes
        lengths = {axes_of_time[a].length: self.steps[a] for a in times}
        told = {d for n, p in ports.items() for d in p.dims if n in self.data or p.role == "length"}
        only_states = {d for p in stream.model.ports.inputs for d in p.dims if d in lengths} - told
        for t in range(self.steps[axis] if axis else 1):
            now: dict[str, Any] = {d: lengths[str(d)] for d in only_states}
            for name, port in ports.items():
                if port.role == "length":
                    now[name] = self.batch if name == "B" else self.steps[name]
                elif name in self.data:
                    given = self.data[name]
                    now[name] = np.take(given, t, place[name]) if name in place else given
            outs.append(stream(**now))
        results = {}
        for name in self.spec.system.outputs:
            axes = values[name].axes
            if name in place:
                joined = np.stack([o[name] for o in outs], axis=place[name])
            else:
                joined = outs[-1][name]
            if BATCH in axes and not batched:  # no data tells the sequences apart
                joined = np.broadcast_to(joined, (self.batch, *joined.shape[1:]))
            results[name] = joined
        return results


def _place(v: Value, axis: str | None) -> int:
    """Which dimension of a value's array, batch first, an axis is."""
    times = [a for a in v.axes if a != BATCH]
    return times.index(axis) + (BATCH in v.axes) if axis else 0


# ---------------------------------------------------------------- the library, as a table

COLUMNS = {
    "NumPy": ("numpy",),
    "Scan": ("onnx",),
    "unrolled": ("numpy unrolled", "onnx unrolled"),
    "step": ("numpy step", "onnx step"),
}


def agreement_table(
    names: Iterable[str] | None = None,
    dtype: str = "float64",
    *,
    batch: int = 3,
    steps: int = 12,
    sizes: Callable[[str], dict[str, int]] | None = None,
) -> str:
    """A Markdown table of :func:`assert_all_agree` for models of the library (all, by default).

    Each entry is the largest relative error against the reference, over all outputs, losses and
    metrics; ``looks ahead`` stands where a model cannot run step by step. ``sizes`` gives the
    dims of a model where they are not to be the library's own.

    :raises AssertionError: a form disagrees.
    """
    lines = [f"| spec | {' | '.join(COLUMNS)} |", f"|---|{'---|' * len(COLUMNS)}"]
    for name in library() if names is None else names:
        spec = api.load(name, model=None, **(sizes(name) if sizes else {}))
        errors = assert_all_agree(spec, batch=batch, steps=steps, dtype=dtype)
        cells = []
        for forms in COLUMNS.values():
            found = [errors[f] for f in forms if f in errors]
            cells.append(f"{max(found):.1e}" if found else "looks ahead")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
