"""How likely sequences are to a model of mode ``loss``."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """The logarithm of a sequence's probability, in nats, and how many steps it counts."""

    log_likelihood: float
    steps: int

    @property
    def per_step(self) -> float:
        """The mean log-likelihood of a step; NaN where none counts."""
        return self.log_likelihood / self.steps if self.steps else math.nan

    @property
    def perplexity(self) -> float:
        """exp of its negative: as uncertain as a choice among so many equally likely ones."""
        try:
            return math.exp(-self.per_step)
        except OverflowError:
            return math.inf
