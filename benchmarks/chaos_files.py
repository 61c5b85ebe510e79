"""Files with something wrong in them: those of a run, and experiments."""

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

FILES = (
    *("config.yaml", "run.json", "reports.csv", "output.csv", "table.md", "front.png", ".lock"),
    *("importance/magnitude.csv", "base/model.json", "base/model.safetensors", "base/moments.safetensors"),
    *("models/KEY/model.json", "models/KEY/model.safetensors"),
)
"""Files of a run; KEY is a trained network."""


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes() or b"x")
    content[len(content) * 3 // 4] ^= 0x15
    path.write_bytes(content)


def put_folder(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "half": halve,
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "garbage": lambda path: path.write_bytes(b"\x1b]0;mine\x07\xfe\xff\x00" * 77),
    "deep": lambda path: path.write_bytes(b"[" * 100_000),
    "other": lambda path: path.write_text("a,b\n1,2\n"),
    "one byte": flip,
    "folder": put_folder,
    "gone": Path.unlink,
}

VALUES: tuple[Any, ...] = (
    *(None, True, "", "x", "y" * 5000, "b/" * 3000, "a\0b", "\udc00", "\x1b[31m", "/", "/dev/zero", "auto", "50%"),
    *(-1, 0, 1, 2.5, 2**63, 10**18, 10**400, 1e308, float("nan"), float("inf"), [], {}, [[]], {"max": 1}, {1: 2}),
    *({"flops": {"max": 10**400}}, ["accuracy", "flops"], [{"epochs": 0, "promote": 0.5}], {"evolution": 10**400}),
)
TEXTS = ("[", "{", ": ", "&a ", "*a", "!!python/object:os.system ", "\t", "\x07", '"', "<<: ", "9" * 5000, "[" * 500)


def spoilt(document: dict[str, Any], rng: random.Random) -> str:
    """The text of an experiment in which a value is another one, is gone, or is not YAML."""
    if rng.random() < 0.3:
        text = yaml.safe_dump(document, sort_keys=False)
        place = rng.randrange(len(text))
        return text[:place] + rng.choice(TEXTS) + text[place + rng.choice((0, 0, 1, 20)) :]
    document = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 2))):
        inside = document
        if rng.random() < 0.8:
            inside = rng.choice([value for value in document.values() if isinstance(value, dict)] or [document])
        key = rng.choice([*inside, "extra"])
        if rng.random() < 0.15:
            inside.pop(key, None)
        else:
            inside[key] = rng.choice(VALUES)
    return yaml.safe_dump(document, sort_keys=False)
