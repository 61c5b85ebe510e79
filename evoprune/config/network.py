"""The section `network`."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from evoprune.common.files import carried_files
from evoprune.config.section import PathText, Section

CARRIED = {
    "resnet50": "torchvision:resnet50",
    "vgg16_bn": "torchvision:vgg16_bn",
    "mobilenet_v1": "timm:mobilenetv1_100",
    "mobilenet_v2": "torchvision:mobilenet_v2",
}
"""Short names of networks whose search spaces evoprune carries."""
Argument = bool | int | float | str | None


def _source(text: str) -> str:
    """Where a network comes from: `:` parts a library or a file from what makes the network there."""
    if ":" in text or text in CARRIED or text in carried_files("search_spaces") or text.endswith(".yaml"):
        return text
    names = ", ".join(sorted({name for name in carried_files("search_spaces") if "_cifar" not in name}))
    raise ValueError(f"torchvision:NAME, timm:NAME, path/to/mynet.py:make_net, or one of {names}")


class NetworkConfig(Section):
    """Which network is pruned: any CNN, whose search space is read from the network itself. This section
    names it, or `search_space` does."""

    source: Annotated[PathText, AfterValidator(_source)]
    """`torchvision:NAME`, `timm:NAME`, `path/to/mynet.py:make_net` (a function of yours that returns the network; its
    file is imported), or a name that evoprune carries: `resnet20`, `resnet32`, `resnet56`, `resnet50`, `vgg16_bn`,
    `mobilenet_v1`, `mobilenet_v2`."""
    arguments: Mapping[str, Argument | list[Argument]] = Field(default_factory=dict)
    """Arguments of the function that makes the network. Classes and image channels follow the data."""
    stem: Literal["imagenet", "cifar"] = "imagenet"
    """`imagenet` leaves the network as it is. `cifar` fits it to small images: the first convolution has stride 1 and a
    kernel of 3 at most, the pooling behind it goes, and the classifier reads the mean of the last map."""
    weights: PathText | None = None
    """The same as `base.weights`."""

    @property
    def full_source(self) -> str:
        """The source with the library or file that it is from."""
        return CARRIED.get(self.source, self.source)

    @property
    def is_traced(self) -> bool:
        """Whether the search space is read from the network; not for the families that evoprune has itself."""
        return ":" in self.full_source
