"""``rnnc show``: any stage of a compilation as text, and the drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rnnc.cli.common import (
    Sizes,
    check_kernels,
    check_target,
    compile_options,
    diagnostics_as_asked,
    echo,
    echo_json,
    format_option,
    keep_apart,
    lengths_option,
    load_spec,
    memory_option,
    mode_option,
    model_option,
    outputs_option,
    set_option,
    target_option,
    unroll_option,
    write_text,
)
from rnnc.source import Span, UsageError

if TYPE_CHECKING:
    from rnnc.api import Spec
    from rnnc.compiler import Options
    from rnnc.passes.unroll import Counts

STAGES = ("tree", "system", "adjoint", "final", "plan", "numpy", "onnx")
COMPILED = STAGES[3:]
BACKENDS = ("onnx", "numpy")
DRAWINGS = ("svg", "html", "dot", "mmd")
NO_DRAWINGS = ("png", "jpg", "jpeg", "gif", "pdf", "eps")


@click.command(short_help="Any stage of a compilation, or a drawing.")
@click.argument("file")
@click.option(
    "--stage", type=click.Choice(STAGES),
    help="tree: the syntax. system: the equations (the default). adjoint: those of the gradients. "
    "final: the equations after all passes. plan: loops and arrays in their order. numpy: the "
    "source. onnx: the graph.",
)  # fmt: skip
@click.option(
    "--backend", type=click.Choice(BACKENDS),
    help="For whom final and plan are made: onnx (the default) or numpy.",
)  # fmt: skip
@click.option("--latex", is_flag=True, help="The equations (or the adjoint ones) as LaTeX.")
@click.option("--graph", is_flag=True, help="Draw the equations; with --unroll the first steps.")
@click.option(
    "-o", "output", type=click.Path(path_type=Path),
    help="Write to this file; a drawing is .svg, .html, .dot or .mmd. With --latex and a file .rnn "
    "the equations are part of a spec.",
)  # fmt: skip
@model_option
@mode_option
@unroll_option
@lengths_option
@outputs_option
@target_option
@memory_option
@set_option
@format_option
@diagnostics_as_asked
def show(
    file: str,
    stage: str | None,
    backend: str | None,
    latex: bool,
    graph: bool,
    output: Path | None,
    model: str | None,
    mode: str | None,
    unroll: Counts | None,
    lengths: tuple[str, ...],
    outputs: tuple[str, ...],
    target: str | None,
    memory: str,
    sizes: Sizes,
    format_: str,
) -> None:
    """Print any stage of the compilation of a spec, or draw it.

    \b
    rnnc show LSTM --stage plan
    rnnc show LSTM --latex
    rnnc show LSTM --graph -o lstm.svg
    rnnc show LSTM --graph --unroll 3 -o steps.html
    """
    drawing = output.suffix[1:].lower() if output else ""
    graph = graph or (stage is None and drawing in DRAWINGS + NO_DRAWINGS)
    low = memory if memory != "normal" else None
    given = {"--mode": mode, "--unroll": unroll, "--lengths": lengths, "--outputs": outputs,
             "--target": target, "--memory": low}  # fmt: skip
    _check_options(stage, graph, [option for option, value in given.items() if value], output)
    if latex and (graph or stage not in (None, "system", "adjoint")):
        raise UsageError("--latex is for equations: --stage system (the default) or adjoint")
    if backend and stage not in ("final", "plan"):
        raise UsageError("--backend is for --stage final and --stage plan")
    backend = stage if stage in BACKENDS else backend or BACKENDS[0]
    check_kernels(backend, target)
    if output:
        check_target(output)
    spec = load_spec(file, model, sizes)
    keep_apart(output, spec.source.name)
    if graph:
        stage = "graph"
        text = _drawing(spec, unroll, drawing or "svg")
    else:
        stage = stage or "system"
        if latex:
            text = _latex(spec, stage, as_spec=drawing == "rnn")
        elif stage in COMPILED:
            options = compile_options(mode or "predict", unroll, backend, lengths=lengths,
                                      outputs=outputs, target=target or "cpu",
                                      memory=memory)  # fmt: skip
            text = _compiled(spec, stage, options)
        else:
            text = _equations(spec, stage)
    if output:
        write_text(output, text)
    if format_ == "json":
        echo_json({"diagnostics": [], "stage": stage, "text": text})
    elif not output:
        echo(text.rstrip("\n"))


def _check_options(
    stage: str | None, graph: bool, compiling: Sequence[str], output: Path | None
) -> None:
    """Refuse options of a compilation, those given, where nothing is compiled."""
    if graph:
        wrong = ["--stage"] * bool(stage) + [x for x in compiling if x != "--unroll"]
        if wrong:
            raise UsageError(
                f"--graph draws the equations as they are written: leave out {wrong[0]}"
            )
        if output and output.suffix[1:].lower() not in DRAWINGS:
            raise UsageError(f"a drawing is .svg, .html, .dot or .mmd; {output.name} is none")
    elif stage not in COMPILED and compiling:
        raise UsageError(
            f"{compiling[0]} changes nothing at the stage {stage or 'system'}; "
            f"add --stage {', '.join(COMPILED[:-1])} or {COMPILED[-1]}"
            + (", or --graph" if compiling == ["--unroll"] else "")
        )


def _equations(spec: Spec, stage: str) -> str:
    if stage == "tree":
        return tree_text(spec.tree)
    return spec.diff() if stage == "adjoint" else str(spec)


def _compiled(spec: Spec, stage: str, options: Options) -> str:
    from rnnc import compiler
    from rnnc.graph.show import show_system
    from rnnc.passes.plan import show_plan

    final = compiler.final(spec.bound, options)
    if stage == "final":
        return show_system(final)
    plan = compiler.planned(final, options)
    if stage == "plan":
        return show_plan(plan)
    if stage == "numpy":
        from rnnc.backends.numpy_source import to_numpy

        return to_numpy(plan, doc=spec.doc)
    from rnnc.backends.onnx_graph import onnx_text, to_onnx

    return onnx_text(to_onnx(plan))


def _latex(spec: Spec, stage: str, as_spec: bool) -> str:
    from rnnc import compiler
    from rnnc.graph.latex import latex_spec, show_latex
    from rnnc.passes.textbook import symbols

    system = compiler.adjoint(spec.system) if stage == "adjoint" else spec.system
    names = symbols(system) if stage == "adjoint" else None
    return latex_spec(system, names) if as_spec else show_latex(system, names)


def _drawing(spec: Spec, unroll: Counts | None, format_: str) -> str:
    from rnnc.graph.draw import draw
    from rnnc.passes.mode import evaluating, predicting
    from rnnc.passes.unroll import unroll as unrolled

    if unroll is None:
        return draw(spec.system, format_)
    # step by step without the losses, whose sums over all steps would hide the network
    network = replace(evaluating(predicting(spec.bound)), targets={})
    return draw(unrolled(network, unroll).pruned(), format_)


# ---------------------------------------------------------------- the tree


def tree_text(node: object) -> str:
    """A syntax tree, one node a line, what belongs to it indented.

    >>> print(tree_text(parse_expression("2 * W x[t]")))
    Binary *
      left: Number 2
      right: Product
        Name W
        Indexed x
          Name t
    """
    return "\n".join(_lines(node)) + "\n"


def _lines(node: object, label: str = "", indent: str = "") -> list[str]:
    if not is_dataclass(node):
        return [f"{indent}{label}{node!r}"]
    here = f"{indent}{label}{type(node).__name__}"
    below: list[str] = []
    items = [(f.name, getattr(node, f.name)) for f in fields(node)]
    left_out = ("doc", "notes", "source")
    items = [(n, v) for n, v in items if not isinstance(v, Span) and n not in left_out]
    items = [(n, v) for n, v in items if not (n == "entries" and v is False)]
    if len(items) == 1 and isinstance(items[0][1], (str, int, float)):
        return [f"{here} {items[0][1]}"]
    for name, value in items:
        if isinstance(value, tuple):
            if all(isinstance(v, str) for v in value):
                here += f" {name}={', '.join(value)}" if value else ""
                continue
            many = sum(is_dataclass(v) or isinstance(v, tuple) for _, v in items) > 1
            for v in value:
                below += _lines(v, f"{name}: " if many else "", indent + "  ")
        elif is_dataclass(value):
            below += _lines(value, f"{name}: ", indent + "  ")
        elif name in ("name", "op", "function") and value is not None:
            here += f" {value}"
        elif value is not None:
            here += f" {name}={value!r}"
    return [here, *below]
