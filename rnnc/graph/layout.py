"""Where boxes and arrows of a drawing go: layers from the bottom to the top, no box on another.

Boxes of one group (a loop, or the steps of an unrolled one) stand in a panel of their own, which
is laid out first and then treated as one large box. Inside and outside the same three rules hold:

- a box stands one row above the highest of what it reads, delayed reads left aside;
- lines upwards pass a row through a place of their own, one for all lines of one source;
- what goes back, or on to another column, takes lanes beside the boxes and the gaps between rows.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import networkx as nx

GAP, STEP = 46.0, 12.0  # between rows; between parallel lines in a gap
SPACE, THIN = 26.0, 16.0  # between boxes of a row; the width of a place where a line passes
PADDING, TITLE = 16.0, 24.0  # around the boxes of a panel; above them
LANE = 40.0  # between lanes that have labels

Place = Hashable  # a box's key, or (source, row): where its line passes a row
Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A rectangle to place. Boxes of a group with the same ``base`` stand in the same place of
    their ``column``; a group without columns has one."""

    key: str
    width: float
    height: float
    group: str | None = None
    column: int = 0
    base: str = ""

    @property
    def cell(self) -> str:
        return self.base or self.key


@dataclass(frozen=True)
class Link:
    """An arrow. ``delayed`` ones do not lift their target above their source."""

    source: str
    target: str
    style: str = "read"
    label: str = ""
    delayed: bool = False


@dataclass(frozen=True)
class Rect:
    """``x`` and ``y`` are the upper left corner."""

    x: float
    y: float
    width: float
    height: float

    def overlaps(self, other: Rect, margin: float = 0.0) -> bool:
        return (
            self.x < other.x + other.width + margin
            and other.x < self.x + self.width + margin
            and self.y < other.y + other.height + margin
            and other.y < self.y + self.height + margin
        )


@dataclass(frozen=True)
class Wire:
    """A link's path, ``(command, points)`` as SVG has them, and where its label may stand."""

    link: Link
    path: tuple[tuple[str, tuple[Point, ...]], ...]
    spots: tuple[Point, ...]


@dataclass(frozen=True)
class Layout:
    """Everything in its place; ``y`` grows downwards."""

    width: float
    height: float
    boxes: Mapping[str, Rect]
    groups: Mapping[str, Rect]
    wires: tuple[Wire, ...]


# ---------------------------------------------------------------- rows


def ranks(nodes: Sequence[str], pairs: Iterable[tuple[str, str]]) -> dict[str, int]:
    """The longest way to each node; pairs that would close a cycle are passed over."""
    graph = nx.DiGraph()
    graph.add_nodes_from(nodes)
    for a, b in pairs:
        if a != b and not (b in graph and nx.has_path(graph, b, a)):
            graph.add_edge(a, b)
    found: dict[str, int] = {}
    for node in nx.topological_sort(graph):
        found[node] = max((found[p] + 1 for p in graph.predecessors(node)), default=0)
    for node in nodes:  # what reads nothing stands just below its first reader
        above = [found[s] for s in graph.successors(node)]
        if not graph.in_degree(node) and above:
            found[node] = min(above) - 1
    return found


@dataclass
class _Rows:
    """The places of each row in order, with their middles and the height of rows and gaps."""

    rows: list[list[Place]]
    x: dict[Place, float]
    heights: list[float]
    gaps: list[float] = field(default_factory=list)  # gap i lies below row i

    def bottom(self, row: int) -> float:
        return sum(self.heights[:row]) + sum(self.gaps[: row + 1])

    def top(self, row: int) -> float:
        return self.bottom(row) + self.heights[row]


def _rows(
    rank: Mapping[str, int],
    size: Mapping[str, tuple[float, float]],
    lines: Iterable[tuple[str, int, str, int]],
) -> _Rows:
    """Rows of boxes and passing lines; ``lines`` are source, its row, target, its row. Sources
    and targets without a rank lie outside, below the first row or above the last."""
    count = 1 + max(rank.values(), default=0)
    rows: list[list[Place]] = [[] for _ in range(count)]
    for key, row in rank.items():
        rows[row].append(key)
    pairs: dict[tuple[Place, Place], None] = {}
    for source, low, target, high in lines:
        below: Place | None = source if source in rank else None
        for row in range(low + 1, high):
            place = (source, row)
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
    return _Rows(rows, _middles(rows, width, below_of, above_of), heights)


def _ordered(
    rows: list[list[Place]],
    below: Mapping[Place, list[Place]],
    above: Mapping[Place, list[Place]],
) -> list[list[Place]]:
    """Rows sorted by the mean position of their neighbours, up and down, fewest crossings kept."""

    def crossings() -> int:
        total = 0
        for low, high in zip(rows, rows[1:], strict=False):
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


# ---------------------------------------------------------------- panels


@dataclass
class _Trunk:
    """The way of a source's delayed reads: out of it, along a lane, to its readers."""

    source: str
    side: int  # 1 is right, -1 left
    targets: list[tuple[str, int]]  # cell, columns further on
    label: str = ""
    lane: float = 0.0
    tracks: dict[int, float] = field(default_factory=dict)  # gap -> height above its bottom


class _Panel:
    """The inside of a group; its lower left corner is the origin."""

    def __init__(self, boxes: Sequence[Box], links: Sequence[Link], titled: bool):
        self.boxes = {b.key: b for b in boxes}
        self.size = dict[str, tuple[float, float]]()
        for b in boxes:
            w, h = self.size.get(b.cell, (0.0, 0.0))
            self.size[b.cell] = max(w, b.width), max(h, b.height)
        inner = [k for k in links if k.source in self.boxes and k.target in self.boxes]
        near = [k for k in inner if self._columns(k) == 0]
        ranked = ((self._cell(k.source), self._cell(k.target)) for k in near if not k.delayed)
        self.rank = ranks(list(self.size), ranked)
        count = 1 + max(self.rank.values())
        lines = [
            (
                self._cell(k.source),
                self.rank[self._cell(k.source)] if k.source in self.boxes else -1,
                self._cell(k.target),
                self.rank[self._cell(k.target)] if k.target in self.boxes else count,
            )
            for k in links
            if not (k.source in self.boxes and k.target in self.boxes) or self.rises(k)
        ]
        self.rows = _rows(self.rank, self.size, lines)
        self.titled = titled
        self._measure([k for k in inner if not self.rises(k)])

    def _cell(self, key: str) -> str:
        return self.boxes[key].cell if key in self.boxes else key

    def _columns(self, link: Link) -> int:
        return self.boxes[link.target].column - self.boxes[link.source].column

    def rises(self, link: Link) -> bool:
        """Whether an inner link simply goes upwards."""
        low, high = self.rank[self._cell(link.source)], self.rank[self._cell(link.target)]
        return self._columns(link) == 0 and low < high

    def _outermost(self, cell: str, side: int) -> bool:
        row = self.rows.rows[self.rank[cell]]
        return row[-1 if side > 0 else 0] == cell

    def by_side(self, trunk: _Trunk, cell: str, columns: int) -> bool:
        """Whether a trunk can go into a box from the side."""
        return abs(columns) < 2 and self._outermost(cell, -trunk.side if columns else trunk.side)

    def _measure(self, back: Sequence[Link]) -> None:
        """Fix lanes, gaps, the width of a column and of the whole."""
        rows, edges = self.rows, list[float]()
        for row in rows.rows:
            for p in row:
                w = self.size[p][0] if isinstance(p, str) else THIN
                edges += [rows.x[p] - w / 2, rows.x[p] + w / 2]
        self.left, self.right = min(edges), max(edges)
        self.trunks: dict[tuple[str, int], _Trunk] = {}
        single = len({b.column for b in self.boxes.values()}) == 1
        for link in back:
            cell, columns = self._cell(link.source), self._columns(link)
            side = 1 if columns > 0 else -1 if columns < 0 else self._side(cell)
            trunk = self.trunks.setdefault((cell, side), _Trunk(cell, side, []))
            trunk.label = trunk.label or link.label
            if (self._cell(link.target), columns) not in trunk.targets:
                trunk.targets.append((self._cell(link.target), columns))
        self.lanes = {1: 0.0, -1: 0.0}
        tracks = [0] * (len(rows.rows) + 1)
        for trunk in sorted(self.trunks.values(), key=self._reach):
            step = LANE if trunk.label else STEP
            before = self.lanes[trunk.side]
            edge = self.right if trunk.side > 0 else -self.left
            trunk.lane = trunk.side * (edge + before + max(step / 2, 14.0))
            self.lanes[trunk.side] = before + step
            used = {self.rank[c] for c, n in trunk.targets if not self.by_side(trunk, c, n)}
            if not self._outermost(trunk.source, trunk.side):
                used.add(self.rank[trunk.source] + 1)
            for gap in sorted(used):
                tracks[gap] += 1
                trunk.tracks[gap] = tracks[gap] * STEP
        rows.gaps = [GAP + STEP * n for n in tracks]
        rows.gaps[0] = PADDING + STEP * tracks[0]
        self.margin = PADDING if single else PADDING + 4
        last = len(rows.rows) - 1
        head = STEP * tracks[-1] + PADDING + (TITLE if self.titled else 0.0)
        self.height = rows.top(last) + head
        self.origin = self.margin + self.lanes[-1] - self.left
        columns = 1 + max(b.column for b in self.boxes.values())
        self.pitch = self.right - self.left + self.lanes[1] + self.lanes[-1] + GAP
        self.width = self.pitch * (columns - 1) + 2 * self.margin + self.lanes[1] + self.lanes[-1]
        self.width += self.right - self.left

    def _side(self, cell: str) -> int:
        row = self.rows.rows[self.rank[cell]]
        middle = (self.left + self.right) / 2
        return -1 if row[0] == cell != row[-1] and self.rows.x[cell] < middle else 1

    def _reach(self, trunk: _Trunk) -> tuple[int, str]:
        here = self.rank[trunk.source]
        return max(abs(here - self.rank[c]) for c, _ in trunk.targets), trunk.source

    def column_x(self, column: int) -> float:
        return self.origin + column * self.pitch

    def rect(self, key: str) -> tuple[float, float, float, float]:
        """Middle, bottom, width and height of a box."""
        box = self.boxes[key]
        row = self.rank[box.cell]
        low = self.rows.bottom(row) + (self.rows.heights[row] - box.height) / 2
        return self.column_x(box.column) + self.rows.x[box.cell], low, box.width, box.height
