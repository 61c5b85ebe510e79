"""The latency of candidates: in this process or by the user's command, one at a time on a device."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from evoprune.common.seeds import derive_seed
from evoprune.config import EvaluationConfig, Experiment
from evoprune.data.tensors import Data
from evoprune.evaluation.latency import time_network
from evoprune.evaluation.latency_command import run_latency_command
from evoprune.evaluation.worker import worker_compute
from evoprune.networks.build import network_spec
from evoprune.networks.checkpoints import save_model
from evoprune.networks.device import Compute, device_name
from evoprune.space.space import Code, SearchSpace
from evoprune.workers.turns import Turns


@dataclass(frozen=True)
class LatencyMeter:
    """Measures latency as an experiment says.

    Attributes:
        config: batch size, precision, time limit, command.
        space: the search space.
        data: says what an image is.
        compute: the worker's device.
        turns: of all workers of this device; a measurement waits until it is alone.
    """

    config: EvaluationConfig
    space: SearchSpace
    data: Data
    compute: Compute
    turns: Turns

    def measure(self, network: nn.Module, code: Code) -> dict[str, float | None]:
        """`latency` in ms, and `latency_spread` in percent, which a command does not tell.

        Args:
            network: in eval mode, on the device. It runs as `load_model` gives it: batch norms are not folded.
            code: its code.

        Raises:
            LatencyError: the command has measured nothing.
        """
        if self.config.latency_command is not None:
            return {"latency": self._by_command(self.config.latency_command, network, code), "latency_spread": None}
        shape = (self.config.latency_batch_size, *self.data.validation.image_shape)
        compute = replace(self.compute, bf16=self.config.latency_precision == "bf16")
        network = network.to(memory_format=torch.channels_last)
        with self.turns.alone():
            timing = time_network(network, shape, compute, self.config.latency_limit_s)
        return {"latency": timing.ms, "latency_spread": timing.spread}

    def _by_command(self, command: tuple[str, ...], network: nn.Module, code: Code) -> float:
        facts = {"preprocessing": self.data.preprocessing, "classes": self.data.classes}
        with TemporaryDirectory(prefix="evoprune-latency-") as folder:
            model = Path(folder) / self.space.key(code)
            save_model(network, network_spec(self.space, code), model, code=self.space.format_code(code), **facts)
            with self.turns.alone():
                return run_latency_command(command, model, self.config.latency_limit_s)


def make_meter(experiment: Experiment, space: SearchSpace, data: Data, compute: Compute) -> LatencyMeter | None:
    """What measures latency in a worker; None where the experiment does not ask for it."""
    if not experiment.measures_latency:
        return None
    run = derive_seed(json.dumps(experiment.identity(), sort_keys=True))
    turns = Turns(f"{run:016x}-{_device_id(compute.device)}", experiment.evaluation.time_limit_s)
    return LatencyMeter(experiment.evaluation, space, data, compute, turns)


def latency_facts(experiment: Experiment) -> dict[str, Any]:
    """What latencies of the worker that this runs in hold for, for `run.json`."""
    config = experiment.evaluation
    if config.latency_command is not None:
        return {"command": list(config.latency_command)}
    compute = worker_compute(experiment)
    return {
        "device": device_name(compute.device),
        "threads": experiment.workers.cpus_per_worker,
        "precision": config.latency_precision,
        "batch_size": config.latency_batch_size,
    }


def _device_id(device: torch.device) -> str:
    """What tells the devices of a machine apart, whichever of them a worker sees: all its CPUs are one."""
    return "cpu" if device.type == "cpu" else str(torch.cuda.get_device_properties(device).uuid)
