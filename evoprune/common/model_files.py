"""The two files of a saved model, and its description, which is read without torch."""

import json
from pathlib import Path
from typing import Any

from evoprune.common.errors import UserError

WEIGHTS_NAME = "model.safetensors"
DESCRIPTION_NAME = "model.json"
FORMAT = 1


def read_description(path: str | Path) -> dict[str, Any]:
    """The `model.json` of a saved model: network, preprocessing (`mean`, `std`), key, code, how it was trained."""
    file = model_folder(path) / DESCRIPTION_NAME
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{file}: no such file; an evoprune model is a folder with {WEIGHTS_NAME} and {DESCRIPTION_NAME}"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not a model description: {error}") from None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise UserError(f"{file}: not a model description of format {FORMAT}")
    if not isinstance(description.get("network"), dict):
        raise UserError(f"{file}: network is a mapping, got {description.get('network')!r}")
    return description


def model_folder(path: str | Path) -> Path:
    """The folder of a saved model, given it or a file in it."""
    path = Path(path)
    return path.parent if path.name in (WEIGHTS_NAME, DESCRIPTION_NAME) else path
