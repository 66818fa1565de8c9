"""--debugger with rules and parameters of one's own choice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thorax_launch.cli import train

WORDS = ["pneumonia-resnet18", "--train", "s3://films/train", "--region", "eu-central-1", "--bucket", "films"]
WORDS += ["--role", "arn:aws:iam::123456789012:role/thorax-execution", "--dry-run"]


def test_rules_with_their_parameters(offline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = ["--rule", "overfit:patience=7:ratio_threshold=0.2", "--rule", "vanishing_gradient"]
    assert train.main([*WORDS, "--debugger", *rules]) == 0
    request: dict[str, Any] = json.loads(capsys.readouterr().out)
    found = {one["RuleConfigurationName"]: one["RuleParameters"] for one in request["DebugRuleConfigurations"]}
    assert found == {
        "Overfit": {"rule_to_invoke": "Overfit", "patience": "7", "ratio_threshold": "0.2"},
        "VanishingGradient": {"rule_to_invoke": "VanishingGradient"},
    }
    collections = {one["CollectionName"] for one in request["DebugHookConfig"]["CollectionConfigurations"]}
    assert collections == {"losses", "gradients"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--debugger", "--rule", "overfitt"],
            "--rule overfitt is no built-in rule of SageMaker Debugger; did you mean",
        ),
        (
            ["--debugger", "--rule", "overfit:patience"],
            "patience must be PARAMETER=VALUE, such as --rule overfit:patience=5",
        ),
        (["--debugger", "--rule", "overfit", "--rule", "overfit:patience=3"], "--rule Overfit is given twice"),
        (["--rule", "overfit"], "--rule overfit is for --debugger"),
        (["--set", "debugging=true", "--set", "debug_rules=overfit:ration=2"], "overfit has no parameter ration, only"),
    ],
)
def test_wrong_rules_are_refused(
    words: list[str], message: str, offline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main([*WORDS, *words]) == 1
    assert message in capsys.readouterr().err
