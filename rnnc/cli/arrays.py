"""Arrays that the commands read, show and write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnc.cli.common import written
from rnnc.source import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]


def _load(path: Path) -> Any:
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

    array = _load(path)
    if not isinstance(array, np.ndarray):
        raise UsageError(f"{path} holds several arrays: name it .npz")
    return array


def read_archive(path: Path) -> Mapping[str, NDArray[Any]]:
    """The arrays of a file, by name."""
    import numpy as np

    archive = _load(path)
    if isinstance(archive, np.ndarray):
        raise UsageError(f"{path} holds one array without a name: name it .npy")
    return archive  # type: ignore[no-any-return]


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
