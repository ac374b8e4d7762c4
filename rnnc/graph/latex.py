r"""A System as LaTeX: its equations as one ``aligned`` block.

    h[t] = tanh(W_xh x[t] + W h[t-1])     →     h_t &= \tanh(W_{xh} x_t + W h_{t-1})

The notation is regular, so that it can be read back. A subscript that holds an axis (``t-1``) or
its length is time; any other belongs to the name, and both stand in one: ``h_{\mathrm{in},t}``.
Products of linear algebra have no sign, products of entries ``\odot``. Accents and Greek letters
are what names call them (``h_hat``, ``alpha``); of words longer than two letters the type is
upright. ``\partial h`` is the gradient by h.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from functools import cached_property
from typing import Any

from rnnc.graph.algebra import (
    AND,
    ATOM,
    COMPARE,
    LIKELIHOOD,
    NOT,
    OR,
    POWER,
    PRODUCT,
    SUM,
    TERM,
    Part,
)
from rnnc.graph.edges import is_met
from rnnc.graph.equations import (
    LIKELIHOODS,
    averaged,
    constants,
    is_square,
    is_squared_error,
    is_stretch,
)
from rnnc.graph.latex_names import parts_of, size_latex, symbol, word_symbol
from rnnc.graph.notation import GIVEN, Printer, constant_part, size_text
from rnnc.graph.ops import LEAVES, MAPS, NORMALISING, REDUCTIONS
from rnnc.graph.show import (
    declarations,
    head,
    objective_name,
    spelling,
    started,
    type_text,
)
from rnnc.graph.system import System, Value
from rnnc.graph.types import BATCH, FIRST, LAST, Bound, Index, Read, Size

DOTTED = TERM + 5  # a \cdot b, read from the left
SUMMED = SUM + 5  # a sum sign or cases: what follows as a factor would be read as a part of it

INFIX: dict[str, tuple[str, int, int, int]] = {  # sign, own level, least level left and right
    "or": (r" \lor ", OR, OR, AND),
    "and": (r" \land ", AND, AND, NOT),
    "eq": (" = ", COMPARE, SUM, SUM),
    "ne": (r" \neq ", COMPARE, SUM, SUM),
    "lt": (" < ", COMPARE, SUM, SUM),
    "le": (r" \leq ", COMPARE, SUM, SUM),
    "gt": (" > ", COMPARE, SUM, SUM),
    "ge": (r" \geq ", COMPARE, SUM, SUM),
    "add": (" + ", SUM, SUM, SUMMED),
    "sub": (" - ", SUM, SUM, SUMMED),
    "mod": (r" \bmod ", TERM, TERM, PRODUCT),
}
FUNCTIONS = {
    **{name: f"\\{name}" for name in ("tanh", "exp", "log", "sin", "cos", "max", "min")},
    "minimum": r"\min",
    "maximum": r"\max",
    "sigmoid": r"\sigma",
}
FENCES = {"abs": r"\lvert {} \rvert", "floor": r"\lfloor {} \rfloor", "sqrt": r"\sqrt{{{}}}"}


def show_latex(system: System, names: Mapping[str, str] | None = None) -> str:
    """The equations of a system; ``names`` respells values, ``∂h`` among them."""
    printer = LatexPrinter(system, {**spelling(system), **(names or {})})
    body = " \\\\\n".join(f"  {line}" for line in printer.lines())
    return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}\n"


def latex_spec(system: System, names: Mapping[str, str] | None = None) -> str:
    """The system as a spec whose equations are LaTeX: declarations in words, then one block.

    Reading it gives the same system. Constants are declarations, and so is what an equation has
    no place for: a target with a condition, a loss that is another value.
    """
    names = {**spelling(system), **(names or {})}
    printer = LatexPrinter(system, names)
    fixed = constants(system)
    body = " \\\\\n".join(f"  {line}" for line in printer.lines(without=fixed))
    plain = Printer(system, names)
    block = f"$$\n\\begin{{aligned}}\n{body}\n\\end{{aligned}}\n$$"
    parts = [head(plain), declarations(plain), [block], printer.results(plain)]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


# ---------------------------------------------------------------- layout


def fenced(text: str) -> str:
    """In parentheses, of the height of what is in them."""
    tall = re.search(r"\\(frac|sum|begin|max_|min_)", text)
    return rf"\left( {text} \right)" if tall else f"({text})"


def enclosed(part: Part, least: int) -> str:
    """The text, in parentheses where it binds less tightly than ``least``."""
    text, level = part
    return text if level >= least else fenced(text)


class LatexPrinter(Printer):
    """Writes the equations of one system as LaTeX."""

    def lines(self, without: Set[str] = frozenset()) -> list[str]:
        """All equations (but those of some values), with boundaries before the equation that they
        belong to."""
        system, out = self.system, list[str]()
        own = self._statements()
        for value in system.inputs:
            out += self.boundaries(value)
        for values, text in self.equations():
            for value in values:
                out += self.boundaries(value)
            if values[0].name not in own and values[0].name not in without:
                out.append(text)
        for name, found in system.targets.items():
            line = rf"{self.left(system[name])} &\sim {self.distribution(name)}"
            if found.when:
                line += rf" \quad \text{{when }} {self.read(found.when)}"
            out.append(line)
        return [*out, *own.values()]

    def results(self, plain: Printer) -> list[str]:
        """The statements of a spec that belong to no equation."""
        system, lines, own = self.system, list[str](), self._statements()
        for value in system.leaves("target"):
            lines.append(f"target {plain.left(value)} : {type_text(value)}")
        for keyword, named in (("loss", system.losses), ("metric", system.metrics)):
            for key, name in named.items():
                if name not in own and name not in self.hidden:
                    lines.append(f"{started(plain, keyword, key)} {plain.left(system[name])}")
        if system.outputs:
            lines.append(f"output {', '.join(map(plain.name, system.outputs))}")
        return lines

    def _statements(self) -> dict[str, str]:
        """Losses and metrics that no equation reads."""
        system = self.system
        visible = [v for v in system.values.values() if v.name not in self.hidden]
        read = {r.source for v in visible for _, r in v.all_reads()}
        out: dict[str, str] = {}
        for kind, named in (("loss", system.losses), ("metric", system.metrics)):
            for key, name in named.items():
                if name in read | self.hidden | {*system.outputs} or name in out:
                    continue
                label = objective_name(system, kind, key)
                if kind == "metric":
                    left = rf"\text{{metric }} {symbol(label)}"
                else:
                    below = f"_{{{word_symbol(label, first=False)}}}" if label else ""
                    left = rf"\mathcal{{L}}{below}"
                over = {BATCH} if kind == "loss" else set(system.axes)
                inner = averaged(system, system[name], self.inlined, over)
                right = self.read(inner) if inner else self.expression(system[name])
                out[name] = f"{left} &= {right}"
        return out

    # ---------------------------------------------------------------- sides

    def equation(self, value: Value) -> str:
        # a second `=` would be read as a chain, so that conditions stand in parentheses
        return f"{self.left(value)} &= {enclosed(self._value(value), SUM)}"

    def split(self, values: Sequence[Value], whole: Value) -> str:
        right = self._call("split", [self.expression(whole), str(len(values))])[0]
        return f"({', '.join(map(self.left, values))}) &= {right}"

    def boundaries(self, value: Value) -> list[str]:
        return [
            f"{self.left(value, {b.axis: b.step})} &= {self._edge(b)}"
            for b in value.bounds
            if is_met(self.system, value, b)
        ]

    def _edge(self, bound: Bound) -> str:
        source = self.system[bound.read.source]
        if source.name in self.inlined and source.op == "broadcast":  # scalars fill by themselves
            return enclosed(self._read(source.reads[0]), SUM)
        return enclosed(self._read(bound.read), SUM)

    def left(self, value: Value, at: Mapping[str, Index] | None = None) -> str:
        gradient, base, subscripts, primes = parts_of(
            self.name(value.name), self._like_steps(value)
        )
        times = [
            self._step(value, axis, (at or {}).get(axis, Index(axis)))
            for axis in value.axes
            if axis != BATCH
        ]
        text = ",".join([*subscripts, *times])
        bare = len(text) == 1 and not subscripts
        below = f"_{text}" if bare else f"_{{{text}}}" if text else ""
        return f"{gradient}{base}{below}{primes}"

    def _like_steps(self, value: Value) -> set[str]:
        """The words in a value's name that would be read as steps."""
        axes = {a for a in self.system.axes if a != BATCH}
        like = {"t", "T", *axes, *(self.system.axes[a].length for a in axes)}
        first, *rest = self.name(value.name).rstrip("'").split("_")
        like |= {word for word in rest if word and all(c in axes | {"t"} for c in word)}
        if value.op not in GIVEN:  # `h_1` where there is an `h_t`
            count = 1 + len({*value.axes} - {BATCH})
            stems = {self.name(v.name) for v in self.system.values.values()
                     if len({*v.axes} - {BATCH}) == count}  # fmt: skip
            like |= {w for i, w in enumerate(rest) if w.isdigit() and
                     "_".join([first, *rest[:i], *rest[i + 1 :]]) in stems}  # fmt: skip
        return like

    def _step(self, value: Value, axis: str, index: Index) -> str:
        """``t-1``, ``T``, ``0``; ``t=0`` where a value is named ``h_0``."""
        if index.base == FIRST:
            step = size_text(index.offset + 1).replace(" ", "")
            taken = f"{value.name}_{step}" in self.system.values
            return f"{symbol(axis)}={step}" if taken else size_latex(step)
        base = symbol(self.system.axes[axis].length if index.base == LAST else index.base)
        if index.offset == 0:
            return base
        offset = size_latex(index.offset).replace(" ", "")
        return base + offset if offset.startswith("-") else f"{base}+{offset}"

    def distribution(self, name: str) -> str:
        """``\\operatorname{categorical}(p_t)``; a choice among steps names their axis."""
        found, target = self.system.targets[name], self.system[name]
        axes = {a for r in found.reads for a in self.system.read_axes(r)} - {*target.axes, BATCH}
        texts = [self.read(r) for r in found.reads]
        return self._call(found.kind, texts, self.system.ordered(axes))[0]

    # ---------------------------------------------------------------- expressions

    def _read(self, r: Read) -> Part:
        source = self.system[r.source]
        if r.source in self.inlined:
            return self._value(source)
        text = self.left(source, dict(r.at))
        return text, POWER if text.startswith(r"\partial") or text.endswith("'") else ATOM

    def _value(self, value: Value) -> Part:
        op = value.op
        attrs: dict[str, Any] = dict(value.attrs)
        if op in LEAVES:
            return self._leaf(value, attrs)
        if op == "div" and (mean := self._mean(value)):
            return mean
        if op == "broadcast" and is_stretch(value.name):
            return self._read(value.reads[0])
        parts = [self._read(r) for r in value.reads]
        texts = [text for text, _ in parts]
        if is_square(value) and value.type.rank < 2:  # of a matrix it would be the product
            return f"{enclosed(parts[0], ATOM)}^2", POWER
        if op in INFIX:
            sign, own, left, right = INFIX[op]
            return f"{enclosed(parts[0], left)}{sign}{enclosed(parts[1], right)}", own
        if op in FENCES:
            return FENCES[op].format(texts[0]), ATOM
        match op:
            case "mul":
                return self._entries(value, parts)
            case "div":
                return rf"\frac{{{texts[0]}}}{{{texts[1]}}}", POWER
            case "pow":
                return f"{enclosed(parts[0], ATOM)}^{{{texts[1]}}}", POWER
            case "neg" if texts[0].startswith("-") and parts[0][1] == LIKELIHOOD:
                return texts[0][1:], ATOM
            case "neg":
                return f"-{enclosed(parts[0], SUMMED)}", SUM
            case "not":
                return rf"\lnot {enclosed(parts[0], ATOM)}", NOT
            case "copy" | "to_real":
                return parts[0]
            case "where":
                rows = rf"{texts[1]} & \text{{if }} {texts[0]} \\ {texts[2]} & \text{{otherwise}}"
                return rf"\begin{{cases}} {rows} \end{{cases}}", SUMMED
            case "contract" | "scatter":
                return self._sum(self._inside(value, parts), value.over)
            case "transpose":
                return _transposed(parts[0])
            case "concat":
                return "[" + r";\, ".join(texts) + "]", ATOM
            case "gather":
                return self._looked_up(value, parts[0], texts[1])
            case "sum" if is_squared_error(self.system, value, self.inlined):
                square = self.system[value.reads[0].source]
                return rf"\lVert {self.read(square.reads[0])} \rVert^2", POWER
            case "sum" if value.over:
                return self._sum(parts[0], value.over)
            case "log_softmax":
                inner = self._call("softmax", texts, value.over)
                return self._call("log", [inner[0]])
            case "slice":
                texts += [size_latex(attrs["start"]), size_latex(attrs["stop"])]
            case "repeat" | "kth_largest":
                texts.append(size_latex(attrs["count"]))
            case "onehot":
                texts.append(size_latex(attrs["size"]))
            case "broadcast":
                return self._stretched(value)
        over = value.over if op in REDUCTIONS else ()
        return self._call(op, texts, over)

    def _call(self, op: str, texts: list[str], over: Iterable[str] = ()) -> Part:
        name = FUNCTIONS.get(op)
        if name is None or (op == "sigmoid" and "sigma" in self.system.values):
            word = op.replace("_", r"\_")
            name = rf"\operatorname{{{word}}}"
        axes = ",".join("b" if a == BATCH else symbol(a) for a in over)
        below = f"_{{{axes}}}" if axes else ""
        return f"{name}{below}{fenced(', '.join(texts))}", ATOM

    def _leaf(self, value: Value, attrs: Mapping[str, Any]) -> Part:
        match value.op:
            case "constant":
                return _number(constant_part(attrs["value"]))
            case "size":
                text = size_latex(attrs["size"])
                return text, SUM if " " in text else ATOM
            case "eye":
                return rf"\mathbf{{I}}_{{{size_latex(attrs['size'])}}}", ATOM
            case "arange":
                return self._call("arange", [size_latex(attrs["size"])])
            case "step":
                return symbol(attrs.get("axis") or value.axes[0]), ATOM
            case "length":
                axis = attrs["axis"]
                if axis == BATCH:
                    return r"\sum_{b} 1", SUMMED
                return symbol(self.system.axes[axis].length), ATOM
            case "training":
                return r"\mathrm{training}", ATOM
        return self.left(value), ATOM

    def _looked_up(self, value: Value, table: Part, row: str) -> Part:
        """``E[w_t]``; the likelihoods of a distribution by their names."""
        source = self.system[value.reads[0].source]
        if source.name in self.inlined and source.op in LIKELIHOODS:
            loss = self._call(LIKELIHOODS[source.op], [self.read(source.reads[0]), row])
            return f"-{loss[0]}", LIKELIHOOD
        return f"{enclosed(table, POWER)}[{row}]", ATOM

    # ---------------------------------------------------------------- products and sums

    def _entries(self, value: Value, parts: list[Part]) -> Part:
        """``a \\odot b``; a number stands beside what it multiplies."""
        ranks = [self._shown_rank(r) for r in value.reads]
        # beside something, a number is told from a vector by what it is made of
        told = all(rank or r.source in self.told
                   for rank, r in zip(ranks, value.reads, strict=True))  # fmt: skip
        if all(ranks) or not told:
            a, b = (enclosed(p, least) for p, least in zip(parts, (TERM, PRODUCT), strict=True))
            return rf"{a} \odot {b}", TERM
        return _scaled(*parts)

    @cached_property
    def told(self) -> set[str]:
        """Values whose rank is told by what they are made of, not by what is made of them; of
        some that recur nothing tells it."""
        found = {v.name for v in self.system.values.values() if v.op in LEAVES}
        before = -1
        while len(found) > before:
            before = len(found)
            for value in self.system.values.values():
                reads = [self.system[r.source] for r in value.reads]
                known = [r for r in reads if r.name in found]
                rank = value.type.rank
                if (
                    len(known) == len(reads)
                    or (value.op in REDUCTIONS - NORMALISING and not value.over)
                    or (value.op in MAPS and rank and any(r.type.rank == rank for r in known))
                ):  # fmt: skip
                    found.add(value.name)
        return found

    def _are_told(self, value: Value) -> bool:
        return all(r.source in self.told for r in value.reads)

    def _shown_rank(self, r: Read) -> int:
        """How many dimensions an operand has as it is printed."""
        value = self.system[r.source]
        while value.op in ("broadcast", "copy") and is_stretch(value.name):
            value = self.system[value.reads[0].source]
        return value.type.rank

    def _product(self, value: Value, parts: list[Part]) -> Part:
        """A contraction in the notation of linear algebra."""
        left, right, out = (value.attr(x) for x in ("left", "right", "out"))
        a, b = parts
        if len(left) < len(right):
            a, b, left, right = b, a, right, left
        shared = set(left) & set(right)

        def turned(part: Part, if_: bool) -> Part:
            return _transposed(part) if if_ else part

        match len(left), len(right):
            case _, 0:
                return _scaled(b, turned(a, out != left))
            case 1, 1 if not out and not self._are_told(value):
                return self._call("dot", [parts[0][0], parts[1][0]])
            case 1, 1 if not shared and out and not self._are_told(value):
                first, second = (a, b) if out == left + right else (b, a)
                return self._call("outer", [first[0], second[0]])
            case 1, 1 if not shared and out:
                first, second = (a, b) if out == left + right else (b, a)
                return _beside(first, _transposed(second), thin=True)
            case 1, 1 if not out:
                first, second = parts
                return _beside(_transposed(first), second)
            case (1, 1) | (2, 2) if len(shared) == len(left) and len(out) == len(left):
                other = turned(b, left != right)
                entries = rf"{enclosed(a, TERM)} \odot {enclosed(other, PRODUCT)}", TERM
                return turned(entries, out != left)
            case 2, 1 if shared and len(out) == 1 and out != right:
                return _beside(turned(a, left[0] == right), b)
            case 2, 1 if out == left:
                scaled = self._call("diag", [b[0]])
                return _beside(a, scaled) if left[1] == right else _beside(scaled, a)
            case 2, 2 if len(shared) == 1 and len(out) == 2:
                (k,) = shared
                if out[0] in right:
                    a, b, left, right = b, a, right, left
                return _beside(turned(a, left[0] == k), turned(b, right[1] == k))
            case 2, 2 if not out:
                other = turned(b, left != right)
                inner = rf"{enclosed(a, TERM)} \odot {enclosed(other, PRODUCT)}"
                return self._call("sum", [inner])
            case 2, 1 if len(shared) == 1 and out == right:
                total = self._rows_total(value, a, left, out)
                return rf"{enclosed(total, TERM)} \odot {enclosed(b, PRODUCT)}", TERM
            case 2, 2 if len(shared) == 2 and len(out) == 1:
                other = turned(b, left != right)
                entries = rf"{enclosed(a, TERM)} \odot {enclosed(other, PRODUCT)}", TERM
                return self._rows_total(value, entries, left, out)
        word = rf"\mathrm{{{left}\_{right}\_{out}}}"
        return self._call("einsum", [word, a[0], b[0]])

    def _rows_total(self, product: Value, matrix: Part, letters: str, kept: str) -> Part:
        """The sums of the rows of a matrix, or of its columns: a product with ones."""
        (gone,) = set(letters) - set(kept)
        turned = matrix if letters[0] == kept else _transposed(matrix)
        count = self._letters(product)[gone]
        return _beside(turned, self._call("repeat", ["[1]", size_latex(count)]))

    def _inside(self, value: Value, parts: list[Part]) -> Part:
        """What a contraction or a scatter adds up over axes."""
        return self._put(value, parts) if value.op == "scatter" else self._product(value, parts)

    def size(self, size: Size) -> str:
        return size_latex(size)

    def beside(self, left: Part, right: Part) -> Part:
        return _beside(left, right)

    def _put(self, value: Value, parts: list[Part]) -> Part:
        """A row put where a table was looked up."""
        row, place = parts
        chosen = self._call("onehot", [place[0], size_latex(value.type.shape[0])])
        return _beside(chosen, _transposed(row), thin=True)

    def _sum(self, part: Part, over: Iterable[str]) -> Part:
        """``\\sum_{b} \\sum_{t=1}^{T}`` before an expression."""
        for axis in sorted(over, key=lambda a: a == BATCH):
            part = f"{self._sum_sign(axis)} {enclosed(part, SUMMED)}", SUMMED
        return part

    def _sum_sign(self, axis: str) -> str:
        if axis == BATCH:
            return r"\sum_{b}"
        return rf"\sum_{{{symbol(axis)}=1}}^{{{symbol(self.system.axes[axis].length)}}}"

    def _mean(self, value: Value) -> Part | None:
        top, below = (self.system[r.source] for r in value.reads)
        while below.op in ("to_real", "copy") and below.name in self.inlined:
            below = self.system[below.reads[0].source]
        if top.op == "sum" and not top.over:
            return super()._mean(value)
        if top.op not in ("sum", "contract", "scatter") or below.op != "length":
            return None
        axis = below.attr("axis")
        if axis not in top.over or not {top.name, below.name} <= self.inlined:
            return None
        parts = [self._read(r) for r in top.reads]
        inner = parts[0] if top.op == "sum" else self._inside(top, parts)
        rest = self._sum(inner, [a for a in top.over if a != axis])
        length = "B" if axis == BATCH else symbol(self.system.axes[axis].length)
        return rf"\frac{{1}}{{{length}}} {self._sum(rest, (axis,))[0]}", SUMMED


def _scaled(left: Part, right: Part) -> Part:
    """``2 \\, x``, ``a b \\cdot x``: a product of which one is a number."""
    if not DOTTED <= left[1] < POWER:
        return _beside(left, right, thin=True)
    return rf"{enclosed(left, DOTTED)} \cdot {enclosed(right, PRODUCT)}", DOTTED


def _beside(left: Part, right: Part, thin: bool = False) -> Part:
    """``W x``; a number that is not the first factor has a dot before it."""
    words = any(r"\mathrm" in text for text, _ in (left, right))  # `h2h h_t` wants a gap
    if right[0][0].isdigit():
        return rf"{enclosed(left, DOTTED)} \cdot {enclosed(right, PRODUCT)}", DOTTED
    sign = r" \, " if thin or words else " "
    # it is read from the right: `A B x` is A (B x)
    return f"{enclosed(left, POWER)}{sign}{enclosed(right, PRODUCT)}", PRODUCT


def _transposed(part: Part) -> Part:
    return rf"{enclosed(part, ATOM)}^\top", POWER


def _number(part: Part) -> Part:
    text, level = part
    found = re.fullmatch(r"(-?)([\d.]+)e([-+]\d+)", text)
    if found:
        sign, head, exponent = found[1], found[2], int(found[3])
        power = f"10^{{{exponent}}}" if head == "1" else rf"{head} \cdot 10^{{{exponent}}}"
        return f"{sign}{power}", SUM if sign else PRODUCT if head != "1" else POWER
    named = {"pi": r"\pi", "inf": r"\infty", "-inf": r"-\infty"}
    return named.get(text, text.replace("==", "=")), level
