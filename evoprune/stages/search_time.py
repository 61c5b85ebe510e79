"""How long a search will take: a candidate is measured, and that is scaled to all of them."""

from dataclasses import dataclass
from functools import partial

from evoprune.common.errors import UserError
from evoprune.common.objectives import FAILED
from evoprune.config import Fidelity
from evoprune.evaluation.evaluator import Evaluator
from evoprune.evaluation.latency_meter import make_meter
from evoprune.stages.curves import PRIOR_IMAGES, num_prior_measurements
from evoprune.stages.probe import Probe, second_time


@dataclass(frozen=True)
class CandidateTimes:
    """Seconds of a candidate in one worker.

    Attributes:
        fixed: at each rung without its training, the full fidelity last.
        per_epoch: of an epoch of training.
        curve_point: of a point on a sensitivity curve.
        whole_s: at the full fidelity.
    """

    fixed: tuple[float, ...]
    per_epoch: float
    curve_point: float
    whole_s: float


def time_candidate(probe: Probe) -> CandidateTimes:
    """Measure a candidate of middle size on this machine, training it for a few steps only.

    Raises:
        UserError: it fails.
    """
    experiment, codes = probe.context.experiment, list(probe.codes)
    config, space = experiment.evaluation, probe.context.space
    meter = make_meter(experiment, space, probe.base, probe.data, probe.compute)
    evaluator = Evaluator(space, probe.base, probe.data, config, probe.compute, experiment.seed, meter, len(codes))

    def evaluate(fidelity: Fidelity, timed: bool) -> None:
        measured = evaluator.evaluate(codes, fidelity, timed)
        if measured[0]["status"] == FAILED:
            raise UserError(f"a candidate failed: {measured[0]['error']}")

    def seconds(fidelity: Fidelity, timed: bool = False) -> float:
        return second_time(partial(evaluate, fidelity, timed)) / len(codes)

    timed = experiment.measures_latency
    fixed = tuple(seconds(fidelity._replace(epochs=0.0), timed) for fidelity in config.fidelities)
    curve_point = seconds(Fidelity(0.0, PRIOR_IMAGES)) if experiment.search.measures_sensitivity else 0.0
    per_epoch = 0.0
    if config.epochs > 0:
        epochs = probe.few_epochs(config)
        per_epoch = max(0.0, seconds(Fidelity(epochs), timed) - fixed[-1]) / epochs
    return CandidateTimes(fixed, per_epoch, curve_point, fixed[-1] + per_epoch * config.epochs)


def estimate_s(probe: Probe, times: CandidateTimes) -> float:
    """Seconds of all candidates and of the curves before them; each rung measures a share of those below."""
    experiment = probe.context.experiment
    evaluation, total, share = experiment.evaluation, 0.0, 1.0
    promotions = [*(rung.promote for rung in evaluation.ladder), 0.0]
    for without, fidelity, promote in zip(times.fixed, evaluation.fidelities, promotions, strict=True):
        total += share * (without + times.per_epoch * fidelity.epochs)
        share *= promote
    measures = experiment.search.measures_sensitivity
    num_points = num_prior_measurements(probe.context.space) if measures else 0
    return (total * experiment.num_evaluations + num_points * times.curve_point) / probe.num_workers
