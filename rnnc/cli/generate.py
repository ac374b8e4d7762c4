"""``rnnc generate``: sequences drawn from a model, as text where it has a vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnnc.cli.common import Sizes, check_target, echo, keep_apart, model_option, set_option
from rnnc.cli.models import given_weights, open_model, read_array, save_arrays, shown
from rnnc.source import DataError, UsageError

if TYPE_CHECKING:
    from rnnc.runtime.numpy_model import NumpyModel
    from rnnc.runtime.onnx_model import OnnxModel

    Model = NumpyModel | OnnxModel

MODE, PROMPT = "generate", ".prompt"
STEPS = 200
RULE = "-" * 20  # between several texts


@click.command(short_help="Draw sequences from a model.")
@click.argument("model_file", metavar="MODEL")
@click.option("--prompt", metavar="TEXT", help="How the sequence begins: a text, or whole numbers.")
@click.option(
    "--steps", type=click.IntRange(min=1), metavar="N",
    help=f"Draw N steps after the prompt ({STEPS}).",
)  # fmt: skip
@click.option("--temperature", type=float, default=1.0, help="Below 1 likelier, above 1 wilder.")
@click.option("--top-k", type=click.IntRange(min=1), metavar="K", help="Among the K likeliest.")
@click.option("--greedy", is_flag=True, help="Always the likeliest: temperature 0.")
@click.option("--end", metavar="SYMBOL", help="End after this symbol (or number).")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="How many sequences (1).")
@click.option(
    "-i", "--input", "inputs", multiple=True, metavar="NAME=FILE|TEXT",
    help="x=x.npy; of symbols of the vocabulary a text; may be given again.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of the draws (0).")
@click.option(
    "--weights", type=click.Path(path_type=Path), metavar="FILE",
    help="For a spec, or a model that holds none.",
)  # fmt: skip
@click.option("-o", "output", type=click.Path(path_type=Path), help="Write arrays: out.npz.")
@model_option
@set_option
def generate(
    model_file: str,
    prompt: str | None,
    steps: int | None,
    temperature: float,
    top_k: int | None,
    greedy: bool,
    end: str | None,
    count: int | None,
    inputs: tuple[str, ...],
    seed: int,
    weights: Path | None,
    output: Path | None,
    model: str | None,
    sizes: Sizes,
) -> None:
    """Draw sequences from the distributions of a model's targets.

    MODEL is a spec with its weights, or a model that was compiled in mode generate. With the
    vocabulary of a training on texts, prompt and result are texts.

    \b
    rnnc generate CharLSTM --weights w.safetensors --prompt "ROMEO:" --temperature 0.8
    rnnc compile CharLSTM --weights w.safetensors --mode generate -o gen.onnx
    rnnc generate gen.onnx --prompt "ROMEO:" --steps 500
    """
    if output:
        if output.suffix != ".npz":
            raise UsageError(f"arrays are written as .npz, not {output}")
        check_target(output)
        keep_apart(output, model_file, *(item.split("=", 1)[-1] for item in inputs))
        keep_apart(output, *([weights] if weights else []))
    opened, own = open_model(model_file, model, sizes, seed, weights, MODE, top_k=top_k)
    given = given_weights(opened, own, weights, False, seed)
    data = dict(_input(opened, item) for item in inputs)
    if steps is None and _is_open(opened):
        steps = STEPS
    symbols = opened.vocabulary
    drawn = [p for p in opened.ports.inputs if p.name.endswith(PROMPT)]
    texts = symbols is not None and [p.kind for p in drawn] == ["index"]
    start: Any = (prompt or "") if texts else numbers(prompt)
    if symbols is not None and output:  # numbers in, arrays out
        start = symbols.encode(start) if texts else start
        data = {n: [symbols.encode(x)] if isinstance(x, str) else x for n, x in data.items()}
    stop: Any = end if texts or end is None else _number(end)
    found = opened.generate(
        start, steps=steps, temperature=0.0 if greedy else temperature, seed=seed, end=stop,
        batch=count, weights=given, **data,
    )  # fmt: skip
    if isinstance(found, dict):
        for name, array in found.items():
            echo(shown(name, array))
        if output:
            save_arrays(output, found)
            echo(f"wrote {output}", err=True)
        return
    samples = [found] if isinstance(found, str) else found
    echo(f"\n{RULE}\n".join(samples))


def _input(model: Model, item: str) -> tuple[str, Any]:
    """An input by name: the array of a file, or a text."""
    name, equals, value = item.partition("=")
    if not equals or not name:
        raise UsageError(f"--input {item}: write NAME=FILE, such as x=x.npy")
    path = Path(value)
    symbols = model.vocabulary is not None and any(
        p.name == name and p.kind == "index" for p in model.ports.inputs
    )
    if symbols and not (path.suffix == ".npy" and path.is_file()):
        return name, value
    if path.suffix != ".npy":
        raise UsageError(f"--input {item}: an array is read from an .npy file")
    return name, read_array(path)


def _is_open(model: Model) -> bool:
    """Whether the number of steps is told by no input."""
    ports = model.ports.inputs
    axes = {p.dims[1] for p in ports if p.name.endswith(PROMPT)}
    others = (p for p in ports if p.role == "input" and not p.name.endswith(PROMPT))
    told = {d for p in others for d in p.dims}
    return bool(axes) and not any(isinstance(a, int) or a in told for a in axes)


def numbers(prompt: str | None) -> list[int] | None:
    """The whole numbers that a prompt lists."""
    if prompt is None:
        return None
    return [_number(word) for word in prompt.replace(",", " ").split()]


def _number(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise DataError(
            f"{word!r} is no whole number, and the model has no vocabulary: weights of a training "
            "on texts have one"
        ) from None
