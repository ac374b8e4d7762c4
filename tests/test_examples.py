"""The examples run, in a short form, and show what they say they show."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


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
