"""Gradient equations as a textbook prints them: names for what is used more than once.

    d_f.1.8[t] = ∂f[t] * f[t] * (1 - f[t])      →      δ_f[t] = ∂f[t] * f[t] * (1 - f[t])

δ is the usual letter for the gradient inside of an equation, before its activation.
"""

from __future__ import annotations

from dataclasses import replace

from rnnc.graph.names import is_temporary
from rnnc.graph.notation import Printer
from rnnc.graph.system import System, Value
from rnnc.passes.differentiate import PREFIX
from rnnc.passes.editor import owner_of

DELTA = "delta_"


def textbook(system: System) -> System:
    """The differentiated system under a name of its own, its shared parts named."""
    names: dict[str, str] = {}
    for v in Printer(system).shown():
        if is_temporary(v.name) and v.name.startswith(PREFIX) and v.type.kind == "real":
            owner = owner_of(v.name).removeprefix(PREFIX)
            names[v.name] = _free(f"{DELTA}{owner}", {*system.values, *names.values()})

    def renamed(v: Value) -> Value:
        v = v.map_reads(lambda r: r.renamed(names.get(r.source, r.source)))
        return replace(v, name=names.get(v.name, v.name))

    targets = {
        name: d.map_reads(lambda r: r.renamed(names.get(r.source, r.source)))
        for name, d in system.targets.items()
    }
    return replace(
        system.with_values([renamed(v) for v in system.values.values()], targets=targets),
        name=f"{system.name}Gradients",
        doc=f"The gradients of {system.name}, by back-propagation through time.\n\n"
        + (
            "∂v is the derivative of each sequence's own loss by v; of a parameter, the mean\n"
            "over the batch."
            if system.losses
            else "∂v is the derivative by v of the sum of the outputs, weighted with the inputs ∂…"
        ),
    )


def symbols(system: System) -> dict[str, str]:
    """How the names of gradients are written: ``d_h`` is ∂h, ``delta_h`` is δ_h."""
    out = {}
    for name in system.values:
        if "." in name:
            continue
        if name.startswith(PREFIX):
            out[name] = f"∂{name.removeprefix(PREFIX)}"
        elif name.startswith(DELTA):
            out[name] = f"δ_{name.removeprefix(DELTA)}"
    return out


def _free(base: str, taken: set[str]) -> str:
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base}{count}"
    return name
