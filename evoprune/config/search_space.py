"""The section `search_space`."""

from evoprune.config.section import Positive, Section


class SearchSpaceConfig(Section):
    """Which network is pruned. Its classes, image channels and image size follow the data."""

    name: str
    """`resnet20`, `resnet32`, `resnet56`, or the path of a YAML file like `search_spaces/resnet20.yaml`."""
    width: Positive | None = None
    """Channels of the first stage; 16 for the networks that evoprune carries."""
