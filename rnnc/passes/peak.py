"""How much memory a plan needs: the bytes of the arrays that exist at one time, at most.

An array exists from the statement that makes it to the last one that reads it; weights, inputs
and outputs always do. What only looks at another array in another way takes nothing itself. A
backend may need more: one that keeps a result longer, or works in memory of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from rnnc.passes.plan import ArrayType, Compute, Loop, Plan, Statement, flat, reads_of, results_of

VIEWS = frozenset(("slice", "part", "permute", "unsqueeze", "squeeze", "reshape", "copy", "pick"))
INDEX_BYTES, FLAG_BYTES = 8, 1


def peak(plan: Plan, sizes: Mapping[str, int], real_bytes: int = 4) -> int:
    """The most bytes at one time, for so many sequences and steps: ``sizes`` by axis."""
    return _Sizes(plan, sizes, real_bytes).peak()


class _Sizes:
    """The bytes of each array of a plan."""

    def __init__(self, plan: Plan, sizes: Mapping[str, int], real_bytes: int):
        self.plan = plan
        self.sizes = {**sizes, **{a: s for a, s in plan.axes.items() if isinstance(s, int)}}
        self.bytes = {"real": real_bytes, "index": INDEX_BYTES, "flag": FLAG_BYTES}
        self._segments()
        self.root: dict[str, str] = {}
        for s in flat(plan.statements()):
            if isinstance(s, Compute) and s.op in VIEWS:
                self.root[s.target] = self.root.get(s.args[0], s.args[0])
            elif isinstance(s, Loop):  # what a loop takes of an array is a part of it
                self.root |= {inner: self.root.get(outer, outer) for inner, outer in s.scanned}

    def _segments(self) -> None:
        """The lengths that the plan computes: of segments, all as long as the longest."""
        known: dict[str, int] = {}
        for s in flat(self.plan.statements()):
            if not isinstance(s, Compute):
                continue
            if s.op == "length":
                known[s.target] = self.sizes.get(s.attr("axis"), 1)
            elif s.op == "segment":
                known[s.target] = math.isqrt(known[s.args[0]] - 1) + 1
            elif s.op == "segments":
                known[s.target] = -(-known[s.args[0]] // known[s.args[1]])
            elif s.op == "minimum" and s.args[0] in known:
                known[s.target] = known[s.args[0]]
        for axis, source in self.plan.axes.items():
            if isinstance(source, tuple) and source[0] in known:
                self.sizes[axis] = known[source[0]]

    def peak(self) -> int:
        plan = self.plan
        given = [p.array for p in (*plan.inputs, *plan.params)]
        results = {self.root.get(p.array, p.array) for p in plan.outputs}
        most = self._most([*plan.statements()], results.difference(given))
        return sum(map(self._size, given)) + most

    def _most(self, statements: Sequence[Statement], kept: Iterable[str]) -> int:
        """The most bytes at one time of what these statements make; ``kept`` exists to the end."""
        last: dict[str, int] = dict.fromkeys(kept, len(statements))
        for i, s in enumerate(statements):
            for name in reads_of([s]):
                root = self.root.get(name, name)
                last[root] = max(i, last.get(root, i))
        exist: dict[str, int] = {}
        most = 0
        for i, s in enumerate(statements):
            made = (name for name in results_of(s) if name not in self.root)
            exist |= {name: self._size(name) for name in made}
            most = max(most, sum(exist.values()) + self._inside(s))
            exist = {name: size for name, size in exist.items() if last.get(name, i) > i}
        return most

    def _inside(self, s: Statement) -> int:
        """What a loop needs while it runs: its states, and what one step makes."""
        if not isinstance(s, Loop):
            return 0
        states = sum(self._size(c.name) for c in s.carried)
        kept = {c.next for c in s.carried} - {c.name for c in s.carried}
        return states + self._most(s.body, kept)

    def _size(self, name: str) -> int:
        type_: ArrayType = self.plan.arrays[name]
        dims = (d if isinstance(d, int) else self.sizes[d] for d in type_.dims)
        return math.prod(dims) * self.bytes[type_.kind]
