"""The import rules of CONTRIBUTING.md, read off the import statements."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "rnnc").rglob("*.py"))
}

SEE_EVERYTHING = {
    "rnnc",
    "__main__",
    "api",
    "bench",
    "draft",
    "compiler",
    "decisions",
    "cli",
    "flow",
    "flow_plot",
    "flow_system",
    "train",
    "testing",
}
# What each part may import beside itself.
BELOW = {
    "source": set(),
    "resources": {"source"},
    "files": {"source"},
    "numbers": {"source"},
    "spec_files": {"source", "resources", "syntax"},
    "syntax": {"source", "resources"},
    "graph": {"source", "resources", "syntax"},
    "passes": {"source", "graph"},
    "backends": {"source", "graph", "passes"},
    "runtime": {"source", "graph", "numbers"},
}
# Modules of passes/ and backends/ that their siblings may import: helpers below them.
SHARED = {
    "rnnc.passes.activations",
    "rnnc.passes.affine",
    "rnnc.passes.along",
    "rnnc.passes.arrays",
    "rnnc.passes.clocks",
    "rnnc.passes.derivatives",
    "rnnc.passes.editor",
    "rnnc.passes.emitter",
    "rnnc.passes.found",
    "rnnc.passes.lower",
    "rnnc.passes.native",
    "rnnc.passes.packing",
    "rnnc.passes.padding",
    "rnnc.passes.plan",
    "rnnc.passes.segments",
    "rnnc.passes.sweeps",
    "rnnc.passes.levels",
    "rnnc.passes.memories",
    "rnnc.passes.mixtures",
    "rnnc.passes.moves",
    "rnnc.passes.proof",
    "rnnc.passes.reaxed",
    "rnnc.passes.rewriter",
    "rnnc.passes.row_sets",
    "rnnc.passes.roles",
    "rnnc.passes.rules",
    "rnnc.passes.spread",
    "rnnc.passes.sums",
    "rnnc.passes.terms",
    "rnnc.passes.ticks",
    "rnnc.passes.views",
    "rnnc.passes.turned",
    "rnnc.backends.numpy_jit",
    "rnnc.backends.numpy_loop",
    "rnnc.backends.numpy_nests",
    "rnnc.backends.numpy_ops",
    "rnnc.backends.numpy_states",
    "rnnc.backends.numpy_text",
    "rnnc.backends.numpy_whole",
    "rnnc.backends.numpy_writer",
    "rnnc.backends.numpy_attention",
    "rnnc.backends.onnx_attention",
    "rnnc.backends.onnx_bodies",
    "rnnc.backends.onnx_fold",
    "rnnc.backends.onnx_joint",
    "rnnc.backends.onnx_native",
    "rnnc.backends.onnx_ops",
    "rnnc.backends.onnx_scan",
    "rnnc.backends.onnx_writer",
}

# Where a third-party package may be imported: prefixes of module names.
HOMES = {
    "jax": ("rnnc.bench.jax_peer",),
    "lark": ("rnnc.syntax.",),
    "matplotlib": ("rnnc.flow_plot",),
    "networkx": ("rnnc.graph.", "rnnc.passes."),
    "onnx": ("rnnc.backends.onnx_", "rnnc.bench.torch_module"),
    "onnxruntime": ("rnnc.runtime.onnx_model",),
    "torch": ("rnnc.bench.torch_",),
}
HEAVY = {*HOMES, "numpy"}


@dataclass(frozen=True)
class Import:
    module: str  # the importing module
    target: str  # "rnnc.graph.ops", "onnx.helper"
    line: int
    local: bool  # inside a function

    @property
    def top(self) -> str:
        return self.target.split(".")[0]

    def __str__(self) -> str:
        return f"{FILES[self.module].relative_to(ROOT)}:{self.line} imports {self.target}"


def imports(module: str) -> list[Import]:
    found: list[Import] = []

    def visit(node: ast.AST, local: bool) -> None:
        if isinstance(node, ast.Import):
            targets = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{FILES[module]}:{node.lineno}: a relative import"
            assert node.module is not None
            # `from rnnc.graph import ops` imports a module, `from rnnc.source import Span` a name
            joined = {name.name: f"{node.module}.{name.name}" for name in node.names}
            targets = [full if full in FILES else node.module for full in joined.values()]
        else:
            targets = []
        found.extend(Import(module, target, node.lineno, local) for target in targets)
        local = local or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            visit(child, local)

    visit(ast.parse(FILES[module].read_text(encoding="utf-8")), local=False)
    return found


IMPORTS = [found for module in FILES for found in imports(module)]
OWN = [found for found in IMPORTS if found.top == "rnnc"]


def part(module: str) -> str:
    """``rnnc.graph.ops`` → ``graph``; the package itself is ``rnnc``."""
    return [*module.split("."), "rnnc"][1] if module != "rnnc" else "rnnc"


def listed(wrong: list[Import]) -> str:
    return "\n".join(["", *map(str, wrong)])


def test_every_part_has_its_rule() -> None:
    assert {part(module) for module in FILES} <= BELOW.keys() | SEE_EVERYTHING


def test_layers_one_way() -> None:
    wrong = [
        found
        for found in OWN
        if (own := part(found.module)) not in SEE_EVERYTHING
        and part(found.target) not in BELOW[own] | {own}
    ]
    assert not wrong, listed(wrong)


def test_build_alone_sees_the_tree() -> None:
    wrong = [
        found
        for found in OWN
        if found.target == "rnnc.syntax.tree"
        and part(found.module) not in SEE_EVERYTHING | {"syntax"}
        and not found.module.startswith("rnnc.graph.build")
    ]
    assert not wrong, listed(wrong)


def test_siblings_do_not_meet() -> None:
    wrong = [
        found
        for found in OWN
        if (own := part(found.module)) in {"passes", "backends"}
        and part(found.target) == own
        and found.module != f"rnnc.{own}"
        and found.target not in SHARED
        # a pass that has become a folder is still one pass
        and found.target.split(".")[2:3] != found.module.split(".")[2:3]
    ]
    assert not wrong, listed(wrong)


def test_packages_stay_at_home() -> None:
    wrong = [
        found
        for found in IMPORTS
        if found.top in HOMES and not f"{found.module}.".startswith(HOMES[found.top])
    ]
    assert not wrong, listed(wrong)


def test_no_circles_broken_inside_functions() -> None:
    wrong = [found for found in OWN if found.local and part(found.module) not in SEE_EVERYTHING]
    assert not wrong, listed(wrong)


@pytest.mark.parametrize("module", [m for m in ("rnnc", "rnnc.cli") if m in FILES])
def test_light_to_import(module: str) -> None:
    """Help and a typo in a command must not wait for NumPy or onnxruntime."""
    code = f"import {module}, sys; print(*sorted({HEAVY!r} & sys.modules.keys()))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == []
