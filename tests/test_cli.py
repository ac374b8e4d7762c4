"""The command line: every command, every exit code, and no traceback on whatever is given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rnnc
from rnnc import compiler
from rnnc.cli import cli, common, main
from rnnc.cli.show import DRAWINGS, tree_text
from rnnc.graph.draw import FORMATS
from rnnc.source import InternalError
from rnnc.syntax.parse import parse_expression
from rnnc.train.checkpoint import save_weights

ROOT = Path(__file__).resolve().parent.parent

ELMAN = """\
# A small network.
model Elman

dim   n = 2, m = 3
input x[t] : [n]
param W : [m, n], U : [m, m], b : [m] ~ ones

h[t] = tanh(W x[t] + U h[t-1] + b)

output h
"""
BAD = """\
model Bad
input x[t] : [3]
h[t] = tanh(y[t] + h[t-1])
k[t] = nonsense(x[t])
"""
OPEN = """\
model First
input x[t] : [2]
h[t] = x[t] + h[t-1]

model Second
dim   n, m = 4
input x[t] : [n]
param W : [m, n]
h[t] = W x[t]
"""
STATES = """\
model Starts
input x[t] : [3], flagged[t] : flag, word[t] : index(5)
param q : [3] ~ constant(0.5), E : [5, 3]
h[0] = q
h[t] = where(flagged[t], h[t-1], x[t] + E[word[t]])
c[t] = c[t-1] + h[t]
output c
"""


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def rnn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs a command line in a folder with some specs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RNNC_DEBUG", raising=False)
    for name, text in ("elman", ELMAN), ("bad", BAD), ("open", OPEN), ("starts", STATES):
        Path(f"{name}.rnn").write_text(text, encoding="utf-8")

    def run(*argv: object) -> Ran:
        code = main([str(a) for a in argv])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Ran(code, out, err)

    return run


def usage(ran: Ran, *parts: str) -> None:
    assert ran.code == 2, ran
    assert not ran.out
    for part in parts:
        assert part in ran.err


# ---------------------------------------------------------------- the whole


@pytest.mark.parametrize("command", ["", *cli.commands])
def test_help(rnn, command):
    ran = rnn(*command.split(), "--help")
    assert ran.code == 0
    assert "rnnc" in ran.out
    assert not ran.err
    if not command:
        assert all(f"\n  {name} " in ran.out for name in cli.commands)


def test_version(rnn):
    assert rnn("--version") == Ran(0, f"rnnc {rnnc.__version__}\n", "")


def test_light():
    """Nothing heavy is imported before a command needs it."""
    heavy = {"numpy", "onnx", "onnxruntime", "lark", "networkx", "rnnc.api", "rnnc.syntax", "rich"}
    code = f"import rnnc.cli, sys; print(*sorted({heavy!r} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stdout.split(), run.stderr) == (0, [], "")


def test_words():
    """What the command line knows without asking the compiler."""
    assert tuple(compiler.PIPELINES) == common.MODES


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        ([], "Usage: rnnc"),
        (["chekc", "x"], "did you mean check?"),
        (["elman.rnn"], "rnnc check elman.rnn"),
        (["--nonsense"], "No such option"),
        (["check"], "Missing argument"),
        (["check", "nowhere.rnn"], "no file nowhere.rnn"),
        (["check", "some/where"], "no file some/where"),
        (["check", "."], "is a folder"),
        (["check", "lstm"], "did you mean LSTM"),
        (["check", "elman.rnn", "--set", "n"], "not of the form NAME=NUMBER"),
        (["check", "elman.rnn", "--set", "n="], "not of the form NAME=NUMBER"),
        (["check", "elman.rnn", "--set", "n=abc"], "'abc' is not a whole number: n is a size"),
        (["check", "elman.rnn", "--set", "n=1,m=2"], "--set once for each"),
        (["check", "elman.rnn", "--set", "n=1", "--set", "n=2"], "set twice"),
        (["show", "elman.rnn", "--stage", "adjoint", "--mode", "grad"], "--mode changes nothing"),
        (["show", "elman.rnn", "--stage", "plan", "--latex"], "--latex is for equations"),
        (["show", "elman.rnn", "--graph", "--latex"], "--latex is for equations"),
        (["diff", "nowhere.rnn"], "no file nowhere.rnn"),
        (["diff", "elman.rnn", "--inputs", "z"], "no real input z"),
        (["diff", "elman.rnn", "-o", "d.tex"], "does not end in .rnn"),
        (["diff", "elman.rnn", "-o", "d.rnn", "--latex"], "does not end in .tex"),
        (["diff", "elman.rnn", "-o", "elman.rnn"], "the spec itself"),
        (["show", "elman.rnn", "--stage", "nonsense"], "not one of"),
        (["show", "elman.rnn", "--mode", "step"], "add --stage"),
        (["show", "elman.rnn", "--unroll", "2"], "--graph"),
        (["show", "elman.rnn", "--backend", "numpy"], "--stage final"),
        (["show", "elman.rnn", "--graph", "--mode", "step"], "leave out --mode"),
        (["show", "elman.rnn", "--graph", "-o", "g.png"], "g.png is none"),
        (["show", "elman.rnn", "-o", "g.png"], "g.png is none"),
        (["show", "elman.rnn", "-o", "elman.rnn"], "the spec itself"),
        (["compile", "elman.rnn"], "Missing option '-o'"),
        (["compile", "elman.rnn", "-o", "m.pt"], ".onnx for an ONNX model, in .py for NumPy"),
        (["compile", "elman.rnn", "-o", "no/m.py"], "no folder no"),
        (["compile", "elman.rnn", "-o", "m.py", "--opset", "18"], "--opset is for ONNX"),
        (["compile", "elman.rnn", "-o", "m.onnx", "--opset", "99"], "opset 99"),
        (["compile", "elman.rnn", "-o", "m.py", "--mode", "what"], "'predict', 'step'"),
        (["compile", "elman.rnn", "-o", "m.py", "--unroll", "0"], "--unroll"),
        (["compile", "elman.rnn", "-o", "m.py", "--mode", "step", "--unroll", "2"], "one step"),
        (["compile", "elman.rnn", "-o", "m.py", "--weights", "w.npz"], "no weights file"),
        (["compile", "elman.rnn", "-o", "m.py", "--weights", "elman.rnn"], ".safetensors or .npz"),
        (["compile", "elman.rnn", "-o", "m.py", "--weights", "w", "--seed", "1"], "--seed"),
        (["compile", "elman.rnn", "-o", "m.py", "--weights", "w", "--weights-as-inputs"], "exc"),
        (["compile", "elman.rnn", "-o", "m.py", "--clip", "1"], "--clip is for mode train"),
        (["compile", "elman.rnn", "-o", "m.py", "--optimizer", "sgd"], "--optimizer is for mode"),
        (["compile", "elman.rnn", "-o", "m.py", "--inputs", "x"], "--inputs is for mode grad"),
        (["compile", "elman.rnn", "-o", "m.py", "--carry", "--mode", "step"],
         "--carry is for the modes predict, loss, grad, train; this is mode step"),
        (["compile", "elman.rnn", "-o", "m.py", "--mode", "train", "--hyper", "beta1"],
         "not of the form NAME=NUMBER, such as beta1=0.95"),
        (["compile", "elman.rnn", "-o", "m.py", "--mode", "grad", "--hyper", "beta1=1"],
         "--hyper is for mode train"),
        (["compile", "elman.rnn", "-o", "m.py", "--mode", "grad", "--weights", "w.npz"],
         "as inputs under their own names"),
        (["compile", "elman.rnn", "-o", "m.py", "--mode", "train", "--seed", "1"],
         "--seed means nothing in mode train"),
        (["compile", "NToOne", "-o", "m.py", "--mode", "train", "--hyper", "b=1"],
         "Adam has no hyperparameter b; it has: beta1, beta2, epsilon"),
        (["compile", "NToOne", "-o", "m.py", "--mode", "train", "--optimizer", "adm"],
         "there is no optimiser adm; there are: adagrad"),
        (["compile", "NToOne", "-o", "m.py", "--mode", "train", "--clip", "0"], "above 0"),
        (["compile", "Adam", "-o", "m.py", "--mode", "train"], "--optimizer adam"),
        (["run", "nowhere.onnx"], "no model file"),
        (["run", "elman.rnn", "-o", "out.txt"], ".npz"),
        (["run", "elman.rnn", "--steps", "x"], "a number of steps"),
        (["run", "elman.rnn", "--steps", "S=3"], "the model has T"),
        (["run", "elman.rnn", "--input", "x=x.csv"], ".npy or .npz"),
        (["run", "elman.rnn", "--input", "x=x.npy"], "no file x.npy"),
        (["run", "elman.rnn", "--input", "elman.rnn"], "a file alone is .npy or .npz"),
        (["run", "elman.rnn", "--input", "a long text. " * 500], "a file alone is .npy or .npz"),
        (["run", "elman.rnn", "--input", "x"], 'NAME=FILE, NAME="a text" or NAME="3 1 4"'),
        (["run", "elman.rnn", "--input", "x=1 2 3"], "a sequence of x has 2 for each step: x : ["),
        (["run", "elman.rnn", "--input", f"x={'1 ' * 5000}."], "'.' is no number"),
        (["run", "starts.rnn", "--input", "word=1 99999999999999999999"], "999 is too large"),
        (["run", "starts.rnn", "--input", "flagged=1 2"], "'2' is no flag, 0 or 1"),
        (["specs", "LSTN"], "did you mean LSTM"),
        (["fmt", "nowhere.rnn"], "no file nowhere.rnn"),
    ],
)  # fmt: skip
def test_usage(rnn, argv, part):
    ran = rnn(*argv)
    assert ran.code == 2
    assert part in ran.err
    assert sorted(p.name for p in Path().iterdir()) == sorted(
        ["bad.rnn", "elman.rnn", "open.rnn", "starts.rnn"]
    )


# ---------------------------------------------------------------- check


def test_check(rnn):
    ran = rnn("check", "elman.rnn")
    assert ran.code == 0
    assert ran.out == (
        "Elman  (elman.rnn)  with n = 2, m = 3\n"
        "\n"
        "name  role           shape   axes\n"
        "----  -------------  ------  --------\n"
        "x     input          [n]     t, batch\n"
        "W     param          [m, n]\n"
        "U     param          [m, m]\n"
        "b     param          [m]\n"
        "h     state, output  [m]     t, batch\n"
        "\n"
        "parameters: m*n + m^2 + m = 18\n"
    )
    assert not ran.err


def test_check_layers(rnn):
    """A layer is a line, unless all of it is asked for."""
    lines = "model Net\nuse GRU\ndim n\ninput x[t], z[t] : [n]\nparam q : [4]\n"
    lines += "layer enc = GRU(m = 4)\na[t] = enc(x[t])\nb[t] = enc(z[t])\nb_[t] = tanh(b[t])\n"
    lines += "h[t] = GRU(a[t] + b_[t-1]; m = 3, depth = 2, h[0] = relu(v))\nb_[0] = tanh(q)\n"
    Path("net.rnn").write_text(lines + "param v : [3]\noutput h\n")
    ran = rnn("check", "net.rnn", "--set", "n=2")
    assert ran.code == 0
    assert ran.out == (
        "Net  (net.rnn)  with n = 2\n"
        "\n"
        "name  role    shape  axes\n"
        "----  ------  -----  --------\n"
        "x     input   [n]    t, batch\n"
        "z     input   [n]    t, batch\n"
        "q     param   [4]\n"
        "v     param   [3]\n"
        "a     value   [4]    t, batch\n"
        "b     value   [4]    t, batch\n"
        "b_    value   [4]    t, batch\n"
        "h     output  [3]    t, batch\n"
        "\n"
        "layer  model  sizes                    parameters\n"
        "-----  -----  -----------------------  --------------\n"
        "enc    GRU    n = 2, m = 4             12*n + 48 = 72\n"
        "h      GRU    depth = 2, n = 4, m = 3  117\n"
        "\n"
        "parameters: 12*n + 172 = 196\n"
    )
    whole = rnn("check", "net.rnn", "--set", "n=2", "--all").out
    assert "with enc.n = 2, enc.m = 4, n = 2, h.1.n = 4, h.1.m = 3, h.2.n = 3" in whole
    assert "\nh.2.W_z    param   [3, 3]\n" in whole
    assert "\na.h        state   [4]     t, batch\n" in whole
    assert rnnc.load("net.rnn", n=2).table(inner=True) in whole
    named = {v["name"] for v in json.loads(rnn("check", "net.rnn", "--format", "json").out)[
        "models"][0]["values"]}  # fmt: skip
    assert {"a.h", "h.2.W_z"} <= named


def test_check_problems(rnn):
    ran = rnn("check", "bad.rnn", "elman.rnn", "bad.rnn")
    assert ran.code == 1
    assert "Elman" in ran.out
    assert ran.err.startswith("error[RNN010]: unknown name `y`\n --> bad.rnn:3:13\n")
    assert ran.err.count("error[") == 2
    assert ran.err.endswith("\n2 errors in 1 of 3 files\n")
    assert "\x1b" not in ran.err


def test_check_of_all_models(rnn):
    ran = rnn("check", "open.rnn", "LSTM")
    assert ran.code == 0
    for part in ("First  (open.rnn)\n", "Second  (open.rnn)  with m = 4", "LSTM  (lstm.rnn)",
                 "3 models in 2 files: no errors"):  # fmt: skip
        assert part in ran.out
    assert "First" not in rnn("check", "open.rnn", "--model", "Second").out


def test_check_sizes(rnn):
    assert rnn("check", "-q", "open.rnn", "--set", "n=3") == Ran(0, "", "")
    ran = rnn("check", "-q", "open.rnn", "--set", "q=3")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.count("error[RNN010]: `q` is set") == 1
    assert "RNN036" in rnn("check", "-q", "open.rnn", "--set", "n=0").err
    assert "RNN037" in rnn("check", "-q", "elman.rnn", "--set", "m=1000000000").err


def test_check_goes_on(rnn):
    ran = rnn("check", "nowhere.rnn", "bad.rnn", "elman.rnn")
    assert ran.code == 2
    assert "Elman" in ran.out
    assert "error: there is no file nowhere.rnn\n" in ran.err
    assert "RNN010" in ran.err


def test_check_json(rnn):
    ran = rnn("check", "bad.rnn", "open.rnn", "--format", "json")
    assert (ran.code, ran.err) == (1, "")
    found = json.loads(ran.out)
    assert [d["code"] for d in found["diagnostics"]] == ["RNN010", "RNN013"]
    first, second = found["models"]
    assert first["parameters"] == 0
    assert second == {
        "file": "open.rnn",
        "notes": [],
        "model": "Second",
        "dims": {"n": None, "m": 4},
        "parameters": None,
        "values": [
            {"name": "x", "role": "input", "kind": "real", "axes": ["t", "batch"],
             "shape": ["n"], "sizes": [None]},
            {"name": "W", "role": "param", "kind": "real", "axes": [],
             "shape": ["m", "n"], "sizes": [4, None]},
            {"name": "h", "role": "output", "kind": "real", "axes": ["t", "batch"],
             "shape": ["m"], "sizes": [4]},
        ],
    }  # fmt: skip
    ran = rnn("check", "open.rnn", "--set", "n=3", "--format", "json")
    assert json.loads(ran.out)["models"][1]["parameters"] == 12


def test_check_library(rnn):
    specs = sorted((ROOT / "specs").rglob("*.rnn"))
    ran = rnn("check", "-q", *specs)
    assert ran == Ran(0, "", "")


# ---------------------------------------------------------------- show


@pytest.mark.parametrize(
    ("stage", "part"),
    [
        (None, "h[t] = tanh(W x[t] + U h[t-1] + b)"),
        ("system", "h[t] = tanh(W x[t] + U h[t-1] + b)"),
        ("tree", "Call tanh"),
        ("final", "model Elman"),
        ("plan", "loop over t, forward"),
        ("numpy", "def run(prepared, inputs):"),
        ("onnx", "Scan"),
    ],
)
def test_stages(rnn, stage, part):
    argv = ["show", "elman.rnn", *(["--stage", stage] if stage else [])]
    ran = rnn(*argv)
    assert (ran.code, ran.err) == (0, "")
    assert part in ran.out
    assert rnn(*argv) == ran
    assert rnn(*argv, "-o", "stage.txt") == Ran(0, "", "")
    assert Path("stage.txt").read_text(encoding="utf-8") == ran.out
    as_json = json.loads(rnn(*argv, "--format", "json").out)
    assert as_json == {"diagnostics": [], "stage": stage or "system", "text": ran.out}


def test_stages_of_what_compile_is_told(rnn):
    out = rnn("show", "LSTM", "--stage", "plan", "--outputs", "f,g").out
    assert [line.split()[3] for line in out.splitlines() if " keep " in line] == ["f", "g"]
    native, loop = (
        rnn("show", "GRU", "--stage", "onnx", "--target", target).out for target in ("cpu", "any")
    )
    assert "GRU" in native
    assert "Scan" not in native
    assert "Scan" in loop
    assert "t.lengths" in rnn("show", "GRU", "--stage", "plan", "--lengths", "t").out
    low = ("--mode", "grad", "--memory", "low")
    assert "loop over t.segments" in rnn("show", "LSTM", "--stage", "plan", *low).out
    usage(rnn("show", "LSTM", "--outputs", "f"), "--outputs changes nothing at the stage system")
    usage(rnn("show", "LSTM", "--graph", "--target", "any"), "leave out --target")
    usage(rnn("show", "LSTM", "--stage", "numpy", "--target", "any"), "NumPy source needs no kern")
    usage(rnn("show", "LSTM", "--stage", "plan", "--outputs", ","), "it names nothing")


def test_stages_with_options(rnn):
    assert "loop" not in rnn("show", "elman.rnn", "--stage", "plan", "--unroll", "2").out
    assert "h_prev" in rnn("show", "elman.rnn", "--stage", "final", "--mode", "step").out
    assert "[batch,T,7]" in rnn("show", "elman.rnn", "--stage", "onnx", "--set", "n=7").out
    ran = rnn("show", "open.rnn", "--stage", "plan")
    assert ran.code == 1
    assert "error[RNN035]: the size `n` of model Second is not set" in ran.err
    assert "First" in rnn("show", "open.rnn", "--model", "First").out
    ran = rnn("show", "bad.rnn", "--format", "json")
    assert (ran.code, ran.err) == (1, "")
    assert len(json.loads(ran.out)["diagnostics"]) == 2


@pytest.mark.parametrize(
    ("suffix", "start"),
    [("svg", "<svg"), ("html", "<!DOCTYPE html>"), ("dot", "digraph"), ("mmd", "flowchart")],
)
def test_graph(rnn, suffix, start):
    assert rnn("show", "elman.rnn", "--graph", "-o", f"g.{suffix}") == Ran(0, "", "")
    assert Path(f"g.{suffix}").read_text(encoding="utf-8").startswith(start)
    assert rnn("show", "elman.rnn", "-o", f"h.{suffix}").code == 0
    assert Path(f"h.{suffix}").read_bytes() == Path(f"g.{suffix}").read_bytes()


def test_graph_on_stdout(rnn):
    assert rnn("show", "elman.rnn", "--graph").out.startswith("<svg")
    steps = rnn("show", "elman.rnn", "--graph", "--unroll", "3").out
    assert "h[3]" in steps
    assert "h[4]" not in steps


def test_tree():
    doc = tree_text.__doc__ or ""
    lines = [line[4:] for line in doc.partition("))\n")[2].splitlines() if line.strip()]
    assert tree_text(parse_expression("2 * W x[t]")).splitlines() == lines
    assert DRAWINGS == FORMATS


# ---------------------------------------------------------------- compile and run


def test_compile_onnx(rnn):
    ran = rnn("compile", "elman.rnn", "-o", "m.onnx")
    assert ran.code == 0
    assert ran.out == (
        "Elman (ONNX, float32)\n"
        "  in  x : [batch, T, 2]\n"
        "  out h : [batch, T, 3]\n"
        "  18 parameters in 3 arrays, initial\n"
        f"wrote m.onnx, {common.file_size(Path('m.onnx').stat().st_size)}\n"
    )
    assert ran.err.startswith("note: the weights are initial ones (seed 0)")
    onnx.checker.check_model("m.onnx")
    ran = rnn("run", "m.onnx", "--random", "--steps", "4", "--batch", "2", "-o", "out.npz")
    assert ran.code == 0
    assert ran.out.startswith("h  [2, 4, 3]  float32\n")
    assert "made at random (seed 0): x [2, 4, 2]" in ran.err
    assert np.load("out.npz")["h"].shape == (2, 4, 3)


def test_compile_numpy(rnn):
    weights = rnnc.load("elman.rnn").init(seed=7)
    np.savez("w.npz", **weights, left_over=np.ones(2))
    ran = rnn("compile", "elman.rnn", "-o", "m.py", "--weights", "w.npz", "--dtype", "float64")
    assert ran.code == 0
    assert ran.err == "note: w.npz also holds left_over, which Elman does not have\n"
    assert "18 parameters in 3 arrays, from w.npz\n" in ran.out
    x = np.linspace(-1, 1, 12).reshape(2, 3, 2)
    np.save("x.npy", x)
    assert rnn("run", "m.py", "--input", "x.npy", "-o", "h.npy").code == 0
    expected = rnnc.load("elman.rnn").compile("numpy", weights=weights, dtype="float64")(x=x)["h"]
    np.testing.assert_array_equal(np.load("h.npy"), expected)
    assert rnn("compile", "elman.rnn", "-o", "s.py", "--seed", "7", "--dtype", "float64").code == 0
    assert rnn("run", "s.py", "-i", "x=x.npy", "-o", "s.npy").code == 0
    np.testing.assert_allclose(np.load("s.npy"), expected, rtol=1e-5)  # w.npz is float32


def test_weights_as_inputs(rnn):
    for name in ("m.onnx", "m.py"):
        ran = rnn("compile", "elman.rnn", "-o", name, "--weights-as-inputs")
        assert (ran.code, ran.err) == (0, "")
        assert "given with each call" in ran.out
        ran = rnn("run", name)
        assert ran.code == 1
        assert "the model holds no weights (W, U, b): give --weights" in ran.err
        ran = rnn("run", name, "--random", "-o", f"{name}.npz")
        assert ran.code == 0
        assert "initial weights (seed 0)" in ran.err
        np.savez("w.npz", **rnnc.load("elman.rnn").init())
        assert rnn("run", name, "--random", "--weights", "w.npz", "-o", "w_out.npz").code == 0
        np.testing.assert_allclose(
            np.load(f"{name}.npz")["h"], np.load("w_out.npz")["h"], rtol=1e-6
        )
    assert rnn("compile", "elman.rnn", "-o", "own.py").code == 0
    usage(rnn("run", "own.py", "--weights", "w.npz"), "holds its weights")


@pytest.mark.parametrize("file", ["w.safetensors", "w.npz"])
def test_weights_bring_their_sizes(rnn, file):
    """Those that training noted down, where --set gives none."""
    spec = rnnc.load("elman.rnn", n=5, m=4)
    save_weights(file, spec.init(), spec)
    ran = rnn("compile", "elman.rnn", "-o", "m.py", "--weights", file)
    assert ran.code == 0
    assert ran.err == f"note: m = 4, n = 5, as {file} was trained with; --set sets other sizes\n"
    assert "x : [batch, T, 5]" in ran.out
    ran = rnn("run", "elman.rnn", "--random", "--weights", file)
    assert ran.code == 0
    assert "note: m = 4, n = 5, as" in ran.err
    ran = rnn("compile", "elman.rnn", "-o", "m.py", "--weights", file, "--set", "m=3")
    assert ran.code == 1
    assert "note: n = 5, as" in ran.err
    assert "W is [4, 5], the model wants [3, 5]" in ran.err
    other = Path("other.rnn")
    other.write_text(ELMAN.replace("model Elman", "model Other"))
    ran = rnn("compile", "other.rnn", "-o", "m.py", "--weights", file)  # of another model
    assert ran.code == 1
    assert "note" not in ran.err


def test_compile_wrong_weights(rnn):
    np.savez("w.npz", W=np.ones((2, 2)), b=np.ones(3))
    ran = rnn("compile", "elman.rnn", "-o", "m.onnx", "--weights", "w.npz")
    assert ran.code == 1
    assert "W is [2, 2], the model wants [3, 2]; U [3, 3] is missing" in ran.err
    assert not Path("m.onnx").exists()


def test_compile_states(rnn):
    ran = rnn("compile", "starts.rnn", "-o", "step.onnx", "--mode", "step")
    assert ran.code == 0
    assert "after each step give h.next to h.prev, c.next to c.prev\n" in ran.out
    assert "at the first step c.prev is 0\n" in ran.out
    way = "at the first step h.prev comes from the init model: rnnc compile starts.rnn --mode init"
    assert way in ran.out
    assert rnn("compile", "starts.rnn", "-o", "init.py", "--mode", "init").code == 0
    assert rnn("run", "init.py").out.startswith("h.prev  [3]  float32\n  [0.5 0.5 0.5]\n")
    ran = rnn("run", "step.onnx", "--random")
    assert ran.code == 0
    assert "x [1, 3], flagged [1], word [1]" in ran.err
    assert "taken: h.prev = 0, c.prev = 0" in ran.err


def test_compile_json(rnn):
    ran = rnn("compile", "elman.rnn", "-o", "m.onnx", "--format", "json")
    assert ran.code == 0
    about = json.loads(ran.out)
    assert about["diagnostics"] == []
    assert about["bytes"] == Path("m.onnx").stat().st_size
    assert about["inputs"][0] == {
        "name": "x", "role": "input", "dims": ["batch", "T", 2], "kind": "real", "limit": None,
        "along": None, "own": [], "most": None, "times": ["t"], "size": None,
    }  # fmt: skip
    ran = rnn("compile", "bad.rnn", "-o", "m.onnx", "--format", "json")
    assert ran.code == 1
    assert json.loads(ran.out)["diagnostics"][0]["place"]["line"] == 3


def test_compile_not_causal(rnn):
    ran = rnn("compile", "Bidirectional", "-o", "m.onnx", "--mode", "step")
    assert ran.code == 1
    assert "error[RNN042]: this model cannot run step by step" in ran.err


def test_explain(rnn):
    out = rnn("compile", "elman.rnn", "-o", "m.onnx", "--explain").out
    for part in (
        "the recurrence over t, forward (from 1 to T):\n    h[t] = tanh(W x[t] + U h[t-1] + b)\n",
        "form: one Scan",
        "before it, for all steps at once:",
        "= matmul(x, ",
        "computed in each step: 1 matrix product, ",
    ):
        assert part in out
    out = rnn("compile", "elman.rnn", "-o", "m.py", "--explain", "--unroll", "4").out
    assert "form: unrolled, 4 steps one after the other" in out
    assert "computed: 4 matrix products" in out or "computed: 5 matrix products" in out
    out = rnn("compile", "elman.rnn", "-o", "m.py", "--explain", "--mode", "step").out
    assert "form: one step, without a loop" in out
    out = rnn("compile", "open.rnn", "--set", "n=2", "-o", "m.py", "--explain").out
    assert "Second has no recurrence" in out
    out = rnn("compile", "Bidirectional", "-o", "m.onnx", "--explain").out
    assert "recurrence 1 over t, forward" in out
    assert "recurrence 2 over t, backward (from T to 1)" in out


def test_gradients_are_explained_in_the_words_of_the_spec(rnn):
    out = rnn("compile", "MinGRU", "--mode", "grad", "-o", "g.onnx", "--explain").out
    assert "what decided it: the gradient of `h` is linear in the step before" in out
    out = rnn("compile", "LSTM", "--mode", "grad", "-o", "g.onnx", "--explain").out
    assert "from step to step: c[t-1] [batch, 128], h[t-1] [batch, 128]\n" in out
    assert "from step to step: a part of the gradient of c[t+1] [batch, 128], " in out
    Path("named.rnn").write_text(  # a name that only looks like one
        "model M\ninput h[t] : [2]\nall_h[t] = exp(h[t]) * all_h[t-1] + 1\noutput all_h\n"
    )
    out = rnn("compile", "named.rnn", "-o", "n.onnx", "--explain").out
    assert "not in blocks: `all_h` is linear in the step before, but" in out


def test_compile_gradients(rnn):
    """The weights are inputs; the model says what goes where, and runs at once."""
    ran = rnn(
        "compile", "elman.rnn", "--mode", "grad", "--inputs", "x", "-o", "g.onnx", "--explain"
    )
    assert ran.code == 0
    assert "note" not in ran.err  # nothing is said of initial weights: there are none in it
    for part in (
        "  in  d_h : [batch, T, 3]\n",
        "  out d_W : [3, 2]\n",
        "  out d_x : [batch, T, 2]\n",
        " in 3 arrays, given with each call\n",
        "  the values, forward, in one Scan",
        "  their gradients, backward, in one Scan",
    ):
        assert part in ran.out
    assert rnn("run", "g.onnx", "--random").code == 0
    ran = rnn("compile", "elman.rnn", "--mode", "grad", "--carry", "-o", "g.py")
    assert "after each chunk give h.next to h.prev\n  at the first chunk h.prev is 0\n" in ran.out


def test_compile_training(rnn):
    options = ("--optimizer", "momentum", "--hyper", "mu=0.8", "--clip", "1", "--carry")
    sizes = ("--set", "n=3", "--set", "m=4", "--set", "k=5")
    ran = rnn("compile", "Elman", *sizes, "--mode", "train", *options, "-o", "t.onnx")
    assert ran.code == 0
    for part in (
        "  in  lr : []\n",
        "  out gradient_norm : []\n",
        "  after each chunk give h.next to h.prev\n",
        "  after each update give U.next to U, W.next to W, V.next to V, b.next to b, ",
        "  and so for the optimiser's state (momentum.v.U, momentum.v.W, ",
        "); at the first update it is 0\n",
    ):
        assert part in ran.out
    ran = rnn("run", "t.onnx", "--random", "-o", "random.npz")
    assert ran.code == 0
    assert "lr = 0.001" in ran.err
    assert "initial weights (seed 0)" in ran.err

    # the same by hand: the step of length lr against the clipped gradient
    np.savez("data.npz", x=np.ones((2, 3, 3)), y=np.ones((2, 3), int), lr=0.5)
    spec = rnnc.load("Elman", n=3, m=4, k=5)
    np.savez("w.npz", **spec.init())
    assert rnn("run", "t.onnx", "--input", "data.npz").code == 1  # no weights
    ran = rnn("run", "t.onnx", "--input", "data.npz", "--weights", "w.npz", "-o", "new.npz")
    assert ran.code == 0
    new = np.load("new.npz")
    gradient = spec.compile("numpy", mode="grad").run(
        {"x": np.ones((2, 3, 3)), "y": np.ones((2, 3), int)}, weights=spec.init()
    )
    factor = min(1.0, 1.0 / float(new["gradient_norm"]))
    assert factor < 1
    step = new["W.next"] - spec.init()["W"]
    np.testing.assert_allclose(step, -0.5 * factor * gradient["d_W"], rtol=1e-4, atol=1e-7)


def test_dropout_is_on_in_training(rnn):
    """--mode train trains, unless the flag --training is for another mode."""
    text = ELMAN + "loss sum(dropout(h[t], 0.5))\n"
    Path("drop.rnn").write_text(text)
    assert "uniform" in rnn("compile", "drop.rnn", "--mode", "train", "-o", "t.py").out
    assert "uniform" not in rnn("compile", "drop.rnn", "--mode", "grad", "-o", "t.py").out
    ran = rnn("compile", "drop.rnn", "--mode", "grad", "--training", "-o", "t.py")
    assert "uniform" in ran.out


def test_diff(rnn):
    ran = rnn("diff", "elman.rnn")
    assert ran.code == 0
    assert "\n∂W = sum[batch](sum[t](outer(δ_h[t], x[t])))\n" in ran.out
    assert rnn("show", "elman.rnn", "--stage", "adjoint").out == ran.out
    assert json.loads(rnn("diff", "elman.rnn", "--format", "json").out)["text"] == ran.out
    assert rnn("diff", "elman.rnn", "--inputs", "x", "-o", "d.rnn").out == ""
    text = Path("d.rnn").read_text(encoding="utf-8")
    assert "∂x" in text
    assert rnn("check", "d.rnn").code == 0
    latex = rnn("diff", "elman.rnn", "--latex").out
    assert latex.startswith("\\begin{aligned}\n")
    assert r"\partial W &= \sum_{b} \sum_{t=1}^{T} \delta_{h,t} \, x_t^\top" in latex
    assert rnn("show", "elman.rnn", "--stage", "adjoint", "--latex").out == latex
    assert r"h_t &= \tanh(W x_t + U h_{t-1} + b)" in rnn("show", "elman.rnn", "--latex").out
    rnn("diff", "elman.rnn", "--latex", "-o", "d.tex")
    assert Path("d.tex").read_text(encoding="utf-8") == latex
    ran = rnn("diff", "Adam", "--format", "json")
    assert ran.code == 1
    assert json.loads(ran.out)["diagnostics"][0]["code"] == "RNN040"


def test_nothing_half_written(rnn, monkeypatch):
    Path("m.py").write_text("mine")

    def fail(self: object, path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rnnc.runtime.numpy_model.NumpyModel.save", fail)
    usage_ = rnn("compile", "elman.rnn", "-o", "m.py")
    assert usage_.code == 2
    assert "m.py cannot be written: No space left on device" in usage_.err
    assert Path("m.py").read_text() == "mine"
    assert {p.name for p in Path().iterdir()} == {
        "bad.rnn", "elman.rnn", "m.py", "open.rnn", "starts.rnn",
    }  # fmt: skip


def test_written_through_links_with_the_same_rights(rnn):
    Path("real.svg").touch(mode=0o600)
    Path("link.svg").symlink_to("real.svg")
    assert rnn("show", "elman.rnn", "-o", "link.svg").code == 0
    assert Path("link.svg").is_symlink()
    assert Path("real.svg").read_text().startswith("<svg")
    assert Path("real.svg").stat().st_mode & 0o777 == 0o600
    assert rnn("show", "elman.rnn", "-o", os.devnull).code == 0


def test_run_spec(rnn):
    ran = rnn("run", "elman.rnn", "--set", "n=5", "--random", "--time")
    assert ran.code == 0
    assert "Elman runs with initial weights (seed 0)" in ran.err
    assert "x [1, 10, 5]" in ran.err
    assert " a run (median of " in ran.out


def test_run_inputs(rnn):
    np.save("x.npy", np.ones((2, 4, 3)))
    np.save("any.npy", np.arange(8).reshape(2, 4) % 5)
    np.savez("d.npz", x=np.ones((2, 4, 3)), flagged=np.ones((2, 4), bool), y=np.ones(3))
    ran = rnn("run", "starts.rnn")
    assert ran.code == 1
    assert ran.err.endswith(
        "error: these inputs are missing:\n"
        "  x : [batch, T, 3]\n"
        "  flagged : flag [batch, T]\n"
        "  word : index(5) [batch, T]\n"
        "give them as in --input x=x.npy, or try --random (batch 1, 10 steps)\n"
    )
    ran = rnn("run", "starts.rnn", "-i", "any.npy", "-i", "d.npz")
    assert ran.code == 0, ran.err
    assert "d.npz also holds y, which the model does not take" in ran.err
    ran = rnn("run", "starts.rnn", "-i", "x.npy", "--random")
    assert "flagged [2, 4], word [2, 4]" in ran.err
    ran = rnn("run", "starts.rnn", "-i", "any.npy")
    assert ran.code == 2
    assert "which input is any.npy? (one of x, flagged, word)" in ran.err
    for argv, code, part in (
        (["-i", "x.npy", "-i", "d.npz"], 2, "x is given twice"),
        (["-i", "y=x.npy"], 1, "the model takes no y"),
        (["-i", "x=d.npz"], 2, "names of its own"),
        (["-i", "x.npy", "--random", "--steps", "7"], 2, "disagrees with the inputs"),
        (["-i", "x=any.npy", "--random"], 1, "x is [T, 4], rnnc arrays are batch-first"),
        (["-i", "d.npz", "-i", "word=x.npy"], 1, "word holds float64; wanted are whole numbers"),
    ):
        ran = rnn("run", "starts.rnn", *argv)
        assert ran.code == code, ran
        assert part in ran.err
    np.savez("other.npz", z=np.ones(3))
    assert "other.npz holds z; the model takes x" in rnn("run", "elman.rnn", "-i", "other.npz").err
    Path("bad.npy").write_text("nonsense")
    assert "bad.npy cannot be read" in rnn("run", "elman.rnn", "-i", "x=bad.npy").err


def test_run_without_inputs(rnn):
    ran = rnn("run", "ClockworkWave")
    assert ran.code == 1
    assert "T, a number of steps" in ran.err
    ran = rnn("run", "ClockworkWave", "--steps", "3")
    assert ran.code == 0
    assert ran.out.startswith("o  [3]  float32\n")


def test_run_lengths(rnn):
    """The name of an input tells of them, not the name of its file."""
    Path("a.lengths").mkdir()
    np.save("a.lengths/x.npy", np.ones((2, 3, 2)))
    np.save("t.lengths.npy", np.array([1, 3]))
    assert rnn("run", "elman.rnn", "--input", "x=a.lengths/x.npy").code == 0
    for item in ("t.lengths.npy", "t.lengths=t.lengths.npy"):
        assert rnn("run", "elman.rnn", "-i", "a.lengths/x.npy", "-i", item).code == 0
    # a spec takes them wherever they are
    np.savez("d.npz", x=np.ones((2, 3, 2)), **{"t.lengths": [1, 3]})
    typed = ["-i", "x=1 1", "-i", "x=1 1 1 1 1 1"]
    found = []
    for options in (typed, ["-i", "d.npz"], ["-i", "a.lengths/x.npy", "-i", "t.lengths=1 3"]):
        ran = rnn("run", "elman.rnn", *options, "-o", "h.npy")
        assert ran.code == 0, ran.err
        found.append(np.load("h.npy"))
        assert (found[-1][0, 1:] == 0).all()
        np.testing.assert_array_equal(found[-1], found[0])
    assert rnn("compile", "elman.rnn", "-o", "m.py").code == 0
    ran = rnn("run", "m.py", "-i", "d.npz")  # a model is as it was compiled
    assert "d.npz also holds t.lengths, which the model does not take" in ran.err
    ran = rnn("run", "m.py", *typed)
    assert ran.code == 1
    assert "on the command line --lengths t" in ran.err


def test_compile_generation_with_lengths(rnn):
    lines = "model G\ninput x[t] : [2]\naxis s : S\ny[0] = 0\ns_[t] = s_[t-1] + x[t]\n"
    lines += "h[s] = h[s-1] + s_[T] + y[s-1]\nh[0] = 0\n"
    Path("g.rnn").write_text(lines + "target y[s] : index(2) ~ categorical(softmax(h[s]))\n")
    ran = rnn("compile", "g.rnn", "--mode", "generate", "--lengths", "t", "-o", "g.py")
    assert ran.code == 0
    assert "t.lengths" in ran.out


def test_run_fixed_length(rnn):
    assert rnn("compile", "elman.rnn", "-o", "m.onnx", "--unroll", "3").code == 0
    usage(rnn("run", "m.onnx", "--random", "--steps", "5"), "no open length")
    assert "x [1, 3, 2]" in rnn("run", "m.onnx", "--random").err
    usage(rnn("run", "m.onnx", "--set", "n=3"), "compiled already")


def test_run_loss(rnn):
    ran = rnn("compile", "CharLSTM", "-o", "m.py", "--mode", "loss", "--set", "m=8")
    assert ran.code == 0
    ran = rnn("run", "m.py", "--random")
    assert ran.code == 0
    assert ran.out.startswith("loss = 4")
    assert "count.y = 10\n" in ran.out


@pytest.mark.parametrize(
    "text",
    ["print('mine')\n", "\nMETADATA = r'''{}'''\n", "\nMETADATA = r'''", "(", "raise SystemExit\n"],
)
def test_run_garbage(rnn, text):
    for name in ("m.py", "m.onnx"):
        Path(name).write_text(text)
        assert rnn("run", name, "--random").code == 2


# ---------------------------------------------------------------- specs and fmt


def test_specs(rnn):
    ran = rnn("specs")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert len(lines) == len(rnnc.library()) + 2
    middle = lines.index("optimisers, for --optimizer:")
    assert not any("optim/" in line for line in lines[:middle])
    assert all("optim/" in line for line in lines[middle + 1 :])
    assert any(
        line.startswith("LSTM ") and "cells/lstm.rnn" in line
        and line.endswith("the memory c is changed only by elementwise gates")
        for line in lines
    )  # fmt: skip
    path = Path(rnn("specs", "GRU", "--path").out.strip())
    assert rnn("specs", "GRU").out == path.read_text(encoding="utf-8")
    assert path.is_relative_to(rnn("specs", "--path").out.strip())


UGLY = "model A\ninput x[t]:[3]\nh[t]=x[t]+h[t-1]   # sum\n"
NICE = "model A\ninput x[t] : [3]\nh[t] = x[t] + h[t-1]  # sum\n"


def test_fmt(rnn):
    Path("a.rnn").write_text(UGLY)
    assert rnn("fmt", "--check", "a.rnn", "elman.rnn").code == 1
    ran = rnn("fmt", "--diff", "a.rnn")
    assert ran.code == 0
    assert "-h[t]=x[t]+h[t-1]   # sum\n" in ran.out
    assert "+h[t] = x[t] + h[t-1]  # sum\n" in ran.out
    assert Path("a.rnn").read_text() == UGLY
    assert rnn("fmt", "a.rnn") == Ran(0, "", "formatted a.rnn\n")
    assert Path("a.rnn").read_text() == NICE
    before = Path("a.rnn").stat().st_mtime_ns
    assert rnn("fmt", "a.rnn") == Ran(0, "", "")
    assert rnn("fmt", "--check", "a.rnn") == Ran(0, "", "")
    assert Path("a.rnn").stat().st_mtime_ns == before


def test_fmt_goes_on(rnn):
    Path("broken.rnn").write_text("model A\nh[t] = (\n")
    Path("a.rnn").write_text(UGLY)
    ran = rnn("fmt", "broken.rnn", "a.rnn")
    assert ran.code == 1
    assert "error[RNN001]" in ran.err
    assert Path("broken.rnn").read_text() == "model A\nh[t] = (\n"
    assert Path("a.rnn").read_text() == NICE
    assert rnn("fmt", "--check", "a.rnn", "nowhere.rnn").code == 2


def test_fmt_of_standard_input():
    def fmt(text: bytes) -> subprocess.CompletedProcess[bytes]:
        code = "import sys; from rnnc.cli import main; sys.exit(main(['fmt', '-']))"
        return subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, input=text, capture_output=True
        )

    run = fmt(UGLY.encode())
    assert (run.returncode, run.stdout.decode(), run.stderr) == (0, NICE, b"")
    run = fmt(b"\xff")
    assert run.returncode == 1
    assert b"RNN003" in run.stderr


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("error", "code", "part"),
    [
        (InternalError("broken"), 70, "this is a fault of rnnc, not of yours: broken"),
        (ValueError("odd"), 70, "ValueError: odd"),
        (rnnc.DataError("wrong"), 1, "error: wrong"),
        (rnnc.UsageError("no"), 2, "error: no"),
        (MemoryError(), 1, "not enough memory"),
        (RecursionError(), 1, "too deeply nested"),
        (OSError(5, "Input/output error"), 1, "error: Input/output error"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_exit_codes(rnn, monkeypatch, error, code, part):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("rnnc.api.locate", fail)
    monkeypatch.setattr("rnnc.cli._silence", lambda: 1)
    ran = rnn("show", "elman.rnn")
    assert ran.code == code
    assert part in ran.err
    if code == 70:
        assert "Please report it" in ran.err
        monkeypatch.setenv("RNNC_DEBUG", "1")
        with pytest.raises(type(error)):
            rnn("show", "elman.rnn")


def test_warnings_are_words(rnn, monkeypatch):
    def warn(*_: object) -> None:
        warnings.simplefilter("always")
        warnings.warn("it is large", stacklevel=1)
        raise rnnc.UsageError("enough")

    monkeypatch.setattr("rnnc.api.locate", warn)
    assert rnn("show", "elman.rnn").err == "warning: it is large\nerror: enough\n"


def test_closed_pipe():
    code = "import sys; from rnnc.cli import main; sys.exit(main(['specs']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.close()
        assert run.stderr.read() == b""


def test_colours(rnn, monkeypatch):
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda _=None, color=None: color is False)
    assert "\x1b[31m" in rnn("check", "bad.rnn").err
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in rnn("check", "bad.rnn").err


@given(
    st.one_of(
        st.binary(max_size=80),
        st.text(max_size=80).map(str.encode),
        st.lists(st.sampled_from(ELMAN.split(" ")), max_size=40).map(
            lambda w: " ".join(w).encode()
        ),
    )
)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_garbage(rnn, data):
    Path("g.rnn").write_bytes(data)
    assert rnn("check", "g.rnn").code in (0, 1)
    assert rnn("fmt", "--check", "g.rnn").code in (0, 1)
    assert rnn("compile", "g.rnn", "-o", "g.py").code in (0, 1)
