"""Files of the user's that a run has taken over, once: it goes on with what it took, and tells where they change."""

from pathlib import Path

from evoprune.common.files import digest, write_atomically
from evoprune.common.model_files import WEIGHTS_NAME
from evoprune.common.progress import say
from evoprune.runs.folder import RunFolder


def take_copy(folder: RunFolder, key: str, path: Path, copy: Path) -> None:
    """Copy the file that a key of the experiment names, once; warn where it changes later."""
    if copy.is_file() and is_taken(folder, key):
        tell_changed(folder, key, path, copy)
    else:
        write_atomically(copy, path.read_bytes())
        note_taken(folder, key, path)


def is_taken(folder: RunFolder, key: str) -> bool:
    """Whether the run has taken over the file that a key of the experiment names, which may be gone by now."""
    return key in folder.facts().get("taken", {})


def note_taken(folder: RunFolder, key: str, path: str | Path) -> None:
    """Note what the file that a key of the experiment names was when the run took it."""
    folder.note(taken={key: _digest(Path(path))})


def tell_changed(folder: RunFolder, key: str, path: str | Path, copy: Path) -> None:
    """Warn where the file is another one now; `copy` is what the run has of it."""
    noted, now = folder.facts().get("taken", {}).get(key), _digest(Path(path))
    if None not in (noted, now) and noted != now:
        say(
            f"warning: {key}: {path} has changed since this run was begun, which goes on with {copy}; for the new one "
            "choose another --out"
        )


def _digest(path: Path) -> str | None:
    """What tells the versions of a file apart, or of a saved model; None where it is not at hand."""
    try:
        return digest(path / WEIGHTS_NAME if path.is_dir() else path)
    except OSError:
        return None
