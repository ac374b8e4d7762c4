"""How the gradient of the last step's loss flows back through time, as arrays and as a table.

>>> import rnnc
>>> flow = rnnc.gradient_flow(rnnc.load("ElmanCell", n=3, m=8), steps=30)
>>> bool(flow.states["h"][0] < 1e-3 * flow.states["h"][-1])    # it vanishes
True

Two questions are answered for L_T, the loss of the last step alone:

- how large ∂L_T/∂h[t] is at each step t, for each state h;
- what each step adds to ∂L_T/∂W, a sum over the steps since W is used in all of them.

Both are derivatives by inputs that are zero, put where the question is: ``h[t] = … + e[t]`` for
a state, and ``W[t] = W + E[t]`` for a weight, the copy of W that step t uses (I. Goodfellow, Y.
Bengio, A. Courville, *Deep Learning*, MIT Press 2016, section 10.2.2). ``differentiate`` gives
them like any others; the zeros are then taken out and the rest is compiled for NumPy, in float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnc.api import Spec
from rnnc.backends.numpy_source import to_numpy
from rnnc.compiler import BACKENDS
from rnnc.flow_system import Asked, asked, gradients
from rnnc.graph.names import canonical
from rnnc.graph.types import BATCH
from rnnc.graph.verify import verify
from rnnc.passes.schedule import schedule
from rnnc.runtime.numpy_model import NumpyModel
from rnnc.runtime.ports import brackets, parse_ports, ports_json
from rnnc.runtime.weights import Weights, check_weights, read_weights
from rnnc.source import DataError, UsageError
from rnnc.testing import random_data

NDA = NDArray[Any]
STEPS, SEQUENCES = 50, 8  # of random data, unless the caller says


@dataclass(frozen=True)
class Flow:
    """The gradient of L_T by steps; what ``loss`` says in words.

    ``states[h][t-1]`` is the norm of ∂L_T/∂h[t]: of each sequence for its own loss, then the mean
    over the sequences. ``contributions[W][t-1]`` is the norm of what step t adds to ∂L_T/∂W, the
    gradient of the mean loss over the sequences; ``gradients`` has the norm of the whole
    ∂L_T/∂W for every parameter, and ``norm`` that of all of them together. None of these is
    clipped. All arrays are [T], in float64.
    """

    name: str
    loss: str
    batch: int
    seed: int
    states: Mapping[str, NDA]
    contributions: Mapping[str, NDA]
    gradients: Mapping[str, float]
    norm: float
    scale: float = 1.0
    clip: float | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """T."""
        return len(next(iter((*self.states.values(), *self.contributions.values()))))

    @property
    def factor(self) -> float:
        """What clipping multiplies every gradient with: clip / norm where the norm is larger than
        ``clip``, else 1 (R. Pascanu, T. Mikolov, Y. Bengio, ICML 2013)."""
        return self.clip / self.norm if self.clip is not None and self.norm > self.clip else 1.0

    def table(self) -> str:
        """The numbers as text, at most some 20 steps of them."""
        return tables([self])


def gradient_flow(
    spec: Spec,
    data: Mapping[str, ArrayLike] | None = None,
    weights: Mapping[str, ArrayLike] | str | Path | None = None,
    *,
    batch: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    scale: float = 1.0,
    clip: float | None = None,
    state: str | Iterable[str] | None = None,
) -> Flow:
    """How the gradient of the last step's loss flows back through time.

    ``data`` are inputs and targets, batch first; without them ``steps`` (50) steps of ``batch``
    (8) random sequences are made, and of given data the first so many are used. ``weights``
    (arrays or a file) are initial ones unless given, and ``scale`` multiplies the recurrent
    ones. ``state`` names the values to look at, all recurrent ones unless given. ``clip`` is
    the largest norm of the gradient of all parameters.

    Of a model without losses, L_T is the product of its first output at the last step and a
    random direction of length 1.

    :raises UsageError: a state or option does not exist, or nothing in the model recurs.
    :raises DataError: data or weights do not fit.
    :raises SpecError: sizes are open.
    """
    if clip is not None and not clip > 0:
        raise UsageError(f"gradients are clipped to a norm above 0, not {clip}")
    for what, number in (("batch", batch), ("steps", steps)):
        if number is not None and number < 1:
            raise UsageError(f"{what} is 1 or more, not {number}")
    wanted = (state,) if isinstance(state, str) else tuple(state or ())
    question = asked(spec.bound, [canonical(s) for s in wanted], seed)
    model = _compiled(question)
    given = _weights(spec, weights, seed)
    if scale != 1 and not question.recurrent:
        raise UsageError(f"{spec.name} has no recurrent weights to be scaled")
    for name in question.recurrent:
        given[name] = given[name] * scale
    if data is None:
        size, length = batch or SEQUENCES, steps or STEPS
        arrays: dict[str, Any] = {**random_data(spec, size, length, seed)}
    else:
        arrays, size, length = _cut(spec, model, data, batch, steps)
    taken = {p.name: p for p in model.ports.inputs}
    arrays = {n: a for n, a in arrays.items() if n in taken}
    for port in taken.values():
        if port.role == "length":
            arrays[port.name] = size if port.name == "B" else length
    with np.errstate(all="ignore"):  # what explodes becomes inf, and is to be seen
        found = model.run(arrays, weights=given, seed=seed)
        return _flow(spec, question, found, size, seed, scale, clip)


def _compiled(question: Asked) -> NumpyModel:
    system = gradients(question)
    for step in BACKENDS["numpy"]:
        system = verify(step(system))
    plan = schedule(system)
    text = ports_json(plan, dtype="float64", weights_given=True)
    return NumpyModel(to_numpy(plan, "float64", "", None, text), parse_ports(text))


def _weights(
    spec: Spec, weights: Mapping[str, ArrayLike] | str | Path | None, seed: int
) -> Weights:
    """All weights in float64, in arrays of our own."""
    if weights is None:
        return spec.init(seed, "float64")
    given = read_weights(weights) if isinstance(weights, (str, Path)) else weights
    return dict(check_weights(spec.shapes, given, "float64"))


def _cut(
    spec: Spec,
    model: NumpyModel,
    data: Mapping[str, ArrayLike],
    batch: int | None,
    steps: int | None,
) -> tuple[dict[str, Any], int, int]:
    """The given arrays, of them the first sequences and steps, and how many these are."""
    known = {v.name: v for v in spec.bound.inputs}
    out: dict[str, Any] = {}
    sizes: dict[str, int] = {}
    for given, array in data.items():
        name = canonical(given)
        if name not in known:
            raise DataError(f"{spec.name} takes no {given}; it takes {', '.join(known)}")
        out[name] = a = np.asarray(array)
        lead = [BATCH] if BATCH in known[name].axes else []
        lead += [axis for axis in known[name].axes if axis != BATCH]
        if a.ndim < len(lead):
            raise DataError(f"{name} is {brackets(a.shape)}; arrays are batch-first, [batch, T, …]")
        for i, axis in enumerate(lead):
            limit = batch if axis == BATCH else steps
            out[name] = a = a.take(range(min(limit or a.shape[i], a.shape[i])), axis=i)
            sizes["B" if axis == BATCH else "T"] = a.shape[i]
    return out, sizes.get("B", batch or SEQUENCES), sizes.get("T", steps or STEPS)


def _flow(
    spec: Spec,
    question: Asked,
    found: Mapping[str, NDA],
    batch: int,
    seed: int,
    scale: float,
    clip: float | None,
) -> Flow:
    states = {}
    for name, adjoint in question.states.items():
        a = found[adjoint]
        if BATCH in question.system[name].axes:
            # of the mean loss: of each sequence's own it is batch times as large
            states[name] = norms(a * batch, 2).mean(axis=0)
        else:
            states[name] = norms(a, 1)
    contributions = {name: norms(found[a], 1) for name, a in question.contributions.items()}
    totals = {name: norms(found[a], 0) for name, a in question.gradients.items()}
    return Flow(
        spec.name,
        question.loss,
        batch,
        seed,
        states,
        contributions,
        {name: float(n) for name, n in totals.items()},
        float(norms(np.array([float(n) for n in totals.values()]), 0)),
        scale,
        clip,
        {d: s for d, s in spec.bound.dims.items() if isinstance(s, int)},
    )


def norms(a: NDA, lead: int) -> NDA:
    """Euclidean norms over all but the first ``lead`` dimensions; squares neither overflow nor
    vanish."""
    flat = np.asarray(a, np.float64).reshape(*a.shape[:lead], -1)
    top = np.abs(flat).max(axis=-1, keepdims=True, initial=0.0)
    safe = np.where((top > 0) & np.isfinite(top), top, 1.0)
    squares = ((flat / safe) ** 2).sum(axis=-1)
    return np.asarray(safe[..., 0] * np.sqrt(squares))


# ---------------------------------------------------------------- the table

ROWS = 16  # steps that are shown at most, about
NARROW = 9  # characters of a column, at least
NOTES = """\
‖∂h‖: norm of ∂L_T/∂h[t], mean over the sequences; a step: its factor for each step back
‖∂W‖: norm of what step t adds to ∂L_T/∂W; all t: norm of the sum, which is ∂L_T/∂W"""


def tables(flows: Sequence[Flow], width: int = 100) -> str:
    """Some flows as text: side by side where they have the same steps and fit the width."""
    together = list(flows)
    lines = _rows(together)
    if len({f.steps for f in flows}) == 1 and max(map(len, lines)) <= width:
        parts = ["\n".join((*map(_heading, together), "", *lines))]
    else:
        parts = ["\n".join((_heading(f), "", *_rows([f]))) for f in together]
    return "\n\n".join((*parts, NOTES)) + "\n"


def _heading(f: Flow) -> str:
    sizes = ", ".join(f"{d} = {n}" for d, n in f.sizes.items())
    lines = [
        f"{f.name}  {sizes}{'; ' if sizes else ''}T = {f.steps}, {f.batch} sequences",
        f"  L_T: {f.loss}",
    ]
    if f.scale != 1:
        lines.append(f"  recurrent weights times {f.scale:g}")
    line = f"  gradient by all parameters: norm {f.norm:.4g}"
    if f.clip is not None and not np.isfinite(f.norm):
        line += ", which clipping does not repair"
    elif f.clip is not None and f.norm > f.clip:
        line += f", clipped to {f.clip:g}: times {f.factor:.3g}"
    elif f.clip is not None:
        line += f", within the clip of {f.clip:g}"
    lines.append(line)
    if not any(a.any() for a in f.states.values()):
        lines.append("  no gradient reaches a state: weights of 0 or stop_gradient are in between")
    return "\n".join(lines)


def _rows(flows: Sequence[Flow]) -> list[str]:
    """The lines of one table, whose columns are the states and parameters of all flows."""
    steps = shown_steps(flows[0].steps)
    clipped = any(f.clip is not None for f in flows)
    first = ["", "t", *map(str, steps), "a step", "all t", *(["clipped"] if clipped else [])]
    blocks = [_block([first])]
    for f in flows:
        columns = []
        for name, norm in f.states.items():
            cells = [_number(norm[t - 1]) for t in steps]
            columns.append([f"‖∂{name}‖", *cells, _factor(norm), "", ""])
        for name, norm in f.contributions.items():
            cells = [_number(norm[t - 1]) for t in steps]
            total = f.gradients[name]
            after = _number(total * f.factor) if f.clip is not None else ""
            columns.append([f"‖∂{name}‖", *cells, "", _number(total), after])
        block = _block([c[: len(first) - 1] for c in columns])
        inner = max(len(block[0]), len(f.name))
        blocks.append([f.name.center(inner), *(line.rjust(inner) for line in block)])
    return ["   ".join(parts).rstrip() for parts in zip(*blocks, strict=True)]


def _block(columns: Sequence[Sequence[str]]) -> list[str]:
    """Columns side by side, right-aligned."""
    widths = [max(NARROW if len(columns) > 1 else 0, *map(len, c)) for c in columns]
    lines = zip(*columns, strict=True)
    return [" ".join(x.rjust(w) for x, w in zip(row, widths, strict=True)) for row in lines]


def shown_steps(count: int) -> list[int]:
    """Steps from 1 to ``count``, at about even distances where these are many."""
    if count <= ROWS + 4:
        return list(range(1, count + 1))
    return sorted({round(1 + i * (count - 1) / (ROWS - 1)) for i in range(ROWS)})


def _factor(norm: NDA) -> str:
    """By what a norm changes from one step to the one before, on (geometric) average."""
    first, last = float(norm[0]), float(norm[-1])
    if len(norm) < 2 or not (first > 0 and last > 0 and np.isfinite([first, last]).all()):
        return ""
    return f"× {np.exp((np.log(first) - np.log(last)) / (len(norm) - 1)):.3f}"


def _number(x: float) -> str:
    return f"{x:.2e}" if x and np.isfinite(x) else f"{x:g}"
