"""The command line: ``rnnc check | show | compile | run | bench | specs | import | fmt``.

Whatever is heavy (NumPy, lark, networkx, onnx, rnnc's own stages) is imported inside the commands,
so that help and a typo answer at once.

Exit codes: 0; 1 for problems in a spec or in data; 2 for wrong usage; 70 for a fault of rnnc.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper

import click

import rnnc
from rnnc.cli.bench import bench
from rnnc.cli.check import check
from rnnc.cli.common import say, show_diagnostics
from rnnc.cli.compile import compile_
from rnnc.cli.diff import diff
from rnnc.cli.format import fmt
from rnnc.cli.generate import generate
from rnnc.cli.gradflow import gradflow
from rnnc.cli.import_ import import_
from rnnc.cli.run import run
from rnnc.cli.score import score
from rnnc.cli.show import show
from rnnc.cli.specs import specs
from rnnc.cli.train import train
from rnnc.source import InternalError, RnncError, SpecError, UsageError

__all__ = ["cli", "main"]

SPEC, USAGE, FAULT, INTERRUPTED = 1, 2, 70, 130


class _Commands(click.Group):
    """Commands in the order of their use, and an answer to what is none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.commands and not name.startswith("-"):
            ctx.fail(_no_command(name, list(self.commands)))
        return super().resolve_command(ctx, args)


def _no_command(name: str, commands: Sequence[str]) -> str:
    from difflib import get_close_matches

    if name.endswith((".rnn", ".onnx", ".py")):
        verb = "check" if name.endswith(".rnn") else "run"
        return f"a command is missing before {name}: rnnc {verb} {name}"
    near = get_close_matches(name, commands, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(commands)}"
    return f"there is no command {name}; {hint}"


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(rnnc.__version__, prog_name="rnnc", message="%(prog)s %(version)s")
def cli() -> None:
    """rnnc compiles recurrent networks, written as equations, to NumPy source and ONNX models.

    FILE is a spec (lstm.rnn) or the name of one of the library (LSTM; `rnnc specs` lists them).

    \b
    rnnc check lstm.rnn                      errors, and a table of values
    rnnc compile LSTM --set n=28 -o m.onnx   an ONNX model
    rnnc run m.onnx --random --time          try it
    """


_COMMANDS = (
    *(
        check,
        show,
        diff,
        compile_,
        train,
        run,
        bench,
        generate,
        score,
        gradflow,
        specs,
        import_,
        fmt,
    ),
)
for _command in _COMMANDS:
    cli.add_command(_command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (that of the process, unless given) and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what a terminal cannot show must not stop us
            stream.reconfigure(errors="backslashreplace")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            arguments = None if argv is None else list(argv)
            code = cli.main(args=arguments, prog_name="rnnc", standalone_mode=False)
        if sys.stdout is not None:  # as under `rnnc … >&-`
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except SystemExit as e:  # click's answer to a pipe that was closed
        return e.code if isinstance(e.code, int) else SPEC
    except (KeyboardInterrupt, EOFError, click.Abort):
        return INTERRUPTED
    except BaseException as e:
        if os.environ.get("RNNC_DEBUG"):
            raise
        try:
            return _report(e)
        except BrokenPipeError:
            return _silence()


def _report(error: BaseException) -> int:
    """Say what went wrong, in words; the exit code."""
    match error:
        case SpecError():
            show_diagnostics(error.diagnostics)
            return SPEC
        case click.ClickException():
            error.show()
            return error.exit_code
        case UsageError():
            say("error", str(error))
            return USAGE
        case InternalError():
            return _fault(error)
        case RnncError():
            say("error", str(error))
            return SPEC
        case BrokenPipeError():
            return _silence()
        case OSError():
            what = f"{error.filename}: " if error.filename else ""
            say("error", f"{what}{error.strerror or error}")
            _silence()
            return SPEC
        case MemoryError():
            say("error", "there is not enough memory for this; choose smaller sizes")
            return SPEC
        case RecursionError():
            say("error", "the spec is too deeply nested, or its chain of equations too long")
            return SPEC
        case Exception():
            return _fault(error)
    raise error


def _fault(error: Exception) -> int:
    from traceback import extract_tb

    frames = extract_tb(error.__traceback__)
    place = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    kind = "" if isinstance(error, InternalError) else f"{type(error).__name__}: "
    say("error", f"this is a fault of rnnc, not of yours: {kind}{error}{place}")
    click.echo(
        f"Please report it, with the spec and the command, for rnnc {rnnc.__version__}; "
        "RNNC_DEBUG=1 shows where it happened.",
        err=True,
    )
    return FAULT


def _silence() -> int:
    """Nobody reads any more: let what is still to be written go nowhere."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    return SPEC


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    say("warning", str(message))
