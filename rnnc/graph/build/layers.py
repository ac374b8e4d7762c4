"""Models as layers: what a caller sees of them, what a call asks of them, where they come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from rnnc.graph.build.instantiate import axes_of, defined, mentioned
from rnnc.graph.build.problems import suggestion
from rnnc.source import Diagnostic, Label, Source, Span, SpecError, UsageError
from rnnc.syntax import tree
from rnnc.syntax.parse import parse

# The text of a used file: the source with the `use`, the path in it (None is the library), and
# the name of the model. Raises UsageError where there is none, SpecError where it is no text.
Load = Callable[[Source, str | None, str], Source]
Report = Callable[..., None]


class Layer:
    """A model, its own calls written out, as its callers see it."""

    def __init__(self, model: tree.Model, statements: Iterable[tree.Statement]):
        self.name = model.name
        self.span = model.span
        self.statements = tuple(statements)
        self.axes = axes_of(self.statements, implied=False)
        self.inputs: list[tree.Declared] = []
        self.dims: dict[str, tree.Dim] = {}
        self.sized: dict[str, tree.AxisStatement] = {}  # axes with a length of their own
        self.own: dict[str, tuple[str, ...]] = {}  # the axes of each value
        self.targets: set[str] = set()
        self.shared: set[str] = set()  # what calls of one named layer have in common
        for s in self.statements:
            self._collect(s)
        self.names = {n for s in self.statements for n in defined(s)}
        # sizes that arguments tell, of all inputs and of the first
        self.told = self._sizes(self.inputs)
        self.told_first = self._sizes(self.inputs[:1])
        self.stated = [
            n for s in self.statements if isinstance(s, tree.OutputStatement) for n in s.names
        ]
        self.outputs = [n.name for n in self.stated] or self._unread()

    def _collect(self, s: tree.Statement) -> None:
        match s:
            case tree.DimStatement(dims=dims):
                self.dims |= {d.name: d for d in dims}
                self.shared |= {d.name for d in dims}
            case tree.AxisStatement(name=name, size=size) if size is not None:
                self.sized[name] = s
            case tree.InputStatement(items=items):
                self.inputs += items
                self.own |= {item.name: item.axes for item in items}
            case tree.ParamStatement(items=items):
                self.shared |= {item.name for item in items}
            case tree.ConstStatement(item=item):
                self.shared.add(item.name)
            case tree.Argument(item=item):
                self.own[item.name] = item.axes
            case tree.TargetStatement(item=item):
                self.own[item.name] = item.axes
                self.targets.add(item.name)
            case tree.Equation(left=left):
                for x in left:
                    if all(isinstance(i, tree.Name) and i.name in self.axes for i in x.index):
                        self.own[x.name] = tuple(
                            i.name for i in x.index if isinstance(i, tree.Name)
                        )

    def _sizes(self, items: Iterable[tree.Declared]) -> set[str]:
        return {n for item in items if item.type for n in mentioned(item.type)} & self.dims.keys()

    def _unread(self) -> list[str]:
        """The outputs where none are stated: equations that no other equation reads."""
        equations = [s for s in self.statements if isinstance(s, tree.Equation)]
        values = [x.name for s in equations for x in s.left if "." not in x.name]
        read = set()
        for s in equations:
            read |= mentioned(s.right) - {x.name for x in s.left}
        values = list(dict.fromkeys(values))
        return [v for v in values if v not in read] or values[-1:]


@dataclass(frozen=True)
class Options:
    """What a call, or a named layer, says after ``;``."""

    dims: dict[str, tree.Option]
    bounds: tuple[tree.Option, ...] = ()
    backward: bool = False
    depth: int | None = None
    over: str | None = None

    def joined(self, call: Options) -> Options:
        """Those of a named layer, with what one of its calls adds."""
        given = {(b.name, b.index) for b in call.bounds}
        bounds = tuple(b for b in self.bounds if (b.name, b.index) not in given)
        return replace(
            self,
            bounds=bounds + call.bounds,
            backward=self.backward or call.backward,
            over=call.over or self.over,
        )


def read_options(
    layer: Layer, given: Iterable[tree.Option], numbers: Mapping[str, int | None], fail: Report
) -> Options:
    """The options of a call; reports those that the layer does not have.

    ``numbers`` are those of the caller's dims, None where one is not known.
    """
    out = Options({})
    seen: dict[object, tree.Option] = {}
    for option in given:
        key = (option.name, option.index)
        if key in seen:
            fail("RNN011", f"`{_text(option)}` is given twice", option.span,
                 labels=[(seen[key].span, "first here")])  # fmt: skip
            continue
        seen[key] = option
        out = _read_option(layer, option, numbers, out, fail)
    return out


def _read_option(
    layer: Layer,
    option: tree.Option,
    numbers: Mapping[str, int | None],
    out: Options,
    fail: Report,
) -> Options:
    name, value, span = option.name, option.value, option.span
    if option.index:
        own = layer.own.get(name, ())
        if name in layer.targets:
            what = f"`{name}` is a target of {layer.name}, which is observed where it is trained"
            fail("RNN014", what, span, f"to give it in a call, make `{name}` an input")
        elif own and all(isinstance(i, tree.Name) and i.name in own for i in option.index):
            first = ", ".join(("0", *own[1:]))
            what = f"`{_text(option)}` is every step, which {layer.name} itself gives"
            fail("RNN026", what, span, f"a boundary lies outside, as in {name}[{first}] = …")
        elif len(own) == len(option.index):
            return replace(out, bounds=(*out.bounds, option))
        elif own:
            index = ", ".join(own)
            fail("RNN020", f"`{name}` of {layer.name} has the index [{index}]", span)
        elif name in layer.names:
            fail("RNN014", f"`{name}` of {layer.name} has no steps, and so no boundary", span)
        else:
            hint = suggestion(name, layer.own)
            fail("RNN010", f"{layer.name} has no value `{name}`", span, hint)
    elif name in layer.dims:
        if value is not None:
            return replace(out, dims={**out.dims, name: option})
        fail("RNN014", f"`{name}` is a size of {layer.name}: give its number", span,
             f"write {name} = 64")  # fmt: skip
    elif name == "backward" and value is None:
        return replace(out, backward=True)
    elif name == "depth":
        depth = value.value if isinstance(value, tree.Number) else None
        if isinstance(value, tree.Name) and value.name in numbers:
            depth = numbers[value.name]
            if depth is None:
                fail("RNN014", f"the depth `{value.name}` has no number yet", span,
                     f"write dim {value.name} = 2, or set {value.name}=2 from outside")  # fmt: skip
                return out
        if isinstance(depth, int) and depth > 0:
            return replace(out, depth=depth)
        fail("RNN014", "a depth is a whole number from 1 on, as in depth = 3", span)
    elif name == "over":
        if isinstance(value, tree.Name):
            return replace(out, over=value.name)
        fail("RNN014", "`over` names an axis, as in over = t", span)
    else:
        words = [*layer.dims, "backward", "depth", "over"]
        has = f"{layer.name} has {', '.join(layer.dims)}" if layer.dims else None
        if name in layer.own and value is not None:
            has = f"a boundary names its step: {name}[0] = {value.span.text}"
        fail("RNN014", f"{layer.name} has no option `{name}`", span, suggestion(name, words) or has)
    return out


def _text(option: tree.Option) -> str:
    return option.span.text.split("=")[0].strip()


class Models:
    """The models that a model may call, read and parsed once."""

    def __init__(self, load: Load | None):
        self._load = load
        self._files: dict[tuple[str, str], tree.File] = {}

    def used(
        self, statement: tree.UseStatement, name: tree.Name, fail: Report
    ) -> tuple[tree.Model, tree.File] | None:
        """What a ``use`` names; None after a report."""
        try:
            source = self._text_of(name.span.source, statement.path, name.name)
        except UsageError as error:
            if statement.path is not None:
                fail("RNN017", str(error), statement.span)
                return None
            close = re.search(r"did you mean ([^?]*)", str(error))
            hint = f"did you mean {close[1]}?" if close else "`rnnc specs` lists them"
            fail("RNN016", f"there is no model `{name.name}` in the library", name.span, hint)
            return None
        except SpecError as error:
            self._pass_on(error, statement.span)
        key = (source.name, source.text)
        if key not in self._files:
            try:
                self._files[key] = parse(source)
            except SpecError as error:
                self._pass_on(error, statement.span)
        file = self._files[key]
        found = next((m for m in file.models if m.name == name.name), None)
        if found is None:
            has = [m.name for m in file.models]
            hint = suggestion(name.name, has) or f"it has: {', '.join(has)}"
            fail("RNN016", f"there is no model `{name.name}` in {source.name}", name.span, hint)
            return None
        return found, file

    def in_library(self, source: Source, name: str) -> bool:
        """Whether ``use NAME`` would find a model."""
        try:
            self._text_of(source, None, name)
        except (UsageError, SpecError):
            return False
        return True

    def _text_of(self, source: Source, path: str | None, name: str) -> Source:
        if self._load is None:
            raise UsageError(f"there is no library here to find {name} in")
        return self._load(source, path, name)

    def _pass_on(self, error: SpecError, span: Span) -> None:
        """The errors of a used file, with the place of the ``use``."""
        used = Label(span, "used here")
        raise SpecError(
            Diagnostic(d.code, d.message, d.span, (*d.labels, used), d.hint)
            for d in error.diagnostics
        ) from None
