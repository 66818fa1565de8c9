"""Scores as text: numbers as people read them, and the tables for terminals and logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from thorax.evaluation.baselines import baselines, shown_rows
from thorax.evaluation.metric_table import METRICS, Row
from thorax.labels import LabelSpace
from thorax.text import counted

UNDEFINED = "-"  # plain ASCII: a log may not take more


def table(scores: Mapping[str, Mapping[str, Any]], labels: LabelSpace, width: int | None = None) -> str:
    """The scores as plain text, a block of lines per part, such as

    test: 1,200 images of 410 patients, accuracy 0.941 [0.930, 0.952], balanced accuracy 0.912 [0.893, 0.930]
    label        known  positives  threshold  AUC                   F1 ...
    Pneumonia    1,200        300      0.412  0.987 [0.979, 0.994]  ...

    Below stand the scores of two models that never look at an image, see `baselines`.

    Args:
        width: columns of the terminal; where a line would be longer, counts and intervals go below the values.
    """
    blocks, narrow = [], False
    for part, result in scores.items():
        lines = _wide(result, labels)
        head = [f"{part}: {rows_of(result)}", overall(result)]
        if width is None or max(map(len, [", ".join(head), *lines])) <= width:
            lines = [", ".join(head), *lines]
        else:
            lines = [f"{head[0]}:", *(f"  {text}" for text in head[1].split(", balanced")[:1])]
            lines += [f"  balanced{text}" for text in head[1].split(", balanced")[1:]] + _narrow(result, labels)
            narrow = True
        blocks.append("\n".join(lines))
    if narrow:
        at = "" if labels.task == "multiclass" else " at the threshold"
        blocks[-1] += f"\n(second lines: positive/known images{at}, 95 % intervals)"
    return "\n\n".join(blocks)


def _wide(result: Mapping[str, Any], labels: LabelSpace) -> list[str]:
    """A line for each label, and the macro mean."""
    metrics, several = _columns(), len(labels.outputs) > 1
    cut = labels.task != "multiclass"  # the most probable class needs no threshold
    heads = ["label", "known", "positives", *(["threshold"] if cut else [])]
    rows = [[*heads, *(METRICS[metric].title for metric in metrics)]]
    for name in labels.outputs:
        entry = result["labels"][name]
        counts = [f"{entry['n']:,}", f"{entry['positives']:,}", *([number(entry["threshold"])] if cut else [])]
        rows.append([name, *counts, *cells(entry, metrics, "label" if several else None)])
    if several:
        rows.append(["macro", *[""] * (len(heads) - 1), *cells(result["macro"], metrics, "macro")])
    for title, accuracy, values in _without_looking(result, labels, metrics):
        rows.append([f"{title} (accuracy {accuracy})", *[""] * (len(heads) - 1), *values])
    return _aligned(rows, {1, 2, 3} if cut else {1, 2})


def _without_looking(
    result: Mapping[str, Any], labels: LabelSpace, metrics: Sequence[str]
) -> list[tuple[str, str, list[str]]]:
    """(title, accuracy, value of each metric) of each baseline."""
    found = baselines(result, labels)
    rows = zip(found.values(), shown_rows(found, metrics).items(), strict=True)
    return [(title, number(scores["accuracy"]), [*map(number, values)]) for scores, (title, values) in rows]


def _narrow(result: Mapping[str, Any], labels: LabelSpace) -> list[str]:
    """Two lines for each label: its values; its positives, known images and threshold, and the intervals."""
    metrics, several = _columns(), len(labels.outputs) > 1
    rows = [["label", *(METRICS[metric].title for metric in metrics)]]
    entries: list[tuple[str, Any, Row | None]] = [
        (name, result["labels"][name], "label" if several else None) for name in labels.outputs
    ]
    if several:
        entries.append(("macro", result["macro"], "macro"))
    for name, entry, row in entries:
        found = [cell.partition(" [") for cell in cells(entry, metrics, row)]
        below = f"  {entry['positives']:,}/{entry['n']:,}" if "n" in entry else ""
        if entry.get("threshold") is not None:
            below += f" at {number(entry['threshold'])}"
        rows.append([name, *(value for value, _, _ in found)])
        rows.append([below, *(span.rstrip("]").replace(", ", "-") for _, _, span in found)])
    for title, accuracy, values in _without_looking(result, labels, metrics):
        rows += [[title, *values], [f"  accuracy {accuracy}", *[""] * len(metrics)]]
    return _aligned([row for row in rows if any(row)], set())


def rows_of(result: Mapping[str, Any]) -> str:
    """What was scored: "1,200 images of 410 patients", or studies."""
    units = counted(result["n"], *(("study", "studies") if result.get("unit") == "study" else ("image",)))
    return f"{units} of {counted(result['patients'], 'patient')}"


def overall(result: Mapping[str, Any]) -> str:
    """Accuracy and balanced accuracy over all labels: "accuracy 0.941 [0.930, 0.952], balanced accuracy 0.912"."""
    balanced = result["macro"].get("balanced_accuracy")
    told = "" if balanced is None else f", balanced accuracy {cell(balanced)}"
    return f"accuracy {cell(result['accuracy'])}{told}"


def comparison_table(comparison: Mapping[str, Any]) -> str:
    """The differences in AUC of bundles A and B as plain text: a line per label, then macro."""
    rows = [["label", "AUC of A", "AUC of B", "B minus A", "p"]]
    named = {**comparison["labels"], **({"macro": comparison["macro"]} if len(comparison["labels"]) > 1 else {})}
    for name, entry in named.items():
        rows.append([name, number(entry["first"]), number(entry["second"]), difference(entry), number(entry["p"])])
    return "\n".join(_aligned(rows, {1, 2}))


def subgroup_table(groups: Sequence[Mapping[str, Any]]) -> str:
    """The subgroups as plain text: a line per group."""
    metrics = [metric for metric in _columns() if METRICS[metric].by_group]
    rows = [["group", "images", "patients", *(METRICS[metric].title for metric in metrics)]]
    for g in groups:
        counts = [f"{g['n']:,}", f"{g['patients']:,}"]
        rows.append([f"{g['column']}: {g['group']}", *counts, *cells(g["macro"], metrics)])
    return "\n".join(_aligned(rows, {1, 2}))


def shift_table(shifts: Sequence[Mapping[str, Any]]) -> str:
    """What differs from the training data as plain text: a line per label, view, sex and age; a star marks a shift."""
    rows = [["training against here", "training", "here", "effect"]]
    for row in shifts:
        effect = UNDEFINED if row["effect"] is None else f"{row['effect']:+.2f}{' *' if row['shifted'] else ''}"
        rows.append([f"{row['what']}: {row['of']}", shown(row["training"], row), shown(row["here"], row), effect])
    legend = ["* a shift: Cohen's h or d of 0.2 or more"] if any(row["shifted"] for row in shifts) else []
    return "\n".join([*_aligned(rows, {1, 2}), *legend])


def shown(value: float | None, row: Mapping[str, Any]) -> str:
    """A number of a row of shifts: a share in per cent, or years."""
    if value is None:
        return UNDEFINED
    return f"{value:.1f}" if row["what"] == "age" else f"{100 * value:.1f} %"


def number(value: float | None) -> str:
    """Three decimals, never an exponent; a dash for what is undefined."""
    return UNDEFINED if value is None else f"{value:.3f}"


def span(metric: Mapping[str, float | None]) -> str:
    """The interval alone: "[0.979, 0.994]", or nothing if there is none."""
    return "" if metric["low"] is None else f"[{number(metric['low'])}, {number(metric['high'])}]"


def cell(metric: Mapping[str, float | None]) -> str:
    """Value and interval: "0.987 [0.979, 0.994]"."""
    return f"{number(metric['value'])} {span(metric)}".rstrip()


def percent(metric: Mapping[str, float | None]) -> str:
    """A share and its interval in per cent: "94.1 % [93.0, 95.2]"."""
    value, low, high = (None if (v := metric[key]) is None else f"{100 * v:.1f}" for key in ("value", "low", "high"))
    return UNDEFINED if value is None else f"{value} %" if low is None else f"{value} % [{low}, {high}]"


def difference(entry: Mapping[str, float | None]) -> str:
    """A signed difference and its interval: "+0.012 [-0.003, +0.027]"."""
    value, low, high = (None if (v := entry[key]) is None else f"{v:+.3f}" for key in ("difference", "low", "high"))
    return UNDEFINED if value is None else value if low is None else f"{value} [{low}, {high}]"


def cells(entry: Mapping[str, Any], metrics: Sequence[str], row: Row | None = None) -> list[str]:
    """The cells of one row of a table; blank where a metric is not shown in rows of that kind, a dash where the entry
    was written before the metric was registered."""
    shown = [row is None or row in METRICS[metric].rows for metric in metrics]
    return [
        (cell(entry[metric]) if metric in entry else UNDEFINED) if there else ""
        for metric, there in zip(metrics, shown, strict=True)
    ]


def _columns() -> list[str]:
    """The metrics of the printed table, from left to right."""
    shown = {name: order for name in METRICS if (order := METRICS[name].table_order) is not None}
    return sorted(shown, key=lambda name: shown[name])


def _aligned(rows: Sequence[Sequence[str]], right: set[int]) -> list[str]:
    """Lines of equal columns; those in `right` end, all others begin, under each other."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    padded = (
        [text.rjust(widths[i]) if i in right else text.ljust(widths[i]) for i, text in enumerate(row)] for row in rows
    )
    return ["  ".join(cells).rstrip() for cells in padded]
