"""Sizes that cannot be, found before anything is allocated."""

from __future__ import annotations

from math import prod

from rnnc.graph.names import owner_of
from rnnc.graph.ops import GIVEN
from rnnc.graph.system import System, Value
from rnnc.graph.types import Dim, Read, names_of
from rnnc.source import Diagnostic, Span

MOST_BYTES = 1 << 34  # of one array, in float64, at one step of one sequence: 16 GiB
MOST_FIXED = 1 << 28  # of all that is computed while compiling: 256 MiB
MOST_LAG = 10_000  # steps that a value is kept for
MOST_TOLD = 10

_GIVEN = GIVEN | {"step", "length", "training"}


def oversized(system: System) -> list[Diagnostic]:
    """A diagnostic for every value whose shape is impossible or needs too much memory."""
    out = _open_dims(system)
    for v in system.values.values():
        for problem in (_shape(v), *(_lag(v, r) for _, r in v.all_reads())):
            if problem is not None and problem.span not in {d.span for d in out}:
                out.append(problem)
        if len(out) >= MOST_TOLD:
            return out
    return out or _together(system)


def _open_dims(system: System) -> list[Diagnostic]:
    """Dims that no shape mentions, but a lag or a number does: they need a value, too."""
    out: dict[str, Diagnostic] = {}
    for v in system.values.values():
        offsets = [i.offset for _, r in v.all_reads() for _, i in r.at]
        for name in sorted(_names((*v.attrs, *offsets)) - out.keys()):
            out[name] = Diagnostic(
                "RNN035",
                f"the size `{name}` of model {system.name} is not set",
                _span(v),
                hint=f"on the command line --set {name}=…; in Python {name}=…",
            )
    return list(out.values())


def _names(attr: object) -> set[str]:
    """The dims mentioned in an attribute, however deep."""
    if isinstance(attr, tuple):
        return {name for part in attr for name in _names(part)}
    return set(names_of(attr)) if isinstance(attr, Dim) else set()


def _shape(v: Value) -> Diagnostic | None:
    impossible = [s for s in v.type.shape if isinstance(s, Dim) or s < 1]
    if impossible:
        message = f"{_name(v)} would have a size of {impossible[0]}"
        return Diagnostic("RNN036", message, _span(v), hint="a size is a whole number from 1 on")
    if _bytes(v) > MOST_BYTES:
        return _too_large(f"{_name(v)} {_sizes(v)}", _bytes(v), MOST_BYTES, _span(v))
    return None


def _lag(v: Value, r: Read) -> Diagnostic | None:
    for axis, index in r.at:
        if isinstance(index.offset, Dim) and not names_of(index.offset):
            message = f"`{r.source}` is read {index.offset} steps away: no whole number"
            return Diagnostic("RNN036", message, _span(v))
        if isinstance(index.offset, int) and abs(index.offset) > MOST_LAG:
            message = f"`{r.source}` is read {abs(index.offset)} steps of {axis} away"
            hint = f"the most is {MOST_LAG}"
            return Diagnostic("RNN037", message, _span(v), hint=hint)
    return None


def _together(system: System) -> list[Diagnostic]:
    """Sums that are too large where no single value is."""
    total = sum(_bytes(v) for v in system.params)
    if total > MOST_BYTES:
        what = f"the parameters of {system.name} together"
        largest = max(system.params, key=_bytes)
        return [_too_large(what, total, MOST_BYTES, _span(largest))]
    fixed = _fixed(system)
    total = sum(_bytes(v) for v in fixed)
    if total > MOST_FIXED:
        largest = max(fixed, key=_bytes)
        what = "what is computed while compiling, such as this,"
        return [_too_large(what, total, MOST_FIXED, _span(largest))]
    return []


def _fixed(system: System) -> list[Value]:
    """The values that neither data, nor parameters, nor steps reach."""
    reached = {v.name for v in system.values.values() if v.op in _GIVEN or v.axes}
    todo = list(reached)
    while todo:
        for reader in system.graph.successors(todo.pop()):
            if reader not in reached:
                reached.add(reader)
                todo.append(reader)
    return [v for v in system.values.values() if v.name not in reached]


def _bytes(v: Value) -> int:
    return 8 * prod(s for s in v.type.shape if isinstance(s, int))


def _sizes(v: Value) -> str:
    shown = (f"{s:.0e}" if isinstance(s, int) and s > 10**15 else str(s) for s in v.type.shape)
    return f"[{', '.join(shown)}]"


def _span(v: Value) -> Span | None:
    return v.origins[0] if v.origins else None


def _name(v: Value) -> str:
    """A value in the user's words: its name, or for a part of an expression its text."""
    text = " ".join(v.origins[0].text.split()) if v.origins else ""
    part = owner_of(v.name) != v.name
    return f"`{text}`" if part and 0 < len(text) <= 40 else f"`{owner_of(v.name)}`"


def _too_large(what: str, size: int, most: int, span: Span | None) -> Diagnostic:
    message = f"{what} would need {_amount(size)}, more than {_amount(most)}"
    return Diagnostic("RNN037", message, span, hint="choose smaller sizes")


def _amount(size: int) -> str:
    for unit, factor in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20)):
        if size >= factor:
            amount = size // factor
            return f"{amount:,} {unit}" if amount < 10**6 else f"over a million {unit}"
    return f"{size:,} bytes"
