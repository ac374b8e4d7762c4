r"""The equations of a model's ``$$ … $$`` blocks, as its statements.

All left sides are looked at first, since they tell what varies: ``\hat c = …`` of what varies
over t is ``c_hat[t]``, and ``\tanh(a)`` reads ``a[t]`` where there is ``a^{(t)} = …``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass, replace

from rnnc.source import Diagnostic, Note, Source, Span
from rnnc.syntax import tree
from rnnc.syntax.latex import marks
from rnnc.syntax.latex.expressions import Expressions
from rnnc.syntax.latex.moved import moved_to_now
from rnnc.syntax.latex.names import Names, names_of
from rnnc.syntax.latex.parse import parse_latex
from rnnc.syntax.latex.products import Unit, between
from rnnc.syntax.latex.scripts import letter_of, wrong
from rnnc.syntax.latex.tokens import LatexError
from rnnc.syntax.walk import nodes

_DISTRIBUTIONS = {
    **dict.fromkeys(("categorical", "cat", "multinomial", "discrete"), "categorical"),
    **dict.fromkeys(("bernoulli", "bern", "ber"), "bernoulli"),
    "normal": "normal",
    "gaussian": "normal",
}


@dataclass
class _Equation:
    """One equation, and the block that it stands in."""

    item: marks.Item
    block: tree.LatexStatement


def read_latex(
    statements: Sequence[tree.Statement], models: Iterable[str]
) -> tuple[tuple[tree.Statement, ...], tuple[Note, ...], list[Diagnostic]]:
    """The statements with equations in the place of LaTeX, what is to be said of them, and what
    is wrong."""
    if not any(isinstance(s, tree.LatexStatement) for s in statements):
        return tuple(statements), (), []
    return _Reading(statements, names_of(statements, models)).run()


class _Reading:
    def __init__(self, statements: Sequence[tree.Statement], names: Names):
        self.statements = statements
        self.names = names
        self.notes: list[Note] = []
        self.diagnostics: list[Diagnostic] = []
        self.block: tree.LatexStatement | None = None
        self.quiet = False
        self.unsure = 0  # parts of the left side just read that might be steps
        self.distributions: dict[str, tuple[tree.Call, tree.Expr | None, Span]] = {}
        self.reader = Expressions(names, self._place, self._note)

    def _place(self, start: int, end: int) -> Span:
        assert self.block is not None
        base = self.block.span.start
        return Span(self.block.span.source, base + start, base + end)

    def _note(self, mark: marks.Mark, text: str) -> None:
        if not self.quiet:
            self.notes.append(Note(text, self._place(mark.start, mark.end)))

    def run(self) -> tuple[tuple[tree.Statement, ...], tuple[Note, ...], list[Diagnostic]]:
        self._learn()
        out: list[tree.Statement] = []
        for s in self.statements:
            if isinstance(s, tree.LatexStatement):
                self.block = s
                for start, end in s.unread:
                    what = " ".join(s.text[start:end].split())
                    self._note(marks.Mark(start, end), f"`{what}` is not read")
                for row in s.rows:
                    out += self._row(row)
            else:
                out.append(s)
        if self.distributions:
            out = [self._observed(s) for s in out]
        if self.names.fresh:
            place = next(s.span for s in self.statements if isinstance(s, tree.LatexStatement))
            fresh = self.names.fresh.items()  # last, so that others name the length
            out += [tree.AxisStatement(a, n, None, span=place) for a, n in fresh]
        for name, (_, _, span) in self.distributions.items():
            message = f"`{name}` is no target of this model, or has a distribution already"
            hint = f"declare it: target {name}[t] : index(k)"
            self.diagnostics.append(Diagnostic("RNN010", message, span, hint=hint))
        notes = {(n.span.start, n.span.end, n.message): n for n in self.notes}
        return tuple(out), tuple(notes.values()), self.diagnostics

    # ---------------------------------------------------------------- names

    def _learn(self) -> None:
        """Find out which names the equations define, and which of them vary."""
        self.quiet = True
        waiting = list(self._equations())
        # `s_{t,0}` is a step of `s` only if there is an `s_{t,j}`: what is sure comes first
        for unsure in range(4):
            for equation in waiting:
                self.block = equation.block
                self._learn_steps(equation.item, unsure)
        for equation in waiting if self.names.moved else ():
            self.block = equation.block
            with suppress(LatexError):  # told when it is read
                self._learn_moves(equation.item)
        changed = True
        while changed and waiting:
            changed = False
            rest = []
            for equation in waiting:
                self.block = equation.block
                try:
                    settled = self._learn_one(equation)
                except LatexError:
                    continue  # told when it is read
                changed = changed or settled
                if not settled:
                    rest.append(equation)
            waiting = rest
        for equation in self._equations():  # once, so that the order of equations is no matter
            self.block = equation.block
            with suppress(LatexError):
                self.reader.read(equation.item.sides[1])
        self.reader.scripts.fonts.clear()
        self.quiet = False

    def _equations(self) -> Iterator[_Equation]:
        for s in self.statements:
            if isinstance(s, tree.LatexStatement):
                for row in s.rows:
                    for item in row.items:
                        if item.relations[:1] == ("=",) and not self._is_range(item):
                            yield _Equation(item, s)

    def _learn_steps(self, item: marks.Item, unsure: int) -> None:
        self.unsure = 0
        try:
            lefts = self._lefts(item.sides[0])
        except LatexError:
            return  # told when it is read
        if self.unsure != unsure:
            return
        for left in () if isinstance(lefts, str) or lefts is None else lefts:
            axes = tuple(_base(i, self.names) for i in left.index)
            if axes and all(axes):
                for axis, step in zip(axes, left.index, strict=True):
                    if move := _move(step):
                        self.names.moved.setdefault(left.name, {})[axis] = move
                self.names.known.add(left.name)
                self.names.varying.setdefault(left.name, axes)

    def _learn_moves(self, item: marks.Item) -> None:
        """``h_{t+1} = f(h_t, x_{t+1})`` reads data of ``t+1``: all of it is the next step."""
        lefts = self._lefts(item.sides[0])
        if lefts is None or isinstance(lefts, str):
            return
        for left in lefts:
            moves = self.names.moved.get(left.name)
            steps = [i for i in left.index if isinstance(i, tree.Binary)]
            if not moves or not steps:
                continue
            kept, self.names.moved = self.names.moved, {}
            right = self.reader.read(item.sides[1])
            self.names.moved = kept
            reads = [n for n in nodes(right) if isinstance(n, tree.Indexed)]
            if any(n.name not in kept and set(n.index) & set(steps) for n in reads):
                del kept[left.name]
                self.names.shifted.add(left.name)

    def _learn_one(self, equation: _Equation) -> bool:
        """Whether all is known of the left side of an equation."""
        item = equation.item
        lefts = self._lefts(item.sides[0])
        if isinstance(lefts, str) or lefts is None:
            return True
        settled = True
        for left in lefts:
            if not left.index and left.name not in self.names.varying:
                self.names.known.add(left.name)
                free = _free_axes(self.reader.read(item.sides[1]), self.names)
                if free:
                    self.names.varying[left.name] = free
                else:
                    settled = False
        return settled

    def _is_range(self, item: marks.Item) -> bool:
        """``t = 1, …, T``"""
        return self.reader.scripts.plain_name(item.sides[0]) in self.names.axes

    # ---------------------------------------------------------------- rows

    def _row(self, row: marks.Row) -> Iterator[tree.Statement]:
        ranged = False
        for item in row.items:
            if self._is_range(item) and (item.relations or len(row.items) > 1):
                ranged = True
                self._note(item, f"`{self._text(item)}` is not read")
                continue
            if ranged and not item.relations:
                continue  # `…, T` of `t = 1, …, T`
            try:
                yield from self._item(item)
            except LatexError as error:
                span = self._place(error.start, max(error.end, error.start + 1))
                self.diagnostics.append(Diagnostic("RNN004", error.message, span, hint=error.hint))

    def _item(self, item: marks.Item) -> Sequence[tree.Statement]:
        if not item.relations:
            hint = "an equation is written h_t = …"
            raise wrong("this is no equation", item, hint)
        relation = item.relations[0]
        if relation == "in":
            self._note(item, "shapes are told by the declarations; this is not read")
            return ()
        if relation == "~":
            self._distribution(item)
            return ()
        if relation != "=":
            raise wrong("a comparison is no equation", item, "an equation is written h_t = …")
        for at, sign in enumerate(item.relations[1:], 2):
            if sign == "=":
                more = marks.Mark(item.sides[at].start, item.sides[-1].end)
                text = "of several right sides the first is the equation; the others are not read"
                self._note(more, text)
                item = replace(
                    item, sides=item.sides[:at], relations=item.relations[: at - 1],
                    end=item.sides[at - 1].end,
                )  # fmt: skip
                break
        return self._equation(item)

    def _equation(self, item: marks.Item) -> Sequence[tree.Statement]:
        lefts = self._lefts(item.sides[0])
        span = self._place(item.start, item.end)
        if lefts is None:
            raise wrong(
                f"`{self._text(item.sides[0])}` is no left side of an equation",
                item.sides[0],
                self._left_hint(item.sides[0]),
            )
        if not isinstance(lefts, str):
            lefts = tuple(self._with_axes(left, item.sides[0]) for left in lefts)
            lefts = tuple(self._counted(left, item.sides[0]) for left in lefts)
            names = [_base(i, self.names) for left in lefts for i in left.index]
            self.reader.here = tuple(n for n in names if n)
            if applied := self._applied(lefts, item, span):
                return applied
        right = self._right(item)
        self.reader.here = ()
        if isinstance(lefts, str):
            kind, _, name = lefts.partition(" ")
            if kind == "loss":
                named = name if name.isidentifier() else None
                return (tree.LossStatement(named, right, span=span),)
            return (tree.MetricStatement(name, right, span=span),)
        if len(lefts) > 1 and not (isinstance(right, tree.Call) and right.function == "split"):
            count = tree.Number(len(lefts), span=right.span)
            right = tree.Call("split", (), (right, count), span=right.span)
        equation = tree.Equation(lefts, right, span=span)
        if any(left.name in self.names.shifted for left in lefts):
            equation = moved_to_now(equation, self.names)
            self._note(item.sides[0], "the equation is read one step earlier, for this step")
        return (equation,)

    def _applied(
        self, lefts: Sequence[tree.Left], item: marks.Item, span: Span
    ) -> Sequence[tree.Statement]:
        """A column of functions before its argument, one for each name on the left."""
        right = item.sides[1]
        if not isinstance(right, marks.Product) or not isinstance(right.factors[0], marks.Matrix):
            return ()
        column, *rest = right.factors
        assert isinstance(column, marks.Matrix)
        cells = [row[0] for row in column.rows if len(row) == 1]
        functions = [self.reader.function_of(Unit(c, letter_of(c)), called=True) for c in cells]
        found = [f.name for f in functions if f is not None]
        if len(found) != len(lefts) or len(column.rows) != len(lefts):
            return ()
        argument = self.reader.joined(list(self.reader.units(rest)), between(rest[0], rest[-1]))
        count = tree.Number(len(lefts), span=span)
        split = tree.Call("split", (), (argument, count), span=argument.span)
        sums = tuple(replace(left, name=f"{left.name}_sum") for left in lefts)
        out: list[tree.Statement] = [tree.Equation(sums, split, span=span)]
        for left, part, name in zip(lefts, sums, found, strict=True):
            value: tree.Expr = tree.Name(part.name, span=part.span)
            if part.index:
                value = tree.Indexed(part.name, part.index, span=part.span)
            call = tree.Call(name, (), (value,), span=span)
            out.append(tree.Equation((left,), call, span=span))
        return out

    def _right(self, item: marks.Item) -> tree.Expr:
        """The right side, with comparisons that follow it: ``m_t = a_t < b_t < c_t``."""
        right = self.reader.read(item.sides[1])
        parts: list[tree.Expr] = []
        for sign, side in zip(item.relations[1:], item.sides[2:], strict=True):
            if sign == "in":
                self._note(
                    marks.Mark(side.start, item.end), "shapes are declared; this is not read"
                )
                break
            if sign == "~":
                raise wrong("a `\\sim` stands between a target and its distribution", side)
            after = self.reader.read(side)
            parts.append(tree.Binary(sign, right, after, span=right.span.to(after.span)))
            right = after
        if not parts:
            return right
        out = parts[0]
        for part in parts[1:]:
            out = tree.Binary("and", out, part, span=out.span.to(part.span))
        return out

    def _text(self, mark: marks.Mark) -> str:
        return " ".join(self._place(mark.start, mark.end).text.split())

    # ---------------------------------------------------------------- left sides

    def _lefts(self, mark: marks.Mark) -> tuple[tree.Left, ...] | str | None:
        """What an equation defines; ``loss name`` or ``metric name``; None of nonsense."""
        if isinstance(mark, marks.Bracket) and mark.kind in ("(", "["):
            if len(mark.items) > 1:
                return self._several(mark.items)
            return self._lefts(mark.items[0]) if mark.items else None
        if isinstance(mark, marks.Matrix):
            whole = self.reader.entries(mark, mark.rows)
            if isinstance(whole, tree.Name):
                return (tree.Left(whole.name, (), span=whole.span),)
            if isinstance(whole, tree.Indexed):
                return (tree.Left(whole.name, whole.index, span=whole.span),)
            column = all(len(row) == 1 for row in mark.rows)
            return self._several([row[0] for row in mark.rows]) if column else None
        if isinstance(mark, marks.Product):
            return self._product_left(mark)
        if label := self._loss(mark):
            return label
        left = self._left(mark)
        return None if left is None else (left,)

    def _several(self, items: Sequence[marks.Mark]) -> tuple[tree.Left, ...] | None:
        lefts = [self._left(item) for item in items]
        some = tuple(x for x in lefts if x is not None)
        return some if len(some) == len(lefts) else None

    def _product_left(self, mark: marks.Product) -> tuple[tree.Left, ...] | str | None:
        """``\\partial h_t``, ``h(t)``, ``\\text{metric } a``."""
        first, *rest = mark.factors
        said = first.text if isinstance(first, marks.Sign) and first.kind == "word" else ""
        if said in ("metric", "loss") and len(rest) == 1:
            name = self.reader.scripts.plain_name(rest[0])
            return None if name is None else f"{said} {name}"
        units = list(self.reader.units(mark.factors))
        if len(units) == 1 and units[0].letter is not None:
            found = self.reader.scripts.read(units[0].letter, mark, left=True)
            return (tree.Left(found.name, tuple(found.steps), span=self.reader.span(mark)),)
        if len(units) == 2 and units[0].letter is not None:
            bracket = units[1].mark
            if isinstance(bracket, marks.Bracket) and bracket.kind in ("(", "["):
                steps = self.reader.scripts.steps(bracket)
                found = self.reader.scripts.read(units[0].letter, units[0].mark, left=True)
                if steps is not None and not found.steps:
                    return (tree.Left(found.name, tuple(steps[0]), span=self.reader.span(mark)),)
        return None

    def _loss(self, mark: marks.Mark) -> str | None:
        """``\\mathcal{L}``, ``\\mathcal{L}_{\\mathrm{decay}}``: the loss."""
        body = mark.body if isinstance(mark, marks.Scripted) else mark
        if not (isinstance(body, marks.Styled) and body.style == "mathcal"):
            return None
        letter = letter_of(mark)
        if letter is None or letter.base != "L":
            return None
        fonts, self.reader.scripts.fonts = self.reader.scripts.fonts, {}
        name = self.reader.scripts.read(replace(letter, font=""), mark, left=True)
        self.reader.scripts.fonts = fonts  # a loss is no value that a font tells from others
        return None if name.steps else f"loss {name.name.removeprefix('L').lstrip('_')}"

    def _left(self, mark: marks.Mark) -> tree.Left | None:
        letter = letter_of(mark)
        if letter is None:
            run = letter_of(mark, run=True)
            if run is None or run.base not in self.names.known:
                return None
            letter = run
        found = self.reader.scripts.read(letter, mark, left=True)
        self.unsure += found.unsure
        if found.transposed or found.power is not None:
            return None
        return tree.Left(found.name, tuple(found.steps), span=self.reader.span(mark))

    def _left_hint(self, mark: marks.Mark) -> str:
        text = self._text(mark)
        if isinstance(mark, marks.Product) and len(mark.factors) == 2:
            first, second = mark.factors
            if isinstance(second, marks.Sign) and second.kind == "number":
                return f"is a sign missing? `{self._text(first)}_{second.text}`"
        if isinstance(mark, marks.Sign) and mark.kind == "letters" and len(text) > 1:
            return f"letters that touch are several names; one name is \\mathrm{{{text}}}"
        return "on the left stands one name, with its step: h_t"

    def _with_axes(self, left: tree.Left, mark: marks.Mark) -> tree.Left:
        """``\\hat c = …`` of what varies over t is ``c_hat[t]``."""
        if left.index or left.name not in self.names.varying:
            return left
        axes = self.names.varying[left.name]
        text = f"`{left.span.text}` varies over {' and '.join(axes)}: it is "
        self._note(mark, f"{text}{left.name}[{', '.join(axes)}]")
        index = tuple(tree.Name(a, span=left.span) for a in axes)
        return tree.Left(left.name, index, span=left.span)

    def _counted(self, left: tree.Left, mark: marks.Mark) -> tree.Left:
        """``h_{t+1} = f(h_t, x_t)`` is ``h[t] = f(h[t-1], x[t])``: what a step computes belongs
        to it."""
        moves = self.names.moved.get(left.name, {})
        if not moves or not any(isinstance(i, tree.Binary) for i in left.index):
            return left
        index = tuple(i.left if isinstance(i, tree.Binary) else i for i in left.index)
        shown = ", ".join(i.name for i in index if isinstance(i, tree.Name))
        text = f"`{self._text(mark)}` is called {left.name}[{shown}], "
        before = ", ".join(f"{a}{'-' if n > 0 else '+'}{abs(n)}" for a, n in moves.items())
        self._note(mark, f"{text}and what stands as step {shown} of it {left.name}[{before}]")
        return replace(left, index=index)

    # ---------------------------------------------------------------- distributions

    def _distribution(self, item: marks.Item) -> None:
        """``y_t \\sim \\mathrm{categorical}(p_t)``"""
        lefts = self._lefts(item.sides[0])
        if lefts is None or isinstance(lefts, str) or len(lefts) != 1:
            raise wrong("before `\\sim` stands what is observed, y_t", item.sides[0])
        right = item.sides[1]
        hint = "write \\mathrm{categorical}(p), \\mathrm{bernoulli}(p) or \\mathrm{normal}(\\mu, s)"
        if not isinstance(right, marks.Product) or len(right.factors) != 2:
            raise wrong("this is no distribution", right, hint)
        head, bracket = right.factors
        letter = letter_of(head, run=True)
        if letter is None or not isinstance(bracket, marks.Bracket):
            raise wrong("this is no distribution", right, hint)
        args = tuple(map(self.reader.read, bracket.items))
        name = _DISTRIBUTIONS.get(letter.base.lower())
        if letter.base == "N" and len(args) == 2:  # by its variance
            name, args = "normal", (args[0], _root(args[1]))
        if name is None:
            raise wrong(f"unknown distribution `{letter.base}`", head, hint)
        over = tuple(
            a for s in letter.scripts for i in s.items
            if (a := self.reader.scripts.plain_name(i)) in self.names.axes
        )  # fmt: skip
        span = self._place(right.start, right.end)
        call = tree.Call(name, tuple(o for o in over if o), args, span=span)
        when = None if item.when is None else self.reader.read(item.when)
        self.distributions[lefts[0].name] = call, when, lefts[0].span

    def _observed(self, s: tree.Statement) -> tree.Statement:
        if isinstance(s, tree.TargetStatement) and s.distribution is None:
            found = self.distributions.pop(s.item.name, None)
            if found is not None:
                return replace(s, distribution=found[0], when=found[1] or s.when)
        return s


def _base(step: tree.Expr, names: Names) -> str:
    """The axis on which a step of a left side lies: ``t`` of ``t`` and ``t+1``."""
    match step:
        case tree.Name(name=name) if name in names.axes:
            return name
        case tree.Binary(op="+" | "-", left=tree.Name(name=name), right=tree.Number()):
            return name if name in names.axes else ""
    return ""


def _move(step: tree.Expr) -> int:
    """1 of ``t+1``."""
    match step:
        case tree.Binary(op=op, right=tree.Number(value=int(count))):
            return count if op == "+" else -count
    return 0


def _root(variance: tree.Expr) -> tree.Expr:
    match variance:
        case tree.Binary(op="^", left=left, right=tree.Number(value=2)):
            return left
    return tree.Call("sqrt", (), (variance,), span=variance.span)


def _free_axes(expr: tree.Expr, names: Names) -> tuple[str, ...]:
    """The axes over which an expression varies, in the order of the model."""
    found: set[str] = set()
    todo: list[tuple[object, frozenset[str]]] = [(expr, frozenset())]
    while todo:
        part, bound = todo.pop()
        if isinstance(part, tree.Name) and part.name in names.axes and part.name not in bound:
            found.add(part.name)
        if isinstance(part, tree.Call):
            over = frozenset(part.over)
            if part.function == "softmax":
                found |= over - bound
            bound = bound | over
        if isinstance(part, tuple):
            todo += [(p, bound) for p in part]
        elif is_dataclass(part):
            todo += [(getattr(part, f.name), bound) for f in fields(part)
                     if not isinstance(getattr(part, f.name), (Span, str))]  # fmt: skip
    return tuple(a for a in names.axes if a in found)


def defined_names(latex: str) -> tuple[str, ...]:
    """What an equation defines, as far as it can be told without a model: ``h[t]``.

    :raises LatexError: it cannot be read.
    """
    rows, unread = parse_latex(latex)
    span = Span(Source(latex), 0, len(latex))
    block = tree.LatexStatement(latex, rows, unread, span=span)
    reading = _Reading((block,), names_of((block,), ()))
    statements, _, _ = reading.run()
    out: list[str] = []
    for s in statements:
        if isinstance(s, tree.Equation):
            for left in s.left:
                index = ", ".join(
                    i.name if isinstance(i, tree.Name) else " ".join(i.span.text.split())
                    for i in left.index
                )
                out.append(f"{left.name}[{index}]" if index else left.name)
    return tuple(dict.fromkeys(out))
