"""Models and arrays that the commands read, show and write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnc.cli.common import Sizes, load_spec, say, written
from rnnc.source import DataError, RnncError, Source, SpecError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rnnc.runtime.numpy_model import NumpyModel
    from rnnc.runtime.onnx_model import OnnxModel

    Model = NumpyModel | OnnxModel
    Arrays = dict[str, NDArray[Any]]


def open_model(
    file: str,
    model: str | None,
    sizes: Sizes,
    seed: int,
    weights: Path | None,
    mode: str = "predict",
    **options: Any,
) -> tuple[Model, Arrays | None]:
    """A compiled model, or a spec compiled for NumPy in this mode, with these options; and the
    initial weights that it is to be called with in the latter case.

    :raises UsageError: the file is no model, or options are for specs.
    """
    import rnnc

    path = Path(file)
    if path.suffix in (".onnx", ".py"):
        given = {"--set": sizes, "--model": model, "--top-k": options.get("top_k")}
        if asked := [option for option, value in given.items() if value]:
            raise UsageError(f"{asked[0]} is for specs; {path.name} is compiled already")
        try:
            return rnnc.open(path), None
        except RnncError:
            raise
        except Exception as e:  # whatever is in a .py file
            raise UsageError(f"{path} is no model that rnnc wrote: {type(e).__name__}: {e}") from e
    from rnnc.cli.compile import sized_like
    from rnnc.runtime.weights import read_weights

    spec = load_spec(file, model, sizes)
    if weights is not None:
        read_weights(weights)  # a file that is none is told before sizes that it would bring
    spec = sized_like(spec, weights)
    if weights is not None:
        from rnnc.train.checkpoint import metadata_of, vocabulary_in

        options["vocabulary"] = vocabulary_in(metadata_of(weights))
    compiled = spec.compile("numpy", mode=mode, **options)
    own = spec.init(seed)
    if own and weights is None:
        say("note", f"{spec.name} runs with initial weights (seed {seed}), not trained ones")
    return compiled, own


def given_weights(
    model: Model, own: Arrays | None, path: Path | None, random: bool, seed: int
) -> Arrays | None:
    """The weights to call a model with: those of a file, else its ``own`` initial ones."""
    from rnnc.runtime.weights import read_weights

    if own is None:
        return _weights(model, path, random, seed)
    return own if path is None else dict(read_weights(path))


def _weights(model: Model, path: Path | None, random: bool, seed: int) -> Arrays | None:
    """Weights for a model that holds none; None for one that does."""
    from rnnc.runtime.weights import read_weights

    params = model.ports.params
    lacking = bool(params) and not _holds_weights(model)
    if path is not None:
        if not lacking:
            raise UsageError(f"{model.ports.name} holds its weights; leave out --weights")
        return dict(read_weights(path))
    if not lacking:
        return None
    if not random:
        raise DataError(
            f"the model holds no weights ({', '.join(p.name for p in params[:8])}"
            f"{' …' if len(params) > 8 else ''}): give --weights w.safetensors, "
            "or --random for initial ones"
        )
    say("note", f"{model.ports.name} runs with initial weights (seed {seed}), not trained ones")
    return _initial(model, seed)


def _holds_weights(model: Model) -> bool:
    from rnnc.runtime.numpy_model import NumpyModel

    if isinstance(model, NumpyModel):
        return "\nWEIGHTS = {}\n" not in model.source
    return not any(p.role == "param" for p in model.inputs)


def _initial(model: Model, seed: int) -> Arrays:
    """Initial weights by the spec that the model carries."""
    from rnnc.api import Spec

    about = model.ports.extra
    try:
        source, files = Source(about["spec"]), about["files"]
        spec = Spec(source, about["model"], about["dims"], files)
        return spec.init(seed, model.ports.dtype)
    except (KeyError, SpecError) as e:
        raise DataError("the model does not say how its weights begin: give --weights") from e


# ---------------------------------------------------------------- arrays


def load_arrays(path: Path) -> Any:
    """What a file of NumPy holds: an array, or several by name."""
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except Exception as e:  # whatever NumPy makes of a damaged file
        raise UsageError(f"{path} cannot be read as arrays: {e}") from e


def read_array(path: Path) -> NDArray[Any]:
    """The one array of a file."""
    import numpy as np

    array = load_arrays(path)
    if not isinstance(array, np.ndarray):
        raise UsageError(f"{path} holds several arrays: name it .npz")
    return array


def shown(name: str, array: NDArray[Any]) -> str:
    """An array in a few lines."""
    import numpy as np

    if not array.ndim:
        return f"{name} = {array:.6g}" if array.dtype.kind == "f" else f"{name} = {array}"
    text = np.array2string(array, precision=4, threshold=16, edgeitems=2, suppress_small=True,
                           max_line_width=92)  # fmt: skip
    lines = [f"{name}  {list(array.shape)}  {array.dtype}"]
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        nan, inf = int(np.isnan(array).sum()), int(np.isinf(array).sum())
        lines[0] += f"  ({nan} NaN, {inf} infinite)"
    return "\n".join([*lines, *(f"  {line}" for line in text.split("\n") if line.strip())])


def save_arrays(path: Path, outputs: Arrays) -> None:
    """Write arrays as .npz, or a single one as .npy."""
    import zipfile

    import numpy as np

    if path.suffix == ".npy" and len(outputs) != 1:
        raise UsageError(f"there are {len(outputs)} outputs, and {path.name} holds one: use .npz")
    with written(path) as part:
        if path.suffix == ".npy":
            np.save(part, next(iter(outputs.values())))
            return
        # as np.savez does, which cannot take an output named "file"
        with zipfile.ZipFile(part, "w") as archive:
            for name, array in outputs.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
