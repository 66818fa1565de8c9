"""Health rules by choice, with parameters; GPU memory that grows; ReLUs that are dead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from thorax.config import TrainingConfig
from thorax.config.debug_rules import RULES, USUAL, chosen_rules
from thorax.errors import ThoraxError
from thorax.tracking.health.device_rules import Zeros
from thorax.tracking.health.records import HealthRecord, Recorder, read
from thorax.tracking.health.rules import Rules


def steps(memory):
    return [HealthRecord(k + 1, 0.5, {}, {}, value) for k, value in enumerate(memory)]


def judged(records, *texts):
    rules = Rules({}, chosen=chosen_rules(texts))
    for record in records:
        rules.record(record)
    return [finding["step"] for finding in rules.findings]


@pytest.mark.parametrize(
    ("memory", "found"),
    [
        ([1000 + 20 * k for k in range(30)], [11]),  # 10 times in a row, 200 MB in all
        ([1000 + 2 * k for k in range(200)], [51]),  # slowly: when it is 100 MB
        ([1000 + 20 * (k % 9) for k in range(200)], []),  # falls back
        ([1000] * 50, []),
        ([None] * 50, []),
    ],
)
def test_memory_that_grows(memory, found):
    assert judged(steps(memory), "gpu_memory_growth") == found


def test_parameters_change_a_rule():
    memory = steps([1000 + 20 * k for k in range(30)])
    assert judged(memory, "gpu_memory_growth:times=3:megabytes=50") == [4]
    assert judged(memory, "overfit") == []


def test_every_parameter_reaches_its_rule():
    texts = [f"{name}:{'='.join((p, '7'))}" for name, spec in RULES.items() for p in list(spec.parameters)[:1]]
    rules = Rules({}, chosen=chosen_rules(texts))
    for rule in rules.rules:
        first = next(iter(RULES[rule.name].parameters))
        assert getattr(rule, rule.PARAMETERS[first]) == 7
        assert set(rule.PARAMETERS) == set(RULES[rule.name].parameters)
        fresh = {p: getattr(type(rule), attribute) for p, attribute in rule.PARAMETERS.items()}
        assert fresh == RULES[rule.name].parameters  # the defaults are those of the class
    assert "dead_relu" not in USUAL


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("overfits", "debug_rules=overfits is not one of .*; did you mean overfit"),
        ("overfit:ratio=x", "ratio must be a number above 0"),
        ("overfit:patience=1.5", "patience must be a whole number above 0"),
        ("overfit,overfit:ratio=2", "names overfit twice"),
    ],
)
def test_wrong_rules(text, message):
    with pytest.raises(ThoraxError, match=message):
        TrainingConfig.parse({"debugging": "true", "debug_rules": text})


def test_dead_relus_are_counted_in_saved_steps_alone(tmp_path: Path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
    with torch.no_grad():
        net[2].bias.fill_(-100.0)
    saved = True
    zeros = Zeros(net, lambda: saved)
    net(torch.randn(16, 4))
    shares = zeros.take()
    assert shares["3"] == 1.0 and 0 < shares["1"] < 1
    saved = False
    net(torch.randn(16, 4))
    assert zeros.take() == {}
    zeros.close()
    assert not net[1]._forward_hooks
    records = [replace(record, zeros=shares) for record in steps([None] * 3)]
    assert judged(records, "dead_relu") == [3]
    recorder = Recorder(tmp_path / "worker_0.jsonl", {})
    recorder.write(replace(records[0], memory=12.5))
    recorder.close()
    (again,) = read(tmp_path / "worker_0.jsonl")[1]
    assert again.memory == 12.5 and again.zeros["3"] == 1.0
