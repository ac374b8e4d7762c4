"""Functions by the letters that papers give them: ``function f = tanh`` makes ``f(x)`` ``tanh(x)``.

The names are put in here, so that nothing after the parser knows of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from rnnc.source import Diagnostic, Label, Span
from rnnc.syntax import tree
from rnnc.syntax.names import FUNCTIONS


def name_functions(
    statements: Sequence[tree.Statement],
) -> tuple[tuple[tree.Statement, ...], list[Diagnostic]]:
    """The statements with functions called by their own names, and what is wrong."""
    named = [f for s in statements if isinstance(s, tree.FunctionStatement) for f in s.functions]
    if not named:
        return tuple(statements), []
    diagnostics: list[Diagnostic] = []
    values = {name: span for s in statements for name, span in _named(s)}
    known: dict[str, tree.NamedFunction] = {}
    for f in named:
        if f.name in FUNCTIONS - {"sigma"}:  # which papers use for any activation
            message = f"`{f.name}` is a function of the language; choose another name"
            diagnostics.append(Diagnostic("RNN012", message, f.span))
        elif f.name in known:
            labels = (Label(known[f.name].span, "first here"),)
            message = f"the function `{f.name}` is named twice"
            diagnostics.append(Diagnostic("RNN011", message, f.span, labels))
        elif f.function not in FUNCTIONS - {"split"}:
            near = difflib.get_close_matches(f.function, sorted(FUNCTIONS), 1, 0.6)
            hint = f"did you mean `{near[0]}`?" if near else None
            hint = hint or "any function of the language may stand here, such as tanh or softmax"
            message = f"unknown function `{f.function}`"
            start = f.span.start + f.span.text.index("=") + 1
            start += len(f.span.source.text[start : f.span.end]) - len(
                f.span.source.text[start : f.span.end].lstrip()
            )
            place = Span(f.span.source, start, f.span.end)
            diagnostics.append(Diagnostic("RNN013", message, place, hint=hint))
        elif f.name in values:
            labels = (Label(values[f.name], "here it is something else"),)
            message = f"`{f.name}` is a function and something else"
            diagnostics.append(Diagnostic("RNN011", message, f.span, labels))
        known.setdefault(f.name, f)
    functions = {name: f.function for name, f in known.items()}
    rest = [s for s in statements if not isinstance(s, tree.FunctionStatement)]
    return tuple(_renamed(s, functions) for s in rest), diagnostics


def _named(s: tree.Statement) -> Iterator[tuple[str, Span]]:
    """The values that a statement declares or defines, and where."""
    match s:
        case tree.InputStatement(items=items) | tree.ParamStatement(items=items):
            yield from ((item.name, item.span) for item in items)
        case tree.TargetStatement(item=item) | tree.ConstStatement(item=item):
            yield item.name, item.span
        case tree.Equation(left=left):
            yield from ((x.name, x.span) for x in left)
        case tree.DimStatement(dims=dims):
            yield from ((d.name, d.span) for d in dims)
        case tree.LayerStatement(name=name, span=span):
            yield name, span
        case tree.UseStatement(names=names):
            yield from ((n.name, n.span) for n in names)


def _renamed(part: Any, functions: Mapping[str, str]) -> Any:
    """The same tree, its calls renamed."""
    if isinstance(part, tuple):
        return tuple(_renamed(p, functions) for p in part)
    if not is_dataclass(part) or isinstance(part, Span | type | tree.LatexStatement):
        return part
    changed = {}
    for f in fields(part):
        before = getattr(part, f.name)
        after = _renamed(before, functions)
        if after is not before:
            changed[f.name] = after
    if isinstance(part, tree.Call) and part.function in functions:
        changed["function"] = functions[part.function]
    return replace(part, **changed) if changed else part
