"""Signals that ask a run to save and end, and whom they belong to afterwards."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from thorax.training.stopping import SIGNALS, Stop, signals_restored


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_remembered_and_its_handler_restored(number):
    before = [signal.getsignal(each) for each in SIGNALS]
    with signals_restored():
        stop = Stop().listen()
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert (stop.requested, stop.reason) == (True, number.name)
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_a_second_ctrl_c_ends_at_once():
    with signals_restored():
        stop = Stop().listen()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_outside_the_main_thread_a_run_takes_no_signals():
    found = []

    def listen() -> None:
        with signals_restored():
            found.append(Stop().listen().requested)

    before = [signal.getsignal(each) for each in SIGNALS]
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [False]
    assert [signal.getsignal(each) for each in SIGNALS] == before
