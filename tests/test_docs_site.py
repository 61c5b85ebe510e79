"""The documentation as a site."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT
from test_docs import PAGES, README

from evoprune import __all__ as PUBLIC
from evoprune.cli import _parser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make docs` does: no warning, so no link of it leads nowhere."""
    (rule,) = re.findall(r"^\t\$\(BIN\)/python (-m sphinx .*) docs docs/site$", (ROOT / "Makefile").read_text(), re.M)
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, *rule.split(), "-d", str(folder / "doctrees"), str(ROOT / "docs"), str(folder / "html")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return folder / "html"


def test_every_page_is_a_part_of_the_site(site: Path):
    for page in set(PAGES) - {README}:
        assert (site / page.relative_to(ROOT / "docs").with_suffix(".html")).is_file()


def test_reference_of_commands_and_of_python_comes_from_the_code(site: Path):
    commands, python = (site / "commands.html").read_text(), (site / "python.html").read_text()
    (choices,) = [action.choices for action in _parser()._actions if isinstance(action.choices, dict)]
    for name, command in choices.items():
        assert f'id="{name}"' in commands, name
        for option in set(command._option_string_actions) - {"-h", "--help"}:
            assert f"<kbd>{option}</kbd>" in commands, (name, option)
    for name in set(PUBLIC) - {"__version__"}:
        assert re.search(rf'id="evoprune\.[\w.]*\b{name}"', python), name


def test_no_page_of_the_site_needs_another_server(site: Path):
    for page in site.rglob("*.html"):
        assert not re.findall(r'(?:src|<link[^>]* href)="https?://', page.read_text()), page
