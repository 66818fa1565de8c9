"""The report: one HTML page that needs nothing else, its plots as PNG, and the same numbers as JSON."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from thorax.evaluation import formatting, plots
from thorax.evaluation.baselines import baselines, shown_rows
from thorax.evaluation.binning import calibration_errors
from thorax.evaluation.calibration import Calibration, reliability
from thorax.evaluation.confusion_plot import confusion_plot
from thorax.evaluation.history_plot import best_epoch, history_plot
from thorax.evaluation.metric_table import METRICS
from thorax.evaluation.mistakes import Mistake
from thorax.evaluation.plots import Curves
from thorax.evaluation.sample_grid import ClassSamples
from thorax.files import write_whole
from thorax.labels import LabelSpace
from thorax.shown import visible_lines
from thorax.text import breakable, counted, duration
from thorax.tracking.history import training_summary

#: Parts of a data set; any other name is what a person called the images.
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Report:
    """All that the report shows; the same for a training run and for `thorax evaluate`.

    Attributes:
        title: heading of the page.
        labels: names and task.
        scores: {part: result of `metrics.score`}, at least one, of images or of studies. The headline is that of
            "test", else the first of images but "validation".
        curves: {part: (targets (N, L), calibrated probabilities (N, L))} of the same parts, those of studies left out.
        calibrator: the calibration.
        held_out: {output: {"method", "ece_before", "ece"}} on validation, cross-fitted over patients (metrics.json's
            "calibration"); empty: not known.
        rule: how the thresholds were chosen, as text.
        history: one row per epoch with epoch, train_loss, validation_loss, auc, f1 and whatever else was logged;
            numbers may be None or NaN. The best epoch is the one with a true "best", else the highest auc.
        data: {part: {"images": n, "patients": n, class: images ...}} of all images the run saw.
        facts: {section: {name: value}}, such as "Run" and "Configuration".
        mistakes, right: the worst and the surest, of the headline's part, with the id of each one's image.
        samples: images of each class.
        comparison: result of `comparison.compare`, and the names of both bundles.
        groups: result of `subgroups.subgroups`, of the headline's part.
        shifts: what differs from the training data, see `population.shifts`.
        batch: a PNG of training images as the network sees them; empty: none.
        findings: of the observers of the training (tracking.observers): {"rule", "step", "message"} each.
    """

    title: str
    labels: LabelSpace
    scores: Mapping[str, Mapping[str, Any]]
    curves: Curves
    calibrator: Calibration
    held_out: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    rule: str = ""
    history: Sequence[Mapping[str, Any]] = ()
    data: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    mistakes: Sequence[tuple[str, Mistake]] = ()
    right: Sequence[tuple[str, Mistake]] = ()
    samples: Sequence[ClassSamples] = ()
    comparison: Mapping[str, Any] | None = None
    compared: tuple[str, str] = ("", "")
    groups: Sequence[Mapping[str, Any]] = ()
    shifts: Sequence[Mapping[str, Any]] = ()
    findings: Sequence[Mapping[str, Any]] = ()
    batch: bytes = b""

    @property
    def headline(self) -> str:
        """The part that the page begins with."""
        return next(
            (
                part
                for part in ("test", *self.scores)
                if part in self.scores and part != "validation" and self.scores[part].get("unit", "image") == "image"
            ),
            next(iter(self.scores)),
        )

    @property
    def calibrated(self) -> bool:
        """Whether any probability is not as the network gave it."""
        return self.calibrator.changes

    @cached_property
    def baselines(self) -> dict[str, dict[str, Any]]:
        """{part: scores of models that never look at an image}, see `baselines.baselines`."""
        return {part: baselines(result, self.labels) for part, result in self.scores.items()}

    @cached_property
    def before(self) -> Curves:
        """The curves as they were before calibration."""
        return {part: (y, self.calibrator.undone(p, self.labels.task)) for part, (y, p) in self.curves.items()}

    @cached_property
    def plots(self) -> dict[str, bytes]:
        """{file name: PNG}: the confusion; of curves roc, pr and reliability; of a run its history."""
        exclusive = self.labels.task == "multiclass"
        found = {"history.png": history_plot(self.history, cut=not exclusive)} if self.history else {}
        found["confusion.png"] = confusion_plot(self.scores[self.headline], self.labels)
        if self.curves:
            ordered = {part: self.curves[part] for part in (self.headline, *self.curves)}
            cut = [] if exclusive else [entry["threshold"] for entry in self.scores[self.headline]["labels"].values()]
            found |= {
                "roc.png": plots.roc_plot(ordered, self.labels, cut),
                "pr.png": plots.pr_plot(ordered, self.labels, cut),
                "reliability.png": plots.reliability_plot(self.before if self.calibrated else {}, ordered),
            }
        return found

    def calibration(self) -> dict[str, dict[str, Any]]:
        """{output: {"temperature", "bias", "method", "ece_before", "ece", "validation"}}, the errors on the headline's
        images; "validation" has those of held-out patients of validation where they are known."""
        result = {}
        y, p = self.before[self.headline]
        error = calibration_errors(y, p)
        found = self.calibrator
        rows = zip(self.labels.outputs, found.temperatures.tolist(), found.biases.tolist(), error.tolist(), strict=True)
        methods = dict(zip(self.labels.outputs, found.methods, strict=False))
        for name, temperature, bias, before in rows:
            result[name] = {
                "temperature": temperature,
                "bias": bias,
                "method": methods.get(name),
                "validation": self.held_out.get(name),
                "ece_before": _finite(before),
                "ece": self.scores[self.headline]["labels"][name]["ece"]["value"],
            }
        return result

    def to_dict(self) -> dict[str, Any]:
        """All numbers of the page, as json.dumps takes them."""
        return {
            "title": self.title,
            "labels": self.labels.to_dict(),
            "headline": self.headline,
            "scores": dict(self.scores),
            "baselines": self.baselines,
            "threshold_rule": self.rule,
            "data": {part: dict(counts) for part, counts in self.data.items()},
            **(self._calibration_numbers() if self.curves else {}),
            "history": [{key: _finite(value) for key, value in row.items()} for row in self.history],
            "comparison": self.comparison
            and {"first": self.compared[0], "second": self.compared[1], **self.comparison},
            "subgroups": list(self.groups),
            "shifts": list(self.shifts),
            "findings": [dict(finding) for finding in self.findings],
            "facts": {section: dict(rows) for section, rows in self.facts.items()},
            "mistakes": self._answers(self.mistakes),
            "right": self._answers(self.right),
        }

    def _answers(self, shown: Sequence[tuple[str, Mistake]]) -> list[dict[str, Any]]:
        return [
            {
                "id": name,
                "said": m.called,  # the key of report.json since version 0.1
                "truth": m.truth,
                "probability": m.probability,
                "label": self.labels.outputs[m.output],
                **({"answers": m.answers, "labels": m.labels} if m.answers else {}),
            }
            for name, m in shown
        ]

    def _calibration_numbers(self) -> dict[str, Any]:
        """The calibration and its errors, and the reliability curves of each part."""
        pairs = {part: (self.before[part], after) for part, after in self.curves.items()}
        curves = {
            p: {"before": reliability(*before), "after": reliability(*after)} for p, (before, after) in pairs.items()
        }
        return {"calibration": self.calibration(), "reliability": curves}

    def html(self) -> str:
        """The page."""
        environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "page"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        for name in ("number", "span", "cell", "percent", "difference", "shown", "rows_of"):
            environment.filters[name] = getattr(formatting, name)
        environment.filters |= {"picture": _picture, "counted": counted, "breakable": breakable}
        environment.filters["duration"], environment.filters["shown_rows"] = duration, shown_rows
        scores = {part: self.scores[part] for part in (self.headline, *self.scores)}
        shown = {name: METRICS[name] for name in METRICS if METRICS[name].in_report}
        return environment.get_template("report.html.jinja").render(
            report=self,
            where=f"the {self.headline} set" if self.headline in PARTS else f"“{self.headline}”",
            labels=self.labels,
            scores=scores,
            result=scores[self.headline],
            ranking={name: metric for name, metric in shown.items() if metric.kind != "decision"},
            decisions={name: metric for name, metric in shown.items() if metric.kind == "decision"},
            by_group={name: METRICS[name] for name in METRICS if METRICS[name].by_group},
            many=len(self.labels.outputs) > 1,
            plots=self.plots,
            best=best_epoch(self.history),
            spent=training_summary(self.history),
            calibration=self.calibration() if self.curves else {},
            scarcest=min(scores[self.headline]["labels"].items(), key=lambda item: item[1]["positives"]),
        )

    def inline(self) -> str:
        """The page in a frame of its own, as a notebook shows it: its styles do not reach the notebook's."""
        page = escape(self.html(), quote=True)
        return f'<iframe srcdoc="{page}" style="width: 100%; height: 900px; border: 0"></iframe>'

    def write(self, folder: Path) -> None:
        """Writes report.html, report.json and the plots to `folder`, each whole or not at all.

        Raises:
            ThoraxError: the folder cannot be written, or the disk is full.
        """
        pages = {"report.json": self.json().encode(), "report.html": visible_lines(self.html()).encode()}
        for name, content in (self.plots | pages).items():
            write_whole(content, folder / name, "report")

    def json(self) -> str:
        """`to_dict` as text."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)


def _finite(value: Any) -> Any:
    """The value; None for NaN and infinity, which JSON has not."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _picture(content: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
