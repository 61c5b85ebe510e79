"""The commands that need no search: `evoprune prune` and `evoprune sensitivity`."""

import argparse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from evoprune.config import ImportanceName, load_experiment
from evoprune.errors import UserError
from evoprune.progress import say
from evoprune.run_folder import RunFolder, open_run_folder, run_path

if TYPE_CHECKING:  # what they import takes seconds
    from evoprune.sensitivity_curves import Curves
    from evoprune.setting import Setting


def prune(arguments: argparse.Namespace) -> None:
    """Make one slim network, and print what each step cost and saved."""
    from evoprune.cutting import CUTS
    from evoprune.prune import make_pruning, prune
    from evoprune.pruning_target import cut_step, parse_method, parse_target
    from evoprune.sensitivity import measured_images
    from evoprune.setting import check_experiment, prepare

    experiment = load_experiment(arguments.experiment, arguments.overrides)
    method = parse_method(arguments.method)
    space = check_experiment(experiment, (method,))
    target = parse_target({"rate": arguments.rate, "flops": arguments.flops, "max_loss": arguments.max_loss}, space)
    pruning = make_pruning(experiment, method, target, arguments.steps)
    with open_run_folder(run_path(experiment, arguments.out), experiment) as folder:
        setting = prepare(experiment, folder, (method,))
        curves = None
        if target.kind == "max_loss":
            curves = _curves(setting, folder, method, measured_images(folder.sensitivity(method)))
        say(prune(setting, folder, pruning, cut_step(target, space, CUTS[experiment.importance.ranking], curves)))
        say(f"results: {folder.pruned(pruning.name)}/  (summary.csv, summary.md, step_{pruning.steps}/)")


def sensitivity(arguments: argparse.Namespace) -> None:
    """Measure every segment's curve, and print what some thresholds would keep."""
    from evoprune.pruning_target import parse_method
    from evoprune.sensitivity_curves import threshold_table
    from evoprune.setting import check_experiment, prepare

    experiment = load_experiment(arguments.experiment, arguments.overrides)
    method = parse_method(arguments.method)
    if arguments.images is not None and arguments.images < 1:
        raise UserError(f"--images is a whole number of at least 1; got {arguments.images}; leave it out for all")
    check_experiment(experiment, (method,))
    with open_run_folder(run_path(experiment, arguments.out), experiment) as folder:
        setting = prepare(experiment, folder, (method,))
        say(threshold_table(_curves(setting, folder, method, arguments.images)))


def _curves(setting: "Setting", folder: RunFolder, method: ImportanceName, images: int | None) -> "Curves":
    from evoprune.measuring import evaluation_workers
    from evoprune.report import draw_sensitivity
    from evoprune.sensitivity import measure_curves, plan_points
    from evoprune.sensitivity_curves import read_curves

    table, plan = folder.sensitivity(method), plan_points(setting.space, setting.scores[method])
    with evaluation_workers(setting, folder, f"sensitivity.{method}") as start_workers:
        measure_curves(setting, table, plan, images, start_workers)
    curves = read_curves(table, setting.space)
    draw_sensitivity(table.with_suffix(".png"), curves)
    say(f"sensitivity: {table}, {table.with_suffix('.png')}")
    return curves


def _add_method(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--method", default="magnitude", help="which channels go first: magnitude (the default) or scop"
    )


def _add_prune(command: argparse.ArgumentParser) -> None:
    _add_method(command)
    command.add_argument("--rate", metavar="SHARE", help="share of the channels that go, such as 0.45")
    command.add_argument("--flops", metavar="N", help="multiply-adds that may stay, such as 20e6 or 50%%")
    command.add_argument("--max-loss", metavar="POINTS", help="accuracy that each segment may cost, cut alone")
    command.add_argument("--steps", type=int, default=1, metavar="N", help="cut and train N times (default: 1)")


def _add_sensitivity(command: argparse.ArgumentParser) -> None:
    _add_method(command)
    command.add_argument("--images", type=int, metavar="N", help="validation images to score (default: all)")


OPTIONS: Mapping[str, Callable[[argparse.ArgumentParser], None]] = {
    "prune": _add_prune,
    "sensitivity": _add_sensitivity,
}
