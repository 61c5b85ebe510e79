"""How long a run will take on this machine: every stage is asked."""

from dataclasses import dataclass

from evoprune.stages import base, importance, retrain, search_time
from evoprune.stages.context import Context
from evoprune.stages.probe import Probe
from evoprune.stages.select_networks import num_selected


@dataclass(frozen=True)
class Estimate:
    """Seconds of the stages of a run, and what they were worked out from.

    Attributes:
        candidate: one candidate at the full fidelity, in one worker.
        flops_share: FLOPs of the measured candidate, as a share of the base network's.
        num_workers: how many work side by side.
        num_networks: about how many are trained fully.
        stages: seconds by the name of the stage.
    """

    candidate: float
    flops_share: float
    num_workers: int
    num_networks: int
    stages: dict[str, float]


def estimate(context: Context) -> Estimate:
    """Measure a candidate of middle size, training it for a few steps only, and scale that to the run.

    Training is taken as linear in the number of images.

    Raises:
        UserError: the data set cannot be loaded, or the candidate fails.
    """
    probe = Probe(context)
    times = search_time.time_candidate(probe)
    return Estimate(
        candidate=times.whole_s,
        flops_share=probe.flops_share,
        num_workers=probe.num_workers,
        num_networks=num_selected(context.experiment),
        stages={
            "base network": base.estimate_s(probe),
            "scores": importance.estimate_s(probe),
            "search": search_time.estimate_s(probe, times),
            "full training": retrain.estimate_s(probe),
        },
    )
