"""Workers that overtake each other and make their accuracies up, and searches with them."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from helpers import random_scores

from evoprune.config import Experiment
from evoprune.evaluation.candidate_job import Batch
from evoprune.networks.base import Base
from evoprune.runs.ownership import open_run_folder
from evoprune.space.costs import code_costs
from evoprune.space.space import SearchSpace
from evoprune.stages.context import Context
from evoprune.stages.search import search
from evoprune.workers.jobs import Done, Report, Said, Workers


class Overtaking:
    """Workers of which each finishes in its turn, but the first one, which takes as long as five others."""

    def __init__(self, space: SearchSpace, number: int):
        self._space, self._names = space, [f"w{i}" for i in range(number)]
        self._under_way: deque[tuple[str, Batch]] = deque()
        self._reports: deque[Report] = deque()
        self.running: list[int] = []
        """How many items were under way each time a worker finished."""

    @contextmanager
    def open(self, *_: object) -> Iterator[Workers]:
        yield self

    def ask(self, question: object) -> dict[str, Any]:
        return {}

    def num_starting(self) -> int:
        return 0

    def is_fresh(self, worker: str) -> bool:
        return True

    def renew(self, worker: str) -> None:
        raise AssertionError("nobody has died")

    def idle(self) -> list[str]:
        busy = {worker for worker, _ in self._under_way} | {report.worker for report in self._reports}
        return [name for name in self._names if name not in busy]

    def begin(self, worker: str, item: Batch, limit_s: float | None = None) -> None:
        assert worker in self.idle()
        self._under_way.append((worker, item))

    def wait(self) -> Report:
        if not self._reports:
            self._finish_one()
        return self._reports.popleft()

    def _finish_one(self) -> None:
        self.running.append(len(self._under_way))
        if len(self._under_way) > 1 and len(self.running) % 5:
            self._under_way.rotate(-1)
        worker, batch = self._under_way.popleft()
        self._reports += [Said(worker, self._measure(code, batch.fidelity.epochs)) for code in batch.codes]
        self._reports.append(Done(worker))

    def _measure(self, text: str, epochs: float) -> dict[str, Any]:
        code = self._space.parse_code(text)
        accuracy = 100 * float(code.mean()) ** 0.5 - 20 + 20 * epochs
        return {**code_costs(self._space, code), "status": "ok", "error": None, "accuracy": accuracy, "seconds": 0.0}


def simulate(path: Path, experiment: Experiment, number: int) -> tuple[Overtaking, pd.DataFrame]:
    """A search whose accuracies are made up: its workers and its rows."""
    with open_run_folder(path, experiment) as folder:
        context = Context(experiment, folder)
        context.base, context.moments = Base(torch.nn.Identity(), {"validation_accuracy": 90.0}), None
        context.scores = lambda name: random_scores(context.space)
        workers = Overtaking(context.space, number)
        search(context, workers.open)
    return workers, pd.read_csv(path / "reports.csv")
