"""What a compiled model takes and gives, and the check of arrays where they enter it.

Both runtimes share this: a model carries the description of its ports as JSON, and whatever is
given to it is checked here first, since onnxruntime ends the process on some wrong inputs.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnc.graph.names import PROMPT, axis_of, canonical
from rnnc.graph.types import BATCH, Kind
from rnnc.numbers import checked_seed
from rnnc.runtime.lengths import (
    ROLE,
    check_lengths,
    check_own_steps,
    without_padding,
)
from rnnc.source import DataError, UsageError

NDA = NDArray[Any]
Pairs = tuple[tuple[str, str], ...]

KEY = "rnnc"  # of the metadata that hold the ports
FORMAT = 1
TAKEN: dict[Kind, str] = {"real": "fiu", "index": "iu", "flag": "b"}  # NumPy's kinds of dtype
WORDS: dict[Kind, str] = {"real": "real numbers", "index": "whole numbers", "flag": "booleans"}


@dataclass(frozen=True, slots=True)
class PortInfo:
    """One array at the edge of a model: ``batch`` first, then time, then features.

    ``dims`` holds numbers and the names of lengths (``batch``, ``T``); an index input takes
    0..limit-1. For the roles see ``passes.plan.Port``; ``along`` is the
    length that those of the sequences do not exceed. ``own`` are dimensions along which
    sequences have lengths of their own, each with the port of these. ``times`` are the axes of
    the dimensions after the batch; ``size`` is how the spec writes ``limit``; ``most`` is the
    port of the lengths that the steps in each sequence do not exceed.
    """

    name: str
    role: str
    dims: tuple[str | int, ...]
    kind: Kind = "real"
    limit: int | None = None
    along: str | int | None = None
    own: tuple[tuple[int, str], ...] = ()
    times: tuple[str, ...] = ()
    size: str | None = None
    most: str | None = None

    def __str__(self) -> str:
        limit = self.limit or (self.role != ROLE and self.along)
        kind = f"index({limit}) " if limit else f"{self.kind} "
        return f"{self.name} : {'' if self.kind == 'real' else kind}{brackets(self.dims)}"


@dataclass(frozen=True)
class Ports:
    """All ports of a model; ``states`` pairs the input that carries a value along a sequence
    with the output that goes there for the next call, ``updates`` does so for what a training
    step changes: the parameters and the optimiser's state."""

    name: str
    inputs: tuple[PortInfo, ...]
    params: tuple[PortInfo, ...]
    outputs: tuple[PortInfo, ...]
    states: Pairs = ()
    updates: Pairs = ()
    dtype: str = "float32"
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def weights_given(self) -> bool:
        """Whether the weights come with each call, rather than being part of the model."""
        return bool(self.extra.get("weights_given"))

    @property
    def prompts(self) -> dict[str, PortInfo]:
        """Of a model that draws sequences the inputs for their beginnings, by their names."""
        return {p.name.removesuffix(PROMPT): p for p in self.inputs if p.name.endswith(PROMPT)}


# ---------------------------------------------------------------- to and from JSON


class _Type(Protocol):
    @property
    def dims(self) -> tuple[str | int, ...]: ...
    @property
    def kind(self) -> Kind: ...


class _Port(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def type(self) -> _Type: ...
    @property
    def limit(self) -> int | None: ...
    @property
    def along(self) -> str | None: ...
    @property
    def times(self) -> tuple[str, ...]: ...


class _Plan(Protocol):  # a passes.plan.Plan, which is above this layer
    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> Sequence[_Port]: ...
    @property
    def params(self) -> Sequence[_Port]: ...
    @property
    def outputs(self) -> Sequence[_Port]: ...
    @property
    def length_names(self) -> Mapping[str, str]: ...
    @property
    def axes(self) -> Mapping[str, int | tuple[str, int]]: ...


def ports_of(
    plan: _Plan,
    states: Pairs = (),
    updates: Pairs = (),
    dtype: str = "float32",
    sizes: Mapping[str, str] | None = None,
    **extra: Any,
) -> Ports:
    """The ports of a Plan; ``states`` and ``updates`` are pairs (previous, next), ``sizes`` how
    the spec writes the ranges of its inputs."""

    own = {plan.length_names[axis_of(p.name)]: p.name for p in plan.inputs if p.role == ROLE}

    times = ((axis, size) for axis, size in plan.axes.items() if axis != BATCH)
    named = ((plan.length_names[axis], size) for axis, size in times)
    fixed = {length: size for length, size in named if isinstance(size, int)}

    def info(p: _Port) -> PortInfo:
        dims = tuple(
            d if isinstance(d, int) or d == BATCH else plan.length_names[d] for d in p.type.dims
        )
        along: str | int | None = p.along
        if p.role == ROLE:
            along = plan.length_names[axis_of(p.name)]
        most = None if p.role == ROLE else own.get(str(along))
        if isinstance(along, str):
            along = fixed.get(along, along)
        times = enumerate((plan.length_names[axis] for axis in p.times), dims[:1] == (BATCH,))
        padded = tuple((i, own[length]) for i, length in times if length in own)
        size = (sizes or {}).get(p.name.removesuffix(PROMPT))
        return PortInfo(
            p.name, p.role, dims, p.type.kind, p.limit, along, padded, p.times, size, most
        )

    def infos(group: Sequence[_Port]) -> tuple[PortInfo, ...]:
        return tuple(map(info, group))

    return Ports(plan.name, infos(plan.inputs), infos(plan.params), infos(plan.outputs),
                 states, updates, dtype, extra)  # fmt: skip


def ports_json(
    plan: _Plan,
    states: Pairs = (),
    updates: Pairs = (),
    dtype: str = "float32",
    sizes: Mapping[str, str] | None = None,
    **extra: Any,
) -> str:
    """The ports of a Plan as text, for a model's metadata under :data:`KEY`."""
    table = {"format": FORMAT, **asdict(ports_of(plan, states, updates, dtype, sizes, **extra))}
    return json.dumps(table, ensure_ascii=False, separators=(",", ":"))


def parse_ports(text: str) -> Ports:
    """The inverse of :func:`ports_json`."""
    try:
        table = json.loads(text)
        if table["format"] > FORMAT:
            raise UsageError("the model was written by a newer rnnc")

        def infos(key: str) -> tuple[PortInfo, ...]:
            return tuple(
                PortInfo(**{
                    **p, "dims": tuple(p["dims"]), "own": tuple(map(tuple, p.get("own", ()))),
                    "times": tuple(p.get("times", ())),
                })
                for p in table[key]
            )  # fmt: skip

        def pairs(key: str) -> Pairs:
            return tuple((before, after) for before, after in table.get(key, ()))

        return Ports(table["name"], infos("inputs"), infos("params"), infos("outputs"),
                     pairs("states"), pairs("updates"), table["dtype"], table["extra"])  # fmt: skip
    except (ValueError, KeyError, TypeError) as e:
        raise UsageError(f"the description of the model's inputs is damaged: {e!r}") from e


# ---------------------------------------------------------------- what comes in


def check_inputs(
    ports: Sequence[PortInfo],
    arrays: Mapping[str, ArrayLike],
    dtype: str,
    *,
    seed: int = 0,
) -> dict[str, NDA]:
    """The arrays that a model is run with, one for each port, of the right dtype.

    States that are missing are zero, sequences whose lengths are missing full, uniform numbers
    are drawn from ``seed``.

    :raises DataError: a name is unknown or missing, an array does not fit its port, lengths
        disagree or are 0, an index is out of range.
    """
    by_name = {p.name: p for p in ports}
    arrays = {canonical(name): array for name, array in arrays.items()}
    for name in arrays:
        if name not in by_name:
            raise DataError(_unknown(name, by_name))
    arrays = without_padding(ports, arrays)
    checked: dict[str, NDA] = {}
    lengths: dict[str, tuple[int, str]] = {}  # and who says so
    ports = sorted(ports, key=_follows)  # blame what others follow from
    for p in ports:
        if p.name in arrays:
            checked[p.name] = array = check_array(p, arrays[p.name], dtype)
            told = [(p.name, int(array))] if p.role == "length" else zip(p.dims, array.shape)  # noqa: B905
            for d, n in told:
                if isinstance(d, str):
                    _length(lengths, d, n, p)
    for p in ports:
        if p.role == ROLE and p.name in checked:
            check_lengths(p, checked[p.name], _steps(p, lengths))
        elif p.along is not None and p.name in checked:
            _check_steps(p, checked[p.name], _steps(p, lengths))
            if p.most in checked:
                check_own_steps(p.name, checked[p.name], checked[p.most])
    for p in ports:
        if p.name in checked:
            continue
        if p.role == ROLE and BATCH in lengths and isinstance(_steps(p, lengths), int):
            checked[p.name] = np.full(lengths[BATCH][0], _steps(p, lengths), np.int64)
        elif p.role == "length" and p.name in lengths:
            checked[p.name] = np.asarray(lengths[p.name][0], np.int64)
        elif p.role in ("state", "uniform") and all(
            isinstance(d, int) or d in lengths for d in p.dims
        ):
            shape = tuple(d if isinstance(d, int) else lengths[d][0] for d in p.dims)
            if p.role == "uniform":
                checked[p.name] = uniform(p.name, shape, seed, dtype)
            else:
                checked[p.name] = np.zeros(shape, dtype_of(p.kind, dtype))
        else:
            raise DataError(f"the {_role(p)} {p.name} is missing; wanted is {p}")
    return checked


def fit(ports: Sequence[PortInfo], arrays: Mapping[str, Any], dtype: str) -> bool:
    """Whether arrays are just what the ports want, so that nothing is left to convert or to check:
    a quick answer, since a step of a small model takes microseconds. False in doubt."""
    if len(arrays) != len(ports):
        return False
    wanted = _DTYPES[dtype]
    lengths: dict[str | int, int] = {}
    for p in ports:
        array = arrays.get(p.name)
        if type(array) is not np.ndarray or array.dtype != wanted or p.kind != "real":
            return False
        if array.ndim != len(p.dims) or p.own:
            return False
        for n, d in zip(array.shape, p.dims):  # noqa: B905 - as many
            if n == 0 or lengths.setdefault(d, d if isinstance(d, int) else n) != n:
                return False
    return True


_DTYPES = {name: np.dtype(name) for name in ("float32", "float64")}


def _follows(p: PortInfo) -> bool:
    """Whether a missing port may follow from others."""
    return p.role in (ROLE, "length", "state", "uniform")


def check_array(p: PortInfo, data: ArrayLike, dtype: str) -> NDA:
    """One array as its port wants it; lengths with names may be anything but 0."""
    try:
        array = np.asarray(data)
    except ValueError as e:  # lists of different lengths
        raise DataError(f"{p.name} is no array: {e}; wanted is {p}") from e
    if array.size and array.dtype.kind not in TAKEN[p.kind]:
        way = _way(p) if array.dtype.kind in "fiub" else ""
        raise DataError(f"{p.name} holds {array.dtype}; wanted are {WORDS[p.kind]}: {p}{way}")
    if array.ndim != len(p.dims):
        raise DataError(_wrong_rank(p, array))
    for i, (n, d) in enumerate(zip(array.shape, p.dims, strict=True)):
        if isinstance(d, int) and n != d:
            raise DataError(
                f"{p.name} is {brackets(array.shape)}, but dimension {i} must be {d}: {p}"
            )
        if n == 0 and d != 0:
            what = "is an empty batch" if d == BATCH else f"has no steps ({d} = 0)"
            raise DataError(f"{p.name} is {brackets(array.shape)}: it {what}; wanted is {p}")
    if p.kind == "index" and p.limit and array.size:
        low, high = array.min(), array.max()
        if low < 0 or high >= p.limit:
            wrong = low if low < 0 else high
            raise DataError(
                f"{p.name} holds {wrong}; indices go from 0 to {p.limit - 1}{_more(p, wrong)}"
            )
    if p.role == "length" and array < 1:
        raise DataError(f"{p.name} = {array}; a length is at least 1")
    with np.errstate(over="ignore"):  # what float32 cannot hold is inf
        return array.astype(dtype_of(p.kind, dtype), copy=False)


def uniform(name: str, shape: tuple[int, ...], seed: int, dtype: str = "float64") -> NDA:
    """Numbers in [0, 1) that depend on the seed and the port's name alone."""
    entropy = np.random.SeedSequence([checked_seed(seed), *name.encode()])
    drawn = np.random.Generator(np.random.PCG64(entropy)).random(shape).astype(dtype)
    below = np.nextafter(np.ones((), dtype), np.zeros((), dtype))  # float32 may round up to 1
    return np.asarray(np.minimum(drawn, below))


def dtype_of(kind: Kind, real: str) -> str:
    """NumPy's name of a kind."""
    return {"real": real, "index": "int64", "flag": "bool"}[kind]


def brackets(dims: Iterable[str | int]) -> str:
    return f"[{', '.join(map(str, dims))}]"


def _role(p: PortInfo) -> str:
    return {"param": "weight", "uniform": "random input"}.get(p.role, p.role)


def _way(p: PortInfo) -> str:
    if p.kind == "index":
        return f"; use {p.name}.astype(int)"
    return f"; use {p.name}.astype(bool)" if p.kind == "flag" else ""


def _more(p: PortInfo, wrong: int) -> str:
    """The size that an index of that number needs."""
    if p.size is None or wrong < 0:
        return ""
    return f" ({p.size} = {p.limit}): correct it, or set {p.size} = {wrong + 1} or more"


def _unknown(name: str, ports: Mapping[str, PortInfo]) -> str:
    lower = {p.lower(): p for p in ports}
    close = difflib.get_close_matches(name.lower(), lower, 1)
    if close:
        return f"the model takes no {name}; did you mean {lower[close[0]]}?"
    return f"the model takes no {name}; it takes {', '.join(ports) or 'nothing'}"


def _wrong_rank(p: PortInfo, array: NDA) -> str:
    if p.role == ROLE:
        return f"{p.name} has {array.ndim} dimensions; wanted is one number for each sequence"
    if p.dims[:1] == (BATCH,) and array.ndim == len(p.dims) - 1:
        found = [d if isinstance(d, str) else n for n, d in zip(array.shape, p.dims[1:])]  # noqa: B905
        return (
            f"{p.name} is {brackets(found)}, rnnc arrays are batch-first {brackets(p.dims)}: "
            f"{p.name}[None] is a batch of one"
        )
    shape = brackets(array.shape)
    return f"{p.name} has {array.ndim} dimensions, {shape}; wanted are {len(p.dims)}: {p}"


def _steps(p: PortInfo, lengths: Mapping[str, tuple[int, str]]) -> str | int | None:
    """The number of steps that no length of these may exceed; no number where nobody tells it."""
    return lengths[str(p.along)][0] if str(p.along) in lengths else p.along


def _check_steps(p: PortInfo, array: NDA, most: str | int | None) -> None:
    """Numbers of steps are 1 to the length."""
    low, high = array.min(), array.max()
    if low < 1 or (isinstance(most, int) and high > most):
        wrong = low if low < 1 else high
        upto = f"{p.along} = {most}" if isinstance(p.along, str) else f"{most}"
        raise DataError(f"{p.name} holds {wrong}; its values are steps, 1 to {upto}")


def _length(lengths: dict[str, tuple[int, str]], d: str, n: int, p: PortInfo) -> None:
    known, who = lengths.setdefault(d, (n, p.name))
    if known != n:
        what = "sequences" if d == BATCH else f"steps ({d})"
        raise DataError(f"{p.name} has {n} {what}, {who} has {known}")
