"""The section `retrain`."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from evoprune.config.section import Epochs, Positive, Section
from evoprune.config.training import DistillationConfig, TrainingConfig
from evoprune.config.values import cost_bounds


class CountSelection(Section):
    """`count` networks spread evenly over the front; a single one is the knee."""

    count: Positive
    """How many."""


class MaxSelection(Section):
    """For each bound the most accurate network of the front that costs no more, such as `{flops: [30e6, 15%]}`."""

    max: Annotated[dict[str, tuple[float | str, ...]], BeforeValidator(cost_bounds)]
    """By name of the cost: numbers, or shares of the base network's."""


def _selection(value: Any) -> Any:
    if value in ("all", "knees") or isinstance(value, CountSelection | MaxSelection):
        return value
    if isinstance(value, list) and value and all(isinstance(key, str) and key.isprintable() for key in value):
        return tuple(dict.fromkeys(value))
    if isinstance(value, tuple):
        return value
    if isinstance(value, dict) and set(value) == {"count"}:
        count = value["count"]
        if isinstance(count, int) and not isinstance(count, bool) and 1 <= count <= 10**9:
            return CountSelection(count=count)
    if isinstance(value, dict) and set(value) == {"max"}:
        return MaxSelection(max=value["max"])
    raise ValueError("all, knees, a list of keys, {count: N} with N at least 1, or {max: {flops: [30e6, 15%]}}")


class RetrainConfig(TrainingConfig):
    """Full training of networks of the front, and fine-tuning of `evoprune prune`, with these keys."""

    select: Annotated[Any, BeforeValidator(_selection)] = "all"
    """Which networks of the front: `all`; `knees`, the bend of the front and those of both parts, three at most; a
    list of keys; `{count: 5}`, spread over the front; `{count: 1}`, the knee; or `{max: {flops: [30e6, 15%]}}`, for
    each bound of a cost the most accurate network that keeps it."""
    start: Literal["inherited", "scratch"] = Field(default="inherited", alias="from")
    """Starting weights: `inherited` from the base network, or `scratch`."""
    warmup_epochs: Epochs = 0.5
    """Epochs in which the learning rate rises linearly, before the cosine. Inherited weights do not stand a high one
    from the first step on."""
    seeds: Annotated[int, Field(ge=1, le=1000)] = 1
    """Trainings of each network. The table gives their mean and spread."""
    averaging: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of a moving average over the weights of all steps, such as 0.999; the average is what a training leaves
    (Polyak and Juditsky 1992). By default the last weights are."""
    distillation: DistillationConfig | None = None
    """Learn from the base network's outputs too, with the keys below. By default it does not."""
