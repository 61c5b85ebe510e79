"""A copy of a run, in which a command can work where the run's own folder cannot be written to."""

import os
import shutil
from pathlib import Path

from evoprune.common.errors import UserError
from evoprune.runs.folder import RunFolder


def copy_run(path: Path, out: Path | None) -> Path:
    """Copy a run's files to `out`, whole or not at all; returns the folder to work in.

    Args:
        path: of the run. Nothing in it changes.
        out: a folder that is not there, or the copy that was made before, which stays as it is. None for no copy.

    Raises:
        UserError: there is no run, or something else lies in `out`.
    """
    if out is None or RunFolder(out).config.is_file():
        return out or path
    if not RunFolder(path).config.is_file():
        raise UserError(f"{path}: not the folder of a run; it has no {RunFolder(path).config.name}")
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError(f"--out: {out} is there, and is no copy of a run; choose another folder")
    if out.resolve().is_relative_to(path.resolve()):
        raise UserError(f"--out: {out} lies inside {path}; choose a folder outside of it")
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        for file in sorted(path.rglob("*")):
            if file.is_file() and not file.is_symlink() and not file.name.startswith("."):
                target = part / file.relative_to(path)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)  # without its mode: the copy is to be written to
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out
