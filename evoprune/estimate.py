"""How long a run will take on this machine, from one measured candidate."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import nn

from evoprune.base import base_folder
from evoprune.checkpoints import DESCRIPTION_NAME
from evoprune.compute import Compute, make_compute
from evoprune.config import CountSelection, Experiment, Fidelity, ScopConfig, TrainingConfig
from evoprune.costs import compute_costs
from evoprune.data import Data, make_data
from evoprune.datasets import RawData, load_raw_data
from evoprune.errors import UserError
from evoprune.evaluation import Evaluator
from evoprune.front import MOST_KNEES
from evoprune.importance.scop import check_scop, learn_scales
from evoprune.measuring import codes_per_batch
from evoprune.networks import build_network
from evoprune.proposals import Random
from evoprune.sensitivity import PRIOR_IMAGES, num_prior_measurements
from evoprune.space import Code, SearchSpace
from evoprune.surgery import slim_network
from evoprune.training import train
from evoprune.worker_shape import shape_here, worker_compute

_STEPS = 20
_DRAWS = 65


@dataclass(frozen=True)
class Estimate:
    """Seconds of the stages of a run, and what they were worked out from.

    Attributes:
        candidate: one candidate at the full fidelity, in one worker.
        flops_share: FLOPs of the measured candidate, as a share of the parent's.
        num_workers: how many work side by side.
        base: training of the parent; 0 where it is given or there.
        scores: training of SCOP's scales, where the proposals need them.
        search: all candidates, with every rung of the ladder, and the sensitivity curves that come first.
        retrain: full training of what `retrain.select` names; of `all`, as many as one population.
    """

    candidate: float
    flops_share: float
    num_workers: int
    base: float
    scores: float
    search: float
    retrain: float


def estimate(experiment: Experiment, space: SearchSpace) -> Estimate:
    """Measure a candidate of middle size, training it for a few steps only, and scale that to the run.

    Weights are random, as time does not depend on them; training is taken as linear in the number of images.

    Raises:
        UserError: the data set cannot be loaded, or the candidate fails.
    """
    raw = load_raw_data(experiment.data)
    compute = worker_compute(experiment)
    data = make_data(raw, experiment.data, compute.device)
    parent = build_network(space).to(compute.device).eval()
    codes, flops_share = _middle_codes(space, experiment.search.min_keep, codes_per_batch(experiment, space))
    fixed, per_epoch, curve_point = _measure(experiment, space, parent, data, compute, codes)
    num_points = num_prior_measurements(space) if experiment.search.measures_sensitivity else 0
    num_workers = shape_here(experiment.workers).num_workers
    networks = _num_retrained(experiment) * experiment.retrain.seeds
    retrain_epoch = _epoch_s(slim_network(space, parent, codes[0]), data, experiment.retrain, compute)
    return Estimate(
        candidate=fixed[-1] + per_epoch * experiment.evaluation.epochs,
        flops_share=flops_share,
        num_workers=num_workers,
        base=_base_s(experiment, space, raw, parent, data, compute),
        scores=_scores_s(experiment, space, parent, data, compute),
        search=(_search_s(experiment, fixed, per_epoch) + num_points * curve_point) / num_workers,
        retrain=math.ceil(networks / num_workers) * experiment.retrain.epochs * retrain_epoch,
    )


def _middle_codes(space: SearchSpace, min_keep: float, count: int) -> tuple[Code, float]:
    """The `count` random codes around the median FLOPs, and the mean of their shares of the parent's FLOPs."""
    codes = Random(space, min_keep).first(max(_DRAWS, count), np.random.default_rng(0))
    flops = compute_costs(space, codes)["flops"]
    first = (len(codes) - count) // 2
    middle = np.argsort(flops)[first : first + count]
    return codes[middle], float(flops[middle].mean() / compute_costs(space, space.full_code())["flops"][0])


def _measure(
    experiment: Experiment, space: SearchSpace, parent: nn.Module, data: Data, compute: Compute, codes: Code
) -> tuple[list[float], float, float]:
    """Seconds of a candidate at each rung without its training, of an epoch of training, of a point on a curve.

    `codes` go together.
    """
    config, seed = experiment.evaluation, experiment.seed
    evaluator = Evaluator(space, parent, data, config, compute, seed, experiment.measures_latency, len(codes))

    def evaluate(fidelity: Fidelity) -> None:
        measured = evaluator.evaluate(list(codes), fidelity)
        if measured[0]["status"] == "failed":
            raise UserError(f"a candidate failed: {measured[0]['error']}")

    def seconds(fidelity: Fidelity) -> float:
        return _second_time(partial(evaluate, fidelity)) / len(codes)

    fixed = [seconds(fidelity._replace(epochs=0.0)) for fidelity in config.fidelities]
    curve_point = seconds(Fidelity(0.0, PRIOR_IMAGES)) if experiment.search.measures_sensitivity else 0.0
    if config.epochs == 0:
        return fixed, 0.0, curve_point
    epochs = _few_epochs(config, data)
    return fixed, max(0.0, seconds(Fidelity(epochs)) - fixed[-1]) / epochs, curve_point


def _epoch_s(network: nn.Module, data: Data, recipe: TrainingConfig, compute: Compute) -> float:
    """Seconds of an epoch of training, from a few steps."""
    few = recipe.model_copy(update={"epochs": _few_epochs(recipe, data)})
    return _second_time(lambda: list(train(network, data, few, compute, seed=0))) / few.epochs if few.epochs else 0.0


def _second_time(work: Callable[[], object]) -> float:
    """Seconds that `work` takes when it has been done before, and all is compiled."""
    work()
    started = time.monotonic()
    work()
    return time.monotonic() - started


def _few_epochs(recipe: TrainingConfig | ScopConfig, data: Data) -> float:
    return min(recipe.epochs, _STEPS * recipe.batch_size / len(data.train))


def _search_s(experiment: Experiment, fixed: Sequence[float], per_epoch: float) -> float:
    """Seconds of all candidates, one after the other; each rung of the ladder measures a share of those below."""
    evaluation, total, share = experiment.evaluation, 0.0, 1.0
    promoted = [*(rung.promote for rung in evaluation.ladder), 0.0]
    for without, fidelity, promote in zip(fixed, evaluation.fidelities, promoted, strict=True):
        total += share * (without + per_epoch * fidelity.epochs)
        share *= promote
    return total * experiment.num_evaluations


def _base_s(
    experiment: Experiment, space: SearchSpace, raw: RawData, parent: nn.Module, data: Data, compute: Compute
) -> float:
    given = experiment.base.weights is not None
    if given or (base_folder(experiment, space, raw) / DESCRIPTION_NAME).is_file():
        return 0.0
    return experiment.base.epochs * _on_all_cores(
        experiment, compute, lambda all_cores: _epoch_s(parent, data, experiment.base, all_cores)
    )


def _scores_s(experiment: Experiment, space: SearchSpace, parent: nn.Module, data: Data, compute: Compute) -> float:
    if "scop" not in experiment.search.importances:
        return 0.0
    config = experiment.importance.scop
    layers, few = check_scop(space, config), config.model_copy(update={"epochs": _few_epochs(config, data)})

    def seconds(all_cores: Compute) -> float:
        return _second_time(lambda: learn_scales(layers, parent, data, few, all_cores, seed=0))

    return _on_all_cores(experiment, compute, seconds) * config.epochs / few.epochs


def _on_all_cores(experiment: Experiment, compute: Compute, seconds: Callable[[Compute], float]) -> float:
    """What is done before there are workers has the whole machine; after that, threads are `compute`'s again."""
    measured = seconds(make_compute(experiment.workers.device, experiment.precision))
    make_compute(compute.device.type, experiment.precision, experiment.workers.cpus_per_worker)
    return measured


def _num_retrained(experiment: Experiment) -> int:
    select = experiment.retrain.select
    if isinstance(select, CountSelection):
        return select.count
    if select == "knees":
        return MOST_KNEES
    return experiment.search.num_individual if select == "all" else len(select)
