"""A bundle as a notebook shows it: what the model is, and how well it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from thorax.serving.bundle_contents import BundleContents

_METRICS = {"auc": "AUC", "sensitivity": "sensitivity", "specificity": "specificity", "f1": "F1"}


def card(bundle: BundleContents, folder: Path) -> str:
    """An HTML table: network, images, labels with their thresholds, scores with 95 % intervals, origin."""
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(text)}</td></tr>'
        for name, text in [*_facts(bundle), ("Folder", str(folder))]
    )
    return f"<table><caption>Thorax bundle</caption><tbody>{rows}</tbody></table>"


def _facts(bundle: BundleContents) -> Iterator[tuple[str, str]]:
    images, thresholds = bundle.preprocessing, bundle.thresholds
    yield "Network", bundle.network
    yield "Images", f"{images.height} x {images.width} pixels, {images.channels} channel(s), fit {images.fit}"
    yield "Task", f"{bundle.space.task}: {', '.join(bundle.space.classes)}"
    if bundle.space.task != "multiclass":
        yield "Thresholds", ", ".join(f"{name} {thresholds.get(name, 0.5):.3f}" for name in bundle.labels)
    for part in ("validation", "test"):
        scores = bundle.metrics.get(part) or {}
        macro = scores.get("macro") or {}
        values = [f"{title} {_interval(macro[name])}" for name, title in _METRICS.items() if _defined(macro.get(name))]
        if values:
            yield part.capitalize(), f"{scores.get('n', '?')} images: {', '.join(values)}"
    yield "Made with", ", ".join(f"{name} {version}" for name, version in bundle.versions.items())


def _defined(entry: Any) -> bool:
    return isinstance(entry, Mapping) and entry.get("value") is not None


def _interval(entry: Mapping[str, Any]) -> str:
    """0.987 [0.979, 0.994]"""
    bounds = (entry.get("low"), entry.get("high"))
    interval = "" if None in bounds else f" [{bounds[0]:.3f}, {bounds[1]:.3f}]"
    return f"{entry['value']:.3f}{interval}"
