"""Options of a training: numbers that make sense, and files that are not written over."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from rnnc.numbers import checked_seed
from rnnc.source import UsageError
from rnnc.train.checkpoint import CHECKPOINT, check_suffix

P = ParamSpec("P")
R = TypeVar("R")


def known_options(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which says of an option that it does not have which one may be meant.

    :raises UsageError: when it is called with one.
    """
    known = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def checked(*args: P.args, **options: P.kwargs) -> R:
        for name in options:
            if name not in known:
                close = difflib.get_close_matches(name, known, 1)
                way = f"did you mean {close[0]}?" if close else f"there are: {', '.join(known[2:])}"
                raise UsageError(f"{function.__name__} has no option {name}; {way}")
        return function(*args, **options)

    return checked


def check_counts(
    epochs: int | None, steps: int | None, patience: int | None, validation: object, seed: int
) -> None:
    """Refuse numbers that make no sense.

    :raises UsageError: saying which ones do.
    """
    for what, number in (("epochs", epochs), ("steps", steps), ("patience", patience)):
        if number is not None and number < 1:
            raise UsageError(f"{what} is a number from 1 on, not {number}")
    if patience is not None and validation is None:
        raise UsageError(
            "patience waits for a smaller validation loss: give validation data, "
            "such as a share of 0.1"
        )
    checked_seed(seed)


def check_checkpoint(
    checkpoint: str | Path | None, every: int | None, resume: bool, weights: object
) -> None:
    """Refuse what cannot be done with a checkpoint.

    :raises UsageError: it has no file or one of another kind, or is (not) there already.
    """
    if checkpoint is None:
        if resume or every is not None:
            what = "resume goes on from a checkpoint" if resume else "checkpoint_every needs a file"
            raise UsageError(f"{what}: give checkpoint, a .safetensors file")
        return
    check_suffix(checkpoint, CHECKPOINT, "checkpoints are")
    if every is not None and every < 1:
        raise UsageError(f"a checkpoint is written every 1 or more steps, not {every}")
    if resume and weights is not None:
        raise UsageError(
            "the weights to start from are those of the checkpoint: resume, or weights"
        )
    if not resume and Path(checkpoint).exists():
        raise UsageError(
            f"{checkpoint} is there already: resume goes on from it; remove it to start anew"
        )
