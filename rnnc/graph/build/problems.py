"""Collecting the problems of a model, and the words in which they are told."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from rnnc.graph.types import Size
from rnnc.source import Diagnostic, Label, Span, SpecError

MOST = 100  # problems told of one model
_CANDIDATES = 500  # known names that a misspelt one is compared with

# What other languages and papers call it.
FOREIGN_FUNCTIONS = {
    **dict.fromkeys(("concat", "concatenate", "cat", "hstack"), "vectors are joined as [a, b]"),
    **dict.fromkeys(("matmul", "mm", "linear", "dense"), "a product is written W x"),
    **dict.fromkeys(("transpose", "t"), "a transpose is written W.T"),
    **dict.fromkeys(("pow", "power"), "a power is written x^2"),
    **dict.fromkeys(("zeros", "ones", "full"), "a number fills any shape: write 0 or 1"),
    **dict.fromkeys(("mse", "mse_loss", "squared_loss"), "did you mean `squared_error`?"),
    **dict.fromkeys(("leaky_relu", "leakyrelu", "lrelu"), "write max(x, 0.01 * x)"),
    **dict.fromkeys(("hadamard", "multiply", "mul"), "an elementwise product is written a * b"),
    **dict.fromkeys(("logistic", "sigm", "expit"), "did you mean `sigmoid`?"),
    **dict.fromkeys(("len", "length", "shape"), "a size is its dim, the number of steps is T"),
    **dict.fromkeys(("average", "avg"), "did you mean `mean`?"),
    **dict.fromkeys(("inner", "vdot"), "did you mean `dot`?"),
    **dict.fromkeys(("identity", "I"), "did you mean `eye`?"),
    "cond": "write where(c, a, b), or a if c else b",
    "ln": "did you mean `log`?",
    "mod": "write a % b",
    "prod": "write exp(sum(log(x)))",
    "argmin": "write argmax(-x)",
    "swish": "did you mean `silu`?",
    "square": "write x^2",
    "detach": "did you mean `stop_gradient`?",
    "embedding": "a row of a table is E[w[t]]",
    "lookup": "a row of a table is E[w[t]]",
}
FOREIGN_DISTRIBUTIONS = {
    **dict.fromkeys(("gauss", "gaussian", "Normal", "N"), "did you mean `normal`?"),
    **dict.fromkeys(("softmax", "multinomial", "Categorical"), "did you mean `categorical`?"),
    **dict.fromkeys(("sigmoid", "binomial", "Bernoulli"), "did you mean `bernoulli`?"),
}
FOREIGN_INITIALISERS = {
    **dict.fromkeys(("gauss", "gaussian", "randn", "he", "kaiming"), "did you mean `normal`?"),
    **dict.fromkeys(("xavier", "glorot_uniform"), "did you mean `glorot`?"),
    **dict.fromkeys(("rand", "random"), "did you mean `uniform`?"),
    **dict.fromkeys(("eye", "I"), "did you mean `identity`?"),
    "zero": "did you mean `zeros`?",
    "one": "did you mean `ones`?",
    "const": "did you mean `constant`?",
}


class Problems:
    """Collects diagnostics, so that all of a model's errors are reported at once."""

    def __init__(self) -> None:
        self.found: list[Diagnostic] = []
        self._seen: set[tuple[str, str, int, int, str]] = set()

    def add(
        self,
        code: str,
        message: str,
        span: Span,
        *,
        hint: str | None = None,
        labels: Iterable[tuple[Span, str]] = (),
    ) -> None:
        """Record a problem once (the same place is not reported twice for the same code).

        Raises SpecError when there are enough of them.
        """
        # what is wrong with a layer itself is told at its first call alone
        call = message if span.source.caller else ""
        place = (code, span.source.name, span.start, span.end, call)
        if place in self._seen:
            return
        self._seen.add(place)
        places = dict.fromkeys(Label(*x) for x in labels)
        self.found.append(Diagnostic(code, message, span, tuple(places), hint))
        if len(self.found) >= MOST:
            self.stop()

    def stop(self) -> None:
        """Raise SpecError, in the order of the text, if anything was found."""
        if self.found:
            raise SpecError(sorted(self.found, key=lambda d: d.span.order if d.span else (0, 0)))


def suggestion(name: str, known: Iterable[str]) -> str | None:
    """``did you mean …?`` where a known name differs by its case or signs, or by a letter or
    two (of a short name any letter makes another one)."""
    names = [n for n in known if abs(len(n) - len(name)) <= 3][:_CANDIDATES]
    plain = _bare(name)
    close = [n for n in names if plain and _bare(n) == plain]
    if not close and len(name) > 3:
        close = difflib.get_close_matches(name, [n for n in names if len(n) > 2], n=1, cutoff=0.7)
    return f"did you mean `{close[0]}`?" if close else None


def _bare(name: str) -> str:
    return re.sub(r"[_'.]", "", name).lower()


_GROUP = r"\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}"
_LATEX = re.compile(
    rf"""
    (?: \\(?:hat|tilde|bar|vec|dot|overline|wide\w+|math\w+|boldsymbol|bm|partial|delta|Delta)\s*
        (?: {_GROUP} | \\?[A-Za-z](?![a-z]) )
      | \\[A-Za-z]+ (?:{_GROUP})? | [^\W_] | {_GROUP} )
    (?: '+ | \s*[_^]\s* (?: {_GROUP} | \\[A-Za-z]+ | \S ) )*
    """,
    re.VERBOSE,
)


def head(span: Span) -> Span:
    """The name that a place begins with: ``h`` of ``h[t-1]``, ``W`` of ``W : [m, n]``; of LaTeX
    the letter with all that stands around it, ``\\hat h_{t-1}``."""
    if (latex := _LATEX.match(span.text)) and set(latex[0]) & set("\\{}"):
        return Span(span.source, span.start, span.start + len(latex[0]))
    found = re.match(r"[^\s\[(:=~,［（：＝～，]+", span.text)
    return Span(span.source, span.start, span.start + len(found[0])) if found else span


def short(text: str) -> str:
    """A piece of the spec for a message: on one line, and not too long."""
    text = " ".join(text.split())
    return text if len(text) <= 40 else f"{text[:37]}…"


def shape_text(shape: Sequence[Size] | None) -> str:
    """A shape as users write it; sizes that are still unknown are question marks."""
    if shape is None:
        return "of unknown shape"
    if not shape:
        return "a scalar"
    return f"[{', '.join(re.sub(r'[?][0-9]+', '?', str(s)) for s in shape)}]"


def shape_words(shape: Sequence[Size] | None) -> str:
    """``a scalar``, ``the vector [m]``, ``the matrix [m, n]``."""
    if not shape:
        return shape_text(shape)
    return f"the {'vector' if len(shape) == 1 else 'matrix'} {shape_text(shape)}"


def listed(names: Sequence[str], last: str = "and") -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"
