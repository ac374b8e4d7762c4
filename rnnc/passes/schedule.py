"""From a System to a Plan: what is a loop, what is computed for all steps at once, in what order.

Recurrences are the strongly connected components of the graph; each becomes one Loop over its
axis. Everything else is computed for all steps at once: before a loop that needs it (so that
input projections become one product), or after the loop that it reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import networkx as nx

from rnnc.graph.cycles import Recurrence, recurrences
from rnnc.graph.ops import GIVEN
from rnnc.graph.system import System, Value
from rnnc.graph.types import BATCH, FIRST, LAST, Index, Read, whole
from rnnc.passes.arrays import Arrays
from rnnc.passes.lower import lower
from rnnc.passes.plan import ArrayType, Carried, Compute, Extent, Loop, Plan, Port, Statement
from rnnc.passes.reads import Reads
from rnnc.source import InternalError


def schedule(system: System) -> Plan:
    """The plan of a system all of whose sizes are numbers."""
    return _Schedule(system).plan()


class _Schedule:
    def __init__(self, system: System):
        self.system = system
        self.recurrences = recurrences(system)
        self.member_of: dict[str, Recurrence] = {m: r for r in self.recurrences for m in r.members}
        self.arrays = Arrays(self._extents())
        self.reads = Reads(system, self.arrays)
        self.inputs: list[Port] = []
        self.params: list[Port] = []

    def _extents(self) -> dict[str, Extent]:
        """How an axis appears among the dimensions of an array: by name, or its fixed size."""
        out: dict[str, Extent] = {}
        for axis in self.system.axes.values():
            out[axis.name] = axis.name if axis.size is None else whole(axis.size)
        return out

    # ---------------------------------------------------------------- the whole

    def plan(self) -> Plan:
        system = self.system
        for component in self._order():
            first = system.values[component[0]]
            recurrence = self.member_of.get(first.name)
            if recurrence is None:
                self._define(first)
            else:
                self._loop(recurrence)
        outputs = self._outputs()
        setup, body = self._split()
        axes = self._axis_sources(body)  # may add an input
        return Plan(
            name=system.name,
            arrays=self.arrays.types,
            inputs=tuple(self.inputs),
            params=tuple(self.params),
            outputs=outputs,
            setup=setup,
            body=body,
            axes=axes,
            length_names={a.name: a.length for a in system.axes.values()},
        )

    def _order(self) -> list[list[str]]:
        """Components, what is read before its readers, else in the order of the system."""
        system = self.system
        position = {name: i for i, name in enumerate(system.values)}
        group = {name: name for name in system.values}
        members: dict[str, list[str]] = {}
        for recurrence in self.recurrences:
            ordered = sorted(recurrence.members, key=position.__getitem__)
            members[ordered[0]] = ordered
            group.update(dict.fromkeys(ordered, ordered[0]))
        graph = nx.DiGraph()
        graph.add_nodes_from(dict.fromkeys(group.values()))
        for value in system.values.values():
            for _, r in value.all_reads():
                if group[r.source] != group[value.name]:
                    graph.add_edge(group[r.source], group[value.name])
        order = nx.lexicographical_topological_sort(graph, key=position.__getitem__)
        return [members.get(name, [name]) for name in order]

    # ---------------------------------------------------------------- for all steps at once

    def _define(self, value: Value) -> None:
        """The array of a value outside all loops, over all its steps."""
        name = value.name
        if value.op in GIVEN:
            self._port(value)
            return
        operands = [self.reads.operand(self.reads.whole(r), r, ()) for r in value.reads]
        lower(self.arrays, name, value, operands, value.axes)
        self.reads.done[name, ()] = name

    def _port(self, value: Value) -> None:
        """An array from outside, put into the order that plans use."""
        arrays, name = self.arrays, value.name
        dims = arrays.dims(value.axes, value.type.shape)
        order = _batch_first(value.axes, value.type.rank)
        outside = ArrayType(tuple(dims[i] for i in order), value.type.kind)
        limit = None
        if value.op in ("input", "target"):
            given = dict(value.attrs).get("range")
            limit = given if isinstance(given, int) else None
        carried = (*self.system.states, *self.system.updates)
        state = any(s.prev == name for s in carried) and value.op != "param"
        role = "state" if state else value.op
        port = Port(name, name, role, outside, limit)
        (self.params if value.op == "param" else self.inputs).append(port)
        arrays.types[name] = outside
        array = name
        if order != tuple(range(len(dims))):
            back = tuple(order.index(i) for i in range(len(order)))
            array = arrays.emit(
                f"{name}:steps",
                "permute",
                (name,),
                dims,
                value.type.kind,
                value.origins,
                order=back,
            )
        self.reads.done[name, ()] = array

    # ---------------------------------------------------------------- loops

    def _loop(self, recurrence: Recurrence) -> None:
        if recurrence.inner:
            raise InternalError("nested recurrences")
        system, axis = self.system, recurrence.axis
        members = [n for n in system.values if n in recurrence.members]
        lags = self._lags(members, axis, recurrence)
        wanted, last_only = self._needed(recurrence, lags)
        parts = self._parts(wanted, recurrence)
        wanted |= {self.system[name].reads[0].source for name in parts}

        body = _Body(self, recurrence)
        self.arrays.body, self.arrays.locals = body.statements, set()
        for name, deepest in lags.items():
            for lag in range(1, deepest + 1):
                body.carry(name, lag)
        for name in self._inner_order(members, axis, recurrence):
            body.define(system.values[name])
        self.arrays.body, self.arrays.locals = None, set()
        carried = []
        for name, deepest in lags.items():
            source = system.values[name]
            for lag in range(1, deepest + 1):
                step = Index(FIRST, -lag) if recurrence.forward else Index(LAST, lag)
                inner = tuple(a for a in source.axes if a != axis)
                final = None
                if lag == 1 and name in last_only:
                    final = self.arrays.name(
                        f"{name}[{system.axes[axis].length if recurrence.forward else '1'}]"
                    )
                    self.arrays.types[final] = self.arrays.types[body.states[name, 1]]
                    end = Index(LAST) if recurrence.forward else Index(FIRST)
                    self.reads.done[name, ((axis, end),)] = final
                carried.append(
                    Carried(
                        body.states[name, lag],
                        self.reads.edge(source, axis, step, inner),
                        body.states[name, lag - 1] if lag > 1 else body.local(name),
                        final,
                    )
                )
        collected = []
        for name in members:
            if name in wanted and name not in parts:
                source = system.values[name]
                self.arrays.types[name] = ArrayType(
                    self.arrays.dims(source.axes, source.type.shape), source.type.kind
                )
                self.reads.done[name, ()] = name
                collected.append((name, body.local(name)))
        self.arrays.statements.append(
            Loop(
                axis,
                recurrence.forward,
                tuple(carried),
                tuple(body.scanned.items()),
                tuple(body.statements),
                tuple(collected),
            )
        )
        for name in parts:
            self._define(system.values[name])

    def _lags(self, members: list[str], axis: str, recurrence: Recurrence) -> dict[str, int]:
        """How many steps back each member is read inside the loop."""
        lags: dict[str, int] = {}
        for name in members:
            for _, r in self.system.values[name].all_reads():
                if r.source in recurrence.members:
                    lag = abs(whole(r.index(axis).offset))
                    if lag:
                        lags[r.source] = max(lags.get(r.source, 0), lag)
        return {name: lags[name] for name in members if name in lags}

    def _needed(self, recurrence: Recurrence, lags: dict[str, int]) -> tuple[set[str], set[str]]:
        """Members whose every step is read outside, and those of which only the end is."""
        end = Index(LAST) if recurrence.forward else Index(FIRST)
        ends: set[str] = set()
        full = {n for n in self.system.results if n in recurrence.members}
        for value in self.system.values.values():
            if value.name in recurrence.members:
                continue
            for _, r in value.all_reads():
                if r.source in recurrence.members:
                    is_end = r.at == ((recurrence.axis, end),) and r.source in lags
                    (ends if is_end else full).add(r.source)
        return full, ends

    def _parts(self, wanted: set[str], recurrence: Recurrence) -> list[str]:
        """Wanted members that are taken from another one at the same step: cheaper cut out of
        all its steps afterwards, where that one is wanted or several are cut out of it."""
        found: dict[str, list[str]] = {}
        for name, v in self.system.values.items():
            if name in wanted and v.op == "slice" and not v.reads[0].at and not v.bounds:
                source = v.reads[0].source
                if source in recurrence.members and not self.system[source].bounds:
                    found.setdefault(source, []).append(name)
        return [n for s, names in found.items() if s in wanted or len(names) > 1 for n in names]

    def _inner_order(self, members: list[str], axis: str, recurrence: Recurrence) -> Iterable[str]:
        position = {name: i for i, name in enumerate(members)}
        graph = nx.DiGraph()
        graph.add_nodes_from(members)
        for name in members:
            for r in self.system.values[name].reads:
                if r.source in recurrence.members and not r.shifts(axis):
                    graph.add_edge(r.source, name)
        return nx.lexicographical_topological_sort(graph, key=position.__getitem__)  # type: ignore[no-any-return]

    # ---------------------------------------------------------------- the edge of the plan

    def _outputs(self) -> tuple[Port, ...]:
        system = self.system
        roles = dict.fromkeys(system.outputs, "output")
        public = {n: n for n in system.outputs}
        for role, table in (
            ("loss", system.losses),
            ("metric", system.metrics),
            ("count", system.counts),
        ):
            for shown, name in table.items():
                roles[name] = role
                public[name] = shown
        for state in (*system.states, *system.updates):
            roles[state.next] = "state"
            public[state.next] = state.next
        ports = []
        for name, role in roles.items():
            value = system.values[name]
            array = self.reads.whole(Read(name))
            dims = self.arrays.dims(value.axes, value.type.shape)
            order = _batch_first(value.axes, value.type.rank)
            type_ = ArrayType(tuple(dims[i] for i in order), value.type.kind)
            if order != tuple(range(len(dims))):
                array = self.arrays.emit(
                    f"{name}:batch",
                    "permute",
                    (array,),
                    type_.dims,
                    type_.kind,
                    value.origins,
                    order=order,
                )
            ports.append(Port(public[name], array, role, type_))
        return tuple(ports)

    def _split(self) -> tuple[tuple[Statement, ...], tuple[Statement, ...]]:
        """What depends on parameters alone is done once, before anything is run."""
        fixed = {p.array for p in self.params}
        setup: list[Statement] = []
        body: list[Statement] = []
        for s in self.arrays.statements:
            alone = (
                isinstance(s, Compute)
                and s.op not in ("length", "step")
                and all(a in fixed for a in s.args)
                and all(isinstance(d, int) for d in self.arrays.types[s.target].dims)
            )
            if alone and isinstance(s, Compute):
                fixed.add(s.target)
                setup.append(s)
            else:
                body.append(s)
        return tuple(setup), tuple(body)

    def _axis_sources(self, body: tuple[Statement, ...]) -> dict[str, int | tuple[str, int]]:
        """Where the length of each axis comes from; one that no data fixes becomes an input."""
        out: dict[str, int | tuple[str, int]] = {}
        used = _axes_used(body, self.arrays.types)
        for axis in self.system.axes.values():
            if axis.size is not None:
                out[axis.name] = whole(axis.size)
                continue
            for port in self.inputs:
                if axis.name in port.type.dims:
                    out[axis.name] = (port.name, port.type.dims.index(axis.name))
                    break
            else:
                if axis.name in used:
                    port = Port(axis.length, axis.length, "length", ArrayType((), "index"))
                    self.inputs.append(port)
                    self.arrays.types[port.array] = port.type
                    out[axis.name] = (port.name, -1)
        return out


def _axes_used(statements: Iterable[Statement], types: dict[str, ArrayType]) -> set[str]:
    used: set[str] = set()
    for s in statements:
        if isinstance(s, Compute):
            used |= {d for d in types[s.target].dims if isinstance(d, str)}
            if s.op in ("length", "step"):
                used.add(s.attr("axis"))
        else:
            used.add(s.axis)
            used |= _axes_used(s.body, types)
    return used


def _batch_first(axes: tuple[str, ...], rank: int) -> tuple[int, ...]:
    """The order of dimensions that callers see, as positions in the plan's own order."""
    count = len(axes)
    batch = [i for i, a in enumerate(axes) if a == BATCH]
    time = [i for i, a in enumerate(axes) if a != BATCH]
    return (*batch, *time, *range(count, count + rank))


class _Body:
    """The statements of one step of a loop."""

    def __init__(self, outer: _Schedule, recurrence: Recurrence):
        self.outer = outer
        self.axis = recurrence.axis
        self.recurrence = recurrence
        self.statements: list[Compute] = []
        self.states: dict[tuple[str, int], str] = {}
        self.scanned: dict[str, str] = {}
        self.known: dict[tuple[str, int], str] = {}  # what is scanned, by source and offset

    def local(self, name: str) -> str:
        return f"{name}[{self.axis}]"

    def carry(self, name: str, lag: int) -> None:
        offset = -lag if self.recurrence.forward else lag
        state = self.outer.arrays.name(f"{name}[{self.axis}{offset:+d}]")
        value = self.outer.system.values[name]
        axes = tuple(a for a in value.axes if a != self.axis)
        self.states[name, lag] = state
        self.outer.arrays.types[state] = ArrayType(
            self.outer.arrays.dims(axes, value.type.shape), value.type.kind
        )
        self.outer.arrays.locals.add(state)

    def read(self, r: Read) -> str:
        """The array of an operand at this step."""
        outer = self.outer
        source = outer.system.values[r.source]
        index = r.index(self.axis)
        if r.source in self.recurrence.members:
            offset = whole(index.offset)
            return self.states[r.source, abs(offset)] if offset else self.local(r.source)
        array = outer.reads.whole(r)
        if self.axis not in source.axes or index.fixed:
            return array
        key = (r.source, whole(index.offset))
        if key not in self.known:  # under a name of this loop's own
            base = f"{r.source}[{self.axis}{key[1]:+d}]" if key[1] else self.local(r.source)
            self.known[key] = local = outer.arrays.name(base)
            self.scanned[local] = array
            type_ = outer.arrays.types[array]
            outer.arrays.types[local] = replace(type_, dims=type_.dims[1:])
            outer.arrays.locals.add(local)
        return self.known[key]

    def define(self, value: Value) -> None:
        """The statements of one member at this step."""
        operands = [self.outer.reads.operand(self.read(r), r, (self.axis,)) for r in value.reads]
        axes = tuple(a for a in value.axes if a != self.axis)
        lower(self.outer.arrays, self.local(value.name), value, operands, axes)
