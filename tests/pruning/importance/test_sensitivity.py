"""Sensitivity without a network: which codes are measured, and what thresholds read from the curves."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from helpers import NINE_CODES, random_scores

from evoprune import UserError, compute_costs, load_search_space
from evoprune.common.objectives import Row
from evoprune.pruning.importance.sensitivity import Curves, curves_of, plan_points
from evoprune.space.ranking import keep_best
from evoprune.space.space import SearchSpace

TABLE = Path("curves.csv")


def make_rows(space: SearchSpace, accuracies: dict[str, list[float | None]]) -> list[Row]:
    """Curves at 0, a quarter, half and three quarters of the channels, and of all but one; flat where not given."""
    rows: list[Row] = []
    for group in space.groups:
        full = group.width
        kept = sorted({full, full * 3 // 4, full // 2, full // 4, 1}, reverse=True)
        given = accuracies.get(group.segments[0], [90.0] * len(kept))
        for count, value in zip(kept, given, strict=True):
            rows.append({"segment": group.name, "rate": 1 - count / full, "kept": count, "accuracy": value})
    return rows


@pytest.fixture
def curves(small_space: SearchSpace) -> Curves:
    """Made up: channels 4 in `stem`, 4 in `layer1.0.middle`, 16 in `layer3.0.middle`; kept 16, 12, 8, 4, 1."""
    given: dict[str, list[float | None]] = {
        "stem": [90.0, 89.0, 80.0, 89.9],
        "layer1.0.middle": [90.0, 91.0, None, 90.0],
        "layer3.0.middle": [90.0, 90.5, 88.0, 84.0, 90.0],
    }
    return curves_of(make_rows(small_space, given), small_space, TABLE)


@pytest.mark.parametrize(
    ("loss", "stem", "middle", "last"),
    [
        (0.0, 4, 3, 12),  # layer3.0: 90.5 at 12 channels, then down 0.625 points a channel: 90 at 11.2
        (1.0, 3, 3, 10),  # 89 at 9.6
        (2.0, 3, 3, 8),
        (5.5, 3, 3, 5),  # stem: halfway from 89 to 80, at 2.5 channels; layer3.0: 84.5 at 4.5
        (10.0, 1, 3, 1),  # behind a failed measurement nothing is pruned, however large the loss
    ],
)
def test_a_threshold_stops_before_the_first_place_that_costs_more(curves, small_space, loss, stem, middle, last):
    counts = dict(zip((group.name for group in small_space.groups), curves.counts_at(loss), strict=True))
    assert (counts["stem+layer1.final"], counts["layer1.0.middle"], counts["layer3.0.middle"]) == (stem, middle, last)
    assert counts["layer2.final"] == 1
    code = keep_best(small_space, random_scores(small_space), curves.counts_at(loss))
    widths = small_space.widths(code)
    assert widths["layer1.final"] == widths["stem"] == stem and widths["layer2.final"] == 1


def test_kept_at_are_shares_kept_in_the_order_of_groups_and_fall_with_the_loss(curves, small_space):
    rates = [curves.kept_at(loss) for loss in np.linspace(0, curves.worst, 50)]
    assert all(values.shape == (len(small_space.groups),) for values in rates)
    assert all((later <= earlier + 1e-12).all() for earlier, later in pairwise(rates))
    index = [group.segments for group in small_space.groups].index(("stem", "layer1.final"))
    assert curves.kept_at(5.5)[index] == pytest.approx(0.625) and curves.kept_at(1.0)[index] == pytest.approx(0.75)
    assert curves.worst == 10.0


def test_offsets_are_what_groups_keep_beyond_the_mean_where_that_is_one_half(tmp_path: Path):
    """Two groups with straight curves: to lose 20 points by its last channel, and 60. At 15 they keep 1/4, 3/4."""
    (tmp_path / "nine.yaml").write_text(NINE_CODES)
    space = load_search_space(str(tmp_path / "nine.yaml"))
    curves = Curves(space, (np.array([0.0, 1.0]),) * 2, (np.array([0.0, 20.0]), np.array([0.0, 60.0])))
    assert curves.kept_at(15.0) == pytest.approx([0.25, 0.75])
    assert curves.offsets() == pytest.approx([-0.25, 0.25], abs=1e-6)


def test_rows_that_do_not_fit_are_refused(small_space):
    whole = make_rows(small_space, {})
    for rows, part in (
        ([{"segment": "conv1", "rate": 0.0, "accuracy": 90.0}], "holds the segments conv1, but resnet20 has"),
        ([], "holds the segments of no network"),
        ([{"a": 1, "b": 2}], "not a sensitivity table"),
        ([{**whole[0], "segment": None}], "damaged: segment None"),
        ([{**whole[0], "rate": None}], r"damaged: segment \S+, rate None"),
        ([{**whole[0], "rate": np.inf}], r"damaged: segment \S+, rate inf"),
        ([{**whole[0], "accuracy": np.inf}], "accuracy inf; delete the file"),
        (make_rows(small_space, {"stem": [None, 1.0, 1.0, 1.0]}), r"stem\+layer1\.final has no accuracy at rate 0"),
        ([row for row in whole if row["segment"] != "layer2.final"], "run `evoprune sensitivity` to its end"),
        ([row for row in whole if row["rate"] < 0.75], "ends early; run `evoprune sensitivity` to its end"),
    ):
        with pytest.raises(UserError, match=rf"^curves\.csv: .*{part}"):
            curves_of(rows, small_space, TABLE)


def test_every_group_is_pruned_alone_by_tenths_and_down_to_one_channel(small_space):
    scores = random_scores(small_space)
    points = plan_points(small_space, scores)
    assert [point.id for point in points] == list(range(len(points)))
    assert list(dict.fromkeys(point.group.name for point in points)) == [group.name for group in small_space.groups]
    full = {segment.name: segment.width for segment in small_space.segments}
    for group in small_space.groups:
        own = [point for point in points if point.group is group]
        wanted = sorted({group.width - int(tenth * group.width / 10) for tenth in range(10)} | {1}, reverse=True)
        assert [point.kept for point in own] == wanted
        for point in own:
            assert point.rate == pytest.approx(1 - point.kept / group.width)
            assert small_space.widths(point.code) == full | dict.fromkeys(group.segments, point.kept)
            assert not small_space.adapters(point.code)
            best = np.sort(np.argsort(-scores[group.slices[0]], kind="stable")[: point.kept])
            for place in group.slices:
                assert np.array_equal(np.flatnonzero(point.code[place]), best)
    flops = [compute_costs(small_space, point.code)["flops"][0] for point in points if point.rate == 0]
    assert len(flops) == len(small_space.groups) and len(set(flops)) == 1


def test_rates_that_come_to_the_same_channels_are_one_point(small_space):
    points = plan_points(small_space, random_scores(small_space), rates=(0.5, 0.55, 0.75))
    kept = {group.width: [p.kept for p in points if p.group is group] for group in small_space.groups}
    assert kept == {4: [4, 2, 1], 8: [8, 4, 2, 1], 16: [16, 8, 4, 1]}
