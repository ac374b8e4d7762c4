"""Gradient equations as a textbook prints them.

    d_f.1.8[t] = ∂f[t] * f[t] * (1 - f[t])      →      δ_f[t] = ∂f[t] * f[t] * (1 - f[t])

Short expressions stand wherever they are used (``tanh(c[t])``), common factors stand before a
bracket, and what is used more than once has a name: δ is the usual letter for the gradient inside
of an equation, before its activation. What is printed reads back to a system of the same
meaning, which is why shapes and edges that a reader of the text could not infer are put in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnc.graph.equations import is_stretch
from rnnc.graph.names import GRADIENT, is_temporary, owner_of
from rnnc.graph.notation import Printer
from rnnc.graph.ops import LEAVES, MAPS
from rnnc.graph.show import spelling
from rnnc.graph.system import System, Value, moved
from rnnc.graph.types import FIRST, LAST, Array, Bound, Index, Read, Type
from rnnc.passes.editor import MATRIX_VECTOR, Editor

DELTA = "delta_"
MOST_LEAVES = 2  # of an expression that is short enough to be written more than once
MOST_OPERATIONS = 3
INLINE_LEAVES = frozenset(("constant", "size", "length", "step", "arange", "eye"))
FINITE = frozenset(  # at zero, so that a product with a zero is zero
    (
        *("add", "sub", "mul", "neg", "tanh", "sigmoid", "relu", "sin", "cos", "exp", "softplus"),
        *("to_real", "contract", "constant", "size"),
    )
)


def textbook(system: System) -> System:
    """The differentiated system under a name of its own, as people would write it."""
    book = _Book(system)
    book.factor()
    book.repeat_short()
    book.spell_arrays()
    book.show_shapes()
    book.show_edges()
    system = _named(book.result())
    return replace(
        system,
        name=f"{system.name}Gradients",
        doc=f"The gradients of {system.name}, by back-propagation through time.\n\n"
        + (
            "∂v is the derivative of each sequence's own loss by v; of a parameter, the mean\n"
            "over the batch."
            if system.losses
            else "∂v is the derivative by v of the sum of the outputs, weighted with the inputs ∂…"
        ),
    )


class _Book(Editor):
    """A system that is made more readable."""

    def __init__(self, system: System):
        super().__init__(system)
        self.targets = dict(system.targets)

    def result(self) -> System:
        """The changed system; what is new comes right before its first reader."""
        ordered: dict[str, Value] = {}
        for name in self.system.values:
            todo = [name]
            while todo:
                top = self.values[todo[-1]]
                sources = (r.source for _, r in top.all_reads())
                new = [s for s in sources if s not in self.system.values and s not in ordered]
                if new:
                    todo.append(new[0])
                else:
                    ordered[todo.pop()] = top
        ordered |= self.values  # those that a distribution alone reads
        return self.system.with_values(ordered, targets=self.targets).pruned()

    # ---------------------------------------------------------------- factors

    def factor(self) -> None:
        """``g * (a - b)`` for the gradient ``g * a - g * b``."""
        for v in self.system.values.values():
            if v.op not in ("add", "sub") or not v.name.startswith(GRADIENT):
                continue
            parts = [self.values[r.source] for r in v.reads]
            if any(p.op != "mul" for p in parts) or not all(map(self.private, v.reads)):
                continue
            common = [r for r in parts[0].reads if r in parts[1].reads]
            if len(common) != 1 or any(p.type != v.type for p in parts):
                continue
            others = [p.reads[0] if p.reads[1] == common[0] else p.reads[1] for p in parts]
            if any(self.type(r) != v.type for r in (*common, *others)):
                continue
            inner = self.make(f"{owner_of(v.name)}.1", v.op, others, (), v.origins)
            if self.values[inner.source].axes == v.axes:
                self.change(v.name, "mul", (common[0], inner))

    # ---------------------------------------------------------------- short expressions

    def repeat_short(self) -> None:
        """Give each reader of a short expression one of its own, which is printed in its place."""
        system = self.system = self.result()
        self.values = dict(system.values)
        short = self._short()
        for v in system.values.values():
            if v.name not in short:
                self.values[v.name] = self._with_copies(v, short)
        self.targets = {
            name: d.map_reads(lambda r: self._copied(r, None, short, {}))
            for name, d in system.targets.items()
        }

    def _short(self) -> dict[str, _Size]:
        """The temporaries that are short, with their size."""
        found: dict[str, _Size] = {}
        kept = set(self.system.results)
        for name in _operands_first(self.system):
            v = self.system[name]
            if not is_temporary(name) or name in kept or v.bounds or v.op in LEAVES:
                continue
            if v.op == "copy" and set(self.system.read_axes(v.reads[0])) != set(v.axes):
                continue  # it stretches
            if v.op not in MAPS | {"contract"} or (v.op == "contract" and v.attrs != MATRIX_VECTOR):
                continue
            sizes = [self._size(r, found) for r in dict.fromkeys(v.reads)]
            total = _Size(
                sum(s.leaves for s in sizes),
                1 + sum(s.operations for s in sizes),
                all(s.finite for s in sizes) and v.op in FINITE,
                any(s.steps for s in sizes),
            )
            most = 1 if name.startswith(GRADIENT) else MOST_LEAVES
            if total.leaves <= most and total.operations <= MOST_OPERATIONS:
                found[name] = total
        return found

    def _size(self, r: Read, found: dict[str, _Size]) -> _Size:
        if not r.at and r.source in found:
            return found[r.source]
        v = self.system[r.source]
        long = is_temporary(r.source) and v.op not in INLINE_LEAVES
        return _Size(1 + MOST_LEAVES if long else 1, 0, v.op != "step", v.op == "step")

    def _with_copies(self, v: Value, short: dict[str, _Size]) -> Value:
        made: dict[Read, Read] = {}
        return v.map_reads(lambda r: self._copied(r, v, short, made))

    def _copied(
        self, r: Read, reader: Value | None, short: dict[str, _Size], made: dict[Read, Read]
    ) -> Read:
        """The read of a copy of a short expression, at the steps where it is read."""
        if r.source not in short or not self._may_move(r, reader, short[r.source]):
            return r
        if r not in made:
            v = self.system[r.source]
            moved = v.map_reads(
                lambda inner: self._copied(self._after(inner, r), None, short, made)
            )
            name = self.system.fresh(f"{owner_of(v.name)}.1", self.values)
            self.values[name] = replace(moved, name=name)
            made[r] = Read(name)
        return made[r]

    def _may_move(self, r: Read, reader: Value | None, size: _Size) -> bool:
        """Whether the expression may stand at the steps that are read. Past the ends it need not
        be zero, as what is read is, so that something must be that it is multiplied with."""
        if not r.at:
            return True
        if any(i.fixed or a != i.base for a, i in r.at) or not size.finite or size.steps:
            return False
        if reader is None or reader.op != "mul":
            return False
        return any(
            o.source != r.source and o.at == r.at and not self.values[o.source].bounds
            for o in reader.reads
        )

    def _after(self, inner: Read, outer: Read) -> Read:
        """What is read where the reader itself is read at other steps."""
        return moved(inner, self.system[inner.source].axes, outer.index)

    # ---------------------------------------------------------------- what cannot be inferred

    def spell_arrays(self) -> None:
        """Write constant arrays with the numbers in them, a matrix as the sum of its rows."""
        for v in list(self.values.values()):
            array = v.attr("value") if v.op == "constant" else None
            if not isinstance(array, Array) or not array.data.size:
                continue
            base, data = f"{v.name}.1", array.data
            if (data == data.flat[0]).all():
                number = self._constant(base, data.flat[0])
                self.change(v.name, "broadcast", (number,), (("shape", v.type.shape),))
            elif data.ndim == 1:
                self.change(v.name, "concat", [self._constant(base, x) for x in data])
            elif v.type.kind == "real" and data.ndim == 2:
                rows = [self._row(base, i, data) for i in range(len(data))]
                total = rows[0]
                for row in rows[1:]:
                    total = self.make(base, "add", (total, row))
                self.change(v.name, "copy", (total,))

    def _constant(self, base: str, number: np.generic) -> Read:
        return self.make(base, "constant", (), (("value", number.item()),))

    def _row(self, base: str, i: int, data: NDArray[Any]) -> Read:
        """A matrix that holds one row of another."""
        place = self.make(base, "constant", (), (("value", i),))
        one = self.make(base, "onehot", (place,), (("size", len(data)),))
        row = self.make(base, "concat", [self._constant(base, x) for x in data[i]])
        outer = (("left", "i"), ("right", "j"), ("out", "ij"), ("over", ()))
        return self.make(base, "contract", (one, row), outer)

    def show_shapes(self) -> None:
        """Write out what stretches a number to a vector or matrix, where nothing else tells."""
        for v in list(self.values.values()):
            if is_stretch(v.name) or not any(is_stretch(r.source) for r in v.reads):
                continue
            elementwise = v.op in MAPS
            reads = list(v.reads)
            told = elementwise and (
                not v.type.rank
                or any(self.type(r) == v.type for r in reads if not is_stretch(r.source))
            )
            for i, r in enumerate(reads):
                if is_stretch(r.source) and not told:
                    reads[i] = self._written_out(r, v)
                    told = elementwise and self.type(r).shape == v.type.shape
            self.values[v.name] = replace(self.values[v.name], reads=tuple(reads))

    def _written_out(self, r: Read, reader: Value) -> Read:
        """A copy of what stretches, under a name that is printed in full."""
        v = self.values[r.source]
        inner = tuple(self._written_out(x, reader) if is_stretch(x.source) else x for x in v.reads)
        name = self.system.fresh(f"{owner_of(reader.name)}.1", self.values)
        self.values[name] = replace(v, name=name, reads=inner)
        return Read(name)

    def show_edges(self) -> None:
        """Say that flags are off past the ends, where the language does not assume so."""
        for v in list(self.values.values()):
            for r in v.reads:
                source = self.values[r.source]
                for axis, index in r.at:
                    if source.type.kind != "real" and source.op not in LEAVES and not index.fixed:
                        self._close(source.name, axis, index)

    def _close(self, name: str, axis: str, index: Index) -> None:
        v = self.values[name]
        before = isinstance(index.offset, int) and index.offset < 0
        step = Index(FIRST, -1) if before else Index(LAST, 1)
        if any(b.axis == axis and b.step.base == step.base for b in v.bounds):
            return
        value = False if v.type.kind == "flag" else 0
        made = self.system.fresh(f"{owner_of(name)}.1", self.values)
        self.values[made] = Value(
            made, "constant", (), Type(v.type.kind), (), (("value", value),), (), v.origins
        )
        bounds = (*v.bounds, Bound(axis, step, Read(made)))
        self.values[name] = replace(v, bounds=bounds)


@dataclass(frozen=True)
class _Size:
    """Of an expression: its leaves and operations; whether it is finite where what it reads is
    zero; whether the number of the step is in it."""

    leaves: int
    operations: int
    finite: bool
    steps: bool


def _operands_first(system: System) -> Iterator[str]:
    """The temporaries of a system, each after those that it reads."""
    done: set[str] = set()
    for root in system.values:
        todo = [root]
        while todo:
            name = todo[-1]
            parts = [
                r.source
                for r in system[name].reads
                if is_temporary(r.source) and r.source not in done and r.source not in todo
            ]
            if parts:
                todo.append(parts[0])
            else:
                todo.pop()
                if name not in done:
                    done.add(name)
                    yield name


# ---------------------------------------------------------------- names


def _named(system: System) -> System:
    """Names for the temporaries that have a line of their own."""
    names: dict[str, str] = {}
    printer = Printer(system)
    kept = set(system.results)
    for v in printer.shown():
        if not is_temporary(v.name) or v.name in kept:
            continue
        taken = {*system.own_names, *names.values()}
        owner = owner_of(v.name)
        if v.type.kind != "real":
            owner = owner.removeprefix(GRADIENT)
        if v.name.startswith(GRADIENT) and v.type.kind == "real":
            names[v.name] = _free(f"{DELTA}{_inside(printer, v, owner)}", taken)
        elif owner.replace(".", "_").isidentifier():
            names[v.name] = _numbered(owner, taken)

    def renamed(r: Read) -> Read:
        return r.renamed(names.get(r.source, r.source))

    values = [
        replace(v.map_reads(renamed), name=names.get(v.name, v.name))
        for v in system.values.values()
    ]
    targets = {name: d.map_reads(renamed) for name, d in system.targets.items()}
    return system.with_values(values, targets=targets)


def _inside(printer: Printer, v: Value, owner: str) -> str:
    """The equation that a gradient belongs to: of a loss that of the distribution's parameter."""
    system = printer.system
    explained = {r.source for d in system.targets.values() for r in d.reads}
    if owner.removeprefix(GRADIENT).split(".")[0] == "loss":
        for r in printer.operands(v):
            if r.source in explained and not is_temporary(r.source):
                return r.source
    return owner.removeprefix(GRADIENT)


def symbols(system: System) -> dict[str, str]:
    """How the names of gradients are written: ``d_h`` is ∂h, ``delta_h`` is δ_h."""
    out, spelled = {}, spelling(system)
    for name in system.values:
        if is_temporary(name):
            continue
        plain = spelled.get(name, name)
        if name.startswith(GRADIENT) and name.removeprefix(GRADIENT)[:1].isalpha():
            out[name] = f"∂{plain.removeprefix(GRADIENT)}"
        elif name.startswith(DELTA):
            out[name] = f"δ_{plain.removeprefix(DELTA)}"
    return out


def _free(base: str, taken: set[str]) -> str:
    return base if base not in taken else _numbered(base, taken, 2)


def _numbered(base: str, taken: set[str], count: int = 1) -> str:
    while f"{base}_{count}" in taken:
        count += 1
    return f"{base}_{count}"
