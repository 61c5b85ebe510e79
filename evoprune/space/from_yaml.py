"""A search space from a YAML file."""

import math
import reprlib
from collections.abc import Mapping
from typing import Any

from evoprune.common.errors import UserError, reason_of, suggest
from evoprune.common.files import find_carried_file
from evoprune.common.yaml_files import read_yaml
from evoprune.space.groups import LAYER_KINDS, MOST_BITS, MOST_OPERATIONS, Layer, Segment
from evoprune.space.space import PARAMETERS, SearchSpace
from evoprune.space.traced import TracedSpace
from evoprune.space.traced_yaml import is_traced, parse_space

_LARGEST = 10**6
_LONGEST_NAME = 200


def load_search_space(
    name: str,
    width: int | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    image_size: int | tuple[int, int] | None = None,
) -> SearchSpace:
    """Load a search space by its name (`resnet20`) or from a YAML file of the user's.

    Args:
        name: a name that evoprune carries, or a path that ends in .yaml.
        width: channels of the narrowest segment.
        num_classes: outputs of the classifier.
        in_channels: channels of the image.
        image_size: side of the square image in pixels, or (height, width); costs depend on it, weights do not.

    The search space of a traced network is that of its file, and takes no other parameters.

    Raises:
        UserError: unknown name, malformed file, or a parameter below 1.
    """
    path = find_carried_file("search_spaces", name)
    given = {"width": width, "num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
    document = read_yaml(path)
    if is_traced(document):
        return _check_parameters(parse_space(document, path), given)
    try:
        parameters = {
            **document["parameters"],
            **{key: value for key, value in given.items() if value is not None},
        }
        space = _build_space(document, parameters)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not a search space: {type(error).__name__} {reason_of(error)}; "
            "compare search_spaces/resnet20.yaml"
        ) from None
    _check_space(space, path.name)
    return space


def _check_parameters(space: TracedSpace, given: Mapping[str, Any]) -> TracedSpace:
    """A traced space has the parameters of its file."""
    for key, value in given.items():
        there = space.parameters.get(key, "its own")
        if value not in (None, there):
            raise UserError(
                f"{space.name} was read from a network with {key} {there}, got {value}; a section `network` reads the "
                "search space from the network, for any data"
            )
    return space


def _build_space(document: Mapping[str, Any], parameters: dict[str, Any]) -> SearchSpace:
    for key, value in parameters.items():
        is_pair = key == "image_size" and isinstance(value, list | tuple) and len(value) == 2
        for number in value if is_pair else [value]:
            _check_whole(f"search space parameter {key}", number, 1)
    segments, start = [], 0
    for row in document["segments"]:
        times = row["times"]
        _check_whole(f"segment {_short(row['name'])}: times", times, 1)
        segment = Segment(row["name"], times * parameters["width"], start)
        segments.append(segment)
        start += segment.width
    layers = tuple(Layer(**{"kind": "conv", **row}) for row in document["layers"])
    return SearchSpace(document["name"], document["network"], tuple(segments), layers, parameters)


def _check_whole(what: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _LARGEST:
        raise UserError(f"{what} is a whole number of at least {least} and at most {_LARGEST:,}, got {_short(value)}")


def _check_name(what: str, text: Any) -> None:
    if not isinstance(text, str) or not text.isprintable() or not 0 < len(text) <= _LONGEST_NAME or "/" in text:
        raise UserError(f"{what}: {_short(text)} is no name: 1 to {_LONGEST_NAME} printable characters without /")


def _short(value: Any) -> str:
    """A value of the user's in a message: its text, whatever it is, may be of any length."""
    return reprlib.repr(value)


def _check_layer(layer: Layer, source: str) -> None:
    """Raise UserError where a field of a layer is not of its type."""
    texts = (layer.name, layer.kind, layer.inputs, layer.outputs, *((layer.norm,) if layer.norm is not None else ()))
    for text in texts:
        _check_name(f"{source}: layer {_short(layer.name)}", text)
    _check_whole(f"{source}: layer {layer.name}: kernel", layer.kernel, 1)
    _check_whole(f"{source}: layer {layer.name}: stride_in", layer.stride_in, 0)
    _check_whole(f"{source}: layer {layer.name}: stride_out", layer.stride_out, 0)


def _check_size(space: SearchSpace, source: str) -> None:
    """Raise UserError where there is nothing to prune, or more than can be counted."""
    if not space.segments or not space.layers:
        raise UserError(f"{source}: a search space has one segment and one layer at least")
    if space.length > MOST_BITS:
        raise UserError(f"{source}: a code of {space.length:,} bits is too long, at most {MOST_BITS:,}; lower width")
    outside: dict[str | None, int] = {
        "image": space.parameters["in_channels"],
        "classes": space.parameters["num_classes"],
    }
    widths = outside | {segment.name: segment.width for segment in space.segments}
    pixels = math.prod(space.height_width)
    most = sum(widths[layer.inputs] * widths[layer.outputs] * layer.kernel**2 for layer in space.layers) * pixels
    if most > MOST_OPERATIONS:
        raise UserError(f"{source}: {most:.1g} multiply-adds are too many to count; lower width, image_size or kernel")


def _check_space(space: SearchSpace, source: str) -> None:
    if not isinstance(space.network, Mapping):
        raise UserError(f"{source}: network is a mapping with the family, got {_short(space.network)}")
    _check_name(f"{source}: name", space.name)
    for segment in space.segments:
        _check_name(f"{source}: name of a segment", segment.name)
    for layer in space.layers:
        _check_layer(layer, source)
    if set(space.parameters) != set(PARAMETERS):
        raise UserError(f"{source}: parameters are {', '.join(PARAMETERS)}, got {_short(list(space.parameters))}")
    names = [segment.name for segment in space.segments]
    if len(set(names)) != len(names):
        raise UserError(f"{source}: a segment name stands twice in {names}")
    for layer in space.layers:
        if layer.kind not in LAYER_KINDS:
            raise UserError(f"{source}: layer {layer.name}: kind {layer.kind!r}; {suggest(layer.kind, LAYER_KINDS)}")
        for side, outside in ((layer.inputs, "image"), (layer.outputs, "classes")):
            if side not in names and side != outside:
                raise UserError(
                    f"{source}: layer {layer.name}: unknown segment {side!r}; {suggest(str(side), [*names, outside])}"
                )
    _check_size(space, source)
