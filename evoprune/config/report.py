"""The section `report`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from evoprune.config.section import Positive, Section

PictureFormat = Literal["png", "svg", "pdf"]


class ReportConfig(Section):
    """Pictures, and what other tools show."""

    every: Positive = 5
    """Generations between two fronts that the picture shows."""
    formats: Annotated[tuple[PictureFormat, ...], Field(strict=False, min_length=1)] = ("png",)
    """Kinds of files of each picture, a list of `png`, `svg` and `pdf`. Letters stay letters in SVG and PDF."""

    tensorboard: bool = False
    """Write loss, learning rate and accuracies of trainings to `tensorboard/` in the run's folder: the base network,
    full trainings, fine-tuning. Needs `pip install 'evoprune[tensorboard]'`."""

    def files(self, stem: Path) -> list[Path]:
        """The files of a picture; `stem` is their path without its ending."""
        return [stem.with_name(f"{stem.name}.{ending}") for ending in dict.fromkeys(self.formats)]
