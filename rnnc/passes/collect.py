"""Terms with one recurring factor are collected.

    ∂z = ∂h * n - ∂h * h'              ∂z = ∂h * (n - h')
    ∂a = ∂h * u + (∂h * v) * w    →    ∂a = ∂h * (u + v * w)

Back-propagation is linear in the adjoints, and its loops are full of such sums. In the bracket
nothing recurs: it leaves the loop (``hoist``), and so does ``∂h * v``, where nothing in the loop
needs it for something else.
"""

from __future__ import annotations

from dataclasses import dataclass

from rnnc.graph.cycles import members_at, recurrences
from rnnc.graph.system import System, Value
from rnnc.graph.types import Read
from rnnc.passes.editor import SIGNS, Editor, Term


def collect(system: System) -> System:
    """The system with the terms of each recurrence's sums collected."""
    depth, found = 0, recurrences(system)
    while members := members_at(found, depth):
        editor = Editor(system)
        for name, value in system.values.items():
            if name in members and value.op in SIGNS and editor.is_root(value, SIGNS):
                _collect(editor, value, members[name])
        if editor.added:  # a sum that is a product now may be a term of another
            system = editor.result()
            found = recurrences(system)
        else:
            depth += 1
    return system


@dataclass(frozen=True)
class _Product:
    """A summand: the factors that recur, those that do not, and how many multiplications in the
    loop serve it alone."""

    term: Term
    recurring: tuple[Read, ...]
    fixed: tuple[Read, ...]
    own: int


def _collect(editor: Editor, value: Value, members: frozenset[str]) -> None:
    rest: list[Term] = []
    groups: dict[tuple[Read, ...], list[_Product]] = {}
    for term in editor.terms(value):
        product = _factors(editor, term, value, members)
        if product.recurring and editor.type(term.read) == value.type:
            groups.setdefault(product.recurring, []).append(product)
        else:
            rest.append(term)
    found: list[tuple[Read, Read]] = []
    for recurring, products in groups.items():
        before = sum(p.own for p in products) + len(products) - 1
        if before > len(recurring):  # operations that become one product
            found.append(_bracket(editor, value, recurring, products))
        else:
            rest += [p.term for p in products]
    if len(found) == 1 and not rest:
        editor.change(value.name, "mul", found[0])
    elif found:
        name = f"{value.name}.product"
        total, *more = (editor.make(name, "mul", pair, (), value.origins) for pair in found)
        editor.redefine(value.name, total, [*(Term(1, r) for r in more), *rest])


def _factors(editor: Editor, term: Term, root: Value, members: frozenset[str]) -> _Product:
    """A summand taken apart into factors."""
    recurring: list[Read] = []
    fixed: list[Read] = []
    own = 0
    todo = [(term.read, True)]
    while todo:
        r, alone = todo.pop()
        source = editor.values[r.source]
        if source.name not in members:
            fixed.append(r)
        elif source.op == "mul" and source.axes == root.axes and not r.at and not source.bounds:
            readers = [v.name for v, _ in editor.readers(source.name)]
            alone = alone and sum(name in members for name in readers) <= 1
            own += alone
            todo += [(x, alone) for x in source.reads]
        else:
            recurring.append(r)
    return _Product(term, tuple(sorted(recurring, key=str)), tuple(fixed), own)


def _bracket(
    editor: Editor, value: Value, recurring: tuple[Read, ...], products: list[_Product]
) -> tuple[Read, Read]:
    """Two factors: the sum of what does not recur in the terms, and what does in all of them."""
    origins = value.origins
    name = f"{value.name}.fixed"
    weights = []
    for p in products:
        if p.fixed:
            weight = p.fixed[0]
        else:
            weight = editor.make(f"{name}.1", "constant", (), (("value", 1.0),), origins)
        for r in p.fixed[1:]:
            weight = editor.make(name, "mul", (weight, r), (), origins)
        weights.append(Term(p.term.sign, weight))
    total = editor.total(name, weights, origins)
    for r in recurring[:-1]:
        total = editor.make(f"{value.name}.product", "mul", (total, r), (), origins)
    return total, recurring[-1]
