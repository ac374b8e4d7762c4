"""Which statements become one node: sums with a product in them, and parts of one array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from rnnc.backends.onnx_writer import Writer
from rnnc.passes.plan import Compute, Statement


def gemms(
    w: Writer, block: Sequence[Statement], uses: Mapping[str, int]
) -> tuple[dict[str, tuple[Compute, str]], set[str]]:
    """Sums that take a matrix product with them, ``Gemm(h, U, term)``: by target, the product
    and the term; and the products that are no statements of their own any more.

    The product must be read nowhere else, its operands and the sum two-dimensional.
    """
    computes = [s for s in block if isinstance(s, Compute)]
    products = {
        s.target: s
        for s in computes
        if s.op == "matmul"
        and uses[s.target] == 1
        and all(len(w.type(a).dims) == 2 for a in s.args)
    }
    sums: dict[str, tuple[Compute, str]] = {}
    taken: set[str] = set()
    for s in computes:
        if s.op != "add":
            continue
        for product, term in (s.args, s.args[::-1]):
            fits = product in products and w.type(product).dims == w.type(s.target).dims
            if fits and len(w.type(term).dims) <= 2:
                sums[s.target] = (products[product], term)
                taken.add(product)
                break
    return sums, taken


def splits(block: Sequence[Statement]) -> dict[str, Sequence[Compute]]:
    """Slices of one array that do not overlap are one ``Split``: the parts, in their order, at
    the first of them, and nothing at the others."""
    groups: dict[tuple[str, int], list[Compute]] = {}
    for s in block:
        if isinstance(s, Compute) and s.op == "slice":
            groups.setdefault((s.args[0], s.attr("dim")), []).append(s)
    out: dict[str, Sequence[Compute]] = {}
    for group in groups.values():
        ordered = sorted(group, key=lambda s: s.attr("start"))
        apart = all(a.attr("stop") <= b.attr("start") for a, b in pairwise(ordered))
        if len(group) > 1 and apart:
            out.update(dict.fromkeys((s.target for s in group), ()))
            out[group[0].target] = ordered
    return out


def steps_of(w: Writer, block: Sequence[Statement]) -> dict[str, Sequence[Compute]]:
    """Entries of one dimension that are one ``Split``, where most of them are read: at the
    first that is read all of them, and nothing at the others."""
    groups: dict[tuple[str, int], list[Compute]] = {}
    for s in block:
        if isinstance(s, Compute) and s.op == "pick" and s.attr("index") >= 0:
            groups.setdefault((s.args[0], s.attr("dim")), []).append(s)
    out: dict[str, Sequence[Compute]] = {}
    for (array, dim), group in groups.items():
        dims = w.type(array).dims
        count = dims[dim]
        if not isinstance(count, int) or len({s.attr("index") for s in group}) < len(group):
            continue
        fits = dim + 1 < len(dims) and sum(isinstance(d, str) for d in dims) <= 1
        if fits and len(group) > 1 and 2 * len(group) >= count:
            out.update(dict.fromkeys((s.target for s in group), ()))
            out[group[0].target] = group
    return out
