"""What is written as LaTeX reads back to the same system: equations, gradients, names.

    RNNC_EXAMPLES=2000 pytest tests/test_latex_out.py

tries many more random systems than the few of every run.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from test_random_axes import specs as specs_over_axes
from test_random_systems import specs

import rnnc
from rnnc import compiler
from rnnc.graph.latex import latex_spec
from rnnc.graph.show import show_system
from rnnc.passes.textbook import symbols

EXAMPLES = int(os.environ.get("RNNC_EXAMPLES", "15"))
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
    """The equations as LaTeX, read, are those that were written."""
    text = latex_spec(spec.system)
    plain = str(spec)
    # what a metric averages is not always found again in the plain text, either
    assert str(rnnc.parse(text)) in (plain, str(rnnc.parse(plain))), text


def assert_gradients_read_back(spec: rnnc.Spec) -> None:
    system = compiler.adjoint(spec.system)
    try:
        plain = rnnc.parse(show_system(system, symbols(system)))
    except rnnc.SpecError:
        return  # of several axes not all gradients can be read as they are printed
    text = latex_spec(system, symbols(system))
    assert str(rnnc.parse(text)) == str(plain), text


@pytest.mark.parametrize("name", rnnc.library())
def test_library(name: str) -> None:
    assert_reads_back(rnnc.load(name))


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


@given(specs_over_axes())
@RANDOM
def test_random_axes(drawn: tuple[str, bool]) -> None:
    spec = rnnc.parse(drawn[0])
    assert_reads_back(spec)
    try:
        spec.diff()
    except rnnc.SpecError as error:
        assert [d.code for d in error.diagnostics] == ["RNN040"]  # noqa: PT017
        return
    assert_gradients_read_back(spec)


LETTERS = ["h", "W", "x", "a", "d", "e", "I", "b", "t", "T", "s", "1", "2"]
LONGER = ["xh", "in", "out", "hat", "tilde", "alpha", "Gamma", "ts", "10", "h1", "2h", "1a2", "net"]
FUNCTIONS = ["max", "tanh", "log", "sigma"]
WORDS = st.sampled_from([*LETTERS, *LONGER, *FUNCTIONS])


@given(st.lists(WORDS, min_size=1, max_size=4), st.integers(0, 2), st.sampled_from(["_", "__", ""]))
@RANDOM
def test_names(words: list[str], primes: int, end: str) -> None:
    """Any name, of an input, a param or a value, with steps or without, is read as it was."""
    name = "_".join(words) + end + "'" * primes
    for text in (
        f"input {name}[t] : [2]\nz[t] = {name}[t] + {name}[t-1] + {name}[1]\nz_1 = z[1]",
        f"input x[s] : [2]\nparam {name} : [2, 2]\nz[s] = {name} x[s]",
        f"input x[t] : [2]\n{name} = x[1] + x[T]\nz[t] = {name} * x[t]",
        f"input x[s, t] : [2]\n{name}[s, t] = x[s, t]\nz[t] = {name}[1, t] + {name}[S, t-1]",
    ):
        try:
            spec = rnnc.parse(f"model M\n{text}")
        except rnnc.SpecError:
            continue  # not every name can be one
        assert_reads_back(spec)
