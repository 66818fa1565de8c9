"""docs/tutorial.md is true: each of its commands is executed, and writes what is shown (pages.py: what may vary)."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from pages import Difference, differences, steps
from thorax_launch import cli
from walk import walking

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"


@pytest.mark.timeout(1200)
@pytest.mark.skipif(not shutil.which("bash") or not shutil.which("curl"), reason="needs bash and curl")
def test_every_line_writes_what_the_page_shows(tmp_path: Path):
    wrong = walked(tmp_path / "first")
    if wrong:  # on a busy machine Ctrl-C may come after the training's end: a page that is true is so the second time
        wrong = walked(tmp_path / "second")
    assert not wrong, "python docs/tutorial.py --update writes the outputs anew\n\n" + "\n\n".join(map(str, wrong))


def walked(folder: Path) -> list[Difference]:
    """What the page shows and its commands do not write, executed in a new folder."""
    folder.mkdir()
    with walking(folder) as run:
        return differences(PAGE.read_text(encoding="utf-8"), run)


def test_the_walk_is_whole():
    """Each command of a first hour is on the page."""
    code = "\n".join(step.code for step in steps(PAGE.read_text(encoding="utf-8")))
    named = set(re.findall(r"^thorax ([a-z-]+)", code, re.MULTILINE))
    walk = {"prepare", "train", "runs", "open", "tune", "leaderboard", "evaluate", "deploy", "predict", "batch"}
    assert walk | {"optimize", "pipeline"} <= named <= set(cli.COMMANDS)
    assert len(re.findall(r"^thorax (?:train|tune|deploy|pipeline) .*--dry-run", code, re.MULTILINE)) == 4
    assert {"curl", "python"} <= {"curl" if "curl " in step.code else step.kind for step in steps(PAGE.read_text())}
