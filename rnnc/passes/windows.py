"""Of the vectors in a loop, only the rows that a clock lets change are computed.

    loop over t:                                  h.low, h.high: the first row that ticks and the
      each f : flag [4] of fires                                 one after the last, for every t
      a = matmul(h', A) : [batch, 4]              loop over t:
      n = tanh(a)                            →      A.rows = window(A, low, high) : [4, rows]
      h = where(f, n, h')                           a.rows = matmul(h', A.rows) : [batch, rows]
                                                    n.rows = tanh(a.rows)
                                                    h = replaced(h', n.rows, low, high)

What only rows that tick read is computed for the window between the first and the last of these;
and a product sums over the window alone where its vector is zero outside of it, as it is on the
way back. The units of a module of a Clockwork RNN (Koutník et al., ICML 2014) stand side by side,
fast modules first, so that the modules that tick are such a window. (In an unrolled model the
conditions are constants: see :mod:`rnnc.passes.rows`.)
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rnnc.graph.ops import MAPS
from rnnc.graph.system import fresh
from rnnc.graph.types import BATCH, Array, Kind
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

# A window is copied out of its matrix before it is multiplied (not in NumPy). Measured
# (benchmarks/clockwork.py): with more of the rows in it, nothing is gained.
MOST_ROWS = 0.6  # of all, in the mean of the steps
LEAST_PRODUCT = 64 * 64  # multiply-adds of all rows: below, the calls cost more than the product


OF_ONE_KIND = ("permute", "take", "slice", "crossprod")


def windows(plan: Plan) -> Plan:
    """The plan with windows in those of its loops that have clocks; the same one without them."""
    work = _Windows(plan)
    body = work.block(plan.body)
    return work.result(body) if work.portions else plan


@dataclass(frozen=True)
class _Ticks:
    """The flags of a clock, by their names in the body of a loop and outside, and their form."""

    flags: str
    outer: str
    clock: Clock


@dataclass(frozen=True)
class _Part:
    """The rows of a window, counted from ``start`` on: of a gate among others in one vector."""

    ticks: _Ticks
    start: int = 0


class _Windows:
    """A plan while windows are put into its loops."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.arrays = dict(plan.arrays)
        self.portions: dict[str, Portion] = {}
        self.idle: dict[str, _Ticks] = {}  # arrays of all steps, zero where flags are not set
        self.before: list[Statement] = []  # of the loop at hand
        self.once: dict[Hashable, str] = {}
        self.zeros = {
            s.target
            for s in flat(plan.statements())
            if isinstance(s, Compute) and s.op == "constant" and s.attr("value") == 0
        }

    def result(self, body: Sequence[Statement]) -> Plan:
        portions = {**self.plan.portions, **self.portions}
        return replace(self.plan, body=tuple(body), arrays=self.arrays, portions=portions)

    def block(self, statements: Sequence[Statement]) -> list[Statement]:
        out: list[Statement] = []
        for s in statements:
            if isinstance(s, Loop):
                body = _Body(self, s)
                made: Statement = body.loop()
                if made is not s:
                    self.idle |= {o: body.zero[i] for o, i in s.collected if i in body.zero}
            else:
                made = self._summed(s)
            out += [*self.before, made]
            self.before = []
        return out

    def _summed(self, s: Compute) -> Compute:
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

    def ticks(self, loop: Loop) -> dict[str, _Ticks]:
        """The flags that a loop reads, one for each row of a vector, with windows worth taking."""
        out = {}
        for inner, outer in loop.scanned:
            dims = self.arrays[inner].dims
            if self.arrays[inner].kind != "flag" or len(dims) != 1 or not isinstance(dims[0], int):
                continue
            try:
                found = clock(self.plan.statements(), outer, dims[0])
            except ValueError:
                continue
            if found.mean <= MOST_ROWS * dims[0]:
                out[inner] = _Ticks(inner, outer, found)
        return out

    # ---------------------------------------------------------------- outside of the loop

    def bounds(self, part: _Part) -> tuple[str, str]:
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


class _Body:
    """The body of one loop: what is computed of each vector, then the statements."""

    def __init__(self, work: _Windows, loop: Loop):
        self.work = work
        self.old = loop
        self.arrays = work.arrays
        self.clocks = work.ticks(loop)
        self.parts: dict[str, dict[_Part, None]] = {}  # what is read of a vector, where not all is
        self.whole = {c.next for c in loop.carried} | {inner for _, inner in loop.collected}
        self.zero: dict[str, _Ticks] = {}  # vectors that are zero where the flags are not set
        self.made: dict[tuple[str, _Part, int], str] = {}
        self.scanned = list(loop.scanned)
        self.body: list[Statement] = []

    def loop(self) -> Loop:
        """The loop with windows, or as it was."""
        if not self.clocks or any(isinstance(s, Loop) for s in self.old.body):
            return self.old
        statements = [s for s in self.old.body if isinstance(s, Compute)]
        for s in statements:
            self._find_zeros(s)
        for s in reversed(statements):
            self._find_parts(s)
        if not any(self._gains(s) for s in statements):
            return self.old
        for s in statements:
            self._rewrite(s)
        uses = uses_of([replace(self.old, body=tuple(self.body), scanned=())])
        scanned = tuple(x for x in self.scanned if uses[x[0]]) or self.old.scanned[:1]
        return replace(self.old, body=tuple(self.body), scanned=scanned, plain=self.old)

    # ---------------------------------------------------------------- what is needed

    def _find_zeros(self, s: Compute) -> None:
        """Note where a result is zero; all its operands have been here."""
        ticks = None
        if s.op == "where" and s.args[2] in self.work.zeros:
            ticks = self.clocks.get(s.args[0])
        elif s.op in ("mul", "neg"):
            ticks = next((self.zero[a] for a in s.args if a in self.zero), None)
        real = self.arrays[s.target].kind == "real"
        if ticks and real and self._long(s.target, ticks):
            self.zero[s.target] = ticks

    def _find_parts(self, s: Compute) -> None:
        """Note what a statement reads of its operands; all its readers have been here."""
        parts = () if s.target in self.whole else tuple(self.parts.get(s.target, ()))
        ticks = self._chosen(s) or self.zero.get(s.target)
        summed = self._summed(s)
        if ticks and not parts:  # whole, made of a part
            parts = (_Part(ticks),)
        if parts and self._by_rows(s):
            for part in parts:
                for arg, wanted in zip(s.args, self._operands(s, part), strict=True):
                    self._read(arg, wanted)
            if ticks and s.op == "where":
                self.whole.add(s.args[2])
        elif summed:
            self._read(s.args[0], _Part(summed))
            self.whole |= {s.target, s.args[1]}
        else:
            self.whole |= {s.target, *s.args}

    def _read(self, name: str, part: _Part | None) -> None:
        if part is None:
            self.whole.add(name)
        else:
            self.parts.setdefault(name, {})[part] = None

    def _chosen(self, s: Compute) -> _Ticks | None:
        """The clock of a choice between a new vector (or zeros) and an old one."""
        real = self.arrays[s.target].kind == "real"
        if s.op != "where" or s.target in self.zero or not real:
            return None
        ticks = self.clocks.get(s.args[0])
        dims = self.arrays[s.target].dims
        same = (s.args[1] in self.work.zeros or self.arrays[s.args[1]].dims == dims) and (
            self.arrays[s.args[2]].dims == dims
        )
        return ticks if ticks and same and self._long(s.target, ticks) else None

    def _long(self, name: str, ticks: _Ticks) -> bool:
        """Whether an array has a row for each flag of a clock."""
        return self.arrays[name].dims[-1:] == self.arrays[ticks.flags].dims

    def _by_rows(self, s: Compute) -> bool:
        """Whether rows of a result can be computed alone."""
        if s.op == "slice":
            return bool(s.attr("dim") == len(self.arrays[s.target].dims) - 1)
        return s.op in MAPS or (s.op == "matmul" and len(self.arrays[s.args[1]].dims) > 1)

    def _operands(self, s: Compute, part: _Part) -> list[_Part | None]:
        """The rows of the operands that these rows of a result need; None: all there is."""
        if s.op == "slice":
            return [_Part(part.ticks, part.start + s.attr("start"))]
        if s.op == "matmul":
            return [None, part]
        rows = self.arrays[s.target].dims[-1:]
        return [part if self.arrays[a].dims[-1:] == rows else None for a in s.args]

    def _summed(self, s: Compute) -> _Ticks | None:
        """The clock of a product with a vector that is zero but in a window."""
        vectors = s.op == "matmul" and len(self.arrays[s.args[1]].dims) == 2
        return self.zero.get(s.args[0]) if vectors else None

    def _gains(self, s: Compute) -> bool:
        """Whether a statement is a large product of which a part is computed."""
        less = (s.target in self.parts and s.target not in self.whole) or self._summed(s)
        if s.op != "matmul" or not less or BATCH not in self.arrays[s.target].dims:
            return False
        rows, columns = self.arrays[s.args[1]].dims[-2:]
        return (
            isinstance(rows, int) and isinstance(columns, int) and rows * columns >= LEAST_PRODUCT
        )

    # ---------------------------------------------------------------- the statements

    def _rewrite(self, s: Compute) -> None:
        ticks = self._chosen(s) or self.zero.get(s.target)
        summed = self._summed(s)
        if ticks and (s.target in self.whole or s.target not in self.parts):
            part = _Part(ticks)
            rows = self._part(s, part)
            base = self._zeros(s.target) if s.target in self.zero else s.args[2]
            attrs = (
                ("dim", len(self.arrays[s.target].dims) - 1),
                ("first", ticks.clock.first),
                ("last", ticks.clock.last),
            )
            operands = (base, rows, *self._bounds(part))
            self.body.append(Compute(s.target, "replaced", operands, attrs, s.origins))
        elif s.target not in self.whole and s.target in self.parts:
            for part in self.parts[s.target]:
                self._part(s, part)
        elif summed:
            part = _Part(summed)
            args = (self._window(s.args[0], part), self._window(s.args[1], part, dim=-2))
            self.body.append(replace(s, args=args))
        else:
            self.body.append(s)

    def _part(self, s: Compute, part: _Part) -> str:
        """Compute these rows of a result."""
        if s.op == "slice" or (s.args[0] == part.ticks.flags and part.ticks.clock.gapless):
            arg = s.args[0 if s.op == "slice" else 1]
            arg = self._zeros(s.target) if arg in self.work.zeros else arg
            start = part.start + (s.attr("start") if s.op == "slice" else 0)
            rows = self._window(arg, _Part(part.ticks, start))
        else:
            wanted = self._operands(s, part)
            args = [
                a if p is None else self._window(a, p) for a, p in zip(s.args, wanted, strict=True)
            ]
            rows = self._rows(s, part, args)
        self.made[s.target, part, -1] = rows
        return rows

    def _zeros(self, like: str) -> str:
        """An array of zeros, from outside of the loop."""
        return self.work.zeros_like(like)

    def _rows(self, s: Compute, part: _Part, args: Sequence[str]) -> str:
        """These rows of a result, of operands that are as they are needed."""
        type_ = self.arrays[s.target]
        dims = (*type_.dims[:-1], self._extent(part))
        name = self.work.name(f"{s.target}:rows", dims, type_.kind)
        self.body.append(replace(s, target=name, args=tuple(args)))
        return name

    def _window(self, name: str, part: _Part, dim: int = -1) -> str:
        """These rows of an array of which there is more."""
        key = (name, part, dim)
        if key not in self.made:
            type_ = self.arrays[name]
            dims = list(type_.dims)
            dims[dim] = self._extent(part)
            self.made[key] = target = self.work.name(f"{name}:rows", tuple(dims), type_.kind)
            attrs = (("dim", len(dims) + dim),)
            args = (name, *self._bounds(part))
            self.body.append(Compute(target, "window", args, attrs))
        return self.made[key]

    def _bounds(self, part: _Part) -> tuple[str, str]:
        """The bounds of a window, in the body."""
        low, high = (self._each(x) for x in self.work.bounds(part))
        return low, high

    def _each(self, outer: str) -> str:
        """An array of all steps, as the body has it."""
        for inner, other in self.scanned:
            if other == outer:
                return inner
        inner = self.work.name(f"{outer}[{self.old.axis}]", (1,), "index")
        self.scanned.append((inner, outer))
        return inner

    def _extent(self, part: _Part) -> str:
        """The number of rows of a window, as a dimension of arrays: the same of all parts."""
        extent = f"{part.ticks.flags}:rows"
        if extent not in self.work.portions:
            (rows,) = self.arrays[part.ticks.flags].dims
            assert isinstance(rows, int)
            share = part.ticks.clock.mean / rows
            self.work.portions[extent] = Portion(rows, share, self._bounds(_Part(part.ticks)))
        return extent
