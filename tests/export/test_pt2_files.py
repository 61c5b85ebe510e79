"""Files of `torch.export`."""

import io
import json

import torch
from strangers import Branches
from traced import images, ready

from evoprune.export.pt2_files import FACTS_NAME, from_pt2, to_pt2
from evoprune.tracing.graph import export


def test_a_file_holds_the_network_and_what_its_input_is():
    network = ready(Branches())
    content = to_pt2(export(network, images(), any_batch=True), {"mean": "[0.5]", "classes": "null"})
    more = torch.cat([images()] * 3)
    with torch.no_grad():
        torch.testing.assert_close(from_pt2(content)(more), network(more))
    extra = {FACTS_NAME: ""}
    torch.export.load(io.BytesIO(content), extra_files=extra)
    assert json.loads(extra[FACTS_NAME]) == {"mean": [0.5], "classes": None}
