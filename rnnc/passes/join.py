"""The plans of the parts of a system in segments, joined into one.

    loop over t.segments, forward:
      carry loss.before from const 0.0, then loss.after; last is loss
      carry h.before from …, then h.after
      x : [batch, t.part, n] = part(x, …)
      …                                               the plan of a segment
      keep  h.kept as h.kept : [t.segments, batch, m]

There are √T segments of √T steps, and the last may be shorter: ``t.part`` is the length of the
axis in one. What a segment computes of nothing but what is outside is moved there.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rnnc.graph.ops import SWEPT
from rnnc.graph.system import fresh
from rnnc.graph.types import told_apart
from rnnc.passes.plan import (
    ArrayType,
    Carried,
    Compute,
    Extent,
    Loop,
    Plan,
    Port,
    Statement,
    reads_of,
    results_of,
    split,
)
from rnnc.passes.segments import Segments, Sweep
from rnnc.source import InternalError

INDEX = ArrayType((), "index")


def join(parts: Segments, outside: Plan, sweeps: Sequence[Plan]) -> Plan:
    """One plan, of that of what is outside and those of the sweeps."""
    made = _Join(parts, outside)
    for sweep, plan in zip(parts.sweeps, sweeps, strict=True):
        made.add(sweep, plan)
    return made.plan()


class _Join:
    """A plan while segments are added to it."""

    def __init__(self, parts: Segments, outside: Plan):
        self.parts = parts
        self.outside = outside
        self.axis = axis = parts.axis
        self.arrays = dict(outside.arrays)
        self.statements: list[Statement] = []
        self.once: dict[Hashable, str] = {}
        self.ports = _ports(parts, outside)
        self.kept: dict[str, str] = {}  # the arrays of what sweeps kept
        self.segment, self.segments = f"{axis}.segment", f"{axis}.segments"
        self.sources: dict[str, str] = {}  # the array with the length of each axis that is added
        self.length = self.ports[parts.length]
        steps = self._emit(self.segment, INDEX, "segment", (self.length,))
        count = self._emit(self.segments, INDEX, "segments", (self.length, steps))
        self.sources |= {self.segment: steps, self.segments: count}
        numbers = ArrayType((self.segments,), "index")
        self.numbers = self._emit(f"{axis}.numbers", numbers, "step", (), axis=self.segments)
        self.one = self._emit(f"{axis}.one", INDEX, "constant", (), value=1)

    def plan(self) -> Plan:
        """All of it: statements in an order in which each finds what it reads."""
        parts, outside = self.parts, self.outside
        outputs = tuple(p for p in outside.outputs if p.name not in parts.taken)
        every = [*self.statements, *outside.statements()]
        statements = _ordered(every, [*self.sources.values(), *(p.array for p in outputs)])
        params = {p.array for p in outside.params}
        setup, body = split(statements, params, self.arrays)
        names = outside.length_names
        added = {axis: axis.replace(self.axis, names[self.axis], 1) for axis in self.sources}
        return Plan(
            name=outside.name,
            arrays=self.arrays,
            inputs=tuple(p for p in outside.inputs if p.role != SWEPT),
            params=outside.params,
            outputs=outputs,
            setup=setup,
            body=body,
            axes={**outside.axes, **{axis: (array, -1) for axis, array in self.sources.items()}},
            length_names={**names, **added},
        )

    # ---------------------------------------------------------------- one sweep

    def add(self, sweep: Sweep, plan: Plan) -> None:
        """The loop of a sweep over the segments, the plan of one of them in its body."""
        inputs = {p.name: p for p in plan.inputs if p.role == "input"}
        outputs = {p.name: p for p in plan.outputs}
        part = fresh(f"{self.axis}.part", self.sources)
        own = _Renamed({}, {self.axis: part})
        for name, type_ in plan.arrays.items():
            own.arrays[name] = self._array(name, own.type(type_))
        body: list[Statement] = []
        number = self._array(f"{self.axis}.number", INDEX)
        scanned = [(number, self.numbers)]
        before = self._steps(body, number, part)

        carried = {h.before for h in sweep.handed}
        for name, port in inputs.items():
            outer = self.ports.get(name, name)
            if name == sweep.passed:
                own.arrays[port.array] = before
            elif name in sweep.found:
                scanned.append((own.arrays[port.array], self.kept[sweep.found[name]]))
            elif self.axis in port.type.dims:
                dim, target = port.type.dims.index(self.axis), own.arrays[port.array]
                attrs = (("dim", dim),)
                body.append(Compute(target, "part", (outer, before), attrs))
            elif name not in carried:
                own.arrays[port.array] = outer
        local = {inner for inner, _ in scanned}
        local.update(name for s in body for name in results_of(s))
        local.update(own.arrays[inputs[name].array] for name in carried)
        for s in plan.statements():
            made = own.statement(s)
            if isinstance(made, Compute) and not _is_local(made, local, part, self.arrays):
                own.arrays.update({name: self._once(made) for name in results_of(s)})
            else:
                local.update(results_of(made))
                body.append(made)

        states = [
            Carried(
                own.arrays[inputs[h.before].array],
                self.ports[h.initial],
                own.arrays[outputs[h.after].array],
                None if h.final is None else self.ports[h.final],
            )
            for h in sweep.handed
        ]
        collected = [self._keep(own, outputs[name]) for name in sweep.kept]
        collected += [self._gather(own, outputs[name], body) for name in sweep.gathered]
        self.statements.append(
            Loop(
                self.segments,
                sweep.forward,
                tuple(states),
                tuple(scanned),
                tuple(body),
                tuple(collected),
            )
        )

    def _steps(self, body: list[Statement], number: str, part: str) -> str:
        """In front of a body: how many steps are before a segment, and how many it has."""

        def emit(name: str, op: str, a: str, b: str) -> str:
            target = self._array(f"{self.axis}.{name}", INDEX)
            body.append(Compute(target, op, (a, b)))
            return target

        steps = self.sources[self.segment]
        before = emit("before", "mul", emit("earlier", "sub", number, self.one), steps)
        self.sources[part] = emit(
            "part", "minimum", steps, emit("left", "sub", self.length, before)
        )
        return before

    def _keep(self, own: _Renamed, port: Port) -> tuple[str, str]:
        """One entry of every segment."""
        inner = own.arrays[port.array]
        type_ = self.arrays[inner]
        outer = self._array(port.name, ArrayType((self.segments, *type_.dims), type_.kind))
        self.kept[port.name] = outer
        return outer, inner

    def _gather(self, own: _Renamed, port: Port, body: list[Statement]) -> tuple[str, str]:
        """All steps of all segments: these are padded to one length, and the end cut off."""
        inner = own.arrays[port.array]
        dim, kind = port.type.dims.index(self.axis), port.type.kind
        dims = list(self.arrays[inner].dims)
        dims[dim] = self.segment
        padded = self._array(f"{port.name}.padded", ArrayType(tuple(dims), kind))
        attrs = (("dim", dim),)
        body.append(Compute(padded, "padded", (inner,), attrs))
        outer = self._array(f"{port.name}.segments", ArrayType((self.segments, *dims), kind))
        self.statements.append(Compute(self.ports[port.name], "joined", (outer,), attrs))
        return outer, padded

    # ---------------------------------------------------------------- arrays

    def _once(self, s: Compute) -> str:
        """Make outside what segments need; what several sweeps need, for the first of them."""
        key = (s.op, s.args, told_apart(s.attrs), self.arrays[s.target])
        if key not in self.once:
            self.once[key] = s.target
            self.statements.append(s)
        return self.once[key]

    def _array(self, base: str, type_: ArrayType) -> str:
        """A new array of this type."""
        name = fresh(base, self.arrays)
        self.arrays[name] = type_
        return name

    def _emit(
        self, base: str, type_: ArrayType, op: str, args: tuple[str, ...], **attrs: Hashable
    ) -> str:
        """A new statement outside of all loops."""
        target = self._array(base, type_)
        self.statements.append(Compute(target, op, args, tuple(attrs.items())))
        return target


def _ports(parts: Segments, outside: Plan) -> dict[str, str]:
    """The array of each value that passes the edge of the plan of what is outside."""
    outputs = {p.name: p.array for p in outside.outputs}
    system = parts.outside
    for table in (system.losses, system.metrics, system.counts):
        outputs |= {value: outputs[name] for name, value in table.items() if name in outputs}
    return outputs | {p.name: p.array for p in (*outside.inputs, *outside.params)}


@dataclass(frozen=True)
class _Renamed:
    """The statements of one plan in another: arrays and axes by their names there."""

    arrays: dict[str, str]
    axes: Mapping[str, str]

    def type(self, type_: ArrayType) -> ArrayType:
        return ArrayType(tuple(map(self._extent, type_.dims)), type_.kind)

    def statement(self, s: Statement) -> Statement:
        name = self.arrays
        if isinstance(s, Compute):
            attrs = tuple((k, self.axes.get(str(v), v) if k == "axis" else v) for k, v in s.attrs)
            return Compute(name[s.target], s.op, tuple(name[a] for a in s.args), attrs, s.origins)
        return Loop(
            self.axes.get(s.axis, s.axis),
            s.forward,
            tuple(
                Carried(name[c.name], name[c.initial], name[c.next], c.final and name[c.final])
                for c in s.carried
            ),
            tuple((name[inner], name[outer]) for inner, outer in s.scanned),
            tuple(map(self.statement, s.body)),
            tuple((name[outer], name[inner]) for outer, inner in s.collected),
        )

    def _extent(self, e: Extent) -> Extent:
        return self.axes.get(e, e) if isinstance(e, str) else e


def _is_local(s: Compute, local: set[str], part: str, arrays: Mapping[str, ArrayType]) -> bool:
    """Whether a statement of a segment needs something of the segment."""
    asks = ("axis", part) in s.attrs or part in arrays[s.target].dims
    return asks or not local.isdisjoint(s.args)


def _ordered(statements: Sequence[Statement], wanted: Iterable[str]) -> list[Statement]:
    """What makes the wanted arrays, each statement after those that make what it reads."""
    maker = {name: i for i, s in enumerate(statements) for name in results_of(s)}
    out: list[Statement] = []
    state: dict[int, bool] = {}  # whether a statement is in its place yet
    todo = [maker[name] for name in reversed([*wanted]) if name in maker]
    while todo:
        i = todo[-1]
        if i in state:
            todo.pop()
            if not state[i]:
                state[i] = True
                out.append(statements[i])
            continue
        state[i] = False
        read = sorted({maker[n] for n in reads_of([statements[i]]) if n in maker})
        if not all(state.get(j, True) for j in read):
            raise InternalError("a sweep needs what only a later one gives")
        todo += [j for j in reversed(read) if j not in state]
    return out
