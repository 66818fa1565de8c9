"""Check a set before a job is paid for: images that cannot be read or show nothing, duplicates, patients in two parts,
labels
that contradict, classes without images, shifts between parts, and labels that file properties give away.

Exit code 1 where there are errors, 0 where there are warnings or nothing.

examples:
    python launch/prepare.py check images/ --html check.html
    python launch/prepare.py check --train images/train --test images/test --json check.json
"""

from __future__ import annotations

import argparse
import base64
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thorax.dataset import inspect
from thorax.dataset.findings import Finding, find
from thorax.dataset.inspect import ImageInfo, ImageInventory
from thorax.dataset.reading import write_text
from thorax.files import check_output

#: Groups of images that the page shows of each finding, and the side of a thumbnail.
SHOWN, SIDE = 12, 128


def add_arguments(parser: argparse.ArgumentParser) -> None:
    inspect.add_arguments(parser)
    parser.add_argument(
        "--patient-scope",
        choices=("global", "channel"),
        default="global",
        help="channel: the parts count patients anew (Kaggle's chest_xray)",
    )
    parser.add_argument(
        "--smallest", type=int, default=64, metavar="PIXELS", help="images with a shorter side are named (default: 64)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all findings with all images")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write one page with thumbnails")


def run(args: argparse.Namespace) -> int:
    images = inspect.read_parts(args)
    for flag, file in (("--json", args.json), ("--html", args.html)):
        if file:
            check_output(file, flag)
    looks = list(inspect.each(inspect.look, images.sources, args.processes, "reading"))
    found = sorted(find(images, looks, args.smallest, args.patient_scope), key=lambda finding: finding.level != "error")
    summary = summarised(images, looks)
    show(summary, found)
    levels = Counter(finding.level for finding in found)
    if args.json:
        write_text(
            json.dumps(as_json(images, summary, found), indent=1, ensure_ascii=False) + "\n", args.json, "report"
        )
    if args.html:
        write_text(page(images, looks, summary, found), args.html, "report")
    print(
        f"{len(images)} images: {levels['error']} errors, {levels['warning']} warnings"
        + "".join(f"; {f}" for f in (args.json, args.html) if f)
    )
    return 1 if levels["error"] else 0


def summarised(images: ImageInventory, looks: Sequence[ImageInfo]) -> list[dict[str, Any]]:
    """What each part holds."""
    rows = []
    for part in images.part_names:
        places = np.flatnonzero(images.parts == part).tolist()
        known = [looks[k] for k in places if not looks[k].problem]
        sides = [(look.width, look.height) for look in known]
        rows.append(
            {
                "part": part,
                "images": len(places),
                "patients": len({images.patients[k] for k in places}),
                "labels": {name: int((images.targets[places, k] == 1).sum()) for k, name in enumerate(images.names)},
                "kinds": dict(Counter(f"{look.kind} {look.mode} {look.bits} bits" for look in known).most_common()),
                "smallest": min(sides, key=lambda s: s[0] * s[1], default=None),
                "largest": max(sides, key=lambda s: s[0] * s[1], default=None),
            }
        )
    return rows


def show(summary: list[dict[str, Any]], found: list[Finding]) -> None:
    """Prints what the set holds, and the findings."""
    from rich.markup import escape
    from rich.table import Table

    out = inspect.console()
    table = Table("part", "images", "patients", "labels", "kinds", "sizes", title_justify="left")
    for row in summary:
        few = dict(list(row["labels"].items())[:15])
        sizes = " to ".join(dict.fromkeys(f"{s[0]}x{s[1]}" for s in (row["smallest"], row["largest"]) if s))
        counts = (
            "\n".join(f"{n} {k}" for k, n in few.items()),
            "\n".join(f"{n} {k}" for k, n in list(row["kinds"].items())[:6]),
        )
        table.add_row(row["part"], str(row["images"]), str(row["patients"]), *map(escape, counts), sizes)
    out.print(table)
    if found:
        table = Table("", "check", "finding")
        for finding in found:
            table.add_row(
                f"[{'red' if finding.level == 'error' else 'yellow'}]{finding.level}[/]",
                finding.check,
                escape(finding.message),
            )
        out.print(table)


def as_json(images: ImageInventory, summary: list[dict[str, Any]], found: list[Finding]) -> dict[str, Any]:
    def image(k: int) -> dict[str, str]:
        return {
            "part": str(images.parts[k]),
            "id": images.ids[k],
            "patient": images.patients[k],
            "labels": images.labels(k),
        }

    findings = [
        {
            "level": f.level,
            "check": f.check,
            "message": f.message,
            "images": [[image(k) for k in group] for group in f.groups],
        }
        for f in found
    ]
    return {"version": 1, "parts": summary, "findings": findings}


def page(
    images: ImageInventory, looks: Sequence[ImageInfo], summary: list[dict[str, Any]], found: list[Finding]
) -> str:
    """One self-contained HTML page."""
    from jinja2 import Environment, FileSystemLoader

    def shown(group: list[int]) -> list[dict[str, str]]:
        return [
            {
                "id": images.ids[k],
                "place": images.place(k),
                "labels": images.labels(k),
                "told": _told(looks[k]),
                "png": thumbnail(images, looks, k),
            }
            for k in group[:6]
        ]

    sections = [
        {"finding": f, "shown": [shown(group) for group in f.groups[:SHOWN]], "more": max(0, len(f.groups) - SHOWN)}
        for f in found
    ]
    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    ).get_template("check.html.jinja")
    return template.render(
        summary=summary, sections=sections, images=len(images), levels=Counter(f.level for f in found)
    )


def _told(look: ImageInfo) -> str:
    return (
        look.problem.split(": ", 1)[-1]
        if look.problem
        else f"{look.width}x{look.height} {look.kind} {look.mode} {look.bits} bits"
    )


def thumbnail(images: ImageInventory, looks: Sequence[ImageInfo], k: int) -> str:
    """A PNG as base64; "" for an image that cannot be read."""
    from PIL import Image

    from thorax.data.decoders import decode

    if looks[k].problem:
        return ""
    scale = SIDE / max(looks[k].width, looks[k].height)
    image = decode(
        images.sources[k],
        images.ids[k],
        lambda width, height: (max(1, round(width * scale)), max(1, round(height * scale))),
    )
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()
