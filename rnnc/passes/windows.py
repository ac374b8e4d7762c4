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

from collections.abc import Sequence
from dataclasses import replace

from rnnc.graph.ops import MAPS
from rnnc.graph.types import BATCH
from rnnc.passes.plan import Compute, Loop, Plan, Portion, Statement, uses_of
from rnnc.passes.ticks import Outside, Part, Ticks

LEAST_PRODUCT = 64 * 64  # multiply-adds of all rows: below, the calls cost more than the product


def windows(plan: Plan) -> Plan:
    """The plan with windows in those of its loops that have clocks; the same one without them."""
    if not plan.loops:
        return plan
    work = Outside(plan)
    out: list[Statement] = []
    for s in plan.body:
        if isinstance(s, Loop):
            body = _Body(work, s)
            made: Statement = body.loop()
            if made is not s:
                work.idle |= {o: body.zero[i] for o, i in s.collected if i in body.zero}
                out = [x for x in out if x not in body.sunk]
        else:
            made = work.summed(s)
        out += [*work.before, made]
        work.before = []
    if not work.portions:
        return plan
    return replace(plan, body=tuple(out), arrays=work.arrays, portions=work.portions)


class _Body:
    """The body of one loop: what is computed of each vector, then the statements."""

    def __init__(self, work: Outside, loop: Loop):
        self.work = work
        self.old = loop
        self.arrays = work.arrays
        self.clocks = work.ticks(loop)
        self.parts: dict[str, dict[Part, None]] = {}  # what is read of a vector, where not all is
        self.whole: set[str] = set()
        self.zero: dict[str, Ticks] = {}  # vectors that are zero where the flags are not set
        self.made: dict[tuple[str, Part, int], str] = {}
        self.scanned = list(loop.scanned)
        self.sunk: list[Compute] = []  # statements of all steps that are in the body now
        self.body: list[Statement] = []

    def loop(self) -> Loop:
        """The loop with windows, or as it was."""
        if not self.clocks or any(isinstance(s, Loop) for s in self.old.body):
            return self.old
        statements = [s for s in self.old.body if isinstance(s, Compute)]
        self._look(statements)
        if not any(self._gains(s) for s in statements):
            return self.old
        inner = self._sink()
        if inner:
            statements = [*inner, *statements]
            self._look(statements)
        for s in statements:
            self._rewrite(s)
        uses = uses_of([replace(self.old, body=tuple(self.body), scanned=())])
        scanned = tuple(x for x in self.scanned if uses[x[0]]) or self.old.scanned[:1]
        plain: tuple[Statement, ...] = (*self.sunk, self.old)
        return replace(self.old, body=tuple(self.body), scanned=scanned, plain=plain)

    def _look(self, statements: Sequence[Compute]) -> None:
        """Find out what is read of each vector."""
        self.parts, self.zero = {}, {}
        self.whole = {c.next for c in self.old.carried} | {i for _, i in self.old.collected}
        for s in statements:
            self._find_zeros(s)
        for s in reversed(statements):
            self._find_parts(s)

    # ---------------------------------------------------------------- what is moved inside

    def _sink(self) -> list[Compute]:
        """Large products for all steps, of which only windows are read: the statements of a step.
        They end in what the loop reads of each, which it does not read of an array any more."""
        inside: list[Compute] = []
        for inner, outer in self.old.scanned:
            tree = self._tree(outer) if inner in self.parts and inner not in self.whole else []
            if not any(self._large(s) for s in tree if s.op == "matmul"):
                continue
            self.scanned.remove((inner, outer))
            self.sunk += tree
            names = {outer: inner}
            for s in tree:
                if s.target != outer:
                    type_ = self.arrays[s.target]
                    name = f"{s.target}[{self.old.axis}]"
                    names[s.target] = self.work.name(name, type_.dims[1:], type_.kind)
            for s in tree:
                args = [names.get(a) or self._step(a) for a in s.args]
                inside.append(replace(s, target=names[s.target], args=tuple(args)))
        return inside

    def _tree(self, array: str) -> list[Compute]:
        """The products and sums that an array of all steps alone is made by, in their order."""
        s = self.work.made.get(array)
        alone = self.work.uses[array] == 1 and self._has_steps(array)
        if s is None or s.op not in ("add", "matmul") or not alone:
            return []
        return [*(x for a in s.args for x in self._tree(a)), s]

    def _step(self, array: str) -> str:
        """A step of an array, where it has steps."""
        return self._each(array) if self._has_steps(array) else array

    def _has_steps(self, array: str) -> bool:
        """Whether an array has the vectors of all sequences at all steps of the loop."""
        dims = self.arrays[array].dims
        return len(dims) == 3 and dims[0] == self.arrays[self.old.scanned[0][1]].dims[0]

    def _large(self, s: Compute) -> bool:
        rows, columns = self.arrays[s.args[1]].dims[-2:]
        return (
            isinstance(rows, int) and isinstance(columns, int) and rows * columns >= LEAST_PRODUCT
        )

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
            parts = (Part(ticks),)
        if parts and self._by_rows(s):
            for part in parts:
                for arg, wanted in zip(s.args, self._operands(s, part), strict=True):
                    self._read(arg, wanted)
            if ticks and s.op == "where":
                self.whole.add(s.args[2])
        elif summed:
            self._read(s.args[0], Part(summed))
            self.whole |= {s.target, s.args[1]}
        else:
            self.whole |= {s.target, *s.args}

    def _read(self, name: str, part: Part | None) -> None:
        if part is None:
            self.whole.add(name)
        else:
            self.parts.setdefault(name, {})[part] = None

    def _chosen(self, s: Compute) -> Ticks | None:
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

    def _long(self, name: str, ticks: Ticks) -> bool:
        """Whether an array has a row for each flag of a clock."""
        return self.arrays[name].dims[-1:] == self.arrays[ticks.flags].dims

    def _by_rows(self, s: Compute) -> bool:
        """Whether rows of a result can be computed alone."""
        if s.op == "slice":
            return bool(s.attr("dim") == len(self.arrays[s.target].dims) - 1)
        return s.op in MAPS or (s.op == "matmul" and len(self.arrays[s.args[1]].dims) > 1)

    def _operands(self, s: Compute, part: Part) -> list[Part | None]:
        """The rows of the operands that these rows of a result need; None: all there is."""
        if s.op == "slice":
            return [Part(part.ticks, part.start + s.attr("start"))]
        if s.op == "matmul":
            return [None, part]
        rows = self.arrays[s.target].dims[-1:]
        return [part if self.arrays[a].dims[-1:] == rows else None for a in s.args]

    def _summed(self, s: Compute) -> Ticks | None:
        """The clock of a product with a vector that is zero but in a window."""
        vectors = s.op == "matmul" and len(self.arrays[s.args[1]].dims) == 2
        return self.zero.get(s.args[0]) if vectors else None

    def _gains(self, s: Compute) -> bool:
        """Whether a statement is a large product of which a part is computed."""
        less = (s.target in self.parts and s.target not in self.whole) or self._summed(s)
        many = s.op == "matmul" and BATCH in self.arrays[s.target].dims
        return bool(less) and many and self._large(s)

    # ---------------------------------------------------------------- the statements

    def _rewrite(self, s: Compute) -> None:
        ticks = self._chosen(s) or self.zero.get(s.target)
        summed = self._summed(s)
        if ticks and (s.target in self.whole or s.target not in self.parts):
            part = Part(ticks)
            rows = self._part(s, part)
            base = self.work.zeros_like(s.target) if s.target in self.zero else s.args[2]
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
            part = Part(summed)
            args = (self._window(s.args[0], part), self._window(s.args[1], part, dim=-2))
            self.body.append(replace(s, args=args))
        else:
            self.body.append(s)

    def _part(self, s: Compute, part: Part) -> str:
        """Compute these rows of a result."""
        taken = self._taken(s, part)
        if taken is not None:
            rows = self._window(taken, part)
        else:
            wanted = self._operands(s, part)
            args = [
                a if p is None else self._window(a, p) for a, p in zip(s.args, wanted, strict=True)
            ]
            rows = args[0] if s.op == "slice" else self._rows(s, part, args)
        self.made[s.target, part, -1] = rows
        return rows

    def _taken(self, s: Compute, part: Part) -> str | None:
        """The array that is chosen where all rows of the window tick: a result has its rows."""
        if s.op != "where" or s.args[0] != part.ticks.flags or not part.ticks.clock.gapless:
            return None
        if self.arrays[s.args[1]].dims == self.arrays[s.target].dims:
            return s.args[1]
        return self.work.zeros_like(s.target) if s.args[1] in self.work.zeros else None

    def _rows(self, s: Compute, part: Part, args: Sequence[str]) -> str:
        """These rows of a result, of operands that are as they are needed."""
        type_ = self.arrays[s.target]
        dims = (*type_.dims[:-1], self._extent(part))
        name = self.work.name(f"{s.target}:rows", dims, type_.kind)
        self.body.append(replace(s, target=name, args=tuple(args)))
        return name

    def _window(self, name: str, part: Part, dim: int = -1) -> str:
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

    def _bounds(self, part: Part) -> tuple[str, str]:
        """The bounds of a window, in the body."""
        low, high = (self._each(x) for x in self.work.bounds(part))
        return low, high

    def _each(self, outer: str) -> str:
        """An array of all steps, as the body has it."""
        for inner, other in self.scanned:
            if other == outer:
                return inner
        type_ = self.arrays[outer]
        inner = self.work.name(f"{outer}[{self.old.axis}]", type_.dims[1:], type_.kind)
        self.scanned.append((inner, outer))
        return inner

    def _extent(self, part: Part) -> str:
        """The number of rows of a window, as a dimension of arrays: the same of all parts."""
        extent = f"{part.ticks.flags}:rows"
        if extent not in self.work.portions:
            (rows,) = self.arrays[part.ticks.flags].dims
            assert isinstance(rows, int)
            share = part.ticks.clock.mean / rows
            self.work.portions[extent] = Portion(rows, share, self._bounds(Part(part.ticks)))
        return extent
