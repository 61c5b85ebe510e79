"""The device and the arithmetic that networks run in."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from evoprune.common.errors import UserError
from evoprune.common.hardware import available_cpus, cpu_name


@dataclass(frozen=True)
class Compute:
    """Where networks run, and whether convolutions run in bfloat16 (weights and statistics stay float32)."""

    device: torch.device
    bf16: bool

    def autocast(self) -> AbstractContextManager[None]:
        """Context in which convolutions and linear layers take bfloat16 where `bf16` is set.

        Without torch's cache of cast weights: a forward pass uses each weight once, and a CUDA graph must cast anew.
        """
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16, cache_enabled=False)

    @property
    def exact(self) -> "Compute":
        """The same device in float32: for accuracies that are published."""
        return Compute(self.device, bf16=False)

    @property
    def tile(self) -> int:
        """Channels of which tensor cores take a multiple at once; 1 where there is no such number."""
        return 8 if self.bf16 and self.device.type == "cuda" else 1

    @property
    def precision(self) -> str:
        """`bf16` or `fp32`."""
        return "bf16" if self.bf16 else "fp32"


CPU = Compute(torch.device("cpu"), bf16=False)
"""The CPU in float32."""


def make_compute(device: str, precision: str, num_threads: int | None = None) -> Compute:
    """Resolve `auto` for this process and set its number of CPU threads (default: all cores it may use).

    Raises:
        UserError: `cuda` where there is none.
    """
    torch.set_num_threads(num_threads or available_cpus())
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("workers.device: got 'cuda', but torch sees no CUDA device here; use auto or cpu")
    torch.backends.cudnn.deterministic = True  # the same seed gives the same rows
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32: bf16 is there for speed
    resolved = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
    bf16 = precision == "bf16" or (precision == "auto" and _has_fast_bf16(resolved))
    return Compute(resolved, bf16)


def device_name(device: torch.device) -> str:
    """The model of a GPU, or of this machine's CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return cpu_name()


def _has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is native, and so faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
