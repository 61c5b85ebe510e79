"""Trainings as scalars that TensorBoard shows. The only module that imports TensorBoard."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from evoprune.common.errors import UserError
from evoprune.training.loop import Epoch

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def check_tensorboard() -> None:
    """Raise UserError where TensorBoard is not installed."""
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        raise UserError(
            "report.tensorboard needs TensorBoard, which is not installed; run: pip install 'evoprune[tensorboard]'"
        ) from None


class TensorBoardLog:
    """Writes a folder of events for each training.

    A training that goes on, or begins anew, takes back the epochs that an earlier process has written from there on:
    no epoch is shown twice.

    Args:
        folder: of all trainings; None writes nothing.
    """

    def __init__(self, folder: Path | None):
        self._folder = folder
        self._writers: dict[str, SummaryWriter] = {}
        self._last: dict[str, int] = {}

    def epoch(self, training: str, epoch: Epoch) -> None:
        """Write `loss` and `lr` of an epoch; its number is the step."""
        self._write(training, epoch.number, {"loss": epoch.loss, "lr": epoch.lr})

    def accuracies(self, training: str, validation: float, test: float) -> None:
        """Write what is measured at the end of a training, in percent, at its last epoch, and close it."""
        last = self._last.get(training)
        if last is not None:
            found = {"accuracy/validation": validation, "accuracy/test": test}
            self._add(self._writers[training], last, found)
        self._close(training)

    def close(self) -> None:
        """Close what is open."""
        for training in list(self._writers):
            self._close(training)

    def _write(self, training: str, step: int, scalars: dict[str, float]) -> None:
        if self._folder is None:
            return
        if training not in self._writers or step <= self._last[training]:
            self._close(training)
            self._writers[training] = _open(self._folder / training, step)
        self._last[training] = step
        self._add(self._writers[training], step, scalars)

    @staticmethod
    def _add(writer: "SummaryWriter", step: int, scalars: dict[str, float]) -> None:
        for name, value in scalars.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    def _close(self, training: str) -> None:
        if training in self._writers:
            self._writers.pop(training).close()
            del self._last[training]


def _open(folder: Path, step: int) -> "SummaryWriter":
    """A writer whose first step is `step`; of what was written before, TensorBoard shows only earlier steps."""
    check_tensorboard()
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step)


@contextmanager
def open_log(run: Path, wanted: bool) -> Iterator[TensorBoardLog]:
    """The log of a run's trainings, in `tensorboard/` of its folder; one that writes nothing where it is not wanted.

    Raises:
        UserError: TensorBoard is not installed.
    """
    if wanted:
        check_tensorboard()
    log = TensorBoardLog(run / "tensorboard" if wanted else None)
    try:
        yield log
    finally:
        log.close()
