"""A copy of a run, in which a command can work where the run's own folder cannot be written to."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from evoprune.common.errors import UserError
from evoprune.common.files import read_bounded, write_atomically
from evoprune.common.progress import say
from evoprune.runs.folder import RunFolder

ORIGIN_NAME = "copy_of.json"
_MOST_BYTES = 100_000


def copy_run(path: Path, out: Path | None) -> Path:
    """Copy a run's files to `out`, whole or not at all; returns the folder to work in.

    Args:
        path: of the run. Nothing in it changes.
        out: a folder that is not there, or the copy that was made before, which stays as it is. None for no copy.

    Raises:
        UserError: there is no run, or something else lies in `out`, such as the copy of another run.
    """
    if out is None:
        return path
    if RunFolder(out).config.is_file():
        _check_origin(path, out)
        return out
    if not RunFolder(path).config.is_file():
        raise UserError(f"{path}: not the folder of a run; it has no {RunFolder(path).config.name}")
    if out.resolve() == Path.cwd():
        raise UserError(f"--out: {out} is the folder in which the command runs; choose another one")
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
        write_atomically(part / ORIGIN_NAME, json.dumps(_origin(path), indent=1) + "\n")
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out


def _origin(path: Path) -> dict[str, Any]:
    """Which run a copy is of, and when that was last written to."""
    folder = RunFolder(path)
    files = [file.stat().st_mtime_ns for file in (folder.run_json, folder.reports) if file.is_file()]
    return {"run": str(path.resolve()), "written": files}


def _check_origin(path: Path, out: Path) -> None:
    """Refuse another run, and the copy of one; say so where the run has changed."""
    try:
        known = json.loads(read_bounded(out / ORIGIN_NAME, _MOST_BYTES).decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        _check_start(path, out)
        return
    now = _origin(path)
    if not isinstance(known, dict) or known.get("run") != now["run"]:
        came = known.get("run") if isinstance(known, dict) else None
        raise UserError(f"--out: {out} is a copy of {came}, not of {now['run']}; choose another folder")
    if known != now:
        say(f"{out}: a copy of {path}, which has changed since; the copy stays as it is; remove it for a new one")


def _check_start(path: Path, out: Path) -> None:
    """Refuse what was not begun together with the run: copies of earlier versions do not say what they are of."""
    first, second = (RunFolder(folder).facts() for folder in (path, out))
    if any(first.get(name) != second.get(name) for name in ("name", "started")):
        raise UserError(f"--out: {out} is another run, no copy of {path}; choose another folder")
