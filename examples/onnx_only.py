"""Training with onnxruntime and NumPy alone: rnnc is not imported here.

A training step that rnnc compiled is an ordinary ONNX model. It takes a batch, a learning rate,
weights and the optimiser's state, and gives the next weights and state: what comes in as ``W`` goes
out as ``W.next``, and so does ``adam.m.W`` as ``adam.m.W.next``. Make it first:

    rnnc compile LSTMClassifier --mode train --set n=8 --set m=64 --clip 1 -o train.onnx
    python examples/onnx_only.py train.onnx [epochs, default: 20]
"""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime
from sklearn.datasets import load_digits

BATCH, SEED = 32, 0


def main(path: str, epochs: int = 20) -> float:
    draw = np.random.default_rng(SEED)
    data = load_digits()
    order = draw.permutation(len(data.target))
    x, y = (data.images[order] / 16).astype("float32"), data.target[order]

    session = onnxruntime.InferenceSession(path)
    outputs = [o.name for o in session.get_outputs()]
    state = {}  # weights, and the optimiser's state: all that comes out again
    for port in session.get_inputs():
        if port.name + ".next" not in outputs:
            continue  # x, y, lr
        kind = np.int64 if port.type == "tensor(int64)" else np.float32
        state[port.name] = np.zeros(port.shape, kind)
        # Matrices begin at random. Biases begin at 0, and so does the optimiser's state, whose
        # names have a dot.
        if "." not in port.name and len(port.shape) == 2:
            spread = port.shape[1] ** -0.5
            state[port.name] = draw.normal(0, spread, port.shape).astype(kind)

    def step(x: np.ndarray, y: np.ndarray, lr: float) -> dict[str, np.ndarray]:
        values = session.run(outputs, {"x": x, "y": y, "lr": np.array(lr, "float32"), **state})
        return dict(zip(outputs, values, strict=True))

    for epoch in range(epochs):
        order = draw.permutation(1400)
        lr = 4e-3 * (1 - epoch / epochs)
        for i in range(0, 1400 - BATCH + 1, BATCH):
            out = step(x[order[i : i + BATCH]], y[order[i : i + BATCH]], lr)
            state = {name: out[name + ".next"] for name in state}
        if epoch % 5 == 4:
            print(f"epoch {epoch + 1}: loss of the last batch {out['loss']:.4f}")
    judged = step(x[1400:], y[1400:], 0)  # a step whose result is not taken only judges
    print(f"accuracy on {len(y) - 1400} test digits: {judged['accuracy']:.1%}")
    return float(judged["accuracy"])


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20)
