"""A System as text: its equations as a spec, one expression, and the table of its values.

>>> print(show_system(system))
model Elman
<BLANKLINE>
dim    n, m = 64
input  x[t] : [n]
param  U : [m, n]
...
a[t] = b + W h[t-1] + U x[t]
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import networkx as nx

from rnnc.graph.algebra import ATOM, INFIX, PRODUCT, SUM, Part, enclosed, infix
from rnnc.graph.equations import averaged, constants
from rnnc.graph.notation import GIVEN, Printer, constant_part, shape_text, size_part, size_text
from rnnc.graph.system import System, Value
from rnnc.graph.types import BATCH, Dim, Size, substitute

_KEYWORDS = frozenset(
    (
        "model",
        "dim",
        "axis",
        "input",
        "param",
        "const",
        "target",
        "loss",
        "metric",
        "output",
        "use",
        "layer",
        "from",
        "when",
        "and",
        "or",
        "not",
        "if",
        "else",
        "training",
        "pi",
        "inf",
    )
)
_WIDTH = 96


def expression(system: System, value: Value) -> str:
    """The right side of a value's equation, temporaries written out."""
    return Printer(system).expression(value)


# ---------------------------------------------------------------- the system as a spec


def show_system(system: System, names: Mapping[str, str] | None = None) -> str:
    """The system as a spec; the same text for the same system. ``names`` respells some.

    Names that a spec cannot declare are respelled (``h.W`` is ``h_W``, ``h@2`` is ``h_2``). What
    has no form in the language is written as a call of the operation (``stack[t](…)``).
    """
    printer = Printer(system, {**spelling(system), **(names or {})})
    blocks = [head(printer), declarations(printer), _equations(printer), _results(printer)]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


def spelling(system: System) -> dict[str, str]:
    """Each name that a spec cannot declare with one that it can."""
    taken = (
        set(_KEYWORDS)
        | set(system.axes)
        | {a.length for a in system.axes.values() if a.name != BATCH}
    )
    taken |= set(system.dims)
    plain = re.compile(r"∂?[^\W\d]\w*'*")
    out = {}
    good = {n for n in system.values if plain.fullmatch(n) and n not in taken}
    taken |= good
    for name in system.values:
        if name not in good:
            base = re.sub(r"[^\w'∂]|'(?=.*[^'])|(?<=.)∂", "_", name)
            base = spelled = base if plain.fullmatch(base) else f"v_{base}"
            i = 2
            while spelled in taken:
                spelled = f"{base}_{i}"
                i += 1
            taken.add(spelled)
            out[name] = spelled
    return out


def head(printer: Printer) -> list[str]:
    doc = [f"# {line}".rstrip() for line in printer.system.doc.strip("\n").split("\n")]
    return [*(doc if printer.system.doc else ()), f"model {printer.system.name}"]


def _axes(system: System) -> list[str]:
    """Axis statements: of those whose length has a name or number of its own, or, where the order
    of the axes asks for it, of all."""
    times = [a for a in system.axes.values() if a.name != BATCH]
    plain = dict.fromkeys([*(a for v in system.inputs for a in v.axes if a != BATCH), "t"])
    stated = [
        a for a in times
        if a.name not in plain or a.length != a.name.upper() or a.size is not None
    ]  # fmt: skip
    follow = [system.axes[a] for a in plain if a in system.axes and system.axes[a] not in stated]
    if [*stated, *follow] != times:
        stated = times
    return [
        f"axis   {a.name} : {a.length}{'' if a.size is None else f' = {size_text(a.size)}'}"
        for a in stated
    ]


def declarations(printer: Printer) -> list[str]:
    system, lines = printer.system, []
    if system.dims:
        # a layer's sizes are those of its caller by now
        dims = {d: s for d, s in system.dims.items() if s is None or "." not in d}
        sized = (d if s is None else f"{d} = {size_text(s)}" for d, s in dims.items())
        lines += _statement("dim", sized)
    lines += _axes(system)
    inputs = [v for v in system.leaves("input") if v.name not in printer.hidden]
    lines += _statement("input", _grouped(printer, inputs))
    for value in system.leaves("uniform"):
        if value.name not in printer.hidden:
            text = f"input  {printer.left(value)} : {type_text(value)}"
            lines.append(f"{text}  # uniform in [0, 1)")
    for rank in (2, 1, 0):
        some = [v for v in system.params if min(v.type.rank, 2) == rank]
        lines += _statement("param", _grouped(printer, some))
    lines += _constants(printer)
    for state in system.states:
        lines.append(f"# {printer.name(state.prev)} of a step is {printer.name(state.next)} "
                     "of the step before")  # fmt: skip
    return lines


def _statement(keyword: str, items: Iterable[str]) -> list[str]:
    """``param  U : [m, n],  W : [m, m]`` on as many lines as are needed."""
    lines: list[str] = []
    for item in items:
        separator = ", " if keyword == "dim" else ",  "
        if lines and len(lines[-1]) + len(separator) + len(item) <= _WIDTH:
            lines[-1] += separator + item
        else:
            lines.append(f"{keyword:<6} {item}")
    return lines


def _grouped(printer: Printer, values: Iterable[Value]) -> list[str]:
    """``U, W : [m, n] ~ normal(0, 0.1)``: what is of one kind stands together."""
    groups: dict[str, list[str]] = {}
    for value in values:
        groups.setdefault(type_text(value), []).append(printer.left(value))
    return [f"{', '.join(names)} : {type_}" for type_, names in groups.items()]


def type_text(value: Value) -> str:
    """``[m, n] ~ normal(0, 0.1)``, ``index(k)``, ``flag``; a default initialiser is left out."""
    attrs: dict[str, Any] = dict(value.attrs)
    if value.type.kind == "flag":
        return "flag"
    if value.type.kind == "index":
        return f"index({attrs.get('steps') or size_text(attrs.get('range', 0))})"
    text = shape_text(value.type.shape)
    default = ("glorot",) if value.type.rank >= 2 else ("zeros",)
    init = attrs.get("init", default)
    return text if init == default else f"{text} ~ {_initialiser_text(init)}"


def _initialiser_text(init: tuple[Any, ...]) -> str:
    """``normal(0, 0.1)`` from its name and its arguments, numbers or formulas over dims."""
    texts = [_formula(a)[0] for a in init[1:]]
    return f"{init[0]}({', '.join(texts)})" if texts else str(init[0])


def _formula(item: Any) -> Part:
    if isinstance(item, Dim):
        return size_part(item)
    if not isinstance(item, tuple):
        return constant_part(item)
    parts = [_formula(a) for a in item[1:]]
    if item[0] in INFIX:
        return infix(item[0], *parts)
    if item[0] == "neg":
        return f"-{enclosed(parts[0], PRODUCT)}", SUM
    return f"{item[0]}({parts[0][0]})", ATOM


def statements(printer: Printer) -> dict[str, str]:
    """The losses and metrics that no equation reads, as statements: ``metric accuracy = …``."""
    system = printer.system
    visible = [v for v in system.values.values() if v.name not in printer.hidden]
    read = {r.source for v in visible for _, r in v.all_reads()} | printer.hidden
    read |= {*system.outputs, *(s.next for s in system.states)}
    out: dict[str, str] = {}
    for keyword, named in (("loss", system.losses), ("metric", system.metrics)):
        for key, name in named.items():
            if name not in read and name not in out:
                start = started(printer, keyword, key)
                over = {BATCH} if keyword == "loss" else set(system.axes)
                inner = averaged(system, system[name], printer.inlined, over)
                right = printer.read(inner) if inner else printer.expression(system[name])
                out[name] = f"{start} {right}"
    return out


def started(printer: Printer, keyword: str, key: str) -> str:
    """``loss``, ``loss L =`` or ``metric L =``"""
    name = objective_name(printer.system, keyword, key)
    return f"{keyword:<6} {name} =" if name else keyword.ljust(6)


def objective_name(system: System, keyword: str, key: str) -> str:
    """The name of a loss or a metric, if it has one. Losses without one have numbers, and those
    of a target whose distribution is gone keep apart from its name."""
    key = key.removeprefix("loss.") if keyword == "loss" else key
    if key in system.values and system[key].op in GIVEN:
        key = f"{keyword}_{key}"
    return "" if keyword == "loss" and (key == "loss" or not key.isidentifier()) else key


def _equations(printer: Printer) -> list[str]:
    given = [line for v in printer.system.inputs for line in printer.boundaries(v)]
    lines, own, fixed = list[str](), statements(printer), constants(printer.system)
    for values, text in printer.equations():
        for value in values:
            lines += printer.boundaries(value)
        if values[0].name not in own and not (len(values) == 1 and values[0].name in fixed):
            lines.append(text)
    return given + lines


def _constants(printer: Printer) -> list[str]:
    """``const  A : [d, d] = …``"""
    lines, fixed = [], constants(printer.system)
    for value in printer.shown():
        if value.name in fixed:
            filled = printer.system[value.reads[0].source] if value.op == "copy" else value
            shape = f" : {shape_text(value.type.shape)}" if value.type.rank else ""
            if filled.op == "broadcast" and filled.name in printer.inlined | {value.name}:
                lines.append(
                    f"const  {printer.name(value.name)}{shape} = {printer.read(filled.reads[0])}"
                )
            else:
                lines.append(f"const  {printer.name(value.name)} = {printer.expression(value)}")
    return lines


def _results(printer: Printer) -> list[str]:
    system, lines = printer.system, list[str]()
    for value in system.leaves("target"):
        said = printer.left(value) + f" : {type_text(value)}"
        if value.name in system.targets:
            said += f" ~ {printer.distribution(value.name)}"
            when = system.targets[value.name].when
            said += f" when {printer.read(when)}" if when else ""
        lines.append(f"target {said}")
    own = statements(printer)
    lines += own.values()
    for keyword, named in (("loss", system.losses), ("metric", system.metrics)):
        for key, name in named.items():
            if name not in own and name not in printer.hidden:
                lines.append(f"{started(printer, keyword, key)} {printer.left(system[name])}")
    if system.outputs:
        lines.append(f"output {', '.join(map(printer.name, system.outputs))}")
    return lines


# ---------------------------------------------------------------- the table of values


def roles(system: System) -> dict[str, str]:
    """What each value is: ``input``, ``target``, ``param``, else of ``state``, ``output``,
    ``loss``, ``metric`` what applies, and ``value`` where nothing does."""
    ring = {
        name: members
        for members in nx.strongly_connected_components(system.graph)
        for name in members
    }
    states = {
        r.source
        for value in system.values.values()
        for r in value.reads
        if r.source in ring[value.name] and any(r.shifts(a) for a, _ in r.at)
    }
    states |= {s.prev for s in system.states}
    found = {}
    for name, value in system.values.items():
        given = value.op in ("input", "target", "param", "uniform")
        tests = {
            value.op: given,
            "state": name in states,
            "output": name in system.outputs,
            "loss": name in system.losses.values(),
            "metric": name in system.metrics.values(),
        }
        found[name] = ", ".join(r for r, holds in tests.items() if holds) or "value"
    return found


def parameter_count(system: System) -> Size:
    """How many numbers are learned."""
    return _count(system.params)


def _count(params: Iterable[Value]) -> Size:
    total: Size = 0
    for value in params:
        count: Size = 1
        for size in value.type.shape:
            count = count * size
        total = total + count
    return total


def _shape(value: Value) -> str:
    text = type_text(value) if {"range", "steps"} & dict(value.attrs).keys() else str(value.type)
    return text.removesuffix(" []")


def table(system: System, layers: Mapping[str, str] | None = None) -> str:
    """The values and their shapes, and how many parameters there are, as ``rnnc check`` shows.

    What is inside of ``layers`` is left out; a second table has those that call a model, which is
    given by their names, with their sizes and the numbers of their parameters.
    """
    printer, role, layers = Printer(system), roles(system), layers or {}
    rows = [("name", "role", "shape", "axes")]
    for value in printer.shown():
        if value.name.partition(".")[0] not in layers or value.name in layers:
            axes = ", ".join(a for a in value.axes)
            rows.append((value.name, role[value.name], _shape(value), axes))
    lines = _columns(rows)
    if layers:
        rows = [("layer", "model", "sizes", "parameters")]
        for name, model in layers.items():
            if model in layers:  # it has the weights
                continue
            sizes = ", ".join(f"{d} = {size_text(n)}" for d, n in _sizes(system, name).items())
            count = _count(p for p in system.params if p.name.startswith(f"{name}."))
            rows.append((name, model, sizes, _count_text(system, count)))
        lines += ["", *_columns(rows)]
    total = _count_text(system, parameter_count(system))
    return "\n".join([*lines, "", f"parameters: {total}", ""])


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines of a table, whose first row are the titles."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(x.ljust(w) for x, w in zip(r, widths, strict=True)).rstrip() for r in rows]
    lines.insert(1, "  ".join("-" * w for w in widths))
    return lines


def _sizes(system: System, layer: str) -> dict[str, Size]:
    """The sizes of a layer; of a stack its depth, and the sizes of the first layer: the others
    read what is below them."""
    known = {d: s for d, s in system.dims.items() if s is not None}
    own = {d.removeprefix(f"{layer}."): s for d, s in known.items() if d.startswith(f"{layer}.")}
    stack = {d.partition(".")[0] for d in own if d[0].isdigit()}
    if stack:
        own = {d.removeprefix("1."): s for d, s in own.items() if d.startswith("1.")}
    sizes = {d: s for d, s in own.items() if "." not in d}
    return {**({"depth": len(stack)} if stack else {}), **sizes}


def _count_text(system: System, size: Size) -> str:
    """``m*n + m = 40``: a number of parameters, with the number itself where sizes are known."""
    text = f"{size:,}" if isinstance(size, int) else str(size)
    known = {d: s for d, s in system.dims.items() if s is not None}
    number = size
    for _ in known:  # a dim may be given by others
        number = substitute(number, known)
    if number != size:
        text += f" = {number:,}" if isinstance(number, int) else f" = {number}"
    return text
