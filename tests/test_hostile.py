"""Hostile and damaged specs: an error in the user's words or a model, and either soon."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rnnc
from rnnc.compiler import Options, bound, final, load_system, schedule
from rnnc.source import Source, SpecError, UsageError
from rnnc.syntax.parse import read_source

SECONDS = 2.0  # of computing, whatever else the machine does
TIMED = "model A\ninput x[t] : []\n"


@contextmanager
def soon() -> Iterator[None]:
    start = time.process_time()
    yield
    taken = time.process_time() - start
    assert taken < SECONDS, f"it took {taken:.1f} s"


def chain(count: int, first: str, link: str) -> str:
    return first + "".join(link.format(i=i, j=i + 1) for i in range(count))


def said(text: str, **options: int | str) -> str:
    """The codes of what is said of a spec, or the error of its use; `` where it compiles."""
    mode = str(options.pop("mode", "predict"))
    unroll = options.pop("unroll", None)
    sizes = {name: int(size) for name, size in options.items()}
    with soon():
        try:
            spec = rnnc.parse(text, **sizes)
            schedule(final(spec.bound, Options(mode, None if unroll is None else int(unroll))))
        except SpecError as error:
            str(error)
            return " ".join(sorted({d.code for d in error.diagnostics}))
        except UsageError as error:
            return str(error)
    return ""


REFUSED = {
    "nested parentheses": (f"{TIMED}h[t] = {'(' * 5000}x[t]{')' * 5000}", "RNN002"),
    "a megabyte on a line": (f"{TIMED}h[t] = x[t]{' + x[t]' * 150_000}", "RNN002"),
    "a megabyte of one word": (f"{TIMED}h[t] = {'a' * 2**20}", "RNN002"),
    "a name of 10^5 characters": (f"{TIMED}{'a' * 10**5}[t] = x[t]", "RNN002"),
    "binary garbage": ("".join(chr(i * 7919 % 255 + 1) for i in range(10**5)), "RNN003"),
    "nothing": ("", "RNN001"),
    "blank lines": (" \n" * 10**5, "RNN001"),
    "3000 terms": (f"{TIMED}h[t] = x[t]{' + x[t]' * 3000}", "RNN002"),
    "1500 terms": (f"{TIMED}h[t] = x[t]{' + x[t]' * 1500}", "RNN002"),
    "nested conditions": (f"{TIMED}h[t] = {'1 if x[t] > 0 else ' * 900}x[t]", "RNN002"),
    "nested where": (f"{TIMED}h[t] = {'where(x[t] > 0, 1, ' * 300}x[t]{')' * 300}", "RNN002"),
    "arange": (f"{TIMED}h[t] = x[t] * sum(arange(1000000000000))", "RNN037"),
    "arange of 8 GB": (f"{TIMED}h[t] = x[t] * sum(sin(arange(1000000000)))", "RNN037"),
    "arange, largest": (f"{TIMED}h[t] = x[t] * sum(arange(9223372036854775807))", "RNN037"),
    "eye": (f"{TIMED}h[t] = x[t] * sum(eye(1000000))", "RNN037"),
    "const": (f"{TIMED}const k = eye(1000000)\nh[t] = x[t] * sum(k)", "RNN037"),
    "const, together": (
        f"{TIMED}const k = eye(4000) @ eye(4000) @ eye(4000)\nh[t] = x[t] * sum(k)",
        "RNN037",
    ),
    "outer": (
        f"{TIMED}const a = arange(100000)\nconst k = outer(a, a)\nh[t] = x[t] * sum(k)",
        "RNN037",
    ),
    "repeat": (f"{TIMED}param v : [3]\nh[t] = x[t] * sum(repeat(v, 10000000000000))", "RNN037"),
    "doubled 60 times": (
        chain(60, f"{TIMED}h0[t] = [x[t], x[t]]\n", "h{j}[t] = [h{i}[t], h{i}[t]]\n"),
        "RNN037",
    ),
    "a terabyte": (
        f"{TIMED}param W : [1000000, 1000000], v : [1000000]\nh[t] = sum(W v)",
        "RNN037",
    ),
    "beyond 64 bits": (f"{TIMED}param W : [4000000000, 4000000000, 8]\nh[t] = sum(W)", "RNN037"),
    "far beyond 64 bits": (
        f"{TIMED}dim a = 9223372036854775807, b = a*a\nparam W : [b*b, b]\nh[t] = sum(W)",
        "RNN037",
    ),
    "many params": (
        chain(200, TIMED, "param W{i} : [100000, 1000]\n") + "h[t] = x[t] * sum(W1)",
        "RNN037",
    ),
    "towers of powers": (f"{TIMED}dim a = ((10^64)^64)^64\nparam W : [a]\nh[t] = sum(W)", "RNN036"),
    "powers of sums": (
        f"{TIMED}dim a, b, c, d = ((a+b+c)^64)^64\nparam W : [d]\nh[t] = sum(W)",
        "RNN036",
    ),
    "dims in a circle": ("model A\ndim a = b, b = a\ninput x[t] : [a]\nh[t] = x[t]", "RNN036"),
    "a long circle": (
        chain(500, "model A\n", "dim a{i} = a{j}\n") + "dim a500 = a0\nh = 1",
        "RNN036",
    ),
    "split": (f"{TIMED}param v : [3]\n(a, b) = split(v, 1000000)\nh[t] = x[t] * a", "RNN014"),
    "slice": (f"{TIMED}param v : [3]\nh[t] = sum(slice(v, 0, 10000000000))", "RNN036"),
    "a lag of 10^9": (f"{TIMED}h[t] = h[t-1000000000] + x[t]", "RNN037"),
    "a step far away": (f"{TIMED}h[t] = x[1000000000000] + x[T-1000000000]", "RNN037"),
    "an open lag": ("model A\ndim d\ninput x[t] : []\nh[t] = h[t-d] + x[t]", "RNN035"),
    "h[0] = h[1]": (f"{TIMED}h[0] = h[1]\nh[t] = h[t-1] + x[t]", "RNN023"),
    "h[0] = h[0]": (f"{TIMED}h[0] = h[0]\nh[t] = h[t-1] + x[t]", "RNN023"),
    "h[0] = h[T]": (f"{TIMED}h[0] = h[T]\nh[t] = h[t-1] + x[t]", "RNN023"),
    "h[0] and h[-1]": (f"{TIMED}h[0] = h[-1]\nh[-1] = h[0]\nh[t] = h[t-1] + x[t]", "RNN023"),
    "an input's boundary": (f"{TIMED}x[0] = h[1]\nh[t] = x[t-1]", "RNN023"),
    "α and alpha": (f"{TIMED}param α : [], alpha : []\nh[t] = α * alpha * x[t]", "RNN011"),
    "∂h and d_h": (f"{TIMED}∂h = 1\nd_h = 2\nh[t] = x[t] * d_h", "RNN011"),
    "a metric called loss": (f"{TIMED}h[t] = x[t]\nloss h[t]\nmetric loss = h[t]", "RNN012"),
    "an axis called batch": (
        "model A\naxis batch : B\ninput x[batch] : []\nh[batch] = x[batch]",
        "RNN012",
    ),
    "an axis of no length": ("model A\naxis t : T = 0\ninput x[t] : []\nh[t] = x[t]", "RNN036"),
    "a cycle of 1000": (
        chain(1000, f"{TIMED}h0[t] = h1000[t]\n", "h{j}[t] = tanh(h{i}[t])\n"),
        "RNN023",
    ),
    "500 cycles": (chain(500, TIMED, "h{i}[t] = tanh(h{i}[t])\n"), "RNN023"),
    "1000 unknown names": (chain(1000, TIMED, "h{i}[t] = foo{i} * bar{i}\n"), "RNN010"),
    "1000 mistakes": (chain(1000, TIMED, "h{i}[t] = [x[t], 1] [x[t], 2]\n"), "RNN032"),
    "too long a text": ("model A\n" + "a = b\n" * 10**5, "RNN002"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    text, code = REFUSED[name]
    assert said(text) == code


# Whole compilations of so many equations take longer (the passes' own tests are for that).
BUILT = {
    "a chain of 2000": chain(2000, f"{TIMED}h0[t] = x[t]\n", "h{j}[t] = tanh(h{i}[t])\n"),
    "the same backwards": TIMED
    + "".join(f"h{i + 1}[t] = tanh(h{i}[t])\n" for i in reversed(range(2000)))
    + "h0[t] = x[t]\n",
    "a chain of consts": chain(1000, f"{TIMED}const h0 = 1\n", "const h{j} = sin(h{i})\n")
    + "y[t] = x[t] * h1000\n",
    "a recurrence through 1000": chain(
        1000, f"{TIMED}h0[t] = tanh(h1000[t-1]) + x[t]\n", "h{j}[t] = tanh(h{i}[t])\n"
    ),
    "1000 recurrences": chain(1000, TIMED, "h{i}[t] = tanh(h{i}[t-1] + x[t])\n"),
    "3000 parts": f"{TIMED}param v : [3000]\n"
    f"({', '.join(f'a{i}' for i in range(3000))}) = split(v, 3000)\nh[t] = x[t] * a0",
    "1000 boundaries": chain(1000, TIMED, "h[-{i}] = {i}\n") + "h[t] = h[t-1001] + x[t]\n",
    "1000 dims": chain(1000, "model A\n", "dim a{i} = a{j}\n")
    + "dim a1000 = 3\ninput x[t] : [a0]\nh[t] = x[t]\n",
}


@pytest.mark.parametrize("name", BUILT)
def test_built(name: str) -> None:
    with soon():
        assert load_system(Source(BUILT[name])).values


COMPILED = {
    "150 terms": f"{TIMED}h[t] = x[t]{' + x[t]' * 150}",
    "190 calls": f"{TIMED}h[t] = {'tanh(' * 190}x[t]{')' * 190}",
    "150 conditions": f"{TIMED}h[t] = {'where(x[t] > 0, 1, ' * 150}x[t]{')' * 150}",
    "190 factors": f"{TIMED}param W : [4, 4]\nh[t] = x[t] * ({'W ' * 150} W)",
    "a lag of 10^4": f"{TIMED}h[t] = h[t-10000] + x[t]",
    "a far boundary": f"{TIMED}h[-5000] = 3\nh[t] = h[t-10000] + x[t]",
    "infinities": f"{TIMED}h[t] = x[t] * inf * 0 + 1/0 + log(0) + 0^(-1) + 5 % 0",
    "large numbers": f"{TIMED}h[t] = x[t] + 9223372036854775807 * 9223372036854775807",
    "Python's words": f"{TIMED}param lambda, None, np : []\nimport[t] = lambda * None * np * x[t]",
    "W' and W_prime": f"{TIMED}a' = 1\na_prime = 2\nh[t] = x[t] * a' * a_prime",
    "names of parts": f"{TIMED}h_1[t] = x[t]\nh[t] = tanh(x[t] * 2 + 1) * h_1[t]",
}


@pytest.mark.parametrize("name", COMPILED)
def test_compiled(name: str) -> None:
    assert said(COMPILED[name]) == ""


@pytest.mark.parametrize("steps", [10**7, 10**18])
def test_absurd_unrolling(steps: int) -> None:
    message = said(f"{TIMED}h[t] = tanh(h[t-1]) + x[t]", unroll=steps)
    assert f"{steps:,} steps" in message
    assert "unroll fewer" in message


@pytest.mark.parametrize("size", [0, -5, 10**30, 2.5, "3", None])
def test_absurd_sizes(size: object) -> None:
    with pytest.raises(SpecError, match="a size is a whole number from 1 on"):
        rnnc.parse("model A\ndim n\ninput x[t] : [n]\nh[t] = x[t]", n=size)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rest", "code"),
    [
        ("h[t] = W[5] * x[t]", "RNN030"),
        ("h[t] = W[-1] * x[t]", "RNN030"),
        ("w[0] = 7\nh[t] = W[w[t-1]] * x[t]", "RNN026"),
        ("h[t] = W[w[t] + 0.5] * x[t]", "RNN033"),
        ("h[t] = W[x[t] > 0] * x[t]", "RNN033"),
        ("h[t] = W[[w[t], w[t]]] * x[t]", "RNN031"),
        ("h[t] = cross_entropy(W[0], 0.5) * x[t]", "RNN033"),
    ],
)
def test_rows_out_of_range(rest: str, code: str) -> None:
    text = f"model A\ninput x[t] : [],  w[t] : index(2)\nparam W : [2, 3]\n{rest}\n"
    assert said(text) == code


@pytest.mark.parametrize(
    "rest",
    [
        "param c : [8]\nh[t] = W h[t-1] + c",
        "param c : [2*4, n]\nh[t] = W h[t-1] + c x[t]",
        "h[t] = W h[t-1] * dot(b, arange(8))",
        "(a[t], c[t]) = split(W b, 2)\nh[t] = a[t] + slice(c[t], 0, 4) + x[t]",
        "h[t] = [W, W] b + repeat(b, 2)",
    ],
)
def test_a_dim_meets_its_number(rest: str) -> None:
    """``m = 8`` and a plain 8 are one size."""
    text = "model A\ndim n = 4, m = 8\ninput x[t] : [n]\nparam W : [m, m], b : [m]\n"
    assert said(f"{text}{rest}\n") == ""


# ---------------------------------------------------------------- damaged library specs

SPECS = [read_source(path).text for path in sorted(set(rnnc.library().values()))]
WORDS = re.compile(r"\s+|[A-Za-z_]\w*|\d+(?:\.\d+)?|.", re.DOTALL)
NAMES = re.compile(r"[A-Za-z_]\w*(?:\[[^\[\]\n]*\])?|\d+(?:\.\d+)?")
INSTEAD = re.split(
    " ",
    "0 1 2.5 -1 t T pi training x[t] x[t-1] x[t+1] x[1] x[T] h[T] h[1] h[0] h[t] h[t-1] h[t+1] W b "
    "m n arange(m) eye(m) [x[t],h[t-1]] (1>0) argmax(h[t-1]) outer(b,b) slice(b,0,2) repeat(b,2) "
    "onehot(1,m) x h x[t-n] dropout(x[t],0.5) index(m) flag [m] [] [m,n] any W.T b.T inf == and @ "
    "+ * - / ^ ( ) [ ] , = ~ : when sum[t](h[t]) mean[batch](x[t]) h[0]=1 loss output",
)


def damaged(random: Random) -> str:
    """A library spec with some of its words or lines changed."""
    text = random.choice(SPECS)
    start = re.search(r"^model .*$", text, re.MULTILINE)
    assert start is not None
    comment, text = text[: start.start()], text[start.start() :]
    for _ in range(random.randint(1, 3)):
        kind = random.randrange(5)
        if kind < 2:
            names = list(NAMES.finditer(text))
            found = random.choice(names)
            new = random.choice(names)[0] if kind else random.choice(INSTEAD)
            text = text[: found.start()] + new + text[found.end() :]
            continue
        parts = WORDS.findall(text) if kind < 4 else text.splitlines(keepends=True)
        i, j = random.randrange(len(parts)), random.randrange(len(parts))
        match random.randrange(3):
            case 0:
                del parts[i]
            case 1:
                parts.insert(i, parts[j])
            case 2:
                parts[i], parts[j] = parts[j], parts[i]
        text = "".join(parts)
    return comment + text


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32))
def test_damaged_specs(seed: int) -> None:
    """Diagnostics or a model, never another exception."""
    with soon():
        try:
            system = bound(load_system(Source(damaged(Random(seed)))))
        except SpecError as error:
            str(error)
            return
    for mode in ("predict", "step", "init", "loss"):
        try:
            schedule(final(system, Options(mode)))
        except (SpecError, UsageError) as error:
            str(error)


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=300), st.sampled_from(["", "model A\n", TIMED, f"{TIMED}h[t] = "]))
def test_random_text(text: str, before: str) -> None:
    with soon():
        try:
            load_system(Source(before + text))
        except SpecError as error:
            str(error)
