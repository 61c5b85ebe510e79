"""One process at a time in a folder."""

import subprocess
import sys
import threading

import pytest

from evoprune import UserError
from evoprune.common.locks import hold, is_locked, lock_folder

HOLD = """
import sys
from pathlib import Path
from evoprune.common.locks import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("in", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "in\n"
        assert is_locked(tmp_path)
        message = rf"{tmp_path}: another process is working in this run; .*--out"
        with pytest.raises(UserError, match=message), lock_folder(tmp_path):
            pass
        holder.kill()
    with lock_folder(tmp_path):
        pass


def test_who_waits_comes_in_when_the_other_has_left(tmp_path):
    order = []

    def wait() -> None:
        with lock_folder(tmp_path, wait=True):
            order.append("second")

    with lock_folder(tmp_path):
        second = threading.Thread(target=wait)
        second.start()
        second.join(0.2)
        assert second.is_alive()
        order.append("first")
    second.join(10)
    assert order == ["first", "second"]


def test_an_error_inside_frees_the_folder_and_comes_out(tmp_path):
    with pytest.raises(KeyError), lock_folder(tmp_path):
        raise KeyError("inside")
    with lock_folder(tmp_path):
        pass


def test_folders_do_not_lock_one_another(tmp_path):
    (tmp_path / "inner").mkdir()
    with lock_folder(tmp_path), lock_folder(tmp_path / "inner"):
        assert (tmp_path / "inner" / ".lock").is_file()


def test_a_folder_in_the_place_of_the_lock_is_named(tmp_path):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(UserError, match=r"\.lock: is a folder.*remove it"), lock_folder(tmp_path):
        pass


def test_looking_at_a_lock_makes_no_file_and_holds_nothing(tmp_path):
    assert not is_locked(tmp_path) and not list(tmp_path.iterdir())
    with lock_folder(tmp_path):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)
    with lock_folder(tmp_path):
        pass


def test_a_held_file_is_shared_by_those_who_do_not_want_it_alone(tmp_path):
    path = tmp_path / "lock"
    with hold(path, alone=False, patience_s=1) as first, hold(path, alone=False, patience_s=1) as second:
        assert first and second
        with hold(path, alone=True, patience_s=0.05) as third:
            assert not third
        with hold(path, alone=False, patience_s=0) as at_once:
            assert at_once, "a free lock needs no patience"
    with hold(path, alone=True) as fourth:
        assert fourth
        with hold(path, alone=False, patience_s=0.05) as fifth:
            assert not fifth
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_that_somebody_has_laid_is_not_followed(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="lock"), hold(tmp_path / "lock", alone=True):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_nor_is_one_in_the_place_of_a_folders_lock(tmp_path):
    """Once what it leads to was emptied."""
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match=r"\.lock"), lock_folder(tmp_path / "run"):
        pass
    assert (tmp_path / "precious").read_text() == "mine"
