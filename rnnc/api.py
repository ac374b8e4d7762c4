"""The Python interface: specs, and the models they are compiled to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import ArrayLike

import rnnc
from rnnc import compiler, numbers
from rnnc.backends.numpy_source import to_numpy
from rnnc.compiler import Options, kernels
from rnnc.graph.build import build
from rnnc.graph.build.expand import TAKEN
from rnnc.graph.latex import show_latex
from rnnc.graph.names import canonical
from rnnc.graph.show import parameter_count, show_system, table
from rnnc.graph.system import System
from rnnc.graph.types import Dim, whole
from rnnc.passes.textbook import symbols
from rnnc.passes.update import Shape
from rnnc.runtime.numpy_model import NumpyModel
from rnnc.runtime.ports import parse_ports, ports_json
from rnnc.runtime.stream import Stream
from rnnc.runtime.vocabulary import Vocabulary
from rnnc.runtime.weights import Weights, check_weights, initial_weights, read_weights
from rnnc.source import DataError, Note, Source, UsageError
from rnnc.spec_files import Neighbours, library, library_source
from rnnc.syntax import tree
from rnnc.syntax.parse import parse as parse_source
from rnnc.syntax.parse import read_source

if TYPE_CHECKING:
    from rnnc.runtime.onnx_model import OnnxModel
    from rnnc.train.fit import Fit

DType = Literal["float32", "float64"]
DTYPES: tuple[DType, ...] = ("float32", "float64")


class Spec:
    """One model of a spec, checked and ready to be compiled.

    Made by :func:`load` and :func:`parse`.
    """

    def __init__(
        self,
        source: Source,
        model: str | None,
        sizes: Mapping[str, int | tuple[int, ...]],
        files: Mapping[str, str] | None = None,
    ):
        """``files`` are the texts of what the spec uses, by path, where it is no file itself."""
        file = parse_source(source)
        self.source = source
        self.tree = compiler.choose(file, model)
        self._notes = tuple(n for m in file.models for n in m.notes)  # layers are among them
        numbers = {n: s for n, s in sizes.items() if not isinstance(s, tuple)}
        shapes = {n: s for n, s in sizes.items() if isinstance(s, tuple)}
        neighbours = Neighbours(files)
        self.system: System = build(self.tree, numbers, shapes, file, neighbours)
        self.files: Mapping[str, str] = neighbours.files
        self.sizes = dict(sizes)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.system.name

    @property
    def doc(self) -> str:
        """The comment above the model."""
        return self.system.doc

    @cached_property
    def bound(self) -> System:
        """The system with numbers for all sizes; SpecError names those that are open."""
        return compiler.bound(self.system)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter, by name."""
        return {v.name: tuple(whole(s) for s in v.type.shape) for v in self.bound.params}

    @property
    def notes(self) -> tuple[Note, ...]:
        """How places of its LaTeX were read that might have meant something else."""
        return self._notes

    def __repr__(self) -> str:
        open_ = None in self.system.dims.values()
        count = parameter_count(self.system if open_ else self.bound)
        return f"<Spec {self.name}: {count} parameters>"

    def __str__(self) -> str:
        return show_system(self.system)

    def _repr_latex_(self) -> str:
        """The equations as notebooks show them."""
        return f"$$\n{show_latex(self.system)}$$"

    def diff(self, inputs: Sequence[str] = ()) -> str:
        """The gradients as equations, by back-propagation through time: the text of a spec.

        It has a value ``d_<name>`` (written ``∂<name>``) for each parameter and each of
        ``inputs``, as in mode ``grad``. Sizes may be open. ``rnnc.parse`` reads the text: its
        model takes the inputs and targets of this one (and ``d_<output>`` of a model without
        losses) in mode ``predict``, and gives the gradients, once for each sequence.

        :raises SpecError: there are no gradients, a name that one needs is taken, or a dim that
            counts steps has no size.
        :raises UsageError: one of ``inputs`` is no real input of the model.
        """
        system = compiler.adjoint(self.system, _names("inputs", inputs))
        return show_system(system, symbols(system))

    def table(self, inner: bool = False) -> str:
        """Every value with its role and shape, and every layer with its sizes and the number of
        its parameters, as text; with ``inner`` the values inside of layers in their place."""
        return table(self.system, None if inner else self._layers())

    def _layers(self) -> dict[str, str]:
        """The layers by name, each with the model, or the named layer, that is called."""
        found = {s.name: s.call.function for s in self.tree.statements
                 if isinstance(s, tree.LayerStatement)}  # fmt: skip
        known = {*TAKEN, *self.system.values}
        for s in self.tree.statements:
            match s:
                case tree.Equation(right=tree.Call() as call) if call.function not in known:
                    found[s.left[0].name] = call.function
        return found

    def init(self, seed: int = 0, dtype: str = "float32") -> Weights:
        """First values of the parameters, by name; the same for the same seed."""
        return initial_weights(self.bound, seed, _dtype(dtype))

    def compile(
        self,
        backend: str = "numpy",
        *,
        weights: Mapping[str, ArrayLike] | str | Path | None = None,
        mode: str = "predict",
        unroll: int | Mapping[str, int] | None = None,
        dtype: str = "float32",
        training: bool | None = None,
        inputs: Sequence[str] = (),
        optimizer: str | Path | None = None,
        hyper: Mapping[str, float] | None = None,
        clip: float | None = None,
        top_k: int | None = None,
        carry: bool = False,
        lengths: Sequence[str] = (),
        outputs: Sequence[str] = (),
        target: str = "cpu",
        plain_loops: bool = False,
        memory: str = "normal",
        jit: bool = False,
        opset: int = 18,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
        vocabulary: Vocabulary | str | Sequence[str] | None = None,
    ) -> NumpyModel | OnnxModel:
        """The model for NumPy (``numpy``) or onnxruntime (``onnx``).

        ``mode`` is one of

        - ``predict``: the outputs for whole sequences;
        - ``step``: one step, with states in and out; ``init``: the states before the first step;
        - ``generate``: each target is drawn from its distribution (see ``generate`` of the
          model); of ``index(k)`` among the ``top_k`` most likely, else all;
        - ``loss``: losses, metrics and counts of data;
        - ``grad``: the same, and ``d_<param>`` for each parameter (``d_<name>`` for each of
          ``inputs``, too); of a model without losses the derivative of the sum of its outputs
          weighted with the inputs ``d_<output>``;
        - ``train``: losses, metrics, counts, the ``gradient_norm``, and the next value of each
          parameter and of the optimiser's state (``ports.updates`` has the pairs). ``optimizer``
          is one of the library (``adam`` unless given) or a ``.rnn`` file, ``hyper`` sets its
          constants, and gradients of a global norm above ``clip`` are scaled down to it.

        ``carry`` takes the sequences (modes predict, loss, grad, train) as chunks of longer ones:
        states go in and come out (``ports.states``), and gradients stop at the beginning of the
        chunk.
        ``lengths`` names time axes on which the sequences of a batch have lengths of their own,
        given with each call (``model(x=x, lengths={"t": [5, 3]})``): the equations then hold for
        each up to its own T, and results past that are 0. ``unroll`` fixes the number of steps.
        ``outputs`` names the values to give instead of the model's own outputs.
        Where a recurrence *is* ONNX's LSTM, GRU or RNN (of float32, and nothing but h and the last
        c is wanted) it becomes that operator, if ``target`` (``cpu``, ``cuda``, ``web``, or
        ``any`` of them) has a kernel for it; with ``plain_loops`` every recurrence stays a loop
        over its steps. ``memory`` is ``normal``, or ``low`` for gradients of long sequences: of T
        steps √T states are kept, and the others are computed again on the way back. With ``jit``
        numba compiles the loops of NumPy source when they first run, which pays for small models.
        ``weights`` (arrays by name, or a file, whose sizes serve where nobody set any) become
        part of the model; without them they are given with each call. ``training`` switches
        dropout on, and is on in mode train unless given. ``providers`` and ``threads`` are
        onnxruntime's. The symbols of ``vocabulary`` (of a weights file its own; one may be given
        as a text of its characters, or as a list of its words) make texts of the indices that the
        model takes and gives.

        :raises SpecError: sizes are open, or the model cannot be compiled so.
        :raises UsageError: an option does not exist.
        :raises DataError: the weights do not fit, or no index has a number for each symbol.
        """
        if backend not in ("numpy", "onnx"):
            raise UsageError(f"no backend {backend!r}; there are: numpy, onnx")
        if jit and backend != "numpy":
            raise UsageError("jit is for NumPy source: onnxruntime compiles nothing")
        inputs, lengths = _names("inputs", inputs), _names("lengths", lengths)
        real = _dtype(dtype)
        top_k, opset = numbers.whole("top_k", top_k), numbers.whole("opset", opset)
        threads = numbers.whole("threads", threads)
        clip = None if clip is None else numbers.real("clip", clip)
        if mode != "train" and not (optimizer is None and hyper is None and clip is None):
            raise UsageError("optimizer, hyper and clip are for mode train")
        options = Options(
            mode,
            numbers.counts(unroll),
            mode == "train" if training is None else training,
            backend,
            inputs,
            carry,
            optimiser(optimizer or "adam") if mode == "train" else None,
            numbers.constants(hyper),
            clip,
            top_k,
            lengths,
            _names("outputs", outputs),
            kernels(target, backend, real),
            plain_loops,
            memory,
            jit,
        )
        arrays = read_weights(weights) if isinstance(weights, (str, Path)) else weights
        spec = self._like(weights) if isinstance(weights, (str, Path)) else self
        final = compiler.final(spec.bound, options)
        plan = compiler.planned(final, options)
        given = None
        if arrays is not None:
            wanted = {
                p.name: tuple(d for d in p.type.dims if isinstance(d, int)) for p in plan.params
            }
            given = spec._fitting(wanted, arrays, real, weights)
        states = tuple((s.prev, s.next) for s in final.states)
        updates = tuple((s.prev, s.next) for s in final.updates)
        about = spec._about(options, final, given is None, spec._symbols(vocabulary, weights))
        text = ports_json(plan, states, updates, real, self._ranges(), **about)
        if backend == "numpy":
            source = to_numpy(plan, real, self.doc, given, text, jit)
            return NumpyModel(source, parse_ports(text), given)
        from rnnc.backends.onnx_graph import to_onnx
        from rnnc.runtime.onnx_model import OnnxModel

        proto = to_onnx(plan, weights=given, dtype=real, opset=opset, metadata={"rnnc": text})
        return OnnxModel(
            proto.SerializeToString(), ports=parse_ports(text), providers=providers, threads=threads
        )

    def _like(self, weights: str | Path) -> Spec:
        """This spec with the sizes that a file of weights was trained with, where the caller set
        none."""
        from rnnc.train.checkpoint import sizes_in

        new = sizes_in(weights, self)
        files = None if self.source.path else self.files
        return Spec(self.source, self.name, {**self.sizes, **new}, files) if new else self

    def _fitting(
        self,
        wanted: Mapping[str, tuple[int, ...]],
        arrays: Mapping[str, ArrayLike],
        dtype: DType,
        path: object,
    ) -> Weights:
        """The weights as the model wants them.

        :raises DataError: they do not fit; of a file it says what it was trained with.
        """
        try:
            return check_weights(wanted, arrays, dtype)
        except DataError as error:
            if not isinstance(path, (str, Path)):
                raise
            from rnnc.train.checkpoint import metadata_of, of_what

            raise DataError(f"{path}: {error}{of_what(metadata_of(path), self)}") from None

    def _symbols(self, given: object, weights: object) -> Vocabulary | None:
        """The vocabulary that is given, else that of a file with weights."""
        if given is not None:
            vocabulary = Vocabulary.given(given)
        elif isinstance(weights, (str, Path)):
            from rnnc.train.checkpoint import metadata_of, vocabulary_in

            known = vocabulary_in(metadata_of(weights))
            if known is None:
                return None
            vocabulary = known
        else:
            return None
        ranges = {v.name: dict(v.attrs).get("range") for v in self.bound.inputs}
        numbers = {name: n for name, n in ranges.items() if isinstance(n, int)}
        if max(numbers.values(), default=0) < len(vocabulary):
            has = ", ".join(f"{name} : index({n})" for name, n in numbers.items())
            raise DataError(
                f"the vocabulary has {len(vocabulary)} symbols, more than any index of {self.name} "
                f"takes: {has or 'it has none'}"
            )
        return vocabulary

    def _ranges(self) -> dict[str, str]:
        """How many values an index has, as the spec says it, where that is no number."""
        ranges = {v.name: dict(v.attrs).get("range") for v in self.system.inputs}
        return {name: str(n) for name, n in ranges.items() if isinstance(n, Dim)}

    def _about(
        self, options: Options, final: System, open_: bool, vocabulary: Vocabulary | None
    ) -> dict[str, Any]:
        """What a compiled model says of itself beside its inputs and outputs."""
        symbols = {} if vocabulary is None else {"vocabulary": vocabulary.to_json()}
        return {
            **symbols,
            "version": rnnc.__version__,
            "mode": options.mode,
            "unroll": options.unroll,
            "spec": self.source.text,
            "files": dict(self.files),
            "model": self.name,
            "dims": {d: s for d, s in self.bound.dims.items() if isinstance(s, int)},
            "weights_given": open_,
            "lengths": list(options.lengths),
            "computed": [s.prev for s in final.states if s.initial is not None],
        }

    def fit(self, data: Any, **options: Any) -> Fit:
        """Train the model on data: ``spec.fit({"x": x, "y": y}, lr=1e-3, epochs=20).weights``.

        All options, and what is raised, are those of :func:`rnnc.train.fit`.
        """
        from rnnc.train.fit import fit

        return fit(self, data, **options)

    def stream(
        self,
        backend: str = "numpy",
        *,
        weights: Mapping[str, ArrayLike] | str | Path,
        dtype: str = "float32",
        chunks: bool = False,
    ) -> Stream:
        """The model for one step at a time, which keeps its states between calls; with
        ``chunks`` for as many steps at a time as it is given.

        :raises SpecError: a step would need to know later ones.
        """
        mode = "predict" if chunks else "step"
        step = self.compile(backend, mode=mode, carry=chunks, weights=weights, dtype=dtype)
        start = self.compile("numpy", mode="init", weights=weights, dtype=dtype)
        return Stream(step, start)


def parse(
    text: str, *, model: str | None = None, name: str = "<text>", **sizes: int | tuple[int, ...]
) -> Spec:
    """A spec from its text; sizes of dims, and shapes of ``any`` inputs, by name.

    :raises SpecError: with every problem found.
    """
    if not isinstance(text, str):
        raise UsageError(f"a spec is text, not {type(text).__name__}")
    return Spec(Source(text, name), model, sizes)


def load(name: str | Path, *, model: str | None = None, **sizes: int | tuple[int, ...]) -> Spec:
    """A spec from a file (``lstm.rnn``) or from the library (``LSTM``); sizes of dims, and shapes
    of ``any`` inputs, by name.

    :raises SpecError: with every problem found.
    :raises UsageError: there is no such file or library model.
    """
    source, own = locate(name)
    return Spec(source, model or own, sizes)


def optimiser(name: str | Path) -> Callable[[Shape], System]:
    """The system of an optimiser (``adam`` or ``Adam`` of the library, or a file) for parameters
    of each shape.

    :raises UsageError: there is no such file or optimiser.
    """
    if not isinstance(name, (str, Path)):
        raise UsageError(f"an optimizer is a name or a .rnn file, not {name!r}")
    known = {n.lower(): n for n, file in library().items() if file.parent.name == "optim"}
    path = Path(name)
    if not path.suffix and str(name).lower() not in known:
        raise UsageError(f"there is no optimiser {name}; there are: {', '.join(sorted(known))}")
    source, model = locate(name if path.suffix else known[str(name).lower()])
    file = parse_source(source)
    found = compiler.choose(file, model)

    def system(shape: Shape) -> System:
        return compiler.bound(build(found, {}, {"g": tuple(map(whole, shape))}, file, Neighbours()))

    return system


def locate(name: str | Path) -> tuple[Source, str | None]:
    """The text of a file or of a library model; for the latter its name in the file, too.

    :raises UsageError: there is no such file or library model.
    """
    path = Path(name)
    if path.suffix or len(path.parts) != 1 or path.is_file():
        return read_source(path), None
    return library_source(str(name)), str(name)


def open(path: str | Path) -> NumpyModel | OnnxModel:
    """A model that rnnc wrote: ``.onnx``, or ``.py`` (whose code is run).

    :raises UsageError: the file is missing or was not written by rnnc.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"there is no model file {path}")
    if path.suffix == ".py":
        return NumpyModel.open(path)
    if path.suffix == ".onnx":
        from rnnc.runtime.onnx_model import OnnxModel

        return OnnxModel(path)
    raise UsageError(f"{path} is no model: rnnc writes .onnx and .py")


def _names(what: str, given: Any) -> tuple[str, ...]:
    """An option that is a name, or several.

    :raises UsageError: it is something else.
    """
    names = (given,) if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)
    if not all(isinstance(name, str) for name in names):
        raise UsageError(f"{what} is a name or several, not {given!r}")
    return tuple(canonical(name) for name in names)


def _dtype(name: str) -> DType:
    for dtype in DTYPES:
        if name == dtype:
            return dtype
    raise UsageError(f"no dtype {name!r}; there are: {', '.join(DTYPES)}")
