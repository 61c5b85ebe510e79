"""Write the search spaces of the networks that evoprune carries by name, as they are read from the networks.

Usage: python search_spaces/write_traced.py [NAME ...]
NAME.yaml is of the network for ImageNet, NAME_cifar.yaml of the same with the CIFAR stem.
"""

import sys
from pathlib import Path

from evoprune.config.network import CARRIED
from evoprune.networks.sources import source_spec
from evoprune.networks.traced import read_network
from evoprune.space.traced import TracedSpace
from evoprune.space.traced_yaml import write_space

SHAPES = {
    "imagenet": {"num_classes": 1000, "in_channels": 3, "image_size": 224},
    "cifar": {"num_classes": 10, "in_channels": 3, "image_size": 32},
}


def read(name: str, stem: str) -> TracedSpace:
    """The search space of a carried network, for the images that its stem is made for."""
    shape = SHAPES[stem]
    return read_network(source_spec(CARRIED[name], {}, stem, shape), (shape["image_size"],) * 2)


def file_name(name: str, stem: str) -> str:
    """The name of the file."""
    return f"{name}.yaml" if stem == "imagenet" else f"{name}_{stem}.yaml"


if __name__ == "__main__":
    for name in sys.argv[1:] or CARRIED:
        for stem in SHAPES:
            write_space(read(name, stem), Path(__file__).with_name(file_name(name, stem)))
            print(file_name(name, stem))
