"""What stands outside the steps of a value, made into a value of the same form."""

from __future__ import annotations

from collections.abc import MutableMapping

from rnnc.graph.system import System, Value
from rnnc.graph.types import FIRST, Bound, Kind, Read, Type, sign

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


def is_met(system: System, value: Value, bound: Bound) -> bool:
    """Whether any read may get as far as a boundary of a value."""
    reads = [r for _, r in system.readers[value.name]]
    reads += [r for d in system.targets.values() for r in d.all_reads if r.source == value.name]
    before = bound.step.base == FIRST
    for r in reads:
        index = r.index(bound.axis)
        # from the other end it is met in a sequence that is short enough
        across = index.fixed and index.base != bound.step.base
        further = index.offset if across else index.offset - bound.step.offset
        way = sign(further)
        if way is None or (way != 0 and (way < 0) == before) or (way == 0 and not across):
            return True
    return False


def _text(r: Read) -> str:
    """Two reads of one value at different steps are stretched to two values."""
    return r.source + "".join(
        f"[{i.base}{i.offset:+}]" for _, i in r.at if isinstance(i.offset, int)
    )
