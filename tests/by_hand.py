"""Systems put together by hand, for tests of what reads one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from rnnc.graph.ops import OPS
from rnnc.graph.system import Axis, Distribution, System, Value, read_axes
from rnnc.graph.types import (
    BATCH,
    FIRST,
    REAL,
    Bound,
    Index,
    Read,
    Size,
    Type,
    dim,
    read,
)

N, M, K = dim("n"), dim("m"), dim("k")
BEFORE = Index("t", -1)


class Hand:
    """Adds values; types and axes of the results are worked out, temporaries get their names."""

    def __init__(self, *axes: str):
        self.axes = (*(axes or ("t",)), BATCH)
        self.values: dict[str, Value] = {}

    def leaf(self, name: str, op: str, type_: Type = REAL, axes: Iterable[str] = (), **attrs: Any):
        self.values[name] = Value(name, op, (), type_, tuple(axes), tuple(attrs.items()))
        return read(name)

    def input(self, name: str, *shape: Size, axes: Iterable[str] = ("t",)) -> Read:
        return self.leaf(name, "input", Type("real", shape), (*axes, BATCH))

    def param(self, name: str, *shape: Size, **attrs: Any) -> Read:
        return self.leaf(name, "param", Type("real", shape), **attrs)

    def add(self, name: str, op: str, *reads: Read, **attrs: Any) -> Read:
        """``name = op(reads)``; a name that ends in a dot gets the next free number."""
        if name.endswith("."):
            i = 1
            while f"{name}{i}" in self.values:
                i += 1
            name = f"{name}{i}"
        types = [self.values[r.source].type for r in reads]
        found = {a for r in reads for a in read_axes(self.values[r.source].axes, r)}
        if op not in ("softmax", "log_softmax"):
            found -= set(attrs.get("over") or ())
        axes = tuple(a for a in self.axes if a in found)
        type_ = OPS[op].rule(types, attrs)
        self.values[name] = Value(name, op, reads, type_, axes, tuple(attrs.items()))
        return read(name)

    def times(self, name: str, w: Read, x: Read, letters: str = "ij,j->i", over=()) -> Read:
        left, rest = letters.split(",")
        right, out = rest.split("->")
        return self.add(name, "contract", w, x, left=left, right=right, out=out, over=tuple(over))

    def number(self, base: str, value: Any) -> Read:
        return self.add(f"{base}.", "constant", value=value)

    def promise(self, name: str, type_: Type, axes: Iterable[str] = ("t",)) -> None:
        """Declares a value that is read before it is added."""
        self.values[name] = Value(name, "?", (), type_, (*axes, BATCH))

    def settle(self, name: str, op: str, *reads: Read, bounds: Iterable[Bound] = (), **attrs: Any):
        """Adds a promised value, in its place by the order of adding."""
        promised = self.values[name]
        out = self.add(name, op, *reads, **attrs)
        self.values[name] = self.values.pop(name)
        self.values[name] = replace(
            self.values[name], axes=promised.axes, bounds=tuple(bounds), type=promised.type
        )
        return out

    def system(self, name: str, outputs: Iterable[str], **more: Any) -> System:
        axes = {a: Axis(a, a.upper() if a != BATCH else "B") for a in self.axes}
        more.setdefault("dims", {"n": None, "m": 64, "k": None})
        return System(name, self.values, axes, tuple(outputs), **more)


def elman() -> System:
    """``a[t] = b + W h[t-1] + U x[t]``, with a categorical target and its loss."""
    s = Hand()
    x = s.input("x", N)
    u, w, v = s.param("U", M, N), s.param("W", M, M), s.param("V", K, M)
    b, c = s.param("b", M), s.param("c", K)
    s.promise("h", Type("real", (M,)))
    wh = s.times("a.", w, read("h", {"t": BEFORE}))
    sum_ = s.add("a.", "add", b, wh)
    a = s.add("a", "add", sum_, s.times("a.", u, x))
    h = s.settle("h", "tanh", a)
    o = s.add("o", "add", c, s.times("o.", v, h))
    p = s.add("p", "softmax", o, over=())
    y = s.leaf("y", "target", Type("index"), ("t", BATCH), range=K)
    row = s.add("y.", "gather", s.add("y.", "log", p), y)
    each = s.add("y.", "neg", row)
    total = s.add("y.", "sum", each, over=("t",))
    count = s.add("y.", "to_real", s.add("y.", "length", axis=BATCH))
    s.add("y.loss", "div", s.add("y.", "sum", total, over=(BATCH,)), count)
    return s.system(
        "Elman",
        ["p"],
        losses={"y": "y.loss"},
        targets={"y": Distribution("categorical", (p,))},
    )


def lstm() -> System:
    """The LSTM of the library, with a learned start and another loss."""
    s = Hand()
    x = s.input("x", N)
    for g in "fioc":
        s.param(f"W_{g}", M, N)
    for g in "fioc":
        s.param(f"U_{g}", M, M)
    for g in "fioc":
        s.param(f"b_{g}", M, **({"init": ("ones",)} if g == "f" else {}))
    s.promise("h", Type("real", (M,)))
    s.promise("c", Type("real", (M,)))
    for gate, g in (("f", "f"), ("i", "i"), ("o", "o"), ("g", "c")):
        wx = s.times(f"{gate}.", read(f"W_{g}"), x)
        uh = s.times(f"{gate}.", read(f"U_{g}"), read("h", {"t": BEFORE}))
        total = s.add(f"{gate}.", "add", s.add(f"{gate}.", "add", wx, uh), read(f"b_{g}"))
        s.add(gate, "tanh" if gate == "g" else "sigmoid", total)
    kept = s.add("c.", "mul", read("f"), read("c", {"t": BEFORE}))
    new = s.add("c.", "mul", read("i"), read("g"))
    c = s.settle("c", "add", kept, new)
    s.settle("h", "mul", read("o"), s.add("h.", "tanh", c))
    return s.system("LSTM", ["h", "c"], dims={"n": 28, "m": None})


def unrolled(steps: int = 3) -> System:
    """Elman's network with T fixed, as ``unroll`` leaves it."""
    s = Hand()
    s.input("x", N)
    u, w, v = s.param("U", M, N), s.param("W", M, M), s.param("V", K, M)
    b, c = s.param("b", M), s.param("c", K)
    for i in range(1, steps + 1):
        at = f"@{i}"
        first = b
        if i > 1:
            first = s.add(f"a.2{at}", "add", b, s.times(f"a.1{at}", w, read(f"h@{i - 1}")))
        ux = s.times(f"a.3{at}", u, read("x", {"t": Index(FIRST, i - 1)}))
        h = s.add(f"h{at}", "tanh", s.add(f"a{at}", "add", first, ux))
        o = s.add(f"o{at}", "add", c, s.times(f"o.1{at}", v, h))
        s.add(f"p{at}", "softmax", o, over=())
    s.add("p", "stack", *(read(f"p@{i}") for i in range(1, steps + 1)), axis="t")
    s.values["p"] = replace(s.values["p"], axes=("t", BATCH))
    return s.system("Elman", ["p"])


def both_ways() -> System:
    """A forward and a backward loop, a learned start, and a read of the last step."""
    s = Hand()
    x = s.input("x", N)
    u, w, q = s.param("U", M, N), s.param("W", M, M), s.param("Q", M, N)
    u2, w2 = s.param("U'", M, N), s.param("W'", M, M)
    z = s.input("z", N, axes=())
    s.promise("A", Type("real", (M,)))
    s.promise("A'", Type("real", (M,)))
    start = s.add("A.", "tanh", s.times("A.", q, z))
    wa = s.times("A.", w, read("A", {"t": BEFORE}))
    bounds = [Bound("t", Index(FIRST, -1), start)]
    s.settle("A", "tanh", s.add("A.", "add", wa, s.times("A.", u, x)), bounds=bounds)
    wa = s.times("A'.", w2, read("A'", {"t": Index("t", 1)}))
    s.settle("A'", "tanh", s.add("A'.", "add", wa, s.times("A'.", u2, x)))
    s.add("o", "concat", read("A", {"t": Index("<last>")}), read("A'", {"t": Index(FIRST)}))
    return s.system("BothWays", ["o"], dims={"n": None, "m": 64})
