"""``rnnc generate``: sequences drawn from a model, as text where it has a vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnnc.cli.arrays import save_arrays, shown
from rnnc.cli.common import Sizes, check_target, echo, keep_apart, model_option, set_option
from rnnc.cli.inputs import files, input_option, is_text, items, typed
from rnnc.cli.models import given_weights, open_model
from rnnc.source import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rnnc.runtime.ports import Ports

    Arrays = dict[str, NDArray[Any]]

MODE = "generate"
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
@input_option
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
    given = items(inputs)
    if output:
        if output.suffix != ".npz":
            raise UsageError(f"arrays are written as .npz, not {output}")
        check_target(output)
        keep_apart(output, model_file, *files(given))
        keep_apart(output, *([weights] if weights else []))
    opened, own, inputs_ = open_model(
        model_file, model, sizes, seed, weights, given, MODE, top_k=top_k
    )
    taken = given_weights(opened, own, weights, False, seed)
    if steps is None and _is_open(opened.ports):
        steps = STEPS
    start, stop = _edges(opened.ports, prompt, end)
    found = opened.generate(
        start, steps=steps, temperature=0.0 if greedy else temperature, seed=seed, end=stop,
        batch=count, weights=taken, inputs=inputs_.complete(),
    )  # fmt: skip
    _show(opened.ports, found, output is not None)
    if output:
        save_arrays(output, found)
        echo(f"wrote {output}", err=True)


def _edges(ports: Ports, prompt: str | None, end: str | None) -> tuple[Any, Any]:
    """How the sequence begins, in numbers, so that arrays come back; and how it ends.

    :raises UsageError: the model does not draw one sequence.
    :raises DataError: they are no texts, or numbers, that it could draw.
    """
    prompts = ports.prompts
    if len(prompts) != 1:
        for option, value in (("--prompt", prompt), ("--end", end)):
            if value is not None:
                raise UsageError(
                    f"{option} is for a model that draws one sequence; {ports.name} draws "
                    f"{', '.join(prompts) or 'none'}"
                )
        return None, None
    (port,) = prompts.values()
    start = None if prompt is None else typed(ports, port, prompt)
    if end is None or port.kind != "index" or is_text(ports, port):
        return start, end
    numbers = typed(ports, port, end)
    if len(numbers) != 1:
        raise UsageError(f"--end {end}: one number, after which a sequence ends")
    return start, int(numbers[0])


def _is_open(ports: Ports) -> bool:
    """Whether the number of steps is told by no input."""
    prompts = ports.prompts.values()
    axes = {p.dims[1] for p in prompts}
    told = {d for p in ports.inputs if p.role == "input" and p not in prompts for d in p.dims}
    return bool(axes) and not any(isinstance(a, int) or a in told for a in axes)


# ---------------------------------------------------------------- what came out


def _show(ports: Ports, found: Arrays, written: bool) -> None:
    """Print each sequence that was drawn, whole, and of other results a few lines. A single text
    stands alone, unless the results are also ``written``."""
    lines = {name: _sequences(ports, name, found) for name in ports.prompts}
    texts = {name for name, port in ports.prompts.items() if is_text(ports, port)}
    alone = list(lines) == list(texts) and len(texts) == 1
    for name, array in found.items():
        if name in texts:
            rows = f"\n{RULE}\n".join(lines[name])
            echo(rows if alone else f"{name}  {list(array.shape)}\n{rows}")
        elif lines.get(name):
            echo("\n  ".join([f"{name}  {list(array.shape)}  {array.dtype}", *lines[name]]))
        elif written or not alone:
            echo(shown(name, array))


def _sequences(ports: Ports, name: str, found: Arrays) -> list[str]:
    """The sequences of a target, up to where they end, as texts or as numbers with blanks between
    them; none where a step is a vector."""
    from rnnc.graph.names import LENGTH
    from rnnc.runtime.symbols import vocabulary_in

    array = found[name]
    if array.ndim != 2:
        return []
    lengths = found.get(name + LENGTH, [array.shape[1]] * len(array))
    rows = [row[:n] for row, n in zip(array, lengths, strict=True)]
    symbols = vocabulary_in(ports)
    if symbols is not None and is_text(ports, ports.prompts[name]):
        return [symbols.decode(row) for row in rows]
    return [" ".join(f"{x:.6g}" if row.dtype.kind == "f" else str(x) for x in row) for row in rows]
