"""What a read finds: a value at steps that exist, or what its boundaries say beyond them.

h[t] = tanh(W h[t-2] + x[t])           W h[t-2]  finds  h[t-2], where t > 2
h[0] = a                         →                      a, at t = 2
h[-1] = b                                               b, at t = 1
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter

from rnnc.graph.system import System, moved
from rnnc.graph.types import FIRST, LAST, Index, Read, whole

MOST_LISTED = 4  # steps of a boundary that are read one by one; beyond, a masked sum


@dataclass(frozen=True)
class Found:
    """What a read finds, as the reader reads it: at the ``pins`` alone (a fixed step for some of
    the reader's axes), or in a ``window`` of steps of one axis, or wherever the reader is; and,
    where ``lengths`` says how few and how many steps an axis has, in such sequences alone."""

    read: Read
    pins: Mapping[str, Index] = field(default_factory=dict)
    window: tuple[str, Index, Index] | None = None
    lengths: tuple[tuple[str, int, int], ...] = ()


def found(system: System, r: Read) -> Iterator[Found]:
    """What a read finds: the value itself, and what stands outside of its steps."""
    source = system.values[r.source]
    outside = [a for a in source.axes if is_outside(r.index(a))]
    if outside:  # h[0]: the boundary, at whatever step the reader is
        bound = source.bound_at(outside[0], r.index(outside[0]))
        if bound is not None:
            yield from found(system, _behind(system, bound, r))
        return
    yield Found(r)
    for axis in source.axes:
        index = r.index(axis)
        if not any(b.axis == axis for b in source.bounds):
            continue
        for bound, places in _runs([source.bound_at(axis, i) for i in _outside(index)]):
            for inner in found(system, _behind(system, bound, r)):
                if index.fixed:
                    told = (axis, places[0] + 1, places[-1] + 1)
                    yield replace(inner, lengths=(*inner.lengths, told))
                    continue
                base, way = (FIRST, 1) if whole(index.offset) < 0 else (LAST, -1)
                at = [Index(base, way * i) for i in places]
                if len(at) > MOST_LISTED:
                    first, last = sorted((at[0], at[-1]), key=lambda i: whole(i.offset))
                    yield replace(inner, window=(index.base, first, last))
                    continue
                for here in at:
                    yield replace(inner, pins={**inner.pins, index.base: here})


def _behind(system: System, bound: Read, r: Read) -> Read:
    """What a boundary reads, as read by the reader of the value it belongs to."""
    return moved(bound, system.values[bound.source].axes, r.index)


def _outside(index: Index) -> list[Index]:
    """Where a read may land outside: at the reader's first (or last) steps, inwards; that of a
    fixed step in sequences of one step, of two, … (h[3] of one step is the second after it)."""
    offset = whole(index.offset)
    if index.base == FIRST:
        return [Index(LAST, gap) for gap in range(offset, 0, -1)]
    if index.base == LAST:
        return [Index(FIRST, -gap) for gap in range(-offset, 0, -1)]
    if offset < 0:
        return [Index(FIRST, offset + i) for i in range(-offset)]
    return [Index(LAST, offset - i) for i in range(offset)]


def _runs(bounds: Iterable[Read | None]) -> Iterator[tuple[Read, list[int]]]:
    """Each boundary with the places, one after another, that it serves."""
    for bound, places in groupby(enumerate(bounds), key=itemgetter(1)):
        if bound is not None:
            yield bound, [i for i, _ in places]


def is_outside(index: Index) -> bool:
    if not index.fixed:
        return False
    offset = whole(index.offset)
    return offset < 0 if index.base == FIRST else offset > 0
