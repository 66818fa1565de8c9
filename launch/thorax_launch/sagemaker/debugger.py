"""SageMaker Debugger and profiler: hook, built-in rules with their images and collections. Off unless asked for.

AWS closed Debugger to new customers on 2026-07-30; its profiler ends on 2027-06-30.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from thorax_launch.sagemaker.requests import without_empty
from thorax_launch.settings import AwsSettings

#: Built-in rules for a classifier: gradients that vanish, a loss that stands still, overfitting, poor initial weights.
RULES = ("vanishing_gradient", "loss_not_decreasing", "overfit", "overtraining", "poor_weight_initialization")


@dataclass(frozen=True)
class Watch:
    """What Debugger and profiler add to a request, and the hyperparameters that switch them on in the trainer."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    hyperparameters: Mapping[str, str] = field(default_factory=dict)


def arguments(settings: AwsSettings, name: str, *, rules: bool, profile: bool) -> Watch:
    """The fields of CreateTrainingJob for --debugger (rules) and --profiler; the profiler is disabled without.

    Each rule names the tensors that it needs; the hook gets the union of them.
    """
    fields: dict[str, Any] = {}
    hyperparameters: dict[str, str] = {}
    if rules:
        chosen = _debugger_rules()
        fields["DebugHookConfig"] = {
            "S3OutputPath": f"{settings.root}/{name}/debug/",
            "HookParameters": {"save_interval": "100"},
            "CollectionConfigurations": _collections(chosen),
        }
        fields["DebugRuleConfigurations"] = [_configured(rule, settings.region) for rule in chosen]
        hyperparameters["debugging"] = "true"
    if profile:
        fields["ProfilerConfig"] = {
            "S3OutputPath": f"{settings.root}/{name}/profiler/",
            "ProfilingIntervalInMilliseconds": 500,
        }
        fields["ProfilerRuleConfigurations"] = [_configured(_profiler_rule(), settings.region)]
        hyperparameters["profiler"] = "true"
    else:
        fields["ProfilerConfig"] = {"DisableProfiler": True}
    return Watch(fields, hyperparameters)


def _debugger_rules() -> list[Any]:
    from sagemaker.core.debugger import Rule, rule_configs

    return [Rule.sagemaker(getattr(rule_configs, name)()) for name in RULES]


def _profiler_rule() -> Any:
    from sagemaker.core.debugger import ProfilerRule, rule_configs

    return ProfilerRule.sagemaker(rule_configs.ProfilerReport())


def _collections(rules: list[Any]) -> list[dict[str, Any]]:
    needed = {found.name: found.parameters or {} for rule in rules for found in rule.collection_configs}
    return [
        without_empty({"CollectionName": name, "CollectionParameters": parameters})
        for name, parameters in sorted(needed.items())
    ]


def _configured(rule: Any, region: str) -> dict[str, Any]:
    from sagemaker.core.debugger import get_rule_container_image_uri

    return {
        "RuleConfigurationName": rule.name,
        "RuleEvaluatorImage": get_rule_container_image_uri(rule.name, region),
        "RuleParameters": {key: str(value) for key, value in rule.rule_parameters.items()},
    }
