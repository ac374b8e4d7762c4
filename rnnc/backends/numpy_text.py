"""The fixed parts of generated NumPy modules."""

from __future__ import annotations

HEADER = '''\
import numpy as np

REAL = np.{dtype}
inf, nan = np.inf, np.nan  # as constants are written
HALF, ONE = np.array(0.5, REAL), np.array(1, REAL)


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


def turned(prepared, name, batch):
    """A matrix with rows and columns exchanged: in memory, too, and kept so, where products are
    large (small ones take it as it is; a single vector prefers columns side by side)."""
    matrix = prepared[name]
    if batch == 1 or batch * matrix.size < 10**6:
        return matrix.T
    if (key := f"{{name}}, turned") not in prepared:
        prepared[key] = aligned(matrix.T)
    return prepared[key]


def features_first(*shape):
    """Memory for an array [..., sequences, features] that holds a feature of all sequences side
    by side: then a part of the features is contiguous."""
    *steps, batch, features = shape
    return np.empty((*steps, features, batch), REAL).swapaxes(-1, -2)


def spread(array, shape):
    """The array, repeated where it lacks dimensions of the shape, laid out features first."""
    out = features_first(*shape)
    out[...] = array
    return out


def scatter(rows, places, size):
    """A table [size, n] to whose rows, at these places, rows [k, n] are added."""
    table = np.zeros((size, rows.shape[1]), rows.dtype)
    np.add.at(table, places, rows)
    return table


def all_steps(x, weights):
    """weights [m, n] times all x[t] of x [T, B, n], laid out features first."""
    steps, batch, n = x.shape
    if batch == 1:
        return np.dot(x.reshape(steps, n), weights.T).reshape(steps, 1, -1)
    return np.matmul(weights, np.ascontiguousarray(x.swapaxes(1, 2))).swapaxes(1, 2)
'''

# added where a module needs them; sizes as in plan.MOST_ENTRIES and LEAST_STEPS
LINEAR_SCAN = '''

def linear_scan(a, b, h, backward=False):
    """All h[t] = a[t] * h[t-1] + b[t], over dimension 0 of b, from the h before the first step.

    Blocks of steps go side by side: from 0, to see what each makes of the state before it; then
    from block to block; then again, each from the state it begins with. ``backward`` starts from
    the end. An ``a`` without steps is the same at all of them.
    """
    a = np.broadcast_to(a, b.shape)
    if backward:
        return linear_scan(a[::-1], b[::-1], h)[::-1]
    steps = len(b)
    if steps < {least} or b[0].size > {most}:
        return recur(a, b, h)
    size = int(steps**0.5)
    place = np.arange(0, steps, size) + np.arange(size)[:, None]
    a, b = (x[np.minimum(place, steps - 1)] for x in (a, b))  # [size, blocks, ...]
    factor, state = np.ones_like(b[0]), np.zeros_like(b[0])
    for x, y in zip(a, b):
        factor *= x
        state *= x
        state += y
    starts = np.concatenate((h[None], recur(factor, state, h)[:-1]))
    blocks = recur(a, b, starts)
    return np.swapaxes(blocks, 0, 1).reshape(-1, *h.shape)[:steps]


def recur(a, b, h):
    """All h[t] = a[t] * h[t-1] + b[t], step by step."""
    out = np.empty_like(b)
    for step, (x, y) in enumerate(zip(a, b)):
        now = out[step, ...]  # an array, also of a number
        h = np.add(np.multiply(x, h, out=now), y, out=now)
    return out
'''

LINEAR_SCANS = '''

def linear_scans(a, b, h, backward=False):
    """All h[t] = A[t] h[t-1] + b[t] of k states, over dimension 0: lists of the k * k entries of A,
    row by row, and of the k of b and of h, the states before the first step.

    Blocks of steps go side by side: from 0 and from each unit vector, to see what each makes of
    the states before it; then from block to block; then again, each from the states it begins
    with. ``backward`` starts from the end. An entry without steps is the same at all of them.
    """
    a = [np.broadcast_to(x, b[0].shape) for x in a]
    if backward:
        a, b = ([x[::-1] for x in some] for some in (a, b))
        return [x[::-1] for x in linear_scans(a, b, h)]
    steps = len(b[0])
    if steps < {least} or b[0][0].size > {most}:
        return recur_jointly(a, b, h)
    size = int(steps**0.5)
    place = np.arange(0, steps, size) + np.arange(size)[:, None]
    a, b = ([x[np.minimum(place, steps - 1)] for x in some] for some in (a, b))
    none = [np.zeros_like(x[0]) for x in b]
    nothing = [np.broadcast_to(x, b[0].shape) for x in none]
    columns = []
    for j in range(len(h)):
        unit = [x + (i == j) for i, x in enumerate(none)]
        columns.append([x[-1] for x in recur_jointly(a, nothing, unit)])
    factor = [column[i] for i in range(len(h)) for column in columns]
    state = [x[-1] for x in recur_jointly(a, b, none)]
    after = recur_jointly(factor, state, h)
    starts = [np.concatenate((x[None], y[:-1])) for x, y in zip(h, after)]
    blocks = recur_jointly(a, b, starts)
    return [np.swapaxes(x, 0, 1).reshape(-1, *h[0].shape)[:steps] for x in blocks]


def recur_jointly(a, b, h):
    """All h[t] = A[t] h[t-1] + b[t], step by step."""
    k, out = len(h), [np.empty_like(x) for x in b]
    for step in range(len(b[0])):
        now = [x[step, ...] for x in out]  # arrays, also of numbers
        for i, row in enumerate(now):
            np.multiply(a[k * i][step], h[0], out=row)
            for j in range(1, k):
                row += a[k * i + j][step] * h[j]
            row += b[i][step]
        h = now
    return out
'''

# What numba needs; SciPy's BLAS is looked up when a compiled function runs, where a missing one
# would end the process.
_JIT = '''\
try:
    import scipy.linalg.cython_blas  # noqa: F401 - numba looks functions up there
    from numba import njit
except ImportError as error:
    raise ImportError("this module needs numba and SciPy: pip install numba scipy") from error


def jit(function):
    """The function, compiled when it first runs; kept beside this file, where that can be."""
    options = {"error_model": "numpy", "fastmath": {"contract"}}
    try:
        return njit(cache="__file__" in globals(), **options)(function)
    except RuntimeError:  # numba may write nowhere
        return njit(**options)(function)

'''
# added where numba compiles loops; its own tanh is one of single numbers
JIT = {
    "float64": f"from math import tanh\n\n{_JIT}",
    "float32": _JIT
    + '''

@njit(inline="always")
def tanh(x):
    """tanh x to 3e-7: a quotient of polynomials, as in Eigen, that many numbers can share."""
    y = min(max(x, REAL(-7.90531110763549805)), REAL(7.90531110763549805))
    z = y * y
    p = z * REAL(-2.76076847742355e-16) + REAL(2.00018790482477e-13)
    p = z * p + REAL(-8.60467152213735e-11)
    p = z * p + REAL(5.12229709037114e-08)
    p = z * p + REAL(1.48572235717979e-05)
    p = z * p + REAL(6.37261928875436e-04)
    p = z * p + REAL(4.89352455891786e-03)
    q = z * REAL(1.19825839466702e-06) + REAL(1.18534705686654e-04)
    q = z * q + REAL(2.26843463243900e-03)
    q = z * q + REAL(4.89352518554385e-03)
    return y * p / q if x == x else x

''',
}

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
