"""How fast do slim networks train side by side on a GPU, as they are and as their wider twins? ResNet-20, CIFAR's size.

Usage: python benchmarks/gpu_training.py [--shares 1 0.7 0.4] [--threads 1 8] [--epochs 1] [--images 45000]
A share is that of its channels which each group keeps. First it compares what a twin learns with what the slim network
learns, and a teacher's known outputs with a teacher that is asked, in float32 on this device, and stops where they
differ. Then it prints images per second of all threads together. Images are random pixels.
"""

import argparse
import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Thread

import numpy as np
import torch
from gpu_population import load_images, make_base
from torch import nn

from evoprune import load_search_space
from evoprune.config import DistillationConfig, TrainingConfig
from evoprune.data.tensors import Data
from evoprune.networks.device import Compute, make_compute
from evoprune.pruning.channels import slim_network
from evoprune.pruning.widening import Widened, widen
from evoprune.space.ranking import keep_best
from evoprune.space.space import Code, SearchSpace
from evoprune.training.distillation import Teacher
from evoprune.training.loop import TrainingOptions, train
from evoprune.training.teacher_outputs import all_outputs
from evoprune.workers.threads import own_stream

MULTIPLE = 8
TOLERANCE = 1e-3
FEW_VARIANTS = 1
"""Pixels of padding: with it an image has 18 variants, which are soon computed. A step takes the same time."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("torch sees no CUDA device here; to see this run: --device cpu --width 8 --images 256 --threads 1")
        return 1
    space = load_search_space("resnet20", width=options.width)
    compute = make_compute(options.device, "bf16" if options.device == "cuda" else "fp32")
    data = replace(load_images(options, compute.device), crop=FEW_VARIANTS)
    base = make_base(space, data, compute).eval()
    if not same(space, base, data, Compute(compute.device, bf16=False)):
        return 1
    teacher = Teacher(base, DistillationConfig())
    known = replace(teacher, outputs=all_outputs(base, data, compute))
    device = torch.cuda.get_device_name() if compute.device.type == "cuda" else "CPU"
    print(f"\n{device}, torch {torch.__version__}, {compute.precision}, images per second\n")
    print("| share of channels | threads | slim | twin | twin, distilled | twin, outputs known |")
    print("|---|---|---|---|---|---|")
    for share in options.shares:
        slim, twin = pair(space, base, data, kept_by(space, share))
        ways = ((slim, None), (twin, None), (twin, teacher), (twin, known))
        for threads in options.threads:
            speeds = [speed(way, data, compute, (threads, options.epochs)) for way in ways]
            print(f"| {share:g} | {threads} | {' | '.join(f'{each:,.0f}' for each in speeds)} |", flush=True)
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--shares", type=float, nargs="+", default=[1.0, 0.7, 0.4])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--width", type=int, default=16, help="channels of the first stage")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--images", type=int, default=45_000)
    parser.set_defaults(dataset=None)
    return parser.parse_args(arguments)


def kept_by(space: SearchSpace, share: float) -> Code:
    """The first channels of each group."""
    return keep_best(space, np.zeros(space.length), [int(share * group.width) for group in space.groups])


def pair(space: SearchSpace, base: nn.Module, data: Data, code: Code) -> tuple[nn.Module, nn.Module]:
    """The slim network and what is trained in its place."""
    slim = slim_network(space, base, code)
    twin = twin_of(space, (base, slim), data, code)
    return slim, slim if twin is None else twin.network


def twin_of(space: SearchSpace, networks: tuple[nn.Module, nn.Module], data: Data, code: Code) -> Widened | None:
    images = data.normalise(data.train.batch(torch.arange(16))[0])
    return widen(space, networks, code, MULTIPLE, images)


def same(space: SearchSpace, base: nn.Module, data: Data, compute: Compute) -> bool:
    """Whether a twin learns what its slim network learns, taught by known outputs as by a teacher that is asked."""
    code = kept_by(space, 0.7)
    slim = slim_network(space, base, code)
    twin = twin_of(space, (base, slim), data, code)
    assert twin is not None, "widths of 0.7 are no multiples"
    asked = Teacher(base, DistillationConfig())
    known = replace(asked, outputs=all_outputs(base, data, compute))
    recipe = TrainingConfig(epochs=5 * 32 / len(data.train), batch_size=32, lr=0.01)
    networks = [copy.deepcopy(slim), twin.network, copy.deepcopy(slim)]
    for network, teacher in zip(networks, (asked, asked, known), strict=True):
        list(train(network, data, recipe, compute, TrainingOptions(teacher=teacher)))
    twin.give_back(slim)
    states = [network.state_dict() for network in (networks[0], slim, networks[2])]
    for name, state in (("a twin", states[1]), ("known outputs", states[2])):
        difference = max(float((state[key] - value).abs().max()) for key, value in states[0].items())
        print(f"{name}: weights differ by {difference:.1e} at most after 5 steps; {TOLERANCE:g} is rounding")
        if difference > TOLERANCE:
            print("it does not learn what the slim network learns here: no speeds")
            return False
    return True


def speed(way: tuple[nn.Module, Teacher | None], data: Data, compute: Compute, size: tuple[int, float]) -> float:
    """Images per second of trainings in threads of their own; the second of two rounds counts."""
    (network, teacher), (threads, epochs) = way, size
    networks = [copy.deepcopy(network) for _ in range(threads)]

    def work(each: nn.Module, seed: int) -> Callable[[], None]:
        def run() -> None:
            with own_stream():
                recipe = TrainingConfig(epochs=epochs, batch_size=128, lr=0.01)
                list(train(each, data, recipe, compute, TrainingOptions(seed=seed, teacher=teacher)))

        return run

    for _ in range(2):
        started = time.perf_counter()
        running = [Thread(target=work(each, seed)) for seed, each in enumerate(networks)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        if compute.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    return threads * epochs * len(data.train) / seconds


if __name__ == "__main__":
    raise SystemExit(main())
