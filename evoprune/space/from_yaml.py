"""A search space from a YAML file."""

import math
from collections.abc import Mapping
from typing import Any

from evoprune.common.errors import UserError, suggest
from evoprune.common.files import find_carried_file
from evoprune.common.yaml_files import read_yaml
from evoprune.config.space_files import WrittenDocument, check_written
from evoprune.space.groups import MOST_BITS, MOST_OPERATIONS, Layer, Segment
from evoprune.space.space import SearchSpace
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
    space = _build_space(check_written(_with_parameters(document, given), str(path)))
    try:
        _check_names(space)
        _check_size(space)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
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


def _with_parameters(document: Any, given: Mapping[str, Any]) -> Any:
    """The document with what was given in place of what its file says."""
    if not isinstance(document, dict) or not isinstance(document.get("parameters"), dict):
        return document
    chosen = {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}
    there = {key: value for key, value in chosen.items() if value is not None}
    return {**document, "parameters": {**document["parameters"], **there}}


def _build_space(document: WrittenDocument) -> SearchSpace:
    segments, start = [], 0
    for row in document.segments:
        segments.append(Segment(row.name, row.times * document.parameters.width, start))
        start += segments[-1].width
    layers = tuple(Layer(**row.model_dump()) for row in document.layers)
    parameters = document.parameters.model_dump()
    return SearchSpace(document.name, document.network, tuple(segments), layers, parameters)


def _check_names(space: SearchSpace) -> None:
    """Raise UserError where a layer follows a segment that is not there, or a name stands for two."""
    names = [segment.name for segment in space.segments]
    if len(set(names)) != len(names):
        raise UserError(f"a segment name stands twice in {names}")
    for layer in space.layers:
        for side, outside in ((layer.inputs, "image"), (layer.outputs, "classes")):
            if side not in names and side != outside:
                raise UserError(
                    f"layer {layer.name}: unknown segment {side!r}; {suggest(str(side), [*names, outside])}"
                )


def _check_size(space: SearchSpace) -> None:
    """Raise UserError where there is more than can be counted."""
    if space.length > MOST_BITS:
        raise UserError(f"a code of {space.length:,} bits is too long, at most {MOST_BITS:,}; lower width")
    outside: dict[str | None, int] = {
        "image": space.parameters["in_channels"],
        "classes": space.parameters["num_classes"],
    }
    widths = outside | {segment.name: segment.width for segment in space.segments}
    pixels = math.prod(space.height_width)
    most = sum(widths[layer.inputs] * widths[layer.outputs] * layer.kernel**2 for layer in space.layers) * pixels
    if most > MOST_OPERATIONS:
        raise UserError(f"{most:.1g} multiply-adds are too many to count; lower width, image_size or kernel")
