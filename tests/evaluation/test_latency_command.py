"""A command that measures: what it is given, what it prints, how it fails."""

import sys
import time
from pathlib import Path

import pytest

from evoprune.evaluation.latency_command import LatencyError, run_latency_command


def command(script: str) -> list[str]:
    return [sys.executable, "-c", script, "{model}"]


def test_it_gets_the_model_and_its_last_line_counts():
    script = "import sys; print('warming up'); print(len(sys.argv[1])); print()"
    assert run_latency_command(command(script), Path("/somewhere/k01"), 10) == 14.0


def test_no_shell_sees_the_words(tmp_path):
    words = [*command("print(1.5)"), "; touch gone", f"$(touch {tmp_path}/gone)", "a={model}"]
    assert run_latency_command(words, Path("x"), 10) == 1.5
    script = "import sys; print(float(sys.argv[2:] == ['; touch', 'a=x y']))"
    assert run_latency_command([*command(script), "; touch", "a={model}"], Path("x y"), 10) == 1.0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("import sys; print(3); sys.exit('the board is off')", "exit status 1: the board is off"),
        ("print('fast')", "the last line that it prints is to be milliseconds, got 'fast'"),
        ("pass", "milliseconds, got ''"),
        ("print('nan')", "milliseconds, got 'nan'"),
        ("print(0)", "milliseconds, got '0'"),
        ("print(-2)", "milliseconds, got '-2'"),
    ],
)
def test_what_measures_nothing_says_why(script, said):
    with pytest.raises(LatencyError) as error:
        run_latency_command(command(script), Path("x"), 10)
    assert said in str(error.value)


def test_a_command_that_is_not_there():
    with pytest.raises(LatencyError, match="no_such_command: No such file"):
        run_latency_command(["no_such_command", "{model}"], Path("x"), 10)


def test_one_that_takes_too_long_is_ended_with_its_children(tmp_path):
    child = "import sys, time; time.sleep(1); open(sys.argv[1], 'w')"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}, {str(tmp_path / 'late')!r}])"
    started = time.monotonic()
    with pytest.raises(LatencyError, match=r"longer than 0\.3 s \(evaluation\.latency_limit_s\)"):
        run_latency_command(command(script), Path("x"), 0.3)
    assert time.monotonic() - started < 0.9
    time.sleep(1.2)
    assert list(tmp_path.iterdir()) == []


def test_a_time_counts_when_the_command_ends_and_its_children_in_the_background_end_with_it(tmp_path):
    started = time.monotonic()
    shell = f"(sleep 1; touch {tmp_path}/late) & echo 5"
    assert run_latency_command(["sh", "-c", shell], Path("x"), 10) == 5.0
    assert time.monotonic() - started < 0.9
    time.sleep(1.2)
    assert list(tmp_path.iterdir()) == []
