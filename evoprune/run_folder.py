"""The folder of a run: who owns it, what it is, and what is known of how it came about."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from evoprune.config import Experiment, parse_experiment
from evoprune.errors import UserError
from evoprune.files import read_yaml, write_atomically

CONFIG_NAME = "config.yaml"
_PACKAGES = ("evoprune", "torch", "torchvision", "pymoo", "ray", "numpy", "pandas")


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run's files."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved experiment."""
        return self.path / CONFIG_NAME

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
    def base(self) -> Path:
        """The parent network of this run."""
        return self.path / "base"

    def importance(self, name: str) -> Path:
        """Scores of the parent's channels."""
        return self.path / "importance" / f"{name}.csv"

    def sensitivity(self, name: str) -> Path:
        """Accuracy against cut rate of every segment: of an importance, or `prior`, what a search has measured."""
        return self.path / "sensitivity" / f"{name}.csv"

    def pruned(self, name: str) -> Path:
        """The folder of a pruning without a search."""
        return self.path / "pruned" / name

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
        write_atomically(self.run_json, json.dumps(known, indent=1) + "\n")

    def facts(self) -> dict[str, Any]:
        """What `run.json` says."""
        return json.loads(self.run_json.read_text(encoding="utf-8")) if self.run_json.exists() else {}


def run_path(experiment: Experiment, out: Path | None) -> Path:
    """Where a run lies: where the user says, or in `results` under its name."""
    return out or Path("results") / experiment.name


@contextmanager
def open_run_folder(path: Path, experiment: Experiment) -> Iterator[RunFolder]:
    """Create the folder of a run, or go on in the one that is there; no two processes at once.

    Raises:
        UserError: the folder holds another experiment or something else, or a process is working in it.
    """
    folder = RunFolder(path)
    _check_owner(folder, experiment)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be made a folder ({error.strerror}); choose another --out") from None
    with lock_folder(path):
        text = experiment.to_yaml()
        if not folder.config.exists() or folder.config.read_text(encoding="utf-8") != text:
            write_atomically(folder.config, text)
        if not folder.run_json.exists():
            folder.note(name=experiment.name, seed=experiment.seed, started=_now(), **_provenance())
        yield folder


@contextmanager
def timed_stage(folder: RunFolder, stage: str) -> Iterator[None]:
    """Note a stage in `run.json`: its seconds, over all processes that worked on it, and their commits."""
    before = float(folder.facts().get("seconds", {}).get(stage, 0.0))
    started, commit = time.monotonic(), git_commit()
    try:
        yield
    finally:
        seconds = {stage: round(before + time.monotonic() - started, 1)}
        commits = list(folder.facts().get("commits", {}).get(stage, []))
        if commit and commit not in commits:
            commits.append(commit)
        folder.note(seconds=seconds, commits={stage: commits}, finished=_now())


def _check_owner(folder: RunFolder, experiment: Experiment) -> None:
    if folder.path.exists() and not folder.path.is_dir():
        raise UserError(f"{folder.path}: a file is in the way; choose another --out")
    if not folder.config.exists():
        strange = (
            [entry.name for entry in folder.path.iterdir() if entry.name != ".lock"] if folder.path.exists() else []
        )
        if strange:
            raise UserError(
                f"{folder.path}: not empty and not a run (it holds {sorted(strange)[0]}); choose another --out"
            )
        return
    if not folder.reports.exists() and not folder.base.exists():
        return  # an earlier attempt came to nothing: there is nothing to lose
    there = parse_experiment(read_yaml(folder.config), str(folder.config)).identity()
    here = experiment.identity()
    if there != here:
        differences = "; ".join(
            f"{key}: {old!r} there, {new!r} here" for key, old, new in _differences(there, here)[:5]
        )
        raise UserError(f"{folder.path} belongs to another experiment ({differences}); choose another --out")


def _differences(there: Any, here: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    if not (isinstance(there, dict) and isinstance(here, dict)):
        return [] if there == here else [(prefix, there, here)]
    found = []
    for key in dict.fromkeys([*there, *here]):
        found += _differences(there.get(key), here.get(key), f"{prefix}.{key}" if prefix else str(key))
    return found


@contextmanager
def lock_folder(path: Path, wait: bool = False) -> Iterator[None]:
    """Be the only process in a folder; where another is, wait for its end or raise UserError."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    with (path / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            raise UserError(
                f"{path}: another process is working in this run; wait for it or choose another --out"
            ) from None
        yield


def _provenance() -> dict[str, Any]:
    return {"versions": _versions(), "hardware": _hardware()}


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _hardware() -> dict[str, Any]:
    import torch

    from evoprune.compute import device_name

    cpu = device_name(torch.device("cpu"))
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"platform": platform.platform(), "cpu": cpu, "num_cpus": os.cpu_count(), "gpus": gpus}


def git_commit() -> str | None:
    """Commit of the checkout that this package runs from, with `-dirty`; None for an installed wheel."""
    checkout = Path(__file__).resolve().parents[1]
    try:
        if Path(_git(checkout, "rev-parse", "--show-toplevel")).resolve() != checkout:
            return None
        return _git(checkout, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
