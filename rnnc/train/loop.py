"""The loop: one training, from a state to its end.

A step runs the model that rnnc compiled for training once: it takes weights, the optimiser's
state, data and a learning rate, and gives losses, new weights and a new state. What is random
(the order of sequences, dropout) follows from the seed and from the number of the epoch or step
alone. A training is therefore a function of its :class:`State`, and goes on from a checkpoint bit
for bit.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnnc.runtime.weights import Weights
from rnnc.source import RnncError
from rnnc.train.checkpoint import State, save_checkpoint, save_weights
from rnnc.train.interrupt import Interrupt
from rnnc.train.measure import Measures
from rnnc.train.prepare import Task
from rnnc.train.rates import Schedule
from rnnc.train.report import Bar, Log

RECENT = 5  # steps whose gradient norms a failure tells


class DivergedError(RnncError):
    """A loss, a gradient or a weight is no number any more.

    ``weights`` are the last ones whose loss and gradient were finite, after ``step`` updates.
    """

    def __init__(self, message: str, weights: Weights, step: int, task: Task):
        super().__init__(message)
        self.weights = weights
        self.step = step
        self._task = task

    def save(self, path: str | Path) -> None:
        """Write the last good weights; see :meth:`Fit.save`."""
        save_weights(path, self.weights, self._task.spec, self._task.vocabulary)


@dataclass(frozen=True)
class Saving:
    """Where checkpoints go (nowhere for None), after how many steps (None: after each epoch), and
    the settings that must be the same to go on from one."""

    path: str | Path | None
    every: int | None
    settings: Mapping[str, Any]


class Training:
    """One training, from a state to the end."""

    bar: Bar
    log: Log
    interrupt: Interrupt

    def __init__(
        self,
        task: Task,
        state: State,
        rates: Schedule,
        total: int,
        patience: int | None,
        shuffle: bool,
        seed: int,
        saving: Saving,
    ):
        self.task = task
        self.state = state
        self.rates = rates
        self.total = total
        self.patience = patience
        self.shuffle = shuffle
        self.seed = seed
        self.saving = saving
        self.params = {p.name for p in task.model.ports.params}
        self.measures = Measures(task.spec.system, task.bptt, state.totals)
        self.good = (state.weights, state.step)
        self.norms: deque[float] = deque(maxlen=RECENT)
        self.start = time.perf_counter()
        self._order: tuple[int, Any] = (-1, None)

    def run(self) -> str:
        """Steps until something ends them; what that was."""
        every = self.saving.every
        saved = -1
        while True:
            if self.state.runs == self.task.runs and self._end_epoch("epoch") and every is None:
                saved = self._save()
            if why := self._why_stop():
                break
            self._step()
            if every is not None and self.state.step % every == 0:
                saved = self._save()
        if saved != self.state.step:
            self._save()
        if self.state.runs:  # an epoch that is not complete; its checkpoint is written already
            self._end_epoch("part")
        return why

    def _why_stop(self) -> str | None:
        """What ends the training now, if anything: see :class:`~rnnc.train.fit.Fit`."""
        state = self.state
        if self.interrupt.wanted:
            return "interrupted"
        if self.patience is not None and state.epoch - state.best_epoch >= self.patience:
            return "patience"
        if state.step >= self.total:
            return "done"
        return None

    # ---------------------------------------------------------------- a step

    def _rows(self, group: int) -> Any:
        """The sequences of a batch; the order is that of the epoch."""
        data, batch = self.task.data, self.task.batch
        if batch >= data.sequences:  # one batch has all: their order makes no difference
            return slice(None)
        if self._order[0] != self.state.epoch:
            order = np.arange(data.sequences)
            if self.shuffle:
                order = np.random.default_rng([self.seed, self.state.epoch]).permutation(order)
            self._order = (self.state.epoch, order)
        return self._order[1][group * batch : (group + 1) * batch]

    def _step(self) -> None:
        task, state = self.task, self.state
        group, chunk = divmod(state.runs, task.data.chunk_count(task.bptt))
        arrays = task.data.piece(self._rows(group), chunk, task.bptt)
        if chunk == 0:
            state.carried = task.first_states(state.weights, arrays)
        rate = self.rates(state.step)
        out = task.model.run(
            {**arrays, **state.optimizer, **state.carried, "lr": rate},
            weights=state.weights,
            seed=self.seed << 32 | state.step,  # another mask in each step
        )
        loss, norm = float(out["loss"]), float(out["gradient_norm"])
        if not (math.isfinite(loss) and math.isfinite(norm)):
            what = "loss" if not math.isfinite(loss) else "norm of the gradient"
            raise self._diverged(f"the {what} is {loss if what == 'loss' else norm}")
        self.norms.append(norm)
        self.good = (state.weights, state.step)
        # in the order that arrays of a checkpoint have: products may round otherwise in another
        new = {a: np.asarray(out[b], order="C") for a, b in task.model.ports.updates}
        state.weights = state.weights | {n: a for n, a in new.items() if n in self.params}
        state.optimizer = {n: a for n, a in new.items() if n not in self.params}
        state.carried = {a: np.array(out[b], order="C") for a, b in task.model.ports.states}
        state.step += 1
        state.runs += 1
        self.measures.add(out, task.data.extent(arrays))
        values = {"step": state.step, "epoch": state.epoch + 1, "lr": rate, "loss": loss}
        self.log.write("step", {**values, "gradient_norm": norm})
        self.bar.update(state.step, state.epoch + 1, loss, rate)

    # ---------------------------------------------------------------- an epoch

    def _end_epoch(self, event: str) -> bool:
        """Write the epoch into the history; False where Ctrl-C came during validation."""
        state = self.state
        self._check_finite()
        rate = self.rates(state.step - 1)
        entry = {"epoch": state.epoch + 1, "step": state.step, "lr": rate}
        entry |= self.measures.result()
        if self.task.judge is not None and not (event == "part" and self.interrupt.wanted):
            found = self._validate()
            if found is None and event == "epoch":
                return False
            if found is not None:
                entry |= {f"validation.{name}": value for name, value in found.items()}
                self._keep_best(found["loss"])
        state.history.append(entry)
        self.log.write(event, {**entry, "seconds": round(time.perf_counter() - self.start, 3)})
        self.bar.epoch(entry)
        if event == "epoch":
            state.epoch += 1
            state.runs = 0
            self.measures = Measures(self.task.spec.system, self.task.bptt)
        return True

    def _validate(self) -> dict[str, float] | None:
        """Losses and metrics of the validation data; None if Ctrl-C came."""
        task, judge, data = self.task, self.task.judge, self.task.validation
        assert judge is not None
        assert data is not None
        measures = Measures(task.spec.system, task.bptt)
        for first in range(0, data.sequences, task.batch):
            states: dict[str, Any] = {}
            for chunk in range(data.chunk_count(task.bptt)):
                if self.interrupt.wanted:
                    return None
                arrays = data.piece(slice(first, first + task.batch), chunk, task.bptt)
                if chunk == 0:
                    states = task.first_states(self.state.weights, arrays)
                out = judge.run({**arrays, **states}, weights=self.state.weights)
                states = {before: out[after] for before, after in judge.ports.states}
                measures.add(out, data.extent(arrays))
        return measures.result()

    def _keep_best(self, loss: float) -> None:
        state = self.state
        if not math.isfinite(loss):
            raise self._diverged(f"the loss of the validation data is {loss}")
        if state.best_loss is None or loss < state.best_loss:
            state.best, state.best_loss, state.best_epoch = state.weights, loss, state.epoch + 1

    # ---------------------------------------------------------------- files and failures

    def _save(self) -> int:
        if self.saving.path is not None:
            self._check_finite()
            self.state.totals = self.measures.totals
            save_checkpoint(
                self.saving.path, self.state, self.saving.settings,
                self.task.spec, self.task.vocabulary,
            )  # fmt: skip
        return self.state.step

    def _check_finite(self) -> None:
        """Weights may fail in the very last update, which no loss would show."""
        for name, array in self.state.weights.items():
            if not np.isfinite(array).all():
                raise self._diverged(f"after the update, {name} is not finite")

    def _diverged(self, what: str) -> DivergedError:
        state = self.state
        lines = [f"{what}, at step {state.step + 1} (epoch {state.epoch + 1})"]
        if self.norms:
            norms = ", ".join(f"{norm:.3g}" for norm in self.norms)
            lines.append(f"the norm of the gradient in the steps before: {norms}")
        lines.append(f"try a smaller learning rate (it was {self.rates(state.step):.3g}),")
        lines.append("a bound on the gradient (clip 1), or data that are scaled to about 1")
        return DivergedError("\n  ".join(lines), *self.good, self.task)
