"""Codes in, measurements out: pure, seeded, picklable."""

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from evoprune.common.errors import LOSS_NOT_FINITE, OUTPUT_NOT_FINITE, TrainingError
from evoprune.common.objectives import FAILED, OK
from evoprune.common.seeds import derive_seed
from evoprune.config import EvaluationConfig, Fidelity, TrainingConfig
from evoprune.data.dataset import Split
from evoprune.data.tensors import Data
from evoprune.evaluation.accuracy import accuracy, stacked_accuracies
from evoprune.evaluation.latency_meter import LatencyMeter
from evoprune.networks.device import Compute
from evoprune.networks.fusion import fused
from evoprune.pruning.channels import inherited_changes, slim_network
from evoprune.pruning.moments import Moments
from evoprune.space.costs import code_costs
from evoprune.space.space import Code, SearchSpace
from evoprune.training.batch_norm import recalibrate
from evoprune.training.loop import TrainingOptions, check_deadline, steps_of, train
from evoprune.training.stacked_training import StackedSetup, StackSizes

_STEPS_TO_FORGET = 30


@dataclass(frozen=True)
class Evaluator:
    """Measures slim networks with inherited weights on the validation split.

    Attributes:
        space: the search space of `base`.
        base: the base network, on the compute device, in eval mode.
        data: training and validation splits on the device; the test split is not in it.
        config: how many images recalibrate batch norm, the recipe of the short training, time limit.
        compute: device and precision.
        seed: the run's seed; that of the short training follows from it and the fidelity, for all codes alike.
        meter: measures latency; None where it is not asked for.
        candidates_at_once: how many candidates train together, as one network; 1 builds each slim network. Either way
            a candidate measures the same but for rounding.
        moments: with which layers make up for what they no longer read; None inherits weights as they are.
    """

    space: SearchSpace
    base: nn.Module
    data: Data
    config: EvaluationConfig
    compute: Compute
    seed: int
    meter: LatencyMeter | None = None
    candidates_at_once: int = 1
    moments: Moments | None = None

    def evaluate(self, codes: Sequence[Code], fidelity: Fidelity, timed: bool = False) -> list[dict[str, Any]]:
        """What `measurements` yields, when all of it is there."""
        return list(self.measurements(codes, fidelity, timed))

    def measurements(self, codes: Sequence[Code], fidelity: Fidelity, timed: bool = False) -> Iterator[dict[str, Any]]:
        """Measure every code; a candidate that fails becomes a measurement with its reason and stops nothing.

        Args:
            codes: 0/1, each of shape (space.length,).
            fidelity: length of the short training (0 epochs recalibrate batch norm and train nothing) and how many
                validation images are scored.
            timed: whether latency is measured, by `meter`, while no other worker of this device works.

        Yields:
            For each code, as soon as it is known, `status` (`ok`, `failed`), `error`, `accuracy` in percent on the
            validation split, the closed-form costs, if asked for what `meter` measures, and `seconds`: of candidates
            that train together an even share.
        """
        num_measured = 0
        while num_measured < len(codes):
            batch = codes[num_measured:][: self._stacks.limit]
            if len(batch) == 1:
                measured = [self._evaluate_one(batch[0], fidelity, timed)]
            else:
                measured = self._evaluate_together(batch, fidelity, timed)
            yield from measured
            num_measured += len(measured)

    @cached_property
    def _stacks(self) -> StackSizes:
        setup = StackedSetup(self.space, self.base, self.data, self.config, self.compute)
        return StackSizes(setup, self.candidates_at_once)

    def _evaluate_one(self, code: Code, fidelity: Fidelity, timed: bool) -> dict[str, Any]:
        started = time.monotonic()
        costs = code_costs(self.space, code)
        try:
            measured = {"status": OK, "error": None, **self._measure(code, fidelity, timed)}
        except Exception as error:  # whatever a candidate does must cost the search one row, not the run
            measured = _failure(error)
        if measured["status"] == FAILED:
            self._free_memory()
        return {**costs, **measured, "seconds": round(time.monotonic() - started, 3)}

    def _measure(self, code: Code, fidelity: Fidelity, timed: bool) -> dict[str, Any]:
        with self._beside():
            deadline = self._deadline(1)
            network = self._slim(code).to(memory_format=torch.channels_last)
            with fused(network, self.compute):
                measured = self._measure_network(network, fidelity, deadline)
        return {**measured, **self._latency(network, code)} if timed else measured

    def _measure_network(self, network: nn.Module, fidelity: Fidelity, deadline: float | None) -> dict[str, Any]:
        if self._must_recalibrate(fidelity):
            recalibrate(network, self.data, self.config.recalibration_images, self.compute, self.seed)
            check_deadline(deadline)
        if fidelity.epochs > 0:
            options = TrainingOptions(self._training_seed(fidelity.epochs), deadline=deadline)
            for _ in train(network, self.data, self._recipe(fidelity), self.compute, options):
                pass
        measured: dict[str, Any] = {"accuracy": accuracy(network, self.data, self._scored(fidelity), self.compute)}
        check_deadline(deadline)
        return measured

    def _evaluate_together(self, codes: Sequence[Code], fidelity: Fidelity, timed: bool) -> list[dict[str, Any]]:
        """Measurements of `codes`, which train together; none where that fails, after which fewer will be tried."""
        started = time.monotonic()
        try:
            with self._beside():
                measured = self._measure_together(codes, fidelity)
        except TrainingError as error:
            measured = [_failure(error)] * len(codes)
        except Exception as error:  # out of memory above all; what no stack bears, a candidate alone may
            warnings.warn(f"{len(codes)} candidates at once failed, trying half as many: {error}", stacklevel=2)
            measured = []
        if not measured:  # here, where the error no longer holds the tensors of its frames
            self._stacks.halve(len(codes))
            self._free_memory()
            return []
        if timed:
            measured = [self._with_latency(code, row) for code, row in zip(codes, measured, strict=True)]
        seconds = round((time.monotonic() - started) / len(codes), 3)
        rows = zip(codes, measured, strict=True)
        return [{**code_costs(self.space, code), **row, "seconds": seconds} for code, row in rows]

    def _measure_together(self, codes: Sequence[Code], fidelity: Fidelity) -> list[dict[str, Any]]:
        deadline = self._deadline(len(codes))
        stacked = self._stacks.of(len(codes))
        stacked.load(codes, [inherited_changes(self.space, self.base, code, self.moments) for code in codes])
        if self._must_recalibrate(fidelity):
            recalibrate(stacked.network, self.data, self.config.recalibration_images, self.compute, self.seed)
            check_deadline(deadline)
        learned = [True] * len(codes)
        if fidelity.epochs > 0:
            learned = stacked.train(fidelity.epochs, self._training_seed(fidelity.epochs), deadline)
        accuracies = stacked_accuracies(stacked.network, self.data, self._scored(fidelity), self.compute)
        check_deadline(deadline)
        return [_outcome(*pair) for pair in zip(learned, accuracies[: len(codes)], strict=True)]

    def _beside(self) -> AbstractContextManager[None]:
        """Candidates run side by side, and not while latency is measured."""
        return nullcontext() if self.meter is None else self.meter.turns.beside()

    def _with_latency(self, code: Code, row: dict[str, Any]) -> dict[str, Any]:
        """The measurement of one of the candidates that trained together, whose slim network is built for this."""
        if row["status"] != OK:
            return row
        try:
            return {**row, **self._latency(self._slim(code), code)}
        except Exception as error:  # as of a candidate alone
            return _failure(error)

    def _slim(self, code: Code) -> nn.Module:
        return slim_network(self.space, self.base, code, self.moments)

    def _latency(self, network: nn.Module, code: Code) -> dict[str, float | None]:
        assert self.meter is not None, "who asks for latency gives a meter"
        return self.meter.measure(network, code)

    def _must_recalibrate(self, fidelity: Fidelity) -> bool:
        """Whether training is too short for running statistics to forget those of the base network (0.9^30 = 4 %)."""
        return steps_of(self._recipe(fidelity), self.data).number < _STEPS_TO_FORGET

    def _recipe(self, fidelity: Fidelity) -> TrainingConfig:
        return self.config.model_copy(update={"epochs": fidelity.epochs})

    def _scored(self, fidelity: Fidelity) -> Split:
        return self.data.validation.evenly(fidelity.validation_images or len(self.data.validation))

    def _training_seed(self, epochs: float) -> int:
        """The same images in the same order for all codes: what differs between two candidates is their codes."""
        return derive_seed(self.seed, "short training", epochs)

    def _deadline(self, num_codes: int) -> float | None:
        """Candidates that train together share the sum of their time limits, and pass or fail it together."""
        limit = self.config.time_limit_s
        return None if limit is None else time.monotonic() + limit * num_codes

    def _free_memory(self) -> None:
        if self.compute.device.type == "cuda":
            torch.cuda.empty_cache()


def _failure(error: Exception) -> dict[str, Any]:
    return {"status": FAILED, "error": f"{type(error).__name__}: {error}"}


def _outcome(learned: bool, accuracy: float | None) -> dict[str, Any]:
    """The measurement of one of the candidates that trained together."""
    if not learned:
        return _failure(TrainingError(LOSS_NOT_FINITE))
    if accuracy is None:
        return _failure(TrainingError(OUTPUT_NOT_FINITE))
    return {"status": OK, "error": None, "accuracy": accuracy}
