"""Who owns the folder of a run: one experiment, and one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evoprune.common.errors import UserError
from evoprune.common.files import write_atomically
from evoprune.common.locks import lock_folder
from evoprune.common.yaml_files import read_yaml
from evoprune.config import Experiment, parse_experiment
from evoprune.runs.folder import RunFolder
from evoprune.runs.provenance import now, provenance


def run_path(experiment: Experiment, out: Path | None) -> Path:
    """Where a run lies: where the user says, or in `results` under its name."""
    return out or Path("results") / experiment.name


@contextmanager
def open_run_folder(path: Path, experiment: Experiment) -> Iterator[RunFolder]:
    """Create the folder of a run, or go on in the one that is there; no two processes at once.

    Raises:
        UserError: the folder holds another experiment or something else, or a process is working in it.
    """
    folder = RunFolder(path)
    _check_owner(folder, experiment)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be made a folder ({error.strerror}); choose another --out") from None
    with lock_folder(path):
        text = experiment.to_yaml()
        if not folder.config.exists() or folder.config.read_text(encoding="utf-8") != text:
            write_atomically(folder.config, text)
        if not folder.run_json.exists():
            folder.note(name=experiment.name, seed=experiment.seed, started=now(), **provenance())
        yield folder


def _check_owner(folder: RunFolder, experiment: Experiment) -> None:
    if folder.path.exists() and not folder.path.is_dir():
        raise UserError(f"{folder.path}: a file is in the way; choose another --out")
    if not folder.config.exists():
        strange = (
            [entry.name for entry in folder.path.iterdir() if entry.name != ".lock"] if folder.path.exists() else []
        )
        if strange:
            raise UserError(
                f"{folder.path}: not empty and not a run (it holds {sorted(strange)[0]}); choose another --out"
            )
        return
    if not folder.reports.exists() and not folder.base.exists():
        return  # an earlier attempt came to nothing: there is nothing to lose
    there = parse_experiment(read_yaml(folder.config), str(folder.config)).identity()
    here = experiment.identity()
    if there != here:
        differences = "; ".join(
            f"{key}: {old!r} there, {new!r} here" for key, old, new in _differences(there, here)[:5]
        )
        raise UserError(f"{folder.path} belongs to another experiment ({differences}); choose another --out")


def _differences(there: Any, here: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    if not (isinstance(there, dict) and isinstance(here, dict)):
        return [] if there == here else [(prefix, there, here)]
    found = []
    for key in dict.fromkeys([*there, *here]):
        found += _differences(there.get(key), here.get(key), f"{prefix}.{key}" if prefix else str(key))
    return found
