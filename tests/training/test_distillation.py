"""Learning from a teacher, against sums in numpy."""

import numpy as np
import pytest
import torch
from helpers import few_digits
from torch import nn

from evoprune import build_network
from evoprune.config import DistillationConfig, TrainingConfig
from evoprune.training.distillation import Teacher
from evoprune.training.loop import TrainingOptions, train


def test_distillation_is_hintons_mix():
    logits, target = np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]]), np.array([[2.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    config = DistillationConfig(weight=0.7, temperature=2.5)
    supervised = 1.25

    def softened(values: np.ndarray) -> np.ndarray:
        powers = np.exp(values / 2.5)
        return powers / powers.sum(axis=1, keepdims=True)

    p, q = softened(target), softened(logits)
    wanted = 0.3 * supervised + 0.7 * 2.5**2 * np.mean((p * np.log(p / q)).sum(axis=1))
    teacher = Teacher(nn.Identity(), config)
    loss = teacher.loss(torch.tensor(logits), torch.tensor(target), torch.tensor(supervised))
    assert float(loss) == pytest.approx(wanted, rel=1e-5)


def test_a_student_of_nothing_but_its_teacher_comes_near_it_and_leaves_it_alone(small_space, small_base):
    data = few_digits(160)
    before = {name: value.clone() for name, value in small_base.state_dict().items()}
    teacher = Teacher(small_base, DistillationConfig(weight=1.0, temperature=2.0))
    torch.manual_seed(1)
    recipe = TrainingConfig(epochs=6, batch_size=32, lr=0.05)
    epochs = list(train(build_network(small_space), data, recipe, options=TrainingOptions(teacher=teacher)))
    assert epochs[-1].loss < 0.7 * epochs[0].loss and epochs[-1].loss > 0
    assert all(torch.equal(value, before[name]) for name, value in small_base.state_dict().items())
    assert all(parameter.grad is None for parameter in small_base.parameters())
