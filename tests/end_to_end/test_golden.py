"""What a run and every proposal gave before the house was rebuilt, at commit 239c322: they give it still.

The run's objectives are closed forms and its base network is a file, so that no machine's arithmetic decides a code.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import prepared, random_scores

from evoprune import load_search_space
from evoprune.config import load_experiment
from evoprune.pruning.importance.sensitivity import Curves
from evoprune.runs.ownership import open_run_folder
from evoprune.search.proposals.catalog import Knowledge, make_proposals
from evoprune.stages.retrain import retrain
from evoprune.stages.search import search

GOLDEN = Path(__file__).parents[1] / "golden"
DEPENDS_ON_THE_MACHINE = ["accuracy", "test_accuracy", "seconds", "model"]
POINTS = 4.0
"""Accuracies may differ by this much: rounding decides some of 100 to 360 images of a network of little skill."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("golden")
    arrays = np.load(GOLDEN / "base.npz")
    state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    torch.save({name: value.float() if value.is_floating_point() else value for name, value in state.items()},
               work / "base.pt")  # fmt: skip
    overrides = [f"base.weights={work / 'base.pt'}", f"search.sensitivity={GOLDEN / 'sensitivity.csv'}"]
    experiment = load_experiment(str(GOLDEN / "experiment.yaml"), overrides)
    with open_run_folder(work / "run", experiment) as folder:
        context = prepared(experiment, folder)
        search(context)
        retrain(context)
    return work / "run"


@pytest.mark.parametrize("name", ["reports.csv", "output.csv"])
def test_tables_are_the_golden_ones(run, name):
    found, golden = (pd.read_csv(folder / name, keep_default_na=False) for folder in (run, GOLDEN))
    found = found.drop(columns="check", errors="ignore")  # as seconds differ, the rows' checksums do
    assert list(found.columns) == list(golden.columns)
    exact = [column for column in golden.columns if column not in DEPENDS_ON_THE_MACHINE]
    pd.testing.assert_frame_equal(found[exact], golden[exact])
    measured = [column for column in ("accuracy", "test_accuracy") if column in golden.columns]
    assert np.abs(found[measured] - golden[measured]).max().max() <= POINTS


def test_proposals_draw_the_golden_codes():
    golden = json.loads((GOLDEN / "proposals.json").read_text())
    space = load_search_space("resnet20")
    changes = ["search.limits={}", "search.proposal={evolution: 0.25, magnitude: 0.25, scop: 0.25, random: 0.25}"]
    experiment = load_experiment(str(GOLDEN / "experiment.yaml"), changes)
    losses = [np.array([0, 1, 3, 10]) * x for x in np.random.default_rng(7).uniform(0.2, 5, len(space.groups))]
    curves = Curves(space, tuple(np.array([0, 0.5, 0.75, 1.0]) for _ in space.groups), tuple(losses))
    scores = {"magnitude": random_scores(space), "scop": random_scores(space, 1)}
    proposals = make_proposals(Knowledge(space, experiment, scores, curves.offsets()))
    assert list(proposals) == list(golden["keys"])
    for name, (_, proposal) in proposals.items():
        first = proposal.first(100, np.random.default_rng(11))
        pairs = np.stack([first, first[::-1]], axis=1)
        early = proposal.propose(pairs[:50], 0.0, np.random.default_rng(12))
        late = proposal.propose(pairs[50:], 0.7, np.random.default_rng(13))
        assert [space.key(code) for code in (*first, *early, *late)] == golden["keys"][name], name
