"""The base network on the disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from evoprune.common.errors import UserError
from evoprune.common.model_files import DESCRIPTION_NAME, is_number, read_description
from evoprune.networks.build import build_network, network_spec
from evoprune.networks.checkpoints import load_weights, save_model
from evoprune.space.space import SearchSpace


@dataclass(frozen=True)
class Base:
    """The base network on the CPU, and what is known of it (accuracies in percent, where it came from)."""

    network: nn.Module
    info: dict[str, Any]


def save_base(base: Base, space: SearchSpace, folder: Path) -> None:
    """Save a base network so that `load_base` and `evoprune.load_model` read it."""
    save_model(base.network, network_spec(space), folder, base=base.info)


def load_base(space: SearchSpace, folder: Path) -> Base:
    """Load what `save_base` saved.

    Raises:
        UserError: no base network there, or a damaged one.
    """
    info = read_description(folder).get("base")
    if not isinstance(info, dict) or not is_number(info.get("validation_accuracy")):
        raise UserError(f"{folder / DESCRIPTION_NAME}: not of a base network, whose validation_accuracy is known")
    if not is_number(info.get("test_accuracy", 0)):
        raise UserError(f"{folder / DESCRIPTION_NAME}: its test_accuracy is no number")
    warnings = info.get("warnings", [])
    if not isinstance(warnings, list) or not all(isinstance(text, str) for text in warnings):
        raise UserError(f"{folder / DESCRIPTION_NAME}: its warnings are no list of texts")
    return Base(load_weights(build_network(space), folder).eval(), info)
