"""One spelling for each name: ``α`` and ``alpha``, ``W′`` and ``W'``, ``∂h`` and ``d_h``."""

from __future__ import annotations

import re
import unicodedata

INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad"  # zero-width characters and soft hyphens

_SMALL = "αβγδεζηθικλμνξοπρστυφχψως"
_GREEK_NAMES = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"),
    *("lambda", "mu", "nu", "xi", "omicron", "pi", "rho", "sigma", "tau", "upsilon", "phi"),
    *("chi", "psi", "omega", "sigma"),  # the last one is the final sigma, ς
)
_TABLE = dict(zip(_SMALL, _GREEK_NAMES, strict=True))
_TABLE |= {
    letter.upper(): name.capitalize()
    for letter, name in zip(_SMALL[:-1], _GREEK_NAMES[:-1], strict=True)
}
_TABLE |= {"∂": "d_", "∞": "inf", "′": "'", "’": "'"}
# The accents that papers put on variables, by their LaTeX names.
_TABLE |= {
    "\u0302": "_hat",
    "\u0303": "_tilde",
    "\u0304": "_bar",
    "\u0305": "_bar",
    "\u0306": "_breve",
    "\u0307": "_dot",
    "\u0308": "_ddot",
    "\u030c": "_check",
    "\u20d7": "_vec",
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*'*(?:\.[A-Za-z0-9_]+'*)*")


def normalise_name(text: str) -> str:
    """The ASCII form of a name as a user may type it; it is its own normal form.

    NFKC first (which turns ``h₁`` into ``h1`` and ``ϵ`` into ``ε``), then Greek letters by their
    names, accents by their LaTeX names. Characters that no name may hold are left as they are:
    :func:`foreign_character` finds them.
    """
    if text.isascii():
        return str(text)  # a lark token is a str of its own kind
    text = unicodedata.normalize("NFKC", "".join(c for c in text if c not in INVISIBLE))
    # Composed letters (ĥ) come apart, so that one table serves both ways to write an accent.
    text = "".join(
        c if c.isascii() or c in _TABLE else unicodedata.normalize("NFD", c) for c in text
    )
    return "".join(_TABLE.get(c, c) for c in text)


def is_name(text: str) -> bool:
    """Whether ``text``, already normalised, is a name."""
    return _NAME.fullmatch(text) is not None


def foreign_character(text: str) -> str | None:
    """The first character of ``text`` that cannot be in a name, or None."""
    for c in text:
        if c in INVISIBLE:
            continue
        plain = normalise_name(c)
        if not re.fullmatch(r"[A-Za-z0-9_'.]+", plain):
            return c
    return None


# The functions of the language; what each means is a table of graph/build.
FUNCTIONS = frozenset(
    (
        *("sigmoid", "sigma", "tanh", "relu", "exp", "log", "sqrt", "abs", "sin", "cos"),
        *("softplus", "floor", "sign", "where", "silu", "gelu", "elu", "hardsigmoid", "clip"),
        *("sum", "mean", "norm", "softmax", "logsumexp", "argmax", "min", "max"),
        *("dot", "outer", "diag", "stop_gradient", "eye", "arange", "repeat", "onehot", "slice"),
        *("dropout", "nll", "cross_entropy", "squared_error", "split"),
    )
)
