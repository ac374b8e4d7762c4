"""Handwritten digits, read row by row by an LSTM: from equations to a trained model in a file.

The spec is ``specs/models/lstm_classifier.rnn``; the data are scikit-learn's 1,797 digits of 8 × 8
pixels, each a sequence of 8 rows. The LSTM is trained on 1,400 of them and judged by the others.

    python examples/digits.py [folder for the model, default: out]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

import rnnc

TRAIN = 1400  # digits to train with; the other 397 are for testing
SEEDS = (0, 1, 2)  # of first weights and order; the model of the first is kept
BATCH = 64  # sequences in a batch, for the times
SHADES = " .:-=+*#%@"


def digits() -> tuple[np.ndarray, np.ndarray]:
    """The images [1797, 8, 8] between 0 and 1, and what they show [1797].

    In a random order, so that both parts are alike. In the file's order the last 397 are harder:
    the same network, trained on those before, reads about 92 % of them.
    """
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    return (data.images[order] / 16).astype("float32"), data.target[order]


def straight_lines(x: np.ndarray, y: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    """Classes by linear regression on the 64 pixels: what needs no network."""
    a = np.column_stack([x.reshape(len(x), -1), np.ones(len(x))])
    solution = np.linalg.lstsq(a, np.eye(10)[y], rcond=None)[0]
    return (x_test.reshape(len(x_test), -1) @ solution[:-1] + solution[-1]).argmax(1)


def median_ms(call: Callable[[], Any], repeats: int) -> float:
    """The median time of a call, in milliseconds; the first one does not count."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times[1:]))


def drawn(image: np.ndarray) -> list[str]:
    """An image as lines of text, two characters a pixel."""
    return ["".join(2 * SHADES[int(9 * v)] for v in row) for row in image]


def main(
    folder: Path, epochs: int = 40, seeds: Sequence[int] = SEEDS, repeats: int = 50
) -> dict[str, float]:
    x, y = digits()
    x_test, y_test = x[TRAIN:], y[TRAIN:]

    print("== The equations: specs/models/lstm_classifier.rnn, its sizes set ==\n")
    spec = rnnc.load("LSTMClassifier", n=8, m=64, k=10)
    print("\n".join(line for line in str(spec).splitlines() if not line.startswith("#")))

    print(f"\n== Trained on {TRAIN} digits: Adam, {epochs} epochs ==\n")
    fits = []
    for seed in seeds:
        fit = spec.fit(
            {"x": x[:TRAIN], "y": y[:TRAIN]},
            lr=4e-3, schedule="cosine", clip=1.0, batch=32, epochs=epochs, seed=seed,
        )  # fmt: skip
        judged = spec.compile("onnx", mode="loss", weights=fit.weights)(x=x_test, y=y_test)
        print(f"seed {seed}: {fit.step:,} updates in {fit.seconds:.1f} s; training loss "
              f"{fit.history[0]['loss']:.2f} → {fit.history[-1]['loss']:.4f}; "
              f"test accuracy {judged['accuracy']:.1%}")  # fmt: skip
        fits.append(fit)
    w = fits[0].weights

    print("\n== Compiled ==\n")
    rolled = spec.compile("onnx", weights=w)
    unrolled = spec.compile("onnx", weights=w, unroll=8)
    plain = spec.compile("numpy", weights=w)
    print(rolled.summary())
    folder.mkdir(parents=True, exist_ok=True)
    fits[0].save(folder / "digits.safetensors")
    rolled.save(folder / "digits.onnx")
    plain.save(folder / "digits.py")
    for name in "digits.safetensors", "digits.onnx", "digits.py":
        print(f"wrote {folder / name} ({(folder / name).stat().st_size:,} bytes)")

    print(f"\n== The {len(y_test)} test digits, by digits.onnx in onnxruntime alone ==\n")
    session = onnxruntime.InferenceSession(folder / "digits.onnx")
    p = session.run(["p"], {"x": x_test})[0]
    accuracy = float((p.argmax(1) == y_test).mean())
    baseline = float((straight_lines(x[:TRAIN], y[:TRAIN], x_test) == y_test).mean())
    ours = plain(x=x_test)["p"]
    difference = float(np.abs(ours - p).max())
    agree = int((ours.argmax(1) == p.argmax(1)).sum())
    print(f"accuracy on {len(y_test)} test digits           {accuracy:.1%}  (seed {seeds[0]})")
    print(f"linear regression on the 64 pixels    {baseline:.1%}")
    print(f"the same class in NumPy               {agree} of {len(y_test)}")
    print(f"largest difference of a probability   {difference:.1e}\n")

    print(f"== Times: {BATCH} digits at once on one thread, median of {repeats} ==\n")
    stream = spec.stream("onnx", weights=w)
    batch, first = x_test[:BATCH], x_test[:1, 0]
    with threadpool_limits(1):  # NumPy's threads; onnxruntime has one for a model this small
        for name, model in ("NumPy", plain), ("onnxruntime", rolled), ("  unrolled", unrolled):
            print(f"{name:13}{median_ms(lambda m=model: m(x=batch), repeats):8.2f} ms")
        print(f"{'streaming':13}{median_ms(lambda: stream(x=first), repeats):8.2f} ms, one row of "
              "one digit\n")  # fmt: skip

    print("== One digit, row by row: the class after each row ==\n")
    i = int(np.flatnonzero(p.argmax(1) == y_test)[0])
    stream.reset()
    for pixels, ink in zip(x_test[i], drawn(x_test[i]), strict=True):
        p_now = stream(x=pixels[None])["p"][0]
        print(f"  {ink}   {p_now.argmax()}  (p = {p_now.max():.2f})")
    print(f"\n  it is a {y_test[i]}")

    wrong = np.flatnonzero(p.argmax(1) != y_test)[:4]
    if len(wrong):
        print(f"\n== Mistakes, {len(wrong)} of {(p.argmax(1) != y_test).sum()} ==\n")
        for lines in zip(*(drawn(x_test[j]) for j in wrong), strict=True):
            print("  " + "    ".join(lines))
        print()
        print("  " + "    ".join(f"{f'{y_test[j]}, read as {p[j].argmax()}':16}" for j in wrong))
    return {
        "accuracy": accuracy,
        "baseline": baseline,
        "difference": difference,
        "agree": agree / len(y_test),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
