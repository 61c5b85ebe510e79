"""README and docs against the project: what they name is there, what they show runs."""

import glob
import re
import shlex
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

from evoprune import load_search_space
from evoprune.cli import COMMANDS, _parser, main
from evoprune.common.files import carried_files
from evoprune.common.yaml_files import format_yaml, parse_yaml
from evoprune.config import load_experiment, parse_experiment
from evoprune.pruning.targets import parse_method, parse_target

README = ROOT / "README.md"
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
LINKED = [*PAGES, ROOT / "CHANGELOG.md", *sorted((ROOT / "results").rglob("*.md"))]
TREES = ("evoprune", "benchmarks", "experiments", "search_spaces")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str = r"\w*") -> list[tuple[str, str]]:
    """Language and text of each block of code of a page, in order."""
    return re.findall(rf"^```({language})\n(.*?)^```", text_of(page), re.M | re.S)


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text_of(page), flags=re.M | re.S)


def spans(page: Path) -> list[str]:
    """Code inside sentences and tables."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page))]


def shell_lines(text: str) -> list[list[str]]:
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def commands(page: Path, program: str) -> list[list[str]]:
    """The arguments of each call of `program` in a page's blocks of shell commands."""
    lines = [words for _, text in blocks(page, "sh") for words in shell_lines(text)]
    return [words[1:] for words in lines if words[0] == program]


def test_readme_is_a_page():
    assert len(text_of(README).splitlines()) <= 150


# What runs.


@pytest.fixture(scope="module")
def work(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a finished run of a tiny experiment that is called quickstart, and its sensitivity."""
    folder = tmp_path_factory.mktemp("docs")
    experiment = tiny(name="quickstart", evaluation={"recalibration_images": 32}, search_space={"width": 2})
    (folder / "tiny.yaml").write_text(experiment.to_yaml())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("evoprune.networks.device.available_cpus", lambda: 1)
        assert main(["run", "tiny.yaml"]) == 0
        assert main(["sensitivity", "tiny.yaml", "--images", "50"]) == 0
    return folder


def test_snippet_that_reads_results_runs(work: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(work)
    (snippet,) = [text for _, text in blocks(README, "python") if "read_csv" in text]
    exec(snippet, {})
    key, flops, test_accuracy, params = capsys.readouterr().out.splitlines()[-1].split()
    assert key.startswith("k") and int(flops) > 0 and 0 < float(test_accuracy) <= 100 and int(params) > 0


def test_snippet_of_the_python_interface_runs(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    (tmp_path / "resnet20.pt").write_bytes((pretrained / "resnet20_cifar10_option_a.pt").read_bytes())
    monkeypatch.chdir(tmp_path)
    (snippet,) = [text for _, text in blocks(README, "python") if "slim_network" in text]
    exec(snippet, {})
    printed = capsys.readouterr().out
    assert printed.startswith("464 k") and "'layer1.0.middle': 4" in printed and "40813184" in printed


@pytest.mark.parametrize("page", [page for page in PAGES if page not in (README, *TUTORIALS)], ids=name_of)
def test_snippets_run(page: Path, work: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(work)
    for _, snippet in blocks(page, "python"):
        exec(snippet, {})


@pytest.mark.parametrize("page", TUTORIALS, ids=name_of)
def test_tutorial_works_from_its_first_command_to_its_last(
    page: Path, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """With tiny experiments in place of those that evoprune carries."""
    monkeypatch.chdir(tmp_path)
    folder = {"dataset": "image_folder", "root": "photos", "image_size": 8}
    for name, data in (("quickstart", {}), ("own_images", folder)):
        (tmp_path / f"{name}.yaml").write_text(tiny(name=name, data=data).to_yaml())
    write_photos(tmp_path / "photos")
    monkeypatch.syspath_prepend(tmp_path)
    names: dict[str, Any] = {}
    saved = dict(re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)^```", text_of(page), re.M | re.S))
    for name, text in saved.items():
        (tmp_path / name).write_text(text if name.endswith(".py") else as_tiny(text, tiny))
    for language, text in blocks(page):
        if language == "python" and text not in saved.values():
            exec(text, names)
        for program, *words in shell_lines(text) if language == "sh" else ():
            if program == "evoprune":
                carried = {name: f"{name}.yaml" for name in ("quickstart", "own_images")}
                assert main([carried.get(word, word) for word in expanded(words)]) == 0, words


def expanded(words: list[str]) -> list[str]:
    """As a shell does it, with names of files in place of patterns."""
    return [name for word in words for name in sorted(glob.glob(word)) or [word]]


def as_tiny(text: str, tiny: Any) -> str:
    """An experiment of a page, of which all that takes time is tiny."""
    shown, small = parse_yaml(text, "page"), tiny(name="mynet").to_yaml()
    document = {key: value for key, value in parse_yaml(small, "tiny").items() if key != "search_space"}
    return format_yaml({**document, "network": shown["network"]})


def write_photos(folder: Path) -> None:
    """Three classes of 20 JPEGs."""
    rng = np.random.default_rng(0)
    for number in range(60):
        path = folder / str(number % 3) / f"{number}.JPG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 20, 3)).astype(np.uint8)).save(path)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_experiments_in_pages_are_valid(page: Path):
    for _, text in blocks(page, "yaml"):
        shown = parse_yaml(text, str(page))
        space = {} if "network" in shown else {"search_space": {"name": "resnet20"}}
        parse_experiment({"name": "shown", **space, **shown}, str(page))


# Commands.


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_are_right(page: Path):
    saved = re.findall(r"<!-- file: (\S+) -->", text_of(page))
    made: set[str] = set()
    for words in commands(page, "evoprune"):
        words = ["quickstart" if word in saved else word for word in words]
        arguments = _parser().parse_args(words)
        check_command(arguments, made)
        made.add(str(getattr(arguments, "out", None)))
    for target, *_ in commands(page, "make"):
        assert re.search(rf"^{target}:", text_of(ROOT / "Makefile"), re.M), target
    for program in ("python", "sbatch"):
        for script, *_ in commands(page, program):
            assert (ROOT / script).is_file(), script
    for span in spans(page):
        if span.startswith("evoprune "):
            assert span.split()[1] in {command.name for command in COMMANDS}, span


def check_command(arguments: Namespace, made: set[str]) -> None:
    """What a command names is there, was `made` before, or is a placeholder in capitals; its keys are valid."""
    experiment = getattr(arguments, "experiment", "quickstart")
    if experiment.isupper():
        experiment = "quickstart"
    elif experiment not in carried_files("experiments"):
        experiment = str(ROOT / experiment)
    loaded = load_experiment(experiment, getattr(arguments, "overrides", ()))
    if run := getattr(arguments, "run", None):
        folder, name = str(run.parent), run.name
        is_carried = folder == "results" and name in carried_files("experiments")
        assert str(run).isupper() or str(run) in made or is_carried, run
    if hasattr(arguments, "method"):
        parse_method(arguments.method)
    if getattr(arguments, "sparsity", None) is not None:
        assert arguments.weights and 0 < float(arguments.sparsity) < 1
    elif hasattr(arguments, "rate") and arguments.weights:
        assert loaded.weights.sparsity is not None or loaded.weights.layers
    elif hasattr(arguments, "rate"):
        given = {"rate": arguments.rate, "flops": arguments.flops, "max_loss": arguments.max_loss}
        parse_target(given, load_search_space("resnet20"))  # type: ignore[arg-type]


# What pages name.


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_pages_name_are_there(page: Path):
    for span in spans(page):
        if re.fullmatch(rf"({'|'.join((*TREES, 'docs', 'tests'))})/[\w./-]*", span):
            assert (ROOT / span).exists(), span


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links, as GitHub names them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.M)
    return {re.sub(r"[^\w\s-]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_pages_name_no_folder_of_somebodys_machine(page: Path):
    assert not re.search(r"/(work|home|root|tmp|mnt|Users)/", text_of(page))


@pytest.mark.parametrize("page", [README, ROOT / "docs" / "results" / "resnet20_cifar10.md"], ids=name_of)
def test_published_numbers_are_those_of_the_run(page: Path):
    """Network, costs and test accuracy; what a candidate had in the search is on the page of the run alone."""
    rows = text_of(ROOT / "results" / "resnet20_cifar10" / "table.md").splitlines()[2:]
    assert len(rows) == 4
    for row in rows:
        *costs, _, tested = (cell.strip() for cell in row.strip("|").split("|"))
        assert any(all(cell in line for cell in (*costs, tested)) for line in text_of(page).splitlines()), row


def test_every_page_is_linked_from_the_readme_or_the_list_of_measurements():
    linked = set()
    for page in (README, ROOT / "docs" / "results" / "README.md"):
        targets = re.findall(r"\]\(([^)\s#]+)", prose(page))
        linked |= {(page.parent / target).resolve() for target in targets}
    assert {page.resolve() for page in PAGES} - {README.resolve()} <= linked
