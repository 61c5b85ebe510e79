"""Rows of a made-up search, for the tests of `report.html`."""

from typing import Any

from evoprune.space.space import SearchSpace


def rows(space: SearchSpace, number: int) -> list[dict[str, Any]]:
    """Candidates on a line, the dearest first; every third one is worse than that."""
    return [
        {
            **{"id": i, "generation": i // 4, "rung": 0, "proposal": "full" if i == 0 else "evolution"},
            **{"status": "ok", "error": None, "key": f"k{i}", "accuracy": 90.0 - i - 5 * (i % 3 == 2)},
            **{"flops": 10000 - 100 * i, "params": 500, "bandwidth": 70},
            **{f"kept.{segment.name}": 1 for segment in space.segments},
        }
        for i in range(number)
    ]
