"""The plots of the report, each a PNG; drawn without pyplot, so that no global state or display is touched."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from sklearn.metrics import precision_recall_curve, roc_curve

from thorax.evaluation.arrays import Array
from thorax.evaluation.calibration import reliability
from thorax.evaluation.ranking import Ranking
from thorax.labels import LabelSpace

BLUE, ORANGE, GREEN, GREY = "#1f5f99", "#d1662a", "#3b8a5a", "#8a929a"
DOT: Any = {"marker": "o", "linestyle": "none", "markersize": 5, "markeredgecolor": "white", "markeredgewidth": 0.8}
#: {part: (targets (N, L) with NaN for unknown, probabilities (N, L))}
Curves = Mapping[str, tuple[Array, Array]]


def roc_plot(curves: Curves, labels: LabelSpace, thresholds: Sequence[float] = ()) -> bytes:
    """A PNG with one panel per part: the ROC curve of each label that has positives and negatives, with its AUC.

    A dot marks each label's threshold, where thresholds are given.
    """

    def line(axes: Axes, y: Array, p: Array, colour: Any, threshold: float | None) -> tuple[list[Any], str]:
        false, true, _ = roc_curve(y, p)
        drawn = axes.plot(false, true, color=colour, linewidth=1.6)
        if threshold is not None:
            called = p.astype(np.float64) >= threshold
            axes.plot(called[~y].mean(), called[y].mean(), color=colour, **DOT)
        return drawn, f"{Ranking(y, p).point[0]:.3f}"

    return _panels(curves, labels, thresholds, line, "AUC", ("1 - specificity", "sensitivity"), chance=True)


def pr_plot(curves: Curves, labels: LabelSpace, thresholds: Sequence[float] = ()) -> bytes:
    """A PNG with one panel per part: PPV over sensitivity of each label, with its average precision.

    A dot marks each label's threshold, where thresholds are given.
    """

    def line(axes: Axes, y: Array, p: Array, colour: Any, threshold: float | None) -> tuple[list[Any], str]:
        precision, recall, _ = precision_recall_curve(y, p)
        drawn = axes.step(recall, precision, where="post", color=colour, linewidth=1.6)
        called = p.astype(np.float64) >= threshold if threshold is not None else np.zeros(len(y), bool)
        if called.any():
            axes.plot(called[y].mean(), y[called].mean(), color=colour, **DOT)
        return drawn, f"{Ranking(y, p).point[1]:.3f}"

    return _panels(
        curves, labels, thresholds, line, "Average precision", ("recall (sensitivity)", "precision (PPV)"), chance=False
    )


def reliability_plot(before: Curves, after: Curves) -> bytes:
    """A PNG with one panel per part: share of positives over mean probability in ten bins, all labels pooled.

    Larger dots are more images; below is a histogram of the probabilities. `before` is empty without calibration.
    """
    figure = Figure(figsize=(5.2 * len(after), 5.2), layout="constrained")
    grid = figure.subplots(2, len(after), squeeze=False, height_ratios=(4, 1), sharex="col")
    for (curve, images), part in zip(grid.T, after, strict=True):
        tidy(curve)
        tidy(images)
        curve.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
        both = (("before", before, ORANGE), ("after calibration", after, BLUE))
        for name, source, colour in both if before else (("probabilities as they are", after, BLUE),):
            points = reliability(*source[part])
            x, y = [b["probability"] for b in points], [b["positive"] for b in points]
            curve.plot(x, y, color=colour, linewidth=1.4, label=name)
            curve.scatter(
                x, y, s=[6 + 140 * b["images"] / sum(row["images"] for row in points) for b in points], color=colour
            )
            p = source[part][1][~np.isnan(source[part][0])]
            images.hist(p, bins=np.linspace(0, 1, 21), histtype="step", color=colour, linewidth=1.4)
        curve.set(ylabel="share that is positive", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        curve.set_title(part.capitalize(), parse_math=False)
        curve.legend(frameon=False, fontsize=9)
        images.set(xlabel="probability", ylabel="answers")
        for axis in (curve.yaxis, curve.xaxis):
            axis.set_major_formatter(PercentFormatter(1))
    return png_of(figure)


def _panels(
    curves: Curves,
    labels: LabelSpace,
    thresholds: Sequence[float],
    line: Any,
    legend: str,
    axis: tuple[str, str],
    chance: bool,
) -> bytes:
    figure = Figure(figsize=(5.2 * len(curves), 5.0))
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    colours = matplotlib.colormaps["tab10" if len(labels.outputs) <= 10 else "tab20"]
    for axes, (part, (targets, probabilities)) in zip(panels, curves.items(), strict=True):
        tidy(axes)
        if chance:
            axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
        lines, names = [], []
        for i, name in enumerate(labels.outputs):
            known = ~np.isnan(targets[:, i])
            target, probability = targets[known, i] == 1, probabilities[known, i]
            if 0 < target.sum() < len(target):
                colour = BLUE if len(labels.outputs) == 1 else colours(i % colours.N)
                drawn, value = line(axes, target, probability, colour, thresholds[i] if len(thresholds) else None)
                lines += drawn
                names.append(f"{value}  {name}")
        axes.set(xlabel=axis[0], ylabel=axis[1], xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.set_title(part.capitalize(), parse_math=False)
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.12), "ncols": min(2, max(1, len(names)))}
        shown = axes.legend(lines, names, title=legend, frameon=False, fontsize=9, **below)
        for text in shown.get_texts():
            text.set_parse_math(False)  # a label may hold a dollar sign
    return png_of(figure)


def tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e9ec", linewidth=0.8)
    axes.set_axisbelow(True)


def png_of(figure: Figure) -> bytes:
    """The figure as a PNG."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=144, bbox_inches="tight", pad_inches=0.1)
    return buffer.getvalue()
