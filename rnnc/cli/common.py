"""What the commands share: options, messages, and files that are written whole or not at all."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rnnc.files import check_apart, replaced
from rnnc.source import Diagnostic, SpecError, UsageError

if TYPE_CHECKING:
    from rnnc.api import Spec
    from rnnc.compiler import Options
    from rnnc.passes.unroll import Counts

F = TypeVar("F", bound=Callable[..., Any])

MODES = ("predict", "step", "init", "generate", "loss", "grad", "train")

# ---------------------------------------------------------------- messages

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


def echo(text: str, *, err: bool = False) -> None:
    """Print; colours stay only on a terminal that wants them."""
    click.echo(text, err=err, color=False if os.environ.get("NO_COLOR") else None)


def say(kind: str, text: str) -> None:
    """``error: …``, ``warning: …`` or ``note: …`` on stderr."""
    echo(f"{click.style(kind, fg=_COLOURS[kind], bold=True)}: {text}", err=True)


def show_diagnostics(diagnostics: Iterable[Diagnostic]) -> None:
    """The diagnostics on stderr, an empty line between them."""
    echo("\n\n".join(_coloured(d.render()) for d in diagnostics), err=True)


def _coloured(text: str) -> str:
    head, *rest = text.split("\n")
    kind, _, message = head.partition(": ")
    lines = [f"{click.style(kind, fg='red', bold=True)}: {click.style(message, bold=True)}"]
    for line in rest:
        found = re.match(r"( *(?:-->| = hint:|\d* \|))(.*)", line, re.DOTALL)
        if found is None:
            lines.append(line)
            continue
        edge, content = found.groups()
        if content.lstrip().startswith("^") and edge.strip() == "|":
            content = click.style(content, fg="red")
        lines.append(click.style(edge, fg="cyan") + content)
    return "\n".join(lines)


def plural(count: int, noun: str) -> str:
    """``1 model``, ``2 models``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def file_size(count: int) -> str:
    """``812 bytes``, ``1.4 MB``."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return plural(count, "byte")


# ---------------------------------------------------------------- options


Sizes = dict[str, int | tuple[int, ...]]


def _sizes(ctx: click.Context, param: click.Parameter, items: tuple[str, ...]) -> Sizes:
    sizes: Sizes = {}
    for item in items:
        name, equals, number = (part.strip() for part in item.partition("="))
        if not equals or not name or not number:
            raise click.BadParameter(f"{item!r} is not of the form NAME=NUMBER, such as n=28")
        if re.fullmatch(r"\[\s*\d*(\s*,\s*\d+)*\s*\]", number):  # the shape of an `any` input
            sizes[name] = tuple(int(x) for x in re.findall(r"\d+", number))
            continue
        if not re.fullmatch(r"[+-]?\d+", number):
            more = "; give --set once for each size" if "," in number or "=" in number else ""
            raise click.BadParameter(f"{number!r} is not a whole number: {name} is a size{more}")
        if name in sizes:
            raise click.BadParameter(f"{name} is set twice, to {sizes[name]} and to {number}")
        sizes[name] = int(number)
    return sizes


def _counts(
    ctx: click.Context, param: click.Parameter, text: str | None
) -> int | dict[str, int] | None:
    """``4``, or of some axes: ``s=3,t=4``."""
    if text is None:
        return None
    counts: dict[str, int] = {}
    for item in text.split(","):
        axis, equals, number = (part.strip() for part in item.rpartition("="))
        if not re.fullmatch(r"\d+", number) or int(number) < 1 or bool(axis) != bool(equals):
            raise click.BadParameter(f"{item!r} is no number of steps, such as 4 or t=4")
        if axis in counts:
            raise click.BadParameter(f"{axis or 'the number of steps'} is given twice")
        counts[axis] = int(number)
    if "" in counts and len(counts) > 1:
        raise click.BadParameter("a number alone is for all axes; name the axis of each")
    return counts.get("") or counts


def _listed(ctx: click.Context, param: click.Parameter, items: tuple[str, ...]) -> tuple[str, ...]:
    """Names, of which an option may give several: ``h,z``."""
    names = tuple(n.strip() for item in items for n in item.split(",") if n.strip())
    if items and not names:
        raise click.BadParameter("it names nothing")
    return names


def hyper_numbers(
    ctx: click.Context, param: click.Parameter, items: tuple[str, ...]
) -> dict[str, float]:
    """The constants of an optimiser that ``--hyper NAME=NUMBER`` sets."""
    out: dict[str, float] = {}
    for item in items:
        name, equals, number = (part.strip() for part in item.partition("="))
        try:
            out[name] = float(number)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise click.BadParameter(f"{item!r} is not of the form NAME=NUMBER, such as beta1=0.95")
    return out


set_option = click.option(
    "--set", "sizes", multiple=True, metavar="NAME=NUMBER", callback=_sizes,
    help="The size of a dim (n=28), or the shape of an `any` input (x=[3]); once for each.",
)  # fmt: skip
model_option = click.option(
    "--model", metavar="NAME", help="The model of the file; else it is the last one."
)
mode_option = click.option(
    "--mode", type=click.Choice(MODES), default=None,
    help="predict: whole sequences (the default). step: one step, states in and out. "
    "init: the states before the first step. generate: targets are drawn. loss: losses and "
    "metrics of data. grad: these and the gradients. train: one training step, with the new "
    "parameters as outputs.",
)  # fmt: skip
unroll_option = click.option(
    "--unroll", metavar="N", callback=_counts,
    help="Fix the number of steps: no loops. Of several axes: s=3,t=4; those left out keep theirs.",
)  # fmt: skip
lengths_option = click.option(
    "--lengths", multiple=True, metavar="AXIS", callback=_listed,
    help="Sequences have lengths of their own along this axis (t): an input t.lengths.",
)  # fmt: skip
outputs_option = click.option(
    "--outputs", multiple=True, metavar="NAME", callback=_listed,
    help="Give these values, not the model's own outputs (h,z).",
)  # fmt: skip
target_option = click.option(
    "--target", type=click.Choice(["cpu", "cuda", "web", "any"]),
    help="Whose kernels of LSTM, GRU and RNN a recurrence may become (cpu).",
)  # fmt: skip
memory_option = click.option(
    "--memory", type=click.Choice(["normal", "low"]), default="normal",
    help="Modes grad and train. low: of T steps √T states are kept, and the others are computed "
    "again on the way back.",
)  # fmt: skip
format_option = click.option(
    "--format", "format_", type=click.Choice(["text", "json"]), default="text",
    help="How diagnostics are printed; json goes to stdout.",
)  # fmt: skip


def check_kernels(backend: str, target: str | None) -> None:
    """:raises UsageError: NumPy is asked for kernels of somebody's."""
    if target is not None and backend != "onnx":
        raise UsageError("--target is for ONNX models; NumPy source needs no kernels")


def diagnostics_as_asked(command: F) -> F:
    """With ``--format json`` the diagnostics of a spec go to stdout as data."""

    @functools.wraps(command)
    def run(*args: Any, format_: str, **options: Any) -> Any:
        try:
            return command(*args, format_=format_, **options)
        except SpecError as error:
            if format_ != "json":
                raise
            echo_json({"diagnostics": [d.as_dict() for d in error.diagnostics]})
            return 1

    return run  # type: ignore[return-value]


def echo_json(data: object) -> None:
    """Print data as JSON."""
    import json

    echo(json.dumps(data, ensure_ascii=False, indent=2))


def _check_kind(path: Path) -> None:
    """:raises UsageError: a file of arrays stands in the place of the model."""
    if path.suffix in (".safetensors", ".npz", ".npy"):
        holds, option = {
            ".safetensors": ("weights", "--weights"),
            ".npz": ("arrays, weights or data", "--weights or --input"),
            ".npy": ("data", "--input"),
        }[path.suffix]
        raise UsageError(
            f"{path} holds {holds}; wanted here is a spec or a model (net.rnn, net.onnx, net.py), "
            f"and this file goes to {option}"
        )


def load_spec(file: str, model: str | None, sizes: Sizes) -> Spec:
    """The chosen model of a file or of the library."""
    from rnnc import api

    _check_kind(Path(file))
    source, own = api.locate(file)
    spec = api.Spec(source, model or own, sizes)
    say_notes(spec)
    return spec


def say_notes(*specs: Spec) -> None:
    """How places of LaTeX were read, on stderr."""
    for note in dict.fromkeys(str(note) for spec in specs for note in spec.notes):
        say("note", note)


def compile_options(
    mode: str,
    unroll: Counts | None,
    backend: str,
    training: bool | None = None,
    *,
    inputs: Iterable[str] = (),
    carry: bool = False,
    lengths: Iterable[str] = (),
    outputs: Iterable[str] = (),
    optimizer: str | None = None,
    hyper: Mapping[str, float] | None = None,
    clip: float | None = None,
    top_k: int | None = None,
    target: str = "cpu",
    plain_loops: bool = False,
    dtype: str = "float32",
    memory: str = "normal",
    jit: bool = False,
) -> Options:
    """The compiler's options for those of ``Spec.compile``."""
    from rnnc import compiler
    from rnnc.api import optimiser

    return compiler.Options(
        mode,
        unroll=unroll,
        training=mode == "train" if training is None else training,
        backend=backend,
        inputs=tuple(inputs),
        carried=carry,
        optimiser=optimiser(optimizer or "adam") if mode == "train" else None,
        hyper=hyper or {},
        clip=clip,
        top_k=top_k,
        lengths=tuple(lengths),
        outputs=tuple(outputs),
        target=compiler.kernels(target, backend, dtype),
        plain_loops=plain_loops,
        memory=memory,
        jit=jit,
    )


# ---------------------------------------------------------------- files


def check_target(path: Path) -> Path:
    """Where ``path`` really is, if a file can be written there.

    :raises UsageError: it cannot.
    """
    target = Path(os.path.realpath(path))  # through links, which stay
    if target.is_dir():
        raise UsageError(f"{path} is a folder; give the name of a file")
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} to write {path.name} to")
    if not os.access(target if target.exists() else target.parent, os.W_OK):
        raise UsageError(f"{path} cannot be written: permission denied")
    return target


def keep_apart(output: Path | None, *read: str | Path) -> None:
    """Nothing that was read is overwritten.

    :raises UsageError: the output is one of the files that are read.
    """
    found = (Path(name) for name in read)
    named = [
        ("the spec itself" if p.suffix == ".rnn" else f"read by this command ({p})", p)
        for p in found
        if p.exists()
    ]
    check_apart(named, [("-o", output)] if output else [])


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to be filled, which takes its name at the end.

    :raises UsageError: nothing can be written there.
    """
    target = check_target(path)
    if target.exists() and not target.is_file():  # a device or a pipe
        yield target
        return
    with replaced(path) as part:
        yield part


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with written(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")
