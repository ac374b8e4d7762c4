"""The syntax tree: one frozen dataclass for each statement and expression form.

Spans do not take part in comparison, so that two spellings of one spec are equal trees.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rnnc.source import Note, Source, Span
from rnnc.syntax.latex.marks import Row


def _span() -> Span:
    return field(compare=False, repr=False, kw_only=True)  # type: ignore[no-any-return]


# ---------------------------------------------------------------- expressions


@dataclass(frozen=True, slots=True)
class Number:
    """A literal; an ``int`` where it was written as a whole number (``2``, not ``2.0``)."""

    value: int | float
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Name:
    """A name without brackets: ``b``, ``f.c`` (a layer's inner value), ``pi``, ``T``."""

    name: str
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Indexed:
    """A name with a bracket that touches it: ``h[t-1]``, ``s[t, 0]``, ``E[w[t]]``."""

    name: str
    index: tuple[Expr, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Option:
    """What follows ``;`` in a layer call: ``m = 64``, ``h[0] = q``, ``backward``."""

    name: str
    index: tuple[Expr, ...]
    value: Expr | None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Call:
    """``f(x)``, ``sum[t](x)``, ``LSTM(x[t]; m = 64)``, and ``U(r * h)``, which is a product
    where ``U`` is a value: the names decide, later."""

    function: str
    over: tuple[str, ...]
    args: tuple[Expr, ...]
    options: tuple[Option, ...] = ()
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Unary:
    """``-x`` (``op`` is ``-``) or ``not x``."""

    op: str
    operand: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Binary:
    """``op`` is one of ``+ - * / % ^ == != < <= > >= and or``; ``⊙`` is ``*``."""

    op: str
    left: Expr
    right: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Product:
    """Factors side by side, or joined by ``@`` or ``·``: ``W x[t]``; at least two.

    With ``entries`` (in LaTeX) the product of two vectors is that of their entries.
    """

    factors: tuple[Expr, ...]
    entries: bool = False
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Transpose:
    """``W.T`` or ``Wᵀ``."""

    operand: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Concat:
    """``[h[t-1], x[t]]``."""

    items: tuple[Expr, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Conditional:
    """``then if condition else otherwise``."""

    condition: Expr
    then: Expr
    otherwise: Expr
    span: Span = _span()


Expr = Number | Name | Indexed | Call | Unary | Binary | Product | Transpose | Concat | Conditional


# ---------------------------------------------------------------- declared types


@dataclass(frozen=True, slots=True)
class ShapeType:
    """``[m, n]``, ``[]``: real values; the entries are arithmetic over dims."""

    sizes: tuple[Expr, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class IndexType:
    """``index(k)``: whole numbers 0..k-1."""

    size: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class FlagType:
    """``flag``: a boolean."""

    span: Span = _span()


@dataclass(frozen=True, slots=True)
class AnyType:
    """``any``: a real value of whatever shape."""

    span: Span = _span()


DeclaredType = ShapeType | IndexType | FlagType | AnyType


@dataclass(frozen=True, slots=True)
class Declared:
    """A declared name: the axes in its brackets (``x[t]`` has ``("t",)``) and its type.

    In ``param W, U : [m, n] ~ normal(0, 0.1)`` both names get the shape and the
    initialiser that follow; a name that nothing follows has None.
    """

    name: str
    axes: tuple[str, ...]
    type: DeclaredType | None
    initialiser: Name | Call | None = None  # `orthogonal`, `normal(0, 0.1)`; params only
    span: Span = _span()


# ---------------------------------------------------------------- statements


@dataclass(frozen=True, slots=True)
class Dim:
    """One name of a ``dim`` statement and its default.

    That of a ``late`` one (a layer's, which its arguments tell) holds only where the equations
    leave the size open.
    """

    name: str
    default: Expr | None
    late: bool = False
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class DimStatement:
    dims: tuple[Dim, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class AxisStatement:
    """``s : S = 3`` of an ``axis`` statement; one that lists several is several of these."""

    name: str
    length: str
    size: Expr | None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class InputStatement:
    items: tuple[Declared, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class ParamStatement:
    items: tuple[Declared, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class ConstStatement:
    item: Declared
    value: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Left:
    """The left side of an equation: ``h[t]``, ``h[0]``, ``c``."""

    name: str
    index: tuple[Expr, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Equation:
    """``h[t] = …``, a boundary ``h[0] = …``, or ``(i[t], f[t]) = split(…)``."""

    left: tuple[Left, ...]
    right: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class TargetStatement:
    """``target y[t] : index(k) ~ categorical(p[t]) when m[t]``; the ``~`` part may be missing."""

    item: Declared
    distribution: Call | None
    when: Expr | None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class LossStatement:
    name: str | None
    value: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class MetricStatement:
    name: str
    value: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class OutputStatement:
    names: tuple[Name, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class UseStatement:
    names: tuple[Name, ...]
    path: str | None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class LayerStatement:
    """``layer enc = LSTM(m = 64)``: sizes and boundaries are ``call.options``."""

    name: str
    call: Call
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class NamedFunction:
    """``f = tanh`` of a ``function`` statement."""

    name: str
    function: str
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class FunctionStatement:
    """What papers call functions: ``function f = tanh, g = softmax``."""

    functions: tuple[NamedFunction, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Argument:
    """An input of a layer and what it is in a call. No text spells it: it takes the place of
    the ``input`` where calls are written out."""

    item: Declared
    value: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class LatexStatement:
    """``$$ … $$``: the text between the dollar signs, what stands on the paper, and the places
    of what is left out. Once a model's names are known, equations take its place."""

    text: str
    rows: tuple[Row, ...] = field(compare=False, repr=False)
    unread: tuple[tuple[int, int], ...] = field(compare=False, repr=False)
    span: Span = _span()


Statement = (
    DimStatement
    | AxisStatement
    | InputStatement
    | ParamStatement
    | ConstStatement
    | Equation
    | TargetStatement
    | LossStatement
    | MetricStatement
    | OutputStatement
    | UseStatement
    | LayerStatement
    | FunctionStatement
    | Argument
    | LatexStatement
)


@dataclass(frozen=True, slots=True)
class Model:
    """One ``model``: its documentation is the comment block above it, without the ``#``;
    ``notes`` tell how its LaTeX was read."""

    name: str
    doc: str
    statements: tuple[Statement, ...]
    notes: tuple[Note, ...] = field(default=(), compare=False, repr=False)
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class File:
    """All models of one source, in order."""

    models: tuple[Model, ...]
    source: Source = field(compare=False, repr=False)
