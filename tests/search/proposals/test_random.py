"""Random codes: all sizes, and every channel as likely."""

import numpy as np

from evoprune.search.proposals.random import Random


def test_random_codes_cover_the_range_of_sizes(small_space):
    codes = Random(small_space, min_keep=0.2).first(400, np.random.default_rng(0))
    share = codes.mean(axis=1)
    counts, _ = np.histogram(share, bins=[0.25, 0.4, 0.55, 0.7, 0.85, 1.0])
    assert counts.min() > 40, f"some sizes are rare: {counts}"
    assert share.min() > 0.1


def test_random_codes_of_one_size_keep_different_channels(small_space):
    codes = Random(small_space, min_keep=0.5).first(400, np.random.default_rng(0))
    per_channel = codes.mean(axis=0)
    assert np.ptp(per_channel) < 0.15 and per_channel.min() > 0.6
