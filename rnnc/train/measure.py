"""Losses and metrics over many runs of a model: of an epoch, or of validation data.

With B sequences and T steps in a run, and C counted steps of a target:

    loss        Σ loss · B / Σ B           of a chunk of ``bptt`` steps where sequences are cut
    metric      Σ metric · N / Σ N         of a metric over time N is Σ T, else B; where one
                                           target has a ``when``, its C
    perplexity  exp(Σ loss.y · B / Σ C)    of a target that is categorical
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnc.graph.system import System
from rnnc.graph.types import BATCH
from rnnc.train.data import Extent

Totals = dict[str, tuple[float, float]]  # a weighted sum, and the sum of the weights


class Measures:
    """Sums up what the runs of a model give; ``chunk`` is the length of chunks, or None."""

    def __init__(self, system: System, chunk: int | None, totals: Mapping[str, Any] | None = None):
        self._losses = tuple(system.losses)
        self._metrics = {
            name: (_counted_by(system, value), _lengths_of(system, value))
            for name, value in system.metrics.items()
        }
        self._categorical = [n for n, d in system.targets.items() if d.kind == "categorical"]
        self._chunk = chunk
        self.totals: Totals = {k: (float(a), float(b)) for k, (a, b) in (totals or {}).items()}

    def add(self, out: Mapping[str, NDArray[Any]], extent: Extent) -> None:
        """Take the outputs of one run over so many sequences and steps."""
        sequences, steps = extent.sequences, extent.steps
        part = steps / self._chunk if steps is not None and self._chunk else 1.0
        for name in self._losses:
            self._add(name, float(out[name]) * sequences, sequences * part)
        for name, (count, lengths) in self._metrics.items():
            own = [extent.own[length] for length in lengths if length in extent.own]
            entries = np.prod([np.ones(sequences), *own], axis=0).sum()
            weight = float(out[count] if count else entries)
            if weight:  # a metric of no steps at all is no number
                self._add(name, float(out[name]) * weight, weight)
        for name in self._categorical:
            if f"loss.{name}" in out:
                total = float(out[f"loss.{name}"]) * sequences
                self._add(f"perplexity.{name}", total, float(out[f"count.{name}"]))

    def _add(self, name: str, value: float, weight: float) -> None:
        before, weights = self.totals.get(name, (0.0, 0.0))
        self.totals[name] = (before + value, weights + weight)

    def result(self) -> dict[str, float]:
        """The means, by name; ``perplexity`` where one target is categorical, else
        ``perplexity.y`` for each."""
        out: dict[str, float] = {}
        for name, (total, weight) in self.totals.items():
            mean = total / weight if weight else math.nan
            if name.startswith("perplexity."):
                mean = math.exp(mean) if mean < 700 else math.inf
                name = "perplexity" if len(self._categorical) == 1 else name
            out[name] = mean
        return out


def _counted_by(system: System, name: str) -> str | None:
    """The output that says how many steps a metric counts, where that is not all of them."""
    masked = [n for n, d in system.targets.items() if d.when is not None]
    if len(masked) != 1 or f"count.{masked[0]}" not in system.counts:
        return None
    return f"count.{masked[0]}" if set(summed_over(system, name)) - {BATCH} else None


def _lengths_of(system: System, name: str) -> list[str]:
    """The names of the lengths of the time axes that a metric is a sum over."""
    return [system.axes[a].length for a in summed_over(system, name) if a != BATCH]


def summed_over(system: System, name: str) -> Iterable[str]:
    """The axes over which a loss or metric, as the builder wrote it, is a sum.

    That is a quotient of sums, one for each axis.
    """
    axes: list[str] = []
    value = system[name]
    while value.reads and value.op in ("div", "copy", "to_real", "sum"):
        axes += value.over if value.op == "sum" else ()
        value = system[value.reads[0].source]
    return axes
