"""What counts only where it was chosen is read as what was chosen.

    h[t] = where(f[t], n[t], h[t-1])                h[t] = where(f[t], n[t], h[t-1])
    a[t] = where(f[t], g[t], 0) * (1 - n[t]^2)   →   a[t] = where(f[t], g[t], 0) * (1 - h[t]^2)

Gradients of what is masked (lengths, clocks) read the new value only where a flag is set, and
there it is the state, which is kept of every step anyway: ``n`` need not be kept besides.
"""

from __future__ import annotations

import networkx as nx

from rnnc.graph.ops import MAPS
from rnnc.graph.system import System, Value
from rnnc.graph.types import Read
from rnnc.passes.editor import Editor


def chosen(system: System) -> System:
    """The system with these reads changed."""
    editor = Editor(system)
    counts = _Counts(system)
    graph = nx.DiGraph(system.graph)
    for choice in system.values.values():
        if choice.op != "where" or choice.bounds or any(r.at for r in choice.reads[:2]):
            continue
        flag, new = choice.reads[:2]
        value = system[new.source]
        same = (value.axes, value.type) == (choice.axes, choice.type) and not value.bounds
        if not same or len(system.readers[value.name]) == 1 or not counts.only(value, flag):
            continue
        before = nx.ancestors(graph, choice.name) | {choice.name}
        for v, _ in system.readers[value.name]:
            if v.name not in before:
                reads = editor.values[v.name].reads
                changed = [Read(choice.name) if r == new else r for r in reads]
                editor.change(v.name, v.op, changed, v.attrs)
                graph.add_edge(choice.name, v.name)
    return editor.result()


class _Counts:
    """Where the values of a system count."""

    def __init__(self, system: System):
        self.system = system
        self.known: dict[tuple[str, Read], bool] = {}

    def only(self, value: Value, flag: Read) -> bool:
        """Whether a value makes a difference only where a flag is set."""
        key = (value.name, flag)
        if key not in self.known:
            self.known[key] = False  # of a recurrence: until it is known
            kept = value.name in self.system.results
            readers = self.system.readers.get(value.name, ())
            self.known[key] = not kept and all(self._passes(v, r, flag) for v, r in readers)
        return self.known[key]

    def _passes(self, reader: Value, r: Read, flag: Read) -> bool:
        """Whether this reader makes something of the operand only where the flag is set."""
        if r.at or reader.bounds:
            return False
        if reader.op == "where" and reader.reads[:2] == (flag, r) and reader.reads[2] != r:
            return True
        if reader.op == "mul" and any(x != r and self._zero(x, flag) for x in reader.reads):
            return True
        same = reader.type.shape == self.system[r.source].type.shape
        return reader.op in MAPS and same and self.only(reader, flag)

    def _zero(self, r: Read, flag: Read) -> bool:
        """Whether an operand is zero where the flag is not set."""
        value = self.system[r.source]
        if r.at:
            return False
        if value.op == "where":
            return value.reads[0] == flag and self.system.is_zero(value.reads[2].source)
        return value.op == "mul" and any(self._zero(x, flag) for x in value.reads)
