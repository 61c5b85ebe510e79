"""The folder of a run: where each of its files is, and the facts in `run.json`."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evoprune.common.errors import UserError, reason_of
from evoprune.common.files import digest, read_bounded, write_atomically
from evoprune.common.seals import holds, sealed, unsealed
from evoprune.runs.provenance import git_commit, now

CONFIG_NAME = "config.yaml"
_MOST_BYTES = 16_000_000
_MAPPINGS = {
    *("seconds", "commits", "base", "data_shape", "hardware", "versions", "importance", "latency", "files", "taken"),
}


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run's files."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved experiment."""
        return self.path / CONFIG_NAME

    @property
    def search_space(self) -> Path:
        """The search space of a traced network."""
        return self.path / "search_space.yaml"

    @property
    def reports(self) -> Path:
        """One row per evaluation."""
        return self.path / "reports.csv"

    @property
    def output(self) -> Path:
        """The front."""
        return self.path / "output.csv"

    @property
    def run_json(self) -> Path:
        """Versions, hardware, times."""
        return self.path / "run.json"

    @property
    def progress(self) -> Path:
        """How far a long stage is, while it goes on."""
        return self.path / "progress.json"

    @property
    def base(self) -> Path:
        """The base network of this run."""
        return self.path / "base"

    @property
    def moments(self) -> Path:
        """What the layers of the base network read, for compensation."""
        return self.path / "base" / "moments.safetensors"

    def importance(self, name: str) -> Path:
        """Scores of the base network's channels."""
        return self.path / "importance" / f"{name}.csv"

    def sensitivity(self, name: str) -> Path:
        """Accuracy against pruning rate of every segment: of an importance, or `prior`, what a search has measured."""
        return self.path / "sensitivity" / f"{name}.csv"

    @property
    def sensitivities(self) -> list[Path]:
        """The tables of sensitivity that are there."""
        return sorted((self.path / "sensitivity").glob("*.csv"))

    def pruned(self, name: str) -> Path:
        """The folder of a pruning without a search."""
        return self.path / "pruned" / name

    @property
    def steps(self) -> Path:
        """What the four steps leave: analyse, prune, fine-tune, transform."""
        return self.path / "steps"

    def sweep(self, name: str) -> Path:
        """Accuracy against the share of the weights that go."""
        return self.path / "sweep" / f"{name}.csv"

    def model(self, key: str, seed: int = 0) -> Path:
        """The folder of a fully trained network; further seeds lie inside the first one's."""
        folder = self.path / "models" / key
        return folder if seed == 0 else folder / f"seed_{seed}"

    def note(self, **facts: Any) -> None:
        """Add facts to `run.json`; a mapping is merged into the one that is there."""
        known = self.facts()
        for name, value in facts.items():
            merged = isinstance(value, Mapping) and isinstance(known.get(name), dict)
            known[name] = {**known[name], **value} if merged else value
        write_atomically(self.run_json, json.dumps(sealed(known), indent=1) + "\n")

    def seal(self, path: Path) -> None:
        """Note what the bytes of a file hash to."""
        self.note(files={str(path.relative_to(self.path)): digest(path)})

    def check(self, path: Path) -> None:
        """Raise UserError where the bytes of a file are not those that were noted; of a file without a note none is.

        Where it is no file, whoever reads it says so.
        """
        noted = self.facts().get("files", {}).get(str(path.relative_to(self.path)))
        if noted is not None and path.is_file() and digest(path) != noted:
            raise UserError(f"{path}: damaged: it has changed since it was written")

    def facts(self) -> dict[str, Any]:
        """What `run.json` says.

        Raises:
            UserError: it is damaged.
        """
        if not self.run_json.exists():
            return {}
        try:
            found = json.loads(read_bounded(self.run_json, _MOST_BYTES).decode("utf-8"))
            if not isinstance(found, dict) or not all(isinstance(found.get(name, {}), dict) for name in _MAPPINGS):
                raise ValueError("not the facts of a run")
            if not holds(found):
                raise ValueError("its checksum does not hold")
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(
                f"{self.run_json}: damaged: {reason_of(error)}; remove it, and `evoprune run` notes what it can again"
            ) from None
        return unsealed(found)


@contextmanager
def timed_stage(folder: RunFolder, stage: str) -> Iterator[None]:
    """Note a stage in `run.json`: its seconds, over all processes that worked on it, and their commits."""
    before = folder.facts().get("seconds", {}).get(stage)
    before = float(before) if isinstance(before, int | float) else 0.0
    started, commit = time.monotonic(), git_commit()
    try:
        yield
    finally:
        seconds = {stage: round(before + time.monotonic() - started, 1)}
        known = folder.facts().get("commits", {}).get(stage)
        commits = list(known) if isinstance(known, list) else []
        if commit and commit not in commits:
            commits.append(commit)
        folder.note(seconds=seconds, commits={stage: commits}, finished=now())
