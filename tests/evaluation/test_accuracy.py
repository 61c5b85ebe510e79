"""Accuracy is the share of right answers, of one network and of stacked ones."""

import pytest
import torch
import torch.nn.functional as F
from helpers import plain_data
from torch import Tensor, nn

from evoprune.common.errors import TrainingError
from evoprune.evaluation.accuracy import accuracy, stacked_accuracies


class ReadsFirstPixel(nn.Module):
    """Predicts the class that the first pixel's value names."""

    def forward(self, images: Tensor) -> Tensor:
        return F.one_hot((images[:, 0, 0, 0] * 255).round().long(), 10).float()


def test_accuracy_is_the_share_of_right_answers():
    labels = torch.arange(900) % 10
    images = labels.to(torch.uint8).view(-1, 1, 1, 1).repeat(1, 1, 2, 2)
    images[:123, :, 0, 0] = (images[:123, :, 0, 0] + 1) % 10
    network = ReadsFirstPixel().train()
    data = plain_data(images, labels)
    assert accuracy(network, data, data.validation) == pytest.approx(100 * 777 / 900, abs=1e-4)
    assert not network.training


def test_outputs_that_are_not_finite_have_no_accuracy():
    data = plain_data(torch.zeros(20, 1, 6, 6, dtype=torch.uint8), torch.zeros(20, dtype=torch.int64))
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 10))
    nn.init.constant_(network[1].weight, float("nan"))
    with pytest.raises(TrainingError, match="not finite"):
        accuracy(network, data, data.validation)


class StackedGuesses(nn.Module):
    """Three stacked networks: all right, all wrong, right but with one output that is not a number."""

    size = 3

    def forward(self, images: Tensor) -> Tensor:
        right = (images[:, 0, 0, 0] * 255).round().long()
        logits = torch.stack([F.one_hot(answer, 10).float() for answer in (right, (right + 1) % 10, right)], dim=1)
        logits[right == 7, 2, 3] = float("nan")
        return logits


def test_stacked_networks_have_an_accuracy_each_and_none_beside_an_output_that_is_not_finite():
    labels = torch.arange(1200) % 10
    data = plain_data(labels.to(torch.uint8).view(-1, 1, 1, 1), labels)
    network = StackedGuesses().train()
    assert stacked_accuracies(network, data, data.validation) == [100.0, 0.0, None]
    assert not network.training
    no_seven = plain_data(data.train.images[labels != 7], labels[labels != 7])
    assert stacked_accuracies(network, no_seven, no_seven.validation) == [100.0, 0.0, 100.0]
