r"""Letters with scripts: which part is the name, which the step, which a power.

    h_{t-1}      h[t-1]         W_{xh}           W_xh
    h^{(t-1)}    h[t-1]         \mathbf{W}^{(f)} W_f
    \hat{y}_t    y_hat[t]       A'_{t+1}         A'[t+1]
    e_{ij}       e[i, j]        \delta^h_{t+1}   delta_h[t+1]
    x^2          x^2            v^\top           v.T

An axis in a script is a step. A number or the length of an axis is one where the value has steps
(``h_0``), else part of the name (``W_1``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from rnnc.source import Span
from rnnc.syntax import tree
from rnnc.syntax.latex import commands, marks
from rnnc.syntax.latex.names import Names
from rnnc.syntax.latex.tokens import LatexError
from rnnc.syntax.names import foreign_character, is_name


@dataclass(frozen=True)
class Letter:
    """A letter with its accents, and what stands around it; ``word`` tells an upright one."""

    base: str
    scripts: tuple[marks.Script, ...] = ()
    primes: int = 0
    word: bool = False
    font: str = ""  # of those that make another letter: mathcal


@dataclass
class Name:
    """What a letter with scripts says: a name, the steps, and what is done with the value."""

    name: str
    steps: list[tree.Expr] = field(default_factory=list)
    transposed: bool = False
    power: tree.Expr | None = None
    exponential: marks.Mark | None = None  # `e^x`, where no value is called e
    chosen: tree.Expr | None = None  # which entry is meant
    unsure: int = 0  # how many parts of the name might be steps


@dataclass(frozen=True)
class _Steps:
    """Steps in a script; ``word`` is their place among the words that they might be instead."""

    steps: list[tree.Expr]
    word: int | None = None


JOINED = ("∂", "delta", "Delta", "nabla")  # signs that make a name with the letter after them


def wrong(message: str, mark: marks.Mark, hint: str | None = None) -> LatexError:
    """The error at a mark."""
    return LatexError(message, mark.start, mark.end, hint)


def letter_of(mark: marks.Mark, run: bool = False) -> Letter | None:
    """The letter that a mark is; None where it is something else. With ``run`` letters that
    touch are one word, as they are in scripts."""
    match mark:
        case marks.Sign(text=text, kind="letters") if len(text) == 1 or run:
            return Letter(text)
        case marks.Sign(text=text, kind="word"):
            return Letter(text, word=True)
        case marks.Sign(text=text, kind="symbol") if text not in ("top", "'"):
            return Letter(text)
        case marks.Styled(style=style, accent=accent, body=body):
            upright = not accent and style in commands.UPRIGHT
            letter = letter_of(body, run or upright)
            if letter is None:
                return None
            if not accent:
                font = style if style in ("mathcal", "mathscr", "mathfrak", "mathbb") else ""
                return replace(letter, word=letter.word or upright, font=font or letter.font)
            name = commands.ACCENTS[style]
            return replace(letter, base=f"{letter.base}_{name}") if name else letter
        case marks.Scripted(body=body, scripts=scripts, primes=primes):
            letter = letter_of(body, run)
            if letter is None:
                return None
            if isinstance(body, marks.Styled) and body.style in ("underbrace", "overbrace"):
                return letter  # what is written below the brace is a remark
            more = (*letter.scripts, *scripts)
            return replace(letter, scripts=more, primes=letter.primes + primes)
        case marks.Bracket(kind="{", items=(marks.Product(factors=(first, second)),)):
            return joined(first, letter_of(second))  # {\Delta t}
        case marks.Bracket(kind="{", items=(item,)):
            return letter_of(item, run)
    return None


def joined(first: marks.Mark, second: Letter | None) -> Letter | None:
    """``\\partial h``, ``\\Delta t`` as one letter."""
    if second is None or not isinstance(first, marks.Sign) or first.text not in JOINED:
        return None
    base = f"d_{second.base}" if first.text == "∂" else f"{first.text}_{second.base}"
    return replace(second, base=base)


class Scripts:
    """Reads letters with scripts by the names of a model."""

    def __init__(
        self,
        names: Names,
        span: Callable[[marks.Mark], Span],
        expression: Callable[[marks.Mark], tree.Expr],
    ):
        self.names = names
        self.span = span
        self.expression = expression
        self.fonts: dict[str, str] = {}  # of each letter, where it is one of its own

    # ---------------------------------------------------------------- steps

    def steps(self, mark: marks.Mark) -> tuple[list[tree.Expr], bool] | None:
        """The steps that a script says, and whether an axis is among them."""
        axes, span = self.names.axes, self.span(mark)
        match mark:
            case marks.Bracket(items=items) if items:
                found = [self.steps(item) for item in items]
                if any(f is None for f in found):
                    return None
                some = [f for f in found if f is not None]
                return [e for f in some for e in f[0]], any(f[1] for f in some)
            case marks.Sign(text=text, kind="number") if text.isdecimal():
                return [tree.Number(int(text), span=span)], False
            case marks.Sign(text=text, kind="letters") if len(text) > 1:
                if not all(c in axes for c in text):
                    return None
                return [tree.Name(c, span=replace_span(span, i)) for i, c in enumerate(text)], True
            case marks.Scripted(
                body=marks.Sign(text=text, kind="letters"), scripts=(), primes=primes
            ) if len(text) > 1:  # e_{ts'}
                last = text[-1] + "'" * primes
                if not all(c in axes for c in (*text[:-1], last)):
                    return None
                names = (*text[:-1], last)
                return [tree.Name(n, span=replace_span(span, i)) for i, n in enumerate(names)], True
            case marks.Compare(sign="==", left=left, right=right):
                axis, step = self.steps(left), self.steps(right)
                return (step[0], True) if axis and axis[1] and step else None
            case marks.Sum(parts=parts, signs=signs):
                return self._shifted(mark, parts, signs)
        name = self.plain_name(mark)
        if name in axes:
            return [tree.Name(name, span=span)], True
        return ([tree.Name(name, span=span)], False) if name in self.names.lengths else None

    def _shifted(
        self, mark: marks.Mark, parts: Sequence[marks.Mark], signs: Sequence[str]
    ) -> tuple[list[tree.Expr], bool] | None:
        """``t-1``, ``T-d``, ``-1``."""
        total: tree.Expr | None = None
        strong = False
        for part, sign in zip(parts, signs, strict=True):
            found = self.steps(part)
            name = self.plain_name(part)
            if found is None and name in self.names.known and name not in self.names.varying:
                found = [tree.Name(name or "", span=self.span(part))], False
            if found is None or len(found[0]) != 1 or (found[1] and (strong or sign == "-")):
                return None
            (step,), axis = found
            strong = strong or axis
            if total is None:
                total = step if sign == "+" else tree.Unary("-", step, span=self.span(mark))
            else:
                total = tree.Binary(sign, total, step, span=self.span(mark))
        return None if total is None else ([total], strong)

    def plain_name(self, mark: marks.Mark) -> str | None:
        """The name of a mark in which nothing is a step: ``T_x``, ``d_k``."""
        letter = letter_of(mark)
        if letter is None:
            return None
        words = [self.word(item) for script in letter.scripts for item in script.items]
        if any(word is None for word in words):
            return None
        return "_".join([letter.base, *(w for w in words if w)]) + "'" * letter.primes

    def word(self, mark: marks.Mark) -> str | None:
        """A script as part of a name; None where it cannot be one."""
        match mark:
            case marks.Lone(text=text) if text and text[0] != "'":
                return text
            case marks.Sign(text=text, kind="number"):
                return text.replace(".", "_")
            case marks.Sign(text="top" | "'", kind="symbol"):
                return None
            case marks.Bracket(kind="(" | "{", items=items) if items:
                words = [self.word(item) for item in items]
                return None if None in words else "_".join(w for w in words if w)
            case marks.Product(factors=(marks.Sign(kind="number"), last)) if self._is_axis(last):
                hint = "a step is t plus or minus a whole number; prepare other orders in the data"
                raise wrong("this is a strided step", mark, hint)
            case marks.Product(factors=factors):
                parts = [self.word(f) for f in factors]
                some = [p for p in parts if p is not None]
                if len(some) < len(parts):
                    return None
                join = "" if all(len(p) == 1 or p.isdecimal() for p in some) else "_"
                return join.join(some)
            case marks.Sign(text=text, kind="function"):
                return text
        letter = letter_of(mark, run=True)
        if letter is not None and letter.base in self.names.axes and letter.scripts:
            hint = "a step is t plus or minus a whole number, a number, or the last step T"
            raise wrong("this is no step", mark, hint)
        if letter is None and isinstance(mark, marks.Styled):  # `\\hat{2h}`
            word = self.word(mark.body)
            accent = commands.ACCENTS.get(mark.style, "") if mark.accent else ""
            return word if word is None or not accent else f"{word}_{accent}"
        if letter is None:
            return None
        words = [self.word(item) for script in letter.scripts for item in script.items]
        return None if None in words else "_".join([letter.base, *(w for w in words if w)])

    def _is_axis(self, mark: marks.Mark) -> bool:
        return isinstance(mark, marks.Sign) and mark.text in self.names.axes

    # ---------------------------------------------------------------- names

    def read(self, letter: Letter, mark: marks.Mark, left: bool = False) -> Name:
        """The name, the steps and the power that a letter with its scripts says.

        :raises LatexError: a script means nothing.
        """
        base = self._set_apart(letter, mark)
        out = Name(base)
        primes = letter.primes
        words: list[str] = []
        steps: list[_Steps] = []
        ordered = sorted(letter.scripts, key=lambda s: s.above)
        alone = len(letter.scripts) == 1 and not left and base == "e"
        for script in ordered:
            for item in script.items:
                bare = script.above and not isinstance(item, marks.Bracket)
                if script.above and self.is_transpose(item):
                    if not self._is_last_step(item, base, words, letter):
                        out.transposed = True
                        continue
                    bare = False
                if isinstance(item, marks.Lone) and item.text.startswith("'"):
                    primes += len(item.text)
                    continue
                if isinstance(item, marks.Sign) and item.text == "'":
                    primes += 1
                    continue
                if isinstance(item, marks.Scripted) and not left:
                    out.chosen = self.chosen(item) or out.chosen  # p_{t,y_t}
                    if out.chosen is not None:
                        continue
                so_far = self._joined(base, words, primes)
                if bare and alone and self._is_exponent(item):
                    out.exponential = item
                    continue
                if bare and self._is_power(item, so_far, left):
                    out.power = self.expression(item)
                    continue
                found, word = self.steps(item), self.word(item)
                whole = self._joined(base, [*words, word or ""], primes)
                is_word = whole in self.names.known and so_far not in self.names.varying
                if found and found[1] and not (word and is_word):
                    steps.append(_Steps(found[0]))
                    self.names.above = self.names.above or bare
                elif found and word is None:
                    steps.append(_Steps(found[0]))
                elif found and word is not None:
                    steps.append(_Steps(found[0], len(words)))
                    words.append(word)
                elif word is not None:
                    words.append(word)
                elif script.above and not left and not isinstance(item, marks.Bracket):
                    out.power = self.expression(item)
                else:
                    hint = "a subscript is a step (t-1) or part of a name (f, xh, \\mathrm{in})"
                    raise wrong("this cannot be read as a step or as part of a name", item, hint)
        self._settle(out, base, words, steps, primes)
        if not is_name(out.name):
            bad = foreign_character(out.name) or out.name
            hint = "names have the letters a to z and Greek ones, digits and `_`"
            raise wrong(f"`{bad}` cannot be part of a name", mark, hint)
        return out

    def _set_apart(self, letter: Letter, mark: marks.Mark) -> str:
        """``\\mathcal{W}`` beside ``W``: a letter of its own, ``W_cal``, where there is one."""
        font = letter.font.removeprefix("math")
        if font and f"{letter.base}_{font}" in self.names.known:
            return f"{letter.base}_{font}"
        seen = self.fonts.setdefault(letter.base, font)
        if seen != font:
            name = f"{letter.base}_{font or seen}"
            hint = f"if they are two values, declare one of them as {name}; else use one font"
            raise wrong(f"`{letter.base}` stands here in another font than before", mark, hint)
        return letter.base

    def _is_last_step(
        self, item: marks.Mark, base: str, words: Sequence[str], letter: Letter
    ) -> bool:
        """``h^T`` where steps stand above: ``h^{t-1}``."""
        name = self._joined(base, words, letter.primes)
        axes = self.names.varying.get(name, ())
        length = isinstance(item, marks.Sign) and item.text in self.names.lengths
        return self.names.above and length and len(axes) == 1 and len(letter.scripts) == 1

    def chosen(self, item: marks.Mark) -> tree.Expr | None:
        """``p_{t,y_t}``: the entry that an index says."""
        letter = letter_of(item)
        if letter is None or letter.base not in self.names.indices:
            return None
        found = self.expression(item)
        return found if isinstance(found, tree.Name | tree.Indexed) else None

    def _is_exponent(self, item: marks.Mark) -> bool:
        """Whether `e` with this above is the exponential function."""
        word, steps = self.word(item), self.steps(item)
        if word is not None and f"e_{word}" in self.names.known:
            return False
        varies = "e" in self.names.varying
        number = isinstance(item, marks.Sign) and item.kind == "number"
        return not ((varies and steps and steps[1]) or (number and "e" in self.names.known))

    def _joined(self, base: str, words: Sequence[str], primes: int) -> str:
        return "_".join([base, *words]) + "'" * primes

    def _settle(
        self, out: Name, base: str, words: list[str], steps: list[_Steps], primes: int
    ) -> None:
        """Steps that might be part of the name are one or the other."""
        known, varying = self.names.known, self.names.varying
        out.name = self._joined(base, words, primes)
        unsure = [s for s in steps if s.word is not None]
        chosen = [s for s in steps if s.word is None]
        for i in range(len(unsure) if out.name not in known else 0):  # the last ones, if not all
            places = {s.word for s in unsure[i:]}
            stem = self._joined(base, [w for i, w in enumerate(words) if i not in places], primes)
            meant = [s for s in steps if s.word is None or s.word in places]
            if len(varying.get(stem, ())) == sum(len(s.steps) for s in meant):
                out.name, chosen = stem, meant
                break
        out.steps = [step for s in chosen for step in s.steps]
        out.unsure = len(steps) - len(chosen)
        if out.name not in known and words:
            glued = base + "".join(words) + "'" * primes  # `W_{xh}` of a model with a `Wxh`
            if glued in known:
                out.name = glued

    # ---------------------------------------------------------------- powers

    def is_transpose(self, item: marks.Mark) -> bool:
        """``^\\top``, ``^T``, ``^\\mathsf{T}``"""
        if isinstance(item, marks.Sign) and item.kind == "symbol":
            return item.text == "top"
        letter = letter_of(item)
        return letter is not None and letter.base in ("T", "⊤") and not letter.scripts

    def _is_power(self, item: marks.Mark, stem: str, left: bool) -> bool:
        """Whether a superscript without parentheses is a power."""
        if left:
            return False
        known = stem in self.names.known
        if isinstance(item, marks.Sign) and item.kind == "number":
            return known or f"{stem}_{item.text}" not in self.names.known
        match item:
            case marks.Sum(parts=(marks.Sign(kind="number"),), signs=("-",)):
                return True  # a^{-1}
        steady = stem not in self.names.varying
        steps = self.steps(item)
        word = self.word(item)
        if steps is not None and steps[1]:
            return known and steady  # `\beta_1^t`
        if word is None:
            return not (isinstance(item, marks.Lone) or steps)
        if f"{stem}_{word}" in self.names.known:
            return False
        return (known or not steady) and (word in self.names.known or word in self.names.lengths)


def replace_span(span: Span, i: int) -> Span:
    """One letter of several that touch."""
    return Span(span.source, span.start + i, span.start + i + 1)
