"""What can be minimised or limited: names, units, and the one place where the sign turns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Row = dict[str, Any]
"""One line of a table: column -> value, None for an empty cell."""


OK, INFEASIBLE, FAILED, LOST = "ok", "infeasible", "failed", "lost"
"""What `status` says of a measurement: it is good; the candidate breaks a limit; the candidate failed by itself; its
workers died, which says nothing of the candidate."""


@dataclass(frozen=True)
class Objective:
    """One measured quantity of a candidate.

    Attributes:
        label: how people call it.
        unit: the unit of the column in `reports.csv`.
        maximise: whether more is better.
        closed_form: whether it follows from the code alone, without building a network.
    """

    label: str
    unit: str
    maximise: bool = False
    closed_form: bool = True

    @property
    def full_label(self) -> str:
        """The label with its unit, where that is another word."""
        return self.label if self.unit == self.label else f"{self.label} ({self.unit})"


OBJECTIVES = {
    "accuracy": Objective("accuracy", unit="%", maximise=True, closed_form=False),
    "flops": Objective("multiply-adds", unit="multiply-adds"),
    "params": Objective("parameters", unit="parameters"),
    "bandwidth": Objective("memory traffic", unit="bytes"),
    "latency": Objective("latency", unit="ms", closed_form=False),
}


ALIASES = {"macs": "flops"}
WIDEST_SPREAD = 3.0
"""Percent by which repeats of a measured latency may differ without a word."""


def to_losses(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Objective values of `rows` as losses to minimise, shape (rows, names): what is maximised is negated."""
    signs = np.array([-1.0 if OBJECTIVES[name].maximise else 1.0 for name in names])
    values = np.array([[float(row[name]) for name in names] for row in rows], dtype=float)
    return values.reshape(len(rows), len(names)) * signs
