"""The house: who may import whom, how large a file and a function may be, and what each command loads."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from helpers import ROOT

PACKAGE = ROOT / "evoprune"
FILES = sorted(PACKAGE.rglob("*.py"))

IMPORTS = {
    "common": "",
    "config": "common",
    "space": "config common",
    "data": "config common",
    "tracing": "space common",
    "networks": "tracing space common",
    "training": "networks tracing space data config common",
    "pruning": "networks tracing space data config common",
    "workers": "config common",
    "evaluation": "training pruning networks space data workers config common",
    "search": "space config common",
    "runs": "config common",
    "report": "search pruning space runs config common",
    "export": "tracing common",
    "stages": "common config space data tracing networks training pruning workers evaluation search runs report export",
    "cli": "stages runs options common",
    "options": "",
    "__init__": "",
}
"""Each folder and what a file in it may import from, beside its own folder."""

DOORS = {
    "pymoo": "search/population.py",
    "moocore": "search/pareto.py",
    "ray": "workers/ray_cluster.py",
    "numba": "common/kernels.py",
    "rich": "common/progress.py",
    "matplotlib": "report/figures.py",
    "pydantic": "config",
    "PIL": "data/decoding.py",
    "yaml": "common/yaml_files.py",
    "optuna": "report/optuna_journal.py",
    "tensorboard": "training/tensorboard_log.py",
    "onnx": "export/onnx_files.py",
    "onnxruntime": "export/onnx_files.py",
    "onnxscript": "export/onnx_files.py",
}
"""Third parties, each behind one file, or one folder."""

WITHOUT_TORCH = ("common", "config", "space", "search", "runs", "report")


def room_of(file: Path) -> str:
    """The folder that a file belongs to, or its own name."""
    inside = file.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


@cache
def imported(file: Path) -> tuple[str, ...]:
    """Every module that a file imports, inside functions and for type checkers too."""
    return tuple(_imported(file))


def _imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from names if node.module in ("evoprune", "evoprune.stages") else (str(node.module),)


def test_every_folder_has_its_line_in_the_table():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(IMPORTS) - {"cli", "options", "__init__"}


@pytest.mark.parametrize("room", IMPORTS)
def test_imports_point_one_way(room):
    allowed = {*IMPORTS[room].split(), room}
    for file in (file for file in FILES if room_of(file) == room):
        for module in imported(file):
            if module.startswith("evoprune."):
                assert module.split(".")[1] in allowed, f"{file.relative_to(PACKAGE)} imports {module}"


def test_no_import_leads_back_to_where_it_came_from():
    graph = {
        str(file.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__"): file for file in FILES
    }
    state: dict[str, str] = {}

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert state.get(module) != "open", " -> ".join([*path, module])
        if module in state:
            return
        state[module] = "open"
        for other in top_imports(graph[module]):
            if other in graph:
                visit(other, (*path, module))
        state[module] = "done"

    for module in graph:
        visit(module, ())


def top_imports(file: Path) -> Iterator[str]:
    """Modules of evoprune that a file imports when it is imported itself."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(("package", "door"), DOORS.items())
def test_each_third_party_has_one_door(package, door):
    importers = [file for file in FILES if any(module.split(".")[0] == package for module in imported(file))]
    found = {str(file.relative_to(PACKAGE)) for file in importers}
    assert found and all(name == door or name.startswith(f"{door}/") for name in found), found


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_files_and_functions_are_small(file):
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 300
    for function in functions(ast.parse(text)):
        arguments = function.args
        assert arguments.kwarg is None or function.name in ("save_model", "note"), "facts are given so, nothing else"
        number = len([*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs])
        number -= bool(arguments.args) and arguments.args[0].arg in ("self", "cls", "ctx")
        assert number <= 5, f"{function.name} has {number} parameters"
        length = function.end_lineno - function.lineno + 1 - docstring_lines(function)
        assert length < 40, f"{function.name} has {length} lines"


@pytest.mark.parametrize("file", sorted((ROOT / "tests").rglob("*.py")), ids=lambda file: file.name)
def test_files_of_tests_are_small_too(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 300


def docstring_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return first.end_lineno - first.lineno + 1 if is_docstring else 0


def loaded(script: str, cwd: Path = ROOT) -> set[str]:
    """Top-level packages that are imported when a script has run."""
    show = "import sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", f"{script}\n{show}"], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("folder", WITHOUT_TORCH)
def test_results_are_read_without_torch(folder):
    files = (file for file in FILES if room_of(file) == folder and file.stem != "__init__")
    modules = [str(file.relative_to(ROOT).with_suffix("")).replace("/", ".") for file in files]
    packages = loaded(f"import {', '.join(modules)}")
    assert not packages & {"torch", "ray"}


def test_help_loads_nothing_heavy():
    packages = loaded("from evoprune.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass")
    assert not packages & {"torch", "numpy", "pydantic", "pandas", "rich", "ray", "pymoo"}


def test_every_module_has_a_test_of_its_name_or_a_contract_that_names_it():
    contracts = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "contracts").glob("test_*.py"))
    missing = []
    for file in FILES:
        inside = file.relative_to(PACKAGE)
        own = ROOT / "tests" / inside.parent / f"test_{file.stem}.py"
        dotted = f"evoprune.{str(inside.with_suffix('')).replace('/', '.')}"
        if file.stem != "__init__" and not own.is_file() and not re.search(rf"\b{re.escape(dotted)}\b", contracts):
            missing.append(str(inside))
    assert missing == []


def test_tests_lie_where_the_package_has_a_room():
    for path in (ROOT / "tests").rglob("test_*.py"):
        inside = path.relative_to(ROOT / "tests")
        if len(inside.parts) > 1 and inside.parts[0] not in ("contracts", "end_to_end"):
            assert (PACKAGE / inside.parent).is_dir(), f"{inside}: no such room"
