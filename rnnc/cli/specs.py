"""``rnnc specs``: the library."""

from __future__ import annotations

import re

import click

from rnnc.cli.common import echo
from rnnc.source import Source

_SOURCES = re.compile(r"^(Sources?:|see )", re.IGNORECASE)


@click.command(short_help="The library of specs.")
@click.argument("name", required=False)
@click.option("--path", is_flag=True, help="Print where the file is instead of its text.")
def specs(name: str | None, path: bool) -> None:
    """List the models of the library, or print the file of one.

    \b
    rnnc specs               all of them
    rnnc specs GRU           the text of one, to read or to change:
    rnnc specs GRU >my.rnn
    """
    from rnnc.api import library, library_file
    from rnnc.resources import specs_root

    if name is not None:
        file = library_file(name)
        echo(str(file) if path else file.read_text(encoding="utf-8").rstrip("\n"))
        return
    if path:
        echo(str(specs_root()))
        return
    found = sorted(library().items(), key=lambda item: (item[1], item[0]))
    names = max((len(n) for n, _ in found), default=0)
    files = max((len(f.relative_to(specs_root()).as_posix()) for _, f in found), default=0)
    for model, file in found:
        where = file.relative_to(specs_root()).as_posix()
        echo(f"{model:<{names}}  {where:<{files}}  {_summary(file, model)}".rstrip())


def _summary(file: object, model: str) -> str:
    """The first sentence of a model's documentation."""
    from rnnc.syntax.parse import parse, read_source

    source = read_source(str(file))
    lines = _comment_above(source, model)
    text = " ".join(lines)
    end = re.search(r"[.;](?= [A-Z(]|$)", text)
    return text[: end.start()] if end else text


def _comment_above(source: Source, model: str) -> list[str]:
    """The comment block above a model, up to its first empty line."""
