"""A bundle as a notebook shows it: what the model is, and how well it does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from thorax.data.decoders import RGB
from thorax.data.images import Preprocessing
from thorax.serving.bundle_contents import BundleContents
from thorax.text import counted

_METRICS = {"auc": "AUC", "sensitivity": "Sensitivity", "specificity": "Specificity", "f1": "F1"}


def card(bundle: BundleContents, folder: Path) -> str:
    """Two HTML tables: network, images and origin; and for each label its threshold and scores with 95 % intervals."""
    return _table([*_facts(bundle), ("Folder", str(folder))]) + "".join(
        f"<p>{part.capitalize()}, {scores.get('n', '?')} images</p>{_table(_scores(bundle, scores))}"
        for part in ("validation", "test")
        if (scores := bundle.metrics.get(part) or {}).get("labels")
    )


def _facts(bundle: BundleContents) -> Iterator[tuple[str, str]]:
    images = bundle.preprocessing
    yield "Network", bundle.network
    yield "Images", f"{images.height} x {images.width} pixels, {_channels(images)}, fit {images.fit}"
    yield "Task", f"{bundle.space.task}: {', '.join(bundle.space.classes)}"
    yield "Made with", ", ".join(f"{name} {version}" for name, version in bundle.versions.items())


def _channels(images: Preprocessing) -> str:
    return "in colour" if images.color == RGB else counted(images.channels, "channel")


def _scores(bundle: BundleContents, scores: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    yield ("Label", "Threshold", *_METRICS.values())
    for name in bundle.labels:
        entry = scores["labels"].get(name, {})
        yield (name, f"{bundle.thresholds.get(name, 0.5):.3f}", *(_interval(entry.get(metric)) for metric in _METRICS))
    if len(bundle.labels) > 1:
        yield ("Mean", "", *(_interval(scores.get("macro", {}).get(metric)) for metric in _METRICS))


def _interval(entry: dict[str, Any] | None) -> str:
    """0.987 [0.979, 0.994]; "-" for what is undefined."""
    if not entry or entry.get("value") is None:
        return "-"
    bounds = (entry.get("low"), entry.get("high"))
    return f"{entry['value']:.3f}" + ("" if None in bounds else f" [{bounds[0]:.3f}, {bounds[1]:.3f}]")


def _table(rows: Iterable[Sequence[str]]) -> str:
    cells = ("".join(f'<td style="text-align:left">{escape(text)}</td>' for text in row) for row in rows)
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
