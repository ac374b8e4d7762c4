"""``rnnc score``: how likely texts are to a model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from rnnc.cli.common import Sizes, echo, model_option, set_option
from rnnc.cli.inputs import input_option, items, typed
from rnnc.cli.models import given_weights, open_model

WIDTH = 40  # of a text in the table, on a terminal


@click.command(short_help="How likely texts are to a model.")
@click.argument("model_file", metavar="MODEL")
@click.argument("texts", metavar="TEXT...", nargs=-1, required=True)
@input_option
@click.option(
    "--weights", type=click.Path(path_type=Path), metavar="FILE",
    help="For a spec, or a model that holds none.",
)  # fmt: skip
@model_option
@set_option
def score(
    model_file: str,
    texts: tuple[str, ...],
    inputs: tuple[str, ...],
    weights: Path | None,
    model: str | None,
    sizes: Sizes,
) -> None:
    """The log-likelihood of each text (in nats), that of a step, and the perplexity.

    MODEL is a spec with its weights, or a model that was compiled in mode loss. A text is of
    symbols of its vocabulary; without one, numbers: "3 1 4". What else the model reads is given
    by --input, once for all texts or once for each.

    \b
    rnnc score CharLSTM --weights w.safetensors "to be or not to be" "eb ot ton ro eb ot"
    rnnc score Seq2Seq --weights w.safetensors --input x="to be" "être" "avoir"
    """
    opened, own, given = open_model(model_file, model, sizes, 0, weights, items(inputs), "loss")
    taken = given_weights(opened, own, weights, False, 0)
    targets = [p for p in opened.ports.inputs if p.role == "target"]
    sequences: Any = texts
    if len(targets) == 1:
        sequences = [typed(opened.ports, targets[0], text) for text in texts]
    beside = {
        name: [*array] * (len(texts) if len(array) == 1 else 1)
        for name, array in given.complete().items()
    }
    scores = opened.score(sequences, weights=taken, inputs=beside)
    echo(f"{'log-likelihood':>14}  {'per step':>9}  {'perplexity':>10}  text")
    for text, s in zip(texts, scores, strict=True):
        cut = sys.stdout.isatty() and len(text) > WIDTH
        short = f"{text[: WIDTH - 1]}…" if cut else text
        line = f"{s.log_likelihood:>14.4f}  {s.per_step:>9.4f}  {s.perplexity:>10.4g}  "
        echo(line + short.replace("\n", "\\n"))
