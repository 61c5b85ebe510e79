"""Experiments and search spaces with something wrong in them, drawn at random."""

import copy
import random
from collections.abc import Iterator
from typing import Any

import yaml

NASTY: tuple[Any, ...] = (
    *(None, True, False, "", " ", "x", "x" * 5000, "/" + "a/" * 3000, "a\0b", "\ud800", "\x1b[31mred", "..", "/", "~"),
    *(-1, 0, 1, 2, 3.5, -0.5, 2**31, 2**63, 10**18, 10**400, 1e18, 1e308, 5e-324, float("nan"), float("inf")),
    *([], {}, [[]], [{}], {"a": {}}, {"max": 1}, [None], [1, 2], {1: 2}, {None: 1}, {"count": 10**9}, {"count": 0}),
    *([{"accuracy": "max"}, "flops"], [["accuracy"], "flops"], ["accuracy", "flops"], ["latency", "flops"]),
    *({"accuracy": {"min": {}}}, {"flops": {"max": "9" * 400 + "%"}}, {"flops": {"max": 10**400}}),
    *("50%", "auto", "all", "knees", "own", "/dev/zero", "/proc/self/mem", "resnet20", "npz", "image_folder"),
    *([{"epochs": 0, "promote": 0.5}], [{"epochs": "x", "promote": 0.5}], {"evolution": 10**400}, {"surrogate": 1.0}),
)
NASTY_TEXTS = (
    *("[", "{", ":", "- ", "&a ", "*a", "!!python/object:os.system ", "!!timestamp 2001-99-99", "!!int ", "!!binary "),
    *("\t", "\x07", "'", '"', "<<: ", "? ", "%", "2001-99-99", "9" * 5000, '"\\ud800"', "...", "[" * 500),
    *("!!set {}", "~", ".nan", "0x" + "f" * 500, "1:" * 50 + "1"),
)
ALIAS_BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 20))]
)


def mutated(document: Any, rng: random.Random) -> str:
    """The text of a YAML document in which values or lines have changed."""
    if rng.random() < 0.3:
        return _mutated_lines(yaml.safe_dump(document, sort_keys=False), rng)
    document = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _mutate(document, rng)
    return yaml.safe_dump(document, sort_keys=False)


def _mutate(document: Any, rng: random.Random) -> None:
    *path, last = rng.choice(list(_paths(document)) or [("extra",)])
    place = document
    for key in path:
        place = place[key]
    kind = rng.random()
    if kind < 0.75:
        place[last] = _nasty(rng)
    elif kind < 0.85:
        place.pop(last, None) if isinstance(place, dict) else place.pop(last)
    elif isinstance(place, dict):
        place[rng.choice(("extra", 5, None, True, "a.b", "float", "[key]"))] = _nasty(rng)
    else:
        place.append(_nasty(rng))


def _nasty(rng: random.Random) -> Any:
    """A copy: what is changed next may lie within."""
    return copy.deepcopy(rng.choice(NASTY))


def _paths(document: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        yield (*before, key)
        if isinstance(value, dict | list):
            yield from _paths(value, (*before, key))


def _mutated_lines(text: str, rng: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    for _ in range(rng.choice((1, 2, 5))):
        place = rng.randrange(len(lines))
        column = rng.randrange(len(lines[place]) + 1)
        kind = rng.random()
        if kind < 0.2 and len(lines) > 1:
            del lines[place]
        elif kind < 0.35:
            lines.insert(place, rng.choice(lines))
        elif kind < 0.5:
            lines[place] = lines[place][:column]
        else:
            lines[place] = lines[place][:column] + rng.choice(NASTY_TEXTS) + lines[place][column:]
    return "".join(lines)
