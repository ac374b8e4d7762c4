"""Handwritten digits, read row by row by an LSTM: from equations to a model in a file.

The spec is ``specs/models/lstm_classifier.rnn``; the data are scikit-learn's 1,797 digits of 8 × 8
pixels, each a sequence of 8 rows. This version of rnnc computes no gradients, so the LSTM is not
trained: its weights stay random, and only the output layer is fitted, by linear regression on the
last state. That makes it an echo state network (Jaeger 2001) with an LSTM as its reservoir.

    python examples/digits.py [folder for the model, default: out]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

import rnnc

TRAIN = 1400  # digits to fit the output layer with; the other 397 are for testing
BATCH = 64  # sequences in a batch, for the times
SHADES = " .:-=+*#%@"


def random_lstm(spec: rnnc.Spec) -> dict[str, np.ndarray]:
    """Initial weights, made larger: a reservoir should be livelier than a start of training.

    The two factors and the ridge below were chosen by fitting on the first 1,000 digits and
    looking at the next 400; the test digits took no part in it.
    """
    w = spec.init(seed=0)
    return {**w, "x2h": 4 * w["x2h"], "h2h": 3 * w["h2h"]}


def fit_output(h: np.ndarray, y: np.ndarray, ridge: float = 1e-3) -> dict[str, np.ndarray]:
    """The output layer V h + c_out nearest to 10 for the right class and 0 for the others."""
    a = np.column_stack([h, np.ones(len(h))]).astype("float64")
    solution = np.linalg.solve(a.T @ a + ridge * np.eye(a.shape[1]), a.T @ (10 * np.eye(10)[y]))
    return {"V": solution[:-1].T, "c_out": solution[-1]}


def median_ms(call: Callable[[], Any], repeats: int) -> float:
    """The median time of a call, in milliseconds; the first one does not count."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times[1:]))


def main(folder: Path, repeats: int = 50) -> dict[str, float]:
    data = load_digits()
    x, y = (data.images / 16).astype("float32"), data.target  # [1797, 8, 8], [1797]
    x_test, y_test = x[TRAIN:], y[TRAIN:]

    print("== The equations: specs/models/lstm_classifier.rnn, its sizes set ==\n")
    spec = rnnc.load("LSTMClassifier", n=8, m=256, k=10)
    print("\n".join(line for line in str(spec).splitlines() if not line.startswith("#")))

    # A spec is text: with one line more, the model gives its states, too.
    text = rnnc.library()["LSTMClassifier"].read_text(encoding="utf-8")
    states = rnnc.parse(text + "output h\n", n=8, m=256, k=10)
    w = random_lstm(spec)
    h = states.compile("numpy", weights=w)(x=x[:TRAIN])["h"]  # [1400, 8, 256]
    w |= fit_output(h[:, -1], y[:TRAIN])

    print("\n== Compiled for onnxruntime and for NumPy ==\n")
    rolled = spec.compile("onnx", weights=w)
    unrolled = spec.compile("onnx", weights=w, unroll=8)
    plain = spec.compile("numpy", weights=w)
    print(rolled.summary(), "\n")

    ours, theirs = plain(x=x_test)["p"], rolled(x=x_test)["p"]
    difference = float(np.abs(ours - theirs).max())
    agree = int((ours.argmax(1) == theirs.argmax(1)).sum())
    print(f"largest difference of a probability   {difference:.1e}")
    print(f"same class                            {agree} of {len(y_test)} digits\n")

    print("== How good is it? ==\n")
    judged = spec.compile("onnx", mode="loss", weights=w)(x=x_test, y=y_test)
    accuracy = float(judged["accuracy"])
    pixels = fit_output(x[:TRAIN].reshape(TRAIN, -1), y[:TRAIN])
    scores = x_test.reshape(len(x_test), -1) @ pixels["V"].T + pixels["c_out"]
    baseline = float((scores.argmax(1) == y_test).mean())
    print(f"accuracy on {len(y_test)} test digits           {accuracy:.1%}")
    print(f"the same regression on the 64 pixels  {baseline:.1%}")
    print("(the LSTM is random: only the output layer was fitted)\n")

    print(f"== Times: {BATCH} digits at once on one thread, median of {repeats} ==\n")
    stream = spec.stream("onnx", weights=w)
    batch, first = x_test[:BATCH], x_test[:1, 0]
    with threadpool_limits(1):  # NumPy's threads; onnxruntime has one for a model this small
        for name, model in ("NumPy", plain), ("onnxruntime", rolled), ("  unrolled", unrolled):
            print(f"{name:13}{median_ms(lambda m=model: m(x=batch), repeats):8.2f} ms")
        print(f"{'streaming':13}{median_ms(lambda: stream(x=first), repeats):8.2f} ms, one row of "
              "one digit\n")  # fmt: skip

    print("== One digit, row by row: the class after each row ==\n")
    i = int(np.flatnonzero(theirs.argmax(1) == y_test)[0])
    stream.reset()
    for pixels_of_row in x_test[i]:
        p = stream(x=pixels_of_row[None])["p"][0]
        ink = "".join(2 * SHADES[int(9 * v)] for v in pixels_of_row)
        print(f"  {ink}   {p.argmax()}  (p = {p.max():.2f})")
    print(f"\n  it is a {y_test[i]}; class probabilities after the last row:")
    for k in np.argsort(-p)[:3]:
        print(f"    {k}  {p[k]:.3f}  {'#' * round(30 * p[k])}")

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "digits.onnx"
    rolled.save(path)
    again = rnnc.open(path)(x=x_test[i : i + 1])["p"]
    size = path.stat().st_size
    print(f"\nSaved {path} ({size:,} bytes); opened again, it says {again.argmax()}.")
    return {
        "accuracy": accuracy,
        "difference": difference,
        "agree": agree / len(y_test),
        "reopened": float(again.argmax() == y_test[i]),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
