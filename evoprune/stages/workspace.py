"""The workspace of the four steps: networks, masks and tables in `steps/` of a run's folder."""

import copy
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from evoprune.common.errors import UserError
from evoprune.common.files import write_atomically
from evoprune.common.model_files import WEIGHTS_NAME
from evoprune.common.objectives import Row
from evoprune.data.dataset import Split
from evoprune.data.tensors import Data, place_data, to_split
from evoprune.evaluation.accuracy import accuracy
from evoprune.networks.build import build_network, network_spec
from evoprune.networks.checkpoints import load_weights, save_model
from evoprune.networks.counts import count
from evoprune.networks.device import Compute
from evoprune.pruning.weights.masks import Masks
from evoprune.report.tables import steps_table
from evoprune.runs.rounds import MASKS_NAME, STATES, Round, State, base_digest, rounds_of
from evoprune.runs.table import write_table
from evoprune.space.space import Code
from evoprune.stages.context import Context

COLUMNS = (
    *("round", "state", "accuracy", "test_accuracy", "params", "nonzero_params", "flops", "nonzero_flops"),
    *("file_bytes", "zipped_bytes", "model"),
)


class Workspace:
    """What the steps share.

    Attributes:
        context: of the run; its folder has the base network.
    """

    def __init__(self, context: Context):
        self.context = context

    @cached_property
    def compute(self) -> Compute:
        """Device and precision."""
        return self.context.compute

    @cached_property
    def data(self) -> Data:
        """Training and validation images, on the device."""
        return place_data(self.context.dataset.arrays, self.compute.device)

    @cached_property
    def test(self) -> Split:
        """Test images, which are looked at after fine-tuning."""
        return to_split(self.context.dataset.test, self.compute.device)

    @property
    def example(self) -> Tensor:
        """One image as a network takes it."""
        return self.data.normalise(self.data.validation.batch(torch.arange(1))[0])

    def start(self) -> tuple[nn.Module, Masks, Code]:
        """What the next pruning begins with, as it lies on the disk: network of full width, masks, kept channels."""
        known = rounds_of(self.context.folder)
        if not known:
            network = copy.deepcopy(self.context.base.network).to(self.compute.device)
            return network, {}, self.context.space.full_code()
        return self.load(known[-1], "finetuned")

    def load(self, place: Round, state: State) -> tuple[nn.Module, Masks, Code]:
        """A network of full width, its masks, and the code of the channels that are kept.

        Raises:
            UserError: damaged files.
        """
        folder = place.model(state)
        try:
            network = load_weights(build_network(self.context.space), folder).eval().to(self.compute.device)
        except UserError as error:
            raise UserError(f"{error}; delete {folder}, and the command that made it makes it again") from None
        code = self.context.space.parse_code(str(place.description(state).get("code")))
        return network, self._load_masks(network, folder / MASKS_NAME), code

    def save(self, network: nn.Module, masks: Masks, place: tuple[Round, State], facts: Mapping[str, Any]) -> None:
        """Save a network of full width with its masks; what is missing is told by its description, which comes last."""
        each, state = place
        tensors = {name: mask.cpu().contiguous() for name, mask in masks.items()}
        write_atomically(each.model(state) / MASKS_NAME, save(tensors))
        save_model(network, network_spec(self.context.space), each.model(state), **self.facts(network), **facts)

    def facts(self, network: nn.Module) -> dict[str, Any]:
        """What every description has: accuracy on the validation split in %, counts, and where the network is from."""
        return {
            "accuracy": accuracy(network, self.data, self.data.validation, self.compute.exact),
            **asdict(count(network, self.example)),
            "search_space": self.context.space.name,
            "base": base_digest(self.context.folder),
            "preprocessing": self.data.preprocessing,
            "classes": self.data.classes,
        }

    def test_accuracy(self, network: nn.Module) -> float:
        """In %."""
        return accuracy(network, self.data, self.test, self.compute.exact)

    def table(self) -> str:
        """Write `summary.csv` and `summary.md` of all states; returns the table."""
        rows = list(self._rows())
        folder = self.context.folder.steps
        write_table(folder / "summary.csv", rows, COLUMNS)
        table = steps_table(rows)
        write_atomically(folder / "summary.md", table + "\n")
        return table

    def _rows(self) -> Iterator[Row]:
        base = self.context.base
        known = {"accuracy": base.info["validation_accuracy"], "test_accuracy": base.info.get("test_accuracy")}
        counts = asdict(count(base.network.to(self.compute.device), self.example))
        yield {"round": 0, "state": "base", **known, **counts, **_sizes(self.context.folder.base)}
        for each in rounds_of(self.context.folder):
            for state in (state for state in STATES if each.has(state)):
                description = {name: each.description(state).get(name) for name in COLUMNS}
                yield {**description, "round": each.number, "state": state, **_sizes(each.model(state))}

    def _load_masks(self, network: nn.Module, path: Path) -> Masks:
        try:
            masks = load_file(path, device=str(self.compute.device))
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; delete that round's folder, and it is made again") from None
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path}: damaged masks: {error}") from None
        shapes = {name: parameter.shape for name, parameter in network.named_parameters()}
        for name, mask in masks.items():
            if mask.dtype != torch.bool or shapes.get(name) != mask.shape:
                raise UserError(f"{path}: {name} is no mask of this network")
        return masks


def _sizes(model: Path) -> dict[str, Any]:
    content = (model / WEIGHTS_NAME).read_bytes()
    return {"file_bytes": len(content), "zipped_bytes": len(zlib.compress(content)), "model": str(model)}
