"""Write docs/experiment.md, the page of all keys, from the sections in evoprune/config.

Usage: python docs/make_experiment.py

A field's docstring is its line in a table; a class's docstring is the text above the table.
"""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from evoprune.config import Experiment, TrainingConfig

PAGE = Path(__file__).with_name("experiment.md")

HEAD = """# The experiment file

<!-- Written by `python docs/make_experiment.py` from evoprune/config. Change the docstrings there, then run it. -->

One YAML file describes one run. The words that this page uses are explained in [concepts](concepts.md).

- The file is a mapping of sections. Only `data.dataset`, and `network.source` or `search_space.name`, are required.
- Unknown keys are errors. The message names the nearest key.
- A default of `null` means that the key is not set.
- `--set section.key=value` overrides a key on the command line. The value is YAML, such as
  `--set 'search.limits={flops: {max: 50%}}'`.
- The run's folder gets a `config.yaml` with every key. Running that file again repeats the run.

A whole file, that of the quickstart (`experiments/quickstart.yaml`):

```yaml
QUICKSTART
```
"""

TRAINING_HEAD = """## The keys of a training

TRAINING

`base`, `evaluation` and `retrain` each have these keys. Where a section has another default, or another meaning, its
own table above says so.
"""

TAIL = """## Your own data

### An archive

An `.npz` archive in MedMNIST's layout holds these arrays:

| array | shape | type |
|---|---|---|
| `train_images`, `test_images` | N x H x W, or N x H x W x C, all of one size | uint8 |
| `train_labels`, `test_labels` | N, or N x 1 | whole numbers from 0 |
| `val_images`, `val_labels` | likewise; they may be left out | |

```yaml
data: {dataset: npz, root: data/pathmnist.npz, validation: own}
```

`validation: own` takes the `val_*` arrays. Without them, a share such as `validation: 0.1` sets training images aside.

### A folder of images

A folder with one folder per class, or `train/`, `test/` and maybe `val/` with these in each. A folder without `test/`
gives a fixed fifth of every class to testing. The [tutorial](tutorials/02_own_images.md) shows a whole run.

```yaml
data: {dataset: image_folder, root: data/flowers, image_size: [96, 128]}
```

Images may be as cameras and people leave them:

| what | what is done with it |
|---|---|
| formats | JPEG, PNG, GIF, WebP, BMP, TIFF, PPM; of an animation the first frame |
| sizes and shapes | each image is resized to `image_size`, whole, not cropped; proportions may change |
| rotation that a camera has noted (EXIF) | carried out |
| grey, CMYK, palettes, 16 bits | become RGB of 8 bits |
| transparency | white shows through |
| folders inside a class's folder | their images belong to the class |
| hidden files and folders | not seen: `.ipynb_checkpoints` is no class |
| other files | ignored, and counted |
| files that cannot be read, or have above 134 million pixels | all named, status 2; `skip_corrupt: true` goes on |

Each command says how many images and classes there are, and which classes have none for testing. The names of the
classes stand in each `model.json`, in the order of the network's outputs.

Images are decoded once, on all cores, into a file beside the runs (`results/image_cache/`) or in `data.cache`. All
processes map that file, so that none has a copy of the images: with 50,000 images of 96 pixels, a file of 1.4 GB, the
process that you start had 319 MB of its own and each of 2 Ray workers 375 MB when they had read all images, of which
290 to 320 MB were there before (`python benchmarks/image_memory.py`, 2 CPU cores). Where the disk has no room, the
command says so before it begins. When a file is added, removed or changed, or `image_size` is another, all images are
decoded anew. Old folders in `image_cache` may be deleted when no run uses them. Where workers run on several machines,
`data.cache` is a folder that all of them see.

### A network of your own

`network: {source: path/to/mynet.py:make_net}` calls the function `make_net` of your file. It returns a
`torch.nn.Module` that takes images and returns logits. Where it has parameters `num_classes` and `in_channels`, it gets
those of the data. The search space is read from the network; `evoprune space` prints it. [The
tutorial](tutorials/03_own_cnn.md) shows the whole way.
"""


def experiment_page() -> str:
    """The text of docs/experiment.md."""
    quickstart = (PAGE.parents[1] / "experiments" / "quickstart.yaml").read_text(encoding="utf-8")
    parts = [HEAD.replace("QUICKSTART", quickstart.strip()), "## The top level\n", _table(_plain_fields())]
    for name, field in Experiment.model_fields.items():
        if section := _section_of(field):
            parts += _section(name, section)
    parts += [TRAINING_HEAD.replace("TRAINING", _text(TrainingConfig)), _table(_own_fields(TrainingConfig)), TAIL]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _section(name: str, section: type[BaseModel]) -> Iterator[str]:
    """The part of the page for one section, and for the sections inside it."""
    training = "\n\nIt also has [the keys of a training](#the-keys-of-a-training)." * issubclass(
        section, TrainingConfig
    )
    yield f"## `{name}`\n\n{_text(section)}{training}\n"
    yield _table(_own_fields(section))
    for key, field in _own_fields(section).items():
        if inner := _section_of(field):
            yield f"### `{name}.{key}`\n\n{_text(inner)}\n"
            yield _table(_own_fields(inner))


def _plain_fields() -> dict[str, FieldInfo]:
    return {key: field for key, field in _own_fields(Experiment).items() if not _section_of(field)}


def _own_fields(section: type[BaseModel]) -> dict[str, FieldInfo]:
    """Fields that the class itself declares, by the key in the file."""
    own = inspect.get_annotations(section)
    return {field.alias or name: field for name, field in section.model_fields.items() if name in own}


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The section that a field holds: itself, in a list, or as a mapping's values."""
    return next(
        (kind for kind in _kinds(field.annotation) if inspect.isclass(kind) and issubclass(kind, BaseModel)), None
    )


def _kinds(annotation: Any) -> Iterator[Any]:
    yield annotation
    for inner in get_args(annotation):
        yield from _kinds(inner)


def _table(fields: dict[str, FieldInfo]) -> str:
    rows = [f"| `{key}` | {_default(key, field)} | {_line(field.description)} |" for key, field in fields.items()]
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows])


def _default(key: str, field: FieldInfo) -> str:
    if field.is_required():
        return (
            "the file's name"
            if key == "name" and field.description and "by default" in field.description
            else "required"
        )
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "below"
    return f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    """A value as people write it in the file."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict) and list(value.values()) == [1.0]:
        return str(next(iter(value)))
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True).removesuffix("\n").removesuffix("\n...")


def _line(text: str | None) -> str:
    assert text, "every field has a docstring"
    return " ".join(text.split()).replace("|", r"\|")


def _text(section: type[BaseModel]) -> str:
    return inspect.cleandoc(section.__doc__ or "")


if __name__ == "__main__":
    PAGE.write_text(experiment_page(), encoding="utf-8")
