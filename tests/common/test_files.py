"""Files are whole or not there; carried files are found by name."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers import ROOT

from evoprune import UserError
from evoprune.common.files import carried_files, digest, find_carried_file, remove_parts, write_atomically


def test_text_is_utf8_and_bytes_are_bytes_in_folders_that_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    write_atomically(path, "ä\n")
    assert path.read_bytes() == b"\xc3\xa4\n"
    write_atomically(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert list(tmp_path.rglob("*.part")) == []


def test_who_reads_while_a_file_is_written_sees_all_of_one_version(tmp_path):
    path, versions = tmp_path / "file", [bytes([number]) * 200_000 for number in range(20)]
    write_atomically(path, versions[0])

    def write() -> None:
        for version in versions:
            write_atomically(path, version)

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    while writer.is_alive():
        seen.append(path.read_bytes())
    writer.join()
    assert set(seen) <= set(versions) and path.read_bytes() == versions[-1]


DIE = """
import os, sys
from pathlib import Path
from evoprune.common.files import write_atomically
os.fsync = lambda _: os._exit(7)
write_atomically(Path(sys.argv[1]), "new and longer")
"""


def test_a_death_in_the_middle_leaves_the_old_file(tmp_path):
    """The process dies when its bytes are written, and before they are on the disk."""
    path = tmp_path / "file"
    write_atomically(path, "old")
    assert subprocess.run([sys.executable, "-c", DIE, str(path)]).returncode == 7
    assert path.read_text() == "old"
    write_atomically(path, "new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("folder", ["search_spaces", "experiments"])
def test_a_bare_name_is_what_the_package_carries(folder):
    carried = carried_files(folder)
    assert sorted(carried) == sorted(path.stem for path in (ROOT / folder).glob("*.yaml"))
    for name, path in carried.items():
        assert find_carried_file(folder, name) == path and path.is_file()


def test_a_path_is_a_file_of_the_users_and_no_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("resnet20.yaml", "mine.yml", "./odd"):
        with pytest.raises(UserError, match=rf"{name}: no such file"):
            find_carried_file("search_spaces", name)
        Path(name).touch()
        assert find_carried_file("search_spaces", name) == Path(name)
    Path("resnet20").touch()  # a bare name means the carried one
    assert find_carried_file("search_spaces", "resnet20") == carried_files("search_spaces")["resnet20"]


def test_a_misspelt_name_is_told_the_right_one():
    with pytest.raises(UserError, match=r"'resnet2' in search_spaces; did you mean .*a path that ends in \.yaml"):
        find_carried_file("search_spaces", "resnet2")
    assert carried_files("nothing_of_this_name") == {}


def test_a_disk_that_is_full_leaves_no_half_file_and_names_the_one_that_was_to_be(tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_atomically(tmp_path / "file", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as caught:
        write_atomically(tmp_path / "file", "new")
    assert caught.value.filename == str(tmp_path / "file") and caught.value.errno == errno.ENOSPC
    assert (tmp_path / "file").read_text() == "old" and list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_parts_of_dead_processes_are_removed_and_nothing_else(tmp_path):
    (tmp_path / "a").mkdir()
    for name in (".file.12.part", "a/.file.13.part", "a/mine.part", ".lock"):
        (tmp_path / name).touch()
    remove_parts(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".lock", "a", "mine.part"]


def test_the_digest_is_that_of_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert digest(tmp_path / "file") == "ba7816bf8f01cfea", "FIPS 180-2, appendix B.1"
