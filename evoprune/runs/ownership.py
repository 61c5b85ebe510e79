"""Who owns the folder of a run: one experiment, and one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from evoprune.common.errors import UserError
from evoprune.common.files import check_plain, remove_parts, write_atomically
from evoprune.common.locks import lock_folder
from evoprune.common.progress import say
from evoprune.common.yaml_files import read_yaml
from evoprune.config import Experiment, parse_experiment
from evoprune.runs.folder import RunFolder
from evoprune.runs.provenance import now, provenance
from evoprune.runs.table import read_rows

_MADE = ("importance", "sensitivity", "pruned", "steps", "sweep")


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
    check_owner(folder, experiment)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be made a folder ({error.strerror}); choose another --out") from None
    with _alone_in(folder):
        if is_left_over(folder, experiment):
            folder.search_space.unlink(missing_ok=True)
            folder.run_json.unlink(missing_ok=True)
        if not folder.run_json.exists():
            folder.note(name=experiment.name, seed=experiment.seed, started=now(), **provenance())
        folder.note(experiment=None)  # a mapping would be merged into the one that is there
        folder.note(experiment=experiment.identity(), generations=_planned(folder, experiment))
        _write_config(folder, experiment)
        yield folder


@contextmanager
def reopen_run_folder(path: Path, experiment: Experiment, measures: bool = True) -> Iterator[RunFolder]:
    """Go on in the folder of a run whose configuration stays as it is; no two processes at once.

    Args:
        path: of the folder.
        experiment: that of the folder's `config.yaml`, with other keys for what is done now.
        measures: whether something will be measured, so that the file must be what it was before the first measurement.

    Raises:
        UserError: the experiment is another one, or a process is working in the folder.
    """
    folder = RunFolder(path)
    if measures:
        check_owner(folder, experiment)
    else:
        _check_same(folder, _read_config(folder).identity(), experiment)
    with _alone_in(folder):
        yield folder


@contextmanager
def _alone_in(folder: RunFolder) -> Iterator[None]:
    """Hold a folder; what a process that was killed has left is removed, and so is what an own worker leaves."""
    with lock_folder(folder.path):
        folder.progress.unlink(missing_ok=True)
        remove_parts(folder.path)
        try:
            yield
        finally:
            remove_parts(folder.path)


def check_owner(folder: RunFolder, experiment: Experiment) -> None:
    """Raise UserError where the folder holds something else than a run of this experiment."""
    if folder.path.exists() and not folder.path.is_dir():
        raise UserError(f"{folder.path}: a file is in the way; choose another --out")
    check_plain(folder.path)
    if not folder.config.exists() and not folder.run_json.exists():
        strange = (
            [entry.name for entry in folder.path.iterdir() if entry.name != ".lock"] if folder.path.exists() else ()
        )
        if strange:
            raise UserError(
                f"{folder.path}: not empty and not a run (it holds {sorted(strange)[0]}); choose another --out"
            )
        return
    if not _has_results(folder):
        return  # an earlier attempt came to nothing: there is nothing to lose
    _check_same(folder, _identity_of(folder), experiment)


def _check_same(folder: RunFolder, there: dict[str, Any], experiment: Experiment) -> None:
    differences = _differences(there, experiment.identity())[:5]
    if differences:
        text = "; ".join(f"{key}: {old!r} there, {new!r} here" for key, old, new in differences)
        edited = f"; {folder.config} was edited since" if _config_is(folder, experiment) else ""
        raise UserError(f"{folder.path} belongs to another experiment ({text}){edited}; choose another --out")


def check_generations(folder: RunFolder, experiment: Experiment) -> None:
    """Raise UserError where a search is said to be shorter than the one that has been begun."""
    _planned(folder, experiment)


def is_left_over(folder: RunFolder, experiment: Experiment) -> bool:
    """Whether a folder has what another experiment has left in it before its first result.

    Images elsewhere may be others, whose checksums are not noted yet.
    """
    if _has_results(folder):
        return False
    try:
        is_other = _identity_of(folder) != experiment.identity()
        return is_other or _read_config(folder).data.root != experiment.data.root
    except UserError:  # nobody knows whose it is
        return False


def _has_results(folder: RunFolder) -> bool:
    """Whether a folder has what depends on the experiment, also where its base network was deleted."""
    made = (folder.path / name for name in _MADE)
    return folder.reports.exists() or folder.base.exists() or any(path.exists() for path in made)


def _identity_of(folder: RunFolder) -> dict[str, Any]:
    """What the measurements in a folder depend on, as it was noted before the first of them."""
    noted = folder.facts().get("experiment")
    if noted is None:  # a run of an earlier version
        return _read_config(folder).identity()
    if not isinstance(noted, dict):
        raise UserError(f"{folder.run_json}: damaged: its experiment is no mapping; remove it")
    try:
        return parse_experiment(noted, f"{folder.run_json}: experiment").identity()
    except UserError as error:
        raise UserError(f"{error}; put the file back as it was, or choose another --out") from None


def _read_config(folder: RunFolder) -> Experiment:
    if folder.config.is_dir():
        raise UserError(f"{folder.config}: is a folder, where a file is to be; remove it")
    try:
        return parse_experiment(read_yaml(folder.config), str(folder.config))
    except UserError as error:
        raise UserError(f"{error}; put the file back, or choose another --out") from None


def _config_is(folder: RunFolder, experiment: Experiment) -> bool:
    try:
        return _read_config(folder).identity() == experiment.identity()
    except UserError:
        return False


def _write_config(folder: RunFolder, experiment: Experiment) -> None:
    text = experiment.to_yaml().encode("utf-8")
    if folder.config.is_dir():
        raise UserError(f"{folder.config}: is a folder, where a file is to be; remove it")
    if not folder.config.exists() or folder.config.read_bytes() != text:
        if _has_results(folder) and not _config_is(folder, experiment):
            say(f"{folder.config}: is not what this run was made with; it is written again")
        write_atomically(folder.config, text)


def _planned(folder: RunFolder, experiment: Experiment) -> list[int]:
    """How many generations were planned, one number each time that the search was made longer.

    A plan by which no generation was begun is forgotten where the search is to be shorter.

    Raises:
        UserError: a longer search has been begun.
    """
    before = folder.facts().get("generations", [])
    if not isinstance(before, list) or not all(type(number) is int for number in before):
        raise UserError(f"{folder.run_json}: damaged: its generations are no list of numbers; remove it")
    if not folder.reports.exists():
        before = []
    elif not before and folder.config.exists():
        before = [_read_config(folder).search.generations]
    generations = experiment.search.generations
    if before and generations < before[-1]:
        before = _begun(before, folder)
    if before and generations < before[-1]:
        raise UserError(
            f"search.generations: got {generations}, but {folder.path} has {before[-1]}; take as many or more; for a "
            "shorter search choose another --out"
        )
    return before if generations in before[-1:] else [*before, generations]


def _begun(planned: list[int], folder: RunFolder) -> list[int]:
    """Those of the planned numbers that decided what was asked for: of the first generation none does."""
    newest = max((row.get("generation") or 0 for row in read_rows(folder.reports)), default=0)
    return [number for before, number in pairwise([0, *planned]) if newest > before]


def _differences(there: Any, here: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    if not (isinstance(there, dict) and isinstance(here, dict)):
        return [] if there == here else [(prefix, there, here)]
    found = []
    for key in dict.fromkeys([*there, *here]):
        found += _differences(there.get(key), here.get(key), f"{prefix}.{key}" if prefix else str(key))
    return found
