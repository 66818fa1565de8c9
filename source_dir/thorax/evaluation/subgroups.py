"""Scores of groups of images: by sex, age band, view, or any other column of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thorax.errors import ThoraxError
from thorax.evaluation.arrays import Array
from thorax.evaluation.metric_table import METRICS
from thorax.evaluation.metrics import score
from thorax.labels import LabelSpace

#: Ages in years at which a band begins.
AGE_BANDS = (0, 18, 40, 60, 80)
MOST_GROUPS = 20
UNKNOWN = "unknown"


def subgroups(
    targets: Array,
    probabilities: Array,
    labels: LabelSpace,
    thresholds: Sequence[float] | Array,
    patients: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """One row for each group of each column, with intervals as in `score`: {"column", "group", "n", "patients",
    "macro": {metric with by_group: ...}, "labels": {output: {"n", "positives", "auc"}}}.

    Args:
        columns: {name: (N,) texts}; blank is unknown. Ages become bands and other numbers quarters (see `group`).

    Raises:
        ThoraxError: a column with more than MOST_GROUPS values that are no numbers.
    """
    rows = []
    for column, values in columns.items():
        groups = group(column, values)
        for name in dict.fromkeys(sorted(groups, key=_order)):
            at = [k for k, group_of_image in enumerate(groups) if group_of_image == name]
            owners = [patients[k] for k in at]
            found = score(targets[at], probabilities[at], labels, thresholds, owners, resamples=resamples, seed=seed)
            rows.append(
                {
                    "column": column,
                    "group": name,
                    "n": found["n"],
                    "patients": found["patients"],
                    "macro": {name: found["macro"][name] for name in METRICS if METRICS[name].by_group},
                    "labels": {
                        output: {key: entry[key] for key in ("n", "positives", "auc")}
                        for output, entry in found["labels"].items()
                    },
                }
            )
    return rows


def group(column: str, values: Sequence[str]) -> list[str]:
    """The group of each image: AGE_BANDS for a column with "age" in its name and years as values (58, 058Y), quarters
    for any other column of more than ten different numbers, else the values themselves.

    Raises:
        ThoraxError: too many values for groups.
    """
    texts = [value.strip() for value in values]
    distinct = {text for text in texts if text}
    years = {text: _number(text.upper().removesuffix("Y")) for text in distinct}
    plain = {text: _number(text) for text in distinct}
    if distinct and "age" in column.lower().split("_") + column.lower().split() and None not in years.values():
        return [_band(years.get(text), AGE_BANDS) for text in texts]
    if len(distinct) > 10 and None not in plain.values():
        numbers = np.array([number for text in texts if (number := plain.get(text)) is not None])
        edges = sorted({float(edge) for edge in np.quantile(numbers, (0, 0.25, 0.5, 0.75))})
        return [_band(plain.get(text), edges) for text in texts]
    if len(distinct) > MOST_GROUPS:
        raise ThoraxError(
            f"--by {column}: it has {len(distinct)} different values, such as {min(distinct)}; choose a column with"
            f" {MOST_GROUPS} or fewer"
        )
    return [text or UNKNOWN for text in texts]


def _band(value: float | None, edges: Sequence[float]) -> str:
    if value is None:
        return UNKNOWN
    k = max(int(np.searchsorted(edges, value, side="right")) - 1, 0)
    if k == len(edges) - 1:
        return f"{edges[k]:g} and above"
    return f"{edges[k]:g} to {edges[k + 1] - 1:g}" if edges == AGE_BANDS else f"{edges[k]:g} to below {edges[k + 1]:g}"


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _order(name: str) -> tuple[bool, float, str]:
    """Bands by their first number, names by the alphabet, unknown last."""
    number = _number(name.split(" ")[0]) if name else None
    return name == UNKNOWN, number if number is not None else 0.0, name
