"""Commands that are killed, told to end, starved of disk or find flipped bits come to the same result, bit by bit, or
say in one line why they do not go on; nothing is lost.

`make chaos CHAOS=100 CHAOS_SEED=1` does so many rounds, spread over all commands; here are a few of the quick ones.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from conftest import write_images
from disturbed import one_round
from disturbed_works import works

ROUNDS, SEED = int(os.environ.get("CHAOS", "0")), int(os.environ.get("CHAOS_SEED", "0"))
#: Rounds of each command within the tests.
FEW = {"pack shards": 4, "pack rec": 3, "batch": 3, "search": 2, "train": 1}
SHARES = {"pack shards": 0.25, "pack rec": 0.2, "batch": 0.2, "search": 0.15, "train": 0.2}


@pytest.mark.parametrize("name", FEW)
def test_a_disturbed_run_ends_as_an_undisturbed_one(name: str, tmp_path: Path) -> None:
    write_images(tmp_path / "images" / "train", 12, seed=1)
    write_images(tmp_path / "images" / "test", 4, seed=2)
    work = works(tmp_path / "images", tmp_path / "needed")[name]
    work.prepare(tmp_path)
    for number in range(round(ROUNDS * SHARES[name]) or FEW[name]):
        one_round(work, tmp_path, random.Random(f"{name} {SEED} {number}"))
