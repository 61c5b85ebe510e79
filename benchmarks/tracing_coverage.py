"""Which CNNs of torchvision and timm can be narrowed, and whether the narrow network computes what the masked one does.

Usage: python benchmarks/tracing_coverage.py [--networks resnet50 timm/dla34] [--timm 110] [--codes 2] [--out FOLDER]
Needs `pip install timm torch-pruning`. Every network has a process of its own. Networks that stand in the table already
are not tried again.
"""

import argparse
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from cnn_zoo import OPTION_A, make_images, make_network, num_classes, timm_names, torchvision_names
from coverage_tables import write_coverage
from own_process import Row, in_process
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch_pruning_coverage import peer_row

from evoprune import UserError
from evoprune.space.repair import repair
from evoprune.space.table import ChannelTable
from evoprune.space.traced_costs import TracedCosts
from evoprune.tracing.surgery import masked, narrow
from evoprune.tracing.trace import trace_channels

LAYERS = re.compile("(conv[123]d|linear)|conv_transpose[123]d")


class Counter(TorchFunctionMode):
    """Counts the multiply-adds of convolutions and linear layers as they are called, from what comes in and out."""

    total = 0

    def __torch_function__(
        self, function: Any, types: Any, given: tuple[Any, ...] = (), named: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of torch, and count it."""
        made = function(*given, **(named or {}))
        if found := LAYERS.fullmatch(getattr(function, "__name__", "")):
            maps, weight = made if found[1] else given[0], given[1]
            self.total += maps.numel() * weight[0].numel()
        return made


def count(network: nn.Module, image: Tensor) -> tuple[int, int]:
    """Multiply-adds of the layers in a forward pass of one image, and parameters."""
    with torch.no_grad(), Counter() as counter:
        network(image)
    return counter.total, sum(parameter.numel() for parameter in network.parameters())


def difference(network: nn.Module, truth: nn.Module, images: Tensor) -> float:
    """The largest difference of two networks' logits, as a share of the largest logit."""
    with torch.no_grad():
        logits, expected = network(images), truth(images)
    return float((logits - expected).abs().max() / expected.abs().max())


def compare(table: ChannelTable, network: nn.Module, images: Tensor, num_codes: int) -> Row:
    """Random codes that keep shares from 0.3 to 0.9: largest difference, and whether the costs are those counted.

    A difference that may be rounding is measured again in double precision.
    """
    worst, equal, rng = 0.0, True, np.random.default_rng(0)
    for share in np.linspace(0.3, 0.9, num_codes):
        code = repair(table, rng.random(table.length) < share)
        slim = narrow(table, network, code)
        costs = TracedCosts(table).of(code)
        off = difference(slim, truth := masked(table, network, code), images)
        worst = max(worst, off if off < 1e-5 else difference(slim.double(), truth.double(), images.double()))
        slim.float()
        equal &= (int(costs["flops"][0]), int(costs["params"][0])) == count(slim, images[:1])
    return {"difference": f"{worst:.1e}", "costs equal": equal}


def our_row(name: str, num_codes: int) -> Row:
    """What the tracer makes of a network."""
    network = make_network(name)
    images = make_images(network)
    begin = time.process_time()
    try:
        table = trace_channels(network, images)
    except UserError as error:
        return {"pixels": images.shape[-1], "status": "unreadable", "pinned": str(error)}
    seconds = round(time.process_time() - begin, 1)
    row = {"pixels": images.shape[-1], "status": "traced", "cpu seconds": seconds, "bits": table.length,
           "segments": len(table.segments), "reach": round(table.reach, 3)}  # fmt: skip
    reasons = dict.fromkeys(pin.reason.partition(" in ")[0] for pin in table.pins)
    return {**row, **compare(table, network, images, num_codes), "pinned": "; ".join(reasons)}


def peer_of(name: str, _: int) -> Row:
    """What Torch-Pruning makes of it."""
    network = make_network(name)
    return peer_row(network, make_images(network), num_classes(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", help="instead of all")
    parser.add_argument("--timm", type=int, default=110, help="how many convolutional networks of timm are drawn")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--codes", type=int, default=2, help="random codes for each network")
    parser.add_argument("--limit", type=int, default=240, help="CPU seconds for each network")
    parser.add_argument("--peer-limit", type=int, default=60, help="CPU seconds that the peer has")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "coverage.csv"
    known = pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records") if path.is_file() else []
    rows: dict[str, Row] = {str(row["network"]): dict(row) for row in known}
    names = arguments.networks or [*OPTION_A, *torchvision_names(), *timm_names(arguments.timm, arguments.seed)]
    for make_row, column, limit in ((our_row, "status", arguments.limit), (peer_of, "peer", arguments.peer_limit)):
        for name in names:
            row = rows.setdefault(name, {"network": name})
            if not row.get(column):
                found = in_process(make_row, column, (name, arguments.codes), limit)
                row |= {key: str(value) for key, value in found.items()}
                print(row, flush=True)
                pd.DataFrame(rows.values()).to_csv(path, index=False)
    write_coverage(path)


if __name__ == "__main__":
    main()
