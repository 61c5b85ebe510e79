"""The sensitivity that a search measures for itself before it begins."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import TINY, die_at, load_data, merge, refuse_workers, repeated, run_search

from evoprune import UserError, compute_costs, load_model, slim_network
from evoprune.config import DataConfig, Experiment
from evoprune.evaluation.accuracy import accuracy
from evoprune.networks.device import Compute
from evoprune.pruning.moments import load_moments
from evoprune.runs.table import Table
from evoprune.stages import curves
from evoprune.stages.curves import (
    PRIOR_IMAGES,
    PRIOR_RATES,
    num_prior_measurements,
    read_curves,
)
from evoprune.training.batch_norm import recalibrate

CPU = Compute(torch.device("cpu"), bf16=False)
Make = Callable[..., Experiment]


@pytest.fixture
def measuring(tiny: Make) -> Make:
    """Like `tiny`, with the default of `search.sensitivity`."""

    def make(**changes: Any) -> Experiment:
        return tiny(**merge({"search": {"sensitivity": "measured"}}, changes))

    return make


@pytest.fixture(scope="module")
def searched(tiny: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search that has measured its curves."""
    return run_search(tiny(search={"sensitivity": "measured"}), tmp_path_factory.mktemp("prior") / "run")


def test_it_is_the_default(make_experiment):
    document = {name: value for name, value in TINY["search"].items() if name != "sensitivity"}
    assert make_experiment().search.model_validate(document).measures_sensitivity


def test_each_group_is_pruned_by_quarters_and_by_seven_eighths_and_down_to_one(searched, small_space):
    table = pd.read_csv(searched / "sensitivity" / "prior.csv")
    kept = table.groupby("segment", sort=False)["kept"].apply(list)
    for group in small_space.groups:
        full = group.width
        wanted = {full, full - full // 4, full // 2, full // 4, full - int(0.875 * full), 1}
        assert kept[group.name] == sorted(wanted, reverse=True)
    assert PRIOR_RATES == (0.25, 0.5, 0.75, 0.875)
    assert table.code.nunique() == num_prior_measurements(small_space)


def test_its_accuracies_are_those_of_recalibrated_networks(searched, small_space):
    data = load_data(DataConfig(**TINY["data"]), CPU.device)
    row = pd.read_csv(searched / "sensitivity" / "prior.csv").iloc[-2]
    base, moments = load_model(searched / "base"), load_moments(searched / "base" / "moments.safetensors")
    network = slim_network(small_space, base, small_space.parse_code(row.code), moments)
    recalibrate(network, data, TINY["evaluation"]["recalibration_images"], CPU, seed=0)
    assert row.accuracy == accuracy(network, data, data.validation.evenly(PRIOR_IMAGES), CPU)


@pytest.fixture(scope="module")
def many_first(searched: Path, tiny: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search with many first codes, which know the curves of `searched`."""
    search = {"random_samples": 41, "generations": 0, "sensitivity": str(searched / "sensitivity" / "prior.csv")}
    return run_search(tiny(search=search), tmp_path_factory.mktemp("many") / "run")


def test_first_codes_keep_more_of_what_is_sensitive(many_first, searched, tiny, small_space, tmp_path):
    """Over the first codes, mean keep rates of the groups follow the measured offsets; without curves they do not."""
    without = run_search(tiny(search={"random_samples": 41, "generations": 0}), tmp_path / "without")
    offsets = read_curves(searched / "sensitivity" / "prior.csv", small_space).offsets()

    def agreement(path: Path) -> float:
        codes = [small_space.parse_code(code) for code in pd.read_csv(path / "reports.csv")["code"][1:]]
        rates = [np.mean([group.of(code).mean() for code in codes]) for group in small_space.groups]
        return float(np.corrcoef(rates, offsets)[0, 1])

    assert agreement(many_first) > 0.7 > agreement(without)


def test_first_codes_are_still_spread_over_all_sizes(many_first, small_space):
    codes = np.stack([small_space.parse_code(code) for code in pd.read_csv(many_first / "reports.csv")["code"]])
    flops = compute_costs(small_space, codes)["flops"] / compute_costs(small_space, small_space.full_code())["flops"][0]
    assert np.histogram(flops, bins=4, range=(0.04, 1))[0].min() >= 8


def test_a_table_of_the_users_decides_the_first_codes_as_one_that_was_measured(searched, tiny, tmp_path):
    shutil.copy(searched / "sensitivity" / "prior.csv", tmp_path / "mine.csv")
    path = run_search(tiny(search={"sensitivity": str(tmp_path / "mine.csv")}), tmp_path / "run")
    assert repeated(path) == repeated(searched)
    (copy,) = (path / "sensitivity").iterdir()
    assert copy.name == "prior.csv" and copy.read_bytes() == (tmp_path / "mine.csv").read_bytes(), "nothing is measured"


@pytest.mark.parametrize("dies_at", [5, 63])
def test_a_search_goes_on_that_was_interrupted_in_its_curves_or_later(
    searched, measuring, tmp_path, monkeypatch, dies_at
):
    path, real = tmp_path / "run", Table.append
    die_at(monkeypatch, dies_at)
    with pytest.raises(KeyboardInterrupt):
        run_search(measuring(), path)
    monkeypatch.setattr(Table, "append", real)
    run_search(measuring(), path)
    assert repeated(path) == repeated(searched)
    assert repeated(path, "sensitivity/prior.csv") == repeated(searched, "sensitivity/prior.csv")
    finished = (path / "sensitivity" / "prior.csv").read_bytes()
    refuse_workers(monkeypatch)
    run_search(measuring(), path)
    assert (path / "sensitivity" / "prior.csv").read_bytes() == finished


@pytest.mark.parametrize("search", [{"prior": None}, {"proposal": "random"}, {"sensitivity": None}], ids=str)
def test_nothing_is_measured_that_no_proposal_asks_for(measuring, tmp_path, search):
    path = run_search(measuring(search=search), tmp_path / "run")
    assert not (path / "sensitivity").exists()


def test_where_the_base_network_fails_the_first_codes_know_nothing(measuring, tiny, tmp_path, capsys):
    """The search then ends as it would have ended anyway, and its codes are those of a search without curves."""
    failing = {"evaluation": {"time_limit_s": 1e-9}}
    for make, name in ((measuring, "with"), (tiny, "without")):
        with pytest.raises(UserError, match="no candidate succeeded"):
            run_search(make(**failing), tmp_path / name)
    assert "the base network could not be measured" in capsys.readouterr().out
    first, second = (pd.read_csv(tmp_path / name / "reports.csv")["key"].tolist() for name in ("with", "without"))
    assert first == second


def test_the_code_of_the_base_network_is_measured_once_for_all_curves(monkeypatch, tiny, tmp_path):
    """As many measurements as different codes, whatever a worker takes at once."""
    sizes: list[int] = []
    batch = curves.Batch

    def counting(codes: tuple[str, ...], fidelity: Any) -> Any:
        sizes.append(len(codes))
        return batch(codes, fidelity)

    monkeypatch.setattr(curves, "Batch", counting)
    run_search(tiny(search={"sensitivity": "measured"}, workers={"candidates_per_batch": 4}), tmp_path / "run")
    prior = pd.read_csv(tmp_path / "run" / "sensitivity" / "prior.csv")
    assert sum(sizes) == prior.code.nunique() < len(prior)
    assert set(sizes[:-1]) == {4}
