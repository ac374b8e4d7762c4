"""Generation: every observed variable is drawn from its distribution.

``y[t] ~ categorical(p[t])`` becomes an equation: what is given of y (``y.prompt``, of which the
first ``y.given`` steps count), and from there on a draw. Whatever reads ``y[t-1]`` reads what was
drawn, so that a model that feeds its own output back becomes a loop without being told.

=============  ====================================================================
categorical    the first class whose cumulated probability is above a uniform number
bernoulli      whether the uniform number is below the probability
categorical[s] the step s with the largest log p[s] + noise, the noise -log(-log u) (E. J. Gumbel)
normal         mean + temperature * sd * z, with z of two uniform numbers (G. E. P. Box,
               M. E. Muller, A Note on the Generation of Random Normal Deviates, Annals of
               Mathematical Statistics 29(2), 1958)
=============  ====================================================================

The input ``temperature`` divides the logits of the first two (log p where p is no softmax or
sigmoid). At 0 the mode is taken: the logits' differences from the largest are then multiplied by
a huge number, and the uniform numbers replaced by one that chooses it, all of that outside the
loop. Uniform numbers are inputs like those of dropout.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import replace

import networkx as nx

from rnnc.graph.cycles import recurrences
from rnnc.graph.names import END, GIVEN, LENGTH, PROMPT, TEMPERATURE, UNIFORM
from rnnc.graph.system import Distribution, System, Value
from rnnc.graph.types import BATCH, Read, Type, sign, whole
from rnnc.passes.editor import Editor
from rnnc.source import Diagnostic, Label, Span, SpecError, UsageError

SHARP = 1e30  # in place of 1 / 0; float32 holds it
BELOW_1 = 1 - 2**-22  # times a sum of float32, it stays below that sum


def generate(system: System, top_k: int | None = None) -> System:
    """Draw all targets; the outputs are they, and then those of the model.

    A target over one time axis has a prompt. Of a categorical one, draws are among the ``top_k``
    most likely classes (and those as likely as the last of them).

    :raises SpecError: nothing is observed; ``temperature`` is the model's own; a draw would need
        to know itself, or later ones.
    :raises UsageError: ``top_k`` is below 1, or nothing is categorical.
    """
    if not system.targets:
        hint = "observe something: target y[t] : … ~ …"
        message = f"model {system.name} observes nothing, so that there is nothing to draw"
        raise SpecError([Diagnostic("RNN040", message, None, hint=hint)])
    if TEMPERATURE in system.own_names:
        value = system.values.get(TEMPERATURE)
        span = value.origins[0] if value is not None and value.origins else None
        message = f"`{TEMPERATURE}` is the name of an input of every model that generates"
        hint = "rename the model's own; in other modes it may stay"
        raise SpecError([Diagnostic("RNN043", message, span, hint=hint)])
    kinds = {d.kind for d in system.targets.values()}
    if top_k is not None and (top_k < 1 or "categorical" not in kinds):
        what = "draws among one class or more" if top_k < 1 else "is for a categorical variable"
        raise UsageError(f"top_k = {top_k}: it {what}")
    drawing = _Drawing(system, top_k)
    for name, distribution in system.targets.items():
        drawing.target(system[name], distribution)
    drawn = replace(drawing.editor.result(), targets={}).pruned()
    _check_order(drawn, tuple(system.targets))
    return drawn


class _Drawing:
    """The equations of the draws."""

    def __init__(self, system: System, top_k: int | None):
        lengths = [n + LENGTH for n in system.targets if _is_sequence(system[n])]
        outputs = tuple(dict.fromkeys((*system.targets, *lengths, *system.outputs)))
        self.editor = Editor(replace(system, outputs=outputs))
        self.top_k = top_k
        self.base = TEMPERATURE  # what temporary names begin with
        self.temperature = self.leaf(TEMPERATURE, "input", Type("real"))
        self.hot = self("gt", self.temperature, self.number(0.0))
        inverse = self("div", self.number(1.0), self.temperature)
        self.sharp = self("minimum", inverse, self.number(SHARP))

    def target(self, v: Value, distribution: Distribution) -> None:
        """Give a target its equation."""
        self.base = f"{v.name}.draw"
        times = [a for a in v.axes if a != BATCH]
        op, reads = "copy", []
        if len(times) == 1:
            prompt = self.leaf(v.name + PROMPT, "input", v.type, v.axes, v.limits)
            given = self.leaf(v.name + GIVEN, "input", Type("index"), (BATCH,))
            op, reads = "where", [self("le", self("step", axis=times[0]), given), prompt]
        draw = {
            "categorical": self._categorical,
            "bernoulli": self._bernoulli,
            "normal": self._normal,
        }[distribution.kind]
        reads.append(draw(v, distribution))
        self.editor.values[v.name] = replace(v, op=op, reads=tuple(reads), attrs=())
        if _is_sequence(v):
            self._length(v, times[0])

    def _length(self, v: Value, axis: str) -> None:
        """How many steps of a sequence of indices count: up to the first drawn ``.end``."""
        step = self("step", axis=axis)
        drawn = self("gt", step, Read(v.name + GIVEN))
        ends = self("eq", Read(v.name), self.leaf(v.name + END, "input", Type("index")))
        last = self("where", self("and", drawn, ends), step, self("length", axis=axis))
        self.editor.make(v.name + LENGTH, "min", (last,), (("over", (axis,)),))

    # ---------------------------------------------------------------- distributions

    def _categorical(self, v: Value, d: Distribution) -> Read:
        (p,) = d.reads
        if d.over is not None:
            return self._choice(v, p, d.over)
        logits = self._inside("softmax", p) or self("log", p)
        size = whole(self.editor.type(logits).shape[0])
        less = self("sub", logits, self("max", logits, over=()))
        weights = self("exp", self("mul", less, self.sharp))
        if self.top_k is not None and self.top_k < size:
            least = self("kth_largest", logits, count=self.top_k)
            # NaN is not less: a sum of it stays NaN, and is no sum of nothing
            weights = self("where", self("lt", logits, least), self.number(0.0), weights)
        sums = self("cumsum", weights)
        total = self("slice", sums, start=size - 1, stop=size)
        u = self("minimum", self._uniform(v), self.number(BELOW_1))
        u = self("where", self.hot, u, self.number(0.0))  # 0 chooses the first of weight 1
        # below the total, so that a class has been found even where rounding moved the sums;
        # comparisons with NaN fail, which is the first class
        passed = self("le", sums, self("mul", total, u))
        return self("sum", self("where", passed, self.number(1), self.number(0)), over=())

    def _choice(self, v: Value, p: Read, axis: str) -> Read:
        """The step of an axis whose logit and Gumbel noise are the largest."""
        logits = self._inside("softmax", p, (axis,)) or self("log", p)
        less = self("sub", logits, self("max", logits, over=(axis,)))
        axes = self.editor.system.ordered({*v.axes, axis})
        u = self.leaf(v.name + UNIFORM, "uniform", Type("real"), axes)
        noise = self("neg", self("log", self("neg", self("log", u))))
        noise = self("where", self.hot, noise, self.number(0.0))
        total = self("add", self("mul", less, self.sharp), noise)
        return self("argmax", total, over=(axis,))

    def _bernoulli(self, v: Value, d: Distribution) -> Read:
        (p,) = d.reads
        logits = self._inside("sigmoid", p)
        if logits is None:
            off = self("sub", self.number(1.0), p)
            logits = self("sub", self("log", p), self("log", off))
        u = self("where", self.hot, self._uniform(v), self.number(0.5))
        on = self("lt", u, self("sigmoid", self("mul", logits, self.sharp)))
        return self("where", on, self.number(1.0), self.number(0.0))

    def _normal(self, v: Value, d: Distribution) -> Read:
        mean, sd = d.reads
        above_0 = self("sub", self.number(1.0), self._uniform(v))
        radius = self("sqrt", self("mul", self.number(-2.0), self("log", above_0)))
        angle = self("mul", self.number(2 * math.pi), self._uniform(v))
        z = self("mul", radius, self("cos", angle))
        return self("add", mean, self("mul", sd, self("mul", self.temperature, z)))

    def _inside(self, op: str, r: Read, over: tuple[str, ...] = ()) -> Read | None:
        """What a value is ``op`` of, over its features (or these axes), if it is that."""
        while not r.at:
            value = self.editor.values[r.source]
            if value.op == op and value.over == over:
                return value.reads[0]
            if value.op != "copy":
                return None
            (r,) = value.reads
        return None

    # ---------------------------------------------------------------- values

    def __call__(self, op: str, *reads: Read, **attrs: Hashable) -> Read:
        return self.editor.make(self.base, op, reads, tuple(attrs.items()))

    def number(self, value: float) -> Read:
        return self("constant", value=value)

    def leaf(
        self,
        name: str,
        op: str,
        type_: Type,
        axes: tuple[str, ...] = (),
        attrs: tuple[tuple[str, Hashable], ...] = (),
    ) -> Read:
        """Something that comes from outside."""
        values = self.editor.values
        values[name] = Value(name, op, (), type_, self.editor.system.ordered(axes), attrs)
        return Read(name)

    def _uniform(self, v: Value) -> Read:
        """A number in [0, 1) for each draw (each entry of a vector)."""
        shape = v.type.shape if v.type.kind == "real" else ()
        name = v.name + UNIFORM
        if name in self.editor.values:
            name += "2"
        return self.leaf(name, "uniform", Type("real", shape), v.axes)


# ---------------------------------------------------------------- what cannot be drawn


def _is_sequence(v: Value) -> bool:
    """Whether a target is a sequence of indices, which may have an end."""
    return v.type.kind == "index" and len([a for a in v.axes if a != BATCH]) == 1


def _check_order(system: System, drawn: tuple[str, ...]) -> None:
    """Every draw depends on earlier steps alone.

    :raises SpecError: showing a read that looks ahead.
    """
    try:
        found = recurrences(system)
        wrong = [n for n in drawn if any(n in r.members and not r.forward for r in found)]
    except SpecError:  # without the draws there was no wrong cycle
        wrong = list(drawn)
    if wrong:
        raise SpecError([_looks_ahead(system, wrong)])


def _looks_ahead(system: System, drawn: list[str]) -> Diagnostic:
    """Where something that a draw depends on needs the same draw, or a later one."""
    circles = list(nx.strongly_connected_components(system.graph))
    found: list[tuple[bool, Span | None, str]] = []
    for name in drawn:
        circle = next(c for c in circles if name in c)
        for value in system.values.values():
            reads = [r for _, r in value.all_reads() if r.source in circle]
            if value.name in circle and reads:
                later = any(_ahead(system, value, r) for r in reads)
                if later or Read(name) in reads:
                    found.append((later, value.origins[0] if value.origins else None, name))
    later, span, name = max(found, key=lambda f: f[0])  # the first, one of a later step if any
    axes = [a for a in system[name].axes if a != BATCH]
    earlier = f"{name}[{', '.join([f'{a}-1' for a in axes[:1]] + axes[1:])}]"
    hint = f"read earlier steps, such as {earlier}; or make what is known beforehand an input"
    own = system[name].origins
    return Diagnostic(
        "RNN042",
        f"generation cannot look ahead: what `{name}` is drawn from depends on "
        + f"`{name}`"
        + (f" at {'later steps' if later else 'the same step'}" if axes else ""),
        span,
        tuple(Label(o, f"`{name}` is drawn") for o in own[:1] if o != span),
        hint=hint if axes else None,
    )


def _ahead(system: System, value: Value, r: Read) -> bool:
    """Whether a read goes to later steps, to a fixed one, or to all."""
    times = set(system.time_axes())
    return bool(times & set(value.over)) or any(
        index.fixed or sign(index.offset) == 1 for _, index in r.at
    )
