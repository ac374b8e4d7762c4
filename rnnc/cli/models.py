"""Models that the commands run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnc.cli.common import Sizes, load_spec, say
from rnnc.cli.inputs import Inputs, Item, axes_with_lengths
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
    given: Sequence[Item],
    mode: str = "predict",
    **options: Any,
) -> tuple[Model, Arrays | None, Inputs]:
    """A compiled model, or a spec compiled for NumPy in this mode, with these options; the
    initial weights that it is to be called with in the latter case; and what is given for its
    inputs. A spec is compiled with lengths along the axes for which some are given.

    :raises UsageError: the file is no model, or options are for specs; an input cannot be read.
    :raises DataError: there is no such input.
    """
    import rnnc

    path = Path(file)
    if path.suffix in (".onnx", ".py"):
        asked = {"--set": sizes, "--model": model, "--top-k": options.get("top_k")}
        if wrong := [option for option, value in asked.items() if value]:
            raise UsageError(f"{wrong[0]} is for specs; {path.name} is compiled already")
        try:
            opened = rnnc.open(path)
        except RnncError:
            raise
        except Exception as e:  # whatever is in a .py file
            raise UsageError(f"{path} is no model that rnnc wrote: {type(e).__name__}: {e}") from e
        return opened, None, _inputs(opened, mode, given)
    from rnnc.cli.compile import sized_like
    from rnnc.runtime.weights import read_weights

    spec = load_spec(file, model, sizes)
    if weights is not None:
        read_weights(weights)  # a file that is none is told before sizes that it would bring
    spec = sized_like(spec, weights)
    if weights is not None:
        from rnnc.train.checkpoint import metadata_of, vocabulary_in

        options["vocabulary"] = vocabulary_in(metadata_of(weights))
    axes = axes_with_lengths(given, spec.system, mode)
    compiled = spec.compile("numpy", mode=mode, lengths=axes, **options)
    inputs = _inputs(compiled, mode, given)
    if more := inputs.ragged() - set(axes):
        compiled = spec.compile("numpy", mode=mode, lengths=(*axes, *more), **options)
        inputs.ports = compiled.ports
    own = spec.init(seed)
    if own and weights is None:
        say("note", f"{spec.name} runs with initial weights (seed {seed}), not trained ones")
    return compiled, own, inputs


def _inputs(model: Model, mode: str, given: Sequence[Item]) -> Inputs:
    """What is given for those inputs of a model that a command for this mode does not make."""
    from rnnc.graph.names import END, GIVEN, PROMPT, TEMPERATURE

    ports = model.ports
    made = {name + suffix for name in ports.prompts for suffix in (PROMPT, GIVEN, END)}
    taken = [
        p for p in ports.inputs
        if mode == "predict"
        or (p.role in ("input", "lengths") and p.name not in {TEMPERATURE, *made})
    ]  # fmt: skip
    return Inputs(ports, taken, given)


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
