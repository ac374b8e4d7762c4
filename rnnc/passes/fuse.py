"""Matrix products that share an operand become one; what does not recur leaves the loop.

    f = σ(W_f x + U_f h' + b_f)            p = [U_f; U_i] h' + ([W_f; W_i] x + [b_f; b_i])
    i = σ(W_i x + U_i h' + b_i)      →     f = σ(p[0:m]), i = σ(p[m:2m])

In every recurrence, sums and products of many factors are first taken apart into terms: those
that do not recur are added up by themselves, so that the schedule finds them outside the loop.
Then all matrices before one vector are stacked. Gates with the same activation come to lie side
by side, so that it is computed once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rnnc.graph.cycles import recurrences
from rnnc.graph.ops import MAPS, OPS
from rnnc.graph.system import System, Value
from rnnc.graph.types import Attrs, Read, Size, Type
from rnnc.source import Span

SIGNS = {"add": (1, 1), "sub": (1, -1)}


def fuse(system: System) -> System:
    """The system with the products of each recurrence fused."""
    for recurrence in recurrences(system):
        system = _Fusion(system, recurrence.members).run()
    return system


@dataclass(frozen=True)
class _Term:
    """One summand: its sign and where it is read."""

    sign: int
    read: Read


@dataclass
class _Sum:
    """A sum of a recurrence: products of a fixed matrix and a vector that recurs, other terms
    that recur, and terms that do not."""

    root: Value
    products: list[tuple[Read, Read]]  # (matrix, vector), the matrix used as [m, n]
    recurring: list[_Term]
    fixed: list[_Term]

    @property
    def vectors(self) -> tuple[Read, ...]:
        return tuple(sorted((v for _, v in self.products), key=lambda r: (r.source, str(r.at))))


class _Fusion:
    def __init__(self, system: System, members: frozenset[str]):
        self.system = system
        self.members = members
        self.values = dict(system.values)
        self.added: dict[str, Value] = {}
        self.uses = self._uses()

    def _uses(self) -> dict[str, list[tuple[Value, Read]]]:
        uses: dict[str, list[tuple[Value, Read]]] = {}
        for value in self.system.values.values():
            for _, r in value.all_reads():
                uses.setdefault(r.source, []).append((value, r))
        return uses

    def run(self) -> System:
        for v in self.system.values.values():
            if v.name in self.members:
                self._split_columns(v)
        if self.added:  # the rest starts from the system as it is now
            return _Fusion(self.system.with_values(self._ordered()), self._members()).run()
        sums = [
            self._take_apart(v)
            for v in self.system.values.values()
            if v.name in self.members and v.op in SIGNS and self._is_root(v, SIGNS)
        ]
        packed = [s for s in sums if s.products]
        groups = self._groups(packed)
        if len(packed) > 1 or any(s.fixed for s in packed):
            self._pack(groups)
        for s in sums:
            if not s.products:
                self._reassociate(s)
        for v in list(self.values.values()):
            if v.name in self.members and v.op == "mul" and self._is_root(v, ("mul",)):
                self._reassociate_product(v)
        return self.system.with_values(self._ordered())

    def _ordered(self) -> list[Value]:
        """New values first: what they are made of is older than their readers."""
        return [*self.added.values(), *(v for n, v in self.values.items() if n not in self.added)]

    def _members(self) -> frozenset[str]:
        """The recurrence with those new values that read something of it."""
        members = set(self.members)
        members |= {n for n, v in self.added.items() if any(r.source in members for r in v.reads)}
        return frozenset(members)

    def _split_columns(self, v: Value) -> None:
        """``W [h', x]`` is ``W_1 h' + W_2 x`` where only one of the two recurs."""
        parts = self._matrix_vector(v)
        if parts is None or v.type.rank != 1:
            return
        matrix, vector = parts
        joined = self.values[vector.source]
        if joined.op != "concat" or vector.at or joined.name not in self.members:
            return
        recurs = [r.source in self.members for r in joined.reads]
        if all(recurs) or any(self._type(r).rank != 1 for r in joined.reads):
            return
        columns = self._make(f"{matrix.source}.columns", "transpose", (matrix,), (), v.origins)
        terms = []
        start: Size = 0
        for r in joined.reads:
            stop = start + self._type(r).shape[0]
            rows = self._make(
                f"{matrix.source}.columns",
                "slice",
                (columns,),
                (("start", start), ("stop", stop)),
                v.origins,
            )
            block = self._make(
                f"{matrix.source}.{_owner(r.source)}", "transpose", (rows,), (), v.origins
            )
            terms.append(
                _Term(
                    1,
                    self._make(
                        f"{v.name}.{_owner(r.source)}", "contract", (block, r), v.attrs, v.origins
                    ),
                )
            )
            start = stop
        self._redefine(v, terms[0].read, terms[1:])

    # ---------------------------------------------------------------- taking sums apart

    def _inner(self, name: str, r: Read, ops: Iterable[str]) -> Value | None:
        """The value, if it is a part of a larger sum and of nothing else."""
        value = self.values[name]
        plain = (
            not r.at
            and name in self.members
            and value.op in ops
            and not value.bounds
            and len(self.uses.get(name, ())) == 1
            and name not in self.system.results
        )
        return value if plain else None

    def _is_root(self, v: Value, ops: Iterable[str]) -> bool:
        uses = self.uses.get(v.name, ())
        if len(uses) != 1 or v.name in self.system.results or v.bounds:
            return True
        reader, r = uses[0]
        return bool(r.at) or reader.op not in ops or reader.name not in self.members

    def _terms(self, v: Value) -> list[_Term]:
        out: list[_Term] = []
        todo = [(1, v)]
        while todo:
            sign, value = todo.pop()
            for factor, r in zip(SIGNS[value.op], value.reads, strict=True):
                inner = self._inner(r.source, r, SIGNS)
                if inner is not None and inner.axes == v.axes:
                    todo.append((sign * factor, inner))
                else:
                    out.append(_Term(sign * factor, r))
        return out

    def _take_apart(self, v: Value) -> _Sum:
        products: list[tuple[Read, Read]] = []
        recurring: list[_Term] = []
        fixed: list[_Term] = []
        for term in self._terms(v):
            source = self.values[term.read.source]
            if term.read.source not in self.members:
                fixed.append(term)
                continue
            parts = self._matrix_vector(source) if term.sign == 1 and not term.read.at else None
            single = len(self.uses.get(source.name, ())) == 1
            if parts and single and not source.bounds and source.name not in self.system.results:
                products.append(parts)
            else:
                recurring.append(term)
        if v.type.kind != "real" or v.type.rank != 1:
            recurring += [_Term(1, Read(self._product_name(p))) for p in products]
            products = []
        return _Sum(v, products, recurring, fixed)

    def _product_name(self, parts: tuple[Read, Read]) -> str:
        return next(
            n
            for n, v in self.values.items()
            if v.op == "contract" and self._matrix_vector(v) == parts
        )

    def _matrix_vector(self, v: Value) -> tuple[Read, Read] | None:
        """A product of a matrix that never changes with a vector: both reads, the matrix as
        [m, n]; None for other values."""
        if v.op != "contract" or v.attr("over") or len(v.attr("out")) != 1:
            return None
        left, right, out = v.attr("left"), v.attr("right"), v.attr("out")
        if (left, right) == ("ij", "j") and out == "i":
            matrix, vector = v.reads
        else:
            return None
        constant = matrix.source not in self.members and not self.values[matrix.source].axes
        return (matrix, vector) if constant else None

    # ---------------------------------------------------------------- making values

    def _make(
        self,
        base: str,
        op: str,
        reads: Sequence[Read],
        attrs: Attrs = (),
        origins: tuple[Span, ...] = (),
        axes: tuple[str, ...] | None = None,
    ) -> Read:
        types = [self.values[r.source].type for r in reads]
        type_ = OPS[op].rule(types, dict(attrs))
        if axes is None:
            axes = self.system.ordered(a for r in reads for a in self._axes(r))
        name = base
        count = 0
        while name in self.values:
            count += 1
            name = f"{base}.{count}"
        value = Value(name, op, tuple(reads), type_, axes, attrs, (), origins)
        self.values[name] = value
        self.added[name] = value
        return Read(name)

    def _axes(self, r: Read) -> tuple[str, ...]:
        return tuple(r.index(a).base for a in self.values[r.source].axes if not r.index(a).fixed)

    def _type(self, r: Read) -> Type:
        return self.values[r.source].type

    def _total(self, base: str, terms: Sequence[_Term], origins: tuple[Span, ...]) -> Read:
        """The sum of some terms, those over fewer axes first; the first may not be negative
        unless all are."""
        order = sorted(terms, key=lambda t: (t.sign < 0, len(self._axes(t.read))))
        total = order[0].read
        if order[0].sign < 0:
            total = self._make(base, "neg", (total,), (), origins)
        for term in order[1:]:
            op = "add" if term.sign > 0 else "sub"
            total = self._make(base, op, (total, term.read), (), origins)
        return total

    def _redefine(self, root: Value, r: Read, others: Sequence[_Term]) -> None:
        """Give the root its value anew: what ``r`` reads plus the other terms."""
        for i, term in enumerate(others):
            op = "add" if term.sign > 0 else "sub"
            if i == len(others) - 1:
                self.values[root.name] = replace(root, op=op, reads=(r, term.read), attrs=())
                return
            r = self._make(f"{root.name}.sum", op, (r, term.read), (), root.origins)
        self.values[root.name] = replace(root, op="copy", reads=(r,), attrs=())

    def _reassociate(self, s: _Sum) -> None:
        """Add up what does not recur by itself, where that is several terms."""
        if len(s.fixed) < 2 or not s.recurring:
            return
        kind = s.root.type.kind
        if any(self._type(t.read).kind != kind for t in (*s.fixed, *s.recurring)):
            return
        total = self._total(f"{s.root.name}.fixed", s.fixed, s.root.origins)
        self._redefine(s.root, total, s.recurring)

    def _reassociate_product(self, v: Value) -> None:
        """The same for a product of several factors."""
        factors: list[Read] = []
        todo = [v]
        while todo:
            value = todo.pop()
            for r in value.reads:
                inner = self._inner(r.source, r, ("mul",))
                if inner is not None:
                    todo.append(inner)
                else:
                    factors.append(r)
        fixed = [r for r in factors if r.source not in self.members]
        recurring = [r for r in factors if r.source in self.members]
        if len(fixed) < 2 or not recurring:
            return
        fixed.sort(key=lambda r: len(self._axes(r)))
        total = fixed[0]
        for r in fixed[1:]:
            total = self._make(f"{v.name}.fixed", "mul", (total, r), (), v.origins)
        for r in recurring[:-1]:
            total = self._make(f"{v.name}.product", "mul", (total, r), (), v.origins)
        self.values[v.name] = replace(v, reads=(total, recurring[-1]))

    # ---------------------------------------------------------------- packing

    def _groups(self, sums: list[_Sum]) -> list[list[_Sum]]:
        """Sums whose products are with the same vectors, over the same axes."""
        groups: dict[object, list[_Sum]] = {}
        for s in sums:
            groups.setdefault((s.vectors, s.root.axes), []).append(s)
        for group in groups.values():
            group.sort(key=lambda s: self._activation(s) or "")
        return list(groups.values())

    def _activation(self, s: _Sum) -> str | None:
        """The one elementwise function that is applied to a sum, if nothing else reads it."""
        uses = self.uses.get(s.root.name, ())
        if len(uses) != 1 or s.root.name in self.system.results or s.root.bounds or s.recurring:
            return None
        reader, r = uses[0]
        if r.at or reader.op not in MAPS or len(reader.reads) != 1:
            return None
        return None if reader.op in ("copy", "stop_gradient", "to_real") else reader.op

    def _pack(self, groups: list[list[_Sum]]) -> None:
        places, stacked = self._stack(groups)
        for group in groups:
            base = "_".join(dict.fromkeys(_owner(s.root.name) for s in group[:8]))
            origins = tuple(o for s in group for o in s.root.origins)
            total = self._fixed(group, f"{base}.fixed", origins)
            for nth, vector in enumerate(group[0].vectors):
                part = self._part(stacked[vector], *places[nth, id(group)], origins)
                total = (
                    part
                    if total is None
                    else self._make(f"{base}.sum", "add", (part, total), (), origins)
                )
            assert total is not None
            self._unpack(group, total, base)

    def _stack(
        self, groups: list[list[_Sum]]
    ) -> tuple[dict[tuple[int, int], tuple[Size, Size]], dict[Read, Read]]:
        """One product for each vector; where in it the rows of each group are, for the nth
        vector of the group."""
        places: dict[tuple[int, int], tuple[Size, Size]] = {}
        matrices: dict[Read, list[Read]] = {}
        sums: dict[Read, list[_Sum]] = {}
        for group in groups:
            for nth, vector in enumerate(group[0].vectors):
                rows = matrices.setdefault(vector, [])
                start = self._height(rows)
                for s in group:
                    rows.append(self._matrices(s)[nth])
                    sums.setdefault(vector, []).append(s)
                places[nth, id(group)] = (start, self._height(rows))
        stacked = {}
        for vector, rows in matrices.items():
            spans = tuple(dict.fromkeys(o for s in sums[vector] for o in s.root.origins))
            owners = "_".join(dict.fromkeys(_owner(s.root.name) for s in sums[vector]))
            matrix = (
                rows[0]
                if len(rows) == 1
                else self._make("_".join(r.source for r in rows[:8]), "concat", rows, (), spans)
            )
            attrs = (("left", "ij"), ("right", "j"), ("out", "i"), ("over", ()))
            stacked[vector] = self._make(
                f"{owners}.from_{_owner(vector.source)}", "contract", (matrix, vector), attrs, spans
            )
        return places, stacked

    def _matrices(self, s: _Sum) -> list[Read]:
        """The matrices of a sum, in the order of its vectors."""
        left = list(s.products)
        out = []
        for vector in s.vectors:
            found = next(p for p in left if p[1] == vector)
            left.remove(found)
            out.append(found[0])
        return out

    def _height(self, matrices: list[Read]) -> Size:
        total: Size = 0
        for r in matrices:
            total = total + self._type(r).shape[0]
        return total

    def _part(self, r: Read, start: Size, stop: Size, origins: tuple[Span, ...]) -> Read:
        if start == 0 and self._type(r).shape[0] == stop:
            return r
        attrs = (("start", start), ("stop", stop))
        return self._make(f"{r.source}.part", "slice", (r,), attrs, origins)

    def _fixed(self, group: list[_Sum], base: str, origins: tuple[Span, ...]) -> Read | None:
        """The terms that do not recur, of all sums of a group one below the other."""
        if not any(s.fixed for s in group):
            return None
        rest = [list(s.fixed) for s in group]
        terms: list[_Term] = []
        for vector in self._shared_vectors(rest):
            rows = []
            for mine in rest:
                found = next(
                    t
                    for t in mine
                    if t.sign == 1
                    and self._fixed_product(t) is not None
                    and self._fixed_product(t)[1] == vector  # type: ignore[index]
                )
                mine.remove(found)
                rows.append(self._fixed_product(found)[0])  # type: ignore[index]
            matrix = (
                rows[0]
                if len(rows) == 1
                else self._make("_".join(r.source for r in rows[:8]), "concat", rows, (), origins)
            )
            attrs = (("left", "ij"), ("right", "j"), ("out", "i"), ("over", ()))
            terms.append(
                _Term(
                    1,
                    self._make(
                        f"{base}.from_{_owner(vector.source)}",
                        "contract",
                        (matrix, vector),
                        attrs,
                        origins,
                    ),
                )
            )
        if any(rest):
            parts = [
                self._vector(mine, s, f"{base}.{i + 1}", origins)
                for i, (mine, s) in enumerate(zip(rest, group, strict=True))
            ]
            joined = (
                parts[0]
                if len(parts) == 1
                else self._make("_".join(p.source for p in parts[:8]), "concat", parts, (), origins)
            )
            terms.append(_Term(1, joined))
        return self._total(base, terms, origins)

    def _fixed_product(self, term: _Term) -> tuple[Read, Read] | None:
        if term.read.at:
            return None
        return self._matrix_vector(self.values[term.read.source])

    def _shared_vectors(self, rest: list[list[_Term]]) -> list[Read]:
        """Vectors that a product of every sum has."""
        found = []
        for mine in rest:
            products = (self._fixed_product(t) for t in mine if t.sign == 1)
            found.append([p[1] for p in products if p is not None])
        common = [v for v in dict.fromkeys(found[0]) if all(v in f for f in found)]
        return common

    def _vector(self, terms: list[_Term], s: _Sum, base: str, origins: tuple[Span, ...]) -> Read:
        """Terms added up to a whole vector of the sum's shape."""
        shape = s.root.type.shape
        if terms:
            total = self._total(base, terms, origins)
        else:
            total = self._make(base, "constant", (), (("value", 0.0),), origins, ())
        if self._type(total).shape != shape:
            total = self._make(f"{base}.wide", "broadcast", (total,), (("shape", shape),), origins)
        return total

    def _unpack(self, group: list[_Sum], total: Read, base: str) -> None:
        """Give every sum of a group its part; activations that are the same run together."""
        start: Size = 0
        runs: list[tuple[str | None, list[tuple[_Sum, Size, Size]]]] = []
        for s in group:
            stop = start + s.root.type.shape[0]
            activation = self._activation(s)
            if activation and runs and runs[-1][0] == activation:
                runs[-1][1].append((s, start, stop))
            else:
                runs.append((activation, [(s, start, stop)]))
            start = stop
        for activation, sums in runs:
            if activation is None or len(sums) == 1:
                for s, low, high in sums:
                    part = self._part(total, low, high, s.root.origins)
                    self._redefine(s.root, part, s.recurring)
                continue
            low, high = sums[0][1], sums[-1][2]
            spans = tuple(o for s, _, _ in sums for o in s.root.origins)
            part = self._part(total, low, high, spans)
            active = self._make(f"{base}.{activation}", activation, (part,), (), spans)
            for s, first, last in sums:
                reader = self.uses[s.root.name][0][0]
                attrs = (("start", first - low), ("stop", last - low))
                self.values[reader.name] = replace(
                    self.values[reader.name], op="slice", reads=(active,), attrs=attrs
                )


def _owner(name: str) -> str:
    """The equation that a part of an expression belongs to: ``f`` of ``f.4``."""
    return name.split(".")[0]
