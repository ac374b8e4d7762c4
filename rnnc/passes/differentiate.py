"""Back-propagation through time, as equations: a System in, the System with its adjoints out.

    a[t] = b + W h[t-1] + U x[t]         ∂a[t] = ∂h[t] * (1 - h[t] * h[t])
    h[t] = tanh(a[t])               →    ∂h[t] = V.T ∂o[t] + W.T ∂a[t+1]
    o[t] = c + V h[t]                    ∂W = mean[batch](sum[t](outer(∂a[t], h[t-1])))

Every value gets an adjoint of its own form, named ``d_…`` (printed ``∂…``), and every read of a
value adds a term to that value's adjoint: the reader's rule (``derivatives``) says which, the
read says where. A read is a map of axes, and the term goes the other way:

======================  ===========================================================
a value is read         its adjoint gains
======================  ===========================================================
at ``t-k``              the term at ``t+k`` (zero past the last step)
before the first step   nothing; what the boundary reads gains the first terms
at a fixed step         ``where(t == step, the term, 0)``
without an axis         the term summed over that axis
======================  ===========================================================

No order is needed: adjoints are named first and their equations added to, so that recurrences
are nothing special. The result is a System like any other, which can be printed, unrolled,
compiled and differentiated again.

The adjoint of what varies over the batch belongs to each sequence's own loss; where a value
that all sequences share (a parameter) is reached, the mean over the batch is taken. That is
the convention of textbooks, and spares a division in every step. Without losses the adjoints
of the outputs are inputs, and the sum over the batch is taken instead: a vector-Jacobian product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import networkx as nx

from rnnc.graph.edges import edge
from rnnc.graph.names import GRADIENT, is_temporary, owner_of
from rnnc.graph.ops import DATA, LEAVES
from rnnc.graph.system import System, Value, moved
from rnnc.graph.types import BATCH, Index, Read, read
from rnnc.passes.derivatives import RULES, SAFE
from rnnc.passes.found import Found, found
from rnnc.passes.moves import single_moves
from rnnc.passes.terms import Part, Term, Terms
from rnnc.source import Diagnostic, SpecError, UsageError


def differentiate(system: System, inputs: Sequence[str] = ()) -> System:
    """The system with ``d_<name>`` for each parameter, and for each of ``inputs``, as outputs.

    ``d_<name>`` is the derivative of ``loss``; of a model without losses, of the sum of its
    outputs weighted with the inputs ``d_<output>``, which have the outputs' shapes.

    :raises UsageError: one of ``inputs`` is no real input of the model.
    :raises SpecError: there is nothing to differentiate, or nothing to differentiate by.
    """
    return _Adjoints(single_moves(system), inputs).run()


class _Adjoints(Terms):
    """The adjoints of one system while they are made."""

    def __init__(self, system: System, inputs: Sequence[str]):
        super().__init__(system)
        self.inputs = self._checked(inputs)
        self.wanted = [v.name for v in system.params] + self.inputs
        self.seeds = self._seeds()
        if not self.wanted:
            raise _refusal(system, "it has no parameters", "param W : [m, n]")
        self.active = self._active()
        self.adjoint: dict[str, str] = {}
        for name in self.active:  # named first, so that all can refer to them
            v = system.values[name]
            self.adjoint[name] = adjoint = self._adjoint_name(v)
            self.values[adjoint] = Value(adjoint, "copy", (), v.type, v.axes, (), (), v.origins)
        self.gains: dict[str, list[tuple[bool, Term]]] = {name: [] for name in self.active}

    # ---------------------------------------------------------------- what is asked

    def _checked(self, inputs: Sequence[str]) -> list[str]:
        real = [v.name for v in self.system.inputs if v.type.kind == "real"]
        for name in inputs:
            if name not in real:
                has = f"it has {', '.join(real)}" if real else "it has none"
                raise UsageError(f"the model has no real input {name} to differentiate by; {has}")
        return list(dict.fromkeys(inputs))

    def _seeds(self) -> dict[str, Read]:
        """The adjoints that everything starts from."""
        system = self.system
        if "loss" in system.losses:
            return {system.losses["loss"]: self.number(1.0)}
        seeds = {}
        for name in system.outputs:
            v = system.values[name]
            if v.type.kind == "real" and v.op != "param":
                given = system.fresh(GRADIENT + name, self.values)
                self.values[given] = Value(given, "input", (), v.type, v.axes, (), (), v.origins)
                seeds[name] = Read(given)
        if not seeds:
            raise _refusal(system, "it has no loss and no real output", "loss squared_error(…)")
        return seeds

    def _active(self) -> list[str]:
        """Real values that depend on what is wanted, and that the loss depends on."""
        system = self.system
        graph = nx.DiGraph()
        graph.add_nodes_from(system.values)
        for v in system.values.values():
            reads = v.reads if RULES[v.op] is not None else ()
            if v.type.kind == "real":
                graph.add_edges_from((r.source, v.name) for r in reads)
                graph.add_edges_from((b.read.source, v.name) for b in v.bounds)
        below: set[str] = set(self.wanted)
        for name in self.wanted:
            below |= nx.descendants(graph, name)
        above: set[str] = set(self.seeds)
        for name in self.seeds:
            above |= nx.ancestors(graph, name)
        return [
            v.name
            for v in system.values.values()
            if v.type.kind == "real" and v.name in below and v.name in above
        ]

    def _adjoint_name(self, v: Value) -> str:
        base = GRADIENT + v.name
        if v.op in DATA and self._per_sequence(v):
            base += ".sequence"  # of each sequence's own loss; what is returned is the mean's
        elif not self.system.losses and v.name in self.seeds:
            base = f"all_{v.name}"  # what is given, and what comes back through time
        return self._free(base)

    def _free(self, base: str) -> str:
        """The name, or ``d2_W`` for ``d_W`` where that is a gradient already."""
        name, order = base, 1
        while name in self.values or name in self.system.own_names:
            order += 1
            name = f"d{order}_{base.removeprefix(GRADIENT)}"
        return name

    # ---------------------------------------------------------------- the transformation

    def run(self) -> System:
        for name, seed in self.seeds.items():
            if name in self.adjoint:
                self.gains[name].append((False, seed))
        for name in self.active:
            v = self.system.values[name]
            if RULES[v.op] is not None:
                self.base, self.origins = GRADIENT + owner_of(name), v.origins
                for position, r in enumerate(v.reads):
                    for place in found(self.system, r):
                        if place.read.source in self.adjoint:
                            self._send(v, position, place)
        for name in self.active:
            self._finish(name)
        outputs = [self._output(name) for name in self.wanted]
        values = self._renamed(self._ordered(outputs))
        kept = [n for n in self.system.outputs if self.system.values[n].op != "param"]
        return self.system.with_values(values, outputs=(*kept, *outputs)).pruned()

    def _send(self, v: Value, position: int, found: Found) -> None:
        """Add the term of an operand of ``v`` to the adjoint of what it finds there."""
        r, target = found.read, self.system.values[found.read.source]
        fixed = [a for a in target.axes if r.index(a).fixed]
        to = dict(found.pins)  # where the reader is, seen from the value that is read
        for a in target.axes:
            if a not in fixed:
                to[r.index(a).base] = Index(a, -r.index(a).offset)
        still = all(i == Index(c) for c, i in to.items())
        summed = [a for a in self._frame(v) if a not in to]
        at_once = still or self._movable(v, to, summed)
        term = self._rule(v, position, to if at_once else {})
        if term is None:
            return
        if found.window is not None:
            axis, first, last = found.window
            term = self.map_term(term, lambda t: self._within(t, axis, first, last))
        for axis, least, most in found.lengths:
            term = self.map_term(term, partial(self._if_length, axis, least, most))
        term = self._reduced(v, term, summed, target)
        if not at_once:
            full = self.map_term(term, lambda t: self.stretched(t, tuple(to)))
            term = self.map_term(full, lambda t: read(t.source, to))
        for axis in fixed:
            term = self.map_term(term, partial(self._only_at, axis, r.index(axis)))
        self.gains[target.name].append((not still, self.shaped(term, target.type)))

    def _frame(self, v: Value) -> tuple[str, ...]:
        """The axes that a value's equation ranges over: its own, and those it sums over. Of a
        stack each operand is one step's alone."""
        axes = {*v.axes, *(a for r in v.reads for a in self.axes(r))}
        return self.system.ordered(axes - {v.attr("axis")} if v.op == "stack" else axes)

    def _movable(self, v: Value, to: Mapping[str, Index], summed: Sequence[str]) -> bool:
        """Whether the rule may be applied at to reads, rather than its result be to: past
        the ends the adjoint is zero, and so must be all that is multiplied with it."""
        if v.op not in SAFE or set(summed) & {i.base for i in to.values()}:
            return False
        return not any(self.values[r.source].bounds for r in (*v.reads, Read(v.name)))

    def _rule(self, v: Value, position: int, to: Mapping[str, Index]) -> Term | None:
        """What the reader's rule gives, with all its reads moved."""

        def move(r: Read) -> Read:
            return moved(r, self.values[r.source].axes, lambda a: to.get(a, Index(a)))

        rule = RULES[v.op]
        assert rule is not None
        here = v.map_reads(move)
        return rule(self, here, move(Read(v.name)), move(Read(self.adjoint[v.name])), position)

    def _only_at(self, axis: str, index: Index, term: Read) -> Read:
        """The term at one step of an axis, else 0."""
        here = self.emit("eq", self.step(axis), self.position(axis, index))
        return self.choose(here, term, None)

    def _if_length(self, axis: str, least: int, most: int, term: Read) -> Read:
        """The term where an axis has so many steps, else 0."""
        length = self.emit("length", axis=axis)
        holds = self.emit("le", length, self.whole_number(most))
        if least > 1:
            holds = self.emit("and", self.emit("ge", length, self.whole_number(least)), holds)
        return self.choose(holds, term, None)

    def _within(self, term: Read, axis: str, first: Index, last: Index) -> Read:
        """The term between two fixed steps of an axis, else 0."""
        step = self.step(axis)
        after = self.emit("ge", step, self.position(axis, first))
        before = self.emit("le", step, self.position(axis, last))
        return self.choose(self.emit("and", after, before), term, None)

    def _reduced(self, v: Value, term: Term, summed: Sequence[str], target: Value) -> Term:
        """The term summed over the axes that the operand lacks, in the operand's scale."""
        varies = self.term_axes(term)
        own, scaled = self._per_sequence(v), self._per_sequence(target)
        term = self.summed(term, [a for a in summed if a in varies])
        for axis in summed:
            if axis in varies:
                continue
            if axis == BATCH and own and not scaled:
                scaled = True  # the mean of what is the same for all
            else:
                term = self._times(term, self.length(axis))
        if own and not scaled:
            size = self.length(BATCH)
            term = self.map_term(term, lambda t: self.emit("div", t, size))
        elif scaled and not own:
            term = self._times(term, self.length(BATCH))
        return term

    def _times(self, term: Term, factor: Read) -> Term:
        return self.map_term(term, lambda t: self.mul(t, factor))

    def _per_sequence(self, v: Value) -> bool:
        """Whether the adjoint is that of each sequence's own loss: B times the mean's."""
        return bool(self.system.losses) and BATCH in v.axes

    # ---------------------------------------------------------------- the sums

    def _finish(self, name: str) -> None:
        """Give an adjoint its equation: the sum of its terms, those of the same step first."""
        v = self.system.values[name]
        self.base, self.origins = GRADIENT + owner_of(name), v.origins
        terms = [t for _, t in sorted(self.gains[name], key=lambda pair: pair[0])]
        reads = [t for t in terms if isinstance(t, Read)]
        parts = [t for t in terms if isinstance(t, Part)]
        if parts:
            reads.append(self.assembled(parts, v.type))
        total = reads[0] if reads else edge(self.system, self.values, None, v.type, v.axes)
        for r in reads[1:]:
            total = self.add(total, r)
        if self.type(total) != v.type:
            total = self.emit("broadcast", total, shape=v.type.shape)
        self._define(self.adjoint[name], v, total)

    def _define(self, name: str, like: Value, r: Read) -> None:
        self.values[name] = Value(name, "copy", (r,), like.type, like.axes, (), (), like.origins)

    def _output(self, name: str) -> str:
        """The value that is returned for a parameter or an input."""
        v = self.system.values[name]
        self.base, self.origins = GRADIENT + owner_of(name), v.origins
        if name in self.adjoint and not (v.op in DATA and self._per_sequence(v)):
            return self.adjoint[name]
        public = self._free(GRADIENT + name)
        if name in self.adjoint:
            r = self.emit("div", Read(self.adjoint[name]), self.length(BATCH))
        else:  # the loss does not depend on it
            r = edge(self.system, self.values, None, v.type, v.axes)
        self._define(public, v, r)
        return public

    def _ordered(self, outputs: Sequence[str]) -> list[Value]:
        """Forward values, then adjoints against their order, the wanted ones last; each after
        the parts that its equation is made of."""
        wanted = {self.adjoint[n] for n in self.wanted if n in self.adjoint}
        inner = [self.adjoint[n] for n in reversed(self.active)]
        chosen = [n for n in inner if n not in wanted] + [n for n in inner if n in wanted]
        named = {*inner, *outputs}
        out = {**self.system.values, **{n: v for n, v in self.values.items() if v.op in DATA}}
        for name in (*(n for n in chosen if n not in outputs), *outputs):
            todo = [name]  # depth first, parts before wholes
            while todo:
                top = todo[-1]
                parts = [
                    r.source
                    for _, r in self.values[top].all_reads()
                    if r.source not in out and r.source not in named and r.source not in todo
                ]
                if parts:
                    todo.append(parts[0])
                else:
                    out[top] = self.values[todo.pop()]
        return list(out.values())

    def _renamed(self, values: Sequence[Value]) -> list[Value]:
        """An adjoint that is nothing but a part without a name of its own names that part."""
        names: dict[str, str] = {}
        for v in values:
            if v.op == "copy" and v.name not in self.system.values and not is_temporary(v.name):
                part = self.values[v.reads[0].source]
                same = (part.type, part.axes, part.bounds) == (v.type, v.axes, v.bounds)
                mine = part.name not in self.system.values and is_temporary(part.name)
                mine = mine and part.op not in LEAVES
                if mine and same and not v.reads[0].at:
                    names.setdefault(part.name, v.name)
        taken = set(names.values())
        return [
            replace(
                v.map_reads(lambda r: r.renamed(names.get(r.source, r.source))),
                name=names.get(v.name, v.name),
            )
            for v in values
            if v.name not in taken
        ]


def _refusal(system: System, why: str, hint: str) -> SpecError:
    return SpecError(
        [
            Diagnostic(
                "RNN040",
                f"model {system.name} has no gradients: {why}",
                None,
                hint=f"declare what is missing, such as: {hint}",
            )
        ]
    )
