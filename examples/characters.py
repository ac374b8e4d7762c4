"""A character model: an LSTM learns Python's own documentation, judges sentences and writes some.

The text is that of Python's ``help()`` on the language (``pydoc_data.topics``, 0.5 million
characters), so there is nothing to download. The model is ``CharLSTM`` of the library. The text is
cut into 32 streams that run side by side; every 64 characters there is an update, and the states
are carried on to the next 64 (truncated back-propagation through time). The last tenth of the text
is for validation.

A model of mode ``loss`` then says how fluent a sentence is: that in its natural order has a lower
perplexity than the same words, or characters, in another. One of mode ``generate``, an ``.onnx``
file that holds the loop, the choice of each character and the vocabulary, writes on from a prompt.

    python examples/characters.py [folder for the model, default: out]
    rnnc generate out/characters.onnx --prompt "The for statement " --temperature 0.5
    rnnc score CharLSTM --weights out/characters.safetensors "a name is bound" "bound is name a"
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np

import rnnc
from rnnc.train import Text

SEED = 0
RIGHT = "The return statement leaves the current function call."
PROMPT = "The return statement "


def documentation() -> str:
    return "\n\n".join(topics[name] for name in sorted(topics))


def unigram_perplexity(text: str, held: str) -> float:
    """Of guessing by how often each character comes, whatever stands before it."""
    count = Counter(text)
    total = len(text) + len(set(text + held))  # each once more, so that none is impossible
    return float(np.exp(-np.mean([np.log((count[c] + 1) / total) for c in held])))


def main(
    folder: Path, units: int = 160, epochs: int = 12, limit: int | None = None
) -> dict[str, Any]:
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
    weights = folder / "characters.safetensors"
    fit.save(weights)  # with the vocabulary
    results = {"unigram": baseline, "perplexity": last["validation.perplexity"]}
    return results | judged(fit.spec, weights) | {"writing": written(fit.spec, weights)}


def judged(spec: rnnc.Spec, weights: Path) -> dict[str, float]:
    """The perplexity of a sentence and of two that are made of its words and characters."""
    draw = np.random.default_rng(SEED)
    sentences = {
        "right": RIGHT,
        "words": " ".join(draw.permutation(RIGHT.split())),
        "scrambled": "".join(draw.permutation(list(RIGHT))),
    }
    judge = spec.compile("onnx", mode="loss", weights=weights)
    scores = judge.score(list(sentences.values()))
    print("\nlog-likelihood   perplexity")
    for sentence, score in zip(sentences.values(), scores, strict=True):
        print(f"{score.log_likelihood:14.1f}{score.perplexity:13.1f}  {sentence}")
    return {name: s.perplexity for name, s in zip(sentences, scores, strict=True)}


def written(spec: rnnc.Spec, weights: Path) -> dict[str, str]:
    """Texts that go on from a prompt: the most likely, and drawn ones."""
    spec.compile("onnx", mode="generate", weights=weights).save(weights.with_suffix(".onnx"))
    writer = rnnc.open(weights.with_suffix(".onnx"))  # all that it needs is in the file
    few = spec.compile("onnx", mode="generate", weights=weights, top_k=5)
    texts = {
        "greedy": writer.generate(PROMPT, steps=120, temperature=0),
        "temperature 0.5": writer.generate(PROMPT, steps=120, temperature=0.5, seed=SEED),
        "the same seed": writer.generate(PROMPT, steps=120, temperature=0.5, seed=SEED),
        "temperature 1": writer.generate(PROMPT, steps=120, seed=SEED),
        "top 5": few.generate(PROMPT, steps=120, seed=SEED),
    }
    for name, text in texts.items():
        print(f"\n{name}: {text!r}")
    return texts


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
