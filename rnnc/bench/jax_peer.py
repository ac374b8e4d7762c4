"""JAX as a peer: a plan as one jitted function, its loops as ``lax.scan``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp

from rnnc.bench.peer_source import constants_of, peer_source
from rnnc.passes.plan import Plan

Arrays = dict[str, Any]
Call = Callable[[], Arrays]


def outputs_of(
    plan: Plan, weights: Mapping[str, Any], inputs: Mapping[str, Any], dtype: str
) -> Call:
    """A call that computes the outputs of a plan; what depends on weights alone is done before."""
    prepare, run = _functions(plan, dtype)
    given, lengths = _arrays(plan, inputs)
    prepared = jax.jit(prepare)(_device(weights))
    function = jax.jit(lambda prepared, given: run(prepared, {**given, **lengths}))

    def call() -> Arrays:
        out: Arrays = jax.block_until_ready(function(prepared, given))
        return out

    return call


def gradients_of(
    plan: Plan, weights: Mapping[str, Any], inputs: Mapping[str, Any], dtype: str,
    seeds: Mapping[str, Any],
) -> Call:  # fmt: skip
    """A call that gives ``d_<param>`` of ``loss``, or, of a plan without one, of the sum of its
    outputs times ``seeds``."""
    prepare, run = _functions(plan, dtype)
    given, lengths = _arrays(plan, inputs)
    params, weighted = _device(weights), _device(seeds)

    def loss(params: Any, given: Any, weighted: Any) -> Any:
        out = run(prepare(params), {**given, **lengths})
        if "loss" in out:
            return out["loss"]
        return sum((out[name] * seed).sum() for name, seed in weighted.items())

    function = jax.jit(jax.grad(loss))

    def call() -> Arrays:
        found = jax.block_until_ready(function(params, given, weighted))
        return {f"d_{name}": g for name, g in found.items()}

    return call


def _device(arrays: Mapping[str, Any]) -> Arrays:
    return {name: jnp.asarray(a) for name, a in arrays.items()}


def _arrays(plan: Plan, inputs: Mapping[str, Any]) -> tuple[Arrays, dict[str, int]]:
    """The inputs on the device, and lengths, which shapes depend on, as plain numbers."""
    lengths = {p.name: int(inputs[p.name]) for p in plan.inputs if p.role == "length"}
    return _device({n: a for n, a in inputs.items() if n not in lengths}), lengths


def _functions(plan: Plan, dtype: str) -> tuple[Any, Any]:
    jax.config.update("jax_enable_x64", dtype == "float64")
    constants = [jnp.asarray(c) for c in constants_of(plan, dtype)]
    module: dict[str, Any] = {"xp": _namespace(dtype), "constants": constants}
    exec(compile(peer_source(plan), f"<{plan.name} in JAX>", "exec"), module)
    return module["prepare"], module["run"]


def _loop(
    step: Any, carried: tuple[Any, ...], scanned: tuple[Any, ...], length: int, forward: bool
) -> Any:
    return jax.lax.scan(step, carried, scanned, length=length, reverse=not forward)


def _namespace(dtype: str) -> SimpleNamespace:
    """The functions that the source of a plan calls, for real numbers of this dtype."""
    return SimpleNamespace(
        **{n: getattr(jnp, n) for n in ("exp", "log", "sqrt", "sin", "cos", "tanh", "floor")},
        **{n: getattr(jnp, n) for n in ("abs", "sign", "minimum", "maximum", "where", "einsum")},
        **{n: getattr(jnp, n) for n in ("logical_and", "logical_or", "logical_not", "stack")},
        **{n: getattr(jnp, n) for n in ("argmax", "broadcast_to", "concatenate", "cumsum", "sort")},
        **{n: getattr(jax.nn, n) for n in ("sigmoid", "softplus", "relu", "softmax")},
        log_softmax=jax.nn.log_softmax,
        erf=jax.scipy.special.erf,
        permute=jnp.transpose,
        arange=jnp.arange,
        real=lambda x: x.astype(dtype),
        sum=lambda x, dims, keep: jnp.sum(x, dims, keepdims=keep),
        max=lambda x, dims, keep: jnp.max(x, dims, keepdims=keep),
        min=lambda x, dims, keep: jnp.min(x, dims, keepdims=keep),
        eye=lambda n: jnp.eye(n, dtype=dtype),
        zeros=lambda shape: jnp.zeros(shape, dtype),
        whole=jnp.asarray,
        onehot=lambda x, n: jax.nn.one_hot(x, n, dtype=dtype),
        repeat=lambda x, n: jnp.repeat(x, n, -1),
        take_along=lambda x, at: jnp.take_along_axis(x, at, -1),
        loop=_loop,
    )
