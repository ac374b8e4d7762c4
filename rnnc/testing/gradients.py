"""Gradients: those of every form are the adjoint system's, and that they are derivatives at all
is shown by central differences.

The differences are taken of the compiled NumPy loss model, in float64, after its loss has been
compared with the reference's: the interpreter alone would take minutes for what is thousands of
runs, and so what is differentiated is nevertheless the loss by definition.

A value behind ``stop_gradient`` counts as a constant. For the differences it is one: what stands
there is computed once by the reference and put in, so that it stays when a parameter moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnc import compiler
from rnnc.api import Spec
from rnnc.backends.numpy_source import to_numpy
from rnnc.compiler import Options
from rnnc.graph.names import GRADIENT, canonical
from rnnc.graph.system import System
from rnnc.graph.types import BATCH
from rnnc.passes.differentiate import differentiate
from rnnc.passes.lengths import lengths as masked
from rnnc.passes.mode import evaluating, objective
from rnnc.passes.mode import training as training_mode
from rnnc.passes.schedule import schedule
from rnnc.passes.simplify import simplify
from rnnc.runtime.numpy_model import NumpyModel
from rnnc.runtime.ports import dtype_of, parse_ports, ports_json
from rnnc.runtime.weights import Weights
from rnnc.source import DataError
from rnnc.testing.agreement import (
    TOLERANCE,
    inputs_of,
    random_data,
    random_weights,
    relative_error,
    unrollings,
)
from rnnc.testing.alone import Arrays, Lengths, Steps, by_axis, meaning, padded, shape_of, spread

GRADIENT_TOLERANCE = {"float64": 1e-10, "float32": 1e-3}
RTOL = 1e-6  # of central differences, whose own error is some 1e-10
MOST_ENTRIES = 64  # of an array, that are all tried; of larger ones SAMPLED, and one direction
SAMPLED = 12


# ---------------------------------------------------------------- one case


@dataclass(frozen=True)
class _Case:
    """A spec with everything its gradients depend on. ``given`` holds data, weights and, for a
    model without losses, the weights ``d_<output>`` of its outputs."""

    spec: Spec
    base: System  # what is differentiated
    outputs: tuple[str, ...]  # that are weighted; none of a model with losses
    inputs: tuple[str, ...]
    given: Arrays
    batch: int
    steps: Mapping[str, int]
    seed: int
    training: bool
    dtype: str
    lengths: Lengths | None = None

    @property
    def params(self) -> Weights:
        return {n: self.given[n] for n in self.spec.shapes}

    def evaluate(self, system: System, wanted: Sequence[str] | None = None) -> Arrays:
        """A system by definition, with what this case gives."""
        return meaning(system, self.given, batch=self.batch, steps=self.steps,
                       lengths=self.lengths, seed=self.seed, dtype=self.dtype,
                       wanted=wanted)  # fmt: skip

    def run(self, model: Any, data: Mapping[str, NDArray[Any]], held: bool = False) -> Arrays:
        """A compiled model on this data; it is given its weights unless it holds them."""
        if self.lengths is not None:
            data = dict(data)
            for v in (self.base[n] for n in self.outputs):
                if BATCH not in v.axes and set(v.axes) & set(self.lengths):  # it varies now
                    name = _seed_name(self.base, v.name)
                    data[name] = np.broadcast_to(data[name], (self.batch, *data[name].shape))
            values = {v.name: v for v in self.base.inputs}
            values |= {_seed_name(self.base, n): self.base[n] for n in self.outputs}
            data = padded(self.base.with_values(values | dict(self.base.values)), data,
                          self.lengths)  # fmt: skip
        inputs = inputs_of(model, data, self.batch, self.steps, self.seed, self.lengths)
        weights = None if held else {p.name: data[p.name] for p in model.ports.params}
        return dict(model.run(inputs, weights=weights, seed=self.seed))


def _case(
    spec: Spec,
    batch: int,
    steps: Steps,
    seed: int,
    training: bool,
    dtype: str,
    data: Mapping[str, ArrayLike] | None,
    weights: Mapping[str, ArrayLike] | None,
    inputs: Sequence[str] | None,
    lengths: Lengths | None = None,
) -> _Case:
    """``inputs`` are all real ones where they are not given."""
    base = objective((training_mode if training else evaluating)(spec.bound)).pruned()
    outputs = [base[n] for n in spec.bound.outputs if not base.losses]
    outputs = [v for v in outputs if v.type.kind == "real" and v.op != "param"]
    ragged = base if lengths is None else masked(base, tuple(lengths))
    live = simplify(ragged)  # an input that counts for nothing is no input of the compiled model
    if inputs is None:
        inputs = [v.name for v in live.inputs if v.type.kind == "real"]
    arrays: Mapping[str, ArrayLike] = (
        random_data(spec, batch, steps, seed) if data is None else data
    )
    given: Arrays = {}
    kinds = {v.name: v.type.kind for v in spec.bound.inputs}
    for name, array in arrays.items():
        kind = kinds.get(canonical(name), "real")
        given[canonical(name)] = np.asarray(array).astype(dtype_of(kind, dtype))
    for name, array in (random_weights(spec, seed) if weights is None else weights).items():
        given[canonical(name)] = np.asarray(array).astype(dtype)
    rng = np.random.default_rng(seed)
    times = by_axis(base, steps)
    for v in outputs:
        shape = shape_of(v, batch, times)
        given[_seed_name(base, v.name)] = rng.standard_normal(shape).astype(dtype)
        if lengths is not None and BATCH not in v.axes:  # once in a batch, or once in a sequence
            given[_seed_name(base, v.name)] *= 0
    chosen = tuple(canonical(n) for n in inputs)
    names = tuple(v.name for v in outputs)
    own = None if lengths is None else spread(base, lengths)
    return _Case(spec, base, names, chosen, given, batch, times, seed, training, dtype, own)


def _seed_name(system: System, output: str) -> str:
    return system.fresh(GRADIENT + output)


# ---------------------------------------------------------------- agreement


def reference_gradients(
    spec: Spec,
    data: Mapping[str, ArrayLike] | None = None,
    weights: Mapping[str, ArrayLike] | None = None,
    *,
    batch: int,
    steps: Steps,
    inputs: Sequence[str] = (),
    seed: int = 0,
    training: bool = False,
    lengths: Lengths | None = None,
) -> Arrays:
    """``d_<name>`` of each parameter and of ``inputs``, and the losses (or outputs) beside them:
    the adjoint system, not simplified, as the reference evaluates it, in float64.

    Data and weights are random unless given, as are the weights ``d_<output>`` of the outputs of
    a model without losses.

    :raises SpecError: sizes are open, or there is nothing to differentiate.
    :raises DataError: an array is missing or does not fit.
    """
    case = _case(spec, batch, steps, seed, training, "float64", data, weights, inputs, lengths)
    return _reference(case)


def _reference(case: _Case) -> Arrays:
    base = case.base
    adjoint = differentiate(base, case.inputs)
    shown = {n: n for n in adjoint.outputs}
    for table in (adjoint.losses, adjoint.metrics, adjoint.counts):
        shown.update(table)
    found = case.evaluate(adjoint)
    if case.lengths is not None:  # each sequence was a batch of one
        for name in (GRADIENT + n for n in (*case.spec.shapes, *case.inputs)):
            shared = BATCH not in adjoint[name].axes
            if shared and not base.losses:
                found[name] = found[name] * case.batch
            elif base.losses and not shared:
                found[name] = found[name] / case.batch
    return {name: found[value] for name, value in shown.items()}


def assert_gradients_agree(
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
    inputs: Sequence[str] | None = None,
    unrolled: bool = True,
    lengths: Lengths | None = None,
    memory: str = "normal",
) -> dict[str, float]:
    """Check that everything a spec's gradients compile to is what the adjoint system says.

    The statement is: *reference = NumPy = NumPy unrolled = ONNX = ONNX unrolled* in mode
    ``grad``, for the derivatives by all parameters and all real inputs (or those of ``inputs``),
    and for the losses, metrics and counts (or outputs) given beside them. Data and weights are
    as in :func:`assert_all_agree`; what weights the outputs of a model without losses is random.
    With ``lengths`` the reference is each sequence's alone. ``memory`` low is of the rolled forms.

    The difference of a gradient is divided by the largest entry of all gradients; ``rtol``
    bounds it and is 1e-10 in float64 and 1e-3 in float32 unless given. Returns the largest such
    error of each form, by its name.

    :raises AssertionError: naming the form, the array and the error.
    :raises SpecError: sizes are open, or the model has no gradients.
    :raises DataError: the given arrays do not fit.
    """
    tolerance = GRADIENT_TOLERANCE[dtype] if rtol is None else rtol
    case = _case(spec, batch, steps, seed, training, dtype, data, weights, inputs, lengths)
    wanted = _reference(case)
    gradients = {GRADIENT + n for n in (*spec.shapes, *case.inputs)} & wanted.keys()
    scale = max((float(np.max(np.abs(wanted[n]))) for n in gradients), default=0.0) or 1.0
    errors: dict[str, float] = {}
    for backend in ("numpy", "onnx"):
        for form, unroll in unrollings(case.base, case.steps).items():
            if unroll is not None and not unrolled:
                continue
            form = backend + form
            # rolled models hold their weights, unrolled ones are given them
            held = case.params if unroll is None else None
            model = spec.compile(backend, mode="grad", unroll=unroll, dtype=dtype, weights=held,
                                 training=training, inputs=case.inputs,
                                 memory="normal" if unroll else memory,
                                 lengths=tuple(case.lengths or ()))  # fmt: skip
            found = case.run(model, case.given, held is not None)
            # what simplifying shows to count for nothing may be left out
            zero = {n for n in gradients if not wanted[n].any()}
            if not wanted.keys() - zero <= found.keys() <= wanted.keys():
                raise AssertionError(f"{spec.name}, {form}: it gives {[*found]}, not {[*wanted]}")
            for name, array in found.items():
                error = relative_error(array, wanted[name])
                if name in gradients and np.isfinite(error):
                    error *= (float(np.max(np.abs(wanted[name]))) or 1.0) / scale
                if not error <= tolerance:
                    raise AssertionError(
                        f"{spec.name}, {form}: {name} is off by {error:.2g} of the largest entry, "
                        f"and {tolerance:.0e} is allowed\nfound {array}\nreference {wanted[name]}"
                    )
                errors[form] = max(error, errors.get(form, 0.0))
    return errors


# ---------------------------------------------------------------- central differences


@dataclass(frozen=True)
class Difference:
    """The comparison of the gradient by one array with central differences, at its worst place.

    ``where`` is an entry (``W[2, 0]``) or ``W along a random direction``; ``error`` is relative
    to the largest entry of all gradients.
    """

    name: str
    shape: tuple[int, ...]
    where: str
    gradient: float
    difference: float
    error: float

    def __str__(self) -> str:
        if not np.isfinite(self.gradient):
            return (
                f"the derivative by {self.where} is {self.gradient:g} with these numbers: a norm, "
                "root, logarithm or quotient at 0 has no finite one, also in a branch of `where` "
                "that is not taken"
            )
        return (
            f"the derivative by {self.where} is {self.gradient:.9g}, central differences give "
            f"{self.difference:.9g}: {self.error:.2g} of the largest gradient apart"
        )


def check_gradients(
    spec: Spec,
    *,
    batch: int = 2,
    steps: Steps = 5,
    seed: int = 0,
    eps: float = 1e-5,
    rtol: float = RTOL,
    backend: str = "numpy",
    data: Mapping[str, ArrayLike] | None = None,
    weights: Mapping[str, ArrayLike] | None = None,
    training: bool = False,
    lengths: Lengths | None = None,
) -> dict[str, float]:
    """Compare mode ``grad`` with central differences of the loss, ``(L(w+eps) - L(w-eps)) / 2eps``,
    in float64, for all parameters and real inputs.

    Every entry of an array is tried; of one with more than 64 entries 12 that ``seed`` chooses,
    and a random direction. Of a model without losses the sum of its outputs, weighted at random,
    stands for the loss. What is behind ``stop_gradient`` stays as it is. With ``training``
    dropout drops what ``seed`` says. ``lengths`` are those of each sequence, by
    axis. ``steps`` may differ by axis (``{"s": 3, "t": 5}``); a fixed length overrides them.

    Returns the largest error of each array, relative to the largest entry of all gradients (some
    gradients are zero by invariance, and hold rounding alone).

    :raises AssertionError: naming the entry, the gradient and the difference quotient, if an
        error is above ``rtol``.
    :raises SpecError: sizes are open, or the model has no gradients.
    :raises DataError: the arrays do not fit, or the loss is not finite with them.
    """
    found = gradient_differences(
        spec, batch=batch, steps=steps, seed=seed, eps=eps, backend=backend, data=data,
        weights=weights, training=training, lengths=lengths,
    )  # fmt: skip
    for d in found:
        if not d.error <= rtol:
            raise AssertionError(f"{spec.name}, {backend}: {d}, and {rtol:.0e} is allowed")
    return {d.name: d.error for d in found}


def gradient_differences(
    spec: Spec,
    *,
    batch: int = 2,
    steps: Steps = 5,
    seed: int = 0,
    eps: float = 1e-5,
    backend: str = "numpy",
    data: Mapping[str, ArrayLike] | None = None,
    weights: Mapping[str, ArrayLike] | None = None,
    training: bool = False,
    lengths: Lengths | None = None,
) -> list[Difference]:
    """What :func:`check_gradients` finds, for each parameter and real input, right or wrong.

    :raises SpecError, DataError: as there.
    """
    case = _case(spec, batch, steps, seed, training, "float64", data, weights, None, lengths)
    model = spec.compile(backend, mode="grad", dtype="float64", training=training,
                         inputs=case.inputs, lengths=tuple(case.lengths or ()))  # fmt: skip
    gradients = case.run(model, case.given)
    loss = _loss(case)
    tried: list[tuple[str, str, float, float]] = []
    for name in (*spec.shapes, *case.inputs):
        array = case.given[name]
        gradient = gradients.get(GRADIENT + name)
        if gradient is None:  # the model does not read it
            gradient = np.zeros(array.shape)
        rng = np.random.default_rng([seed, *name.encode()])
        for where, way in _ways(name, array.shape, rng):
            up, down = (loss({name: array + sign * eps * way}) for sign in (1, -1))
            tried.append((name, where, float(np.sum(gradient * way)), (up - down) / (2 * eps)))
    finite = [abs(x) for _, _, *pair in tried for x in pair if np.isfinite(x)]
    scale = max(finite, default=0.0) or 1.0
    out: dict[str, Difference] = {}
    for name, where, gradient_, difference in tried:
        error = abs(gradient_ - difference) / scale
        error = error if np.isfinite(error) else np.inf
        if name not in out or error > out[name].error:
            shape = case.given[name].shape
            out[name] = Difference(name, shape, where, gradient_, difference, error)
    return list(out.values())


def _ways(
    name: str, shape: tuple[int, ...], rng: np.random.Generator
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Directions of length 1: entries, and of large arrays a random one, too."""
    size = int(np.prod(shape))
    large = size > MOST_ENTRIES
    chosen = np.sort(rng.choice(size, SAMPLED, replace=False)) if large else np.arange(size)
    for flat in chosen:
        way = np.zeros(shape)
        way.flat[flat] = 1.0
        place = ", ".join(map(str, np.unravel_index(flat, shape))) if shape else ""
        yield (f"{name}[{place}]" if shape else name), way
    if large:
        way = rng.standard_normal(shape)
        yield f"{name} along a random direction", way / np.linalg.norm(way)


def _loss(case: _Case) -> Callable[[Mapping[str, NDArray[Any]]], float]:
    """The loss with some arrays replaced, what is behind ``stop_gradient`` held as it is."""
    base = replace(case.base, outputs=case.outputs, metrics={}, counts={}).pruned()
    stops = [v.name for v in base.values.values() if v.op == "stop_gradient"]
    held = case.evaluate(base, wanted=stops) if stops else {}
    frozen = base.with_values(
        [
            replace(v, op="input", reads=(), attrs=()) if v.name in held else v
            for v in base.values.values()
        ]
    ).pruned()
    mode = "loss" if base.losses else "predict"
    model = _compiled(frozen, mode, tuple(case.lengths or ()))
    given = {**case.given, **held}
    seeds = {n: given[_seed_name(case.base, n)] for n in case.outputs}

    def total(out: Mapping[str, NDArray[Any]]) -> float:
        if base.losses:
            return float(out["loss"])
        return float(sum(np.sum(out[n] * seed) for n, seed in seeds.items()))

    def loss(changed: Mapping[str, NDArray[Any]]) -> float:
        return total(case.run(model, {**given, **changed}))

    wanted = case.evaluate(base)
    here, there = loss({}), total({"loss": wanted[base.losses["loss"]]} if base.losses else wanted)
    if not np.isfinite(there):
        raise DataError(
            f"the loss of {case.spec.name} is {there} with this data (random unless it is given), "
            "so there is nothing to compare; give data and weights for which it is a number"
        )
    if relative_error(np.asarray(here), np.asarray(there)) > 100 * TOLERANCE["float64"]:
        raise AssertionError(f"{case.spec.name}: the loss is {here}, by definition {there}")
    return loss


def _compiled(system: System, mode: str, lengths: tuple[str, ...]) -> NumpyModel:
    """A system that no text stands for, compiled for NumPy in float64."""
    options = Options(mode, backend="numpy", lengths=lengths)
    plan = schedule(compiler.final(system, options))
    text = ports_json(plan, (), (), "float64", weights_given=True)
    return NumpyModel(to_numpy(plan, "float64", "", None, text), parse_ports(text))
