"""The commands: each is a sequence of stages. A stage reads what the stage before has left in the run's folder.

Stages are imported by the commands that need them: what trains loads torch, what only reports does not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evoprune.common.errors import IncompleteError, NotAtHandError, UserError
from evoprune.common.progress import duration, say
from evoprune.config import Experiment, ImportanceName, load_experiment
from evoprune.pruning.targets import Kind
from evoprune.runs.copies import copy_run
from evoprune.runs.folder import RunFolder
from evoprune.runs.ownership import check_generations, check_owner, open_run_folder, reopen_run_folder, run_path
from evoprune.space.traced import TracedSpace
from evoprune.space.traced_yaml import write_space
from evoprune.stages.context import Context, context_of_run, experiment_of_run

if TYPE_CHECKING:
    from evoprune.report.compared import ComparedRun


@dataclass(frozen=True)
class Request:
    """Which experiment, and where its run is to lie, as the user wrote it.

    Attributes:
        file: an experiment's YAML file, or the name of one that evoprune carries.
        overrides: `section.key=value` texts.
        out: folder of the run; by default it follows from the experiment's name.
    """

    file: str
    overrides: Sequence[str] = ()
    out: Path | None = None


def run(request: Request) -> None:
    """Base network, importance, search, full training, report."""
    context = checked(request)
    from evoprune.stages.search import search

    with open_run_folder(context.folder.path, context.experiment):
        prepare(context)
        search(context)
        _retrain_and_report(context)


def search(request: Request) -> None:
    """Base network, importance, search."""
    context = checked(request)
    from evoprune.stages.search import search

    with open_run_folder(context.folder.path, context.experiment):
        prepare(context)
        search(context)
        say(f"front: {context.folder.output}")


def retrain(path: Path, overrides: Sequence[str], out: Path | None = None) -> None:
    """Full training of networks of a run's front, report; in a copy of the run where `out` says."""
    path = copy_run(path, out)
    experiment = experiment_of_run(path, overrides)
    from evoprune.stages.measured_rows import measured_rows
    from evoprune.stages.select_networks import selected_rows

    context = Context(experiment, RunFolder(path))
    selected_rows(context, measured_rows(context))
    with reopen_run_folder(path, experiment):
        prepare(context, ())
        _retrain_and_report(context)


def report(
    path: Path,
    overrides: Sequence[str],
    others: Sequence[Path] = (),
    keep_on: bool = False,
    out: Path | None = None,
) -> None:
    """Pictures and table of a run.

    Args:
        path: of the run's folder.
        overrides: `section.key=value` texts.
        others: folders of runs whose fronts are drawn beside this one's.
        keep_on: whether `report.html` is written again and again while a process works in the run.
        out: where a copy of the run is to be made, and reported.
    """
    if keep_on and out is not None:
        raise UserError("report --watch takes no --out: a copy does not grow; leave one of them out")
    path = copy_run(path, out)
    experiment = experiment_of_run(path, overrides)
    from evoprune.stages.report import other_run

    runs = [other_run(context_of_run(other), experiment) for other in others]
    if keep_on:
        from evoprune.stages.watch import watch_page

        watch_page(path, overrides, runs)
    with reopen_run_folder(path, experiment, measures=False):
        _report(context_of_run(path, overrides), runs)


def check_optuna_journal(journal: Path) -> None:
    """Raise UserError where `write_optuna_journal` could not write."""
    from evoprune.report.optuna_journal import check_journal

    check_journal(journal)


def write_optuna_journal(path: Path, journal: Path) -> None:
    """Write the search of a run as an Optuna journal."""
    from evoprune.report.optuna_journal import write_journal
    from evoprune.stages.measured_rows import measured_rows

    context = context_of_run(path)
    write_journal(journal, measured_rows(context), context.experiment, context.space)
    say(f"written: {journal}")


def prune(request: Request, method: str, target: Mapping[Kind, str | None], steps: int) -> None:
    """Base network, importance, one slim network.

    Args:
        request: what to prune.
        method: name of the importance that says which channels go.
        target: `rate`, `flops` or `max_loss`, as the user wrote it; None for the others.
        steps: how many times it prunes and trains.
    """
    from evoprune.pruning.targets import choose_by_loss, choose_codes, parse_method, parse_target

    importance = parse_method(method)
    context = checked(request, (importance,))
    goal = parse_target(target, context.space)
    from evoprune.stages.curves import make_ranking, measure_sensitivity, measured_images
    from evoprune.stages.prune import make_pruning, prune

    pruning = make_pruning(context.experiment, importance, goal, steps)
    if context.experiment.search.round_to > 1 or context.experiment.search.limits:
        say("search.round_to and search.limits are the search's: prune goes by its target alone")
    with open_run_folder(context.folder.path, context.experiment) as folder:
        prepare(context, (importance,))
        if goal.kind == "max_loss":
            curves = measure_sensitivity(context, importance, measured_images(folder.sensitivity(importance)))
            choose = choose_by_loss(goal, curves)
        else:
            choose = choose_codes(goal, context.space, make_ranking(context, importance))
        say(prune(context, pruning, choose))
        say(f"results: {folder.pruned(pruning.name)}/  (summary.csv, summary.md, step_{pruning.steps}/)")


def sensitivity(request: Request, method: str, images: int | None) -> Context:
    """Base network, importance, accuracy against pruning rate of every segment; returns the run's context."""
    from evoprune.pruning.targets import parse_method
    from evoprune.report.tables import threshold_table

    importance = parse_method(method)
    if images is not None and images < 1:
        raise UserError(f"--images is a whole number of at least 1; got {images}; leave it out for all")
    context = checked(request, (importance,))
    from evoprune.stages.curves import measure_sensitivity

    with open_run_folder(context.folder.path, context.experiment):
        prepare(context, (importance,))
        say(threshold_table(measure_sensitivity(context, importance, images)))
    return context


def validate(request: Request) -> None:
    """Check an experiment, and predict how long it will take."""
    from evoprune.space.costs import code_costs

    refusal = _refusal(load_experiment(request.file, request.overrides), request.out)
    context = checked(request, anew=refusal is not None)
    experiment, space = context.experiment, context.space
    costs = code_costs(space, space.full_code())
    estimated = _estimated(context)
    say(f"{experiment.name}: valid")
    say(f"code: {space.length} bits in {len(space.segments)} segments of {space.name}")
    say("base network: " + ", ".join(f"{value:,} {name}" for name, value in costs.items()))
    say(f"evaluations: {experiment.num_evaluations:,}")
    say(estimated)
    if refusal is not None:
        say(f"warning: `evoprune run` would be refused: {refusal}")


def space(request: Request, out: Path | None) -> None:
    """Print the search space of an experiment's network, and write it down where `out` says."""
    if out is not None and out.is_dir():
        raise UserError(f"--out names a file, such as space.yaml; {out} is a folder")
    context = checked(request, (), anew=True)
    from evoprune.report.spaces import space_table
    from evoprune.stages.space import checked_space

    found = checked_space(context) if isinstance(context.space, TracedSpace) else context.space
    say(space_table(found))
    if out is not None:
        if not isinstance(found, TracedSpace):
            raise UserError(f"--out: {found.name} is a search space that evoprune carries, and has its file already")
        write_space(found, out)
        say(f"written: {out}")


def prepare(context: Context, importances: Sequence[ImportanceName] | None = None) -> None:
    """Leave in the run's folder what a search begins with: search space, base network, what it reads, channels' scores.

    Args:
        context: of the run.
        importances: which scores are wanted; by default those that the search's proposals need.
    """
    from evoprune.stages.importance import compute_importance
    from evoprune.stages.moments import provide_moments

    prepare_base(context)
    provide_moments(context)
    compute_importance(context, context.experiment.search.importances if importances is None else importances)


def prepare_base(context: Context) -> None:
    """Leave search space and base network in the run's folder, which is all that pruning of single weights needs."""
    from evoprune.stages.base import provide_base
    from evoprune.stages.space import provide_space

    provide_space(context)
    provide_base(context)


def checked(request: Request, importances: tuple[ImportanceName, ...] | None = None, anew: bool = False) -> Context:
    """The context of a run that nothing is known to stop; with `anew` whatever a run has left is of no account."""
    experiment = load_experiment(request.file, request.overrides)  # before anything large is imported: most mistakes
    from evoprune.stages.validate import validate

    context = Context(experiment, RunFolder(run_path(experiment, request.out)), anew=anew)
    validate(context, importances)
    return context


def _retrain_and_report(context: Context) -> None:
    """Report also where networks could not be trained, or none of the front is as they are wanted; then say so."""
    from evoprune.stages.retrain import retrain

    fault = None
    try:
        retrain(context)
    except (IncompleteError, UserError) as error:
        fault = error
    _report(context)
    if fault is not None:
        raise fault


def _report(context: Context, others: Sequence["ComparedRun"] = ()) -> None:
    from evoprune.stages.report import report

    say(report(context, others))
    names = ["front", "hypervolume", *(["comparison"] if others else [])]
    pictures = [file.name for name in names for file in context.experiment.report.files(Path(name))]
    files = ["report.html", "output.csv", "reports.csv", "hypervolume.csv", "table.md", "models/", *pictures]
    say(f"results: {context.folder.path}/  ({', '.join(files)})")


def _refusal(experiment: Experiment, out: Path | None) -> str | None:
    """Why a run of the experiment cannot lie where it would."""
    folder = RunFolder(run_path(experiment, out))
    try:
        check_owner(folder, experiment)
        check_generations(folder, experiment)
    except UserError as error:
        return str(error)
    return None


def _estimated(context: Context) -> str:
    """What is predicted of the run time, where there are images to measure it with.

    Raises:
        UserError: the images are of no use, or the candidate that is measured fails.
    """
    from evoprune.stages.estimate import estimate

    try:
        context.dataset  # noqa: B018  may have to be downloaded, or lie on another machine
    except NotAtHandError as error:
        return f"run time: not predicted, as no candidate can be measured here: {error}"
    found = estimate(context)
    stages = ", ".join(f"{name} {duration(seconds)}" for name, seconds in found.stages.items())
    whole = duration(sum(found.stages.values()))
    return (
        f"measured here: {found.candidate:.1f} s for a candidate with {found.flops_share:.0%} of the FLOPs, "
        f"in one of {found.num_workers} workers\n"
        f"predicted run time: {whole} ({stages} of about {found.num_networks} networks), "
        "if the workers are like this machine"
    )
