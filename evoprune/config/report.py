"""The section `report`."""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from evoprune.config.section import Positive, Section

PictureFormat = Literal["png", "svg", "pdf"]


def _list(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return value
    raise ValueError(f"a list of {', '.join(get_args(PictureFormat))}, such as [png, svg]")


class ReportConfig(Section):
    """Pictures, and what other tools show."""

    every: Positive = 5
    """Generations between two fronts that the picture shows."""
    formats: Annotated[tuple[PictureFormat, ...], BeforeValidator(_list), Field(strict=False, min_length=1)] = ("png",)
    """Kinds of files of each picture, a list of `png`, `svg` and `pdf`. Letters stay letters in SVG and PDF."""

    tensorboard: bool = False
    """Write loss, learning rate and accuracies of trainings to `tensorboard/` in the run's folder: the base network,
    full trainings, fine-tuning. Needs `pip install 'evoprune[tensorboard]'`."""

    def files(self, stem: Path) -> list[Path]:
        """The files of a picture; `stem` is their path without its ending."""
        return [stem.with_name(f"{stem.name}.{ending}") for ending in dict.fromkeys(self.formats)]
