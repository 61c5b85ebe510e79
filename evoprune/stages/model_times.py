"""How long a saved model takes in each runtime that runs it here, and how much faster than the base network it is."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from evoprune.common.errors import UserError
from evoprune.common.progress import say
from evoprune.evaluation.latency import LIMIT_S, compare_calls, forward_pass, time_calls
from evoprune.export.onnx_files import OnnxNetwork, is_installed, to_onnx
from evoprune.networks.device import Compute
from evoprune.networks.sparse_linear import check_dense
from evoprune.report.comparison import BATCHES
from evoprune.tracing.graph import export

Calls = Mapping[str, Callable[[int], Callable[[], object]]]
"""By runtime, `torch` or `onnx`: what makes a forward pass for a batch of so many images."""


def model_calls(path: Path, network: nn.Module | OnnxNetwork, shape: tuple[int, ...], compute: Compute) -> Calls:
    """Forward passes of a model in each runtime that can run it here.

    Args:
        path: of the model, for messages.
        network: in eval mode on the compute device, or an ONNX file's.
        shape: of an image, (channels, height, width).
        compute: device and precision of PyTorch's passes.
    """
    if isinstance(network, OnnxNetwork):
        return {"onnx": partial(_onnx_pass, network, shape)}
    calls: dict[str, Callable[[int], Callable[[], object]]] = {
        "torch": lambda batch: forward_pass(network, (batch, *shape), compute)
    }
    if not is_installed():
        return calls
    try:
        check_dense(network)
        example = torch.zeros(2, *shape)
        exported = OnnxNetwork(
            to_onnx(export(deepcopy(network).cpu(), example, any_batch=True), example, {}, fold=True)
        )
    except UserError as error:
        say(f"{path}: not measured in ONNX Runtime: {error}")
        return calls
    return {**calls, "onnx": partial(_onnx_pass, exported, shape)}


def measure_times(calls: Calls, base: Calls | None = None) -> dict[str, Any]:
    """Cells of `evaluation.csv`: for each runtime and batch size `ms`, `median_ms`, `p90_ms`, `spread`,
    `speed_up` and `speed_up_spread`.

    Beside them `waited`, the most that `time_calls` says.

    Args:
        calls: of the model.
        base: of the base network, with which the model takes turns, so that a machine whose speed drifts changes no
            speed-up. None where the model is the base network. A runtime that it lacks has no speed-up.
    """
    found: dict[str, Any] = {"waited": 0.0}
    for runtime, make in calls.items():
        for batch in BATCHES:
            call = make(batch)
            timing = time_calls(call, LIMIT_S)
            found |= {
                f"{runtime}_ms_{batch}": timing.ms,
                f"{runtime}_median_ms_{batch}": timing.median_ms,
                f"{runtime}_p90_ms_{batch}": timing.p90_ms,
                f"{runtime}_spread_{batch}": timing.spread,
                "waited": max(found["waited"], timing.waited),
            }
            if base is None:
                found[f"{runtime}_speed_up_{batch}"] = 1.0
            elif runtime in base:
                compared = compare_calls(call, base[runtime](batch), LIMIT_S)
                found[f"{runtime}_speed_up_{batch}"] = round(1 / compared.ratio, 3)
                found[f"{runtime}_speed_up_spread_{batch}"] = compared.spread
    return found


def _onnx_pass(network: OnnxNetwork, shape: tuple[int, ...], batch: int) -> Callable[[], object]:
    images = np.zeros((batch, *shape), dtype=np.float32)
    return lambda: network.run(images)
