"""The adding problem: remember two numbers for up to 100 steps, and add them.

Each step brings a random number between 0 and 1 and a marker, which is 1 at two steps and 0 at all
others, once in each half. The answer is the sum of the two marked numbers. It is an experiment of
S. Hochreiter, J. Schmidhuber, *Long Short-Term Memory*, 1997; in this form, with the plain sum, it
is that of later papers. Always to answer 1, the mean, has an expected squared error of 1/6.

    python examples/adding.py [folder for the models, default: out]

The specs are ``adding.rnn`` beside this file and ``Adding``, the LSTM of the library.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import rnnc

STEPS = 100
BATCH = 32
SEED = 0  # of data and first weights

HERE = Path(__file__).resolve().parent
MODELS = {
    "GRU": rnnc.load(HERE / "adding.rnn", model="AddingGRU", m=64),
    "LSTM": rnnc.load("Adding", m=64),
    "simple RNN": rnnc.load(HERE / "adding.rnn", model="AddingRNN", m=64),
}
RATE = 5e-3  # from 3e-4 to 1e-2 the simple network's error is the same


def problems(count: int, steps: int, seed: int) -> dict[str, np.ndarray]:
    """Sequences x [count, steps, 2] of numbers and markers, and sums y [count]."""
    draw = np.random.default_rng(seed)
    numbers = draw.random((count, steps))
    first, second = draw.integers(0, steps // 2, count), draw.integers(steps // 2, steps, count)
    rows, markers = np.arange(count), np.zeros((count, steps))
    markers[rows, first] = markers[rows, second] = 1
    x = np.stack([numbers, markers], axis=2).astype("float32")
    return {"x": x, "y": (numbers[rows, first] + numbers[rows, second]).astype("float32")}


def main(folder: Path, steps: int = STEPS, updates: int = 2000) -> dict[str, float]:
    # As many problems as the updates take, so that no network sees one twice.
    data = problems(updates * BATCH, steps, seed=SEED)
    test = problems(2000, steps, seed=SEED + 1)
    constant = float(np.mean((test["y"] - 1) ** 2))
    print(f"{steps} steps, {updates} updates of {BATCH} new problems each, seed {SEED}\n")
    print(f"{'':12}{'test MSE':>9}{'within 0.04':>13}{'time':>8}")
    print(f"{'always 1':12}{constant:9.4f}{np.mean(abs(test['y'] - 1) < 0.04):13.0%}")
    folder.mkdir(parents=True, exist_ok=True)
    results = {"always 1": constant}
    for name, spec in MODELS.items():
        fit = spec.fit(data, lr=RATE, schedule="cosine", clip=1.0, batch=BATCH, epochs=1, seed=SEED)
        fit.save(folder / f"adding-{name.split()[-1].lower()}.safetensors")
        judged = spec.compile("onnx", mode="loss", weights=fit.weights)(**test)
        results[name] = float(judged["loss"])
        print(f"{name:12}{judged['loss']:9.4f}{judged['right']:13.0%}{fit.seconds:6.0f} s",
              flush=True)  # fmt: skip
    return results


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
