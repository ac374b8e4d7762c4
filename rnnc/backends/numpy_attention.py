"""Matrices that are updated by outer products, in chunks of steps: functions of generated NumPy
modules. What they compute is told in ``onnx_attention``, which does the same."""

from __future__ import annotations

CHUNKS = '''

def chunked(x, fill=0):
    """x [T, ..., d] as chunks of L steps [C, N, L, d], the last one filled up; L is {chunk}, or all
    if they are fewer."""
    size = min(len(x), {chunk})
    x = x.reshape(len(x), -1, x.shape[-1])
    x = np.pad(x, ((0, -len(x) % size), (0, 0), (0, 0)), constant_values=fill)
    return x.reshape(-1, size, *x.shape[1:]).swapaxes(1, 2)


def products(f):
    """For each chunk and each sequence a table [i, j] of the products of factors between its edges
    j and i, 0 where i is before j; edge 0 is before the first step. A number f is the factor of
    all steps, and has one table, of {chunk} steps."""
    if not np.ndim(f):
        edge = np.arange({edges})
        return np.tril(f ** np.maximum(edge[:, None] - edge, 0)).astype(REAL)
    f = chunked(f[..., None], 1)[..., 0]
    size = f.shape[-1]
    table = np.ones((*f.shape[:-1], size + 1, size + 1), REAL)
    for i in range(size):
        table[..., i + 1, : i + 1] = table[..., i, : i + 1] * f[..., i, None]
    return np.tril(table)


def of_each(p, chunks):
    """The tables of these chunks, where there may be one for all."""
    edges = chunks.shape[2] + 1
    return p if p.ndim > 2 else np.broadcast_to(p[:edges, :edges], (len(chunks), 1, edges, edges))


def weights_of(p, own, backward=False):
    """Of the tables of chunks: what takes queries to what their chunk adds, to the S that
    it begins with, and this S, and what is added, to the next one."""
    if backward:
        rows = (p[..., :-1] if own else p[..., 1:]).swapaxes(-1, -2)
        return rows[..., :-1], rows[..., -1:], p[..., -1:, :1], p[..., :-1, :1]
    rows = p[..., 1:, :] if own else p[..., :-1, :]
    return rows[..., 1:], rows[..., :1], p[..., -1:, :1], p[..., -1:, 1:].swapaxes(-1, -2)


def next_state(state, total, end, value, key):
    """The S that the next chunk begins with."""
    return total * state + np.matmul((value * end).swapaxes(1, 2), key)
'''

LINEAR_ATTENTION = '''

def linear_attention(q, k, v, p, f, state, own, backward=False):
    """All S[t] q[t] (S[t-1] q[t] if not ``own``) of S[t] = f[t] S[t-1] + v[t] k[t]ᵀ, along
    dimension 0, from the S before the first step; ``backward`` from the last step back.

    In chunks of steps, with the tables ``p`` of products of f: what is added in a chunk meets its
    queries in products of matrices, what was added before in the S that the chunk begins with.
    """
    shape = v.shape
    state = np.broadcast_to(state, (*shape[1:], k.shape[-1]))
    # in range: else a later step, times 0, could be no number
    size = (1 + np.linalg.norm(q)) * (1 + np.linalg.norm(k)) * (1 + np.linalg.norm(v))
    least = {least_of_small} if v.shape[-1] * k.shape[-1] < {small_matrix} else {least_chunked}
    if len(q) < least or not np.isfinite(size):
        return attend_stepwise(q, k, v, f, state, own, backward)
    q, k, v = chunked(q), chunked(k), chunked(v)
    state = state.reshape(-1, *state.shape[-2:])
    within, begin, total, end = weights_of(of_each(p, q), own, backward)
    out = np.empty_like(v)
    for c in range(len(q))[:: -1 if backward else 1]:
        scores = np.matmul(q[c], k[c].swapaxes(1, 2))
        scores *= within[c]
        out[c] = np.matmul(scores, v[c])
        out[c] += begin[c] * np.matmul(q[c], state.swapaxes(1, 2))
        state = next_state(state, total[c], end[c], v[c], k[c])
    return out.swapaxes(1, 2).reshape(-1, *shape[1:])[: shape[0]]


def attend_stepwise(q, k, v, f, state, own, backward):
    """The same step by step."""
    out = np.empty_like(v)
    for t in range(len(q))[:: -1 if backward else 1]:
        after = (f[t][..., None, None] if np.ndim(f) else f) * state
        after += v[t][..., :, None] * k[t][..., None, :]
        out[t] = np.matmul(after if own else state, q[t][..., None])[..., 0]
        state = after
    return out
'''

STATE_PRODUCT = '''
LARGEST = np.finfo(REAL).max

def state_product(k, v, p, state, b, a, g, after):
    """All sums of the entries of S[t-1] * R[t+1], along dimension 0, of S[t] = f[t] S[t-1] +
    v[t] k[t]ᵀ forward and R[t] = f'[t] R[t+1] + a[t] b[t]ᵀ backward, from the S before the first
    step and the R after the last; ``p`` and ``g`` are the tables of products of f and f'.

    In chunks of steps: ``w[i, j]`` is what is added to R at i (in the last row: the R after the
    chunk) times what is added to S at j (in the first column: the S before it).
    """
    shape = k.shape[:-1]
    matrix = (*v.shape[1:], k.shape[-1])
    state, after = (np.broadcast_to(x, matrix).reshape(-1, *matrix[-2:]) for x in (state, after))
    k, v, b, a = chunked(k), chunked(v), chunked(b), chunked(a)
    p, g = of_each(p, k), of_each(g, k)
    _, _, total, end = weights_of(p, False)
    states = []
    for c in range(len(k)):
        states.append(state)
        state = next_state(state, total[c], end[c], v[c], k[c])
    _, _, total, end = weights_of(g, False, True)
    out = np.empty(k.shape[:-1], REAL)
    w = np.empty((k.shape[1], *p.shape[2:]), REAL)
    for c in range(len(k))[::-1]:
        state = states[c]
        w[:, :-1, 1:] = np.matmul(a[c], v[c].swapaxes(1, 2)) * np.matmul(b[c], k[c].swapaxes(1, 2))
        w[:, :-1, 0] = (np.matmul(a[c], state) * b[c]).sum(-1)
        w[:, -1, 1:] = (np.matmul(v[c], after) * k[c]).sum(-1)
        w[:, -1, 0] = (state * after).sum((1, 2))
        # finite: else what does not meet, times 0, could be no number
        np.clip(w, -LARGEST, LARGEST, out=w)
        met = np.matmul(w, p[c, :, :-1].swapaxes(1, 2))
        np.clip(met, -LARGEST, LARGEST, out=met)
        out[c] = (g[c, :, :, 1:] * met).sum(1)
        after = next_state(after, total[c], end[c], a[c], b[c])
    return out.swapaxes(1, 2).reshape(-1, *shape[1:])[: shape[0]]
'''

FUNCTIONS = {
    "products": CHUNKS,
    "linear_attention": LINEAR_ATTENTION,
    "state_product": STATE_PRODUCT,
}
