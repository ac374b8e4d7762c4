r"""What is said of equations in LaTeX that are wrong: the place, the message and the way out.

    RNNC_EXAMPLES=5000 pytest tests/test_latex_errors.py

tries many more random changes to the equations of papers than the few of every run.
"""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import rnnc
from rnnc.source import Diagnostic
from tests.documents import BLOCKS, text_of
from tests.papers_typeset import PAPERS

EXAMPLES = int(os.environ.get("RNNC_EXAMPLES", "25"))
SPEC = "model M\ninput x[t] : [3]\nparam W : [3, 3], b : [3]\n"


def diagnostics(text: str) -> tuple[Diagnostic, ...]:
    """What is said of a spec."""
    with pytest.raises(rnnc.SpecError) as error:
        rnnc.parse(text)
    return error.value.diagnostics


def first(latex: str) -> Diagnostic:
    """What is said first of an equation, which is told to stand in it."""
    found = diagnostics(f"{SPEC}$${latex}$$\n")[0]
    assert found.span is not None
    assert len(SPEC) + 2 <= found.span.start <= found.span.end <= len(SPEC) + 2 + len(latex)
    return found


# The equation, the code, the message, what stands under the caret, and how the hint begins.
WRONG: tuple[tuple[str, str, str, str, str | None], ...] = (
    # commands
    (r"h_t = \tahn(W x_t)", "RNN004",
     r"unknown command `\tahn`", r"\tahn", r"did you mean `\tanh`?"),
    (r"h_t = \sigmma(W x_t)", "RNN004",
     r"unknown command `\sigmma`", r"\sigmma", r"did you mean `\sigma`?"),
    (r"h_t = \foo W x_t", "RNN004",
     r"unknown command `\foo`", r"\foo",
     r"a function or a name of several letters is \mathrm{foo}"),
    (r"h = \prod_t x_t", "RNN004",
     r"unknown command `\prod`", r"\prod", r"a product over steps is \exp(\sum_t \log(…))"),
    (r"h = \int x_t dt", "RNN004",
     r"unknown command `\int`", r"\int", r"sums over the steps of an axis are \sum_t"),
    (r"h_t = x_t \pm b", "RNN004", r"unknown command `\pm`", r"\pm", "write two equations"),
    (r"h_t = {x_t \over b}", "RNN004",
     r"unknown command `\over`", r"\over", r"write the fraction: \frac{a}{b}"),
    (r"h_t \approx x_t", "RNN004",
     r"unknown command `\approx`", r"\approx", "an equation is written with ="),
    (r"h_t = \lceil x_t \rceil", "RNN004",
     r"unknown command `\lceil`", r"\lceil", r"write -\lfloor -x \rfloor"),
    (r"h_t = x_t \mid b", "RNN004",
     r"unknown command `\mid`", r"\mid",
     r"p(y | x) is a distribution: y_t \sim \mathrm{categorical}(p_t)"),
    (r"\newcommand{\h}{h} h_t = x_t", "RNN004",
     r"unknown command `\newcommand`", r"\newcommand",
     "macros are not expanded: write what they stand for"),
    (r"h_t = \overset{a}{b}", "RNN004",
     r"`\overset` can only stand over an equals sign", r"\overset", None),
    ("h_t = x_t # b", "RNN004", "`#` has no meaning in an equation", "#", None),
    ("h_t = x_t $ b", "RNN004", "`$` has no meaning in an equation", "$", "`$` ends an equation"),
    ("h_t = x_t : b", "RNN004", "`:` has no meaning in an equation", ":", None),
    ('h_t = "x_t"', "RNN004", '`"` has no meaning in an equation', '"', None),
    # brackets
    (r"h_t = \tanh(W x_t", "RNN004", "this `(` is never closed", "(", None),
    (r"h_t = \tanh W x_t)", "RNN004", "this `)` closes nothing", ")", None),
    (r"h_t = \tanh(W x_t)) + b", "RNN004", "this `)` closes nothing", ")", None),
    ("h_t = [W x_t)", "RNN004", "this `)` does not close `[`", ")", None),
    (r"h_t = \tanh(W x_{t)", "RNN004", "this `)` does not close `{`", ")", None),
    ("h_t = W x_{t}}", "RNN004", "this `}` closes nothing", "}", None),
    ("h_t = W x_{t-1", "RNN004", "this `{` is never closed", "{", None),
    (r"h_t = \frac{x_t}{b", "RNN004", "this `{` is never closed", "{", None),
    (r"h_t = \{ x_t", "RNN004", r"this `\{` is never closed", r"\{", None),
    (r"h_t = \langle x_t, x_t", "RNN004", r"this `\langle` is never closed", r"\langle", None),
    (r"h_t = \lfloor x_t", "RNN004", r"this `\lfloor` is never closed", r"\lfloor", None),
    (r"h_t = \lVert x_t \rvert", "RNN004",
     r"this `\rvert` does not close `\lVert`", r"\rvert", None),
    ("h_t = |x_t", "RNN004",
     "this `|` has no partner", "|",
     r"a norm has two; p(y | x) is a distribution: y_t \sim \mathrm{categorical}(p_t)"),
    ("h_t = |x_t| |", "RNN004",
     "this `|` has no partner", "|",
     r"a norm has two; p(y | x) is a distribution: y_t \sim \mathrm{categorical}(p_t)"),
    ("h_t = p(x | y)", "RNN004",
     "this `|` has no partner", "|",
     r"a norm has two; p(y | x) is a distribution: y_t \sim \mathrm{categorical}(p_t)"),
    (r"h_t = \tanh\left(W x_t)", "RNN004", r"this `\left` has no `\right`", r"\left", None),
    (r"h_t = \tanh(W x_t\right)", "RNN004", r"this `\right` has no `\left`", r"\right", None),
    (r"h_t = \tanh\left(W x_t\right]", "RNN004", "this `]` does not close `(`", "]", None),
    (r"h_t = \left\{ x_t", "RNN004", r"this `\left` has no `\right`", r"\left", None),
    (r"h_t = \left. x_t \right|_{t=0}", "RNN004",
     "a bar does not say at which step a value is read", "|",
     "the value at a step is written with the step: h_0"),
    ("h_t = ()", "RNN004", "a value is missing in the brackets", "()", None),
    (r"h_t = \frac{1}{}", "RNN004", "a value is missing in the brackets", "{}", None),
    (r"h_t = \sqrt{}", "RNN004", "a value is missing in the brackets", "{}", None),
    # environments
    (r"\begin{aligned} h_t = W x_t", "RNN004",
     r"the `\end{aligned}` is missing", r"\begin{aligned}", None),
    (r"h_t = W x_t \end{aligned}", "RNN004",
     r"`\end{aligned}` ends what has not begun", r"\end{aligned}", None),
    (r"\begin{aligned} h_t = W x_t \end{align}", "RNN004",
     r"`\end{align}` ends `\begin{aligned}`", r"\end{align}", None),
    (r"\begin{aligned} \begin{cases} h_t = x_t \end{aligned} \end{cases}", "RNN004",
     r"`\end{aligned}` ends `\begin{cases}`", r"\end{aligned}", None),
    (r"\begin{tikz} h_t = W x_t \end{tikz}", "RNN004",
     "unknown environment `tikz`", r"\begin{tikz}",
     "equations stand in aligned, choices in cases, vectors in bmatrix"),
    (r"h_t = \begin{vmatrix} x_t \\ b \end{vmatrix}", "RNN004",
     "unknown environment `vmatrix`", r"\begin{vmatrix}",
     "equations stand in aligned, choices in cases, vectors in bmatrix"),
    (r"h_t = \begin{bmatrix} x_t \\ b \end{pmatrix}", "RNN004",
     r"`\end{pmatrix}` ends `\begin{bmatrix}`", r"\end{pmatrix}", None),
    (r"h_t = \begin{bmatrix} x_t & b \\ b & x_t \end{bmatrix}", "RNN004",
     "a matrix cannot be written by its parts", r"\begin{bmatrix} x_t & b \\ b & x_t \end{bmatrix}",
     "declare it as one value: param W : [m, n]"),
    (r"h_t = \begin{cases} x_t & t > 1 \\ b & \text{else}", "RNN004",
     r"the `\end{cases}` is missing", r"\begin{cases}", None),
    (r"h_t = \begin{cases} x_t & t > 1 \end{cases}", "RNN004",
     "a single case is no choice", r"\begin{cases} x_t & t > 1 \end{cases}",
     r"say what holds else: … & \text{otherwise}"),
    (r"h_t = \begin{cases} x_t & t > 1 & b \\ b & \text{else} \end{cases}", "RNN004",
     "`&` cannot stand here", "&",
     "`&` aligns equations, and separates the columns of cases and matrices"),
    (r"h_t = \begin{cases} x_t & \\ b & \text{else} \end{cases}", "RNN004",
     r"`\\` cannot stand here", r"\\", "the row before it is not complete"),
    (r"h_t = \begin{cases} x_t & \text{if it rains} \\ b & \text{else} \end{cases}", "RNN004",
     "a text cannot stand within an equation", r"\text{if it rains}",
     r"a name of several letters is one word: \text{name}"),
    (r"h_t = \begin{cases} x_t & W x_t \\ b & \text{else} \end{cases}", "RNN033",
     "a condition is a flag, and this is a real number", "W x_t",
     "compare it with something: W x_t > 0"),
    ("h_t = (W & x_t)", "RNN004",
     "`&` cannot stand here", "&",
     "`&` aligns equations, and separates the columns of cases and matrices"),
    # scripts and steps
    ("h_t = W x_t_1", "RNN004",
     "a second subscript", "_1", "what belongs together stands in one pair of braces: h_{f,t}"),
    ("h_t = W x_t^2^3", "RNN004",
     "a second superscript", "^3", "what belongs together stands in one pair of braces: h^{(t)}"),
    ("h^(t) = W x_t", "RNN004",
     "a script without braces is a single letter", "(",
     "write braces around it: h^{(t-1)}, h_{t-1}, x^{-1}"),
    (r"h_t = \tanh(W h^(t-1))", "RNN004",
     "a script without braces is a single letter", "(",
     "write braces around it: h^{(t-1)}, h_{t-1}, x^{-1}"),
    ("h_t = W__f x_t", "RNN004",
     "`_` cannot stand here", "_", "one `_` to a letter, what belongs together in braces: h_{f,t}"),
    ("h_t = W_", "RNN004", "the equation ends where a value should follow", "_", None),
    ("h_t = x_t'''''", "RNN004", "a name has at most four primes", "'''''", None),
    ("h_t = (W x_t)_i", "RNN004",
     "a subscript belongs to a letter", "_i",
     "give the expression a name, and the name the subscript"),
    ("h_t = (W x_t)^{(t)}", "RNN004",
     "a step belongs to a letter", "^{(t)}", "write it at the letters"),
    ("h_t = (W x_t)'", "RNN004", "a prime belongs to a letter", "(W x_t)'", None),
    ("h_t = W x_{2t}", "RNN004",
     "this is a strided step", "2t",
     "a step is t plus or minus a whole number; prepare other orders in the data"),
    ("h_t = W x_{T-t+1}", "RNN004",
     "this cannot be read as a step or as part of a name", "T-t+1",
     r"a subscript is a step (t-1) or part of a name (f, xh, \mathrm{in})"),
    ("h_t = W x_{t/2}", "RNN004",
     "this cannot be read as a step or as part of a name", "t/2",
     r"a subscript is a step (t-1) or part of a name (f, xh, \mathrm{in})"),
    ("h_t = W x_{t^2}", "RNN004",
     "this is no step", "t^2",
     "a step is t plus or minus a whole number, a number, or the last step T"),
    ("h_t = x_{t,t}", "RNN020",
     "`x` has one index, t, not 2", "x_{t,t}", "a part of a vector is slice(x[t], i, j)"),
    ("h_t = W_{t} x_t", "RNN021",
     "`W` is the same at every step and takes no time index", "W_{t}", "write W alone"),
    ("h_{<t} = x_t", "RNN004",
     "this cannot be read as a step or as part of a name", "<t",
     r"a subscript is a step (t-1) or part of a name (f, xh, \mathrm{in})"),
    # what is no equation
    ("h_t =", "RNN004", "the equation ends where a value should follow", "=", None),
    ("= W x_t", "RNN004", "the left side of the equation is missing", "=", "write h_t = …"),
    ("W x_t + b", "RNN004", "this is no equation", "W x_t + b", "an equation is written h_t = …"),
    ("h_t < W x_t", "RNN004",
     "a comparison is no equation", "h_t < W x_t", "an equation is written h_t = …"),
    ("h_t = W x_t +", "RNN004", "the equation ends where a value should follow", "+", None),
    ("h_t = * x_t", "RNN004", "`*` cannot stand here", "*", None),
    ("h_t = x_t + + b", "RNN004", "`+` cannot stand here", "+", "a `+` needs a value on its left"),
    ("h_t = = x_t", "RNN004",
     "`=` cannot stand here", "=", "`=` compares within brackets and conditions alone"),
    ("h_t = x_t. z_t = x_t", "RNN004", "a full stop cannot stand here", ".", None),
    ("h_t = x_t, z", "RNN004", "this is no equation", "z", "an equation is written h_t = …"),
    # left sides
    ("h2 = x_t", "RNN004", "`h2` is no left side of an equation", "h2", "is a sign missing? `h_2`"),
    ("2 = x_t", "RNN004",
     "`2` is no left side of an equation", "2", "on the left stands one name, with its step: h_t"),
    ("W x_t = h_t", "RNN004",
     "`W x_t` is no left side of an equation", "W x_t",
     "on the left stands one name, with its step: h_t"),
    ("h_t + b = x_t", "RNN004",
     "`h_t + b` is no left side of an equation", "h_t + b",
     "on the left stands one name, with its step: h_t"),
    ("h_t-1 = W x_t", "RNN004",
     "`h_t-1` is no left side of an equation", "h_t-1",
     "on the left stands one name, with its step: h_t"),
    (r"h_t^\top = x_t", "RNN004",
     r"`h_t^\top` is no left side of an equation", r"h_t^\top",
     "on the left stands one name, with its step: h_t"),
    ("hh_t = x_t", "RNN004",
     "`hh_t` is no left side of an equation", "hh_t",
     "on the left stands one name, with its step: h_t"),
    ("f(h_t) = x_t", "RNN004",
     "`f(h_t)` is no left side of an equation", "f(h_t)",
     "on the left stands one name, with its step: h_t"),
    (r"\tanh(h_t) = x_t", "RNN004",
     r"`\tanh(h_t)` is no left side of an equation", r"\tanh(h_t)",
     "on the left stands one name, with its step: h_t"),
    (r"\frac{dh}{dt} = x_t", "RNN004",
     r"`\frac{dh}{dt}` is no left side of an equation", r"\frac{dh}{dt}",
     "on the left stands one name, with its step: h_t"),
    (r"\dots = x_t", "RNN004",
     r"`\dots` is no left side of an equation", r"\dots",
     "on the left stands one name, with its step: h_t"),
    ("T = 3", "RNN012", "`T` is the number of steps; choose another name", "T", None),
    (r"\pi = x_t", "RNN012", "`pi` is a word of the language; choose another name", r"\pi", None),
    ("W = x_t", "RNN011", "`W` is defined twice", "W", None),
    ("x_t = b", "RNN011", "`x` and `x_t` are one name, defined twice", "x_t", None),
    (r"h_t = x_t \\ h_t = b", "RNN011", "`h` is defined twice", "h_t", None),
    (r"\mathbf{y}_t = x_t \\ y_t = b", "RNN011",
     r"`\mathbf{y}_t` and `y_t` are one name, defined twice", "y_t", None),
    ("h_{T+1} = b", "RNN010",
     "`h` has a boundary but no equation", "h_{T+1}", "write h[t] = … too"),
    # sums and dots
    (r"h_t = \sum W x_t", "RNN004",
     "a sum says over which axis it runs", r"\sum W x_t",
     r"write \sum_t, or \mathrm{sum}(x) for the entries of a vector"),
    (r"h = \sum_{t=0}^{T} W x_t", "RNN004",
     "a sum begins at step 1", "0",
     "a sum runs over all steps, from 1; a condition leaves some out"),
    (r"h = \sum_{t=1}^{t} W x_t", "RNN004",
     "a sum ends at the last step", "t", "a sum runs over all steps of t, up to T"),
    (r"h = \sum_{t=1}^{T-1} W x_t", "RNN004",
     "a sum ends at the last step", "T-1", "a sum runs over all steps of t, up to T"),
    (r"h_t = \sum_{i} x_t", "RNN004",
     "`i` is no axis of this model", "i",
     r"an axis is declared: axis i : I; the entries of a vector add up by \mathrm{sum}(x), a"),
    (r"h_t = \sum_{s=1}^{t} x_s", "RNN004",
     "`s` is no axis of this model", "s",
     r"an axis is declared: axis i : I; the entries of a vector add up by \mathrm{sum}(x), a"),
    (r"h_t = x_1 + \dots + x_T", "RNN004",
     "dots do not say what they stand for", r"\dots",
     "an equation says what holds at step t, for every t"),
    (r"h_t = (x_1, \dots, x_T)", "RNN004",
     "dots do not say what they stand for", r"\dots",
     "an equation says what holds at step t, for every t"),
    # functions
    (r"h_t = \tanh", "RNN013",
     "`tanh` is a function: give its argument", r"\tanh", "write tanh(x)"),
    (r"h_t = \tanh + b", "RNN013",
     "`tanh` is a function: give its argument", r"\tanh", "write tanh(x)"),
    ("h_t = f(x_t)", "RNN013",
     "unknown function `f`", "f",
     "if papers call a function so, say which it is: function f = tanh"),
    (r"h_t = \mathrm{tahn}(x_t)", "RNN013",
     "unknown function `tahn`", r"\mathrm{tahn}", "did you mean `tanh`?"),
    (r"h_t = \tanh(x_t, b)", "RNN014",
     "tanh takes 1 argument, not 2", r"\tanh(x_t, b)", "write tanh(x)"),
    (r"h_t = \log_2 x_t", "RNN004",
     "only the natural logarithm is known", "2", r"write \log(x) / \log(2)"),
    (r"h_t = \tanh^{-1}(x_t)", "RNN004",
     "only a number is a power of a function", "^{-1}",
     "write the function of the function's value, as it is meant"),
    (r"h_t = \tanh''(x_t)", "RNN004",
     "the derivative of tanh is not known here", r"\tanh''",
     "the first derivatives of tanh, sigmoid, exp, log, sin, softplus, relu are known; write"),
    (r"h_t = \mathrm{softmax}_j(x_t)", "RNN004",
     "`j` is no axis of this model", "j",
     r"a function runs over an axis of the model: \mathrm{softmax}_t(e_t)"),
    (r"h_t = \hat{x_t + b}", "RNN004",
     "an accent stands over a single letter", r"\hat{x_t + b}",
     "give the expression a name, and the name the accent"),
    (r"h_t = \lVert x_t \rVert_3", "RNN004",
     "there are norms of kind 1 and 2", "3", "write it out"),
    (r"h_t = \langle x_t \rangle", "RNN004",
     r"an inner product has two vectors: \langle a, b \rangle", r"\langle x_t \rangle", None),
    # names
    ("h_t = w x_t", "RNN010", "unknown name `w`", "w", "did you mean `W`?"),
    ("h_t = W_{xh} x_t", "RNN010",
     "unknown name `W_xh`", "W_{xh}",
     "declare it: input, param, const or dim W_xh, or give its equation"),
    ("h_t = W x_t + c_t", "RNN010",
     "unknown name `c`", "c_t", "give its equation, c[t] = …, or declare it: input"),
    ("h_t = W x_t + β", "RNN010",
     "unknown name `beta`", "β",
     "declare it: input, param, const or dim beta, or give its equation"),
    (r"h_t = W \mathbf{U} x_t", "RNN010",
     "unknown name `U`", r"\mathbf{U}",
     "declare it: input, param, const or dim U, or give its equation"),
    (r"h_t = W \text{times} x_t", "RNN010",
     "unknown name `times`", r"\text{times}",
     "declare it: input, param, const or dim times, or give its equation"),
    (r"h_t = \mathbf{W} x_t + \mathcal{W} b", "RNN004",
     "`W` stands here in another font than before", r"\mathcal{W}",
     "if they are two values, declare one of them as W_cal; else use one font"),
    # shapes and cycles
    ("h_t = W + x_t", "RNN031",
     "`+` cannot join the matrix [3, 3] and the vector [3]", "W + x_t",
     "a vector does not stretch to a matrix; outer(u, v) and diag(v) make matrices"),
    ("h_t = x_t / W", "RNN031",
     "`/` cannot join the vector [3] and the matrix [3, 3]", "x_t / W",
     "a vector does not stretch to a matrix; outer(u, v) and diag(v) make matrices"),
    (r"h_t = \tanh(W [x_t; b])", "RNN030",
     "`W` is [3, 3] but is used as [3, 6]", "W", "declare it so: W : [3, 6]"),
    (r"h_t = \begin{bmatrix} W \\ b \end{bmatrix}", "RNN031",
     "the matrix [3, 3] and the vector [3] cannot be joined",
     r"\begin{bmatrix} W \\ b \end{bmatrix}",
     "vectors join to a longer vector, matrices of one width to a higher matrix"),
    (r"h_t = \frac{1}{T} \sum_t h_t", "RNN023",
     "`h` needs all steps of t of what depends on it", r"\sum_t h_t",
     "a running sum is a recurrence of its own: s[t] = s[t-1] + …"),
    # distributions
    (r"y_t \sim foo(x_t)", "RNN004",
     "unknown distribution `foo`", "foo",
     r"write \mathrm{categorical}(p), \mathrm{bernoulli}(p) or \mathrm{normal}(\mu, s)"),
    (r"y_t \sim x_t", "RNN004",
     "this is no distribution", "x_t",
     r"write \mathrm{categorical}(p), \mathrm{bernoulli}(p) or \mathrm{normal}(\mu, s)"),
    (r"\sim x_t", "RNN004", r"`\sim` cannot stand here", r"\sim", None),
    (r"y_t \sim \mathrm{categorical}(x_t)", "RNN010",
     "`y` is no target of this model, or has a distribution already", "y_t",
     "declare it: target y[t] : index(k)"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("latex", "code", "message", "place", "hint"), WRONG, ids=[w[0] for w in WRONG]
)
def test_message(latex: str, code: str, message: str, place: str, hint: str | None) -> None:
    found = first(f" {latex} ")
    assert found.span is not None
    assert (found.code, found.message, found.span.text) == (code, message, place)
    assert (found.hint is None) == (hint is None)
    assert (found.hint or "").startswith(hint or "")


@pytest.mark.parametrize("latex", [" ", " % h_t = x_t\n", r" \\ ", " & ", r" \tag{1} ", " , "])
def test_nothing_stands_in_it(latex: str) -> None:
    found = first(latex)
    assert (found.code, found.message) == ("RNN004", "an equation is missing")
    assert found.hint == "write it between `$$` and `$$`"


@pytest.mark.parametrize("text", ["$$$$", "$$\n\n$$"])
def test_nothing_stands_between_the_signs(text: str) -> None:
    (found,) = diagnostics(f"{SPEC}{text}\n")
    assert found.message == "an equation is missing"
    assert found.span is not None
    assert len(SPEC) <= found.span.start < len(SPEC) + len(text)


def test_the_place_in_an_equation_of_several_lines() -> None:
    text = SPEC + "$$\n\\begin{aligned}\n  h_t &= x_t \\\\\n  z_t &= W (x_t\n\\end{aligned}\n$$\n"
    (found,) = diagnostics(text)
    assert found.render() == (
        "error[RNN004]: this `(` is never closed\n"
        " --> <text>:7:12\n"
        "  |\n"
        "7 |   z_t &= W (x_t\n"
        "  |            ^"
    )


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize("bracket", ["()", "[]", "{}"])
def test_deep_brackets(bracket: str) -> None:
    opened, closed = bracket
    assert first(f" h_t = {opened * 50}x_t{closed * 50} ").message == (
        "more than 40 brackets are open here"
    )
    found = first(f" h_t = {opened * 2000}x_t{closed * 2000} ")
    assert found.message == "more than 40 brackets are open here"
    assert found.span is not None
    assert found.span.start == len(SPEC) + 2 + len(" h_t = ") + 40


@pytest.mark.parametrize("sign", ["+", "-", "\\odot", "\\cdot", "*", ""])
def test_many_terms(sign: str) -> None:
    assert first(f" h_t = {f' {sign} '.join(['x_t'] * 900)} ").hint == (
        "split it into several equations"
    )


def test_very_many_terms() -> None:
    found = first(f" h_t = {' + '.join(['x_t'] * 3000)} ")
    assert found.message == "an equation has at most 5,000 words and signs"


def test_a_number_too_large() -> None:
    found = first(f" h_t = {'9' * 400} x_t ")
    assert (found.message, found.hint) == ("this number is too large", "write \\infty")
    assert found.span is not None
    assert found.span.text == "9" * 400


# ---------------------------------------------------------------- several errors


def test_errors_of_two_blocks() -> None:
    text = f"{SPEC}$$ h_t = \\tanh(x_t $$\n\nz[t] = W x[t]\n\n$$ q_t = \\foo $$\n"
    found = diagnostics(text)
    assert [d.message for d in found] == [
        "this `(` is never closed",
        "unknown command `\\foo`",
    ]
    assert [d.span.line for d in found if d.span] == [4, 8]


def test_errors_of_two_equations() -> None:
    found = diagnostics(
        f"{SPEC}$$ r_t = W x_{{2t}}, \\quad s_t = \\sum_i x_t \\\\ q_t = W x_t $$\n"
    )
    assert [d.span.text for d in found if d.span] == ["2t", "i"]


def test_unknown_names_are_told_together() -> None:
    found = diagnostics(f"{SPEC}$$ h_t = W x_t + c_t \\\\ z_t = V h_t $$\n\ny[t] = foo\n")
    assert [(d.code, d.span.text) for d in found if d.span] == [
        ("RNN010", "c_t"),
        ("RNN010", "V"),
        ("RNN010", "foo"),
    ]


# ---------------------------------------------------------------- random changes


EQUATIONS = [
    *((f"model M\n{p.declared}\n", p.latex.strip()) for p in PAPERS),
    *((text_of(b).partition(b.latex)[0], b.latex.removeprefix("$$").removesuffix("$$"))
      for b in BLOCKS),
]  # fmt: skip
SIGNS = [
    *"abhtTWx012+-*/=<>_^&|,;.:'{}()[]~%$ \n",
    *("\\\\", "\\left", "\\right", "\\frac", "\\tanh", "\\hat", "\\sum", "\\mathbf", "\\text{if}"),
    *("\\begin{cases}", "\\end{cases}", "\\quad", "\\in", "\\sim", "\\land", "\\dots", "\\", "²"),
]


@st.composite
def changed(draw: st.DrawFn) -> str:
    """A spec of a paper or document with up to three characters deleted, inserted or swapped."""
    before, latex = draw(st.sampled_from(EQUATIONS))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(latex) - 2)))
        match draw(st.sampled_from(["delete", "insert", "swap"])):
            case "delete":
                latex = latex[:at] + latex[at + 1 :]
            case "insert":
                latex = latex[:at] + draw(st.sampled_from(SIGNS)) + latex[at:]
            case _:
                latex = latex[:at] + latex[at + 1 : at + 2] + latex[at : at + 1] + latex[at + 2 :]
    return f"{before}$${latex}$$\n"


@given(changed())
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="RNNC_EXAMPLES" not in os.environ,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_random_changes(text: str) -> None:
    """A spec or an error in its place, at once."""
    rnnc.parse(f"{SPEC}$$ h_t = W x_t $$\n")  # builds the grammar
    start = time.process_time()
    try:
        rnnc.parse(text)
    except rnnc.SpecError as error:
        for found in error.diagnostics:
            assert found.render()
            assert found.span is not None
            assert 0 <= found.span.start <= found.span.end <= len(text)
    assert time.process_time() - start < 1
