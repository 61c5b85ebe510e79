"""Codes in, measurements out: pure, seeded, picklable."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from evoprune.compute import Compute
from evoprune.config import EvaluationConfig
from evoprune.costs import code_costs
from evoprune.data import Data
from evoprune.latency import measure_latency
from evoprune.seeds import derive_seed
from evoprune.space import Code, SearchSpace
from evoprune.surgery import slim_network
from evoprune.training import accuracy, check_deadline, recalibrate, train


@dataclass(frozen=True)
class Evaluator:
    """Measures slim networks with inherited weights on the validation split.

    Attributes:
        space: the search space of `parent`.
        parent: the full network, on the compute device, in eval mode.
        data: training and validation splits on the device; the test split is not in it.
        config: how many images recalibrate batch norm, the recipe of the short training, time limit.
        compute: device and precision.
        seed: the run's seed; that of the short training follows from it and the fidelity, for all codes alike.
        with_latency: whether to measure latency.
    """

    space: SearchSpace
    parent: nn.Module
    data: Data
    config: EvaluationConfig
    compute: Compute
    seed: int
    with_latency: bool = False

    def evaluate(self, codes: Sequence[Code], epochs: float) -> list[dict[str, Any]]:
        """Measure every code; a candidate that fails becomes a measurement with its reason and stops nothing.

        Args:
            codes: 0/1, each of shape (space.length,).
            epochs: length of the short training; 0 recalibrates batch norm and trains nothing.

        Returns:
            For each code `status` (`ok`, `failed`), `error`, `accuracy` in percent on the validation split, the
            closed-form costs, `latency` in ms if asked for, and `seconds`.
        """
        return [self._evaluate_one(code, epochs) for code in codes]

    def _evaluate_one(self, code: Code, epochs: float) -> dict[str, Any]:
        started = time.monotonic()
        costs = code_costs(self.space, code)
        try:
            measured = {"status": "ok", "error": None, **self._measure(code, epochs, started)}
        except Exception as error:  # whatever a candidate does must cost the search one row, not the run
            measured = {"status": "failed", "error": f"{type(error).__name__}: {error}"}
            if self.compute.device.type == "cuda":
                torch.cuda.empty_cache()
        return {**costs, **measured, "seconds": round(time.monotonic() - started, 3)}

    def _measure(self, code: Code, epochs: float, started: float) -> dict[str, Any]:
        limit = self.config.time_limit_s
        deadline = None if limit is None else started + limit
        network = slim_network(self.space, self.parent, code).to(memory_format=torch.channels_last)
        recalibrate(network, self.data, self.config.recalibration_images, self.compute, self.seed)
        check_deadline(deadline)
        if epochs > 0:
            # The same images in the same order for all codes: what differs between two candidates is their codes.
            seed = derive_seed(self.seed, "short training", epochs)
            recipe = self.config.model_copy(update={"epochs": epochs})
            for _ in train(network, self.data, recipe, self.compute, seed, deadline=deadline):
                pass
        measured: dict[str, Any] = {"accuracy": accuracy(network, self.data, self.data.validation, self.compute)}
        check_deadline(deadline)
        if self.with_latency:
            shape = self.data.validation.images.shape[1:]
            measured["latency"] = measure_latency(network, tuple(shape), self.config.latency_batch_size, self.compute)
        return measured
