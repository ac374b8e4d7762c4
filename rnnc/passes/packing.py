"""The operands of ONNX's recurrent operators, packed from the weights of equations.

    z = σ(W_z x + U_z h'), r = …, n = …    →    W = [W_z; W_r; W_n], R = [U_z; U_r; U_n]

Rows stand by role, in ONNX's order, biases of inputs before recurrent ones (ONNX, operators RNN,
GRU, LSTM). All is made of ordinary values of the parameters, so that whoever holds the weights
computes it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rnnc.graph.types import Array, Attrs, Read, whole
from rnnc.passes.editor import Editor
from rnnc.passes.roles import PEEPHOLES, ROLES, Native, Weighted
from rnnc.passes.sums import Chain, Rows
from rnnc.passes.views import View


def packed(editor: Editor, natives: Sequence[Native]) -> dict[str, Read]:
    """The operands by the operator's names, those left out that it can do without: of one
    recurrence, or of a forward and a backward one, one below the other."""
    return _Packing(editor, natives).operands()


class _Packing:
    """The operands of the operator, as values of the parameters."""

    def __init__(self, editor: Editor, natives: Sequence[Native]):
        self.editor = editor
        self.natives = natives
        self.inputs: dict[View, None] = {}
        for native in natives:
            for role in ROLES[native.kind]:
                self.inputs.update(dict.fromkeys(native.rows[role].inputs))
        first = natives[0]
        self.name = f"{first.h}.{first.kind.lower()}"
        self.origins = editor.values[first.h].origins

    def operands(self) -> dict[str, Read]:
        """By the operator's names; those that it can do without are left out."""
        out = {"X": self._x()}
        rows = [(n, n.rows[role]) for n in self.natives for role in ROLES[n.kind]]
        out["W"] = self._joined("W", [self._inputs(n, r.inputs) for n, r in rows])
        out["R"] = self._joined("R", [self._matrix(r.state, n.size, n.size) for n, r in rows])
        biases = [
            part
            for n in self.natives
            for kind in ("bias", "inner_bias")
            for role in ROLES[n.kind]
            for part in [self._bias(n, role, kind)]
        ]
        if any(b is not None for b in biases):
            size = self.natives[0].size
            out["B"] = self._joined("B", [b or self._zeros(size) for b in biases])
        if any(n.peepholes for n in self.natives):
            parts = [
                self._vector(n.rows[role].peephole, n.size) or self._zeros(n.size)
                for n in self.natives for role in PEEPHOLES
            ]  # fmt: skip
            out["P"] = self._joined("P", parts)
        for operand, state in (("initial_h", "h"), ("initial_c", "c")):
            given = [n.initial.get(getattr(n, state) or "") for n in self.natives]
            if any(given):
                out[operand] = self._joined(
                    operand,
                    [self._full(r, n.size) for r, n in zip(given, self.natives, strict=True)],
                )
        lengths = next((n.lengths for n in self.natives if n.lengths), None)
        if lengths is not None:
            out["sequence_lens"] = lengths
        return out

    def _make(self, name: str, op: str, reads: Sequence[Read], attrs: Attrs = ()) -> Read:
        return self.editor.make(f"{self.name}.{name}", op, reads, attrs, self.origins)

    def _joined(self, name: str, parts: Sequence[Read]) -> Read:
        return parts[0] if len(parts) == 1 else self._make(name, "concat", parts)

    def _zeros(self, *shape: int) -> Read:
        zero = self._make("zero", "constant", (), (("value", 0.0),))
        return self._make("zeros", "broadcast", (zero,), (("shape", shape),))

    def _full(self, r: Read | None, size: int) -> Read:
        """An initial state as a vector."""
        if r is None:
            return self._zeros(size)
        if self.editor.type(r).rank:
            return r
        return self._make("initial", "broadcast", (r,), (("shape", (size,)),))

    # ---------------------------------------------------------------- inputs

    def _x(self) -> Read:
        """All inputs as one vector, over the axis of the recurrence."""
        axis = self.natives[0].axis
        parts = [self._entries(v) for v in self.inputs] or [self._zeros(1)]
        x = self._joined("x", parts)
        if axis in self.editor.axes(x):
            return x
        # what is the same at every step still has to be there at each
        made = self._make("x", "copy", (x,))
        value = self.editor.values[made.source]
        axes = self.editor.system.ordered({*value.axes, axis})
        value = replace(value, axes=axes)
        self.editor.values[made.source] = self.editor.added[made.source] = value
        return made

    def _entries(self, view: View) -> Read:
        shape = self.editor.type(view.read).shape
        if not shape:
            return self._make("entry", "broadcast", (view.read,), (("shape", (1,)),))
        if whole(shape[0]) == view.size:
            return view.read
        ends = (("start", view.start), ("stop", view.stop))
        return self._make("part", "slice", (view.read,), ends)

    def _inputs(self, native: Native, weights: dict[View, list[Weighted]]) -> Read:
        """The matrix before all inputs: blocks of columns, zero where one is not read."""
        if not self.inputs:
            return self._zeros(native.size, 1)
        blocks = [self._matrix(weights.get(v, []), native.size, v.size) for v in self.inputs]
        if len(blocks) == 1:
            return blocks[0]
        turned = [self._make("columns", "transpose", (b,)) for b in blocks]
        return self._make("columns", "transpose", (self._make("columns", "concat", turned),))

    # ---------------------------------------------------------------- weights

    def _bias(self, native: Native, role: str, kind: str) -> Read | None:
        rows = native.rows[role]
        if kind == "bias" and rows.constant:
            value = Array(np.full(native.size, rows.constant))
            return self._make("open", "constant", (), (("value", value),))
        return self._vector(rows.bias if kind == "bias" else rows.inner_bias, native.size)

    def _vector(self, weights: list[Weighted], size: int) -> Read | None:
        """A sum of vectors: of each chain, what it makes of ones."""
        total: Read | None = None
        for scale, chain in weights:
            made = self._scaled(scale, self._of_ones(chain, size))
            total = made if total is None else self._make("sum", "add", (total, made))
        return total

    def _of_ones(self, chain: Chain, size: int) -> Read:
        """A chain of matrices and vectors applied to ones."""
        made: Read | None = None
        for f in reversed(chain):
            if isinstance(f, Rows):
                matrix = self._rows(f)
                columns = whole(self.editor.type(matrix).shape[1])
                reads = (matrix, self._wide(made, columns))
                made = self._make("product", "contract", reads, _letters("ij", "j", "i"))
            else:
                own = self._entries_of(f.vector)
                made = own if made is None else self._make("product", "mul", (made, own))
        return self._wide(made, size)

    def _wide(self, r: Read | None, size: int) -> Read:
        """A vector of that size; None stands for ones."""
        if r is not None and self.editor.type(r).shape == (size,):
            return r
        ones = self._make("ones", "constant", (), (("value", Array(np.ones(size))),))
        return ones if r is None else self._make("wide", "mul", (r, ones))

    def _matrix(self, weights: list[Weighted], rows: int, columns: int) -> Read:
        """A sum of products of matrices; a vector among them is a diagonal one, or of a single
        number the one column."""
        total: Read | None = None
        for scale, chain in weights:
            made = self._product(chain)
            if (made is None or self.editor.type(made).rank < 2) and columns == 1:
                one = self._make("one", "constant", (), (("value", Array(np.ones(1))),))
                reads = (self._wide(made, rows), one)
                made = self._make("column", "contract", reads, _letters("i", "j", "ij"))
            elif made is None or self.editor.type(made).rank < 2:
                eye = self._make("eye", "eye", (), (("size", rows),))
                made = eye if made is None else self._over_rows(self._wide(made, rows), eye)
            made = self._scaled(scale, made)
            total = made if total is None else self._make("sum", "add", (total, made))
        return self._zeros(rows, columns) if total is None else total

    def _scaled(self, scale: float, r: Read) -> Read:
        if scale == 1:
            return r
        if scale == -1:
            return self._make("minus", "neg", (r,))
        factor = self._make("scale", "constant", (), (("value", scale),))
        return self._make("scaled", "mul", (factor, r))

    def _product(self, chain: Chain) -> Read | None:
        """A chain of matrices and vectors (which are diagonal matrices), multiplied."""
        total: Read | None = None
        for f in chain:
            made = self._rows(f) if isinstance(f, Rows) else self._entries_of(f.vector)
            total = made if total is None else self._times(total, made)
        return total

    def _entries_of(self, view: View) -> Read:
        return self._entries(view) if self.editor.type(view.read).rank else view.read

    def _rows(self, f: Rows) -> Read:
        matrix = f.matrix
        if f.transposed:
            matrix = self._make("turned", "transpose", (matrix,))
        if whole(self.editor.type(matrix).shape[0]) == f.stop - f.start:
            return matrix
        return self._make("rows", "slice", (matrix,), (("start", f.start), ("stop", f.stop)))

    def _times(self, a: Read, b: Read) -> Read:
        left, right = self.editor.type(a).rank, self.editor.type(b).rank
        if max(left, right) < 2 or 0 in (left, right):
            return self._make("product", "mul", (a, b))
        if left == 1:
            return self._over_rows(self._wide(a, whole(self.editor.type(b).shape[0])), b)
        if right == 2:
            return self._make("product", "contract", (a, b), _letters("ij", "jk", "ik"))
        columns = self._wide(b, whole(self.editor.type(a).shape[1]))
        return self._make("product", "contract", (a, columns), _letters("ij", "j", "ij"))

    def _over_rows(self, vector: Read, matrix: Read) -> Read:
        """A matrix with its rows scaled."""
        return self._make("product", "contract", (vector, matrix), _letters("i", "ij", "ij"))


def _letters(left: str, right: str, out: str) -> Attrs:
    return (("left", left), ("right", right), ("out", out), ("over", ()))
