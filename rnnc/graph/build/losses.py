"""Losses, metrics and distributions: what is summed, what is averaged, and what counts.

loss of a target   mean[batch](sum[t](where(when[t], -log p(y[t]), 0)))
count              sum[batch](sum[t](where(when[t], 1, 0)))
metric             sum[batch](sum[t](where(when[t], m[t], 0))) / count
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rnnc.graph.build.functions import (
    DISTRIBUTIONS,
    choice_loss,
    map_node,
    number,
    reduce_node,
)
from rnnc.graph.build.kinds import check_condition
from rnnc.graph.build.lower import Lowering
from rnnc.graph.build.nodes import Node, walk_nodes
from rnnc.graph.build.probable import check_probable
from rnnc.graph.build.problems import (
    FOREIGN_DISTRIBUTIONS,
    Problems,
    head,
    listed,
    shape_text,
    short,
    suggestion,
)
from rnnc.graph.build.resolve import Resolver
from rnnc.graph.build.scope import Scope, Variable
from rnnc.graph.system import Distribution
from rnnc.graph.types import BATCH, Read
from rnnc.source import Span
from rnnc.syntax import tree


@dataclass(eq=False)
class Scalar:
    """A loss or metric: its free axes, what it sums, and the steps that count."""

    name: str
    node: Node
    axes: tuple[str, ...]
    when: Node | None
    span: Span

    @property
    def batch(self) -> bool:
        """Whether it differs, or counts differently, from sequence to sequence."""
        roots = [n for n in (self.node, self.when) if n is not None]
        return any(n.variable is not None and n.variable.batch for n in walk_nodes(roots))


@dataclass(eq=False)
class Observed:
    """The distribution of a target: its name, its parameters, the steps that count."""

    kind: str
    parameters: tuple[Node, ...]
    when: Node | None
    over: str | None = None


@dataclass(eq=False)
class Objectives:
    """All that a model is trained on or measured by."""

    losses: list[Scalar]
    metrics: list[Scalar]
    observed: dict[str, Observed]

    @property
    def nodes(self) -> list[Node]:
        """The expressions, and the conditions under which they count."""
        found = [n for s in (*self.losses, *self.metrics) for n in (s.node, s.when)]
        found += [n for o in self.observed.values() for n in o.parameters]
        return [n for n in found if n is not None]


def objectives(model: tree.Model, scope: Scope, resolver: Resolver) -> Objectives:
    """Resolve losses, metrics and distributions."""
    found = Objectives([], [], {})
    _stated(model, scope, resolver, found)
    for v in scope.variables.values():
        if v.role == "target" and v.distribution is not None and not v.bad:
            _observe(v, v.distribution, scope, resolver, found)
    return found


def _stated(model: tree.Model, scope: Scope, resolver: Resolver, found: Objectives) -> None:
    names: dict[str, Span] = {v.name: v.span for v in scope.variables.values()}
    names |= {name: scope.dims.spans[name] for name in scope.dims}
    for statement in model.statements:
        if not isinstance(statement, tree.LossStatement | tree.MetricStatement):
            continue
        node = resolver.node(statement.value)
        metric = isinstance(statement, tree.MetricStatement)
        name = statement.name or f"{len(found.losses) + 1}"
        before = Span(statement.span.source, statement.span.start, statement.value.span.start)
        if statement.name and name in names:
            message, first = f"`{name}` is defined twice", [(head(names[name]), "first here")]
            scope.problems.add("RNN011", message, _name_in(before), labels=first)
        elif statement.name:
            names[name] = _name_in(before)
            scope.check_name(name, names[name])
        axes = tuple(a for a in scope.axes if a in node.axes)
        into = found.metrics if metric else found.losses
        into.append(Scalar(name, node, axes, None, statement.span))


def _name_in(span: Span) -> Span:
    """``error`` of ``loss   error =``."""
    words = span.text.split()
    start = span.start + span.text.index(words[1], len(words[0]))
    return head(Span(span.source, start, span.end))


# ---------------------------------------------------------------- distributions


def _observe(
    v: Variable, call: tree.Call, scope: Scope, resolver: Resolver, found: Objectives
) -> None:
    """Add the loss of an observed variable."""
    form = DISTRIBUTIONS.get(call.function)
    problems = scope.problems
    if form is None:
        hint = FOREIGN_DISTRIBUTIONS.get(call.function) or suggestion(call.function, DISTRIBUTIONS)
        hint = hint or f"there are: {', '.join(d.usage for d in DISTRIBUTIONS.values())}"
        message = f"unknown distribution `{call.function}`"
        problems.add("RNN015", message, head(call.span), hint=hint)
    elif call.over and (call.function != "categorical" or len(call.over) != 1):
        message = f"`{call.function}[{', '.join(call.over)}]` is no distribution"
        hint = "a choice among the steps of an axis s is categorical[s](p[s])"
        problems.add("RNN015", message, head(call.span), hint=hint)
    elif call.over and call.over[0] not in scope.axes:
        message = f"`{call.over[0]}` is no axis of this model"
        problems.add("RNN020", message, head(call.span), hint=f"it has {listed(list(scope.axes))}")
    elif len(call.args) != form.arity:
        plural = "s" if form.arity > 1 else ""
        message = f"{call.function} takes {form.arity} parameter{plural}, not {len(call.args)}"
        problems.add("RNN014", message, call.span, hint=f"write {form.usage}")
    elif v.kind != form.kind:
        wanted = "index(k)" if form.kind == "index" else "[k], or [] for a single one"
        article = "an" if call.function[0] in "aeiou" else "a"
        problems.add(
            "RNN033",
            f"{article} {call.function} variable is declared {wanted}",
            v.span,
            labels=[(call.span, "because it is distributed so")],
        )
    else:
        over = call.over[0] if call.over else None
        if not _counts_steps(v, call, over, scope):
            return
        parameters = tuple(resolver.node(a) for a in call.args)
        when = None if v.when is None else resolver.node(v.when)
        here = Node("read", v.span, variable=v, axes=frozenset(v.axes))
        if over is None:
            node = form.loss(call.span, here, *parameters)
        else:
            node = choice_loss(call.span, here, parameters[0], over)
        fits = [_fits(v, p, scope, over) for p in parameters]
        if when is not None:
            fits.append(_fits(v, when, scope))
        if all(fits):
            found.losses.append(Scalar(v.name, node, v.axes, when, v.span))
            found.observed[v.name] = Observed(call.function, parameters, when, over)


def _counts_steps(v: Variable, call: tree.Call, over: str | None, scope: Scope) -> bool:
    """A choice among steps is a step, any other is none; reports where it is not so."""
    wanted = None if over is None else scope.length_name(over)
    if v.steps == wanted:
        return True
    declared = f"index({v.steps})" if v.steps else "index(k)"
    if wanted is None:
        axis = scope.axis_of_length(v.steps or "")
        hint = f"a choice among them is {call.function}[{axis}](…)"
        message = f"`{v.name}` is a step, 1 to {v.steps}"
    else:
        hint = f"declare it index({wanted}): its values are steps of {over}, 1 to {wanted}"
        message = f"`{v.name}` is chosen among the steps of {over}, and declared {declared}"
    labels = [(head(call.span), "because it is distributed so")]
    scope.problems.add("RNN033", message, v.span, labels=labels, hint=hint)
    return False


def _fits(v: Variable, node: Node, scope: Scope, over: str | None = None) -> bool:
    """A parameter (or the condition) varies over no axis that the target does not have, but for
    that of the choice."""
    extra = sorted(node.axes - {*v.axes, over})
    if not extra:
        return True
    axis = extra[0]
    text = short(node.span.text)
    hint = f"observe it at every step: target {v.name}[{axis}]"
    if node.variable is not None:
        name, length = node.variable.name, scope.length_name(axis)
        hint += f"; or read one step: {name}[{length}] is the last"
    scope.problems.add(
        "RNN021",
        f"`{text}` varies over {axis}, but `{v.name}` is the same at every step",
        node.span,
        labels=[(head(v.span), f"`{v.name}` has no index")],
        hint=hint,
    )
    return False


def check_objectives(found: Objectives, problems: Problems) -> None:
    """Losses and metrics are numbers, conditions flags; shapes and kinds are known by now."""
    for s in (*found.losses, *found.metrics):
        if s.node.rank not in (0, None) and not s.node.bad:
            text = short(s.node.span.text)
            problems.add(
                "RNN031",
                f"a loss or metric is one number at each step, and this is "
                f"{shape_text(s.node.shape)}",
                s.node.span,
                hint=f"add the entries up, sum({text}), or average them, mean({text})",
            )
        if s.node.kind == "flag" and s in found.losses and not s.node.bad:
            message = "a loss is a number, and this is a flag"
            problems.add("RNN033", message, s.node.span, hint="write where(…, 1, 0)")
        if s.when is not None:
            check_condition(problems, s.when, "`when` takes a flag")
            if s.when.rank not in (0, None) and not s.when.bad:
                message = f"`when` takes one flag, and this is {shape_text(s.when.shape)}"
                problems.add("RNN031", message, s.when.span)
    for o in found.observed.values():
        check_probable(o.kind, o.parameters[0], problems)


# ---------------------------------------------------------------- their Values


@dataclass(frozen=True)
class Lowered:
    """The names that users see, and the values that stand behind them."""

    losses: dict[str, str]
    metrics: dict[str, str]
    counts: dict[str, str]
    targets: dict[str, Distribution]


def lower_objectives(found: Objectives, lowering: Lowering) -> Lowered:
    """Make the values of losses, metrics, counts and distributions."""
    out = Lowered({}, {}, {}, {})
    for s in found.losses:
        loss, count = f"loss.{s.name}", f"count.{s.name}"
        out.losses[loss] = _named(lowering, loss, _averaged(s), real=True)
        out.counts[count] = _named(lowering, count, _counted(s))
    if found.losses:
        _total(lowering, list(out.losses.values()), found.losses[0].span)
        parts = dict(out.losses)
        out.losses.clear()
        out.losses.update({"loss": "loss", **parts})
    conditions = {id(s.when): s.when for s in found.losses if s.when is not None and s.axes}
    for s in found.metrics:
        if len(conditions) == 1 and s.axes:  # what is not trained on is not measured either
            s.when = next(iter(conditions.values()))
        out.metrics[s.name] = _named(lowering, s.name, _metric(s))
    for name, o in found.observed.items():
        lowering.base = name
        reads = tuple(lowering.coerce(p, "real") for p in o.parameters)
        when = None if o.when is None else lowering.value(o.when)
        out.targets[name] = Distribution(o.kind, reads, when, o.over)
    return out


def _total(lowering: Lowering, terms: Sequence[str], span: Span) -> None:
    """The value ``loss``, the sum of all."""
    lowering.base = "loss"
    total = Read(terms[0])
    for term in terms[1:]:
        total = lowering.emit("add", (total, Read(term)), (), span)
    made = lowering.emit("copy", (total,), (), span)
    value = lowering.values.pop(made.source)
    lowering.values["loss"] = replace(value, name="loss")


def _named(lowering: Lowering, name: str, node: Node, real: bool = False) -> str:
    """Lower a node under a name of its own; a loss is ``real``, also where it counts."""
    lowering.base = name
    _settle(node)
    lowering.deep(node)
    made = lowering.coerce(node, "real") if real else lowering.value(node)
    value = lowering.values.get(made.source)
    if made.at or value is None or not value.name.startswith(f"{name}."):
        made = lowering.emit("copy", (made,), (), node.span)
        value = lowering.values[made.source]
    del lowering.values[value.name]
    lowering.values[name] = replace(value, name=name)
    return name


def _settle(node: Node) -> None:
    """Shapes and kinds of the nodes put around a loss after inference: all scalars."""
    for n in walk_nodes([node]):
        if n.variable is not None:
            continue
        n.own_shape = () if n.own_shape is None else n.own_shape
        if n.own_kind is None:
            n.own_kind = "index" if _is_whole(n) else "real"


def _is_whole(n: Node) -> bool:
    if n.op in ("map", "reduce"):
        return n.attrs["f"] != "div" and {a.kind for a in n.args[-2:]} == {"index"}
    return n.op == "length" or (n.op == "number" and isinstance(n.attrs["value"], int))


def _counting(s: Scalar, node: Node, nothing: Node) -> Node:
    """What a node adds up to, over the steps that count."""
    if s.when is not None:
        node = map_node("where", s.span, s.when, node, nothing)
    for axis in s.axes:
        node = reduce_node("sum", s.span, node, axis)
    return node


def _averaged(s: Scalar) -> Node:
    """Summed over the steps that count, averaged over the batch."""
    node = _counting(s, s.node, number(0.0, s.span))
    if not s.batch:
        return node
    size = Node("length", s.span, attrs={"axis": BATCH})
    return map_node("div", s.span, reduce_node("sum", s.span, node, BATCH), size)


def _counted(s: Scalar) -> Node:
    """How many steps of how many sequences the loss counts."""
    one = number(1, s.span)
    if s.when is not None:
        node = _counting(s, one, number(0, s.span))
        return reduce_node("sum", s.span, node, BATCH) if s.batch else node
    node = Node("length", s.span, attrs={"axis": BATCH}) if s.batch else one
    for axis in s.axes:
        node = map_node("mul", s.span, node, Node("length", s.span, attrs={"axis": axis}))
    return node


def _metric(s: Scalar) -> Node:
    """Averaged over the steps that count, of all sequences; of a condition, how often it holds."""
    node = s.node
    if node.kind == "flag":
        node = map_node("where", s.span, node, number(1.0, s.span), number(0.0, s.span))
    node = _counting(s, node, number(0.0, s.span))
    if s.batch:
        node = reduce_node("sum", s.span, node, BATCH)
    return map_node("div", s.span, node, _counted(s))
