"""What an importance is computed with where nothing is said, and that its meter hears of every step."""

from collections.abc import Callable

from helpers import few_digits

from evoprune.config import ImportanceConfig, ScopConfig
from evoprune.networks.device import CPU
from evoprune.pruning.importance.options import ImportanceOptions
from evoprune.pruning.importance.scop import scop_scores


class Count:
    def __init__(self) -> None:
        self.heard: list[float] = []

    def update(self, done: float, note: Callable[[], str] = str) -> None:
        self.heard.append(done)


def test_the_meter_is_told_of_every_step(small_space, small_base):
    count = Count()
    config = ImportanceConfig(scop=ScopConfig(epochs=0.4, batch_size=32))
    found = scop_scores(small_space, small_base, few_digits(320), ImportanceOptions(config, meter=count))
    assert count.heard == [1, 2, 3, 4] and found.facts["steps"] == 4


def test_nothing_said_is_the_defaults_of_an_experiment_on_this_cpu(make_experiment):
    options = ImportanceOptions()
    assert options.config == make_experiment().importance
    assert options.compute == CPU and options.seed == 0
    assert ImportanceOptions().config is not None and options == ImportanceOptions(meter=options.meter)
