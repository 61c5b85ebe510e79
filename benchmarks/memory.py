"""Does a long search stay healthy? Memory, open files, temporary files of a real search over many cheap candidates.

Usage: python benchmarks/memory.py [--candidates 10000] [--set data.dataset=npz --set data.root=data/cifar10.npz]
Searches the quickstart's space on Ray workers, with searcher and records, at a tiny fidelity: inherited weights as they
are, 64 images recalibrate, nothing is trained. Prints what the driver and its workers hold after 10 %, 50 % and 100 %
of the candidates: private memory in MB, open files, and the files and MB that Ray has written. Then the seconds of
opening and resuming that run.
"""

import argparse
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
from benchmark_tools import markdown, ray_workers

from evoprune.config import Experiment, load_experiment
from evoprune.runs.ownership import open_run_folder
from evoprune.stages.context import Context
from evoprune.stages.pipeline import prepare
from evoprune.stages.search import search

TINY = [
    *("inherit=plain", "data.validation=0.01", "base.epochs=0.5", "search.sensitivity=null", "report.every=1000"),
    *("evaluation.recalibration_images=64", "evaluation.epochs=0", "search.num_individual=64"),
]
SHARES = (0.1, 0.5, 1.0)
LOOK_EVERY_S = 0.05


def private_mb(pid: int | str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


def open_files(pid: int | str) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def written() -> list[int]:
    """Bytes of each file that Ray has written."""
    sizes = []
    for folder in Path(tempfile.gettempdir()).glob("evoprune-ray-*"):
        for path in folder.rglob("*"):
            with suppress(OSError):
                sizes += [path.stat().st_size] * path.is_file()
    return sizes


def look(candidates: int) -> dict[str, Any]:
    """A row of the table; of the workers the largest one counts."""
    workers, files = ray_workers(), written()
    return {
        "candidates": candidates,
        "driver MB": round(private_mb("self")),
        "worker MB": round(max(map(private_mb, workers), default=0)),
        "driver files": open_files("self"),
        "worker files": max(map(open_files, workers), default=0),
        "Ray's files": len(files),
        "Ray's MB": round(sum(files) / 2**20, 1),
    }


class Watch(threading.Thread):
    """Looks at this process and its workers whenever the table has grown far enough."""

    def __init__(self, table: Path, total: int):
        super().__init__(daemon=True)
        self._table, self._wanted = table, [round(share * total) for share in SHARES]
        self.rows: list[dict[str, Any]] = []

    def run(self) -> None:
        """Look once at each share of the candidates."""
        length, number = 0, -1  # the header is no row
        for wanted in self._wanted:
            while number < wanted:
                time.sleep(LOOK_EVERY_S)
                if self._table.is_file():
                    with self._table.open("rb") as file:
                        file.seek(length)
                        new = file.read()
                    length += len(new)
                    number += new.count(b"\n")
            with suppress(OSError):  # the workers may be ending
                self.rows.append(look(number))


def search_once(experiment: Experiment, path: Path) -> float:
    """Open the run in `path`, and search until all is measured; the seconds that it took."""
    began = time.perf_counter()
    with open_run_folder(path, experiment) as folder:
        context = Context(experiment, folder)
        prepare(context)
        search(context)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--candidates", type=int, default=10_000)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    arguments = parser.parse_args()
    usual = load_experiment("quickstart", [*TINY, *arguments.overrides]).search
    generations = (arguments.candidates - usual.random_samples) // usual.num_individual
    overrides = [*TINY, f"search.generations={max(1, generations)}", *arguments.overrides]
    experiment = load_experiment("quickstart", overrides)
    with tempfile.TemporaryDirectory() as work:
        run = Path(work) / "run"
        watch = Watch(run / "reports.csv", experiment.num_evaluations)
        watch.start()
        search_once(experiment, run)
        watch.join(timeout=10)
        print(markdown(pd.DataFrame(watch.rows)))
        print(f"\nopening and resuming: {search_once(experiment, run):.1f} s")


if __name__ == "__main__":
    main()
