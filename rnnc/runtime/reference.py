"""The oracle: a System evaluated by its definition, one value and one step at a time.

There is no schedule here and no loop over time: to know ``h[3]`` its equation is read, then
whatever that equation reads, until only data, constants and boundaries are left. Entries are
remembered, and a stack takes the place of recursion. Every step has an entry, those outside 1..T
too: their equation is the boundary.

An entry is ``[*features]``, or ``[batch, *features]`` where its value varies over the batch: only
the batch is a vector, since its sequences never meet but where an op names the axis. The operands
of an op are entries with that axis always, ``[1 or batch, *features]``, so that NumPy broadcasts
it as the System does by name.

What the ops mean is in ``meanings`` and ``recurrences``. Nothing is shared with the schedule or
the backends, as what agrees with this must agree for no other reason than being right.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnc.graph.system import System, Value
from rnnc.graph.types import BATCH, FIRST, LAST, Array, Index, Kind, Read, whole
from rnnc.runtime.meanings import MAPS, NORMALISING, REDUCTIONS, WHOLE, fill, one_rank
from rnnc.runtime.recurrences import RECURRENCES
from rnnc.source import DataError, InternalError, UsageError

NDA = NDArray[Any]
Key = tuple[str, tuple[int, ...]]  # a value, and its step on each of its time axes

DTYPES: dict[Kind, type] = {"real": np.float64, "index": np.int64, "flag": np.bool_}
FAR = 10_000  # steps: no read goes so far outside, but a boundary that reads on and on
TAKEN: dict[Kind, str] = {"real": "fiu", "index": "iu", "flag": "b"}  # NumPy's kinds of dtype


def evaluate(
    system: System,
    data: Mapping[str, NDA],
    *,
    lengths: Mapping[str, int] | None = None,
    training: bool = False,
    wanted: Sequence[str] | None = None,
) -> dict[str, NDA]:
    """The values of ``system.results`` (or of any values ``wanted``), by name.

    ``data`` gives the leaves ``input``, ``target``, ``param`` and ``uniform`` by name, as far as
    the results depend on them; names the system lacks are passed over. Arrays, given and returned,
    are ``[batch, *times, *features]``: the batch first where the value varies over it, then its
    time axes in the system's order, step 1 at position 0. Real values are float64 (integers are
    taken, too), indices int64, flags bool.

    The sizes of the system must be numbers (``system.bind``). The length of an axis, in steps (of
    ``batch``: in sequences), comes from the data, from ``Axis.size`` or from ``lengths``, by the
    name of the axis; axes of one length name have it in common. ``training`` is the value of the
    flag of that name. ``argmax`` counts features from 0 and steps from 1; the first of equals wins.

    A read at several steps outside at once takes the boundary of the first such axis.

    :raises DataError: an array is missing, or does not fit its value; lengths disagree, are unknown
        or below 1; an index lies outside its table.
    :raises UsageError: ``wanted`` names no value.
    :raises InternalError: the system is malformed: a value at one step depends on itself, an op is
        unknown, an axis is lost, or a result has not the type that its value declares.
    """
    run = _Evaluation(system, data, lengths or {}, training)
    results = {}
    with np.errstate(all="ignore"):  # infinities and NaN are results like others
        for name in system.results if wanted is None else wanted:
            if name not in system.values:
                raise UsageError(f"{system.name} has no value {name}")
            results[name] = run.array(name)
    return results


def _over(value: Value) -> tuple[str, ...]:
    """The axes that an op sums (or chooses, or normalises) over; () is its features."""
    return tuple(dict(value.attrs).get("over", ()))  # type: ignore[arg-type]


def _place(steps: tuple[int, ...]) -> tuple[Any, ...]:
    """Where the entry of some steps lies in ``[1 or batch, *times, *features]``."""
    return (slice(None), *(step - 1 for step in steps))


def _text(key: Key) -> str:
    return f"{key[0]}[{', '.join(map(str, key[1]))}]" if key[1] else key[0]


def _times(value: Value) -> tuple[str, ...]:
    return tuple(a for a in value.axes if a != BATCH)


# ---------------------------------------------------------------- evaluation


class _Evaluation:
    def __init__(
        self, system: System, data: Mapping[str, NDA], lengths: Mapping[str, int], training: bool
    ):
        self.system = system
        self.training = training
        self.shapes = {v.name: tuple(map(whole, v.type.shape)) for v in system.values.values()}
        self.given = {n: self._checked(n, x) for n, x in data.items() if n in system.values}
        self.lengths = self._find_lengths(lengths)
        self.entries: dict[Key, NDA] = {}

    # data

    def _checked(self, name: str, data: NDA) -> NDA:
        value, array = self.system[name], np.asarray(data)
        if value.op not in GIVEN:
            raise DataError(f"{name} is computed, not given")
        if array.dtype.kind not in TAKEN[value.type.kind]:
            raise DataError(f"{name} holds {array.dtype}, which is no {value.type.kind}")
        axes, shape = self._layout(value), self.shapes[name]
        if array.ndim != len(axes) + len(shape) or array.shape[len(axes) :] != shape:
            wanted = ", ".join(map(str, (*axes, *shape)))
            raise DataError(f"{name} is {list(array.shape)}; wanted is [{wanted}]")
        return array.astype(DTYPES[value.type.kind])

    def _find_lengths(self, lengths: Mapping[str, int]) -> dict[str, int]:
        """The length of each axis, by its length's name; what nobody tells is left out."""
        told = [(axis, n, f"lengths[{axis!r}]") for axis, n in lengths.items()]
        for axis in self.system.axes.values():
            if axis.size is not None:
                told.append((axis.name, whole(axis.size), f"axis {axis.name}"))
        for name, array in self.given.items():
            axes = self._layout(self.system[name])
            told += [(a, n, name) for a, n in zip(axes, array.shape, strict=False)]
        found: dict[str, tuple[int, str]] = {}
        for name, n, source in told:
            if name not in self.system.axes:
                raise DataError(f"{source}: {self.system.name} has no axis {name}")
            if n < 1:
                raise DataError(f"{source}: the axis {name} has length {n}")
            known, before = found.setdefault(self.system.axes[name].length, (n, source))
            if known != n:
                raise DataError(f"the axis {name} has length {n} in {source}, {known} in {before}")
        return {length: n for length, (n, _) in found.items()}

    def _layout(self, value: Value) -> tuple[str, ...]:
        """The leading axes of the array of a value."""
        return (*(a for a in value.axes if a == BATCH), *_times(value))

    def length(self, axis: str) -> int:
        if axis not in self.system.axes:
            raise InternalError(f"{self.system.name} has no axis {axis}")
        length = self.system.axes[axis].length
        if length not in self.lengths:
            raise DataError(f"the length {length} of the axis {axis} is not known")
        return self.lengths[length]

    def steps(self, axes: Sequence[str]) -> Iterator[tuple[int, ...]]:
        """Every step of some axes, the last axis running fastest."""
        return product(*(range(1, self.length(a) + 1) for a in axes))

    # entries

    def array(self, name: str) -> NDA:
        """A value at all steps: ``[batch, *times, *features]``."""
        value = self.system[name]
        extents = [self.length(a) for a in self._layout(value)]
        out: NDA = np.empty((*extents, *self.shapes[name]), DTYPES[value.type.kind])
        by_step = out[:] if BATCH in value.axes else out[None]
        for steps in self.steps(_times(value)):
            by_step[_place(steps)] = self.entry((name, steps))
        return out

    def entry(self, wanted: Key) -> NDA:
        """One entry, after whatever it needs: each key on the stack waits for the next."""
        stack: list[tuple[Key, list[list[Key]], Iterator[Key]]] = []
        waiting: set[Key] = set()
        missing: Key | None = None if wanted in self.entries else wanted
        while stack or missing:
            if missing:
                if missing in waiting:
                    keys = [key for key, _, _ in stack]
                    cycle = (*keys[keys.index(missing) :], missing)
                    raise InternalError("a cycle: " + " reads ".join(map(_text, cycle)))
                operands = self._operands(missing)
                stack.append((missing, operands, chain.from_iterable(operands)))
                waiting.add(missing)
            key, operands, unseen = stack[-1]
            missing = next((k for k in unseen if k not in self.entries), None)
            if missing is None:
                self._store(key, self._defined(key, operands))
                stack.pop()
                waiting.remove(key)
        return self.entries[wanted]

    def _here(self, key: Key) -> dict[str, int]:
        return dict(zip(_times(self.system[key[0]]), key[1], strict=True))

    def _outside(self, key: Key) -> tuple[str, Index] | None:
        """The first axis on which a key lies outside its steps, and how far from which end."""
        for axis, step in self._here(key).items():
            if step < 1:
                return axis, Index(FIRST, step - 1)
            if step > self.length(axis):
                return axis, Index(LAST, step - self.length(axis))
        return None

    def _operands(self, key: Key) -> list[list[Key]]:
        """What an entry needs: for each operand its key, or one key for each step reduced over."""
        value = self.system[key[0]]
        here = self._here(key)
        outside = self._outside(key)
        if outside:
            axis, step = outside
            bound = value.bound_at(axis, step)
            del here[axis]  # a boundary stands at one step, and cannot vary over it
            return [[self._target(value, bound, here)]] if bound else []
        if value.op == "stack":
            axis = value.attr("axis")
            if len(value.reads) != self.length(axis):
                raise InternalError(f"{value.name} stacks {len(value.reads)} steps of {axis}")
            return [[self._target(value, value.reads[here[axis] - 1], here)]]
        over = _over(value)
        if value.op in RECURRENCES:
            over = (value.attr("axis"),)
        kept = value.op in NORMALISING or value.op in RECURRENCES
        if any((axis in value.axes) != kept for axis in over):
            raise InternalError(f"{value.name} = {value.op}[{', '.join(over)}](…) has wrong axes")
        times = [a for a in over if a != BATCH]
        around = [{**here, **dict(zip(times, steps, strict=True))} for steps in self.steps(times)]
        return [[self._target(value, r, context) for context in around] for r in value.reads]

    def _target(self, reader: Value, read: Read, here: Mapping[str, int]) -> Key:
        """The entry that a read means, where the reader's axes are at the steps ``here``."""
        if read.source not in self.system.values:
            raise InternalError(f"{reader.name} reads {read.source}, which does not exist")
        steps = []
        for axis in self.system[read.source].axes:
            index = read.index(axis)
            if axis == BATCH:
                if index != Index(BATCH) or BATCH not in (*reader.axes, *_over(reader)):
                    raise InternalError(f"{reader.name} loses the batch of {read.source}")
                continue
            if index.base == FIRST:
                start = 1
            elif index.base == LAST:
                start = self.length(axis)
            elif index.base in here:
                start = here[index.base]
            else:
                raise InternalError(f"{reader.name} reads {read.source} at a free {index.base}")
            steps.append(start + whole(index.offset))
            if not -FAR < steps[-1] < self.length(axis) + FAR:
                raise InternalError(f"the boundaries of {read.source} lead on without an end")
        return read.source, tuple(steps)

    # ops

    def _operand(self, key: Key) -> NDA:
        """An entry as an operand: ``[1 or batch, *features]``."""
        entry = self.entries[key]
        return entry if BATCH in self.system[key[0]].axes else entry[None]

    def _store(self, key: Key, out: NDA) -> None:
        """Keeps ``[1 or batch, *features]`` as the entry of ``key``."""
        value, shape = self.system[key[0]], self.shapes[key[0]]
        if out.shape[1:] != shape or out.dtype != DTYPES[value.type.kind]:
            found = f"{out.dtype} {list(out.shape[1:])}"
            raise InternalError(f"{_text(key)} = {value.op}(…) gives {found}, not {value.type}")
        if BATCH in value.axes:
            self.entries[key] = np.broadcast_to(out, (self.length(BATCH), *shape))
        else:
            self.entries[key] = out.reshape(shape)

    def _defined(self, key: Key, operands: list[list[Key]]) -> NDA:
        """What the equation of an entry says: ``[1 or batch, *features]``."""
        value = self.system[key[0]]
        first = [self._operand(keys[0]) for keys in operands]
        if self._outside(key):
            x = first[0] if first else np.zeros((1,), DTYPES[value.type.kind])
            return fill(x, self.shapes[value.name]) if x.ndim == 1 else x
        if value.op in MAPS:
            return MAPS[value.op](*one_rank(value, first))
        if value.op in WHOLE:
            return WHOLE[value.op](value, *first)
        if value.op in LEAVES:
            return np.asarray(LEAVES[value.op](self, value, self._here(key)))[None]
        if value.op in GIVEN:
            return self._given(value, key[1])
        if value.op in REDUCTIONS:
            return self._reduce(key, operands[0])
        if value.op == "contract":
            return self._contract(value, operands)
        if value.op == "scatter":
            return self._scatter(value, operands)
        if value.op == "stack":
            return first[0]
        if value.op in RECURRENCES:
            return self._recurrence(key, operands)
        raise InternalError(f"{value.name} = {value.op}(…): the reference has no such op")

    def _given(self, value: Value, steps: tuple[int, ...]) -> NDA:
        if value.name not in self.given:
            raise DataError(f"the {value.op} {value.name} is not given")
        data = self.given[value.name]
        by_step = data if BATCH in value.axes else data[None]
        return np.asarray(by_step[_place(steps)])

    def _scatter(self, value: Value, operands: list[list[Key]]) -> NDA:
        """A table to which the rows of all steps and sequences are added."""
        table = np.zeros(tuple(map(whole, value.type.shape)))
        for pair in zip(*operands, strict=True):
            rows, places = map(self._operand, pair)
            lead = max(len(rows), len(places))
            if lead == 1 and BATCH in _over(value):
                lead = self.length(BATCH)
            rows = np.broadcast_to(rows, (lead, *rows.shape[1:]))
            for row, place in zip(rows, np.broadcast_to(places, (lead,)), strict=True):
                table[place] += row
        return table[None]

    def _contract(self, value: Value, operands: list[list[Key]]) -> NDA:
        """The sum over the letters that ``out`` lacks and over the axes in ``over``."""
        left, right, out = (value.attr(side) for side in ("left", "right", "out"))
        batch = next(c for c in string.ascii_letters if c not in left + right)
        total: Any = 0.0
        for pair in zip(*operands, strict=True):
            x, y = map(self._operand, pair)
            if BATCH in _over(value):
                x, y = (np.broadcast_to(z, (self.length(BATCH), *z.shape[1:])) for z in (x, y))
                part = np.einsum(f"{batch}{left},{batch}{right}->{out}", x, y)[None]
            else:
                part = np.einsum(f"{batch}{left},{batch}{right}->{batch}{out}", x, y)
            total = total + part
        return np.asarray(total)

    def _recurrence(self, key: Key, operands: list[list[Key]]) -> NDA:
        """All steps in one go, since each of them needs the one before."""
        value = self.system[key[0]]
        axis, here = value.attr("axis"), self._here(key)
        steps = [list(map(self._operand, keys)) for keys in zip(*operands, strict=True)]
        for place, row in enumerate(RECURRENCES[value.op](value, steps)):
            beside = {**here, axis: place + 1}
            self._store((value.name, tuple(beside.values())), row)
        return self._operand(key)

    def _reduce(self, key: Key, keys: list[Key]) -> NDA:
        """A reduction of ``[steps, 1 or batch, *features]``: over the features where ``over`` is
        empty (there is one step then), else over the steps, the batch, or both."""
        value, over = self.system[key[0]], _over(self.system[key[0]])
        times = [a for a in over if a != BATCH]
        x = np.stack([self._operand(k) for k in keys])
        dims = (0,) if over else tuple(range(2, x.ndim))
        if BATCH in over:
            x = np.broadcast_to(x, (len(x), self.length(BATCH), *x.shape[2:]))
            dims = (0, 1)
        if value.op == "argmax" and over and len(times) * len(over) != 1:
            raise InternalError(f"{value.name}: argmax takes one time axis, or the features")
        out: NDA = REDUCTIONS[value.op](x, dims)
        if value.op in NORMALISING:  # all steps in one go, since each of them needs all
            here = self._here(key)
            for steps, row in zip(self.steps(times), out, strict=True):
                beside = {**here, **dict(zip(times, steps, strict=True))}
                self._store((value.name, tuple(beside.values())), row)
            return self._operand(key)
        if not over:
            return out.reshape(x.shape[1])
        return np.asarray(out[0] + (value.op == "argmax"))  # steps count from 1


def _constant(value: Value) -> NDA:
    held = value.attr("value")
    data = np.asarray(held.data if isinstance(held, Array) else held)
    kinds = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64}
    return data.astype(kinds[data.dtype.kind])


LEAVES: dict[str, Callable[[_Evaluation, Value, Mapping[str, int]], Any]] = {
    "constant": lambda run, v, here: _constant(v),
    "step": lambda run, v, here: here[v.axes[0]],
    "length": lambda run, v, here: run.length(v.attr("axis")),
    "training": lambda run, v, here: run.training,
    "size": lambda run, v, here: whole(v.attr("size")),
    "arange": lambda run, v, here: np.arange(whole(v.attr("size"))),
    "eye": lambda run, v, here: np.eye(whole(v.attr("size"))),
}
GIVEN = ("input", "target", "param", "uniform")
# every op that has its definition here
APART = ("contract", "scatter", "stack")
DEFINED = frozenset((*MAPS, *REDUCTIONS, *WHOLE, *LEAVES, *GIVEN, *APART, *RECURRENCES))
