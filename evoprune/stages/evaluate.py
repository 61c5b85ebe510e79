"""Saved models and ONNX files -> one row each, beside the base network."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from evoprune.common.errors import TrainingError, UserError, some
from evoprune.common.model_files import (
    WEIGHTS_NAME,
    Preprocessing,
    model_folder,
    preprocessing_of_texts,
    read_description,
    read_preprocessing,
)
from evoprune.common.objectives import WIDEST_SPREAD, Row
from evoprune.common.progress import say
from evoprune.data.dataset import Dataset
from evoprune.data.tensors import to_split
from evoprune.evaluation.accuracy import accuracy
from evoprune.export.onnx_files import OnnxNetwork, count_bytes, count_costs, is_installed
from evoprune.networks.checkpoints import load_model
from evoprune.networks.counts import count
from evoprune.networks.device import CPU, Compute, device_name, make_compute
from evoprune.report.comparison import terminal_tables, write_comparison
from evoprune.stages.model_times import measure_times, model_calls
from evoprune.stages.saved_model import (
    DataRequest,
    check_is_model,
    check_outputs,
    fitted_data,
    known_preprocessing,
    read_dataset,
    run_file,
)

_MOST_WAITED = 10.0
"""Percent of the time in which others may have the processor while a model is timed, before that is said."""


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
    for path in request.models:
        _check_path(path)
    experiment = request.data.experiment(request.models[0])
    if experiment is None:
        raise UserError(f"--data: no run is around {request.models[0]}; name an experiment whose test images are meant")
    dataset, device = read_dataset(experiment, request.models[0]), experiment.workers.device
    compute = replace(make_compute(device, "fp32"), bf16=False)
    base = request.base or _base_beside(request.models[0])
    paths = [*([base] if base is not None else []), *(path for path in request.models if path != base)]
    models = [_load(path, dataset, compute, request.source) for path in paths]  # refused before the first is measured
    if request.out is not None:
        request.out.mkdir(parents=True, exist_ok=True)  # where a file is in the way, that is said before the first too
    rows: list[Row] = []
    base_calls = None
    for model in models:
        say(f"measuring {model.path} ({len(rows) + 1} of {len(paths)})")
        calls = model_calls(model.path, model.network, model.preprocessing.shape, model.compute)
        place = {"device": device_name(model.compute.device), "threads": torch.get_num_threads()}
        rows.append({**_row(model, dataset), **place, **measure_times(calls, base_calls)})
        base_calls = base_calls or calls
    waited = max(row.pop("waited") for row in rows)
    facts = _facts(paths, compute, waited) | {"accuracy": _accuracy_fact(models, dataset, experiment.name)}
    say(terminal_tables(rows))
    for name, value in facts.items():
        say(f"{name}: {value}")
    if request.out is not None:
        write_comparison(request.out, rows, facts)
        say(f"written: {request.out}/  (evaluation.csv, evaluation.json, evaluation.md)")
    return rows


def _facts(paths: Sequence[Path], compute: Compute, waited: float) -> dict[str, str]:
    """How the models were measured; `waited` percent of the time somebody else had the processor."""
    number = torch.get_num_threads()
    threads = f"{number} CPU thread{'s' if number > 1 else ''}, float32"
    facts = {"ONNX Runtime": "not installed; `pip install 'evoprune[export]'` adds it"}
    if is_installed():
        facts["ONNX Runtime"] = f"{version('onnxruntime')} on {device_name(CPU.device)}, {threads}"
    if any(path.suffix != ".onnx" for path in paths):
        facts["PyTorch"] = f"{torch.__version__} on {device_name(compute.device)}, {threads}"
    facts["speed-up"] = f"over {paths[0]}, in turns with it; ~: not known within {WIDEST_SPREAD:g} %"
    if waited > _MOST_WAITED and compute.device.type == "cpu":
        facts["latency"] = (
            f"other processes had the processor for up to {waited:.0f} % of the time: times are too long and speed-ups "
            "unsure; measure again when nothing else runs"
        )
    return facts


def _accuracy_fact(models: Sequence[_Model], dataset: Dataset, name: str) -> str:
    """What accuracies are of; models that know other classes than the images have are told, as they may mean others."""
    fact, classes = f"on {len(dataset.test[1]):,} test images of {name}", dataset.arrays.classes
    for model in models:
        known = model.preprocessing.classes
        if known and classes and known != classes:
            return f"{fact}, whose classes are {some(classes)}; those of {model.path} are {some(known)}"
    return fact


def _base_beside(model: Path) -> Path | None:
    """The base network of a model's run, also where it lies among the models."""
    beside = model_folder(model).parent / "base"
    return run_file(model, "base") or (beside if beside.is_dir() else None)


def _check_path(path: Path) -> None:
    if path.suffix == ".pt2":
        raise UserError(f"{path}: evaluate takes folders of saved models and .onnx files; name the folder it is from")
    check_is_model(path)


def _load(path: Path, dataset: Dataset, compute: Compute, source: str | None) -> _Model:
    known = known_preprocessing(dataset)
    if path.suffix == ".onnx":
        onnx = OnnxNetwork(path)
        preprocessing = preprocessing_of_texts(onnx.facts) or read_preprocessing({}, known)
        assert preprocessing is not None
        model = _Model(path, onnx, preprocessing, CPU)
    else:
        folder = model_folder(path)
        preprocessing = read_preprocessing(read_description(folder), known)
        assert preprocessing is not None
        model = _Model(folder, load_model(folder, source).to(compute.device), preprocessing, compute)
    fitted_data(dataset, preprocessing, CPU.device)
    with torch.no_grad():
        check_outputs(model.network(torch.zeros(2, *preprocessing.shape, device=model.compute.device)), dataset, path)
    return model


def _row(model: _Model, dataset: Dataset) -> Row:
    data = fitted_data(dataset, model.preprocessing, model.compute.device)
    try:
        share = accuracy(model.network, data, to_split(dataset.test, model.compute.device), model.compute)
    except TrainingError as error:
        raise UserError(f"{model.path}: {error}") from None
    return {"model": str(model.path), "accuracy": share, **_costs(model)}


def _costs(model: _Model) -> dict[str, int]:
    if isinstance(model.network, OnnxNetwork):
        return {**count_costs(model.path), "file_bytes": count_bytes(model.path)}
    image = torch.zeros(1, *model.preprocessing.shape, device=model.compute.device)
    size = (model.path / WEIGHTS_NAME).stat().st_size
    counts = count(model.network, image)
    return {"flops": counts.flops, "params": counts.params, "file_bytes": size}
