"""The shape of a data set has one form for each size."""

import json
from dataclasses import asdict

import pytest

from evoprune.data.dataset import DataShape


@pytest.mark.parametrize(
    ("given", "wanted", "sides"), [(96, 96, (96, 96)), ((96, 96), 96, (96, 96)), ([96, 128], (96, 128), (96, 128))]
)
def test_squares_have_a_side_and_others_height_and_width(given, wanted, sides):
    shape = DataShape(10, 3, given)
    assert (shape.image_size, shape.height_width) == (wanted, sides)
    assert DataShape(**json.loads(json.dumps(asdict(shape)))) == shape
