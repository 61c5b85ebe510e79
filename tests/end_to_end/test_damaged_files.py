"""Every file of a run's folder, damaged in every way: made again, or named with what to do; nothing good is lost."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import write_experiment
from helpers import repeated

from evoprune.cli import main
from evoprune.report.figures import Paths

FILES = (
    *("config.yaml", "run.json", "reports.csv", "output.csv", "table.md", "front.png", ".lock"),
    *("importance/magnitude.csv", "importance/magnitude_layers.csv", "sensitivity/prior.csv"),
    *("base/model.json", "base/model.safetensors", "base/moments.safetensors"),
    *("models/KEY/model.json", "models/KEY/model.safetensors"),
)


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def change_one_byte(path: Path) -> None:
    content = bytearray(path.read_bytes() or b"x")
    content[len(content) * 3 // 4] ^= 0x15
    path.write_bytes(content)


def reshape(path: Path) -> None:
    """What is read without a complaint, and holds something else."""
    other = {".json": "[1, 2]", ".yaml": "[1, 2]", ".csv": "a,b\n1,2\n"}
    path.write_text(other.get(path.suffix, "something else"))


def put_folder(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


DAMAGES: tuple[Callable[[Path], object], ...] = (
    lambda path: path.write_bytes(b""),
    halve,
    zero,
    lambda path: path.write_bytes(b"\x1b]0;owned\x07\xff\xfe\x00" * 99 + b"\n"),
    lambda path: path.write_bytes(b"[" * 100_000),
    reshape,
    change_one_byte,
    put_folder,
    Path.unlink,
)
NAMES = ("empty", "half", "zeros", "garbage", "deep", "other", "one byte", "folder", "gone")


@pytest.fixture(scope="module")
def whole(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that has measured sensitivity and moments; its experiment lies beside it."""
    folder = tmp_path_factory.mktemp("whole")
    file = write_experiment(folder, base={"cache": str(cache)}, search={"sensitivity": "measured"})
    assert main(["run", file, "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(autouse=True)
def _plain_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty files of their names: what is drawn is the same in all of these cases, and takes most of their time."""

    def draw(paths: Paths, *_: object) -> None:
        for path in paths:
            path.write_bytes(b"")

    for name in ("draw_front", "draw_hypervolume"):
        monkeypatch.setattr(f"evoprune.stages.report.{name}", draw)


def good_files(run: Path, damaged: Path) -> dict[str, bytes]:
    """What cost time to make, but for the damaged file and what each command writes anew."""
    kinds = ("reports.csv", "prior.csv", "model.json", "model.safetensors")
    files = (path for path in run.rglob("*") if path.name in kinds and path.is_file() and path != damaged)
    return {str(path): path.read_bytes() for path in files}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGES, ids=NAMES)
@pytest.mark.parametrize("command", ["run", "report"])
def test_a_damaged_file_is_made_again_or_named(whole, tmp_path, capsys, name, damage, command):
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    key = next((run / "models").iterdir()).name
    damaged = run / name.replace("KEY", key)
    damage(damaged)
    before = good_files(run, damaged)
    words = [command, str(whole.parent / "tiny.yaml"), "--out", str(run)] if command == "run" else [command, str(run)]
    capsys.readouterr()
    status = main(words)
    said = capsys.readouterr().err
    assert status in (0, 2)
    after = good_files(run, damaged)
    assert before.items() <= after.items(), "what was good is there still"
    assert not list(run.rglob("*.part"))
    if status == 2:
        assert said.startswith("evoprune: ") and said.count("\nevoprune: ") == 0 and "\x1b" not in said
        assert str(damaged) in said or str(damaged.parent) in said
        assert any(word in said for word in ("delete", "remove", "repair", "--out", "evoprune run")), said
    elif command == "run":
        assert repeated(run) == repeated(whole)
        assert repeated(run, "output.csv") == repeated(whole, "output.csv")
        assert json.loads((run / "run.json").read_text())["base"]
