"""The ASCII form of the signs that papers and editors use for operators."""

from __future__ import annotations

import unicodedata

DASHES = dict.fromkeys(map(ord, "−‐‑‒–—"), "-")
_TIMES = {"⊙": "*", "∘": "*", "×": "*", "∗": "*", "÷": "/", "∕": "/", "⁄": "/"}
_COMPARE = {"≤": "<=", "⩽": "<=", "≥": ">=", "⩾": ">=", "≠": "!="}
_WORDS = {"∨": "or", "∧": "and", "¬": "not"}


def operator(text: str) -> str:
    """The ASCII form of an operator's token."""
    plain = unicodedata.normalize("NFKC", text).translate(DASHES)
    return _TIMES.get(plain) or _COMPARE.get(plain) or _WORDS.get(plain) or plain
