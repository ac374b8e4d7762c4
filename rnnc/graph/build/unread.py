"""Boundaries that nothing reads: they would say nothing, and whoever wrote one meant something."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rnnc.graph.build.nodes import Node
from rnnc.graph.build.problems import Problems, short
from rnnc.graph.build.scope import Boundary, Scope, Variable
from rnnc.graph.types import FIRST, LAST, Size, sign
from rnnc.source import Span
from rnnc.syntax import tree


@dataclass(frozen=True)
class _Outside:
    """A read that may leave the steps of ``axis``, at most to ``side`` plus ``offset`` (None: as
    far as one likes)."""

    axis: str
    side: str
    offset: Size | None
    node: Node


def check_unread(
    nodes: Sequence[Node], unneeded: Sequence[Span], scope: Scope, problems: Problems
) -> None:
    """Report boundaries, of the model or given in a call, that no read can reach (RNN027), and
    those given in calls for what is ``unneeded`` and left out.

    Those of a layer's own text are left out: which of them is read differs from call to call.
    """
    reads: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        if node.variable is not None:
            reads[node.variable.name].append(node)
    for v in scope.variables.values():
        if v.bad or not any(b.span.source.caller is None for b in v.boundaries):
            continue
        outside = [out for node in reads[v.name] for out in _outside(v, node)]
        for b in v.boundaries:
            if b.span.source.caller is None and not any(_reaches(o, b, scope) for o in outside):
                hint = _hint(v, b, outside, bool(reads[v.name]), scope)
                _report(b.span, hint, problems)
    for span in unneeded:
        name = _left(span).partition("[")[0]
        hint = f"what is read of the layer does not depend on its `{name}`: leave it out"
        _report(span, hint, problems)


def _report(span: Span, hint: str, problems: Problems) -> None:
    problems.add("RNN027", f"nothing reads the boundary `{_left(span)}`", span, hint=hint)


def _outside(v: Variable, node: Node) -> Iterator[_Outside]:
    """Where a read may leave the steps; a sequence has one step or more."""
    at = dict(node.at)
    for axis in v.axes:
        index = at.get(axis)
        if index is None:
            continue
        way = sign(index.offset)
        if way in (-1, None):  # T-2 of one step is step -1
            yield _Outside(axis, FIRST, None if way is None else index.offset, node)
        if way in (1, None):  # step 3 of one step is T+2
            yield _Outside(axis, LAST, None if way is None else index.offset, node)


def _reaches(out: _Outside, b: Boundary, scope: Scope) -> bool:
    """Whether a read may get as far as a boundary."""
    if (out.axis, out.side) != (b.axis, b.step.base):
        return False
    if out.offset is None:
        return True
    further = sign(scope.dims.value_of(out.offset - b.step.offset))
    return further is None or further == 0 or (further < 0) == (out.side == FIRST)


# ---------------------------------------------------------------- what to write instead


def _left(boundary: Span) -> str:
    """``h[0]``, also of the option ``h[0] = q``."""
    return short(re.split("[=＝]", boundary.text)[0].strip())


def _hint(v: Variable, b: Boundary, outside: list[_Outside], is_read: bool, scope: Scope) -> str:
    turned = v.inner and _is_turned(b)
    found = {_instead(v, out, turned, scope): out for out in outside}
    found.pop(None, None)
    if given := _in_call(v, b, scope):
        return given
    if turned and found:
        step = next(iter(found))
        return (
            "a layer's boundaries are in its own index, in which it always runs forward: "
            f"{step} = …"
        )
    if found:
        step, out = next(iter(found.items()))
        return f"`{short(out.node.span.text)}` is read: its boundary is {step}"
    name = _left(b.span).split("[")[0]
    if not is_read:
        return f"`{name}` is not read at all: leave it out"
    step = "an earlier" if (b.step.base == FIRST) != turned else "a later"
    return f"every read of `{name}` lies within the steps: leave it out, or read {step} one"


def _is_turned(b: Boundary) -> bool:
    """Whether a boundary of a layer lies at the other end in its caller: the call is backward."""
    inside = _left(b.span).partition("[")[2].rstrip("]］")
    at_first = any(re.fullmatch(r"[-−\d\s]+", item) for item in inside.split(","))
    return at_first != (b.step.base == FIRST)


def _instead(v: Variable, out: _Outside, turned: bool, scope: Scope) -> str | None:
    """The boundary that a read asks for, in the words of where it is read: ``h[0, j]``."""
    name, bracket, inside = out.node.span.text.partition("[")
    items = [item.strip() for item in inside.rstrip("] ").split(",")]
    if not bracket or not name.strip().replace("_", "").isalnum():
        return None
    place = v.axes.index(out.axis)
    if len(items) == 1:
        place = 0
    elif len(items) != len(v.axes):
        return None
    first = (out.side == FIRST) != turned
    length = scope.length_name(out.axis)
    if v.inner and (base := re.match(r"[^\W\d]+", items[place])):
        length = base[0].upper()  # as the layer calls it
    own = [re.split(r"[-+−]", item)[0].strip() for item in items]
    if not v.inner:
        own = list(v.axes)
    own[place] = "0" if first else f"{length}+1"
    return f"{name.strip()}[{', '.join(own)}]"


def _in_call(v: Variable, b: Boundary, scope: Scope) -> str | None:
    """``GRU(x[t]; h[0] = q)`` in place of ``b[0] = q``, where ``b`` is what a call gives."""
    expr = v.expr
    if not isinstance(expr, tree.Indexed) or "." not in expr.name or v.inner:
        return None
    call = expr.span.text
    if not re.match(r"[^\W\d]\w*\s*\(.*\)$", call, re.DOTALL) or len(v.axes) != 1:
        return None
    name = expr.name.rpartition(".")[2]
    step = "0" if b.step.base == FIRST else f"{scope.length_name(b.axis)}+1"
    if b.step.base == LAST and re.search(r"\bbackward\b", call):
        step = "0"
    inside = call[:-1].rstrip(" ,")
    value = b.expr.span.text
    given = f"{inside}{',' if ';' in call else ';'} {name}[{step}] = {short(value)})"
    return f"give it to the call: {short(given) if len(given) > 80 else given}"
