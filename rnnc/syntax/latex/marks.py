"""What stands on the paper: letters with accents and scripts, side by side, over each other.

Nothing here has a meaning yet: a subscript may be a step or part of a name, ``f(x)`` a call or a
product. ``start`` and ``end`` are places in the equation's text.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mark:
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Sign(Mark):
    """``kind`` is ``letters`` (several that touch), ``number``, ``word`` (an upright one),
    ``symbol`` (a command's) or ``function``; ``text`` is what it says in the language."""

    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class Dots(Mark):
    """``…``"""


@dataclass(frozen=True, slots=True)
class Styled(Mark):
    """A letter with an accent (``hat``), or in a font (``mathbf``)."""

    style: str
    accent: bool
    body: Mark


@dataclass(frozen=True, slots=True)
class Script(Mark):
    """``_{…}``, ``^{…}``; the items between the commas."""

    above: bool
    items: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Scripted(Mark):
    body: Mark
    scripts: tuple[Script, ...]
    primes: int


@dataclass(frozen=True, slots=True)
class Bracket(Mark):
    """``kind`` is ``( [ { <``; ``{`` are the braces that nobody sees."""

    kind: str
    items: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Fence(Mark):
    """``absolute``, ``norm`` or ``floor``."""

    kind: str
    body: Mark


@dataclass(frozen=True, slots=True)
class Fraction(Mark):
    """``inline`` tells that it was written with a slash."""

    top: Mark
    bottom: Mark
    inline: bool = False


@dataclass(frozen=True, slots=True)
class Root(Mark):
    body: Mark
    degree: Mark | None


@dataclass(frozen=True, slots=True)
class Product(Mark):
    """Factors side by side."""

    factors: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Times(Mark):
    """``a \\odot b / c``: ``signs`` are ``⊙ * / %``, one less than parts; or all ``·``."""

    parts: tuple[Mark, ...]
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Total(Mark):
    """``\\sum_t …``"""

    scripts: tuple[Script, ...]
    body: Mark


@dataclass(frozen=True, slots=True)
class Sum(Mark):
    """Terms with their signs, ``+`` or ``-``."""

    parts: tuple[Mark, ...]
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Compare(Mark):
    sign: str
    left: Mark
    right: Mark


@dataclass(frozen=True, slots=True)
class Logic(Mark):
    """``and``, ``or``, or ``not`` (of one)."""

    sign: str
    parts: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Lone(Mark):
    """A sign without what it belongs to, in a script: ``W^{+}``, ``h_{<t}``."""

    text: str


@dataclass(frozen=True, slots=True)
class Cases(Mark):
    """Values with their conditions; that of the last may be None."""

    rows: tuple[tuple[Mark, Mark | None], ...]


@dataclass(frozen=True, slots=True)
class Matrix(Mark):
    rows: tuple[tuple[Mark, ...], ...]


@dataclass(frozen=True, slots=True)
class Item(Mark):
    """``a = b = c``; ``relations`` are ``= ~ in`` and comparisons, one less than sides. ``when``
    is a condition after a ``~``."""

    sides: tuple[Mark, ...]
    relations: tuple[str, ...]
    when: Mark | None = None


@dataclass(frozen=True, slots=True)
class Row(Mark):
    items: tuple[Item, ...]
