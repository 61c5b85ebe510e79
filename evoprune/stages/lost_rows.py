"""Candidates whose workers died: a resumed search measures them again, and goes the way that it went.

What a search did after such a loss followed from it. So the generations that are there stay as they are: the candidate
counts as lost in its own generation, and its new row belongs to the newest generation, in which it is told.
"""

from evoprune.common.objectives import LOST, Row
from evoprune.runs.table import Table
from evoprune.search.candidate import Candidate, Planned
from evoprune.space.space import SearchSpace


class LostRows:
    """The lost rows of a table, as they are when a search goes on.

    Args:
        table: `reports.csv`.
        space: the search space.
    """

    def __init__(self, table: Table, space: SearchSpace):
        self._space = space
        self._newest = max((row["generation"] for row in table.rows), default=0)
        self._lost = {(row["id"], row["rung"]) for row in table.rows if row["status"] == LOST}
        self._counted: dict[int, list[Row]] = {}  # by the generation in which they count
        for row in sorted(table.rows, key=lambda row: int(row["rung"])):
            counts_in = self._newest if row["status"] == LOST else row["generation"]
            self._counted.setdefault(counts_in, []).append(row)

    def measured_in(self, generation: int, first: int) -> list[Planned]:
        """Candidates of earlier generations that are measured again in this one, or were: from the lost rung on.

        Args:
            generation: this one.
            first: number of its first candidate; a generation may have fewer candidates than the population.
        """
        again: dict[int, Planned] = {}
        for row in self._counted.get(generation, []):
            if row["id"] < first and row["id"] not in again:
                candidate = Candidate(row["id"], self._space.parse_code(row["code"]), row["proposal"])
                again[row["id"]] = Planned(candidate, generation, row["rung"])
        return list(again.values())

    def is_measured_again(self, plan: Planned) -> bool:
        """Whether the row that is there is a lost one, whose turn it is."""
        return plan.generation == self._newest and (plan.candidate.id, plan.rung) in self._lost

    def as_told(self, plan: Planned, row: Row | None) -> Row:
        """The row as it was known in the generation of `plan`: lost, where it was measured in a later one."""
        assert row is not None, "measured rows are in the table"
        return row if row["generation"] == plan.generation else {**row, "status": LOST}
