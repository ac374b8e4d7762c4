"""What is written as LaTeX reads back to the same system: equations, gradients, names.

    RNNC_EXAMPLES=2000 pytest tests/test_latex_out.py

tries many more random systems than the few of every run.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from test_random_axes import systems as systems_over_axes
from test_random_systems import specs

import rnnc
from rnnc import compiler
from rnnc.graph.latex import latex_spec
from rnnc.graph.show import show_system
from rnnc.passes.textbook import symbols

EXAMPLES = int(os.environ.get("RNNC_EXAMPLES", "40"))
TRAINED = [n for n, file in rnnc.library().items() if file.parent.name != "optim"]
RANDOM = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="RNNC_EXAMPLES" not in os.environ,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def assert_reads_back(spec: rnnc.Spec) -> None:
    """The equations as LaTeX, read, are those that the plain text gives."""
    plain = str(spec)
    text = latex_spec(spec.system)
    assert str(rnnc.parse(text)) == str(rnnc.parse(plain)), text


def assert_gradients_read_back(spec: rnnc.Spec) -> None:
    system = compiler.adjoint(spec.system)
    text = latex_spec(system, symbols(system))
    assert str(rnnc.parse(text)) == str(rnnc.parse(show_system(system, symbols(system)))), text


@pytest.mark.parametrize("name", rnnc.library())
def test_library(name: str) -> None:
    spec = rnnc.load(name)
    assert str(rnnc.parse(latex_spec(spec.system))) == str(spec)


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_of_the_library(name: str) -> None:
    assert_gradients_read_back(rnnc.load(name))


@given(specs())
@RANDOM
def test_random_systems(text: str) -> None:
    assert_reads_back(rnnc.parse(text))


@given(specs())
@RANDOM
def test_gradients_of_random_systems(text: str) -> None:
    spec = rnnc.parse(text)
    try:
        spec.diff()
    except rnnc.SpecError as error:
        assert [d.code for d in error.diagnostics] == ["RNN040"]  # noqa: PT017
        return
    assert_gradients_read_back(spec)
