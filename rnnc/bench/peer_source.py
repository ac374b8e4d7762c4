"""A Plan as Python source for another array library, to be timed beside the compiled model.

The text computes what the plan says, statement by statement, in functions of ``xp`` that
:mod:`rnnc.bench.torch_peer` and :mod:`rnnc.bench.jax_peer` supply; a loop is a function of one
step, handed to ``xp.loop``. It is what somebody would write who knows the library: what does not
recur is computed for all steps at once, and the gates of a cell are one product.

>>> # h[t] = tanh(W h[t-1] + U x[t])
>>> def run(prepared, inputs):                                        # doctest: +SKIP
...     (W_permute,) = prepared
...     def step(carried, now):
...         (h_t_minus1,) = carried
...         (h_2_t,) = now
...         h_1_t = h_t_minus1 @ W_permute
...         ...
...         return (h_t,), (h_t,)
...     (_,), (h,) = xp.loop(step, (zero,), (h_2,), T, True)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnc.graph.names import identifiers
from rnnc.graph.types import Array
from rnnc.passes.plan import Compute, Extent, Loop, Plan, Statement, reads_of

_INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**", "mod": "%",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}  # fmt: skip
_CALLS = {
    **{op: op for op in ("exp", "log", "sqrt", "sin", "cos", "tanh", "floor", "abs", "sign")},
    **{op: op for op in ("sigmoid", "softplus", "relu", "erf", "minimum", "maximum", "where")},
    **{"and": "logical_and", "or": "logical_or", "not": "logical_not", "to_real": "real"},
}


def peer_source(plan: Plan) -> str:
    """``prepare(weights)``, from a dict to a tuple, and ``run(prepared, inputs)``, from that and a
    dict of arrays, batch first, to the dict of outputs; ``constants``, of all array constants, and
    ``xp`` are to be put beside them (:func:`constants_of`)."""
    return _Writer(plan).module()


def constants_of(plan: Plan, dtype: str) -> list[NDArray[Any]]:
    """The constants that the source calls ``constants[i]``, real ones in this dtype."""
    found = []
    for s in _constants(plan.statements()):
        value = s.attr("value")
        number = value.data if isinstance(value, Array) else value
        kinds = {"real": dtype, "index": "int64", "flag": "bool"}
        found.append(np.array(number, kinds[plan.arrays[s.target].kind]))
    return found


def _constants(statements: Iterable[Statement]) -> list[Compute]:
    found = []
    for s in statements:
        if isinstance(s, Loop):
            found += _constants(s.body)
        elif s.op == "constant":
            found.append(s)
    return found


class _Writer:
    def __init__(self, plan: Plan):
        self.plan = plan
        own = ("xp", "constants", "weights", "prepared", "inputs", "carried", "now", "step", "_",
               "prepare", "run", "int")  # fmt: skip
        lengths = [f"length {axis}" for axis in plan.axes]
        self.names = identifiers([*plan.arrays, *lengths], own)
        self.lines: list[str] = []
        self.indent = ""
        self.constants = _constants(plan.statements())
        self.numbers = {
            s.target: s.attr("value") for s in self.constants
            if not isinstance(s.attr("value"), (Array, bool))
        }  # fmt: skip

    def line(self, text: str) -> None:
        self.lines.append(self.indent + text)

    def module(self) -> str:
        plan, names = self.plan, self.names
        made = [p.array for p in plan.params]
        made += [s.target for s in plan.setup if isinstance(s, Compute)]
        read = reads_of(plan.body) | {p.array for p in plan.outputs}
        kept = [n for n in made if n in read]
        self.line("def prepare(weights):")
        self.indent = "    "
        for p in plan.params:
            self.line(f"{names[p.array]} = weights[{p.name!r}]")
        self.statements(plan.setup)
        self.line(f"return {_tuple(names[n] for n in kept)}")
        self.indent = ""
        self.line("\ndef run(prepared, inputs):")
        self.indent = "    "
        self.line(f"{_tuple(names[n] for n in kept)} = prepared")
        for p in plan.inputs:
            given = f"inputs[{p.name!r}]"
            self.line(f"{names[p.array]} = {f'int({given})' if p.role == 'length' else given}")
        for axis, where in plan.axes.items():
            if isinstance(where, int):
                text = str(where)
            else:
                text = names[where[0]] + ("" if where[1] < 0 else f".shape[{where[1]}]")
            self.line(f"{names[f'length {axis}']} = {text}")
        self.statements(plan.body)
        outputs = ", ".join(f"{p.name!r}: {names[p.array]}" for p in plan.outputs)
        self.line(f"return {{{outputs}}}")
        return "\n".join(self.lines) + "\n"

    def statements(self, statements: Iterable[Statement]) -> None:
        for s in statements:
            if isinstance(s, Loop):
                self.loop(s)
            else:
                self.line(f"{self.names[s.target]} = {self.expression(s)}")

    def loop(self, s: Loop) -> None:
        """``step(carried, now) -> carried, kept``, and the loop that calls it."""
        names = self.names
        step = f"step_{len(self.lines)}"
        self.line(f"def {step}(carried, now):")
        self.indent += "    "
        self.line(f"{_tuple(names[c.name] for c in s.carried)} = carried")
        self.line(f"{_tuple(names[inner] for inner, _ in s.scanned)} = now")
        self.statements(s.body)
        kept = _tuple(names[inner] for _, inner in s.collected)
        self.line(f"return {_tuple(names[c.next] for c in s.carried)}, {kept}")
        self.indent = self.indent[:-4]
        finals = _tuple(names[c.final] if c.final else "_" for c in s.carried)
        first = _tuple(names[c.initial] for c in s.carried)
        given = _tuple(names[outer] for _, outer in s.scanned)
        self.line(
            f"{finals}, {_tuple(names[outer] for outer, _ in s.collected)} = "
            f"xp.loop({step}, {first}, {given}, {names[f'length {s.axis}']}, {s.forward})"
        )

    def expression(self, s: Compute) -> str:
        a = [self.names[x] for x in s.args]
        if s.op in _INFIX:
            numbers = [self.numbers.get(x) for x in s.args]
            if None in numbers:  # one is an array: the other may be a plain number
                a = [x if n is None else _literal(n) for x, n in zip(a, numbers, strict=True)]
            return f"{a[0]} {_INFIX[s.op]} {a[1]}"
        if s.op in _CALLS:
            return f"xp.{_CALLS[s.op]}({', '.join(a)})"
        return _FORMS[s.op](self, s, a)

    def shape(self, array: str) -> str:
        return _tuple(map(self.extent, self.plan.arrays[array].dims))

    def extent(self, e: Extent) -> str:
        return str(e) if isinstance(e, int) else self.names[f"length {e}"]

    def rank(self, array: str) -> int:
        return len(self.plan.arrays[array].dims)


def _tuple(items: Iterable[str]) -> str:
    texts = list(items)
    return f"({texts[0]},)" if len(texts) == 1 else f"({', '.join(texts)})"


def _literal(number: Any) -> str:
    return f"float('{number}')" if math.isinf(number) or math.isnan(number) else f"({number!r})"


# ---------------------------------------------------------------- the ops that have a form each

Form = Callable[[_Writer, Compute, list[str]], str]


def _reduce(name: str) -> Form:
    return lambda w, s, a: f"xp.{name}({a[0]}, {s.attr('dims')!r}, {('keep', True) in s.attrs})"


def _along(s: Compute, dim: int, index: object) -> str:
    """An index of one dimension."""
    return f"[{':, ' * dim}{index}]"


def _wide(w: _Writer, s: Compute, a: list[str]) -> str:
    at = s.attr("at")
    return f"{a[0]}[{', '.join('None' if i in at else ':' for i in range(w.rank(s.target)))}]"


def _narrow(w: _Writer, s: Compute, a: list[str]) -> str:
    at = s.attr("at")
    return f"{a[0]}[{', '.join('0' if i in at else ':' for i in range(w.rank(s.args[0])))}]"


def _shift(w: _Writer, s: Compute, a: list[str]) -> str:
    by, dim = s.attr("by"), s.attr("dim")
    edges = [f"{edge}[{':, ' * dim}None]" for edge in a[1:]]
    parts = [*reversed(edges), a[0]] if by < 0 else [a[0], *edges]
    length = w.extent(w.plan.arrays[s.target].dims[dim])
    part = f":{length}" if by < 0 else f"-{length}:"
    return f"xp.concatenate({_tuple(parts)}, {dim}){_along(s, dim, part)}"


def _diag(w: _Writer, s: Compute, a: list[str]) -> str:
    n = w.plan.arrays[s.target].dims[-1]
    return f"xp.where(xp.eye({n}) > 0, {a[0]}[..., None], xp.zeros(({n}, {n})))"


def _rows(w: _Writer, s: Compute, position: int) -> str:
    """An operand as a matrix, its last dimension the columns."""
    name = s.args[position]
    return f"{w.names[name]}.reshape(-1, {w.extent(w.plan.arrays[name].dims[-1])})"


def _scatter(w: _Writer, s: Compute, a: list[str]) -> str:
    size, *row = w.plan.arrays[s.target].dims
    width = math.prod(d for d in row if isinstance(d, int))
    chosen = f"xp.onehot({a[1]}.reshape(-1), {size})"
    return f"({chosen}.T @ {a[0]}.reshape(-1, {width})).reshape({w.shape(s.target)})"


def _constant(w: _Writer, s: Compute, a: list[str]) -> str:
    return f"constants[{w.constants.index(s)}]"


_FORMS: Mapping[str, Form] = {
    "constant": _constant,
    "copy": lambda w, s, a: a[0],
    "neg": lambda w, s, a: f"-{a[0]}",
    "step": lambda w, s, a: f"xp.arange(1, {w.shape(s.target)[1:-2]} + 1)",
    "length": lambda w, s, a: f"xp.whole({w.extent(s.attr('axis'))})",
    "matmul": lambda w, s, a: f"{a[0]} @ {a[1]}",
    "crossprod": lambda w, s, a: f"{_rows(w, s, 0)}.T @ {_rows(w, s, 1)}",
    "einsum": lambda w, s, a: f"xp.einsum({s.attr('equation')!r}, {', '.join(a)})",
    **{op: _reduce(op) for op in ("sum", "max", "min")},
    "argmax": lambda w, s, a: f"xp.argmax({a[0]}, {s.attr('dim')})",
    "softmax": lambda w, s, a: f"xp.softmax({a[0]}, {s.attr('dim')})",
    "log_softmax": lambda w, s, a: f"xp.log_softmax({a[0]}, {s.attr('dim')})",
    "permute": lambda w, s, a: f"xp.permute({a[0]}, {s.attr('order')!r})",
    "unsqueeze": _wide,
    "squeeze": _narrow,
    "reshape": lambda w, s, a: f"{a[0]}.reshape({w.shape(s.target)})",
    "expand": lambda w, s, a: f"xp.broadcast_to({a[0]}, {w.shape(s.target)})",
    "concat": lambda w, s, a: f"xp.concatenate({_tuple(a)}, {s.attr('dim')})",
    "stack": lambda w, s, a: f"xp.stack({_tuple(a)}, {s.attr('dim')})",
    "slice": lambda w, s, a: f"{a[0]}{_along(s, s.attr('dim'), _part(s))}",
    "pick": lambda w, s, a: f"{a[0]}{_along(s, s.attr('dim'), s.attr('index'))}",
    "shift": _shift,
    "diag": _diag,
    "repeat": lambda w, s, a: f"xp.repeat({a[0]}, {s.attr('count')})",
    "take": lambda w, s, a: f"{a[0]}[{a[1]}]",
    "take_along": lambda w, s, a: f"xp.take_along({a[0]}, {a[1]})",
    "onehot": lambda w, s, a: f"xp.onehot({a[0]}, {s.attr('size')})",
    "scatter": _scatter,
    "cumsum": lambda w, s, a: f"xp.cumsum({a[0]}, -1)",
    "kth_largest": lambda w, s, a: f"xp.sort({a[0]})[..., -{s.attr('count')}]",
}


def _part(s: Compute) -> str:
    return f"{s.attr('start')}:{s.attr('stop')}"
