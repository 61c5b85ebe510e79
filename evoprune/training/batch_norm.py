"""Statistics of batch norms, measured again."""

from itertools import count

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.utils.hooks import RemovableHandle

from evoprune.common.seeds import derive_seed
from evoprune.data.batches import training_sample
from evoprune.data.tensors import Data
from evoprune.networks.device import CPU, Compute
from evoprune.networks.draws import seeded


@torch.no_grad()
def recalibrate(network: nn.Module, data: Data, num_images: int, compute: Compute = CPU, seed: int = 0) -> None:
    """Measure the running statistics of every batch and instance norm again, on augmented training images.

    A slim network's statistics are those of the base network, whose channels it lacks; this is what makes inherited
    weights comparable (EagleEye, Li et al. 2020). The images are augmented because the weights were trained on such:
    ResNet-20 on CIFAR-10 loses 2 points when its own statistics are measured on plain ones. Norms that the network's
    own `train` keeps in eval mode keep their statistics. The network is left in eval mode.
    """
    network.train()
    norms = [module for module in network.modules() if isinstance(module, _NormBase) and module.training]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over all batches
    hooks = [_average(norm) for norm in norms if isinstance(norm, _InstanceNorm)]
    with seeded(derive_seed(seed, "recalibration")):
        for images in training_sample(data, num_images, seed):
            with compute.autocast():
                network(data.normalise(images))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for hook in hooks:
        hook.remove()
    network.eval()


def _average(norm: _InstanceNorm) -> RemovableHandle:
    """Have an instance norm average over its calls, which it does not do by itself where it has no momentum."""
    calls = count(1)

    def weigh(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        norm.momentum = 1 / next(calls)  # type: ignore[assignment]

    return norm.register_forward_pre_hook(weigh)


@torch.no_grad()
def measure_neutral_norms(network: nn.Module, data: Data, num_images: int, compute: Compute) -> int:
    """Give batch norms whose statistics were never measured real ones, without changing what the network computes.

    A norm with running mean 0 and variance 1 stands in for 'no norm' (imported option A shortcuts). Recalibrating or
    training it would normalise what was never normalised. So its statistics are measured, and its scale and shift take
    the inverse. A norm without scale and shift, or that is never called, stays. Returns how many were changed; the
    network is left in eval mode.
    """
    neutral = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d) and _is_neutral(m)]
    if not neutral:
        return 0
    network.eval()
    sums = {norm: torch.zeros(3, norm.num_features, dtype=torch.float64) for norm in neutral}

    def add(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].double().cpu()
        count = torch.full((x.shape[1],), float(x.numel() // x.shape[1]), dtype=torch.float64)
        sums[norm] += torch.stack((count, x.sum((0, 2, 3)), (x * x).sum((0, 2, 3))))  # type: ignore[index]

    hooks = [norm.register_forward_pre_hook(add) for norm in neutral]
    for images in training_sample(data, num_images, seed=0):
        with compute.autocast():
            network(data.normalise(images))
    for hook in hooks:
        hook.remove()
    called = [norm for norm in neutral if sums[norm].any()]
    for norm in called:
        number, total, squares = sums[norm]
        _absorb(norm, total / number, squares / number - (total / number) ** 2)
    return len(called)


def _is_neutral(norm: nn.BatchNorm2d) -> bool:
    mean, var = norm.running_mean, norm.running_var
    if not norm.affine or mean is None or var is None:
        return False
    return bool((mean == 0).all() and (var == 1).all())


def _absorb(norm: nn.BatchNorm2d, mean: Tensor, var: Tensor) -> None:
    """Change the statistics to `mean` and `var` and the scale and shift so that the function stays."""
    assert norm.running_mean is not None and norm.running_var is not None
    old_scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    old_shift = norm.bias - old_scale * norm.running_mean
    mean, var = mean.to(norm.weight), var.clamp(min=0).to(norm.weight)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(var)
    norm.weight.copy_(old_scale * (var + norm.eps).sqrt())
    norm.bias.copy_(old_shift + old_scale * mean)
