"""`make bench`: its parts fit into 10 minutes, and one that is stopped or fails takes no other along."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture
def whole(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    import whole

    return whole


def test_the_parts_together_take_less_than_10_minutes(whole):
    assert sum(part.seconds for part in whole.PARTS) <= 9.8 * 60


@pytest.mark.parametrize("number", range(5))
def test_each_part_knows_the_options_that_it_is_given(whole, number, tmp_path, monkeypatch, capsys):
    given = argparse.Namespace(images224=tmp_path, native=tmp_path)
    file, *options = whole.words(whole.PARTS[number], given, [])
    monkeypatch.setattr(sys, "argv", [file, *options, "--no-such-option"])
    name = Path(file).stem
    monkeypatch.delitem(sys.modules, name, raising=False)  # a folder of tests may have the name
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(name).main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(": error: unrecognized arguments: --no-such-option")


def test_a_part_that_is_stopped_or_fails_takes_no_other_along(whole, tmp_path, monkeypatch, capfd):
    programs = {"slow": "print('measured', flush=True); time.sleep(60)", "bad": "sys.exit(3)", "ok": ""}
    for name, program in programs.items():
        (tmp_path / f"{name}.py").write_text(f"import sys, time\n{program}\n")
    seconds = {"slow": 2, "bad": 4, "ok": 9}
    parts = [whole.Part(name, str(tmp_path / f"{name}.py"), most) for name, most in seconds.items()]
    monkeypatch.setattr(whole, "PARTS", parts)
    assert whole.main(["--minutes", "0.25"]) == 1
    told = capfd.readouterr().out
    assert "measured" in told and "load" in told.splitlines()[0]
    assert told.splitlines()[-2:] == ["not finished: slow: no time", "not finished: bad: exit code 3"]
    assert "== ok: " in told
