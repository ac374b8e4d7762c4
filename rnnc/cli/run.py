"""``rnnc run``: a compiled model on arrays from files, or on random ones."""

from __future__ import annotations

import time as clock
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnnc.cli.arrays import save_arrays, shown
from rnnc.cli.common import (
    Sizes,
    check_target,
    echo,
    keep_apart,
    model_option,
    say,
    set_option,
)
from rnnc.cli.inputs import Inputs, files, input_option, items, lacking
from rnnc.cli.models import given_weights, open_model
from rnnc.source import DataError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rnnc.runtime.numpy_model import NumpyModel
    from rnnc.runtime.onnx_model import OnnxModel
    from rnnc.runtime.ports import PortInfo

    Model = NumpyModel | OnnxModel
    Arrays = dict[str, NDArray[Any]]

LEARNING_RATE = 1e-3  # of a training step that is given none
STEPS, SECONDS, MOST_RUNS, FEWEST_RUNS = 10, 1.0, 1000, 5


@click.command(short_help="Run a model on arrays, and time it.")
@click.argument("model_file", metavar="MODEL")
@input_option
@click.option("--random", is_flag=True, help="Make the inputs that are missing.")
@click.option(
    "--steps", multiple=True, metavar="[T=]N", help="Steps of what is made, or of the model (10)."
)
@click.option("--batch", type=click.IntRange(min=1), help="Sequences of what is made (1).")
@click.option(
    "--weights", type=click.Path(path_type=Path), metavar="FILE",
    help="For a spec, or a model that holds none.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of whatever is random (0).")
@click.option("-o", "output", type=click.Path(path_type=Path), help="Write the outputs: out.npz.")
@click.option("--time", is_flag=True, help="Print how long a run takes (the median of many).")
@model_option
@set_option
def run(
    model_file: str,
    inputs: tuple[str, ...],
    random: bool,
    steps: tuple[str, ...],
    batch: int | None,
    weights: Path | None,
    seed: int,
    output: Path | None,
    time: bool,
    model: str | None,
    sizes: Sizes,
) -> None:
    """Run a model that rnnc wrote (.onnx or .py), and print what it gives.

    Arrays are batch-first: x[t] : [n] is [batch, T, n]. MODEL may be a spec, too: it is then
    compiled for NumPy, with lengths where t.lengths is given. Only run .py files that you trust:
    a model's code is executed.

    \b
    rnnc run lstm.onnx --input x=x.npy -o out.npz
    rnnc run lstm.onnx --random --steps 100 --time
    """
    given = items(inputs)
    if output and output.suffix not in (".npz", ".npy"):
        raise UsageError(f"outputs are written as .npz (or one as .npy), not {output}")
    if output:
        check_target(output)
        keep_apart(output, model_file, *files(given))
        keep_apart(output, *([weights] if weights else []))
    opened, own, inputs_ = open_model(model_file, model, sizes, seed, weights, given)
    taken = given_weights(opened, own, weights, random, seed)
    arrays = _Arrays(opened, inputs_, steps, batch, seed).complete(random)

    def once() -> Arrays:
        return opened.run(arrays, weights=taken, seed=seed)

    outputs = once()
    for name, array in outputs.items():
        echo(shown(name, array))
    if time:
        echo(_timing(once))
    if output:
        save_arrays(output, outputs)
        echo(f"wrote {output}", err=True)


# ---------------------------------------------------------------- inputs


class _Arrays:
    """The arrays a model is run on: those that are given, and those that are made."""

    def __init__(
        self, model: Model, given: Inputs, steps: tuple[str, ...], batch: int | None, seed: int
    ):
        self.ports: dict[str, PortInfo] = {p.name: p for p in model.ports.inputs}
        self.arrays = given.arrays()
        self.trains = model.ports.extra.get("mode") == "train"
        self.seed = seed
        self.lengths = self._asked(steps)
        if batch is not None:
            self.lengths["batch"] = batch

    def _asked(self, steps: tuple[str, ...]) -> dict[str, int]:
        """The lengths that --steps gives."""
        open_ = [d for p in self.ports.values() for d in p.dims if isinstance(d, str)]
        open_ += [p.name for p in self.ports.values() if p.role == "length"]
        names = [n for n in dict.fromkeys(open_) if n != "batch"]
        lengths: dict[str, int] = {}
        for item in steps:
            name, equals, number = item.rpartition("=")
            if not number.isdecimal() or int(number) < 1:
                raise UsageError(f"--steps {item}: a number of steps, such as 10 or T=10")
            if not names or (equals and name not in names):
                has = f"has {', '.join(names)}" if names else "has no open length"
                raise UsageError(f"--steps {item}: the model {has}")
            lengths.update(dict.fromkeys([name] if equals else names, int(number)))
        return lengths

    def _known(self) -> dict[str, int]:
        """The lengths of the arrays that are there."""
        known: dict[str, int] = {}
        for name, array in self.arrays.items():
            for d, n in zip(self.ports[name].dims, array.shape, strict=False):
                if isinstance(d, str):
                    known.setdefault(d, n)
        return known

    def _needed(self) -> list[PortInfo]:
        """The ports that get no array of themselves."""
        known = self._known()

        def follows(p: PortInfo) -> bool:
            if p.role == "length":
                return p.name in known
            if p.role == "lengths":  # full sequences
                return True
            open_ = [d for d in p.dims if isinstance(d, str)]
            return p.role in ("state", "uniform") and all(d in known for d in open_)

        return [p for p in self.ports.values() if p.name not in self.arrays and not follows(p)]

    def complete(self, random: bool) -> dict[str, Any]:
        """All arrays, those that are missing made if that is wanted."""
        for name, n in self._known().items():
            if self.lengths.get(name, n) != n:
                what = "--batch" if name == "batch" else f"--steps {name}="
                raise UsageError(f"{what} {self.lengths[name]} disagrees with the inputs: {n}")
        needed = self._needed()
        asked = [
            p for p in needed
            if (p.role == "length" and p.name in self.lengths) or self._is_rate(p)
        ]  # fmt: skip
        if not random and len(needed) > len(asked):
            rest = [p for p in needed if p not in asked]
            raise DataError(lacking(rest, f", or try --random (batch 1, {STEPS} steps)"))
        sizes = {**self.lengths, **self._known()}
        made = {p.name: self._make(p, sizes) for p in needed}
        fixed = {n for n in made if self._is_rate(self.ports[n])}
        fixed |= {n for n in made if self.ports[n].role in ("length", "state")}
        drawn = {n: a for n, a in made.items() if n not in fixed}
        if drawn:
            shapes = ", ".join(f"{n} {list(a.shape)}" for n, a in drawn.items())
            say("note", f"made at random (seed {self.seed}): {shapes}")
        given = [f"{n} = {a}" for n, a in made.items() if self.ports[n].role == "length"]
        given += [f"{n} = 0" for n in made if self.ports[n].role == "state"]
        given += [f"{n} = {a}" for n, a in made.items() if self._is_rate(self.ports[n])]
        if given and (random or fixed):
            say("note", f"taken: {', '.join(given)}")
        return {**self.arrays, **made}

    def _is_rate(self, p: PortInfo) -> bool:
        """Whether it is the learning rate of a training step."""
        return self.trains and p.name == "lr" and not p.dims

    def _make(self, p: PortInfo, sizes: Mapping[str, int]) -> Any:
        import numpy as np

        if p.role == "length":
            return np.asarray(sizes.get(p.name, STEPS))
        if self._is_rate(p):
            return np.asarray(LEARNING_RATE)
        default = {"batch": 1}
        shape = [d if isinstance(d, int) else sizes.get(d, default.get(d, STEPS)) for d in p.dims]
        rng = np.random.default_rng([self.seed, *p.name.encode()])
        if p.role == "state":
            return np.zeros(shape, {"real": float, "index": int, "flag": bool}[p.kind])
        if p.role == "uniform":
            return rng.random(shape)
        if p.kind == "index":
            return rng.integers(1 if p.along else 0, p.limit or 2, shape)
        return rng.random(shape) < 0.5 if p.kind == "flag" else rng.standard_normal(shape)


# ---------------------------------------------------------------- time


def _timing(once: Any) -> str:
    from rnnc.bench.timing import format_seconds

    once()
    times: list[float] = []
    start = clock.perf_counter()
    while len(times) < FEWEST_RUNS or (
        clock.perf_counter() - start < SECONDS and len(times) < MOST_RUNS
    ):
        before = clock.perf_counter()
        once()
        times.append(clock.perf_counter() - before)
    times.sort()
    median = format_seconds(times[len(times) // 2])
    return f"{median} a run (median of {len(times)}, fastest {format_seconds(times[0])})"
