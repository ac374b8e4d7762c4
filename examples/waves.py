"""Three networks draw a wave from memory: a simple RNN, an LSTM and a Clockwork RNN.

None of them has an input: each starts from zero and must produce 320 samples with its weights
alone. All have 36 hidden units in one layer, all weights start from a normal distribution with
standard deviation 0.1, and Nesterov's momentum trains them. The experiment is that of J. Koutník,
K. Greff, F. Gomez, J. Schmidhuber, *A Clockwork RNN*, ICML 2014, on a wave of our own.

    python examples/waves.py [folder for figure and numbers, default: out]

It does so twice: (a) learn the whole wave; (b) learn its first half and go on from there. The
learning rate of each model is the best of one grid for all, tried in (a) with half the updates and
another seed.
The specs are ``waves.rnn`` beside this file and ``ClockworkWave`` of the library.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import rnnc
from rnnc.train import DivergedError

SAMPLES = 320
UPDATES = 1000
SEEDS = (0, 1, 2, 3, 4)
CHOOSING = 100  # the seed to choose learning rates with: none of those above
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)

HERE = Path(__file__).resolve().parent
MODELS = {
    "simple RNN": rnnc.load(HERE / "waves.rnn", model="WaveRNN"),
    "LSTM": rnnc.load(HERE / "waves.rnn", model="WaveLSTM"),
    "Clockwork RNN": rnnc.load("ClockworkWave", G=9, k=4),  # periods 1, 2, 4, …, 256
}


@dataclass(frozen=True)
class Run:
    """What one network made of the wave: all 320 samples, learned up to ``learned``."""

    output: np.ndarray
    learned: int
    ms: float = 0.0  # per update

    def error(self, y: np.ndarray, part: slice) -> float:
        """The mean squared error of a part in units of that part's variance (NMSE).

        1 is what the best constant reaches.
        """
        return float(np.mean((self.output[part] - y[part]) ** 2) / np.var(y[part]))

    def learned_error(self, y: np.ndarray) -> float:
        return self.error(y, slice(self.learned))

    def continued_error(self, y: np.ndarray) -> float:
        return self.error(y, slice(self.learned, None))


def wave() -> np.ndarray:
    """Four tones that swell and fade, between -1 and 1."""
    t = np.arange(SAMPLES) / SAMPLES
    tones = ((1, 3, 0.3), (0.7, 7, 1.1), (0.5, 13, 2.0), (0.35, 23, 0.7))  # size, cycles, phase
    y = sum(a * np.sin(2 * np.pi * f * t + p) for a, f, p in tones)
    y *= 0.6 + 0.4 * np.cos(2 * np.pi * t)
    return (y / np.abs(y).max()).astype("float32")


def learn(
    spec: rnnc.Spec, y: np.ndarray, rate: float, seed: int, updates: int, learned: int
) -> Run:
    """Train on the first ``learned`` samples, then let the network draw all of them."""
    start = time.perf_counter()
    try:
        fit = spec.fit(
            {"y": y[None, :learned]},  # one sequence, so that an epoch is one update
            optimizer="nesterov", hyper={"mu": 0.95}, lr=rate, clip=1.0,
            epochs=updates, seed=seed, progress=False,
        )  # fmt: skip
    except DivergedError:  # the loss is no number any more: this rate is too high
        return Run(np.full(len(y), np.inf), learned)
    ms = 1000 * (time.perf_counter() - start) / updates
    # Nothing gives the length here, so the caller does.
    output = spec.compile("onnx", weights=fit.weights)(T=len(y))["o"]
    return Run(output, learned, ms)


def choose(name: str, y: np.ndarray, updates: int, rates: Sequence[float]) -> float:
    """The rate with the least error on the whole wave."""
    errors = {r: learn(MODELS[name], y, r, CHOOSING, updates, len(y)).learned_error(y)
              for r in rates}  # fmt: skip
    best = min(errors, key=lambda r: errors[r])
    tried = "".join(f"{e:9.4f}{'*' if r == best else ' '}" for r, e in errors.items())
    print(f"{name:14}{tried}")
    return best


def spread(errors: Sequence[float]) -> str:
    return (f"{np.mean(errors):7.4f} ± {np.std(errors, ddof=1):.4f}   "
            f"({' '.join(f'{e:.4f}' for e in errors)})")  # fmt: skip


def draw(
    y: np.ndarray, whole: dict[str, list[Run]], half: dict[str, list[Run]], path: Path
) -> bool:
    """The waves of the first seed; False where there is no matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return False
    figure = Figure(figsize=(12, 6.6), layout="constrained")
    grid = figure.subplots(len(whole), 2, sharex=True, sharey=True)
    steps = np.arange(1, len(y) + 1)
    for row, name in zip(grid, whole, strict=True):
        for axes, run in zip(row, (whole[name][0], half[name][0]), strict=True):
            axes.plot(steps, y, "o", color="tab:blue", ms=2.4, label="wave")
            axes.plot(steps, run.output, color="tab:green", lw=1.6, label="network")
            title = f"{name}: NMSE {run.learned_error(y):.4f}"
            if run.learned < len(y):
                axes.axvspan(run.learned + 0.5, len(y), color="0.92", lw=0)
                title += f" learned, {run.continued_error(y):.2f} going on"
            axes.set_title(title, loc="left", fontsize=10)
            axes.set_xlim(1, len(y))
            axes.set_ylim(-1.35, 1.35)  # what leaves it is no wave any more
            axes.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel("output")
    for axes, text in zip(grid[0], ("(a) all learned", "(b) white half learned"), strict=True):
        axes.set_title(text, loc="right", fontsize=10, color="0.4")
    for axes in grid[-1]:
        axes.set_xlabel("step t")
    grid[0, 0].legend(loc="upper center", ncols=2, fontsize=9, frameon=False)
    figure.savefig(path, dpi=130)
    return True


def main(
    folder: Path,
    updates: int = UPDATES,
    seeds: Sequence[int] = SEEDS,
    rates: Sequence[float] = RATES,
) -> dict[str, dict[str, list[float]]]:
    y = wave()
    print(f"A wave of {len(y)} samples, {updates} updates; errors are NMSE: 1 is a constant.\n")
    print(f"== Learning rates, tried with seed {CHOOSING} and {updates // 2} updates ==\n")
    print(f"{'':14}{''.join(f'{r:9g} ' for r in rates)}")
    rate = {name: choose(name, y, updates // 2, rates) for name in MODELS}

    runs = {
        learned: {
            name: [learn(spec, y, rate[name], s, updates, learned) for s in seeds]
            for name, spec in MODELS.items()
        }
        for learned in (len(y), len(y) // 2)
    }
    whole, half = runs[len(y)], runs[len(y) // 2]
    results = {
        name: {
            "rate": [rate[name]],
            "whole": [r.learned_error(y) for r in whole[name]],
            "first half": [r.learned_error(y) for r in half[name]],
            "second half": [r.continued_error(y) for r in half[name]],
        }
        for name in MODELS
    }
    count = f"mean ± standard deviation (each of the seeds {', '.join(map(str, seeds))})"
    for title, key in (
        ("(a) The whole wave", "whole"),
        ("(b) The first half", "first half"),
        ("(b) Going on through the second half, never seen", "second half"),
    ):
        print(f"\n== {title}: {count} ==\n")
        for name in MODELS:
            print(f"{name:14}{spread(results[name][key])}")
    print("\nNothing tells a network what comes next: by guessing a constant it would get 1.")
    print("\n== Time of an update on the whole wave ==\n")
    for name in MODELS:
        print(f"{name:14}{np.median([r.ms for r in whole[name]]):7.1f} ms")

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "waves.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    figure = folder / "waves.png"
    if draw(y, whole, half, figure):
        print(f"\nThe waves of seed {seeds[0]}: {figure}")
    else:
        print("\nNo figure without matplotlib: pip install matplotlib")
    return results


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
