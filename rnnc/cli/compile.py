"""``rnnc compile``: a spec to an ONNX model or a module of NumPy source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnnc.cli.common import (
    Sizes,
    check_kernels,
    check_target,
    compile_options,
    diagnostics_as_asked,
    echo,
    echo_json,
    file_size,
    format_option,
    hyper_numbers,
    lengths_option,
    load_spec,
    memory_option,
    mode_option,
    model_option,
    outputs_option,
    say,
    set_option,
    target_option,
    unroll_option,
    written,
)
from rnnc.source import UsageError

if TYPE_CHECKING:
    from rnnc.api import Spec
    from rnnc.passes.unroll import Counts
    from rnnc.runtime.ports import Ports
    from rnnc.runtime.weights import Weights

OF_MODES = {  # options that not every mode has, and those of compiler.CHUNKED and MASKED
    "inputs": ("grad",),
    "optimizer": ("train",),
    "hyper": ("train",),
    "clip": ("train",),
    "top_k": ("generate",),
    "memory": ("grad", "train"),
}
GRADIENT, RATE = "g", "lr"  # the inputs of an optimiser
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
@click.option(
    "--inputs", multiple=True, metavar="NAME", help="Mode grad: differentiate by this input, too."
)
@click.option(
    "--carry", is_flag=True, help="Sequences are chunks of longer ones: states go in and come out."
)
@lengths_option
@outputs_option
@target_option
@click.option("--plain-loops", is_flag=True, help="Every recurrence stays a loop over its steps.")
@memory_option
@click.option(
    "--jit", is_flag=True,
    help="NumPy source: numba compiles the loops when they first run; it pays for small models.",
)  # fmt: skip
@click.option("--optimizer", metavar="NAME", help="Mode train: adam unless given.")
@click.option(
    "--hyper", multiple=True, callback=hyper_numbers, metavar="NAME=NUMBER",
    help="Mode train: a parameter of the optimiser (beta1=0.95); once for each.",
)  # fmt: skip
@click.option("--clip", type=float, metavar="NORM", help="Mode train: the largest gradient norm.")
@click.option(
    "--top-k", type=click.IntRange(min=1), metavar="K",
    help="Mode generate: draw among the K most likely.",
)  # fmt: skip
@click.option("--explain", is_flag=True, help="Say what became of each recurrence.")
@format_option
@diagnostics_as_asked
def compile_(
    file: str,
    output: Path,
    model: str | None,
    mode: str | None,
    unroll: Counts | None,
    sizes: Sizes,
    weights: Path | None,
    weights_as_inputs: bool,
    seed: int | None,
    dtype: str,
    opset: int | None,
    training: bool,
    inputs: tuple[str, ...],
    carry: bool,
    lengths: tuple[str, ...],
    outputs: tuple[str, ...],
    target: str | None,
    plain_loops: bool,
    memory: str,
    jit: bool,
    optimizer: str | None,
    hyper: dict[str, float],
    clip: float | None,
    top_k: int | None,
    explain: bool,
    format_: str,
) -> None:
    """Compile a spec to an ONNX model or to NumPy source.

    \b
    rnnc compile lstm.rnn --set n=28 -o lstm.onnx
    rnnc compile lstm.rnn --weights w.safetensors -o lstm.py
    rnnc compile LSTM --mode step -o step.onnx     for streaming
    rnnc compile Elman --mode train -o train.onnx  one training step
    """
    backend = _backend(output, opset, target, jit)
    mode = mode or "predict"
    options: dict[str, Any] = {
        "inputs": tuple(n for item in inputs for n in item.split(",") if n),
        "carry": carry,
        "lengths": lengths,
        "outputs": outputs,
        "target": target or "cpu",
        "plain_loops": plain_loops,
        "memory": memory,
        "jit": jit,
        "optimizer": optimizer,
        "hyper": hyper or None,
        "clip": clip,
        "top_k": top_k,
    }
    _check_mode(mode, options)
    from rnnc.train.checkpoint import metadata_of, vocabulary_in

    learning = mode in ("grad", "train")
    _check_weights(weights, weights_as_inputs, seed, mode if learning else "")
    weights_as_inputs = weights_as_inputs or learning
    check_target(output)
    spec = sized_like(load_spec(file, model, sizes), weights)
    _check_task(spec, mode)
    given = None if weights_as_inputs else _weights(spec, weights, seed or 0, dtype)
    vocabulary = None if weights is None else vocabulary_in(metadata_of(weights))
    compiled = spec.compile(
        backend, weights=given, mode=mode, unroll=unroll, dtype=dtype, training=training or None,
        opset=opset or 18, vocabulary=vocabulary, **options,
    )  # fmt: skip
    with written(output) as part:
        compiled.save(part)
    ports, size = compiled.ports, output.stat().st_size
    if ports.params and given is not None and weights is None:
        say("note", f"the weights are initial ones (seed {seed or 0}), not trained: "
                    "give trained ones with --weights")  # fmt: skip
    if jit and not getattr(compiled, "jit", False):
        say("note", "numba can take no loop of this model, and --jit changes nothing")
    if format_ == "json":
        described = {k: v for k, v in asdict(ports).items() if k != "extra"}
        echo_json({"diagnostics": [], "file": str(output), "bytes": size, **described})
        return
    from rnnc.runtime.summary import summary

    title, *lines = summary(ports, "ONNX" if backend == "onnx" else "NumPy").split("\n")
    echo("\n".join([title, *lines]) + (_where(ports, weights, weights_as_inputs)))
    for line in (*_states(ports, file, mode), *_updates(ports)):
        echo(f"  {line}")
    echo(f"wrote {output}, {file_size(size)}")
    if explain:
        from rnnc.cli.explain import explanation

        made = compile_options(mode, unroll, backend, training or None, dtype=dtype, **options)
        echo("\n" + explanation(spec, made).rstrip("\n"))


def _backend(output: Path, opset: int | None, target: str | None, jit: bool) -> str:
    backend = BACKENDS.get(output.suffix.lower())
    if backend is None:
        raise UsageError(
            f"{output} says neither of the two kinds of output: "
            "end it in .onnx for an ONNX model, in .py for NumPy source"
        )
    if opset is not None and backend != "onnx":
        raise UsageError("--opset is for ONNX models; NumPy source has none")
    check_kernels(backend, target)
    if jit and backend != "numpy":
        raise UsageError("--jit is for NumPy source: end the output in .py")
    return backend


def _check_mode(mode: str, options: Mapping[str, Any]) -> None:
    """Refuse options that mean nothing in a mode.

    :raises UsageError: naming the option, and the modes that have it.
    """
    from rnnc.compiler import CHUNKED, MASKED

    for option, modes in {**OF_MODES, "carry": CHUNKED, "lengths": MASKED}.items():
        if options[option] not in (None, False, (), {}, "normal") and mode not in modes:
            those = f"mode {modes[0]}" if len(modes) == 1 else f"the modes {', '.join(modes)}"
            raise UsageError(f"--{option.replace('_', '-')} is for {those}; this is mode {mode}")


def _check_task(spec: Spec, mode: str) -> None:
    """Refuse what has to be learned of an optimiser, which learns nothing itself."""
    if mode in ("grad", "train") and not spec.system.params:
        inputs = {v.name for v in spec.system.inputs}
        if {GRADIENT, RATE} <= inputs:
            raise UsageError(
                f"{spec.name} is an optimiser and has no parameters; it is chosen for a model: "
                f"rnnc compile MODEL --mode train --optimizer {spec.name.lower()} -o train.onnx"
            )


def _check_weights(weights: Path | None, as_inputs: bool, seed: int | None, mode: str) -> None:
    if mode and (weights or seed is not None):
        option = "--weights" if weights else "--seed"
        raise UsageError(
            f"{option} means nothing in mode {mode}: the weights change from call to call, so "
            "that the model takes them as inputs under their own names"
        )
    if weights and as_inputs:
        raise UsageError("--weights and --weights-as-inputs exclude each other")
    if seed is not None and (weights or as_inputs):
        other = "--weights" if weights else "--weights-as-inputs"
        raise UsageError(f"--seed is for initial weights; with {other} there are none")


def sized_like(spec: Spec, weights: Path | None) -> Spec:
    """The spec with the sizes that a file of weights was trained with, where --set gave none."""
    if weights is None:
        return spec
    from rnnc.train.checkpoint import sizes_in

    new = sizes_in(weights, spec)
    if not new:
        return spec
    sizes = ", ".join(f"{d} = {n}" for d, n in new.items())
    say("note", f"{sizes}, as {weights} was trained with; --set sets other sizes")
    return type(spec)(spec.source, spec.name, {**spec.sizes, **new})


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


def _updates(ports: Ports) -> list[str]:
    """What of a training step is given to the next one."""
    params = {p.name for p in ports.params}
    weights = [f"{after} to {before}" for before, after in ports.updates if before in params]
    others = [before for before, _ in ports.updates if before not in params]
    lines = []
    if weights:
        lines.append(f"after each update give {', '.join(weights)}")
    if others:
        lines.append(
            f"and so for the optimiser's state ({', '.join(others)}); at the first update it is 0"
        )
    return lines


def _states(ports: Ports, file: str, mode: str) -> list[str]:
    """Where the states of a step or chunk model come from at the first one."""
    if not ports.states:
        return []
    one = "step" if mode == "step" else "chunk"
    computed = list(ports.extra.get("computed", ()))
    zero = [before for before, _ in ports.states if before not in computed]
    pairs = ", ".join(f"{after} to {before}" for before, after in ports.states)
    lines = [f"after each {one} give {pairs}"]
    if zero:
        lines.append(f"at the first {one} {', '.join(zero)} {_are(zero)} 0")
    if computed:
        lines.append(
            f"at the first {one} {', '.join(computed)} {'come' if len(computed) > 1 else 'comes'} "
            f"from the init model: rnnc compile {file} --mode init -o init.onnx"
        )
    return lines


def _are(names: list[str]) -> str:
    return "are" if len(names) > 1 else "is"
