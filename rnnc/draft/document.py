r"""The display equations of a Markdown or LaTeX document.

These stand between ``$$`` and ``$$``, ``\[`` and ``\]``, in ``\begin{equation}`` and its like, and
in code blocks of the kind ``math``. Single symbols, which some documents set so, too, are no
equations.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator
from dataclasses import dataclass

from rnnc.syntax.latex.parse import parse_latex
from rnnc.syntax.latex.read import defined_names
from rnnc.syntax.latex.tokens import LatexError

_HEADING = re.compile(
    r"^ {0,3}#{1,6}[ \t]+(?P<mark>[^\n]+)$"
    r"|\\(?:chapter|(?:sub)*section|paragraph)\*?\s*\{(?P<tex>[^{}]{0,200})\}",
    re.MULTILINE,
)
_OPENING = re.compile(
    r"^(?:```|~~~)[ \t]*math[ \t]*$|^(?:```|~~~)|(?<!\\)\$\$|(?<!\\)\\\["
    r"|\\begin\{(?:equation|align|alignat|gather|eqnarray|multline|flalign|displaymath)\*?\}",
    re.MULTILINE,
)
_REMARKS = (
    ("<!--", "-->"),
    ("\\begin{verbatim}", "\\end{verbatim}"),
    ("\\begin{lstlisting}", "\\end{lstlisting}"),
)
_CODE = re.compile(r"(?<!`)`[^`\n]+`(?!`)")
_COMMENT = re.compile(r"(?<!\\)%[^\n]*")


@dataclass(frozen=True)
class Found:
    """One display equation: its number, its line, the heading above it, its LaTeX, the names that
    it defines, and why it cannot be read, if so."""

    number: int
    line: int
    heading: str
    latex: str
    defines: tuple[str, ...]
    problem: str = ""


def equations_of(text: str, tex: bool = False) -> list[Found]:
    """The equations of a document, in order; what has no ``=`` is none, nor is what stands in
    comments (in those of LaTeX if it is ``tex``) and in code."""
    for opening, closing in _REMARKS:
        text = _without(text, opening, closing)
    text = _CODE.sub(_blank, text)
    if tex:
        text = _COMMENT.sub(_blank, text)
    headings = [
        (m.start(), _plain(m["mark"] or m["tex"])) for m in _HEADING.finditer(_without_code(text))
    ]
    places = [at for at, _ in headings]
    found: list[Found] = []
    for start, latex in _pieces(text):
        if not re.search(r"=|\\sim|\\equiv|\\leftarrow|\\gets", latex):
            continue
        above = bisect.bisect_left(places, start)
        problem, names = "", tuple[str, ...]()
        try:
            rows, _ = parse_latex(latex)
            if not any(item.relations for row in rows for item in row.items):
                continue
            names = defined_names(latex)
        except LatexError as error:
            problem = error.message
        line = text.count("\n", 0, start) + 1
        heading = headings[above - 1][1] if above else ""
        found.append(Found(len(found) + 1, line, heading, latex, names, problem))
    return found


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """The places and texts of what is set as an equation."""
    position, missing = 0, set[str]()
    while (opening := _OPENING.search(text, position)) is not None:
        sign = opening[0]
        closing = _closing(sign)
        position = opening.end()
        end = -1 if closing in missing else text.find(closing, position)
        if end < 0:
            missing.add(closing)  # it is not looked for again
            continue
        latex = text[position:end]
        position = end + len(closing)
        if sign.startswith(("```", "~~~")) and not sign.rstrip().endswith("math"):
            continue
        if sign.startswith("\\begin"):  # in Markdown `%` may be text
            latex = _COMMENT.sub("", re.sub(r"^\s*\{\d+\}", "", latex))
        yield opening.start(), latex.strip()


def _closing(sign: str) -> str:
    if sign.startswith("\\begin"):
        return sign.replace("\\begin", "\\end", 1)
    return {"$$": "$$", "\\[": "\\]"}.get(sign) or f"\n{sign[:3]}"


def _blank(found: re.Match[str]) -> str:
    """As many spaces and lines."""
    return re.sub(r"[^\n]", " ", found[0])


def _without(text: str, opening: str, closing: str) -> str:
    """The text with what stands between two marks blanked."""
    out, position = [], 0
    while (start := text.find(opening, position)) >= 0:
        end = text.find(closing, start)
        if end < 0:
            break
        end += len(closing)
        out += [text[position:start], re.sub(r"[^\n]", " ", text[start:end])]
        position = end
    return "".join([*out, text[position:]])


def _without_code(text: str) -> str:
    """The text with code blocks blanked, whose `#` begin comments."""
    return re.sub(r"^(```|~~~).*?^\1", _blank, text, flags=re.DOTALL | re.MULTILINE)


def _plain(title: str) -> str:
    """A heading without links and emphasis, not too long."""
    title = " ".join(title[:200].split()).rstrip("# ")
    title = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", title)
    return re.sub(r"(?<!\w)[*_]{1,3}(\S[^*_]*)[*_]{1,3}(?!\w)", r"\1", title).strip()
