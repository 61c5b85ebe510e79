"""The section `importance`."""

from typing import Annotated, Literal, get_args

from pydantic import Field, ValidationInfo, field_validator

from evoprune.config.section import Positive, Section

ImportanceName = Literal["magnitude", "scop"]
IMPORTANCES: tuple[ImportanceName, ...] = get_args(ImportanceName)


class ScopConfig(Section):
    """SCOP (Tang et al. 2020): a scale for every channel, between its real features and those of a knockoff image.

    A knockoff image is a control that says nothing of the label. The scales are trained by Adam with all else frozen.
    The defaults make 88 steps of CIFAR-10. With longer or faster training most scales of a trained ResNet-20 end at 1,
    and the score is the batch norm's scale alone; `run.json` says how many have.
    """

    epochs: Annotated[float, Field(gt=0, le=1e6)] = 0.25
    """Length of the training of the scales. A small data set wants more."""
    batch_size: Annotated[int, Field(ge=2, le=10**6)] = 128
    """Images of one step."""
    lr: Annotated[float, Field(gt=0)] = 0.004
    """Learning rate of Adam."""
    knockoff: Literal["derangement", "gaussian"] = "derangement"
    """`derangement` takes another image of the batch, `gaussian` noise with the images' mean and covariance."""
    loss_on_knockoff: bool = False
    """Whether knockoff images are classified too."""

    @field_validator("loss_on_knockoff")
    @classmethod
    def _check_labels(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("knockoff") == "gaussian":
            raise ValueError("false where knockoff is gaussian: such images have no labels")
        return value


class ImportanceConfig(Section):
    """How important every channel of the base network is. It is computed once per run and kept in `importance/`."""

    criterion: Literal[
        "least_squares", "activation", "consumer_l2", "group_l2", "l1", "l2", "bn_scale", "geometric_median", "taylor"
    ] = "least_squares"
    """What the importance `magnitude` is. Of what the next layers read: `least_squares`, what they lose although the
    other channels make up for it; `activation`, its standard deviation times the norm of their weights; `consumer_l2`,
    that norm alone. Of the layers that write a channel: `l1`, `l2`, `bn_scale` or `geometric_median` of their weights,
    or `taylor` from the gradients. Of both: `group_l2`."""
    images: Positive = 2048
    """Training images that `taylor` looks at."""
    ranking: Literal["sensitivity", "uniform", "global"] = "sensitivity"
    """How a rate is pruned: `sensitivity`, less of the segments that cost more accuracy when they alone are pruned,
    which is measured first; `uniform`, the same share of every segment; or `global`, the least important channels of
    the whole network."""
    scop: ScopConfig = ScopConfig()
    """Keys of the importance `scop`, below."""
