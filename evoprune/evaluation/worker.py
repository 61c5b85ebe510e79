"""What the worker that this runs in is: device, precision, threads, candidates at once."""

import math
from collections import Counter
from functools import partial
from typing import Any

import torch
from torch import nn

from evoprune.config import Experiment, WorkersConfig
from evoprune.data.batches import EVALUATION_BATCH
from evoprune.networks.device import Compute, device_name, make_compute
from evoprune.space.costs import BYTES_PER_VALUE, code_costs
from evoprune.space.space import SearchSpace
from evoprune.space.traced import TracedSpace
from evoprune.training.stacked_traced import stacking_fault
from evoprune.workers.jobs import Workers
from evoprune.workers.resources import shape_here, worker_device

MOST_CANDIDATES = 32  # an H200 gains a fifth from 8 to 32 (docs/results/throughput.md)
_SHARE_OF_MEMORY = 0.8
_MAPS_PER_STEP = 2  # maps kept for gradients, and as much again for the gradients and workspace; an estimate
_COPIES_OF_WEIGHTS = 5  # weights, momenta, gradients, bfloat16, spare


def candidates_per_batch(config: WorkersConfig, device: str, space: SearchSpace, batch_size: int) -> int:
    """`workers.candidates_per_batch` as a number: `auto` is 1 on a CPU, and what this machine's GPUs hold otherwise.

    Args:
        config: how many workers share the GPUs.
        device: the workers' `auto`, `cpu` or `cuda`.
        space: the candidates are at most as large as its full network.
        batch_size: images of a training step.
    """
    if config.candidates_per_batch != "auto":
        return config.candidates_per_batch
    if device == "cpu" or not torch.cuda.is_available():
        return 1
    share = shape_here(config).gpus_per_worker or 1.0
    return candidates_that_fit(
        space, batch_size, int(min(1.0, share) * torch.cuda.get_device_properties(0).total_memory)
    )


def candidates_that_fit(space: SearchSpace, batch_size: int, memory_bytes: int) -> int:
    """How many full networks train at once in `memory_bytes`, by a generous estimate; 1 to `MOST_CANDIDATES`."""
    costs = code_costs(space, space.full_code())
    weights = BYTES_PER_VALUE * costs["params"]
    maps = costs["bandwidth"] - weights
    images = max(batch_size, EVALUATION_BATCH // 4)  # without gradients, few of the maps live at a time
    each = _MAPS_PER_STEP * maps * images + _COPIES_OF_WEIGHTS * weights
    return int(min(MOST_CANDIDATES, max(1, _SHARE_OF_MEMORY * memory_bytes // each)))


def worker_compute(experiment: Experiment) -> Compute:
    """Device, precision and threads of the worker that this runs in."""
    config = experiment.workers
    return make_compute(worker_device(config), experiment.precision, config.cpus_per_worker)


def worker_facts(experiment: Experiment) -> dict[str, Any]:
    """What the worker that this runs in is, for `run.json`; it need not be what the process that started it is."""
    compute, threads = worker_compute(experiment), experiment.workers.cpus_per_worker
    return {"device": device_name(compute.device), "precision": compute.precision, "threads": threads}


def describe_workers(workers: Workers, experiment: Experiment) -> list[dict[str, Any]]:
    """What the workers are, for `run.json`: each different device, precision and threads, with how many have it."""
    answers = workers.ask(partial(worker_facts, experiment)).values()
    kinds = Counter(tuple(answer.items()) for answer in answers)
    return [{**dict(kind), "workers": number} for kind, number in kinds.items()]


def codes_per_batch(experiment: Experiment, space: SearchSpace) -> int:
    """Codes of an item of work: what a worker trains at once, but a generation has something for every worker."""
    config = experiment.workers
    most = candidates_per_batch(config, worker_device(config), space, experiment.evaluation.batch_size)
    return min(most, math.ceil(experiment.search.num_individual / shape_here(config).num_workers))


def one_by_one(experiment: Experiment, space: SearchSpace, network: nn.Module) -> str | None:
    """Why the codes of an item do not train together; None where they do, and where an item is one code.

    Args:
        experiment: how many codes an item has.
        space: the search space of `network`.
        network: the base network. Only that of a user, or of a library, may have layers that cannot be stacked.
    """
    if isinstance(space, TracedSpace) and codes_per_batch(experiment, space) > 1:
        return stacking_fault(space, network)
    return None
