"""Device and precision, as the machine has them."""

import pytest
import torch

from evoprune import UserError
from evoprune.common.hardware import cpu_name
from evoprune.networks.device import CPU, Compute, device_name, make_compute


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ({"avx512_bf16"}, "bf16"),
        ({"amx_bf16", "amx_tile"}, "bf16"),
        ({"avx512_f", "avx2", "amx_tile"}, "fp32"),
        ({}, "fp32"),
    ],
)
def test_auto_is_bf16_only_where_the_cpu_has_it(monkeypatch, flags, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {name: True for name in flags})
    assert make_compute("cpu", "auto").precision == precision
    assert make_compute("cpu", "fp32").precision == "fp32"
    assert make_compute("cpu", "bf16").precision == "bf16"


def test_auto_agrees_with_what_the_kernel_says_of_this_cpu():
    try:
        with open("/proc/cpuinfo") as file:
            flags = next(line for line in file if line.startswith("flags")).split()
    except (OSError, StopIteration):
        pytest.skip("this kernel lists no flags")
    native = "avx512_bf16" in flags or "amx_bf16" in flags
    assert make_compute("cpu", "auto").bf16 == native


@pytest.mark.parametrize(("bf16", "kind"), [(False, torch.float32), (True, torch.bfloat16)])
def test_layers_take_the_precision_and_weights_keep_theirs(bf16, kind):
    layer = torch.nn.Linear(3, 2)
    with Compute(torch.device("cpu"), bf16).autocast():
        assert layer(torch.ones(1, 3)).dtype == kind
    assert layer.weight.dtype == torch.float32


def test_threads_are_those_asked_for_or_the_cores_there_are(monkeypatch):
    monkeypatch.setattr("evoprune.networks.device.available_cpus", lambda: 2)
    assert make_compute("cpu", "fp32", num_threads=3) == CPU
    assert torch.get_num_threads() == 3
    make_compute("cpu", "fp32")
    assert torch.get_num_threads() == 2


def test_a_gpu_that_is_not_there_is_refused_and_auto_takes_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"workers\.device: got 'cuda', but torch sees no CUDA device"):
        make_compute("cuda", "fp32")
    assert make_compute("auto", "fp32").device.type == "cpu"


def test_a_device_is_called_by_its_model():
    assert device_name(torch.device("cpu")) == cpu_name()
    if torch.cuda.is_available():
        assert device_name(torch.device("cuda")) == torch.cuda.get_device_name(0)
