"""The picture of ``rnnc.flow``: norms by step on a logarithmic axis. matplotlib lives here alone.

>>> import rnnc                                                  # doctest: +SKIP
>>> from rnnc.flow_plot import plot                              # doctest: +SKIP
>>> flows = [rnnc.gradient_flow(rnnc.load(name)) for name in ("ElmanCell", "LSTM")]
...                                                              # doctest: +SKIP
>>> plot(flows, "flow.svg")                                      # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rnnc.flow import Flow
from rnnc.source import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
# one hue for each spec, told apart by the colour-blind, too (M. Okabe, K. Ito 2008)
HUES = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444")
STROKES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
PALEST = 0.55  # how much white there is in the last line of a spec
LONG = 12  # lines beyond which a legend stands in two columns


def plot(flows: Sequence[Flow], path: str | Path) -> None:
    """Write the picture of some flows, in two panels: ∂L_T/∂h[t], and what each step adds to
    ∂L_T/∂W. The name's ending says the format: ``.png``, ``.svg`` or ``.pdf``.

    :raises UsageError: matplotlib is missing, or the ending is another one.
    """
    figure = draw(flows)
    if Path(path).suffix.lower() not in SUFFIXES:
        raise UsageError(f"a plot is written as {', '.join(SUFFIXES)}, not {Path(path).name}")
    figure.savefig(path, dpi=150)


def check_matplotlib() -> None:
    """
    :raises UsageError: matplotlib is missing.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "a plot needs matplotlib, which is not there: pip install 'rnnc[plot]'"
        ) from error


def draw(flows: Sequence[Flow]) -> Figure:
    """The figure.

    :raises UsageError: matplotlib is missing.
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for i, flow in enumerate(flows):
        prefix = f"{flow.name}  " if len(flows) > 1 else ""
        hue = HUES[i % len(HUES)]
        _lines(left, flow.states, hue, prefix)
        _lines(right, flow.contributions, hue, prefix)
        if flow.factor < 1:
            after = {name: norm * flow.factor for name, norm in flow.contributions.items()}
            _lines(right, after, hue, None)
    left.set_title("How far back the loss of the last step is felt")
    left.set_ylabel("norm of ∂$L_T$/∂h[t]")
    right.set_title("What each step adds to ∂$L_T$/∂W")
    right.set_ylabel("norm of the term of step t")
    for axes in (left, right):
        _dress(axes, max(f.steps for f in flows))
    _clipping(right, flows)
    figure.suptitle(_title(flows), fontsize=10, color="#555555")
    return figure


def _lines(axes: Axes, norms: Mapping[str, NDArray[Any]], hue: str, prefix: str | None) -> None:
    """One line for each name, in shades of a hue; those after clipping have no name."""
    for k, (name, norm) in enumerate(norms.items()):
        steps = np.arange(1, len(norm) + 1)
        seen = np.where(np.isfinite(norm) & (norm > 0), norm, np.nan)  # a logarithm has no 0
        colour = _paler(hue, PALEST * k / max(len(norms) - 1, 1))
        stroke = STROKES[k % len(STROKES)]
        if prefix is None:
            axes.plot(steps, seen, color=colour, linewidth=0.9, alpha=0.8, linestyle=stroke)
        else:
            label = prefix + name
            axes.plot(steps, seen, color=colour, linewidth=2.2, linestyle=stroke, label=label)


def _dress(axes: Axes, steps: int) -> None:
    """Scales, a quiet grid, the legend."""
    axes.set_yscale("log")
    axes.set_xlim(1, max(steps, 2))
    axes.set_xlabel("step t (the loss is at T, on the right)")
    axes.grid(True, which="major", color="#dddddd", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    count = len(axes.get_legend_handles_labels()[0])
    if count:
        axes.legend(frameon=False, handlelength=3.2, ncols=1 + (count > LONG), fontsize=9)


def _clipping(axes: Axes, flows: Sequence[Flow]) -> None:
    """What clipping did to the whole gradient of each spec, below the panel's title."""
    clipped = [f for f in flows if f.clip is not None]
    if not clipped:
        return
    words = []
    for f in clipped:
        after = f"→ {f.clip:g}" if 0 < f.factor < 1 else "(not clipped)"
        norm = f"{f.norm:,.0f}" if 100 <= f.norm < 1e6 else f"{f.norm:.3g}"
        words.append(f"{f.name} {norm} {after}")
    text = "norm of the whole gradient: " + "; ".join(words)
    if any(f.factor < 1 for f in clipped):
        text += "\nthin lines: after clipping"
    axes.annotate(text, (0.5, -0.16), xycoords="axes fraction", ha="center", va="top", fontsize=9)


def _title(flows: Sequence[Flow]) -> str:
    words = list(dict.fromkeys(f.loss for f in flows))
    loss = words[0] if len(words) == 1 else "; ".join(f"{f.name}: {f.loss}" for f in flows)
    scales = {f.scale for f in flows} - {1.0}
    text = f"$L_T$: {loss}"
    return text + "".join(f"   (recurrent weights × {s:g})" for s in sorted(scales))


def _paler(hue: str, share: float) -> tuple[float, float, float]:
    """A colour with so much white in it."""
    r, g, b = (int(hue[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return (r + (1 - r) * share, g + (1 - g) * share, b + (1 - b) * share)
