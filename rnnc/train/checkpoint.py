"""Files of a training: weights that say what they are of, and checkpoints to go on from.

Both are ``.safetensors`` files (weights may be ``.npz``), written beside their place and then
renamed, so that there is always a whole one. Weights carry the model's name, the hash of the spec,
its dims and the vocabulary. A checkpoint also carries all else that the next step depends on: the
rest is drawn from the seed and the number of the step.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rnnc
from rnnc.api import Spec
from rnnc.files import replaced
from rnnc.graph.names import canonical
from rnnc.runtime.vocabulary import Vocabulary
from rnnc.runtime.weights import ABOUT, Weights, check_weights, read_weights
from rnnc.source import DataError, UsageError
from rnnc.train.data import free_dims

Arrays = dict[str, NDArray[Any]]

WEIGHTS = (".safetensors", ".npz")
CHECKPOINT = (".safetensors",)
FORMAT = "1"
KEY = "rnnc.checkpoint"


def check_suffix(path: str | Path, suffixes: Sequence[str], what: str) -> None:
    """Refuse the name of a file that cannot be written, before hours of work.

    :raises UsageError: the suffix is another one, or there is no such folder.
    """
    path = Path(path)
    if path.suffix not in suffixes:
        raise UsageError(f"{what} kept in {' or '.join(suffixes)} files, not {path.name}")
    if not Path(os.path.realpath(path)).parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} to write {path.name} to")


# ---------------------------------------------------------------- weights


def spec_hash(spec: Spec) -> str:
    """The SHA-256 of the spec's text, in hexadecimal."""
    return hashlib.sha256(spec.source.text.encode()).hexdigest()


def about(spec: Spec, vocabulary: Vocabulary | None) -> dict[str, str]:
    """What the metadata of weights say."""
    dims = {d: s for d, s in spec.bound.dims.items() if isinstance(s, int)}
    out = {
        "rnnc": rnnc.__version__,
        "model": spec.name,
        "spec.sha256": spec_hash(spec),
        "dims": json.dumps(dims, sort_keys=True),
    }
    if vocabulary is not None:
        out["vocabulary"] = vocabulary.to_json()
    return out


def save_weights(
    path: str | Path, weights: Weights, spec: Spec, vocabulary: Vocabulary | None = None
) -> None:
    """Write weights to a ``.safetensors`` or ``.npz`` file; the metadata are in either.

    :raises UsageError: the file is of another kind, or cannot be written.
    """
    check_suffix(path, WEIGHTS, "weights are")
    with replaced(path) as part:
        if part.suffix == ".npz":
            text = json.dumps(about(spec, vocabulary))
            _save_archive(part, {**weights, ABOUT: np.array(text)})
        else:
            _save_arrays(part, weights, about(spec, vocabulary))


def _save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: dict[str, str]) -> None:
    from safetensors.numpy import save

    # not its save_file, whose files only their owner may read
    path.write_bytes(save({n: np.asarray(a, order="C") for n, a in arrays.items()}, metadata))


def _save_archive(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """As np.savez does, which cannot take a parameter named "file"."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)


def metadata_of(path: str | Path) -> dict[str, str]:
    """The metadata of a file of weights; of other files, and of damaged ones, nothing."""
    path = Path(path)
    if not path.is_file():
        return {}
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                found = json.loads(str(archive[ABOUT])) if ABOUT in archive.files else {}
            return {str(key): str(value) for key, value in found.items()}
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, "numpy") as file:
                return dict(file.metadata() or {})
    except Exception:  # whatever the libraries make of a damaged file
        return {}  # whoever reads the arrays says so
    return {}


def vocabulary_in(metadata: Mapping[str, str]) -> Vocabulary | None:
    """The vocabulary that weights were trained with, if their metadata have one."""
    return Vocabulary.from_json(metadata["vocabulary"]) if "vocabulary" in metadata else None


def load_weights(path: str | Path, spec: Spec, dtype: str = "float32") -> Weights:
    """The weights of a file for this spec; those of a checkpoint, too.

    A spec whose text has changed since is worth a warning.

    :raises UsageError: the file cannot be read.
    :raises DataError: the weights do not fit; the message says of what model they are.
    """
    arrays, metadata = read_weights(path), metadata_of(path)
    if KEY in metadata:
        arrays = _group(arrays, "best") or _group(arrays, "weights")
    try:
        weights = check_weights(spec.shapes, arrays, dtype)
    except DataError as error:
        raise DataError(f"{path}: {error}{of_what(metadata, spec)}") from None
    if "spec.sha256" in metadata and metadata["spec.sha256"] != spec_hash(spec):
        warnings.warn(
            f"the spec has changed since {path} was written (for {metadata.get('model', '?')}); "
            "the weights still fit",
            stacklevel=2,
        )
    if others := sorted({canonical(n) for n in arrays} - spec.shapes.keys()):
        some = ", ".join(others[:8]) + (" …" if len(others) > 8 else "")
        warnings.warn(f"{path} also holds {some}, which {spec.name} does not have", stacklevel=2)
    return weights


def of_what(metadata: Mapping[str, str], spec: Spec) -> str:
    """Of what model weights are, and which of its dims this spec has otherwise."""
    if "model" not in metadata:
        return ""
    if metadata["model"] != spec.name:
        return f" (they are of {metadata['model']}, this is {spec.name})"
    ours = spec.bound.dims
    theirs = _dims(metadata).items()
    other = [f"{d} = {n} (here {ours[d]})" for d, n in theirs if ours.get(d, n) != n]
    return f" (they were trained with {', '.join(other)})" if other else ""


def sizes_in(path: str | Path, spec: Spec) -> dict[str, int]:
    """The sizes that the weights of a file were trained with, of dims that the caller did not
    set and that are open or another number in the spec."""
    metadata = metadata_of(path)
    if metadata.get("model") != spec.name:
        return {}
    free, ours = free_dims(spec), spec.system.dims
    return {d: n for d, n in _dims(metadata).items() if d in free and ours[d] != n}


def _dims(metadata: Mapping[str, str]) -> dict[str, int]:
    try:
        return {str(d): int(n) for d, n in json.loads(metadata.get("dims", "{}")).items()}
    except (ValueError, TypeError, AttributeError):
        return {}  # another program's metadata


# ---------------------------------------------------------------- checkpoints


@dataclass
class State:
    """All that a step of training depends on, and all that it changes.

    ``runs`` are the runs of the model in the current epoch, ``totals`` the sums of its losses and
    metrics; ``carried`` are the states at the end of the last chunk. ``best`` are the weights
    after the epoch with the least validation loss.
    """

    weights: Weights
    optimizer: Arrays = field(default_factory=dict)
    carried: Arrays = field(default_factory=dict)
    best: Weights = field(default_factory=dict)
    step: int = 0
    epoch: int = 0
    runs: int = 0
    totals: dict[str, tuple[float, float]] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float | None = None


GROUPS = ("weights", "optimizer", "carried", "best")
COUNTS = ("step", "epoch", "runs", "totals", "history", "best_epoch", "best_loss")


def save_checkpoint(
    path: str | Path,
    state: State,
    settings: Mapping[str, Any],
    spec: Spec,
    vocabulary: Vocabulary | None = None,
) -> None:
    """Write a checkpoint; ``settings`` must be the same when training goes on from it.

    :raises UsageError: the file cannot be written.
    """
    arrays = {
        f"{group}/{name}": array
        for group in GROUPS
        for name, array in getattr(state, group).items()
    }
    counts = {name: getattr(state, name) for name in COUNTS}
    metadata = {
        **about(spec, vocabulary),
        KEY: FORMAT,
        "state": json.dumps(counts),  # a float's digits are all there
        "settings": json.dumps(dict(settings), sort_keys=True),
    }
    with replaced(path) as part:
        _save_arrays(part, arrays, metadata)


def load_checkpoint(path: str | Path, settings: Mapping[str, Any], spec: Spec) -> State:
    """The state to go on from.

    :raises UsageError: there is no checkpoint, or it was made with other settings.
    :raises DataError: its weights do not fit the spec.
    """
    if not Path(path).is_file():
        raise UsageError(f"there is no checkpoint {path} to go on from")
    arrays, metadata = read_weights(path), metadata_of(path)
    if metadata.get(KEY) != FORMAT:
        what = "was written by another rnnc" if KEY in metadata else "is no checkpoint of rnnc"
        raise UsageError(f"{path} {what}")
    try:
        before = dict(json.loads(metadata["settings"]))
        counts: dict[str, Any] = json.loads(metadata["state"])
        counts["totals"] = {name: (a, b) for name, (a, b) in counts["totals"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"the checkpoint {path} is damaged: {error!r}") from error
    for name, now in json.loads(json.dumps(dict(settings))).items():
        if before.get(name) != now:
            raise UsageError(_differs(path, name, before.get(name), now))
    weights = _group(arrays, "weights")
    try:
        check_weights(spec.shapes, weights, str(settings.get("dtype", "float32")))
    except DataError as error:
        raise DataError(f"{path}: {error}{of_what(metadata, spec)}") from None
    if metadata.get("spec.sha256") != spec_hash(spec):
        warnings.warn(f"the spec has changed since {path} was written", stacklevel=2)
    groups: dict[str, Any] = {group: _group(arrays, group) for group in GROUPS}
    try:
        return State(**groups, **counts)
    except TypeError as error:
        raise UsageError(f"the checkpoint {path} is damaged: {error}") from error


def _differs(path: str | Path, name: str, before: object, now: object) -> str:
    start = f"training cannot go on from {path}: "
    if name == "data":
        return (
            f"{start}it was made with other data, or another share for validation (to train its "
            "weights on these, start anew from them: weights in place of resume)"
        )
    return f"{start}it was made with {name} {before}, and this is {now}"


def _group(arrays: Mapping[str, NDArray[Any]], group: str) -> Arrays:
    return {n.partition("/")[2]: a for n, a in arrays.items() if n.startswith(f"{group}/")}
