"""What became of each recurrence: ``rnnc compile --explain``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from rnnc import compiler
from rnnc.api import Spec
from rnnc.backends.numpy_nests import compilable
from rnnc.cli.common import plural
from rnnc.cli.segments import loops_of, segment_lines
from rnnc.compiler import Options
from rnnc.decisions import decisions
from rnnc.graph.cycles import Recurrence, recurrences
from rnnc.graph.names import owner_of, told
from rnnc.graph.notation import Printer
from rnnc.graph.system import System
from rnnc.passes.generate import generate
from rnnc.passes.mode import predicting
from rnnc.passes.plan import FEW, ArrayType, Compute, Loop, Plan, Statement, flat
from rnnc.passes.ticks import Outside
from rnnc.passes.unroll import Counts
from rnnc.passes.windows import LEAST_PRODUCT
from rnnc.source import Span

# what moves numbers and computes none; most of it is free
_LAYOUT = frozenset(
    ("permute", "unsqueeze", "squeeze", "reshape", "expand", "constant", "copy", "length", "step",
     "slice", "pick", "concat", "shift", "stack", "part", "padded", "joined", "window", "replaced")
)  # fmt: skip
_TURNED = frozenset(("permute", "unsqueeze", "squeeze", "expand", "copy"))
_FORMS = {"onnx": "one Scan, a loop over all steps", "numpy": "one loop over all steps"}


def explanation(spec: Spec, options: Options) -> str:
    """For each recurrence of the spec: its equations, its form and what decided it, and what is
    left in its loop (of gradients: in its two loops)."""
    rolled = compiler.rolled(spec.bound, options)
    plan = compiler.plan_of(spec.bound, options)
    mode, unroll, backend = options.mode, options.unroll, options.backend
    base = generate(predicting(spec.bound)) if mode == "generate" else spec.bound
    found = recurrences(base)
    if not found:
        return f"{spec.name} has no recurrence: everything is computed for all steps at once."
    left = list(loops_of(plan))
    verdicts = decisions(rolled, options)
    gradients = mode in ("grad", "train")
    low = options.memory == "low"
    lines: list[str] = []
    if low:
        normal = replace(options, memory="normal")
        lines = segment_lines(plan, compiler.plan_of(spec.bound, normal))
    form = _FORMS[backend].replace("all steps", "the steps of a segment" if low else "all steps")
    for number, r in enumerate(_in_order(base, found), start=1):
        title = f"recurrence {number}" if len(found) > 1 else "the recurrence"
        lines += _head(base, r, title)
        origins = _origins(base[m].origins for m in r.members)
        loops = [
            (s, around) for s, around in left
            if origins & _origins(c.origins for c in _computes(flat(s.body)))
        ]  # fmt: skip
        left = [pair for pair in left if pair not in loops]
        mine = [d for d in verdicts if origins & _origins(rolled[m].origins for m in d.members)]
        for decision in sorted(mine, key=lambda d: d.forward != r.forward):
            if gradients and decision.lines:
                back = decision.forward != r.forward
                lines.append(f"  {'their gradients' if back else 'the values'}, "
                             f"{'forward' if decision.forward else 'backward'}:")  # fmt: skip
            lines += [f"  {'  ' if gradients else ''}{line}" for line in decision.lines]
        told: set[str] = set()
        for loop, around in loops:
            way = _way(r, loop) if gradients else "form:"
            again = " again" if low and way in told else ""
            by = ""
            if options.jit:
                taken = compilable(plan, loop)
                by = ", compiled by numba" if taken else ", in NumPy: it has more than numba takes"
            lines.append(f"  {way.replace(',', f'{again},', 1)} {form}{by}")
            lines += _inside(plan, rolled.values, loop, around, "  ")
            told.add(way)
        if not loops and not any(d.settled for d in mine):
            lines += _without_loop(plan, origins, mode, unroll)
        lines.append("")
    return "\n".join(lines)


def _in_order(system: System, found: Iterable[Recurrence]) -> list[Recurrence]:
    position = {name: i for i, name in enumerate(system.values)}
    return sorted(found, key=lambda r: min(position[m] for m in r.members))


def _head(system: System, r: Recurrence, title: str) -> list[str]:
    lines = [f"{title} over {_over(system, r)}:"]
    for values, text in Printer(system).equations():
        if any(v.name in r.members for v in values):
            lines.append(f"    {text}")
    return lines


def _over(system: System, r: Recurrence) -> str:
    way = "forward" if r.forward else "backward"
    length = system.axes[r.axis].length
    steps = f"from 1 to {length}" if r.forward else f"from {length} to 1"
    inner = dict.fromkeys(_over(system, i) for i in r.inner)
    return f"{r.axis}, {way} ({steps})" + "".join(f", in each step over {i}" for i in inner)


def _way(r: Recurrence, loop: Loop) -> str:
    """What a loop of a differentiated recurrence is for: gradients run against its direction."""
    way = "forward" if loop.forward else "backward"
    what = "the values" if loop.forward == r.forward else "their gradients"
    return f"{what}, {way}, in"


def _inside(
    plan: Plan, values: Collection[str], loop: Loop, around: Iterable[Statement], indent: str
) -> list[str]:
    """What a loop among the statements ``around`` it does; the loops in its body further in."""
    made = {s.target: s for s in _computes(around)}
    carried = (f"{_state(c.name, values)} {_dims(plan, c.name)}" for c in loop.carried)
    lines = [f"from step to step: {', '.join(carried)}"]
    before = _before(plan, made, (outer for _, outer in loop.scanned))
    once = [s for s in _before(plan, made, _captured(loop)) if s not in before]
    if before:
        lines.append("before it, for all steps at once:")
        lines += [f"  {_call(plan, s)}" for s in before]
    elif loop.scanned and not once:
        lines.append("nothing is computed before it")
    if once:
        lines.append("before it, once for all that its steps read:")
        lines += [f"  {_call(plan, s)}" for s in once]
    if loop.scanned:
        lines.append(f"read in each step: {_names(plan, (i for i, _ in loop.scanned))}")
    lines += _windows(plan, loop)
    lines.append(f"computed in each step: {_operations(_computes(loop.body))}")
    lines = [indent + line for line in lines]
    for inner in (s for s in loop.body if isinstance(s, Loop)):
        way = "forward" if inner.forward else "backward"
        lines.append(f"{indent}in each step a loop over {inner.axis}, {way}:")
        lines += _inside(plan, values, inner, loop.body, indent + "  ")
    return lines


def _windows(plan: Plan, loop: Loop) -> list[str]:
    """What a loop leaves out of vectors with clocks."""
    if not loop.plain:
        return [
            f"a clock lets {x.clock.mean:.1f} of {x.clock.groups[-1]} rows tick in the mean of the "
            f"steps, but all are computed: no product of {LEAST_PRODUCT} multiply-adds and more "
            "is of these alone"
            for x in Outside(plan).ticks(loop).values()
        ]
    used = {d for s in _computes(loop.body) for d in plan.arrays[s.target].dims}
    return [
        f"of {p.whole} rows only those that tick, {p.share * float(p.whole):.1f} in the mean of "
        f"the steps (from {FEW} sequences on)"
        for extent, p in plan.portions.items()
        if extent in used
    ]


def _captured(loop: Loop) -> list[str]:
    """What the statements of a loop read, and loops in it, that is not theirs."""
    return [a for s in _computes(flat(loop.body)) for a in s.args]


def _without_loop(plan: Plan, origins: set[Span], mode: str, unroll: Counts | None) -> list[str]:
    mine = [s for s in _computes(plan.body) if origins & set(s.origins)]
    if not mine:
        return [f"  the mode {mode} does not need it"]
    if mode == "step":
        form = "one step, without a loop: the states come in and go out"
    elif unroll is not None:
        counts = {"": unroll} if isinstance(unroll, int) else unroll
        steps = (plural(n, "step") + (f" of {a}" if a else "") for a, n in counts.items())
        form = f"unrolled, {' and '.join(steps)} one after the other"
    else:
        form = "no loop"
    return [f"  form: {form}", f"  computed: {_operations(mine)}"]


# ---------------------------------------------------------------- parts


def _computes(statements: Iterable[object]) -> list[Compute]:
    return [s for s in statements if isinstance(s, Compute)]


def _origins(groups: Iterable[tuple[Span, ...]]) -> set[Span]:
    return {span for group in groups for span in group}


def _before(plan: Plan, made: Mapping[str, Compute], arrays: Iterable[str]) -> list[Compute]:
    """What is computed outside of a loop for these arrays, which its steps read."""
    todo = list(arrays)
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name in made and name not in seen:
            seen.add(name)
            todo += made[name].args
    return [
        s for name, s in made.items()
        if name in seen and s.op not in _LAYOUT and not _counts(plan.arrays[name]) and s.origins
    ]  # fmt: skip


def _counts(type_: ArrayType) -> bool:
    """Whether an array is a mere number of steps."""
    return type_.kind == "index" and not type_.dims


def _call(plan: Plan, s: Compute) -> str:
    made = {c.target: c for c in _computes(plan.statements())}

    def plain(name: str) -> str:
        """The array behind what only turns or stretches it."""
        while name in made and made[name].op in _TURNED:
            name = made[name].args[0]
        return name

    return f"{s.target} {_dims(plan, s.target)} = {s.op}({', '.join(map(plain, s.args))})"


def _dims(plan: Plan, array: str) -> str:
    dims = (plan.length_names.get(d, d) if isinstance(d, str) and d != "batch" else d
            for d in plan.arrays[array].dims)  # fmt: skip
    return f"[{', '.join(map(str, dims))}]"


def _names(plan: Plan, names: Iterable[str]) -> str:
    return ", ".join(f"{n} {_dims(plan, n)}" for n in names) or "nothing"


def _state(name: str, values: Collection[str]) -> str:
    """What is carried, in the words of the spec: ``h[t-1]``, ``the gradient of h[t+1]``."""
    base, bracket, step = name.partition("[")
    said = told(base, values)
    if said == f"`{owner_of(base)}`":  # no gradient
        return name
    part = "" if base == owner_of(base) else "a part of "
    return f"{part}{said.replace('`', '')}{bracket}{step}"


def _operations(body: list[Compute]) -> str:
    counts = Counter(s.op for s in body)
    products = {op: n for op, n in counts.items() if op in ("matmul", "einsum")}
    moves = sum(n for op, n in counts.items() if op in _LAYOUT)
    others = {op: n for op, n in counts.items() if op not in products and op not in _LAYOUT}
    parts = [plural(sum(products.values()), "matrix product")]
    if others:
        parts.append(f"{sum(others.values())} elementwise and other operations "
                     f"({', '.join(f'{n} {op}' for op, n in others.items())})")  # fmt: skip
    if moves:
        parts.append(f"{moves} that take arrays apart or join them")
    return ", ".join(parts)
