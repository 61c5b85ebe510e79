"""Fixtures: a small search space and network, a small experiment on real digits, real CIFAR-10 where it is at hand."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import write_experiment
from helpers import SHARED_DATA, SLOW_SEARCH, TINY, load_data, merge, scramble
from hypothesis import settings
from ray_clusters import open_cluster
from steps import Steps, make_steps
from torch import Tensor

from evoprune import build_network, load_search_space
from evoprune.cli import main
from evoprune.config import DataConfig, Experiment, parse_experiment
from evoprune.data.augment import Plan
from evoprune.data.tensors import Data
from evoprune.space.space import Code, SearchSpace

settings.register_profile("busy", deadline=None)  # a machine that does other work takes longer, and is not wrong
settings.load_profile("busy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Folders whose files take longest come first: else one process is left with such a file when the others end."""
    items.sort(key=lambda item: item.path.parent.name not in ("end_to_end", "workers"))


@pytest.fixture
def make_experiment(tmp_path: Path):
    """A tiny experiment on digits whose base cache lies in the test's own folder; sections can be changed."""

    def make(**changes: Any) -> Experiment:
        document = merge(merge(TINY, {"base": {"cache": str(tmp_path / "cache")}}), changes)
        return parse_experiment(document, "test")

    return make


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One base network for all runs of `tiny` experiments."""
    return tmp_path_factory.mktemp("base")


@pytest.fixture(scope="session")
def tiny(cache: Path):
    """A tiny experiment on digits whose base network is trained once for all tests; sections can be changed."""

    def make(**changes: Any) -> Experiment:
        return parse_experiment(merge(merge(TINY, {"base": {"cache": str(cache)}}), changes), "test")

    return make


@pytest.fixture(scope="session")
def ran(tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished `evoprune run` of the tiny experiment; tests that change it take `copied`."""
    folder = tmp_path_factory.mktemp("ran")
    (folder / "tiny.yaml").write_text(tiny().to_yaml())
    assert main(["run", str(folder / "tiny.yaml"), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(scope="session")
def slow_run(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of the tiny experiment with the changes `SLOW_SEARCH`; tests only read it."""
    folder = tmp_path_factory.mktemp("slow")
    file = write_experiment(folder, base={"cache": str(cache)}, **SLOW_SEARCH)
    assert main(["run", file, "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def ray_address() -> Iterator[str]:
    """Of a Ray cluster with two cores, for all tests of a file: to start one takes longer than most of them."""
    with open_cluster(num_cpus=2) as cluster:
        yield cluster.address


@pytest.fixture
def steps(tmp_path: Path, cache: Path) -> Steps:
    """Runs commands of the four steps in a run of the test's own."""
    return make_steps(tmp_path, cache)


@pytest.fixture(scope="session")
def analysed(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that `evoprune analyse` has left; tests take `stepped`, which copies it."""
    return make_steps(tmp_path_factory.mktemp("analysed"), cache)("analyse", "--images", "60")


@pytest.fixture
def stepped(analysed: Path, tmp_path: Path, cache: Path) -> Steps:
    """As `steps`, in a run that is analysed."""
    shutil.copytree(analysed, tmp_path / "run")
    return make_steps(tmp_path, cache)


@pytest.fixture
def copied(ran: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(ran, tmp_path / "copied"))


@pytest.fixture(scope="session", autouse=True)
def _interrupts_arrive() -> None:
    """Shells start what they put in the background with SIGINT ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _one_cpu() -> Iterator[None]:
    """Networks this small are slower on many threads, and far slower where other work runs beside the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evoprune.networks.device.available_cpus", lambda: 1)
        torch.set_num_threads(1)
        yield


@pytest.fixture(scope="session", autouse=True)
def _locks_of_turns_are_removed_with_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where latency is measured in this process."""
    folder = tmp_path_factory.mktemp("turns")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evoprune.workers.turns.gettempdir", lambda: str(folder))
        yield


@pytest.fixture(scope="session", autouse=True)
def _short_searches_on_predictions() -> Iterator[None]:
    """A quarter of the generations: small spaces need no more, and every search with a surrogate makes several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evoprune.search.proposals.surrogate._GENERATIONS", 10)
        yield


@pytest.fixture(autouse=True)
def _short_timings(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that does other work, each of the dozen timings of `evoprune evaluate` would take ten seconds."""
    monkeypatch.setattr("evoprune.stages.model_times.LIMIT_S", 0.0)


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn on them is the same, and every report takes two thirds of the time."""
    monkeypatch.setattr("evoprune.report.figures._DOTS_PER_INCH", 80)


@pytest.fixture(autouse=True)
def _one_thread(_one_cpu: None) -> None:
    """Also where the test before has had more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_space() -> SearchSpace:
    """ResNet-20 with 4 / 8 / 16 channels for 8x8 images with one channel."""
    return load_search_space("resnet20", width=4, num_classes=10, in_channels=1, image_size=8)


@pytest.fixture
def small_base(small_space: SearchSpace) -> torch.nn.Module:
    """A small base network whose batch norms are not trivial, in eval mode; the same in every run."""
    torch.manual_seed(0)
    return scramble(build_network(small_space), seed=0).eval()


@pytest.fixture(scope="session")
def cifar10_npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real CIFAR-10: 1,000 training images and all test images, as an archive."""
    script = SHARED_DATA / "cifar10" / "unpack.py"
    if not script.is_file():
        pytest.skip("the real CIFAR-10 strips are not beside this checkout")
    out = tmp_path_factory.mktemp("cifar10") / "cifar10.npz"
    subprocess.run([sys.executable, str(script), str(out), "--train-strips", "2"], check=True, capture_output=True)
    return out


@pytest.fixture(scope="session")
def pretrained() -> Path:
    """Folder of the real ResNet-20/32/56 checkpoints with option A shortcuts."""
    folder = SHARED_DATA / "pretrained"
    if not folder.is_dir():
        pytest.skip("the real pretrained weights are not beside this checkout")
    return folder


class ExactData(Data):
    """Inputs of networks in float64, in which the order of sums does not show."""

    def normalise(self, images: Tensor) -> Tensor:
        return super().normalise(images).double()

    def training_batch(self, plan: Plan) -> tuple[Tensor, Tensor]:
        inputs, labels = super().training_batch(plan)
        return inputs.double(), labels


@pytest.fixture
def float64(monkeypatch: pytest.MonkeyPatch):
    """Everything in float64: in float32 rounding grows over steps of training until it hides what is compared."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def exact_data() -> Data:
    """160 real training images, 5 steps an epoch, and 100 to validate."""
    whole = load_data(DataConfig(dataset="digits", validation=0.2, crop=1, flip=True), torch.device("cpu"))
    whole = replace(whole, train=first_images(whole.train, 160), validation=first_images(whole.validation, 100))
    return ExactData(**{field.name: getattr(whole, field.name) for field in fields(whole)})


def first_images(split: Any, count: int) -> Any:
    """The first images of a split that lies in memory."""
    return replace(split, images=split.images[:count], labels=split.labels[:count])


@pytest.fixture
def mixed_codes(small_space: SearchSpace) -> list[Code]:
    """The full code, random ones whose stem and trunk differ, one where they agree, and the smallest of all."""
    rng = np.random.default_rng(0)
    drawn = [small_space.repair(code) for code in rng.integers(0, 2, (4, small_space.length), dtype=np.uint8)]
    agreeing = drawn[0].copy()
    stem, trunk = small_space.segment("stem").slice, small_space.segment("layer1.final").slice
    agreeing[stem] = agreeing[trunk] = [0, 1, 1, 0]
    codes = [drawn[0], small_space.full_code(), drawn[1], agreeing, small_space.smallest_code(), drawn[2]]
    assert [len(small_space.adapters(code)) for code in codes] == [1, 0, 1, 0, 0, 1]
    return codes
