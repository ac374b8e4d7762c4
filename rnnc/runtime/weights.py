"""Weights: their first values, and their files."""

from __future__ import annotations

import difflib
import math
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnc.graph.names import canonical
from rnnc.graph.system import System, Value
from rnnc.graph.types import whole
from rnnc.numbers import checked_seed
from rnnc.source import DataError, UsageError

Weights = dict[str, NDArray[Any]]

ABOUT = "__rnnc__"  # what an .npz file says of its weights: JSON in a string array


def initial_weights(system: System, seed: int = 0, dtype: str = "float32") -> Weights:
    """First values for every parameter, by its initialiser; the same for the same seed.

    Matrices without one get Glorot's uniform distribution (Glorot and Bengio 2010), vectors and
    numbers zeros. Each parameter has a stream of random numbers of its own, so that adding one
    changes no other.
    """
    seed = checked_seed(seed)
    out: Weights = {}
    for value in system.params:
        shape = tuple(whole(s) for s in value.type.shape)
        entropy = np.random.SeedSequence([seed, *value.name.encode()])
        rng = np.random.Generator(np.random.PCG64(entropy))
        try:
            drawn = _draw(value, shape, rng)
        except (ArithmeticError, ValueError) as error:
            raise UsageError(
                f"the initialiser of {value.name} gives no numbers: {error}"
            ) from error
        out[value.name] = np.asarray(drawn, dtype)
    return out


def _draw(value: Value, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
    name, *formulas = value.attr("init")
    args = [_number(f) for f in formulas]
    match name:
        case "glorot":
            rows, columns = (shape[0], shape[-1]) if len(shape) > 1 else (1, *shape, 1)[:2]
            limit = math.sqrt(6 / (rows + columns))
            return rng.uniform(-limit, limit, shape)
        case "normal":
            return args[0] + args[1] * rng.standard_normal(shape)
        case "uniform":
            return rng.uniform(args[0], args[1], shape)
        case "constant":
            return np.full(shape, args[0])
        case "ones":
            return np.ones(shape)
        case "identity":
            return np.eye(*shape) if len(shape) == 2 else np.ones(shape)
        case "orthogonal":
            return _orthogonal(shape, rng)
    return np.zeros(shape)


def _orthogonal(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
    """Rows (or columns, whichever are fewer) of length 1 at right angles (Saxe et al. 2014)."""
    if len(shape) < 2:
        return rng.standard_normal(shape)
    rows, columns = shape[0], math.prod(shape[1:])
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q = q * np.sign(np.diag(r))  # without this the distribution is not uniform
    return np.asarray(q if rows >= columns else q.T).reshape(shape)


def _number(formula: Hashable) -> float:
    """The value of an initialiser's argument: a number, or arithmetic over sizes."""
    if isinstance(formula, (int, float)):
        return float(formula)
    if not isinstance(formula, tuple):
        raise UsageError(f"the size {formula} of an initialiser is not known")
    op, *operands = formula
    a = [_number(x) for x in operands]
    match op:
        case "add":
            return a[0] + a[1]
        case "sub":
            return a[0] - a[1]
        case "mul":
            return a[0] * a[1]
        case "div":
            return a[0] / a[1]
        case "pow":
            return float(a[0] ** a[1])
        case "neg":
            return -a[0]
    return float({"sqrt": math.sqrt, "exp": math.exp, "log": math.log}[str(op)](a[0]))


# ---------------------------------------------------------------- checking


def check_weights(
    shapes: Mapping[str, tuple[int, ...]], weights: Mapping[str, ArrayLike], dtype: str
) -> Weights:
    """The weights of these names and shapes, in ``dtype``; others are left out.

    :raises DataError: naming every weight that is missing or does not fit, and why.
    """
    if not isinstance(weights, Mapping):
        raise DataError(f"weights are arrays by name, not {type(weights).__name__}")
    given = {canonical(name): value for name, value in weights.items()}
    problems: list[str] = []
    out: Weights = {}
    for name, shape in shapes.items():
        if name not in given:
            close = difflib.get_close_matches(name, given.keys() - shapes.keys(), 1)
            near = f" (there is a {close[0]}, which the model does not have)" if close else ""
            problems.append(f"{name} {list(shape)} is missing{near}")
            continue
        array = np.asarray(given[name])
        if array.dtype.kind not in "fiu":
            problems.append(f"{name} holds {array.dtype}, not numbers")
        elif array.shape != shape:
            problems.append(f"{name} is {list(array.shape)}, the model wants {list(shape)}")
        else:
            out[name] = array.astype(dtype, copy=False)
    if problems:
        more = f"; and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise DataError("the weights do not fit: " + "; ".join(problems[:8]) + more)
    return out


# ---------------------------------------------------------------- files


def read_weights(path: str | Path, what: str = "weights") -> Weights:
    """The arrays of a ``.safetensors`` or ``.npz`` file, by name; ``what`` they are, for messages.

    :raises UsageError: the file is missing, of another kind, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"there is no {what} file {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.numpy import load_file

            return dict(load_file(path))
        if path.suffix == ".npz":
            with open(path, "rb") as file:
                if file.read(2) != b"PK":  # an .npz file is a zip archive
                    raise ValueError("it is no .npz archive")
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files if name != ABOUT}
    except Exception as error:  # whatever the libraries make of a damaged file
        raise UsageError(f"{path} cannot be read as {what}: {error}") from error
    raise UsageError(f"{what} are kept in .safetensors or .npz files, not {path.name}")
