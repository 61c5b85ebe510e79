"""Everything that says something of a code without training its network fully."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from benchmark_tools import append_row, known_rows

from evoprune.config import Fidelity
from evoprune.data.tensors import Data, place_data
from evoprune.evaluation.evaluator import Evaluator
from evoprune.pruning.channels import slim_network
from evoprune.pruning.importance.sensitivity import Curves
from evoprune.pruning.moments import Moments
from evoprune.space.ranking import Scores
from evoprune.space.space import Code, SearchSpace
from evoprune.stages.context import Context
from evoprune.stages.curves import measure_sensitivity
from evoprune.training.batch_norm import recalibrate

FIDELITIES = {"compensated": (0.0, 0.1, 0.25, 0.5, 1.0), "plain": (0.0, 0.1)}
SENSITIVITY_IMAGES, DIVERGENCE_IMAGES = 1000, 2000
Measure = Callable[[Code], float]
"""Larger is better."""


def measure_cheaply(context: Context, rows: list[dict[str, Any]], path: Path) -> pd.DataFrame:
    """Measure the codes of `rows` by all that is not in the table yet; returns the table."""
    known = known_rows(path, ["code", "measure"])
    for name, measure in _measures(context):
        for row in rows:
            if (row["code"], name) not in known:
                started = time.monotonic()
                value = measure(context.space.parse_code(row["code"]))
                entry = {"share": row["share"], "measure": name, "value": value, "seconds": time.monotonic() - started}
                append_row(path, {**entry, "code": row["code"]})
    return pd.read_csv(path)


def _measures(context: Context) -> Iterator[tuple[str, Measure]]:
    base = context.base.network.to(context.compute.device).eval()
    data = place_data(context.dataset.arrays, context.compute.device)
    experiment = context.experiment
    setting = (context.space, base, data, experiment.evaluation, context.compute, experiment.seed)
    for inherit, moments in (("compensated", context.moments), ("plain", None)):
        evaluator = Evaluator(*setting, moments=moments)
        for epochs in FIDELITIES[inherit]:
            yield f"{epochs:g} epochs, {inherit}", partial(_accuracy, evaluator, epochs)
        yield f"divergence, {inherit}", partial(_divergence, context, data, moments)
    curves = measure_sensitivity(context, "magnitude", SENSITIVITY_IMAGES)
    yield "additive sensitivity", partial(_additive, context.space, curves)
    yield "additive least squares error", partial(_additive_error, context.space, context.scores("magnitude"))


def _accuracy(evaluator: Evaluator, epochs: float, code: Code) -> float:
    (measured,) = evaluator.evaluate([code], Fidelity(epochs))
    return float(measured["accuracy"])


@torch.no_grad()
def _divergence(context: Context, data: Data, moments: Moments | None, code: Code) -> float:
    """Minus the Kullback-Leibler divergence of the outputs from the base network's, on validation images."""
    network = slim_network(context.space, context.base.network, code, moments).to(memory_format=torch.channels_last)
    images = context.experiment.evaluation.recalibration_images
    recalibrate(network, data, images, context.compute, context.experiment.seed)
    split, total = data.validation.evenly(DIVERGENCE_IMAGES), 0.0
    for indices in torch.arange(len(split)).split(250):
        inputs = data.normalise(split.batch(indices)[0])
        with context.compute.autocast():
            wanted, got = (F.log_softmax(one(inputs).float(), 1) for one in (context.base.network, network))
        total += float(F.kl_div(got, wanted, reduction="sum", log_target=True))
    return -total / len(split)


def _additive(space: SearchSpace, curves: Curves, code: Code) -> float:
    """Minus the sum of what each group costs alone at the width that it has, in points."""
    rates = [1 - group.of(code).mean() for group in space.groups]
    curve = zip(rates, curves.rates, curves.losses, strict=True)
    return -sum(float(np.interp(rate, known, np.minimum(losses, curves.worst))) for rate, known, losses in curve)


def _additive_error(space: SearchSpace, errors: Scores, code: Code) -> float:
    """Minus the sum of the errors that the criterion `least_squares` leaves each group with, each alone."""
    return -sum(float(np.max(group.of(errors)[group.of(code) == 0], initial=0)) for group in space.groups)
