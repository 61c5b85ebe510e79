"""What single values of an experiment may be: each check returns the value, or raises ValueError saying what may."""

import json
import math
import re
import shlex
import sys
from typing import Any

from evoprune.common.errors import suggest
from evoprune.common.objectives import ALIASES, OBJECTIVES

_LONGEST_PATH, _LONGEST_NAME = 4000, 255
_LARGEST = sys.float_info.max
_MOST = 4096


def objective_name(name: Any) -> str:
    """An objective's name, aliases resolved."""
    canonical = ALIASES.get(name, name) if isinstance(name, str) else None
    if canonical not in OBJECTIVES:
        raise ValueError(suggest(str(name), [*OBJECTIVES, *ALIASES]))
    return canonical


def bound(value: Any) -> float | str | None:
    """A number, or a share of the base network's value such as 50%."""
    if isinstance(value, str):
        number = value.removesuffix("%").strip()
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", number) and value.endswith("%"):
            return value
    elif value is None or (isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST):
        return value
    raise ValueError("a number, or a share of the base network's such as 50%")


def cost_bounds(value: Any) -> dict[str, tuple[float | str, ...]]:
    """Upper bounds by name of a cost, one or a list of them; aliases resolved."""
    costs = [name for name in OBJECTIVES if name != "accuracy"]
    rule = f"bounds above 0 of {', '.join(costs)}, as {{flops: [30e6, 15%]}}"
    if not isinstance(value, dict) or not value or not all(isinstance(name, str) for name in value):
        raise ValueError(rule)
    named_once(value)
    found = {}
    for name, given in value.items():
        cost = str(ALIASES.get(name, name))
        bounds = [bound(each) for each in (given if isinstance(given, list | tuple) else (given,))]
        found[cost] = tuple(each for each in bounds if isinstance(each, str) or (each is not None and each > 0))
        if cost not in costs or not bounds or len(found[cost]) < len(bounds):
            raise ValueError(rule)
    return found


def path_text(text: str) -> str:
    """A path that a file system can hold."""
    is_text = not re.search("[\0\ud800-\udfff]", text)
    if not is_text or len(text) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST_NAME for part in text.split("/")):
        raise ValueError(f"a path of at most {_LONGEST_PATH} characters, each name in it of at most {_LONGEST_NAME}")
    return text


def validation_source(value: Any) -> float | str:
    """Where validation images come from: a share of the training set, `own`, or a path."""
    if isinstance(value, str) and value:
        return path_text(value)
    if isinstance(value, float) and 0 < value < 1:
        return value
    raise ValueError("a fraction between 0 and 1, `own`, or the path of an .npz archive with val_images")


def image_sides(value: Any) -> int | tuple[int, int] | None:
    """One number for square images; others have a height and a width."""
    sides = list(value) if isinstance(value, list | tuple) else [value, value]
    if value is None:
        return None
    if len(sides) == 2 and all(type(side) is int and 1 <= side <= 4096 for side in sides):
        return sides[0] if sides[0] == sides[1] else (sides[0], sides[1])
    raise ValueError("a whole number from 1 to 4096, or two of them, [height, width]")


def named_once(limits: Any) -> Any:
    """Refuse two names of one quantity, of which a dict would silently keep the later."""
    if isinstance(limits, dict):
        names = [ALIASES.get(name, name) for name in limits]
        for alias, name in ALIASES.items():
            if names.count(name) > 1:
                raise ValueError(f"one of {name} and {alias}, which are the same")
    return limits


def command_words(value: Any) -> Any:
    """The words of a command that takes a model: a list, or text that is split as a shell does it."""
    if value is None:
        return None
    words = value
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise ValueError(f"a command whose quotes close ({error})") from None
    is_list = isinstance(words, list | tuple) and all(isinstance(word, str) and "\0" not in word for word in words)
    if not is_list or not words or not any("{model}" in word for word in words):
        raise ValueError("a command, as text or as a list of words, with {model} where the saved model belongs")
    return tuple(words)


def gpu_share(value: float | None) -> float | None:
    """GPUs of a worker as Ray takes them."""
    if value is not None and (value < 0 or (value > 1 and value != int(value))):
        raise ValueError("0, a fraction of one GPU, or a whole number")
    return value


def auto_or_count(value: Any) -> Any:
    """A number of at least 1, or `auto`."""
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST):
        return value
    raise ValueError(f"auto, or a whole number of at least 1 and at most {_MOST}")


def plain_mapping(value: Any) -> Any:
    """A mapping of what JSON can hold, with numbers that are finite and text that UTF-8 can write."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError):
        raise ValueError("a mapping of text, numbers, lists and mappings") from None
    if not isinstance(value, dict) or not _has_text_keys(value):
        raise ValueError("a mapping whose keys are text")
    return value


def _has_text_keys(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(_has_text_keys, value.values()))
    return not isinstance(value, list) or all(map(_has_text_keys, value))


def each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names without repetition."""
    if len(set(names)) != len(names):
        raise ValueError("each name once")
    return names


def shares(value: Any) -> Any:
    """One name, or names with shares that add up to 1."""
    if isinstance(value, str):
        return {value: 1.0}
    if not isinstance(value, dict) or not value:
        raise ValueError("a name, or names with shares such as {evolution: 0.8, random: 0.2}")
    numbers = [share for share in value.values() if isinstance(share, int | float) and not isinstance(share, bool)]
    if len(numbers) < len(value) or any(abs(number) > _LARGEST for number in numbers):
        return value
    if not math.isclose(sum(numbers), 1, abs_tol=1e-6):
        raise ValueError(f"shares that add up to 1; these come to {sum(numbers):g}")
    return {name: float(share) for name, share in value.items()}
