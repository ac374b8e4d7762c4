"""Axes found anew from what is read, where values have come to vary over the batch: a helper of
`lengths`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rnnc.graph.ops import LEAVES, NORMALISING
from rnnc.graph.system import System, Value, fresh, read_axes
from rnnc.graph.types import BATCH, Read, Type


def reaxed(system: System, values: Mapping[str, Value]) -> System:
    """The system with these values, each over the axes that its operands vary over. A loss, metric
    or count that has come to differ between sequences is averaged (a count summed) over them."""
    values = _settled(system, dict(values))
    scalars = [n for n in system.losses.values() if n != system.losses.get("loss")]
    scalars += [*system.metrics.values(), *system.counts.values()]
    for name in dict.fromkeys((*scalars, *list(system.losses.values())[:1])):
        if BATCH in values[name].axes:
            _averaged(values, name, name in system.metrics.values())
            values = _settled(system, values)
    return system.with_values(values)


def _settled(system: System, values: dict[str, Value]) -> dict[str, Value]:
    while True:
        found = _found(values)
        values = {n: replace(v, axes=system.ordered(found[n])) for n, v in values.items()}
        wide = [v for v in values.values() if not _bound_axes(v, values) <= set(v.axes)]
        if not wide:
            return values
        for v in wide:  # an operation varies over what it reads, a copy over more
            inner = fresh(f"{v.name}.each", values)
            values[inner] = replace(v, name=inner, bounds=())
            axes = system.ordered({*v.axes, *_bound_axes(v, values)})
            values[v.name] = replace(v, op="copy", reads=(Read(inner),), axes=axes, attrs=())


def _found(values: Mapping[str, Value]) -> dict[str, set[str]]:
    """The axes of each value: all that come to it from what it reads, then less what nothing it
    reads has. Each sweep only adds, or only takes away, so that both end."""
    found = {n: set(v.axes) for n, v in values.items()}
    computed = {n: v for n, v in values.items() if v.op not in LEAVES}
    for growing in (True, False):
        changed = True
        while changed:
            changed = False
            for name, v in computed.items():
                axes = {a for r in v.reads for a in read_axes(found[r.source], r)}
                axes = axes if v.op in NORMALISING else axes - set(v.over)
                if growing or v.op == "copy":
                    axes |= found[name]
                else:
                    axes &= found[name]
                if axes != found[name]:
                    found[name], changed = axes, True
    return found


def _bound_axes(v: Value, values: Mapping[str, Value]) -> set[str]:
    reads = [b.read for b in v.bounds]
    return {a for r in reads for a in read_axes(values[r.source].axes, r)}


def _averaged(values: dict[str, Value], name: str, metric: bool) -> None:
    """Make one number of one for each sequence: a metric is a quotient of sums."""
    v = values[name]
    inner = fresh(f"{name}.each", values)
    if v.type.kind != "real":
        values[inner] = replace(v, name=inner)
        values[name] = _summed(v, name, Read(inner))
        return
    above, below = Read(inner), None
    if metric and v.op == "div":
        above, below = v.reads
    else:
        values[inner] = replace(v, name=inner)
    parts = []
    for r in (above, below):
        part = fresh(f"{inner}.1", values)
        if r is None:
            values[part] = Value(part, "length", (), Type("index"), (), (("axis", BATCH),))
            count, part = part, fresh(f"{inner}.1", values)
            values[part] = Value(part, "to_real", (Read(count),), Type("real"))
        else:
            values[part] = Value(part, "copy", (r,), v.type, (BATCH,))
            stretched, part = part, fresh(f"{inner}.1", values)
            values[part] = _summed(v, part, Read(stretched))
        parts.append(Read(part))
    values[name] = Value(name, "div", tuple(parts), v.type, (), (), (), v.origins)


def _summed(v: Value, name: str, r: Read) -> Value:
    return Value(name, "sum", (r,), v.type, (), (("over", (BATCH,)),), (), v.origins)
