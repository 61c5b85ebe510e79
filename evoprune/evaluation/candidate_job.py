"""The job of a search: codes in, measurements out."""

import math
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from evoprune.common.objectives import FAILED, LOST
from evoprune.config import EvaluationConfig, Experiment, Fidelity
from evoprune.data.dataset import Arrays
from evoprune.data.tensors import place_data
from evoprune.evaluation.evaluator import Evaluator
from evoprune.evaluation.latency_meter import make_meter
from evoprune.evaluation.worker import codes_per_batch, one_by_one, worker_compute
from evoprune.pruning.moments import Moments
from evoprune.space.space import SearchSpace
from evoprune.workers.dispatch import Broken, Lost
from evoprune.workers.jobs import Job

SPARE_S = 10.0
"""Seconds more than its time limit that a candidate gets before its worker is ended."""
_CELLS = ("status", "error", "accuracy", "latency", "latency_spread", "seconds")


@dataclass(frozen=True)
class Batch:
    """Codes, as text, that one worker measures at one fidelity, with their latency or not: an item of work."""

    codes: tuple[str, ...]
    fidelity: Fidelity
    timed: bool = False


def missing_codes(batch: Batch, num_values: int) -> list[Batch]:
    """What is left of a batch whose worker has died: every code that has no measurement, each on its own."""
    return [replace(batch, codes=(code,)) for code in batch.codes[num_values:]]


def time_limit(config: EvaluationConfig, batch: Batch) -> float | None:
    """Seconds after which a worker is ended from outside; a candidate that can gives up by itself before.

    One whose latency is measured may wait twice, each time no longer than a candidate may take.
    """
    if config.time_limit_s is None:
        return None
    each = 3 * config.time_limit_s + config.latency_limit_s if batch.timed else config.time_limit_s
    return each * len(batch.codes) + SPARE_S


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
        make_meter(experiment, space, network, data, compute),
        1 if one_by_one(experiment, space, network) else codes_per_batch(experiment, space),
        moments,
    )

    def job(batch: Batch) -> Iterator[dict[str, Any]]:
        codes = [space.parse_code(code) for code in batch.codes]
        yield from evaluator.measurements(codes, batch.fidelity, batch.timed)

    return job


def as_measurement(value: Any, base_ms: float | None = None) -> dict[str, Any]:
    """What was reported of a code as cells of its row: it has a status, whatever it is that was reported.

    Args:
        value: what was reported.
        base_ms: the base network's latency when the search began. A latency that was measured against the base network
            is told as the same share of that.
    """
    match value:
        case Lost(reason):
            return {"status": LOST, "error": reason}
        case Broken(reason):
            return {"status": FAILED, "error": reason}
        case {"status": "failed", "error": str()}:
            return _cells(value)
        case {"status": "ok", "accuracy": float() | int() as accuracy} if math.isfinite(accuracy):
            return {**_cells(value), **_on_the_scale_of(base_ms, value)}
    return {"status": FAILED, "error": f"the worker has returned no measurement, but {reprlib.repr(value)}"}


def _cells(value: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are measured; the others follow from the code."""
    return {name: value[name] for name in _CELLS if name in value}


def _on_the_scale_of(base_ms: float | None, value: Mapping[str, Any]) -> dict[str, float]:
    match value:
        case {"latency": float() as now, "base_latency": float() as base_now} if base_ms is not None and base_now > 0:
            return {"latency": round(now / base_now * base_ms, 4)}
    return {}
