"""How a command ends: the status and the one message of every kind of end."""

import signal

import pytest

from evoprune import UserError
from evoprune.common.errors import IncompleteError, TrainingError
from evoprune.common.exit_status import run_to_status


def end_with(error: BaseException) -> int:
    """The status of a command that raises an error."""

    def stop() -> None:
        raise error

    return run_to_status(stop)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UserError("a key is wrong"), 2, "evoprune: a key is wrong"),
        (TrainingError("the network's output is not finite"), 2, "evoprune: the network's output is not finite"),
        (IncompleteError("one is missing"), 1, "evoprune: one is missing"),
        *(
            (
                error,
                2,
                f"evoprune: {type(error).__name__} was raised ({said}): the code of the "
                "network does that, or a library; put that right",
            )
            for error, said in (
                (SystemExit(0), "0"),
                (SystemExit("bye\x1b]0;x"), "bye\\x1b]0;x"),
                (GeneratorExit("stop"), "stop"),
                (KeyboardInterrupt(), "KeyboardInterrupt"),  # without a signal
            )
        ),
        (
            OSError(28, "No space left on device", "a"),
            75,
            "evoprune: a: No space left on device; make room; the same command goes on from here",
        ),
        (
            OSError(13, "Permission denied", "a"),
            2,
            "evoprune: a: Permission denied; put that right, or choose another --out",
        ),
        (IsADirectoryError(21, "Is a directory", "a"), 2, "evoprune: a: is a folder, where a file is to be; remove it"),
        (
            NotImplementedError("\"bessel_j0_cpu\" not implemented for 'BFloat16'"),
            2,
            'evoprune: an operator of the network knows no bf16 here ("bessel_j0_cpu" not implemented for '
            "'BFloat16'); set precision: fp32",
        ),
        (UserError("\x1b[31mred"), 2, "evoprune: \\x1b[31mred"),
    ],
)
def test_the_status_says_how_a_command_ended(capsys, error, status, said):
    assert end_with(error) == status
    assert capsys.readouterr().err.strip() == said


def test_a_signal_that_c_turns_into_another_error_ends_as_a_signal(capsys):
    def stop() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as error:
            raise SystemError("returned a result with an exception set") from error

    assert run_to_status(stop) == 75
    assert "stopped by SIGTERM; the same command goes on" in capsys.readouterr().err
    with pytest.raises(SystemError, match="another kind"):
        end_with(SystemError("a bug of another kind"))


def test_a_mistake_of_the_programs_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError, match="a bug"):
        end_with(ZeroDivisionError("a bug"))
