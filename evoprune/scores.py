"""The importance of a run's parent: computed once, and kept in the run's folder."""

import pandas as pd

from evoprune.base import Base
from evoprune.compute import make_compute
from evoprune.config import Experiment, ImportanceName
from evoprune.data import load_data
from evoprune.files import write_atomically
from evoprune.importance.criteria import layer_importance
from evoprune.importance.segments import Importance, Scores, segment_scores
from evoprune.run_folder import RunFolder, timed_stage
from evoprune.space import SearchSpace


def scores_of_run(
    experiment: Experiment, space: SearchSpace, base: Base, folder: RunFolder, names: tuple[ImportanceName, ...]
) -> dict[str, Scores]:
    """Scores of every bit of a code, each of shape (space.length,), by the name of the importance."""
    return {name: _scores(experiment, space, base, folder, name) for name in names}


def _scores(experiment: Experiment, space: SearchSpace, base: Base, folder: RunFolder, name: ImportanceName) -> Scores:
    path = folder.importance(name)
    if not path.is_file():
        with timed_stage(folder, f"importance.{name}"):
            _write(experiment, space, base, folder, name)
    return pd.read_csv(path)["score"].to_numpy(dtype=float)


def _write(experiment: Experiment, space: SearchSpace, base: Base, folder: RunFolder, name: ImportanceName) -> None:
    compute = make_compute(experiment.workers.device, experiment.precision)
    data = load_data(experiment.data, compute.device)
    found = layer_importance(name, experiment, space, base.network.to(compute.device), data, compute)
    base.network.cpu()
    folder.note(importance={name: found.facts})
    table = pd.DataFrame(
        {
            "segment": [segment.name for segment in space.segments for _ in range(segment.width)],
            "channel": [channel for segment in space.segments for channel in range(segment.width)],
            "score": segment_scores(space, found.scores),
        }
    )
    path = folder.importance(name)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path.with_name(f"{name}_layers.csv"), _layer_table(found).to_csv(index=False))
    write_atomically(path, table.to_csv(index=False))


def _layer_table(found: Importance) -> pd.DataFrame:
    """A row per channel of every scored layer: what its score was computed from, and the score."""
    tables = [
        pd.DataFrame(
            {
                "layer": layer,
                "channel": range(len(scores)),
                **{part: values[layer] for part, values in found.parts.items()},
                "score": scores,
            }
        )
        for layer, scores in found.scores.items()
    ]
    return pd.concat(tables, ignore_index=True)
