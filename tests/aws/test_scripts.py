"""The scripts of launch/ as a shell starts them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import ROOT, clean_environment
from thorax.errors import ThoraxError
from thorax_launch.hyperparameters import SAFE, checked
from warm_python import PYTHON

SCRIPTS = sorted(path for path in (ROOT / "launch").glob("*.py") if "__main__" in path.read_text())
HEAVY = {"torch", "numpy", "boto3", "botocore", "sagemaker", "optuna", "yaml", "rich", "matplotlib", "sklearn", "PIL"}
PROBE = """
import runpy, sys
sys.argv = [{script!r}, "--help"]
sys.path.insert(0, {folder!r})
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    assert end.code == 0
print("\\nimported:", sorted({heavy!r} & set(sys.modules)))
"""


def test_there_are_scripts() -> None:
    assert {"train", "tune", "follow", "leaderboard", "delete", "iam"} <= {path.stem for path in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_help_imports_nothing_that_takes_time(script: Path) -> None:
    code = PROBE.format(script=str(script), folder=str(script.parent), heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")
    assert done.stdout.endswith("imported: []\n")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_are_small(script: Path) -> None:
    assert len(script.read_text().splitlines()) < 100


def test_without_a_terminal_and_credentials_a_dry_run_is_whole(tmp_path: Path) -> None:
    """As in a CI job: a clean environment, output into pipes, standard output nothing but JSON."""
    import json

    words = ["demo", "--train", "s3://films/train", "--region", "eu-central-1", "--dry-run"]
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run(
        [PYTHON, str(ROOT / "launch" / "train.py"), *words],
        cwd=tmp_path,
        env=clean,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["RoleArn"] == "arn:aws:iam::000000000000:role/ROLE"
    assert "sourcedir.tar.gz" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["train.py", "demo", "--train", "s3://films/train", "--region", "eu-central-1", "--dry-run"],
        ["prepare.py", "upload", str(ROOT / "launch"), "s3://films/x", "--dry-run"],
    ],
    ids=lambda words: words[0],
)
def test_readers_that_have_seen_enough_are_no_error(words: list[str], tmp_path: Path) -> None:
    """As `2>&1 | head`: nobody reads."""
    reads, writes = os.pipe()
    os.close(reads)
    script = [sys.executable, str(ROOT / "launch" / words[0]), *words[1:]]
    environment = clean_environment(HOME=str(tmp_path))
    alone = subprocess.run(
        script, stdout=writes, stderr=subprocess.PIPE, cwd=tmp_path, env=environment, timeout=100, check=False
    )
    both = subprocess.run(script, stdout=writes, stderr=writes, cwd=tmp_path, env=environment, timeout=100, check=False)
    os.close(writes)
    assert (alone.returncode, both.returncode) == (0, 0)
    assert b"Traceback" not in alone.stderr
    assert b"BrokenPipe" not in alone.stderr


@given(st.text(min_size=1, max_size=40))
def test_what_is_taken_is_harmless_to_a_shell(text: str) -> None:
    try:
        checked([("labels", text)], "--set")
    except ThoraxError:
        assert not re.fullmatch(f"[{SAFE}]+", text)
    else:
        assert re.fullmatch(f"[{SAFE}]+", text)
        assert subprocess.list2cmdline([text]) == text
