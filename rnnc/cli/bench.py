"""``rnnc bench``: how fast the forms of a model are on this machine, beside other libraries."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from rnnc.cli.common import (
    Sizes,
    diagnostics_as_asked,
    echo,
    echo_json,
    format_option,
    lengths_option,
    load_spec,
    memory_option,
    model_option,
    outputs_option,
    plural,
    say,
    set_option,
)
from rnnc.source import RnncError, SpecError, UsageError

if TYPE_CHECKING:
    from rnnc.api import Spec
    from rnnc.bench.forms import Call, Case
    from rnnc.bench.timing import Times

TITLES = {"predict": "outputs", "loss": "losses", "grad": "gradients", "train": "training step"}
PACKAGES = ("numpy", "onnxruntime", "torch", "jax")


@click.command(short_help="Time a spec in all its forms, beside PyTorch and JAX.")
@click.argument("file", metavar="FILE")
@click.option(
    "--mode", "modes", multiple=True, type=click.Choice(list(TITLES)),
    help="predict: outputs. grad: gradients; both unless given. loss: losses. train: a training "
    "step with Adam. May be given again.",
)  # fmt: skip
@click.option("--steps", multiple=True, metavar="[T=]N", help="Length of the sequences (100).")
@click.option("--batch", type=click.IntRange(min=1), default=1, help="How many sequences (1).")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32")
@click.option("--threads", type=click.IntRange(min=1), default=1, help="Of everything (1).")
@click.option("--rounds", type=click.IntRange(min=1), default=9, help="Rounds of timing (9).")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of weights and data (0).")
@click.option("--peers/--no-peers", default=True, help="Whether to time PyTorch and JAX, too.")
@click.option("--torch-compile", is_flag=True, help="And torch.compile, which compiles for long.")
@lengths_option
@outputs_option
@memory_option
@model_option
@set_option
@format_option
@diagnostics_as_asked
def bench(
    file: str,
    modes: tuple[str, ...],
    steps: tuple[str, ...],
    batch: int,
    dtype: str,
    threads: int,
    rounds: int,
    seed: int,
    peers: bool,
    torch_compile: bool,
    lengths: tuple[str, ...],
    outputs: tuple[str, ...],
    memory: str,
    model: str | None,
    sizes: Sizes,
    format_: str,
) -> int:
    """Time a spec in all its forms, on random data and initial weights.

    The forms are: ONNX as it is compiled by default; with plain loops where that has others;
    unrolled, up to 100 steps; one call for each step; NumPy; and the same equations in PyTorch
    (a loop in Python, gradients by autograd) and JAX (jitted, the loop a lax.scan) where these
    are installed. Results have to agree before anything is timed, else the exit code is 1.
    Forms are timed in turns; a ratio is the median over the rounds of a form's time divided by
    that of the first one. With --lengths each sequence is of a random length, up to --steps; with
    --memory low gradients are timed in both forms.

    \b
    rnnc bench GRU --set n=28 --set m=128 --steps 100 --batch 32

    \b
    With --format json an object is printed: model, dims, batch, steps, lengths, dtype, threads,
    machine, and results, a list of {mode, form, seconds, fastest, ratio, error}, and costs, a
    list of {mode, of, operations, products, bytes}, of a step of each loop and in all.
    """
    from rnnc.bench.timing import describe_machine, limited, measure

    counts = _steps(steps)
    processors = os.cpu_count() or 1
    if threads > processors:
        raise UsageError(f"--threads {threads}: this machine has {processors} processors")
    if "numpy" in sys.modules:
        say("note", "NumPy was loaded before, and keeps the number of its threads")
    with limited(threads):  # before anything that computes is imported
        from rnnc.bench.forms import case

        spec = load_spec(file, model, sizes)
        chosen = list(dict.fromkeys(modes)) or _modes(spec, outputs)
        if memory == "low" and not {"grad", "train"} & set(chosen):
            raise UsageError("--memory low is for the modes grad and train")
        cases = [
            case(spec, mode, batch=batch, steps=counts, dtype=dtype, threads=threads, seed=seed,
                 axes=lengths, outputs=outputs, memory=memory)
            for mode in chosen
        ]  # fmt: skip
        report = _Report(describe_machine(PACKAGES))
        for one in cases:
            calls = _agreeing(one, report, one.forms(peers, torch_compile))
            report.add(one, measure(calls, rounds))
    if format_ == "json":
        echo_json(report.as_dict())
    else:
        echo(report.text(file))
    return 1 if report.wrong else 0


def _steps(items: Iterable[str]) -> int | dict[str, int]:
    """What ``--steps`` gives: the steps of all axes, or of each by the name of its length."""
    found: dict[str, int] = {}
    for item in items:
        name, _, number = item.rpartition("=")
        if not number.isdecimal() or int(number) < 1:
            raise UsageError(f"--steps {item}: a number of steps, such as 100 or T=100")
        found[name] = int(number)
    if "" not in found:
        return found or 100
    if len(found) > 1:
        raise UsageError("--steps: a number alone is for all axes; name the length of each")
    return found[""]


def _modes(spec: Spec, outputs: Iterable[str]) -> list[str]:
    """What a spec has of outputs and gradients."""
    found = ["predict"] if spec.bound.outputs or outputs else []
    return [*found, "grad"] if spec.bound.params else found


def _agreeing(one: Case, report: _Report, forms: Iterable[tuple[str, Any]]) -> dict[str, Call]:
    """The calls of those forms that exist and give what the first one gives."""
    from rnnc.bench.forms import disagreement

    calls: dict[str, Call] = {}
    wanted: Any = None
    for name, make in forms:
        try:
            call = make()
            found = None if call is None else call()
        except RnncError as e:
            if not calls:
                raise
            why = e.diagnostics[0].message if isinstance(e, SpecError) else str(e)
            say("note", f"{TITLES[one.mode]}: no {name}: {why}")
            continue
        if call is None or found is None:
            continue
        wanted = wanted or found
        error, where = disagreement(found, wanted)
        if error <= one.tolerance:
            calls[name] = call
            report.errors[one.mode, name] = error
        else:
            report.wrong = True
            say("error", f"{TITLES[one.mode]}: {name} is off by {error:.1g} in {where}")
    return calls


class _Report:
    """What was measured, as text and as data."""

    def __init__(self, machine: str):
        self.machine = machine
        self.errors: dict[tuple[str, str], float] = {}
        self.found: list[tuple[Case, Times]] = []
        self.wrong = False

    def add(self, one: Case, times: Times) -> None:
        self.found.append((one, times))

    def as_dict(self) -> dict[str, Any]:
        one = self.found[0][0]
        dims = {d: s for d, s in one.spec.bound.dims.items() if isinstance(s, int)}
        return {
            "model": one.spec.name,
            "dims": dims,
            "batch": one.batch,
            "steps": {a: one.steps[a] for a in one.spec.bound.time_axes()},
            "lengths": {a: n.tolist() for a, n in one.lengths.items()},
            "dtype": one.dtype,
            "threads": one.threads,
            "machine": self.machine,
            "results": [
                {
                    "mode": c.mode,
                    "form": name,
                    "seconds": times.seconds(name),
                    "fastest": times.fastest(name),
                    "ratio": times.ratio(name, next(iter(times.rounds))),
                    "error": self.errors[c.mode, name],
                }
                for c, times in self.found
                for name in times.rounds
            ],
            "costs": [
                {"mode": c.mode, "of": of, "operations": cost.operations,
                 "products": cost.products, "bytes": cost.bytes}
                for c, _ in self.found for of, cost in c.costs()
            ],
        }  # fmt: skip

    def text(self, file: str) -> str:
        from rnnc.bench.timing import format_seconds

        data = self.as_dict()
        shown = {**data["dims"], "batch": data["batch"]}
        shown |= {self.found[0][0].spec.bound.axes[a].length: n for a, n in data["steps"].items()}
        shown |= {f"{a}.lengths": f"{min(n)} to {max(n)}" for a, n in data["lengths"].items()}
        lines = [
            f"{data['model']}  ({file})  with {', '.join(f'{k} = {v}' for k, v in shown.items())}; "
            f"{data['dtype']}, {plural(data['threads'], 'thread')}",
            self.machine,
            "",
        ]
        width = max(len(t) for r in data["results"] for t in (r["form"], TITLES[r["mode"]]))
        for one, _ in self.found:
            rows = [r for r in data["results"] if r["mode"] == one.mode]
            lines.append(f"{TITLES[one.mode]:<{width}}  {'median':>10}   ratio    error")
            lines.append(f"{'-' * width}  ----------  ------  -------")
            lines += [
                f"{r['form']:<{width}}  {format_seconds(r['seconds']):>10}  {r['ratio']:6.2f}  "
                f"{r['error']:7.0e}"
                for r in rows
            ]
            lines += [f"{where}: {cost}" for where, cost in one.costs()]
            lines.append("")
        return "\n".join(lines).rstrip("\n")
