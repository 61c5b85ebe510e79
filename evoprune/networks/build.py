"""The architectures, one file each, and how a code turns into one of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
from torch import nn

from evoprune.common.errors import UserError, suggest
from evoprune.common.user_files import file_digest, is_user_file
from evoprune.networks.resnet_cifar import ResNetCifar
from evoprune.networks.sources import build_source
from evoprune.space.space import SearchSpace
from evoprune.space.traced import TracedSpace
from evoprune.tracing.pads import kept_pads, select
from evoprune.tracing.surgery import narrow, shaped

NETWORKS: dict[str, type[nn.Module]] = {"resnet_cifar": ResNetCifar}


def build_network(space: SearchSpace, code: npt.ArrayLike | None = None) -> nn.Module:
    """Build the network of `code` (default: the base network) with freshly initialised weights.

    Raises:
        UserError: a network whose source there is not any more, or that was traced without one.
    """
    if not isinstance(space, TracedSpace):
        return network_from_spec(network_spec(space, code))
    if not space.network["source"]:
        raise UserError(
            f"{space.name} was traced from a module, and does not say how to build it; pass that module to "
            "slim_network, or say where it comes from, with `spec` of trace_search_space"
        )
    network = build_source(space.network)
    return network if code is None else narrow(space.table, network, code)


def network_spec(space: SearchSpace, code: npt.ArrayLike | None = None) -> dict[str, Any]:
    """All that is needed to rebuild the network of `code`, beside its weights, as plain JSON types."""
    code = space.full_code() if code is None else code
    if isinstance(space, TracedSpace):
        return {**space.network, "pads": [dict(pad) for pad in kept_pads(space.table, space.kept_bits(code))]}
    return {
        **space.network,
        "widths": space.widths(code),
        "adapters": space.adapters(code),
        "num_classes": space.parameters["num_classes"],
        "in_channels": space.parameters["in_channels"],
    }


def network_from_spec(
    spec: Mapping[str, Any], shapes: Mapping[str, Sequence[int]] | None = None, source: str | None = None
) -> nn.Module:
    """Build the network that `network_spec` described.

    Args:
        spec: what it returned.
        shapes: of the tensors of its state, by their names; a network of a known family needs none.
        source: the file and function, `path/to/mynet.py:make_net`, where the network is the user's own.

    Raises:
        UserError: a network that evoprune does not know, or keys that do not fit.
    """
    keys = dict(spec)
    if "source" in keys:
        return _from_source(keys, shapes or {}, source)
    family = keys.pop("family", None)
    if not isinstance(family, str) or family not in NETWORKS:
        raise UserError(f"unknown network family {family!r}; {suggest(str(family), NETWORKS)}")
    try:
        return NETWORKS[family](**keys)
    except (TypeError, KeyError, ValueError, RuntimeError) as error:
        raise UserError(f"network family {family}: the description does not fit: {error}") from None


def _from_source(keys: dict[str, Any], shapes: Mapping[str, Sequence[int]], source: str | None) -> nn.Module:
    """A narrowed network of a library's, or of the user's; a file names no code that would then be run."""
    missing = {"source", "arguments", "stem", "num_classes", "in_channels"} - keys.keys()
    if missing or not isinstance(keys["source"], str) or not isinstance(keys["arguments"], dict):
        raise UserError(
            f"the description of the network does not fit; it lacks {', '.join(sorted(missing)) or 'types'}"
        )
    if is_user_file(keys["source"]) or not keys["source"] or source is not None:
        if source is None:
            raise UserError(
                "the network is made by code of yours, and a file does not decide which code runs; if you trust that "
                f"code, name it: --source {keys['source'] or 'path/to/mynet.py:make_net'}, in Python "
                "load_model(..., source=...)"
            )
        keys = {**keys, "source": source, "digest": file_digest(source)}
    network = shaped(build_source(keys), shapes)
    for pad in keys.get("pads", ()):
        select(network, pad)
    return network


def layer_module(network: nn.Module, name: str) -> nn.Module | None:
    """The module of a layer of the search space; None where the layer is a weight or a call that has no module."""
    try:
        return network.get_submodule(name)
    except AttributeError:
        return None
