"""The options of the commands: each can be added alone, and says in its help what it takes."""

import argparse
import inspect

import pytest

from evoprune import options

FUNCTIONS = [function for name, function in inspect.getmembers(options, inspect.isfunction) if name.startswith("add_")]


@pytest.mark.parametrize("add", FUNCTIONS, ids=lambda function: function.__name__)
def test_an_option_is_added_with_its_help(add):
    parser = argparse.ArgumentParser(add_help=False)
    add(parser)
    assert parser._actions and all(action.help for action in parser._actions)
    parser.format_help()


def test_overrides_add_up():
    parser = argparse.ArgumentParser()
    options.add_experiment(parser)
    arguments = parser.parse_args(["quickstart", "--set", "seed=1", "--set", "search.generations=2"])
    assert (arguments.experiment, arguments.overrides) == ("quickstart", ["seed=1", "search.generations=2"])


def test_shares_of_channels_and_steps_have_defaults():
    parser = argparse.ArgumentParser()
    options.add_target(parser)
    arguments = parser.parse_args([])
    assert (arguments.rate, arguments.flops, arguments.max_loss, arguments.steps) == (None, None, None, 1)
