"""Models that run as generated NumPy source."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnc.runtime.given import given
from rnnc.runtime.ports import Ports, check_inputs, fit, parse_ports
from rnnc.runtime.runnable import Runnable
from rnnc.runtime.summary import summary
from rnnc.runtime.weights import Weights, check_weights
from rnnc.source import DataError, UsageError

NDA = NDArray[Any]
NUMBA = "from numba import njit\n"  # in modules whose loops it compiles


class NumpyModel(Runnable):
    """A compiled model: call it with arrays by name, batch first, and get arrays by name.

    ``source`` is the text of the module it runs; a debugger steps through it. With ``jit`` numba
    compiles loops of it.
    """

    def __init__(self, source: str, ports: Ports, weights: Mapping[str, ArrayLike] | None = None):
        self.jit = NUMBA in source
        if self.jit and not (find_spec("numba") and find_spec("scipy")):
            raise UsageError(
                "the model's loops are compiled by numba, which is not installed (with SciPy, for "
                "products): pip install 'rnnc[numba]', or compile the model without jit"
            )
        self.source = source
        self.ports = ports
        self._namespace = _execute(source, ports.name)
        self._prepare: Callable[[Weights], dict[str, NDA]] = self._namespace["prepare"]
        self._run: Callable[..., dict[str, NDA]] = self._namespace["run"]
        self._prepared: dict[str, NDA] | None = None
        if weights is None and self._namespace.get("WEIGHTS"):
            weights = self._namespace["load_weights"]()
        if weights is not None or not ports.params:
            self.load(weights or {})

    @classmethod
    def open(cls, path: str | Path) -> NumpyModel:
        """A model from a ``.py`` file that rnnc wrote. Its code is run.

        :raises UsageError: the file is no such module.
        """
        text = Path(path).read_text(encoding="utf-8")
        return cls(text, parse_ports(_metadata(text, str(path))))

    def load(self, weights: Mapping[str, ArrayLike]) -> None:
        """Take these weights from now on.

        :raises DataError: weights are missing or do not fit.
        """
        self._prepared = self._prepare(self._checked(weights))

    def _checked(self, weights: Mapping[str, ArrayLike]) -> Weights:
        shapes = {p.name: tuple(d for d in p.dims if isinstance(d, int)) for p in self.ports.params}
        return check_weights(shapes, weights, self.ports.dtype)

    def __call__(
        self,
        *,
        weights: Mapping[str, ArrayLike] | None = None,
        seed: int = 0,
        lengths: Mapping[str, ArrayLike] | None = None,
        **inputs: ArrayLike,
    ) -> dict[str, NDA]:
        """Run the model once; see :meth:`run`."""
        return self.run(inputs, weights=weights, seed=seed, lengths=lengths)

    def run(
        self,
        inputs: Mapping[str, ArrayLike],
        *,
        weights: Mapping[str, ArrayLike] | None = None,
        seed: int = 0,
        lengths: Mapping[str, ArrayLike] | None = None,
    ) -> dict[str, NDA]:
        """The outputs for these inputs, by name, batch first.

        ``weights`` serve this call alone; ``seed`` is for what the model draws; ``lengths`` are
        those of each sequence, by axis, of a model compiled with lengths.

        :raises DataError: an input is missing or does not fit.
        :raises UsageError: the model was compiled without lengths.
        """
        data: dict[str, Any]
        if lengths is None and fit(self.ports.inputs, inputs, self.ports.dtype):
            data = dict(inputs)
        else:
            inputs = given(self.ports, inputs, lengths)
            data = check_inputs(self.ports.inputs, inputs, self.ports.dtype, seed=seed)
        prepared = self._prepared
        if weights is not None and not self.ports.weights_given and self.ports.params:
            raise DataError("the model holds its weights; compile it without weights to give them")
        if weights is not None:
            prepared = self._prepare(self._checked(weights))
        if prepared is None:
            raise DataError("this model has no weights yet: give weights=…, or load(…) them")
        out = self._run(prepared, data)
        return {name: np.asarray(value) for name, value in out.items()}

    def save(self, path: str | Path) -> None:
        """Write the module, which needs NumPy alone."""
        path = Path(path)
        if path.suffix != ".py":
            raise UsageError(f"a NumPy model is saved as .py, not {path.name}")
        path.write_text(self.source, encoding="utf-8")

    def summary(self) -> str:
        """What goes in and out, as text."""
        return summary(self.ports, "NumPy")


def _metadata(text: str, path: str) -> str:
    """What a module says of itself, read without running it."""
    try:
        for node in ast.parse(text).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "METADATA":
                return str(ast.literal_eval(node.value))
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"{path} is damaged: {error}") from error
    raise UsageError(f"{path} was not written by rnnc")


_COUNT = 0


def _execute(source: str, name: str) -> dict[str, Any]:
    """Run a module's text; tracebacks and debuggers find its lines."""
    global _COUNT
    _COUNT += 1
    filename = f"<rnnc {name} {_COUNT}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    code: CodeType = compile(source, filename, "exec")
    namespace: dict[str, Any] = {"__name__": f"rnnc_model_{_COUNT}"}
    exec(code, namespace)
    return namespace
