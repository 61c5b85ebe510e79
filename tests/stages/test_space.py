"""The stage that reads a search space: written once, checked, and taken from the disk afterwards."""

from pathlib import Path

import pandas as pd
import pytest
from helpers import ROOT, TINY, merge, run_search

from evoprune import UserError
from evoprune.config import Experiment, parse_experiment
from evoprune.runs.folder import RunFolder
from evoprune.runs.ownership import open_run_folder
from evoprune.space.traced_yaml import read_space, write_space
from evoprune.stages.context import Context
from evoprune.stages.pipeline import Request, space
from evoprune.stages.space import checked_space, provide_space

STRANGERS = ROOT / "tests" / "strangers.py"


def experiment_of(source: str, **changes: object) -> Experiment:
    document = {key: value for key, value in TINY.items() if key != "search_space"}
    return parse_experiment(merge({**document, "network": {"source": source}}, changes), "test")


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


def test_a_run_is_looked_at_from_a_folder_that_lacks_the_file_of_its_network(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_bytes(STRANGERS.read_bytes())
    experiment = experiment_of("mine.py:make_branches")
    context = Context(experiment, folder)
    provide_space(context)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    elsewhere = Context(experiment, folder)
    assert elsewhere.space.length == context.space.length
    folder.search_space.unlink()
    with pytest.raises(UserError, match=r"mine\.py: no such file in .*elsewhere.*work in the folder in which"):
        Context(experiment, folder).space  # noqa: B018


def test_the_space_is_written_and_read_back(folder):
    context = Context(experiment_of(f"{STRANGERS}:make_branches"), folder)
    provide_space(context)
    assert folder.search_space.is_file()
    assert [segment.name for segment in context.space.segments] == ["stem", "other", "join"]
    assert context.space.parameters == {"num_classes": 10, "in_channels": 1, "image_size": 8}


def test_a_space_that_is_there_is_not_read_again(folder):
    experiment = experiment_of(f"{STRANGERS}:make_branches")
    provide_space(Context(experiment, folder))
    before = folder.search_space.stat().st_mtime_ns
    fewer = read_space(folder.search_space).without(["stem"], "mine")
    write_space(fewer, folder.search_space)
    with pytest.raises(UserError, match=r"search_space\.yaml: damaged: it has changed.*; delete it"):
        Context(experiment, folder).space  # noqa: B018
    folder.seal(folder.search_space)
    context = Context(experiment, folder)
    provide_space(context)
    assert before != folder.search_space.stat().st_mtime_ns and len(context.space.segments) == 2


def test_a_carried_family_has_no_file(folder):
    provide_space(Context(parse_experiment(TINY, "test"), folder))
    assert not folder.search_space.exists()


def test_what_fails_the_gate_is_never_pruned(folder, tmp_path, capsys):
    path = tmp_path / "mynet.py"
    path.write_text(
        "from strangers import FixedWidth\n\ndef make_fixed(in_channels):\n    return FixedWidth(10, in_channels)\n"
    )
    context = Context(experiment_of(f"{path}:make_fixed"), folder)
    provide_space(context)
    assert [segment.name for segment in context.space.segments] == ["free"]
    assert "stem is never pruned" in capsys.readouterr().out
    assert context.space.table.pins[-1].layers == ("stem",)


def test_an_edited_space_is_held_against_its_network(folder, tmp_path):
    source = f"{STRANGERS}:make_branches"
    space = checked_space(Context(experiment_of(source), folder))
    path = tmp_path / "space.yaml"
    write_space(space.without(["other"], "mine"), path)
    edited = Context(experiment_of(source, search_space={"name": str(path)}), folder)
    assert [segment.name for segment in checked_space(edited).segments] == ["stem", "join"]
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if "name: join, kind" not in line))
    with pytest.raises(UserError, match="its search space says"):
        checked_space(Context(experiment_of(source, search_space={"name": str(path)}), folder))


def test_a_space_is_shown_as_the_network_is_now_whatever_a_run_has_left(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_bytes(STRANGERS.read_bytes())
    experiment = experiment_of("mine.py:make_branches", name="mine")
    (tmp_path / "mine.yaml").write_text(experiment.to_yaml())
    with open_run_folder(tmp_path / "results" / "mine", experiment) as run:
        provide_space(Context(experiment, run))
        run.base.mkdir()
    fewer = read_space(run.search_space).without(["other"], "mine")
    write_space(fewer, tmp_path / "own.yaml")
    space(Request("mine.yaml", ["search_space.name=own.yaml"]), None)
    assert "in 2 segments" in capsys.readouterr().out
    (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text() + "\nCHANGED = True\n")
    space(Request("mine.yaml"), tmp_path / "new.yaml")
    assert "in 3 segments" in capsys.readouterr().out and (tmp_path / "new.yaml").is_file()
    with pytest.raises(UserError, match=r"--out names a file, such as space\.yaml; results is a folder"):
        space(Request("mine.yaml"), Path("results"))


def test_a_space_of_the_users_that_is_not_there_is_refused(folder):
    """It was read from the whole network, so that all of it was pruned."""
    experiment = experiment_of(f"{STRANGERS}:make_branches", search_space={"name": "typo.yaml"})
    with pytest.raises(UserError, match=r"search_space\.name: typo\.yaml: no such file; without this section"):
        Context(experiment, folder).space  # noqa: B018


@pytest.mark.parametrize(("factory", "together"), [("make_branches", True), ("make_asks", False)])
def test_candidates_of_traced_networks_train_together_where_they_can(tmp_path, factory, together):
    """Several at once and one by one measure the same; who cannot be stacked is told in run.json."""
    tables = []
    for number in (1, 3):
        changes = {"workers": {"candidates_per_batch": number}, "base": {"cache": str(tmp_path / "base")}}
        experiment = experiment_of(f"{STRANGERS}:{factory}", **changes)
        run_search(experiment, tmp_path / str(number))
        facts = RunFolder(tmp_path / str(number)).facts()
        assert ("one_by_one" in facts) == (number > 1 and not together)
        tables.append(pd.read_csv(tmp_path / str(number) / "reports.csv"))
    one, three = tables
    assert one.code[:4].tolist() == three.code[:4].tolist() and set(three.status) == {"ok"}
    assert abs(one.accuracy[:4] - three.accuracy[:4]).max() <= 2, "a few images by rounding"
