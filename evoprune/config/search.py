"""The section `search`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from evoprune.config.importance import IMPORTANCES, ImportanceName
from evoprune.config.section import PathText, Positive, Section, Share
from evoprune.config.values import bound, each_once, named_once, objective_name, shares

GENERATIONS = ("generations", "num_generation")
ObjectiveName = Annotated[str, BeforeValidator(objective_name)]
ProposalName = Literal["evolution", "surrogate", "magnitude", "scop", "random"]


_USE_CURVES = {"evolution", "surrogate"}


class LimitConfig(Section):
    """Bounds of one quantity: absolute, or a share of the base network's value (`50%`)."""

    min: Annotated[float | str | None, BeforeValidator(bound)] = None
    """Smallest allowed value."""
    max: Annotated[float | str | None, BeforeValidator(bound)] = None
    """Largest allowed value."""


class SearchConfig(Section):
    """`random_samples` first codes, then `generations` times `num_individual` new ones; NSGA-III chooses the survivors,
    which `evolution` breeds from.
    """

    mode: Literal["generational", "steady_state"] = "generational"
    """`generational` measures a whole generation before the next one is made. `steady_state` lets no worker wait for
    that; such a run repeats exactly with one worker only."""
    objectives: Annotated[
        tuple[ObjectiveName, ...], Field(strict=False, min_length=2, max_length=6), AfterValidator(each_once)
    ] = ("accuracy", "flops")
    """Two or more of `accuracy` (%), `flops` (multiply-adds; `macs` is the same), `params`, `bandwidth` (bytes),
    `latency` (ms)."""
    limits: Annotated[dict[ObjectiveName, LimitConfig], BeforeValidator(named_once)] = Field(default_factory=dict)
    """Bounds such as `{flops: {max: 50%}, accuracy: {min: 80}}`. A share is of the base network's cost; that of its
    latency is measured when the search begins."""
    random_samples: Positive = 64
    """Candidates of generation 0: the base network itself, and first codes of the proposals."""
    num_individual: Annotated[int, Field(ge=2, le=100_000)] = 32
    """Size of the population, and children per generation."""
    generations: int = Field(default=31, ge=0, le=10**9, validation_alias=AliasChoices(*GENERATIONS))
    """Generations after the first one; `num_generation` is the same. A search measures
    random_samples + generations x num_individual candidates."""
    proposal: Annotated[dict[ProposalName, Share], BeforeValidator(shares)] = Field(default={"surrogate": 1.0})
    """Where codes come from: `surrogate`, what a model of the accuracy predicts to be on the front, which learns from
    all that is measured; `evolution`, the default where the model has nothing to predict: latency is an objective, or
    accuracy is none; `magnitude` or `scop`, the least important channels pruned at random rates; `random`; or several
    with shares, such as `{evolution: 0.8, random: 0.2}`."""
    prior: Literal["magnitude", "scop"] | None = "magnitude"
    """The importance that evolution looks at when it prunes channels or takes them back: `magnitude`, `scop`, or `null`
    for none."""
    prior_fade: Annotated[float, Field(gt=0)] = 1.0
    """Evolution looks at the prior less and less. At this share of the search it no longer does: 0.5 is half-way."""
    sensitivity: PathText | None = "measured"
    """Which segments stay wider in evolution's first codes, and what the surrogate begins with. `measured`: before its
    first code the search prunes each channel group alone, by a quarter, a half, three quarters, seven eighths and to
    one channel, and scores that on 1,000 images without training. Or a table of `evoprune sensitivity`, or `null`.
    Without a `prior` nothing is measured."""
    crossover_rate: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the children that take whole segments from two parents."""
    min_keep: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """About the smallest share of channels that first, random and ranked codes keep: 0.2 keeps 3 of 16."""
    round_to: Annotated[int, Field(ge=1, le=4096)] = 1
    """Every segment keeps a multiple of this many channels, or all of them: 8 where hardware likes multiples of 8."""

    @model_validator(mode="before")
    @classmethod
    def _propose_by_evolution(cls, given: Any) -> Any:
        """Where there is nothing that a model can predict."""
        if not isinstance(given, dict) or "proposal" in given or not isinstance(given.get("objectives"), list | tuple):
            return given
        can_predict = "accuracy" in given["objectives"] and "latency" not in given["objectives"]
        return given if can_predict else {**given, "proposal": {"evolution": 1.0}}

    @field_validator("proposal")
    @classmethod
    def _check_surrogate(cls, proposal: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        if "surrogate" in proposal and "latency" in info.data.get("objectives", ()):
            raise ValueError("others than surrogate where latency is an objective: it cannot be predicted from a code")
        return proposal

    @property
    def importances(self) -> tuple[ImportanceName, ...]:
        """Which importances the proposals need."""
        return tuple(name for name in IMPORTANCES if name == self.prior or name in self.proposal)

    @property
    def measures_sensitivity(self) -> bool:
        """Whether the search begins with the curves of `sensitivity: measured`; without a prior there is none."""
        return self.sensitivity == "measured" and self.prior is not None and bool(_USE_CURVES & set(self.proposal))

    @property
    def sensitivity_file(self) -> Path | None:
        """A table that the user has."""
        return None if self.sensitivity in (None, "measured") else Path(self.sensitivity)
