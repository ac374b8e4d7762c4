r"""Names in LaTeX: ``W_{f}`` of ``W_f``, ``\hat{h}`` of ``h_hat``, ``\alpha`` of ``alpha``."""

from __future__ import annotations

import re
from collections.abc import Container

from rnnc.graph.names import canonical
from rnnc.graph.notation import size_text
from rnnc.graph.types import Size

_SMALL = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"),
    *("lambda", "mu", "nu", "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi"),
    "omega",
)
_LARGE = ("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi")
GREEK = frozenset((*_SMALL, *_LARGE, "Omega"))
ACCENTS = frozenset(("hat", "tilde", "bar", "breve", "dot", "ddot", "check", "vec"))


def symbol(name: str, steps: Container[str] = ()) -> str:
    r"""``W_{f}`` of ``W_f``, ``\hat{h}`` of ``h_hat``, ``\partial h`` of ``∂h``."""
    gradient, base, subscripts, primes = parts_of(name, steps)
    below = f"_{{{','.join(subscripts)}}}" if subscripts else ""
    return f"{gradient}{base}{below}{primes}"


def parts_of(name: str, steps: Container[str] = ()) -> tuple[str, str, list[str], str]:
    """The sign of a gradient, the letter, its subscripts, and primes.

    A name of which a part would be read as one of ``steps``, or that has more than one ``_`` in
    a row, is one upright word.
    """
    gradient = name.startswith("∂")
    name = canonical(name.removeprefix("∂"))
    plain = name.rstrip("'").replace(".", "_")
    primes = name[len(plain) :]
    words: list[str] = []
    first, *rest = plain.split("_")
    if not first or "" in rest or any(word in steps for word in rest):
        word = plain.replace("_", r"\_")
        return r"\partial " * gradient, rf"\mathrm{{{word}}}", [], primes
    for word in (first, *rest):
        if word in ACCENTS and words:
            words[-1] = f"\\{word}{{{words[-1]}}}"
        else:
            words.append(word_symbol(word, first=not words))
    return r"\partial " * gradient, words[0], words[1:], primes


def word_symbol(word: str, first: bool) -> str:
    """One word of a name; the first alone is upright from two letters on."""
    if word in GREEK:
        return f"\\{word}"
    short = len(word) <= (1 if first else 2) and word not in ("in", "on", "up")
    return word if short or word.isdigit() else f"\\mathrm{{{word}}}"


def size_latex(size: Size | str) -> str:
    r"""A size, or the text of one: ``2 \, m``."""
    text = size if isinstance(size, str) else size_text(size)
    return re.sub(r"[^\W\d][\w']*", lambda m: symbol(m[0]), text).replace("*", r" \, ")
