"""The section `report`."""

from evoprune.config.section import Positive, Section


class ReportConfig(Section):
    """Pictures."""

    every: Positive = 5
    """Generations between two fronts that the picture shows."""
