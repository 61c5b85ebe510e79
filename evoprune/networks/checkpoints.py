"""Models on disk: weights without pickle beside a JSON that rebuilds the network; and other people's checkpoints."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from evoprune.common.errors import UserError, reason_of
from evoprune.common.files import write_atomically
from evoprune.common.model_files import (
    CHECKSUM,
    DESCRIPTION_NAME,
    FORMAT,
    WEIGHTS_NAME,
    check_weights,
    model_folder,
    read_description,
)
from evoprune.common.seals import sealed
from evoprune.networks.build import network_from_spec
from evoprune.networks.sparse_linear import check_csr, with_csr
from evoprune.tracing.surgery import whole_state

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network")


def save_model(network: nn.Module, spec: Mapping[str, Any], folder: str | Path, **info: Any) -> Path:
    """Save a model so that `load_model(folder)` rebuilds it.

    Args:
        network: what to save, with the buffers that its state leaves out; written as float32.
        spec: from `evoprune.networks.network_spec`.
        folder: becomes a folder with `model.safetensors` and `model.json`.
        info: JSON types that go into `model.json` beside the network, such as the key and the preprocessing.
    """
    folder = Path(folder)
    weights = weights_file(network)
    (folder / DESCRIPTION_NAME).unlink(missing_ok=True)  # that of other weights; a model without one is made again
    write_atomically(folder / WEIGHTS_NAME, weights)
    checksum = hashlib.sha256(weights).hexdigest()
    description = {"format": FORMAT, "network": dict(spec), CHECKSUM: checksum, **info}
    write_atomically(folder / DESCRIPTION_NAME, json.dumps(sealed(description), indent=1) + "\n")
    return folder


def weights_file(network: nn.Module) -> bytes:
    """The bytes of `model.safetensors`, as `save_model` writes it."""
    return save({name: _storable(value) for name, value in whole_state(network).items()})


def _storable(value: Tensor) -> Tensor:
    value = value.detach().cpu().clone(memory_format=torch.contiguous_format)  # tied tensors share no memory in a file
    return value.float() if value.is_floating_point() else value


def load_model(path: str | Path, source: str | None = None) -> nn.Module:
    """Load a model that evoprune saved: a `torch.nn.Module` in eval mode on the CPU.

    Args:
        path: the model's folder, or one of the two files in it.
        source: `path/to/mynet.py:make_net`, where the network is made by a file of yours. That file is then imported.

    Raises:
        UserError: no model there, a damaged one, or one that needs `source`.
    """
    folder = model_folder(path)
    description = read_description(folder)
    check_weights(folder, description)
    state = _read_safetensors(folder / WEIGHTS_NAME)
    try:
        network = network_from_spec(description["network"], {name: one.shape for name, one in state.items()}, source)
        with_csr(network, description.get("csr", {}))
        load_state(network, state)
        check_csr(network)
    except UserError as error:
        raise UserError(f"{folder}: {error}") from None
    return network.eval()


def load_weights(network: nn.Module, path: str | Path) -> nn.Module:
    """Load weights into `network`, exactly, and return it.

    Reads models of evoprune (folder or .safetensors), and PyTorch checkpoints of tensors: a `state_dict`, plain or
    wrapped (`{"state_dict": ...}`), names with or without `module.`, shortcuts with 1x1 convolutions or without
    parameters (option A).

    Raises:
        UserError: no such file, a damaged one, one that needs pickled code, or parameters that do not fit, by name.
    """
    state = _read_state(Path(path))
    adapt = getattr(network, "adapt_state", None)
    try:
        load_state(network, adapt(state) if adapt is not None else state)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return network


def _read_state(path: Path) -> dict[str, Tensor]:
    if path.is_dir():
        if (path / DESCRIPTION_NAME).exists():
            check_weights(path, read_description(path))
        return _read_safetensors(path / WEIGHTS_NAME)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # a damaged file makes torch.load raise almost anything
        raise UserError(f"{path}: not a checkpoint of plain tensors: {reason_of(error)}") from None
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path}: holds no state_dict of tensors, but {type(content).__name__}")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: damaged weights: {error}") from None


def full_state(network: nn.Module) -> dict[str, Tensor]:
    """The tensors of a network's state, and the buffers that it leaves out, without gradients; for `load_state`."""
    return {name: value.detach() for name, value in whole_state(network).items()}


def load_state(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load what `full_state` gave, or a `state_dict`; raises UserError where it does not fit exactly."""
    own, persistent = whole_state(network), network.state_dict()
    wanted = {name: value.shape for name, value in own.items()}
    optional = {name for name in wanted if name.endswith("num_batches_tracked") or name not in persistent}
    problems = [
        f"{name} has shape {tuple(value.shape)}, the network's is {tuple(wanted[name])}"
        for name, value in state.items()
        if name in wanted and value.shape != wanted[name]
    ]
    problems += [f"{name} is missing" for name in wanted if name not in state and name not in optional]
    problems += [f"{name} is not in the network" for name in state if name not in wanted]
    if problems:
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise UserError(f"the weights do not fit the network: {'; '.join(problems[:5])}{more}")
    network.load_state_dict(dict(state), strict=False)
    for name in state.keys() - persistent.keys():
        own[name].data = state[name].to(own[name])  # copied into, an expanded one would raise
