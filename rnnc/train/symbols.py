"""Texts as data: what they feed, the numbers of their symbols, and how a long one is cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from rnnc.api import Spec
from rnnc.graph.names import canonical
from rnnc.graph.system import Value
from rnnc.graph.types import BATCH
from rnnc.runtime.symbols import texts_in
from rnnc.runtime.vocabulary import Vocabulary
from rnnc.source import DataError
from rnnc.train.data import range_of
from rnnc.train.text import Text

NDA = NDArray[Any]
Arrays = dict[str, NDA]


def text_names(spec: Spec) -> tuple[Value, Value | None]:
    """The target that a text feeds, and the input that is the text one step earlier, if any.

    :raises DataError: the model is of another kind.
    """
    system = spec.system
    targets = [
        v for v in system.leaves("target")
        if v.type.kind == "index" and not v.type.shape and len(v.axes) > 1
    ]  # fmt: skip
    if len(targets) != 1 or len(system.leaves("target")) != 1:
        raise DataError(
            f"{spec.name} cannot be trained on a text: that takes exactly one target, "
            "an index at every step, such as: target y[t] : index(vocab) ~ categorical(p[t])"
        )
    (target,) = targets
    inputs = system.leaves("input")
    same = [v for v in inputs if v.axes == target.axes and range_of(v) == range_of(target)]
    if len(inputs) > 1 or len(same) != len(inputs):
        names = ", ".join(v.name for v in inputs)
        raise DataError(
            f"{spec.name} cannot be trained on a text: beside {target.name} it takes {names}; "
            f"a text gives one input, index({range_of(target)}) at every step: itself, one step "
            "late. Several texts are given by name"
        )
    return target, same[0] if same else None


def vocabulary_of(texts: Sequence[Text], known: Vocabulary | None) -> Vocabulary:
    """The vocabulary of some texts: the known one, else all their symbols.

    :raises DataError: characters, words and bytes are mixed, or there is no text.
    """
    kinds = {text.unit for text in texts}
    if len(kinds) > 1:
        raise DataError(f"one text is of {' and the other of '.join(sorted(kinds))}")
    if not all(text.content.strip() if text.words else text.content for text in texts):
        raise DataError("the text is empty")
    (unit,) = kinds
    if known is not None and known.unit != unit:
        raise DataError(f"the vocabulary is of {known.unit}, and the text is of {unit}")
    words = unit == "words"
    return known or Vocabulary.of(*(text.content for text in texts), words=words)


def streams(spec: Spec, numbers: NDA, count: int) -> Arrays:
    """A text cut into ``count`` sequences of equal length; what is over is left out.

    :raises DataError: the text is shorter than that.
    """
    target, before = text_names(spec)
    usable = len(numbers) - (before is not None)
    steps = usable // count
    if steps < 1:
        raise DataError(
            f"a text of {len(numbers)} symbols cannot be cut into {count} sequences; "
            f"take a smaller batch (at most {max(1, usable)}), or a longer text"
        )
    if before is None:
        return {target.name: numbers[: steps * count].reshape(count, steps)}
    return {
        target.name: numbers[1 : steps * count + 1].reshape(count, steps),
        before.name: numbers[: steps * count].reshape(count, steps),
    }


def numbered(
    spec: Spec, data: Sequence[Any], known: Vocabulary | None
) -> tuple[list[Any], Vocabulary | None, dict[str, int]]:
    """Data (to train on, for validation) with numbers in place of the texts in arrays by name;
    the vocabulary, which is that of all of them unless one is known; and how many symbols there
    are, by the input that has texts.

    :raises DataError: an input takes no texts, or a symbol is not in the known vocabulary.
    """
    texts: list[dict[str, list[str]]] = []
    for part in data:
        items = part.items() if isinstance(part, Mapping) else ()
        found = {canonical(name): texts_in(item) for name, item in items}
        texts.append({name: rows for name, rows in found.items() if rows is not None})
    used = {name for part in texts for name in part} & {v.name for v in spec.system.inputs}
    for name in sorted(used):
        v = spec.system[name]
        if v.type.kind != "index" or v.axes == (BATCH,):
            what = "is one class for each sequence" if v.type.kind == "index" else "is no index"
            raise DataError(f"{name} takes no texts: it {what}; give it numbers")
    if not used:
        return list(data), known, {}
    known = known or Vocabulary.of(*(t for part in texts for n in used for t in part.get(n, ())))
    out = [
        {canonical(name): item for name, item in part.items()}
        | {name: [known.encode(t) for t in rows] for name, rows in own.items() if name in used}
        if own
        else part
        for part, own in zip(data, texts, strict=True)
    ]
    return out, known, dict.fromkeys(used, len(known))
