"""The invariants of a System, checked after every pass: a broken one is our own mistake."""

from __future__ import annotations

from rnnc.graph.ops import ALONG, GIVEN, LEAVES, NORMALISING, OPS, REDUCTIONS, TypeMismatch
from rnnc.graph.system import System, Value
from rnnc.graph.types import BATCH, FIRST, LAST
from rnnc.source import InternalError


def verify(system: System) -> System:
    """Give the system back, or raise InternalError naming the value that breaks a rule."""
    for name in system.results:
        if name not in system.values:
            raise InternalError(f"result {name} has no value")
    for key, value in system.values.items():
        if key != value.name:
            raise InternalError(f"{value.name} is stored as {key}")
        try:
            _verify_value(system, value)
        except (TypeMismatch, ValueError) as error:
            raise InternalError(f"{value.name} = {value.op}(…): {error}") from error
    return system


def _verify_value(system: System, value: Value) -> None:
    if value.op not in OPS:
        raise ValueError("unknown operation")
    if value.axes != system.ordered(value.axes):
        raise ValueError(f"axes {value.axes} are not in order")
    attrs = dict(value.attrs)
    reads = [r for _, r in value.all_reads()]
    for r in reads:
        source = system.values.get(r.source)
        if source is None:
            raise ValueError(f"reads {r.source}, which does not exist")
        for axis, index in r.at:
            if axis not in source.axes:
                raise ValueError(f"reads {r.source} along {axis}, which it does not have")
            if axis == BATCH or (index.base not in system.axes and not index.fixed):
                raise ValueError(f"reads {r.source} at {index}")
    read_axes = {a for r in value.reads for a in system.read_axes(r)}
    if value.op not in GIVEN:
        types = [system.values[r.source].type for r in value.reads]
        found = OPS[value.op].rule(types, attrs)
        if found != value.type:
            raise ValueError(f"its type is {value.type}, its operation gives {found}")
    _verify_axes(value, read_axes, attrs)
    for bound in value.bounds:
        if bound.axis not in value.axes or bound.step.base not in (FIRST, LAST):
            raise ValueError("a boundary of no axis")
        source = system.values[bound.read.source]
        if source.type.kind != value.type.kind:
            raise ValueError(f"boundary {bound.read.source} is of another kind")
        if source.type.shape not in ((), value.type.shape):
            raise ValueError(f"boundary {bound.read.source} is of another shape")
        if not set(system.read_axes(bound.read)) <= set(value.axes):
            raise ValueError(f"boundary {bound.read.source} has axes of its own")


def _verify_axes(value: Value, read_axes: set[str], attrs: dict[str, object]) -> None:
    own = set(value.axes)
    if value.op in LEAVES:
        wanted = {str(attrs["axis"])} if value.op == "step" else set()
        if value.op not in GIVEN and own != wanted:
            raise ValueError(f"a leaf over {value.axes}")
    elif value.op == "copy":
        if not read_axes <= own:
            raise ValueError(f"varies over {value.axes}, but reads {sorted(read_axes)}")
    elif value.op in ALONG:
        if own != read_axes | {str(attrs["axis"])}:
            raise ValueError(f"a {value.op} over {value.axes}")
    else:
        over = set(value.over)
        if value.op in REDUCTIONS and not over <= read_axes:
            raise ValueError(f"reduces over {sorted(over)}, but reads {sorted(read_axes)}")
        wanted = read_axes if value.op in NORMALISING else read_axes - over
        if own != wanted:
            raise ValueError(f"varies over {value.axes}, its operation gives {sorted(wanted)}")
