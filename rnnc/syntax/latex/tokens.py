"""Tokens of LaTeX: their kinds, how they are made, and what goes wrong at one."""

from __future__ import annotations

from lark import Token

MAX_NESTING = 40  # open brackets; what reads them goes down several calls for each

PAIRS = {
    **{"LPAR": "RPAR", "LSQB": "RSQB", "LBRACE": "RBRACE", "LABS": "RABS", "LNORM": "RNORM"},
    **{"LFLOOR": "RFLOOR", "LANGLE": "RANGLE", "BEGIN_CASES": "END_CASES"},
    "BEGIN_MATRIX": "END_MATRIX",
}
CLOSERS = {close: open_ for open_, close in PAIRS.items()}
RELATIONS = ("EQUALS", "SIM", "IN")
VALUES = (
    *("LETTERS", "NUMBER", "WORD", "SYMBOL", "DOTS", "PRIME", "RPAR", "RSQB", "RBRACE"),
    *("RABS", "RNORM", "RFLOOR", "RANGLE", "END_CASES", "END_MATRIX"),
)
CONTINUES = ("EQUALS", "PLUS", "MINUS", "ENTRIES", "STAR", "SLASH", "DOT", "MOD", "COMPARE")
PUNCTUATION = ("COMMA", "SEMICOLON", "PERIOD")


class LatexError(Exception):
    """What cannot be read, between two characters of the equation, and a way out."""

    def __init__(self, message: str, start: int, end: int, hint: str | None = None):
        super().__init__(message)
        self.message, self.start, self.end, self.hint = message, start, end, hint


def fail(message: str, token: Token, hint: str | None = None) -> LatexError:
    """The error at a token."""
    return LatexError(message, token.start_pos or 0, token.end_pos or 0, hint)


def made(kind: str, value: str, first: Token, last: Token | None = None) -> Token:
    """A token in the place of others."""
    token = Token.new_borrow_pos(kind, value, first)
    token.end_pos = (last or first).end_pos
    return token
