"""The equations of the documents, as they stand there, are the networks of the library."""

from __future__ import annotations

import pytest

import rnnc
from tests.documents import BLOCKS, Block, largest_error, text_of

SLIPS = {b.what: b for b in BLOCKS if b.slip}


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.values], ids=lambda b: b.what)
def test_block(block: Block) -> None:
    assert largest_error(block) <= 1e-12


def notes(what: str) -> list[str]:
    """How a block was read where it might have meant something else."""
    return [f"{n.span.text}: {n.message}" for n in rnnc.parse(text_of(SLIPS[what])).notes]


def test_a_step_is_left_out() -> None:
    assert notes("the simple network, superscripts") == [
        r"\mathbf{a}: `\mathbf{a}` is read as a[t], which varies"
    ]


def test_a_value_that_varies_has_no_step() -> None:
    assert notes("LSTM, the candidate by itself") == [
        r"\hat c: `\hat c` varies over t: it is c_hat[t]",
        r"\hat c: `\hat c` is read as c_hat[t], which varies",
    ]


def test_a_digit_is_no_subscript() -> None:
    """The second block of the first steps has ``h2`` for ``h_2``."""
    with pytest.raises(rnnc.SpecError) as error:
        rnnc.parse(text_of(SLIPS["step 2"]))
    assert str(error.value) == (
        "error[RNN004]: `h2` is no left side of an equation\n"
        "  --> <text>:10:1\n"
        "   |\n"
        "10 | h2=f(s_2)\\\\\n"
        "   | ^^\n"
        "   = hint: is a sign missing? `h_2`"
    )


def test_a_wrong_step() -> None:
    """``s_t=Ux_1+Wh_{t-1}`` has ``x_1`` for ``x_t``."""
    assert notes("step t") == ["x_1: `x_1` is step 1 of x, at every t"]


def test_entries_without_a_step() -> None:
    (note,) = notes("the simple network, entry by entry")
    assert note.startswith(r"\begin{bmatrix} x_1 \\ x_2 \\ \vdots \\ x_m \end{bmatrix}: ")
    assert note.endswith("is read as x[t], which varies")


def test_further_right_sides() -> None:
    (note,) = notes("the simple network, written out")
    assert note.endswith("the first is the equation; the others are not read")
