"""A Plan as readable Python source that needs NumPy alone.

The module has ``prepare(weights)``, which does once what depends on the weights alone, and
``run(prepared, inputs)``. Within a loop every result has a buffer that is made before it
(``out=``), parts of vectors are views, and a buffer that nothing reads any more is reused.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnc.backends.numpy_attention import FUNCTIONS
from rnnc.backends.numpy_jit import JitLoop
from rnnc.backends.numpy_loop import LoopWriter
from rnnc.backends.numpy_nests import compilable
from rnnc.backends.numpy_ops import BINARY, UNARY, literal
from rnnc.backends.numpy_states import VIEWS
from rnnc.backends.numpy_text import FOOTER, HEADER, JIT, LINEAR_SCAN, LINEAR_SCANS
from rnnc.backends.numpy_whole import feeds_loops, whole
from rnnc.backends.numpy_writer import Writer
from rnnc.graph.types import BATCH, Array
from rnnc.passes.plan import (
    CHUNK,
    EDGES,
    FEW,
    LEAST_CHUNKED,
    LEAST_OF_SMALL,
    LEAST_STEPS,
    MOST_ENTRIES,
    SMALL_MATRIX,
    Compute,
    Loop,
    Plan,
    Statement,
    flat,
    reads_of,
)


def to_numpy(
    plan: Plan,
    dtype: str = "float32",
    doc: str = "",
    weights: Mapping[str, NDArray[Any]] | None = None,
    metadata: str = "{}",
    jit: bool = False,
) -> str:
    """The source of a module that runs the plan in ``dtype`` (``float32`` or ``float64``).

    With ``weights`` they are part of it, and it runs by itself. With ``jit`` it needs numba, too,
    which compiles the loops that it can take.
    """
    text = _Module(plan, dtype, doc, jit).module()
    lines = []
    for name, array in (weights or {}).items():
        numbers = base64.b85encode(np.ascontiguousarray(array, dtype).tobytes()).decode()
        lines.append(f"\n    {name!r}: ({tuple(array.shape)}, {numbers!r}),")
    end = "\n" if lines else ""
    return text + FOOTER.format(
        weights="".join(lines) + end, metadata=metadata, file=f"{plan.name.lower()}.py"
    )


class _Module(Writer):
    """Writes the module of a plan."""

    def __init__(self, plan: Plan, dtype: str, doc: str, jit: bool):
        super().__init__(plan)
        self.dtype = dtype
        self.doc = doc
        self.jit = jit
        self.functions: list[str] = []  # those that numba compiles
        self.last_use = _last_uses(plan)
        self.feeding = feeds_loops(plan.body)
        for loop in plan.loops:
            self.feeding |= feeds_loops(loop.plain)

    # ---------------------------------------------------------------- the module

    def module(self) -> str:
        plan = self.plan
        text = (self.doc or f"{plan.name}, compiled by rnnc.").replace("\\", "\\\\")
        self.line('"""' + text.replace('"""', "'''") + '\n"""\n')
        self.line(HEADER.format(dtype=self.dtype) + self._recurrences())
        self.line("")
        self._prepare()
        self.line("\n")
        self._run()
        return "\n".join(self.lines) + "\n"

    def _recurrences(self) -> str:
        """The functions that operations need which stand for whole recurrences."""
        made = [s for s in flat(self.plan.statements()) if isinstance(s, Compute)]
        states = {s.attr("states") for s in made if s.op == "linear_scan"}
        texts = [LINEAR_SCAN] * (1 in states) + [LINEAR_SCANS] * bool(states - {1})
        ops = {s.op for s in made}
        texts += [text for op, text in FUNCTIONS.items() if op in ops]
        return "".join(texts).format(
            least=LEAST_STEPS,
            most=MOST_ENTRIES,
            least_chunked=LEAST_CHUNKED,
            least_of_small=LEAST_OF_SMALL,
            small_matrix=SMALL_MATRIX,
            chunk=CHUNK,
            edges=EDGES,
        )

    def _prepare(self) -> None:
        plan = self.plan
        self.line('@np.errstate(all="ignore")  # infinities are values like others')
        self.line("def prepare(weights):")
        self.indent = "    "
        self.line('"""What depends on the weights alone; give the result to ``run``."""')
        for p in plan.params:
            self.line(
                f"{self.names[p.array]} = np.array(weights[{p.name!r}], REAL)"
                f"  # {list(p.type.dims)}"
            )
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
        read = reads_of(self.plan.body) | {p.array for p in self.plan.outputs}
        return [n for n in made if n in read and n not in self.scalars]

    def _run(self) -> None:
        plan = self.plan
        start = len(self.lines)
        self.line('@np.errstate(all="ignore")')
        self.line("def run(prepared, inputs):")
        self.indent = "    "
        self.line('"""From a dict of inputs to a dict of outputs, sequences first.')
        self.line("")
        for p in plan.inputs:
            self.line(f"in   {p.name}: {p.type}")
        for p in plan.outputs:
            self.line(f"out  {p.name}: {p.type}")
        self.line('"""')
        unpacked = len(self.lines)
        if plan.inputs:
            self.line("lengths = {}")
        for p in plan.inputs:
            kind = {"real": "REAL", "index": "np.int64", "flag": "np.bool_"}[p.type.kind]
            dims = tuple(plan.length_names.get(str(d), d) if d != BATCH else d for d in p.type.dims)
            text = f"take(inputs, {p.name!r}, {kind}, {dims!r}, lengths)"
            text = f"int({text})" if p.role == "length" else text
            self.line(f"{self.names[p.array]} = {text}")
        for axis, where in plan.axes.items():
            name = self.names[f"length {axis}"]
            if isinstance(where, int):
                self.line(f"{name} = {where}")
            elif where[1] >= 0:
                self.line(f"{name} = {self.names[where[0]]}.shape[{where[1]}]")
        for s in plan.body:
            self._statement(s)
        self.line("return {")
        for name, text in self._outputs():
            self.line(f"    {name!r}: {text},")
        self.line("}")
        used = set(re.findall(r"\w+", "\n".join(self.lines[unpacked:])))
        named = {n: self.names[n] for n in self._prepared()}
        self.lines[unpacked:unpacked] = [
            f"{self.indent}{name} = prepared[{n!r}]" for n, name in named.items() if name in used
        ]
        self.lines[start:start] = [JIT[self.dtype], *self.functions] if self.functions else []
        self.indent = ""

    def _loop(self, loop: Loop) -> list[str]:
        """The lines of a loop; where numba takes it, it becomes a function that they call."""
        if not (self.jit and compilable(self.plan, loop)):
            return LoopWriter(self, loop).text()
        function, lines = JitLoop(self, loop).write(self.fresh(f"loop_{loop.axis}"))
        self.functions += [*function, "\n"]
        return lines

    def _result(self, name: str) -> str:
        """An output: a number among them may have been written out, without a dtype."""
        text = self.operand(name)
        return text if self.plan.arrays[name].dims else f"np.asarray({text}, {self.kind(name)})"

    def _outputs(self) -> list[tuple[str, str]]:
        """The outputs; one that is the memory of an input, a weight or another is copied."""
        taken = {p.array for p in self.plan.inputs} | set(self._prepared())
        made = {s.target: s for s in self.plan.body if isinstance(s, Compute)}
        out = []
        for p in self.plan.outputs:
            root = p.array
            while root in made and made[root].op in (*VIEWS, "copy", "reshape"):
                root = made[root].args[0]
            text = self._result(p.array)
            out.append((p.name, f"np.array({text})" if root in taken else text))
            taken.add(root)
        return out

    # ---------------------------------------------------------------- statements

    def _statement(self, s: Statement) -> None:
        """A statement of the body."""
        if isinstance(s, Compute):
            self._whole(s)
            return
        if s.plain:
            names, indent = dict(self.names), self.indent
            self.line(
                f"if {self.extent(BATCH)} < {FEW}:  # windows would cost more than they spare"
            )
            self.indent = f"{indent}    "
            for few in s.plain:
                self._statement(few)
            self.names, self.indent = names, indent
            self.line("else:")
            self.indent = f"{indent}    "
            self._statement(replace(s, plain=()))
            self.indent = indent
            return
        for text in self._loop(s):
            self.line(text)

    def _whole(self, s: Compute, aligned: bool = False) -> None:
        """A statement outside of loops."""
        value = dict(s.attrs).get("value")
        if s.op == "constant" and not isinstance(value, Array):
            self.scalars[s.target] = literal(value, self.plan.arrays[s.target].kind)
            return
        self.quote(s.origins)
        text = whole(self, s, self.feeding)
        if aligned and s.op in ("permute", "concat") and len(self.plan.arrays[s.target].dims) == 2:
            text = f"aligned({text})"
        if not aligned and self._by_features(s):
            text = f"spread({text}, {self.shape(self.plan.arrays[s.target].dims)})"
        reuse = self._dying(s)
        if reuse is not None:
            text = f"{text[:-1]}, out={self.names[reuse]})"
        self.line(f"{self.names[s.target]} = {text}")

    def _by_features(self, s: Compute) -> bool:
        """Whether steps are turned for several readers that all want the features first: they are
        laid out so once."""
        if s.op != "permute" or self.plan.arrays[s.target].dims[1:2] != (BATCH,):
            return False
        readers = [t for t in self.plan.body if s.target in reads_of([t])]
        wanted = all(
            isinstance(t, Loop) or (t.op == "matmul" and t.target in self.feeding) for t in readers
        )
        real = self.plan.arrays[s.target].kind == "real"
        return real and wanted and len(readers) > 1 and len(self.plan.arrays[s.target].dims) == 3

    def _dying(self, s: Compute) -> str | None:
        """An operand of the same form that is read here for the last time and was made here."""
        if s.op not in BINARY and not UNARY.get(s.op):
            return None
        for arg in s.args:
            if (
                arg in self._owned
                and self.last_use.get(arg) == s.target
                and self.plan.arrays[arg].dims  # a single number has no memory to reuse
                and self.plan.arrays[arg] == self.plan.arrays[s.target]
            ):
                return arg
        return None

    @cached_property
    def _owned(self) -> set[str]:
        """Arrays made by operations of the body, of which there is no view."""
        viewed = {p.array for p in self.plan.outputs}
        made: set[str] = set()
        for s in self.plan.body:
            if isinstance(s, Loop):
                viewed |= reads_of([s])
                viewed |= {o for o, _ in s.collected}
            elif s.op in BINARY or s.op in UNARY or s.op in ("matmul", "einsum"):
                made.add(s.target)
            else:
                viewed |= set(s.args)
        return made - viewed


def _last_uses(plan: Plan) -> Mapping[str, str]:
    """The target of the statement that reads an array last (of the body's own statements)."""
    last: dict[str, str] = {}
    for s in plan.body:
        if isinstance(s, Compute):
            last.update(dict.fromkeys(s.args, s.target))
        else:
            last.update(dict.fromkeys(reads_of([s]), ""))
    return last
