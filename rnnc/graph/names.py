"""Names that the compiler makes: of what it adds to a system, and in generated code by one
injective mapping for all backends."""

from __future__ import annotations

import functools
import keyword
import re
from collections.abc import Collection, Iterable

from rnnc.syntax.names import normalise_name

GRADIENT = "d_"  # of h is d_h, printed ∂h
LENGTHS = ".lengths"  # after the name of an axis: the input with those of its sequences
TEMPERATURE = "temperature"  # the input of what generates
# after the name of a target that is drawn: inputs, an output, random numbers
PROMPT, GIVEN, END, LENGTH, UNIFORM = ".prompt", ".given", ".end", ".length", ".uniform"

_WORDS = {"'": "_prime", "+": "_plus", "-": "_minus", "@": "_at_"}


def identifier(name: str) -> str:
    """A Python identifier that reads like ``name``: ``h[t-1]`` is ``h_t_minus1``."""
    text = re.sub(r"[\[(](\w+)([+-]\d+)?[\])]", lambda m: f"_{m[1]}{m[2] or ''}", name)
    text = "".join(_WORDS.get(c, c if c.isalnum() or c == "_" else "_") for c in text)
    text = re.sub(r"_{2,}", "_", text).strip("_") or "value"
    if text[0].isdigit():
        text = f"v{text}"
    return f"{text}_" if keyword.iskeyword(text) else text


def identifiers(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """An identifier for each name, no two the same and none in ``taken``."""
    used = set(taken)
    out: dict[str, str] = {}
    for name in names:
        base = identifier(name)
        text, count = base, 1
        while text in used:
            count += 1
            text = f"{base}_{count}"
        used.add(text)
        out[name] = text
    return out


@functools.cache
def canonical(name: str) -> str:
    """The one spelling of a name: ``α`` is ``alpha``, ``∂h`` is ``d_h``."""
    return normalise_name(name)


def axis_of(name: str) -> str:
    """``t`` of ``t.lengths``."""
    return name.removesuffix(LENGTHS)


def is_temporary(name: str) -> bool:
    """Whether the compiler made up the name: it ends in a dot and a number (``a.1``,
    ``a.1@3``, ``a.1@s1@t3``)."""
    return re.search(r"\.\d+(@\w*-?[\d,-]+)*$", name) is not None


_MADE = re.compile(
    r"(\.(\d+|bound\d*|sum|fixed|part|tanh|scaled?|by|half|wide|each|moved|columns|product|joined"
    r"|sequence)|\.from_.*?)+(?=(@\w*-?[\d,-]+)*$)"
)


def owner_of(name: str) -> str:
    """The equation that a part of an expression belongs to: ``f`` of ``f.4``, and ``f.c``, which
    a layer gives, of ``f.c.4``."""
    return _MADE.sub("", name) or name


def told(name: str, values: Collection[str]) -> str:
    """How messages speak of a value among others: by its equation, or as the gradient of one, if
    differentiation made it (``all_h``: of an ``h`` whose ``d_h`` is given)."""
    owner = owner_of(name)
    found = re.fullmatch(r"(d\d*|all)_(.+)", owner)
    if found is None or (found[1] == "all" and GRADIENT + found[2] not in values):
        return f"`{owner}`"
    known = any(owner_of(v) == found[2] for v in values)
    return f"the gradient of `{found[2]}`" if known else f"`{owner}`"
