"""What all parts of the NumPy backend share: names, shapes, comments and lines."""

from __future__ import annotations

import builtins
from collections.abc import Sequence

from rnnc.backends.numpy_ops import BINARY, UNARY
from rnnc.graph.names import identifiers
from rnnc.graph.types import BATCH
from rnnc.passes.plan import ArrayType, Compute, Extent, Plan
from rnnc.source import Span

# names that generated code uses for itself
RESERVED = (
    *("np", "REAL", "HALF", "ONE", "prepare", "run", "inputs", "weights", "prepared", "step"),
    *(
        "take",
        "lengths",
        "aligned",
        "turned",
        "features_first",
        "spread",
        "scatter",
        "all_steps",
        "linear_scan",
        "linear_scans",
        "recur",
        "recur_jointly",
        "linear_attention",
        "attend_stepwise",
        "state_product",
        "chunked",
        "products",
        "of_each",
        "weights_of",
        "next_state",
        "dot",
        "matmul",
        "reciprocal",
        "jit",
        "total",
    ),
    *filter(None, (*BINARY.values(), *UNARY.values())),
    *("inf", "nan", "LARGEST", "WEIGHTS", "METADATA", "load_weights"),
    *dir(builtins),
)


def features_first(type_: ArrayType) -> bool:
    """Whether an array lies in memory with its features before its sequences."""
    batch = [i for i, d in enumerate(type_.dims) if d == BATCH]
    return type_.kind == "real" and batch == [len(type_.dims) - 2]


class Writer:
    """Lines of a module, and how the plan's arrays are called in it."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.lines: list[str] = []
        self.indent = ""
        names = [*plan.arrays, *(f"length {a}" for a in plan.axes)]
        self.names = identifiers(names, RESERVED)
        self.used = {*self.names.values(), *RESERVED}
        self.scalars: dict[str, str] = {}  # constants that are written where they are used
        self.indices = tuple(self.fresh(x) for x in ("i0", "i1", "i2", "i3"))  # of entries
        self.quoted: tuple[str, ...] = ()  # the comment that stands already
        self.prepared = {p.array for p in plan.params}  # what weights alone decide
        self.prepared |= {s.target for s in plan.setup if isinstance(s, Compute)}

    def fresh(self, base: str) -> str:
        """An identifier that stands for nothing yet."""
        name, count = base, 1
        while name in self.used:
            count += 1
            name = f"{base}_{count}"
        self.used.add(name)
        return name

    def line(self, text: str) -> None:
        self.lines.append(f"{self.indent}{text}" if text.strip() else text)

    def operand(self, name: str) -> str:
        return self.scalars.get(name) or self.names[name]

    def extent(self, e: Extent) -> str:
        if isinstance(e, int):
            return str(e)
        portion = self.plan.portions.get(e)
        if portion and portion.bounds:
            low, high = (self.names[x] for x in portion.bounds)
            return f"{high}[0] - {low}[0]"
        source = self.plan.axes[e]
        if isinstance(source, tuple) and source[1] < 0:
            return self.names[source[0]]  # the array that is the length
        return self.names[f"length {e}"]

    def shape(self, dims: Sequence[Extent]) -> str:
        items = [self.extent(e) for e in dims]
        return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"

    def kind(self, name: str) -> str:
        return {"real": "REAL", "index": "np.int64", "flag": "np.bool_"}[
            self.plan.arrays[name].kind
        ]

    def memory(self, name: str) -> str:
        """An expression that makes memory for an array; of windows, for all rows."""
        type_, portions = self.plan.arrays[name], self.plan.portions
        dims = [
            portions[d].whole if isinstance(d, str) and d in portions else d for d in type_.dims
        ]
        if features_first(type_):
            return f"features_first{self.shape(dims)}"
        return f"np.empty({self.shape(dims)}, {self.kind(name)})"

    def quote(self, origins: tuple[Span, ...]) -> None:
        """A comment with the equations that a statement comes from, where they change."""
        lines = []
        for o in origins:
            text = " ".join(o.source.line(o.line).split("#")[0].split())
            if text:
                places = [o, *(call.span for call in o.callers)]  # a layer's, and its calls
                where = ", ".join(f"{p.source.name.rsplit('/', 1)[-1]}:{p.line}" for p in places)
                lines.append(f"# {where}  {text}")
        shown = tuple(dict.fromkeys(lines))
        if shown and not set(shown) <= set(self.quoted):
            self.quoted = shown
            for text in shown[:8]:
                self.line(text)
