"""Knockoff images: a control that looks like the data and says nothing of the label. None of this sees a label.

Model-X knockoffs (Candes et al. 2018) of an image x are images x~ that are independent of its label given x, and
whose coordinates can be swapped for those of x without anyone noticing. The first holds for all of these.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

RHO = 1.0  # of `gaussian`, in (0, 1]: 1 is the strongest control, knockoffs that share nothing with their image
MOST_VALUES = 12_288  # of an image for `gaussian`: its covariance has the square of that, 1.2 GB
_ENOUGH_IMAGES = 8_192  # for a covariance of that many values, once it is shrunk


class Knockoff(NamedTuple):
    """A knockoff of every image of a batch.

    Attributes:
        images: shape and type of the batch.
        sources: which image of the batch each is, shape (batch,); None where they are no real images.
    """

    images: Tensor
    sources: Tensor | None


Knockoffs = Callable[[Tensor, torch.Generator], Knockoff]
"""Makes the knockoffs of a batch of normalised images, shape (batch, channels, height, width)."""


def derangement(examples: Iterable[Tensor]) -> Knockoffs:
    """Other images of the same batch, each used once and none for itself: exactly the data's distribution.

    It is what an ideal generator that does not see its image would draw (Tang et al. 2020 train such a one; MindSpore's
    Golden Stick permutes the batch too). Nothing is learnt from `examples`.
    """

    def make(images: Tensor, rng: torch.Generator) -> Knockoff:
        assert len(images) > 1, "a single image has no other to be its knockoff"
        order = torch.randperm(len(images), generator=rng)
        offset = int(torch.randint(1, len(images), (), generator=rng))
        sources = torch.empty_like(order)
        sources[order] = order.roll(offset)
        sources = sources.to(images.device)
        return Knockoff(images[sources], sources)

    return make


def gaussian(examples: Iterable[Tensor]) -> Knockoffs:
    """Second-order knockoffs: x~ = mean + (1 - rho)(x - mean) + sqrt(rho(2 - rho)) e, e ~ N(0, covariance).

    For Gaussian data these are exact with respect to swaps of principal components, of which each has s = rho times
    its variance (Candes et al. 2018, section 3.4.2); pixels are too correlated to be swapped one by one.

    Args:
        examples: batches of normalised training images, which the mean and covariance are estimated from; an image has
            at most `MOST_VALUES` values.
    """
    mean, factor = _mean_and_factor(_limited(examples))

    def make(images: Tensor, rng: torch.Generator) -> Knockoff:
        noise = torch.randn((len(images), len(mean)), generator=rng).to(images.device) @ factor.T
        flat = mean + (1 - RHO) * (images.flatten(1) - mean) + (RHO * (2 - RHO)) ** 0.5 * noise
        return Knockoff(flat.view(images.shape).contiguous(memory_format=torch.channels_last), None)

    return make


KNOCKOFFS: dict[str, Callable[[Iterable[Tensor]], Knockoffs]] = {"derangement": derangement, "gaussian": gaussian}


def _limited(examples: Iterable[Tensor]) -> Iterator[Tensor]:
    """Batches as rows of values, until there are enough images."""
    seen = 0
    for images in examples:
        rows = images.flatten(1)
        assert rows.shape[1] <= MOST_VALUES, "too large for a covariance of their values"
        yield rows
        seen += len(rows)
        if seen >= _ENOUGH_IMAGES:
            return


def _mean_and_factor(rows: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean, shape (values,), and lower Cholesky factor of the covariance, shrunk as Ledoit and Wolf (2004) say."""
    values = torch.cat(list(rows))
    mean = values.mean(dim=0)
    values -= mean
    covariance = (values.T @ values).double() / len(values)
    average = covariance.diagonal().mean()
    spread = covariance.square().sum() - len(covariance) * average**2  # squared distance from average * identity
    error = (values.square().sum(dim=1).double().square().mean() - covariance.square().sum()) / len(values)
    shrinkage = (error / spread).clamp(0, 1)
    covariance *= 1 - shrinkage
    covariance.diagonal().add_(shrinkage * average)
    return mean, torch.linalg.cholesky(covariance).float()
