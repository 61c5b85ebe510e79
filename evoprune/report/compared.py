"""Several runs side by side: what of each goes into one picture."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evoprune.common.errors import UserError
from evoprune.common.objectives import OBJECTIVES, Row
from evoprune.config import Experiment
from evoprune.runs.folder import RunFolder
from evoprune.runs.table import read_rows
from evoprune.search.front import front_rows, full_row
from evoprune.space.costs import code_costs
from evoprune.space.space import SearchSpace


@dataclass(frozen=True)
class ComparedRun:
    """A run in a picture of several.

    Attributes:
        name: its label.
        network: which network it has pruned.
        dataset: on which images.
        front: rows of its front, cheapest first, with `test_accuracy` where networks are fully trained.
        base: costs of its base network, and what the search has measured of it.
    """

    name: str
    network: str
    dataset: str
    front: Sequence[Row]
    base: Mapping[str, Any]


def network_of(experiment: Experiment) -> str:
    """The name of the network that an experiment prunes, without the library that it is from."""
    if experiment.network is not None:
        return experiment.network.source.split(":")[-1]
    return experiment.search_space.name if experiment.search_space is not None else ""


def dataset_of(experiment: Experiment) -> str:
    """The name of the images: of the data set, or of the user's archive or folder."""
    data = experiment.data
    if data.dataset == "image_folder":
        return Path(data.root).name  # what follows a dot in a folder's name is no ending
    return Path(data.root).stem if data.dataset == "npz" else data.dataset


def base_of(rows: Iterable[Row], space: SearchSpace) -> dict[str, Any]:
    """What is known of the base network: its costs, and its row where it was measured."""
    return {**code_costs(space, space.full_code()), **(full_row(rows) or {})}


def compared_run(
    folder: RunFolder, rows: Sequence[Row], experiment: Experiment, space: SearchSpace, names: Sequence[str]
) -> ComparedRun:
    """A run beside others; nothing in its folder is written.

    Args:
        folder: of the run.
        rows: of its `reports.csv`.
        experiment: the run's.
        space: its search space.
        names: the objectives of the picture.

    Raises:
        UserError: the run has not measured one of them.
    """
    missing = [name for name in names if rows and name not in rows[0]]
    if missing:
        raise UserError(
            f"{folder.path}: has not measured {OBJECTIVES[missing[0]].label}, an objective of the run that it is "
            "compared with; leave it out, or report on this run first"
        )
    known = read_rows(folder.output) if folder.output.exists() else []
    tests = {row.get("key"): row.get("test_accuracy") for row in known}
    front = [{**row, "test_accuracy": tests.get(row["key"])} for row in front_rows(rows, names)]
    network, dataset = network_of(experiment), dataset_of(experiment)
    return ComparedRun(str(folder.path), network, dataset, front, base_of(rows, space))


def with_short_names(runs: Sequence[ComparedRun]) -> list[ComparedRun]:
    """The runs, labelled by the last part of their paths where these differ, by whole paths where not.

    Raises:
        UserError: one is there twice.
    """
    places = [Path(run.name).resolve() for run in runs]
    twice = [place for number, place in enumerate(places) if place in places[:number]]
    if twice:
        raise UserError(f"--compare: {twice[0]} would be drawn twice; leave one of them out")
    short = [place.name for place in places]
    if len(set(short)) < len(runs):
        return list(runs)
    return [replace(run, name=name) for name, run in zip(short, runs, strict=True)]
