"""``rnnc train``: weights for a spec, from data."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnnc.cli.common import (
    Sizes,
    check_target,
    echo,
    file_size,
    hyper_numbers,
    load_spec,
    model_option,
    plural,
    say,
    set_option,
)
from rnnc.files import check_apart, same_file
from rnnc.source import UsageError

if TYPE_CHECKING:
    from rnnc.api import Spec
    from rnnc.train import Fit
    from rnnc.train.data import Data

FAILED, INTERRUPTED = 1, 130


FILE = click.Path(path_type=Path)
COUNT = click.IntRange(min=1)


@click.command(short_help="Train a model on arrays or texts.")
@click.argument("file")
@click.option(
    "-d", "--data", multiple=True, metavar="[NAME=]FILE",
    help="data.npz or data.safetensors with arrays by name, x.npy, x=any.npy; may be given again.",
)  # fmt: skip
@click.option(
    "--text", "texts", multiple=True, metavar="FILE",
    help="A text, for a model that predicts the next symbol; may be given again.",
)  # fmt: skip
@click.option("--bytes", "as_bytes", is_flag=True, help="The symbols of a text are its bytes.")
@click.option("--words", is_flag=True, help="Its words, which blanks set apart.")
@click.option(
    "--validation", multiple=True, metavar="SHARE|FILE",
    help="A share of the data (0.1), or files of their own, as for --data or --text.",
)  # fmt: skip
@click.option(
    "-o", "output", type=FILE, required=True, help="The weights: w.safetensors (or w.npz)."
)
@click.option("--weights", type=FILE, metavar="FILE", help="Start from these weights.")
@click.option("--optimizer", default="adam", metavar="NAME", help="The optimiser (adam).")
@click.option(
    "--hyper", multiple=True, callback=hyper_numbers, metavar="NAME=NUMBER",
    help="A parameter of the optimiser: beta1=0.95; once for each.",
)  # fmt: skip
@click.option("--lr", type=float, default=1e-3, help="The learning rate (0.001).")
@click.option(
    "--schedule", default="constant", metavar="NAME",
    help="Of the learning rate: constant, cosine, step:EVERY:FACTOR.",
)  # fmt: skip
@click.option(
    "--warmup", type=click.IntRange(min=0), default=0, metavar="N",
    help="Steps that lead up to the learning rate (0).",
)  # fmt: skip
@click.option("--clip", type=float, metavar="NORM", help="The largest norm of the gradient.")
@click.option("--batch", type=COUNT, metavar="N", help="Sequences, or streams of a text (32).")
@click.option(
    "--bptt", type=COUNT, metavar="N",
    help="Cut sequences into chunks of N steps and carry the states (64 for a text).",
)  # fmt: skip
@click.option("--epochs", type=COUNT, metavar="N", help="End after N epochs (10).")
@click.option("--steps", type=COUNT, metavar="N", help="End after N steps, which are updates.")
@click.option(
    "--patience", type=COUNT, metavar="N",
    help="End after N epochs without a smaller validation loss, and keep the best weights.",
)  # fmt: skip
@click.option("--no-shuffle", is_flag=True, help="Leave the sequences in their order.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of whatever is random (0).")
@click.option("--backend", type=click.Choice(["onnx", "numpy"]), default="onnx")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32")
@click.option("--threads", type=COUNT, metavar="N", help="Of onnxruntime.")
@click.option(
    "--memory", type=click.Choice(["normal", "low"]), default="normal",
    help="low: for long sequences, as in rnnc compile.",
)  # fmt: skip
@click.option("--log", type=FILE, help="Write a line of JSON for each step and epoch.")
@click.option("--checkpoint", type=FILE, help="Write all that --resume needs: c.safetensors.")
@click.option(
    "--checkpoint-every", type=COUNT, metavar="N", help="After N steps, not after each epoch."
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint.")
@model_option
@set_option
def train(
    file: str,
    data: tuple[str, ...],
    texts: tuple[str, ...],
    as_bytes: bool,
    words: bool,
    validation: tuple[str, ...],
    output: Path,
    no_shuffle: bool,
    model: str | None,
    sizes: Sizes,
    **options: Any,
) -> int:
    """Train a model, and write its weights.

    Arrays are batch-first: x[t] : [n] is [sequences, T, n]. Sizes that nobody set are those of
    the data. Ctrl-C ends after the current step, with weights and checkpoint.

    \b
    rnnc train net.rnn --data d.npz --validation 0.1 --epochs 20 -o w.safetensors
    rnnc train CharLSTM --text corpus.txt --steps 5000 --clip 1 -o w.safetensors
    rnnc compile net.rnn --weights w.safetensors -o net.onnx
    """
    if output.suffix not in (".safetensors", ".npz"):
        raise UsageError(f"weights are written as .safetensors or .npz, not {output}")
    check_target(output)
    spec = load_spec(file, model, sizes)
    read = _check_files(file, output, data, texts, validation, options)
    unit = {"bytes": as_bytes, "words": words}
    given = _data(spec, data, texts, unit)
    from rnnc.train import DivergedError, fit

    try:
        result = fit(
            spec, given, validation=_validation(validation, bool(texts), unit),
            shuffle=not no_shuffle, **options,
        )  # fmt: skip
    except DivergedError as error:
        kept = _last(output, read)
        error.save(kept)
        say("error", str(error))
        say("note", f"the last good weights, after {plural(error.step, 'step')}, are in {kept}")
        return FAILED
    result.save(output)
    best = bool(options["patience"] and result.best_epoch)
    for line in _table(result, best):
        echo(line)
    which = f", those of epoch {result.best_epoch}" if best else ""
    echo(f"wrote {output}, {file_size(output.stat().st_size)}{which}")
    if result.stopped == "interrupted":
        again = "go on with the same command and --resume"
        say("note", f"stopped by Ctrl-C; {again}" if options["checkpoint"] else "stopped by Ctrl-C")
        return INTERRUPTED
    echo(f"next: {_next(file, model, result, output)}")
    return 0


def _check_files(
    file: str,
    output: Path,
    data: tuple[str, ...],
    texts: tuple[str, ...],
    validation: tuple[str, ...],
    options: Mapping[str, Any],
) -> list[str | Path]:
    """The other files of the command, after a check that none is written over."""
    from rnnc.train.data import data_files

    read: list[tuple[str, str | Path]] = [("the spec", file)]
    read += [("the data", path) for path in (*data_files(data), *texts)]
    read += [("the validation data", path) for path in data_files(validation)]
    if Path(options["optimizer"]).suffix:
        read.append(("the optimiser", options["optimizer"]))
    if options["weights"] is not None:
        read.append(("the weights to start from", options["weights"]))
    written = [("-o", output), ("--log", options["log"]), ("--checkpoint", options["checkpoint"])]
    check_apart(read, [(option, path) for option, path in written if path is not None])
    return [path for _, path in (*read, *written) if path is not None]


def _last(output: Path, others: list[str | Path]) -> Path:
    """A file for the last good weights, beside that of the trained ones."""

    kept = output
    while any(same_file(kept, path) for path in others):
        kept = kept.with_name(f"{kept.stem}.last{kept.suffix}")
    return kept


def _data(
    spec: Spec, files: tuple[str, ...], texts: tuple[str, ...], unit: dict[str, bool]
) -> Data:
    if files and texts:
        raise UsageError("--data and --text exclude each other")
    if asked := [option for option, chosen in unit.items() if chosen]:
        if not texts:
            raise UsageError(f"--{asked[0]} is for texts: give --text FILE")
        if len(asked) > 1:
            raise UsageError("--bytes and --words exclude each other")
    if texts:
        from rnnc.train import Text

        return Text.read(texts, **unit)
    if not files:
        names = ", ".join(v.name for v in spec.system.inputs) or "nothing"
        raise UsageError(
            f"there are no data: {spec.name} takes {names}; "
            "give --data d.npz with arrays of these names (or --text FILE)"
        )
    return files


def _validation(items: tuple[str, ...], text: bool, unit: dict[str, bool]) -> float | Data | None:
    if not items:
        return None
    if len(items) == 1:
        try:
            return float(items[0])
        except ValueError:
            pass
    if text:
        from rnnc.train import Text

        return Text.read(items, **unit)
    return items


# ---------------------------------------------------------------- what came out


def _table(result: Fit, best: bool) -> list[str]:
    """The last epoch, or the best one where its weights are kept, in a few lines."""
    epochs, steps = plural(len(result.history), "epoch"), plural(result.step, "step")
    why = ", no improvement any more" if result.stopped == "patience" else ""
    lines = [f"{result.spec.name}: {epochs}, {steps}, {result.seconds:.1f} s{why}"]
    if not result.history:
        return lines
    last = result.history[result.best_epoch - 1 if best else -1]
    names = [n for n in last if n not in ("epoch", "step", "lr") and "validation." not in n]
    parts = [n for n in names if n.startswith("loss.")]
    if len(parts) == 1:  # it is the loss
        names.remove(parts[0])
    validated = "validation.loss" in last
    width = max(map(len, names))
    title = f"  {'':{width}}  {'training':>10}"
    lines.append(f"{title}  {'validation':>10}" if validated else title)
    for name in names:
        line = f"  {name:{width}}  {last[name]:>10.4g}"
        lines.append(f"{line}  {last[f'validation.{name}']:>10.4g}" if validated else line)
    return lines


def _next(file: str, model: str | None, result: Fit, output: Path) -> str:
    """The command that makes a model with these weights."""
    from rnnc.train.data import free_dims

    shapes = {n: s for n, s in result.spec.sizes.items() if isinstance(s, tuple)}
    bare = type(result.spec)(result.spec.source, result.spec.name, shapes)
    brought = free_dims(bare)  # by the weights
    words = ["rnnc", "compile", file]
    words += ["--model", model] if model else []
    for name, size in result.spec.sizes.items():
        if not isinstance(size, tuple) and name in brought:
            continue
        shape = f"[{','.join(map(str, size))}]" if isinstance(size, tuple) else str(size)
        words += ["--set", f"{name}={shape}"]
    words += ["--lengths", ",".join(result.lengths)] if result.lengths else []
    words += ["--weights", str(output), "-o", f"{output.stem}.onnx"]
    return shlex.join(words)
