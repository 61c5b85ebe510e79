"""How many candidates train at once."""

from evoprune import load_search_space
from evoprune.config import WorkersConfig
from evoprune.evaluation.worker import MOST_CANDIDATES, candidates_per_batch, candidates_that_fit
from evoprune.training.stacked_training import Populations


def test_a_population_serves_all_that_fill_more_than_half_of_it():
    made = []
    populations = Populations(lambda size: made.append(size) or FakePopulation(size), limit=8)
    assert [populations.of(number).size for number in (8, 5, 7, 4, 3, 2, 8)] == [8, 8, 8, 4, 4, 2, 8]
    assert made == [8, 4, 2, 8]


class FakePopulation:
    def __init__(self, size: int):
        self.size = size


def test_how_many_fit_follows_the_memory():
    space = load_search_space("resnet20")
    # By hand, values that layers read and write: the stem, and each stage with its shortcut.
    maps = 3 * 32**2 + 13 * 16 * 32**2
    maps += 2 * 16 * 32**2 + 12 * 32 * 16**2
    maps += 2 * 32 * 16**2 + 12 * 64 * 8**2
    maps += 64 + 10
    each = 2 * 4 * maps * 128 + 5 * 4 * 272_474
    found = [candidates_that_fit(space, 128, int(number * each / 0.8 * 1.02)) for number in (0, 1, 2, 7, 31, 32, 500)]
    assert found == [1, 1, 2, 7, 31, 32, MOST_CANDIDATES]


def test_auto_is_one_on_a_cpu_and_a_number_is_itself(small_space):
    assert candidates_per_batch(WorkersConfig(), "cpu", small_space, 128) == 1
    assert candidates_per_batch(WorkersConfig(candidates_per_batch=5), "cpu", small_space, 128) == 5
