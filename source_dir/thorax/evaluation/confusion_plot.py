"""The confusion of a score as a picture: images of each true class by what they are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thorax.evaluation.arrays import Array, ratio
from thorax.evaluation.plots import png_of
from thorax.labels import LabelSpace

#: Labels of a picture at most, panels in a row, and the classes up to which a matrix has its numbers written in.
LABELS, ACROSS, NUMBERED = 40, 5, 20


def confusion_plot(result: Mapping[str, Any], labels: LabelSpace) -> bytes:
    """A PNG: of exclusive classes one matrix, of several labels one of two rows for each (the first LABELS of them).

    Rows are the truth, columns the answer; the colour is the share of the row.

    Args:
        result: of `metrics.score`.
        labels: names and task.
    """
    if labels.task == "multiclass":
        side = 2.6 + 0.55 * len(labels.classes)
        figure = Figure(figsize=(side, side), layout="constrained")
        _matrix(figure.subplots(), np.array(result["matrix"]), labels.classes)
        return png_of(figure)
    names = labels.outputs[:LABELS]
    if labels.task == "binary":
        figure = Figure(figsize=(4.4, 4.2), layout="constrained")
        _matrix(figure.subplots(), _counts(result["labels"][names[0]]), labels.classes)
        return png_of(figure)
    across = min(ACROSS, len(names))
    down = -(-len(names) // across)
    figure = Figure(figsize=(2.5 * across, 3.0 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        _matrix(axes, _counts(result["labels"][name]), ("no", "yes"))
        axes.set_title(name, fontsize=10, parse_math=False)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    return png_of(figure)


def _counts(entry: Mapping[str, Any]) -> Array:
    c = entry["confusion"]
    return np.array([[c["tn"], c["fp"]], [c["fn"], c["tp"]]])


def _matrix(axes: Axes, counts: Array, names: Sequence[str]) -> None:
    share = np.nan_to_num(ratio(counts, np.broadcast_to(counts.sum(axis=1, keepdims=True), counts.shape)))
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if len(names) <= NUMBERED:
        for (row, column), count in np.ndenumerate(counts):
            dark = share[row, column] > 0.5
            axes.text(column, row, f"{count:,}", ha="center", va="center", color="white" if dark else "#1d2730")
    places = range(len(names))
    steep = max(map(len, names)) * len(names) > 30
    for axis, turned in ((axes.xaxis, steep), (axes.yaxis, False)):
        axis.set_ticks(places, names, rotation=90 if turned else 0)
        for text in axis.get_ticklabels():
            text.set_parse_math(False)  # a label may hold a dollar sign
    axes.set(xlabel="called", ylabel="is")
    axes.tick_params(length=0)
