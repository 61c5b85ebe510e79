"""The fused layer against torch's own batch norm in float64, on the same bfloat16 inputs."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from evoprune.networks import fused_layers
from evoprune.networks.fused_layers import conv_norm_relu, norm_relu


def make_norm(channels: int, seed: int = 0) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    rng = torch.Generator().manual_seed(seed)
    for tensor, low in ((norm.weight, -1.0), (norm.bias, -1.0), (norm.running_mean, -1.0), (norm.running_var, 0.5)):
        assert tensor is not None
        tensor.data.copy_(low + 2 * torch.rand(channels, generator=rng))
    return norm


def make_map(shape: tuple[int, int, int, int], seed: int) -> Tensor:
    values = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + 1
    return values.bfloat16().to(memory_format=torch.channels_last)


def reference(norm: nn.BatchNorm2d, x: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
    out = norm(x)
    out = out if residual is None else out + residual
    return F.relu(out) if relu else out


def close(ours: Tensor | None, theirs: Tensor | None, atol: float = 2**-8) -> None:
    """Equal to the rounding of one bfloat16 (8 bits), in relation to the largest value."""
    assert ours is not None and theirs is not None
    scale = float(theirs.detach().abs().max()) + 1e-6
    torch.testing.assert_close(ours.double() / scale, theirs.double() / scale, rtol=0, atol=atol)


@pytest.fixture
def fused_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where the plain path is taken."""

    def refuse(*_: object) -> None:
        raise AssertionError("the plain path was taken")

    monkeypatch.setattr(nn.BatchNorm2d, "forward", refuse)


@settings(deadline=None, max_examples=25)
@given(
    batch=st.integers(1, 5),
    channels=st.integers(1, 70),
    side=st.sampled_from([2, 3, 4, 8]),  # 8 values a channel: of 2 the gradient is a difference of nearly equal numbers
    with_residual=st.booleans(),
    relu=st.booleans(),
    momentum=st.sampled_from([0.1, None]),
)
def test_training_equals_torch(
    batch: int, channels: int, side: int, with_residual: bool, relu: bool, momentum: float | None
) -> None:
    shape = (batch + 1, channels, side, side)
    norm = make_norm(channels)
    norm.momentum = momentum
    exact = copy.deepcopy(norm).double()
    x, grad = make_map(shape, 1).requires_grad_(), make_map(shape, 2)
    residual = make_map(shape, 3).requires_grad_() if with_residual else None
    x64 = x.detach().double().requires_grad_()
    residual64 = None if residual is None else residual.detach().double().requires_grad_()

    out = norm_relu(norm, x, residual, relu)
    assert out.dtype == torch.bfloat16 and "FusedNorm" in type(out.grad_fn).__name__
    expected = reference(exact, x64, residual64, relu)
    close(out, expected)
    # the mask of ReLU is taken from our own output: a value that rounds across 0 would compare different gradients
    mask = (out.detach().double() > 0) if relu else torch.ones_like(expected)
    out.backward(grad)
    linear = reference(copy.deepcopy(exact), x64, residual64, relu=False)
    linear.backward(grad.double() * mask)

    close(x.grad, x64.grad)
    close(norm.weight.grad, linear_gradient(x64, grad.double() * mask, exact.eps))
    close(norm.bias.grad, (grad.double() * mask).sum((0, 2, 3)))
    if residual is not None and residual64 is not None:
        close(residual.grad, residual64.grad)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(getattr(norm, name).double(), getattr(exact, name).double(), rtol=1e-4, atol=1e-5)


def linear_gradient(x: Tensor, grad: Tensor, eps: float) -> Tensor:
    """Gradient of batch norm's scale: the sum of gradient times normalised input."""
    x = x.detach()
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
    return (grad * (x - mean) / (var + eps).sqrt()).sum((0, 2, 3))


@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize("relu", [False, True])
def test_evaluation_equals_torch(with_residual: bool, relu: bool) -> None:
    norm = make_norm(11).eval()
    x = make_map((4, 11, 6, 6), 1)
    residual = make_map((4, 11, 6, 6), 2) if with_residual else None
    exact = reference(copy.deepcopy(norm).double(), x.double(), None if residual is None else residual.double(), relu)
    with torch.no_grad():
        close(norm_relu(norm, x, residual, relu), exact)


def test_evaluation_and_recalibration_are_fused(fused_only: None) -> None:
    x = make_map((4, 11, 6, 6), 1)
    with torch.no_grad():
        norm_relu(make_norm(11).eval(), x)
        norm_relu(make_norm(11).train(), x, residual=x)


def test_values_round_to_the_nearest_even_bfloat16() -> None:
    norm = nn.BatchNorm2d(1, eps=0.0).eval()
    values = torch.tensor([1.0, 1.0 + 2**-8, 1.0 + 3 * 2**-8, -2.5, 3e38])
    norm.bias.data.zero_()
    for value in values:
        norm.bias.data.fill_(value)
        with torch.no_grad():
            out = norm_relu(norm, torch.zeros(1, 1, 1, 1, dtype=torch.bfloat16), relu=False)
        assert out.item() == value.bfloat16().item()


def test_not_finite_inputs_stay_not_finite() -> None:
    for bad in (float("nan"), float("inf")):
        x = make_map((2, 3, 4, 4), 1)
        x[0, 1, 0, 0] = bad
        out = norm_relu(make_norm(3), x, relu=False)
        assert not torch.isfinite(out[:, 1]).any()
        assert torch.isfinite(out[:, [0, 2]]).all()


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(2, 3, 4, 4),
        torch.randn(2, 3, 4, 4).bfloat16(),
        torch.randn(2, 3, 4, 4, dtype=torch.float64).to(memory_format=torch.channels_last),
    ],
    ids=["float32", "not channels last", "float64"],
)
def test_everything_else_takes_the_plain_path(x: Tensor) -> None:
    norm = make_norm(3).to(torch.float64 if x.dtype == torch.float64 else torch.float32)
    twin = copy.deepcopy(norm)
    assert not fused_layers._can_fuse(norm, x)
    torch.testing.assert_close(norm_relu(norm, x, residual=x), F.relu(twin(x) + x), rtol=0, atol=0)


def test_hooks_of_the_norm_are_called() -> None:
    norm = make_norm(3)
    norm.register_forward_hook(lambda _module, _inputs, out: out * 0)
    assert not norm_relu(norm, make_map((2, 3, 4, 4), 1)).any()


def test_same_input_same_bits() -> None:
    results = []
    for _ in range(2):
        x = make_map((8, 13, 16, 16), 1).requires_grad_()
        norm_relu(make_norm(13), x, relu=True).float().square().sum().backward()
        results.append(x.grad)
    assert torch.equal(results[0], results[1])


# --- convolutions with a folded norm: where torch and the CPU cannot fuse them the same sums come from two layers


def test_a_convolution_is_folded_exactly_where_onednn_can_run_it() -> None:
    weight, bias = torch.ones(5, 3, 3, 3, dtype=torch.bfloat16), torch.zeros(5, dtype=torch.bfloat16)
    given = make_map((1, 3, 4, 4), 1), weight, bias, (1, 1), (1, 1), (1, 1), 1
    try:
        torch.ops.mkldnn._convolution_pointwise(*given, "relu", [], None)
        torch.ops.mkldnn._convolution_pointwise_.binary(make_map((1, 5, 4, 4), 2), *given, "add", 1.0, "relu", [], None)
        runs = True
    except (RuntimeError, AttributeError):  # a CPU without bfloat16, a torch without oneDNN
        runs = False
    assert fused_layers._has_folded_convolution() == runs


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize("relu", [False, True])
def test_convolution_with_its_norm_equals_torch(
    stride: int, kernel: int, with_residual: bool, relu: bool, fused_only: None
) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(5, 11, kernel, stride=stride, padding=kernel // 2, bias=False)
    norm = make_norm(11).eval()
    x = make_map((4, 5, 6, 6), 1)
    residual = make_map((4, 11, 6 // stride, 6 // stride), 2) if with_residual else None
    weight, bias = conv.weight.double(), norm.bias.double()
    means = norm.running_mean.double(), norm.running_var.double()
    exact = F.batch_norm(F.conv2d(x.double(), weight, None, stride, kernel // 2), *means, norm.weight.double(), bias)
    exact = exact if residual is None else exact + residual  # before the layer writes over the residual
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert fused_layers._can_fold(conv, norm, x, residual) == fused_layers._has_folded_convolution()
        out = conv_norm_relu(conv, norm, x, residual, relu)
    assert out.dtype == torch.bfloat16 and out.is_contiguous(memory_format=torch.channels_last)
    close(out, F.relu(exact) if relu else exact, atol=2**-7)  # weights round too


def test_convolutions_are_not_folded_where_something_is_learnt_or_watched() -> None:
    x = make_map((2, 3, 4, 4), 1)
    conv, norm = nn.Conv2d(3, 3, 3, padding=1, bias=False), make_norm(3).eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert not fused_layers._can_fold(conv, norm, x, None)
        with torch.no_grad():
            assert fused_layers._can_fold(conv, norm, x, None) == fused_layers._has_folded_convolution()
            assert not fused_layers._can_fold(conv, make_norm(3).train(), x, None)
            assert not fused_layers._can_fold(conv, norm, x.contiguous(), None)
            assert torch.equal(conv_norm_relu(conv, norm, x.float()), conv_norm_relu(conv, norm, x))  # as autocast
            assert not fused_layers._can_fold(nn.Conv2d(3, 3, 3, padding=1), norm, x, None)
            conv.register_forward_hook(lambda _module, _inputs, out: out * 0)
            assert not fused_layers._can_fold(conv, norm, x, None)
    with torch.no_grad():
        assert not fused_layers._can_fold(nn.Conv2d(3, 3, 3, bias=False), norm, x, None)  # float32: no autocast


def test_without_the_fused_convolution_the_layers_follow_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_layers, "_has_folded_convolution", lambda: False)
    conv, norm = nn.Conv2d(3, 5, 3, padding=1, bias=False), make_norm(5).eval()
    x, residual = make_map((2, 3, 4, 4), 1), make_map((2, 5, 4, 4), 2)
    before = residual.clone()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(conv_norm_relu(conv, norm, x, residual), norm_relu(norm, conv(x), residual))
    assert torch.equal(residual, before)


def test_a_norm_is_folded_once_where_weights_are_constant() -> None:
    conv, norm, x = nn.Conv2d(3, 5, 3, padding=1, bias=False), make_norm(5).eval(), make_map((2, 3, 4, 4), 1)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        before = conv_norm_relu(conv, norm, x)
        with fused_layers.constant_weights():
            assert torch.equal(conv_norm_relu(conv, norm, x), before)
            assert fused_layers._fold(conv, norm)[0] is fused_layers._fold(conv, norm)[0]
        norm.bias.add_(1)
        assert not torch.equal(conv_norm_relu(conv, norm, x), before)
