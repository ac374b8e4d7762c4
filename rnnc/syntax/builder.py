"""From Lark's parse tree of one statement to our own tree, with the span of every node.

Nothing here recurses: a chain of operators may be as long as a text is, and its depth is what
is being checked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar, cast

from lark import Token, Tree

from rnnc.source import Diagnostic, Source, Span, SpecError
from rnnc.syntax import names, scan, tree
from rnnc.syntax.latex.parse import parse_latex
from rnnc.syntax.latex.tokens import LatexError
from rnnc.syntax.signs import DASHES, operator

MAX_WHOLE = 2**63 - 1
RESERVED = frozenset({"if", "else", "and", "or", "not"})

Node = TypeVar("Node")


class Part(NamedTuple):
    """A node with the text it takes up, its own parentheses included, and its height."""

    node: object
    start: int
    end: int
    depth: int


Child = Token | Part


class ModelHeader(NamedTuple):
    """The statement ``model Name``, which opens a model rather than being part of one."""

    name: str
    span: Span


class Builder:
    """Builds the nodes of one statement; ``base`` is where its text starts in ``source``."""

    def __init__(self, source: Source, base: int):
        self.source = source
        self.base = base

    def build(self, parsed: Tree[Token]) -> object:
        """The node of ``parsed``: a statement, an expression, or a :class:`ModelHeader`; of a
        list of axes a statement for each."""
        done: dict[int, Part] = {}
        for subtree in parsed.iter_subtrees():  # children come before their parents
            children: list[Child] = [
                done[id(child)] if isinstance(child, Tree) else child for child in subtree.children
            ]
            start, _ = self._extent(children[0])
            _, end = self._extent(children[-1])
            depth = 1 + max((c.depth for c in children if isinstance(c, Part)), default=0)
            rule = cast(Callable[[list[Child], Span], object], getattr(self, f"_{subtree.data}"))
            span = Span(self.source, start, end)
            node = rule(children, span)
            if subtree.data in ("group", "statement", "initialiser", "distribution"):
                depth -= 1  # these add nothing to the tree
            elif isinstance(node, tree.Product):  # n factors are n - 1 nested products later on
                depth += len(node.factors) - 2
            if depth > scan.MAX_NESTING:
                raise SpecError(
                    [
                        Diagnostic(
                            "RNN002",
                            f"more than {scan.MAX_NESTING} operations are nested here",
                            span,
                            hint="split it into several equations",
                        )
                    ]
                )
            done[id(subtree)] = Part(node, start, end, depth)
        return done[id(parsed)].node

    # -------------------------------------------------------------- helpers

    def _extent(self, child: Child) -> tuple[int, int]:
        if isinstance(child, Part):
            return child.start, child.end
        assert child.start_pos is not None
        assert child.end_pos is not None
        return child.start_pos + self.base, child.end_pos + self.base

    def _span(self, *children: Child) -> Span:
        return Span(self.source, self._extent(children[0])[0], self._extent(children[-1])[1])

    def _fail(self, code: str, message: str, span: Span, hint: str | None = None) -> SpecError:
        return SpecError([Diagnostic(code, message, span, hint=hint)])

    def _text(self, token: Child) -> str:
        """The normalised name that ``token`` spells."""
        assert isinstance(token, Token)
        name = names.normalise_name(token)
        if name in RESERVED:
            message = f"`{name}` is a word of the language and cannot be a name"
            raise self._fail("RNN012", message, self._span(token))
        if names.is_name(name):
            return name
        foreign = names.foreign_character(token)
        if foreign is None:
            message = f"`{token}` cannot be a name"
        else:
            known = unicodedata.name(foreign, "").lower()
            message = (
                f"`{foreign}` ({known or 'unnamed'}, U+{ord(foreign):04X}) cannot be part of a name"
            )
        hint = "names are Latin and Greek letters, digits and `_`, and may end in primes"
        raise self._fail("RNN012", message, self._span(token), hint)

    @staticmethod
    def _nodes(children: list[Child], kind: type[Node]) -> tuple[Node, ...]:
        parts = (c.node for c in children if isinstance(c, Part))
        return tuple(n for n in parts if isinstance(n, kind))

    @staticmethod
    def _expressions(children: list[Child]) -> tuple[tree.Expr, ...]:
        parts = (c.node for c in children if isinstance(c, Part))
        return tuple(n for n in parts if isinstance(n, tree.Expr))

    @staticmethod
    def _after(children: list[Child], kind: str) -> Iterator[Child]:
        """What follows the first token of ``kind``; nothing where there is none."""
        types = [c.type if isinstance(c, Token) else "" for c in children]
        if kind in types:
            yield from children[types.index(kind) + 1 :]

    def _expression_after(self, children: list[Child], kind: str) -> tree.Expr | None:
        part = next(self._after(children, kind), None)
        return cast(tree.Expr, part.node) if isinstance(part, Part) else None

    def _names(self, children: list[Child], *kinds: str) -> tuple[str, ...]:
        return tuple(self._text(c) for c in children if isinstance(c, Token) and c.type in kinds)

    def _name_nodes(self, children: list[Child]) -> tuple[tree.Name, ...]:
        return tuple(
            tree.Name(self._text(c), span=self._span(c))
            for c in children
            if isinstance(c, Token) and c.type == "NAME"
        )

    # -------------------------------------------------------------- statements

    def _statement(self, children: list[Child], span: Span) -> object:
        (part,) = children
        assert isinstance(part, Part)
        return part.node

    def _model(self, children: list[Child], span: Span) -> object:
        return ModelHeader(self._text(children[1]), span)

    def _dim(self, children: list[Child], span: Span) -> object:
        return tree.DimStatement(self._nodes(children, tree.Dim), span=span)

    def _dim_item(self, children: list[Child], span: Span) -> object:
        return tree.Dim(
            self._text(children[0]), self._expression_after(children, "EQUALS"), span=span
        )

    def _axis(self, children: list[Child], span: Span) -> object:
        return self._nodes(children, tree.AxisStatement)

    def _axis_item(self, children: list[Child], span: Span) -> object:
        name, length = self._text(children[0]), self._text(children[2])
        size = self._expression_after(children, "EQUALS")
        return tree.AxisStatement(name, length, size, span=span)

    def _input(self, children: list[Child], span: Span) -> object:
        return tree.InputStatement(_share(self._nodes(children, tree.Declared)), span=span)

    def _param(self, children: list[Child], span: Span) -> object:
        return tree.ParamStatement(_share(self._nodes(children, tree.Declared)), span=span)

    def _input_item(self, children: list[Child], span: Span) -> object:
        return self._declared(children, span)

    def _param_item(self, children: list[Child], span: Span) -> object:
        return self._declared(children, span)

    def _initialiser(self, children: list[Child], span: Span) -> object:
        (child,) = children
        return child.node if isinstance(child, Part) else tree.Name(self._text(child), span=span)

    def _declared(self, children: list[Child], span: Span) -> tree.Declared:
        """What declares one name: the name, its axes, its type, its initialiser."""
        before: list[Child] = []
        for child in children:
            if isinstance(child, Token) and child.type in ("COLON", "TILDE"):
                break
            before.append(child)
        (name, *axes) = self._names(before, "NAME", "INDEXED_NAME")
        kinds = self._nodes(children, cast("type[tree.DeclaredType]", tree.DeclaredType))
        initialiser = self._expression_after(children, "TILDE")
        assert initialiser is None or isinstance(initialiser, tree.Name | tree.Call)
        kind = kinds[0] if kinds else None
        return tree.Declared(name, tuple(axes), kind, initialiser, span=span)

    def _const(self, children: list[Child], span: Span) -> object:
        cut = next(i for i, c in enumerate(children) if getattr(c, "type", "") == "EQUALS")
        item = self._declared(children[1:cut], self._span(*children[1:cut]))
        value = cast(Part, children[cut + 1]).node
        return tree.ConstStatement(item, cast(tree.Expr, value), span=span)

    def _target(self, children: list[Child], span: Span) -> object:
        types = [c.type if isinstance(c, Token) else "" for c in children]
        cut = types.index("TILDE") if "TILDE" in types else len(children)
        item = self._declared(children[1:cut], self._span(*children[1:cut]))
        call = self._expression_after(children, "TILDE")
        assert call is None or isinstance(call, tree.Call)
        return tree.TargetStatement(item, call, self._expression_after(children, "WHEN"), span=span)

    def _distribution(self, children: list[Child], span: Span) -> object:
        call = self._statement(children, span)
        if not isinstance(call, tree.Call):  # `h[t-1](p)` is a product
            hint = "write categorical(p), bernoulli(p) or normal(mean, sd)"
            raise self._fail("RNN001", "this is no distribution", span, hint)
        return call

    def _loss(self, children: list[Child], span: Span) -> object:
        found = self._names(children, "NAME")
        (value,) = self._expressions(children)
        return tree.LossStatement(found[0] if found else None, value, span=span)

    def _metric(self, children: list[Child], span: Span) -> object:
        (value,) = self._expressions(children)
        return tree.MetricStatement(self._text(children[1]), value, span=span)

    def _output(self, children: list[Child], span: Span) -> object:
        return tree.OutputStatement(self._name_nodes(children), span=span)

    def _use(self, children: list[Child], span: Span) -> object:
        path = next(self._after(children, "FROM"), None)
        text = str(path)[1:-1] if isinstance(path, Token) else None
        return tree.UseStatement(self._name_nodes(children), text, span=span)

    def _layer(self, children: list[Child], span: Span) -> object:
        name, model = self._names(children, "NAME", "CALL_NAME")
        options = self._nodes(children, tree.Option)
        call = tree.Call(model, (), (), options, span=self._span(*children[3:]))
        return tree.LayerStatement(name, call, span=span)

    def _equation(self, children: list[Child], span: Span) -> object:
        (right,) = self._expressions(children)
        return tree.Equation(self._nodes(children, tree.Left), right, span=span)

    def _left(self, children: list[Child], span: Span) -> object:
        return tree.Left(self._text(children[0]), self._expressions(children), span=span)

    def _function(self, children: list[Child], span: Span) -> object:
        return tree.FunctionStatement(self._nodes(children, tree.NamedFunction), span=span)

    def _function_item(self, children: list[Child], span: Span) -> object:
        name, function = self._names(children, "NAME")
        return tree.NamedFunction(name, function, span=span)

    def _latex(self, children: list[Child], span: Span) -> object:
        inner = Span(span.source, span.start + 2, span.end - 2)
        try:
            rows, unread = parse_latex(inner.text)
        except LatexError as error:
            end = max(error.end, error.start + 1)
            place = Span(span.source, inner.start + error.start, inner.start + end)
            raise self._fail("RNN004", error.message, place, error.hint) from None
        return tree.LatexStatement(inner.text, rows, unread, span=inner)

    # -------------------------------------------------------------- types

    def _shape(self, children: list[Child], span: Span) -> object:
        return tree.ShapeType(self._expressions(children), span=span)

    def _index_type(self, children: list[Child], span: Span) -> object:
        (size,) = self._expressions(children)
        return tree.IndexType(size, span=span)

    def _flag_type(self, children: list[Child], span: Span) -> object:
        return tree.FlagType(span=span)

    def _any_type(self, children: list[Child], span: Span) -> object:
        return tree.AnyType(span=span)

    # -------------------------------------------------------------- expressions

    def _name(self, children: list[Child], span: Span) -> object:
        return tree.Name(self._text(children[0]), span=span)

    def _number(self, children: list[Child], span: Span) -> object:
        (token,) = children
        assert isinstance(token, Token)
        text = unicodedata.normalize("NFKC", token).translate(DASHES)
        shown = token if len(token) <= 20 else f"{token[:17]}..."
        if text.isdigit():
            # 19 digits hold 2**63 - 1; longer ones are not even converted, which takes time
            if len(text.lstrip("0")) > 19 or int(text) > MAX_WHOLE:
                message = f"the whole number {shown} is too large"
                hint = "write it with a point or an exponent, as in `1e20`"
                raise self._fail("RNN001", message, span, hint)
            return tree.Number(int(text), span=span)
        value = float(text)
        if value == float("inf"):
            hint = "write `inf` for infinity"
            raise self._fail("RNN001", f"the number {shown} is too large", span, hint)
        if value == 0 and re.search("[1-9]", re.split("[eE]", text)[0]):
            raise self._fail("RNN001", f"the number {shown} is too small", span, "write `0`")
        return tree.Number(value, span=span)

    def _indexed(self, children: list[Child], span: Span) -> object:
        return tree.Indexed(self._text(children[0]), self._expressions(children), span=span)

    def _call(self, children: list[Child], span: Span) -> object:
        """`f(x)`, `sum[t](x)`; `h[t-1](x)` can only be a product."""
        cut = next(i for i, c in enumerate(children) if getattr(c, "type", "") == "LPAR")
        index = self._expressions(children[:cut])
        args = self._expressions(children[cut:])
        options = self._nodes(children, tree.Option)
        name = self._text(children[0])
        over = tuple(i.name for i in index if isinstance(i, tree.Name))
        if len(over) == len(index):
            return tree.Call(name, over, args, options, span=span)
        if len(args) != 1 or options:
            message = f"`{name}[…]` is a value here and takes no arguments"
            hint = "a call over an axis names the axis alone, as in `sum[t](…)`"
            raise self._fail("RNN001", message, span, hint)
        factor = tree.Indexed(name, index, span=self._span(*children[:cut]))
        return tree.Product((factor, args[0]), span=span)

    def _option(self, children: list[Child], span: Span) -> object:
        cut = [getattr(c, "type", "") for c in children].index("EQUALS") if children[1:] else 1
        value = self._expression_after(children, "EQUALS")
        index = self._expressions(children[:cut])
        return tree.Option(self._text(children[0]), index, value, span=span)

    def _unary(self, children: list[Child], span: Span) -> object:
        (operand,) = self._expressions(children)
        return tree.Unary(operator(str(children[0])), operand, span=span)

    def _binary(self, children: list[Child], span: Span) -> object:
        left, right = self._expressions(children)
        return tree.Binary(operator(str(children[1])), left, right, span=span)

    def _raised(self, children: list[Child], span: Span) -> object:
        """`x²` is `x^2`, `A⁻¹` is `A^-1`."""
        left, token = children
        assert isinstance(left, Part)
        at = self._span(token)
        text = unicodedata.normalize("NFKC", str(token)).replace("−", "-").lstrip("+")
        digits = Token("NUMBER", text.lstrip("-"), token.start_pos, end_pos=token.end_pos)  # type: ignore[union-attr]
        power = cast(tree.Expr, self._number([digits], at))
        if text.startswith("-"):
            power = tree.Unary("-", power, span=at)
        return tree.Binary("^", cast(tree.Expr, left.node), power, span=span)

    def _product(self, children: list[Child], span: Span) -> object:
        return tree.Product(self._expressions(children), span=span)

    def _transpose(self, children: list[Child], span: Span) -> object:
        (operand,) = self._expressions(children)
        return tree.Transpose(operand, span=span)

    def _group(self, children: list[Child], span: Span) -> object:
        return self._statement([children[1]], span)

    def _concat(self, children: list[Child], span: Span) -> object:
        return tree.Concat(self._expressions(children), span=span)

    def _conditional(self, children: list[Child], span: Span) -> object:
        then, condition, otherwise = self._expressions(children)
        return tree.Conditional(condition, then, otherwise, span=span)


def _share(items: tuple[tree.Declared, ...]) -> tuple[tree.Declared, ...]:
    """Give a name that nothing follows what its right neighbour has: `W, U : [m, n]`."""
    out: list[tree.Declared] = []
    kind: tree.DeclaredType | None = None
    initialiser: tree.Name | tree.Call | None = None
    for item in reversed(items):
        if item.type is None and item.initialiser is None:
            item = tree.Declared(item.name, item.axes, kind, initialiser, span=item.span)
        kind, initialiser = item.type, item.initialiser
        out.append(item)
    return tuple(reversed(out))
