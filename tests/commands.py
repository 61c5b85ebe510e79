"""What the tests of commands share: an experiment's file, `--set` words, and what a refused command says."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import TINY, merge

from evoprune.cli import main


def write_experiment(folder: Path, **changes: Any) -> str:
    """The file of the tiny experiment with changed sections, in `folder`."""
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(merge(TINY, changes), sort_keys=False))
    return str(file)


def set_all(*overrides: str) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one message of a refused command."""
    capsys.readouterr()
    assert main(argv) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("evoprune: ")
    assert "Traceback" not in printed.err
    return printed.err
