import pytest

from evoprune.config import WorkersConfig
from evoprune.workers.pool import open_workers


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, "workers: starting on Ray\n"),
        ({"address": "10.0.0.1:6379"}, "workers: starting on Ray, at 10.0.0.1:6379\n"),
        ({"backend": "local"}, ""),
    ],
)
def test_who_waits_for_ray_is_told(config, told, capsys):
    open_workers(WorkersConfig(**config), lambda: lambda item: iter(()))
    assert capsys.readouterr().out == told
