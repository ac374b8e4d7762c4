"""What loops with windows need outside of them: bounds for every step, zeros, and the sums over
all steps of what is zero where nothing ticks, over the steps at which it does.

    h.low[t], h.high[t]                  the first row that ticks at t, and the one after the last

    dA = Σ[t] outer(dz[t], h[t-1])   →   dA = [Σ[all t] outer(dz[t][0:2], h[t-1]),
                                               Σ[odd t] outer(dz[t][2:4], h[t-1])]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rnnc.graph.system import fresh
from rnnc.graph.types import Array, Kind
from rnnc.passes.clocks import Clock, clock
from rnnc.passes.plan import (
    ArrayType,
    Compute,
    Extent,
    Loop,
    Plan,
    Portion,
    Statement,
    flat,
    uses_of,
)

# With more of the rows in a window, cutting it out costs what is gained. Measured
# (benchmarks/clockwork.py).
MOST_ROWS = 0.6  # of all, in the mean of the steps
OF_ONE_KIND = ("permute", "take", "slice", "crossprod")


@dataclass(frozen=True)
class Ticks:
    """The flags of a clock, by their names in the body of a loop and outside, and their form."""

    flags: str
    outer: str
    clock: Clock


@dataclass(frozen=True)
class Part:
    """The rows of a window, counted from ``start`` on: of a gate among others in one vector."""

    ticks: Ticks
    start: int = 0


class Outside:
    """A plan while windows are put into its loops: its arrays, and the statements ``before`` the
    one at hand that these windows need."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.arrays = dict(plan.arrays)
        self.portions: dict[str, Portion] = dict(plan.portions)
        self.idle: dict[str, Ticks] = {}  # arrays of all steps, zero where flags are not set
        self.before: list[Statement] = []
        self.once: dict[Hashable, str] = {}
        self.clocks: dict[str, Clock | None] = {}  # of arrays of flags

    @cached_property
    def uses(self) -> Counter[str]:
        """How often each array is read, outputs included."""
        uses = uses_of(self.plan.statements())
        uses.update(p.array for p in self.plan.outputs)
        return uses

    @cached_property
    def made(self) -> dict[str, Compute]:
        """What makes each array of the body, outside of loops."""
        return {s.target: s for s in self.plan.body if isinstance(s, Compute)}

    @cached_property
    def zeros(self) -> set[str]:
        """The constants that are 0."""
        return {
            s.target
            for s in flat(self.plan.statements())
            if isinstance(s, Compute) and s.op == "constant" and s.attr("value") == 0
        }

    def ticks(self, loop: Loop) -> dict[str, Ticks]:
        """The flags that a loop reads, one for each row of a vector, with windows worth taking."""
        out = {}
        for inner, outer in loop.scanned:
            dims = self.arrays[inner].dims
            if self.arrays[inner].kind != "flag" or len(dims) != 1 or not isinstance(dims[0], int):
                continue
            found = self._clock(outer, dims[0])
            if found and found.mean <= MOST_ROWS * dims[0]:
                out[inner] = Ticks(inner, outer, found)
        return out

    def _clock(self, flags: str, rows: int) -> Clock | None:
        """The clock of an array of flags, if it is one: loops both ways have the same."""
        if flags not in self.clocks:
            try:
                self.clocks[flags] = clock(self.plan.statements(), flags, rows)
            except ValueError:
                self.clocks[flags] = None
        return self.clocks[flags]

    def bounds(self, part: Part) -> tuple[str, str]:
        """The first row of a window and the one after its last, for every step: [steps, 1]."""
        flags, groups = part.ticks.outer, part.ticks.clock.groups
        steps, rows = self.arrays[flags].dims
        assert isinstance(rows, int)
        turned = self._emit(flags, "permute", (flags,), (rows, steps), order=(1, 0))
        firsts, count = self._numbers(groups[:-1]), len(groups) - 1
        ticks = self._emit(flags, "take", (turned, firsts), (count, steps))
        found = []
        for name, numbers, none, least in (
            ("low", groups[:-1], rows, "min"),
            ("high", groups[1:], 0, "max"),
        ):
            column = self._emit("rows", "unsqueeze", (self._numbers(numbers),), (count, 1), at=(1,))
            args = (ticks, column, self._constant(none, ()))
            each = self._emit(flags, "where", args, (count, steps))
            bound = self._emit(f"{flags}.{name}", least, (each,), (steps,), dims=(0,))
            found.append(self._emit(f"{flags}.{name}", "unsqueeze", (bound,), (steps, 1), at=(1,)))
        low, high = found
        low = self._emit(f"{flags}.low", "minimum", (low, high), (steps, 1))  # where none is set
        if not part.start:
            return low, high
        start = self._constant(part.start, ())
        return (
            self._emit(f"{flags}.low", "add", (low, start), (steps, 1)),
            self._emit(f"{flags}.high", "add", (high, start), (steps, 1)),
        )

    def _numbers(self, rows: Sequence[int]) -> str:
        return self._constant(Array(np.array(rows)), (len(rows),))

    def _constant(self, value: Array | int, dims: tuple[Extent, ...]) -> str:
        return self._emit("rows", "constant", (), dims, value=value)

    def _emit(
        self, base: str, op: str, args: tuple[str, ...], form: tuple[Extent, ...], **attrs: Hashable
    ) -> str:
        key = (op, args, tuple(attrs.items()))
        if key not in self.once:
            kind = self.arrays[args[0]].kind if op in OF_ONE_KIND else "index"
            self.once[key] = target = self.name(base, form, kind)
            self.before.append(Compute(target, op, args, tuple(attrs.items())))
        return self.once[key]

    def zeros_like(self, array: str) -> str:
        """An array of zeros of the same form."""
        dims = self.arrays[array].dims
        if ("zeros", dims) not in self.once:
            zero, zeros = self.name("zero", (), "real"), self.name("zeros", dims, "real")
            self.before += [
                Compute(zero, "constant", (), (("value", 0.0),)),
                Compute(zeros, "expand", (zero,)),
            ]
            self.once["zeros", dims] = zeros
        return self.once["zeros", dims]

    def name(self, base: str, dims: tuple[Extent, ...], kind: Kind) -> str:
        """A new array."""
        name = fresh(base, self.arrays)
        self.arrays[name] = ArrayType(dims, kind)
        return name

    # ---------------------------------------------------------------- sums over all steps

    def summed(self, s: Compute) -> Compute:
        """A sum over all steps: of rows that are mostly zero, over the steps at which they tick."""
        place = next((i for i, a in enumerate(s.args) if a in self.idle), None)
        if s.op != "crossprod" or place is None:
            return s
        ticks = self.idle[s.args[place]]
        steps, clock = self.arrays[ticks.outer].dims[0], ticks.clock
        parts = []
        for row, stop, share in zip(clock.groups, clock.groups[1:], clock.shares, strict=False):
            args = list(s.args)
            args[place] = self._rows(args[place], row, stop)
            if share <= MOST_ROWS:
                extent = f"{ticks.outer}:{row}"
                self.portions[extent] = Portion(steps, share)
                at = self._emit(extent, "ticking", (ticks.outer,), (extent,), row=row)
                args = [self._taken(a, at, extent) for a in args]
            dims = list(self.arrays[s.target].dims)
            dims[place] = stop - row
            parts.append(self._emit(s.target, s.op, tuple(args), tuple(dims)))
        return Compute(s.target, "concat", tuple(parts), (("dim", place),), s.origins)

    def _rows(self, array: str, start: int, stop: int) -> str:
        dims = self.arrays[array].dims
        attrs = {"dim": len(dims) - 1, "start": start, "stop": stop}
        return self._emit(array, "slice", (array,), (*dims[:-1], stop - start), **attrs)

    def _taken(self, array: str, at: str, extent: str) -> str:
        return self._emit(array, "take", (array, at), (extent, *self.arrays[array].dims[1:]))
