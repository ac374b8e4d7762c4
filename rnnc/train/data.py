"""Data to train on: where they come from, what they say about sizes, and how they are cut.

Whatever form they have, data end as a :class:`Dataset`, arrays by input name with the sequences
first. A text becomes as many sequences as a batch holds, each one long stretch of it.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnc.api import Spec
from rnnc.graph.names import LENGTHS, canonical
from rnnc.graph.system import Value
from rnnc.graph.types import BATCH, Dim, Size
from rnnc.runtime.lengths import ROLE
from rnnc.runtime.ports import PortInfo, brackets, check_inputs
from rnnc.runtime.weights import read_weights
from rnnc.source import DataError, UsageError
from rnnc.syntax import tree
from rnnc.train.looks import check_finite, check_rank
from rnnc.train.ragged import padded
from rnnc.train.text import Text

NDA = NDArray[Any]
Arrays = dict[str, NDA]
ByName = Mapping[str, ArrayLike | Sequence[ArrayLike] | Sequence[str]]
Data = ByName | str | Path | Sequence[str | Path] | Text
Given = Arrays | Text  # data as they were read

DATA_ROLES = ("input", "target")  # of ports; the others follow from these or are kept by training


@dataclass(frozen=True)
class Extent:
    """The sequences of a run, the steps of the longest, and the number of steps of each, by the
    name of the length."""

    sequences: int
    steps: int | None
    own: Mapping[str, NDA]


@dataclass(frozen=True)
class Dataset:
    """Sequences: arrays by input name, [sequences, …]; those in ``timed`` are
    [sequences, steps, …]. ``steps`` is None where no array has steps. ``lengths`` gives the
    open dimensions of each array with the name of their length, and the array that has the
    lengths of each sequence, if there is one."""

    arrays: Arrays
    timed: frozenset[str]
    sequences: int
    steps: int | None
    lengths: Mapping[str, Sequence[tuple[int, str, str | None]]]

    def piece(self, rows: NDA | slice, chunk: int, size: int | None) -> Arrays:
        """Some sequences, of as many steps as the longest of them has; of their steps the
        ``chunk``-th ``size`` ones (all for None)."""
        if size is None:
            chosen = {name: array[rows] for name, array in self.arrays.items()}
            for name, dims in self.lengths.items():
                for place, _, own in dims:
                    if own is not None:
                        inside: Any = (slice(None),) * place + (slice(chosen[own].max()),)
                        chosen[name] = chosen[name][inside]
            return chosen
        steps = slice(chunk * size, (chunk + 1) * size)
        return {
            name: array[rows, steps] if name in self.timed else array[rows]
            for name, array in self.arrays.items()
        }

    def extent(self, arrays: Mapping[str, Any]) -> Extent:
        """How much a run over these arrays covers."""
        count = len(next(iter(arrays.values())))
        own = {
            length: np.full(count, arrays[name].shape[place]) if who is None else arrays[who]
            for name, dims in self.lengths.items()
            for place, length, who in dims
        }
        steps = next((arrays[name].shape[1] for name in sorted(self.timed)), None)
        return Extent(count, steps, own)

    def chunk_count(self, size: int | None) -> int:
        """How many chunks a sequence has."""
        return 1 if size is None or self.steps is None else -(-self.steps // size)

    def digest(self) -> str:
        """A name for the content of all arrays; other data have another one."""
        hashed = hashlib.blake2b(digest_size=16)
        for name in sorted(self.arrays):
            array = np.ascontiguousarray(self.arrays[name])
            hashed.update(f"{name} {array.dtype} {array.shape}".encode())
            hashed.update(array.reshape(-1).view(np.uint8).data)
        return hashed.hexdigest()


def dataset(ports: Sequence[PortInfo], given: Mapping[str, ArrayLike], dtype: str) -> Dataset:
    """The data of a model with these ports, checked once and in its dtype.

    :raises DataError: a name is unknown or missing, an array does not fit, there are none.
    """
    wanted = [p for p in ports if p.role in (*DATA_ROLES, ROLE) and p.dims[:1] == (BATCH,)]
    arrays = check_inputs(wanted, given, dtype)
    check_finite(arrays)  # float32 may not hold what float64 does
    timed = frozenset(p.name for p in wanted if len(p.dims) > 1 and isinstance(p.dims[1], str))
    if not wanted:
        raise DataError("the model takes no data, so there is nothing to train on")
    steps = {arrays[name].shape[1] for name in timed}
    count = len(arrays[wanted[0].name])
    lengths = {
        p.name: [(i, d, dict(p.own).get(i)) for i, d in enumerate(p.dims) if i and _open(d)]
        for p in wanted
    }
    return Dataset(arrays, timed, count, steps.pop() if len(steps) == 1 else None, lengths)


def _open(size: str | int) -> TypeGuard[str]:
    return isinstance(size, str)


# ---------------------------------------------------------------- where they come from


def read_data(data: Data, spec: Spec) -> Given:
    """Arrays by name, or a text, from whatever was given.

    Files are ``.npz`` and ``.safetensors`` (arrays by name), ``.npy`` (named like its input, or
    given as ``NAME=FILE``), and ``.txt``.

    :raises UsageError: a file is missing, damaged, of another kind.
    :raises DataError: a file holds nothing that the model takes.
    """
    if isinstance(data, Text):
        return data
    if isinstance(data, Mapping):
        return padded(spec, data)
    items = _items(data)
    if not items:
        raise UsageError("there are no data: give arrays, files or a text")
    if all(Path(item).suffix == ".txt" for item in items):
        return Text.read(items)
    arrays: Arrays = {}
    for item in items:
        for name, array in _read_file(str(item), spec).items():
            if name in arrays:
                raise UsageError(f"{name} is given twice, the second time by {item}")
            arrays[name] = array
    return arrays


def _items(data: object) -> list[str | Path]:
    items = list(data) if isinstance(data, (list, tuple)) else [data]
    files = [item for item in items if isinstance(item, (str, Path))]
    if len(files) < len(items):
        kinds = " and ".join(dict.fromkeys(_kind(item) for item in items))
        raise DataError(
            'data are arrays by name ({"x": x, "y": y}), names of files, or a rnnc.train.Text, '
            f"not {kinds}"
        )
    return files


def _kind(data: object) -> str:
    return "None" if data is None else type(data).__name__


def data_files(data: object) -> list[str]:
    """The files that data come from."""
    items = data if isinstance(data, (list, tuple)) else [data]
    return [str(_named(str(i))[1]) for i in items if isinstance(i, (str, Path))]


def _named(item: str) -> tuple[str, Path]:
    """``x=FILE`` as name and file; the name is empty where there is none."""
    name, equals, rest = item.partition("=")
    if not equals or Path(item).is_file():
        return "", Path(item)
    return name, Path(rest)


def _read_file(item: str, spec: Spec) -> Arrays:
    name, path = _named(item)
    if path.suffix not in (".npz", ".npy", ".safetensors"):
        what = "texts are given apart (--text)" if path.suffix == ".txt" else "not " + path.name
        raise UsageError(f"data are .npz, .npy or .safetensors files; {what}")
    if path.suffix == ".npy":
        return {canonical(name or path.stem): _array(path)}
    if name:
        raise UsageError(f"{item}: a {path.suffix} file has names of its own")
    arrays = {canonical(n): a for n, a in read_weights(path, "data").items()}
    known = {v.name for v in spec.system.inputs}
    known |= {axis + LENGTHS for axis in spec.system.time_axes()}
    if not known & arrays.keys():
        raise DataError(
            f"{path} holds {', '.join(arrays) or 'nothing'}; "
            f"{spec.name} takes {', '.join(known) or 'nothing'}"
        )
    if others := sorted(arrays.keys() - known):
        warnings.warn(f"{path} also holds {', '.join(others)}, which {spec.name} does not take",
                      stacklevel=8)  # fmt: skip
    return {n: a for n, a in arrays.items() if n in known}


def _array(path: Path) -> NDA:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UsageError(f"there is no data file {path}") from None
    except Exception as error:  # whatever NumPy makes of a damaged file
        raise UsageError(f"{path} cannot be read as an array: {error}") from error
    if not isinstance(array, np.ndarray):
        raise UsageError(f"{path} holds several arrays: name it .npz")
    return array


# ---------------------------------------------------------------- what they say about sizes


def sized(spec: Spec, given: Arrays, symbols: Mapping[str, int]) -> Spec:
    """The spec with the sizes that the data have, where the caller set none.

    Dims that are open, or have only a default number, take the size of the arrays; ``symbols``
    is the size of the vocabulary for inputs that texts feed.

    :raises DataError: an array has too few or too many dimensions, two disagree about a size, or
        an open size could only be guessed.
    """
    free = free_dims(spec)
    found: dict[str, tuple[int, str]] = {}

    def learn(size: object, number: int, who: str) -> None:
        name = str(size)
        if not isinstance(size, Dim) or name not in free or number < 1:
            return
        known, other = found.setdefault(name, (number, who))
        if known != number:
            raise DataError(f"{name} is {known} in {other}, but {number} in {who}")

    for v in spec.system.inputs:
        if v.name in given:
            shape = given[v.name].shape
            check_rank(spec, v, given[v.name])
            for size, number in zip(v.type.shape, shape[len(v.axes) :], strict=True):
                learn(size, number, v.name)
        if v.name in symbols:
            learn(range_of(v), symbols[v.name], "the vocabulary")
    for v in spec.system.inputs:
        _open_range(v, given, {d for d in free if spec.system.dims[d] is None} - found.keys())
    new = {n: size for n, (size, _) in found.items() if spec.system.dims[n] != size}
    return type(spec)(spec.source, spec.name, {**spec.sizes, **new}) if new else spec


def free_dims(spec: Spec) -> set[str]:
    """The dims that the caller did not set, and that are no formula over others."""
    return {
        item.name
        for statement in spec.tree.statements
        if isinstance(statement, tree.DimStatement)
        for item in statement.dims
        if item.name not in spec.sizes and isinstance(item.default, tree.Number | None)
    }


def range_of(v: Value) -> Size | None:
    """How many values an index has; None for what is no index."""
    return next((a for key, a in v.attrs if key == "range"), None)  # type: ignore[return-value]


def _open_range(v: Value, given: Arrays, still_open: set[str]) -> None:
    """A number of classes is not guessed from the classes that happen to occur."""
    size = range_of(v)
    if str(size) in still_open and v.name in given and given[v.name].size:
        array = given[v.name]
        if array.dtype.kind in "iu":
            raise DataError(
                f"the size {size} is not set; {v.name} goes from {array.min()} to {array.max()}, "
                f"so set {size}={int(array.max()) + 1}, or more if there are classes without data"
            )


# ---------------------------------------------------------------- validation


def split(given: Arrays, fraction: float, seed: int) -> tuple[Arrays, Arrays]:
    """Training and validation data: a random ``fraction`` of the sequences is kept apart.

    :raises DataError: one of the two would be empty.
    """
    counts = {len(a) for a in given.values() if a.ndim}
    if len(counts) != 1:
        shapes = ", ".join(f"{n} {brackets(a.shape)}" for n, a in given.items())
        raise DataError(f"the arrays have different numbers of sequences: {shapes or 'none'}")
    count = counts.pop()
    apart = _apart(count, fraction, "sequence")
    rows = np.random.default_rng([seed, count]).permutation(count)
    first, second = np.sort(rows[apart:]), np.sort(rows[:apart])
    return {n: a[first] for n, a in given.items()}, {n: a[second] for n, a in given.items()}


def split_text(numbers: NDA, fraction: float) -> tuple[NDA, NDA]:
    """The beginning of a text to train on, and its end to validate with."""
    apart = _apart(len(numbers), fraction, "symbol")
    return numbers[:-apart], numbers[-apart:]


def _apart(count: int, fraction: float, noun: str) -> int:
    if not 0 < fraction < 1:
        raise UsageError(f"validation is a share between 0 and 1, such as 0.1, not {fraction}")
    apart = round(count * fraction)
    if not 0 < apart < count:
        raise DataError(
            f"of {count} {noun}{'' if count == 1 else 's'}, a share of {fraction} leaves "
            f"{apart} for validation: there must be some for it and some to train on"
        )
    return apart
