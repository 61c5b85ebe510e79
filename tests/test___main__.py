"""`python -m evoprune`."""

import subprocess
import sys

import evoprune


def test_the_package_is_the_command_too():
    command = [sys.executable, "-m", "evoprune", "--version"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == evoprune.__version__
