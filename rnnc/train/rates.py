"""Learning rates over the steps of a training.

    rate(s) = lr · (s + 1) / warmup          for the steps s = 0 … warmup - 1
    rate(s) = lr · schedule(s - warmup)      from then on

``constant`` is 1; ``step`` is factor^⌊s / every⌋; ``cosine`` is (1 + cos(π s / S)) / 2 over the S
steps that remain after the warm-up (I. Loshchilov, F. Hutter, SGDR: Stochastic Gradient Descent
with Warm Restarts, ICLR 2017, without restarts).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rnnc.source import UsageError

SCHEDULES = ("constant", "step", "cosine")


@dataclass(frozen=True)
class Schedule:
    """The learning rate at each step: ``schedule(step)``, steps counted from 0.

    ``every`` and ``factor`` belong to ``step``; ``total`` is the number of all steps, warm-up
    included, and ``cosine`` cannot do without it.
    """

    kind: str
    lr: float
    warmup: int = 0
    total: int | None = None
    every: int = 1
    factor: float = 1.0

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        step -= self.warmup
        if self.kind == "step":
            return self.lr * float(self.factor ** (step // self.every))
        if self.kind == "cosine" and self.total is not None:
            part = min(1.0, step / max(1, self.total - self.warmup))
            return self.lr * (1 + math.cos(math.pi * part)) / 2
        return self.lr


def schedule(text: str, lr: float, warmup: int = 0, total: int | None = None) -> Schedule:
    """The schedule that ``text`` names.

    ``constant``, ``cosine``, or ``step:EVERY:FACTOR`` (each EVERY steps the rate is multiplied by
    FACTOR); ``step`` alone is a tenth after each third of the ``total`` steps.

    :raises UsageError: there is no such schedule, or a number makes no sense.
    """
    if not (math.isfinite(lr) and lr >= 0):
        raise UsageError(f"a learning rate is a number from 0 on, not {lr}")
    if warmup < 0:
        raise UsageError(f"a warm-up takes 0 steps or more, not {warmup}")
    if text == "cosine" and total is not None and total <= warmup:
        raise UsageError(
            f"the warm-up of {warmup} steps is as long as the training, which has {total}: "
            f"warm up for fewer, such as {max(1, total // 10)}"
        )
    kind, *numbers = text.split(":")
    if kind not in SCHEDULES or (numbers and kind != "step"):
        raise UsageError(f"no schedule {text!r}; there are: constant, step[:EVERY:FACTOR], cosine")
    if kind == "constant":
        return Schedule(kind, lr, warmup)
    if kind == "step" and numbers:
        return Schedule(kind, lr, warmup, None, *_every_factor(text, numbers))
    if total is None:
        raise UsageError(f"the schedule {kind} needs to know how many steps there are")
    return Schedule(kind, lr, warmup, total, max(1, (total - warmup) // 3), 0.1)


def _every_factor(text: str, numbers: list[str]) -> tuple[int, float]:
    try:
        every, factor = int(numbers[0]), float(numbers[1])
        if len(numbers) == 2 and every >= 1 and math.isfinite(factor) and factor > 0:
            return every, factor
    except (ValueError, IndexError):
        pass
    raise UsageError(f"the schedule {text!r} is no step:EVERY:FACTOR, such as step:1000:0.5")
