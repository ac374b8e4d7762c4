"""What a loop takes of an array at each step, it takes in the form that the step needs.

    loop: each k[t] of k, then                   k:rows = unsqueeze(k, at=(2,))
          k[t]:row = unsqueeze(k[t], at=(1,))    loop: each k[t]:row of k:rows
          h[t] = squeeze(h:column, at=(2,))   →        keep h:column as h:columns
          keep h[t] as h                         h = squeeze(h:columns, at=(3,))

Dimensions of 1 cost nothing for all steps at once, but a call at every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rnnc.graph.system import fresh
from rnnc.passes.plan import ArrayType, Compute, Loop, Plan, Statement, reads_of, uses_of

FORMS = ("unsqueeze", "squeeze")


def reshaped(plan: Plan) -> Plan:
    """The plan with these forms outside of its loops."""
    if not plan.loops:
        return plan
    work = _Reshaping(plan)
    body = work.block(plan.body)
    return replace(plan, body=tuple(body), arrays=work.arrays)


class _Reshaping:
    def __init__(self, plan: Plan):
        self.arrays = dict(plan.arrays)

    def block(self, statements: Sequence[Statement]) -> list[Statement]:
        out: list[Statement] = []
        for s in statements:
            if not isinstance(s, Loop):
                out.append(s)
                continue
            before, loop, after = self._loop(replace(s, body=tuple(self.block(s.body))))
            out += [*before, loop, *after]
        return out

    def _loop(self, loop: Loop) -> tuple[list[Statement], Loop, list[Statement]]:
        before: list[Statement] = []
        after: list[Statement] = []
        scanned = dict(loop.scanned)
        body: list[Statement] = []
        for s in loop.body:
            if isinstance(s, Compute) and s.op in FORMS and s.args[0] in scanned:
                moved = self._moved(s, scanned[s.args[0]])
                before.append(moved)
                scanned[s.target] = moved.target
            else:
                body.append(s)
        made = {s.target: s for s in body if isinstance(s, Compute) and s.op in FORMS}
        uses = uses_of([replace(loop, body=tuple(body))])
        collected = []
        for outer, inner in loop.collected:
            form = made.get(inner)
            if form is None or uses[inner] > 1 or form.args[0] not in _results(body):
                collected.append((outer, inner))
                continue
            body.remove(form)
            kept = fresh(f"{outer}:{form.args[0]}", self.arrays)
            steps = self.arrays[outer].dims[0]
            inside = self.arrays[form.args[0]]
            self.arrays[kept] = ArrayType((steps, *inside.dims), inside.kind)
            after.append(_along(form, outer, kept))
            collected.append((kept, form.args[0]))
        read = reads_of(body) | {c.next for c in loop.carried} | {i for _, i in collected}
        left = tuple((i, o) for i, o in scanned.items() if i in read)
        if not left:  # something has to tell the number of steps
            left = loop.scanned[:1]
        made_loop = replace(loop, scanned=left, body=tuple(body), collected=tuple(collected))
        return before, made_loop, after

    def _moved(self, s: Compute, outer: str) -> Compute:
        """The form for all steps at once."""
        target = fresh(f"{outer}:{s.op}", self.arrays)
        inside = self.arrays[s.target]
        steps = self.arrays[outer].dims[0]
        self.arrays[target] = ArrayType((steps, *inside.dims), inside.kind)
        return _along(s, target, outer)


def _along(s: Compute, target: str, source: str) -> Compute:
    """The same form of arrays with the steps as their first dimension."""
    at = tuple(i + 1 for i in s.attr("at"))
    return Compute(target, s.op, (source,), (("at", at),), s.origins)


def _results(body: Sequence[Statement]) -> set[str]:
    """What statements compute (a form of a loop's own results is left as it is)."""
    return {s.target for s in body if isinstance(s, Compute)}
