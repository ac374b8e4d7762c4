"""What a model says of its names, which LaTeX needs to know to be read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rnnc.syntax import tree
from rnnc.syntax.names import FUNCTIONS

# As papers spell functions, beside the capitals that they like.
_SPELLINGS = {"sigm": "sigmoid", "logistic": "sigmoid", "ln": "log", "diagonal": "diag"}


@dataclass
class Names:
    """``axes`` with the names of their lengths; ``varying``, the values that have axes, with
    these; ``known``, all names of values and sizes; ``indices``, those of an ``index(k)`` with k;
    ``functions``, names that a model gives to functions; ``models``, which may be layers.

    Found on the way: steps stand ``above`` (``h^{t-1}``); values that are ``moved``, since their
    equations stand for a later step (``h_{t+1} = …``), by how much, or ``shifted``, where these
    read what is given at that step; ``fresh`` axes that a sum
    tells (``\\sum_{k=1}^{T}``).
    """

    axes: dict[str, str] = field(default_factory=dict)
    varying: dict[str, tuple[str, ...]] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    functions: dict[str, str] = field(default_factory=dict)
    indices: dict[str, tree.Expr] = field(default_factory=dict)
    models: set[str] = field(default_factory=set)
    above: bool = False
    moved: dict[str, dict[str, int]] = field(default_factory=dict)
    shifted: set[str] = field(default_factory=set)
    fresh: dict[str, str] = field(default_factory=dict)

    @property
    def lengths(self) -> set[str]:
        return set(self.axes.values())

    def function(self, name: str) -> str | None:
        """The function of the language that a word stands for."""
        if name in self.functions:
            return self.functions[name]
        if name in self.known:
            return None
        plain = _SPELLINGS.get(name) or name.lower()  # LN is no ln
        return plain if plain in FUNCTIONS else None


def names_of(statements: Sequence[tree.Statement], models: Iterable[str]) -> Names:
    """The names that statements in plain form declare and define."""
    names = Names(models=set(models))
    for s in statements:
        match s:
            case tree.AxisStatement(name=name, length=length):
                names.axes[name] = length
            case tree.DimStatement(dims=dims):
                names.known |= {d.name for d in dims}
            case tree.InputStatement(items=items):
                for item in items:
                    _given(names, item)
            case tree.TargetStatement(item=item):
                _given(names, item)
            case tree.ParamStatement(items=items):
                names.known |= {item.name for item in items}
            case tree.ConstStatement(item=item):
                names.known.add(item.name)
            case tree.FunctionStatement(functions=functions):
                names.functions |= {f.name: f.function for f in functions}
            case tree.UseStatement(names=used):
                names.models |= {n.name for n in used}
            case tree.LayerStatement(name=name):
                names.models.add(name)
    if "t" not in names.known:
        names.axes.setdefault("t", "T")
    for s in statements:
        if isinstance(s, tree.Equation):
            for left in s.left:
                names.known.add(left.name)
                steps = [n.name for n in left.index if isinstance(n, tree.Name)]
                if steps and len(steps) == len(left.index) and names.axes.keys() >= set(steps):
                    names.varying[left.name] = tuple(steps)
    return names


def _given(names: Names, item: tree.Declared) -> None:
    names.known.add(item.name)
    for axis in item.axes:
        names.axes.setdefault(axis, axis.upper())
    if item.axes:
        names.varying[item.name] = item.axes
    if isinstance(item.type, tree.IndexType):
        names.indices[item.name] = item.type.size
