"""Matrices that are updated by outer products and read by vectors, as linear attention.

    S[t] = f[t] * S[t-1] + outer(v[t], k[t])
    y[t] = S[t] q[t]                            →    y[t] = linear_attention[t](q[t], k[t], v[t],
                                                                                f[t], S[0])

Step t reads ``y[t] = Σ f[t] … f[s+1] (k[s] · q[t]) v[s]`` over all steps s up to it: attention
without a softmax (A. Katharopoulos et al., Transformers are RNNs, ICML 2020), which chunks of steps
compute by products of matrices; no S but those between chunks is ever made. The gradients are of
the same form. The adjoint of S is such a matrix that runs the other way, read by v and k; that of f
is ``⟨∂S[t], S[t-1]⟩``, and of the sum of all entries of a product of two such matrices there is an
operation as well (``state_product``): no S is needed at every step, and nothing divided by f.

So every reader has to be a product with a vector, or of two matrices that run against each other;
S at the end is a product over all steps. What reads S before its step, or something made of it,
is brought there by the equations of S:

    (f[t] * S[t-1] + outer(v[t], k[t])) q[t]  =  f[t] * (S[t-1] q[t]) + v[t] * dot(k[t], q[t])

The factors are numbers that do not recur, and not above 1 in size, as for vectors (`linear`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rnnc.graph.cycles import Recurrence, recurrences
from rnnc.graph.names import owner_of, told
from rnnc.graph.ranges import Ranges
from rnnc.graph.system import System, Value, fresh
from rnnc.graph.types import BATCH, FIRST, LAST, Bound, Index, Read, Type
from rnnc.passes.affine import NotAffine, Verdict
from rnnc.passes.memories import Form, Memory, Outer, outer_products
from rnnc.passes.terms import Terms


def attention(system: System) -> System:
    """The system with its matrices that are updated by outer products as linear attention."""
    found = _Attention(system)
    return found.replaced() if found.memories else system


def verdicts(system: System) -> tuple[Verdict, ...]:
    """Of each recurrence of a matrix: whether :func:`attention` takes it, and if not, what in
    its equations, or in those that read it, is in the way."""
    return tuple(_Attention(system).verdicts.values())


class _Attention(Terms):
    """A system while its matrices are replaced; ``memories`` are those that can be."""

    def __init__(self, system: System):
        super().__init__(system)
        self.memories: list[Memory] = []
        self.verdicts: dict[frozenset[str], Verdict] = {}
        ranges = Ranges(self.values)
        for r in recurrences(system):
            if not self._has_matrix(r):
                continue
            try:
                memory = Memory(self, r, ranges)
                self.memories.append(memory)
                self.verdicts[r.members] = Verdict(r, (memory.state,))
            except NotAffine as reason:
                self.verdicts[r.members] = Verdict(r, (), str(reason), nearly=True)
        while any(self._grows(memory) for memory in self.memories):
            pass  # until nothing is made of the members that is not one of them
        while dropped := [m for m in self.memories if self._in_the_way(m)]:
            for memory in dropped:
                self.memories.remove(memory)

    def _has_matrix(self, recurrence: Recurrence) -> bool:
        """Whether a matrix is handed from step to step."""
        members = recurrence.members
        reads = (r for m in members for r in self.system[m].reads if r.source in members and r.at)
        return any(self.system[r.source].type.rank == 2 for r in reads)

    def _grows(self, memory: Memory) -> bool:
        """Whether there are matrices made of the members that were not known yet."""
        found = self._readers(memory)
        return any(memory.takes_in(value) for value in {v.name: v for v, _ in found}.values())

    def _readers(self, memory: Memory) -> list[tuple[Value, Read]]:
        """Who reads the members, and is none."""
        members = memory.forms.members
        return [
            (value, r)
            for name in self.system.values
            if name in members
            for value, r in self.system.readers[name]
            if value.name not in members
        ]

    def _memory(self, r: Read) -> Memory | None:
        return next((m for m in self.memories if r.source in m.forms.members), None)

    # ---------------------------------------------------------------- what can be replaced

    def _in_the_way(self, memory: Memory) -> bool:
        """Whether somebody needs the matrix itself at every step; the verdict says who."""
        asked = [name for name in self.system.results if name in memory.forms.members]
        asked += [v.name for v, r in self._readers(memory) if not self._reads_well(memory, v, r)]
        if asked:
            state, who = (told(name, self.system.values) for name in (memory.state, asked[0]))
            given = asked[0] in memory.forms.members
            needs = "is given out" if given else f"goes into {who}"
            reason = (
                f"{state} {needs} at every step as a matrix, not in products with vectors alone, "
                "and chunks of steps would not make it"
            )
            self.verdicts[memory.recurrence.members] = Verdict(
                memory.recurrence, (), reason, nearly=True
            )
        return bool(asked)

    def _reads_well(self, memory: Memory, value: Value, r: Read) -> bool:
        """Whether a reader takes S at the end, or a product of it that is no matrix any more."""
        if r == memory.last or self._sums_the_last(memory, value):
            return True
        if value.op != "contract" or r not in value.reads or not memory.at_step(r):
            return False
        if {*value.axes, *value.over} != set(memory.axes):
            return False
        place = value.reads.index(r)
        other = value.reads[1 - place]
        mine, theirs = (value.attr(side) for side in ("left", "right")[:: -1 if place else 1])
        if len(theirs) == 1:
            return theirs in mine and value.attr("out") == mine.replace(theirs, "")
        partner = self._memory(other)
        if set(mine) != set(theirs) or value.attr("out"):
            return False
        if partner is not None:
            against = (partner.axis, partner.forward) == (memory.axis, not memory.forward)
            return against and partner.at_step(other)
        try:
            return bool(outer_products(self, other))
        except NotAffine:
            return False

    def _sums_the_last(self, memory: Memory, value: Value) -> bool:
        """Whether a value is the sum of S over sequences and only asked for at the end, as the
        gradient of a learned first S is; or is so of the product that S is."""
        state = self.system[memory.state]
        sums = value.op == "sum" and value.reads == (Read(state.name),)
        same = (value.op, state.op) == ("contract", "mul") and {*value.reads} == {*state.reads}
        asked = [r.at == memory.end for _, r in self.system.readers[value.name]]
        alone = all(asked) and value.name not in self.system.results
        return value.over == (BATCH,) and (sums or same) and alone

    # ---------------------------------------------------------------- replaced

    def replaced(self) -> System:
        """The system without these matrices."""
        for memory in self.memories:
            found = self._readers(memory)
            sums = {v.name for v, _ in found if self._sums_the_last(memory, v)}
            if sums or any(r == memory.last for _, r in found):
                self._ended(memory, sums)
            for value, r in found:
                untouched = self.values[value.name] is value
                if r != memory.last and value.name not in sums and untouched:
                    self._product(value)
        return self.result()

    def _ended(self, memory: Memory, sums: Collection[str]) -> None:
        """Give S at the end, and sums of it over sequences, to who reads them."""
        last = self._last(memory)
        ends = {memory.last: last}
        ends |= {Read(name, memory.end): self.emit("sum", last, over=(BATCH,)) for name in sums}
        for at_end in ends:
            for value, _ in self.system.readers[at_end.source]:
                self.values[value.name] = self.values[value.name].map_reads(
                    lambda r: ends.get(r, r)
                )

    def _product(self, value: Value) -> None:
        """A product with a vector, or of two matrices, by operations on all steps."""
        self.base, self.origins = owner_of(value.name), value.origins
        sides = list(zip(value.reads, (value.attr("left"), value.attr("right")), strict=True))
        sides.sort(key=lambda side: self._memory(side[0]) is None)
        (r, mine), (other, theirs) = sides
        memory, partner = self._memory(r), self._memory(other)
        assert memory is not None
        if len(theirs) == 1:
            made = self._applied(memory, r, other, turned=theirs == mine[0])
        else:
            against = partner.form(other) if partner else Form(None, outer_products(self, other))
            made = self._inner(memory, memory.form(r), partner, against, turned=theirs != mine)
        last = self.values[made.source]
        if value.over:
            whole = self.stretched(made, memory.axes)
            self.change(value.name, "sum", (whole,), (("over", value.over),))
        elif last.axes == value.axes:
            self.change(value.name, last.op, last.reads, last.attrs)
        else:
            self.change(value.name, "copy", (made,))

    def _applied(self, memory: Memory, r: Read, q: Read, turned: bool) -> Read:
        """A matrix before a vector; ``turned`` its transpose."""
        if r == Read(memory.state) and not self._seen_before(memory):
            return self._attended(memory, q, turned, own=True)
        form = memory.form(r)
        terms = []
        if form.factor is not None:
            terms.append(self.mul(form.factor, self._attended(memory, q, turned)))
        for outer in form.outers:
            x = outer.turned if turned else outer
            terms.append(self.mul(self._dot(x.w, q), x.u))
        return self._sum(terms)

    def _seen_before(self, memory: Memory) -> bool:
        """Whether the products of S before the step are needed in any case."""
        return any(
            r not in (memory.last, Read(memory.state)) and not self._sums_the_last(memory, v)
            for v, r in self._readers(memory)
        )

    def _inner(
        self, memory: Memory, form: Form, partner: Memory | None, other: Form, turned: bool
    ) -> Read:
        """The sum of all entries of a product of two matrices, entry by entry; ``turned``: of the
        transpose of the second one."""
        outers = [x.turned if turned else x for x in other.outers]
        terms = [
            self.mul(self._dot(x.u, y.u), self._dot(x.w, y.w)) for x in form.outers for y in outers
        ]
        if form.factor is not None:
            terms += [
                self.mul(form.factor, self._dot(y.u, self._attended(memory, y.w))) for y in outers
            ]
        if partner is not None and other.factor is not None:
            terms += [
                self.mul(other.factor, self._dot(x.u, self._attended(partner, x.w, turned)))
                for x in form.outers
            ]
            if form.factor is not None:
                both = self.mul(form.factor, other.factor)
                terms.append(self.mul(both, self._met(memory, partner, turned)))
        return self._sum(terms)

    # ---------------------------------------------------------------- operations on all steps

    def _attended(self, memory: Memory, q: Read, turned: bool = False, own: bool = False) -> Read:
        """S before each step, or after it (its ``own``), before a vector."""
        attrs = {"axis": memory.axis, "forward": memory.forward, "own": own}
        parts = self._parts(memory, turned)
        return self._sum([self.emit("linear_attention", q, *x, **attrs) for x in parts])

    def _met(self, memory: Memory, partner: Memory, turned: bool) -> Read:
        """The sum of all entries of S before each step times R after it."""
        before, after = (memory, partner) if memory.forward else (partner, memory)
        return self._sum([
            self.emit("state_product", *x, *y, axis=memory.axis)
            for x in self._parts(before)
            for y in self._parts(after, turned)
        ])  # fmt: skip

    def _parts(self, memory: Memory, turned: bool = False) -> list[tuple[Read, Read, Read, Read]]:
        """The k, v, f and first S of matrices of one outer product a step each, which S (or its
        transpose) is the sum of."""
        zero = self.number(0.0)
        first = memory.first or zero
        if not self.type(first).rank and not self.is_zero(first):
            first = self.emit("broadcast", first, shape=memory.type.shape)
        if turned and self.type(first).rank:
            first = self.emit("transpose", first)
        outers = [x.turned if turned else x for x in memory.outers]
        return [(x.w, x.u, memory.factor, first if i == 0 else zero) for i, x in enumerate(outers)]

    def _last(self, memory: Memory) -> Read:
        """S at the end: ``Σ w[t+1] * outer(v[t], k[t]) + w[1] * S[0]``, with w the product of the
        factors from a step on, ``w[t] = f[t] * w[t+1]``."""
        self.base = owner_of(memory.state)
        self.origins = self.system[memory.state].origins
        axis, one = memory.axis, self.number(1.0)
        outers, first = list(memory.outers), memory.first
        if not self._is_one(memory.factor):
            beyond = Index(LAST, 1) if memory.forward else Index(FIRST, -1)
            start = Index(FIRST) if memory.forward else Index(LAST)
            name = fresh(f"{self.base}.left", self.values)
            ahead = Read(name, ((axis, Index(axis, 1 if memory.forward else -1)),))
            axes = self.system.ordered({axis, *self.axes(memory.factor)})
            bounds = (Bound(axis, beyond, one),)
            left = Value(name, "mul", (memory.factor, ahead), Type("real"), axes, (), bounds,
                         self.origins)  # fmt: skip
            self.values[name] = self.added[name] = left
            outers = [Outer(self.mul(ahead, x.u), x.w) for x in outers]
            first = first and self.mul(Read(name, ((axis, start),)), first)
        total = [
            self.emit("contract", self.stretched(x.u, memory.axes), x.w,
                      left="i", right="j", out="ij", over=(axis,))
            for x in outers
        ]  # fmt: skip
        return self._sum([*total, *([first] if first else [])])

    def _is_one(self, r: Read) -> bool:
        v = self.values[r.source]
        return v.op == "constant" and v.attr("value") == 1

    def _dot(self, a: Read, b: Read) -> Read:
        return self.emit("contract", a, b, left="i", right="i", out="", over=())

    def _sum(self, terms: Sequence[Read]) -> Read:
        total = terms[0]
        for term in terms[1:]:
            total = self.add(total, term)
        return total
