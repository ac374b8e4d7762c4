"""ONNX models that rnnc wrote, run by onnxruntime."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import ArrayLike, NDArray

from rnnc.runtime.given import given
from rnnc.runtime.ports import KEY, PortInfo, Ports, check_inputs, fit, parse_ports
from rnnc.runtime.runnable import Runnable
from rnnc.runtime.summary import summary
from rnnc.runtime.weights import check_weights
from rnnc.source import DataError, UsageError

NDA = NDArray[Any]

SMALL = 1_000_000  # parameters: below, one thread is faster than several


class OnnxModel(Runnable):
    """A model ready to run: arrays by name in, arrays by name out, the batch first.

    ``model`` is the model's bytes or the path of its file. Providers are those of onnxruntime,
    in order of preference; ``threads`` is one for small models, else as many as there are cores.
    ``ports`` describe a model that was just made; else its metadata do.
    ``flush_denormals`` is faster where states decay to almost nothing, but onnxruntime then sets
    the calling thread so that all its arithmetic, NumPy's too, takes denormal numbers for 0.

    ``model(x=x)["h"]`` runs it. States may be left out and are zero then; weights, where the
    model does not hold them, are given as ``weights={...}`` or by name; ``seed`` makes whatever
    is random in it. :meth:`run` is the same for names that are no keywords.
    """

    def __init__(
        self,
        model: bytes | str | PathLike[str],
        *,
        ports: Ports | None = None,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
        flush_denormals: bool = False,
    ) -> None:
        try:
            self._bytes = model if isinstance(model, bytes) else Path(model).read_bytes()
        except OSError as e:
            raise UsageError(f"{model!s} cannot be read: {e.strerror}") from e
        if threads is None:  # weights that come with each call count, too
            known = ports.params if ports else ()
            given = sum(math.prod(d for d in p.dims if isinstance(d, int)) for p in known)
            threads = 1 if max(len(self._bytes) // 4, given) < SMALL else 0
        self._options = (providers, threads, flush_denormals)
        self.ports = ports or _ports_in(self._session)
        self._params = self.ports.params if self.ports.weights_given else ()
        self._takes = self.inputs
        self._outputs = [p.name for p in self.ports.outputs]
        self.dtype = self.ports.dtype

    @cached_property
    def _session(self) -> Any:
        """Loaded when it is first needed: a long unrolled model takes seconds."""
        return _session(self._bytes, *self._options)

    @property
    def name(self) -> str:
        return self.ports.name

    @property
    def inputs(self) -> tuple[PortInfo, ...]:
        """What the model takes, weights that it does not hold included."""
        return self.ports.inputs + self._params

    @property
    def outputs(self) -> tuple[PortInfo, ...]:
        return self.ports.outputs

    @property
    def states(self) -> tuple[tuple[str, str], ...]:
        """Pairs: the input that carries a value, and the output that it is given next."""
        return self.ports.states

    @property
    def providers(self) -> list[str]:
        return [str(p) for p in self._session.get_providers()]

    def __call__(
        self,
        *,
        weights: Mapping[str, ArrayLike] | None = None,
        seed: int = 0,
        lengths: Mapping[str, ArrayLike] | None = None,
        **arrays: ArrayLike,
    ) -> dict[str, NDA]:
        return self.run(arrays, weights=weights, seed=seed, lengths=lengths)

    def run(
        self,
        inputs: Mapping[str, ArrayLike],
        *,
        weights: Mapping[str, ArrayLike] | None = None,
        seed: int = 0,
        lengths: Mapping[str, ArrayLike] | None = None,
    ) -> dict[str, NDA]:
        """The outputs for these arrays; ``lengths`` are those of each sequence, by axis.

        :raises DataError: they do not fit; the message says which, and what is wanted.
        :raises UsageError: lengths are given, and the model was compiled without.
        """
        if weights is not None and self.ports.params and not self._params:
            raise DataError("the model holds its weights; compile it without weights to give them")
        if weights is None and lengths is None and fit(self._takes, inputs, self.dtype):
            checked = inputs
        else:
            arrays = given(self.ports, inputs, lengths)
            if weights is not None:
                shapes = {p.name: tuple(int(d) for d in p.dims) for p in self._params}
                arrays.update(check_weights(shapes, weights, self.dtype))
            checked = check_inputs(self._takes, arrays, self.dtype, seed=seed)
        try:
            results = self._session.run(self._outputs, checked)
        except Exception as e:  # onnxruntime's errors have no base of their own
            raise DataError(f"onnxruntime cannot run {self.name} on these arrays: {e}") from e
        return dict(zip(self._outputs, results, strict=True))

    def save(self, path: str | PathLike[str]) -> None:
        """Write the model to a file."""
        Path(path).write_bytes(self._bytes)

    def summary(self) -> str:
        """What the model takes and gives, as text."""
        return summary(self.ports, f"onnxruntime {onnxruntime.__version__}")

    def __repr__(self) -> str:
        takes = ", ".join(p.name for p in self.ports.inputs)
        return f"<OnnxModel {self.name}: {takes} -> {', '.join(self._outputs)}>"


def _session(model: bytes, providers: Sequence[str] | None, threads: int, flush: bool) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; they are raised, too
    options.intra_op_num_threads = threads
    if flush:
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
    try:
        return onnxruntime.InferenceSession(
            model,
            options,
            providers=list(providers or ["CPUExecutionProvider"]),
            # it would round the factors of float64 products to float32
            disabled_optimizers=["MatMulScaleFusion"],
        )
    except Exception as e:
        raise UsageError(f"onnxruntime cannot load the model: {e}") from e


def _ports_in(session: Any) -> Ports:
    metadata = session.get_modelmeta().custom_metadata_map
    if KEY not in metadata:
        raise UsageError("the model was not written by rnnc: it does not describe its inputs")
    return parse_ports(metadata[KEY])
