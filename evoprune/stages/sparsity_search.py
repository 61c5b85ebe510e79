"""NSGA-III over the sparsities of single layers: accuracy against parameters that are not zero."""

import copy
import time
from collections.abc import Iterator, Sequence

import numpy as np
from torch import nn

from evoprune.common.errors import TrainingError, UserError
from evoprune.common.objectives import Row, to_losses
from evoprune.common.progress import Meter, progress, say
from evoprune.config import SearchConfig
from evoprune.evaluation.accuracy import accuracy
from evoprune.networks.counts import count
from evoprune.pruning.weights.layers import output_layers, weight_layers
from evoprune.pruning.weights.masks import apply_masks, smallest_out
from evoprune.pruning.weights.sparsities import Group
from evoprune.report.figures import draw_sparsity_front
from evoprune.report.picks import with_accuracy
from evoprune.report.tables import sparsity_table
from evoprune.runs.folder import timed_stage
from evoprune.runs.table import Table, write_table
from evoprune.search.candidate import Candidate
from evoprune.search.nsga3 import NSGA3Searcher
from evoprune.search.pareto import non_dominated
from evoprune.search.proposals.thresholds import Thresholds
from evoprune.space.levels import KEPT_SHARES, LevelSpace, PrunedLayer, make_level_space
from evoprune.space.limits import make_limits
from evoprune.space.ranking import Scores
from evoprune.stages.workspace import Workspace
from evoprune.training.batch_norm import recalibrate

_OBJECTIVES = ("accuracy", "params")
_FIRST = ("id", "generation", "proposal", "key", "code", "accuracy", "nonzero_params", "nonzero_flops", "seconds")


def search_sparsities(workspace: Workspace) -> str:
    """Evolve a sparsity for each layer; leave all candidates, the front, two baselines and a picture.

    A candidate is measured as the channel search measures its own by default: its weights are pruned by their absolute
    value, batch norm is measured again, nothing is trained. What is in the tables is not measured again.

    Returns:
        The front beside layers that all lose the same share, and beside one ranking of all weights.
    """
    space = level_space(workspace)
    paths = [workspace.context.folder.sweep(name) for name in ("search", "search-baselines", "search-front")]
    paths[0].parent.mkdir(exist_ok=True)
    columns = [*_FIRST, *(f"sparsity.{layer.name}" for layer in space.pruned)]
    table, others = (Table(path, columns, place=("id",)) for path in paths[:2])
    config = workspace.context.experiment.search
    number = config.random_samples + config.generations * config.num_individual
    done = len(table.rows) + len(others.rows)
    with (
        timed_stage(workspace.context.folder, "search.weights"),
        progress("search", number + 2 * len(KEPT_SHARES), done) as meter,
    ):
        measurer = _Measurer(workspace, space, meter, done)
        measurer.evolve(table, config)
        measurer.measure_baselines(others)
    front = front_of(table.rows)
    write_table(paths[2], front, columns)
    pictures = workspace.context.experiment.report.files(paths[2].with_suffix(""))
    draw_sparsity_front(pictures, table.rows, front, others.rows)
    say(f"results: {', '.join(map(str, (paths[0], paths[2], *pictures)))}")
    return sparsity_table(front, others.rows)


def level_space(workspace: Workspace) -> LevelSpace:
    """The levels of all layers but those that write the outputs."""
    network = workspace.context.base.network.to(workspace.compute.device)
    kept = output_layers(network, workspace.example)
    whole, layers = count(network, workspace.example), []
    for layer in weight_layers(network):
        if layer.name not in kept:
            without = copy.deepcopy(network)
            without.get_parameter(layer.parameter).data.zero_()
            gone = whole.nonzero_flops - count(without, workspace.example).nonzero_flops
            nonzero = int(network.get_parameter(layer.parameter).count_nonzero())
            layers.append(PrunedLayer(layer.name, layer.parameter, layer.size, gone // max(1, nonzero)))
    params = whole.params - sum(layer.size for layer in layers)
    flops = whole.flops - sum(layer.size * layer.uses for layer in layers)
    return make_level_space(workspace.context.space.name, layers, (params, flops))


def front_of(rows: Sequence[Row]) -> list[Row]:
    """The rows that no other one dominates, by parameters that are not zero."""
    measured = with_accuracy(rows)
    good = non_dominated(_losses(measured))
    found = (row for row, keep in zip(measured, good, strict=True) if keep)
    return sorted(found, key=lambda row: row["nonzero_params"])


def _losses(rows: Sequence[Row]) -> np.ndarray:
    """Losses, shape (rows, objectives), NaN for a candidate that failed."""
    nothing = dict.fromkeys(_OBJECTIVES, np.nan)
    known = [nothing if row["accuracy"] is None else {**row, "params": row["nonzero_params"]} for row in rows]
    return to_losses(known, _OBJECTIVES)


class _Measurer:
    def __init__(self, workspace: Workspace, space: LevelSpace, meter: Meter, done: int):
        self._workspace, self._space, self._meter, self._done = workspace, space, meter, done

    def evolve(self, table: Table, config: SearchConfig) -> None:
        """Ask, measure, tell, a generation at a time."""
        space, seed = self._space, self._workspace.context.experiment.seed
        search = config.model_copy(update={"objectives": _OBJECTIVES})
        proposal = Thresholds(space, search, self._magnitudes())
        searcher = NSGA3Searcher(space, search, make_limits(space, {}), {"evolution": (1.0, proposal)}, seed)
        for generation in range(config.generations + 1):
            candidates = searcher.ask(config.num_individual if generation else searcher.num_first)
            if not candidates:
                return
            rows = [self._row(table, candidate, generation) for candidate in candidates]
            searcher.tell(candidates, _losses(rows), np.zeros(len(rows)))

    def _magnitudes(self) -> Scores:
        """Of every bit the absolute value of the smallest weight that stays with it."""
        found = []
        for layer in self._space.pruned:
            weight = self._workspace.context.base.network.get_parameter(layer.parameter).detach()
            ordered = weight.abs().flatten().double().sort(descending=True).values.cpu().numpy()
            found += [ordered[max(0, round(share * layer.size) - 1)] for share in KEPT_SHARES]
        return np.array(found)

    def measure_baselines(self, table: Table) -> None:
        """At each level: every layer at this level, and as many weights in one ranking of all layers."""
        for place, (proposal, level) in enumerate(self._baselines()):
            code = self._space.repair(np.tile(np.arange(len(KEPT_SHARES)) <= level, len(self._space.segments)))
            self._row(table, Candidate(place, code, proposal), 0, is_global=proposal == "global")

    def _baselines(self) -> Iterator[tuple[str, int]]:
        yield from ((proposal, level) for level in range(len(KEPT_SHARES)) for proposal in ("uniform", "global"))

    def _row(self, table: Table, candidate: Candidate, generation: int, is_global: bool = False) -> Row:
        known = table.find(candidate.id)
        if known is not None and known["code"] != self._space.format_code(candidate.code):
            raise UserError(
                f"{table.path}: row {candidate.id} has another code than the search asks for: the table was changed, "
                "or written by another version; delete that file, and it is measured again"
            )
        if known is None:
            known = self._measure(candidate, generation, is_global)
            table.append(known)
            self._done += 1
            self._meter.update(self._done)
        return known

    def _measure(self, candidate: Candidate, generation: int, is_global: bool) -> Row:
        started, workspace, code = time.monotonic(), self._workspace, candidate.code
        network = copy.deepcopy(workspace.context.base.network).to(workspace.compute.device).eval()
        found = self._prune(network, self._groups(code, is_global))
        counts = count(network, workspace.example)
        return {
            "id": candidate.id,
            "generation": generation,
            "proposal": candidate.proposal,
            "key": self._space.key(code),
            "code": self._space.format_code(code),
            "accuracy": self._accuracy(network),
            "nonzero_params": counts.nonzero_params,
            "nonzero_flops": counts.nonzero_flops,
            "seconds": round(time.monotonic() - started, 2),
            **{f"sparsity.{layer.name}": found[layer.parameter] for layer in self._space.pruned},
        }

    def _groups(self, code: np.ndarray, is_global: bool) -> list[Group]:
        sparsities, layers = self._space.sparsities(code), self._space.pruned
        if is_global:
            return [Group(tuple(layer.parameter for layer in layers), sparsities[layers[0].name])]
        return [Group((layer.parameter,), sparsities[layer.name]) for layer in layers]

    def _prune(self, network: nn.Module, groups: Sequence[Group]) -> dict[str, float]:
        """Take weights out in place; returns what share of each parameter went."""
        masks = smallest_out(network, groups)
        apply_masks(network, masks)
        return {name: round(1 - float(mask.double().mean()), 6) for name, mask in masks.items()}

    def _accuracy(self, network: nn.Module) -> float | None:
        """Validation accuracy in %; None where an output is not finite, and the candidate has failed."""
        workspace, experiment = self._workspace, self._workspace.context.experiment
        images = experiment.evaluation.recalibration_images
        recalibrate(network, workspace.data, images, workspace.compute, experiment.seed)
        try:
            return accuracy(network, workspace.data, workspace.data.validation, workspace.compute)
        except TrainingError as error:
            say(f"search: {error}")
            return None
