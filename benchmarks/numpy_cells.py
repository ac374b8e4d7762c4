"""Cells besides the LSTM written by hand in NumPy, as fast as we can: marks for generated code.

What makes ``baselines.NumpyLSTM`` fast makes these fast, too: features first, 64-byte aligned
weights, one tanh for packed gates, ``np.dot`` into buffers that stay. Inputs and outputs are
batch-first: x [batch, T, n] to h [batch, T, m].
"""

from __future__ import annotations

import numpy as np
from baselines import _HALF, Array, Weights, _aligned_copy, aligned


def projected(x: Array, weights: Array, bias: Array | None = None) -> Array:
    """The product with every input, ``[T, rows, batch]``."""
    out = np.asarray(np.matmul(weights, np.ascontiguousarray(x.transpose(1, 2, 0))))
    return out if bias is None else np.add(out, bias[:, None], out)


class NumpyGRU:
    """``z, r = σ(W x + U h')``, ``n = tanh(W x + U (r * h'))``, ``h = h' + z * (n - h')``."""

    def __init__(self, w: Weights) -> None:
        self.m, _ = w["U"].shape
        self.gates = _aligned_copy(np.concatenate([w["U_z"], w["U_r"]]) * _HALF)
        self.candidate = _aligned_copy(w["U"])
        self.inputs = _aligned_copy(np.concatenate([w["W_z"] * _HALF, w["W_r"] * _HALF, w["W"]]))
        self.columns = _aligned_copy(self.gates.T), _aligned_copy(self.candidate.T)

    def __call__(self, x: Array) -> Array:
        batch, steps, _ = x.shape
        m = self.m
        p = projected(x, self.inputs)
        hs = aligned(steps, m, batch)
        h = np.zeros((m, batch), np.float32)
        buffer, n = aligned(2 * m, batch), aligned(m, batch)
        z, r = buffer[:m], buffer[m:]
        gates, candidate = (self.gates, self.candidate) if batch > 1 else (
            self.columns[0].T, self.columns[1].T)  # fmt: skip
        dot, tanh, multiply, add, subtract, half = (
            np.dot, np.tanh, np.multiply, np.add, np.subtract, _HALF)  # fmt: skip
        for a, b, out in zip(p[:, : 2 * m], p[:, 2 * m :], hs, strict=True):
            dot(gates, h, buffer)
            add(buffer, a, buffer)
            tanh(buffer, buffer)
            multiply(buffer, half, buffer)
            add(buffer, half, buffer)
            multiply(r, h, r)
            dot(candidate, r, n)
            add(n, b, n)
            tanh(n, n)
            subtract(n, h, n)
            multiply(z, n, n)
            add(h, n, out)
            h = out
        return hs.transpose(2, 0, 1)


class NumpyFastGRNN:
    """``a = W x + U h'``, ``h = σ(a + b_z) * h' + (ζ (1 - z) + ν) * tanh(a + b_h)``."""

    def __init__(self, w: Weights) -> None:
        self.m, _ = w["U"].shape
        self.recurrent, self.inputs = _aligned_copy(w["U"]), _aligned_copy(w["W"])
        self.columns = _aligned_copy(w["U"].T)
        self.b_z, self.difference = w["b_z"], (w["b_h"] - w["b_z"])[:, None]
        zeta, nu = (1 / (1 + np.exp(-w[k].astype(np.float32))) for k in ("zeta", "nu"))
        # ζ (1 - z) + ν with z = (1 + y) / 2 is (ζ/2 + ν) - (ζ/2) y
        self.slope, self.offset = np.array(zeta / 2), np.array(zeta / 2 + nu)

    def __call__(self, x: Array) -> Array:
        batch, steps, _ = x.shape
        m, slope, offset, difference = self.m, self.slope, self.offset, self.difference
        p = projected(x, self.inputs, self.b_z)
        hs = aligned(steps, m, batch)
        h = np.zeros((m, batch), np.float32)
        a, y, c = aligned(m, batch), aligned(m, batch), aligned(m, batch)
        weights = self.recurrent if batch > 1 else self.columns.T
        dot, tanh, multiply, add, subtract, half = (
            np.dot, np.tanh, np.multiply, np.add, np.subtract, _HALF)  # fmt: skip
        for v, out in zip(p, hs, strict=True):
            dot(weights, h, a)
            add(a, v, a)
            multiply(a, half, y)
            tanh(y, y)
            add(a, difference, c)
            tanh(c, c)
            multiply(y, slope, a)
            subtract(offset, a, a)
            multiply(a, c, c)
            multiply(y, half, y)
            add(y, half, y)
            multiply(y, h, y)
            add(y, c, out)
            h = out
        return hs.transpose(2, 0, 1)
