"""Times of linear layers and convolutions by sparsity and batch: dense against what torch offers for sparse weights.

Usage: python benchmarks/sparse_inference.py OUT.csv [--quick]

Linear layers: dense, and compressed sparse rows (`evoprune.networks.sparse_linear`). Convolutions: dense, and the same
CSR product on unfolded patches, which is what torch offers. Each time is the shortest of many, as other work on the
machine only adds to it. Outputs are compared too.
"""

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoprune.networks.sparse_linear import CsrLinear

SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
LINEAR = ((512, 512), (4096, 4096))
CONV = ((16, 16, 32), (64, 64, 8), (256, 256, 8))
"""Input channels, output channels, side of the map, of 3x3 convolutions."""


def rows(quick: bool) -> Iterator[dict[str, object]]:
    """A row for each layer, sparsity and batch."""
    for shape in LINEAR[: 1 if quick else None]:
        for sparsity in SPARSITIES[-1:] if quick else SPARSITIES:
            for batch in (1,) if quick else (1, 8, 64):
                yield linear_row(shape, sparsity, batch)
    for conv in CONV[: 1 if quick else None]:
        for sparsity in SPARSITIES[-1:] if quick else SPARSITIES:
            for batch in (1,) if quick else (1, 8):
                yield conv_row(conv, sparsity, batch)


def linear_row(shape: tuple[int, int], sparsity: float, batch: int) -> dict[str, object]:
    torch.manual_seed(0)
    layer = nn.Linear(*shape)
    thin_out(layer.weight, sparsity)
    images = torch.randn(batch, shape[0])
    name = f"linear {shape[0]} -> {shape[1]}"
    return compare(name, sparsity, batch, (layer, CsrLinear.of(layer)), images)


def conv_row(conv: tuple[int, int, int], sparsity: float, batch: int) -> dict[str, object]:
    torch.manual_seed(0)
    inputs, outputs, side = conv
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    thin_out(layer.weight, sparsity)
    flat = nn.Linear(9 * inputs, outputs, bias=False)
    flat.weight.data = layer.weight.data.flatten(1)
    sparse = CsrLinear.of(flat)

    def unfolded(images: Tensor) -> Tensor:
        patches = F.unfold(images, 3, padding=1).transpose(1, 2)
        return sparse(patches).transpose(1, 2).reshape(len(images), outputs, side, side)

    name = f"3x3 conv {inputs} -> {outputs}, {side}x{side}"
    return compare(name, sparsity, batch, (layer, unfolded), torch.randn(batch, inputs, side, side))


@torch.no_grad()
def thin_out(weight: Tensor, sparsity: float) -> None:
    """Set the smallest weights to zero."""
    order = weight.abs().flatten().argsort()
    weight.view(-1)[order[: round(sparsity * len(order))]] = 0


@torch.no_grad()
def compare(
    name: str, sparsity: float, batch: int, ways: tuple[Callable[[Tensor], Tensor], ...], images: Tensor
) -> dict[str, object]:
    """Times of both ways, which take turns, and how far their outputs differ."""
    dense, sparse = (way(images) for way in ways)
    difference = float((dense - sparse).abs().max() / dense.abs().max().clamp(min=1))
    assert difference < 1e-5, (name, difference)
    times: list[list[float]] = [[], []]
    until = time.monotonic() + 1.0
    while time.monotonic() < until or len(times[0]) < 5:
        for way, taken in zip(ways, times, strict=True):
            started = time.perf_counter()
            way(images)
            taken.append(1000 * (time.perf_counter() - started))
    dense_ms, sparse_ms = (round(min(taken), 4) for taken in times)
    known = {"layer": name, "sparsity": sparsity, "batch": batch, "dense_ms": dense_ms, "csr_ms": sparse_ms}
    return {**known, "speedup": round(dense_ms / sparse_ms, 2), "difference": f"{difference:.1e}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = []
    for row in rows(arguments.quick):
        found.append(row)
        print(*row.values(), sep="  ", flush=True)
    with arguments.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)


if __name__ == "__main__":
    main()
