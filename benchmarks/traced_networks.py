"""Which of torchvision's CNNs can be narrowed, and whether the narrow network computes what the masked one does.

Usage: python benchmarks/traced_networks.py [--networks resnet50 mobilenet_v2] [--size 64] [--codes 2] [--out FOLDER]
Batch norm has random statistics. Networks that stand in the table already are not tried again.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from benchmark_tools import markdown
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

from evoprune import UserError
from evoprune.common.hardware import available_cpus
from evoprune.networks.device import device_name
from evoprune.runs.provenance import git_commit
from evoprune.space.traced_costs import traced_costs
from evoprune.space.repair import repair
from evoprune.tracing.surgery import masked, narrow
from evoprune.space.table import ChannelTable
from evoprune.tracing.trace import trace_channels

NOT_CONVOLUTIONAL = ("vit", "swin", "maxvit")
LEAST_SIZES = {"inception_v3": 96}
Row = dict[str, object]


def names_of_networks() -> list[str]:
    """Torchvision's CNNs for classification."""
    names = models.list_models(module=models)
    return [name for name in names if not name.startswith(NOT_CONVOLUTIONAL)]


def make_network(name: str) -> nn.Module:
    """A network with random weights, and batch norms and layer scales that are not trivial; in eval mode."""
    torch.manual_seed(0)
    keys = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    network = models.get_model(name, weights=None, **keys)
    with torch.no_grad():
        for key, value in network.state_dict(keep_vars=True).items():
            leaf = key.rpartition(".")[2]
            if leaf in ("running_var", "layer_scale") or (leaf == "weight" and value.dim() == 1):
                value.uniform_(0.5, 1.5)
            elif leaf in ("running_mean", "bias"):
                value.normal_(0, 0.2)
    return network.eval()


def count(network: nn.Module, image: Tensor) -> tuple[int, int]:
    """Multiply-adds of a forward pass of one image, as torch counts them, and parameters."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(image)
    flops = counter.get_flop_counts()["Global"]
    layers = sum(number for operator, number in flops.items() if any(word in str(operator) for word in ("conv", "mm")))
    return layers // 2, sum(parameter.numel() for parameter in network.parameters())


def compare(table: ChannelTable, network: nn.Module, images: Tensor, num_codes: int) -> Row:
    """Random codes that keep shares from 0.3 to 0.9: largest difference, and whether the costs are those counted."""
    worst, equal, rng = 0.0, True, np.random.default_rng(0)
    for share in np.linspace(0.3, 0.9, num_codes):
        code = repair(table, rng.random(table.length) < share)
        slim = narrow(table, network, code)
        costs = traced_costs(table, code)
        with torch.no_grad():
            logits, truth = slim(images), masked(table, network, code)(images)
        worst = max(worst, float((logits - truth).abs().max() / truth.abs().max()))
        equal &= (int(costs["flops"][0]), int(costs["params"][0])) == count(slim, images[:1])
    return {"difference": f"{worst:.1e}", "costs equal": equal}


def cover(name: str, size: int, num_codes: int) -> Row:
    """One row of the table."""
    network = make_network(name)
    images = torch.randn(2, 3, *[max(size, LEAST_SIZES.get(name, 0))] * 2)
    begin = time.perf_counter()
    try:
        table = trace_channels(network, images)
    except UserError as error:
        return {"network": name, "pinned": str(error)}
    seconds = round(time.perf_counter() - begin, 1)
    reach = round(table.reach, 3)
    row = {"network": name, "seconds": seconds, "bits": table.length, "segments": len(table.segments), "reach": reach}
    reasons = dict.fromkeys(pin.reason.partition(" in ")[0] for pin in table.pins)
    return {**row, **compare(table, network, images, num_codes), "pinned": "; ".join(reasons)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=names_of_networks())
    parser.add_argument("--size", type=int, default=64, help="side of the images")
    parser.add_argument("--codes", type=int, default=2, help="random codes for each network")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "coverage.csv"
    rows = pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records") if path.is_file() else []
    for name in arguments.networks:
        if name not in {row["network"] for row in rows}:
            rows.append(cover(name, arguments.size, arguments.codes))
            print(rows[-1], flush=True)
            pd.DataFrame(rows).to_csv(path, index=False)
    command = f"`{' '.join(['python', *sys.argv])}` on {available_cpus()} cores, {device_name(torch.device('cpu'))}"
    head = f"{command}, torch {torch.__version__}, commit {git_commit() or 'unknown'}"
    (arguments.out / "coverage.md").write_text(
        f"{head}\n\n{markdown(pd.read_csv(path, dtype=str, keep_default_na=False))}\n"
    )


if __name__ == "__main__":
    main()
