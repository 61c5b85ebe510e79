"""How much memory does a folder of images cost? Private memory of the driver and its workers, which read all images.

Usage: python benchmarks/image_memory.py [--images 50000] [--side 96] [--workers 2] [--folder image_memory]
Makes JPEGs of two classes in the folder, decodes them, and has every worker read each training and validation image as
training does. Prints MB: private (RssAnon), and pages of files, which processes share (RssFile).
"""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evoprune.common.progress import say
from evoprune.config import parse_experiment
from evoprune.data.batches import batches
from evoprune.data.dataset import Arrays
from evoprune.data.tensors import place_data
from evoprune.runs.folder import RunFolder
from evoprune.stages.context import Context
from evoprune.workers.dispatch import dispatch
from evoprune.workers.jobs import Job
from evoprune.workers.pool import open_workers

_BATCH_SIZE = 128


def memory_mb() -> tuple[int, int]:
    """Private memory, and pages of files, of this process."""
    status = Path("/proc/self/status").read_text()
    anonymous, files = (int(status.split(f"{name}:")[1].split()[0]) // 1024 for name in ("RssAnon", "RssFile"))
    return anonymous, files


def make_images(folder: Path, count: int, side: int) -> None:
    """`count` JPEGs of smooth noise; those that are there stay."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"class{number % 2}" / f"{number:06}.jpg"
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8))
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse.resize((side + number % 32, side)).save(path)


def reading_job(arrays: Arrays) -> Job:
    """Reads every image once, shuffled and augmented, and says how much memory there was before and after."""
    data = place_data(arrays, torch.device("cpu"))
    rng = torch.Generator().manual_seed(0)

    def job(item: Any) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        before = memory_mb()
        for indices in batches(len(data.train), _BATCH_SIZE, rng):
            data.training_batch(data.plan(indices, rng))
        for indices in batches(len(data.validation), _BATCH_SIZE):
            data.normalise(data.validation.batch(indices)[0])
        yield before, memory_mb()

    return job


def run(folder: Path, count: int, side: int, num_workers: int) -> None:
    make_images(folder / "images", count, side)
    data = {"dataset": "image_folder", "root": str(folder / "images"), "image_size": side}
    workers = {"num_workers": num_workers, "device": "cpu"}
    document = {"name": "image_memory", "data": data, "workers": workers, "search_space": {"name": "resnet20"}}
    experiment = parse_experiment(document, __file__)
    context = Context(experiment, RunFolder(folder / "run"))
    say(f"driver before: {memory_mb()}")
    for fact in context.source.facts():
        say(fact)
    say(f"driver, decoded: {memory_mb()}")
    arrays = context.dataset.arrays
    say(f"driver, split and counted: {memory_mb()}")
    with open_workers(experiment.workers, partial(reading_job, arrays)) as opened:
        for event in dispatch(opened, range(num_workers)):
            before, after = event.value
            say(f"{event.worker} before reading: {before}, after: {after}")
    size = sum(path.stat().st_size for path in (folder / "image_cache").glob("*/images.npy"))
    say(f"decoded images: {size / 2**20:,.0f} MB; all pairs are MB private and MB of files")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("image_memory"))
    arguments = parser.parse_args()
    run(arguments.folder, arguments.images, arguments.side, arguments.workers)


if __name__ == "__main__":
    main()
