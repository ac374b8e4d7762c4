"""``rnnc import``: a spec from the equations of a document."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rnnc.cli.common import (
    check_target,
    diagnostics_as_asked,
    echo,
    echo_json,
    format_option,
    keep_apart,
    plural,
    say,
    say_notes,
    write_text,
)
from rnnc.source import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rnnc.draft.document import Found

_WIDEST = 60  # characters of an equation in the list


@click.command("import", short_help="A spec from the equations of a paper.")
@click.argument("document", type=click.Path(path_type=Path))
@click.option(
    "-o", "output", type=click.Path(path_type=Path),
    help="Write the spec to this file; without it the equations are listed.",
)  # fmt: skip
@click.option("--pick", metavar="2-5,9", help="The equations of these numbers.")
@click.option("--heading", metavar="TEXT", help="Those under a heading that holds this text.")
@click.option("--name", "names", multiple=True, metavar="NAME", help="Those that define a name.")
@click.option(
    "--declare", "declared", multiple=True, metavar="STATEMENT",
    help="A statement that settles what would be guessed: 'function f = relu'.",
)  # fmt: skip
@click.option("--model", metavar="NAME", help="The name of the model (that of the file).")
@format_option
@diagnostics_as_asked
def import_(
    document: Path,
    output: Path | None,
    pick: str | None,
    heading: str | None,
    names: tuple[str, ...],
    declared: tuple[str, ...],
    model: str | None,
    format_: str,
) -> None:
    """List the display equations of a Markdown or LaTeX document, or make a spec of some.

    Sizes, inputs and parameters are declared as far as the equations tell them. What had to be
    guessed is asked: answer it in the file, or with --declare.

    \b
    rnnc import paper.md
    rnnc import paper.md --heading LSTM -o lstm.rnn
    rnnc import paper.tex --pick 3-6 --declare "function f = relu" -o cell.rnn
    """
    from rnnc.draft.document import equations_of

    text = _read(document)
    found = equations_of(text, tex=document.suffix.lower() in (".tex", ".ltx", ".latex"))
    if not found:
        hint = "these stand in $$ … $$, \\[ … \\], or \\begin{equation} … \\end{equation}"
        raise UsageError(f"there are no display equations in {document}; {hint}")
    chosen = _chosen(found, pick, heading, names)
    if output is None:
        if declared or model:
            option = "--declare" if declared else "--model"
            raise UsageError(f"{option} is for the spec: say where to write it, -o cell.rnn")
        _list(chosen, format_)
        return
    check_target(output)
    keep_apart(output, str(document))
    if output.suffix.lower() != ".rnn":
        raise UsageError(f"{output.name} does not end in .rnn, and this is a spec")
    if output.exists():
        hint = "choose another name, or remove it first"
        raise UsageError(f"{output} exists, perhaps with answers of yours in it; {hint}")
    _write(chosen, document, output, declared, model, format_)


def _read(document: Path) -> str:
    try:
        return document.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"there is no file {document}") from None
    except IsADirectoryError:
        raise UsageError(f"{document} is a folder, not a document") from None
    except (UnicodeDecodeError, OSError) as error:
        hint = "; of a PDF the text is needed" if document.suffix.lower() == ".pdf" else ""
        raise UsageError(f"{document} cannot be read as UTF-8 text{hint}: {error}") from None


# ---------------------------------------------------------------- choosing


def _chosen(
    found: Sequence[Found], pick: str | None, heading: str | None, names: Sequence[str]
) -> list[Found]:
    """Those that all options agree on."""
    chosen = list(found)
    if heading is not None:
        chosen = [f for f in chosen if heading.casefold() in f.heading.casefold()]
        if not chosen:
            there = ", ".join(dict.fromkeys(f.heading for f in found if f.heading)) or "none"
            message = f"no equation stands under a heading with {heading!r}"
            raise UsageError(f"{message}; there are: {there}")
    if names:
        wanted = {n.strip().partition("[")[0] for item in names for n in item.split(",")}
        chosen = [f for f in chosen if wanted & {d.partition("[")[0] for d in f.defines}]
        missing = wanted - {d.partition("[")[0] for f in chosen for d in f.defines}
        if missing:
            defined = ", ".join(dict.fromkeys(d for f in found for d in f.defines))
            raise UsageError(
                f"no equation defines {', '.join(sorted(missing))}; defined are: {defined}"
            )
    if pick is not None:
        numbers = _numbers(pick, found[-1].number)
        chosen = [f for f in chosen if f.number in numbers]
        if not chosen:
            raise UsageError(
                f"none of the equations {pick} is among those that the other options pick"
            )
    return chosen


def _numbers(text: str, last: int) -> set[int]:
    """``2-5,9``"""
    out: set[int] = set()
    for part in text.split(","):
        m = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if m is None:
            raise UsageError(f"--pick takes numbers, such as 2-5,9; not {text!r}")
        first, end = int(m[1]), int(m[2] or m[1])
        if not 1 <= first <= end <= last:
            raise UsageError(f"--pick {part.strip()}: the equations are 1 to {last}")
        out |= set(range(first, end + 1))
    return out


# ---------------------------------------------------------------- results


def _list(found: Sequence[Found], format_: str) -> None:
    if format_ == "json":
        echo_json(
            {
                "equations": [
                    {
                        "number": f.number,
                        "line": f.line,
                        "heading": f.heading,
                        "defines": list(f.defines),
                        "latex": f.latex,
                        "problem": f.problem or None,
                    }
                    for f in found
                ]
            }
        )
        return
    rows = [("", "line", "heading", "defines", "equation")]
    for f in found:
        latex = " ".join(f.latex.split())
        short = latex if len(latex) <= _WIDEST else f"{latex[: _WIDEST - 1]}…"
        defines = ", ".join(f.defines) or (f"({f.problem})" if f.problem else "-")
        rows.append((str(f.number), str(f.line), f.heading, defines, short))
    widths = [max(_columns(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        cells = [cell + " " * (w - _columns(cell)) for cell, w in zip(row, widths, strict=False)]
        echo("  ".join([*cells, row[4]]).rstrip())
    echo("")
    say("note", "pick some with --pick, --heading or --name, and write a spec with -o cell.rnn")


def _columns(text: str) -> int:
    import unicodedata

    return len(text) + sum(unicodedata.east_asian_width(c) in "WF" for c in text)


def _write(
    found: Sequence[Found],
    document: Path,
    output: Path,
    declared: tuple[str, ...],
    model: str | None,
    format_: str,
) -> None:
    from rnnc import api
    from rnnc.draft.spec import draft

    _check_once(found)
    bad = [f for f in found if f.problem]
    if bad:
        first = bad[0]
        raise UsageError(
            f"equation {first.number} (line {first.line}) cannot be read: {first.problem}; "
            "leave it out with --pick"
        )
    name = model or _model_name(output)
    made = draft(found, name, document.name, declared)
    write_text(output, made.text)  # with mistakes, too: they are mended there
    if format_ == "text":
        numbers = ", ".join(str(f.number) for f in found)
        echo(f"wrote {output}: {name}, of {plural(len(found), 'equation')} ({numbers})")
    spec = api.load(str(output))
    if format_ == "json":
        questions = [{"name": q.name, "text": q.text, "answer": q.answer} for q in made.questions]
        echo_json({"diagnostics": [], "model": name, "questions": questions, "text": made.text})
        return
    say_notes(spec)
    if made.questions:
        echo(f"\n{plural(len(made.questions), 'question')}, to be answered in the file:")
        for q in made.questions:
            echo(f"  {q.text}\n      --declare {q.answer!r}")


def _check_once(found: Sequence[Found]) -> None:
    """No name is defined by two different equations."""
    first: dict[str, Found] = {}
    for f in found:
        for name in f.defines:
            other = first.setdefault(name, f)
            if other.latex != f.latex:
                raise UsageError(
                    f"{name} is defined by the equations {other.number} and {f.number}: pick one "
                    "of them with --pick, or a heading with --heading"
                )


def _model_name(output: Path) -> str:
    words = re.findall(r"[A-Za-z0-9]+", output.stem)
    name = "".join(w[:1].upper() + w[1:] for w in words)
    return name if name[:1].isalpha() else f"Model{name}"
