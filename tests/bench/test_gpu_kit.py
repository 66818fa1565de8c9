"""The GPU proof kit: rehearsed on the CPU in small, so that it runs the day a GPU is there. Its figures are no test."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from conftest import run

ROOT = Path(__file__).resolve().parents[2]
KIT = [sys.executable, str(ROOT / "bench" / "gpu.py")]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so_in_one_line():
    done = run([*KIT, "--out", "/nowhere"])
    assert done.returncode == 2
    assert done.stderr == "no GPU that torch can use; for a rehearsal without one: --device cpu --small\n"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "bench"), *sys.path])
    import gpu

    return gpu


def test_all_parts_run_in_small_and_are_written_and_one_that_fails_takes_no_other_along(tmp_path):
    """With a part more, first, that has no function."""
    script = tmp_path / "more.py"
    words = ["--small", "--device", "cpu", "--out", str(tmp_path / "out")]
    script.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT / 'bench')!r})\n"
        "import gpu\n"
        "gpu.PARTS = (gpu.PARTS[0], gpu.Part('broken', 'images:nothing', 60), *gpu.PARTS[1:])\n"
        f"sys.exit(gpu.main({words}))\n"
    )
    done = run([sys.executable, str(script)])
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-2000:]
    found = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert found["machine"]["torch"] == torch.__version__
    outcomes = {part["name"]: part for part in found["parts"]}
    assert "AttributeError" in outcomes["broken"]["reason"]
    parts = ("files", "step", "scoring", "http", "memory", "bare", "jpeg")
    assert {name: part["status"] for name, part in outcomes.items()} == {
        "images": "passed",
        "broken": "failed",
        "tests": "skipped",
        **dict.fromkeys(parts, "passed"),
    }
    figures = found["figures"]
    assert all(figure["value"] and figure["value"] > 0 for figure in figures if figure["unit"] != "%")
    sides = {figure["side"] for figure in figures if figure["table"] == "Training from files"}
    assert {"ours", "ours: waiting for images", "torchvision's reference recipe, --amp"} <= sides
    tables = {figure["table"] for figure in figures}
    assert tables >= {"Large images", "Over HTTP", "What bare torch reaches", "Scoring in batches", "One image"}
    text = (tmp_path / "out" / "gpu.md").read_text()
    assert "| tests | skipped | 0 | they need a GPU |" in text
    assert "## Training from files" in text


def test_the_parts_together_take_less_than_8_minutes_and_what_one_saves_the_next_has(gpu):
    together = sum(part.seconds for part in gpu.PARTS)
    assert together <= 7.8 * 60
    first, second, third = parts = [gpu.Part("a", "", 30), gpu.Part("b", "", 60), gpu.Part("c", "", 10)]
    assert gpu.share(parts, 100) == first.seconds
    assert gpu.share([second, third], 90) == 80
    assert gpu.share(parts, 50) == 15  # of half of the time each has half
    assert gpu.share([third], 2) == 2


def test_a_part_that_hangs_ends_with_its_servers_and_keeps_what_it_had_measured(gpu, tmp_path):
    program = (
        "import json, subprocess, sys, time\n"
        "server = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)\n"
        f"with open({str(tmp_path / 'memory.jsonl')!r}, 'w') as file:\n"
        "    figure = dict(table='Large images', what='896 px', side='ours', value=7.0, unit='images/s')\n"
        "    file.write(json.dumps(figure) + chr(10) + json.dumps(figure)[:30])\n"
        "print('server', server.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    status, reason = gpu.in_process(["-c", program], 3, tmp_path / "log")
    assert status == "timed out" and "last: server" in reason
    server = int((tmp_path / "log").read_text().split()[1])
    for _ in range(100):  # it has got its signal; the system takes a moment
        if not psutil.pid_exists(server) or psutil.Process(server).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.1)
    else:
        pytest.fail(f"process {server} goes on")

    from gpukit.report import Outcome, Report

    report = Report({"torch": "2"})
    report.add(Outcome("memory", status, 3, reason), tmp_path)
    report.write(tmp_path)
    assert "| 896 px | ours | 7.00 images/s |" in (tmp_path / "gpu.md").read_text()
    assert not report.good


def test_tests_are_told_as_they_end(gpu, tmp_path):
    """By pytest-xdist's main process alone, and before the run ends."""
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad():\n    assert 1 == 2, 'not one'\n"
        "@pytest.mark.skip(reason='no card')\ndef test_left_out(): pass\n"
        "@pytest.fixture\ndef broken():\n    raise ValueError('no images')\n"
        "def test_unprepared(broken): pass\n"
    )
    log = tmp_path / "tests.jsonl"
    words = ["-m", "pytest", "-q", "-n", "1", "-c", "/dev/null", "-p", "gpukit.testlog", "--testlog", str(log)]
    done = run([sys.executable, *words, str(tmp_path / "test_some.py")], PYTHONPATH=str(ROOT / "bench"))
    assert done.returncode == 1, done.stdout + done.stderr

    from gpukit.report import Outcome, Report

    report = Report({})
    report.add(Outcome("tests", "failed", 1), tmp_path)
    told = {test.name.partition("::")[2]: test for test in report.tests}
    status = {"test_good": "passed", "test_bad": "failed", "test_left_out": "skipped", "test_unprepared": "failed"}
    assert len(report.tests) == 4 and {name: test.status for name, test in told.items()} == status
    assert (
        told["test_bad"].reason.startswith("AssertionError: not one") and "(test_some.py:4)" in told["test_bad"].reason
    )
    assert "assert 1 == 2" in told["test_bad"].text
    assert "no card" in told["test_left_out"].reason and "no images" in told["test_unprepared"].reason
    assert "1 passed, 2 failed, 1 skipped" in report.text()


def test_rows_that_fail_or_do_not_fit_are_told_and_take_no_other_along(gpu, tmp_path):
    from gpukit.common import SMALL, Figure, Kit, Row, measured

    kit = Kit(torch.device("cpu"), SMALL, tmp_path, ends=time.monotonic() + 100)

    def lacking():
        raise ModuleNotFoundError("no", name="timm")
        yield

    def failing():
        yield Figure("T", "half", "ours", 1.0)
        raise RuntimeError("of no\nuse")

    rows = [
        Row("T", "lacks", 1, lacking),
        Row("T", "half", 1, failing),
        Row("T", "long", 1000, failing),
        Row("T", "good", 1, lambda: iter([Figure("T", "good", "ours", 2.0)])),
    ]
    told = [(figure.what, figure.value, figure.note.partition(":")[0]) for figure in measured(kit, rows)]
    assert told == [
        ("lacks", None, "left out"),
        ("half", 1.0, ""),
        ("half", None, "failed"),
        ("long", None, "left out"),
        ("good", 2.0, ""),
    ]
    assert len(kit.problems) == 1 and kit.problems[0].startswith("half: RuntimeError: of no use (test_gpu_kit.py:")
