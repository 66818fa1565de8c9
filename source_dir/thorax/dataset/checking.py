"""Check a set before training: images that cannot be read or show nothing, duplicates, patients in two parts, labels
that contradict, classes without images, shifts between parts, and labels that properties of the files give away."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import thorax.evaluation
from thorax.data.decoders import GRAY, RGB, DecodeError, decode
from thorax.dataset.findings import Finding, find
from thorax.dataset.inspection import ImageInfo, inspect_all, inspect_image
from thorax.dataset.inventory import ImageInventory, read_inventory
from thorax.evaluation.sample_grid import ClassSamples, samples_of
from thorax.text import breakable, counted

#: Groups of images that the page shows of each finding, images of each group, and the side of a thumbnail in pixels.
GROUPS, IMAGES, SIDE = 12, 6, 128


@dataclass(frozen=True)
class CheckReport:
    """What `check` found.

    Attributes:
        images: the images of all parts.
        infos: what each of them is.
        findings: errors first, each in the order of the checks; their `images` are indices into `images`.
    """

    images: ImageInventory
    infos: list[ImageInfo]
    findings: list[Finding]

    @property
    def errors(self) -> list[Finding]:
        """Findings that training would suffer from."""
        return [finding for finding in self.findings if finding.level == "error"]

    @property
    def warnings(self) -> list[Finding]:
        """Findings to know about."""
        return [finding for finding in self.findings if finding.level == "warning"]

    def parts(self) -> list[dict[str, Any]]:
        """What each part holds: images, patients, labels, kinds of files, smallest and largest image."""
        rows, images = [], self.images
        for part in images.part_names:
            places = np.flatnonzero(images.parts == part).tolist()
            known = [self.infos[k] for k in places if not self.infos[k].problem]
            sides = [(info.header.width, info.header.height) for info in known]
            rows.append(
                {
                    "part": part,
                    "images": len(places),
                    "patients": len({images.patients[k] for k in places}),
                    "labels": {n: int((images.targets[places, k] == 1).sum()) for k, n in enumerate(images.names)},
                    "kinds": dict(Counter(info.kind for info in known).most_common()),
                    "smallest": min(sides, key=lambda s: s[0] * s[1], default=None),
                    "largest": max(sides, key=lambda s: s[0] * s[1], default=None),
                }
            )
        return rows

    def to_dict(self) -> dict[str, Any]:
        """All findings with all images, for JSON."""
        images = self.images

        def image(k: int) -> dict[str, str]:
            return {
                "part": str(images.parts[k]),
                "id": images.ids[k],
                "patient": images.patients[k],
                "labels": images.labels(k),
            }

        findings = [
            {
                "level": finding.level,
                "check": finding.check,
                "message": finding.message,
                "images": [[image(k) for k in group] for group in finding.images],
            }
            for finding in self.findings
        ]
        return {"version": 1, "parts": self.parts(), "findings": findings}


def check(
    images: Path | Mapping[str, Path] | ImageInventory,
    smallest: int = 64,
    patient_scope: str = "global",
    processes: int = 1,
) -> CheckReport:
    """Reads every image once and checks the set.

    Args:
        images: a folder in any format, part (train, validation, test) -> folder, or what read_inventory returns.
        smallest: images with a shorter side in pixels are a finding.
        patient_scope: global, or channel where each part counts its patients anew (Kaggle's chest_xray).
        processes: processes that read images.

    Raises:
        ThoraxError: see read_inventory.
    """
    inventory = images if isinstance(images, ImageInventory) else read_inventory(images)
    infos = list(inspect_all(inspect_image, inventory.sources, processes))
    return check_of(inventory, infos, smallest, patient_scope)


def check_of(inventory: ImageInventory, infos: list[ImageInfo], smallest: int, patient_scope: str) -> CheckReport:
    """The report on images that were read; see `check`.

    Args:
        inventory: the images.
        infos: what each of them is.
    """
    findings = sorted(find(inventory, infos, smallest, patient_scope), key=lambda finding: finding.level != "error")
    return CheckReport(inventory, infos, findings)


def check_page(report: CheckReport) -> str:
    """The findings as one self-contained HTML page with thumbnails."""
    images = report.images

    def shown(group: list[int]) -> list[dict[str, str]]:
        return [
            {
                "id": images.ids[k],
                "place": images.place(k),
                "labels": images.labels(k),
                "about": _about(report, k),
                "png": _thumbnail(report, k),
            }
            for k in group[:IMAGES]
        ]

    sections = [
        {"finding": f, "shown": [shown(group) for group in f.images[:GROUPS]], "more": max(0, len(f.images) - GROUPS)}
        for f in report.findings
    ]
    page: str = (
        environment()
        .get_template("check.html.jinja")
        .render(
            samples_of_classes=samples(report.images, report.infos),
            summary=report.parts(),
            sections=sections,
            images=len(images),
            errors=len(report.errors),
            warnings=len(report.warnings),
        )
    )
    return page


def samples(images: ImageInventory, infos: list[ImageInfo]) -> list[ClassSamples]:
    """Some images of each class, of those that can be read."""
    readable = np.array([k for k, info in enumerate(infos) if not info.problem], np.int64)

    def small(place: int) -> Image.Image | None:  # the image is on another machine
        shown = infos[int(readable[place])].small
        return None if shown is None else Image.fromarray(shown).resize((SIDE, SIDE))

    seen = images.take(readable)
    return samples_of(seen.names, seen.targets, seen.sources, seen.ids, seen.exclusive, small)


def environment() -> Any:
    """What the pages of this package are made with."""
    from jinja2 import Environment, FileSystemLoader

    folders = [Path(__file__).parent, Path(thorax.evaluation.__file__).parent / "page"]
    made = Environment(loader=FileSystemLoader(folders), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"counted": counted, "breakable": breakable}
    made.filters["picture"] = lambda content, kind: f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return made


def _about(report: CheckReport, k: int) -> str:
    info = report.infos[k]
    return info.problem.split(": ", 1)[-1] if info.problem else f"{info.header.width}x{info.header.height} {info.kind}"


def _thumbnail(report: CheckReport, k: int) -> str:
    """A PNG as base64, in the image's colours; "" for an image that cannot be read. Of one that is on another machine
    its small version."""
    info = report.infos[k]
    if info.problem:
        return ""
    scale = SIDE / max(info.header.width, info.header.height)

    def scaled(width: int, height: int) -> tuple[int, int]:
        return max(1, round(width * scale)), max(1, round(height * scale))

    try:
        color = RGB if any(info.color) else GRAY
        picture = Image.fromarray(decode(report.images.sources[k], report.images.ids[k], scaled, color=color))
    except DecodeError:
        if info.small is None:
            return ""
        picture = Image.fromarray(info.small).resize(scaled(info.header.width, info.header.height))
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()
