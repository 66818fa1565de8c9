"""How far the engine that serves a bundle is from float32, in which scores are computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thorax.serving.bundle import Bundle
from thorax.serving.classifier import Classifier
from thorax.text import counted

#: Images that the two are compared on, at most.
COMPARED = 32


def exact(bundle: Bundle, tta: int | None = None) -> Classifier:
    """The bundle in float32 by torch: the same digits on every machine, whatever serves it there; `tta` as
    Classifier's."""
    return Classifier(bundle, engine="torch", precision="float32", tta=tta)


def views_note(classifier: Classifier) -> str:
    """How each image is looked at, where that is not by itself alone or not as in the bundle's training; else ""."""
    count, own = classifier.views.count, classifier.bundle.views.count
    told = f"each image is scored in {counted(count, 'view')} (tta={count})"
    if count != own:
        return f"{told}; thresholds and calibration are of tta={own}, by which the bundle was made"
    return told if count > 1 else ""


def served_difference(served: Classifier, sources: Sequence[Any], in_float32: Classifier | None = None) -> str:
    """A line on the largest difference between the served probabilities and float32's; "" where that is served.

    Args:
        served: the engine in use.
        sources: images, of which the first COMPARED are read.
        in_float32: `exact` of the same bundle, where there is one already.
    """
    if served.precision == "float32":
        return ""
    some = sources[:COMPARED]
    readable = [x for x in served.prepare_each(some, [""] * len(some)) if isinstance(x, np.ndarray)]
    if not readable:
        return ""
    images, against = np.stack(readable), in_float32 or exact(served.bundle, served.views.count)
    moved = float(np.abs(served.score(images) - against.score(images)).max())
    number = "1 image" if len(images) == 1 else f"the first {len(images)} images"
    much = f"{moved:.4f} at most" if moved >= 5e-5 else "less than 0.0001"
    return f"{served.engine} {served.precision} moves a probability of {number} by {much}, against float32"
