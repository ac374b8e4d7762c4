"""The notation of the language: how the operations of a System are written as expressions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rnnc.graph.algebra import (
    ATOM,
    COMPARE,
    INFIX,
    LIKELIHOOD,
    NOT,
    POWER,
    PRODUCT,
    SUM,
    TERM,
    Part,
    enclosed,
    infix,
    product,
    side_by_side,
    summed,
    transposed,
)
from rnnc.graph.edges import is_met
from rnnc.graph.equations import LIKELIHOODS, arrange, is_square, is_squared_error, is_stretch
from rnnc.graph.ops import ALONG, LEAVES, REDUCTIONS
from rnnc.graph.system import System, Value
from rnnc.graph.types import BATCH, FIRST, LAST, Array, Bound, Index, Read, Size

GIVEN = frozenset(("input", "target", "param", "uniform"))  # leaves that no equation defines
_CALLED = {"minimum": "min", "maximum": "max"}


# ---------------------------------------------------------------- sizes, indices, constants


def size_text(size: Size) -> str:
    """A size as an expression of the language (``m*m``, where ``str`` gives ``m^2``)."""
    if isinstance(size, int):
        return str(size)
    return re.sub(r"([^\W\d][\w']*)\^(\d+)", lambda m: "*".join([m[1]] * int(m[2])), str(size))


def shape_text(shape: Iterable[Size]) -> str:
    return f"[{', '.join(map(size_text, shape))}]"


def index_text(index: Index, length: str) -> str:
    """``t-1``, ``1``, ``0``, ``T``, ``T+1``; ``length`` names the length of the axis indexed."""
    if index.base == FIRST:
        return size_text(index.offset + 1).replace(" ", "")
    base = length if index.base == LAST else index.base
    if index.offset == 0:
        return base
    offset = size_text(index.offset).replace(" ", "")
    return base + offset if offset.startswith("-") else f"{base}+{offset}"


def constant_part(value: Any) -> Part:
    """``2``, ``0.5``, ``1e-05``, ``pi``, ``<array [4]>``."""
    if isinstance(value, Array):
        if value.data.shape:
            return f"<array {shape_text(value.data.shape)}>", ATOM
        value = value.data[()]
    if isinstance(value, (bool, np.bool_)):
        return f"1 == {int(value)}", COMPARE  # flags have no literals
    if value == math.pi:
        return "pi", ATOM
    text = str(value).removesuffix(".0")
    return text, SUM if text.startswith("-") else ATOM


def size_part(size: Size) -> Part:
    """A size among the operands of an expression."""
    text = size_text(size)
    if " " in text or text.startswith("-"):
        return text, SUM
    return text.replace("*", " * ").replace("/", " / "), TERM if set(text) & set("*/") else ATOM


def _attrs(value: Value) -> dict[str, Any]:
    return dict(value.attrs)


# ---------------------------------------------------------------- expressions


class Printer:
    """Writes the equations of one system.

    ``hidden`` are values that a ``target`` line implies, ``inlined`` those that stand inside the
    expressions of their readers; every other value is a line of its own. ``names`` respells
    names, ``functions`` those of functions (``{"sigmoid": "σ"}``).
    """

    def __init__(
        self,
        system: System,
        names: Mapping[str, str] | None = None,
        functions: Mapping[str, str] | None = None,
    ):
        self.system = system
        self.names = names or {}
        self.functions = {**_CALLED, **(functions or {})}
        self.hidden, self.inlined, self.splits = arrange(system)

    def name(self, name: str) -> str:
        return self.names.get(name, name)

    def shown(self) -> list[Value]:
        """The values with a line of their own, in the system's order."""
        skipped = self.hidden | self.inlined | self.splits.keys()
        return [v for v in self.system.values.values() if v.name not in skipped]

    def equations(self) -> Iterator[tuple[tuple[Value, ...], str]]:
        """Each printed equation with the values that it defines (several in a ``split``)."""
        parts = {name: whole for whole, names in self.splits.items() for name in names}
        for value in self.shown():
            whole = parts.get(value.name)
            if value.op in GIVEN:
                continue
            if whole is None:
                yield (value,), self.equation(value)
            elif value.name == self.splits[whole][0]:
                values = tuple(self.system[name] for name in self.splits[whole])
                yield values, self.split(values, self.system[whole])

    def left(self, value: Value, at: Mapping[str, Index] | None = None) -> str:
        """``h[t]``, or with ``at`` the left side of a boundary, ``h[0]``."""
        indices = [
            index_text((at or {}).get(a, Index(a)), self.system.axes[a].length)
            for a in value.axes
            if a != BATCH
        ]
        return self.name(value.name) + (f"[{', '.join(indices)}]" if indices else "")

    def read(self, r: Read) -> str:
        """An operand: ``h[t-1]``, or the expression of an inlined value."""
        return self._read(r)[0]

    def expression(self, value: Value) -> str:
        """The right side of a value's equation."""
        return self._value(value)[0]

    def equation(self, value: Value) -> str:
        """``a[t] = b + W h[t-1] + U x[t]``"""
        return f"{self.left(value)} = {self.expression(value)}"

    def split(self, values: Sequence[Value], whole: Value) -> str:
        """``(a[t], b[t]) = split(v[t], 2)``"""
        right = f"split({self.expression(whole)}, {len(values)})"
        return f"({', '.join(map(self.left, values))}) = {right}"

    def boundaries(self, value: Value) -> list[str]:
        """``h[0] = …``, one for each boundary."""
        return [
            f"{self.left(value, {b.axis: b.step})} = {self._boundary(b)}"
            for b in value.bounds
            if is_met(self.system, value, b)
        ]

    def operands(self, value: Value) -> Iterator[Read]:
        """The reads in the equation as it is printed: those of inlined values in their place."""
        return self.through(value.reads)

    def through(self, reads: Iterable[Read]) -> Iterator[Read]:
        """The same reads, with those of inlined values in the place of these."""
        for r in reads:
            if r.source in self.inlined or r.source in self.splits:
                yield from self.through(self.system[r.source].reads)
            else:
                yield r

    def size(self, size: Size) -> str:
        """A size as an argument."""
        return size_text(size)

    def beside(self, left: Part, right: Part) -> Part:
        """A product of linear algebra."""
        return side_by_side(left, right)

    def distribution(self, name: str) -> str:
        """``categorical(p[t])`` of a target; a choice among steps names their axis."""
        found, target = self.system.targets[name], self.system[name]
        axes = {a for r in found.reads for a in self.system.read_axes(r)} - {*target.axes, BATCH}
        over = f"[{', '.join(self.system.ordered(axes))}]" if axes else ""
        return f"{found.kind}{over}({', '.join(map(self.read, found.reads))})"

    def _boundary(self, bound: Bound) -> str:
        source = self.system[bound.read.source]
        if source.name in self.inlined and source.op == "broadcast":  # scalars fill by themselves
            return self.read(source.reads[0])
        return self.read(bound.read)

    def _read(self, r: Read) -> Part:
        source = self.system[r.source]
        if r.source in self.inlined:
            return self._value(source)
        return self.left(source, dict(r.at)), ATOM

    def _value(self, value: Value) -> Part:
        op, attrs = value.op, _attrs(value)
        if op in LEAVES:
            return self._leaf(value, attrs)
        if op == "div" and (mean := self._mean(value)):
            return mean
        if op == "broadcast" and is_stretch(value.name):
            return self._read(value.reads[0])
        if op == "broadcast":
            return self._stretched(value)
        parts = [self._read(r) for r in value.reads]
        texts = [text for text, _ in parts]
        if is_square(value):
            return f"{enclosed(parts[0], ATOM)}^2", POWER
        if op in INFIX:
            return infix(op, *parts)
        match op:
            case "neg" if texts[0].startswith("-") and parts[0][1] == LIKELIHOOD:
                return texts[0][1:], ATOM
            case "neg":
                return f"-{enclosed(parts[0], PRODUCT)}", SUM
            case "not":
                return f"not {enclosed(parts[0], NOT)}", NOT
            case "copy" | "to_real":
                return parts[0]
            case "contract":
                return summed(product(parts, attrs, self._letters(value)), attrs.get("over", ()))
            case "scatter":
                return summed(self._scattered(value), attrs["over"])
            case "transpose":
                return transposed(parts[0]), ATOM
            case "concat":
                return f"[{', '.join(texts)}]", ATOM
            case "gather":
                return self._gather(value, parts[0], texts[1])
            case "sum" if is_squared_error(self.system, value, self.inlined):
                square = self.system[value.reads[0].source]
                difference = self.system[square.reads[0].source]
                return self._call("squared_error", [self.read(r) for r in difference.reads])
            case "sum":
                over = attrs["over"]
                return summed(parts[0], over) if over else self._call("sum", texts)
            case "log_softmax":
                inner = self._call("softmax", texts, attrs["over"])
                return self._call("log", [inner[0]])
            case "slice":
                texts += [size_text(attrs["start"]), size_text(attrs["stop"])]
            case "repeat" | "kth_largest":
                texts.append(size_text(attrs["count"]))
            case "onehot":
                texts.append(size_text(attrs["size"]))
        over = attrs.get("over", ()) if op in REDUCTIONS else ()
        return self._call(op, texts, (attrs["axis"],) if op in ALONG else over)

    def _call(self, op: str, texts: list[str], over: Iterable[str] = ()) -> Part:
        bracket = f"[{', '.join(over)}]" if over else ""
        return f"{self.functions.get(op, op)}{bracket}({', '.join(texts)})", ATOM

    def _leaf(self, value: Value, attrs: Mapping[str, Any]) -> Part:
        match value.op:
            case "constant":
                return constant_part(attrs["value"])
            case "size":
                return size_part(attrs["size"])
            case "arange" | "eye":
                return self._call(value.op, [size_text(attrs["size"])])
            case "step":
                return attrs.get("axis") or value.axes[0], ATOM
            case "length":
                axis = attrs["axis"]
                return ("sum[batch](1)" if axis == BATCH else self.system.axes[axis].length), ATOM
            case "training":
                return "training", ATOM
        return self.left(value), ATOM

    def _gather(self, value: Value, table: Part, row: str) -> Part:
        """``E[w[t]]``; of something that is no plain name, a loss or a product."""
        r = value.reads[0]
        source = self.system[r.source]
        if r.source in self.inlined:
            loss = self._call(LIKELIHOODS[source.op], [self.read(source.reads[0]), row])
            return f"-{loss[0]}", LIKELIHOOD
        if "[" not in table[0]:
            return f"{table[0]}[{row}]", ATOM
        chosen = self._call("onehot", [row, size_text(source.type.shape[0])])
        if source.type.rank == 1:
            return self._call("dot", [chosen[0], table[0]])
        return side_by_side((transposed(table), ATOM), chosen)

    def _stretched(self, value: Value) -> Part:
        """A number or a length of 1 stretched, by products with ones where it is a matrix."""
        part, shape = self._read(value.reads[0]), self.system[value.reads[0].source].type.shape
        wanted = [self.size(s) for s in value.type.shape]

        def repeated(text: str, count: str) -> str:
            return self._call("repeat", [f"[{text}]", count])[0]

        if not shape and len(wanted) == 1:
            return repeated(part[0], wanted[0]), ATOM
        if not shape:
            return self._call("outer", [repeated(part[0], wanted[0]), repeated("1", wanted[1])])
        if len(shape) == 1:
            return self._call("repeat", [part[0], *wanted])
        if shape[0] != value.type.shape[0]:
            part = self.beside(self._call("outer", [repeated("1", wanted[0]), "[1]"]), part)
        if shape[1] != value.type.shape[1]:
            part = self.beside(part, self._call("outer", ["[1]", repeated("1", wanted[1])]))
        return part

    def _letters(self, product: Value) -> dict[str, str]:
        """The size of each letter of a contraction."""
        words = (product.attr("left"), product.attr("right"))
        return {
            letter: size_text(size)
            for word, r in zip(words, product.reads, strict=True)
            for letter, size in zip(word, self.system[r.source].type.shape, strict=True)
        }

    def _scattered(self, value: Value) -> Part:
        """``outer(onehot(w[t], k), ∂e[t])``: a row put where a table was looked up."""
        row, place = (self.read(r) for r in value.reads)
        chosen = self._call("onehot", [place, size_text(value.type.shape[0])])
        return self._call("outer", [chosen[0], row])

    def _mean(self, value: Value) -> Part | None:
        """A sum over an axis divided by its length, or over all features by their number."""
        top, below = (self.system[r.source] for r in value.reads)
        while below.op in ("to_real", "copy") and below.name in self.inlined:
            below = self.system[below.reads[0].source]
        if top.name not in self.inlined or below.name not in self.inlined:
            return None
        over = _attrs(top).get("over", ())
        parts = [self._read(r) for r in top.reads]
        if top.op == "sum" and not over and below.op == "size":
            count: Size = 1
            for size in self.system[top.reads[0].source].type.shape:
                count = count * size
            return self._call("mean", [parts[0][0]]) if count == below.attr("size") else None
        if top.op not in ("sum", "contract", "scatter") or below.op != "length":
            return None
        axis = below.attr("axis")
        if axis not in over:
            return None
        if top.op == "scatter":
            inner = self._scattered(top)
        else:
            inner = parts[0]
        if top.op == "contract":
            inner = product(parts, _attrs(top), self._letters(top))
        rest = summed(inner, tuple(a for a in over if a != axis))
        return self._call("mean", [rest[0]], (axis,))
