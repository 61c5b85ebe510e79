"""What the layers of the base network read: measured once per run, for all that compensates."""

from collections.abc import Iterable, Iterator

import numpy as np
from torch import Tensor

from evoprune.common.errors import UserError
from evoprune.common.progress import Meter, say
from evoprune.data.tensors import place_data
from evoprune.pruning.moments import (
    MOMENT_IMAGES,
    Moments,
    load_moments,
    measure_moments,
    moment_inputs,
    moment_readers,
    save_moments,
)
from evoprune.runs.folder import timed_stage
from evoprune.runs.live_progress import stage_progress
from evoprune.stages.context import Context


def provide_moments(context: Context) -> None:
    """Leave the moments of what the base network's layers read in the run's folder, where slim networks need them."""
    folder, compute = context.folder, context.compute
    if context.experiment.inherit == "plain" or _are_measured(context):
        return
    data, network = place_data(context.dataset.arrays, compute.device), context.base.network
    images = min(MOMENT_IMAGES, len(data.train))
    with timed_stage(folder, "moments"), stage_progress(folder, "moments, images", images) as meter:
        inputs = _counted(moment_inputs(data, context.experiment.seed), meter)
        moments = measure_moments(context.space, network.to(compute.device), inputs, compute)
        network.cpu()
        save_moments(moments, folder.moments)
        folder.seal(folder.moments)
    for name, reason in moments.left_out.items():
        say(f"inherit: {name} is not compensated: {reason}")


def _counted(batches: Iterable[Tensor], meter: Meter) -> Iterator[Tensor]:
    """The batches; the meter is told how many images were taken."""
    done = 0
    for batch in batches:
        yield batch
        done += len(batch)
        meter.update(done)


def _are_measured(context: Context) -> bool:
    """Whether the moments are there and whole; they follow from the base network, and can be measured again."""
    path = context.folder.moments
    if not path.exists():
        return False
    if path.is_dir():
        raise UserError(f"{path}: is a folder, where a file is to be; remove it")
    try:
        context.folder.check(path)
        fit = _fit(load_moments(path), context)
    except UserError as error:
        say(f"{error}; they are measured again")
        return False
    if not fit:
        say(f"{path}: is of another network; the moments are measured again")
    return fit


def _fit(moments: Moments, context: Context) -> bool:
    """Whether these are moments of what the layers of the base network read."""
    readers = {layer.name for layer in moment_readers(context.space)} - set(moments.left_out)
    if set(moments.layers) != readers:
        return False
    for name, layer in moments.layers.items():
        values = _num_values(context, name)
        if layer.mean.shape != (values,) or layer.covariance.shape != (values, values):
            return False
        if not (np.isfinite(layer.mean).all() and np.isfinite(layer.covariance).all()):
            return False
    return True


def _num_values(context: Context, name: str) -> int:
    """How many values a layer reads for each that it writes; an adapter that is not there reads one a channel."""
    weight = getattr(context.base.network.get_submodule(name), "weight", None)
    if isinstance(weight, Tensor):
        return int(weight.flatten(1).shape[1])
    (inputs,) = {layer.inputs for layer in context.space.layers if layer.name == name}
    return context.space.segment(inputs).width
