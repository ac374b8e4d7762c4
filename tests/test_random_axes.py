"""Random small specs with two time axes, and a third of the length of one of them: whatever they
are compiled to does what their equations say.

    RNNC_EXAMPLES=500 pytest tests/test_random_axes.py

tries many more than the few of every run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

import rnnc
from rnnc.testing import assert_all_agree, assert_gradients_agree, check_gradients
from tests.unread import without_unread

EXAMPLES = int(os.environ.get("RNNC_EXAMPLES", "14"))

HEADER = """\
model Random
axis s : S
axis t : T
axis u : {length}
input x[s, t] : [2]
input y[t], e[u] : [2]
input z[s] : [2]
input k[s, t] : index(2)
input on[t] : flag
input q : [2]
param W, U, E : [2, 2],  b : [2]
on[0] = 1 > 2
on[T+1] = 1 < 2
k[0, t] = 1
k[S+1, t] = 0
k[s, 0] = 0
k[s, T+1] = 1
"""
GIVEN = {"x": "st", "y": "t", "z": "s", "e": "u", "q": "", "b": ""}
ORDERS = ("st", "st", "ts", "s", "t", "su", "u", "us", "tu", "stu", "")


@dataclass(frozen=True)
class Variable:
    """A vector, its axes in the order they are written in, and the group it belongs to."""

    name: str
    axes: str
    group: int


@dataclass
class Writer:
    """Writes equations one by one. Those of a group recur along ``loops``, outermost first and
    each with a direction: a member may read another one step back along the first loop, wherever
    along the others, or at the same step of it and back along the second. Of earlier groups
    everything may be read. So each cycle has an order of computation."""

    draw: DrawFn
    smooth: bool
    length: str  # T or S: that of the axis u
    done: list[Variable] = field(default_factory=list)
    peers: list[Variable] = field(default_factory=list)  # of the group, not yet written, too
    loops: list[tuple[str, int]] = field(default_factory=list)
    here: Variable = field(default_factory=lambda: Variable("", "", 0))

    def one(self, *choices: str) -> str:
        return self.draw(st.sampled_from(choices))

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def long(self, axis: str) -> str:
        return self.length if axis == "u" else axis.upper()

    # ---------------------------------------------------------------- reads

    def vector(self) -> str:
        earlier = [v for v in self.done if v.group < self.here.group]
        choices: list[Callable[[], str]] = [lambda: self.any_of(self.one(*GIVEN), None)]
        choices += 2 * [(lambda v=v: self.any_of(v.name, v.axes)) for v in earlier]
        if self.loops:
            back = [v for v in self.peers if self.loops[0][0] in v.axes]
            choices += 4 * [(lambda v=v: self.back(v)) for v in back]
            before = [v for v in self.done if v in self.peers and self.same_step(v)]
            choices += 2 * [(lambda v=v: self.indexed(v.name, list(v.axes))) for v in before]
        return self.draw(st.sampled_from(choices))()

    def same_step(self, v: Variable) -> bool:
        return set(v.axes) <= set(self.here.axes)

    def indexed(self, name: str, steps: list[str]) -> str:
        return f"{name}[{', '.join(steps)}]" if steps else name

    def any_of(self, name: str, axes: str | None) -> str:
        """A read of what does not depend on this group: any step, or all of them."""
        own = GIVEN[name] if axes is None else axes
        return self.wrapped(name, own, {})

    def back(self, v: Variable) -> str:
        """A read of a member of the group, some steps back along a loop."""
        fixed = {}
        for axis, way in self.loops:
            last = axis == self.loops[-1][0]
            if axis not in v.axes or axis not in self.here.axes:
                return self.any_of("q", None)
            if last or self.number(0, 1):
                lag = self.one("1", "1", "1", "2")
                fixed[axis] = f"{axis}{'-' if way > 0 else '+'}{lag}"
                break
            fixed[axis] = axis
        if any(a in v.axes and a not in self.here.axes for a in fixed):
            return self.any_of("q", None)
        return self.wrapped(v.name, v.axes, fixed)

    def wrapped(self, name: str, axes: str, fixed: dict[str, str]) -> str:
        """A read with these indices; along other axes any step or a reduction."""
        steps, reduced = [], []
        for axis in axes:
            if axis in fixed:
                steps.append(fixed[axis])
                continue
            others = [a for a in self.here.axes if self.long(a) == self.long(axis)]
            used = [*steps, *fixed.values()]
            others = [a for a in others if not any(step.startswith(a) for step in used)]
            if others and self.number(0, 4):
                steps.append(self.near(self.one(*others)))
            elif self.number(0, 1) or axis in self.here.axes or axis in reduced:
                steps.append(self.single(axis))
            else:
                steps.append(axis)
                reduced.append(axis)
        text = self.indexed(name, steps)
        for axis in reduced:
            reductions = ("sum", "mean", "logsumexp", "mean")
            text = (
                f"{self.one(*reductions, *(() if self.smooth else ('max', 'min')))}[{axis}]({text})"
            )
        return text

    def near(self, axis: str) -> str:
        return self.one(axis, axis, axis, f"{axis}-1", f"{axis}+1", f"{axis}-2")

    def single(self, axis: str) -> str:
        length = self.long(axis)
        return self.one("1", length, length, "2", f"{length}-1", "0", f"{length}+1")

    # ---------------------------------------------------------------- expressions

    def expression(self, depth: int) -> str:
        if depth == 0:
            return self.vector()
        less = depth - 1
        match self.number(0, 10):
            case 0 | 1:
                return (
                    f"({self.expression(less)} {self.one('+', '-', '*')} {self.expression(less)})"
                )
            case 2 | 3 | 4:
                return (
                    f"({self.one('W', 'U', 'E')} {self.expression(less)} + {self.expression(less)})"
                )
            case 5:
                return f"tanh({self.expression(less)})"
            case 6:
                return f"where({self.flag()}, {self.expression(less)}, {self.expression(less)})"
            case 7:
                return f"softmax({self.expression(less)})"
            case 8:
                return f"(dot({self.expression(less)}, {self.vector()}) * {self.expression(less)})"
            case 9 if set("st") <= set(self.here.axes):
                return f"E[k[{self.near('s')}, {self.near('t')}]]"
            case 10 if self.here.axes:
                axis = self.one(*self.here.axes)
                other = [v for v in self.done if v.group < self.here.group and axis in v.axes]
                other = [v for v in other if self.same_step(v)]
                if other:
                    v = self.draw(st.sampled_from(other))
                    return f"softmax[{axis}]({self.indexed(v.name, list(v.axes))})"
        return self.vector()

    def flag(self) -> str:
        axes = self.here.axes
        choices = ["sum(q) > 0", "on[1]"]
        for a in axes:
            choices += [f"{a} == 1", f"{a} % 2 == 0", f"{a} < {self.long(a)}"]
        if "t" in axes:
            choices += ["on[t]", "on[t-1]", "on[t+1]"]
        if len(axes) > 1:
            choices += 3 * [f"{axes[0]} <= {axes[1]}"]
        if "u" in axes and self.length == "T":
            choices.append("on[u]")
        return self.one(*choices)

    # ---------------------------------------------------------------- equations

    def equation(self) -> list[str]:
        here = self.here
        # no tanh, which saturates, so that all gradients would be rounding
        right = f"sin({self.expression(self.number(1, 2))} + b)"
        return [f"{self.indexed(here.name, list(here.axes))} = {right}", *self.boundaries()]

    def boundaries(self) -> list[str]:
        here, lines = self.here, []
        for place, axis in enumerate(here.axes):
            for step in ("0", "-1", f"{self.long(axis)}+1"):
                if self.number(0, 2) == 0:
                    steps = list(here.axes)
                    steps[place] = step
                    rest = here.axes.replace(axis, "")
                    self.here, kept = Variable(here.name, rest, here.group), self.loops
                    self.loops = []
                    found = self.one("0.5", "b", "q", f"tanh(W {self.vector()})", self.vector())
                    self.here, self.loops = here, kept
                    lines.append(f"{self.indexed(here.name, steps)} = {found}")
        return lines


@st.composite
def specs(draw: DrawFn) -> tuple[str, bool]:
    """The text of a spec that has a meaning, and whether all of it is smooth."""
    smooth = draw(st.booleans())
    w = Writer(draw, smooth, draw(st.sampled_from("TTS")))
    lines: list[str] = []
    count = 0
    for group in range(w.number(2, 3)):
        size = w.number(1, 3)
        axes = w.one(*ORDERS)
        order = draw(st.permutations(list(axes)))[: w.number(0, 2)]
        w.loops = [(a, w.number(0, 3) or -1) for a in order]
        w.peers = []
        for i in range(size):
            # some of the members lack the axes that are not the outermost loop
            fewer = order[0] if order and w.number(0, 3) == 0 else axes
            w.peers.append(Variable(f"v{count + i}", fewer, group))
        count += size
        for member in w.peers:
            w.here = member
            lines += w.equation()
            w.done.append(member)
    if w.number(0, 1):
        last = w.done[-1]
        lines.append(f"loss sum({w.indexed(last.name, list(last.axes))}^2)")
    lines.append(f"output {', '.join(v.name for v in w.done)}")
    return without_unread(HEADER.format(length=w.length) + "\n".join(lines)), smooth


WEIGHTS = {
    n: 0.6 * np.random.default_rng(i).standard_normal(shape)
    for i, (n, shape) in enumerate({"W": (2, 2), "U": (2, 2), "E": (2, 2), "b": 2}.items())
}


many = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="RNNC_EXAMPLES" not in os.environ,
    database=None,
    phases=[Phase.generate],  # to shrink takes minutes, and twenty lines are short enough
    suppress_health_check=list(HealthCheck),
)


@given(specs(), st.integers(1, 2), st.integers(1, 4), st.integers(1, 4), st.integers(0, 3))
@many
def test_random_axes(drawn: tuple[str, bool], batch: int, rows: int, steps: int, seed: int) -> None:
    text, smooth = drawn
    spec = rnnc.parse(text)
    lengths = {"s": rows, "t": steps}
    assert_all_agree(spec, batch=batch, steps=lengths, seed=seed, weights=WEIGHTS)
    if seed < 2:
        assert_gradients_agree(spec, batch=batch, steps=lengths, seed=seed, weights=WEIGHTS)
    if seed == 0 and smooth:
        check_gradients(spec, batch=batch, steps=lengths, seed=seed, weights=WEIGHTS)


def own(most: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, most), min_size=3, max_size=3)


@given(specs(), own(3), own(4), st.sampled_from(("s", "t", "st")), st.integers(0, 3))
@settings(many, max_examples=EXAMPLES // 3)
def test_random_lengths(
    drawn: tuple[str, bool], rows: list[int], steps: list[int], along: str, seed: int
) -> None:
    spec = rnnc.parse(drawn[0])
    sizes = {"s": max(rows), "t": max(steps)}
    size = {"batch": 3, "steps": sizes, "lengths": {a: {"s": rows, "t": steps}[a] for a in along}}
    assert_all_agree(spec, **size, seed=seed, weights=WEIGHTS)  # type: ignore[arg-type]
    if seed < 2:
        assert_gradients_agree(spec, **size, seed=seed, weights=WEIGHTS)  # type: ignore[arg-type]
