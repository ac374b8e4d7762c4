"""Recurrences that are ONNX's own operators RNN, GRU and LSTM.

    RNN   h = f(W x + R h' + b)
    GRU   z, r = f(W x + R h' + b)            h = (1 - z) * n + z * h'
          n = g(W x + R (r * h') + b)         or, linear_before_reset,
          n = g(W x + b + r * (R h' + b'))
    LSTM  i, f = f(W x + R h' + p * c' + b)   c = f * c' + i * g(W x + R h' + b)
          o = f(W x + R h' + p * c + b)       h = o * h(c)

(ONNX, operators RNN, GRU and LSTM.) States and gates are found by the roles they play: how h is
mixed from gates, candidate and old state is read off numbers, not off the order of the equation,
so that ``(1 - z) * n + z * h`` and ``n + z * (h - n)`` are the same. What makes a gate is brought
to terms (``sums``). A gate may be the complement of another or of itself, and one that is not
there is a gate that a constant bias holds open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from rnnc.graph.cycles import Recurrence
from rnnc.graph.system import System
from rnnc.graph.types import BATCH, FIRST, LAST, Index, Read, whole
from rnnc.passes.activations import IDENTITY, Activation
from rnnc.passes.mixtures import (
    OPEN_GATE,
    Gate,
    candidates,
    factors_of,
    fixed_below,
    gates_below,
    same,
    sampled,
)
from rnnc.passes.roles import Native, Rowset, an
from rnnc.passes.sums import ONE, Forms, Rows, Source, State, Term
from rnnc.passes.views import Active, Unlike, View

OPEN = (100.0, 1.0)  # arguments at which activations are 1: σ(100) is, in float32 as in float64


def match(system: System, recurrence: Recurrence) -> Native:
    """The operator that a recurrence is.

    :raises Unlike: it is none; the reason names what prevents it.
    """
    return _Match(system, recurrence).run()


class _Match:
    def __init__(self, system: System, recurrence: Recurrence):
        self.system = system
        self.axis = recurrence.axis
        self.forward = recurrence.forward
        self.members = recurrence.members
        self.recurrence = recurrence
        self.states: tuple[str, ...] = ()

    def run(self) -> Native:
        self._check_frame()
        self.forms = Forms(self.system, self.axis, self.members, self.states)
        if len(self.states) == 1:
            return self._one_state(self.states[0])
        if len(self.states) == 2:
            reasons = []
            for h, c in (self.states, self.states[::-1]):
                try:
                    return self._lstm(h, c)
                except Unlike as unlike:
                    reasons.append(unlike)
            raise max(reasons, key=lambda u: u.progress)
        listed = ", ".join(self.forms.quoted(s) for s in self.states)
        raise Unlike(f"{len(self.states)} states go from step to step ({listed}); an LSTM has two")

    def _check_frame(self) -> None:
        """One loop over one axis, each step from the one before."""
        system = self.system
        if self.recurrence.inner:
            raise Unlike("it runs over several axes at once")
        states: dict[str, None] = {}
        for name in system.values:
            if name not in self.members:
                continue
            v = system[name]
            if others := set(v.axes) - {self.axis, BATCH}:
                raise Unlike(f"`{name}` varies over {', '.join(sorted(others))} as well")
            for r in v.reads:
                if r.source in self.members and r.at:
                    lag = abs(whole(r.index(self.axis).offset))
                    if lag != 1:
                        raise Unlike(f"`{name}` reads {r.source} {lag} steps back, not one")
                    states[r.source] = None
        self.states = tuple(states)
        for s in states:
            if system[s].type.kind != "real" or system[s].type.rank != 1:
                raise Unlike(f"the state `{s}` is {system[s].type}; the operators' are vectors")

    # ---------------------------------------------------------------- one state

    def _one_state(self, h: str) -> Native:
        forms = self.forms
        top = forms.resolved(forms.whole(Read(h)))
        found = forms.activation(top)
        if found is not None:
            rows = self._gate_rows(self._argument(top), h, "RNN")
            return self._native("RNN", h, None, (found.function,), {"h": rows}, {"h": top})
        if not gates_below(self.forms, top):  # no activation at all: the identity is one
            rows = self._gate_rows(forms.expanded(top), h, "RNN")
            return self._native("RNN", h, None, (IDENTITY,), {"h": rows}, {"h": top})
        return self._gru(h, top)

    def _gru(self, h: str, top: View) -> Native:
        atoms = gates_below(self.forms, top)
        found = None
        mixture, at = sampled(self.forms, top)
        old = at(self._last(h))
        for z, (n, sign) in product(factors_of(self.forms, atoms), candidates(self.forms, atoms)):
            share = z.value(at)
            if z.view != n and same(mixture, (1 - share) * sign * at(n) + share * old):
                found = z, n, sign
                break
        if found is None:
            for part in fixed_below(self.forms, top):
                name, whole_ = self._named(part), self.forms.quoted(h)
                raise Unlike(
                    f"{f'a part of {whole_}' if name == whole_ else name} does not read "
                    f"`{h}[{self._step(State(h))}]`, as the operator's gates and candidate do", 2,
                )  # fmt: skip
            raise Unlike(
                f"{self.forms.quoted(h)} is no (1 - z) * n + z * {h} of a gate z and a candidate n",
                2,
            )
        z, n, sign = found
        assert z.view is not None
        gates, candidate = self._activation(z.view), self._activation(n)
        rows = {"z": self._rows_of(z, gates, h, "GRU")}
        terms = self._argument(n, sign)
        resets = {g for t in terms for g in t.outer | t.inner}
        if len(resets) > 1:
            raise Unlike(f"{self._named(n)} is reset by several gates", 3)
        after = False
        reset = OPEN_GATE
        if resets:
            (r,) = resets
            if self._activation(r) != gates:
                raise Unlike(
                    f"{self._named(r)} and {self._named(z.view)} have different activations, and "
                    "a GRU's gates have one", 4,
                )  # fmt: skip
            terms, reset, after = self._reset(terms, r, n)
        rows["r"] = self._rows_of(reset, gates, h, "GRU")
        rows["n"] = self._gate_rows(terms, h, "GRU", after)
        named = {"z": z, "r": reset if reset.view is not None else n, "n": n}
        native = self._native("GRU", h, None, (gates, candidate), rows, named)
        native.after = after
        return native

    def _reset(self, terms: Sequence[Term], r: View, n: View) -> tuple[list[Term], Gate, bool]:
        """The candidate's terms with the reset gate taken out (those inside it have the mark of
        ``outer``), the gate, and whether it stands after the product."""
        whole_ = frozenset((r,))
        inside = [t for t in terms if t.inner or t.outer]
        plain = [t for t in terms if not (t.inner or t.outer)]
        states = [t for t in inside if isinstance(t.source, State)]
        before = any(t.inner and t.has_matrix for t in states)
        if any(t.inner | t.outer != whole_ for t in inside):
            raise Unlike(f"{self._named(n)} has two gates in one term", 3)
        if before and any(t.outer or not isinstance(t.source, State) for t in inside):
            raise Unlike(f"{self._named(r)} resets {self._named(n)} both before a product and "
                         "after one", 4)  # fmt: skip
        # of (1 - r) * h there is a term without the gate, and one of the other sign with it
        straight = [t for t in plain if isinstance(t.source, State)]
        opposite = {(-t.scale, t.source, t.chain) for t in inside}
        complement = bool(straight) and {(t.scale, t.source, t.chain) for t in straight} == {
            o for o in opposite if isinstance(o[1], State)
        }
        if straight and not complement:
            raise Unlike(f"{self._named(n)} reads the state both with the gate {self._named(r)} "
                         "and without it", 4)  # fmt: skip
        if complement:
            gone = {(t.scale, t.source, t.chain) for t in plain} & opposite
            plain = [t for t in plain if (t.scale, t.source, t.chain) not in gone]
            inside = [replace(t, scale=-t.scale) for t in inside]
        mark = frozenset() if before else whole_
        inside = [replace(t, inner=frozenset(), outer=mark) for t in inside]
        return [*plain, *inside], Gate(r, complement), not before

    # ---------------------------------------------------------------- two states

    def _lstm(self, h: str, c: str) -> Native:
        forms = self.forms
        top, cell = (forms.resolved(forms.whole(Read(x))) for x in (h, c))
        shown, output, last = self._output(h, top, c, cell)
        atoms = gates_below(self.forms, cell)
        found = None
        factors = [*factors_of(self.forms, atoms), OPEN_GATE]
        mixture, at = sampled(self.forms, cell)
        old = at(self._last(c))
        for (g, sign), i, f in product(candidates(self.forms, atoms), factors, factors):
            if g in (i.view, f.view) or (i.view is None and f.view is None):
                continue
            if same(mixture, i.value(at) * sign * at(g) + f.value(at) * old):
                found = g, sign, i, f
                break
        if found is None:
            raise Unlike(f"{forms.quoted(c)} is no f * {c} + i * g of gates f, i and a candidate g",
                         2)  # fmt: skip
        g, sign, i, f = found
        gates = {"i": i, "o": output, "f": f}
        views = {role: gate.view for role, gate in gates.items() if gate.view is not None}
        kinds = {self._activation(v) for v in views.values()}
        if len(kinds) > 1:
            raise Unlike("its gates have different activations, and an LSTM's have one", 4)
        (kind,) = kinds
        rows = {role: self._rows_of(gate, kind, h, "LSTM", c, role) for role, gate in gates.items()}
        rows["g"] = self._gate_rows(self._argument(g, sign), h, "LSTM")
        named: dict[str, View | Gate] = {role: gates[role] for role in views}
        if last is not None:
            named["h"] = last
        return self._native(
            "LSTM", h, c, (kind, self._activation(g), shown), rows, {**named, "g": g}
        )

    def _output(
        self, h: str, top: View, c: str, cell: View
    ) -> tuple[Activation, Gate, View | None]:
        """What of the cell is shown: the activation, the gate, and the value of h(c)."""
        now = self.forms.whole(Read(c))
        cells = {cell, now}
        atoms = gates_below(self.forms, top, cells)
        of_cell = {a: f for a in atoms if (f := self.forms.activation_in(a, cell)) is not None}
        gates = [a for a in atoms if a not in of_cell]
        mixture, at = sampled(self.forms, top, cells)
        for o in [*factors_of(self.forms, gates), OPEN_GATE]:
            for a, activation in (*of_cell.items(), (now, IDENTITY)):
                if same(mixture, o.value(at) * at(a)):
                    return activation, o, a if a in of_cell else None
        raise Unlike(f"{self.forms.quoted(h)} is no o * tanh({c}) of a gate o", 1)

    # ---------------------------------------------------------------- activations, states

    def _active(self, view: View) -> Active:
        found = self.forms.activation(view)
        assert found is not None
        return found

    def _activation(self, view: View) -> Activation:
        return self._active(view).function

    def _argument(self, view: View, sign: int = 1) -> list[Term]:
        """What an activation is applied to (times ``sign``)."""
        active = self._active(view)
        terms = self.forms.terms(active.argument)
        return [replace(t, scale=t.scale * active.sign * sign) for t in terms]

    def _last(self, state: str) -> View:
        """A state as it is carried from the step before."""
        step = Index(self.axis, -1 if self.forward else 1)
        return self.forms.whole(Read(state, ((self.axis, step),)))

    # ---------------------------------------------------------------- rows of weights

    def _opening(self, f: Activation) -> float:
        """The bias of a gate that is not there."""
        for bias in OPEN:
            if f(np.array(bias)) == 1:
                return bias
        raise Unlike(f"no bias holds a missing gate of {f.name} open", 4)

    def _rows_of(
        self, gate: Gate, f: Activation, h: str, kind: str, c: str | None = None, role: str = ""
    ) -> Rowset:
        if gate.view is None:
            return Rowset(constant=self._opening(f))
        terms = self._argument(gate.view)
        if gate.complement:  # 1 - σ(a) = σ(-a)
            terms = [replace(t, scale=-t.scale) for t in terms]
        return self._gate_rows(terms, h, kind, c=c, role=role, name=self._named(gate.view))

    def _gate_rows(
        self,
        terms: Sequence[Term],
        h: str,
        kind: str,
        after: bool = False,
        c: str | None = None,
        role: str = "",
        name: str = "",
    ) -> Rowset:
        name = name or self.forms.quoted(h)
        rows = Rowset()
        for t in terms:
            weighted = t.scale, t.chain
            if t.inner or (t.outer and not after):
                gate = self._named(next(iter(t.inner | t.outer)))
                raise Unlike(f"{name} has the gate {gate} in it", 3)
            source: Source = t.source
            if source == State(h):
                if after and not t.outer:
                    raise Unlike(f"{name} reads the state without the reset gate", 4)
                rows.state.append(weighted)
            elif source == ONE:
                (rows.inner_bias if t.outer else rows.bias).append(weighted)
            elif isinstance(source, State):
                self._peephole(t, rows, kind, c, role, name)
            else:
                assert isinstance(source, View)
                if t.outer:
                    raise Unlike(f"{name} has an input inside the reset gate", 4)
                rows.inputs.setdefault(source, []).append(weighted)
        return rows

    def _peephole(
        self, t: Term, rows: Rowset, kind: str, c: str | None, role: str, name: str
    ) -> None:
        """The place of a term that reads the cell."""
        assert isinstance(t.source, State)
        text = f"{t.source.name}[{self._step(t.source)}]"
        if kind != "LSTM" or t.source.name != c or not role:
            raise Unlike(f"{name} reads `{text}`, which it does not in {an(kind)}", 3)
        if t.has_matrix:
            raise Unlike(
                f"{name} reads `{text}` through a full matrix; the operator's peepholes are "
                "vectors, `p * c`", 5,
            )  # fmt: skip
        if t.source.now != (role == "o"):
            wanted = f"{c}[{self._step(State(c, role == 'o'))}]"
            raise Unlike(f"{name} reads `{text}`; the operator's gate there sees `{wanted}`", 5)
        rows.peephole.append((t.scale, t.chain))

    def _step(self, state: State) -> str:
        return self.axis if state.now else f"{self.axis}{'-' if self.forward else '+'}1"

    def _named(self, view: View) -> str:
        return self.forms.named(view)

    def _told(self, role: View | Gate) -> str:
        """What plays a role, in the words of the spec."""
        if not isinstance(role, Gate):
            return self._named(role)
        assert role.view is not None
        return f"{'1 - ' if role.complement else ''}{self._named(role.view)}"

    # ---------------------------------------------------------------- the whole

    def _native(
        self,
        kind: str,
        h: str,
        c: str | None,
        activations: tuple[Activation, ...],
        rows: dict[str, Rowset],
        named: Mapping[str, View | Gate],
    ) -> Native:
        size = whole(self.system[h].type.shape[0])
        self._check_weights(h, rows, size)
        guards = self.forms.guards
        step = Index(FIRST, -1) if self.forward else Index(LAST, 1)
        initial: dict[str, Read] = {}
        for state in (h, c) if c else (h,):
            bound = guards.initial.get(state) or self.system[state].bound_at(self.axis, step)
            if bound is not None and not self.system.is_zero(bound.source):
                initial[state] = bound
        return Native(
            kind, self.axis, self.forward, self.members, h, c, size, activations, rows,
            {role: self._told(v) for role, v in named.items()}, initial, guards.lengths,
        )  # fmt: skip

    def _check_weights(self, h: str, rows: dict[str, Rowset], size: int) -> None:
        """What has no matrix takes a diagonal one: no more of these than pay."""
        states = [w for r in rows.values() for w in r.state]
        if not any(isinstance(f, Rows) for _, chain in states for f in chain):
            raise Unlike(
                f"{self.forms.quoted(h)} reads its state entry by entry; the operator has a full "
                f"matrix there, {size} times the work", 5,
            )  # fmt: skip
        bare = {
            view: weighted
            for r in rows.values()
            for view, parts in r.inputs.items()
            for weighted in parts
            if not any(isinstance(f, Rows) for f in weighted[1])
        }
        if sum(view.size for view in bare) > size:
            name = self._named(next(iter(bare)))
            raise Unlike(
                f"{name} is added to the gates as it is; the operator adds inputs through "
                "matrices only, and identity matrices for it would cost more than a loop", 5,
            )  # fmt: skip
