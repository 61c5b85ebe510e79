"""A saved model -> one file that runs without evoprune, and that computes what the model computes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from evoprune.common.errors import UserError
from evoprune.common.files import write_atomically
from evoprune.common.model_files import Preprocessing, model_folder, read_description, read_preprocessing
from evoprune.common.progress import say
from evoprune.data.dataset import Dataset
from evoprune.export.folding import fold_batch_norms
from evoprune.export.parity import check_parity
from evoprune.networks.checkpoints import load_model
from evoprune.networks.sparse_linear import check_dense
from evoprune.stages.saved_model import (
    DataRequest,
    check_is_model,
    check_outputs,
    fitted_data,
    known_preprocessing,
    read_dataset,
)
from evoprune.tracing.graph import export

Format = Literal["onnx", "pt2"]
FORMATS: tuple[Format, ...] = ("onnx", "pt2")
_IMAGES = 64
_EXAMPLES = 2
"""A batch of one image would be taken for a number that never changes."""


@dataclass(frozen=True)
class ExportRequest:
    """What is to be exported.

    Attributes:
        model: folder of a saved model.
        format: of the file.
        out: the file; by default it lies in the model's folder.
        fold: whether batch norms become a part of the convolutions before them.
        source: `path/to/mynet.py:make_net`, where the network is made by a file of the user's.
        data: whose images the file is checked on.
    """

    model: Path
    format: Format
    out: Path | None = None
    fold: bool = False
    source: str | None = None
    data: DataRequest = field(default_factory=DataRequest)


def export_model(request: ExportRequest) -> Path:
    """Write the file, after it has been checked against PyTorch; returns where it is.

    Raises:
        UserError: an operator that the format has not, outputs that differ, an unknown input, a missing library.
    """
    check_is_model(request.model)
    if request.model.is_file() and request.model.suffix.removeprefix(".") in FORMATS:
        raise UserError(f"{request.model}: an exported file; name the folder of a saved model")
    if request.out is not None and request.out.is_dir():
        raise UserError(f"--out names a file, such as model.{request.format}; {request.out} is a folder")
    folder = model_folder(request.model)
    description = read_description(folder)
    network = load_model(folder, request.source)
    dataset, why_not = _dataset(request)
    preprocessing = _preprocessing(description, dataset, folder, why_not)
    if dataset is not None:
        data = fitted_data(dataset, preprocessing, torch.device("cpu"))
        some = data.validation.evenly(_IMAGES)
        images = data.normalise(some.batch(torch.arange(len(some)))[0])
        with torch.no_grad():
            check_outputs(network(images[:_EXAMPLES]), dataset, folder)
    else:
        images = random_images(preprocessing)
    content, worst = _export_and_check(request, network, images, preprocessing.to_texts())
    out = request.out or folder / f"model.{request.format}"
    write_atomically(out, content)
    kind = "real images" if dataset is not None else f"random images within the normalised range ({why_not})"
    say(f"checked against PyTorch on {len(images)} {kind}: outputs differ by at most {worst:.1e}")
    say(f"written: {out}  ({len(content):,} bytes)")
    return out


def random_images(preprocessing: Preprocessing) -> Tensor:
    """Inputs as they come from random pixels, shape (images, channels, height, width)."""
    pixels = torch.rand(_IMAGES, *preprocessing.shape, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    return (pixels - mean) / std


def _export_and_check(
    request: ExportRequest, network: torch.nn.Module, images: Tensor, facts: dict[str, str]
) -> tuple[bytes, float]:
    """The file, and the largest difference of its outputs."""
    check_dense(network)
    example = images[:_EXAMPLES].contiguous()
    program = export(network, example, any_batch=True)
    if request.fold:
        program = fold_batch_norms(program, example)
    if request.format == "onnx":
        from evoprune.export.onnx_files import OnnxNetwork, to_onnx

        content = to_onnx(program, example, facts, request.fold)
        return content, check_parity(network, OnnxNetwork(content), images)
    from evoprune.export.pt2_files import from_pt2, to_pt2

    content = to_pt2(program, facts)
    return content, check_parity(network, from_pt2(content), images)


def _dataset(request: ExportRequest) -> tuple[Dataset | None, str]:
    """Images of the data that are named, or of the model's run where they are at hand; else the reason."""
    experiment = request.data.experiment(request.model)
    if experiment is None:
        return None, "no run is around the model; --data FILE names real ones"
    try:
        return read_dataset(experiment, request.model), ""
    except UserError as error:
        if request.data.file is not None:
            raise
        return None, f"those of its run are not at hand: {error}"


def _preprocessing(description: dict, dataset: Dataset | None, folder: Path, why_not: str) -> Preprocessing:
    known = None if dataset is None else known_preprocessing(dataset)
    found = read_preprocessing(description, known)
    if found is None:
        raise UserError(
            f"{folder}: model.json does not say what its images are (image_size, mean, std), and no images are at hand "
            f"({why_not}); --data FILE names an experiment with such images"
        )
    return found
