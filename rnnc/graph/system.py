"""The System: equations over named axes, and the graph of who reads whom."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

import networkx as nx

from rnnc.graph.types import (
    BATCH,
    FIRST,
    LAST,
    Attrs,
    Bound,
    Dim,
    Index,
    Read,
    Size,
    Type,
    read,
    substitute,
)
from rnnc.source import InternalError, Span

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Value:
    """One equation: ``name[axes] = op(reads)``.

    ``axes`` are the axes it varies over, in the system's order; ``type`` is what it is at one
    step. ``attrs`` are the op's own settings (a slice's ends, a contraction's letters).
    ``bounds`` say what a read outside its steps gives; without one that is zero.
    ``origins`` are the places in the spec it came from.
    """

    name: str
    op: str
    reads: tuple[Read, ...]
    type: Type
    axes: tuple[str, ...] = ()
    attrs: Attrs = ()
    bounds: tuple[Bound, ...] = ()
    origins: tuple[Span, ...] = ()

    def attr(self, name: str) -> Any:
        """The setting of that name; an InternalError where there is none."""
        for key, value in self.attrs:
            if key == name:
                return value
        raise InternalError(f"{self.name} = {self.op}(…) has no attribute {name}")

    @property
    def over(self) -> tuple[str, ...]:
        """The axes that a reduction or contraction sums over; () where there are none."""
        for key, value in self.attrs:
            if key == "over":
                return value  # type: ignore[return-value]
        return ()

    @property
    def limits(self) -> Attrs:
        """Which numbers an index of data may be: ``range`` k is 0..k-1, ``steps`` the name of a
        length, whose steps are 1 to it."""
        return tuple((key, value) for key, value in self.attrs if key in ("range", "steps"))

    def all_reads(self) -> Iterable[tuple[Hashable, Read]]:
        """Operands under their positions, then boundaries under ``("bound", i)``."""
        if not self.bounds:
            return enumerate(self.reads)
        bounds = ((("bound", i), bound.read) for i, bound in enumerate(self.bounds))
        return (*enumerate(self.reads), *bounds)

    def map_reads(self, change: Any) -> Value:
        """The same value with ``change(Read) -> Read`` applied to operands and boundaries."""
        reads = tuple(map(change, self.reads))
        bounds = self.bounds and tuple(Bound(b.axis, b.step, change(b.read)) for b in self.bounds)
        if reads == self.reads and bounds == self.bounds:
            return self
        return replace(self, reads=reads, bounds=bounds)

    def bound_at(self, axis: str, step: Index) -> Read | None:
        """What stands at a step before the first or after the last; None is zero.

        The boundary nearest on the inner side serves: with ``h[0]`` and ``h[-2]`` given, steps 0
        and -1 read the first, steps -2 and below the second.
        """
        best: Bound | None = None
        for bound in self.bounds:
            if bound.axis != axis or bound.step.base != step.base:
                continue
            gap = step.offset - bound.step.offset
            inner = best is None or _outward(bound.step, best.step)
            served = gap == 0 or (isinstance(gap, int) and (gap < 0) == (step.base == FIRST))
            if served and inner:
                best = bound
        return best.read if best else None


def _outward(a: Index, b: Index) -> bool:
    """Whether step ``a`` lies further out than ``b``."""
    difference = a.offset - b.offset
    return isinstance(difference, int) and (difference < 0 if a.base == FIRST else difference > 0)


@dataclass(frozen=True, slots=True)
class Axis:
    """A time axis (or ``batch``): the name of its length, and the length where it is fixed."""

    name: str
    length: str
    size: Size | None = None


@dataclass(frozen=True, slots=True)
class Distribution:
    """How an observed variable is distributed: ``kind``, the values of its parameters, and the
    flag that says where it counts (None: everywhere). A choice among the steps of an axis has it
    as ``over``, and a parameter that varies over it."""

    kind: str
    reads: tuple[Read, ...]
    when: Read | None = None
    over: str | None = None

    @property
    def all_reads(self) -> tuple[Read, ...]:
        """The parameters, and the flag where there is one."""
        return self.reads if self.when is None else (*self.reads, self.when)

    def map_reads(self, change: Callable[[Read], Read]) -> Distribution:
        """The same distribution with every read changed."""
        when = None if self.when is None else change(self.when)
        return replace(self, reads=tuple(change(r) for r in self.reads), when=when)


@dataclass(frozen=True, slots=True)
class State:
    """A carried value: the input ``prev`` and the output ``next`` of a step, chunk or update.

    ``initial`` is what (of the ``init`` model) ``prev`` starts from; None is zero.
    """

    prev: str
    next: str
    initial: Read | None = None


@dataclass(frozen=True)
class System:
    """A system of recurrence equations.

    ``values`` are in an order of definition, which means nothing for evaluation. ``losses`` and
    ``metrics`` map the names that users see to values; ``dims`` gives each declared size its
    number or its expression, or None where it is still open. ``contexts`` gives each input of a
    step that stays the same from step to step the value (of the ``init`` model) that it is.
    """

    name: str
    values: Mapping[str, Value]
    axes: Mapping[str, Axis]
    outputs: tuple[str, ...]
    losses: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, str] = field(default_factory=dict)
    targets: Mapping[str, Distribution] = field(default_factory=dict)
    states: tuple[State, ...] = ()
    updates: tuple[State, ...] = ()
    contexts: Mapping[str, str] = field(default_factory=dict)
    dims: Mapping[str, Size | None] = field(default_factory=dict)
    doc: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", MappingProxyType(dict(self.values)))

    @cached_property
    def graph(self) -> nx.MultiDiGraph:
        """An edge from what is read to its reader for every read, keyed by operand position
        (``("bound", i)`` for boundaries), with the Read under ``read``."""
        graph = nx.MultiDiGraph()
        graph.add_nodes_from(self.values)
        graph.add_edges_from(
            (r.source, value.name, key, {"read": r})
            for value in self.values.values()
            for key, r in value.all_reads()
        )
        return graph

    @cached_property
    def readers(self) -> Mapping[str, Sequence[tuple[Value, Read]]]:
        """Who reads each value, and how: a pair for every operand and boundary."""
        found: dict[str, list[tuple[Value, Read]]] = {name: [] for name in self.values}
        for value in self.values.values():
            for _, r in value.all_reads():
                found[r.source].append((value, r))
        return found

    @cached_property
    def made(self) -> dict[Hashable, Any]:
        """What was made of the system, under the function that made it: systems never change."""
        return {}

    def once(self, make: Callable[[System], T]) -> T:
        """What a function makes of the system, made once."""
        if make not in self.made:
            self.made[make] = make(self)
        made: T = self.made[make]
        return made

    def pruned(self) -> System:
        """The system without what none of its results needs; inputs of states stay."""
        wanted: set[str] = set()
        carried = (s.prev for s in (*self.states, *self.updates))
        todo = [*self.results, *(name for name in carried if name in self.values)]
        while todo:
            name = todo.pop()
            if name not in wanted:
                wanted.add(name)
                todo.extend(r.source for _, r in self.values[name].all_reads())
        targets = {
            name: d
            for name, d in self.targets.items()
            if name in wanted and all(r.source in wanted for r in d.all_reads)
        }
        if len(wanted) == len(self.values) and len(targets) == len(self.targets):
            return self
        return self.with_values(
            [v for v in self.values.values() if v.name in wanted], targets=targets
        )

    def __getitem__(self, name: str) -> Value:
        return self.values[name]

    def is_zero(self, name: str) -> bool:
        """Whether a value is the constant 0, perhaps stretched."""
        value = self.values[name]
        while value.op in ("copy", "broadcast"):
            value = self.values[value.reads[0].source]
        return value.op == "constant" and value.attr("value") == 0

    def leaves(self, op: str) -> tuple[Value, ...]:
        """The values of a leaf op (``input``, ``target``, ``param``), in order."""
        return tuple(v for v in self.values.values() if v.op == op)

    @property
    def params(self) -> tuple[Value, ...]:
        return self.leaves("param")

    @property
    def inputs(self) -> tuple[Value, ...]:
        """Everything the caller supplies when the model runs: inputs, then observed targets."""
        return self.leaves("input") + self.leaves("target")

    @property
    def results(self) -> tuple[str, ...]:
        """Every value that something outside reads."""
        named = (*self.losses.values(), *self.metrics.values(), *self.counts.values())
        carried = (s.next for s in (*self.states, *self.updates))
        return tuple(dict.fromkeys((*self.outputs, *named, *carried)))

    @cached_property
    def own_names(self) -> frozenset[str]:
        """All names that the model's author gave: of values, dims, losses and metrics."""
        shown = {name.removeprefix("loss.") for name in (*self.losses, *self.metrics)}
        return frozenset({*self.values, *self.dims, *shown})

    def with_values(self, values: Iterable[Value] | Mapping[str, Value], **changes: Any) -> System:
        """The same system with other values (and other fields changed)."""
        table = values if isinstance(values, Mapping) else {v.name: v for v in values}
        return replace(self, values=table, **changes)

    def ordered(self, axes: Iterable[str]) -> tuple[str, ...]:
        """A set of axes in the system's order: time axes as declared, ``batch`` last."""
        wanted = set(axes)
        return tuple(a for a in self.axes if a in wanted)

    def time_axes(self) -> tuple[str, ...]:
        return tuple(a for a in self.axes if a != BATCH)

    def read_axes(self, r: Read) -> tuple[str, ...]:
        """The reader's axes over which an operand varies."""
        return read_axes(self.values[r.source].axes, r)

    def fresh(self, base: str, taken: Iterable[str] = ()) -> str:
        """A name that is not used yet."""
        return fresh(base, self.values.keys() | set(taken))

    def bind(self, sizes: Mapping[str, Size]) -> System:
        """The same system with dims replaced by their sizes, in types, attributes and indices."""

        def size(s: Size) -> Size:
            return substitute(s, sizes)

        def index(i: Index) -> Index:
            return Index(i.base, size(i.offset))

        def change(r: Read) -> Read:
            return read(r.source, ((a, index(i)) for a, i in r.at))

        def attr(a: Hashable) -> Hashable:
            if isinstance(a, tuple):
                return tuple(attr(x) for x in a)
            return substitute(a, sizes) if isinstance(a, Dim) else a

        values = {
            v.name: replace(
                v,
                type=Type(v.type.kind, tuple(size(s) for s in v.type.shape)),
                attrs=tuple((k, attr(a)) for k, a in v.attrs),
                reads=tuple(change(r) for r in v.reads),
                bounds=tuple(Bound(b.axis, index(b.step), change(b.read)) for b in v.bounds),
            )
            for v in self.values.values()
        }
        axes = {
            a.name: replace(a, size=None if a.size is None else size(a.size))
            for a in self.axes.values()
        }
        dims = {d: sizes.get(d, None if s is None else size(s)) for d, s in self.dims.items()}
        return replace(self, values=values, axes=axes, dims=dims)


def read_axes(operand_axes: Iterable[str], r: Read) -> tuple[str, ...]:
    """The axes that remain when a value over ``operand_axes`` is read as ``r`` says."""
    if not r.at:
        return tuple(operand_axes)
    out = []
    for axis in operand_axes:
        index = r.index(axis)
        if index.base not in (FIRST, LAST):
            out.append(index.base)
    return tuple(out)


def moved(r: Read, axes: Iterable[str], to: Callable[[str], Index]) -> Read:
    """A read of a value over ``axes``, by a reader who is not at its own step of each of its axes
    but at ``to(axis)``."""
    at = {}
    for axis in axes:
        index = r.index(axis)
        at[axis] = index if index.fixed else to(index.base).shifted(index.offset)
    return read(r.source, at)


def fresh(base: str, taken: Iterable[str]) -> str:
    """``base``, or ``base.1``, ``base.2``, … : the first that is not taken."""
    names = taken if isinstance(taken, (set, frozenset, dict)) else set(taken)
    if base not in names:
        return base
    i = 1
    while f"{base}.{i}" in names:
        i += 1
    return f"{base}.{i}"
