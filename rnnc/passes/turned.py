"""Steps are read from arrays, and put together to arrays, as callers have them.

    x:steps = permute(x, order=(1, 0, 2))                     x@3 = pick(x, index=2, dim=1)
    x@3 = pick(x:steps, index=2, dim=0)
    h = stack(h@1, h@2, dim=0)                        →       h:batch = stack(h@1, h@2, dim=1)
    h:batch = permute(h, order=(1, 0, 2))

Without a loop, nothing needs the steps in the first dimension; a copy of each array is saved.
"""

from __future__ import annotations

from dataclasses import replace

from rnnc.passes.plan import Compute, Plan, Statement, reads_of, uses_of


def turned(plan: Plan) -> Plan:
    """The plan without permutations of what is picked from, or was stacked."""
    made = {s.target: s for s in plan.body if isinstance(s, Compute)}
    uses = uses_of(plan.statements())
    uses.update(p.array for p in plan.outputs)
    body: list[Statement] = []
    for s in plan.body:
        if isinstance(s, Compute) and s.args and s.args[0] in made:
            source = made[s.args[0]]
            if s.op == "pick" and source.op == "permute":
                s = _picked(s, source)
            elif s.op == "permute" and source.op == "stack" and uses[source.target] == 1:
                s = _stacked(s, source)
        body.append(s)
    read = reads_of(body) | {p.array for p in plan.outputs}
    kept = (
        s
        for s in body
        if not (isinstance(s, Compute) and s.op in ("permute", "stack")) or s.target in read
    )
    return replace(plan, body=tuple(kept))


def _picked(pick: Compute, permute: Compute) -> Compute:
    """The pick from the array as it was, if the other dimensions are in the same order."""
    order, dim = permute.attr("order"), pick.attr("dim")
    rest = [*order[:dim], *order[dim + 1 :]]
    if rest != sorted(rest):
        return pick
    attrs = (("index", pick.attr("index")), ("dim", order[dim]))
    return replace(pick, args=permute.args, attrs=attrs)


def _stacked(permute: Compute, stack: Compute) -> Compute:
    """The stack with its new dimension where the permutation moves it, if that is all it does."""
    order, dim = permute.attr("order"), stack.attr("dim")
    rest = [d for d in order if d != dim]
    if rest != sorted(rest):
        return permute
    return replace(stack, target=permute.target, attrs=(("dim", order.index(dim)),))
