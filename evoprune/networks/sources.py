"""Where networks come from: torchvision, timm, or a file of the user's."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from evoprune.common.errors import UserError, suggest
from evoprune.common.user_files import file_digest, file_text, find_factory, is_user_file
from evoprune.networks.stem import fit_channels, fit_small_images
from evoprune.networks.views import copy_views, says_view


def source_spec(source: str, arguments: Mapping[str, Any], stem: str, shape: Mapping[str, Any]) -> dict[str, Any]:
    """All that is needed to build a network, as plain JSON types.

    Args:
        source: `torchvision:NAME`, `timm:NAME` or `path/to/mynet.py:make_net`.
        arguments: of the function that makes the network.
        stem: `imagenet` leaves it as it is, `cifar` fits it to small images.
        shape: `num_classes` and `in_channels` of the data.
    """
    spec: dict[str, Any] = {"source": source, "arguments": dict(arguments), "stem": stem}
    spec |= {name: shape[name] for name in ("num_classes", "in_channels")}
    return {**spec, "digest": file_digest(source)} if is_user_file(source) else spec


def source_name(source: str) -> str:
    """A short name of a network: `resnet50` of `torchvision:resnet50`, `mynet` of `path/to/mynet.py:make_net`."""
    before, _, name = source.rpartition(":")
    return before.replace("\\", "/").rpartition("/")[2].removesuffix(".py") if is_user_file(source) else name


def build_source(spec: Mapping[str, Any]) -> nn.Module:
    """Build the network that `source_spec` described, with fresh weights.

    Raises:
        UserError: a source that there is not, that cannot be imported, that raises, or that makes no network.
    """
    source = spec["source"]
    if "digest" in spec and is_user_file(source):
        factory = find_factory(source)
        if file_digest(source) != spec["digest"]:
            raise UserError(f"{source}: the file was changed since its search space was read; take another --out")
        network = _make(source, factory, _wanted(factory, spec))
        if "view" in file_text(source) or says_view(network):  # others do not pay for what watches every call
            copy_views(network)
    else:
        kind, _, name = source.partition(":")
        if kind not in _LIBRARIES or not name:
            allowed = "torchvision:NAME, timm:NAME, path/to/mynet.py:make_net, or a name that evoprune carries"
            raise UserError(f"network.source: got {source!r}; allowed: {allowed}")
        network = _make(source, *_LIBRARIES[kind](name, spec))
        fit_channels(network, spec["in_channels"])
    if spec["stem"] == "cifar":
        fit_small_images(network)
    return network


def _torchvision(name: str, spec: Mapping[str, Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    from torchvision import models

    names = models.list_models(module=models)
    if name not in names:
        raise UserError(f"network.source: torchvision has no {name!r}; {suggest(name, names)}")
    return models.get_model_builder(name), {"weights": None, "num_classes": spec["num_classes"], **spec["arguments"]}


def _timm(name: str, spec: Mapping[str, Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    try:
        import timm
    except ImportError:
        raise UserError("network.source: timm is not installed; `pip install evoprune[timm]` adds it") from None
    if name not in timm.list_models():
        raise UserError(f"network.source: timm has no {name!r}; {suggest(name, timm.list_models())}")
    shape = {"num_classes": spec["num_classes"], "in_chans": spec["in_channels"]}
    return timm.create_model, {"model_name": name, "pretrained": False, **shape, **spec["arguments"]}


_LIBRARIES = {"torchvision": _torchvision, "timm": _timm}


def _wanted(factory: Callable[..., Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a user's function: those given, and classes and channels where it has such parameters."""
    parameters = inspect.signature(factory).parameters
    shape = {name: spec[name] for name in ("num_classes", "in_channels") if name in parameters}
    return {**shape, **spec["arguments"]}


def _make(source: str, factory: Callable[..., Any], arguments: Mapping[str, Any]) -> nn.Module:
    try:
        network = factory(**arguments)
    except Exception as error:
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise UserError(f"network.source: {source} raised with ({given}): {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise UserError(f"network.source: {source} made a {type(network).__name__}, not a torch.nn.Module")
    return network
