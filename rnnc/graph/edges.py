"""What stands outside the steps of a value, made into a value of the same form."""

from __future__ import annotations

from collections.abc import MutableMapping

from rnnc.graph.system import System, Value
from rnnc.graph.types import Kind, Read, Type

ZERO: dict[Kind, float | int | bool] = {"real": 0.0, "index": 0, "flag": False}


def edge(
    system: System,
    values: MutableMapping[str, Value],
    bound: Read | None,
    type_: Type,
    axes: tuple[str, ...],
    source: Value | None = None,
) -> Read:
    """A read with this type and over all of these axes: of the boundary itself where it is
    that, else of new values (added to ``values``) that stretch it. None stands for zero.
    ``source`` is what the boundary reads, where neither the system nor ``values`` has it yet."""
    if bound is None:
        name = f"zero:{type_.kind}"
        values.setdefault(
            name,
            Value(name, "constant", (), Type(type_.kind), (), (("value", ZERO[type_.kind]),)),
        )
        bound = Read(name)
    source = source or values.get(bound.source) or system.values[bound.source]
    here = tuple(bound.index(a).base for a in source.axes if not bound.index(a).fixed)
    if source.type != type_:
        name = f"{_text(bound)}:{'x'.join(map(str, type_.shape))}"
        values.setdefault(
            name,
            Value(
                name, "broadcast", (bound,), type_, system.ordered(here), (("shape", type_.shape),)
            ),
        )
        bound = Read(name)
    if set(here) != set(axes):
        name = f"{_text(bound)}:{','.join(axes)}"
        values.setdefault(name, Value(name, "copy", (bound,), type_, system.ordered(axes)))
        bound = Read(name)
    return bound


def _text(r: Read) -> str:
    """Two reads of one value at different steps are stretched to two values."""
    return r.source + "".join(
        f"[{i.base}{i.offset:+}]" for _, i in r.at if isinstance(i.offset, int)
    )
