"""A user's file: imported once, found by name, and each mistake is one message."""

import pickle

import pytest

from evoprune import UserError
from evoprune.common.user_files import file_digest, file_text, find_factory, is_missing, is_user_file, user_modules

TEXT = "class Thing:\n    pass\n\ndef make_net():\n    return Thing()\n"


def test_a_function_is_found_and_its_file_imported_once(tmp_path):
    path = tmp_path / "mynet.py"
    path.write_text(TEXT)
    first, again = find_factory(f"{path}:make_net"), find_factory(f"{path}:make_net")
    assert first is again
    assert isinstance(pickle.loads(pickle.dumps(first())), type(first()))
    assert first.__module__ in [module.__name__ for module in user_modules()]


def test_what_is_a_file_of_a_user():
    assert (
        is_user_file("some/net.py:make") and not is_user_file("torchvision:resnet50") and not is_user_file("resnet20")
    )


def test_the_digest_follows_the_content(tmp_path):
    path = tmp_path / "mynet.py"
    path.write_text(TEXT)
    before = file_digest(f"{path}:make_net")
    assert file_text(f"{path}:make_net") == TEXT
    path.write_text(TEXT + "\n")
    assert file_digest(f"{path}:make_net") != before


@pytest.mark.parametrize(("text", "message"), [
    (None, "no such file"),
    ("import nothing_like_this", "cannot be imported: ModuleNotFoundError"),
    ("def broken(:", "cannot be imported: SyntaxError"),
    ("raise SystemExit(3)", "cannot be imported: SystemExit"),
    ("make_net = 3", "has no function 'make_net'"),
])  # fmt: skip
def test_mistakes(tmp_path, text, message):
    path = tmp_path / "mynet.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message):
        find_factory(f"{path}:make_net")
    assert is_missing(f"{path}:make_net") == (text is None)


def test_a_file_that_is_not_there_has_no_digest(tmp_path):
    with pytest.raises(UserError, match="work in the folder in which the run was started, or give the whole path"):
        file_digest(f"{tmp_path}/mynet.py:make_net")
    assert not is_missing("torchvision:resnet50")


def test_what_a_carried_experiment_names_is_found_from_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_factory("experiments/vgg16.py:make_net").__name__ == "make_net"
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "vgg16.py").write_text(TEXT.replace("make_net", "mine"))
    assert find_factory("experiments/vgg16.py:mine").__name__ == "mine", "what lies here comes first"
    assert is_missing("evoprune/cli.py:main") and is_missing("experiments/nothing.py:make_net")
