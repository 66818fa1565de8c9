"""Mean and standard deviation over all pixels of the training part, as the network's decoder sees them; class counts,
sizes,
colour modes and bits, as a table and a picture.

The mean and deviation are of grey / 255, as the hyperparameter normalization=dataset uses them.

examples:
    python launch/prepare.py stats images/train --png stats.png
    python launch/prepare.py stats --train images/train --json stats.json
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thorax.dataset import inspect
from thorax.dataset.inspect import ImageInventory, Pixels
from thorax.dataset.reading import write_text
from thorax.errors import ThoraxError
from thorax.files import check_output, write_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    inspect.add_arguments(parser)
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw a picture")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")


@dataclass(frozen=True)
class Stats:
    """Of the training part: counts of (256,) grey levels, and what each image is."""

    images: ImageInventory
    seen: list[Pixels]
    grey: np.ndarray

    @property
    def mean(self) -> float:
        return float(self.grey @ np.arange(256) / max(self.grey.sum(), 1) / 255)

    @property
    def deviation(self) -> float:
        squares = float(self.grey @ (np.arange(256) / 255) ** 2 / max(self.grey.sum(), 1))
        return float(max(squares - self.mean**2, 0.0) ** 0.5)


def run(args: argparse.Namespace) -> int:
    images = training_part(inspect.read_parts(args))
    for flag, file in (("--json", args.json), ("--png", args.png)):
        if file:
            check_output(file, flag)
    seen = list(inspect.each(inspect.pixels, images.sources, args.processes, "reading"))
    if len(bad := [p.problem for p in seen if p.problem]) == len(seen):
        raise ThoraxError(f"no image could be read; the first: {bad[0]}")
    stats = Stats(images, seen, np.stack([p.counts for p in seen]).sum(axis=0))
    told = figures(stats)
    show(told)
    for problem in bad[:3]:
        print(f"warning: left out: {problem}")
    if args.json:
        write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", args.json, "figures")
    if args.png:
        draw(stats, args.png)
    return 0


def training_part(images: ImageInventory) -> ImageInventory:
    """The images of train, or all where there are no parts."""
    keep = np.flatnonzero(images.parts == "train") if "train" in images.parts else np.arange(len(images))

    def pick(column: list[Any]) -> list[Any]:
        return [column[k] for k in keep]

    return ImageInventory(
        images.names,
        images.parts[keep],
        pick(images.ids),
        pick(images.patients),
        pick(images.sources),
        images.targets[keep],
        images.exclusive,
        images.notes,
    )


def figures(stats: Stats) -> dict[str, Any]:
    images, known = stats.images, [p for p in stats.seen if not p.problem]
    widths, heights = np.array([p.width for p in known]), np.array([p.height for p in known])
    return {
        "images": len(images),
        "unreadable": len(images) - len(known),
        "patients": len(set(images.patients)),
        "pixels": int(stats.grey.sum()),
        "mean": round(stats.mean, 6),
        "deviation": round(stats.deviation, 6),
        "labels": {
            name: {
                "images": int((images.targets[:, k] == 1).sum()),
                "unknown": int(np.isnan(images.targets[:, k]).sum()),
            }
            for k, name in enumerate(images.names)
        },
        "width": dict(zip(("least", "median", "most"), map(int, np.percentile(widths, [0, 50, 100])), strict=True)),
        "height": dict(zip(("least", "median", "most"), map(int, np.percentile(heights, [0, 50, 100])), strict=True)),
        "modes": dict(Counter(p.mode for p in known).most_common()),
        "bits": {str(b): n for b, n in Counter(p.bits for p in known).most_common()},
        "kinds": dict(Counter(p.kind for p in known).most_common()),
    }


def show(told: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table("what", "value")

    def row(what: str, value: str) -> None:
        table.add_row(escape(what), escape(value))

    row(
        "images",
        f"{told['images']} of {told['patients']} patients"
        + (f", {told['unreadable']} not readable" if told["unreadable"] else ""),
    )
    row("mean, deviation", f"{told['mean']:.6f}, {told['deviation']:.6f} (grey / 255, {told['pixels']:,} pixels)")
    for name, n in told["labels"].items():
        row(
            f"label {name}",
            f"{n['images']} ({n['images'] / max(told['images'] - n['unknown'], 1):.1%})"
            + (f", {n['unknown']} unknown" if n["unknown"] else ""),
        )
    for side in ("width", "height"):
        row(side, "{least} to {most}, median {median}".format(**told[side]))
    for what in ("kinds", "modes", "bits"):
        row(what, ", ".join(f"{name}: {n}" for name, n in told[what].items()))
    inspect.console().print(table)


def draw(stats: Stats, file: Path) -> None:
    """Four panels: labels, sizes, modes, grey levels."""
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    told, known = figures(stats), [p for p in stats.seen if not p.problem]
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    (labels, sizes), (modes, greys) = figure.subplots(2, 2)
    names = list(told["labels"])
    labels.barh(names, [told["labels"][n]["images"] for n in names], color="#3b6ea5")
    labels.invert_yaxis()
    labels.set(title="images of each label", xlabel="images")
    images, has = stats.images, np.array([not p.problem for p in stats.seen])
    label = np.where((images.targets == 1).any(axis=1), np.argmax(np.nan_to_num(images.targets), axis=1), -1)[has]
    width, height = np.array([p.width for p in known]), np.array([p.height for p in known])
    if images.exclusive and len(names) <= 10:
        for k, name in enumerate(names):
            sizes.scatter(width[label == k], height[label == k], s=14, alpha=0.6, label=name)
        sizes.legend(fontsize="small")
    else:
        sizes.scatter(width, height, s=14, alpha=0.6, color="#3b6ea5")
    sizes.set(title="sizes", xlabel="width in pixels", ylabel="height in pixels")
    kinds = Counter(f"{p.kind} {p.mode} {p.bits} bits" for p in known).most_common(10)
    modes.barh([k for k, _ in kinds], [n for _, n in kinds], color="#3b6ea5")
    modes.invert_yaxis()
    modes.set(title="kinds, colour modes and bits", xlabel="images")
    share = stats.grey / stats.grey.sum() * 100
    greys.fill_between(np.arange(256), share, color="#3b6ea5", alpha=0.7, step="mid")
    greys.axvline(255 * stats.mean, color="#c62828")
    greys.set(
        title=f"grey levels: mean {stats.mean:.4f}, deviation {stats.deviation:.4f} (grey / 255)",
        xlabel=f"0 black ({share[0]:.1f} %) to 255 white ({share[255]:.1f} %)",
        ylabel="% of all pixels",
        xlim=(0, 255),
        ylim=(0, 1.15 * max(share[1:255].max(), 0.1)),
    )
    out = io.BytesIO()
    FigureCanvasAgg(figure)  # no display is asked for
    figure.savefig(out, format="png", dpi=110)
    write_whole(out.getvalue(), file, "picture")
