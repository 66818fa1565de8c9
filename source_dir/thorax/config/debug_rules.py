"""The health rules of a run by name, with their parameters: what the hyperparameter debug_rules takes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from thorax.errors import ThoraxError


@dataclass(frozen=True)
class RuleSpec:
    """One rule.

    Attributes:
        help: when it reports.
        parameters: name -> default; all are numbers above 0, whole where the default is.
        activations: it needs the share of zeros after each ReLU, which is recorded only then.
    """

    help: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    activations: bool = False


RULES: dict[str, RuleSpec] = {
    "poor_initialisation": RuleSpec(
        "the first loss is over `loss` times that of guessing, a weight is all zeros, or first gradients are over"
        " `spread` times apart",
        {"loss": 3.0, "spread": 100000.0},
    ),
    "exploding_tensor": RuleSpec(
        "loss or weights are not finite, or gradients `times` times in a row; a parameter's norm is over `growth` times"
        " its first one; `times` losses are over `loss` times the first",
        {"growth": 100.0, "loss": 10.0, "times": 3},
    ),
    "vanishing_gradient": RuleSpec(
        "a weight's gradient has a root mean square below `least` in `times` saved steps in a row",
        {"least": 0.0000001, "times": 3},
    ),
    "loss_not_decreasing": RuleSpec(
        "the last 10 saved losses are not below the first 10 by `percent`, at the ends of `patience` epochs in a row",
        {"percent": 1.0, "patience": 3},
    ),
    "overfit": RuleSpec(
        "for `patience` epochs the validation loss is over `ratio` times its lowest, while the training loss falls",
        {"ratio": 1.1, "patience": 3},
    ),
    "class_imbalance": RuleSpec("a label has over `ratio` images on one side for each on the other", {"ratio": 10.0}),
    "gpu_memory_growth": RuleSpec(
        "memory that tensors hold on the GPU grows in `times` saved steps in a row, by `megabytes` in all",
        {"megabytes": 100.0, "times": 10},
    ),
    "dead_relu": RuleSpec(
        "after a ReLU over `percent` of the values are 0 in `times` saved steps in a row",
        {"percent": 99.0, "times": 3},
        activations=True,
    ),
}
#: On where debug_rules names none: those that cost nothing besides.
USUAL = tuple(name for name, spec in RULES.items() if not spec.activations)


def chosen_rules(texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Rule -> its parameters, defaults filled in, of NAME or NAME:PARAMETER=NUMBER:...; the usual rules for no text.

    Raises:
        ThoraxError: an unknown rule or parameter, a rule twice, or a value that is no number above 0.
    """
    found: dict[str, dict[str, float]] = {}
    for text in texts or USUAL:
        name, *settings = text.split(":")
        if name not in RULES:
            raise ThoraxError(f"debug_rules={name} is not one of {', '.join(RULES)}{_nearest(name, RULES)}")
        if name in found:
            raise ThoraxError(f"debug_rules names {name} twice; give its parameters in one, {name}:A=1:B=2")
        known = RULES[name].parameters
        values = dict(known)
        for setting in settings:
            parameter, _, value = setting.partition("=")
            if parameter not in known:
                raise ThoraxError(
                    f"debug_rules={text}: {name} has no parameter {parameter}, only {', '.join(known)}"
                    f"{_nearest(parameter, known)}"
                )
            values[parameter] = _number(text, parameter, value, whole=isinstance(known[parameter], int))
        found[name] = values
    return found


def _number(text: str, parameter: str, value: str, whole: bool) -> float:
    try:
        number = int(value) if whole else float(value)
    except ValueError:
        number = 0
    if not 0 < number < 1e12:
        raise ThoraxError(f"debug_rules={text}: {parameter} must be a {'whole ' if whole else ''}number above 0")
    return number


def _nearest(name: str, known: Mapping[str, object]) -> str:
    match = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {match[0]}?" if match else ""
