"""Wrong specs and what is said of them: ``tests/bad/name.rnn`` and ``name.txt`` beside it.

A first line ``# options: mode=step set n=3 model=Net`` says how the spec is compiled. With
``RNNC_UPDATE_GOLDEN=1`` the messages are written anew; read each of them before it is kept.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from rnnc.compiler import Options, load_system, plan_of
from rnnc.source import CODES, Diagnostic, RnncError, SpecError, UsageError
from rnnc.syntax.parse import read_source

BAD = Path(__file__).parent / "bad"
NAMES = sorted(p.stem for p in BAD.glob("*.rnn"))


def options(name: str) -> dict[str, str]:
    """The options in the first line of a spec, ``set`` left out: it only reads well."""
    first = (BAD / f"{name}.rnn").read_bytes().split(b"\n")[0].decode()
    found = re.fullmatch(r"# options: (.*)", first)
    words = found[1].split() if found else []
    return dict(word.split("=", 1) for word in words if word != "set")


def errors(name: str, folder: pytest.MonkeyPatch) -> RnncError:
    """What compiling the spec raises; positions show the file's name without its folder."""
    folder.chdir(BAD)
    given = options(name)
    model, mode, unroll = (given.pop(k, None) for k in ("model", "mode", "unroll"))
    with pytest.raises((SpecError, UsageError)) as error:
        system = load_system(
            read_source(f"{name}.rnn"), model, {k: int(v) for k, v in given.items()}
        )
        plan_of(system, Options(mode or "predict", int(unroll) if unroll else None))
    return error.value


def diagnostics(name: str, folder: pytest.MonkeyPatch) -> tuple[Diagnostic, ...]:
    error = errors(name, folder)
    return error.diagnostics if isinstance(error, SpecError) else ()


@pytest.mark.parametrize("name", NAMES)
def test_message(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = f"{errors(name, monkeypatch)}\n"
    golden = BAD / f"{name}.txt"
    if os.environ.get("RNNC_UPDATE_GOLDEN"):
        golden.write_text(found, encoding="utf-8")
    assert found == golden.read_text(encoding="utf-8")
