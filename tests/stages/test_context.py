"""What the stages of a run share: each thing is read when it is first asked for, and once."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import set_all, write_experiment
from helpers import prepared
from made_data import write_class_folders
from sklearn.datasets import load_digits

from evoprune import UserError
from evoprune.cli import main
from evoprune.data.dataset import DataShape
from evoprune.runs.folder import RunFolder
from evoprune.runs.ownership import open_run_folder
from evoprune.stages.context import Context, context_of_run, recorded_shape


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Some of the digits in MedMNIST's layout."""
    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    ends = {"train": slice(0, 600), "test": slice(600, 700), "val": slice(700, 800)}
    parts = {f"{name}_images": images[part] for name, part in ends.items()}
    parts |= {f"{name}_labels": digits.target[part][:, None] for name, part in ends.items()}
    np.savez(tmp_path / "digits.npz", **parts)
    return tmp_path / "digits.npz"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """How often each archive was opened in this process."""
    counts: Counter = Counter()
    load = np.load

    def counting(file: Any, *arguments: Any, **named: Any) -> Any:
        counts[Path(file).name] += 1
        return load(file, *arguments, **named)

    monkeypatch.setattr(np, "load", counting)
    return counts


def test_exchanged_images_are_another_run_with_a_base_network_of_its_own(tmp_path, archive, capsys):
    data, quick = {"dataset": "npz", "root": str(archive)}, {"cache": str(tmp_path / "cache"), "epochs": 0.2}
    file = write_experiment(tmp_path, data=data, base=quick)
    assert main(["search", file, "--out", str(tmp_path / "out")]) == 0
    parts = dict(np.load(archive))
    np.savez(archive, **{**parts, "test_images": 255 - parts["test_images"]})
    rows = (tmp_path / "out" / "reports.csv").read_text()
    for longer in ([], ["--set", "search.generations=2"]):
        assert main(["search", file, "--out", str(tmp_path / "out"), *longer]) == 2
        assert "images or labels are not those that" in capsys.readouterr().err
    assert (tmp_path / "out" / "reports.csv").read_text() == rows
    assert main(["search", file, "--out", str(tmp_path / "new")]) == 0
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_run_whose_network_has_changed_is_told_to_put_it_back(tiny, tmp_path):
    """Not to write the run's own search space anew, of which its codes are."""
    net = tmp_path / "net.py"
    net.write_text(
        "from torch import nn\ndef make(): return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 10))\n"
    )
    experiment = tiny(network={"source": f"{net}:make"}, search_space=None)
    with open_run_folder(tmp_path / "run", experiment) as folder:
        prepared(experiment, folder)
    net.write_text(net.read_text() + "# a word\n")
    with pytest.raises(UserError, match=r"search_space\.yaml: .*: digest .*; put .*net\.py:make and the images back"):
        Context(experiment, folder).space  # noqa: B018
    assert context_of_run(tmp_path / "run").space.length == 4, "a report needs no network"


def test_no_experiment_is_valid_whose_images_are_of_no_use(tmp_path, archive, capsys):
    parts = dict(np.load(archive))
    np.savez(archive, **{**parts, "test_labels": parts["test_labels"] + 1})  # of which one is class 10
    file = write_experiment(tmp_path, data={"dataset": "npz", "root": str(archive)})
    assert main(["validate", file]) == 2
    printed = capsys.readouterr()
    assert "data: test labels are 0 to 9" in printed.err and ": valid" not in printed.out


@pytest.mark.parametrize(
    "words",
    [["run"], ["search"], ["prune", "--rate", "0.5"], ["sensitivity", "--images", "20"], ["validate"]],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("foreign", [False, True])
def test_an_archive_is_opened_once_in_a_whole_command(tmp_path, archive, opened, words, foreign):
    other = tmp_path / "other.npz"
    other.write_bytes(archive.read_bytes())
    data = {"dataset": "npz", "root": str(archive), "validation": str(other) if foreign else 0.2}
    quick = {"base": {"cache": str(tmp_path / "cache"), "epochs": 0.2}, "retrain": {"epochs": 0.1}}
    file = write_experiment(tmp_path, data=data, **quick)
    out = [] if words[0] == "validate" else ["--out", str(tmp_path / "out")]
    assert main([words[0], file, *out, *words[1:]]) == 0
    assert opened == Counter({"digits.npz": 1, **({"other.npz": 1} if foreign else {})})


def test_retrain_opens_it_once_too_wherever_it_lies_and_report_not_at_all(tmp_path, archive, opened):
    data, quick = {"dataset": "npz", "root": str(archive)}, {"cache": str(tmp_path / "cache"), "epochs": 0.2}
    file = write_experiment(tmp_path, data=data, base=quick, retrain={"epochs": 0.1})
    assert main(["run", file, "--out", str(tmp_path / "out")]) == 0
    opened.clear()
    assert main(["report", str(tmp_path / "out")]) == 0 and not opened
    moved = archive.rename(tmp_path / "moved.npz")
    assert main(["retrain", str(tmp_path / "out"), *set_all("retrain.lr=0.01", f"data.root={moved}")]) == 0
    assert opened == Counter({"moved.npz": 1})


def test_what_was_asked_for_is_the_same_object_again(tiny, copied):
    context = Context(tiny(), RunFolder(copied))
    assert context.space is context.space and context.dataset is context.dataset and context.base is context.base
    assert context.scores("magnitude") is context.scores("magnitude")


def test_scores_are_those_of_the_table(tiny, copied, small_space):
    (copied / "importance" / "magnitude.csv").write_text(
        "segment,channel,score\n"
        + "".join(f"{segment.name},{i},{segment.start + i}.5\n" for segment in small_space.segments
                  for i in range(segment.width))
    )  # fmt: skip
    with pytest.raises(UserError, match=r"magnitude\.csv: damaged: it has changed"):
        Context(tiny(), RunFolder(copied)).scores("magnitude")
    RunFolder(copied).seal(copied / "importance" / "magnitude.csv")
    assert Context(tiny(), RunFolder(copied)).scores("magnitude").tolist() == [i + 0.5 for i in range(116)]


def test_the_space_has_the_shape_of_the_data(tiny, archive, tmp_path):
    context = Context(tiny(data={"dataset": "npz", "root": str(archive)}), RunFolder(tmp_path))
    assert dict(context.space.parameters) == {"width": 4, "num_classes": 10, "in_channels": 1, "image_size": 8}


def test_a_shape_that_is_known_needs_no_data(tiny, tmp_path):
    experiment = tiny(data={"dataset": "npz", "root": "nowhere.npz"})
    context = Context(experiment, RunFolder(tmp_path), DataShape(7, 3, 28))
    assert dict(context.space.parameters) == {"width": 4, "num_classes": 7, "in_channels": 3, "image_size": 28}
    with pytest.raises(UserError, match=r"data\.root: nowhere\.npz"):
        Context(experiment, RunFolder(tmp_path)).space  # noqa: B018


def test_an_unknown_space_is_named_with_its_key(tiny, tmp_path):
    with pytest.raises(UserError, match=r"search_space\.name: .*resnet21.*allowed: .*resnet20"):
        Context(tiny(search_space={"name": "resnet21"}), RunFolder(tmp_path)).space  # noqa: B018


def test_a_run_records_the_shape_of_its_data(tiny, tmp_path):
    folder = RunFolder(tmp_path)
    assert recorded_shape(folder) is None
    prepared(tiny(), folder)
    assert recorded_shape(folder) == DataShape(10, 1, 8)


@pytest.mark.parametrize("size", [8, [8, 6]])
def test_a_recorded_shape_is_read_from_json(tmp_path, size):
    folder = RunFolder(tmp_path)
    folder.note(data_shape={"num_classes": 10, "in_channels": 1, "image_size": size})
    assert recorded_shape(folder) == DataShape(10, 1, size)


@pytest.mark.parametrize("size", [0, "8", [8], [8, 6, 1], [8, "6"], [[8, 6], 1], None, 2.5])
def test_a_damaged_shape_is_refused_by_name(tmp_path, size):
    folder = RunFolder(tmp_path)
    folder.note(data_shape={"num_classes": 10, "in_channels": 1, "image_size": size})
    with pytest.raises(UserError, match=r"run\.json: data_shape is no shape"):
        recorded_shape(folder)


def test_compute_is_the_device_and_precision_of_the_experiment(tiny, tmp_path):
    compute = Context(tiny(workers={"device": "cpu"}), RunFolder(tmp_path)).compute
    assert compute.device.type == "cpu" and compute.precision == "fp32"


def test_decoded_images_lie_beside_the_run_however_its_folder_is_named(tiny, tmp_path, monkeypatch):
    write_class_folders(tmp_path / "photos")
    (tmp_path / "runs" / "one").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "runs" / "one")
    folder = {"dataset": "image_folder", "root": str(tmp_path / "photos"), "image_size": 6}
    for path in (Path(), Path("../one"), tmp_path / "runs" / "two"):
        assert len(Context(tiny(data=folder), RunFolder(path)).dataset.test[0]) == 4
    assert len(list((tmp_path / "runs" / "image_cache").iterdir())) == 1
    elsewhere = {**folder, "cache": str(tmp_path / "elsewhere")}
    assert len(Context(tiny(data=elsewhere), RunFolder(Path())).dataset.test[0]) == 4
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1
