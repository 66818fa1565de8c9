"""Mean and std over all pixels of the training part, class counts, sizes, colour modes and bits; and a picture."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thorax.data.color import AUTO, ColorSample, chosen_color, sample_colors
from thorax.data.decoders import RGB
from thorax.data.source import Source
from thorax.dataset.inspection import ImageInfo, count_colors, count_greys, inspect_all
from thorax.dataset.inventory import ImageInventory, read_inventory
from thorax.errors import ThoraxError
from thorax.files import write_whole


@dataclass(frozen=True)
class Stats:
    """Statistics of the training part, as the network's decoder sees its images.

    Attributes:
        images: the images.
        infos: what each of them is.
        greys: (256,) how many pixels of all images have each grey level.
        colors: (3, 256) how many have each level of red, green and blue; None: they were not counted.
    """

    images: ImageInventory
    infos: list[ImageInfo]
    greys: np.ndarray
    colors: np.ndarray | None = None

    @property
    def mean(self) -> float:
        """Of grey / 255 over all pixels, as normalization=dataset uses it."""
        return _mean(self.greys)

    @property
    def std(self) -> float:
        """Standard deviation of grey / 255 over all pixels."""
        return _std(self.greys)

    @property
    def problems(self) -> list[str]:
        """Why images were left out."""
        return [info.problem for info in self.infos if info.problem]

    def to_dict(self) -> dict[str, Any]:
        """All figures, for JSON."""
        images, headers = self.images, [info.header for info in self.infos if not info.problem]

        def spread(sides: list[int]) -> dict[str, int]:
            return dict(zip(("least", "median", "most"), map(int, np.percentile(sides, [0, 50, 100])), strict=True))

        return {
            "images": len(images),
            "unreadable": len(self.problems),
            "patients": len(set(images.patients)),
            "pixels": int(self.greys.sum()),
            "mean": round(self.mean, 6),
            "std": round(self.std, 6),
            **self._of_colors(),
            "labels": {
                name: {
                    "images": int((images.targets[:, k] == 1).sum()),
                    "unknown": int(np.isnan(images.targets[:, k]).sum()),
                }
                for k, name in enumerate(images.names)
            },
            "width": spread([h.width for h in headers]),
            "height": spread([h.height for h in headers]),
            "modes": dict(Counter(h.mode for h in headers).most_common()),
            "bits": {str(b): n for b, n in Counter(h.bits for h in headers).most_common()},
            "kinds": dict(Counter(h.kind for h in headers).most_common()),
        }

    def _of_colors(self) -> dict[str, Any]:
        """Mean and std of red, green and blue, as normalization=dataset uses them with color=rgb."""
        if self.colors is None:
            return {}
        return {
            f"{name}_rgb": [round(of(row), 6) for row in self.colors] for name, of in (("mean", _mean), ("std", _std))
        }


def _mean(counts: np.ndarray) -> float:
    """Of level / 255."""
    return float(counts @ np.arange(256) / max(counts.sum(), 1) / 255)


def _std(counts: np.ndarray) -> float:
    squares = float(counts @ (np.arange(256) / 255) ** 2 / max(counts.sum(), 1))
    return float(max(squares - _mean(counts) ** 2, 0.0) ** 0.5)


def counting(
    images: ImageInventory, color: str, sample: Callable[..., ColorSample] = sample_colors
) -> Callable[[Source], ImageInfo]:
    """What counts levels: of grey, or (rgb, and auto where a sample of the images is in colour) of each colour too."""
    if color == AUTO:
        color, _ = chosen_color(sample(images.sources))
    return count_colors if color == RGB else count_greys


def stats(images: Path | Mapping[str, Path] | ImageInventory, processes: int = 1, color: str = AUTO) -> Stats:
    """Reads every image of the training part, or of a set without parts.

    Args:
        images: a folder in any format, part (train, validation, test) -> folder, or what read_inventory returns.
        processes: processes that read images.
        color: gray, rgb or auto: whether red, green and blue are counted too.

    Raises:
        ThoraxError: see read_inventory; or no image can be read.
    """
    inventory = training_part(images if isinstance(images, ImageInventory) else read_inventory(images))
    infos = list(inspect_all(counting(inventory, color), inventory.sources, processes))
    return stats_of(inventory, infos, np.stack([info.greys for info in infos if info.greys is not None]).sum(axis=0))


def training_part(inventory: ImageInventory) -> ImageInventory:
    """The images that are counted: those of train, or all where there is no such part."""
    return inventory.take(np.flatnonzero(inventory.parts == "train")) if "train" in inventory.parts else inventory


def stats_of(inventory: ImageInventory, infos: list[ImageInfo], greys: np.ndarray) -> Stats:
    """Statistics of images that were read.

    Args:
        inventory: the images.
        infos: what each of them is.
        greys: (256,) how many pixels of all of them have each grey level, or (4, 256), see ImageInfo.greys.

    Raises:
        ThoraxError: no image can be read.
    """
    found = Stats(inventory, infos, greys) if greys.ndim == 1 else Stats(inventory, infos, greys[0], greys[1:])
    if len(found.problems) == len(infos):
        raise ThoraxError(f"no image could be read; the first: {found.problems[0]}")
    return found


def draw_stats(stats: Stats, file: Path) -> None:
    """Writes a PNG of four panels: labels, sizes, kinds, grey levels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    (labels, sizes), (kinds, greys) = figure.subplots(2, 2)
    counts = {name: row["images"] for name, row in stats.to_dict()["labels"].items()}
    _draw_counts(labels, "images of each label", counts)
    _draw_sizes(sizes, stats)
    known = Counter(info.kind for info in stats.infos if not info.problem)
    _draw_counts(kinds, "kinds, colour modes and bits", dict(known.most_common(10)))
    share = stats.greys / stats.greys.sum() * 100
    greys.fill_between(np.arange(256), share, color="#3b6ea5", alpha=0.7, step="mid")
    for row, name in zip(() if stats.colors is None else stats.colors, ("red", "green", "blue"), strict=False):
        greys.plot(np.arange(256), row / row.sum() * 100, color=name, linewidth=1)
    greys.axvline(255 * stats.mean, color="#c62828")
    greys.set(
        title=f"grey levels: mean {stats.mean:.4f}, std {stats.std:.4f} (grey / 255)",
        xlabel=f"0 black ({share[0]:.1f} %) to 255 white ({share[255]:.1f} %)",
        ylabel="% of all pixels",
        xlim=(0, 255),
        ylim=(0, 1.15 * max(share[1:255].max(), 0.1)),
    )
    out = io.BytesIO()
    FigureCanvasAgg(figure)  # needs no display
    figure.savefig(out, format="png", dpi=110)
    write_whole(out.getvalue(), file, "picture")


def _draw_counts(axes: Any, title: str, counts: Mapping[str, int]) -> None:
    axes.barh(list(counts), list(counts.values()), color="#3b6ea5")
    axes.invert_yaxis()
    axes.set(title=title, xlabel="images")


def _draw_sizes(axes: Any, stats: Stats) -> None:
    """A dot for each image, in a colour per class where there are few."""
    images, readable = stats.images, np.array([not info.problem for info in stats.infos])
    width, height = np.array([(info.header.width, info.header.height) for info in stats.infos])[readable].T
    if images.exclusive and len(images.names) <= 10:
        label = np.argmax(images.targets, axis=1)[readable]
        for k, name in enumerate(images.names):
            axes.scatter(width[label == k], height[label == k], s=14, alpha=0.6, label=name)
        axes.legend(fontsize="small")
    else:
        axes.scatter(width, height, s=14, alpha=0.6, color="#3b6ea5")
    axes.set(title="sizes", xlabel="width in pixels", ylabel="height in pixels")
