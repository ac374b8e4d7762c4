"""A Plan as readable Python source that needs NumPy alone.

The module has ``prepare(weights)``, which does once what depends on the weights alone, and
``run(prepared, inputs)``. Within a loop every result has a buffer that is made before it
(``out=``), parts of vectors are views, and a buffer that nothing reads any more is reused.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnc.backends.numpy_ops import BINARY, UNARY, expression, literal
from rnnc.graph.names import identifiers
from rnnc.graph.types import BATCH, Array
from rnnc.passes.plan import Carried, Compute, Extent, Loop, Plan, Statement
from rnnc.source import Span

VIEWS = frozenset(("slice", "unsqueeze", "squeeze", "permute", "reshape", "pick"))
BUFFERED = frozenset((*BINARY, *UNARY, "matmul", "where", "softmax", "sum"))
RESERVED = ("np", "prepare", "run", "inputs", "weights", "prepared", "empty", "aligned", "features_first",
            "all_steps", "step",
            "REAL", "HALF", "dot", "matmul", *filter(None, (*BINARY.values(), *UNARY.values())))

HEADER = '''\
import numpy as np

REAL = np.{dtype}
HALF = np.array(0.5, REAL)


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


METADATA = r'''{metadata}'''


if __name__ == "__main__":
    # python {file} x=x.npy …: runs on arrays from files, or on random ones of 10 steps
    import json
    import sys

    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    rng = np.random.default_rng(0)
    inputs = {{}}
    for port in json.loads(METADATA)["inputs"]:
        shape = [{{"batch": 1}}.get(d, 10) if isinstance(d, str) else d for d in port["dims"]]
        if port["name"] in given:
            inputs[port["name"]] = np.load(given[port["name"]])
        elif port["role"] == "length":
            inputs[port["name"]] = 10
        elif port["kind"] == "real":
            inputs[port["name"]] = rng.random(shape)
        else:
            inputs[port["name"]] = rng.integers(0, port["limit"] or 2, shape)
    for name, value in run(prepare(load_weights()), inputs).items():
        print(name, list(np.shape(value)))
        print(value)
"""


def to_numpy(
    plan: Plan,
    dtype: str = "float32",
    doc: str = "",
    weights: Mapping[str, NDArray[Any]] | None = None,
    metadata: str = "{}",
) -> str:
    """The source of a module that runs the plan in ``dtype`` (``float32`` or ``float64``).

    With ``weights`` they are part of it, and it runs by itself.
    """
    text = _Writer(plan, dtype, doc).module()
    lines = []
    for name, array in (weights or {}).items():
        numbers = base64.b85encode(np.ascontiguousarray(array, dtype).tobytes()).decode()
        lines.append(f"\n    {name!r}: ({tuple(array.shape)}, {numbers!r}),")
    end = "\n" if lines else ""
    return text + FOOTER.format(
        weights="".join(lines) + end, metadata=metadata, file=f"{plan.name.lower()}.py"
    )


class _Writer:
    def __init__(self, plan: Plan, dtype: str, doc: str):
        self.plan = plan
        self.dtype = dtype
        self.doc = doc
        self.lines: list[str] = []
        self.indent = ""
        names = [*plan.arrays, *(f"length {a}" for a in plan.axes)]
        self.names = identifiers(names, RESERVED)
        self.scalars: dict[str, str] = {}  # constants that are written where they are used
        self.quoted: tuple[str, ...] = ()
        self.last_use = _last_uses(plan)
        self.scanned = self._feeds_loops()

    # ---------------------------------------------------------------- the module

    def module(self) -> str:
        plan = self.plan
        text = (self.doc or f"{plan.name}, compiled by rnnc.").replace("\\", "\\\\")
        self.line('"""' + text.replace('"""', "'''") + '\n"""\n')
        self.line(HEADER.format(dtype=self.dtype))
        self.line("")
        self._prepare()
        self.line("\n")
        self._run()
        return "\n".join(self.lines) + "\n"

    def line(self, text: str) -> None:
        self.lines.append(f"{self.indent}{text}" if text.strip() else text)

    def _prepare(self) -> None:
        plan = self.plan
        self.line("def prepare(weights):")
        self.indent = "    "
        self.line('"""What depends on the weights alone; give the result to ``run``."""')
        for p in plan.params:
            self.line(f"{self.names[p.array]} = np.asarray(weights[{p.name!r}], REAL)"
                      f"  # {list(p.type.dims)}")
        for s in plan.setup:
            assert isinstance(s, Compute)
            self._whole(s, aligned=True)
        used = self._prepared()
        self.line("return {")
        for n in used:
            self.line(f"    {n!r}: {self.names[n]},")
        self.line("}")
        self.indent = ""

    def _prepared(self) -> list[str]:
        """What the body reads of what was prepared."""
        made = [p.array for p in self.plan.params]
        made += [s.target for s in self.plan.setup if isinstance(s, Compute)]
        read = _reads(self.plan.body) | {p.array for p in self.plan.outputs}
        return [n for n in made if n in read and n not in self.scalars]

    def _run(self) -> None:
        plan = self.plan
        self.line('@np.errstate(all="ignore")  # infinities are values like others')
        self.line("def run(prepared, inputs):")
        self.indent = "    "
        self.line('"""From a dict of inputs to a dict of outputs, sequences first.')
        self.line("")
        for p in plan.inputs:
            self.line(f"in   {p.name}: {p.type}")
        for p in plan.outputs:
            self.line(f"out  {p.name}: {p.type}")
        self.line('"""')
        for n in self._prepared():
            self.line(f"{self.names[n]} = prepared[{n!r}]")
        for p in plan.inputs:
            kind = {"real": "REAL", "index": "np.int64", "flag": "np.bool_"}[p.type.kind]
            self.line(f"{self.names[p.array]} = np.asarray(inputs[{p.name!r}], {kind})"
                      if p.type.dims or p.role != "length"
                      else f"{self.names[p.array]} = int(inputs[{p.name!r}])")
        for axis, where in plan.axes.items():
            name = self.names[f"length {axis}"]
            if isinstance(where, int):
                self.line(f"{name} = {where}")
            elif where[1] < 0:
                self.line(f"{name} = {self.names[where[0]]}")
            else:
                self.line(f"{name} = {self.names[where[0]]}.shape[{where[1]}]")
        for s in plan.body:
            if isinstance(s, Loop):
                _LoopWriter(self, s).write()
            else:
                self._whole(s)
        outputs = ", ".join(f"{p.name!r}: {self.operand(p.array)}" for p in plan.outputs)
        self.line(f"return {{{outputs}}}")
        self.indent = ""

    # ---------------------------------------------------------------- statements

    def operand(self, name: str) -> str:
        return self.scalars.get(name) or self.names[name]

    def extent(self, e: Extent) -> str:
        return str(e) if isinstance(e, int) else self.names[f"length {e}"]

    def shape(self, dims: Sequence[Extent]) -> str:
        items = [self.extent(e) for e in dims]
        return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"

    def kind(self, name: str) -> str:
        return {"real": "REAL", "index": "np.int64", "flag": "np.bool_"}[
            self.plan.arrays[name].kind
        ]

    def quote(self, origins: tuple[Span, ...]) -> None:
        """A comment with the equations that a statement comes from, where they change."""
        lines = []
        for o in origins:
            text = " ".join(o.source.line(o.line).split("#")[0].split())
            if text:
                lines.append(f"# {o.source.name.rsplit('/', 1)[-1]}:{o.line}  {text}")
        shown = tuple(dict.fromkeys(lines))
        if shown and not set(shown) <= set(self.quoted):
            self.quoted = shown
            for text in shown[:8]:
                self.line(text)

    def _whole(self, s: Compute, aligned: bool = False) -> None:
        """A statement outside of loops."""
        value = dict(s.attrs).get("value")
        if s.op == "constant" and not isinstance(value, Array):
            self.scalars[s.target] = literal(value, self.plan.arrays[s.target].kind)
            return
        self.quote(s.origins)
        text = expression(self, s)
        dims = self.plan.arrays[s.target].dims
        if s.op == "matmul" and s.target in self.scanned and len(dims) == 3 and dims[1] == BATCH:
            text = f"all_steps({', '.join(map(self.operand, s.args))})"
        if aligned and s.op in ("permute", "concat") and len(self.plan.arrays[s.target].dims) == 2:
            text = f"aligned({text})"
        reuse = self._dying(s)
        if reuse is not None:
            text = f"{text[:-1]}, out={self.names[reuse]})"
        self.line(f"{self.names[s.target]} = {text}")

    def _feeds_loops(self) -> set[str]:
        """Arrays that loops take step by step, and what those are elementwise made of."""
        found = {o for s in self.plan.body if isinstance(s, Loop) for _, o in s.scanned}
        for s in reversed(self.plan.body):
            if isinstance(s, Compute) and s.target in found and (s.op in BINARY or s.op in UNARY):
                found |= set(s.args)
        return found

    def _dying(self, s: Compute) -> str | None:
        """An operand of the same form that is read here for the last time and was made here."""
        if s.op not in BINARY and not UNARY.get(s.op):
            return None
        made = self._owned()
        for arg in s.args:
            if (
                arg in made
                and self.last_use.get(arg) == s.target
                and self.plan.arrays[arg].dims  # a single number has no memory to reuse
                and self.plan.arrays[arg] == self.plan.arrays[s.target]
            ):
                return arg
        return None

    def _owned(self) -> set[str]:
        """Arrays made by operations of the body, of which there is no view."""
        if not hasattr(self, "_owned_names"):
            viewed: set[str] = set()
            made: set[str] = set()
            for s in self.plan.body:
                if isinstance(s, Loop):
                    viewed |= _reads([s])
                    viewed |= {o for o, _ in s.collected}
                elif s.op in BINARY or s.op in UNARY or s.op in ("matmul", "einsum"):
                    made.add(s.target)
                else:
                    viewed |= set(s.args)
            viewed |= {p.array for p in self.plan.outputs}
            self._owned_names = made - viewed
        return self._owned_names


class _LoopWriter:
    """One loop: what each name of its body is stored in, then the lines."""

    def __init__(self, outer: _Writer, loop: Loop):
        self.w = outer
        self.loop = loop
        self.types = outer.plan.arrays
        self.collected = {inner: out for out, inner in loop.collected}
        self.next_of: dict[str, list[Carried]] = {}
        for c in loop.carried:
            self.next_of.setdefault(c.next, []).append(c)
        self.stored = set(self.collected) | set(self.next_of)
        self.position = {s.target for s in loop.body if isinstance(s, Compute)}
        self.last: dict[str, int] = {}
        for i, s in enumerate(loop.body):
            if isinstance(s, Compute):
                self.last.update(dict.fromkeys(s.args, i))
        self.root: dict[str, tuple[str, tuple[int, int] | None]] = {}  # view -> (buffer, part)
        self.before: list[str] = []  # lines in front of the loop
        self.inside: list[str] = []
        self.fixed: set[str] = set()  # views that are made before the loop
        self.buffers: set[str] = set()  # results with memory of their own, made before the loop
        self.reused: set[str] = set()  # results that take the memory of an operand

    def write(self) -> None:
        w, loop = self.w, self.loop
        self._share()
        n = w.names
        each = [(n[inner], n[outer]) for outer, inner in loop.collected]
        each += [(n[inner], n[outer]) for inner, outer in loop.scanned]
        # a number a step has to be an array, so that it can be written to
        numbers = {n[inner] for _, inner in loop.collected if not self.types[inner].dims}
        for outer, _ in loop.collected:
            self.before.append(f"{n[outer]} = {self._memory(outer)}")
        rings = [x for x in self.next_of if x not in self.collected and x in self.position]
        for name in rings:
            depth = self._depth(name) + 1
            ring = ", ".join(self._memory(name) for _ in range(depth))
            self.before.append(f"{n[name]}_ring = ({ring})")
            self.inside.append(f"{n[name]} = {n[name]}_ring[step % {depth}]")
        if numbers or rings or not each:
            for a, b in each:
                self.inside.append(f"{a} = {b}[{'step, ...' if a in numbers else 'step'}]")
            each = []
        for c in loop.carried:
            self.before.append(f"{n[c.name]} = {w.operand(c.initial)}")
        w.quoted = ()
        for s in loop.body:
            assert isinstance(s, Compute)
            self._statement(s)
        for c in sorted(loop.carried, key=self._lag, reverse=True):
            self.inside.append(f"{n[c.name]} = {n[c.next]}")
        for text in self.before:
            w.line(text)
        w.line(self._head(each))
        w.indent += "    "
        for text in self.inside:
            w.line(text)
        w.indent = w.indent[:-4]
        for c in loop.carried:
            if c.final:
                w.line(f"{n[c.final]} = {n[c.name]}")
        w.quoted = ()

    def _head(self, each: list[tuple[str, str]]) -> str:
        """The line that begins the loop."""
        turn = "" if self.loop.forward else "[::-1]"
        if not each:
            length = self.w.names[f"length {self.loop.axis}"]
            return f"for step in range({length}){turn}:"
        names = ", ".join(a for a, _ in each)
        arrays = ", ".join(f"{b}{turn}" for _, b in each)
        return f"for {names} in {f'zip({arrays})' if len(each) > 1 else arrays}:"

    def _memory(self, name: str) -> str:
        """An expression that makes memory for an array."""
        type_ = self.types[name]
        batch = [i for i, d in enumerate(type_.dims) if d == BATCH]
        if type_.kind == "real" and batch == [len(type_.dims) - 2]:
            return f"features_first{self.w.shape(type_.dims)}"
        return f"np.empty({self.w.shape(type_.dims)}, {self.w.kind(name)})"

    def _lag(self, c: Carried) -> int:
        """How many steps back: chains of carried values are handed on from the far end."""
        lag, current = 1, c
        names = {x.name: x for x in self.loop.carried}
        while current.next in names:
            current = names[current.next]
            lag += 1
        return lag

    def _depth(self, name: str) -> int:
        """How many earlier steps of a value are still needed."""
        return max(self._lag(c) for c in self.loop.carried if self._origin(c) == name)

    def _origin(self, c: Carried) -> str:
        names = {x.name: x for x in self.loop.carried}
        while c.next in names:
            c = names[c.next]
        return c.next

    # ---------------------------------------------------------------- statements

    def _share(self) -> None:
        """Decide which results take the memory of an operand, and name what shares memory
        after the equation of the spec among them."""
        leader: dict[str, str] = {}
        for i, s in enumerate(self.loop.body):
            assert isinstance(s, Compute)
            if s.target in self.stored:
                continue
            if s.op in VIEWS:
                self.root[s.target] = self._view(s)
            elif s.op in BUFFERED:
                reuse = self._overwritable(i, s)
                if reuse is None:
                    size = (*self.types[s.target].dims, 0)[len(self.types[s.target].dims) - 1]
                    self.root[s.target] = (s.target, (0, size) if isinstance(size, int) else None)
                else:
                    self.root[s.target] = self.root[reuse]
                    leader[s.target] = leader.get(reuse, reuse)
        groups: dict[str, list[str]] = {}
        for name, first in leader.items():
            groups.setdefault(first, [first]).append(name)
        for first, names in groups.items():
            written = [x for x in names if "." not in x]
            chosen = self.w.names[written[-1] if written else first]
            for name in names:
                self.w.names[name] = chosen
        self.reused = set(leader)

    # ---------------------------------------------------------------- statements

    def _statement(self, s: Compute) -> None:
        w = self.w
        self._quote(s)
        name = w.names[s.target]
        if s.target in self.stored or s.target in self.reused:
            self._into(s, name)
        elif s.op in VIEWS:
            # a view of a buffer that stays is made once
            stays = self._stays(s.args[0])
            if stays:
                self.fixed.add(s.target)
            (self.before if stays else self.inside).append(f"{name} = {expression(w, s)}")
        elif s.op in BUFFERED:
            self.before.append(f"{name} = {self._memory(s.target)}")
            self._into(s, name)
        else:
            self.inside.append(f"{name} = {expression(w, s)}")

    def _stays(self, name: str) -> bool:
        """Whether a name stands for the same memory at every step."""
        root = self.root.get(name, (None, None))[0]
        return root is not None and (root in self.buffers or root in self.fixed)

    def _quote(self, s: Compute) -> None:
        w = self.w
        lines, w.lines = w.lines, []
        indent, w.indent = w.indent, ""
        w.quote(s.origins)
        self.inside += w.lines
        w.lines, w.indent = lines, indent

    def _view(self, s: Compute) -> tuple[str, tuple[int, int] | None]:
        root, part = self.root.get(s.args[0], (s.args[0], None))
        if s.op != "slice" or s.attr("dim") != len(self.types[s.target].dims) - 1 or not part:
            return root, None  # some of it, and it is not worth telling which
        return root, (part[0] + s.attr("start"), part[0] + s.attr("stop"))

    def _overwritable(self, i: int, s: Compute) -> str | None:
        """An operand whose memory may take the result: of the same form, and not read again,
        neither itself nor through another name for the same part of its buffer."""
        self.buffers.add(s.target)
        if s.op not in BINARY and s.op not in UNARY:
            return None
        for arg in s.args:
            if arg not in self.root or self.types[arg] != self.types[s.target]:
                continue
            root, part = self.root[arg]
            if root not in self.buffers or self.last.get(arg, -1) != i:
                continue
            clash = any(
                self._read_from(name, i) and _overlap(part, p)
                for name, (r, p) in self.root.items()
                if r == root and name != arg
            )
            if not clash:
                self.buffers.discard(s.target)
                return arg
        return None

    def _read_from(self, name: str, i: int) -> bool:
        """Whether statement ``i`` or a later one reads the memory through this name (to make a
        view is not to read)."""
        return any(
            isinstance(x, Compute) and name in x.args and x.op not in VIEWS
            for x in self.loop.body[i:]
        )

    def _into(self, s: Compute, out: str) -> None:
        """Lines that put the result of a statement into existing memory."""
        w = self.w
        args = [w.operand(a) for a in s.args]
        if s.op in BINARY:
            a, b = (self._number(x) for x in s.args)
            self.inside.append(f"{self._function(BINARY[s.op])}({a}, {b}, {out})")
        elif s.op == "sigmoid":
            multiply, tanh, add = map(self._function, ("multiply", "tanh", "add"))
            # σ(x) = (1 + tanh(x / 2)) / 2: never overflows
            self.inside += [
                f"{multiply}({args[0]}, HALF, {out})",
                f"{tanh}({out}, {out})",
                f"{multiply}({out}, HALF, {out})",
                f"{add}({out}, HALF, {out})",
            ]
        elif s.op == "relu":
            self.inside.append(f"{self._function('maximum')}({args[0]}, 0, {out})")
        elif s.op in UNARY and UNARY[s.op]:
            self.inside.append(f"{self._function(UNARY[s.op])}({args[0]}, {out})")
        elif s.op == "matmul" and self._is_projection(s):
            # transposed, since the memory is: np.dot writes to contiguous memory alone
            turned, result = f"{args[1]}_T", f"{out}_T"
            if f"{turned} = {args[1]}.T" not in self.before:
                self.before.append(f"{turned} = {args[1]}.T")
            if s.target in self.stored:
                result = f"{out}.T"
            else:
                self.before.append(f"{result} = {out}.T")
            self.inside.append(f"{self._function('dot')}({turned}, {args[0]}.T, {result})")
        elif s.op == "matmul":
            self.inside.append(f"{self._function('matmul')}({args[0]}, {args[1]}, {out})")
        elif s.op == "where":
            self.inside.append(f"np.copyto({out}, {args[2]})")
            self.inside.append(f"np.copyto({out}, {args[1]}, where={args[0]})")
        elif s.op == "softmax":
            d = s.attr("dim")
            self.inside += [
                f"np.subtract({args[0]}, {args[0]}.max({d}, keepdims=True), out={out})",
                f"np.exp({out}, out={out})",
                f"np.divide({out}, {out}.sum({d}, keepdims=True), out={out})",
            ]
        elif s.op == "sum":
            dims = s.attr("dims")
            self.inside.append(f"np.sum({args[0]}, {dims}, out={out})")
        else:
            self.inside.append(f"{out}[...] = {expression(w, s)}")


    def _function(self, name: str) -> str:
        """A function of NumPy under a local name, which a loop finds faster."""
        line = f"{name} = np.{name}"
        if line not in self.before:
            self.before.insert(0, line)
        return name

    def _number(self, name: str) -> str:
        """An operand; a constant gets a name before the loop, which is faster than a literal."""
        w = self.w
        if name not in w.scalars or self.types[name].kind != "real":
            return w.operand(name)
        if w.scalars[name] == "0.5":
            return "HALF"
        line = f"{w.names[name]} = np.array({w.scalars[name]}, REAL)"
        if line not in self.before:
            self.before.append(line)
        return w.names[name]

    def _is_projection(self, s: Compute) -> bool:
        """Whether a product is one of vectors of all sequences with a matrix from outside."""
        dims = [self.types[a].dims for a in s.args]
        inside = s.args[1] in self.position or s.args[1] in {i for i, _ in self.loop.scanned}
        return [len(d) for d in dims] == [2, 2] and dims[0][0] == BATCH and not inside


def _overlap(a: tuple[int, int] | None, b: tuple[int, int] | None) -> bool:
    return a is None or b is None or (a[0] < b[1] and b[0] < a[1])


def _reads(statements: Iterable[Statement]) -> set[str]:
    out: set[str] = set()
    for s in statements:
        if isinstance(s, Compute):
            out |= set(s.args)
        else:
            out |= {c.initial for c in s.carried} | {o for _, o in s.scanned}
            out |= _reads(s.body)
    return out


def _last_uses(plan: Plan) -> Mapping[str, str]:
    """The target of the statement that reads an array last (of the body's own statements)."""
    last: dict[str, str] = {}
    for s in plan.body:
        if isinstance(s, Compute):
            last.update(dict.fromkeys(s.args, s.target))
        else:
            last.update(dict.fromkeys(_reads([s]), ""))
    return last

