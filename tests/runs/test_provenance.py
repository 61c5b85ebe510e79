"""How a run came about: what it says of versions, hardware and commit is so."""

import os
import re
import subprocess
import sys
from datetime import datetime, timedelta
from importlib import metadata

import numpy as np
import pandas as pd
from helpers import ROOT

from evoprune.runs import provenance as module
from evoprune.runs.provenance import git_commit, now, provenance


def test_versions_are_those_of_the_modules_that_run():
    versions = provenance()["versions"]
    assert versions["numpy"] == np.__version__ and versions["pandas"] == pd.__version__
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert versions["evoprune"] == metadata.version("evoprune")


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr(module, "_PACKAGES", ("numpy", "no-such-package"))
    assert set(provenance()["versions"]) == {"python", "numpy"}


def test_hardware_is_this_machine():
    hardware = provenance()["hardware"]
    assert hardware["num_cpus"] == os.cpu_count() and hardware["cpu"]


def git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True).stdout.strip()


def test_the_commit_is_that_of_the_checkout():
    if git("rev-parse", "--show-toplevel") != str(ROOT):
        assert git_commit() is None, "no checkout"
        return
    head = git("rev-parse", "HEAD")
    dirty = "-dirty" if git("status", "--porcelain", "--untracked-files=no") else ""
    assert git_commit() == head + dirty
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", str(git_commit()))


def test_now_is_a_time_that_says_its_offset():
    found = datetime.strptime(now(), "%Y-%m-%dT%H:%M:%S%z")
    assert abs(found - datetime.now().astimezone()) < timedelta(seconds=5)
