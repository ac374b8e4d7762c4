"""Streaming: what the next step needs becomes an input, what it will need an output.

    h[t] = tanh(W h[t-1] + U x[t])   →   the same with h[0] = h.prev (an input),
                                          and h.next = h[T] (an output)

A model so changed runs a sequence chunk by chunk, and at a single step it is the cell for
streaming. Delayed inputs (``x[t-1]``) are carried too, and so is the number of steps that have
passed, where the model asks for it. What is known before the first step (an encoder's states, a
first state computed from them) belongs to a model of its own, ``initial``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import networkx as nx

from rnnc.graph.edges import edge
from rnnc.graph.ops import DATA
from rnnc.graph.system import State, System, Value, read_axes
from rnnc.graph.types import FIRST, LAST, Bound, Index, Read, Type, read, whole
from rnnc.passes.moves import single_moves
from rnnc.source import Diagnostic, Span, SpecError


def carry(system: System) -> System:
    """The system with its carried values as inputs ``*.prev`` and outputs ``*.next``.

    Raises SpecError where a step needs to know later ones.
    """
    return _streamed(system)[0]


def chunk(system: System) -> tuple[System, str]:
    """The system for a chunk of its sequences, and the axis of its steps: states in and out, and
    what was known before the first step as inputs (``contexts``).

    Raises SpecError where a step needs to know later ones.
    """
    carried, axis = _streamed(system)
    values = dict(carried.values)
    contexts = _contexts(carried, axis)
    for name, given in contexts.items():
        v = carried[name]
        limit = v.limits if v.op in DATA else ()
        values[given] = Value(given, "input", (), v.type, v.axes, limit, (), v.origins)
    renamed = {
        name: v.map_reads(lambda r: r.renamed(contexts.get(r.source, r.source)))
        for name, v in values.items()
    }
    for name, given in contexts.items():
        if name in carried.results:  # it is returned at every step, too
            v = carried[name]
            renamed[name] = replace(v, op="copy", reads=(Read(given),), attrs=(), bounds=())
    cut = carried.with_values(renamed, contexts={given: name for name, given in contexts.items()})
    return cut.pruned(), axis


def initial(system: System) -> System:
    """The system that computes, before the first step, the values of all ``*.prev`` and of the
    ``contexts``.

    What no boundary gives is zero. A state that no data reaches has no batch dimension.
    """
    carried, axis = _streamed(system)
    values = dict(single_moves(system).values)
    outputs = []
    for state in carried.states:
        prev = carried.values[state.prev]
        start = state.initial or edge(system, values, None, Type(prev.type.kind), ())
        _check_start(values, values[start.source], axis)
        for fixed in (a for a in prev.axes if system.axes[a].size is not None):
            start = _repeated(system, values, start, fixed)
        axes = system.ordered(read_axes(values[start.source].axes, start))
        values[state.prev] = Value(
            state.prev,
            "broadcast",
            (start,),
            prev.type,
            axes,
            (("shape", prev.type.shape),),
            (),
            prev.origins,
        )
        outputs.append(state.prev)
    for name, given in _contexts(carried, axis).items():
        v = values[name]
        values[given] = Value(given, "copy", (Read(name),), v.type, v.axes, (), (), v.origins)
        outputs.append(given)
    return system.with_values(
        values, outputs=tuple(outputs), losses={}, metrics={}, counts={}, targets={}
    ).pruned()


def _repeated(system: System, values: dict[str, Value], r: Read, axis: str) -> Read:
    """What is read, at every step of an axis of fixed length: that length is in no data."""
    v = values[r.source]
    axes = read_axes(v.axes, r)
    if axis in axes:
        return r
    name = system.fresh(f"{v.name}.repeated", values)
    count = whole(system.axes[axis].size or 0)
    values[name] = Value(
        name, "stack", (r,) * count, v.type, system.ordered((*axes, axis)), (("axis", axis),)
    )
    return Read(name)


def _streamed(system: System) -> tuple[System, str]:
    """The system with its states carried along the axis of its steps, and that axis: one that
    all outputs have, as far as they vary over time at all."""
    system = single_moves(system)
    time = system.time_axes()
    varying = [set(system[n].axes) & set(time) for n in system.outputs]
    varying = [axes for axes in varying if axes] or [
        {a for n in system.targets for a in system[n].axes if a in time}
    ]
    shared = set(time).intersection(*varying) if any(varying) else set(time)
    candidates = [a for a in time if a in shared]
    problem: SpecError | None = None
    for axis in candidates:
        try:
            return _Carry(system, axis).run(), axis
        except SpecError as error:
            problem = problem or error
    if problem is not None:
        raise problem
    first = next(system[n] for n in system.outputs if set(system[n].axes) & set(time))
    raise _ahead(first, "its outputs have no axis in common")


def _contexts(carried: System, axis: str) -> dict[str, str]:
    """What steps read that is computed before them, from all steps of another axis; each with
    the name of the input that it becomes."""
    time = set(carried.time_axes()) - {axis}
    later = {v.name for v in carried.values.values() if axis in v.axes}
    later |= {s.prev for s in carried.states}
    later = later.union(*(nx.descendants(carried.graph, n) for n in later))
    data = [v for v in carried.values.values() if v.op in DATA and v.name not in later]
    sources = [v.name for v in data if time & set(v.axes)]
    known = set(sources).union(*(nx.descendants(carried.graph, n) for n in sources)) - later
    found = dict.fromkeys(n for n in carried.results if n in known)
    for v in carried.values.values():
        if v.name not in known:
            found |= dict.fromkeys(r.source for _, r in v.all_reads() if r.source in known)
    return {name: carried.fresh(f"{name}.context") for name in found}


def _check_start(values: Mapping[str, Value], value: Value, axis: str) -> None:
    """An initial state is known before any step is."""
    seen: set[str] = set()
    todo = [value.name]
    while todo:
        name = todo.pop()
        if name in seen or name not in values:
            continue
        seen.add(name)
        v = values[name]
        if axis in v.axes:
            raise _ahead(value, f"the initial state needs `{name}`, which varies over {axis}")
        todo.extend(r.source for _, r in v.all_reads())


def _ahead(value: Value, why: str) -> SpecError:
    span: Span | None = value.origins[0] if value.origins else None
    return SpecError(
        [
            Diagnostic(
                "RNN042",
                f"this model cannot run step by step: {why}",
                span,
                hint="compile it for whole sequences: mode predict, or leave carry out",
            )
        ]
    )


class _Carry:
    def __init__(self, system: System, axis: str):
        self.system = system
        self.axis = axis
        self.values = dict(system.values)
        self.states: list[State] = list(system.states)
        self.counter: Read | None = None

    def run(self) -> System:
        system, axis = self.system, self.axis
        self._check()
        lags: dict[str, int] = {}
        for v in system.values.values():
            for _, r in v.all_reads():
                index = r.index(axis)
                if axis in system.values[r.source].axes and index.base in (axis, LAST):
                    lag = -whole(index.offset)  # h[T-1] is an earlier step as well
                    if lag > 0:
                        lags[r.source] = max(lag, lags.get(r.source, 0))
        for v in list(system.values.values()):
            self._fixed_reads(v)
        for name in [n for n in system.values if n in lags]:
            self._carry(system.values[name], lags[name])
        for v in system.values.values():
            if v.op == "step" and v.attr("axis") == axis:
                self._step(v)
        return system.with_values(self.values, states=tuple(self.states))

    # ---------------------------------------------------------------- causality

    def _check(self) -> None:
        system, axis = self.system, self.axis
        length = system.axes[axis].length
        objective = self._objective()
        for v in system.values.values():
            counted = v.name in objective and not self._feeds_time(v)
            if axis in v.over and not counted:
                raise _ahead(v, f"it adds up or compares all steps of {axis}")
            if v.op == "length" and v.attr("axis") == axis and not counted:
                raise _ahead(v, f"it asks for {length}, the number of all steps")
            for _, r in v.all_reads():
                index = r.index(axis)
                for a, i in r.at:
                    if i.base not in (a, FIRST, LAST) and axis in (a, i.base):
                        raise _ahead(v, f"it reads `{r.source}` over {a} at steps of {i.base}")
                if axis not in system.values[r.source].axes:
                    continue
                shown = f"`{r.source}[{axis}+{index.offset}]`"
                if index.base == axis and whole(index.offset) > 0:
                    raise _ahead(v, f"it reads {shown}, a later step")
                if index.base == LAST and self._feeds_time(v):
                    raise _ahead(v, f"steps depend on `{r.source}[{length}]`, the last one")
                if index.base == LAST and whole(index.offset) > 0:
                    raise _ahead(v, f"it reads `{r.source}[{length}{index.offset:+}]`")
                if index.base == LAST and counted:
                    raise _ahead(v, f"its loss reads `{r.source}[{length}]`, the last step")
                if index.base == FIRST and whole(index.offset) > 0:
                    raise _ahead(v, f"it reads `{r.source}[{whole(index.offset) + 1}]`")

    def _objective(self) -> set[str]:
        """What only losses, metrics and counts depend on: of a chunk they are those of its
        steps."""
        system = self.system
        found = {*system.losses.values(), *system.metrics.values(), *system.counts.values()}
        found = set().union(found, *(nx.ancestors(system.graph, n) for n in found))
        for name in system.outputs:
            found -= {name} | nx.ancestors(system.graph, name)
        return found

    def _feeds_time(self, value: Value) -> bool:
        """Whether any step depends on the value."""
        graph = self.system.graph
        seen = {value.name}
        todo = [value.name]
        while todo:
            name = todo.pop()
            if self.axis in self.system.values[name].axes:
                return True
            for reader in graph.successors(name):
                if reader not in seen:
                    seen.add(reader)
                    todo.append(reader)
        return False

    # ---------------------------------------------------------------- states

    def _input(self, name: str, like: Value, axes: tuple[str, ...], type_: Type) -> Read:
        self.values[name] = Value(name, "input", (), type_, axes, like.limits, (), like.origins)
        return Read(name)

    def _output(self, name: str, value: Value, r: Read, axes: tuple[str, ...]) -> None:
        self.values[name] = Value(name, "copy", (r,), value.type, axes, (), (), value.origins)

    def _carry(self, value: Value, lag: int) -> None:
        """The last ``lag`` steps of a value are handed on."""
        axis, name = self.axis, value.name
        inner = tuple(a for a in value.axes if a != axis)
        bounds = [b for b in value.bounds if b.axis != axis or b.step.base == LAST]
        for i in range(1, lag + 1):
            tag = "" if i == 1 else str(i)
            prev, next_ = f"{name}.prev{tag}", f"{name}.next{tag}"
            step = Index(FIRST, -i)
            start = value.bound_at(axis, step)
            bounds.append(Bound(axis, step, self._input(prev, value, inner, value.type)))
            self._output(next_, value, read(name, {axis: Index(LAST, 1 - i)}), inner)
            self.states.append(State(prev, next_, start))
        self.values[name] = replace(self.values[name], bounds=tuple(bounds))

    def _passed(self, like: Value) -> Read:
        """The number of steps before this chunk, an input."""
        if self.counter is None:
            prev, next_ = f"{self.axis}.prev", f"{self.axis}.next"
            kind = Type("index")
            self.counter = self._input(prev, replace(like, attrs=()), (), kind)
            count = Value(f"{self.axis}.count", "length", (), kind, (), (("axis", self.axis),))
            self.values[count.name] = count
            self.values[next_] = Value(
                next_, "add", (self.counter, Read(count.name)), kind, (), (), (), like.origins
            )
            self.states.append(State(prev, next_, None))
        return self.counter

    def _step(self, v: Value) -> None:
        """The step number counts on from chunk to chunk."""
        passed = self._passed(v)
        here = replace(v, name=f"{v.name}.here")
        self.values[here.name] = here
        self.values[v.name] = replace(v, op="add", reads=(passed, Read(here.name)), attrs=())

    def _fixed_reads(self, v: Value) -> None:
        """``h[0]`` keeps meaning the very first boundary, ``x[1]`` the very first step."""
        axis = self.axis

        def change(r: Read) -> Read:
            source = self.system.values[r.source]
            index = r.index(axis)
            if axis not in source.axes or index.base != FIRST:
                return r
            if whole(index.offset) < 0:
                inner = tuple(a for a in source.axes if a != axis)
                bound = source.bound_at(axis, index)
                return edge(self.system, self.values, bound, source.type, inner)
            return Read(self._first(source))

        self.values[v.name] = self.values[v.name].map_reads(change)

    def _first(self, source: Value) -> str:
        """The first step of a sequence, remembered after its chunk has passed."""
        name = f"{source.name}.first"
        if name not in self.values:
            inner = tuple(a for a in source.axes if a != self.axis)
            passed = self._passed(source)
            zero = Value(f"{name}.zero", "constant", (), Type("index"), (), (("value", 0),))
            test = Value(f"{name}.new", "eq", (passed, Read(zero.name)), Type("flag"))
            prev = self._input(f"{name}.prev", source, inner, source.type)
            here = read(source.name, {self.axis: Index(FIRST)})
            for v in (zero, test):
                self.values[v.name] = v
            self.values[name] = Value(
                name,
                "where",
                (Read(test.name), here, prev),
                source.type,
                inner,
                (),
                (),
                source.origins,
            )
            self._output(f"{name}.next", source, Read(name), inner)
            self.states.append(State(prev.source, f"{name}.next", None))
        return name
