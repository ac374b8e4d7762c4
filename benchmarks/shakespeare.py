"""A character LSTM learns Shakespeare: nats per character on text it has not seen, and the time.

    python benchmarks/shakespeare.py tinyshakespeare.txt [--units 256] [--epochs 6]

The file is the 1.1 MB that A. Karpathy published with char-rnn; any other long text does as well.
The first 90 % is learnt, the last 10 % judged, in one piece, after every epoch. One layer, as in
``CharLSTM`` of the library: 32 numbers for a character, 256 cells, 32 streams of text side by
side, cut every 96 characters with the states carried on, Adam, a cosine schedule.
"""

from __future__ import annotations

import argparse
from math import log
from pathlib import Path

import rnnc
from rnnc.train import Text


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--units", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    text = options.file.read_text("utf-8")
    cut = len(text) * 9 // 10
    fit = rnnc.load("CharLSTM", m=options.units).fit(
        Text(text[:cut]), validation=Text(text[cut:]), lr=4e-3, schedule="cosine", clip=1.0,
        batch=32, bptt=96, epochs=options.epochs, seed=options.seed,
    )  # fmt: skip
    print(f"{'epoch':>5}{'training':>10}{'validation':>12}   nats per character")
    for entry in fit.history:
        training, judged = log(entry["perplexity"]), log(entry["validation.perplexity"])
        print(f"{entry['epoch']:5.0f}{training:10.3f}{judged:12.3f}")
    print(f"last {judged:.3f} after {fit.step:,} updates in {fit.seconds:.0f} s")
    return judged


if __name__ == "__main__":
    main()
