"""The trained networks of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from evoprune.common.errors import UserError
from evoprune.common.model_files import DESCRIPTION_NAME, WEIGHTS_NAME, check_weights, read_description
from evoprune.config import Experiment, ImportanceName
from evoprune.runs.folder import RunFolder


def training_settings(experiment: Experiment) -> dict[str, Any]:
    """The keys of `retrain` that a fully trained network depends on; a model with others is trained again."""
    settings = experiment.retrain.model_dump(mode="json", by_alias=True)
    if settings["averaging"] is None:  # models of versions that knew no averaging do not say it
        del settings["averaging"]
    return {key: value for key, value in settings.items() if key not in ("select", "seeds")}


def check_inherits(experiment: Experiment, command: str) -> None:
    """Refuse a recipe that would forget the weights, where a command trains them on.

    Raises:
        UserError: it would.
    """
    if experiment.retrain.start != "inherited":
        raise UserError(
            f"retrain.from: got {experiment.retrain.start}, but {command} trains inherited weights on; "
            "add --set retrain.from=inherited"
        )


def trained_models(folder: RunFolder, key: str, experiment: Experiment) -> list[Mapping[str, Any]]:
    """Descriptions of the networks of `key` that were trained as the experiment says, by seed."""
    found: list[Mapping[str, Any]] = []
    for seed in range(experiment.retrain.seeds):
        path = folder.model(key, seed)
        if seed and not (path / WEIGHTS_NAME).exists():  # only its description was published
            continue
        description = _description(path)
        if description.get("training") == training_settings(experiment):
            found.append(description)
            if description.get("seed") != seed or not isinstance(description.get("test_accuracy"), int | float):
                raise _damaged(path, f"{DESCRIPTION_NAME}: says no seed {seed} and test_accuracy")
    return found


def other_settings(model: Path, training: Mapping[str, Any]) -> str:
    """What the model in this folder was trained otherwise with than by `training`, keys of `retrain`.

    Empty where it was trained so, and where no model is.
    """
    there = _description(model).get("training")
    if not isinstance(there, dict):
        return ""
    names = [name for name in {**there, **training} if there.get(name) != training.get(name)]
    return ", ".join(f"retrain.{name} {there.get(name)} there, {training.get(name)} here" for name in names)


def known_models(folder: RunFolder, key: str, experiment: Experiment) -> list[Mapping[str, Any]]:
    """As `trained_models`, and further seeds that were trained alike, whose weights may lie elsewhere.

    The first seed decides: where it was trained with other settings, those that were trained like it.
    """
    found, seeds = trained_models(folder, key, experiment), experiment.retrain.seeds
    if not found or (found[0]["seed"] and _description(folder.model(key))):
        found, seeds = [_description(folder.model(key))], 1
    training = found[0].get("training")
    if not isinstance(training, dict) or not isinstance(found[0].get("test_accuracy"), int | float):
        return []
    others = (_description(folder.model(key, seed), may_lack_weights=True) for seed in count(seeds))
    same = takewhile(lambda other: other.get("training") == training, others)
    return [*found, *(other for other in same if isinstance(other.get("test_accuracy"), int | float))]


@dataclass(frozen=True)
class Pruning:
    """A pruning without a search: which importance, how far, in how many steps, how each is trained.

    Attributes:
        method: the importance that says which channels go.
        target: the name of its `Target`.
        steps: how many times it prunes and trains.
        training: the keys of `retrain` that the networks depend on.
    """

    method: ImportanceName
    target: str
    steps: int
    training: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name of its folder, such as `scop-rate-0.45-steps-2`."""
        return f"{self.method}-{self.target}" + (f"-steps-{self.steps}" if self.steps > 1 else "")

    def facts(self, step: int) -> dict[str, Any]:
        """What the model of a step says of how it was made; one with other facts is made again."""
        pruning = {"method": self.method, "target": self.target, "steps": self.steps, "step": step}
        return {"pruning": pruning, "training": dict(self.training)}


def step_folder(folder: RunFolder, pruning: Pruning, step: int) -> Path:
    """Where the model of a step lies, counted from 1."""
    return folder.pruned(pruning.name) / f"step_{step}"


def finished_steps(folder: RunFolder, pruning: Pruning) -> list[dict[str, Any]]:
    """Descriptions of the models of the first steps, up to one that is not made yet or was made otherwise."""
    found: list[dict[str, Any]] = []
    for step in range(1, pruning.steps + 1):
        description = _description(step_folder(folder, pruning, step))
        if any(description.get(name) != value for name, value in pruning.facts(step).items()):
            break
        found.append(description)
    return found


def _description(folder: Path, may_lack_weights: bool = False) -> dict[str, Any]:
    """The description of a model, whose weights are there unless they may be elsewhere; empty where there is none.

    Raises:
        UserError: a damaged model.
    """
    if not (folder / DESCRIPTION_NAME).exists():
        return {}
    try:
        description = read_description(folder)
        if not may_lack_weights or (folder / WEIGHTS_NAME).exists():
            check_weights(folder, description)
    except UserError as error:
        raise _damaged(folder, str(error).removeprefix(f"{folder}/")) from None
    return description


def _damaged(folder: Path, what: str) -> UserError:
    return UserError(f"{folder}/{what}; delete {folder}, and the command that made it makes it again")
