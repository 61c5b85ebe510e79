"""The command line: `evoprune run | search | prune | sensitivity | retrain | report | validate`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import evoprune
from evoprune import pruning_commands
from evoprune.config import Experiment, load_experiment
from evoprune.errors import UserError
from evoprune.progress import duration, say
from evoprune.run_folder import RunFolder, open_run_folder, run_path
from evoprune.space import SearchSpace

_USER_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, or 2 for a mistake of the user's."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.command(arguments)
    except UserError as error:
        print(f"evoprune: {error}", file=sys.stderr)
        return _USER_ERROR
    except KeyboardInterrupt:
        print("evoprune: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="evoprune", description=evoprune.__doc__.splitlines()[0] if evoprune.__doc__ else None
    )
    parser.add_argument("--version", action="version", version=evoprune.__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, function, text in (
        (
            "run",
            _run,
            "base network, search, full training, report: all of one experiment, or the rest of it",
        ),
        ("search", _search, "base network and search"),
        ("prune", pruning_commands.prune, "one slim network without a search: score, cut, recalibrate, fine-tune"),
        ("sensitivity", pruning_commands.sensitivity, "accuracy against cut rate of every segment"),
        ("validate", _validate, "check an experiment without running it, and predict how long it will take"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "experiment", metavar="FILE", help="an experiment's YAML file, or a name that evoprune carries"
        )
        _add_set(command)
        if function is not _validate:
            command.add_argument("--out", type=Path, help="folder of the run (default: results/NAME)")
        if name in pruning_commands.OPTIONS:
            pruning_commands.OPTIONS[name](command)
        command.set_defaults(command=function)
    for name, function, text in (
        ("retrain", _retrain, "train networks of a run's front fully"),
        ("report", _report, "pictures and table of a run"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("run", metavar="RUN", type=Path, help="folder of a run")
        _add_set(command)
        command.set_defaults(command=function)
    return parser


def _add_set(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set", dest="overrides", metavar="KEY=VALUE", action="append", default=[],
        help="override a key, for example --set search.generations=5",
    )  # fmt: skip


def _run(arguments: argparse.Namespace) -> None:
    from evoprune.retrain import retrain
    from evoprune.run import search
    from evoprune.setting import check_experiment, prepare

    experiment = load_experiment(arguments.experiment, arguments.overrides)
    check_experiment(experiment)
    with open_run_folder(run_path(experiment, arguments.out), experiment) as folder:
        setting = prepare(experiment, folder)
        search(setting, folder)
        retrain(setting, folder)
        _print_report(folder, experiment)


def _search(arguments: argparse.Namespace) -> None:
    from evoprune.run import search
    from evoprune.setting import check_experiment, prepare

    experiment = load_experiment(arguments.experiment, arguments.overrides)
    check_experiment(experiment)
    with open_run_folder(run_path(experiment, arguments.out), experiment) as folder:
        search(prepare(experiment, folder), folder)
        say(f"front: {folder.output}")


def _retrain(arguments: argparse.Namespace) -> None:
    from evoprune.records import front_rows, read_rows
    from evoprune.retrain import retrain, select_rows
    from evoprune.setting import prepare

    experiment = _experiment_of_run(arguments)
    select_rows(front_rows(read_rows(RunFolder(arguments.run).reports), experiment.search.objectives), experiment)
    with open_run_folder(arguments.run, experiment) as folder:
        retrain(prepare(experiment, folder), folder)
        _print_report(folder, experiment)


def _report(arguments: argparse.Namespace) -> None:
    experiment = _experiment_of_run(arguments)
    with open_run_folder(arguments.run, experiment) as folder:
        _print_report(folder, experiment)


def _validate(arguments: argparse.Namespace) -> None:
    from evoprune.costs import code_costs
    from evoprune.setting import check_experiment

    experiment = load_experiment(arguments.experiment, arguments.overrides)
    space = check_experiment(experiment)
    costs = code_costs(space, space.full_code())
    say(f"{experiment.name}: valid")
    say(f"code: {space.length} bits in {len(space.segments)} segments of {space.name}")
    say("parent: " + ", ".join(f"{value:,} {name}" for name, value in costs.items()))
    say(f"evaluations: {experiment.num_evaluations:,}")
    _print_estimate(experiment, space)


def _print_estimate(experiment: Experiment, space: SearchSpace) -> None:
    from evoprune.estimate import estimate

    try:
        found = estimate(experiment, space)
    except UserError as error:
        say(f"run time: not predicted, as no candidate can be measured here: {error}")
        return
    stages = {
        "base network": found.base,
        "scores": found.scores,
        "search": found.search,
        "full training": found.retrain,
    }
    say(
        f"measured here: {found.candidate:.1f} s for a candidate with {found.flops_share:.0%} of the FLOPs, "
        f"in one of {found.num_workers} workers"
    )
    say(
        f"predicted run time: {duration(sum(stages.values()))} ("
        + ", ".join(f"{name} {duration(seconds)}" for name, seconds in stages.items())
        + "), if the workers are like this machine"
    )


def _experiment_of_run(arguments: argparse.Namespace) -> Experiment:
    config = RunFolder(arguments.run).config
    if not config.is_file():
        raise UserError(f"{arguments.run}: not the folder of a run; it has no {config.name}")
    return load_experiment(str(config), arguments.overrides)


def _print_report(folder: RunFolder, experiment: Experiment) -> None:
    from evoprune.report import report
    from evoprune.setting import space_of_run

    say(report(folder, experiment, space_of_run(experiment, folder)))
    say(f"results: {folder.path}/  (reports.csv, output.csv, front.png, hypervolume.png, table.md, models/)")


if __name__ == "__main__":
    sys.exit(main())
