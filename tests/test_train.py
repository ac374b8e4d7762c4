"""Training: what a step is given, what is kept, and what is said when it cannot go on."""

from __future__ import annotations

import json
import math
import signal
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnc
from rnnc.cli import main
from rnnc.source import DataError, RnncError, SpecError, UsageError
from rnnc.train import DivergedError, Fit, Text, Vocabulary, fit, load_weights, metadata_of
from rnnc.train import loop as loop_module
from rnnc.train.checkpoint import replaced
from rnnc.train.rates import schedule
from rnnc.train.report import Bar, Log
from rnnc.train.symbols import streams

Arrays = dict[str, np.ndarray]

TINY = """\
model Tiny
dim   n, m = 3, k = 2
input x[t] : [n]
param U : [m, n],  W : [m, m],  V : [k, m],  s : [] ~ ones
h[t] = tanh(W h[t-1] + U x[t])
p[t] = softmax(s * V DROPh[t]LESS)
target y[t] : index(k) ~ categorical(p[t])
metric accuracy = argmax(p[t]) == y[t]
output p
"""
PLAIN = TINY.replace("DROP", "").replace("LESS", "")
DROPPING = TINY.replace("DROP", "dropout(").replace("LESS", ", 0.5)")
CHAR = """\
model Char
dim   vocab, m = 3
param E : [vocab, m],  W : [m, m],  V : [vocab, m]
y[0] = 0
h[t] = tanh(W h[t-1] + E[y[t-1]])
p[t] = softmax(V h[t])
target y[t] : index(vocab) ~ categorical(p[t])
metric accuracy = argmax(p[t]) == y[t]
output p
"""
LATE = """\
model Late
dim   n, k = 2
input x[t] : [n]
param U : [3, n],  W : [3, 3],  V : [k, 3]
h[t] = tanh(W h[t-1] + U x[t])
p = softmax(V h[T])
target y : index(k) ~ categorical(p)
output p
"""

LINE = """\
model Line
dim   n
input x[t] : [n],  y[t] : index(2)
param v : [n]
o[t] = dot(v, x[t])
loss  squared_error(o[t], y[t])
"""


def numbers(count: int = 20, steps: int = 6, seed: int = 0) -> Arrays:
    """Sequences of two numbers at each step; the class is the sign of their sum."""
    x = np.random.default_rng(seed).normal(size=(count, steps, 2)).astype("float32")
    return {"x": x, "y": (x.sum(axis=-1) > 0).astype(int)}


def same(a: Arrays, b: Arrays) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


# ---------------------------------------------------------------- learning rates


def test_schedules_by_formula() -> None:
    constant = schedule("constant", 0.5, warmup=4)
    assert [constant(s) for s in range(6)] == [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
    cosine = schedule("cosine", 2.0, warmup=2, total=12)
    assert [cosine(0), cosine(1), cosine(2)] == [1.0, 2.0, 2.0]
    for s in range(2, 12):
        assert cosine(s) == pytest.approx(1 + math.cos(math.pi * (s - 2) / 10))
    assert cosine(12) == 0 == cosine(20)
    steps = schedule("step:3:0.5", 1.0, warmup=1)
    assert [steps(s) for s in range(9)] == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    thirds = schedule("step", 1.0, total=30)
    assert [thirds(s) for s in (9, 10, 20)] == pytest.approx([1, 0.1, 0.01])


@pytest.mark.parametrize(
    ("text", "lr", "more", "words"),
    [
        ("cosin", 1, {}, "there are: constant, step"),
        ("step:0:0.5", 1, {}, "step:1000:0.5"),
        ("step:5", 1, {}, "step:1000:0.5"),
        ("constant:5", 1, {}, "no schedule"),
        ("constant", math.nan, {}, "learning rate"),
        ("cosine", 1, {"warmup": 10, "total": 10}, "warm up for fewer"),
    ],
)
def test_wrong_schedules(text: str, lr: float, more: dict[str, int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        schedule(text, lr, **more)


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_learns(backend: str) -> None:
    result = fit(
        rnnc.parse(PLAIN), numbers(64), validation=numbers(16, seed=1), lr=0.05, epochs=15,
        batch=16, clip=5, schedule="cosine", warmup=5, backend=backend,
    )  # fmt: skip
    first, last = result.history[0], result.history[-1]
    assert result.stopped == "done"
    assert (result.epoch, result.step, len(result.history)) == (15, 60, 15)
    assert last["loss"] < first["loss"] / 2
    assert last["validation.accuracy"] > 0.9
    # the perplexity is per step, of which there are 6
    assert last["perplexity"] == pytest.approx(math.exp(last["loss.y"] / 6), rel=1e-5)


def test_backends_agree() -> None:
    def run(backend: str) -> Fit:
        return fit(
            rnnc.parse(DROPPING), numbers(), batch=8, lr=0.1, epochs=3, clip=0.5, seed=3,
            backend=backend, dtype="float64",
        )  # fmt: skip

    one, other = run("numpy"), run("onnx")
    for name, weights in one.weights.items():
        assert weights.dtype == "float64"
        np.testing.assert_allclose(weights, other.weights[name], atol=1e-9)
    assert one.history[-1] == pytest.approx(other.history[-1])


def test_an_epoch_measures_what_loss_mode_does() -> None:
    """Over batches of unequal size, and steps that do not count."""
    text = PLAIN.replace("[n]\n", "[n],  seen[t] : flag\n", 1)
    text = text.replace("categorical(p[t])", "categorical(p[t]) when seen[t]")
    data = numbers(7)
    data["seen"] = np.random.default_rng(1).random((7, 6)) < 0.3
    data["seen"][:3] = False  # a whole batch that counts nothing
    spec = rnnc.parse(text, n=2)
    result = fit(spec, data, validation=data, lr=0, epochs=1, batch=3, shuffle=False)
    model = spec.compile("numpy", weights=result.weights, mode="loss")
    want = {name: float(value) for name, value in model.run(data).items()}
    count = want.pop("count.y")
    want["perplexity"] = math.exp(want["loss.y"] * 7 / count)
    for name, value in want.items():
        assert result.history[0][name] == pytest.approx(value, rel=1e-5), name
        assert result.history[0][f"validation.{name}"] == pytest.approx(value, rel=1e-5), name


def test_states_are_carried_from_chunk_to_chunk() -> None:
    """With lr 0 the losses of chunks add up to that of the whole sequence.

    The first state is a parameter, the last symbol is a state, and so is the number of the step.
    """
    text = CHAR.replace("y[0] = 0", "y[0] = 1\nh[0] = q").replace("E : ", "q : [m] ~ ones,  E : ")
    text = text.replace("W h[t-1]", "where(t % 3 == 0, 2, -1) * W h[t-1]")
    spec = rnnc.parse(text, vocab=4)
    y = np.random.default_rng(0).integers(0, 4, (3, 22))
    weights = {name: 2 * array for name, array in spec.init(seed=1).items()}
    judge = spec.compile("numpy", mode="loss", weights=weights)
    whole = float(judge.run({"y": y})["loss"])
    apart = sum(float(judge.run({"y": y[:, i : i + 5]})["loss"]) for i in range(0, 22, 5))
    with pytest.warns(UserWarning, match="q cannot change the loss"):
        result = fit(
            spec, {"y": y}, validation={"y": y}, lr=0, epochs=1, bptt=5, batch=2, weights=weights
        )
    assert result.step == 10  # 2 batches of 5 chunks, the last of 2 steps
    for name in "loss", "validation.loss":
        assert result.history[0][name] * 22 / 5 == pytest.approx(whole, rel=1e-5)
    assert apart != pytest.approx(whole, rel=1e-2)
    same(result.weights, weights)


def test_early_stopping_restores_the_best(tmp_path: Path) -> None:
    """Validation data with the classes exchanged: whatever is learnt makes their loss larger."""
    data = numbers()
    worse = {"x": data["x"], "y": 1 - data["y"]}
    options: dict[str, Any] = {"validation": worse, "lr": 0.05, "batch": 10, "patience": 2}
    result = fit(rnnc.parse(PLAIN), data, epochs=50, **options)
    losses = [entry["validation.loss"] for entry in result.history]
    assert result.stopped == "patience"
    assert result.best_epoch == int(np.argmin(losses)) + 1
    assert len(losses) == result.best_epoch + 2
    judge = result.spec.compile("numpy", mode="loss", weights=result.weights)
    assert float(judge.run(worse)["loss"]) == pytest.approx(min(losses), rel=1e-5)
    # and so it does where training went on after the best epoch
    options["checkpoint"] = tmp_path / "c.safetensors"
    fit(rnnc.parse(PLAIN), data, epochs=result.best_epoch + 1, **options)
    again = fit(rnnc.parse(PLAIN), data, epochs=50, resume=True, **options)
    assert again.history == result.history
    same(again.weights, result.weights)


def test_orders_and_masks_change(tmp_path: Path) -> None:
    """With lr 0 nothing else makes one step differ from another."""

    def run(text: str, **options: Any) -> list[float]:
        options |= {"epochs": 2, "lr": 0, "log": tmp_path / "l.jsonl"}
        fit(rnnc.parse(text), numbers(), **options)
        return [line["loss"] for line in lines(tmp_path / "l.jsonl") if line["event"] == "step"]

    first, second = run(DROPPING, batch=20)  # of all sequences, so that their order is the same
    assert first != second
    first, second = run(PLAIN, batch=20)
    assert first == second
    losses = run(PLAIN, batch=5)
    assert sum(losses[:4]) == pytest.approx(sum(losses[4:]))
    assert losses[:4] != losses[4:]
    losses = run(PLAIN, batch=5, shuffle=False)
    assert losses[:4] == losses[4:]


def test_the_seed_chooses_order_and_masks() -> None:
    def run(seed: int, **more: Any) -> Arrays:
        spec = rnnc.parse(DROPPING)
        weights = rnnc.parse(DROPPING, n=2).init()
        return fit(spec, numbers(), epochs=1, batch=7, seed=seed, weights=weights, **more).weights

    same(run(1), run(1))
    assert not np.array_equal(run(1)["W"], run(2)["W"])
    assert not np.array_equal(run(1)["W"], run(1, shuffle=False)["W"])


def test_no_memory_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    used: dict[int, int] = {}

    def update(self: Bar, step: int, *_: object) -> None:
        if step in (40, 140):
            used[step] = tracemalloc.get_traced_memory()[0]

    monkeypatch.setattr(Bar, "update", update)
    tracemalloc.start()
    try:
        fit(rnnc.parse(PLAIN), numbers(), batch=20, steps=140, epochs=1000, backend="numpy")
    finally:
        tracemalloc.stop()
    assert used[140] - used[40] < 100 * 2000  # an entry of the history, no arrays


# ---------------------------------------------------------------- stopping and going on


@pytest.mark.filterwarnings("ignore:the warm-up takes 6 steps:UserWarning")
@pytest.mark.parametrize("backend", ["numpy", "onnx"])
@pytest.mark.parametrize("kind", ["batches", "chunks"])
def test_resume_is_bit_for_bit(backend: str, kind: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "optimizer": "adam", "lr": 0.02, "warmup": 6, "schedule": "step:5:0.7", "clip": 1.0,
        "seed": 5, "backend": backend, "patience": 9,
    }  # fmt: skip
    data: Any
    if kind == "batches":
        spec, data = rnnc.parse(DROPPING), numbers(18)
        options |= {"batch": 5, "validation": 0.2}  # 3 steps in an epoch
    else:
        spec, data = rnnc.parse(CHAR), Text("a bad cab, a cad, a bad dab; " * 4)
        options |= {"batch": 3, "bptt": 9, "validation": 0.3}  # 3 steps in an epoch
    once = fit(spec, data, steps=11, log=tmp_path / "once.jsonl",
               checkpoint=tmp_path / "once.safetensors", **options)  # fmt: skip
    for steps in (2, 6, 7, 11):  # within an epoch, at the end of one
        parts = fit(
            spec, data, steps=steps, checkpoint=tmp_path / "c.safetensors", resume=steps > 2,
            log=tmp_path / "parts.jsonl", **options,
        )  # fmt: skip
        assert parts.step == steps
    same(once.weights, parts.weights)
    assert once.history == parts.history
    first, second = (
        rnnc.runtime.weights.read_weights(tmp_path / f)
        for f in ("once.safetensors", "c.safetensors")
    )
    same(first, second)  # optimiser, states, best weights
    assert any(name.startswith("optimizer/") for name in first)
    assert any(name.startswith("carried/") for name in first) == (kind == "chunks")
    first_steps, second_steps = (
        [line for line in lines(tmp_path / f) if line["event"] == "step"]
        for f in ("once.jsonl", "parts.jsonl")
    )
    assert first_steps == second_steps


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_resume_refuses_what_is_not_the_same(tmp_path: Path) -> None:
    file = tmp_path / "c.safetensors"
    spec = rnnc.parse(PLAIN)
    fit(spec, numbers(), steps=1, batch=5, checkpoint=file)

    def again(data: Arrays = numbers(), spec: rnnc.Spec = spec, **more: Any) -> None:  # noqa: B008
        fit(spec, data, **{"steps": 2, "batch": 5, "checkpoint": file, "resume": True, **more})

    with pytest.raises(UsageError, match="batch 5, and this is 4"):
        again(batch=4)
    with pytest.raises(UsageError, match="other data"):
        again(numbers(seed=1))
    with pytest.raises(UsageError, match="is there already"):
        again(resume=False)
    with pytest.raises(DataError, match=r"m = 3 \(here 4\)"):
        again(spec=rnnc.parse(PLAIN, m=4))
    with pytest.raises(UsageError, match="there is no checkpoint"):
        again(checkpoint=tmp_path / "other.safetensors")
    fit(spec, numbers(), steps=1).save(tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="no checkpoint of rnnc"):
        again(checkpoint=tmp_path / "w.safetensors")
    with pytest.warns(UserWarning, match="the spec has changed"):
        again(spec=rnnc.parse("# a remark\n" + PLAIN))


def strike(monkeypatch: pytest.MonkeyPatch, step: int, times: int = 1) -> None:
    """Ctrl-C in the middle of a step."""
    write = Log.write

    def interrupted(self: Log, event: str, values: dict[str, Any]) -> None:
        if values["step"] == step and event == "step":
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        write(self, event, values)

    monkeypatch.setattr(Log, "write", interrupted)


def test_ctrl_c_ends_after_the_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options: dict[str, Any] = {"batch": 5, "epochs": 3, "validation": 0.2}
    want = fit(rnnc.parse(PLAIN), numbers(), **options)
    before = signal.getsignal(signal.SIGINT)
    options["checkpoint"] = tmp_path / "c.safetensors"
    strike(monkeypatch, 6)
    result = fit(rnnc.parse(PLAIN), numbers(), **options)
    assert (result.stopped, result.step) == ("interrupted", 6)
    assert [e["step"] for e in result.history] == [4, 6]  # the second epoch is not complete
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.undo()
    result = fit(rnnc.parse(PLAIN), numbers(), resume=True, **options)
    same(result.weights, want.weights)
    assert result.history == want.history


def test_ctrl_c_twice_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)
    strike(monkeypatch, 2, times=2)
    with pytest.raises(KeyboardInterrupt):
        fit(rnnc.parse(PLAIN), numbers(), steps=5)
    assert signal.getsignal(signal.SIGINT) is before


def test_going_on_after_a_crash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The steps since the last checkpoint are done, and written into the log, once more."""
    options: dict[str, Any] = {"batch": 5, "epochs": 2, "log": tmp_path / "l.jsonl"}
    want = fit(rnnc.parse(PLAIN), numbers(), **options)
    log = lines(tmp_path / "l.jsonl")
    options |= {"checkpoint": tmp_path / "c.safetensors", "checkpoint_every": 3}
    strike(monkeypatch, 6, times=2)
    with pytest.raises(KeyboardInterrupt):
        fit(rnnc.parse(PLAIN), numbers(), **options)
    monkeypatch.undo()
    with open(tmp_path / "l.jsonl", "a") as file:
        file.write('{"event": "st')  # and a line that was not finished
    same(fit(rnnc.parse(PLAIN), numbers(), resume=True, **options).weights, want.weights)
    again = lines(tmp_path / "l.jsonl")
    for line in (*log, *again):
        line.pop("seconds", None)
    assert again == log


@pytest.mark.filterwarnings("ignore:.*(overflow|invalid value):RuntimeWarning")
@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_what_is_no_number_stops(backend: str) -> None:
    options: dict[str, Any] = {"optimizer": "sgd", "lr": 1e6, "batch": 5, "backend": backend}
    with pytest.raises(DivergedError) as caught:
        fit(rnnc.parse(LINE), numbers(), **options)
    error = caught.value
    assert isinstance(error, RnncError)
    assert error.step >= 1
    assert all(np.isfinite(array).all() for array in error.weights.values())
    before = fit(rnnc.parse(LINE), numbers(), steps=error.step, **options)
    same(error.weights, before.weights)
    text = str(error)
    # the weights after one more update gave no number
    for part in f"at step {error.step + 2} ", "norm of the gradient", "smaller learning rate":
        assert part in text


def test_data_that_are_no_numbers_are_named() -> None:
    """The place is that in the array given, whatever the order and the split."""
    data, spec = numbers(), rnnc.parse(PLAIN)
    data["x"][7, 3, 1] = math.nan
    with pytest.raises(DataError, match=r"^x holds 1 value that is .*x\[7, 3, 1\] = nan"):
        fit(spec, data, validation=0.5)
    with pytest.raises(DataError, match=r"^x of the validation data holds 1 value"):
        fit(spec, numbers(), validation=data)
    data["x"][9] = math.inf
    with pytest.raises(DataError, match="x holds 13 values that are not finite, first"):
        fit(spec, data)
    large = {**numbers(), "x": np.full((20, 6, 2), 1e39)}
    with pytest.raises(DataError, match=r"x holds 240 .* = inf"):
        fit(spec, large)
    fit(spec, large, steps=1, dtype="float64")
    real = LINE.replace("y[t] : index(2)", "").replace("x[t] : [n], ", "x[t] : [n]")
    real = real.replace("loss  squared_error(o[t], y[t])", "target y[t] : [] ~ normal(o[t], 1)")
    with pytest.raises(DataError, match=r"y\[0, 0\] = nan"):
        fit(rnnc.parse(real), {"x": numbers()["x"], "y": np.full((20, 6), math.nan)})


@pytest.mark.parametrize("every", [None, 1])
def test_the_last_update_is_looked_at(every: int | None, tmp_path: Path) -> None:
    """No loss shows what the last update did; a checkpoint of it would be of no use."""
    weights = rnnc.parse(PLAIN, n=2).init()
    file = tmp_path / "c.safetensors"
    with pytest.raises(DivergedError, match="is not finite") as caught:
        fit(
            rnnc.parse(PLAIN), numbers(), steps=1, optimizer="sgd", lr=1e300, weights=weights,
            checkpoint=file, checkpoint_every=every,
        )  # fmt: skip
    same(caught.value.weights, weights)
    assert not file.exists()


# ---------------------------------------------------------------- data


def test_data_have_many_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.numpy import save_file

    monkeypatch.chdir(tmp_path)
    data = numbers()
    np.savez("d.npz", **data)
    np.savez("more.npz", **data, z=np.zeros(3))
    np.save("x.npy", data["x"])
    np.save("labels.npy", data["y"])
    save_file(data, "d.safetensors")
    spec = rnnc.parse(PLAIN)
    want = fit(spec, data, steps=2).weights
    lists = {name: array.tolist() for name, array in data.items()}
    for form in (lists, "d.npz", Path("d.safetensors"), ["x.npy", "y=labels.npy"]):
        same(fit(spec, form, steps=2).weights, want)
    with pytest.warns(UserWarning, match="also holds z, which Tiny does not take"):
        same(fit(spec, "more.npz", steps=2).weights, want)


def test_sizes_come_from_the_data() -> None:
    result = fit(rnnc.parse(PLAIN.replace("n, m", "n = 7, m")), numbers(), steps=1)
    assert result.spec.sizes == {"n": 2}  # a default gives way, too
    assert result.weights["U"].shape == (3, 2)
    with pytest.raises(DataError, match=r"x is \[20, 6, 2\], but dimension 2 must be 7"):
        fit(rnnc.parse(PLAIN, n=7), numbers(), steps=1)
    with pytest.raises(DataError, match="y goes from 0 to 1, so set k=2, or more"):
        fit(rnnc.parse(PLAIN.replace("k = 2", "k")), numbers(), steps=1)
    two = PLAIN.replace("x[t] : [n]", "x[t] : [n],  z : [n]")
    with pytest.raises(DataError, match="n is 2 in x, but 3 in z"):
        fit(rnnc.parse(two), numbers() | {"z": np.zeros((20, 3))}, steps=1)
    with pytest.raises(SpecError, match="`m`"):
        fit(rnnc.parse(PLAIN.replace("m = 3", "m")), numbers(), steps=1)


def test_a_share_for_validation_is_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sequence is in one of the two, and no sequence in both."""
    data = numbers(20, steps=1)
    data["x"][:, 0, 0] = np.arange(20)
    seen: list[set[float]] = []
    original = loop_module.Training.__init__

    def spy(self: Any, task: Any, *rest: Any) -> None:
        seen.extend(set(d.arrays["x"][:, 0, 0].tolist()) for d in (task.data, task.validation))
        original(self, task, *rest)

    monkeypatch.setattr(loop_module.Training, "__init__", spy)
    for seed in 0, 1:
        fit(rnnc.parse(PLAIN), data, steps=1, validation=0.25, seed=seed)
    train, valid, _, other = seen
    assert len(train) == 15
    assert train | valid == set(range(20))
    assert not train & valid
    assert other != valid


# ---------------------------------------------------------------- text


def test_vocabulary() -> None:
    text = "grüße, κόσμε 🙂\n"
    vocabulary = Vocabulary.of(text)
    assert vocabulary.symbols == "".join(sorted(set(text)))
    numbers = vocabulary.encode(text)
    assert numbers.dtype == "int64"
    assert numbers.max() == len(vocabulary) - 1
    assert vocabulary.decode(numbers) == text
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary
    with pytest.raises(DataError, match=r"has no 'X', 'Y'"):
        vocabulary.encode("gXYX")
    raw = Vocabulary.of(b"ab")
    assert len(raw) == 256
    numbers = raw.encode(b"\x00\xff\xc3\xa9")
    assert bytes(numbers.tolist()) == b"\x00\xff\xc3\xa9"
    assert raw.decode(numbers) == "\x00\ufffdé"
    with pytest.raises(DataError, match="3 symbols, none with number 3"):
        Vocabulary("abc").decode([0, 3])
    with pytest.raises(DataError, match="'b' twice"):
        Vocabulary("abcb")
    with pytest.raises(DataError, match="empty"):
        Vocabulary.of("")
    with pytest.raises(DataError, match="a word has no blanks"):
        Vocabulary(("a b", "c"))
    assert Vocabulary.from_json(raw.to_json()) == raw


def test_text_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffeins\r\n".encode())
    (tmp_path / "b.txt").write_bytes(b"zwei")
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    assert Text.read(files).content == "eins\nzwei"
    assert Text.read(files[1], bytes=True).content == b"zwei"
    (tmp_path / "c.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"c.txt is no UTF-8 text .*--bytes"):
        Text.read(tmp_path / "c.txt")
    with pytest.raises(UsageError, match="there is no file"):
        Text.read(tmp_path / "d.txt")


def test_streams_of_a_text() -> None:
    """The input is the text one step earlier, where the model has one."""
    numbers = np.arange(11)
    own = streams(rnnc.parse(CHAR, vocab=11), numbers, 2)
    np.testing.assert_array_equal(own["y"], [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]])
    text = CHAR.replace("param E", "input x[t] : index(vocab)\nparam E").replace("y[0] = 0\n", "")
    given = streams(rnnc.parse(text.replace("E[y[t-1]]", "E[x[t]]"), vocab=11), numbers, 2)
    np.testing.assert_array_equal(given["x"], [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]])
    np.testing.assert_array_equal(given["y"], given["x"] + 1)


def test_a_text_gives_the_vocabulary(tmp_path: Path) -> None:
    result = fit(
        rnnc.parse(CHAR), Text("abcab" * 30), validation=Text("dab" * 20), batch=4, bptt=6,
        epochs=12, lr=0.05,
    )  # fmt: skip
    assert result.vocabulary == Vocabulary("abcd")
    assert result.spec.sizes == {"vocab": 4}
    assert result.history[-1]["perplexity"] < result.history[0]["perplexity"] / 1.5
    file = tmp_path / "w.safetensors"
    result.save(file)
    assert Vocabulary.from_json(metadata_of(file)["vocabulary"]) == result.vocabulary
    # training goes on with the symbols that the weights know
    more = fit(rnnc.parse(CHAR), Text("ab" * 40), batch=2, bptt=6, steps=1, weights=file)
    assert more.vocabulary == result.vocabulary
    # and so it does from a checkpoint of that training
    options: dict[str, Any] = {"batch": 2, "bptt": 6, "checkpoint": tmp_path / "c.safetensors"}
    fit(rnnc.parse(CHAR), Text("ab" * 40), steps=1, weights=file, **options)
    more = fit(rnnc.parse(CHAR), Text("ab" * 40), steps=2, resume=True, **options)
    assert (more.step, more.vocabulary) == (2, result.vocabulary)
    result.save(tmp_path / "w.npz")
    for form in file, tmp_path / "w.npz":
        with pytest.raises(DataError, match="has no 'e'"):
            fit(rnnc.parse(CHAR), Text("abe" * 40), batch=2, steps=1, weights=form)


READER = """\
model Reader
dim   a, k, m = 3
axis  s : S
input x[s] : index(a)
param E : [a, m],  W, R : [m, m],  V : [k, m],  F : [k, m]
h[s] = tanh(R h[s-1] + E[x[s]])
d[0] = h[S]
y[0] = 0
d[t] = tanh(W d[t-1] + F[y[t-1]])
p[t] = softmax(V d[t])
target y[t] : index(k) ~ categorical(p[t])
output p
"""


def test_texts_by_name(tmp_path: Path) -> None:
    """They are as good as the numbers of their symbols, and give the vocabulary and its size."""
    xs, ys = ["abc", "c", "ab", "bbca"] * 5, ["ba", "bab", "a", "d"] * 5
    spec, known = rnnc.parse(READER), Vocabulary("abcd")
    options: dict[str, Any] = {"epochs": 2, "batch": 6}
    texts = fit(spec, {"x": xs, "y": ys}, **options)
    assert texts.vocabulary == known
    assert texts.spec.sizes == {"a": 4, "k": 4}
    sized = rnnc.parse(READER, a=4, k=4)
    data = {"x": [known.encode(x) for x in xs], "y": [known.encode(y) for y in ys]}
    numbers = fit(sized, data, vocabulary="abcd", **options)
    assert numbers.history == texts.history
    assert numbers.vocabulary == known
    assert fit(sized, data, **options).vocabulary is None
    # of validation data, too; and words
    apart = fit(spec, {"x": xs, "y": ys}, validation={"x": ["e"], "y": ["a"]}, epochs=1)
    assert apart.vocabulary == Vocabulary("abcde")
    words = Vocabulary(("no", "yes"))
    some = fit(spec, {"x": np.array(["yes no", "no"]), "y": ["no", "yes"]}, steps=1,
               vocabulary=words)  # fmt: skip
    assert (some.vocabulary, some.spec.sizes["a"]) == (words, 2)
    # the file of the weights has it, and training goes on with it
    w = tmp_path / "w.safetensors"
    numbers.save(w)
    model = numbers.spec.compile(mode="generate", lengths=("s",), weights=w)
    assert len(model.generate(x=["abc", "a"], steps=3)) == 2
    more = fit(spec, {"x": xs[:4], "y": ys[:4]}, steps=1, weights=w)
    assert more.vocabulary == known
    kept = fit(sized, data, steps=1, weights=w)
    assert kept.vocabulary == known
    for wrong, more_options, message in (
        ({"x": xs, "y": [*ys[1:], "e"]}, {"vocabulary": known}, "has no 'e'"),
        (data, {"vocabulary": "abcde"}, "5 symbols, more than any index"),
        (data, {"vocabulary": "abcd"[::-1], "weights": w}, "another voca"),
    ):
        with pytest.raises(DataError, match=message):
            fit(sized, wrong, steps=1, **more_options)
    with pytest.raises(DataError, match="x takes no texts: it is no index"):
        fit(rnnc.parse(PLAIN), {"x": ["ab"], "y": ["ab"]})
    with pytest.raises(DataError, match="y takes no texts: it is one class"):
        fit(rnnc.parse(LATE), {"x": np.zeros((2, 3, 2)), "y": ["good", "bad"]})
    with pytest.raises(DataError, match="x is an empty list"):
        fit(rnnc.parse(PLAIN), {"x": [], "y": []})


def test_unknown_options() -> None:
    with pytest.raises(UsageError, match="fit has no option epoch; did you mean epochs"):
        rnnc.parse(PLAIN).fit(numbers(), epoch=3)
    with pytest.raises(UsageError, match="fit has no option quux; there are: lengths, valid"):
        fit(rnnc.parse(PLAIN), numbers(), **{"quux": 3})


# ---------------------------------------------------------------- weights in files


def test_weights_say_what_they_are_of(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    spec = rnnc.parse(PLAIN, n=2)
    result = fit(spec, numbers(), steps=1)
    result.save(file)
    assert metadata_of(file)["model"] == "Tiny"
    assert json.loads(metadata_of(file)["dims"]) == {"n": 2, "m": 3, "k": 2}
    same(load_weights(file, spec), result.weights)
    spec.compile("numpy", weights=file)
    with pytest.raises(DataError, match=r"U is \[3, 2\].*trained with m = 3 \(here 5\)"):
        load_weights(file, rnnc.parse(PLAIN, n=2, m=5))
    with pytest.raises(DataError, match="they are of Tiny, this is Char"):
        load_weights(file, rnnc.parse(CHAR, vocab=3))
    with pytest.warns(UserWarning, match="the spec has changed since"):
        load_weights(file, rnnc.parse(PLAIN + "# more\n", n=2))
    (tmp_path / "any").touch()
    assert file.stat().st_mode == (tmp_path / "any").stat().st_mode
    archive = tmp_path / "w.npz"
    result.save(archive)
    same(load_weights(archive, spec), result.weights)
    assert metadata_of(archive) == metadata_of(file)
    same(rnnc.runtime.weights.read_weights(archive), result.weights)
    with np.load(archive) as stored:  # for other programs, without pickle
        assert set(stored.files) == {*result.weights, "__rnnc__"}
    np.savez(archive, **result.weights)
    assert metadata_of(archive) == {}


def test_files_are_whole_or_not_there(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    file.write_text("before")
    with pytest.raises(RuntimeError), replaced(file) as part:  # noqa: PT012
        part.write_text("half")
        raise RuntimeError
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]
    other = tmp_path / "other"
    other.hardlink_to(file)
    with replaced(file) as part:
        part.write_text("after")
    assert (file.read_text(), other.read_text()) == ("after", "before")  # another file, renamed
    with pytest.raises(UsageError, match="no folder"):
        fit(rnnc.parse(PLAIN), numbers(), checkpoint=tmp_path / "nowhere" / "c.safetensors")


# ---------------------------------------------------------------- messages


def changed(**arrays: Any) -> dict[str, Any]:
    return {name: a for name, a in (numbers() | arrays).items() if a is not None}


@pytest.mark.parametrize(
    ("data", "options", "kind", "words"),
    [
        (changed(y=None), {}, DataError, r"the target y is missing; wanted is y : index\(2\)"),
        (changed(z=1), {}, DataError, "the model takes no z"),
        (
            changed(x=np.zeros((20, 6))),
            {},
            DataError,
            r"x is \[20, 6\].*batch-first \[batch, T, n\]: x\[None\] is \[1, 20, 6\].*"
            r"x\[..., None\] is \[20, 6, 1\], with n = 1",
        ),
        (changed(y=np.zeros(20, int)), {}, DataError, r"y\[..., None\] is \[20, 1\], with T = 1"),
        (changed(x=np.zeros(20)), {}, DataError, r"1 dimensions, \[20\]; wanted are 3"),
        (changed(y=np.zeros((20, 5), int)), {}, DataError, r"y has 5 steps .* x has 6"),
        (changed(y=np.zeros((19, 6), int)), {}, DataError, "y has 19 sequences, x has 20"),
        (changed(y=np.zeros((20, 6))), {}, DataError, r"use y.astype\(int\)"),
        (changed(y=np.full((20, 6), 2)), {}, DataError, "y holds 2; indices go from 0 to 1"),
        (changed(x=np.zeros((0, 6, 2)), y=np.zeros((0, 6), int)), {}, DataError, "empty batch"),
        (changed(x=[[[1, 2]], [[1, 2], [3, 4]]]), {}, DataError, "2 numbers, y has 20 sequences"),
        ([], {}, UsageError, "there are no data"),
        ("d.csv", {}, UsageError, ".npz, .npy or .safetensors"),
        ("d.npz", {}, UsageError, "there is no data file d.npz"),
        ("x=d.npy", {}, UsageError, "there is no data file d.npy"),
        (numbers(), {"validation": "d.npz"}, UsageError, "there is no data file d.npz"),
        (None, {}, DataError, "data are arrays by name .*, not None"),
        ((np.zeros(3), np.zeros(3)), {}, DataError, "not ndarray"),
        (numbers(), {"lr": "a"}, UsageError, "lr is a number, not 'a'"),
        (numbers(), {"hyper": {"beta1": "a"}}, UsageError, "beta1 is a number"),
        (numbers(), {"batch": 2.5}, UsageError, "batch is a whole number, not 2.5"),
        (numbers(), {"epochs": "3"}, UsageError, "epochs is a whole number"),
        (Text("abc"), {}, DataError, "beside y it takes x"),
        (numbers(), {"batch": 21}, DataError, "larger than the data, 20 sequences"),
        (numbers(), {"batch": 0}, UsageError, "1 or more"),
        (numbers(), {"bptt": 7}, DataError, "the sequences have 6 steps: leave it out"),
        (numbers(), {"validation": 0.01}, DataError, "of 20 sequences, a share of 0.01"),
        (numbers(), {"validation": 1.5}, UsageError, "a share between 0 and 1"),
        (numbers(), {"validation": Text("a")}, DataError, "validation are a text"),
        (numbers(), {"validation": {"x": np.zeros((1, 2, 2))}}, DataError, "target y is missing"),
        (numbers(), {"validation": {"x": np.zeros((2, 2))}}, DataError, r"validation .*x\[None\]"),
        (numbers(), {"patience": 2}, UsageError, "give validation data"),
        (numbers(), {"epochs": 0}, UsageError, "epochs is a number from 1 on"),
        (numbers(), {"clip": 0}, UsageError, "above 0"),
        (numbers(), {"seed": -1}, UsageError, "seed"),
        (numbers(), {"resume": True}, UsageError, "give checkpoint"),
        (numbers(), {"checkpoint": "c.npz"}, UsageError, "checkpoints are kept in .safetensors"),
        (numbers(), {"schedule": "linear"}, UsageError, "no schedule"),
        (numbers(), {"weights": {}}, DataError, "the weights do not fit: U"),
        (numbers(), {"weights": "w.safetensors"}, UsageError, "there is no weights file"),
        (numbers(), {"optimizer": "adom"}, UsageError, "adam"),
        (numbers(), {"hyper": {"beta9": 1}}, UsageError, "beta1"),
        (numbers(), {"backend": "torch"}, UsageError, "there are: numpy, onnx"),
    ],
)
def test_messages(
    data: Any, options: dict[str, Any], kind: type[RnncError], words: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=words):
        fit(rnnc.parse(PLAIN), data, **{"steps": 1, **options})


def test_models_that_cannot_be_trained_so() -> None:
    late = {"x": np.zeros((4, 6, 2)), "y": np.zeros(4, int)}
    fit(rnnc.parse(LATE), late, steps=1)
    with pytest.raises(UsageError, match=r"loss\.y of Late comes once for a whole sequence"):
        fit(rnnc.parse(LATE), late, bptt=2)
    bare = "model M\ndim n, m\ninput x[t] : [n]\nparam W : [m, m]\nh[t] = W h[t-1] + sum(x[t])\n"
    with pytest.raises(SpecError, match="neither a loss nor a metric"):  # before any size
        fit(rnnc.parse(bare), numbers())
    with pytest.raises(DataError, match="M has metrics, but no loss"):
        fit(rnnc.parse(bare + "metric q = sum(h[t]) > 0\n"), numbers())
    with pytest.raises(SpecError, match=r"RNN042(?s:.*)hint: leave bptt out"):
        fit(rnnc.parse(PLAIN.replace("U x[t]", "U x[t+1]")), numbers(), bptt=2)
    with pytest.raises(SpecError, match=r"RNN042(?s:.*)hint: a text is trained on in chunks"):
        fit(rnnc.parse(CHAR.replace("V h[t]", "V h[t] + mean[t](V h[t])")), Text("abc" * 9))
    with pytest.raises(DataError, match="cut into 9 sequences"):
        fit(rnnc.parse(CHAR), Text("abc"), batch=9)
    with pytest.raises(DataError, match="the text is empty"):
        fit(rnnc.parse(CHAR), Text(""))
    with pytest.raises(DataError, match=r"3 different symbols, but y is index\(2\)"):
        fit(rnnc.parse(CHAR, vocab=2), Text("abc" * 9), batch=2)


def test_parameters_without_a_gradient_are_named() -> None:
    text = CHAR.replace("E : ", "q : [m] ~ ones,  E : ").replace("y[0] = 0", "y[0] = 0\nh[0] = q")
    with pytest.warns(UserWarning, match=r"^q cannot change the loss \(within a chunk"):
        result = fit(rnnc.parse(text), Text("abc" * 20), batch=2, bptt=5, steps=4)
    assert (result.weights["q"] == 1).all()


# ---------------------------------------------------------------- the command


def test_nothing_is_written_over(folder: Path) -> None:
    spec, taken = rnnc.load("tiny.rnn"), folder / "d.npz"
    before = {file: file.read_bytes() for file in folder.iterdir()}
    Path("linked").hardlink_to(taken)
    for log in taken, "./d.npz", folder / ".." / folder.name / "d.npz", "linked":
        with pytest.raises(UsageError, match="is the data; give another name to log"):
            fit(spec, "d.npz", log=log)
    with pytest.raises(UsageError, match="is the data"):
        fit(spec, ["x=x.npy", "y.npy"], log="x.npy")
    with pytest.raises(UsageError, match="is the validation data"):
        fit(spec, numbers(), validation="d.npz", log="d.npz")
    with pytest.raises(UsageError, match="is the spec; give another name to log"):
        fit(spec, "d.npz", log="tiny.rnn")
    with pytest.raises(UsageError, match="is what log writes; give another name to checkpoint"):
        fit(spec, "d.npz", log="c.safetensors", checkpoint="c.safetensors")
    with pytest.raises(UsageError, match="is the weights to start from"):
        fit(spec, "d.npz", weights="w.safetensors", checkpoint="w.safetensors")
    assert before == {file: file.read_bytes() for file in before}


def test_a_warm_up_longer_than_the_training() -> None:
    with pytest.warns(UserWarning, match="the warm-up takes 9 steps and the training has 2"):
        fit(rnnc.parse(PLAIN), numbers(), steps=2, warmup=9)


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    """In a checkpoint, which is JSON in part, too."""
    options: dict[str, Any] = {
        "batch": np.int64(5), "steps": np.int32(2), "lr": np.float32(0.1), "clip": np.float64(1),
    }  # fmt: skip
    assert fit(rnnc.parse(PLAIN), numbers(), checkpoint=tmp_path / "c.safetensors", **options)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("tiny.rnn").write_text(PLAIN)
    Path("char.rnn").write_text(CHAR)
    np.savez("d.npz", **numbers())
    Path("t.txt").write_text("abcab" * 30)
    return tmp_path


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = (
        "train tiny.rnn --data d.npz --validation 0.2 --epochs 3 --batch 4 --lr 0.01 "
        "--optimizer adam --hyper beta1=0.95 --schedule cosine --warmup 2 --clip 1 --patience 3 "
        "--seed 1 --log l.jsonl --checkpoint c.safetensors --set m=4 -o w.safetensors"
    )
    assert main(command.split()) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("Tiny: 3 epochs, 12 steps, ")
    for part in "validation\n", "  loss  ", "  perplexity  ", "wrote w.safetensors, ":
        assert part in out
    assert [line["event"] for line in lines(Path("l.jsonl"))].count("epoch") == 3
    following = out.splitlines()[-1]
    assert following == ("next: rnnc compile tiny.rnn --weights w.safetensors -o w.onnx")
    assert main(following.split()[2:]) == 0
    capsys.readouterr()
    assert main(command.split()) == 2
    assert "resume goes on from it" in capsys.readouterr().err
    assert main([*command.split(), "--resume"]) == 0


def test_the_command_on_sequences_of_several_lengths(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is compiled next takes lengths, as the data had them."""
    np.savez("ragged.npz", **numbers(), **{"t.lengths": np.arange(20) % 6 + 1})
    for data in ("--data ragged.npz", "--data d.npz --validation ragged.npz"):
        assert main(f"train tiny.rnn {data} --steps 2 -o w.npz".split()) == 0
        following = capsys.readouterr().out.splitlines()[-1]
        assert following == "next: rnnc compile tiny.rnn --lengths t --weights w.npz -o w.onnx"
        assert main(following.split()[2:]) == 0
        assert "  in  t.lengths : " in capsys.readouterr().out
    result = rnnc.load("tiny.rnn").fit("ragged.npz", steps=1)
    assert result.lengths == ("t",)


def test_the_command_on_a_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = (
        "train char.rnn --text t.txt --text t.txt --batch 2 --bptt 8 --steps 3 --validation t.txt"
    )
    assert main([*command.split(), "-o", "w.safetensors"]) == 0
    out = capsys.readouterr().out
    assert "validation" in out
    assert out.endswith("next: rnnc compile char.rnn --weights w.safetensors -o w.onnx\n")
    assert main(["compile", "char.rnn", "--weights", "w.safetensors", "-o", "w.py"]) == 0
    assert "note: vocab = 3, as" in capsys.readouterr().err
    assert main([*command.split(), "--bytes", "--backend", "numpy", "-o", "b.npz"]) == 0
    assert "b.npz" in capsys.readouterr().out
    assert main(["compile", "char.rnn", "--weights", "b.npz", "-o", "b.py"]) == 0
    assert "note: vocab = 256, as" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*(overflow|invalid value):RuntimeWarning")
def test_the_command_says_what_went_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def says(command: str, code: int, *words: str) -> None:
        assert main(["train", *command.split()]) == code
        err = capsys.readouterr().err
        assert "Traceback" not in err
        for word in words:
            assert word in err

    says("tiny.rnn -o w.safetensors", 2, "Tiny takes x, y", "--data d.npz")
    says("tiny.rnn --data d.npz --text t.txt -o w.npz", 2, "exclude each other")
    says("tiny.rnn --data d.npz --bytes -o w.npz", 2, "--bytes is for texts")
    says("tiny.rnn --data d.npz -o w.bin", 2, ".safetensors or .npz")
    says("tiny.rnn --data d.npz --hyper beta1 -o w.npz", 2, "beta1=0.95")
    says("tiny.rnn --data d.npz --batch 21 -o w.npz", 1, "20 sequences")
    says("tiny.rnn --data d.npz -o d.npz", 2, "d.npz is the data; give another name to -o")
    says("tiny.rnn --data d.npz -o w.npz --log w.npz", 2, "w.npz is what -o writes", "to --log")
    says("char.rnn --text t.txt -o w.npz --log ./t.txt", 2, "t.txt is the data")
    says("tiny.rnn --data d.npz -o w.npz --weights w.npz", 2, "w.npz is the weights to start from")
    says("tiny.rnn --data e.npz -o w.npz", 2, "there is no data file e.npz")
    Path("e.npz").touch()
    says("tiny.rnn --data e.npz -o w.npz", 2, "e.npz cannot be read as data")
    fails = "tiny.rnn --data d.npz --optimizer sgd --lr 1e300 --batch 5 -o w.safetensors"
    says(fails, 1, "smaller learning rate", "are in w.last.safetensors")
    good = load_weights("w.last.safetensors", rnnc.load("tiny.rnn", n=2))
    says(f"{fails} --weights w.last.safetensors", 1, "are in w.last.last.safetensors")
    same(load_weights("w.last.safetensors", rnnc.load("tiny.rnn", n=2)), good)
    assert not Path("w.safetensors").exists()
    strike(monkeypatch, 3)
    stops = "tiny.rnn --data d.npz --batch 5 --checkpoint c.safetensors -o w.safetensors"
    says(stops, 130, "stopped by Ctrl-C; go on with the same command and --resume")
    assert Path("w.safetensors").exists()
