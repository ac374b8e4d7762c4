"""Matrix products that share a vector become one.

    f = σ(W_f x + U_f h' + b_f)            p = [U_f; U_i] h' + ([W_f; W_i] x + [b_f; b_i])
    i = σ(W_i x + U_i h' + b_i)      →     f = σ(p[0:m]), i = σ(p[m:2m])

Within a recurrence all matrices before one vector are stacked, and with them whatever else is
added to their products. Gates with the same activation come to lie side by side, so that it is
computed once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rnnc.graph.cycles import recurrences
from rnnc.graph.names import owner_of
from rnnc.graph.ops import MAPS
from rnnc.graph.system import System, Value
from rnnc.graph.types import Read, Size
from rnnc.passes.editor import MATRIX_VECTOR, SIGNS, Editor, Term
from rnnc.source import Span

NAMED = 8  # at most so many parts make up a name
NO_ACTIVATION = frozenset(("copy", "stop_gradient", "to_real"))

Origins = tuple[Span, ...]


def fuse(system: System) -> System:
    """The system with the products of each recurrence fused."""
    editor = Editor(system)
    members = {m: r.members for r in recurrences(system) for m in r.members}
    sums: dict[frozenset[str], list[Value]] = {}
    for v in system.values.values():
        if v.name in members and v.op in SIGNS and v.type.kind == "real" and v.type.rank == 1:
            sums.setdefault(members[v.name], []).append(v)
    for recurring, values in sums.items():
        _Fusion(editor, recurring).run(values)
    return editor.result() if editor.added else system


@dataclass(eq=False)
class _Sum:
    """A sum of a recurrence: products of a fixed matrix and a vector that recurs, other terms
    that recur, and terms that do not."""

    root: Value
    products: list[tuple[Read, Read]]
    recurring: list[Term]
    fixed: list[Term]
    activation: str | None

    @property
    def vectors(self) -> tuple[Read, ...]:
        return tuple(v for _, v in self.products)


def _key(product: tuple[Read, Read]) -> tuple[str, str]:
    return product[1].source, str(product[1].at)


class _Fusion:
    """The fusion of one recurrence."""

    def __init__(self, editor: Editor, members: frozenset[str]):
        self.editor = editor
        self.members = members

    def run(self, values: Sequence[Value]) -> None:
        """Fuse the products in the sums among these values."""
        sums = [self._take_apart(v) for v in values if self.editor.is_root(v, SIGNS)]
        groups = self._groups([s for s in sums if s.products])
        if sum(map(len, groups)) < 2:
            return
        stacked, places = self._stack(groups)
        for group in groups:
            self._pack(group, stacked, places)

    # ---------------------------------------------------------------- finding

    def _take_apart(self, root: Value) -> _Sum:
        products: list[tuple[Read, Read]] = []
        recurring: list[Term] = []
        fixed: list[Term] = []
        for term in self.editor.terms(root):
            if term.read.source not in self.members:
                fixed.append(term)
                continue
            source = self.editor.values[term.read.source]
            product = self.editor.matrix_vector(source)
            whole_rows = source.type.shape == root.type.shape  # a length of 1 would stretch
            if product and whole_rows and term.sign == 1 and self.editor.private(term.read):
                products.append(product)
            else:
                recurring.append(term)
        activation = None if recurring else self._activation(root)
        return _Sum(root, sorted(products, key=_key), recurring, fixed, activation)

    def _activation(self, root: Value) -> str | None:
        """The one elementwise function that is applied to a sum, if nothing else reads it."""
        if not self.editor.private(Read(root.name)):
            return None
        reader, r = self.editor.readers(root.name)[0]
        if r.at or reader.op not in MAPS - NO_ACTIVATION or len(reader.reads) != 1:
            return None
        return reader.op

    def _groups(self, sums: list[_Sum]) -> list[list[_Sum]]:
        """Sums whose products are with the same vectors, over the same axes."""
        groups: dict[object, list[_Sum]] = {}
        for s in sums:
            groups.setdefault((s.vectors, s.root.axes), []).append(s)
        for group in groups.values():
            group.sort(key=lambda s: s.activation or "")
        return list(groups.values())

    # ---------------------------------------------------------------- packing

    def _stack(
        self, groups: list[list[_Sum]]
    ) -> tuple[dict[Read, Read], dict[tuple[int, _Sum], Size]]:
        """One product for each vector, and in which of its rows each sum begins (for the nth
        vector of the sum)."""
        rows: dict[Read, list[Read]] = {}
        users: dict[Read, list[_Sum]] = {}
        heights: dict[Read, Size] = {}
        places: dict[tuple[int, _Sum], Size] = {}
        for group in groups:
            for nth, vector in enumerate(group[0].vectors):
                for s in group:
                    matrix = s.products[nth][0]
                    places[nth, s] = heights.get(vector, 0)
                    heights[vector] = places[nth, s] + self.editor.type(matrix).shape[0]
                    rows.setdefault(vector, []).append(matrix)
                    users.setdefault(vector, []).append(s)
        stacked = {}
        for vector, matrices in rows.items():
            origins = _origins(users[vector])
            owners = _joined(owner_of(s.root.name) for s in users[vector])
            matrix = self._concat(matrices, origins)
            stacked[vector] = self.editor.make(
                f"{owners}.from_{owner_of(vector.source)}",
                "contract",
                (matrix, vector),
                MATRIX_VECTOR,
                origins,
            )
        return stacked, places

    def _concat(self, parts: Sequence[Read], origins: Origins) -> Read:
        if len(parts) == 1:
            return parts[0]
        name = "_".join(p.source for p in parts[:NAMED])
        return self.editor.make(name, "concat", parts, (), origins)

    def _part(self, r: Read, start: Size, stop: Size, origins: Origins) -> Read:
        if start == 0 and self.editor.type(r).shape[0] == stop:
            return r
        attrs = (("start", start), ("stop", stop))
        return self.editor.make(f"{r.source}.part", "slice", (r,), attrs, origins)

    def _pack(
        self,
        group: list[_Sum],
        stacked: dict[Read, Read],
        places: dict[tuple[int, _Sum], Size],
    ) -> None:
        """One sum for a group of them, and its parts where the single ones were."""
        origins = _origins(group)
        base = _joined(owner_of(s.root.name) for s in group)
        height: Size = 0
        for s in group:
            height = height + s.root.type.shape[0]
        total = self._fixed(group, f"{base}.fixed", origins)
        for nth, vector in enumerate(group[0].vectors):
            start = places[nth, group[0]]
            part = self._part(stacked[vector], start, start + height, origins)
            if total is None:
                total = part
            else:
                total = self.editor.make(f"{base}.sum", "add", (part, total), (), origins)
        assert total is not None
        self._unpack(group, total, base)

    def _fixed(self, group: list[_Sum], base: str, origins: Origins) -> Read | None:
        """The terms that do not recur, of all sums of a group one below the other."""
        rest = [self._fixed_terms(s) for s in group]
        heights = [s.root.type.shape[0] for s in group]
        if not any(rest):
            return None
        terms: list[Term] = []
        for vector in self._shared_vectors(rest, heights):
            matrices = []
            for mine, height in zip(rest, heights, strict=True):
                found = next(t for t in mine if self._vector_of(t, height) == vector)
                mine.remove(found)
                product = self.editor.matrix_vector(self.editor.values[found.read.source])
                assert product is not None
                matrices.append(product[0])
            matrix = self._concat(matrices, origins)
            name = f"{base}.from_{owner_of(vector.source)}"
            product_read = self.editor.make(
                name, "contract", (matrix, vector), MATRIX_VECTOR, origins
            )
            terms.append(Term(1, product_read))
        if any(rest):
            parts = [
                self._column(mine, s, f"{base}.{i + 1}", origins)
                for i, (mine, s) in enumerate(zip(rest, group, strict=True))
            ]
            terms.append(Term(1, self._concat(parts, origins)))
        return self.editor.total(base, terms, origins)

    def _fixed_terms(self, s: _Sum) -> list[Term]:
        """The invariant terms, where a sum of several was put together before taken apart."""
        out: list[Term] = []
        for term in s.fixed:
            source = self.editor.values[term.read.source]
            if source.op in SIGNS and term.sign == 1 and self.editor.private(term.read):
                out += self.editor.terms(source)
            else:
                out.append(term)
        return out

    def _vector_of(self, term: Term, height: Size) -> Read | None:
        """The vector of a term that is a product with a fixed matrix of that many rows."""
        if term.sign != 1 or term.read.at or self.editor.type(term.read).shape != (height,):
            return None
        product = self.editor.matrix_vector(self.editor.values[term.read.source])
        return product[1] if product else None

    def _shared_vectors(self, rest: list[list[Term]], heights: list[Size]) -> list[Read]:
        """Vectors that a product of every sum has."""
        found = [
            [v for t in mine if (v := self._vector_of(t, height)) is not None]
            for mine, height in zip(rest, heights, strict=True)
        ]
        return [v for v in dict.fromkeys(found[0]) if all(v in f for f in found)]

    def _column(self, terms: list[Term], s: _Sum, base: str, origins: Origins) -> Read:
        """Terms added up to a whole vector of the sum's shape."""
        shape = s.root.type.shape
        if terms:
            total = self.editor.total(base, terms, origins)
        else:
            total = self.editor.make(base, "constant", (), (("value", 0.0),), origins)
        if self.editor.type(total).shape != shape:
            attrs = (("shape", shape),)
            total = self.editor.make(f"{base}.wide", "broadcast", (total,), attrs, origins)
        return total

    def _unpack(self, group: list[_Sum], total: Read, base: str) -> None:
        """Give every sum of a group its part; activations that are the same run together."""
        start: Size = 0
        runs: list[list[tuple[_Sum, Size, Size]]] = []
        for s in group:
            stop = start + s.root.type.shape[0]
            if s.activation and runs and runs[-1][0][0].activation == s.activation:
                runs[-1].append((s, start, stop))
            else:
                runs.append([(s, start, stop)])
            start = stop
        for run in runs:
            if len(run) == 1:
                ((s, low, high),) = run
                part = self._part(total, low, high, s.root.origins)
                self.editor.redefine(s.root.name, part, s.recurring)
                continue
            low, high = run[0][1], run[-1][2]
            origins = _origins([s for s, _, _ in run])
            activation = run[0][0].activation
            assert activation is not None
            part = self._part(total, low, high, origins)
            active = self.editor.make(f"{base}.{activation}", activation, (part,), (), origins)
            for s, first, last in run:
                reader = self.editor.readers(s.root.name)[0][0]
                ends = (("start", first - low), ("stop", last - low))
                self.editor.change(reader.name, "slice", (active,), ends)


def _origins(sums: list[_Sum]) -> Origins:
    return tuple(dict.fromkeys(o for s in sums for o in s.root.origins))


def _joined(names: Iterable[str]) -> str:
    return "_".join(list(dict.fromkeys(names))[:NAMED])
