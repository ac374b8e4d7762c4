"""The recurrent operators of ONNX, and what plays the roles of their equations."""

from __future__ import annotations

from dataclasses import dataclass, field

from rnnc.graph.types import Read
from rnnc.passes.activations import Activation
from rnnc.passes.sums import Chain
from rnnc.passes.views import View

ROLES = {"RNN": ("h",), "GRU": ("z", "r", "n"), "LSTM": ("i", "o", "f", "g")}  # ONNX's order
PEEPHOLES = ("i", "o", "f")  # of the LSTM, in ONNX's order

Weighted = tuple[float, Chain]


@dataclass
class Rowset:
    """The weights of one gate: what stands before each input and the state, the bias, the
    recurrent bias (inside the reset gate of a GRU), the peephole. ``constant`` is the bias of a
    gate that is not there."""

    inputs: dict[View, list[Weighted]] = field(default_factory=dict)
    state: list[Weighted] = field(default_factory=list)
    bias: list[Weighted] = field(default_factory=list)
    inner_bias: list[Weighted] = field(default_factory=list)
    peephole: list[Weighted] = field(default_factory=list)
    constant: float = 0.0


@dataclass
class Native:
    """A recurrence that is an operator: its states, weights and settings."""

    kind: str
    axis: str
    forward: bool
    members: frozenset[str]
    h: str
    c: str | None
    size: int
    activations: tuple[Activation, ...]
    rows: dict[str, Rowset]
    names: dict[str, str]  # of the roles, as the spec has them
    initial: dict[str, Read]
    lengths: Read | None
    after: bool = False  # linear_before_reset: the reset gate is applied after the product

    @property
    def peepholes(self) -> bool:
        return any(r.peephole for r in self.rows.values())


def an(kind: str) -> str:
    """An operator with its article."""
    return f"an {kind}" if kind in ("RNN", "LSTM") else f"a {kind}"
