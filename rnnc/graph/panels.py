"""The inside of a group of a drawing: rows, and lanes and gaps for what does not go upwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rnnc.graph.rows import THIN, make_rows, ranks

GAP, STEP = 46.0, 12.0  # between rows; between parallel lines in a gap
PADDING, TITLE = 16.0, 24.0  # around the boxes of a panel; above them
LANE = 40.0  # between lanes that have labels


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


@dataclass
class Trunk:
    """The way of a source's delayed reads: out of it, along a lane, to its readers."""

    source: str
    side: int  # 1 is right, -1 left
    targets: list[tuple[str, int]]  # cell, columns further on
    label: str = ""
    lane: float = 0.0
    tracks: dict[int, float] = field(default_factory=dict)  # gap -> height above its bottom


class Panel:
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
                self._cell(k.source),
                self.rank[self._cell(k.source)] if k.source in self.boxes else -1,
                self._cell(k.target),
                self.rank[self._cell(k.target)] if k.target in self.boxes else count,
            )
            for k in links
            if not (k.source in self.boxes and k.target in self.boxes) or self.rises(k)
        ]
        looped = {self._cell(k.source) for k in near if self.turns(k)}
        roomy = {c: (w + 2 * LANE * (c in looped), h) for c, (w, h) in self.size.items()}
        self.rows = make_rows(self.rank, roomy, lines)
        self.titled = titled
        self._measure(roomy, [k for k in inner if not self.rises(k) and not self.turns(k)])

    def _cell(self, key: str) -> str:
        return self.boxes[key].cell if key in self.boxes else key

    def _columns(self, link: Link) -> int:
        return self.boxes[link.target].column - self.boxes[link.source].column

    def rises(self, link: Link) -> bool:
        """Whether an inner link simply goes upwards."""
        low, high = self.rank[self._cell(link.source)], self.rank[self._cell(link.target)]
        return self._columns(link) == 0 and low < high

    def turns(self, link: Link) -> bool:
        """Whether a link goes from a box to itself."""
        return link.source == link.target

    def outermost(self, cell: str, side: int) -> bool:
        """Whether nothing stands between a box and that side of its column."""
        row = self.rows.rows[self.rank[cell]]
        return row[-1 if side > 0 else 0] == cell

    def by_side(self, trunk: Trunk, cell: str, columns: int) -> bool:
        """Whether a trunk can go into a box from the side."""
        return abs(columns) < 2 and self.outermost(cell, -trunk.side if columns else trunk.side)

    def _measure(self, roomy: Mapping[str, tuple[float, float]], back: Sequence[Link]) -> None:
        """Fix lanes, gaps, the width of a column and of the whole."""
        rows, edges = self.rows, list[float]()
        for row in rows.rows:
            for p in row:
                w = roomy[p][0] if isinstance(p, str) else THIN
                edges += [rows.x[p] - w / 2, rows.x[p] + w / 2]
        self.left, self.right = min(edges), max(edges)
        self.trunks: dict[tuple[str, int], Trunk] = {}
        single = len({b.column for b in self.boxes.values()}) == 1
        for link in back:
            cell, columns = self._cell(link.source), self._columns(link)
            side = 1 if columns > 0 else -1 if columns < 0 else self._side(cell)
            trunk = self.trunks.setdefault((cell, side), Trunk(cell, side, []))
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
            if not self.outermost(trunk.source, trunk.side):
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
        return 1 if self.outermost(cell, 1) or not self.outermost(cell, -1) else -1

    def _reach(self, trunk: Trunk) -> tuple[int, str]:
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

    def lane_x(self, trunk: Trunk, column: int) -> float:
        return self.column_x(column) + trunk.lane

    def trunk(self, link: Link) -> Trunk:
        """The trunk that a link which does not rise belongs to."""
        cell, columns = self._cell(link.source), self._columns(link)
        side = 1 if columns > 0 else -1 if columns < 0 else self._side(cell)
        return self.trunks[cell, side]
