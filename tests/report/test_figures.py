"""Pictures of a run: what stands on their axes."""

from collections.abc import Callable, Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from evoprune.common.objectives import OBJECTIVES
from evoprune.config import Experiment, ReportConfig, parse_experiment
from evoprune.pruning.importance.sensitivity import Curves
from evoprune.report.compared import ComparedRun
from evoprune.report.figures import draw_comparison, draw_front, draw_hypervolume, draw_sensitivity, draw_sweep
from evoprune.search.front import fronts_by_generation
from evoprune.space.space import SearchSpace

DPI = 300
NAMES = ["accuracy", "flops"]


@pytest.fixture(autouse=True)
def _small_pictures() -> None:
    """Here pictures are as large as users get them."""


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Figure]]:
    """Returns the picture that was drawn last, which stays open in memory."""
    monkeypatch.setattr(plt, "close", lambda _: None)
    yield plt.gcf
    monkeypatch.undo()
    plt.close("all")


def rows(number: int) -> list[dict[str, Any]]:
    """Candidates, two a generation; each generation is better than the one before."""
    return [
        {
            **{"id": i, "generation": i // 2, "rung": 0, "status": "ok", "accuracy": 50.0 + 2 * i},
            **{"flops": 1000 - 20 * (i % 2), "params": 100 - i, "latency": 1.0 + i},
            "proposal": "evolution",
        }
        for i in range(number)
    ]


def lines(figure: Figure, panel: int = 0) -> dict[str, list[tuple[float, float]]]:
    """The points of every line of a panel, by its name in the legend."""
    return {str(line.get_label()): [tuple(point) for point in line.get_xydata()] for line in figure.axes[panel].lines}


def clouds(figure: Figure, panel: int = 0) -> dict[str, list[tuple[float, float]]]:
    return {
        str(cloud.get_label()): [tuple(point) for point in np.asarray(cloud.get_offsets())]
        for cloud in figure.axes[panel].collections
    }


def drawn_as(names: list[str], every: int) -> Experiment:
    """An experiment with these objectives."""
    given = {"name": "mine", "data": {"dataset": "digits"}, "search_space": {"name": "resnet20"}}
    return parse_experiment({**given, "search": {"objectives": names}, "report": {"every": every}}, "test")


@pytest.mark.parametrize("names", [NAMES, ["accuracy", "flops", "params", "latency"]])
def test_the_front_has_a_panel_for_every_objective_but_the_first(tmp_path, drawn, names):
    draw_front([tmp_path / "front.png"], rows(6), [], drawn_as(names, 1))
    assert Image.open(tmp_path / "front.png").size == (7 * (len(names) - 1) * DPI, 5 * DPI)
    for panel, name in enumerate(names[1:]):
        assert clouds(drawn(), panel) == {"candidates": [(row[name], row["accuracy"]) for row in rows(6)]}
        axes = drawn().axes[panel]
        assert axes.get_xlabel().startswith(OBJECTIVES[name].label) and axes.get_ylabel() == "accuracy (%)"


def test_the_front_of_every_so_many_generations_is_a_line_from_left_to_right(tmp_path, drawn):
    draw_front([tmp_path / "front.png"], rows(20), [], drawn_as(NAMES, 4))
    wanted = {}
    for generation in (0, 4, 8, 9):
        front = fronts_by_generation(rows(20), NAMES)[generation]
        wanted[f"front, generation {generation}"] = sorted((row["flops"], row["accuracy"]) for row in front)
    assert lines(drawn()) == wanted
    draw_front([tmp_path / "front.png"], rows(20), [], drawn_as(NAMES, 100))
    assert [*lines(drawn())] == ["front, generation 0", "front, generation 9"]


def test_stars_stand_for_test_accuracies(tmp_path, drawn):
    front = [{**row, "test_accuracy": tested} for row, tested in zip(rows(6)[4:], (60.0, None), strict=True)]
    draw_front([tmp_path / "front.png"], rows(6), front, drawn_as(NAMES, 1))
    assert clouds(drawn())["fully trained, test"] == [(1000, 60.0)]
    draw_front([tmp_path / "front.png"], rows(6), front, drawn_as(["params", "flops"], 1))
    assert [*clouds(drawn())] == ["candidates"], "there is no axis for them"


def test_published_networks_are_marked_where_accuracy_stands_over_multiply_adds(tmp_path, drawn):
    published = [{"flops": 700, "accuracy": 91.0}]
    draw_front([tmp_path / "front.png"], rows(6), [], drawn_as(["accuracy", "flops", "params"], 1), published)
    assert clouds(drawn(), 0)["published"] == [(700, 91.0)] and "published" not in clouds(drawn(), 1)


def test_the_base_network_is_marked(tmp_path, drawn):
    uncut = {**rows(1)[0], "proposal": "full"}
    draw_front([tmp_path / "front.png"], [uncut, *rows(6)[1:]], [], drawn_as(NAMES, 1))
    assert clouds(drawn())["base network"] == [(1000, 50.0)]


def test_every_run_of_a_comparison_has_its_front_its_base_network_and_its_stars(tmp_path, drawn):
    tested = [{**rows(2)[1], "test_accuracy": 77.0}]
    runs = [
        ComparedRun("a", "net", "images", tested, {"flops": 2000, "accuracy": 95.0}),
        ComparedRun("b", "net", "images", rows(1), {"flops": 3000}),
    ]
    draw_comparison([tmp_path / "comparison.png"], runs, NAMES)
    assert {name: points for name, points in lines(drawn()).items() if points} == {
        "a": [(980, 52.0)],
        "b": [(1000, 50.0)],
    }
    marks = [np.asarray(cloud.get_offsets()).tolist() for cloud in drawn().axes[0].collections]
    assert marks == [[[980, 77.0]], [[2000, 95.0]]], "the base network of b was not measured"
    assert "fully trained, test" in lines(drawn())
    draw_comparison([tmp_path / "comparison.png"], runs[1:], NAMES)
    assert "fully trained, test" not in lines(drawn())


def test_runs_of_any_name_stand_in_the_legend(tmp_path, drawn):
    names = ["cost_$5_and_$6", "_mine", f"{'a' * 90}/first", f"{'a' * 90}/second"]
    runs = [ComparedRun(name, "net", "images", rows(2), {"flops": 2000, "accuracy": 95.0}) for name in names]
    draw_comparison([tmp_path / "comparison.png"], runs, NAMES)
    (legend,) = drawn().legends
    shown = [text.get_text().strip() for text in legend.get_texts()]
    assert shown[:2] == [r"cost_\$5_and_\$6", "_mine"]
    assert [(len(text), text[-6:]) for text in shown[2:4]] == [(80, "/first"), (80, "second")]


def test_a_picture_comes_as_every_kind_of_file_with_letters_that_can_be_read(tmp_path):
    files = ReportConfig(formats=("png", "svg", "pdf")).files(tmp_path / "run.1")
    assert [file.name for file in files] == ["run.1.png", "run.1.svg", "run.1.pdf"]
    draw_hypervolume(files, [0.1, 0.2], NAMES)
    png, svg, pdf = (file.read_bytes() for file in files)
    assert png.startswith(b"\x89PNG") and b">generation</text>" in svg and pdf.startswith(b"%PDF")


def test_failed_candidates_are_not_in_the_picture(tmp_path, drawn):
    failed = [{**row, "status": "failed", "accuracy": None} for row in rows(2)]
    draw_front([tmp_path / "front.png"], failed, [], drawn_as(NAMES, 1))
    assert clouds(drawn()) == {"candidates": []} and all(points == [] for points in lines(drawn()).values())
    assert Image.open(tmp_path / "front.png").size == (7 * DPI, 5 * DPI)


def test_the_hypervolume_is_a_line_over_generations(tmp_path, drawn):
    draw_hypervolume([tmp_path / "volume.png"], [0.1, 0.4, 0.9], ["accuracy", "latency"])
    assert [*lines(drawn()).values()] == [[(0, 0.1), (1, 0.4), (2, 0.9)]]
    (axes,) = drawn().axes
    assert axes.get_ylabel() == "hypervolume of accuracy and latency" and axes.lines[0].get_drawstyle() == "steps-post"
    assert all(tick == int(tick) for tick in axes.get_xticks())
    assert Image.open(tmp_path / "volume.png").size == (6 * DPI, 4 * DPI)


def test_every_group_has_a_curve_without_the_measurements_that_failed(tmp_path, drawn, small_space: SearchSpace):
    rates = tuple(np.array([0.0, 0.5, 0.75]) for _ in small_space.groups)
    losses = [np.array([0.0, 2.0, 4.0]) for _ in small_space.groups]
    losses[-1] = np.array([0.0, np.inf, 4.0])
    draw_sensitivity([tmp_path / "curves.png"], Curves(small_space, rates, tuple(losses)))
    found = lines(drawn())
    assert [*found] == [group.name for group in small_space.groups]
    *whole, last = found.values()
    assert all(points == [(0, 0), (50, 2), (75, 4)] for points in whole) and last == [(0, 0), (75, 4)]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_groups_to_leave_alone_are_red(tmp_path, drawn, small_space: SearchSpace):
    """One that costs more than a point with a tenth of its channels gone."""
    rates = tuple(np.array([0.0, 0.1, 0.75]) for _ in small_space.groups)
    losses = [np.array([0.0, 0.9, 4.0]) for _ in small_space.groups]
    losses[2] = np.array([0.0, 1.1, 4.0])
    draw_sensitivity([tmp_path / "curves.png"], Curves(small_space, rates, tuple(losses)))
    red = [line.get_label() for line in drawn().axes[0].lines if str(line.get_color()) == "crimson"]
    assert red == [f"{small_space.groups[2].name}: leave alone"]


@pytest.mark.parametrize("tuned", [True, False])
def test_a_sweep_is_two_lines_and_a_star_on_the_knee(tmp_path, drawn, tuned):
    points = [(0, 90, 91), (50, 85, 90), (75, 30, 80), (100, 10, 10)]
    swept = [{"sparsity": x / 100, "accuracy": y, "accuracy_finetuned": z if tuned else None, "epochs": 1}
             for x, y, z in points]  # fmt: skip
    swept.append({"sparsity": 1.0, "accuracy": None, "accuracy_finetuned": None, "epochs": 1})
    draw_sweep([tmp_path / "sweep.png"], swept, "layer")
    found = [points for label, points in lines(drawn()).items() if "_" not in label]
    assert found == [[(x, y) for x, y, _ in points], [(x, z) for x, _, z in points]][: 1 + tuned]
    assert clouds(drawn()) == {"knee without fine-tuning, 50 %": [(50, 85)]}


def test_pictures_are_closed_when_they_are_saved(tmp_path):
    before = plt.get_fignums()
    draw_hypervolume([tmp_path / "volume.png"], [0.1], NAMES)
    draw_front([tmp_path / "front.png"], rows(2), [], drawn_as(NAMES, 1))
    assert plt.get_fignums() == before
