"""Which narrowed CNNs become files that run elsewhere, and whether these compute what PyTorch computes.

Usage: python benchmarks/export_coverage.py [--networks resnet50 timm/dla34] [--timm 0] [--out FOLDER]
Needs `pip install timm`. Every network of torchvision is traced, a random code keeps about 0.6 of its channels, and the
narrow network is exported as `evoprune export` does it: ONNX and pt2, as it is and with batch norms folded. A cell is
the largest difference of the outputs for 1 and for 3 images, or what the exporter says. Every network has a process of
its own. Networks that stand in the table already are not tried again; it is export_coverage.csv.
"""

import argparse
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from benchmark_tools import describe_machine, markdown
from cnn_zoo import make_images, make_network, timm_names, torchvision_names
from own_process import Row, in_process
from torch import Tensor, nn

from evoprune import UserError
from evoprune.export.folding import fold_batch_norms
from evoprune.export.onnx_files import OnnxNetwork, to_onnx
from evoprune.export.parity import check_parity
from evoprune.export.pt2_files import from_pt2, to_pt2
from evoprune.space.repair import repair
from evoprune.tracing.graph import export
from evoprune.tracing.surgery import narrow
from evoprune.tracing.trace import trace_channels

SHARE, IMAGES = 0.6, 3
KINDS = {f"{kind}{', folded' * fold}": (kind, fold) for kind, fold in product(("onnx", "pt2"), (False, True))}


def exported(network: nn.Module, images: Tensor, kind: str, fold: bool) -> str:
    """The largest difference, or the exporter's reason."""
    try:
        program = export(network, images[:2].contiguous(), any_batch=True)
        if fold:
            program = fold_batch_norms(program, images[:2])
        if kind == "onnx":
            return f"{check_parity(network, OnnxNetwork(to_onnx(program, images[:2], {}, fold)), images):.1e}"
        return f"{check_parity(network, from_pt2(to_pt2(program, {})), images):.1e}"
    except UserError as error:
        return " ".join(str(error).split())[:150]


def export_row(name: str, seed: int) -> Row:
    """What each format makes of a narrowed network."""
    network = make_network(name)
    images = make_images(network)
    images = torch.cat([images, images])[:IMAGES]
    try:
        table = trace_channels(network, images[:2])
    except UserError as error:
        return {"pixels": images.shape[-1], "onnx": f"not traced: {error}"}
    code = repair(table, np.random.default_rng(seed).random(table.length) < SHARE)
    slim = narrow(table, network, code).eval()
    return {"pixels": images.shape[-1], **{name: exported(slim, images, *kind) for name, kind in KINDS.items()}}


def is_number(cell: str) -> bool:
    """Whether a cell is a difference."""
    return cell[:1].isdigit()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", help="instead of all")
    parser.add_argument("--timm", type=int, default=0, help="how many convolutional networks of timm are drawn")
    parser.add_argument("--limit", type=int, default=400, help="CPU seconds for each network")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "export_coverage.csv"
    rows = pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records") if path.is_file() else []
    drawn = timm_names(arguments.timm, 0) if arguments.timm else []
    for name in arguments.networks or [*torchvision_names(), *drawn]:
        if all(row["network"] != name for row in rows):
            found = in_process(export_row, "onnx", (name, 0), arguments.limit)
            rows.append({"network": name, **{key: str(value) for key, value in found.items()}})
            print(rows[-1], file=sys.stderr, flush=True)
            pd.DataFrame(rows, columns=["network", "pixels", *KINDS]).to_csv(path, index=False)
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    good = {name: int(table[name].map(is_number).sum()) for name in KINDS}
    words = ", ".join(f"{name} {number}" for name, number in good.items())
    text = f"{describe_machine()}\n\nOf {len(table)} networks: {words}.\n\n{markdown(table)}\n"
    path.with_suffix(".md").write_text(text)
    print(words)


if __name__ == "__main__":
    main()
