"""What a teacher says of all variants of the training images, against what it says of them as training makes them."""

from dataclasses import replace

import torch
from helpers import few_digits

from evoprune import build_network
from evoprune.config import DistillationConfig, TrainingConfig
from evoprune.data.batches import Steps
from evoprune.networks.device import CPU
from evoprune.training.distillation import Teacher
from evoprune.training.loop import TrainingOptions, train
from evoprune.training.teacher_outputs import all_outputs, teacher_outputs


def data_with(crop: int, flip: bool | str):
    return replace(few_digits(48), crop=crop, flip=flip)


def test_outputs_are_those_of_the_augmented_images(small_base):
    for crop, flip in ((1, True), (2, "alternating"), (0, False)):
        data = data_with(crop, flip)
        outputs = all_outputs(small_base, data, CPU)
        assert outputs.logits.shape == (2 * (2 * crop + 1) ** 2, 48, 10)
        for epoch in (0, 1):
            for _, plan in Steps(48, 16, 2.0).plans(data, 3, epoch):
                with torch.no_grad():
                    wanted = small_base(data.training_batch(plan)[0])
                torch.testing.assert_close(outputs.of(plan), wanted, rtol=1e-4, atol=1e-5)


def test_a_student_learns_the_same_from_outputs_that_are_known(small_space, small_base):
    data, config = data_with(1, True), DistillationConfig(weight=0.8, temperature=3.0)
    losses = []
    for outputs in (None, all_outputs(small_base, data, CPU)):
        torch.manual_seed(5)
        options = TrainingOptions(seed=2, teacher=Teacher(small_base, config, outputs))
        recipe = TrainingConfig(epochs=3, batch_size=16, lr=0.02)
        losses.append([epoch.loss for epoch in train(build_network(small_space), data, recipe, options=options)])
    torch.testing.assert_close(torch.tensor(losses[0]), torch.tensor(losses[1]), rtol=1e-3, atol=1e-4)


def test_outputs_are_not_computed_on_a_cpu(small_base):
    assert teacher_outputs(small_base, data_with(0, False), TrainingConfig(epochs=100), CPU) is None
