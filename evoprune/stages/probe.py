"""Short measurements on this machine, from which each stage works out how long it will take."""

import math
import time
from collections.abc import Callable
from functools import cached_property

import numpy as np
from torch import nn

from evoprune.config import ScopConfig, TrainingConfig
from evoprune.data.tensors import Data, place_data
from evoprune.evaluation.worker import codes_per_batch, worker_compute
from evoprune.networks.build import build_network
from evoprune.networks.device import Compute, make_compute
from evoprune.pruning.channels import slim_network
from evoprune.search.proposals.random import Random
from evoprune.space.costs import compute_costs
from evoprune.space.space import Code
from evoprune.stages.context import Context
from evoprune.training.loop import TrainingOptions, train
from evoprune.workers.resources import shape_here

_STEPS = 20
_DRAWS = 65


class Probe:
    """Networks of middle size with random weights, as time does not depend on weights.

    Attributes:
        context: of the run.
        compute: as a worker has it.
        data: on its device.
        base: the base network, with random weights.
        codes: codes around the median FLOPs, as many as a worker measures at once.
        num_workers: how many work side by side.
        num_devices: how many GPUs they have; all CPUs are one.
    """

    def __init__(self, context: Context):
        experiment, space = context.experiment, context.space
        self.context = context
        self.compute = worker_compute(experiment)
        self.data: Data = place_data(context.dataset.arrays, self.compute.device)
        self.base = build_network(space).to(self.compute.device).eval()
        self.codes = self._middle_codes(codes_per_batch(experiment, space))
        shape = shape_here(experiment.workers)
        self.num_workers = shape.num_workers
        self.num_devices = max(1, round(shape.num_workers * shape.gpus_per_worker))

    @cached_property
    def slim(self) -> nn.Module:
        """A slim network of middle size."""
        return slim_network(self.context.space, self.base, self.codes[0])

    @property
    def flops_share(self) -> float:
        """Mean FLOPs of `codes`, as a share of the base network's."""
        space = self.context.space
        flops = compute_costs(space, self.codes)["flops"].mean()
        return float(flops / compute_costs(space, space.full_code())["flops"][0])

    def epoch_s(
        self,
        network: nn.Module,
        recipe: TrainingConfig,
        compute: Compute,
        options: TrainingOptions = TrainingOptions(),
    ) -> float:
        """Seconds of an epoch of training, from a few steps."""
        epochs = self.few_epochs(recipe)
        if not epochs:
            return 0.0
        few = recipe.model_copy(update={"epochs": epochs})
        return second_time(lambda: list(train(network, self.data, few, compute, options))) / epochs

    def few_epochs(self, recipe: TrainingConfig | ScopConfig) -> float:
        """Epochs that a few steps are; no more than the recipe has."""
        return min(recipe.epochs, _STEPS * recipe.batch_size / len(self.data.train))

    def on_all_cores(self, seconds: Callable[[Compute], float]) -> float:
        """What `seconds` measures with the whole machine, which is what there is before workers start."""
        experiment = self.context.experiment
        measured = seconds(self.context.compute)
        make_compute(self.compute.device.type, experiment.precision, experiment.workers.cpus_per_worker)
        return measured

    def side_by_side(self, number: int) -> int:
        """How many pieces of work one worker does, of `number`."""
        return math.ceil(number / self.num_workers)

    def _middle_codes(self, count: int) -> Code:
        """The `count` random codes around the median FLOPs."""
        space, config = self.context.space, self.context.experiment.search
        codes = Random(space, config.min_keep).first(max(_DRAWS, count), np.random.default_rng(0))
        flops = compute_costs(space, codes)["flops"]
        first = (len(codes) - count) // 2
        return codes[np.argsort(flops)[first : first + count]]


def second_time(work: Callable[[], object]) -> float:
    """Seconds that `work` takes when it has been done before, and all is compiled."""
    work()
    started = time.monotonic()
    work()
    return time.monotonic() - started
