"""A search as an Optuna journal, which optuna-dashboard shows. The only module that imports Optuna."""

import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from evoprune.common.errors import UserError
from evoprune.common.objectives import FAILED, INFEASIBLE, LOST, OBJECTIVES, Row
from evoprune.config import Experiment
from evoprune.search.front import latest_rows
from evoprune.space.space import SearchSpace

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_ATTRIBUTES = ("id", "key", "generation", "rung", "proposal", "status", "seconds", "worker", "error")


def check_journal(path: Path) -> None:
    """Whether a journal can be written to `path`, which is asked before a long command.

    Raises:
        UserError: the file is there already, or Optuna is not installed.
    """
    if path.exists():
        raise UserError(f"--optuna: {path} is there already; choose another file, or remove it")
    if find_spec("optuna") is None:
        raise UserError("--optuna needs Optuna, which is not installed; run: pip install 'evoprune[optuna]'")


def write_journal(path: Path, rows: Sequence[Row], experiment: Experiment, space: SearchSpace) -> None:
    """Write a study with a trial for each candidate: its objectives, and the kept channels of each segment.

    Args:
        path: of the new file.
        rows: of `reports.csv`.
        experiment: the run's.
        space: the search space.

    Raises:
        UserError: the file is there already, or Optuna is not installed.
    """
    check_journal(path)
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    names = experiment.search.objectives
    path.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(path))),
        study_name=experiment.name,
        directions=["maximize" if OBJECTIVES[name].maximise else "minimize" for name in names],
    )
    with warnings.catch_warnings():  # Optuna calls that experimental; a journal is as good without it
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(names))
    study.add_trials([_trial(row, names, space) for row in latest_rows(rows)])


def _trial(row: Row, names: Sequence[str], space: SearchSpace) -> "FrozenTrial":
    from optuna.distributions import IntDistribution
    from optuna.trial import TrialState, create_trial

    failed = row["status"] in (FAILED, LOST)
    attributes = {name: row[name] for name in (*_ATTRIBUTES, *OBJECTIVES) if row.get(name) is not None}
    return create_trial(
        state=TrialState.FAIL if failed else TrialState.COMPLETE,
        values=None if failed else [float(row[name]) for name in names],
        params={f"kept.{segment.name}": row[f"kept.{segment.name}"] for segment in space.segments},
        distributions={f"kept.{segment.name}": IntDistribution(0, segment.width) for segment in space.segments},
        user_attrs=attributes,
        # What is above 0 is none of Optuna's best trials.
        system_attrs={"constraints": [float(row["status"] == INFEASIBLE)]},
    )
