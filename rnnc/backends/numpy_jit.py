"""One loop of a Plan as a function for numba: elementwise statements become one pass over memory.

    c.1[t] = mul(f[t], c[t-1])                   for i in range(m):
    c.2[t] = mul(i[t], g[t])                →        for j in range(batch):
    c[t] = add(c.1[t], c.2[t])                           c_1_t = f[i, j] * c_last[i, j]
                                                         ...
                                                         c[step, i, j] = c_1_t + c_2_t

A call of NumPy costs half a microsecond, which is what loops of small models cost; here no calls
are left but those of matrix products. Memory lies as in ``numpy_loop``, features first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rnnc.backends.numpy_nests import ELEMENTWISE, VIEWS, nests_of, views_of
from rnnc.backends.numpy_states import lag, memory_of, overwritten, projections, rows_of
from rnnc.backends.numpy_whole import turned_weights
from rnnc.backends.numpy_writer import Writer, features_first
from rnnc.graph.types import BATCH
from rnnc.passes.plan import Compute, Extent, Loop


@dataclass(frozen=True)
class _Place:
    """Where a value lies: an array, the index of the step, the first of its features."""

    array: str
    step: str | None = None
    start: int = 0
    own: bool = False  # memory of the function


class JitLoop:
    """One loop as a function, and the lines that call it."""

    def __init__(self, w: Writer, loop: Loop):
        self.w = w
        self.loop = loop
        self.types = dict(w.plan.arrays)
        self.rows = rows_of(loop, self.types, frozenset())
        self.products = projections(loop, self.types)
        self.statements = [s for s in loop.body if isinstance(s, Compute)]
        self.views = views_of(loop)
        self.places: dict[str, _Place] = {}
        self.params: dict[str, str] = {}  # of the function, with what is given for them
        self.before: list[str] = []  # lines in front of the call
        self.after: list[str] = []
        self.text: list[str] = []  # lines of the function
        self.here: set[str] = set()  # what the nest computes that is being written
        self.flats: dict[str, str] = {}  # arrays whose last two dimensions are one, by name
        # states in rows, with the next rows' parts: a nest that read of one row and wrote to
        # another would be computed one entry after the other
        self.beside: dict[str, str] = {}
        self.parts: dict[str, str] = {}  # of arrays, from an offset on, by what they are
        self.flat = False  # whether the nest goes over features and sequences in one

    def write(self, name: str) -> tuple[list[str], list[str]]:
        """The function, and the lines that make its memory and call it."""
        w, loop = self.w, self.loop
        self._place_rows()
        self._place_kept()
        nests, kept = nests_of(loop, self.types)
        self._place_carried()
        for s in self.statements:
            if s.target in kept and s.target not in self.places:
                self.places[s.target] = self._buffer(s.target)
        steps = w.extent(loop.axis)
        turn = f"range({steps})" if loop.forward else f"range({steps} - 1, -1, -1)"
        start = len(self.text)
        self.text.append(f"    for step in {turn}:")
        w.quoted = ()
        for nest in nests:
            self._nest(nest, kept)
        for c in sorted(loop.carried, key=lambda c: lag(loop, c), reverse=True):
            target = self.beside.get(c.name, c.name)
            if self.places[target] != self.places.get(c.next):
                self._each(target, c.next, 2)
        w.quoted = ()
        parts = [(f"{name} = {text}", "[step" in text) for text, name in self.parts.items()]
        self.text[start + 1 : start + 1] = [f"        {text}" for text, inside in parts if inside]
        self.text[start:start] = [f"    {text}" for text, inside in parts if not inside]
        self.text[start:start] = [self._flattened(*flat) for flat in self.flats.items()]
        words = set(re.findall(r"\w+", "\n".join(self.text)))
        for axis in w.plan.axes:
            if (extent := w.extent(axis)).isidentifier() and extent in words:
                self.params[extent] = extent
        function = [f"@jit\ndef {name}({', '.join(self.params)}):", *self.text]
        call = f"{name}({', '.join(self.params.values())})"
        return function, [*self.before, call, *self.after]

    # ---------------------------------------------------------------- where values lie

    def _place_rows(self) -> None:
        read, write = ("step", "step + 1") if self.loop.forward else ("step + 1", "step")
        for rows in self.rows.values():
            lines, steps = memory_of(self.w, self.loop, rows)
            self.before += lines
            name = steps.partition("[")[0]
            self.params[name] = f"{name}.swapaxes(1, 2)"
            start = 0
            for a in rows.parts:
                if a == rows.state.name:
                    self.places[a] = _Place(name, read, start)
                    row = f"{rows.state.next}:row"
                    self.types[row] = self.types[a]
                    self.places[row] = _Place(name, write, start)
                    self.beside[a] = row
                start += self._size(a)
            self.places[rows.name] = _Place(name, read)

    def _place_kept(self) -> None:
        n = self.w.names
        for outer, inner in self.loop.collected:
            if outer not in {rows.outer for rows in self.rows.values()}:
                self.before.append(f"{n[outer]} = {self.w.memory(outer)}")
                swap = ".swapaxes(-1, -2)" if features_first(self.types[inner]) else ""
                self.params[n[outer]] = n[outer] + swap
                self.places[inner] = _Place(n[outer], "step")

    def _place_carried(self) -> None:
        """A state that is in no rows has a buffer, and a new one that can be written over it
        none."""
        alike = overwritten(self.loop, self.types)
        kept = {inner: outer for outer, inner in self.loop.collected}
        last = "-1" if self.loop.forward else "0"
        for c in self.loop.carried:
            if c.final and c.next in kept:
                final = f"{self.w.names[kept[c.next]]}[{last}]"
                self.after.append(f"{self.w.names[c.final]} = {final}")
            if c.name in self.places:
                continue
            self.places[c.name] = self._buffer(c.name, c.final if c.next not in kept else None)
            self._each(c.name, c.initial, 1)
            if c.next in alike:
                self.places[c.next] = self.places[c.name]

    def _buffer(self, name: str, final: str | None = None) -> _Place:
        """Memory of one step: the function's own, or the caller's for what is read afterwards."""
        w, type_ = self.w, self.types[name]
        if final is not None:
            array = w.names[final]
            self.before.append(f"{array} = {w.memory(final)}")
            self.params[array] = array + (".swapaxes(-1, -2)" if features_first(type_) else "")
            return _Place(array)
        dims = type_.dims
        if features_first(type_):
            dims = (*dims[:-2], dims[-1], dims[-2])
        array = w.fresh(f"{w.names[name]}_array")
        self.text.append(f"    {array} = np.empty({w.shape(dims or (1,))}, {w.kind(name)})")
        return _Place(array, own=True)

    def _place(self, name: str) -> _Place:
        """Where a value lies; what comes from outside is given to the function."""
        if name not in self.places:
            scanned = dict(self.loop.scanned)
            array, type_ = self.w.names[scanned.get(name, name)], self.types[name]
            self.places[name] = _Place(array, "step" if name in scanned else None)
            if name not in scanned and not type_.dims:
                kind = {"real": "REAL", "index": "int", "flag": "bool"}[type_.kind]
                self.params[array] = f"{kind}({array})"
            else:  # always laid out alike, so that the function is compiled once
                swap = ".swapaxes(-1, -2)" if features_first(type_) else ""
                self.params[array] = f"np.ascontiguousarray({array}{swap})"
        return self.places[name]

    def _size(self, name: str, dim: int = -1) -> int:
        size = self.types[name].dims[dim]
        assert isinstance(size, int)
        return size

    # ---------------------------------------------------------------- lines

    def _nest(self, nest: Sequence[Compute], kept: set[str]) -> None:
        """The lines of some statements that go over the same dimensions."""
        for s in nest:
            self._quote(s)
        first = nest[0]
        if first in self.products:
            text = turned_weights(self.w, first.args[1])
            weights = next((x for x, given in self.params.items() if given == text), None)
            weights = weights or self.w.fresh(f"{self.w.names[first.args[1]]}_T")
            self.params[weights] = text
            x, out = self._block(first.args[0]), self._block(first.target)
            self.text.append(f"        np.dot({weights}, {x}, {out})")
            return
        if first.op == "concat":
            start, dim = 0, first.attr("dim")
            for a in first.args:
                self._each(first.target, a, 2, (dim, start))
                start += self._size(a, dim)
            return
        if first.op == "sum":
            self._sum(first, *self._open(self.types[first.target].dims, 2))
            return
        made = {s.target for s in nest}
        reads = {a for s in nest for a in s.args if a not in made}
        wide = len(self.types[first.target].dims) == 2
        self.flat = wide and all(map(self._flattens, (first.target, *reads)))
        index, indent = self._open(self.types[first.target].dims, 2)
        for s in nest:
            if s.op in VIEWS:
                value = self._read(s.args[0], _source(s, index))
            else:
                value = ELEMENTWISE[s.op].format(*(self._read(a, index) for a in s.args))
            if s.target in kept:
                target = self._entry(s.target, index)
                read = any(s.target in x.args for x in nest)
                value = f"{self.w.names[s.target]} = {value}" if read else value
                self.text.append(f"{indent}{target} = {value}")
            else:
                self.text.append(f"{indent}{self.w.names[s.target]} = {value}")
            self.here.add(s.target)
        self.here.clear()
        self.flat = False

    def _flattens(self, name: str) -> bool:
        """Whether a value can be read in a nest over features and sequences in one: it has both,
        side by side, or is the same for all sequences, or a number."""
        dims = self.types[name].dims
        while name in self.views and self.views[name].op == "slice":
            name = self.views[name].args[0]
        whole = len(dims) == 2 and dims[0] == BATCH and features_first(self.types[name])
        whole = whole and dims[1] != 1
        return not dims or (name not in self.views and (whole or self._shared(name)))

    def _shared(self, name: str) -> bool:
        """Whether a value is a vector from outside that all sequences share."""
        inside = {*(s.target for s in self.statements), *(c.name for c in self.loop.carried)}
        inside |= {i for i, _ in self.loop.scanned}
        type_ = self.types[name]
        return len(type_.dims) == 1 and type_.dims[0] not in (1, BATCH) and name not in inside

    def _flattened(self, array: str, flat: str) -> str:
        """The line that gives an array its other form."""
        steps = any(p.array == array and p.step for p in self.places.values())
        shape = [f"{array}.shape[{i}]" for i in range(2 + steps)]
        return f"    {flat} = {array}.reshape({', '.join([*shape[:-2], ' * '.join(shape[-2:])])})"

    def _each(self, target: str, source: str, depth: int, at: tuple[int, int] = (0, 0)) -> None:
        """Lines that put one value where another lies, or into a part of it: that begins ``at`` a
        place of a dimension."""
        dim, start = at
        alike = len(self.types[source].dims) == 2 and dim in (1, 0 if not start else 1)
        self.flat = depth > 1 and alike and all(map(self._flattens, (source, target)))
        index, indent = self._open(self.types[source].dims, depth)
        value = self._read(source, index)
        places = [f"{x} + {start}" if start and i == dim else x for i, x in enumerate(index)]
        self.text.append(f"{indent}{self._entry(target, places)} = {value}")
        self.flat = False

    def _sum(self, s: Compute, index: list[str], indent: str) -> None:
        (dim,) = s.attr("dims")
        inner = self.w.indices[len(index)]
        keep = ("keep", True) in s.attrs
        places = [*index[:dim], inner, *index[dim + keep :]]
        count = self.w.extent(self.types[s.args[0]].dims[dim])
        self.text += [
            f"{indent}total = REAL(0)",
            f"{indent}for {inner} in range({count}):",
            f"{indent}    total += {self._read(s.args[0], places)}",
            f"{indent}{self._entry(s.target, index)} = total",
        ]

    def _open(self, dims: Sequence[Extent], depth: int) -> tuple[list[str], str]:
        """The lines that begin a nest of loops, in the order of memory: the index of each
        dimension, and what lines within are indented by."""
        if self.flat:
            size = f"{self.w.extent(dims[1])} * {self.w.extent(BATCH)}"
            self.text.append(f"{'    ' * depth}for {self.w.indices[0]} in range({size}):")
            return ["", self.w.indices[0]], "    " * (depth + 1)
        index = ["0" if d == 1 else self.w.indices[i] for i, d in enumerate(dims)]
        order = [i for i, d in enumerate(dims) if d != 1]
        if len(dims) > 1 and dims[-2] == BATCH:
            order = sorted(order, key=lambda i: (i == len(dims) - 2, i))
        for i in order:
            self.text.append(f"{'    ' * depth}for {index[i]} in range({self.w.extent(dims[i])}):")
            depth += 1
        return index, "    " * depth

    def _read(self, name: str, index: Sequence[str]) -> str:
        """An operand at these places of the result; where its extent is 1 it is stretched."""
        if name in self.w.scalars:
            text = self.w.scalars[name].replace("float('", "").replace("')", "")
            return f"REAL({text})" if self.types[name].kind == "real" else text
        dims = self.types[name].dims
        if self.flat and len(dims) == 1:
            return self._spread(name)
        index = index[len(index) - len(dims) :]
        own = ["0" if d == 1 else x for d, x in zip(dims, index, strict=True)]
        if name in self.here:
            return self.w.names[name]
        if view := self.views.get(name):
            return self._read(view.args[0], _source(view, own))
        return self._entry(name, own)

    def _spread(self, name: str) -> str:
        """The entry of a vector that all sequences share, given for each of them."""
        array = f"{self.w.names[name]}_spread"
        if array not in self.params:
            shape = self.w.shape((BATCH, *self.types[name].dims))
            text = f"spread({self.w.names[name]}, {shape}).swapaxes(-1, -2)"
            self.params[array] = f"np.ascontiguousarray({text})"
        self.flats[array] = f"{array}_flat"
        return f"{array}_flat[{self.w.indices[0]}]"

    def _entry(self, name: str, index: Sequence[str]) -> str:
        """An entry of what is in memory."""
        place = self._place(name)
        places = list(index)
        if self.flat and places:
            first, *more = places[1].split(" + ")
            offset = place.start + sum(map(int, more))
            flat = self.flats.setdefault(place.array, f"{place.array}_flat")
            if offset:  # of a sum, a compiler cannot tell that it is no index from the end
                step = f"[{place.step}]" if place.step else ""
                part = f"{flat}{step}[{offset} * {self.w.extent(BATCH)} :]"
                name = self.w.fresh(f"{place.array}_{offset}")
                return f"{self.parts.setdefault(part, name)}[{first}]"
            return f"{flat}[{first}]" if place.step is None else f"{flat}[{place.step}, {first}]"
        if features_first(self.types[name]):
            last = f"{places[-1]} + {place.start}" if place.start else places[-1]
            places[-2:] = [last, places[-2]]
        if place.step is not None:
            places.insert(0, place.step)
        elif not places:  # a number: given as it is, or in memory of one entry
            return f"{place.array}[0]" if place.own else place.array
        return f"{place.array}[{', '.join(places)}]"

    def _block(self, name: str) -> str:
        """The matrix [features, sequences] of a value."""
        start, stop = 0, self._size(name)
        while name in self.views:
            start, stop = (x + self.views[name].attr("start") for x in (start, stop))
            name = self.views[name].args[0]
        place = self._place(name)
        text = place.array if place.step is None else f"{place.array}[{place.step}]"
        return f"{text}[{place.start + start}:{place.start + stop}]"

    def _quote(self, s: Compute) -> None:
        w = self.w
        lines, w.lines = w.lines, self.text
        indent, w.indent = w.indent, " " * 8
        w.quote(s.origins)
        w.lines, w.indent = lines, indent


def _source(view: Compute, index: list[str]) -> list[str]:
    """The places in what a view is of."""
    if view.op == "slice":
        dim, start = view.attr("dim"), view.attr("start")
        return [f"{x} + {start}" if i == dim and start else x for i, x in enumerate(index)]
    if view.op == "permute":
        order = view.attr("order")
        return [index[order.index(i)] for i in range(len(order))]
    at = view.attr("at")
    if view.op == "unsqueeze":
        return [x for i, x in enumerate(index) if i not in at]
    for i in at:
        index = [*index[:i], "0", *index[i:]]
    return index
