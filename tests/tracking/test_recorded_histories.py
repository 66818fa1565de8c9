"""The rules on histories that real runs left: a good one, one that learned noise by heart, rates far too high and far
too low, dropout, and three classes of real X-rays. Each was looked at; `found` is what is true of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thorax.tracking.health.records import HealthRecord
from thorax.tracking.health.rules import judge

RECORDED = json.loads((Path(__file__).parent / "histories.json").read_text())
#: Rules that read losses and history alone.
READ = {"overfit", "loss_not_decreasing", "exploding_tensor"}


@pytest.mark.parametrize("name", RECORDED)
def test_what_is_found_is_true_of_the_run(name):
    run = RECORDED[name]
    records = [HealthRecord(step, loss, {}, {}) for step, loss in enumerate(run["losses"], 1) if loss is not None]
    history = [
        {"epoch": k, "train_loss": train, "validation_loss": validation}
        for k, (train, validation) in enumerate(run["history"], 1)
    ]
    found = {finding["rule"]: finding["message"] for finding in judge({}, records, history, 0.693)}
    assert {*found} == READ & {*run["found"]}
    if "overfit" in found:  # the numbers that it says are those of the history
        losses = [validation for _, validation in run["history"]]
        lowest = min(losses)
        assert f"was lowest in epoch {losses.index(lowest) + 1} ({lowest:.4f})" in found["overfit"]
