"""Equations as papers typeset them have the values that the papers say."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

import rnnc
from rnnc.runtime.reference import evaluate
from tests.papers import NDA, Data, Paper, Values
from tests.papers_typeset import PAPERS, REFUSED, Refused

BATCH = 2
LENGTHS = {"T": 4, "T_x": 5, "S": 5, "J": 4}


def spec_of(paper: Paper | Refused) -> rnnc.Spec:
    """The paper's equations with their declarations."""
    return rnnc.parse(f"model M\n{paper.declared}\n$$ {paper.latex.strip()} $$\n")


def steps_of(spec: rnnc.Spec, name: str) -> tuple[int, ...]:
    """How many steps an input has on each of its axes."""
    system = spec.bound
    axes = [system.axes[a] for a in system[name].axes if a != "batch"]
    return tuple(a.size or LENGTHS.get(a.length, 4) for a in axes)


def random_values(spec: rnnc.Spec, seed: int) -> tuple[Values, Values]:
    """Inputs and weights."""
    rng = np.random.default_rng(seed)
    inputs: Values = {}
    for value in spec.bound.inputs:
        shape = BATCH, *steps_of(spec, value.name), *value.type.shape
        if value.type.kind == "index":
            inputs[value.name] = rng.integers(0, dict(value.attrs)["range"], shape)
        else:
            inputs[value.name] = rng.normal(size=shape)
    return inputs, {n: 0.6 * rng.normal(size=s) for n, s in spec.shapes.items()}


def wanted_values(paper: Paper, spec: rnnc.Spec, inputs: Values, weights: Values) -> Values:
    """What the paper says, for each sequence; of a loss the mean."""
    found = []
    for b in range(BATCH):
        data = Data({**{n: a[b] for n, a in inputs.items()}, **weights})
        data.sequences = frozenset(n for n in inputs if len(steps_of(spec, n)) == 1)
        found.append(paper.values(data))
    return {n: np.stack([np.asarray(f[n]) for f in found]) for n in found[0]}


def difference(ours: NDA, theirs: NDA) -> float:
    """The largest difference, of the largest entry; that of shapes is infinite."""
    if ours.shape == theirs.shape[1:]:  # the same for all sequences
        ours = np.broadcast_to(ours, theirs.shape)
    if ours.shape != theirs.shape or not np.all(np.isfinite(theirs)):
        return float("inf")
    return float(np.max(np.abs(ours - theirs)) / max(1.0, float(np.max(np.abs(theirs)))))


def compared(ours: Values, theirs: Values, names: Iterable[str]) -> float:
    """The largest difference among values of these names; losses are averaged."""
    errors = []
    for name in names:
        want = theirs[name]
        loss = name.split(".")[0] == "loss"
        errors.append(difference(np.asarray(ours[name]), np.mean(want, axis=0)[None]) if loss
                      else difference(np.asarray(ours[name]), want))  # fmt: skip
    return max(errors)


def values_of(spec: rnnc.Spec, data: Values) -> Values:
    """Every value by its definition, and the losses."""
    system = spec.bound
    lengths = {a: x.size or LENGTHS.get(x.length, 4) for a, x in system.axes.items()}
    found = evaluate(system, data, lengths={**lengths, "batch": BATCH}, wanted=list(system.values))
    return {**found, **{n: found[v] for n, v in system.losses.items()}}


def largest_error(paper: Paper) -> float:
    """How far the values by definition are from the paper's."""
    spec = spec_of(paper)
    inputs, weights = random_values(spec, seed=5)
    want = wanted_values(paper, spec, inputs, weights)
    return compared(values_of(spec, {**inputs, **weights}), want, want)


def compiled_error(paper: Paper) -> float:
    """How far the compiled models are from the paper."""
    spec = spec_of(paper)
    inputs, weights = random_values(spec, seed=6)
    want = wanted_values(paper, spec, inputs, weights)
    mode = "loss" if any(n.startswith("loss") for n in want) else "predict"
    errors = []
    for backend in ("numpy", "onnx"):
        got = spec.compile(backend, weights=weights, mode=mode, dtype="float64")(**inputs)
        errors.append(compared(got, want, [n for n in got if n in want]))
    return max(errors)


@pytest.mark.parametrize("paper", PAPERS, ids=lambda p: p.name)
def test_reading(paper: Paper) -> None:
    assert largest_error(paper) <= 1e-12


@pytest.mark.parametrize("paper", PAPERS, ids=lambda p: p.name)
def test_compiled(paper: Paper) -> None:
    assert compiled_error(paper) <= 1e-12


@pytest.mark.parametrize("paper", REFUSED, ids=lambda p: p.name)
def test_refused(paper: Refused) -> None:
    with pytest.raises(rnnc.SpecError) as error:
        spec_of(paper)
    first = error.value.diagnostics[0]
    assert first.message == paper.message
    assert first.span is not None
    assert first.span.text
