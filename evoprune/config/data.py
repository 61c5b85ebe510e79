"""The section `data`."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from evoprune.config.section import NonNegative, PathText, Section
from evoprune.config.values import image_sides, validation_source


def _flip(value: Any) -> Any:
    if isinstance(value, bool) or value == "alternating":
        return value
    raise ValueError("true, false or alternating")


class DataConfig(Section):
    """Which images there are, and how training sees them."""

    dataset: Literal["cifar10", "cifar100", "image_folder", "npz", "digits"]
    """`cifar10` and `cifar100` come from torchvision, `digits` from scikit-learn; `image_folder` is a folder of images,
    `npz` an archive in MedMNIST's layout."""
    root: PathText = "data"
    """Where the images are: the folder of CIFAR (downloaded when absent), the folder of images, or the `.npz` file. A
    run goes on with the same images wherever they lie by then."""
    validation: Annotated[float | str, BeforeValidator(validation_source)] = 0.1
    """Where validation images come from: a share of the training set, the same of every class; `own`, the validation
    part of the data set; or the path of an `.npz` archive with `val_images` and `val_labels`."""
    split_seed: NonNegative = 0
    """Decides which training images become validation images."""
    image_size: Annotated[int | tuple[int, int] | None, BeforeValidator(image_sides)] = None
    """Only for `image_folder`: images are resized to this many pixels a side, or to `[height, width]`."""
    skip_corrupt: bool = False
    """Only for `image_folder`: go on without files that cannot be read as images. Otherwise they are all named, and
    nothing is done."""
    follow_links: bool = False
    """Only for `image_folder`: follow symbolic links that lead out of a class's folder. Otherwise they are refused, as
    they may lead to images of the other part, or to none of yours."""
    cache: PathText | None = None
    """Only for `image_folder`: the folder of decoded images, which other runs of the same images and size use too. By
    default `image_cache`, beside the run's folder."""
    mean: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(strict=False)] | None = None
    """Mean of each image channel, of pixels in [0, 1]. By default that of the training split."""
    std: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(strict=False)] | None = None
    """Standard deviation of each image channel, likewise."""
    crop: Annotated[int, Field(ge=0, le=1024)] = 4
    """Augmentation: training images are padded by this many zero pixels and cropped at random."""
    flip: Annotated[bool | str, BeforeValidator(_flip)] = True
    """Augmentation: training images are mirrored, at random, or a random half of them in one epoch and the other half
    in the next (`alternating`; Jordan 2024), so that no image is seen the same way round twice in a row."""

    def identity(self) -> dict[str, Any]:
        """What else training and measurements depend on, as plain types: the images count, not where they lie."""
        plain = self.model_dump(mode="json", exclude={"cache", "root"})
        if isinstance(self.validation, str) and self.validation != "own":
            plain["validation"] = "archive.npz"
        return plain
