"""What a drawing of a System shows: a node for each equation, an arrow for each read of another.

Parameters and constants are no nodes, since a cell has a dozen of them: each node names its own.
A loop is a group. In an unrolled system (values ``h@1``, ``h@2``) each step is a column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import networkx as nx

from rnnc.graph.cycles import Recurrence, recurrences
from rnnc.graph.equations import constants
from rnnc.graph.names import is_temporary
from rnnc.graph.notation import GIVEN, Printer, index_text, shape_text
from rnnc.graph.show import roles, statements, type_text
from rnnc.graph.system import System, Value
from rnnc.graph.types import FIRST, LAST, Read
from rnnc.source import SpecError

STEPS = "steps"  # the group that holds the columns of an unrolled system
_AT = re.compile(r"^(.*?)((?:@[^@]*?-?\d+)+)$")  # h@2, or h@s2@t1 where there are more axes
_STEP = re.compile(r"@([^@]*?)(-?\d+)")


@dataclass(frozen=True)
class Node:
    """``lines`` are its equation and boundaries, ``shape`` what one step of it is, ``params`` the
    parameters it reads with their shapes; ``role`` is ``input state value target loss metric``."""

    key: str
    lines: tuple[str, ...]
    shape: str
    role: str
    output: bool = False
    params: tuple[str, ...] = ()
    group: str | None = None
    column: int = 0
    base: str = ""


@dataclass(frozen=True)
class Edge:
    """``style`` is ``read``, ``delayed`` (an earlier or later step) or ``bound``; ``label`` is the
    index read where it is not the reader's own (``t-1``, ``T``), or the step of a boundary."""

    source: str
    target: str
    style: str = "read"
    label: str = ""


@dataclass(frozen=True)
class Diagram:
    """Nodes, edges and titled groups; ``shared`` are parameters that all columns read."""

    name: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    groups: dict[str, str] = field(default_factory=dict)
    shared: tuple[str, ...] = ()

    @property
    def unrolled(self) -> bool:
        return STEPS in self.groups


def diagram(system: System) -> Diagram:
    """The drawing of a system, before anything has a place."""
    return _Sketch(system).result()


class _Sketch:
    def __init__(self, system: System):
        self.system = system
        self.nodes: dict[str, Node] = {}
        self.edges: dict[Edge, None] = {}
        self.owner: dict[str, str] = {}  # value -> the node of its equation
        at = {n: _STEP.findall(m[2]) for n in system.values if (m := _AT.match(n))}
        equations = [tags for n, tags in at.items() if not is_temporary(n)]
        axes = {tuple(axis for axis, _ in tags) for tags in equations}
        self.along: tuple[str, ...] = axes.pop() if len(axes) == 1 else ()
        self.columns = dict[int, int]()
        if len(self.along) == 1:  # its steps stand side by side; those of several axes do not
            self.along = tuple(a or system.time_axes()[0] for a in self.along)
            steps = sorted({int(tags[0][1]) for tags in equations})
            self.columns = {step: i for i, step in enumerate(steps)}
        names = {n: f"{n.partition('@')[0]}[{','.join(i for _, i in at[n])}]" for n in at}
        self.printer = Printer(system, names, {"sigmoid": "σ"})
        self.beside = constants(system) | {v.name for v in system.params}
        self.role = roles(system)
        # a stack that nothing reads only hands the steps out; each of them is an output then
        self.dropped = {
            v.name: [r.source for r in v.reads]
            for v in system.values.values()
            if v.op == "stack" and at and not system.graph.out_degree(v.name)
        }
        for name in [r for parts in self.dropped.values() for r in parts]:
            if system[name].op == "stack" and system.graph.out_degree(name) == 1:
                self.dropped[name] = [r.source for r in system[name].reads]
        self.outputs = set(system.outputs).union(*self.dropped.values())
        self._collect_nodes()
        self._collect_edges()

    # ---------------------------------------------------------------- nodes

    def _collect_nodes(self) -> None:
        printer, said = self.printer, statements(self.printer)
        for value in printer.shown():
            if value.op in ("input", "target", "uniform"):
                self._add(value, [value.name], [printer.left(value)])
        for values, text in printer.equations():
            value = values[0]
            if value.name in self.beside or value.name in self.dropped:
                continue
            lines = [said.get(value.name, text)]
            lines += [line for v in values for line in printer.boundaries(v)]
            self._add(value, [v.name for v in values], lines)

    def _add(self, value: Value, names: Iterable[str], lines: Iterable[str]) -> None:
        found = {r for n in names for r in self.role[n].split(", ")}
        role = next((r for r in ("loss", "metric", "state") if r in found), "value")
        if value.op in GIVEN:
            role = "target" if value.op == "target" else "input"
            lines = (*lines, *self.printer.boundaries(value))
        at = _AT.match(value.name) if self.columns else None
        place = {}
        if at:
            column = self.columns.get(int(_STEP.findall(at[2])[0][1]), 0)
            place = {"group": STEPS, "column": column, "base": at[1]}
        lines = tuple(" ".join(line.split()) for line in lines)
        output = any(n in self.outputs for n in names)
        shape = type_text(value).partition(" ~")[0]
        shape = "" if shape == "[]" and role in ("loss", "metric") else shape
        self.nodes[value.name] = Node(value.name, lines, shape, role, output, **place)  # type: ignore[arg-type]
        self.owner.update(dict.fromkeys(names, value.name))

    # ---------------------------------------------------------------- edges

    def _collect_edges(self) -> None:
        printer = self.printer
        for values, _ in printer.equations():
            key = values[0].name
            if key not in self.nodes:
                continue
            whole = next((w for w, names in printer.splits.items() if key in names), None)
            operands = printer.operands(self.system[whole] if whole else values[0])
            self._read(key, operands)
            for value in values:
                self._bounds(value, key)
        for value in self.system.inputs:
            if value.name in self.nodes:
                self._bounds(value, value.name)
        for name, distribution in self.system.targets.items():
            self._observe(name, list(printer.through(distribution.reads)))

    def _read(self, key: str, reads: Iterable[Read]) -> None:
        params: dict[str, None] = {}
        for r in reads:
            if r.source in self.beside:
                params[self._with_shape(r.source)] = None
                continue
            source, label = self._source(r)
            if source is not None:
                delayed = any(r.shifts(a) for a, _ in r.at)
                self.edges[Edge(source, key, "delayed" if delayed else "read", label)] = None
        node = self.nodes[key]
        self.nodes[key] = replace(node, params=tuple({**dict.fromkeys(node.params), **params}))

    def _bounds(self, value: Value, key: str) -> None:
        for bound in value.bounds:
            length = self.system.axes[bound.axis].length
            params: list[str] = []
            for r in self.printer.through((bound.read,)):
                if r.source in self.beside:
                    params.append(self._with_shape(r.source))
                elif (source := self._source(r)[0]) is not None:
                    self.edges[Edge(source, key, "bound", index_text(bound.step, length))] = None
            node = self.nodes[key]
            merged = tuple(dict.fromkeys((*node.params, *params)))
            self.nodes[key] = replace(node, params=merged)

    def _observe(self, name: str, reads: list[Read]) -> None:
        """An observed variable stands above its distribution; one that is read below it, too,
        has a second node up there."""
        graph = nx.DiGraph((e.source, e.target) for e in self.edges)
        sources = [self.owner[r.source] for r in reads if r.source in self.owner]
        target, key = self.system[name], name
        below = name in graph and any(s in nx.descendants(graph, name) for s in sources)
        node = self.nodes[name]
        text = f"{self.printer.left(target)} ~ {self.printer.distribution(name)}"
        if below:
            key = f"~{name}"
            self.nodes[key] = replace(node, key=key, lines=(text,))
            self.edges[Edge(name, key)] = None
        else:
            self.nodes[name] = replace(node, lines=(text, *node.lines[1:]))
        self._read(key, reads)

    def _source(self, r: Read) -> tuple[str | None, str]:
        """The node that a read comes from, and the index it has there."""
        value = self.system[r.source]
        labels = [index_text(i, self.system.axes[a].length) for a, i in r.at]
        if value.op in ("input", "target") and self.columns and value.name in self.nodes:
            step = self._step(value, r)
            if step is not None and step in self.columns:
                return self._copy(value, step), ""
        return self.owner.get(r.source), ", ".join(labels)

    def _step(self, value: Value, r: Read) -> int | None:
        """Where an unrolled system reads an input; None where that is no step."""
        (axis,) = self.along
        index = r.index(axis)
        last = self.system.axes[axis].size
        if axis in value.axes and isinstance(index.offset, int):
            if index.base == FIRST:
                return index.offset + 1
            if index.base == LAST and isinstance(last, int):
                return last + index.offset
        return None

    def _copy(self, value: Value, step: int) -> str:
        """The node of one step of an input."""
        (axis,) = self.along
        text = ", ".join(
            str(step) if a == axis else a for a in value.axes if a in self.system.time_axes()
        )
        key = f"{value.name}@{step}"
        if key not in self.nodes:
            self.nodes[key] = replace(
                self.nodes[value.name],
                key=key,
                lines=(f"{self.printer.name(value.name)}[{text}]",),
                group=STEPS,
                column=self.columns[step],
                base=value.name,
            )
        return key

    def _with_shape(self, name: str) -> str:
        shape = self.system[name].type.shape
        return f"{self.printer.name(name)} {shape_text(shape)}" if shape else name

    # ---------------------------------------------------------------- groups

    def result(self) -> Diagram:
        used = {k for e in self.edges for k in (e.source, e.target)}
        copied = {n.base for k, n in self.nodes.items() if n.base and k not in self.owner}
        nodes = {k: n for k, n in self.nodes.items() if k in used or k not in copied}
        edges = [e for e in self.edges if e.source in nodes and e.target in nodes]
        if self.columns:
            shared = tuple(dict.fromkeys(p for n in nodes.values() for p in n.params))
            carried = {
                nodes[e.source].base
                for e in edges
                if nodes[e.source].group == nodes[e.target].group
                and nodes[e.source].column != nodes[e.target].column
            }
            plain = tuple(
                replace(
                    n,
                    params=(),
                    role="state" if n.base in carried and n.role == "value" else n.role,
                )
                for n in nodes.values()
            )
            return Diagram(self.system.name, plain, tuple(edges), {STEPS: ""}, shared)
        graph = nx.MultiDiGraph((e.source, e.target) for e in edges)
        graph.add_nodes_from(nodes)
        groups: dict[str, str] = {}
        order = {k: i for i, k in enumerate(nodes)}
        rings = [r for r in nx.strongly_connected_components(graph) if _cyclic(graph, r)]
        for ring in sorted(rings, key=lambda r: min(order[k] for k in r)):
            group = f"loop{len(groups) + 1}"
            groups[group] = self._title(ring)
            for key in ring:
                nodes[key] = replace(nodes[key], group=group)
        return Diagram(self.system.name, tuple(nodes.values()), tuple(edges), groups)

    def _title(self, ring: Iterable[str]) -> str:
        members = {name for name, key in self.owner.items() if key in set(ring)}
        try:
            for recurrence in recurrences(self.system):
                if recurrence.members & members:
                    return f"loop over {_way(recurrence)}"
        except SpecError:
            pass  # an unsound system can be drawn all the same
        return "loop"


def _cyclic(graph: nx.MultiDiGraph, ring: set[str]) -> bool:
    return len(ring) > 1 or any(graph.has_edge(k, k) for k in ring)


def _way(recurrence: Recurrence) -> str:
    """``t, forward``, and what turns within."""
    way = f"{recurrence.axis}, {'forward' if recurrence.forward else 'backward'}"
    inner = "; ".join(_way(r) for r in recurrence.inner)
    return f"{way}; within it {inner}" if inner else way
