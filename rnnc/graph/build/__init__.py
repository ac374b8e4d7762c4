"""From the syntax tree of a model to its System.

``scope`` collects the names, ``resolve`` turns expressions into nodes, ``infer`` finds shapes
and kinds, ``lower`` makes the Values. Only this package knows the syntax tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rnnc.graph.build import functions
from rnnc.graph.build.functions import DISTRIBUTIONS, map_node, reduce_node
from rnnc.graph.build.infer import Inference
from rnnc.graph.build.lower import Lowering
from rnnc.graph.build.nodes import Node, walk_nodes
from rnnc.graph.build.resolve import Resolver
from rnnc.graph.build.scope import Problems, Scope, Variable, suggestion
from rnnc.graph.cycles import recurrences
from rnnc.graph.system import Axis, Distribution, System
from rnnc.graph.types import BATCH, FIRST, LAST, Read, sign
from rnnc.graph.verify import verify
from rnnc.source import Span, SpecError
from rnnc.syntax import tree


@dataclass(eq=False)
class _Scalar:
    """A loss or metric: its free axes, what it sums, and the steps that count."""

    name: str
    node: Node
    axes: tuple[str, ...]
    when: Node | None
    span: Span


def build(
    model: tree.Model,
    sizes: Mapping[str, int] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> System:
    """The System of a model.

    ``sizes`` sets dims; ``shapes`` gives the shapes of ``any`` inputs. Raises SpecError with
    every problem found in the model.
    """
    problems = Problems()
    scope = Scope(model, sizes or {}, problems)
    for name, shape in (shapes or {}).items():
        if name in scope.variables:
            scope.variables[name].shape = shape
    resolver = Resolver(scope)
    resolver.variables()
    losses, metrics = _scalars(model, scope, resolver)
    distributions = _distributions(scope, resolver, losses)
    outputs = _outputs(model, scope, problems)

    roots = [v.node for v in scope.variables.values() if v.node is not None]
    roots += [b.node for v in scope.variables.values() for b in v.boundaries if b.node]
    roots += [n for s in (*losses, *metrics) for n in (s.node, s.when) if n is not None]
    nodes = walk_nodes(roots)
    _spread_bad(scope)
    Inference(scope, nodes).run()
    _check_scalars((*losses, *metrics), problems)
    _check_boundaries(nodes, scope, problems)
    if problems.found:
        raise SpecError(sorted(problems.found, key=lambda d: d.span.start if d.span else 0))
    _find_batch(scope)
    system = _lower(model, scope, outputs, losses, metrics, distributions)
    verify(system)
    recurrences(system)  # reports cycles in the user's words
    return system


# ---------------------------------------------------------------- losses, metrics, outputs


def _scalars(
    model: tree.Model, scope: Scope, resolver: Resolver
) -> tuple[list[_Scalar], list[_Scalar]]:
    losses: list[_Scalar] = []
    metrics: list[_Scalar] = []
    names: dict[str, Span] = {v.name: v.span for v in scope.variables.values()}
    for statement in model.statements:
        if not isinstance(statement, (tree.LossStatement, tree.MetricStatement)):
            continue
        node = resolver.node(statement.value)
        metric = isinstance(statement, tree.MetricStatement)
        into = metrics if metric else losses
        name = statement.name or f"{len(losses) + 1}"
        if statement.name and name in names:
            scope.problems.add(
                "RNN011", f"`{name}` is defined twice", statement.span,
                labels=[(names[name], "first here")],
            )
        names[name] = statement.span
        axes = tuple(a for a in scope.axes if a in node.axes)
        into.append(_Scalar(name, node, axes, None, statement.span))
    return losses, metrics


def _distributions(
    scope: Scope, resolver: Resolver, losses: list[_Scalar]
) -> dict[str, tuple[str, list[Node]]]:
    """Add the losses of observed variables; give the parameters of their distributions."""
    out: dict[str, tuple[str, list[Node]]] = {}
    problems = scope.problems
    for v in scope.variables.values():
        if v.role != "target" or v.distribution is None:
            continue
        call = v.distribution
        when = resolver.node(v.when) if v.when is not None else None
        if call.function not in DISTRIBUTIONS:
            problems.add(
                "RNN015",
                f"unknown distribution `{call.function}`",
                call.span,
                hint=suggestion(call.function, DISTRIBUTIONS)
                or f"there are: {', '.join(DISTRIBUTIONS)}",
            )
            continue
        count, loss = DISTRIBUTIONS[call.function]
        if call.over:
            problems.add(
                "RNN093", "a choice among the steps of an axis is not compiled by this version",
                call.span,
            )
            continue
        if len(call.args) != count:
            problems.add(
                "RNN014",
                f"{call.function} takes {count} parameter{'s' if count > 1 else ''}",
                call.span,
            )
            continue
        if (call.function == "categorical") != (v.kind == "index"):
            wanted = "index(k)" if call.function == "categorical" else "[k]"
            problems.add(
                "RNN033",
                f"a {call.function} variable is declared {wanted}",
                v.span,
                labels=[(call.span, "distributed so")],
            )
            continue
        parameters = [resolver.node(a) for a in call.args]
        here = Node(
            "read", v.span, variable=v, axes=frozenset(v.axes)
        )
        node = loss(call.span, here, *parameters)
        extra = node.axes - set(v.axes)
        if extra:
            problems.add(
                "RNN021",
                f"`{v.name}` does not vary over {sorted(extra)[0]}, but its distribution does",
                call.span,
                hint=f"read one step of it, such as the last ([{scope.length_name(min(extra))}])",
            )
            continue
        losses.append(_Scalar(v.name, node, v.axes, when, v.span))
        out[v.name] = (call.function, parameters)
    return out


def _outputs(model: tree.Model, scope: Scope, problems: Problems) -> list[str]:
    stated = [n for s in model.statements if isinstance(s, tree.OutputStatement) for n in s.names]
    equations = [v for v in scope.variables.values() if v.role == "equation"]
    if stated:
        for name in stated:
            known = scope.variables.get(name.name)
            if known is None:
                problems.add(
                    "RNN010",
                    f"unknown output `{name.name}`",
                    name.span,
                    hint=suggestion(name.name, [v.name for v in equations])
                    or "an output is the name of an equation, without index",
                )
            elif known.role in ("input", "target", "param"):
                problems.add(
                    "RNN010",
                    f"`{name.name}` is {known.role if known.role != 'input' else 'an input'}; "
                    "an output is the name of an equation",
                    name.span,
                )
        return list(dict.fromkeys(n.name for n in stated if n.name in scope.variables))
    if not equations:
        if not problems.found:
            problems.add(
                "RNN040",
                f"model {model.name} has no equation",
                model.span,
                hint="write one, such as h[t] = tanh(W h[t-1] + U x[t])",
            )
        return []
    read_by: dict[str, set[str]] = {}
    for v in equations:
        for root in (v.node, *(b.node for b in v.boundaries)):
            for node in walk_nodes([root]) if root else ():
                if node.variable is not None and node.variable is not v:
                    read_by.setdefault(node.variable.name, set()).add(v.name)
    unread = [v.name for v in equations if v.name not in read_by]
    return unread or [equations[-1].name]


# ---------------------------------------------------------------- checks


def _spread_bad(scope: Scope) -> None:
    """A value whose equation is wrong is not complained about again where it is read."""
    for v in scope.variables.values():
        nodes = walk_nodes([n for n in (v.node, *(b.node for b in v.boundaries)) if n])
        if any(n.op == "bad" for n in nodes):
            v.bad = True


def _check_scalars(scalars: tuple[_Scalar, ...], problems: Problems) -> None:
    for s in scalars:
        if s.node.rank not in (0, None) and not s.node.bad:
            problems.add(
                "RNN031",
                "a loss or metric is one number at each step, and this has several",
                s.node.span,
                hint="add them up: sum(…)",
            )
        if s.when is not None and not s.when.bad and s.when.kind != "flag":
            problems.add("RNN033", "`when` takes a flag", s.when.span)
        if s.when is not None and s.when.axes - set(s.axes):
            problems.add("RNN021", "`when` varies over more than the target", s.when.span)


def _check_boundaries(nodes: list[Node], scope: Scope, problems: Problems) -> None:
    """Reads that may leave the steps need a boundary where zero is no sensible default."""
    for node in nodes:
        v = node.variable
        if v is None or v.kind in ("real", None):
            continue
        for axis, index in node.at:
            direction = sign(index.offset)
            before = direction == -1 and index.base != LAST
            after = direction == 1 and index.base != FIRST
            if not before and not after:
                continue
            side = FIRST if before else LAST
            if any(b.axis == axis and b.step.base == side for b in v.boundaries):
                continue
            step = "0" if before else f"{scope.length_name(axis)}+1"
            problems.add(
                "RNN025",
                f"`{node.span.text}` may read step {step}, where `{v.name}` has no value",
                node.span,
                labels=[(v.span, f"`{v.name}` is {'a flag' if v.kind == 'flag' else 'an index'}, "
                         "so zero is not assumed")],
                hint=f"say what stands there: {v.name}[{step}] = "
                f"{'training' if v.kind == 'flag' else '0'}",
            )


def _find_batch(scope: Scope) -> None:
    """What data reaches, directly or not, differs from sequence to sequence."""
    readers: dict[str, list[Variable]] = {}
    for v in scope.variables.values():
        for node in walk_nodes([n for n in (v.node, *(b.node for b in v.boundaries)) if n]):
            if node.variable is not None:
                readers.setdefault(node.variable.name, []).append(v)
    todo = [v for v in scope.variables.values() if v.role in ("input", "target")]
    for v in todo:
        v.batch = True
    while todo:
        for reader in readers.get(todo.pop().name, ()):
            if not reader.batch:
                reader.batch = True
                todo.append(reader)


# ---------------------------------------------------------------- the System


def _lower(
    model: tree.Model,
    scope: Scope,
    outputs: list[str],
    losses: list[_Scalar],
    metrics: list[_Scalar],
    distributions: dict[str, tuple[str, list[Node]]],
) -> System:
    lowering = Lowering(scope)
    for v in scope.variables.values():
        if v.role in ("input", "target", "param"):
            lowering.declare(v)
    for v in scope.variables.values():
        if v.node is not None:
            lowering.define(v)
    for v in scope.variables.values():
        if v.boundaries:
            lowering.boundaries(v)
    _check_constants(scope, lowering)

    loss_names: dict[str, str] = {}
    counts: dict[str, str] = {}
    for s in losses:
        loss_names[f"loss.{s.name}"] = _named(lowering, f"loss.{s.name}", _averaged(s))
        counts[f"count.{s.name}"] = _named(lowering, f"count.{s.name}", _counted(s))
    if losses:
        reads = [lowering.values[n] for n in loss_names.values()]
        name = reads[0].name
        for term in reads[1:]:
            lowering.base = "loss"
            made = lowering.emit("add", (Read(name), Read(term.name)), (), losses[0].span)
            name = made.source
        lowering.base = "loss"
        made = lowering.emit("copy", (Read(name),), (), losses[0].span)
        value = lowering.values.pop(made.source)

        lowering.values["loss"] = replace(value, name="loss")
        loss_names = {"loss": "loss", **loss_names}
    shared_when = {id(s.when): s.when for s in losses if s.when is not None and s.axes}
    metric_names = {}
    for s in metrics:
        if len(shared_when) == 1 and s.axes:
            s.when = next(iter(shared_when.values()))
        metric_names[s.name] = _named(lowering, s.name, _metric(s))
    targets = {
        name: Distribution(kind, tuple(lowering.coerce(p, "real") for p in parameters))
        for name, (kind, parameters) in distributions.items()
    }
    axes = {
        a: Axis(a, scope.length_name(a), scope.axis_sizes.get(a)) for a in scope.axes
    }
    axes[BATCH] = Axis(BATCH, "B")
    dims = {d: None if s is None else scope.value_of(s) for d, s in scope.dims.items()}
    return System(
        name=model.name,
        values=lowering.values,
        axes=axes,
        outputs=tuple(outputs),
        losses=loss_names,
        metrics=metric_names,
        counts=counts,
        targets=targets,
        dims=dims,
        doc=model.doc,
    )


def _named(lowering: Lowering, name: str, node: Node) -> str:
    """Lower a node under a name of its own."""

    lowering.base = name
    _settle(node)
    made = lowering.value(node)
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
        if n.variable is None and n.own_shape is None:
            n.own_shape = ()
        if n.variable is None and n.own_kind is None:
            kinds = {a.kind for a in n.args[-2:]}
            whole = n.op == "length" or (n.op == "number" and isinstance(n.attrs["value"], int))
            if n.op == "map" and n.attrs["f"] == "div":
                whole = False
            elif n.op in ("map", "reduce"):
                whole = kinds == {"index"}
            n.own_kind = "index" if whole else "real"


def _averaged(s: _Scalar) -> Node:
    """Summed over the steps that count, averaged over the batch."""
    node = s.node
    if s.when is not None:
        node = map_node("where", s.span, s.when, node, functions.number(0.0, s.span))
    for axis in s.axes:
        node = reduce_node("sum", s.span, node, axis)
    total = reduce_node("sum", s.span, node, BATCH)
    size = Node("length", s.span, attrs={"axis": BATCH})
    return map_node("div", s.span, total, size) if _has_batch(s.node) else node


def _counted(s: _Scalar) -> Node:
    """How many steps of how many sequences the loss counts."""
    one, zero = functions.number(1, s.span), functions.number(0, s.span)
    if s.when is not None:
        node = map_node("where", s.span, s.when, one, zero)
        for axis in (*s.axes, BATCH):
            node = reduce_node("sum", s.span, node, axis)
        return node
    node = Node("length", s.span, attrs={"axis": BATCH}) if _has_batch(s.node) else one
    for axis in s.axes:
        node = map_node("mul", s.span, node, Node("length", s.span, attrs={"axis": axis}))
    return node


def _metric(s: _Scalar) -> Node:
    """Averaged over the steps that count, of all sequences; of a condition, how often it holds."""
    node = s.node
    if node.kind == "flag":
        node = map_node("where", s.span, node, functions.number(1.0, s.span),
                        functions.number(0.0, s.span))
    if s.when is not None:
        node = map_node("where", s.span, s.when, node, functions.number(0.0, s.span))
    for axis in s.axes:
        node = reduce_node("sum", s.span, node, axis)
    if _has_batch(s.node):
        node = reduce_node("sum", s.span, node, BATCH)
    return map_node("div", s.span, node, _counted(s))


def _has_batch(node: Node) -> bool:
    return any(n.variable is not None and n.variable.batch for n in walk_nodes([node]))


def _check_constants(scope: Scope, lowering: Lowering) -> None:
    problems = Problems()
    for v in scope.variables.values():
        if v.role != "const" or v.node is None:
            continue
        for node in walk_nodes([v.node]):
            other = node.variable
            if other is not None and other.role != "const":
                problems.add(
                    "RNN041",
                    f"a const is computed once, before anything runs; `{other.name}` is not "
                    "known then",
                    node.span,
                    labels=[(other.span, f"`{other.name}` is "
                             + {"input": "an input", "param": "a param"}.get(other.role,
                                f"a {other.role}"))],
                    hint="make it an equation: leave the word const out",
                )
            elif node.op in ("step", "length", "training"):
                problems.add("RNN041", "a const cannot depend on the step", node.span)
    if problems.found:
        raise SpecError(problems.found)
