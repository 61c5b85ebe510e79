"""A search space from a YAML file."""

from collections.abc import Mapping
from typing import Any

from evoprune.common.errors import UserError, suggest
from evoprune.common.files import find_carried_file
from evoprune.common.yaml_files import read_yaml
from evoprune.space.groups import LAYER_KINDS, Layer, Segment
from evoprune.space.space import PARAMETERS, SearchSpace
from evoprune.space.traced import TracedSpace
from evoprune.space.traced_yaml import is_traced, parse_space


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
            f"{path}: not a search space: {type(error).__name__} {error}; compare search_spaces/resnet20.yaml"
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
            if not isinstance(number, int) or isinstance(number, bool) or number < 1:
                raise UserError(f"search space parameter {key} is a whole number of at least 1, got {value!r}")
    segments, start = [], 0
    for row in document["segments"]:
        times = row["times"]
        if not isinstance(times, int) or isinstance(times, bool) or times < 1:
            raise UserError(f"segment {row['name']}: times is a whole number of at least 1, got {times!r}")
        segment = Segment(row["name"], times * parameters["width"], start)
        segments.append(segment)
        start += segment.width
    layers = tuple(Layer(**{"kind": "conv", **row}) for row in document["layers"])
    return SearchSpace(document["name"], document["network"], tuple(segments), layers, parameters)


def _check_space(space: SearchSpace, source: str) -> None:
    if sorted(space.parameters) != sorted(PARAMETERS):
        raise UserError(f"{source}: parameters are {', '.join(PARAMETERS)}, got {', '.join(space.parameters)}")
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
