"""Convolutions past what is slow: the same as torch's own, and their gradients."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from evoprune.networks.convolution import _is_slow_in_bf16, _reads_one_tap, convolve
from evoprune.networks.fused_layers import conv_norm_relu


def test_strided_shortcut_has_the_gradients_of_torch() -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(5, 7, 1, stride=2, bias=False), nn.BatchNorm2d(7)
    twins = copy.deepcopy(conv), copy.deepcopy(norm)
    x = torch.randn(4, 5, 7, 6, requires_grad=True)
    x_twin = x.detach().clone().requires_grad_()
    out, expected = conv_norm_relu(conv, norm, x), F.relu(twins[1](twins[0](x_twin)))
    torch.testing.assert_close(out, expected)
    for y in (out, expected):
        y.square().sum().backward()
    torch.testing.assert_close(x.grad, x_twin.grad)
    torch.testing.assert_close(conv.weight.grad, twins[0].weight.grad)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_strided_shortcut_gives_its_gradient_in_the_order_of_its_input(layout):
    """A gradient in another order is added to that of the main branch ten times as slowly."""
    orders: list[bool] = []
    x = torch.randn(2, 6, 8, 8).contiguous(memory_format=layout).requires_grad_()
    inner = x * 1
    inner.register_hook(lambda grad: orders.append(grad.is_contiguous(memory_format=layout)))
    convolve(nn.Conv2d(6, 5, 1, stride=2), inner).sum().backward()
    assert orders == [True]


@pytest.mark.parametrize(("stride", "side"), [(2, 8), (1, 2)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_depthwise_layers_that_are_slow_in_bf16_learn_in_fp32(stride, side, layout):
    """By hand: the convolution in float32, its output in bfloat16, and the gradients that belong to it."""
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 6, 3, stride, 1, groups=6, bias=False)
    norm = nn.BatchNorm2d(6)
    x = torch.randn(4, 6, side, side).bfloat16().contiguous(memory_format=layout).requires_grad_()
    exact, weight = x.detach().float().requires_grad_(), conv.weight.detach().clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = conv_norm_relu(conv, norm, x)
    wanted = F.conv2d(exact, weight, None, stride, 1, 1, 6).bfloat16()
    assert out.dtype == torch.bfloat16
    normed = F.relu(F.batch_norm(wanted.float(), None, None, norm.weight, norm.bias, training=True))
    torch.testing.assert_close(out.float(), normed, rtol=1e-2, atol=1e-2)
    out.float().square().sum().backward()
    normed.square().sum().backward()
    torch.testing.assert_close(conv.weight.grad, weight.grad, rtol=0.03, atol=0.03 * float(weight.grad.abs().max()))
    torch.testing.assert_close(x.grad.float(), exact.grad, rtol=0.03, atol=0.03 * float(exact.grad.abs().max()))


@pytest.mark.parametrize(
    ("kernel", "stride", "side"), [(1, 1, 4), (1, 2, 5), (1, 1, 6), (3, 1, 1), (3, 2, 1), (5, 1, 1)]
)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_one_tap_is_what_the_whole_convolution_is(kernel, stride, side, precision):
    """By torch's own convolution in float64."""
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 5, kernel, stride, kernel // 2)
    x = torch.randn(4, 6, side, side).to(precision).contiguous(memory_format=torch.channels_last).requires_grad_()
    exact, twin = x.detach().double().requires_grad_(), copy.deepcopy(conv).double()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        assert _reads_one_tap(conv, x) == (kernel == 1 or precision == torch.bfloat16)
        out = convolve(conv, x)
    wanted = twin(exact)
    assert out.dtype == precision and out.shape == wanted.shape
    for y in (out, wanted):
        y.sum().backward()
    near = {"rtol": 0.02, "atol": 0.03} if precision == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
    for ours, theirs in ((out, wanted), (x.grad, exact.grad), (conv.weight.grad, twin.weight.grad)):
        torch.testing.assert_close(ours.double(), theirs, **near)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(6, 6, 1, groups=2),
        nn.Conv2d(6, 6, 1, padding=1),
        nn.Conv2d(6, 6, 2, padding=1),
        nn.Conv2d(6, 6, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(6, 6, 3, padding=1, dilation=2),
    ],
)
def test_other_convolutions_are_left_to_torch(conv):
    with torch.autocast("cpu", torch.bfloat16):
        assert not _reads_one_tap(conv, torch.zeros(1, 6, 1, 1))
        assert not _reads_one_tap(nn.Conv2d(6, 6, 3, padding=1), torch.zeros(1, 6, 2, 2))


@pytest.mark.parametrize(
    ("groups", "stride", "grad", "slow"),
    [(6, 2, True, True), (6, 1, True, False), (6, 2, False, False), (2, 2, True, False), (1, 2, True, False)],
)
def test_which_layers_are_slow_in_bf16(groups, stride, grad, slow):
    conv, x = nn.Conv2d(6, 6, 3, stride, 1, groups=groups), torch.zeros(1, 6, 8, 8)
    with torch.set_grad_enabled(grad):
        assert not _is_slow_in_bf16(conv, x), "not in float32"
        with torch.autocast("cpu", torch.bfloat16):
            assert _is_slow_in_bf16(conv, x) == slow
