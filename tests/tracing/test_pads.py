"""Constant channels of a slim network: the same however often it is narrowed, and after it was saved."""

import numpy as np
import torch
from strangers import Padded
from traced import images, ready

from evoprune import trace_search_space
from evoprune.tracing.pads import kept_pads, select
from evoprune.tracing.surgery import masked, narrow


def test_narrowing_twice_is_narrowing_at_once():
    network = ready(Padded())
    space = trace_search_space(network, images())
    rng = np.random.default_rng(0)
    for _ in range(10):
        code = space.repair((rng.random(space.length) < 0.7).astype(np.uint8))
        own = space.slim(code)
        again = own.repair((rng.random(own.length) < 0.7).astype(np.uint8))
        whole = code.copy()
        whole[code == 1] = again
        twice = narrow(own.table, narrow(space.table, network, code), again)
        with torch.no_grad():
            torch.testing.assert_close(twice(images()), masked(space.table, network, whole)(images()))


def test_pads_are_plain_types_that_do_the_same():
    network = ready(Padded())
    space = trace_search_space(network, images())
    code = space.full_code()
    second = next(layer for layer in space.layers if layer.name == "second")
    code[space.output_bits(second)[[0, 7]]] = 0
    (pad,) = kept_pads(space.table, space.kept_bits(code))
    assert pad == {"module": "short", "axis": 1, "before": [False, True], "after": [True, False]}
    module = torch.nn.Sequential()
    module.short = network.short
    select(module, pad)
    assert module.short(torch.ones(1, 4, 4, 4))[0, :, 0, 0].tolist() == [0, 1, 1, 1, 1, 0]


def test_nothing_is_selected_where_all_constant_channels_stay():
    space = trace_search_space(ready(Padded()), images())
    assert list(kept_pads(space.table, space.kept_bits(space.full_code()))) == []
