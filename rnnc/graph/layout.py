"""Where boxes and arrows of a drawing go: layers from the bottom to the top, no box on another.

Boxes of one group (a loop, or the steps of an unrolled one) stand in a panel of their own, which
is laid out first and then treated as one large box. Inside and outside the same three rules hold:

- a box stands one row above the highest of what it reads, delayed reads left aside;
- lines upwards pass a row through a place of their own, one for all lines of one source;
- what goes back, or on to another column, takes lanes beside the boxes and the gaps between rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rnnc.graph.panels import GAP, LANE, Box, Link, Panel
from rnnc.graph.rows import make_rows, ranks

Point = tuple[float, float]


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


# ---------------------------------------------------------------- the whole


def layout(boxes: Sequence[Box], links: Sequence[Link], titled: bool = True) -> Layout:
    """Places for boxes and links; the links between groups must not form a cycle."""
    return _Drawing(boxes, links, titled).result()


class _Drawing:
    """The outer rows; ``y`` grows upwards until :meth:`result` turns it over."""

    def __init__(self, boxes: Sequence[Box], links: Sequence[Link], titled: bool):
        self.links = links
        self.item = {b.key: f"\0{b.group}" if b.group else b.key for b in boxes}
        self.panels = dict[str, Panel]()
        for group in dict.fromkeys(b.group for b in boxes if b.group):
            inside = [b for b in boxes if b.group == group]
            keys = {b.key for b in inside}
            touching = [k for k in links if k.source in keys or k.target in keys]
            self.panels[f"\0{group}"] = Panel(inside, touching, titled)
        size = {b.key: (b.width, b.height) for b in boxes if not b.group}
        size |= {item: (p.width, p.height) for item, p in self.panels.items()}
        items = list(dict.fromkeys(self.item.values()))
        outer = [k for k in links if self.item[k.source] != self.item[k.target]]
        self.rank = ranks(items, ((self.item[k.source], self.item[k.target]) for k in outer), True)
        lines = [
            (k.source, a, self.rank[a], b, self.rank[b])
            for k in outer
            for a, b in [(self.item[k.source], self.item[k.target])]
        ]
        self.rows = make_rows(self.rank, size, lines)
        self.rows.gaps = [0.0, *(self._gap(i) for i in range(1, len(self.rows.rows)))]
        self.places = {b.key: self._place(b) for b in boxes}
        self.ports = self._ports()

    def _gap(self, row: int) -> float:
        """More room where lines go far to the side."""
        x = self.rows.x
        low, high = ([x[p] for p in self.rows.rows[i]] for i in (row - 1, row))
        return GAP + min(40.0, (max(low + high) - min(low + high)) / 30)

    def _corner(self, item: str) -> tuple[float, float]:
        panel, row = self.panels[item], self.rank[item]
        low = self.rows.bottom(row) + (self.rows.heights[row] - panel.height) / 2
        return self.rows.x[item] - panel.width / 2, low

    def _place(self, box: Box) -> tuple[float, float, float, float]:
        """Middle, bottom, width, height."""
        item = self.item[box.key]
        if item in self.panels:
            (left, low), (x, y, w, h) = self._corner(item), self.panels[item].rect(box.key)
            return left + x, low + y, w, h
        row = self.rank[item]
        low = self.rows.bottom(row) + (self.rows.heights[row] - box.height) / 2
        return self.rows.x[item], low, box.width, box.height

    def _inside(self, link: Link) -> Panel | None:
        item = self.item[link.source]
        return self.panels.get(item) if item == self.item[link.target] else None

    # ---------------------------------------------------------------- lines upwards

    def _stations(self, link: Link) -> list[tuple[float, float, float]]:
        """Where a line upwards runs straight: x, from y, to y; its ends are at the two boxes."""
        source, target = self.item[link.source], self.item[link.target]
        x, low, _, h = self.places[link.source]
        out = [[x, low + h, low + h]]
        if source in self.panels:
            panel = self.panels[source]
            (left, base), box = self._corner(source), panel.boxes[link.source]
            first = panel.rank[box.cell]
            inside = source == target
            last = panel.rank[panel.boxes[link.target].cell] if inside else len(panel.rows.rows)
            out[-1][2] = base + panel.rows.top(first)
            out += self._passing(panel, left, base, box.column, box.cell, range(first + 1, last))
            if inside:
                x, low, _, _ = self.places[link.target]
                return [*map(_station, out), (x, base + panel.rows.bottom(last), low)]
        start, end = self.rank[source], self.rank[target]
        out[-1][2] = self.rows.top(start)
        for row in range(start + 1, end):
            out.append([self.rows.x[link.source, row], self.rows.bottom(row), self.rows.top(row)])
        x, low, _, _ = self.places[link.target]
        final = [x, self.rows.bottom(end), low]
        if target in self.panels:
            panel = self.panels[target]
            (left, base), box = self._corner(target), panel.boxes[link.target]
            rank = panel.rank[box.cell]
            way = self._passing(panel, left, base, box.column, link.source, range(rank))
            if way:
                way[0][1] = self.rows.bottom(end)
                final[1] = base + panel.rows.bottom(rank)
            out += way
        return [*map(_station, out), _station(final)]

    def _passing(
        self, panel: Panel, left: float, base: float, column: int, line: str, rows: Iterable[int]
    ) -> list[list[float]]:
        x = left + panel.column_x(column)
        return [
            [x + panel.rows.x[line, r], base + panel.rows.bottom(r), base + panel.rows.top(r)]
            for r in rows
        ]

    def _ports(self) -> dict[Link, float]:
        """How far from the middle of its target's bottom each link arrives, left to right."""
        arriving: dict[str, list[tuple[float, int, Link]]] = {}
        for i, link in enumerate(self.links):
            panel = self._inside(link)
            if link.source == link.target:
                continue
            if panel is None or panel.rises(link):
                arriving.setdefault(link.target, []).append((self._stations(link)[-2][0], i, link))
                continue
            trunk = panel.trunk(link)
            if not panel.by_side(trunk, *_target(panel, link)):
                far = trunk.side * 1e9
                arriving.setdefault(link.target, []).append((far, i, link))
        out = {}
        for target, found in arriving.items():
            step = min(16.0, 0.8 * self.places[target][2] / len(found))
            for i, (_, _, link) in enumerate(sorted(found, key=lambda f: f[:2])):
                out[link] = (i - (len(found) - 1) / 2) * step
        return out

    def _upward(self, link: Link) -> Wire:
        stations = self._stations(link)
        x, low, high = stations[-1]
        stations[-1] = (x + self.ports[link], low, high)
        path: list[tuple[str, tuple[Point, ...]]] = [("M", (stations[0][:2],))]
        spots: list[Point] = []
        for (x1, _, y1), (x2, y2, y3) in pairwise(stations):
            middle = (y1 + y2) / 2
            curve = ((x1, y1), (x1, middle), (x2, middle), (x2, y2))
            path += [("L", curve[:1]), ("C", curve[1:]), ("L", ((x2, y3),))]
            spots = [_on_curve(curve, t) for t in (0.6, 0.4, 0.75, 0.25, 0.9, 0.1)]
        return Wire(link, tuple(path), tuple(spots))

    # ---------------------------------------------------------------- lines back

    def _sideways(self, link: Link, panel: Panel) -> Wire:
        trunk = panel.trunk(link)
        left, base = self._corner(self.item[link.source])
        cell, columns = _target(panel, link)
        row, side, up = panel.rank[trunk.source], trunk.side, 0.0 if columns else 1 / 6
        x, low, w, h = self.places[link.source]
        lane = left + panel.lane_x(trunk, panel.boxes[link.source].column)
        if row + 1 in trunk.tracks and not panel.outermost(trunk.source, side):
            track = base + panel.rows.top(row) + trunk.tracks[row + 1]
            points = [(x + 8 * side, low + h), (x + 8 * side, track), (lane, track)]
        else:
            y = low + h * (0.5 + up)
            points = [(x + side * w / 2, y), (lane, y)]
        x, low, w, h = self.places[link.target]
        if panel.by_side(trunk, cell, columns):
            y = low + h * (0.5 - up)
            points += [(lane, y), (x + (-side if columns else side) * w / 2, y)]
        else:
            gap = panel.rank[cell]
            track = base + panel.rows.bottom(gap) - panel.rows.gaps[gap] + trunk.tracks[gap]
            port = x + self.ports[link]
            points += [(lane, track), (port, track), (port, low)]
        ends = sorted(y for x, y in points if x == lane)
        spots = [(lane, ends[0] + (ends[-1] - ends[0]) * t) for t in (0.5, 0.35, 0.65, 0.2, 0.8)]
        return Wire(link, tuple(_rounded(points)), tuple(spots))

    def _around(self, link: Link) -> Wire:
        """From the right side of a box back to it, in the room that its row keeps free."""
        x, low, w, h = self.places[link.source]
        right, lane = x + w / 2, x + w / 2 + LANE / 3
        points = [(right, low + h * 0.7), (lane, low + h * 0.7), (lane, low + h * 0.3)]
        path = _rounded([*points, (right, low + h * 0.3)])
        return Wire(link, tuple(path), ((lane + LANE / 3 + 2, low + h / 2),))

    def result(self) -> Layout:
        wires = []
        for link in self.links:
            panel = self._inside(link)
            back = panel is not None and not panel.rises(link)
            if link.source == link.target:
                wires.append(self._around(link))
            else:
                wires.append(self._sideways(link, panel) if panel and back else self._upward(link))
        half = dict.fromkeys(self.rows.x, 0.0)
        half |= {i: p.width / 2 for i, p in self.panels.items()}
        half |= {k: self.places[k][2] / 2 for k in self.rank if k in self.places}
        shift = max((half[p] - x for p, x in self.rows.x.items()), default=0.0)
        width = shift + max((x + half[p] for p, x in self.rows.x.items()), default=0.0)
        height = self.rows.top(len(self.rows.rows) - 1)

        def turn(point: Point) -> Point:
            return round(point[0] + shift, 1), round(height - point[1], 1)

        def rect(left: float, low: float, w: float, h: float) -> Rect:
            x, y = turn((left, low + h))
            return Rect(x, y, round(w, 1), round(h, 1))

        return Layout(
            round(width, 1),
            round(height, 1),
            {k: rect(x - w / 2, low, w, h) for k, (x, low, w, h) in self.places.items()},
            {i[1:]: rect(*self._corner(i), p.width, p.height) for i, p in self.panels.items()},
            tuple(
                Wire(
                    w.link,
                    tuple((c, tuple(map(turn, points))) for c, points in w.path),
                    tuple(map(turn, w.spots)),
                )
                for w in wires
            ),
        )


def _station(values: Sequence[float]) -> tuple[float, float, float]:
    x, low, high = values
    return x, low, high


def _target(panel: Panel, link: Link) -> tuple[str, int]:
    a, b = panel.boxes[link.source], panel.boxes[link.target]
    return b.cell, b.column - a.column


def _on_curve(curve: Sequence[Point], t: float) -> Point:
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
    x, y = (sum(w * p[i] for w, p in zip(weights, curve, strict=True)) for i in (0, 1))
    return x, y


def _rounded(points: Sequence[Point], radius: float = 9.0) -> list[tuple[str, tuple[Point, ...]]]:
    """A line of straight pieces with round corners."""
    points = [p for i, p in enumerate(points) if not i or p != points[i - 1]]
    path: list[tuple[str, tuple[Point, ...]]] = [("M", (points[0],))]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        path += [("L", (_towards(corner, before, radius),))]
        path += [("Q", (corner, _towards(corner, after, radius)))]
    return [*path, ("L", (points[-1],))]


def _towards(start: Point, end: Point, by: float) -> Point:
    (x1, y1), (x2, y2) = start, end
    length = abs(x2 - x1) + abs(y2 - y1)
    part = min(by, length / 2) / length if length else 0.0
    return x1 + (x2 - x1) * part, y1 + (y2 - y1) * part
