"""A command that is killed from outside, as a cancelled CI job is: its process says what goes on, and ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

HELPERS = Path(__file__).resolve().parents[1] / "helpers"


def test_a_batch_that_is_terminated_names_the_job_that_goes_on(light: Path, tmp_path: Path) -> None:
    words = "batch BUNDLE --data s3://films/thorax/images --out OUT/t.csv --job-name scores --yes PLACE --wait"
    program = [sys.executable, str(HELPERS / "run_on_stand_in.py"), str(light), str(tmp_path), *words.split()]
    places = [str(HELPERS), *filter(None, [os.environ.get("PYTHONPATH")]), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    child = subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment
    )
    with child:
        assert child.stdout is not None
        shown = []
        for line in child.stdout:
            shown.append(line)
            if "batch transform scores: InProgress" in line:
                child.send_signal(signal.SIGTERM)
                break
        _, errors = child.communicate(timeout=300)
    assert child.returncode == 128 + signal.SIGTERM, (shown, errors)
    last = errors.splitlines()[-1]
    assert last.startswith("error: stopped by SIGTERM; batch transform scores goes on; to watch it again: ")
    assert "with --resume scores --wait fetches the answers" in last
    assert "Traceback" not in errors
