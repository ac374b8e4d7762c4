"""Random small specs: whatever they are compiled to does what their equations say.

    RNNC_EXAMPLES=5000 pytest tests/test_random_systems.py

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
from rnnc.testing import assert_all_agree
from tests.unread import without_unread

EXAMPLES = int(os.environ.get("RNNC_EXAMPLES", "30"))

HEADER = """\
model Random
input x[t], y[t] : [3]
input s[t], r[t] : []
input k[t] : index(3)
input on[t] : flag
input z : [3]
input q : []
param W, U, E : [3, 3],  V : [3, 4],  b, d : [3],  c : []
"""
Kind = str  # scalar, vector, matrix, flag, whole
SHIFTED = {"vector": ("x", "y"), "scalar": ("s", "r"), "flag": ("on",), "whole": ("k",)}
STILL = {"vector": ("z", "b", "d"), "scalar": ("q", "c"), "matrix": ("W", "U", "E")}
EDGES = {"on[0]": "1 > 2", "on[T+1]": "1 < 2", "k[0]": "1", "k[T+1]": "2"}  # these need one


@dataclass
class Variable:
    name: str
    kind: Kind
    group: int
    timed: bool


@dataclass
class Writer:
    """Writes equations one by one. Equations form groups, each with a direction in time: within
    a group earlier steps (later ones, if it runs backward) of all members may be read, and this
    step of those before. Of earlier groups everything may be read, of later ones nothing; so
    there is no cycle but through time, and none runs in both directions."""

    draw: DrawFn
    variables: list[Variable] = field(default_factory=list)
    here: Variable | None = None
    forward: bool = True
    peers: list[Variable] = field(default_factory=list)  # of the group, not yet written, too

    def one(self, *choices: str) -> str:
        return self.draw(st.sampled_from(choices))

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    # ---------------------------------------------------------------- reads

    def read(self, kind: Kind) -> str:
        """A read of anything of that kind."""
        assert self.here is not None
        here = self.here
        choices: list[Callable[[], str]] = [lambda: self.still(kind)] if kind in STILL else []
        choices += [
            (lambda v=v: self.read_of(v)) for v in self.variables
            if v.kind == kind and v.group < here.group
        ]  # fmt: skip
        if here.timed:
            choices += [(lambda n=n: self.at(n, both=True)) for n in SHIFTED.get(kind, ())]
            before = [v for v in self.variables if v.group == here.group and v.kind == kind]
            choices += 2 * [(lambda v=v: f"{v.name}[t]") for v in before]
            choices += 3 * [
                (lambda v=v: self.at(v.name, both=False)) for v in self.peers if v.kind == kind
            ]
        elif kind in SHIFTED:
            choices += [(lambda n=n: self.fixed(n)) for n in SHIFTED[kind]]
        return self.draw(st.sampled_from(choices))()

    def still(self, kind: Kind) -> str:
        return self.one(*STILL[kind])

    def read_of(self, v: Variable) -> str:
        assert self.here is not None
        if not v.timed:
            return v.name
        if self.here.timed and self.number(0, 3):
            return self.at(v.name, both=True)
        if v.kind in ("flag", "whole") or self.number(0, 1):
            return self.fixed(v.name)
        reduction = self.one("sum", "mean", "max", "min")
        if self.here.timed and self.number(0, 3) == 0:
            return f"softmax[t]({v.name}[t])"
        return f"{reduction}[t]({v.name}[t])"

    def at(self, name: str, both: bool) -> str:
        """A step near this one: any, or one against the direction of the group."""
        lag = self.one("1", "1", "1", "2", "3")
        if both:
            return f"{name}[{self.one('t', 't', 't', f't-{lag}', f't+{lag}')}]"
        return f"{name}[t{'-' if self.forward else '+'}{lag}]"

    def fixed(self, name: str) -> str:
        return f"{name}[{self.one('1', 'T', 'T', '2', 'T-1', '0', 'T+1')}]"

    # ---------------------------------------------------------------- expressions

    def vector(self, depth: int) -> str:
        if depth == 0:
            return self.read("vector")
        v, s, m = self.vector, self.scalar, self.matrix
        less = depth - 1
        match self.number(0, 21):
            case 0 | 1:
                return f"({v(less)} {self.one('+', '-', '*')} {v(less)})"
            case 2:
                return f"({s(less)} * {v(less)})"
            case 3 | 4 | 5:
                return f"({self.one('W', 'U', 'E', 'W.T')} {v(less)} + {v(less)})"
            case 6:
                return f"{self.one('W', 'U')} {v(less)}"
            case 7:
                return f"V [{v(less)}, {s(less)}]"
            case 8 | 9:
                return f"{self.one('tanh', 'sigmoid', 'relu', 'sin', 'softplus')}({v(less)})"
            case 10:
                return f"{self.one('max', 'min')}({v(less)}, {v(less)})"
            case 11:
                return f"where({self.flag()}, {v(less)}, {v(less)})"
            case 12:
                return f"slice([{v(less)}, {v(less)}], {self.one('1, 4', '0, 3', '3, 6')})"
            case 13:
                return f"softmax({v(less)})"
            case 14:
                return f"({v(less)} / (1 + {v(less)}^2))"
            case 15:
                return f"E[{self.whole()}]"
            case 16:
                return f"({m(less)}) {v(less)}"
            case 17:
                return f"(1 - {v(less)})"
            case 18:
                return f"(-{v(less)})"
            case 19:
                return f"stop_gradient({v(less)})"
            case 20:
                return f"[{s(less)}, {s(less)}, {s(less)}]"
        return self.read("vector")

    def scalar(self, depth: int) -> str:
        if depth == 0:
            return self.read("scalar")
        v, s = self.vector, self.scalar
        less = depth - 1
        timed = self.here is not None and self.here.timed
        match self.number(0, 13):
            case 0:
                return f"({s(less)} {self.one('+', '-', '*')} {s(less)})"
            case 1:
                return f"dot({v(less)}, {v(less)})"
            case 2:
                return f"{self.one('sum', 'mean', 'max', 'min', 'norm')}({v(less)})"
            case 3:
                return f"logsumexp({v(less)})"
            case 4 | 5:
                return f"{self.one('tanh', 'sigmoid', 'cos')}({s(less)})"
            case 6:
                return f"where({self.flag()}, {s(less)}, {s(less)})"
            case 7:
                return f"({s(less)} / (1 + {s(less)}^2))"
            case 8:
                return self.one("t / T", "sin(t)", "1 / t") if timed else "(1 / T)"
            case 9:
                return f"{self.one('b', 'd')}[{self.whole()}]"
            case 10:
                return self.one("0.5", "2", "1", "0")
            case 11:
                return f"sum({self.matrix(less)})"
        return self.read("scalar")

    def matrix(self, depth: int) -> str:
        if depth == 0:
            return self.read("matrix")
        less = depth - 1
        match self.number(0, 6):
            case 0 | 1:
                return f"outer({self.vector(less)}, {self.vector(less)})"
            case 2:
                return f"({self.scalar(less)} * {self.matrix(less)})"
            case 3:
                return f"({self.matrix(less)} + {self.matrix(less)})"
            case 4:
                return f"({self.matrix(less)}).T"
            case 5:
                return f"diag({self.vector(less)})"
        return f"({self.matrix(less)}) ({self.matrix(less)})"

    def flag(self) -> str:
        """Of data alone: of computed values rounding might decide."""
        assert self.here is not None
        if not self.here.timed:
            return self.one("q > 0", "on[1]", "not on[T]", "T > 2")
        match self.number(0, 5):
            case 0:
                return self.read("flag")
            case 1:
                return f"{self.one('s', 'r')}[t] > 0"
            case 2:
                return f"t % {self.one('2', '3')} == {self.one('0', '1')}"
            case 3:
                return f"{self.whole()} == {self.one('0', '1')}"
            case 4:
                return f"not {self.read('flag')} and s[t] < q"
        return self.one("t == 1", "t == T", "t > 2")

    def whole(self) -> str:
        """0, 1 or 2; a bare name or number, since a table's index is no expression over t."""
        return self.read("whole")

    # ---------------------------------------------------------------- equations

    def equation(self, recurrent: bool) -> list[str]:
        """The equation of the variable ``here``, with its boundaries."""
        assert self.here is not None
        here = self.here
        depth = self.number(1, 3)
        left = f"{here.name}[t]" if here.timed else here.name
        if here.kind == "whole":
            peer = f"{here.name}[t{'-' if self.forward else '+'}1]"
            right = f"({self.one(peer, self.whole())} + {self.whole()} + {self.one('1', 't')}) % 3"
        elif here.kind == "flag":
            right = self.flag()
        else:
            write = getattr(self, here.kind)
            right = write(depth)
            squash = self.one("tanh", "tanh", "sigmoid", "sin")
            # something of known shape, so that the shape of all is
            known = {"vector": " + d", "matrix": " + W"}.get(here.kind, "")
            right = f"{squash}({right}{known})"
            if recurrent and here.kind != "matrix" and self.number(0, 3) == 0:
                own = self.at(here.name, both=False)
                gate = f"sigmoid({write(1)})"
                right = f"{gate} * {own} + (1 - {gate}) * {right}"
        return [f"{left} = {right}", *(self.boundaries() if here.timed else ())]

    def boundaries(self) -> list[str]:
        assert self.here is not None
        here = self.here
        if here.kind == "flag":
            return [f"{here.name}[{i}] = {self.one('1 > 2', '1 < 2')}" for i in ("0", "T+1")]
        if here.kind == "whole":
            return [f"{here.name}[{i}] = {self.one('0', '2')}" for i in ("0", "T+1")]
        lines = []
        for step in ("0", "-1", "T+1", "T+2"):
            if self.number(0, 2) == 0:
                lines.append(f"{here.name}[{step}] = {self.boundary(here)}")
        return lines

    def boundary(self, here: Variable) -> str:
        choices = ["0.5", "-1", "q", "c"]
        if here.kind == "vector":
            choices += ["z", "b", "tanh(W z)", "sin(d + q)"]
        if here.kind == "matrix":
            choices += ["W", "outer(z, b)"]
        earlier = [v for v in self.variables if v.kind == here.kind and v.group < here.group]
        choices += [f"{v.name}[{self.one('1', 'T', '2')}]" if v.timed else v.name for v in earlier]
        return self.one(*choices)


@st.composite
def specs(draw: DrawFn) -> str:
    """The text of a spec that has a meaning."""
    w = Writer(draw)
    lines = [f"{left} = {right}" for left, right in EDGES.items()]
    for name, edges in {"x[0]": ("-1", "b", "z"), "s[0]": ("2",), "y[T+1]": ("d",)}.items():
        if w.number(0, 2) == 0:
            lines.append(f"{name} = {w.one(*edges)}")
    count = 0
    kinds = ("vector",) * 5 + ("scalar",) * 2 + ("matrix", "whole", "flag")
    for group in range(w.number(1, 3)):
        size = w.number(1, 3)
        timed = size > 1 or w.number(0, 4) > 0
        allowed = kinds if timed else ("vector", "scalar")
        members = [Variable(f"v{count + i}", w.one(*allowed), group, timed) for i in range(size)]
        count += size
        w.forward = w.number(0, 3) > 0
        recurrent = timed and w.number(0, 4) > 0
        w.peers = members if recurrent else []
        for member in members:
            w.here = member
            lines += w.equation(recurrent)
            w.variables.append(member)
    names = [v.name for v in w.variables]
    shown = [n for n in names[:-1] if w.number(0, 1)] + names[-1:]
    last = w.variables[-1]
    if last.kind in ("vector", "scalar", "matrix") and w.number(0, 1):
        loss = f"sum({last.name}{'[t]' if last.timed else ''}^2)"
        lines.append(w.one(f"loss {loss}", f"metric size = {loss}"))
    vectors = [v.name for v in w.variables if v.kind == "vector" and v.timed]
    if vectors and w.number(0, 2) == 0:
        when = w.one("", " when on[t]", " when t > 1")
        lines.append(f"p[t] = softmax({w.one(*vectors)}[t])")
        lines.append(f"target label[t] : index(3) ~ categorical(p[t]){when}")
    return without_unread(HEADER + "\n".join([*lines, f"output {', '.join(shown)}"]))


WEIGHTS = {
    n: 0.6 * np.random.default_rng(i).standard_normal(shape)
    for i, (n, shape) in enumerate(
        {"W": (3, 3), "U": (3, 3), "E": (3, 3), "V": (3, 4), "b": 3, "d": 3, "c": ()}.items()
    )
}


@given(specs(), st.integers(1, 3), st.integers(1, 6), st.integers(0, 3))
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="RNNC_EXAMPLES" not in os.environ,
    database=None,
    phases=[Phase.generate],  # to shrink takes minutes, and twenty lines are short enough
    suppress_health_check=list(HealthCheck),
)
def test_random_systems(text: str, batch: int, steps: int, seed: int) -> None:
    spec = rnnc.parse(text)
    assert_all_agree(spec, batch=batch, steps=steps, seed=seed, weights=WEIGHTS)
    if seed == 0:
        assert_all_agree(spec, batch=batch, steps=steps, dtype="float32", weights=WEIGHTS,
                         rtol=1e-3)  # fmt: skip
