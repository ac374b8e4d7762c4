"""Everything that a training needs, made from what the caller gave: sizes, data, models."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnc.api import Spec
from rnnc.graph.names import LENGTHS
from rnnc.graph.types import BATCH
from rnnc.passes.mode import losses_only
from rnnc.runtime.lengths import by_axis
from rnnc.runtime.numpy_model import NumpyModel
from rnnc.runtime.onnx_model import OnnxModel
from rnnc.runtime.vocabulary import Vocabulary
from rnnc.runtime.weights import Weights, check_weights
from rnnc.source import DataError, Diagnostic, SpecError, UsageError
from rnnc.train.checkpoint import load_weights
from rnnc.train.data import (
    Data,
    Dataset,
    Given,
    dataset,
    read_data,
    sized,
    split,
    split_text,
)
from rnnc.train.looks import check_finite, check_rank
from rnnc.train.measure import summed_over
from rnnc.train.ragged import axes_in, settled, with_lengths
from rnnc.train.symbols import numbered, streams, text_names, vocabulary_of
from rnnc.train.text import Text

Model = NumpyModel | OnnxModel
Arrays = dict[str, NDArray[Any]]

BATCH_SIZE = 32  # sequences, unless the caller says
TEXT_CHUNK = 64  # steps of a text between updates, unless the caller says


@dataclass(frozen=True)
class Task:
    """What is trained on what. ``judge`` is the model for validation, ``start`` the one of the
    states at the beginning of a sequence, where these are not zero."""

    spec: Spec
    weights: Weights
    vocabulary: Vocabulary | None
    data: Dataset
    validation: Dataset | None
    batch: int
    bptt: int | None
    model: Model
    judge: Model | None
    start: Model | None

    @property
    def runs(self) -> int:
        """How often the model runs in one epoch."""
        return -(-self.data.sequences // self.batch) * self.data.chunk_count(self.bptt)

    @property
    def lengths(self) -> tuple[str, ...]:
        """The axes on which sequences, also those for validation, have lengths of their own."""
        models = [self.model] if self.judge is None else [self.model, self.judge]
        return tuple(dict.fromkeys(a for m in models for a in m.ports.extra["lengths"]))

    def first_states(self, weights: Weights, arrays: Mapping[str, Any]) -> Arrays:
        """The states before the first step of these sequences; those left out are zero."""
        if self.start is None:
            return {}
        takes = {p.name for p in self.start.ports.inputs}
        given = {name: array for name, array in arrays.items() if name in takes}
        found = self.start.run(given, weights=weights)
        count = len(next(iter(arrays.values())))
        out: Arrays = {}
        for port in self.model.ports.inputs:
            if port.name in found:
                state = np.asarray(found[port.name])
                if state.ndim < len(port.dims):  # no data reach it: it is the same for all
                    state = np.broadcast_to(state, (count, *state.shape))
                out[port.name] = state
        return out


def prepare(
    spec: Spec,
    data: Data,
    *,
    validation: float | Data | None,
    weights: Mapping[str, ArrayLike] | str | Path | None,
    vocabulary: Vocabulary | None,
    lengths: Mapping[str, ArrayLike] | None,
    batch: int | None,
    bptt: int | None,
    seed: int,
    backend: str,
    dtype: str,
    compiling: Mapping[str, Any],
) -> Task:
    """Read the data, set sizes, compile the models, check that all of it fits.

    ``vocabulary`` is the known one, ``lengths`` are those of the sequences of ``data``, by axis;
    ``compiling`` are options of the training model alone.

    :raises SpecError: sizes stay open, or the model cannot be trained so.
    :raises DataError: data or weights do not fit.
    :raises UsageError: an option or file does not exist.
    """
    if not spec.system.losses:
        losses_only(spec.system)  # says how a model gets one
        raise DataError(
            f"{spec.name} has metrics, but no loss that training could make smaller: "
            "observe something (target y[t] : … ~ …) or write: loss …"
        )
    for what, number in (("a batch has", batch), ("bptt takes", bptt)):
        if number is not None and number < 1:
            raise UsageError(f"{what} 1 or more, not {number}")
    read = _data(spec, data, validation, vocabulary, lengths, batch, seed)
    spec, vocabulary, given, apart = read.spec, read.vocabulary, read.given, read.apart
    if read.stream:
        length = next(iter(given.values())).shape[1]
        bptt = min(TEXT_CHUNK, length) if bptt is None else bptt
    own, own_apart = axes_in(given), axes_in(apart or {})
    if bptt is not None:
        _check_cut(spec)
        if own or own_apart:
            raise UsageError(
                "bptt cuts sequences of one length, and these have several: leave it out"
            )
    carry = bptt is not None
    try:
        model = spec.compile(
            backend, mode="train", carry=carry, lengths=own, dtype=dtype, vocabulary=vocabulary,
            **compiling,
        )  # fmt: skip
    except SpecError as error:
        raise SpecError(_hinted(error, read.stream)) from None
    full = dataset(model.ports.inputs, _used(spec, model, given), dtype)
    _check_sizes(full, batch, bptt, read.stream)
    judge = held = None
    if apart is not None:
        judge = _judge(spec, backend, carry, own_apart, dtype, compiling.get("threads"))
        try:
            held = dataset(judge.ports.inputs, _used(spec, judge, apart), dtype)
        except DataError as error:
            raise DataError(f"the validation data do not fit: {error}") from None
    start = None
    if model.ports.extra.get("computed"):
        start = spec.compile("numpy", mode="init", dtype=dtype)
    _check_updates(spec, model)
    return Task(
        spec, _weights(spec, weights, seed, dtype), vocabulary, full, held,
        min(batch or BATCH_SIZE, full.sequences), bptt, model, judge, start,
    )  # fmt: skip


def _hinted(error: SpecError, text: bool) -> list[Diagnostic]:
    """The diagnostics, with the way out for a model that cannot be run chunk by chunk."""
    hint = "a text is trained on in chunks: give arrays in its place" if text else "leave bptt out"
    return [replace(d, hint=hint) if d.code == "RNN042" else d for d in error.diagnostics]


# ---------------------------------------------------------------- data


@dataclass(frozen=True)
class _Read:
    """The spec with its sizes, the vocabulary, the data, those for validation; and whether the
    data are one ``stream``, a text cut into sequences."""

    spec: Spec
    vocabulary: Vocabulary | None
    given: Arrays
    apart: Arrays | None
    stream: bool


def _data(
    spec: Spec,
    data: Data,
    validation: float | Data | None,
    known: Vocabulary | None,
    lengths: Mapping[str, ArrayLike] | None,
    batch: int | None,
    seed: int,
) -> _Read:
    (data, validation), known, symbols = numbered(spec, (data, validation), known)
    given = read_data(data, spec)
    share = float(validation) if isinstance(validation, (int, float)) else None
    apart: Given | None = None
    if validation is not None and not isinstance(validation, (int, float)):
        apart = read_data(validation, spec)
    if isinstance(given, Text):
        if lengths:
            raise UsageError("lengths are those of sequences, and the data are a text")
        if apart is not None and not isinstance(apart, Text):
            raise DataError("the data are a text, those for validation are not")
        return _texts(spec, given, apart, share, known, batch)
    if isinstance(apart, Text):
        raise DataError("the data are arrays, those for validation are a text")
    given = settled(spec, with_lengths(given, by_axis(lengths)))
    apart = None if apart is None else settled(spec, apart)
    spec = sized(spec, given, symbols)
    for v in spec.system.inputs:
        if apart is not None and v.name in apart:
            try:
                check_rank(spec, v, apart[v.name])
            except DataError as error:
                raise DataError(f"the validation data do not fit: {error}") from None
    check_finite(given)
    check_finite(apart or {}, " of the validation data")
    if share is not None:
        given, apart = split(given, share, seed)
    return _Read(spec, known, given, apart, False)


def _texts(
    spec: Spec,
    text: Text,
    apart: Text | None,
    share: float | None,
    known: Vocabulary | None,
    batch: int | None,
) -> _Read:
    target, before = text_names(spec)
    vocabulary = vocabulary_of([text] if apart is None else [text, apart], known)
    spec = sized(spec, {}, {target.name: len(vocabulary)})
    _check_vocabulary(spec, vocabulary)
    numbers = vocabulary.encode(text.content)
    held = None if apart is None else vocabulary.encode(apart.content)
    if share is not None:
        numbers, held = split_text(numbers, share)
    usable = len(numbers) - (before is not None)
    count = batch or max(1, min(BATCH_SIZE, usable // TEXT_CHUNK))
    given = streams(spec, numbers, count)
    apart_given = None
    if held is not None:
        apart_given = streams(spec, held, max(1, min(count, len(held) // TEXT_CHUNK)))
    return _Read(spec, vocabulary, given, apart_given, True)


def _check_vocabulary(spec: Spec, vocabulary: Vocabulary) -> None:
    target = next(v for v in spec.bound.inputs if v.op == "target")
    limit = target.attr("range")
    if len(vocabulary) > limit:
        raise DataError(
            f"the text has {len(vocabulary)} different symbols, but {target.name} is "
            f"index({limit}): leave the size open, or set it to {len(vocabulary)}"
        )


def _used(spec: Spec, model: Model, given: Arrays) -> Arrays:
    """The data without inputs that the spec has, but its losses do not need."""
    takes = {p.name for p in model.ports.inputs}
    known = {*(v.name for v in spec.system.inputs), *(a + LENGTHS for a in axes_in(given))}
    unused = known - takes
    return {name: array for name, array in given.items() if name not in unused}


def _check_sizes(data: Dataset, batch: int | None, bptt: int | None, stream: bool) -> None:
    if batch is not None and batch > data.sequences:
        raise DataError(
            f"a batch of {batch} is larger than the data, {data.sequences} sequences: "
            f"batch {data.sequences} takes all of them at once"
        )
    if bptt is not None and data.steps is None:
        raise UsageError("bptt cuts sequences, and the data have no steps: leave it out")
    if bptt is not None and data.steps is not None and bptt > data.steps:
        way = "take a smaller one, or a smaller batch" if stream else "leave it out"
        raise DataError(f"bptt is {bptt}, but the sequences have {data.steps} steps: {way}")


def _check_cut(spec: Spec) -> None:
    """Whether the losses stay the same, but for gradients, when sequences are cut."""
    system = spec.system
    axes = system.time_axes()
    if len(axes) != 1 or system.axes[axes[0]].size is not None:
        what = "has several time axes" if len(axes) > 1 else "does not have a free number of steps"
        raise UsageError(f"bptt cuts sequences, but {spec.name} {what}: leave it out")
    for name, value in system.losses.items():
        if name != "loss" and set(summed_over(system, value)) == {BATCH}:
            raise UsageError(
                f"bptt cuts sequences, but {name} of {spec.name} comes once for a whole sequence, "
                "not at every step: leave it out"
            )


# ---------------------------------------------------------------- models and weights


def _judge(
    spec: Spec, backend: str, carry: bool, own: tuple[str, ...], dtype: str, threads: int | None
) -> Model:
    """The model that computes losses and metrics of validation data."""
    return spec.compile(
        backend, mode="loss", carry=carry, lengths=own, dtype=dtype, threads=threads
    )


def _weights(
    spec: Spec, weights: Mapping[str, ArrayLike] | str | Path | None, seed: int, dtype: str
) -> Weights:
    if weights is None:
        first = spec.init(seed, dtype)
    elif isinstance(weights, (str, Path)):
        first = load_weights(weights, spec, dtype)
    else:
        first = check_weights(spec.shapes, weights, dtype)
    return {name: np.asarray(array, order="C") for name, array in first.items()}


def _check_updates(spec: Spec, model: Model) -> None:
    if not spec.shapes:
        raise DataError(f"{spec.name} has no parameters, so there is nothing to train")
    kept = sorted(spec.shapes.keys() - {before for before, _ in model.ports.updates})
    if kept:
        cut = " (within a chunk; states at its beginning are given)" if model.ports.states else ""
        warnings.warn(
            f"{', '.join(kept)} cannot change the loss{cut} and will stay as they are",
            stacklevel=6,
        )
