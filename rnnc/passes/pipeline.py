"""Passes one after the other, verified, and run once for what the forms of a model have in common.

    final = run((predicting, simplify, hoist, fuse, simplify), system)

A model is compiled for two backends, rolled and unrolled, in several dtypes; up to where these
differ its passes do the same. Systems never change, so what a pass makes of one stays with it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import partial

from rnnc.graph.system import System
from rnnc.graph.verify import verify

Pass = Callable[[System], System]


def run(passes: Iterable[Pass], system: System) -> System:
    """The system after these passes, verified after each that changed it."""
    for step in passes:
        key = _key(step)
        if key is None:
            system = _verified(step, system)
            continue
        if key not in system.made:
            system.made[key] = _verified(step, system)
        system = system.made[key]
    return system


def _key(step: Pass) -> Hashable | None:
    """Under what the result of a pass is kept: a function, or one with names that it is given.
    None where it is not: unrolled steps are many, and are needed once."""
    if not isinstance(step, partial):
        return step
    if not step.args and all(isinstance(x, str | tuple) for x in step.keywords.values()):
        return (step.func, *step.keywords.items())
    return None


def _verified(step: Pass, system: System) -> System:
    changed = step(system)
    return system if changed is system else verify(changed)
