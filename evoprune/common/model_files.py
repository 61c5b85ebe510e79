"""The two files of a saved model, and its description, which is read without torch."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evoprune.common.errors import UserError, reason_of

WEIGHTS_NAME = "model.safetensors"
DESCRIPTION_NAME = "model.json"
FORMAT = 1
CHECKSUM = "sha256"
"""The key of `model.json` that says what the bytes of the weights hash to."""


def read_description(path: str | Path) -> dict[str, Any]:
    """The `model.json` of a saved model: network, preprocessing (`mean`, `std`), key, code, how it was trained."""
    file = model_folder(path) / DESCRIPTION_NAME
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{file}: no such file; an evoprune model is a folder with {WEIGHTS_NAME} and {DESCRIPTION_NAME}"
        ) from None
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no JSON, no UTF-8, numbers without end
        raise UserError(f"{file}: not a model description: {reason_of(error)}") from None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise UserError(f"{file}: not a model description of format {FORMAT}")
    if not isinstance(description.get("network"), dict):
        raise UserError(f"{file}: network is a mapping, got {description.get('network')!r}")
    return description


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
