"""Published results for the network and the data set of a run: `published.csv` beside this file.

Where a paper tells a share of the multiply-adds, the table has that share of the uncut network's.
"""

import csv
from pathlib import Path

from evoprune.common.objectives import Row
from evoprune.config import Experiment
from evoprune.report.compared import dataset_of, network_of
from evoprune.space.costs import code_costs
from evoprune.space.space import SearchSpace

_TABLE = Path(__file__).with_name("published.csv")
_TOLERANCE = 0.02
"""Papers leave out shortcuts or batch norms, which is about one per cent; another width or stem is far more."""


def published_for(experiment: Experiment, space: SearchSpace) -> list[Row]:
    """Published networks that compare with those of a run, cheapest first.

    They do where the names of data set and network are the same, and the uncut network has as many multiply-adds.

    Returns:
        Rows with `method`, `flops`, `accuracy` (test accuracy in %, as a rule of the best epoch of the best run),
        `base_accuracy` (of the uncut network in that paper, in %; None where it is not told) and `source`. A
        multiply-add counts as 1.
    """
    full, network = code_costs(space, space.full_code())["flops"], network_of(experiment)
    with _TABLE.open(encoding="utf-8", newline="") as file:
        rows = [_typed(row) for row in csv.DictReader(file)]
    found = [row for row in rows if (row["dataset"], row["network"]) == (dataset_of(experiment), network)
             and abs(row["base_flops"] / full - 1) <= _TOLERANCE]  # fmt: skip
    return sorted(found, key=lambda row: row["flops"])


def _typed(row: dict[str, str]) -> Row:
    numbers = {name: float(row[name]) if row[name] else None for name in ("base_accuracy", "accuracy")}
    return {**row, **numbers, "flops": int(row["flops"]), "base_flops": int(row["base_flops"])}
