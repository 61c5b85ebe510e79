"""What the layers of the base network read: measured once per run, for all that compensates."""

from evoprune.common.progress import say
from evoprune.data.tensors import place_data
from evoprune.pruning.moments import measure_moments, moment_inputs, save_moments
from evoprune.runs.folder import timed_stage
from evoprune.stages.context import Context


def provide_moments(context: Context) -> None:
    """Leave the moments of what the base network's layers read in the run's folder, where slim networks need them."""
    folder, compute = context.folder, context.compute
    if context.experiment.inherit == "plain" or folder.moments.is_file():
        return
    with timed_stage(folder, "moments"):
        data, network = place_data(context.dataset.arrays, compute.device), context.base.network
        inputs = moment_inputs(data, context.experiment.seed)
        moments = measure_moments(context.space, network.to(compute.device), inputs, compute)
        network.cpu()
        save_moments(moments, folder.moments)
    for name, reason in moments.left_out.items():
        say(f"inherit: {name} is not compensated: {reason}")
