"""Slot filling: where does the journey begin, where does it end, and when?

    I want to book a ticket, arriving in Shanghai tomorrow evening at 8
    I want to book a ticket, leaving from Shanghai tomorrow evening at 8

The same city is a destination or an origin, the same time one of arrival or departure; what says
so may stand before them or after them ("tomorrow evening at 8 arriving in Shanghai"). A network
tags every word: B- begins a slot, I- is inside of one, O is none. It is ``Tagger`` of the library,
two LSTMs, one of which reads backward; ``slots.rnn`` has one that reads forward only, with as many
weights, which can only guess where what decides is still to come.

Sentences are made from an opening and clauses. The test takes templates (a clause, or two in their
order) that no sentence of the training has, every fourth of all; openings and cities are new, too,
and most of their words are one and the same unknown word to the network.

    python examples/slots.py [folder for the model, default: out]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import rnnc

SEEDS = (0, 1, 2)

OPENINGS = (
    "book a ticket", "I want to book a ticket", "please find me a train", "I 'd like to travel",
    "we need two seats", "show me flights", "is there anything", "get me a seat",
)  # fmt: skip
NEW_OPENINGS = ("could you reserve something", "my boss wants to go", "any bus", "plan our trip")
BEFORE = (  # what decides is before the slot
    "from {origin}", "leaving {origin}", "leaving {departure}",
    "leaving from {origin} {departure}", "leaving {departure} from {origin}",
    "to {destination}", "arriving in {destination}", "arriving {arrival}",
    "to {destination} {departure}", "arriving in {destination} {arrival}",
    "arriving {arrival} in {destination}", "reaching {destination} {arrival}",
)  # fmt: skip
AFTER = (
    "{departure} from {origin}", "{departure} leaving {origin}", "{departure} to {destination}",
    "{arrival} arriving in {destination}", "{arrival} reaching {destination}",
    "with {origin} as the start", "with {destination} as the end",
    "{origin} is where I leave {departure}", "{destination} is where I arrive {arrival}",
)  # fmt: skip
CITIES = (
    "Boston", "Paris", "London", "Berlin", "Rome", "Madrid", "Tokyo", "Seoul", "Cairo", "Lagos",
    "Lima", "Bogota", "Delhi", "Mumbai", "Sydney", "Oslo", "Vienna", "Prague", "Chicago", "Denver",
    "New York", "Los Angeles", "San Diego", "Hong Kong", "Kuala Lumpur", "Buenos Aires",
)  # fmt: skip
NEW_CITIES = (
    "Shanghai", "Nairobi", "Lisbon", "Warsaw", "Toronto", "Hanoi", "Quito", "Dublin", "Athens",
    "Addis Ababa", "Panama City", "Tel Aviv",
)  # fmt: skip
DAYS = ("today", "tomorrow", "on Monday", "on Tuesday", "on Friday", "on Sunday")
PARTS = ("", "", "morning", "evening")
HOURS = ("at 8", "at nine", "at 7 pm", "at 10 am", "around noon", "at half past 6", "before 11")

SLOTS = ("origin", "destination", "departure", "arrival")
TAGS = ("O", *(f"{where}-{slot}" for slot in SLOTS for where in "BI"))
UNKNOWN = "?"  # stands for every word that the network does not know
Tagged = list[tuple[str, str]]  # words and their tags
SHOWN = (
    "I want to book a ticket , arriving in Shanghai tomorrow evening at 8",
    "I want to book a ticket , leaving from Shanghai tomorrow evening at 8",
    "I want to book a ticket , tomorrow evening at 8 arriving in Shanghai",
    "I want to book a ticket , tomorrow evening at 8 leaving Shanghai",
    "book a ticket from Boston to Paris at 7 pm tomorrow",
    "show me flights to Addis Ababa from Los Angeles",
)


def slots_of(clause: str) -> set[str]:
    return set(re.findall(r"{(\w+)}", clause))


def templates() -> list[tuple[str, ...]]:
    """One clause, or two that fill different slots, in either order."""
    clauses = BEFORE + AFTER
    pairs = [(a, b) for a in clauses for b in clauses if not slots_of(a) & slots_of(b)]
    return [*((clause,) for clause in clauses), *pairs]


class Sentences:
    """Random sentences of some openings, clauses and cities, with the tags of their words.

    A share of the words of openings and cities is ``unknown``, so that a network learns what stands
    around such words.
    """

    def __init__(
        self,
        openings: Sequence[str],
        clauses: Sequence[tuple[str, ...]],
        cities: Sequence[str],
        seed: int,
        unknown: float = 0.0,
    ):
        self.openings, self.clauses, self.cities = openings, clauses, cities
        self.draw = np.random.default_rng(seed)
        self.unknown = unknown

    def one_of(self, items: Sequence[str]) -> str:
        return items[self.draw.integers(len(items))]

    def perhaps(self, text: str) -> str:
        words = (UNKNOWN if self.draw.random() < self.unknown else word for word in text.split())
        return " ".join(words)

    def time(self) -> str:
        day, hour = f"{self.one_of(DAYS)} {self.one_of(PARTS)}", self.one_of(HOURS)
        return self.one_of((day, hour, f"{day} {hour}", f"{hour} {day}"))

    def template(self) -> str:
        text = self.perhaps(self.one_of(self.openings))
        between = [","]  # what a clause that begins with its slot is set apart by
        for clause in self.clauses[self.draw.integers(len(self.clauses))]:
            apart = self.one_of(between if clause[0] == "{" else [*between, ""])
            text = f"{text} {apart} {clause}"
            between = [",", "and"]
        return text

    def sentence(self) -> Tagged:
        places = map(self.perhaps, self.draw.choice(self.cities, 2, replace=False))
        values = dict(zip(SLOTS, (*places, self.time(), self.time()), strict=True))
        out: Tagged = []
        for word in self.template().split():
            slot = word.strip("{}")
            if slot == word:
                out.append((word, "O"))
            else:
                first, *others = values[slot].split()
                out += [(first, f"B-{slot}"), *((other, f"I-{slot}") for other in others)]
        return out

    def take(self, count: int) -> list[Tagged]:
        return [self.sentence() for _ in range(count)]


class Words:
    """The numbers of the words of some sentences; any other word is unknown."""

    def __init__(self, sentences: Iterable[Tagged]):
        known = {UNKNOWN, *(word for sentence in sentences for word, _ in sentence)}
        self.numbers = {word: i for i, word in enumerate(sorted(known))}

    def __len__(self) -> int:
        return len(self.numbers)

    def encode(self, words: Iterable[str]) -> np.ndarray:
        return np.array([self.numbers.get(word, self.numbers[UNKNOWN]) for word in words])

    def arrays(self, sentences: Iterable[Tagged]) -> dict[str, list[np.ndarray]]:
        """Words w and tags y of each sentence, each as long as it is."""
        rows = [tuple(zip(*s, strict=True)) for s in sentences]
        return {
            "w": [self.encode(words) for words, _ in rows],
            "y": [np.array([TAGS.index(tag) for tag in tags]) for _, tags in rows],
        }


def slots(words: Sequence[str], tags: Sequence[str]) -> dict[str, str]:
    """What stands in which slot."""
    found: dict[str, str] = {}
    for word, tag in zip(words, tags, strict=True):
        if tag != "O":
            slot = tag[2:]
            found[slot] = f"{found[slot]} {word}" if tag[0] == "I" and slot in found else word
    return found


def evaluate(model: Any, data: dict[str, list[np.ndarray]]) -> tuple[float, float]:
    """The share of words whose tag is right, and of sentences where all are."""
    p = model(w=data["w"])["p"]
    right = [tags.argmax(1)[: len(y)] == y for tags, y in zip(p, data["y"], strict=True)]
    return np.concatenate(right).mean(), np.mean([words.all() for words in right])


def main(
    folder: Path, sentences: int = 4000, epochs: int = 8, seeds: Sequence[int] = SEEDS
) -> dict[str, dict[str, list[float]]]:
    every = templates()
    held = len(every) // 4
    print(f"{sentences} sentences of {len(every) - held} templates to learn from; to be tagged: "
          f"{held} other templates,\nother openings and other cities. What decides a slot is "
          "before it in some, after one in others.\n")  # fmt: skip
    print(f"{'':28}{'words':>8}{'sentences right':>28}\n"
          f"{'seed':20}{'weights':>8}{'right':>8}"
          f"{'all':>10}{'before':>9}{'after':>9}{'time':>8}")  # fmt: skip
    here = Path(__file__).resolve().parent
    results: dict[str, dict[str, list[float]]] = {}
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(every))
        known, new = [every[i] for i in order[held:]], [every[i] for i in order[:held]]
        learn = Sentences(OPENINGS, known, CITIES, seed, unknown=0.5).take(sentences)
        words = Words(learn)
        data = words.arrays(learn)
        after = [template for template in new if {*template} & {*AFTER}]
        parts = {"all": new, "before": [t for t in new if t not in after], "after": after}
        tests = {
            part: words.arrays(Sentences(NEW_OPENINGS, some, NEW_CITIES, seed + 100).take(1000))
            for part, some in parts.items()
        }
        sizes = {"vocab": len(words), "d": 16, "k": len(TAGS)}
        specs = {
            "forward only": rnnc.load(here / "slots.rnn", m=48, **sizes),
            "both ways": rnnc.load("Tagger", m=32, **sizes),
        }
        for name, spec in specs.items():
            fit = spec.fit(data, lr=1e-2, schedule="cosine", clip=1.0, epochs=epochs, seed=seed)
            model = spec.compile("onnx", weights=fit.weights, lengths=("t",))
            right = {part: evaluate(model, test) for part, test in tests.items()}
            count = sum(array.size for array in fit.weights.values())
            found = {"words": right["all"][0], **{part: r[1] for part, r in right.items()}}
            for part, share in found.items():
                results.setdefault(name, {}).setdefault(part, []).append(float(share))
            print(f"{seed:<6}{name:14}{count:8,}{found['words']:8.1%}{found['all']:10.1%}"
                  f"{found['before']:9.1%}{found['after']:9.1%}{fit.seconds:6.0f} s",
                  flush=True)  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / "slots.onnx")

    print()
    for text in SHOWN:
        asked = text.split()
        p = model(w=words.encode(asked)[None])["p"][0]
        print(text, *(f"    {slot:12}{value}" for slot, value in
                      slots(asked, [TAGS[i] for i in p.argmax(1)]).items()), sep="\n")  # fmt: skip
    return results


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
