"""``fit``: a spec, data and options to trained weights; the loop itself is in ``loop``."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from numpy.typing import ArrayLike

from rnnc.api import Spec
from rnnc.files import check_apart
from rnnc.numbers import real, whole
from rnnc.runtime.vocabulary import Vocabulary
from rnnc.runtime.weights import Weights
from rnnc.source import DataError, UsageError
from rnnc.train import rates
from rnnc.train.checkpoint import (
    State,
    load_checkpoint,
    metadata_of,
    save_weights,
    vocabulary_in,
)
from rnnc.train.data import Data, data_files
from rnnc.train.interrupt import Interrupt
from rnnc.train.loop import Saving, Training
from rnnc.train.options import check_checkpoint, check_counts, known_options
from rnnc.train.prepare import prepare
from rnnc.train.report import Bar, Log

EPOCHS = 10  # unless the caller says how many epochs or steps


@dataclass(frozen=True)
class Fit:
    """The result of a training.

    ``spec`` has the sizes that the data set, ``history`` one entry for each epoch: ``epoch``,
    ``step`` (updates so far), ``lr``, losses, metrics, ``perplexity``, and the same of the
    validation data under ``validation.…``. ``stopped`` says why it ended: ``done`` (all epochs or
    steps), ``patience`` or ``interrupted``; ``best_epoch`` is that of the least validation loss, 0
    without validation. ``lengths`` are the axes on which the sequences had lengths of their own.
    """

    spec: Spec
    weights: Weights = field(repr=False)
    history: list[dict[str, float]] = field(repr=False)
    step: int
    epoch: int
    stopped: str
    best_epoch: int
    seconds: float
    vocabulary: Vocabulary | None = None
    lengths: tuple[str, ...] = ()

    def save(self, path: str | Path) -> None:
        """Write the weights to a ``.safetensors`` or ``.npz`` file, with the spec's hash, model,
        dims and vocabulary as metadata.

        :raises UsageError: the file is of another kind, or cannot be written.
        """
        save_weights(path, self.weights, self.spec, self.vocabulary)


@known_options
def fit(
    spec: Spec,
    data: Data,
    *,
    lengths: Mapping[str, ArrayLike] | None = None,
    validation: float | Data | None = None,
    vocabulary: Vocabulary | str | Sequence[str] | None = None,
    optimizer: str | Path = "adam",
    hyper: Mapping[str, float] | None = None,
    lr: float = 1e-3,
    schedule: str = "constant",
    warmup: int = 0,
    clip: float | None = None,
    batch: int | None = None,
    bptt: int | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    patience: int | None = None,
    shuffle: bool = True,
    seed: int = 0,
    weights: Mapping[str, ArrayLike] | str | Path | None = None,
    backend: str = "onnx",
    dtype: str = "float32",
    threads: int | None = None,
    memory: str = "normal",
    log: str | Path | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int | None = None,
    resume: bool = False,
    progress: bool | None = None,
) -> Fit:
    """Train a spec on data.

    ``data`` are arrays by name, batch-first (``x[t] : [n]`` is [sequences, T, n]); or files with
    such arrays (``.npz``, ``.safetensors``, ``.npy`` as ``"x.npy"`` or ``"x=any.npy"``); or a
    :class:`~rnnc.train.text.Text` or ``.txt`` files for a model whose target is one index at each
    step. Dims that nobody set take their sizes from the data. Sequences may differ in their
    number of steps: a list of arrays for each input, or padded arrays and their ``lengths``. An
    index at every step may be a list of texts, whose symbols the vocabulary numbers.

    :param lengths: of padded sequences, by axis (``{"t": [5, 3]}``), as in
        :meth:`~rnnc.api.Spec.compile`; in data of any form an array ``t.lengths`` says the same.
    :param validation: a share of the data (0.1: random sequences, or the end of a text), or data
        of its own, in the same forms; measured after each epoch.
    :param vocabulary: the symbols behind indices, kept with the weights; or a text of its
        characters, or a list of its words. Without it those of a file of ``weights`` are kept,
        and texts make one of all their symbols.
    :param optimizer: of the library, or the ``.rnn`` file of another; ``hyper`` sets its
        constants.
    :param lr: the learning rate, after ``warmup`` steps that lead up to it.
    :param schedule: ``constant``, ``cosine`` (to 0 at the end), ``step:EVERY:FACTOR``.
    :param clip: the largest norm of the gradient of all parameters together.
    :param batch: sequences in a mini-batch (32, or all if there are fewer); of a text, how many
        parallel streams it is cut into.
    :param bptt: steps of a chunk: sequences are cut, states carried from chunk to chunk, and
        gradients end where a chunk begins (64 for a text).
    :param epochs: and ``steps`` (updates): whichever is reached first ends it (10 epochs).
    :param patience: ends it after so many epochs without a smaller validation loss; the weights
        are then those of the best epoch, however it ended.
    :param shuffle: another order of sequences in each epoch.
    :param seed: of first weights, order, dropout and the split for validation.
    :param weights: to start from, in place of first ones.
    :param backend: ``onnx`` or ``numpy``; ``threads`` are onnxruntime's.
    :param memory: ``low`` for long sequences, as in :meth:`~rnnc.api.Spec.compile`.
    :param log: a file for a line of JSON per step and epoch.
    :param checkpoint: a ``.safetensors`` file, written after each epoch (or each
        ``checkpoint_every`` steps) and at the end; with ``resume`` training goes on from it as if
        it had never stopped.
    :param progress: a bar on stderr; None: if that is a terminal.

    Ctrl-C ends it after the current step, with checkpoint and result; again, at once.

    :raises DataError: the data, or weights, do not fit the model.
    :raises UsageError: an option makes no sense, a file is missing.
    :raises SpecError: a size is open, or the model cannot be trained so.
    :raises DivergedError: a loss or gradient is no number; it carries the last good weights.
    """
    lr, warmup, seed = real("lr", lr), whole("warmup", warmup), whole("seed", seed)
    batch, bptt, threads = whole("batch", batch), whole("bptt", bptt), whole("threads", threads)
    epochs, steps, patience = (
        whole("epochs", epochs), whole("steps", steps), whole("patience", patience)
    )  # fmt: skip
    checkpoint_every = whole("checkpoint_every", checkpoint_every)
    check_counts(epochs, steps, patience, validation, seed)
    clip = None if clip is None else real("clip", clip)
    if clip is not None and not clip > 0:
        raise UsageError(f"clip is the largest norm of the gradient, above 0, not {clip}")
    check_checkpoint(checkpoint, checkpoint_every, resume, weights)
    _check_files(spec, data, validation, weights, optimizer, log, checkpoint)
    before = checkpoint if resume else weights
    known = vocabulary_in(metadata_of(before)) if isinstance(before, (str, Path)) else None
    if vocabulary is not None:
        own = Vocabulary.given(vocabulary)
        if known is not None and known != own:
            raise DataError(f"{before} was trained with another vocabulary: leave this one out")
        known = own
    task = prepare(
        spec, data, lengths=lengths, validation=validation, weights=weights, vocabulary=known,
        batch=batch, bptt=bptt, seed=seed, backend=backend, dtype=dtype,
        compiling={
            "optimizer": optimizer, "hyper": {n: real(n, v) for n, v in (hyper or {}).items()},
            "clip": clip, "threads": threads, "memory": memory,
        },
    )  # fmt: skip
    if epochs is None and steps is None:
        epochs = EPOCHS
    total = min(n for n in (steps, epochs and epochs * task.runs) if n is not None)
    settings = {
        "model": task.spec.name, "optimizer": str(optimizer), "hyper": dict(hyper or {}),
        "clip": clip, "backend": backend, "batch": task.batch,
        "bptt": task.bptt, "shuffle": shuffle, "seed": seed, "dtype": dtype,
        "data": "" if checkpoint is None else task.data.digest(),
    }  # fmt: skip
    rate = rates.schedule(schedule, lr, warmup, total)
    if warmup > total:
        warnings.warn(
            f"the warm-up takes {warmup} steps and the training has {total}: "
            "it ends below the learning rate",
            stacklevel=4,  # who called Spec.fit
        )
    state = State(task.weights)
    if resume and checkpoint is not None:
        state = load_checkpoint(checkpoint, settings, task.spec)
    saving = Saving(checkpoint, checkpoint_every, settings)
    training = Training(task, state, rate, total, patience, shuffle, seed, saving)
    start = time.perf_counter()
    training.log = Log(log, state.step)
    try:
        with Bar(progress, state.step, total) as training.bar, Interrupt() as training.interrupt:
            why = training.run()
    finally:
        training.log.close()
    best = patience is not None and bool(state.best)
    return Fit(
        task.spec, state.best if best else state.weights, state.history, state.step, state.epoch,
        why, state.best_epoch, time.perf_counter() - start, task.vocabulary, task.lengths,
    )  # fmt: skip


def _check_files(
    spec: Spec,
    data: object,
    validation: object,
    weights: object,
    optimizer: str | Path,
    log: str | Path | None,
    checkpoint: str | Path | None,
) -> None:
    """Refuse to write over what is read."""
    read = [("the spec", spec.source.name)]
    read += [("the data", path) for path in data_files(data)]
    read += [("the validation data", path) for path in data_files(validation)]
    read += [("the optimiser", str(optimizer))] if Path(optimizer).suffix else []
    if isinstance(weights, (str, Path)):
        read.append(("the weights to start from", str(weights)))
    written = [("log", log), ("checkpoint", checkpoint)]
    check_apart(read, [(option, path) for option, path in written if path is not None])
