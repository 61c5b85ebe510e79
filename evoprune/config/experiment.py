"""The whole experiment: strict YAML -> frozen typed objects."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from evoprune.common.errors import UserError
from evoprune.common.files import find_carried_file, is_path
from evoprune.common.yaml_files import format_yaml, parse_yaml, read_yaml
from evoprune.config.base import BaseConfig
from evoprune.config.data import DataConfig
from evoprune.config.errors import describe_errors
from evoprune.config.evaluation import EvaluationConfig
from evoprune.config.importance import ImportanceConfig
from evoprune.config.network import NetworkConfig
from evoprune.config.report import ReportConfig
from evoprune.config.retrain import RetrainConfig
from evoprune.config.search import GENERATIONS, SearchConfig
from evoprune.config.search_space import SearchSpaceConfig
from evoprune.config.section import NonNegative, Section
from evoprune.config.weights import WeightsConfig
from evoprune.config.workers import WorkersConfig

OPTIONS = "the options of this command"
"""What is to blame where an experiment is wrong with them only: `--set`, and those that stand for a key."""


class Experiment(Section):
    """One YAML file, one run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)]
    """Name of the run; by default that of the file. Results go to `results/NAME`."""
    seed: NonNegative = 0
    """The same seed gives the same `reports.csv` on the same hardware, apart from times, workers, and latency."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of convolutions and linear layers: `fp32`, `bf16`, or `auto`: bf16 where the hardware has it."""
    inherit: Literal["compensated", "plain"] = "compensated"
    """What slim networks inherit from the base network: `plain`, the weights of what they keep; or `compensated`, those
    with which each layer's output is nearest to the base network's (least squares)."""
    data: DataConfig
    network: NetworkConfig | None = None
    """Which network is pruned, whose search space is read from it."""
    search_space: SearchSpaceConfig | None = None
    """Or: which search space, of a network that evoprune knows."""
    base: BaseConfig = BaseConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    importance: ImportanceConfig = ImportanceConfig()
    search: SearchConfig = SearchConfig()
    retrain: RetrainConfig = RetrainConfig()
    weights: WeightsConfig = WeightsConfig()
    workers: WorkersConfig = WorkersConfig()
    report: ReportConfig = ReportConfig()

    @model_validator(mode="after")
    def _has_one_network(self) -> Self:
        if self.network is None and self.search_space is None:
            raise ValueError("allowed: a section `network` or a section `search_space` says what is pruned")
        if self.network is not None and self.search_space is not None and not is_path(self.search_space.name):
            raise ValueError(
                "allowed: `network`, whose search space is read from it, or `search_space`; both only where "
                "search_space.name is a YAML file that `evoprune space --out` has written for this network"
            )
        if self.network is not None and self.network.weights is not None and self.base.weights is not None:
            raise ValueError("allowed: network.weights or base.weights, not both")
        return self

    @property
    def base_weights(self) -> str | None:
        """Given weights of the base network; None where it is trained."""
        return self.base.weights if self.network is None or self.network.weights is None else self.network.weights

    @property
    def base_weights_key(self) -> str:
        """The key that gives them."""
        return "base.weights" if self.network is None or self.network.weights is None else "network.weights"

    @property
    def num_evaluations(self) -> int:
        """How many candidates a whole search measures."""
        return self.search.random_samples + self.search.generations * self.search.num_individual

    @property
    def measures_latency(self) -> bool:
        """Whether latency is an objective or limited."""
        return "latency" in (*self.search.objectives, *self.search.limits)

    def to_yaml(self) -> str:
        """The experiment with every key, as a file that runs again."""
        return format_yaml(self._plain())

    def identity(self) -> dict[str, Any]:
        """The name, and all that the measurements of a run depend on, as plain types; equal for the same run.

        How long the search is to be is not in it, as a search can be continued, nor where the images lie: a run notes
        their checksums.
        """
        plain = self._plain()
        for key in ("workers", "retrain", "weights", "report"):
            del plain[key]
        del plain["base"]["cache"], plain["search"]["generations"]
        return {**plain, "data": self.data.identity()}

    def _plain(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)


def load_experiment(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment file.

    Args:
        path: a path that ends in .yaml, or the name of an experiment that evoprune carries.
        overrides: `section.key=value` texts, values as in YAML.

    Raises:
        UserError: with one line for each wrong key: its path, what came, what is allowed. The command's options are
            blamed where the file alone is right.
    """
    file = find_carried_file("experiments", str(path))
    document = read_yaml(file)
    if not isinstance(document, dict):
        raise UserError(f"{file}: an experiment is a mapping of sections, got {type(document).__name__}")
    document.setdefault("name", file.stem)
    changed = deepcopy(document)
    for override in overrides:
        _override(changed, override)
    try:
        return parse_experiment(changed, str(file))
    except UserError:
        if overrides and _is_right(document):
            return parse_experiment(changed, OPTIONS)
        raise


def _is_right(document: dict[str, Any]) -> bool:
    try:
        parse_experiment(document, "")
    except UserError:
        return False
    return True


def parse_experiment(document: dict[str, Any], source: str) -> Experiment:
    """Check a document that is already read; `source` names it in errors."""
    try:
        return Experiment.model_validate(document)
    except ValidationError as error:
        raise UserError(describe_errors(error, Experiment, source)) from None


def _override(document: dict[str, Any], text: str) -> None:
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise UserError(f"--set takes section.key=value, got {text!r}")
    *sections, key = path.strip().split(".")
    place: Any = document
    for section in sections:
        if not isinstance(place, dict):
            raise UserError(f"--set {text}: {section} is not a section of this experiment")
        if place.get(section) is None:
            place[section] = {}
        place = place[section]
    if not isinstance(place, dict):
        raise UserError(f"--set {text}: {'.'.join(sections)} is not a section of this experiment")
    if sections == ["search"] and key in GENERATIONS:
        for name in GENERATIONS:
            place.pop(name, None)
    place[key] = parse_yaml(value, f"--set {text}")
