"""Recurrences: the cycles of a System, the axis each runs over, and in which direction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import networkx as nx

from rnnc.graph.system import System
from rnnc.graph.types import Read, sign
from rnnc.source import Diagnostic, Label, Span, SpecError


@dataclass(frozen=True)
class Recurrence:
    """Values that depend on each other through time: ``forward`` means that they read earlier
    steps of ``axis``. What still cycles within a step of it is in ``inner``."""

    axis: str
    forward: bool
    members: frozenset[str]
    inner: tuple[Recurrence, ...] = ()


def recurrences(system: System) -> tuple[Recurrence, ...]:
    """All recurrences of a system; raises SpecError where a cycle is none."""
    return _within(system, system.graph, system.time_axes())


def _within(
    system: System, graph: nx.MultiDiGraph, axes: tuple[str, ...]
) -> tuple[Recurrence, ...]:
    out = []
    for members in nx.strongly_connected_components(graph):
        inner = graph.subgraph(members)
        if len(members) > 1 or inner.number_of_edges():
            out.append(_recurrence(system, inner, axes))
    return tuple(out)


def _recurrence(
    system: System, graph: nx.MultiDiGraph, axes: tuple[str, ...]
) -> Recurrence:
    for axis in axes:
        direction = _direction(graph, axis)
        if direction is None:
            continue
        rest = nx.MultiDiGraph()
        rest.add_nodes_from(graph)
        rest.add_edges_from(
            (a, b, key, data)
            for a, b, key, data in graph.edges(keys=True, data=True)
            if data["read"].index(axis).offset == 0
        )
        inner = _within(system, rest, tuple(a for a in axes if a != axis))
        return Recurrence(axis, direction < 0, frozenset(graph.nodes), inner)
    raise SpecError([_explain(system, graph, axes)])


def _direction(graph: nx.MultiDiGraph, axis: str) -> int | None:
    """The one sign of the offsets along an axis that every read keeps, else None."""
    signs = set()
    for _, _, data in graph.edges(data=True):
        index = data["read"].index(axis)
        if index.base != axis:
            return None
        signs.add(sign(index.offset))
    signs.discard(0)
    return signs.pop() if len(signs) == 1 else None


def _explain(
    system: System, graph: nx.MultiDiGraph, axes: Iterable[str]
) -> Diagnostic:
    def still(r: Read) -> bool:
        return not r.at

    same_step = nx.MultiDiGraph()
    same_step.add_edges_from(
        (a, b, key, data)
        for a, b, key, data in graph.edges(keys=True, data=True)
        if still(data["read"])
    )
    try:
        edges = nx.find_cycle(same_step)
        names = _written(system, [a for a, *_ in edges])
        if len(names) == 1:
            message = f"`{names[0]}` reads itself at the same step"
        else:
            message = "these equations read each other at the same step: " + " → ".join(
                f"`{n}`" for n in (*names, names[0])
            )
        return _diagnostic(
            "RNN023", message, system, names, "one of the reads wants an earlier step, such as [t-1]"
        )
    except nx.NetworkXNoCycle:
        pass
    names = _written(system, sorted(graph.nodes))
    fixed = [
        data["read"]
        for _, _, data in graph.edges(data=True)
        if any(i.fixed for _, i in data["read"].at)
    ]
    if fixed:
        return _diagnostic(
            "RNN023",
            f"`{names[0]}` depends on a fixed step of itself"
            + (f" (through {', '.join(f'`{n}`' for n in names[1:])})" if names[1:] else ""),
            system,
            names,
            "a recurrence may read earlier steps or later ones, not the first or last of itself",
        )
    return _diagnostic(
        "RNN024",
        "this recurrence runs in both directions: "
        + ", ".join(f"`{n}`" for n in names)
        + " read earlier and later steps of each other",
        system,
        names,
        "use two values, one for each direction, and join them afterwards",
    )


def _written(system: System, names: Iterable[str]) -> list[str]:
    """The equations of the spec among these values (not the parts of their expressions)."""
    out = []
    for name in names:
        owner = name
        while owner not in system.values or "." in owner:
            if "." not in owner:
                break
            owner = owner.rsplit(".", 1)[0]
        if owner in system.values and owner not in out:
            out.append(owner)
    return out or list(names)


def _diagnostic(
    code: str, message: str, system: System, names: list[str], hint: str
) -> Diagnostic:
    spans: list[tuple[Span, str]] = [
        (system.values[n].origins[0], n) for n in names if system.values[n].origins
    ]
    labels = tuple(Label(s, f"`{n}`") for s, n in spans[1:])
    return Diagnostic(code, message, spans[0][0] if spans else None, labels, hint)
