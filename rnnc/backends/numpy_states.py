"""Where the states of a loop lie.

A state that is kept of all steps lies beside what else is known of a step, in one array:

    loop: carry h[t-1], then h[t], kept as h        rows[t] = [h[t-1], x[t]], all of them
          each x[t] of x                       →    h = rows[1:, :, :m]
          a[t] = concat(h[t-1], x[t], dim=1)        a[t] is rows[t]

A step writes its state where the next one reads it, so that nothing is put together step by step.
If matrices multiply it, it lies so even with nothing beside it: the transposes that products need
are then views of all steps at once. A state that is not kept takes the memory of the one before.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from rnnc.backends.numpy_ops import BINARY, UNARY
from rnnc.backends.numpy_writer import Writer
from rnnc.graph.types import BATCH
from rnnc.passes.plan import ArrayType, Carried, Compute, Loop, reads_of, results_of

VIEWS = frozenset(("slice", "window", "unsqueeze", "squeeze", "permute", "pick"))
Types = Mapping[str, ArrayType]


@dataclass(frozen=True)
class Rows:
    """``name`` in the body stands for ``parts`` side by side, one of them the state."""

    name: str
    parts: tuple[str, ...]
    state: Carried
    outer: str  # the array of the states of all steps


def rows_of(loop: Loop, types: Types, given: Set[str]) -> dict[str, Rows]:
    """What lies so, by name; the arrays in ``given`` have their memory already."""
    kept = {inner: outer for outer, inner in loop.collected if outer not in given}
    names = {c.name for c in loop.carried}
    free = {c.name: c for c in loop.carried if c.next in kept and c.next not in names}
    inside = {*names, *(x for s in loop.body for x in results_of(s))}
    found: dict[str, Rows] = {}

    def add(name: str, parts: tuple[str, ...]) -> None:
        states = [a for a in parts if a in inside]
        flat = all(len(types[a].dims) == 2 and types[a].dims[0] == BATCH for a in parts)
        if flat and len(states) == 1 and (c := free.get(states[0])):
            found[name] = Rows(name, parts, c, kept[c.next])
            for other in [x for x in free.values() if x.next == c.next]:
                del free[other.name]

    for s in loop.body:
        if isinstance(s, Compute) and s.op == "concat":
            add(s.target, s.args)
    for s in projections(loop, types):
        if s.args[0] in free:
            add(s.args[0], s.args[:1])
    return found


def memory_of(w: Writer, loop: Loop, rows: Rows) -> tuple[list[str], str]:
    """Lines in front of the loop that make the array, and the rows that its steps read."""
    n, batch = w.names, w.extent(BATCH)
    name = w.fresh(f"{n[rows.name]}_rows")
    first, read, write = ("0", ":-1", "1:") if loop.forward else ("-1", "1:", ":-1")
    widths = [d for a in rows.parts for d in w.plan.arrays[a].dims[1:] if isinstance(d, int)]
    lines = [f"{name} = features_first({w.extent(loop.axis)} + 1, {batch}, {sum(widths)})"]
    outside, start = dict(loop.scanned), 0
    for a, width in zip(rows.parts, widths, strict=True):
        part = f":, {start}:{start + width}"
        if a == rows.state.name:
            lines.append(f"{n[rows.outer]} = {name}[{write}, {part}]")
            lines.append(f"{name}[{first}, {part}] = {w.operand(rows.state.initial)}")
        else:
            lines.append(f"{name}[{read}, {part}] = {w.operand(outside.get(a, a))}")
        start += width
    return lines, f"{name}[{read}]"


def projections(loop: Loop, types: Types) -> list[Compute]:
    """The products of vectors of all sequences with matrices from outside, or windows of such."""
    inside, windows = _inside(loop), windows_of(loop, types)
    found = []
    for s in loop.body:
        if isinstance(s, Compute) and s.op == "matmul":
            dims = [types[a].dims for a in s.args]
            weights = s.args[1] in windows or s.args[1] not in inside
            if weights and [len(d) for d in dims] == [2, 2] and dims[0][0] == BATCH:
                found.append(s)
    return found


def windows_of(loop: Loop, types: Types) -> dict[str, Compute]:
    """The windows of matrices from outside, by name: taken where they are multiplied."""
    inside = _inside(loop)
    return {
        s.target: s
        for s in loop.body
        if isinstance(s, Compute)
        and s.op == "window"
        and len(types[s.target].dims) == 2
        and s.args[0] not in inside
        and BATCH not in types[s.target].dims
    }


def _inside(loop: Loop) -> set[str]:
    """What a step makes or takes of all steps."""
    return {x for s in loop.body for x in results_of(s)} | {i for i, _ in loop.scanned}


def overwritten(loop: Loop, types: Types) -> set[str]:
    """States that are not kept and may take the memory of the ones before them."""
    kept = {inner for _, inner in loop.collected}
    names = {c.name for c in loop.carried}
    nexts = [c.next for c in loop.carried]
    return {
        c.next
        for c in loop.carried
        if c.next not in kept | names and c.name not in nexts and nexts.count(c.next) == 1
        if _dies(loop, types, c)
    }


def _dies(loop: Loop, types: Types, c: Carried) -> bool:
    """Whether nothing reads a state any more once there is the next one, which is an elementwise
    function of it."""
    names = {c.name}
    for i, s in enumerate(loop.body):
        if not isinstance(s, Compute):
            if names & reads_of([s]) and c.next in results_of(s):
                return False
            continue
        read = names & set(s.args)
        if s.target == c.next:
            alike = {types[a] for a in read} <= {types[c.next]}
            elementwise = s.op in BINARY or s.op in UNARY
            return elementwise and alike and not names & reads_of(loop.body[i + 1 :])
        if read and s.op in VIEWS:
            names.add(s.target)
    return False


def lag(loop: Loop, c: Carried) -> int:
    """How many steps back: chains of carried values are handed on from the far end."""
    return len(_chain(loop, c))


def depth(loop: Loop, name: str) -> int:
    """How many earlier steps of a value are still needed."""
    chains = [_chain(loop, c) for c in loop.carried]
    return max(len(chain) for chain in chains if chain[-1].next == name)


def _chain(loop: Loop, c: Carried) -> list[Carried]:
    """What hands a value on, the nearest last."""
    names = {x.name: x for x in loop.carried}
    chain = [c]
    while chain[-1].next in names:
        chain.append(names[chain[-1].next])
    return chain
