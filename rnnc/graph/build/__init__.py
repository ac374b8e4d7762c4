"""From the syntax tree of a model to its System.

``expand`` writes the calls of layers out (``layers``, ``instance``, ``instantiate``,
``needed``), ``scope`` collects the names (sizes in ``dims``), ``resolve`` turns expressions into
nodes (``calls``, ``functions``), ``infer`` finds their shapes by the ``rules`` of the operations
and ``kinds`` their kinds, ``lower`` makes the Values; ``losses`` is what a model is trained on.
``unread`` looks for boundaries without a meaning, ``problems`` collects what is wrong. Only this
package knows the syntax tree.
"""

from __future__ import annotations

from collections.abc import Mapping

from rnnc.graph.build.expand import expand
from rnnc.graph.build.infer import Inference
from rnnc.graph.build.kinds import infer_kinds
from rnnc.graph.build.layers import Load
from rnnc.graph.build.losses import Objectives, check_objectives, lower_objectives, objectives
from rnnc.graph.build.lower import Lowering
from rnnc.graph.build.nodes import Node, walk_nodes
from rnnc.graph.build.order import find_batch, in_order, spread_bad
from rnnc.graph.build.problems import Problems, suggestion
from rnnc.graph.build.resolve import Resolver
from rnnc.graph.build.scope import Scope, Variable
from rnnc.graph.build.unread import check_unread
from rnnc.graph.cycles import recurrences
from rnnc.graph.system import Axis, System
from rnnc.graph.types import BATCH, FIRST, LAST, sign
from rnnc.graph.verify import verify
from rnnc.syntax import tree


def build(
    model: tree.Model,
    sizes: Mapping[str, int] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    file: tree.File | None = None,
    load: Load | None = None,
) -> System:
    """The System of a model.

    ``sizes`` sets dims; ``shapes`` gives the shapes of ``any`` inputs. Layers are the other
    models of its ``file``, and those that ``load`` finds. Raises SpecError with every problem
    found in the model; what is wrong with the use of layers is told first.
    """
    problems = Problems()
    file = file or tree.File((model,), model.span.source)
    model, unneeded = expand(model, file, load, problems, sizes or {})
    scope = Scope(model, sizes or {}, problems)
    for name, shape in (shapes or {}).items():
        scope.give_shape(name, shape)
    resolver = Resolver(scope)
    resolver.variables()
    found = objectives(model, scope, resolver)
    outputs = _outputs(model, scope, problems)

    roots = [n for v in scope.variables.values() for n in v.nodes] + found.nodes
    nodes = walk_nodes(roots)
    spread_bad(scope)
    steps = in_order(scope, nodes)
    Inference(scope, nodes, steps).run()
    infer_kinds(scope, steps)
    check_objectives(found, problems)
    _check_boundaries(nodes, scope, problems)
    _check_ranges(scope, problems)
    problems.stop()
    check_unread(nodes, unneeded, scope, problems)  # a part with a mistake might read anything
    problems.stop()
    find_batch(scope)
    system = _lower(model, scope, outputs, found)
    verify(system)
    recurrences(system)  # reports cycles in the user's words
    return system


# ---------------------------------------------------------------- outputs and boundaries


def _outputs(model: tree.Model, scope: Scope, problems: Problems) -> list[str]:
    """The values to return: those stated, or every equation that no other equation reads."""
    stated = [n for s in model.statements if isinstance(s, tree.OutputStatement) for n in s.names]
    equations = [v for v in scope.variables.values() if v.role == "equation" and not v.inner]
    if stated:
        for name in stated:
            _check_output(name, scope, problems)
        return list(dict.fromkeys(n.name for n in stated if n.name in scope.variables))
    if not equations:
        if not problems.found:
            message = f"model {model.name} has no equation"
            hint = "write one, such as h[t] = tanh(W h[t-1] + U x[t])"
            problems.add("RNN040", message, model.span, hint=hint)
        return []
    read = {
        n.variable.name
        for v in equations
        for n in walk_nodes(v.nodes)
        if n.variable is not None and n.variable is not v
    }
    return [v.name for v in equations if v.name not in read] or [equations[-1].name]


def _check_output(name: tree.Name, scope: Scope, problems: Problems) -> None:
    known = scope.variables.get(name.name)
    if known is None:
        values = scope.variables.values()
        equations = [v.name for v in values if v.role == "equation" and not v.inner]
        hint = suggestion(name.name, equations)
        if hint is None and equations:
            hint = "an output is the name of an equation, without index"
        problems.add("RNN010", f"unknown output `{name.name}`", name.span, hint=hint)
    elif known.role in ("input", "target", "param"):
        article = "an" if known.role == "input" else "a"
        problems.add(
            "RNN010",
            f"`{name.name}` is {article} {known.role}; an output is the name of an equation",
            name.span,
            labels=[(known.span, "declared here")],
        )


def _check_boundaries(nodes: list[Node], scope: Scope, problems: Problems) -> None:
    """Reads that may leave the steps need a boundary where zero is no sensible default."""
    for node in nodes:
        v = node.variable
        if v is None or v.bad or v.kind in ("real", None):
            continue
        for axis, index in node.at:
            direction = sign(index.offset)
            before = direction == -1 and index.base != LAST
            after = direction == 1 and index.base != FIRST
            side = FIRST if before else LAST
            known = any(b.axis == axis and b.step.base == side for b in v.boundaries)
            if (before or after) and not known:
                step = "0" if before else f"{scope.length_name(axis)}+1"
                _boundary_missing(v, node, step, problems)


def _check_ranges(scope: Scope, problems: Problems) -> None:
    """What stands before the first step of an index is one of its values."""
    for v in scope.variables.values():
        count = None if v.range is None else scope.dims.value_of(v.range)
        for b in v.boundaries:
            number = b.node.whole if b.node is not None else None
            if number is not None and isinstance(count, int) and not 0 <= number < count:
                message = f"`{v.name}` is 0 to {count - 1}, and its boundary {number}"
                labels = [(v.span, f"index({scope.dims.text(v.range or 0)})")]
                problems.add("RNN026", message, b.node.span if b.node else b.span, labels=labels)


def _boundary_missing(v: Variable, node: Node, step: str, problems: Problems) -> None:
    flag = v.kind == "flag"
    value = "1 > 0 for yes, 1 < 0 for no" if flag else "0"
    problems.add(
        "RNN025",
        f"`{node.span.text}` may read step {step}, where `{v.name}` has no value",
        node.span,
        labels=[(v.span, f"`{v.name}` is {'a flag' if flag else 'an index'}: zero is not assumed")],
        hint=f"say what stands there: {v.name}[{step}] = {value}",
    )


# ---------------------------------------------------------------- the System


def _lower(model: tree.Model, scope: Scope, outputs: list[str], found: Objectives) -> System:
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
    lowered = lower_objectives(found, lowering)
    axes = {a: Axis(a, scope.length_name(a), scope.axis_sizes.get(a)) for a in scope.axes}
    axes[BATCH] = Axis(BATCH, "B")
    values = scope.dims.values
    return System(
        name=model.name,
        values=lowering.values,
        axes=axes,
        outputs=tuple(outputs),
        losses=lowered.losses,
        metrics=lowered.metrics,
        counts=lowered.counts,
        targets=lowered.targets,
        dims={d: None if s is None else scope.dims.value_of(s) for d, s in values.items()},
        doc=model.doc,
    )
