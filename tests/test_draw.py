"""Drawings: nothing overlaps, everything is there, and every format is well-formed."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnc
from rnnc.graph.diagram import STEPS, diagram
from rnnc.graph.draw import FORMATS, arranged, draw, text_width, wrapped
from rnnc.graph.layout import layout
from rnnc.graph.panels import Box, Link
from rnnc.graph.rows import ranks
from rnnc.graph.show import show_system
from rnnc.graph.system import Distribution
from rnnc.graph.types import Type, read
from tests.by_hand import BEFORE, Hand, N, both_ways, elman, lstm, unrolled

SPECS = sorted(Path(__file__).parent.parent.glob("specs/*/*.rnn"))
SYSTEMS = [elman, lstm, unrolled, both_ways]
SVG = "{http://www.w3.org/2000/svg}"


def assert_apart(placed):
    for (a, r), (b, s) in itertools.combinations(placed.boxes.items(), 2):
        assert not r.overlaps(s), f"{a} and {b} overlap"
    for (a, r), (b, s) in itertools.combinations(placed.groups.items(), 2):
        assert not r.overlaps(s), f"groups {a} and {b} overlap"
    for r in (*placed.boxes.values(), *placed.groups.values()):
        assert r.x >= 0
        assert r.y >= 0
        assert r.x + r.width <= placed.width + 0.3  # rounding
        assert r.y + r.height <= placed.height + 0.3


@pytest.mark.parametrize("make", SYSTEMS)
def test_nothing_overlaps(make):
    picture = diagram(make())
    placed = arranged(picture)
    assert_apart(placed)
    assert_free(placed)
    assert len(placed.wires) == len(picture.edges)
    for node in picture.nodes:  # members inside their group, others outside
        for group, frame in placed.groups.items():
            assert placed.boxes[node.key].overlaps(frame) == (node.group == group)


def points(wire):
    """Points along a path: ends and quarters of each piece."""
    at = wire.path[0][1][0]
    for _, ends in wire.path[1:]:
        corners = (at, *ends)
        for i in range(9):
            row = corners
            while len(row) > 1:  # de Casteljau
                row = [
                    tuple(a + (b - a) * i / 8 for a, b in zip(p, q, strict=True))
                    for p, q in itertools.pairwise(row)
                ]
            yield row[0]
        at = ends[-1]


def assert_free(placed):
    """No line crosses a box that it does not belong to."""
    for wire in placed.wires:
        for key, r in placed.boxes.items():
            if key not in (wire.link.source, wire.link.target):
                for x, y in points(wire):
                    inside = r.x < x < r.x + r.width and r.y < y < r.y + r.height
                    assert not inside, f"{wire.link} crosses {key}"


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_the_library_is_drawn_clearly(path):
    placed = arranged(diagram(rnnc.load(path).system))
    assert_apart(placed)
    assert_free(placed)


@pytest.mark.parametrize("make", SYSTEMS)
def test_text_fits_its_box(make):
    root = ElementTree.fromstring(draw(make(), "svg"))
    cards = [g for g in root.iter(f"{SVG}g") if g.get("class") == "node"]
    assert cards
    for card in cards:
        box = card.find(f"{SVG}rect")
        left, top = float(box.get("x")), float(box.get("y"))
        right, bottom = left + float(box.get("width")), top + float(box.get("height"))
        for text in card.iter(f"{SVG}text"):
            size, x = float(text.get("font-size")), float(text.get("x"))
            width = text_width(text.text, size)
            start = x - width / 2 if text.get("text-anchor") == "middle" else x
            assert left <= start
            assert start + width <= right
            assert top + size * 0.8 <= float(text.get("y")) <= bottom - 2


@pytest.mark.parametrize("make", SYSTEMS)
@pytest.mark.parametrize("format", FORMATS)
def test_drawings_are_deterministic(make, format):
    assert draw(make(), format) == draw(make(), format)


def test_unknown_format():
    with pytest.raises(ValueError, match="svg, html, dot, mmd"):
        draw(elman(), "png")


@pytest.mark.parametrize("make", [elman, lstm, both_ways])
def test_every_equation_appears(make):
    system = make()
    equations = re.findall(r"^\S+ = .*$", show_system(system), re.M)
    assert equations
    nodes = {line for n in diagram(system).nodes for line in n.lines}
    for equation in equations:
        assert equation.replace("sigmoid", "σ") in nodes
    root = ElementTree.fromstring(draw(system, "svg"))
    shown = " ".join("".join(t.itertext()).strip() for t in root.iter(f"{SVG}text"))
    for line in nodes:
        assert line in shown


def edges(system):
    return {(e.source, e.target, e.style, e.label) for e in diagram(system).edges}


def test_edges():
    assert edges(elman()) == {
        ("x", "a", "read", ""),
        ("h", "a", "delayed", "t-1"),
        ("a", "h", "read", ""),
        ("h", "o", "read", ""),
        ("o", "p", "read", ""),
        ("p", "y", "read", ""),
    }
    assert edges(both_ways()) == {
        ("x", "A", "read", ""),
        ("x", "A'", "read", ""),
        ("z", "A", "bound", "0"),
        ("A", "A", "delayed", "t-1"),
        ("A'", "A'", "delayed", "t+1"),
        ("A", "o", "read", "T"),
        ("A'", "o", "read", "1"),
    }


def test_loops_are_groups_with_their_direction():
    assert list(diagram(elman()).groups.values()) == ["loop over t, forward"]
    picture = diagram(both_ways())
    titles = {n.key: picture.groups[n.group] for n in picture.nodes if n.group}
    assert titles == {"A": "loop over t, forward", "A'": "loop over t, backward"}


def test_parameters_are_named_where_they_are_read():
    found = {n.key: n.params for n in diagram(both_ways()).nodes if n.params}
    assert found["A"] == ("W [m, m]", "U [m, n]", "Q [m, n]")


def test_reads_point_upwards():
    placed = arranged(diagram(lstm()))
    for wire in placed.wires:
        if wire.link.style == "read":
            assert placed.boxes[wire.link.source].y > placed.boxes[wire.link.target].y


def test_steps_stand_side_by_side():
    picture = diagram(unrolled(3))
    placed = arranged(picture)
    assert list(picture.groups) == [STEPS]
    for value in "xahop":
        a, b, c = (placed.boxes[f"{value}@{i}"] for i in (1, 2, 3))
        assert a.y == b.y == c.y
        assert a.x < b.x < c.x
    for i in (1, 2, 3):
        column = [placed.boxes[f"{v}@{i}"] for v in "xahop"]
        assert [r.y for r in column] == sorted((r.y for r in column), reverse=True)
        middles = {round(r.x + r.width / 2) for r in column}
        assert max(middles) - min(middles) <= 1
    lines = {n.key: n.lines for n in picture.nodes}
    assert lines["a@2"] == ("a[2] = b + W h[1] + U x[2]",)
    assert lines["x@2"] == ("x[2]",)
    assert {n.key for n in picture.nodes if n.output} == {"p@1", "p@2", "p@3"}
    assert "W [m, m]" in picture.shared


def test_a_target_that_is_fed_back_stands_below_and_above():
    s = Hand()
    y = s.leaf("y", "target", Type("real", (N,)), ("t", "batch"))
    o = s.add("o", "tanh", read("y", {"t": BEFORE}))
    system = s.system("S", ["o"], targets={"y": Distribution("bernoulli", (o,))})
    assert edges(system) == {
        ("y", "o", "delayed", "t-1"),
        ("o", "~y", "read", ""),
        ("y", "~y", "read", ""),
    }
    assert y.source in {n.key for n in diagram(system).nodes}


def test_html_is_self_contained():
    page = draw(elman(), "html")
    assert "h[t] = tanh(a[t])" in page
    assert not re.findall(r'(?:src|href)="', page)
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def hostile():
    s = Hand()
    x = s.input("x", N)
    s.add("y", "where", s.add("y.", "lt", x, read("x", {"t": BEFORE})), x, x)
    return s.system('Less & "more" <\\>', ["y"])


def test_escapes():
    text = draw(hostile(), "svg")
    ElementTree.fromstring(text)
    assert "x[t] &lt; x[t-1]" in text
    assert '\\"more\\" <\\\\>' in draw(hostile(), "dot").split("\n")[0]
    assert "x[t] #lt; x[t-1]" in draw(hostile(), "mmd")


@pytest.mark.parametrize("make", [*SYSTEMS, hostile])
def test_dot_and_mermaid_are_well_formed(make):
    text = draw(make(), "dot")
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "S", text)
    assert '"' not in bare
    assert bare.count("{") == bare.count("}")
    node = r"\s*n\d+ \[label=S, fillcolor=S, color=S(, penwidth=2\.5)?\];"
    edge = r"\s*n\d+ -> n\d+ \[style=\w+, color=S(, label=S)?(, constraint=false)?\];"
    rest = r"digraph S \{|  rankdir=BT;|  (node|edge) \[.*\];|\s*subgraph cluster_\d+ \{"
    rest += r"|\s*label=S.*|\s*\}|"
    for line in bare.split("\n"):
        assert re.fullmatch(f"{node}|{edge}|{rest}", line), line
    for line in re.sub(r'"[^"]*"', "S", draw(make(), "mmd")).split("\n"):
        assert re.fullmatch(
            r"flowchart BT|\s*n\d+\[S\]:::\w+|  subgraph g\d+\[S\]|  end|  classDef .*|"
            r"  n\d+ (-->|-\.->)(\|S\|)? n\d+|",
            line,
        ), line


def test_wrapping():
    assert wrapped("a = b", 10) == ["a = b"]
    assert wrapped("abc = def + ghi - jkl", 12) == ["abc = def", "  + ghi", "  - jkl"]
    assert wrapped("y = [aaaa, bbbb]", 12) == ["y = [aaaa,", "  bbbb]"]
    joined = " ".join(line.strip() for line in wrapped("f[t] = σ(W x[t] + U h[t-1] + b)", 14))
    assert joined == "f[t] = σ(W x[t] + U h[t-1] + b)"


def test_ranks_survive_cycles():
    assert ranks(["a", "b", "c"], [("a", "b"), ("b", "c"), ("c", "a")]) == {"a": 0, "b": 1, "c": 2}


@st.composite
def graphs(draw_from):
    count = draw_from(st.integers(1, 9))
    group = [draw_from(st.sampled_from([None, None, "g"])) for _ in range(count)]
    sizes = st.floats(20, 300)
    boxes = [Box(f"b{i}", draw_from(sizes), draw_from(sizes), group[i]) for i in range(count)]
    pairs = draw_from(st.sets(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))))
    links = []
    for a, b in sorted(pairs):
        if a < b and group[a] == group[b]:
            links.append(Link(f"b{a}", f"b{b}"))
        elif group[a] and group[b]:
            links.append(Link(f"b{a}", f"b{b}", "delayed", "t-1", True))
        elif a < b and group[b]:  # into the group, never out of it: no cycle between groups
            links.append(Link(f"b{a}", f"b{b}"))
    return boxes, links


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_no_graph_makes_boxes_overlap(graph):
    boxes, links = graph
    placed = layout(boxes, links)
    assert_apart(placed)
    assert_free(placed)
    assert len(placed.wires) == len(links)
