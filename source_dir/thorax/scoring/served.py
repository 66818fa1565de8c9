"""How far the engine that serves a bundle is from float32, in which scores are computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thorax.serving.bundle import Bundle
from thorax.serving.classifier import Classifier

#: Images that the two are compared on, at most.
COMPARED = 32


def exact(bundle: Bundle) -> Classifier:
    """The bundle in float32 by torch: the same digits on every machine, whatever serves it there."""
    return Classifier(bundle, engine="torch", precision="float32")


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
    images, against = np.stack(readable), in_float32 or exact(served.bundle)
    moved = float(np.abs(served.score(images) - against.score(images)).max())
    number = "1 image" if len(images) == 1 else f"the first {len(images)} images"
    much = f"{moved:.4f} at most" if moved >= 5e-5 else "less than 0.0001"
    return f"{served.engine} {served.precision} moves a probability of {number} by {much}, against float32"
