"""All stages on one page: text → tree → System → passes → Plan → NumPy source or ONNX.

tree     parse.parse            text to syntax, errors with positions
system   build.build            names, shapes and kinds; equations over named axes
bound    System.bind            dims become numbers
final    PIPELINES[mode]        passes from System to System, verified after each
plan     schedule               what is a loop, what comes before it, in what order
         segments, join         of gradients in little memory: a plan of the parts, joined
text     to_numpy, to_onnx      the plan written down
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Literal

from rnnc.graph.build import build
from rnnc.graph.system import System
from rnnc.graph.types import names_of
from rnnc.graph.verify import verify
from rnnc.passes.attention import attention
from rnnc.passes.augmented import augmented
from rnnc.passes.carry import carry, chunk, initial
from rnnc.passes.chosen import chosen
from rnnc.passes.collect import collect
from rnnc.passes.differentiate import differentiate
from rnnc.passes.fuse import fuse
from rnnc.passes.gates import tanh_gates
from rnnc.passes.generate import generate
from rnnc.passes.hoist import hoist
from rnnc.passes.join import join
from rnnc.passes.lengths import lengths
from rnnc.passes.lerp import lerp
from rnnc.passes.limits import oversized
from rnnc.passes.linear import linear
from rnnc.passes.mode import (
    evaluating,
    giving,
    losses_only,
    objective,
    predicting,
    training,
    training_objective,
    unclaimed,
)
from rnnc.passes.pipeline import Pass, run
from rnnc.passes.plan import Plan
from rnnc.passes.recognise import TARGETS, recognise
from rnnc.passes.reshaped import reshaped
from rnnc.passes.retime import retime
from rnnc.passes.rows import live_rows
from rnnc.passes.schedule import schedule
from rnnc.passes.segments import segments
from rnnc.passes.simplify import simplify
from rnnc.passes.textbook import textbook
from rnnc.passes.unpack import unpack
from rnnc.passes.unroll import Counts, one_step, unroll
from rnnc.passes.update import RATE, Shape, set_constants, updated
from rnnc.passes.windows import windows
from rnnc.source import Diagnostic, Source, SpecError, UsageError
from rnnc.spec_files import Neighbours
from rnnc.syntax import tree
from rnnc.syntax.parse import parse

Mode = Literal["predict", "step", "init", "generate", "loss", "grad", "train"]


def chunkwise(system: System) -> System:
    """For a chunk of the sequences: states in and out."""
    return chunk(system)[0]


def stepwise(system: System) -> System:
    """For a single step of the sequences."""
    return one_step(*chunk(system))


# what becomes of gradient equations
BACKWARD: tuple[Pass, ...] = (simplify, retime, chosen, collect, hoist, simplify)

# what each mode does before the passes that all share
PIPELINES: dict[str, tuple[Pass, ...]] = {
    "predict": (predicting, simplify, hoist, fuse, simplify),
    "step": (predicting, simplify, hoist, fuse, simplify, stepwise, simplify),
    "init": (predicting, simplify, hoist, fuse, simplify, initial, simplify),
    "generate": (predicting, generate, simplify, hoist, fuse, simplify),
    "loss": (losses_only, simplify, hoist, fuse, simplify),
    "grad": (objective, simplify, hoist, fuse, simplify, differentiate, *BACKWARD),
    "train": (training_objective, simplify, hoist, fuse, simplify, differentiate, *BACKWARD),
}

# and what a backend wants done before the schedule
BACKENDS: dict[str, tuple[Pass, ...]] = {
    "numpy": (tanh_gates, simplify),
    "onnx": (),
}

# and of the loops that stay loops
LEAN: dict[str, tuple[Pass, ...]] = {
    "numpy": (lerp, simplify),
    "onnx": (lerp, unpack, simplify),
}

CHUNKED = ("predict", "loss", "grad", "train")  # modes that can carry states from chunk to chunk
LEARNING = ("grad", "train")  # modes that keep what they computed, for gradients
MEMORY = ("normal", "low")
MASKED = ("predict", "generate", "loss", "grad", "train")  # modes with sequences of several lengths


@dataclass(frozen=True)
class Options:
    """What is asked of a compilation, besides the sizes of dims.

    ``inputs`` are those to differentiate by as well (mode grad); ``carried`` makes a chunk of a
    longer sequence of the model's sequence; ``optimiser``, ``hyper`` (its constants) and
    ``clip`` (the largest global norm) make the update of mode train. ``top_k`` is how many of
    the most likely classes mode generate draws among. ``lengths`` are axes on which the
    sequences of a batch have lengths of their own. ``outputs`` are the values to
    give instead of the model's own outputs. ``target`` is whose kernels of recurrent operators
    may be used (one of ``TARGETS``; None: none); with ``plain_loops`` every recurrence stays a
    loop over its steps. ``memory`` low computes gradients in segments of the sequences, whose
    steps are computed twice. With ``jit`` the loops of NumPy source are for numba to compile.
    """

    mode: str = "predict"
    unroll: Counts | None = None
    training: bool = False
    backend: str = "onnx"
    inputs: tuple[str, ...] = ()
    carried: bool = False
    optimiser: Callable[[Shape], System] | None = None
    hyper: Mapping[str, float] = field(default_factory=dict)
    clip: float | None = None
    top_k: int | None = None
    lengths: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    target: str | None = None
    plain_loops: bool = False
    memory: str = "normal"
    jit: bool = False


def load_system(
    source: Source, model: str | None = None, sizes: Mapping[str, int] | None = None
) -> System:
    """The System of one model of a source (the last one, unless named).

    Raises SpecError with every problem found.
    """
    file = parse(source)
    return build(choose(file, model), sizes, None, file, Neighbours())


def choose(file: tree.File, name: str | None) -> tree.Model:
    """The model of that name, or the last one of the file."""
    if name is None:
        return file.models[-1]
    for m in file.models:
        if m.name == name:
            return m
    raise SpecError(
        [
            Diagnostic(
                "RNN016",
                f"there is no model `{name}` in {file.source.name}",
                file.models[-1].span,
                hint=f"it has: {', '.join(m.name for m in file.models)}",
            )
        ]
    )


def bound(system: System) -> System:
    """The system with numbers for all dims; raises SpecError naming those that are open."""
    bound = system.bind(_numbers(system, system.dims))
    missing = {n for v in bound.values.values() for s in v.type.shape for n in names_of(s)}
    for d, s in bound.dims.items():
        if s is None and any(
            d in names_of(x) for v in system.values.values() for x in v.type.shape
        ):
            missing.add(d)
    _complete(bound, missing)
    check_sizes(bound)
    return bound


def _complete(system: System, names: Iterable[str]) -> System:
    """The system, if all of these dims have a size in it; else a SpecError that names the rest."""
    missing = sorted(n for n in names if not isinstance(system.dims.get(n), int))
    if not missing:
        return system
    given = " ".join(f"--set {n}=…" for n in missing)
    many = len(missing) > 1
    raise SpecError(
        [
            Diagnostic(
                "RNN035",
                f"the size{'s' if many else ''} {', '.join(f'`{n}`' for n in missing)} of model "
                f"{system.name} {'are' if many else 'is'} not set",
                None,
                hint=f"on the command line {given}; in Python "
                f"{', '.join(f'{n}=…' for n in missing)}",
            )
        ]
    )


def check_sizes(system: System) -> None:
    """Refuse what cannot be: sizes that are no whole numbers, arrays beyond all memory."""
    problems = oversized(system)
    if problems:
        raise SpecError(problems)


def final(system: System, options: Options) -> System:
    """Run the passes of a mode over a bound system, verifying after each."""
    return run(forms(options), rolled(system, options))


def rolled(system: System, options: Options) -> System:
    """The system after the passes of a mode, before it is settled what becomes of the
    recurrences that are left."""
    if options.mode not in list(PIPELINES):  # which may be no name at all
        raise UsageError(f"no mode {options.mode!r}; there are: {', '.join(PIPELINES)}")
    system = run((training if options.training else evaluating,), system)
    if options.outputs:
        system = run((partial(giving, names=options.outputs),), system)
    system = run(passes(options), system)
    if options.unroll is not None:
        if options.mode == "step":
            raise UsageError("a step model has one step already; leave unroll out")
        system = run((partial(unroll, counts=options.unroll), simplify), system)
        cut = live_rows(system)
        if cut is not system:
            system = run((simplify,), verify(cut))
    return system


def kernels(target: str, backend: str, dtype: str) -> str | None:
    """The ``target`` of Options for a backend and a dtype: of float64 onnxruntime has no kernels
    of recurrent operators (it loads them, and fails when they run).

    :raises UsageError: there is no such target.
    """
    if target not in TARGETS:
        raise UsageError(f"no target {target!r}; there are: {', '.join(TARGETS)}")
    return target if backend == "onnx" and dtype == "float32" else None


def forms(options: Options) -> list[Pass]:
    """What becomes of the recurrences that are left, once nothing else changes them."""
    chosen: list[Pass] = []
    if options.plain_loops or options.memory == "low":  # a segment is gone through in steps
        return list(LEAN[options.backend])
    if options.target is not None and options.mode not in ("grad", "train"):
        chosen += [partial(recognise, target=options.target), simplify]
    # numba makes a loop of few operations faster than blocks, which NumPy goes over three times
    blocks = [] if options.jit else [linear, simplify]
    return [*chosen, attention, *blocks, *LEAN[options.backend]]


def adjoint(system: System, inputs: Sequence[str] = ()) -> System:
    """The gradient equations of a system, to be read: nothing hoisted, nothing fused.

    Dims stay open, except for those that count steps, as in ``h[t-d]``.

    :raises SpecError: there are no gradients, a name that one needs is taken, or a dim that
        counts steps has no size.
    :raises UsageError: one of ``inputs`` is no real input of the model.
    """
    system = _lags_bound(system)
    system = objective(unclaimed(evaluating(system), names=inputs))
    # what a distribution is told in stays in the text, though no gradient may need it
    told = sorted({r.source for d in system.targets.values() for r in d.all_reads})
    told = [name for name in told if name not in system.outputs]
    system = replace(system, outputs=(*system.outputs, *told))
    system = run((simplify, partial(differentiate, inputs=inputs), simplify), system)
    outputs = tuple(name for name in system.outputs if name not in told)
    return verify(textbook(replace(system, outputs=outputs)))


def _lags_bound(system: System) -> System:
    """The system with numbers for the dims by which values with boundaries are delayed: which
    steps a boundary serves depends on them."""
    values = system.values.values()
    indices = [
        r.index(a).offset
        for v in values
        for _, r in v.all_reads()
        for a, _ in r.at
        if system[r.source].bounds or r.index(a).fixed
    ]
    indices += [b.step.offset for v in values for b in v.bounds]
    names = {n for offset in indices for n in names_of(offset)}
    return _complete(system.bind(_numbers(system, names)), names) if names else system


def _numbers(system: System, names: Iterable[str]) -> dict[str, int]:
    sizes = {n: system.dims.get(n) for n in names}
    return {n: s for n, s in sizes.items() if isinstance(s, int)}


def passes(options: Options) -> list[Pass]:
    """The passes of a mode, with what the options add to them."""
    chosen: list[Pass] = list(PIPELINES[options.mode])
    if options.inputs:
        if options.mode != "grad":
            raise UsageError("only mode grad differentiates by inputs")
        chosen[chosen.index(differentiate)] = partial(differentiate, inputs=options.inputs)
    if options.carried:
        if options.mode not in CHUNKED:
            raise UsageError(f"states are carried in the modes {', '.join(CHUNKED)}")
        if options.mode == "predict":
            chosen += [chunkwise, simplify]
        else:
            chosen.insert(2, carry)
    if options.lengths:
        if options.mode not in MASKED:
            raise UsageError(f"sequences have lengths in the modes {', '.join(MASKED)}")
        if options.carried:
            raise UsageError("chunks of sequences have one length: leave out carry, or lengths")
        chosen[2:2] = [partial(lengths, axes=options.lengths), simplify]
        if options.mode == "generate":
            chosen.insert(1, partial(_not_drawn, axes=options.lengths))
    if options.inputs:
        chosen.insert(0, partial(unclaimed, names=options.inputs))
    if options.top_k is not None:
        if options.mode != "generate":
            raise UsageError("top_k is for mode generate")
        chosen[chosen.index(generate)] = partial(generate, top_k=options.top_k)
    if options.mode == "train":
        if options.optimiser is None:
            raise UsageError("mode train needs an optimiser")
        if options.clip is not None and not options.clip > 0:
            raise UsageError(f"gradients are clipped to a norm above 0, not {options.clip}")
        one = cache(partial(update_of, options.optimiser, options.hyper))
        chosen += [partial(updated, optimiser=one, clip=options.clip), simplify]
    return [*chosen, *BACKENDS[options.backend]]


def _not_drawn(system: System, axes: Sequence[str]) -> System:
    """The system as it is, if it draws nothing along axes with lengths."""
    for name in system.targets:
        for axis in system[name].axes:
            if any(
                system.axes[a].length == system.axes[axis].length for a in axes if a in system.axes
            ):
                raise UsageError(
                    f"{name} is drawn along {axis}: how long it gets is told by its end, not by "
                    "lengths"
                )
    return system


def update_of(
    optimiser: Callable[[Shape], System], hyper: Mapping[str, float], shape: Shape
) -> System:
    """An optimiser at a single update of a parameter of that shape, with its states outside.

    :raises UsageError: it is no optimiser, or has no such hyperparameter.
    """
    system = optimiser(shape)
    inputs = {v.name for v in system.inputs}
    drawn = system.leaves("uniform")
    others = [v.name for v in (*system.params, *drawn)]
    if inputs != {"g", RATE} or others:
        raise UsageError(
            f"an optimiser has the inputs g[k] (the gradient, of shape any) and lr[k], and no "
            f"parameters and no random numbers; {system.name} has "
            f"{', '.join(sorted({*inputs, *others})) or 'no inputs'}"
        )
    system = start = set_constants(system, hyper)
    system = run((predicting, simplify, stepwise, simplify), system)
    first = system.outputs[0]
    if not any(s.prev == f"{first}.prev" for s in system.states):
        raise UsageError(
            f"the first output of an optimiser is the parameter, W[k] = W[k-1] - …; in "
            f"{system.name}, {first} does not depend on the step before"
        )
    if system[first].type.shape != tuple(shape):
        raise UsageError(
            f"an optimiser works entry by entry: the parameter is {list(shape)}, and {first} of "
            f"{system.name} is {list(system[first].type.shape)}"
        )
    starts = [s.initial for s in system.states if s.initial is not None]
    if not all(r.source in start.values and start.is_zero(r.source) for r in starts):
        raise UsageError(f"the states of an optimiser start at zero; those of {system.name} do not")
    return system


def planned(system: System, options: Options) -> Plan:
    """From the final System to the Plan that backends write down.

    :raises UsageError: less memory is asked for where it would not help.
    """
    if options.memory not in MEMORY:
        raise UsageError(f"no memory {options.memory!r}; there are: {', '.join(MEMORY)}")
    if options.memory == "normal":
        plan = system.once(schedule)
        if options.backend == "onnx":
            plan = reshaped(plan)
        if not options.plain_loops:
            plan = windows(plan)
        return augmented(plan) if options.backend == "numpy" else plan
    if options.mode not in LEARNING:
        raise UsageError(f"memory low is for the modes {' and '.join(LEARNING)}")
    if options.unroll is not None:
        raise UsageError("memory low computes steps of loops again: leave out unroll, or memory")
    parts = segments(system)
    outside, *sweeps = (verify(s) for s in (parts.outside, *(s.system for s in parts.sweeps)))
    return join(parts, schedule(outside), [schedule(s) for s in sweeps])


def plan_of(system: System, options: Options) -> Plan:
    """From a System with open sizes to the Plan."""
    return planned(final(bound(system), options), options)
