"""How long a search will take: a candidate is measured, and that is scaled to all of them."""

from dataclasses import dataclass
from functools import partial
from itertools import islice

from evoprune.common.errors import UserError
from evoprune.common.objectives import FAILED
from evoprune.config import Fidelity
from evoprune.evaluation.evaluator import Evaluator
from evoprune.evaluation.latency_meter import make_meter
from evoprune.pruning.moments import Moments, measure_moments, moment_inputs
from evoprune.stages.curves import PRIOR_IMAGES, num_prior_measurements
from evoprune.stages.probe import Probe, second_time


@dataclass(frozen=True)
class CandidateTimes:
    """Seconds of a candidate in one worker.

    Attributes:
        fixed: at each rung without its training, the full fidelity last.
        per_epoch: of an epoch of training.
        latency: of its latency, while no other worker of the device does anything.
        curve_point: of a point on a sensitivity curve.
        whole_s: at the full fidelity.
    """

    fixed: tuple[float, ...]
    per_epoch: float
    latency: float
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
    evaluator = Evaluator(
        space, probe.base, probe.data, config, probe.compute, experiment.seed, meter, len(codes), _moments(probe)
    )

    def evaluate(fidelity: Fidelity, timed: bool) -> None:
        measured = evaluator.evaluate(codes, fidelity, timed)
        if measured[0]["status"] == FAILED:
            raise UserError(f"a candidate failed: {measured[0]['error']}")

    def seconds(fidelity: Fidelity, timed: bool = False) -> float:
        return second_time(partial(evaluate, fidelity, timed)) / len(codes)

    fixed = tuple(seconds(fidelity._replace(epochs=0.0)) for fidelity in config.fidelities)
    latency = 0.0
    if experiment.measures_latency:
        latency = max(0.0, seconds(config.fidelities[-1]._replace(epochs=0.0), timed=True) - fixed[-1])
    curve_point = seconds(Fidelity(0.0, PRIOR_IMAGES)) if experiment.search.measures_sensitivity else 0.0
    per_epoch = 0.0
    if config.epochs > 0:
        epochs = probe.few_epochs(config)
        per_epoch = max(0.0, seconds(Fidelity(epochs)) - fixed[-1]) / epochs
    whole_s = fixed[-1] + per_epoch * config.epochs + latency
    return CandidateTimes(fixed, per_epoch, latency, curve_point, whole_s)


def _moments(probe: Probe) -> Moments | None:
    """What slim networks are compensated by; one batch does, as time does not depend on what was measured."""
    experiment = probe.context.experiment
    if experiment.inherit == "plain":
        return None
    batch = islice(moment_inputs(probe.data, experiment.seed), 1)
    return measure_moments(probe.context.space, probe.base, batch, probe.compute)


def estimate_s(probe: Probe, times: CandidateTimes) -> float:
    """Seconds of all candidates and of the curves before them; each rung measures a share of those below.

    Latency is measured alone on a device, so that more workers do not make it faster.
    """
    experiment = probe.context.experiment
    evaluation, total, share, num_rows = experiment.evaluation, 0.0, 1.0, 0.0
    promotions = [*(rung.promote for rung in evaluation.ladder), 0.0]
    for without, fidelity, promote in zip(times.fixed, evaluation.fidelities, promotions, strict=True):
        total += share * (without + times.per_epoch * fidelity.epochs)
        num_rows += share
        share *= promote
    measures = experiment.search.measures_sensitivity
    num_points = num_prior_measurements(probe.context.space) if measures else 0
    side_by_side = (total * experiment.num_evaluations + num_points * times.curve_point) / probe.num_workers
    return side_by_side + num_rows * experiment.num_evaluations * times.latency / probe.num_devices
