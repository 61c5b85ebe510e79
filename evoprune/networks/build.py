"""The architectures, one file each, and how a code turns into one of them."""

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
from torch import nn

from evoprune.common.errors import UserError, suggest
from evoprune.networks.resnet_cifar import ResNetCifar
from evoprune.space.space import SearchSpace

NETWORKS: dict[str, type[nn.Module]] = {"resnet_cifar": ResNetCifar}


def build_network(space: SearchSpace, code: npt.ArrayLike | None = None) -> nn.Module:
    """Build the network of `code` (default: the base network) with freshly initialised weights."""
    return network_from_spec(network_spec(space, code))


def network_spec(space: SearchSpace, code: npt.ArrayLike | None = None) -> dict[str, Any]:
    """All that is needed to rebuild the network of `code`, as plain JSON types."""
    code = space.full_code() if code is None else code
    return {
        **space.network,
        "widths": space.widths(code),
        "adapters": space.adapters(code),
        "num_classes": space.parameters["num_classes"],
        "in_channels": space.parameters["in_channels"],
    }


def network_from_spec(spec: Mapping[str, Any]) -> nn.Module:
    """Build the network that `network_spec` described.

    Raises:
        UserError: a family that evoprune does not know, or keys that the family does not take.
    """
    keys = dict(spec)
    family = keys.pop("family", None)
    if not isinstance(family, str) or family not in NETWORKS:
        raise UserError(f"unknown network family {family!r}; {suggest(str(family), NETWORKS)}")
    try:
        return NETWORKS[family](**keys)
    except (TypeError, KeyError, ValueError, RuntimeError) as error:
        raise UserError(f"network family {family}: the description does not fit: {error}") from None
