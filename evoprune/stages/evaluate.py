"""Saved models and ONNX files -> one row each, beside the base network."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from evoprune.common.errors import TrainingError, UserError
from evoprune.common.model_files import (
    WEIGHTS_NAME,
    Preprocessing,
    model_folder,
    preprocessing_of_texts,
    read_description,
    read_preprocessing,
)
from evoprune.common.objectives import Row
from evoprune.common.progress import say
from evoprune.data.dataset import Dataset
from evoprune.data.tensors import to_split
from evoprune.evaluation.accuracy import accuracy
from evoprune.evaluation.latency import LIMIT_S, Timing, time_calls, time_network
from evoprune.export.onnx_files import OnnxNetwork, count_costs, is_installed, to_onnx
from evoprune.networks.checkpoints import load_model
from evoprune.networks.device import CPU, Compute, device_name, make_compute
from evoprune.report.comparison import BATCHES, comparison_table, with_speed_ups, write_comparison
from evoprune.stages.saved_model import DataRequest, fitted_data, read_dataset, run_file
from evoprune.tracing.graph import export


@dataclass(frozen=True)
class EvaluateRequest:
    """What is to be evaluated.

    Attributes:
        models: folders of saved models, and .onnx files.
        base: what they are compared with; by default the base network of the first one's run, or the first one.
        out: folder of the tables; None writes none.
        source: `path/to/mynet.py:make_net`, where networks are made by a file of the user's.
        data: whose test images are meant.
    """

    models: tuple[Path, ...]
    base: Path | None = None
    out: Path | None = None
    source: str | None = None
    data: DataRequest = field(default_factory=DataRequest)


@dataclass(frozen=True)
class _Model:
    """A model in memory, and where it runs."""

    path: Path
    network: nn.Module
    preprocessing: Preprocessing
    compute: Compute


def evaluate(request: EvaluateRequest) -> list[Row]:
    """Print the table of all models, and write it where it is wanted; returns its rows.

    Raises:
        UserError: no data are named, images of another shape, something that is no model.
    """
    experiment = request.data.experiment(request.models[0])
    if experiment is None:
        raise UserError(f"--data: no run is around {request.models[0]}; name an experiment whose test images are meant")
    dataset, device = read_dataset(experiment), experiment.workers.device
    compute = replace(make_compute(device, "fp32"), bf16=False)
    base = request.base or _base_beside(request.models[0])
    paths = [*([base] if base is not None else []), *(path for path in request.models if path != base)]
    rows = with_speed_ups([_row(_load(path, dataset, compute, request.source), dataset) for path in paths])
    threads = f"{torch.get_num_threads()} CPU threads, float32"
    facts = {
        "PyTorch": f"{torch.__version__} on {device_name(compute.device)}, {threads}",
        "ONNX Runtime": f"on {device_name(CPU.device)}, {threads}"
        if is_installed() else "not installed; `pip install 'evoprune[export]'` adds it",
        "accuracy": f"on {len(dataset.test[1]):,} test images of {experiment.name}",
        "speed-up": f"over {paths[0]}",
    }  # fmt: skip
    say(comparison_table(rows))
    for name, value in facts.items():
        say(f"{name}: {value}")
    if request.out is not None:
        write_comparison(request.out, rows, facts)
        say(f"written: {request.out}/  (evaluation.csv, evaluation.json, evaluation.md)")
    return rows


def _base_beside(model: Path) -> Path | None:
    """The base network of a model's run, also where it lies among the models."""
    beside = model_folder(model).parent / "base"
    return run_file(model, "base") or (beside if beside.is_dir() else None)


def _load(path: Path, dataset: Dataset, compute: Compute, source: str | None) -> _Model:
    arrays = dataset.arrays
    _, height, width, _ = arrays.train[0].shape
    known = {"mean": arrays.mean, "std": arrays.std, "image_size": (height, width)}
    if path.suffix == ".onnx":
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        network = OnnxNetwork(path)
        preprocessing = preprocessing_of_texts(network.facts) or read_preprocessing({}, known)
        assert preprocessing is not None
        return _Model(path, network, preprocessing, CPU)
    folder = model_folder(path)
    preprocessing = read_preprocessing(read_description(folder), known)
    assert preprocessing is not None
    return _Model(folder, load_model(folder, source).to(compute.device), preprocessing, compute)


def _row(model: _Model, dataset: Dataset) -> Row:
    data = fitted_data(dataset, model.preprocessing, model.compute.device)
    try:
        share = accuracy(model.network, data, to_split(dataset.test, model.compute.device), model.compute)
    except TrainingError as error:
        raise UserError(f"{model.path}: {error}") from None
    return {"model": str(model.path), "accuracy": share, **_costs(model), **_times(model)}


def _costs(model: _Model) -> dict[str, int]:
    if isinstance(model.network, OnnxNetwork):
        return {**count_costs(model.path), "file_bytes": model.path.stat().st_size}
    image = torch.zeros(1, *model.preprocessing.shape, device=model.compute.device)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model.network(image)
    params = sum(parameter.numel() for parameter in model.network.parameters())
    size = (model.path / WEIGHTS_NAME).stat().st_size
    return {"flops": counter.get_total_flops() // 2, "params": params, "file_bytes": size}


def _times(model: _Model) -> dict[str, Any]:
    """Latency of each runtime that can run the model here; nothing of the others."""
    times: dict[str, Any] = {}
    shape = model.preprocessing.shape
    if isinstance(model.network, OnnxNetwork):
        return _named("onnx", partial(_time_onnx, model.network, shape))
    times |= _named("torch", lambda batch: time_network(model.network, (batch, *shape), model.compute, LIMIT_S))
    if not is_installed():
        return times
    try:
        example = torch.zeros(2, *shape)
        program = export(model.network.cpu(), example, any_batch=True)
        network = OnnxNetwork(to_onnx(program, example, {}, fold=True))
    except UserError as error:
        say(f"{model.path}: not measured in ONNX Runtime: {error}")
        return times
    return times | _named("onnx", partial(_time_onnx, network, shape))


def _time_onnx(network: OnnxNetwork, shape: tuple[int, ...], batch: int) -> Timing:
    images = np.zeros((batch, *shape), dtype=np.float32)
    return time_calls(lambda: network.run(images), LIMIT_S)


def _named(runtime: str, measure: Callable[[int], Timing]) -> dict[str, float]:
    found: dict[str, float] = {}
    for batch in BATCHES:
        timing = measure(batch)
        found |= {
            f"{runtime}_ms_{batch}": timing.ms,
            f"{runtime}_p90_ms_{batch}": timing.p90_ms,
            f"{runtime}_spread_{batch}": timing.spread,
        }
    return found
