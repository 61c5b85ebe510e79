"""One image file, of whatever kind, as people see it."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evoprune.data.decoding import FORMATS, MOST_PIXELS, SUFFIXES, DecodeError, decode, quiet

RAMP = np.linspace(0, 65535, 48 * 64).reshape(48, 64).astype(np.uint16)


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def centre(path: Path) -> list[int]:
    return decode(path, 5, 7)[2, 3].tolist()


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.gif", "a.webp", "a.ppm", "a.tif", "a.jpg", "a.jfif"])
def test_every_format_is_read_at_the_size_that_is_asked(tmp_path, name):
    path = saved(Image.new("RGB", (20, 10), (200, 100, 50)), tmp_path / name)
    pixels = decode(path, 6, 9)
    assert pixels.shape == (6, 9, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - (200, 100, 50)).max() <= 3


def test_what_lies_under_a_wrong_suffix_is_read_too(tmp_path):
    path = saved(Image.new("RGB", (8, 8), (9, 8, 7)), tmp_path / "a.png")
    assert centre(path.rename(tmp_path / "a.jpg")) == [9, 8, 7]


def test_suffixes_are_those_of_pillow_for_these_formats_and_no_format_starts_programs():
    Image.init()
    known = Image.registered_extensions()
    assert all(known[suffix] == name for name, suffixes in FORMATS.items() for suffix in suffixes)
    assert len(SUFFIXES) == sum(map(len, FORMATS.values())) and "EPS" not in FORMATS


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bits_become_eight_without_burning_to_white(tmp_path, name):
    pixels = decode(saved(Image.fromarray(RAMP), tmp_path / name), 48, 64)
    assert np.array_equal(pixels[..., 0], np.rint(RAMP / 257)) and (pixels == pixels[..., :1]).all()


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_numbers_without_a_range_are_no_image(tmp_path, kind):
    path = saved(Image.fromarray(RAMP.astype(kind)), tmp_path / "a.tif")
    with pytest.raises(DecodeError, match="no known range; 8 or 16 bits"):
        decode(path, 4, 4)


@pytest.mark.parametrize(
    ("mode", "colour", "wanted"),
    [
        ("L", 77, [77] * 3),
        ("1", 1, [255] * 3),
        ("RGBA", (10, 20, 30, 255), [10, 20, 30]),
        ("RGBA", (10, 20, 30, 0), [255] * 3),
        ("RGBA", (0, 100, 200, 51), [204, 224, 244]),  # a fifth of the colour on four fifths of white
        ("LA", (55, 0), [255] * 3),
    ],
)
def test_grey_and_alpha_become_colours_on_white(tmp_path, mode, colour, wanted):
    assert centre(saved(Image.new(mode, (9, 6), colour), tmp_path / "a.png")) == wanted


def test_palettes_become_their_colours(tmp_path):
    image = Image.new("P", (9, 6))
    image.putpalette([200, 100, 50, 0, 0, 0])
    assert centre(saved(image, tmp_path / "a.gif")) == centre(saved(image, tmp_path / "a.png")) == [200, 100, 50]
    assert centre(saved(image, tmp_path / "clear.png", transparency=0)) == [255] * 3


def test_printers_colours_become_those_of_screens(tmp_path):
    assert centre(saved(Image.new("CMYK", (9, 6), (0, 255, 255, 0)), tmp_path / "a.jpg")) == [255, 0, 0]


@pytest.mark.parametrize(("orientation", "row_of_blue"), [(1, None), (6, 0), (8, -1)])
def test_a_photograph_is_turned_as_the_camera_was(tmp_path, orientation, row_of_blue):
    """Left half blue, right half red; turned by a quarter to the right, blue is on top."""
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16], pixels[:, 16:] = (0, 0, 255), (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(Image.fromarray(pixels), tmp_path / "a.png", exif=exif)
    seen = decode(path, 16, 16)
    if row_of_blue is None:
        assert (seen[:, 0] == (0, 0, 255)).all() and (seen[:, -1] == (255, 0, 0)).all()
    else:
        assert (seen[row_of_blue] == (0, 0, 255)).all() and (seen[-1 - row_of_blue] == (255, 0, 0)).all()


def test_of_an_animation_the_first_frame_is_read(tmp_path):
    frames = [Image.new("RGB", (8, 8), (value, 0, 0)) for value in (10, 200)]
    assert centre(saved(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])) == [10, 0, 0]
    assert centre(saved(frames[0], tmp_path / "a.jpg", format="MPO", save_all=True, append_images=frames[1:]))[0] < 20


def damaged(folder: Path) -> dict[str, Path]:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 60, 3)).astype(np.uint8))
    whole = {name: saved(noise, folder / f"whole.{name}").read_bytes() for name in ("jpg", "png", "gif", "webp")}
    contents = {f"cut.{name}": data[: len(data) // 2] for name, data in whole.items()}
    contents |= {
        "empty.png": b"",
        "text.jpg": b"hello",
        "page.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in (*contents, "nowhere.png")}


def test_a_damaged_file_is_an_error_with_a_reason_and_nothing_else(tmp_path, capfd):
    for path in damaged(tmp_path).values():
        with pytest.raises(DecodeError, match=r"\w{3}") as error:
            decode(path, 8, 8)
        assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(DecodeError, match="the file is empty"):
        decode(tmp_path / "empty.png", 8, 8)


@pytest.mark.parametrize("side", [20_000, round((MOST_PIXELS * 1.01) ** 0.5)])
def test_a_small_file_with_very_many_pixels_is_refused_unread(tmp_path, side):
    """Above Pillow's limit, and below it."""
    path = tmp_path / "bomb.png"
    path.write_bytes(with_size(saved(Image.new("1", (8, 8)), tmp_path / "small.png").read_bytes(), side))
    with warnings.catch_warnings(record=True) as caught, quiet(), pytest.raises(DecodeError, match="pixels"):
        decode(path, 8, 8)
    assert not caught


def with_size(png: bytes, side: int) -> bytes:
    """A PNG whose header claims another size; the header is 13 bytes behind a signature, a length and a name."""
    import zlib

    header = side.to_bytes(4, "big") * 2 + png[24:29]
    return png[:16] + header + zlib.crc32(b"IHDR" + header).to_bytes(4, "big") + png[33:]
