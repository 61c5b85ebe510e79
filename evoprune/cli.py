"""The command line: a table of commands and their options."""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import evoprune
from evoprune import options
from evoprune.common.errors import UserError
from evoprune.common.exit_status import run_to_status

if TYPE_CHECKING:  # `--help` is to answer at once
    from evoprune.stages.pipeline import Request

_TARGETS, _OF_WEIGHTS = ("rate", "flops", "max_loss"), ("sparsity", "scope")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status, as `run_to_status` says."""
    arguments = _parser().parse_args(argv)
    return run_to_status(partial(arguments.command, arguments))


class Command(NamedTuple):
    """A line of `evoprune --help`."""

    name: str
    function: Callable[[argparse.Namespace], None]
    help: str
    options: tuple[Callable[[argparse.ArgumentParser], object], ...]


def _run(arguments: argparse.Namespace) -> None:
    from evoprune.stages import pipeline

    pipeline.run(_request(arguments))


def _search(arguments: argparse.Namespace) -> None:
    from evoprune.stages import pipeline, step_pipeline

    if arguments.weights:
        step_pipeline.search_weights(_request(arguments))
    else:
        pipeline.search(_request(arguments))


def _prune(arguments: argparse.Namespace) -> None:
    from evoprune.stages import pipeline, step_pipeline

    _check_prune(arguments)
    if arguments.weights:
        step_pipeline.prune_weights(_request(arguments), {name: getattr(arguments, name) for name in _OF_WEIGHTS})
        return
    target: dict[Any, str | None] = {name: getattr(arguments, name) for name in _TARGETS}
    if arguments.step:
        step_pipeline.prune_channels(_request(arguments), arguments.method, target)
    else:
        pipeline.prune(_request(arguments), arguments.method, target, arguments.steps)


def _check_prune(arguments: argparse.Namespace) -> None:
    """Refuse options that say nothing together.

    Raises:
        UserError: names them.
    """
    wrong = [name for name in (_TARGETS if arguments.weights else _OF_WEIGHTS) if getattr(arguments, name) is not None]
    wrong += ["steps"] if (arguments.weights or arguments.step) and arguments.steps != 1 else []
    wrong += ["method"] if arguments.weights and arguments.method != "magnitude" else []
    if wrong:
        kind = "--weights" if arguments.weights else "--step" if arguments.step else "without --weights"
        raise UserError(
            f"prune {kind} takes no {', '.join('--' + name.replace('_', '-') for name in wrong)}; leave it out"
        )


def _analyse(arguments: argparse.Namespace) -> None:
    from evoprune.stages import step_pipeline

    step_pipeline.analyse(_request(arguments), arguments.method, arguments.images)


def _finetune(arguments: argparse.Namespace) -> None:
    from evoprune.stages import step_pipeline

    step_pipeline.finetune(arguments.run, arguments.overrides)


def _transform(arguments: argparse.Namespace) -> None:
    from evoprune.stages import step_pipeline

    step_pipeline.transform(arguments.run, arguments.overrides)


def _sweep(arguments: argparse.Namespace) -> None:
    from evoprune.stages import step_pipeline

    if not arguments.weights:
        raise UserError("sweep takes --weights, as only the sparsity of single weights is swept; add it")
    step_pipeline.sweep(_request(arguments), arguments.scope, arguments.epochs)


def _sensitivity(arguments: argparse.Namespace) -> None:
    from evoprune.stages import pipeline

    pipeline.sensitivity(_request(arguments), arguments.method, arguments.images)


def _space(arguments: argparse.Namespace) -> None:
    from evoprune.stages import pipeline

    pipeline.space(_request(arguments), arguments.file)


def _validate(arguments: argparse.Namespace) -> None:
    from evoprune.stages import pipeline

    pipeline.validate(_request(arguments))


def _retrain(arguments: argparse.Namespace) -> None:
    from evoprune.stages import pipeline

    pipeline.retrain(arguments.run, arguments.overrides, arguments.out)


def _report(arguments: argparse.Namespace) -> None:
    from evoprune.stages import pipeline

    if arguments.optuna is not None:
        pipeline.check_optuna_journal(arguments.optuna)
    pipeline.report(arguments.run, arguments.overrides, arguments.compare, arguments.watch, arguments.out)
    if arguments.optuna is not None:
        pipeline.write_optuna_journal(arguments.run, arguments.optuna)


def _watch(arguments: argparse.Namespace) -> None:
    from evoprune.stages.watch import watch

    watch(arguments.run)


def _export(arguments: argparse.Namespace) -> None:
    from evoprune.stages.export import ExportRequest, export_model
    from evoprune.stages.saved_model import DataRequest

    data = DataRequest(arguments.data, arguments.overrides)
    how = (arguments.format, arguments.out, arguments.fold, arguments.source)
    export_model(ExportRequest(arguments.model, *how, data))


def _evaluate(arguments: argparse.Namespace) -> None:
    from evoprune.stages.evaluate import EvaluateRequest, evaluate
    from evoprune.stages.saved_model import DataRequest

    data = DataRequest(arguments.data, arguments.overrides)
    evaluate(EvaluateRequest(tuple(arguments.models), arguments.base, arguments.out, arguments.source, data))


def _request(arguments: argparse.Namespace) -> "Request":
    from evoprune.stages.pipeline import Request

    return Request(arguments.experiment, arguments.overrides, getattr(arguments, "out", None))


COMMANDS = (
    Command(
        "run",
        _run,
        "base network, search, full training, report: all of one experiment, or the rest of it",
        (options.add_experiment, options.add_out),
    ),
    Command(
        "search",
        _search,
        "base network and search",
        (options.add_experiment, options.add_out, options.add_search),
    ),
    Command(
        "prune",
        _prune,
        "one slim network without a search: score, prune, recalibrate, fine-tune",
        (
            options.add_experiment,
            options.add_out,
            options.add_method,
            options.add_target,
            options.add_weights,
            options.add_sparsity,
        ),
    ),
    Command(
        "sensitivity",
        _sensitivity,
        "accuracy against pruning rate of every segment",
        (options.add_experiment, options.add_out, options.add_method, options.add_images),
    ),
    Command(
        "analyse",
        _analyse,
        "first of four steps: what each segment costs, and which to leave alone",
        (options.add_experiment, options.add_out, options.add_method, options.add_images),
    ),
    Command(
        "finetune",
        _finetune,
        "third of four steps, after prune --step or --weights: train, zeros kept",
        (options.add_run,),
    ),
    Command("transform", _transform, "last of four steps: channels really go; verified", (options.add_run,)),
    Command(
        "sweep",
        _sweep,
        "accuracy against the share of the weights that go, without and with fine-tuning",
        (options.add_experiment, options.add_out, options.add_weights, options.add_epochs),
    ),
    Command(
        "validate",
        _validate,
        "check an experiment without running it, and predict how long it will take",
        (options.add_experiment,),
    ),
    Command(
        "space",
        _space,
        "the search space of an experiment's network: segments, layers, costs, and what is never pruned",
        (options.add_experiment, options.add_file),
    ),
    Command("retrain", _retrain, "train networks of a run's front fully", (options.add_run, options.add_copy)),
    Command(
        "export", _export, "a saved model as a file that runs without evoprune", (options.add_model, options.add_format)
    ),
    Command(
        "evaluate", _evaluate, "saved models beside the base network: accuracy, costs, latency", (options.add_models,)
    ),
    Command("report", _report, "pictures and table of a run", (options.add_run, options.add_copy, options.add_report)),
    Command("watch", _watch, "how far a run is, from another terminal", (options.add_folder,)),
)


def _parser() -> argparse.ArgumentParser:
    description = evoprune.__doc__.splitlines()[0] if evoprune.__doc__ else None
    parser = argparse.ArgumentParser(prog="evoprune", description=description)
    parser.add_argument("--version", action="version", version=evoprune.__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        added = commands.add_parser(command.name, help=command.help, description=command.help)
        for add in command.options:
            add(added)
        added.set_defaults(command=command.function)
    return parser


if __name__ == "__main__":
    sys.exit(main())
