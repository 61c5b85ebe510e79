"""Sensitivity: each segment cut alone, a table that goes on, and thresholds read from it."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import NINE_CODES, TINY, merge
from test_cli import refusal

from evoprune import compute_costs, load_model, load_search_space, slim_network
from evoprune.cli import main
from evoprune.networks.device import Compute
from evoprune.config import DataConfig
from evoprune.data.tensors import load_data
from evoprune.runs.table import Reports
from evoprune.stages.analyse import COLUMNS
from evoprune.pruning.importance.sensitivity import Curves, group_name, read_curves
from evoprune.space.space import SearchSpace
from evoprune.evaluation.accuracy import accuracy
from evoprune.training.batch_norm import recalibrate

RECALIBRATION = 32
CPU = Compute(torch.device("cpu"), bf16=False)


def write_experiment(folder: Path, cache: Path, **changes: object) -> str:
    file = folder / "tiny.yaml"
    quick = {"base": {"cache": str(cache)}, "evaluation": {"recalibration_images": RECALIBRATION}}
    file.write_text(yaml.safe_dump(merge(merge(TINY, quick), changes), sort_keys=False))
    return str(file)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """The folder of a run whose sensitivity is measured on 50 images."""
    folder = tmp_path_factory.mktemp("sensitivity")
    out = folder / "out"
    assert main(["sensitivity", write_experiment(folder, cache), "--out", str(out), "--images", "50"]) == 0
    return out


@pytest.fixture(scope="module")
def table(measured: Path) -> pd.DataFrame:
    return pd.read_csv(measured / "sensitivity" / "magnitude.csv")


def test_every_group_is_cut_alone_by_tenths_and_down_to_one_channel(table, small_space):
    assert list(table.segment.unique()) == [group_name(group) for group in small_space.tied]
    assert table.id.tolist() == list(range(len(table)))
    for (name, rows), group in zip(table.groupby("segment", sort=False), small_space.tied, strict=True):
        width = next(segment.width for segment in small_space.segments if segment.name == group[0])
        wanted = sorted({width - int(tenth * width / 10) for tenth in range(10)} | {1}, reverse=True)
        assert rows.kept.tolist() == wanted, name
        assert rows.rate.to_numpy() == pytest.approx(1 - rows.kept.to_numpy() / width)
        for _, row in rows.iterrows():
            code = small_space.parse_code(row.code)
            widths = {segment.name: segment.width for segment in small_space.segments} | dict.fromkeys(group, row.kept)
            assert small_space.widths(code) == widths and not small_space.adapters(code)
            assert row.flops == compute_costs(small_space, code)["flops"][0]


def test_accuracies_are_those_of_recalibrated_networks(table, measured, small_space):
    """At rate 0 the parent's own, elsewhere that of the slim network of the code."""
    data = load_data(DataConfig(**TINY["data"]), CPU.device)
    parent = load_model(measured / "base")
    for row in (table.iloc[0], table.iloc[len(table) // 2]):
        network = slim_network(small_space, parent, small_space.parse_code(row.code))
        recalibrate(network, data, RECALIBRATION, CPU, seed=0)
        assert row.accuracy == accuracy(network, data, data.validation.evenly(50), CPU)
    uncut = table[table.rate == 0]
    assert len(uncut) == len(small_space.tied) and uncut.accuracy.nunique() == 1 and uncut.seconds.nunique() == 1


def test_the_picture_lies_beside_the_table(measured):
    assert (measured / "sensitivity" / "magnitude.png").read_bytes().startswith(b"\x89PNG")


def test_an_interrupted_measurement_goes_on_and_a_finished_one_is_kept(tmp_path, cache, monkeypatch, capsys):
    file, out = write_experiment(tmp_path, cache), tmp_path / "out"
    command = ["sensitivity", file, "--out", str(out), "--images", "20"]
    real, rows = Reports.append, []

    def dying(self: Reports, row: dict) -> None:
        if len(rows) == 17:
            raise KeyboardInterrupt
        rows.append(row)
        real(self, row)

    monkeypatch.setattr(Reports, "append", dying)
    assert main(command) == 130
    path = out / "sensitivity" / "magnitude.csv"
    assert len(pd.read_csv(path)) == 17
    assert "run `evoprune sensitivity` to its end" in refusal(
        capsys, "validate", file, "--set", f"search.sensitivity={path}"
    )
    monkeypatch.setattr(Reports, "append", lambda self, row: (rows.append(row), real(self, row)))
    assert main(command) == 0
    finished = pd.read_csv(path)
    assert finished.id.tolist() == list(range(len(finished))) and len(rows) == len(finished)
    monkeypatch.setattr("evoprune.measuring.job_factory", None)
    before = path.read_bytes()
    capsys.readouterr()
    assert main(command) == 0 and path.read_bytes() == before
    assert "kept at 2 points" in capsys.readouterr().out


def test_another_number_of_images_is_measured_anew(tmp_path, cache, capsys):
    file, path = write_experiment(tmp_path, cache), tmp_path / "out" / "sensitivity" / "magnitude.csv"
    for images in ("5", "7"):
        assert main(["sensitivity", file, "--out", str(tmp_path / "out"), "--images", images]) == 0
        assert set(pd.read_csv(path).images) == {int(images)}
    assert "another number of images" in capsys.readouterr().out


def test_a_loss_cuts_every_segment_as_far_as_its_curve_allows(measured, small_space):
    file = str(measured / "config.yaml")
    before = (measured / "sensitivity" / "magnitude.csv").read_bytes()
    assert main(["prune", file, "--out", str(measured), "--max-loss", "5", "--set", "retrain.epochs=0.1"]) == 0
    assert (measured / "sensitivity" / "magnitude.csv").read_bytes() == before
    row = pd.read_csv(measured / "pruned" / "magnitude-max-loss-5" / "summary.csv").iloc[1]
    counts = read_curves(measured / "sensitivity" / "magnitude.csv", small_space).counts_at(5)
    assert {name: row[f"kept.{name}"] for name in counts} == counts
    assert 0 < row["rate"] < 1


def test_prune_measures_curves_that_are_not_there(tmp_path, cache):
    file, out = write_experiment(tmp_path, cache), tmp_path / "out"
    words = ["--max-loss", "3", "--steps", "2", "--set", "retrain.epochs=0.1"]
    assert main(["prune", file, "--out", str(out), *words]) == 0
    assert (out / "sensitivity" / "magnitude.csv").is_file()
    assert (out / "pruned" / "magnitude-max-loss-3-steps-2" / "step_2" / "model.safetensors").is_file()


def write_curves(path: Path, space: SearchSpace, accuracies: dict[str, list[float | None]]) -> Path:
    """Curves at 0, a quarter, half and three quarters of the channels, and of all but one; flat where not given."""
    lines = ["segment,rate,kept,accuracy"]
    width = {segment.name: segment.width for segment in space.segments}
    for group in space.tied:
        full = width[group[0]]
        kept = sorted({full, full * 3 // 4, full // 2, full // 4, 1}, reverse=True)
        given = accuracies.get(group[0], [90.0] * len(kept))
        for count, value in zip(kept, given, strict=True):
            lines.append(f"{group_name(group)},{1 - count / full},{count},{'' if value is None else value}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def curves(tmp_path: Path, small_space: SearchSpace) -> Curves:
    """Made up: channels 4 in `stem`, 4 in `layer1.0.middle`, 16 in `layer3.0.middle`; kept 16, 12, 8, 4, 1."""
    given: dict[str, list[float | None]] = {
        "stem": [90.0, 89.0, 80.0, 89.9],
        "layer1.0.middle": [90.0, 91.0, None, 90.0],
        "layer3.0.middle": [90.0, 90.5, 88.0, 84.0, 90.0],
    }
    return read_curves(write_curves(tmp_path / "curves.csv", small_space, given), small_space)


@pytest.mark.parametrize(
    ("loss", "stem", "middle", "last"),
    [
        (0.0, 4, 3, 12),  # layer3.0: 90.5 at 12 channels, then down 0.625 points a channel: 90 at 11.2
        (1.0, 3, 3, 10),  # 89 at 9.6
        (2.0, 3, 3, 8),
        (5.5, 3, 3, 5),  # stem: halfway from 89 to 80, at 2.5 channels; layer3.0: 84.5 at 4.5
        (10.0, 1, 3, 1),  # behind a failed measurement nothing is cut, however large the loss
    ],
)
def test_a_threshold_stops_before_the_first_place_that_costs_more(curves, loss, stem, middle, last):
    counts = curves.counts_at(loss)
    assert (counts["stem"], counts["layer1.0.middle"], counts["layer3.0.middle"]) == (stem, middle, last)
    assert counts["layer1.final"] == counts["stem"] and counts["layer2.final"] == 1


def test_rates_at_are_shares_kept_in_the_order_of_tied_and_fall_with_the_loss(curves, small_space):
    rates = [curves.rates_at(loss) for loss in np.linspace(0, curves.worst, 50)]
    assert all(values.shape == (len(small_space.tied),) for values in rates)
    assert all((later <= earlier + 1e-12).all() for earlier, later in pairwise(rates))
    index = small_space.tied.index(("stem", "layer1.final"))
    assert curves.rates_at(5.5)[index] == pytest.approx(0.625) and curves.rates_at(1.0)[index] == pytest.approx(0.75)
    assert curves.worst == 10.0


def test_curves_that_do_not_fit_are_refused(tmp_path, small_space, cache, capsys):
    file = write_experiment(tmp_path, cache)
    other = tmp_path / "other.csv"
    other.write_text("segment,rate,accuracy\nconv1,0.0,90\n")
    notes = tmp_path / "notes.csv"
    notes.write_text("a,b\n1,2\n")
    failed = write_curves(tmp_path / "failed.csv", small_space, {"stem": [None, 1.0, 1.0, 1.0]})
    for path, part in (
        (other, "conv1"),
        (notes, "not a sensitivity table"),
        (failed, "rate 0"),
        (tmp_path / "nothing.csv", "no such file"),
    ):
        message = refusal(capsys, "validate", file, "--set", f"search.sensitivity={path}")
        assert "search.sensitivity" in message and str(path) in message and part in message


def test_columns_of_the_table_are_those_that_are_documented(table):
    assert list(table.columns) == list(COLUMNS)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--images", "0"], ["--images", "at least 1", "got 0"]),
        (["--method", "skop"], ["--method", "'skop'", "did you mean 'scop'"]),
    ],
)
def test_a_mistake_is_named(tmp_path, cache, capsys, words, parts):
    out = tmp_path / "out"
    message = refusal(capsys, "sensitivity", write_experiment(tmp_path, cache), "--out", str(out), *words)
    assert [part for part in parts if part not in message] == [] and not out.exists()


def test_offsets_are_what_groups_keep_beyond_the_mean_where_that_is_one_half(tmp_path: Path):
    """Two groups with straight curves: to lose 20 points by its last channel, and 60. At 15 they keep 1/4, 3/4."""
    (tmp_path / "nine.yaml").write_text(NINE_CODES)
    space = load_search_space(str(tmp_path / "nine.yaml"))
    curves = Curves(space, (np.array([0.0, 1.0]),) * 2, (np.array([0.0, 20.0]), np.array([0.0, 60.0])))
    assert curves.rates_at(15.0) == pytest.approx([0.25, 0.75])
    assert curves.offsets() == pytest.approx([-0.25, 0.25], abs=1e-6)
