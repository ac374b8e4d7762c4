"""Wrong specs and what is said of them: ``tests/bad/name.rnn`` and ``name.txt`` beside it.

A first line ``# options: mode=step set n=3 model=Net`` says how the spec is compiled. With
``RNNC_UPDATE_GOLDEN=1`` the messages are written anew; read each of them before it is kept.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from rnnc.compiler import Options, load_system, plan_of
from rnnc.graph.ops import OPS
from rnnc.source import CODES, Diagnostic, Source, SpecError
from rnnc.syntax.parse import parse, read_source

BAD = Path(__file__).parent / "bad"
NAMES = sorted(p.stem for p in BAD.glob("*.rnn"))
# what was asked of a compilation has no place in the spec
PLACELESS = {"rnn035_open", "rnn040_no_loss", "rnn040_nothing_drawn"}
# operations that users never write by these names
INNER = frozenset(
    (
        *("contract", "gather", "to_real", "log_softmax", "broadcast", "stack", "erf", "minimum"),
        *("maximum", "neg", "mul", "div", "mod", "pow", "eq", "ne", "lt", "le", "gt", "ge"),
        *("concat", "cumsum", "kth_largest"),
    )
)


def options(name: str) -> dict[str, str]:
    """The options in the first line of a spec, ``set`` left out: it only reads well."""
    first = (BAD / f"{name}.rnn").read_bytes().split(b"\n")[0].decode()
    found = re.fullmatch(r"# options: (.*)", first)
    words = found[1].split() if found else []
    return dict(word.split("=", 1) for word in words if word != "set")


def compile_bad(name: str) -> None:
    given = options(name)
    model, mode = given.pop("model", None), given.pop("mode", "predict")
    sizes = {dim: int(size) for dim, size in given.items()}
    path = BAD / f"{name}.rnn"
    source = read_source(path)
    plan_of(load_system(replace(source, name=path.name), model, sizes), Options(mode))


@cache
def diagnostics(name: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(SpecError) as error:
        compile_bad(name)
    return error.value.diagnostics


@pytest.mark.parametrize("name", NAMES)
def test_message(name: str) -> None:
    found = "\n\n".join(d.render() for d in diagnostics(name)) + "\n"
    found = found.replace(f"{BAD}{os.sep}", "")  # what cannot be read is named by its path
    golden = BAD / f"{name}.txt"
    if os.environ.get("RNNC_UPDATE_GOLDEN"):
        golden.write_text(found, encoding="utf-8", newline="\n")
    assert found == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("rnn")])
def test_named_after_its_code(name: str) -> None:
    """One mistake, one message: the code in the file's name and no other."""
    assert {d.code for d in diagnostics(name)} == {name[:6].upper()}


def test_every_code_has_an_example() -> None:
    assert {d.code for name in NAMES for d in diagnostics(name)} == CODES.keys()


def test_no_golden_is_left_over() -> None:
    assert {p.stem for p in BAD.glob("*.txt")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_message_has_its_place(name: str) -> None:
    for diagnostic in diagnostics(name):
        assert (diagnostic.span is None) == (name in PLACELESS), diagnostic
        if diagnostic.span is not None:
            text = diagnostic.span.source.text
            assert 0 <= diagnostic.span.start <= diagnostic.span.end <= len(text)


@pytest.mark.parametrize("name", NAMES)
def test_in_the_words_of_the_user(name: str) -> None:
    """No temporary names (`h.1`), Python types, or names of operations inside the compiler."""
    assert OPS.keys() >= INNER
    for diagnostic in diagnostics(name):
        source = diagnostic.span.source.text if diagnostic.span else ""
        texts = [diagnostic.message, diagnostic.hint or "", *(x.text for x in diagnostic.labels)]
        for text in texts:
            assert not re.search(r"\b[A-Za-z_]\w*\.\d", text), text
            assert not re.search(r"\b(Node|Dim|tuple|None|dict|list|str|int|float)\b", text), text
            assert "?" not in re.sub(r"\?$|\[[?, a-z]*\]", "", text), text
            for word in re.findall(r"\b[a-z_]+\b", text):
                assert word not in INNER or word in source, text


@pytest.mark.parametrize("name", NAMES)
def test_as_data(name: str) -> None:
    for diagnostic in diagnostics(name):
        data = diagnostic.as_dict()
        assert data["code"] == diagnostic.code
        assert (data["place"] is None) == (diagnostic.span is None)


def test_a_broken_model_does_not_hide_its_neighbour() -> None:
    """Files with several models: each is checked by itself."""
    text = "model A\nh[t] = foo\n\nmodel B\ninput x[t] : []\nh[t] = x[t]\n"
    load_system(Source(text))
    with pytest.raises(SpecError, match="unknown name `foo`"):
        load_system(Source(text), "A")
    assert len(parse(Source(text)).models) == 2
