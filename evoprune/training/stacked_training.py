"""Trains several candidates at once on one device; on CUDA a step is one graph, captured once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoprune.common.seeds import derive_seed
from evoprune.config import TrainingConfig
from evoprune.data.tensors import Data
from evoprune.networks.device import Compute
from evoprune.networks.draws import seeded
from evoprune.space.space import Code, SearchSpace
from evoprune.space.traced import TracedSpace
from evoprune.training.cuda_graph import capture
from evoprune.training.loop import BATCHES_PER_CHECK, check_deadline, learning_rate, steps_of
from evoprune.training.stacked_network import MEMORY_FORMAT, StackedNetwork
from evoprune.training.stacked_traced import StackedTraced

Stacked = StackedNetwork | StackedTraced


@dataclass(frozen=True)
class StackedSetup:
    """What candidates are made of, and how they are trained.

    Attributes:
        space: the search space of `base`.
        base: the base network, on `compute.device`, in eval mode.
        data: what to learn from.
        recipe: of every training; its epochs are given with each.
        compute: device and precision.
    """

    space: SearchSpace
    base: nn.Module
    data: Data
    recipe: TrainingConfig
    compute: Compute


class StackedTraining:
    """Candidates that are trained together on the same batches, each as if it were alone but for rounding.

    A candidate whose loss is not finite leaves the others as they are. The tensors, and on CUDA the captured step,
    serve any number of lists of candidates one after the other.

    Args:
        setup: what candidates are made of.
        size: number of candidates.
        graph: whether CUDA captures a step in a graph.

    Attributes:
        size: number of candidates.
        network: the candidates; `evoprune.training.batch_norm.recalibrate` takes it as it takes a slim network.
    """

    def __init__(self, setup: StackedSetup, size: int, graph: bool = True):
        self.size = size
        self.network = _stack(setup, size)
        self._setup = setup
        self._graph = graph and setup.compute.device.type == "cuda"
        self._step: _Step | None = None
        self._num_codes = 0

    def load(self, codes: Sequence[Code], changes: Sequence[Mapping[str, Tensor]]) -> None:
        """Become the slim networks of `codes`, at most `size`; copies of the last fill up the rest.

        `changes` are for each code what it has otherwise than the base network, as `StackedNetwork.load` takes them.
        """
        self._num_codes, spare = len(codes), self.size - len(codes)
        self.network.load(self._setup.base, [*codes, *[codes[-1]] * spare], [*changes, *[changes[-1]] * spare])

    def train(self, epochs: float, seed: int, deadline: float | None = None) -> list[bool]:
        """Train all candidates as `evoprune.training.loop.train` trains one, and leave them in eval mode.

        Returns:
            For each code whether all its losses were finite.

        Raises:
            TrainingError: the deadline has passed.
        """
        data, recipe = self._setup.data, self._setup.recipe.model_copy(update={"epochs": epochs})
        steps = steps_of(recipe, data)
        if self._step is None:
            shape = (steps.batch_size, *data.train.image_shape)
            self._step = _Step(self.network, recipe, self._setup.compute, shape, self._graph)
        self._step.reset()
        self.network.train()
        batches = (batch for epoch in range(steps.num_epochs) for batch in steps.batches(data, seed, epoch))
        with seeded(derive_seed(seed, "network")):
            for number, images, labels in batches:
                self._step(images, labels, learning_rate(recipe, steps, number))
                if number % BATCHES_PER_CHECK == 0:
                    self._step.losses.cpu()  # waits for the device, without which a deadline means nothing
                    check_deadline(deadline)
        self.network.eval()
        finite: list[bool] = self._step.losses.isfinite().tolist()
        return finite[: self._num_codes]


def _stack(setup: StackedSetup, size: int) -> Stacked:
    if isinstance(setup.space, TracedSpace):
        return StackedTraced(setup.space, setup.base, size)
    return StackedNetwork(setup.space, size, setup.compute.device)


class StackSizes:
    """Holds the stacked training of the last size, and knows how many candidates fit.

    Attributes:
        limit: most candidates at once.
    """

    def __init__(self, setup: StackedSetup, limit: int):
        self.limit = limit
        self._setup = setup
        self._last: StackedTraining | None = None

    def of(self, num_codes: int) -> StackedTraining:
        """The stacked training at hand, if at most half of it would be copies, else a new one of the right size."""
        if self._last is None or not self._last.size < 2 * num_codes <= 2 * self._last.size:
            self._last = None  # frees its memory before the next one asks for it
            self._last = StackedTraining(self._setup, num_codes)
        return self._last

    def halve(self, num_codes: int) -> None:
        """Note that `num_codes` do not fit; half of them will be tried from now on."""
        self._last, self.limit = None, max(1, num_codes // 2)


class _Step:
    """One step of SGD of all candidates, on tensors that stay where they are.

    The update is torch.optim.SGD's with Nesterov momentum, written out: a CUDA graph would keep the learning rate that
    torch's own saw when it was captured.
    """

    def __init__(self, network: Stacked, recipe: TrainingConfig, compute: Compute, shape: tuple[int, ...], graph: bool):
        device = compute.device
        self.losses = torch.zeros(network.size, device=device)
        self._network, self._recipe, self._compute = network, recipe, compute
        self._images = torch.zeros(shape, device=device).to(memory_format=MEMORY_FORMAT)
        self._labels = torch.zeros(shape[0], dtype=torch.int64, device=device)
        self._minus_lr = torch.zeros((), device=device)
        self._parameters: list[Tensor] = [each for each in network.parameters() if each.requires_grad]
        self._momenta = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._replay = None
        if graph:
            network.train()
            self._replay = capture(self._compute_step, [*network.state_dict().values()])

    def __call__(self, images: Tensor, labels: Tensor, lr: float) -> None:
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._minus_lr.fill_(-lr)
        if self._replay is None:
            self._compute_step()
        else:
            self._replay()

    def reset(self) -> None:
        """Forget the losses, summed over steps, and the momenta of the last training."""
        torch._foreach_zero_([self.losses, *self._momenta])

    def _compute_step(self) -> None:
        with self._compute.autocast():
            logits = self._network(self._images).float()
            labels = self._labels[:, None].expand(logits.shape[:2])
            smoothing = self._recipe.label_smoothing
            by_image = F.cross_entropy(
                logits.flatten(0, 1), labels.flatten(), reduction="none", label_smoothing=smoothing
            )
            losses = by_image.view(labels.shape).mean(0)
        # The sum's derivative by each loss is 1, also beside a loss that is not finite: every candidate learns alone.
        self._update(list(torch.autograd.grad(losses.sum(), self._parameters, materialize_grads=True)))
        self.losses.add_(losses.detach())

    @torch.no_grad()
    def _update(self, gradients: list[Tensor]) -> None:
        momentum = self._recipe.momentum
        torch._foreach_add_(gradients, self._parameters, alpha=self._recipe.weight_decay)
        torch._foreach_mul_(self._momenta, momentum)
        torch._foreach_add_(self._momenta, gradients)
        torch._foreach_add_(gradients, self._momenta, alpha=momentum)
        torch._foreach_mul_(gradients, self._minus_lr)
        torch._foreach_add_(self._parameters, gradients)
