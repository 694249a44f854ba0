"""Who may import whom, and how long a file may be (docs/architecture.md).

facade (snncc/: __init__.py, __main__.py, api.py, model.py, cli/, comparison/) ->
    passes, runtime, trainer -> core (the rest of snncc/).
"""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"snncc": "snncc", "snncc.passes": "passes", "snncc.runtime": "runtime", "snncc.trainer": "trainer"}
FACADE = {"snncc", "snncc.__main__", "snncc.api", "snncc.model", "snncc.pareto", "snncc.search"}
MAX_LINES, MAX_CODE_IN_ALL = 400, 16_200

CORE = {"numpy", "onnx", "networkx"}
RUNTIME = CORE | {"numba", "llvmlite", "onnxruntime"}
TRAIN = {"torch", "monai", "lightning", "onnxscript"}
THIRD_PARTY = {
    "core": CORE,
    "passes": CORE,
    "runtime": RUNTIME,
    "trainer": CORE | TRAIN,
    "facade": RUNTIME | {"nibabel", "click", "rich", "PIL", "matplotlib"},
}
LAYERS = {layer: {"core", layer} for layer in ("core", "passes", "runtime")}
LAYERS |= {"trainer": {"core", "runtime", "trainer"}, "facade": set(THIRD_PARTY)}


def modules() -> dict[str, Path]:
    """Dotted name -> file of every module of snncc, each once: behind snncc/passes etc. are links."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.resolve() == path:
                name = ".".join((package, *path.relative_to(ROOT / folder).with_suffix("").parts))
                found[name.removesuffix(".__init__")] = path
    return found


class Import(NamedTuple):
    target: str  # a module of snncc, or the top-level name of another package
    line: int
    lazy: bool  # inside a function


def imports(path: Path) -> list[Import]:
    def names(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{path}:{node.lineno}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)

    def walk(node: ast.AST, lazy: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            yield from (Import(owner(name), child.lineno, lazy) for name in names(child))  # type: ignore[attr-defined]
            yield from walk(child, lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    return list(walk(ast.parse(path.read_text(encoding="utf-8")), lazy=False))


def owner(name: str) -> str:
    """snncc.graph.Node -> snncc.graph; numpy.typing -> numpy."""
    if not name.startswith("snncc."):
        return name.partition(".")[0]
    return name if name in MODULES else owner(name.rpartition(".")[0])


def layer(module: str) -> str:
    if module in FACADE or (module + ".").startswith(("snncc.cli.", "snncc.comparison.")):
        return "facade"
    part = module.split(".")[1]
    return part if part in ("passes", "runtime", "trainer") else "core"


MODULES = modules()
IMPORTS = {module: imports(path) for module, path in MODULES.items()}


def allowed(module: str, target: str, lazy: bool) -> bool:
    if target in sys.stdlib_module_names:
        return True
    if target.partition(".")[0] == "snncc":
        return layer(target) in LAYERS[layer(module)]
    return target in THIRD_PARTY[layer(module)] or (module == "snncc.api" and target == "torch" and lazy)


def test_imports_go_down_only() -> None:
    faults = [
        f"{MODULES[module].relative_to(ROOT)}:{line}: {layer(module)} must not import {target}"
        for module, found in IMPORTS.items()
        for target, line, lazy in found
        if not allowed(module, target, lazy)
    ]
    assert not faults, "\n".join(faults)


def test_the_reference_is_independent_of_the_engines() -> None:
    """runtime/reference.py reaches neither numba nor onnxruntime through anything it names in an import."""
    reached: dict[str, str] = {"snncc.runtime.reference": "the test"}
    queue = list(reached)
    while queue:
        module = queue.pop()
        for target, _, _ in IMPORTS.get(module, []):
            if target not in reached:
                reached[target] = module
                queue.append(target)
    engines = {name: f"imported by {reached[name]}" for name in ("numba", "llvmlite", "onnxruntime") if name in reached}
    assert "snncc.runtime.reference" in MODULES
    assert not engines


def test_torch_only_in_the_trainer() -> None:
    """Tests and benchmarks import torch inside a function or by pytest.importorskip: without it they still collect.
    The zoo's own files are imported by one test, after pytest.importorskip; those that train teachers or networks by
    none without torch."""
    trained = [ROOT / name for name in ("tests/zoo", "benchmarks/conversion/teachers", "benchmarks/finetune")]
    faults = [
        f"{path.relative_to(ROOT)}:{line}"
        for folder in ("tests", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.parent not in trained
        for target, line, lazy in imports(path)
        if target in TRAIN and not lazy
    ]
    assert not faults, "\n".join(faults)


def test_files_are_short() -> None:
    lines = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}
    assert not {module: count for module, count in lines.items() if count >= MAX_LINES}
    assert sum(code_lines(path) for path in MODULES.values()) < MAX_CODE_IN_ALL


def code_lines(path: Path) -> int:
    """Lines that hold code: blank lines, comments and docstrings are free."""
    source = path.read_text(encoding="utf-8")
    kept = {number for number, line in enumerate(source.splitlines(), 1) if line.strip() and line.strip()[0] != "#"}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            kept -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(kept)


def test_every_package_is_installed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    assert set(listed) == {module for module, path in MODULES.items() if path.name == "__init__.py"}
