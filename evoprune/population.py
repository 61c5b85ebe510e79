"""Trains and scores several candidates at once on one device; on CUDA a step is one graph, captured once."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoprune.compute import Compute
from evoprune.config import TrainingConfig, WorkersConfig
from evoprune.costs import BYTES_PER_VALUE, code_costs
from evoprune.data import Data, Split, batches
from evoprune.schedule import Schedule
from evoprune.space import Code, SearchSpace
from evoprune.stacking import MEMORY_FORMAT, StackedNetwork
from evoprune.training import BATCHES_PER_CHECK, EVALUATION_BATCH, check_deadline
from evoprune.worker_shape import shape_here

MOST_CANDIDATES = 32  # a guess; benchmarks/gpu_population.py shows where a GPU is full
_SHARE_OF_MEMORY = 0.8
_MAPS_PER_STEP = 2  # maps kept for gradients, and as much again for the gradients and workspace; an estimate
_COPIES_OF_WEIGHTS = 5  # weights, momenta, gradients, bfloat16, spare
_WARM_UP_STEPS = 3


class Population:
    """Candidates that are trained together on the same batches, each as if it were alone but for rounding.

    A candidate whose loss is not finite leaves the others as they are. The tensors, and on CUDA the captured step,
    serve any number of populations one after the other.

    Attributes:
        size: number of candidates.
        network: the candidates; `evoprune.training.recalibrate` takes it as it takes a slim network.
    """

    def __init__(
        self,
        space: SearchSpace,
        parent: nn.Module,
        data: Data,
        recipe: TrainingConfig,
        compute: Compute,
        size: int,
        graph: bool = True,
    ):
        self.size = size
        self.network = StackedNetwork(space, size, compute.device)
        self._parent, self._data, self._recipe, self._compute = parent, data, recipe, compute
        self._graph = graph and compute.device.type == "cuda"
        self._step: _Step | None = None
        self._num_codes = 0

    def load(self, codes: Sequence[Code]) -> None:
        """Become the slim networks of `codes`, at most `size`; copies of the last fill up the rest."""
        self._num_codes = len(codes)
        self.network.load(self._parent, [*codes, *[codes[-1]] * (self.size - len(codes))])

    def train(self, epochs: float, seed: int, deadline: float | None = None) -> list[bool]:
        """Train all candidates as `evoprune.training.train` trains one, and leave them in eval mode.

        Returns:
            For each code whether all its losses were finite.

        Raises:
            TrainingError: the deadline has passed.
        """
        schedule = Schedule(self._recipe.model_copy(update={"epochs": epochs}), len(self._data.train))
        if self._step is None:
            shape = (schedule.batch_size, *self._data.train.images.shape[1:])
            self._step = _Step(self.network, self._recipe, self._compute, shape, self._graph)
        self._step.reset()
        self.network.train()
        for epoch in range(schedule.num_epochs):
            for number, images, labels in schedule.batches(self._data, seed, epoch):
                self._step(images, labels, schedule.lr_at(number))
                if number % BATCHES_PER_CHECK == 0:
                    self._step.losses.cpu()  # waits for the device, without which a deadline means nothing
                    check_deadline(deadline)
        self.network.eval()
        finite: list[bool] = self._step.losses.isfinite().tolist()
        return finite[: self._num_codes]

    @torch.no_grad()
    def accuracies(self, split: Split) -> list[float | None]:
        """Of each code the top-1 accuracy on `split` in percent, in eval mode; None where an output is not finite."""
        self.network.eval()
        correct = torch.zeros(self.size, dtype=torch.int64, device=self._compute.device)
        finite = torch.ones(self.size, dtype=torch.bool, device=self._compute.device)
        for indices in batches(len(split), EVALUATION_BATCH):
            chosen = indices.to(self._compute.device)
            with self._compute.autocast():
                logits = self.network(self._data.normalise(split.images[chosen]))
            finite &= logits.isfinite().all(2).all(0)
            correct += (logits.argmax(2) == split.labels[chosen, None]).sum(0)
        scores = zip(correct.tolist(), finite.tolist(), strict=True)
        accuracies = [round(100 * right / len(split), 4) if sound else None for right, sound in scores]
        return accuracies[: self._num_codes]


class Populations:
    """Holds the population of the last size, and knows how many candidates fit.

    Attributes:
        limit: most candidates at once.
    """

    def __init__(self, make: Callable[[int], Population], limit: int):
        self.limit = limit
        self._make = make
        self._last: Population | None = None

    def of(self, num_codes: int) -> Population:
        """The population at hand, if at most half of it would be copies, else a new one of the right size."""
        if self._last is None or not self._last.size < 2 * num_codes <= 2 * self._last.size:
            self._last = None  # frees its memory before the next one asks for it
            self._last = self._make(num_codes)
        return self._last

    def halve(self, num_codes: int) -> None:
        """Note that `num_codes` do not fit; half of them will be tried from now on."""
        self._last, self.limit = None, max(1, num_codes // 2)


def candidates_per_batch(config: WorkersConfig, device: str, space: SearchSpace, batch_size: int) -> int:
    """`workers.candidates_per_batch` as a number: `auto` is 1 on a CPU, and what this machine's GPUs hold otherwise.

    Args:
        config: how many workers share the GPUs.
        device: the workers' `auto`, `cpu` or `cuda`.
        space: the candidates are at most as large as its full network.
        batch_size: images of a training step.
    """
    if config.candidates_per_batch != "auto":
        return config.candidates_per_batch
    if device == "cpu" or not torch.cuda.is_available():
        return 1
    share = shape_here(config).gpus_per_worker or 1.0
    return candidates_that_fit(
        space, batch_size, int(min(1.0, share) * torch.cuda.get_device_properties(0).total_memory)
    )


def candidates_that_fit(space: SearchSpace, batch_size: int, memory_bytes: int) -> int:
    """How many full networks train at once in `memory_bytes`, by a generous estimate; 1 to `MOST_CANDIDATES`."""
    costs = code_costs(space, space.full_code())
    weights = BYTES_PER_VALUE * costs["params"]
    maps = costs["bandwidth"] - weights
    images = max(batch_size, EVALUATION_BATCH // 4)  # without gradients, few of the maps live at a time
    each = _MAPS_PER_STEP * maps * images + _COPIES_OF_WEIGHTS * weights
    return int(min(MOST_CANDIDATES, max(1, _SHARE_OF_MEMORY * memory_bytes // each)))


class _Step:
    """One step of SGD of all candidates, on tensors that stay where they are.

    The update is torch.optim.SGD's with Nesterov momentum, written out: a CUDA graph would keep the learning rate that
    torch's own saw when it was captured.
    """

    def __init__(
        self, network: StackedNetwork, recipe: TrainingConfig, compute: Compute, shape: tuple[int, ...], graph: bool
    ):
        device = compute.device
        self.losses = torch.zeros(network.size, device=device)
        self._network, self._recipe, self._compute = network, recipe, compute
        self._images = torch.zeros(shape, device=device).to(memory_format=MEMORY_FORMAT)
        self._labels = torch.zeros(shape[0], dtype=torch.int64, device=device)
        self._minus_lr = torch.zeros((), device=device)
        self._parameters: list[Tensor] = list(network.parameters())
        self._momenta = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._replay = _capture(self._compute_step, network) if graph else None

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
        self._update(list(torch.autograd.grad(losses.sum(), self._parameters)))
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


def _capture(run: Callable[[], None], network: nn.Module) -> Callable[[], None]:
    """Record the kernels of `run` in a CUDA graph, as PyTorch's notes on whole-network capture do; returns its replay.

    The warm-up that a capture needs trains the network, which then gets its state back.
    """
    state = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP_STEPS):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    network.load_state_dict(state)
    return graph.replay
