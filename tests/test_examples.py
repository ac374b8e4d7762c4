"""The examples show what they say they show, and the tables of the reference are complete."""

from __future__ import annotations

import datetime
import importlib.util
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnc
import rnnc.train
from rnnc.graph.build.functions import DISTRIBUTIONS, FUNCTIONS, INITIALISERS
from rnnc.source import CODES

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
REFERENCE = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")


def example(name: str) -> Any:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]


def test_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    result = example("digits")(tmp_path / "out", epochs=25, seeds=(0,), repeats=1)
    assert result["accuracy"] >= 0.97
    assert result["accuracy"] > result["baseline"]
    assert result["agree"] > 0.99
    assert result["difference"] < 1e-4
    printed = capsys.readouterr().out
    assert "h[t] = sigmoid(outgate[t]) * tanh(c[t])" in printed
    assert "accuracy on 397 test digits" in printed
    x = np.zeros((1, 8, 8), "float32")
    onnx, plain = (rnnc.open(tmp_path / "out" / f"digits.{s}")(x=x)["p"] for s in ("onnx", "py"))
    np.testing.assert_allclose(onnx, plain, atol=1e-5)


def test_waves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = example("waves")(tmp_path, updates=250, seeds=(0, 1), rates=(0.03, 0.2))
    rnn, lstm, clockwork = result["simple RNN"], result["LSTM"], result["Clockwork RNN"]
    assert clockwork["rate"] == [0.2]
    assert max(clockwork["whole"]) < 0.1 < 0.5 < min(rnn["whole"] + lstm["whole"])
    assert max(clockwork["first half"]) < 0.1 < 0.4 < min(rnn["first half"] + lstm["first half"])
    assert json.loads((tmp_path / "waves.json").read_text(encoding="utf-8")) == result
    drawn = importlib.util.find_spec("matplotlib") is not None
    assert (tmp_path / "waves.png").is_file() == drawn
    assert ("No figure without matplotlib" in capsys.readouterr().out) != drawn


def test_adding(tmp_path: Path) -> None:
    result = example("adding")(tmp_path, steps=25, updates=450)
    assert result["GRU"] < 0.01
    assert result["simple RNN"] > 3 * result["GRU"]
    assert result["always 1"] == pytest.approx(1 / 6, abs=0.01)
    weights = rnnc.train.load_weights(
        tmp_path / "adding-gru.safetensors",
        rnnc.load(EXAMPLES / "adding.rnn", model="AddingGRU", m=64),
    )
    assert weights["U"].shape == (64, 64)


def test_characters(tmp_path: Path) -> None:
    result = example("characters")(tmp_path, units=64, epochs=4, limit=150_000)
    assert result["perplexity"] < 0.6 * result["unigram"]
    assert 1 < result["right"] < result["words"] < result["scrambled"]
    assert (tmp_path / "characters.safetensors").is_file()
    texts = result["writing"]
    assert all(t.startswith("The return statement ") for t in texts.values())
    assert {len(t) for t in texts.values()} == {len("The return statement ") + 120}
    assert texts["temperature 0.5"] == texts["the same seed"]
    assert len({*texts.values()}) == 4
    again = rnnc.open(tmp_path / "characters.onnx")
    assert again.generate("The return statement ", steps=120, temperature=0) == texts["greedy"]
    # What is drawn at a lower temperature is likelier to the model itself.
    judge = rnnc.load("CharLSTM", m=64, vocab=len(again.vocabulary)).compile(
        "onnx", mode="loss", weights=tmp_path / "characters.safetensors"
    )
    cold, warm = judge.score([texts["temperature 0.5"], texts["temperature 1"]])
    assert cold.perplexity < warm.perplexity


def test_dates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = example("dates")(tmp_path, units=32, count=4000, tests=200, epochs=6)
    assert result["exact"] > 0.5
    printed = capsys.readouterr().out
    assert "Where it looks, before each character that it writes:" in printed
    drawn = importlib.util.find_spec("matplotlib") is not None
    assert (tmp_path / "dates.png").is_file() == drawn
    model = rnnc.open(tmp_path / "dates.onnx")
    texts = [model.vocabulary.encode(text) for text in ("1998-03-05", "March the 5th, 1998")]
    out = model.generate(x=texts, steps=10, temperature=0)
    assert out["y"].shape == (2, 10)
    assert out["a"].shape == (2, 10, 19)
    np.testing.assert_allclose(out["a"].sum(2), 1, atol=1e-5)
    assert not out["a"][0, :, 10:].any()  # past the end of the shorter text


def test_dates_are_written_as_people_write_them() -> None:
    names = runpy.run_path(str(EXAMPLES / "dates.py"))
    forms = names["FORMS"]
    assert len({*forms}) == len(forms) == 50
    day = datetime.date(1998, 3, 5)
    assert [names["written"](day, form) for form in forms] == list(forms)
    other = datetime.date(2003, 11, 22)
    for form, text in {
        "Thursday, the 5th of March 1998": "Saturday, the 22nd of November 2003",
        "March the fifth, 1998": "November the twenty-second, 2003",
        "5.III.98": "22.XI.03", "Thu Mar 05 1998": "Sat Nov 22 2003", "3/5/98": "11/22/03",
    }.items():  # fmt: skip
        assert names["written"](other, form) == text
    _, isos = names["pairs"](3000, 0)
    assert len({*isos}) == 3000  # those of the test are none that are learned
    assert names["ISO"] not in isos


def test_slots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = example("slots")(tmp_path, sentences=3000, epochs=5, seeds=(0,))
    forward, both = result["forward only"], result["both ways"]
    assert both["all"][0] > 0.85
    assert both["words"][0] > 0.97
    assert both["after"][0] > forward["after"][0] + 0.2
    assert forward["before"][0] > 0.75
    printed = capsys.readouterr().out
    city, time = "Shanghai", "tomorrow evening at 8"
    for asked, slots in {
        f"arriving in {city} {time}": ("destination", city, "arrival", time),
        f"leaving from {city} {time}": ("origin", city, "departure", time),
        f"{time} arriving in {city}": ("arrival", time, "destination", city),
        f"{time} leaving {city}": ("departure", time, "origin", city),
    }.items():
        place, where, when, hour = slots
        expected = f"{asked}\n    {place:12}{where}\n    {when:12}{hour}\n"
        assert f"I want to book a ticket , {expected}" in printed
    assert rnnc.open(tmp_path / "slots.onnx")(w=[[1, 2, 3]])["p"].shape == (1, 3, 9)


def test_slot_filling_data() -> None:
    """No sentence of the test is of a template, an opening or a city that was learned."""
    names = runpy.run_path(str(EXAMPLES / "slots.py"))
    assert not {*names["CITIES"]} & {*names["NEW_CITIES"]}
    assert not {*names["OPENINGS"]} & {*names["NEW_OPENINGS"]}
    every = names["templates"]()
    assert len({*every}) == len(every) == 229
    sentences = names["Sentences"](names["OPENINGS"], every, names["NEW_CITIES"], 3)
    for sentence in sentences.take(300):
        before = "O"
        for _, tag in sentence:  # an I- goes on with the slot before it
            assert tag[0] != "I" or before[2:] == tag[2:]
            before = tag
        words, tags = zip(*sentence, strict=True)
        found = names["slots"](words, tags)
        assert 1 <= len(found) <= 4
        assert all(value in " ".join(words) for value in found.values())


def test_training_needs_no_rnnc(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    train = tmp_path / "train.onnx"
    spec = rnnc.load("LSTMClassifier", n=8, m=64, k=10)
    spec.compile("onnx", mode="train", optimizer="adam", clip=1.0).save(train)
    (tmp_path / "rnnc.py").write_text("raise ImportError('no rnnc here')\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert "no rnnc here" in python("-c", "import rnnc").stderr
    ran = python(str(EXAMPLES / "onnx_only.py"), str(train), "10")
    assert ran.returncode == 0, ran.stderr
    found = re.search(r"accuracy on 397 test digits: ([\d.]+)%", ran.stdout)
    assert found
    assert float(found[1]) >= 95


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
