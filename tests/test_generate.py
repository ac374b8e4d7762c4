"""Generation and scores: what is drawn is distributed as the spec says, whoever draws it."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import rnnc
from rnnc.cli import main
from rnnc.compiler import Options, final
from rnnc.passes.generate import generate
from rnnc.passes.mode import predicting
from rnnc.runtime.reference import evaluate
from rnnc.train import Text, Vocabulary
from rnnc.train.checkpoint import save_weights
from tests.by_hand import Hand

NDA = NDArray[Any]

MARKOV = """
model Markov
dim   k = 4
param A : [k, k]
y[0] = 0
p[t] = softmax(A[y[t-1]])
target y[t] : index(k) ~ categorical(p[t])
output p
"""
CHARS = """
model Chars
dim   k = 5, m = 6
param E : [m, k] ~ normal(0, 1)
param W : [m, m] ~ normal(0, 1)
param V : [k, m] ~ normal(0, 1)
y[0] = 0
h[t] = tanh(W h[t-1] + E onehot(y[t-1], k))
p[t] = softmax(V h[t])
target y[t] : index(k) ~ categorical(p[t])
output p
"""
BACKENDS = ["numpy", "onnx"]


def compiled(text: str, backend: str = "numpy", **options: Any) -> Any:
    spec = rnnc.parse(text)
    options = {"weights": spec.init(seed=1, dtype="float64"), "dtype": "float64", **options}
    return spec.compile(backend, mode="generate", **options)


def softmax(x: NDA) -> NDA:
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def assert_frequencies(drawn: NDA, wanted: NDA) -> None:
    """Each class comes up as often as it should, within five standard deviations; a class that is
    off by a few percent fails."""
    found = np.bincount(drawn, minlength=len(wanted)) / len(drawn)
    assert (np.abs(found - wanted) <= 5 * np.sqrt(wanted * (1 - wanted) / len(drawn))).all(), found


# ---------------------------------------------------------------- distributions


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
@pytest.mark.parametrize("backend", BACKENDS)
def test_categorical(backend: str, temperature: float) -> None:
    """A Markov chain goes from each state to the next as often as its matrix says."""
    a = np.random.default_rng(0).normal(size=(4, 4))
    model = compiled(MARKOV, backend, weights={"A": a})
    y = model.generate(steps=40, batch=300, temperature=temperature)["y"]
    assert y.shape == (300, 40)
    assert y.dtype == np.int64
    for state in range(4):
        after = y[:, 1:][y[:, :-1] == state]
        assert len(after) > 500
        assert_frequencies(after, softmax(a[state] / temperature))
    assert_frequencies(y[:, 0], softmax(a[0] / temperature))  # y[0] = 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_top_k(backend: str) -> None:
    a = np.array([[1.0, 3.0, 2.0, -1.0]] * 4)
    model = compiled(MARKOV, backend, weights={"A": a}, top_k=2)
    y = model.generate(steps=10, batch=400)["y"]
    kept = softmax(np.array([-np.inf, 3.0, 2.0, -np.inf]))
    assert_frequencies(y.ravel(), kept)
    # as many as there are is all of them; one is the most likely
    everything = compiled(MARKOV, backend, weights={"A": a}, top_k=9)
    assert set(everything.generate(steps=10, batch=40)["y"].flat) == {0, 1, 2, 3}
    best = compiled(CHARS, backend, top_k=1).generate(steps=12, batch=2)
    assert_array_equal(best["y"], best["p"].argmax(-1))


CLASSES = """
model Dice
dim   k = 3
param a : [k] ~ ones
p = a / sum(a)
target y[t] : index(k) ~ categorical(p)
output p
"""


def test_probabilities_that_are_no_softmax() -> None:
    """And a class of probability 0 is never drawn, whatever the uniform number."""
    a = np.array([1.0, 3.0, 0.0])
    model = compiled(CLASSES, weights={"a": a})
    y = model.generate(steps=20, batch=300)["y"].ravel()
    assert_frequencies(y[y < 2], np.array([0.25, 0.75]))
    assert y.max() == 1
    cooler = model.generate(steps=20, batch=300, temperature=0.5)["y"].ravel()
    assert_frequencies(cooler[cooler < 2], np.array([0.1, 0.9]))
    assert (model.generate(steps=3, temperature=0)["y"] == 1).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_always_in_range(backend: str, dtype: str) -> None:
    """Uniform numbers next to 1, sums that rounding moved, logits that are no numbers."""
    n = 50
    rng = np.random.default_rng(0)
    text = CLASSES.replace("k = 3", "k = 1000").replace("p = a / sum(a)", "p = softmax(a)")
    below = np.nextafter(np.ones((), dtype), np.zeros((), dtype))
    for logits in (rng.normal(size=1000), 30 * rng.normal(size=1000)):
        logits[-1] = -np.inf
        model = compiled(text, backend, weights={"a": logits}, dtype=dtype)
        given = {"y.prompt": np.zeros((1, n), int), "y.given": [0], "y.end": -1, "temperature": 1.0}
        y = model.run({**given, "y.uniform": np.full((1, n), below)})["y"]
        assert (y < 999).all()
        assert (softmax(logits)[y] > 0).all()
        y = model.run({**given, "y.uniform": np.zeros((1, n))})["y"]
        assert (softmax(logits.astype(dtype))[y] > 0).all()
    for logits in (np.full(1000, np.nan), np.where(np.arange(1000) == 7, np.nan, 0.0)):
        for top_k in (None, 3):
            model = compiled(text, backend, weights={"a": logits}, dtype=dtype, top_k=top_k)
            y = model.generate(steps=n)["y"]
            assert ((y >= 0) & (y < 1000)).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_bernoulli(backend: str) -> None:
    text = """
model Flags
param a : [3]
p = {p}
target y[t] : [3] ~ bernoulli(p)
output p
"""
    a = np.array([-1.0, 0.0, 2.0])
    p = 1 / (1 + np.exp(-a))
    for formula in ("sigmoid(a)", "exp(a) / (1 + exp(a))"):
        model = compiled(text.format(p=formula), backend, weights={"a": a})
        y = model.generate(steps=10, batch=500)["y"]
        assert y.shape == (500, 10, 3)
        assert set(y.flat) == {0.0, 1.0}
        spread = 5 * np.sqrt(p * (1 - p) / 5000)
        assert (np.abs(y.mean((0, 1)) - p) < spread).all()
        assert (np.abs(np.corrcoef(y.reshape(-1, 3).T) - np.eye(3)) < 0.08).all()
        cold = 1 / (1 + np.exp(-a / 0.5))
        y = model.generate(steps=10, batch=500, temperature=0.5)["y"]
        assert (np.abs(y.mean((0, 1)) - cold) < spread + 1e-3).all()
        y = model.generate(steps=2, temperature=0)["y"]
        assert_array_equal(y[0], [[0, 0, 1]] * 2)  # 1 where p is above one half


@pytest.mark.parametrize("backend", BACKENDS)
def test_normal(backend: str) -> None:
    text = """
model Walk
param s : [2] ~ ones
target y[t] : [2] ~ normal(y[t-1] + 1, s)
loss 0 * sum(y[t])
output q
q[t] = y[t-1] + 1
"""
    s = np.array([0.5, 2.0])
    model = compiled(text, backend, weights={"s": s})
    out = model.generate(steps=10, batch=1000)
    z = (out["y"] - out["q"]) / s
    assert abs(z.mean()) < 5 / np.sqrt(z.size)
    assert abs(z.std() - 1) < 0.02
    assert abs((z**4).mean() - 3) < 0.25  # as normal as that
    assert abs(np.corrcoef(z[..., 0].ravel(), z[..., 1].ravel())[0, 1]) < 0.05
    wild = model.generate(steps=10, batch=1000, temperature=2)
    assert abs(((wild["y"] - wild["q"]) / s).std() - 2) < 0.04
    still = model.generate(steps=3, temperature=0, prompt=np.array([[5.0, 0.0]]))
    assert_allclose(still["y"][0], [[5, 0], [6, 1], [7, 2], [8, 3]])


# ---------------------------------------------------------------- who draws


def hand_greedy(text: str, weights: dict[str, NDA], prompt: list[int], steps: int) -> list[int]:
    """The most likely symbol after each, by the definition of the model."""
    system = predicting(rnnc.parse(text).bound)
    y = list(prompt)
    for _ in range(steps):
        p = evaluate(system, {"y": np.array([[*y, 0]]), **weights})["p"]
        y.append(int(p[0, -1].argmax()))
    return y


@pytest.mark.parametrize("backend", BACKENDS)
def test_greedy_is_argmax(backend: str) -> None:
    spec = rnnc.parse(CHARS)
    for seed in range(3):
        weights = spec.init(seed=seed, dtype="float64")
        model = compiled(CHARS, backend, weights=weights)
        found = model.generate([3, 1], steps=10, temperature=0)["y"][0]
        assert found.tolist() == hand_greedy(CHARS, weights, [3, 1], 10)


@pytest.mark.parametrize("top_k", [None, 2])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_reference_numpy_onnx(temperature: float, top_k: int | None) -> None:
    """The same uniform numbers give the same draws and outputs, by the definition, too."""
    spec = rnnc.parse(CHARS)
    weights = spec.init(seed=2, dtype="float64")
    rng = np.random.default_rng(0)
    data = {
        "y.prompt": rng.integers(0, 5, (3, 9)),
        "y.given": np.array([0, 2, 9]),
        "y.end": np.array(-1),
        "y.uniform": rng.random((3, 9)),
        "temperature": np.array(temperature),
    }
    with np.errstate(divide="ignore"):
        wanted = evaluate(generate(predicting(spec.bound), top_k), {**data, **weights})
    assert (wanted["y"][2] == data["y.prompt"][2]).all()
    for backend in BACKENDS:
        found = compiled(CHARS, backend, weights=weights, top_k=top_k).run(data)
        assert_array_equal(found["y"], wanted["y"])
        assert_allclose(found["p"], wanted["p"], rtol=1e-10)
        flat = compiled(CHARS, backend, weights=weights, top_k=top_k, unroll=9).run(data)
        assert_array_equal(flat["y"], wanted["y"])


def test_seed() -> None:
    models = [compiled(CHARS, backend) for backend in BACKENDS]
    drawn = [m.generate(steps=30, batch=2, seed=5)["y"] for m in (*models, models[0])]
    assert_array_equal(drawn[0], drawn[1])
    assert_array_equal(drawn[0], drawn[2])
    assert (drawn[0] != models[0].generate(steps=30, batch=2, seed=6)["y"]).any()
    assert (drawn[0][0] != drawn[0][1]).any()  # the sequences of a batch are drawn apart


def test_generated_stepped_and_scored() -> None:
    """Generating greedily, one step at a time, and reading what was generated agree."""
    spec = rnnc.load("CharLSTM", vocab=7, m=5)
    rng = np.random.default_rng(3)
    weights = {n: rng.normal(size=a.shape) for n, a in spec.init().items()}
    make = {"weights": weights, "dtype": "float64"}
    drawn = spec.compile("numpy", mode="generate", **make).generate(
        steps=12, batch=1, temperature=0
    )
    assert len(set(drawn["y"].flat)) > 1
    step = spec.compile("numpy", mode="step", **make)
    states: dict[str, NDA] = {}  # all 0, as y[0] is
    for t in range(12):
        out = step.run({"y": np.zeros(1, int), **states})
        assert_allclose(out["p"][0], drawn["p"][0, t], rtol=1e-9)
        states = {before: out[after] for before, after in step.ports.states}
        states["y.prev"] = out["p"].argmax(-1)
        assert states["y.prev"][0] == drawn["y"][0, t]
    read = spec.compile("onnx", **make)(y=drawn["y"])
    assert_allclose(read["p"], drawn["p"], rtol=1e-9)
    (score,) = spec.compile("onnx", mode="loss", **make).score(drawn["y"])
    wanted = np.log(read["p"].max(-1)).sum()
    assert_allclose(score.log_likelihood, wanted, rtol=1e-9)
    assert score.steps == 12
    assert_allclose(score.perplexity, np.exp(-wanted / 12), rtol=1e-9)


# ---------------------------------------------------------------- prompts, steps, ends


@pytest.mark.parametrize("backend", BACKENDS)
def test_prompts(backend: str) -> None:
    model = compiled(CHARS, backend)
    out = model.generate([[4, 3, 2], [1], []], steps=5, temperature=0)["y"]
    assert out.shape == (3, 8)
    assert out[0, :3].tolist() == [4, 3, 2]
    assert out[1, 0] == 1
    for row, prompt in zip(out, ([4, 3, 2], [1], []), strict=True):  # each as if alone
        alone = model.generate(prompt, steps=8 - len(prompt), temperature=0)["y"]
        assert_array_equal(row, alone[0])
    assert model.generate(np.array([[2, 2]]), steps=1, batch=4)["y"].shape == (4, 3)


def test_end() -> None:
    model = compiled(MARKOV, weights={"A": np.zeros((4, 4))})
    plain = model.generate([[2, 1], [3]], steps=30, seed=1)
    ended = model.generate([[2, 1], [3]], steps=30, seed=1, end=2)
    assert "y.length" not in plain
    for i, given in enumerate((2, 1)):
        row, n = plain["y"][i], ended["y.length"][i]
        first = given + row[given:].tolist().index(2)  # that of the prompt does not count
        assert n == first + 1
        assert_array_equal(ended["y"][i, :n], row[:n])
        assert (ended["y"][i, n:] == 2).all()
    never = compiled(MARKOV, weights={"A": np.array([[0.0, 0, -np.inf, 0]] * 4)})
    out = never.generate(steps=9, end=2)
    assert out["y.length"].tolist() == [9]
    assert (out["y"] != 2).all()


def test_inputs_tell_how_many_steps() -> None:
    text = """
model Tagger
dim   n = 2, k = 3, m = 4
input x[t] : [n]
param W : [m, m],  U : [m, n] ~ normal(0, 2),  E : [k, m],  V : [k, m] ~ normal(0, 2)
y[0] = 0
h[t] = tanh(W h[t-1] + U x[t] + E[y[t-1]])
p[t] = softmax(V h[t])
target y[t] : index(k) ~ categorical(p[t])
output h
"""
    model = compiled(text)
    x = np.random.default_rng(0).normal(size=(2, 6, 2))
    out = model.generate(x=x)
    assert out["y"].shape == (2, 6)
    assert list(out) == ["y", "h"]
    assert (model.generate([1, 1], x=x)["y"][:, :2] == 1).all()
    for wrong, part in (
        ({"steps": 4}, "4 cannot be drawn"),
        ({"prompt": [[1]] * 3}, "numbers of sequences disagree"),
        ({"prompt": [[1] * 7]}, "has 7 steps, the sequence 6"),
    ):
        with pytest.raises(rnnc.DataError, match=part):
            model.generate(x=x, **wrong)


def test_a_class_and_several_targets() -> None:
    text = """
model Two
dim   k = 3
input x : [k]
z = softmax(x)
r[t] = softmax(A[y[t-1]])
param A : [k, k] ~ normal(0, 1)
y[0] = 0
target kind : index(k) ~ categorical(z)
target y[t] : index(k) ~ categorical(r[t])
target u[t] : [] ~ normal(y[t], 0.001)
output z
"""
    model = compiled(text)
    x = np.array([[9.0, 0, 0], [0, 0, 9.0]])
    out = model.generate({"y": [2]}, steps=7, temperature=0, x=x)
    assert list(out) == ["kind", "y", "u", "z"]
    assert out["kind"].tolist() == [0, 2]
    assert (out["y"][:, 0] == 2).all()
    assert_allclose(out["u"], out["y"])
    with pytest.raises(rnnc.UsageError, match="give prompts by name"):
        model.generate([1], steps=3, x=x)
    single = rnnc.load("LSTMClassifier", n=2, m=3, k=4)
    judge = single.compile("numpy", mode="generate", weights=single.init())
    assert judge.generate(x=np.ones((5, 3, 2)))["y"].shape == (5,)


def test_no_input_and_no_sequence() -> None:
    """Nothing but the caller tells how many are drawn."""
    text = (
        "model Coin\nparam a : [2]\np = softmax(a)\ntarget y : index(2) ~ categorical(p)\noutput p"
    )
    y = compiled(text, weights={"a": np.zeros(2)}).generate(batch=2000)["y"]
    assert_frequencies(y, np.array([0.5, 0.5]))


SEQUENCES = """
model Translate
dim   a = 6, k = 5, m = 4
axis  s : S
input w[s] : index(a)
param E : [a, m],  F : [k, m],  R, Q, W, U : [m, m],  V : [k, m] ~ normal(0, 1)
h[s] = tanh(R h[s-1] + E[w[s]])
y[0] = 0
d[0] = h[S]
e[t, s] = dot(d[t-1], Q h[s])
c[t] = sum[s](softmax[s](e[t, s]) * h[s])
d[t] = tanh(W d[t-1] + F[y[t-1]] + U c[t])
p[t] = softmax(V d[t])
target y[t] : index(k) ~ categorical(p[t])
output p
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_sequence_to_sequence(backend: str) -> None:
    """A decoder with attention: what it drew is what reading it finds most likely."""
    spec = rnnc.parse(SEQUENCES)
    rng = np.random.default_rng(0)
    make = {
        "weights": {n: rng.normal(size=a.shape) for n, a in spec.init().items()},
        "dtype": "float64",
        "vocabulary": Vocabulary("abcde"),
    }
    w = rng.integers(0, 5, (2, 3))
    drawn = spec.compile(backend, mode="generate", **make).generate(w=w, steps=6, temperature=0)
    read = spec.compile(backend, **make)(w=w, y=drawn["y"])["p"]
    assert_allclose(drawn["p"], read, rtol=1e-9)
    assert_array_equal(read.argmax(-1), drawn["y"])
    judge = spec.compile(backend, mode="loss", **make)
    texts = [make["vocabulary"].decode(row) for row in drawn["y"]]
    scores = judge.score(texts, w=["".join("abcde"[i] for i in row) for row in w])
    for score, p in zip(scores, read, strict=True):
        assert_allclose(score.log_likelihood, np.log(p.max(-1)).sum(), rtol=1e-9)
    model = spec.compile(backend, mode="generate", **make)
    source = "".join("abcde"[i] for i in w[0])
    assert model.generate("", w=source, steps=6, temperature=0) == texts[0]
    with pytest.raises(rnnc.DataError, match=r'w have 2 to 3 steps: .* lengths=\("s",\)'):
        model.generate("", w=["ab", "abc"], steps=2)
    with pytest.raises(rnnc.DataError, match="1 entries, for 2 sequences"):
        judge.score(texts, w=["abc"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_texts_of_several_lengths(backend: str) -> None:
    """Texts in, texts out; numbers in, arrays out: each is what it is alone."""
    spec = rnnc.parse(SEQUENCES)
    known = Vocabulary("abcde")
    make: dict[str, Any] = {
        "weights": {n: 2 * w for n, w in spec.init(3, "float64").items()},
        "dtype": "float64", "vocabulary": "abcde", "mode": "generate",
    }  # fmt: skip
    alone = spec.compile(backend, **make)
    model = spec.compile(backend, lengths=("s",), **make)
    assert model.vocabulary == known
    texts = ["abc", "eedda", "b"]
    options: dict[str, Any] = {"steps": 6, "temperature": 0}
    each = [alone.generate(w=text, **options) for text in texts]
    assert {len(text) for text in each} == {6}
    assert len(set(each)) > 1
    assert model.generate(w=texts, **options) == each
    assert model.generate(w=np.array(texts), **options) == each
    assert model.generate("", w=texts, **options) == each
    assert model.generate(w=texts[:1], **options) == each[:1]
    assert alone.generate("a", w=texts[0], **options).startswith("a")
    # one input serves all prompts, as one prompt serves all inputs
    two = alone.generate(["a", "b"], w=texts[1], **options)
    assert two == [alone.generate(p, w=texts[1], **options) for p in "ab"]
    assert alone.generate(w="abc", batch=2, **options) == 2 * each[:1]
    numbers = [known.encode(text) for text in texts]
    out = model.generate(w=numbers, **options)
    assert [known.decode(row) for row in out["y"]] == each
    for i, row in enumerate(numbers):
        one = alone.generate(w=row[None], **options)
        assert_allclose(out["p"][i], one["p"][0], rtol=1e-9)
    drawn = model.generate(prompt=[0], w=numbers[0][None], **options)
    assert drawn["y"].shape == (1, 7)
    for wrong, message in (
        ({"w": texts}, r"w have 1 to 5 steps: .* lengths=\(\"s\",\)"),
        ({"w": numbers}, r"w have 1 to 5 steps: .* lengths=\(\"s\",\)"),
        ({"w": []}, "w is an empty list"),
        ({"w": [[]]}, "w .* has no steps"),
        ({"w": np.zeros((0, 3), int)}, "w is an empty batch"),
        ({"prompt": ["a", "b"], "w": ["aa", "bb", "cc"]}, "2 for y, 3 for w"),
    ):
        with pytest.raises(rnnc.DataError, match=message):
            alone.generate(**wrong, **options)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["predict", "loss"])
def test_texts_in_every_mode(mode: str, backend: str) -> None:
    spec = rnnc.parse(SEQUENCES)
    make: dict[str, Any] = {"weights": spec.init(), "mode": mode}
    model = spec.compile(backend, vocabulary="abcde", lengths=("s", "t"), **make)
    name, tolerance = {"predict": "p", "loss": "loss"}[mode], {"rtol": 1e-4, "atol": 1e-6}
    w, y = np.array([[0, 1, 2], [3, 4, 0]]), np.array([[1, 1], [2, 0]])
    found = model(w=["abc", "de"], y=["bb", "c"])[name]
    wanted = model(w=w, y=y, lengths={"s": [3, 2], "t": [2, 1]})[name]
    assert_allclose(found, wanted, **tolerance)
    lists = {"w": [w[0], w[1, :2]], "y": [y[0], y[1, :1]]}
    assert_allclose(model(**lists)[name], wanted, **tolerance)
    assert_allclose(model.run({**lists, "s.lengths": [3, 2]})[name], wanted, **tolerance)
    with pytest.raises(rnnc.DataError, match=r"s.lengths are not the numbers of steps .* in w"):
        model(**lists, lengths={"s": [3, 1]})
    with pytest.raises(rnnc.DataError, match="y has 1 sequences, w has 2"):
        model(w=lists["w"], y=[[1, 1]])
    bare = spec.compile(backend, **make)
    with pytest.raises(rnnc.DataError, match=r"w have 2 to 3 steps: .* lengths=\(\"s\",\)"):
        bare(w=lists["w"], y=y)
    for texts in (["ab"], np.array(["ab"]), "ab"):
        with pytest.raises(rnnc.DataError, match=r"no vocabulary .* with vocabulary=…"):
            bare(w=texts, y=y)
    with pytest.raises(rnnc.DataError, match=r"w holds 6; .* 0 to 5 .a = 6.: .* set a = 7 or more"):
        bare(w=[[6, 0]], y=y[:1])


# ---------------------------------------------------------------- what is wrong


def test_usage() -> None:
    model = compiled(CHARS)
    for error, part, options in (
        (rnnc.UsageError, "steps=…", {}),
        (rnnc.UsageError, "at least 1", {"steps": 0}),
        (rnnc.UsageError, "temperature", {"steps": 2, "temperature": -1}),
        (rnnc.UsageError, "temperature", {"steps": 2, "temperature": float("nan")}),
        (rnnc.DataError, "holds 5", {"steps": 2, "prompt": [5]}),
        (rnnc.DataError, "a prompt of y", {"steps": 2, "prompt": [[0.5]]}),
        (rnnc.DataError, "no vocabulary", {"steps": 2, "prompt": "abc"}),
        (rnnc.DataError, "end = 5", {"steps": 2, "end": 5}),
        (rnnc.DataError, "takes no z", {"steps": 2, "z": [1]}),
        (rnnc.DataError, "no sequence q", {"steps": 2, "prompt": {"q": [1]}}),
    ):
        with pytest.raises(error, match=part):
            model.generate(**options)
    spec = rnnc.parse(CHARS)
    other = spec.compile("numpy", weights=spec.init())
    with pytest.raises(rnnc.UsageError, match="mode='generate'"):
        other.generate(steps=3)
    with pytest.raises(rnnc.UsageError, match="compiled for mode predict"):
        other.score(["a"])
    with pytest.raises(rnnc.UsageError, match="top_k is for mode generate"):
        spec.compile("numpy", top_k=3)
    with pytest.raises(rnnc.UsageError, match="top_k is an option of compile"):
        model.generate(steps=3, top_k=3)
    for wrong, error, part in (
        (7, rnnc.UsageError, "not int"),
        (["a", 1], rnnc.UsageError, "not list"),
        ("abcdef", rnnc.DataError, "6 symbols, more than any index of Chars"),
        ("abca", rnnc.DataError, "'a' twice"),
        (["a b"], rnnc.DataError, "no blanks"),
    ):
        with pytest.raises(error, match=part):
            spec.compile("numpy", vocabulary=wrong)
    words = spec.compile("numpy", vocabulary=["one", "two"]).vocabulary
    assert words == Vocabulary(("one", "two"))
    with pytest.raises(rnnc.UsageError, match="one class or more"):
        spec.compile("numpy", mode="generate", top_k=0)
    with pytest.raises(rnnc.UsageError, match="categorical"):
        rnnc.load("Jordan", n=2).compile("numpy", mode="generate", top_k=2)


@pytest.mark.parametrize(
    ("options", "error", "part"),
    [
        ({"prompt": 1}, rnnc.DataError, "a prompt of y is"),
        ({"prompt": object()}, rnnc.DataError, "a prompt of y is"),
        ({"steps": 2.5}, rnnc.UsageError, "steps is a whole number, not 2.5"),
        ({"steps": "3"}, rnnc.UsageError, "steps is a whole number, not '3'"),
        ({"steps": True}, rnnc.UsageError, "steps is a whole number, not True"),
        ({"batch": 2.5}, rnnc.UsageError, "batch is a whole number"),
        ({"temperature": "1"}, rnnc.UsageError, "temperature is a number, not '1'"),
        ({"temperature": None}, rnnc.UsageError, "temperature is a number, not None"),
        ({"seed": -1}, rnnc.UsageError, "a seed is a whole number from 0 on"),
        ({"seed": 1.5}, rnnc.UsageError, "seed is a whole number, not 1.5"),
        ({"seed": "x"}, rnnc.UsageError, "seed is a whole number, not 'x'"),
        ({"end": ""}, rnnc.DataError, "end is one symbol; '' is none"),
        ({"end": 1.5}, rnnc.UsageError, "end is a whole number"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], error: type[Exception], part: str) -> None:
    with pytest.raises(error, match=part):
        compiled(CHARS, vocabulary="abcde").generate(**{"steps": 3, **options})


@pytest.mark.parametrize("wrong", [3, None, {}, np.array(3)])
def test_what_is_no_list_has_no_scores(wrong: Any) -> None:
    spec = rnnc.parse(CHARS)
    model = spec.compile("numpy", mode="loss", weights=spec.init())
    with pytest.raises(rnnc.UsageError, match="score takes a list with an entry for each"):
        model.score(wrong)
    with pytest.raises(rnnc.UsageError, match="q is int"):
        model.score([[1]], q=3)
    for empty in ([[]], [""], [np.zeros(0, int)]):
        with pytest.raises(rnnc.DataError, match="one of the sequences is empty"):
            model.score(empty)


@pytest.mark.parametrize(
    "options",
    [
        {"lengths": 5}, {"inputs": 5}, {"unroll": {"t": 2.5}}, {"unroll": "t=2"}, {"unroll": True},
        {"top_k": "2", "mode": "generate"}, {"top_k": 2.5, "mode": "generate"}, {"threads": "a"},
        {"mode": ["loss"]}, {"hyper": 3, "mode": "train"}, {"clip": "a", "mode": "train"},
        {"optimizer": 3, "mode": "train"},
    ],
)  # fmt: skip
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(rnnc.UsageError):
        rnnc.parse(CHARS).compile("numpy", **options)


@pytest.mark.parametrize("wrong", ["a", object(), [[1], [1, 2]], 1])
def test_wrong_inputs_of_a_stream(wrong: Any) -> None:
    spec = rnnc.parse(CHARS)
    stream = spec.stream(weights=spec.init())
    for _ in range(2):  # at the first step, and in the middle
        with pytest.raises(rnnc.DataError):
            stream(y=wrong)
        stream(y=[1])


def test_weights_bring_their_sizes(tmp_path: Path) -> None:
    """As on the command line; else the message says what they were trained with."""
    spec, text = rnnc.parse(CHARS), CHARS.replace("m = 6", "m")
    save_weights(tmp_path / "w.npz", spec.init(), spec)
    model = rnnc.parse(text).compile("numpy", weights=tmp_path / "w.npz")
    assert model.ports.extra["dims"] == {"k": 5, "m": 6}
    assert repr(spec) == "<Spec Chars: 96 parameters>"
    with pytest.raises(rnnc.DataError, match=r"they were trained with m = 6 \(here 3\)"):
        rnnc.parse(text, m=3).compile("numpy", weights=tmp_path / "w.npz")
    with pytest.raises(rnnc.UsageError, match="there is no weights file"):
        rnnc.parse(text).compile("numpy", weights=tmp_path / "no.npz")


@pytest.mark.parametrize(
    "lines",
    [
        "p[t] = softmax(A[y[t+1]])\ny[T+1] = 0",  # from the end
        "p[t] = softmax(A[y[t]])",
        "p[t] = softmax(sum[t](A[y[t]]))",
        "p[t] = softmax(A[y[T]])",
        "b[t] = tanh(b[t+1] + A[y[t]])\np[t] = softmax(A[y[t-1]] + b[t])\ny[0] = 0",
    ],
)
def test_no_looking_ahead(lines: str) -> None:
    head, tail = "model M\nparam A : [3, 3]\n", "\ntarget y[t] : index(3) ~ categorical(p[t])\n"
    spec = rnnc.parse(f"{head}{lines}{tail}output p")
    final(spec.bound, Options("predict"))  # with data it is a model
    with pytest.raises(rnnc.SpecError) as error:
        final(spec.bound, Options("generate"))
    (problem,) = error.value.diagnostics
    assert problem.code == "RNN042"
    assert "generation cannot look ahead" in problem.message
    assert problem.span is not None
    assert "y[" in problem.span.text


# ---------------------------------------------------------------- operations


def test_operations() -> None:
    hand = Hand()
    x = hand.input("x", 5)
    hand.add("sums", "cumsum", x)
    for k in (1, 3, 5):
        hand.add(f"k{k}", "kth_largest", x, count=k)
    names = ["sums", "k1", "k3", "k5"]
    data = np.random.default_rng(0).normal(size=(2, 3, 5))
    found = evaluate(hand.system("Ops", names, dims={}), {"x": data})
    assert_allclose(found["sums"][..., 3], data[..., :4].sum(-1))
    ordered = np.sort(data)
    for k in (1, 3, 5):
        assert_array_equal(found[f"k{k}"], ordered[..., 5 - k])


# ---------------------------------------------------------------- texts

SEA = "she sells sea shells by the sea shore; "


@pytest.fixture(scope="module")
def sea(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a character model that knows one sentence."""
    spec = rnnc.load("CharLSTM", m=16, d=8)
    path = tmp_path_factory.mktemp("sea") / "sea.safetensors"
    spec.fit(Text(SEA * 20), bptt=20, steps=150, lr=0.02).save(path)
    return path


def sea_spec() -> rnnc.Spec:
    return rnnc.load("CharLSTM", m=16, d=8, vocab=12)


@pytest.mark.parametrize("suffix", [".onnx", ".py"])
def test_text(sea: Path, tmp_path: Path, suffix: str) -> None:
    """The file of a model is enough: it knows its symbols."""
    backend = {".onnx": "onnx", ".py": "numpy"}[suffix]
    sea_spec().compile(backend, mode="generate", weights=sea).save(tmp_path / f"gen{suffix}")
    model = rnnc.open(tmp_path / f"gen{suffix}")
    assert model.vocabulary == Vocabulary("".join(sorted(set(SEA))))
    assert model.generate("she ", steps=35, temperature=0) == SEA
    assert model.generate("she ", steps=60, temperature=0, end=";") == SEA.rstrip()
    assert len(model.generate("", steps=10)) == 10
    three = model.generate("she ", steps=10, batch=3, temperature=9)
    assert isinstance(three, list)
    assert {len(t) for t in three} == {14}
    assert len(set(three)) > 1
    assert model.generate(["she ", "the sea sh"], steps=4, temperature=0) == [
        "she sell",
        "the sea shore;",
    ]
    with pytest.raises(rnnc.DataError, match="'x'"):
        model.generate("she x", steps=3)
    with pytest.raises(rnnc.DataError, match="one symbol"):
        model.generate("she", steps=3, end="se")


def test_vocabulary_of_arrays() -> None:
    spec = rnnc.parse(CHARS)
    model = spec.compile(
        "numpy", mode="generate", weights=spec.init(), vocabulary=Vocabulary("abcde")
    )
    text = model.generate("ab", steps=5)
    assert len(text) == 7
    assert text.startswith("ab")
    assert set(text) <= set("abcde")
    raw = rnnc.load("CharLSTM", vocab=256, m=3)
    model = raw.compile("numpy", mode="generate", weights=raw.init(), vocabulary=Vocabulary(None))
    assert model.generate("é", steps=3).startswith("é")  # two bytes
    with pytest.raises(rnnc.DataError, match=r"256 symbols, more than any .*: y : index\(5\)"):
        spec.compile("numpy", mode="generate", weights=spec.init(), vocabulary=Vocabulary(None))


def some_sentences() -> str:
    rng = np.random.default_rng(0)

    def noun() -> list[str]:
        small = [rng.choice(["small", "old"])] if rng.random() < 0.5 else []
        return [rng.choice(["the", "a"]), *small, rng.choice(["cat", "dog", "bird"])]

    words: list[str] = []
    for _ in range(400):
        words += [*noun(), rng.choice(["sees", "hears", "likes"]), *noun(), "."]
    return " ".join(words)


def test_natural_order_scores_better(tmp_path: Path) -> None:
    """A model of word order prefers a sentence to the same words in another order."""
    spec = rnnc.load("CharLSTM", d=8, m=16)
    text = Text(some_sentences(), words=True)
    spec.fit(text, bptt=20, steps=150, lr=0.02).save(tmp_path / "words.safetensors")
    sized = rnnc.load("CharLSTM", d=8, m=16, vocab=11)
    judge = sized.compile("numpy", mode="loss", weights=tmp_path / "words.safetensors")
    good, bad = judge.score(["the small cat sees a dog .", "dog the . a sees small cat"])
    assert good.steps == bad.steps == 7
    assert good.perplexity < 5 < 20 < bad.perplexity
    with pytest.raises(rnnc.UsageError, match=r"list of texts: score\(\[text\]\)"):
        judge.score("the small cat sees a dog .")
    with pytest.raises(rnnc.DataError, match="no 'horse'"):
        judge.score(["the horse sees a dog ."])
    model = sized.compile("onnx", mode="generate", weights=tmp_path / "words.safetensors")
    sentence = model.generate("the small", steps=30, temperature=0, end=".").split()
    assert sentence[:2] == ["the", "small"]
    assert sentence[-1] == "."
    assert {"sees", "hears", "likes"} & set(sentence)
    with pytest.raises(rnnc.DataError, match="the vocabulary is of words, and the text is of char"):
        sized.fit(Text("the cat"), weights=tmp_path / "words.safetensors")


def test_vocabulary_of_words() -> None:
    known = Vocabulary.of("b a  c\n", "a d", words=True)
    assert known == Vocabulary(("a", "b", "c", "d"))
    assert known.encode("d a").tolist() == [3, 0]
    assert known.decode([3, 0]) == "d a"
    assert Vocabulary.from_json(known.to_json()) == known


# ---------------------------------------------------------------- the command line


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    with warnings.catch_warnings():
        code = main([str(a) for a in argv])
    out, err = capsys.readouterr()
    return code, out, err


def test_cli_generate(sea: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = ["CharLSTM", "--set", "m=16", "--set", "d=8", "--weights", sea]
    code, out, err = run(capsys, "generate", *spec, "--prompt", "she ", "--steps", 35, "--greedy")
    assert (code, out) == (0, SEA + "\n"), err
    model = tmp_path / "gen.onnx"
    code, _, err = run(capsys, "compile", *spec, "--mode", "generate", "--top-k", 2, "-o", model)
    assert code == 0, err
    greedy = ["generate", model, "--prompt", "she ", "--end", ";", "--temperature", 0]
    assert run(capsys, *greedy)[1] == SEA.rstrip() + "\n"
    code, out, _ = run(capsys, "generate", model, "--count", 2, "--steps", 5, "--seed", 3)
    first, second = out[:-1].split("\n--------------------\n")
    assert len(first) == len(second) == 5
    assert run(capsys, "generate", model, "--count", 2, "--steps", 5, "--seed", 3)[1] == out
    arrays = tmp_path / "out.npz"
    code, out, _ = run(capsys, "generate", model, "--prompt", "she", "--steps", 3, "-o", arrays)
    assert code == 0
    text, *rest = out.splitlines()
    assert text == run(capsys, "generate", model, "--prompt", "she", "--steps", 3)[1][:-1]
    assert rest[0] == "p  [1, 6, 12]  float32"  # with texts only where all is written
    assert np.load(arrays)["p"].shape == (1, 6, 12)


def test_cli_numbers_and_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "chars.rnn"
    path.write_text(CHARS)
    code, out, err = run(capsys, "generate", path, "--prompt", "4 4", "--steps", 2)
    assert code == 0
    assert "initial weights" in err
    head, drawn, rest, *_ = out.splitlines()
    assert (head, rest) == ("y  [1, 4]  int64", "p  [1, 4, 5]  float32")
    assert drawn.startswith("  4 4 ")
    code, out, err = run(capsys, "generate", path, "--steps", 300, "--count", 2)
    assert [len(line.split()) for line in out.splitlines()[1:3]] == [300, 300]  # nothing left out
    code, out, err = run(capsys, "generate", path, "--end", 3, "--count", 9)
    for line in out.splitlines()[1:10]:
        assert [i for i, y in enumerate(line.split(), 1) if y == "3"] in ([], [len(line.split())])
    np.save(tmp_path / "x.npy", np.ones((2, 3, 2), "float32"))
    code, out, err = run(
        capsys, "generate", "LSTMClassifier", "--set", "n=2", "--set", "k=3", "--input",
        f"x={tmp_path / 'x.npy'}",
    )  # fmt: skip
    assert code == 0, err
    assert "y  [2]" in out


def test_cli_input_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = rnnc.parse(SEQUENCES)
    model = tmp_path / "m.onnx"
    spec.compile("onnx", mode="generate", weights=spec.init(), vocabulary="abcde").save(model)
    argv = ["generate", model, "--input", "w=abc", "--steps", 4, "--greedy"]
    code, out, err = run(capsys, *argv, "--count", 2)
    assert code == 0, err
    first, second = out[:-1].split("\n--------------------\n")
    assert first == second == run(capsys, *argv)[1][:-1]
    code, out, err = run(capsys, *argv, "-o", tmp_path / "o.npz")
    assert code == 0, err
    found = np.load(tmp_path / "o.npz")["y"][0]
    assert Vocabulary("abcde").decode(found) == first
    text = "model C\ninput w[t] : index(5)\nparam E : [5, 2]\ns = sum[t](E[w[t]])\n"
    spec = rnnc.parse(text + "target y : index(2) ~ categorical(softmax(s))\noutput s")
    spec.compile("onnx", mode="generate", weights=spec.init(), vocabulary="abcde").save(model)
    code, out, err = run(capsys, "generate", model, "--input", "w=abc")  # a class, no sequence
    assert code == 0, err
    assert out.startswith("y  [1]  int64")


CAPTIONS = """
model Captions
dim   n, k = 3
input x : [n]
param A : [k, n] ~ normal(0, 1)
p = softmax(A x)
target y[t] : index(k) ~ categorical(p)
output p
"""
WAVE = """
model Wave
input c[t] : [1], on[t] : flag
q[t] = 0.5 * y[t-1] + where(on[t], [c[t], 1], 0)
target y[t] : [2] ~ normal(q[t], 0.1)
output q
"""


def test_cli_typed_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Numbers are typed as they are read: a vector, or step by step, one option a sequence."""
    monkeypatch.chdir(tmp_path)
    Path("captions.rnn").write_text(CAPTIONS)
    Path("wave.rnn").write_text(WAVE)
    np.save("x.npy", [[0.5, -1.0], [2.0, 3.0]])
    two = ["--input", "x=0.5 -1", "--input", "x=2,3"]
    model = rnnc.load("captions.rnn", n=2)
    model.compile("onnx", mode="generate", weights=model.init()).save("c.onnx")
    from_file = run(capsys, "generate", "c.onnx", "--input", "x.npy", "--steps", 4)
    assert from_file[0] == 0, from_file[2]
    assert run(capsys, "generate", "c.onnx", *two, "--steps", 4) == from_file
    code, out, err = run(capsys, "generate", "wave.rnn", "-i", "c=1 2 3", "-i", "on=1 0 true")
    assert code == 0, err
    assert out.startswith("y  [1, 3, 2]  float32\n")
    code, out, err = run(capsys, "run", "wave.rnn", "-i", "c=1 2 3", "-i", "on=1 0 true")
    assert code == 1  # it is teacher forcing that `run` does: the output reads the target
    assert "  y : [batch, T, 2]\ngive it as in --input y=y.npy" in err
    code, out, err = run(
        capsys, "run", "wave.rnn", "-i", "c=1 2", "-i", "on=1 0", "-i", "y=1 2 3 4"
    )
    assert (code, err) == (0, "")
    assert out == "q  [1, 2, 2]  float32\n  [[[1.  1. ]\n    [0.5 1. ]]]\n"
    # the sequences of a text, one for all or one for each
    code, out, err = run(capsys, "score", "captions.rnn", "--set", "n=2", *two, "1 2", "0")
    assert code == 0, err
    judge = model.compile("numpy", mode="loss", weights=model.init())
    for line, s in zip(
        out.splitlines()[1:], judge.score([[1, 2], [0]], x=[[0.5, -1], [2, 3]]), strict=True
    ):
        assert abs(float(line.split()[0]) - s.log_likelihood) < 1e-3
    once = run(capsys, "score", "captions.rnn", "--set", "n=2", *two[:2], "1 2", "0")[1]
    assert once.splitlines()[1] == out.splitlines()[1]
    assert once.splitlines()[2] != out.splitlines()[2]


def test_cli_inputs_of_several_lengths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A spec is compiled with lengths where the inputs have some."""
    monkeypatch.chdir(tmp_path)
    spec = rnnc.parse(SEQUENCES)
    Path("s.rnn").write_text(SEQUENCES)
    options = ["--steps", 4, "--greedy", "-o", "o.npz"]
    rows = [[1, 5, 2], [3]]
    model = spec.compile("numpy", mode="generate", weights=spec.init(), lengths=("s",))
    want = model.generate(w=[np.array(row) for row in rows], steps=4, temperature=0)["y"]
    padded = np.array([[1, 5, 2], [3, 0, 0]])
    np.save("w.npy", padded)
    np.savez("d.npz", w=padded, **{"s.lengths": [3, 1], "t.lengths": [2, 1], "y": want})
    for given in (
        ["--input", "w=1 5 2", "--input", "w=3"],
        ["--input", "w.npy", "--input", "s.lengths=3 1"],
        ["--input", "d.npz"],  # which also holds what is drawn here
    ):
        code, _, err = run(capsys, "generate", "s.rnn", *given, *options)
        assert code == 0, err
        np.testing.assert_array_equal(np.load("o.npz")["y"], want)
    assert "d.npz also holds t.lengths, y, which the model does not take" in err
    spec.compile("onnx", mode="generate", weights=spec.init()).save("m.onnx")
    code, _, err = run(capsys, "generate", "m.onnx", "--input", "w=1 5 2", "--input", "w=3")
    assert code == 1
    assert "1 to 3 steps" in err
    assert "on the command line --lengths s" in err
    # each sequence is scored alone, however it is given
    texts = ["4 0", "1"]
    one_by_one = [
        run(capsys, "score", "s.rnn", "--input", f"w={' '.join(map(str, row))}", text)[1]
        for row, text in zip(rows, texts, strict=True)
    ]
    for given in (["--input", "w=1 5 2", "--input", "w=3"], ["--input", "d.npz"]):
        code, out, err = run(capsys, "score", "s.rnn", *given, *texts)
        assert code == 0, err
        lines = [text.splitlines()[1] for text in one_by_one]
        assert out.splitlines()[1:] == lines
    # run knows the target, and its lengths
    code, out, err = run(capsys, "run", "s.rnn", "--input", "d.npz", "-o", "r.npz")
    assert code == 0, err
    p = np.load("r.npz")["p"]
    assert (p[1, 1:] == 0).all()
    assert (p[0, :2] > 0).all()


@pytest.mark.parametrize("name", ["steps", "seed", "prompt", "weights", "sequences", "inputs"])
def test_inputs_with_names_of_options(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.rnn"
    path.write_text(re.sub(r"\bx\b", name, CAPTIONS))
    spec = rnnc.load(path, n=2)
    given = {name: [[1.0, 2.0]]}
    model = spec.compile(mode="generate", weights=spec.init())
    assert model.generate(inputs=given, steps=3)["y"].shape == (1, 3)
    judge = spec.compile(mode="loss", weights=spec.init())
    assert judge.score([[1, 2]], inputs=given)[0].steps == 2
    item = ["--set", "n=2", "--input", f"{name}=1 2"]
    assert run(capsys, "generate", path, *item, "--steps", 3)[0] == 0
    assert run(capsys, "score", path, *item, "1 2")[0] == 0
    with pytest.raises(rnnc.UsageError, match="inputs are a dict of arrays by name, not list"):
        model.generate(inputs=[1], steps=3)


def test_cli_score(sea: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = ["CharLSTM", "--set", "m=16", "--set", "d=8", "--weights", sea]
    code, out, err = run(capsys, "score", *spec, "she sells", "slels ehs")
    assert code == 0, err
    head, good, bad = out.splitlines()
    assert head.split() == ["log-likelihood", "per", "step", "perplexity", "text"]
    assert float(good.split()[2]) < 2 < 5 < float(bad.split()[2])
    total, each = map(float, good.split()[:2])
    assert abs(total - 9 * each) < 1e-3
    model = tmp_path / "loss.onnx"
    assert run(capsys, "compile", *spec, "--mode", "loss", "-o", model)[0] == 0
    assert run(capsys, "score", model, "she sells", "slels ehs")[1] == out
    code, _, err = run(capsys, "score", model, "she sells x")
    assert code == 1
    assert "has no 'x'" in err
    code, _, err = run(capsys, "score", model, "")
    assert code == 1
    assert "one of the sequences is empty" in err
    long = "she sells sea shells " * 5
    assert run(capsys, "score", model, long)[1].endswith(f"  {long}\n")  # no terminal: not cut


@pytest.mark.parametrize(
    ("argv", "code", "part"),
    [
        (["generate", "chars.rnn", "--prompt", "abc"], 1, "no whole number"),
        (["generate", "chars.rnn", "--temperature", "-1"], 2, "temperature"),
        (["generate", "Elman", "--set", "n=2", "--set", "k=2", "--input", "x"], 2, "NAME=FILE"),
        (["generate", "Captioner", "--input", "x=1 2"], 2, "2 numbers; a sequence of x has 512:"),
        (["generate", "Captioner", "--input", "x=one"], 2, "'one' is no number; arrays are read"),
        (["generate", "Captioner", "--input", "x=no.npy"], 2, "there is no file no.npy"),
        (["generate", "Captioner", "--input", "y=1"], 1, "the model takes no y; it takes x"),
        (["generate", "Captioner", "--input", "temperature=1"], 1, "takes no temperature"),
        (["generate", "Captioner"], 1, "  x : [batch, 512]\ngive it as in --input x=x.npy\n"),
        (["score", "Captioner", "1 2"], 1, "give it as in --input x=x.npy"),
        (["score", "MDRNN", "--input", "x=1 2", "1"], 2, "no order in which its numbers could be"),
        (["score", "Captioner", "--input", "x=d.npz", "1"], 2, "has names of its own"),
        (
            ["generate", "LSTMClassifier", "--prompt", "1"],
            2,
            "one sequence; LSTMClassifier draws none",
        ),
        (["generate", "chars.rnn", "--end", "1 2"], 2, "--end 1 2: one number"),
        (["generate", "ElmanCell", "--set", "n=2"], 1, "observes nothing"),
        (["generate", "p.onnx"], 2, "compiled for mode predict"),
        (["generate", "p.onnx", "--top-k", "3"], 2, "--top-k is for specs"),
        (["generate", "chars.rnn", "-o", "out.txt"], 2, ".npz"),
        (["score", "p.onnx", "1 2"], 2, "compiled for mode predict"),
        (["compile", "chars.rnn", "--top-k", "3", "-o", "m.onnx"], 2, "--top-k is for mode gen"),
        (["generate", "open.rnn", "--weights", "no.npz"], 2, "there is no weights file no.npz"),
        (["score", "open.rnn", "1", "--weights", "bad.npz"], 2, "bad.npz cannot be read as wei"),
        (["generate", "w.safetensors"], 2, "w.safetensors holds weights; wanted here is a spec"),
        (["run", "d.npz"], 2, "d.npz holds arrays, weights or data; wanted here is a spec"),
    ],
)
def test_cli_errors(
    argv: list[str], code: int, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("chars.rnn").write_text(CHARS)
    Path("open.rnn").write_text(CHARS.replace("m = 6", "m"))
    for name in ("bad.npz", "w.safetensors", "d.npz"):
        Path(name).write_bytes(b"\xff\xfe")
    spec = rnnc.parse(CHARS)
    spec.compile("onnx", weights=spec.init()).save("p.onnx")
    found, _, err = run(capsys, *argv)
    assert (found, part in err) == (code, True), err


def test_metadata_hold_the_vocabulary(sea: Path) -> None:
    model = sea_spec().compile("onnx", weights=sea)
    assert json.loads(model.ports.extra["vocabulary"])["symbols"] == "".join(sorted(set(SEA)))


# ---------------------------------------------------------------- sources and choices

DECODER = """
model Decoder
dim n = 3, m = 4, k = 5
axis s : S
input x[t] : [n]
param U : [m, n],  W, R, Q, C, D : [m, m],  v : [m] ~ normal(0, 1),  E : [k, m],  V : [k, m]
h[t] = tanh(W h[t-1] + U x[t])
d[0] = h[T]
a[s, t] = softmax[t](dot(v, tanh(Q d[s-1] + R h[t])))
y[0] = 0
d[s] = tanh(D d[s-1] + C sum[t](a[s, t] h[t]) + E[y[s-1]])
target y[s] : index(k) ~ categorical(softmax(V d[s]))
output a
"""

POINTER = """
model Pointer
dim n = 3, m = 4
axis s : S
input x[t] : [n]
param U : [m, n],  W, Q, K, F : [m, m],  v : [m] ~ normal(0, 2),  D : [m, n]
h[t] = tanh(W h[t-1] + U x[t])
y[0] = 1
d[0] = h[T]
d[s] = tanh(F d[s-1] + D sum[t](where(t == y[s-1], x[t], 0)))
a[s, t] = softmax[t](dot(v, tanh(Q d[s] + K h[t])))
target y[s] : index(T) ~ categorical[t](a[s, t])
output a
"""


@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_sources_of_several_lengths(backend: str) -> None:
    spec = rnnc.parse(DECODER)
    weights = {n: 2 * w for n, w in spec.init(0, "float64").items()}
    x = np.random.default_rng(0).normal(size=(3, 6, 3))
    options = {"mode": "generate", "weights": weights, "dtype": "float64"}
    together = spec.compile(backend, lengths=("t",), **options)
    alone = spec.compile(backend, **options)
    found = together.generate(x=x, lengths={"t": [6, 2, 4]}, steps=5, temperature=0)
    for i, n in enumerate((6, 2, 4)):
        own = alone.generate(x=x[i : i + 1, :n], steps=5, temperature=0)
        assert found["y"][i].tolist() == own["y"][0].tolist()
        np.testing.assert_allclose(found["a"][i, :, :n], own["a"][0], atol=1e-12)
        assert not found["a"][i, :, n:].any()
    with pytest.raises(rnnc.UsageError, match="y is drawn along s"):
        spec.compile(backend, lengths=("s",), **options)


@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_choice_among_steps(backend: str) -> None:
    spec = rnnc.parse(POINTER)
    weights = spec.init(1, "float64")
    x = np.random.default_rng(0).normal(size=(1, 4, 3))
    model = spec.compile(backend, mode="generate", weights=weights, dtype="float64")
    mode = model.generate(x=x, steps=5, temperature=0)
    assert mode["y"][0].tolist() == (mode["a"][0].argmax(1) + 1).tolist()  # steps count from 1
    many = model.generate(x=np.repeat(x, 4000, 0), steps=1, seed=2)
    counts = np.bincount(many["y"][:, 0], minlength=5)
    assert counts[0] == 0
    np.testing.assert_allclose(counts[1:] / 4000, many["a"][0, 0], atol=0.03)
    judge = spec.compile(backend, mode="loss", weights=weights, dtype="float64")
    out = spec.compile(backend, weights=weights, dtype="float64")(x=x, y=mode["y"])
    chosen = out["a"][0, np.arange(5), mode["y"][0] - 1]
    assert judge(x=x, y=mode["y"])["loss"] == pytest.approx(-np.log(chosen).sum())
    with pytest.raises(rnnc.DataError, match="y holds 5; its values are steps, 1 to T = 4"):
        judge(x=x, y=[[5]])


@pytest.mark.parametrize("length", ["", "axis t : T = 4\n"])
def test_prompts_and_ends_of_choices_are_steps(length: str) -> None:
    spec = rnnc.parse(POINTER.replace("axis s : S\n", f"axis s : S\n{length}"))
    model = spec.compile("numpy", mode="generate", weights=spec.init())
    x = np.ones((2, 4, 3))
    for prompt in (99, 5, 0, -5):
        with pytest.raises(rnnc.DataError, match=f"y.prompt holds {prompt}; its values are steps"):
            model.generate([prompt], x=x, steps=2)
    for end in (0, 5):
        with pytest.raises(rnnc.DataError, match=f"end = {end}; indices of y go from 1 to 4"):
            model.generate(x=x, steps=2, end=end)
    drawn = model.generate([[4], [2, 3]], x=x, steps=2, end=4)["y"]  # the first is padded
    assert drawn[1, :2].tolist() == [2, 3]
    assert ((drawn >= 1) & (drawn <= 4)).all()
