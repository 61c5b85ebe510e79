"""The latency of the base network, measured once when a search begins, and what all latencies of the run hold for."""

from collections.abc import Callable
from functools import partial
from typing import Any

from evoprune.common.errors import UserError
from evoprune.common.objectives import OK
from evoprune.common.progress import say
from evoprune.config import Fidelity
from evoprune.evaluation.candidate_job import Batch, as_measurement, missing_codes
from evoprune.evaluation.latency_meter import latency_facts
from evoprune.report.latencies import base_latency_ms
from evoprune.stages.context import Context
from evoprune.workers.dispatch import dispatch
from evoprune.workers.jobs import Workers

_FEW_IMAGES = 1  # accuracy is not asked for
_APART = 0.05  # two measurements whose own spread is 3 % may differ by so much


def settle_base_latency(context: Context, start_workers: Callable[[], Workers]) -> Callable[[], Workers]:
    """Leave the latency of the base network in `run.json`, where it is measured and not yet known.

    Returns:
        What starts the workers of a search that goes on. It refuses another device than that of the first latencies,
        and tells where a command finds another time of the base network than it found then.

    Raises:
        UserError: the base network could not be measured, or the workers' devices differ.
    """
    if not context.experiment.measures_latency:
        return start_workers
    if base_latency_ms(context.folder) is None:
        workers = start_workers()
        facts = _common_facts(context, workers)
        context.folder.note(latency={**facts, "base_ms": _measure(context, workers)})
        return start_workers
    return lambda: _checked(context, start_workers())


def _checked(context: Context, workers: Workers) -> Workers:
    noted, now = context.folder.facts()["latency"], _common_facts(context, workers)
    other = [name for name in now if noted.get(name) != now[name]]
    if other:
        there, here = (", ".join(f"{name} {facts.get(name)}" for name in other) for facts in (noted, now))
        raise UserError(
            f"latency: this run has measured it on {there}; the workers have {here}, and such times do not compare: go "
            "on with the first device, or choose another --out"
        )
    if context.experiment.evaluation.latency_command is None:
        return workers  # which measure against the base network
    before, found = noted["base_ms"], _measure(context, workers)
    if abs(found / before - 1) > _APART:
        say(
            f"warning: latency: the base network takes {found:.4g} ms now, and took {before:.4g} ms when this search "
            "began: either time was taken beside other work, or the device is not what it was"
        )
    return workers


def _common_facts(context: Context, workers: Workers) -> dict[str, Any]:
    """What latencies of the workers hold for; UserError where that differs between them, or none lives to say it."""
    answers = list(workers.ask(partial(latency_facts, context.experiment)).values())
    if not answers:
        raise UserError("workers: none is left: all have died when they were asked; the same command goes on from here")
    kinds = [answer for number, answer in enumerate(answers) if answer not in answers[:number]]
    if len(kinds) > 1:
        raise UserError(
            f"latency: the workers are not of one kind ({'; '.join(map(str, kinds))}), and their times do not compare: "
            "give the search one kind, or measure with evaluation.latency_command"
        )
    return kinds[0]


def _measure(context: Context, workers: Workers) -> float:
    """Latency of the base network now, in ms."""
    space = context.space
    batch = Batch((space.format_code(space.full_code()),), Fidelity(0.0, _FEW_IMAGES), timed=True)
    (value, *_) = [
        event.value for event in dispatch(workers, [batch], context.experiment.workers.retries, missing_codes)
    ]
    measured = as_measurement(value)
    if measured["status"] != OK:
        raise UserError(f"latency: that of the base network cannot be measured: {measured['error']}")
    return float(measured["latency"])
