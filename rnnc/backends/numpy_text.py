"""The fixed parts of generated NumPy modules."""

from __future__ import annotations

HEADER = '''\
import numpy as np

REAL = np.{dtype}
inf, nan = np.inf, np.nan  # as constants are written
HALF = np.array(0.5, REAL)


def take(inputs, name, dtype, dims, lengths):
    """The input of that name; ``dims`` are numbers and names of ``lengths``, which it fills."""
    if name not in inputs:
        raise ValueError(f"the input {{name}} {{list(dims)}} is missing")
    array = np.asarray(inputs[name], dtype)
    fits = array.ndim == len(dims) and all(
        size > 0 and size == (d if isinstance(d, int) else lengths.setdefault(d, size))
        for size, d in zip(array.shape, dims)
    )
    if not fits:
        raise ValueError(f"{{name}} is {{list(array.shape)}}, wanted is {{list(dims)}} {{lengths}}")
    return array


def aligned(array):
    """The array, copied to where rows begin at multiples of 64 bytes: products run faster."""
    size = array.size * array.itemsize
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    out = memory[start : start + size].view(array.dtype).reshape(array.shape)
    out[...] = array
    return out


def features_first(*shape):
    """Memory for an array [..., sequences, features] that holds a feature of all sequences side
    by side: then a part of the features is contiguous."""
    *steps, batch, features = shape
    return np.empty((*steps, features, batch), REAL).swapaxes(-1, -2)


def scatter(rows, places, size):
    """A table [size, n] to whose rows, at these places, rows [k, n] are added."""
    table = np.zeros((size, rows.shape[1]), rows.dtype)
    np.add.at(table, places, rows)
    return table


def all_steps(x, matrix):
    """x [T, B, n] times matrix [n, m], laid out features first."""
    steps, batch, n = x.shape
    if batch == 1:
        return np.dot(x.reshape(steps, n), matrix).reshape(steps, 1, -1)
    return np.matmul(matrix.T, np.ascontiguousarray(x.swapaxes(1, 2))).swapaxes(1, 2)
'''

FOOTER = """

# {{name: (shape, numbers as text)}}; load_weights() gives the arrays
WEIGHTS = {{{weights}}}


def load_weights():
    import base64

    return {{
        name: np.frombuffer(base64.b85decode(text), REAL).reshape(shape)
        for name, (shape, text) in WEIGHTS.items()
    }}


METADATA = {metadata!r}


if __name__ == "__main__":
    # python {file} x=x.npy …: runs on arrays from files, or on random ones of 10 steps; so it
    # does with weights that are not in here
    import json
    import sys

    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    rng = np.random.default_rng(0)
    about = json.loads(METADATA)
    weights, inputs = load_weights(), {{}}
    for port in about["params"]:
        if port["name"] in given:
            weights[port["name"]] = np.load(given[port["name"]]).astype(REAL)
        elif port["name"] not in weights:
            weights[port["name"]] = rng.normal(0, 0.1, port["dims"]).astype(REAL)
    for port in about["inputs"]:
        shape = [{{"batch": 1}}.get(d, 10) if isinstance(d, str) else d for d in port["dims"]]
        if port["name"] in given:
            inputs[port["name"]] = np.load(given[port["name"]])
        elif port["role"] == "length":
            inputs[port["name"]] = 10
        elif port["kind"] == "real":
            inputs[port["name"]] = rng.random(shape)
        else:
            least = 1 if port.get("along") else 0
            inputs[port["name"]] = rng.integers(least, port["limit"] or 2, shape)
    for name, value in run(prepare(weights), inputs).items():
        print(name, list(np.shape(value)))
        print(value)
"""
