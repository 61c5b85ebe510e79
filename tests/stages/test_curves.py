"""Sensitivity: each group pruned alone, in a table that goes on."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from commands import refusal, write_experiment
from helpers import TINY, die_at, load_data, merge, refuse_workers

from evoprune import compute_costs, load_model, load_search_space, slim_network
from evoprune.cli import main
from evoprune.config import DataConfig, Experiment
from evoprune.evaluation.accuracy import accuracy
from evoprune.networks.device import Compute
from evoprune.pruning.moments import load_moments
from evoprune.runs.table import Table
from evoprune.space.space import SearchSpace
from evoprune.stages.curves import COLUMNS, read_curves
from evoprune.training.batch_norm import recalibrate

SPACE = load_search_space("resnet20", width=4, num_classes=10, in_channels=1, image_size=8)
RECALIBRATION = 32
L1 = {"criterion": "l1"}
CPU = Compute(torch.device("cpu"), bf16=False)
Make = Callable[..., Experiment]


def write_quick(folder: Path, cache: Path, **changes: object) -> str:
    quick = {"base": {"cache": str(cache)}, "evaluation": {"recalibration_images": RECALIBRATION}}
    return write_experiment(folder, **merge(quick, changes))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """The folder of a run whose sensitivity is measured on 50 images."""
    folder = tmp_path_factory.mktemp("sensitivity")
    out = folder / "out"
    assert main(["sensitivity", write_quick(folder, cache), "--out", str(out), "--images", "50"]) == 0
    return out


@pytest.fixture(scope="module")
def table(measured: Path) -> pd.DataFrame:
    return pd.read_csv(measured / "sensitivity" / "magnitude.csv")


def test_every_group_is_pruned_alone_by_tenths_and_down_to_one_channel(table, small_space):
    assert list(table.segment.unique()) == [group.name for group in small_space.groups]
    assert table.id.tolist() == list(range(len(table)))
    for (name, rows), group in zip(table.groupby("segment", sort=False), small_space.groups, strict=True):
        width = group.width
        wanted = sorted({width - int(tenth * width / 10) for tenth in range(10)} | {1}, reverse=True)
        assert rows.kept.tolist() == wanted, name
        assert rows.rate.to_numpy() == pytest.approx(1 - rows.kept.to_numpy() / width)
        for _, row in rows.iterrows():
            code = small_space.parse_code(row.code)
            widths = {segment.name: segment.width for segment in small_space.segments}
            widths |= dict.fromkeys(group.segments, row.kept)
            assert small_space.widths(code) == widths and not small_space.adapters(code)
            assert row.flops == compute_costs(small_space, code)["flops"][0]


def test_accuracies_are_those_of_recalibrated_networks(table, measured, small_space):
    """At rate 0 the base network's own, elsewhere that of the slim network of the code."""
    data = load_data(DataConfig(**TINY["data"]), CPU.device)
    base, moments = load_model(measured / "base"), load_moments(measured / "base" / "moments.safetensors")
    for row in (table.iloc[0], table.iloc[len(table) // 2]):
        network = slim_network(small_space, base, small_space.parse_code(row.code), moments)
        recalibrate(network, data, RECALIBRATION, CPU, seed=0)
        assert row.accuracy == accuracy(network, data, data.validation.evenly(50), CPU)
    uncut = table[table.rate == 0]
    assert len(uncut) == len(small_space.groups) and uncut.accuracy.nunique() == 1 and uncut.seconds.nunique() == 1


def test_the_picture_lies_beside_the_table(measured):
    assert (measured / "sensitivity" / "magnitude.png").read_bytes().startswith(b"\x89PNG")


def test_columns_of_the_table_are_those_that_are_documented(table):
    assert list(table.columns) == [*COLUMNS, "check"]


def test_an_interrupted_measurement_goes_on_and_a_finished_one_is_kept(tmp_path, cache, monkeypatch, capsys):
    file, out = write_quick(tmp_path, cache), tmp_path / "out"
    command = ["sensitivity", file, "--out", str(out), "--images", "20"]
    real = Table.append
    rows = die_at(monkeypatch, 17)
    assert main(command) == 75
    path = out / "sensitivity" / "magnitude.csv"
    assert len(pd.read_csv(path)) == 17
    assert "run `evoprune sensitivity` to its end" in refusal(
        capsys, "validate", file, "--set", f"search.sensitivity={path}"
    )
    monkeypatch.setattr(Table, "append", lambda self, row: (rows.append(row), real(self, row)))
    assert main(command) == 0
    finished = pd.read_csv(path)
    assert finished.id.tolist() == list(range(len(finished))) and len(rows) == len(finished)
    refuse_workers(monkeypatch)
    before = path.read_bytes()
    capsys.readouterr()
    assert main(command) == 0 and path.read_bytes() == before
    assert "kept at 2 points" in capsys.readouterr().out


def test_another_number_of_images_is_measured_anew(tmp_path, cache, capsys):
    file, path = write_quick(tmp_path, cache), tmp_path / "out" / "sensitivity" / "magnitude.csv"
    for images in ("5", "7"):
        assert main(["sensitivity", file, "--out", str(tmp_path / "out"), "--images", images]) == 0
        assert set(pd.read_csv(path).images) == {int(images)}
    assert "another number of images" in capsys.readouterr().out


def test_a_loss_prunes_every_segment_as_far_as_its_curve_allows(measured, small_space):
    file = str(measured / "config.yaml")
    before = (measured / "sensitivity" / "magnitude.csv").read_bytes()
    assert main(["prune", file, "--out", str(measured), "--max-loss", "5", "--set", "retrain.epochs=0.1"]) == 0
    assert (measured / "sensitivity" / "magnitude.csv").read_bytes() == before
    row = pd.read_csv(measured / "pruned" / "magnitude-max-loss-5" / "summary.csv").iloc[1]
    counts = read_curves(measured / "sensitivity" / "magnitude.csv", small_space).counts_at(5)
    for group, count in zip(small_space.groups, counts, strict=True):
        assert [row[f"kept.{name}"] for name in group.segments] == [count] * len(group.segments)
    assert 0 < row["rate"] < 1


def test_prune_measures_curves_that_are_not_there(tmp_path, cache):
    file, out = write_quick(tmp_path, cache), tmp_path / "out"
    words = ["--max-loss", "3", "--steps", "2", "--set", "retrain.epochs=0.1"]
    assert main(["prune", file, "--out", str(out), *words]) == 0
    assert (out / "sensitivity" / "magnitude.csv").is_file()
    assert (out / "pruned" / "magnitude-max-loss-3-steps-2" / "step_2" / "model.safetensors").is_file()


def write_curves(path: Path, space: SearchSpace, first: float | None) -> Path:
    """Flat curves, in which the stem has the accuracy `first` at rate 0."""
    lines = ["segment,rate,kept,accuracy"]
    for group in space.groups:
        for kept in (group.width, 1):
            value = first if (group.segments[0], kept) == ("stem", group.width) else 90.0
            lines.append(f"{group.name},{1 - kept / group.width},{kept},{'' if value is None else value}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_curves_that_do_not_fit_are_refused(tmp_path, small_space, cache, capsys):
    file = write_quick(tmp_path, cache)
    other = tmp_path / "other.csv"
    other.write_text("segment,rate,accuracy\nconv1,0.0,90\n")
    notes = tmp_path / "notes.csv"
    notes.write_text("a,b\n1,2\n")
    failed = write_curves(tmp_path / "failed.csv", small_space, None)
    for path, part in (
        (other, "conv1"),
        (notes, "not a sensitivity table"),
        (failed, "rate 0"),
        (tmp_path / "nothing.csv", "no such file"),
    ):
        message = refusal(capsys, "validate", file, "--set", f"search.sensitivity={path}")
        assert "search.sensitivity" in message and str(path) in message and part in message
    assert read_curves(write_curves(tmp_path / "whole.csv", small_space, 91.0), small_space).worst == 1.0


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--images", "0"], ["--images", "at least 1", "got 0"]),
        (["--method", "skop"], ["--method", "'skop'", "did you mean 'scop'"]),
    ],
)
def test_a_mistake_is_named(tmp_path, cache, capsys, words, parts):
    out = tmp_path / "out"
    message = refusal(capsys, "sensitivity", write_quick(tmp_path, cache), "--out", str(out), *words)
    assert [part for part in parts if part not in message] == [] and not out.exists()


def test_a_search_goes_on_with_the_given_curves_that_it_began_with(tmp_path, small_space, cache, capsys, monkeypatch):
    given = write_curves(tmp_path / "mine.csv", small_space, 91.0)
    file, out = write_quick(tmp_path, cache, search={"sensitivity": str(given)}), tmp_path / "out"
    command = ["search", file, "--out", str(out)]
    die_at(monkeypatch, 3)
    assert main(command) == 75
    began_with = given.read_bytes()
    given.write_text(f"{began_with.decode().rsplit('90.0', 1)[0]}10.0\n")
    monkeypatch.undo()
    capsys.readouterr()
    assert main(command) == 0
    assert f"warning: search.sensitivity: {given} has changed since this run was begun" in capsys.readouterr().out
    assert (out / "sensitivity" / "prior.csv").read_bytes() == began_with
    given.unlink()
    assert main([*command, "--set", "search.generations=4"]) == 0
