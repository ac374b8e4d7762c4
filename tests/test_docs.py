"""Runs what README.md and docs/*.md show.

The blocks of a page run in order, in one temporary folder with copies of ``examples/`` and
``specs/``. After the language, the info string of a fence may say more:

- ``python`` runs, in one namespace for the page; ``fails``: it must raise.
- ``console`` or ``sh``: each line ``$ command`` runs and must succeed; ``fails``: the last one must
  not; ``exact``: what follows a command is its output, in which ``...`` stands for anything. The
  first ``rnnc`` of a page is a process of its own, as users have it; the others are calls of what
  that process calls, which takes most of a second to import.
- ``rnn`` must pass ``rnnc check``; ``fails``: it must not.
- A block marked ``fragment`` is skipped.
- A block with the first line ``# file: NAME`` is written to that file, for the blocks after it;
  Python then runs only where a command asks for it.
"""

from __future__ import annotations

import doctest
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rnnc.cli import main

ROOT = Path(__file__).resolve().parent.parent
PAGES = [p for p in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if p.exists()]

PROGRAMS = {"rnnc", "python", "python3", "cat", "ls"}
ALONE = {"bench"}  # NumPy takes the number of its threads when it is loaded
SETTING_UP = re.compile(r"(make|pip|git|cd|source|python3? -m (pip|venv))\b")


@dataclass(frozen=True)
class Block:
    page: Path
    line: int  # of the first line inside the fence
    language: str
    marks: frozenset[str]
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    for number, line in lines:
        opening = re.fullmatch(r"( *)(`{3,})([^`]*)", line)
        if not opening:
            continue
        indent, fence, info = opening.groups()
        body = []
        for _, inner in lines:
            if inner.strip() == fence:
                break
            body.append(inner.removeprefix(indent))
        else:
            pytest.fail(f"{page.name}:{number}: the fence is never closed")
        language, *marks = info.split() or [""]
        yield Block(page, number + 1, language, frozenset(marks), "\n".join(body) + "\n")


def commands(block: Block) -> list[tuple[str, str]]:
    r"""The commands of a console block, each with the output shown; ``\`` joins lines."""
    found: list[tuple[str, str]] = []
    for line in block.text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif found:
            command, shown = found[-1]
            joins = command.endswith("\\\n")
            found[-1] = (
                (command + line.removeprefix("> "), shown) if joins else (command, shown + line)
            )
    return [(command.strip(), shown) for command, shown in found]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a page, where ``rnnc`` and ``python`` are those of this test run."""
    here, programs = tmp_path / "page", tmp_path / "bin"
    here.mkdir()
    programs.mkdir()
    for name in "examples", "specs":
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, here / name, ignore=ignored)
    # users do not have interegular, with which Lark proves for a second that tokens do not collide
    rnnc = (
        "import sys; sys.modules['interegular'] = None; sys.argv[0] = 'rnnc'; "
        "from rnnc.cli import main; sys.exit(main())"
    )
    for name, start in ("python", ""), ("python3", ""), ("rnnc", f'-c "{rnnc}"'):
        script = programs / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {start} "$@"\n')
        script.chmod(0o755)
    monkeypatch.chdir(here)
    for name, first in ("PATH", programs), ("PYTHONPATH", ROOT):
        monkeypatch.setenv(name, str(first), prepend=os.pathsep)
    for name, value in ("COLUMNS", "100"), ("NO_COLOR", "1"), ("TERM", "dumb"):
        monkeypatch.setenv(name, value)
    return here


@dataclass
class Shell:
    """Runs the commands of a page; ``processes`` are those that had one of their own."""

    processes: list[str] = field(default_factory=list)

    def run(self, command: str, *, succeeds: bool, place: str) -> str:
        """What a command prints, on stdout and stderr."""
        program, *arguments = shlex.split(command)
        seen = any(c.startswith("rnnc ") for c in self.processes)
        if program == "rnnc" and seen and arguments[0] not in ALONE:
            code, printed = called(arguments)
        else:
            self.processes.append(command)
            code, printed = started(command)
        report = f"{place}: $ {command}\nexit code {code}\n{printed}"
        assert (code == 0) == succeeds, report
        assert "Traceback (most recent call last)" not in printed, report
        return printed

    def console(self, block: Block) -> None:
        """Run the commands of a block, and compare what they print."""
        found = commands(block)
        for i, (command, shown) in enumerate(found):
            if SETTING_UP.match(command):
                continue
            assert command.split()[0] in PROGRAMS, f"{block.place}: cannot run {command!r} here"
            fails = "fails" in block.marks and i == len(found) - 1
            printed = self.run(command, succeeds=not fails, place=block.place)
            if "exact" in block.marks:
                want, got = (
                    "\n".join(line.rstrip() for line in text.strip("\n").splitlines()) + "\n"
                    for text in (shown, printed)
                )
                same = doctest.OutputChecker().check_output(want, got, doctest.ELLIPSIS)
                assert same, f"{block.place}: $ {command}\nshown:\n{want}\nprinted:\n{got}"


def started(command: str) -> tuple[int, str]:
    """The exit code and the output of a process."""
    run = subprocess.run(
        command,
        shell=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=600,
    )
    return run.returncode, run.stdout


def called(arguments: Sequence[str]) -> tuple[int, str]:
    """The exit code and the output of ``rnnc`` in this process."""
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with redirect_stdout(printed), redirect_stderr(printed), warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)  # which it prints
        code = main(arguments)
    return code, printed.buffer.getvalue().decode()


def run_python(block: Block, namespace: dict[str, object]) -> None:
    # empty lines in front, so that a traceback names the line of the page
    code = compile("\n" * (block.line - 1) + block.text, str(block.page), "exec")
    if "fails" in block.marks:
        with pytest.raises(Exception):  # noqa: B017, PT011 - the page says which
            exec(code, namespace)
    else:
        exec(code, namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page: Path, folder: Path) -> None:
    namespace: dict[str, object] = {"__name__": "__main__"}
    shell = Shell()
    specs = []  # names say the line: a message about one leads to its place
    for block in blocks(page):
        if "fragment" in block.marks:
            continue
        named = re.match(r"# file: (\S+)\n", block.text)
        if named:
            (folder / named[1]).parent.mkdir(parents=True, exist_ok=True)
            (folder / named[1]).write_text(block.text, encoding="utf-8")
        if block.language == "rnn":
            name = f"{page.stem}-line-{block.line}.rnn"
            (folder / name).write_text(block.text, encoding="utf-8")
            if "fails" in block.marks:
                shell.run(f"rnnc check {name}", succeeds=False, place=block.place)
            else:
                specs.append(name)
        elif block.language in {"console", "sh"}:
            shell.console(block)
        elif block.language == "python" and not named:
            run_python(block, namespace)
    if specs:
        shell.run(f"rnnc check {' '.join(specs)}", succeeds=True, place=page.name)


PAGE = """\
```python
answer = 42
```

- in a list:

  ```python
  assert answer == 42
  ```

```python fails
answer.nonsense
```

```python
# file: twice.py
import sys
print("once")
print("twice, at", __file__)
sys.exit("--wrong" in sys.argv)
```

```console exact
$ pip install nothing
$ python \\
>     twice.py
once
twice, at ...
```

```sh fails
$ cat twice.py
$ python twice.py --wrong
```

```python fragment
this would not run
```
"""


def test_the_runner(folder: Path) -> None:
    page = folder / "page.md"
    page.write_text(PAGE)
    test_page(page, folder)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("answer == 42", "answer == 43"),
        ("answer.nonsense", "answer"),
        ("twice, at ...", "thrice"),
        ("twice.py --wrong", "twice.py"),
        ("cat twice.py", "cat thrice.py"),
        ("cat twice.py", "rm twice.py"),
        ("```python fragment", "```python"),
        ("this would not run\n```", "never closed"),
    ],
)
def test_the_runner_sees(right: str, wrong: str, folder: Path) -> None:
    assert right in PAGE
    page = folder / "page.md"
    page.write_text(PAGE.replace(right, wrong))
    with pytest.raises((AssertionError, SyntaxError, pytest.fail.Exception)):
        test_page(page, folder)
