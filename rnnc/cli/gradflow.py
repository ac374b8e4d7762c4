"""``rnnc gradflow``: how the gradient of the last step flows back through time."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnnc.cli.common import (
    Sizes,
    check_target,
    echo,
    load_spec,
    model_option,
    set_option,
    written,
)
from rnnc.source import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rnnc.api import Spec

COUNT = click.IntRange(min=1)


@click.command(short_help="See gradients vanish, explode, and be clipped.")
@click.argument("files", nargs=-1, required=True, metavar="SPEC...")
@click.option(
    "--state", "states", multiple=True, metavar="NAME",
    help="A value h[t] to look at, if not all states; once for each.",
)  # fmt: skip
@click.option("--steps", type=COUNT, metavar="T", help="Steps (50, or those of the data).")
@click.option("--batch", type=COUNT, metavar="N", help="Sequences (8, or those of the data).")
@click.option(
    "-d", "--data", type=click.Path(path_type=Path), metavar="FILE",
    help="data.npz with arrays by name, instead of random ones.",
)  # fmt: skip
@click.option(
    "--weights", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
    help="Trained weights, instead of initial ones; once for each spec.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of whatever is random (0).")
@click.option("--scale", type=float, default=1.0, help="Multiply the recurrent weights (1).")
@click.option("--clip", type=float, metavar="NORM", help="The largest norm of the gradient.")
@click.option(
    "-o", "output", type=click.Path(path_type=Path),
    help="Write a plot: flow.png, flow.svg or flow.pdf (needs matplotlib).",
)  # fmt: skip
@model_option
@set_option
def gradflow(
    files: tuple[str, ...],
    states: tuple[str, ...],
    data: Path | None,
    weights: tuple[Path, ...],
    output: Path | None,
    model: str | None,
    sizes: Sizes,
    **options: Any,
) -> None:
    """See how the gradient of the last step's loss L_T flows back through time.

    The norm of dL_T/dh[t] by step t, for each state h, and of what each step adds to dL_T/dW,
    for each recurrent weight W, of one or several models side by side. Of a model without a
    loss, L_T is its first output at the last step along a random direction.

    \b
    rnnc gradflow ElmanCell LSTM --set m=32 -o flow.svg
    rnnc gradflow ElmanCell --scale 3 --clip 1
    """
    if weights and len(weights) != len(files):
        raise UsageError(
            f"there are {len(weights)} files of weights for {len(files)} specs; "
            "give --weights once for each, in their order"
        )
    if model and len(files) > 1:
        raise UsageError("--model chooses a model of one file; there are several")
    if output:
        _check_output(output)
    specs = _specs(files, model, sizes)
    from rnnc.flow import gradient_flow, tables
    from rnnc.graph.names import canonical

    arrays = None if data is None else _data(data)
    flows = []
    for i, spec in enumerate(specs):
        own = [s for s in states if len(specs) == 1 or canonical(s) in spec.system.values]
        if states and not own:
            raise UsageError(f"{spec.name} has none of the states {', '.join(states)}")
        given = weights[i] if weights else None
        taken = arrays
        if arrays is not None and len(specs) > 1:  # each takes what it knows
            known = {v.name for v in spec.system.inputs}
            taken = {n: a for n, a in arrays.items() if canonical(n) in known}
        flows.append(gradient_flow(spec, taken, given, state=own, **options))
    echo(tables(flows, shutil.get_terminal_size((100, 24)).columns).rstrip("\n"))
    if output:
        from rnnc.flow_plot import plot

        with written(output) as part:
            plot(flows, part)
        echo(f"wrote {output}")


def _check_output(output: Path) -> None:
    """What can be said before anything is computed."""
    from rnnc.flow_plot import SUFFIXES, check_matplotlib

    if output.suffix.lower() not in SUFFIXES:
        raise UsageError(f"a plot is written as {', '.join(SUFFIXES)}, not {output}")
    check_target(output)
    check_matplotlib()


def _specs(files: tuple[str, ...], model: str | None, sizes: Sizes) -> list[Spec]:
    """The specs; a size serves those of several that have it, and must serve one."""
    if len(files) == 1:
        return [load_spec(files[0], model, sizes)]
    names = [set(load_spec(file, None, {}).system.dims) for file in files]
    unknown = {n: s for n, s in sizes.items() if not any(n in own for own in names)}
    out = []
    for file, own in zip(files, names, strict=True):
        mine = {n: s for n, s in sizes.items() if n in own}
        out.append(load_spec(file, None, {**mine, **unknown}))
    return out


def _data(path: Path) -> dict[str, NDArray[Any]]:
    import numpy as np

    if path.suffix != ".npz":
        raise UsageError(f"data are arrays by name in an .npz file, not {path}")
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # whatever NumPy makes of a damaged file
        raise UsageError(f"{path} cannot be read: {error}") from error
