"""Keys of importances."""

import pytest

from evoprune import UserError
from evoprune.config import IMPORTANCES, Experiment, parse_experiment

MINIMAL = {"name": "mine", "data": {"dataset": "digits"}, "search_space": {"name": "resnet20"}}


def parse(**importance: object) -> Experiment:
    return parse_experiment({**MINIMAL, "importance": importance}, "x")


@pytest.mark.parametrize(
    ("importance", "parts"),
    [
        ({"criterion": "L1"}, ["importance.criterion: got 'L1'", "'l1'", "'geometric_median'", "'taylor'"]),
        ({"criterium": "l1"}, ["unknown key importance.criterium", "did you mean 'criterion'"]),
        ({"ranking": "layer"}, ["importance.ranking: got 'layer'", "'uniform'", "'global'"]),
        ({"images": 0}, ["importance.images: got 0", "greater than or equal to 1"]),
        ({"scop": {"epoch": 1}}, ["unknown key importance.scop.epoch", "did you mean 'epochs'"]),
        ({"scop": {"knockoff": "gauss"}}, ["importance.scop.knockoff: got 'gauss'", "'gaussian'"]),
    ],
)
def test_an_error_names_the_key_what_came_and_what_is_allowed(importance, parts):
    with pytest.raises(UserError) as caught:
        parse(**importance)
    assert [part for part in parts if part not in str(caught.value)] == [], str(caught.value)


def test_noise_images_have_no_labels_to_be_classified_by():
    assert parse(scop={"knockoff": "derangement", "loss_on_knockoff": True}).importance.scop.loss_on_knockoff
    with pytest.raises(UserError, match=r"importance\.scop\.loss_on_knockoff: got True; .*have no labels"):
        parse(scop={"knockoff": "gaussian", "loss_on_knockoff": True})


def test_what_decides_scores_is_part_of_a_runs_identity():
    whole = parse().identity()
    changes = [{"criterion": "l2"}, {"ranking": "global"}, {"scop": {"epochs": 2}}]
    assert all(parse(**importance).identity() != whole for importance in changes)


def test_every_importance_can_be_a_proposal_and_a_prior():
    for name in IMPORTANCES:
        search = {"prior": name, "proposal": {name: 0.5, "evolution": 0.5}}
        assert parse_experiment({**MINIMAL, "search": search}, "x").search.importances == (name,)
