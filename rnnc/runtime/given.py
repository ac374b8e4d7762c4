"""What a model is called with, made into one array for each input: texts become numbers, lists of
sequences padded arrays with the lengths beside them. ``ports.check_inputs`` then checks these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rnnc.graph.names import LENGTHS, axis_of, canonical
from rnnc.graph.types import BATCH
from rnnc.runtime.lengths import ROLE, named, put_together
from rnnc.runtime.ports import PortInfo, Ports
from rnnc.runtime.symbols import Symbols, texts_in
from rnnc.source import DataError


def given(
    ports: Ports, inputs: Mapping[str, Any], lengths: Mapping[str, ArrayLike] | None
) -> dict[str, Any]:
    """The arrays that a model is called with, lengths under their names as inputs.

    :raises UsageError: lengths are given, and the model was compiled without.
    :raises DataError: a text cannot be read, or sequences of several lengths do not fit each
        other, or a model that was compiled without lengths.
    """
    compiled = ports.extra.get("lengths", ())
    inputs = {canonical(name): item for name, item in inputs.items()}
    arrays = named(ports.inputs, inputs, lengths, compiled)
    by_name = {p.name: p for p in ports.inputs}
    for name, item in arrays.items():
        texts = texts_in(item)
        if texts is not None and name in by_name:
            arrays[name] = Symbols(ports).encode(texts, by_name[name])
    batched = {n: p for n, p in by_name.items() if p.dims[:1] == (BATCH,) and p.role != ROLE}
    out, whose = put_together(arrays, {n: _lengths_of(p) for n, p in batched.items()})
    for key, who in whose.items():
        if key in by_name:
            continue
        own = out.pop(key)
        if axis_of(key) not in compiled and len(np.unique(own)) > 1:
            raise DataError(
                f"the sequences of {who} have {own.min()} to {own.max()} steps: give them one by "
                f'one, or compile the model with lengths=("{axis_of(key)}",), on the command '
                f"line --lengths {axis_of(key)}"
            )
    return out


def _lengths_of(port: PortInfo) -> list[str]:
    """The names of the lengths along the time dimensions of an input."""
    own = dict(port.own)
    return [own.get(i, axis + LENGTHS) for i, axis in enumerate(port.times, 1)]
