"""What ``--input`` gives to a model: arrays in files, or a sequence that is typed.

x.npy, x=any.npy, data.npz      arrays, sequences first
w="a text", y="3 1 4"           one sequence: symbols of a vocabulary, numbers; given again a
                                    further one
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnnc.cli.arrays import read_archive, read_array
from rnnc.cli.common import say
from rnnc.source import DataError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rnnc.graph.system import System
    from rnnc.runtime.numpy_model import NumpyModel
    from rnnc.runtime.onnx_model import OnnxModel
    from rnnc.runtime.ports import PortInfo, Ports

    Model = NumpyModel | OnnxModel

FILES = (".npy", ".npz")
FLAGS = {"0": False, "1": True, "false": False, "true": True}

input_option = click.option(
    "-i", "--input", "inputs", multiple=True, metavar="[NAME=]FILE|NAME=VALUE",
    help='x.npy, x=any.npy, or data.npz with arrays by name; or one sequence, x="0.5 -1" or '
    'w="a text". May be given again.',
)  # fmt: skip


@dataclass(frozen=True)
class Item:
    """One ``--input``: the name, of a file alone that of the file, and a file or what is typed."""

    text: str
    name: str
    value: str
    alone: bool

    @property
    def file(self) -> Path | None:
        """The file, if the value looks like the name of one with arrays."""
        path = Path(self.value)
        return path if path.suffix in FILES else None


def items(inputs: Iterable[str]) -> list[Item]:
    """The parts of each ``--input``.

    :raises UsageError: there is neither a name nor a file of arrays.
    """
    return [_item(text) for text in inputs]


def _item(text: str) -> Item:
    name, equals, value = text.partition("=")
    path = Path(text)
    if path.suffix in FILES and (not equals or path.is_file()):
        return Item(text, path.stem, text, True)
    if not equals or not name:
        raise UsageError(
            f'--input {text:.60}: write NAME=FILE, NAME="a text" or NAME="3 1 4"; '
            "a file alone is .npy or .npz"
        )
    return Item(text, name, value, False)


def files(given: Iterable[Item]) -> list[Path]:
    """The files that are read."""
    return [item.file for item in given if item.file is not None]


def axes_with_lengths(given: Iterable[Item], system: System, mode: str) -> tuple[str, ...]:
    """The axes along which lengths are given, by name or in an archive, to a spec that is to be
    compiled in this mode."""
    from rnnc.graph.names import LENGTHS, axis_of

    takes = system.inputs if mode == "predict" else system.leaves("input")
    known = {system.axes[a].length for v in takes for a in v.axes}
    axes = []
    for item in given:
        archive = item.alone and item.file is not None and item.file.suffix == ".npz"
        for name in read_archive(Path(item.value)) if archive else [item.name]:
            axis = axis_of(name)
            if not name.endswith(LENGTHS):
                continue
            # an archive may hold more than the model takes
            if not archive or (axis in system.axes and system.axes[axis].length in known):
                axes.append(axis)
    return tuple(dict.fromkeys(axes))


# ---------------------------------------------------------------- what is typed


def is_text(ports: Ports, port: PortInfo) -> bool:
    """Whether a sequence of this input is typed as a text."""
    from rnnc.runtime.symbols import Symbols

    return len(port.dims) == 2 and Symbols(ports).fit(port)


def typed(ports: Ports, port: PortInfo, text: str) -> NDArray[Any]:
    """What is typed for one sequence of an input, ``[*steps, *features]``; of one that is a number
    for each sequence, ``[batch]``, or has no batch, all of it.

    :raises DataError: it is not what the input takes.
    """
    import numpy as np

    from rnnc.graph.types import BATCH
    from rnnc.runtime.symbols import Symbols

    if is_text(ports, port):
        return Symbols(ports).encode([text], port)[0]
    numbers = _numbers(ports, port, text)
    if len(port.dims) == 1:
        return numbers
    own = port.dims[1:] if port.dims[:1] == (BATCH,) else port.dims
    shape = [d if isinstance(d, int) else -1 for d in own]
    if shape.count(-1) > 1:
        raise DataError(f"a sequence of {port} has no order in which its numbers could be typed")
    if not port.dims and len(numbers) != 1:
        raise DataError(f"{port.name} is one number, not {len(numbers)}")
    try:
        return numbers.reshape(shape)
    except ValueError:
        each = int(np.prod([n for n in shape if n != -1]))
        wanted = f"{each} for each step" if -1 in shape else f"{each}"
        raise DataError(
            f"{len(numbers)} numbers; a sequence of {port.name} has {wanted}: {port}"
        ) from None


def _numbers(ports: Ports, port: PortInfo, text: str) -> NDArray[Any]:
    import numpy as np

    words = text.replace(",", " ").split()
    if port.kind == "real":
        return np.array([_number(word, float, "number") for word in words], float)
    if port.kind == "flag":
        return np.array([_number(w.lower(), FLAGS.__getitem__, "flag, 0 or 1") for w in words])
    why = "" if "vocabulary" in ports.extra else (
        ", and the model has no vocabulary: weights of a training on texts have one"
    )  # fmt: skip
    numbers = [_number(word, int, f"whole number{why}") for word in words]
    try:
        return np.array(numbers, np.int64)
    except OverflowError:
        raise DataError(f"{max(numbers, key=abs)} is too large") from None


def _number(word: str, kind: Any, what: str) -> Any:
    try:
        return kind(word)
    except (ValueError, KeyError):
        raise DataError(f"{word!r} is no {what}") from None


# ---------------------------------------------------------------- all inputs


def lacking(missing: Sequence[PortInfo], more: str = "") -> str:
    """Which inputs are missing, and how they are given."""
    lines = ["these inputs are missing:" if len(missing) > 1 else "an input is missing:"]
    lines += [f"  {p.name}, a number of steps" if p.role == "length" else f"  {p}" for p in missing]
    p = missing[0]
    way = f"--steps {p.name}=10" if p.role == "length" else f"--input {p.name}={p.name}.npy"
    lines.append(f"give {'them' if len(missing) > 1 else 'it'} as in {way}{more}")
    return "\n".join(lines)


class Inputs:
    """What is given for the inputs of a model, by name: arrays, and lists of what is typed for
    one sequence after the other. ``taken`` are the inputs that can be given.

    :raises UsageError: an item is no input, or none that could be read.
    :raises DataError: the model has no such input.
    """

    def __init__(self, ports: Ports, taken: Sequence[PortInfo], given: Sequence[Item]):
        self.ports = ports
        self.taken = {p.name: p for p in taken}
        self.values: dict[str, Any] = {}
        unnamed = []
        for item in given:
            name, file = self._known(item.name), item.file
            text = not item.alone and name in self.taken and is_text(ports, self.taken[name])
            if file is None or (text and not file.is_file()):
                self._type(name, item)
            elif file.suffix == ".npz":
                if not item.alone:
                    raise UsageError(f"--input {item.text}: an .npz file has names of its own")
                self._take_archive(file)
            elif item.alone and name not in self.taken and not self._ignored(name):
                unnamed.append(file)
            else:
                self._take(name, read_array(file))
        for file in unnamed:
            free = [
                n for n, p in self.taken.items()
                if p.role in ("input", "target") and n not in self.values
            ]  # fmt: skip
            if len(free) != 1:
                which = f"one of {', '.join(free)}" if free else "none is missing"
                raise UsageError(f"which input is {file}? ({which}); say --input NAME={file}")
            self._take(free[0], read_array(file))

    def arrays(self) -> dict[str, Any]:
        """The arrays, sequences first, those of several lengths with these beside them.

        :raises DataError: a symbol is unknown, or sequences do not fit each other.
        """
        from rnnc.runtime.given import given

        return given(self.ports, self.values, None)

    def complete(self) -> dict[str, Any]:
        """The same, once nothing is missing.

        :raises DataError: an input is missing.
        """
        missing = [p for n, p in self.taken.items() if p.role == "input" and n not in self.values]
        if missing:
            raise DataError(lacking(missing))
        return self.arrays()

    def ragged(self) -> set[str]:
        """The axes along which what is typed differs in its number of steps."""
        return {
            axis
            for name, rows in self.values.items() if isinstance(rows, list)
            for i, axis in enumerate(self.taken[name].times)
            if len({row.shape[i] for row in rows}) > 1
        }  # fmt: skip

    def _known(self, name: str) -> str:
        from rnnc.graph.names import canonical

        return name if name in self.taken else canonical(name)

    def _ignored(self, name: str) -> bool:
        """Whether these are lengths on which nothing that the model gives depends."""
        from rnnc.graph.names import LENGTHS

        compiled = self.ports.extra.get("lengths", ())
        return name not in self.taken and name in {axis + LENGTHS for axis in compiled}

    def _port(self, name: str) -> PortInfo:
        """:raises DataError: the model has no such input; it says what is near."""
        if name not in self.taken:
            from rnnc.runtime.ports import check_inputs

            check_inputs(list(self.taken.values()), {name: 0}, "float32")
        return self.taken[name]

    def _take(self, name: str, array: NDArray[Any]) -> None:
        if self._ignored(name):
            return
        name = self._port(name).name
        if name in self.values:
            raise UsageError(f"the input {name} is given twice")
        self.values[name] = array

    def _take_archive(self, path: Path) -> None:
        archive = read_archive(path)
        names = {self._known(n): n for n in archive}
        taken = {own: n for own, n in names.items() if own in self.taken}
        if not taken:
            raise DataError(
                f"{path} holds {', '.join(archive) or 'nothing'}; "
                f"the model takes {', '.join(self.taken) or 'nothing'}"
            )
        for own, name in taken.items():
            self._take(own, archive[name])
        others = [n for own, n in names.items() if own not in taken]
        if others:
            say("note", f"{path} also holds {', '.join(others)}, which the model does not take")

    def _type(self, name: str, item: Item) -> None:
        from rnnc.graph.types import BATCH

        port = self._port(name)
        try:
            value = typed(self.ports, port, item.value)
        except DataError as error:
            if is_text(self.ports, port):
                raise
            raise UsageError(
                f"--input {item.text}: {error}; arrays are read from .npy or .npz files"
            ) from None
        if port.dims[:1] != (BATCH,) or len(port.dims) == 1:
            self._take(name, value)
        elif isinstance(self.values.setdefault(name, []), list):  # a further sequence
            self.values[name].append(value)
        else:
            raise UsageError(f"the input {name} is given twice")
