"""A System as a picture: SVG, an HTML page around it, Graphviz' dot or Mermaid."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from html import escape

from rnnc.graph.diagram import Diagram, Edge, Node, diagram
from rnnc.graph.layout import Layout, Rect, Wire, layout
from rnnc.graph.panels import Box, Link
from rnnc.graph.show import show_system
from rnnc.graph.system import System

FORMATS = ("svg", "html", "dot", "mmd")

WIDEST = 40  # characters of an equation on one line of a node
FONT = "'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace"
TEXT, SMALL = 12.0, 10.5  # font sizes
LINE, SMALL_LINE = 16.0, 14.0  # line heights
SIDE, MARGIN = 12.0, 20.0  # inside a node; around the picture

FILL = {
    "input": ("#e3f4e6", "#3c8d4d"),
    "state": ("#dfeafc", "#3566b8"),
    "value": ("#ffffff", "#7a8190"),
    "target": ("#fde6e4", "#c0453a"),
    "loss": ("#fde6e4", "#c0453a"),
    "metric": ("#f1f1f1", "#8c8c8c"),
}
LINES = {"read": "#555c68", "delayed": "#3566b8", "bound": "#9a6a1e"}
DASHES = {"read": "", "delayed": "6 4", "bound": "2 3"}
MEANING = {"delayed": "another step", "bound": "boundary"}


def draw(system: System, format: str) -> str:
    """The picture in one of :data:`FORMATS`; ValueError for another."""
    writers: dict[str, Callable[[System], str]] = {
        "svg": lambda s: svg(diagram(s)),
        "html": html,
        "dot": lambda s: dot(diagram(s)),
        "mmd": lambda s: mermaid(diagram(s)),
    }
    if format not in writers:
        raise ValueError(f"cannot draw {format!r}; there are {', '.join(FORMATS)}")
    return writers[format](system)


# ---------------------------------------------------------------- text and its size


def text_width(text: str, size: float = TEXT) -> float:
    """No font of the family makes the text wider than this."""
    return sum(map(_character_width, text)) * size


def _character_width(c: str) -> float:
    if unicodedata.combining(c):
        return 0.0
    return 0.62 if c.isascii() else 1.1 if unicodedata.east_asian_width(c) in "WF" else 0.8


def wrapped(text: str, width: int = WIDEST) -> list[str]:
    """The text on lines of at most ``width`` characters, broken before an operator or after a
    comma where that is possible."""
    first, *pieces = re.split(r"(?<=,) | (?=[-+*/%] |== |or |and |~ )", text)
    lines = [first]
    for piece in pieces:
        if len(lines[-1]) + 1 + len(piece) <= width:
            lines[-1] += f" {piece}"
        else:
            lines.append(f"  {piece}")
    return lines


class _Card:
    """The lines of a node, and how large it is."""

    def __init__(self, node: Node):
        self.node = node
        self.equation = [line for text in node.lines for line in wrapped(text)]
        self.shape = node.shape
        self.params = _packed(node.params)
        widths = [text_width(x) for x in self.equation]
        widths += [text_width(x, SMALL) for x in (self.shape, *self.params)]
        self.width = max(70.0, max(widths) + 2 * SIDE)
        self.upper = 8 + LINE * len(self.equation) + (SMALL_LINE if self.shape else 0) + 4
        self.height = self.upper + (SMALL_LINE * len(self.params) + 6 if self.params else 0)

    def box(self) -> Box:
        n = self.node
        return Box(n.key, self.width, self.height, n.group, n.column, n.base)


def _packed(items: Sequence[str], width: int = 44) -> list[str]:
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + 3 + len(item) <= width:
            lines[-1] += f"   {item}"
        else:
            lines.append(item)
    return lines


def arranged(picture: Diagram) -> Layout:
    """Where everything in a picture stands."""
    links = [Link(e.source, e.target, e.style, e.label, e.style != "read") for e in picture.edges]
    return layout([_Card(n).box() for n in picture.nodes], links, titled=not picture.unrolled)


# ---------------------------------------------------------------- SVG


def svg(picture: Diagram) -> str:
    """The picture as an SVG document."""
    placed = arranged(picture)
    head, top = _head(picture, max(placed.width, 460.0))
    width, height = max(placed.width, 460.0) + 2 * MARGIN, placed.height + top + 2 * MARGIN
    shift = MARGIN + max(0.0, (width - 2 * MARGIN - placed.width) / 2)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_n(width)}" height="{_n(height)}" '
        f'viewBox="0 0 {_n(width)} {_n(height)}" font-family="{FONT}" font-size="{_n(TEXT)}">',
        f"<title>{escape(picture.name)}</title>",
        "<defs>",
        *(
            f'<marker id="{style}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            f'markerHeight="7" orient="auto"><path d="M0 0.5 L8 4 L0 7.5 z" fill="{color}"/>'
            "</marker>"
            for style, color in LINES.items()
        ),
        "</defs>",
        f'<rect width="{_n(width)}" height="{_n(height)}" fill="#ffffff"/>',
        *head,
        f'<g transform="translate({_n(shift)} {_n(top + MARGIN)})">',
    ]
    for group, r in placed.groups.items():
        if picture.groups[group]:
            out.append(_rect(r, "#f4f7fc", "#b9c8e2", 12, ' stroke-dasharray="4 3"'))
    out += [_wire(w) for w in placed.wires]
    for group, r in placed.groups.items():
        if title := picture.groups[group]:  # above the lines, which may pass there
            plate = Rect(r.x + 10, r.y + 6, text_width(title, SMALL) + 8, 17)
            out.append(_rect(plate, "#f4f7fc", "none", 3))
            out.append(_text(r.x + 14, r.y + 18, title, SMALL, "#3566b8"))
    cards = {n.key: _Card(n) for n in picture.nodes}
    out += [line for k, r in placed.boxes.items() for line in _card(cards[k], r)]
    out += _labels(placed)
    return "\n".join([*out, "</g>", "</svg>", ""])


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def _rect(r: Rect, fill: str, stroke: str, radius: float, more: str = "") -> str:
    return (
        f'<rect x="{_n(r.x)}" y="{_n(r.y)}" width="{_n(r.width)}" height="{_n(r.height)}" '
        f'rx="{_n(radius)}" fill="{fill}" stroke="{stroke}"{more}/>'
    )


def _text(x: float, y: float, text: str, size: float, color: str, more: str = "") -> str:
    return (
        f'<text x="{_n(x)}" y="{_n(y)}" font-size="{_n(size)}" fill="{color}"{more}>'
        f"{escape(text)}</text>"
    )


def _card(card: _Card, r: Rect) -> list[str]:
    fill, stroke = FILL[card.node.role]
    thick = ' stroke-width="2.6"' if card.node.output else ' stroke-width="1.2"'
    out = [f'<g class="node" data-name="{escape(card.node.key)}">']
    out.append(_rect(r, fill, stroke, 7, thick))
    middle, y = r.x + r.width / 2, r.y + 8 - 4
    for line in card.equation:
        y += LINE
        indent = (len(line) - len(line.lstrip())) * 0.6 * TEXT
        if len(card.equation) == 1:
            out.append(_text(middle, y, line, TEXT, "#14181f", ' text-anchor="middle"'))
        else:
            out.append(_text(r.x + SIDE + indent, y, line.lstrip(), TEXT, "#14181f"))
    if card.shape:
        y += SMALL_LINE
        out.append(_text(middle, y, card.shape, SMALL, "#6b7280", ' text-anchor="middle"'))
    if card.params:
        line_y = r.y + card.upper
        out.append(
            f'<path d="M{_n(r.x + 6)} {_n(line_y)} H{_n(r.x + r.width - 6)}" '
            f'stroke="{stroke}" stroke-opacity="0.35"/>'
        )
        y = line_y
        for line in card.params:
            y += SMALL_LINE
            out.append(_text(middle, y, line, SMALL, "#7b3fa0", _CENTRED))
    return [*out, "</g>"]


_CENTRED = ' text-anchor="middle" xml:space="preserve"'


def _wire(wire: Wire) -> str:
    style = wire.link.style
    path = " ".join(
        command + " ".join(f"{_n(x)} {_n(y)}" for x, y in points) for command, points in wire.path
    )
    dash = f' stroke-dasharray="{DASHES[style]}"' if DASHES[style] else ""
    return (
        f'<path d="{path}" fill="none" stroke="{LINES[style]}" stroke-width="1.3"{dash} '
        f'marker-end="url(#{style})"/>'
    )


def _labels(placed: Layout) -> list[str]:
    """Labels where they hide no box and no other label; one for all links of a trunk."""
    taken, out = list(placed.boxes.values()), list[str]()
    said = set[tuple[str, str, float]]()
    for wire in placed.wires:
        link = wire.link
        if not link.label or (link.source, link.label, wire.spots[0][0]) in said:
            continue
        said.add((link.source, link.label, wire.spots[0][0]))
        width = text_width(link.label, SMALL) + 4
        places = [Rect(x - width / 2, y - 7, width, 14) for x, y in wire.spots]
        place = next((p for p in places if not any(p.overlaps(t) for t in taken)), places[0])
        taken.append(place)
        out.append(_rect(place, "#ffffff", "none", 3, ' fill-opacity="0.9"'))
        more = ' text-anchor="middle"'
        x = place.x + width / 2
        out.append(_text(x, place.y + 11, link.label, SMALL, LINES[link.style], more))
    return out


def _head(picture: Diagram, width: float) -> tuple[list[str], float]:
    """Title and legend, and how much room they take."""
    out = [_text(MARGIN, MARGIN + 12, picture.name, 16, "#14181f", ' font-weight="bold"')]
    x, y = MARGIN, MARGIN + 34
    entries: list[tuple[str, str]] = []
    found = dict.fromkeys("loss" if n.role == "target" else n.role for n in picture.nodes)
    names = {"loss": "target, loss", "value": "equation"}
    entries += [(r, names.get(r, r)) for r in FILL if r in found]
    if any(n.output for n in picture.nodes):
        entries.append(("output", "output"))
    if any(n.params for n in picture.nodes):
        entries.append(("param", "parameters"))
    styles = {e.style for e in picture.edges}
    entries += [(s, text) for s, text in MEANING.items() if s in styles]
    for kind, name in entries:
        need = 32 + text_width(name, SMALL)
        if x + need > MARGIN + width:
            x, y = MARGIN, y + 18
        out += _swatch(kind, x, y)
        out.append(_text(x + 28, y, name, SMALL, "#4b5260"))
        x += need + 12
    shared = [f"in all steps: {picture.shared[0]}", *picture.shared[1:]] if picture.shared else []
    for line in _packed(shared, int(width / (0.62 * SMALL))):
        y += 18
        out.append(_text(MARGIN, y, line, SMALL, "#7b3fa0", ' xml:space="preserve"'))
    return out, y


def _swatch(kind: str, x: float, y: float) -> list[str]:
    if kind in MEANING:
        return [
            f'<path d="M{_n(x)} {_n(y - 4)} h22" fill="none" stroke="{LINES[kind]}" '
            f'stroke-width="1.3" stroke-dasharray="{DASHES[kind]}"/>'
        ]
    if kind == "param":
        return [_text(x, y, "W U", SMALL, "#7b3fa0")]
    fill, stroke = ("#ffffff", "#14181f") if kind == "output" else FILL[kind]
    thick = ' stroke-width="2.6"' if kind == "output" else ""
    return [_rect(Rect(x, y - 10, 22, 12), fill, stroke, 3, thick)]


# ---------------------------------------------------------------- HTML

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ margin: 0; display: flex; height: 100vh; font-family: sans-serif; color: #14181f; }}
#picture {{ flex: 1; overflow: hidden; cursor: grab; }}
#picture svg {{ width: 100%; height: 100%; }}
aside {{ width: 34%; overflow: auto; border-left: 1px solid #d5dae3; padding: 0 1.2em; }}
pre {{ font: 13px/1.5 {font}; }}
@media (max-width: 900px) {{ body {{ flex-direction: column; }} aside {{ width: auto; }} }}
</style>
</head>
<body>
<div id="picture" title="drag to move, wheel to zoom, double click to see all">
{svg}</div>
<aside><pre>{equations}</pre></aside>
<script>
const svg = document.querySelector("#picture svg"), all = svg.getAttribute("viewBox");
let view = all.split(" ").map(Number), last = null;
const show = () => svg.setAttribute("viewBox", view.join(" "));
const scale = () => 1 / svg.getScreenCTM().a;
svg.addEventListener("wheel", e => {{
  e.preventDefault();
  const k = Math.exp(e.deltaY * 0.001);
  const p = new DOMPoint(e.clientX, e.clientY).matrixTransform(svg.getScreenCTM().inverse());
  view = [p.x - (p.x - view[0]) * k, p.y - (p.y - view[1]) * k, view[2] * k, view[3] * k];
  show();
}}, {{ passive: false }});
svg.addEventListener("pointerdown", e => {{ last = e; svg.setPointerCapture(e.pointerId); }});
svg.addEventListener("pointermove", e => {{
  if (!last) return;
  view[0] -= (e.clientX - last.clientX) * scale();
  view[1] -= (e.clientY - last.clientY) * scale();
  last = e;
  show();
}});
svg.addEventListener("pointerup", () => {{ last = null; }});
svg.addEventListener("dblclick", () => {{ view = all.split(" ").map(Number); show(); }});
</script>
</body>
</html>
"""


def html(system: System) -> str:
    """A page with the picture, to be moved and zoomed, and the equations beside it."""
    return _PAGE.format(
        title=escape(system.name),
        font=FONT,
        svg=svg(diagram(system)),
        equations=escape(show_system(system)),
    )


# ---------------------------------------------------------------- dot and Mermaid


def dot(picture: Diagram) -> str:
    """The picture for Graphviz."""

    def quoted(lines: Sequence[str]) -> str:
        text = "\n".join(lines).replace("\\", "\\\\").replace('"', '\\"')
        return '"' + text.replace("\n", "\\n") + '"'

    ids = {n.key: f"n{i}" for i, n in enumerate(picture.nodes)}

    def node(n: Node) -> str:
        fill, stroke = FILL[n.role]
        width = ", penwidth=2.5" if n.output else ""
        return (
            f"{ids[n.key]} [label={quoted(_label(n))}, fillcolor={quoted([fill])}, "
            f"color={quoted([stroke])}{width}];"
        )

    def edge(e: Edge) -> str:
        style = {"read": "solid", "delayed": "dashed", "bound": "dotted"}[e.style]
        more = "" if e.style == "read" else ", constraint=false"
        label = f", label={quoted([e.label])}" if e.label else ""
        color = quoted([LINES[e.style]])
        return f"{ids[e.source]} -> {ids[e.target]} [style={style}, color={color}{label}{more}];"

    out = [f"digraph {quoted([picture.name])} {{", "  rankdir=BT;"]
    out.append('  node [shape=box, style="rounded,filled", fontname="monospace", fontsize=11];')
    out.append('  edge [fontname="monospace", fontsize=10];')
    for i, (title, nodes) in enumerate(_sections(picture)):
        if title is None:
            out += [f"  {node(n)}" for n in nodes]
        else:
            out.append(f"  subgraph cluster_{i} {{")
            out.append(f'    label={quoted([title])}; style="rounded,dashed"; color="#b9c8e2";')
            out += [f"    {node(n)}" for n in nodes]
            out.append("  }")
    out += [f"  {edge(e)}" for e in picture.edges]
    return "\n".join([*out, "}", ""])


def mermaid(picture: Diagram) -> str:
    """The picture for Mermaid, which many sites draw by themselves."""

    def quoted(lines: Sequence[str]) -> str:
        table = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "`": "#96;"}
        return '"' + "<br/>".join("".join(table.get(c, c) for c in x) for x in lines) + '"'

    ids = {n.key: f"n{i}" for i, n in enumerate(picture.nodes)}
    arrows = {"read": "-->", "delayed": "-.->", "bound": "-.->"}
    out = ["flowchart BT"]
    for i, (title, nodes) in enumerate(_sections(picture)):
        lines = [f"{ids[n.key]}[{quoted(_label(n))}]:::{n.role}" for n in nodes]
        if title is None:
            out += [f"  {line}" for line in lines]
        else:
            out += [f"  subgraph g{i}[{quoted([title])}]", *(f"    {x}" for x in lines), "  end"]
    for e in picture.edges:
        label = f"|{quoted([e.label])}|" if e.label else ""
        out.append(f"  {ids[e.source]} {arrows[e.style]}{label} {ids[e.target]}")
    roles = dict.fromkeys(n.role for n in picture.nodes)
    out += [f"  classDef {r} fill:{FILL[r][0]},stroke:{FILL[r][1]},color:#14181f" for r in roles]
    return "\n".join([*out, ""])


def _label(node: Node) -> list[str]:
    lines = [line.strip() for text in node.lines for line in wrapped(text)]
    return [*lines, *([node.shape] if node.shape else [])]


def _sections(picture: Diagram) -> list[tuple[str | None, list[Node]]]:
    """Nodes outside all groups, then each group (or each step) with its title."""
    out: list[tuple[str | None, list[Node]]] = [(None, [n for n in picture.nodes if not n.group])]
    for group, title in picture.groups.items():
        inside = [n for n in picture.nodes if n.group == group]
        if title:
            out.append((title, inside))
            continue
        for column in sorted({n.column for n in inside}):
            step = [n for n in inside if n.column == column]
            out.append((f"step {step[0].key.rpartition('@')[2]}", step))
    return out
