"""The rounds of the four steps, in `steps/` of a run's folder, and which step may come next. No torch.

A round prunes, fine-tunes and may be transformed. The next round begins with the fine-tuned network of the one before.
Nothing that a step has left is written again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evoprune.common.errors import UserError
from evoprune.common.files import digest
from evoprune.common.model_files import DESCRIPTION_NAME, WEIGHTS_NAME, read_description
from evoprune.runs.folder import RunFolder

State = Literal["pruned", "finetuned", "transformed"]
STATES: tuple[State, ...] = ("pruned", "finetuned", "transformed")
MASKS_NAME = "masks.safetensors"


@dataclass(frozen=True)
class Round:
    """One round, counted from 1, and its folder."""

    number: int
    path: Path

    def model(self, state: State) -> Path:
        """Where the network of a state lies."""
        return self.path / state

    def has(self, state: State) -> bool:
        """Whether that step has come to its end."""
        return (self.model(state) / DESCRIPTION_NAME).is_file()

    def description(self, state: State) -> dict[str, Any]:
        """What the step has written of its network.

        Raises:
            UserError: a damaged description.
        """
        description = read_description(self.model(state))
        if not isinstance(description.get("pruning"), dict):
            raise UserError(f"{self.model(state)}: not a network of these steps; its description has no pruning")
        return description


def rounds_of(folder: RunFolder) -> list[Round]:
    """The rounds that have begun, in order."""
    found: list[Round] = []
    while (following := _round(folder, len(found) + 1)).has("pruned"):
        found.append(following)
    return found


def round_to_prune(folder: RunFolder, pruning: Mapping[str, Any]) -> Round:
    """The round that does `pruning`: a new one, or the last one where that is what it has done.

    Raises:
        UserError: the last round waits for its fine-tuning.
    """
    known = rounds_of(folder)
    if not known:
        return _round(folder, 1)
    last = known[-1]
    there = last.description("pruned")["pruning"]
    if there == pruning:
        return last
    if not last.has("finetuned"):
        raise UserError(
            f"{last.path} is pruned ({describe(there)}) and not fine-tuned yet; run `evoprune finetune {folder.path}` "
            f"first, or delete that folder to prune otherwise"
        )
    return _round(folder, last.number + 1)


def round_to_finetune(folder: RunFolder, training: Mapping[str, Any]) -> Round:
    """The last round, which is to be fine-tuned or has been, with these keys.

    Raises:
        UserError: nothing is pruned, or the round has been fine-tuned with other keys.
    """
    last = _last(folder, "fine-tune")
    if last.has("finetuned") and (there := last.description("finetuned").get("training")) != training:
        there = there if isinstance(there, dict) else {}
        names = [name for name in {**there, **training} if there.get(name) != training.get(name)]
        other = ", ".join(f"retrain.{name} {there.get(name)}" for name in names)
        raise UserError(
            f"{last.path} is fine-tuned already, with {other}; prune on from there, or delete {last.model('finetuned')}"
        )
    return last


def round_to_transform(folder: RunFolder, csr_from: float) -> Round:
    """The last round, which is fine-tuned, and is to be transformed or has been, with this key.

    Raises:
        UserError: it is not, or nothing is pruned, or the round has been transformed with another key.
    """
    last = _last(folder, "transform")
    if not last.has("finetuned"):
        raise UserError(
            f"{last.path} is pruned and not fine-tuned yet; run `evoprune finetune {folder.path}` before transform"
        )
    there = last.description("transformed").get("csr_from") if last.has("transformed") else None
    if there not in (None, csr_from):  # earlier versions did not say it
        raise UserError(
            f"{last.path} is transformed already, with weights.csr_from {there}; delete {last.model('transformed')} to "
            "transform it otherwise"
        )
    return last


def check_origin(folder: RunFolder, search_space: str) -> None:
    """Refuse rounds that began with another network than the base network of this folder.

    Raises:
        UserError: they did, by their own description.
    """
    for each in rounds_of(folder):
        for state in (state for state in STATES if each.has(state)):
            description = each.description(state)
            if description.get("search_space") != search_space or description.get("base") != base_digest(folder):
                raise UserError(
                    f"{each.model(state)} belongs to another network: it is of {description.get('search_space')} with "
                    f"the base network {description.get('base')}, this is {search_space} with {base_digest(folder)} "
                    f"({folder.base}); take its own ones, or begin anew with another --out"
                )


def base_digest(folder: RunFolder) -> str:
    """What tells base networks apart: a checksum of the weights."""
    try:
        return digest(folder.base / WEIGHTS_NAME)
    except FileNotFoundError:
        raise UserError(
            f"{folder.base / WEIGHTS_NAME}: no such file; `evoprune analyse` or `evoprune prune --weights` makes it"
        ) from None


def describe(pruning: Mapping[str, Any]) -> str:
    """A pruning in a few words, such as `channels, rate-0.3`."""
    if pruning.get("kind") == "channels":
        return f"channels, {pruning.get('target')}"
    weights = pruning.get("weights", {})
    return f"weights, sparsity {weights.get('sparsity')}" + (f", {weights['layers']}" if weights.get("layers") else "")


def _last(folder: RunFolder, verb: str) -> Round:
    known = rounds_of(folder)
    if not known:
        raise UserError(
            f"{folder.path} has nothing to {verb}: no {_round(folder, 1).model('pruned')}; run `evoprune prune FILE "
            "--rate 0.3 --step` or `evoprune prune FILE --weights --sparsity 0.5` first"
        )
    return known[-1]


def _round(folder: RunFolder, number: int) -> Round:
    return Round(number, folder.steps / f"round_{number}")
