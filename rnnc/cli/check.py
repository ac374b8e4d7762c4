"""``rnnc check``: every problem of every file, else what each model holds."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import click

from rnnc.cli.common import (
    Sizes,
    echo,
    echo_json,
    format_option,
    plural,
    say,
    say_notes,
    set_option,
    show_diagnostics,
)
from rnnc.source import DataError, Diagnostic, Source, SpecError, UsageError

if TYPE_CHECKING:
    from rnnc.api import Spec
    from rnnc.syntax import tree
    from rnnc.testing import Difference


@click.command(short_help="Errors, and a table of values with their shapes.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--model", metavar="NAME", help="Only this model; else all of each file.")
@set_option
@format_option
@click.option("-q", "--quiet", is_flag=True, help="Print only errors.")
@click.option("--all", "all_", is_flag=True, help="Print the values inside of layers, too.")
@click.option(
    "--gradients",
    is_flag=True,
    help="Compare the gradients with central differences, on random data and weights.",
)
def check(
    files: tuple[str, ...],
    model: str | None,
    sizes: Sizes,
    format_: str,
    quiet: bool,
    all_: bool,
    gradients: bool,
) -> int:
    """Check specs: print every problem, or each model's values with their shapes.

    FILE is a spec (lstm.rnn) or the name of one of the library (LSTM). A layer is one line, with
    its sizes and the number of its parameters. The exit code is 1 where there are problems, 2
    where a file cannot be read.

    With --gradients the derivative by every parameter and real input is compared with central
    differences of the loss (of a model without one: of its outputs, weighted at random), in
    float64, for 2 sequences of 5 steps. All sizes have to be set.

    \b
    With --format json an object is printed:
      diagnostics  list of {code, message, place, labels, hint}; a place is
                   {file, line, column, end_line, end_column} or null
      models       list of {file, model, dims, parameters, values}; dims and
                   parameters are numbers, or null while sizes are open; a value
                   is {name, role, kind, axes, shape, sizes}, shape in names of
                   dims, sizes in numbers where they are known; with --gradients a
                   model also has gradients, a list of {name, shape, error, ok};
                   notes is a list of {message, place}: how LaTeX was read
    """
    found = _Findings()
    found.read(files, model)
    found.check(sizes)
    if gradients:
        found.differentiate()
    if format_ == "json":
        echo_json(
            {
                "diagnostics": [d.as_dict() for d in found.diagnostics],
                "models": [_as_dict(s) | found.gradients_json(s) for s in found.specs],
            }
        )
    else:
        if found.specs and not quiet:
            tables = (
                f"{_heading(s, all_)}\n\n{s.table(all_)}{found.gradients_text(s)}"
                for s in found.specs
            )
            echo("\n".join(tables).rstrip("\n"))
        if found.diagnostics:
            show_diagnostics(found.diagnostics)
        say_notes(*found.specs)
    for message in (*found.wrong_gradients, *found.unread):
        say("error", message)
    if format_ == "text" and len(files) > 1:
        _conclude(found, len(files), quiet)
    return 2 if found.unread else 1 if found.diagnostics or found.wrong_gradients else 0


class _Findings:
    """What a check of several files has found."""

    def __init__(self) -> None:
        self.models: list[tuple[Source, tree.Model]] = []
        self.specs: list[Spec] = []
        self.diagnostics: list[Diagnostic] = []
        self.unread: list[str] = []
        self.wrong: set[str] = set()  # names of files with problems
        self.differences: dict[int, list[Difference]] = {}  # by the place of the model
        self.wrong_gradients: list[str] = []

    def read(self, files: tuple[str, ...], model: str | None) -> None:
        """Parse all files and choose their models."""
        from rnnc import api, compiler
        from rnnc.syntax.parse import parse

        for file in dict.fromkeys(files):
            try:
                source, own = api.locate(file)
                parsed = parse(source)
                name = model or own
                chosen = [compiler.choose(parsed, name)] if name else parsed.models
                self.models += [(source, m) for m in chosen]
            except SpecError as error:
                self._add(error, file)
            except UsageError as error:
                self.unread.append(str(error))

    def check(self, sizes: Sizes) -> None:
        """Build every model; a size serves those that have it, and must serve one."""
        from rnnc.api import Spec

        declared = [_dims(m) for _, m in self.models]
        nobodys = {n: s for n, s in sizes.items() if not any(n in d for d in declared)}
        for (source, model), dims in zip(self.models, declared, strict=True):
            own = {n: s for n, s in sizes.items() if n in dims}
            try:
                spec = Spec(source, model.name, {**own, **nobodys})
                _check_sizes(spec)
                self.specs.append(spec)
            except SpecError as error:
                self._add(error, source.name)
            nobodys = {}  # said once

    def differentiate(self) -> None:
        """Compare the gradients of every model with central differences."""
        from rnnc.testing.gradients import RTOL, gradient_differences

        for i, spec in enumerate(self.specs):
            try:
                self.differences[i] = found = gradient_differences(spec)
            except SpecError as error:
                self._add(error, spec.source.name)
            except (AssertionError, DataError) as error:
                self.wrong_gradients.append(str(error))
            else:
                wrong = [d for d in found if not d.error <= RTOL]
                self.wrong_gradients += [f"{spec.name}: {d}" for d in wrong]

    def gradients_text(self, spec: Spec) -> str:
        """What was found for a model, as a table."""
        rows = [("gradient by", "shape", "largest error", "")]
        for d in self._found(spec):
            shape = f"[{', '.join(map(str, d.shape))}]"
            rows.append((d.name, shape, f"{d.error:.1e}", "ok" if _right(d) else "WRONG"))
        if len(rows) == 1:
            return ""
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = ["  ".join((*map(str.ljust, r, widths), r[3])).rstrip() for r in rows]
        lines.insert(1, "  ".join("-" * w for w in widths))
        return "\n".join(["", *lines, ""])

    def gradients_json(self, spec: Spec) -> dict[str, Any]:
        """The same as data; nothing where gradients were not asked for."""
        rows = [
            {
                "name": d.name,
                "shape": list(d.shape),
                "error": d.error if isfinite(d.error) else None,
                "ok": _right(d),
            }
            for d in self._found(spec)
        ]
        return {"gradients": rows} if rows else {}

    def _found(self, spec: Spec) -> list[Difference]:
        return self.differences.get(self.specs.index(spec), [])

    def _add(self, error: SpecError, file: str) -> None:
        self.diagnostics += error.diagnostics
        self.wrong.add(file)


def _right(d: Difference) -> bool:
    from rnnc.testing.gradients import RTOL

    return d.error <= RTOL


def _dims(model: tree.Model) -> set[str]:
    from rnnc.syntax import tree

    return {d.name for s in model.statements if isinstance(s, tree.DimStatement) for d in s.dims}


def _check_sizes(spec: Spec) -> None:
    """What can be said of sizes, where all of them are known."""
    try:
        _ = spec.bound
    except SpecError as error:
        wrong = [d for d in error.diagnostics if d.code != "RNN035"]  # an open size is none
        if wrong:
            raise SpecError(wrong) from None


def _conclude(found: _Findings, files: int, quiet: bool) -> None:
    if found.diagnostics:
        errors = plural(len(found.diagnostics), "error")
        echo(f"\n{errors} in {len(found.wrong)} of {plural(files, 'file')}", err=True)
    elif not quiet and not found.unread and not found.wrong_gradients:
        echo(f"\n{plural(len(found.specs), 'model')} in {plural(files, 'file')}: no errors")


def _heading(spec: Spec, inner: bool) -> str:
    dims = {d: s for d, s in spec.system.dims.items() if s is not None}
    known = [f"{d} = {s}" for d, s in dims.items() if inner or "." not in d]
    sizes = f"  with {', '.join(known)}" if known else ""
    return f"{spec.name}  ({spec.source.name}){sizes}"


def _as_dict(spec: Spec) -> dict[str, Any]:
    from rnnc.graph.notation import Printer
    from rnnc.graph.show import parameter_count, roles

    system, role = spec.system, roles(spec.system)
    known = system.bind({d: s for d, s in system.dims.items() if isinstance(s, int)})
    known = known.bind({d: s for d, s in known.dims.items() if isinstance(s, int)})
    count = parameter_count(known)

    def number(size: object) -> int | None:
        return size if isinstance(size, int) else None

    return {
        "file": spec.source.name,
        "model": spec.name,
        "notes": [n.as_dict() for n in spec.notes],
        "dims": {d: number(s) for d, s in known.dims.items()},
        "parameters": number(count),
        "values": [
            {
                "name": v.name,
                "role": role[v.name],
                "kind": v.type.kind,
                "axes": list(v.axes),
                "shape": [s if isinstance(s, int) else str(s) for s in v.type.shape],
                "sizes": [number(s) for s in known[v.name].type.shape],
            }
            for v in Printer(system).shown()
        ],
    }
