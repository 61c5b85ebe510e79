"""Files of `torch.export`: a graph with its weights, which torch runs without the network's code."""

import io
import json
import logging
from collections.abc import Mapping

import torch
from torch import nn

FACTS_NAME = "preprocessing.json"


def to_pt2(program: torch.export.ExportedProgram, facts: Mapping[str, str]) -> bytes:
    """A whole file for `torch.export.load`.

    Args:
        program: from `evoprune.tracing.graph.export`.
        facts: metadata, name -> JSON; they become one JSON mapping, the extra file `preprocessing.json`.
    """
    for node in program.graph.nodes:  # a stack trace names files of this machine
        node.meta.pop("stack_trace", None)
    buffer = io.BytesIO()
    extra = {FACTS_NAME: json.dumps({name: json.loads(text) for name, text in facts.items()})}
    torch.export.save(program, buffer, extra_files=extra)
    return buffer.getvalue()


def from_pt2(content: bytes) -> nn.Module:
    """The network of a file that `to_pt2` has made."""
    log = logging.getLogger("torch.export.pt2_archive")
    was_disabled, log.disabled = log.disabled, True
    try:
        module: nn.Module = torch.export.load(io.BytesIO(content)).module()
    finally:
        log.disabled = was_disabled
    return module
