"""``rnnc diff``: the gradients of a spec, as equations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rnnc.cli.common import (
    Sizes,
    check_target,
    diagnostics_as_asked,
    echo,
    echo_json,
    format_option,
    keep_apart,
    load_spec,
    model_option,
    set_option,
    write_text,
)
from rnnc.source import UsageError

if TYPE_CHECKING:
    from rnnc.api import Spec


@click.command(short_help="The gradients, as equations.")
@click.argument("file")
@click.option(
    "--inputs", multiple=True, metavar="NAME", help="Differentiate by this input, too; once each."
)
@click.option("--latex", is_flag=True, help="LaTeX instead of a spec.")
@click.option(
    "-o", "output", type=click.Path(path_type=Path), help="Write to this file: .rnn, or .tex."
)
@model_option
@set_option
@format_option
@diagnostics_as_asked
def diff(
    file: str,
    inputs: tuple[str, ...],
    latex: bool,
    output: Path | None,
    model: str | None,
    sizes: Sizes,
    format_: str,
) -> None:
    """Print the equations of back-propagation through time, as a spec or as LaTeX.

    The derivative by W is ∂W (d_W): of the loss, or of the sum of the outputs weighted with the
    inputs ∂… where a model has no loss. What is printed can be checked, shown and compiled like
    any other spec.

    \b
    rnnc diff Elman
    rnnc diff LSTM --inputs x -o lstm_gradients.rnn
    rnnc diff GRU --latex
    """
    if output:
        check_target(output)
        wanted = ".tex" if latex else ".rnn"
        if output.suffix.lower() != wanted:
            what = "LaTeX" if latex else "a spec (--latex writes .tex)"
            raise UsageError(f"{output.name} does not end in {wanted}, and this is {what}")
    spec = load_spec(file, model, sizes)
    from rnnc.graph.names import canonical

    names = tuple(canonical(n) for item in inputs for n in item.split(",") if n)
    text = _latex(spec, names) if latex else spec.diff(names)
    keep_apart(output, spec.source.name)
    if output:
        write_text(output, text)
    if format_ == "json":
        echo_json({"diagnostics": [], "inputs": list(names), "text": text})
    elif not output:
        echo(text.rstrip("\n"))


def _latex(spec: Spec, inputs: tuple[str, ...]) -> str:
    from rnnc import compiler
    from rnnc.graph.latex import show_latex
    from rnnc.passes.textbook import symbols

    system = compiler.adjoint(spec.system, inputs)
    return show_latex(system, symbols(system))
