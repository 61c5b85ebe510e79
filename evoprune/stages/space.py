"""The search space of a network that is traced: read from it, checked on images, written down."""

import torch

from evoprune.common.errors import UserError
from evoprune.common.progress import say
from evoprune.data.tensors import place_data
from evoprune.networks.build import build_network
from evoprune.networks.space_check import check_costs, check_tensors
from evoprune.runs.folder import timed_stage
from evoprune.space.traced import TracedSpace
from evoprune.space.traced_yaml import write_space
from evoprune.stages.context import Context
from evoprune.stages.taken_files import note_taken, tell_changed
from evoprune.tracing.parity import failing_segments

_NUM_IMAGES = 2


def provide_space(context: Context) -> None:
    """Leave the search space of a traced network in the run's folder, without what fails on images of the data."""
    path, config = context.folder.search_space, context.experiment.search_space
    if not isinstance(context.space, TracedSpace):
        return
    if path.is_file():
        if config is not None:
            tell_changed(context.folder, "search_space.name", config.name, path)
        return
    with timed_stage(context.folder, "space"):
        write_space(checked_space(context), path)
        context.folder.seal(path)
        if config is not None:
            note_taken(context.folder, "search_space.name", config.name)
    context.settle_space()


def checked_space(context: Context) -> TracedSpace:
    """The search space of a traced network, without the segments that fail the parity gate.

    Raises:
        UserError: nothing is left, or a search space of the user's that does not fit the network.
    """
    space = context.space
    assert isinstance(space, TracedSpace)
    network = build_network(space).eval()
    check_tensors(space, network)
    data = place_data(context.dataset.arrays, torch.device("cpu"))
    images = data.normalise(data.train.batch(torch.arange(_NUM_IMAGES))[0])
    if context.experiment.search_space is not None:
        check_costs(space, network, images)
    failing = failing_segments(space.table, network, images)
    for name in failing:
        say(f"warning: {name} is never pruned: a narrow network computes something else there (see its forward)")
    if len(failing) == len(space.segments):
        raise UserError(f"{space.name}: no segment can be pruned: its forward fails with every one of them narrower")
    return space.without(failing, "a narrow network computes something else") if failing else space
