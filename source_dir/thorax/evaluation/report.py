"""The report of a run: one HTML page that needs nothing else, its two plots, and a table for terminals and logs."""

from __future__ import annotations

import base64
import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import roc_auc_score, roc_curve

from thorax.evaluation.intervals import METRICS, Array
from thorax.labels import LabelSpace

#: What people call the metrics of a score.
TITLES = {
    "auc": "AUC",
    "average_precision": "Average precision",
    "f1": "F1",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "balanced_accuracy": "Balanced accuracy",
    "accuracy": "Accuracy",
}
TABLE_METRICS = ("auc", "f1", "sensitivity", "specificity")
UNDEFINED = "-"  # plain ASCII: a log may not take more
BLUE, ORANGE, GREEN, GREY = "#1f5f99", "#d1662a", "#3b8a5a", "#8a929a"


def write_report(
    folder: Path,
    *,
    title: str,
    scores: Mapping[str, Mapping[str, Any]],
    history: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Mapping[str, str]],
    curves: Mapping[str, tuple[Array, Array]],
    labels: LabelSpace,
) -> None:
    """Writes report.html, history.png (if there is a history) and roc.png (if there are curves) to `folder`.

    Args:
        folder: made if missing. Each file appears whole or not at all.
        title: heading of the page.
        scores: {part: result of `metrics.score`}, at least one. The headline is that of "test", else "validation".
        history: one row per epoch with epoch, train_loss, validation_loss, auc, f1 and whatever else was logged;
            numbers may be None or NaN. The best epoch is the one with a true "best", else the highest auc.
        facts: {section: {name: value}}, such as "Data", "Configuration" and "Run".
        curves: {part: (targets (N, L), probabilities (N, L))} for the ROC plot.
        labels: names and task.
    """
    folder.mkdir(parents=True, exist_ok=True)
    history_png = history_plot(history) if history else None
    roc_png = roc_plot(curves, labels) if curves else None
    headline = next((part for part in ("test", "validation") if part in scores), next(iter(scores)))
    page = _template().render(
        title=title,
        headline=headline,
        scores={headline: scores[headline], **scores},  # the headline's part comes first
        facts=facts,
        labels=labels,
        metrics=METRICS,
        titles=TITLES,
        scarcest=min(scores[headline]["labels"].items(), key=lambda item: item[1]["positives"]),
        best=best_epoch(history),
        epochs=len(history),
        history_png=history_png and base64.b64encode(history_png).decode(),
        panels=len(curves),
        roc_png=roc_png and base64.b64encode(roc_png).decode(),
    )
    for name, content in (("history.png", history_png), ("roc.png", roc_png), ("report.html", page.encode())):
        if content:
            _write_whole(folder / name, content)


def table(scores: Mapping[str, Mapping[str, Any]], labels: LabelSpace) -> str:
    """The scores as plain text, a block of lines per part, such as

    test: 1,200 films of 410 patients, accuracy 0.941 [0.930, 0.952]
    label        known  positives  threshold  AUC                   F1 ...
    Pneumonia    1,200        300      0.412  0.987 [0.979, 0.994]  ...
    """
    blocks = []
    for part, result in scores.items():
        rows = [["label", "known", "positives", "threshold", *(TITLES[metric] for metric in TABLE_METRICS)]]
        for name in labels.outputs:
            entry = result["labels"][name]
            counts = [f"{entry['n']:,}", f"{entry['positives']:,}", number(entry["threshold"])]
            rows.append([name, *counts, *(cell(entry[metric]) for metric in TABLE_METRICS)])
        if len(labels.outputs) > 1:
            rows.append(["macro", "", "", "", *(cell(result["macro"][metric]) for metric in TABLE_METRICS)])
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            f"{part}: {result['n']:,} films of {result['patients']:,} patients, accuracy {cell(result['accuracy'])}",
            *(_aligned(row, widths) for row in rows),
        ]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def number(value: float | None) -> str:
    """Three decimals, never an exponent; a dash for what is undefined."""
    return UNDEFINED if value is None else f"{value:.3f}"


def span(metric: Mapping[str, float | None]) -> str:
    """The interval alone: "[0.979, 0.994]", or nothing if there is none."""
    return "" if metric["low"] is None else f"[{number(metric['low'])}, {number(metric['high'])}]"


def cell(metric: Mapping[str, float | None]) -> str:
    """Value and interval: "0.987 [0.979, 0.994]"."""
    return f"{number(metric['value'])} {span(metric)}".rstrip()


def best_epoch(history: Sequence[Mapping[str, Any]]) -> Any:
    """The "epoch" of the row marked "best", else of the highest auc (the first of equals), else None."""
    for row in history:
        if row.get("best"):
            return row["epoch"]
    scored = [row for row in history if np.isfinite(_plain(row, "auc"))]
    return max(scored, key=lambda row: float(row["auc"]))["epoch"] if scored else None


def history_plot(history: Sequence[Mapping[str, Any]]) -> bytes:
    """A PNG of the losses and of validation AUC and F1 over the epochs, the best one marked."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    loss, quality = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    _lines(loss, epochs, history, {"train_loss": ("train", GREY), "validation_loss": ("validation", BLUE)})
    _lines(quality, epochs, history, {"auc": ("AUC", BLUE), "f1": ("F1 at 0.5", ORANGE)})
    loss.set_title("Loss")
    quality.set_title("Validation AUC and F1")
    best = best_epoch(history)
    for axes in (loss, quality):
        if best is not None:
            axes.axvline(best, color=GREEN, linestyle="--", linewidth=1.2, label=f"best epoch ({best})")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.legend(frameon=False, fontsize=9)
    return _png(figure)


def roc_plot(curves: Mapping[str, tuple[Array, Array]], labels: LabelSpace) -> bytes:
    """A PNG with one panel per part: the ROC curve of each label that has positives and negatives, with its AUC."""
    figure = Figure(figsize=(6 * len(curves), 5.6))
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    colours = matplotlib.colormaps["tab10" if len(labels.outputs) <= 10 else "tab20"]
    for axes, (part, (targets, probabilities)) in zip(panels, curves.items(), strict=True):
        _tidy(axes)
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
        lines, names = [], []
        for i, name in enumerate(labels.outputs):
            known = ~np.isnan(targets[:, i])
            target, probability = targets[known, i] == 1, probabilities[known, i]
            if 0 < target.sum() < len(target):
                false_positives, true_positives, _ = roc_curve(target, probability)
                colour = BLUE if len(labels.outputs) == 1 else colours(i % colours.N)
                lines += axes.plot(false_positives, true_positives, color=colour, linewidth=1.6)
                names.append(f"{roc_auc_score(target, probability):.3f}  {name}")
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.set_title(part.capitalize(), parse_math=False)
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.12), "ncols": min(2, max(1, len(names)))}
        legend = axes.legend(lines, names, title="AUC", frameon=False, fontsize=8, **below)
        for text in legend.get_texts():
            text.set_parse_math(False)  # a label may hold a dollar sign
    return _png(figure)


def _lines(axes: Axes, epochs: Sequence[Any], history: Sequence[Mapping[str, Any]], series: dict[str, Any]) -> None:
    _tidy(axes)
    for key, (name, colour) in series.items():
        values = [_plain(row, key) for row in history]
        axes.plot(epochs, values, color=colour, label=name, linewidth=1.8, marker="o", markersize=3)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e9ec", linewidth=0.8)
    axes.set_axisbelow(True)


def _plain(row: Mapping[str, Any], key: str) -> float:
    value = row.get(key)
    return float("nan") if value is None else float(value)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    """One line: the name and the metrics to the left, the counts and the threshold to the right."""
    pairs = enumerate(zip(row, widths, strict=True))
    cells = [text.rjust(width) if 1 <= i <= 3 else text.ljust(width) for i, (text, width) in pairs]
    return "  ".join(cells).rstrip()


def _png(figure: Figure) -> bytes:
    """The figure drawn without pyplot, so that no global state or display is touched."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=144, bbox_inches="tight", pad_inches=0.15)
    return buffer.getvalue()


def _template() -> Any:
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters.update(number=number, span=span, cell=cell)
    return environment.get_template("report.html.jinja")


def _write_whole(path: Path, content: bytes) -> None:
    """Writes a file that is never seen half-written."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
