"""Which candidates earn a longer measurement: successive halving with more than one objective. No torch."""

import math
from collections.abc import Sequence

import numpy as np

from evoprune.common.objectives import INFEASIBLE, OK, Row, to_losses
from evoprune.search.pareto import Losses, crowding, pareto_ranks
from evoprune.space.limits import Limits


def promoted(rows: Sequence[Row], share: float, objectives: Sequence[str], limits: Limits) -> list[Row]:
    """Those of `rows` that earn the next rung, by id: ceil(share x rows), fewer where fewer have succeeded.

    Multi-objective successive halving (Jamieson and Talwalkar 2016; Schmucker et al. 2021): the best non-dominated
    ranks first. The result does not depend on the order of `rows`.

    Args:
        rows: measured at one rung.
        share: of all rows, failed ones included.
        objectives: names, as in `search.objectives`.
        limits: who breaks one earns nothing, unless more accuracy could mend it.
    """
    hopeful = sorted((row for row in rows if _is_hopeful(row, limits)), key=lambda row: int(row["id"]))
    number = math.ceil(share * len(rows) - 1e-9)  # 0.07 x 100 is a little more than 7
    return [hopeful[index] for index in best(to_losses(hopeful, objectives), number)]


def best(losses: Losses, number: int) -> list[int]:
    """Indices, ascending, of the `number` best rows of `losses`, shape (N, objectives).

    Whole non-dominated ranks, best first; of the last one the most crowded go, one after the other, until it fits.
    """
    rank = pareto_ranks(losses)
    chosen: list[int] = []
    for level in range(rank.max(initial=-1) + 1):
        members = np.flatnonzero(rank == level)
        while len(members) > number - len(chosen):
            members = np.delete(members, np.argmin(crowding(losses[members])))
        chosen += [int(index) for index in members]
    return sorted(chosen)


def _is_hopeful(row: Row, limits: Limits) -> bool:
    if row["status"] == INFEASIBLE:
        return limits.violation({**row, "accuracy": 100.0}) == 0
    return bool(row["status"] == OK)
