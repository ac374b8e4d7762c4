"""What of a loop numba can take, and which of its statements one pass over memory computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rnnc.backends.numpy_states import Types, projections, rows_of
from rnnc.passes.plan import Compute, Loop, Plan, results_of

# elementwise operations as expressions of their operands
ELEMENTWISE = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}",
    "pow": "{0} ** {1}", "mod": "{0} % {1}",
    "minimum": "np.minimum({0}, {1})", "maximum": "np.maximum({0}, {1})",
    "eq": "{0} == {1}", "ne": "{0} != {1}", "lt": "{0} < {1}", "le": "{0} <= {1}",
    "gt": "{0} > {1}", "ge": "{0} >= {1}", "and": "{0} & {1}", "or": "{0} | {1}",
    "neg": "-{0}", "abs": "abs({0})", "sign": "np.sign({0})", "exp": "np.exp({0})",
    "log": "np.log({0})", "sqrt": "np.sqrt({0})", "sin": "np.sin({0})", "cos": "np.cos({0})",
    "tanh": "tanh({0})", "floor": "np.floor({0})", "not": "not {0}",
    "sigmoid": "REAL(1) / (REAL(1) + np.exp(-{0}))", "relu": "np.maximum({0}, REAL(0))",
    "where": "{1} if {0} else {2}", "to_real": "REAL({0})", "copy": "{0}", "expand": "{0}",
}  # fmt: skip
VIEWS = frozenset(("slice", "unsqueeze", "squeeze", "permute"))
MOST_DIMS = 3


def compilable(plan: Plan, loop: Loop) -> bool:
    """Whether numba can take all of a loop: elementwise functions, views, sums along a dimension,
    and products with weights."""
    types = plan.arrays
    made = {x: s for s in loop.body for x in results_of(s)}
    lengths = {a for a, x in plan.axes.items() if isinstance(x, tuple) and x[0] in made}
    if any(c.final and not types[c.name].dims for c in loop.carried):
        return False  # a number would have to be returned
    products = projections(loop, types)
    known = {*rows_of(loop, types, frozenset()), *(s.target for s in products)}
    for s in loop.body:
        if not isinstance(s, Compute) or lengths.intersection(types[s.target].dims):
            return False
        simple = s.op in ELEMENTWISE or s.op in (*VIEWS, "concat") or s.target in known
        if not simple and not (s.op == "sum" and len(s.attr("dims")) == 1):
            return False
        if max(len(types[x].dims) for x in (s.target, *s.args)) > MOST_DIMS:
            return False
    for s in products:  # of what lies in memory as a matrix
        source = made.get(s.args[0])
        while isinstance(source, Compute) and source.op in VIEWS:
            if source.op != "slice" or source.attr("dim") != 1:
                return False
            source = made.get(source.args[0])
    return True


def views_of(loop: Loop) -> dict[str, Compute]:
    """Statements whose results are not computed but read where their operands are."""
    stored = {inner for _, inner in loop.collected} | {c.next for c in loop.carried}
    found = (s for s in loop.body if isinstance(s, Compute) and s.op in VIEWS)
    return {s.target: s for s in found if s.target not in stored}


def nests_of(loop: Loop, types: Types) -> tuple[list[list[Compute]], set[str]]:
    """The statements of a loop in order, elementwise ones over the same dimensions together, and
    what of their results is kept in memory.

    A nest ends where something is kept: with several arrays that are written, a compiler could
    not tell that none of them is another, and would compute one entry after the other.
    """
    views, rows = views_of(loop), rows_of(loop, types, frozenset())
    left = [s for s in loop.body if isinstance(s, Compute)]
    left = [s for s in left if s.target not in views and s.target not in rows]
    kept = {inner for _, inner in loop.collected}
    kept |= {_root(c.next, views) for c in loop.carried}
    while True:
        nests: list[list[Compute]] = []
        for s in left:
            last = nests[-1] if nests else []
            if last and last[-1].target not in kept and _joins(s, last, types, views):
                last.append(s)
            else:
                nests.append([s])
        more = {x for nest in nests for x in _read_elsewhere(nest, views)} - kept
        if not more:
            return nests, kept
        kept |= more


def _joins(s: Compute, nest: Sequence[Compute], types: Types, views: Mapping[str, Compute]) -> bool:
    """Whether a statement needs of a nest's results no more than the entries at its place."""
    if not {s.op, nest[0].op} <= {*ELEMENTWISE, *VIEWS}:
        return False
    made = {x.target for x in nest}
    direct = made if s.op in ELEMENTWISE else set()  # a view takes other entries
    apart = any(a not in direct and _root(a, views) in made for a in s.args)
    return types[s.target].dims == types[nest[0].target].dims and not apart


def _read_elsewhere(nest: Sequence[Compute], views: Mapping[str, Compute]) -> set[str]:
    """What a nest reads that it does not make; and what it makes, unless that is elementwise."""
    made = {s.target for s in nest}
    read = {_root(a, views) for s in nest for a in s.args} - made
    return read if nest[0].op in (*ELEMENTWISE, *VIEWS) else read | made


def _root(name: str, views: Mapping[str, Compute]) -> str:
    while name in views:
        name = views[name].args[0]
    return name
