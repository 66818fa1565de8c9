"""A pytest plugin that writes each test's outcome as it ends: what had run by then is known when pytest is stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def pytest_addoption(parser: Any) -> None:
    parser.addoption("--testlog", type=Path, help="JSON lines of name, status, seconds, reason, text")


def pytest_configure(config: Any) -> None:
    file = config.getoption("--testlog")
    if file and not hasattr(config, "workerinput"):  # pytest-xdist's workers tell the main process
        config.pluginmanager.register(TestLog(file))


class TestLog:
    """Appends to a file. A test that fails as it is set up or torn down has a line for that."""

    __test__ = False

    def __init__(self, file: Path) -> None:
        self.file = file

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when != "call" and report.passed:
            return
        reason = ""
        if report.skipped:
            reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        elif report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            reason = f"{crash.message} ({Path(crash.path).name}:{crash.lineno})" if crash else report.longreprtext
        line = {
            "name": report.nodeid,
            "status": report.outcome,
            "seconds": report.duration,
            "reason": reason,
            "text": report.longreprtext if report.failed else "",
        }
        with self.file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
