"""The text front end: trees, spans, Unicode, messages, hostile input, layout."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lark import Lark

import rnnc
from rnnc.graph.build.functions import FUNCTIONS as KNOWN
from rnnc.resources import grammar_text, specs_root
from rnnc.source import CODES, Diagnostic, Source, Span, SpecError, UsageError
from rnnc.syntax import tree
from rnnc.syntax.format import format_expression, format_file
from rnnc.syntax.latex.arrange import Arrange
from rnnc.syntax.names import FUNCTIONS, normalise_name
from rnnc.syntax.parse import parse, parse_expression, read_source
from rnnc.syntax.scan import KEYWORDS, MAX_BYTES, MAX_NESTING

E = parse_expression


def model(text: str) -> tree.Model:
    """The model with the statements ``text``."""
    (only,) = parse(Source(f"model M\n{text}")).models
    return only


def statement(text: str) -> tree.Statement:
    (only,) = model(text).statements
    return only


def errors(text: str) -> list[Diagnostic]:
    with pytest.raises(SpecError) as caught:
        parse(Source(text))
    return list(caught.value.diagnostics)


def error(line: str) -> tuple[int, str]:
    """Column and rendered text of the one error in ``line``, a line of a model."""
    (only,) = errors(f"model M\n{line}")
    assert only.span is not None
    if "\n" not in line:
        assert only.span.line == 2
    return only.span.column, f"{only.message} | {only.hint}"


def show(expr: object) -> str:
    """``expr`` with every bracket that it could have."""
    match expr:
        case tree.Number(value):
            return repr(value)
        case tree.Name(name):
            return name
        case tree.Indexed(name, index):
            return f"{name}[{', '.join(map(show, index))}]"
        case tree.Call(name, over, args, options):
            axes = f"[{', '.join(over)}]" if over else ""
            opts = "".join(
                f"; {o.name}{list(map(show, o.index)) or ''}"
                + (f"={show(o.value)}" if o.value else "")
                for o in options
            )
            return f"{name}{axes}({', '.join(map(show, args))}{opts})"
        case tree.Unary(op, operand):
            return f"({op} {show(operand)})"
        case tree.Binary(op, left, right):
            return f"({show(left)} {op} {show(right)})"
        case tree.Product(factors):
            return f"<{' '.join(map(show, factors))}>"
        case tree.Transpose(operand):
            return f"{show(operand)}.T"
        case tree.Concat(items):
            return f"[{', '.join(map(show, items))}]"
        case tree.Conditional(condition, then, otherwise):
            return f"({show(then)} if {show(condition)} else {show(otherwise)})"
    raise AssertionError(expr)


def nodes(node: object) -> Iterator[object]:
    """``node`` and all nodes below it."""
    if isinstance(node, tuple):
        for item in node:
            yield from nodes(item)
    elif hasattr(node, "__dataclass_fields__") and not isinstance(node, Span | Source):
        yield node
        for field in fields(node):  # type: ignore[arg-type]
            yield from nodes(getattr(node, field.name))


# ---------------------------------------------------------------- the grammar


def test_the_grammar_has_no_conflicts_and_no_colliding_terminals() -> None:
    pytest.importorskip("interegular")
    Lark(grammar_text("rnn.lark"), parser="lalr", start=["statement", "expression"], strict=True)


def test_the_grammar_of_latex_has_no_conflicts_and_no_colliding_terminals() -> None:
    pytest.importorskip("interegular")
    Lark(
        grammar_text("latex.lark"),
        parser="lalr",
        lexer="basic",
        start="equations",
        postlex=Arrange(),
        strict=True,
    )


def test_resources_are_found() -> None:
    assert "statement:" in grammar_text("rnn.lark")
    assert specs_root().is_dir()


# ---------------------------------------------------------------- expressions


PRECEDENCE = {
    # products
    "W x": "<W x>",
    "W x[t]": "<W x[t]>",
    "W U x": "<W U x>",
    "W @ x": "<W x>",
    "W · x": "<W x>",
    "W ⋅ x": "<W x>",
    "W @ U x · y": "<W U x y>",
    "(W U) x": "<<W U> x>",
    "W (U x)": "<W <U x>>",
    "2 x": "<2 x>",
    "2x": "<2 x>",
    "2 x y": "<2 x y>",
    "x @ 2": "<x 2>",
    "W @ -x": "<W (- x)>",
    "W @ -x y": "<W (- x) y>",
    "1e-5x": "<1e-05 x>",
    # brackets that touch, and brackets that do not
    "f(x)": "f(x)",
    "U (r[t] * h[t-1])": "<U (r[t] * h[(t - 1)])>",
    "U(r[t]*h[t-1])": "U((r[t] * h[(t - 1)]))",
    "W [h[t-1], x[t]]": "<W [h[(t - 1)], x[t]]>",
    "sum[t](a[s, t] h[t])": "sum[t](<a[s, t] h[t]>)",
    "sum[t] (x)": "<sum[t] x>",
    "h[t-1](x)": "<h[(t - 1)] x>",
    "mean[batch](x)": "mean[batch](x)",
    "(a)(b)": "<a b>",
    "[a](b)": "<[a] b>",
    "f(x) y": "<f(x) y>",
    "f(x) (y)": "<f(x) y>",
    "W.T(x)": "<W.T x>",
    "W.T[x, y]": "<W.T [x, y]>",
    "f()": "f()",
    "f(a, b,)": "f(a, b)",
    # transposes and powers
    "W.T": "W.T",
    "W.T x": "<W.T x>",
    "Wᵀ x": "<W.T x>",
    "W⊤ x": "<W.T x>",
    "W^⊤ x": "<W.T x>",
    "W'.T": "W'.T",
    "W[t].T": "W[t].T",
    "(A B).T": "<A B>.T",
    "f.c.T": "f.c.T",
    "W.T^2": "(W.T ^ 2)",
    "x^2": "(x ^ 2)",
    "x²": "(x ^ 2)",
    "x⁻¹": "(x ^ (- 1))",
    "x^2^3": "(x ^ (2 ^ 3))",
    "x^-1": "(x ^ (- 1))",
    "x^-y^2": "(x ^ (- (y ^ 2)))",
    "-x^2": "(- (x ^ 2))",
    "x^2 y": "<(x ^ 2) y>",
    "2 x^2": "<2 (x ^ 2)>",
    "W^2 x^2": "<(W ^ 2) (x ^ 2)>",
    "2^x y": "<(2 ^ x) y>",
    # elementwise
    "a * b / c % d": "(((a * b) / c) % d)",
    "a ⊙ b": "(a * b)",
    "a ∘ b × c": "((a * b) * c)",
    "W x * U y": "(<W x> * <U y>)",
    "a * -b": "(a * (- b))",
    "-a * b": "((- a) * b)",
    "-W x": "(- <W x>)",
    "--x": "(- (- x))",
    "a - b": "(a - b)",
    "W -x": "(W - x)",
    "a -b c": "(a - <b c>)",
    "a - -b": "(a - (- b))",
    "a + b - c": "((a + b) - c)",
    "a + b * c": "(a + (b * c))",
    "a − b – c": "((a - b) - c)",
    # conditions
    "a + b < c": "((a + b) < c)",
    "a ≤ b": "(a <= b)",
    "a ≥ b": "(a >= b)",
    "a ≠ b": "(a != b)",
    "not a == b": "(not (a == b))",
    "not not a": "(not (not a))",
    "a and b or c and not d": "((a and b) or (c and (not d)))",
    "a ∧ b ∨ ¬ c": "((a and b) or (not c))",
    "a if c else b": "(a if c else b)",
    "a if c else b if d else e": "(a if c else (b if d else e))",
    "a + 1 if c or d else b": "((a + 1) if (c or d) else b)",
    "f(a if c else b)": "f((a if c else b))",
    "a if(c) else(b)": "(a if c else b)",
    "android ifx": "<android ifx>",
    # calls of layers
    "LSTM(x[t]; m = 64)": "LSTM(x[t]; m=64)",
    "LSTM(x[t]; m = 64, backward)": "LSTM(x[t]; m=64; backward)",
    "LSTM(x; h[0] = f[T], c[0] = f.c[T])": "LSTM(x; h['0']=f[T]; c['0']=f.c[T])",
    "LSTM(; m = 2)": "LSTM(; m=2)",
    # numbers
    "1": "1",
    "1.0": "1.0",
    "1.": "1.0",
    ".5": "0.5",
    "1e3": "1000.0",
    "1E+3": "1000.0",
    "2.5e-3": "0.0025",
    "００１": "1",
    # keywords are names where no statement starts
    "W input[t] + index": "(<W input[t]> + index)",
    "loss(x)": "loss(x)",
}


@pytest.mark.parametrize("text", PRECEDENCE)
def test_precedence(text: str) -> None:
    assert show(E(text)) == PRECEDENCE[text]


def test_whole_numbers_stay_whole() -> None:
    for text, kind in [("2", int), ("2.0", float), ("2e0", float)]:
        number = E(text)
        assert isinstance(number, tree.Number)
        assert type(number.value) is kind
    assert E("9223372036854775807") == tree.Number(2**63 - 1, span=E("0").span)


def test_line_ends_inside_brackets_vanish() -> None:
    assert E("f(a,\n  b)") == E("f(a, b)")
    assert E("f(a,  # why\r\n\n  b)") == E("f(a, b)")
    assert model("y = (a\n + b)\nz = c") == model("y = (a + b)\nz = c")


# ---------------------------------------------------------------- names and pasted characters


NAMES = {
    "α": "alpha",
    "Σ_x": "Sigma_x",
    "σ": "sigma",
    "ς": "sigma",
    "ϵ": "epsilon",
    "ε": "epsilon",
    "ϕ": "phi",
    "Ω": "Omega",
    "µ": "mu",  # the micro sign
    "λ": "lambda",
    "π": "pi",
    "∞": "inf",
    "∂h": "d_h",
    "∂W_f'": "d_W_f'",
    "W′": "W'",
    "W’": "W'",
    "W″": "W''",
    "h₁": "h1",
    "𝐖": "W",
    "ℎ": "h",
    "ｘ": "x",
    "h̃": "h_tilde",
    "ĥ": "h_hat",
    "β1": "beta1",
    "W\u200bx": "Wx",
    "f.α": "f.alpha",
    "h.1.W": "h.1.W",
    "f.T1": "f.T1",
}


@pytest.mark.parametrize("text", NAMES)
def test_unicode_and_ascii_twins_are_one_name(text: str) -> None:
    ascii_name = NAMES[text]
    assert E(text) == E(ascii_name)
    assert normalise_name(text) == ascii_name == normalise_name(ascii_name)
    assert E(f"{text}[t-1] {text} + {text}(x)") == E(
        f"{ascii_name}[t-1] {ascii_name} + {ascii_name}(x)"
    )


def test_pasted_characters_are_taken_for_what_they_look_like() -> None:
    plain = 'model M\nh[t] = tanh(W x[t] - b) * (a <= 1)\nuse X from "x.rnn"\n'
    pasted = (
        "\ufeffmodel\u00a0M\r\n\th［t］\u2003＝ tanh（W\u200b x\u200b[t]\u00ad − b) ＊ "
        "(a\u202f≤ １)\r\nuse X from “x.rnn”"
    )
    assert parse(Source(pasted)) == parse(Source(plain))
    assert parse(Source(plain.replace('"', "'"))) == parse(Source(plain))


def test_spans_are_offsets_into_the_original_text() -> None:
    text = "\ufeff# é\r\nmodel\u00a0M\r\n\tα[t] = (a\u200b − b) * Wᵀ x²  # c\r\n"
    (only,) = parse(Source(text)).models
    (equation,) = only.statements
    assert isinstance(equation, tree.Equation)
    assert equation.span.text == "α[t] = (a\u200b − b) * Wᵀ x²"
    assert (equation.span.line, equation.span.column) == (3, 2)
    assert equation.left[0].span.text == "α[t]"
    right = equation.right
    assert isinstance(right, tree.Binary)
    assert right.span.text == "(a\u200b − b) * Wᵀ x²"
    assert right.left.span.text == "a\u200b − b"
    assert right.right.span.text == "Wᵀ x²"
    assert [n.span.text for n in nodes(right) if isinstance(n, tree.Name)] == ["a", "b", "W", "x"]


def test_every_node_has_its_span() -> None:
    for text in PRECEDENCE:
        for node in nodes(E(text)):
            span = node.span  # type: ignore[attr-defined]
            assert span.source.text == text
            assert 0 <= span.start < span.end <= len(text)
            inner = span.text
            if isinstance(node, tree.Name | tree.Indexed | tree.Call | tree.Concat):
                assert E(inner) == node


# ---------------------------------------------------------------- statements


def test_dim() -> None:
    node = statement("dim n, m = 4*k, k = 2")
    assert isinstance(node, tree.DimStatement)
    assert [(d.name, d.default and show(d.default)) for d in node.dims] == [
        ("n", None),
        ("m", "(4 * k)"),
        ("k", "2"),
    ]
    assert [d.span.text for d in node.dims] == ["n", "m = 4*k", "k = 2"]


def test_axis() -> None:
    assert statement("axis s : S") == statement("axis  s:S")
    text = "axis s : S,  u : T = 3"
    assert model(text).statements == model("axis s : S\naxis u : T = 3").statements
    node = statement("axis s : S = 3")
    assert isinstance(node, tree.AxisStatement)
    assert (node.name, node.length, node.size) == ("s", "S", E("3"))


def test_input() -> None:
    node = statement("input x[t], z[s, t] : [4*m, n], i[t] : index(k), f : flag, g : any, e : []")
    assert isinstance(node, tree.InputStatement)
    x, z, i, f, g, e = node.items
    assert (x.axes, z.axes, f.axes) == (("t",), ("s", "t"), ())
    assert x.type == z.type
    assert isinstance(x.type, tree.ShapeType)
    assert [show(s) for s in x.type.sizes] == ["(4 * m)", "n"]
    assert isinstance(i.type, tree.IndexType)
    assert isinstance(f.type, tree.FlagType)
    assert isinstance(g.type, tree.AnyType)
    assert isinstance(e.type, tree.ShapeType)
    assert e.type.sizes == ()


def test_what_follows_a_group_of_params_belongs_to_all_of_it() -> None:
    node = statement("param W, U : [m, n] ~ normal(0, 0.1), V : [k, m], E ~ orthogonal, b")
    assert isinstance(node, tree.ParamStatement)
    w, u, v, e, b = node.items
    assert w.type == u.type
    assert w.initialiser == u.initialiser == E("normal(0, 0.1)")
    assert isinstance(v.type, tree.ShapeType)
    assert v.initialiser is None
    assert (e.type, e.initialiser) == (None, E("orthogonal"))
    assert (b.type, b.initialiser) == (None, None)
    assert w.span.text == "W"
    assert u.span.text == "U : [m, n] ~ normal(0, 0.1)"


def test_const() -> None:
    node = statement("const p : [m] = 2 ^ floor(arange(m) / 4)")
    assert isinstance(node, tree.ConstStatement)
    assert (node.item.name, show(node.value)) == ("p", "(2 ^ floor((arange(m) / 4)))")
    bare = statement("const p = 1")
    assert isinstance(bare, tree.ConstStatement)
    assert bare.item.type is None


def test_equations_and_boundaries() -> None:
    for text, index in [("h[t]", ["t"]), ("g[T+1]", ["(T + 1)"]), ("h[-1]", ["(- 1)"]), ("c", [])]:
        node = statement(f"{text} = 0")
        assert isinstance(node, tree.Equation)
        assert [show(i) for i in node.left[0].index] == index
    node = statement("(i[t], f[t]) = split(expr, 2)")
    assert isinstance(node, tree.Equation)
    assert [x.name for x in node.left] == ["i", "f"]
    assert node == statement("(i[t],\n f[t],\n) = split(expr, 2)")


def test_target() -> None:
    node = statement("target y[t] : index(k) ~ categorical(p[t]) when m[t] > 0")
    assert isinstance(node, tree.TargetStatement)
    assert (node.item.name, node.item.axes) == ("y", ("t",))
    assert node.distribution == E("categorical(p[t])")
    assert node.when == E("m[t] > 0")
    assert node.item.span.text == "y[t] : index(k)"
    bare = statement("target y[t] : [k]")
    assert isinstance(bare, tree.TargetStatement)
    assert (bare.distribution, bare.when) == (None, None)
    pointer = statement("target y[t] : index(n) ~ categorical[s](a[t, s])")
    assert isinstance(pointer, tree.TargetStatement)
    assert pointer.distribution == E("categorical[s](a[t, s])")


def test_loss_and_metric() -> None:
    assert statement("loss squared_error(a, b)") == statement("loss(squared_error(a, b))")
    named = statement("loss L = a + b")
    assert isinstance(named, tree.LossStatement)
    assert (named.name, named.value) == ("L", E("a + b"))
    unnamed = statement("loss L b")
    assert isinstance(unnamed, tree.LossStatement)
    assert (unnamed.name, show(unnamed.value)) == (None, "<L b>")
    metric = statement("metric acc = mean[t](x[t])")
    assert isinstance(metric, tree.MetricStatement)
    assert metric.name == "acc"


def test_output_use_layer() -> None:
    output = statement("output p, f.c, α")
    assert isinstance(output, tree.OutputStatement)
    assert [n.name for n in output.names] == ["p", "f.c", "alpha"]
    use = statement('use LSTM, GRU from "my cells.rnn"')
    assert isinstance(use, tree.UseStatement)
    assert ([n.name for n in use.names], use.path) == (["LSTM", "GRU"], "my cells.rnn")
    library = statement("use LSTM")
    assert isinstance(library, tree.UseStatement)
    assert library.path is None
    layer = statement("layer enc = LSTM(m = 64, h[0] = q)")
    assert isinstance(layer, tree.LayerStatement)
    assert layer.call == E("LSTM(; m = 64, h[0] = q)")
    assert statement("layer a = LSTM") == statement("layer a = LSTM()")
    assert layer == statement("layer enc = LSTM(; m = 64, h[0] = q)")


LATEX = r"""dim n, m
input x[t] : [n]
param W_f : [m, n], b_f : [m]
$$ f_t = \sigma(W_f x_t % a comment
  + b_f) \\ g^{(t)} &= \tanh(f^{(t-1)}), \quad \text{for all } t $$
y[t] = f[t] ⊙ g[t]"""


def test_latex() -> None:
    """Equations stand in the place of LaTeX, those of plain lines around them."""
    written = model(LATEX)
    assert [type(s).__name__ for s in written.statements] == [
        *("DimStatement", "InputStatement", "ParamStatement"),
        *("Equation", "Equation", "Equation"),
    ]
    equations = [s for s in written.statements if isinstance(s, tree.Equation)]
    assert [(e.left[0].name, show(e.left[0].index[0]), show(e.right)) for e in equations] == [
        ("f", "t", "sigmoid((<W_f x[t]> + b_f))"),
        ("g", "t", "tanh(f[(t - 1)])"),
        ("y", "t", "(f[t] * g[t])"),
    ]
    (note,) = written.notes
    assert (note.span.text, note.message) == (
        r"\text{for all } t",
        r"`\text{for all } t` is not read",
    )


def test_spans_of_latex() -> None:
    f, g, y = model(LATEX).statements[3:]
    assert f.span.text == "f_t = \\sigma(W_f x_t % a comment\n  + b_f)"
    assert g.span.text == r"g^{(t)} &= \tanh(f^{(t-1)})"
    assert y.span.text == "y[t] = f[t] ⊙ g[t]"
    assert isinstance(f, tree.Equation)
    assert isinstance(g, tree.Equation)
    assert [left.span.text for left in (*f.left, *g.left)] == ["f_t", "g^{(t)}"]
    names = [n.span.text for n in nodes(f.right) if isinstance(n, tree.Name | tree.Indexed)]
    assert names == ["W_f", "x_t", "t", "b_f"]
    assert [n.span.text for n in nodes(g.right) if isinstance(n, tree.Indexed)] == ["f^{(t-1)}"]


def test_latex_is_laid_out_as_it_stands() -> None:
    block = "$$\n\\begin{aligned}\n  f_t&=\\sigma( W x_t )\\\\   % a comment\n\n  g_t &=  2f_t\n"
    block += "\\end{aligned}\n$$"
    text = f"model M\ndim n\ninput x[t]:[n]\nparam W:[n,n]\n\n{block}\ny[t]=g[t]\n"
    file = parse(Source(text))
    written = format_file(file, file.source)
    assert block in written
    assert "y[t] = g[t]\n" in written
    again = parse(Source(written))
    assert again == file
    assert format_file(again, again.source) == written


# ---------------------------------------------------------------- functions


def test_the_names_of_functions() -> None:
    """What the reader of LaTeX takes for functions are those of the language."""
    assert frozenset(KNOWN) | {"split"} == FUNCTIONS


def test_functions_by_other_names() -> None:
    given = model(
        "function f = tanh, g = softmax\nh[t] = f(W h[t-1] + g(x[t]))\np[t] = g[t](f(h[t]))\n"
        "h[0] = f(b)\nloss a = mean(f(p[t]))\n$$ q_t = f(W x_t) \\odot \\mathbf{g}(h_t) $$"
    )
    meant = model(
        "h[t] = tanh(W h[t-1] + softmax(x[t]))\np[t] = softmax[t](tanh(h[t]))\n"
        "h[0] = tanh(b)\nloss a = mean(tanh(p[t]))\n"
        "$$ q_t = \\tanh(W x_t) \\odot \\mathrm{softmax}(h_t) $$"
    )
    assert given.statements == meant.statements


CELL = """
model Cell
dim   n, m
input x[t] : [n]
param U : [m, n],  W : [m, m]
function f = tanh, g = softmax
h[t] = f(W h[t-1] + U x[t])
p[t] = g(h[t])
output p

model Net
input  x[t] : [3]
function f = sigmoid
layer  cell = Cell(m = 4)
c[t] = cell(f(x[t]))
y[t] = f(c[t])
"""


def test_functions_of_a_layer_are_its_own() -> None:
    plain = CELL.replace("function f = tanh, g = softmax\n", "").replace(
        "function f = sigmoid\n", ""
    )
    cell, net = plain.split("model Net")
    cell = cell.replace("f(", "tanh(").replace("g(", "softmax(")
    net = net.replace("f(", "sigmoid(")
    assert "f(" not in cell
    meant = rnnc.parse(f"{cell}model Net{net}", model="Net")
    assert str(rnnc.parse(CELL, model="Net")) == str(meant)


def test_a_keyword_that_a_bracket_touches_is_a_name() -> None:
    node = statement("output[t] = W input[t]")
    assert isinstance(node, tree.Equation)
    assert node.left[0].name == "output"
    assert_only_diagnostics("model A\ndim n\ndim[t] = 0\nparam U")


def test_models_and_their_documentation() -> None:
    text = (
        "# not of any model\n\n# About A,\n#\n#  two lines.\nmodel A\nx = 1\n# of x\n\n"
        "model B  # no\n# About C\nmodel C\ny = 2\nz = 3 # end\n"
    )
    a, b, c = parse(Source(text)).models
    assert [m.name for m in (a, b, c)] == ["A", "B", "C"]
    assert [m.doc for m in (a, b, c)] == ["About A,\n\n two lines.", "", "About C"]
    assert [len(m.statements) for m in (a, b, c)] == [1, 0, 2]
    assert c.span.text == "model C\ny = 2\nz = 3"


# ---------------------------------------------------------------- the language page

PAGE = """\
# Elman network: hidden-to-hidden recurrence, an output at every step.
# Goodfellow, Bengio, Courville, Deep Learning, eq. 10.8-10.11.
model Elman

dim    n, k, m = 64
input  x[t] : [n]
param  U : [m, n],  W : [m, m],  V : [k, m]
param  b : [m],  c : [k]

a[t] = b + W h[t-1] + U x[t]
h[t] = tanh(a[t])
o[t] = c + V h[t]
p[t] = softmax(o[t])

target y[t] : index(k) ~ categorical(p[t])
output p
"""
CHAR_RNN = """\
model CharRNN
use    LSTM
dim    vocab, d = 32, m = 256
param  E : [vocab, d],  V : [vocab, m],  c : [vocab]
y[0] = 0
h[t] = LSTM(E[y[t-1]]; m = m)
p[t] = softmax(V h[t] + c)
target y[t] : index(vocab) ~ categorical(p[t])
output p
"""
LAYERS = """\
model Layers
f[t] = LSTM(x[t]; m = 64)                    # weights are named f.W_f, f.U_f, ...
g[t] = LSTM(x[t]; m = 64, backward)          # runs from T to 1
h[t] = LSTM([f[t], g[t]]; m = 64, depth = 3) # three stacked
d[s] = LSTM(E[y[s-1]]; m = 64, h[0] = f[T], c[0] = f.c[T])   # starts where the encoder ended
(h[t], c[t]) = LSTM(x[t])                    # several outputs; weights under the first name
k[t] = LSTM(x[t]; over = t)
"""
STATEMENTS = """\
model Statements
dim n, m = 128
axis s : S
axis u : T
axis v : V = 3
input x[t] : [n]
param W, U : [m, n] ~ normal(0, 0.1)
param A : [m, m] ~ identity, B : [m, m] ~ uniform(-1/sqrt(m), 1/sqrt(m)), r ~ constant(0.5)
const p : [m] = 2 ^ floor(arange(m) / 4)
h[t] = expr
h[0] = expr
g[T+1] = expr
h[-1] = expr
s[t, 0] = s[t-1, J]
(i[t], f[t]) = split(expr, 2)
target y[t] : index(k) ~ categorical(p[t]) when m[t]
loss expr
loss L = expr
metric name = expr
output p, h
use LSTM, GRU from "cells.rnn"
layer enc = LSTM(m = 64)
$$ f_t = \\sigma_g(W_f x_t + U_f h_{t-1} + b_f) $$
q[t] = W [h[t-1], x[t]]
k[t] = where((t - 1) % p == 0, new[t], h[t-1])
c = sum[t](h[t]) / T
e[s, t] = dot(v, tanh(Q d[s-1] + R h[t]))
z[s] = sum[t](a[s, t] h[t])
b[t] = mean[batch](W x[t] + W @ x[t] + W · x[t])
l = (a ⊙ b) * W.T Wᵀ if training and not (x == 1 or y != 2) else -x^2 % 3
A'[t] = U(r[t] * h[t-1])
"""


@pytest.mark.parametrize("text", [PAGE, CHAR_RNN, LAYERS, STATEMENTS])
def test_the_language_page(text: str) -> None:
    file = parse(Source(text))
    once = format_file(file, file.source)
    again = parse(Source(once))
    assert again == file
    assert format_file(again, again.source) == once


def test_the_language_page_in_detail() -> None:
    (elman,) = parse(Source(PAGE)).models
    assert elman.doc.startswith("Elman network: hidden")
    assert elman.doc.count("\n") == 1
    assert [type(s).__name__ for s in elman.statements] == [
        *("DimStatement", "InputStatement", "ParamStatement", "ParamStatement"),
        *("Equation",) * 4,
        *("TargetStatement", "OutputStatement"),
    ]
    equation = elman.statements[4]
    assert isinstance(equation, tree.Equation)
    assert show(equation.right) == "((b + <W h[(t - 1)]>) + <U x[t]>)"


# ---------------------------------------------------------------- messages

MESSAGES = [
    ("params W : [m]", 1, "did you mean `param`"),
    ("weights W : [m]", 1, "did you mean `param`"),
    ("Output p", 1, "did you mean `output`"),
    ("foo bar", 1, "unknown statement `foo`"),
    ("o[t] = a +", 11, "expected a value after `+`, found the end of the line"),
    ("o[t] =", 7, "expected a value after `=`, found the end"),
    ("o[t]", 5, "expected `=`"),
    ("o[t] == 3", 6, "an equation has a single `=`"),
    ("o[t] : 3", 6, "expected `=`, found `:`"),
    ("o[t] ~ normal(0, 1)", 6, "write `target"),
    ("o[t] := 3", 6, "expected `=`, found `:`"),
    ("y = a < b < c", 11, "do not chain"),
    ("y = a if b = c else d", 12, "to compare write `==`"),
    ("y = where(a = b, c, d)", 13, "`==`"),
    ("y = LSTM(x, m = 3)", 15, "follow a `;`"),
    ("y = (a = b)", 8, "to compare write `==`"),
    ("y = a = b", 7, "a second `=`"),
    ("y = a if b", 11, "no `else`"),
    ("y = f(a if b)", 13, "no `else`"),
    ("y = f(x", 6, "this `(` is never closed"),
    ("y = f(x]", 8, "expected `)` here, found `]`"),
    ("y = f(x))", 9, "this `)` closes nothing"),
    ("y = x 2", 7, "an operator is missing before `2`"),
    ("y = a ** 2", 8, "`x^2`"),
    ("y = a + * b", 9, "expected a value after `+`, found `*`"),
    ("y = + a", 5, "needs a value on its left"),
    ("y = [a][b]", 7, "only a name takes an index"),
    ("y = f(x)[t]", 8, "only a name takes an index"),
    ("y = []", 6, "expected a value after `[`"),
    ("y = f(,)", 7, "expected a value after `(`, found `,`"),
    ("y = h[]", 7, "expected a value after `[`"),
    ("y = 1_000", 5, "not grouped"),
    ("y = 1e999", 5, "too large"),
    ("y = 1e-999", 5, "too small"),
    ("y = 9223372036854775808", 5, "too large"),
    ("y = а + 1", 5, "cyrillic small letter a"),
    ("y = ½", 5, "cannot be part of a name"),
    ("y = a & b", 7, "write the word `and`"),
    ("y = |x|", 5, "`abs(x)`"),
    ("y = {a}", 5, "round brackets group"),
    ("y = \\tanh(x)", 5, "between `$$` and `$$`"),
    ("y = $x$", 5, "between `$$` and `$$`"),
    ("y = !a", 5, "no operator"),
    ("y = √(x)", 5, "`sqrt(x)`"),
    ('y = "a"', 5, 'found `"a"`'),
    ('y = "a', 5, "in quotes"),
    ("y = W if", 9, "expected a value after `if`"),
    ("if[t] = 3", 1, "word of the language"),
    ("dim if = 3", 5, "word of the language"),
    ("loss = 3", 1, "`loss L = expr`"),
    ("dim = 3", 1, "cannot be defined"),
    ("loss L[t] = 3", 11, "takes no index"),
    ("metric 3", 8, "expected a name after `metric`, found `3`"),
    ("param W [m, n]", 9, "expected `:` before the size"),
    ("param W[m, n]", 8, "expected `:` before the size"),
    ("param W : m", 11, "expected a type, found `m`"),
    ("param W = 3", 9, "`const`"),
    ("input x[t] [n]", 12, "expected `:` before the type"),
    ("input x[t] ~ normal(0, 1)", 12, "`target`"),
    ("input x[1] : [n]", 9, "expected a name after `[`, found `1`"),
    ("output p[t]", 9, "without brackets"),
    ("output p + q", 10, "give the expression a name"),
    ("use X from x.rnn", 12, "a file name in double quotes"),
    ("axis s", 7, "expected `:`"),
    ("axis s : 3", 10, "expected a name after `:`, found `3`"),
    ("layer a = 3", 11, "expected a name"),
    ("model", 6, "expected a name after `model`"),
    ("+ 3", 1, "a statement cannot begin with `+`"),
    ("3 = x", 1, "a statement cannot begin with `3`"),
    ("$$ a = b", 1, "`$$` that ends this equation is missing"),
    ("$$ a = b $$ c", 13, "the end of the line, found `c`"),
    ("x = a; y = b", 6, "expected"),
]


@pytest.mark.parametrize(("line", "column", "words"), MESSAGES, ids=[m[0] for m in MESSAGES])
def test_messages(line: str, column: int, words: str) -> None:
    at, text = error(line)
    assert words in text
    assert at == column
    # No name of a terminal shows.
    assert not any(name in text for name in ("NAME", "LPAR", "RSQB", "$END", "Token"))


def test_all_errors_of_a_file_are_collected() -> None:
    text = (
        "model A\nparams W : [m]\nh[t] = tanh(x[t]\no[t] = a b +\nq = (a\n  b\n"
        "param W : [m]\ny = a)\nz = c\n"
    )
    found = errors(text)
    assert [d.span.line for d in found if d.span] == [2, 3, 4, 5, 8]
    assert {d.code for d in found} == {"RNN001"}


def test_an_unclosed_bracket_ends_where_a_statement_starts() -> None:
    # Options and continued products are no statements.
    fine = "h[t] = LSTM(x[t];\n  m = 3,\n  h[0] = q\n)\ny = f(a,\n  loss, b,\n  input\n  x)"
    assert len(model(fine).statements) == 2
    (only,) = errors("model A\nh[t] = LSTM(x[t]; m = 3\no[t] = b\n")
    assert only.message == "this `(` is never closed"
    assert only.span is not None
    assert only.span.line == 2


def test_a_wrong_closing_bracket_shows_the_opening_one() -> None:
    (only,) = errors("model A\ny = f(a, [b)\n")
    assert only.labels[0].span.column == 10


def test_no_model() -> None:
    for text in ["", " \n\t\n", "\ufeff", "# only a comment"]:
        (only,) = errors(text)
        assert (only.code, "no model" in only.message) == ("RNN001", True)
        only.render()
    (only,) = errors("x = 1\nmodel A\n")
    assert only.span is not None
    assert (only.span.start, "before any model" in only.message) == (0, True)


def test_expressions_alone() -> None:
    for text in ["", "a b = c", "a)", "a\nb", "model A"]:
        if text == "model A":
            assert show(E(text)) == "<model A>"
            continue
        with pytest.raises(SpecError):
            E(text)


# ---------------------------------------------------------------- files


def test_read_source(tmp_path: Path) -> None:
    path = tmp_path / "a.rnn"
    path.write_bytes(b"\xef\xbb\xbfmodel A\r\nx = 1\r\n")
    assert parse(read_source(path)).models[0].name == "A"
    for name in ["missing.rnn", ".", "a\0b", "a.rnn/b"]:
        with pytest.raises(UsageError):
            read_source(tmp_path / name)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"model A\nx = \xff", "RNN003"),
        ("model A\n".encode("utf-16"), "RNN003"),
        (b"model A\n\0", "RNN003"),
        (b"\x89PNG\r\n\x1a\n\0", "RNN003"),
        (b"model A\nx = \x1b[31m", "RNN003"),
        (b"#" * (MAX_BYTES + 1), "RNN002"),
    ],
)
def test_files_that_hold_no_spec(tmp_path: Path, data: bytes, code: str) -> None:
    path = tmp_path / "a.rnn"
    path.write_bytes(data)
    with pytest.raises(SpecError) as caught:
        read_source(path)
    assert [d.code for d in caught.value.diagnostics] == [code]
    assert str(caught.value).startswith(f"error[{code}]")


# ---------------------------------------------------------------- hostile input

_BIG = 2**20
HOSTILE = {
    "5,000 brackets": "(" * 5000 + "a" + ")" * 5000,
    "nested calls": "f(" * 201 + "a" + ")" * 201,
    "a long sum": " + ".join("a" * 50_000),
    "a sum of 4,900": " + ".join("a" * 4900),
    "a long product": " ".join("a" * 9000),
    "a long power": "^".join("a" * 4000),
    "signs": "-" * 9000 + "a",
    "not": "not " * 9000 + "a",
    "transposes": "a" + ".T" * 4000,
    "conditions": "a if b else " * 1500 + "a",
    "a long name": "a" * _BIG,
    "a long number": "1" * 100_000,
    "opening": "[" * _BIG,
    "closing": "]" * _BIG,
    "commas": "f(" + "," * _BIG,
    "quotes": '"' * _BIG,
    "primes": "a" + "'" * _BIG,
    "dots": "a." * _BIG,
    "points": "5." * _BIG,
    "signs without meaning": "?" * _BIG,
    "dollars": "$" * _BIG,
    "zero width": "a" + "\u200b" * _BIG + "b c 2",
    "accents": "a" + "\u0303" * _BIG,
    "lines": "\n? ?" * _BIG,
    "unclosed": "\nx = (" * 300_000,
    "lines of options": "f(;\n" + "a[t],\n" * 30_000,
    "NUL": "\0",
    "surrogate": "\ud800",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_input_ends_in_a_diagnostic(name: str) -> None:
    E("a")  # the parser is built
    start = time.perf_counter()
    found = errors(f"model A\nx = {HOSTILE[name]}")
    assert all(d.code in CODES for d in found)
    rendered = "\n".join(d.render() for d in found[:3])
    assert time.perf_counter() - start < 3  # under 1 s where nothing else runs
    assert len(rendered) < 5000


def test_what_is_not_too_deep_passes() -> None:
    deep = MAX_NESTING - 1
    for text in [
        "(" * deep + "a" + ")" * deep,
        " + ".join("a" * deep),
        "f(" * 150 + "a" + ")" * 150,
    ]:
        expr = E(text)
        assert E(format_expression(expr)) == expr
        file = parse(Source(f"model A\nx = {text}"))
        assert parse(Source(format_file(file, file.source))) == file
        hash(expr)
        repr(expr)


TOKENS = [
    *(*KEYWORDS, "from", "when", "if", "else", "and", "or", "not", "index", "flag", "any"),
    *"()[]=+-*/%^@·~:,;.'$\"#{}|!?\n\r\t \u00a0\u200b\ufeff",
    *("x", "W'", "α", "∂h", "h[t", "f(", "](", ")[", "][", ".T", "ᵀ", "²", "2", ".5", "1e", "1_"),
    *("$$", "==", "<=", "≤", "−", "№", "é", "\u0303", "\n", "\n", " ", " ", "model A\n"),
    *("h[t] = ", "“"),
]


def assert_only_diagnostics(text: str) -> None:
    try:
        file = parse(Source(text))
    except SpecError as caught:
        for diagnostic in caught.diagnostics:
            assert diagnostic.span is not None
            assert 0 <= diagnostic.span.start <= diagnostic.span.end <= len(text)
            diagnostic.render()
            diagnostic.as_dict()
    else:
        once = format_file(file, file.source)
        again = parse(Source(once))
        assert again == file
        assert format_file(again, again.source) == once


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
def test_random_text_gives_diagnostics(text: str) -> None:
    assert_only_diagnostics(text)
    assert_only_diagnostics(f"model A\nx = {text}")


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=25).map("".join))
def test_random_tokens_give_diagnostics(text: str) -> None:
    assert_only_diagnostics(f"model A\n{text}")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_spoiled_spec_gives_diagnostics(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([PAGE, LAYERS, STATEMENTS]))
    at = data.draw(st.integers(0, len(text)))
    to = data.draw(st.integers(at, min(len(text), at + 6)))
    put = data.draw(st.sampled_from(["", *TOKENS]))
    assert_only_diagnostics(text[:at] + put + text[to:])


# ---------------------------------------------------------------- layout

_SPAN = Span(Source(""), 0, 0)
_names = st.sampled_from(["a", "b_1", "W'", "f.c", "x", "alpha", "T", "t", "index", "model"])
_numbers = st.one_of(
    st.integers(0, 2**63 - 1), st.floats(1e-300, 1e300), st.just(0.0), st.just(1e-5)
)
_leaves: st.SearchStrategy[tree.Expr] = st.one_of(
    st.builds(tree.Name, _names, span=st.just(_SPAN)),
    st.builds(tree.Number, _numbers, span=st.just(_SPAN)),
)


def _several(
    inner: st.SearchStrategy[tree.Expr], least: int = 1
) -> st.SearchStrategy[tuple[tree.Expr, ...]]:
    return st.lists(inner, min_size=least, max_size=3).map(tuple)


def _larger(inner: st.SearchStrategy[tree.Expr]) -> st.SearchStrategy[tree.Expr]:
    span = st.just(_SPAN)
    operators = st.sampled_from([*"+-*/%^<>", "==", "!=", "<=", ">=", "and", "or"])
    options = st.builds(tree.Option, _names, _several(inner, 0), inner, span=span) | st.builds(
        tree.Option, _names, st.just(()), st.none(), span=span
    )
    axes = st.sampled_from([(), ("t",), ("s", "t")])
    return st.one_of(
        st.builds(tree.Indexed, _names, _several(inner), span=span),
        st.builds(
            tree.Call,
            _names,
            axes,
            _several(inner, 0),
            st.lists(options, max_size=2).map(tuple),
            span=span,
        ),
        st.builds(tree.Unary, st.sampled_from(["-", "not"]), inner, span=span),
        st.builds(tree.Binary, operators, inner, inner, span=span),
        st.builds(tree.Product, _several(inner, 2), span=span),
        st.builds(tree.Transpose, inner, span=span),
        st.builds(tree.Concat, _several(inner), span=span),
        st.builds(tree.Conditional, inner, inner, inner, span=span),
    )


expressions = st.recursive(_leaves, _larger, max_leaves=12)


@settings(max_examples=300, deadline=None)
@given(expressions)
def test_expressions_survive_being_written(expr: tree.Expr) -> None:
    text = format_expression(expr)
    assert text.isascii()
    assert E(text) == expr
    assert format_expression(E(text)) == text


@settings(max_examples=100, deadline=None)
@given(expressions, st.randoms())
def test_files_survive_being_laid_out(expr: tree.Expr, random: object) -> None:
    text = f"model A\ny = {format_expression(expr)} # c\n"
    # Break lines and add comments after commas, which stand inside brackets here.
    text = "".join(
        c + random.choice(["", "\n", "  # why\n", "\n\n\n#x\n"]) if c == "," else c  # type: ignore[attr-defined]
        for c in text
    )
    assert_only_diagnostics(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a*(b)", "a * b"),
        ("(a b) c", "(a b) c"),
        ("a (b c)", "a (b c)"),
        ("W@x", "W x"),
        ("x@2", "x @ 2"),
        ("h[ t - 1 ]", "h[t-1]"),
        ("h[a if b else c]", "h[a if b else c]"),
        ("-(a b)^2", "-(a b)^2"),
        ("(-a)^2", "(-a)^2"),
        ("a^(-2)", "a^-2"),
        ("a-(b-c)", "a - (b - c)"),
        ("(a-b)-c", "a - b - c"),
        ("(a<b)==c", "(a < b) == c"),
        ("(a if b else c) + 1", "(a if b else c) + 1"),
        ("(a if b else c) if d else e", "(a if b else c) if d else e"),
        ("LSTM(x;m=3,backward,h[0]=q)", "LSTM(x; m = 3, backward, h[0] = q)"),
        ("Wᵀ σ(α ⊙ β)", "W.T sigma(alpha * beta)"),
        ("sum[t](x)", "sum[t](x)"),
        ("(W x).T", "(W x).T"),
        ("not(a and b)", "not (a and b)"),
    ],
)
def test_expressions_as_text(text: str, expected: str) -> None:
    assert format_expression(E(text)) == expected


def test_layout() -> None:
    text = (
        "\n\n#doc\nmodel A\n\n\n\n  dim n,m=128\ninput  x[t]:[n ,4 * m]#the input\n"
        "param U:[m,n]~normal(0,0.1),W , V:[m , m]  # weights\r\n"
        "h[t]=tanh(W   [ h[t - 1],x[t] ] −b*-c^ 2)   \n"
        "y[t]=where( a[t]==b,# first\n#alone\n\n\n   f(x,\n y),\n  2x)\n"
        "w = f(\na,\n b;m=3\n)\n(a[t],b[t])=split(x,2)\n"
        "target y[t]:index(k)~categorical[s](p[t])when m[t]\n"
        "$$ a_t  =  b $$\nuse X from ‘a.rnn’\noutput p,α # end\n\n"
    )
    expected = """\
# doc
model A

dim   n, m = 128
input x[t] : [n, 4*m]                              # the input
param U : [m, n] ~ normal(0, 0.1),  W, V : [m, m]  # weights
h[t] = tanh(W [h[t-1], x[t]] - b * -c^2)
y[t] = where(a[t] == b,  # first
             # alone

             f(x,
               y),
             2 x)
w = f(
    a,
    b; m = 3
)
(a[t], b[t]) = split(x, 2)
target y[t] : index(k) ~ categorical[s](p[t]) when m[t]
$$ a_t  =  b $$
use    X from "a.rnn"
output p, α  # end
"""
    file = parse(Source(text))
    assert format_file(file, file.source) == expected
    again = parse(Source(expected))
    assert again == file
    assert format_file(again, again.source) == expected


def test_the_layout_of_the_language_page_is_canonical() -> None:
    for text in [PAGE, CHAR_RNN]:
        file = parse(Source(text))
        # The page sets every keyword of a block to one width; within each block this is so too.
        assert format_file(file, file.source).split() == text.split()


def test_every_greek_letter_has_a_name() -> None:
    for letter in "αβγδεζηθικλμνξοπρστυφχψω":
        for c in (letter, letter.upper()):
            name = unicodedata.name(c).split()[-1].replace("LAMDA", "LAMBDA").lower()
            assert normalise_name(c) == (name if c.islower() else name.capitalize())
