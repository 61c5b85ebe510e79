"""Made-up data sets for tests: in memory, as archives, as folders of images, as CIFAR's files."""

import pickle
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from evoprune.config import DataConfig
from evoprune.data.dataset import RawData
from evoprune.data.tensors import Data, make_data, to_split

CPU = torch.device("cpu")
CLASS_SIZES = (10, 5, 4)


def make_raw(channels: int = 1, seed: int = 0) -> RawData:
    """19 training images of three classes, numbered from 0 in the first pixel; test images from 200."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([0, 1, 2], CLASS_SIZES))
    images = rng.integers(0, 200, (19, 4, 4, channels)).astype(np.uint8)
    images[:, 0, 0, 0] = np.arange(19)
    test = np.full((6, 4, 4, channels), 200, np.uint8) + np.arange(6, dtype=np.uint8)[:, None, None, None]
    return RawData((images, labels), (test, np.arange(6) % 3), None, 3)


def plain_config(**keys: object) -> DataConfig:
    """A fifth for validation and nothing augmented, unless `keys` say otherwise."""
    return DataConfig(dataset="npz", **{"validation": 0.2, "crop": 0, "flip": False, **keys})


def ids(images: np.ndarray) -> list[int]:
    """The numbers in the images' first pixels."""
    return images[:, 0, 0, 0].tolist()


def make_augmenting(crop: int, flip: bool | str, images: np.ndarray) -> tuple[Data, Tensor]:
    """Data whose training augments, and all of `images` (N, height, width, channels) as a batch for it."""
    raw = RawData((images, np.arange(len(images)) % 2), (images, np.zeros(len(images), np.int64)), None, 2)
    data = make_data(raw, plain_config(crop=crop, flip=flip, validation=0.5), CPU)
    return data, to_split(raw.train, CPU).images


def make_arrays(**changes: object) -> dict[str, np.ndarray]:
    """MedMNIST's layout: 12 training, 6 test images, 4x4 RGB, 3 classes; the first pixel numbers the image."""
    arrays = {}
    for name, size, first in (("train", 12, 0), ("test", 6, 100)):
        arrays[f"{name}_images"] = np.zeros((size, 4, 4, 3), dtype=np.uint8)
        arrays[f"{name}_images"][:, 0, 0, 0] = np.arange(first, first + size)
        arrays[f"{name}_labels"] = (np.arange(size) % 3).astype(np.uint8)
    arrays |= {name: np.asarray(value) for name, value in changes.items() if value is not None}
    return {name: value for name, value in arrays.items() if changes.get(name, value) is not None}


def validation_arrays(first: int) -> dict[str, np.ndarray]:
    """Two validation images, numbered from `first`, and a column of labels."""
    images = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = [first, first + 1]
    return {"val_images": images, "val_labels": np.array([[2], [0]])}


def write_npz(folder: Path, name: str = "d.npz", **changes: object) -> str:
    """Write `make_arrays` as an archive, and return its path."""
    np.savez(folder / name, **make_arrays(**changes))
    return str(folder / name)


def npz(root: str, **keys: object) -> DataConfig:
    """The section `data` of an archive."""
    return DataConfig(dataset="npz", root=root, **keys)


def folder_config(root: Path, **keys: object) -> DataConfig:
    """The section `data` of a folder of images, whose decoded ones lie in it, hidden."""
    return DataConfig(
        dataset="image_folder", root=str(root), **{"image_size": 5, "cache": str(root / ".cache"), **keys}
    )


def write_folder(root: Path, parts: tuple[str, ...] = ("train", "test")) -> DataConfig:
    """Two classes; each image has one colour that says part and class."""
    for index, part in enumerate(parts):
        for label, name in enumerate(("cat", "dog")):
            (root / part / name).mkdir(parents=True)
            for number in range(3):
                colour = (100 * label, 50 * index, number)
                Image.new("RGB", (5, 5), colour).save(root / part / name / f"{number}.png")
    return folder_config(root)


def write_class_folders(root: Path) -> DataConfig:
    """Two classes of ten images, without parts; every image has a grey of its own."""
    for name, value in (("cat", 10), ("dog", 200)):
        (root / name).mkdir(parents=True)
        for index in range(10):
            Image.fromarray(np.full((6, 7, 3), value + index, np.uint8)).save(root / name / f"{index}.png")
    return folder_config(root)


def write_cifar(root: Path, name: str, copies: int = 1) -> DataConfig:
    """The real files' format, 2 images each, `copies` times: rows of 3,072 bytes, red before green before blue."""
    folder, key = {"cifar10": ("cifar-10-batches-py", "labels"), "cifar100": ("cifar-100-python", "fine_labels")}[name]
    files = [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"] if name == "cifar10" else ["train", "test"]
    (root / folder).mkdir()
    for number, file in enumerate(files):
        rows = np.repeat(np.array([[number, 50, 200], [number, 51, 201]], np.uint8), 1024, axis=1)
        rows[:, 1] = 99  # red, row 0, column 1
        (root / folder / file).write_bytes(
            pickle.dumps({"data": np.tile(rows, (copies, 1)), key: [number, 9] * copies})
        )
    for meta in ("batches.meta", "meta"):
        names = {"label_names": [f"c{k}" for k in range(10)], "fine_label_names": [f"f{k}" for k in range(100)]}
        (root / folder / meta).write_bytes(pickle.dumps(names))
    return DataConfig(dataset=name, root=str(root))
