"""Calls of layers, written out: each becomes the layer's own statements in its caller.

``f[t] = LSTM(x[t]; m = 64)`` gives ``f.x[t] = x[t]``, ``f.f[t] = sigmoid(f.W_f f.x[t] + …)``, …,
and ``f[t] = f.h[t]``. Nothing after this knows of layers.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

from rnnc.graph.build.axes import CONSTANTS
from rnnc.graph.build.dims import Dims, walk
from rnnc.graph.build.functions import DISTRIBUTIONS, FUNCTIONS
from rnnc.graph.build.instance import Call, Instance
from rnnc.graph.build.instantiate import axes_of, defined, mentioned
from rnnc.graph.build.layers import Layer, Load, Models, Options, read_options
from rnnc.graph.build.needed import needed
from rnnc.graph.build.problems import Problems, head, listed, short, suggestion
from rnnc.source import Label, Span
from rnnc.syntax import tree

MOST_STATEMENTS = 20_000
MOST_NESTED = 40  # layers within layers
TAKEN = {*FUNCTIONS, "split"}  # names that no model has


def expand(
    model: tree.Model,
    file: tree.File,
    load: Load | None,
    problems: Problems,
    sizes: Mapping[str, int],
) -> tuple[tree.Model, list[Span]]:
    """The model with all calls of layers written out, and the boundaries given in calls that none
    of the layers needs; stops where a problem is found.

    ``sizes`` are numbers of its dims that are set from outside; the depth of a stack needs one.
    """
    statements = _Expansion(Models(load), problems, sizes).flat(model, file)
    problems.stop()
    own = [s for s in statements if s.span.source.caller is None]
    if len(own) == len(statements) == len(model.statements):
        return model, []
    statements, unneeded = needed(statements, problems)
    problems.stop()
    return replace(model, statements=statements), unneeded


class _Expansion:
    """Writes calls out, inner ones first; the models on the way are in ``trail``."""

    def __init__(self, models: Models, problems: Problems, sizes: Mapping[str, int]):
        self.models = models
        self.sizes = sizes
        self.problems = problems
        self.trail: list[tuple[tree.Model, Label | None]] = []
        self.layers: dict[int, Layer | None] = {}  # None after a report
        self.count = 0

    def flat(self, model: tree.Model, file: tree.File) -> tuple[tree.Statement, ...]:
        """The statements of a model with all calls written out."""
        return tuple(_Caller(self, model, file).statements())

    def layer(self, model: tree.Model, file: tree.File, call: Span) -> Layer | None:
        """A model as a layer; None after a report."""
        if id(model) not in self.layers:
            if any(m is model for m, _ in self.trail):
                circle = [m.name for m, _ in self.trail]
                circle = [*circle[circle.index(model.name) :], model.name]
                how = f": {' uses '.join(circle)}" if len(circle) > 2 else ""
                self.fail("RNN018", f"model {model.name} uses itself{how}", call)
                return None
            if len(self.trail) >= MOST_NESTED:
                self.fail("RNN002", f"more than {MOST_NESTED} layers within each other", call)
                return None
            before = len(self.problems.found)
            self.trail.append((model, Label(call, f"in this call of {model.name}")))
            layer = Layer(model, self.flat(model, file))
            self.trail.pop()
            self.layers[id(model)] = layer if len(self.problems.found) == before else None
        return self.layers[id(model)]

    def fail(
        self,
        code: str,
        message: str,
        span: Span,
        hint: str | None = None,
        labels: Sequence[tuple[Span, str]] = (),
    ) -> None:
        """Report a problem, and by which calls it was met."""
        calls = [(c.span, c.text) for _, c in reversed(self.trail) if c is not None]
        self.problems.add(code, message, span, hint=hint, labels=[*labels, *calls])

    def counted(self, statements: list[tree.Statement], span: Span) -> list[tree.Statement]:
        """The statements, if they are not too many by now."""
        self.count += len(statements)
        if self.count > MOST_STATEMENTS:
            message = f"the layers have more than {MOST_STATEMENTS} statements together"
            self.fail("RNN002", message, span)
            self.problems.stop()
        return statements


def _numbers(model: tree.Model) -> dict[str, int | None]:
    """The dims of a model with their numbers, None where one is open or a formula."""
    dims = [d for s in model.statements if isinstance(s, tree.DimStatement) for d in s.dims]
    whole = {d.name: d.default.value for d in dims if isinstance(d.default, tree.Number)}
    return {d.name: n if isinstance(n := whole.get(d.name), int) else None for d in dims}


def _is_in(expr: tree.Expr, names: Container[str]) -> bool:
    return isinstance(expr, tree.Name) and expr.name in names


class _Caller:
    """One model whose calls are written out."""

    def __init__(self, expansion: _Expansion, model: tree.Model, file: tree.File):
        self.expansion = expansion
        self.fail = expansion.fail
        self.model = model
        self.file = file
        self.axes = axes_of(model.statements)
        self.steps = {"t", "T", *self.axes, *self.axes.values()}
        self.sized = {s.name: s for s in model.statements if isinstance(s, tree.AxisStatement)}
        self.values = {n for s in model.statements for n in defined(s)}
        self.models = {m.name: (m, file) for m in file.models}
        self.named: dict[str, tuple[Layer, Options]] = {}
        self.missing: set[str] = set()  # what a `use` names and does not find
        self.prefixes: dict[str, Span] = {}
        self.numbers: dict[str, int | None] = {}  # those of a layer differ from call to call
        if not expansion.trail:
            expansion.trail.append((model, None))
            self.numbers = _numbers(model) | dict(expansion.sizes)
        self.out: list[tree.Statement] = []

    def statements(self) -> list[tree.Statement]:
        """Those of the model, and of the layers it calls."""
        self._check_names()
        used: dict[str, Span] = {}
        for s in self.model.statements:
            if isinstance(s, tree.UseStatement):
                self._use(s, used)
        for s in self.model.statements:
            if isinstance(s, tree.LayerStatement):
                self._named(s)
        for s in self.model.statements:
            match s:
                case tree.UseStatement() | tree.LayerStatement():
                    pass
                case tree.Equation(right=tree.Call() as call) if self._calls(call):
                    for part in (*call.args, *call.options):
                        self._check_alone(part)
                    self._write_out(s, call)
                case _:
                    self._check_alone(s)
                    self.out.append(s)
        return self.out

    def _check_names(self) -> None:
        """Names with a dot are those of layers' values, those of functions no models'."""
        if len(self.expansion.trail) == 1:
            for model in self.file.models:
                self._is_free(model.name, model.span, TAKEN)
        for s in self.model.statements:
            if isinstance(s, tree.LayerStatement):
                self._is_free(s.name, s.span, {*TAKEN, *CONSTANTS, *self.steps})
            names = [s.name] if isinstance(s, tree.AxisStatement | tree.LayerStatement) else []
            for name in (*names, *defined(s)):
                if "." in name and s.span.source.caller is None:
                    message = f"`{name}` is the inner value of a layer; choose another name"
                    hint: str | None = None
                    if isinstance(s, tree.Equation) and any(x.index for x in s.left):
                        short_name = name.partition(".")[2]
                        hint = f"a boundary is given in the call: LSTM(…; {short_name}[0] = …)"
                    self.fail("RNN012", message, head(s.span), hint)

    def _is_free(self, name: str, span: Span, taken: Container[str]) -> bool:
        """Whether a layer can have the name; reports one that means something already."""
        if name not in taken:
            return True
        why = "a function" if name in TAKEN else "a word of the language"
        if name in self.steps:
            why = "the number of a step, or of all steps"
        self.fail("RNN012", f"`{name}` is {why}; choose another name", span)
        return False

    def _use(self, s: tree.UseStatement, used: dict[str, Span]) -> None:
        for name in s.names:
            if name.name in used:
                first = [(used[name.name], "first here")]
                self.fail("RNN011", f"`{name.name}` is used twice", name.span, labels=first)
            elif not self._is_free(name.name, name.span, TAKEN):
                pass
            elif found := self.expansion.models.used(s, name, self.fail):
                self.models[name.name] = found
            else:
                self.missing.add(name.name)
            used.setdefault(name.name, name.span)

    def _named(self, s: tree.LayerStatement) -> None:
        """``layer enc = LSTM(m = 64)``: its weights."""
        layer = self._layer(s.call)
        if layer is None or not self._take(s.name, s.span):
            return
        if s.name in self.values:
            self.fail("RNN011", f"`{s.name}` is a value and a layer", s.span)
            return
        options = read_options(layer, s.call.options, self.numbers, self.fail)
        self.named[s.name] = layer, options
        if not any(s.name == f for f in self._functions()):
            self._check_uncalled(options)
        for level in range(1, (options.depth or 1) + 1):
            prefix = f"{s.name}.{level}" if options.depth else s.name
            label = Label(s.call.span, f"in this layer {layer.name}")
            call = Call(layer, options, label, level, prefix, prefix, only_shared=True)
            made = Instance(self.axes, self.sized, call, (), (), self.fail).statements()
            self.out += self.expansion.counted(made, s.span)

    def _functions(self) -> set[str]:
        """Everything that the model calls, layers among it."""
        calls = (e for s in self.model.statements for e in walk(s) if isinstance(e, tree.Call))
        return {call.function for call in calls}

    def _check_uncalled(self, options: Options) -> None:
        """What the options of a layer say, where no call of it would meet what is wrong."""
        dims = Dims(self.model, self.expansion.sizes, Problems())  # its own are told later
        dims.problems = self.expansion.problems
        for option in options.dims.values():
            assert option.value is not None
            dims.shape_size(option.value)
        known = {*self.values, *self.steps, *FUNCTIONS, *CONSTANTS}
        for bound in options.bounds:
            if unknown := sorted(mentioned(bound.value) - known):
                hint = suggestion(unknown[0], self.values)
                self.fail("RNN010", f"unknown name `{unknown[0]}`", bound.span, hint)

    def _take(self, name: str, span: Span) -> bool:
        """Whether no other layer has the name."""
        if name in self.prefixes:
            first = [(self.prefixes[name], "first here")]
            self.fail("RNN011", f"`{name}` is defined twice", head(span), labels=first)
            return False
        self.prefixes[name] = span
        return True

    # ---------------------------------------------------------------- calls

    def _is_layer(self, call: tree.Call) -> bool:
        name = call.function
        if name in self.named:
            return True
        return name in self.models and name not in self.values and name not in FUNCTIONS

    def _calls(self, call: tree.Call) -> bool:
        """Whether an equation's right side calls a layer, or means to."""
        name = call.function
        known = {*self.values, *FUNCTIONS, *DISTRIBUTIONS, "split"}
        if self._is_layer(call):
            return True
        if name in known:
            return False
        found = self.expansion.models.in_library(call.span.source, name)
        return found or bool(call.options)

    def _layer(self, call: tree.Call) -> Layer | None:
        name = call.function
        if name not in self.models:
            if name in self.missing or suggestion(name, self.missing):
                return None  # told at the `use`
            hint = suggestion(name, [*self.models, *self.named])
            if self.expansion.models.in_library(call.span.source, name):
                hint = f"it is in the library: use {name}"
            self.fail("RNN013", f"unknown layer `{name}`", head(call.span), hint)
            return None
        model, file = self.models[name]
        layer = self.expansion.layer(model, file, call.span)
        if layer is not None:
            if not layer.outputs:
                message = f"model {name} has no equation, and so no result"
                self.fail("RNN019", message, head(call.span), labels=[(layer.span, "it is here")])
                return None
            for output in layer.stated:
                if layer.own.get(output.name) is None and output.name not in layer.shared:
                    message = f"unknown output `{output.name}`"
                    labels = [(call.span, f"in this call of {name}")]
                    self.fail("RNN010", message, output.span, labels=labels)
                    return None
        return layer

    def _check_alone(self, part: object) -> None:
        """A call of a layer within an expression has no name for its weights."""
        for e in walk(part):
            if isinstance(e, tree.Call) and self._is_layer(e):
                axis = next(iter(self.axes))
                self.fail(
                    "RNN019",
                    f"a call of a layer stands alone on the right of an equation: "
                    f"`{short(e.span.text)}` does not",
                    e.span,
                    f"name it: z[{axis}] = {short(e.span.text)}, and read z[{axis}] here",
                )

    def _write_out(self, s: tree.Equation, call: tree.Call) -> None:
        """One call: the statements of the layer, once for each level of a stack."""
        name = call.function
        named = self.named.get(name)
        layer = named[0] if named else self._layer(call)
        first = s.left[0]
        if layer is None or not self._check_call(s, call, layer):
            return
        options = read_options(layer, call.options, self.numbers, self.fail)
        if named:
            for o in (*options.dims.values(), *(o for o in call.options if o.name == "depth")):
                where = f"where `{name}` is made"
                self.fail("RNN014", f"`{short(o.span.text)}` is said once, {where}", o.span)
            options = named[1].joined(options)
        if not self._take(first.name, first.span):
            return
        label = Label(call.span, f"in this call of {layer.name}")
        lefts = [tuple(i.name for i in x.index if isinstance(i, tree.Name)) for x in s.left]
        args = list(call.args)
        for level in range(1, (options.depth or 1) + 1):
            number = f".{level}" if options.depth else ""
            prefix, shared = f"{first.name}{number}", f"{name if named else first.name}{number}"
            asked = Call(layer, options, label, level, prefix, shared, bool(named))
            instance = Instance(self.axes, self.sized, asked, lefts, args, self.fail)
            self.out += self.expansion.counted(instance.statements(), call.span)
            results = instance.results()
            args = results[:1] + list(call.args)[1:]
        for left, result in zip(s.left, results, strict=False):
            self.out.append(tree.Equation((left,), result, span=s.span))

    def _too_many(self, call: tree.Call, layer: Layer) -> str | None:
        """What further arguments were meant to be: sizes, options, states."""
        count = len(layer.inputs)
        more = call.args[count:]
        before = ", ".join(short(a.span.text) for a in call.args[:count])
        if any(isinstance(a, tree.Name) and a.name in {"backward", *layer.dims} for a in call.args):
            return "options stand after a semicolon"
        sizes = [d for d in layer.dims if d not in layer.told]
        if sizes and any(isinstance(a, tree.Number) or _is_in(a, self.numbers) for a in more):
            example = f"{call.function}({before}; {sizes[0]} = {short(more[0].span.text)})"
            return f"sizes stand after a semicolon: {example}"
        states = [n for n in layer.outputs if layer.own.get(n)]
        if states and any(isinstance(a, tree.Indexed) for a in more):
            first = ", ".join(("0", *layer.own[states[0]][1:]))
            example = f"{call.function}({before}; {states[0]}[{first}] = …)"
            return f"a layer has its own states; an initial one is given as {example}"
        return None

    def _check_call(self, s: tree.Equation, call: tree.Call, layer: Layer) -> bool:
        """Whether a call has as many arguments and names as its layer."""
        first = s.left[0]
        if len(s.left) > len(layer.outputs):
            count = len(layer.outputs)
            what = f"{count} result{'s' if count > 1 else ''}, {listed(layer.outputs)}"
            span = first.span.to(s.left[-1].span)
            self.fail("RNN019", f"{layer.name} has {what}, and there are {len(s.left)} names", span)
            return False
        if call.over:
            hint = f"write {call.function}(…; over = {call.over[0]})"
            self.fail("RNN014", f"{call.function}[…] is a layer", head(call.span), hint)
            return False
        if len(call.args) != len(layer.inputs):
            count, names = len(layer.inputs), [i.name for i in layer.inputs]
            wanted = f"{count} argument{'' if count == 1 else 's'}"
            what = f" ({listed(names)})" if names else ""
            message = f"{layer.name} takes {wanted}{what}, not {len(call.args)}"
            self.fail("RNN014", message, call.span, self._too_many(call, layer))
            return False
        for left in s.left:
            if not all(isinstance(i, tree.Name) and i.name in self.axes for i in left.index):
                own = f"{left.name}[{', '.join(self.axes)}]"
                self.fail(
                    "RNN019",
                    f"a layer gives all steps, and `{left.span.text}` is one",
                    left.span,
                    f"write {own} = {short(call.span.text)}",
                )
                return False
        return True
