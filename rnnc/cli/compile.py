"""``rnnc compile``: a spec to an ONNX model or a module of NumPy source."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rnnc.cli.common import (
    Sizes,
    check_target,
    diagnostics_as_asked,
    echo,
    echo_json,
    file_size,
    format_option,
    load_spec,
    mode_option,
    model_option,
    say,
    set_option,
    unroll_option,
    written,
)
from rnnc.source import UsageError

if TYPE_CHECKING:
    from rnnc.api import Spec
    from rnnc.runtime.ports import Ports
    from rnnc.runtime.weights import Weights

BACKENDS = {".onnx": "onnx", ".py": "numpy"}


@click.command("compile", short_help="An ONNX model, or NumPy source.")
@click.argument("file")
@click.option(
    "-o", "output", type=click.Path(path_type=Path), required=True,
    help="What to write: model.onnx, or model.py for NumPy source.",
)  # fmt: skip
@model_option
@mode_option
@unroll_option
@set_option
@click.option(
    "--weights", type=click.Path(path_type=Path), metavar="FILE",
    help="A .safetensors or .npz file; without one, initial weights are taken.",
)  # fmt: skip
@click.option("--weights-as-inputs", is_flag=True, help="Leave the weights out of the model.")
@click.option("--seed", type=click.IntRange(min=0), help="Of the initial weights (0).")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32")
@click.option("--opset", type=int, help="ONNX's, 18 unless given.")
@click.option("--training", is_flag=True, help="With `training` on: dropout drops.")
@click.option("--explain", is_flag=True, help="Say what became of each recurrence.")
@format_option
@diagnostics_as_asked
def compile_(
    file: str,
    output: Path,
    model: str | None,
    mode: str | None,
    unroll: int | None,
    sizes: Sizes,
    weights: Path | None,
    weights_as_inputs: bool,
    seed: int | None,
    dtype: str,
    opset: int | None,
    training: bool,
    explain: bool,
    format_: str,
) -> None:
    """Compile a spec to an ONNX model or to NumPy source.

    \b
    rnnc compile lstm.rnn --set n=28 -o lstm.onnx
    rnnc compile lstm.rnn --weights w.safetensors -o lstm.py
    rnnc compile LSTM --mode step -o step.onnx     for streaming
    """
    backend = _backend(output, opset)
    _check_weights(weights, weights_as_inputs, seed)
    check_target(output)
    spec = load_spec(file, model, sizes)
    given = None if weights_as_inputs else _weights(spec, weights, seed or 0, dtype)
    mode = mode or "predict"
    compiled = spec.compile(
        backend, weights=given, mode=mode, unroll=unroll, dtype=dtype, training=training,
        opset=opset or 18,
    )  # fmt: skip
    with written(output) as part:
        compiled.save(part)
    ports, size = compiled.ports, output.stat().st_size
    if ports.params and given is not None and weights is None:
        say("note", f"the weights are initial ones (seed {seed or 0}), not trained: "
                    "give trained ones with --weights")  # fmt: skip
    if format_ == "json":
        described = {k: v for k, v in asdict(ports).items() if k != "extra"}
        echo_json({"diagnostics": [], "file": str(output), "bytes": size, **described})
        return
    from rnnc.runtime.summary import summary

    title, *lines = summary(ports, "ONNX" if backend == "onnx" else "NumPy").split("\n")
    echo("\n".join([title, *lines]) + (_where(ports, weights, weights_as_inputs)))
    for line in _states(spec, ports, file, mode):
        echo(f"  {line}")
    echo(f"wrote {output}, {file_size(size)}")
    if explain:
        from rnnc.cli.explain import explanation

        echo("\n" + explanation(spec, mode, unroll, training, backend).rstrip("\n"))


def _backend(output: Path, opset: int | None) -> str:
    backend = BACKENDS.get(output.suffix.lower())
    if backend is None:
        raise UsageError(
            f"{output} says neither of the two kinds of output: "
            "end it in .onnx for an ONNX model, in .py for NumPy source"
        )
    if opset is not None and backend != "onnx":
        raise UsageError("--opset is for ONNX models; NumPy source has none")
    return backend


def _check_weights(weights: Path | None, as_inputs: bool, seed: int | None) -> None:
    if weights and as_inputs:
        raise UsageError("--weights and --weights-as-inputs exclude each other")
    if seed is not None and (weights or as_inputs):
        other = "--weights" if weights else "--weights-as-inputs"
        raise UsageError(f"--seed is for initial weights; with {other} there are none")


def _weights(spec: Spec, path: Path | None, seed: int, dtype: str) -> Weights:
    if path is None:
        return spec.init(seed, dtype)
    from rnnc.graph.names import canonical
    from rnnc.runtime.weights import read_weights

    weights = read_weights(path)
    unused = sorted(n for n in weights if canonical(n) not in spec.shapes)
    if unused and len(unused) < len(weights):
        some = ", ".join(unused[:8]) + (" …" if len(unused) > 8 else "")
        say("note", f"{path} also holds {some}, which {spec.name} does not have")
    return weights


def _where(ports: Ports, weights: Path | None, as_inputs: bool) -> str:
    if not ports.params:
        return ""
    if as_inputs:
        return ", given with each call"
    return f", from {weights}" if weights else ", initial"


def _states(spec: Spec, ports: Ports, file: str, mode: str) -> list[str]:
    """Where the states of a step model come from at the first step."""
    if mode != "step" or not ports.states:
        return []
    computed = list(ports.extra.get("computed", ()))
    zero = [before for before, _ in ports.states if before not in computed]
    pairs = ", ".join(f"{after} to {before}" for before, after in ports.states)
    lines = [f"after each step give {pairs}"]
    if zero:
        lines.append(f"at the first step {', '.join(zero)} {_are(zero)} 0")
    if computed:
        lines.append(
            f"at the first step {', '.join(computed)} {'come' if len(computed) > 1 else 'comes'} "
            f"from the init model: rnnc compile {file} --mode init -o init.onnx"
        )
    return lines


def _are(names: list[str]) -> str:
    return "are" if len(names) > 1 else "is"
