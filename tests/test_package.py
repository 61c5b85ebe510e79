"""The installed wheel: what it carries is found by name, from any folder; nothing heavy is imported early."""

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import evoprune

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's files and nothing of the checkout."""
    work = tmp_path_factory.mktemp("wheel")
    _run(["-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(work), str(ROOT)], cwd=work)
    (wheel,) = work.glob("*.whl")
    target = work / "site"
    _run(["-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)], cwd=work)
    return target


def _run(arguments: list[str], cwd: Path, site: Path | None = None) -> str:
    environment = {**os.environ, **({"PYTHONPATH": str(site)} if site else {})}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wheel_finds_search_spaces_and_experiments_in_any_folder(installed: Path, tmp_path: Path):
    script = (
        "import evoprune; from evoprune.common.files import carried_files\n"
        "spaces = [evoprune.load_search_space(name) for name in ('resnet20', 'resnet32', 'resnet56')]\n"
        "print(evoprune.__file__, [s.length for s in spaces], *carried_files('experiments'))"
    )
    printed = _run(["-c", script], tmp_path, installed)
    assert printed.startswith(str(installed))
    assert "[464, 688, 1136]" in printed and "quickstart" in printed


def test_wheel_has_the_command(installed: Path, tmp_path: Path):
    printed = _run(["-m", "evoprune.cli", "space", "quickstart"], tmp_path, installed)
    assert "layer3.final" in printed and "flops: 2,532,992" in printed


def test_wheel_has_the_parts_of_the_report(installed: Path):
    ours, theirs = (place / "evoprune" / "report" for place in (ROOT, installed))
    parts = {path.relative_to(ours) for path in ours.rglob("*.*") if path.suffix != ".pyc"}
    assert {
        Path("assets/page.html"),
        Path("assets/vega/vega.min.js"),
        Path("assets/vega/README.md"),
        Path("published.csv"),
    } <= parts
    assert all((theirs / part).is_file() for part in (*parts, Path("assets/vega/LICENSE")))


def test_wheel_ships_its_types(installed: Path, tmp_path: Path):
    """Somebody's type checker reads the types of the installed package, and finds a wrong use of it."""
    assert (installed / "evoprune" / "py.typed").is_file()
    script = tmp_path / "uses.py"
    script.write_text(
        "import evoprune\nreveal_type(evoprune.load_model('a'))\nevoprune.load_model(3)\nevoprune.nothing\n"
    )
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), str(script)]
    environment = {**os.environ, "MYPYPATH": "", "PYTHONPATH": str(installed)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "arg-type" in done.stdout and "py.typed" not in done.stdout, done.stdout
    assert "attr-defined" in done.stdout and 'Revealed type is "torch.nn' in done.stdout, done.stdout


def test_types_are_told_of_every_public_name():
    tree = ast.parse((ROOT / "evoprune" / "__init__.pyi").read_text())
    stubs = {name.asname for node in tree.body if isinstance(node, ast.ImportFrom) for name in node.names}
    assert stubs == {*evoprune.__all__} - {"__version__"}


def test_data_sets_are_read_and_reports_written_without_torch(tmp_path: Path):
    script = "import sys, evoprune.data.sources, evoprune.stages.report; print(*sys.modules)"
    assert not {"torch", "ray"} & set(_run(["-c", script], tmp_path).split())


HOLES_CLOSED = {
    "torch": "2.11",  # code from checkpoints that are read as weights only
    "pillow": "12.3",  # writes beyond the memory of crafted images
    "ray": "2.54",  # tokens since 2.52; strangers could end what runs on a cluster
    "onnx": "1.21",  # paths in models that lead elsewhere
    "scikit-learn": "1.5",
    "pyyaml": "6",
}
"""The first version of each dependency in which the holes are closed that were known when this was written."""


@pytest.mark.parametrize("name", HOLES_CLOSED)
def test_lower_bounds_exclude_versions_with_known_holes(name):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for group in project["optional-dependencies"].values() for one in group)]
    (bound,) = {one.partition(">=")[2] for one in wanted if one.partition(">=")[0] == name}
    assert tuple(map(int, bound.split("."))) >= tuple(map(int, HOLES_CLOSED[name].split(".")))
