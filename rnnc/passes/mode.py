"""What is asked of a model: its outputs, or its losses; for training, or not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches

from rnnc.graph.names import GRADIENT, canonical, is_temporary
from rnnc.graph.system import System
from rnnc.source import Diagnostic, Label, SpecError, UsageError


def predicting(system: System) -> System:
    """Only the outputs."""
    return replace(system, losses={}, metrics={}, counts={})


def giving(system: System, names: Iterable[str]) -> System:
    """The system with these values as its outputs.

    :raises UsageError: it has no value of one of the names, or that is no computed one.
    """
    wanted = tuple(dict.fromkeys(canonical(n) for n in names))
    given = {v.name for op in ("input", "target", "param") for v in system.leaves(op)}
    known = [n for n in system.values if not is_temporary(n) and n not in given]
    for name in wanted:
        if name in given:
            what = {"param": "a parameter"}.get(system[name].op, "an input")
            raise UsageError(f"{name} is {what} of {system.name}, and nothing that it computes")
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"it computes {', '.join(known[:12])}"
            raise UsageError(f"{system.name} computes no {name} that it could give; {hint}")
    return replace(system, outputs=wanted)


def losses_only(system: System) -> System:
    """Only losses, metrics and counts; raises SpecError where a model has none."""
    if not system.losses and not system.metrics:
        raise SpecError(
            [
                Diagnostic(
                    "RNN040",
                    f"model {system.name} has neither a loss nor a metric",
                    None,
                    hint="observe something (target y[t] : … ~ …) or write: loss …",
                )
            ]
        )
    return replace(system, outputs=())


def objective(system: System) -> System:
    """What gradients are taken of: the losses, or the outputs of a model without. Parameters
    stay, also those that nothing reads, since each of them has a gradient.

    :raises SpecError: a name that a gradient needs is the model's own.
    """
    given = () if system.losses else system.outputs
    system = unclaimed(system, (*given, *(v.name for v in system.params)))
    wanted = () if system.losses else system.outputs
    metrics, counts = (system.metrics, system.counts) if system.losses else ({}, {})
    outputs = (*wanted, *(v.name for v in system.params))
    return replace(system, outputs=outputs, metrics=metrics, counts=counts)


def unclaimed(system: System, names: Iterable[str]) -> System:
    """The system as it is, if the names of these values' gradients are free in it.

    :raises SpecError: one of them is the model's own.
    """
    problems = []
    for name in dict.fromkeys(n for n in names if n in system.values):
        if GRADIENT + name in system.own_names - system.values.keys():
            problems.append(_taken(system, GRADIENT + name, f"the gradient of `{name}` (∂{name})"))
        taken = system.values.get(GRADIENT + name)
        if taken is None:
            continue
        other = system[name]
        labels = (Label(other.origins[0], f"`{name}`"),) if other.origins else ()
        problems.append(
            Diagnostic(
                "RNN043",
                f"`{taken.name}` (∂{name}) is the name of the gradient of `{name}`",
                taken.origins[0] if taken.origins else None,
                labels,
                hint=f"rename this value, such as d{name}; without gradients it may stay",
            )
        )
    if problems:
        raise SpecError(problems)
    return system


def _taken(system: System, name: str, what: str) -> Diagnostic:
    value = system.values.get(name)
    return Diagnostic(
        "RNN043",
        f"`{name}` is the name of {what}",
        value.origins[0] if value is not None and value.origins else None,
        hint="rename the model's own; in other modes it may stay",
    )


def training_objective(system: System) -> System:
    """The same of a model that has a loss.

    :raises SpecError: there is none, or a name that training needs is the model's own.
    """
    needed = {"gradient_norm": "the norm of all gradients", "lr": "the learning rate"}
    problems = [_taken(system, n, what) for n, what in needed.items() if n in system.own_names]
    if problems:
        raise SpecError(problems)
    return objective(system if system.losses else losses_only(replace(system, metrics={})))


def training(system: System) -> System:
    """With the flag ``training`` on: dropout drops."""
    return _set_training(system, True)


def evaluating(system: System) -> System:
    """With the flag ``training`` off."""
    return _set_training(system, False)


def _set_training(system: System, on: bool) -> System:
    values = [
        replace(v, op="constant", attrs=(("value", on),)) if v.op == "training" else v
        for v in system.values.values()
    ]
    return system.with_values(values)
