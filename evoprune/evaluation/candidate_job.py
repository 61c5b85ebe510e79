"""The job of a search: codes in, measurements out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from evoprune.config import Experiment, Fidelity
from evoprune.data.dataset import Arrays
from evoprune.data.tensors import place_data
from evoprune.evaluation.evaluator import Evaluator
from evoprune.evaluation.worker import codes_per_batch, worker_compute
from evoprune.pruning.moments import Moments
from evoprune.space.space import SearchSpace
from evoprune.workers.jobs import Job


@dataclass(frozen=True)
class Batch:
    """Codes, as text, that one worker measures at one fidelity: an item of work."""

    codes: tuple[str, ...]
    fidelity: Fidelity


def missing_codes(batch: Batch, num_values: int) -> list[Batch]:
    """What is left of a batch whose worker has died: every code that has no measurement, each on its own."""
    return [Batch((code,), batch.fidelity) for code in batch.codes[num_values:]]


def candidate_job(
    experiment: Experiment, space: SearchSpace, base: nn.Module, arrays: Arrays, moments: Moments | None = None
) -> Job:
    """Build, in a worker, what measures one `Batch` after the other: one measurement for each code, in order."""
    compute = worker_compute(experiment)
    data = place_data(arrays, compute.device)
    network = base.to(compute.device).eval()
    evaluator = Evaluator(
        space,
        network,
        data,
        experiment.evaluation,
        compute,
        experiment.seed,
        experiment.measures_latency,
        codes_per_batch(experiment, space),
        moments,
    )

    def job(batch: Batch) -> Iterator[dict[str, Any]]:
        yield from evaluator.evaluate([space.parse_code(code) for code in batch.codes], batch.fidelity)

    return job
