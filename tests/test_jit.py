"""``jit``: NumPy source with loops that numba compiles gives what it gives without.

What needs numba is skipped where that is not installed: pip install ".[numba]".
"""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from test_agreement import LIBRARY, small, uneven

import rnnc
from rnnc.bench.forms import Case
from rnnc.cli import main
from rnnc.runtime import numpy_model
from rnnc.source import UsageError

installed = pytest.mark.skipif(not find_spec("numba") or not find_spec("scipy"), reason="no numba")


def source(spec: rnnc.Spec, monkeypatch: pytest.MonkeyPatch, **options: Any) -> str:
    """The text with compiled loops, whether or not numba is there to run it."""
    monkeypatch.setattr(numpy_model, "_execute", lambda *_: {"prepare": None, "run": None})
    monkeypatch.setattr(numpy_model, "find_spec", lambda _: True)
    return spec.compile("numpy", jit=True, **options).source


def compiled(text: str) -> list[str]:
    """The names of the functions that numba compiles."""
    found = (f for f in ast.parse(text).body if isinstance(f, ast.FunctionDef))
    return [f.name for f in found if [ast.unparse(d) for d in f.decorator_list] == ["jit"]]


# of what an attention decoder does in a step, and of loops in loops, numba takes nothing
@pytest.mark.parametrize(
    ("name", "mode", "loops"),
    [("LSTM", "predict", 1), ("LSTM", "grad", 2), ("Bidirectional", "predict", 2),
     ("LSTMLayerNorm", "predict", 1), ("MinGRU", "predict", 1), ("MDRNN", "predict", 0)],
)  # fmt: skip
def test_which_loops(name: str, mode: str, loops: int, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = rnnc.load(name, **small(name))
    text = source(spec, monkeypatch, mode=mode)
    assert len(compiled(text)) == loops
    assert ("numba" in text) == (loops > 0)
    for function in ast.parse(text).body:  # nothing but what it is given
        if isinstance(function, ast.FunctionDef) and function.name in compiled(text):
            names = [x for x in ast.walk(function) if isinstance(x, ast.Name)]
            made = {a.arg for a in function.args.args}
            made |= {x.id for x in names if isinstance(x.ctx, ast.Store)}
            read = {x.id for x in names if isinstance(x.ctx, ast.Load)} - made
            assert read <= {"np", "jit", "range", "REAL", "tanh", "abs"}


def test_numba_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_model, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install 'rnnc\[numba\]'"):
        rnnc.load("LSTM", n=3, m=4).compile("numpy", jit=True)
    rnnc.load("MDRNN", **small("MDRNN")).compile("numpy", jit=True)  # has no loop to compile


def test_jit_is_for_numpy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="jit is for NumPy source"):
        rnnc.load("LSTM", n=3, m=4).compile("onnx", jit=True)
    assert main(["compile", "LSTM", "--set", "m=4", "--jit", "-o", str(tmp_path / "a.onnx")]) == 2
    assert "end the output in .py" in capsys.readouterr().err


def case(name: str, mode: str, batch: int = 2, steps: int = 4, dtype: str = "float64") -> Case:
    spec = rnnc.load(name, **small(name))
    times = uneven(spec, steps)
    axes = {a: times[spec.system.axes[a].length] for a in spec.system.time_axes()}
    return Case(spec, mode, batch, {**times, **axes}, dtype)


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A numba that compiles nothing: Python runs the functions, wherever numba is not installed."""
    stand_in = ModuleType("numba")
    stand_in.__dict__["njit"] = lambda **_: lambda function: function
    monkeypatch.setitem(sys.modules, "numba", stand_in)
    for name in ("scipy", "scipy.linalg", "scipy.linalg.cython_blas"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(numpy_model, "find_spec", lambda _: True)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("name", LIBRARY)
def test_library(name: str) -> None:
    """What the functions compute, whoever runs them: gradients, for which loops go both ways."""
    agrees(name, "grad" if rnnc.load(name, **small(name)).system.params else "predict")


@installed
@pytest.mark.parametrize("mode", ["predict", "grad"])
@pytest.mark.parametrize("name", LIBRARY)
def test_library_compiled(name: str, mode: str) -> None:
    agrees(name, mode)


def agrees(name: str, mode: str) -> None:
    one = case(name, mode)
    if mode == "grad" and not one.spec.system.params:
        pytest.skip("nothing to learn")
    fast = one.numba()
    if fast is None:
        pytest.skip("no loop that numba takes")
    found, wanted = fast(), one.numpy()()
    for key, array in wanted.items():
        assert_allclose(found[key], array, rtol=1e-9, atol=1e-11, err_msg=key)


# states that are numbers, of all sequences or of each; vectors of one feature
NARROW = {
    "a counter": "k[t] = k[t-1] + 1\nk[0] = 0\nh[t] = tanh(U h[t-1] + x[t] * k[t])\noutput h",
    "numbers": "s[t] = tanh(a + s[t-1])\nr[t] = tanh(sum(x[t]) + r[t-1])\n"
    "h[t] = s[t] * r[t] * h[t-1] + x[t]\noutput h, s",
    "one feature": "g[t] = sigmoid(V x[t] + b * g[t-1])\nh[t] = tanh(U h[t-1] + sum(g[t]) * x[t])\n"
    "output h",
}


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("mode", ["predict", "grad"])
@pytest.mark.parametrize("name", NARROW)
def test_narrow_states(name: str, mode: str) -> None:
    head = "model M\ndim m = 3, o = 1\ninput x[t] : [m]\nparam U : [m, m],  V : [o, m],  "
    spec = rnnc.parse(f"{head}a : [],  b : [o]\n{NARROW[name]}")
    one = Case(spec, mode, 3, {"t": 4, "T": 4}, "float64")
    fast = one.numba()
    assert fast is not None
    found, wanted = fast(), one.numpy()()
    for key, array in wanted.items():
        assert_allclose(found[key], array, rtol=1e-9, atol=1e-11, err_msg=key)


def test_a_module_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    text = source(rnnc.load("LSTM", n=3, m=4), monkeypatch)
    for name in ("numba", "scipy.linalg.cython_blas"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="pip install numba scipy"):
        exec(compile(text, "lstm.py", "exec"), {})


SIZES = [(1, 1), (1, 9), (20, 3)]


@installed
@pytest.mark.parametrize("name", ["LSTM", "GRUResetAfter", "LEM"])
def test_sizes_and_single_precision(name: str) -> None:
    """A function is compiled once for all sizes; tanh in float32 is rnnc's own."""
    spec = rnnc.load(name, **small(name))
    plain, fast = (spec.compile("numpy", weights=spec.init(0), jit=jit) for jit in (False, True))
    for batch, steps in SIZES:
        x = 3 * np.random.default_rng(0).normal(size=(batch, steps, 3)).astype(np.float32)
        for key, array in plain(x=x).items():
            assert_allclose(fast(x=x)[key], array, rtol=0, atol=2e-6, err_msg=key)
    (function,) = compiled(fast.source)
    assert len(fast._namespace[function].signatures) == 1


@installed
def test_tanh() -> None:
    fast = rnnc.load("Elman", n=1, m=1, k=2).compile("numpy", jit=True)
    tanh = fast._namespace["tanh"]
    x = np.concatenate([np.linspace(-12, 12, 4001), [-np.inf, np.inf]]).astype(np.float32)
    found = np.array([tanh(v) for v in x])
    assert_allclose(found, np.tanh(x.astype(float)), rtol=3e-7, atol=0)
    assert np.isnan(tanh(np.float32(np.nan)))


@installed
def test_a_file_keeps_what_was_compiled(tmp_path: Path) -> None:
    path = tmp_path / "gru.py"
    rnnc.load("GRU", n=3, m=4).compile("numpy", jit=True).save(path)
    subprocess.run([sys.executable, path], check=True, capture_output=True)
    assert list(tmp_path.glob("__pycache__/*.nbi"))
    assert set(rnnc.open(path).ports.outputs[0].dims) == {"batch", "T", 4}
