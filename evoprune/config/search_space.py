"""The section `search_space`."""

from typing import Annotated

from pydantic import Field

from evoprune.config.section import PathText, Section


class SearchSpaceConfig(Section):
    """Which network is pruned, of the ResNets for CIFAR, at any width. Classes, image channels and image size
    follow the data."""

    name: PathText
    """`resnet20`, `resnet32`, `resnet56`, or the path of a YAML file like `search_spaces/resnet20.yaml`. Beside a
    section `network` it is the path of a file that `evoprune space --out` has written, and that was edited."""
    width: Annotated[int, Field(ge=1, le=16384)] | None = None
    """Channels of the first stage; 16 for the networks that evoprune carries."""
