"""PyTorch as a peer: a plan as an eager loop, or with its steps compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from rnnc.bench.peer_source import constants_of, peer_source
from rnnc.passes.plan import Plan

Arrays = dict[str, Any]
Call = Callable[[], Arrays]


def use_threads(count: int) -> None:
    """How many threads PyTorch computes with from now on."""
    torch.set_num_threads(count)


def outputs_of(
    plan: Plan, weights: Mapping[str, Any], inputs: Mapping[str, Any], dtype: str,
    compiled: bool = False,
) -> Call:  # fmt: skip
    """A call that computes the outputs of a plan; what depends on weights alone is done before."""
    prepare, run = _functions(plan, dtype, compiled)
    given = _tensors(inputs)

    with torch.inference_mode():
        prepared = prepare(_tensors(weights))

    def call() -> Arrays:
        with torch.inference_mode():
            out: Arrays = run(prepared, given)
        return out

    return call


def gradients_of(
    plan: Plan, weights: Mapping[str, Any], inputs: Mapping[str, Any], dtype: str,
    seeds: Mapping[str, Any], compiled: bool = False,
) -> Call:  # fmt: skip
    """A call that gives ``d_<param>`` of ``loss``, or, of a plan without one, of the sum of its
    outputs times ``seeds``, by back-propagation with PyTorch's autograd."""
    prepare, run = _functions(plan, dtype, compiled)
    given, weighted = _tensors(inputs), _tensors(seeds)
    params = {name: w.requires_grad_() for name, w in _tensors(weights).items()}

    def call() -> Arrays:
        out = run(prepare(params), given)
        if "loss" in out:
            loss = out["loss"]
        else:
            loss = sum((out[name] * seed).sum() for name, seed in weighted.items())
        found = torch.autograd.grad(loss, list(params.values()), materialize_grads=True)
        return {f"d_{name}": g for name, g in zip(params, found, strict=True)}

    return call


def _tensors(arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {name: torch.from_numpy(np.array(a)) for name, a in arrays.items()}


def _functions(plan: Plan, dtype: str, compiled: bool) -> tuple[Any, Any]:
    xp = _namespace(dtype, compiled)
    constants = [torch.from_numpy(c) for c in constants_of(plan, dtype)]
    module: dict[str, Any] = {"xp": xp, "constants": constants}
    exec(compile(peer_source(plan), f"<{plan.name} in PyTorch>", "exec"), module)
    return module["prepare"], module["run"]


def _loop(
    step: Any, carried: tuple[Any, ...], scanned: tuple[Any, ...], length: int, forward: bool
) -> Any:
    rows = [x.unbind(0) for x in scanned]
    kept = []
    for t in range(length) if forward else reversed(range(length)):
        carried, results = step(carried, tuple([row[t] for row in rows]))
        kept.append(results)
    if not forward:
        kept.reverse()
    return carried, tuple(torch.stack(column) for column in zip(*kept, strict=True))


def _compiled_loop(step: Any, *rest: Any) -> Any:
    return _loop(torch.compile(step, dynamic=False), *rest)


def _namespace(dtype: str, compiled: bool) -> SimpleNamespace:
    """The functions that the source of a plan calls, for real numbers of this dtype."""
    real = getattr(torch, dtype)
    f = torch.nn.functional
    return SimpleNamespace(
        **{n: getattr(torch, n) for n in ("exp", "log", "sqrt", "sin", "cos", "tanh", "floor")},
        **{n: getattr(torch, n) for n in ("abs", "sign", "sigmoid", "erf", "minimum", "maximum")},
        **{n: getattr(torch, n) for n in ("where", "logical_and", "logical_or", "logical_not")},
        **{n: getattr(torch, n) for n in ("einsum", "argmax", "softmax", "log_softmax", "stack")},
        **{n: getattr(torch, n) for n in ("permute", "broadcast_to", "cumsum", "arange")},
        softplus=lambda x: torch.logaddexp(x, torch.zeros_like(x)),
        relu=torch.relu,
        real=lambda x: x.to(real),
        concatenate=torch.cat,
        sum=torch.sum,
        max=torch.amax,
        min=torch.amin,
        eye=lambda n: torch.eye(n, dtype=real),
        zeros=lambda shape: torch.zeros(shape, dtype=real),
        whole=torch.tensor,
        onehot=lambda x, n: f.one_hot(x, n).to(real),
        repeat=lambda x, n: x.repeat_interleave(n, -1),
        take_along=lambda x, at: torch.take_along_dim(x, at, -1),
        sort=lambda x: torch.sort(x).values,
        loop=_compiled_loop if compiled else _loop,
    )
