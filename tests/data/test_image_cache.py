"""Files decoded once into a file that is whole or not there, whoever else is at it."""

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

from evoprune import UserError
from evoprune.data import image_cache
from evoprune.data.decoding import DecodeError
from evoprune.data.image_cache import ImageFile, Request, decode_files

NUMBER = 9


def listed(root: Path) -> list[ImageFile]:
    return [ImageFile(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(root.glob("*.png"))]


def request_for(root: Path, height: int = 3, width: int = 4) -> Request:
    return Request(root, listed(root), height, width)


@pytest.fixture
def root(tmp_path) -> Path:
    """Nine images, each of a grey of its own."""
    (tmp_path / "photos").mkdir()
    for number in range(NUMBER):
        Image.new("RGB", (6, 6), (number, number, number)).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def decoded(monkeypatch) -> Counter:
    """How often each file was decoded."""
    counts: Counter = Counter()
    decode = image_cache.decode

    def counting(path: Path, *size: int):
        counts[path.name] += 1
        return decode(path, *size)

    monkeypatch.setattr(image_cache, "decode", counting)
    return counts


def greys(images) -> list[int]:
    return np.asarray(images)[:, 1, 2, 0].tolist()


def test_images_stand_in_the_order_of_the_files_whatever_thread_was_first(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(image_cache, "available_cpus", lambda: 4)
    monkeypatch.setattr(image_cache, "_BYTES_AT_ONCE", 5 * 36)  # two parts, the second one short
    found = decode_files(request_for(root), tmp_path / "cache")
    assert found.images.shape == (NUMBER, 3, 4, 3) and found.corrupt == {}
    assert greys(found.images) == list(range(NUMBER))
    assert "decoding images: 9/9" in capsys.readouterr().out


def test_files_are_decoded_once(root, tmp_path, decoded, capsys):
    for _ in range(2):
        assert greys(decode_files(request_for(root), tmp_path / "cache").images) == list(range(NUMBER))
    assert set(decoded.values()) == {1} and len(decoded) == NUMBER
    assert capsys.readouterr().out.count("decoding images") == 1


def test_another_list_size_or_time_is_another_cache(root, tmp_path, decoded):
    cache = tmp_path / "cache"
    decode_files(request_for(root), cache)
    os.utime(root / "0.png", ns=(1, 1))
    decode_files(request_for(root), cache)
    Image.new("RGB", (60, 60), (77, 77, 77)).save(root / "1.png")
    assert greys(decode_files(request_for(root), cache).images)[1] == 77
    (root / "8.png").unlink()
    assert len(decode_files(request_for(root), cache).images) == NUMBER - 1
    assert decode_files(request_for(root, 4, 3), cache).images.shape[1:3] == (4, 3)
    shutil.copytree(root, tmp_path / "elsewhere" / "photos")
    decode_files(request_for(tmp_path / "elsewhere" / "photos"), cache)
    assert decoded["5.png"] == 6 == len(list(cache.iterdir()))


def test_what_is_corrupt_is_known_to_the_next_process_too(root, tmp_path, decoded):
    (root / "4.png").write_text("x")
    for _ in range(2):
        found = decode_files(request_for(root), tmp_path / "cache")
        assert list(found.corrupt) == [4] and "none of the formats" in found.corrupt[4]
    assert decoded["3.png"] == 1


def test_what_could_not_be_read_for_another_reason_is_decoded_when_it_can(root, tmp_path, monkeypatch):
    """Such as a file that nobody was allowed to read: being allowed to does not change its time."""

    def refuse(path: Path, *size: int):
        raise DecodeError("Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(image_cache, "decode", refuse)
        assert len(decode_files(request_for(root), tmp_path / "cache").corrupt) == NUMBER
    found = decode_files(request_for(root), tmp_path / "cache")
    assert not found.corrupt and greys(found.images) == list(range(NUMBER))


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-9])])
@pytest.mark.parametrize("name", ["images.npy", "images.json"])
def test_a_cache_that_is_not_whole_is_made_again(root, tmp_path, decoded, spoil, name):
    decode_files(request_for(root), tmp_path / "cache")
    spoil(tmp_path / "cache" / request_for(root).name / name)
    assert greys(decode_files(request_for(root), tmp_path / "cache").images) == list(range(NUMBER))
    assert decoded["0.png"] == 2


SCRIPT = """
import sys, time
from pathlib import Path
sys.path[:0] = {folders!r}
from evoprune.data import image_cache
from test_image_cache import greys, request_for
decode = image_cache.decode
def slow(path, *size):
    print("decodes", path.name, flush=True)
    time.sleep({seconds})
    return decode(path, *size)
image_cache.decode, image_cache.available_cpus = slow, lambda: 1
print(*greys(image_cache.decode_files(request_for(Path(sys.argv[1])), Path(sys.argv[2])).images))
"""


def start(root: Path, cache: Path, seconds: float) -> subprocess.Popen[str]:
    """A process that decodes slowly, and says so."""
    folders = [str(ROOT / "tests"), str(ROOT / "tests" / "data")]
    script = SCRIPT.format(folders=folders, seconds=seconds)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", script, str(root), str(cache)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)


def test_a_process_that_is_killed_leaves_nothing_that_is_taken_for_whole(root, tmp_path, decoded):
    cache = tmp_path / "cache"
    process = start(root, cache, seconds=0.3)
    assert process.stdout is not None and "decodes" in process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [path.name for path in cache.glob("*/*.npy*")] == [".images.npy.part"]
    assert greys(decode_files(request_for(root), cache).images) == list(range(NUMBER))
    assert len(decoded) == NUMBER
    assert sorted(path.name for path in cache.glob("*/*")) == [".lock", "images.json", "images.npy"]


def test_of_two_processes_one_decodes_and_both_have_the_images(root, tmp_path):
    processes = [start(root, tmp_path / "cache", seconds=0.1) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert all(output.splitlines()[-1] == "0 1 2 3 4 5 6 7 8" for output in outputs)
    assert sorted(output.count("decodes") for output in outputs) == [0, NUMBER]


def test_a_disk_without_room_is_told_before_anything_is_decoded(root, tmp_path, monkeypatch, decoded):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(image_cache.shutil, "disk_usage", lambda folder: usage._replace(free=9 * 2000 * 3000 * 3 - 1))
    with pytest.raises(UserError, match=r"data\.cache: 9 images of 2000 x 3000 pixels need 162\.0 MB.*has 162\.0 MB"):
        decode_files(request_for(root, 2000, 3000), tmp_path / "cache")
    with pytest.raises(UserError, match=r"images of 1000000000 x 1000000000 pixels need 27,000,000,000\.0 GB"):
        decode_files(request_for(root, 10**9, 10**9), tmp_path / "cache")
    assert not decoded


def test_a_disk_that_fills_up_meanwhile_is_told_and_left_clean(root, tmp_path, monkeypatch):
    def fill(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_cache.os, "fsync", fill)
    with pytest.raises(UserError, match=r"data\.cache: .*cannot be written: No space left on device"):
        decode_files(request_for(root), tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").glob("*/*")] == [".lock"]


def test_a_cache_that_is_no_folder_is_told(root, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match=r"data\.cache: .*cannot be written: Not a directory"):
        decode_files(request_for(root), tmp_path / "cache")


def test_an_interrupted_decoding_leaves_no_file(root, tmp_path, monkeypatch):
    def stop(path: Path, *size: int):
        raise KeyboardInterrupt if path.name == "3.png" else DecodeError("no")

    monkeypatch.setattr(image_cache, "decode", stop)
    with pytest.raises(KeyboardInterrupt):
        decode_files(request_for(root), tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").glob("*/*")] == [".lock"]
