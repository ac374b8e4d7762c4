"""A character model: an LSTM learns to guess the next character of Python's own documentation.

The text is that of Python's ``help()`` on the language (``pydoc_data.topics``, 0.5 million
characters), so there is nothing to download. The model is ``CharLSTM`` of the library. The text is
cut into 32 streams that run side by side; every 64 characters there is an update, and the states
are carried on to the next 64 (truncated back-propagation through time). The last tenth of the text
is for validation.

    python examples/characters.py [folder for the model, default: out]
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np

import rnnc
from rnnc.train import Text

SEED = 0
RIGHT = "The return statement leaves the current function call."


def documentation() -> str:
    return "\n\n".join(topics[name] for name in sorted(topics))


def unigram_perplexity(text: str, held: str) -> float:
    """Of guessing by how often each character comes, whatever stands before it."""
    count = Counter(text)
    total = len(text) + len(set(text + held))  # each once more, so that none is impossible
    return float(np.exp(-np.mean([np.log((count[c] + 1) / total) for c in held])))


def main(
    folder: Path, units: int = 160, epochs: int = 12, limit: int | None = None
) -> dict[str, float]:
    text = documentation()[:limit]
    cut = len(text) * 9 // 10
    held = text[cut:]
    baseline = unigram_perplexity(text[:cut], held)
    print(f"{len(text):,} characters, {len(set(text))} different ones; seed {SEED}")
    print(f"\n{'':10}{'perplexity per character':>25}\n{'':10}{'training':>12}{'validation':>12}")
    print(f"{'unigram':10}{'':12}{baseline:12.2f}")

    fit = rnnc.load("CharLSTM", m=units).fit(
        Text(text[:cut]), validation=Text(held), lr=4e-3, schedule="cosine", clip=1.0,
        batch=32, bptt=64, epochs=epochs, seed=SEED,
    )  # fmt: skip
    for entry in fit.history:
        print(f"epoch {entry['epoch']:<4.0f}{entry['perplexity']:12.2f}"
              f"{entry['validation.perplexity']:12.2f}")  # fmt: skip
    last = fit.history[-1]
    print(f"\n{last['validation.accuracy']:.0%} of the next characters guessed; "
          f"{fit.step:,} updates in {fit.seconds:.0f} s")  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    fit.save(folder / "characters.safetensors")  # with the vocabulary

    # The loss model gives the log-likelihood of any text: what is English, what is none?
    judge = fit.spec.compile("onnx", mode="loss", weights=fit.weights)
    characters = np.random.default_rng(SEED).permutation(list(RIGHT))
    words = np.random.default_rng(SEED).permutation(RIGHT.split())
    results = {"unigram": baseline, "perplexity": last["validation.perplexity"]}
    print("\nlog-likelihood (natural logarithm)")
    for name, sentence in (
        ("right", RIGHT), ("words", " ".join(words)), ("scrambled", "".join(characters)),
    ):  # fmt: skip
        codes = fit.vocabulary.encode(sentence)
        results[name] = -float(judge(y=codes[None])["loss"])
        print(f"{results[name]:8.1f}  {sentence}")
    return results


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
