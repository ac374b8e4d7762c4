"""Which of the activations of ONNX's recurrent operators a function is.

The list is that of the operators' documentation (ONNX, ``LSTM``): functions of one number with
up to two constants, told by their values and not by how they are written, so that
``max(x, 0.01 * x)`` is ``LeakyRelu`` and ``x / (1 + abs(x))`` is ``Softsign``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnc.graph.ops import UNARY_REAL

NDA = NDArray[Any]
Function = Callable[[NDA], NDA]

TOLERANCE = 1e-12  # of values near 1: the functions are compared in float64
# near 0, where functions bend, and up to the largest float32, where they may be cut off
_FAR = np.logspace(-8, 38, 93)
_X = np.concatenate([np.linspace(-7.3, 7.3, 74), [-40.0, 0.0, 40.0], _FAR, -_FAR])


@dataclass(frozen=True)
class Activation:
    """An activation of the operators; ``alpha`` and ``beta`` where it has them."""

    name: str
    alpha: float | None = None
    beta: float | None = None

    @property
    def mirrored(self) -> bool:
        """Whether 1 - f(a) is f(-a): the complement of a gate is a gate."""
        return self.name == "Sigmoid" or (self.name == "HardSigmoid" and self.beta == 0.5)

    @property
    def odd(self) -> bool:
        """Whether -f(a) is f(-a)."""
        known = self.name in ("Tanh", "Softsign", "ScaledTanh")
        return known or (self.name == "Affine" and self.beta == 0)

    def turned(self, y: NDA) -> NDA:
        """f(-a), where f(a) is y: of functions without constants that have a symmetry; for the
        others any number but y."""
        return 1 - y if self.name == "Sigmoid" else -y

    def __call__(self, x: NDA) -> NDA:
        """Its values, in float64."""
        return _FORMS[self.name](np.asarray(x, np.float64), self.alpha or 0.0, self.beta or 0.0)


_FORMS: dict[str, Callable[[NDA, float, float], NDA]] = {
    "Sigmoid": lambda x, a, b: UNARY_REAL["sigmoid"](x),
    "Tanh": lambda x, a, b: UNARY_REAL["tanh"](x),
    "Relu": lambda x, a, b: UNARY_REAL["relu"](x),
    "Softplus": lambda x, a, b: UNARY_REAL["softplus"](x),
    "Softsign": lambda x, a, b: x / (1 + np.abs(x)),
    "Affine": lambda x, a, b: a * x + b,
    "LeakyRelu": lambda x, a, b: np.where(x >= 0, x, a * x),
    "Elu": lambda x, a, b: np.where(x >= 0, x, a * np.expm1(np.minimum(x, 0))),
    "HardSigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "ScaledTanh": lambda x, a, b: a * np.tanh(b * x),
    "ThresholdedRelu": lambda x, a, b: np.where(x > a, x, 0),
}

IDENTITY = Activation("Affine", 1.0, 0.0)


def activation_of(f: Function) -> Activation | None:
    """The activation that has the values of ``f``, or None."""
    with np.errstate(all="ignore"):
        wanted = np.asarray(f(_X), np.float64)
        if wanted.shape != _X.shape:
            return None
        for guess in _guesses(f):
            if guess is not None and np.allclose(guess(_X), wanted, TOLERANCE, TOLERANCE):
                return guess
    return None


def _guesses(f: Function) -> list[Activation | None]:
    """What it can be: the constants of each activation follow from a few of its values."""

    def at(x: float) -> float:
        return float(f(np.array([x]))[0])

    zero, one, minus, high = at(0.0), at(1.0), at(-1.0), at(40.0)
    guesses: list[Activation | None] = [
        Activation(name) for name in ("Sigmoid", "Tanh", "Relu", "Softplus", "Softsign")
    ]
    guesses += [
        Activation("Affine", one - zero, zero),
        Activation("LeakyRelu", -minus),
        Activation("Elu", minus / np.expm1(-1.0)),
        Activation("HardSigmoid", (at(1e-3) - zero) * 1e3, zero),
    ]
    if 0 < abs(high) < np.inf and abs(at(0.5)) < abs(high):
        guesses.append(Activation("ScaledTanh", high, 2 * float(np.arctanh(at(0.5) / high))))
    if high == 40.0 and at(-40.0) == 0.0:
        guesses.append(Activation("ThresholdedRelu", _threshold(at)))
    return guesses


def _threshold(at: Callable[[float], float]) -> float:
    """The largest number at which a function is still 0."""
    low, high = -40.0, 40.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (low, middle) if at(middle) else (middle, high)
    return low
