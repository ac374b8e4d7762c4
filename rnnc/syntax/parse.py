"""From the text of a spec to its tree, or to all the errors in it.

Statement by statement: `scan` cuts the text, Lark parses each piece by ``grammar/rnn.lark``,
`builder` makes our nodes of it, `explain` turns what goes wrong into words.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import cast

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from rnnc.resources import grammar_text
from rnnc.source import Diagnostic, Source, Span, SpecError
from rnnc.syntax import tree
from rnnc.syntax.builder import Builder, ModelHeader
from rnnc.syntax.explain import Failure, explain
from rnnc.syntax.functions import name_functions
from rnnc.syntax.latex.read import read_latex
from rnnc.syntax.scan import MAX_DIAGNOSTICS, Scan, check_text, read_source, scan

__all__ = ["parse", "parse_expression", "read_source"]


@cache
def grammar() -> Lark:
    """The parser of single statements and expressions, built on first use."""
    return Lark(
        grammar_text("rnn.lark"),
        parser="lalr",
        start=["statement", "expression"],
        maybe_placeholders=False,
    )


@lru_cache(maxsize=128)  # models share layers, and one text is loaded with several sizes
def parse(source: Source) -> tree.File:
    """The tree of ``source``; raises :class:`SpecError` with every syntax error in it."""
    check_text(source)
    pieces = scan(source)
    diagnostics = list(pieces.diagnostics)
    statements: list[ModelHeader | tree.Statement] = []
    for start, end in pieces.statements:
        try:
            node = _parse_piece(source, start, end, "statement")
            nodes = node if type(node) is tuple else (node,)  # a list of axes
            statements += cast("tuple[ModelHeader | tree.Statement, ...]", nodes)
        except SpecError as error:
            diagnostics += error.diagnostics
            if len(diagnostics) >= MAX_DIAGNOSTICS:
                break
    if not diagnostics:
        diagnostics += _check_models(source, statements)
    if diagnostics:
        raise SpecError(sorted(diagnostics, key=lambda d: d.span.start if d.span else 0))
    models = _models(source, pieces, statements, diagnostics)
    if diagnostics:
        raise SpecError(sorted(diagnostics, key=lambda d: d.span.start if d.span else 0))
    return tree.File(models, source)


def parse_expression(text: str, name: str = "<text>") -> tree.Expr:
    """The tree of one expression, as after ``--set n=``."""
    source = Source(text, name)
    check_text(source)
    pieces = scan(source)
    if pieces.diagnostics:
        raise SpecError(pieces.diagnostics)
    if not pieces.statements:
        where = Span(source, 0, 0)
        raise SpecError([Diagnostic("RNN001", "expected an expression, found nothing", where)])
    start, end = pieces.statements[0]
    if pieces.statements[1:]:
        where = Span(source, *pieces.statements[1])
        raise SpecError([Diagnostic("RNN001", "expected a single expression", where)])
    return cast(tree.Expr, _parse_piece(source, start, end, "expression"))


def tokens(source: Source, start: int, end: int) -> list[Token]:
    """The tokens of a statement that is known to parse; positions count from ``start``."""
    parser = grammar().parse_interactive(source.text[start:end], start="statement")
    return list(parser.iter_parse())


def _parse_piece(source: Source, start: int, end: int, what: str) -> object:
    # A slice rather than lark's TextSlice, which would count the lines before it each time.
    text = source.text[start:end]
    try:
        parsed = grammar().parse(text, start=what)
    except UnexpectedInput:
        raise SpecError([explain(_failure(source, start, end, what))]) from None
    assert isinstance(parsed, Tree)
    return Builder(source, start).build(parsed)


def _failure(source: Source, start: int, end: int, what: str) -> Failure:
    """Parse once more, token by token, to know all that stands before the error."""
    text = source.text[start:end]
    before: list[Token] = []
    found: Token | None = None
    at = end
    attempt = grammar().parse_interactive(text, start=what)
    try:
        for token in attempt.iter_parse():
            before.append(token)
        attempt.feed_eof()  # type: ignore[no-untyped-call]
    except UnexpectedToken as error:
        if error.token.type != "$END":
            found = error.token
            at = start + (found.start_pos or 0)
            if before and before[-1] is found:
                before.pop()
    except UnexpectedCharacters as error:
        at = start + cast(int, error.pos_in_stream)
    # A fresh parser: the first one may have gone on reducing before it met the error.
    replay = grammar().parse_interactive(start=what)
    for token in before:
        replay.feed_token(token)
    accepted: set[str] = replay.accepts()  # type: ignore[no-untyped-call]
    return Failure(source, start, end, at, before, found, accepted)


def _check_models(
    source: Source, statements: list[ModelHeader | tree.Statement]
) -> list[Diagnostic]:
    if not statements:
        where = Span(source, 0, 0)
        return [Diagnostic("RNN001", "no model: the text is empty", where, hint=_START)]
    first = statements[0]
    if not isinstance(first, ModelHeader):
        return [Diagnostic("RNN001", "this stands before any model", first.span, hint=_START)]
    return []


_START = "a spec starts with a line `model Name`"


def _models(
    source: Source,
    pieces: Scan,
    statements: list[ModelHeader | tree.Statement],
    diagnostics: list[Diagnostic],
) -> tuple[tree.Model, ...]:
    docs = _comment_blocks(source, pieces)
    names = [s.name for s in statements if isinstance(s, ModelHeader)]
    models: list[tree.Model] = []
    header: ModelHeader | None = None
    body: list[tree.Statement] = []

    def finish() -> None:
        if header is not None:
            span = header.span.to(body[-1].span) if body else header.span
            doc = docs.get(header.span.line - 1, "")
            written, notes, wrong = read_latex(body, names)
            diagnostics.extend(wrong)
            written, wrong = name_functions(written)
            diagnostics.extend(wrong)
            models.append(tree.Model(header.name, doc, written, notes, span=span))

    for statement in statements:
        if isinstance(statement, ModelHeader):
            finish()
            header, body = statement, []
        else:
            body.append(statement)
    finish()
    return tuple(models)


def _comment_blocks(source: Source, pieces: Scan) -> dict[int, str]:
    """The text of each block of comment lines, by the number of its last line."""
    blocks: dict[int, list[str]] = {}
    for comment in pieces.comments:
        if comment.alone:
            line = source.position(comment.start)[0]
            text = source.text[comment.start + 1 : comment.end].rstrip()
            block = blocks.pop(line, None) or blocks.pop(line - 1, [])  # `\\r` ends a line, too
            block.append(text.removeprefix(" "))
            blocks[line] = block
    return {line: "\n".join(block) for line, block in blocks.items()}
