"""Bach's chorales as piano rolls: the negative log-likelihood of a step nobody has trained on.

    python benchmarks/chorales.py jsb_chorales.mat [--cell LSTM] [--units 46] [--epochs 200]

The file is a .mat with object arrays ``traindata``, ``validdata``, ``testdata`` of pieces
[T, 88], each of a length of its own (N. Boulanger-Lewandowski, Y. Bengio, P. Vincent, Modeling
Temporal Dependencies in High-Dimensional Sequences, ICML 2012). Reading one needs SciPy.

About 20,000 parameters, as J. Chung, C. Gulcehre, K. Cho, Y. Bengio (Empirical Evaluation of Gated
Recurrent Neural Networks on Sequence Modeling, arXiv:1412.3555, 2014), who give per step, summed
over the keys and averaged over all steps: tanh 9.10, GRU 8.54, LSTM 8.67. The weights of the best
validation epoch are tested.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import rnnc

SPEC = """
model Chorales
use    {cell}
dim    n = 88, m = 46
param  V : [n, m],  c : [n] ~ constant(-3)
x[t] = dropout(y[t-1], {drop})
h[t] = {cell}(x[t]; m = m)
p[t] = sigmoid(V dropout(h[t], {drop}) + c)
target y[t] : [n] ~ bernoulli(p[t])
output p
"""


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--cell", default="GRU")
    parser.add_argument("--units", type=int, default=46)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    train, valid, test = pieces(options.file)
    spec = rnnc.parse(SPEC.format(cell=options.cell, drop=options.dropout), m=options.units)
    count = sum(np.size(w) for w in spec.init().values())
    print(f"{options.cell}, {count:,} parameters, seed {options.seed}")
    fit = spec.fit(
        {"y": train}, validation={"y": valid}, lr=options.lr, schedule="cosine", clip=1.0,
        batch=16, epochs=options.epochs, patience=40, seed=options.seed,
    )  # fmt: skip
    judge = spec.compile("onnx", mode="loss", weights=fit.weights, lengths=("t",))
    total = steps = 0.0
    for piece in test:
        out = judge(y=piece[None])
        total, steps = total + float(out["loss"]), steps + len(piece)
    result = total / steps
    print(f"best epoch {fit.best_epoch} of {fit.epoch}, {fit.seconds:.0f} s")
    print(f"test: {result:.2f} nats per step")
    return result


def pieces(path: Path) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Training, validation and test pieces, each [T, 88] of zeros and ones."""
    from scipy.io import loadmat

    data = loadmat(path)
    found = [
        [np.asarray(piece, np.float32) for piece in data[name].ravel()]
        for name in ("traindata", "validdata", "testdata")
    ]
    return found[0], found[1], found[2]


if __name__ == "__main__":
    main()
