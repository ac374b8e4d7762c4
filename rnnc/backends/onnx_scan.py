"""A linear scan as ONNX nodes: a ``Scan`` over all steps, or three over blocks of them.

    h[t] = A[t] h[t-1] + b[t]           T steps, entry by entry, of k states

With L = √T positions in each of K = ⌈T/L⌉ blocks, all blocks side by side ([L, K, N], N entries):

1. from 0, and from each unit vector, through the positions of all blocks: what a block makes of
   the states before it is P h + s;
2. from block to block: h = P h + s, for the states that each begins with;
3. through the positions again, from those.

That is about 3 √T steps instead of T. Two gathers put steps into blocks and back, the last step
repeated where the last block is not full, and in the other order for a scan that runs backward.
T and the batch are not known here: an ``If`` takes the loop where that is faster (see
``plan.MOST_ENTRIES``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import TensorProto

from rnnc.backends.onnx_bodies import choice, scan
from rnnc.backends.onnx_writer import Writer
from rnnc.passes.plan import LEAST_STEPS, MOST_ENTRIES, Compute, Extent


def linear_scan(w: Writer, s: Compute, x: list[str], out: str) -> object:
    """The states of all steps, [T, *rest, k * m]."""
    k = s.attr("states")
    steps, *rest = w.type(s.target).dims
    if k > 1:  # one state after the other
        rest[-1] = int(rest[-1]) // k
    found = _LinearScan(w, s, x, steps, rest).states()
    shape = w.shape((steps, *rest))
    if k == 1:
        return w.node("Reshape", [found[0], shape], out)
    return w.node("Concat", [w.node("Reshape", [f, shape]) for f in found], out, axis=-1)


@dataclass(frozen=True)
class _Operand:
    """An array [steps, *entries], or (not ``stepwise``) one that is the same at all steps."""

    name: str
    stepwise: bool


class _LinearScan:
    """The nodes of one scan; all arrays have their entries in one last dimension, N."""

    def __init__(
        self, w: Writer, s: Compute, x: Sequence[str], steps: Extent, rest: Sequence[Extent]
    ):
        self.w = w
        self.k: int = s.attr("states")
        self.forward: bool = s.attr("forward")
        self.steps, self.rest = steps, rest
        k, operands = self.k, []
        for array, name in zip(s.args, x, strict=True):
            stepwise = len(w.type(array).dims) > len(rest)
            shape = (
                w.ints(0, -1) if stepwise and rest else w.ints(-1, 1) if stepwise else w.ints(-1)
            )
            operands.append(_Operand(w.node("Reshape", [name, shape]), stepwise))
        self.a, self.b = operands[: k * k], operands[k * k : -k]
        self.first = [o.name for o in operands[-k:]]

    def states(self) -> list[str]:
        """All states, [T, N] each."""
        w = self.w
        if isinstance(self.steps, int) and self.steps < LEAST_STEPS:
            return self._loop()
        few = w.outside("LessOrEqual", (w.size(self.rest), w.const(MOST_ENTRIES, "index")))
        many = w.outside("GreaterOrEqual", (self._length(), w.const(LEAST_STEPS, "index")))
        return choice(w, w.outside("And", (few, many)), self._blocks, self._loop)

    def _loop(self) -> list[str]:
        """All steps, one after the other."""
        return self._scan(self.a, self.b, [self.first], after=True, back=not self.forward)

    # ---------------------------------------------------------------- blocks

    def _blocks(self) -> list[str]:
        w, k = self.w, self.k
        order, place = self._order()
        a = [_Operand(self._gathered(o, order), o.stepwise) for o in self.a]
        b = [_Operand(self._gathered(o, order), o.stepwise) for o in self.b]
        differ = any(o.stepwise for o in a)  # else P is the same for all blocks
        zeros = self._filled(0.0, self._blocks_count(1))
        none, one = (
            self._filled(x, self._blocks_count(1) if differ else w.ints(1)) for x in (0.0, 1.0)
        )
        units = [[one if i == j else none for i in range(k)] for j in range(k)]
        ends = self._scan(a, b, [[zeros] * k, *units])
        total = [_Operand(name, True) for name in ends[:k]]
        columns = ends[k:] if differ else [w.node("Squeeze", [x, w.ints(0)]) for x in ends[k:]]
        factor = [_Operand(columns[k * j + i], differ) for i in range(k) for j in range(k)]
        starts = self._scan(factor, total, [self.first], before=True)
        found = self._scan(a, b, [starts], after=True)
        whole = w.node("Concat", [w.ints(-1), w.size(self.rest, rank=1)], axis=0)
        return [w.node("Gather", [w.node("Reshape", [x, whole]), place], axis=0) for x in found]

    def _filled(self, number: float, rows: str) -> str:
        """A number as [rows, N]."""
        shape = self.w.node("Concat", [rows, self.w.size(self.rest, rank=1)], axis=0)
        return self.w.node("Expand", [self.w.const(number), shape])

    def _gathered(self, o: _Operand, order: str) -> str:
        return self.w.node("Gather", [o.name, order], axis=0) if o.stepwise else o.name

    def _order(self) -> tuple[str, str]:
        """The step at each position of each block, [L, K], and the place of each step there."""
        out, const = self.w.outside, self.w.const
        zero, one = const(0, "index"), const(1, "index")
        length, size, count = self._length(), self._size(), self._blocks_count()
        last = out("Sub", (length, one))
        positions = out("Unsqueeze", (out("Range", (zero, size, one)), self.w.ints(1)))
        begins = out("Mul", (out("Range", (zero, count, one)), size))
        order = out("Min", (out("Add", (positions, begins)), last))
        steps = out("Range", (zero, length, one))
        if not self.forward:
            order, steps = out("Sub", (last, order)), out("Sub", (last, steps))
        inner = out("Mul", (out("Mod", (steps, size)), count))
        return order, out("Add", (inner, out("Div", (steps, size))))

    def _length(self) -> str:
        w = self.w
        return w.length(self.steps) if isinstance(self.steps, str) else w.const(self.steps, "index")

    def _size(self) -> str:
        """L, the steps of a block."""
        out = self.w.outside
        root = out("Sqrt", (out("Cast", (self._length(),), to=TensorProto.FLOAT),))
        return out("Cast", (root,), to=TensorProto.INT64)

    def _blocks_count(self, rank: int = 0) -> str:
        """K, as a scalar or as a list of one."""
        out, w = self.w.outside, self.w
        before = out("Div", (out("Sub", (self._length(), w.const(1, "index"))), self._size()))
        count = out("Add", (before, w.const(1, "index")))
        return out("Unsqueeze", (count, w.ints(0))) if rank else count

    # ---------------------------------------------------------------- one Scan

    def _scan(
        self,
        a: Sequence[_Operand],
        b: Sequence[_Operand],
        runs: Sequence[Sequence[str]],
        after: bool = False,
        before: bool = False,
        back: bool = False,
    ) -> list[str]:
        """``h = A h + b`` from step to step; all ``runs`` but the first without b. Gives the last
        states of all runs, or those of the first ``after`` (or ``before``) every step."""
        w, k = self.w, self.k
        operands = (*a, *b)

        def step(states: list[str], entries: list[str]) -> tuple[list[str], list[str]]:
            scanned = iter(entries)
            now = [next(scanned) if o.stepwise else o.name for o in operands]
            following = []
            for j in range(len(runs)):
                h = states[k * j : k * (j + 1)]
                for i in range(k):
                    terms = [w.node("Mul", [now[k * i + m], h[m]]) for m in range(k)]
                    if j == 0:
                        terms.append(now[k * k + i])
                    following.append(terms[0])
                    for term in terms[1:]:
                        following[-1] = w.node("Add", [following[-1], term])
            return following, (following if after else states if before else [])

        given = [name for run in runs for name in run]
        lasts, arrays = scan(w, given, [o.name for o in operands if o.stepwise], step, back)
        return arrays or lasts
