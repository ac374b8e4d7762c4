"""Which values of a System are equations of their own, and which stand inside others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set

import networkx as nx

from rnnc.graph.names import is_temporary
from rnnc.graph.ops import GIVEN, LEAVES
from rnnc.graph.system import System, Value
from rnnc.graph.types import Read, Size

LIKELIHOODS = {"log": "nll", "log_softmax": "cross_entropy"}  # of a table looked up, negated
_WRITTEN_IN_PLACE = LEAVES - GIVEN
_DEEPEST = 40  # temporaries nested deeper get a line of their own, as Python's stack has a limit


def arrange(
    system: System,
) -> tuple[frozenset[str], frozenset[str], dict[str, tuple[str, ...]]]:
    """``hidden``: values that a ``target`` line implies; ``inlined``: those that stand inside the
    expressions of their readers; ``splits``: values with the parts that they are split into."""
    hidden = _implied(system)
    return hidden, _inlined(system, hidden), _splits(system, hidden)


def is_stretch(name: str) -> bool:
    """Whether a value only brings another to a fuller form (``zero:real:64``): see ``edges``."""
    return ":" in name


def _implied(system: System) -> frozenset[str]:
    """Values that a ``target … ~`` line says already: its loss, its count, the sum of losses."""
    losses = system.losses
    roots = {losses[k] for k in losses if k.removeprefix("loss.") in system.targets}
    counts = set(system.counts.values())
    roots |= counts
    if len(losses) > 1 and "loss" in losses:
        roots.add(losses["loss"])
    kept = {*system.outputs, *system.metrics.values(), *(s.next for s in system.states)}
    kept |= {v for v in losses.values() if v not in roots}
    kept |= {r.source for d in system.targets.values() for r in d.all_reads}
    graph, found = system.graph, set[str]()
    everything = system.values.keys()
    means = {  # metrics that are written without their count
        m
        for m in system.metrics.values()
        if averaged(system, system[m], everything, set(system.axes))
    }
    size = -1
    while roots and len(found) > size:  # until nothing is added: once or twice
        size = len(found)
        for name, value in reversed(tuple(system.values.items())):
            made = is_temporary(name) and value.op not in ("input", "target", "param")
            if name in kept or not (made or name in roots):
                continue
            readers = set(graph.successors(name))
            if name in counts:
                turned = {r for r in readers if system[r].op == "to_real" and is_temporary(r)}
                readers = readers - turned - means
                readers |= {x for r in turned for x in graph.successors(r)} - means
            if readers <= found and (readers or name in roots):
                found.add(name)
    return frozenset(found)


def _inlined(system: System, hidden: frozenset[str]) -> frozenset[str]:
    """Temporaries written inside the expression of their only reader, and unnamed leaves."""
    count, direct = Counter[str](), dict[str, str]()  # direct: the reader, at its own step
    shifted = set[str]()
    for value in system.values.values():
        if value.name in hidden:
            continue
        for position, r in value.all_reads():
            if position == 1 and is_square(value):  # `x^2` has one place for both
                continue
            count[r.source] += 1
            # `E[w[t]]` wants a name before the bracket; a loss has a function of its own
            table = value.op == "gather" and position == 0
            table = table and system[r.source].op not in LIKELIHOODS
            if r.at or table:
                shifted.add(r.source)
            else:
                direct[r.source] = value.name
    for name, distribution in system.targets.items():
        for r in distribution.reads:
            count[r.source] += 1
            if r.at:
                shifted.add(r.source)
            else:
                direct[r.source] = name
    results = set(system.results)
    found, chain = set[str](), nx.DiGraph()
    for name, value in system.values.items():
        if is_stretch(name):
            found.add(name)
        if not is_temporary(name) or name in results or name in shifted or value.bounds:
            continue
        leaf = system[value.reads[0].source] if value.op == "to_real" else value
        if leaf.op in _WRITTEN_IN_PLACE and (leaf is value or is_temporary(leaf.name)):
            found.add(name)
        elif count[name] == 1 and value.op not in LEAVES:
            chain.add_edge(name, direct[name])
    for ring in list(nx.strongly_connected_components(chain)):
        if len(ring) > 1 or chain.has_edge(*([*ring] * 2)):
            chain.remove_nodes_from(ring)  # an unsound system must still be printable
    depth = dict.fromkeys(chain, 0)
    for name in nx.topological_sort(chain):
        for reader in chain.successors(name):
            if depth[name] < _DEEPEST:
                found.add(name)
                depth[reader] = max(depth[reader], depth[name] + 1)
    return frozenset(found)


def is_square(value: Value) -> bool:
    """Whether a value is written ``x^2``."""
    return value.op == "mul" and value.reads[0] == value.reads[1]


def is_squared_error(system: System, total: Value, inlined: Set[str] | None = None) -> bool:
    """Whether ``total`` is ``sum((a - b) * (a - b))`` of one difference that no other reads."""
    if total.op != "sum" or total.over:
        return False
    square = system[total.reads[0].source]
    if not is_square(square) or not is_temporary(square.name):
        return False
    difference = system[square.reads[0].source]
    if difference.op != "sub" or not is_temporary(difference.name):
        return False
    return inlined is None or {square.name, difference.name} <= inlined


def _splits(system: System, hidden: Set[str]) -> dict[str, tuple[str, ...]]:
    """Temporaries that are read only to be cut into equal parts, all of them named."""
    out: dict[str, tuple[str, ...]] = {}
    graph = system.graph
    for name, value in system.values.items():
        parts = [system[r] for r in graph.successors(name)]
        if not is_temporary(name) or name in hidden or name in system.results or len(parts) < 2:
            continue
        reads = [r for part in parts for _, r in part.all_reads() if r.source == name]
        named = not any(is_temporary(p.name) or p.name in hidden for p in parts)
        if (
            value.bounds
            or not named
            or any(p.op != "slice" for p in parts)
            or any(r.at for r in reads)
        ):
            continue
        end: Size = 0
        size = parts[0].type.shape[0]
        for part in parts:
            if part.attr("start") != end or part.type.shape[0] != size:
                break
            end = end + size
        if end == value.type.shape[0]:
            out[name] = tuple(p.name for p in parts)
    return out


def constants(system: System) -> frozenset[str]:
    """Values made of nothing but numbers and sizes, which are known before anything runs."""
    found = set[str]()
    for name, value in system.values.items():
        leaf = value.op in ("constant", "size", "arange", "eye")
        made = value.op not in LEAVES and all(r.source in found for r in value.reads)
        if (leaf or made) and not value.axes and not value.bounds:
            found.add(name)
    return frozenset(found)


def averaged(system: System, value: Value, inlined: Set[str], over: Set[str]) -> Read | None:
    """``x`` where ``value`` is the sum of ``x`` over its axes divided by the lengths of ``over``.

    This is what ``loss x`` (averaged over the batch) and ``metric x`` (over all axes) stand for.
    """
    if value.op != "div":
        return None

    def plain(r: Read) -> Value:
        here = system[r.source]
        while here.op == "to_real":
            here = system[here.reads[0].source]
        return here

    below, lengths = [value.reads[1]], list[str]()
    while below:
        here = plain(below.pop())
        if here.op not in ("mul", "length"):
            return None
        if here.op == "length":
            lengths.append(here.attr("axis"))
        below += here.reads
    summed, inner = list[str](), value.reads[0]
    here = plain(inner)
    while here.op == "sum" and here.over and here.name in inlined:
        summed += here.attr("over")
        inner = here.reads[0]
        here = plain(inner)
    free = set(system.read_axes(inner))
    if set(lengths) != free & over or len(lengths) != len(set(lengths)) or set(summed) != free:
        return None
    return inner
