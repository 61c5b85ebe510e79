"""The two files of a saved model, and its description, which is read without torch."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evoprune.common.errors import UserError, reason_of
from evoprune.common.files import read_bounded
from evoprune.common.seals import SEAL, holds, unsealed

WEIGHTS_NAME = "model.safetensors"
DESCRIPTION_NAME = "model.json"
FORMAT = 1
_MOST_BYTES = 16_000_000
_MOST = 1e300
CHECKSUM = "sha256"
"""The key of `model.json` that says what the bytes of the weights hash to."""


def is_number(value: object) -> bool:
    """Whether it is a finite number that a float can hold; True is none."""
    return type(value) in (int, float) and -_MOST <= value <= _MOST  # type: ignore[operator]


_KINDS: dict[str, tuple[set[str], Callable[[Any], bool]]] = {
    "a mapping": (
        {"network", "preprocessing", "pruning", "training"},
        lambda value: isinstance(value, dict),
    ),
    "a text": ({"key", "code", "search_space"}, lambda value: isinstance(value, str)),
    "a whole number": (
        {"seed", "params", "nonzero_params", "flops", "nonzero_flops"},
        lambda value: type(value) is int,
    ),
    "a number": (
        {
            "accuracy_before",
            "accuracy_cut",
            "accuracy_recalibrated",
            "accuracy",
            "validation_accuracy",
            "test_accuracy",
        },
        is_number,
    ),
}
"""What stands under a key of `model.json`, where it stands there and is not null."""


def read_description(path: str | Path) -> dict[str, Any]:
    """The `model.json` of a saved model: network, preprocessing (`mean`, `std`), key, code, how it was trained."""
    file = model_folder(path) / DESCRIPTION_NAME
    try:
        description = json.loads(read_bounded(file, _MOST_BYTES).decode("utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{file}: no such file; an evoprune model is a folder with {WEIGHTS_NAME} and {DESCRIPTION_NAME}"
        ) from None
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no JSON, no UTF-8, numbers without end
        raise UserError(f"{file}: not a model description: {reason_of(error)}") from None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise UserError(f"{file}: not a model description of format {FORMAT}")
    if description.get("network") is None:
        raise UserError(f"{file}: network is a mapping, got None")
    if not holds(description):
        raise UserError(f"{file}: damaged: its checksum does not hold; to change it by hand, remove the key {SEAL}")
    _check_kinds(description, file)
    return unsealed(description)


def _check_kinds(description: Mapping[str, Any], file: Path) -> None:
    """Refuse values that no model has, whoever has written them: those who read them rely on it."""
    for kind, (names, fits) in _KINDS.items():
        for name in names & description.keys():
            if description[name] is not None and not fits(description[name]):
                raise UserError(f"{file}: {name} is {kind}, got {repr(description[name])[:80]}")


def check_weights(path: str | Path, description: Mapping[str, Any]) -> None:
    """Raise UserError where the weights of a saved model are not those that its description was written for.

    Descriptions of earlier versions do not say; then the file must only be there.
    """
    file = model_folder(path) / WEIGHTS_NAME
    try:
        with file.open("rb") as weights:
            found = hashlib.file_digest(weights, "sha256").hexdigest()
    except FileNotFoundError:
        raise UserError(f"{file}: no such file") from None
    except OSError as error:
        raise UserError(f"{file}: damaged weights: {error.strerror}") from None
    if description.get(CHECKSUM, found) != found:
        raise UserError(f"{file}: damaged weights: their checksum is not the one in {DESCRIPTION_NAME}")


def model_folder(path: str | Path) -> Path:
    """The folder of a saved model, given it or a file in it."""
    path = Path(path)
    return path.parent if path.name in (WEIGHTS_NAME, DESCRIPTION_NAME) else path


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the input of a network: (pixel / 255 - mean) / std.

    Attributes:
        mean: of each channel, of pixels scaled to [0, 1].
        std: likewise.
        image_size: height and width in pixels.
        classes: their names in the order of the outputs; None where they are not known.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: tuple[int, int]
    classes: tuple[str, ...] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an input."""
        return (len(self.mean), *self.image_size)

    def to_texts(self) -> dict[str, str]:
        """What an exported file says of its input, as texts: each value is JSON."""
        order = {1: "L", 3: "RGB"}.get(len(self.mean), "unknown")
        facts: dict[str, Any] = {
            "mean": self.mean,
            "std": self.std,
            "image_size": self.image_size,
            "channel_order": order,
            "layout": "NCHW",
            "input": "(pixel / 255 - mean) / std",
            "classes": self.classes,
        }
        return {name: json.dumps(value) for name, value in facts.items()}


def read_preprocessing(description: Mapping[str, Any], known: Mapping[str, Any] | None = None) -> Preprocessing | None:
    """What a `model.json` says of the network's input, that of a base network too.

    Args:
        description: from `read_description`.
        known: what holds where the description says nothing, such as its `image_size`.

    Returns:
        None where it is not known in full.
    """
    base = description.get("base")  # of a base network what is known of it; elsewhere what tells which one it was
    facts = description if "preprocessing" in description or not isinstance(base, dict) else base
    return make_preprocessing({**(known or {}), "classes": facts.get("classes"), **(facts.get("preprocessing") or {})})


def make_preprocessing(facts: Mapping[str, Any]) -> Preprocessing | None:
    """Of `mean`, `std`, `image_size` and `classes`; None where they are not those of an image."""
    try:
        mean, std = (tuple(float(value) for value in facts[name]) for name in ("mean", "std"))
        height, width = (int(value) for value in facts["image_size"])
        classes = tuple(str(name) for name in facts["classes"]) if facts.get("classes") else None
    except (KeyError, TypeError, ValueError):
        return None
    return Preprocessing(mean, std, (height, width), classes) if len(mean) == len(std) > 0 else None


def preprocessing_of_texts(texts: Mapping[str, str]) -> Preprocessing | None:
    """What `Preprocessing.to_texts` said; None where a file does not say it."""
    try:
        return make_preprocessing({name: json.loads(texts[name]) for name in ("mean", "std", "image_size", "classes")})
    except (KeyError, json.JSONDecodeError):
        return None
