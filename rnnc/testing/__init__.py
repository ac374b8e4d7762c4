"""Tests of meaning: whatever a spec is compiled to computes what its equations say.

>>> import rnnc
>>> from rnnc.testing import assert_all_agree, check_gradients
>>> spec = rnnc.load("GRU", n=3, m=4)
>>> sorted(assert_all_agree(spec, batch=2, steps=5))    # doctest: +NORMALIZE_WHITESPACE
['numpy', 'numpy step', 'numpy unrolled', 'onnx', 'onnx step', 'onnx unrolled']
>>> max(check_gradients(spec).values()) < 1e-6
True

Arrays are batch first, ``[batch, T, features]``, as everywhere; time is counted in steps and
nothing here has a unit. All errors are relative: of outputs the largest absolute difference of an
array, divided by the largest absolute entry of the reference (by 1 where that is all zero); of
gradients divided by the largest entry of all gradients of the model, since some are zero by
nature and hold nothing but rounding.
"""

from __future__ import annotations

from rnnc.testing.agreement import (
    COLUMNS,
    NOT_CAUSAL,
    TOLERANCE,
    agreement_table,
    assert_all_agree,
    random_data,
    random_weights,
    reference,
    relative_error,
)
from rnnc.testing.alone import Arrays
from rnnc.testing.gradients import (
    GRADIENT_TOLERANCE,
    Difference,
    assert_gradients_agree,
    check_gradients,
    gradient_differences,
    reference_gradients,
)

__all__ = [
    "COLUMNS",
    "GRADIENT_TOLERANCE",
    "NOT_CAUSAL",
    "TOLERANCE",
    "Arrays",
    "Difference",
    "agreement_table",
    "assert_all_agree",
    "assert_gradients_agree",
    "check_gradients",
    "gradient_differences",
    "random_data",
    "random_weights",
    "reference",
    "reference_gradients",
    "relative_error",
]
