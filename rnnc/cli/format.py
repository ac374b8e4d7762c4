"""``rnnc fmt``: the canonical layout."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rnnc.cli.common import echo, plural, say, show_diagnostics, write_text
from rnnc.source import Diagnostic, Source, SpecError, UsageError

MAX_BYTES = 1 << 24  # of standard input; what is read is checked again


@click.command(short_help="Lay specs out in the canonical way.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 if a file would change.")
@click.option("--diff", is_flag=True, help="Write nothing; print what would change.")
def fmt(files: tuple[str, ...], check: bool, diff: bool) -> int:
    """Format specs in place; only white space and look-alike characters change.

    The file - is standard input, and its result goes to standard output.
    """
    changed: list[str] = []
    diagnostics: list[Diagnostic] = []
    unread: list[str] = []
    for file in dict.fromkeys(files):
        try:
            source, result = _formatted(file)
        except SpecError as error:
            diagnostics += error.diagnostics
            continue
        except UsageError as error:
            unread.append(str(error))
            continue
        differs = result != source.text
        if differs:
            changed.append(source.name)
        if diff:
            _show_difference(source, result)
        if check or diff:
            continue
        if file == "-":
            click.echo(result, nl=False)
        elif differs:
            write_text(Path(file), result)
    if diagnostics:
        show_diagnostics(diagnostics)
    for message in unread:
        say("error", message)
    if check and not diff:
        for name in changed:
            echo(f"{name} would change", err=True)
    elif changed and not diff and files != ("-",):
        echo(f"formatted {', '.join(changed)}" if len(changed) < 4 else
             f"formatted {plural(len(changed), 'file')}", err=True)  # fmt: skip
    if unread:
        return 2
    return 1 if diagnostics or (check and changed) else 0


def _formatted(file: str) -> tuple[Source, str]:
    from rnnc.syntax.format import format_file
    from rnnc.syntax.parse import parse, read_source

    if file == "-":
        source = Source(_standard_input(), "<stdin>")
    else:
        source = read_source(file)
    return source, format_file(parse(source), source)


def _standard_input() -> str:
    data = sys.stdin.buffer.read(MAX_BYTES)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(
            [Diagnostic("RNN003", f"standard input is not UTF-8 text: {error}")]
        ) from None


def _show_difference(source: Source, result: str) -> None:
    from difflib import unified_diff

    lines = unified_diff(
        source.text.splitlines(keepends=True),
        result.splitlines(keepends=True),
        f"{source.name}",
        f"{source.name} (formatted)",
    )
    for line in lines:
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[0])
        end = "" if line.endswith("\n") else "\n\\ no end of line\n"
        click.echo(click.style(line, fg=colour) + end, nl=False)
