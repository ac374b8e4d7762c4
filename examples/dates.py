"""A network reads dates as people write them, and writes each as ISO 8601 does.

    Thursday, the 5th of March 1998   →   1998-03-05
    5.III.98                          →   1998-03-05

The model is ``BahdanauAttention`` of the library as it stands: a bidirectional GRU reads the
characters, and before each character that the decoder writes it looks at all of them and chooses.
Where it looked is drawn. The texts of a batch differ in their number of steps (6 to 37 characters).
The dates of the test are in the training in no form.

    python examples/dates.py [folder for model and figure, default: out]
    rnnc generate out/dates.onnx --greedy --steps 10 --input x="June the 7th, '54"
"""

from __future__ import annotations

import datetime
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import rnnc
from rnnc.train import Vocabulary

SEED = 0
FIRST, LAST = datetime.date(1850, 1, 1), datetime.date(2049, 12, 31)
SHORT = range(1930, 2030)  # the years that may be written with two digits

# How 5 March 1998, a Thursday, may be written. Between slashes the order is month, day, year if the
# year is last; between points it is day, month, year.
FORMS = (
    "March 5, 1998", "March 5 1998", "March 5th, 1998", "March the 5th, 1998", "Mar 5, 1998",
    "Mar. 5, 1998", "Mar 5th, 1998", "March the fifth, 1998", "5 March 1998", "05 March 1998",
    "5 Mar 1998", "5th March 1998", "5th of March, 1998", "5. March 1998", "the 5th of March 1998",
    "the 5th of March, 1998", "the fifth of March 1998", "the fifth of March, 1998",
    "Thursday, March 5, 1998", "Thursday, March 5th, 1998", "Thursday, 5 March 1998",
    "Thursday, the 5th of March 1998", "Thursday, 05.03.1998", "Thu, Mar 5, 1998",
    "Thu, 5 Mar 1998", "Thu Mar 05 1998", "1998 March 5", "1998, March 5th",
    "1998-03-05", "1998/03/05", "1998.03.05", "19980305", "3/5/1998", "03/05/1998", "5.3.1998",
    "05.03.1998", "5.III.1998", "5-Mar-1998", "1998-Mar-05", "5/Mar/1998",
    "March 5, '98", "5 Mar '98", "Mar 5 '98", "5-Mar-98", "3/5/98", "03/05/98", "5.3.98",
    "05.03.98", "5.III.98", "Thursday, 5.3.98",
)  # fmt: skip
PART = re.compile("1998|98|Thursday|Thu|March|Mar|III|03|3|fifth|5th|05|5")
NEW_FORMS = ("on March 5 in 1998", "Thursday 5.March 1998", "1998 05 Mar", "March 1998, the 5th",
             "'98 March 5")  # fmt: skip

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September",
          "October", "November", "December")  # fmt: skip
ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ORDINALS = [
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
    "eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth",
    "eighteenth", "nineteenth", "twentieth",
]  # fmt: skip
ORDINALS += [f"twenty-{word}" for word in ORDINALS[:9]] + ["thirtieth", "thirty-first"]

SHOWN, ISO = "Thursday, the 5th of March 1998", "1998-03-05"


def written(date: datetime.date, form: str) -> str:
    d, m, y = date.day, date.month, date.year
    ending = "th" if 10 < d < 20 else {1: "st", 2: "nd", 3: "rd"}.get(d % 10, "th")
    month, day = MONTHS[m - 1], DAYS[date.weekday()]
    parts = {
        "1998": str(y), "98": f"{y % 100:02}",
        "Thursday": day, "Thu": day[:3],
        "March": month, "Mar": month[:3], "III": ROMAN[m - 1], "03": f"{m:02}", "3": str(m),
        "fifth": ORDINALS[d - 1], "5th": f"{d}{ending}", "05": f"{d:02}", "5": str(d),
    }  # fmt: skip
    return PART.sub(lambda part: parts[part[0]], form)


def pairs(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Different dates, none of them that of ``SHOWN``: as somebody wrote them, and in ISO form."""
    random = np.random.default_rng(seed)
    shown = (datetime.date.fromisoformat(ISO) - FIRST).days
    days = random.permutation(np.delete(np.arange((LAST - FIRST).days + 1), shown))[:count]
    texts, isos = [], []
    for day in days:
        date = FIRST + datetime.timedelta(days=int(day))
        forms = [f for f in FORMS if "1998" in f or date.year in SHORT]
        text = written(date, forms[random.integers(len(forms))])
        case = random.choice(("as it is", "upper", "lower"), p=(0.7, 0.15, 0.15))
        texts.append({"upper": text.upper(), "lower": text.lower()}.get(case, text))
        isos.append(date.isoformat())
    return texts, isos


def shades(attention: np.ndarray, text: str, iso: str) -> str:
    """Attention [characters written, characters read], a line for each character written."""
    cells = np.digitize(attention, (0.05, 0.25, 0.5, 0.75))
    rows = ("".join(" ░▒▓█"[i] for i in row) for row in cells)
    return "\n".join([f"   {text}", *(f" {c} {row}" for c, row in zip(iso, rows, strict=True))])


def draw(attention: np.ndarray, text: str, iso: str, path: Path) -> bool:
    """The same as a figure; False where there is no matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return False
    figure = Figure(figsize=(1 + 0.26 * len(text), 3.2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(attention, cmap="Greys", vmin=0, vmax=1)
    axes.set_xticks(range(len(text)), list(text))
    axes.set_yticks(range(len(iso)), list(iso))
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    figure.savefig(path, dpi=130)
    return True


def main(
    folder: Path,
    units: int = 48,
    count: int = 12_000,
    tests: int = 2000,
    epochs: int = 6,
    seed: int = SEED,
) -> dict[str, float]:
    texts, isos = pairs(count + tests, seed)
    new, wanted = texts[count:], isos[count:]
    print(f"{count:,} dates to learn from, written in {len(FORMS)} ways; seed {seed}\n")

    # One numbering for what is read and what is written. Symbol 0, the blank, is what stands
    # before the first character that is written.
    symbols = Vocabulary.of(*texts, *isos)
    spec = rnnc.load("BahdanauAttention", n=len(symbols), k=len(symbols), m=units, p=units)
    fit = spec.fit(
        {"x": [symbols.encode(t) for t in texts[:count]],
         "y": [symbols.encode(t) for t in isos[:count]]},
        lr=5e-3, schedule="cosine", clip=1.0, batch=64, epochs=epochs, seed=seed,
    )  # fmt: skip
    for entry in fit.history:
        print(f"epoch {entry['epoch']}: {entry['accuracy']:8.2%} of the characters right, "
              f"loss {entry['loss']:.4f}")  # fmt: skip
    print(f"{fit.step:,} updates in {fit.seconds:.0f} s")

    # The model that writes knows the symbols: it takes texts, of different lengths.
    folder.mkdir(parents=True, exist_ok=True)
    fit.spec.compile(
        "onnx", mode="generate", lengths=("t",), weights=fit.weights, vocabulary=symbols
    ).save(folder / "dates.onnx")
    model = rnnc.open(folder / "dates.onnx")

    def read(texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
        numbers = [symbols.encode(text) for text in texts]  # of a text it would give the text alone
        out = model.generate(x=numbers, steps=10, temperature=0)
        return [str(symbols.decode(row)) for row in out["y"]], out["a"]

    def compare(texts: Sequence[str], found: Sequence[str], wanted: Sequence[str]) -> None:
        for text, iso, right in zip(texts, found, wanted, strict=True):
            print(f"  {text:38}{iso}{'' if iso == right else f'  wrong: {right}'}")

    found, _ = read(new)
    wrong = [i for i in range(tests) if found[i] != wanted[i]]
    exact = 1 - len(wrong) / tests
    print(f"\n{exact:.2%} of {tests:,} other dates are read without a mistake. The first ten:\n")
    compare(new[:10], found[:10], wanted[:10])
    if wrong:
        print("\nMistakes:\n")
        compare(*([texts[i] for i in wrong[:5]] for texts in (new, found, wanted)))
    print("\nForms that it has never seen:\n")
    compare(NEW_FORMS, read(NEW_FORMS)[0], [ISO] * len(NEW_FORMS))

    (iso,), (attention,) = read([SHOWN])
    print(f"\nWhere it looks, before each character that it writes:\n\n"
          f"{shades(attention, SHOWN, iso)}")  # fmt: skip
    figure = folder / "dates.png"
    if draw(attention, SHOWN, iso, figure):
        print(f"\nThe same as a figure: {figure}")
    else:
        print("\nNo figure without matplotlib: pip install matplotlib")
    return {"exact": exact, "seconds": fit.seconds}


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
