"""``rnnc specs``: the library."""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

import click

from rnnc.cli.common import echo


@click.command(short_help="The library of specs.")
@click.argument("name", required=False)
@click.option("--path", is_flag=True, help="Print where the file is, instead of its text.")
def specs(name: str | None, path: bool) -> None:
    """List the models of the library, or print the file of one.

    \b
    rnnc specs                all of them
    rnnc specs GRU            the text of one, to read, or to change:
    rnnc specs GRU > my.rnn
    """
    from rnnc.resources import specs_root
    from rnnc.spec_files import library, library_file

    root = specs_root()
    if name is not None:
        file = library_file(name)
        echo(str(file) if path else file.read_text(encoding="utf-8").rstrip("\n"))
    elif path:
        echo(str(root))
    else:
        rows = [
            (model, file.relative_to(root).as_posix(), _summary(file, model))
            for model, file in sorted(library().items(), key=lambda item: (item[1], item[0]))
        ]
        echo(_columns([row for row in rows if not _is_optimiser(row)]))
        echo("\noptimisers, for --optimizer:")
        echo(_columns([row for row in rows if _is_optimiser(row)]))


def _is_optimiser(row: tuple[str, str, str]) -> bool:
    return row[1].startswith("optim/")


def _summary(file: Path, model: str) -> str:
    """The first sentence of the comment above a model."""
    block = re.compile(rf"((?:^#.*\n)+)model[ \t]+{re.escape(model)}\b", re.MULTILINE)
    found = block.search(file.read_text(encoding="utf-8"))
    if found is None:
        return ""
    lines = [line.lstrip("#").strip() for line in found[1].splitlines()]
    first = lines.index("") if "" in lines else len(lines)
    return re.split(r"\.(?= |$)", " ".join(lines[:first]), maxsplit=1)[0]


def _columns(rows: list[tuple[str, str, str]]) -> str:
    """Aligned; on a terminal the last column is wrapped, elsewhere a row is a line."""
    from shutil import get_terminal_size

    a, b = (max((len(row[i]) for row in rows), default=0) for i in (0, 1))
    left = a + b + 4
    room = get_terminal_size().columns - left if sys.stdout.isatty() else 0
    lines = []
    for model, file, text in rows:
        parts = (textwrap.wrap(text, room) if room >= 24 else [text]) or [""]
        lines.append(f"{model:<{a}}  {file:<{b}}  {parts[0]}".rstrip())
        lines += [" " * left + part for part in parts[1:]]
    return "\n".join(lines)
