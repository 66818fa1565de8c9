"""SageMaker Debugger and profiler: hook, built-in rules with their images and collections. Off unless asked for.

AWS closed Debugger to new customers on 2026-07-30; its profiler ends on 2027-06-30.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from thorax_launch.settings import AwsSettings

#: Built-in rules for a classifier: gradients that vanish, a loss that stands still, overfitting, poor initial weights.
RULES = ("vanishing_gradient", "loss_not_decreasing", "overfit", "overtraining", "poor_weight_initialization")


@dataclass(frozen=True)
class Watch:
    """What Debugger and profiler add to a request, and the hyperparameters by which the trainer knows of them."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    hyperparameters: Mapping[str, str] = field(default_factory=dict)


def arguments(settings: AwsSettings, name: str, *, rules: bool, profile: bool) -> Watch:
    """The fields of CreateTrainingJob for --debugger (rules) and --profiler; empty where neither is asked for.

    Each rule says which tensors it needs; the hook gets the union of them.
    """
    from sagemaker.core.shapes import DebugHookConfig, ProfilerConfig

    found: dict[str, Any] = {}
    told: dict[str, str] = {}
    if rules:
        chosen = _debugger_rules()
        found["debug_hook_config"] = DebugHookConfig(
            s3_output_path=f"{settings.root}/{name}/debug/",
            hook_parameters={"save_interval": "100"},
            collection_configurations=_collections(chosen),
        )
        found["debug_rule_configurations"] = [_configured(rule, settings.region) for rule in chosen]
        told["debugging"] = "true"
    if profile:
        found["profiler_config"] = ProfilerConfig(
            s3_output_path=f"{settings.root}/{name}/profiler/", profiling_interval_in_milliseconds=500
        )
        found["profiler_rule_configurations"] = [_profiler_rule(settings.region)]
        told["profiler"] = "true"
    elif rules:
        found["profiler_config"] = ProfilerConfig(disable_profiler=True)
    return Watch(found, told)


def _debugger_rules() -> list[Any]:
    from sagemaker.core.debugger import Rule, rule_configs

    return [Rule.sagemaker(getattr(rule_configs, name)()) for name in RULES]


def _collections(rules: list[Any]) -> list[Any]:
    from sagemaker.core.shapes import CollectionConfiguration

    needed = {one.name: one.parameters or {} for rule in rules for one in rule.collection_configs}
    return [
        CollectionConfiguration(collection_name=name, **({"collection_parameters": more} if more else {}))
        for name, more in sorted(needed.items())
    ]


def _configured(rule: Any, region: str) -> Any:
    from sagemaker.core.debugger import get_rule_container_image_uri
    from sagemaker.core.shapes import DebugRuleConfiguration

    parameters = {key: str(value) for key, value in rule.rule_parameters.items()}
    return DebugRuleConfiguration(
        rule_configuration_name=rule.name,
        rule_evaluator_image=get_rule_container_image_uri(rule.name, region),
        rule_parameters=parameters,
    )


def _profiler_rule(region: str) -> Any:
    from sagemaker.core.debugger import ProfilerRule, get_rule_container_image_uri, rule_configs
    from sagemaker.core.shapes import ProfilerRuleConfiguration

    rule = ProfilerRule.sagemaker(rule_configs.ProfilerReport())
    return ProfilerRuleConfiguration(
        rule_configuration_name=rule.name,
        rule_evaluator_image=get_rule_container_image_uri(rule.name, region),
        rule_parameters={key: str(value) for key, value in rule.rule_parameters.items()},
    )
