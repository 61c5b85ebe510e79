"""The table of an importance: read whole, or refused."""

import pytest

from evoprune import UserError
from evoprune.runs.scores_csv import read_scores

CHANNELS = [("stem", 0), ("stem", 1), ("final", 0)]
HEAD = "segment,channel,score\n"


def test_scores_come_in_the_order_of_the_code(tmp_path):
    (tmp_path / "magnitude.csv").write_text(f"{HEAD}stem,0,0.5\nstem,1,1e-3\nfinal,0,2\n")
    assert read_scores(tmp_path / "magnitude.csv", CHANNELS) == [0.5, 0.001, 2.0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEAD,
        f"{HEAD}stem,0,0.5\nstem,1,1\n",
        f"{HEAD}stem,0,0.5\nstem,1,\nfinal,0,2\n",
        f"{HEAD}stem,0,0.5\nfinal,0,2\nstem,1,1\n",
        "segment,channel\nstem,0\nstem,1\nfinal,0\n",
    ],
)
def test_a_table_of_other_channels_is_refused(tmp_path, text):
    (tmp_path / "magnitude.csv").write_text(text)
    with pytest.raises(UserError, match=r"magnitude\.csv: damaged: .*; delete it"):
        read_scores(tmp_path / "magnitude.csv", CHANNELS)


def test_a_number_that_is_none_is_a_damaged_line(tmp_path):
    (tmp_path / "magnitude.csv").write_text(f"{HEAD}stem,0,nan\nstem,1,1\nfinal,0,2\n")
    with pytest.raises(UserError, match="line 2 is damaged"):
        read_scores(tmp_path / "magnitude.csv", CHANNELS)
