"""The latency of candidates: in this process or by the user's command, one at a time on a device."""

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from evoprune.common.seeds import derive_seed
from evoprune.config import EvaluationConfig, Experiment
from evoprune.data.tensors import Data
from evoprune.evaluation.latency import compare_networks
from evoprune.evaluation.latency_command import run_latency_command
from evoprune.evaluation.worker import worker_compute
from evoprune.networks.build import network_spec
from evoprune.networks.checkpoints import save_model
from evoprune.networks.device import Compute, device_name
from evoprune.pruning.channels import slim_network
from evoprune.space.space import Code, SearchSpace
from evoprune.workers.turns import Turns


@dataclass(frozen=True)
class LatencyMeter:
    """Measures latency as an experiment says.

    Attributes:
        config: batch size, precision, time limit, command.
        space: the search space.
        base: the base network, on the device, in eval mode.
        data: says what an image is.
        compute: the worker's device.
        turns: of all workers of this device; a measurement waits until it is alone.
    """

    config: EvaluationConfig
    space: SearchSpace
    base: nn.Module
    data: Data
    compute: Compute
    turns: Turns

    def measure(self, network: nn.Module, code: Code) -> dict[str, float | None]:
        """Latency now, and what tells how far it can be believed.

        The network takes turns with the base network. So a machine that is slower now than before makes both slower.

        Args:
            network: in eval mode, on the device. It runs as `load_model` gives it: batch norms are not folded.
            code: its code.

        Returns:
            `latency` in ms, and `base_latency`, that of the base network meanwhile, and `latency_spread` in percent.
            A command tells the first one only; the others are None.

        Raises:
            LatencyError: the command has measured nothing.
        """
        if self.config.latency_command is not None:
            printed = self._by_command(self.config.latency_command, network, code)
            return {"latency": printed, "base_latency": None, "latency_spread": None}
        shape = (self.config.latency_batch_size, *self.data.validation.image_shape)
        compute = replace(self.compute, bf16=self.config.latency_precision == "bf16")
        network = network.to(memory_format=torch.channels_last)
        with self.turns.alone():
            found = compare_networks(network, self._reference, shape, compute, self.config.latency_limit_s)
        now = round(found.ratio * found.reference_ms, 4)
        return {"latency": now, "base_latency": found.reference_ms, "latency_spread": found.spread}

    @cached_property
    def _reference(self) -> nn.Module:
        """The base network as its slim networks are timed."""
        return slim_network(self.space, self.base, self.space.full_code()).to(memory_format=torch.channels_last).eval()

    def _by_command(self, command: tuple[str, ...], network: nn.Module, code: Code) -> float:
        facts = {"preprocessing": self.data.preprocessing, "classes": self.data.classes}
        with TemporaryDirectory(prefix="evoprune-latency-") as folder:
            model = Path(folder) / self.space.key(code)
            save_model(network, network_spec(self.space, code), model, code=self.space.format_code(code), **facts)
            with self.turns.alone():
                return run_latency_command(command, model, self.config.latency_limit_s)


def make_meter(
    experiment: Experiment, space: SearchSpace, base: nn.Module, data: Data, compute: Compute
) -> LatencyMeter | None:
    """What measures latency in a worker; None where the experiment does not ask for it."""
    if not experiment.measures_latency:
        return None
    run = derive_seed(json.dumps(experiment.identity(), sort_keys=True))
    turns = Turns(f"{run:016x}-{_device_id(compute.device)}", experiment.evaluation.time_limit_s)
    return LatencyMeter(experiment.evaluation, space, base, data, compute, turns)


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
