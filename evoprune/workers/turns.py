"""Workers of a machine take turns: most work goes on side by side, and some wants the machine, or a GPU, for itself."""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir

from evoprune.common.locks import hold


@dataclass(frozen=True)
class Turns:
    """Turns of all who have the same name on this machine, whether processes or threads.

    Who wants to be alone goes first: no other work begins until all who wait for that are through. So workers that
    finish their work at about the same time measure one after the other, and then begin new work together.

    A worker that dies gives its turn back, as the system frees its locks. Two files in the folder for temporary files
    hold them, and stay there.

    Attributes:
        name: of the work and the device, such as `run-cpu`.
        patience_s: seconds after which a worker no longer waits for its turn; None where it always waits.
    """

    name: str
    patience_s: float | None = None

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Work at the same time as others do."""
        left_s = self._patience()
        with ExitStack() as stack:
            with hold(self._file("queue"), alone=True, patience_s=left_s()):
                stack.enter_context(hold(self._file("work"), alone=False, patience_s=left_s()))
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait for the others to finish what they do, and work while nobody else does. Not within `beside`."""
        left_s = self._patience()
        with (
            hold(self._file("queue"), alone=False, patience_s=left_s()),
            hold(self._file("work"), alone=True, patience_s=left_s()),
        ):
            yield

    def _patience(self) -> Callable[[], float | None]:
        """What tells how many seconds are left, from now on, for both locks of a turn together."""
        if self.patience_s is None:
            return lambda: None
        deadline = time.monotonic() + self.patience_s
        return lambda: max(0.0, deadline - time.monotonic())

    def _file(self, what: str) -> Path:
        user = os.getuid() if hasattr(os, "getuid") else ""
        return Path(gettempdir()) / re.sub(r"[^A-Za-z0-9-]", "-", f"evoprune-{user}-{self.name}-{what}")
