"""Waiting for what goes on elsewhere: lines and JSON lines now and then, never where lines came anyway."""

from __future__ import annotations

import json
import time

import pytest

from thorax.tracking.progress import BYTE, HOW, State
from thorax.tracking.waiting import Waiting


@pytest.mark.parametrize("how", ["lines", "json"])
def test_a_line_now_and_then(how, monkeypatch, capsys):
    monkeypatch.setenv(HOW, how)
    with Waiting("search sweep", every=0.0) as waiting:
        waiting.update(time.time() - 90, unit="job", done=3, total=10, note="InProgress")
        waiting.pause(0.01)
    first = capsys.readouterr().out.splitlines()[0]
    if how == "lines":
        assert first == "search sweep: job 3/10, 1 min 30 s so far, InProgress"
    else:
        found = json.loads(first)
        assert found.pop("seconds") == pytest.approx(90, abs=5)
        assert {"progress": "search sweep", "done": 3, "total": 10, "unit": "job", "note": "InProgress"}.items() <= (
            found.items()
        )


def test_it_is_quiet_where_lines_come_anyway_and_where_nothing_is_shown(monkeypatch, capsys):
    monkeypatch.setenv(HOW, "lines")
    with Waiting("job one", every=1000) as waiting:
        waiting.say("a line of its log")
        waiting.pause(0.0)
    with Waiting("job one", every=0.0, shown=False) as waiting:
        waiting.pause(0.0)
    assert capsys.readouterr().out == "a line of its log\n"


def test_bytes_are_sizes():
    state = State("uploading", 12_400_000, 350_000_000, BYTE, 5_200_000.0, note="1 of 3 files")
    assert state.line() == "uploading: 12.4 MB/350.0 MB, 5.2 MB/s, 1 min 05 s left, 1 of 3 files"
    assert State("downloading", 999, 0, BYTE).line() == "downloading: 999 bytes"
    assert State("packing").line() == "packing"
