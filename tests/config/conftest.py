"""A file of the user's."""

from pathlib import Path

import pytest

from evoprune import load_experiment


@pytest.fixture
def load(tmp_path: Path):
    """Load a file that holds `text`, with overrides."""

    def load_text(text: str, *overrides: str):
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        return load_experiment(str(path), overrides)

    return load_text
