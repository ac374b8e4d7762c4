r"""``rnnc import``: what is an equation of a document, and the specs that are drafted from some."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rnnc
from rnnc.cli import main
from rnnc.draft.document import equations_of
from rnnc.runtime.reference import evaluate
from rnnc.testing import random_data, random_weights
from tests.documents import BLOCKS, Block, all_values

TRAINED = "what is it trained on? It has no target and no loss"
NETWORKS = r"""# Networks
## [The *simple* one](https://example.org/elman) of $$x_t$$
$$ h_t = \tanh(W x_t + U h_{t-1}) $$
$$
y_t = V h_t
$$
## **Gated**
$$ z_t = \sigma(W_z x_t) $$
$$ h_t = (1 - z_t) * h_{t-1} + z_t * \tanh(W x_t) $$
$$ h_t = z_t + \nonsense{x} $$
## Repeated
$$ z_t = \sigma(W_z x_t) $$
"""
OPEN = "\n$$ h_t = f(U x_t + W h_{t-1}) $$\n$$ o_t = g(V h_t) $$\n"
LEAKY = r"$$ h_t = (1 - \alpha) h_{t-1} + \alpha \tanh(W h_{t-1} + U x_t + b) $$"
MATRIX = r"$$ C_t = f_t C_{t-1} + i_t v_t k_t^\top $$"
ATTENTION = r"""\begin{align*}
e_{ij} &= v_a^\top \tanh(W_a s_{i-1} + U_a h_j) \\
\alpha_{ij} &= \frac{\exp(e_{ij})}{\sum_{k=1}^{T_x} \exp(e_{ik})} \\
c_i &= \sum_{j=1}^{T_x} \alpha_{ij} h_j \\
s_i &= \tanh(W s_{i-1} + C c_i)
\end{align*}"""


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Runner = Callable[..., Ran]


@pytest.fixture
def rnn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Runner:
    """Runs a command line in a folder with a document."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RNNC_DEBUG", raising=False)
    Path("paper.md").write_text(NETWORKS, encoding="utf-8")

    def run(*argv: object) -> Ran:
        code = main([str(a) for a in argv])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Ran(code, out, err)

    return run


def drafted(rnn: Runner, document: str, *declared: str) -> dict[str, Any]:
    """What ``--format json`` tells of a draft, questions by name; the spec lies in cell.rnn."""
    Path("cell.md").write_text(document, encoding="utf-8")
    Path("cell.rnn").unlink(missing_ok=True)
    options = [word for statement in declared for word in ("--declare", statement)]
    ran = rnn("import", "cell.md", "-o", "cell.rnn", "--format", "json", *options)
    assert (ran.code, ran.err) == (0, "")
    made = json.loads(ran.out)
    assert made["text"] == Path("cell.rnn").read_text(encoding="utf-8")
    return made | {"asked": {q["name"]: q["text"] for q in made["questions"]}}


def shapes(text: str) -> dict[str, str]:
    """The shapes of inputs and parameters, as they are written."""
    found = re.findall(r"^(?:input|param) +(.*?) : (\[.*?\]|index\(.*?\))$", text, re.MULTILINE)
    return {name: shape for names, shape in found for name in names.split(", ")}


# ---------------------------------------------------------------- what is an equation

ENVIRONMENTS = ["equation", "align", "alignat", "gather", "eqnarray", "multline", "flalign"]
OPENINGS = [("$$", "$$"), ("$$\n", "\n$$"), ("\\[\n", "\\]"), ("```math\n", "\n```")]
OPENINGS += [
    (f"\\begin{{{name}}}{'{2}' * name.startswith('alignat')}\n", f"\n\\end{{{name}}}")
    for name in (*ENVIRONMENTS, *(f"{e}*" for e in ENVIRONMENTS), "displaymath")
]


@pytest.mark.parametrize(("before", "after"), OPENINGS)
def test_delimiters(before: str, after: str) -> None:
    """Each of them sets an equation of two lines, which what follows does not disturb."""
    (found, other) = equations_of(f"$$x$$ is\n\n{before}h_t = W x_t\n + b{after}\n\n\\[ y = 1 \\]")
    assert (found.number, found.line, found.defines) == (1, 3, ("h[t]",))
    assert [found.latex, other.latex] == ["h_t = W x_t\n + b", "y = 1"]


def test_code_is_skipped() -> None:
    document = (
        "# Title\n```python\n# a comment\n$$ a_t = x_t $$\n\\[ b = 1 \\]\n```\n~~~\n## a comment\n"
        "$$ c_t = x_t $$\n```\n~~~\n$$ d_t = x_t $$\n```math\ne_t = 1\n```\n"
    )
    found = [(f.heading, f.line, f.latex) for f in equations_of(document)]
    assert found == [("Title", 12, "d_t = x_t"), ("Title", 13, "e_t = 1")]


def test_headings() -> None:
    """What they say, without marks, links and emphasis; and lines that are none."""
    headings = {
        "###### Deep ######": "Deep",
        "   ## **Gated** and *simple* units": "Gated and simple units",
        "# The [GRU](https://example.org/a#b) of __cells__": "The GRU of cells",
        "#hashtag": "The GRU of cells",
        "    # Indented code": "The GRU of cells",
        r"\subsection*{Recurrent nets}": "Recurrent nets",
    }
    found = equations_of("$$ a = 1 $$\n" + "".join(f"{line}\n$$ b = 1 $$\n" for line in headings))
    assert [f.heading for f in found] == ["", *headings.values()]


def test_lines_and_names() -> None:
    document = (
        "One.\n\n\\begin{align}\na_t &= x_t \\\\[2pt] % the first\nb_t &= 2 a_t \\nonumber \\\\\n"
        "(c_t, d_t) &= \\mathrm{cell}(x_t)\n\\end{align}\n\n"
        "$$ \\hat{y}'_t \\gets x_t $$ $$ \\alpha $$ $$ W := V $$\n"
    )
    found = equations_of(document)
    assert [(f.line, f.defines) for f in found] == [
        (3, ("a[t]", "b[t]", "c[t]", "d[t]")),
        (9, ("y_hat'[t]",)),
        (9, ("W",)),
    ]
    assert "the first" not in found[0].latex


def test_unreadable() -> None:
    """They are equations with a reason, and those around them are found."""
    problems = {
        "a = 1": "",
        r"h_t = \nonsense{x}": r"unknown command `\nonsense`",
        r"h_t = \frac{a}{": "this `{` is never closed",
        "= x_t": "the left side of the equation is missing",
        "h_t =": "the equation ends where a value should follow",
        "b = 1": "",
    }
    found = equations_of("\n".join(f"$$ {equation} $$" for equation in problems))
    assert {f.latex: f.problem for f in found} == problems
    assert [f.defines for f in found] == [("a",), (), (), (), (), ("b",)]


@pytest.mark.parametrize(
    "opening",
    ["$$", r"\[ a = 1", r"\begin{align} a = 1", "```math\n", "```\n", "~~~ math\n", "# a"],
)
def test_unclosed(opening: str) -> None:
    """What is never closed is no equation, hides none, and is looked at once."""
    start = time.perf_counter()
    few = opening if opening.startswith("\\") else "text"
    found = equations_of(f"{few}\n$$ b = 1 $$\n" + f"{opening}\n" * 20_000)
    assert [f.latex for f in found] == ["b = 1"]
    assert time.perf_counter() - start < 2


# ---------------------------------------------------------------- drafts of known networks


same = partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12)


def each(names: str, shape: str) -> dict[str, str]:
    """This shape for each name."""
    return dict.fromkeys(names.split(), shape)


X = {"x[t]": "[n]"}
GATES = X | each("W_f W_i W_o W_c", "[m, n]") | each("b_f b_i b_o b_c", "[m]")
ELMAN = X | {"U": "[m, n]", "W": "[m, m]"}
DRAFTS = {
    "LSTM with a forget gate": GATES | each("U_f U_i U_o U_c", "[m, m]"),
    "LSTM with peepholes": GATES | each("U_f U_i U_o", "[m, m]"),
    "GRU": X | each("W_z W_r W", "[m, n]") | each("U_z U_r U", "[m, m]"),
    "GRU, concatenated": X | each("W_z W_r W", "[m, m+n]"),
    "the simple network, superscripts": ELMAN | {"V": "[k, m]", "b": "[m]", "c": "[k]"},
    "minGRU": X | each("W_z W_h", "[m, n]"),
    # nothing says that both directions have one size
    "both directions": ELMAN | {"V": "[l, m]", "U'": "[k, n]", "W'": "[k, k]", "V'": "[l, k]"},
}
MIN_GRU = r"""$$ z_t = \sigma(W_z x_t) $$ $$ \tilde h_t = W_h x_t $$
$$ h_t = (1 - z_t) \odot h_{t-1} + z_t \odot \tilde h_t $$"""
BOTH = r"""\[ A_t = \tanh(W A_{t-1} + U x_t) \] \[ A'_t = \tanh(W' A'_{t+1} + U' x_t) \]
\[ \hat y_t = \mathrm{softmax}(V A_t + V' A'_t) \]"""
SIZES, DIRECTIONS = {"n": 3, "m": 4, "k": 5}, {"A": "A", "A'": "A'", "y_hat": "p"}
KNOWN = {b.what: b for b in BLOCKS} | {
    "minGRU": Block("", "", MIN_GRU, "", "MinGRU", {"h": "h", "z": "z", "h_tilde": "g"}),
    "both directions": Block("", "", BOTH, "", "Bidirectional", DIRECTIONS, sizes=SIZES),
}


@pytest.mark.parametrize("what", DRAFTS)
def test_draft_is_the_library(rnn: Runner, what: str) -> None:
    """The shapes are told as they are, and the values are those of the library's network."""
    block = KNOWN[what]
    made = drafted(rnn, block.latex)
    assert shapes(made["text"]) == DRAFTS[what]
    assert made["asked"] == {"": TRAINED}

    own = {"n": 3, "m": 4, "k": 4, "l": 5} if what == "both directions" else block.sizes
    sizes = [word for n, size in own.items() for word in ("--set", f"{n}={size}")]
    assert rnn("check", "cell.rnn", *sizes).code == 0
    spec, library = rnnc.load("cell.rnn", **own), rnnc.load(block.library, **block.sizes)
    weights = random_weights(library, seed=3, noise=0.3)
    data = random_data(library, 3, 5, seed=4)
    want = all_values(library, {**data, **weights}, 5, 3)
    got = all_values(spec, {"x": data["x"], **{n: weights[n] for n in spec.shapes}}, 5, 3)
    for ours, theirs in block.values.items():
        same(got[ours], want[theirs])


def test_attention(rnn: Runner) -> None:
    r"""Its steps are counted by i and j, and ``T_x`` is a length."""
    text = drafted(rnn, ATTENTION)["text"]
    assert shapes(text) == {"h[j]": "[n]", "W_a": "[l, m]", "U_a": "[l, n]", "v_a": "[l]"} | {
        "W": "[m, m]", "C": "[m, n]",
    }  # fmt: skip
    axes = re.findall(r"^axis +(\w) : (\w+)$", text, re.MULTILINE)
    assert dict(axes) == {"i": "I", "j": "T_x", "k": "T_x"}
    spec = rnnc.load("cell.rnn", n=3, m=4, l=2)
    w = random_weights(spec, noise=0.3)
    h = np.random.default_rng(1).standard_normal((2, 5, 3))
    s = [np.zeros((2, 4))]
    for _ in range(3):
        e = np.tanh((s[-1] @ w["W_a"].T)[:, None] + h @ w["U_a"].T) @ w["v_a"]
        a = np.exp(e) / np.exp(e).sum(1, keepdims=True)
        s.append(np.tanh(s[-1] @ w["W"].T + np.einsum("bj,bjn->bn", a, h) @ w["C"].T))
    got = evaluate(spec.bound, {"h": h, **w}, lengths={"i": 3}, wanted=["s"])["s"]
    same(got, np.stack(s[1:], 1))


def test_matrix_state(rnn: Runner) -> None:
    r"""With gates that are numbers the state of ``v_t k_t^\top`` is a matrix."""
    told = shapes(drafted(rnn, MATRIX, "input f[t], i[t] : []")["text"])
    assert told["v[t]"] != told["k[t]"]
    spec = rnnc.load("cell.rnn", **{told["v[t]"][1:-1]: 2, told["k[t]"][1:-1]: 3})
    data = random_data(spec, 2, 4)
    states = [np.zeros((2, 2, 3))]
    for f, i, v, k in zip(*(np.moveaxis(data[n], 1, 0) for n in "fivk"), strict=True):
        new = i[:, None, None] * v[:, :, None] * k[:, None, :]
        states.append(f[:, None, None] * states[-1] + new)
    same(evaluate(spec.bound, data)["C"], np.stack(states[1:], 1))


def test_leaky_integrator(rnn: Runner) -> None:
    r"""``\alpha`` is guessed to be a number, and asked for."""
    made = drafted(rnn, LEAKY)
    assert shapes(made["text"]) == ELMAN | {"b": "[m]", "alpha": "[]"}
    assert made["asked"] == {"alpha": "alpha is taken for a number", "": TRAINED}
    spec = rnnc.load("cell.rnn", n=3, m=4)
    w, data = random_weights(spec, noise=0.3), random_data(spec, 2, 4)
    h = [np.zeros((2, 4))]
    for x in np.moveaxis(data["x"], 1, 0):
        new = np.tanh(h[-1] @ w["W"].T + x @ w["U"].T + w["b"])
        h.append((1 - w["alpha"]) * h[-1] + w["alpha"] * new)
    same(evaluate(spec.bound, {**data, **w})["h"], np.stack(h[1:], 1))


# ---------------------------------------------------------------- questions


def test_what_is_guessed(rnn: Runner) -> None:
    """Softmax where nothing reads the result, else tanh; told in the file and on stdout, too."""
    made = drafted(rnn, OPEN)
    f, g = "which function is f? tanh, for now", "which function is g? softmax, for now"
    assert made["asked"] == {"f": f, "g": g, "": TRAINED}
    assert (made["model"], made["diagnostics"]) == ("Cell", [])
    assert "\nfunction f = tanh, g = softmax\n" in made["text"]
    assert made["text"].startswith("# Equations of cell.md (lines 2 to 3), with ")

    Path("cell.rnn").unlink()
    ran = rnn("import", "cell.md", "-o", "cell.rnn")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("wrote cell.rnn: Cell, of 2 equations (1, 2)\n\n3 questions, ")
    assert made["text"] == Path("cell.rnn").read_text(encoding="utf-8")
    for question in made["questions"]:
        assert f"\n# ? {question['text']}\n" in made["text"]
        assert f"  {question['text']}\n      --declare '{question['answer']}'\n" in ran.out


ANSWERS = [
    (r"$$ h_t = \lambda h_{t-1} + W x_t $$", [], {"lambda", ""}, {"lambda": "[]"}),
    (OPEN, ["function f = relu\nfunction g = sigmoid"], {""}, {}),
    (OPEN, ["loss L = sum(o[T])"], {"f", "g"}, {}),
    (OPEN, ["target y[t] : index(K) ~ categorical(o[t])"], {"f", "g"}, {"V": "[K, m]"}),
    (OPEN, ["target y[t] : [d] ~ normal(o[t], 1)", "function f = relu"], {"g"}, {"V": "[d, m]"}),
    (OPEN, ["input x[t] : [28]"], {"f", "g", ""}, {"U": "[m, 28]", "x[t]": "[28]"}),
    (r"$$ h_t = E[x_t] + h_{t-1} $$", ["input x[t] : index(v)"], {""}, {"E": "[v, m]"}),
    (LEAKY, ["const alpha = 0.1"], {""}, {"W": "[m, m]"}),
    (LEAKY, ["param alpha : [m]"], {""}, {"alpha": "[m]"}),
]


@pytest.mark.parametrize(("document", "statements", "left", "told"), ANSWERS)
def test_declared(
    rnn: Runner, document: str, statements: list[str], left: set[str], told: Mapping[str, str]
) -> None:
    """What is declared stands in the spec, and is asked no more; it tells the shapes of others."""
    made = drafted(rnn, document, *statements)
    assert made["asked"].keys() == left
    assert made["text"].count("\n# ? ") == len(left)
    assert all(f"\n{statement}\n" in made["text"] for statement in statements)
    assert shapes(made["text"]).items() >= told.items()


def test_all_answered(rnn: Runner) -> None:
    """With the answers that are printed the file asks nothing, and the model can be trained."""
    answers = [q["answer"] for q in drafted(rnn, OPEN)["questions"]]
    made = drafted(rnn, OPEN, *answers)
    assert (made["questions"], "?" in made["text"]) == ([], False)
    assert "loss.y" in rnnc.load("cell.rnn", n=2, m=3, k=4).bound.losses
    ran = rnn("import", "cell.md", "-o", "a.rnn", "--declare", "function f = tahn")
    assert re.search(r"unknown function `tahn`.*did you mean `tanh`\?", ran.err, re.DOTALL)


# ---------------------------------------------------------------- choosing


CHOICES = [
    ([], [1, 2, 3, 4, 5, 6]),
    (["--pick", " 6, 1 - 2 ,2"], [1, 2, 6]),
    (["--heading", "GATED"], [3, 4, 5]),
    (["--name", "y[t],z"], [2, 3, 6]),
    (["--name", "y", "--name", "z", "--pick", "1-5"], [2, 3]),
    (["--heading", "e", "--name", "z,h", "--pick", "4-6"], [4, 6]),
]


@pytest.mark.parametrize(("options", "numbers"), CHOICES)
def test_choices(rnn: Runner, options: list[str], numbers: list[int]) -> None:
    ran = rnn("import", "paper.md", "--format", "json", *options)
    assert [e["number"] for e in json.loads(ran.out)["equations"]] == numbers
    listed = rnn("import", "paper.md", *options)
    assert [int(n) for n in re.findall(r"^(\d+) ", listed.out, re.MULTILINE)] == numbers

    ran = rnn("import", "paper.md", "--name", "z", "-o", "my-gate_2.rnn")  # one, twice
    assert ran.out.startswith("wrote my-gate_2.rnn: MyGate2, of 2 equations (3, 6)\n")
    assert Path("my-gate_2.rnn").read_text(encoding="utf-8").count("z_t") == 1


REFUSED = [
    ("paper.md --pick 1,5-7", ("--pick 5-7", "1 to 6")),
    ("paper.md --pick two", ("--pick takes numbers, such as 2-5,9; not 'two'",)),
    ("paper.md --heading gru", ("'gru'", "there are: The simple one", "Gated, Repeated")),
    ("paper.md --name h,q", ("no equation defines q;", "defined are: h[t], y[t], z[t]")),
    ("paper.md --heading gated --pick 1", ("none of the equations 1 is among",)),
    ("paper.md --pick 3-5 -o a.rnn", ("equation 5 (line 10) cannot be read", "--pick")),
    ("paper.md --pick 1-4 -o a.rnn", ("h[t] is defined by the equations 1 and 4: pick one",)),
    ("paper.md --pick 1 -o a.txt", ("a.txt does not end in .rnn",)),
    ("paper.md --pick 1 --declare dim.k", ("--declare", "-o cell.rnn")),
    ("paper.md --pick 1 --model Cell", ("--model", "-o cell.rnn")),
    ("own.rnn --pick 1 -o own.rnn", ("own.rnn", "give another name to -o")),
    ("paper.md --pick 1 -o own.rnn", ("own.rnn exists", "choose another name")),
    ("text.md", ("there are no display equations in text.md", "$$")),
    ("missing.md", ("there is no file missing.md",)),
    ("folder", ("folder is a folder, not a document",)),
    ("latin.md", ("latin.md cannot be read as UTF-8",)),
    ("paper.pdf", ("paper.pdf cannot be read as UTF-8", "of a PDF the text is needed")),
]


@pytest.mark.parametrize(("argv", "parts"), REFUSED)
def test_refused(rnn: Runner, argv: str, parts: tuple[str, ...]) -> None:
    """Nothing is written, and the document stays as it is."""
    Path("folder").mkdir()
    Path("own.rnn").write_text(NETWORKS, encoding="utf-8")
    Path("text.md").write_text("No equations, but $$x_t$$.", encoding="utf-8")
    Path("latin.md").write_bytes("$$ h = 1 $$ für".encode("latin-1"))
    Path("paper.pdf").write_bytes(b"%PDF-1.5\n%\xd0\xd4\xc5\xd8\n")
    ran = rnn("import", *argv.split())
    assert (ran.code, ran.out) == (2, "")
    assert all(part in ran.err for part in ("error: ", *parts)), ran.err
    assert not Path("a.rnn").exists()
    assert Path("own.rnn").read_text(encoding="utf-8") == NETWORKS


def test_list(rnn: Runner) -> None:
    long = f"z = {'1 + ' * 30}1"
    document = f"## 网络\n$$ h_t = x_t $$\n## b\n$$ y = \\no{{1}} $$\n$$ {long} $$\n"
    Path("short.md").write_text(document, encoding="utf-8")
    ran = rnn("import", "short.md")
    assert ran.out.splitlines() == [
        "   line  heading  defines                  equation",
        "1  2     网络     h[t]                     h_t = x_t",
        r"2  4     b        (unknown command `\no`)  y = \no{1}",
        f"3  5     b        z                        {long[:59]}…",
        "",
    ]
    assert ran.err.startswith("note: pick some with --pick, --heading or --name")

    ran = rnn("import", "short.md", "--pick", "2-3", "--format", "json")
    assert (ran.code, ran.err) == (0, "")
    (unread, read) = json.loads(ran.out)["equations"]
    assert [*read.values()] == [3, 5, "b", ["z"], long, None]
    assert (unread["defines"], unread["problem"]) == ([], r"unknown command `\no`")


def test_notes_and_mistakes(rnn: Runner) -> None:
    """Both are shown on stderr; a spec with mistakes is written, to be mended there."""
    Path("chain.md").write_text("$$ h_t = a x_t = b x_t $$\n", encoding="utf-8")
    ran = rnn("import", "chain.md", "-o", "chain.rnn", "--model", "Other")
    assert ran.out.startswith("wrote chain.rnn: Other, of 1 equation (1)\n\n1 question, ")
    assert re.fullmatch(r"note: chain\.rnn:\d+:\d+: of several right sides the first .*\n", ran.err)

    Path("loop.md").write_text("$$ h_t = h_t + x_t $$\n", encoding="utf-8")
    ran = rnn("import", "loop.md", "-o", "loop.rnn")
    lines = Path("loop.rnn").read_text(encoding="utf-8").splitlines()
    line = lines.index("$$ h_t = h_t + x_t $$") + 1
    assert ran.code == 1
    assert f"RNN023]: `h` needs itself at the same step\n  --> loop.rnn:{line}:" in ran.err
    ran = rnn("import", "loop.md", "-o", "again.rnn", "--format", "json")
    (diagnostic,) = json.loads(ran.out)["diagnostics"]
    assert (ran.code, diagnostic["place"]["line"]) == (1, line)


WHOLE = "\n".join([NETWORKS, OPEN, LEAKY, MATRIX, ATTENTION, *(KNOWN[d].latex for d in DRAFTS)])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, len(WHOLE)), st.integers(0, 400), st.integers(0, 30))
def test_cut_documents(rnn: Runner, start: int, length: int, gap: int) -> None:
    """Two pieces of a document are listed and drafted, or refused in words."""
    text, half = WHOLE[start : start + length], length // 2
    Path("cut.md").write_text(text[:half] + text[half + gap :], encoding="utf-8")
    Path("cut.rnn").unlink(missing_ok=True)
    assert rnn("import", "cut.md").code in (0, 2)
    assert rnn("import", "cut.md", "-o", "cut.rnn").code in (0, 1, 2)
