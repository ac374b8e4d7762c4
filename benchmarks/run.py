"""All comparisons, in one report: what rnnc is measured against, by how much, and what it misses.

    python benchmarks/run.py [--quick] [--report FILE.md] [--threads 1 2] [--rounds N]

Peers that are not installed are left out: `pip install ".[peers]"`. Every group of
comparisons, for every number of threads, runs in a process of its own. Without `--report` the
report goes to stdout; with it a drawing, FILE.svg, lies beside it where Matplotlib is installed.
`--quick` takes about a minute: fewer sizes and rounds, one thread. A few minutes are well spent on
a machine that does nothing else.

Beside it there are, to be run on their own: core.py (LSTM in NumPy, and as a Scan, against those
written by hand), training.py and attention.py (training steps), memory.py, chorales.py and
shakespeare.py (what is learnt).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from report import draw, markdown, missed
from suite import GROUPS, Result

from rnnc.bench.timing import describe_machine

FOLDER = Path(__file__).parent
PACKAGES = ("numpy", "onnx", "onnxruntime", "torch", "jax")
#: Scripts whose output is part of the report; each prints tables of its own.
SCRIPTS = {
    "clockwork.py": "Clockwork RNN",
    "linear.py": "Linear recurrences and matrix states",
    "compile.py": "Compilation",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything, write the report; 1 if something failed to run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--report", type=Path, metavar="FILE.md")
    parser.add_argument("--threads", type=int, nargs="+")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--group", nargs="+", choices=GROUPS, default=list(GROUPS))
    options = parser.parse_args(arguments)
    threads = options.threads or ([1] if options.quick else [1, 2])
    rounds = options.rounds or (3 if options.quick else 7)
    results: list[Result] = []
    failures: list[str] = []
    for group in options.group:
        for count in threads:
            command = [group, "--threads", str(count), "--rounds", str(rounds)]
            command += ["--quick"] if options.quick else []
            results += _results(command, failures)
    others = [] if options.quick or options.group != list(GROUPS) else list(_outputs(failures))
    text = markdown(results, describe_machine(PACKAGES), rounds, others)
    if options.report is None:
        print(text)
    else:
        picture = options.report.with_suffix(".svg")
        if draw(results, picture):
            text = text.replace("\n## ", f"\n![ratios]({picture.name})\n\n## ", 1)
        options.report.write_text(text, encoding="utf-8")
        reached = sum(not missed(r) for r in results)
        print(f"{options.report}: {len(results)} comparisons, {reached} reach all their goals")
    for failure in failures:
        print(failure, file=sys.stderr)
    return int(bool(failures))


def _results(command: Sequence[str], failures: list[str]) -> Iterator[Result]:
    """What a process of the suite prints, as it comes."""
    with subprocess.Popen(
        [sys.executable, str(FOLDER / "suite.py"), *command], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            result = Result(**json.loads(line))
            print(f"{' '.join(command[:3])}: {result.cell} {result.steps} {result.batch} "
                  f"{result.cells}", file=sys.stderr, flush=True)  # fmt: skip
            yield result
    if process.returncode:
        failures.append(f"suite.py {' '.join(command)} failed")


def _outputs(failures: list[str]) -> Iterator[tuple[str, str]]:
    """Titles and outputs of the scripts."""
    for name, title in SCRIPTS.items():
        if not (FOLDER / name).exists():
            continue
        print(name, file=sys.stderr, flush=True)
        done = subprocess.run(
            [sys.executable, str(FOLDER / name)], stdout=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            failures.append(f"{name} failed")
        yield title, done.stdout


if __name__ == "__main__":
    raise SystemExit(main())
