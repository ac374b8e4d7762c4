"""What stands outside the steps of a value, made into a value of the same form."""

from __future__ import annotations

from collections.abc import MutableMapping

from rnnc.graph.system import System, Value
from rnnc.graph.types import Read, Type

ZERO = {"real": 0.0, "index": 0, "flag": False}


def edge(
    system: System,
    values: MutableMapping[str, Value],
    bound: Read | None,
    type_: Type,
    axes: tuple[str, ...],
) -> Read:
    """A read with this type and over all of these axes: of the boundary itself where it is
    that, else of new values (added to ``values``) that stretch it. None stands for zero."""
    if bound is None:
        name = f"zero:{type_.kind}"
        values.setdefault(
            name,
            Value(name, "constant", (), Type(type_.kind), (), (("value", ZERO[type_.kind]),)),
        )
        bound = Read(name)
    source = values.get(bound.source) or system.values[bound.source]
    here = tuple(bound.index(a).base for a in source.axes if not bound.index(a).fixed)
    if source.type != type_:
        name = f"{bound.source}:{'x'.join(map(str, type_.shape))}"
        values.setdefault(
            name,
            Value(
                name, "broadcast", (bound,), type_, system.ordered(here), (("shape", type_.shape),)
            ),
        )
        bound = Read(name)
    if set(here) != set(axes):
        name = f"{bound.source}:{','.join(axes)}"
        values.setdefault(name, Value(name, "copy", (bound,), type_, system.ordered(axes)))
        bound = Read(name)
    return bound
