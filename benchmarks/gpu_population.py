"""Are candidates that train together faster than slim networks one after another? ResNet-20 on images of CIFAR's size.

Usage: python benchmarks/gpu_population.py [--sizes 1 4 8 16 32 64] [--epochs 0.5] [--dataset npz --root FILE]
First it compares both on this device, and a training here with the same on the CPU, and stops where they differ. Then
it prints a table: candidates per hour, each recalibrated, trained for some epochs and scored, and the peak of the
device's memory. Images are random pixels unless a data set is named: speed does not depend on them.
"""

import argparse
import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import numpy as np
import torch
from torch import Tensor, nn

from evoprune import build_network, load_search_space
from evoprune.common.objectives import OK
from evoprune.config import DataConfig, EvaluationConfig, Fidelity
from evoprune.data.augment import Plan, crop_and_flip
from evoprune.data.dataset import Part, RawData
from evoprune.data.sources import load_raw_data
from evoprune.data.tensors import Data, make_data
from evoprune.evaluation.accuracy import stacked_accuracies
from evoprune.evaluation.evaluator import Evaluator
from evoprune.networks.device import CPU, Compute, make_compute
from evoprune.pruning.channels import inherited_changes, slim_network
from evoprune.space.space import Code, SearchSpace
from evoprune.training.batch_norm import recalibrate
from evoprune.training.loop import train
from evoprune.training.stacked_training import StackedSetup, StackedTraining

RECIPE = EvaluationConfig(batch_size=128, lr=0.05)
TOLERANCES = {"fp32": 1e-3, "bf16": 0.1, "float64, trained": 1e-4, "float64, trained on the CPU": 1e-4}
MOST_SLIM = 4
"""Slim networks take the same time each, however many there are: so many are timed."""

Way = Callable[[Sequence[Code], float], object]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("torch sees no CUDA device here; to see this run: --device cpu --width 4 --images 32 --sizes 2")
        return 1
    space = load_search_space("resnet20", width=options.width)
    compute = make_compute(options.device, "bf16" if options.device == "cuda" else "fp32")
    data = load_images(options, compute.device)
    setup = StackedSetup(space, make_base(space, data, compute), data, RECIPE, compute)
    if not same(setup):
        return 1
    device = torch.cuda.get_device_name() if compute.device.type == "cuda" else "CPU"
    print(f"\n{device}, torch {torch.__version__}, {compute.precision}, {options.epochs:g} epochs\n")
    print("| candidates at once | way | candidates per hour | peak memory, MiB |\n|---|---|---|---|")
    for size in options.sizes:
        for name, graph in (("together, a CUDA graph", True), ("together, no graph", False), ("slim networks", None)):
            if graph and compute.device.type != "cuda":
                continue
            speed, memory = measure(setup, size, graph, options.epochs)
            print(f"| {size} | {name} | {speed:,.0f} | {memory:,.0f} |", flush=True)
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 4, 8, 16, 32, 64])
    parser.add_argument("--width", type=int, default=16, help="channels of the first stage")
    parser.add_argument("--epochs", type=float, default=0.5)
    parser.add_argument("--images", type=int, default=45_000, help="training images, where they are random pixels")
    parser.add_argument("--dataset", choices=["cifar10", "npz"], help="measure on these images instead")
    parser.add_argument("--root", default="data", help="as data.root of an experiment")
    return parser.parse_args(arguments)


def load_images(options: argparse.Namespace, device: torch.device) -> Data:
    if options.dataset is not None:
        config = DataConfig(dataset=options.dataset, root=options.root)
        return make_data(load_raw_data(config), config, device)
    rng = np.random.default_rng(0)

    def part(count: int) -> Part:
        return rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, count)

    raw = RawData(part(options.images), part(1), part(max(1, options.images // 9)), num_classes=10)
    return make_data(raw, DataConfig(dataset="npz", validation="own"), device)


def make_base(space: SearchSpace, data: Data, compute: Compute) -> nn.Module:
    torch.manual_seed(0)
    base = build_network(space).to(compute.device)
    recalibrate(base, data, RECIPE.recalibration_images, compute)
    return base


def draw_codes(space: SearchSpace, count: int) -> list[Code]:
    """The full network, and random codes that keep half of the channels."""
    drawn = np.random.default_rng(0).integers(0, 2, (count, space.length), dtype=np.uint8)
    return [space.full_code(), *(space.repair(code) for code in drawn)][:count]


class ExactData(Data):
    """Images for networks in float64."""

    def normalise(self, images: Tensor) -> Tensor:
        """As `Data.normalise`, float64."""
        return (images.double() / (255 * self.std) - self.mean / self.std).to(memory_format=torch.channels_last)

    def training_batch(self, plan: Plan) -> tuple[Tensor, Tensor]:
        """As `Data.training_batch`, float64, and the same on every device."""
        images, labels = self.train.batch(plan.indices)
        return self.normalise(crop_and_flip(images, self.crop, plan.drawn)), labels


def same(setup: StackedSetup) -> bool:
    """Whether candidates together compute what their slim networks compute, and learn it in float64.

    In less than float64 two steps of training are enough for rounding to hide a mistake.
    """
    fp32 = replace(setup, compute=Compute(setup.compute.device, bf16=False))
    found = {"fp32": largest_difference(fp32, 0), setup.compute.precision: largest_difference(setup, 0)}
    data = ExactData(**{field.name: getattr(setup.data, field.name) for field in fields(setup.data)})
    torch.set_default_dtype(torch.float64)
    exact = replace(fp32, base=copy.deepcopy(setup.base).double(), data=data)
    found["float64, trained"] = largest_difference(exact, 2)
    found["float64, trained on the CPU"] = difference_from_cpu(exact, 5)
    torch.set_default_dtype(torch.float32)
    for name, difference in found.items():
        print(f"{name}: logits differ by {difference:.1e} at most; {TOLERANCES[name]:g} is rounding")
    if all(difference < TOLERANCES[name] for name, difference in found.items()):
        return True
    print("candidates that train together are not their slim networks here: no speeds")
    return False


def largest_difference(setup: StackedSetup, num_steps: int) -> float:
    """Between logits together and alone, after steps of training, beside a candidate with infinite weights."""
    space, base, data, compute = setup.space, setup.base, setup.data, setup.compute
    codes = draw_codes(space, 2)
    epochs = num_steps / (len(data.train) // min(RECIPE.batch_size, len(data.train)))
    recipe = RECIPE.model_copy(update={"epochs": epochs})
    stacked = StackedTraining(replace(setup, recipe=recipe), len(codes) + 1)
    images = data.normalise(data.validation.images[:64])
    worst = 0.0
    for _ in range(2):  # the second training replays what the first has captured
        stacked.load([*codes, codes[0]], [inherited_changes(space, base, code) for code in [*codes, codes[0]]])
        stacked.network.get_submodule("network.linear").weight.data[-10:] = float("inf")
        alone = [slim_network(space, base, code) for code in codes]
        for network in (stacked.network, *alone):
            recalibrate(network, data, 128, compute)
        if num_steps:
            stacked.train(epochs, seed=0)
        for network in alone:
            for _ in train(network, data, recipe, compute):
                pass
        with torch.no_grad(), compute.autocast():
            together = stacked.network.eval()(images)[:, :-1].float()
            wanted = torch.stack([network.eval()(images) for network in alone], dim=1).float()
        worst = max(worst, float((together - wanted).abs().nan_to_num(torch.inf).max()))
    return worst


def difference_from_cpu(setup: StackedSetup, num_steps: int) -> float:
    """Between the logits of a slim network that has trained on this device and of one that has on the CPU."""
    recipe = RECIPE.model_copy(update={"epochs": num_steps / max(1, len(setup.data.train) // RECIPE.batch_size)})
    code, logits = draw_codes(setup.space, 2)[1], []
    for compute in (setup.compute, CPU):
        moved = {field.name: getattr(setup.data, field.name) for field in fields(setup.data)}
        moved |= {name: moved[name].to(compute.device) for name in ("mean", "std")}
        for name in ("train", "validation"):
            split = moved[name]
            moved[name] = replace(split, images=split.images.to(compute.device), labels=split.labels.to(compute.device))
        data = ExactData(**moved)
        network = slim_network(setup.space, copy.deepcopy(setup.base), code).to(compute.device)
        for _ in train(network, data, recipe, compute):
            pass
        with torch.no_grad():
            logits.append(network(data.normalise(data.validation.images[:64])).cpu())
    return float((logits[0] - logits[1]).abs().max())


def measure(setup: StackedSetup, size: int, graph: bool | None, epochs: float) -> tuple[float, float]:
    """Candidates per hour and peak memory in MiB, after a run that warms up; `graph` None: slim networks."""
    clear_memory(setup.compute)
    codes = draw_codes(setup.space, min(size, MOST_SLIM) if graph is None else size)
    run = one_by_one(setup) if graph is None else together(setup, size, graph)
    try:
        run(codes, epochs / 10)
        started = time.perf_counter()
        run(codes, epochs)  # ends with accuracies, so the device has finished
    except torch.cuda.OutOfMemoryError:
        return float("nan"), float("nan")
    speed = 3600 * len(codes) / (time.perf_counter() - started)
    peak = torch.cuda.max_memory_reserved() if setup.compute.device.type == "cuda" else float("nan")
    return speed, peak / 2**20


def one_by_one(setup: StackedSetup) -> Way:
    evaluator = Evaluator(setup.space, setup.base, setup.data, RECIPE, setup.compute, seed=0)

    def run(codes: Sequence[Code], epochs: float) -> object:
        measured = evaluator.evaluate(codes, Fidelity(epochs))
        assert all(row["status"] == OK for row in measured), measured
        return measured

    return run


def together(setup: StackedSetup, size: int, graph: bool) -> Way:
    stacked = StackedTraining(setup, size, graph)

    def run(codes: Sequence[Code], epochs: float) -> object:
        stacked.load(codes, [inherited_changes(setup.space, setup.base, code) for code in codes])
        recalibrate(stacked.network, setup.data, RECIPE.recalibration_images, setup.compute)
        stacked.train(epochs, seed=0)
        return stacked_accuracies(stacked.network, setup.data, setup.data.validation, setup.compute)

    return run


def clear_memory(compute: Compute) -> None:
    if compute.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    raise SystemExit(main())
