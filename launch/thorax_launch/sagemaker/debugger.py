"""SageMaker Debugger and profiler: hook, built-in rules with their images and collections. Off unless asked for.

AWS closed Debugger to new customers on 2026-07-30; its profiler ends on 2027-06-30.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.options import did_you_mean
from thorax_launch.sagemaker.requests import without_empty
from thorax_launch.settings import AwsSettings

#: AWS's built-in rules for networks.
BUILT_IN = [
    *("all_zero", "class_imbalance", "confusion", "dead_relu", "exploding_tensor", "loss_not_decreasing", "overfit"),
    *("overtraining", "poor_weight_initialization", "saturated_activation", "similar_across_runs"),
    *("stalled_training_rule", "tensor_variance", "unchanged_tensor", "vanishing_gradient", "weight_update_ratio"),
]
#: Collections of tensors that health/smdebug_hook.py saves.
_SAVED = ("losses", "gradients", "weights", "biases", "relu_input", "relu_output")
#: Built-in rules for a classifier: gradients that vanish, a loss that stands still, overfitting, poor initial weights.
RULES = ("vanishing_gradient", "loss_not_decreasing", "overfit", "overtraining", "poor_weight_initialization")


@dataclass(frozen=True)
class Watch:
    """What Debugger and profiler add to a request, and the hyperparameters that switch them on in the trainer."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    hyperparameters: Mapping[str, str] = field(default_factory=dict)


def arguments(settings: AwsSettings, name: str, *, rules: bool, profile: bool, chosen: Sequence[str] = ()) -> Watch:
    """The fields of CreateTrainingJob for --debugger (rules) and --profiler; the profiler is disabled without.

    Each rule names the tensors that it needs; the hook gets the union of them.

    Args:
        chosen: AWS's built-in rules, NAME or NAME:PARAMETER=VALUE:..., such as overfit:patience=5; none: RULES.

    Raises:
        ThoraxError: no such rule or parameter, or a rule on tensors that our hook does not save.
    """
    fields: dict[str, Any] = {}
    hyperparameters: dict[str, str] = {}
    if rules:
        made = _debugger_rules(chosen or RULES)
        fields["DebugHookConfig"] = {
            "S3OutputPath": f"{settings.root}/{name}/debug/",
            "HookParameters": {"save_interval": "100"},
            "CollectionConfigurations": _collections(made),
        }
        fields["DebugRuleConfigurations"] = [_configured(rule, settings.region) for rule in made]
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


def _debugger_rules(texts: Sequence[str]) -> list[Any]:
    from sagemaker.core.debugger import Rule, rule_configs

    made = []
    for text in texts:
        name, *settings = text.split(":")
        if name not in BUILT_IN:
            raise ThoraxError(f"--rule {name} is no built-in rule of SageMaker Debugger{did_you_mean(name, BUILT_IN)}")
        if wrong := [one for one in settings if not re.fullmatch(r"[a-z_]+=\S+", one)]:
            raise ThoraxError(f"--rule {text}: {wrong[0]} must be PARAMETER=VALUE, such as --rule overfit:patience=5")
        config = getattr(rule_configs, name)()
        given = dict(setting.partition("=")[::2] for setting in settings)
        rule = Rule.sagemaker(config, rule_parameters=given or None)
        if other := [one.name for one in rule.collection_configs if one.name not in _SAVED]:
            raise ThoraxError(
                f"--rule {name} needs {', '.join(other)}, which our hook does not save; rules of ours on activations:"
                " --set debugging=true --set debug_rules=dead_relu"
            )
        made.append(rule)
    if twice := [name for name in {rule.name for rule in made} if [one.name for one in made].count(name) > 1]:
        raise ThoraxError(f"--rule {twice[0]} is given twice; give its parameters in one, {twice[0]}:A=1:B=2")
    return made


def _profiler_rule() -> Any:
    from sagemaker.core.debugger import ProfilerRule, rule_configs

    return ProfilerRule.sagemaker(rule_configs.ProfilerReport())


def _collections(rules: list[Any]) -> list[dict[str, Any]]:
    needed = {found.name: found.parameters or {} for rule in rules for found in rule.collection_configs}
    needed.setdefault("losses", {})  # some rules read them and do not say so
    return [
        without_empty({"CollectionName": name, "CollectionParameters": parameters})
        for name, parameters in sorted(needed.items())
    ]


def rule_image(name: str, region: str) -> str:
    """URI of AWS's image of a built-in rule.

    Raises:
        ThoraxError: AWS has none in that region.
    """
    from sagemaker.core.debugger import get_rule_container_image_uri

    try:
        return str(get_rule_container_image_uri(name, region))
    except (ValueError, KeyError) as error:
        raise ThoraxError(f"SageMaker Debugger has no image in --region {region}: {error}; leave it off") from None


def _configured(rule: Any, region: str) -> dict[str, Any]:
    return {
        "RuleConfigurationName": rule.name,
        "RuleEvaluatorImage": rule_image(rule.name, region),
        "RuleParameters": {key: str(value) for key, value in rule.rule_parameters.items()},
    }
