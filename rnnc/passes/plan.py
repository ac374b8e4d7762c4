"""The Plan: an order of computation over whole arrays, the same for every backend.

Arrays have time axes first, then ``batch``, then features. A Plan names every array, says what
its dimensions are, and lists statements that backends only have to write down.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from rnnc.graph.types import Kind
from rnnc.source import InternalError, Span

Extent = str | int  # the name of an axis, or a number


# Where a linear_scan goes through blocks of steps side by side: what costs is then the number of
# steps, not the work in them. Measured (benchmarks/linear.py): with 64 entries a step the blocks
# win from some 64 steps on, by 4 or 5 at 1,000; with 256 entries by 2; with 512 they are about as
# fast as the loop under onnxruntime, slower in NumPy: they go over all arrays three times.
MOST_ENTRIES = 256  # of a state, those of all sequences of the batch counted
LEAST_STEPS = 128

# The most steps of a chunk of linear attention, and from how many steps on there are chunks.
# Measured (benchmarks/linear.py, d from 8 to 128): chunks of 32 are as fast as of 16 or 64, or
# faster. Of matrices 64 x 64 they are as fast as the loop from 16 steps on, of 8 x 8 from 64 on.
CHUNK = 32
EDGES = CHUNK + 1  # between its steps, before the first and after the last
LEAST_CHUNKED = 16
LEAST_OF_SMALL = 64  # of matrices with fewer entries than
SMALL_MATRIX = 1024

# For a few sequences it takes longer to cut a window out of a matrix than to multiply by all of it.
# Measured (benchmarks/clockwork.py).
FEW = 8


@dataclass(frozen=True, slots=True)
class ArrayType:
    """The dimensions of an array, and what its entries are."""

    dims: tuple[Extent, ...]
    kind: Kind

    def __str__(self) -> str:
        prefix = "" if self.kind == "real" else f"{self.kind} "
        return f"{prefix}[{', '.join(map(str, self.dims))}]"


@dataclass(frozen=True, slots=True)
class Compute:
    """``target = op(args)``.

    Elementwise ops broadcast as NumPy does; ranks are aligned already. The others:

    ================ ============================================================
    constant         ``value``: a number or an Array
    step             1..T along ``axis`` (one dimension)
    length           the length of ``axis``
    matmul           over the last two dimensions, the others broadcast
    crossprod        args[0]ᵀ args[1], of matrices whose rows are all but the last dimension
    einsum           ``equation``
    sum, max, min    over the dimensions ``dims``; ``keep`` keeps them as 1
    argmax           over the one dimension ``dim``, counted from 0
    softmax          over the one dimension ``dim`` (also log_softmax)
    permute          ``order`` of the dimensions
    unsqueeze        insert dimensions of 1, at the result's positions ``at``
    squeeze          remove the dimensions ``at``
    reshape, expand  to the target's dimensions (expand: broadcast)
    concat           along ``dim``
    slice            ``start`` to ``stop`` of ``dim``
    repeat           each entry ``count`` times, along the last dimension
    take             rows of args[0] (dimension 0) by the indices args[1]
    take_along       entries of args[0] by indices of the same rank, along the last dimension
    onehot           a last dimension of ``size``
    scatter          a table of ``size`` rows: those of args[0] added up at the indices args[1]
    cumsum           sums of the first entries of the last dimension
    kth_largest      the ``count``th largest entry of the last dimension, which goes
    eye              of ``size``
    diag             a last dimension d becomes [d, d]
    shift            along ``dim`` by ``by`` steps: target[t] = args[0][t + by]; args[1:], without
                     that dimension, are the steps that do not exist, nearest to the first
    pick             entry ``index`` of dimension ``dim`` (negative: from the end)
    stack            args, along a new dimension ``dim``
    native           an operator of ONNX, ``kind`` LSTM, GRU or RNN: args as ``given`` names them,
                     X and what comes out with the steps first, then the batch; ``result`` is one
                     of the operator's: Y, Y_h, Y_c
    linear_scan      states h = A h + b, entry by entry, from step to step of dimension 0 (from the
                     last one back where not ``forward``). args: the k*k entries of A, row by row
                     (one without that dimension is the same at all steps), the k of b, and the k
                     states before the first step. Of k > 1 the target has them one after the
                     other along the last dimension
    products         of factors args[0] of all steps (dimension 0), in chunks of ``CHUNK`` steps (or
                     of all, if they are fewer), the products between their edges: [chunks,
                     sequences, i, j] has that of the steps from edge j to edge i, 0 where i is
                     before j (edge 0 is before the first step); the last chunk is filled up with
                     factors 1. Of one number [i, j], of ``CHUNK`` steps in any case
    linear_attention S[t] = f[t] S[t-1] + v[t] k[t]ᵀ along dimension 0 (from the last step back
                     where not ``forward``), read as S[t] q[t] or, where not ``own``, S[t-1] q[t].
                     args: q, k, v, the products of f, f, and the first S, or the number 0
    state_product    the sum of all entries of S[t-1] * R[t+1], of such an S forward and such an R
                     backward. args: k, v, the products of f and the first S, then those of R
    segment          how many steps a segment of args[0] steps has: the root, rounded up
    segments         how many segments of args[1] steps there are in args[0]; the last may be short
    part             the steps of ``dim`` after the first args[1] of args[0]
    padded           args[0] with zeros at the end of ``dim``
    ticking          the steps, from 0, at which the flags args[0], [steps, rows], of a ``row`` are
                     set
    window           the rows args[1] to args[2] (each [1]) along ``dim`` of args[0]
    replaced         args[0] with args[1] as its rows args[2] to args[3] (each [1]) along ``dim``;
                     these have the ``first`` row of all at every step, or the ``last``
    joined           args[0], whose first dimension becomes one with ``dim``, cut off at the end
    ================ ============================================================
    """

    target: str
    op: str
    args: tuple[str, ...] = ()
    attrs: tuple[tuple[str, Hashable], ...] = ()
    origins: tuple[Span, ...] = ()

    def attr(self, name: str) -> Any:
        for key, value in self.attrs:
            if key == name:
                return value
        raise InternalError(f"{self.target} = {self.op}(…) has no attribute {name}")


@dataclass(frozen=True, slots=True)
class Carried:
    """A value handed from step to step: ``name`` in the body is what ``next`` was a step ago,
    ``initial`` at the first; ``final`` (outside) is the last ``next``, where it is needed."""

    name: str
    initial: str
    next: str
    final: str | None = None


@dataclass(frozen=True, slots=True)
class Loop:
    """Steps along ``axis``, from the first to the last or (not ``forward``) back.

    ``scanned`` are pairs (name in the body, array outside) of per-step inputs; ``collected``
    pairs (array outside, name in the body) of per-step results, in the order of the steps. The
    steps are dimension 0 of both. A body may hold loops over other axes. ``plain`` does the same
    for fewer than ``FEW`` sequences, where windows are slower: another loop, after what it needs.
    """

    axis: str
    forward: bool
    carried: tuple[Carried, ...]
    scanned: tuple[tuple[str, str], ...]
    body: tuple[Statement, ...]
    collected: tuple[tuple[str, str], ...]
    plain: tuple[Statement, ...] = ()


Statement = Compute | Loop


@dataclass(frozen=True, slots=True)
class Port:
    """A named array at the edge of a model: its dimensions as callers see them (batch first).

    ``role`` is ``input``, ``target``, ``state``, ``context``, ``length``, ``lengths``, ``uniform``
    for what goes in; ``output``, ``state``, ``loss``, ``metric``, ``count`` for what comes out.
    ``limit`` is k of an ``index(k)``, ``along`` the length of an index of steps, ``times`` the time
    axes, in the order of the dimensions after the batch.
    """

    name: str
    array: str
    role: str
    type: ArrayType
    limit: int | None = None
    along: str | None = None
    times: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Portion:
    """How long a dimension is of which a part is there: ``share`` of that of ``whole``, in the
    mean. Of a window, these are the rows from the one ``bounds`` to the other ([1] each, arrays of
    a step)."""

    whole: Extent
    share: float
    bounds: tuple[str, str] | None = None


@dataclass(frozen=True)
class Plan:
    """A whole model. ``setup`` depends on parameters alone and is done once; ``axes`` gives the
    length of an axis: a number, or the port and its dimension that has it (-1: the array that is
    it). ``portions`` are dimensions that are parts of others."""

    name: str
    arrays: Mapping[str, ArrayType]
    inputs: tuple[Port, ...]
    params: tuple[Port, ...]
    outputs: tuple[Port, ...]
    setup: tuple[Statement, ...]
    body: tuple[Statement, ...]
    axes: Mapping[str, int | tuple[str, int]]
    length_names: Mapping[str, str]
    portions: Mapping[str, Portion] = field(default_factory=dict)

    def statements(self) -> Iterator[Statement]:
        yield from self.setup
        yield from self.body

    @property
    def loops(self) -> tuple[Loop, ...]:
        """The loops that stand in no other."""
        return tuple(s for s in self.statements() if isinstance(s, Loop))


def reads_of(statements: Iterable[Statement]) -> set[str]:
    """The arrays that statements read, also those inside of loops."""
    out: set[str] = set()
    for s in flat(statements):
        if isinstance(s, Compute):
            out |= set(s.args)
        else:
            out |= {c.initial for c in s.carried} | {c.next for c in s.carried}
            out |= {outer for _, outer in s.scanned} | {inner for _, inner in s.collected}
            out |= reads_of(s.plain)
    return out


def uses_of(statements: Iterable[Statement]) -> Counter[str]:
    """How often each array is read, also inside of loops."""
    uses: Counter[str] = Counter()
    for s in flat(statements):
        if isinstance(s, Compute):
            uses.update(s.args)
            continue
        uses.update(a for c in s.carried for a in (c.initial, c.next))
        uses.update(a for _, a in (*s.scanned, *s.collected))
    return uses


def results_of(statement: Statement) -> list[str]:
    """The arrays that a statement makes, seen from outside."""
    if isinstance(statement, Compute):
        return [statement.target]
    finals = [c.final for c in statement.carried if c.final]
    return [*finals, *(outer for outer, _ in statement.collected)]


def flat(statements: Iterable[Statement]) -> Iterator[Statement]:
    """All statements, also those inside of loops (of these, not what stands for few sequences)."""
    for s in statements:
        yield s
        if isinstance(s, Loop):
            yield from flat(s.body)


def multiply_adds(
    plan: Plan, sizes: Mapping[str, int], statements: Iterable[Statement] | None = None
) -> int:
    """The multiplications of the matrix products of one run, setup included, or of some
    statements alone; ``sizes`` are the lengths of the axes that no number fixes."""

    def size(d: Extent) -> float:
        if isinstance(d, int):
            return d
        portion = plan.portions.get(d)
        return portion.share * size(portion.whole) if portion else sizes[d]

    def of(s: Statement) -> float:
        if isinstance(s, Loop):
            fixed = plan.axes[s.axis]
            return (fixed if isinstance(fixed, int) else sizes[s.axis]) * sum(map(of, s.body))
        dims = [tuple(map(size, plan.arrays[a].dims)) for a in s.args]
        if s.op == "matmul":  # every entry of the result is a sum as long as the first's last
            return prod(map(size, plan.arrays[s.target].dims)) * dims[0][-1]
        if s.op == "crossprod":
            return prod(dims[0]) * dims[1][-1]
        if s.op == "einsum":
            letters = s.attr("equation").partition("->")[0].split(",")
            named = {x: n for side, d in zip(letters, dims, strict=True) for x, n in zip(side, d)}  # noqa: B905
            return prod(named.values())
        return 0

    return round(sum(map(of, plan.statements() if statements is None else statements)))


def split(
    statements: Iterable[Statement], params: Iterable[str], arrays: Mapping[str, ArrayType]
) -> tuple[tuple[Statement, ...], tuple[Statement, ...]]:
    """What depends on parameters alone is done once, before anything is run."""
    fixed = set(params)
    setup: list[Statement] = []
    body: list[Statement] = []
    for s in statements:
        alone = (
            isinstance(s, Compute)
            and s.op not in ("length", "step")
            and all(a in fixed for a in s.args)
            and all(isinstance(d, int) for d in arrays[s.target].dims)
        )
        if alone and isinstance(s, Compute):
            fixed.add(s.target)
            setup.append(s)
        else:
            body.append(s)
    return tuple(setup), tuple(body)


def show_plan(plan: Plan) -> str:
    """The plan as text, one line a statement."""
    lines = [f"plan {plan.name}"]
    for title, ports in (("in", plan.inputs), ("param", plan.params), ("out", plan.outputs)):
        lines += [f"  {title:<5} {p.name} : {p.type} ({p.role})" for p in ports]
    for axis, size in plan.axes.items():
        where = size if isinstance(size, int) else f"dimension {size[1]} of {size[0]}"
        lines.append(f"  axis  {axis} : {plan.length_names[axis]} = {where}")
    for title, statements in (("setup (once)", plan.setup), ("body", plan.body)):
        lines.append(f"{title}:")
        lines += _show(plan, statements, "  ")
    return "\n".join(lines) + "\n"


def _show(plan: Plan, statements: tuple[Statement, ...], indent: str) -> list[str]:
    out = []
    for s in statements:
        if isinstance(s, Compute):
            attrs = "".join(f", {k}={v}" for k, v in s.attrs)
            call = f"{s.op}({', '.join(s.args)}{attrs})".replace("(, ", "(")
            out.append(f"{indent}{s.target} : {plan.arrays[s.target]} = {call}")
            continue
        out.append(f"{indent}loop over {s.axis}, {'forward' if s.forward else 'backward'}:")
        out += [
            f"{indent}  carry {c.name} : {plan.arrays[c.name]} from {c.initial}, then {c.next}"
            + (f"; last is {c.final}" if c.final else "")
            for c in s.carried
        ]
        out += [f"{indent}  each  {i} : {plan.arrays[i]} of {o}" for i, o in s.scanned]
        out += _show(plan, s.body, indent + "  ")
        out += [f"{indent}  keep  {i} as {o} : {plan.arrays[o]}" for o, i in s.collected]
    return out
