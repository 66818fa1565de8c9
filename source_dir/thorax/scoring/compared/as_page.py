"""A comparison as one HTML page that needs no network: tables with bars."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import thorax.evaluation
from thorax.scoring.compared.as_text import crosstab
from thorax.scoring.compared.comparing import RunComparison
from thorax.scoring.compared.rows import baseline_titles, heading, sections

#: Labels whose crosstabs the page shows, at most.
CROSSED = 60


def page(comparison: RunComparison) -> str:
    """The page."""
    folders = [Path(__file__).parent, Path(thorax.evaluation.__file__).parent / "page"]
    environment = Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    labels = comparison.labels
    crossed = [""] if labels.task != "multilabel" else list(labels.outputs[:CROSSED])
    return environment.get_template("compare.html.jinja").render(
        comparison=comparison,
        heading=heading(comparison),
        reach=max([abs(found["difference"]) for found in _differences(comparison)] or [1.0]) or 1.0,
        sections=sections(comparison),
        baselines=baseline_titles(),
        crosstabs={label: {run: crosstab(comparison, run, label) for run in comparison.names} for label in crossed},
        classes=list(labels.classes) if labels.task != "multilabel" else ["no", "yes"],
    )


def _differences(comparison: RunComparison) -> list[Mapping[str, Any]]:
    """The entries that are defined."""
    entries = [
        entry for found in comparison.differences.values() for entry in (*found["labels"].values(), found["macro"])
    ]
    return [entry for entry in entries if entry["difference"] is not None]


def inline(comparison: RunComparison) -> str:
    """The page in a frame of its own, for a notebook."""
    text = escape(page(comparison), quote=True)
    return f'<iframe srcdoc="{text}" style="width: 100%; height: 900px; border: 0"></iframe>'
