"""A signal becomes an exception in the main thread, at once or when it may; `tests/end_to_end` has whole runs."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from evoprune.common.signals import SIGNALS, Stopped, cleaned_up, deferred, received, stop_on_signals


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_raises_where_the_process_is(number):
    before = signal.getsignal(number)
    with pytest.raises(Stopped, match=number.name), stop_on_signals():
        os.kill(os.getpid(), number)
        signal.pause()
    assert received() == number.name and signal.getsignal(number) is before


def test_a_signal_waits_for_the_end_of_what_must_not_be_left_half_done():
    done = []
    with pytest.raises(Stopped, match="SIGTERM"), stop_on_signals():
        with deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("whole")
        done.append("not reached")
    assert done == ["whole"]


def test_a_library_cannot_put_in_its_own_handler():
    """Ray does so while it starts, and exits at SIGTERM, also where the exception is printed and ignored."""
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(Stopped, match="SIGTERM"), stop_on_signals():
        own = signal.getsignal(signal.SIGTERM)
        with deferred():
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
            assert signal.signal(signal.SIGALRM, before) is before, "others are free"
            assert signal.getsignal(signal.SIGTERM) is own
            os.kill(os.getpid(), signal.SIGTERM)


def test_what_is_started_meanwhile_takes_no_notice_of_mere_attention():
    with deferred():
        assert {signal.SIGUSR1, signal.SIGHUP} <= signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert not {signal.SIGUSR1, signal.SIGHUP} & signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_other_threads_are_left_alone():
    seen = []

    def work() -> None:
        with stop_on_signals(), deferred():
            seen.append("done")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == ["done"]


def test_what_is_to_be_cleaned_up_is_once():
    calls = []
    with pytest.raises(ZeroDivisionError), cleaned_up(lambda: calls.append(1)):
        raise ZeroDivisionError
    assert calls == [1]


END_SLOWLY = """
import signal, sys, time
from evoprune.common.signals import Stopped, stop_on_signals

class Slow:
    def __del__(self):
        print("ending", flush=True)
        time.sleep(1)

slow = Slow()
try:
    with stop_on_signals():
        print("in", flush=True)
        signal.pause()
except Stopped:
    sys.exit(75)
"""


def test_a_second_signal_does_not_change_the_status_of_a_process_that_ends():
    """Python has taken its handlers back by then, and once the process died of the signal itself."""
    with subprocess.Popen([sys.executable, "-c", END_SLOWLY], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "in\n"
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "ending\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 75
