"""How far a round goes: a rate of multiply-adds and a tolerated loss are two names of one thing."""

import numpy as np
import pytest
from helpers import random_scores

from evoprune import UserError
from evoprune.pruning.importance.sensitivity import Curves
from evoprune.pruning.step_targets import choose, step_target
from evoprune.pruning.targets import Target, parse_target
from evoprune.space.costs import code_costs


@pytest.fixture
def curves(small_space) -> Curves:
    """Straight lines: each group loses its number, from 1, times the share that goes."""
    ends = [1 - 1 / group.width for group in small_space.groups]
    rates = tuple(np.array([0.0, end]) for end in ends)
    losses = tuple(np.array([0.0, (number + 1) * end]) for number, end in enumerate(ends))
    return Curves(small_space, rates, losses)


def rate(text: str, space) -> Target:
    return step_target(parse_target({"rate": text, "flops": None, "max_loss": None}, space), space)


def flops(space, code) -> int:
    return code_costs(space, code)["flops"]


@pytest.mark.parametrize("text", ["0.1", "0.3", "0.6", "0.9"])
def test_a_rate_is_the_share_of_the_original_multiply_adds_and_its_loss_gives_it_back(small_space, curves, text):
    full, scores = small_space.full_code(), random_scores(small_space)
    code, loss = choose(rate(text, small_space), curves, scores, full)
    most = (1 - float(text)) * flops(small_space, full)
    assert flops(small_space, code) <= most
    again, same = choose(Target("max_loss", loss, "max-loss"), curves, scores, full)
    assert same == loss and (again <= code).all() and flops(small_space, again) <= most
    less, _ = choose(Target("max_loss", 0.999 * loss - 1e-6, "max-loss"), curves, scores, full)
    assert flops(small_space, less) > most


def test_where_much_goes_at_no_loss_only_so_much_goes_as_the_rate_says(small_space, curves):
    free = Curves(small_space, curves.rates, tuple(np.zeros(2) for _ in curves.losses))
    code, loss = choose(rate("0.3", small_space), free, random_scores(small_space), small_space.full_code())
    share = flops(small_space, code) / flops(small_space, small_space.full_code())
    assert loss == 0 and 0.67 < share <= 0.7


def test_no_group_costs_more_than_the_tolerated_loss_by_hand(small_space, curves):
    code, _ = choose(Target("max_loss", 1.0, "max-loss-1"), curves, random_scores(small_space), small_space.full_code())
    for number, group in enumerate(small_space.groups, start=1):
        gone = min(1 / number, 1 - 1 / group.width)
        assert group.of(code).sum() == np.ceil((1 - gone) * group.width - 1e-9)


def test_rounds_are_nested_and_rates_cumulative(small_space, curves):
    scores, code = random_scores(small_space), small_space.full_code()
    for text in ("0.2", "0.4", "0.6"):
        before, code = code, choose(rate(text, small_space), curves, random_scores(small_space, seed=1), code)[0]
        assert (code <= before).all() and (code != before).any()
        assert flops(small_space, code) <= (1 - float(text)) * flops(small_space, small_space.full_code())
    with pytest.raises(UserError, match="no channel more goes"):
        choose(rate("0.4", small_space), curves, scores, code)


def test_a_rate_that_no_network_of_the_space_reaches_is_refused(small_space):
    with pytest.raises(UserError, match=r"--rate .* multiply-adds .* can lose 9\d\.\d %; got 0\.9999"):
        rate("0.9999", small_space)


def test_curves_that_do_not_reach_so_far_are_refused(small_space, curves):
    short = Curves(small_space, tuple(r / 2 for r in curves.rates), curves.losses)
    with pytest.raises(UserError, match="lower rate"):
        choose(rate("0.95", small_space), short, random_scores(small_space), small_space.full_code())
