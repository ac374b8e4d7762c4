"""Matrices that are updated by outer products, in chunks of L steps, as ONNX nodes.

    S[t] = f[t] S[t-1] + v[t] k[t]ᵀ,    y[t] = S[t] q[t]

A ``Scan`` goes from chunk to chunk. In a chunk, with Q, K, V its steps as rows and P[i, j] the
product of the factors between its edges j and i (0 where i is before j; edge 0 is before the first
step), a query meets what the chunk has added so far, and the S that the chunk begins with:

    Y = ((Q Kᵀ) ⊙ P[1:, 1:]) V + P[1:, 0] ⊙ (Q Sᵀ)
    S = P[L, 0] S + (P[L, 1:] ⊙ V)ᵀ K

(W. Hua et al., Transformer Quality in Linear Time, ICML 2022; Y. Sun et al., Retentive Network,
arXiv:2307.08621, 2023; S. Yang et al., Gated Linear Attention, arXiv:2312.06635, 2023.)
Backward the same holds with Pᵀ and from the other edge. The rows of P are made one after the other,
of all chunks side by side. Nothing is divided and no logarithm is taken, so that factors may be 0,
and products too small for a number.

Of two matrices that run against each other, the sum of all entries of S[t-1] * R[t+1] is

    z = Σ_i (P'[:, 1:] ⊙ (W P[:-1, :]ᵀ))[i],    R[t] = g[t] R[t+1] + a[t] b[t]ᵀ, P' its products

with W[i, j] what is added to R at i (last of all: the R after the chunk) times what is added to S
at j (first of all: the S before it), for vectors (a[i] · v[j]) (b[i] · k[j]).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rnnc.backends.onnx_bodies import choice, scan
from rnnc.backends.onnx_writer import Writer
from rnnc.passes.plan import (
    CHUNK,
    EDGES,
    LEAST_CHUNKED,
    LEAST_OF_SMALL,
    SMALL_MATRIX,
    Compute,
    Extent,
)

# parts of the edges of a chunk, as starts and stops: those before its steps and after them, the
# first and the last
BEFORE, AFTER, FIRST, LAST = (0, -1), (1, EDGES), (0, 1), (-1, EDGES)


def linear_attention(w: Writer, s: Compute, x: list[str], out: str) -> object:
    """What the queries read at all steps, [T, *rest, m]."""
    dims = w.type(s.target).dims
    c = _Chunks(w, dims[0], dims[1:-1])
    q, k, v = (c.rows(x[i], s.args[i]) for i in range(3))
    table, first = c.table(x[3], s.args[3]), c.matrix(x[5], s.args[5], k, v)
    forward, own = bool(s.attr("forward")), bool(s.attr("own"))

    def chunks() -> list[str]:
        weights = _ahead(c, table, own) if forward else _back(c, table, own)
        return [_in_chunks(c, (q, k, v), weights, first, forward)]

    def steps() -> list[str]:
        return [_stepwise(c, (q, k, v), c.factor(x[4], s.args[4]), first, forward, own)]

    least = LEAST_OF_SMALL if v.width * k.width < SMALL_MATRIX else LEAST_CHUNKED
    few = isinstance(dims[0], int) and dims[0] < least
    (found,) = steps() if few else choice(w, c.worth_it(least, q, k, v), chunks, steps)
    return w.node("Reshape", [found, w.shape(dims)], out)


@dataclass(frozen=True)
class _Rows:
    """Vectors of all steps and sequences, [T, N, width]."""

    name: str
    width: int


@dataclass(frozen=True)
class _Table:
    """Products between the edges of chunks, or a part of them: [C, N, i, j], or (not ``varies``)
    one for all, [i, j]."""

    name: str
    varies: bool


@dataclass(frozen=True)
class _Weights:
    """What takes a query to what its chunk adds, [L, L]; to the S that the chunk begins with,
    [L, 1]; and this S, and what the chunk adds, to the next one, [1, 1] and [1, L]."""

    within: _Table
    begin: _Table
    total: _Table
    end: _Table

    @property
    def parts(self) -> tuple[_Table, ...]:
        return self.within, self.begin, self.total, self.end


def _ahead(c: _Chunks, p: _Table, own: bool) -> _Weights:
    """Of S that runs forward."""
    rows, last = c.part(p, -2, *(AFTER if own else BEFORE)), c.part(p, -2, *LAST)
    return _Weights(
        c.part(rows, -1, *AFTER), c.part(rows, -1, *FIRST),
        c.part(last, -1, *FIRST), c.part(last, -1, *AFTER),
    )  # fmt: skip


def _back(c: _Chunks, p: _Table, own: bool) -> _Weights:
    """Of S that runs backward: products to steps before, from the last edge."""
    rows = c.turned(c.part(p, -1, *(BEFORE if own else AFTER)))
    first = c.turned(c.part(p, -1, *FIRST))
    return _Weights(
        c.part(rows, -1, *BEFORE), c.part(rows, -1, *LAST),
        c.part(first, -1, *LAST), c.part(first, -1, *BEFORE),
    )  # fmt: skip


def _in_chunks(
    c: _Chunks, rows: Sequence[_Rows], weights: _Weights, first: str, forward: bool
) -> str:
    """[T, N * m], from chunk to chunk."""
    w = c.w

    def step(states: list[str], now: list[str]) -> tuple[list[str], list[str]]:
        (s,), (query, key, value, *entries) = states, now
        within, begin, total, end = c.now(weights.parts, entries)
        scores = w.node("Mul", [w.node("MatMul", [query, c.swapped(key)]), within])
        before = w.node("Mul", [w.node("MatMul", [query, c.swapped(s)]), begin])
        read = w.node("Add", [w.node("MatMul", [scores, value]), before])
        return [_next(c, s, value, key, total, end)], [read]

    sequences = [*map(c.cut, rows), *c.varying(weights.parts)]
    return c.joined(scan(w, [first], sequences, step, back=not forward)[1][0])


def _next(c: _Chunks, s: str, value: str, key: str, total: str, end: str) -> str:
    """The S that the next chunk begins with."""
    w = c.w
    added = w.node("MatMul", [w.node("Mul", [c.swapped(value), end]), key])
    return w.node("Add", [w.node("Mul", [total, s]), added])


def _stepwise(
    c: _Chunks, rows: Sequence[_Rows], f: _Table, first: str, forward: bool, own: bool
) -> str:
    """[T, N * m], step by step."""
    w = c.w
    q, k, v = (
        w.node("Unsqueeze", [x.name, w.ints(place)])
        for x, place in zip(rows, (3, 2, 3), strict=True)
    )

    def step(states: list[str], now: list[str]) -> tuple[list[str], list[str]]:
        (s,), (query, key, value, *entries) = states, now
        kept = w.node("Mul", [*c.now([f], entries), s])
        following = w.node("Add", [kept, w.node("Mul", [value, key])])
        return [following], [w.node("MatMul", [following if own else s, query])]

    sequences = [q, k, v, *c.varying([f])]
    found = scan(w, [first], sequences, step, back=not forward)[1][0]
    return w.node("Flatten", [found], axis=1)


def state_product(w: Writer, s: Compute, x: list[str], out: str) -> object:
    """The sums of S[t-1] * R[t+1] at all steps, [T, *rest]: always in chunks."""
    steps, *rest = w.type(s.target).dims
    c = _Chunks(w, steps, rest)
    k, v, b, a = (c.rows(x[i], s.args[i]) for i in (0, 1, 4, 5))
    p, g = (c.table(x[i], s.args[i]) for i in (2, 6))
    first, after = c.matrix(x[3], s.args[3], k, v), c.matrix(x[7], s.args[7], b, a)
    forth, back = _ahead(c, p, own=False), _back(c, g, own=False)
    rows = c.turned(c.part(p, -2, *BEFORE)), c.part(g, -1, *AFTER)
    keys, values, others, added = map(c.cut, (k, v, b, a))

    def finite(x: str) -> str:
        largest = np.finfo(w.dtype("real")).max
        return w.node("Clip", [x, w.const(-largest), w.const(largest)])

    def before(states: list[str], now: list[str]) -> tuple[list[str], list[str]]:
        (s,), (key, value, *entries) = states, now
        return [_next(c, s, value, key, *c.now([forth.total, forth.end], entries))], [s]

    def sums(states: list[str], now: list[str]) -> tuple[list[str], list[str]]:
        (r,), (s, key, value, b, a, *entries) = states, now
        to_before, to_after, total, end = c.now([*rows, back.total, back.end], entries)
        meet = w.node("Mul", [
            w.node("MatMul", [a, c.swapped(value)]), w.node("MatMul", [b, c.swapped(key)])
        ])  # fmt: skip
        left = c.total(w.node("Mul", [w.node("MatMul", [a, s]), b]), 2)
        below = c.total(w.node("Mul", [w.node("MatMul", [value, r]), key]), 2)
        corner = c.total(w.node("Mul", [s, r]), 1, 2)
        top = w.node("Concat", [left, meet], axis=2)
        bottom = w.node("Concat", [corner, c.swapped(below)], axis=2)
        # finite: else what does not meet, times 0, could be no number
        met = finite(w.node("Concat", [top, bottom], axis=1))
        met = finite(w.node("MatMul", [met, to_before]))
        z = c.total(w.node("Mul", [to_after, met]), 1)
        return [_next(c, r, a, b, total, end)], [c.swapped(z)]

    sequences = [keys, values, *c.varying([forth.total, forth.end])]
    states = scan(w, [first], sequences, before)[1]
    sequences = [*states, keys, values, others, added]
    sequences += c.varying([*rows, back.total, back.end])
    found = c.joined(scan(w, [after], sequences, sums, back=True)[1][0])
    return w.node("Reshape", [found, w.shape((steps, *rest))], out)


def products(w: Writer, s: Compute, x: list[str], out: str) -> object:
    """Tables of factors: powers of a number, else row by row, each the one before times a factor
    (where it has entries yet)."""
    dims = w.type(s.args[0]).dims
    steps = np.subtract.outer(np.arange(EDGES), np.arange(EDGES))
    lower = w.const(np.tril(np.ones((EDGES, EDGES))))
    if not dims:
        return w.node("Mul", [w.node("Pow", [x[0], w.const(np.maximum(steps, 0))]), lower], out)
    c = _Chunks(w, dims[0], dims[1:])
    f = w.node("Transpose", [c.cut_numbers(x[0])], perm=(1, 0, 2))  # [L, C, N]
    f = w.node("Pad", [f, w.ints(1, 0, 0, 0, 0, 0)])  # edge 0 has no factor
    begun = c.shortened(w.const(steps[:, None, None] > 0, "flag"), 0, 3)
    factors = w.node("Where", [begun, w.node("Unsqueeze", [f, w.ints(3)]), w.const(1.0)])

    def step(states: list[str], now: list[str]) -> tuple[list[str], list[str]]:
        row = w.node("Mul", [*states, *now])
        return [row], [row]

    ones = w.node("Gather", [factors, w.const(0, "index")], axis=0)
    rows = scan(w, [ones], [factors], step)[1][0]  # [L + 1, C, N, L + 1]
    table = w.node("Transpose", [rows], perm=(1, 2, 0, 3))
    return w.node("Mul", [table, c.shortened(lower, 0, 1)], out)


class _Chunks:
    """Steps of N sequences as C chunks of L, the last one filled up; of fewer steps one of all."""

    def __init__(self, w: Writer, steps: Extent, rest: Sequence[Extent]):
        self.w, self.steps, self.rest = w, steps, rest
        self.length = w.length(steps) if isinstance(steps, str) else w.const(steps, "index")
        self.size = w.outside("Min", (self.length, w.const(CHUNK, "index")))

    # ---------------------------------------------------------------- operands

    def rows(self, name: str, array: str) -> _Rows:
        """[T, *rest, d] as [T, N, d]."""
        width = int(self.w.type(array).dims[-1])
        return _Rows(self.w.node("Reshape", [name, self.w.ints(0, -1, width)]), width)

    def matrix(self, name: str, array: str, key: _Rows, value: _Rows) -> str:
        """[*rest, m, n] as [N, m, n], or the number 0 as such matrices."""
        w = self.w
        if self.w.type(array).dims:
            return w.node("Reshape", [name, w.ints(-1, value.width, key.width)])
        size = w.size(self.rest, rank=1)
        shape = w.outside("Concat", (size, w.ints(value.width, key.width)), axis=0)
        return w.node("Expand", [name, shape])

    def table(self, name: str, array: str) -> _Table:
        if len(self.w.type(array).dims) > 2:
            return _Table(name, True)
        return _Table(self.shortened(name, 0, 1), False)

    def shortened(self, x: str, *dims: int) -> str:
        """What is of ``CHUNK`` steps, of those that there are."""
        w = self.w
        edges = w.outside("Add", (self._one(self.size), w.ints(1)))
        many = (edges,) * len(dims)
        stops = w.outside("Concat", many, axis=0)
        return w.outside("Slice", (x, w.ints(*[0] * len(dims)), stops, w.ints(*dims)))

    def _one(self, number: str) -> str:
        return self.w.outside("Unsqueeze", (number, self.w.ints(0)))

    def factor(self, name: str, array: str) -> _Table:
        """[T, *rest] as [T, N, 1, 1]; a single number as it is."""
        w, dims = self.w, self.w.type(array).dims
        if not dims:
            return _Table(name, False)
        shape = w.ints(0, -1, 1, 1) if len(dims) > 1 else w.ints(-1, 1, 1, 1)
        return _Table(w.node("Reshape", [name, shape]), True)

    def worth_it(self, least: int, *rows: _Rows) -> str:
        """A flag: there are enough steps, and no product of what they have can be out of range. (A
        step that is later in a chunk is multiplied with 0, which of infinity is no number; and
        sums in another order may be infinite where those of single steps are not.)"""
        w = self.w
        sizes = [w.node("Add", [w.node("ReduceL2", [x.name], keepdims=0), w.const(1.0)])
                 for x in rows]  # fmt: skip
        size = w.node("Mul", [w.node("Mul", sizes[:2]), sizes[2]])
        many = w.outside("GreaterOrEqual", (self.length, w.const(least, "index")))
        return w.node("And", [many, w.node("Less", [size, w.const(np.inf)])])

    # ---------------------------------------------------------------- chunks

    def cut(self, x: _Rows) -> str:
        """[C, N, L, d], filled up with zeros."""
        w = self.w
        cut = w.node("Reshape", [self._filled(x.name, 3, 0.0), self._shape(w.ints(x.width))])
        return w.node("Transpose", [cut], perm=(0, 2, 1, 3))

    def cut_numbers(self, name: str) -> str:
        """[C, L, N] of [T, *rest], filled up with ones."""
        w = self.w
        flat = w.node("Reshape", [name, w.ints(0, -1) if self.rest else w.ints(-1, 1)])
        return w.node("Reshape", [self._filled(flat, 2, 1.0), self._shape()])

    def _shape(self, *last: str) -> str:
        parts = (self.w.ints(-1), self._one(self.size), self.w.size(self.rest, rank=1), *last)
        return self.w.outside("Concat", parts, axis=0)

    def _filled(self, x: str, rank: int, fill: float) -> str:
        """[C * L, ...] of [T, ...]."""
        w, out = self.w, self.w.outside
        if isinstance(self.steps, int) and self.steps % min(self.steps, CHUNK) == 0:
            return x
        more = out("Mod", (out("Neg", (self.length,)), self.size))
        none, after = w.ints(*[0] * rank), w.ints(*[0] * (rank - 1))
        pads = out("Concat", (none, self._one(more), after), axis=0)
        return w.node("Pad", [x, pads, w.const(fill)])

    def joined(self, x: str) -> str:
        """[C, N, L, d] as [T, N * d]."""
        w = self.w
        flat = w.node("Flatten", [w.node("Transpose", [x], perm=(0, 2, 1, 3))], axis=2)
        return w.node("Slice", [flat, w.ints(0), self._one(self.length), w.ints(0)])

    # ---------------------------------------------------------------- tables

    def part(self, x: _Table, dim: int, start: int, stop: int) -> _Table:
        ints = self.w.ints
        return _Table(self.w.node("Slice", [x.name, ints(start), ints(stop), ints(dim)]), x.varies)

    def turned(self, x: _Table) -> _Table:
        perm = (0, 1, 3, 2) if x.varies else (1, 0)
        return _Table(self.w.node("Transpose", [x.name], perm=perm), x.varies)

    def varying(self, tables: Sequence[_Table]) -> list[str]:
        """Those that a Scan goes through, beside what it goes through."""
        return [x.name for x in tables if x.varies]

    def now(self, tables: Sequence[_Table], entries: Sequence[str]) -> list[str]:
        """The tables in the body of that Scan, whose entries of those that vary are given."""
        given = iter(entries)
        return [next(given) if x.varies else x.name for x in tables]

    # ---------------------------------------------------------------- in a chunk, [N, ..., ...]

    def swapped(self, x: str) -> str:
        return self.w.node("Transpose", [x], perm=(0, 2, 1))

    def total(self, x: str, *dims: int) -> str:
        return self.w.node("ReduceSum", [x, self.w.ints(*dims)], keepdims=1)
