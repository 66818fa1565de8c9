"""The statistics of a set as one page: figures, and images of each class."""

from __future__ import annotations

from collections.abc import Mapping

from thorax.dataset.checking import environment, samples
from thorax.dataset.pixel_stats import Stats


def stats_page(stats: Stats, figures: Mapping[str, str]) -> str:
    """A page that needs no network.

    Args:
        stats: of the images.
        figures: name -> value, in words.
    """
    classes = samples(stats.images, stats.infos)
    page: str = environment().get_template("stats.html.jinja").render(figures=figures, classes=classes)
    return page
