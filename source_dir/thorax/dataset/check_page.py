"""The findings of `check` as one self-contained HTML page with thumbnails."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from thorax.data.decoders import decode
from thorax.dataset.checking import CheckReport

#: Groups of images that the page shows of each finding, images of each group, and the side of a thumbnail in pixels.
GROUPS, IMAGES, SIDE = 12, 6, 128


def check_page(report: CheckReport) -> str:
    """The page."""
    from jinja2 import Environment, FileSystemLoader

    images = report.images

    def shown(group: list[int]) -> list[dict[str, str]]:
        return [
            {
                "id": images.ids[k],
                "place": images.place(k),
                "labels": images.labels(k),
                "about": _about(report, k),
                "png": thumbnail(report, k),
            }
            for k in group[:IMAGES]
        ]

    sections = [
        {"finding": f, "shown": [shown(group) for group in f.images[:GROUPS]], "more": max(0, len(f.images) - GROUPS)}
        for f in report.findings
    ]
    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    ).get_template("check.html.jinja")
    return template.render(
        summary=report.parts(),
        sections=sections,
        images=len(images),
        errors=len(report.errors),
        warnings=len(report.warnings),
    )


def _about(report: CheckReport, k: int) -> str:
    info = report.infos[k]
    return info.problem.split(": ", 1)[-1] if info.problem else f"{info.header.width}x{info.header.height} {info.kind}"


def thumbnail(report: CheckReport, k: int) -> str:
    """A PNG as base64; "" for an image that cannot be read."""
    info = report.infos[k]
    if info.problem:
        return ""
    scale = SIDE / max(info.header.width, info.header.height)
    image = decode(
        report.images.sources[k],
        report.images.ids[k],
        lambda width, height: (max(1, round(width * scale)), max(1, round(height * scale))),
    )
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()
