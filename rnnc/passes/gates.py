"""Sigmoids as the tanh that they are, with the factors in the weights.

    p = U h' + v                         q = (s U) h' + s v,  s = 1/2 for the gates, else 1
    f = σ(p[0:m]), g = tanh(p[m:2m])     y = tanh(q), f = (1 + y[0:m]) / 2, g = y[m:2m]

σ(x) = (1 + tanh(x / 2)) / 2, and a multiplication by a power of two is exact. Where calls are
what costs (NumPy), one tanh for all gates is the cheapest form.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rnnc.graph.cycles import recurrences
from rnnc.graph.system import System, Value
from rnnc.graph.types import Array, Attrs, Read, Type, whole

ACTIVATIONS = frozenset(("sigmoid", "tanh"))


def tanh_gates(system: System) -> System:
    """The system with the packed gates of its recurrences as one tanh each."""
    for recurrence in recurrences(system):
        for name in sorted(recurrence.members):
            if name in system.values and system.values[name].op == "add":
                system = _Gates(system, recurrence.members).rewrite(system.values[name])
    return system


@dataclass(frozen=True)
class _Gate:
    """An activation of the rows ``start`` to ``stop`` of a sum."""

    value: Value
    start: int
    stop: int


class _Gates:
    def __init__(self, system: System, members: frozenset[str]):
        self.system = system
        self.members = members
        self.values = dict(system.values)
        self.added: dict[str, Value] = {}

    def rewrite(self, total: Value) -> System:
        """The system with the activations of ``total`` rewritten, if all its readers are that."""
        gates = self._gates(total)
        if gates is None or not any(g.value.op == "sigmoid" for g in gates):
            return self.system
        if not all(self._scalable(r) for r in total.reads):
            return self.system
        rows = np.ones(whole(total.type.shape[0]))
        for g in gates:
            if g.value.op == "sigmoid":
                rows[g.start : g.stop] = 0.5
        scale = self._add(
            f"{total.name}.scale",
            "constant",
            (),
            Type("real", total.type.shape),
            (),
            (("value", Array(rows)),),
        )
        reads = tuple(self._scaled(r, scale, rows) for r in total.reads)
        self.values[total.name] = replace(total, reads=reads)
        active = self._add(
            f"{total.name}.tanh", "tanh", (Read(total.name),), total.type, total.axes
        )
        half = self._add(f"{total.name}.half", "constant", (), Type("real"), (), (("value", 0.5),))
        for g in gates:
            self._gate(g, active, half)
        order = [*self.added.values(), *(v for n, v in self.values.items() if n not in self.added)]
        return self.system.with_values(order)

    def _gates(self, total: Value) -> list[_Gate] | None:
        """The activations that read a sum, by parts or as a whole; None if anything else does."""
        if total.type.rank != 1 or total.bounds or total.name in self.system.results:
            return None
        out = []
        for reader, r in self._readers(total.name):
            if r.at:
                return None
            if reader.op in ACTIVATIONS:
                out.append(_Gate(reader, 0, whole(total.type.shape[0])))
            elif reader.op == "slice" and not reader.bounds:
                start, stop = whole(reader.attr("start")), whole(reader.attr("stop"))
                for last, r2 in self._readers(reader.name):
                    if r2.at or last.op not in ACTIVATIONS:
                        return None
                    out.append(_Gate(last, start, stop))
                if reader.name in self.system.results:
                    return None
            else:
                return None
        return out

    def _readers(self, name: str) -> list[tuple[Value, Read]]:
        edges = self.system.graph.out_edges(name, data=True)
        return [(self.system.values[b], data["read"]) for _, b, data in edges]

    # ---------------------------------------------------------------- scaling

    def _single(self, r: Read) -> bool:
        source = self.values[r.source]
        return (
            not r.at
            and not source.bounds
            and source.name not in self.system.results
            and self.system.graph.out_degree(source.name) == 1
        )

    def _scalable(self, r: Read) -> bool:
        """Whether the scale can go into weights."""
        source = self.values[r.source]
        if source.type.rank != 1:
            return False
        if not source.axes:
            return True
        if not self._single(r):
            return False
        if source.op == "add":
            return all(self._scalable(x) for x in source.reads)
        if source.op == "contract":
            letters = tuple(source.attr(x) for x in ("left", "right", "out"))
            return letters == ("ij", "j", "i") and not self.values[source.reads[0].source].axes
        return False

    def _scaled(self, r: Read, scale: Read, rows: NDArray[np.float64]) -> Read:
        source = self.values[r.source]
        if not source.axes:
            return self._add(f"{source.name}.scaled", "mul", (r, scale), source.type, ())
        if source.op == "add":
            reads = tuple(self._scaled(x, scale, rows) for x in source.reads)
        else:
            matrix = self.values[source.reads[0].source]
            column = self._add(
                f"{matrix.name}.scale",
                "constant",
                (),
                Type("real", (len(rows), 1)),
                (),
                (("value", Array(rows[:, None])),),
            )
            scaled = self._add(
                f"{matrix.name}.scaled", "mul", (source.reads[0], column), matrix.type, ()
            )
            reads = (scaled, source.reads[1])
        self.values[source.name] = replace(source, reads=reads)
        return r

    def _gate(self, g: _Gate, active: Read, half: Read) -> None:
        value = g.value
        attrs = (("start", g.start), ("stop", g.stop))
        if value.op == "tanh":
            self.values[value.name] = replace(value, op="slice", reads=(active,), attrs=attrs)
            return
        part = self._add(f"{value.name}.tanh", "slice", (active,), value.type, value.axes, attrs)
        halved = self._add(f"{value.name}.half", "mul", (part, half), value.type, value.axes)
        self.values[value.name] = replace(value, op="add", reads=(halved, half))

    def _add(
        self,
        base: str,
        op: str,
        reads: tuple[Read, ...],
        type_: Type,
        axes: tuple[str, ...],
        attrs: Attrs = (),
    ) -> Read:
        name = base
        count = 0
        while name in self.values:
            count += 1
            name = f"{base}.{count}"
        self.values[name] = self.added[name] = Value(name, op, reads, type_, axes, attrs)
        return Read(name)
