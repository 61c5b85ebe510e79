"""A folder belongs to one experiment, and to one process at a time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from evoprune import UserError
from evoprune.config import load_experiment
from evoprune.runs.folder import RunFolder
from evoprune.runs.ownership import open_run_folder, reopen_run_folder, run_path

LOCK_HOLDER = """
import sys
from pathlib import Path
from evoprune.config import load_experiment
from evoprune.runs.ownership import open_run_folder
with open_run_folder(Path(sys.argv[1]), load_experiment(sys.argv[1] + "/config.yaml")):
    print("locked", flush=True)
    sys.stdin.read()
"""


def snapshot(path: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def begin(path: Path, experiment) -> RunFolder:
    """Open and close the folder of a run."""
    with open_run_folder(path, experiment) as folder:
        return folder


@pytest.fixture
def begun(tiny, tmp_path: Path) -> Path:
    """The folder of a run that has results."""
    folder = begin(tmp_path / "run", tiny())
    folder.reports.write_text("id,generation\n0,0\n")
    return folder.path


def test_what_another_experiment_has_left_before_its_first_result_is_forgotten(tiny, tmp_path):
    folder = begin(tmp_path / "run", tiny(seed=3))
    folder.search_space.write_text("what was read from another network")
    assert begin(folder.path, tiny(seed=3)).search_space.exists(), "the same experiment goes on with it"
    again = begin(folder.path, tiny(seed=4))
    assert not again.search_space.exists() and again.facts()["seed"] == 4
    again.search_space.write_text("what was read for other images")
    assert not begin(folder.path, tiny(seed=4, data={"root": "elsewhere"})).search_space.exists()


@pytest.mark.parametrize("reopened", [False, True])
def test_what_a_worker_had_half_written_when_the_run_was_stopped_is_removed(begun, tiny, reopened):
    part = begun / "models" / "k1" / ".training.ckpt.7.part"
    part.parent.mkdir(parents=True)
    opened = reopen_run_folder if reopened else open_run_folder
    with pytest.raises(KeyboardInterrupt), opened(begun, tiny()) as folder:
        part.write_bytes(b"half of it")
        raise KeyboardInterrupt
    assert not part.exists() and folder.reports.exists()


def test_a_new_folder_holds_the_experiment_and_how_the_run_began(tiny, tmp_path):
    with open_run_folder(tmp_path / "deep" / "run", tiny(seed=3)) as folder:
        assert folder.config.read_text() == tiny(seed=3).to_yaml()
        facts = folder.facts()
    assert (facts["name"], facts["seed"]) == ("tiny", 3)
    assert {"started", "versions", "hardware"} <= set(facts)
    started = facts["started"]
    assert begin(folder.path, tiny(seed=3)).facts()["started"] == started, "it began once"


def test_how_far_a_killed_process_was_is_forgotten(tiny, begun):
    RunFolder(begun).progress.write_text("{}")
    begin(begun, tiny())
    assert not RunFolder(begun).progress.exists()


def test_the_folder_of_another_experiment_is_refused(tiny, begun):
    before = snapshot(begun)
    with pytest.raises(UserError, match=r"seed: 0 there, 1 here"):
        begin(begun, tiny(seed=1))
    with pytest.raises(UserError, match=r"importance\.criterion: 'least_squares' there, 'l2' here"):
        begin(begun, tiny(importance={"criterion": "l2"}))
    assert snapshot(begun) == before


def test_other_workers_are_not_another_experiment(tiny, begun):
    experiment = tiny(workers={"backend": "local", "num_workers": 7})
    with open_run_folder(begun, experiment) as folder:
        assert "num_workers: 7" in folder.config.read_text()


def test_an_attempt_without_results_blocks_no_other_experiment(tiny, tmp_path):
    begin(tmp_path / "run", tiny())
    folder = begin(tmp_path / "run", tiny(seed=1))
    assert folder.config.read_text() == tiny(seed=1).to_yaml()
    folder.base.mkdir()
    with pytest.raises(UserError, match=r"seed: 1 there, 0 here"):
        begin(tmp_path / "run", tiny())


@pytest.mark.parametrize("made", ["importance", "steps"])
def test_what_depends_on_a_base_network_that_was_deleted_blocks_another_experiment(tiny, tmp_path, made):
    folder = begin(tmp_path / "run", tiny())
    (folder.path / made).mkdir()
    with pytest.raises(UserError, match=r"belongs to another experiment \(base\.epochs: 3.0 there, 9.0 here\)"):
        begin(folder.path, tiny(base={"epochs": 9}))


def test_a_foreign_folder_is_refused(tiny, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match=r"notes\.txt"):
        begin(tmp_path, tiny())
    assert snapshot(tmp_path) == before


def test_an_empty_folder_is_taken(tiny, tmp_path):
    assert begin(tmp_path, tiny()).config.is_file()


@pytest.mark.parametrize("below", ["", "below"])
def test_a_file_in_the_way_is_refused(tiny, tmp_path, below):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"file.*choose another --out"):
        begin(tmp_path / "file" / below, tiny())
    assert (tmp_path / "file").read_text() == "mine"


def test_two_processes_never_share_a_folder(tiny, begun):
    before = snapshot(begun)
    holder = subprocess.Popen(
        [sys.executable, "-c", LOCK_HOLDER, str(begun)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline().strip() == b"locked"
        with pytest.raises(UserError, match="another process"):
            begin(begun, tiny())
    finally:
        holder.communicate(b"")
    assert snapshot(begun) == before
    begin(begun, tiny())


def test_a_run_lies_where_the_user_says_or_under_its_name(tiny):
    assert run_path(tiny(), Path("mine")) == Path("mine")
    assert run_path(tiny(name="other"), None) == Path("results") / "other"


def edit(path: Path, old: str, new: str) -> str:
    """Change the text of a run's `config.yaml` by hand; returns it as it was."""
    text = (path / "config.yaml").read_text()
    assert old in text
    (path / "config.yaml").write_text(text.replace(old, new))
    return text


def test_a_config_edited_by_hand_is_noticed_before_measurements_mix(tiny, begun):
    edit(begun, "seed: 0\n", "seed: 7\n")
    before = snapshot(begun)
    with pytest.raises(UserError, match=r"seed: 0 there, 7 here\); .*config\.yaml was edited since; choose another"):
        begin(begun, load_experiment(str(begun / "config.yaml")))
    assert snapshot(begun) == before


@pytest.mark.parametrize(
    "damage", [lambda text: "", lambda text: text[:40], lambda text: text.replace("seed: 0", "seed: 7")]
)
def test_the_experiment_itself_writes_a_damaged_config_again(tiny, begun, capsys, damage):
    text = (begun / "config.yaml").read_text()
    (begun / "config.yaml").write_text(damage(text))
    begin(begun, tiny())
    assert (begun / "config.yaml").read_text() == text
    assert "config.yaml: is not what this run was made with; it is written again" in capsys.readouterr().out


def test_a_search_can_be_made_longer_and_not_shorter(tiny, begun):
    for generations in (1, 3, 3, 5):
        begin(begun, tiny(search={"generations": generations}))
    assert RunFolder(begun).facts()["generations"] == [1, 3, 5]
    reach(begun, generation=4)
    with pytest.raises(
        UserError, match=r"search\.generations: got 4, but .* has 5; take as many or more; for a shorter"
    ):
        begin(begun, tiny(search={"generations": 4}))


@pytest.mark.parametrize(("generation", "planned"), [(0, [2]), (1, [1, 2]), (2, None)])
def test_a_plan_by_which_no_generation_was_begun_is_forgotten(tiny, begun, generation, planned):
    """A search that was made far too long by mistake, and stopped at once."""
    for generations in (1, 300):
        begin(begun, tiny(search={"generations": generations}))
    reach(begun, generation)
    if planned is None:
        with pytest.raises(UserError, match=r"search\.generations: got 2, but .* has 300; "):
            begin(begun, tiny(search={"generations": 2}))
        return
    begin(begun, tiny(search={"generations": 2}))
    assert RunFolder(begun).facts()["generations"] == planned


def reach(run: Path, generation: int) -> None:
    """Have a table whose last row is of a generation."""
    (run / "reports.csv").write_text(f"id,generation\n0,0\n1,{generation}\n")


def test_a_run_of_an_earlier_version_goes_on(tiny, begun):
    facts = {key: value for key, value in RunFolder(begun).facts().items() if key not in ("experiment", "generations")}
    (begun / "run.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match="seed: 0 there, 1 here"):
        begin(begun, tiny(seed=1))
    begin(begun, tiny(search={"generations": 2}))
    assert RunFolder(begun).facts()["generations"] == [1, 2]


def test_a_reopened_folder_keeps_its_config(tiny, begun):
    before = snapshot(begun)
    with reopen_run_folder(begun, tiny(retrain={"epochs": 9.0})) as folder:
        assert folder.path == begun
    assert snapshot(begun) == before
    with (
        pytest.raises(UserError, match="seed: 0 there, 1 here"),
        reopen_run_folder(begun, tiny(seed=1), measures=False),
    ):
        pass
