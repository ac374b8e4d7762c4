"""From a System to a Plan: what is a loop, what is computed for all steps at once, in what order.

Recurrences are the strongly connected components of the graph; each becomes a Loop over its
axis, and what still recurs within a step of it a loop in its body. Everything else is computed
for all steps at once: before a loop that needs it (so that input projections become one
product), or after the loop that it reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import networkx as nx

from rnnc.graph.cycles import Recurrence
from rnnc.graph.ops import GIVEN, SWEPT
from rnnc.graph.system import System, Value
from rnnc.graph.types import BATCH, FIRST, LAST, Index, Read, whole
from rnnc.passes.arrays import Arrays, Block, Operand
from rnnc.passes.levels import Level
from rnnc.passes.lower import lower
from rnnc.passes.moves import single_moves
from rnnc.passes.plan import (
    ArrayType,
    Carried,
    Extent,
    Loop,
    Plan,
    Port,
    Statement,
    flat,
    split,
)
from rnnc.passes.spread import clusters, spared
from rnnc.passes.turned import turned


def schedule(system: System) -> Plan:
    """The plan of a system all of whose sizes are numbers."""
    return turned(_Schedule(spared(single_moves(system))).plan())


class _Schedule:
    def __init__(self, system: System):
        self.system = system
        self.arrays = Arrays(self._extents())
        self.top = Level(system, self.arrays, self.arrays.blocks[0])
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
        self._compute(self.top, list(system.values), clusters(system), set(system.results))
        outputs = self._outputs()
        params = [p.array for p in self.params]
        setup, body = split(self.arrays.blocks[0].statements, params, self.arrays.types)
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

    def _compute(
        self, level: Level, names: Sequence[str], loops: Sequence[Recurrence], wanted: set[str]
    ) -> None:
        """Compute these values at a level, the members of ``loops`` by loops in it."""
        by_member = {m: r for r in loops for m in r.members}
        for component in self._order(level, names, loops):
            recurrence = by_member.get(component[0])
            if recurrence is None:
                self._define(level, self.system.values[component[0]])
            else:
                self._loop(level, recurrence, component, wanted)

    def _order(
        self, level: Level, names: Sequence[str], loops: Sequence[Recurrence]
    ) -> list[list[str]]:
        """Components, what is read before its readers, else in the order of the system."""
        position = {name: i for i, name in enumerate(names)}
        group = {name: name for name in names}
        members: dict[str, list[str]] = {}
        for recurrence in loops:
            ordered = sorted(recurrence.members, key=position.__getitem__)
            members[ordered[0]] = ordered
            group.update(dict.fromkeys(ordered, ordered[0]))
        graph = nx.DiGraph()
        graph.add_nodes_from(dict.fromkeys(group.values()))
        for name in names:
            for r in self._reads_at(level, self.system.values[name]):
                if r.source in group and group[r.source] != group[name]:
                    graph.add_edge(group[r.source], group[name])
        order = nx.lexicographical_topological_sort(graph, key=position.__getitem__)
        return [members.get(name, [name]) for name in order]

    def _reads_at(self, level: Level, value: Value) -> Iterable[Read]:
        """What a value reads at the steps where a level is; the rest is carried to them."""
        for _, r in value.all_reads():
            if not any(r.shifts(a) for a in level.within):
                yield r

    # ---------------------------------------------------------------- for all steps at once

    def _define(self, level: Level, value: Value) -> None:
        """The array of a value that no loop of its own computes, over all its steps."""
        if value.op in GIVEN:
            self._port(value)
            return
        operands = [level.operand(r) for r in value.reads]
        target = self.arrays.name(level.local(value.name))
        lower(self.arrays, target, value, operands, level.axes(value.axes))
        level.done[value.name, ()] = target

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
        role = "lengths" if "lengths" in dict(value.attrs) else "state" if state else value.op
        role = "context" if name in self.system.contexts else role
        role = SWEPT if SWEPT in dict(value.attrs) else role
        times = tuple(a for a in value.axes if a != BATCH)
        steps = dict(value.attrs).get("steps")
        along = steps if isinstance(steps, str) else None
        port = Port(name, name, role, outside, limit, along, times)
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
        self.top.done[name, ()] = array

    # ---------------------------------------------------------------- loops

    def _loop(
        self, level: Level, recurrence: Recurrence, members: Sequence[str], wanted: set[str]
    ) -> None:
        """The loop of a recurrence: its carried values, its body, what is kept of every step."""
        system, axis, arrays = self.system, recurrence.axis, self.arrays
        lags = self._lags(level, members, recurrence)
        kept, last_only = self._needed(level, recurrence, lags, wanted)
        parts = self._parts(kept, recurrence)
        kept |= {system[name].reads[0].source for name in parts}

        body = Level(system, arrays, Block(), recurrence, level)
        arrays.blocks.append(body.block)
        for name, deepest in lags.items():
            for lag in range(1, deepest + 1):
                offset = -lag if recurrence.forward else lag
                state = arrays.name(f"{body.local(name)[:-1]}{offset:+d}]")
                body.states[name, lag] = body.declare(state, system[name])
        self._compute(body, members, recurrence.inner, kept | lags.keys() | last_only)
        local = {name: body.done[name, ()] for name in members if name in kept or name in lags}
        arrays.blocks.pop()

        carried = []
        for name, deepest in lags.items():
            for lag in range(1, deepest + 1):
                step = Index(FIRST, -lag) if recurrence.forward else Index(LAST, lag)
                first = level.edge(system[name], axis, step)
                following = body.states[name, lag - 1] if lag > 1 else local[name]
                final = self._final(level, body, name) if lag == 1 and name in last_only else None
                carried.append(Carried(body.states[name, lag], first, following, final))
        collected = []
        varying = [n for n in members if n in kept and n not in parts]
        # what turns out to be the same at every step is made outside, and stretched
        same = [n for n in varying if local[n] not in body.block.locals]
        for name in varying:
            if name not in same:
                collected.append((self._collected(level, name, axis), local[name]))
        level.block.statements.append(
            Loop(
                axis,
                recurrence.forward,
                tuple(carried),
                tuple(body.scanned.items()),
                tuple(body.block.statements),
                tuple(collected),
            )
        )
        for name in varying:
            if name in same:
                value = system[name]
                inner = Operand(local[name], body.axes(value.axes), value.type.rank)
                stretched = arrays.stretch(inner, level.axes(value.axes), value.type)
                level.done[name, ()] = stretched
            else:
                self._turn(level, name, axis)
        for name in parts:
            self._define(level, system[name])

    def _final(self, level: Level, body: Level, name: str) -> str:
        """The array of the last state of a loop."""
        assert body.loop is not None
        axis, forward = body.loop.axis, body.loop.forward
        length = self.system.axes[axis].length if forward else "1"
        final = self.arrays.name(f"{level.local(name)}[{length}]")
        self.arrays.types[final] = self.arrays.types[body.states[name, 1]]
        level.block.locals.add(final)
        level.done[name, ((axis, Index(LAST) if forward else Index(FIRST)),)] = final
        return final

    def _collected(self, level: Level, name: str, axis: str) -> str:
        """The array of all steps of a member, the loop's own axis first."""
        value = self.system[name]
        axes = level.axes(value.axes)
        own = axes.index(axis)
        array = self.arrays.name(level.local(name))
        dims = self.arrays.dims((axis, *axes[:own], *axes[own + 1 :]), value.type.shape)
        self.arrays.types[array] = ArrayType(dims, value.type.kind)
        level.block.locals.add(array)
        level.done[name, ()] = array
        return array

    def _turn(self, level: Level, name: str, axis: str) -> None:
        """A collected array with its dimensions in the order of the axes."""
        array = level.done[name, ()]
        own = level.axes(self.system[name].axes).index(axis)
        rank = len(self.arrays.types[array].dims)
        back = (*range(1, own + 1), 0, *range(own + 1, rank))
        level.done[name, ()] = self.arrays.permute(array, back)

    def _lags(self, level: Level, members: Sequence[str], recurrence: Recurrence) -> dict[str, int]:
        """How many steps back each member is read inside the loop."""
        lags: dict[str, int] = {}
        for name in members:
            for r in self._reads_at(level, self.system[name]):
                if r.source in recurrence.members:
                    lag = abs(whole(r.index(recurrence.axis).offset))
                    if lag:
                        lags[r.source] = max(lags.get(r.source, 0), lag)
        return {name: lags[name] for name in members if name in lags}

    def _needed(
        self, level: Level, recurrence: Recurrence, lags: dict[str, int], wanted: set[str]
    ) -> tuple[set[str], set[str]]:
        """Members whose every step is read outside, and those of which only the end is."""
        end = Index(LAST) if recurrence.forward else Index(FIRST)
        ends: set[str] = set()
        full = set(wanted & recurrence.members)
        for value in self.system.values.values():
            for _, r in value.all_reads():
                outside = value.name not in recurrence.members
                for read in (r, *self._beyond(r)) if outside else (r,):
                    carried_on = any(read.shifts(a) for a in level.within)
                    if read.source in recurrence.members and (outside or carried_on):
                        is_end = read.at == ((recurrence.axis, end),) and read.source in lags
                        (ends if is_end else full).add(read.source)
        return full, ends

    def _beyond(self, r: Read) -> list[Read]:
        """What the boundaries read that a read may meet."""
        found: dict[Read, None] = {}
        todo = [r]
        while todo:
            current = todo.pop()
            for axis, _ in current.at:
                for b in self.system.values[current.source].bounds:
                    if b.axis == axis and b.read not in found:
                        found[b.read] = None
                        todo.append(b.read)
        return list(found)

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
            array = self.top.array(Read(name))
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

    def _axis_sources(self, body: tuple[Statement, ...]) -> dict[str, int | tuple[str, int]]:
        """Where the length of each axis comes from; one that no data fixes becomes an input."""
        out: dict[str, int | tuple[str, int]] = {}
        used = _axes_used(body, self.arrays.types)
        for axis in self.system.axes.values():
            if axis.size is not None:
                out[axis.name] = whole(axis.size)
                continue
            same = [a.name for a in self.system.axes.values() if a.length == axis.length]
            same.sort(key=lambda name: name != axis.name)  # its own dimension first
            found = [
                (port.name, port.type.dims.index(name))
                for name in same
                for port in self.inputs
                if name in port.type.dims and port.role != SWEPT
            ]
            if found:
                out[axis.name] = found[0]
            elif told := [out[name] for name in same if name in out]:
                out[axis.name] = told[0]
            elif axis.name in used:
                port = Port(axis.length, axis.length, "length", ArrayType((), "index"))
                self.inputs.append(port)
                self.arrays.types[port.array] = port.type
                out[axis.name] = (port.name, -1)
        return out


def _axes_used(statements: Iterable[Statement], types: dict[str, ArrayType]) -> set[str]:
    used: set[str] = set()
    for s in flat(statements):
        if isinstance(s, Loop):
            used.add(s.axis)
            continue
        used |= {d for d in types[s.target].dims if isinstance(d, str)}
        if s.op in ("length", "step"):
            used.add(s.attr("axis"))
    return used


def _batch_first(axes: tuple[str, ...], rank: int) -> tuple[int, ...]:
    """The order of dimensions that callers see, as positions in the plan's own order."""
    count = len(axes)
    batch = [i for i, a in enumerate(axes) if a == BATCH]
    time = [i for i, a in enumerate(axes) if a != BATCH]
    return (*batch, *time, *range(count, count + rank))
