"""rnnc: a compiler for recurrent networks written as equations.

>>> import rnnc
>>> spec = rnnc.load("LSTM", n=3, m=4)
>>> model = spec.compile("numpy", weights=spec.init(seed=0))
>>> sorted(model(x=[[[0.1, 0.2, 0.3]]]))
['c', 'h']
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rnnc.source import (
    DataError,
    Diagnostic,
    InternalError,
    RnncError,
    SpecError,
    UsageError,
)

if TYPE_CHECKING:
    from rnnc.api import Spec, load, open, parse
    from rnnc.flow import gradient_flow
    from rnnc.runtime.stream import Stream
    from rnnc.spec_files import library
    from rnnc.train.loop import DivergedError

__version__ = "0.1.0"

__all__ = [
    "DataError",
    "Diagnostic",
    "DivergedError",
    "InternalError",
    "RnncError",
    "Spec",
    "SpecError",
    "Stream",
    "UsageError",
    "__version__",
    "gradient_flow",
    "library",
    "load",
    "open",
    "parse",
]


def __getattr__(name: str) -> Any:
    """The rest of the interface is imported on first use, so that the command line starts fast."""
    if name == "gradient_flow":
        from rnnc.flow import gradient_flow

        return gradient_flow
    if name == "DivergedError":
        from rnnc.train.loop import DivergedError

        return DivergedError
    if name == "library":
        from rnnc.spec_files import library

        return library
    if name == "Stream":
        from rnnc.runtime.stream import Stream

        return Stream
    if name in __all__:
        from rnnc import api

        return getattr(api, name)
    raise AttributeError(f"module rnnc has no attribute {name}")
