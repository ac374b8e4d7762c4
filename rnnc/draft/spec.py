"""A spec drafted from equations: what they leave open is declared as far as it can be told.

Names that nothing defines are inputs where they have steps, else parameters; sizes follow from
the equations, once each input is taken for a vector. What had to be guessed is a question, for
the reader of the draft to answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rnnc.draft.document import Found
from rnnc.graph.build.sketch import sketch
from rnnc.graph.types import Size, dim, names_of, substitute
from rnnc.source import Source, SpecError, UsageError
from rnnc.syntax import tree
from rnnc.syntax.latex import marks
from rnnc.syntax.latex.parse import parse_latex
from rnnc.syntax.latex.scripts import letter_of
from rnnc.syntax.names import FUNCTIONS
from rnnc.syntax.parse import parse
from rnnc.syntax.walk import nodes as walk

_SIZES = ("m", "k", "l", "p", "q", "d", "r", "s", "u", "v")  # names for sizes, in this order
_GREEK = ("alpha", "beta", "gamma", "epsilon", "eta", "kappa", "lambda", "rho", "tau", "omega")
_ROUNDS = 6  # a declaration may change how an equation is read, and so what is missing


@dataclass(frozen=True)
class Question:
    """What had to be guessed, and a declaration that would answer it otherwise."""

    name: str
    text: str
    answer: str


@dataclass
class Draft:
    """The text of a spec, and what is asked of its reader."""

    text: str
    questions: list[Question] = field(default_factory=list)


@dataclass
class _Declared:
    """The declarations so far."""

    given: tuple[str, ...]  # by the user
    axes: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    params: list[str] = field(default_factory=list)
    functions: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, str] = field(default_factory=dict)
    dims: list[str] = field(default_factory=list)

    def lines(self, open_: bool = False) -> list[str]:
        """As statements; with ``open_`` the shapes are left for the equations to tell."""
        out = list(self.given)
        if self.dims:
            out.append(f"dim    {', '.join(sorted(self.dims, key=lambda d: d != 'n'))}")
        for name, axes in self.inputs.items():
            index = f"[{', '.join(axes)}]" if axes else ""
            out.append(f"input  {name}{index} : {self.shapes.get(name, 'any')}")
        out += [f"axis   {a} : {n}" for a, n in self.axes.items() if (a, n) != ("t", "T")]
        if open_:
            out += [f"param  {name}" for name in self.params]
        else:
            groups: dict[str, list[str]] = {}
            for name in self.params:
                groups.setdefault(self.shapes.get(name, "[]"), []).append(name)
            for shape, names in sorted(groups.items(), key=lambda g: -g[0].count(",")):
                out.append(f"param  {', '.join(names)} : {shape}")
        if self.functions:
            named = ", ".join(f"{f} = {known}" for f, known in self.functions.items())
            out.append(f"function {named}")
        return out


def draft(found: Sequence[Found], name: str, source: str, declared: Iterable[str] = ()) -> Draft:
    """The spec of some equations; ``declared`` are statements that settle what would be guessed.

    :raises SpecError: the equations cannot be read, or contradict each other.
    :raises UsageError: there are none, or two of them define one name.
    """
    blocks = list(dict.fromkeys(f.latex for f in found))  # slides repeat themselves
    if not blocks:
        raise UsageError("no equations are picked")
    known = _Declared(tuple(declared))
    known.axes = _axes_in(blocks)
    model = _declare(known, name, blocks)
    questions = _shapes(known, model)
    questions += _open_questions(known, model)
    body = "\n".join(_block(latex) for latex in blocks)
    comment = "\n".join(f"# {line}".rstrip() for line in _comment(found, source, questions))
    text = f"{comment}\nmodel {name}\n\n" + "\n".join(known.lines()) + f"\n\n{body}\n"
    return Draft(text, questions)


def _block(latex: str) -> str:
    return f"$$\n{latex}\n$$" if "\n" in latex else f"$$ {latex} $$"


def _comment(found: Sequence[Found], source: str, questions: Sequence[Question]) -> list[str]:
    headings = list(dict.fromkeys(f.heading for f in found if f.heading))
    where = f", {', '.join(headings)}" if headings else ""
    first, last = found[0].line, found[-1].line
    lines = f"line {first}" if first == last else f"lines {first} to {last}"
    out = [f"Equations of {source}{where} ({lines}), with declarations that they tell."]
    if questions:
        out += ["", "Guessed, to be answered here:"]
        out += [f"? {q.text}" for q in questions]
    return out


def _text(known: _Declared, name: str, blocks: Sequence[str], open_: bool) -> str:
    lines = known.lines(open_)
    return f"model {name}\n" + "\n".join([*lines, *map(_block, blocks)]) + "\n"


# ---------------------------------------------------------------- names


def _axes_in(blocks: Sequence[str]) -> dict[str, str]:
    """Letters that equations count steps by: they are shifted (``h_{i-1}``), or summed over."""
    found: dict[str, str] = {}
    for latex in blocks:
        rows, _ = parse_latex(latex)
        for mark in walk(rows):
            if isinstance(mark, marks.Total):
                below = [i for s in mark.scripts if not s.above for i in s.items]
                above = [i for s in mark.scripts if s.above for i in s.items]
                for item in below:
                    axis = letter_of(item.left if isinstance(item, marks.Compare) else item)
                    if axis is not None and not axis.scripts and axis.base.isalpha():
                        end = next((name for i in above if (name := _plain(i))), None)
                        found[axis.base] = end or axis.base.upper()
            elif isinstance(mark, marks.Script):
                for item in mark.items:
                    inner = item.items if isinstance(item, marks.Bracket) else (item,)
                    for part in inner:
                        match part:
                            case marks.Sum(
                                parts=(
                                    marks.Sign(text=letter, kind="letters"),
                                    marks.Sign(kind="number"),
                                )
                            ) if len(letter) == 1:
                                found.setdefault(letter, letter.upper())
    lengths = set(found.values())
    return {a: n for a, n in found.items() if a not in lengths}


def _plain(mark: marks.Mark) -> str | None:
    letter = letter_of(mark)
    if letter is None or letter.base.isdecimal():
        return None
    words = [i.text for s in letter.scripts for i in s.items if isinstance(i, marks.Sign)]
    return "_".join([letter.base, *words])


def _declare(known: _Declared, name: str, blocks: Sequence[str]) -> tree.Model:
    """Declare all that is missing; reading goes on until nothing more is."""
    for _ in range(_ROUNDS):
        model = _parsed(known, name, blocks)
        missing = _missing(model, known)
        if not missing:
            return model
        for kind, what, axes in missing:
            if kind == "function":
                known.functions[what] = _guessed_function(model, what)
            elif kind == "dim":
                known.dims.append(what)
            elif kind == "input":
                known.inputs[what] = axes
            else:
                known.params.append(what)
    return _parsed(known, name, blocks)


def _parsed(known: _Declared, name: str, blocks: Sequence[str]) -> tree.Model:
    text = _text(known, name, blocks, open_=True)
    return parse(Source(text, f"<{name}>")).models[-1]


def _missing(model: tree.Model, known: _Declared) -> list[tuple[str, str, tuple[str, ...]]]:
    """What is read and neither declared nor defined: its kind, its name and its axes."""
    given = _given(model)
    axes = {**known.axes, "t": "T"}
    steps = {*axes, *axes.values(), "pi", "inf", "training", "batch"}
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for node in walk(model.statements):  # sizes in what the user declared
        if isinstance(node, tree.ShapeType | tree.IndexType):
            sizes = {n.name for n in walk(node) if isinstance(n, tree.Name)} - given - steps
            found |= dict.fromkeys(sizes, ("dim", ()))
    nodes = [n for s in model.statements for e in _expressions(s) for n in walk(e)]
    values = {n.name for n in nodes if isinstance(n, tree.Name | tree.Indexed)}
    for node in nodes:
        if isinstance(node, tree.Call) and node.function not in FUNCTIONS | given:
            # a small letter before brackets is a function, unless it is a value elsewhere
            is_function = node.function[:1].islower() and node.function not in values
            if is_function or len(node.args) == 1:
                found.setdefault(node.function, ("function" if is_function else "param", ()))
            match node.args:
                case (_, tree.Name(name=other)) if is_function and other not in given:
                    found[other] = ("input", ())  # what a loss compares with
        elif isinstance(node, tree.Indexed) and node.name not in given:
            over = [n.name for i in node.index for n in walk(i) if isinstance(n, tree.Name)]
            if over and all(a in axes for a in over):
                found[node.name] = ("input", tuple(over))
        elif isinstance(node, tree.Name) and node.name not in given | steps:
            kind = "input" if _is_other_step(node.name, given) else "param"
            found.setdefault(node.name, (kind, ()))
    return [(kind, name, over) for name, (kind, over) in found.items()]


def _expressions(s: tree.Statement) -> Iterator[tree.Expr]:
    """Those of a statement in which values are read."""
    match s:
        case tree.Equation(right=right):
            yield right
        case tree.LossStatement(value=value) | tree.MetricStatement(value=value):
            yield value
        case tree.TargetStatement(distribution=call, when=when):
            yield from call.args if call is not None else ()
            if when is not None:
                yield when


def _is_other_step(name: str, given: set[str]) -> bool:
    """``x_2``, and ``A_1`` where there is an ``A_2``: data, or the state before."""
    m = re.fullmatch(r"(\w+)_(\d+)('*)", name)
    if m is None:
        return False
    others = (re.fullmatch(rf"{re.escape(m[1])}_\d+{m[3]}", other) for other in given)
    return m[1] in ("x", "h", "s", "y") or any(others)


def _given(model: tree.Model) -> set[str]:
    out: set[str] = set()
    for s in model.statements:
        match s:
            case tree.DimStatement(dims=dims):
                out |= {d.name for d in dims}
            case tree.InputStatement(items=items) | tree.ParamStatement(items=items):
                out |= {i.name for i in items}
            case tree.TargetStatement(item=item) | tree.ConstStatement(item=item):
                out.add(item.name)
            case tree.Equation(left=left):
                out |= {x.name for x in left}
    return out


# ---------------------------------------------------------------- shapes


def _shapes(known: _Declared, model: tree.Model) -> list[Question]:
    """Find all shapes; give open sizes names."""
    taken = set(_names(model))
    numbers = _numbers(model, known)
    found = _sketched(known, model, numbers)
    questions: list[Question] = []
    called: dict[str, Size] = {}
    wanted = (*known.inputs, *known.params)
    order = [*_states(model), *known.inputs, *(n for n in found if n not in wanted), *wanted]
    for what in order:
        for entry in found.get(what) or ():
            for open_ in sorted(names_of(entry), key=lambda n: (len(n), n)):
                if open_.startswith("?") and open_ not in called:
                    names = ("n", *_SIZES) if what in known.inputs else _SIZES
                    new = next((s for s in names if s not in taken), None)
                    new = new or _free("size", taken)
                    taken.add(new)
                    known.dims.append(new)
                    called[open_] = dim(new)
    for what in sorted(numbers):
        text = f"{what} is taken for a number"
        questions.append(Question(what, text, f"param {what} : [{next(iter(known.dims), 'm')}]"))
    for what in wanted:
        shape = found.get(what)
        if shape is None:
            known.shapes[what] = "[]"
            text = f"the equations do not tell the shape of {what}: a number, for now"
            questions.append(Question(what, text, f"param {what} : [m, n]"))
        else:
            sizes = ", ".join(_size(substitute(s, called)) for s in shape)
            known.shapes[what] = f"[{sizes}]"
    return questions


def _sketched(
    known: _Declared, model: tree.Model, numbers: set[str]
) -> Mapping[str, tuple[Size, ...] | None]:
    """The shapes, with states taken for vectors, unless that contradicts the equations."""
    for vectors in ({*(_states(model) or _defined(model)), *known.inputs}, {*known.inputs}):
        try:
            found = sketch(model, vectors - numbers, numbers)
        except SpecError:
            continue
        if None not in found.values():
            return found
    return sketch(model, (), numbers)


def _numbers(model: tree.Model, known: _Declared) -> set[str]:
    """Parameters that are numbers more likely than anything else: ``\\alpha`` and what is taken
    from 1."""
    found = {n for n in known.params if n in _GREEK}
    for node in walk(model.statements):
        match node:
            case tree.Binary(op="-", left=tree.Number(value=1), right=tree.Name(name=name)):
                found.add(name)
    return found & set(known.params)


def _states(model: tree.Model) -> tuple[str, ...]:
    """What equations read of other steps."""
    defined = _defined(model)
    read = (n for n in walk(model.statements) if isinstance(n, tree.Indexed))
    shifted = (n.name for n in read if any(isinstance(i, tree.Binary) for i in n.index))
    return tuple(dict.fromkeys(n for n in shifted if n in defined))


def _size(size: Size) -> str:
    text = str(size).replace(" ", "")
    return re.sub(r"(\w+)\^2", r"\1*\1", text)


def _free(name: str, taken: set[str]) -> str:
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def _names(model: tree.Model) -> Iterator[str]:
    """All words of a model; what is a size must be called otherwise."""
    for node in walk(model.statements):
        for word in ("name", "function", "length"):
            found = getattr(node, word, None)
            if isinstance(found, str):
                yield found
    yield from ("t", "T", "s", "S")


def _defined(model: tree.Model) -> set[str]:
    return {x.name for s in model.statements if isinstance(s, tree.Equation) for x in s.left}


# ---------------------------------------------------------------- questions


def _guessed_function(model: tree.Model, name: str) -> str:
    """Softmax, where the function makes results that nothing reads, else tanh; of two arguments a
    loss."""
    calls = (n for n in walk(model.statements) if isinstance(n, tree.Call) and n.function == name)
    if any(len(call.args) == 2 for call in calls):
        return "squared_error"
    equations = [s for s in model.statements if isinstance(s, tree.Equation)]
    read = {n.name for s in equations for n in walk(s.right)
            if isinstance(n, tree.Name | tree.Indexed)}  # fmt: skip
    made = [s.left[0].name for s in equations
            if isinstance(s.right, tree.Call) and s.right.function == name]  # fmt: skip
    return "softmax" if made and not read & {*made} else "tanh"


def _open_questions(known: _Declared, model: tree.Model) -> list[Question]:
    questions: list[Question] = []
    for name, guess in known.functions.items():
        text = f"which function is {name}? {guess}, for now"
        questions.append(Question(name, text, f"function {name} = sigmoid"))
    if not any(isinstance(s, tree.TargetStatement | tree.LossStatement) for s in model.statements):
        text = "what is it trained on? It has no target and no loss"
        names = _defined(model) | {*known.inputs, *known.params, *known.dims}
        label = "y" if "y" not in names else "label"
        size = "k" if "k" not in names - set(known.dims) else "classes"
        answer = f"target {label}{_last(model)}"
        questions.append(Question("", text, answer.replace("SIZE", size)))
    return questions


def _last(model: tree.Model) -> str:
    """How a target of the last equation that no other reads is written."""
    equations = [s for s in model.statements if isinstance(s, tree.Equation)]
    if not equations:
        return "[t] : index(SIZE) ~ categorical(p[t])"
    read = {n.name for s in equations for n in walk(s.right)
            if isinstance(n, tree.Name | tree.Indexed)}  # fmt: skip
    lefts = [x for s in equations for x in s.left if x.name not in read] or [equations[-1].left[0]]
    index = ", ".join(i.name for i in lefts[-1].index if isinstance(i, tree.Name))
    steps = f"[{index}]" if index else ""
    return f"{steps} : index(SIZE) ~ categorical({lefts[-1].name}{steps})"
