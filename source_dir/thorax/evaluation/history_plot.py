"""The epochs of a run as a picture: losses, AUC and F1, accuracy, time and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from thorax.evaluation.plots import BLUE, GREEN, GREY, ORANGE, png_of, tidy

#: {title: {key of the history's rows: (name, colour)}}; a panel of which no row has a value is left out.
Panels = Mapping[str, Mapping[str, tuple[str, str]]]


def best_epoch(history: Sequence[Mapping[str, Any]]) -> Any:
    """The "epoch" of the row marked "best", else of the highest auc (the first of equals), else None."""
    for row in history:
        if row.get("best"):
            return row["epoch"]
    scored = [row for row in history if np.isfinite(_plain(row, "auc"))]
    return max(scored, key=lambda row: float(row["auc"]))["epoch"] if scored else None


def history_plot(history: Sequence[Mapping[str, Any]], cut: bool = True) -> bytes:
    """A PNG over the epochs of the losses, AUC and F1, accuracy, seconds and cost, the best epoch marked.

    Args:
        cut: whether F1 and accuracy are those of decisions at 0.5, and not of the most probable class.
    """
    panels = [(title, series) for title, series in _panels(cut).items() if _known(history, series)]
    across = 2 if len(panels) != 3 else 3
    figure = Figure(figsize=(5.2 * across, 3.4 * -(-len(panels) // across)), layout="constrained")
    grid = figure.subplots(-(-len(panels) // across), across, squeeze=False).ravel()
    best, epochs = best_epoch(history), [row["epoch"] for row in history]
    for axes, (title, series) in zip(grid, panels, strict=False):
        _lines(axes, epochs, history, {key: series[key] for key in series if _known(history, [key])})
        axes.set_title(title, parse_math=False)
        if title.endswith(("of each epoch", "in dollars")):
            axes.set_ylim(bottom=0)
        if best is not None:
            axes.axvline(best, color=GREEN, linestyle="--", linewidth=1.2, label=f"best epoch ({best})")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.legend(frameon=False, fontsize=9)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return png_of(figure)


def _panels(cut: bool) -> Panels:
    at = " at 0.5" if cut else ""
    return {
        "Loss": {"train_loss": ("train", GREY), "validation_loss": ("validation", BLUE)},
        "AUC and F1": {
            "train_auc": ("AUC, train", GREY),
            "auc": ("AUC, validation", BLUE),
            "f1": (f"F1{at}, validation", ORANGE),
        },
        f"Accuracy{at}": {"train_accuracy": ("train", GREY), "accuracy": ("validation", BLUE)},
        "Seconds of each epoch": {"epoch_seconds": ("seconds", BLUE)},
        "Cost of each epoch in dollars": {"epoch_cost": ("dollars", ORANGE)},
    }


def _known(history: Sequence[Mapping[str, Any]], keys: Any) -> bool:
    return bool(np.isfinite([_plain(row, key) for row in history for key in keys]).any())


def _lines(axes: Axes, epochs: Sequence[Any], history: Sequence[Mapping[str, Any]], series: dict[str, Any]) -> None:
    tidy(axes)
    for key, (name, colour) in series.items():
        values = [_plain(row, key) for row in history]
        axes.plot(epochs, values, color=colour, label=name, linewidth=1.8, marker="o", markersize=3)


def _plain(row: Mapping[str, Any], key: str) -> float:
    value = row.get(key)
    return float("nan") if value is None else float(value)
