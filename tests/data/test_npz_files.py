"""Archives that claim more than they have, or unpack to more than anybody packs."""

import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest

from evoprune import UserError
from evoprune.data import npz_files
from evoprune.data.npz_files import open_npz


def with_member(path: Path, content: bytes, compression: int = zipfile.ZIP_DEFLATED) -> str:
    """An archive of one member, as it is given."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("train_images.npy", content)
    return str(path)


def header(shape: tuple[int, ...]) -> bytes:
    """How an array of bytes of that shape begins."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def test_arrays_are_read(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", train_images=np.arange(12, dtype=np.uint8), train_labels=[1, 2], other=3)
    found = open_npz(str(tmp_path / "a.npz"), "data.root")
    assert {name: array.tolist() for name, array in found.items()} == {
        "train_images": list(range(12)),
        "train_labels": [1, 2],
    }
    assert open_npz(with_member(tmp_path / "b.npz", header((3,)) + b"abc"), "data.root")["train_images"].tolist() == [
        97,
        98,
        99,
    ]


def test_a_member_that_is_no_array_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("train_images", b"abc")
    with pytest.raises(UserError, match=r"data\.root: .*not a NumPy archive"):
        open_npz(str(tmp_path / "a.npz"), "data.root")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header((2**40, 8, 8)) + b"abc", r"claims the shape \(1099511627776, 8, 8\), .* bytes, and has 3"),
        (header((2,)) + b"abc", r"claims the shape \(2,\), 2 bytes, and has 3"),
        (b"\x93NUMPY\x07\x00" + b"a" * 200, "format"),
        (b"", "data.root: .*not a NumPy archive"),
    ],
)
def test_an_array_that_is_not_what_it_claims_is_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        open_npz(with_member(tmp_path / "a.npz", content), "data.root")


def test_a_bomb_takes_no_memory(tmp_path):
    path = tmp_path / "bomb.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("train_images.npy", "w", force_zip64=True) as member,
    ):
        member.write(header((2**29,)))
        for _ in range(2**9):
            member.write(bytes(2**20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"unpacks .* bytes to 536,870,912, which no images do"):
        open_npz(str(path), "data.root")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes"


def test_more_than_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(npz_files, "total_memory", lambda: 1000)
    np.savez(tmp_path / "a.npz", train_images=np.zeros(900, np.uint8), test_images=np.zeros(101, np.uint8))
    with pytest.raises(UserError, match="its arrays have 1,001 bytes, this machine's memory 1,000"):
        open_npz(str(tmp_path / "a.npz"), "data.root")


@pytest.mark.parametrize(("offset", "value", "message"), [(8, 1, "encrypted"), (10, 99, "compression")])
def test_a_damaged_directory_is_one_message(tmp_path, offset, value, message):
    path = Path(with_member(tmp_path / "a.npz", header((3,)) + b"abc"))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + offset] = value
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"(?s)data.root: .*not a NumPy archive.*{message}"):
        open_npz(str(path), "data.root")
