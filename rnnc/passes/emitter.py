"""Values made as a system is rewritten, each of them once: a helper of `lengths`."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace

from rnnc.graph.edges import ZERO
from rnnc.graph.ops import OPS
from rnnc.graph.system import System, Value
from rnnc.graph.types import Read, Type, told_apart

LEAST = -(2**62)  # below every whole number that counts something
INF = float("inf")


class Emitter:
    """The values of a system and those made beside them; ``timed`` gives the input that holds the
    lengths along each axis. New values are named after their ``owner``."""

    def __init__(self, system: System, timed: Mapping[str, str]):
        self.system = system
        self.timed = timed
        self.values: dict[str, Value] = {}
        self.taken = set(system.values)
        self.types = {v.name: v.type for v in system.values.values()}
        self.known: dict[Hashable, Read] = {}
        self.owner = system.name

    def length(self, axis: str) -> Read:
        return Read(self.timed[axis])

    def step(self, axis: str) -> Read:
        return self._emit("step", base=f"{axis}.step", axis=axis)

    def _number(self, number: float) -> Read:
        return self._emit("constant", value=number)

    def _zero(self, type_: Type) -> Read:
        return self._number(ZERO[type_.kind])

    def _constant(self, like: Read, fill: float) -> Read:
        if self.types[like.source].kind == "real":
            return self._number(fill)
        return self._number({-INF: LEAST, INF: -LEAST, 0.0: 0, 1.0: 1}[fill])

    def _shifted(self, r: Read, by: int) -> Read:
        return self._emit("add", r, self._number(by)) if by else r

    def _where(self, condition: Read, a: Read, b: Read) -> Read:
        return self._emit("where", condition, a, b)

    def _emit(self, op: str, *reads: Read, base: str = "", **attrs: Hashable) -> Read:
        """A value of these operands, made once; its axes are found at the end."""
        settings = tuple(attrs.items())
        key = (op, reads, told_apart(settings))
        if key not in self.known:
            name = self._fresh(base or f"{self.owner}.by")
            type_ = OPS[op].rule([self.types[r.source] for r in reads], dict(attrs))
            axes = (str(attrs["axis"]),) if op == "step" else ()
            self.types[name] = type_
            self.values[name] = Value(name, op, reads, type_, axes, settings)
            self.known[key] = Read(name)
        return self.known[key]

    def _stretched(self, r: Read, axes: Iterable[str]) -> Read:
        """A read as a value over these axes, too."""
        over = self.system.ordered(axes)
        key = ("stretched", r, over)
        if over and key not in self.known:
            name = self._named(f"{self.owner}.by", r)
            self.values[name] = replace(self.values[name], axes=over)
            self.known[key] = Read(name)
        return self.known.get(key, r)

    def _named(self, base: str, r: Read) -> str:
        name = self._fresh(base)
        self.types[name] = self.types[r.source]
        self.values[name] = Value(name, "copy", (r,), self.types[name])
        return name

    def _fresh(self, base: str) -> str:
        name, i = base, 1
        while name in self.taken:
            name, i = f"{base}.{i}", i + 1
        self.taken.add(name)
        return name
