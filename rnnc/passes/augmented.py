"""State, input and 1 side by side, so that a step makes one product where it added three terms.

    v = add(b, matmul(x, W))                        A = concat(U, W, unsqueeze(b, at=(0,)), dim=0)
    loop: carry h[t-1], then h[t], kept             loop: carry h[t-1], then h[t], kept
          each v[t] of v                        →         each x[t] of x
          p[t] = matmul(h[t-1], U)                        a[t] = concat(h[t-1], x[t], 1, dim=1)
          s[t] = add(p[t], v[t])                          s[t] = matmul(a[t], A)

For NumPy, where a call is what costs, and where the array v of all steps does not fit into a
cache. The rows [h[t-1], x[t], 1] of all steps lie in one array into which a step writes h[t], so
that nothing is copied: this is why h[t] has to be kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from rnnc.graph.system import fresh
from rnnc.graph.types import BATCH
from rnnc.passes.plan import ArrayType, Compute, Loop, Plan, Statement, reads_of, uses_of

# Entries of W from which on it is multiplied beforehand, by all steps of a sequence at once: a
# step of a single sequence would read it from memory again. Measured (benchmarks/core.py).
MOST_ENTRIES = 2**16


def augmented(plan: Plan) -> Plan:
    """The plan with the inputs of its loops among the states that they are added to."""
    if not plan.loops:
        return plan
    work = _Augmenting(plan)
    for loop in plan.body:
        if isinstance(loop, Loop) and not loop.plain:
            work.loop(loop)
    return work.result()


@dataclass(frozen=True)
class _Sum:
    """``total = product + fed``: ``product = state @ matrix``, ``fed`` is a step of
    ``x @ inputs + bias``."""

    total: Compute
    product: Compute
    fed: str
    x: str
    inputs: str
    bias: str | None


class _Augmenting:
    def __init__(self, plan: Plan):
        self.plan = plan
        self.arrays = dict(plan.arrays)
        self.uses: Counter[str] = uses_of(plan.statements())
        self.uses.update(p.array for p in plan.outputs)
        self.made = {s.target: s for s in plan.body if isinstance(s, Compute)}
        self.fixed = {p.array for p in plan.params}
        self.fixed |= {s.target for s in plan.setup if isinstance(s, Compute)}
        self.setup = list(plan.setup)
        self.body = list(plan.body)

    def result(self) -> Plan:
        """The plan without what nothing reads any more."""
        if len(self.setup) == len(self.plan.setup):
            return self.plan
        outputs = [p.array for p in self.plan.outputs]
        body = _read_of(self.body, outputs)
        setup = _read_of(self.setup, [*outputs, *reads_of(body)])
        return replace(self.plan, setup=tuple(setup), body=tuple(body), arrays=self.arrays)

    def loop(self, loop: Loop) -> None:
        """Rewrite the sums of one loop, if there are any of this kind."""
        sums: dict[str, list[_Sum]] = {}  # by the state that is multiplied
        for s in loop.body:
            found = self._sum(loop, s) if isinstance(s, Compute) else None
            if found and all(found.x == other.x for other in sums.get(found.product.args[0], ())):
                sums.setdefault(found.product.args[0], []).append(found)
        if not sums:
            return
        place = self.body.index(loop)
        body = list(loop.body)
        scanned = dict(loop.scanned)
        for state, group in sums.items():
            x, first = group[0].x, group[0].total
            step = next((i for i, outer in scanned.items() if outer == x), None)
            if step is None:
                step = self._name(f"{x}[{loop.axis}]", (BATCH, self._size(x)))
                scanned[step] = x
            parts = [state, step]
            if any(g.bias for g in group):
                one = self._name("const 1.0", ())
                ones = self._name("const 1.0:expand", (BATCH, 1))
                self.setup.append(Compute(one, "constant", (), (("value", 1.0),)))
                self.body.insert(place, Compute(ones, "expand", (one,)))
                parts.append(ones)
                place += 1
            rows = self._name(f"{state}:augmented", (BATCH, sum(map(self._size, parts))))
            joined = Compute(rows, "concat", tuple(parts), (("dim", 1),), first.origins)
            body.insert(min(body.index(g.product) for g in group), joined)
            for g in group:
                product = Compute(
                    g.total.target, "matmul", (rows, self._matrix(g, len(parts) > 2)), (),
                    g.total.origins,
                )  # fmt: skip
                body[body.index(g.total)] = product
                body.remove(g.product)
                del scanned[g.fed]
        self.body[place] = replace(loop, body=tuple(body), scanned=tuple(scanned.items()))

    def _sum(self, loop: Loop, s: Compute) -> _Sum | None:
        """A sum of this kind, where it pays."""
        if s.op != "add":
            return None
        body = {t.target: t for t in loop.body if isinstance(t, Compute)}
        scanned, stored = dict(loop.scanned), {inner for _, inner in loop.collected}
        states = {c.name for c in loop.carried}
        kept = {c.name for c in loop.carried if c.next in stored and c.next not in states}
        for a, fed in (s.args, s.args[::-1]):
            product = body.get(a)
            if product is None or product.op != "matmul" or fed not in scanned:
                continue
            if not self.arrays[a] == self.arrays[fed] == self.arrays[s.target]:
                continue  # one is stretched
            state, matrix = product.args
            given = self._given(scanned[fed])
            if not given or state not in kept or matrix not in self.fixed:
                continue
            alone = all(self.uses[name] == 1 for name in (product.target, fed, scanned[fed]))
            x, inputs, bias = given
            small = self._size(x) <= self._size(state)
            small = small and self._size(x) * self._size(inputs) <= MOST_ENTRIES
            if alone and small and product.target not in stored:
                return _Sum(s, product, fed, x, inputs, bias)
        return None

    def _given(self, name: str) -> tuple[str, str, str | None] | None:
        """The x, W and b of an array x W + b of all steps that nothing else reads the product in,
        with weights W and b."""
        s = self.made.get(name)
        bias = None
        if s is not None and s.op == "add":
            bias = next((a for a in s.args if a in self.fixed), None)
            name = next((a for a in s.args if a != bias), "")
            if bias is None or self.arrays[bias].dims != self.arrays[s.target].dims[-1:]:
                return None
            if self.arrays[name] != self.arrays[s.target] or self.uses[name] != 1:
                return None
            s = self.made.get(name)
        if s is None or s.op != "matmul" or s.args[1] not in self.fixed:
            return None
        dims = self.arrays[s.args[0]].dims
        plain = len(dims) == 3 and dims[1] == BATCH and len(self.arrays[s.args[1]].dims) == 2
        return (*s.args, bias) if plain else None  # type: ignore[return-value]

    def _matrix(self, g: _Sum, with_bias: bool) -> str:
        """The weights of state, input and 1, one below the other."""
        parts = [g.product.args[1], g.inputs]
        columns = self._size(g.inputs)
        if g.bias:
            row = self._name(f"{g.bias}:row", (1, columns))
            self.setup.append(Compute(row, "unsqueeze", (g.bias,), (("at", (0,)),)))
            parts.append(row)
        elif with_bias:
            zero, row = self._name("const 0.0", ()), self._name("const 0.0:row", (1, columns))
            self.setup.append(Compute(zero, "constant", (), (("value", 0.0),)))
            self.setup.append(Compute(row, "expand", (zero,)))
            parts.append(row)
        rows = sum(self._size(p, 0) for p in parts)
        matrix = self._name(f"{parts[0]}:augmented", (rows, columns))
        self.setup.append(Compute(matrix, "concat", tuple(parts), (("dim", 0),), g.total.origins))
        return matrix

    def _name(self, base: str, dims: tuple[str | int, ...]) -> str:
        name = fresh(base, self.arrays)
        self.arrays[name] = ArrayType(dims, "real")
        return name

    def _size(self, name: str, dim: int = -1) -> int:
        size = self.arrays[name].dims[dim]
        assert isinstance(size, int)
        return size


def _read_of(statements: Iterable[Statement], wanted: Iterable[str]) -> list[Statement]:
    """Those statements that make something that is read, by these or by who wants it."""
    read = set(wanted)
    kept: list[Statement] = []
    for s in reversed(list(statements)):
        if isinstance(s, Loop) or s.target in read:
            kept.append(s)
            read |= reads_of([s])
    return kept[::-1]
