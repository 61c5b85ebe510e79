"""Knockoff images: none is its own, their moments are those of the data, and no label is in reach."""

from itertools import repeat

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf
from sklearn.datasets import load_digits
from torch import Tensor

from evoprune.common.errors import UserError
from evoprune.config import ScopConfig
from evoprune.pruning.importance import knockoffs
from evoprune.pruning.importance.knockoffs import derangement, gaussian
from evoprune.pruning.importance.scop import check_scop
from evoprune.space.from_yaml import load_search_space


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def digits() -> Tensor:
    """Real digits, shape (1797, 1, 8, 8), scaled to about 1; a third of the pixels hardly ever change."""
    return torch.from_numpy(load_digits().images).float().unsqueeze(1) / 6 - 0.8


@pytest.mark.parametrize("size", [2, 3, 10, 129])
def test_derangement_uses_every_image_once_and_none_for_itself(size: int):
    images = torch.arange(size, dtype=torch.float32).view(size, 1, 1, 1).expand(size, 3, 2, 2)
    make = derangement([])
    for seed in range(50):
        knockoff = make(images, generator(seed))
        assert knockoff.sources is not None
        assert sorted(knockoff.sources.tolist()) == list(range(size))
        assert (knockoff.sources != torch.arange(size)).all()
        assert torch.equal(knockoff.images, images[knockoff.sources])


def test_every_other_image_is_as_likely_a_source():
    make, rng = derangement([]), generator(0)
    counts = torch.zeros(5, 5)
    for _ in range(5000):
        sources = make(torch.zeros(5, 1, 1, 1), rng).sources
        assert sources is not None
        counts[torch.arange(5), sources] += 1
    others = counts[~torch.eye(5, dtype=torch.bool)]
    assert counts.diagonal().sum() == 0 and ((others - 1250).abs() < 5 * 1250**0.5).all()


def test_the_generator_decides_everything(digits: Tensor):
    for make in (derangement(()), gaussian([digits])):
        first, again, other = (make(digits[:50], generator(seed)).images for seed in (1, 1, 2))
        assert torch.equal(first, again) and not torch.equal(first, other)
        assert first.shape == (50, 1, 8, 8) and first.dtype == torch.float32


def test_gaussian_knockoffs_have_the_moments_of_the_data_and_nothing_of_their_image(digits: Tensor):
    real = digits.flatten(1)
    knockoff = many(digits).flatten(1)
    covariance, _ = ledoit_wolf(real.double().numpy())
    scale = np.abs(covariance).max()
    assert (knockoff.mean(0) - real.mean(0)).abs().max() < 0.05
    assert np.abs(np.cov(knockoff.numpy().T) - covariance).max() < 0.05 * scale
    assert np.abs(cross_covariance(real, knockoff)).max() < 0.06 * scale


def test_weaker_gaussian_knockoffs_have_the_joint_covariance_of_the_definition(
    digits: Tensor, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(knockoffs, "RHO", 0.4)
    real = digits.flatten(1)
    knockoff = many(digits).flatten(1)
    covariance, _ = ledoit_wolf(real.double().numpy())
    scale = np.abs(covariance).max()
    assert np.abs(np.cov(knockoff.numpy().T) - covariance).max() < 0.06 * scale
    assert np.abs(cross_covariance(real, knockoff) - 0.6 * covariance).max() < 0.06 * scale


def many(digits: Tensor) -> Tensor:
    """Knockoffs of the digits, 20 times over: 35,940 images."""
    make, rng = gaussian([digits]), generator(0)
    return torch.cat([make(digits, rng).images for _ in range(20)])


def cross_covariance(real: Tensor, knockoff: Tensor) -> np.ndarray:
    return np.cov(real.repeat(20, 1).numpy().T, knockoff.numpy().T)[:64, 64:]


def test_no_more_examples_are_taken_than_a_covariance_needs(digits: Tensor):
    endless = repeat(digits)
    assert gaussian(endless)(digits[:2], generator(0)).sources is None, "no real image has such a label"


def test_images_too_large_for_a_covariance_are_found_before_anything_is_computed():
    space = load_search_space("resnet20", image_size=224)
    with pytest.raises(UserError, match=r"importance\.scop\.knockoff: gaussian .* 150,528; use derangement"):
        check_scop(space, ScopConfig(knockoff="gaussian"))
    assert len(check_scop(space, ScopConfig(knockoff="derangement"))) == 18
    for image_size in ((4096, 1), (16, 256)):
        assert check_scop(load_search_space("resnet20", image_size=image_size), ScopConfig(knockoff="gaussian"))
    with pytest.raises(UserError, match=r"these have 12,291"):
        check_scop(load_search_space("resnet20", image_size=(17, 241)), ScopConfig(knockoff="gaussian"))
