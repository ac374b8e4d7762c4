"""The examples show what they say they show, and the tables of the reference are complete."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import rnnc
from rnnc.graph.build.functions import DISTRIBUTIONS, FUNCTIONS, INITIALISERS
from rnnc.source import CODES

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
REFERENCE = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")


def test_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    main = runpy.run_path(str(EXAMPLES / "digits.py"))["main"]
    result = main(tmp_path / "out", repeats=1)
    assert result["accuracy"] > 0.85
    assert result["agree"] > 0.99
    assert result["difference"] < 1e-4
    assert result["reopened"] == 1
    assert (tmp_path / "out" / "digits.onnx").is_file()
    printed = capsys.readouterr().out
    assert "h[t] = sigmoid(outgate[t]) * tanh(c[t])" in printed
    assert "accuracy on 397 test digits" in printed


def test_all_codes_are_documented() -> None:
    _, _, table = REFERENCE.partition("\n## Diagnostics\n")
    assert re.findall(r"^\| (RNN\d+) \|", table, re.MULTILINE) == list(CODES)


def test_all_functions_are_documented() -> None:
    written = {word for code in re.findall(r"`([^`\n]+)`", REFERENCE)
               for word in re.findall(r"[a-z_]+", code)}  # fmt: skip
    assert {*FUNCTIONS, *DISTRIBUTIONS, *INITIALISERS} - written == set()


def test_the_library_has_as_many_models_as_the_readme_says() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"holds {len(rnnc.library())} models" in readme
