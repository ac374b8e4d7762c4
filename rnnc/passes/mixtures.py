"""What a state is mixed of: gates, a candidate, the old state, told by random numbers.

Everything that an activation makes is a random number, and so is the old state; a mixture is what
it is said to be if the numbers agree. Order, association and expansion make no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from rnnc.graph.ops import OPS
from rnnc.passes.activations import NDA, Activation
from rnnc.passes.sums import Forms
from rnnc.passes.views import ARITHMETIC, View, number_of

Sample = Callable[[View], NDA]


@dataclass(frozen=True)
class Gate:
    """An activation of the recurrence as a factor: itself, or what it lacks to 1."""

    view: View | None  # None: no gate, which is a gate that is open
    complement: bool = False

    def value(self, at: Sample) -> NDA:
        if self.view is None:
            return np.ones(1)
        return 1 - at(self.view) if self.complement else at(self.view)


OPEN_GATE = Gate(None)


def gates_below(forms: Forms, top: View, stop: Collection[View] = ()) -> list[View]:
    """The activations that entries are mixed of, by sums and products alone."""
    return [v for v in _parts(forms, top, stop) if forms.activation(v) is not None]


def fixed_below(forms: Forms, top: View) -> list[View]:
    """What does not recur and varies from step to step, of all that entries are mixed of."""
    parts = (v for v in _parts(forms, top, ()) if not forms.recurs(v))
    return [v for v in parts if forms.axis in forms.value(v).axes]


def _parts(forms: Forms, top: View, stop: Collection[View]) -> list[View]:
    """All that entries are mixed of."""
    found: dict[View, None] = {}
    seen: set[View] = set()
    todo = [top]
    while todo:
        view = forms.resolved(todo.pop())
        if view in seen or view in stop or view.read.at:
            continue
        seen.add(view)
        v = forms.value(view)
        if forms.recurs(view) and forms.activation(view) is None and v.op in ARITHMETIC:
            todo += [forms.part(r, view) for r in v.reads]
        else:
            found[view] = None
    return list(found)


def function_of(forms: Forms, view: View) -> Activation:
    """The activation that makes entries."""
    found = forms.activation(view)
    assert found is not None
    return found.function


def factors_of(forms: Forms, atoms: Sequence[View]) -> list[Gate]:
    """Gates that may be factors: each activation, and its complement where that is one."""
    out = [Gate(a) for a in atoms]
    return out + [Gate(a, True) for a in atoms if function_of(forms, a).mirrored]


def candidates(forms: Forms, atoms: Sequence[View]) -> list[tuple[View, int]]:
    """Candidates with their signs: -tanh(a) is tanh(-a)."""
    return [(a, 1) for a in atoms] + [(a, -1) for a in atoms if function_of(forms, a).odd]


def sampled(forms: Forms, top: View, given: Collection[View] = ()) -> tuple[NDA, Sample]:
    """Entries as a mixture of random numbers, and the number that each of its parts has:
    activations, old states, what does not recur, and what is ``given``."""
    rng = np.random.default_rng(5)
    known: dict[View, NDA] = {forms.resolved(x): rng.random(8) for x in given}
    drawn: dict[tuple[Activation, View], NDA] = {}  # σ(a) and σ(-a) go together

    def at(view: View) -> NDA:
        view = forms.resolved(view)
        if view not in known:
            known[view] = made(view)
        return known[view]

    def made(view: View) -> NDA:
        v = forms.system[view.read.source]
        if (number := number_of(v)) is not None:
            return np.asarray(number)
        if (active := forms.activation(view)) is not None:
            key = active.function, forms.resolved(active.argument)
            positive = drawn.setdefault(key, rng.random(8))
            return positive if active.sign > 0 else active.function.turned(positive)
        if not forms.recurs(view) or view.read.at or v.op not in ARITHMETIC:
            return rng.random(8)
        compute = OPS[v.op].compute
        assert compute is not None
        return compute([at(forms.part(r, view)) for r in v.reads], dict(v.attrs))

    return at(top), at


def same(a: NDA, b: NDA) -> bool:
    """Whether two mixtures are one."""
    return bool(np.allclose(a, b, 1e-12, 1e-12))
