"""The sections of an experiment: every key, its default and its range stand here."""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from evoprune.config_values import (
    auto_or_count,
    bound,
    each_once,
    gpu_share,
    named_once,
    objective_name,
    shares,
    validation_source,
)


class Section(BaseModel):
    """A mapping in the YAML file: unknown keys and wrong types are errors, objects are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _selection(value: Any) -> Any:
    if value in ("all", "knees") or isinstance(value, CountSelection):
        return value
    if isinstance(value, list) and value and all(isinstance(key, str) for key in value):
        return tuple(value)
    if isinstance(value, tuple):
        return value
    if isinstance(value, dict) and set(value) == {"count"}:
        count = value["count"]
        if isinstance(count, int) and not isinstance(count, bool) and count >= 1:
            return CountSelection(count=count)
    raise ValueError("all, knees, a list of keys, or {count: N} with N at least 1")


class CountSelection(Section):
    """`count` networks spread evenly over the front."""

    count: Annotated[int, Field(ge=1)]


Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
GENERATIONS = ("generations", "num_generation")
ObjectiveName = Annotated[str, BeforeValidator(objective_name)]
ProposalName = Literal["evolution", "magnitude", "scop", "random"]
ImportanceName = Literal["magnitude", "scop"]
IMPORTANCES: tuple[ImportanceName, ...] = get_args(ImportanceName)
Share = Annotated[float, Field(gt=0, le=1)]


class DataConfig(Section):
    """Which images, and how training sees them."""

    dataset: Literal["cifar10", "cifar100", "image_folder", "npz", "digits"]
    root: str = "data"
    validation: Annotated[float | str, BeforeValidator(validation_source)] = 0.1
    split_seed: NonNegative = 0
    image_size: Positive | None = None
    mean: Annotated[tuple[float, ...], Field(strict=False)] | None = None
    std: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(strict=False)] | None = None
    crop: NonNegative = 4
    flip: bool = True


class SearchSpaceConfig(Section):
    """Which search space; its classes, channels and image size follow the data."""

    name: str
    width: Positive | None = None


class TrainingConfig(Section):
    """One training: SGD with Nesterov momentum, linear warm-up, cosine to 0."""

    epochs: Annotated[float, Field(ge=0)] = 200.0
    batch_size: Annotated[int, Field(ge=2)] = 128
    lr: Annotated[float, Field(gt=0)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class BaseConfig(TrainingConfig):
    """The parent network: given weights, or trained by this recipe on the training split."""

    weights: str | None = None
    cache: str = "results/base"


class RungConfig(Section):
    """A cheaper measurement before the full one, and the share of those measured so that earns the next."""

    epochs: Annotated[float, Field(ge=0)]
    promote: Annotated[float, Field(gt=0, lt=1)]
    validation_images: Positive | None = None


class Fidelity(NamedTuple):
    """How a candidate is measured: epochs of short training, and validation images scored (None: all of them)."""

    epochs: float
    validation_images: int | None = None


class EvaluationConfig(TrainingConfig):
    """The measurement of a candidate: rungs of a ladder, cheapest first, and the full fidelity `epochs`."""

    epochs: Annotated[float, Field(ge=0)] = 0.0
    ladder: Annotated[tuple[RungConfig, ...], Field(strict=False)] = ()
    lr: Annotated[float, Field(gt=0)] = 0.02
    recalibration_images: Positive = 2048
    time_limit_s: Annotated[float, Field(gt=0)] | None = None
    latency_batch_size: Positive = 1

    @property
    def fidelities(self) -> tuple[Fidelity, ...]:
        """How each rung measures, the full fidelity last."""
        return (*(Fidelity(rung.epochs, rung.validation_images) for rung in self.ladder), Fidelity(self.epochs))

    @field_validator("ladder")
    @classmethod
    def _check_ladder(cls, ladder: tuple[RungConfig, ...], info: ValidationInfo) -> tuple[RungConfig, ...]:
        epochs = [rung.epochs for rung in ladder] + [info.data["epochs"]] * ("epochs" in info.data)
        if any(lower >= higher for lower, higher in pairwise(epochs)):
            raise ValueError("rungs whose epochs grow from each to the next and stay below evaluation.epochs")
        return ladder


class LimitConfig(Section):
    """Bounds of one quantity: absolute, or a share of the parent's value (`50%`)."""

    min: Annotated[float | str | None, BeforeValidator(bound)] = None
    max: Annotated[float | str | None, BeforeValidator(bound)] = None


class ScopConfig(Section):
    """SCOP (Tang et al. 2020): a real/knockoff scale per channel, trained with everything else frozen.

    The defaults make 88 steps of CIFAR-10. With longer or faster training most scales of a trained ResNet-20 end at 1,
    and the score is the batch norm's scale alone.
    """

    epochs: Annotated[float, Field(gt=0)] = 0.25
    batch_size: Annotated[int, Field(ge=2)] = 128
    lr: Annotated[float, Field(gt=0)] = 0.004
    knockoff: Literal["derangement", "gaussian"] = "derangement"
    loss_on_knockoff: bool = False

    @field_validator("loss_on_knockoff")
    @classmethod
    def _check_labels(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("knockoff") == "gaussian":
            raise ValueError("false where knockoff is gaussian: such images have no labels")
        return value


class ImportanceConfig(Section):
    """How important every channel of the parent is; computed once per run."""

    criterion: Literal["l1", "l2", "bn_scale", "geometric_median", "taylor"] = "l1"
    images: Positive = 2048
    ranking: Literal["uniform", "global"] = "uniform"
    scop: ScopConfig = ScopConfig()


class SearchConfig(Section):
    """NSGA-III: `random_samples` codes first, then `generations` times `num_individual` new ones."""

    mode: Literal["generational", "steady_state"] = "generational"
    objectives: Annotated[
        tuple[ObjectiveName, ...], Field(strict=False, min_length=2, max_length=6), AfterValidator(each_once)
    ] = ("accuracy", "flops")
    limits: Annotated[dict[ObjectiveName, LimitConfig], BeforeValidator(named_once)] = {}
    random_samples: Positive = 64
    num_individual: Annotated[int, Field(ge=2)] = 32
    generations: NonNegative = Field(default=31, validation_alias=AliasChoices(*GENERATIONS))
    proposal: Annotated[dict[ProposalName, Share], BeforeValidator(shares)] = {"evolution": 1.0}
    prior: Literal["magnitude", "scop"] | None = "magnitude"
    prior_fade: Annotated[float, Field(gt=0)] = 1.0
    sensitivity: str | None = "measured"
    crossover_rate: Annotated[float, Field(ge=0, le=1)] = 0.5
    min_keep: Annotated[float, Field(gt=0, lt=1)] = 0.2

    @property
    def importances(self) -> tuple[ImportanceName, ...]:
        """Which importances the proposals need."""
        return tuple(name for name in IMPORTANCES if name == self.prior or name in self.proposal)

    @property
    def measures_sensitivity(self) -> bool:
        """Whether the search begins with the curves of `sensitivity: measured`; without a prior there is none."""
        return self.sensitivity == "measured" and self.prior is not None and "evolution" in self.proposal

    @property
    def sensitivity_file(self) -> Path | None:
        """A table that the user has."""
        return None if self.sensitivity in (None, "measured") else Path(self.sensitivity)


class DistillationConfig(Section):
    """Hinton et al. 2015: loss = (1 - weight) * cross-entropy + weight * temperature^2 * KL(parent || network)."""

    weight: Annotated[float, Field(gt=0, le=1)] = 0.9
    temperature: Annotated[float, Field(gt=0)] = 4.0


class RetrainConfig(TrainingConfig):
    """Full training of networks of the front."""

    select: Annotated[Any, BeforeValidator(_selection)] = "all"
    start: Literal["inherited", "scratch"] = Field(default="inherited", alias="from")
    seeds: Positive = 1
    distillation: DistillationConfig | None = None


class WorkersConfig(Section):
    """Where the work runs; nothing here changes a result, except by rounding."""

    backend: Literal["ray", "local"] = "ray"
    num_workers: Annotated[int | str, BeforeValidator(auto_or_count)] = "auto"
    cpus_per_worker: Positive = 1
    gpus_per_worker: Annotated[float | None, AfterValidator(gpu_share)] = None
    candidates_per_batch: Annotated[int | Literal["auto"], BeforeValidator(auto_or_count)] = "auto"
    address: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"


class ReportConfig(Section):
    """Pictures."""

    every: Positive = 5
