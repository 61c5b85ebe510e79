"""Compiled loops against NumPy and torch in float64, on the same bfloat16 inputs."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from evoprune.common import kernels

few = settings(deadline=None, max_examples=20)
shapes = st.tuples(st.integers(2, 5), st.integers(1, 9), st.sampled_from([2, 4]))  # images, channels, side
seeds = st.integers(0, 10**6)


def make_map(shape: tuple[int, int, int], seed: int) -> Tensor:
    """A bfloat16 map (images, channels, side, side), channels last."""
    images, channels, side = shape
    values = 2 * torch.randn((images, channels, side, side), generator=torch.Generator().manual_seed(seed)) + 1
    return values.bfloat16().to(memory_format=torch.channels_last)


def rows(x: Tensor) -> np.ndarray:
    """The same memory as rows of two whole pixels."""
    return x.view(torch.int16).numpy().transpose(0, 2, 3, 1).reshape(-1, 2 * x.shape[1])


def make_parameters(channels: int, seed: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(channels, generator=rng) * 2 - 0.5, torch.rand(channels, generator=rng) - 0.5


def check_close(ours: np.ndarray | Tensor, theirs: Tensor, rounding: float) -> None:
    """Equal in relation to the largest value."""
    largest = float(theirs.abs().max()) + 1e-6
    np.testing.assert_allclose(np.asarray(ours, dtype=np.float64), theirs.numpy(), rtol=0, atol=rounding * largest)


BFLOAT16, FLOAT32 = 2**-8, 1e-5


@few
@given(shapes, seeds)
def test_moments_are_numpys_by_channel(shape, seed):
    x = make_map(shape, seed)
    mean, var = kernels.batch_moments(rows(x), shape[1])
    np.testing.assert_allclose(mean, x.double().numpy().mean((0, 2, 3)), atol=1e-5)
    np.testing.assert_allclose(var, x.double().numpy().var((0, 2, 3)), rtol=1e-4, atol=1e-4)


@few
@given(shapes, seeds, st.floats(0.01, 1))
def test_running_statistics_follow_as_in_torch(shape, seed, share):
    x = make_map(shape, seed)
    norm = torch.nn.BatchNorm2d(shape[1], momentum=share)
    running = norm.running_mean.numpy().copy(), norm.running_var.numpy().copy()
    kernels.update_running(running, kernels.batch_moments(rows(x), shape[1]), x.numel() // shape[1], share)
    norm(x.float())
    check_close(running[0], norm.running_mean, FLOAT32)
    check_close(running[1], norm.running_var, FLOAT32)


def test_the_variance_of_a_single_value_stays_finite():
    running = np.zeros(1, np.float32), np.ones(1, np.float32)
    kernels.update_running(running, (np.array([3.0]), np.array([0.0])), 1, 0.5)
    assert (running[0][0], running[1][0]) == (1.5, 0.5)


@few
@given(shapes, seeds, st.booleans(), st.booleans())
def test_normalised_maps_are_torchs(shape, seed, relu, with_residual):
    x, residual = make_map(shape, seed), make_map(shape, seed + 1) if with_residual else None
    weight, bias = make_parameters(shape[1], seed)
    mean, var = np.linspace(-1, 1, shape[1]), np.linspace(0.5, 2, shape[1])
    out = torch.empty_like(x)
    added = None if residual is None else rows(residual)
    kernels.normalise(rows(x), (mean, var, 1e-5, weight.numpy(), bias.numpy()), added, relu, rows(out))
    wanted = F.batch_norm(x.double(), torch.tensor(mean), torch.tensor(var), weight.double(), bias.double(), eps=1e-5)
    wanted = wanted + (0 if residual is None else residual.double())
    check_close(out.double(), wanted.relu() if relu else wanted, BFLOAT16)


@few
@given(shapes, seeds, st.booleans(), st.booleans())
def test_gradients_are_autograds(shape, seed, relu, with_residual):
    maps = [make_map(shape, seed + number) for number in range(3)]
    inputs = [each.double().requires_grad_() for each in maps[:2]]
    weight, bias = (each.double().requires_grad_() for each in make_parameters(shape[1], seed))
    summed = F.batch_norm(inputs[0], None, None, weight, bias, training=True) + inputs[1]
    out = summed.detach().bfloat16() if relu else maps[0]  # of it only the sign is read
    (summed * ((out > 0) if relu else 1)).backward(maps[2].double())

    to_input, to_residual = torch.empty_like(maps[0]), torch.empty_like(maps[0])
    scaled = (*kernels.batch_moments(rows(maps[0]), shape[1]), 1e-5, weight.detach().float().numpy())
    to_weight, to_bias = kernels.normalise_gradient(
        (rows(maps[0]), rows(out.contiguous(memory_format=torch.channels_last)), rows(maps[2])),
        scaled,
        relu,
        rows(to_input),
        rows(to_residual) if with_residual else None,
    )
    check_close(to_weight, weight.grad, 10 * FLOAT32)
    check_close(to_bias, bias.grad, FLOAT32)
    check_close(to_input.double(), inputs[0].grad, 2 * BFLOAT16)
    if with_residual:
        assert torch.equal(to_residual.double(), inputs[1].grad)


@few
@given(seeds, st.integers(1, 3), st.integers(0, 3))
def test_crops_and_mirror_images_are_slices_of_a_padded_image(seed, channels, padding):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (4, 5, 6, channels)).astype(np.uint8)
    offsets, mirrored = rng.integers(-padding, padding + 1, (2, 4)), rng.random(4) < 0.5
    scale, shift = rng.random(channels, np.float32), rng.random(channels, np.float32)
    out = np.empty(images.shape, np.float32)
    kernels.crop_flip_normalise(images, (offsets, mirrored), scale, shift, out)
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    for image, (y, x), mirror, result in zip(padded, offsets.T + padding, mirrored, out, strict=True):
        cut = image[y : y + 5, x : x + 6]
        np.testing.assert_allclose(result, (cut[:, ::-1] if mirror else cut) * scale - shift, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("bits", [0x3F80, 0x0001, 0x7F7F, 0x7F80, 0x4049 - 2**15])
def test_a_bfloat16_is_the_upper_half_of_a_float32(bits):
    """Through a norm that changes nothing every bit comes back: 1, the smallest, the largest, infinity, about -3.1."""
    x, out = np.full((1, 2), bits, np.int16), np.empty((1, 2), np.int16)
    one, zero = np.ones(1), np.zeros(1)
    kernels.normalise(x, (zero, one, 0.0, one.astype(np.float32), zero.astype(np.float32)), None, False, out)
    assert out.tolist() == [[bits, bits]]
