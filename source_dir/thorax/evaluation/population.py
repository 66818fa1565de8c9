"""Who the images are of: prevalence, view, sex and age of a set, and what differs from the training data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thorax.evaluation.arrays import Array
from thorax.labels import LabelSpace

#: Attributes that are counted by value, and those whose numbers are summed up.
COUNTED, MEASURED = ("view", "sex"), ("age",)
#: Values of an attribute that are kept; the rest is "other".
VALUES = 12
#: Cohen's h of two shares, and Cohen's d of two means, that are called a shift (Cohen 1988: small).
SMALL = 0.2


def describe(
    targets: Array, space: LabelSpace, patients: Sequence[str], attributes: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """What a bundle keeps of its training data, and what is compared with it; as json.dumps takes it.

    Args:
        targets: (N, L) in {0, 1, NaN = unknown} or soft.
        space: names of the L columns.
        patients: (N,).
        attributes: name -> (N,) texts, "" where unknown.

    Returns:
        {"images", "patients", "labels": {output: {"known", "prevalence"}}, and for each attribute that is known of any
        image: "view" and "sex" {value: images}, "age" {"known", "mean", "std", "quartiles"} in years}.
    """
    known = ~np.isnan(targets)
    counts, sums = known.sum(axis=0).tolist(), np.nansum(targets, axis=0).tolist()
    found: dict[str, Any] = {
        "images": len(targets),
        "patients": len(set(patients)),
        "labels": {
            name: {"known": n, "prevalence": total / n if n else None}
            for name, n, total in zip(space.outputs, counts, sums, strict=True)
        },
    }
    for name in COUNTED:
        if values := Counter(value for value in attributes.get(name, ()) if value):
            kept = dict(values.most_common(VALUES))
            rest = values.total() - sum(kept.values())
            found[name] = kept | ({"other": rest} if rest else {})
    for name in MEASURED:
        if len(numbers := _numbers(attributes.get(name, ()))):
            found[name] = {
                "known": len(numbers),
                "mean": float(numbers.mean()),
                "std": float(numbers.std()),
                "quartiles": np.percentile(numbers, [25, 50, 75]).tolist(),
            }
    return found


def shifts(training: Mapping[str, Any] | None, here: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What differs: a row for each label, each view and sex, and age.

    Args:
        training: what `describe` said of the training data; None where the bundle does not know.
        here: what it says of these images.

    Returns:
        {"what": "prevalence", "view", "sex" or "age", "of": label or value, "training", "here": shares in 0..1, or mean
        years, None where unknown, "effect": Cohen's h or d, "shifted": its size is SMALL or more}.
    """
    then: Mapping[str, Any] = training or {}
    rows = []
    for name, entry in here["labels"].items():
        before = then.get("labels", {}).get(name, {}).get("prevalence")
        rows.append(_row("prevalence", name, before, entry["prevalence"], _h(before, entry["prevalence"])))
    for what in COUNTED:
        ours, theirs = _shares(here.get(what)), _shares(then.get(what))
        for value in dict.fromkeys([*theirs, *ours]):
            one, two = (values.get(value, 0.0) if values else None for values in (theirs, ours))
            rows.append(_row(what, value, one, two, _h(one, two)))
    for what in MEASURED:
        ours, theirs = here.get(what, {}), then.get(what, {})
        if ours or theirs:
            effect = None
            if ours and theirs:
                spread = np.sqrt((ours["std"] ** 2 + theirs["std"] ** 2) / 2)
                effect = (ours["mean"] - theirs["mean"]) / spread if spread else 0.0
            rows.append(_row(what, "mean", theirs.get("mean"), ours.get("mean"), effect))
    return rows


def _row(what: str, of: str, training: float | None, here: float | None, effect: float | None) -> dict[str, Any]:
    known = None if effect is None else float(effect)
    shifted = known is not None and abs(known) >= SMALL
    return {"what": what, "of": of, "training": training, "here": here, "effect": known, "shifted": shifted}


def _shares(counts: Mapping[str, int] | None) -> dict[str, float]:
    total = sum((counts or {}).values())
    return {value: n / total for value, n in (counts or {}).items()}


def _h(one: float | None, two: float | None) -> float | None:
    """Cohen's h of two shares: the difference of 2 asin(sqrt(p))."""
    if one is None or two is None:
        return None
    return float(2 * np.arcsin(np.sqrt(two)) - 2 * np.arcsin(np.sqrt(one)))


def _numbers(values: Sequence[str]) -> Array:
    """The numbers among texts; "057Y" is 57, as in DICOM and NIH's first table."""
    found = []
    for value in values:
        try:
            found.append(float(value.strip().rstrip("Yy") or "nan"))
        except ValueError:
            found.append(float("nan"))
    numbers = np.array(found, np.float64)
    return np.asarray(numbers[np.isfinite(numbers)])
