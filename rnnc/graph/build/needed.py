"""Of what layers brought into a model, that which the model's own statements need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rnnc.graph.build.instantiate import defined, mentioned
from rnnc.graph.build.problems import Problems
from rnnc.source import Span
from rnnc.syntax import tree


def needed(
    statements: Sequence[tree.Statement], problems: Problems
) -> tuple[tuple[tree.Statement, ...], list[Span]]:
    """What the model's own statements need, directly or not, of those that layers brought;
    and the boundaries given in calls that none of the layers needs."""
    givers: dict[str, list[object]] = {}
    todo: list[str] = []
    for s in statements:
        if s.span.source.caller is None:
            todo += mentioned(s)
        match s:
            case tree.AxisStatement(name=name):
                givers[name] = []
            case tree.DimStatement(dims=items) | tree.ParamStatement(items=items):
                for item in items:
                    givers.setdefault(item.name, []).append(item)
            case _:
                for name in defined(s):
                    givers.setdefault(name, []).append(s)
    wanted: set[str] = set()
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            for part in givers.get(name, ()):
                todo += mentioned(part)
    out: list[tree.Statement] = []
    bounds: dict[Span, bool] = {}  # of calls, which make several layers where they make a stack
    for s in statements:
        if s.span.source.caller is None:
            out.append(s)
            continue
        kept = _part(s, wanted)
        if isinstance(s, tree.Equation) and (place := s.left[0].span).source.caller is None:
            bounds[place] = bounds.get(place, False) or kept is not None
        if isinstance(kept, tree.TargetStatement):
            name = kept.item.name.rpartition(".")[2]
            problems.add(
                "RNN019",
                f"a layer's target `{name}` is not known where the layer is called, but "
                "what it gives depends on it",
                kept.item.span,
                hint=f"make `{name}` an input",
            )
        elif kept is not None:
            out.append(kept)
    return tuple(out), [span for span, is_needed in bounds.items() if not is_needed]


def _part(s: tree.Statement, wanted: set[str]) -> tree.Statement | None:
    """What is wanted of a statement."""
    match s:
        case tree.DimStatement(dims=dims):
            some = tuple(d for d in dims if d.name in wanted)
            return replace(s, dims=some) if some else None
        case tree.ParamStatement(items=items):
            few = tuple(i for i in items if i.name in wanted)
            return replace(s, items=few) if few else None
        case tree.AxisStatement(name=name):
            return s if name in wanted else None
    return s if not wanted.isdisjoint(defined(s)) else None
