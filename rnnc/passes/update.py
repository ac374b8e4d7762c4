"""One training step: gradients, joined with clipping and an optimiser's update of each parameter.

    d_W = …                        gradient_norm = sqrt(sum(d_W * d_W) + …)
                             →     momentum.v.W.next = mu * momentum.v.W - lr * d_W
                                   W.next = W + momentum.v.W.next

An optimiser is a system of its own, a recurrence over updates whose first output is the
parameter. Brought to a single step, it is put in once for each parameter: its gradient is the
parameter's, its state becomes inputs and outputs named after both, and what does not depend on
the parameter (the learning rate, the number of updates) all parameters share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from rnnc.graph.system import State, System, Value
from rnnc.graph.types import BATCH, Attrs, Read, Size, Type
from rnnc.passes.editor import Editor
from rnnc.source import UsageError

NORM = "gradient_norm"
RATE = "lr"
GRADIENT = "g"

Shape = tuple[Size, ...]


def gradients_of(system: System) -> dict[str, str]:
    """The gradient of each parameter that the loss depends on."""
    found = {v.name: f"d_{v.name}" for v in system.params}
    return {
        name: gradient
        for name, gradient in found.items()
        if gradient in system.values and not system.is_zero(gradient)
    }


def updated(
    system: System, optimiser: Callable[[Shape], System], clip: float | None = None
) -> System:
    """The gradient system with ``<param>.next`` for each parameter instead of gradients; those
    that the loss does not depend on are left alone.

    ``optimiser`` gives the optimiser at a single step for a parameter of some shape; where
    ``clip`` is given, gradients whose global norm is larger are scaled to it (Pascanu, Mikolov
    and Bengio 2013). The norm before that is the output ``gradient_norm``.

    :raises UsageError: a name of the optimiser is a name of the model, too.
    """
    return _Update(system, optimiser, clip).run()


class _Update(Editor):
    def __init__(self, system: System, optimiser: Callable[[Shape], System], clip: float | None):
        super().__init__(system)
        self.optimiser = optimiser
        self.gradients = gradients_of(system)
        self.updates: list[State] = []
        self.clip = clip

    def run(self) -> System:
        factor = self._norm()
        for v in self.system.params:
            if v.name in self.gradients:
                self._parameter(v, factor)
        return self.system.with_values(
            self.values, outputs=(NORM,), updates=tuple(self.updates)
        ).pruned()

    # ---------------------------------------------------------------- clipping

    def _norm(self) -> Read | None:
        """The global norm, and the factor that brings it down to what is allowed."""
        largest = self._largest() if self.clip is not None else None
        squares = []
        for gradient in self.gradients.values():
            entry = Read(gradient)
            if largest is not None:
                entry = self.make(f"{NORM}.1", "div", (entry, largest))
            square = self.make(f"{NORM}.1", "mul", (entry, entry))
            if self.type(square).rank:
                square = self.make(f"{NORM}.1", "sum", (square,), (("over", ()),))
            squares.append(square)
        total = squares[0] if squares else self._number(0.0)
        for square in squares[1:]:
            total = self.make(f"{NORM}.1", "add", (total, square))
        if largest is None or self.clip is None:
            self._add(Value(NORM, "sqrt", (total,), Type("real")))
            return None
        root = self.make(f"{NORM}.1", "sqrt", (total,))
        self._add(Value(NORM, "mul", (largest, root), Type("real")))
        limit = self._number(float(self.clip))
        above = self.make(f"{NORM}.1", "gt", (Read(NORM), limit))
        ratio = self.make(f"{NORM}.1", "div", (limit, Read(NORM)))
        return self.make("clip", "where", (above, ratio, self._number(1.0)))

    def _largest(self) -> Read:
        """The largest size of an entry, or 1 where all are 0: what squares are taken relative to,
        so that gradients which exploded can be clipped before they overflow."""
        largest = self._number(0.0)
        for gradient in self.gradients.values():
            size = self.make(f"{NORM}.1", "abs", (Read(gradient),))
            if self.type(size).rank:
                size = self.make(f"{NORM}.1", "max", (size,), (("over", ()),))
            largest = self.make(f"{NORM}.1", "maximum", (largest, size))
        above = self.make(f"{NORM}.1", "gt", (largest, self._number(0.0)))
        return self.make(f"{NORM}.1", "where", (above, largest, self._number(1.0)))

    def _number(self, value: float) -> Read:
        return self.make(f"{NORM}.1", "constant", (), (("value", value),))

    # ---------------------------------------------------------------- updates

    def _parameter(self, param: Value, factor: Read | None) -> None:
        after = f"{param.name}.next"
        self.updates.append(State(param.name, after))
        gradient = Read(self.gradients[param.name])
        if factor is not None:
            gradient = self.make(f"{gradient.source}.clipped", "mul", (factor, gradient))
        step = _without_batch(self.optimiser(param.type.shape))
        weight = step.outputs[0]
        own = self._own(step)
        prefix = step.name.lower()
        names = {
            n: f"{param.name}.{prefix}.{n}" if n in own else f"{prefix}.all.{n}"
            for n in step.values
        }
        names |= {RATE: RATE, GRADIENT: gradient.source}
        for s in step.states:
            suffix = f".{param.name}" if s.prev in own else ""
            before = f"{prefix}.{s.next.removesuffix('.next')}{suffix}"
            names |= {s.prev: before, s.next: f"{before}.next"}
            if s.prev == f"{weight}.prev":
                names |= {s.prev: param.name, s.next: after}
            elif State(before, f"{before}.next") not in self.updates:
                self.updates.append(State(before, f"{before}.next"))
        for v in step.values.values():
            if v.name in (GRADIENT, f"{weight}.prev"):
                continue
            named = replace(v.map_reads(lambda r: r.renamed(names[r.source])), name=names[v.name])
            if v.name in own or named.name not in self.values:
                self._add(named)
            elif self.values[named.name] != named:
                raise UsageError(
                    f"the optimiser {step.name} and the model both have a {named.name}; "
                    "rename the model's"
                )

    def _own(self, step: System) -> frozenset[str]:
        """What differs from parameter to parameter: all that the gradient or a state reaches."""
        roots = {GRADIENT, *(s.prev for s in step.states if step[s.prev].type.kind == "real")}
        found = set(roots)
        size = 0
        while len(found) > size:
            size = len(found)
            found |= {
                v.name for v in step.values.values() if any(r.source in found for r in v.reads)
            }
        return frozenset(found)

    def _add(self, value: Value) -> None:
        self.values[value.name] = value


def _without_batch(system: System) -> System:
    """An optimiser works on parameters, which have no batch."""
    values = {
        v.name: replace(v, axes=tuple(a for a in v.axes if a != BATCH))
        for v in system.values.values()
    }
    return system.with_values(values)


def set_constants(system: System, numbers: Mapping[str, float]) -> System:
    """The system with other values for some of its named constants (hyperparameters).

    :raises UsageError: there is no such constant.
    """
    known = {v.name for v in system.values.values() if v.op == "constant" and "." not in v.name}
    for name in numbers:
        if name not in known:
            has = ", ".join(sorted(known)) or "none"
            raise UsageError(f"{system.name} has no hyperparameter {name}; it has: {has}")
    attrs: dict[str, Attrs] = {n: (("value", float(x)),) for n, x in numbers.items()}
    return system.with_values(
        [replace(v, attrs=attrs.get(v.name, v.attrs)) for v in system.values.values()]
    )
