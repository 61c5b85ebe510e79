"""A model of the accuracy proposes: the most important channels, the predicted front, better with what it learns."""

import numpy as np
import pytest
import torch
from helpers import random_scores
from searching import MINIMAL, flops_shares, make_proposal
from torch import nn

from evoprune import UserError, compute_costs, trace_search_space
from evoprune.config import SearchConfig, parse_experiment
from evoprune.search.accuracy_model import AccuracyModel
from evoprune.search.pareto import hypervolume
from evoprune.search.proposals.catalog import Knowledge, make_proposals
from evoprune.search.proposals.proposal import Learner
from evoprune.search.proposals.surrogate import Surrogate
from evoprune.space.ranking import keep_best
from evoprune.space.space import SearchSpace

RATES = np.array([0.0, 0.5, 1.0])


@pytest.fixture
def truth(small_space: SearchSpace) -> AccuracyModel:
    """Accuracies of a network with some groups that matter and some that do not."""
    return AccuracyModel(curves_of(small_space), 90.0, 10.0)


def curves_of(space: SearchSpace) -> list[tuple[np.ndarray, np.ndarray]]:
    factors = np.random.default_rng(3).permutation(np.geomspace(0.1, 10, len(space.groups)))
    return [(RATES, np.array([0.0, 1.0, 10.0]) * factor) for factor in factors]


def make_surrogate(space: SearchSpace, **known: object) -> Surrogate:
    experiment = parse_experiment({**MINIMAL, "search": {"proposal": "surrogate"}}, "test")
    knowledge = Knowledge(space, experiment, {"magnitude": random_scores(space)}, base_accuracy=90.0, **known)
    proposal = make_proposals(knowledge)["surrogate"][1]
    assert isinstance(proposal, Surrogate) and isinstance(proposal, Learner)
    return proposal


def losses_of(space: SearchSpace, truth: AccuracyModel, codes: np.ndarray) -> np.ndarray:
    shares = np.stack([group.of(codes).mean(axis=1) for group in space.groups], axis=1)
    return np.stack([-truth.predict(shares), compute_costs(space, codes)["flops"]], axis=1).astype(float)


def test_of_each_group_the_most_important_channels_stay(small_space):
    scores = random_scores(small_space)
    for code in make_surrogate(small_space).first(8, np.random.default_rng(0)):
        for group in small_space.groups:
            kept = group.of(code) == 1
            assert group.of(scores)[kept].min() > group.of(scores)[~kept].max(initial=-1)
            assert all((code[place] == group.of(code)).all() for place in group.slices)


def test_curves_decide_the_first_codes(small_space):
    """A group that costs nothing keeps less than the same group where it costs much."""

    def kept(loss: float) -> float:
        flat = (RATES, np.array([0.0, 2.0, 20.0]))
        curves = [(RATES, np.array([0.0, loss / 4, loss])), *[flat] * (len(small_space.groups) - 1)]
        codes = make_surrogate(small_space, curves=curves).first(16, np.random.default_rng(0))
        return float(small_space.groups[0].of(codes).mean())

    assert kept(0.1) < kept(60.0) - 0.2


def test_what_it_learns_makes_its_codes_better(small_space, truth):
    """Told what random codes measure, one without curves comes half-way to one that knows the network's own."""
    surrogate, knowing = make_surrogate(small_space), make_surrogate(small_space, curves=curves_of(small_space))
    reference = np.array([-10.0, compute_costs(small_space, small_space.full_code())["flops"][0]])

    def volume(of: Surrogate) -> float:
        codes = of.first(60, np.random.default_rng(0))
        return hypervolume(losses_of(small_space, truth, codes), reference) / reference[1] / 80

    before, best = volume(surrogate), volume(knowing)
    widths = np.random.default_rng(1).random((60, len(small_space.groups)))
    scores, sizes = random_scores(small_space), [group.width for group in small_space.groups]
    told = np.stack([keep_best(small_space, scores, np.round(row * sizes).astype(int).tolist()) for row in widths])
    surrogate.learn(list(told), losses_of(small_space, truth, told))
    assert before < (before + best) / 2 < volume(surrogate)


def test_small_changes_of_widths_find_a_better_front(small_space, truth, monkeypatch):
    """The more of them, the nearer: NSGA-III, which changes bits, stops short of it."""
    reference = np.array([-10.0, compute_costs(small_space, small_space.full_code())["flops"][0]])

    def volume(rounds: int) -> float:
        monkeypatch.setattr("evoprune.search.proposals.surrogate._ROUNDS", rounds)
        codes = make_surrogate(small_space, curves=curves_of(small_space)).first(60, np.random.default_rng(0))
        return hypervolume(losses_of(small_space, truth, codes), reference)

    assert volume(0) < volume(20) < volume(80)


def test_what_failed_teaches_nothing(small_space, truth):
    first, second = make_surrogate(small_space), make_surrogate(small_space)
    codes = first.first(6, np.random.default_rng(0))
    losses = losses_of(small_space, truth, codes)
    first.learn(list(codes), losses)
    failed = np.concatenate([losses, np.full((6, 2), np.nan)])
    second.learn([*codes, *codes], failed)
    parents = np.zeros((4, 2, small_space.length), np.uint8)
    drawn = [one.propose(parents, 0.0, np.random.default_rng(1)) for one in (first, second)]
    assert (drawn[0] == drawn[1]).all()


def test_the_more_it_knows_the_less_often_it_learns(small_space, truth, monkeypatch):
    """Asked after each of 320 measurements; and asked once, as where a search goes on, it has the same codes."""
    fitted: list[int] = []
    fit = AccuracyModel.fit
    for name in ("_GENERATIONS", "_ROUNDS"):  # of what looks for codes, which is not asked about here
        monkeypatch.setattr(f"evoprune.search.proposals.surrogate.{name}", 1)
    monkeypatch.setattr(
        AccuracyModel, "fit", lambda self, shares, told: fitted.append(len(told)) or fit(self, shares, told)
    )
    asked, silent = make_surrogate(small_space), make_surrogate(small_space)
    codes = np.random.default_rng(0).integers(0, 2, (320, small_space.length), dtype=np.uint8)
    codes = np.stack([small_space.repair(code) for code in codes])
    losses, parents = losses_of(small_space, truth, codes), np.zeros((1, 2, small_space.length), np.uint8)
    for number in range(320):
        asked.learn([codes[number]], losses[number : number + 1])
        drawn = asked.propose(parents, 0.0, np.random.default_rng(1))
        known = fitted[-1] if fitted else 0
        assert number + 1 - known <= max(3, (number + 1) / 16)
    assert fitted == [*range(4, 128, 4), *range(128, 256, 8), *range(256, 321, 16)]
    silent.learn(list(codes), losses)
    assert (silent.propose(parents, 0.0, np.random.default_rng(1)) == drawn).all()


def test_asked_again_it_has_other_codes(small_space):
    surrogate, rng = make_surrogate(small_space), np.random.default_rng(0)
    first, second = (surrogate.first(8, rng) for _ in range(2))
    assert len({code.tobytes() for code in (*first, *second)}) > 10


def test_its_codes_keep_the_limits(small_space):
    """Also where the search on predictions has changed tied segments apart."""
    proposal = make_proposal(small_space, proposal="surrogate", limits={"flops": {"min": "30%", "max": "50%"}})
    shares = flops_shares(small_space, proposal.first(40, np.random.default_rng(0)))
    assert shares.min() >= 0.3 and shares.max() <= 0.5


def test_where_accuracy_is_no_objective_costs_alone_decide(small_space):
    search = {"proposal": "surrogate", "objectives": ["flops", "params"]}
    experiment = parse_experiment({**MINIMAL, "search": search}, "test")
    knowledge = Knowledge(small_space, experiment, {"magnitude": random_scores(small_space)})
    proposal = make_proposals(knowledge)["surrogate"][1]
    codes = proposal.first(3, np.random.default_rng(0))
    proposal.learn(list(codes), np.ones((3, 2)))
    assert proposal.propose(np.zeros((2, 2, small_space.length), np.uint8), 0.0, np.random.default_rng(0)).shape[0] == 2


def test_channels_that_must_be_chosen_together_are(small_space):
    """Of a grouped convolution every group keeps equally many; which ones, importance says."""
    layers = [nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 3, groups=4), nn.Conv2d(16, 8, 1), nn.AdaptiveAvgPool2d(1)]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 10)).eval()
    space = trace_search_space(network, torch.zeros(2, 3, 8, 8))
    scores = random_scores(space)
    codes = make_surrogate(space).first(30, np.random.default_rng(0))
    assert len(np.unique(codes, axis=0)) > 5
    assert all((space.repair(code, scores) == code).all() for code in codes)


def test_latency_cannot_be_predicted():
    search = {"proposal": {"surrogate": 0.5, "evolution": 0.5}, "objectives": ["accuracy", "latency"]}
    with pytest.raises(UserError, match=r"search\.proposal: .*others than surrogate where latency is an objective"):
        parse_experiment({**MINIMAL, "search": search}, "x")


def test_its_curves_are_measured_before_the_search():
    assert SearchConfig(proposal="surrogate").measures_sensitivity
    assert not SearchConfig(proposal="random").measures_sensitivity
