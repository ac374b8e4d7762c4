"""Rows of boxes and of lines that pass between them: which row, in what order, how far right."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import networkx as nx

SPACE, THIN = 26.0, 16.0  # between boxes of a row; the width of a place where a line passes

Place = Hashable  # a box's key, or (name, row): where a line passes a row


def ranks(
    nodes: Sequence[str], pairs: Iterable[tuple[str, str]], lift: bool = False
) -> dict[str, int]:
    """The longest way to each node; pairs that would close a cycle are passed over. With ``lift``
    a node that reads nothing stands just below its first reader."""
    graph = nx.DiGraph()
    graph.add_nodes_from(nodes)
    for a, b in pairs:
        if a != b and not (b in graph and nx.has_path(graph, b, a)):
            graph.add_edge(a, b)
    found: dict[str, int] = {}
    for node in nx.topological_sort(graph):
        found[node] = max((found[p] + 1 for p in graph.predecessors(node)), default=0)
    for node in nodes if lift else ():
        above = [found[s] for s in graph.successors(node)]
        if not graph.in_degree(node) and above:
            found[node] = min(above) - 1
    return found


@dataclass
class Rows:
    """The places of each row in order, with their middles and the height of rows and gaps."""

    rows: list[list[Place]]
    x: dict[Place, float]
    heights: list[float]
    gaps: list[float] = field(default_factory=list)  # gap i lies below row i

    def bottom(self, row: int) -> float:
        return sum(self.heights[:row]) + sum(self.gaps[: row + 1])

    def top(self, row: int) -> float:
        return self.bottom(row) + self.heights[row]


def make_rows(
    rank: Mapping[str, int],
    size: Mapping[str, tuple[float, float]],
    lines: Iterable[tuple[str, Place, int, Place, int]],
) -> Rows:
    """Rows of boxes and passing lines; a line has a name, a source, its row, a target, its row.
    Sources and targets without a rank lie outside, below the first row or above the last."""
    count = 1 + max(rank.values(), default=0)
    rows: list[list[Place]] = [[] for _ in range(count)]
    for key, row in rank.items():
        rows[row].append(key)
    pairs: dict[tuple[Place, Place], None] = {}
    for name, source, low, target, high in lines:
        below: Place | None = source if source in rank else None
        for row in range(low + 1, high):
            place = (name, row)
            if place not in rows[row]:
                rows[row].append(place)
            if below is not None:
                pairs[below, place] = None
            below = place
        if below is not None and target in rank:
            pairs[below, target] = None
    width = {p: size[p][0] if isinstance(p, str) else THIN for row in rows for p in row}
    below_of: dict[Place, list[Place]] = {}
    above_of: dict[Place, list[Place]] = {}
    for a, b in pairs:
        above_of.setdefault(a, []).append(b)
        below_of.setdefault(b, []).append(a)
    rows = _ordered(rows, below_of, above_of)
    heights = [max((size[p][1] for p in row if isinstance(p, str)), default=0.0) for row in rows]
    return Rows(rows, _middles(rows, width, below_of, above_of), heights)


def _ordered(
    rows: list[list[Place]],
    below: Mapping[Place, list[Place]],
    above: Mapping[Place, list[Place]],
) -> list[list[Place]]:
    """Rows sorted by the mean position of their neighbours, up and down, fewest crossings kept."""

    def crossings() -> int:
        total = 0
        for low, high in pairwise(rows):
            position = {p: i for i, p in enumerate(high)}
            seen: list[int] = []
            for p in low:
                ends = sorted(position[q] for q in above.get(p, ()))
                total += sum(len(seen) - bisect_left(seen, e + 1) for e in ends)
                for e in ends:
                    insort(seen, e)
        return total

    best, fewest = [list(r) for r in rows], crossings()
    for sweep in range(8):
        upwards = sweep % 2 == 0
        near = below if upwards else above
        order = range(1, len(rows)) if upwards else range(len(rows) - 2, -1, -1)
        for i in order:
            other = rows[i - 1 if upwards else i + 1]
            position = {p: (j + 0.5) / len(other) for j, p in enumerate(other)}
            mean = {}
            for j, p in enumerate(rows[i]):
                found = [position[q] for q in near.get(p, ())]
                mean[p] = sum(found) / len(found) if found else (j + 0.5) / len(rows[i])
            rows[i].sort(key=lambda p: mean[p])
        if (now := crossings()) < fewest:
            best, fewest = [list(r) for r in rows], now
    return best


def _middles(
    rows: list[list[Place]],
    width: Mapping[Place, float],
    below: Mapping[Place, list[Place]],
    above: Mapping[Place, list[Place]],
) -> dict[Place, float]:
    """Each place as near to its neighbours as its row allows (least squares, row after row)."""
    x: dict[Place, float] = {}
    start: list[list[float]] = []
    for row in rows:
        offsets, at = [], 0.0
        for i, p in enumerate(row):
            at += (width[row[i - 1]] + width[p]) / 2 + SPACE if i else 0.0
            offsets.append(at)
        start.append(offsets)
        x.update((p, o - at / 2) for p, o in zip(row, offsets, strict=True))
    for sweep in range(24):
        order = range(len(rows)) if sweep % 2 == 0 else reversed(range(len(rows)))
        for i in order:
            wanted, weight = [], []
            for p in rows[i]:
                near = [x[q] for q in (*below.get(p, ()), *above.get(p, ()))]
                wanted.append(sum(near) / len(near) if near else x[p])
                weight.append(1.0 if isinstance(p, str) else 4.0)  # lines that bend are ugly
            shifted = [w - o for w, o in zip(wanted, start[i], strict=True)]
            for p, y, o in zip(rows[i], _rising(shifted, weight), start[i], strict=True):
                x[p] = y + o
    return x


def _rising(wanted: Sequence[float], weight: Sequence[float]) -> list[float]:
    """The numbers that never fall and are nearest to ``wanted`` (pool adjacent violators)."""
    pools: list[tuple[float, float, int]] = []
    for value, w in zip(wanted, weight, strict=True):
        count = 1
        while pools and pools[-1][0] > value:
            v, u, n = pools.pop()
            value, w, count = (value * w + v * u) / (w + u), w + u, count + n
        pools.append((value, w, count))
    return [value for value, _, count in pools for _ in range(count)]
