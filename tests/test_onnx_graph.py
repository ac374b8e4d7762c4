"""ONNX models against the oracle: every spec, every op, both dtypes."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from rnnc.backends.onnx_graph import to_onnx
from rnnc.backends.onnx_ops import FORMS
from rnnc.graph.build import build
from rnnc.graph.system import Axis, System, Value
from rnnc.graph.types import BATCH, FIRST, FLAG, INDEX, LAST, REAL, Array, Bound, Index, Read, Type
from rnnc.graph.types import read as read_of
from rnnc.passes.fuse import fuse
from rnnc.passes.plan import ArrayType, Carried, Compute, Loop, Plan, Port
from rnnc.passes.schedule import schedule
from rnnc.passes.simplify import simplify
from rnnc.resources import specs_folder
from rnnc.runtime.onnx_model import OnnxModel
from rnnc.runtime.ports import (
    KEY,
    PortInfo,
    check_inputs,
    parse_ports,
    ports_json,
    ports_of,
    uniform,
)
from rnnc.runtime.reference import evaluate
from rnnc.source import DataError, Source, UsageError
from rnnc.syntax.parse import parse, read_source

NDA = NDArray[Any]
