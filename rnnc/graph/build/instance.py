"""One call of a layer: which axes are which, and the layer's statements in the caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rnnc.graph.build.functions import FUNCTIONS
from rnnc.graph.build.instantiate import (
    NoStepsError,
    Renaming,
    defined,
    free_axes,
    mentioned,
)
from rnnc.graph.build.layers import Layer, Options, Report
from rnnc.graph.build.problems import listed, short
from rnnc.source import Label, Span
from rnnc.syntax import tree


@dataclass(frozen=True)
class Call:
    """What is called, and by which name: ``prefix`` for what belongs to this call (of level
    ``level`` of a stack), ``shared`` for sizes and weights. Those are written out unless
    ``is_shared``; nothing but those if ``only_shared``."""

    layer: Layer
    options: Options
    label: Label
    level: int
    prefix: str
    shared: str
    is_shared: bool = False
    only_shared: bool = False


class Instance:
    """A layer in its caller, whose axes are ``axes`` (with the names of their lengths).

    ``lefts`` are the axes of the results, ``args`` the arguments.
    """

    def __init__(
        self,
        axes: Mapping[str, str],
        sized: Mapping[str, tree.AxisStatement],
        call: Call,
        lefts: Sequence[tuple[str, ...]],
        args: Sequence[tree.Expr],
        fail: Report,
    ):
        self.caller_axes = axes
        self.sized = sized
        self.call, self.layer, self.options = call, call.layer, call.options
        self.span = call.label.span
        self.lefts = lefts[0] if lefts else ()
        self.other_lefts = lefts[1:]
        self.args = list(args)
        self.fail = fail
        self.axes: dict[str, str | None] = {}
        self.lengths: dict[str, str | None] = {}
        self.fresh: list[tree.AxisStatement] = []
        names = {
            n: f"{call.shared if n in self.layer.shared else call.prefix}.{n}"
            for n in self.layer.names
        }
        self.rename = Renaming(names, call.prefix, {}, {}, self.layer.own, {}, {}, call.label)
        self.good = call.only_shared or self._map_axes()
        if self.good and not call.only_shared:
            self.rename.axes, self.rename.lengths = self.axes, self.lengths
            self.rename.backward = self._backward()
            self.rename.placed = self._placed()

    # ---------------------------------------------------------------- axes

    def _map_axes(self) -> bool:
        """Find the caller's axis for each of the layer's; False after a report."""
        layer, over = self.layer, self.options.over
        of_result = layer.own.get(layer.outputs[0], ())
        first = of_result or tuple(layer.axes)
        if over is not None:
            if over not in self.caller_axes:
                return self._no(f"`{over}` is no axis of this model")
            if not first:
                return self._no(f"{layer.name} has no axis to run over {over}")
            self.axes[first[0]] = over
        mine = [a for a in of_result if a not in self.axes]
        theirs = [a for a in self.lefts if a not in self.axes.values()]
        if mine and not theirs:
            if over is not None or len(mine) < len(of_result):
                return self._no(f"the result of {layer.name} varies over {listed(list(of_result))}")
            self.axes = dict.fromkeys(layer.axes)
            self.lengths = dict.fromkeys(layer.axes.values())
            return True
        if mine and len(mine) != len(theirs):
            if len(mine) == 1:
                return self._no(
                    f"the result has the axes {listed(theirs)}; {layer.name} runs over one of them",
                    f"say which: over = {theirs[-1]}",
                )
            return self._no(f"the result of {layer.name} has the axes {listed(list(of_result))}")
        self.axes |= dict(zip(mine, theirs, strict=False))
        for name, left in zip(layer.outputs[1:], self.other_lefts, strict=False):
            own = layer.own.get(name, ())
            if len(own) == len(left):
                for axis, its in zip(own, left, strict=True):
                    if its not in self.axes.values():
                        self.axes.setdefault(axis, its)
        for axis in layer.axes:
            if axis not in self.axes and not self._other_axis(axis):
                return False
        for axis, mapped in self.axes.items():
            assert mapped is not None
            known = self.caller_axes.get(mapped)
            length = layer.axes[axis]
            self.lengths.setdefault(length, known or f"{self.call.prefix}.{length}")
        return all(self._check_size(axis) for axis in layer.sized)

    def _other_axis(self, axis: str) -> bool:
        """An axis that is none of the result's: the arguments tell it, or it is an inner one."""
        layer = self.layer
        over = [i for i, item in enumerate(layer.inputs) if axis in item.axes]
        free = {i: free_axes(self.args[i], self.caller_axes.keys()) for i in over}
        all_free = set().union(*free.values())
        found = sorted(all_free - set(self.lefts) - {a for a in self.axes.values() if a})
        if len(found) == 1:
            self.axes[axis] = found[0]
            return True
        names = listed([f"`{layer.inputs[i].name}`" for i in over]) if over else ""
        if len(found) > 1:
            what = f"{names} of {layer.name} vary over {axis}, the argument over {listed(found)}"
            return self._no(what, f"say which: over = {found[-1]}")
        inner = f"{self.call.prefix}.{axis}"
        if over:
            same = sorted(all_free & {a for a in self.axes.values() if a})
            if len(same) != 1:
                what = f"{names} of {layer.name} needs steps, over {axis}"
                hint = None
                if all_free:
                    hint = "a result that is the same at every step is written without index"
                return self._no(what, hint)
            # the caller's own axis once more, as in self-attention
            length = self.caller_axes[same[0]]
            self.fresh.append(tree.AxisStatement(inner, length, None, span=self._place()))
            for i in over:
                if not set(layer.inputs[i].axes) - {axis} & self.axes.keys():
                    self.args[i] = _with_axis(self.args[i], same[0], inner)
            self.lengths.setdefault(layer.axes[axis], length)
        self.axes[axis] = inner
        return True

    def _place(self) -> Span:
        return self.rename.span(self.layer.span)

    def _check_size(self, axis: str) -> bool:
        """A length that the layer fixes is that of the caller's axis."""
        mapped = self.axes[axis]
        own = self.sized.get(mapped or "")
        mine = self.layer.sized[axis].size
        if mapped in self.caller_axes and (own is None or own.size != mine):
            number = short(mine.span.text) if mine else ""
            what = f"{self.layer.name} is written for {self.layer.axes[axis]} = {number} steps"
            return self._no(what, f"axis {mapped} : {self.caller_axes[mapped or '']} = {number}")
        return True

    def _no(self, message: str, hint: str | None = None) -> bool:
        self.fail("RNN019", message, self.span, hint)
        return False

    def _backward(self) -> dict[str, str]:
        """The layer's axes that run from the last step to the first."""
        layer = self.layer
        if not self.options.backward:
            return {}
        of_result = layer.own.get(layer.outputs[0], ())
        main = next(iter(of_result or tuple(layer.axes)), None)
        if main is None or self.axes[main] is None:
            self.good = self._no(f"{layer.name} has no steps here that could run backward")
            return {}
        last = self.lengths[layer.axes[main]]
        assert last is not None
        return {a: last for a in layer.axes if layer.axes[a] == layer.axes[main]}

    # ---------------------------------------------------------------- indices

    def _placed(self) -> dict[str, tuple[str, ...]]:
        """The axes of each value of the layer in the caller: its own, and those of the arguments
        it depends on, in the order of the result's index."""
        layer = self.layer
        known = {a for a in self.axes.values() if a}
        more: dict[str, set[str]] = {}  # axes of the caller that the layer does not know of
        for item, arg in zip(layer.inputs, self.args, strict=True):
            more[item.name] = free_axes(arg, self.caller_axes.keys()) - known
        for bound in self.options.bounds:
            if bound.value is not None:
                free = free_axes(bound.value, self.caller_axes.keys())
                more[bound.name] = more.get(bound.name, set()) | free - known
        steps = [
            (set(defined(s)), mentioned(s))
            for s in layer.statements
            if isinstance(s, tree.Equation | tree.Argument)
        ]
        changed = any(more.values())
        while changed:
            changed = False
            for names, read in steps:
                found = set().union(*(more[n] for n in read if n in more))
                for name in names:
                    if not found <= more.setdefault(name, set()):
                        more[name] |= found
                        changed = True
        order = dict.fromkeys((*self.lefts, *known, *self.caller_axes))
        out = {}
        for name in layer.names - layer.shared:
            own = {self.axes[a] for a in layer.own.get(name, ())} | more.get(name, set())
            out[name] = tuple(a for a in order if a in own)
        return out

    # ---------------------------------------------------------------- statements

    def statements(self) -> list[tree.Statement]:
        """The layer's statements in the caller; none after a report."""
        if not self.good:
            return []
        try:
            return self._statements()
        except NoStepsError as error:
            self.fail(
                "RNN019",
                f"{self.layer.name} reads other steps than its own, and is called on values "
                "without steps",
                self.span,
                f"give the result an index, such as [{next(iter(self.caller_axes))}]",
                labels=[(error.span, "here")],
            )
            self.good = False
            return []

    def _statements(self) -> list[tree.Statement]:
        out: list[tree.Statement] = []
        bounds = [] if self.call.only_shared else self._bounds()
        taken = {(x.name, x.index) for b in bounds for x in b.left}
        for s in self.layer.statements:
            match s:
                case tree.DimStatement() | tree.ParamStatement() | tree.ConstStatement():
                    if not self.call.is_shared:
                        sizes = isinstance(s, tree.DimStatement)
                        out += self._dims(s) if sizes else [self.rename.statement(s)]
                case tree.InputStatement(items=items) if not self.call.only_shared:
                    out += map(self._argument, items)
                case tree.AxisStatement(name=name) if not self.call.only_shared:
                    known = (None, *self.caller_axes, *(f.name for f in self.fresh))
                    if self.axes[name] not in known:
                        out.append(self.rename.statement(s))
                case tree.Equation() | tree.Argument() | tree.TargetStatement():
                    if not self.call.only_shared:
                        made = self.rename.statement(s)
                        left = made.left if isinstance(made, tree.Equation) else ()
                        if not any((x.name, x.index) in taken for x in left):
                            out.append(made)
        return [*self.fresh, *out, *bounds]

    def _dims(self, s: tree.Statement) -> list[tree.Statement]:
        """The sizes: given, or told by the arguments, or as the layer has them."""
        assert isinstance(s, tree.DimStatement)
        told = self.layer.told_first if self.call.level > 1 else set()
        dims = []
        for dim in s.dims:
            option = self.options.dims.get(dim.name)
            made = self.rename.dim(dim)
            if option is not None and dim.name not in told:
                dims.append(replace(made, default=option.value, late=False))
            else:
                dims.append(replace(made, late=made.late or dim.name in self.layer.told))
        return [tree.DimStatement(tuple(dims), span=self.rename.span(s.span))]

    def _argument(self, item: tree.Declared) -> tree.Argument:
        place = self.layer.inputs.index(item)
        made = self.rename.declared(item)
        return tree.Argument(made, self.args[place], span=made.span)

    def _bounds(self) -> list[tree.Equation]:
        """The boundaries that the call gives. They are the layer's, told in the caller."""
        out = []
        for b in self.options.bounds:
            assert b.value is not None
            index = self.rename.indices(b.name, b.index, b.span)
            place = self._place()
            left = tree.Left(self.rename.name(b.name), index, span=b.span)
            out.append(tree.Equation((left,), b.value, span=place))
        return out

    def results(self) -> list[tree.Expr]:
        """What the call gives, in the order of the layer's outputs."""
        if not self.good:
            return []
        out: list[tree.Expr] = []
        for name in self.layer.outputs:
            placed = self.rename.placed.get(name, ())
            index = tuple(tree.Name(a, span=self.span) for a in placed)
            new = self.rename.name(name)
            out.append(
                tree.Indexed(new, index, span=self.span)
                if index
                else tree.Name(new, span=self.span)
            )
        return out


class _AxisRenaming(Renaming):
    """An expression of the caller over another axis."""

    def span(self, span: Span) -> Span:
        return span


def _with_axis(expr: tree.Expr, old: str, new: str) -> tree.Expr:
    names = {n: n for n in mentioned(expr) if n != old and n not in FUNCTIONS}
    nowhere = Label(expr.span, "")
    return _AxisRenaming(names, "", {old: new}, {}, {}, {}, {}, nowhere).expr(expr)
